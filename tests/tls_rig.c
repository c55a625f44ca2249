/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>

#include <cmocka.h>

#include "base/macros.h"

#define FROM_S 1767225600ll /* 2026-01-01 */
#define TO_S 1798761600ll   /* 2027-01-01 */
#define NOW_MS 1780000000000ull

struct stream_tls_pair tls_rig_authority, tls_rig_server, tls_rig_client, tls_rig_stranger;

static uint64_t now_ns, wall_ms;

static uint64_t clock_now(struct clock *clock)
{
	(void)clock;
	return now_ns;
}

static uint64_t clock_wall(struct clock *clock)
{
	(void)clock;
	return wall_ms;
}

static struct clock by_hand = { .now_ns = clock_now, .wall_ms = clock_wall };

static void make(struct stream_tls_pair *out, const char *const *names, unsigned count,
                 const struct stream_tls_pair *issuer, bool client)
{
	const struct stream_tls_make how = { names, count, FROM_S, TO_S, issuer, client };

	assert_int_equal(stream_tls_make(&how, out), STATUS_OK);
}

int tls_rig_make_pairs(void **state)
{
	static const char *const authority[] = { "authority" }, *const alice[] = { "alice" };
	static const char *const server[] = { "localhost", "*.weir.test", "127.0.0.1", "::1" };

	(void)state;
	make(&tls_rig_authority, authority, 1, NULL, false);
	make(&tls_rig_server, server, array_count(server), &tls_rig_authority, false);
	make(&tls_rig_client, alice, 1, &tls_rig_authority, true);
	make(&tls_rig_stranger, server, array_count(server), NULL, false);
	return 0;
}

static void draw(void *owner, uint8_t *out, size_t size)
{
	prng_fill(&((struct tls_rig *)owner)->prng, out, size);
}

static void side_received(struct stream *stream, struct bytes data)
{
	struct tls_side *side = stream->owner;

	assert_int_equal(side->ends, 0);
	assert_true(data.size > 0);
	if (side->size + data.size > side->room) {
		side->room = (side->size + data.size) * 2;
		side->data = realloc(side->data, side->room);
		assert_non_null(side->data);
	}
	memcpy(side->data + side->size, data.data, data.size);
	side->size += data.size;
	if (side->pause_on_data)
		stream_pause(stream, true);
	if (side->close_on_data) {
		side->stream = NULL;
		stream_close(stream);
	}
}

static void side_ended(struct stream *stream, enum status status)
{
	struct tls_side *side = stream->owner;

	side->ends++;
	side->end_status = status;
}

static const struct stream_handler side_handler = {
	.received = side_received,
	.ended = side_ended,
};

static bool face_accepted(struct listener *listener, struct stream *stream)
{
	struct tls_rig *rig = listener->owner;
	struct tls_side *side;

	assert_false(stream->closed);
	assert_non_null(stream->security);
	if (rig->refuse)
		return false;
	assert_true(rig->accepted_count < RIG_PAIRS);
	side = &rig->accepted[rig->accepted_count++];
	*side = (struct tls_side){ .stream = stream, .rig = rig };
	stream->handler = &side_handler;
	stream->owner = side;
	return true;
}

static const struct listener_handler face_handler = { .accepted = face_accepted };

static void lower_close(struct listener *listener)
{
	(void)listener;
}

static const struct listener_ops lower_ops = { .name = "rig", .close = lower_close };

struct stream_tls_context *tls_rig_context(struct stream_tls *tls,
                                           const struct stream_tls_identity *identity)
{
	struct stream_tls_context *context;
	char error[STREAM_TLS_ERROR_SIZE];

	if (stream_tls_context_open(tls, identity, &context, error) != STATUS_OK)
		fail_msg("%s", error);
	return context;
}

static struct bytes text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

