/* SPDX-License-Identifier: Apache-2.0 */
/* Output of the RESP face: bytes in the owner's memory first, then in segments of buffers. */
#include "base/assert.h"
#include "server/resp_internal.h"

enum {
	SEGMENT_HEADER = sizeof(struct resp_segment),
	SEGMENT_SMALL = BUF_ALIGN - SEGMENT_HEADER,
	SEGMENT_GROWN = (64 << 10) - SEGMENT_HEADER,
	COPY_MAX = 2048, /* a segment with less is copied, not moved: else memory would be holes */
};

struct resp_segment *resp_segment_get(struct bufs *bufs, size_t size)
{
	struct buf *buf;
	struct resp_segment *segment;

	assert(size + SEGMENT_HEADER <= BUF_SIZE_MAX);
	buf = buf_get(bufs, size + SEGMENT_HEADER);
	if (buf == NULL)
		return NULL;
	segment = (struct resp_segment *)(void *)buf->data;
	*segment = (struct resp_segment){
		.buf = buf,
		.size = buf->size - SEGMENT_HEADER,
	};
	return segment;
}

void resp_segments_free(struct resp_segment *first)
{
	while (first != NULL) {
		struct resp_segment *next = first->next;

		buf_unref(first->buf);
		first = next;
	}
}

void resp_out_init(struct resp_out *out, uint8_t *small, size_t small_size, struct bufs *bufs)
{
	out->cursor = small;
	out->limit = small + small_size;
	out->small = small;
	out->small_end = NULL;
	out->first = NULL;
	out->last = NULL;
	out->bufs = bufs;
	out->size_before = 0;
	out->needed = 0;
	out->full = false;
}

void resp_out_fini(struct resp_out *out)
{
	resp_segments_free(out->first);
	out->first = NULL;
	out->last = NULL;
	out->small_end = NULL;
	out->size_before = 0;
	out->cursor = out->small;
	out->limit = out->small;
	out->full = false;
}

static size_t place_used(const struct resp_out *out)
{
	const uint8_t *start = out->last != NULL ? out->last->data : out->small;

	return (size_t)(out->cursor - start);
}

uint64_t resp_out_size(const struct resp_out *out)
{
	return out->size_before + place_used(out);
}

/* Closes the place that is written to. */
static void place_end(struct resp_out *out)
{
	size_t used = place_used(out);

	out->size_before += used;
	if (out->last != NULL)
		out->last->used = (uint32_t)used;
	else
		out->small_end = out->cursor;
}

static void segment_link(struct resp_out *out, struct resp_segment *segment)
{
	segment->next = NULL;
	if (out->last != NULL)
		out->last->next = segment;
	else
		out->first = segment;
	out->last = segment;
}

struct resp_segment *resp_out_grow(struct resp_out *out, size_t size)
{
	size_t wanted = out->first == NULL ? SEGMENT_SMALL : SEGMENT_GROWN;
	struct resp_segment *segment = NULL;

	assert(!out->full);
	if (out->bufs != NULL)
		segment = resp_segment_get(out->bufs, size > wanted ? size : wanted);
	if (segment == NULL && out->bufs != NULL && size < wanted)
		segment = resp_segment_get(out->bufs, size);
	if (segment == NULL) {
		out->needed = resp_out_size(out);
		out->full = true;
		out->limit = out->cursor;
		return NULL;
	}
	place_end(out);
	segment_link(out, segment);
	out->cursor = segment->data;
	out->limit = segment->data + segment->size;
	return segment;
}

uint8_t *resp_out_room_slow(struct resp_out *out, size_t size)
{
	assert(size <= SEGMENT_SMALL);
	if (out->full || resp_out_grow(out, size) == NULL) {
		out->needed += size;
		return NULL;
	}
	return out->cursor;
}

void resp_out_bytes(struct resp_out *out, const void *data, size_t size)
{
	const uint8_t *from = data;

	while (size > 0) {
		size_t room = (size_t)(out->limit - out->cursor);
		size_t part = size < room ? size : room;

		if (part > 0) {
			memcpy(out->cursor, from, part);
			out->cursor += part;
			from += part;
			size -= part;
			continue;
		}
		part = size + SEGMENT_HEADER < BUF_SIZE_MAX ? size : BUF_SIZE_MAX - SEGMENT_HEADER;
		if (out->full || resp_out_grow(out, part) == NULL) {
			out->needed += size;
			return;
		}
	}
}

void resp_out_truncate(struct resp_out *out, uint64_t size)
{
	struct resp_segment *segment = out->first;
	uint64_t before = 0;

	assert(out->small == NULL);
	assert(size <= resp_out_size(out));
	out->full = false;
	out->needed = 0;
	if (size == 0) {
		resp_out_fini(out);
		return;
	}
	if (out->last != NULL)
		out->last->used = (uint32_t)place_used(out);
	while (before + segment->used < size) {
		before += segment->used;
		segment = segment->next;
	}
	resp_segments_free(segment->next);
	segment->next = NULL;
	out->last = segment;
	out->size_before = before;
	out->cursor = segment->data + (size - before);
	out->limit = segment->data + segment->size;
}

uint64_t resp_out_release(struct resp_out *out, uint64_t size)
{
	uint64_t released = 0;

	while (out->first != out->last && released + out->first->used <= size) {
		struct resp_segment *segment = out->first;

		released += segment->used;
		out->first = segment->next;
		buf_unref(segment->buf);
	}
	assert(out->size_before >= released);
	out->size_before -= released;
	return released;
}

void resp_out_append(struct resp_out *out, struct resp_out *from)
{
	struct resp_segment *segment = from->first, *next;
	size_t small;

	if (from->last != NULL)
		from->last->used = (uint32_t)place_used(from);
	small = (size_t)((segment != NULL ? from->small_end : from->cursor) - from->small);
	resp_out_bytes(out, from->small, small);
	for (; segment != NULL; segment = next) {
		next = segment->next;
		if (segment->used <= COPY_MAX || out->full) {
			resp_out_bytes(out, segment->data, segment->used);
			buf_unref(segment->buf);
			continue;
		}
		place_end(out);
		segment_link(out, segment);
		out->cursor = segment->data + segment->used;
		out->limit = segment->data + segment->size;
	}
	from->first = NULL;
	from->last = NULL;
}
