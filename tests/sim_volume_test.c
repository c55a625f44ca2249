/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes under power cuts, and with another number of workers after each. Clients write, drop and
 * read blocks of their own while snapshots are made and deleted beside them, and layers merged; the
 * power fails at any moment. Then every block has what was acknowledged last, or what was under
 * way; a snapshot has what its volume had then; and when all is deleted nothing is left.
 *
 * SIM_SEED in the environment: that seed alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "engine/volume_format.h"
#include "sim/sim_disk.h"
#include "sim_engine.h"
#include "volume_rig.h"

enum {
	WORKERS = 3,
	CLIENTS = 8,
	OWN = 40, /* blocks of a client: two of them share a stripe with none, the others do */
	BLOCKS = CLIENTS * OWN,
	SNAPSHOTS = 4,
	CANDIDATES = 12,
	STEPS_MAX = 4000000,
};

struct rig;

struct client {
	struct rig *rig;
	struct req req;
	unsigned index;
	bool busy;
	enum blk_op op;
	uint32_t first, count;
	uint32_t seed; /* of a write's first block; 0: dropped */
	struct iovec iov;
	_Alignas(VOLUME_RIG_BLOCK) uint8_t data[OWN * VOLUME_RIG_BLOCK];
};

struct snapshot {
	char name[16];
	bool making, there, deleting;
	uint8_t counts[BLOCKS];
	uint32_t seeds[BLOCKS][CANDIDATES]; /* any of them */
};

struct rig {
	struct sim *sim;
	struct sim_disk *disk;
	struct store_env env;
	void *store;
	struct bufs bufs[WORKERS];
	struct volumes *engines[WORKERS];
	unsigned workers;
	struct prng prng;
	uint32_t next_seed;
	uint32_t acked[BLOCKS], pending[BLOCKS];
	bool changing[BLOCKS];
	struct client clients[CLIENTS];
	struct snapshot snapshots[SNAPSHOTS];
	struct snapshot *changed; /* by the control command under way; NULL: none */
	struct volume_cmd control;
	struct req control_req;
	unsigned control_worker;
	uint64_t cuts, writes, made, merged;
};

struct done_frame {
	struct frame frame;
	void *owner;
};

/* Commands that are waited for. */

struct call {
	struct req req;
	bool done;
};

static void call_done(struct req *req)
{
	((struct call *)req_pop(req, struct done_frame)->owner)->done = true;
}

static bool call_is_done(void *call)
{
	return ((struct call *)call)->done;
}

static void call_begin(struct rig *rig, struct call *call, unsigned worker)
{
	call->done = false;
	req_init(&call->req, rig->env.workers[worker]);
	req_push(&call->req, struct done_frame, call_done)->owner = call;
}

static enum status call_wait(struct rig *rig, struct call *call, unsigned worker)
{
	sim_wake(rig->sim, 0, worker);
	assert_true(sim_run(rig->sim, call_is_done, call, STEPS_MAX));
	return call->req.status;
}

static enum status control(struct rig *rig, const struct volume_cmd *cmd)
{
	struct call call;

	call_begin(rig, &call, 0);
	volume_submit(volumes_set(rig->engines[0]), &call.req, cmd);
	return call_wait(rig, &call, 0);
}

static uint64_t count(struct rig *rig, uint8_t space)
{
	struct kv_cmd cmd = { .op = KV_COUNT, .key = { &space, 1 } };
	struct call call;

	call_begin(rig, &call, 0);
	kv_submit(engine_binding()->kv(rig->store, 0), &call.req, &cmd);
	assert_int_equal(call_wait(rig, &call, 0), STATUS_OK);
	return call.req.result;
}

static struct blk *blk_of(struct rig *rig, unsigned worker, const char *name)
{
	struct blk *blk = NULL;

	if (volumes_find(rig->engines[worker], bytes_of(name, strlen(name)), &blk) == NULL)
		return NULL;
	return blk;
}

