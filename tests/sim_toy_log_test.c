/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator must find every bug that is planted in the toy log, and none in the right one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "sim/sim_disk.h"
#include "sim_toy_log.h"

enum {
	DISK_SIZE = 64 << 10,
	CUTS_PER_MOMENT = 2,
	STEPS_PER_LIFE = 300,
	LIVES = 6,
	IDS_MAX = 8192,
	BUG_SEEDS_MAX = 60,
};

struct world {
	uint64_t seed, cuts, lost, forged, acked_seen;
	struct sim *sim, *recovery_sim;
	struct sim_disk *disk, *cut_disk;
	struct toy_log *log, *recovered;
	struct prng prng;
	uint64_t payloads[IDS_MAX]; /* by id: as last appended */
	uint64_t acked;             /* the highest id acknowledged in any life */
	uint64_t appended;          /* the highest id that may be on the disk */
};

static bool log_is_open(void *argument)
{
	return ((struct toy_log *)argument)->opened;
}

/* What recovery found against what was acknowledged and appended. */
static void check_found(struct world *w, const struct toy_log *log)
{
	uint64_t last = log->found_count == 0 ? 0 : log->found[log->found_count - 1].id;

	if (last < w->acked)
		w->lost++;
	for (uint32_t i = 0; i < log->found_count; i++) {
		const struct toy_record *record = &log->found[i];

		if (i > 0 && record->id != record[-1].id + 1)
			w->forged++;
		else if (record->id == 0 || record->id > w->appended ||
		         record->payload != w->payloads[record->id])
			w->forged++;
	}
	if (log->found_frames + 1 < TOY_RETAINED && log->found_count > 0 && log->found[0].id != 1)
		w->lost++;
}

/* Tries what a power cut at this very moment would leave. */
static void try_cut(struct world *w)
{
	struct blk *blk;

	sim_disk_cut_into(w->cut_disk, w->disk, prng_next(&w->prng));
	sim_start(w->recovery_sim, 0);
	blk = sim_disk_attach(w->cut_disk, w->recovery_sim, 0, 0);
	toy_log_open(w->recovered, blk, w->log->bug);
	sim_wake(w->recovery_sim, 0, 0);
	assert_true(sim_run(w->recovery_sim, log_is_open, w->recovered, 1000));
	sim_stop(w->recovery_sim, 0, SIM_KILL);
	w->cuts++;
	check_found(w, w->recovered);
}

static void append_some(struct world *w)
{
	uint64_t count = prng_below(&w->prng, 4);

	if (!w->log->opened)
		return;
	for (uint64_t i = 0; i < count && w->log->appended + 1 < IDS_MAX; i++) {
		struct toy_record record = { w->log->appended + 1, prng_next(&w->prng) };
		uint64_t before = w->payloads[record.id];

		w->payloads[record.id] = record.payload;
		if (!toy_log_append(w->log, record))
			w->payloads[record.id] = before;
		else
			w->appended = record.id;
		sim_wake(w->sim, 0, 0);
	}
}

/* From a start to the power cut that ends it. */
static void live(struct world *w, enum toy_bug bug)
{
	uint64_t moment = 0;

	toy_log_open(w->log, sim_disk_attach(w->disk, w->sim, 0, 0), bug);
	sim_wake(w->sim, 0, 0);
	assert_true(sim_run(w->sim, log_is_open, w->log, 1000));
	check_found(w, w->log);
	w->appended = w->log->acked;
	w->acked = w->log->acked; /* what was lost is counted once */
	for (unsigned step = 0; step < STEPS_PER_LIFE && !w->log->dead; step++) {
		if (prng_below(&w->prng, 3) == 0)
			append_some(w);
		sim_step(w->sim);
		if (w->log->acked > w->acked)
			w->acked = w->log->acked;
		if (sim_disk_moment(w->disk) == moment)
			continue;
		moment = sim_disk_moment(w->disk);
		for (unsigned i = 0; i < CUTS_PER_MOMENT; i++)
			try_cut(w);
	}
	w->acked_seen += w->acked;
	sim_stop(w->sim, 0, SIM_POWER_CUT);
	sim_start(w->sim, 0);
}

static void run_world(struct world *w, uint64_t seed, enum toy_bug bug,
                      const struct sim_disk_faults *faults)
{
	struct sim_disk_options disk_options = { .seed = seed, .size = DISK_SIZE };

	memset(w->payloads, 0, sizeof(w->payloads));
	w->seed = seed;
	w->acked = w->appended = 0;
	prng_init(&w->prng, seed);
	disk_options.faults = *faults;
	w->sim = sim_open(&(struct sim_options){ .seed = seed, .event_first = 100000 });
	w->recovery_sim = sim_open(&(struct sim_options){ .seed = seed + 1 });
	sim_stop(w->recovery_sim, 0, SIM_CLOSE);
	w->disk = sim_disk_open(&disk_options);
	w->cut_disk = sim_disk_open_like(w->disk);
	sim_disk_set_faults(w->cut_disk, &(struct sim_disk_faults){ 0 });
	for (unsigned i = 0; i < LIVES; i++)
		live(w, bug);
	sim_close(w->sim);
	sim_close(w->recovery_sim);
	sim_disk_close(w->cut_disk);
	sim_disk_close(w->disk);
}

static const struct sim_disk_faults models[] = {
	{ 0 },
	{ .cut_torn = 300000 },
	{ .cut_garbage = 300000 },
	{ .cut_torn = 150000, .cut_garbage = 150000, .flush_error = 30000, .stall = 10000 },
};

static struct world *world_open(void)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->log = aligned_alloc(4096, align_up(sizeof(*w->log), 4096));
	w->recovered = aligned_alloc(4096, align_up(sizeof(*w->recovered), 4096));
	assert_non_null(w->log);
	assert_non_null(w->recovered);
	return w;
}

static void world_close(struct world *w)
{
	free(w->log);
	free(w->recovered);
	free(w);
}

static void test_the_right_log_loses_nothing(void **state)
{
	struct world *w = world_open();

	(void)state;
	for (unsigned m = 0; m < array_count(models); m++) {
		for (uint64_t seed = 1; seed <= 5; seed++) {
			run_world(w, seed, TOY_NONE, &models[m]);
			if (w->lost + w->forged > 0)
				fail_msg("model %u seed %lu: lost %lu forged %lu", m, seed, w->lost,
				         w->forged);
		}
	}
	assert_true(w->cuts > 5000);
	assert_true(w->acked_seen > 1000);
	printf("none: %lu cuts, nothing lost, nothing forged\n", w->cuts);
	world_close(w);
}

static void test_every_planted_bug_is_found(void **state)
{
	struct world *w = world_open();

	(void)state;
	for (enum toy_bug bug = TOY_NONE + 1; bug < TOY_BUG_COUNT; bug++) {
		uint64_t seed = 0;

		w->lost = w->forged = w->cuts = 0;
		while (w->lost + w->forged == 0) {
			assert_true(seed < BUG_SEEDS_MAX); /* else: the simulator misses it */
			run_world(w, ++seed, bug, &models[array_count(models) - 1]);
		}
		printf("%s: found by seed %lu: %lu lost, %lu forged in %lu cuts\n",
		       toy_bug_name(bug), seed, w->lost, w->forged, w->cuts);
	}
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_right_log_loses_nothing),
		cmocka_unit_test(test_every_planted_bug_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
