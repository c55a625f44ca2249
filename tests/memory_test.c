/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/memory.h"

static const uint64_t mib = 1 << 20;

static void check(uint64_t total, struct memory_shape shape)
{
	struct memory_parts p;
	uint64_t minimum;

	if (memory_split(total, shape, &p, &minimum) != STATUS_OK) {
		assert_true(total < minimum);
		return;
	}
	assert_true(total >= minimum);
	assert_true(memory_sum(&p, shape) <= total);
	/* And nothing to speak of is left over. */
	assert_true(total - memory_sum(&p, shape) < shape.engines);
	assert_true(p.buffers >= 4 * mib && p.buffers % mib == 0);
	assert_true(p.receives >= mib / 2 && p.receives <= 32 * mib);
	assert_true(p.connections >= mib / 2 && p.connections <= 128 * mib);
	assert_true(p.log >= 12 * mib && p.log % mib == 0);
	assert_true(p.index >= 2 * mib);
	assert_true(p.cache >= mib);
}

static void test_never_more_than_the_number(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= 64; workers++) {
		for (unsigned engines = 1; engines <= workers; engines += 1 + engines / 4) {
			const struct memory_shape shape = { .workers = workers,
				                            .engines = engines };
			struct memory_parts p;
			uint64_t minimum;

			for (uint64_t t = 0; t < 300ull << 30; t += t / 3 + 777777)
				check(t, shape);
			assert_int_equal(memory_split(0, shape, &p, &minimum), STATUS_TOO_LARGE);
			for (uint64_t t = minimum - 1; t < minimum + 64; t++)
				check(t, shape);
		}
	}
}

static void test_too_small_says_what_is_needed(void **state)
{
	const struct memory_shape shape = { .workers = 2, .engines = 1 };
	struct memory_parts p;
	uint64_t minimum;

	(void)state;
	assert_int_equal(memory_split(mib, shape, &p, &minimum), STATUS_TOO_LARGE);
	assert_int_equal(minimum, 37 * mib);
	assert_int_equal(memory_split(minimum - 1, shape, &p, &minimum), STATUS_TOO_LARGE);
	assert_int_equal(memory_split(minimum, shape, &p, &minimum), STATUS_OK);
	/* What faces take of each worker comes on top. */
	assert_int_equal(
	        memory_split(mib,
	                     (struct memory_shape){ .workers = 2, .engines = 1, .faces = 5 * mib },
	                     &p, &minimum),
	        STATUS_TOO_LARGE);
	assert_int_equal(minimum, 47 * mib);
}

static void test_the_default_on_two_workers(void **state)
{
	const struct memory_shape shape = { .workers = 2, .engines = 1 };
	struct memory_parts p;
	uint64_t minimum;

	(void)state;
	assert_int_equal(memory_split(256 * mib, shape, &p, &minimum), STATUS_OK);
	assert_int_equal(p.buffers / mib, 10);
	assert_int_equal(p.receives / mib, 7);
	assert_int_equal(p.log / mib, 25);
	assert_int_equal(p.index / mib, 85);
	assert_int_equal(p.cache / mib, 42);
}

static void test_tls_takes_a_part_when_it_is_wanted(void **state)
{
	const struct memory_shape plain = { .workers = 2, .engines = 1 };
	const struct memory_shape shape = { .workers = 2, .engines = 1, .tls = true };
	struct memory_parts p;
	uint64_t minimum;

	(void)state;
	assert_int_equal(memory_split(256 * mib, plain, &p, &minimum), STATUS_OK);
	assert_int_equal(p.tls, 0);
	assert_int_equal(memory_split(256 * mib, shape, &p, &minimum), STATUS_OK);
	assert_int_equal(minimum, 41 * mib);
	assert_int_equal(p.tls / mib, 23);
	for (uint64_t t = minimum; t < 300ull << 30; t += t / 3 + 777777)
		check(t, shape);
}

static void test_the_default_is_enough_for_any_shape(void **state)
{
	struct memory_parts p;
	uint64_t minimum;

	(void)state;
	for (unsigned workers = 1; workers <= 64; workers++) {
		const struct memory_shape shape = { .workers = workers,
			                            .engines = workers,
			                            .faces = 5 * mib };

		assert_int_equal(memory_split(memory_default(workers), shape, &p, &minimum),
		                 STATUS_OK);
	}
	assert_int_equal(memory_default(2), 256 * mib);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_more_than_the_number),
		cmocka_unit_test(test_too_small_says_what_is_needed),
		cmocka_unit_test(test_the_default_on_two_workers),
		cmocka_unit_test(test_tls_takes_a_part_when_it_is_wanted),
		cmocka_unit_test(test_the_default_is_enough_for_any_shape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
