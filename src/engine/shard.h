/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key-value engine of one worker: the partitions that it owns, their index, its log, its cache.
 * Inside of the engine only; the way in is shard->kv, opened by engine/store.h.
 *
 *   shard.c         queue, batches, lookups
 *   shard_load.c    loads of pages and records
 *   shard_start.c   made, started, stopped
 *   shard_write.c   PUT, DELETE, UPDATE, COMMIT
 *   shard_txn.c     PREPARE, RESOLVE: this engine's part of a COMMIT over several
 *   shard_scan.c    SCAN
 *   shard_clear.c   CLEAR, COUNT
 *   shard_blob.c, blob_value.c  values that do not fit a record
 *   checkpoint.c    the index to disk, the log's start moved on, segments given back
 *   cleaner.c, cleaner_blob.c  segments with little left in them emptied
 *   expiry.c        keys whose time has passed removed
 */
#ifndef ENGINE_SHARD_H
#define ENGINE_SHARD_H

#include "base/assert.h"
#include "core/timer.h"
#include "core/worker.h"
#include "engine/btree.h"
#include "engine/log.h"
#include "engine/record_cache.h"
#include "engine/space.h"
#include "proto/kv.h"

struct store;

enum {
	SHARD_BATCH = 64,      /* commands whose memory is fetched together */
	SHARD_RUN_MAX = 256,   /* commands of one run(): bounds the latency of a turn */
	SHARD_LOADS_MAX = 256, /* reads in flight */
	SHARD_SCANS_MAX = 16,
	SHARD_BUSY_BUCKETS = 4096, /* a commit may lock 65,536 keys */
	SHARD_BLOBS_MAX = 256,     /* unpublished or opened at a time */
	SHARD_TXNS_MAX = 256, /* transactions over several engines that are not forgotten yet */
	/* Writes that wait for space: 1,024 connections with 64 commands under way each. */
	SHARD_SPACE_WAITERS_MAX = 65536,
};

/* A partition of the store; only its owner touches it. */
struct partition {
	struct btree tree;
	uint64_t counts[KV_SPACES]; /* keys there are, the expired ones that were not removed too */
	unsigned owner;             /* shard */
};

enum shard_segment_state {
	SEGMENT_NONE, /* not ours */
	SEGMENT_FILLING,
	SEGMENT_SEALED, /* full; freed when nothing in it is live */
};

struct shard_segment {
	uint64_t generation; /* of all segments, ours or not: to check what is read */
	uint64_t dead_lsn;   /* nothing from this frame on refers to it */
	uint64_t last_lsn;   /* of a log segment of this run: its last frame */
	uint32_t live;       /* bytes that our index refers to */
	uint8_t kind;        /* enum segment_kind */
	uint8_t state;       /* enum shard_segment_state */
	bool cleaning;       /* was a victim: not looked at again before the next checkpoint */
	bool emptying;       /* a victim of the pass for blobs that is under way */
	uint32_t pins;       /* unpublished or opened extents in it, records that are still read */
};

/* A read of a page or a record, shared by all commands that wait for it. */
struct load {
	LIST_ENTRY(load) link; /* in shard->loads, or ->loads_free */
	struct shard *shard;
	struct req_list waiters;
	struct buf *buf;
	struct iovec iov;
	uint64_t address; /* packed location */
	uint32_t partition;
	uint32_t skip; /* bytes before the record in the buffer */
	bool page;
	struct req req;
};
LIST_HEAD(load_list, load);

/*
 * A key that a command is at work on, or a prepared transaction will write: others wait behind it.
 * The key is the memory of who locks it.
 */
struct key_lock {
	LIST_ENTRY(key_lock) link; /* in shard->busy */
	struct req_list behind;    /* commands on the same key that came later */
	uint64_t hash;
	struct bytes key;
};
LIST_HEAD(key_lock_list, key_lock);

/* What the engine remembers of a command while it is under way. */
struct op {
	struct frame frame;
	struct shard *shard;
	struct kv_cmd cmd;
	struct key_lock lock; /* of its key, while it is parked */
	struct load *loaded;  /* the record that was read for it */
	struct buf *state;    /* of operations with more to remember: scan, commit */
	uint64_t lsn;         /* must be durable before the command completes */
	uint64_t result;      /* what the request completes with */
	uint8_t step;
	bool busy; /* its key is locked */
};

enum op_result {
	OP_DONE,   /* completed, or waits in the log */
	OP_PARKED, /* something else will queue it again */
	OP_AGAIN,  /* the log or the index has no room: the queue stops here */
};