/* A life. */

static bool is_opening(struct rig *rig)
{
	enum status status;

	return engine_binding()->state(rig->store, &status) == STORE_IS_OPENING;
}

static void open_store(struct rig *rig)
{
	enum status status;

	if (!sim_is_running(rig->sim, 0))
		sim_start(rig->sim, 0);
	rig->workers = 1 + (unsigned)prng_below(&rig->prng, WORKERS);
	rig->env = (struct store_env){ .sim = rig->sim,
		                       .worker_count = rig->workers,
		                       .seed = prng_next(&rig->prng) };
	for (unsigned i = 0; i < rig->workers; i++) {
		rig->env.workers[i] = sim_worker(rig->sim, 0, i);
		rig->env.blks[i] = sim_disk_attach(rig->disk, rig->sim, 0, i);
	}
	rig->store = engine_binding()->open(&rig->env);
	for (unsigned i = 0; i < rig->workers; i++)
		sim_wake(rig->sim, 0, i);
	for (uint64_t i = 0; i < STEPS_MAX && is_opening(rig); i++)
		sim_step(rig->sim);
	assert_int_equal(engine_binding()->state(rig->store, &status), STORE_IS_OPEN);
}

static void start(struct rig *rig)
{
	struct call call;

	open_store(rig);
	for (unsigned i = 0; i < rig->workers; i++) {
		struct volumes_options options = {
			.kv = engine_binding()->kv(rig->store, i),
			.bufs = &rig->bufs[i],
			.calls_max = 6,
			.parts_max = 16,
			.seed = prng_next(&rig->prng),
			.leads = i == 0,
			.collect_wait_ns = 20000000,
		};

		assert_int_equal(bufs_open(&rig->bufs[i], 16 << 20, 0), STATUS_OK);
		assert_int_equal(volumes_open(&rig->engines[i], &options), STATUS_OK);
	}
	for (unsigned i = 0; i < rig->workers; i++)
		volumes_join(rig->engines[i], rig->engines, rig->workers);
	call_begin(rig, &call, 0);
	volumes_start(rig->engines[0], &call.req);
	assert_int_equal(call_wait(rig, &call, 0), STATUS_OK);
}

static void cut(struct rig *rig)
{
	struct volumes_stats stats;

	volumes_stats(rig->engines[0], &stats);
	rig->merged += stats.merged;
	rig->cuts++;
	sim_stop(rig->sim, 0, prng_below(&rig->prng, 3) == 0 ? SIM_KILL : SIM_POWER_CUT);
	for (unsigned i = 0; i < rig->workers; i++) {
		volumes_close(rig->engines[i]);
		rig->bufs[i].used_size = 0; /* what was in flight is gone */
		bufs_close(&rig->bufs[i]);
	}
	engine_binding()->abandon(rig->store);
	for (unsigned i = 0; i < CLIENTS; i++)
		rig->clients[i].busy = false;
	rig->changed = NULL;
}

/* Clients. */

static uint32_t seed_of(const struct client *c, uint32_t i)
{
	return c->seed == 0 ? 0 : c->seed + i;
}

static void client_done(struct req *req)
{
	struct client *c = req_pop(req, struct done_frame)->owner;
	struct rig *rig = c->rig;
	uint8_t block[VOLUME_RIG_BLOCK];

	assert_int_equal(req->status, STATUS_OK);
	c->busy = false;
	for (uint32_t i = 0; i < c->count; i++) {
		if (c->op == BLK_READ) {
			volume_rig_fill(block, rig->acked[c->first + i]);
			assert_memory_equal(block, c->data + i * VOLUME_RIG_BLOCK, sizeof(block));
			continue;
		}
		rig->acked[c->first + i] = seed_of(c, i);
		rig->changing[c->first + i] = false;
		rig->writes++;
	}
}

