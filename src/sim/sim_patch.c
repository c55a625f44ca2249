/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim_patch.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { PATCHES_SLAB = 256, MILLION = 1000000 };

void patch_pool_init(struct patch_pool *pool, struct image_pool *pages)
{
	*pool = (struct patch_pool){ .pages = pages };
	STAILQ_INIT(&pool->free);
}

void patch_pool_fini(struct patch_pool *pool)
{
	void *slab;

	while ((slab = pool->slabs) != NULL) {
		pool->slabs = *(void **)slab;
		free(slab);
	}
}

struct patch *patch_take(struct patch_pool *pool)
{
	struct patch *patch;

	if (STAILQ_EMPTY(&pool->free)) {
		struct patch *slab = calloc(PATCHES_SLAB, sizeof(*slab));

		assert(slab != NULL);
		*(void **)(void *)slab = pool->slabs;
		pool->slabs = slab;
		for (unsigned i = 1; i < PATCHES_SLAB; i++)
			STAILQ_INSERT_HEAD(&pool->free, &slab[i], link);
	}
	patch = STAILQ_FIRST(&pool->free);
	STAILQ_REMOVE_HEAD(&pool->free, link);
	*patch = (struct patch){ 0 };
	return patch;
}

void patch_free(struct patch_pool *pool, struct patch *patch)
{
	image_page_unref(pool->pages, patch->page);
	STAILQ_INSERT_HEAD(&pool->free, patch, link);
}

void patch_free_all(struct patch_pool *pool, struct patch_list *list)
{
	struct patch *patch;

	while ((patch = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, link);
		patch_free(pool, patch);
	}
}

void patch_apply(struct image *image, const struct patch *patch, uint8_t mask)
{
	struct image_page *page;

	mask &= patch->mask;
	if (mask == 0)
		return;
	if (mask == IMAGE_SECTORS_ALL) {
		image_set(image, patch->index, patch->page);
		return;
	}
	page = image_own(image, patch->index);
	for (unsigned i = 0; i < IMAGE_PAGE_SECTORS; i++) {
		uint8_t *sector = page->data + i * IMAGE_SECTOR_SIZE;

		if (!(mask & 1u << i))
			continue;
		if (patch->page == NULL)
			memset(sector, 0, IMAGE_SECTOR_SIZE);
		else
			memcpy(sector, patch->page->data + i * IMAGE_SECTOR_SIZE,
			       IMAGE_SECTOR_SIZE);
	}
}

uint8_t patch_mask(size_t from, size_t size)
{
	unsigned first = (unsigned)(from / IMAGE_SECTOR_SIZE);
	unsigned count = (unsigned)(size / IMAGE_SECTOR_SIZE);

	assert(first + count <= IMAGE_PAGE_SECTORS);
	return (uint8_t)(((1u << count) - 1) << first);
}

void patch_cut_init(struct patch_cut *cut, struct image *image, uint64_t seed)
{
	static const uint32_t keeps[] = { 100000, 500000, 900000 };

	*cut = (struct patch_cut){ .image = image };
	prng_init(&cut->prng, seed);
	switch (prng_below(&cut->prng, 8)) {
	case 0:
		cut->mode = CUT_LOSE;
		break;
	case 1:
		cut->mode = CUT_KEEP;
		break;
	case 2:
	case 3:
		cut->mode = CUT_PREFIX;
		cut->prefix = prng_below(&cut->prng, 16);
		break;
	default:
		cut->mode = CUT_MIX;
		cut->keep = keeps[prng_below(&cut->prng, 3)];
		break;
	}
}

static bool write_is_kept(struct patch_cut *cut)
{
	switch (cut->mode) {
	case CUT_LOSE:
		return false;
	case CUT_KEEP:
		return true;
	case CUT_PREFIX:
		return cut->writes <= cut->prefix;
	case CUT_MIX:
		return prng_chance(&cut->prng, cut->keep);
	}
	unreachable();
}

/* How one write is torn: which of its sectors, counted through all its patches, are new. */
struct tear {
	enum { TEAR_PREFIX, TEAR_SUFFIX, TEAR_ANY, TEAR_STYLES } style;
	uint32_t point;   /* first sector on the other side */
	uint32_t garbage; /* the sector that holds neither; UINT32_MAX: none */
	bool split;       /* the sector at the point is new in part */
	uint32_t seen;    /* sectors before this patch */
};