struct shard_stats {
	uint64_t commands[KV_OP_COUNT];
	uint64_t cache_hits, record_loads, page_loads, conflicts, expired;
	uint64_t checkpoints, cleaned_segments, moved_bytes;
	uint64_t blob_bytes;       /* written to extents */
	uint64_t blob_moved_bytes; /* of those, and of moved_bytes, to empty segments of blobs */
	uint64_t index_bytes;      /* written by checkpoints */
	uint64_t filled_bytes;     /* headers and zeroes of new segments */
	uint64_t acknowledged;     /* writes whose request completed with OK */
	uint64_t corrupt;          /* blocks that were not what they should be */
	uint64_t blobs_dropped;    /* handles that their owners forgot */
};

enum txn_state {
	TXN_FREE,
	TXN_PREPARING, /* its keys are being locked, its records logged */
	TXN_PREPARED,  /* its keys are locked, its records in the log */
	TXN_COMMITTED, /* done here; remembered for a participant whose log may not say so yet */
};

/*
 * A part of a COMMIT over several engines. The order is the memory of its request, which lives
 * until it is resolved.
 */
struct txn {
	uint64_t id;
	uint64_t participants; /* bit by stream */
	uint64_t lsn;          /* of the frame with its newest record; UINT64_MAX: not logged */
	/*
	 * What the log has of it behind the last cut: the notes from `from` on, those before were
	 * applied when it was cut; of them all before `logged`, in `part` parts.
	 */
	uint32_t from, logged, part;
	bool whole; /* all of them */
	const struct kv_commit *order;
	struct buf *state; /* struct commit, and then its locks */
	uint8_t phase;     /* enum txn_state */
};

/* A CLEAR under way: shard_clear.c. */
struct clear {
	struct req *req;          /* NULL while active: it has failed, and with it the log */
	struct req_list behind;   /* what waits until it has passed op->lock.key, or has ended */
	struct btree_range range; /* of the partition that it is in */
	struct bytes upper;
	uint64_t removed, counted; /* keys; that the space had at first */
	uint64_t lsn;              /* of the frame with its newest record */
	uint32_t partition;
	uint16_t prefix_size;
	bool active;  /* keys that it has not passed are hidden */
	bool ready;   /* goes on with a turn; else a page is read for it */
	bool sliced;  /* has had its share of this turn */
	bool stalled; /* no page can be changed before a checkpoint */
	bool held;    /* by a checkpoint that was cut and has not logged the place yet */
	uint8_t prefix[KV_KEY_MAX], end[KV_KEY_MAX];
};

struct blobs;
struct checkpoint;
struct cleaner;
struct cleaner_blob;
struct expiry;
struct store_metrics;
struct supply;

struct shard {
	struct kv kv;
	struct actor actor;
	struct worker *worker;
	struct store *store;
	struct blk *blk;
	struct bufs *bufs;
	unsigned index;               /* number of its stream */
	unsigned partition_count;     /* of the store */
	struct partition *partitions; /* of the store */
	struct btree_pool *pool;
	struct record_cache *cache;
	struct log log;
	struct shard_segment *segments; /* by number */
	uint32_t segment_count, segment_blocks;
	struct space *space;
	uint64_t live;            /* bytes in all segments */
	struct space_report room; /* when the space last answered */
	bool space_low;           /* only deletes and what makes room may take segments */
	bool space_none;          /* not even those, nor will a checkpoint give any back */
	/* enum space_need: what the log's segments are for; the deepest that waits for another. */
	uint8_t log_need, next_need, starved_need;
	uint64_t room_ns;    /* when there was last more room than before, since it ran low */
	uint32_t room_best;  /* segments, then */
	uint64_t starved_ns; /* since when the log waits for a segment */
	struct req_list space_waiters; /* new data, until there is room for it */
	unsigned space_waiter_count;
	uint64_t version_next;
	uint64_t hint;         /* where the index has what was put last */
	uint64_t uncached_lsn; /* writes up to here may be missing in the cache */

