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

/* The newest version of a key that the logs behind the checkpoints have; 0: an empty slot. */
struct check_newer {
	uint64_t hash, version;
	uint64_t places; /* of its last record: a hash of the list, if it is a blob */
};

enum { CHECK_CLEARS_MAX = 64 };
struct check_clear {
	uint64_t version;
	uint16_t prefix_size;
	uint8_t prefix[KV_KEY_MAX];
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
	uint64_t done, total;      /* bytes, for the progress */
	uint32_t stream;           /* whose log is looked at */
	bool counting;             /* what is named counts as live: not in the logs */
	struct check_newer *newer; /* a table of a power of two */
	uint32_t newer_count, newer_size;
	uint32_t clear_count;
	struct check_clear clears[CHECK_CLEARS_MAX];
	bool gathering; /* the logs are read for what they replace: nothing is told */
	bool failed;    /* the memory is full: the check ends with what it has */
};

void check_progress(struct check *check);
/*
 * The blob of a record: checked with the next check_blobs_run(), unless the log has replaced it and
 * its place may have been given back.
 */
void check_blob_add(struct check *check, const struct record *record);
void check_blobs_run(struct check *check);
/* store_check_log.c */
void check_logs(struct check *check);
/* store_check_replaced.c */
void check_replaced_gather(struct check *check);
void check_replaced_add(struct check *check, const struct record *record);
/* Whether the logs say something of the key. */
bool check_has_newer(const struct check *check, struct bytes key);
/* Whether they say something newer than the record of a blob, or that its bytes were moved. */
bool check_is_replaced(const struct check *check, const struct record *record);

#endif
