/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanges of HTTP, for those who answer them: the HTTP face, the S3 face. A handler does not know
 * which version of HTTP carries an exchange. Who opens a server needs http_server.h.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/worker.h"
#include "wire/http.h"

struct http_exchange;
struct http_server;

enum {
	HTTP_FIELDS_MAX = 100,           /* of a request's header section, and of its trailers */
	HTTP_PARAMETERS_MAX = 64,        /* of a query */
	HTTP_TARGET_MAX = 16 << 10,      /* bytes of a request line */
	HTTP_HEAD_MAX = 24 << 10,        /* bytes of it and the header section; of trailers */
	HTTP_COLLECT_MAX = 1 << 20,      /* bytes of a body that is collected */
	HTTP_ANSWER_HEAD_MAX = 16 << 10, /* bytes of an answer's fields */
	HTTP_PIECES_MAX = 4,             /* lent to the server at a time */
};

#define HTTP_SIZE_UNKNOWN UINT64_MAX

/* Memory: the exchange's, until ended() has returned. All has been validated (RFC 9110, 9112). */
struct http_request {
	enum http_method method;
	struct bytes method_name;
	struct bytes target;    /* as sent, without scheme and authority: "/a%20b?x=1", or "*" */
	struct bytes raw_path;  /* of the target, before the "?" */
	struct bytes raw_query; /* behind the "?"; no data: there is no "?" */
	struct bytes path;      /* percent-decoded, dots as they are; may hold any byte */
	struct bytes host;      /* as sent, with its port: "weir.local:9000"; empty in HTTP/1.0 */
	const struct http_field *fields; /* names in lower case, in the order sent */
	uint32_t field_count;
	const struct http_field *parameters; /* of the query, decoded, "+" as a space */
	uint32_t parameter_count;
	const struct http_field *trailers; /* when body_ended() is called; names in lower case */
	uint32_t trailer_count;
	uint64_t body_size; /* HTTP_SIZE_UNKNOWN: it is sent in chunks; 0: none */
	bool has_length;    /* a Content-Length was sent */
	bool secure;        /* by TLS */
	bool local;         /* from this machine */
	uint8_t version;    /* 10, 11, 20 */
	const char *peer;   /* "127.0.0.1:53122" or "unix:PATH" */
};

/*
 * Who answers. No function here runs inside a call of one of those below; all run on the server's
 * worker. NULL: nothing to do, or, for body() and pull(), never used.
 *
 * begin() comes first, once. From then on the handler owes an answer: it ends each exchange with
 * one of http_answer_end(), _body(), _finish(), _reject(), or http_abort(); at once, or when its
 * own requests have come back. ended() comes last, once, after the answer has ended, the peer has
 * got it (or never will), and nothing is lent or held any more; then the exchange is used again.
 */
struct http_handler {
	const char *name;
	uint32_t state_size; /* bytes of the handler's own in each exchange: http_state() */

	void (*begin)(struct http_exchange *exchange);

	/*
	 * The next piece of the body, 1 byte or more, after http_body_want(). The bytes die when it
	 * returns. Returns how many it has taken, from the front: fewer than all means later, and
	 * the rest comes after the next http_body_want(); meanwhile the peer is held back.
	 */
	size_t (*body)(struct http_exchange *exchange, struct bytes piece);

	/*
	 * The body is complete and request->trailers are there. With http_body_collect(): `body` is
	 * all of it, as long as the exchange; else it is empty. An exchange without a body gets
	 * this, too, after http_body_want(). TOO_LARGE, BUSY: it was not collected, because it is
	 * larger than was said; because no memory is left. Not called when the body was malformed
	 * or the peer has gone: then aborted() is.
	 */
	void (*body_ended)(struct http_exchange *exchange, enum status status, struct bytes body);

	/*
	 * After http_answer_stream(): there is room for more of the answer's body. Now or later the
	 * handler gives a piece, finishes, or aborts; this is not called again before it has given
	 * one. It runs while fewer than two pieces are on the way, so a piece can be read while the
	 * one before it is sent, and an answer of any size passes through two buffers.
	 */
	void (*pull)(struct http_exchange *exchange);

	/*
	 * Nobody waits for the answer any more: the peer has gone, or broke the protocol, or was
	 * too slow, or the server ends. Neither body(), body_ended() nor pull() comes any more. The
	 * answer is still owed, http_abort() for one: what is answered goes nowhere. Not called
	 * once the answer has ended.
	 */
	void (*aborted)(struct http_exchange *exchange);

	void (*ended)(struct http_exchange *exchange);
};

