/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that change keys. Each does its change in one step, when all that it needs is in memory:
 * room in the log, then the index, then the record at the place the index already names. What is
 * missing parks the command, and it begins again.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "engine/commit.h"
#include "engine/store.h"

enum {
	UPDATE_CHANGES = 2,   /* of the index: the record and its expiry */
	APPLY_TURN_MAX = 4096 /* writes of a commit that are applied in a turn */
};

static struct btree *tree_of(struct shard *shard, struct bytes key, uint64_t hash)
{
	return &shard->partitions[kv_partition_hashed(key, hash, shard->partition_count)].tree;
}

static enum op_result op_btree_wait(struct req *req, struct bytes key, uint64_t hash,
                                    enum btree_result result, const struct btree_miss *miss)
{
	struct shard *shard = op_of(req)->shard;

	if (result == BTREE_MISS)
		return op_load_page(req, kv_partition_hashed(key, hash, shard->partition_count),
		                    miss);
	assert(result == BTREE_FULL);
	checkpoint_want(shard);
	return OP_AGAIN;
}

/* OP_DONE: `size` bytes of records fit. OP_PARKED: the request has failed. */
static enum op_result op_reserve(struct req *req, size_t size)
{
	struct shard *shard = op_of(req)->shard;
	enum status status = shard_reserve(shard, size, SPACE_LOG);

	if (status == STATUS_OK)
		return OP_DONE;
	if (status == STATUS_BUSY && !shard_is_stuck(shard))
		return OP_AGAIN;
	op_finish(req, status == STATUS_BUSY ? STATUS_NO_SPACE : status, 0);
	return OP_PARKED;
}

/* The old value of a key is no longer reachable: its record, and its extents if it was a blob. */
static void drop_old(struct shard *shard, uint64_t old)
{
	assert(old != 0);
	shard_debit(shard, old);
	if (old & RECORD_BLOB)
		blob_free_later(shard, old);
}

/* Who sees the record from now on waits for frame `lsn`; in a relaxed space for none. */
static void remember_until(struct shard *shard, uint64_t hash, const struct record *record,
                           uint64_t location, uint64_t lsn)
{
	struct record_cache_entry entry = {
		.version = record->version,
		.expires_ms = record->expires_ms,
		.location = location,
		.lsn = shard_is_relaxed(shard, record->key) ? 0 : lsn,
		.hint = location != 0 ? shard->hint : 0,
		.flags = (uint8_t)location,
	};

	assert(record->version > 0 && record->version < shard->version_next);
	assert(lsn < shard->log.lsn_next);
	if (!record_cache_insert(shard->cache, hash, &entry, record->key, record->value)) {
		record_cache_remove(shard->cache, hash, record->key);
		if (entry.lsn > shard->uncached_lsn)
			shard->uncached_lsn = entry.lsn;
	}
}

static void remember(struct shard *shard, uint64_t hash, const struct record *record,
                     uint64_t location)
{
	remember_until(shard, hash, record, location, log_open_lsn(&shard->log));
}

/* The index and all that is counted, for a record that goes, or went, to `location`. */
static enum btree_result apply_put(struct shard *shard, uint64_t hash, const struct record *record,
                                   uint64_t location, struct btree_miss *miss)
{
	uint32_t partition = kv_partition_hashed(record->key, hash, shard->partition_count);
	struct btree *tree = &shard->partitions[partition].tree;
	const struct record_cache_entry *cached =
	        record_cache_find(shard->cache, hash, record->key);
	uint64_t old = 0;
	enum btree_result result;

	assert(location != 0);
	assert(shard_owns(shard, partition) || !shard->open);
	shard->hint = 0;
	if (cached != NULL && cached->hint != 0 && cached->location != 0 &&
	    btree_set_hinted(tree, cached->hint, cached->location, location)) {
		old = cached->location;
		shard->hint = cached->hint;
	} else {
		result = btree_set(tree, record->key, location, &old, miss);
		if (result != BTREE_OK)
			return result;
		shard->hint = btree_last_hint(tree);
	}
	shard_credit(shard, location);
	if (old != 0 && record->type == RECORD_MOVED)
		shard_debit(shard, old); /* its extents, if any, are the moved record's now */
	else if (old != 0)
		drop_old(shard, old);
	else
		shard->partitions[partition].counts[record->key.data[0]]++;
	return BTREE_OK;
}

