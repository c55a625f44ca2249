/* SPDX-License-Identifier: Apache-2.0 */
/* Where streams with TLS come from: listeners, connections to servers, and all that they share. */
#include "layer/stream_tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "layer/stream_tls_state.h"

enum { SHAKING_SHARE = 8 }; /* of the connections, that may shake hands at a time */
#define SECOND_NS 1000000000ull
#define HANDSHAKE_NS (10 * SECOND_NS)

static uint64_t now_ns(const struct stream_tls *tls)
{
	return tls->options.worker->now_ns;
}

/* The oldest one has had its second: who does not get on does not keep others out. */
static void make_room(struct stream_tls *tls)
{
	struct tls_stream *oldest = TAILQ_FIRST(&tls->shaking);

	if (oldest == NULL || oldest->running || now_ns(tls) - oldest->began_ns < SECOND_NS)
		return;
	metric_add(&tls->stats.timed_out, 1);
	metric_add(&tls->stats.failed, 1);
	tls_close(oldest, TLS_ABORT);
}

static struct tls_stream *stream_get(struct stream_tls *tls)
{
	struct tls_stream *t;

	if (TAILQ_EMPTY(&tls->free) && tls->stream_made < tls->stream_count) {
		t = &tls->streams[tls->stream_made++];
		TAILQ_INSERT_HEAD(&tls->free, t, link);
	}
	if (TAILQ_EMPTY(&tls->free) || tls->stats.shaking >= tls->shaking_max)
		make_room(tls);
	t = TAILQ_FIRST(&tls->free);
	if (t == NULL || tls->stats.shaking >= tls->shaking_max)
		return NULL;
	TAILQ_REMOVE(&tls->free, t, link);
	*t = (struct tls_stream){
		.stream = { .ops = &tls_stream_ops,
		            .worker = tls->options.worker,
		            .closed = true,
		            .security = &t->security },
		.tls = tls,
		.began_ns = now_ns(tls),
		.phase = TLS_SHAKING,
	};
	return t;
}

/* OpenSSL's part of t. */
static bool session_open(struct tls_stream *t, struct stream_tls_context *context)
{
	BIO *bio;

	t->ssl = SSL_new(context->ctx);
	if (t->ssl == NULL)
		return false;
	bio = BIO_new(t->tls->bio_method);
	if (bio == NULL) {
		SSL_free(t->ssl);
		return false;
	}
	BIO_set_data(bio, t);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	X509_VERIFY_PARAM_set_time(SSL_get0_param(t->ssl),
	                           (time_t)(t->tls->options.worker->wall_ms / 1000));
	return true;
}

static bool lower_accepted(struct listener *lower_listener, struct stream *lower)
{
	struct tls_listener *listener = container_of((struct listener *)lower_listener->owner,
	                                             struct tls_listener, listener);
	struct stream_tls *tls = listener->tls;
	struct tls_stream *t = tls->context != NULL ? stream_get(tls) : NULL;

	if (t != NULL && !session_open(t, tls->context)) {
		TAILQ_INSERT_HEAD(&tls->free, t, link);
		t = NULL;
	}
	if (t == NULL) {
		metric_add(&tls->stats.refused, 1);
		return false;
	}
	SSL_set_accept_state(t->ssl);
	t->listener = listener;
	TAILQ_INSERT_TAIL(&tls->shaking, t, link);
	tls_begin(t, lower);
	return true;
}

const struct listener_handler stream_tls_listener = { .accepted = lower_accepted };

static void listener_close(struct listener *listener)
{
	struct tls_listener *l = container_of(listener, struct tls_listener, listener);
	struct tls_stream *t = TAILQ_FIRST(&l->tls->shaking), *next;

	if (l->lower != NULL)
		l->lower->ops->close(l->lower);
	for (; t != NULL; t = next) {
		next = TAILQ_NEXT(t, link);
		if (t->listener == l)
			tls_close(t, TLS_ABORT);
	}
	free(l);
}

static const struct listener_ops listener_ops = { .name = "tls", .close = listener_close };

enum status stream_tls_listen(struct stream_tls *tls, const struct stream_tls_listen *options,
                              struct listener **out)
{
	struct tls_listener *l = calloc(1, sizeof(*l));
	int size;

