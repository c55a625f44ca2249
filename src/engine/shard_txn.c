/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This engine's part of a COMMIT over several. The keys are locked, the records are in the log, but
 * not in the index; when all participants have them on disk the transaction is committed, and the
 * index is made to name them. Recovery decides by the same rule.
 */
#include "base/assert.h"
#include "engine/commit.h"
#include "engine/store.h"

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
		if (shard->txns[i].phase == TXN_PREPARED)
			return true;
	}
	return false;
}

static struct commit *txn_commit(const struct txn *txn)
{
	return (struct commit *)(void *)txn->state->data;
}

static struct key_lock *txn_locks(const struct txn *txn)
{
	struct commit *commit = txn_commit(txn);

	return (struct key_lock *)(void *)&commit->notes[commit->count];
}

/* A key that is written twice is locked once. */
static void txn_lock(struct shard *shard, struct txn *txn)
{
	struct commit *commit = txn_commit(txn);
	struct key_lock *locks = txn_locks(txn);

	for (uint32_t i = 0; i < commit->count; i++) {
		struct bytes key = txn->order->writes[commit->notes[i].write].key;

		if (!shard_is_locked(shard, commit->notes[i].hash, key))
			shard_lock(shard, &locks[i], commit->notes[i].hash, key);
	}
}

static void txn_unlock(struct shard *shard, struct txn *txn)
{
	struct commit *commit = txn_commit(txn);
	struct key_lock *locks = txn_locks(txn);

	for (uint32_t i = commit->count; i-- > 0;) {
		if (locks[i].key.size > 0)
			shard_unlock(shard, &locks[i]);
	}
	buf_unref(txn->state);
	txn->state = NULL;
	txn->order = NULL;
}

static void txn_forget(struct shard *shard, struct txn *txn)
{
	txn->phase = TXN_FREE;
	STAILQ_CONCAT(&shard->txn_waiters, &shard->queue);
	STAILQ_CONCAT(&shard->queue, &shard->txn_waiters);
}

static size_t group_size(struct shard *shard, const struct kv_commit *order,
                         const struct commit *commit)
{
	return record_size(0, PREPARE_SIZE, false) + commit_size(shard, order, commit);
}

/* The part of this engine, in one frame; after log_reserve(). */
static void group_append(struct shard *shard, struct txn *txn)
{
	struct commit *commit = txn_commit(txn);
	struct prepare prepare = {
		.participants = txn->participants,
		.size = (uint32_t)commit_size(shard, txn->order, commit),
	};
	uint8_t value[PREPARE_SIZE];
	struct record record = {
		.type = RECORD_PREPARE,
		.version = txn->id,
		.value = bytes_of(value, sizeof(value)),
	};

	prepare_encode(&prepare, value);
	log_append(&shard->log, &record);
	for (uint32_t i = 0; i < commit->count; i++) {
		if (!commit_record(shard, txn->order, commit, i, &record))
			continue;
		record.version = commit->notes[i].version;
		record.type =
		        record.type == RECORD_PUT ? RECORD_PREPARED_PUT : RECORD_PREPARED_DELETE;
		commit->notes[i].location = log_append(&shard->log, &record);
	}
	txn->lsn = log_open_lsn(&shard->log);
	shard->group_lsn = txn->lsn;
}

/* From here on its keys are its own. */
static enum op_result prepare_now(struct req *req, struct commit *commit)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct txn *txn = txn_free(shard);

	*txn = (struct txn){
		.id = op->cmd.version,
		.participants = op->cmd.handle,
		.order = op->cmd.commit,
		.state = op->state,
		.phase = TXN_PREPARED,
	};
	if (txn->id == 0) /* unique in this run, and what a log holds is of one run */
		txn->id = (uint64_t)shard->index << 56 | ++shard->txn_next;
	for (uint32_t i = 0; i < commit->count; i++)
		commit->notes[i].version = shard->version_next++;
	txn_lock(shard, txn);
	group_append(shard, txn);
	op->state = NULL;
	op->lsn = 0;
	return op_finish(req, STATUS_OK, txn->id);
}

enum op_result op_prepare(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	const struct kv_commit *order = op->cmd.commit;
	struct commit *commit = op->state != NULL ? (void *)op->state->data : NULL;
	enum op_result result;
	enum status status;
	size_t size;

	if (commit == NULL)
		commit = commit_begin(req, /* owned= */ true, sizeof(struct key_lock));
	if (commit == NULL)
		return OP_PARKED;
	if (txn_free(shard) == NULL) {
		STAILQ_INSERT_TAIL(&shard->txn_waiters, req, link);
		return OP_PARKED;
	}
	for (uint32_t i = 0; i < commit->count; i++) {
		result = commit_check(req, commit, i);
		if (result != OP_DONE)
			return result;
	}
	size = group_size(shard, order, commit);
	if (shard_is_full(shard))
		return op_finish(req, STATUS_NO_SPACE, 0);
	if (size > shard->log.frame_size_max - FRAME_HEADER_SIZE)
		return op_finish(req, STATUS_TOO_LARGE, 0);
	status = log_reserve(&shard->log, size);
	if (status == STATUS_BUSY)
		return OP_AGAIN;
	if (status != STATUS_OK)
		return op_finish(req, status, 0);
	return prepare_now(req, commit);
}

/* A checkpoint holds the frames of its group but not what it does. */
static bool is_cut_off(const struct shard *shard, const struct txn *txn)
{
	return txn->phase == TXN_PREPARED && txn->lsn <= shard->cut_lsn;
}

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

	if (commits && is_cut_off(shard, txn))
		status = log_reserve(&shard->log, group_size(shard, txn->order, txn_commit(txn)));
	if (status != STATUS_OK)
		return status;
	if (commits && is_cut_off(shard, txn))
		group_append(shard, txn);
	status = log_reserve(&shard->log, record_size(0, 1, false));
	if (status != STATUS_OK)
		return status;
	log_append(&shard->log, &record);
	txn->lsn = log_open_lsn(&shard->log);
	return STATUS_OK;
}

/* It could not be applied, and the log has failed or will: the next start does it. */
void txn_break(struct shard *shard, uint64_t id)
{
	struct txn *txn = txn_find(shard, id);

	if (txn == NULL || txn->phase != TXN_PREPARED)
		return;
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

enum status txns_carry_over(struct shard *shard, uint64_t *lsn)
{
	for (unsigned i = 0; i < SHARD_TXNS_MAX; i++) {
		struct txn *txn = &shard->txns[i];
		enum status status;

		if (!is_cut_off(shard, txn))
			continue;
		status = log_reserve(&shard->log, group_size(shard, txn->order, txn_commit(txn)));
		if (status != STATUS_OK)
			return status;
		group_append(shard, txn);
	}
	/* Those too that a RESOLVE has written once more since the cut. */
	if (shard->group_lsn > *lsn)
		*lsn = shard->group_lsn;
	return STATUS_OK;
}
