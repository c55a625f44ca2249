/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp.h"

#include <math.h>
#include <stdio.h>

#include "base/assert.h"

enum parser_state {
	AT_START,       /* between requests */
	AT_BULK_HEADER, /* "$N" is next */
	IN_BULK,        /* bulk_left bytes of an argument are next */
	AT_BULK_END,    /* CR LF after it is next */
	AT_END,         /* all arguments came */
	FAILED,
};

enum line_result { LINE_NUMBER, LINE_PARTIAL, LINE_WRONG, LINE_TOO_LONG };

enum { UNAUTHENTICATED_COUNT_MAX = 10, UNAUTHENTICATED_BULK_MAX = 16384 };

bool resp_is_between(const struct resp_parser *parser)
{
	return parser->state == AT_START;
}

static void fail(struct resp_parser *parser, const char *error, struct resp_event *event)
{
	parser->state = FAILED;
	parser->error = error;
	*event = (struct resp_event){
		.type = RESP_ERROR,
		.data = bytes_of(error, strlen(error)),
	};
}

static void take(struct bytes *input, size_t size)
{
	assert(size <= input->size);
	input->data += size;
	input->size -= size;
}

/* Why a line that is no plain number is none, or that it may still become one. */
static enum line_result line_judge(struct resp_parser *parser, struct bytes input)
{
	size_t from = parser->scanned < input.size ? parser->scanned : 0;

	if (memchr(input.data + from, '\n', input.size - from) != NULL)
		return LINE_WRONG;
	parser->scanned = input.size;
	return input.size > RESP_LINE_MAX ? LINE_TOO_LONG : LINE_PARTIAL;
}

/*
 * Reads "XN\r\n" with any type byte X; N as Redis takes it: no plus, no leading zeros, 64 bits. On
 * LINE_NUMBER the line is taken from the input.
 */
static enum line_result take_number(struct resp_parser *parser, struct bytes *input,
                                    int64_t *ret_value)
{
	const uint8_t *at = input->data + 1, *end = input->data + input->size;
	bool negative = at < end && *at == '-';
	const uint8_t *first = at + negative;
	uint64_t value = 0;

	for (at = first; at < end && (uint8_t)(*at - '0') <= 9; at++) {
		if (value > (uint64_t)INT64_MAX / 10)
			return line_judge(parser, *input);
		value = value * 10 + (uint64_t)(*at - '0');
	}
	if (end - at < 2) {
		if (at < end && *at != '\r')
			return line_judge(parser, *input);
		if (end - at == 0 && input->size > 32)
			return line_judge(parser, *input);
		return LINE_PARTIAL;
	}
	if (at[0] != '\r' || at[1] != '\n')
		return line_judge(parser, *input);
	if (at == first || value > INT64_MAX || (*first == '0' && (at - first > 1 || negative)))
		return LINE_WRONG;
	*ret_value = negative ? -(int64_t)value : (int64_t)value;
	take(input, (size_t)(at + 2 - input->data));
	parser->scanned = 0;
	return LINE_NUMBER;
}

static void next_inline(struct resp_parser *parser, struct bytes *input, struct resp_event *event)
{
	size_t from = parser->scanned < input->size ? parser->scanned : 0;
	const uint8_t *end = memchr(input->data + from, '\n', input->size - from);
	size_t size = end == NULL ? input->size : (size_t)(end - input->data);

	/* Redis looks for the end as in a C string: a line with a zero byte never ends for it. */
	if (memchr(input->data + from, '\0', size - from) != NULL || size > RESP_LINE_MAX) {
		fail(parser, "ERR Protocol error: too big inline request", event);
		return;
	}
	if (end == NULL) {
		parser->scanned = input->size;
		return;
	}
	parser->scanned = 0;
	event->type = RESP_INLINE;
	event->data = bytes_of(input->data, size);
	if (size > 0 && input->data[size - 1] == '\r')
		event->data.size--;
	take(input, size + 1);
}

/* False: the request had no arguments and means nothing, go on; else the event is set. */
static bool next_start(struct resp_parser *parser, const struct resp_limits *limits,
                       struct bytes *input, struct resp_event *event)
{
	int64_t count = 0;

