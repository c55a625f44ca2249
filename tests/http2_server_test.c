/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 by hand-made frames, against a server without sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"
#include "http_client.h"
#include "wire/http2_frames.h"

#define SECOND_NS 1000000000ull
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/*
 * A handler for tests. /hello answers at once, /echo with the body that it collected and how many
 * trailers there were, /hold takes no body until it is told, /stream?size=N answers in pieces,
 * /late when it is told, /abort not at all.
 */
struct test_state {
	uint64_t received, left;
};

static struct {
	unsigned begun, ended, aborted, pulled;
	struct http_exchange *late;
} seen;

static void test_begin(struct http_exchange *exchange)
{
	struct test_state *state = http_state(exchange);
	const struct http_request *request = http_request_of(exchange);
	struct bytes size = BYTES("0"), host;

	seen.begun++;
	if (request->version != 20) {
		http_answer_reject(exchange, 501, "this speaks HTTP/2");
		return;
	}
	assert_true(http_field_get(exchange, "host", &host));
	assert_true(bytes_equal(host, request->host));
	if (bytes_equal(request->path, BYTES("/hello"))) {
		http_answer(exchange, 200);
		http_answer_text(exchange, "X-Upper", "Case");
		http_answer_body(exchange, BYTES("hello\n"));
	} else if (bytes_equal(request->path, BYTES("/echo"))) {
		http_body_collect(exchange, 100000);
	} else if (bytes_equal(request->path, BYTES("/stream"))) {
		http_parameter_get(exchange, "size", &size);
		http_parse_u64(size, &state->left);
		http_answer(exchange, 200);
		http_answer_stream(exchange, state->left);
	} else if (bytes_equal(request->path, BYTES("/abort"))) {
		http_abort(exchange);
	} else {
		seen.late = exchange;
	}
}

static size_t test_body(struct http_exchange *exchange, struct bytes piece)
{
	struct test_state *state = http_state(exchange);

	state->received += piece.size;
	return piece.size;
}

static void test_body_ended(struct http_exchange *exchange, enum status status, struct bytes body)
{
	struct test_state *state = http_state(exchange);

	assert_int_equal(status, STATUS_OK);
	http_answer(exchange, 200);
	http_answer_u64(exchange, "X-Trailers", http_request_of(exchange)->trailer_count);
	http_answer_u64(exchange, "X-Received", state->received);
	http_answer_body(exchange, body);
}

static void test_pull(struct http_exchange *exchange)
{
	struct test_state *state = http_state(exchange);
	size_t size = state->left < 50000 ? state->left : 50000;
	struct buf *buf = buf_get(http_bufs(exchange), 50000);

	assert_non_null(buf);
	seen.pulled++;
	memset(buf->data, 'x', size);
	state->left -= size;
	http_answer_give(exchange, bytes_of(buf->data, size), buf);
}

static void test_aborted(struct http_exchange *exchange)
{
	seen.aborted++;
	if (seen.late == exchange)
		seen.late = NULL;
	http_abort(exchange);
}

static void test_ended(struct http_exchange *exchange)
{
	(void)exchange;
	seen.ended++;
}

static const struct http_handler handler = {
	.name = "test",
	.state_size = sizeof(struct test_state),
	.begin = test_begin,
	.body = test_body,
	.body_ended = test_body_ended,
	.pull = test_pull,
	.aborted = test_aborted,
	.ended = test_ended,
};

/* Frames out. */

static void send_frame(struct http_client *client, uint8_t type, uint8_t flags, uint32_t stream,
                       struct bytes payload)
{
	uint8_t *frame = malloc(HTTP2_FRAME_HEADER_SIZE + payload.size);
	const uint8_t header[] = { (uint8_t)(payload.size >> 16),
		                   (uint8_t)(payload.size >> 8),
		                   (uint8_t)payload.size,
		                   type,
		                   flags,
		                   (uint8_t)(stream >> 24),
		                   (uint8_t)(stream >> 16),
		                   (uint8_t)(stream >> 8),
		                   (uint8_t)stream };

	assert_non_null(frame);
	memcpy(frame, header, sizeof(header));
	if (payload.size > 0)
		memcpy(frame + sizeof(header), payload.data, payload.size);
	http_client_bytes(client, frame, sizeof(header) + payload.size);
	free(frame);
}

static void send_u32(struct http_client *client, uint8_t type, uint32_t stream, uint32_t value)
{
	const uint8_t payload[] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16),
		                    (uint8_t)(value >> 8), (uint8_t)value };

	send_frame(client, type, 0, stream, bytes_of(payload, 4));
}

