/* SPDX-License-Identifier: Apache-2.0 */
/* Writes that are not durable yet: captured, applied to an image, or cut by a power failure. */
#ifndef SIM_SIM_PATCH_H
#define SIM_SIM_PATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/prng.h"
#include "sim/sim_image.h"

/* The part of one write that falls into one page. */
struct patch {
	STAILQ_ENTRY(patch) link;
	struct image_page *page; /* NULL: zeroes */
	uint64_t index;          /* of the page */
	uint64_t write;          /* which; the patches of one write lie side by side */
	uint64_t completed;      /* when: a flush covers those before it */
	uint8_t mask;            /* sectors of the page that are part of the write */
};
STAILQ_HEAD(patch_list, patch);

/* Patches that are free. Grows; bounded by what its user keeps. */
struct patch_pool {
	struct image_pool *pages;
	struct patch_list free;
	void *slabs; /* each starts with the pointer to the next */
};

void patch_pool_init(struct patch_pool *pool, struct image_pool *pages);
void patch_pool_fini(struct patch_pool *pool);

/* Zeroed. */
struct patch *patch_take(struct patch_pool *pool);
void patch_free(struct patch_pool *pool, struct patch *patch); /* it is in no list */
void patch_free_all(struct patch_pool *pool, struct patch_list *list);

/* Writes the sectors of the patch that are in `mask`. */
void patch_apply(struct image *image, const struct patch *patch, uint8_t mask);

/* The sectors of a page that its bytes from..from+size-1 cover. */
uint8_t patch_mask(size_t from, size_t size);

/* A power cut: how much of what was under way reaches the image. */
struct patch_cut {
	struct image *image;
	struct prng prng;
	uint32_t torn, garbage; /* per million writes */
	uint32_t atomic_unit;   /* bytes; 0: a sector may be torn inside or become garbage */
	enum { CUT_LOSE, CUT_KEEP, CUT_PREFIX, CUT_MIX } mode;
	uint32_t keep;                           /* CUT_MIX: per million writes */
	uint64_t prefix;                         /* CUT_PREFIX: writes kept */
	uint64_t writes, lost, mangled, garbled; /* counted */
};

/* Draws how this cut will be: nothing, everything, the first, or any of the writes are kept. */
void patch_cut_init(struct patch_cut *cut, struct image *image, uint64_t seed);

/* Decides on every write of the list, in its order; the list stays as it is. */
void patch_cut(struct patch_cut *cut, const struct patch_list *list);

#endif
