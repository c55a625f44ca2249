/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the object engine share. Inside of it only.
 *
 *   obj_engine.c   opened, commands taken, calls given out
 *   obj_call.c     steps of a call: commands to the kv, values fetched, numbers given out
 *   obj_change.c   what a call writes in one COMMIT, and when it is tried again
 *   obj_bucket.c   buckets found, made, changed; obj_bucket_delete.c  removed
 *   obj_document.c their documents
 *   obj_head.c     versions found; HEAD; obj_parts.c  what they were made of
 *   obj_read.c     OPEN, READ, RELEASE
 *   obj_write.c    CREATE, WRITE, ABORT
 *   obj_commit.c   COMMIT, PUT
 *   obj_delete.c   DELETE, UPDATE
 *   obj_upload.c   uploads; obj_complete.c  made objects
 *   obj_list.c     LISTs
 *   obj_collect.c  what is to be removed is removed
 */
#ifndef ENGINE_OBJ_STATE_H
#define ENGINE_OBJ_STATE_H

#include "core/timer.h"
#include "core/worker.h"
#include "engine/obj_engine.h"
#include "engine/obj_format.h"

enum {
	OBJ_STASH_SIZE = 64 << 10,  /* small pieces are gathered to this before they are written */
	OBJ_INLINE_MAX = 4096,      /* contents in the version's own record: it is read by lists */
	OBJ_PACKED_MAX = 32 << 10,  /* contents as one record */
	OBJ_TRIES_MAX = 64,         /* of a change that loses against others */
	OBJ_BUCKETS_CACHED = 64,    /* a power of two */
	OBJ_NUMBERS_STEP = 1 << 20, /* taken from the store at a time */
	OBJ_CHANGE_WRITES = 88,
	OBJ_CHANGE_KEYS = 8 << 10, /* bytes of keys and small values: seven names, many numbers */
	OBJ_FETCH_SIZE = 16 << 10, /* what is expected of a record; more is read again */
};

_Static_assert((int)OBJ_PACKED_MAX <= (int)KV_INLINE_MAX, "a record's value");
_Static_assert(OBJ_RECORD_HEADER + OBJ_ETAG_MAX + OBJ_BRIEF_MAX + OBJ_ATTRIBUTES_MAX +
                               OBJ_INLINE_MAX + 8 * OBJ_MANIFESTS_MAX <=
                       OBJ_RECORD_MAX,
               "a version's record");

struct obj_call;
typedef void obj_step_fn(struct obj_call *call);

/* A copy of a key's value, in memory of the worker that asked. */
struct obj_fetched {
	struct buf *buf;
	uint64_t version;      /* of the key; 0: absent */
	uint32_t size, needed; /* bytes copied, bytes there are */
	bool load;             /* a blob's bytes are wanted too */
};

static inline struct bytes obj_fetched_bytes(const struct obj_fetched *fetched)
{
	return bytes_of(fetched->buf->data, fetched->size);
}

/* A bucket that was looked up. What is written proves that it was still so: see obj_change.c. */
struct obj_bucket_ref {
	uint64_t id; /* 0: no bucket is kept here */
	uint16_t base;
	uint8_t spread;
	uint8_t name_size;
	uint8_t name[OBJ_BUCKET_NAME_MAX];
	struct obj_seal_ref {
		uint64_t version; /* of its key; 0: not known */
		struct obj_seal seal;
	} seals[OBJ_SPREAD_MAX];
};

/* What one COMMIT writes. In a buffer. */
struct obj_change {
	struct kv_commit commit;
	uint32_t keys_used;
	struct kv_write writes[OBJ_CHANGE_WRITES];
	uint8_t keys[OBJ_CHANGE_KEYS];
};
_Static_assert(sizeof(struct obj_change) <= 16 << 10, "the second class of buffers");

enum obj_handle_mode { OBJ_HANDLE_FREE, OBJ_HANDLE_WRITES, OBJ_HANDLE_READS };