	struct req_list queue;
	struct req *exclusive; /* a COMMIT that is half applied: nothing else runs */
	bool exclusive_yields; /* it could go on, but the worker has other things to do too */
	struct clear clear;
	struct txn txns[SHARD_TXNS_MAX];
	struct req_list txn_waiters; /* for a free one */
	struct req *txn_locker; /* a PREPARE of many keys that locks one after another, or NULL */
	uint32_t commit_writes; /* of a COMMIT that is done at once */
	uint64_t txn_next;      /* counts the transactions that began here */
	uint64_t group_lsn;     /* the last frame with a PREPARE */
	struct key_lock_list busy[SHARD_BUSY_BUCKETS];
	unsigned busy_count;
	struct load *load_pool;
	struct load_list loads[SHARD_BUSY_BUCKETS], loads_free;
	struct req_list load_waiters; /* for a free load */
	uint8_t *scratch;             /* for UPDATE's visit */
	size_t scratch_size;

	struct supply *supply;
	struct blobs *blobs;
	struct checkpoint *checkpoint;
	struct cleaner *cleaner;
	struct cleaner_blob *cleaner_blob;
	struct expiry *expiry;
	struct store_metrics *metrics;
	struct timer tick;               /* expiry, cleaning, space: every SHARD_TICK_NS */
	uint64_t log_bytes_checkpointed; /* log.stats.bytes at the last checkpoint */
	uint64_t records_checkpointed;
	uint64_t checkpoint_log_max; /* bytes of log after which one is due */
	uint32_t read_pins;          /* scans: no segment is given back meanwhile */
	uint32_t touched;            /* past the highest segment that was ours */
	uint64_t generation_seen;    /* the highest of our segments */
	bool counting;               /* live bytes are known; not while a store is redistributed */
	bool started, inert;         /* inert: recovery works on it, its turns do nothing */
	bool replaying;              /* the log of the last run has not been replayed to its end */
	bool open, closing;
	struct req *quiet; /* completed when it is idle: see shard_quiesce() */
	enum status quiet_status;
	unsigned loads_running;
	struct shard_stats stats;
};

enum {
	SHARD_TICK_NS = 100 * 1000 * 1000,
	SHARD_LOOK_NS = 5 * 1000 * 1000, /* how often a shard that waits looks for segments */
};
/* Writes wait so long without any that came free; and without anything to make some of. */
#define SHARD_SPACE_WAIT_NS (10ull * 1000 * 1000 * 1000)
#define SHARD_SPACE_IDLE_NS (200ull * 1000 * 1000)

/* A key as it is now. */
struct found {
	struct kv_entry entry; /* version 0: absent, or expired */
	uint64_t location;     /* 0: not in the index */
	uint64_t lsn;          /* 0: durable */
};

static inline bool shard_owns(const struct shard *shard, uint32_t partition)
{
	return shard->partitions[partition].owner == shard->index;
}

/* shard.c */
extern const struct actor_ops shard_actor_ops;
extern const struct kv_ops shard_kv_ops;

/* shard_start.c */
void shard_init(struct shard *shard);
/* On its worker: takes part in its turns from now on. */
void shard_start(struct shard *shard);
void shard_opened(struct shard *shard); /* the store is open: segments may be given back */
/* Nothing of it is on its way to or from the device, or to another worker. */
bool shard_is_idle(const struct shard *shard);
/* Begins nothing any more, and completes `req` with `status` as soon as it is idle. */
void shard_quiesce(struct shard *shard, struct req *req, enum status status);
struct op *op_of(struct req *req);
/* Locks a key that nobody has locked; op_waits() has said so. */
void shard_lock(struct shard *shard, struct key_lock *lock, uint64_t hash, struct bytes key);
void shard_unlock(struct shard *shard, struct key_lock *lock);
/* Who has locked it; NULL: nobody. */
struct key_lock *shard_lock_find(struct shard *shard, uint64_t hash, struct bytes key);
enum op_result op_finish(struct req *req, enum status status, uint64_t result);
/* Its key is its own until op_finish(); nobody else has it. */
void op_lock(struct op *op);
/* A command that waits for another on the same key; true: it does now. */
bool op_waits(struct req *req, struct bytes key, uint64_t hash);
/* Parks the op until the record or page is in memory; then it is run again from its step. */
enum op_result op_load_page(struct req *req, uint32_t partition, const struct btree_miss *miss);
enum op_result op_load_record(struct req *req, uint64_t location);
/*
 * Fills *found; OP_DONE: it did. OP_PARKED, OP_AGAIN: return that. If the record is damaged the
 * request has been completed and it returns OP_PARKED. `value`: whether the value is needed, or
 * just the place and, when known without a read, the rest.
 */
enum op_result op_find(struct req *req, struct bytes key, uint64_t hash, bool value,
                       struct found *found);
