/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: what goes together, what waits and how long, and whose error is whose. */
#include "layer_bed.h"

#include <string.h>

enum { CALLS = 64 };

static struct layer_bed bed;
static struct bed_call calls[CALLS];
static uint8_t data[CALLS][BED_BLOCK], got[CALLS * BED_BLOCK];

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	return 0;
}

static void start_write(unsigned i, uint64_t lba, uint32_t flags)
{
	bed_fill(data[i], lba, 1, 1);
	bed_start(&bed, &calls[i],
	          (struct blk_cmd){ .op = BLK_WRITE, .flags = flags, .lba = lba, .block_count = 1 },
	          data[i]);
}

static uint64_t device_writes(void)
{
	return bed.rams[0]->blk.submitted[BLK_WRITE];
}

/* The first goes at once; what comes meanwhile goes together, in any order of arrival. */
static void neighbours_go_as_one(void **state)
{
	(void)state;
	bed_open(&bed, "batch | ram");
	bed.hold = true;
	start_write(0, 200, 0);
	for (unsigned i = 1; i < 33; i++)
		start_write(i, i % 2 == 0 ? i : 34 - i, 0); /* 2..33 and no 1 */
	start_write(33, 100, 0);
	bed_turn(&bed);
	assert_int_equal(device_writes(), 1);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_true(calls[0].done);
	assert_false(calls[1].done);
	assert_int_equal(device_writes(), 3);
	bed_release(bed.rams[0], 2);
	bed_turn(&bed);
	for (unsigned i = 0; i < 34; i++)
		assert_true(calls[i].done && calls[i].status == STATUS_OK);
	bed.hold = false;
	assert_int_equal(bed_read(&bed, 2, 32, got), STATUS_OK);
	assert_true(bed_is(got, 2, 32, 1));
	bed_close(&bed);
}

/* Sequential writes of 4 KiB become commands of the size that was asked for. */
static void small_writes_become_large_ones(void **state)
{
	(void)state;
	bed_open(&bed, "batch size=128K | ram");
	bed.hold = true;
	start_write(0, 200, 0);
	for (unsigned i = 1; i < CALLS; i++)
		start_write(i, i, 0);
	/* So much need not wait. */
	bed_turn(&bed);
	assert_int_equal(device_writes(), 2);
	bed_release(bed.rams[0], 2);
	bed_turn(&bed);
	assert_int_equal(device_writes(), 3);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	for (unsigned i = 0; i < CALLS; i++)
		assert_true(calls[i].done);
	bed.hold = false;
	bed_close(&bed);
}

static void different_ones_stay_apart(void **state)
{
	(void)state;
	bed_open(&bed, "batch | ram");
	bed.hold = true;
	start_write(0, 200, 0);
	start_write(1, 1, 0);
	start_write(2, 2, BLK_FUA);
	start_write(3, 3, BLK_FUA);
	start_write(4, 3, BLK_FUA); /* the same block again */
	bed_turn(&bed);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_int_equal(device_writes(), 4);
	bed_release(bed.rams[0], 9);
	bed_turn(&bed);
	bed.hold = false;
	bed_close(&bed);
}

static void all_of_a_batch_share_its_end(void **state)
{
	(void)state;
	bed_open(&bed, "batch | ram");
	bed.hold = true;
	start_write(0, 200, 0);
	start_write(1, 1, 0);
	start_write(2, 2, 0);
	start_write(3, 9, 0);
	bed_turn(&bed);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	bed.rams[0]->fail = 1;
	bed.rams[0]->fail_ops = 1u << BLK_WRITE;
	bed.rams[0]->fail_status = STATUS_NO_SPACE;
	bed_release(bed.rams[0], 2);
	bed_turn(&bed);
	assert_int_equal(calls[1].status, STATUS_NO_SPACE);
	assert_int_equal(calls[2].status, STATUS_NO_SPACE);
	assert_true(calls[3].done && calls[3].status == STATUS_OK);
	bed.hold = false;
	bed_close(&bed);
}

/* The oldest one's wait counts: a trickle does not keep it for ever. */
static void a_wait_is_bounded(void **state)
{
	(void)state;
	bed_open(&bed, "batch wait=10ms size=64K | ram");
	for (unsigned i = 0; i < 5; i++) {
		start_write(i, i, 0);
		bed_turn(&bed);
		assert_int_equal(device_writes(), 0);
		bed_advance(&bed, 2000000);
	}
	bed_advance(&bed, 2000000);
	assert_int_equal(device_writes(), 1);
	for (unsigned i = 0; i < 5; i++)
		assert_true(calls[i].done);
	for (unsigned i = 0; i < 16; i++)
		start_write(i, i, 0);
	bed_turn(&bed);
	assert_int_equal(device_writes(), 2); /* size= is there: nobody waits */
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(neighbours_go_as_one, set_up),
		cmocka_unit_test_setup(small_writes_become_large_ones, set_up),
		cmocka_unit_test_setup(different_ones_stay_apart, set_up),
		cmocka_unit_test_setup(all_of_a_batch_share_its_end, set_up),
		cmocka_unit_test_setup(a_wait_is_bounded, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
