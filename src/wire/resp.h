/* SPDX-License-Identifier: Apache-2.0 */
/* RESP, the protocol of Redis: requests in, as events; replies out, as bytes. Pure. */
#ifndef WIRE_RESP_H
#define WIRE_RESP_H

#include <stdbool.h>

#include "base/bytes.h"

enum {
	RESP_COUNT_MAX = 1024 * 1024,    /* elements of a request */
	RESP_LINE_MAX = 64 << 10,        /* bytes of an inline request or of a header line */
	RESP_INLINE_ARGUMENTS_MAX = 1024 /* words of an inline request */
};

enum resp_event_type {
	RESP_NEED_MORE, /* all that can be is consumed; the rest, a partial line, must come again */
	RESP_BEGIN,     /* a request of event.size arguments, 1 or more, starts */
	RESP_ARGUMENT,  /* event.data is a whole argument */
	RESP_BULK,      /* an argument of event.size bytes starts, and comes in pieces */
	RESP_PIECE,     /* event.data is the next piece of it; event.last: it is the last */
	RESP_END,       /* the request is complete */
	RESP_INLINE,    /* event.data is an inline request, without its end: resp_split_word() */
	RESP_ERROR,     /* event.data: the text of the error reply; nothing more can be parsed */
};

struct resp_event {
	enum resp_event_type type;
	bool last;
	uint64_t size;
	struct bytes data; /* in the input, or in static memory */
};

struct resp_limits {
	uint64_t bulk_max;  /* bytes of an argument */
	uint32_t count_max; /* at most RESP_COUNT_MAX */
	bool authenticated; /* false: at most 10 arguments of 16 KiB, with errors that say so */
};

/*
 * Memory: the caller's, zeroed at the start of a connection. Each resp_next() gives one event and
 * takes from the front of *input what it needed. What it points to is the input, so it dies with
 * it. An argument whose bytes are all there comes as one RESP_ARGUMENT; else in pieces, of which
 * nothing is looked at twice. A line that is not complete stays in the input: append and come
 * again; `scanned` keeps a long one from being searched again.
 */
struct resp_parser {
	uint8_t state;
	uint32_t arguments_left; /* of the request */
	uint64_t bulk_left;      /* bytes of the argument that comes in pieces */
	size_t scanned;          /* bytes of the partial line known to hold no end */
	const char *error;       /* what ended the stream, or NULL */
	char error_text[64];
};

void resp_next(struct resp_parser *parser, const struct resp_limits *limits, struct bytes *input,
               struct resp_event *event);

/* Whether the parser stands between two requests. */
bool resp_is_between(const struct resp_parser *parser);

/*
 * One word of an inline request, quoted as Redis does it: "" with escapes, '' with \'. Decodes into
 * `out`, which holds at least line.size bytes, takes the word from the line and returns its size.
 * -1: quotes do not match; -2: no word is left. Public for tests and for reading configuration.
 */
long resp_split_word(struct bytes *line, uint8_t *out);

/* Room that the writers below may need at most. */
enum { RESP_HEADER_MAX = 32, RESP_DOUBLE_MAX = 64 };

/* Decimal digits of a value; at most 20 bytes. Returns how many. */
size_t resp_write_u64(uint8_t *out, uint64_t value);
size_t resp_write_i64(uint8_t *out, int64_t value);

/* TYPE, the value in decimal, CR LF: for ':', '$', '*', '%', '~', '>', '|'. */
size_t resp_write_header(uint8_t *out, char type, int64_t value);

/* The value as RESP3 writes it, without type and end: "inf", "-inf", "nan" or the shortest decimal.
 */
size_t resp_write_double(uint8_t *out, double value);

#endif
