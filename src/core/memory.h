/* SPDX-License-Identifier: Apache-2.0 */
/* The one memory number and the rule by which it is split. */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/*
 * `memory = N` bounds what a server takes, all of it. From N goes first what does not depend on
 * anybody's choice: the program and its shared state, and a worker's stack, rings and recorders.
 * The rest is split over the workers evenly, and there:
 *
 *   part         share  at least  at most   is for
 *   buffers      1/8    4 MiB     256 MiB   device reads and writes, log frames, blobs on the way
 *   receives     1/16   512 KiB   32 MiB    bytes from peers that are not parsed yet
 *   connections  1/16   512 KiB   128 MiB   connections, calls, replies not sent yet
 *   index        1/4    2 MiB     -         pages of the index
 *   cache        rest   1 MiB     -         records, so that a GET need not read the device
 *
 * What a part leaves because of its maximum goes to index and cache, one to two.
 */
struct memory_parts {
	uint64_t shared; /* the program; of all workers together */
	/* Of each worker, in bytes. */
	uint64_t fixed;
	uint64_t buffers; /* a multiple of 1 MiB */
	uint64_t receives;
	uint64_t connections;
	uint64_t index;
	uint64_t cache;
};

/*
 * TOO_LARGE: what `workers` (1..64) need at least is larger than `total`; then *minimum says how
 * much it is. Else OK, and all parts together are at most `total`.
 */
enum status memory_split(uint64_t total, unsigned workers, struct memory_parts *parts,
                         uint64_t *minimum) __attribute__((warn_unused_result));

/* What is taken when nobody says: 256 MiB, or 32 MiB a worker where that is more. */
uint64_t memory_default(unsigned workers);

/* All of it, for `workers` workers. */
uint64_t memory_sum(const struct memory_parts *parts, unsigned workers);

#endif
