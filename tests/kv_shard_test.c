/* SPDX-License-Identifier: Apache-2.0 */
/* Scans over several engines: every round, both directions, any limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/prng.h"
#include "core/worker.h"
#include "kv_mem.h"
#include "layer/kv_shard.h"

enum { ENGINES = 3, KEYS = 1200, VALUE_MAX = KV_INLINE_MAX, KEY_SIZE = 4 };

struct rig {
	struct worker worker;
	struct kv_mem *mems[ENGINES];
	struct kv *engines[ENGINES];
	struct kv_shard *shard;
	struct kv *kv;
	uint8_t value[VALUE_MAX];
	uint32_t sizes[KEYS];
};

/* What a scan is expected to show next. */
struct walk {
	struct rig *rig;
	int next, step;
	unsigned count;
	bool keys_only;
};

struct call {
	struct req req;
	bool done;
};

struct call_frame {
	struct frame frame;
	struct call *call;
};

static uint64_t zero(struct clock *clock)
{
	(void)clock;
	return 1;
}

static struct clock test_clock = { zero, zero };

static struct bytes key_of(int index, uint8_t *room)
{
	room[0] = KV_SPACE_APP;
	room[1] = (uint8_t)(index >> 8);
	room[2] = (uint8_t)index;
	room[3] = 'k';
	return bytes_of(room, KEY_SIZE);
}

static void call_done(struct req *req)
{
	req_pop(req, struct call_frame)->call->done = true;
}

static uint64_t do_cmd(struct rig *rig, const struct kv_cmd *cmd)
{
	struct call call = { .done = false };

	req_init(&call.req, &rig->worker);
	req_push(&call.req, struct call_frame, call_done)->call = &call;
	kv_submit(rig->kv, &call.req, cmd);
	for (unsigned i = 0; i < 100000 && !call.done; i++)
		worker_turn(&rig->worker);
	assert_true(call.done);
	assert_int_equal(call.req.status, STATUS_OK);
	return call.req.result;
}

static void rig_open(struct rig *rig, uint32_t value_max)
{
	struct kv_mem_options options = { .partitions = 16 };
	struct prng prng;
	uint8_t room[KEY_SIZE];

	prng_init(&prng, value_max);
	worker_init(&rig->worker, 0, ROLE_STORAGE, &test_clock);
	for (unsigned i = 0; i < ENGINES; i++) {
		rig->mems[i] = kv_mem_open(&options);
		rig->engines[i] = kv_mem_attach(rig->mems[i], &rig->worker);
	}
	assert_int_equal(kv_shard_open(&rig->shard, &rig->worker, rig->engines, ENGINES),
	                 STATUS_OK);
	rig->kv = kv_shard_kv(rig->shard);
	for (int i = 0; i < KEYS; i++) {
		rig->sizes[i] = (uint32_t)prng_below(&prng, value_max);
		memset(rig->value, i, rig->sizes[i]);
		do_cmd(rig, &(struct kv_cmd){ .op = KV_PUT,
		                              .key = key_of(i, room),
		                              .value = bytes_of(rig->value, rig->sizes[i]) });
	}
}

static void rig_close(struct rig *rig)
{
	kv_shard_close(rig->shard);
	for (unsigned i = 0; i < ENGINES; i++) {
		rig->engines[i]->ops->close(rig->engines[i]);
		kv_mem_close(rig->mems[i]);
	}
}

static void see(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct walk *walk = visitor;
	uint8_t room[KEY_SIZE];

	assert_null(edit);
	assert_in_range(walk->next, 0, KEYS - 1);
	assert_true(bytes_equal(entry->key, key_of(walk->next, room)));
	if (!walk->keys_only) {
		assert_int_equal(entry->value.size, walk->rig->sizes[walk->next]);
		if (entry->value.size > 0)
			assert_int_equal(entry->value.data[entry->value.size - 1],
			                 (uint8_t)walk->next);
	}
	walk->next += walk->step;
	walk->count++;
}

/* The keys first..last, or as many of them as the limit allows. */
static void scan(struct rig *rig, int first, int last, uint32_t limit, uint32_t flags)
{
	bool reverse = flags & KV_REVERSE;
	unsigned there = (unsigned)(last - first + 1);
	struct walk walk = { .rig = rig,
		             .next = reverse ? last : first,
		             .step = reverse ? -1 : 1,
		             .keys_only = flags & KV_KEYS_ONLY };
	uint8_t from[KEY_SIZE], end[KEY_SIZE];
	uint64_t visited;
	struct kv_cmd cmd = { .op = KV_SCAN,
		              .flags = flags,
		              .limit = limit,
		              .key = key_of(first, from),
		              .visit = see,
		              .visitor = &walk };

	if (last < KEYS - 1)
		cmd.end = key_of(last + 1, end);
	visited = do_cmd(rig, &cmd);
	assert_int_equal(visited, walk.count);
	assert_int_equal(walk.count, there < limit ? there : limit);
}

static void test_scans(void **state)
{
	static const uint32_t value_max[] = { 1, 600, VALUE_MAX };
	static const uint32_t limits[] = { 1, 7, 129, KEYS, UINT32_MAX };
	static struct rig rig;

	(void)state;
	for (unsigned v = 0; v < 3; v++) {
		rig_open(&rig, value_max[v]);
		for (unsigned l = 0; l < 5; l++) {
			scan(&rig, 0, KEYS - 1, limits[l], 0);
			scan(&rig, 0, KEYS - 1, limits[l], KV_REVERSE);
			scan(&rig, 17, 900, limits[l], KV_KEYS_ONLY);
			scan(&rig, 17, 900, limits[l], KV_REVERSE | KV_KEYS_ONLY);
			scan(&rig, 333, 333, limits[l], 0);
		}
		rig_close(&rig);
	}
}

/* More at a time than there is memory for: they wait for each other. */
static void test_many_scans(void **state)
{
	enum { SCANS = 20 };
	static struct rig rig;
	static struct call calls[SCANS];
	static struct walk walks[SCANS];
	uint8_t from[KEY_SIZE];
	unsigned done = 0;

	(void)state;
	rig_open(&rig, 600);
	for (unsigned i = 0; i < SCANS; i++) {
		walks[i] = (struct walk){ .rig = &rig, .step = 1 };
		calls[i].done = false;
		req_init(&calls[i].req, &rig.worker);
		req_push(&calls[i].req, struct call_frame, call_done)->call = &calls[i];
		kv_submit(rig.kv, &calls[i].req,
		          &(struct kv_cmd){ .op = KV_SCAN,
		                            .limit = UINT32_MAX,
		                            .key = key_of(0, from),
		                            .visit = see,
		                            .visitor = &walks[i] });
	}
	for (unsigned turn = 0; turn < 100000 && done < SCANS; turn++) {
		worker_turn(&rig.worker);
		done = 0;
		for (unsigned i = 0; i < SCANS; i++)
			done += calls[i].done;
	}
	assert_int_equal(done, SCANS);
	for (unsigned i = 0; i < SCANS; i++)
		assert_int_equal(walks[i].count, KEYS);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scans),
		cmocka_unit_test(test_many_scans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
