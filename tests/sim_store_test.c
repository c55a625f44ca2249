/* SPDX-License-Identifier: Apache-2.0 */
/* The store harness must find every bug that is planted in the toy store, and none in the right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim_toy_kv.h"

enum { BUG_SEEDS_MAX = 40 };

static const struct store_harness_options base_options = {
	.trials = 50000,
	.disk_size = 8 << 20,
	.disk.faults = { .cut_torn = 200000, .cut_garbage = 100000, .stall = 1000 },
};

static void print(const char *name, const struct store_harness_result *r)
{
	printf("%s: %lu cuts, %lu acknowledged, %lu reads checked, %lu lost, %lu forged, "
	       "%lu split, %lu versions, %lu stuck\n",
	       name, r->cuts, r->acked, r->seen, r->lost, r->forged, r->split, r->versions,
	       r->stuck);
	if (r->first[0] != '\0')
		printf("\t%s\n", r->first);
}

static void test_memory_is_linear(void **state)
{
	struct store_harness_options options = {
		.lives = 1, .workers = 3, .steps = 4000, .clients = 12, .value_max = 100000
	};
	struct store_harness_result result = { 0 };

	(void)state;
	for (options.seed = 1; options.seed <= 10; options.seed++) {
		options.expiry = options.seed % 2 == 0 ? 200000 : 0;
		if (!store_harness_run(kv_mem_binding(), &options, &result))
			fail_msg("seed %lu: %s", options.seed, result.first);
	}
	print("memory", &result);
	assert_true(result.acked > 1000);
	assert_true(result.seen > 1000);
}

static void test_the_right_store_loses_nothing(void **state)
{
	struct store_harness_options options = base_options;
	struct store_harness_result result = { 0 };

	(void)state;
	for (options.seed = 1; options.seed <= 12; options.seed++) {
		options.value_max = options.seed % 3 == 0 ? 100000 : 3000;
		options.expiry = options.seed % 4 == 0 ? 100000 : 0;
		if (!store_harness_run(toy_kv_binding(TOY_KV_NONE), &options, &result))
			fail_msg("seed %lu: %s", options.seed, result.first);
	}
	print("toy", &result);
	assert_true(result.cuts > 100);
	assert_true(result.acked > 1000);
}

static void test_same_seed_same_run(void **state)
{
	struct store_harness_options options = base_options;
	struct store_harness_result a = { 0 }, b = { 0 };

	(void)state;
	options.seed = 77;
	store_harness_run(toy_kv_binding(TOY_KV_NONE), &options, &a);
	store_harness_run(toy_kv_binding(TOY_KV_NONE), &options, &b);
	assert_memory_equal(&a, &b, sizeof(a));
}

static void test_every_planted_bug_is_found(void **state)
{
	(void)state;
	for (enum toy_kv_bug bug = TOY_KV_NONE + 1; bug < TOY_KV_BUG_COUNT; bug++) {
		const struct store_binding *binding = toy_kv_binding(bug);
		struct store_harness_options options = base_options;
		struct store_harness_result result = { 0 };

		for (options.seed = 1; store_harness_run(binding, &options, &result);
		     options.seed++)
			assert_true(options.seed < BUG_SEEDS_MAX); /* else: it is missed */
		printf("seed %lu finds ", options.seed);
		print(binding->name, &result);
	}
}

static void test_sweep(void **state)
{
	struct store_harness_options options = base_options;
	struct store_harness_result result = { 0 };
	uint64_t points;

	(void)state;
	options.seed = 5;
	options.steps = 150;
	options.trials = 0;
	points = store_harness_sweep(toy_kv_binding(TOY_KV_NONE), &options, 3, &result);
	printf("sweep: %lu fault points\n", points);
	print("toy", &result);
	assert_true(points > 20);
	assert_true(result.status[STATUS_IO] > 0);
	assert_true(result.status[STATUS_READ_ONLY] > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_is_linear),
		cmocka_unit_test(test_the_right_store_loses_nothing),
		cmocka_unit_test(test_same_seed_same_run),
		cmocka_unit_test(test_every_planted_bug_is_found),
		cmocka_unit_test(test_sweep),
	};

	if (argc > 1)
		return store_harness_main(toy_kv_binding(TOY_KV_NONE), argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
