/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "sim/sim_disk.h"

enum { DISK_SIZE = 1 << 20, BLOCK = 4096, CALLS_MAX = 64 };

struct call_frame {
	struct frame frame;
	struct call *call;
};

struct call {
	struct req req;
	struct iovec iov;
	bool done;
	_Alignas(4096) uint8_t data[4 * BLOCK];
};

static struct call calls[CALLS_MAX];
static struct sim *sim;
static struct sim_disk *disk;
static struct blk *blk;

static void start_disk(uint64_t seed, const struct sim_disk_options *options)
{
	struct sim_disk_options o = *options;

	o.seed = seed;
	o.size = DISK_SIZE;
	sim = sim_open(&(struct sim_options){ .seed = seed });
	disk = sim_disk_open(&o);
	blk = sim_disk_attach(disk, sim, 0, 0);
}

static void restart(enum sim_end end)
{
	sim_stop(sim, 0, end);
	sim_start(sim, 0);
	blk = sim_disk_attach(disk, sim, 0, 0);
}

static void end_disk(void)
{
	sim_close(sim);
	sim_disk_close(disk);
}

static void call_done(struct req *req)
{
	req_pop(req, struct call_frame)->call->done = true;
}

static void start(struct call *call, struct blk_cmd cmd)
{
	call->done = false;
	call->iov = (struct iovec){ call->data, (size_t)cmd.block_count * BLOCK };
	cmd.iov = &call->iov;
	cmd.iov_count = cmd.block_count > 0;
	req_init(&call->req, blk->worker);
	req_push(&call->req, struct call_frame, call_done)->call = call;
	blk_submit(blk, &call->req, &cmd);
	sim_wake(sim, 0, 0);
	assert_false(call->done);
}

static bool call_is_done(void *argument)
{
	return ((struct call *)argument)->done;
}

static enum status finish(struct call *call)
{
	assert_true(sim_run(sim, call_is_done, call, 10000));
	return call->req.status;
}

static enum status write_block(uint64_t lba, uint8_t byte, uint32_t flags)
{
	memset(calls[0].data, byte, BLOCK);
	start(&calls[0],
	      (struct blk_cmd){ .op = BLK_WRITE, .lba = lba, .block_count = 1, .flags = flags });
	return finish(&calls[0]);
}

static enum status flush(void)
{
	start(&calls[0], (struct blk_cmd){ .op = BLK_FLUSH });
	return finish(&calls[0]);
}

/* The byte that all of a block holds, or -1. */
static int read_block(uint64_t lba)
{
	const uint8_t *data = calls[0].data;

	start(&calls[0], (struct blk_cmd){ .op = BLK_READ, .lba = lba, .block_count = 1 });
	if (finish(&calls[0]) != STATUS_OK)
		return -2;
	return memcmp(data, data + 1, BLOCK - 1) == 0 ? data[0] : -1;
}

static void test_durability(void **state)
{
	unsigned lost = 0, kept = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		int found;

		start_disk(seed, &(struct sim_disk_options){ 0 });
		assert_int_equal(write_block(1, 'f', BLK_FUA), STATUS_OK);
		assert_int_equal(write_block(2, 'd', 0), STATUS_OK);
		assert_int_equal(flush(), STATUS_OK);
		assert_int_equal(write_block(3, 'v', 0), STATUS_OK);
		assert_int_equal(write_block(4, 'o', 0), STATUS_OK);
		assert_int_equal(write_block(4, 'n', BLK_FUA), STATUS_OK);
		assert_int_equal(read_block(3), 'v'); /* the cache is seen */
		restart(SIM_KILL);
		assert_int_equal(read_block(3), 'v'); /* and outlives the process */
		restart(SIM_POWER_CUT);
		assert_int_equal(read_block(1), 'f');
		assert_int_equal(read_block(2), 'd');
		assert_int_equal(read_block(4),
		                 'n'); /* never the older one that was in the cache */
		found = read_block(3);
		lost += found == 0;
		kept += found == 'v';
		restart(SIM_POWER_CUT);
		assert_int_equal(read_block(3), found); /* a cut decides once */
		end_disk();
	}
	assert_int_equal(lost + kept, 100);
	assert_true(lost > 10 && kept > 10);
}

/* A flush covers what had completed when it was submitted, not what completes meanwhile. */
static void test_flush_covers_what_was_before(void **state)
{
	unsigned lost = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		start_disk(seed, &(struct sim_disk_options){ 0 });
		memset(calls[1].data, 'x', BLOCK);
		start(&calls[1], (struct blk_cmd){ .op = BLK_WRITE, .lba = 9, .block_count = 1 });
		start(&calls[2], (struct blk_cmd){ .op = BLK_FLUSH });
		finish(&calls[1]);
		finish(&calls[2]);
		restart(SIM_POWER_CUT);
		lost += read_block(9) == 0;
		end_disk();
	}
	assert_true(lost > 20);
}

