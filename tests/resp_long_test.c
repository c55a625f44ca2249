/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on values that are never in memory as a whole, against the same on an array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"
#include "resp_client.h"
#include "server/bits.h"
#include "server/rdb.h"

enum {
	SIZE = 3000000,
	MEMORY = 6 << 20, /* of buffers: two values do not fit */
};

/* Every test runs against a store that answers at once, late, and on another worker. */
static const struct resp_bench_options kinds[] = {
	{ .remote = false, .memory_size = MEMORY },
	{ .remote = true, .memory_size = MEMORY },
	{ .remote = false, .delay_ns_max = 3000000, .memory_size = MEMORY },
	{ .remote = true, .delay_ns_max = 3000000, .memory_size = MEMORY },
};

struct rig {
	struct resp_bench *bench;
	struct resp_client *client;
	uint8_t *model; /* what k has */
	size_t size;
};

static void fill(uint8_t *data, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)('a' + (i * 7 + i / 251 + seed) % 26);
}

/* Sends a request whose last word is `value`; the reply stays in the client's output. */
static const char *ask_long(struct resp_client *client, const char *head, const uint8_t *value,
                            size_t size)
{
	enum { PIECE = 50000 };
	char header[64];

	client->output_size = 0;
	resp_client_bytes(client, head, strlen(head));
	resp_client_bytes(client, header, (size_t)sprintf(header, "$%zu\r\n", size));
	for (size_t at = 0; at < size; at += PIECE) {
		resp_client_bytes(client, value + at, size - at < PIECE ? size - at : PIECE);
		if (client->paused)
			resp_bench_run(client->bench);
	}
	resp_client_bytes(client, "\r\n", 2);
	resp_bench_run(client->bench);
	client->output[client->output_size] = '\0';
	return (const char *)client->output;
}

static void send_text(struct resp_client *client, const char *text)
{
	resp_client_bytes(client, text, strlen(text));
}

