/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a store that nobody serves is what was written: every superblock, root, segment header,
 * index page, record, blob extent and count that the last checkpoints refer to, and the logs behind
 * them. Nothing that is read is believed before it has been checked.
 */
#ifndef APP_STORE_CHECK_H
#define APP_STORE_CHECK_H

#include "app/store_image.h"

struct store_check_options {
	/* Told every finding, in words that say what and where. */
	void (*tell)(void *context, enum finding kind, const char *text);
	/* Told now and then how much of the store's data has been looked at, in bytes; may be NULL.
	 */
	void (*progress)(void *context, uint64_t done, uint64_t total);
	void *context;
};

struct store_check_result {
	uint64_t found[FINDING_KINDS];
	uint64_t pages, keys, expiries, blobs; /* of the index, good ones */
	uint64_t bytes;                        /* that were read */
	uint64_t frames, records;              /* of the logs behind the checkpoints */
	uint64_t frames_lost;                  /* were durable, and cannot be read */
	uint32_t streams_torn;                 /* whose last write was never finished */
	uint32_t copies_bad;                   /* of superblocks and roots: store_repair_copies() */
	bool clean;                            /* was closed cleanly */
};

/*
 * The status of store_image_open(): OK also with damage, of which result->found tells. The caller
 * turns no worker meanwhile.
 */
enum status store_check_run(struct store_reader *reader, const struct store_check_options *options,
                            struct store_check_result *result) __attribute__((warn_unused_result));

/*
 * Writes bad or stale copies of superblocks and roots again from good ones, and nothing else.
 * *repaired: how many. Not OK: there is no good copy, or the device refuses.
 */
enum status store_repair_copies(struct store_reader *reader,
                                const struct store_check_options *options, uint32_t *repaired)
        __attribute__((warn_unused_result));

/*
 * What the logs behind the checkpoints say of keys. Where that is something newer, an index may
 * still name a place that has been given back and used again: walk_location_is_sound() says no, or
 * the record there is another one, and nothing is damaged.
 */
struct store_replaced;
/* Reads the logs. The image outlives it. NO_SPACE: no memory for so many keys. */
enum status store_replaced_open(struct store_replaced **out, const struct store_image *image)
        __attribute__((warn_unused_result));
void store_replaced_close(struct store_replaced *replaced); /* NULL is none */
/* Whether what an index has at this place may be gone, because the logs have something newer. */
bool store_replaced_has(const struct store_replaced *replaced, struct bytes key, uint32_t segment);

#endif
