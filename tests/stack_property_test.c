/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every stack must keep: random stacks, workloads, faults and orders of completion from a
 * seed, against a model. STACK_SEED=n runs one seed, and prints its stack.
 */
#include "layer_bed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blk_model.h"

enum { SEEDS = 250, COMMANDS = 500, TEXT = 1024 };

static struct layer_bed bed;
static struct blk_model model;

/* Layers that may stand anywhere; the faults among them make commands fail. */
static const char *const clean_layers[] = {
	"offset first=64K",
	"fork requests=5",
	"retry",
	"throttle iops=20000 burst=5ms",
	"cache size=128K",
	"batch",
	"batch size=16K commands=2",
	"batch wait=2ms",
	"writeback size=64K",
	"writeback size=256K dirty=8 commands=2 wait=3ms",
	"crypt key=any buffers=3",
	"crypt key=any unit=512 discard=yes",
	"cache size=64K policy=lru fetches=2",
	"cache size=256K policy=clock page=16K",
};
static const char *const bad_layers[] = {
	"fault rate=20000",
	"fault op=write rate=50000 torn=yes",
	"fault op=read delay=3ms rate=0",
	"retry tries=3 io=yes | fault rate=100000 status=busy",
};

static void put(char *text, const char *more)
{
	assert_true(strlen(text) + strlen(more) < TEXT);
	strcat(text, more);
}

static void put_device(struct prng *prng, char *text)
{
	static const char *const devices[] = {
		"ram size=2M",           "ram size=2M volatile=yes",
		"ram size=2M align=512", "ram size=2M block_size=512",
		"ram size=2M zeroes=no",
	};

	put(text, devices[prng_below(prng, array_count(devices))]);
}

/* "key" of crypt: any will do. */
static enum status read_file(void *owner, const char *path, void *data, size_t size_max,
                             size_t *size)
{
	(void)owner;
	(void)path;
	assert_true(size_max >= 64);
	*size = 64;
	for (unsigned i = 0; i < 64; i++)
		((uint8_t *)data)[i] = (uint8_t)i;
	return STATUS_OK;
}

/* One device of them may fail: nobody above sees it. */
static const char *const mirrors[] = {
	"mirror adopt=clean region=64K clean=20ms { ram size=2M | ram size=2M volatile=yes }",
	"mirror adopt=clean region=64K quorum=1 clean=20ms commands=3 { "
	"(fault op=write skip=40 rate=100000 | ram size=2M) | ram size=3M }",
	"mirror adopt=yes region=64K clean=20ms { ram size=2M | (cache size=64K | ram size=2M) | "
	"(fault op=flush skip=3 | ram size=2M) }",
};

/* A device, or several side by side. */
static void put_bottom(struct prng *prng, char *text)
{
	unsigned legs = 2 + (unsigned)prng_below(prng, 3);

	if (prng_below(prng, 3) != 0) {
		put_device(prng, text);
		return;
	}
	if (prng_below(prng, 2) == 0) {
		put(text, mirrors[prng_below(prng, array_count(mirrors))]);
		return;
	}
	put(text,
	    prng_below(prng, 2) == 0 ? "stripe chunk=8K requests=7 { " : "stripe chunk=64K { ");
	for (unsigned i = 0; i < legs; i++)
		put(text, i == 0                     ? "ram size=2M"
		          : prng_below(prng, 2) == 0 ? " | ram size=3M volatile=yes"
		                                     : " | (cache size=64K | ram size=2M)");
	put(text, " }");
}

/* True: commands may fail. */
static bool put_stack(struct prng *prng, char *text)
{
	unsigned layers = (unsigned)prng_below(prng, 5);
	bool errors = false;

	for (unsigned i = 0; i < layers; i++) {
		if (prng_below(prng, 4) == 0) {
			put(text, bad_layers[prng_below(prng, array_count(bad_layers))]);
			errors = true;
		} else {
			put(text, clean_layers[prng_below(prng, array_count(clean_layers))]);
		}
		put(text, i % 2 == 1 ? " | fork | " : " | ");
	}
	put_bottom(prng, text);
	return errors;
}

static unsigned held_count(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < bed.ram_count; i++)
		count += bed.rams[i]->held_count;
	return count;
}

/* Any of what the devices hold completes. */
static void release_some(struct prng *prng, unsigned count)
{
	while (count-- > 0 && held_count() > 0) {
		struct bed_ram *ram = bed.rams[prng_below(prng, bed.ram_count)];

		if (prng_below(prng, 2) == 0)
			bed_apply_at(ram, (unsigned)prng_below(prng, ram->held_count + 1));
		else
			bed_complete_at(ram, (unsigned)prng_below(prng, ram->held_count + 1));
	}
}

static void drain(struct prng *prng)
{
	for (unsigned i = 0; i < 100000 && model.running > 0; i++) {
		release_some(prng, 4);
		bed_turn(&bed);
		if (held_count() == 0)
			bed_advance(&bed, 1 << 20);
	}
	assert_int_equal(model.running, 0);
}

static void run_seed(uint64_t seed, bool told)
{
	char text[TEXT] = "";
	struct prng prng;
	uint64_t completed = 0;
	bool errors;

	prng_init(&prng, seed);
	bed_init(&bed);
	bed.env.seed = seed;
	bed.env.read_file = read_file;
	errors = put_stack(&prng, text);
	if (told)
		fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, text);
	bed_open(&bed, text);
	model_open(&model, bed.blk, seed, 256);
	model.errors = errors;
	if (strstr(text, "crypt") != NULL)
		model_forget(&model);
	model.overlap = prng_below(&prng, 2) == 0;
	bed.hold = true;
	for (unsigned i = 0; i < COMMANDS; i++) {
		model_start(&model);
		if (prng_below(&prng, 3) == 0)
			bed_turn(&bed);
		release_some(&prng, (unsigned)prng_below(&prng, 4));
		if (prng_below(&prng, 8) == 0)
			bed_advance(&bed, 1 << 20);
		if (prng_below(&prng, 50) == 0)
			drain(&prng);
	}
	drain(&prng);
	for (uint32_t lba = 0; lba < 256; lba += 4) {
		model_start_read(&model, lba, 4);
		drain(&prng);
	}
	/* It did do something: without faults all of it succeeded. */
	for (unsigned op = 0; op < BLK_OP_COUNT; op++)
		completed += model.completed[op];
	assert_true(completed > COMMANDS / 5);
	assert_true(errors || model.failed == 0);
	if (told)
		fprintf(stderr, "%" PRIu64 " completed, %" PRIu64 " failed\n", completed,
		        model.failed);
	bed.hold = false;
	model_close(&model);
	bed_close(&bed);
}

static void any_stack_keeps_its_word(void **state)
{
	const char *only = getenv("STACK_SEED");

	(void)state;
	if (only != NULL) {
		run_seed(strtoull(only, NULL, 10), true);
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_stack_keeps_its_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
