/* SPDX-License-Identifier: Apache-2.0 */
/* A block device in memory: for tests, for benchmarks of the layers above it, and for scratch. */
#ifndef TRANSPORT_MEM_H
#define TRANSPORT_MEM_H

#include "proto/blk.h"

/* Memory: the caller's. Completes in the turn of the submit; all commands, no faults. */
struct mem {
	struct blk blk;
	unsigned char *data;
};

/* Blocks of 4 KiB in `data`. */
void mem_init(struct mem *mem, struct worker *worker, void *data, uint64_t block_count);

/*
 * Memory of its own, zeroed and touched as it is written: block_count blocks of block_size bytes (a
 * power of two, at least 512). blk->ops->close() gives it back. NULL: there is none.
 */
struct blk *mem_open(struct worker *worker, uint64_t block_count, uint32_t block_size);

#endif
