/* SPDX-License-Identifier: Apache-2.0 */
/* The read cache: what touches the device and what does not, and what is never stale. */
#include "layer_bed.h"

#include <stdio.h>
#include <string.h>

static struct layer_bed bed;
static uint8_t data[64 * BED_BLOCK], got[64 * BED_BLOCK];
static struct bed_call calls[8];
static uint8_t buffers[8][4 * BED_BLOCK];

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	return 0;
}

static uint64_t device_reads(void)
{
	return bed.rams[0]->blk.submitted[BLK_READ];
}

static void write_all(uint32_t version)
{
	bed_fill(data, 0, 64, version);
	assert_int_equal(bed_write(&bed, 0, 64, data), STATUS_OK);
}

static void start_read(unsigned i, uint64_t lba, uint32_t count)
{
	bed_start(&bed, &calls[i],
	          (struct blk_cmd){ .op = BLK_READ, .lba = lba, .block_count = count }, buffers[i]);
	bed_turn(&bed);
}

static void a_hit_touches_no_device(void **state)
{
	(void)state;
	bed_open(&bed, "cache size=256K | ram");
	write_all(1);
	assert_int_equal(bed_read(&bed, 10, 4, got), STATUS_OK);
	assert_int_equal(device_reads(), 1); /* four pages by one command */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(bed_read(&bed, 10 + i % 4, 1, got), STATUS_OK);
		assert_true(bed_is(got, 10 + i % 4, 1, 1));
	}
	assert_int_equal(device_reads(), 1);
	/* Some there, some not: only what is missing is read. */
	assert_int_equal(bed_read(&bed, 8, 8, got), STATUS_OK);
	assert_true(bed_is(got, 8, 8, 1));
	assert_int_equal(device_reads(), 3);
	assert_int_equal(bed_read(&bed, 8, 8, got), STATUS_OK);
	assert_int_equal(device_reads(), 3);
	bed_close(&bed);
}

static void a_miss_is_read_once(void **state)
{
	(void)state;
	bed_open(&bed, "cache size=256K | ram");
	write_all(1);
	bed.hold = true;
	for (unsigned i = 0; i < 5; i++)
		start_read(i, 20, 2);
	start_read(5, 21, 3);
	assert_int_equal(bed.rams[0]->held_count, 1);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(calls[i].done && calls[i].status == STATUS_OK);
		assert_true(bed_is(buffers[i], 20, 2, 1));
	}
	/* What the other one had not is read for itself. */
	assert_false(calls[5].done);
	assert_int_equal(bed.rams[0]->held_count, 1);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_true(calls[5].done && bed_is(buffers[5], 21, 3, 1));
	bed.hold = false;
	bed_close(&bed);
}

static void writes_are_seen(void **state)
{
	(void)state;
	bed_open(&bed, "cache size=256K | ram");
	write_all(1);
	assert_int_equal(bed_read(&bed, 0, 16, got), STATUS_OK);
	bed_fill(data, 3, 2, 2);
	assert_int_equal(bed_write_fua(&bed, 3, 2, data), STATUS_OK);
	assert_int_equal(bed_read(&bed, 0, 16, got), STATUS_OK);
	assert_true(bed_is(got, 0, 3, 1) && bed_is(got + 3 * BED_BLOCK, 3, 2, 2) &&
	            bed_is(got + 5 * BED_BLOCK, 5, 11, 1));
	assert_int_equal(device_reads(), 1);
	assert_int_equal(bed_do(&bed,
	                        (struct blk_cmd){ .op = BLK_ZEROES, .lba = 4, .block_count = 2 },
	                        NULL),
	                 STATUS_OK);
	assert_int_equal(bed_read(&bed, 3, 4, got), STATUS_OK);
	assert_true(bed_is(got, 3, 1, 2) && bed_is(got + BED_BLOCK, 4, 2, 0) &&
	            bed_is(got + 3 * BED_BLOCK, 6, 1, 1));
	assert_int_equal(bed_do(&bed,
	                        (struct blk_cmd){ .op = BLK_DISCARD, .lba = 0, .block_count = 256 },
	                        NULL),
	                 STATUS_OK);
	assert_int_equal(bed_read(&bed, 0, 16, got), STATUS_OK);
	assert_true(bed_is(got, 0, 16, 0));
	bed_close(&bed);
}

