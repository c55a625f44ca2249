/* SPDX-License-Identifier: Apache-2.0 */
/* Many reads at a time of a store that nobody serves, for tools that wait for them. */
#ifndef APP_STORE_READER_H
#define APP_STORE_READER_H

#include <sys/uio.h>

#include "core/worker.h"
#include "engine/format.h"
#include "proto/blk.h"

enum {
	READER_READS_MAX = 32,
	READER_BLOCKS_MAX = 128, /* of a slot: the largest blob extent, 512 KiB */
};

struct store_reader;

struct store_read {
	struct store_reader *reader;
	uint8_t *data;
	struct iovec iov;
	enum status status; /* of the last run */
	struct req req;
};

/*
 * Memory: its own, taken by store_reader_open(); it must not move after that. Thread: the one that
 * turns the worker, which is the caller's: no other code turns it meanwhile.
 */
struct store_reader {
	struct worker *worker;
	struct blk *blk;
	uint8_t *slots;
	unsigned count; /* reads that were added */
	unsigned running;
	uint64_t bytes; /* read so far */
	struct store_read reads[READER_READS_MAX];
};

enum status store_reader_open(struct store_reader *reader, struct worker *worker, struct blk *blk)
        __attribute__((warn_unused_result));
void store_reader_close(struct store_reader *reader);

/* Memory of a read, of READER_BLOCKS_MAX blocks; for those who bring none of their own. */
uint8_t *store_reader_slot(struct store_reader *reader, unsigned index);

/* Adds a read to the next run; its index. There is room for READER_READS_MAX. */
unsigned store_reader_add(struct store_reader *reader, uint8_t *data, uint64_t lba,
                          uint32_t block_count);
/* Does all reads that were added, and waits. reads[i].status says how each ended. */
void store_reader_run(struct store_reader *reader);

/* One read, or one durable write, waited for. */
enum status store_reader_get(struct store_reader *reader, uint8_t *data, uint64_t lba,
                             uint32_t block_count) __attribute__((warn_unused_result));
enum status store_reader_put(struct store_reader *reader, uint8_t *data, uint64_t lba,
                             uint32_t block_count) __attribute__((warn_unused_result));

#endif
