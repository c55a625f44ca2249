/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/shard.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/commit.h"
#include "engine/store.h"

struct op *op_of(struct req *req)
{
	return req_top(req, struct op);
}

bool shard_is_relaxed(const struct shard *shard, struct bytes key)
{
	return shard->store->options.durability[key.data[0]] == KV_RELAXED;
}

bool shard_has_bug(const struct shard *shard, uint32_t bug)
{
	return (shard->store->options.bugs & bug) != 0;
}

void shard_credit(struct shard *shard, uint64_t location)
{
	struct location l = location_unpack(location);

	assert(l.segment < shard->segment_count);
	if (shard->counting)
		shard_live_add(shard, l.segment, l.size);
}

void shard_debit(struct shard *shard, uint64_t location)
{
	struct location l = location_unpack(location);
	struct shard_segment *segment;

	assert(l.segment < shard->segment_count);
	if (!shard->counting)
		return;
	shard_live_drop(shard, l.segment, l.size);
	segment = &shard->segments[l.segment];
	/*
	 * What made it so is in the open frame; of a RESOLVE, which is logged after it was applied,
	 * perhaps in the next: a checkpoint that was cut before must not count.
	 */
	segment->dead_lsn = shard->log.lsn_next;
	if (shard->started && shard->log.open == NULL)
		segment->dead_lsn++;
	if (segment->live == 0)
		supply_dead(shard, segment->dead_lsn);
}

struct key_lock *shard_lock_find(struct shard *shard, uint64_t hash, struct bytes key)
{
	struct key_lock *lock;

	LIST_FOREACH(lock, &shard->busy[hash % SHARD_BUSY_BUCKETS], link)
	{
		if (lock->hash == hash && bytes_equal(lock->key, key))
			return lock;
	}
	return NULL;
}

void shard_lock(struct shard *shard, struct key_lock *lock, uint64_t hash, struct bytes key)
{
	assert_slow(shard_lock_find(shard, hash, key) == NULL);
	assert(key.size > 0 && key.size <= KV_KEY_MAX);
	lock->hash = hash;
	lock->key = key;
	STAILQ_INIT(&lock->behind);
	LIST_INSERT_HEAD(&shard->busy[hash % SHARD_BUSY_BUCKETS], lock, link);
	shard->busy_count++;
}

/* Those that waited behind it go first now, in the order in which they came. */
void shard_unlock(struct shard *shard, struct key_lock *lock)
{
	assert(shard->busy_count > 0);
	LIST_REMOVE(lock, link);
	shard->busy_count--;
	STAILQ_CONCAT(&lock->behind, &shard->queue);
	STAILQ_CONCAT(&shard->queue, &lock->behind);
}

static bool takes_turns(const struct kv_cmd *cmd)
{
	return cmd->op == KV_GET || cmd->op == KV_PUT || cmd->op == KV_DELETE ||
	       cmd->op == KV_UPDATE || cmd->op == KV_BLOB_OPEN;
}

void op_lock(struct op *op)
{
	struct shard *shard = op->shard;

	if (op->busy || !takes_turns(&op->cmd))
		return;
	shard_lock(shard, &op->lock, op->lock.hash, op->cmd.key);
	op->busy = true;
}

static void busy_leave(struct shard *shard, struct op *op)
{
	if (!op->busy)
		return;
	op->busy = false;
	shard_unlock(shard, &op->lock);
}

void shard_requeue(struct shard *shard, struct req *req)
{
	STAILQ_INSERT_HEAD(&shard->queue, req, link);
}

enum op_result op_finish(struct req *req, enum status status, uint64_t result)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	uint64_t lsn = op->lsn;

	busy_leave(shard, op);
	shard_load_drop(shard, op);
	blob_unload(req);
	if (op->cmd.op == KV_PUT && (op->cmd.flags & KV_FROM_BLOB) && status == STATUS_OK)
		blob_published(shard, op->cmd.handle);
	if (op->cmd.op == KV_PREPARE && status != STATUS_OK)
		txn_unprepare(req);
	if (op->state != NULL && op->cmd.op == KV_SCAN) {
		buf_unref(op->state);
		shard->read_pins--;
	} else if (op->state != NULL) {
		commit_end(op->state);
	}
	if (shard->clear.req == req)
		shard_clear_ended(shard, status);
	if (shard->exclusive == req) {
		shard->exclusive = NULL;
		if (status != STATUS_OK) /* the index lacks what the log has */
			log_fail(&shard->log, status);
		if (status != STATUS_OK && op->cmd.op == KV_RESOLVE)
			txn_break(shard, op->cmd.version);
	}
	assert(lsn < shard->log.lsn_next); /* else: it waits for what nobody writes */
	req_pop(req, struct op);
	req->state = REQ_RUNNING;
	if (status == STATUS_OK && lsn > shard->log.lsn_durable &&
	    !shard_has_bug(shard, BUG_EARLY_ACK)) {
		req->result = result;
		log_wait(&shard->log, lsn, req);
	} else {
		req_complete(req, status, result);
	}
	return OP_DONE;
}

