/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "core/worker.h"
#include "kv_mem.h"

struct call {
	struct req req;
	bool done;
};

struct done_frame {
	struct frame frame;
	struct call *call;
};

static uint64_t now_ns_value, wall_ms_value;

static uint64_t now_ns(struct clock *clock)
{
	(void)clock;
	return now_ns_value;
}

static uint64_t wall_ms(struct clock *clock)
{
	(void)clock;
	return wall_ms_value;
}

static struct clock test_clock = { now_ns, wall_ms };
static struct worker worker;
static struct kv_mem *mem;
static struct kv *kv;

static void open_mem(const struct kv_mem_options *options)
{
	now_ns_value = 1;
	wall_ms_value = 1000;
	worker_init(&worker, 0, ROLE_STORAGE, &test_clock);
	mem = kv_mem_open(options);
	kv = kv_mem_attach(mem, &worker);
}

static void close_mem(void)
{
	kv->ops->close(kv);
	kv_mem_close(mem);
}

static void call_done(struct req *req)
{
	struct done_frame *frame = req_pop(req, struct done_frame);

	frame->call->done = true;
}

static void start(struct call *call, const struct kv_cmd *cmd)
{
	call->done = false;
	req_init(&call->req, &worker);
	req_push(&call->req, struct done_frame, call_done)->call = call;
	kv_submit(kv, &call->req, cmd);
	assert_false(call->done); /* a completion never runs inside a submit */
}

static void finish(struct call *call)
{
	for (unsigned turns = 0; !call->done; turns++) {
		assert_true(turns < 1000);
		now_ns_value += 1ull << TIMER_TICK_SHIFT;
		worker_turn(&worker);
	}
}

static uint64_t do_cmd(const struct kv_cmd *cmd, enum status expected)
{
	struct call call;

	start(&call, cmd);
	finish(&call);
	assert_int_equal(call.req.status, expected);
	return call.req.result;
}

static uint64_t do_put(struct bytes key, struct bytes value)
{
	return do_cmd(&(struct kv_cmd){ .op = KV_PUT, .key = key, .value = value }, STATUS_OK);
}

struct seen {
	unsigned count;
	uint8_t text[256]; /* key=value; of all entries */
	size_t size;
	struct kv_entry entry;
	bool append; /* UPDATE: adds "!" */
};

static void see(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct seen *seen = visitor;

	seen->count++;
	seen->entry = *entry;
	if (entry->key.size + entry->value.size + 2 + seen->size <= sizeof(seen->text)) {
		memcpy(seen->text + seen->size, entry->key.data, entry->key.size);
		seen->size += entry->key.size;
		seen->text[seen->size++] = '=';
		if (entry->value.size > 0)
			memcpy(seen->text + seen->size, entry->value.data, entry->value.size);
		seen->size += entry->value.size;
		seen->text[seen->size++] = ';';
	}
	if (edit != NULL && seen->append) {
		assert_true(edit->scratch_max >= KV_INLINE_MAX);
		if (entry->value.size > 0)
			memcpy(edit->scratch, entry->value.data, entry->value.size);
		edit->scratch[entry->value.size] = '!';
		edit->action = KV_STORE;
		edit->value = bytes_of(edit->scratch, entry->value.size + 1);
	}
}

static void assert_seen(const struct seen *seen, const char *text)
{
	assert_int_equal(seen->size, strlen(text));
	assert_memory_equal(seen->text, text, seen->size);
}

static void test_single_keys(void **state)
{
	struct seen seen = { 0 };
	uint64_t first, second;

	(void)state;
	open_mem(NULL);
	first = do_put(BYTES("@a"), BYTES("1"));
	second = do_put(BYTES("@a"), BYTES("2"));
	assert_true(second > first);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_PUT,
	                                          .flags = KV_IF_VERSION,
	                                          .key = BYTES("@a"),
	                                          .version = first },
	                        STATUS_CONFLICT),
	                 second);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_GET,
	                                          .key = BYTES("@a"),
	                                          .visit = see,
	                                          .visitor = &seen },
	                        STATUS_OK),
	                 second);
	assert_seen(&seen, "@a=2;");
	seen = (struct seen){ .append = true };
	do_cmd(
	        &(struct kv_cmd){
	                .op = KV_UPDATE, .key = BYTES("@a"), .visit = see, .visitor = &seen },
	        STATUS_OK);
	do_cmd(&(struct kv_cmd){ .op = KV_DELETE, .flags = KV_IF_VERSION, .key = BYTES("@a") },
	       STATUS_CONFLICT);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_DELETE, .key = BYTES("@a") }, STATUS_OK),
	                 1);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_DELETE, .key = BYTES("@a") }, STATUS_OK),
	                 0);
	seen = (struct seen){ 0 };
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_GET,
	                                          .key = BYTES("@a"),
	                                          .visit = see,
	                                          .visitor = &seen },
	                        STATUS_OK),
	                 0);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.entry.version, 0);
	close_mem();
}

