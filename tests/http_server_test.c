/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"
#include "http_client.h"

#define SECOND_NS 1000000000ull
#define DATE "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: weir\r\n"
#define HELLO "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 6\r\n\r\nhello\n"

/*
 * A handler for tests. /hello answers at once, /echo with the body that it collected, /count with
 * the size of the body, of which it takes 7 bytes at a time, /stream?size=N with a pattern in
 * pieces, /streams the same without a size, /early without a look at the body, /late when told,
 * /abort not at all, /fields with what it was told.
 */
struct test_state {
	uint64_t received, left, offset;
	bool late;
};

static struct {
	unsigned begun, ended, aborted, pulled;
	struct http_exchange *late;
	unsigned lent_max;
} seen;

static void answer_text(struct http_exchange *exchange, const char *text)
{
	http_answer(exchange, 200);
	http_answer_body(exchange, bytes_of(text, strlen(text)));
}

static void answer_stream(struct http_exchange *exchange, bool sized)
{
	struct test_state *state = http_state(exchange);
	struct bytes size = BYTES("0");

	http_parameter_get(exchange, "size", &size);
	http_parse_u64(size, &state->left);
	http_answer(exchange, 200);
	http_answer_text(exchange, "Content-Type", "text/plain");
	http_answer_stream(exchange, sized ? state->left : HTTP_SIZE_UNKNOWN);
}

static void answer_fields(struct http_exchange *exchange)
{
	const struct http_request *request = http_request_of(exchange);
	char text[2048];
	int size;

	size = snprintf(text, sizeof(text), "%.*s|%.*s|%.*s|%.*s|%u|%s", (int)request->path.size,
	                (const char *)request->path.data, (int)request->raw_path.size,
	                (const char *)request->raw_path.data, (int)request->raw_query.size,
	                (const char *)request->raw_query.data, (int)request->host.size,
	                (const char *)request->host.data, request->version, request->peer);
	for (uint32_t i = 0; i < request->parameter_count; i++)
		size += snprintf(text + size, sizeof(text) - (size_t)size, "|%.*s=%.*s",
		                 (int)request->parameters[i].name.size,
		                 (const char *)request->parameters[i].name.data,
		                 (int)request->parameters[i].value.size,
		                 (const char *)request->parameters[i].value.data);
	for (uint32_t i = 1; i < request->field_count; i++)
		size += snprintf(text + size, sizeof(text) - (size_t)size, "|%.*s:%.*s",
		                 (int)request->fields[i].name.size,
		                 (const char *)request->fields[i].name.data,
		                 (int)request->fields[i].value.size,
		                 (const char *)request->fields[i].value.data);
	http_answer(exchange, 200);
	http_answer_body(exchange, bytes_of(text, (size_t)size));
}

static bool path_is(const struct http_exchange *exchange, const char *path)
{
	return bytes_equal(http_request_of(exchange)->path, bytes_of(path, strlen(path)));
}

static void test_begin(struct http_exchange *exchange)
{
	struct test_state *state = http_state(exchange);

	assert_int_equal(state->received, 0);
	assert_ptr_equal(http_exchange_of(state), exchange);
	seen.begun++;
	if (path_is(exchange, "/hello"))
		answer_text(exchange, "hello\n");
	else if (path_is(exchange, "/echo"))
		http_body_collect(exchange, 100000);
	else if (path_is(exchange, "/count"))
		http_body_want(exchange);
	else if (path_is(exchange, "/stream") || path_is(exchange, "/streams"))
		answer_stream(exchange, path_is(exchange, "/stream"));
	else if (path_is(exchange, "/early"))
		http_answer_reject(exchange, 403, "no");
	else if (path_is(exchange, "/late"))
		seen.late = exchange;
	else if (path_is(exchange, "/abort"))
		http_abort(exchange);
	else
		answer_fields(exchange);
}

static size_t test_body(struct http_exchange *exchange, struct bytes piece)
{
	struct test_state *state = http_state(exchange);
	size_t taken = piece.size < 7 ? piece.size : 7;

	state->received += taken;
	if (taken < piece.size)
		http_body_want(exchange);
	return taken;
}

