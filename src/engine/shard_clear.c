/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLEAR: the keys with a prefix are gone at one moment, and removed from the index over many turns.
 *
 * One record of the log says it, so a crash leaves all of them or none. What has not been removed
 * yet is hidden: reads find nothing there, and a write of such a key waits until the clear has
 * passed it. So all that the index has ahead of the clear is older than the clear, and a place is
 * enough to say how far it came: a checkpoint in the middle is followed by the record once more,
 * with the place at which the log was cut. The clear stands still from the one to the other.
 */
#include "base/assert.h"
#include "engine/blob_state.h"
#include "engine/store.h"

/* Of the value of a RECORD_CLEAR that goes on in the middle: partition (4), place. */
enum { PLACE_HEADER = 4 };

/* Every removed key gives its bytes back. */
struct removal {
	struct shard *shard;
	struct partition *partition;
	uint8_t space;
	uint64_t *removed;
};

static void key_removed(void *context, struct bytes key, btree_value old)
{
	struct removal *removal = context;

	(void)key;
	shard_debit(removal->shard, old);
	if (old & RECORD_BLOB)
		blob_free_later(removal->shard, old);
	assert(removal->partition->counts[removal->space] > 0);
	removal->partition->counts[removal->space]--;
	++*removal->removed;
}

struct bytes shard_clear_end(struct bytes prefix, uint8_t end[static KV_KEY_MAX])
{
	size_t size = prefix.size;

	assert(size > 0 && size <= KV_KEY_MAX);
	memcpy(end, prefix.data, size);
	while (size > 0 && end[size - 1] == UINT8_MAX)
		size--;
	if (size > 0)
		end[size - 1]++;
	return bytes_of(end, size);
}

static void range_begin(struct btree_range *range, struct bytes prefix, struct bytes upper)
{
	*range = (struct btree_range){ .lower = prefix, .upper = upper };
}

static enum btree_result range_remove(struct shard *shard, uint32_t partition,
                                      struct btree_range *range, uint64_t limit, uint64_t *removed,
                                      struct btree_miss *miss)
{
	struct removal removal = {
		.shard = shard,
		.partition = &shard->partitions[partition],
		.space = range->lower.data[0],
		.removed = removed,
	};

	range->removed = key_removed;
	range->context = &removal;
	return btree_remove_range(&removal.partition->tree, range, limit, miss);
}

bool shard_clear_hides_key(const struct shard *shard, uint32_t partition, struct bytes key)
{
	const struct clear *clear = &shard->clear;

	assert(clear->active);
	if (key.size < clear->prefix_size ||
	    memcmp(key.data, clear->prefix, clear->prefix_size) != 0)
		return false;
	if (partition != clear->partition)
		return partition > clear->partition;
	return bytes_compare(key, btree_range_place(&clear->range)) >= 0;
}

bool shard_clear_delays(struct req *req, struct bytes key, uint64_t hash)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;

	if (!shard->clear.active || shard->clear.req == NULL ||
	    !shard_clear_hides_key(shard, kv_partition_hashed(key, hash, shard->partition_count),
	                           key))
		return false;
	op_lock(op); /* what comes later for the same key stays behind it */
	op->lock.hash = hash;
	op->lock.key = key;
	STAILQ_INSERT_TAIL(&shard->clear.behind, req, link);
	return true;
}

/* Until the clear has ended. */
static enum op_result wait_behind(struct req *req)
{
	struct op *op = op_of(req);

	op->lock.key = (struct bytes){ NULL, 0 };
	STAILQ_INSERT_TAIL(&op->shard->clear.behind, req, link);
	return OP_PARKED;
}

/* Those that it has passed run next, in the order in which they came. */
static void let_go(struct shard *shard)
{
	struct clear *clear = &shard->clear;
	struct req_list waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct req_list passed = STAILQ_HEAD_INITIALIZER(passed);
	struct req *req;

	STAILQ_CONCAT(&waiters, &clear->behind);
	while ((req = STAILQ_FIRST(&waiters)) != NULL) {
		const struct key_lock *lock = &op_of(req)->lock;
		bool waits = clear->active && clear->req != NULL;

		STAILQ_REMOVE_HEAD(&waiters, link);
		if (waits && lock->key.size > 0)
			waits = shard_clear_hides_key(
			        shard,
			        kv_partition_hashed(lock->key, lock->hash, shard->partition_count),
			        lock->key);
		if (waits)
			STAILQ_INSERT_TAIL(&clear->behind, req, link);
		else
			STAILQ_INSERT_TAIL(&passed, req, link);
	}
	STAILQ_CONCAT(&passed, &shard->queue);
	STAILQ_CONCAT(&shard->queue, &passed);
}