/* Lookups. */

void found_from_record(struct found *found, const struct record *record)
{
	struct blob_value blob;

	found->entry.value = record->value;
	found->entry.size = record->value.size;
	found->entry.version = record->version;
	found->entry.expires_ms = record->expires_ms;
	found->entry.kind = record->flags & RECORD_KIND_MASK;
	found->entry.blob = record->flags & RECORD_BLOB;
	if (found->entry.blob && blob_value_decode(record->value, &blob) == STATUS_OK)
		found->entry.size = blob.size;
}

static void found_expire(struct shard *shard, struct found *found)
{
	uint64_t expires_ms = found->entry.expires_ms;

	if (expires_ms != 0 && expires_ms <= shard->worker->wall_ms)
		found->entry = (struct kv_entry){ .key = found->entry.key, .expired = true };
}

static bool find_in_cache(struct shard *shard, struct bytes key, uint64_t hash, struct found *found)
{
	const struct record_cache_entry *entry = record_cache_find(shard->cache, hash, key);

	if (entry == NULL)
		return false;
	found->location = entry->location;
	found->lsn = entry->lsn;
	if (entry->location != 0) {
		struct record record = {
			.flags = entry->flags,
			.version = entry->version,
			.expires_ms = entry->expires_ms,
			.value = record_cache_value(entry),
		};

		found_from_record(found, &record);
	}
	shard->stats.cache_hits++;
	return true;
}

enum status find_record(struct shard *shard, struct op *op, struct found *found)
{
	struct location l = location_unpack(found->location);
	const uint8_t *data = log_peek(&shard->log, l);
	struct record record;
	size_t used;
	uint32_t crc;
	enum status status;

	if (data == NULL) {
		if (op->loaded == NULL || op->loaded->address != found->location)
			return STATUS_NOT_FOUND;
		data = op->loaded->buf->data + op->loaded->skip;
	}
	status = record_decode(data, l.size,
	                       record_seed(shard->segments[l.segment].generation, l.segment),
	                       l.offset, &record, &used, &crc);
	if (shard_has_bug(shard, BUG_UNCHECKED_RECORD) && status == STATUS_CORRUPT) {
		status = record_parse(data, l.size, l.offset, &record, &used);
		used = l.size;
	}
	if (status != STATUS_OK || used != l.size || !bytes_equal(record.key, found->entry.key))
		return STATUS_CORRUPT;
	found_from_record(found, &record);
	return STATUS_OK;
}

enum op_result op_find(struct req *req, struct bytes key, uint64_t hash, bool value,
                       struct found *found)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	uint32_t partition = kv_partition_hashed(key, hash, shard->partition_count);
	struct btree_miss miss;
	struct location l;
	enum status status;

	*found = (struct found){ .entry.key = key };
	if (shard_clear_hides(shard, partition, key)) {
		found->lsn = shard->uncached_lsn;
		return OP_DONE;
	}
	if (find_in_cache(shard, key, hash, found)) {
		found_expire(shard, found);
		return OP_DONE;
	}
	/* What is not in the cache may have been written or deleted a moment ago. */
	found->lsn = shard->uncached_lsn;
	switch (btree_find(&shard->partitions[partition].tree, key, &found->location, &miss)) {
	case BTREE_OK:
		break;
	case BTREE_ABSENT:
		return OP_DONE;
	case BTREE_MISS:
		return op_load_page(req, partition, &miss);
	default:
		unreachable();
	}
	assert(found->location != 0);
	l = location_unpack(found->location);
	if (!value && !(l.flags & RECORD_EXPIRES)) {
		found->entry.version = UINT64_MAX; /* there is one: not asked for */
		found->entry.kind = l.flags & RECORD_KIND_MASK;
		return OP_DONE;
	}
	status = find_record(shard, op, found);
	if (status == STATUS_NOT_FOUND)
		return op_load_record(req, found->location);
	if (status != STATUS_OK) {
		shard->stats.corrupt++;
		op_finish(req, status, 0);
		return OP_PARKED;
	}
	shard_remember(shard, hash,
	               &(struct record){
	                       .version = found->entry.version,
	                       .expires_ms = found->entry.expires_ms,
	                       .key = key,
	                       .value = found->entry.value,
	               },
	               found->location, found->lsn);
	found_expire(shard, found);
	return OP_DONE;
}