static enum btree_result apply_delete(struct shard *shard, uint64_t hash, struct bytes key,
                                      struct btree_miss *miss)
{
	uint64_t old = 0;
	enum btree_result result;
	uint32_t partition = kv_partition_hashed(key, hash, shard->partition_count);

	shard->hint = 0;
	result = btree_remove(&shard->partitions[partition].tree, key, &old, miss);
	if (result == BTREE_OK) {
		drop_old(shard, old);
		assert(shard->partitions[partition].counts[key.data[0]] > 0);
		shard->partitions[partition].counts[key.data[0]]--;
	}
	return result;
}

static enum op_result expiry_step(struct req *req, struct bytes key, uint64_t hash,
                                  uint64_t expires_ms)
{
	struct shard *shard = op_of(req)->shard;
	uint8_t memory[BTREE_KEY_MAX];
	uint64_t old;
	struct btree_miss miss;
	enum btree_result result;

	result = btree_set(tree_of(shard, key, hash), expiry_key(expires_ms, key, memory), 1, &old,
	                   &miss);
	return result == BTREE_OK ? OP_DONE : op_btree_wait(req, key, hash, result, &miss);
}

static void op_wait_for_log(struct op *op, struct bytes key)
{
	if (!shard_is_relaxed(op->shard, key))
		op->lsn = log_open_lsn(&op->shard->log);
}

/* Puts one record; the last thing a PUT or an UPDATE does. */
static enum op_result op_store(struct req *req, struct record *record)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	size_t size = record_size(record->key.size, record->value.size, record->expires_ms != 0);
	struct btree_miss miss;
	enum btree_result result;
	enum op_result reserved = op_reserve(req, size);
	uint64_t location;

	if (reserved != OP_DONE)
		return reserved;
	record->version = shard->version_next;
	location = log_next_location(
	        &shard->log, size,
	        (uint8_t)(record->flags | (record->expires_ms != 0 ? RECORD_EXPIRES : 0)));
	result = apply_put(shard, op->lock.hash, record, location, &miss);
	if (result != BTREE_OK)
		return op_btree_wait(req, record->key, op->lock.hash, result, &miss);
	if ((record->flags & RECORD_BLOB) && record->type == RECORD_PUT)
		blob_credit(shard, record->value);
	assert(!shard->replaying && shard->open);
	shard->version_next++;
	log_append(&shard->log, record, shard_is_relaxed(shard, record->key));
	remember(shard, op->lock.hash, record, location);
	op_wait_for_log(op, record->key);
	op->result = record->version;
	if (record->expires_ms == 0)
		return op_finish(req, STATUS_OK, op->result);
	op->step = STEP_EXPIRY;
	op->cmd.expires_ms = record->expires_ms;
	reserved = expiry_step(req, op->cmd.key, op->lock.hash, op->cmd.expires_ms);
	return reserved == OP_DONE ? op_finish(req, STATUS_OK, op->result) : reserved;
}

/* Removes one key that is in the index. */
static enum op_result op_remove(struct req *req, uint64_t finish_result)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct record record = { .type = RECORD_DELETE, .key = op->cmd.key };
	struct btree_miss miss;
	enum btree_result result;
	enum op_result reserved = op_reserve(req, record_size(record.key.size, 0, false));

	if (reserved != OP_DONE)
		return reserved;
	result = apply_delete(shard, op->lock.hash, record.key, &miss);
	if (result == BTREE_ABSENT)
		return op_finish(req, STATUS_OK, 0);
	if (result != BTREE_OK)
		return op_btree_wait(req, record.key, op->lock.hash, result, &miss);
	record.version = shard->version_next++;
	log_append(&shard->log, &record, shard_is_relaxed(shard, record.key));
	remember(shard, op->lock.hash, &record, 0);
	op_wait_for_log(op, record.key);
	return op_finish(req, STATUS_OK, finish_result);
}

