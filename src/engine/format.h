/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every byte that the store keeps on a block device: layout, checksums, encoding. Pure: no I/O, no
 * state. docs/formats.md draws it. All numbers are little-endian; the unit is the 4 KiB block.
 *
 *   block 0..3          superblock: copies 0,2 and 1,3, written alternately
 *   block 64..          roots: two sets (by run) x 64 streams x two slots x two copies
 *   block FIRST..       segments of segment_blocks each
 *
 *   segment:  block 0 is its header; then, by kind, log frames, index pages, or blob extents
 *   frame:    64-byte header, records; padded with zeroes to whole blocks
 *   record:   24- or 32-byte header, key, value; at a multiple of 16 bytes
 */
#ifndef ENGINE_FORMAT_H
#define ENGINE_FORMAT_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/status.h"

enum {
	BLOCK_SIZE = 4096,
	BLOCK_SHIFT = 12,
	FORMAT_VERSION = 1,
	SUPER_COPIES = 4,
	STREAMS_MAX = 64,
	ROOT_FIRST_BLOCK = 64,
	ROOT_COPIES = 2,
	SEGMENT_FIRST_BLOCK = 1024, /* 4 MiB: superblocks, roots and room to grow */
	SEGMENT_BLOCKS_MIN = 16,
	SEGMENT_BLOCKS_MAX = 16384, /* 64 MiB: what a location can address */
	SEGMENTS_MAX = 1 << 22,
	PARTITIONS_MAX = 1024,
	FRAME_SIZE_MAX = 1 << 20,
	FRAME_HEADER_SIZE = 64,
	RECORD_UNIT = 16, /* bytes: records start at multiples of it */
	RECORD_SIZE_MAX = 4095 * RECORD_UNIT,
};

/* Features a writer used. Unknown incompatible ones: not opened; read-only ones: not written. */
struct format_features {
	uint64_t compatible, read_only, incompatible;
};

/* What of them this weir knows. */
#define FEATURES_COMPATIBLE 0ull
#define FEATURES_READ_ONLY 0ull
#define FEATURES_INCOMPATIBLE 0ull

/*
 * A superblock is written when a store is made, opened and closed; the newest valid copy wins. A
 * run is the time between an open and the next: its streams, roots and log segments are its own.
 */
struct superblock {
	struct format_features features;
	uint8_t uuid[16];
	uint64_t epoch; /* grows with every write */
	uint64_t created_ms;
	uint32_t segment_blocks;
	uint32_t partition_count;
	uint32_t run;
	uint32_t stream_count; /* of this run */
	bool clean;            /* the run was closed: its logs end with its roots */
};

void superblock_encode(const struct superblock *super, uint32_t copy, void *block);
/*
 * NOT_FOUND: no superblock here. CORRUPT: one, but damaged. UNSUPPORTED: of a newer format;
 * *format says which. `copy` is where it was read from.
 */
enum status superblock_decode(const void *block, uint32_t copy, struct superblock *super,
                              uint32_t *format) __attribute__((warn_unused_result));

enum segment_kind {
	SEGMENT_FREE = 0, /* in memory only */
	SEGMENT_LOG = 1,
	SEGMENT_INDEX = 2,
	SEGMENT_BLOB = 3,
	SEGMENT_KINDS
};

struct segment_header {
	uint64_t generation; /* unique in the life of the store: a new one whenever it is reused */
	uint32_t segment;
	uint32_t run;
	uint16_t stream;
	uint8_t kind; /* enum segment_kind */
};

void segment_header_encode(const struct segment_header *header, void *block);
enum status segment_header_decode(const void *block, uint32_t segment,
                                  struct segment_header *header)
        __attribute__((warn_unused_result));

/*
 * The root of a stream: where its last checkpoint is and where its log goes on. The body, in index
 * segments, lists segments and partitions: see struct root_body.
 */
struct root {
	uint64_t sequence; /* grows with every checkpoint of the run */
	uint64_t lsn;      /* the checkpoint holds all frames up to this one */
	uint64_t version_next;
	uint64_t generation_next; /* larger than any that this stream has seen */
	uint64_t body_size;       /* bytes */
	uint32_t body_crc;
	uint32_t body_count; /* extents of the body: 1..ROOT_EXTENTS_MAX */
	uint32_t run;
	uint32_t touched;                /* segments from this one on were never used */
	uint32_t log_segment, log_block; /* where frame lsn + 1 is, if it is not in a new segment */
	uint16_t stream;
	bool clean; /* nothing follows in the log */
	struct root_extent {
		uint32_t segment, block, blocks;
	} body[16];
};
enum { ROOT_EXTENTS_MAX = 16 };

void root_encode(const struct root *root, uint32_t copy, void *block);
enum status root_decode(const void *block, uint32_t copy, struct root *root)
        __attribute__((warn_unused_result));
/* The block of a copy of the root with this sequence. */
uint64_t root_block(uint32_t run, uint32_t stream, uint64_t sequence, uint32_t copy);

struct frame_header {
	uint64_t generation;  /* of the segment */
	uint64_t lsn;         /* frames of a stream are numbered from 1 without a gap */
	uint64_t durable_lsn; /* all up to this one were durable when it was written */
	uint32_t segment, block;
	uint32_t size; /* bytes, this header included, without the padding */
	uint32_t record_count;
	uint32_t records_crc; /* of the checksums of its records, in order */
};

/* Writes the 64 bytes at `frame`. */
void frame_header_encode(const struct frame_header *header, void *frame);
/* From the first block of what may be a frame. NOT_FOUND: not a whole header of a frame. */
enum status frame_header_decode(const void *frame, struct frame_header *header)
        __attribute__((warn_unused_result));

