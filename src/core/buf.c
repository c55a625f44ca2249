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
		class ++;
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

/* An address that no two threads share: who may touch the counts. */
static _Thread_local const char thread_mark;

void bufs_hand_over(struct bufs *bufs)
{
	bufs->owner = NULL;
}

static void check_owner(struct bufs *bufs)
{
	if (bufs->owner == NULL)
		bufs->owner = &thread_mark;
	assert(bufs->owner == &thread_mark); /* else: another worker's pool */
}

static void uncut_slab(struct bufs *bufs, struct buf_slab *slab)
{
	uint32_t count = SLAB_SIZE / class_size(slab->class);

	assert(slab->cut && slab->used_count == 0);
	assert(bufs->free_count[slab->class] >= count);
	for (uint32_t i = 0; i < count; i++)
		LIST_REMOVE(&slab->bufs[i], link);
	bufs->free_count[slab->class] -= count;
	slab->cut = false;
	bufs->slab_free_count++;
}

/* The first slab that is not cut, else one that a class keeps as its spare; NULL: all are used. */
static struct buf_slab *find_slab(struct bufs *bufs)
{
	struct buf_slab *spare = NULL;

	for (uint32_t i = 0; i < bufs->slab_count; i++) {
		struct buf_slab *slab = &bufs->slabs[i];

		if (!slab->cut)
			return slab;
		if (slab->used_count == 0)
			spare = slab;
	}
	if (spare != NULL)
		uncut_slab(bufs, spare);
	return spare;
}

/* Gives a class a whole slab of new buffers; false: there is none. */
static bool cut_slab(struct bufs *bufs, unsigned class)
{
	struct buf_slab *slab = find_slab(bufs);
	uint32_t size = class_size(class);
	uint32_t index;

	if (slab == NULL)
		return false;
	assert(!slab->cut && bufs->slab_free_count > 0);
	index = (uint32_t)(slab - bufs->slabs);
	slab->cut = true;
	slab->class = (uint8_t) class;
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
	bufs->free_count[class] += SLAB_SIZE / size;
	return true;
}

struct buf *buf_get(struct bufs *bufs, size_t size)
{
	unsigned class;
	struct buf *buf;

	assert(size > 0 && size <= BUF_SIZE_MAX);
	check_owner(bufs);
	class = class_of(size);
	if (bufs->free_count[class] == 0 && !cut_slab(bufs, class)) {
		bufs->refused++;
		return NULL;
	}
	buf = LIST_FIRST(&bufs->free[class]);
	assert(buf != NULL && buf->refs == 0);
	LIST_REMOVE(buf, link);
	bufs->free_count[class]--;
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
	check_owner(buf->bufs);
	assert(buf->refs > 0 && buf->refs < UINT16_MAX);
	buf->refs++;
}

void buf_unref(struct buf *buf)
{
	struct bufs *bufs = buf->bufs;
	struct buf_slab *slab = &bufs->slabs[buf->slab];

	check_owner(bufs);
	assert(buf->refs > 0);
	if (--buf->refs > 0)
		return;
	assert(slab->cut && slab->used_count > 0);
	LIST_INSERT_HEAD(&bufs->free[slab->class], buf, link);
	bufs->free_count[slab->class]++;
	bufs->used_size -= buf->size;
	/* One spare slab's worth stays with its class: else it would thrash at the boundary. */
	if (--slab->used_count == 0 &&
	    bufs->free_count[slab->class] > SLAB_SIZE / class_size(slab->class))
		uncut_slab(bufs, slab);
}
