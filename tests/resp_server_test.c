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

/* Every test runs against a store that answers at once, late, and on another worker. */
static const struct resp_bench_options kinds[] = {
	{ .remote = false },
	{ .remote = true },
	{ .remote = false, .delay_ns_max = 3000000 },
	{ .remote = true, .delay_ns_max = 3000000 },
};

struct step {
	const char *words;
	const char *reply;
};

static void run_steps(const struct step *steps, size_t count)
{
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);

		for (size_t i = 0; i < count; i++)
			assert_string_equal(resp_ask(client, "%s", steps[i].words), steps[i].reply);
		resp_bench_close(bench);
	}
}

#define NOT_AN_INTEGER "-ERR value is not an integer or out of range\r\n"
#define SYNTAX_ERROR "-ERR syntax error\r\n"

static void test_basics(void **state)
{
	static const struct step steps[] = {
		{ "PING", "+PONG\r\n" },
		{ "ping hello", "$5\r\nhello\r\n" },
		{ "PING a b", "-ERR wrong number of arguments for 'ping' command\r\n" },
		{ "ECHO \"\\x00\\xff\"", "$2\r\n" },
		{ "NOPE a b",
		  "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' \r\n" },
		{ "GET", "-ERR wrong number of arguments for 'get' command\r\n" },
		{ "OBJECT NOPE", "-ERR unknown subcommand 'NOPE'. Try OBJECT HELP.\r\n" },
		{ "SELECT 16", "-ERR DB index is out of range\r\n" },
		{ "SELECT x", NOT_AN_INTEGER },
		{ "WAIT 0 0", ":0\r\n" },
	};

	(void)state;
	for (unsigned i = 0; i < array_count(steps); i++) {
		struct resp_bench *bench = resp_bench_open(NULL);
		struct resp_client *client = resp_client_open(bench, 0);
		const char *reply = resp_ask(client, "%s", steps[i].words);

		assert_memory_equal(reply, steps[i].reply, strlen(steps[i].reply));
		resp_bench_close(bench);
	}
}

