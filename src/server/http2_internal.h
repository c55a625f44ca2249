/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of HTTP/2 connections share. */
#ifndef SERVER_HTTP2_INTERNAL_H
#define SERVER_HTTP2_INTERNAL_H

#include "server/http_internal.h"
#include "wire/http2.h"

enum {
	HTTP2_OUT_SIZE = 16 << 10, /* bytes of frames in a send; payloads are lent */
	HTTP2_LENT_MAX = STREAM_IOV_MAX / 2,
	HTTP2_PARKED_MAX = 64 << 10, /* bytes of parked requests: a quarter of a session's memory */
};

/* A request without a body that waits for a free exchange. In the session's memory. */
struct http2_parked {
	TAILQ_ENTRY(http2_parked) link;
	struct http2_stream *stream; /* bound to this */
	struct http2_head head;
	uint32_t size;
};
TAILQ_HEAD(http2_parked_list, http2_parked);

/* Memory: a buffer, from the client's preface to the end of the connection. */
struct http2_connection {
	struct http_connection *connection;
	struct buf *buf; /* this lies in it */
	struct http2_session *session;
	struct http_exchange_list exchanges; /* by link */
	struct http_exchange_list ready;     /* by ready_link: something is due */
	uint32_t exchange_count;
	struct http2_parked_list parked;
	uint32_t parked_count, parked_size; /* of requests; of bytes */
	uint32_t lent_count;                /* exchanges with pieces in the send that runs */
	struct http_exchange *lent[HTTP2_LENT_MAX];
	bool sending;
	bool drains;         /* the first GOAWAY waits or has been sent */
	bool refuses;        /* and so has the second */
	uint64_t sent_ns;    /* when the send that runs began */
	uint64_t idle_ns;    /* since when there is no request */
	uint64_t drained_ns; /* when it began to drain */
	struct req req;
	struct iovec iov[STREAM_IOV_MAX];
	_Alignas(16) uint8_t out[HTTP2_OUT_SIZE];
};

/* http2_parked.c. False: there is no memory, or it waits for a body. */
bool http2_park(struct http2_connection *http2, struct http2_stream *stream,
                const struct http2_head *head);
/* The oldest of them; the caller frees it. NULL: none. */
struct http2_parked *http2_parked_next(struct http2_connection *http2);
void http2_parked_free(struct http2_connection *http2, struct http2_parked *parked);
/* Whether what a stream was bound to is a parked request; then it is freed. */
bool http2_parked_gone(struct http2_connection *http2, const void *bound);
void http2_parked_drop(struct http2_connection *http2); /* all, as their connection ends */

#endif