static enum op_result op_get(struct req *req)
{
	struct op *op = op_of(req);
	struct found found;
	enum op_result result;

	result = op_find(req, op->cmd.key, op->lock.hash, true, &found);
	if (result != OP_DONE)
		return result;
	if (!shard_is_relaxed(op->shard, op->cmd.key))
		op->lsn = found.lsn;
	if (found.entry.blob && (op->cmd.flags & KV_LOAD)) {
		struct kv_edit unused;

		result = blob_load(req, &found, &unused);
		if (result != OP_DONE)
			return result;
	} else if (found.entry.blob)
		found.entry.value = (struct bytes){ NULL, 0 };
	if (op->cmd.visit != NULL)
		op->cmd.visit(op->cmd.visitor, &found.entry, NULL);
	return op_finish(req, STATUS_OK, found.entry.version);
}

/* The queue. */

static enum op_result op_run(struct req *req)
{
	struct op *op = op_of(req);

	switch ((enum kv_op)op->cmd.op) {
	case KV_GET:
		return op_get(req);
	case KV_PUT:
		return op_put(req);
	case KV_DELETE:
		return op_delete(req);
	case KV_UPDATE:
		return op_update(req);
	case KV_COMMIT:
		return op_commit(req);
	case KV_PREPARE:
		return op_prepare(req);
	case KV_RESOLVE:
		return op_resolve(req);
	case KV_SCAN:
		return op_scan(req);
	case KV_CLEAR:
		return op_clear(req);
	case KV_COUNT:
		return op_count(req);
	case KV_SYNC:
		return op_sync(req);
	case KV_EXPIRED:
		return op_expired(req);
	case KV_BLOB_WRITE:
	case KV_BLOB_OPEN:
	case KV_BLOB_READ:
	case KV_BLOB_CLOSE:
		return op_blob(req);
	case KV_OP_COUNT:
		break;
	}
	unreachable();
}

bool op_waits(struct req *req, struct bytes key, uint64_t hash)
{
	struct op *op = op_of(req);
	struct key_lock *before;

	if (op->shard->busy_count == 0)
		return false;
	before = shard_lock_find(op->shard, hash, key);
	if (before == NULL || before == &op->lock)
		return false;
	STAILQ_INSERT_TAIL(&before->behind, req, link);
	return true;
}

static bool writes_one_key(const struct kv_cmd *cmd)
{
	return cmd->op == KV_PUT || cmd->op == KV_DELETE || cmd->op == KV_UPDATE;
}

/* False: the queue stops here. */
static bool run_one(struct shard *shard, struct req *req)
{
	struct op *op = op_of(req);
	enum op_result result;

	if (!op->busy && takes_turns(&op->cmd) && op_waits(req, op->cmd.key, op->lock.hash))
		return true;
	if (shard->clear.active && writes_one_key(&op->cmd) &&
	    shard_clear_delays(req, op->cmd.key, op->lock.hash))
		return true;
	result = op_run(req);
	if (result != OP_AGAIN)
		return true;
	shard_requeue(shard, req);
	return false;
}

static const struct btree *tree_of(const struct shard *shard, struct bytes key, uint64_t hash)
{
	return &shard->partitions[kv_partition_hashed(key, hash, shard->partition_count)].tree;
}

/* The places in the index that writes will change: four steps, each needs the one before. */
static void batch_prefetch_index(struct shard *shard, struct req **batch, unsigned count)
{
	uint64_t hints[SHARD_BATCH];
	unsigned hint_count = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct op *op = op_of(batch[i]);
		const struct record_cache_entry *entry;

		if (op->cmd.op != KV_PUT && op->cmd.op != KV_UPDATE && op->cmd.op != KV_GET)
			continue;
		entry = record_cache_guess(shard->cache, op->lock.hash);
		if (op->cmd.op == KV_GET && entry != NULL)
			continue;
		if (entry != NULL && entry->hint != 0)
			hints[hint_count++] = entry->hint;
		else /* a new key, or one not written for long */
			btree_prefetch(tree_of(shard, op->cmd.key, op->lock.hash), op->cmd.key);
	}
	for (unsigned step = 0; step < BTREE_HINT_STEPS; step++) {
		for (unsigned i = 0; i < hint_count; i++)
			btree_prefetch_hint(shard->pool, hints[i], step);
	}
}

