/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "wire/http.h"
#include "wire/http_date.h"
#include "wire/http_range.h"
#include "wire/url.h"

static struct bytes text_of(const char *text)
{
	return text == NULL ? bytes_of(NULL, 0) : bytes_of(text, strlen(text));
}

static void tokens_and_values_are_told(void **state)
{
	struct bytes list = BYTES(" a ,, \"b,\\\",c\" ,\td"), element;

	(void)state;
	assert_int_equal(http_method_of(BYTES("PUT")), HTTP_PUT);
	assert_int_equal(http_method_of(BYTES("put")), HTTP_METHOD_OTHER);
	assert_string_equal(http_reason(404), "Not Found");
	assert_true(http_is_token(BYTES("X-a_b!#$%&'*+.^`|~0")));
	assert_false(http_is_token(BYTES("")));
	assert_false(http_is_token(BYTES("a b")));
	assert_false(http_is_token(BYTES("a:")));
	assert_true(http_is_value(BYTES("a \t\xff")));
	assert_false(http_is_value(BYTES("a ")));
	assert_false(http_is_value(BYTES("a\r\nb")));
	assert_true(http_name_is(BYTES("ETag"), BYTES("etag")));
	assert_false(http_name_is(BYTES("ETags"), BYTES("etag")));
	assert_true(http_list_next(&list, &element) && bytes_equal(element, BYTES("a")));
	assert_true(http_list_next(&list, &element) && bytes_equal(element, BYTES("\"b,\\\",c\"")));
	assert_true(http_list_next(&list, &element) && bytes_equal(element, BYTES("d")));
	assert_false(http_list_next(&list, &element));
}

static void dates_are_as_the_library_has_them(void **state)
{
	char ours[HTTP_DATE_SIZE + 1], theirs[64];
	uint64_t back;

	(void)state;
	for (uint64_t s = 0; s < HTTP_DATE_MAX; s += s < 5000000000ull ? 7654321 : 876543210123) {
		time_t moment = (time_t)s;
		struct tm tm;

		gmtime_r(&moment, &tm);
		strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		http_date_format(s, ours);
		ours[HTTP_DATE_SIZE] = '\0';
		assert_string_equal(ours, theirs);
		assert_true(http_date_parse(text_of(ours), &back));
		assert_int_equal(back, s);
		strftime(theirs, sizeof(theirs), "%a %b %e %H:%M:%S %Y", &tm);
		assert_true(http_date_parse(text_of(theirs), &back));
		assert_int_equal(back, s);
		if (tm.tm_year >= 170)
			continue;
		strftime(theirs, sizeof(theirs), "%A, %d-%b-%y %H:%M:%S GMT", &tm);
		assert_true(http_date_parse(text_of(theirs), &back));
		assert_int_equal(back, s);
	}
	http_date_format(UINT64_MAX, ours);
	assert_string_equal(ours, "Fri, 31 Dec 9999 23:59:59 GMT");
}

static void dates_that_are_none_are_refused(void **state)
{
	static const char *const rows[] = {
		"",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 CET",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 31 Nov 1994 08:49:37 GMT",
		"Wed, 29 Feb 1995 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1969 08:49:37 GMT",
		"Sunda, 06-Nov-94 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sun Nov 06 08:49:37 94",
		"Sun Nov   6 08:49:37 1994",
		"S",
	};
	uint64_t unix_s;

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++)
		assert_false(http_date_parse(text_of(rows[i]), &unix_s));
}

