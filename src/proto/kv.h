/* SPDX-License-Identifier: Apache-2.0 */
/* The key-value protocol: values of bounded size under byte-string keys, in the order of bytes. */
#ifndef PROTO_KV_H
#define PROTO_KV_H

#include <stdbool.h>

#include "base/bytes.h"
#include "core/req.h"

enum {
	KV_KEY_MAX = 1088,        /* bytes, the space byte included */
	KV_INLINE_MAX = 32 << 10, /* bytes of a value that a command may carry; larger: a blob */
	KV_COMMIT_WRITES_MAX = 65536,
	KV_COMMIT_SIZE_MAX = 256 << 20, /* bytes of keys and inline values, of one engine */
	KV_SPACES = 256,
	KV_BLOB_IDLE_S = 600,
	KV_EXPIRED_IDLE_S = 5,
	KV_SCAN_MOMENT = 256, /* entries; fewer if their keys have more than 96 KiB */
};
#define KV_VALUE_MAX (512ull << 20) /* bytes, as a blob */

/*
 * The first byte of a key is its space: keys of one space are counted and cleared together, and
 * nothing else tells Redis databases, objects, files and series apart. Space 0 is the engine's.
 */
enum kv_space {
	KV_SPACE_ENGINE = 0,
	KV_SPACE_SERVER = 1,         /* what faces keep of themselves; always durable */
	KV_SPACE_REDIS = 16,         /* .. + 15: database 0 .. 15 */
	KV_SPACE_REDIS_MEMBERS = 32, /* .. + 15: the members of their collections */
	KV_SPACE_OBJECTS = 48,       /* .. + 11: buckets, objects and what belongs to them */
	KV_SPACE_VOLUMES = 60,       /* .. + 3: block devices, their layers and blocks */
	KV_SPACE_APP = 64,           /* .. + 15: users of the library */
};

/*
 *             needs                      result                      beside OK
 * GET         key, visit                 version; 0: absent          CORRUPT
 * PUT         key, value (1)             new version                 NO_SPACE, CONFLICT (2)
 * DELETE      key                        1: was there, 0: was not    CONFLICT (2)
 * UPDATE      key, visit                 new version; 0: absent now  what visit set, NO_SPACE
 * COMMIT      commit                     writes applied: all or none CONFLICT (2), NO_SPACE, (8)
 * SCAN        key, end, limit, visit     entries visited (3)
 * CLEAR       key: a prefix              entries removed (9)         NO_SPACE
 * COUNT       key: the space byte        live keys of that space
 * BLOB_WRITE  handle, value (4)          handle                      NO_SPACE
 * BLOB_OPEN   key, visit                 handle; 0: absent (5)
 * BLOB_READ   handle, offset, out        bytes                       CORRUPT (11)
 * BLOB_CLOSE  handle                     0
 * PREPARE     commit, version, handle    transaction id              CONFLICT, NO_SPACE (6)
 * RESOLVE     version, limit             0                           IO (7)
 * SYNC                                   0                           IO (10)
EXPIRED     partition, out             bytes                       (12)
 *
 * GET and UPDATE see the newest value; the request completes when all that it saw, and all that it
 * wrote, is durable (in a relaxed space: at once). An expired key is absent.
 *
 * (1) Or, with KV_FROM_BLOB, handle: the finished blob becomes the value. With KV_KEEP_EXPIRY the
 *     expiry of the key that is replaced stays.
 * (2) With KV_IF_VERSION, when the key's version is not `version` (0: the key is absent);
 *     result: the version that is there.
 * (3) [key, end) in order of bytes, or with KV_REVERSE from the end down; up to KV_SCAN_MOMENT
 *     entries at a time are of one moment, over several workers of one of each. Fewer than `limit`
 *     were visited: there are no more. SCAN_PARTITION: of cmd->partition only.
 *     KV_KEYS_ONLY: values are not read; entry.value is empty, entry.version and expires_ms
 *     0; the kind is told.
 * (4) Appends to a blob that nobody sees yet; handle 0 starts one, and if that fails there is none.
 *     BLOB_CLOSE drops it if no PUT took it. Every piece but the last is a multiple of 4 KiB.
 *     cmd->partition: that of the key that it will be the value of.
 * (5) Pins that version of the value, inline or blob, until BLOB_CLOSE. A visit is told of it.
 *     A handle that nobody has used for KV_BLOB_IDLE_S is closed: then it is INVALID.
 * (6) This and RESOLVE for layer/kv_shard.c alone: a COMMIT over several engines. PREPARE takes the
 *     writes of the commit whose keys are its engine's, checks and logs them, and locks the keys;
 *     the commit stays as it is until it is resolved. handle: the participants, bit by engine;
 *     version: the transaction, 0: give it an id. It completes before it is durable. Engines are
 *     asked in ascending order: it waits for keys that others have locked.
 * (7) version: the transaction; limit: enum kv_resolve. Not known: nothing is done.
 * (8) TOO_LARGE: more than KV_COMMIT_SIZE_MAX. BUSY: no memory for it now. A key whose value is a
 *     blob is written at most once in a commit.
 * (9) Of each worker at one moment, in memory and after a crash: from then on its keys are absent.
 *     They are removed over many turns; what is written to one meanwhile waits until it is removed,
 *     all else is served. The request completes when the last is gone.
 * (10) Completes when all that was acknowledged before it was submitted is durable, that of relaxed
 *     spaces, too.
 * (11) Of a handle of BLOB_WRITE, too: what its completed writes have put there. Commands on a
 *      handle are done one after the other.
 * (12) What the engine number `partition` (below traits.engines) has removed because its time had
 *      passed, in `out`: each key's size in two bytes, little endian, and the key; each is told
 *      once, to whoever asks first. It is kept from the first time that somebody asks until nobody
 *      has for KV_EXPIRED_IDLE_S, and what expires waits while there is no room for it.
 */