void shard_clear_ended(struct shard *shard, enum status status)
{
	struct clear *clear = &shard->clear;

	assert(clear->active && clear->req != NULL);
	clear->req = NULL;
	clear->ready = clear->held = false;
	if (status == STATUS_OK)
		clear->active = false;
	else /* what is left stays hidden; nothing is written any more, the next start clears */
		log_fail(&shard->log, status);
	let_go(shard);
}

/* The record; `place` is empty unless the clear goes on in the middle. */
static enum status clear_log(struct shard *shard, struct bytes prefix, struct bytes place,
                             enum space_need need)
{
	struct record record = { .type = RECORD_CLEAR, .key = prefix, .value = place };
	enum status status =
	        shard_reserve(shard, record_size(prefix.size, place.size, false), need);

	if (status != STATUS_OK)
		return status;
	assert(prefix.size > 0 && prefix.size <= KV_KEY_MAX);
	assert(!shard->replaying);
	record.version = shard->version_next++;
	log_append(&shard->log, &record, /* relaxed= */ false);
	shard->clear.lsn = log_open_lsn(&shard->log);
	return STATUS_OK;
}

/* From here on the keys are gone. */
static enum op_result clear_begin(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct clear *clear = &shard->clear;
	struct bytes prefix = op->cmd.key;
	enum status status = clear_log(shard, prefix, (struct bytes){ NULL, 0 }, SPACE_LOG);

	if (status == STATUS_BUSY && !shard_is_stuck(shard))
		return OP_AGAIN;
	if (status != STATUS_OK)
		return op_finish(req, status == STATUS_BUSY ? STATUS_NO_SPACE : status, 0);
	assert(!clear->active && clear->req == NULL);
	assert(clear->lsn == log_open_lsn(&shard->log));
	op->lsn = clear->lsn;
	shard->uncached_lsn = clear->lsn;
	record_cache_clear(shard->cache, prefix);
	clear->req = req;
	clear->active = true;
	clear->held = clear->stalled = clear->ready = false;
	clear->partition = 0;
	clear->prefix_size = (uint16_t)prefix.size;
	memcpy(clear->prefix, prefix.data, prefix.size);
	clear->upper = shard_clear_end(bytes_of(clear->prefix, prefix.size), clear->end);
	range_begin(&clear->range, bytes_of(clear->prefix, prefix.size), clear->upper);
	clear->removed = clear->counted = 0;
	for (uint32_t i = 0; i < shard->partition_count; i++) {
		if (shard_owns(shard, i))
			clear->counted += shard->partitions[i].counts[prefix.data[0]];
	}
	op->step = STEP_APPLY;
	return OP_DONE;
}

/* It goes on with a later turn. */
static enum op_result clear_pause(struct shard *shard)
{
	shard->clear.ready = true;
	let_go(shard);
	return OP_PARKED;
}

/* Some keys of some partitions; all of it is at a place between two keys then. */
static enum op_result clear_slice(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct clear *clear = &shard->clear;
	uint64_t end = clear->removed + shard->store->options.clear_turn_max;

	assert(clear->active && clear->req == req);
	clear->sliced = true;
	for (; clear->partition < shard->partition_count; clear->partition++) {
		enum btree_result result = BTREE_ABSENT;
		struct btree_miss miss;

		if (clear->held || clear->removed >= end)
			return clear_pause(shard);
		if (shard_owns(shard, clear->partition))
			result = range_remove(shard, clear->partition, &clear->range,
			                      end - clear->removed, &clear->removed, &miss);
		if (result == BTREE_MISS)
			let_go(shard);
		if (result == BTREE_MISS)
			return op_load_page(req, clear->partition, &miss);
		if (result == BTREE_FULL && shard->log.failed != STATUS_OK)
			return op_finish(req, STATUS_IO, 0); /* no checkpoint will make room */
		if (result == BTREE_FULL) {
			checkpoint_want(shard);
			clear->stalled = true;
		}
		if (result == BTREE_OK || result == BTREE_FULL)
			return clear_pause(shard);
		range_begin(&clear->range, bytes_of(clear->prefix, clear->prefix_size),
		            clear->upper);
	}
	return op_finish(req, STATUS_OK, clear->removed);
}