/* A batch off the queue, its memory asked for in passes before any of it is needed. */
static unsigned batch_take(struct shard *shard, struct req **batch)
{
	unsigned count = 0;

	while (count < SHARD_BATCH && !STAILQ_EMPTY(&shard->queue)) {
		batch[count] = STAILQ_FIRST(&shard->queue);
		STAILQ_REMOVE_HEAD(&shard->queue, link);
		record_cache_prefetch_slot(shard->cache, op_of(batch[count])->lock.hash);
		count++;
	}
	if (count > 1) {
		for (unsigned i = 0; i < count; i++)
			record_cache_prefetch_entry(shard->cache, op_of(batch[i])->lock.hash);
		batch_prefetch_index(shard, batch, count);
	}
	return count;
}

/* Whether it was there. */
static bool queue_take(struct shard *shard, struct req *req)
{
	struct req *queued;

	STAILQ_FOREACH (queued, &shard->queue, link) {
		if (queued != req)
			continue;
		STAILQ_REMOVE(&shard->queue, req, req, link);
		return true;
	}
	return false;
}

/*
 * A COMMIT whose records are in the log is applied before anything else looks at the index; but a
 * CLEAR whose page was read goes on, because that may be what it waits for.
 */
static bool run_exclusive(struct shard *shard)
{
	if (shard->clear.req != NULL && queue_take(shard, shard->clear.req))
		run_one(shard, shard->clear.req);
	assert(shard->exclusive != NULL);
	if (!queue_take(shard, shard->exclusive))
		return false; /* a page is being read for it */
	run_one(shard, shard->exclusive);
	return shard->exclusive == NULL;
}

static unsigned shard_run(struct actor *actor)
{
	struct shard *shard = container_of(actor, struct shard, actor);
	unsigned done = shard_clear_turn(shard);

	shard->exclusive_yields = false;
	if (shard->exclusive != NULL && !run_exclusive(shard))
		return done + shard->exclusive_yields; /* not 0: the worker does not sleep */
	cleaner_consider(shard); /* before others have taken all the room in the log */
	while (done < SHARD_RUN_MAX && !STAILQ_EMPTY(&shard->queue)) {
		struct req *batch[SHARD_BATCH];
		unsigned count = batch_take(shard, batch);
		unsigned i = 0;

		while (i < count && shard->exclusive == NULL && run_one(shard, batch[i]))
			i++;
		done += i;
		if (i < count) { /* stopped: what was taken goes back, in its order */
			struct req *head = STAILQ_FIRST(&shard->queue);
			bool again = head == batch[i];

			if (again)
				STAILQ_REMOVE_HEAD(&shard->queue, link);
			while (count-- > i)
				shard_requeue(shard, batch[count]);
			break;
		}
	}
	return done + shard->exclusive_yields;
}

static void shard_settle(struct actor *actor)
{
	struct shard *shard = container_of(actor, struct shard, actor);

	if (shard->quiet != NULL && shard_is_idle(shard)) {
		struct req *quiet = shard->quiet;

		assert(shard->closing);
		shard->quiet = NULL;
		shard->inert = true;
		req_complete(quiet, shard->quiet_status, 0);
	}
	shard->clear.sliced = false;
	if (shard->inert)
		return;
	if (shard->quiet != NULL) {
		log_settle(&shard->log);
		return;
	}
	log_settle(&shard->log);
	checkpoint_consider(shard);
	cleaner_consider(shard);
	blob_turn(shard);
	supply_turn(shard);
	record_cache_turn(shard->cache, shard->log.lsn_durable);
}

static bool shard_has_work(const struct actor *actor)
{
	const struct shard *shard = container_of(actor, struct shard, actor);
	return shard_clear_has_work(shard) || cleaner_has_work(shard);
}

const struct actor_ops shard_actor_ops = {
	.name = "shard",
	.run = shard_run,
	.settle = shard_settle,
	.has_work = shard_has_work,
};

/* The engine pops its frame before it completes a request: nothing below has one. */
static void op_returned(struct req *req)
{
	(void)req;
	unreachable();
}

static void shard_submit(struct kv *kv, struct req *req, const struct kv_cmd *cmd)
{
	struct shard *shard = container_of(kv, struct shard, kv);
	struct op *op;

	if (cmd->op == KV_COMMIT && txn_is_needed(shard, cmd->commit)) {
		txn_submit(shard, req, cmd);
		return;
	}
	op = req_push(req, struct op, op_returned);
	op->shard = shard;
	op->cmd = *cmd;
	op->lock.hash = takes_turns(cmd) ? hash64(cmd->key) : 0;
	op->loaded = NULL;
	op->state = NULL;
	op->lsn = 0;
	op->result = 0;
	op->step = 0;
	op->busy = false;
	assert(cmd->op < KV_OP_COUNT);
	assert(!shard->inert && shard->started);
	shard->stats.commands[cmd->op]++;
	STAILQ_INSERT_TAIL(&shard->queue, req, link);
}

const struct kv_ops shard_kv_ops = { .name = "store", .submit = shard_submit };