void tls_rig_open(struct tls_rig *rig, const struct tls_rig_options *options)
{
	struct stream_tls_options o = {
		.worker = &rig->worker,
		.bufs = &rig->bufs,
		.memory_size = options->memory_size != 0 ? options->memory_size : 4 << 20,
		.peers_certified = options->peers != STREAM_TLS_ANYONE,
		.random = draw,
		.random_owner = rig,
		.ticket_secret = { 1, 2, 3 },
	};
	const struct stream_tls_identity identity = {
		.server = true,
		.certificate = text_of(tls_rig_server.certificate),
		.key = text_of(tls_rig_server.key),
		.trusted = text_of(tls_rig_authority.certificate),
		.peers = options->peers,
		.tls13_only = options->tls13_only,
	};
	const struct stream_tls_listen listen = { options->alpn != NULL ? options->alpn : "",
		                                  &face_handler, rig };

	memset(rig, 0, sizeof(*rig));
	now_ns = 5000000000;
	wall_ms = NOW_MS;
	prng_init(&rig->prng, options->seed);
	worker_init(&rig->worker, 0, ROLE_NETWORK, &by_hand);
	o.ticket_from_ns = rig->worker.now_ns;
	assert_int_equal(
	        bufs_open(&rig->bufs, options->bufs_size != 0 ? options->bufs_size : 8 << 20, 0),
	        STATUS_OK);
	assert_int_equal(stream_tls_open(&o, &rig->server), STATUS_OK);
	o.memory_size = 4 << 20;
	assert_int_equal(stream_tls_open(&o, &rig->client), STATUS_OK);
	stream_tls_use(rig->server, tls_rig_context(rig->server, &identity));
	assert_int_equal(stream_tls_listen(rig->server, &listen, &rig->listener), STATUS_OK);
	rig->lower_listener = (struct listener){ .ops = &lower_ops,
		                                 .worker = &rig->worker,
		                                 .handler = &stream_tls_listener,
		                                 .owner = rig->listener };
	stream_tls_listening(rig->listener, &rig->lower_listener);
}

void tls_rig_turns(struct tls_rig *rig, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		worker_turn(&rig->worker);
}

void tls_rig_settle(struct tls_rig *rig)
{
	for (unsigned i = 0; worker_turn(&rig->worker) > 0 || worker_has_work(&rig->worker); i++)
		assert_true(i < 10000000);
}

void tls_rig_pass(struct tls_rig *rig, uint64_t ns)
{
	for (unsigned i = 0; i < 20; i++) {
		now_ns += ns / 20;
		wall_ms += ns / 20 / 1000000;
		tls_rig_settle(rig);
	}
}

void tls_rig_close(struct tls_rig *rig)
{
	for (unsigned i = 0; i < rig->accepted_count; i++)
		tls_side_close(&rig->accepted[i]);
	if (rig->listener != NULL)
		rig->listener->ops->close(rig->listener);
	tls_rig_pass(rig, 6000000000); /* for farewells that nobody takes */
	assert_true(stream_tls_is_drained(rig->server));
	assert_true(stream_tls_is_drained(rig->client));
	stream_tls_close(rig->server);
	stream_tls_close(rig->client);
	for (unsigned i = 0; i < rig->pair_count; i++)
		free(rig->pairs[i]);
	assert_int_equal(rig->bufs.used_size, 0);
	bufs_close(&rig->bufs);
}

bool tls_rig_accept(struct tls_rig *rig, struct stream_pair **out)
{
	struct stream_pair *pair = malloc(sizeof(*pair));
	struct stream *stream;

	assert_non_null(pair);
	assert_true(rig->pair_count < RIG_PAIRS);
	rig->pairs[rig->pair_count++] = pair;
	stream_pair_init(pair, &rig->worker);
	stream = stream_pair_open(pair, 0);
	*out = pair;
	if (stream_tls_listener.accepted(&rig->lower_listener, stream))
		return true;
	stream_close(stream);
	return false;
}

void tls_rig_connect(struct tls_rig *rig, struct stream_pair *pair, const char *name,
                     const char *alpn, struct tls_side *side)
{
	const struct stream_tls_identity identity = {
		.trusted = text_of(tls_rig_authority.certificate),
	};
	struct stream_tls_context *context = tls_rig_context(rig->client, &identity);
	const struct stream_tls_connect options = { .lower = stream_pair_open(pair, 1),
		                                    .context = context,
		                                    .name = name,
		                                    .alpn = alpn != NULL ? alpn : "",
		                                    .handler = &side_handler,
		                                    .owner = side };

	*side = (struct tls_side){ .rig = rig };
	assert_int_equal(stream_tls_connect(rig->client, &options, &side->stream), STATUS_OK);
	stream_tls_context_close(context);
}

struct tls_side *tls_rig_join(struct tls_rig *rig, struct tls_side *client)
{
	struct stream_pair *pair;
	unsigned before = rig->accepted_count;

	assert_true(tls_rig_accept(rig, &pair));
	tls_rig_connect(rig, pair, "localhost", NULL, client);
	tls_rig_settle(rig);
	assert_int_equal(rig->accepted_count, before + 1);
	return &rig->accepted[before];
}

static void side_sent(struct req *req)
{
	struct tls_side *side = container_of(req, struct tls_side, req);

	req_pop(req, struct frame);
	side->sends++;
	side->send_status = req->status;
	side->send_result = req->result;
}

