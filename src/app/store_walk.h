/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goes over a store that nobody serves: the pages of an index in the order of its keys, the records
 * that it names, the frames of a log.
 */
#ifndef APP_STORE_WALK_H
#define APP_STORE_WALK_H

#include "app/store_image.h"
#include "engine/btree.h"

/*
 * The index of a partition. Damaged pages are told to the image's findings, and what is below them
 * is passed over. `page`: a good one, counted; `entry`: of a leaf. Either may be NULL.
 */
struct walk_index {
	struct store_image *image;
	void *context;
	void (*page)(void *context, uint32_t partition, struct location where, const void *page);
	void (*entry)(void *context, uint32_t partition, struct bytes key, uint64_t value);
	uint64_t pages, entries, damaged;
	uint32_t partition; /* the walk's own, from here on */
	struct walk_level *levels;
	uint8_t *leaves;
};

enum status walk_index_open(struct walk_index *walk, struct store_image *image)
        __attribute__((warn_unused_result));
void walk_index_close(struct walk_index *walk);
void walk_index_run(struct walk_index *walk, uint32_t partition);

/* An entry of the index, and what its record said. */
struct walk_ref {
	uint64_t location;
	uint64_t version, expires_ms, value_size;
	uint32_t partition, key; /* where its key begins in walk_records.keys */
	uint16_t key_size;
	uint8_t flags; /* of the record */
	bool good;
};

enum { WALK_REFS_MAX = 2048, WALK_KEYS_SIZE = 512 << 10 };

/*
 * The records of many entries, read together in the order of their places. `record`: a good one;
 * must not read. `pause`: may read, and is called now and then. `refs`: all that came together, in
 * the order in which they were added. Each may be NULL.
 */
struct walk_records {
	struct store_image *image;
	void *context;
	void (*record)(void *context, const struct walk_ref *ref, const struct record *record);
	void (*pause)(void *context);
	void (*refs)(void *context, const struct walk_ref *refs, uint32_t count);
	uint64_t records, damaged;
	uint32_t count, keys_used;
	struct walk_ref *all;
	uint32_t *order;
	uint8_t *keys;
};

enum status walk_records_open(struct walk_records *walk, struct store_image *image)
        __attribute__((warn_unused_result));
void walk_records_close(struct walk_records *walk);
/* The value of an entry, whose location is in the store: walk_location_is_sound(). */
void walk_records_add(struct walk_records *walk, uint32_t partition, struct bytes key,
                      uint64_t location);
void walk_records_run(struct walk_records *walk); /* all that were added */
bool walk_location_is_sound(const struct store_image *image, struct location l);

/*
 * Frames from one block of a log segment on, as long as each is good and has the lsn after the last
 * one (first_lsn 0: any). Their records are good, but what they say has not been looked at.
 */
struct walk_log {
	struct store_image *image;
	void *context;
	void (*frame)(void *context, const struct frame_header *frame, const uint8_t *data);
	uint8_t *data; /* BUF_SIZE_MAX */
	uint32_t segment, block;
	uint64_t lsn; /* of the next frame; 0: any */
};
enum status walk_log_open(struct walk_log *walk, struct store_image *image)
        __attribute__((warn_unused_result));
void walk_log_close(struct walk_log *walk);
/* Ends with walk->block, ->lsn behind the last good frame. Not OK: the device cannot read. */
enum status walk_log_run(struct walk_log *walk) __attribute__((warn_unused_result));

/* The partition that a key from disk belongs to; UINT32_MAX: it cannot be a key. */
uint32_t walk_partition_of(const struct store_image *image, struct bytes key);

/* A key for people, in hex; cut when it is long. */
enum { KEY_TEXT_SIZE = 160 };
const char *key_text(struct bytes key, char out[KEY_TEXT_SIZE]);

#endif