	if (l == NULL)
		return STATUS_NO_SPACE;
	size = tls_alpn_parse(options->alpn, l->alpn);
	assert(size >= 0); /* else: the list is wrong, which is a constant */
	l->alpn_size = (uint32_t)size;
	l->tls = tls;
	l->listener = (struct listener){
		.ops = &listener_ops,
		.worker = tls->options.worker,
		.handler = options->handler,
		.owner = options->owner,
	};
	*out = &l->listener;
	return STATUS_OK;
}

void stream_tls_listening(struct listener *listener, struct listener *lower)
{
	struct tls_listener *l = container_of(listener, struct tls_listener, listener);

	assert(l->lower == NULL);
	l->lower = lower;
	memcpy(l->listener.address, lower->address, sizeof(l->listener.address));
}

/* Whom it is to be, and what both may speak. False: memory, or a name that is none. */
static bool set_peer(struct tls_stream *t, const struct stream_tls_connect *options)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	uint8_t alpn[STREAM_TLS_ALPN_MAX];
	int size = tls_alpn_parse(options->alpn, alpn);

	assert(size >= 0);
	if (size > 0 && SSL_set_alpn_protos(t->ssl, alpn, (unsigned)size) != 0)
		return false;
	if (options->name == NULL)
		return true;
	if (X509_VERIFY_PARAM_set1_ip_asc(param, options->name) == 1)
		return true; /* an address: RFC 6066 names no addresses */
	ERR_clear_error();
	SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(t->ssl, options->name) == 1 &&
	       SSL_set_tlsext_host_name(t->ssl, options->name) == 1;
}

enum status stream_tls_connect(struct stream_tls *tls, const struct stream_tls_connect *options,
                               struct stream **out)
{
	struct tls_stream *t = stream_get(tls);
	bool opened = t != NULL && session_open(t, options->context);

	if (opened && !set_peer(t, options)) {
		SSL_free(t->ssl);
		opened = false;
	}
	if (!opened) {
		if (t != NULL)
			TAILQ_INSERT_HEAD(&tls->free, t, link);
		metric_add(&tls->stats.refused, 1);
		stream_close(options->lower);
		return STATUS_BUSY;
	}
	SSL_set_connect_state(t->ssl);
	t->stream.closed = false;
	t->stream.handler = options->handler;
	t->stream.owner = options->owner;
	tls_begin(t, options->lower);
	tls_pump(t);
	*out = &t->stream;
	return STATUS_OK;
}

const char *stream_tls_reason(const struct stream *stream)
{
	const struct tls_stream *t = container_of(stream, const struct tls_stream, stream);

	assert(stream->ops == &tls_stream_ops);
	return t->reason;
}

void stream_tls_use(struct stream_tls *tls, struct stream_tls_context *context)
{
	assert(context != NULL);
	stream_tls_context_close(tls->context);
	tls->context = context;
}

/* Of everything. */

static uint32_t limit_connections(const struct stream_tls_options *options)
{
	uint64_t each = STREAM_TLS_SIZE + STREAM_TLS_HANDSHAKE_SIZE / SHAKING_SHARE +
	                (options->peers_certified ? STREAM_TLS_PEER_SIZE : 0);
	uint64_t count = options->memory_size / each;

	return count < STREAM_TLS_CONNECTIONS_MIN ? STREAM_TLS_CONNECTIONS_MIN : (uint32_t)count;
}

static bool library_open(struct stream_tls *tls)
{
	tls->library = OSSL_LIB_CTX_new();
	if (tls->library == NULL || !tls_random_open(tls))
		return false;
	tls->provider = OSSL_PROVIDER_load(tls->library, "default");
	if (tls->provider == NULL)
		return false;
	tls->ticket_cipher = EVP_CIPHER_fetch(tls->library, "AES-256-CBC", NULL);
	return tls->ticket_cipher != NULL && tls_bio_open(tls) &&
	       digest_open(&tls->digest, DIGEST_SHA256);
}

enum status stream_tls_open(const struct stream_tls_options *options, struct stream_tls **out)
{
	struct stream_tls *tls = calloc(1, sizeof(*tls));