static void test_torn_and_garbage(void **state)
{
	unsigned inside = 0, garbage = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		uint8_t data[BLOCK];

		start_disk(seed, &(struct sim_disk_options){
		                         .faults = { .cut_torn = 500000, .cut_garbage = 500000 } });
		write_block(5, 'a', BLK_FUA);
		write_block(6, 'a', BLK_FUA);
		write_block(5, 'b', 0);
		restart(SIM_POWER_CUT);
		assert_int_equal(read_block(6), 'a'); /* what was not being written stays */
		sim_disk_peek(disk, 5 * BLOCK, data, BLOCK);
		for (unsigned s = 0; s < BLOCK; s += 512) {
			unsigned a = 0, b = 0;

			for (unsigned i = s; i < s + 512; i++) {
				a += data[i] == 'a';
				b += data[i] == 'b';
			}
			inside += a + b == 512 && a > 0 && b > 0;
			garbage += a + b < 512;
		}
		end_disk();
	}
	assert_true(inside > 20);
	assert_true(garbage > 20);
}

static void test_atomic_unit(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct sim_disk_options options = {
			.atomic_unit = BLOCK,
			.faults = { .cut_torn = 500000, .cut_garbage = 500000 },
		};
		int found;

		start_disk(seed, &options);
		assert_int_equal(blk->geometry.atomic_unit, BLOCK);
		write_block(5, 'a', BLK_FUA);
		write_block(5, 'b', 0);
		restart(SIM_POWER_CUT);
		found = read_block(5);
		assert_true(found == 'a' || found == 'b');
		end_disk();
	}
}

static void test_buffers_belong_to_the_device(void **state)
{
	unsigned changed = 0, scribbled = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		start_disk(seed, &(struct sim_disk_options){ 0 });
		memset(calls[1].data, 'x', BLOCK);
		start(&calls[1], (struct blk_cmd){ .op = BLK_WRITE, .lba = 1, .block_count = 1 });
		while (!calls[1].done) {
			sim_step(sim);
			if (sim_disk_moment(disk) == 1)
				memset(calls[1].data, 'y', BLOCK);
		}
		changed += read_block(1) == 'y';
		memset(calls[1].data, 'z', BLOCK);
		start(&calls[1], (struct blk_cmd){ .op = BLK_READ, .lba = 1, .block_count = 1 });
		while (!calls[1].done) {
			sim_step(sim);
			if (!calls[1].done && calls[1].data[7] != 'z' && calls[1].data[7] != 'y')
				scribbled++;
		}
		assert_int_equal(calls[1].data[7], read_block(1));
		end_disk();
	}
	assert_true(changed > 50);
	assert_true(scribbled > 20);
}

static void test_rules(void **state)
{
	struct sim_disk_rule rule = {
		.ops = 1u << BLK_WRITE, .skip = 1, .count = 1, .status = STATUS_NO_SPACE
	};

	(void)state;
	start_disk(1, &(struct sim_disk_options){ 0 });
	sim_disk_add_rule(disk, &rule);
	assert_int_equal(write_block(1, 'a', 0), STATUS_OK);
	assert_int_equal(write_block(1, 'b', 0), STATUS_NO_SPACE);
	assert_int_equal(read_block(1), 'a');
	assert_int_equal(write_block(1, 'c', 0), STATUS_OK);
	sim_disk_clear_rules(disk);
	rule = (struct sim_disk_rule){ .ops = 1u << BLK_READ,
		                       .count = UINT32_MAX,
		                       .status = STATUS_IO,
		                       .first = 7,
		                       .last = 8 };
	sim_disk_add_rule(disk, &rule);
	assert_int_equal(read_block(1), 'c');
	assert_int_equal(read_block(7), -2);
	assert_int_equal(read_block(8), -2);
	assert_int_equal(read_block(9), 0);
	sim_disk_clear_rules(disk);
	rule = (struct sim_disk_rule){ .ops = 1u << BLK_WRITE, .count = 1, .status = STATUS_OK };
	sim_disk_add_rule(disk, &rule);
	assert_int_equal(write_block(1, 'd', BLK_FUA), STATUS_OK);
	assert_int_equal(read_block(1), 'c'); /* lost */
	end_disk();
}

/* After a failed flush the next one succeeds, and most of the first one's pages are gone. */
static void test_failed_flush_drops_pages(void **state)
{
	struct sim_disk_rule rule = { .ops = 1u << BLK_FLUSH, .count = 1, .status = STATUS_IO };
	unsigned lost = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		start_disk(seed, &(struct sim_disk_options){ 0 });
		sim_disk_add_rule(disk, &rule);
		write_block(1, 'a', 0);
		assert_int_equal(flush(), STATUS_IO);
		assert_int_equal(read_block(1), 'a');
		assert_int_equal(flush(), STATUS_OK);
		restart(SIM_POWER_CUT);
		lost += read_block(1) == 0;
		end_disk();
	}
	assert_true(lost > 25 && lost < 50);
}

