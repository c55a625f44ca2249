/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http2_frames.h"

#include "base/assert.h"

struct frame_header {
	uint32_t size;
	uint8_t type, flags;
	uint32_t stream;
};

void http2_walker_init(struct http2_walker *walker, uint64_t now_ns)
{
	*walker = (struct http2_walker){
		.preface_left = HTTP2_PREFACE_SIZE,
		.credit = HTTP2_CREDIT_MAX,
		.credit_ns = now_ns,
		.begun_ns = now_ns,
	};
}

static uint32_t big_endian(const uint8_t *at, unsigned size)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value = value << 8 | at[i];
	return value;
}

static struct frame_header header_of(const struct http2_walker *walker)
{
	return (struct frame_header){
		.size = big_endian(walker->header, 3),
		.type = walker->header[3],
		.flags = walker->header[4],
		.stream = big_endian(walker->header + 5, 4) & 0x7fffffff,
	};
}

/* Credit. */

void http2_walker_earn(struct http2_walker *walker, uint32_t credit)
{
	uint32_t room = HTTP2_CREDIT_MAX - walker->credit;

	assert(walker->credit <= HTTP2_CREDIT_MAX);
	walker->credit += credit < room ? credit : room;
}

void http2_walker_earn_bytes(struct http2_walker *walker, size_t size)
{
	assert(size <= UINT32_MAX / 2);
	walker->earned_size += (uint32_t)size;
	if (walker->earned_size < HTTP2_CREDIT_BYTES)
		return;
	http2_walker_earn(walker, walker->earned_size / HTTP2_CREDIT_BYTES);
	walker->earned_size %= HTTP2_CREDIT_BYTES;
}

static void credit_refill(struct http2_walker *walker, uint64_t now_ns)
{
	uint64_t credit = (now_ns - walker->credit_ns) / HTTP2_CREDIT_NS;

	if (credit == 0)
		return;
	walker->credit_ns += credit * HTTP2_CREDIT_NS;
	http2_walker_earn(walker, credit < HTTP2_CREDIT_MAX ? (uint32_t)credit : HTTP2_CREDIT_MAX);
}

static enum http2_error spend(struct http2_walker *walker, uint32_t credit)
{
	if (walker->credit < credit)
		return HTTP2_ENHANCE_YOUR_CALM;
	walker->credit -= credit;
	return HTTP2_NO_ERROR;
}

/* Streams. */

static unsigned slot_of(uint32_t stream)
{
	return stream / 2 % HTTP2_STREAMS_KNOWN;
}

static bool bit_is_set(const uint64_t *bits, uint32_t stream)
{
	return bits[slot_of(stream) / 64] >> slot_of(stream) % 64 & 1;
}

static void bit_set(uint64_t *bits, uint32_t stream)
{
	bits[slot_of(stream) / 64] |= 1ull << slot_of(stream) % 64;
}

static void bit_clear(uint64_t *bits, uint32_t stream)
{
	bits[slot_of(stream) / 64] &= ~(1ull << slot_of(stream) % 64);
}

static bool is_known(const struct http2_walker *walker, uint32_t stream)
{
	return stream % 2 == 1 && stream <= walker->last_stream &&
	       walker->last_stream - stream < 2 * HTTP2_STREAMS_KNOWN;
}

/* Those that the client skipped are closed, and were never open. */
static void stream_open(struct http2_walker *walker, uint32_t stream)
{
	uint32_t first = walker->last_stream + 2;

	assert(stream > walker->last_stream && stream % 2 == 1);
	if (walker->last_stream == 0)
		first = 1;
	if (stream - first >= 2 * HTTP2_STREAMS_KNOWN)
		first = stream - 2 * (HTTP2_STREAMS_KNOWN - 1);
	for (uint32_t id = first; id <= stream; id += 2) {
		bit_clear(walker->opened, id);
		bit_clear(walker->ended, id);
	}
	bit_set(walker->opened, stream);
	walker->last_stream = stream;
}