/* A literal field without an index. */
static size_t put_field(uint8_t *out, const char *name, const char *value)
{
	size_t name_size = strlen(name), value_size = strlen(value);

	assert_true(name_size < 127 && value_size < 127);
	out[0] = 0;
	out[1] = (uint8_t)name_size;
	memcpy(out + 2, name, name_size);
	out[2 + name_size] = (uint8_t)value_size;
	memcpy(out + 3 + name_size, value, value_size);
	return 3 + name_size + value_size;
}

enum { ENDED = HTTP2_FLAG_END_STREAM | HTTP2_FLAG_END_HEADERS, OPEN = HTTP2_FLAG_END_HEADERS };

static void ask(struct http_client *client, uint32_t stream, const char *method, const char *path,
                uint8_t flags)
{
	uint8_t block[512];
	size_t size = put_field(block, ":method", method);

	size += put_field(block + size, ":scheme", "http");
	size += put_field(block + size, ":path", path);
	size += put_field(block + size, ":authority", "localhost:8080");
	send_frame(client, HTTP2_HEADERS, flags, stream, bytes_of(block, size));
}

/* What came back. */
struct heard {
	unsigned headers, data, goaways, resets, settings, pings, windows;
	uint64_t data_size;
	uint32_t code, last_stream, window_size;
	uint32_t ended; /* streams */
	unsigned sends;
};

static uint32_t u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void hear_frame(struct heard *heard, uint8_t type, uint8_t flags, struct bytes payload)
{
	heard->headers += type == HTTP2_HEADERS;
	heard->pings += type == HTTP2_PING;
	heard->settings += type == HTTP2_SETTINGS;
	if (type == HTTP2_DATA) {
		heard->data++;
		heard->data_size += payload.size;
	}
	if (type == HTTP2_DATA || type == HTTP2_HEADERS)
		heard->ended += flags & HTTP2_FLAG_END_STREAM;
	if (type == HTTP2_WINDOW_UPDATE) {
		heard->windows++;
		heard->window_size += u32(payload.data);
	}
	if (type == HTTP2_RST_STREAM) {
		heard->resets++;
		heard->code = u32(payload.data);
	}
	if (type == HTTP2_GOAWAY) {
		heard->goaways++;
		heard->last_stream = u32(payload.data);
		heard->code = u32(payload.data + 4);
	}
}

static struct heard hear_only(struct http_client *client)
{
	struct heard heard = { .sends = client->sends };
	const uint8_t *at = client->output, *end = at + client->output_size;

	while (at < end) {
		size_t size = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];

		assert_true(end - at >= HTTP2_FRAME_HEADER_SIZE);
		assert_true((size_t)(end - at) >= HTTP2_FRAME_HEADER_SIZE + size);
		hear_frame(&heard, at[3], at[4], bytes_of(at + HTTP2_FRAME_HEADER_SIZE, size));
		at += HTTP2_FRAME_HEADER_SIZE + size;
	}
	client->output_size = 0;
	client->sends = 0;
	return heard;
}

static struct heard hear(struct http_client *client)
{
	http_bench_run(client->bench);
	return hear_only(client);
}

static struct http_bench *open_bench(struct http_limits limits)
{
	const struct http_bench_options options = { .handler = &handler, .limits = limits };

	memset(&seen, 0, sizeof(seen));
	return http_bench_open(&options);
}

static struct http_client *greet(struct http_bench *bench, unsigned index)
{
	struct http_client *client = http_client_open(bench, index);
	struct heard heard;

	http_client_text(client, PREFACE);
	send_frame(client, HTTP2_SETTINGS, 0, 0, bytes_of(NULL, 0));
	heard = hear(client);
	assert_int_equal(heard.settings, 2);
	assert_int_equal(heard.goaways, 0);
	send_frame(client, HTTP2_SETTINGS, HTTP2_FLAG_ACK, 0, bytes_of(NULL, 0));
	return client;
}

/* Tests. */

