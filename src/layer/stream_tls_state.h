/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of layer/stream_tls share. */
#ifndef LAYER_STREAM_TLS_STATE_H
#define LAYER_STREAM_TLS_STATE_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>

#include "base/digest.h"
#include "layer/stream_tls.h"

enum {
	TLS_RECORD_MAX = 16 << 10, /* bytes of plaintext in a record */
	/*
	 * What a record adds at most: header 5, nonce 8, content type 1, tag 16; and an update of
	 * keys that the peer asked for goes before it, with as much and 5 bytes of its own.
	 */
	TLS_RECORD_EXTRA = 128,
	TLS_SCRATCH_SIZE = 64 << 10,
	TLS_TICKET_NAME_SIZE = 16,
};

/* The keys of tickets for an hour. */
struct tls_ticket_key {
	uint8_t secret[STREAM_TLS_SECRET_SIZE]; /* the next hour's comes from it */
	uint8_t name[SHA256_SIZE];              /* of which the ticket has TLS_TICKET_NAME_SIZE */
	uint8_t cipher[SHA256_SIZE], mac[SHA256_SIZE];
	uint64_t hour; /* since ticket_from_ns */
};

enum tls_phase {
	TLS_SHAKING, /* a server's is nobody's yet */
	TLS_OPEN,
	TLS_BROKEN,  /* its owner has been told, or will be, and has yet to close it */
	TLS_CLOSING, /* nobody's any more; what it still says is on its way */
};

/* Memory: tls->streams; what it has beside that is the heap's or tls->options.bufs'. */
struct tls_stream {
	struct stream stream; /* what is above sees this one; closed: nobody does */
	struct stream_security security;
	struct stream_tls *tls;
	struct stream *lower;          /* NULL: closed */
	struct tls_listener *listener; /* of a server's that shakes hands; else NULL */
	SSL *ssl;
	enum tls_phase phase;
	bool paused;        /* by who is above */
	bool lower_paused;  /* by us, because input is held */
	bool lower_sending; /* lower_req runs */
	bool running;       /* OpenSSL or a handler is on the stack: it cannot go now */
	bool queued;        /* in tls->ready */
	bool starved;       /* in tls->starving: no buffer was left */
	bool end_held;      /* end_status is to be told when nothing is held */
	bool unwritable;    /* the stream below takes nothing more */
	enum status end_status;

	/* Ciphertext that has come: what OpenSSL may take now, and what must wait. */
	struct bytes in;
	struct buf *held;
	uint32_t held_start;

	/* Ciphertext to go: [out_start, out_sent) is on its way, [out_sent, out->used) will be. */
	struct buf *out;
	uint32_t out_start, out_sent;
	struct req lower_req;
	struct iovec lower_iov;

	/* What is above sends: iov[0] from iov_skip on is the next to be encrypted. */
	struct req *send;
	const struct iovec *iov;
	uint32_t iov_count;
	size_t iov_skip;
	uint64_t send_size, send_left; /* bytes of it; of it not encrypted yet */
	uint32_t write_size;           /* of a record that must be tried again; 0: none */
	uint32_t small_left;           /* bytes that go in small records */
	uint64_t sent_ns;              /* when something was sent last */

	struct timer timer; /* of the handshake, or of closing */
	uint64_t began_ns;
	TAILQ_ENTRY(tls_stream) link; /* in tls->free or tls->shaking */
	STAILQ_ENTRY(tls_stream) ready_link, starving_link;
	char reason[96];
};
TAILQ_HEAD(tls_stream_list, tls_stream);
STAILQ_HEAD(tls_stream_queue, tls_stream);

/* Memory: the heap's, from stream_tls_listen() to close(). */
struct tls_listener {
	struct listener listener; /* what is above sees */
	struct stream_tls *tls;
	struct listener *lower;            /* NULL: none yet */
	uint8_t alpn[STREAM_TLS_ALPN_MAX]; /* as RFC 7301 writes it */
	uint32_t alpn_size;
};

/* Memory: the heap's. Thread: its worker's. */
struct stream_tls {
	struct stream_tls_options options;
	struct actor actor;
	struct stream_tls_stats stats;
	struct stream_tls_context *context; /* of servers' new connections; NULL: none yet */
	OSSL_LIB_CTX *library;
	OSSL_PROVIDER *random, *provider;
	BIO_METHOD *bio_method;
	EVP_CIPHER *ticket_cipher;
	struct digest digest;
	struct tls_ticket_key ticket_now, ticket_before;
	struct tls_stream *streams;
	uint32_t stream_count; /* there are */
	uint32_t stream_made;  /* of which were used ever */
	uint32_t stream_used;  /* now */
	uint32_t shaking_max;
	struct tls_stream_list free, shaking; /* the latter: servers', in the order of coming */
	struct tls_stream_queue ready;        /* have something to do in the next run() */
	struct tls_stream_queue starving;     /* wait for a buffer */
	struct timer starving_timer;
	uint64_t turn; /* for which steps_left counts */
	unsigned steps_left;
	uint8_t *scratch; /* plaintext on its way up, or of pieces on their way down */
};

/* stream_tls_context.c */
struct stream_tls_context {
	SSL_CTX *ctx;
};
/* The list of protocols in the form of RFC 7301; its size; -1: not such a list, or too long. */
int tls_alpn_parse(const char *text, uint8_t out[static STREAM_TLS_ALPN_MAX]);
void tls_tickets_start(struct stream_tls *tls);
void tls_describe(struct tls_stream *t); /* fills t->security, after the handshake */

/* stream_tls_send.c: encrypts what is sent, and hands it down. */
extern const struct stream_ops tls_stream_ops;
bool tls_bio_open(struct stream_tls *tls);
void tls_send_some(struct tls_stream *t); /* of t->send, as far as there is room; then flushes */
void tls_flush(struct tls_stream *t);     /* what there is goes down, unless something does */
void tls_send_end(struct tls_stream *t, enum status status); /* t->send, if any, has ended */
void tls_starve(struct tls_stream *t); /* no buffer is left for what it says: once more, soon */
void tls_lower_sent(struct req *req);

/* SSL_get_error() looks at this thread's queue of errors, too: before each call it is empty. */
static inline void tls_forget_errors(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
}

/* stream_tls_read.c */
extern const struct actor_ops tls_actor_ops;
void tls_begin(struct tls_stream *t, struct stream *lower); /* the handshake's clock runs */
void tls_match_pause(struct tls_stream *t);                 /* of the stream below */
void tls_pump(struct tls_stream *t);                        /* does what can be done with t->in */
void tls_queue(struct tls_stream *t);                       /* for the next run() */
void tls_fail(struct tls_stream *t, const char *reason, enum status status);
void tls_close_lower(struct tls_stream *t);

enum tls_farewell { TLS_NOTIFY, TLS_FLUSH, TLS_ABORT };
void tls_close(struct tls_stream *t, enum tls_farewell farewell); /* nobody's from now on */

/* stream_tls_random.c: makes options.random the one source of chance in tls->library. */
bool tls_random_open(struct stream_tls *tls);

#endif