enum record_type {
	RECORD_PUT = 1,
	RECORD_DELETE = 2,
	RECORD_CLEAR = 3,   /* key: a prefix; all keys with it are gone */
	RECORD_FREE = 4,    /* value: blob extents that nothing refers to any more */
	RECORD_PREPARE = 5, /* version: transaction; value: struct prepare, what follows is of it */
	RECORD_RESOLVE = 6, /* version: transaction id; value: one byte, 1 committed, 0 not */
	RECORD_MOVED = 7,   /* a PUT written again by the cleaner: same version */
	RECORD_PREPARED_PUT = 8,    /* a PUT, if the transaction commits */
	RECORD_PREPARED_DELETE = 9, /* a DELETE, if the transaction commits */
};

/*
 * What this stream has of a transaction; `size` bytes of PREPARED records follow in the same frame.
 * What does not fit a frame is in several parts, numbered from 0 and each with a PREPARE: it is
 * prepared when the one without `more` is there, and all before it. A part 0 begins anew. A
 * transaction without a RESOLVE is committed if every participant has prepared it, or says that it
 * is committed.
 */
struct prepare {
	uint64_t participants; /* bit by stream */
	uint32_t size;
	uint32_t part;
	bool more; /* parts follow */
};
enum { PREPARE_SIZE = 16 };
#define PREPARE_MORE 0x80000000u

void prepare_encode(const struct prepare *prepare, uint8_t out[PREPARE_SIZE]);
enum status prepare_decode(struct bytes value, struct prepare *prepare)
        __attribute__((warn_unused_result));

enum {
	RECORD_KIND_MASK = 0x0f,
	RECORD_EXPIRES = 0x10, /* an expiry follows the header */
	RECORD_BLOB = 0x20,    /* the value is a struct blob_value */
};

struct record {
	uint8_t type; /* enum record_type */
	uint8_t flags;
	uint64_t version;
	uint64_t expires_ms; /* 0: no RECORD_EXPIRES */
	struct bytes key, value;
};

/* Where a record, an index page or a blob extent is. 0: nowhere. */
struct location {
	uint32_t segment;
	uint32_t offset; /* bytes from the start of the segment, a multiple of 16 */
	uint32_t size;   /* bytes, a multiple of 16, at most RECORD_SIZE_MAX */
	uint8_t flags;   /* of the record */
};

static inline uint64_t location_pack(struct location l)
{
	return (uint64_t)l.segment << 42 | (uint64_t)(l.offset / RECORD_UNIT) << 20 |
	       (uint64_t)(l.size / RECORD_UNIT) << 8 | l.flags;
}

static inline struct location location_unpack(uint64_t packed)
{
	return (struct location){
		.segment = (uint32_t)(packed >> 42),
		.offset = (uint32_t)(packed >> 20 & 0x3fffff) * RECORD_UNIT,
		.size = (uint32_t)(packed >> 8 & 0xfff) * RECORD_UNIT,
		.flags = (uint8_t)packed,
	};
}

/* Bytes in the log, padded to RECORD_UNIT. */
size_t record_size(size_t key_size, size_t value_size, bool expires);

/*
 * What binds a record to its place: mixed into its checksum, so that a record of an earlier life of
 * the segment, or of another place, is not taken for it.
 */
uint32_t record_seed(uint64_t generation, uint32_t segment);

/* Writes record_size() bytes, padding zeroed, and returns the record's checksum. */
uint32_t record_encode(const struct record *record, uint32_t seed, uint32_t offset, void *out);
/*
 * Reads the record that should be at data[0..size); key and value point into data. *used: its
 * padded size. `seed` and `offset`: where it was read from. CORRUPT: it is not that record.
 */
enum status record_decode(const void *data, size_t size, uint32_t seed, uint32_t offset,
                          struct record *record, size_t *used, uint32_t *crc)
        __attribute__((warn_unused_result));

/*
 * The same without the checksum; *total: its size without padding. What it says is not to be
 * believed, but it lies in data[0..size).
 */
enum status record_parse(const void *data, size_t size, uint32_t offset, struct record *record,
                         size_t *total) __attribute__((warn_unused_result));

/*
 * Checks a whole frame, its records included, of which data[0..size) was read from `block` of the
 * segment. CORRUPT: damaged or torn.
 */
enum status frame_check(const void *data, size_t size, const struct segment_header *segment,
                        uint32_t block, struct frame_header *header)
        __attribute__((warn_unused_result));

/* The value of a RECORD_BLOB: 16 bytes, then the extents. */
struct blob_extent {
	uint32_t segment, block, blocks, crc; /* crc32c of the bytes of it that hold data */
};
enum { BLOB_HEADER_SIZE = 16, BLOB_EXTENT_SIZE = 16, BLOB_EXTENTS_MAX = 2040 };

struct blob_value {
	uint64_t size; /* bytes of the whole value */
	uint32_t extent_count;
	const uint8_t *extents; /* extent_count x 16 bytes: blob_extent_get() */
};

size_t blob_value_size(uint32_t extent_count);
void blob_value_encode(uint64_t size, const struct blob_extent *extents, uint32_t count, void *out);
enum status blob_value_decode(struct bytes value, struct blob_value *blob)
        __attribute__((warn_unused_result));
struct blob_extent blob_extent_get(const uint8_t *extents, uint32_t index);
void blob_extent_put(uint8_t *extents, uint32_t index, struct blob_extent extent);

/* Little-endian integers at any address. */
static inline uint16_t get16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}
static inline uint32_t get32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}
static inline uint64_t get64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}
static inline void put16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}
static inline void put32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}
static inline void put64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

#endif
