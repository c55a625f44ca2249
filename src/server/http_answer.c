/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer of an exchange, written as HTTP/1.1 writes it: status line, fields, and a small body
 * behind them in the same memory, so that both leave in one segment.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "server/http_internal.h"
#include "wire/http2.h"

enum {
	TAIL_SIZE = 160,      /* bytes of the fields that the server adds, and of the empty line */
	BODY_COPY_MAX = 4096, /* bytes of a body that is copied behind the head */
};

void http_memory_release(struct http_memory *memory)
{
	if (memory->buf != NULL)
		buf_unref(memory->buf);
	memory->buf = NULL;
}

bool http_memory_grow(struct http_exchange *exchange, struct http_memory *memory, size_t size)
{
	struct buf *buf;

	if (size <= memory->size - memory->used)
		return true;
	if (memory->used + size > BUF_SIZE_MAX)
		return false;
	buf = buf_get(exchange->server->bufs, memory->used + size);
	if (buf == NULL)
		return false;
	memcpy(buf->data, memory->data, memory->used);
	http_memory_release(memory);
	memory->buf = buf;
	memory->data = buf->data;
	memory->size = buf->size;
	return true;
}

/* Room for `size` bytes at the end of what is written; NULL: there is none, and it is noted. */
static uint8_t *room(struct http_exchange *exchange, size_t size)
{
	struct http_memory *answer = &exchange->answer;

	if (answer->used + size > HTTP_ANSWER_HEAD_MAX || (exchange->flags & HTTP_EXCHANGE_FULL) ||
	    !http_memory_grow(exchange, answer, size + TAIL_SIZE)) {
		exchange->flags |= HTTP_EXCHANGE_FULL;
		return NULL;
	}
	return answer->data + answer->used;
}

static bool is_http2(const struct http_exchange *exchange)
{
	return exchange->request.version == 20;
}

static void write_status(struct http_exchange *exchange, unsigned status)
{
	http_memory_release(&exchange->answer);
	exchange->answer = (struct http_memory){
		.data = exchange->answer_inline,
		.size = HTTP_ANSWER_MEMORY,
	};
	exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_FULL;
	exchange->status = (uint16_t)status;
	exchange->answer_field_count = 0;
	if (!is_http2(exchange))
		exchange->answer.used = (uint32_t)http1_write_status(status, exchange->answer.data);
}

void http_answer(struct http_exchange *exchange, unsigned status)
{
	assert(status >= 200 && status <= 599);
	assert(exchange->answer_phase <= HTTP_ANSWER_STREAMS);
	assert(!(exchange->flags & HTTP_EXCHANGE_HEAD_SENT));
	http_pieces_drop(exchange);
	exchange->answer_phase = HTTP_ANSWER_FIELDS;
	exchange->flags &=
	        ~(uint32_t)(HTTP_EXCHANGE_BODILESS | HTTP_EXCHANGE_CHUNKED | HTTP_EXCHANGE_PULLED);
	if (exchange->request.method == HTTP_HEAD || status == 204 || status == 304)
		exchange->flags |= HTTP_EXCHANGE_BODILESS;
	write_status(exchange, status);
}

/* Copies; what no value may hold becomes a "?". */
static uint8_t *write_value(uint8_t *out, struct bytes value)
{
	for (size_t i = 0; i < value.size; i++) {
		uint8_t c = value.data[i];

		*out++ = (c < ' ' && c != '\t') || c == 0x7f ? '?' : c;
	}
	return out;
}

/* HTTP/2 has fields in a form of its own, which its session writes: kept as sizes and bytes. */
struct http_field_size {
	uint16_t name, value;
};

static void put_field(struct http_exchange *exchange, uint8_t *out, struct bytes name,
                      struct bytes value)
{
	struct http_field_size size = { (uint16_t)name.size, (uint16_t)value.size };