/* An object that is written or read. A slot of the engine's table. */
struct obj_handle {
	uint32_t generation;
	uint8_t mode;
	bool running; /* a command on it is */
	uint8_t extent_shift;
	uint64_t blob;    /* kv's, of the extent that is open; 0: none */
	uint64_t data_id; /* 0: not known yet; PARTS: of the part that is open */
	uint32_t extent;  /* number of that extent */
	/* Writes. */
	bool intent;          /* the trash knows of data_id */
	enum status failed;   /* not OK: it can only be aborted */
	uint64_t size;        /* bytes taken, those that are held too */
	uint64_t extent_size; /* of the extent that is open */
	uint64_t upload;
	uint16_t part;
	struct buf *stash;
	struct bytes held; /* not written yet: in the stash, or the submitter's */
	uint16_t name_size;
	uint8_t bucket_size;
	uint8_t bucket[OBJ_BUCKET_NAME_MAX];
	uint8_t name[OBJ_NAME_MAX];
	/* Reads. */
	struct buf *record_buf;
	struct obj_record record; /* in record_buf */
	unsigned partition;       /* of the name */
	bool pins;                /* its data is not collected meanwhile */
	struct buf *manifest;     /* PARTS: the one that was read last */
	uint32_t manifest_index, manifest_count;
};

/* A command under way. */
struct obj_call {
	STAILQ_ENTRY(obj_call) link;
	struct obj_engine *engine;
	struct req *parent; /* NULL: it is the engine's own */
	struct obj_cmd cmd;
	obj_step_fn *next;         /* when the kv has answered */
	obj_step_fn *fetched_next; /* when a value was fetched, numbers taken, a change made */
	obj_step_fn *place_next;   /* when the bucket or its seal is known */
	obj_step_fn *version_next; /* when the version is */
	obj_step_fn *data_next;    /* when contents are written */
	obj_step_fn *again;        /* from the start, after a change has lost */
	struct obj_fetched *fetching;
	unsigned tries;

	/* Where its names are, after obj_call_bucket(). */
	uint64_t bucket_id;
	uint16_t bucket_base;
	uint8_t bucket_spread;
	bool bucket_is_fresh; /* read for this call, not remembered */
	unsigned name_index, partition;
	uint64_t seal_version; /* after obj_call_seal() */
	struct obj_seal seal;

	struct obj_fetched head; /* the newest version, after obj_call_head() */
	struct obj_record head_record;
	bool head_is_marker;
	struct obj_fetched other; /* an older one, a part, an upload .. */
	struct obj_record other_record;
	struct obj_fetched upload; /* after obj_call_upload() */
	struct obj_record upload_record;
	struct obj_record made; /* what a change makes */
	struct buf *made_buf;
	struct buf *manifest;
	uint32_t manifest_index;
	struct buf *work; /* struct obj_change, or a list's */
	struct obj_handle *handle;
	bool owns_handle;  /* PUT: it ends with the call */
	uint64_t blob;     /* kv's, ends with the call; 0: none */
	uint64_t progress; /* bytes of the command that are done; other counts */
	bool flag;         /* of the command's own */
	uint64_t number;   /* see obj_call_numbers() */
	enum status ending;
	uint64_t ending_result;
	struct obj_key key; /* of the kv command under way */
	struct req req;     /* to the kv */
};
STAILQ_HEAD(obj_call_list, obj_call);

/* What the parent remembers while it is here or waits. */
struct obj_waits {
	struct frame frame;
	struct obj_cmd cmd;
};

struct obj_collector;

struct obj_engine {
	struct obj obj;
	struct worker *worker;
	struct kv *kv;
	struct bufs *bufs;
	struct obj_options options;
	struct obj_call *calls;
	struct obj_call_list calls_free;
	unsigned calls_running;
	struct req_list waiting; /* for a call */
	struct obj_handle *handles;
	unsigned handles_used, handle_next;
	struct obj_bucket_ref buckets[OBJ_BUCKETS_CACHED];
	uint64_t number_next, number_end;
	struct obj_engine *peers[WORKER_PEERS_MAX];
	unsigned peer_count;
	struct obj_collector *collector; /* NULL: another engine's */
	struct obj_engine_stats stats;
};

