/* SPDX-License-Identifier: Apache-2.0 */
/* Readers and writers of large values: calls, each a request or a few. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "lib/lib.h"

enum {
	PIECE = 256 << 10, /* bytes that a writer gathers; a list of extents has room for 2,040 */
	PIECE_LARGE = 512 << 10, /* the same, once there are PIECE_LARGE_MIN */
	PIECE_LARGE_MIN = 64 << 20,
};

struct weir_reader {
	struct weir *weir;
	uint64_t handle, size, version;
};

struct weir_writer {
	struct weir *weir;
	uint64_t handle; /* 0: all of it is in `data` so far */
	uint64_t size;   /* bytes that are written, beside those in `data` */
	enum weir_status status;
	uint32_t space;
	uint16_t key_size;
	size_t used, room; /* bytes of data */
	uint8_t key[WEIR_KEY_MAX];
	uint8_t *data;
};

static struct weir_key key_of(const struct weir_writer *writer)
{
	return (struct weir_key){ writer->key, writer->key_size, writer->space };
}

/* What it says is gone: nobody waits for a success. */
static void drop(struct weir *weir, uint64_t handle)
{
	struct weir_request request;

	lib_call_prepare(&request, WEIR_DROP, (struct weir_key){ .size = 0 });
	request.handle = handle;
	(void)lib_call(weir, &request);
}

/* Reading. */

enum weir_status weir_reader_open(struct weir *weir, struct weir_key key, struct weir_reader **out)
{
	struct weir_reader *reader = malloc(sizeof(*reader));
	struct weir_request request;
	enum weir_status status;

	*out = NULL;
	if (reader == NULL)
		return WEIR_NO_SPACE;
	lib_call_prepare(&request, WEIR_OPEN, key);
	status = lib_call(weir, &request);
	if (status != WEIR_OK) {
		free(reader);
		return status;
	}
	assert(request.handle != 0);
	*reader = (struct weir_reader){
		.weir = weir,
		.handle = request.handle,
		.size = request.out_size,
		.version = request.version,
	};
	*out = reader;
	return WEIR_OK;
}

uint64_t weir_reader_size(const struct weir_reader *reader)
{
	return reader->size;
}

uint64_t weir_reader_version(const struct weir_reader *reader)
{
	return reader->version;
}

enum weir_status weir_reader_read(struct weir_reader *reader, uint64_t offset, void *out,
                                  size_t size, size_t *read)
{
	struct weir_request request;
	enum weir_status status;

	*read = 0;
	if (offset >= reader->size || size == 0)
		return WEIR_OK;
	lib_call_prepare(&request, WEIR_READ, (struct weir_key){ .size = 0 });
	request.handle = reader->handle;
	request.offset = offset;
	request.out = out;
	request.out_max = size;
	status = lib_call(reader->weir, &request);
	assert(request.out_size <= size);
	*read = request.out_size;
	return status;
}

void weir_reader_close(struct weir_reader *reader)
{
	if (reader == NULL)
		return;
	drop(reader->weir, reader->handle);
	free(reader);
}

/* Writing. */

enum weir_status weir_writer_open(struct weir *weir, struct weir_key key, struct weir_writer **out)
{
	struct weir_writer *writer;

	*out = NULL;
	if (!lib_key_is_valid(key) || lib_on_worker())
		return WEIR_INVALID;
	writer = calloc(1, sizeof(*writer));
	if (writer == NULL)
		return WEIR_NO_SPACE;
	writer->data = malloc(PIECE);
	if (writer->data == NULL) {
		free(writer);
		return WEIR_NO_SPACE;
	}
	writer->weir = weir;
	writer->room = PIECE;
	writer->space = key.space;
	writer->key_size = (uint16_t)key.size;
	memcpy(writer->key, key.data, key.size);
	*out = writer;
	return WEIR_OK;
}

static void writer_free(struct weir_writer *writer)
{
	if (writer->handle != 0)
		drop(writer->weir, writer->handle);
	free(writer->data);
	free(writer);
}

static enum weir_status writer_flush(struct weir_writer *writer)
{
	struct weir_request request;

	assert(writer->used > 0 && writer->status == WEIR_OK);
	lib_call_prepare(&request, WEIR_APPEND, key_of(writer));
	request.handle = writer->handle;
	request.value = (struct weir_bytes){ writer->data, writer->used };
	writer->status = lib_call(writer->weir, &request);
	writer->handle = request.handle;
	if (writer->status != WEIR_OK)
		return writer->status;
	assert(writer->handle != 0);
	writer->size += writer->used;
	writer->used = 0;
	return WEIR_OK;
}

/* Many small pieces of a very large value would be more than its record can list. */
static void writer_grow(struct weir_writer *writer)
{
	uint8_t *data;

	if (writer->room == PIECE_LARGE || writer->size < PIECE_LARGE_MIN)
		return;
	assert(writer->used == 0);
	data = malloc(PIECE_LARGE);
	if (data == NULL)
		return; /* it goes on with small ones, as far as it gets */
	free(writer->data);
	writer->data = data;
	writer->room = PIECE_LARGE;
}

enum weir_status weir_writer_append(struct weir_writer *writer, struct weir_bytes bytes)
{
	const uint8_t *from = bytes.data;
	size_t left = bytes.size;

	if (writer->status != WEIR_OK)
		return writer->status;
	if (left > WEIR_VALUE_MAX - writer->size - writer->used)
		return writer->status = WEIR_TOO_LARGE;
	while (left > 0) {
		size_t part = writer->room - writer->used;

		/* Full, and more comes: so the last piece, which may have any size, waits. */
		if (part == 0) {
			if (writer_flush(writer) != WEIR_OK)
				return writer->status;
			writer_grow(writer);
			continue;
		}
		part = left < part ? left : part;
		memcpy(writer->data + writer->used, from, part);
		writer->used += part;
		from += part;
		left -= part;
	}
	return WEIR_OK;
}

static enum weir_status writer_put(struct weir_writer *writer, struct weir_terms *terms)
{
	struct weir_request request;
	enum weir_status status;

	lib_call_prepare(&request, WEIR_PUT, key_of(writer));
	request.flags = terms->flags & (WEIR_IF_VERSION | WEIR_KEEP_EXPIRY);
	request.version = terms->version;
	request.expires_ms = terms->expires_ms;
	if (writer->handle != 0) {
		request.flags |= WEIR_FROM_HANDLE;
		request.handle = writer->handle;
	} else {
		request.value = (struct weir_bytes){ writer->data, writer->used };
	}
	status = lib_call(writer->weir, &request);
	if (status == WEIR_OK)
		writer->handle = 0; /* the key's now */
	if (status == WEIR_OK || status == WEIR_CONFLICT)
		terms->version = request.result;
	return status;
}

enum weir_status weir_writer_commit(struct weir_writer *writer, struct weir_terms *terms)
{
	struct weir_terms none = { .flags = 0 };
	enum weir_status status = writer->status;

	if (status == WEIR_OK && writer->handle != 0 && writer->used > 0)
		status = writer_flush(writer);
	if (status == WEIR_OK)
		status = writer_put(writer, terms != NULL ? terms : &none);
	writer_free(writer);
	return status;
}

void weir_writer_abort(struct weir_writer *writer)
{
	if (writer != NULL)
		writer_free(writer);
}
