/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"
#include "resp_client.h"

static const struct resp_bench_options kinds[] = {
	{ .remote = false },
	{ .remote = true },
	{ .remote = false, .delay_ns_max = 3000000 },
	{ .remote = true, .delay_ns_max = 3000000 },
};

/* SCAN returns every key that is there all the time, once it says 0. */
static void test_scan(void **state)
{
	enum { KEYS = 500 };

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);
		bool seen[KEYS] = { false };
		char cursor[32] = "0";
		unsigned rounds = 0, count = 0;

		for (unsigned i = 0; i < KEYS; i++)
			resp_ask(client, "SET key:%u %u", i, i);
		do {
			const char *reply = resp_ask(client, "SCAN %s COUNT 7", cursor),
			           *at = reply;

			assert_int_equal(sscanf(reply, "*2\r\n$%*d\r\n%31[0-9]", cursor), 1);
			while ((at = strstr(at, "key:")) != NULL) {
				unsigned index = (unsigned)atoi(at + 4);

				assert_true(index < KEYS);
				seen[index] = true;
				at++;
			}
			resp_ask(client, "SET other:%u 1", rounds % 50);
			resp_ask(client, "DEL other:%u", (rounds + 25) % 50);
			assert_true(++rounds < KEYS);
		} while (strcmp(cursor, "0") != 0);
		for (unsigned i = 0; i < KEYS; i++)
			count += seen[i];
		assert_int_equal(count, KEYS);
		assert_string_equal(resp_ask(client, "SCAN x"), "-ERR invalid cursor\r\n");
		assert_string_equal(resp_ask(client, "SCAN 0 COUNT 0"), "-ERR syntax error\r\n");
		resp_bench_close(bench);
	}
}

/* More walks than there is memory for take turns. */
static void test_many_walks(void **state)
{
	static const struct resp_bench_options options = {
		.memory_size = 2 << 20,
		.delay_ns_max = 2000000,
	};
	struct resp_bench *bench = resp_bench_open(&options);
	struct resp_client *clients[RESP_CLIENTS];
	const char *reply = "*1\r\n$1\r\nn\r\n*0\r\n*2\r\n$1\r\nn\r\n$1\r\n0\r\n$1\r\nn\r\n";
	const char *commands = "KEYS *\r\nKEYS x\r\nWEIR.RANGE a z\r\nRANDOMKEY\r\n";

	(void)state;
	assert_string_equal(resp_ask(resp_client_open(bench, 0), "SET n 0"), "+OK\r\n");
	resp_client_close(&bench->clients[0]);
	for (unsigned i = 0; i < RESP_CLIENTS; i++) {
		clients[i] = resp_client_open(bench, i);
		for (unsigned n = 0; n < 5; n++)
			resp_client_bytes(clients[i], commands, strlen(commands));
	}
	resp_bench_run(bench);
	for (unsigned i = 0; i < RESP_CLIENTS; i++) {
		assert_int_equal(clients[i]->output_size, 5 * strlen(reply));
		for (unsigned n = 0; n < 5; n++)
			assert_memory_equal(clients[i]->output + n * strlen(reply), reply,
			                    strlen(reply));
	}
	assert_true(bench->bufs.refused > 0);
	resp_bench_close(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_many_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
