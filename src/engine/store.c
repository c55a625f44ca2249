/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/recovery.h"
#include "engine/shard.h"

void store_options_init(struct store_options *options)
{
	*options = (struct store_options){
		.create = true,
		.partition_count = 64,
		.segment_blocks = SEGMENT_BLOCKS_MAX,
		.index_memory_size = 64 << 20,
		.cache_memory_size = 64 << 20,
		.load_memory_size = 128 << 20,
		.checkpoint_log_max = 1ull << 30,
		.checkpoint_records = 2000000,
		.clear_turn_max = 2048,
	};
}

static enum status shard_arrays(struct shard *shard)
{
	shard->segments = calloc(shard->segment_count, sizeof(*shard->segments));
	shard->load_pool = calloc(SHARD_LOADS_MAX, sizeof(*shard->load_pool));
	shard->scratch_size = KV_INLINE_MAX;
	shard->scratch = malloc(shard->scratch_size);
	if (shard->segments == NULL || shard->load_pool == NULL || shard->scratch == NULL)
		return STATUS_NO_SPACE;
	for (unsigned i = 0; i < SHARD_BUSY_BUCKETS; i++) {
		LIST_INIT(&shard->busy[i]);
		LIST_INIT(&shard->loads[i]);
	}
	LIST_INIT(&shard->loads_free);
	STAILQ_INIT(&shard->load_waiters);
	STAILQ_INIT(&shard->queue);
	STAILQ_INIT(&shard->txn_waiters);
	STAILQ_INIT(&shard->space_waiters);
	for (unsigned i = 0; i < SHARD_LOADS_MAX; i++) {
		shard->load_pool[i].shard = shard;
		LIST_INSERT_HEAD(&shard->loads_free, &shard->load_pool[i], link);
	}
	return STATUS_OK;
}

static enum status shard_parts(struct shard *shard)
{
	const struct store_options *options = &shard->store->options;
	enum status status = shard_arrays(shard);

	if (status == STATUS_OK)
		status = btree_pool_open(&shard->pool, options->index_memory_size);
	if (status == STATUS_OK)
		status = record_cache_open(&shard->cache, options->cache_memory_size);
	if (status == STATUS_OK)
		status = log_open(&shard->log, shard->blk, shard->bufs, shard->segment_blocks);
	if (status == STATUS_OK)
		status = supply_open(shard);
	if (status == STATUS_OK)
		status = checkpoint_open(shard);
	if (status == STATUS_OK)
		status = blobs_open(shard);
	if (status == STATUS_OK)
		status = expiry_open(shard);
	if (status == STATUS_OK)
		status = cleaner_blob_open(shard);
	if (status == STATUS_OK)
		status = cleaner_open(shard);
	if (status == STATUS_OK)
		status = store_metrics_open(shard);
	return status;
}

static void shard_free(struct shard *shard)
{
	if (shard == NULL)
		return;
	timer_cancel(&shard->worker->timers, &shard->tick);
	if (shard->metrics != NULL)
		store_metrics_close(shard);
	if (shard->cleaner != NULL)
		cleaner_close(shard);
	if (shard->cleaner_blob != NULL)
		cleaner_blob_close(shard);
	if (shard->expiry != NULL)
		expiry_close(shard);
	if (shard->blobs != NULL)
		blobs_close(shard);
	if (shard->checkpoint != NULL)
		checkpoint_close(shard);
	if (shard->supply != NULL)
		supply_close(shard);
	if (shard->log.worker != NULL)
		log_close(&shard->log);
	if (shard->cache != NULL)
		record_cache_close(shard->cache);
	for (uint32_t i = 0; shard->pool != NULL && i < shard->partition_count; i++) {
		if (shard_owns(shard, i) && shard->partitions[i].tree.root != NULL)
			btree_fini(&shard->partitions[i].tree);
	}
	if (shard->pool != NULL)
		btree_pool_close(shard->pool);
	free(shard->segments);
	free(shard->load_pool);
	free(shard->scratch);
	free(shard);
}

