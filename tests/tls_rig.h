/* SPDX-License-Identifier: Apache-2.0 */
/* A worker with a server's and a client's TLS, joined by pairs of streams, on a clock by hand. */
#ifndef TLS_RIG_H
#define TLS_RIG_H

#include <openssl/ssl.h>

#include "base/prng.h"
#include "layer/stream_tls.h"
#include "stream_pair.h"

enum { RIG_PAIRS = 12, RIG_IOV = 8 };

/* Who is above a stream. */
struct tls_side {
	struct stream *stream;
	struct tls_rig *rig;
	uint8_t *data; /* what came, all of it */
	size_t size, room;
	unsigned ends, sends;
	enum status end_status, send_status;
	uint64_t send_result;
	bool pause_on_data, close_on_data, refuse;
	struct req req;
	struct iovec iov[RIG_IOV];
};

struct tls_rig {
	struct worker worker;
	struct bufs bufs;
	struct stream_tls *server, *client;
	struct listener *listener; /* of TLS; pairs are handed to it as if accepted */
	struct listener lower_listener;
	struct stream_pair *pairs[RIG_PAIRS];
	unsigned pair_count;
	struct tls_side accepted[RIG_PAIRS];
	unsigned accepted_count;
	struct prng prng;
	bool refuse; /* the face takes nobody */
};

struct tls_rig_options {
	uint64_t seed;
	const char *alpn; /* NULL: none */
	enum stream_tls_peers peers;
	uint64_t memory_size; /* of TLS; 0: 4 MiB */
	uint64_t bufs_size;   /* 0: 8 MiB */
	bool tls13_only;
};

/* Who is who, made once: an authority, a server "localhost" by it, a client "alice" by it. */
extern struct stream_tls_pair tls_rig_authority, tls_rig_server, tls_rig_client, tls_rig_stranger;
int tls_rig_make_pairs(void **state); /* a group's set-up */

void tls_rig_open(struct tls_rig *rig, const struct tls_rig_options *options);
void tls_rig_close(struct tls_rig *rig);
void tls_rig_turns(struct tls_rig *rig, unsigned count);
void tls_rig_settle(struct tls_rig *rig);            /* until nothing happens any more */
void tls_rig_pass(struct tls_rig *rig, uint64_t ns); /* time, in steps, with turns */

struct stream_tls_context *tls_rig_context(struct stream_tls *tls,
                                           const struct stream_tls_identity *identity);
/* A new pair whose end 0 a server's listener has; false: it was refused. */
bool tls_rig_accept(struct tls_rig *rig, struct stream_pair **out);
/* A client's stream over end 1 of the pair, that trusts tls_rig_authority. */
void tls_rig_connect(struct tls_rig *rig, struct stream_pair *pair, const char *name,
                     const char *alpn, struct tls_side *side);
/* Both, until the handshake is done; the server's side. */
struct tls_side *tls_rig_join(struct tls_rig *rig, struct tls_side *client);

void tls_side_send_bytes(struct tls_side *side, struct bytes bytes); /* in several pieces */
void tls_side_close(struct tls_side *side); /* if it is open; forgets what came */

/* A client that is OpenSSL itself, so that it can do what the layer would not. */
struct raw_peer {
	struct tls_rig *rig;
	struct stream *stream; /* end 1 of a pair */
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;
	struct req req;
	struct iovec iov;
	uint8_t sending[64 << 10];
	bool busy, ended;
	enum status end_status;
};

void tls_rig_show(SSL_CTX *ctx, const struct stream_tls_pair *pair); /* a client's certificate */
extern int tls_rig_who; /* 1 while such a client is OpenSSL's caller; else 0 */
void raw_open(struct raw_peer *raw, struct tls_rig *rig, struct stream_pair *pair, SSL_CTX *ctx);
int raw_shake(
        struct raw_peer *raw); /* SSL_get_error() of the handshake, with turns until it ends */
void raw_flush(struct raw_peer *raw);
void raw_close(struct raw_peer *raw);

#endif
