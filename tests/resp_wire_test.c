/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "wire/resp.h"

static const struct resp_limits limits = {
	.bulk_max = 1000,
	.count_max = RESP_COUNT_MAX,
	.authenticated = true,
};

/* What comes of a stream, written down: "3[SET k v]" ... "!text". */
struct story {
	char text[4096];
	size_t used;
};

static void tell(struct story *story, const char *data, size_t size)
{
	assert_true(story->used + size < sizeof(story->text));
	memcpy(story->text + story->used, data, size);
	story->used += size;
	story->text[story->used] = '\0';
}

static void tell_event(struct story *story, const struct resp_event *event)
{
	char number[32];

	switch (event->type) {
	case RESP_NEED_MORE:
		break;
	case RESP_BEGIN:
		tell(story, number, (size_t)sprintf(number, "%u[", (unsigned)event->size));
		break;
	case RESP_ARGUMENT:
		tell(story, (const char *)event->data.data, event->data.size);
		tell(story, ",", 1);
		break;
	case RESP_BULK:
		if (event->size == 0)
			tell(story, ",", 1);
		break;
	case RESP_PIECE:
		tell(story, (const char *)event->data.data, event->data.size);
		if (event->last)
			tell(story, ",", 1);
		break;
	case RESP_END:
		tell(story, "]", 1);
		break;
	case RESP_INLINE:
		tell(story, "<", 1);
		tell(story, (const char *)event->data.data, event->data.size);
		tell(story, ">", 1);
		break;
	case RESP_ERROR:
		tell(story, "!", 1);
		tell(story, (const char *)event->data.data, event->data.size);
		break;
	}
}

/* Gives a stream in two parts; what is not taken of the first comes again with the second. */
static void read_cut(const char *stream, size_t size, size_t cut, struct story *story)
{
	struct resp_parser parser = { 0 };
	struct bytes input = bytes_of(stream, cut);
	struct resp_event event;

	story->used = 0;
	story->text[0] = '\0';
	for (unsigned part = 0; part < 2; part++) {
		do {
			resp_next(&parser, &limits, &input, &event);
			tell_event(story, &event);
		} while (event.type != RESP_NEED_MORE && event.type != RESP_ERROR);
		if (event.type == RESP_ERROR)
			return;
		input.size = (size_t)(stream + size - (const char *)input.data);
	}
}

