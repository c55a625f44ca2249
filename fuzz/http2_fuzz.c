/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an HTTP/2 client's frames: cut anywhere, they give the same events; answered at
 * once, later or never, no memory is lost and no bound exceeded.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/http2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY_SIZE = 48 << 10, OUT_SIZE = 4096, STREAMS = 8, OPEN_MAX = 64, WINDOW = 70000 };

struct exchange {
	struct http2_stream *stream; /* NULL: gone */
	uint64_t received;
	size_t to_send;
	bool used, answered, ended;
};

struct said {
	struct http2_session *session;
	struct exchange exchanges[OPEN_MAX];
	unsigned chunks;
	uint32_t crc;
	uint64_t heads;
};

static const uint8_t zeros[4096];

static bool chunk_get(void *owner, size_t size, struct http2_chunk *ret)
{
	struct said *said = owner;

	assert(said->chunks < HTTP2_MEMORY_CHUNKS);
	*ret = (struct http2_chunk){ .data = malloc(size), .size = size };
	assert(ret->data != NULL);
	said->chunks++;
	return true;
}

static void chunk_give_back(void *owner, const struct http2_chunk *chunk)
{
	((struct said *)owner)->chunks--;
	free(chunk->data);
}

static void hear(struct said *said, struct bytes bytes)
{
	uint64_t size = bytes.size;

	said->crc = crc32c(said->crc, &size, sizeof(size));
	said->crc = crc32c(said->crc, bytes.data, bytes.size);
}

static void hear_fields(struct said *said, const struct http_field *fields, uint32_t count)
{
	assert(count <= HTTP2_FIELDS_MAX + 1);
	for (uint32_t i = 0; i < count; i++) {
		assert(http_is_token(fields[i].name));
		assert(http_value_size(fields[i].value) == fields[i].value.size);
		hear(said, fields[i].name);
		hear(said, fields[i].value);
	}
}

static void head(void *owner, struct http2_stream *stream, const struct http2_head *head)
{
	struct said *said = owner;

	assert(http_is_token(head->method));
	assert(head->status != 0 || head->target.size > 0);
	assert(head->status != 0 || head->host.size > 0);
	said->heads++;
	hear(said, head->method);
	hear(said, head->target);
	hear(said, head->host);
	hear_fields(said, head->fields, head->field_count);
	for (unsigned i = 0; i < OPEN_MAX; i++) {
		struct exchange *exchange = &said->exchanges[i];

		if (exchange->used)
			continue;
		*exchange = (struct exchange){
			.stream = stream,
			.used = true,
			.ended = head->ended,
			.to_send = head->target.size * 1000,
		};
		http2_stream_bind(stream, exchange);
		return;
	}
	http2_reset(stream, HTTP2_REFUSED_STREAM);
}

static void body(void *owner, void *arg, struct bytes piece)
{
	struct exchange *exchange = arg;

	(void)owner;
	assert(exchange->used && exchange->stream != NULL && !exchange->ended);
	exchange->received += piece.size;
	http2_consume(exchange->stream, piece.size);
}

static void ended(void *owner, void *arg, const struct http_field *trailers, uint32_t count)
{
	struct exchange *exchange = arg;

	assert(!exchange->ended);
	exchange->ended = true;
	hear_fields(owner, trailers, count);
	((struct said *)owner)->crc ^= (uint32_t)exchange->received;
}

static void gone(void *owner, void *arg)
{
	struct exchange *exchange = arg;

	(void)owner;
	assert(exchange->used && exchange->stream != NULL);
	exchange->stream = NULL;
	exchange->used = false;
}

static size_t available(void *owner, void *arg, size_t size_max, bool *ret_ends)
{
	const struct exchange *exchange = arg;
	size_t size = exchange->to_send < sizeof(zeros) ? exchange->to_send : sizeof(zeros);

	(void)owner;
	size = size < size_max ? size : size_max;
	*ret_ends = size == exchange->to_send;
	return size;
}

