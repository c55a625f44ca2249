/* SPDX-License-Identifier: Apache-2.0 */
/* A server of HTTP on one worker: listeners give it connections, a handler answers. */
#ifndef SERVER_HTTP_SERVER_H
#define SERVER_HTTP_SERVER_H

#include "core/metrics.h"
#include "proto/stream.h"
#include "server/http.h"

/* What is offered by TLS, the best first: RFC 7301. */
#define HTTP_ALPN "h2,http/1.1"

/* Zeros: the defaults, as the settings http.* have them. */
struct http_limits {
	uint64_t head_timeout_ns; /* from a request's first byte to the end of its head */
	uint64_t body_timeout_ns; /* without a byte of a body that is wanted */
	uint64_t idle_timeout_ns; /* of a connection between two requests */
	uint64_t send_timeout_ns; /* without a peer taking anything */
	uint32_t body_rate_min;   /* bytes/s of a body that is wanted, after a grace of 10 s */
	uint32_t drop_max;        /* bytes of a refused body that are read and dropped */
	uint32_t requests_max;    /* of a connection; then it is closed */
};

struct http_stats {
	uint64_t connections_accepted, connections_refused, connections_open;
	uint64_t requests[HTTP_METHODS]; /* by enum http_method */
	uint64_t responses[6];           /* by the status' first digit */
	uint64_t bytes_in, bytes_out;
	uint64_t malformed, timeouts, aborted;
};

struct http_server_options {
	struct worker *worker;
	struct bufs *bufs;
	const struct http_handler *handler;
	void *owner;          /* the handler's: http_owner() */
	uint64_t memory_size; /* bytes for connections and exchanges */
	uint32_t connections_max;
	struct http_limits limits;
};

/* What a listener's handler does with a stream: false: it is to be closed. */
bool http_server_accept(struct http_server *server, struct stream *stream);
/* listener->owner: the server. */
extern const struct listener_handler http_listener_handler;

/* NO_SPACE: not enough memory. Thread: the worker's, or any before its first turn. */
enum status http_server_open(const struct http_server_options *options, struct http_server **out)
        __attribute__((warn_unused_result));
void http_server_close(struct http_server *server); /* after it has drained */

void http_server_drain(struct http_server *server); /* ends connections as their answers end */
void http_server_kill(struct http_server *server);  /* drops them; handlers are told */
bool http_server_is_drained(const struct http_server *server);

const struct http_stats *http_server_stats(const struct http_server *server);

/* Registers its numbers; before anybody reads. BUSY: METRICS_MAX. */
enum status http_server_metrics(const struct http_server *server, struct metrics *metrics)
        __attribute__((warn_unused_result));

#endif