static void add_candidate(struct snapshot *snapshot, uint32_t block, uint32_t seed)
{
	assert_true(snapshot->counts[block] < CANDIDATES);
	snapshot->seeds[block][snapshot->counts[block]++] = seed;
}

/* How many more of a snapshot's candidates there may be: then its blocks rest. */
static bool may_change(const struct rig *rig, const struct client *c)
{
	for (unsigned s = 0; s < SNAPSHOTS; s++) {
		for (uint32_t i = 0; i < c->count && rig->snapshots[s].making; i++) {
			if (rig->snapshots[s].counts[c->first + i] == CANDIDATES)
				return false;
		}
	}
	return true;
}

static void client_change(struct client *c)
{
	struct rig *rig = c->rig;

	c->seed = c->op == BLK_WRITE ? rig->next_seed : 0;
	rig->next_seed += c->count;
	for (uint32_t i = 0; i < c->count; i++) {
		rig->pending[c->first + i] = seed_of(c, i);
		rig->changing[c->first + i] = true;
		volume_rig_fill(c->data + i * VOLUME_RIG_BLOCK, seed_of(c, i));
		for (unsigned s = 0; s < SNAPSHOTS; s++) {
			if (rig->snapshots[s].making)
				add_candidate(&rig->snapshots[s], c->first + i, seed_of(c, i));
		}
	}
}

static void client_start(struct client *c)
{
	static const enum blk_op ops[] = { BLK_READ, BLK_WRITE, BLK_WRITE, BLK_DISCARD };
	struct rig *rig = c->rig;
	unsigned worker = (unsigned)prng_below(&rig->prng, rig->workers);
	struct blk_cmd cmd = { .iov = &c->iov };

	c->op = ops[prng_below(&rig->prng, array_count(ops))];
	c->first = c->index * OWN + (uint32_t)prng_below(&rig->prng, OWN);
	c->count = 1 + (uint32_t)prng_below(&rig->prng, (c->index + 1) * OWN - c->first);
	if (c->op != BLK_READ && !may_change(rig, c))
		return;
	if (c->op != BLK_READ)
		client_change(c);
	c->busy = true;
	c->iov = (struct iovec){ c->data, c->count * VOLUME_RIG_BLOCK };
	cmd.op = c->op;
	cmd.lba = c->first;
	cmd.block_count = c->count;
	cmd.iov_count = c->op != BLK_DISCARD;
	req_init(&c->req, rig->env.workers[worker]);
	req_push(&c->req, struct done_frame, client_done)->owner = c;
	blk_submit(blk_of(rig, worker, "disk"), &c->req, &cmd);
	sim_wake(rig->sim, 0, worker);
}

/* Snapshots. */

static void control_done(struct req *req)
{
	struct rig *rig = req_pop(req, struct done_frame)->owner;
	struct snapshot *snapshot = rig->changed;

	rig->changed = NULL;
	if (req->status == STATUS_TOO_LARGE) { /* those before it are still being merged */
		assert_true(snapshot->making);
		snapshot->making = false;
		return;
	}
	assert_int_equal(req->status, STATUS_OK);
	snapshot->there = snapshot->making;
	rig->made += snapshot->making;
	snapshot->making = snapshot->deleting = false;
}

static void snapshot_begin(struct rig *rig, struct snapshot *snapshot)
{
	memset(snapshot, 0, sizeof(*snapshot));
	snprintf(snapshot->name, sizeof(snapshot->name), "s%u", rig->next_seed++);
	snapshot->making = true;
	for (uint32_t i = 0; i < BLOCKS; i++) {
		add_candidate(snapshot, i, rig->acked[i]);
		if (rig->changing[i])
			add_candidate(snapshot, i, rig->pending[i]);
	}
}

