/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror: quorum, devices that fail, come back and are replaced, marks, and power cuts. */
#include "layer_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct layer_bed bed;
static uint8_t data[64 * BED_BLOCK], got[64 * BED_BLOCK];
static char text[512];

enum { START = 64 << 10, SIZE = 1 << 20 };

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	for (unsigned i = 0; i < 3; i++) {
		bed.disks[i] = calloc(1, SIZE);
		assert_non_null(bed.disks[i]);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		free(bed.disks[i]);
	return 0;
}

static const char *told(void)
{
	struct stack_part part;

	assert_true(stack_part(bed.stack, 0, &part));
	part.layer->describe(part.blk, text, sizeof(text));
	return text;
}

static void assert_told(const char *what)
{
	if (strstr(told(), what) == NULL)
		fail_msg("%s: says not %s", text, what);
}

static void fail_leg(unsigned leg, uint32_t ops, unsigned count)
{
	bed.rams[leg]->fail = count;
	bed.rams[leg]->fail_ops = ops;
	bed.rams[leg]->fail_status = STATUS_IO;
}

enum { WRITES = 1u << BLK_WRITE | 1u << BLK_FLUSH, ALL = (1u << BLK_OP_COUNT) - 1 };

static void open_new(const char *options, unsigned legs)
{
	char line[256];

	snprintf(line, sizeof(line),
	         "mirror adopt=clean region=64K %s { ram index=1 | ram index=2%s }", options,
	         legs == 3 ? " | ram index=3" : "");
	bed_open(&bed, line);
}

static enum status open_again(const char *options, unsigned legs)
{
	char line[256];

	snprintf(line, sizeof(line), "mirror region=64K %s { ram index=1 | ram index=2%s }",
	         options, legs == 3 ? " | ram index=3" : "");
	return bed_try_open(&bed, line);
}

static bool leg_has(unsigned leg, uint64_t lba, uint32_t count, uint32_t version)
{
	return bed_is(bed.disks[leg] + START + lba * BED_BLOCK, lba, count, version);
}

static void write_version(uint64_t lba, uint32_t count, uint32_t version)
{
	bed_fill(data, lba, count, version);
	assert_int_equal(bed_write(&bed, lba, count, data), STATUS_OK);
}

static void assert_reads(uint64_t lba, uint32_t count, uint32_t version)
{
	assert_int_equal(bed_read(&bed, lba, count, got), STATUS_OK);
	assert_true(bed_is(got, lba, count, version));
}

static void writes_to_all(void **state)
{
	(void)state;
	open_new("quorum=2", 2);
	assert_int_equal(bed.blk->geometry.block_count, (SIZE - START) / BED_BLOCK);
	write_version(5, 4, 1);
	assert_reads(5, 4, 1);
	assert_int_equal(bed_flush(&bed), STATUS_OK);
	bed_close(&bed);
	assert_true(leg_has(0, 5, 4, 1) && leg_has(1, 5, 4, 1));
	/* Ended cleanly: nothing is marked, nothing is copied. */
	assert_int_equal(open_again("quorum=2", 2), STATUS_OK);
	assert_told("in in; quorum 2 of 2");
	assert_told("behind=0 copied=0");
	assert_reads(5, 4, 1);
	bed_close(&bed);
}

static void one_that_fails_is_out_and_comes_back(void **state)
{
	(void)state;
	open_new("quorum=2", 3);
	write_version(1, 1, 1);
	fail_leg(1, WRITES, 1000000);
	write_version(1, 2, 2);
	assert_told("in out in; quorum 2 of 3");
	write_version(40, 2, 2);
	assert_reads(1, 2, 2);
	bed_close(&bed);
	assert_false(leg_has(1, 1, 2, 2));
	/* It is known to be behind, and gets what it missed: two regions. */
	assert_int_equal(open_again("quorum=2", 3), STATUS_OK);
	bed_turn(&bed);
	assert_told("in in in");
	assert_told("copied=2");
	bed_close(&bed);
	assert_true(leg_has(1, 1, 2, 2) && leg_has(1, 40, 2, 2));
	assert_int_equal(open_again("quorum=2", 3), STATUS_OK);
	assert_told("behind=0 copied=0");
	bed_close(&bed);
}

static void without_a_quorum_nothing_is_said_to_be_written(void **state)
{
	(void)state;
	open_new("quorum=2", 2);
	write_version(1, 1, 1);
	fail_leg(1, WRITES, 1000000);
	bed_fill(data, 1, 1, 2);
	assert_int_equal(bed_write(&bed, 1, 1, data), STATUS_UNAVAILABLE);
	fail_leg(1, 0, 0);
	assert_int_equal(bed_write(&bed, 2, 1, data), STATUS_UNAVAILABLE);
	assert_int_equal(bed_flush(&bed), STATUS_UNAVAILABLE);
	assert_int_equal(bed_read(&bed, 1, 1, got), STATUS_OK);
	assert_told("no quorum");
	bed_close(&bed);
	/* Both are there again. */
	assert_int_equal(open_again("quorum=2", 2), STATUS_OK);
	bed_turn(&bed);
	write_version(1, 1, 3);
	bed_close(&bed);
	assert_true(leg_has(0, 1, 1, 3) && leg_has(1, 1, 1, 3));
}

