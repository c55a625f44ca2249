/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This engine's part of a COMMIT over several. The keys are locked, the records are in the log, but
 * not in the index; when all participants have them on disk the transaction is committed, and the
 * index is made to name them. Recovery decides by the same rule.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/commit.h"
#include "engine/store.h"

enum { LOCK_AT_ONCE_MAX = 256 }; /* keys of a PREPARE that are looked at again and again */

_Static_assert(KV_COMMIT_WRITES_MAX / (BUF_SIZE_MAX /
                                       (sizeof(struct commit_note) + sizeof(struct key_lock))) <
                       COMMIT_CHUNKS_MAX,
               "the notes of the largest commit");

static struct txn *txn_find(struct shard *shard, uint64_t id)
{
	for (unsigned i = 0; i < SHARD_TXNS_MAX; i++) {
		if (shard->txns[i].phase != TXN_FREE && shard->txns[i].id == id)
			return &shard->txns[i];
	}
	return NULL;
}

static struct txn *txn_free(struct shard *shard)
{
	for (unsigned i = 0; i < SHARD_TXNS_MAX; i++) {
		if (shard->txns[i].phase == TXN_FREE)
			return &shard->txns[i];
	}
	return NULL;
}

bool txns_are_prepared(const struct shard *shard)
{
	for (unsigned i = 0; i < SHARD_TXNS_MAX; i++) {
		if (shard->txns[i].phase == TXN_PREPARED || shard->txns[i].phase == TXN_PREPARING)
			return true;
	}
	return false;
}

static struct commit *txn_commit(const struct txn *txn)
{
	return (struct commit *)(void *)txn->state->data;
}

/* The lock of note i lies behind it. */
static struct key_lock *txn_lock_of(struct commit *commit, uint32_t i)
{
	return (struct key_lock *)(void *)(commit_note(commit, i) + 1);
}

/* Whether a lock is one of the commit's. */
static bool has_lock(const struct commit *commit, const struct key_lock *lock)
{
	const uint8_t *place = (const uint8_t *)lock;
	uint32_t left = commit->count;

	for (uint32_t i = 0; left > 0; i++) {
		uint32_t notes = left < commit->chunk_notes ? left : commit->chunk_notes;

		if (place >= commit->places[i] &&
		    place < commit->places[i] + (size_t)notes * commit->stride)
			return true;
		left -= notes;
	}
	return false;
}

/* A key that is written twice is locked once. */
static void txn_lock(struct shard *shard, struct txn *txn, uint32_t i)
{
	struct commit *commit = txn_commit(txn);
	struct commit_note *note = commit_note(commit, i);
	struct bytes key = txn->order->writes[note->write].key;

	assert(txn->phase == TXN_PREPARING);
	assert(i < commit->count);
	if (shard_lock_find(shard, note->hash, key) == NULL)
		shard_lock(shard, txn_lock_of(commit, i), note->hash, key);
}

static void txn_unlock(struct shard *shard, struct txn *txn)
{
	struct commit *commit = txn_commit(txn);

	for (uint32_t i = commit->count; i-- > 0;) {
		if (txn_lock_of(commit, i)->key.size > 0)
			shard_unlock(shard, txn_lock_of(commit, i));
	}
	assert(txn->order != NULL);
	commit_end(txn->state);
	txn->state = NULL;
	txn->order = NULL;
}

static void txn_wake(struct shard *shard)
{
	STAILQ_CONCAT(&shard->txn_waiters, &shard->queue);
	STAILQ_CONCAT(&shard->queue, &shard->txn_waiters);
}

static void txn_forget(struct shard *shard, struct txn *txn)
{
	assert(txn->phase != TXN_FREE);
	assert(txn->state == NULL); /* its keys are nobody's */
	txn->phase = TXN_FREE;
	txn_wake(shard);
}

/* Logging: a part of the group in each frame, so that a part is there as a whole or not at all. */

/* The notes that fit a frame, from txn->logged up to *end, with their PREPARE. */
static size_t part_size(struct shard *shard, const struct txn *txn, uint32_t *end)
{
	const struct commit *commit = txn_commit(txn);
	size_t most = shard->log.frame_size_max - FRAME_HEADER_SIZE;
	size_t size = record_size(0, PREPARE_SIZE, false);
	uint32_t i = txn->logged;

	for (; i < commit->count; i++) {
		size_t next = commit_record_size(shard, txn->order, commit, i);

		if (size + next > most)
			break;
		size += next;
	}
	assert(i > txn->logged || i == commit->count); /* else: a record larger than a frame */
	*end = i;
	return size;
}