/*
 * A frame that only an open stream may have. What the client has ended stays ended. What we have
 * reset it may not know yet: the session ignores that.
 */
static enum http2_error stream_check(struct http2_walker *walker, const struct frame_header *frame)
{
	if (frame->type == HTTP2_HEADERS && frame->stream % 2 == 1 &&
	    frame->stream > walker->last_stream)
		stream_open(walker, frame->stream);
	if (!is_known(walker, frame->stream))
		return HTTP2_NO_ERROR;
	if (!bit_is_set(walker->opened, frame->stream))
		return frame->type == HTTP2_HEADERS ? HTTP2_PROTOCOL_ERROR : HTTP2_STREAM_CLOSED;
	if (bit_is_set(walker->ended, frame->stream))
		return HTTP2_STREAM_CLOSED;
	if (frame->flags & HTTP2_FLAG_END_STREAM)
		bit_set(walker->ended, frame->stream);
	return HTTP2_NO_ERROR;
}

/* Blocks of fields. */

static enum http2_error block_count(struct http2_walker *walker, const struct frame_header *frame)
{
	if (frame->type == HTTP2_HEADERS)
		walker->block_size = walker->block_frames = 0;
	walker->block_stream = frame->flags & HTTP2_FLAG_END_HEADERS ? 0 : frame->stream;
	walker->block_size += frame->size;
	walker->block_frames++;
	if (walker->block_size > HTTP2_BLOCK_MAX ||
	    walker->block_frames > HTTP2_CONTINUATIONS_MAX + 1)
		return HTTP2_ENHANCE_YOUR_CALM;
	return HTTP2_NO_ERROR;
}

static enum http2_error headers_begin(struct http2_walker *walker, const struct frame_header *frame)
{
	enum http2_error error = stream_check(walker, frame);
	unsigned pad = frame->flags & HTTP2_FLAG_PADDED ? 1 : 0;

	if (error != HTTP2_NO_ERROR)
		return error;
	if ((frame->flags & HTTP2_FLAG_PRIORITY) && frame->size >= pad + 5)
		walker->peek_wanted = (uint8_t)(pad + 4);
	return block_count(walker, frame);
}

static enum http2_error data_begin(struct http2_walker *walker, const struct frame_header *frame)
{
	enum http2_error error = stream_check(walker, frame);

	if (error != HTTP2_NO_ERROR)
		return error;
	if ((frame->flags & HTTP2_FLAG_PADDED) && frame->size > 0)
		walker->peek_wanted = 1;
	http2_walker_earn_bytes(walker, frame->size);
	if (frame->size == 0 && !(frame->flags & HTTP2_FLAG_END_STREAM))
		return spend(walker, 1);
	return HTTP2_NO_ERROR;
}

static enum http2_error frame_begin(struct http2_walker *walker, const struct frame_header *frame)
{
	if (frame->size > HTTP2_FRAME_MAX)
		return HTTP2_FRAME_SIZE_ERROR;
	if (walker->block_stream != 0 &&
	    (frame->type != HTTP2_CONTINUATION || frame->stream != walker->block_stream))
		return HTTP2_PROTOCOL_ERROR;
	switch (frame->type) {
	case HTTP2_DATA:
		return data_begin(walker, frame);
	case HTTP2_HEADERS:
		return headers_begin(walker, frame);
	case HTTP2_CONTINUATION:
		return walker->block_stream == 0 ? HTTP2_PROTOCOL_ERROR
		                                 : block_count(walker, frame);
	case HTTP2_PRIORITY:
		if (frame->size == 5)
			walker->peek_wanted = 4;
		return spend(walker, 1);
	case HTTP2_RST_STREAM:
		if (is_known(walker, frame->stream))
			bit_set(walker->ended, frame->stream);
		return spend(walker, HTTP2_CREDIT_RESET);
	case HTTP2_SETTINGS:
	case HTTP2_PING:
		return frame->flags & HTTP2_FLAG_ACK ? HTTP2_NO_ERROR : spend(walker, 1);
	default:
		return spend(walker, 1);
	}
}