	memcpy(out, &size, sizeof(size));
	memcpy(out + sizeof(size), name.data, name.size);
	write_value(out + sizeof(size) + name.size, value);
	exchange->answer.used += (uint32_t)(sizeof(size) + name.size + value.size);
	exchange->answer_field_count++;
}

uint32_t http_answer_fields(const struct http_exchange *exchange, struct http_field *fields,
                            uint32_t field_max)
{
	const uint8_t *at = exchange->answer.data;

	assert(exchange->answer_field_count <= field_max);
	for (uint32_t i = 0; i < exchange->answer_field_count; i++) {
		struct http_field_size size;

		memcpy(&size, at, sizeof(size));
		at += sizeof(size);
		fields[i].name = bytes_of(at, size.name);
		at += size.name;
		fields[i].value = bytes_of(at, size.value);
		at += size.value;
	}
	assert(at == exchange->answer.data + exchange->answer_head_size);
	return exchange->answer_field_count;
}

static void write_field(struct http_exchange *exchange, struct bytes name, struct bytes value)
{
	uint8_t *out = room(exchange, name.size + value.size + 4);

	if (out == NULL)
		return;
	if (is_http2(exchange)) {
		/* 3 more are the server's own. */
		if (exchange->answer_field_count + 3 < HTTP2_ANSWER_FIELDS_MAX)
			put_field(exchange, out, name, value);
		else
			exchange->flags |= HTTP_EXCHANGE_FULL;
		return;
	}
	memcpy(out, name.data, name.size);
	out += name.size;
	*out++ = ':';
	*out++ = ' ';
	out = write_value(out, value);
	*out++ = '\r';
	*out++ = '\n';
	exchange->answer.used += (uint32_t)(name.size + value.size + 4);
}

void http_answer_field(struct http_exchange *exchange, const char *name, struct bytes value)
{
	struct bytes bytes = bytes_of(name, strlen(name));

	assert(exchange->answer_phase == HTTP_ANSWER_FIELDS);
	assert(http_is_token(bytes));
	write_field(exchange, bytes, http_trim(value));
}

void http_answer_text(struct http_exchange *exchange, const char *name, const char *value)
{
	http_answer_field(exchange, name, bytes_of(value, strlen(value)));
}

/* Decimal digits at the end of `out`, which holds 20. */
static struct bytes decimal(uint64_t value, uint8_t *out)
{
	uint8_t *at = out + 20;

	do {
		*--at = (uint8_t)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	return bytes_of(at, (size_t)(out + 20 - at));
}

void http_answer_u64(struct http_exchange *exchange, const char *name, uint64_t value)
{
	uint8_t digits[20];

	http_answer_field(exchange, name, decimal(value, digits));
}

void http_answer_date(struct http_exchange *exchange, const char *name, uint64_t unix_s)
{
	char text[HTTP_DATE_SIZE];

	http_date_format(unix_s, text);
	http_answer_field(exchange, name, bytes_of(text, sizeof(text)));
}

void http_answer_close(struct http_exchange *exchange)
{
	exchange->flags |= HTTP_EXCHANGE_CLOSE;
}

bool http_answer_is_sent(const struct http_exchange *exchange)
{
	return exchange->flags & HTTP_EXCHANGE_HEAD_SENT;
}

static struct bytes date_of(struct http_server *server)
{
	uint64_t now_s = server->worker->wall_ms / 1000;

