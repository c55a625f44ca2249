/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks on simulated disks whose power is cut at any moment, and one of which may fail: what was
 * durable is there, and what was read once is read again. STACK_SEED=n runs one seed.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "blk_model.h"
#include "layer/layer.h"
#include "sim/sim.h"
#include "sim/sim_disk.h"

enum { SEEDS = 120, CUTS = 4, DISKS = 3, DISK_SIZE = 1 << 20, BLOCKS = 128, ABANDONED_MAX = 4096 };

static struct sim *sim;
static struct sim_disk *disks[DISKS];
static struct blk_model model;
static struct prng prng;
static struct stack_env env;
static struct stack *stack;
static char error[STACK_ERROR_SIZE];
/* Those that a power cut ended: nobody closes them. */
static struct stack *abandoned[ABANDONED_MAX];
static unsigned abandoned_count;
static bool told;

static const struct {
	const char *first, *again; /* "again": after the first start */
	bool one_may_fail;
} stacks[] = {
	{ "disk index=0", NULL, false },
	{ "cache size=64K | disk index=0", NULL, false },
	{ "crypt key=any | disk index=0", NULL, false },
	{ "writeback size=128K wait=2ms | disk index=0", NULL, false },
	{ "cache size=64K | writeback size=128K dirty=4 commands=2 | batch | disk index=0", NULL,
	  false },
	{ "stripe chunk=8K { disk index=0 | disk index=1 | disk index=2 }", NULL, false },
	{ "mirror adopt=clean region=64K clean=20ms { disk index=0 | disk index=1 }",
	  "mirror region=64K clean=20ms { disk index=0 | disk index=1 }", false },
	{ "mirror adopt=clean region=64K clean=20ms quorum=2 { disk index=0 | disk index=1 | disk "
	  "index=2 }",
	  "mirror region=64K clean=20ms quorum=2 { disk index=0 | disk index=1 | disk index=2 }",
	  true },
	{ "cache size=64K | mirror adopt=clean region=64K clean=15ms quorum=1 { disk index=0 | "
	  "disk index=1 }",
	  "cache size=64K | mirror region=64K clean=15ms quorum=1 { disk index=0 | disk index=1 }",
	  true },
};

static enum status disk_open(struct layer_open *open, struct blk **out)
{
	*out = sim_disk_attach(disks[open->values[0].number], sim, 0, 0);
	return STATUS_OK;
}

static const struct conf_setting disk_options[] = {
	{ .name = "index", .type = CONF_INTEGER, .max = DISKS - 1 },
};
static const struct blk_layer disk_layer = { .name = "disk",
	                                     .options = disk_options,
	                                     .option_count = 1,
	                                     .open = disk_open };
static const struct blk_layer *const rows[] = { &disk_layer, NULL };

static enum status read_file(void *owner, const char *path, void *data, size_t size_max,
                             size_t *size)
{
	(void)owner;
	(void)path;
	assert_true(size_max >= 64);
	*size = 64;
	for (unsigned i = 0; i < 64; i++)
		((uint8_t *)data)[i] = (uint8_t)(i * 3);
	return STATUS_OK;
}

struct waiter {
	struct req req;
	bool done;
	enum status status;
};

struct waiter_frame {
	struct frame frame;
	struct waiter *waiter;
};

static void waiter_done(struct req *req)
{
	struct waiter *waiter = req_pop(req, struct waiter_frame)->waiter;

	waiter->status = req->status;
	waiter->done = true;
}

static bool waiter_is_done(void *argument)
{
	return ((struct waiter *)argument)->done;
}

static enum status wait_for(void (*begin)(struct stack *, struct req *))
{
	struct waiter waiter = { .done = false };

	req_init(&waiter.req, sim_worker(sim, 0, 0));
	req_push(&waiter.req, struct waiter_frame, waiter_done)->waiter = &waiter;
	waiter.req.state = REQ_RUNNING;
	begin(stack, &waiter.req);
	sim_wake(sim, 0, 0);
	assert_true(sim_run(sim, waiter_is_done, &waiter, 1000000));
	return waiter.status;
}

static void open_stack(const char *text)
{
	enum status status;

	env = (struct stack_env){ .worker = sim_worker(sim, 0, 0),
		                  .memory = 16u << 20,
		                  .seed = 5,
		                  .devices = rows,
		                  .read_file = read_file };
	if (stack_open(text, &env, &stack, error) != STATUS_OK)
		fail_msg("%s", error);
	status = wait_for(stack_start);
	if (status != STATUS_OK)
		fail_msg("%s: %s", status_name(status), stack_error(stack));
}