enum op_result op_put(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	const struct kv_cmd *cmd = &op->cmd;
	bool look = cmd->flags & (KV_IF_VERSION | KV_KEEP_EXPIRY);
	struct found found = { .location = 0 };
	struct record record = {
		.type = RECORD_PUT,
		.flags = cmd->kind,
		.key = cmd->key,
		.value = cmd->value,
		.expires_ms = cmd->expires_ms,
	};
	enum op_result result;

	if (op->step == STEP_EXPIRY) {
		result = expiry_step(req, cmd->key, op->lock.hash, cmd->expires_ms);
		return result == OP_DONE ? op_finish(req, STATUS_OK, op->result) : result;
	}
	result = op_wait_for_space(req);
	if (result != OP_DONE)
		return result;
	if (look) {
		result = op_find(req, cmd->key, op->lock.hash, true, &found);
		if (result != OP_DONE)
			return result;
	}
	if ((cmd->flags & KV_IF_VERSION) && found.entry.version != cmd->version) {
		op->lsn = found.lsn;
		return op_finish(req, STATUS_CONFLICT, found.entry.version);
	}
	if (cmd->flags & KV_KEEP_EXPIRY)
		record.expires_ms = found.entry.expires_ms;
	if (cmd->flags & KV_FROM_BLOB) {
		enum status status = blob_take(shard, cmd->handle, &record);

		if (status != STATUS_OK)
			return op_finish(req, status, 0);
	}
	return op_store(req, &record);
}

enum op_result op_delete(struct req *req)
{
	struct op *op = op_of(req);
	const struct kv_cmd *cmd = &op->cmd;
	struct found found;
	enum op_result result;

	result = op_find(req, cmd->key, op->lock.hash, cmd->flags & KV_IF_VERSION, &found);
	if (result != OP_DONE)
		return result;
	if ((cmd->flags & KV_IF_VERSION) && found.entry.version != cmd->version) {
		op->lsn = found.lsn;
		return op_finish(req, STATUS_CONFLICT, found.entry.version);
	}
	if (found.location == 0) {
		op->lsn = shard_is_relaxed(op->shard, cmd->key) ? 0 : found.lsn;
		return op_finish(req, STATUS_OK, 0);
	}
	return op_remove(req, found.entry.version != 0 ? 1 : 0);
}

/*
 * All that the visit's decision may need is made sure of first, because a visit that has run must
 * not run again: the leaf, pages for a split, and the log's room for the largest value.
 */
static enum op_result update_ready(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct btree_miss miss;
	uint64_t location;
	enum op_result reserved;

	reserved = op_reserve(req, record_size(op->cmd.key.size, KV_INLINE_MAX, true));
	if (reserved != OP_DONE)
		return reserved;
	if (btree_find(tree_of(shard, op->cmd.key, op->lock.hash), op->cmd.key, &location, &miss) ==
	    BTREE_MISS)
		return op_btree_wait(req, op->cmd.key, op->lock.hash, BTREE_MISS, &miss);
	if (!btree_pool_has_room(shard->pool, UPDATE_CHANGES)) {
		checkpoint_want(shard);
		return OP_AGAIN;
	}
	return OP_DONE;
}