static void test_requests(void **state)
{
	static const struct {
		const char *stream, *story;
	} rows[] = {
		{ "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", "3[SET,k,,]" },
		{ "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "1[PING,]1[PING,]" },
		{ "*0\r\n*-5\r\n\r\n\nPING\r\nGET k\n", "<PING><GET k>" },
		{ "*1\r\n$4\r\na\r\nb\r\n", "1[a\r\nb,]" },
		{ "*2\r\n$1\r\nx\r\n$01\r\n", "2[x,!ERR Protocol error: invalid bulk length" },
		{ "*1\r\n$1001\r\n", "1[!ERR Protocol error: invalid bulk length" },
		{ "*1\r\n$-1\r\n", "1[!ERR Protocol error: invalid bulk length" },
		{ "*1\r\n:1\r\n", "1[!ERR Protocol error: expected '$', got ':'" },
		{ "*1048577\r\n", "!ERR Protocol error: invalid multibulk length" },
		{ "*9999999999999999999999\r\n", "!ERR Protocol error: invalid multibulk length" },
		{ "*+1\r\n", "!ERR Protocol error: invalid multibulk length" },
		{ "*\r\n", "!ERR Protocol error: invalid multibulk length" },
		{ "*1\n", "!ERR Protocol error: invalid multibulk length" },
		{ "*1\r\n$1\r\naXX", "1[" },
		{ "a\0b", "" },
	};
	struct story story;

	(void)state;
	for (unsigned i = 0; i + 2 < array_count(rows); i++) {
		size_t size = strlen(rows[i].stream);

		for (size_t cut = 0; cut <= size; cut++) {
			read_cut(rows[i].stream, size, cut, &story);
			assert_string_equal(story.text, rows[i].story);
		}
	}
	read_cut("*1\r\n$1\r\naXX", 11, 11, &story);
	assert_non_null(strstr(story.text, "!ERR Protocol error"));
	read_cut("a\0b", 3, 3, &story);
	assert_string_equal(story.text, "!ERR Protocol error: too big inline request");
}

static void test_long_lines(void **state)
{
	static char line[RESP_LINE_MAX + 100];
	static const struct {
		const char *start, *error;
	} rows[] = {
		{ "*1", "ERR Protocol error: too big mbulk count string" },
		{ "*1\r\n$1", "ERR Protocol error: too big bulk count string" },
		{ "x", "ERR Protocol error: too big inline request" },
	};

	(void)state;
	for (unsigned i = 0; i < array_count(rows); i++) {
		struct resp_parser parser = { 0 };
		struct bytes input = bytes_of(line, 0);
		struct resp_event event = { 0 };

		memset(line, '1', sizeof(line));
		memcpy(line, rows[i].start, strlen(rows[i].start));
		while (event.type != RESP_ERROR) {
			assert_true((const char *)input.data + input.size < line + sizeof(line));
			input.size++;
			resp_next(&parser, &limits, &input, &event);
		}
		assert_memory_equal(event.data.data, rows[i].error, strlen(rows[i].error));
	}
}

static void test_unauthenticated(void **state)
{
	static const struct {
		const char *stream, *error;
	} rows[] = {
		{ "*11\r\n", "ERR Protocol error: unauthenticated multibulk length" },
		{ "*1\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length" },
	};
	struct resp_limits strangers = { .bulk_max = 1 << 20, .count_max = RESP_COUNT_MAX };

	(void)state;
	for (unsigned i = 0; i < array_count(rows); i++) {
		struct resp_parser parser = { 0 };
		struct bytes input = bytes_of(rows[i].stream, strlen(rows[i].stream));
		struct resp_event event;

		do {
			resp_next(&parser, &strangers, &input, &event);
			assert_int_not_equal(event.type, RESP_NEED_MORE);
		} while (event.type != RESP_ERROR);
		assert_string_equal((const char *)event.data.data, rows[i].error);
	}
}

static void test_words(void **state)
{
	static const struct {
		const char *line, *words; /* joined by '|' */
		long end;
	} rows[] = {
		{ "  set  k\tv ", "set|k|v|", -2 },
		{ "\"a b\" 'c d'", "a b|c d|", -2 },
		{ "\"\\x41\\n\\\"\\q\"", "A\n\"q|", -2 },
		{ "'it\\'s' \"\"", "it's||", -2 },
		{ "\"open", "", -1 },
		{ "'open", "", -1 },
		{ "\"a\"b", "", -1 },
		{ "a\"b\"", "ab|", -2 },
		{ "", "", -2 },
	};

	(void)state;
	for (unsigned i = 0; i < array_count(rows); i++) {
		struct bytes line = bytes_of(rows[i].line, strlen(rows[i].line));
		char words[128];
		size_t used = 0;
		long size;

		while ((size = resp_split_word(&line, (uint8_t *)words + used)) >= 0) {
			used += (size_t)size;
			words[used++] = '|';
		}
		words[used] = '\0';
		assert_int_equal(size, rows[i].end);
		assert_string_equal(words, rows[i].words);
	}
}

static void test_numbers(void **state)
{
	static const int64_t values[] = { 0,         1,    9,    10,       99,    100,
		                          999,       1000, 9999, 10000,    99999, 123456789,
		                          INT64_MAX, -1,   -10,  INT64_MIN };
	uint8_t out[RESP_HEADER_MAX + 1];
	char expected[64];

	(void)state;
	for (unsigned i = 0; i < array_count(values); i++) {
		out[resp_write_i64(out, values[i])] = '\0';
		sprintf(expected, "%lld", (long long)values[i]);
		assert_string_equal((char *)out, expected);
		out[resp_write_header(out, '$', values[i])] = '\0';
		sprintf(expected, "$%lld\r\n", (long long)values[i]);
		assert_string_equal((char *)out, expected);
	}
	out[resp_write_u64(out, UINT64_MAX)] = '\0';
	assert_string_equal((char *)out, "18446744073709551615");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),        cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_unauthenticated), cmocka_unit_test(test_words),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
