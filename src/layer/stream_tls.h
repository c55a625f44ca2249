/* SPDX-License-Identifier: Apache-2.0 */
/* TLS 1.2 and 1.3: a layer of streams on streams, in both roles. RFC 8446, 5246, 7301. */
#ifndef LAYER_STREAM_TLS_H
#define LAYER_STREAM_TLS_H

#include "core/buf.h"
#include "core/metrics.h"
#include "core/worker.h"
#include "proto/stream.h"

/*
 * A server's stream comes to its face when its handshake is done; until then it is this layer's, so
 * that nothing above knows of handshakes, and what is agreed on is known from the start. A stream
 * ends with STATUS_OK only after the peer's close_notify: an end without it may be an attacker's,
 * and is UNAVAILABLE. Closing sends close_notify, unless a send was cut off by it.
 *
 * OpenSSL takes memory from the heap when a connection comes, about STREAM_TLS_SIZE of it, and
 * more while it shakes hands: `memory_size` bounds how many there are. It has a library context of
 * its own per worker, so that workers share no lock and chance comes from `random` alone. It reads
 * the clock for one thing, the age of a ticket, in seconds.
 */
struct stream_tls;
struct stream_tls_context;

enum {
	STREAM_TLS_ERROR_SIZE = 256, /* bytes of a message for people, terminator included */
	STREAM_TLS_SECRET_SIZE = 32,
	STREAM_TLS_ALPN_MAX = 64, /* bytes of a list of protocols, terminator included */

	/* What a connection has; tests/stream_tls_memory_test.c measures that it is so. */
	STREAM_TLS_IDLE_SIZE = 16 << 10, /* of it, while no part of a record has come */
	STREAM_TLS_SIZE = 34 << 10,
	STREAM_TLS_PEER_SIZE = 8 << 10,       /* besides, when peers show certificates */
	STREAM_TLS_HANDSHAKE_SIZE = 64 << 10, /* besides, while it shakes hands */
	STREAM_TLS_CONNECTIONS_MIN = 8,
};

/* Bytes that nobody can guess; runs in the worker's turns, and when a context is opened. */
typedef void stream_tls_random_fn(void *owner, uint8_t *out, size_t size);

struct stream_tls_options {
	struct worker *worker;
	struct bufs *bufs;    /* ciphertext on its way out; records that are not whole yet */
	uint64_t memory_size; /* bytes that connections may take */
	bool peers_certified; /* peers show certificates */
	uint64_t handshake_timeout_ns; /* 0: 10 s */
	stream_tls_random_fn *random;
	void *random_owner;
	/*
	 * The first key of tickets, the same on all workers, so that each can resume what another
	 * began. They go on from it hour by hour, and forget the way back.
	 */
	uint8_t ticket_secret[STREAM_TLS_SECRET_SIZE];
	uint64_t ticket_from_ns; /* on the worker's clock; when the first hour began */
};

/* Counters only grow. */
struct stream_tls_stats {
	uint64_t handshakes, resumed;  /* that ended well; of those by ticket */
	uint64_t failed, timed_out;    /* handshakes */
	uint64_t refused;              /* connections closed at once: there were too many */
	uint64_t truncated;            /* ended without close_notify */
	uint64_t broken;               /* ended by a record that is not right */
	uint64_t sent_size, read_size; /* bytes of plaintext */
	uint64_t connections;          /* now */
	uint64_t shaking;              /* of those: not done with their handshake */
};

/*
 * Memory: its own and the heap's, see above; all but the connections' is taken here. Thread: opened
 * by any one, before or in a turn of the worker, whose all calls are from then on but for those
 * that say otherwise. NO_SPACE: memory.
 */
enum status stream_tls_open(const struct stream_tls_options *options, struct stream_tls **out)
        __attribute__((warn_unused_result));
/* Breaks what has not ended; after the worker's thread, too. No stream is the owner's any more. */
void stream_tls_close(struct stream_tls *tls);

bool stream_tls_is_drained(const struct stream_tls *tls); /* no connection, or only silent ones */
const struct stream_tls_stats *stream_tls_stats(const struct stream_tls *tls);
uint32_t stream_tls_connections_max(const struct stream_tls *tls);
enum status stream_tls_metrics(const struct stream_tls *tls, struct metrics *metrics)
        __attribute__((warn_unused_result)); /* main thread */

