/* SPDX-License-Identifier: Apache-2.0 */
/* What a COMMIT and a part of one over several engines share. Inside of the engine only. */
#ifndef ENGINE_COMMIT_H
#define ENGINE_COMMIT_H

#include "engine/shard.h"

/*
 * What is known of each write is kept with the location it was learned from: a location never
 * changes its content, so it stays true as long as the index still names it.
 */
struct commit_note {
	uint64_t learned; /* location; 0: nothing known */
	uint64_t version, expires_ms;
	uint64_t location; /* where its record is in the log now */
	uint64_t hash;
	uint32_t write; /* of the order */
};

/* 65,536 notes with the lock of a key behind each. */
enum { COMMIT_CHUNKS_MAX = 8 };

/*
 * In op->state, or a transaction's. Its notes are in that buffer too, or, if they are many, in
 * buffers of their own.
 */
struct commit {
	uint32_t next, count; /* note that is applied next; there are */
	uint32_t stride;      /* bytes of a note and of what follows it */
	uint32_t chunk_count; /* buffers */
	uint32_t chunk_notes; /* notes in each */
	bool durable;         /* its records are: who sees them need not wait */
	struct buf *chunks[COMMIT_CHUNKS_MAX];
	uint8_t *places[COMMIT_CHUNKS_MAX]; /* of the first note of each */
};

static inline struct commit_note *commit_note(const struct commit *commit, uint32_t i)
{
	return (struct commit_note *)(void *)(commit->places[i / commit->chunk_notes] +
	                                      (size_t)(i % commit->chunk_notes) * commit->stride);
}

/*
 * For the writes that are `owned` by this shard, or all, with room for `extra` bytes (a multiple of
 * 8) behind each note. NULL: the request has been completed.
 */
struct commit *commit_begin(struct req *req, bool owned, size_t extra);
/* Gives back what commit_begin() has taken: `state` is where the commit is. */
void commit_end(struct buf *state);
/*
 * Looks at note i; OP_DONE: its check holds. `locked`: its key is the commit's own; else the key is
 * nobody's, and its leaf is in memory.
 */
enum op_result commit_check(struct req *req, struct commit *commit, uint32_t i, bool locked);
/* The record of note i; false: it only checks. */
bool commit_record(struct shard *shard, const struct kv_commit *order, const struct commit *commit,
                   uint32_t i, struct record *record);
/* Bytes of the record of note i; 0: it only checks. */
size_t commit_record_size(struct shard *shard, const struct kv_commit *order,
                          const struct commit *commit, uint32_t i);
/* Bytes of all records. */
size_t commit_size(struct shard *shard, const struct kv_commit *order, const struct commit *commit);
/* Brings the index up to what was logged, a part of it in a turn. OP_DONE: all of it. */
enum op_result commit_apply(struct req *req, const struct kv_commit *order, struct commit *commit);
/* Its blobs are values now: their handles are gone. */
void commit_published(struct shard *shard, const struct kv_commit *order,
                      const struct commit *commit);

#endif
