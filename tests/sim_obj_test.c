/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects under power cuts, and with another number of workers after each. Clients put, stream,
 * upload, delete and read, each its own names, and the power fails at any moment. Then every name
 * has what was acknowledged last, or what was under way; every version that is listed can be read,
 * whole; uploads have their parts; and when nothing is under way, no byte is kept that nothing
 * refers to.
 *
 * The etag of a version is the seed that its contents come from. SIM_SEED in the environment: that
 * seed alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "engine/obj_engine.h"
#include "engine/obj_format.h"
#include "obj_rig.h"
#include "sim_engine.h"
#include "sim_obj.h"

enum { EXTENT_SHIFT = 16, VERSIONS_SEEN = 4096, STEPS_MAX = 4000000 };

/* Commands that are waited for. */

struct call {
	struct req req;
	bool done;
};

struct call_frame {
	struct frame frame;
	struct call *call;
};

static void call_done(struct req *req)
{
	req_pop(req, struct call_frame)->call->done = true;
}

static bool call_is_done(void *call)
{
	return ((struct call *)call)->done;
}

static void call_wait(struct sim_obj *rig, struct call *call, unsigned worker)
{
	sim_wake(rig->sim, 0, worker);
	assert_true(sim_run(rig->sim, call_is_done, call, STEPS_MAX));
}

static void call_begin(struct sim_obj *rig, struct call *call, unsigned worker)
{
	call->done = false;
	req_init(&call->req, rig->env.workers[worker]);
	req_push(&call->req, struct call_frame, call_done)->call = call;
}

static enum status run_on(struct sim_obj *rig, unsigned worker, struct obj_cmd cmd,
                          uint64_t *result)
{
	struct call call;

	if (cmd.bucket.size == 0)
		cmd.bucket = BYTES("bucket");
	call_begin(rig, &call, worker);
	obj_submit(obj_engine_obj(rig->engines[worker]), &call.req, &cmd);
	call_wait(rig, &call, worker);
	if (result != NULL)
		*result = call.req.result;
	return call.req.status;
}

static enum status run(struct sim_obj *rig, struct obj_cmd cmd, uint64_t *result)
{
	return run_on(rig, (unsigned)prng_below(&rig->prng, rig->workers), cmd, result);
}

static uint64_t count(struct sim_obj *rig, uint8_t space)
{
	struct kv_cmd cmd = { .op = KV_COUNT, .key = { &space, 1 } };
	struct call call;

	call_begin(rig, &call, 0);
	kv_submit(engine_binding()->kv(rig->store, 0), &call.req, &cmd);
	call_wait(rig, &call, 0);
	assert_int_equal(call.req.status, STATUS_OK);
	return call.req.result;
}

/* A life. */

static bool is_opening(struct sim_obj *rig)
{
	enum status status;

	return engine_binding()->state(rig->store, &status) == STORE_IS_OPENING;
}

static void start(struct sim_obj *rig)
{
	enum status status;

	if (!sim_is_running(rig->sim, 0))
		sim_start(rig->sim, 0);
	rig->workers = 1 + (unsigned)prng_below(&rig->prng, SIM_OBJ_WORKERS);
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
	for (unsigned i = 0; i < rig->workers; i++) {
		struct obj_options options = {
			.kv = engine_binding()->kv(rig->store, i),
			.bufs = &rig->bufs[i],
			.extent_shift = EXTENT_SHIFT,
			.spread = 3,
			.collects = i == 0,
			.collect_wait_ns = 20000000,
		};

		assert_int_equal(bufs_open(&rig->bufs[i], 16 << 20, 0), STATUS_OK);
		assert_int_equal(obj_engine_open(&rig->engines[i], &options), STATUS_OK);
	}
	for (unsigned i = 0; i < rig->workers; i++) {
		struct call call;

		obj_engine_join(rig->engines[i], rig->engines, rig->workers);
		call_begin(rig, &call, i);
		obj_engine_start(rig->engines[i], &call.req);
		call_wait(rig, &call, i);
		assert_int_equal(call.req.status, STATUS_OK);
	}
}