/* obj_call.c */
struct obj_call *obj_call_take(struct obj_engine *engine);
/* Gives back all that it holds, and completes the parent. */
void obj_call_finish(struct obj_call *call, enum status status, uint64_t result);
void obj_call_kv(struct obj_call *call, const struct kv_cmd *cmd, obj_step_fn *next);
/* Finishes the call with the status of the kv's answer unless that is OK; true: it did. */
bool obj_call_failed(struct obj_call *call);
/* Copies what call->key holds. Errors finish the call. */
void obj_call_fetch(struct obj_call *call, struct obj_fetched *to, obj_step_fn *next);
/* The same, and what is there must be a version's record; absent: *record is zeroes. */
void obj_fetched_drop(struct obj_fetched *fetched);
/* When next runs, obj_number_take() gives at least `count`. Errors finish the call. */
void obj_call_numbers(struct obj_call *call, unsigned count, obj_step_fn *next);
uint64_t obj_number_take(struct obj_engine *engine);
/* The work buffer, or the made one; false: the call was finished. */
bool obj_call_work(struct obj_call *call, struct buf **buf, size_t size);
void obj_call_not_found(struct obj_call *call, enum obj_missing missing);
void obj_call_visit(struct obj_call *call, const struct obj_entry *entry);
void obj_call_visit_part(struct obj_call *call, const struct obj_record *record, uint64_t offset);
void obj_call_visit_version(struct obj_call *call, const struct obj_record *record, bool latest);

/* obj_change.c. Any version: */
#define OBJ_ANY UINT64_MAX
bool obj_change_begin(struct obj_call *call); /* false: the call was finished */
void obj_change_check(struct obj_call *call, const struct obj_key *key, uint64_t version);
void obj_change_put(struct obj_call *call, const struct obj_key *key, struct bytes value,
                    uint64_t version);
void obj_change_put_blob(struct obj_call *call, const struct obj_key *key, uint64_t blob);
void obj_change_delete(struct obj_call *call, const struct obj_key *key, uint64_t version);
/* Memory for a small value, until the change is done. */
uint8_t *obj_change_memory(struct obj_call *call, size_t size);
void obj_change_trash(struct obj_call *call, unsigned partition, const struct obj_trash *trash);
/* What a version refers to is removed, now or by the collector. */
void obj_change_drop_data(struct obj_call *call, unsigned partition,
                          const struct obj_record *record);
/* The bucket is as it was when its seal was read. */
void obj_change_check_seal(struct obj_call *call);
/* When it lost against another: call->again. Other errors go to next, as the status of req. */
void obj_change_submit(struct obj_call *call, obj_step_fn *next);
/* Starts again, unless it did so too often. */
void obj_call_again(struct obj_call *call);

/* obj_bucket.c. All may finish the call instead of going on. */
void obj_call_bucket(struct obj_call *call, obj_step_fn *next);
void obj_call_seal(struct obj_call *call, obj_step_fn *next);
void obj_bucket_forget(struct obj_engine *engine, struct bytes name);
/* Reads the bucket itself: in call->other, and *record, until the next fetch. NULL: is finished. */
void obj_call_bucket_record(struct obj_call *call, obj_step_fn *next);
bool obj_call_bucket_decode(struct obj_call *call, struct obj_bucket_record *record);
/* In the change: the bucket, if it is still as it was read; with `seals` what they say too. */
bool obj_change_bucket(struct obj_call *call, const struct obj_bucket_record *record, bool seals);
void obj_bucket_key(struct bytes name, struct obj_key *key);
void obj_document_key(uint64_t bucket_id, unsigned number, struct obj_key *key);
bool obj_bucket_is_closed(const struct obj_call *call, const struct obj_bucket_record *record);
unsigned obj_bucket_partition(const struct obj_call *call, unsigned index);
obj_step_fn obj_bucket_create, obj_bucket_delete, obj_bucket_get, obj_bucket_update;
obj_step_fn obj_document_put, obj_document_get;

/* obj_head.c */
void obj_name_key(const struct obj_call *call, enum obj_space space, struct obj_key *key);
void obj_version_key(const struct obj_call *call, uint64_t version, struct obj_key *key);
void obj_data_key(uint64_t data_id, uint32_t extent, struct obj_key *key);
/* The newest version; head.version 0: there is none. */
void obj_call_head(struct obj_call *call, obj_step_fn *next);
/*
 * The version that the command names, after obj_call_head(). obj_located(): NULL: there is none;
 * else it is head_record or other_record.
 */