static void test_scan_count_clear(void **state)
{
	struct seen seen = { 0 };
	struct kv_cmd scan = {
		.op = KV_SCAN, .key = BYTES("@a"), .limit = 10, .visit = see, .visitor = &seen
	};

	(void)state;
	open_mem(NULL);
	do_put(BYTES("@c"), BYTES("3"));
	do_put(BYTES("@a"), BYTES("1"));
	do_put(BYTES("@b"), BYTES("2"));
	do_put(BYTES("Aa"), BYTES("of another space"));
	assert_int_equal(do_cmd(&scan, STATUS_OK), 3);
	assert_seen(&seen, "@a=1;@b=2;@c=3;");
	seen = (struct seen){ 0 };
	scan.flags = KV_REVERSE | KV_KEYS_ONLY;
	scan.end = BYTES("@c");
	assert_int_equal(do_cmd(&scan, STATUS_OK), 2);
	assert_seen(&seen, "@b=;@a=;");
	seen = (struct seen){ 0 };
	scan.limit = 1;
	assert_int_equal(do_cmd(&scan, STATUS_OK), 1);
	assert_seen(&seen, "@b=;");
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_COUNT, .key = BYTES("@") }, STATUS_OK),
	                 3);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_CLEAR, .key = BYTES("@b") }, STATUS_OK),
	                 1);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_CLEAR, .key = BYTES("@") }, STATUS_OK),
	                 2);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_COUNT, .key = BYTES("A") }, STATUS_OK),
	                 1);
	close_mem();
}

static void test_scan_of_partitions_is_the_whole(void **state)
{
	unsigned total = 0;

	(void)state;
	open_mem(&(struct kv_mem_options){ .partitions = 7 });
	for (uint8_t i = 0; i < 100; i++) {
		uint8_t key[2] = { 64, i };

		do_put(bytes_of(key, 2), BYTES("x"));
	}
	for (uint16_t i = 0; i < 7; i++) {
		struct seen seen = { 0 };
		struct kv_cmd scan = { .op = KV_SCAN,
			               .flags = KV_SCAN_PARTITION,
			               .partition = i,
			               .key = BYTES("@"),
			               .limit = 1000,
			               .visit = see,
			               .visitor = &seen };

		do_cmd(&scan, STATUS_OK);
		assert_true(seen.count > 0);
		total += seen.count;
	}
	assert_int_equal(total, 100);
	close_mem();
}

static void test_expiry(void **state)
{
	(void)state;
	open_mem(NULL);
	do_cmd(
	        &(struct kv_cmd){
	                .op = KV_PUT, .key = BYTES("@a"), .value = BYTES("1"), .expires_ms = 2000 },
	        STATUS_OK);
	do_cmd(&(struct kv_cmd){ .op = KV_PUT,
	                         .key = BYTES("@a"),
	                         .value = BYTES("2"),
	                         .flags = KV_KEEP_EXPIRY },
	       STATUS_OK);
	wall_ms_value = 1999;
	worker_turn(&worker);
	assert_true(do_cmd(&(struct kv_cmd){ .op = KV_GET, .key = BYTES("@a") }, STATUS_OK) > 0);
	wall_ms_value = 2000;
	worker_turn(&worker);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_COUNT, .key = BYTES("@") }, STATUS_OK),
	                 0);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_GET, .key = BYTES("@a") }, STATUS_OK),
	                 0);
	close_mem();
}

static void test_commit_is_all_or_nothing(void **state)
{
	struct kv_write writes[3] = {
		{ .op = KV_PUT, .key = BYTES("@a"), .value = BYTES("1") },
		{ .op = KV_DELETE, .key = BYTES("@b") },
		{ .op = KV_GET, .key = BYTES("@c"), .flags = KV_IF_VERSION, .version = 99 },
	};
	struct kv_commit commit = { writes, 3 };
	uint64_t version;

	(void)state;
	open_mem(NULL);
	do_put(BYTES("@b"), BYTES("1"));
	version = do_put(BYTES("@c"), BYTES("1"));
	assert_int_equal(
	        do_cmd(&(struct kv_cmd){ .op = KV_COMMIT, .commit = &commit }, STATUS_CONFLICT),
	        version);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_GET, .key = BYTES("@a") }, STATUS_OK),
	                 0);
	writes[2].version = version;
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_COMMIT, .commit = &commit }, STATUS_OK),
	                 2);
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_GET, .key = BYTES("@b") }, STATUS_OK),
	                 0);
	do_cmd(&(struct kv_cmd){ .op = KV_PREPARE, .commit = &commit, .version = 7 }, STATUS_OK);
	do_cmd(&(struct kv_cmd){ .op = KV_PUT, .key = BYTES("@b") }, STATUS_BUSY);
	do_cmd(&(struct kv_cmd){ .op = KV_COMMIT, .commit = &commit }, STATUS_CONFLICT);
	do_cmd(&(struct kv_cmd){ .op = KV_RESOLVE, .version = 7, .limit = 1 }, STATUS_OK);
	do_cmd(&(struct kv_cmd){ .op = KV_PUT, .key = BYTES("@b") }, STATUS_OK);
	close_mem();
}