static void rig_open(struct rig *rig, unsigned kind)
{
	rig->bench = resp_bench_open(&kinds[kind]);
	rig->bench->server.values_max = 0; /* nothing but buffers */
	rig->client = resp_client_open(rig->bench, 0);
	rig->model = calloc(1, 2 * SIZE);
	assert_non_null(rig->model);
	rig->size = SIZE;
	fill(rig->model, SIZE, kind);
	assert_string_equal(
	        ask_long(rig->client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", rig->model, SIZE),
	        "+OK\r\n");
}

static void rig_close(struct rig *rig)
{
	assert_int_equal(rig->bench->server.uploads_used, 0);
	assert_int_equal(rig->bench->bufs.used_size, 0);
	resp_bench_close(rig->bench);
	free(rig->model);
}

/* Reads one bulk string off the reply; what follows. */
static const char *expect_bulk(const char *reply, const uint8_t *value, size_t size)
{
	char header[64];
	size_t header_size = (size_t)sprintf(header, "$%zu\r\n", size);

	assert_memory_equal(reply, header, header_size);
	assert_memory_equal(reply + header_size, value, size);
	assert_memory_equal(reply + header_size + size, "\r\n", 2);
	return reply + header_size + size + 2;
}

static void expect_model(struct rig *rig, const char *key)
{
	const char *rest = expect_bulk(resp_ask(rig->client, "GET %s", key), rig->model, rig->size);

	assert_string_equal(rest, "");
}

static void expect(struct rig *rig, const char *words, const char *reply)
{
	assert_string_equal(resp_ask(rig->client, "%s", words), reply);
}

static void expect_number(struct rig *rig, const char *words, int64_t number)
{
	char reply[32];

	sprintf(reply, ":%lld\r\n", (long long)number);
	expect(rig, words, reply);
}

static struct bytes model_of(const struct rig *rig)
{
	return bytes_of(rig->model, rig->size);
}

static void test_bits(void **state)
{
	struct bits_range range = { .start = 100, .end = -1000001, .end_given = true };
	struct rig rig;

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		rig_open(&rig, k);
		expect_number(&rig, "BITCOUNT k", (int64_t)bits_count(model_of(&rig), NULL));
		expect_number(&rig, "BITCOUNT k 100 -1000001",
		              (int64_t)bits_count(model_of(&rig), &range));
		range.by_bit = true;
		expect_number(&rig, "BITCOUNT k 100 -1000001 BIT",
		              (int64_t)bits_count(model_of(&rig), &range));
		range.by_bit = false;
		expect_number(&rig, "BITCOUNT k 5 1", 0);
		expect_number(&rig, "BITCOUNT k -1 -5", 0);
		expect(&rig, "BITCOUNT k 5", "-ERR syntax error\r\n");
		expect_number(&rig, "GETBIT k 20000001", bits_get(model_of(&rig), 20000001));
		expect_number(&rig, "GETBIT k 24000000", 0);
		/* A bit that is as it is, one that is not, one behind the end. */
		expect_number(&rig, "SETBIT k 16000000 0", bits_get(model_of(&rig), 16000000));
		expect_number(&rig, "SETBIT k 16000000 1", bits_set(rig.model, 16000000, true));
		expect_model(&rig, "k");
		expect_number(&rig, "SETBIT k 24000081 1", 0);
		rig.size = 24000081 / 8 + 1;
		bits_set(rig.model, 24000081, true);
		expect_model(&rig, "k");
		expect_number(&rig, "BITPOS k 1 -2", 24000081);
		memset(rig.model, 0, 2500000);
		resp_ask(rig.client, "DEL k");
		ask_long(rig.client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", rig.model, rig.size);
		expect_number(&rig, "BITPOS k 1", bits_position(model_of(&rig), true, NULL));
		expect_number(&rig, "BITPOS k 1 0 2499999", -1);
		expect_number(&rig, "BITPOS k 0", 0);
		memset(rig.model, 0xff, rig.size);
		ask_long(rig.client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", rig.model, rig.size);
		expect_number(&rig, "BITPOS k 0", (int64_t)rig.size * 8);
		expect_number(&rig, "BITPOS k 0 0 -1", -1);
		/* One that is made long by its only bit. */
		expect_number(&rig, "SETBIT far 20000000 1", 0);
		expect_number(&rig, "STRLEN far", 2500001);
		expect_number(&rig, "BITCOUNT far", 1);
		expect_number(&rig, "BITPOS far 1", 20000000);
		rig_close(&rig);
	}
}

static void test_fields(void **state)
{
	struct rig rig;

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		rig_open(&rig, k);
		memcpy(rig.model + 2000000, "\x01\x02\x03\x04\x05\x06\x07\x08\x09", 9);
		resp_ask(rig.client, "SETRANGE k 2000000 \"\\x01\\x02\\x03\\x04\\x05\\x06\\x07"
		                     "\\x08\\x09\"");
		expect_model(&rig, "k");
		expect(&rig, "BITFIELD k GET u16 16000000 GET i8 16000064", "*2\r\n:258\r\n:9\r\n");
		expect(&rig, "BITFIELD_RO k GET u16 #1000000 GET u8 30000000",
		       "*2\r\n:258\r\n:0\r\n");
		/* Each sees what those before it did, at odd places too. */
		expect(&rig,
		       "BITFIELD k SET u16 16000000 772 INCRBY u8 16000008 1 GET u16 16000000 "
		       "OVERFLOW FAIL INCRBY u8 16000000 255 GET u4 16000004",
		       "*5\r\n:258\r\n:5\r\n:773\r\n$-1\r\n:3\r\n");
		rig.model[2000000] = 3;
		rig.model[2000001] = 5;
		expect_model(&rig, "k");
		expect(&rig, "BITFIELD k SET i64 #400000 -1", "*1\r\n:0\r\n");
		memset(rig.model + rig.size, 0, 400000 * 8 - rig.size);
		memset(rig.model + 400000 * 8, 0xff, 8);
		rig.size = 400001 * 8;
		expect_model(&rig, "k");
		rig_close(&rig);
	}
}

static void test_bitop(void **state)
{
	static const char *const names[] = { "AND", "OR", "XOR" };
	uint8_t *other = malloc(SIZE), *out = malloc(SIZE);
	struct bytes sources[3];
	struct rig rig;

	(void)state;
	assert_true(other != NULL && out != NULL);
	fill(other, SIZE, 9);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		char words[64];

		rig_open(&rig, k);
		ask_long(rig.client, "*3\r\n$3\r\nSET\r\n$1\r\nj\r\n", other, SIZE - 1000);
		resp_ask(rig.client, "SET s abc");
		sources[0] = model_of(&rig);
		sources[1] = bytes_of(other, SIZE - 1000);
		sources[2] = bytes_of("abc", 3);
		for (unsigned op = 0; op < array_count(names); op++) {
			sprintf(words, "BITOP %s to k j s", names[op]);
			expect_number(&rig, words, SIZE);
			bits_combine((enum bits_op)op, sources, 3, out);
			expect_bulk(resp_ask(rig.client, "GET to"), out, SIZE);
		}
		/* Into one of its sources; with one that is not there. */
		expect_number(&rig, "BITOP NOT k k", SIZE);
		bits_combine(BITS_NOT, sources, 1, out);
		expect_bulk(resp_ask(rig.client, "GET k"), out, SIZE);
		expect_number(&rig, "BITOP AND k none k", SIZE);
		expect_number(&rig, "BITCOUNT k", 0);
		rig_close(&rig);
	}
	free(other);
	free(out);
}

