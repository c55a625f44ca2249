/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"
#include "base/prng.h"
#include "core/plan.h"
#include "http_client.h"
#include "server/http_face.h"
#include "server/http_json.h"

/* Every test runs against a store that answers at once, late, and on another worker. */
static const struct kind {
	bool local;
	uint64_t delay_ns_max;
} kinds[] = { { true, 0 }, { false, 0 }, { true, 3000000 }, { false, 3000000 } };

static const struct kind *kind;
static struct http_face face;
static struct conf conf;
static struct plan plan;
static struct topology topology;
static struct metrics metrics;
static uint64_t counted = 7;
static bool failed;

static void tell_facts(void *owner, struct http_facts *facts)
{
	(void)owner;
	*facts = (struct http_facts){ .process_id = 42, .started_ms = 1, .read_only = failed };
}

/* One worker. */
static const struct recent *tell_recent(void *owner, int worker)
{
	static struct recent messages, slow;

	(void)owner;
	if (recent_count(&messages) == 0) {
		recent_put(&messages, 7, 0, BYTES("a device, \"x\""));
		recent_put(&slow, 9, 5000, BYTES("resp get k"));
	}
	return worker < 0 ? &messages : worker == 0 ? &slow : NULL;
}

static void *prepare(struct http_bench *bench)
{
	const struct http_face_options options = {
		.worker = &bench->worker,
		.kv = bench->kv,
		.kv_is_local = kind->local,
		.conf = &conf,
		.plan = &plan,
		.topology = &topology,
		.metrics = &metrics,
		.version = "1.2.3",
		.hosts = "a.example, B.example",
		.facts = tell_facts,
		.recent = tell_recent,
	};

	assert_int_equal(http_face_open(&face, &options), STATUS_OK);
	return &face;
}

static struct http_bench *open_bench(size_t memory_size)
{
	return http_bench_open(&(struct http_bench_options){
	        .handler = &http_face_handler,
	        .prepare = prepare,
	        .delay_ns_max = kind->delay_ns_max,
	        .memory_size = memory_size,
	});
}

static void close_bench(struct http_bench *bench)
{
	http_bench_close(bench);
	http_face_close(&face);
}

struct step {
	const char *line, *fields, *body;
	unsigned status;
	const char *wanted; /* in the answer; NULL: anything */
};

static void run_steps(const struct step *steps, size_t count)
{
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		struct http_bench *bench = open_bench(0);

		for (size_t i = 0; i < count; i++) {
			struct http_client *client = http_client_open(bench, 0);
			const char *answer =
			        http_ask(client, steps[i].line, steps[i].fields, steps[i].body);

			if (http_answer_status(answer) != steps[i].status)
				print_message("%s: %s\n", steps[i].line, answer);
			assert_int_equal(http_answer_status(answer), steps[i].status);
			if (steps[i].wanted != NULL && strstr(answer, steps[i].wanted) == NULL)
				print_message("%s: %s\n", steps[i].line, answer);
			assert_true(steps[i].wanted == NULL ||
			            strstr(answer, steps[i].wanted) != NULL);
			http_client_close(client);
		}
		close_bench(bench);
	}
}

