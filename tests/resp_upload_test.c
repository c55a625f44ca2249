/* SPDX-License-Identifier: Apache-2.0 */
/* Long values: written while they arrive, sent as they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"
#include "resp_client.h"

/* Every test runs against a store that answers at once, late, and on another worker. */
static const struct resp_bench_options kinds[] = {
	{ .remote = false },
	{ .remote = true },
	{ .remote = false, .delay_ns_max = 3000000 },
	{ .remote = true, .delay_ns_max = 3000000 },
};

static void fill(char *data, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		data[i] = (char)('a' + (i * 7 + i / 251 + seed) % 26);
}

/* Sends a request whose last word is `value`, in pieces of `piece` bytes. */
static void send_long(struct resp_client *client, const char *head, const char *value, size_t size,
                      size_t piece)
{
	char header[64];

	resp_client_bytes(client, head, strlen(head));
	resp_client_bytes(client, header, (size_t)sprintf(header, "$%zu\r\n", size));
	for (size_t at = 0; at < size; at += piece) {
		resp_client_bytes(client, value + at, size - at < piece ? size - at : piece);
		if (client->paused)
			resp_bench_run(client->bench);
	}
	resp_client_bytes(client, "\r\n", 2);
	resp_bench_run(client->bench);
}

static const char *ask_long(struct resp_client *client, const char *head, const char *value,
                            size_t size)
{
	client->output_size = 0;
	send_long(client, head, value, size, 50000);
	client->output[client->output_size] = '\0';
	return (const char *)client->output;
}

static void expect_bulk(struct resp_client *client, const char *words, const char *value,
                        size_t size)
{
	const char *reply = resp_ask(client, "%s", words);
	char header[64];
	size_t header_size = (size_t)sprintf(header, "$%zu\r\n", size);

	assert_memory_equal(reply, header, header_size);
	assert_memory_equal(reply + header_size, value, size);
	assert_string_equal(reply + header_size + size, "\r\n");
}

/* Conditions and options of what is written while it arrives, and what is wrong with it. */
static void test_uploads(void **state)
{
	enum { SIZE = 700000 };
	char *value = malloc(SIZE);

	(void)state;
	assert_non_null(value);
	fill(value, SIZE, 6);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);

		assert_string_equal(ask_long(client, "*4\r\n$5\r\nSETEX\r\n$1\r\nk\r\n$2\r\n50\r\n",
		                             value, SIZE),
		                    "+OK\r\n");
		assert_string_equal(resp_ask(client, "TTL k"), ":50\r\n");
		assert_string_equal(
		        ask_long(client, "*3\r\n$5\r\nSETNX\r\n$1\r\nk\r\n", value, SIZE),
		        ":0\r\n");
		assert_string_equal(
		        ask_long(client, "*3\r\n$5\r\nSETNX\r\n$1\r\nj\r\n", value, SIZE),
		        ":1\r\n");
		expect_bulk(client, "GET j", value, SIZE);
		resp_ask(client, "SET i old");
		assert_string_equal(
		        ask_long(client, "*3\r\n$6\r\nGETSET\r\n$1\r\ni\r\n", value, SIZE),
		        "$3\r\nold\r\n");
		expect_bulk(client, "GET i", value, SIZE);
		/* The options come behind the value. */
		ask_long(client, "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n", value, SIZE);
		assert_string_equal(resp_ask_raw(client, "$7\r\nKEEPTTL\r\n"), "+OK\r\n");
		assert_string_equal(resp_ask(client, "TTL k"), ":50\r\n");
		ask_long(client, "*4\r\n$3\r\nSET\r\n$1\r\nn\r\n", value, SIZE);
		assert_string_equal(resp_ask_raw(client, "$2\r\nXX\r\n"), "$-1\r\n");
		ask_long(client, "*4\r\n$3\r\nSET\r\n$1\r\nn\r\n", value, SIZE);
		assert_string_equal(resp_ask_raw(client, "$2\r\nQQ\r\n"), "-ERR syntax error\r\n");
		assert_string_equal(resp_ask(client, "EXISTS n"), ":0\r\n");
		/* Behind others in the pipeline, in another database, and inside MULTI. */
		resp_client_bytes(client, "SET i x\r\nSELECT 3\r\n", 19);
		assert_string_equal(ask_long(client, "*3\r\n$3\r\nSET\r\n$1\r\ni\r\n", value, SIZE),
		                    "+OK\r\n+OK\r\n+OK\r\n");
		expect_bulk(client, "GET i", value, SIZE);
		resp_ask(client, "MULTI");
		assert_string_equal(ask_long(client, "*3\r\n$3\r\nSET\r\n$1\r\nm\r\n", value, SIZE),
		                    "+QUEUED\r\n");
		assert_string_equal(resp_ask(client, "EXEC"), "*1\r\n+OK\r\n");
		expect_bulk(client, "GET m", value, SIZE);
		assert_int_equal(bench->server.uploads_used, 0);
		resp_bench_close(bench);
	}
	free(value);
}