/* Called by recovery when the superblock says how the store is laid out. */
enum status store_make_shards(struct store *store, const struct store_worker *workers,
                              unsigned worker_count)
{
	uint64_t blocks = workers[0].blk->geometry.block_count;
	uint64_t segments = blocks < SEGMENT_FIRST_BLOCK
	                            ? 0
	                            : (blocks - SEGMENT_FIRST_BLOCK) / store->super.segment_blocks;
	enum status status;

	if (segments > SEGMENTS_MAX)
		segments = SEGMENTS_MAX;
	if (segments < 6ull * worker_count)
		return STATUS_NO_SPACE;
	status = space_open(&store->space, workers[0].worker, (uint32_t)segments,
	                    store->super.segment_blocks, worker_count);
	if (status != STATUS_OK)
		return status;
	store->partitions = calloc(store->super.partition_count, sizeof(*store->partitions));
	if (store->partitions == NULL)
		return STATUS_NO_SPACE;
	store->shard_count = worker_count;
	for (unsigned i = 0; i < worker_count; i++) {
		struct shard *shard = calloc(1, sizeof(*shard));

		if (shard == NULL)
			return STATUS_NO_SPACE;
		store->shards[i] = shard;
		shard->worker = workers[i].worker;
		shard->store = store;
		shard->blk = workers[i].blk;
		shard->bufs = workers[i].bufs;
		shard->index = i;
		shard->partition_count = store->super.partition_count;
		shard->partitions = store->partitions;
		shard->segment_count = (uint32_t)segments;
		shard->segment_blocks = store->super.segment_blocks;
		shard->space = &store->space;
		status = shard_parts(shard);
		if (status != STATUS_OK)
			return status;
		shard_init(shard);
	}
	for (uint32_t i = 0; i < store->super.partition_count; i++)
		store->partitions[i].owner = store_owner(store, i);
	return STATUS_OK;
}

void store_open(struct store **out, const struct store_options *options,
                const struct store_worker *workers, unsigned worker_count, struct req *req)
{
	struct store *store = calloc(1, sizeof(*store));

	assert(worker_count > 0 && worker_count <= STREAMS_MAX);
	assert(req->worker == workers[0].worker);
	assert(options->partition_count > 0 && options->partition_count <= PARTITIONS_MAX);
	*out = store;
	if (store == NULL) {
		req->state = REQ_RUNNING;
		req_complete(req, STATUS_NO_SPACE, 0);
		return;
	}
	store->options = *options;
	recovery_start(store, workers, worker_count, req);
}

struct kv *store_kv(struct store *store, unsigned worker_index)
{
	assert(store->phase == STORE_OPEN);
	assert(worker_index < store->shard_count);
	return &store->shards[worker_index]->kv;
}

struct stop_frame {
	struct frame frame;
	struct shard *shard;
};

/* Who closes the store may take the memory away afterwards: nothing of it is in use then. */
static void stop_checkpointed(struct req *req)
{
	struct shard *shard = req_pop(req, struct stop_frame)->shard;

	shard_quiesce(shard, req, req->status);
}

void store_stop(struct store *store, unsigned worker_index, struct req *req)
{
	struct shard *shard = store->shards[worker_index];

	assert(req->worker == shard->worker);
	shard->closing = true;
	req_push(req, struct stop_frame, stop_checkpointed)->shard = shard;
	checkpoint_notify(shard, req, true);
}

bool store_is_idle(const struct store *store, unsigned worker_index)
{
	return shard_is_idle(store->shards[worker_index]);
}

void store_free(struct store *store)
{
	if (store == NULL)
		return;
	recovery_free(store);
	for (unsigned i = 0; i < store->shard_count; i++)
		shard_free(store->shards[i]);
	space_close(&store->space);
	free(store->partitions);
	free(store);
}

void store_worker_stats(const struct store *store, unsigned worker_index,
                        struct store_worker_stats *out)
{
	const struct shard *shard = store->shards[worker_index];
	struct btree_pool_stats pages;

	btree_pool_stats(shard->pool, &pages);
	*out = (struct store_worker_stats){
		.lsn = log_last_lsn(&shard->log),
		.lsn_durable = shard->log.lsn_durable,
		.frames = shard->log.stats.frames,
		.flushes = shard->log.stats.flushes,
		.records = shard->log.stats.records,
		.records_durable = shard->log.stats.records_durable,
		.bytes = shard->log.stats.bytes,
		.cache_hits = shard->stats.cache_hits,
		.record_loads = shard->stats.record_loads,
		.page_loads = shard->stats.page_loads,
		.conflicts = shard->stats.conflicts,
		.expired = shard->stats.expired,
		.checkpoints = shard->stats.checkpoints,
		.cleaned_segments = shard->stats.cleaned_segments,
		.moved_bytes = shard->stats.moved_bytes,
		.corrupt = shard->stats.corrupt,
		.index_bytes = shard->stats.index_bytes,
		.blob_bytes = shard->stats.blob_bytes,
		.blob_moved_bytes = shard->stats.blob_moved_bytes,
		.filled_bytes = shard->stats.filled_bytes,
		.index_pages = pages.pages,
		.index_pages_max = pages.pages_max,
		.index_pages_dirty = pages.pages_dirty,
		.segments_left = shard->room.left,
		.failed = shard->log.failed != STATUS_OK,
	};
	memcpy(out->commands, shard->stats.commands, sizeof(out->commands));
	for (uint32_t i = 0; i < shard->segment_count; i++) {
		out->segments_used += shard->segments[i].state != SEGMENT_NONE;
		out->live_bytes += shard->segments[i].live;
	}
}