static void test_whole(void **state)
{
	uint8_t *other = malloc(SIZE);
	struct rig rig;

	(void)state;
	assert_non_null(other);
	fill(other, SIZE, 11);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		rig_open(&rig, k);
		expect(&rig, "COPY k copy", ":1\r\n");
		expect_model(&rig, "copy");
		expect(&rig, "COPY k copy", ":0\r\n");
		expect(&rig, "RENAME copy new", "+OK\r\n");
		expect(&rig, "EXISTS copy", ":0\r\n");
		expect(&rig, "MOVE new 3", ":1\r\n");
		expect(&rig, "SELECT 3", "+OK\r\n");
		expect_model(&rig, "new");
		expect_bulk(resp_ask(rig.client, "GETEX new EX 100"), rig.model, SIZE);
		expect(&rig, "TTL new", ":100\r\n");
		expect_bulk(resp_ask(rig.client, "GETEX new PERSIST"), rig.model, SIZE);
		expect(&rig, "TTL new", ":-1\r\n");
		expect_bulk(resp_ask(rig.client, "GETDEL new"), rig.model, SIZE);
		expect(&rig, "SELECT 0", "+OK\r\n");
		/* A long value takes the place of a long one; a short one does. */
		expect_bulk(ask_long(rig.client, "*3\r\n$6\r\nGETSET\r\n$1\r\nk\r\n", other, SIZE),
		            rig.model, SIZE);
		expect_bulk(resp_ask(rig.client, "SET k short GET"), other, SIZE);
		expect(&rig, "GET k", "$5\r\nshort\r\n");
		/* What is put at the end, or over it, is long. */
		expect_number(&rig, "APPEND k er", 7);
		assert_string_equal(
		        ask_long(rig.client, "*3\r\n$6\r\nAPPEND\r\n$1\r\nk\r\n", other, SIZE),
		        ":3000007\r\n");
		memcpy(rig.model, "shorter", 7);
		memcpy(rig.model + 7, other, SIZE);
		rig.size = SIZE + 7;
		expect_model(&rig, "k");
		assert_string_equal(ask_long(rig.client,
		                             "*4\r\n$8\r\nSETRANGE\r\n$1\r\nk\r\n$2\r\n50\r\n",
		                             other, SIZE),
		                    ":3000050\r\n");
		memcpy(rig.model + 50, other, SIZE);
		rig.size = SIZE + 50;
		expect_model(&rig, "k");
		expect_bulk(resp_ask(rig.client, "MGET k") + 4, rig.model, rig.size);
		expect_bulk(resp_ask(rig.client, "WEIR.GETV k") + 4, rig.model, rig.size);
		rig_close(&rig);
	}
	free(other);
}

