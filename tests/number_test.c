/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/macros.h"
#include "server/number.h"

static struct bytes text(const char *s)
{
	return bytes_of(s, strlen(s));
}

static void test_int64(void **state)
{
	static const char *const good[] = { "0",
		                            "1",
		                            "-1",
		                            "10",
		                            "9223372036854775807",
		                            "-9223372036854775808",
		                            "100000000000000000" };
	static const char *const bad[] = { "",
		                           "-",
		                           "+1",
		                           "-0",
		                           "00",
		                           "01",
		                           "-01",
		                           " 1",
		                           "1 ",
		                           "1a",
		                           "9223372036854775808",
		                           "-9223372036854775809",
		                           "18446744073709551616",
		                           "99999999999999999999999999",
		                           "0x10",
		                           "1.0",
		                           "1e3",
		                           "\n" };
	char out[NUMBER_INT64_MAX];
	int64_t value = 42;

	(void)state;
	for (size_t i = 0; i < array_count(good); i++) {
		assert_true(number_parse_int64(text(good[i]), &value));
		assert_int_equal(number_format_int64(value, out), strlen(good[i]));
		assert_memory_equal(out, good[i], strlen(good[i]));
	}
	value = 42;
	for (size_t i = 0; i < array_count(bad); i++)
		assert_false(number_parse_int64(text(bad[i]), &value));
	assert_false(number_parse_int64(bytes_of("1\0", 2), &value));
	assert_int_equal(value, 42);
}

static void test_uint64(void **state)
{
	char out[NUMBER_INT64_MAX], expected[32];
	uint64_t value;

	(void)state;
	assert_true(number_parse_uint64(BYTES("18446744073709551615"), &value));
	assert_true(value == UINT64_MAX);
	assert_false(number_parse_uint64(BYTES("18446744073709551616"), &value));
	assert_false(number_parse_uint64(BYTES("-1"), &value));
	for (unsigned shift = 0; shift < 64; shift++) {
		uint64_t numbers[] = { 1ull << shift, (1ull << shift) - 1, UINT64_MAX >> shift };

		for (size_t i = 0; i < array_count(numbers); i++) {
			size_t size = number_format_uint64(numbers[i], out);

			snprintf(expected, sizeof(expected), "%llu",
			         (unsigned long long)numbers[i]);
			assert_int_equal(size, strlen(expected));
			assert_memory_equal(out, expected, size);
			assert_true(number_parse_uint64(bytes_of(out, size), &value));
			assert_true(value == numbers[i]);
		}
	}
}

static void test_add(void **state)
{
	int64_t sum = 7;

	(void)state;
	assert_true(number_add_int64(INT64_MAX - 1, 1, &sum));
	assert_true(sum == INT64_MAX);
	assert_false(number_add_int64(INT64_MAX, 1, &sum));
	assert_false(number_add_int64(INT64_MIN, -1, &sum));
	assert_true(sum == INT64_MAX);
}

/* What redis-server 7.0 answers to SET k A, INCRBYFLOAT k B. */
static void test_incrbyfloat(void **state)
{
	static const char *const rows[][3] = {
		{ "1", "0.25", "1.25" },
		{ "3", "1.1", "4.1" },
		{ "10.50", "0.1", "10.6" },
		{ "5.0e3", "2.0e2", "5200" },
		{ "1", "-1.1", "-0.1" },
		{ "17179869184", "1.5", "17179869185.5" },
		{ "0", "-0", "0" },
		{ "0.1", "-0.1", "0" },
		{ "1e-17", "0", "0.00000000000000001" },
		{ "1e-19", "0", "0" },
		{ "0x10", "1", "17" },
		{ "3.0e10", "0.000001", "30000000000.00000100024044514" },
	};
	char out[NUMBER_LONG_MAX];

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		long double a, b;
		size_t size;

		assert_true(number_parse_long(text(rows[i][0]), &a));
		assert_true(number_parse_long(text(rows[i][1]), &b));
		size = number_format_long(a + b, out);
		assert_int_equal(size, strlen(rows[i][2]));
		assert_memory_equal(out, rows[i][2], size);
	}
}

static void test_floats_refused(void **state)
{
	static const char *const bad[] = { "",    " 1",    "1 ",  "nan",    "-nan",    "1x", "1e",
		                           "abc", "1.1.1", "--1", "1e5000", "1e-5000", "\t1" };
	static char digits[NUMBER_LONG_MAX];
	long double value = 1;
	double small;

	(void)state;
	for (size_t i = 0; i < array_count(bad); i++) {
		assert_false(number_parse_long(text(bad[i]), &value));
		assert_false(number_parse_double(text(bad[i]), &small));
	}
	assert_false(number_parse_long(bytes_of("1\0", 2), &value));
	memset(digits, '1', sizeof(digits));
	assert_false(number_parse_long(bytes_of(digits, sizeof(digits)), &value));
	assert_true(value == 1);
	assert_false(number_parse_double(BYTES("1e400"), &small));
	assert_true(number_parse_double(BYTES("-inf"), &small));
	assert_true(isinf(small) && small < 0);
	assert_true(number_parse_long(BYTES("+inf"), &value));
	assert_true(isinf(value));
}

static void test_double_format(void **state)
{
	static const struct {
		double value;
		const char *text;
	} rows[] = {
		{ 0, "0" },
		{ -0.0, "-0" },
		{ 3, "3" },
		{ -17, "-17" },
		{ 1.5, "1.5" },
		{ 0.1, "0.10000000000000001" },
		{ 4503599627370495.0, "4503599627370495" },
		{ 1e21, "1e+21" },
		{ 1.7976931348623157e308, "1.7976931348623157e+308" },
		{ INFINITY, "inf" },
		{ -INFINITY, "-inf" },
	};
	char out[NUMBER_DOUBLE_MAX], wide[NUMBER_LONG_MAX];

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		size_t size = number_format_double(rows[i].value, out);

		assert_int_equal(size, strlen(rows[i].text));
		assert_memory_equal(out, rows[i].text, size);
	}
	assert_true(number_format_long(1.18973149535723176502e4932L, wide) > 4900);
	assert_int_equal(number_format_long(-(long double)INFINITY, wide), 4);
}

static void test_sizes(void **state)
{
	char out[NUMBER_SIZE_MAX];
	uint64_t size;

	(void)state;
	assert_true(number_parse_size(BYTES("100"), &size) && size == 100);
	assert_true(number_parse_size(BYTES("7b"), &size) && size == 7);
	assert_true(number_parse_size(BYTES("1k"), &size) && size == 1000);
	assert_true(number_parse_size(BYTES("1Kb"), &size) && size == 1024);
	assert_true(number_parse_size(BYTES("3GB"), &size) && size == 3ull << 30);
	assert_false(number_parse_size(BYTES("-1"), &size));
	assert_false(number_parse_size(BYTES("kb"), &size));
	assert_false(number_parse_size(BYTES("1kbs"), &size));
	assert_false(number_parse_size(BYTES("1 kb"), &size));
	assert_false(number_parse_size(BYTES("99999999999tb"), &size));
	number_format_size(1023, out);
	assert_string_equal(out, "1023B");
	number_format_size(1536, out);
	assert_string_equal(out, "1.50K");
	number_format_size(2ull << 30, out);
	assert_string_equal(out, "2.00G");
	number_format_size(UINT64_MAX, out);
	assert_string_equal(out, "16.00E");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_int64),
		cmocka_unit_test(test_uint64),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_incrbyfloat),
		cmocka_unit_test(test_floats_refused),
		cmocka_unit_test(test_double_format),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