void obj_call_locate(struct obj_call *call, obj_step_fn *next);
const struct obj_record *obj_located(const struct obj_call *call);
bool obj_command_names_version(const struct obj_cmd *cmd);
/*
 * The version that the command names, looked for again if the bucket was only remembered; it is
 * there and no marker: else the call was finished.
 */
void obj_call_version(struct obj_call *call, obj_step_fn *next);
/* Whether the newest version is as wanted; false: the call was finished. */
bool obj_call_condition(struct obj_call *call, const struct obj_condition *condition);
obj_step_fn obj_head, obj_parts;

/* obj_read.c */
obj_step_fn obj_open, obj_read, obj_release;
struct obj_handle *obj_handle_take(struct obj_engine *engine, enum obj_handle_mode mode);
void obj_handle_free(struct obj_engine *engine, struct obj_handle *handle);
uint64_t obj_handle_number(const struct obj_engine *engine, const struct obj_handle *handle);
/* Of the command, in that mode, and marked as running; NULL: the call was finished. */
struct obj_handle *obj_call_handle(struct obj_call *call, enum obj_handle_mode mode);
bool obj_is_read(const struct obj_engine *engine, uint8_t data, uint64_t data_id);
uint32_t obj_extent_count(uint64_t size, unsigned extent_shift);

/* obj_write.c */
obj_step_fn obj_create, obj_write, obj_abort;
/* A handle of the command's name, in call->handle; false: the call was finished. */
bool obj_call_create(struct obj_call *call);
/* Writes what is held to the extent. */
void obj_call_flush(struct obj_call *call, obj_step_fn *next);
/* Ends the handle, with all that it holds. */
void obj_call_abort(struct obj_call *call, obj_step_fn *next);

/* obj_commit.c */
obj_step_fn obj_commit, obj_put;
/*
 * call->made becomes the newest version; in the change. After obj_call_head() and _null().
 * False: the call was finished.
 */
bool obj_change_head(struct obj_call *call);
void obj_head_key(const struct obj_call *call, bool is_marker, struct obj_key *key);
/* The null version among the older ones, where a new one would replace it: in other_record. */
void obj_call_null(struct obj_call *call, obj_step_fn *next);
/* False: the call was finished. */
bool obj_made_set(struct obj_call *call, const struct obj_put *put);
/* What a handle has written goes into the change, and made is told. */
void obj_change_contents(struct obj_call *call, bool may_inline);
bool obj_is_locked(const struct obj_call *call, const struct obj_record *record);
/* Of what the change has made: the handle is gone, the submitter is told. */
void obj_call_made(struct obj_call *call, uint64_t result);

/* obj_delete.c */
obj_step_fn obj_delete, obj_update;

/* obj_upload.c */
void obj_part_key(const struct obj_call *call, uint64_t upload, unsigned part, struct obj_key *key);
void obj_upload_key(const struct obj_call *call, uint64_t upload, struct obj_key *key);
void obj_manifest_key(unsigned partition, uint64_t upload, uint32_t index, struct obj_key *key);
/* The command's upload, in call->upload. Errors finish the call. */
void obj_call_upload(struct obj_call *call, obj_step_fn *next);
void obj_part_commit(struct obj_call *call);
obj_step_fn obj_upload_create, obj_upload_get, obj_upload_abort;
obj_step_fn obj_upload_complete;

/* obj_list.c */
obj_step_fn obj_list, obj_bucket_list, obj_upload_parts;

/* obj_collect.c */
enum status obj_collector_open(struct obj_engine *engine) __attribute__((warn_unused_result));
void obj_collector_close(struct obj_engine *engine);
void obj_collector_start(struct obj_engine *engine, struct req *req);
void obj_collector_stop(struct obj_engine *engine);
bool obj_collector_is_idle(const struct obj_engine *engine);
void obj_collector_call_done(struct obj_call *call, enum status status, uint64_t result);

#endif