	assert(options->random != NULL && options->bufs != NULL);
	if (tls == NULL)
		return STATUS_NO_SPACE;
	tls->options = *options;
	if (options->handshake_timeout_ns == 0)
		tls->options.handshake_timeout_ns = HANDSHAKE_NS;
	TAILQ_INIT(&tls->free);
	TAILQ_INIT(&tls->shaking);
	STAILQ_INIT(&tls->ready);
	STAILQ_INIT(&tls->starving);
	tls->stream_count = limit_connections(options);
	tls->shaking_max = tls->stream_count / SHAKING_SHARE;
	if (tls->shaking_max < STREAM_TLS_CONNECTIONS_MIN)
		tls->shaking_max = STREAM_TLS_CONNECTIONS_MIN;
	tls->streams = calloc(tls->stream_count, sizeof(*tls->streams));
	tls->scratch = malloc(TLS_SCRATCH_SIZE);
	if (tls->streams == NULL || tls->scratch == NULL || !library_open(tls)) {
		stream_tls_close(tls);
		return STATUS_NO_SPACE;
	}
	tls_tickets_start(tls);
	tls->actor.ops = &tls_actor_ops;
	worker_add_actor(options->worker, &tls->actor);
	*out = tls;
	return STATUS_OK;
}

/* One that was still saying farewell. */
static void stream_break(struct tls_stream *t)
{
	assert(t->phase == TLS_CLOSING); /* else: its owner has not closed it */
	if (t->lower != NULL) {
		timer_cancel(&t->tls->options.worker->timers, &t->timer);
		stream_close(t->lower);
	}
	if (t->out != NULL)
		buf_unref(t->out);
	SSL_free(t->ssl);
	t->ssl = NULL;
}

void stream_tls_close(struct stream_tls *tls)
{
	if (tls == NULL)
		return;
	for (uint32_t i = 0; i < tls->stream_made; i++) {
		if (tls->streams[i].ssl != NULL)
			stream_break(&tls->streams[i]);
	}
	timer_cancel(&tls->options.worker->timers, &tls->starving_timer);
	stream_tls_context_close(tls->context);
	digest_close(&tls->digest);
	EVP_CIPHER_free(tls->ticket_cipher);
	BIO_meth_free(tls->bio_method);
	if (tls->provider != NULL)
		OSSL_PROVIDER_unload(tls->provider);
	if (tls->random != NULL)
		OSSL_PROVIDER_unload(tls->random);
	OSSL_LIB_CTX_free(tls->library);
	explicit_bzero(&tls->ticket_now, sizeof(tls->ticket_now));
	explicit_bzero(&tls->ticket_before, sizeof(tls->ticket_before));
	free(tls->streams);
	free(tls->scratch);
	free(tls);
}

bool stream_tls_is_drained(const struct stream_tls *tls)
{
	return tls->stream_used == 0;
}

const struct stream_tls_stats *stream_tls_stats(const struct stream_tls *tls)
{
	return &tls->stats;
}

enum status stream_tls_metrics(const struct stream_tls *tls, struct metrics *metrics)
{
	const struct stream_tls_stats *stats = &tls->stats;
	const struct {
		const char *name, *help;
		const uint64_t *number;
	} rows[] = {
		{ "weir_tls_handshakes_total", "Handshakes that ended well.", &stats->handshakes },
		{ "weir_tls_resumed_total", "Of those by a ticket.", &stats->resumed },
		{ "weir_tls_failed_total", "Handshakes that failed.", &stats->failed },
		{ "weir_tls_timed_out_total", "Of those too slow.", &stats->timed_out },
		{ "weir_tls_refused_total", "Connections for which there was no room.",
		  &stats->refused },
		{ "weir_tls_truncated_total", "Connections that ended without a close_notify.",
		  &stats->truncated },
		{ "weir_tls_broken_total", "Connections that a wrong record ended.",
		  &stats->broken },
		{ "weir_tls_connections", "Connections with TLS.", &stats->connections },
	};
	enum status status = STATUS_OK;

	for (size_t i = 0; i < array_count(rows) && status == STATUS_OK; i++) {
		const struct metric metric = {
			.kind = rows[i].number == &stats->connections ? METRIC_GAUGE
			                                              : METRIC_COUNTER,
			.name = rows[i].name,
			.help = rows[i].help,
			.labels = "",
			.number = rows[i].number,
		};

		status = metrics_add(metrics, &metric);
	}
	return status;
}

uint32_t stream_tls_connections_max(const struct stream_tls *tls)
{
	return tls->stream_count;
}
