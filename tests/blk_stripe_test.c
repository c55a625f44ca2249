/* SPDX-License-Identifier: Apache-2.0 */
/* Stripes: where each block lies, what ranges and flushes become, and devices that do not fit. */
#include "layer_bed.h"

#include <string.h>

static struct layer_bed bed;
static uint8_t data[64 * BED_BLOCK], got[64 * BED_BLOCK];

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	return 0;
}

/* Chunks of two blocks over three devices, the smallest of which says how much there is. */
static void deals_out_chunks(void **state)
{
	static uint8_t block[BED_BLOCK];

	(void)state;
	bed_open(&bed, "stripe chunk=8K { ram size=128K | ram size=100K | ram size=128K }");
	assert_int_equal(bed.blk->geometry.block_count, 3 * 24);
	bed_fill(data, 1, 40, 1);
	assert_int_equal(bed_write(&bed, 1, 40, data), STATUS_OK);
	for (uint64_t lba = 1; lba < 41; lba++) {
		const struct bed_ram *ram = bed.rams[lba / 2 % 3];

		bed_fill(block, lba, 1, 1);
		assert_memory_equal(ram->data + (lba / 6 * 2 + lba % 2) * BED_BLOCK, block,
		                    BED_BLOCK);
	}
	assert_int_equal(bed_read(&bed, 1, 40, got), STATUS_OK);
	assert_memory_equal(got, data, 40 * BED_BLOCK);
	bed_close(&bed);
}

static void ranges_are_one_on_each(void **state)
{
	(void)state;
	bed_open(&bed, "stripe chunk=8K { ram | ram | ram }");
	bed_fill(data, 0, 64, 1);
	assert_int_equal(bed_write(&bed, 0, 64, data), STATUS_OK);
	assert_int_equal(bed_do(&bed,
	                        (struct blk_cmd){ .op = BLK_ZEROES, .lba = 3, .block_count = 40 },
	                        NULL),
	                 STATUS_OK);
	assert_int_equal(bed_do(&bed,
	                        (struct blk_cmd){ .op = BLK_DISCARD, .lba = 50, .block_count = 1 },
	                        NULL),
	                 STATUS_OK);
	assert_int_equal(bed_flush(&bed), STATUS_OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(bed.rams[i]->blk.submitted[BLK_ZEROES], 1);
		assert_int_equal(bed.rams[i]->blk.submitted[BLK_DISCARD], i == 50 / 2 % 3);
		assert_int_equal(bed.rams[i]->blk.submitted[BLK_FLUSH], 1);
	}
	assert_int_equal(bed_read(&bed, 0, 64, got), STATUS_OK);
	assert_true(bed_is(got, 0, 3, 1) && bed_is(got + 3 * BED_BLOCK, 3, 40, 0));
	assert_true(bed_is(got + 43 * BED_BLOCK, 43, 7, 1));
	assert_true(bed_is(got + 50 * BED_BLOCK, 50, 1, 0));
	assert_true(bed_is(got + 51 * BED_BLOCK, 51, 13, 1));
	bed_close(&bed);
}

/* One that fails fails the whole, after all have ended. */
static void errors_come_last(void **state)
{
	struct bed_call call;

	(void)state;
	bed_open(&bed, "stripe chunk=8K { ram | ram }");
	bed.hold = true;
	bed.rams[0]->fail = 1;
	bed.rams[0]->fail_ops = 1u << BLK_WRITE;
	bed.rams[0]->fail_status = STATUS_NO_SPACE;
	bed_start(&bed, &call, (struct blk_cmd){ .op = BLK_WRITE, .block_count = 4 }, data);
	bed_turn(&bed);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_false(call.done);
	bed_release(bed.rams[1], 1);
	bed_turn(&bed);
	assert_true(call.done);
	assert_int_equal(call.status, STATUS_NO_SPACE);
	bed.hold = false;
	bed_close(&bed);
}

/* More segments than a piece has room for make more pieces. */
static void many_segments_make_more_pieces(void **state)
{
	enum { PARTS = 64 };
	struct iovec v[PARTS];
	struct bed_call call;

	(void)state;
	bed_open(&bed, "stripe chunk=64K { ram | ram }");
	bed_fill(data, 0, 8, 3);
	for (unsigned i = 0; i < PARTS; i++)
		v[i] = (struct iovec){ data + i * 512, 512 };
	bed_submit(&bed, &call,
	           (struct blk_cmd){
	                   .op = BLK_WRITE, .block_count = 8, .iov = v, .iov_count = PARTS });
	bed_turn(&bed);
	assert_true(call.done && call.status == STATUS_OK);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], 2);
	assert_int_equal(bed_read(&bed, 0, 8, got), STATUS_OK);
	assert_true(bed_is(got, 0, 8, 3));
	bed_close(&bed);
}

static void refuses_what_does_not_fit(void **state)
{
	(void)state;
	assert_int_equal(bed_try_open(&bed, "stripe { ram | ram block_size=512 }"), STATUS_INVALID);
	assert_non_null(strstr(bed.error, "blocks of 4096 and of 512"));
	assert_int_equal(bed_try_open(&bed, "stripe chunk=6K { ram | ram }"), STATUS_INVALID);
	assert_int_equal(bed_try_open(&bed, "stripe chunk=16M { ram | ram }"), STATUS_INVALID);
	assert_int_equal(bed_try_open(&bed, "stripe { ram }"), STATUS_INVALID);
	assert_int_equal(bed.env.memory, 64u << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(deals_out_chunks, set_up),
		cmocka_unit_test_setup(ranges_are_one_on_each, set_up),
		cmocka_unit_test_setup(errors_come_last, set_up),
		cmocka_unit_test_setup(many_segments_make_more_pieces, set_up),
		cmocka_unit_test_setup(refuses_what_does_not_fit, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