/* What the layers say of themselves, in out. */
static void describe(char *out, size_t out_max)
{
	struct stack_part part;

	out[0] = '\0';
	for (unsigned i = 0; stack_part(stack, i, &part) && out[0] == '\0'; i++) {
		if (strcmp(part.layer->name, "mirror") == 0)
			part.layer->describe(part.blk, out, out_max);
	}
}

static void tell(const char *what)
{
	char text[512];

	describe(text, sizeof(text));
	if (told)
		fprintf(stderr, "%s: %s\n", what, text);
}

static bool is_whole(void *argument)
{
	char text[512];

	(void)argument;
	describe(text, sizeof(text));
	return strstr(text, "syncing") == NULL && strstr(text, "out") == NULL;
}

static void run_commands(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		model_start(&model);
		sim_wake(sim, 0, 0);
		for (uint64_t steps = prng_below(&prng, 12); steps > 0; steps--)
			sim_step(sim);
	}
}

static bool model_is_idle(void *argument)
{
	return ((struct blk_model *)argument)->running == 0;
}

static void wait_idle(void)
{
	assert_true(sim_run(sim, model_is_idle, &model, 10000000));
}

static void read_all(void)
{
	for (uint32_t lba = 0; lba < BLOCKS; lba += 8) {
		model_start_read(&model, lba, 8);
		sim_wake(sim, 0, 0);
		wait_idle();
	}
}

/* All writes of a disk that is not the only one with the data. */
static void break_one(unsigned which)
{
	struct sim_disk_rule rule = {
		.ops = 1u << BLK_WRITE | 1u << BLK_FLUSH | 1u << BLK_ZEROES | 1u << BLK_DISCARD,
		.skip = (uint32_t)prng_below(&prng, 40),
		.count = UINT32_MAX,
		.status = STATUS_NO_SPACE, /* nothing is written; with IO a block may be torn */
	};

	/* One at a time: what failed before is copied again by now. */
	assert_true(sim_run(sim, is_whole, NULL, 10000000));
	if (told)
		fprintf(stderr, "disk %u fails after %u\n", which, rule.skip);
	sim_disk_add_rule(disks[which], &rule);
}

static void cut_and_reopen(const char *text)
{
	tell("cut");
	sim_stop(sim, 0, SIM_POWER_CUT);
	assert_true(abandoned_count < ABANDONED_MAX);
	abandoned[abandoned_count++] = stack;
	model_cut(&model);
	for (unsigned i = 0; i < DISKS; i++)
		sim_disk_clear_rules(disks[i]);
	sim_start(sim, 0);
	open_stack(text);
	model_move(&model, stack_top(stack));
	tell("open");
	if (prng_below(&prng, 2) == 0)
		read_all();
}

static void run_seed(uint64_t seed)
{
	struct sim_options options = { .seed = seed };
	struct sim_disk_options disk = { .size = DISK_SIZE,
		                         .atomic_unit = 4096,
		                         .discard_zeroes = seed % 3 != 0,
		                         .fua_is_flush = seed % 2 == 0 };
	unsigned which = (unsigned)(seed % array_count(stacks));
	const char *again = stacks[which].again != NULL ? stacks[which].again : stacks[which].first;

	if (told)
		fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, again);
	prng_init(&prng, seed);
	sim = sim_open(&options);
	assert_non_null(sim);
	for (unsigned i = 0; i < DISKS; i++) {
		disk.seed = seed * DISKS + i;
		disks[i] = sim_disk_open(&disk);
	}
	open_stack(stacks[which].first);
	model_open(&model, stack_top(stack), seed, BLOCKS);
	if (strstr(again, "crypt") != NULL)
		model_forget(&model);
	for (unsigned cut = 0; cut < CUTS; cut++) {
		if (stacks[which].one_may_fail && prng_below(&prng, 2) == 0)
			break_one((unsigned)prng_below(&prng, 2));
		run_commands(20 + (unsigned)prng_below(&prng, 150));
		cut_and_reopen(again);
	}
	read_all();
	assert_int_equal(wait_for(stack_stop), STATUS_OK);
	stack_close(stack);
	model_close(&model);
	sim_close(sim);
	for (unsigned i = 0; i < DISKS; i++)
		sim_disk_close(disks[i]);
}

static void durable_is_durable(void **state)
{
	const char *only = getenv("STACK_SEED");

	(void)state;
	if (only != NULL) {
		told = true;
		run_seed(strtoull(only, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durable_is_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
