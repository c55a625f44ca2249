/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/trace.h"

static char out[1 << 20];
static size_t out_size;

static void write_out(const char *text, size_t size)
{
	assert_true(out_size + size < sizeof(out));
	memcpy(out + out_size, text, size);
	out_size += size;
	out[out_size] = '\0';
}

static uint64_t zero(struct clock *clock)
{
	(void)clock;
	return 0;
}

static struct clock clock_zero = { .now_ns = zero, .wall_ms = zero };
static struct trace trace;
static struct worker worker;

static int setup(void **state)
{
	(void)state;
	out_size = 0;
	memset(&trace, 0, sizeof(trace));
	trace.name = "worker 0";
	worker_init(&worker, 0, ROLE_NETWORK, &clock_zero);
	return 0;
}

static void test_no_recorder_costs_nothing(void **state)
{
	(void)state;
	trace_put(&worker, TRACE_TEST, 1, 2);
	assert_int_equal(trace.count, 0);
}

static void test_oldest_first(void **state)
{
	(void)state;
	worker.trace = &trace;
	worker.now_ns = 12000000345ull;
	trace_put(&worker, TRACE_TEST, 1, UINT64_MAX);
	trace_put(&worker, TRACE_DEVICE_ERROR, 4096, 11);
	trace_dump(&trace, 10, write_out);
	assert_string_equal(out, "flight recorder of worker 0: 2 of 2 events\n"
	                         "  12.000000345 TEST a=1 b=18446744073709551615\n"
	                         "  12.000000345 DEVICE_ERROR offset=4096 status=11\n");
}

static void test_keeps_the_newest(void **state)
{
	(void)state;
	worker.trace = &trace;
	for (uint64_t i = 0; i < TRACE_RECORDS + 10; i++)
		trace_put(&worker, TRACE_TEST, i, 0);
	trace_dump(&trace, 2, write_out);
	assert_string_equal(out, "flight recorder of worker 0: 2 of 4106 events\n"
	                         "  0.000000000 TEST a=4104 b=0\n"
	                         "  0.000000000 TEST a=4105 b=0\n");
	out_size = 0;
	trace_dump(&trace, UINT32_MAX, write_out);
	assert_non_null(strstr(out, ": 4096 of 4106 events\n  0.000000000 TEST a=10 b=0\n"));
}

struct kv_frame {
	struct frame frame;
	uint64_t key;
};

static void outer_done(struct req *req)
{
	(void)req;
}

static void inner_done(struct req *req)
{
	(void)req;
}

static size_t name_of(uintptr_t address, char *text, size_t max)
{
	const char *name = address == (uintptr_t)outer_done ? "outer_done" : "inner_done";

	assert_true(strlen(name) < max);
	memcpy(text, name, strlen(name) + 1);
	return strlen(name);
}

static void test_frames_as_a_backtrace(void **state)
{
	static struct req req;
	char *inner, *outer;

	(void)state;
	req_init(&req, &worker);
	req_push(&req, struct kv_frame, outer_done);
	req_push(&req, struct frame, inner_done);
	trace_request(&req, name_of, write_out);
	inner = strstr(out, "#0 inner_done (0x");
	outer = strstr(out, "#1 outer_done (0x");
	assert_non_null(inner);
	assert_non_null(outer);
	assert_true(inner < outer);
	assert_null(strstr(out, "#2"));
	assert_non_null(strstr(out, "idle, status OK\n"));
}

static void test_damaged_frames_end(void **state)
{
	static struct req req;

	(void)state;
	req_init(&req, &worker);
	memset(req.frames, 0, sizeof(req.frames)); /* below: 0, for ever */
	req.frame_top = 48;
	req.frame_end = 64;
	trace_request(&req, NULL, write_out);
	assert_non_null(strstr(out, "#1 ? (0x0)"));
	assert_null(strstr(out, "#2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_no_recorder_costs_nothing, setup),
		cmocka_unit_test_setup(test_oldest_first, setup),
		cmocka_unit_test_setup(test_keeps_the_newest, setup),
		cmocka_unit_test_setup(test_frames_as_a_backtrace, setup),
		cmocka_unit_test_setup(test_damaged_frames_end, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
