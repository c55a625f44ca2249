/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store under clients, power cuts and faults. With arguments: see store_harness_main().
 * SIM_SEED in the environment: that seed, traced.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "sim_engine.h"

static const struct store_harness_options base_options = {
	.trials = 30000,
	.disk.faults = { .cut_torn = 200000, .cut_garbage = 100000, .stall = 1000 },
};

static void run_seeds(const struct store_harness_options *base, unsigned seeds)
{
	struct store_harness_options options = *base;
	struct store_harness_result r = { 0 };

	for (options.seed = 1; options.seed <= seeds; options.seed++) {
		if (!store_harness_run(engine_binding(), &options, &r))
			fail_msg("seed %lu: %s", options.seed, r.first);
	}
	printf("%lu cuts, %lu writes acknowledged, %lu reads checked, nothing lost or forged\n",
	       r.cuts, r.acked, r.seen);
	assert_true(r.cuts > seeds);
	assert_true(r.acked > 100);
}

static void test_one_worker(void **state)
{
	(void)state;
	run_seeds(&base_options, 10);
}

static void test_three_workers(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.workers = 3;
	options.clients = 12;
	options.disk_size = 32 << 20;
	run_seeds(&options, 5);
}

/* Every open has another number of workers, also those that end in the middle of recovery. */
static void test_another_number(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.workers = 3;
	options.vary = 1;
	options.clients = 12;
	options.disk_size = 32 << 20;
	run_seeds(&options, 5);
	options.value_max = 100000;
	options.disk_size = 96 << 20;
	run_seeds(&options, 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_worker),
		cmocka_unit_test(test_three_workers),
		cmocka_unit_test(test_another_number),
	};

	const char *seed = getenv("SIM_SEED");

	if (seed != NULL && seed[0] != '\0') {
		char argument[40], trace[] = "trace=1";

		snprintf(argument, sizeof(argument), "seed=%s", seed);
		return store_harness_main(engine_binding(), 3,
		                          (char *[]){ argv[0], argument, trace });
	}
	if (argc > 1)
		return store_harness_main(engine_binding(), argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