enum op_result op_clear(struct req *req)
{
	struct op *op = op_of(req);
	struct clear *clear = &op->shard->clear;
	enum op_result result = OP_DONE;

	if (op->step == STEP_CHANGE) {
		if (clear->active && clear->req != NULL)
			return wait_behind(req);
		if (clear->active)
			return op_finish(req, STATUS_READ_ONLY, 0);
		/* That update is before the clear, and its value must not come after it. */
		if (blob_stores_under(op->shard, op->cmd.key))
			return blob_park(op->shard->blobs, req);
		result = clear_begin(req);
		if (!clear->active)
			return result;
	}
	return clear_slice(req);
}

bool shard_clear_has_work(const struct shard *shard)
{
	const struct clear *clear = &shard->clear;

	return clear->ready && !clear->held && !clear->stalled;
}

unsigned shard_clear_turn(struct shard *shard)
{
	struct clear *clear = &shard->clear;

	if (!clear->ready || clear->held || clear->sliced)
		return 0;
	assert(clear->active && clear->req != NULL);
	clear->ready = clear->stalled = false;
	(void)clear_slice(clear->req);
	return !clear->stalled;
}

void shard_clear_cut(struct shard *shard)
{
	shard->clear.held = shard->clear.active && shard->clear.req != NULL &&
	                    !shard_has_bug(shard, BUG_FORGOTTEN_CLEAR);
}

enum status shard_clear_carry_over(struct shard *shard, uint64_t *lsn)
{
	struct clear *clear = &shard->clear;
	struct bytes at = btree_range_place(&clear->range);
	uint8_t place[PLACE_HEADER + sizeof(clear->range.at)];
	enum status status;

	if (!clear->held)
		return STATUS_OK;
	assert(at.size <= sizeof(clear->range.at));
	assert(clear->active && clear->partition <= shard->partition_count);
	put32(place, clear->partition);
	memcpy(place + PLACE_HEADER, at.data, at.size);
	status = clear_log(shard, bytes_of(clear->prefix, clear->prefix_size),
	                   bytes_of(place, PLACE_HEADER + at.size), SPACE_CLEAN);
	if (status != STATUS_OK)
		return status;
	clear->held = false;
	if (clear->lsn > *lsn)
		*lsn = clear->lsn;
	return STATUS_OK;
}

/* All that has been acknowledged is in the log. */
enum op_result op_sync(struct req *req)
{
	struct op *op = op_of(req);

	op->lsn = log_last_lsn(&op->shard->log);
	return op_finish(req, STATUS_OK, 0);
}

enum op_result op_count(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	const struct clear *clear = &shard->clear;
	uint8_t space = op->cmd.key.data[0];
	uint64_t count = 0;

	if (clear->active && clear->req != NULL && clear->prefix[0] == space &&
	    clear->prefix_size > 1)
		return wait_behind(req); /* how many keys have that prefix is not known */
	for (uint32_t i = 0; i < shard->partition_count; i++) {
		if (shard_owns(shard, i))
			count += shard->partitions[i].counts[space];
	}
	if (clear->active && clear->prefix[0] == space && clear->prefix_size == 1) {
		assert(count >= clear->counted - clear->removed);
		count -= clear->counted - clear->removed;
	}
	if (!shard_is_relaxed(shard, op->cmd.key))
		op->lsn = log_last_lsn(&shard->log);
	return op_finish(req, STATUS_OK, count);
}

enum btree_result replay_clear(struct shard *shard, const struct record *record, uint32_t partition,
                               struct btree_miss *miss)
{
	struct btree_range range;
	uint8_t end[KV_KEY_MAX];
	struct bytes from = { NULL, 0 };
	uint32_t first = 0;
	uint64_t removed = 0;

	assert(record->type == RECORD_CLEAR);
	if (record->value.size >= PLACE_HEADER) {
		first = get32(record->value.data);
		from = bytes_of(record->value.data + PLACE_HEADER,
		                record->value.size - PLACE_HEADER);
	}
	if (partition < first)
		return BTREE_ABSENT;
	range_begin(&range, record->key, shard_clear_end(record->key, end));
	if (partition == first && from.size <= BTREE_KEY_MAX &&
	    bytes_compare(from, range.lower) > 0) {
		memcpy(range.at, from.data, from.size);
		range.at_size = (uint16_t)from.size;
	}
	return range_remove(shard, partition, &range, UINT64_MAX, &removed, miss);
}
