/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: a block device with all of an application's data in it, and the key-value engines that
 * work on it, one per storage worker.
 */
#ifndef ENGINE_STORE_H
#define ENGINE_STORE_H

#include "core/buf.h"
#include "core/worker.h"
#include "engine/format.h"
#include "engine/space.h"
#include "proto/blk.h"
#include "proto/kv.h"

struct shard;

/* Bugs that tests of the tests put in, to see that they are found. */
enum store_bug {
	BUG_EARLY_ACK = 1 << 0,        /* completes before the frame is on disk */
	BUG_ONE_GENERATION = 1 << 1,   /* no life of a segment differs from the one before */
	BUG_EARLY_ROOT = 1 << 2,       /* the root is written before its pages are flushed */
	BUG_FORGOTTEN_DELETE = 1 << 3, /* replay leaves out deletes */
	BUG_EARLY_RELEASE = 1 << 4,    /* a segment is given back before the checkpoint */
	BUG_FIRST_PART = 1 << 5,       /* a commit counts when its first frame is there */
	BUG_FORGOTTEN_CLEAR = 1 << 6,  /* a checkpoint forgets what a CLEAR has still to do */
	BUG_UNCHECKED_RECORD = 1 << 7, /* the checksum of a record that is read is skipped */
	BUG_HASTY_FUA = 1 << 8,        /* a durable write is taken to cover those before it */
};

struct store_options {
	bool create;      /* make a store where there is none: the device reads as zeroes */
	bool salvage;     /* go on behind damage in the log; what it held is lost, and counted */
	uint8_t uuid[16]; /* of a new store */
	uint32_t partition_count;    /* of a new store */
	uint32_t segment_blocks;     /* of a new store */
	size_t index_memory_size;    /* bytes per worker */
	size_t cache_memory_size;    /* bytes per worker */
	size_t load_memory_size;     /* bytes per worker, touched by the first KV_LOAD of a blob */
	uint64_t checkpoint_log_max; /* bytes of log between checkpoints */
	uint64_t checkpoint_records; /* records between checkpoints: what replays in time */
	uint32_t clear_turn_max;     /* keys that a CLEAR removes in a turn */
	enum kv_durability durability[KV_SPACES];
	uint32_t bugs; /* enum store_bug; 0 but in tests */
};

/* What each storage worker brings; all blk are endpoints of the same device. */
struct store_worker {
	struct worker *worker;
	struct blk *blk;
	struct bufs *bufs;
};

enum store_phase { STORE_OPENING, STORE_OPEN, STORE_CLOSING, STORE_CLOSED, STORE_FAILED };

/* What recovery did; for people and tests. */
struct store_recovery {
	bool created, clean;
	uint64_t frames, records; /* replayed */
	uint64_t frames_lost;     /* behind damage, with salvage */
	uint64_t started_ns, ended_ns;
};

struct recovery;

struct store {
	struct store_options options;
	struct superblock super;
	struct space space;
	struct partition *partitions;
	struct shard *shards[STREAMS_MAX];
	unsigned shard_count;
	struct recovery *recovery;
	struct store_recovery recovered;
	uint8_t phase;   /* enum store_phase */
	char error[256]; /* for people, when it could not be opened */
};

void store_options_init(struct store_options *options); /* the defaults */

/*
 * Opens a store for worker_count (1..STREAMS_MAX) workers. Allocates, then goes on asynchronously
 * on workers[0]. The turns of all workers must run: recovery asks each for its first checkpoint.
 * `req` was initialised on workers[0] and carries a frame of the caller's; it completes with
 *
 *   OK           store_kv() may be used
 *   NOT_FOUND    no store here, and not asked to make one
 *   INVALID      something else is on the device
 *   UNSUPPORTED  made by a newer weir
 *   CORRUPT      damaged; store->error says where
 *   NO_SPACE     the device or the memory is too small
 *
 * Whatever the status, *out is given back with store_free(); without memory it may be NULL.
 */
void store_open(struct store **out, const struct store_options *options,
                const struct store_worker *workers, unsigned worker_count, struct req *req);

/* The key-value device of a worker: keys of other workers' partitions are not its business. */
struct kv *store_kv(struct store *store, unsigned worker_index);
/* Which worker's. */
static inline unsigned store_owner(const struct store *store, uint32_t partition)
{
	return partition % store->shard_count;
}

/*
 * Writes a last checkpoint for one worker and completes `req`, on that worker, when it is on disk;
 * no commands may come any more. After the last of them, store_close() writes that it was clean.
 */
void store_stop(struct store *store, unsigned worker_index, struct req *req);
void store_close(struct store *store, struct req *req); /* on workers[0] */

/* Whether a worker's engine has nothing under way on its device. On that worker. */
bool store_is_idle(const struct store *store, unsigned worker_index);

/* Releases the memory. All are idle, and no worker runs any more. */
void store_free(struct store *store);

struct shard_stats;
struct store_worker_stats {
	uint64_t lsn, lsn_durable;         /* of the log: handed out; on disk */
	uint64_t frames, bytes, flushes;   /* written to the log; flushes of what was relaxed */
	uint64_t records, records_durable; /* appended to it; on disk */
	uint64_t commands[KV_OP_COUNT];
	uint64_t cache_hits, record_loads, page_loads, conflicts, expired;
	uint64_t checkpoints, cleaned_segments, moved_bytes, corrupt;
	uint64_t index_bytes;      /* written by checkpoints */
	uint64_t blob_bytes;       /* written to extents */
	uint64_t blob_moved_bytes; /* of those, and of moved_bytes, by the cleaner */
	uint64_t filled_bytes;     /* zeroes and headers of segments that were taken into use */
	uint64_t index_pages, index_pages_max, index_pages_dirty;
	uint64_t segments_used, segments_left, live_bytes;
	bool failed; /* writes are refused until a restart */
};
struct metrics;
/*
 * Registers what a worker's engine counts, under weir_store_. Control thread, when the store is
 * open and before anybody reads. BUSY: METRICS_MAX are registered.
 */
enum status store_metrics_add(const struct store *store, unsigned worker_index,
                              struct metrics *metrics) __attribute__((warn_unused_result));
/* On the worker itself. */
void store_worker_stats(const struct store *store, unsigned worker_index,
                        struct store_worker_stats *out);

#endif
