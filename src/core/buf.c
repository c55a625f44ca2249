/* SPDX-License-Identifier: Apache-2.0 */
#include "core/buf.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/macros.h"

enum { SLAB_SHIFT = 20, SLAB_SIZE = 1 << SLAB_SHIFT, SLAB_BUFS_MAX = SLAB_SIZE / BUF_ALIGN };

_Static_assert((int)SLAB_SIZE == (int)BUF_SIZE_MAX, "the largest buffer is a slab");

struct buf_slab {
	struct buf *bufs; /* the slab's share of one array: SLAB_BUFS_MAX */
	uint8_t class;
	uint16_t used_count; /* buffers handed out */
	bool cut;            /* belongs to a class */
};

static unsigned class_of(size_t size)
{
	unsigned class = 0;

	while (((size_t)BUF_ALIGN << (2 * class)) < size)
		class++;
	assert(class < BUF_CLASSES);
	return class;
}

static uint32_t class_size(unsigned class)
{
	return (uint32_t)BUF_ALIGN << (2 * class);
}

/* Address space only: pages come as they are touched, so an idle server stays small. */
static uint8_t *map_aligned(size_t size)
{
	size_t mapped = size + SLAB_SIZE;
	uint8_t *raw = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *start;

	if (raw == MAP_FAILED)
		return NULL;
	start = raw + (align_up((uintptr_t)raw, SLAB_SIZE) - (uintptr_t)raw);
	if (start > raw)
		munmap(raw, (size_t)(start - raw));
	if (start + size < raw + mapped)
		munmap(start + size, (size_t)(raw + mapped - (start + size)));
	return start;
}

enum status bufs_open(struct bufs *bufs, size_t memory_size, uint16_t node)
{
	size_t slab_count = memory_size >> SLAB_SHIFT;
	struct buf *all;

	if (slab_count == 0)
		slab_count = 1;
	assert(slab_count <= UINT16_MAX);
	*bufs = (struct bufs){
		.slab_count = (uint32_t)slab_count,
		.slab_free_count = (uint32_t)slab_count,
		.node = node,
	};
	for (unsigned i = 0; i < BUF_CLASSES; i++)
		LIST_INIT(&bufs->free[i]);
	bufs->arena = map_aligned(slab_count << SLAB_SHIFT);
	bufs->slabs = calloc(slab_count, sizeof(*bufs->slabs));
	all = calloc(slab_count * SLAB_BUFS_MAX, sizeof(*all));
	if (bufs->arena == NULL || bufs->slabs == NULL || all == NULL) {
		if (bufs->arena != NULL)
			munmap(bufs->arena, slab_count << SLAB_SHIFT);
		free(bufs->slabs);
		free(all);
		return STATUS_NO_SPACE;
	}
	for (size_t i = 0; i < slab_count; i++)
		bufs->slabs[i].bufs = &all[i * SLAB_BUFS_MAX];
	return STATUS_OK;
}

void bufs_close(struct bufs *bufs)
{
	assert(bufs->used_size == 0); /* else: a buffer leaked */
	munmap(bufs->arena, (size_t)bufs->slab_count << SLAB_SHIFT);
	free(bufs->slabs[0].bufs);
	free(bufs->slabs);
}

/* Gives a class a whole slab of new buffers; false: no slab is free. */
static bool cut_slab(struct bufs *bufs, unsigned class)
{
	uint32_t size = class_size(class);
	uint32_t index = 0;
	struct buf_slab *slab;

	if (bufs->slab_free_count == 0)
		return false;
	while (bufs->slabs[index].cut)
		index++;
	assert(index < bufs->slab_count);
	slab = &bufs->slabs[index];
	slab->cut = true;
	slab->class = (uint8_t)class;
	slab->used_count = 0;
	bufs->slab_free_count--;
	for (uint32_t i = SLAB_SIZE / size; i-- > 0;) {
		struct buf *buf = &slab->bufs[i];

		*buf = (struct buf){
			.bufs = bufs,
			.data = bufs->arena + ((size_t)index << SLAB_SHIFT) + (size_t)i * size,
			.size = size,
			.slab = (uint16_t)index,
		};
		LIST_INSERT_HEAD(&bufs->free[class], buf, link);
	}
	return true;
}

struct buf *buf_get(struct bufs *bufs, size_t size)
{
	unsigned class;
	struct buf *buf;

	assert(size > 0 && size <= BUF_SIZE_MAX);
	class = class_of(size);
	buf = LIST_FIRST(&bufs->free[class]);
	if (buf == NULL) {
		if (!cut_slab(bufs, class)) {
			bufs->refused++;
			return NULL;
		}
		buf = LIST_FIRST(&bufs->free[class]);
	}
	assert(buf->refs == 0);
	LIST_REMOVE(buf, link);
	buf->refs = 1;
	buf->used = 0;
	bufs->slabs[buf->slab].used_count++;
	bufs->used_size += buf->size;
	if (bufs->used_size > bufs->used_size_max)
		bufs->used_size_max = bufs->used_size;
	return buf;
}

void buf_ref(struct buf *buf)
{
	assert(buf->refs > 0 && buf->refs < UINT16_MAX);
	buf->refs++;
}

/* The last free slab of a class stays cut: else a class would thrash at the boundary. */
static void uncut_slab(struct bufs *bufs, struct buf_slab *slab)
{
	uint32_t count = SLAB_SIZE / class_size(slab->class);
	uint32_t spare = 0;
	struct buf *buf;

	LIST_FOREACH(buf, &bufs->free[slab->class], link)
	{
		if (++spare > count)
			break;
	}
	if (spare <= count)
		return;
	for (uint32_t i = 0; i < count; i++)
		LIST_REMOVE(&slab->bufs[i], link);
	slab->cut = false;
	bufs->slab_free_count++;
}

void buf_unref(struct buf *buf)
{
	struct bufs *bufs = buf->bufs;
	struct buf_slab *slab = &bufs->slabs[buf->slab];

	assert(buf->refs > 0);
	if (--buf->refs > 0)
		return;
	assert(slab->cut && slab->used_count > 0);
	LIST_INSERT_HEAD(&bufs->free[slab->class], buf, link);
	bufs->used_size -= buf->size;
	if (--slab->used_count == 0)
		uncut_slab(bufs, slab);
}
