/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields of an HTTP/2 request, or of its trailers, one after the other as HPACK gives them:
 * whether they make a request (RFC 9113 section 8), and which. Pure.
 */
#ifndef WIRE_HTTP2_HEAD_H
#define WIRE_HTTP2_HEAD_H

#include "wire/http.h"

struct http2_limits {
	uint32_t head_max;     /* bytes of a section, 32 more for each field: 431 */
	uint32_t field_max;    /* 431; at most HTTP2_FIELDS_MAX */
	uint32_t target_max;   /* 414 */
	uint32_t streams_max;  /* open at a time, past which they are refused */
	uint32_t streams_told; /* what the client is told: fewer, to be kind to others */
	uint32_t window_size;  /* bytes of a body that a peer may send before somebody takes them */
};

enum {
	HTTP2_FIELDS_MAX = 100,
	HTTP2_PSEUDO_MAX = 4,
	HTTP2_FIELD_OVERHEAD = 32, /* of a field in the size of a section: RFC 9113 6.5.2 */
};

/* All bytes are whose http2_head_add() got. */
struct http2_head {
	struct bytes method, scheme;
	struct bytes target; /* ":path": begins with "/", or is "*" */
	struct bytes host;   /* of ":authority", else of the field "host" */
	struct http_field *fields;
	uint32_t field_count; /* without pseudo fields; ":authority" became a first field "host" */
	uint64_t body_size;
	bool has_length; /* body_size is Content-Length */
	bool expects_continue;
	bool ended; /* no body follows: set by the session */
	/* Well-formed, and yet to be answered with this: 414, 417, 431, 501. 0: none. */
	unsigned status;
};

/* Memory: the caller's, for one section. */
struct http2_section {
	const struct http2_limits *limits;
	struct http2_head head;
	struct http_field fields[HTTP2_FIELDS_MAX + 1]; /* [0]: for ":authority" */
	struct bytes authority;
	uint64_t size;      /* as RFC 9113 section 6.5.2 counts */
	const char *reason; /* not NULL: it is malformed */
	bool trailers;
	bool has_method, has_scheme, has_path, has_authority, has_host;
	bool regular; /* a field that is no pseudo field has come */
};

void http2_section_init(struct http2_section *section, const struct http2_limits *limits,
                        bool trailers);
/* False: the bytes need not be kept. */
bool http2_section_add(struct http2_section *section, struct bytes name, struct bytes value);
/*
 * The section is complete; `ended`: and so is the stream. False: it is malformed, and
 * section->reason says why: a stream error PROTOCOL_ERROR.
 */
bool http2_section_finish(struct http2_section *section, bool ended);

#endif