	if (input->data[0] != '*') {
		next_inline(parser, input, event);
		return event->type != RESP_INLINE || event->data.size > 0;
	}
	switch (take_number(parser, input, &count)) {
	case LINE_NUMBER:
		break;
	case LINE_PARTIAL:
		return true;
	case LINE_WRONG:
		fail(parser, "ERR Protocol error: invalid multibulk length", event);
		return true;
	case LINE_TOO_LONG:
		fail(parser, "ERR Protocol error: too big mbulk count string", event);
		return true;
	}
	if (count > RESP_COUNT_MAX || count > (int64_t)limits->count_max) {
		fail(parser, "ERR Protocol error: invalid multibulk length", event);
		return true;
	}
	if (count > UNAUTHENTICATED_COUNT_MAX && !limits->authenticated) {
		fail(parser, "ERR Protocol error: unauthenticated multibulk length", event);
		return true;
	}
	if (count <= 0)
		return false;
	parser->arguments_left = (uint32_t)count;
	parser->state = AT_BULK_HEADER;
	event->type = RESP_BEGIN;
	event->size = (uint64_t)count;
	return true;
}

static void argument_done(struct resp_parser *parser)
{
	assert(parser->arguments_left > 0);
	parser->state = --parser->arguments_left == 0 ? AT_END : AT_BULK_HEADER;
}

static void fail_expected(struct resp_parser *parser, uint8_t got, struct resp_event *event)
{
	if (got == '\r' || got == '\n')
		got = ' ';
	snprintf(parser->error_text, sizeof(parser->error_text),
	         "ERR Protocol error: expected '$', got '%c'", got);
	fail(parser, parser->error_text, event);
}

static void next_bulk(struct resp_parser *parser, const struct resp_limits *limits,
                      struct bytes *input, struct resp_event *event)
{
	int64_t size = 0;

	if (input->data[0] != '$') {
		fail_expected(parser, input->data[0], event);
		return;
	}
	switch (take_number(parser, input, &size)) {
	case LINE_NUMBER:
		break;
	case LINE_PARTIAL:
		return;
	case LINE_WRONG:
		fail(parser, "ERR Protocol error: invalid bulk length", event);
		return;
	case LINE_TOO_LONG:
		fail(parser, "ERR Protocol error: too big bulk count string", event);
		return;
	}
	if (size < 0 || (uint64_t)size > limits->bulk_max) {
		fail(parser, "ERR Protocol error: invalid bulk length", event);
		return;
	}
	if (size > UNAUTHENTICATED_BULK_MAX && !limits->authenticated) {
		fail(parser, "ERR Protocol error: unauthenticated bulk length", event);
		return;
	}
	event->size = (uint64_t)size;
	if (input->size >= (uint64_t)size + 2) {
		if (input->data[size] != '\r' || input->data[size + 1] != '\n') {
			fail(parser, "ERR Protocol error: expected CRLF after bulk", event);
			return;
		}
		event->type = RESP_ARGUMENT;
		event->data = bytes_of(input->data, (size_t)size);
		take(input, (size_t)size + 2);
		argument_done(parser);
		return;
	}
	event->type = RESP_BULK;
	parser->bulk_left = (uint64_t)size;
	parser->state = size > 0 ? IN_BULK : AT_BULK_END;
}

static void next_piece(struct resp_parser *parser, struct bytes *input, struct resp_event *event)
{
	size_t size = input->size < parser->bulk_left ? input->size : (size_t)parser->bulk_left;

	event->type = RESP_PIECE;
	event->data = bytes_of(input->data, size);
	parser->bulk_left -= size;
	event->last = parser->bulk_left == 0;
	if (event->last)
		parser->state = AT_BULK_END;
	take(input, size);
}