/* The extents of a blob are the new record's, as when the cleaner has moved it. */
static enum op_result op_touch(struct req *req, const struct found *found, struct bytes value,
                               uint64_t expires_ms)
{
	struct op *op = op_of(req);
	struct record record = {
		.type = found->entry.blob ? RECORD_MOVED : RECORD_PUT,
		.flags = found->entry.kind | (found->entry.blob ? RECORD_BLOB : 0),
		.key = op->cmd.key,
		.value = value,
		.expires_ms = expires_ms,
	};

	assert(found->entry.version != 0); /* else: touched, and not there */
	return op_store(req, &record);
}

enum op_result op_update(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	const struct kv_cmd *cmd = &op->cmd;
	struct kv_edit edit = { .scratch = shard->scratch, .scratch_max = shard->scratch_size };
	struct record record = { .type = RECORD_PUT, .key = cmd->key };
	struct found found;
	struct bytes stored; /* of the record: of a blob, the list of its extents */
	enum op_result result;
	bool blob;

	if (op->step == STEP_EXPIRY) {
		result = expiry_step(req, cmd->key, op->lock.hash, cmd->expires_ms);
		return result == OP_DONE ? op_finish(req, STATUS_OK, op->result) : result;
	}
	if (op->step == STEP_LARGE) {
		record.expires_ms = cmd->expires_ms;
		result = blob_store_ready(req, &record);
		return result == OP_DONE ? op_store(req, &record) : result;
	}
	/* In a store that is full the visit may still remove the key. */
	result = shard_is_full(shard) ? OP_DONE : op_wait_for_space(req);
	if (result != OP_DONE)
		return result;
	result = op_find(req, cmd->key, op->lock.hash, true, &found);
	if (result != OP_DONE)
		return result;
	stored = found.entry.value;
	blob = found.entry.blob;
	if (cmd->flags & KV_LOAD)
		result = blob_load(req, &found, &edit);
	else if (found.entry.blob)
		found.entry.value = (struct bytes){ NULL, 0 };
	if (result != OP_DONE)
		return result;
	result = update_ready(req);
	if (result != OP_DONE)
		return result;
	/* update_ready() loads at most a page: the cache entry that was found is still readable. */
	assert(edit.scratch_max >= KV_INLINE_MAX);
	cmd->visit(cmd->visitor, &found.entry, &edit);
	if (!shard_is_relaxed(shard, cmd->key))
		op->lsn = found.lsn;
	if (edit.status != STATUS_OK)
		return op_finish(req, edit.status, found.entry.version);
	if (edit.action == KV_KEEP)
		return op_finish(req, STATUS_OK, found.entry.version);
	if (edit.action == KV_REMOVE)
		return found.location == 0 ? op_finish(req, STATUS_OK, 0) : op_remove(req, 0);
	if (!shard_has_space(shard))
		return op_finish(req, STATUS_NO_SPACE, found.entry.version);
	if (edit.action == KV_TOUCH) {
		found.entry.blob = blob;
		return op_touch(req, &found, stored, edit.expires_ms);
	}
	if (edit.value.size > KV_INLINE_MAX) {
		op->step = STEP_LARGE;
		op_lock(op); /* the visit has decided on what is there now */
		return blob_store_large(req, &edit);
	}
	assert(edit.kind < 16);
	record.flags = edit.kind;
	record.value = edit.value;
	record.expires_ms = edit.expires_ms;
	return op_store(req, &record);
}

/* COMMIT. */

/* Room for `count` notes of so many bytes, zeroed; NULL: no memory. */
static struct buf *commit_state(struct shard *shard, uint32_t count, size_t stride)
{
	size_t size = sizeof(struct commit) + count * stride;
	bool chunked = size > BUF_SIZE_MAX;
	struct buf *state = buf_get(shard->bufs, chunked ? sizeof(struct commit) : size);
	struct commit *commit;

