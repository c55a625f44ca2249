/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and values of the object engine, as docs/formats.md has them. Pure. Inside of the engine
 * only, but for tests and the programs that look at a store.
 */
#ifndef ENGINE_OBJ_FORMAT_H
#define ENGINE_OBJ_FORMAT_H

#include "base/status.h"
#include "proto/kv.h"
#include "proto/obj.h"

/* The first byte of a key. */
enum obj_space {
	OBJ_SPACE_CURRENT =
	        KV_SPACE_OBJECTS, /* newest versions that are not markers: what LIST sees */
	OBJ_SPACE_MARKERS,        /* newest versions that are */
	OBJ_SPACE_VERSIONS,       /* older ones */
	OBJ_SPACE_UPLOADS,
	OBJ_SPACE_PARTS,     /* of uploads, and of the objects that came of them */
	OBJ_SPACE_DATA,      /* extents of contents */
	OBJ_SPACE_MANIFESTS, /* where in an object its parts begin */
	OBJ_SPACE_BUCKETS,
	OBJ_SPACE_SEALS, /* of a bucket, one beside its objects in each partition */
	OBJ_SPACE_DOCUMENTS,
	OBJ_SPACE_TRASH,   /* what is to be removed */
	OBJ_SPACE_COUNTER, /* of all numbers that are given out */
};

enum {
	OBJ_KEY_HEAD = 1 + 2 + 8, /* space, partition, bucket: before a name */
	OBJ_KEY_TAIL = 1 + 8,     /* zero, version: behind one */
	OBJ_KEY_MAX = OBJ_KEY_HEAD + OBJ_NAME_MAX + OBJ_KEY_TAIL,
	OBJ_SPREAD_MAX = 16,
	OBJ_RECORD_HEADER = 72,
	OBJ_RECORD_MAX = 28 << 10, /* bytes of a version's record */
	OBJ_MANIFEST_PARTS = 1250, /* entries of one record */
	OBJ_MANIFEST_ENTRY = 24,
	OBJ_MANIFESTS_MAX = OBJ_PARTS_MAX / OBJ_MANIFEST_PARTS,
};

_Static_assert((int)OBJ_KEY_MAX < (int)KV_KEY_MAX, "a scan may start behind the largest key");
_Static_assert((int)(OBJ_MANIFEST_PARTS *OBJ_MANIFEST_ENTRY) <= (int)KV_INLINE_MAX,
               "a record's value");

/* A key that is being put together. */
struct obj_key {
	uint16_t size;
	uint8_t data[OBJ_KEY_MAX + 1]; /* one more: the first key behind the largest */
};

static inline struct bytes obj_key_bytes(const struct obj_key *key)
{
	return bytes_of(key->data, key->size);
}

/* {space, partition, id}: SEALS, and what the keys of a bucket or an upload begin with. */
void obj_key_begin(struct obj_key *key, enum obj_space space, unsigned partition, uint64_t id);
void obj_key_add(struct obj_key *key, struct bytes name);
void obj_key_add_number(struct obj_key *key, uint64_t number, unsigned size); /* big-endian */
/* Behind a name: zero, and the version so that newer ones come first. */
void obj_key_add_version(struct obj_key *key, uint64_t version);
void obj_key_add_upload(struct obj_key *key, uint64_t upload);
/* The first key behind all that begin with it; false: there is none. */
bool obj_key_skip(struct obj_key *key);

/* The name in a key of CURRENT or MARKERS; of VERSIONS or UPLOADS with the number behind it. */
struct bytes obj_key_name(struct bytes key);
struct bytes obj_key_numbered_name(struct bytes key, uint64_t *number);

enum obj_data {
	OBJ_DATA_NONE,
	OBJ_DATA_INLINE,  /* in the record itself */
	OBJ_DATA_EXTENTS, /* DATA records of data_id */
	OBJ_DATA_PARTS,   /* of upload data_id, as its manifest says */
};

enum { OBJ_HAS_COPY = 1 << 15 }; /* in obj_record.flags: the same version is in VERSIONS too */