static void cut(struct sim_obj *rig)
{
	struct obj_engine_stats stats;

	rig->cuts++;
	obj_engine_stats(rig->engines[0], &stats);
	rig->postponed += stats.postponed;
	sim_stop(rig->sim, 0, prng_below(&rig->prng, 3) == 0 ? SIM_KILL : SIM_POWER_CUT);
	for (unsigned i = 0; i < rig->workers; i++) {
		obj_engine_close(rig->engines[i]);
		rig->bufs[i].used_size = 0; /* what was in flight is gone */
		bufs_close(&rig->bufs[i]);
	}
	engine_binding()->abandon(rig->store);
	for (unsigned i = 0; i < SIM_OBJ_CLIENTS; i++)
		rig->clients[i].busy = false;
}

/* After a restart: what is there. */

struct found {
	struct sim_obj *rig;
	unsigned count;
	uint64_t extents, manifests;
	struct {
		char name[16];
		uint64_t version, seed, size;
		uint32_t flags;
		uint32_t parts;
	} versions[VERSIONS_SEEN];
};

static struct found found;

static void found_visit(void *visitor, const struct obj_entry *entry)
{
	struct found *to = visitor;
	unsigned i = to->count++;

	assert_true(i < VERSIONS_SEEN);
	memset(&to->versions[i], 0, sizeof(to->versions[i]));
	memcpy(to->versions[i].name, entry->name.data, entry->name.size);
	to->versions[i].version = entry->meta.version;
	to->versions[i].flags = entry->meta.flags;
	to->versions[i].size = entry->meta.size;
	to->versions[i].parts = entry->meta.part_count;
	if (entry->meta.etag.size == 8)
		memcpy(&to->versions[i].seed, entry->meta.etag.data, 8);
}

static void list_all(struct sim_obj *rig, enum obj_op op)
{
	struct obj_list list = { .limit = 1000 };
	uint64_t more = 1;

	for (found.count = 0; more != 0;) {
		assert_int_equal(run(rig,
		                     (struct obj_cmd){ .op = (uint8_t)op,
		                                       .list = &list,
		                                       .visit = found_visit,
		                                       .visitor = &found },
		                     &more),
		                 STATUS_OK);
		if (found.count == 0)
			break;
		list.after = bytes_of(found.versions[found.count - 1].name,
		                      strlen(found.versions[found.count - 1].name));
		list.after_id = op == OBJ_LIST ? 0 : found.versions[found.count - 1].version;
	}
}

/* Reads version i, whole. */
static void check_contents(struct sim_obj *rig, unsigned i)
{
	static uint8_t data[60000];
	unsigned worker = (unsigned)prng_below(&rig->prng, rig->workers);
	struct obj_cmd cmd = { .op = OBJ_OPEN, .version = found.versions[i].version };
	uint64_t at = 0, got;

	cmd.name = bytes_of(found.versions[i].name, strlen(found.versions[i].name));
	assert_int_equal(run_on(rig, worker, cmd, &cmd.handle), STATUS_OK);
	do {
		struct obj_cmd read = { .op = OBJ_READ,
			                .handle = cmd.handle,
			                .offset = at,
			                .out = data,
			                .out_size = sizeof(data) };

		assert_int_equal(run_on(rig, worker, read, &got), STATUS_OK);
		assert_true(obj_is_filled(found.versions[i].seed, at, data, got));
		at += got;
	} while (got > 0);
	assert_int_equal(at, found.versions[i].size);
	cmd.op = OBJ_RELEASE;
	assert_int_equal(run_on(rig, worker, cmd, NULL), STATUS_OK);
}

static struct sim_obj_name *name_of(struct sim_obj *rig, const char *text)
{
	for (unsigned i = 0; i < SIM_OBJ_CLIENTS * SIM_OBJ_NAMES; i++) {
		struct sim_obj_name *name =
		        &rig->clients[i / SIM_OBJ_NAMES].names[i % SIM_OBJ_NAMES];

		if (strcmp(name->text, text) == 0)
			return name;
	}
	fail_msg("a name that nobody gave: %s", text);
	return NULL;
}

static uint64_t found_seed(const char *text)
{
	for (unsigned i = 0; i < found.count; i++) {
		if (strcmp(found.versions[i].name, text) == 0)
			return found.versions[i].seed;
	}
	return 0;
}

