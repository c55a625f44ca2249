/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 (RFC 9113, RFC 7541), the server's side of a connection: bytes in, as events; answers, as
 * bytes. Built on libnghttp2's session, which keeps the state of streams, windows and HPACK; what
 * a request may be is decided here (wire/http2_head.h), and so are the limits of what a client may
 * cost (wire/http2_frames.h). Pure: no socket, no clock, memory from who opens it.
 */
#ifndef WIRE_HTTP2_H
#define WIRE_HTTP2_H

#include <sys/uio.h>

#include "wire/http2_frames.h"
#include "wire/http2_head.h"
#include "wire/http2_memory.h"

struct http2_library;
struct http2_session;

/* One of a session; from head() until gone() has returned, or http2_stream_leave(). */
struct http2_stream;

/*
 * What the owner is told; inside http2_receive() and http2_pull() only. There it may call what is
 * marked "anywhere" below. `owner` is the session's, `exchange` what http2_stream_bind() said.
 */
struct http2_events {
	/*
	 * A request begins. All bytes die when it returns. head->status: what it is answered with,
	 * 0: the owner decides. The owner binds the stream, or refuses it: http2_reset().
	 */
	void (*head)(void *owner, struct http2_stream *stream, const struct http2_head *head);
	/* The next bytes of its body; the owner calls http2_consume() as it takes them. */
	void (*body)(void *owner, void *exchange, struct bytes piece);
	/* It is complete. Never for a request whose head says so. */
	void (*ended)(void *owner, void *exchange, const struct http_field *trailers,
	              uint32_t trailer_count);
	/* The stream has been closed, by the client or by an error, before both sides ended. */
	void (*gone)(void *owner, void *exchange);

	/* How much of the answer's body there is now in one run, at most `size_max`; whether it
	 * ends with it. */
	size_t (*available)(void *owner, void *exchange, size_t size_max, bool *ret_ends);
	/*
	 * That many bytes leave. lent: they stay where they are until what http2_pull() gave has
	 * been sent; else they have been copied when http2_pull() returns.
	 */
	const uint8_t *(*take)(void *owner, void *exchange, size_t size, bool lent);
	/* The last of the answer has left. */
	void (*answered)(void *owner, void *exchange);
};

/* What all sessions share. NULL: no memory. */
struct http2_library *http2_library_open(void);
void http2_library_close(struct http2_library *library); /* after its sessions */

/* Memory: the caller's, as long as the session, but for source and limits: copied. */
struct http2_options {
	struct http2_library *library;
	struct http2_memory_source source;
	struct http2_limits limits;
	const struct http2_events *events;
	void *owner;
	void *memory; /* aligned to 16; the session's until http2_close(); at least: */
	size_t memory_size;
	uint64_t now_ns;
};
enum { HTTP2_SESSION_MEMORY_MIN = 8 << 10 };

/* NULL: no memory. */
struct http2_session *http2_open(const struct http2_options *options);
/* Bound exchanges are not told. */
void http2_close(struct http2_session *session);

/*
 * Bytes of the client, from its preface on. False: the connection is in error, which a GOAWAY that
 * waits says, or there was no memory and nothing waits: http2_is_over() tells.
 */
bool http2_receive(struct http2_session *session, uint64_t now_ns, struct bytes input);

/* When the preface, a section of fields or a frame without DATA began that is not whole; else
 * UINT64_MAX. */
uint64_t http2_begun_ns(const struct http2_session *session);
/* Whether nothing more can be received, and nothing waits to be sent. */
bool http2_is_over(const struct http2_session *session);
/* Whether it ends, or has ended, with a GOAWAY that says an error. */
bool http2_has_failed(const struct http2_session *session);
/* Whether no more is received. */
bool http2_is_deaf(const struct http2_session *session);

/* Anywhere. A NULL exchange lets the stream go: nothing more is told of it. */
void http2_stream_bind(struct http2_stream *stream, void *exchange);
void http2_stream_leave(struct http2_stream *stream);
/*
 * The same, after an answer that did not wait for the body: `size_max` bytes of that are
 * dropped, then the stream is reset with NO_ERROR. A client that sends as it asked is not
 * disturbed.
 */
void http2_stream_leave_open(struct http2_stream *stream, uint32_t size_max);
/* Ends it. REFUSED_STREAM: it may be asked again; NO_ERROR: the answer was all. */
void http2_reset(struct http2_stream *stream, enum http2_error error);
/* Bytes of the body have been taken: the client may send as many more. */
void http2_consume(struct http2_stream *stream, size_t size);
/* The same for what was received for an exchange that was told gone(), or has left. */
void http2_drop(struct http2_session *session, size_t size);
/* "100 Continue". */
void http2_continue(struct http2_stream *stream);
/*
 * The answer's head: names in any case; all is copied. has_body: available() is asked. False: no
 * memory for it.
 */
bool http2_answer(struct http2_stream *stream, unsigned status, const struct http_field *fields,
                  uint32_t field_count, bool has_body);
enum { HTTP2_ANSWER_FIELDS_MAX = 250 };
/* There is more of a body of which available() said 0. */
void http2_resume(struct http2_stream *stream);

/* The session's memory, for what the owner must keep of a stream; anywhere. NULL: none is left. */
void *http2_keep(struct http2_session *session, size_t size);
void http2_unkeep(struct http2_session *session, void *kept);

/* Whether the client leaves no room for DATA of this stream. */
bool http2_is_blocked(const struct http2_stream *stream);

/* Graceful: first a GOAWAY that forbids nothing yet; a round trip later one that does. */
void http2_announce(struct http2_session *session);
void http2_refuse(struct http2_session *session);
/* Ends the connection with that error. */
void http2_fail(struct http2_session *session, enum http2_error error);

/* Where http2_pull() puts bytes: frames in data, payloads by reference. The caller empties it. */
struct http2_out {
	uint8_t *data;
	uint32_t size, used;
	struct iovec *iov;
	uint32_t iov_count, iov_max; /* iov_max: 4 at least */
	uint64_t bytes;
};

/* All that waits and fits. Not inside an event. False: no memory, the session is over. */
bool http2_pull(struct http2_session *session, struct http2_out *out);

#endif