static void asks_and_answers(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);
	struct heard heard;

	(void)state;
	for (uint32_t stream = 1; stream < 65; stream += 2)
		ask(client, stream, "GET", "/hello", ENDED);
	heard = hear(client);
	assert_int_equal(heard.headers, 32);
	assert_int_equal(heard.data_size, 32 * 6);
	assert_int_equal(heard.ended, 32);
	assert_int_equal(heard.sends, 1); /* all of them in one */
	ask(client, 65, "HEAD", "/hello", ENDED);
	heard = hear(client);
	assert_int_equal(heard.data, 0);
	assert_int_equal(heard.ended, 1);
	assert_int_equal(seen.ended, 33);
	assert_int_equal(http_server_stats(bench->server)->requests[HTTP_GET], 32);
	http_bench_close(bench);
}

static void speaks_http1_beside(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = http_client_open(bench, 0);
	const char *answer = http_ask_raw(client, "PRI /x HTTP/1.1\r\nHost: a\r\n\r\n");

	(void)state;
	assert_int_equal(http_answer_status(answer), 501);
	client = http_client_open(bench, 1);
	assert_int_equal(http_answer_status(http_ask_raw(client, "PRI * HTTP/3.0\r\n\r\n")), 505);
	client = http_client_open(bench, 2);
	for (const char *at = PREFACE; *at != '\0'; at++)
		http_client_bytes(client, at, 1);
	send_frame(client, HTTP2_SETTINGS, 0, 0, bytes_of(NULL, 0));
	ask(client, 1, "GET", "/hello", ENDED);
	assert_int_equal(hear(client).ended, 1);
	http_bench_close(bench);
}

static void takes_bodies(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);
	uint8_t trailer[64];
	struct heard heard;

	(void)state;
	ask(client, 1, "POST", "/echo", OPEN);
	ask(client, 3, "POST", "/echo", OPEN);
	send_frame(client, HTTP2_DATA, 0, 1, BYTES("hello "));
	send_frame(client, HTTP2_DATA, HTTP2_FLAG_END_STREAM, 3, BYTES("three"));
	send_frame(client, HTTP2_DATA, HTTP2_FLAG_PADDED, 1, BYTES("\3world\0\0\0"));
	send_frame(client, HTTP2_HEADERS, ENDED, 1,
	           bytes_of(trailer, put_field(trailer, "x-sum", "1")));
	heard = hear(client);
	assert_int_equal(heard.ended, 2);
	assert_int_equal(heard.data_size, 5 + 11);
	assert_int_equal(heard.resets, 0);
	http_bench_close(bench);
}

/* A window of a body, until somebody takes it. */
static void holds_the_client_back(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);
	static const uint8_t zeros[16384];
	struct heard heard;

	(void)state;
	ask(client, 1, "POST", "/hold", OPEN);
	for (unsigned i = 0; i < 16; i++)
		send_frame(client, HTTP2_DATA, 0, 1, bytes_of(zeros, sizeof(zeros)));
	heard = hear(client);
	assert_int_equal(heard.resets, 0);
	assert_int_equal(heard.windows, 0);
	ask(client, 3, "GET", "/hello", ENDED); /* others go on */
	assert_int_equal(hear(client).ended, 1);
	http_body_want(seen.late);
	heard = hear(client);
	assert_true(heard.window_size >= 16 * sizeof(zeros));
	send_frame(client, HTTP2_DATA, HTTP2_FLAG_END_STREAM, 1, bytes_of(zeros, 5));
	assert_int_equal(hear(client).ended, 1);
	/* One that sends more than its window is in error. */
	ask(client, 5, "POST", "/hold", OPEN);
	for (unsigned i = 0; i < 17; i++)
		send_frame(client, HTTP2_DATA, 0, 5, bytes_of(zeros, sizeof(zeros)));
	heard = hear(client);
	assert_int_equal(heard.resets, 1);
	assert_int_equal(heard.code, HTTP2_FLOW_CONTROL_ERROR);
	assert_int_equal(seen.aborted, 1);
	http_bench_close(bench);
}

static void is_held_back(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);
	struct heard heard;

	(void)state;
	ask(client, 1, "GET", "/stream?size=1000000", ENDED);
	heard = hear(client);
	assert_int_equal(heard.data_size, 65535); /* the window that a client has */
	assert_true(seen.pulled <= 4);
	send_u32(client, HTTP2_WINDOW_UPDATE, 0, 2000000);
	assert_int_equal(hear(client).data_size, 0); /* the stream has none yet */
	send_u32(client, HTTP2_WINDOW_UPDATE, 1, 10);
	assert_int_equal(hear(client).data_size, 10);
	send_u32(client, HTTP2_WINDOW_UPDATE, 1, 2000000);
	heard = hear(client);
	assert_int_equal(heard.data_size, 1000000 - 65545);
	assert_int_equal(heard.ended, 1);
	assert_int_equal(bench->bufs.used_size, 64 << 10); /* the connection's own */
	http_bench_close(bench);
}

