/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a shard around its commands: made, started, told that the store is open, stopped. */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/shard.h"
#include "engine/store.h"

enum { COMMIT_PAGES_SHARE = 32 };

/* The next frame is asked for, or room is made, by what stalled: only time passes here. */
static void shard_tick(struct timer *timer)
{
	struct shard *shard = container_of(timer, struct shard, tick);

	if (shard->quiet == NULL && !shard->inert)
		log_tick(&shard->log);
	supply_tick(shard);
	blob_tick(shard);
	/* A load waits for memory that others give back. */
	STAILQ_CONCAT(&shard->queue, &shard->load_waiters);
	cleaner_tick(shard);
	if (shard->open && !shard->closing)
		expiry_tick(shard);
	store_metrics_publish(shard);
	timer_arm(&shard->worker->timers, timer, shard->worker->now_ns + SHARD_TICK_NS, shard_tick);
}

static void log_switched(struct log *log, uint32_t sealed_segment)
{
	struct shard *shard = container_of(log, struct shard, log);

	assert(log->current.generation != 0);
	assert(shard->segments[log->current.segment].state == SEGMENT_FILLING);
	assert(shard->segments[log->current.segment].kind == SEGMENT_LOG);
	shard->log_need = shard->next_need;
	if (sealed_segment != UINT32_MAX) {
		assert(shard->segments[sealed_segment].state == SEGMENT_FILLING);
		assert(sealed_segment != log->current.segment);
		shard->segments[sealed_segment].state = SEGMENT_SEALED;
		shard->segments[sealed_segment].dead_lsn = log->lsn_next;
		shard->segments[sealed_segment].last_lsn = log->lsn_next - 1;
		supply_dead(shard, log->lsn_next);
	}
}

static void log_advanced(struct log *log)
{
	(void)log; /* the completion itself brings a turn, and with it the queue */
}

/*
 * A COMMIT is applied before a checkpoint can make room in the index: what it may change at most is
 * a small part of it.
 */
static uint32_t commit_writes_max(const struct shard *shard)
{
	struct btree_pool_stats pages;

	btree_pool_stats(shard->pool, &pages);
	return (uint32_t)(pages.pages_max / COMMIT_PAGES_SHARE);
}

/*
 * What is behind the newest checkpoint can be emptied and used again at once. Of a store that is
 * overwritten evenly the cleaner takes segments that are about as old as all of the log is long: so
 * a checkpoint for little more than half of that is no hindrance to it.
 */
static uint64_t checkpoint_log_max(const struct shard *shard)
{
	uint64_t most = shard->store->options.checkpoint_log_max;
	uint64_t size = (uint64_t)shard->segment_count * shard->segment_blocks << BLOCK_SHIFT;
	uint64_t share = size / 8 * 5 / shard->space->stream_count;

	return most < share ? most : share;
}

void shard_init(struct shard *shard)
{
	shard->actor.ops = &shard_actor_ops;
	shard->kv = (struct kv){
		.ops = &shard_kv_ops,
		.worker = shard->worker,
		.traits = {
			.partitions = shard->partition_count,
			.engines = 1,
			.sorted = true,
			.durable = true,
			.transactional = true,
		},
		.frames_size = (uint32_t)(align_up(sizeof(struct op), 16) +
		                          align_up(txn_frame_size(), 16)),
	};
	shard->commit_writes = commit_writes_max(shard);
	shard->log.switched = log_switched;
	shard->log.advanced = log_advanced;
	shard->checkpoint_log_max = checkpoint_log_max(shard);
	shard->version_next = 1;
	STAILQ_INIT(&shard->clear.behind);
	shard->counting = true;
	shard->log.hasty = shard_has_bug(shard, BUG_HASTY_FUA);
	log_start(&shard->log, 1);
}

void shard_start(struct shard *shard)
{
	if (shard->started)
		return;
	shard->started = true;
	shard->live = 0;
	for (uint32_t i = 0; i < shard->segment_count; i++)
		shard->live += shard->segments[i].live;
	assert(!shard->open && shard->quiet == NULL);
	worker_add_actor(shard->worker, &shard->actor);
	timer_arm(&shard->worker->timers, &shard->tick, shard->worker->now_ns + SHARD_TICK_NS,
	          shard_tick);
}

bool shard_is_idle(const struct shard *shard)
{
	return shard->loads_running == 0 && log_is_idle(&shard->log) && !supply_is_running(shard) &&
	       !checkpoint_is_running(shard) && !cleaner_is_running(shard) &&
	       !expiry_is_running(shard) && !blob_is_running(shard);
}

void shard_quiesce(struct shard *shard, struct req *req, enum status status)
{
	assert(shard->started && shard->quiet == NULL);
	req->state = REQ_RUNNING;
	shard->closing = true;
	shard->quiet = req;
	shard->quiet_status = status;
}

void shard_opened(struct shard *shard)
{
	assert(shard->started && !shard->open);
	assert(!shard->replaying && shard->counting);
	shard->open = true;
	supply_release_up_to(shard, 0);
}