void resp_next(struct resp_parser *parser, const struct resp_limits *limits, struct bytes *input,
               struct resp_event *event)
{
	*event = (struct resp_event){ .type = RESP_NEED_MORE };
	if (parser->state == AT_END) {
		parser->state = AT_START;
		event->type = RESP_END;
		return;
	}
	if (parser->state == AT_BULK_END) {
		if (input->size < 2)
			return;
		if (input->data[0] != '\r' || input->data[1] != '\n') {
			fail(parser, "ERR Protocol error: expected CRLF after bulk", event);
			return;
		}
		take(input, 2);
		argument_done(parser);
	}
	if (parser->state == AT_END) {
		parser->state = AT_START;
		event->type = RESP_END;
		return;
	}
	while (parser->state == AT_START && input->size > 0) {
		if (next_start(parser, limits, input, event))
			return;
		*event = (struct resp_event){ .type = RESP_NEED_MORE };
	}
	if (parser->state == FAILED) {
		fail(parser, parser->error, event);
		return;
	}
	if (input->size == 0)
		return;
	if (parser->state == AT_BULK_HEADER)
		next_bulk(parser, limits, input, event);
	else if (parser->state == IN_BULK)
		next_piece(parser, input, event);
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The escape at at[0] == '\\', of which `left` bytes are there; returns the bytes it takes. */
static size_t unescape(const uint8_t *at, size_t left, uint8_t *out)
{
	if (left >= 4 && at[1] == 'x' && hex_digit(at[2]) >= 0 && hex_digit(at[3]) >= 0) {
		*out = (uint8_t)(hex_digit(at[2]) << 4 | hex_digit(at[3]));
		return 4;
	}
	switch (at[1]) {
	case 'n':
		*out = '\n';
		break;
	case 'r':
		*out = '\r';
		break;
	case 't':
		*out = '\t';
		break;
	case 'b':
		*out = '\b';
		break;
	case 'a':
		*out = '\a';
		break;
	default:
		*out = at[1];
	}
	return 2;
}

long resp_split_word(struct bytes *line, uint8_t *out)
{
	const uint8_t *at = line->data, *end = line->data + line->size;
	uint8_t *to = out, quote = 0;

	while (at < end && is_space(*at))
		at++;
	if (at == end) {
		*line = bytes_of(end, 0);
		return -2;
	}
	while (at < end && (quote != 0 || !is_space(*at))) {
		size_t left = (size_t)(end - at);

		if (quote == '"' && *at == '\\' && left >= 2) {
			at += unescape(at, left, to++);
		} else if (quote == '\'' && *at == '\\' && left >= 2 && at[1] == '\'') {
			*to++ = '\'';
			at += 2;
		} else if (quote != 0 && *at == quote) {
			/* A closing quote ends the word. */
			if (left >= 2 && !is_space(at[1]))
				return -1;
			quote = 0;
			at++;
			break;
		} else if (quote == 0 && (*at == '"' || *at == '\'')) {
			quote = *at++;
		} else {
			*to++ = *at++;
		}
	}
	if (quote != 0)
		return -1;
	*line = bytes_of(at, (size_t)(end - at));
	return to - out;
}

static const char digit_pairs[201] = "00010203040506070809101112131415161718192021222324"
                                     "25262728293031323334353637383940414243444546474849"
                                     "50515253545556575859606162636465666768697071727374"
                                     "75767778798081828384858687888990919293949596979899";

static size_t digits_of(uint64_t value)
{
	size_t count = 1;

	while (value >= 10000) {
		value /= 10000;
		count += 4;
	}
	return count + (value >= 10) + (value >= 100) + (value >= 1000);
}

size_t resp_write_u64(uint8_t *out, uint64_t value)
{
	size_t size = digits_of(value);
	uint8_t *at = out + size;

	while (value >= 100) {
		at -= 2;
		memcpy(at, &digit_pairs[value % 100 * 2], 2);
		value /= 100;
	}
	if (value >= 10)
		memcpy(at - 2, &digit_pairs[value * 2], 2);
	else
		at[-1] = (uint8_t)('0' + value);
	return size;
}

size_t resp_write_i64(uint8_t *out, int64_t value)
{
	if (value >= 0)
		return resp_write_u64(out, (uint64_t)value);
	out[0] = '-';
	return 1 + resp_write_u64(out + 1, 0 - (uint64_t)value);
}

size_t resp_write_header(uint8_t *out, char type, int64_t value)
{
	size_t size = 1;

	out[0] = (uint8_t)type;
	size += resp_write_i64(out + 1, value);
	out[size] = '\r';
	out[size + 1] = '\n';
	return size + 2;
}

size_t resp_write_double(uint8_t *out, double value)
{
	char text[RESP_DOUBLE_MAX];
	int size;

	if (isnan(value))
		size = snprintf(text, sizeof(text), "nan");
	else if (isinf(value))
		size = snprintf(text, sizeof(text), value < 0 ? "-inf" : "inf");
	else
		size = snprintf(text, sizeof(text), "%.17g", value);
	assert(size > 0 && size < (int)sizeof(text));
	memcpy(out, text, (size_t)size);
	return (size_t)size;
}