static void test_dump(void **state)
{
	size_t room = SIZE + 64;
	uint8_t *payload = malloc(room);
	struct rig rig;

	(void)state;
	assert_non_null(payload);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct rdb_writer writer = { .data = payload, .size = room };

		rig_open(&rig, k);
		rdb_dump_string(&writer, model_of(&rig));
		assert_false(writer.full);
		expect_bulk(resp_ask(rig.client, "DUMP k"), payload, writer.used);
		assert_string_equal(ask_long(rig.client,
		                             "*4\r\n$7\r\nRESTORE\r\n$1\r\nr\r\n$1\r\n0\r\n",
		                             payload, writer.used),
		                    "+OK\r\n");
		expect_model(&rig, "r");
		assert_string_equal(ask_long(rig.client,
		                             "*4\r\n$7\r\nRESTORE\r\n$1\r\nr\r\n$1\r\n0\r\n",
		                             payload, writer.used),
		                    "-BUSYKEY Target key name already exists.\r\n");
		ask_long(rig.client, "*5\r\n$7\r\nRESTORE\r\n$1\r\nr\r\n$5\r\n50000\r\n", payload,
		         writer.used);
		assert_string_equal(resp_ask_raw(rig.client, "$7\r\nREPLACE\r\n"), "+OK\r\n");
		expect(&rig, "TTL r", ":50\r\n");
		payload[1000000] ^= 1;
		assert_string_equal(ask_long(rig.client,
		                             "*4\r\n$7\r\nRESTORE\r\n$1\r\nq\r\n$1\r\n0\r\n",
		                             payload, writer.used),
		                    "-ERR DUMP payload version or checksum are wrong\r\n");
		expect(&rig, "EXISTS q", ":0\r\n");
		rig_close(&rig);
	}
	free(payload);
}

/* A transaction sees what it has done itself, and replies it when it is committed. */
static void test_multi(void **state)
{
	struct rig rig;

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		uint8_t *old;
		const char *reply;

		rig_open(&rig, k);
		old = malloc(SIZE);
		assert_non_null(old);
		memcpy(old, rig.model, SIZE);
		expect(&rig, "MULTI", "+OK\r\n");
		expect(&rig, "GET k", "+QUEUED\r\n");
		expect(&rig, "SETRANGE k 2999999 XYZ", "+QUEUED\r\n");
		expect(&rig, "GETRANGE k -4 -1", "+QUEUED\r\n");
		expect(&rig, "APPEND k !", "+QUEUED\r\n");
		expect(&rig, "SETBIT k 0 1", "+QUEUED\r\n");
		expect(&rig, "COPY k c", "+QUEUED\r\n");
		expect(&rig, "EXPIRE c 100", "+QUEUED\r\n");
		expect(&rig, "STRLEN c", "+QUEUED\r\n");
		expect(&rig, "GET c", "+QUEUED\r\n");
		expect(&rig, "INCR c", "+QUEUED\r\n");
		reply = resp_ask(rig.client, "EXEC");
		assert_memory_equal(reply, "*10\r\n", 5);
		reply = expect_bulk(reply + 5, old, SIZE);
		memcpy(rig.model + 2999999, "XYZ!", 4);
		rig.size = SIZE + 3;
		assert_memory_equal(reply, ":3000002\r\n", 10);
		reply = expect_bulk(reply + 10, rig.model + 2999998, 4);
		assert_memory_equal(reply, ":3000003\r\n:0\r\n:1\r\n:1\r\n:3000003\r\n", 32);
		rig.model[0] |= 0x80;
		reply = expect_bulk(reply + 32, rig.model, rig.size);
		assert_string_equal(reply, "-ERR value is not an integer or out of range\r\n");
		expect_model(&rig, "k");
		expect_model(&rig, "c");
		expect(&rig, "PERSIST c", ":1\r\n");
		free(old);
		rig_close(&rig);
	}
}