/*
 * A record was written again after it had been applied. The index follows, as replay will: what a
 * RECORD_FREE names later must be what replay has found. Its leaf was changed since the cut, so it
 * is in memory; if the commit has written the key once more, the index has that, and what is to be
 * freed follows.
 */
static void follow(struct shard *shard, const struct record *record, uint64_t hash, uint64_t from,
                   uint64_t to)
{
	uint32_t partition = kv_partition_hashed(record->key, hash, shard->partition_count);
	struct btree_miss miss;

	if (btree_replace(&shard->partitions[partition].tree, record->key, from, to, &miss) !=
	    BTREE_OK) {
		if (record->flags & RECORD_BLOB)
			blob_free_moved(shard, from, to);
		return;
	}
	assert(from != to);
	shard_credit(shard, to);
	shard_debit(shard, from);
	record_cache_moved(shard->cache, hash, record->key, from, to);
}

/* After log_reserve(). */
static void part_append(struct shard *shard, struct txn *txn, uint32_t end, size_t size)
{
	struct commit *commit = txn_commit(txn);
	struct prepare prepare = {
		.participants = txn->participants,
		.size = (uint32_t)(size - record_size(0, PREPARE_SIZE, false)),
		.part = txn->part++,
		.more = end < commit->count,
	};
	uint8_t value[PREPARE_SIZE];
	struct record record = {
		.type = RECORD_PREPARE,
		.version = txn->id,
		.value = bytes_of(value, sizeof(value)),
	};

	assert(txn->logged <= end && end <= commit->count);
	assert(!txn->whole && size >= record_size(0, PREPARE_SIZE, false));
	prepare_encode(&prepare, value);
	log_append(&shard->log, &record, /* relaxed= */ false);
	for (; txn->logged < end; txn->logged++) {
		struct commit_note *note = commit_note(commit, txn->logged);
		uint64_t before = note->location;

		if (!commit_record(shard, txn->order, commit, txn->logged, &record))
			continue;
		record.version = note->version;
		record.type =
		        record.type == RECORD_PUT ? RECORD_PREPARED_PUT : RECORD_PREPARED_DELETE;
		note->location = log_append(&shard->log, &record, false);
		if (before != 0 && txn->logged < commit->next && record.type == RECORD_PREPARED_PUT)
			follow(shard, &record, note->hash, before, note->location);
	}
	assert(txn->logged == end);
	txn->whole = !prepare.more;
	txn->lsn = log_open_lsn(&shard->log);
	shard->group_lsn = txn->lsn;
}

/* One part more; BUSY: the log has no room now. */
static enum status part_log(struct shard *shard, struct txn *txn)
{
	uint32_t end;
	size_t size = part_size(shard, txn, &end);
	enum status status = shard_reserve(shard, size, SPACE_LOG);

	if (status == STATUS_OK)
		part_append(shard, txn, end, size);
	return status;
}

/* Once more, behind a cut. That it is in the log again makes no checkpoint due. */
static enum status group_log_again(struct shard *shard, struct txn *txn)
{
	while (!txn->whole) {
		uint64_t records = shard->log.stats.records;
		uint32_t end;
		size_t size = part_size(shard, txn, &end);
		enum status status = shard_reserve(shard, size, SPACE_CLEAN);

		if (status != STATUS_OK)
			return status;
		part_append(shard, txn, end, size);
		shard->log_bytes_checkpointed += size;
		shard->records_checkpointed += shard->log.stats.records - records;
	}
	return STATUS_OK;
}

/* PREPARE: 1. the slot; 2. checks and locks; 3. the log. */

static struct txn *txn_begin(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct txn *txn = txn_free(shard);

	assert(txn != NULL && op->state != NULL);
	*txn = (struct txn){
		.id = op->cmd.version,
		.participants = op->cmd.handle,
		.order = op->cmd.commit,
		.state = op->state,
		.phase = TXN_PREPARING,
	};
	if (txn->id == 0) /* unique in this run, and what a log holds is of one run */
		txn->id = (uint64_t)shard->index << 56 | ++shard->txn_next;
	op->cmd.version = txn->id;
	op->state = NULL;
	return txn;
}

