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
	.check = 100000,
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
	run_seeds(&base_options, 20);
}

static void test_three_workers(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.workers = 3;
	options.clients = 12;
	options.disk_size = 32 << 20;
	run_seeds(&options, 8);
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
	run_seeds(&options, 8);
	options.value_max = 100000;
	options.disk_size = 96 << 20;
	run_seeds(&options, 2);
}

/*
 * Seeds that have found something once:
 * 177: a segment of blobs that were replaced was taken by an open that was cut short, and the next
 * one still had to free what was in it
 * 3004: what a scan had read ahead was told to a get before it was durable, because the frame had
 * been written plainly
 */
static void test_seeds(void **state)
{
	struct store_harness_options options = base_options;
	struct store_harness_result r = { 0 };

	(void)state;
	options.trials = 100000;
	options.check = 0;
	options.workers = 3;
	options.vary = 1;
	options.clients = 12;
	options.commit_max = 64;
	options.value_max = 60000;
	options.seed = 177;
	if (!store_harness_run(engine_binding(), &options, &r))
		fail_msg("seed %lu: %s", options.seed, r.first);
	options = base_options;
	options.trials = 100000;
	options.check = 0;
	options.clients = 24;
	options.keys = 200;
	options.relaxed = 2;
	options.steps = 2000;
	options.disk_size = 12 << 20;
	options.seed = 3004;
	if (!store_harness_run(engine_binding(), &options, &r))
		fail_msg("seed %lu: %s", options.seed, r.first);
	assert_true(r.cuts > 0);
}

/* Many keys and little cache: what was written last is not always remembered. */
static void test_many_keys(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.keys = 2000;
	options.clients = 48;
	options.steps = 4000;
	options.trials = 3000;
	run_seeds(&options, 2);
	options.workers = 3;
	run_seeds(&options, 2);
}

static void test_expiry(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.expiry = 200000;
	run_seeds(&options, 8);
}

static void test_blobs(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.value_max = 40000;
	options.keys = 200;
	options.touch = 1;
	run_seeds(&options, 8);
	options.workers = 3;
	run_seeds(&options, 8);
}

/* Commits of more than a frame, with blobs and expiries among their writes. */
static void test_large_commits(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.commit_max = 64;
	options.keys = 200;
	options.disk_size = 48 << 20;
	run_seeds(&options, 8);
	options.value_max = 60000;
	options.expiry = 200000;
	run_seeds(&options, 8);
	options.workers = 3;
	options.clients = 12;
	options.disk_size = 96 << 20;
	run_seeds(&options, 8);
	options.vary = 1;
	options.expiry = 0;
	run_seeds(&options, 4);
}

/* A bit that is wrong in what is read, and reads that fail: an error, and never other bytes. */
static void test_bad_reads(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.live_faults = (struct sim_disk_faults){ .read_flip = 50000, .read_error = 20000 };
	options.keys = 200;
	run_seeds(&options, 8);
	options.value_max = 60000;
	options.disk_size = 64 << 20;
	run_seeds(&options, 4);
	options.workers = 3;
	run_seeds(&options, 8);
}

/* Some spaces, or all, do not wait for the disk: a log loses its end at most. */
static void test_relaxed(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.relaxed = 2;
	run_seeds(&options, 6);
	options.relaxed = 7;
	run_seeds(&options, 3);
	options.relaxed = 5;
	options.workers = 3;
	options.vary = 1;
	options.clients = 12;
	options.disk_size = 32 << 20;
	run_seeds(&options, 6);
	options.workers = 1;
	options.expiry = 200000;
	options.value_max = 40000;
	run_seeds(&options, 3);
}

/* Writes are refused most of the time, and the power is cut all the same. */
static void test_full(void **state)
{
	struct store_harness_options options = base_options;

	(void)state;
	options.disk_size = 8 << 20;
	options.keys = 1000;
	options.value_max = 60000;
	options.clients = 24;
	options.steps = 4000;
	options.trials = 3000;
	run_seeds(&options, 8);
}

static void sweep(unsigned workers, unsigned stride, uint32_t relaxed)
{
	struct store_harness_options options = base_options;
	struct store_harness_result r = { 0 };

	options.seed = workers;
	options.workers = workers;
	options.relaxed = relaxed;
	options.steps = 600;
	options.trials = 0;
	options.keys = 200;
	options.value_max = 40000;
	assert_true(store_harness_sweep(engine_binding(), &options, stride, &r) > 10);
	assert_true(r.faults > 10);
}

/* Reads, writes and flushes fail, once and for ever. */
static void test_faults(void **state)
{
	(void)state;
	sweep(1, 15, 0);
	sweep(3, 15, 0);
	sweep(1, 25, 5);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_worker),     cmocka_unit_test(test_three_workers),
		cmocka_unit_test(test_many_keys),      cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_blobs),          cmocka_unit_test(test_large_commits),
		cmocka_unit_test(test_full),           cmocka_unit_test(test_faults),
		cmocka_unit_test(test_another_number), cmocka_unit_test(test_bad_reads),
		cmocka_unit_test(test_relaxed),        cmocka_unit_test(test_seeds),
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