/* What a handler may read of an exchange. */
const struct http_request *http_request_of(const struct http_exchange *exchange);
struct http_server *http_server_of(const struct http_exchange *exchange);
struct worker *http_worker(const struct http_exchange *exchange);
struct bufs *http_bufs(const struct http_exchange *exchange);
void *http_owner(const struct http_exchange *exchange); /* options.owner of the server */
void *http_state(struct http_exchange *exchange);       /* zeroed before begin(); aligned to 16 */
struct http_exchange *http_exchange_of(void *state);    /* the other way round */
bool http_is_aborted(const struct http_exchange *exchange);

/*
 * As long as it is held, an exchange does not end, though its answer has: for requests of the
 * handler that lie in its state, such as one that gives a handle back. Both may be called anywhere.
 */
void http_hold(struct http_exchange *exchange);
void http_release(struct http_exchange *exchange);

/* The first field of that name, in lower case; false: none. An empty value is a value. */
bool http_field_get(const struct http_exchange *exchange, const char *lower_name,
                    struct bytes *ret_value);
/* The first parameter of the query of that name, decoded; case matters. */
bool http_parameter_get(const struct http_exchange *exchange, const char *name,
                        struct bytes *ret_value);

/*
 * The request's body. Until one of these is called nothing of it is delivered, and a peer that said
 * `Expect: 100-continue` is not told to go on. Neither is called after the answer has ended: what
 * of the body is still to come is then read and dropped, within limits, or the connection closes.
 */
void http_body_want(struct http_exchange *exchange); /* first, and after body() took less */
/* Instead: all of it at once, in body_ended(). size_max: at most HTTP_COLLECT_MAX. */
void http_body_collect(struct http_exchange *exchange, uint32_t size_max);

/*
 * The answer: http_answer(), then fields, then one of the ways to send it. Content-Length,
 * Transfer-Encoding, Connection, Date and Server are the server's to say. Names are written as in
 * "Content-Type"; values have been checked by the caller, or are checked by http_answer_field().
 * An answer to HEAD is written as if to GET: the server drops its body, and never pulls.
 *
 * http_answer() again, before it was sent, drops what was said and starts anew.
 */
void http_answer(struct http_exchange *exchange, unsigned status); /* 200..599 */
/* The value is copied. Bytes that no field may have become "?". */
void http_answer_field(struct http_exchange *exchange, const char *name, struct bytes value);
void http_answer_text(struct http_exchange *exchange, const char *name, const char *value);
void http_answer_u64(struct http_exchange *exchange, const char *name, uint64_t value);
void http_answer_date(struct http_exchange *exchange, const char *name, uint64_t unix_s);
/* The connection is closed after this answer (HTTP/2: GOAWAY is sent). */
void http_answer_close(struct http_exchange *exchange);

/* The ways to send it. */
void http_answer_end(struct http_exchange *exchange);                     /* no body */
void http_answer_body(struct http_exchange *exchange, struct bytes body); /* copied; all of it */
/* status, Content-Type text/plain, `text` and a newline. For what needs no more. */
void http_answer_reject(struct http_exchange *exchange, unsigned status, const char *text);
/*
 * A body of `size` bytes, or HTTP_SIZE_UNKNOWN, comes in pieces: pull() is called. False: it is
 * not, because the answer has ended: the size is 0, the method is HEAD, or there was no memory for
 * the fields, and it became a 503.
 */
bool http_answer_stream(struct http_exchange *exchange, uint64_t size);

/*
 * A piece of the body, 1 byte or more, not copied: after a pull().
 * `buf`: holds the bytes; its reference becomes the server's. NULL: the memory stays as it is until
 * ended(), or until http_lent() says 0. The bytes of all pieces are at most the size that was said;
 * with the last of them a body of known size is finished.
 */
void http_answer_give(struct http_exchange *exchange, struct bytes bytes, struct buf *buf);
void http_answer_finish(struct http_exchange *exchange);  /* a body of unknown size is complete */
unsigned http_lent(const struct http_exchange *exchange); /* pieces given and not yet sent */

/* pull() comes again a little later: no buffer, no request is free now. */
void http_pull_later(struct http_exchange *exchange);

/*
 * Ends the exchange without a whole answer: what was sent of it cannot be taken for a whole one
 * (HTTP/1.1: the connection closes; HTTP/2: the stream is reset).
 */
void http_abort(struct http_exchange *exchange);

/* Whether something of the answer has been sent, so that no other answer can be given. */
bool http_answer_is_sent(const struct http_exchange *exchange);

#endif
