/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the HTTP server share. */
#ifndef SERVER_HTTP_INTERNAL_H
#define SERVER_HTTP_INTERNAL_H

#include <sys/queue.h>

#include "server/http_server.h"
#include "wire/http1.h"
#include "wire/http_date.h"

enum {
	HTTP_REQUEST_MEMORY = 2048, /* bytes of heads and small bodies in an exchange */
	HTTP_ANSWER_MEMORY = 1024,  /* bytes of answers in an exchange, a small body included */
	HTTP_IOV_MAX = 3 * HTTP_PIECES_MAX + 2,
	HTTP_PIECES_AHEAD = 2, /* given and not sent, past which nothing is pulled */
};

/* Memory in pieces from one end: inline first, a buffer when that is too small. */
struct http_memory {
	uint8_t *data;
	uint32_t used, size;
	struct buf *buf; /* NULL: inline */
};

enum http_body_mode {
	HTTP_BODY_HELD, /* the handler has not asked for it */
	HTTP_BODY_WANTED,
	HTTP_BODY_COLLECT,
	HTTP_BODY_DROP, /* the answer has ended, or the body was too large to collect */
};

enum http_answer_phase {
	HTTP_ANSWER_NONE, /* http_answer() was not called */
	HTTP_ANSWER_FIELDS,
	HTTP_ANSWER_STREAMS, /* the head is complete, pieces come */
	HTTP_ANSWER_ENDED,   /* the handler owes nothing any more */
};

enum {
	HTTP_EXCHANGE_BODY_DONE = 1 << 0, /* all of the request has come */
	HTTP_EXCHANGE_BODY_TOLD = 1 << 1, /* body_ended() was called, or never will be */
	HTTP_EXCHANGE_CONTINUE = 1 << 2,  /* the peer waits to be told that it may go on */
	HTTP_EXCHANGE_PULLED = 1 << 3,    /* pull() was called, and nothing given yet */
	HTTP_EXCHANGE_CLOSE = 1 << 4,     /* the connection ends after it */
	HTTP_EXCHANGE_CHUNKED = 1 << 5,   /* the answer is */
	HTTP_EXCHANGE_HEAD_SENT = 1 << 6, /* or in the send that runs */
	HTTP_EXCHANGE_END_SENT = 1 << 7,  /* the last bytes are sent, or in the send that runs */
	HTTP_EXCHANGE_SENDING = 1 << 8,
	HTTP_EXCHANGE_ABORTED = 1 << 9,     /* nothing is sent any more */
	HTTP_EXCHANGE_BROKEN = 1 << 10,     /* http_abort() before the answer was whole */
	HTTP_EXCHANGE_BODILESS = 1 << 11,   /* HEAD, 204, 304: the answer's body is not sent */
	HTTP_EXCHANGE_PULL_LATER = 1 << 12, /* in server->later */
	HTTP_EXCHANGE_ALONE = 1 << 13,      /* no handler: the server's own answer */
	HTTP_EXCHANGE_FULL = 1 << 14,       /* no memory for the answer's fields */
	HTTP_EXCHANGE_READY = 1 << 15,      /* HTTP/2: in connection->http2->ready */
	HTTP_EXCHANGE_BODY_COME = 1 << 16,  /* HTTP/2: all of it, but some is held */
};

struct http_piece {
	struct bytes bytes;
	struct buf *buf; /* or NULL */
};

/*
 * Exchanges beyond the server's pool, for streams of HTTP/2: at the front of a buffer, which goes
 * back when none of them is used.
 */
struct http_slab {
	struct buf *buf;
	uint32_t count, used;
};