/* Somebody writes the key while it is copied: nothing is lost, nothing is mixed. */
static void test_conflicts(void **state)
{
	struct rig rig;

	(void)state;
	for (unsigned turns = 1; turns < 120; turns += 7) {
		struct resp_client *other;

		rig_open(&rig, turns % 2 == 0 ? 2 : 3);
		other = resp_client_open(rig.bench, 1);
		rig.client->output_size = 0;
		send_text(rig.client, "APPEND k tail\r\n");
		for (unsigned i = 0; i < turns; i++) {
			rig.bench->now_ns += 100000;
			(void)worker_turn(&rig.bench->worker);
		}
		resp_ask(other, "SETRANGE k 10 middle");
		memcpy(rig.model + 10, "middle", 6);
		memcpy(rig.model + SIZE, "tail", 4);
		rig.size = SIZE + 4;
		expect_model(&rig, "k");
		rig_close(&rig);
	}
}

/* Replies in their order, a reader that takes nothing, and one that goes away in the middle. */
static void test_readers(void **state)
{
	struct rig rig;

	(void)state;
	for (unsigned k = 0; k < array_count(kinds); k++) {
		const char *reply;

		rig_open(&rig, k);
		rig.client->output_size = 0;
		rig.client->stuck = true;
		send_text(rig.client, "PING\r\nGETEX k PERSIST\r\nGETEX k PERSIST\r\nPING\r\n");
		resp_bench_run(rig.bench);
		assert_true(rig.bench->bufs.used_size < 1 << 20);
		rig.client->stuck = false;
		resp_bench_run(rig.bench);
		reply = (const char *)rig.client->output;
		rig.client->output[rig.client->output_size] = '\0';
		assert_memory_equal(reply, "+PONG\r\n", 7);
		reply = expect_bulk(reply + 7, rig.model, SIZE);
		reply = expect_bulk(reply, rig.model, SIZE);
		assert_string_equal(reply, "+PONG\r\n");
		rig.client->output_size = 0;
		rig.client->stuck = true;
		send_text(rig.client, "GETEX k PERSIST\r\nGETDEL k\r\n");
		resp_bench_run(rig.bench);
		resp_client_close(rig.client);
		rig_close(&rig);
	}
}

/* What fails in the middle is an error, and leaves nothing behind. */
static void test_faults(void **state)
{
	struct rig rig;

	(void)state;
	for (unsigned skip = 0; skip < 60; skip += 3) {
		rig_open(&rig, 0);
		kv_mem_fail(rig.bench->mem, &(struct kv_mem_fault){
		                                    .status = STATUS_NO_SPACE,
		                                    .skip = skip,
		                                    .count = 1,
		                                    .reads = true,
		                            });
		resp_ask(rig.client, "SETBIT k 0 1");
		kv_mem_fail(rig.bench->mem, &(struct kv_mem_fault){ .count = 0 });
		if (strncmp((const char *)rig.client->output, ":", 1) == 0)
			rig.model[0] |= 0x80;
		expect_model(&rig, "k");
		rig_close(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),      cmocka_unit_test(test_fields),
		cmocka_unit_test(test_bitop),     cmocka_unit_test(test_whole),
		cmocka_unit_test(test_dump),      cmocka_unit_test(test_multi),
		cmocka_unit_test(test_conflicts), cmocka_unit_test(test_readers),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