	if (state == NULL)
		return NULL;
	assert(stride % 8 == 0 && stride <= BUF_SIZE_MAX);
	commit = (struct commit *)(void *)state->data;
	memset(commit, 0, chunked ? sizeof(*commit) : size);
	commit->stride = (uint32_t)stride;
	commit->chunk_notes = (uint32_t)(BUF_SIZE_MAX / stride);
	commit->places[0] = state->data + sizeof(*commit);
	for (uint32_t left = chunked ? count : 0; left > 0;) {
		uint32_t notes = left < commit->chunk_notes ? left : commit->chunk_notes;
		struct buf *chunk = buf_get(shard->bufs, notes * stride);

		if (chunk == NULL) {
			commit_end(state);
			return NULL;
		}
		assert(commit->chunk_count < COMMIT_CHUNKS_MAX);
		memset(chunk->data, 0, notes * stride);
		commit->chunks[commit->chunk_count] = chunk;
		commit->places[commit->chunk_count++] = chunk->data;
		left -= notes;
	}
	return state;
}

void commit_end(struct buf *state)
{
	struct commit *commit = (struct commit *)(void *)state->data;

	for (uint32_t i = 0; i < commit->chunk_count; i++)
		buf_unref(commit->chunks[i]);
	buf_unref(state);
}

struct commit *commit_begin(struct req *req, bool owned, size_t extra)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	const struct kv_commit *order = op->cmd.commit;
	uint32_t count = 0;
	struct commit *commit;

	for (uint32_t i = 0; i < order->count; i++)
		count += !owned || shard_owns(shard, kv_partition(order->writes[i].key,
		                                                  shard->partition_count));
	assert(op->state == NULL);
	assert(order->count <= KV_COMMIT_WRITES_MAX);
	op->state = commit_state(shard, count, sizeof(struct commit_note) + extra);
	if (op->state == NULL) {
		op_finish(req, STATUS_BUSY, 0);
		return NULL;
	}
	commit = (struct commit *)(void *)op->state->data;
	for (uint32_t i = 0; i < order->count; i++) {
		uint64_t hash = hash64(order->writes[i].key);

		if (owned && !shard_owns(shard, kv_partition_hashed(order->writes[i].key, hash,
		                                                    shard->partition_count)))
			continue;
		commit_note(commit, commit->count)->hash = hash;
		commit_note(commit, commit->count++)->write = i;
	}
	return commit;
}

static struct commit *commit_of(struct op *op)
{
	return op->state != NULL ? (struct commit *)(void *)op->state->data : NULL;
}

enum op_result commit_check(struct req *req, struct commit *commit, uint32_t i, bool locked)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct commit_note *note = commit_note(commit, i);
	const struct kv_write *write = &op->cmd.commit->writes[note->write];
	bool look = write->flags & (KV_IF_VERSION | KV_KEEP_EXPIRY);
	uint64_t location = 0;
	struct btree_miss miss;
	struct found found;
	enum op_result result;

	if ((!locked && op_waits(req, write->key, note->hash)) ||
	    shard_clear_delays(req, write->key, note->hash))
		return OP_PARKED;
	if (write->flags & KV_FROM_BLOB) {
		struct record record = { .flags = 0 };
		enum status status = blob_take(shard, write->version, &record);

		if (status != STATUS_OK) {
			op_finish(req, status, 0);
			return OP_PARKED;
		}
	}
	if ((!locked || look) && btree_find(tree_of(shard, write->key, note->hash), write->key,
	                                    &location, &miss) == BTREE_MISS)
		return op_btree_wait(req, write->key, note->hash, BTREE_MISS, &miss);
	if (!look)
		return OP_DONE;
	if (location == 0 || note->learned != location) {
		result = op_find(req, write->key, note->hash, true, &found);
		if (result != OP_DONE)
			return result;
		note->learned = found.location;
		note->version = found.entry.version;
		note->expires_ms = found.entry.expires_ms;
		if (found.lsn > op->lsn && !shard_is_relaxed(shard, write->key))
			op->lsn = found.lsn;
	}
	if ((write->flags & KV_IF_VERSION) && note->version != write->version) {
		shard->stats.conflicts++;
		op_finish(req, STATUS_CONFLICT, note->version);
		return OP_PARKED;
	}
	return OP_DONE;
}

