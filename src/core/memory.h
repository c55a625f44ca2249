/* SPDX-License-Identifier: Apache-2.0 */
/* The one memory number and the rule by which it is split. */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Who shares it: workers, and those of them that have a log and an index. */
struct memory_shape {
	unsigned workers; /* 1..64 */
	unsigned engines; /* 1..workers */
	uint64_t stacks;  /* bytes for layers of stacks, which are not split any further */
	uint64_t faces; /* bytes that the faces of a worker take, however few connections it has */
	bool tls;       /* connections may have TLS */
};

/*
 * `memory = N` bounds what a server takes, all of it. Everybody gets a minimum; let S be what N has
 * beyond all of these.
 *
 *                at least  and of S         at most   is for
 *   program      8 MiB     -                          code, metrics, configuration
 *   stacks       as asked                              layers of block stacks: caches and such
 *   each worker
 *    faces       as asked                              counters of commands, users, cursors
 *    itself      2 MiB     -                          stack, rings, recorders
 *    buffers     4 MiB     1/16 of S / W    128 MiB   large values on the way, device reads
 *    receives    512 KiB   1/16 of S / W    32 MiB    bytes from peers that are not parsed yet
 *    connections 512 KiB   1/8 of S / W     128 MiB   connections, calls, replies not sent yet
 *    tls         2 MiB     1/5 of S / W     512 MiB   connections' TLS, when it is wanted
 *    values      -         1/8 of S / W     1.1 GiB   large values that a command has in memory
 *   each engine
 *    log         12 MiB    1/16 of S / E    128 MiB   buffers: frames, checkpoints, the cleaner
 *    index       2 MiB     2/3 of the rest            pages of the index
 *    cache       1 MiB     1/3 of the rest            records, so that a GET need not read a device
 *
 * The index has more than the cache because 4 KiB of it save a read for a hundred keys, of the
 * cache for a few. What the index does not need is not touched.
 */
struct memory_parts {
	uint64_t shared; /* the program; once */
	uint64_t stacks; /* layers of all stacks; once */
	/* Of each worker, in bytes. */
	uint64_t faces;
	uint64_t fixed;
	uint64_t buffers; /* a multiple of 1 MiB */
	uint64_t receives;
	uint64_t connections;
	uint64_t tls;
	uint64_t values; /* beyond what buffers hold; a multiple of 64 KiB */
	/* Of each engine. */
	uint64_t log; /* a multiple of 1 MiB */
	uint64_t index;
	uint64_t cache;
};

/*
 * TOO_LARGE: what is needed at least is larger than `total`; *minimum says how much it is in any
 * case. Else OK, and all parts together are at most `total`.
 */
enum status memory_split(uint64_t total, struct memory_shape shape, struct memory_parts *parts,
                         uint64_t *minimum) __attribute__((warn_unused_result));

/* What is taken when nobody says: 256 MiB, or 32 MiB a worker where that is more. */
uint64_t memory_default(unsigned workers);

/* All parts together. */
uint64_t memory_sum(const struct memory_parts *parts, struct memory_shape shape);

#endif