void txn_unprepare(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct txn *txn;

	if (shard->txn_locker == req) {
		shard->txn_locker = NULL;
		txn_wake(shard);
	}
	if (op->step == STEP_CHANGE) /* it has no slot yet */
		return;
	txn = txn_find(shard, op->cmd.version);
	assert(txn != NULL && txn->phase == TXN_PREPARING);
	/* A part that was logged is of no meaning without the rest. */
	txn_unlock(shard, txn);
	txn_forget(shard, txn);
}

/* One part in a step: others get their turn between. */
static enum op_result prepare_log(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct txn *txn = txn_find(shard, op->cmd.version);
	enum op_result result;
	enum status status;

	assert(txn != NULL && txn->phase == TXN_PREPARING && !txn->whole);
	result = op_wait_for_space(req); /* may end it */
	if (result != OP_DONE)
		return result;
	status = part_log(shard, txn);
	if (status == STATUS_BUSY && shard_is_stuck(shard))
		status = STATUS_NO_SPACE;
	if (status == STATUS_BUSY)
		return OP_AGAIN;
	if (status != STATUS_OK)
		return op_finish(req, status, 0);
	if (!txn->whole) {
		STAILQ_INSERT_TAIL(&shard->queue, req, link);
		return OP_PARKED;
	}
	txn->phase = TXN_PREPARED;
	op->lsn = 0;
	return op_finish(req, STATUS_OK, txn->id);
}

/* From here on its keys are its own. */
static enum op_result prepare_locked(struct req *req, struct txn *txn)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct commit *commit = txn_commit(txn);
	uint64_t room = (uint64_t)shard->room.left * shard->segment_blocks << BLOCK_SHIFT;
	size_t size = commit_size(shard, txn->order, commit);

	assert(txn->phase == TXN_PREPARING && !txn->whole);
	assert(commit->next == 0);
	op->step = STEP_LOG;
	if (size > KV_COMMIT_SIZE_MAX)
		return op_finish(req, STATUS_TOO_LARGE, 0);
	/* A checkpoint may have to write it once more. */
	if (size > shard->log.frame_size_max && 2 * size > room)
		return op_finish(req, STATUS_NO_SPACE, 0);
	for (uint32_t i = 0; i < commit->count; i++)
		commit_note(commit, i)->version = shard->version_next++;
	return prepare_log(req);
}

/*
 * Many keys are looked at once each, and locked at once, so that what was seen stays true. While it
 * waits for one it has others: of those that do so there is one at a time, and all others lock
 * nothing or everything, so nobody waits in a circle.
 */
static enum op_result prepare_lock(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct txn *txn = txn_find(shard, op->cmd.version);
	struct commit *commit = txn_commit(txn);

	for (; commit->next < commit->count; commit->next++) {
		const struct commit_note *note = commit_note(commit, commit->next);
		struct bytes key = txn->order->writes[note->write].key;
		const struct key_lock *lock = shard_lock_find(shard, note->hash, key);
		enum op_result result;

		if (lock != NULL && !has_lock(commit, lock) && op_waits(req, key, note->hash))
			return OP_PARKED;
		if (lock == NULL)
			txn_lock(shard, txn, commit->next);
		result = commit_check(req, commit, commit->next, /* locked= */ true);
		if (result != OP_DONE)
			return result;
	}
	commit->next = 0;
	shard->txn_locker = NULL;
	txn_wake(shard);
	return prepare_locked(req, txn);
}

enum op_result op_prepare(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct commit *commit = op->state != NULL ? (void *)op->state->data : NULL;
	struct txn *txn;

	if (op->step == STEP_LOCK)
		return prepare_lock(req);
	if (op->step == STEP_LOG)
		return prepare_log(req);
	if (commit == NULL)
		commit = commit_begin(req, /* owned= */ true, sizeof(struct key_lock));
	if (commit == NULL)
		return OP_PARKED;
	if (txn_free(shard) == NULL ||
	    (commit->count > LOCK_AT_ONCE_MAX && shard->txn_locker != NULL)) {
		STAILQ_INSERT_TAIL(&shard->txn_waiters, req, link);
		return OP_PARKED;
	}
	if (commit->count > LOCK_AT_ONCE_MAX) {
		txn_begin(req);
		shard->txn_locker = req;
		op->step = STEP_LOCK;
		return prepare_lock(req);
	}
	for (uint32_t i = 0; i < commit->count; i++) {
		enum op_result result = commit_check(req, commit, i, /* locked= */ false);

		if (result != OP_DONE)
			return result;
	}
	txn = txn_begin(req);
	for (uint32_t i = 0; i < commit->count; i++)
		txn_lock(shard, txn, i);
	return prepare_locked(req, txn);
}