static void ends_badly(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);
	struct heard heard;

	(void)state;
	ask(client, 1, "GET", "/abort", ENDED);
	heard = hear(client);
	assert_int_equal(heard.code, HTTP2_INTERNAL_ERROR);
	assert_int_equal(heard.resets, 1);
	ask(client, 3, "GET", "/late", ENDED);
	hear(client);
	send_u32(client, HTTP2_RST_STREAM, 3, HTTP2_CANCEL);
	hear(client);
	assert_int_equal(seen.aborted, 1);
	ask(client, 5, "GET", "/stream?size=500000", ENDED);
	assert_int_equal(hear(client).data_size, 65535);
	send_u32(client, HTTP2_RST_STREAM, 5, HTTP2_CANCEL);
	hear(client);
	assert_int_equal(seen.aborted, 2);
	assert_int_equal(seen.ended, seen.begun);
	http_bench_close(bench);
}

/* The connection ends while pieces are in a send that runs. */
static void loses_the_connection(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);

	(void)state;
	client->stuck = true;
	ask(client, 1, "GET", "/stream?size=500000", ENDED);
	ask(client, 3, "GET", "/late", ENDED);
	http_bench_run(bench);
	assert_non_null(client->sending);
	send_u32(client, HTTP2_RST_STREAM, 1, HTTP2_CANCEL);
	http_bench_run(bench);
	assert_int_equal(seen.ended, 0); /* its memory is still lent */
	http_client_close(client);
	assert_int_equal(seen.ended, 2);
	http_bench_close(bench);
}

static void refuses_too_many(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);
	struct heard heard;

	(void)state;
	for (uint32_t stream = 1; stream < 2 * 130; stream += 2)
		ask(client, stream, "GET", "/late", ENDED);
	heard = hear(client);
	assert_int_equal(heard.resets, 2);
	assert_int_equal(heard.code, HTTP2_REFUSED_STREAM);
	assert_int_equal(heard.goaways, 0);
	http_bench_close(bench);
	assert_int_equal(seen.begun, 128);
	assert_int_equal(seen.ended, 128);
}

/* A pool of few exchanges, and no buffers to spare: requests wait for each other. */
static void parks(void **state)
{
	const struct http_bench_options options = {
		.handler = &handler,
		.memory_size = 1 << 20,
		.pool_size = 40 << 10,
	};
	struct http_bench *bench;
	struct http_client *client;
	struct heard heard;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	bench = http_bench_open(&options);
	client = greet(bench, 0);
	for (uint32_t stream = 1; stream < 2 * 120; stream += 2)
		ask(client, stream, "GET", "/late", ENDED);
	heard = hear(client);
	assert_int_equal(heard.resets, 0);
	assert_true(seen.begun >= 4 && seen.begun < 120);
	/* One that waits and is reset never begins. */
	send_u32(client, HTTP2_RST_STREAM, 239, HTTP2_CANCEL);
	for (unsigned i = 0; i < 119; i++) {
		struct http_exchange *exchange = seen.late;

		assert_non_null(exchange);
		http_answer_reject(exchange, 404, "no");
		http_bench_run(bench);
		if (seen.late == exchange)
			break;
	}
	http_client_close(client);
	assert_int_equal(seen.begun, seen.ended);
	http_bench_close(bench);
}

static void clocks(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){
	        .head_timeout_ns = 2 * SECOND_NS,
	        .body_timeout_ns = 3 * SECOND_NS,
	        .send_timeout_ns = 4 * SECOND_NS,
	        .idle_timeout_ns = 20 * SECOND_NS,
	});
	struct http_client *client = greet(bench, 0);
	struct heard heard;

	(void)state;
	ask(client, 1, "POST", "/echo", OPEN); /* a body that does not come */
	hear(client);
	http_bench_wait(bench, 4 * SECOND_NS);
	heard = hear(client);
	assert_int_equal(heard.resets, 1);
	assert_int_equal(heard.code, HTTP2_CANCEL);
	ask(client, 3, "GET", "/stream?size=100000", ENDED); /* an answer without room */
	hear(client);
	http_bench_wait(bench, 5 * SECOND_NS);
	heard = hear(client);
	assert_int_equal(heard.resets, 1);
	assert_int_equal(heard.goaways, 0);
	http_bench_wait(bench, 21 * SECOND_NS);
	assert_int_equal(hear(client).goaways, 1);
	assert_false(client->open);
	client = greet(bench, 1);
	ask(client, 1, "GET", "/hello", HTTP2_FLAG_END_STREAM); /* fields that do not end */
	http_bench_wait(bench, 3 * SECOND_NS);
	assert_int_equal(hear(client).goaways, 1);
	client = greet(bench, 2);
	client->stuck = true; /* nothing is taken from the socket */
	ask(client, 1, "GET", "/hello", ENDED);
	http_bench_wait(bench, 5 * SECOND_NS);
	assert_false(client->open);
	http_bench_close(bench);
}

