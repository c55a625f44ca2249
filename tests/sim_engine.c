/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/store_check.h"
#include "base/assert.h"
#include "core/buf.h"
#include "engine/store.h"
#include "layer/kv_shard.h"
#include "sim_store_clients.h"
#include "transport/mem.h"

enum {
	PARTITIONS = 8,
	SEGMENT_BLOCKS = 64,
	BUFS_SIZE = 16 << 20,
	INDEX_SIZE = 1 << 20,
	CACHE_SIZE = 64 << 10,
	CHECKPOINT_LOG = 512 << 10,
	CHECKPOINT_RECORDS = 200,
	CHECKPOINT_RECORDS_FEW = 10, /* of every second life: checkpoints meet everything else */
	CLEAR_TURN = 7,
	CLEAR_TURN_FEW = 1,
};

uint32_t engine_bugs;

struct engine_store;

struct engine_worker {
	struct req req;
	struct bufs bufs;
	struct kv_shard *shard;
};

struct engine_store {
	struct store_env env;
	struct store *store;
	enum store_state state;
	enum status status;
	unsigned stops_left;
	struct engine_worker workers[SIM_WORKERS_MAX];
};

struct engine_frame {
	struct frame frame;
	struct engine_store *engine;
};

static struct engine_store *popped(struct req *req)
{
	return req_pop(req, struct engine_frame)->engine;
}

static struct req *request(struct engine_store *engine, unsigned worker, req_fn *done)
{
	struct req *req = &engine->workers[worker].req;

	req_init(req, engine->env.workers[worker]);
	req_push(req, struct engine_frame, done)->engine = engine;
	return req;
}

static void opened(struct req *req)
{
	struct engine_store *engine = popped(req);
	struct kv *kvs[SIM_WORKERS_MAX];
	unsigned count = engine->env.worker_count;

	engine->status = req->status;
	if (req->status != STATUS_OK) {
		engine->state = STORE_HAS_FAILED;
		return;
	}
	for (unsigned i = 0; i < count; i++)
		kvs[i] = store_kv(engine->store, i);
	for (unsigned i = 0; i < count; i++) {
		enum status status = kv_shard_open(&engine->workers[i].shard,
		                                   engine->env.workers[i], kvs, count);

		assert(status == STATUS_OK);
	}
	engine->state = STORE_IS_OPEN;
}

static void *engine_open(const struct store_env *env)
{
	struct engine_store *engine = calloc(1, sizeof(*engine));
	struct store_worker parts[SIM_WORKERS_MAX];
	struct store_options options;

	assert(engine != NULL);
	engine->env = *env;
	store_options_init(&options);
	options.bugs = engine_bugs;
	options.create = true;
	options.partition_count = PARTITIONS;
	options.segment_blocks = SEGMENT_BLOCKS;
	options.index_memory_size = INDEX_SIZE;
	options.cache_memory_size = CACHE_SIZE;
	options.checkpoint_log_max = CHECKPOINT_LOG;
	options.clear_turn_max = env->seed & 2 ? CLEAR_TURN : CLEAR_TURN_FEW;
	options.checkpoint_records = env->seed & 1 ? CHECKPOINT_RECORDS : CHECKPOINT_RECORDS_FEW;
	for (unsigned i = 0; i < STORE_SPACES; i++) {
		if (env->relaxed & 1u << i)
			options.durability[store_space(i)] = KV_RELAXED;
	}
	memcpy(options.uuid, &env->seed, sizeof(env->seed));
	for (unsigned i = 0; i < env->worker_count; i++) {
		enum status status = bufs_open(&engine->workers[i].bufs, BUFS_SIZE, 0);

		assert(status == STATUS_OK);
		parts[i] = (struct store_worker){ .worker = env->workers[i],
			                          .blk = env->blks[i],
			                          .bufs = &engine->workers[i].bufs };
	}
	engine->state = STORE_IS_OPENING;
	store_open(&engine->store, &options, parts, env->worker_count, request(engine, 0, opened));
	return engine;
}

static enum store_state engine_state(void *store, enum status *status)
{
	struct engine_store *engine = store;

	*status = engine->status;
	return engine->state;
}

static struct kv *engine_kv(void *store, unsigned worker)
{
	return kv_shard_kv(((struct engine_store *)store)->workers[worker].shard);
}

static void closed(struct req *req)
{
	struct engine_store *engine = popped(req);

	engine->status = req->status;
	engine->state = req->status == STATUS_OK ? STORE_IS_CLOSED : STORE_HAS_FAILED;
}

static void stopped(struct req *req)
{
	struct engine_store *engine = popped(req);

	if (req->status != STATUS_OK)
		engine->status = req->status;
	if (--engine->stops_left == 0 && engine->status != STATUS_OK)
		engine->state = STORE_HAS_FAILED;
}

static void engine_close(void *store)
{
	struct engine_store *engine = store;

	engine->state = STORE_IS_CLOSING;
	engine->stops_left = engine->env.worker_count;
	for (unsigned i = 0; i < engine->env.worker_count; i++)
		store_stop(engine->store, i, request(engine, i, stopped));
	for (unsigned i = 0; i < engine->env.worker_count; i++)
		sim_wake(engine->env.sim, 0, i);
	while (engine->stops_left > 0 && sim_step(engine->env.sim) != SIM_QUIET)
		;
	if (engine->stops_left > 0 || engine->state == STORE_HAS_FAILED)
		return;
	store_close(engine->store, request(engine, 0, closed));
}

static void engine_abandon(void *store)
{
	struct engine_store *engine = store;

	store_free(engine->store);
	for (unsigned i = 0; i < engine->env.worker_count; i++) {
		if (engine->workers[i].shard != NULL)
			kv_shard_close(engine->workers[i].shard);
		engine->workers[i].bufs.used_size = 0; /* what was in flight is gone */
		bufs_close(&engine->workers[i].bufs);
	}
	free(engine);
}

/* Time stands still for the check. */
static uint64_t no_time(struct clock *clock)
{
	(void)clock;
	return 1;
}

static void hear(void *context, enum finding kind, const char *text)
{
	char *what = context;

	if (kind != FINDING_NOTE && what[0] == '\0')
		snprintf(what, 256, "check: %s", text);
}

static bool engine_check(uint8_t *disk, uint64_t size, char what[static 256])
{
	static struct clock clock = { no_time, no_time };
	static struct worker worker;
	const struct store_check_options options = { .tell = hear, .context = what };
	struct store_check_result result;
	struct store_reader reader;
	struct mem mem;
	enum status status;

	worker_init(&worker, 0, ROLE_STORAGE, &clock);
	mem_init(&mem, &worker, disk, size / BLOCK_SIZE);
	status = store_reader_open(&reader, &worker, &mem.blk);
	assert(status == STATUS_OK);
	status = store_check_run(&reader, &options, &result);
	store_reader_close(&reader);
	if (status != STATUS_OK && what[0] == '\0')
		snprintf(what, 256, "check: %s", status_name(status));
	return what[0] == '\0';
}

const struct store_binding *engine_binding(void)
{
	static const struct store_binding binding = { .name = "engine",
		                                      .check = engine_check,
		                                      .open = engine_open,
		                                      .state = engine_state,
		                                      .kv = engine_kv,
		                                      .close = engine_close,
		                                      .abandon = engine_abandon };

	return &binding;
}