static void ranges_are_parsed(void **state)
{
	static const struct {
		const char *value;
		uint64_t size;
		enum http_range_result result;
		const char *ranges;
	} rows[] = {
		{ "bytes=0-0", 10, HTTP_RANGE_OK, "0+1" },
		{ "bytes=0-9", 10, HTTP_RANGE_OK, "0+10" },
		{ "Bytes=2-", 10, HTTP_RANGE_OK, "2+8" },
		{ "bytes=-3", 10, HTTP_RANGE_OK, "7+3" },
		{ "bytes=-30", 10, HTTP_RANGE_OK, "0+10" },
		{ "bytes=5-100", 10, HTTP_RANGE_OK, "5+5" },
		{ "bytes=5-99999999999999999999999999", 10, HTTP_RANGE_OK, "5+5" },
		{ "bytes=0-1, 3-4 ,-1", 10, HTTP_RANGE_OK, "0+2 3+2 9+1" },
		{ "bytes=20-, 3-4", 10, HTTP_RANGE_OK, "3+2" },
		{ "bytes=10-", 10, HTTP_RANGE_UNSATISFIABLE, "" },
		{ "bytes=18446744073709551616-", 10, HTTP_RANGE_UNSATISFIABLE, "" },
		{ "bytes=-0", 10, HTTP_RANGE_UNSATISFIABLE, "" },
		{ "bytes=0-", 0, HTTP_RANGE_UNSATISFIABLE, "" },
		{ "bytes=-1", 0, HTTP_RANGE_UNSATISFIABLE, "" },
		{ "bytes=2-1", 10, HTTP_RANGE_IGNORED, "" },
		{ "bytes=", 10, HTTP_RANGE_IGNORED, "" },
		{ "bytes=-", 10, HTTP_RANGE_IGNORED, "" },
		{ "bytes=a-b", 10, HTTP_RANGE_IGNORED, "" },
		{ "bytes=1", 10, HTTP_RANGE_IGNORED, "" },
		{ "bytes=1-2,x", 10, HTTP_RANGE_IGNORED, "" },
		{ "bytes=1 - 2", 10, HTTP_RANGE_IGNORED, "" },
		{ "lines=1-2", 10, HTTP_RANGE_IGNORED, "" },
		{ "", 10, HTTP_RANGE_IGNORED, "" },
		{ "bytes=0-1,2-3,4-5,6-7", 10, HTTP_RANGE_IGNORED, NULL },
	};

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		struct http_range ranges[3];
		unsigned count;
		char said[128] = "";

		assert_int_equal(
		        http_range_parse(text_of(rows[i].value), rows[i].size, ranges, 3, &count),
		        rows[i].result);
		if (rows[i].ranges == NULL)
			continue;
		for (unsigned j = 0; j < count && rows[i].result == HTTP_RANGE_OK; j++)
			snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s%u+%u",
			         j > 0 ? " " : "", (unsigned)ranges[j].offset,
			         (unsigned)ranges[j].size);
		assert_string_equal(said, rows[i].ranges);
	}
}

static void content_range_is_written(void **state)
{
	struct http_range range = { .offset = 0, .size = UINT64_MAX };
	char out[HTTP_CONTENT_RANGE_MAX];
	size_t size = http_content_range(&range, UINT64_MAX, out);

	(void)state;
	assert_true(bytes_equal(bytes_of(out, size),
	                        BYTES("bytes 0-18446744073709551614/18446744073709551615")));
}

/* The selected representation is "v2", of 1994-11-06, unless the row says that it is absent. */
static void conditions_are_judged(void **state)
{
	static const char before[] = "Sat, 05 Nov 1994 08:49:37 GMT";
	static const char same[] = "Sun, 06 Nov 1994 08:49:37 GMT";
	static const struct {
		const char *match, *none_match, *modified_since, *unmodified_since;
		bool absent, write;
		enum http_verdict verdict;
	} rows[] = {
		{ .verdict = HTTP_PROCEED },
		{ .match = "\"v2\"", .verdict = HTTP_PROCEED },
		{ .match = "\"v1\", \"v2\"", .verdict = HTTP_PROCEED },
		{ .match = "v2", .verdict = HTTP_PROCEED },
		{ .match = "*", .verdict = HTTP_PROCEED },
		{ .match = "\"v1\"", .verdict = HTTP_PRECONDITION_FAILED },
		{ .match = "W/\"v2\"", .verdict = HTTP_PRECONDITION_FAILED },
		{ .match = "*", .absent = true, .verdict = HTTP_PRECONDITION_FAILED },
		{ .match = "", .verdict = HTTP_PRECONDITION_FAILED },
		{ .none_match = "\"v2\"", .verdict = HTTP_NOT_MODIFIED },
		{ .none_match = "W/\"v2\"", .verdict = HTTP_NOT_MODIFIED },
		{ .none_match = "\"v1\"", .verdict = HTTP_PROCEED },
		{ .none_match = "*", .verdict = HTTP_NOT_MODIFIED },
		{ .none_match = "*", .write = true, .verdict = HTTP_PRECONDITION_FAILED },
		{ .none_match = "*", .write = true, .absent = true, .verdict = HTTP_PROCEED },
		{ .modified_since = same, .verdict = HTTP_NOT_MODIFIED },
		{ .modified_since = before, .verdict = HTTP_PROCEED },
		{ .modified_since = same, .write = true, .verdict = HTTP_PROCEED },
		{ .modified_since = "yesterday", .verdict = HTTP_PROCEED },
		{ .unmodified_since = same, .verdict = HTTP_PROCEED },
		{ .unmodified_since = before, .verdict = HTTP_PRECONDITION_FAILED },
		{ .unmodified_since = "yesterday", .verdict = HTTP_PROCEED },
		/* Tags win over dates. */
		{ .match = "\"v2\"", .unmodified_since = before, .verdict = HTTP_PROCEED },
		{ .none_match = "\"v1\"", .modified_since = same, .verdict = HTTP_PROCEED },
		{ .match = "\"v2\"", .none_match = "\"v2\"", .verdict = HTTP_NOT_MODIFIED },
	};

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		const struct http_conditions conditions = {
			.if_match = text_of(rows[i].match),
			.if_none_match = text_of(rows[i].none_match),
			.if_modified_since = text_of(rows[i].modified_since),
			.if_unmodified_since = text_of(rows[i].unmodified_since),
		};
		const struct http_selected selected = {
			.exists = !rows[i].absent,
			.etag = BYTES("\"v2\""),
			.modified_unix_s = 784111777,
		};

		assert_int_equal(http_conditions_judge(&conditions, &selected, !rows[i].write),
		                 rows[i].verdict);
	}
}

