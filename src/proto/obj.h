/* SPDX-License-Identifier: Apache-2.0 */
/* The object protocol: named byte streams of any size in buckets, immutable once committed. */
#ifndef PROTO_OBJ_H
#define PROTO_OBJ_H

#include <stdbool.h>

#include "base/bytes.h"
#include "core/req.h"

enum {
	OBJ_BUCKET_NAME_MAX = 255,
	OBJ_NAME_MAX = 1024, /* bytes, none of them 0 */
	OBJ_ETAG_MAX = 64,
	OBJ_BRIEF_MAX = 128,
	OBJ_ATTRIBUTES_MAX = 16 << 10,
	OBJ_ATTRIBUTE_NUMBER_MAX = 255,
	OBJ_LABEL_MAX = 4096,
	OBJ_DOCUMENTS = 32,
	OBJ_DOCUMENT_MAX = 256 << 10,
	OBJ_PIECE_MAX = 1 << 20, /* bytes of a WRITE or a READ */
	OBJ_PIECE_UNIT = 64 << 10,
	OBJ_PARTS_MAX = 10000,
	OBJ_DELIMITER_MAX = 64,
};
#define OBJ_SIZE_MAX (50ull << 40)
#define OBJ_PART_SIZE_MAX (5ull << 30)
/* A part may have that much more, by what a face adds to the bytes of its clients. */
#define OBJ_PART_ROOM (1ull << 20)

/*
 * A put is CREATE, WRITE..., COMMIT: the object appears at COMMIT, whole, or never; PUT is the same
 * in one command. A get is OPEN, READ..., RELEASE: it sees the version that it opened, whatever
 * happens to the name meanwhile. So an object of any size passes through buffers of a fixed size. A
 * multipart upload is UPLOAD_CREATE, then parts in any order, each put with `upload` and `part`,
 * then UPLOAD_COMPLETE, which makes one object of them without moving a byte.
 *
 *                  needs                               result                  beside OK
 * BUCKET_CREATE    bucket, settings                    0                       EXISTS
 * BUCKET_DELETE    bucket                              0                       CONFLICT (1)
 * BUCKET_GET       bucket, visit                       0
 * BUCKET_UPDATE    bucket, settings                    0                       INVALID (2)
 * BUCKET_LIST      list, visit                         1: there are more       (3)
 * DOCUMENT_PUT     bucket, part, value                 0                       NO_SPACE (4)
 * DOCUMENT_GET     bucket, part, visit                 0                       (4)
 *
 * PUT              name, put, value, upload            version                 CONFLICT, NO_SPACE
 * CREATE           name, upload, offset (5)            handle                  BUSY
 * WRITE            handle, value (6)                   bytes so far            NO_SPACE, TOO_LARGE
 * COMMIT           handle, put, visit (7)              version                 CONFLICT, NO_SPACE
 * ABORT            handle                              0
 * OPEN             name, version, visit                handle                  BUSY
 * READ             handle, offset, out                 bytes; 0: past the end  CORRUPT
 * RELEASE          handle                              0
 * HEAD             name, version, visit                version
 * DELETE           name, version, visit (8)            enum obj_deleted        CONFLICT, DENIED
 * UPDATE           name, version, put, visit (9)       version                 CONFLICT, DENIED
 * PARTS            name, version, list, visit          1: there are more       (10)
 *
 * UPLOAD_CREATE    name, put                           upload                  NO_SPACE
 * UPLOAD_GET       name, upload, visit                 upload
 * UPLOAD_COMPLETE  name, upload, complete, put (11)    version                 CONFLICT, INVALID
 * UPLOAD_ABORT     name, upload                        0
 * UPLOAD_PARTS     name, upload, list, visit           1: there are more       (10)
 *
 * LIST             bucket, list, visit                 1: there are more       (3)
 * LIST_VERSIONS    bucket, list, visit                 1: there are more
 * LIST_UPLOADS     bucket, list, visit                 1: there are more
 *
 * `name` means bucket and name. Where something is missing the status is NOT_FOUND and the result
 * says what, enum obj_missing. A command completes when all that it wrote, and all that it saw, is
 * durable. One command at a time on a handle. A handle is of the worker that got it.
 *
 * (1) Something is in it. Unfinished uploads are aborted.
 * (2) Versioning cannot go back to off, nor be suspended where there are locks.
 * (3) In order of bytes: names that start with list->prefix and come after list->after. LIST sees
 *     the newest versions, and no markers. Those in which list->delimiter follows the prefix are
 *     told once, as an entry of kind PREFIX that ends with the delimiter; one that is list->after
 *     itself was told before. Fewer entries than list->limit: there are no more. To go on: after
 *     is the last entry's name, after_id its version or upload. What is there all the while is
 *     seen once.
 * (4) `part` numbers it, 0..31; an empty value removes it. NOT_FOUND, OBJ_NO_DOCUMENT: there is
 *     none.
 * (5) offset: how much will come, as far as is known: a hint. With `upload` and `part` (1..10000)
 *     it is a part of that upload, which replaces the one of that number; its COMMIT takes
 *     etag, brief and attributes of put, no conditions, and has result 0.
 * (6) 1..OBJ_PIECE_MAX bytes, the submitter's until completion. Multiples of OBJ_PIECE_UNIT are not
 *     copied; large ones are cheaper, to read too.
 * (7) OK ends the handle; after anything else it may be tried again, or aborted. put->condition is
 *     decided at the moment of the change. visit is told what was made.
 * (8) Without a version: of a bucket with versioning puts a marker. A version that is not there is
 *     no error. visit is told of the marker that was put, or of what was removed. DENIED: locked.
 *     put may be NULL, or only have a condition.
 * (9) Changes attributes, and with OBJ_SET_RETENTION or OBJ_SET_HOLD the lock, of a version that is
 *     there. Attributes in put replace those of the same numbers; an empty one is removed. visit
 *     is told of the version as it was.
 * (10) list->after_id: the last part already seen. PARTS: of an object made by an upload.
 * (11) The condition decides as for COMMIT, etag replaces that of UPLOAD_CREATE and attributes are
 *     merged as by UPDATE. INVALID: the result says why, enum obj_invalid.
 */
