/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/log.h"

static char out[1 << 20];
static size_t out_size;

static void write_out(const char *line, size_t size)
{
	assert_true(out_size + size < sizeof(out));
	memcpy(out + out_size, line, size);
	out_size += size;
	out[out_size] = '\0';
}

static uint64_t zero(struct clock *clock)
{
	(void)clock;
	return 0;
}

static struct clock clock_zero = { .now_ns = zero, .wall_ms = zero };
static struct log lines;
static struct worker worker;

static int setup(void **state)
{
	(void)state;
	out_size = 0;
	out[0] = '\0';
	log_init(&lines, LOG_INFO);
	worker_init(&worker, 2, ROLE_NETWORK, &clock_zero);
	worker.wall_ms = 1769860800123ull;
	worker.log = &lines;
	return 0;
}

static void test_line(void **state)
{
	(void)state;
	log_put(&worker, LOG_DEBUG, "not asked for");
	log_put(&worker, LOG_WARN, "device error, path=%s status=%d", "/dev/x", 5);
	assert_int_equal(log_drain(&lines, 2, write_out), 1);
	assert_string_equal(
	        out, "2026-01-31T12:00:00.123Z warn [2] device error, path=/dev/x status=5\n");
	assert_int_equal(log_drain(&lines, 2, write_out), 0);
}

static void test_nobody_can_forge_a_line(void **state)
{
	(void)state;
	log_put(&worker, LOG_INFO, "client name=%s", "x\n2026 error \x1b[31mfake\x7f");
	log_drain(&lines, 2, write_out);
	assert_string_equal(
	        out, "2026-01-31T12:00:00.123Z info [2] client name=x?2026 error ?[31mfake?\n");
}

static void expect(enum log_style style, const char *text, const char *line)
{
	struct log_line row = { LOG_WARN, style, 2, 1769860800123ull, text };
	char formatted[LOG_LINE_MAX];
	size_t size = log_format(&row, formatted);

	assert_int_equal(size, strlen(formatted));
	assert_string_equal(formatted, line);
}

#define TIME "2026-01-31T12:00:00.123Z"

static void test_pairs_for_programs(void **state)
{
	(void)state;
	expect(LOG_LOGFMT, "device error, path=/dev/x status=5",
	       "time=" TIME " level=warn worker=2 msg=\"device error\" path=/dev/x status=5\n");
	expect(LOG_JSON, "device error, path=/dev/x status=5",
	       "{\"time\":\"" TIME "\",\"level\":\"warn\",\"worker\":2,\"msg\":\"device error\","
	       "\"path\":\"/dev/x\",\"status\":5}\n");
	expect(LOG_LOGFMT, "only words, and a comma",
	       "time=" TIME " level=warn worker=2 msg=\"only words, and a comma\"\n");
	expect(LOG_LOGFMT, "serving x, memory=\"256.0 MiB\" why=two words n=01",
	       "time=" TIME " level=warn worker=2 msg=\"serving x\" memory=\"256.0 MiB\" "
	       "why=\"two words\" n=01\n");
	expect(LOG_JSON, "x, n=01 m= big=123456789012345678901",
	       "{\"time\":\"" TIME "\",\"level\":\"warn\",\"worker\":2,\"msg\":\"x\",\"n\":\"01\","
	       "\"m\":\"\",\"big\":\"123456789012345678901\"}\n");
}

static void test_nobody_can_forge_a_pair(void **state)
{
	(void)state;
	expect(LOG_JSON, "a\"b\\c\n, k=\"}{\x1b",
	       "{\"time\":\"" TIME "\",\"level\":\"warn\",\"worker\":2,\"msg\":\"a\\\"b\\\\c?\","
	       "\"k\":\"\\\"}{?\"}\n");
	expect(LOG_LOGFMT, "x, k=a\"b\nlevel=error",
	       "time=" TIME " level=warn worker=2 msg=\"x\" k=\"a\\\"b?level=error\"\n");
}

static void test_long_lines_are_cut(void **state)
{
	static char many[1000];

	(void)state;
	memset(many, 'y', sizeof(many) - 1);
	log_put(&worker, LOG_INFO, "%s", many);
	log_drain(&lines, 2, write_out);
	assert_string_equal(&out[out_size - 6], "yy...\n");
	assert_true(out_size < LOG_LINE_MAX);
}

static void test_a_storm_is_limited_and_counted(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		log_put(&worker, LOG_INFO, "storm");
	assert_int_equal(log_drain(&lines, 2, write_out), LOG_BURST + 1);
	assert_non_null(strstr(out, "log lines dropped, count=936\n"));
	worker.now_ns += 1000000000;
	for (unsigned i = 0; i < 1000; i++)
		log_put(&worker, LOG_INFO, "storm");
	assert_int_equal(log_drain(&lines, 2, write_out), LOG_PER_SECOND + 1);
}

static void test_a_ring_that_nobody_drains_does_not_stop_the_worker(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * LOG_RECORDS; i++) {
		worker.now_ns += 1000000000;
		log_put(&worker, LOG_INFO, "line %u", i);
	}
	assert_int_equal(log_drain(&lines, 2, write_out), LOG_RECORDS + 1);
	assert_non_null(strstr(out, " line 255\n"));
	assert_non_null(strstr(out, "count=256\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_line, setup),
		cmocka_unit_test_setup(test_nobody_can_forge_a_line, setup),
		cmocka_unit_test_setup(test_pairs_for_programs, setup),
		cmocka_unit_test_setup(test_nobody_can_forge_a_pair, setup),
		cmocka_unit_test_setup(test_long_lines_are_cut, setup),
		cmocka_unit_test_setup(test_a_storm_is_limited_and_counted, setup),
		cmocka_unit_test_setup(test_a_ring_that_nobody_drains_does_not_stop_the_worker,
		                       setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