enum stream_tls_peers { STREAM_TLS_ANYONE, STREAM_TLS_OPTIONAL, STREAM_TLS_REQUIRED };

/* Zeroed: a client without a name that trusts whom the system trusts. */
struct stream_tls_identity {
	bool server;
	struct bytes certificate; /* PEM: our own, then those that vouch for it */
	struct bytes key;         /* PEM, not encrypted */
	struct bytes trusted;     /* PEM: who may vouch for peers; empty: whom the system trusts */
	enum stream_tls_peers peers; /* a server's: whether clients must show a certificate */
	bool trust_anyone;           /* a client's: for tests */
	bool tls13_only;
};

/*
 * Who we are and whom we trust. Reads no file but, for a client without `trusted`, the system's.
 * Any thread, for any worker's tls; takes milliseconds. INVALID: `error` says why, for people.
 */
enum status stream_tls_context_open(struct stream_tls *tls,
                                    const struct stream_tls_identity *identity,
                                    struct stream_tls_context **out,
                                    char error[static STREAM_TLS_ERROR_SIZE])
        __attribute__((warn_unused_result));
void stream_tls_context_close(struct stream_tls_context *context); /* connections live on */
/* When our certificate ends, in seconds since 1970; INT64_MAX: there is none. */
int64_t stream_tls_context_expiry_s(const struct stream_tls_context *context);

/* Servers' new connections have it from now on; takes it, and closes what was used before. */
void stream_tls_use(struct stream_tls *tls, struct stream_tls_context *context);

struct stream_tls_listen {
	const char *alpn; /* what is offered, the best first: "h2,http/1.1"; "": anything goes */
	const struct listener_handler *handler;
	void *owner; /* listener->owner of what handler->accepted() gets */
};

/*
 * A listener for streams with TLS. `*out` is to be the owner of a listener below, whose handler is
 * stream_tls_listener; stream_tls_listening() says which that is. (*out)->ops->close() closes both,
 * and drops the handshakes that run. Control path.
 */
enum status stream_tls_listen(struct stream_tls *tls, const struct stream_tls_listen *options,
                              struct listener **out) __attribute__((warn_unused_result));
void stream_tls_listening(struct listener *listener, struct listener *lower);
extern const struct listener_handler stream_tls_listener;

struct stream_tls_connect {
	struct stream *lower; /* connected, or connecting; taken in any case */
	struct stream_tls_context *context;
	const char *name; /* of the server: a host or an address; NULL: not checked, tests only */
	const char *alpn; /* as above */
	const struct stream_handler *handler;
	void *owner;
};

/*
 * Returns a stream at once; a send waits until the handshake is done, and handler->ended() says
 * that it never will be, stream_tls_reason() why. BUSY: there are too many.
 */
enum status stream_tls_connect(struct stream_tls *tls, const struct stream_tls_connect *options,
                               struct stream **out) __attribute__((warn_unused_result));

/* Why it broke, for people; "": it did not. Until it is closed. */
const char *stream_tls_reason(const struct stream *stream);

/*
 * A self-signed certificate for development, with a new key of P-256. Control path; the key comes
 * from OpenSSL's own chance. INVALID: a name.
 */
enum { STREAM_TLS_PEM_MAX = 8192, STREAM_TLS_NAMES_MAX = 32 };

struct stream_tls_pair {
	char certificate[STREAM_TLS_PEM_MAX]; /* terminated */
	char key[STREAM_TLS_PEM_MAX];
	char fingerprint[96]; /* SHA-256, as openssl x509 -fingerprint shows it */
};

struct stream_tls_make {
	const char *const *names; /* hosts and addresses it is for; the first is the subject's */
	unsigned name_count;      /* 1..STREAM_TLS_NAMES_MAX */
	int64_t from_s, to_s;     /* since 1970 */
	const struct stream_tls_pair *issuer; /* who vouches; NULL: it does itself */
	bool client;                          /* for clients, not servers */
};
enum status stream_tls_make(const struct stream_tls_make *make, struct stream_tls_pair *out)
        __attribute__((warn_unused_result));

#endif