static void keys_are_read_and_written(void **state)
{
	static const struct step steps[] = {
		{ "GET /kv/default/k", NULL, NULL, 404, "no such key" },
		{ "PUT /kv/default/k", NULL, "v", 201, "ETag: \"1\"\r\n" },
		{ "GET /kv/default/k", NULL, NULL, 200, "\r\n\r\nv" },
		{ "GET /kv/0/k", NULL, NULL, 200, "ETag: \"1\"\r\n" },
		{ "GET /kv/1/k", NULL, NULL, 404, NULL },
		{ "HEAD /kv/0/k", NULL, NULL, 200, "Content-Length: 1\r\n\r\n" },
		{ "PUT /kv/default/k", NULL, "w", 204, "ETag: \"2\"\r\n" },
		{ "PUT /kv/default/empty", NULL, "", 201, NULL },
		{ "GET /kv/default/empty", NULL, NULL, 200, "Content-Length: 0\r\n" },
		{ "PUT /kv/3/a%2fb%00%20c+", NULL, "odd", 201, NULL },
		{ "GET /kv/3/a/b%00%20c+", NULL, NULL, 200, "odd" },
		{ "DELETE /kv/default/k", NULL, NULL, 204, NULL },
		{ "DELETE /kv/default/k", NULL, NULL, 404, NULL },
		{ "GET /kv/default/k", NULL, NULL, 404, NULL },
		{ "POST /kv/default/k", NULL, "x", 405, "Allow: GET, HEAD, PUT, DELETE\r\n" },
		{ "GET /kv/16/k", NULL, NULL, 404, "namespaces" },
		{ "GET /kv/00/k", NULL, NULL, 404, "namespaces" },
		{ "GET /kv/other/k", NULL, NULL, 404, "namespaces" },
		{ "GET /kv", NULL, NULL, 404, NULL },
		{ "PUT /kv/default/k", "Content-Range: bytes 0-0/2\r\n", "x", 400, NULL },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

static void conditions_compare_and_swap(void **state)
{
	static const struct step steps[] = {
		{ "PUT /kv/0/k", "If-Match: *\r\n", "a", 412, NULL },
		{ "PUT /kv/0/k", "If-None-Match: *\r\n", "a", 201, "ETag: \"1\"" },
		{ "PUT /kv/0/k", "If-None-Match: *\r\n", "b", 412, "ETag: \"1\"" },
		{ "PUT /kv/0/k", "If-Match: \"7\"\r\n", "b", 412, "ETag: \"1\"" },
		{ "PUT /kv/0/k", "If-Match: \"7\", \"1\"\r\n", "b", 204, "ETag: \"2\"" },
		{ "GET /kv/0/k", "If-None-Match: \"2\"\r\n", NULL, 304, "ETag: \"2\"" },
		{ "GET /kv/0/k", "If-None-Match: \"1\"\r\n", NULL, 200, "\r\n\r\nb" },
		{ "GET /kv/0/k", "If-Match: \"1\"\r\n", NULL, 412, NULL },
		{ "DELETE /kv/0/k", "If-Match: \"1\"\r\n", NULL, 412, NULL },
		{ "DELETE /kv/0/k", "If-Match: \"2\"\r\n", NULL, 204, NULL },
		{ "DELETE /kv/0/k", "If-Match: \"2\"\r\n", NULL, 412, NULL },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

static void keys_end(void **state)
{
	static const struct step steps[] = {
		{ "PUT /kv/0/k", "TTL: 60\r\n", "a", 201, NULL },
		{ "GET /kv/0/k", NULL, NULL, 200, "TTL: 60\r\n" },
		{ "PUT /kv/0/k?ttl=5", NULL, "a", 204, NULL },
		{ "GET /kv/0/k", NULL, NULL, 200, "TTL: 5\r\n" },
		{ "PUT /kv/0/k", "TTL: 0\r\n", "a", 400, NULL },
		{ "PUT /kv/0/k", "TTL: x\r\n", "a", 400, NULL },
		{ "PUT /kv/0/k", "TTL: 99999999999999999999\r\n", "a", 400, NULL },
		{ "PUT /kv/0/k", NULL, "b", 204, NULL },
	};

	(void)state;
	run_steps(steps, array_count(steps));
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		struct http_bench *bench = open_bench(0);
		struct http_client *client = http_client_open(bench, 0);

		http_ask(client, "PUT /kv/0/k", "TTL: 2\r\n", "a");
		http_bench_wait(bench, 2500000000);
		assert_int_equal(http_answer_status(http_ask(client, "GET /kv/0/k", NULL, NULL)),
		                 404);
		close_bench(bench);
	}
}

static void ranges_are_answered(void **state)
{
	static const struct step steps[] = {
		{ "PUT /kv/0/k", NULL, "0123456789", 201, NULL },
		{ "GET /kv/0/k", "Range: bytes=2-4\r\n", NULL, 206, "\r\n\r\n234" },
		{ "GET /kv/0/k", "Range: bytes=2-4\r\n", NULL, 206, "bytes 2-4/10\r\n" },
		{ "GET /kv/0/k", "Range: bytes=-3\r\n", NULL, 206, "\r\n\r\n789" },
		{ "GET /kv/0/k", "Range: bytes=10-\r\n", NULL, 416, "bytes */10\r\n" },
		{ "GET /kv/0/k", "Range: bytes=0-1,3-4\r\n", NULL, 200, "0123456789" },
		{ "GET /kv/0/k", "Range: bytes=1-1\r\nIf-Range: \"1\"\r\n", NULL, 206, NULL },
		{ "GET /kv/0/k", "Range: bytes=1-1\r\nIf-Range: \"2\"\r\n", NULL, 200, NULL },
		{ "HEAD /kv/0/k", "Range: bytes=2-4\r\n", NULL, 206, "Content-Length: 3\r\n" },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

/* Of all sizes at which something changes: small, a buffer, a blob, several pieces. */
static void values_of_all_sizes_come_back(void **state)
{
	static const size_t sizes[] = { 511,   512,   513,    1024,   4096,   32767,  32768,
		                        32769, 65536, 262143, 262144, 262145, 524288, 700001 };
	static char body[700002], line[64];

	(void)state;
	for (size_t i = 0; i < sizeof(body) - 1; i++)
		body[i] = (char)('a' + (i * 7 + i / 251) % 26);
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		struct http_bench *bench = open_bench(0);
		struct http_client *client = http_client_open(bench, 0);

		for (size_t i = 0; i < array_count(sizes); i++) {
			char kept = body[sizes[i]];
			const char *text;

			body[sizes[i]] = '\0';
			snprintf(line, sizeof(line), "PUT /kv/0/k%zu", sizes[i]);
			assert_int_equal(http_answer_status(http_ask(client, line, NULL, body)),
			                 201);
			snprintf(line, sizeof(line), "GET /kv/0/k%zu", sizes[i]);
			text = http_answer_text_of(http_ask(client, line, NULL, NULL));
			assert_string_equal(text, body);
			text = http_answer_text_of(
			        http_ask(client, line, "Range: bytes=-100\r\n", NULL));
			assert_string_equal(text, body + sizes[i] - 100);
			assert_int_equal(http_answer_status(http_ask(
			                         client, line, "Range: bytes=999999-\r\n", NULL)),
			                 416);
			body[sizes[i]] = kept;
		}
		assert_true(client->open);
		/* A large one is replaced by a small one, and is a condition's subject too. */
		assert_int_equal(
		        http_answer_status(http_ask(client, "PUT /kv/0/k700001", NULL, "s")), 204);
		assert_int_equal(http_answer_status(http_ask(client, "PUT /kv/0/k700001",
		                                             "If-None-Match: *\r\n", body)),
		                 412);
		close_bench(bench);
	}
}

static void values_in_chunks_come_back(void **state)
{
	static char body[300000], chunk[600000];
	static const size_t sizes[] = { 1, 32768, 32769, 299999 };

	(void)state;
	memset(body, 'q', sizeof(body));
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		struct http_bench *bench = open_bench(0);
		struct http_client *client = http_client_open(bench, 0);

		for (size_t i = 0; i < array_count(sizes); i++) {
			size_t used = (size_t)sprintf(chunk, "PUT /kv/0/c HTTP/1.1\r\nHost: "
			                                     "localhost\r\nTransfer-Encoding: "
			                                     "chunked\r\n\r\n");

			for (size_t at = 0; at < sizes[i];) {
				size_t part = sizes[i] - at < 7777 ? sizes[i] - at : 7777;

				used += (size_t)sprintf(chunk + used, "%zx\r\n", part);
				memcpy(chunk + used, body, part);
				used += part;
				used += (size_t)sprintf(chunk + used, "\r\n");
				at += part;
			}
			sprintf(chunk + used, "0\r\n\r\n");
			http_ask_raw(client, chunk);
			assert_in_range(http_answer_status((char *)client->output), 201, 204);
			assert_int_equal(strlen(http_answer_text_of(
			                         http_ask(client, "GET /kv/0/c", NULL, NULL))),
			                 sizes[i]);
		}
		close_bench(bench);
	}
}

/* Who goes away in the middle leaves nothing open; http_bench_close() looks. */
static void vanished_clients_leave_nothing(void **state)
{
	static char body[400000];

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		struct http_bench *bench = open_bench(0);
		struct http_client *client = http_client_open(bench, 0);

		http_ask(client, "PUT /kv/0/big", NULL, body);
		client->stuck = true;
		http_ask(client, "GET /kv/0/big", NULL, NULL);
		http_client_close(client);
		client = http_client_open(bench, 0);
		http_ask(client, "PUT /kv/0/half", "Content-Length: 500000\r\n", NULL);
		http_client_bytes(client, body, 399999);
		http_client_close(client);
		/* In the same turn as the request. */
		client = http_client_open(bench, 0);
		http_client_text(client, "GET /kv/0/big HTTP/1.1\r\nHost: localhost\r\n\r\n");
		http_client_close(client);
		client = http_client_open(bench, 0);
		http_client_text(client, "DELETE /kv/0/big HTTP/1.1\r\nHost: localhost\r\n\r\n");
		http_client_close(client);
		client = http_client_open(bench, 0);
		http_client_text(client, "GET /kv/0?values=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
		http_client_close(client);
		client = http_client_open(bench, 0);
		assert_int_equal(http_answer_status(http_ask(client, "GET /kv/0/half", NULL, NULL)),
		                 404);
		close_bench(bench);
	}
}

/* Errors of the store reach the client, in any step of a large value. */
static void faults_are_answered(void **state)
{
	static char body[300000];

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		for (uint32_t skip = 0; skip < 6; skip++) {
			struct http_bench *bench = open_bench(0);
			struct http_client *client = http_client_open(bench, 0);
			struct kv_mem_fault fault = { skip, 1, STATUS_NO_SPACE, true };

			http_ask(client, "PUT /kv/0/big", NULL, body);
			kv_mem_fail(bench->mem, &fault);
			http_ask(client, "PUT /kv/0/big", NULL, body);
			assert_true(http_answer_status((char *)client->output) == 507 ||
			            http_answer_status((char *)client->output) == 204);
			client = http_client_open(bench, 1); /* the other may linger */
			kv_mem_fail(bench->mem, &fault);
			http_ask(client, "GET /kv/0/big", NULL, NULL);
			assert_true(http_answer_status((char *)client->output) == 507 ||
			            http_answer_status((char *)client->output) == 200);
			kv_mem_fail(bench->mem, &(struct kv_mem_fault){ .count = 0 });
			close_bench(bench);
		}
	}
}

static void keys_are_listed(void **state)
{
	static const struct step steps[] = {
		{ "GET /kv/0", NULL, NULL, 200, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
		{ "PUT /kv/0/a1", NULL, "x\"y", 201, NULL },
		{ "PUT /kv/0/a2", "TTL: 9\r\n", "2", 201, NULL },
		{ "PUT /kv/0/b%ff", NULL, "%01", 201, NULL },
		{ "GET /kv/0", NULL, NULL, 200, "{\"key\":\"a1\",\"size\":3,\"version\":1}\n" },
		{ "GET /kv/0/", NULL, NULL, 200, "\"expires_ms\":7841117" },
		{ "GET /kv/0?values=1", NULL, NULL, 200, "\"value\":\"x\\\"y\"}\n" },
		{ "GET /kv/0?prefix=b", NULL, NULL, 200, "{\"key_base64\":\"Yv8=\",\"size\":3" },
		{ "GET /kv/0?limit=1", NULL, NULL, 200, "{\"cursor\":\"YTE=\"}\n" },
		{ "GET /kv/0?limit=1&cursor=YTE=", NULL, NULL, 200, "{\"key\":\"a2\"" },
		{ "GET /kv/0?limit=0", NULL, NULL, 400, NULL },
		{ "GET /kv/0?limit=x", NULL, NULL, 400, NULL },
		{ "GET /kv/0?cursor=x", NULL, NULL, 400, NULL },
		{ "GET /kv/0?prefix=b&cursor=YTE=", NULL, NULL, 400, NULL },
		{ "PUT /kv/0", NULL, "x", 405, NULL },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

/* Page by page, with values that fill buffers, each key is there once and in order. */
static void long_lists_are_whole(void **state)
{
	static char value[20001], line[512], key[512];
	const unsigned keys = 60;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		struct http_bench *bench = open_bench(0);
		struct http_client *client = http_client_open(bench, 0);
		char cursor[64] = "";
		unsigned seen = 0;

		for (unsigned i = 0; i < keys; i++) {
			snprintf(line, sizeof(line), "PUT /kv/0/key%03u", i);
			http_ask(client, line, NULL, value);
		}
		while (seen < keys) {
			const char *text, *found;

			snprintf(line, sizeof(line), "GET /kv/0?limit=25&values=1%s%s",
			         cursor[0] != '\0' ? "&cursor=" : "", cursor);
			text = http_ask(client, line, NULL, NULL);
			assert_int_equal(http_answer_status(text), 200);
			for (unsigned i = 0; i < 25 && seen < keys; i++, seen++) {
				snprintf(key, sizeof(key), "{\"key\":\"key%03u\"", seen);
				text = strstr(text, key);
				assert_non_null(text);
				text++;
			}
			found = strstr(text, "{\"cursor\":\"");
			assert_true((found != NULL) == (seen < keys));
			if (found != NULL)
				snprintf(cursor, sizeof(cursor), "%.*s",
				         (int)strcspn(found + 11, "\""), found + 11);
		}
		close_bench(bench);
	}
}

static void batches_are_all_or_nothing(void **state)
{
	static const struct step steps[] = {
		{ "POST /kv/0", NULL,
		  "{\"op\":\"put\",\"key\":\"b\",\"value\":\"2\"}\n\n"
		  "{\"op\":\"put\",\"key_base64\":\"/w==\",\"value_base64\":\"AQ==\",\"ttl\":9}\n"
		  "{\"op\":\"put\",\"key\":\"a\",\"value\":\"\\u00e9\",\"if_version\":0}",
		  200, "{\"applied\":3}\n" },
		{ "GET /kv/0/a", NULL, NULL, 200, "\r\n\r\n\xc3\xa9" },
		{ "GET /kv/0/%ff", NULL, NULL, 200, "TTL: 9\r\n" },
		{ "POST /kv/0", NULL,
		  "{\"op\":\"put\",\"key\":\"b\",\"value\":\"3\"}\n"
		  "{\"op\":\"check\",\"key\":\"a\",\"if_version\":99}\n",
		  412, NULL },
		{ "GET /kv/0/b", NULL, NULL, 200, "\r\n\r\n2" },
		{ "POST /kv/0", NULL,
		  "{\"op\":\"delete\",\"key\":\"b\"}\n{\"op\":\"delete\",\"key\":\"none\"}", 200,
		  NULL },
		{ "GET /kv/0/b", NULL, NULL, 404, NULL },
		{ "POST /kv/0", NULL, "", 400, "empty" },
		{ "POST /kv/0", NULL, "x", 400, "line 1 is no object" },
		{ "POST /kv/0", NULL, "\n[]", 400, "line 2 is no object" },
		{ "POST /kv/0", NULL, "{\"op\":\"get\",\"key\":\"a\"}", 400, "has no op" },
		{ "POST /kv/0", NULL, "{\"op\":\"put\",\"value\":\"a\"}", 400, "has no key" },
		{ "POST /kv/0", NULL, "{\"op\":\"put\",\"key\":\"a\"}", 400, "has no value" },
		{ "POST /kv/0", NULL, "{\"op\":\"put\",\"key\":\"a\",\"value\":1}", 400, "value" },
		{ "POST /kv/0", NULL, "{\"op\":\"put\",\"key\":\"a\",\"value\":\"\",\"ttl\":0}",
		  400, "ttl" },
		{ "POST /kv/0", NULL,
		  "{\"op\":\"put\",\"key\":\"a\",\"value\":\"\",\"if_version\":\"1\"}", 400,
		  "if_version" },
		{ "POST /kv/0", NULL, "{\"op\":\"check\",\"key\":\"a\"}", 400, "checks nothing" },
		{ "POST /kv/0", NULL,
		  "{\"op\":\"delete\",\"key\":\"a\"}\n{\"op\":\"delete\",\"key\":\"a\"}", 400,
		  "twice" },
		{ "POST /kv/0", "Content-Length: 600000\r\n", NULL, 413, "512 KiB" },
	};

	(void)state;
	run_steps(steps, array_count(steps));
}

/* Requests whole and broken, cut anywhere, by peers that stop, end and vanish at any moment. */
static size_t chaos_request(struct prng *prng, char *text, size_t text_max)
{
	static const char *const lines[] = {
		"GET /kv/0/%u", "PUT /kv/0/%u",  "DELETE /kv/0/%u",      "GET /kv/0?values=1&x=%u",
		"POST /kv/0",   "HEAD /kv/0/%u", "GET /metrics?%u",      "GET /api/keys?%u",
		"GET /%%zz%u",  "OPTIONS *",     "GET /api/status?a=%u", "PUT /o/b/%u",
	};
	static const char *const fields[] = { "",
		                              "Expect: 100-continue\r\n",
		                              "If-None-Match: *\r\n",
		                              "Connection: close\r\n",
		                              "Range: bytes=5-90000\r\n",
		                              "TTL: 1\r\n",
		                              "Bad : 1\r\n" };
	static const size_t sizes[] = { 0, 1, 500, 5000, 33000, 270000 };
	const char *line = lines[prng_below(prng, array_count(lines))];
	size_t size = sizes[prng_below(prng, array_count(sizes))], used;
	bool chunked = prng_below(prng, 3) == 0;

	used = (size_t)snprintf(text, text_max, line, (unsigned)prng_below(prng, 4));
	used += (size_t)snprintf(text + used, text_max - used, " HTTP/1.1\r\nHost: localhost\r\n%s",
	                         fields[prng_below(prng, array_count(fields))]);
	if (chunked)
		used += (size_t)snprintf(text + used, text_max - used,
		                         "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", size);
	else
		used += (size_t)snprintf(text + used, text_max - used,
		                         "Content-Length: %zu\r\n\r\n", size);
	assert_true(used + size + 16 < text_max);
	memset(text + used, 'x', size);
	used += size;
	if (chunked)
		used += (size_t)sprintf(text + used, size > 0 ? "\r\n0\r\n\r\n" : "\r\n");
	if (prng_below(prng, 20) == 0)
		text[prng_below(prng, used)] = (char)prng_below(prng, 256);
	return used;
}

static void chaos_step(struct http_bench *bench, struct prng *prng, unsigned index)
{
	static char text[300000];
	struct http_client *client = &bench->clients[index];
	size_t size = chaos_request(prng, text, sizeof(text)), at = 0;

	if (!client->open)
		client = http_client_open(bench, index);
	while (at < size && client->open) {
		size_t part = prng_below(prng, 2) ? size - at : 1 + prng_below(prng, 40000);

		part = part < size - at ? part : size - at;
		client->stuck = prng_below(prng, 4) == 0;
		if (!client->paused)
			http_client_bytes(client, text + at, part);
		at += part;
		http_bench_wait(bench, 1000000ull << prng_below(prng, 8));
		if (prng_below(prng, 30) == 0 && client->open)
			http_client_close(client);
	}
	client->stuck = false;
	client->output_size = 0;
	if (client->open && prng_below(prng, 6) == 0) {
		http_client_finish(client);
		http_bench_run(bench);
		if (client->open)
			http_client_close(client);
	}
}

static void chaos_ends_in_order(void **state)
{
	struct prng prng;

	(void)state;
	prng_init(&prng, 20);
	for (kind = kinds; kind < kinds + array_count(kinds); kind++) {
		for (unsigned round = 0; round < 12; round++) {
			struct http_bench *bench = open_bench(round % 2 == 0 ? 0 : 2 << 20);

			for (unsigned i = 0; i < 40; i++)
				chaos_step(bench, &prng, (unsigned)prng_below(&prng, 3));
			close_bench(bench); /* asserts that nothing is left */
		}
	}
}

static void strangers_are_refused(void **state)
{
	static const struct {
		const char *request;
		unsigned status;
	} rows[] = {
		{ "GET /healthz HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n", 421 },
		{ "GET /healthz HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 421 },
		{ "GET /healthz HTTP/1.1\r\nHost: a.example:1\r\n\r\n", 200 },
		{ "GET /healthz HTTP/1.1\r\nHost: b.EXAMPLE\r\n\r\n", 200 },
		{ "GET /healthz HTTP/1.1\r\nHost: LocalHost\r\n\r\n", 200 },
		{ "GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n", 200 },
		{ "GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200 },
		{ "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200 },
		{ "PUT /kv/0/k HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 0\r\n"
		  "Origin: http://evil.example\r\n\r\n",
		  403 },
		{ "PUT /kv/0/k HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 0\r\n"
		  "Origin: null\r\n\r\n",
		  403 },
		{ "PUT /kv/0/k HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 0\r\n"
		  "Origin: http://localhost:81\r\n\r\n",
		  403 },
		{ "PUT /kv/0/k HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 0\r\n"
		  "Origin: http://localhost:80\r\n\r\n",
		  201 },
		{ "GET /kv/0/k HTTP/1.1\r\nHost: localhost:80\r\nOrigin: http://evil\r\n\r\n",
		  200 },
	};
	struct http_bench *bench;
	struct http_client *client;

	(void)state;
	kind = kinds;
	bench = open_bench(0);
	client = http_client_open(bench, 0);
	for (size_t i = 0; i < array_count(rows); i++)
		assert_int_equal(http_answer_status(http_ask_raw(client, rows[i].request)),
		                 rows[i].status);
	close_bench(bench);
}

static void pages_tell_facts(void **state)
{
	static const struct step steps[] = {
		{ "GET /healthz", NULL, NULL, 200, "\r\n\r\nok\n" },
		{ "PUT /healthz", NULL, "x", 405, NULL },
		{ "GET /readyz", NULL, NULL, 200, "ready" },
		{ "GET /", NULL, NULL, 200, "/kv/NAMESPACE/KEY" },
		{ "GET /nothing", NULL, NULL, 404, NULL },
		{ "PUT /kv/5/k", NULL, "x", 201, NULL },
		{ "GET /api/", NULL, NULL, 200, "/api/status" },
		{ "GET /api/status", NULL, NULL, 200, "\"version\":\"1.2.3\",\"process_id\":42" },
		{ "GET /api/keys", NULL, NULL, 200, "{\"namespace\":5,\"keys\":1}" },
		{ "GET /api/configuration", NULL, NULL, 200,
		  "\"resp.password\":{\"value\":\"***\",\"source\":\"set\"}" },
		{ "GET /api/topology", NULL, NULL, 200, "\"workers\":[]" },
		{ "GET /api/openapi.json", NULL, NULL, 200, "\"openapi\": \"3.0.3\"" },
		{ "GET /api/recent", NULL, NULL, 200,
		  "\"messages\":[{\"time_ms\":7,\"text\":\"a device, "
		  "\\\"x\\\"\"}],\"slow\":[{\"time_ms\":9,"
		  "\"worker\":0,\"duration_us\":5000,\"text\":\"resp get k\"}]" },
		{ "GET /dashboard", NULL, NULL, 200, "<!doctype html>" },
		{ "GET /", "Accept: text/html\r\n", NULL, 200, "<!doctype html>" },
		{ "GET /", NULL, NULL, 200, "weir\n" },
		{ "GET /api/other", NULL, NULL, 404, NULL },
		{ "GET /metrics", NULL, NULL, 200, "test_total{a=\"b\"} 7\n" },
		{ "HEAD /metrics", NULL, NULL, 200, "text/plain; version=0.0.4" },
	};
	static const struct step not_ready[] = {
		{ "GET /readyz", NULL, NULL, 503, "read-only" },
		{ "GET /api/status", NULL, NULL, 200, "\"state\":\"read_only\"" },
	};

	(void)state;
	run_steps(steps, array_count(steps));
	failed = true;
	run_steps(not_ready, array_count(not_ready));
	failed = false;
}

static void base64_is_read_and_written(void **state)
{
	static const struct {
		const char *plain, *text;
	} rows[] = { { "", "" },         { "f", "Zg==" },         { "fo", "Zm8=" },
		     { "foo", "Zm9v" },  { "foob", "Zm9vYg==" },  { "fooba", "Zm9vYmE=" },
		     { "\xff", "/w==" }, { "foobar", "Zm9vYmFy" } };
	static const char *const wrong[] = { "Z", "Zg=", "Zg", "Z===", "Zm9*", "====", "Zg==Zg==" };
	uint8_t out[16];
	size_t size;

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		struct bytes plain = bytes_of(rows[i].plain, strlen(rows[i].plain));
		struct bytes text = bytes_of(rows[i].text, strlen(rows[i].text));

		size = http_base64_write(plain, out);
		assert_true(bytes_equal(bytes_of(out, size), text));
		assert_true(http_base64_parse(text, out, &size));
		assert_true(bytes_equal(bytes_of(out, size), plain));
	}
	for (size_t i = 0; i < array_count(wrong); i++)
		assert_false(http_base64_parse(bytes_of(wrong[i], strlen(wrong[i])), out, &size));
}

static int set_up(void **state)
{
	const struct metric metric = {
		.kind = METRIC_COUNTER,
		.name = "test_total",
		.help = "A test.",
		.labels = "a=\"b\"",
		.number = &counted,
	};

	(void)state;
	conf_init(&conf);
	if (conf_set(&conf, "resp.password=geheim") != STATUS_OK)
		return -1;
	return metrics_add(&metrics, &metric) == STATUS_OK ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_read_and_written),
		cmocka_unit_test(conditions_compare_and_swap),
		cmocka_unit_test(keys_end),
		cmocka_unit_test(ranges_are_answered),
		cmocka_unit_test(values_of_all_sizes_come_back),
		cmocka_unit_test(values_in_chunks_come_back),
		cmocka_unit_test(vanished_clients_leave_nothing),
		cmocka_unit_test(faults_are_answered),
		cmocka_unit_test(keys_are_listed),
		cmocka_unit_test(long_lists_are_whole),
		cmocka_unit_test(batches_are_all_or_nothing),
		cmocka_unit_test(chaos_ends_in_order),
		cmocka_unit_test(strangers_are_refused),
		cmocka_unit_test(pages_tell_facts),
		cmocka_unit_test(base64_is_read_and_written),
	};

	return cmocka_run_group_tests_name("http face", tests, set_up, NULL);
}