static void test_faults_by_rate(void **state)
{
	struct sim_disk_faults faults = { .read_flip = 200000, .write_misdirected = 200000 };
	struct sim_disk_stats stats;
	unsigned elsewhere = 0, flipped = 0;

	(void)state;
	start_disk(1, &(struct sim_disk_options){ .faults = faults });
	for (unsigned i = 0; i < 100; i++) {
		uint8_t byte;
		int found;

		write_block(i % 200, (uint8_t)(100 + i), BLK_FUA);
		sim_disk_peek(disk, i % 200 * BLOCK, &byte, 1);
		elsewhere += byte != 100 + i;
		found = read_block(i % 200);
		flipped += found == -1;
	}
	sim_disk_stats(disk, &stats);
	assert_in_range(elsewhere, 8, 40);
	assert_in_range(flipped, 8, 40);
	assert_true(stats.faults >= elsewhere + flipped);
	assert_int_equal(stats.ops[BLK_WRITE], 100);
	assert_int_equal(stats.in_flight, 0);
	end_disk();
}

static void test_discard_and_small_blocks(void **state)
{
	struct sim_disk_options options = { .block_size = 512, .discard_zeroes = true };

	(void)state;
	start_disk(1, &options);
	memset(calls[1].data, 'a', BLOCK);
	calls[1].iov = (struct iovec){ calls[1].data, 512 };
	req_init(&calls[1].req, blk->worker);
	req_push(&calls[1].req, struct call_frame, call_done)->call = &calls[1];
	calls[1].done = false;
	blk_submit(blk, &calls[1].req,
	           &(struct blk_cmd){ .op = BLK_WRITE,
	                              .lba = 9,
	                              .block_count = 1,
	                              .iov_count = 1,
	                              .iov = &calls[1].iov });
	sim_wake(sim, 0, 0);
	finish(&calls[1]);
	sim_disk_peek(disk, 8 * 512, calls[2].data, BLOCK);
	assert_int_equal(calls[2].data[511], 0);
	assert_int_equal(calls[2].data[512], 'a');
	assert_int_equal(calls[2].data[1023], 'a');
	assert_int_equal(calls[2].data[1024], 0);
	req_init(&calls[1].req, blk->worker);
	req_push(&calls[1].req, struct call_frame, call_done)->call = &calls[1];
	calls[1].done = false;
	blk_submit(blk, &calls[1].req,
	           &(struct blk_cmd){ .op = BLK_DISCARD, .lba = 9, .block_count = 1 });
	sim_wake(sim, 0, 0);
	finish(&calls[1]);
	sim_disk_peek(disk, 8 * 512, calls[2].data, BLOCK);
	assert_int_equal(calls[2].data[512], 0);
	end_disk();
}

/* A run of random operations with a cut in the middle; what it leaves depends on the seed alone. */
static uint64_t digest_of(uint64_t seed)
{
	struct sim_disk_faults faults = { .cut_torn = 100000, .write_error = 50000 };
	struct prng prng;
	uint64_t digest;

	prng_init(&prng, seed);
	start_disk(seed, &(struct sim_disk_options){ .faults = faults });
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < CALLS_MAX; i++) {
			prng_fill(&prng, calls[i].data, 64);
			start(&calls[i], (struct blk_cmd){ .op = BLK_WRITE,
			                                   .lba = prng_below(&prng, 200),
			                                   .block_count = 3 });
		}
		for (unsigned i = 0; i < 150; i++)
			sim_step(sim);
		restart(SIM_POWER_CUT);
	}
	digest = sim_digest(sim) ^ sim_disk_hash(disk);
	end_disk();
	return digest;
}

static void test_same_seed_same_disk(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		assert_int_equal(digest_of(seed), digest_of(seed));
		assert_true(digest_of(seed) != digest_of(seed + 1));
	}
}

static void test_cut_into_leaves_the_disk_alone(void **state)
{
	struct sim_disk *cut;
	uint64_t before;
	unsigned differ = 0;

	(void)state;
	start_disk(1, &(struct sim_disk_options){ .faults = { .cut_torn = 300000 } });
	for (uint64_t lba = 0; lba < 50; lba++)
		write_block(lba, (uint8_t)(lba + 1), 0);
	cut = sim_disk_open_like(disk);
	before = sim_disk_hash(disk);
	for (uint64_t seed = 0; seed < 100; seed++) {
		uint64_t hash;

		sim_disk_cut_into(cut, disk, seed);
		hash = sim_disk_hash(cut);
		differ += hash != before;
		sim_disk_cut_into(cut, disk, seed);
		assert_int_equal(sim_disk_hash(cut), hash);
	}
	assert_int_equal(sim_disk_hash(disk), before);
	assert_true(differ > 50);
	for (uint64_t lba = 0; lba < 50; lba++)
		assert_int_equal(read_block(lba), lba + 1);
	sim_disk_close(cut);
	end_disk();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durability),
		cmocka_unit_test(test_flush_covers_what_was_before),
		cmocka_unit_test(test_torn_and_garbage),
		cmocka_unit_test(test_atomic_unit),
		cmocka_unit_test(test_buffers_belong_to_the_device),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_failed_flush_drops_pages),
		cmocka_unit_test(test_faults_by_rate),
		cmocka_unit_test(test_discard_and_small_blocks),
		cmocka_unit_test(test_same_seed_same_disk),
		cmocka_unit_test(test_cut_into_leaves_the_disk_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
