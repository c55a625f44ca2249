/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of recovery share. Inside of the engine only. */
#ifndef ENGINE_RECOVERY_STATE_H
#define ENGINE_RECOVERY_STATE_H

#include <stdio.h>

#include "base/assert.h"
#include "engine/recovery.h"
#include "engine/shard.h"

enum {
	READS_MAX = 32,
	READ_SIZE = 16 << 10,
	HEADER_GAP = 64, /* segments without a header after which there are no more */
};

enum recovery_phase {
	PHASE_SUPER,
	PHASE_ROOTS,
	PHASE_BODY,
	PHASE_HEADERS,
	PHASE_TREES,
	PHASE_REPLAY,
	PHASE_PROOF, /* is what ends the log a torn tail, or damage */
	PHASE_DOUBTS,
	PHASE_PAGE,
	PHASE_MAKE_ROOM,
	PHASE_COUNT,
	PHASE_START,
	PHASE_SUPER_WRITE,
	PHASE_OPEN,
	PHASE_CLOSE,
	PHASE_FAIL,
};

enum recovery_start_how {
	START_BRIEFLY, /* a checkpoint, then it is inert again */
	START_STAY,    /* a checkpoint, and it goes on running */
	START_OPEN,    /* the superblock names this run: what is dead may be given back */
	START_NOT,     /* the store does not open: it ends what it has begun */
};

struct recovery_read {
	struct recovery *recovery;
	uint8_t *data;
	uint64_t tag; /* what it is for */
	struct iovec iov;
	struct req req;
};

/* What a segment header, and the first frame of a log segment, said. */
struct recovery_segment {
	struct segment_header header;
	uint64_t first_lsn, first_durable; /* 0: no frame */
	bool found, listed;                /* a header is there; in the body of a root */
	bool live;                         /* something in it was, in that body */
};

/* The records behind one PREPARE. */
struct recovery_part {
	uint32_t segment, seed, offset; /* of data[0], in its segment */
	uint32_t size;                  /* bytes of records */
	uint8_t *data;
};

/* A transaction that one stream has prepared; nothing has said yet how it ended. */
struct recovery_doubt {
	uint64_t id, participants;
	uint32_t stream;
	uint32_t part_count, part_max;
	uint32_t whole_count; /* parts that are there with all that belongs to them; 0: none */
	uint32_t group_first; /* of what was begun last */
	uint32_t part, next;  /* applied: parts, and bytes of the one after them */
	bool used;
	struct recovery_part *parts;
};

/* A transaction that one stream knows to be committed. */
struct recovery_outcome {
	uint64_t id;
	uint32_t stream;
};

struct recovery {
	struct store *store;
	struct store_worker workers[STREAMS_MAX];
	unsigned worker_count;
	struct req *req;       /* completed at the end */
	uint8_t phase, resume; /* enum recovery_phase; where PAGE and MAKE_ROOM go back to */
	struct recovery_read reads[READS_MAX];
	unsigned running;
	enum status status; /* of the reads that have ended */
	struct buf *memory; /* of the reads */
	struct buf *big;    /* bodies, frames */
	struct buf *page;
	struct root roots[STREAMS_MAX]; /* of the last run */
	struct recovery_segment *segments;
	uint64_t *trees; /* root page of each partition */
	uint64_t *tree_counts;
	uint32_t run, streams; /* of the last run */
	uint32_t run_seen; /* the highest that a segment was made in: an open that was cut short */
	unsigned batch;    /* reads that were submitted together */
	uint32_t replay_offset; /* in big, of the frame that is replayed */
	uint32_t cursor;        /* stream, segment or partition that is next, by phase */
	uint32_t last_header;
	/* Replay. */
	uint32_t segment, block; /* of the frame that is looked at */
	uint64_t lsn;            /* that it should have */
	uint32_t valid;          /* bytes in big, from that frame on */
	uint32_t at;             /* of the record in the frame */
	uint32_t clear_next;     /* partition a RECORD_CLEAR goes on with */
	uint32_t proof_block;
	struct btree_miss miss;
	uint32_t miss_partition;
	struct recovery_doubt *doubts;
	uint32_t doubt_count, doubt_max;
	struct recovery_outcome *outcomes;
	uint32_t outcome_count, outcome_max;
	/* Start. */
	struct recovery_start_call {
		struct recovery *recovery;
		struct shard *shard;
		struct req req;
		enum status status;
		uint8_t how; /* enum recovery_start_how */
	} starts[STREAMS_MAX];
	unsigned starts_running;
	enum status end; /* with which the open fails when the shards are idle */
	/* Count. */
	struct btree_cursor walk;
	bool walking;
	uint64_t blob; /* location of the record that is being read; 0: none */
};

