/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a root: which segments a stream has, where the index of each of its partitions
 * begins, and which transactions over several streams it has committed and not forgotten. Pure.
 * docs/formats.md draws it.
 */
#ifndef ENGINE_BODY_H
#define ENGINE_BODY_H

#include "engine/format.h"

/* Bytes: the head with three counts; a segment; a partition, without its spaces; a space; an id. */
enum { BODY_HEAD = 16, BODY_SEGMENT = 24, BODY_PARTITION = 24, BODY_SPACE = 16, BODY_TXN = 8 };
enum { BODY_SPACES_MAX = 256 };

/* What the numbers in a body may be. */
struct body_limits {
	uint32_t segment_count, segment_blocks, partition_count;
};

struct body_segment {
	uint64_t generation;
	uint32_t segment;
	uint32_t live; /* bytes that the checkpoint refers to */
	uint8_t kind;  /* enum segment_kind */
};

struct body_partition {
	uint64_t root;      /* packed location of the root page of its index */
	uint64_t key_count; /* entries of the index */
	uint32_t partition;
	uint32_t space_count;
	const uint8_t *spaces;
};

/* Memory: the bytes are the caller's, and must outlive it. */
struct body {
	const uint8_t *segments, *partitions, *end; /* of the partitions: the transactions follow */
	uint32_t segment_count, partition_count, txn_count;
};

/*
 * CORRUPT: a count, number or order that no checkpoint writes. What it took can be read without
 * another look at the limits, but for the roots: whether a page is there is the reader's to see.
 */
enum status body_open(struct body *body, const void *data, size_t size,
                      const struct body_limits *limits) __attribute__((warn_unused_result));

struct body_segment body_segment_get(const struct body *body, uint32_t index);
/* Takes the next partition off the body; false: there is none left. */
bool body_partition_next(struct body *body, struct body_partition *partition);
/* How many keys there are in a space. */
void body_space_get(const struct body_partition *partition, uint32_t index, uint8_t *space,
                    uint64_t *count);

uint64_t body_txn_get(const struct body *body, uint32_t index);

#endif