enum obj_op {
	OBJ_BUCKET_CREATE,
	OBJ_BUCKET_DELETE,
	OBJ_BUCKET_GET,
	OBJ_BUCKET_UPDATE,
	OBJ_BUCKET_LIST,
	OBJ_DOCUMENT_PUT,
	OBJ_DOCUMENT_GET,
	OBJ_PUT,
	OBJ_CREATE,
	OBJ_WRITE,
	OBJ_COMMIT,
	OBJ_ABORT,
	OBJ_OPEN,
	OBJ_READ,
	OBJ_RELEASE,
	OBJ_HEAD,
	OBJ_DELETE,
	OBJ_UPDATE,
	OBJ_PARTS,
	OBJ_UPLOAD_CREATE,
	OBJ_UPLOAD_GET,
	OBJ_UPLOAD_COMPLETE,
	OBJ_UPLOAD_ABORT,
	OBJ_UPLOAD_PARTS,
	OBJ_LIST,
	OBJ_LIST_VERSIONS,
	OBJ_LIST_UPLOADS,
	OBJ_OP_COUNT
};

/* Result of NOT_FOUND. */
enum obj_missing {
	OBJ_NO_BUCKET = 1,
	OBJ_NO_NAME,    /* or the newest version is a marker: then visit was told of it */
	OBJ_NO_VERSION, /* of that number; or it is a marker: then visit was told of it */
	OBJ_NO_UPLOAD,  /* or it is completed or aborted, or of another name */
	OBJ_NO_DOCUMENT,
};