static void check_names(struct sim_obj *rig)
{
	list_all(rig, OBJ_LIST);
	for (unsigned i = 1; i < found.count; i++)
		assert_true(strcmp(found.versions[i - 1].name, found.versions[i].name) < 0);
	for (unsigned i = 0; i < SIM_OBJ_CLIENTS * SIM_OBJ_NAMES; i++) {
		struct sim_obj_name *name =
		        &rig->clients[i / SIM_OBJ_NAMES].names[i % SIM_OBJ_NAMES];
		uint64_t seed = found_seed(name->text);
		bool as_acked = seed == name->acked;
		bool as_pending = name->changing && seed == (name->deleting ? 0 : name->pending);

		if (!as_acked && !as_pending)
			fail_msg("%s has %lu; acknowledged was %lu, pending %lu", name->text, seed,
			         name->acked, name->pending);
		name->acked = seed;
	}
}

static void check_versions(struct sim_obj *rig)
{
	unsigned counts[SIM_OBJ_CLIENTS * SIM_OBJ_NAMES] = { 0 };

	list_all(rig, OBJ_LIST_VERSIONS);
	found.extents = found.manifests = 0;
	for (unsigned i = 0; i < found.count; i++) {
		struct sim_obj_name *name = name_of(rig, found.versions[i].name);
		struct sim_obj_client *c = &rig->clients[found.versions[i].name[1] - '0'];
		unsigned *seen = &counts[c->index * SIM_OBJ_NAMES + (unsigned)(name - c->names)];
		uint64_t size = found.versions[i].size;

		assert_int_equal(!!(found.versions[i].flags & OBJ_IS_LATEST), *seen == 0);
		(*seen)++;
		if (found.versions[i].flags & OBJ_IS_MARKER)
			continue;
		check_contents(rig, i);
		if (found.versions[i].parts > 0)
			found.extents += 2ull * found.versions[i].parts;
		else if (size > 4096)
			found.extents += (size + 65535) / 65536;
		found.manifests += found.versions[i].parts > 0;
	}
	for (unsigned i = 0; i < SIM_OBJ_CLIENTS * SIM_OBJ_NAMES; i++) {
		struct sim_obj_name *name =
		        &rig->clients[i / SIM_OBJ_NAMES].names[i % SIM_OBJ_NAMES];

		if (rig->versioned)
			assert_true(counts[i] == name->versions ||
			            (name->changing && counts[i] == name->versions + 1));
		else
			assert_int_equal(counts[i], name->acked != 0);
		name->versions = counts[i];
		name->changing = name->deleting = false;
	}
}

static void count_part(void *visitor, const struct obj_entry *entry)
{
	assert_int_equal(entry->kind, OBJ_PART);
	assert_int_equal(entry->part.size, SIM_OBJ_PART_SIZE);
	++*(unsigned *)visitor;
}

/* Uploads that nobody knows of are ended; the others have the parts that were acknowledged. */
static void check_uploads(struct sim_obj *rig)
{
	struct obj_list list = { .limit = 100 };

	list_all(rig, OBJ_LIST_UPLOADS);
	for (unsigned i = 0; i < found.count; i++) {
		struct sim_obj_client *c = &rig->clients[found.versions[i].name[1] - '0'];
		struct obj_cmd cmd = { .op = OBJ_UPLOAD_ABORT,
			               .upload = found.versions[i].version };
		unsigned parts = 0;

		cmd.name = bytes_of(c->names[0].text, strlen(c->names[0].text));
		if (found.versions[i].version != c->upload || c->ending) {
			assert_int_equal(run(rig, cmd, NULL), STATUS_OK);
			assert_int_equal(run(rig, cmd, NULL), STATUS_NOT_FOUND);
			continue;
		}
		cmd.op = OBJ_UPLOAD_PARTS;
		cmd.list = &list;
		cmd.visit = count_part;
		cmd.visitor = &parts;
		assert_int_equal(run(rig, cmd, NULL), STATUS_OK);
		assert_true(parts == c->parts || parts == c->parts + 1);
		c->parts = parts;
		c->handle = UINT64_MAX; /* it is there */
	}
	for (unsigned i = 0; i < SIM_OBJ_CLIENTS; i++) {
		struct sim_obj_client *c = &rig->clients[i];

		if (c->upload != 0 && !c->ending)
			assert_true(c->handle == UINT64_MAX); /* else: it was lost */
		if (c->ending || c->upload == 0) {
			c->upload = 0;
			c->parts = 0;
		}
		c->handle = 0;
		c->creating = c->ending = false;
		found.extents += 2ull * c->parts;
	}
}

