/* SPDX-License-Identifier: Apache-2.0 */
/* Replies of the RESP face, in the version of the protocol that the connection speaks. */
#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "server/resp_internal.h"

enum { ERROR_MAX = 512, SIMPLE_MAX = 256 };

static void write_bytes(struct resp_call *call, const char *data, size_t size)
{
	uint8_t *room = resp_out_room(call->out, size);

	if (room == NULL)
		return;
	memcpy(room, data, size);
	call->out->cursor += size;
}

static void write_header(struct resp_call *call, char type, int64_t value)
{
	uint8_t *room = resp_out_room(call->out, RESP_HEADER_MAX);

	if (room != NULL)
		call->out->cursor += resp_write_header(room, type, value);
}

static bool is_resp3(const struct resp_call *call)
{
	return call->out->protocol == 3;
}

void resp_reply_raw(struct resp_call *call, struct bytes bytes)
{
	resp_out_bytes(call->out, bytes.data, bytes.size);
}

void resp_reply_ok(struct resp_call *call)
{
	write_bytes(call, "+OK\r\n", 5);
}

void resp_reply_simple(struct resp_call *call, const char *text)
{
	size_t size = strlen(text);
	uint8_t *room;

	assert(size <= SIMPLE_MAX);
	room = resp_out_room(call->out, size + 3);
	if (room == NULL)
		return;
	room[0] = '+';
	memcpy(room + 1, text, size);
	memcpy(room + 1 + size, "\r\n", 2);
	call->out->cursor += size + 3;
}

/* Line ends inside would break the protocol: they become spaces, as in Redis. */
void resp_reply_error(struct resp_call *call, const char *text)
{
	size_t size = strnlen(text, ERROR_MAX);
	uint8_t *room = resp_out_room(call->out, size + 3);

	call->failed = true;
	snprintf(call->error_code, sizeof(call->error_code), "%.*s", (int)strcspn(text, " "), text);
	if (room == NULL)
		return;
	room[0] = '-';
	for (size_t i = 0; i < size; i++)
		room[1 + i] = (uint8_t)(text[i] == '\r' || text[i] == '\n' ? ' ' : text[i]);
	memcpy(room + 1 + size, "\r\n", 2);
	call->out->cursor += size + 3;
}

void resp_reply_errorf(struct resp_call *call, const char *format, ...)
{
	char text[ERROR_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	resp_reply_error(call, text);
}

void resp_reply_status(struct resp_call *call, enum status status)
{
	switch (status) {
	case STATUS_NO_SPACE:
		resp_reply_error(call, "OOM no space left on the store");
		return;
	case STATUS_READ_ONLY:
		resp_reply_error(
		        call, "READONLY the store is read-only until restart: its device failed");
		return;
	case STATUS_BUSY:
	case STATUS_TIMEOUT:
	case STATUS_UNAVAILABLE:
	case STATUS_CANCELED:
		resp_reply_errorf(call, "BUSY %s, try again", status_text(status));
		return;
	case STATUS_CORRUPT:
	case STATUS_IO:
		resp_reply_errorf(call, "IOERR %s", status_text(status));
		return;
	case STATUS_DENIED:
		resp_reply_errorf(call, "NOPERM %s", status_text(status));
		return;
	default:
		assert(status != STATUS_OK);
		resp_reply_errorf(call, "ERR %s", status_text(status));
	}
}

void resp_reply_syntax_error(struct resp_call *call)
{
	resp_reply_error(call, "ERR syntax error");
}

void resp_reply_wrong_type(struct resp_call *call)
{
	resp_reply_error(call, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

void resp_reply_i64(struct resp_call *call, int64_t value)
{
	if (value == 0 || value == 1)
		write_bytes(call, value == 0 ? ":0\r\n" : ":1\r\n", 4);
	else
		write_header(call, ':', value);
}

void resp_reply_bulk(struct resp_call *call, struct bytes value)
{
	uint8_t *room;

	if (value.size + RESP_HEADER_MAX + 2 <= (size_t)(call->out->limit - call->out->cursor)) {
		room = call->out->cursor;
		room += resp_write_header(room, '$', (int64_t)value.size);
		if (value.size > 0)
			memcpy(room, value.data, value.size);
		memcpy(room + value.size, "\r\n", 2);
		call->out->cursor = room + value.size + 2;
		return;
	}
	write_header(call, '$', (int64_t)value.size);
	resp_out_bytes(call->out, value.data, value.size);
	write_bytes(call, "\r\n", 2);
}

void resp_reply_bulk_header(struct resp_call *call, uint64_t size)
{
	write_header(call, '$', (int64_t)size);
}

void resp_reply_text(struct resp_call *call, const char *text)
{
	resp_reply_bulk(call, bytes_of(text, strlen(text)));
}

void resp_reply_decimal(struct resp_call *call, int64_t value)
{
	uint8_t text[24];

	resp_reply_bulk(call, bytes_of(text, resp_write_i64(text, value)));
}

void resp_reply_verbatim(struct resp_call *call, const char *format3, struct bytes value)
{
	assert(strlen(format3) == 3);
	if (!is_resp3(call)) {
		resp_reply_bulk(call, value);
		return;
	}
	write_header(call, '=', (int64_t)value.size + 4);
	write_bytes(call, format3, 3);
	write_bytes(call, ":", 1);
	resp_out_bytes(call->out, value.data, value.size);
	write_bytes(call, "\r\n", 2);
}

void resp_reply_null(struct resp_call *call)
{
	if (is_resp3(call))
		write_bytes(call, "_\r\n", 3);
	else
		write_bytes(call, "$-1\r\n", 5);
}

void resp_reply_null_array(struct resp_call *call)
{
	if (is_resp3(call))
		write_bytes(call, "_\r\n", 3);
	else
		write_bytes(call, "*-1\r\n", 5);
}

void resp_reply_bool(struct resp_call *call, bool value)
{
	if (is_resp3(call))
		write_bytes(call, value ? "#t\r\n" : "#f\r\n", 4);
	else
		resp_reply_i64(call, value);
}

void resp_reply_double(struct resp_call *call, double value)
{
	uint8_t text[RESP_DOUBLE_MAX];
	size_t size = resp_write_double(text, value);

	if (!is_resp3(call)) {
		resp_reply_bulk(call, bytes_of(text, size));
		return;
	}
	write_bytes(call, ",", 1);
	resp_out_bytes(call->out, text, size);
	write_bytes(call, "\r\n", 2);
}

void resp_reply_array(struct resp_call *call, uint64_t count)
{
	write_header(call, '*', (int64_t)count);
}

void resp_reply_map(struct resp_call *call, uint64_t pairs)
{
	if (is_resp3(call))
		write_header(call, '%', (int64_t)pairs);
	else
		write_header(call, '*', (int64_t)pairs * 2);
}

void resp_reply_set(struct resp_call *call, uint64_t count)
{
	write_header(call, is_resp3(call) ? '~' : '*', (int64_t)count);
}

void resp_reply_push(struct resp_call *call, uint64_t count)
{
	write_header(call, is_resp3(call) ? '>' : '*', (int64_t)count);
}