static const uint8_t *take(void *owner, void *arg, size_t size, bool lent)
{
	struct exchange *exchange = arg;

	(void)owner;
	(void)lent;
	assert(size > 0 && size <= sizeof(zeros) && size <= exchange->to_send);
	exchange->to_send -= size;
	return zeros;
}

static void answered(void *owner, void *arg)
{
	struct exchange *exchange = arg;

	(void)owner;
	assert(exchange->answered);
	if (!exchange->ended)
		http2_stream_leave_open(exchange->stream, 1000);
	else
		http2_stream_leave(exchange->stream);
	exchange->used = false;
}

static const struct http2_events events = { head, body, ended, gone, available, take, answered };

static void answer(struct said *said)
{
	const struct http_field fields[] = { { BYTES("Content-Type"), BYTES("text/plain") } };

	for (unsigned i = 0; i < OPEN_MAX; i++) {
		struct exchange *exchange = &said->exchanges[i];

		if (!exchange->used || exchange->answered)
			continue;
		exchange->answered = true;
		if (i % 5 == 4)
			http2_continue(exchange->stream);
		http2_answer(exchange->stream, 200, fields, 1, exchange->to_send > 0);
	}
}

static void pull(struct said *said)
{
	uint8_t data[OUT_SIZE];
	struct iovec iov[8];
	struct http2_out out;

	for (unsigned i = 0; i < 100; i++) {
		out = (struct http2_out){
			.data = data, .size = OUT_SIZE, .iov = iov, .iov_max = 8
		};
		if (!http2_pull(said->session, &out) || out.iov_count == 0)
			break;
		assert(out.used <= OUT_SIZE && out.iov_count <= 8);
	}
}

static void listen(struct http2_library *library, struct bytes input, size_t step, bool answers,
                   struct said *said)
{
	static _Alignas(16) uint8_t memory[MEMORY_SIZE];
	const struct http2_options options = {
		.library = library,
		.source = { chunk_get, chunk_give_back, said },
		.limits = { 4096, 20, 1024, STREAMS, STREAMS, WINDOW },
		.events = &events,
		.owner = said,
		.memory = memory,
		.memory_size = MEMORY_SIZE,
	};

	*said = (struct said){ 0 };
	said->session = http2_open(&options);
	assert(said->session != NULL);
	http2_receive(said->session, 0,
	              BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"));
	for (size_t at = 0; at < input.size; at += step) {
		size_t size = input.size - at < step ? input.size - at : step;
		uint8_t *copy = malloc(size);

		assert(copy != NULL);
		memcpy(copy, input.data + at, size);
		if (!http2_receive(said->session, at, bytes_of(copy, size)))
			at = input.size;
		free(copy);
		if (!answers)
			continue;
		answer(said);
		pull(said);
	}
	answer(said);
	pull(said);
	http2_close(said->session);
	assert(said->chunks == 0);
}

/* Behind a client's GOAWAY nghttp2 hears what came with it, and not what comes later. */
static bool has_goaway(struct bytes input)
{
	size_t size;

	while (input.size >= HTTP2_FRAME_HEADER_SIZE) {
		size = (size_t)input.data[0] << 16 | (size_t)input.data[1] << 8 | input.data[2];
		if (input.data[3] == HTTP2_GOAWAY)
			return true;
		size += HTTP2_FRAME_HEADER_SIZE;
		if (size > input.size)
			break;
		input = bytes_of(input.data + size, input.size - size);
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http2_library *library;
	struct said whole, cut;

	if (size < 2)
		return 0;
	library = http2_library_open();
	assert(library != NULL);
	listen(library, bytes_of(data + 1, size - 1), size, false, &whole);
	listen(library, bytes_of(data + 1, size - 1), data[0] % 64 + 1u, false, &cut);
	if (!has_goaway(bytes_of(data + 1, size - 1)))
		assert(whole.heads == cut.heads && whole.crc == cut.crc);
	listen(library, bytes_of(data + 1, size - 1), data[0] % 64 + 1u, true, &cut);
	http2_library_close(library);
	return 0;
}