/* The first one is out; alone it may not say what is true. */
static void a_device_that_was_away_is_not_believed(void **state)
{
	(void)state;
	open_new("quorum=1", 2);
	write_version(3, 1, 1);
	fail_leg(0, WRITES, 1000000);
	write_version(3, 1, 2);
	assert_told("out in");
	assert_reads(3, 1, 2);
	bed_close(&bed);
	assert_true(leg_has(0, 3, 1, 1) && leg_has(1, 3, 1, 2));
	/* The other one cannot be read: nobody knows. */
	assert_int_equal(bed_try_open(&bed, "mirror region=64K quorum=1 { ram index=1 | (fault "
	                                    "op=read | ram index=2) }"),
	                 STATUS_UNAVAILABLE);
	assert_int_equal(open_again("quorum=1", 2), STATUS_OK);
	bed_turn(&bed);
	assert_reads(3, 1, 2);
	assert_told("in in");
	bed_close(&bed);
	assert_true(leg_has(0, 3, 1, 2));
}

static void reads_go_to_another_one(void **state)
{
	(void)state;
	open_new("", 2);
	write_version(7, 3, 1);
	fail_leg(0, 1u << BLK_READ, 1);
	assert_reads(7, 3, 1);
	assert_told("switched=1");
	fail_leg(0, 1u << BLK_READ, 1);
	fail_leg(1, 1u << BLK_READ, 1);
	assert_int_equal(bed_read(&bed, 7, 3, got), STATUS_IO);
	assert_told("in in");
	bed_close(&bed);
}

static void a_new_device_is_copied_to(void **state)
{
	(void)state;
	open_new("", 3);
	write_version(0, 64, 1);
	bed_close(&bed);
	memset(bed.disks[2], 0xaa, SIZE);
	assert_int_equal(open_again("", 3), STATUS_OK);
	assert_told("in in out");
	bed_close(&bed);
	assert_int_equal(open_again("adopt=yes", 3), STATUS_OK);
	/* While it is copied, writes go on. */
	write_version(100, 4, 2);
	bed_turn(&bed);
	assert_told("in in in");
	assert_told("behind=0 copied=15");
	bed_close(&bed);
	assert_true(leg_has(2, 0, 64, 1) && leg_has(2, 100, 4, 2));
	assert_memory_equal(bed.disks[2] + START, bed.disks[0] + START, SIZE - START);
}

static void devices_of_others_are_refused(void **state)
{
	(void)state;
	assert_int_equal(open_again("", 2), STATUS_NOT_FOUND);
	open_new("", 2);
	bed_close(&bed);
	assert_int_equal(open_again("", 3), STATUS_CONFLICT);           /* another number */
	assert_int_equal(open_again("region=128K", 2), STATUS_INVALID); /* said twice */
	assert_int_equal(bed_try_open(&bed, "mirror region=64K { ram index=2 | ram index=1 }"),
	                 STATUS_CONFLICT); /* another order */
	assert_int_equal(bed_try_open(&bed, "mirror quorum=3 { ram index=1 | ram index=2 }"),
	                 STATUS_INVALID);
	assert_int_equal(bed_try_open(&bed, "mirror { ram index=1 | ram block_size=512 }"),
	                 STATUS_INVALID);
}

/* A region is marked once, before the first write, and unmarked when nothing happens. */
static void marks_come_and_go(void **state)
{
	uint64_t writes;

	(void)state;
	open_new("clean=100ms", 2);
	writes = bed.rams[0]->blk.submitted[BLK_WRITE];
	write_version(1, 1, 1);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], writes + 2);
	write_version(2, 1, 1);
	write_version(3, 1, 1);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], writes + 4);
	bed_advance(&bed, 350000000);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], writes + 5);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_FLUSH], 1);
	bed_advance(&bed, 350000000);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], writes + 5);
	write_version(2, 1, 2);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], writes + 7);
	bed_close(&bed);
}

static void many_writes_share_a_mark(void **state)
{
	static struct bed_call calls[20];
	uint64_t writes;

	(void)state;
	open_new("commands=3", 2);
	writes = bed.rams[0]->blk.submitted[BLK_WRITE];
	bed_fill(data, 0, 20, 4);
	for (unsigned i = 0; i < 20; i++)
		bed_start(&bed, &calls[i],
		          (struct blk_cmd){ .op = BLK_WRITE, .lba = i, .block_count = 1 },
		          data + i * BED_BLOCK);
	bed_turn(&bed);
	for (unsigned i = 0; i < 20; i++)
		assert_true(calls[i].done && calls[i].status == STATUS_OK);
	assert_in_range(bed.rams[0]->blk.submitted[BLK_WRITE] - writes, 21, 23);
	bed_close(&bed);
	assert_true(leg_has(0, 0, 20, 4) && leg_has(1, 0, 20, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writes_to_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_fails_is_out_and_comes_back, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(without_a_quorum_nothing_is_said_to_be_written,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_device_that_was_away_is_not_believed, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(reads_go_to_another_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_new_device_is_copied_to, set_up, tear_down),
		cmocka_unit_test_setup_teardown(devices_of_others_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(marks_come_and_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_writes_share_a_mark, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