static void drains(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0), *idle = greet(bench, 1);
	struct heard heard;

	(void)state;
	ask(client, 1, "GET", "/late", ENDED);
	hear(client);
	http_server_drain(bench->server);
	heard = hear(client);
	assert_int_equal(heard.goaways, 1);
	assert_int_equal(heard.last_stream, 0x7fffffff);
	assert_false(idle->open);
	ask(client, 3, "GET", "/hello", ENDED); /* it was on its way */
	assert_int_equal(hear(client).ended, 1);
	http_bench_wait(bench, 2 * SECOND_NS);
	heard = hear(client);
	assert_int_equal(heard.goaways, 1);
	assert_int_equal(heard.last_stream, 3);
	ask(client, 5, "GET", "/hello", ENDED);
	assert_int_equal(hear(client).ended, 0);
	http_answer_reject(seen.late, 404, "no");
	assert_int_equal(hear(client).ended, 1);
	assert_false(client->open);
	assert_true(http_server_is_drained(bench->server));
	http_bench_close(bench);
}

static void answers_who_sends_no_more(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);

	(void)state;
	ask(client, 1, "GET", "/late", ENDED);
	ask(client, 3, "POST", "/echo", OPEN);
	hear(client);
	http_client_finish(client);
	http_bench_run(bench);
	assert_int_equal(seen.aborted, 1); /* the body that never ends */
	http_answer_reject(seen.late, 404, "no");
	assert_int_equal(hear(client).ended, 1);
	assert_false(client->open);
	http_bench_close(bench);
}

/* What is wrong with a connection, and with which code it ends. */
static const struct {
	uint8_t type, flags;
	uint32_t stream;
	const char *payload; /* NULL: zeros */
	size_t size;
	enum http2_error error;
	bool of_stream;
} wrongs[] = {
	/* 4.2 */ { HTTP2_SETTINGS, 0, 0, NULL, 5, HTTP2_FRAME_SIZE_ERROR, false },
	/* 5.1 */ { HTTP2_DATA, 0, 7, NULL, 1, HTTP2_PROTOCOL_ERROR, false },
	/* 5.1 */ { HTTP2_RST_STREAM, 0, 7, NULL, 4, HTTP2_PROTOCOL_ERROR, false },
	/* 5.1 */ { HTTP2_WINDOW_UPDATE, 0, 7, NULL, 4, HTTP2_PROTOCOL_ERROR, false },
	/* 5.1, closed */ { HTTP2_DATA, 0, 1, NULL, 1, HTTP2_STREAM_CLOSED, false },
	/* 5.1.1 */ { HTTP2_HEADERS, ENDED, 2, NULL, 0, HTTP2_PROTOCOL_ERROR, false },
	/* 5.1.1 */ { HTTP2_HEADERS, ENDED, 1, NULL, 0, HTTP2_STREAM_CLOSED, false },
	/* 6.1 */ { HTTP2_DATA, 0, 0, NULL, 1, HTTP2_PROTOCOL_ERROR, false },
	/* 6.3 */ { HTTP2_PRIORITY, 0, 0, NULL, 5, HTTP2_PROTOCOL_ERROR, false },
	/* 6.4 */ { HTTP2_RST_STREAM, 0, 3, NULL, 3, HTTP2_FRAME_SIZE_ERROR, false },
	/* 6.5 */ { HTTP2_SETTINGS, 1, 0, NULL, 6, HTTP2_FRAME_SIZE_ERROR, false },
	/* 6.5 */ { HTTP2_SETTINGS, 0, 1, NULL, 0, HTTP2_PROTOCOL_ERROR, false },
	/* 6.6 */ { HTTP2_PUSH_PROMISE, 4, 3, NULL, 4, HTTP2_PROTOCOL_ERROR, false },
	/* 6.7 */ { HTTP2_PING, 0, 1, NULL, 8, HTTP2_PROTOCOL_ERROR, false },
	/* 6.7 */ { HTTP2_PING, 0, 0, NULL, 7, HTTP2_FRAME_SIZE_ERROR, false },
	/* 6.8 */ { HTTP2_GOAWAY, 0, 1, NULL, 8, HTTP2_PROTOCOL_ERROR, false },
	/* 6.9 */ { HTTP2_WINDOW_UPDATE, 0, 0, NULL, 4, HTTP2_PROTOCOL_ERROR, false },
	/* 6.9 */ { HTTP2_WINDOW_UPDATE, 0, 0, NULL, 3, HTTP2_FRAME_SIZE_ERROR, false },
	/* 6.10 */ { HTTP2_CONTINUATION, 4, 3, NULL, 1, HTTP2_PROTOCOL_ERROR, false },
	/* 7541 6.1 */ { HTTP2_HEADERS, ENDED, 5, "\x80", 1, HTTP2_COMPRESSION_ERROR, false },
	/* 8.1.1 */ { HTTP2_HEADERS, ENDED, 5, "\x82\x84", 2, HTTP2_PROTOCOL_ERROR, true },
	/* 8.1 */ { HTTP2_HEADERS, 4, 3, "\0\1x\1y", 5, HTTP2_PROTOCOL_ERROR, true },
};

