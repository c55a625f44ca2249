/* SPDX-License-Identifier: Apache-2.0 */
/* The store on a device in memory: commands, restarts, crashes, cleaning, a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/metrics.h"
#include "store_fixture.h"

enum { KEYS = 2000, VALUE_MAX = 3000 };

/* What each key should hold: 0: absent, else a number that makes its value. */
static uint32_t model[KEYS];

static uint64_t random_state = 12345;

static uint32_t chance(uint32_t below)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % below;
}

static struct bytes make_key(uint32_t i, char *memory)
{
	int size = snprintf(memory, 40, "%ckey:%010u", KV_SPACE_APP, i);

	return bytes_of(memory, (size_t)size);
}

static struct bytes make_value(uint32_t number, uint8_t *memory)
{
	size_t size = number % 7 == 0 ? number % VALUE_MAX : number % 100;

	for (size_t i = 0; i < size; i++)
		memory[i] = (uint8_t)(number * 31 + i);
	return bytes_of(memory, size);
}

static void check_all(struct store_fixture *f)
{
	uint8_t expected[VALUE_MAX], got[VALUE_MAX];
	char key[40];

	for (uint32_t i = 0; i < KEYS; i++) {
		struct bytes value;
		uint64_t size;

		assert_int_equal(store_get(f, make_key(i, key), got, sizeof(got), &size),
		                 STATUS_OK);
		if (model[i] == 0) {
			assert_true(size == UINT64_MAX);
			continue;
		}
		value = make_value(model[i], expected);
		assert_int_equal(size, value.size);
		assert_memory_equal(got, value.data, size);
	}
}

static void change(struct store_fixture *f, unsigned count)
{
	uint8_t memory[VALUE_MAX];
	char key[40];

	for (unsigned n = 0; n < count; n++) {
		uint32_t i = chance(KEYS);

		if (chance(5) == 0) {
			bool was;

			assert_int_equal(store_delete(f, make_key(i, key), &was), STATUS_OK);
			assert_int_equal(was, model[i] != 0);
			model[i] = 0;
		} else {
			model[i] = chance(1u << 30) + 1;
			assert_int_equal(
			        store_put(f, make_key(i, key), make_value(model[i], memory)),
			        STATUS_OK);
		}
	}
}

static void test_restarts(void **state)
{
	struct store_fixture f;

	(void)state;
	memset(model, 0, sizeof(model));
	store_fixture_init(&f, 64 << 20);
	for (unsigned round = 0; round < 12; round++) {
		enum status status = store_fixture_open(&f);

		if (status != STATUS_OK)
			print_error("%s\n", f.store->error);
		assert_int_equal(status, STATUS_OK);
		check_all(&f);
		change(&f, 300 + chance(3000));
		check_all(&f);
		store_fixture_close(&f, /* crash= */ chance(3) != 0);
	}
	store_fixture_fini(&f);
}

/* A blob of this size, every byte of which follows from its number. */
static void put_blob(struct store_fixture *f, uint32_t i, uint32_t number, size_t size)
{
	static uint8_t piece[64 << 10];
	uint64_t handle = 0;
	char key[40];

	for (size_t at = 0; at < size; at += sizeof(piece)) {
		size_t part = size - at < sizeof(piece) ? size - at : sizeof(piece);
		struct kv_cmd cmd = {
			.op = KV_BLOB_WRITE,
			.handle = handle,
			.value = bytes_of(piece, part),
		};

		for (size_t b = 0; b < part; b++)
			piece[b] = (uint8_t)(number + (at + b) * 7 + ((at + b) >> 12));
		assert_int_equal(store_run(f, &cmd, &handle), STATUS_OK);
	}
	assert_int_equal(store_run(f,
	                           &(struct kv_cmd){ .op = KV_PUT,
	                                             .flags = KV_FROM_BLOB,
	                                             .key = make_key(i, key),
	                                             .handle = handle },
	                           NULL),
	                 STATUS_OK);
}

