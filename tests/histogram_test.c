/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/histogram.h"

static struct histogram a, b, both;

static void clear(void)
{
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&both, 0, sizeof(both));
}

static void test_small_values_are_exact(void **state)
{
	(void)state;
	clear();
	for (uint64_t v = 1; v <= 10; v++)
		histogram_add(&a, v);
	assert_int_equal(histogram_percentile(&a, 0), 1);
	assert_int_equal(histogram_percentile(&a, 500000), 5);
	assert_int_equal(histogram_percentile(&a, 900000), 9);
	assert_int_equal(histogram_percentile(&a, 900001), 10);
	assert_int_equal(histogram_percentile(&a, 1000000), 10);
	assert_int_equal(a.sum, 55);
}

static void test_empty(void **state)
{
	(void)state;
	clear();
	assert_int_equal(histogram_percentile(&a, 990000), 0);
	assert_int_equal(histogram_count_to(&a, UINT64_MAX), 0);
}

/* One value alone comes back exactly (max caps it); beside a larger one, within 1/16 above. */
static void test_error_bound_over_the_whole_range(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++) {
		for (unsigned part = 0; part < 7; part++) {
			uint64_t value = (1ull << bit) + (1ull << bit) / 7 * part;
			uint64_t got;

			clear();
			histogram_add(&a, value);
			assert_int_equal(histogram_percentile(&a, 500000), value);
			histogram_add(&a, 1ull << 41);
			got = histogram_percentile(&a, 500000);
			assert_true(got >= value);
			assert_true(got - value <= value / 16);
		}
	}
}

static void test_past_the_last_bucket(void **state)
{
	(void)state;
	clear();
	histogram_add(&a, UINT64_MAX / 2);
	histogram_add(&a, 3);
	assert_int_equal(histogram_percentile(&a, 1000000), UINT64_MAX / 2);
	assert_int_equal(histogram_percentile(&a, 500000), 3);
	assert_int_equal(histogram_count_to(&a, 1023), 1);
}

static void test_merge_is_the_same_as_adding_all(void **state)
{
	(void)state;
	clear();
	for (uint64_t i = 0; i < 5000; i++) {
		uint64_t value = i * i * 31;

		histogram_add(i % 3 == 0 ? &a : &b, value);
		histogram_add(&both, value);
	}
	histogram_merge(&a, &b);
	assert_memory_equal(&a, &both, sizeof(a));
}

static void test_counts_to_powers_of_two_are_exact(void **state)
{
	(void)state;
	clear();
	for (uint64_t v = 0; v < 4096; v++)
		histogram_add(&a, v);
	for (unsigned bit = 4; bit <= 12; bit++)
		assert_int_equal(histogram_count_to(&a, (1ull << bit) - 1), 1ull << bit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_values_are_exact),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_error_bound_over_the_whole_range),
		cmocka_unit_test(test_past_the_last_bucket),
		cmocka_unit_test(test_merge_is_the_same_as_adding_all),
		cmocka_unit_test(test_counts_to_powers_of_two_are_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