/* When the collector has gone over it, what is kept is what something refers to. */
static void check_space(struct sim_obj *rig)
{
	uint64_t parts = 0;

	for (unsigned i = 0; i < 100 && count(rig, OBJ_SPACE_TRASH) > 0; i++)
		sim_advance(rig->sim, 30000000);
	assert_int_equal(count(rig, OBJ_SPACE_TRASH), 0);
	assert_int_equal(count(rig, OBJ_SPACE_DATA), found.extents);
	assert_int_equal(count(rig, OBJ_SPACE_MANIFESTS), found.manifests);
	for (unsigned i = 0; i < SIM_OBJ_CLIENTS; i++)
		parts += rig->clients[i].parts;
	list_all(rig, OBJ_LIST_VERSIONS);
	for (unsigned i = 0; i < found.count; i++)
		parts += found.versions[i].parts;
	assert_int_equal(count(rig, OBJ_SPACE_PARTS), parts);
}

static void open_rig(struct sim_obj *rig, uint64_t seed)
{
	struct sim_options sim_options = { .event_first = 50000 };
	struct sim_disk_options disk_options = {
		.size = 192 << 20,
		.faults = { .cut_torn = 200000, .cut_garbage = 100000, .stall = 1000 },
	};

	memset(rig, 0, sizeof(*rig));
	prng_init(&rig->prng, seed);
	sim_options.seed = prng_fork(&rig->prng, 1);
	disk_options.seed = prng_fork(&rig->prng, 2);
	sim_options.workers_per_node = SIM_OBJ_WORKERS;
	rig->versioned = seed / 2 % 2 == 1;
	rig->next_seed = 1;
	rig->sim = sim_open(&sim_options);
	rig->disk = sim_disk_open(&disk_options);
	assert_true(rig->sim != NULL && rig->disk != NULL);
	for (unsigned i = 0; i < SIM_OBJ_CLIENTS; i++) {
		rig->clients[i].rig = rig;
		rig->clients[i].index = i;
		for (unsigned n = 0; n < SIM_OBJ_NAMES; n++)
			snprintf(rig->clients[i].names[n].text,
			         sizeof(rig->clients[i].names[n].text), "c%u/%u", i, n);
	}
}

static void run_seed(uint64_t seed, uint64_t sums[4])
{
	static struct sim_obj rig;
	struct obj_settings settings = { .versioning = OBJ_VERSIONING_OFF };
	const unsigned lives = 6;

	open_rig(&rig, seed);
	if (rig.versioned)
		settings.versioning = OBJ_VERSIONING_ON;
	for (unsigned life = 0; life <= lives; life++) {
		start(&rig);
		if (life == 0)
			assert_int_equal(run(&rig,
			                     (struct obj_cmd){ .op = OBJ_BUCKET_CREATE,
			                                       .settings = &settings },
			                     NULL),
			                 STATUS_OK);
		check_names(&rig);
		check_versions(&rig);
		check_uploads(&rig);
		check_space(&rig);
		if (life < lives)
			sim_obj_play(&rig, 1000 + prng_below(&rig.prng, 6000));
		cut(&rig);
	}
	sums[0] += rig.cuts;
	sums[1] += rig.acked;
	sums[2] += rig.ended;
	sums[3] += rig.postponed;
	sim_close(rig.sim);
	sim_disk_close(rig.disk);
}

static void test_power_cuts(void **state)
{
	const char *chosen = getenv("SIM_SEED");
	uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 0) : 1;
	uint64_t last = chosen != NULL ? first : 12;
	uint64_t sums[4] = { 0 };

	(void)state;
	for (uint64_t seed = first; seed <= last; seed++) {
		printf("seed %lu\n", seed);
		run_seed(seed, sums);
	}
	printf("%lu cuts, %lu changes acknowledged, %lu tasks ended, %lu removals postponed\n",
	       sums[0], sums[1], sums[2], sums[3]);
	assert_true(sums[1] > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_power_cuts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