static void check_blob(struct store_fixture *f, uint32_t i, uint32_t number, size_t size)
{
	static uint8_t piece[50000];
	uint64_t handle = 0, got = 0;
	char key[40];
	struct kv_cmd open = { .op = KV_BLOB_OPEN, .key = make_key(i, key) };

	assert_int_equal(store_run(f, &open, &handle), STATUS_OK);
	assert_true(handle != 0);
	for (size_t at = 0; at <= size; at += sizeof(piece)) {
		struct kv_cmd read = {
			.op = KV_BLOB_READ,
			.handle = handle,
			.offset = at,
			.out = piece,
			.out_size = sizeof(piece),
		};
		size_t part = size - at < sizeof(piece) ? size - at : sizeof(piece);

		assert_int_equal(store_run(f, &read, &got), STATUS_OK);
		assert_int_equal(got, part);
		for (size_t b = 0; b < part; b++)
			assert_int_equal(piece[b],
			                 (uint8_t)(number + (at + b) * 7 + ((at + b) >> 12)));
	}
	assert_int_equal(
	        store_run(f, &(struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = handle }, NULL),
	        STATUS_OK);
}

/* Replaced blobs give their space back, over crashes too: else the disk is full soon. */
static void test_blobs(void **state)
{
	enum { BLOBS = 4 };
	static uint32_t numbers[BLOBS];
	static size_t sizes[BLOBS];
	struct store_fixture f;
	struct store_worker_stats stats;

	(void)state;
	store_fixture_init(&f, 32 << 20);
	for (unsigned round = 0; round < 30; round++) {
		assert_int_equal(store_fixture_open(&f), STATUS_OK);
		for (uint32_t i = 0; i < BLOBS; i++) {
			if (sizes[i] > 0)
				check_blob(&f, i, numbers[i], sizes[i]);
		}
		for (uint32_t i = 0; i < BLOBS; i++) {
			numbers[i] = chance(1000);
			sizes[i] = 33000 + chance(900000);
			put_blob(&f, i, numbers[i], sizes[i]);
			check_blob(&f, i, numbers[i], sizes[i]);
		}
		store_worker_stats(f.store, 0, &stats);
		store_fixture_close(&f, /* crash= */ chance(2) != 0);
	}
	assert_true(stats.segments_left > 20);
	store_fixture_fini(&f);
}

/* A few turns, `later_ns` from now, and what the log says then. */
static struct store_worker_stats stats_later(struct store_fixture *f, uint64_t later_ns)
{
	static const uint8_t key[] = { KV_SPACE_APP, 'r' };
	struct store_worker_stats stats;

	f->now_ns += later_ns;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(store_run(f,
		                           &(struct kv_cmd){ .op = KV_GET,
		                                             .key = bytes_of(key, sizeof(key)) },
		                           NULL),
		                 STATUS_OK);
	store_worker_stats(f->store, 0, &stats);
	return stats;
}

/* Of many at a time. */
struct crowd_frame {
	struct frame frame;
	unsigned *left;
};

static void crowd_left(struct req *req)
{
	assert_int_equal(req->status, STATUS_OK);
	--*req_pop(req, struct crowd_frame)->left;
}

static void crowd_put(struct store_fixture *f, struct req *req, unsigned *left, struct bytes key)
{
	struct kv_cmd cmd = { .op = KV_PUT, .key = key, .value = bytes_of("v", 1) };

	req_init(req, &f->worker);
	req_push(req, struct crowd_frame, crowd_left)->left = left;
	++*left;
	kv_submit(store_kv(f->store, 0), req, &cmd);
}

/*
 * A replay that the index is too large for makes room with checkpoints. What the log frees further
 * on is not freed by them.
 */