bool commit_record(struct shard *shard, const struct kv_commit *order, const struct commit *commit,
                   uint32_t i, struct record *record)
{
	const struct commit_note *note = commit_note(commit, i);
	const struct kv_write *write = &order->writes[note->write];

	if (write->op == KV_GET)
		return false;
	*record = (struct record){ .type = RECORD_DELETE, .key = write->key };
	if (write->op == KV_PUT)
		*record = (struct record){
			.type = RECORD_PUT,
			.flags = write->kind,
			.key = write->key,
			.value = write->value,
			.expires_ms = write->flags & KV_KEEP_EXPIRY ? note->expires_ms
			                                            : write->expires_ms,
		};
	if ((write->flags & KV_FROM_BLOB) && blob_take(shard, write->version, record) != STATUS_OK)
		unreachable(); /* commit_check() took it before */
	return true;
}

size_t commit_record_size(struct shard *shard, const struct kv_commit *order,
                          const struct commit *commit, uint32_t i)
{
	struct record record;

	if (!commit_record(shard, order, commit, i, &record))
		return 0;
	return record_size(record.key.size, record.value.size, record.expires_ms != 0);
}

size_t commit_size(struct shard *shard, const struct kv_commit *order, const struct commit *commit)
{
	size_t size = 0;

	for (uint32_t i = 0; i < commit->count; i++)
		size += commit_record_size(shard, order, commit, i);
	return size;
}

/* One key that is not relaxed is enough. */
static bool commit_is_relaxed(const struct shard *shard, const struct kv_commit *order)
{
	for (uint32_t i = 0; i < order->count; i++) {
		if (order->writes[i].op != KV_GET && !shard_is_relaxed(shard, order->writes[i].key))
			return false;
	}
	return true;
}

/* All records go to one frame: they are on disk together or not at all. */
static void commit_append(struct shard *shard, const struct kv_commit *order, struct commit *commit,
                          bool relaxed)
{
	for (uint32_t i = 0; i < commit->count; i++) {
		struct record record;

		if (!commit_record(shard, order, commit, i, &record))
			continue;
		assert(commit_note(commit, i)->location == 0); /* else: logged twice */
		record.version = shard->version_next++;
		if (record.flags & RECORD_BLOB)
			blob_credit(shard, record.value);
		commit_note(commit, i)->version = record.version;
		commit_note(commit, i)->location = log_append(&shard->log, &record, relaxed);
	}
}

enum op_result commit_apply(struct req *req, const struct kv_commit *order, struct commit *commit)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	uint64_t lsn = commit->durable ? 0 : log_open_lsn(&shard->log);
	unsigned budget = APPLY_TURN_MAX;

	assert(shard->exclusive == req); /* nobody sees a half of it */
	assert(commit->next <= commit->count);
	for (; commit->next < commit->count; commit->next++) {
		struct commit_note *note = commit_note(commit, commit->next);
		struct record record;
		struct btree_miss miss;
		enum btree_result result;
		enum op_result expiry;
		bool puts;

		if (budget-- == 0) {
			shard->exclusive_yields = true;
			return OP_AGAIN;
		}
		if (!commit_record(shard, order, commit, commit->next, &record))
			continue;
		record.version = note->version;
		puts = record.type == RECORD_PUT;
		if (shard_clear_delays(req, record.key, note->hash))
			return OP_PARKED;
		/* First what may be done twice: a checkpoint may come before the rest. */
		if (puts && record.expires_ms != 0) {
			expiry = expiry_step(req, record.key, note->hash, record.expires_ms);
			if (expiry != OP_DONE)
				return expiry;
		}
		if (puts)
			result = apply_put(shard, note->hash, &record, note->location, &miss);
		else
			result = apply_delete(shard, note->hash, record.key, &miss);
		if (result == BTREE_MISS || result == BTREE_FULL)
			return op_btree_wait(req, record.key, note->hash, result, &miss);
		if ((record.flags & RECORD_BLOB) && commit->durable)
			blob_credit(shard, record.value);
		remember_until(shard, note->hash, &record, puts ? note->location : 0, lsn);
	}
	return OP_DONE;
}