void found_from_record(struct found *found, const struct record *record);
/* The record at found->location, from a frame buffer or what was loaded. NOT_FOUND: read it. */
enum status find_record(struct shard *shard, struct op *op, struct found *found)
        __attribute__((warn_unused_result));
/* Gives back what was loaded for the command, if anything was. */
void shard_load_drop(struct shard *shard, struct op *op);
/* Into the cache; `lsn` must be durable before anybody is told of it who reads it from there. */
void shard_remember(struct shard *shard, uint64_t hash, const struct record *record,
                    uint64_t location, uint64_t lsn);
/* Reads a record into the cache; nobody waits for it. */
void shard_read_ahead(struct shard *shard, uint64_t location);
void shard_requeue(struct shard *shard, struct req *req); /* at the front */
/* Bytes in a segment that are referred to from now on, or no longer. */
static inline void shard_live_add(struct shard *shard, uint32_t segment, uint32_t size)
{
	shard->segments[segment].live += size;
	shard->live += size;
}
static inline void shard_live_drop(struct shard *shard, uint32_t segment, uint32_t size)
{
	/* Else: counted wrongly, and a live segment would be freed. */
	assert(shard->segments[segment].live >= size);
	shard->segments[segment].live -= size;
	shard->live -= size;
}
void shard_credit(struct shard *shard, uint64_t location);
void shard_debit(struct shard *shard, uint64_t location);
/* Where a block of a segment is on the device. */
static inline uint64_t shard_lba(const struct shard *shard, uint32_t segment, uint32_t block)
{
	return SEGMENT_FIRST_BLOCK + (uint64_t)segment * shard->segment_blocks + block;
}
bool shard_is_relaxed(const struct shard *shard, struct bytes key);
bool shard_has_bug(const struct shard *shard, uint32_t bug); /* enum store_bug */

/*
 * shard_write.c. What the step of an op says: the change itself, then its entry among the expiries;
 * or, when it is in the log already, the index.
 */
enum op_step { STEP_CHANGE, STEP_EXPIRY, STEP_APPLY, STEP_LARGE, STEP_LOCK, STEP_LOG };
enum op_result op_put(struct req *req);
enum op_result op_delete(struct req *req);
enum op_result op_update(struct req *req);
enum op_result op_commit(struct req *req);

/*
 * What a record of the log did, done again. Asks for pages like any change (MISS, FULL), and may
 * then be repeated from its start.
 */
enum btree_result replay_put(struct shard *shard, const struct record *record, uint64_t location,
                             struct btree_miss *miss) __attribute__((warn_unused_result));
enum btree_result replay_delete(struct shard *shard, const struct record *record,
                                struct btree_miss *miss) __attribute__((warn_unused_result));

/*
 * Whether new data may be written now. OP_PARKED: the request waits for the cleaner or a
 * checkpoint, or has failed, because live data fill the store.
 */
enum op_result op_wait_for_space(struct req *req);
bool shard_has_space(const struct shard *shard);
/*
 * log_reserve() for a change (SPACE_LOG), which leaves the last segments to the cleaner, or for
 * what makes room or ends what was begun (SPACE_CLEAN).
 */
enum status shard_reserve(struct shard *shard, size_t size, enum space_need need)
        __attribute__((warn_unused_result));
/* Nothing will come free for the log either, as far as can be told. */
bool shard_is_stuck(const struct shard *shard);
/* Live data fill the store, or nothing has come free for SHARD_SPACE_WAIT_NS. */
bool shard_is_full(const struct shard *shard);
/* Those that wait look again; those whose time is over end. */
void shard_wake_space_waiters(struct shard *shard);
void shard_expire_space_waiters(struct shard *shard);

/* shard_txn.c */
enum op_result op_prepare(struct req *req);
enum op_result op_resolve(struct req *req);
/* A COMMIT that is too large to be done at once: by PREPARE and RESOLVE, alone. */
bool txn_is_needed(const struct shard *shard, const struct kv_commit *order);
void txn_submit(struct shard *shard, struct req *req, const struct kv_cmd *cmd);
size_t txn_frame_size(void); /* bytes of frames that it pushes beside an op */
/* A PREPARE ends without having prepared: its keys are free again. */
void txn_unprepare(struct req *req);
/* A checkpoint begins: it will hold the frames there are, but not what is prepared in them. */
void txns_cut(struct shard *shard);
/*
 * Writes what is prepared and was logged before the last cut once more, behind it. BUSY: not all of
 * it yet, ask again. *lsn is raised to the frame that must be durable.
 */