/* A version, a part or an upload. */
struct obj_record {
	uint8_t data;         /* enum obj_data */
	uint8_t extent_shift; /* EXTENTS: of 1 << extent_shift bytes, but for the last */
	uint16_t flags;       /* as of struct obj_meta */
	uint32_t part_count;
	uint64_t size, version, created_ms, retain_until_ms, data_id;
	uint64_t null_version; /* of a newest version: the null one among the older; 0: none */
	struct bytes etag, brief, attributes;
	struct bytes ends;     /* PARTS: end in the object of each manifest record, 8 bytes each */
	struct bytes contents; /* INLINE */
};

size_t obj_record_size(const struct obj_record *record);
size_t obj_record_encode(const struct obj_record *record, uint8_t *out);
enum status obj_record_decode(struct bytes value, struct obj_record *record)
        __attribute__((warn_unused_result));
/* In an encoded one: as an older version is kept; and as the newest, made of an older one. */
void obj_record_retire(uint8_t *value);
void obj_record_promote(uint8_t *value, uint64_t null_version);
void obj_record_set_null(uint8_t *value, uint64_t null_version);
/* What a list needs of it: that many bytes of its start decode with obj_record_decode_start(). */
size_t obj_record_start_size(struct bytes value);
enum status obj_record_decode_start(struct bytes value, struct obj_record *record)
        __attribute__((warn_unused_result));
void obj_record_meta(const struct obj_record *record, struct obj_meta *meta);

struct obj_bucket_record {
	uint8_t versioning; /* enum obj_versioning */
	bool locks;
	bool closing;       /* it is being deleted, */
	uint64_t closed_ms; /* since when; nobody writes for OBJ_CLOSING_MS */
	uint8_t spread;     /* partitions that its names are in */
	uint32_t documents;
	uint64_t id, created_ms;
	struct bytes label;
};

enum { OBJ_BUCKET_HEADER = 40, OBJ_CLOSING_MS = 10000 };

size_t obj_bucket_encode(const struct obj_bucket_record *record, uint8_t *out);
enum status obj_bucket_decode(struct bytes value, struct obj_bucket_record *record)
        __attribute__((warn_unused_result));

/* What a writer must know of the bucket, beside the names. */
struct obj_seal {
	uint8_t versioning;
	bool locks, closing;
};

enum { OBJ_SEAL_SIZE = 8 };
void obj_seal_encode(const struct obj_seal *seal, uint8_t *out);
enum status obj_seal_decode(struct bytes value, struct obj_seal *seal)
        __attribute__((warn_unused_result));

enum obj_trash_kind {
	OBJ_TRASH_INTENT = 1, /* extents of a put under way; due when its process is not there */
	OBJ_TRASH_DATA,       /* extents */
	OBJ_TRASH_UPLOAD,     /* all parts of an upload, and its manifest */
	OBJ_TRASH_REST,       /* the parts that its manifest does not name */
};

struct obj_trash {
	uint8_t kind; /* enum obj_trash_kind */
	uint32_t part_count;
	uint64_t id; /* of data, or the upload */
};

enum { OBJ_TRASH_SIZE = 16 };
void obj_trash_encode(const struct obj_trash *trash, uint8_t *out);
enum status obj_trash_decode(struct bytes value, struct obj_trash *trash)
        __attribute__((warn_unused_result));

/* An entry of a manifest. */
struct obj_manifest_entry {
	uint64_t end; /* of the part, in the object */
	uint64_t data_id;
	uint32_t number;
	uint8_t extent_shift;
};

void obj_manifest_put(uint8_t *manifest, uint32_t index, const struct obj_manifest_entry *entry);
void obj_manifest_get(const uint8_t *manifest, uint32_t index, struct obj_manifest_entry *entry);

/* Numbers of data carry their partition, so that an extent is found without another look. */
static inline uint64_t obj_data_id(uint64_t number, unsigned partition)
{
	return number << 16 | partition;
}

static inline unsigned obj_data_partition(uint64_t id)
{
	return (unsigned)(id & 0xffff);
}

#endif
