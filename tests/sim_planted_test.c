/* SPDX-License-Identifier: Apache-2.0 */
/* Bugs planted in the engine, each of which the simulator must find; the right one must pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/macros.h"
#include "engine/store.h"
#include "sim_engine.h"

enum { SEEDS_MAX = 60 };

/* The first seed that finds it; 0: none does. */
static unsigned seeds_until_found(uint32_t bugs, unsigned seeds, char *first, size_t first_size)
{
	struct store_harness_options options = {
		.trials = 100000,
		.keys = 64,
		.commit_max = bugs == BUG_FIRST_PART ? 64 : 0,
		.disk_size = bugs == BUG_FIRST_PART ? 32 << 20 : 8 << 20,
		.disk.faults = { .cut_torn = 200000, .cut_garbage = 100000, .stall = 1000 },
		.live_faults = { .read_flip = 20000 },
	};
	struct store_harness_result r = { 0 };
	bool good = true;

	/* Of a log with writes of both kinds. */
	options.relaxed = bugs & BUG_HASTY_FUA ? 6 : 0;
	engine_bugs = bugs;
	for (options.seed = 1; good && options.seed <= seeds; options.seed++)
		good = store_harness_run(engine_binding(), &options, &r);
	engine_bugs = 0;
	snprintf(first, first_size, "%s", r.first);
	return good ? 0 : (unsigned)options.seed - 1;
}

static void test_right_engine(void **state)
{
	char first[256];

	(void)state;
	assert_int_equal(seeds_until_found(0, 10, first, sizeof(first)), 0);
}

static void test_planted(void **state)
{
	static const struct {
		uint32_t bug;
		const char *name;
	} bugs[] = {
		{ BUG_EARLY_ACK, "acknowledged before it is durable" },
		{ BUG_ONE_GENERATION, "generations do not differ" },
		{ BUG_EARLY_ROOT, "root before its pages" },
		{ BUG_FORGOTTEN_DELETE, "replay forgets deletes" },
		{ BUG_EARLY_RELEASE, "segment given back before the checkpoint" },
		{ BUG_FIRST_PART, "a commit counts when its first frame is there" },
		{ BUG_FORGOTTEN_CLEAR, "checkpoint forgets the rest of a clear" },
		{ BUG_UNCHECKED_RECORD, "skip record checksum" },
		{ BUG_HASTY_FUA, "a durable write is taken to cover those before it" },
	};

	(void)state;
	for (unsigned i = 0; i < array_count(bugs); i++) {
		char first[256];
		unsigned seed = seeds_until_found(bugs[i].bug, SEEDS_MAX, first, sizeof(first));

		printf("%s: seed %u: %s\n", bugs[i].name, seed, first);
		assert_true(seed > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right_engine),
		cmocka_unit_test(test_planted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