static bool tear_takes(struct patch_cut *cut, const struct tear *tear, uint32_t sector)
{
	switch (tear->style) {
	case TEAR_PREFIX:
		return sector < tear->point;
	case TEAR_SUFFIX:
		return sector >= tear->point;
	default:
		return prng_below(&cut->prng, 2) == 0;
	}
}

static void split_sector(struct patch_cut *cut, const struct patch *patch, unsigned sector)
{
	struct image_page *page = image_own(cut->image, patch->index);
	size_t part = 1 + prng_below(&cut->prng, IMAGE_SECTOR_SIZE - 1);

	if (patch->page != NULL)
		memcpy(page->data + sector * IMAGE_SECTOR_SIZE,
		       patch->page->data + sector * IMAGE_SECTOR_SIZE, part);
}

static void garble_sector(struct patch_cut *cut, const struct patch *patch, unsigned sector)
{
	struct image_page *page = image_own(cut->image, patch->index);

	prng_fill(&cut->prng, page->data + sector * IMAGE_SECTOR_SIZE, IMAGE_SECTOR_SIZE);
}

static void tear_patch(struct patch_cut *cut, struct tear *tear, const struct patch *patch)
{
	int split = -1, garbage = -1;
	bool page_taken = tear_takes(cut, tear, tear->seen);
	uint8_t mask = 0;

	for (unsigned i = 0; i < IMAGE_PAGE_SECTORS; i++) {
		bool taken;

		if (!(patch->mask & 1u << i))
			continue;
		taken = cut->atomic_unit == IMAGE_PAGE_SIZE ? page_taken
		                                            : tear_takes(cut, tear, tear->seen);
		if (taken)
			mask |= (uint8_t)(1u << i);
		if (tear->split && tear->seen == tear->point)
			split = (int)i;
		if (tear->seen == tear->garbage)
			garbage = (int)i;
		tear->seen++;
	}
	patch_apply(cut->image, patch, mask);
	if (split >= 0 && !(mask & 1u << split))
		split_sector(cut, patch, (unsigned)split);
	if (garbage >= 0)
		garble_sector(cut, patch, (unsigned)garbage);
}

/* Returns the first patch of the next write. */
static const struct patch *tear_write(struct patch_cut *cut, const struct patch *first, bool garble)
{
	const struct patch *patch = first;
	struct tear tear = { .garbage = UINT32_MAX };
	uint32_t sectors = 0;

	for (; patch != NULL && patch->write == first->write; patch = STAILQ_NEXT(patch, link))
		sectors += (uint32_t)__builtin_popcount(patch->mask);
	if (sectors == 0)
		return patch;
	tear.style = (unsigned)prng_below(&cut->prng, TEAR_STYLES);
	tear.point = (uint32_t)prng_below(&cut->prng, sectors);
	if (cut->atomic_unit == 0) {
		tear.split = prng_below(&cut->prng, 2) == 0;
		if (garble)
			tear.garbage = (uint32_t)prng_below(&cut->prng, sectors);
	}
	for (patch = first; patch != NULL && patch->write == first->write;
	     patch = STAILQ_NEXT(patch, link))
		tear_patch(cut, &tear, patch);
	return patch;
}

void patch_cut(struct patch_cut *cut, const struct patch_list *list)
{
	const struct patch *patch = STAILQ_FIRST(list);

	while (patch != NULL) {
		uint64_t write = patch->write;
		bool kept;

		cut->writes++;
		if (prng_chance(&cut->prng, cut->garbage)) {
			cut->garbled++;
			patch = tear_write(cut, patch, true);
			continue;
		}
		if (prng_chance(&cut->prng, cut->torn)) {
			cut->mangled++;
			patch = tear_write(cut, patch, false);
			continue;
		}
		kept = write_is_kept(cut);
		cut->lost += !kept;
		for (; patch != NULL && patch->write == write; patch = STAILQ_NEXT(patch, link)) {
			if (kept)
				patch_apply(cut->image, patch, patch->mask);
		}
	}
}
