/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the check share. */
#ifndef APP_STORE_CHECK_STATE_H
#define APP_STORE_CHECK_STATE_H

#include "app/store_check.h"
#include "app/store_walk.h"

/* Blobs that records named, whose extents are still to be read. */
enum { CHECK_BLOBS_MAX = 64 };
struct check_blob {
	uint8_t *value; /* the record's */
	size_t value_size;
	uint32_t key_size;
	uint8_t key[KV_KEY_MAX];
};

struct check {
	const struct store_check_options *options;
	struct store_check_result *result;
	struct findings findings;
	struct store_image image;
	struct walk_index index;
	struct walk_records records;
	struct walk_log log;
	struct check_blob *blobs; /* a queue that grows to what one run of records names */
	uint32_t blob_count, blob_max;
	uint8_t *expiries; /* a set of hashes of those of the partition; may have others too */
	uint64_t entries;  /* of the index of the partition */
	uint64_t counts[KV_SPACES];
	uint64_t done, total; /* bytes, for the progress */
	uint32_t stream;      /* whose log is looked at */
	bool counting;        /* what is named counts as live: not in the logs */
	bool failed;          /* the memory is full: the check ends with what it has */
};

void check_progress(struct check *check);
/* The blob of a record: checked with the next check_blobs_run(). */
void check_blob_add(struct check *check, struct bytes key, struct bytes value);
void check_blobs_run(struct check *check);
/* store_check_log.c */
void check_logs(struct check *check);

#endif
