/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim_image.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
	CHUNK_PAGES = 32, /* 128 KiB: a copied disk of 16 MiB costs 128 counts */
	SLAB_PAGES = 64,
	SLAB_CHUNKS = 64,
};

struct image_chunk {
	uint32_t refs; /* of images; more than one: not to be written */
	struct image_chunk *next_free;
	struct image_page *pages[CHUNK_PAGES]; /* NULL: zeroes */
};

struct slab {
	struct slab *next;
	_Alignas(16) uint8_t memory[];
};

struct image_pool {
	uint32_t refs;
	struct slab *slabs;
	struct image_page *pages_free;
	struct image_chunk *chunks_free;
};

struct image_pool *image_pool_open(void)
{
	struct image_pool *pool = calloc(1, sizeof(*pool));

	assert(pool != NULL);
	pool->refs = 1;
	return pool;
}

void image_pool_unref(struct image_pool *pool)
{
	struct slab *slab;

	assert(pool->refs > 0);
	if (--pool->refs > 0)
		return;
	while ((slab = pool->slabs) != NULL) {
		pool->slabs = slab->next;
		free(slab);
	}
	free(pool);
}

static void *slab_add(struct image_pool *pool, size_t size)
{
	struct slab *slab = calloc(1, sizeof(*slab) + size);

	assert(slab != NULL);
	slab->next = pool->slabs;
	pool->slabs = slab;
	return slab->memory;
}

struct image_page *image_page_take(struct image_pool *pool)
{
	struct image_page *page;

	if (pool->pages_free == NULL) {
		struct image_page *pages = slab_add(pool, SLAB_PAGES * sizeof(*pages));

		for (unsigned i = 0; i < SLAB_PAGES; i++) {
			pages[i].next_free = pool->pages_free;
			pool->pages_free = &pages[i];
		}
	}
	page = pool->pages_free;
	pool->pages_free = page->next_free;
	page->refs = 1;
	return page;
}

void image_page_ref(struct image_page *page)
{
	assert(page->refs > 0);
	page->refs++;
}

void image_page_unref(struct image_pool *pool, struct image_page *page)
{
	if (page == NULL)
		return;
	assert(page->refs > 0);
	if (--page->refs > 0)
		return;
	page->next_free = pool->pages_free;
	pool->pages_free = page;
}

static struct image_chunk *chunk_take(struct image_pool *pool)
{
	struct image_chunk *chunk;

	if (pool->chunks_free == NULL) {
		struct image_chunk *chunks = slab_add(pool, SLAB_CHUNKS * sizeof(*chunks));

		for (unsigned i = 0; i < SLAB_CHUNKS; i++) {
			chunks[i].next_free = pool->chunks_free;
			pool->chunks_free = &chunks[i];
		}
	}
	chunk = pool->chunks_free;
	pool->chunks_free = chunk->next_free;
	*chunk = (struct image_chunk){ .refs = 1 };
	return chunk;
}

static void chunk_unref(struct image_pool *pool, struct image_chunk *chunk)
{
	if (chunk == NULL)
		return;
	assert(chunk->refs > 0);
	if (--chunk->refs > 0)
		return;
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		image_page_unref(pool, chunk->pages[i]);
	chunk->next_free = pool->chunks_free;
	pool->chunks_free = chunk;
}

/* The chunk of a page, not shared with any other image. */
static struct image_chunk *chunk_own(struct image *image, uint64_t index)
{
	struct image_chunk **slot = &image->chunks[index / CHUNK_PAGES], *shared = *slot;

	assert(index < image->page_count);
	if (shared != NULL && shared->refs == 1)
		return shared;
	*slot = chunk_take(image->pool);
	if (shared == NULL)
		return *slot;
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		(*slot)->pages[i] = shared->pages[i];
		if (shared->pages[i] != NULL)
			shared->pages[i]->refs++;
	}
	shared->refs--;
	return *slot;
}

void image_init(struct image *image, struct image_pool *pool, uint64_t size)
{
	assert(size > 0);
	assert(size % IMAGE_PAGE_SIZE == 0);
	image->pool = pool;
	pool->refs++;
	image->page_count = size / IMAGE_PAGE_SIZE;
	image->chunk_count = (uint32_t)((image->page_count + CHUNK_PAGES - 1) / CHUNK_PAGES);
	image->chunks = calloc(image->chunk_count, sizeof(struct image_chunk *));
	assert(image->chunks != NULL);
}

void image_fini(struct image *image)
{
	for (uint32_t i = 0; i < image->chunk_count; i++)
		chunk_unref(image->pool, image->chunks[i]);
	free(image->chunks);
	image_pool_unref(image->pool);
}

void image_copy(struct image *to, const struct image *from)
{
	assert(to->pool == from->pool);
	assert(to->page_count == from->page_count);
	for (uint32_t i = 0; i < from->chunk_count; i++) {
		struct image_chunk *chunk = from->chunks[i];

		if (to->chunks[i] == chunk)
			continue;
		chunk_unref(to->pool, to->chunks[i]);
		to->chunks[i] = chunk;
		if (chunk != NULL)
			chunk->refs++;
	}
}

const struct image_page *image_page(const struct image *image, uint64_t index)
{
	const struct image_chunk *chunk;

	assert(index < image->page_count);
	chunk = image->chunks[index / CHUNK_PAGES];
	return chunk == NULL ? NULL : chunk->pages[index % CHUNK_PAGES];
}

void image_set(struct image *image, uint64_t index, struct image_page *page)
{
	struct image_page **slot;

	if (image_page(image, index) == page)
		return;
	slot = &chunk_own(image, index)->pages[index % CHUNK_PAGES];
	if (page != NULL)
		image_page_ref(page);
	image_page_unref(image->pool, *slot);
	*slot = page;
}

struct image_page *image_own(struct image *image, uint64_t index)
{
	struct image_page **slot = &chunk_own(image, index)->pages[index % CHUNK_PAGES];
	struct image_page *page = *slot;

	if (page != NULL && page->refs == 1)
		return page;
	*slot = image_page_take(image->pool);
	if (page == NULL) {
		memset((*slot)->data, 0, IMAGE_PAGE_SIZE);
		return *slot;
	}
	memcpy((*slot)->data, page->data, IMAGE_PAGE_SIZE);
	image_page_unref(image->pool, page);
	return *slot;
}

void image_read(const struct image *image, uint64_t offset, void *data, size_t size)
{
	uint8_t *at = data;

	while (size > 0) {
		const struct image_page *page = image_page(image, offset / IMAGE_PAGE_SIZE);
		size_t from = offset % IMAGE_PAGE_SIZE;
		size_t part = IMAGE_PAGE_SIZE - from < size ? IMAGE_PAGE_SIZE - from : size;

		if (page == NULL)
			memset(at, 0, part);
		else
			memcpy(at, page->data + from, part);
		at += part;
		offset += part;
		size -= part;
	}
}

void image_write(struct image *image, uint64_t offset, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		struct image_page *page = image_own(image, offset / IMAGE_PAGE_SIZE);
		size_t from = offset % IMAGE_PAGE_SIZE;
		size_t part = IMAGE_PAGE_SIZE - from < size ? IMAGE_PAGE_SIZE - from : size;

		memcpy(page->data + from, at, part);
		at += part;
		offset += part;
		size -= part;
	}
}