/* RESOLVE. */

/*
 * Logs the outcome. BUSY: not yet. After a failed write nothing is logged any more: recovery will
 * find the same outcome, because the others keep what they know until it is logged everywhere.
 */
static enum status resolve_log(struct shard *shard, struct txn *txn, bool commits)
{
	uint8_t value = commits;
	struct record record = {
		.type = RECORD_RESOLVE,
		.version = txn->id,
		.value = bytes_of(&value, 1),
	};
	enum status status = STATUS_OK;

	assert(txn->phase == TXN_PREPARED);
	if (commits)
		status = group_log_again(shard, txn);
	if (status == STATUS_OK)
		status = shard_reserve(shard, record_size(0, 1, false), SPACE_CLEAN);
	if (status != STATUS_OK)
		return status;
	log_append(&shard->log, &record, /* relaxed= */ false);
	txn->lsn = log_open_lsn(&shard->log);
	return STATUS_OK;
}

/* It could not be applied, and the log has failed or will: the next start does it. */
void txn_break(struct shard *shard, uint64_t id)
{
	struct txn *txn = txn_find(shard, id);

	if (txn == NULL || txn->phase != TXN_PREPARED)
		return;
	assert(shard->log.failed != STATUS_OK);
	txn->lsn = UINT64_MAX;
	txn->phase = TXN_COMMITTED;
	txn_unlock(shard, txn);
}

static enum op_result resolve_abort(struct req *req, struct txn *txn)
{
	struct shard *shard = op_of(req)->shard;

	if (resolve_log(shard, txn, /* commits= */ false) == STATUS_BUSY)
		return OP_AGAIN;
	txn_unlock(shard, txn);
	txn_forget(shard, txn);
	return op_finish(req, STATUS_OK, 0);
}

/*
 * First the index, then the log: what is applied is durable already, so a checkpoint may come in
 * between; and nobody sees a half of it, because nothing else runs and its keys are locked.
 */
static enum op_result resolve_commit(struct req *req, struct txn *txn)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct commit *commit = txn_commit(txn);
	enum op_result result;
	enum status status;

	if (shard->exclusive != req) {
		shard->exclusive = req;
		op->step = STEP_APPLY;
		commit->durable = true;
	}
	result = commit_apply(req, txn->order, commit);
	if (result == OP_AGAIN && shard->log.failed != STATUS_OK)
		return op_finish(req, STATUS_IO, 0); /* no checkpoint will make room */
	if (result != OP_DONE)
		return result;
	status = resolve_log(shard, txn, /* commits= */ true);
	if (status == STATUS_BUSY)
		return OP_AGAIN;
	if (status != STATUS_OK)
		txn->lsn = UINT64_MAX;
	txn->phase = TXN_COMMITTED;
	commit_published(shard, txn->order, commit);
	txn_unlock(shard, txn);
	return op_finish(req, STATUS_OK, 0);
}

enum op_result op_resolve(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct txn *txn = txn_find(shard, op->cmd.version);

	if (txn == NULL)
		return op_finish(req, STATUS_OK, 0);
	switch ((enum kv_resolve)op->cmd.limit) {
	case KV_RESOLVE_ABORT:
		assert(txn->phase == TXN_PREPARED);
		return resolve_abort(req, txn);
	case KV_RESOLVE_COMMIT:
		assert(txn->phase == TXN_PREPARED);
		return resolve_commit(req, txn);
	case KV_RESOLVE_WAIT:
		if (txn->lsn == UINT64_MAX)
			return op_finish(req, STATUS_IO, 0);
		op->lsn = txn->lsn;
		return op_finish(req, STATUS_OK, 0);
	case KV_RESOLVE_FORGET:
		assert(txn->phase == TXN_COMMITTED);
		txn_forget(shard, txn);
		return op_finish(req, STATUS_OK, 0);
	}
	unreachable();
}

