/* SPDX-License-Identifier: Apache-2.0 */
/* The layers that change no data: fork, fault, retry, throttle. */
#include "layer_bed.h"

#include <string.h>

enum { CALLS = 40 };

static struct layer_bed bed;
static struct slot {
	struct bed_call call;
	uint8_t data[BED_BLOCK];
} calls[CALLS];

static const struct blk_cmd one_write = { .op = BLK_WRITE, .block_count = 1 };

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	return 0;
}

static void start_writes(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct blk_cmd cmd = one_write;

		cmd.lba = i;
		bed_fill(calls[i].data, i, 1, 1);
		bed_start(&bed, &calls[i].call, cmd, calls[i].data);
	}
	bed_turn(&bed);
}

static unsigned done_count(unsigned count)
{
	unsigned done = 0;

	for (unsigned i = 0; i < count; i++) {
		if (calls[i].call.done)
			assert_int_equal(calls[i].call.status, STATUS_OK);
		done += calls[i].call.done;
	}
	return done;
}

static void fork_starts_anew_and_bounds(void **state)
{
	struct stack_part part;

	(void)state;
	bed_open(&bed, "fork requests=3 | ram");
	assert_true(stack_part(bed.stack, 0, &part));
	assert_int_equal(part.blk->frames_size, 64);
	bed.hold = true;
	start_writes(10);
	assert_int_equal(bed.rams[0]->held_count, 3);
	bed_release(bed.rams[0], 1);
	bed_turn(&bed);
	assert_int_equal(done_count(10), 1);
	assert_int_equal(bed.rams[0]->held_count, 3);
	while (bed.rams[0]->held_count > 0) {
		bed_release(bed.rams[0], 1);
		bed_turn(&bed);
	}
	assert_int_equal(done_count(10), 10);
	bed.hold = false;
	for (unsigned i = 0; i < 10; i++)
		assert_true(bed_is(bed.rams[0]->data + i * BED_BLOCK, i, 1, 1));
	bed.rams[0]->fail = 1;
	bed.rams[0]->fail_ops = 1u << BLK_WRITE;
	bed.rams[0]->fail_status = STATUS_NO_SPACE;
	assert_int_equal(bed_write(&bed, 0, 1, calls[0].data), STATUS_NO_SPACE);
	bed_close(&bed);
}

static void fork_makes_deep_stacks_fit(void **state)
{
	(void)state;
	assert_int_equal(bed_try_open(&bed, "retry|retry|retry|retry|retry|ram"), STATUS_INVALID);
	bed_open(&bed, "retry|retry|fork|retry|retry|retry|ram");
	assert_int_equal(bed_write(&bed, 3, 1, calls[0].data), STATUS_OK);
	bed_close(&bed);
}

static void fault_fails_what_is_chosen(void **state)
{
	uint8_t *data = calls[0].data;

	(void)state;
	bed_open(&bed, "fault op=write status=no_space skip=1 count=2 | ram");
	assert_int_equal(bed_write(&bed, 0, 1, data), STATUS_OK);
	assert_int_equal(bed_write(&bed, 0, 1, data), STATUS_NO_SPACE);
	assert_int_equal(bed_read(&bed, 0, 1, data), STATUS_OK);
	assert_int_equal(bed_write(&bed, 0, 1, data), STATUS_NO_SPACE);
	assert_int_equal(bed_write(&bed, 0, 1, data), STATUS_OK);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], 2);
	bed_close(&bed);
}

static void fault_has_a_rate(void **state)
{
	unsigned failed = 0;

	(void)state;
	bed_open(&bed, "fault op=read rate=250000 | ram");
	for (unsigned i = 0; i < 1000; i++)
		failed += bed_read(&bed, 0, 1, calls[0].data) == STATUS_IO;
	assert_in_range(failed, 200, 300);
	bed_close(&bed);
}

/* Blocks are new from the first one on, and old from some one on. */
static void fault_tears_writes(void **state)
{
	static uint8_t data[8 * BED_BLOCK], got[8 * BED_BLOCK];
	unsigned written = 0, torn = 0;

	(void)state;
	bed_open(&bed, "fault op=write torn=yes | ram");
	for (uint32_t version = 1; version < 50; version++) {
		struct iovec v[8];
		struct bed_call call;
		uint32_t first_old = 0;

		bed_fill(data, 0, 8, version);
		for (unsigned i = 0; i < 8; i++)
			v[i] = (struct iovec){ data + i * BED_BLOCK, BED_BLOCK };
		bed_submit(&bed, &call,
		           (struct blk_cmd){
		                   .op = BLK_WRITE, .block_count = 8, .iov = v, .iov_count = 8 });
		bed_turn(&bed);
		assert_true(call.done);
		assert_int_equal(call.status, STATUS_IO);
		assert_int_equal(bed_read(&bed, 0, 8, got), STATUS_OK);
		while (first_old < 8 && bed_is(got + first_old * BED_BLOCK, first_old, 1, version))
			first_old++;
		for (unsigned i = first_old; i < 8; i++)
			assert_false(bed_is(got + i * BED_BLOCK, i, 1, version));
		assert_true(first_old < 8);
		torn += first_old > 0;
		written += first_old;
	}
	assert_true(torn > 20 && written > 60);
	bed_close(&bed);
}

static void fault_delays(void **state)
{
	(void)state;
	bed_open(&bed, "fault op=write delay=20ms count=1 skip=1000 | ram");
	start_writes(3);
	bed_advance(&bed, 15000000);
	assert_int_equal(done_count(3), 0);
	bed_advance(&bed, 8000000);
	assert_int_equal(done_count(3), 3);
	bed_close(&bed);
}