static void test_body_ended(struct http_exchange *exchange, enum status status, struct bytes body)
{
	struct test_state *state = http_state(exchange);
	const struct http_request *request = http_request_of(exchange);
	char text[32];

	if (status != STATUS_OK) {
		http_answer_reject(exchange, (unsigned)status_http(status), status_name(status));
		return;
	}
	http_answer(exchange, 200);
	for (uint32_t i = 0; i < request->trailer_count; i++) {
		http_answer_field(exchange, "Trailed", request->trailers[i].name);
		http_answer_field(exchange, "Trailed", request->trailers[i].value);
	}
	if (path_is(exchange, "/echo")) {
		http_answer_body(exchange, body);
		return;
	}
	assert_int_equal(body.size, 0);
	snprintf(text, sizeof(text), "%u", (unsigned)state->received);
	http_answer_body(exchange, bytes_of(text, strlen(text)));
}

static void test_pull(struct http_exchange *exchange)
{
	struct test_state *state = http_state(exchange);
	struct buf *buf;

	seen.pulled++;
	if (seen.pulled % 3 == 0) {
		http_pull_later(exchange);
		return;
	}
	if (state->left == 0) {
		http_answer_finish(exchange);
		return;
	}
	buf = buf_get(http_bufs(exchange), 4096);
	assert_non_null(buf);
	buf->used = state->left < 4096 ? (uint32_t)state->left : 4096;
	for (uint32_t i = 0; i < buf->used; i++)
		buf->data[i] = (uint8_t)('a' + (state->offset + i) % 23);
	state->offset += buf->used;
	state->left -= buf->used;
	http_answer_give(exchange, bytes_of(buf->data, buf->used), buf);
	if (http_lent(exchange) > seen.lent_max)
		seen.lent_max = http_lent(exchange);
}

static void test_aborted(struct http_exchange *exchange)
{
	seen.aborted++;
	assert_true(http_is_aborted(exchange));
	if (exchange != seen.late)
		http_abort(exchange);
}

static void test_ended(struct http_exchange *exchange)
{
	assert_int_equal(http_lent(exchange), 0);
	seen.ended++;
	if (exchange == seen.late)
		seen.late = NULL;
}

static const struct http_handler test_handler = {
	.name = "test",
	.state_size = sizeof(struct test_state),
	.begin = test_begin,
	.body = test_body,
	.body_ended = test_body_ended,
	.pull = test_pull,
	.aborted = test_aborted,
	.ended = test_ended,
};

static struct http_bench *open_bench(void)
{
	memset(&seen, 0, sizeof(seen));
	return http_bench_open(&(struct http_bench_options){
	        .handler = &test_handler,
	        .limits = { .drop_max = 1000 },
	});
}

static void close_bench(struct http_bench *bench)
{
	http_bench_close(bench);
	assert_int_equal(seen.begun, seen.ended);
}

static void an_answer_leaves_in_one_send(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);

	(void)state;
	assert_string_equal(http_ask(client, "GET /hello", NULL, NULL), HELLO);
	assert_int_equal(client->sends, 1);
	assert_string_equal(http_ask(client, "GET /hello", NULL, NULL), HELLO);
	assert_int_equal(client->sends, 2);
	assert_string_equal(http_ask(client, "HEAD /hello", NULL, NULL),
	                    "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 6\r\n\r\n");
	assert_true(client->open);
	/* Head and first piece of a stream, too. */
	client->sends = 0;
	assert_int_equal(http_answer_status(http_ask(client, "GET /stream?size=10", NULL, NULL)),
	                 200);
	assert_int_equal(client->sends, 1);
	close_bench(bench);
}

static void requests_are_told(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 3);

	(void)state;
	assert_string_equal(
	        http_answer_text_of(http_ask(client, "GET /a%20b/%2f?x=1+2&y&z=%26",
	                                     "X-AbC:  v w \r\nEmpty:\r\n", NULL)),
	        "/a b//|/a%20b/%2f|x=1+2&y&z=%26|localhost:8080|11|127.0.0.1:50003|x=1 2|y=|z=&|"
	        "x-abc:v w|empty:");
	assert_string_equal(
	        http_answer_text_of(http_ask_raw(client, "GET http://other/? HTTP/1.0\r\n\r\n")),
	        "/|/||other|10|127.0.0.1:50003");
	assert_false(client->open);
	close_bench(bench);
}

