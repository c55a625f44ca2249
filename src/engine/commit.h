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

/* In op->state, or a transaction's. */
struct commit {
	uint32_t next, count; /* note that is applied next; there are */
	bool durable;         /* its records are: who sees them need not wait */
	struct commit_note notes[];
};

/*
 * For the writes that are `owned` by this shard, or all, with room for `extra` bytes for each.
 * NULL: the request has been completed.
 */
struct commit *commit_begin(struct req *req, bool owned, size_t extra);
/* Looks at note i; OP_DONE: its check holds, its leaf is in memory. */
enum op_result commit_check(struct req *req, struct commit *commit, uint32_t i);
/* The record of note i; false: it only checks. */
bool commit_record(struct shard *shard, const struct kv_commit *order, const struct commit *commit,
                   uint32_t i, struct record *record);
/* Bytes of all records. */
size_t commit_size(struct shard *shard, const struct kv_commit *order, const struct commit *commit);
/* Brings the index up to what was logged. OP_DONE: all of it. */
enum op_result commit_apply(struct req *req, const struct kv_commit *order, struct commit *commit);
/* Its blobs are values now: their handles are gone. */
void commit_published(struct shard *shard, const struct kv_commit *order,
                      const struct commit *commit);
bool shard_is_full(const struct shard *shard);

#endif
