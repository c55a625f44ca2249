/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers: the memory that devices read and write, bounded at start, in sizes of powers of two. */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/status.h"

/*
 * One `struct bufs` per worker: an arena of slabs of 1 MiB, bounded when it is opened and touched
 * only as it is used. A slab is cut into buffers of one class when a class has none free, and goes
 * back when all of it is free, unless it is the class's last spare; that one too is taken when
 * another class needs it. The arena is one range, so a transport can register it as a whole.
 *
 * Counts are not atomic: a request may carry a buffer to another worker, but only the thread that
 * got the pool's first buffer may get, ref or unref; what travelled comes home with its request.
 */
enum {
	BUF_ALIGN = 4096,
	BUF_CLASSES = 5, /* 4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB */
	BUF_SIZE_MAX = 1 << 20,
};

struct buf {
	LIST_ENTRY(buf) link; /* in its class's free list */
	struct bufs *bufs;
	uint8_t *data; /* aligned to BUF_ALIGN */
	uint32_t size; /* bytes there are */
	uint32_t used; /* bytes with content, from data[0]: the holder's to set */
	uint16_t refs; /* 0: free */
	uint16_t slab;
};
LIST_HEAD(buf_list, buf);

struct buf_slab;

struct bufs {
	uint8_t *arena; /* slab_count MiB, aligned to 1 MiB */
	struct buf_slab *slabs;
	uint32_t slab_count;
	uint32_t slab_free_count;
	struct buf_list free[BUF_CLASSES];
	uint32_t free_count[BUF_CLASSES];  /* buffers in free[] */
	const void *owner;                 /* the one thread's mark; NULL: not used yet */
	uint64_t used_size, used_size_max; /* bytes handed out; its high-water mark */
	uint64_t refused;                  /* times that none was left */
	uint16_t node;                     /* NUMA node of the memory */
};

/* Takes memory_size bytes (rounded down to MiB, at least 1) of address space. NO_SPACE: none. */
enum status bufs_open(struct bufs *bufs, size_t memory_size, uint16_t node)
        __attribute__((warn_unused_result));
void bufs_close(struct bufs *bufs); /* all are free */

/* The next thread to use the pool becomes its owner: after recovery on the control thread. */
void bufs_hand_over(struct bufs *bufs);

/*
 * A buffer of at least `size` bytes (1..BUF_SIZE_MAX), with one ref and used == 0. NULL: none is
 * free now; park the request until one is, or answer BUSY.
 */
struct buf *buf_get(struct bufs *bufs, size_t size);
void buf_ref(struct buf *buf);
void buf_unref(struct buf *buf);

#endif