static void wrong_requests_are_refused(void **state)
{
	static const struct {
		const char *text;
		unsigned status;
	} rows[] = {
		{ "GET /\r\n\r\n", 400 },
		{ "\x16\x03\x01\x02", 400 },
		{ "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
		{ "GET /?a=%f HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
		{ "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505 },
		{ "PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
		  "Transfer-Encoding: chunked\r\n\r\n",
		  400 },
	};

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		struct http_bench *bench = open_bench();
		struct http_client *client = http_client_open(bench, 0);
		const char *answer = http_ask_raw(client, rows[i].text);

		assert_int_equal(http_answer_status(answer), rows[i].status);
		assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
		assert_int_equal(seen.begun, 0);
		/* If something may still come it lingers, hears nothing more, and closes. */
		assert_true(client->open || strstr(rows[i].text, "HTTP/1.1") != NULL);
		if (client->open)
			assert_string_equal(http_ask(client, "GET /hello", NULL, NULL), "");
		http_bench_wait(bench, 6 * SECOND_NS);
		assert_false(client->open);
		close_bench(bench);
	}
}

static void many_parameters_and_fields_are_taken(void **state)
{
	static char text[32768];
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	int size;

	(void)state;
	size = snprintf(text, sizeof(text), "GET /hello?a=%0*d", 10000, 0);
	for (unsigned i = 0; i < HTTP_PARAMETERS_MAX - 1; i++)
		size += snprintf(text + size, sizeof(text) - (size_t)size, "&p%u=%u", i, i);
	assert_string_equal(http_ask(client, text, "X: 1\r\n", NULL), HELLO);
	snprintf(text + size, sizeof(text) - (size_t)size, "&q");
	assert_int_equal(http_answer_status(http_ask(client, text, NULL, NULL)), 400);
	http_client_close(client);
	client = http_client_open(bench, 0);
	size = 0;
	for (unsigned i = 0; i < HTTP_FIELDS_MAX - 1; i++)
		size += snprintf(text + size, sizeof(text) - (size_t)size, "x-%u: %0200u\r\n", i,
		                 i);
	assert_string_equal(http_ask(client, "GET /hello", text, NULL), HELLO);
	snprintf(text + size, sizeof(text) - (size_t)size, "y: 1\r\n");
	assert_int_equal(http_answer_status(http_ask(client, "GET /hello", text, NULL)), 431);
	close_bench(bench);
}

static void bodies_are_collected(void **state)
{
	static char body[100001];
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	const size_t sizes[] = { 0, 1, 100, 3000, 5000, 100000 };

	(void)state;
	memset(body, 'b', sizeof(body) - 1);
	for (size_t i = 0; i < array_count(sizes); i++) {
		const char *answer;

		body[sizes[i]] = '\0';
		answer = http_ask(client, "PUT /echo", NULL, body);
		assert_int_equal(http_answer_status(answer), 200);
		assert_string_equal(http_answer_text_of(answer), body);
		body[sizes[i]] = 'b';
	}
	assert_string_equal(http_answer_text_of(http_ask_raw(
	                            client, "PUT /echo HTTP/1.1\r\nHost: h\r\n"
	                                    "Transfer-Encoding: chunked\r\n\r\n"
	                                    "3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n")),
	                    "abcdefg");
	assert_non_null(strstr((char *)client->output, "Trailed: x-sum\r\nTrailed: 7\r\n"));
	http_client_close(client);
	/* Too large, said before, and noticed while it comes. */
	client = http_client_open(bench, 0);
	assert_int_equal(http_answer_status(
	                         http_ask(client, "PUT /echo", "Content-Length: 100001\r\n", NULL)),
	                 413);
	http_client_close(client);
	client = http_client_open(bench, 0);
	http_ask_raw(client, "PUT /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	                     "18000\r\n");
	body[98304] = '\0';
	assert_string_equal(http_ask_raw(client, body), "");
	assert_int_equal(http_answer_status(http_ask_raw(client, "\r\n18000\r\nmore than enough")),
	                 0);
	assert_int_equal(http_answer_status(http_ask_raw(client, body + 96000)), 413);
	close_bench(bench);
}

/* The handler takes 7 bytes at a time, whatever comes. */
static void bodies_are_taken_in_pieces(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	const char request[] =
	        "PUT /count HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n"
	        "012345678901234567890123456789"
	        "PUT /count HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	        "10\r\n0123456789012345\r\n1\r\nx\r\n0\r\n\r\n"
	        "GET /count HTTP/1.1\r\nHost: h\r\n\r\n";
	const char wanted[] = "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 2\r\n\r\n30"
	                      "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 2\r\n\r\n17"
	                      "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 1\r\n\r\n0";

	(void)state;
	assert_string_equal(http_ask_raw(client, request), wanted);
	client->output_size = 0;
	for (size_t i = 0; i < sizeof(request) - 1; i++)
		http_client_bytes(client, request + i, 1);
	http_bench_run(bench);
	assert_string_equal(http_client_output(client), wanted);
	close_bench(bench);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);

	(void)state;
	assert_string_equal(
	        http_ask_raw(client, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
	                             "PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
	                             "GET /late HTTP/1.1\r\nHost: h\r\n\r\n"
	                             "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"),
	        HELLO "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 2\r\n\r\nab");
	assert_int_equal(seen.begun, 3);
	answer_text(seen.late, "late");
	http_bench_run(bench);
	assert_string_equal(http_client_output(client),
	                    "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 4\r\n\r\nlate" HELLO);
	close_bench(bench);
}

static void peers_are_told_to_go_on(void **state)
{
	static const char head[] = "PUT %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
	                           "Content-Length: 2\r\n\r\n%s";
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	char text[256];
	const char *answer;

	(void)state;
	snprintf(text, sizeof(text), head, "/echo", "");
	assert_string_equal(http_ask_raw(client, text), "HTTP/1.1 100 Continue\r\n\r\n");
	assert_string_equal(http_ask_raw(client, "ab"),
	                    "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 2\r\n\r\nab");
	/* Whose body is there is not told, and not whom the handler has refused. */
	snprintf(text, sizeof(text), head, "/echo", "ab");
	assert_int_equal(http_answer_status(http_ask_raw(client, text)), 200);
	snprintf(text, sizeof(text), head, "/early", "");
	answer = http_ask_raw(client, text);
	assert_int_equal(http_answer_status(answer), 403);
	assert_non_null(strstr(answer, "Connection: close\r\n"));
	close_bench(bench);
}

static void refused_bodies_are_dropped(void **state)
{
	static char body[3000];
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	const char *answer;

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	/* A little is read, and the connection lives on. */
	assert_int_equal(http_answer_status(http_ask(client, "PUT /early", NULL, body + 2500)),
	                 403);
	assert_string_equal(http_ask(client, "GET /hello", NULL, NULL), HELLO);
	/* Much is not. */
	answer = http_ask(client, "PUT /early", NULL, body);
	assert_int_equal(http_answer_status(answer), 403);
	assert_non_null(strstr(answer, "Connection: close\r\n"));
	http_bench_wait(bench, 6 * SECOND_NS);
	assert_false(client->open);
	/* Nor what is much without having said so. */
	client = http_client_open(bench, 0);
	assert_int_equal(http_answer_status(http_ask_raw(
	                         client, "PUT /early HTTP/1.1\r\nHost: h\r\n"
	                                 "Transfer-Encoding: chunked\r\n\r\nffff\r\n")),
	                 403);
	http_ask_raw(client, body);
	http_bench_wait(bench, 6 * SECOND_NS);
	assert_false(client->open);
	close_bench(bench);
}

static void expect_pattern(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		assert_int_equal(text[i], (char)('a' + i % 23));
}

static void streams_pass_through_two_buffers(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	const char *answer = http_ask(client, "GET /stream?size=1000000", NULL, NULL);

	(void)state;
	assert_non_null(strstr(answer, "\r\nContent-Length: 1000000\r\n"));
	assert_int_equal(strlen(http_answer_text_of(answer)), 1000000);
	expect_pattern(http_answer_text_of(answer), 1000000);
	assert_int_equal(seen.lent_max, 2);
	assert_true(client->open);
	assert_int_equal(http_answer_status(http_ask(client, "HEAD /stream?size=9", NULL, NULL)),
	                 200);
	assert_string_equal(http_answer_text_of((char *)client->output), "");
	/* A peer that takes nothing holds the stream up. */
	client->stuck = true;
	seen.pulled = 0;
	http_ask(client, "GET /stream?size=1000000", NULL, NULL);
	assert_true(seen.pulled <= 4);
	client->stuck = false;
	http_bench_run(bench);
	assert_int_equal(client->output_size > 900000, 1);
	close_bench(bench);
}

static void streams_of_unknown_size_are_chunked(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	char *text;

	(void)state;
	http_ask(client, "GET /streams?size=20000", NULL, NULL);
	assert_non_null(strstr((char *)client->output, "\r\nTransfer-Encoding: chunked\r\n"));
	text = strstr((char *)client->output, "\r\n\r\n") + 4;
	assert_int_equal(http_unchunk(text), 20000);
	expect_pattern(text, 20000);
	http_ask(client, "GET /streams?size=0", NULL, NULL);
	assert_string_equal(http_answer_text_of((char *)client->output), "0\r\n\r\n");
	http_ask(client, "HEAD /streams?size=5", NULL, NULL);
	assert_string_equal(http_answer_text_of((char *)client->output), "");
	assert_true(client->open);
	/* HTTP/1.0 does not know them: the end is the connection's. */
	text = (char *)(uintptr_t)http_ask_raw(
	        client, "GET /streams?size=20000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
	assert_int_equal(strlen(http_answer_text_of(text)), 20000);
	assert_false(client->open);
	close_bench(bench);
}

static void connections_are_kept_or_closed(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);

	(void)state;
	assert_non_null(strstr(http_ask(client, "GET /hello", "Connection: close\r\n", NULL),
	                       "\r\nConnection: close\r\n"));
	assert_false(client->open);
	client = http_client_open(bench, 0);
	assert_non_null(strstr(
	        http_ask_raw(client, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
	        "\r\nConnection: keep-alive\r\n"));
	assert_true(client->open);
	http_ask_raw(client, "GET /hello HTTP/1.0\r\n\r\n");
	assert_false(client->open);
	/* One that sends no more still gets its answers. */
	client = http_client_open(bench, 0);
	http_client_text(client, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
	http_client_text(client, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
	http_client_finish(client);
	http_bench_run(bench);
	assert_true(client->open);
	answer_text(seen.late, "late");
	http_bench_run(bench);
	assert_false(client->open);
	assert_string_equal(http_client_output(client),
	                    "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 4\r\n\r\nlate" HELLO);
	/* An aborted answer is none. */
	client = http_client_open(bench, 0);
	assert_string_equal(http_ask(client, "GET /abort", NULL, NULL), "");
	assert_false(client->open);
	close_bench(bench);
}

static void handlers_are_told_of_the_end(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);

	(void)state;
	/* In the middle of a body that is wanted. */
	http_ask(client, "PUT /count", "Content-Length: 100\r\n", NULL);
	http_client_close(client);
	assert_int_equal(seen.aborted, 1);
	/* In the middle of a stream. */
	client = http_client_open(bench, 0);
	client->stuck = true;
	http_ask(client, "GET /stream?size=1000000", NULL, NULL);
	http_client_close(client);
	assert_int_equal(seen.aborted, 2);
	/* While the handler works: it ends later. */
	client = http_client_open(bench, 0);
	http_ask(client, "GET /late", NULL, NULL);
	http_client_close(client);
	assert_int_equal(seen.aborted, 3);
	assert_int_equal(seen.ended, 2);
	answer_text(seen.late, "late");
	http_bench_run(bench);
	assert_int_equal(seen.ended, 3);
	/* A half of a body, and no more. */
	client = http_client_open(bench, 0);
	http_ask(client, "PUT /echo", "Content-Length: 100\r\n", NULL);
	http_client_finish(client);
	http_bench_run(bench);
	assert_false(client->open);
	/* A body that is malformed when the handler has begun. */
	client = http_client_open(bench, 0);
	assert_string_equal(http_ask_raw(client, "PUT /echo HTTP/1.1\r\nHost: h\r\n"
	                                         "Transfer-Encoding: chunked\r\n\r\nx\r\n"),
	                    "");
	assert_false(client->open);
	assert_int_equal(seen.aborted, 5);
	close_bench(bench);
}

static void slow_peers_are_closed(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);

	(void)state;
	/* That say nothing. */
	http_bench_wait(bench, 9 * SECOND_NS);
	assert_true(client->open);
	http_bench_wait(bench, 2 * SECOND_NS);
	assert_false(client->open);
	/* Whose head does not end. */
	client = http_client_open(bench, 0);
	http_ask_raw(client, "GET / HTTP/1.1\r\n");
	for (unsigned i = 0; i < 9; i++) {
		http_bench_wait(bench, SECOND_NS);
		http_client_text(client, "X: 1\r\n");
	}
	assert_true(client->open);
	http_bench_wait(bench, 2 * SECOND_NS);
	assert_int_equal(http_answer_status(http_client_output(client)), 408);
	http_bench_wait(bench, 6 * SECOND_NS);
	assert_false(client->open);
	/* Who sends no second request. */
	client = http_client_open(bench, 0);
	assert_string_equal(http_answer_text_of(http_ask(client, "GET /hello", NULL, NULL)),
	                    "hello\n");
	http_bench_wait(bench, 74 * SECOND_NS);
	assert_true(client->open);
	http_bench_wait(bench, 3 * SECOND_NS);
	assert_false(client->open);
	/* Who takes nothing. */
	client = http_client_open(bench, 0);
	client->stuck = true;
	http_ask(client, "GET /stream?size=1000000", NULL, NULL);
	http_bench_wait(bench, 59 * SECOND_NS);
	assert_true(client->open);
	http_bench_wait(bench, 3 * SECOND_NS);
	assert_false(client->open);
	close_bench(bench);
}

static void slow_bodies_are_closed(void **state)
{
	static char body[4000];
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);

	(void)state;
	/* Without a byte. */
	http_ask(client, "PUT /echo", "Content-Length: 100\r\n", NULL);
	http_bench_wait(bench, 29 * SECOND_NS);
	assert_false(client->open); /* too few since the grace has ended */
	client = http_client_open(bench, 0);
	/* With few of them, again and again. */
	http_ask(client, "PUT /echo", "Content-Length: 90000\r\n", NULL);
	for (unsigned i = 0; i < 20 && client->open; i++) {
		http_client_text(client, "0123456789");
		http_bench_wait(bench, SECOND_NS);
	}
	assert_false(client->open);
	assert_int_equal(seen.aborted, 2);
	/* Of one that nobody wants any more, too. */
	client = http_client_open(bench, 0);
	http_ask(client, "PUT /early", "Content-Length: 900\r\n", NULL);
	http_bench_wait(bench, 40 * SECOND_NS);
	assert_false(client->open);
	/* Enough of them. */
	client = http_client_open(bench, 0);
	memset(body, 'x', sizeof(body));
	http_ask(client, "PUT /echo", "Content-Length: 80000\r\n", NULL);
	for (unsigned i = 0; i < 20; i++) {
		assert_true(client->open);
		http_client_bytes(client, body, sizeof(body));
		http_bench_wait(bench, 5 * SECOND_NS);
	}
	assert_int_equal(http_answer_status(http_client_output(client)), 200);
	/* A handler that works is waited for. */
	http_ask(client, "PUT /late", "Content-Length: 100\r\n", NULL);
	http_bench_wait(bench, 200 * SECOND_NS);
	assert_true(client->open);
	answer_text(seen.late, "x");
	close_bench(bench);
}

/* More connections than exchanges: they wait for one, and all are answered. */
static void exchanges_are_bounded(void **state)
{
	struct http_bench *bench;
	struct http_client *clients[HTTP_CLIENTS];
	unsigned answered = 0;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	bench = http_bench_open(&(struct http_bench_options){
	        .handler = &test_handler,
	        .pool_size = 30000,
	});
	for (unsigned i = 0; i < HTTP_CLIENTS; i++) {
		clients[i] = http_client_open(bench, i);
		http_client_text(clients[i], "PUT /echo HTTP/1.1\r\nHost: h\r\n");
		http_client_text(clients[i], "Content-Length: 2\r\n\r\n");
	}
	http_bench_run(bench);
	assert_in_range(seen.begun, 4, HTTP_CLIENTS - 1);
	for (unsigned i = 0; i < HTTP_CLIENTS; i++)
		http_client_text(clients[i], "ab");
	http_bench_run(bench);
	for (unsigned i = 0; i < HTTP_CLIENTS; i++)
		answered += http_answer_status(http_client_output(clients[i])) == 200;
	assert_int_equal(answered, HTTP_CLIENTS);
	close_bench(bench);
}

static void a_server_drains(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *idle = http_client_open(bench, 0);
	struct http_client *busy = http_client_open(bench, 1);

	(void)state;
	http_ask(idle, "GET /hello", NULL, NULL);
	http_ask(busy, "GET /late", NULL, NULL);
	http_server_drain(bench->server);
	http_bench_run(bench);
	assert_false(idle->open);
	assert_true(busy->open);
	assert_false(http_server_is_drained(bench->server));
	answer_text(seen.late, "late");
	http_bench_run(bench);
	assert_non_null(strstr(http_client_output(busy), "\r\nConnection: close\r\n"));
	assert_false(busy->open);
	assert_true(http_server_is_drained(bench->server));
	close_bench(bench);
}

static void answers_hold_no_control_characters(void **state)
{
	struct http_bench *bench = open_bench();
	struct http_client *client = http_client_open(bench, 0);
	const char *answer;

	(void)state;
	http_ask(client, "GET /late", NULL, NULL);
	http_answer(seen.late, 404);
	http_answer_text(seen.late, "Dropped", "1");
	http_answer(seen.late, 200);
	http_answer_field(seen.late, "X", BYTES(" a\r\nb: c\0d "));
	http_answer_u64(seen.late, "N", UINT64_MAX);
	http_answer_date(seen.late, "Last-Modified", 0);
	http_answer_end(seen.late);
	http_bench_run(bench);
	answer = http_client_output(client);
	assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\nX: a??b: c?d\r\n"
	                               "N: 18446744073709551615\r\n"
	                               "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
	/* More than an answer may have is answered with an error. */
	http_ask(client, "GET /late", NULL, NULL);
	http_answer(seen.late, 200);
	for (unsigned i = 0; i < 1000; i++)
		http_answer_text(seen.late, "X-Long", "0123456789012345678901234567890");
	http_answer_body(seen.late, BYTES("body"));
	http_bench_run(bench);
	answer = http_client_output(client);
	assert_int_equal(http_answer_status(answer), 503);
	assert_string_equal(http_answer_text_of(answer), "");
	close_bench(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_leaves_in_one_send),
		cmocka_unit_test(requests_are_told),
		cmocka_unit_test(wrong_requests_are_refused),
		cmocka_unit_test(many_parameters_and_fields_are_taken),
		cmocka_unit_test(bodies_are_collected),
		cmocka_unit_test(bodies_are_taken_in_pieces),
		cmocka_unit_test(pipelined_requests_are_answered_in_order),
		cmocka_unit_test(peers_are_told_to_go_on),
		cmocka_unit_test(refused_bodies_are_dropped),
		cmocka_unit_test(streams_pass_through_two_buffers),
		cmocka_unit_test(streams_of_unknown_size_are_chunked),
		cmocka_unit_test(connections_are_kept_or_closed),
		cmocka_unit_test(handlers_are_told_of_the_end),
		cmocka_unit_test(slow_peers_are_closed),
		cmocka_unit_test(slow_bodies_are_closed),
		cmocka_unit_test(exchanges_are_bounded),
		cmocka_unit_test(a_server_drains),
		cmocka_unit_test(answers_hold_no_control_characters),
	};

	return cmocka_run_group_tests_name("http server", tests, NULL, NULL);
}
