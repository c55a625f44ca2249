/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "server/glob.h"

struct row {
	const char *pattern, *subject;
	bool match, match_nocase;
};

// clang-format off
static const struct row rows[] = {
	{ "", "", true, true },
	{ "", "a", false, false },
	{ "a", "", false, false },
	{ "*", "", true, true },
	{ "**", "anything", true, true },
	{ "foo", "foo", true, true },
	{ "foo", "FOO", false, true },
	{ "f?o", "fzo", true, true },
	{ "f?o", "fo", false, false },
	{ "f*", "f", true, true },
	{ "*o", "foo", true, true },
	{ "*o*", "xxoxx", true, true },
	{ "a*b*c", "a12b34c", true, true },
	{ "a*b*c", "a12b34", false, false },
	{ "a*bc*d", "abbcbcd", true, true },
	{ "foo*", "foobar***", true, true },
	{ "h[ae]llo", "hello", true, true },
	{ "h[ae]llo", "hillo", false, false },
	{ "h[AE]llo", "hello", false, true },
	{ "h[^e]llo", "hello", false, false },
	{ "h[^e]llo", "hallo", true, true },
	{ "h[a-c]llo", "hbllo", true, true },
	{ "h[c-a]llo", "hbllo", true, true },
	{ "h[A-C]llo", "hbllo", false, true },
	{ "h[\\]]llo", "h]llo", true, true },
	{ "h[\\a]llo", "hAllo", false, false },
	{ "[]a]", "a", false, false },
	{ "[]a]", "]", false, false },
	{ "[abc", "b", true, true },
	{ "[abc", "d", false, false },
	{ "[a-]", "^", true, true },     /* a range from ] to a, without its end */
	{ "[a-]x", "x", true, true },
	{ "[^", "x", true, true },
	{ "[", "x", false, false },
	{ "[", "[", false, false },
	{ "\\", "\\", true, true },
	{ "\\*", "*", true, true },
	{ "\\*", "a", false, false },
	{ "\\?a", "?a", true, true },
	{ "a\\", "a\\", true, true },
	{ "*[b]", "aaab", true, true },
	{ "*[b]c*", "aabbc", true, true },
	{ "?*", "", false, false },
	{ "*?", "a", true, true },
};
// clang-format on

static struct bytes text(const char *s)
{
	return bytes_of(s, strlen(s));
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		const struct row *row = &rows[i];

		if (glob_match(text(row->pattern), text(row->subject), false) != row->match)
			fail_msg("%s against %s", row->pattern, row->subject);
		if (glob_match(text(row->pattern), text(row->subject), true) != row->match_nocase)
			fail_msg("%s against %s without case", row->pattern, row->subject);
	}
}

static void test_bytes_are_not_text(void **state)
{
	static const uint8_t subject[] = { 0, 0xff, 0x80, 'a' };

	(void)state;
	assert_true(glob_match(bytes_of("\0*a", 3), bytes_of(subject, 4), false));
	assert_true(glob_match(bytes_of("?[\x80-\xff]?a", 8), bytes_of(subject, 4), false));
	assert_false(glob_match(bytes_of("?[\x01-\x7f]?a", 8), bytes_of(subject, 4), false));
}

/* With a search that tries every star again this would not end. */
static void test_many_stars_are_bounded(void **state)
{
	static uint8_t pattern[2 * 500 + 1], subject[20000];

	(void)state;
	for (size_t i = 0; i < 500; i++)
		memcpy(pattern + 2 * i, "a*", 2);
	pattern[1000] = 'b';
	memset(subject, 'a', sizeof(subject));
	assert_false(glob_match(bytes_of(pattern, sizeof(pattern)),
	                        bytes_of(subject, sizeof(subject)), false));
	subject[sizeof(subject) - 1] = 'b';
	assert_true(glob_match(bytes_of(pattern, sizeof(pattern)),
	                       bytes_of(subject, sizeof(subject)), false));
}

static void test_literal_and_covers(void **state)
{
	(void)state;
	assert_true(glob_is_literal(BYTES("user:1000-^]")));
	assert_false(glob_is_literal(BYTES("user:*")));
	assert_true(glob_covers(BYTES("*"), BYTES("a*[b]?")));
	assert_true(glob_covers(BYTES("app:*"), BYTES("app:x*")));
	assert_true(glob_covers(BYTES("app:*"), BYTES("app:x")));
	assert_true(glob_covers(BYTES("a[pq]p"), BYTES("a[pq]p")));
	assert_false(glob_covers(BYTES("app:*"), BYTES("ap*")));
	assert_false(glob_covers(BYTES("app:?"), BYTES("app:*")));
	assert_false(glob_covers(BYTES("*a"), BYTES("*b")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_bytes_are_not_text),
		cmocka_unit_test(test_many_stars_are_bounded),
		cmocka_unit_test(test_literal_and_covers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
