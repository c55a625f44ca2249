/* SPDX-License-Identifier: Apache-2.0 */
/* What the transports share: cursors over vectors, and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "transport/cursor.h"
#include "transport/net.h"

/* However a transfer is cut into pieces, it visits every byte once and in order. */
static void test_cursor_visits_every_byte(void **state)
{
	enum { SEGMENTS = 9 };
	uint8_t bytes[SEGMENTS * 16];
	uint64_t seed = 42;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct iovec v[SEGMENTS];
		struct cursor c;
		size_t total = 0, seen = 0;

		for (unsigned i = 0; i < SEGMENTS; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			v[i] = (struct iovec){ bytes + total,
				               (seed >> 33) % 4 * ((seed >> 40) % 5) };
			total += v[i].iov_len;
		}
		for (size_t i = 0; i < total; i++)
			bytes[i] = (uint8_t)i;
		cursor_init(&c, v, SEGMENTS);
		while (c.count > 0) {
			const struct iovec *window;
			uint32_t count = cursor_window(&c, &window);
			size_t offered = 0, take;

			for (uint32_t i = 0; i < count; i++)
				offered += window[i].iov_len;
			assert_true(offered > 0);
			while (window->iov_len == 0)
				window++;
			assert_int_equal(*(uint8_t *)window->iov_base, (uint8_t)seen);
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			take = 1 + (seed >> 33) % offered;
			cursor_advance(&c, take);
			seen += take;
		}
		assert_int_equal(seen, total);
	}
}

static void test_cursor_zeroes_the_rest(void **state)
{
	uint8_t bytes[12];
	struct iovec v[] = { { bytes, 5 }, { NULL, 0 }, { bytes + 5, 3 }, { bytes + 8, 2 } };
	struct cursor c;

	(void)state;
	memset(bytes, 7, sizeof(bytes));
	cursor_init(&c, v, array_count(v));
	cursor_advance(&c, 6);
	cursor_zero(&c);
	assert_int_equal(c.count, 0);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], i < 6 || i >= 10 ? 7 : 0);
	v[0].iov_len = 0;
	cursor_init(&c, v, 2);
	assert_int_equal(c.count, 0);
}

static void test_addresses(void **state)
{
	static const char *const good[][2] = {
		{ "127.0.0.1:6379", "127.0.0.1:6379" },
		{ "localhost:1", "127.0.0.1:1" },
		{ "0.0.0.0:0", "0.0.0.0:0" },
		{ "[::1]:65535", "[::1]:65535" },
		{ "[2001:db8::1]:443", "[2001:db8::1]:443" },
		{ "[::ffff:10.0.0.1]:80", "10.0.0.1:80" },
		{ "*:80", "[::]:80" },
		{ "unix:/run/x.sock", "unix:/run/x.sock" },
		{ "unix:a:b", "unix:a:b" },
	};
	static const char *const bad[] = {
		"",
		"127.0.0.1",
		":80",
		"127.0.0.1:",
		"127.0.0.1:x",
		"1.2.3.4:-1",
		"1.2.3.4:65536",
		"[::1]",
		"[::1:80",
		"::1:80",
		"unix:",
		"host:80",
		"1.2.3:80",
		"1.2.3.4.5:80",
		"1.2.3.4:80 ",
		"[]:80",
		"[::1]x:80",
		"*",
		"1.2.3.4:99999999999999999999",
	};
	char text[NET_TEXT_SIZE], error[IO_ERROR_SIZE], long_path[200] = "unix:/";
	struct net_address address;

	(void)state;
	for (unsigned i = 0; i < array_count(good); i++) {
		assert_int_equal(net_parse(good[i][0], &address, error), STATUS_OK);
		net_format(&address, text, sizeof(text));
		assert_string_equal(text, good[i][1]);
	}
	for (unsigned i = 0; i < array_count(bad); i++) {
		error[0] = '\0';
		assert_int_equal(net_parse(bad[i], &address, error), STATUS_INVALID);
		assert_true(error[0] != '\0');
	}
	memset(long_path + 6, 'x', sizeof(long_path) - 7);
	assert_int_equal(net_parse(long_path, &address, error), STATUS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cursor_visits_every_byte),
		cmocka_unit_test(test_cursor_zeroes_the_rest),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
