/* SPDX-License-Identifier: Apache-2.0 */
/* A store that is full, and one whose values are replaced for ever: space comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/macros.h"
#include "store_fixture.h"

enum { DISK_SIZE = 16 << 20, KEYS_MAX = 8000, VALUE_SIZE = 3000, BLOB_SIZE = 200 << 10 };

static uint8_t value[BLOB_SIZE];

static struct bytes key_of(unsigned i, uint8_t *room)
{
	room[0] = KV_SPACE_APP;
	memcpy(room + 1, &i, sizeof(i));
	return bytes_of(room, 1 + sizeof(i));
}

static enum status put(struct store_fixture *f, unsigned i)
{
	uint8_t room[8];

	return store_put(f, key_of(i, room), bytes_of(value, VALUE_SIZE));
}

/* Until it is refused; how many there are. */
static unsigned fill(struct store_fixture *f)
{
	enum status status = STATUS_OK;
	unsigned count = 0;

	while (count < KEYS_MAX && (status = put(f, count)) == STATUS_OK)
		count++;
	assert_int_equal(status, STATUS_NO_SPACE);
	return count;
}

static void assert_there(struct store_fixture *f, unsigned from, unsigned to, bool there)
{
	for (unsigned i = from; i < to; i++) {
		uint8_t room[8], out[VALUE_SIZE];
		uint64_t size;

		assert_int_equal(store_get(f, key_of(i, room), out, sizeof(out), &size), STATUS_OK);
		assert_int_equal(size, there ? VALUE_SIZE : UINT64_MAX);
	}
}

static void delete_keys(struct store_fixture *f, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		uint8_t room[8];
		bool was_there;

		assert_int_equal(store_delete(f, key_of(i, room), &was_there), STATUS_OK);
		assert_true(was_there);
	}
}

/* Time passes until a write is taken again. */
static void wait_for_space(struct store_fixture *f, unsigned i)
{
	enum status status = STATUS_NO_SPACE;

	for (unsigned waits = 0; waits < 100 && status == STATUS_NO_SPACE; waits++) {
		f->now_ns += 100 * 1000 * 1000;
		status = put(f, i);
	}
	assert_int_equal(status, STATUS_OK);
}