/* Result of INVALID. */
enum obj_invalid {
	OBJ_PART_ORDER = 1, /* numbers do not grow, or there is none */
	OBJ_PART_UNKNOWN,   /* no such part, or its etag is another */
	OBJ_PART_SMALL,     /* below complete->size_min, and not the last */
	OBJ_STATE,          /* what the bucket's settings forbid */
};

enum obj_deleted { OBJ_WAS_ABSENT, OBJ_REMOVED, OBJ_MARKED };

enum {
	/* Of a command. */
	OBJ_NULL_VERSION = 1 << 0,      /* the version without a number, not cmd->version */
	OBJ_BYPASS_GOVERNANCE = 1 << 1, /* DELETE, UPDATE: past locks of that mode */
	OBJ_SET_RETENTION = 1 << 2,     /* UPDATE */
	OBJ_SET_HOLD = 1 << 3,          /* UPDATE */
};

/* Of a version. */
enum {
	OBJ_IS_NULL = 1 << 0,   /* written without versioning: its id is "null" */
	OBJ_IS_MARKER = 1 << 1, /* nothing but a place in the order: the name was deleted */
	OBJ_IS_LATEST = 1 << 2,
	OBJ_GOVERNANCE = 1 << 3, /* what retain_until_ms means; one of the two at most */
	OBJ_COMPLIANCE = 1 << 4,
	OBJ_HOLD = 1 << 5, /* not deleted before it is lifted */
};

/* A version of an object; or an upload: then `version` is the upload's number. */
struct obj_meta {
	uint64_t size;            /* bytes */
	uint64_t version;         /* newer versions of a name have larger ones; null ones too */
	uint64_t created_ms;      /* wall clock since 1970 */
	uint64_t retain_until_ms; /* 0: not locked by time */
	uint64_t upload;          /* that made it; 0: none */
	uint32_t part_count;      /* of that upload */
	uint32_t flags;           /* OBJ_IS_NULL .. */
	struct bytes etag;        /* opaque, at most OBJ_ETAG_MAX */
	struct bytes brief;       /* opaque, at most OBJ_BRIEF_MAX; seen in lists too */
	struct bytes attributes;  /* not in lists; see obj_attribute_get() */
};

struct obj_part {
	uint64_t size;
	uint64_t offset; /* in the object; 0 while it is not one */
	uint64_t created_ms;
	uint32_t number;
	struct bytes etag, brief, attributes;
};

enum obj_versioning { OBJ_VERSIONING_OFF, OBJ_VERSIONING_ON, OBJ_VERSIONING_SUSPENDED };

struct obj_bucket {
	uint64_t created_ms;
	uint64_t version;   /* changes with every change of the bucket or a document of it */
	uint32_t documents; /* bit by number: which there are */
	uint8_t versioning; /* enum obj_versioning */
	bool locks;         /* versions may be locked; never taken back */
	struct bytes label; /* opaque: its owner and such */
};

/* What a visit is told. Runs on the submitter's worker; all memory dies when it returns. */
enum obj_kind { OBJ_OBJECT, OBJ_PREFIX, OBJ_BUCKET, OBJ_PART, OBJ_UPLOAD, OBJ_DOCUMENT };

struct obj_entry {
	uint8_t kind;      /* enum obj_kind */
	struct bytes name; /* of the object, the bucket; the prefix; PART, DOCUMENT: empty */
	union {
		struct obj_meta meta;     /* OBJECT, UPLOAD */
		struct obj_bucket bucket; /* BUCKET */
		struct obj_part part;     /* PART */
		struct bytes document;    /* DOCUMENT */
	};
};

typedef void obj_visit_fn(void *visitor, const struct obj_entry *entry);