enum status txns_carry_over(struct shard *shard, uint64_t *lsn) __attribute__((warn_unused_result));
bool txns_are_prepared(const struct shard *shard); /* or being so */
/* A RESOLVE has failed to apply a transaction. */
void txn_break(struct shard *shard, uint64_t id);

/* shard_scan.c */
enum op_result op_scan(struct req *req);

/* shard_clear.c */
enum op_result op_clear(struct req *req);
enum op_result op_count(struct req *req);
enum op_result op_sync(struct req *req);
/* A RECORD_CLEAR again, in one partition; ABSENT: its keys there are gone. */
enum btree_result replay_clear(struct shard *shard, const struct record *record, uint32_t partition,
                               struct btree_miss *miss) __attribute__((warn_unused_result));
bool shard_clear_hides_key(const struct shard *shard, uint32_t partition, struct bytes key);
/* Whether a CLEAR has made the key absent that the index may still have. */
static inline bool shard_clear_hides(const struct shard *shard, uint32_t partition,
                                     struct bytes key)
{
	return shard->clear.active && shard_clear_hides_key(shard, partition, key);
}
/* A command that writes a key which a CLEAR has not passed; true: it waits for that now. */
bool shard_clear_delays(struct req *req, struct bytes key, uint64_t hash);
/* The first key after all with the prefix, in `end`; of size 0: there is none. */
struct bytes shard_clear_end(struct bytes prefix, uint8_t end[static KV_KEY_MAX]);
unsigned shard_clear_turn(struct shard *shard); /* its share of a turn; returns events */
bool shard_clear_has_work(const struct shard *shard);
void shard_clear_ended(struct shard *shard, enum status status); /* by op_finish() */
/* A checkpoint holds what it has done so far, */
void shard_clear_cut(struct shard *shard);
/* and the log behind it what is left. BUSY: not yet, ask again. *lsn as in txns_carry_over(). */
enum status shard_clear_carry_over(struct shard *shard, uint64_t *lsn)
        __attribute__((warn_unused_result));

/* shard_blob.c */
enum status blobs_open(struct shard *shard) __attribute__((warn_unused_result));
void blobs_close(struct shard *shard);
enum op_result op_blob(struct req *req);
/* Makes the finished blob `handle` the value of the record that is about to be written. */
enum status blob_take(struct shard *shard, uint64_t handle, struct record *record)
        __attribute__((warn_unused_result));
/* The record was written: its extents are live, the handle is gone. */
void blob_published(struct shard *shard, uint64_t handle);
/* A new value that is too large for a record: written as a blob, then stored. */
enum op_result blob_store_large(struct req *req, const struct kv_edit *edit);
enum op_result blob_store_ready(struct req *req, struct record *record);
/* Whether an update has decided on a large value under the prefix and has not stored it yet. */
bool blob_stores_under(const struct shard *shard, struct bytes prefix);
/* The extents of a blob's record, gained or lost. */
void blob_credit(struct shard *shard, struct bytes value);
void blob_debit(struct shard *shard, struct bytes value);
/* The same for a record of the log, done again: its segments are ours. */
void blob_replay_credit(struct shard *shard, struct bytes value);
/* A RECORD_FREE of the log, done again: its extents were given back already. */
void blob_replay_free(struct shard *shard, const struct record *record);
/* The record of a blob was replaced: its extents are freed by a record of their own. */
void blob_free_later(struct shard *shard, uint64_t location);
/* What is to be freed later is at another place of the log now; nothing, if it is not there. */
void blob_free_moved(struct shard *shard, uint64_t from, uint64_t to);
/* All is counted anew: what was to be freed is not counted in the first place. */
void blob_forget_frees(struct shard *shard);
/*
 * With KV_LOAD: brings the whole value into memory for visit, and gives it room for a large one.
 * One command at a time; it keeps that memory until op_finish().
 */
enum op_result blob_load(struct req *req, struct found *found, struct kv_edit *edit);
void blob_unload(struct req *req);
void blob_turn(struct shard *shard); /* at the end of every turn */
void blob_tick(struct shard *shard); /* drops handles that nobody uses; tries again what waits */
/* Extents wait to be freed. */
bool blob_is_freeing(const struct shard *shard);
/* A read or a write of an extent, or of a record that names some, is under way. */
bool blob_is_running(const struct shard *shard);
void blob_unpark(struct shard *shard); /* what waits for room or memory tries again */
void blob_segment_ready(struct shard *shard, uint32_t segment, enum space_need need);