static void test_full(void **state)
{
	struct store_fixture f;
	unsigned count, more = 0;

	(void)state;
	store_fixture_init(&f, DISK_SIZE);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	count = fill(&f);
	assert_true(count > DISK_SIZE / 3 / VALUE_SIZE); /* it holds a third at least */
	assert_there(&f, 0, count, true);
	assert_int_equal(put(&f, 0), STATUS_NO_SPACE);
	delete_keys(&f, 0, count / 2);
	assert_there(&f, 0, count / 2, false);
	assert_there(&f, count / 2, count, true);
	wait_for_space(&f, 0);
	while (more < count / 4 && put(&f, 1 + more) == STATUS_OK)
		more++;
	assert_int_equal(more, count / 4);
	store_fixture_close(&f, /* crash= */ true);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	assert_there(&f, 0, 1 + more, true);
	assert_there(&f, count / 2, count, true);
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

/* A full store can be stopped, killed and opened as often as one likes. */
static void test_full_opens(void **state)
{
	struct store_fixture f;
	unsigned count;

	(void)state;
	store_fixture_init(&f, DISK_SIZE);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	count = fill(&f);
	for (unsigned i = 0; i < 40; i++) {
		store_fixture_close(&f, /* crash= */ i % 4 != 0);
		assert_int_equal(store_fixture_open(&f), STATUS_OK);
	}
	assert_there(&f, 0, count, true);
	delete_keys(&f, 0, count);
	wait_for_space(&f, 0);
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

static enum status put_blob(struct store_fixture *f, unsigned i)
{
	uint8_t room[8];
	uint64_t handle, ignored;
	struct kv_cmd write = { .op = KV_BLOB_WRITE, .value = bytes_of(value, BLOB_SIZE) };
	struct kv_cmd publish = { .op = KV_PUT, .flags = KV_FROM_BLOB, .key = key_of(i, room) };
	enum status status = store_run(f, &write, &handle);

	if (status == STATUS_OK) {
		publish.handle = handle;
		status = store_run(f, &publish, &ignored);
	}
	if (status != STATUS_OK && handle != 0)
		store_run(f, &(struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = handle }, &ignored);
	return status;
}

/* Ten times what the device holds goes through the same keys. */
static void test_blobs_replaced(void **state)
{
	struct store_fixture f;

	(void)state;
	store_fixture_init(&f, DISK_SIZE);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	for (unsigned i = 0; i < 10 * DISK_SIZE / BLOB_SIZE; i++) {
		enum status status = put_blob(&f, i % 4);

		for (unsigned waits = 0; waits < 100 && status == STATUS_NO_SPACE; waits++) {
			f.now_ns += 100 * 1000 * 1000;
			status = put_blob(&f, i % 4);
		}
		assert_int_equal(status, STATUS_OK);
	}
	store_fixture_close(&f, /* crash= */ true);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

enum { SMALL_BLOB = 40 << 10, READ_MAX = 64 << 10 };

static uint8_t small_byte(unsigned i, size_t at)
{
	return (uint8_t)(i * 131 + at * 7 + (at >> 10));
}

static enum status put_small(struct store_fixture *f, unsigned i)
{
	static uint8_t bytes[SMALL_BLOB];
	uint8_t room[8];
	uint64_t handle = 0, ignored;
	struct kv_cmd write = { .op = KV_BLOB_WRITE, .value = bytes_of(bytes, SMALL_BLOB) };
	struct kv_cmd publish = { .op = KV_PUT, .flags = KV_FROM_BLOB, .key = key_of(i, room) };
	enum status status;

	for (size_t at = 0; at < SMALL_BLOB; at++)
		bytes[at] = small_byte(i, at);
	status = store_run(f, &write, &handle);
	if (status == STATUS_OK) {
		publish.handle = handle;
		status = store_run(f, &publish, &ignored);
	}
	if (status != STATUS_OK && handle != 0)
		store_run(f, &(struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = handle }, &ignored);
	return status;
}

static uint64_t open_small(struct store_fixture *f, unsigned i)
{
	uint8_t room[8];
	uint64_t handle = 0;
	struct kv_cmd cmd = { .op = KV_BLOB_OPEN, .key = key_of(i, room) };

	assert_int_equal(store_run(f, &cmd, &handle), STATUS_OK);
	assert_true(handle != 0);
	return handle;
}

static void read_small(struct store_fixture *f, unsigned i, uint64_t handle)
{
	static uint8_t out[READ_MAX];
	uint64_t size = 0;
	struct kv_cmd read = {
		.op = KV_BLOB_READ, .handle = handle, .out = out, .out_size = sizeof(out)
	};

	assert_int_equal(store_run(f, &read, &size), STATUS_OK);
	assert_int_equal(size, SMALL_BLOB);
	for (size_t at = 0; at < size; at++)
		assert_int_equal(out[at], small_byte(i, at));
}

static void check_small(struct store_fixture *f, unsigned i)
{
	uint64_t handle = open_small(f, i);

	read_small(f, i, handle);
	assert_int_equal(
	        store_run(f, &(struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = handle }, NULL),
	        STATUS_OK);
}

/*
 * No segment is empty, and each holds little: what is there is moved together. Who reads one of
 * them goes on reading what it has opened.
 */
static void test_blobs_in_holes(void **state)
{
	enum { KEPT = 6 }; /* one of so many, which is what a segment holds */
	struct store_worker_stats stats;
	struct store_fixture f;
	unsigned count = 0, more;
	uint64_t reader;

	(void)state;
	store_fixture_init(&f, DISK_SIZE);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	while (put_small(&f, count) == STATUS_OK)
		count++;
	assert_true(count > DISK_SIZE / 2 / SMALL_BLOB);
	for (unsigned i = 0; i < count; i++) {
		if (i % KEPT != 0)
			delete_keys(&f, i, i + 1);
	}
	reader = open_small(&f, KEPT);
	for (more = 0; more < count / 2; more++) {
		enum status status = STATUS_NO_SPACE;

		for (unsigned waits = 0; waits < 100 && status == STATUS_NO_SPACE; waits++) {
			f.now_ns += 100 * 1000 * 1000;
			status = put_small(&f, count + more);
		}
		assert_int_equal(status, STATUS_OK);
	}
	store_worker_stats(f.store, 0, &stats);
	assert_true(stats.blob_moved_bytes >= (count / KEPT / 2) * SMALL_BLOB);
	read_small(&f, KEPT, reader);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < count; i += KEPT)
			check_small(&f, i);
		for (unsigned i = 0; i < more; i++)
			check_small(&f, count + i);
		store_fixture_close(&f, /* crash= */ round == 0);
		assert_int_equal(store_fixture_open(&f), STATUS_OK);
	}
	store_fixture_close(&f, /* crash= */ false);
	store_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_full_opens),
		cmocka_unit_test(test_blobs_replaced),
		cmocka_unit_test(test_blobs_in_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