/* Memory: the server's pool or a slab; the handler's state lies behind it. */
struct http_exchange {
	TAILQ_ENTRY(http_exchange) link; /* in server->exchanges_free, or the connection's */
	TAILQ_ENTRY(http_exchange) later_link;
	TAILQ_ENTRY(http_exchange) ready_link; /* HTTP/2: what is due of it */
	struct http2_stream *stream;           /* HTTP/2; NULL: it has gone */
	struct http_server *server;
	struct http_connection *connection;
	struct http_request request;
	struct http_memory request_memory;
	struct buf *trailer_buf; /* when they did not fit */
	uint32_t flags;
	uint8_t body_mode;    /* enum http_body_mode */
	uint8_t answer_phase; /* enum http_answer_phase */
	uint16_t status;
	uint16_t holds;
	enum status collect_status;
	struct bytes collected;
	struct buf *collect_buf; /* NULL: in request_memory */
	uint32_t collect_max;
	uint64_t body_received;    /* bytes taken */
	uint64_t body_dropped;     /* of them, by nobody */
	uint64_t wait_since_ns;    /* for bytes of the body; 0: not waiting */
	uint64_t waited_ns;        /* before */
	struct http_memory answer; /* the head, and a small body behind it */
	uint32_t answer_head_size; /* of it, when it is complete */
	uint32_t answer_field_count;
	uint64_t answer_left;      /* bytes of the body to be given */
	struct http_piece pieces[HTTP_PIECES_MAX];
	uint64_t begun_ns;
	uint8_t piece_first, piece_count;
	uint8_t piece_sending; /* of them, in the send that runs */
	size_t piece_used;     /* HTTP/2: bytes of the first not yet sending that are in frames */
	struct buf *held;      /* HTTP/2: bytes of the body that nobody has taken, or NULL */
	uint32_t held_start;   /* of held->used */
	uint64_t moved_ns;     /* HTTP/2: when the answer last left, or was ready to */
	uint32_t chunk_used;   /* of chunk_text */
	uint8_t chunk_text[HTTP_PIECES_MAX * HTTP1_CHUNK_HEADER_MAX];
	struct req req; /* of the send; from here on nothing is zeroed for a new exchange */
	struct http_slab *slab; /* NULL: of the server's pool */
	struct iovec iov[HTTP_IOV_MAX];
	_Alignas(16) uint8_t request_inline[HTTP_REQUEST_MEMORY];
	_Alignas(16) uint8_t answer_inline[HTTP_ANSWER_MEMORY];
};
TAILQ_HEAD(http_exchange_list, http_exchange);

enum {
	HTTP_CONNECTION_READY = 1 << 0,   /* in server->ready */
	HTTP_CONNECTION_STARVED = 1 << 1, /* in server->starved: waits for a free exchange */
	HTTP_CONNECTION_PAUSED = 1 << 2,
	HTTP_CONNECTION_ENDED = 1 << 3,   /* the peer sends no more */
	HTTP_CONNECTION_CLOSING = 1 << 4, /* no request is read any more */
	HTTP_CONNECTION_BROKEN = 1 << 5,  /* nothing can be sent any more */
	HTTP_CONNECTION_LINGER = 1 << 6,  /* drops what comes, so that the answer is not lost */
	HTTP_CONNECTION_IN_HEAD = 1 << 7, /* a part of a head has come */
	HTTP_CONNECTION_SPOKEN = 1 << 8,  /* enough has come to know the version of HTTP */
	HTTP_CONNECTION_HTTP2 = 1 << 9,
};

/* An idle one is small: what a request needs is in its exchange. */
struct http_connection {
	TAILQ_ENTRY(http_connection) link;       /* in server->connections */
	TAILQ_ENTRY(http_connection) ready_link; /* in server->ready or ->starved */
	struct http_server *server;
	struct stream *stream; /* NULL: closed, waits for its exchanges */
	uint32_t flags;
	uint32_t input_start; /* of input->used */
	struct buf *input;    /* bytes received and not yet taken, or NULL */
	size_t held;          /* bytes of input that the parser has given, and nobody has taken */
	uint64_t deadline_ns; /* UINT64_MAX: none */
	uint32_t request_count;
	struct http1_parser parser;
	struct http_exchange *exchange; /* the one of HTTP/1 */
	struct http2_connection *http2; /* NULL: it speaks HTTP/1, or has not spoken yet */
};
TAILQ_HEAD(http_connection_list, http_connection);