void txns_cut(struct shard *shard)
{
	for (unsigned i = 0; i < SHARD_TXNS_MAX; i++) {
		struct txn *txn = &shard->txns[i];

		if (txn->phase != TXN_PREPARING && txn->phase != TXN_PREPARED)
			continue;
		txn->from = txn->phase == TXN_PREPARED ? txn_commit(txn)->next : 0;
		txn->logged = txn->from;
		txn->part = 0;
		txn->whole = false;
	}
}

enum status txns_carry_over(struct shard *shard, uint64_t *lsn)
{
	for (unsigned i = 0; i < SHARD_TXNS_MAX; i++) {
		struct txn *txn = &shard->txns[i];
		enum status status;

		if (txn->phase != TXN_PREPARED)
			continue;
		status = group_log_again(shard, txn);
		if (status != STATUS_OK)
			return status;
	}
	/* Those too that a RESOLVE has written once more since the cut. */
	if (shard->group_lsn > *lsn)
		*lsn = shard->group_lsn;
	return STATUS_OK;
}

/* A COMMIT of this engine alone, in the passes of layer/kv_shard.c. */

enum { WRITE_HEAD_MAX = 64 }; /* bytes of a record without key and value, with its padding */

enum alone_pass { ALONE_PREPARE, ALONE_WAIT, ALONE_COMMIT, ALONE_LAST };

struct alone_frame {
	struct frame frame;
	struct shard *shard;
	uint64_t id, result;
	enum status status; /* what the request completes with */
	uint8_t pass;       /* enum alone_pass */
};

size_t txn_frame_size(void)
{
	return sizeof(struct alone_frame);
}

/*
 * What goes to one frame, and changes little of the index, is done at once. The record of a blob
 * is a list of extents, and no larger than an inline value.
 */
bool txn_is_needed(const struct shard *shard, const struct kv_commit *order)
{
	size_t most = shard->log.frame_size_max - FRAME_HEADER_SIZE, size = 0;

	if (order->count > shard->commit_writes)
		return true;
	for (uint32_t i = 0; i < order->count && size <= most; i++) {
		const struct kv_write *write = &order->writes[i];

		size += WRITE_HEAD_MAX + write->key.size;
		size += write->flags & KV_FROM_BLOB ? KV_INLINE_MAX : write->value.size;
	}
	return size > most;
}

static void alone_resolve(struct req *req, struct alone_frame *alone, enum kv_resolve how)
{
	struct kv_cmd cmd = { .op = KV_RESOLVE, .version = alone->id, .limit = how };

	/* Not by kv_submit(): what has begun is ended, whoever has lost patience. */
	req->state = REQ_RUNNING;
	shard_kv_ops.submit(&alone->shard->kv, req, &cmd);
}

/* It is committed when all parts are on disk; that it was resolved nobody has to wait for. */
static void alone_answered(struct req *req)
{
	struct alone_frame *alone = req_top(req, struct alone_frame);
	enum status status = req->status;
	enum alone_pass pass = (enum alone_pass)alone->pass++;

	if (status != STATUS_OK && pass != ALONE_LAST) {
		alone->status = status;
		alone->result = req->result;
	}
	if (pass == ALONE_PREPARE && status == STATUS_OK) {
		alone->id = req->result;
		alone_resolve(req, alone, KV_RESOLVE_WAIT);
	} else if (pass == ALONE_WAIT) {
		if (status != STATUS_OK)
			alone->pass = ALONE_LAST;
		alone_resolve(req, alone,
		              status == STATUS_OK ? KV_RESOLVE_COMMIT : KV_RESOLVE_ABORT);
	} else if (pass == ALONE_COMMIT && status == STATUS_OK) {
		alone_resolve(req, alone, KV_RESOLVE_FORGET);
	} else {
		status = alone->status;
		req->result = alone->result;
		req_pop(req, struct alone_frame);
		req_complete(req, status, req->result);
	}
}

void txn_submit(struct shard *shard, struct req *req, const struct kv_cmd *cmd)
{
	struct alone_frame *alone = req_push(req, struct alone_frame, alone_answered);
	struct kv_cmd prepare = {
		.op = KV_PREPARE,
		.handle = 1ull << shard->index,
		.commit = cmd->commit,
	};

	alone->shard = shard;
	alone->id = 0;
	alone->result = cmd->commit->count;
	alone->status = STATUS_OK;
	alone->pass = ALONE_PREPARE;
	shard_kv_ops.submit(&shard->kv, req, &prepare);
}
