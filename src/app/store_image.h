/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store that nobody serves says of itself: superblocks, roots, their bodies, segment
 * headers. Reads only, and believes nothing that has no checksum or is out of its range.
 */
#ifndef APP_STORE_IMAGE_H
#define APP_STORE_IMAGE_H

#include "app/store_reader.h"
#include "proto/kv.h"

enum finding {
	FINDING_NOTE,   /* worth knowing, and as it may be */
	FINDING_DAMAGE, /* something is not what was written */
	FINDING_FATAL,  /* damage that a server does not open the store with */
	FINDING_KINDS
};

/* Who is told what was found, a line at a time; and how often. */
struct findings {
	void (*tell)(void *context, enum finding kind, const char *text);
	void *context;
	uint64_t count[FINDING_KINDS];
};
void findings_add(struct findings *findings, enum finding kind, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* A copy of a superblock or of a root, as it was read. */
struct image_super {
	enum status status;
	bool zero;       /* nothing was ever written there */
	uint32_t format; /* UNSUPPORTED: of this version */
	struct superblock super;
};

struct image_root {
	enum status status;
	bool zero;
	struct root root;
};

struct image_segment {
	struct segment_header header;      /* when found */
	uint64_t generation;               /* that the body of a root says; else the header's */
	uint64_t first_lsn, first_durable; /* of a log segment's first frame; 0: none */
	uint64_t live;                     /* bytes, by all bodies */
	uint64_t counted;   /* bytes that were found to be referred to: the check's */
	uint8_t kind;       /* enum segment_kind, listed */
	bool found, listed; /* a header is there; a body has it */
	bool reused;        /* a body has an earlier life, whose content the log has replaced */
	bool headless; /* its header is damaged: by the write that was to make it reused, or not */
};

struct image_partition {
	uint64_t root, key_count;
	uint64_t counts[KV_SPACES];
	bool listed;
};

enum { IMAGE_SLOTS = 2 };

/* Memory: its own, from store_image_open() to store_image_close(). */
struct store_image {
	struct store_reader *reader;
	struct findings *findings;
	struct image_super supers[SUPER_COPIES];
	struct superblock super; /* the newest */
	struct image_root root_copies[STREAMS_MAX][IMAGE_SLOTS][ROOT_COPIES];
	struct root roots[STREAMS_MAX]; /* the newest of each stream */
	uint32_t segment_count;
	uint32_t segments_seen; /* whose header was read */
	struct image_segment *segments;
	struct image_partition *partitions;
};

/*
 * Reads all of it; findings are told on the way. OK: there is a store to look at further.
 * NOT_FOUND: nothing is there; INVALID: something else is; UNSUPPORTED: a newer store; CORRUPT:
 * damaged beyond opening; NO_SPACE: the device or the memory is too small. Close it in any case.
 */
enum status store_image_open(struct store_image *image, struct store_reader *reader,
                             struct findings *findings) __attribute__((warn_unused_result));
void store_image_close(struct store_image *image);

static inline uint64_t store_image_lba(const struct store_image *image, uint32_t segment,
                                       uint32_t block)
{
	return SEGMENT_FIRST_BLOCK + (uint64_t)segment * image->super.segment_blocks + block;
}

/* Whether [offset, offset + size) can be in segment `segment`, behind its header. */
bool store_image_has(const struct store_image *image, uint32_t segment, uint64_t offset,
                     uint64_t size);

/* Something that the log has not replaced is in the segment: then a damaged header is damage. */
void store_image_needs_header(struct store_image *image, uint32_t segment);

const char *segment_kind_name(uint8_t kind);

#endif
