/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which segments are free. One worker, the home, owns the table; the shards ask it by message, so
 * the same code runs fused and split.
 */
#ifndef ENGINE_SPACE_H
#define ENGINE_SPACE_H

#include "core/worker.h"
#include "engine/format.h"

enum space_op { SPACE_ALLOCATE, SPACE_RELEASE, SPACE_LOOK };

/* What a segment is for: a deeper one may use more of the reserve. */
enum space_need {
	SPACE_DATA,  /* new data: none of it */
	SPACE_LOG,   /* a delete: not what the cleaner needs, */
	SPACE_CLEAN, /* the cleaner: nor what checkpoints need */
	SPACE_ROOT,  /* a checkpoint: all; it is what gives space back */
};

enum {
	SPACE_LOG_RESERVE = 1,       /* segments of each stream for deletes */
	SPACE_CLEAN_RESERVE = 1,     /* for its cleaner, which makes more of them */
	SPACE_LIVE_MAX_PERCENT = 90, /* of what is not reserved: more live data fill the store */
};

/*
 * A message to the space and its answer. Memory: the caller's, its own until `done`.
 * ALLOCATE: segment and generation; NO_SPACE: none for this purpose. RELEASE: of a segment that the
 * caller no longer refers to; when no shard does, it is free. LOOK: just what is left.
 *
 * Every message says how the caller's stream stands, and every answer how the store does.
 */
struct space_call;
typedef void space_done_fn(struct space_call *call);

struct space_call {
	struct req req;
	struct space *space;
	space_done_fn *done; /* on the caller's worker */
	struct worker *caller;
	uint8_t op;   /* enum space_op */
	uint8_t need; /* enum space_need */
	bool busy;    /* under way */
	bool fresh;   /* ALLOCATE: the segment was never written */
	enum status status;
	uint32_t slot; /* the caller's */
	uint32_t stream;
	uint32_t checkpoint_count; /* segments that its next checkpoint still needs */
	uint64_t live;             /* bytes that it refers to */
	uint32_t segment;
	uint64_t generation;
	struct space_report {
		uint32_t left;     /* segments that are free */
		uint32_t kept;     /* of those, not for SPACE_DATA */
		uint32_t kept_log; /* and not for SPACE_LOG */
		uint64_t released; /* segments that became free, ever */
		bool full;         /* live data fill the store: waiting gains nothing */
	} report;
};

struct space {
	struct worker *home;
	uint8_t *refs;  /* by segment: shards that refer to it */
	uint32_t *free; /* stack of released segments, all below touched */
	uint32_t free_count;
	uint32_t touched; /* segments from this one on were never used */
	uint32_t segment_count;
	uint64_t segment_size; /* bytes */
	uint64_t generation_next;
	uint64_t released;
	unsigned stream_count;
	struct space_stream { /* as each stream has said last */
		uint64_t live;
		uint32_t checkpoint_count;
	} streams[STREAMS_MAX];
};

enum status space_open(struct space *space, struct worker *home, uint32_t segment_count,
                       uint32_t segment_blocks, unsigned stream_count)
        __attribute__((warn_unused_result));
void space_close(struct space *space);

/* At recovery, before any call: one more shard refers to the segment. */
void space_hold(struct space *space, uint32_t segment);
/* After space_start(), at recovery still: one shard more does, which may be the only one; */
void space_adopt(struct space *space, uint32_t segment);
/* one shard less does. */
void space_drop(struct space *space, uint32_t segment);
/* After the last space_hold(): what is held by nobody below `touched` is free. */
void space_start(struct space *space, uint32_t touched, uint64_t generation_next);

/* On the caller's worker; call->done runs later. */
void space_call(struct space *space, struct space_call *call, struct worker *caller);

/* Segments that can still be allocated by anyone. Home worker, or before the start. */
uint32_t space_left(const struct space *space);

#endif