static void control_start(struct rig *rig)
{
	struct snapshot *snapshot = &rig->snapshots[prng_below(&rig->prng, SNAPSHOTS)];

	if (snapshot->there)
		snapshot->deleting = true;
	else
		snapshot_begin(rig, snapshot);
	rig->changed = snapshot;
	rig->control = (struct volume_cmd){ .op = VOLUME_SNAPSHOT, .name = BYTES("disk") };
	rig->control.other = bytes_of(snapshot->name, strlen(snapshot->name));
	if (snapshot->deleting) {
		rig->control.op = VOLUME_DELETE;
		rig->control.name = rig->control.other;
	}
	rig->control_worker = (unsigned)prng_below(&rig->prng, rig->workers);
	req_init(&rig->control_req, rig->env.workers[rig->control_worker]);
	req_push(&rig->control_req, struct done_frame, control_done)->owner = rig;
	volume_submit(volumes_set(rig->engines[rig->control_worker]), &rig->control_req,
	              &rig->control);
	sim_wake(rig->sim, 0, rig->control_worker);
}

static void play(struct rig *rig, uint64_t steps)
{
	for (uint64_t i = 0; i < steps; i++) {
		struct client *c = &rig->clients[prng_below(&rig->prng, CLIENTS)];

		if (!c->busy && prng_below(&rig->prng, 8) == 0)
			client_start(c);
		if (rig->changed == NULL && prng_below(&rig->prng, 60) == 0)
			control_start(rig);
		sim_step(rig->sim);
	}
}

/* After a restart. */

static void read_all(struct rig *rig, const char *name, uint8_t *data)
{
	unsigned worker = (unsigned)prng_below(&rig->prng, rig->workers);
	struct iovec iov = { data, 80 * VOLUME_RIG_BLOCK };
	struct blk_cmd cmd = { .op = BLK_READ, .block_count = 80, .iov = &iov, .iov_count = 1 };
	struct call call;

	_Static_assert(BLOCKS % 80 == 0, "whole commands");
	for (; cmd.lba < BLOCKS; cmd.lba += 80) {
		iov.iov_base = data + cmd.lba * VOLUME_RIG_BLOCK;
		call_begin(rig, &call, worker);
		blk_submit(blk_of(rig, worker, name), &call.req, &cmd);
		assert_int_equal(call_wait(rig, &call, worker), STATUS_OK);
	}
}

static bool is_block(const uint8_t *data, uint32_t i, uint32_t seed)
{
	uint8_t block[VOLUME_RIG_BLOCK];

	volume_rig_fill(block, seed);
	return memcmp(block, data + (size_t)i * VOLUME_RIG_BLOCK, sizeof(block)) == 0;
}

static void check_disk(struct rig *rig, const uint8_t *data)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (rig->changing[i] && is_block(data, i, rig->pending[i]))
			rig->acked[i] = rig->pending[i];
		else if (!is_block(data, i, rig->acked[i]))
			fail_msg("block %u is neither %u nor what was under way", i, rig->acked[i]);
		rig->changing[i] = false;
	}
}

static void check_snapshot(struct snapshot *snapshot, const uint8_t *data)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint8_t at = 0;

		while (at < snapshot->counts[i] && !is_block(data, i, snapshot->seeds[i][at]))
			at++;
		if (at == snapshot->counts[i])
			fail_msg("%s: block %u has what it never had then", snapshot->name, i);
		snapshot->seeds[i][0] = snapshot->seeds[i][at]; /* and so it stays */
		snapshot->counts[i] = 1;
	}
}

static void check(struct rig *rig)
{
	static _Alignas(VOLUME_RIG_BLOCK) uint8_t data[BLOCKS * VOLUME_RIG_BLOCK];

	read_all(rig, "disk", data);
	check_disk(rig, data);
	for (unsigned s = 0; s < SNAPSHOTS; s++) {
		struct snapshot *snapshot = &rig->snapshots[s];
		bool there = blk_of(rig, 0, snapshot->name) != NULL;

		if (there != snapshot->there && !snapshot->making && !snapshot->deleting)
			fail_msg("%s is there: %d", snapshot->name, there);
		snapshot->there = there;
		snapshot->making = snapshot->deleting = false;
		if (!there)
			continue;
		read_all(rig, snapshot->name, data);
		check_snapshot(snapshot, data);
	}
}