/* What the newest version must be like: all of what flags ask for. A marker counts as absent. */
enum {
	OBJ_IF_ABSENT = 1 << 0,
	OBJ_IF_OTHER_ETAG = 1 << 6, /* than `etag`; or absent */
	OBJ_IF_PRESENT = 1 << 1, /* else: NOT_FOUND; those below imply it */
	OBJ_IF_ETAG = 1 << 2,
	OBJ_IF_VERSION = 1 << 3,
	OBJ_IF_SIZE = 1 << 4,
	OBJ_IF_CREATED = 1 << 5,
};

struct obj_condition {
	uint32_t flags; /* 0: none */
	uint64_t version, size, created_ms;
	struct bytes etag;
};

struct obj_put {
	struct bytes etag, brief, attributes;
	uint64_t retain_until_ms;
	uint32_t flags; /* OBJ_GOVERNANCE, OBJ_COMPLIANCE, OBJ_HOLD */
	struct obj_condition condition;
};

struct obj_settings {
	bool set_versioning, set_locks, set_label; /* CREATE: all are taken */
	bool locks;                                /* true: and versioning is on */
	uint8_t versioning;
	struct bytes label; /* at most OBJ_LABEL_MAX */
};

struct obj_list {
	struct bytes prefix, delimiter; /* may be empty */
	struct bytes after;             /* empty: from the start */
	uint64_t after_id;              /* 0: everything of `after` was seen */
	uint32_t limit;                 /* entries, at least 1 */
};

struct obj_complete {
	const struct obj_complete_part {
		uint32_t number;
		struct bytes etag;
	} * parts;
	uint32_t count;
	uint64_t size_min; /* of each part but the last; 0: any */
};

/* The command dies when submit returns; what it points to is the submitter's until completion. */
struct obj_cmd {
	uint8_t op;     /* enum obj_op */
	uint16_t part;  /* number of a part or a document */
	uint32_t flags; /* OBJ_NULL_VERSION, .. */
	struct bytes bucket;
	struct bytes name;
	uint64_t version; /* 0: the newest */
	uint64_t upload;  /* 0: none */
	uint64_t handle;
	union {
		uint64_t offset;    /* READ, CREATE */
		struct bytes value; /* WRITE, PUT, DOCUMENT_PUT */
		const struct obj_complete *complete;
		const struct obj_settings *settings;
		const struct obj_list *list;
	};
	union {
		const struct obj_put *put;
		uint8_t *out; /* READ */
	};
	uint32_t out_size;
	obj_visit_fn *visit; /* may be NULL but for lists and GETs */
	void *visitor;
};
_Static_assert(sizeof(struct obj_cmd) <= 128, "copied into a frame");

struct obj;

struct obj_ops {
	const char *name;
	void (*submit)(struct obj *obj, struct req *req, const struct obj_cmd *cmd);
	void (*close)(struct obj *obj);
};

struct obj {
	const struct obj_ops *ops;
	struct worker *worker; /* the only one that may submit */
	uint32_t frames_size;  /* bytes of frames pushed by it and all below it */
};

/* The only way in: checks the command, the worker, cancellation and the deadline. */
void obj_submit(struct obj *obj, struct req *req, const struct obj_cmd *cmd);

/*
 * Attributes: opaque values, each under a number that its writer chose, in one run of bytes. They
 * are read and changed by number, so that tags and access lists do not lose each other's changes.
 */
struct bytes obj_attribute_get(struct bytes attributes, unsigned number); /* size 0: none */
/* False: damaged. */
bool obj_attributes_are_sane(struct bytes attributes);

/* Memory: its user's; `data` has room for size_max bytes, of which `size` are used. */
struct obj_attributes {
	uint8_t *data;
	size_t size, size_max;
};
/* Appends one, of at most 65,535 bytes; each number once. False: no room, nothing is changed. */
bool obj_attribute_add(struct obj_attributes *to, unsigned number, struct bytes value);
/* `base` with those of `changes` in place of its own of those numbers; empty ones are left out. */
bool obj_attributes_merge(struct obj_attributes *to, struct bytes base, struct bytes changes);

#endif
