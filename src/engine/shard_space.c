/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes in a store that is nearly full. New data may not take the segments that deletes, the
 * cleaner and checkpoints need. As long as there is garbage, a write that finds none waits until
 * some has been turned into free segments; when live data fill the store it is refused.
 */
#include "base/assert.h"
#include "engine/shard.h"

bool shard_has_space(const struct shard *shard)
{
	return !shard->space_low ||
	       (shard->log.next.generation != 0 && shard->next_need == SPACE_DATA);
}

enum status shard_reserve(struct shard *shard, size_t size, enum space_need need)
{
	struct log *log = &shard->log;
	uint8_t its = log_fits(log, size) ? shard->log_need : shard->next_need;
	enum status status = STATUS_BUSY;

	assert(need == SPACE_LOG || need == SPACE_CLEAN);
	if (cleaner_is_idle(shard)) /* then it needs nothing, and deletes give it work */
		need = SPACE_CLEAN;
	if (its > need && shard->room.left <= shard->room.kept_log && shard->open &&
	    log->failed == STATUS_OK)
		log->starved = true;
	else
		status = log_reserve(log, size);
	if (status == STATUS_BUSY && log->starved && shard->starved_need == SPACE_DATA)
		shard->starved_ns = shard->worker->now_ns;
	if (status == STATUS_BUSY && log->starved && need > shard->starved_need)
		shard->starved_need = (uint8_t)need;
	return status;
}

/*
 * Nobody has given back a segment since, for so long. When there is nothing to empty here either,
 * only another worker may still do it.
 */
static bool is_stalled(const struct shard *shard, uint64_t since_ns)
{
	uint64_t wait_ns = cleaner_is_idle(shard) ? SHARD_SPACE_IDLE_NS : SHARD_SPACE_WAIT_NS;

	return shard->space_low && !checkpoint_is_running(shard) &&
	       shard->worker->now_ns > since_ns + wait_ns;
}

bool shard_is_full(const struct shard *shard)
{
	return shard->space_low && (shard->room.full || is_stalled(shard, shard->room_ns));
}

bool shard_is_stuck(const struct shard *shard)
{
	uint64_t since_ns = shard->room_ns;

	if (!shard->log.starved)
		return false;
	if (since_ns < shard->starved_ns)
		since_ns = shard->starved_ns;
	return shard->space_none || is_stalled(shard, since_ns);
}

/* A commit that removes as many keys as it puts, and puts little, is a delete. */
static bool op_makes_room(const struct op *op)
{
	const struct kv_commit *order = op->cmd.commit;
	size_t room = 0, size = 0;

	if (op->cmd.op != KV_COMMIT && op->cmd.op != KV_PREPARE)
		return false;
	for (uint32_t i = 0; i < order->count; i++) {
		const struct kv_write *write = &order->writes[i];

		if (write->flags & KV_FROM_BLOB)
			return false;
		room += write->op == KV_DELETE ? write->key.size + 64 : 0;
		size += write->op == KV_PUT ? write->key.size + write->value.size : 0;
	}
	return size < room;
}

enum op_result op_wait_for_space(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;

	if (shard_has_space(shard) || op_makes_room(op))
		return OP_DONE;
	if (shard->log.failed != STATUS_OK || shard_is_full(shard)) {
		op_finish(req, shard->log.failed != STATUS_OK ? STATUS_READ_ONLY : STATUS_NO_SPACE,
		          0);
		return OP_PARKED;
	}
	if (shard->space_waiter_count == SHARD_SPACE_WAITERS_MAX) {
		op_finish(req, STATUS_BUSY, 0);
		return OP_PARKED;
	}
	assert(shard->space_low && shard->open);
	op_lock(op); /* what comes later for the key stays behind it */
	STAILQ_INSERT_TAIL(&shard->space_waiters, req, link);
	shard->space_waiter_count++;
	return OP_PARKED;
}

void shard_wake_space_waiters(struct shard *shard)
{
	blob_unpark(shard);
	STAILQ_CONCAT(&shard->space_waiters, &shard->queue);
	STAILQ_CONCAT(&shard->queue, &shard->space_waiters);
	shard->space_waiter_count = 0;
}

void shard_expire_space_waiters(struct shard *shard)
{
	struct req_list waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct req *req;

	STAILQ_CONCAT(&waiters, &shard->space_waiters);
	shard->space_waiter_count = 0;
	while ((req = STAILQ_FIRST(&waiters)) != NULL) {
		enum status status = req_check(req);

		STAILQ_REMOVE_HEAD(&waiters, link);
		if (status != STATUS_OK) {
			op_finish(req, status, 0);
			continue;
		}
		STAILQ_INSERT_TAIL(&shard->space_waiters, req, link);
		shard->space_waiter_count++;
	}
	assert(shard->space_waiter_count <= SHARD_SPACE_WAITERS_MAX);
}
