/* SPDX-License-Identifier: Apache-2.0 */
/* A stream: bytes in order, both ways. TCP and unix sockets today; TLS is a layer on one. */
#ifndef PROTO_STREAM_H
#define PROTO_STREAM_H

#include <stdbool.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "core/req.h"

struct stream;
struct listener;

/*
 * Receiving is pushed: the transport owns the buffers (multishot receive with provided buffers),
 * and hands over what has come, in its turn's poll, perhaps in several pieces.
 *
 * Sending is a request: it completes with OK when all bytes are the kernel's, else UNAVAILABLE;
 * result: bytes sent. The vector and its memory are the submitter's until then. One send runs at a
 * time. On a stream that still connects it waits for the peer's answer.
 */
struct stream_handler {
	/* Bytes have come; they are the transport's and die when this returns. */
	void (*received)(struct stream *stream, struct bytes data);
	/*
	 * The peer sends no more (STATUS_OK), or the stream broke (any other status). Called once;
	 * nothing is received after it. The owner still calls stream_close().
	 */
	void (*ended)(struct stream *stream, enum status status);
};

struct stream_cmd {
	uint32_t iov_count; /* 1..STREAM_IOV_MAX */
	const struct iovec *iov;
};
enum { STREAM_IOV_MAX = 64 };

struct stream_ops {
	const char *name;
	void (*send)(struct stream *stream, struct req *req, const struct stream_cmd *cmd);
	void (*pause)(struct stream *stream, bool paused);
	void (*close)(struct stream *stream);
};

/* How the bytes of a stream are protected on their way. Memory: the stream's. */
struct stream_security {
	const char *version; /* "TLSv1.3" */
	const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
	bool resumed;        /* by a ticket: the peer's certificate was seen before */
	char alpn[16]; /* the protocol that both agreed on, "h2"; empty: they did not speak of it */
	char subject[256]; /* of the peer's certificate, as RFC 4514 writes it; empty: it gave none
	                    */
};

/* Memory: the transport's, from accepted() to the end of stream_close(). */
struct stream {
	const struct stream_ops *ops;
	struct worker *worker; /* the only one that may touch it */
	const struct stream_handler *handler;
	void *owner; /* the handler's */
	bool local;  /* a unix socket or loopback peer */
	bool sending, ended, closed;
	char peer[64]; /* "127.0.0.1:53122" or "unix:PATH", for people */
	/*
	 * NULL: they travel in the clear. Accepted with it: all of it is known; connected with it:
	 * when the first bytes have come.
	 */
	const struct stream_security *security;
};

/* The application protocol that was agreed on, such as "h2"; "": none. */
static inline const char *stream_alpn(const struct stream *stream)
{
	return stream->security != NULL ? stream->security->alpn : "";
}

void stream_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd);

/* Paused: nothing is handed over, and soon nothing is read from the peer: TCP holds it back. */
void stream_pause(struct stream *stream, bool paused);

/*
 * Gives the stream back. A send that runs completes (possibly with CANCELED) before its memory may
 * go; no handler runs after this returns.
 */
void stream_close(struct stream *stream);

/*
 * A listener hands over every connection that it accepts on its worker. One per worker and address:
 * the kernel spreads connections (SO_REUSEPORT); a unix socket is accepted on one worker only.
 */
struct listener_handler {
	/* Sets stream->handler and ->owner and returns true, or returns false: it is closed. */
	bool (*accepted)(struct listener *listener, struct stream *stream);
};

struct listener_ops {
	const char *name;
	void (*close)(struct listener *listener); /* accepts no more; streams live on */
};

struct listener {
	const struct listener_ops *ops;
	struct worker *worker;
	const struct listener_handler *handler;
	void *owner;
	char address[128]; /* as bound: "127.0.0.1:6379", "unix:/run/weir.sock" */
};

#endif
