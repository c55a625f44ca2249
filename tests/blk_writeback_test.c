/* SPDX-License-Identifier: Apache-2.0 */
/* The volatile write cache: what is combined, what a flush waits for, and what a refusal does. */
#include "layer_bed.h"

#include <stdlib.h>

static struct layer_bed bed;
static uint8_t data[64 * BED_BLOCK], got[64 * BED_BLOCK];

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	return 0;
}

static uint64_t device(enum blk_op op)
{
	return bed.rams[0]->blk.submitted[op];
}

static void write_one(uint64_t lba, uint32_t version)
{
	bed_fill(data, lba, 1, version);
	assert_int_equal(bed_write(&bed, lba, 1, data), STATUS_OK);
}

/* One after the other, 4 KiB each: the device sees commands of 64 blocks. */
static void small_writes_become_large_ones(void **state)
{
	(void)state;
	bed_open(&bed, "writeback size=1M dirty=64 | ram");
	assert_true(bed.blk->geometry.volatile_cache);
	for (uint64_t lba = 0; lba < 192; lba++)
		write_one(lba, 1);
	assert_int_equal(device(BLK_WRITE), 3);
	assert_int_equal(bed_read(&bed, 100, 60, got), STATUS_OK);
	assert_true(bed_is(got, 100, 60, 1));
	bed_close(&bed);
}

/* The same block again and again is written once. */
static void rewrites_are_absorbed(void **state)
{
	(void)state;
	bed_open(&bed, "writeback size=1M | ram");
	for (uint32_t version = 1; version < 100; version++)
		write_one(7, version);
	assert_int_equal(device(BLK_WRITE), 0);
	assert_int_equal(bed_read(&bed, 7, 1, got), STATUS_OK);
	assert_true(bed_is(got, 7, 1, 99));
	assert_int_equal(device(BLK_READ), 0);
	/* Beside what is only below. */
	assert_int_equal(bed_read(&bed, 6, 3, got), STATUS_OK);
	assert_true(bed_is(got + BED_BLOCK, 7, 1, 99));
	bed_advance(&bed, 150000000);
	assert_int_equal(device(BLK_WRITE), 1);
	assert_true(bed_is(bed.rams[0]->data + 7 * BED_BLOCK, 7, 1, 99));
	bed_close(&bed);
}

static void a_flush_writes_and_flushes(void **state)
{
	struct bed_call call, fua;

	(void)state;
	bed_open(&bed, "writeback size=1M | ram volatile=yes");
	write_one(1, 1);
	write_one(2, 1);
	bed.hold = true;
	bed_start(&bed, &call, (struct blk_cmd){ .op = BLK_FLUSH }, NULL);
	bed_turn(&bed);
	assert_int_equal(device(BLK_WRITE), 1);
	assert_int_equal(device(BLK_FLUSH), 0);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_int_equal(device(BLK_FLUSH), 1);
	assert_false(call.done);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_true(call.done && call.status == STATUS_OK);
	/* FUA is the same for one write. */
	bed_fill(data, 9, 1, 2);
	bed_start(&bed, &fua,
	          (struct blk_cmd){ .op = BLK_WRITE, .flags = BLK_FUA, .lba = 9, .block_count = 1 },
	          data);
	bed_turn(&bed);
	assert_int_equal(device(BLK_WRITE), 2);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_false(fua.done);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_true(fua.done && fua.status == STATUS_OK);
	bed.hold = false;
	bed_close(&bed);
}

/* Who waits is told; what was acknowledged is kept, and there when the device takes it. */
static void what_is_refused_is_kept(void **state)
{
	(void)state;
	bed_open(&bed, "writeback size=1M | ram");
	write_one(3, 5);
	bed.rams[0]->fail = 2;
	bed.rams[0]->fail_ops = 1u << BLK_WRITE;
	bed.rams[0]->fail_status = STATUS_NO_SPACE;
	assert_int_equal(bed_flush(&bed), STATUS_NO_SPACE);
	assert_int_equal(bed_read(&bed, 3, 1, got), STATUS_OK);
	assert_true(bed_is(got, 3, 1, 5));
	assert_int_equal(bed_flush(&bed), STATUS_NO_SPACE);
	assert_int_equal(bed_flush(&bed), STATUS_OK);
	assert_true(bed_is(bed.rams[0]->data + 3 * BED_BLOCK, 3, 1, 5));
	bed_close(&bed);
}

static void writes_wait_for_room(void **state)
{
	static struct bed_call calls[12];

	(void)state;
	bed_open(&bed, "writeback size=32K | ram");
	assert_int_equal(bed.blk->geometry.transfer_max, 2);
	bed.hold = true;
	bed_fill(data, 0, 12, 1);
	for (unsigned i = 0; i < 12; i++)
		bed_start(&bed, &calls[i],
		          (struct blk_cmd){ .op = BLK_WRITE, .lba = i, .block_count = 1 },
		          data + i * BED_BLOCK);
	bed_turn(&bed);
	assert_true(calls[7].done);
	assert_false(calls[8].done);
	bed.hold = false;
	bed_release(bed.rams[0], 100);
	bed_turn(&bed);
	assert_true(calls[11].done && calls[11].status == STATUS_OK);
	bed_close(&bed);
}

static void stopping_writes_all(void **state)
{
	uint8_t *disk = calloc(1, 1 << 20);

	(void)state;
	bed.disks[0] = disk;
	bed_open(&bed, "writeback size=1M | ram index=1");
	write_one(50, 8);
	bed_close(&bed);
	assert_true(bed_is(disk + 50 * BED_BLOCK, 50, 1, 8));
	free(disk);
	assert_int_equal(bed_try_open(&bed, "writeback size=32K | ram block_size=8K"),
	                 STATUS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(small_writes_become_large_ones, set_up),
		cmocka_unit_test_setup(rewrites_are_absorbed, set_up),
		cmocka_unit_test_setup(a_flush_writes_and_flushes, set_up),
		cmocka_unit_test_setup(what_is_refused_is_kept, set_up),
		cmocka_unit_test_setup(writes_wait_for_room, set_up),
		cmocka_unit_test_setup(stopping_writes_all, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