/* A page that is read while it is written: what was read may be old, and is not kept. */
static void a_fetch_that_was_overtaken_is_not_kept(void **state)
{
	static uint8_t newer[BED_BLOCK];

	(void)state;
	bed_open(&bed, "cache size=256K | ram");
	write_all(1);
	bed.hold = true;
	start_read(0, 7, 1);
	bed_apply_at(bed.rams[0], 0); /* it has the old block */
	bed_fill(newer, 7, 1, 2);
	bed_start(&bed, &calls[1], (struct blk_cmd){ .op = BLK_WRITE, .lba = 7, .block_count = 1 },
	          newer);
	bed_turn(&bed);
	bed_release(bed.rams[0], 1); /* the write: both ends */
	bed_turn(&bed);
	assert_true(calls[1].done);
	start_read(2, 7, 1); /* after the write: it may not join the fetch */
	bed_complete_at(bed.rams[0], 0);
	bed_turn(&bed);
	bed_release(bed.rams[0], 9);
	bed_turn(&bed);
	assert_true(calls[0].done && calls[2].done);
	assert_true(bed_is(buffers[2], 7, 1, 2));
	bed.hold = false;
	assert_int_equal(bed_read(&bed, 7, 1, got), STATUS_OK);
	assert_true(bed_is(got, 7, 1, 2));
	bed_close(&bed);
}

static void errors_are_each_ones_own(void **state)
{
	(void)state;
	bed_open(&bed, "cache size=256K | ram");
	write_all(1);
	bed.rams[0]->fail = 1;
	bed.rams[0]->fail_ops = 1u << BLK_READ;
	bed.rams[0]->fail_status = STATUS_IO;
	assert_int_equal(bed_read(&bed, 0, 2, got), STATUS_OK); /* by itself, past the cache */
	bed.rams[0]->fail = 2;
	assert_int_equal(bed_read(&bed, 0, 2, got), STATUS_IO);
	assert_int_equal(bed_read(&bed, 0, 2, got), STATUS_OK);
	/* A write that fails leaves old or new: what was kept goes. */
	bed.rams[0]->fail = 1;
	bed.rams[0]->fail_ops = 1u << BLK_WRITE;
	bed_fill(data, 0, 1, 5);
	assert_int_equal(bed_write(&bed, 0, 1, data), STATUS_IO);
	assert_int_equal(bed_read(&bed, 0, 1, got), STATUS_OK);
	assert_true(bed_is(got, 0, 1, 1));
	bed_close(&bed);
}

static void long_reads_go_past(void **state)
{
	char text[512];
	struct stack_part part;

	(void)state;
	bed_open(&bed, "cache size=64K large=32K | ram");
	write_all(1);
	assert_int_equal(bed_read(&bed, 0, 32, got), STATUS_OK);
	assert_true(bed_is(got, 0, 32, 1));
	assert_int_equal(device_reads(), 1);
	assert_true(stack_part(bed.stack, 0, &part));
	part.layer->describe(part.blk, text, sizeof(text));
	assert_non_null(strstr(text, "misses=0 joined=0 bypassed=1"));
	bed_close(&bed);
	/* Fewer fetches than misses: the others go past, and do not wait. */
	bed_open(&bed, "cache size=64K fetches=1 | ram");
	bed.hold = true;
	start_read(0, 0, 1);
	start_read(1, 9, 1);
	assert_int_equal(bed.rams[0]->held_count, 2);
	bed_release(bed.rams[0], 2);
	bed_turn(&bed);
	assert_true(calls[0].done && calls[1].done);
	bed.hold = false;
	bed_close(&bed);
}

static void refuses_what_cannot_be(void **state)
{
	(void)state;
	assert_int_equal(bed_try_open(&bed, "cache size=64K page=16K | ram"), STATUS_INVALID);
	assert_non_null(strstr(bed.error, "at least 16 pages"));
	assert_int_equal(bed_try_open(&bed, "cache size=1T | ram"), STATUS_NO_SPACE);
	assert_int_equal(bed_try_open(&bed, "cache size=1M policy=mru | ram"), STATUS_INVALID);
	assert_int_equal(bed_try_open(&bed, "cache size=1M page=5K | ram"), STATUS_INVALID);
	assert_int_equal(bed.env.memory, 64u << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_hit_touches_no_device, set_up),
		cmocka_unit_test_setup(a_miss_is_read_once, set_up),
		cmocka_unit_test_setup(writes_are_seen, set_up),
		cmocka_unit_test_setup(a_fetch_that_was_overtaken_is_not_kept, set_up),
		cmocka_unit_test_setup(errors_are_each_ones_own, set_up),
		cmocka_unit_test_setup(long_reads_go_past, set_up),
		cmocka_unit_test_setup(refuses_what_cannot_be, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