/* The first bytes of the payload have come. */
static enum http2_error frame_peeked(struct http2_walker *walker, const struct frame_header *frame)
{
	unsigned pad = frame->flags & HTTP2_FLAG_PADDED ? 1 : 0;

	if (frame->type == HTTP2_DATA)
		return walker->peek[0] + 1u >= frame->size ? spend(walker, 1) : HTTP2_NO_ERROR;
	if (frame->type == HTTP2_PRIORITY)
		pad = 0;
	/* Priorities are ignored, but not a stream that depends on itself: RFC 7540 5.3.1. */
	return (big_endian(walker->peek + pad, 4) & 0x7fffffff) == frame->stream
	               ? HTTP2_PROTOCOL_ERROR
	               : HTTP2_NO_ERROR;
}

/* Takes up to `wanted` - *size bytes of the input to `to`; true: it is complete. */
static bool gather(uint8_t *to, uint8_t *size, unsigned wanted, struct bytes *input)
{
	while (*size < wanted && input->size > 0) {
		to[(*size)++] = *input->data++;
		input->size--;
	}
	return *size == wanted;
}

static void skip(uint32_t *left, struct bytes *input)
{
	size_t size = input->size < *left ? input->size : *left;

	*left -= (uint32_t)size;
	input->data += size;
	input->size -= size;
}

/* The next part of a frame; what is at the front of *input moves on. */
static enum http2_error step(struct http2_walker *walker, uint64_t now_ns, struct bytes *input)
{
	struct frame_header frame;
	enum http2_error error;

	if (walker->header_size < HTTP2_FRAME_HEADER_SIZE) {
		if (walker->header_size == 0 && walker->block_stream == 0)
			walker->begun_ns = now_ns;
		if (!gather(walker->header, &walker->header_size, HTTP2_FRAME_HEADER_SIZE, input))
			return HTTP2_NO_ERROR;
		frame = header_of(walker);
		walker->peek_size = walker->peek_wanted = 0;
		walker->payload_left = frame.size;
		error = frame_begin(walker, &frame);
		if (frame.size == 0)
			walker->header_size = 0;
		return error;
	}
	if (walker->peek_size < walker->peek_wanted) {
		uint8_t before = walker->peek_size;

		gather(walker->peek, &walker->peek_size, walker->peek_wanted, input);
		walker->payload_left -= walker->peek_size - before;
		if (walker->peek_size < walker->peek_wanted)
			return HTTP2_NO_ERROR;
		frame = header_of(walker);
		error = frame_peeked(walker, &frame);
		if (error != HTTP2_NO_ERROR)
			return error;
	}
	skip(&walker->payload_left, input);
	if (walker->payload_left == 0)
		walker->header_size = 0;
	return HTTP2_NO_ERROR;
}

size_t http2_walk(struct http2_walker *walker, uint64_t now_ns, struct bytes input,
                  enum http2_error *ret_error)
{
	struct bytes rest = input;

	credit_refill(walker, now_ns);
	*ret_error = HTTP2_NO_ERROR;
	skip(&walker->preface_left, &rest);
	while (rest.size > 0) {
		size_t before = rest.size;

		*ret_error = step(walker, now_ns, &rest);
		if (*ret_error != HTTP2_NO_ERROR)
			return input.size - before;
		assert(rest.size < before);
	}
	return input.size;
}

uint64_t http2_walker_begun_ns(const struct http2_walker *walker)
{
	bool whole_header = walker->header_size == HTTP2_FRAME_HEADER_SIZE;

	if (walker->block_stream != 0 || walker->preface_left > 0)
		return walker->begun_ns;
	if (walker->header_size == 0 || (whole_header && walker->header[3] == HTTP2_DATA))
		return UINT64_MAX;
	return walker->begun_ns;
}