static void test_replay_with_little_memory(void **state)
{
	enum { BLOBS = 8, SIZE = 200000, LONG = 1000, CROWD = 240 };
	static uint8_t keys[CROWD][LONG];
	static struct req reqs[BLOBS + CROWD];
	struct store_fixture f;
	unsigned left = 0;
	char replaced[BLOBS][40];

	(void)state;
	store_fixture_init(&f, 64 << 20);
	f.options.checkpoint_log_max = 64 << 20;
	f.options.checkpoint_records = 1 << 20;
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	for (uint32_t i = 0; i < 2 * BLOBS; i++)
		put_blob(&f, i, i, SIZE);
	for (uint32_t i = 0; i < BLOBS; i++)
		crowd_put(&f, &reqs[i], &left, make_key(i, replaced[i]));
	for (uint32_t i = 0; i < CROWD; i++) {
		memset(keys[i], 'k', LONG);
		keys[i][0] = KV_SPACE_APP;
		memcpy(keys[i] + 1, &(uint32_t){ i * 2654435761u }, sizeof(i));
		crowd_put(&f, &reqs[BLOBS + i], &left, bytes_of(keys[i], LONG));
	}
	while (left > 0)
		worker_turn(&f.worker);
	(void)stats_later(&f, 1000000);
	store_fixture_close(&f, /* crash= */ true);
	f.options.index_memory_size = 300 << 10;
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(store_fixture_open(&f), STATUS_OK);
		for (uint32_t i = BLOBS; i < 2 * BLOBS; i++)
			check_blob(&f, i, i, SIZE);
		store_fixture_close(&f, /* crash= */ round == 0);
	}
	store_fixture_fini(&f);
}

/* Relaxed writes are on disk when a tick has passed, or a durable one comes; none is for nothing.
 */