	if (now_s != server->date_s) {
		server->date_s = now_s;
		http_date_format(now_s, server->date);
	}
	return bytes_of(server->date, sizeof(server->date));
}

static void append(struct http_exchange *exchange, struct bytes bytes)
{
	struct http_memory *answer = &exchange->answer;

	assert(bytes.size <= answer->size - answer->used); /* TAIL_SIZE is kept free */
	memcpy(answer->data + answer->used, bytes.data, bytes.size);
	answer->used += (uint32_t)bytes.size;
}

/*
 * What is not read of a body before the answer is known must be read and dropped before another
 * request can be; when that may be much, or when nobody knows whether it comes at all, the
 * connection ends instead.
 */
static bool body_forbids_reuse(const struct http_exchange *exchange)
{
	const struct http_request *request = &exchange->request;

	/* Of an empty body, too: clients are known that take such an answer for the next one's. */
	if ((exchange->flags & HTTP_EXCHANGE_CONTINUE) && exchange->body_received == 0)
		return true;
	if (exchange->flags & HTTP_EXCHANGE_BODY_DONE)
		return false;
	return request->body_size != HTTP_SIZE_UNKNOWN &&
	       request->body_size - exchange->body_received > exchange->server->limits.drop_max;
}

static void put_own(struct http_exchange *exchange, struct bytes name, struct bytes value)
{
	struct http_memory *answer = &exchange->answer;

	assert(name.size + value.size + 4 <= answer->size - answer->used);
	put_field(exchange, answer->data + answer->used, name, value);
}

static void head_finish2(struct http_exchange *exchange, uint64_t size)
{
	uint8_t digits[20];

	put_own(exchange, BYTES("date"), date_of(exchange->server));
	put_own(exchange, BYTES("server"), BYTES("weir"));
	if (exchange->status != 204 && exchange->status != 304 && size != HTTP_SIZE_UNKNOWN)
		put_own(exchange, BYTES("content-length"), decimal(size, digits));
	exchange->answer_head_size = exchange->answer.used;
}

/* The server's own fields and the empty line. */
static void head_finish(struct http_exchange *exchange, uint64_t size)
{
	struct http_server *server = exchange->server;
	uint8_t digits[20];

	if (exchange->flags & HTTP_EXCHANGE_FULL) {
		write_status(exchange, 503);
		exchange->flags |= HTTP_EXCHANGE_BODILESS;
		size = 0;
	}
	if (is_http2(exchange)) {
		head_finish2(exchange, size);
		return;
	}
	if (body_forbids_reuse(exchange) || server->draining)
		exchange->flags |= HTTP_EXCHANGE_CLOSE;
	append(exchange, BYTES("Date: "));
	append(exchange, date_of(server));
	append(exchange, BYTES("\r\nServer: weir\r\n"));
	if (exchange->status == 204 || exchange->status == 304) {
		/* These have no body, and no size. */
	} else if (size != HTTP_SIZE_UNKNOWN) {
		append(exchange, BYTES("Content-Length: "));
		append(exchange, decimal(size, digits));
		append(exchange, BYTES("\r\n"));
	} else if (exchange->request.version >= 11) {
		exchange->flags |= HTTP_EXCHANGE_CHUNKED;
		append(exchange, BYTES("Transfer-Encoding: chunked\r\n"));
	} else {
		exchange->flags |= HTTP_EXCHANGE_CLOSE; /* its end is the connection's */
	}
	if (exchange->flags & HTTP_EXCHANGE_CLOSE)
		append(exchange, BYTES("Connection: close\r\n"));
	else if (exchange->request.version == 10)
		append(exchange, BYTES("Connection: keep-alive\r\n"));
	append(exchange, BYTES("\r\n"));
}

static void answer_ended(struct http_exchange *exchange)
{
	if (!(exchange->flags & (HTTP_EXCHANGE_ALONE | HTTP_EXCHANGE_ABORTED)))
		http_stats_answered(exchange);
	exchange->answer_phase = HTTP_ANSWER_ENDED;
	exchange->body_mode = HTTP_BODY_DROP;
	http_exchange_ready(exchange);
}

void http_answer_end(struct http_exchange *exchange)
{
	http_answer_body(exchange, bytes_of(NULL, 0));
}

static void piece_add(struct http_exchange *exchange, struct bytes bytes, struct buf *buf)
{
	unsigned index = (exchange->piece_first + exchange->piece_count) % HTTP_PIECES_MAX;

	assert(exchange->piece_count < HTTP_PIECES_MAX);
	exchange->pieces[index] = (struct http_piece){ .bytes = bytes, .buf = buf };
	exchange->piece_count++;
}

void http_answer_body(struct http_exchange *exchange, struct bytes body)
{
	struct buf *buf = NULL;
	bool copied;

	assert(exchange->answer_phase == HTTP_ANSWER_FIELDS);
	assert(body.size <= HTTP_COLLECT_MAX);
	copied = body.size <= BODY_COPY_MAX &&
	         http_memory_grow(exchange, &exchange->answer, body.size + TAIL_SIZE);
	if (!copied && !(exchange->flags & HTTP_EXCHANGE_BODILESS)) {
		buf = buf_get(exchange->server->bufs, body.size);
		if (buf == NULL)
			exchange->flags |= HTTP_EXCHANGE_FULL;
	}
	head_finish(exchange, body.size);
	if (exchange->flags & HTTP_EXCHANGE_BODILESS) {
		if (buf != NULL)
			buf_unref(buf);
	} else if (copied && body.size > 0) {
		append(exchange, body);
		if (is_http2(exchange))
			piece_add(exchange,
			          bytes_of(exchange->answer.data + exchange->answer_head_size,
			                   body.size),
			          NULL);
	} else if (buf != NULL) {
		memcpy(buf->data, body.data, body.size);
		buf->used = (uint32_t)body.size;
		piece_add(exchange, bytes_of(buf->data, body.size), buf);
	}
	answer_ended(exchange);
}

static void write_reject(struct http_exchange *exchange, unsigned status, const char *text)
{
	char body[256];
	int size = snprintf(body, sizeof(body), "%s\n", text);

	assert(size > 0 && size < (int)sizeof(body));
	http_answer(exchange, status);
	http_answer_text(exchange, "Content-Type", "text/plain");
	http_answer_body(exchange, bytes_of(body, (size_t)size));
}

void http_answer_reject(struct http_exchange *exchange, unsigned status, const char *text)
{
	write_reject(exchange, status, text);
}

void http_answer_alone(struct http_exchange *exchange, unsigned status, const char *text)
{
	exchange->flags |= HTTP_EXCHANGE_ALONE;
	if (!is_http2(exchange))
		exchange->flags |= HTTP_EXCHANGE_CLOSE;
	write_reject(exchange, status, text);
}

bool http_answer_stream(struct http_exchange *exchange, uint64_t size)
{
	assert(exchange->answer_phase == HTTP_ANSWER_FIELDS);
	head_finish(exchange, size);
	if ((exchange->flags & HTTP_EXCHANGE_BODILESS) || size == 0) {
		answer_ended(exchange);
		return false;
	}
	assert(exchange->server->handler->pull != NULL);
	exchange->answer_phase = HTTP_ANSWER_STREAMS;
	exchange->answer_left = size;
	http_exchange_ready(exchange);
	return true;
}

void http_answer_give(struct http_exchange *exchange, struct bytes bytes, struct buf *buf)
{
	assert(exchange->answer_phase == HTTP_ANSWER_STREAMS);
	assert(bytes.size > 0);
	assert(bytes.size <= exchange->answer_left);
	exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_PULLED;
	piece_add(exchange, bytes, buf);
	if (exchange->answer_left != HTTP_SIZE_UNKNOWN)
		exchange->answer_left -= bytes.size;
	if (exchange->answer_left == 0)
		answer_ended(exchange);
	http_exchange_ready(exchange);
}

void http_answer_finish(struct http_exchange *exchange)
{
	assert(exchange->answer_phase == HTTP_ANSWER_STREAMS);
	assert(exchange->answer_left == HTTP_SIZE_UNKNOWN);
	answer_ended(exchange);
}

void http_abort(struct http_exchange *exchange)
{
	assert(exchange->answer_phase != HTTP_ANSWER_ENDED);
	exchange->flags |= HTTP_EXCHANGE_BROKEN | HTTP_EXCHANGE_CLOSE;
	answer_ended(exchange);
}