static void test_blobs(void **state)
{
	static uint8_t piece[8192], out[10000];
	struct seen seen = { 0 };
	uint64_t handle, pinned;
	struct kv_cmd get = { .op = KV_GET, .key = BYTES("@a"), .visit = see, .visitor = &seen };

	(void)state;
	open_mem(NULL);
	for (size_t i = 0; i < sizeof(piece); i++)
		piece[i] = (uint8_t)(i * 7);
	handle = do_cmd(&(struct kv_cmd){ .op = KV_BLOB_WRITE, .value = bytes_of(piece, 8192) },
	                STATUS_OK);
	do_cmd(&(struct kv_cmd){ .op = KV_BLOB_WRITE,
	                         .handle = handle,
	                         .value = bytes_of(piece, 100) },
	       STATUS_OK);
	do_cmd(
	        &(struct kv_cmd){
	                .op = KV_PUT, .flags = KV_FROM_BLOB, .key = BYTES("@a"), .handle = handle },
	        STATUS_OK);
	do_cmd(&get, STATUS_OK);
	assert_true(seen.entry.blob);
	assert_int_equal(seen.entry.size, 8292);
	get.flags = KV_LOAD;
	do_cmd(&get, STATUS_OK);
	assert_false(seen.entry.blob);
	assert_int_equal(seen.entry.value.size, 8292);
	pinned = do_cmd(&(struct kv_cmd){ .op = KV_BLOB_OPEN, .key = BYTES("@a") }, STATUS_OK);
	do_put(BYTES("@a"), BYTES("new")); /* the pinned version stays readable */
	assert_int_equal(do_cmd(&(struct kv_cmd){ .op = KV_BLOB_READ,
	                                          .handle = pinned,
	                                          .offset = 4096,
	                                          .out = out,
	                                          .out_size = sizeof(out) },
	                        STATUS_OK),
	                 4196);
	assert_memory_equal(out, piece + 4096, 4096);
	assert_memory_equal(out + 4096, piece, 100);
	do_cmd(&(struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = pinned }, STATUS_OK);
	close_mem();
}

static void test_delays_keep_the_order_of_effects(void **state)
{
	enum { CALLS = 200 };
	static struct call calls[CALLS];
	struct kv_mem_stats stats;
	unsigned out_of_order = 0, done = 0;
	bool was_done[CALLS] = { false };
	uint64_t version = 0;

	(void)state;
	open_mem(&(struct kv_mem_options){ .seed = 3, .delay_ns_max = 50000000 });
	for (unsigned i = 0; i < CALLS; i++)
		start(&calls[i], &(struct kv_cmd){ .op = KV_PUT, .key = BYTES("@a") });
	while (done < CALLS) {
		now_ns_value += 1ull << TIMER_TICK_SHIFT;
		worker_turn(&worker);
		for (unsigned i = 0; i < CALLS; i++) {
			if (!calls[i].done || was_done[i])
				continue;
			was_done[i] = true;
			done++;
			out_of_order += i > 0 && !was_done[i - 1];
		}
	}
	for (unsigned i = 0; i < CALLS; i++) {
		assert_true(calls[i].req.result > version);
		version = calls[i].req.result;
	}
	assert_true(out_of_order > 0);
	kv_mem_stats(mem, &stats);
	assert_int_equal(stats.keys, 1);
	assert_int_equal(stats.in_flight, 0);
	close_mem();
}

static void test_faults(void **state)
{
	(void)state;
	open_mem(NULL);
	kv_mem_fail(mem,
	            &(struct kv_mem_fault){ .skip = 1, .count = 1, .status = STATUS_NO_SPACE });
	do_put(BYTES("@a"), BYTES("1"));
	do_cmd(&(struct kv_cmd){ .op = KV_GET, .key = BYTES("@a") }, STATUS_OK);
	do_cmd(&(struct kv_cmd){ .op = KV_PUT, .key = BYTES("@b") }, STATUS_NO_SPACE);
	do_put(BYTES("@b"), BYTES("1"));
	close_mem();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_keys),
		cmocka_unit_test(test_scan_count_clear),
		cmocka_unit_test(test_scan_of_partitions_is_the_whole),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_commit_is_all_or_nothing),
		cmocka_unit_test(test_blobs),
		cmocka_unit_test(test_delays_keep_the_order_of_effects),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