enum kv_resolve {
	KV_RESOLVE_ABORT,  /* the keys are as before */
	KV_RESOLVE_COMMIT, /* all have prepared and waited: it is applied, and seen from now on */
	KV_RESOLVE_WAIT,   /* until all that the engine has logged of it is durable; IO: never */
	KV_RESOLVE_FORGET, /* committed, and all have waited */
};

enum kv_op {
	KV_GET,
	KV_PUT,
	KV_DELETE,
	KV_UPDATE,
	KV_COMMIT,
	KV_SCAN,
	KV_CLEAR,
	KV_COUNT,
	KV_BLOB_WRITE,
	KV_BLOB_OPEN,
	KV_BLOB_READ,
	KV_BLOB_CLOSE,
	KV_PREPARE,
	KV_RESOLVE,
	KV_SYNC,
	KV_EXPIRED,
	KV_OP_COUNT
};

enum {
	KV_IF_VERSION = 1 << 0,
	KV_FROM_BLOB = 1 << 1,
	KV_KEEP_EXPIRY = 1 << 2,
	KV_KEYS_ONLY = 1 << 3,
	KV_REVERSE = 1 << 4,
	KV_SCAN_PARTITION = 1 << 5,
	KV_LOAD = 1 << 6, /* GET, UPDATE: a blob is read into memory for visit; else see kv_entry */
};

/* What a visit sees. All memory dies when the visit returns. */
struct kv_entry {
	struct bytes key;
	struct bytes value;  /* empty when blob */
	uint64_t size;       /* bytes of the whole value */
	uint64_t version;    /* grows with every change of a key, never repeats; 0: absent */
	uint64_t expires_ms; /* wall clock since 1970; 0: never */
	uint8_t kind;        /* 0..15, what the writer said */
	bool blob;           /* the value is not in memory: ask with KV_LOAD, or BLOB_OPEN */
	bool expired; /* version 0: it is there, but its time has passed; to be removed soon */
};

/* TOUCH: the value stays, whatever its size, and gets another expiry and version. */
enum kv_action { KV_KEEP, KV_STORE, KV_REMOVE, KV_TOUCH };

