/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the NBD face share.
 *
 *   nbd_server.c      pools, connections come and go, deadlines
 *   nbd_connection.c  bytes in, replies out
 *   nbd_option.c      the handshake
 *   nbd_request.c     requests are checked and cut into calls
 *   nbd_call.c        a call on the device, and its reply
 *
 * A request is a call, or several: one for each NBD_PIECE_SIZE bytes of data. The first of them is
 * the head; it does what is no data, and holds what the reply says.
 */
#ifndef SERVER_NBD_INTERNAL_H
#define SERVER_NBD_INTERNAL_H

#include "core/timer.h"
#include "core/worker.h"
#include "server/nbd_server.h"

enum {
	NBD_PIECE_SIZE = 256 << 10, /* bytes of data in a buffer */
	NBD_STASH_SIZE = 16 << 10,  /* what one receive hands over at most: transport/io_ops.h */
	NBD_OPTION_DATA_MAX = 16 << 10,
	NBD_OPTION_SKIP_MAX = 1 << 20, /* bytes of one that is refused; more: no peer of ours */
	NBD_OPTIONS_MAX = 128,         /* of a connection */
	NBD_CALLS_MAX = 256,           /* of a connection */
	NBD_EXTENTS_MAX = 128,         /* of a reply */
	NBD_REPLY_SIZE = NBD_CHUNK_SIZE + NBD_CHUNK_ERROR_SIZE,
	NBD_ALLOCATION_ID = 1, /* what we call base:allocation */
	NBD_ZERO_SIZE = 64 << 10,
};

enum nbd_phase {
	NBD_PHASE_FLAGS,
	NBD_PHASE_OPTION,
	NBD_PHASE_OPTION_DATA,
	NBD_PHASE_OPTION_SKIP, /* of an option that was refused */
	NBD_PHASE_REQUEST,
	NBD_PHASE_PIECES,  /* connection->request is cut into calls */
	NBD_PHASE_PAYLOAD, /* connection->receiving gets its data */
	NBD_PHASE_SKIP,    /* of a request that was refused */
};

enum {
	NBD_CONNECTION_READY = 1 << 0,
	NBD_CONNECTION_PAUSED = 1 << 1,
	NBD_CONNECTION_STARVED = 1 << 2, /* hungry, and in that list */
	NBD_CONNECTION_CLOSING = 1 << 3, /* no input any more; closed when all is answered */
	NBD_CONNECTION_BROKEN = 1 << 4,  /* closed when what runs has ended */
	NBD_CONNECTION_DRAINING = 1 << 5,
	NBD_CONNECTION_SENDING = 1 << 6,
	NBD_CONNECTION_FIXED = 1 << 7,
	NBD_CONNECTION_NO_ZEROES = 1 << 8,
	NBD_CONNECTION_STRUCTURED = 1 << 9,
	NBD_CONNECTION_ALLOCATION = 1 << 10, /* the client may ask for BLOCK_STATUS */
	NBD_CONNECTION_GREETED = 1 << 11,
	NBD_CONNECTION_HUNGRY = 1 << 12, /* its input waits for memory, or for an earlier reply */
};

struct nbd_connection;
struct nbd_call;
STAILQ_HEAD(nbd_call_list, nbd_call);

/* Memory: the server's. While it runs the device has it; then it is in a list of replies. */
struct nbd_call {
	STAILQ_ENTRY(nbd_call) link;
	struct nbd_connection *connection;
	struct nbd_call *head; /* of its request; may be itself */
	uint64_t offset;       /* of its piece */
	uint32_t size;
	uint32_t received; /* of a WRITE's data */
	struct buf *buf;
	struct iovec iov[2]; /* of the device, then of the reply */
	uint8_t iov_count;   /* of the reply */
	uint8_t reply[NBD_REPLY_SIZE];
	/* Of a head. */
	struct nbd_request request;
	uint32_t pieces_open;  /* that have no reply yet */
	uint32_t pieces_alive; /* calls, its own too; and one while it is cut */
	uint32_t progress;     /* bytes of what is no data: TRIM, WRITE_ZEROES, CACHE */
	bool flushes;          /* before the reply */
	bool ordered;          /* a simple reply in pieces: nothing may come between */
	enum status status;    /* the first that was not OK */
	struct req req;
};

