/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 (RFC 9112), the server's side: requests in, as events; what frames an answer out, as
 * bytes. Pure. Strict: what two readers could understand in two ways is an error.
 */
#ifndef WIRE_HTTP1_H
#define WIRE_HTTP1_H

#include "wire/http.h"

enum http1_event_type {
	HTTP1_NEED_MORE, /* all that can be is consumed; the rest, an incomplete part, comes again
	                  */
	HTTP1_HEAD,      /* event.head: a request begins */
	HTTP1_BODY,      /* event.body: the next bytes of its body */
	HTTP1_END,       /* of this request; event.head has the fields of its trailers */
	HTTP1_ERROR,     /* answer event.status, then close: nothing more can be parsed */
};

enum http1_framing {
	HTTP1_NO_BODY,
	HTTP1_SIZED, /* body_size bytes, maybe 0, by Content-Length */
	HTTP1_CHUNKED,
};

/* All bytes are the input's. */
struct http1_head {
	struct bytes method;
	struct bytes
	        target;    /* begins with "/", or is "*"; scheme and authority have been cut off */
	struct bytes host; /* of the target, else of the field; empty: HTTP/1.0 without either */
	unsigned minor_version; /* 0, 1 */
	enum http1_framing framing;
	uint64_t body_size;
	bool keep_alive;
	bool expects_continue;
	struct http_field *fields; /* the array of the limits; names as sent, values trimmed */
	uint32_t field_count;
};

struct http1_event {
	enum http1_event_type type;
	unsigned status;    /* of an error: 400, 413, 414, 417, 431, 501, 505 */
	const char *reason; /* of an error, for people */
	struct bytes body;
	struct http1_head head;
};

struct http1_limits {
	uint32_t line_max; /* bytes of the request line: 414 */
	uint32_t head_max; /* bytes of a header or trailer section, with the request line: 431 */
	uint64_t body_max; /* bytes of a body: 413 */
	struct http_field *fields; /* room for the fields of a section, field_max of them */
	uint32_t field_max;
};

/*
 * Memory: the caller's, zeroed at the start of a connection. Each http1_next() gives one event and
 * takes from the front of *input what it needed. Head and trailers come whole: until then they stay
 * in the input, at most head_max bytes, whose whole lines are not searched twice.
 */
struct http1_parser {
	uint8_t state;
	uint16_t failure;        /* the status of the error that ended the input, or 0 */
	uint32_t extension_size; /* bytes of chunk extensions of this body */
	uint32_t scanned;        /* bytes of the incomplete part that are known to be whole lines */
	uint64_t left;           /* bytes of the body, or of its chunk, to come */
	uint64_t size;           /* bytes of a chunked body that have come */
	const char *reason;
};

void http1_next(struct http1_parser *parser, const struct http1_limits *limits, struct bytes *input,
                struct http1_event *event);

/* Whether no part of a request has been consumed: the peer may end here. */
bool http1_is_between(const struct http1_parser *parser);

/* What the writers below need at most. */
enum { HTTP1_STATUS_LINE_MAX = 64, HTTP1_CHUNK_HEADER_MAX = 18 };

/* "HTTP/1.1 200 OK" CR LF; returns the size. */
size_t http1_write_status(unsigned status, uint8_t *out);

/* The size in hexadecimal, CR LF; returns the size. Behind the chunk's bytes comes CR LF. */
size_t http1_write_chunk(uint64_t size, uint8_t *out);

#endif