/* What an UPDATE's visit decides. Comes zeroed: keep, STATUS_OK. */
struct kv_edit {
	enum kv_action action;
	struct bytes value;  /* STORE: at most scratch_max bytes; copied when the visit returns */
	uint64_t expires_ms; /* STORE, TOUCH: 0: never */
	uint8_t kind;        /* STORE */
	uint8_t *scratch;    /* room for the new value; may alias neither key nor old value */
	size_t scratch_max;  /* at least KV_INLINE_MAX; with KV_LOAD at least twice the old size */
	enum status status;  /* what the request completes with; not OK: nothing is changed */
};

struct kv_cmd;

/*
 * Runs on the worker that owns the key, inside its turn: pure, bounded, no submits. GET, BLOB_OPEN:
 * once, edit NULL. UPDATE: once for the change that happens. SCAN: once per entry, edit NULL.
 */
typedef void kv_visit_fn(void *visitor, const struct kv_entry *entry, struct kv_edit *edit);

/* One write or one check of a COMMIT. */
struct kv_write {
	struct bytes key;
	struct bytes value;
	uint64_t version; /* with KV_IF_VERSION */
	uint64_t expires_ms;
	uint32_t flags; /* KV_IF_VERSION, KV_KEEP_EXPIRY, KV_FROM_BLOB (handle in version) */
	uint8_t kind;
	uint8_t op; /* KV_PUT, KV_DELETE; KV_GET: only checks the version */
};

struct kv_commit {
	const struct kv_write *writes;
	uint32_t count;
};

/* The command dies when submit returns; what it points to is the submitter's until completion. */
struct kv_cmd {
	uint8_t op; /* enum kv_op */
	uint8_t kind;
	uint16_t partition;
	uint32_t flags;
	uint32_t limit;
	uint32_t out_size;
	struct bytes key;
	union {
		struct bytes value;
		struct bytes end; /* SCAN: first key not wanted; size 0: to the end of the space */
	};
	union {
		uint64_t version;
		uint64_t offset; /* BLOB_READ */
	};
	uint64_t expires_ms; /* PUT: 0: never */
	uint64_t handle;     /* of a blob */
	kv_visit_fn *visit;  /* may be NULL for GET */
	union {
		void *visitor;
		uint8_t *out;                   /* BLOB_READ, EXPIRED */
		const struct kv_commit *commit; /* COMMIT, PREPARE */
	};
};
_Static_assert(sizeof(struct kv_cmd) <= 96, "copied into a frame by every layer that keeps it");

/* How durable OK is. */
enum kv_durability {
	KV_DURABLE, /* on disk */
	KV_RELAXED, /* in memory, on disk soon: chosen per space, by name, in the configuration */
};

struct kv_traits {
	unsigned partitions;
	unsigned engines; /* to ask with EXPIRED */
	bool sorted, durable, transactional;
};

struct kv;

struct kv_ops {
	const char *name;
	void (*submit)(struct kv *kv, struct req *req, const struct kv_cmd *cmd);
	void (*close)(struct kv *kv);
};

struct kv {
	const struct kv_ops *ops;
	struct worker *worker; /* the only one that may submit */
	struct kv_traits traits;
	uint32_t frames_size; /* bytes of frames pushed by it and all below it */
};

/* The only way in: checks the command, the worker, cancellation and the deadline. */
void kv_submit(struct kv *kv, struct req *req, const struct kv_cmd *cmd);

/*
 * The partition of a key, of kv->traits.partitions: a keyed hash of the whole key, except in
 * KV_SPACE_REDIS_MEMBERS, KV_SPACE_OBJECTS and KV_SPACE_VOLUMES, whose keys start with space and
 * partition as two bytes big-endian: so members live beside their collection's own record, and a
 * bucket's objects in a few partitions, in order.
 */
uint32_t kv_partition(struct bytes key, unsigned partitions);
/* Whether it is a key at all: for what was read from a disk. */
bool kv_key_is_sound(struct bytes key);
/* Whether keys of that space say their partition. */
static inline bool kv_space_is_placed(uint8_t space)
{
	return space >= KV_SPACE_REDIS_MEMBERS && space < KV_SPACE_OBJECTS + 16;
}
/* The same when hash64(key) is known. */
uint32_t kv_partition_hashed(struct bytes key, uint64_t hash, unsigned partitions);

#endif