/* Memory: the server's, from the accepted stream to its end. */
struct nbd_connection {
	TAILQ_ENTRY(nbd_connection) link, ready_link;
	struct nbd_server *server;
	struct stream *stream; /* NULL: closed */
	struct export *export; /* NULL: not chosen yet */
	uint32_t flags;
	uint8_t phase; /* enum nbd_phase */
	uint32_t option_count;
	struct nbd_gatherer gatherer;
	struct nbd_option option;
	struct buf *data;    /* of an option */
	struct buf *output;  /* replies to options; NULL: nothing to send */
	uint32_t skip_size;  /* bytes to drop */
	uint32_t pieces_end; /* PIECES: how far its request was cut, in bytes */
	struct nbd_request request;
	bool has_request;           /* it waits for a call */
	uint32_t pieces_running;    /* of an ordered one */
	struct nbd_call *head;      /* PIECES, PAYLOAD: of that request */
	struct nbd_call *receiving; /* PAYLOAD */
	struct nbd_call *ordered;   /* only its pieces may be sent */
	struct nbd_call_list replies, held, sending;
	uint32_t calls;       /* in use */
	uint64_t deadline_ns; /* for the next sign of life; UINT64_MAX: none is due */
	struct iovec iov[STREAM_IOV_MAX];
	struct req req; /* of the send */
	uint8_t greeting[NBD_GREETING_SIZE];
	struct buf *stash; /* NBD_STASH_SIZE, so that what has come can always be kept */
	uint32_t stash_start, stash_end;
};
TAILQ_HEAD(nbd_connection_list, nbd_connection);

struct nbd_server {
	struct actor actor;
	struct worker *worker;
	struct bufs *bufs;
	struct export_set *exports;
	struct nbd_server_options options;
	struct nbd_connection *connection_memory;
	struct nbd_call *call_memory;
	uint32_t connections_max, connections_made, connection_count;
	uint32_t calls_max, calls_made, calls_used;
	uint64_t bufs_used, bufs_max; /* bytes */
	uint8_t *zeroes;              /* NBD_ZERO_SIZE of them */
	struct nbd_connection_list connections, connections_free, ready, starved;
	struct nbd_call_list calls_free;
	struct timer sweep;
	bool draining;
	bool freed; /* memory was given back since the starved ones have tried */
	struct nbd_stats stats;
};

/* nbd_server.c */
struct buf *nbd_buf_get(struct nbd_server *server, size_t size); /* NULL: not now */
void nbd_buf_free(struct nbd_server *server, struct buf *buf);
struct nbd_call *nbd_call_get(struct nbd_connection *connection); /* NULL: not now */
void nbd_call_free(struct nbd_call *call);                        /* a head: with its last piece */
void nbd_head_release(struct nbd_call *head);                     /* after it was cut */
void nbd_connection_free(struct nbd_connection *connection);
void nbd_connection_ready(struct nbd_connection *connection);

/* nbd_connection.c */
extern const struct stream_handler nbd_stream_handler;
unsigned nbd_connections_run(struct actor *actor);
void nbd_connections_settle(struct actor *actor);
void nbd_connection_kill(struct nbd_connection *connection);
void nbd_connection_malformed(struct nbd_connection *connection);
void nbd_connection_sweep(struct nbd_connection *connection);
void nbd_connection_reply(struct nbd_call *call); /* call->iov[0..iov_count) is to be sent */

/*
 * Each takes what it can from the front of *input. False: it waits, for more input or, if HUNGRY
 * is set, for what others hold.
 */
/* nbd_option.c */
bool nbd_take_flags(struct nbd_connection *connection, struct bytes *input);
bool nbd_take_option(struct nbd_connection *connection, struct bytes *input);
bool nbd_take_option_data(struct nbd_connection *connection, struct bytes *input);
/* nbd_request.c */
bool nbd_take_request(struct nbd_connection *connection, struct bytes *input);
bool nbd_take_pieces(struct nbd_connection *connection);
bool nbd_take_payload(struct nbd_connection *connection, struct bytes *input);

/*
 * What has come of it is all that will: `receiving` (may be NULL) and what was not cut from
 * `pieces_end` on will not run. Called at most once, instead of the last piece.
 */
void nbd_request_give_up(struct nbd_call *head, struct nbd_call *receiving, uint32_t pieces_end);

/* nbd_call.c */
void nbd_call_start(struct nbd_call *call); /* READ, WRITE: a piece */
void nbd_call_steps(struct nbd_call *head); /* what is no data */
void nbd_call_fail(struct nbd_call *head, enum nbd_error error);
void nbd_call_give_up(struct nbd_call *head, uint32_t pieces, bool is_begun);
enum nbd_error nbd_error_of(enum status status);

#endif