struct http_server {
	struct actor actor;
	struct worker *worker;
	struct bufs *bufs;
	const struct http_handler *handler;
	void *owner;
	struct http_limits limits;
	struct http_stats stats;
	uint8_t *exchange_memory;
	size_t exchange_size; /* bytes of one, with its state */
	uint32_t exchanges_max, exchanges_made, exchanges_used;
	struct http_exchange_list exchanges_free;
	struct http_exchange_list later; /* whose pull() comes again */
	struct http_connection *connection_memory;
	uint32_t connections_max, connections_made, connection_count;
	struct http_connection_list connections, connections_free, ready, starved;
	struct timer sweep, later_timer;
	uint64_t date_s; /* of `date` */
	char date[HTTP_DATE_SIZE];
	bool draining;
	struct http2_library *http2;
	struct histogram latencies;                /* from the head to the end of the answer */
	char labels[32];                           /* of its metrics */
	struct http_field fields[HTTP_FIELDS_MAX]; /* for the parser, within one call */
};

/* http_server.c */
void http_exchange_ready(struct http_exchange *exchange); /* something is due of it */
void http_connection_ready(struct http_connection *connection);
void http_connection_starve(struct http_connection *connection);
void http_connection_free(struct http_connection *connection);

/* http_exchange.c. Gives back what was lent. */
void http_pieces_drop(struct http_exchange *exchange);
/* NULL: none is free. For HTTP/2 buffers are used, too, if there are enough. */
struct http_exchange *http_exchange_get(struct http_connection *connection);
bool http_exchanges_are_left(const struct http_server *server); /* in the pool */
uint32_t http_exchanges_max(const struct http_server *server); /* with those of buffers */
/* Past a quarter of the buffers nothing more is read ahead. */
bool http_memory_is_short(const struct http_server *server);
/* Tells the handler, gives everything back. The exchange is over in both directions. */
void http_exchange_end(struct http_exchange *exchange);
/*
 * Copies a head that a parser gave, whose memory dies. False: exchange->status says with which
 * error it is answered.
 */
bool http_exchange_begin(struct http_exchange *exchange, const struct http1_head *head);
/* A piece of the body; returns how much of it was taken. */
size_t http_exchange_body(struct http_exchange *exchange, struct bytes piece);
/* The body is complete. False: no memory for the trailers. */
bool http_exchange_body_end(struct http_exchange *exchange, const struct http_field *trailers,
                            uint32_t count);
/* Calls of the handler that are due. */
unsigned http_exchange_run(struct http_exchange *exchange); /* how many */
/* Whether the next byte of the body has somebody who takes it. */
bool http_exchange_takes_body(const struct http_exchange *exchange);
/* The peer has gone. */
void http_exchange_abort(struct http_exchange *exchange);

/* http_stats.c. Its answer has ended, and a handler gave it. */
void http_stats_answered(const struct http_exchange *exchange);

/* http_answer.c. The server's own answer, to what no handler sees; closes. */
void http_answer_alone(struct http_exchange *exchange, unsigned status, const char *text);
bool http_memory_grow(struct http_exchange *exchange, struct http_memory *memory, size_t size);
void http_memory_release(struct http_memory *memory);

/*
 * The fields of an answer of HTTP/2, which is written as `struct http_field_size` and bytes.
 * Returns how many.
 */
uint32_t http_answer_fields(const struct http_exchange *exchange, struct http_field *fields,
                            uint32_t field_max);

/* http_connection.c */
extern const struct stream_handler http_stream_handler;
unsigned http_connections_run(struct actor *actor);
void http_connections_settle(struct actor *actor);
void http_connection_sweep(struct http_connection *connection);
void http_connection_kill(struct http_connection *connection);
void http_connection_drain(struct http_connection *connection);
/* An answer that closes is not lost to a reset that unread bytes would cause. */
void http_connection_linger(struct http_connection *connection);

/*
 * http2_connection.c: what http_connection.c does, when it is HTTP/2. open(): false: no memory.
 */
bool http2_connection_open(struct http_connection *connection);
void http2_connection_received(struct http_connection *connection, struct bytes data);
unsigned http2_connection_run(struct http_connection *connection);
void http2_connection_settle(struct http_connection *connection);
void http2_connection_drain(struct http_connection *connection);
void http2_connection_sweep(struct http_connection *connection);
/* The stream is closed. True: nothing is under way any more, and connection->http2 is NULL. */
bool http2_connection_try_close(struct http_connection *connection);
void http2_exchange_ready(struct http_exchange *exchange);

#endif
