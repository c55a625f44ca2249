/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "resp_client.h"

static void test_basics(void **state)
{
	struct resp_bench *bench = resp_bench_open(NULL);
	struct resp_client *c = resp_client_open(bench, 0);

	(void)state;
	assert_string_equal(resp_ask(c, "PING"), "+PONG\r\n");
	assert_string_equal(resp_ask(c, "ECHO hi"), "$2\r\nhi\r\n");
	assert_string_equal(resp_ask_raw(c, "PING\r\n"), "+PONG\r\n");
	assert_string_equal(resp_ask(c, "GET k"), "$-1\r\n");
	assert_string_equal(resp_ask(c, "SET k v"), "+OK\r\n");
	assert_string_equal(resp_ask(c, "GET k"), "$1\r\nv\r\n");
	assert_string_equal(resp_ask(c, "INCR n"), ":1\r\n");
	assert_string_equal(resp_ask(c, "INCRBY n 41"), ":42\r\n");
	assert_string_equal(resp_ask(c, "INCR k"),
	                    "-ERR value is not an integer or out of range\r\n");
	assert_string_equal(resp_ask(c, "DEL k n x"), ":2\r\n");
	assert_string_equal(resp_ask(c, "DEL k"), ":0\r\n");
	assert_string_equal(resp_ask(c, "MSET a 1 b 2"), "+OK\r\n");
	assert_string_equal(resp_ask(c, "MGET a b c"), "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n");
	assert_string_equal(resp_ask(c, "NOPE a b"),
	                    "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' \r\n");
	assert_string_equal(resp_ask(c, "GET"),
	                    "-ERR wrong number of arguments for 'get' command\r\n");
	resp_bench_close(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_basics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