void commit_published(struct shard *shard, const struct kv_commit *order,
                      const struct commit *commit)
{
	for (uint32_t i = 0; i < commit->count; i++) {
		const struct kv_write *write = &order->writes[commit_note(commit, i)->write];

		if (write->flags & KV_FROM_BLOB)
			blob_published(shard, write->version);
	}
}

static enum op_result commit_finish(struct req *req)
{
	struct op *op = op_of(req);
	const struct kv_commit *order = op->cmd.commit;
	enum op_result result = commit_apply(req, order, commit_of(op));

	if (result != OP_DONE)
		return result;
	commit_published(op->shard, order, commit_of(op));
	return op_finish(req, STATUS_OK, order->count);
}

enum op_result op_commit(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct commit *commit = commit_of(op);
	const struct kv_commit *order = op->cmd.commit;
	enum op_result result;
	enum status status;
	bool relaxed;
	size_t size;

	if (op->step != STEP_CHANGE)
		return commit_finish(req);
	if (commit == NULL)
		commit = commit_begin(req, /* owned= */ false, 0);
	if (commit == NULL)
		return OP_PARKED;
	for (uint32_t i = 0; i < commit->count; i++) {
		result = commit_check(req, commit, i, /* locked= */ false);
		if (result != OP_DONE)
			return result;
	}
	size = commit_size(shard, order, commit);
	if (size == 0)
		return op_finish(req, STATUS_OK, order->count);
	result = op_wait_for_space(req);
	if (result != OP_DONE)
		return result;
	assert(size <= shard->log.frame_size_max - FRAME_HEADER_SIZE); /* txn_is_needed() */
	if (!btree_pool_has_room(shard->pool, commit->count * UPDATE_CHANGES)) {
		checkpoint_want(shard);
		return OP_AGAIN;
	}
	status = shard_reserve(shard, size, SPACE_LOG);
	if (status == STATUS_BUSY)
		return OP_AGAIN;
	if (status != STATUS_OK)
		return op_finish(req, status, 0);
	relaxed = commit_is_relaxed(shard, order);
	commit_append(shard, order, commit, relaxed);
	if (!relaxed)
		op->lsn = log_open_lsn(&shard->log);
	/* From here on it is in the log: it will be applied, whatever pages must come first. */
	assert(shard->exclusive == NULL);
	assert(commit->next == 0);
	op->step = STEP_APPLY;
	shard->exclusive = req;
	return commit_finish(req);
}

enum btree_result replay_put(struct shard *shard, const struct record *record, uint64_t location,
                             struct btree_miss *miss)
{
	uint64_t hash = hash64(record->key);
	uint8_t memory[BTREE_KEY_MAX];
	enum btree_result result = BTREE_OK;
	uint64_t old;

	if (record->version >= shard->version_next)
		shard->version_next = record->version + 1;
	/* First what may be done twice. */
	if (record->expires_ms != 0)
		result = btree_set(tree_of(shard, record->key, hash),
		                   expiry_key(record->expires_ms, record->key, memory), 1, &old,
		                   miss);
	if (result != BTREE_OK)
		return result;
	result = apply_put(shard, hash, record, location, miss);
	if (result == BTREE_OK && (record->flags & RECORD_BLOB) && record->type == RECORD_PUT)
		blob_replay_credit(shard, record->value);
	return result;
}

enum btree_result replay_delete(struct shard *shard, const struct record *record,
                                struct btree_miss *miss)
{
	if (record->version >= shard->version_next)
		shard->version_next = record->version + 1;
	return apply_delete(shard, hash64(record->key), record->key, miss);
}