/* Many at once have a bounded share of the memory; who goes away in the middle leaves nothing. */
static void test_many_uploads(void **state)
{
	enum { SIZE = 3000000, PIECE = 50000 };
	struct resp_bench_options options = { .memory_size = 4 << 20, .delay_ns_max = 100000 };
	struct resp_bench *bench = resp_bench_open(&options);
	char *value = malloc(SIZE), head[] = "*3\r\n$3\r\nSET\r\n$1\r\n0\r\n$3000000\r\n";

	(void)state;
	assert_non_null(value);
	fill(value, SIZE, 7);
	for (unsigned i = 0; i < RESP_CLIENTS; i++) {
		struct resp_client *client = resp_client_open(bench, i);

		head[sizeof(head) - 14] = (char)('0' + i);
		resp_client_bytes(client, head, sizeof(head) - 1);
	}
	for (unsigned i = 0; i < RESP_CLIENTS; i++) {
		struct resp_client *client = &bench->clients[i];

		if (i % 2 == 1) { /* half of it, then it is gone */
			resp_client_bytes(client, value, PIECE);
			resp_client_close(client);
			continue;
		}
		for (size_t at = 0; at < SIZE; at += PIECE) {
			resp_client_bytes(client, value + at, PIECE);
			assert_true(bench->bufs.used_size <= 3 << 20);
			if (client->paused)
				resp_bench_run(bench);
		}
		resp_client_bytes(client, "\r\n", 2);
		resp_bench_run(bench);
		client->output[client->output_size] = '\0';
		assert_string_equal((const char *)client->output, "+OK\r\n");
	}
	assert_int_equal(bench->server.uploads_used, 0);
	expect_bulk(&bench->clients[0], "GET 0", value, SIZE);
	assert_string_equal(resp_ask(&bench->clients[0], "EXISTS 0 1 2 3"), ":2\r\n");
	resp_bench_close(bench);
	free(value);
}

/* What is too long for memory is sent as it is read, as fast as it is taken, in its order. */
static void test_streamed(void **state)
{
	enum { SIZE = 3000000 };
	char *value = malloc(SIZE), header[] = "+PONG\r\n$3000000\r\n", *reply;

	(void)state;
	assert_non_null(value);
	fill(value, SIZE, 5);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);

		send_long(client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", value, SIZE, 60000);
		assert_int_equal(bench->bufs.used_size, 0);
		client->output_size = 0;
		client->stuck = true;
		resp_client_bytes(client, "PING\r\nGET k\r\nGETRANGE k -5 -1\r\nPING\r\n", 37);
		resp_bench_run(bench);
		assert_true(bench->bufs.used_size < 1 << 20);
		client->stuck = false;
		resp_bench_run(bench);
		reply = (char *)client->output;
		reply[client->output_size] = '\0';
		assert_memory_equal(reply, header, sizeof(header) - 1);
		assert_memory_equal(reply + sizeof(header) - 1, value, SIZE);
		reply += sizeof(header) - 1 + SIZE;
		assert_memory_equal(reply, "\r\n$5\r\n", 6);
		assert_memory_equal(reply + 6, value + SIZE - 5, 5);
		assert_string_equal(reply + 11, "\r\n+PONG\r\n");
		/* Gone in the middle of it. */
		client->output_size = 0;
		client->stuck = true;
		resp_client_bytes(client, "GET k\r\nGET k\r\n", 14);
		resp_bench_run(bench);
		resp_client_close(client);
		assert_int_equal(bench->bufs.used_size, 0);
		resp_bench_close(bench);
	}
	free(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uploads),
		cmocka_unit_test(test_many_uploads),
		cmocka_unit_test(test_streamed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