static void knows_what_is_wrong(void **state)
{
	static const uint8_t zeros[16];

	(void)state;
	for (size_t i = 0; i < array_count(wrongs); i++) {
		struct http_bench *bench = open_bench((struct http_limits){ 0 });
		struct http_client *client = greet(bench, 0);
		struct bytes payload = bytes_of(wrongs[i].payload, wrongs[i].size);
		struct heard heard;

		ask(client, 1, "GET", "/hello", ENDED);
		ask(client, 3, "POST", "/echo", OPEN);
		hear(client);
		if (payload.data == NULL)
			payload.data = zeros;
		send_frame(client, wrongs[i].type, wrongs[i].flags, wrongs[i].stream, payload);
		heard = hear(client);
		print_message("frame of type %u: %zu\n", wrongs[i].type, i);
		assert_int_equal(heard.code, wrongs[i].error);
		assert_int_equal(heard.goaways, !wrongs[i].of_stream);
		assert_int_equal(heard.resets, wrongs[i].of_stream);
		http_bench_close(bench);
		assert_int_equal(seen.begun, seen.ended);
	}
}

static void calms_floods(void **state)
{
	struct http_bench *bench = open_bench((struct http_limits){ 0 });
	struct http_client *client = greet(bench, 0);
	static const uint8_t zeros[8];
	struct heard heard;

	(void)state;
	for (unsigned i = 0; i < 900; i++)
		send_frame(client, HTTP2_PING, 0, 0, bytes_of(zeros, 8));
	heard = hear(client);
	assert_int_equal(heard.pings, 900);
	http_bench_wait(bench, 10 * SECOND_NS); /* it comes back with time */
	for (unsigned i = 0; i < 900; i++)
		send_frame(client, HTTP2_PING, 0, 0, bytes_of(zeros, 8));
	assert_int_equal(hear(client).pings, 900);
	http_bench_wait(bench, 10 * SECOND_NS);
	for (uint32_t stream = 1; stream < 2 * 400 && client->open; stream += 2) {
		ask(client, stream, "GET", "/late", ENDED);
		send_u32(client, HTTP2_RST_STREAM, stream, HTTP2_CANCEL);
	}
	heard = hear(client);
	assert_int_equal(heard.goaways, 1);
	assert_int_equal(heard.code, HTTP2_ENHANCE_YOUR_CALM);
	assert_true(seen.begun <= 251);
	http_bench_close(bench);
	assert_int_equal(seen.begun, seen.ended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_and_answers),
		cmocka_unit_test(speaks_http1_beside),
		cmocka_unit_test(takes_bodies),
		cmocka_unit_test(holds_the_client_back),
		cmocka_unit_test(is_held_back),
		cmocka_unit_test(ends_badly),
		cmocka_unit_test(loses_the_connection),
		cmocka_unit_test(refuses_too_many),
		cmocka_unit_test(parks),
		cmocka_unit_test(clocks),
		cmocka_unit_test(drains),
		cmocka_unit_test(answers_who_sends_no_more),
		cmocka_unit_test(knows_what_is_wrong),
		cmocka_unit_test(calms_floods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