static void if_range_is_judged(void **state)
{
	const struct http_selected selected = {
		.exists = true,
		.etag = BYTES("\"v2\""),
		.modified_unix_s = 784111777,
	};

	(void)state;
	assert_true(http_if_range(BYTES("\"v2\""), &selected));
	assert_false(http_if_range(BYTES("\"v1\""), &selected));
	assert_false(http_if_range(BYTES("W/\"v2\""), &selected));
	assert_true(http_if_range(BYTES("Sun, 06 Nov 1994 08:49:37 GMT"), &selected));
	assert_false(http_if_range(BYTES("Sun, 06 Nov 1994 08:49:38 GMT"), &selected));
}

static void urls_are_decoded(void **state)
{
	uint8_t out[64];
	size_t size;

	(void)state;
	assert_true(url_decode(BYTES("a%20b%2Fc%2f+%00"), 0, out, &size));
	assert_true(bytes_equal(bytes_of(out, size), BYTES("a b/c/+\0")));
	assert_true(url_decode(BYTES("a+b%2B"), URL_PLUS_IS_SPACE, out, &size));
	assert_true(bytes_equal(bytes_of(out, size), BYTES("a b+")));
	assert_false(url_decode(BYTES("%"), 0, out, &size));
	assert_false(url_decode(BYTES("a%2"), 0, out, &size));
	assert_false(url_decode(BYTES("%g0"), 0, out, &size));
	assert_false(url_decode(BYTES("%0g"), 0, out, &size));
	size = url_encode(BYTES("a b/~\xff%"), true, out);
	assert_true(bytes_equal(bytes_of(out, size), BYTES("a%20b/~%FF%25")));
	size = url_encode(BYTES("a/"), false, out);
	assert_true(bytes_equal(bytes_of(out, size), BYTES("a%2F")));
}

static void queries_are_taken_apart(void **state)
{
	struct bytes query = BYTES("&a=1&&b&=x&c=d=e&"), name, value;

	(void)state;
	assert_true(url_query_next(&query, &name, &value));
	assert_true(bytes_equal(name, BYTES("a")) && bytes_equal(value, BYTES("1")));
	assert_true(url_query_next(&query, &name, &value));
	assert_true(bytes_equal(name, BYTES("b")) && value.size == 0);
	assert_true(url_query_next(&query, &name, &value));
	assert_true(name.size == 0 && bytes_equal(value, BYTES("x")));
	assert_true(url_query_next(&query, &name, &value));
	assert_true(bytes_equal(name, BYTES("c")) && bytes_equal(value, BYTES("d=e")));
	assert_false(url_query_next(&query, &name, &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_and_values_are_told),
		cmocka_unit_test(dates_are_as_the_library_has_them),
		cmocka_unit_test(dates_that_are_none_are_refused),
		cmocka_unit_test(ranges_are_parsed),
		cmocka_unit_test(content_range_is_written),
		cmocka_unit_test(conditions_are_judged),
		cmocka_unit_test(if_range_is_judged),
		cmocka_unit_test(urls_are_decoded),
		cmocka_unit_test(queries_are_taken_apart),
	};

	return cmocka_run_group_tests_name("http fields", tests, NULL, NULL);
}
