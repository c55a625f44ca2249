/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"

static void test_known_answers(void **state)
{
	/* The reference implementation's first outputs from this state. */
	struct prng prng = { { 1, 2, 3, 4 } };

	(void)state;
	assert_int_equal(prng_next(&prng), 11520);
	assert_int_equal(prng_next(&prng), 0);
	assert_int_equal(prng_next(&prng), 1509978240);
	assert_int_equal(prng_next(&prng), 1215971899390074240ull);
}

static void test_ranges(void **state)
{
	struct prng prng;
	unsigned seen[7] = { 0 };

	(void)state;
	prng_init(&prng, 0);
	for (unsigned i = 0; i < 70000; i++)
		seen[prng_below(&prng, 7)]++;
	for (unsigned i = 0; i < 7; i++)
		assert_in_range(seen[i], 9500, 10500);
	for (unsigned i = 0; i < 1000; i++) {
		assert_in_range(prng_range(&prng, 5, 6), 5, 6);
		assert_int_equal(prng_range(&prng, 9, 9), 9);
		assert_false(prng_chance(&prng, 0));
		assert_true(prng_chance(&prng, 1000000));
	}
	prng_range(&prng, 0, UINT64_MAX);
}

static void test_chance_and_exponential(void **state)
{
	enum { ROUNDS = 200000 };
	struct prng prng;
	unsigned hits = 0, over_mean = 0;
	uint64_t sum = 0;

	(void)state;
	prng_init(&prng, 42);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t wait = prng_exponential(&prng, 1000);

		hits += prng_chance(&prng, 250000);
		sum += wait;
		over_mean += wait > 1000;
		assert_true(wait <= 20000);
	}
	assert_in_range(hits, ROUNDS / 4 - 1000, ROUNDS / 4 + 1000);
	assert_in_range(sum / ROUNDS, 980, 1020);
	/* exp(-1) = 0.368 */
	assert_in_range(over_mean, ROUNDS * 36 / 100, ROUNDS * 376 / 1000);
}

static void test_same_seed_same_numbers(void **state)
{
	struct prng a, b;
	uint8_t bytes_a[37], bytes_b[37];

	(void)state;
	prng_init(&a, 7);
	prng_init(&b, 7);
	assert_int_equal(prng_fork(&a, 1), prng_fork(&b, 1));
	assert_true(prng_fork(&a, 1) != prng_fork(&b, 2));
	prng_fill(&a, bytes_a, sizeof(bytes_a));
	prng_fill(&b, bytes_b, sizeof(bytes_b));
	assert_memory_equal(bytes_a, bytes_b, sizeof(bytes_a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_chance_and_exponential),
		cmocka_unit_test(test_same_seed_same_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
