/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/buf.h"

enum { MIB = 1 << 20 };

static struct bufs bufs;

static void open_mib(size_t count)
{
	assert_int_equal(bufs_open(&bufs, count * MIB, 0), STATUS_OK);
	assert_int_equal(bufs.slab_count, count);
}

static void test_class_and_alignment(void **state)
{
	static const struct {
		size_t asked, given;
	} cases[] = {
		{ 1, 4096 },      { 4096, 4096 },    { 4097, 16384 }, { 16384, 16384 },
		{ 16385, 65536 }, { 65537, 262144 }, { 262145, MIB }, { MIB, MIB },
	};

	(void)state;
	open_mib(5);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf *buf = buf_get(&bufs, cases[i].asked);

		assert_non_null(buf);
		assert_int_equal(buf->size, cases[i].given);
		assert_int_equal((uintptr_t)buf->data % BUF_ALIGN, 0);
		assert_int_equal(buf->used, 0);
		assert_true(buf->data >= bufs.arena);
		assert_true(buf->data + buf->size <= bufs.arena + bufs.slab_count * (size_t)MIB);
		memset(buf->data, 0x5a, buf->size);
		buf_unref(buf);
	}
	bufs_close(&bufs);
}

/* No two live buffers overlap: each holds a pattern of its own to the end. */
static void test_buffers_do_not_overlap(void **state)
{
	enum { COUNT = 300 };
	static const size_t sizes[] = { 4096, 16384, 65536, 4096, 262144 };
	struct buf *held[COUNT];
	unsigned count = 0;

	(void)state;
	open_mib(8);
	for (; count < COUNT; count++) {
		held[count] = buf_get(&bufs, sizes[count % 5]);
		if (held[count] == NULL)
			break;
		memset(held[count]->data, (int)(count % 251), held[count]->size);
	}
	assert_true(count > 50);
	for (unsigned i = 0; i < count; i++) {
		for (uint32_t at = 0; at < held[i]->size; at += 509)
			assert_int_equal(held[i]->data[at], i % 251);
		assert_int_equal(held[i]->data[held[i]->size - 1], i % 251);
		buf_unref(held[i]);
	}
	assert_int_equal(bufs.used_size, 0);
	bufs_close(&bufs);
}

static void test_bounded_with_high_water_mark(void **state)
{
	struct buf *held[513];
	unsigned count = 0;

	(void)state;
	open_mib(2);
	while ((held[count] = buf_get(&bufs, 4096)) != NULL)
		count++;
	assert_int_equal(count, 512);
	assert_int_equal(bufs.refused, 1);
	assert_int_equal(bufs.used_size, 2 * MIB);
	for (unsigned i = 0; i < count; i++)
		buf_unref(held[i]);
	assert_int_equal(bufs.used_size, 0);
	assert_int_equal(bufs.used_size_max, 2 * MIB);
	/* All but one spare slab went back; that one is of class 0. */
	assert_int_equal(bufs.slab_free_count, 1);
	assert_int_equal(bufs.free_count[0], 256);
	bufs_close(&bufs);
}

static void test_a_spare_slab_is_taken_by_another_class(void **state)
{
	struct buf *small, *large, *other;

	(void)state;
	open_mib(1);
	small = buf_get(&bufs, 4096);
	assert_non_null(small);
	assert_null(buf_get(&bufs, MIB));
	buf_unref(small);
	large = buf_get(&bufs, MIB);
	assert_non_null(large);
	assert_int_equal(bufs.free_count[0], 0);
	assert_null(buf_get(&bufs, 4096));
	buf_unref(large);
	other = buf_get(&bufs, 65536);
	assert_non_null(other);
	assert_int_equal(bufs.free_count[2], 15);
	buf_unref(other);
	bufs_close(&bufs);
}

static void test_refs(void **state)
{
	struct buf *buf;

	(void)state;
	open_mib(1);
	buf = buf_get(&bufs, 100);
	buf_ref(buf);
	buf_unref(buf);
	assert_int_equal(bufs.used_size, 4096);
	buf_unref(buf);
	assert_int_equal(bufs.used_size, 0);
	bufs_close(&bufs);
}

/* The counts stay true over a long random run. */
static void test_counts_agree_over_a_long_run(void **state)
{
	enum { HELD = 64 };
	struct buf *held[HELD] = { 0 };
	uint64_t seed = 7, used = 0;

	(void)state;
	open_mib(6);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned at;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		at = (seed >> 33) % HELD;
		if (held[at] != NULL) {
			used -= held[at]->size;
			buf_unref(held[at]);
			held[at] = NULL;
		} else {
			held[at] = buf_get(&bufs, 1ull << ((seed >> 40) % 21));
			used += held[at] == NULL ? 0 : held[at]->size;
		}
		assert_int_equal(bufs.used_size, used);
	}
	for (unsigned i = 0; i < HELD; i++) {
		if (held[i] != NULL)
			buf_unref(held[i]);
	}
	assert_int_equal(bufs.used_size, 0);
	bufs_close(&bufs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_class_and_alignment),
		cmocka_unit_test(test_buffers_do_not_overlap),
		cmocka_unit_test(test_bounded_with_high_water_mark),
		cmocka_unit_test(test_a_spare_slab_is_taken_by_another_class),
		cmocka_unit_test(test_refs),
		cmocka_unit_test(test_counts_agree_over_a_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