static void test_strings(void **state)
{
	static const struct step steps[] = {
		{ "GET k", "$-1\r\n" },
		{ "SET k v", "+OK\r\n" },
		{ "GET k", "$1\r\nv\r\n" },
		{ "SET k w NX", "$-1\r\n" },
		{ "SET k w XX GET", "$1\r\nv\r\n" },
		{ "SET other w XX", "$-1\r\n" },
		{ "SET k w NX XX", SYNTAX_ERROR },
		{ "SET k w EX 0", "-ERR invalid expire time in 'set' command\r\n" },
		{ "SET k w EX x", NOT_AN_INTEGER },
		{ "SET k w EX 10 KEEPTTL", SYNTAX_ERROR },
		{ "SET k w EX", SYNTAX_ERROR },
		{ "SET k x EX 100", "+OK\r\n" },
		{ "TTL k", ":100\r\n" },
		{ "SET k y KEEPTTL", "+OK\r\n" },
		{ "TTL k", ":100\r\n" },
		{ "SET k z", "+OK\r\n" },
		{ "TTL k", ":-1\r\n" },
		{ "SETNX k a", ":0\r\n" },
		{ "SETNX new a", ":1\r\n" },
		{ "GETSET k b", "$1\r\nz\r\n" },
		{ "GETDEL k", "$1\r\nb\r\n" },
		{ "GETDEL k", "$-1\r\n" },
		{ "APPEND k abc", ":3\r\n" },
		{ "APPEND k def", ":6\r\n" },
		{ "STRLEN k", ":6\r\n" },
		{ "GETRANGE k 1 -2", "$4\r\nbcde\r\n" },
		{ "GETRANGE k -100 100", "$6\r\nabcdef\r\n" },
		{ "GETRANGE k 5 1", "$0\r\n\r\n" },
		{ "SETRANGE k 8 xy", ":10\r\n" },
		{ "SETRANGE k 0 \"\"", ":10\r\n" },
		{ "SETRANGE none 5 \"\"", ":0\r\n" },
		{ "EXISTS none", ":0\r\n" },
		{ "SETRANGE k -1 a", "-ERR offset is out of range\r\n" },
		{ "SETRANGE k 536870912 a",
		  "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n" },
		{ "INCR n", ":1\r\n" },
		{ "INCRBY n 41", ":42\r\n" },
		{ "DECRBY n 2", ":40\r\n" },
		{ "DECR n", ":39\r\n" },
		{ "INCR k", NOT_AN_INTEGER },
		{ "INCRBY n 9223372036854775807",
		  "-ERR increment or decrement would overflow\r\n" },
		{ "DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n" },
		{ "INCRBYFLOAT n 0.5", "$4\r\n39.5\r\n" },
		{ "INCRBYFLOAT n x", "-ERR value is not a valid float\r\n" },
		{ "SETEX k 10 v", "+OK\r\n" },
		{ "PSETEX k 0 v", "-ERR invalid expire time in 'psetex' command\r\n" },
		{ "GETEX k PERSIST", "$1\r\nv\r\n" },
		{ "TTL k", ":-1\r\n" },
		{ "GETEX k EX 50", "$1\r\nv\r\n" },
		{ "TTL k", ":50\r\n" },
		{ "GETEX k PXAT 1", "$1\r\nv\r\n" },
		{ "EXISTS k", ":0\r\n" },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

static void test_several_keys(void **state)
{
	static const struct step steps[] = {
		{ "MSET a 1 b 2 c 3", "+OK\r\n" },
		{ "MSET a", "-ERR wrong number of arguments for 'mset' command\r\n" },
		{ "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n" },
		{ "MGET a x c", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n3\r\n" },
		{ "MGET a", "*1\r\n$1\r\n1\r\n" },
		{ "MSETNX d 4 a 5", ":0\r\n" },
		{ "MSETNX d 4 e 5", ":1\r\n" },
		{ "EXISTS a a x e", ":3\r\n" },
		{ "DEL a a b x", ":2\r\n" },
		{ "UNLINK c", ":1\r\n" },
		{ "RENAME d f", "+OK\r\n" },
		{ "RENAME d f", "-ERR no such key\r\n" },
		{ "RENAMENX f e", ":0\r\n" },
		{ "RENAMENX f g", ":1\r\n" },
		{ "RENAME g g", "+OK\r\n" },
		{ "COPY g h", ":1\r\n" },
		{ "COPY g h", ":0\r\n" },
		{ "COPY g e REPLACE", ":1\r\n" },
		{ "COPY g g", "-ERR source and destination objects are the same\r\n" },
		{ "COPY g g DB 3", ":1\r\n" },
		{ "MOVE h 3", ":1\r\n" },
		{ "EXISTS h", ":0\r\n" },
		{ "SELECT 3", "+OK\r\n" },
		{ "MGET g h", "*2\r\n$1\r\n4\r\n$1\r\n4\r\n" },
		{ "DBSIZE", ":2\r\n" },
		{ "FLUSHDB", "+OK\r\n" },
		{ "DBSIZE", ":0\r\n" },
		{ "SELECT 0", "+OK\r\n" },
		{ "DBSIZE", ":2\r\n" },
		{ "KEYS *", "*2\r\n$1\r\ne\r\n$1\r\ng\r\n" },
		{ "KEYS e*", "*1\r\n$1\r\ne\r\n" },
		{ "KEYS ?x", "*0\r\n" },
		{ "SET big x", "+OK\r\n" },
		{ "SWAPDB 0 5", "+OK\r\n" },
		{ "DBSIZE", ":0\r\n" },
		{ "SET g other", "+OK\r\n" },
		{ "SET z 1 PX 5000", "+OK\r\n" },
		{ "SWAPDB 5 0", "+OK\r\n" },
		{ "MGET e g z big", "*4\r\n$1\r\n4\r\n$1\r\n4\r\n$-1\r\n$1\r\nx\r\n" },
		{ "SELECT 5", "+OK\r\n" },
		{ "KEYS *", "*2\r\n$1\r\ng\r\n$1\r\nz\r\n" },
		{ "TTL z", ":5\r\n" },
		{ "SWAPDB 5 5", "+OK\r\n" },
		{ "SWAPDB 5 x", "-ERR invalid second DB index\r\n" },
		{ "SELECT 0", "+OK\r\n" },
		{ "FLUSHALL ASYNC", "+OK\r\n" },
		{ "FLUSHALL NOW", SYNTAX_ERROR },
		{ "RANDOMKEY", "$-1\r\n" },
		{ "SET only 1", "+OK\r\n" },
		{ "RANDOMKEY", "$4\r\nonly\r\n" },
		{ "SET s1 ohmytext", "+OK\r\n" },
		{ "SET s2 mynewtext", "+OK\r\n" },
		{ "LCS s1 s2", "$6\r\nmytext\r\n" },
		{ "LCS s1 s2 LEN", ":6\r\n" },
		{ "LCS s1 s2 IDX MINMATCHLEN 4 WITHMATCHLEN",
		  "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n"
		  "$3\r\nlen\r\n:6\r\n" },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

static void test_keys(void **state)
{
	static const struct step steps[] = {
		{ "TYPE k", "+none\r\n" },
		{ "TTL k", ":-2\r\n" },
		{ "EXPIRE k 10", ":0\r\n" },
		{ "SET k 12", "+OK\r\n" },
		{ "TYPE k", "+string\r\n" },
		{ "OBJECT ENCODING k", "$3\r\nint\r\n" },
		{ "OBJECT REFCOUNT k", ":1\r\n" },
		{ "OBJECT ENCODING none", "$-1\r\n" },
		{ "EXPIRE k 10 XX", ":0\r\n" },
		{ "EXPIRE k 10 NX", ":1\r\n" },
		{ "EXPIRE k 5 GT", ":0\r\n" },
		{ "EXPIRE k 50 GT", ":1\r\n" },
		{ "EXPIRE k 60 LT", ":0\r\n" },
		{ "EXPIRE k 1 GT LT",
		  "-ERR GT and LT options at the same time are not compatible\r\n" },
		{ "EXPIRE k 1 NX GT",
		  "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n" },
		{ "EXPIRE k 1 ZZ", "-ERR Unsupported option ZZ\r\n" },
		{ "EXPIRE k 9223372036854775807",
		  "-ERR invalid expire time in 'expire' command\r\n" },
		{ "EXPIREAT k 2000000000", ":1\r\n" },
		{ "EXPIRETIME k", ":2000000000\r\n" },
		{ "PEXPIRETIME k", ":2000000000000\r\n" },
		{ "PERSIST k", ":1\r\n" },
		{ "PERSIST k", ":0\r\n" },
		{ "EXPIRE k -1", ":1\r\n" },
		{ "EXISTS k", ":0\r\n" },
		{ "SETBIT b 7 1", ":0\r\n" },
		{ "SETBIT b 7 0", ":1\r\n" },
		{ "SETBIT b 100 1", ":0\r\n" },
		{ "GETBIT b 100", ":1\r\n" },
		{ "STRLEN b", ":13\r\n" },
		{ "BITCOUNT b", ":1\r\n" },
		{ "BITCOUNT b 0 1", ":0\r\n" },
		{ "BITPOS b 1", ":100\r\n" },
		{ "BITOP NOT c b", ":13\r\n" },
		{ "BITCOUNT c", ":103\r\n" },
		{ "BITFIELD f SET u8 0 255 INCRBY u8 0 10 GET u8 0", "*3\r\n:0\r\n:9\r\n:9\r\n" },
		{ "WEIR.CAS v 0 one", "+OK\r\n" },
		{ "WEIR.CAS v 0 two", "$-1\r\n" },
		{ "WEIR.GETV none", "*-1\r\n" },
		{ "WEIR.RANGE b c", "*2\r\n$1\r\nb\r\n$13\r\n" },
		{ "WEIR.RANGE \"\" \"\" KEYSONLY",
		  "*4\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nf\r\n$1\r\nv\r\n" },
		{ "WEIR.RANGE \"\" \"\" KEYSONLY REV LIMIT 2", "*2\r\n$1\r\nv\r\n$1\r\nf\r\n" },
	};

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);

		for (size_t i = 0; i < array_count(steps); i++) {
			const char *reply = resp_ask(client, "%s", steps[i].words);

			/* A reply with a zero byte inside is compared up to it. */
			assert_memory_equal(reply, steps[i].reply, strlen(steps[i].reply));
		}
		resp_bench_close(bench);
	}
}

static void test_transactions(void **state)
{
	static const struct step steps[] = {
		{ "EXEC", "-ERR EXEC without MULTI\r\n" },
		{ "DISCARD", "-ERR DISCARD without MULTI\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "MULTI", "-ERR MULTI calls can not be nested\r\n" },
		{ "EXEC", "*0\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "SET a 1", "+QUEUED\r\n" },
		{ "INCR a", "+QUEUED\r\n" },
		{ "APPEND a 5", "+QUEUED\r\n" },
		{ "LPUSH a 5",
		  "-ERR unknown command 'LPUSH', with args beginning with: 'a' '5' \r\n" },
		{ "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n" },
		{ "EXISTS a", ":0\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "SET a 1", "+QUEUED\r\n" },
		{ "INCR a", "+QUEUED\r\n" },
		{ "APPEND a 5", "+QUEUED\r\n" },
		{ "INCRBY a x", "+QUEUED\r\n" },
		{ "RENAME a b", "+QUEUED\r\n" },
		{ "MGET a b", "+QUEUED\r\n" },
		{ "SELECT 2", "+QUEUED\r\n" },
		{ "SET in2 yes PX 100000", "+QUEUED\r\n" },
		{ "PTTL in2", "+QUEUED\r\n" },
		{ "EXPIRE in2 -1", "+QUEUED\r\n" },
		{ "EXISTS in2", "+QUEUED\r\n" },
		{ "EXEC", "*11\r\n+OK\r\n:2\r\n:2\r\n" NOT_AN_INTEGER
		          "+OK\r\n*2\r\n$-1\r\n$2\r\n25\r\n+OK\r\n+OK\r\n:100000\r\n:1\r\n:0\r\n" },
		{ "DBSIZE", ":0\r\n" },
		{ "SELECT 0", "+OK\r\n" },
		{ "GET b", "$2\r\n25\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "SET x 1", "+QUEUED\r\n" },
		{ "DBSIZE", "+QUEUED\r\n" },
		{ "DEL x", "+QUEUED\r\n" },
		{ "KEYS *", "+QUEUED\r\n" },
		{ "EXEC", "*4\r\n+OK\r\n:2\r\n:1\r\n*1\r\n$1\r\nb\r\n" },
		{ "WATCH b", "+OK\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "WATCH c", "-ERR WATCH inside MULTI is not allowed\r\n" },
		{ "GET b", "+QUEUED\r\n" },
		{ "EXEC", "*1\r\n$2\r\n25\r\n" },
		{ "WATCH b", "+OK\r\n" },
		{ "SET b 26", "+OK\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "PING", "+QUEUED\r\n" },
		{ "EXEC", "*-1\r\n" },
		{ "WATCH b", "+OK\r\n" },
		{ "SET b 27", "+OK\r\n" },
		{ "UNWATCH", "+OK\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "INCR b", "+QUEUED\r\n" },
		{ "EXEC", "*1\r\n:28\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "SET b 1", "+QUEUED\r\n" },
		{ "DISCARD", "+OK\r\n" },
		{ "GET b", "$2\r\n28\r\n" },
		{ "MULTI", "+OK\r\n" },
		{ "RESET", "+RESET\r\n" },
		{ "GET b", "$2\r\n28\r\n" },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

/* Two connections that add to the same two keys at once lose nothing. */
static void test_conflicts(void **state)
{
	enum { ROUNDS = 50, CLIENTS = 4 };
	static const char request[] =
	        "MULTI\r\nINCR a\r\nINCR b\r\nEXEC\r\nINCR a\r\nMSETNX a 1 c 1\r\n";

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *clients[CLIENTS];

		for (unsigned i = 0; i < CLIENTS; i++)
			clients[i] = resp_client_open(bench, i);
		for (unsigned round = 0; round < ROUNDS; round++) {
			for (unsigned i = 0; i < CLIENTS; i++)
				resp_client_bytes(clients[i], request, sizeof(request) - 1);
		}
		resp_bench_run(bench);
		for (unsigned i = 0; i < CLIENTS; i++) {
			clients[i]->output[clients[i]->output_size] = '\0';
			assert_null(strstr((const char *)clients[i]->output, "BUSY"));
		}
		assert_string_equal(resp_ask(clients[0], "MGET a b c"),
		                    "*3\r\n$3\r\n400\r\n$3\r\n200\r\n$-1\r\n");
		if (kinds[k].delay_ns_max > 0)
			assert_true(bench->server.stats.conflicts > 0);
		resp_bench_close(bench);
	}
}

/* Replies come in the order of the requests, whatever ends first. */
static void test_pipeline(void **state)
{
	enum { COUNT = 1000 };
	static char request[COUNT * 64], expected[COUNT * 64];

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);
		size_t used = 0, wanted = 0;

		for (unsigned i = 0; i < COUNT; i++) {
			used += (size_t)sprintf(request + used, "SET k%u v%u\r\nGET k%u\r\n", i % 7,
			                        i, i % 7);
			wanted += (size_t)sprintf(expected + wanted, "+OK\r\n$%d\r\nv%u\r\n",
			                          snprintf(NULL, 0, "v%u", i), i);
			if (i % 10 == 3) {
				used += (size_t)sprintf(request + used, "MSET x %u y 1\r\nPING\r\n",
				                        i);
				wanted += (size_t)sprintf(expected + wanted, "+OK\r\n+PONG\r\n");
			}
		}
		assert_string_equal(resp_ask_raw(client, request), expected);
		resp_bench_close(bench);
	}
}

/* All replies of a turn leave in one send. */
static void test_one_send(void **state)
{
	struct resp_bench *bench = resp_bench_open(NULL);
	struct resp_client *client = resp_client_open(bench, 0);

	(void)state;
	resp_ask_raw(client, "SET a 1\r\nGET a\r\nINCR a\r\nPING\r\nGET a\r\n");
	assert_int_equal(client->sends, 1);
	resp_bench_close(bench);
}

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

/* Values of all sizes, around every limit inside: small memory, buffers, blobs. */
static void test_long_values(void **state)
{
	static const size_t sizes[] = { 0,     1,      100,     160,     200,
		                        4000,  4096,   20000,   32767,   32768,
		                        32769, 100000, 1000000, 1048576, 3000000 };
	char *value = malloc(3000016);

	(void)state;
	assert_non_null(value);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);

		for (unsigned i = 0; i < array_count(sizes); i++) {
			size_t size = sizes[i];
			char words[64];

			fill(value, size, i);
			client->output_size = 0;
			send_long(client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", value, size,
			          i % 2 == 0 ? 10007 : 70000);
			client->output[client->output_size] = '\0';
			assert_string_equal((const char *)client->output, "+OK\r\n");
			expect_bulk(client, "GET k", value, size);
			expect_bulk(client, "GET k", value, size);
			sprintf(words, ":%zu\r\n", size);
			assert_string_equal(resp_ask(client, "STRLEN k"), words);
			assert_string_equal(resp_ask(client, "EXPIRE k 100"), ":1\r\n");
			memcpy(value + size, "tail", 4);
			sprintf(words, ":%zu\r\n", size + 4);
			assert_string_equal(resp_ask(client, "APPEND k tail"), words);
			assert_string_equal(resp_ask(client, "TTL k"), ":100\r\n");
			assert_string_equal(resp_ask(client, "RENAME k l"), "+OK\r\n");
			assert_string_equal(resp_ask(client, "GETRANGE l -4 -1"), "$4\r\ntail\r\n");
			assert_string_equal(resp_ask(client, "SETRANGE l 0 WXYZ"), words);
			memcpy(value, "WXYZ", 4);
			if (size >= 4)
				expect_bulk(client, "GETDEL l", value, size + 4);
			assert_string_equal(resp_ask(client, "DEL k l"),
			                    size >= 4 ? ":0\r\n" : ":1\r\n");
		}
		resp_bench_close(bench);
	}
	free(value);
}

/* A long value and what follows it at once: nothing overtakes. */
static void test_long_values_in_a_pipeline(void **state)
{
	enum { SIZE = 50000 };
	static char value[SIZE];

	(void)state;
	fill(value, SIZE, 3);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);
		const char *reply;

		send_long(client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", value, SIZE, SIZE);
		assert_string_equal(resp_ask_raw(client, "EXPIRE k 100\r\nTTL k\r\nPERSIST k\r\n"
		                                         "TTL k\r\nSTRLEN k\r\n"),
		                    ":1\r\n:100\r\n:1\r\n:-1\r\n:50000\r\n");
		reply = resp_ask_raw(client, "GET k\r\nSET k short\r\nGET k\r\nAPPEND k er\r\n"
		                             "GET k\r\nGET j\r\n");
		assert_memory_equal(reply, "$50000\r\n", 8);
		assert_memory_equal(reply + 8, value, SIZE);
		assert_string_equal(reply + 8 + SIZE,
		                    "\r\n+OK\r\n$5\r\nshort\r\n:7\r\n$7\r\nshorter\r\n$-1\r\n");
		resp_bench_close(bench);
	}
}

/* A reader that takes nothing holds up its own requests and nobody else's; then all comes. */
static void test_slow_reader(void **state)
{
	enum { GETS = 300, SIZE = 20000 };
	static char value[SIZE], request[GETS * 16];
	struct resp_bench *bench = resp_bench_open(NULL);
	struct resp_client *slow = resp_client_open(bench, 0), *other = resp_client_open(bench, 1);
	size_t used = 0, total = 0;

	(void)state;
	fill(value, SIZE, 1);
	send_long(slow, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", value, SIZE, SIZE);
	for (unsigned i = 0; i < GETS; i++)
		used += (size_t)sprintf(request + used, "GET k\r\n");
	slow->output_size = 0;
	slow->stuck = true;
	resp_client_bytes(slow, request, used);
	for (unsigned i = 0; i < 20; i++) {
		resp_bench_run(bench);
		assert_string_equal(resp_ask(other, "PING"), "+PONG\r\n");
	}
	assert_true(bench->bufs.used_size < 32 << 20);
	slow->stuck = false;
	for (unsigned i = 0; i < 20; i++) {
		resp_bench_run(bench);
		total += slow->output_size;
		slow->output_size = 0;
	}
	assert_int_equal(total, GETS * (SIZE + 10));
	resp_bench_close(bench);
}

/* More calls than there are: connections take turns. */
static void test_few_calls(void **state)
{
	static const struct resp_bench_options options = {
		.calls_max = 3,
		.delay_ns_max = 2000000,
	};
	struct resp_bench *bench = resp_bench_open(&options);
	struct resp_client *clients[RESP_CLIENTS];

	(void)state;
	for (unsigned i = 0; i < RESP_CLIENTS; i++) {
		clients[i] = resp_client_open(bench, i);
		for (unsigned n = 0; n < 50; n++)
			resp_client_bytes(clients[i], "INCR n\r\n", 8);
	}
	resp_bench_run(bench);
	assert_string_equal(resp_ask(clients[0], "GET n"), "$3\r\n400\r\n");
	assert_int_equal(bench->server.calls_used_max, 3);
	resp_bench_close(bench);
}

static void test_protocol_errors(void **state)
{
	static const struct {
		const char *request, *reply;
	} rows[] = {
		{ "*10000000\r\n", "-ERR Protocol error: invalid multibulk length\r\n" },
		{ "*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n" },
		{ "*1\r\nGET\r\n", "-ERR Protocol error: expected '$', got 'G'\r\n" },
		{ "*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n" },
		{ "*1\r\n$600000000\r\n", "-ERR Protocol error: invalid bulk length\r\n" },
		{ "SET \"a b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n" },
		{ "PING\r\nPING\r\n*x\r\nPING\r\n",
		  "+PONG\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n" },
	};

	(void)state;
	for (unsigned i = 0; i < array_count(rows); i++) {
		struct resp_bench *bench = resp_bench_open(NULL);
		struct resp_client *client = resp_client_open(bench, 0);

		assert_string_equal(resp_ask_raw(client, rows[i].request), rows[i].reply);
		assert_false(client->open);
		resp_bench_close(bench);
	}
}

/* A line as long as it may be waits for its end; one byte more is an error. */
static void test_longest_line(void **state)
{
	static const char starts[] = { 'a', '*', '$' };
	static char line[RESP_LINE_MAX];

	(void)state;
	for (unsigned i = 0; i < array_count(starts); i++) {
		struct resp_bench *bench = resp_bench_open(NULL);
		struct resp_client *client = resp_client_open(bench, 0);

		memset(line, 'b', sizeof(line));
		line[0] = starts[i];
		resp_client_bytes(client, line, sizeof(line));
		resp_bench_run(bench);
		assert_true(client->open);
		assert_false(client->paused);
		assert_non_null(strstr(resp_ask_raw(client, "b"), "-ERR Protocol error: too big "));
		assert_false(client->open);
		resp_bench_close(bench);
	}
}

/* Cut anywhere, a stream of requests means the same. */
static void test_cut_anywhere(void **state)
{
	static const char request[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n"
	                              "PING\r\n*0\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
	                              "SET \"a\\x41\" 'b c'\r\nGET aA\r\n";
	static const char expected[] = "+OK\r\n+PONG\r\n$10\r\n0123456789\r\n+OK\r\n$3\r\nb c\r\n";
	size_t size = sizeof(request) - 1;

	(void)state;
	for (size_t cut = 1; cut < size; cut++) {
		struct resp_bench *bench = resp_bench_open(NULL);
		struct resp_client *client = resp_client_open(bench, 0);

		resp_client_bytes(client, request, cut);
		resp_bench_run(bench);
		resp_client_bytes(client, request + cut, size - cut);
		resp_bench_run(bench);
		client->output[client->output_size] = '\0';
		assert_string_equal((const char *)client->output, expected);
		resp_bench_close(bench);
	}
}

/* Peers that go away in the middle of everything leave nothing behind. */
static void test_broken_connections(void **state)
{
	static const char request[] =
	        "SET a 1\r\nMULTI\r\nGET a\r\nINCR a\r\nEXEC\r\nWATCH a\r\nMGET a b\r\n"
	        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n0123";

	(void)state;
	for (size_t size = 1; size < sizeof(request); size++) {
		struct resp_bench *bench = resp_bench_open(&kinds[size % array_count(kinds)]);
		struct resp_client *client = resp_client_open(bench, 0);

		resp_client_bytes(client, request, size);
		if (size % 3 == 0)
			worker_turn(&bench->worker);
		resp_client_close(client);
		assert_int_equal(bench->server.calls_used, 0);
		assert_int_equal(bench->bufs.used_size, 0);
		resp_bench_close(bench);
	}
}

/* A peer that has said all still hears all. */
static void test_half_closed(void **state)
{
	struct resp_bench *bench = resp_bench_open(&kinds[2]);
	struct resp_client *client = resp_client_open(bench, 0);

	(void)state;
	resp_client_bytes(client, "SET a 1\r\nGET a\r\nQUI", 19);
	client->stream.handler->ended(&client->stream, STATUS_OK);
	resp_bench_run(bench);
	client->output[client->output_size] = '\0';
	assert_string_equal((const char *)client->output, "+OK\r\n$1\r\n1\r\n");
	assert_false(client->open);
	resp_bench_close(bench);
}

/* Failures of the store reach the client in its own words, and the next command works. */
static void test_store_fails(void **state)
{
	static const char *const requests[] = { "SET k w", "INCR n", "DEL k", "MSET k 1 l 2" };

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct resp_bench *bench = resp_bench_open(&kinds[k]);
		struct resp_client *client = resp_client_open(bench, 0);
		struct kv_mem_fault fault = { .count = 1, .status = STATUS_NO_SPACE };

		resp_ask(client, "SET k v");
		for (unsigned i = 0; i < array_count(requests); i++) {
			kv_mem_fail(bench->mem, &fault);
			assert_string_equal(resp_ask(client, "%s", requests[i]),
			                    "-OOM no space left on the store\r\n");
		}
		assert_string_equal(resp_ask(client, "GET k"), "$1\r\nv\r\n");
		fault.status = STATUS_CORRUPT;
		fault.reads = true;
		kv_mem_fail(bench->mem, &fault);
		assert_string_equal(resp_ask(client, "GET k"), "-IOERR checksum mismatch\r\n");
		assert_string_equal(resp_ask(client, "GET k"), "$1\r\nv\r\n");
		resp_bench_close(bench);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_basics),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_several_keys),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_transactions),
		cmocka_unit_test(test_conflicts),
		cmocka_unit_test(test_pipeline),
		cmocka_unit_test(test_one_send),
		cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_long_values_in_a_pipeline),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_few_calls),
		cmocka_unit_test(test_protocol_errors),
		cmocka_unit_test(test_longest_line),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_broken_connections),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_store_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