/* expiry.c: the index key of an expiry; `out` has BTREE_KEY_MAX bytes. */
struct bytes expiry_key(uint64_t expires_ms, struct bytes key, uint8_t *out);
enum status expiry_open(struct shard *shard) __attribute__((warn_unused_result));
void expiry_close(struct shard *shard);
void expiry_tick(struct shard *shard);
bool expiry_is_running(const struct shard *shard);
enum op_result op_expired(struct req *req);

/* checkpoint.c */
enum status checkpoint_open(struct shard *shard) __attribute__((warn_unused_result));
void checkpoint_close(struct shard *shard);
/* Whether one is wanted now; called at the end of a turn. */
void checkpoint_consider(struct shard *shard);
void checkpoint_want(struct shard *shard); /* as soon as possible */
/*
 * Completes `req` when a checkpoint that begins after this is on disk, or has failed. With `final`
 * it also says that the log ends there.
 */
void checkpoint_notify(struct shard *shard, struct req *req, bool final);
void checkpoint_segment_ready(struct shard *shard, uint32_t segment, uint64_t generation);
/*
 * None can be made now: no segment was to be had, or the log has failed. Who waits for it is told
 * so; else it is tried again.
 */
void checkpoint_refused(struct shard *shard, enum status status);
/* After recovery: the root that is on disk. */
void checkpoint_restore(struct shard *shard, const struct root *root);
bool checkpoint_is_running(const struct shard *shard);
/* Bytes that one would write now. */
uint64_t checkpoint_cost(const struct shard *shard);
/* Segments that are kept for the next one, which may be that of the next open. */
uint32_t checkpoint_segments_needed(const struct shard *shard);
/*
 * Whether recovery from the newest root on disk has no need of a log segment of this run whose
 * records have all been replaced, if what replaced them is durable.
 */
bool checkpoint_is_past(const struct shard *shard, uint32_t segment);

/* supply.c: segments for the log, the index and blobs, with their headers on disk. */
struct supply;
enum status supply_open(struct shard *shard) __attribute__((warn_unused_result));
void supply_close(struct shard *shard);
void supply_want(struct shard *shard, enum segment_kind kind, enum space_need need);
bool supply_is_running(const struct shard *shard);
/* Gives a segment back that nothing refers to. False: no call is free, ask again later. */
bool supply_release(struct shard *shard, uint32_t segment);
/* A checkpoint holds everything up to this frame: what is dead before it is given back. */
void supply_release_up_to(struct shard *shard, uint64_t lsn);
/*
 * Whether a checkpoint is worth its price: it gives back what is dead but was written after the
 * last one, and pages of the index that were replaced.
 */
bool supply_checkpoint_is_worth(const struct shard *shard);
/* Nothing in a segment is live any more from this frame on. */
void supply_dead(struct shard *shard, uint64_t lsn);
void supply_turn(struct shard *shard); /* at the end of every turn */
void supply_tick(struct shard *shard); /* asks again for what was refused */

/* cleaner_blob.c: blob segments with little left in them are emptied. */
enum status cleaner_blob_open(struct shard *shard) __attribute__((warn_unused_result));
void cleaner_blob_close(struct shard *shard);
/* At the end of a turn; `low`: segments are wanted. */
void cleaner_blob_turn(struct shard *shard, bool low);
bool cleaner_blob_is_running(const struct shard *shard); /* a read or a write is under way */
bool cleaner_blob_is_busy(const struct shard *shard);    /* it will give segments back */
bool cleaner_blob_has_work(const struct shard *shard);   /* that no completion brings */
void cleaner_blob_tick(struct shard *shard);

/* store_metrics.c: what other threads may read of it. */
enum status store_metrics_open(struct shard *shard) __attribute__((warn_unused_result));
void store_metrics_close(struct shard *shard);
void store_metrics_publish(struct shard *shard); /* once a tick */

/* cleaner.c */
enum status cleaner_open(struct shard *shard) __attribute__((warn_unused_result));
void cleaner_close(struct shard *shard);
void cleaner_consider(struct shard *shard); /* at the end of a turn */
void cleaner_tick(struct shard *shard);
/* Space is wanted, and there is no segment that is worth emptying. */
bool cleaner_is_idle(const struct shard *shard);
bool cleaner_is_running(const struct shard *shard);
bool cleaner_has_work(const struct shard *shard); /* for a turn in which nothing happens */

#endif