void tls_side_send_bytes(struct tls_side *side, struct bytes bytes)
{
	struct stream_cmd cmd = { .iov = side->iov };
	size_t used = 0;

	while (used < bytes.size || cmd.iov_count == 0) {
		size_t part = bytes.size - used;

		if (cmd.iov_count + 1 < RIG_IOV && part > 0)
			part = prng_below(&side->rig->prng, part) + 1;
		side->iov[cmd.iov_count++] =
		        (struct iovec){ (void *)(uintptr_t)(bytes.data + used), part };
		used += part;
		/* Pieces of nothing are pieces. */
		if (cmd.iov_count + 1 < RIG_IOV && prng_chance(&side->rig->prng, 200000))
			side->iov[cmd.iov_count++] = (struct iovec){ NULL, 0 };
	}
	req_init(&side->req, &side->rig->worker);
	req_push(&side->req, struct frame, side_sent);
	stream_send(side->stream, &side->req, &cmd);
}

void tls_side_close(struct tls_side *side)
{
	if (side->stream != NULL)
		stream_close(side->stream);
	side->stream = NULL;
	free(side->data);
	side->data = NULL;
	side->size = side->room = 0;
}

/* OpenSSL itself. */

int tls_rig_who;

static void raw_received(struct stream *stream, struct bytes data)
{
	struct raw_peer *raw = stream->owner;

	tls_rig_who = 1;
	assert_int_equal(BIO_write(raw->in, data.data, (int)data.size), (int)data.size);
	tls_rig_who = 0;
}

static void raw_ended(struct stream *stream, enum status status)
{
	struct raw_peer *raw = stream->owner;

	raw->ended = true;
	raw->end_status = status;
}

static const struct stream_handler raw_handler = {
	.received = raw_received,
	.ended = raw_ended,
};

void tls_rig_show(SSL_CTX *ctx, const struct stream_tls_pair *pair)
{
	BIO *certificate = BIO_new_mem_buf(pair->certificate, -1);
	BIO *key = BIO_new_mem_buf(pair->key, -1);
	X509 *x = PEM_read_bio_X509(certificate, NULL, NULL, NULL);
	EVP_PKEY *k = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);

	assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, k), 1);
	X509_free(x);
	EVP_PKEY_free(k);
	BIO_free(key);
	BIO_free(certificate);
}

void raw_open(struct raw_peer *raw, struct tls_rig *rig, struct stream_pair *pair, SSL_CTX *ctx)
{
	*raw = (struct raw_peer){ .rig = rig, .stream = stream_pair_open(pair, 1), .ctx = ctx };
	raw->stream->handler = &raw_handler;
	raw->stream->owner = raw;
	tls_rig_who = 1;
	raw->ssl = SSL_new(ctx);
	raw->in = BIO_new(BIO_s_mem());
	raw->out = BIO_new(BIO_s_mem());
	assert_non_null(raw->ssl);
	BIO_set_mem_eof_return(raw->in, -1);
	SSL_set_bio(raw->ssl, raw->in, raw->out);
	SSL_set_connect_state(raw->ssl);
	tls_rig_who = 0;
}

static void raw_sent(struct req *req)
{
	struct raw_peer *raw = container_of(req, struct raw_peer, req);

	req_pop(req, struct frame);
	raw->busy = false;
}

void raw_flush(struct raw_peer *raw)
{
	struct stream_cmd cmd = { .iov_count = 1, .iov = &raw->iov };
	int size;

	if (raw->busy || raw->stream->closed)
		return;
	size = BIO_read(raw->out, raw->sending, sizeof(raw->sending));
	if (size <= 0)
		return;
	raw->iov = (struct iovec){ raw->sending, (size_t)size };
	raw->busy = true;
	req_init(&raw->req, &raw->rig->worker);
	req_push(&raw->req, struct frame, raw_sent);
	stream_send(raw->stream, &raw->req, &cmd);
}

int raw_shake(struct raw_peer *raw)
{
	for (unsigned i = 0; i < 1000; i++) {
		int result, error;

		tls_rig_who = 1;
		result = SSL_do_handshake(raw->ssl);
		error = SSL_get_error(raw->ssl, result);
		tls_rig_who = 0;
		raw_flush(raw);
		tls_rig_turns(raw->rig, 8);
		if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
			return error;
		if (raw->ended && BIO_pending(raw->in) == 0)
			return SSL_ERROR_SYSCALL;
	}
	return SSL_ERROR_WANT_READ;
}

void raw_close(struct raw_peer *raw)
{
	/* Else OpenSSL takes its session for one that failed. */
	SSL_set_shutdown(raw->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(raw->ssl);
	stream_close(raw->stream);
}