static bool all_idle(void *argument)
{
	struct rig *rig = argument;

	for (unsigned i = 0; i < rig->workers; i++) {
		if (!volumes_are_idle(rig->engines[i]))
			return false;
	}
	return true;
}

static void delete_all(struct rig *rig)
{
	for (unsigned s = 0; s < SNAPSHOTS; s++) {
		struct snapshot *snapshot = &rig->snapshots[s];
		struct volume_cmd cmd = { .op = VOLUME_DELETE };

		cmd.name = bytes_of(snapshot->name, strlen(snapshot->name));
		if (snapshot->there)
			assert_int_equal(control(rig, &cmd), STATUS_OK);
		snapshot->there = false;
	}
	assert_true(sim_run(rig->sim, all_idle, rig, STEPS_MAX));
	check(rig);
	assert_int_equal(
	        control(rig, &(struct volume_cmd){ .op = VOLUME_DELETE, .name = BYTES("disk") }),
	        STATUS_OK);
	assert_true(sim_run(rig->sim, all_idle, rig, STEPS_MAX));
	assert_int_equal(count(rig, VOLUME_SPACE_DATA), 0);
	assert_int_equal(count(rig, VOLUME_SPACE_LAYERS), 0);
}

static void open_rig(struct rig *rig, uint64_t seed)
{
	struct sim_options sim_options = { .nodes = 1, .workers_per_node = WORKERS };
	struct sim_disk_options disk_options = {
		.size = 96 << 20,
		.faults = { .cut_torn = 200000, .cut_garbage = 100000, .stall = 1000 },
	};

	memset(rig, 0, sizeof(*rig));
	prng_init(&rig->prng, seed);
	sim_options.seed = prng_fork(&rig->prng, 1);
	disk_options.seed = prng_fork(&rig->prng, 2);
	rig->next_seed = 1;
	rig->sim = sim_open(&sim_options);
	rig->disk = sim_disk_open(&disk_options);
	assert_true(rig->sim != NULL && rig->disk != NULL);
	for (unsigned i = 0; i < CLIENTS; i++) {
		rig->clients[i].rig = rig;
		rig->clients[i].index = i;
	}
}

static void run_seed(uint64_t seed, uint64_t sums[4])
{
	static struct rig rig;
	const unsigned lives = 6;

	open_rig(&rig, seed);
	for (unsigned life = 0; life <= lives; life++) {
		start(&rig);
		if (life == 0)
			assert_int_equal(
			        control(&rig,
			                &(struct volume_cmd){ .op = VOLUME_CREATE,
			                                      .name = BYTES("disk"),
			                                      .size = BLOCKS * VOLUME_RIG_BLOCK }),
			        STATUS_OK);
		check(&rig);
		if (life == lives)
			delete_all(&rig);
		else
			play(&rig, 500 + prng_below(&rig.prng, 6000));
		cut(&rig);
	}
	sums[0] += rig.cuts;
	sums[1] += rig.writes;
	sums[2] += rig.made;
	sums[3] += rig.merged;
	sim_close(rig.sim);
	sim_disk_close(rig.disk);
}

static void test_power_cuts(void **state)
{
	const char *chosen = getenv("SIM_SEED");
	uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 0) : 1;
	uint64_t last = chosen != NULL ? first : 10;
	uint64_t sums[4] = { 0 };

	(void)state;
	for (uint64_t seed = first; seed <= last; seed++) {
		printf("seed %lu\n", seed);
		run_seed(seed, sums);
	}
	printf("%lu cuts, %lu blocks acknowledged, %lu snapshots, %lu layers merged\n", sums[0],
	       sums[1], sums[2], sums[3]);
	assert_true(sums[1] > 100 && sums[2] > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_power_cuts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
