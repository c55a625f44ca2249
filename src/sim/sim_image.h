/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated disk holds: sparse pages, copied on write, so that a copy costs microseconds. */
#ifndef SIM_SIM_IMAGE_H
#define SIM_SIM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

enum {
	IMAGE_PAGE_SIZE = 4096,
	IMAGE_SECTOR_SIZE = 512,
	IMAGE_PAGE_SECTORS = IMAGE_PAGE_SIZE / IMAGE_SECTOR_SIZE,
	IMAGE_SECTORS_ALL = (1 << IMAGE_PAGE_SECTORS) - 1,
};

/*
 * Pages and what points to them, shared by all images that were copied from each other. Grows in
 * slabs and gives them back when it is closed. Counted: image_init() and image_copy() take a ref.
 */
struct image_pool;

struct image_page {
	uint32_t refs; /* of chunks and patches; more than one: not to be written */
	struct image_page *next_free;
	_Alignas(16) uint8_t data[IMAGE_PAGE_SIZE];
};

struct image_chunk;

struct image {
	struct image_pool *pool;
	struct image_chunk **chunks; /* NULL: zeroes */
	uint32_t chunk_count;
	uint64_t page_count;
};

struct image_pool *image_pool_open(void);
void image_pool_unref(struct image_pool *pool);

/* All zeroes. Aborts without memory, as all of the simulator does. */
void image_init(struct image *image, struct image_pool *pool, uint64_t size);
void image_fini(struct image *image);

/* Makes `to` the same as `from`: of the same pool and size. */
void image_copy(struct image *to, const struct image *from);

/* NULL: zeroes. */
const struct image_page *image_page(const struct image *image, uint64_t index);
/* For writing: not shared with any other image. */
struct image_page *image_own(struct image *image, uint64_t index);
/* The page itself, shared; NULL: zeroes. */
void image_set(struct image *image, uint64_t index, struct image_page *page);

void image_read(const struct image *image, uint64_t offset, void *data, size_t size);
void image_write(struct image *image, uint64_t offset, const void *data, size_t size);

/* A page with one ref and unspecified content. */
struct image_page *image_page_take(struct image_pool *pool);
void image_page_ref(struct image_page *page);
void image_page_unref(struct image_pool *pool, struct image_page *page);

#endif