/* recovery.c */
void recovery_finish(struct recovery *r, enum status status);

/* Ends with a message for people. */
#define recovery_fail(r, status, ...)                                                              \
	do {                                                                                       \
		snprintf((r)->store->error, sizeof((r)->store->error), __VA_ARGS__);               \
		recovery_finish(r, status);                                                        \
	} while (0)

/* The phase goes on when all reads that were submitted together have ended. */
void recovery_read(struct recovery *r, unsigned slot, uint8_t *data, uint64_t block,
                   uint32_t blocks);
/* On its own worker; the phase goes on when all that were asked have answered. */
void recovery_start_shard(struct recovery *r, unsigned index, enum recovery_start_how how);
/* The logs have been replayed: count what lives where if need be, then start. */
void recovery_count_begin(struct recovery *r);
void recovery_start_begin(struct recovery *r);

/* recovery_count.c */
void recovery_count_step(struct recovery *r);

/* recovery_load.c: roots, bodies, headers, trees. */
void recovery_roots_step(struct recovery *r);
void recovery_body_step(struct recovery *r);
void recovery_headers_step(struct recovery *r, unsigned count);
void recovery_trees_step(struct recovery *r, unsigned count);
/* Whether the log goes on in this segment behind the root of a stream. */
bool recovery_is_log_tail(const struct recovery *r, uint32_t number);
/*
 * Gives back what the replay has left nothing live in, and does not read: if this open is cut short
 * the next one replays the same. All: the logs have been replayed to their end; else blobs stay,
 * because what follows may name some.
 */
void recovery_drop_replaced(struct recovery *r, bool all);

/* recovery_replay.c */
void recovery_replay_begin(struct recovery *r, uint32_t stream);
void recovery_replay_step(struct recovery *r);
void recovery_proof_step(struct recovery *r);
void recovery_page_step(struct recovery *r);

/* MISS, FULL: of r->miss_partition. The phase goes on when that has been seen to. */
bool recovery_wait_for_page(struct recovery *r, uint32_t partition, enum btree_result result);
void recovery_resume(struct recovery *r);

/* recovery_txn.c */
/* Of the body of the root of stream r->cursor. NO_SPACE: no memory. */
enum status recovery_add_outcome(struct recovery *r, uint64_t id)
        __attribute__((warn_unused_result));
/* A RECORD_PREPARE; what follows it in its frame is at location.offset + its size. */
enum status recovery_prepared(struct recovery *r, const struct record *record,
                              struct location location, struct bytes rest)
        __attribute__((warn_unused_result));
/* A RECORD_RESOLVE; may be repeated as any other. */
enum btree_result recovery_resolved(struct recovery *r, const struct record *record);
/* All streams have been replayed: what nobody has resolved. */
void recovery_doubts_begin(struct recovery *r);
void recovery_doubts_step(struct recovery *r);
void recovery_doubts_free(struct recovery *r);

static inline uint8_t *recovery_slot(struct recovery *r, unsigned slot)
{
	return r->memory->data + (size_t)slot * READ_SIZE;
}

static inline uint64_t recovery_lba(const struct recovery *r, uint32_t segment, uint32_t block)
{
	return SEGMENT_FIRST_BLOCK + (uint64_t)segment * r->store->super.segment_blocks + block;
}

static inline struct shard *recovery_shard(struct recovery *r, uint32_t partition)
{
	return r->store->shards[store_owner(r->store, partition)];
}

/* The number of workers is another than in the last run. */
static inline bool recovery_is_redistributed(const struct recovery *r)
{
	return r->streams != r->worker_count;
}

#endif