static void test_relaxed(void **state)
{
	static const uint8_t relaxed[] = { KV_SPACE_APP, 'r' }, durable[] = { KV_SPACE_APP + 1 };
	struct bytes value = bytes_of("value", 5);
	struct store_worker_stats stats;
	struct store_fixture f;
	uint64_t flushes;

	(void)state;
	store_fixture_init(&f, 32 << 20);
	f.options.durability[KV_SPACE_APP] = KV_RELAXED;
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	f.mem.blk.geometry.volatile_cache = true;
	stats = stats_later(&f, 200000000); /* what opening wrote */
	assert_int_equal(stats.lsn, stats.lsn_durable);
	flushes = stats.flushes;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(store_put(&f, bytes_of(relaxed, sizeof(relaxed)), value),
		                 STATUS_OK);
	stats = stats_later(&f, 0);
	assert_int_equal(stats.records, stats.records_durable + 5);
	assert_true(stats.lsn > stats.lsn_durable);
	assert_int_equal(stats.flushes, flushes);
	stats = stats_later(&f, 100000000);
	assert_int_equal(stats.records, stats.records_durable);
	assert_int_equal(stats.lsn, stats.lsn_durable);
	assert_int_equal(stats.flushes, flushes + 1);
	stats = stats_later(&f, 1000000000);
	assert_int_equal(stats.flushes, flushes + 1);
	assert_int_equal(store_put(&f, bytes_of(relaxed, sizeof(relaxed)), value), STATUS_OK);
	stats = stats_later(&f, 0);
	assert_int_equal(stats.records, stats.records_durable + 1);
	assert_int_equal(store_put(&f, bytes_of(durable, sizeof(durable)), value), STATUS_OK);
	store_worker_stats(f.store, 0, &stats);
	assert_int_equal(stats.records, stats.records_durable);
	assert_int_equal(stats.flushes, flushes + 2); /* its own write says nothing of the other */
	assert_int_equal(store_put(&f, bytes_of(durable, sizeof(durable)), value), STATUS_OK);
	stats = stats_later(&f, 1000000000);
	assert_int_equal(stats.records, stats.records_durable);
	assert_int_equal(stats.flushes, flushes + 2); /* alone it needs none */
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

struct clear_frame {
	struct frame frame;
	bool *done;
};

static void cleared(struct req *req)
{
	*req_pop(req, struct clear_frame)->done = true;
}

/* While a CLEAR goes on its keys are absent, others are served, and what is written to it stays. */
static void test_clear_in_slices(void **state)
{
	enum { CLEARED = 600 };
	static const uint8_t space[] = { KV_SPACE_APP }, other[] = { KV_SPACE_APP + 1, 'k' };
	struct kv_cmd clear = { .op = KV_CLEAR, .key = bytes_of(space, sizeof(space)) };
	struct kv_cmd count = { .op = KV_COUNT, .key = bytes_of(space, sizeof(space)) };
	struct store_fixture f;
	uint8_t out[VALUE_MAX], value[VALUE_MAX];
	char key[40];
	uint64_t size, keys;
	struct req req;
	bool done = false;

	(void)state;
	store_fixture_init(&f, 16 << 20);
	f.options.clear_turn_max = 1;
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	for (uint32_t i = 0; i < CLEARED; i++)
		assert_int_equal(store_put(&f, make_key(i, key), make_value(i, value)), STATUS_OK);
	req_init(&req, &f.worker);
	req_push(&req, struct clear_frame, cleared)->done = &done;
	kv_submit(store_kv(f.store, 0), &req, &clear);
	assert_int_equal(store_put(&f, bytes_of(other, sizeof(other)), make_value(1, value)),
	                 STATUS_OK);
	assert_int_equal(store_get(&f, make_key(CLEARED - 1, key), out, sizeof(out), &size),
	                 STATUS_OK);
	assert_int_equal(size, UINT64_MAX);
	assert_int_equal(store_run(&f, &count, &keys), STATUS_OK);
	assert_int_equal(keys, 0);
	assert_false(done);
	assert_int_equal(store_put(&f, make_key(7, key), make_value(2, value)), STATUS_OK);
	while (!done)
		worker_turn(&f.worker);
	assert_int_equal(req.status, STATUS_OK);
	assert_int_equal(req.result, CLEARED);
	assert_int_equal(store_run(&f, &count, &keys), STATUS_OK);
	assert_int_equal(keys, 1);
	store_fixture_close(&f, /* crash= */ true);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	assert_int_equal(store_get(&f, make_key(7, key), out, sizeof(out), &size), STATUS_OK);
	assert_int_equal(size, 2);
	assert_int_equal(store_run(&f, &count, &keys), STATUS_OK);
	assert_int_equal(keys, 1);
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

/* What the store has removed is told once, from the first question on; not what was deleted. */
static void test_expired(void **state)
{
	uint8_t out[2 * (2 + KV_KEY_MAX)];
	struct kv_cmd ask = { .op = KV_EXPIRED, .out = out, .out_size = sizeof(out) };
	struct store_fixture f;
	uint64_t size, told = 0;
	char key[40];

	(void)state;
	store_fixture_init(&f, 16 << 20);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	for (uint32_t i = 0; i < 500; i++) {
		struct kv_cmd put = {
			.op = KV_PUT,
			.key = make_key(i, key),
			.value = BYTES("v"),
			.expires_ms = f.wall_ms + 1000 + i % 100,
		};
		struct kv_cmd delete = { .op = KV_DELETE, .key = put.key };

		assert_int_equal(store_run(&f, &put, NULL), STATUS_OK);
		if (i % 5 == 0)
			assert_int_equal(store_run(&f, &delete, NULL), STATUS_OK);
	}
	assert_int_equal(store_run(&f, &ask, &size), STATUS_OK);
	assert_int_equal(size, 0);
	f.wall_ms += 2000;
	for (unsigned turn = 0; turn < 600; turn++) {
		f.now_ns += 50000000;
		assert_int_equal(store_run(&f, &ask, &size), STATUS_OK);
		assert_true(size <= sizeof(out));
		for (uint32_t at = 0; at < size; at += 2 + (out[at] | (uint32_t)out[at + 1] << 8))
			told++;
	}
	assert_int_equal(told, 400);
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

enum { LARGE = 3000000 }; /* takes many segments, and so many turns */

struct enlarge {
	uint8_t *bytes;
	bool visited;
};

/* What is there, and then much more. */
static void enlarge(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct enlarge *enlarge = visitor;

	assert_int_equal(entry->size, 1);
	memset(enlarge->bytes, entry->value.data[0], LARGE);
	edit->action = KV_STORE;
	edit->value = bytes_of(enlarge->bytes, LARGE);
	enlarge->visited = true;
}

/* An update that has decided what to store does so before a clear that comes then. */
static void test_clear_after_large_update(void **state)
{
	static uint8_t bytes[LARGE];
	struct enlarge visitor = { .bytes = bytes };
	struct store_fixture f;
	struct req update, clear;
	unsigned left = 2;
	uint64_t size = 0;
	uint8_t out[8], space = KV_SPACE_APP;
	char key[40];

	(void)state;
	store_fixture_init(&f, 16 << 20);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	assert_int_equal(store_put(&f, make_key(1, key), bytes_of("v", 1)), STATUS_OK);
	req_init(&update, &f.worker);
	req_push(&update, struct crowd_frame, crowd_left)->left = &left;
	kv_submit(store_kv(f.store, 0), &update,
	          &(struct kv_cmd){ .op = KV_UPDATE,
	                            .flags = KV_LOAD,
	                            .key = make_key(1, key),
	                            .visit = enlarge,
	                            .visitor = &visitor });
	while (!visitor.visited)
		worker_turn(&f.worker);
	assert_int_equal(left, 2); /* else: stored at once, and this tests nothing */
	req_init(&clear, &f.worker);
	req_push(&clear, struct crowd_frame, crowd_left)->left = &left;
	kv_submit(store_kv(f.store, 0), &clear,
	          &(struct kv_cmd){ .op = KV_CLEAR, .key = bytes_of(&space, 1) });
	while (left > 0)
		worker_turn(&f.worker);
	assert_int_equal(store_get(&f, make_key(1, key), out, sizeof(out), &size), STATUS_OK);
	assert_true(size == UINT64_MAX);
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

static uint64_t metric_of(const struct metrics *metrics, const char *name, const char *labels)
{
	struct metrics_cursor cursor = { 0 };
	struct metric_series series;

	while (metrics_next(metrics, &cursor, &series)) {
		if (strcmp(series.metric->name, name) == 0 && strcmp(series.labels, labels) == 0)
			return series.number;
	}
	return 0;
}

/* What is shown is what the engine has counted, when a tick has passed. */
static void test_metrics(void **state)
{
	static struct metrics metrics;
	struct store_worker_stats stats;
	struct store_fixture f;
	char key[40];

	(void)state;
	store_fixture_init(&f, 32 << 20);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	assert_int_equal(store_metrics_add(f.store, 0, &metrics), STATUS_OK);
	metrics.complete = true;
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(store_put(&f, make_key(i, key), bytes_of("v", 1)), STATUS_OK);
	put_blob(&f, 1, 1, 300000);
	stats = stats_later(&f, 200 * 1000 * 1000);
	assert_int_equal(metrics_sum(&metrics, "weir_store_commits_total", ""), stats.frames);
	assert_int_equal(metrics_sum(&metrics, "weir_store_records_total", ""), stats.records);
	assert_true(stats.records > 100 && stats.frames > 100);
	assert_int_equal(metrics_sum(&metrics, "weir_store_live_bytes", ""), stats.live_bytes);
	assert_int_equal(metrics_sum(&metrics, "weir_store_segment_bytes", ""), 64 * BLOCK_SIZE);
	assert_int_equal(metric_of(&metrics, "weir_store_commands_total", "op=\"put\""),
	                 stats.commands[KV_PUT]);
	assert_int_equal(metric_of(&metrics, "weir_store_written_bytes_total", "cause=\"values\""),
	                 stats.blob_bytes);
	assert_int_equal(metric_of(&metrics, "weir_store_written_bytes_total", "cause=\"log\""),
	                 stats.bytes);
	assert_int_equal(metric_of(&metrics, "weir_store_segments", "kind=\"free\""),
	                 stats.segments_left);
	assert_true(metric_of(&metrics, "weir_store_segments", "kind=\"values\"") >= 1);
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restarts),
		cmocka_unit_test(test_blobs),
		cmocka_unit_test(test_replay_with_little_memory),
		cmocka_unit_test(test_relaxed),
		cmocka_unit_test(test_clear_in_slices),
		cmocka_unit_test(test_clear_after_large_update),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_metrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
