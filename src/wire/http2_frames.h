/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at the frames of an HTTP/2 client before the session does: for what RFC 9113 forbids and
 * libnghttp2 lets pass, because it forgets a stream that is closed, and for floods of frames that
 * cost the client less than us. Pure, no memory but its own.
 */
#ifndef WIRE_HTTP2_FRAMES_H
#define WIRE_HTTP2_FRAMES_H

#include "base/bytes.h"

/* RFC 9113 section 7. */
enum http2_error {
	HTTP2_NO_ERROR = 0,
	HTTP2_PROTOCOL_ERROR = 1,
	HTTP2_INTERNAL_ERROR = 2,
	HTTP2_FLOW_CONTROL_ERROR = 3,
	HTTP2_SETTINGS_TIMEOUT = 4,
	HTTP2_STREAM_CLOSED = 5,
	HTTP2_FRAME_SIZE_ERROR = 6,
	HTTP2_REFUSED_STREAM = 7,
	HTTP2_CANCEL = 8,
	HTTP2_COMPRESSION_ERROR = 9,
	HTTP2_ENHANCE_YOUR_CALM = 11,
};

/* RFC 9113 section 6. */
enum http2_frame_type {
	HTTP2_DATA,
	HTTP2_HEADERS,
	HTTP2_PRIORITY,
	HTTP2_RST_STREAM,
	HTTP2_SETTINGS,
	HTTP2_PUSH_PROMISE,
	HTTP2_PING,
	HTTP2_GOAWAY,
	HTTP2_WINDOW_UPDATE,
	HTTP2_CONTINUATION,
};

enum {
	HTTP2_FLAG_ACK = 0x1,
	HTTP2_FLAG_END_STREAM = 0x1,
	HTTP2_FLAG_END_HEADERS = 0x4,
	HTTP2_FLAG_PADDED = 0x8,
	HTTP2_FLAG_PRIORITY = 0x20,
};

enum {
	HTTP2_PREFACE_SIZE = 24,
	HTTP2_FRAME_HEADER_SIZE = 9,
	HTTP2_FRAME_MAX = 16384,    /* bytes behind a frame's header: we never say another limit */
	HTTP2_BLOCK_MAX = 64 << 10, /* bytes of a HEADERS frame and its CONTINUATIONs */
	HTTP2_CONTINUATIONS_MAX = 64,
	/*
	 * What frames that bring nothing may cost: a burst of 1,000 and 200 a second, as nginx and
	 * libnghttp2 allow. A stream that the client resets costs 4: 250 at once, 50 a second. What
	 * carries data or ends an answer earns some back.
	 */
	HTTP2_CREDIT_MAX = 1000,
	HTTP2_CREDIT_NS = 5000000, /* one comes back */
	HTTP2_CREDIT_RESET = 4,
	HTTP2_CREDIT_BYTES = 4096,  /* of payload that earn one */
	HTTP2_STREAMS_KNOWN = 1024, /* the newest, of which is known how they were closed */
};

/* Memory: the caller's, of one connection. */
struct http2_walker {
	uint8_t header[HTTP2_FRAME_HEADER_SIZE];
	uint8_t header_size; /* bytes of it that have come */
	uint8_t peek[5];     /* the first bytes of the payload, where they matter */
	uint8_t peek_size, peek_wanted;
	uint32_t preface_left;
	uint32_t payload_left;
	uint32_t last_stream;  /* the highest that the client has opened */
	uint32_t block_stream; /* whose CONTINUATION must be next; 0: none */
	uint32_t block_size, block_frames;
	uint32_t credit;
	uint32_t earned_size; /* bytes that have not made a credit yet */
	uint64_t begun_ns;    /* when the newest frame, or section of fields, began */
	uint64_t credit_ns;   /* the time up to which it has been counted */
	uint64_t opened[HTTP2_STREAMS_KNOWN / 64];
	uint64_t ended[HTTP2_STREAMS_KNOWN / 64]; /* the client has ended or reset it */
};

void http2_walker_init(struct http2_walker *walker, uint64_t now_ns);

/*
 * Looks at the next bytes. Returns how many of them, from the front, the session may have. Fewer
 * than all: there a connection error comes, *ret_error, and nothing is looked at any more.
 */
size_t http2_walk(struct http2_walker *walker, uint64_t now_ns, struct bytes input,
                  enum http2_error *ret_error);

/* Payload went either way; an answer ended. */
void http2_walker_earn_bytes(struct http2_walker *walker, size_t size);
void http2_walker_earn(struct http2_walker *walker, uint32_t credit);

/* Since when the preface, a frame without DATA or a section of fields is incomplete; UINT64_MAX. */
uint64_t http2_walker_begun_ns(const struct http2_walker *walker);

#endif