static void retry_tries_again(void **state)
{
	uint8_t *data = calls[0].data;

	(void)state;
	bed_open(&bed, "retry tries=3 | fault status=busy count=2 op=write | ram");
	bed_fill(data, 7, 1, 9);
	assert_int_equal(bed_write(&bed, 7, 1, data), STATUS_OK);
	assert_true(bed_is(bed.rams[0]->data + 7 * BED_BLOCK, 7, 1, 9));
	bed_close(&bed);
	/* No more than it may. */
	bed_open(&bed, "retry tries=3 | fault status=busy count=3 op=write | ram");
	assert_int_equal(bed_write(&bed, 7, 1, data), STATUS_BUSY);
	assert_int_equal(bed_write(&bed, 7, 1, data), STATUS_OK);
	bed_close(&bed);
	/* What does not pass is not tried, unless it was asked for; flushes never are. */
	bed_open(&bed, "retry | fault status=io count=2 | ram");
	assert_int_equal(bed_write(&bed, 7, 1, data), STATUS_IO);
	bed_close(&bed);
	bed_open(&bed, "retry io=yes | fault status=io count=2 op=read | ram");
	assert_int_equal(bed_read(&bed, 7, 1, data), STATUS_OK);
	bed_close(&bed);
	bed_open(&bed, "retry io=yes | fault status=busy count=1 op=flush | ram");
	assert_int_equal(bed_flush(&bed), STATUS_BUSY);
	assert_int_equal(bed_flush(&bed), STATUS_OK);
	bed_close(&bed);
}

/* A wait doubles to its limit, and is at least half of that. */
static void retry_waits(void **state)
{
	uint64_t started_ns;

	(void)state;
	bed_open(&bed, "retry tries=5 wait=100ms wait_max=400ms | fault status=timeout | ram");
	started_ns = bed.now_ns;
	assert_int_equal(bed_write(&bed, 0, 1, calls[0].data), STATUS_TIMEOUT);
	assert_in_range(bed.now_ns - started_ns, 550000000, 1110000000);
	bed_close(&bed);
}

static void retry_has_a_budget(void **state)
{
	(void)state;
	bed_open(&bed, "retry tries=2 budget=10 wait=1ms | fault status=busy op=write | ram");
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(bed_write(&bed, 0, 1, calls[0].data), STATUS_BUSY);
	/* 400 tries, a retry for each of the first hundred, and one for ten of all. */
	assert_in_range(stack_top(bed.stack)->submitted[BLK_WRITE], 400, 400);
	{
		struct stack_part part;

		assert_true(stack_part(bed.stack, 1, &part));
		assert_in_range(part.blk->submitted[BLK_WRITE], 525, 545);
	}
	bed_close(&bed);
}

static void retry_heeds_deadlines(void **state)
{
	struct bed_call *call = &calls[0].call;

	(void)state;
	bed_open(&bed, "retry tries=100 wait=10ms wait_max=10ms | fault status=busy | ram");
	bed_start(&bed, call, one_write, calls[0].data);
	call->req.deadline_ns = bed.now_ns + 100000000;
	bed_turn(&bed);
	bed_advance(&bed, 90000000);
	assert_false(call->done);
	bed_advance(&bed, 40000000);
	assert_true(call->done);
	bed_start(&bed, call, one_write, calls[0].data);
	bed_turn(&bed);
	req_cancel(&call->req);
	bed_advance(&bed, 30000000);
	assert_true(call->done);
	assert_int_equal(call->status, STATUS_CANCELED);
	bed_close(&bed);
}

static void throttle_rations_commands(void **state)
{
	(void)state;
	bed_open(&bed, "throttle iops=100 burst=50ms | ram");
	start_writes(30);
	/* The burst, and the one that is being paid for. */
	assert_in_range(done_count(30), 5, 7);
	bed_advance(&bed, 100000000);
	assert_in_range(done_count(30), 15, 17);
	bed_advance(&bed, 300000000);
	assert_int_equal(done_count(30), 30);
	bed_close(&bed);
}

static void throttle_rations_bytes(void **state)
{
	(void)state;
	bed_open(&bed, "throttle bandwidth=400K burst=10ms | ram");
	start_writes(30); /* 100 of them a second */
	assert_in_range(done_count(30), 1, 3);
	bed_advance(&bed, 100000000);
	assert_in_range(done_count(30), 11, 13);
	/* A flush has no bytes, but waits for its turn. */
	bed_start(&bed, &calls[30].call, (struct blk_cmd){ .op = BLK_FLUSH }, NULL);
	bed_turn(&bed);
	assert_false(calls[30].call.done);
	bed_advance(&bed, 300000000);
	assert_int_equal(done_count(31), 31);
	bed_close(&bed);
	assert_int_equal(bed_try_open(&bed, "throttle | ram"), STATUS_INVALID);
	assert_non_null(strstr(bed.error, "iops="));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(fork_starts_anew_and_bounds, set_up),
		cmocka_unit_test_setup(fork_makes_deep_stacks_fit, set_up),
		cmocka_unit_test_setup(fault_fails_what_is_chosen, set_up),
		cmocka_unit_test_setup(fault_has_a_rate, set_up),
		cmocka_unit_test_setup(fault_tears_writes, set_up),
		cmocka_unit_test_setup(fault_delays, set_up),
		cmocka_unit_test_setup(retry_tries_again, set_up),
		cmocka_unit_test_setup(retry_waits, set_up),
		cmocka_unit_test_setup(retry_has_a_budget, set_up),
		cmocka_unit_test_setup(retry_heeds_deadlines, set_up),
		cmocka_unit_test_setup(throttle_rations_commands, set_up),
		cmocka_unit_test_setup(throttle_rations_bytes, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
