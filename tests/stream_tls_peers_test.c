/* SPDX-License-Identifier: Apache-2.0 */
/* Who may speak with whom, in what version, for how long it may take to agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "tls_rig.h"

#define SECOND_NS 1000000000ull
#define HOUR_NS (3600 * SECOND_NS)

static struct bytes text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

/* A client that asks for `name`; whether it was satisfied. */
static bool client_is_satisfied(struct tls_rig *rig, const char *name)
{
	struct stream_pair *pair;
	struct tls_side client;
	bool is;

	assert_true(tls_rig_accept(rig, &pair));
	tls_rig_connect(rig, pair, name, NULL, &client);
	tls_rig_settle(rig);
	is = client.ends == 0;
	assert_true(is || client.end_status == STATUS_UNAVAILABLE);
	assert_true(is || stream_tls_reason(client.stream)[0] != '\0');
	assert_true(is == (client.stream->security->version != NULL));
	tls_side_close(&client);
	tls_rig_settle(rig);
	return is;
}

static void test_the_name_must_be_the_certificates(void **state)
{
	static const struct {
		const char *name;
		bool right;
	} rows[] = {
		{ "localhost", true },  { "a.weir.test", true },  { "127.0.0.1", true },
		{ "::1", true },        { "weir.test", false },   { "a.b.weir.test", false },
		{ "127.0.0.2", false }, { "example.org", false }, { "localhost.evil", false }
	};
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 1 });
	for (size_t i = 0; i < array_count(rows); i++)
		assert_int_equal(client_is_satisfied(&rig, rows[i].name), rows[i].right);
	tls_rig_close(&rig);
}

static void test_a_certificate_has_its_time(void **state)
{
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 2 });
	assert_true(client_is_satisfied(&rig, "localhost"));
	tls_rig_pass(&rig, 400 * 24 * HOUR_NS);
	assert_false(client_is_satisfied(&rig, "localhost"));
	tls_rig_close(&rig);
}

static void use_server(struct tls_rig *rig, const struct stream_tls_pair *pair)
{
	const struct stream_tls_identity identity = { .server = true,
		                                      .certificate = text_of(pair->certificate),
		                                      .key = text_of(pair->key) };

	stream_tls_use(rig->server, tls_rig_context(rig->server, &identity));
}

static void test_a_new_certificate_is_for_new_connections(void **state)
{
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 3 });
	server = tls_rig_join(&rig, &client);
	use_server(&rig, &tls_rig_stranger);
	/* The old connection lives on; a new one meets somebody whom the client does not trust. */
	tls_side_send_bytes(server, BYTES("still here"));
	tls_rig_settle(&rig);
	assert_int_equal(client.size, 10);
	assert_false(client_is_satisfied(&rig, "localhost"));
	use_server(&rig, &tls_rig_server);
	assert_true(client_is_satisfied(&rig, "localhost"));
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_what_cannot_be_an_identity(void **state)
{
	char cut[STREAM_TLS_PEM_MAX * 2], error[STREAM_TLS_ERROR_SIZE];
	const struct stream_tls_pair *own = &tls_rig_server;
	const struct {
		const char *certificate, *key, *trusted, *error;
		enum stream_tls_peers peers;
	} rows[] = {
		{ "", own->key, "", "there is no certificate", 0 },
		{ "hello", own->key, "", "no certificate in PEM", 0 },
		{ own->key, own->key, "", "no certificate in PEM", 0 },
		{ own->certificate, "", "", "the key is not one", 0 },
		{ own->certificate, own->certificate, "", "the key is not one", 0 },
		{ own->certificate, tls_rig_client.key, "", "the key is not the certificate's", 0 },
		{ cut, own->key, "", "behind the first is broken", 0 },
		{ own->certificate, own->key, "", "nobody to be trusted", STREAM_TLS_REQUIRED },
		{ own->certificate, own->key, "?", "no certificate in PEM", STREAM_TLS_OPTIONAL },
	};
	struct tls_rig rig;

	(void)state;
	snprintf(cut, sizeof(cut), "%s%.200s\n-----END CERTIFICATE-----\n", own->certificate,
	         own->certificate);
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 4 });
	for (size_t i = 0; i < array_count(rows); i++) {
		const struct stream_tls_identity identity = {
			.server = true,
			.certificate = text_of(rows[i].certificate),
			.key = text_of(rows[i].key),
			.trusted = text_of(rows[i].trusted),
			.peers = rows[i].peers,
		};
		struct stream_tls_context *context;

		assert_int_equal(stream_tls_context_open(rig.server, &identity, &context, error),
		                 STATUS_INVALID);
		if (strstr(error, rows[i].error) == NULL)
			fail_msg("%s: not %s", error, rows[i].error);
	}
	tls_rig_close(&rig);
}

/* A client with the certificate of `pair`, NULL: none; the server's side, NULL: it was refused. */
static const struct tls_side *join_as(struct tls_rig *rig, const struct stream_tls_pair *pair,
                                      SSL_CTX *ctx)
{
	unsigned before = rig->accepted_count;
	struct stream_pair *path;
	struct raw_peer raw;
	char byte;

	if (pair != NULL)
		tls_rig_show(ctx, pair);
	assert_true(tls_rig_accept(rig, &path));
	raw_open(&raw, rig, path, ctx);
	raw_shake(&raw);
	SSL_read(raw.ssl, &byte, 1); /* an alert of 1.3 comes behind the client's handshake */
	tls_rig_settle(rig);
	raw_close(&raw);
	tls_rig_settle(rig);
	return rig->accepted_count > before ? &rig->accepted[before] : NULL;
}

static void test_clients_show_who_they_are(void **state)
{
	for (int max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++) {
		SSL_CTX *none = SSL_CTX_new(TLS_client_method());
		SSL_CTX *alice = SSL_CTX_new(TLS_client_method());
		SSL_CTX *mallory = SSL_CTX_new(TLS_client_method());
		const struct tls_side *side;
		struct tls_rig rig;

		(void)state;
		SSL_CTX_set_max_proto_version(none, max);
		SSL_CTX_set_max_proto_version(alice, max);
		SSL_CTX_set_max_proto_version(mallory, max);
		tls_rig_open(&rig,
		             &(struct tls_rig_options){ .seed = 5, .peers = STREAM_TLS_REQUIRED });
		assert_null(join_as(&rig, NULL, none));
		assert_null(join_as(&rig, &tls_rig_stranger, mallory));
		side = join_as(&rig, &tls_rig_client, alice);
		assert_non_null(side);
		assert_string_equal(side->stream->security->subject, "CN=alice");
		assert_int_equal(stream_tls_stats(rig.server)->failed, 2);
		tls_rig_close(&rig);
		tls_rig_open(&rig,
		             &(struct tls_rig_options){ .seed = 6, .peers = STREAM_TLS_OPTIONAL });
		side = join_as(&rig, NULL, none);
		assert_non_null(side);
		assert_string_equal(side->stream->security->subject, "");
		/* One that is shown must be right all the same. */
		assert_null(join_as(&rig, NULL, mallory));
		assert_non_null(join_as(&rig, NULL, alice));
		tls_rig_close(&rig);
		SSL_CTX_free(none);
		SSL_CTX_free(alice);
		SSL_CTX_free(mallory);
	}
}

static void test_protocols_are_agreed_on(void **state)
{
	static const struct {
		const char *offered, *chosen; /* NULL: none can be */
	} rows[] = { { "h2,http/1.1", "h2" },
		     { "http/1.1,h2", "h2" },
		     { "http/1.1", "http/1.1" },
		     { "http/1.0,http/1.1", "http/1.1" },
		     { NULL, "" },
		     { "spdy/3", NULL } };
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 7, .alpn = "h2,http/1.1" });
	for (size_t i = 0; i < array_count(rows); i++) {
		unsigned before = rig.accepted_count;
		struct stream_pair *pair;
		struct tls_side client;

		assert_true(tls_rig_accept(&rig, &pair));
		tls_rig_connect(&rig, pair, "localhost", rows[i].offered, &client);
		tls_rig_settle(&rig);
		assert_int_equal(rig.accepted_count - before, rows[i].chosen != NULL);
		if (rows[i].chosen != NULL) {
			assert_string_equal(stream_alpn(rig.accepted[before].stream),
			                    rows[i].chosen);
			assert_string_equal(stream_alpn(client.stream), rows[i].chosen);
		} else {
			assert_non_null(strstr(stream_tls_reason(client.stream), "no application"));
		}
		tls_side_close(&client);
	}
	tls_rig_close(&rig);
}

/* SSL_get_error() of a handshake with what `cipher` and the versions allow. */
static int shake_as(struct tls_rig *rig, int min, int max, const char *ciphers)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct stream_pair *pair;
	struct raw_peer raw;
	int error;

	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, min);
	SSL_CTX_set_max_proto_version(ctx, max);
	if (ciphers != NULL)
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, ciphers), 1);
	assert_true(tls_rig_accept(rig, &pair));
	raw_open(&raw, rig, pair, ctx);
	error = raw_shake(&raw);
	tls_rig_settle(rig);
	raw_close(&raw);
	SSL_CTX_free(ctx);
	return error;
}

static void test_what_is_weak_is_refused(void **state)
{
	static const char *const weak[] = { "AES128-SHA:AES256-GCM-SHA384", /* not forward secret */
		                            "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384",
		                            "aNULL", "ECDHE-ECDSA-NULL-SHA" };
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 8 });
	assert_int_equal(shake_as(&rig, TLS1_2_VERSION, TLS1_2_VERSION, NULL), SSL_ERROR_NONE);
	assert_int_equal(shake_as(&rig, TLS1_3_VERSION, TLS1_3_VERSION, NULL), SSL_ERROR_NONE);
	assert_int_equal(shake_as(&rig, TLS1_VERSION, TLS1_1_VERSION, NULL), SSL_ERROR_SSL);
	for (size_t i = 0; i < array_count(weak); i++)
		assert_int_equal(shake_as(&rig, TLS1_2_VERSION, TLS1_2_VERSION, weak[i]),
		                 SSL_ERROR_SSL);
	tls_rig_close(&rig);
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 8, .tls13_only = true });
	assert_int_equal(shake_as(&rig, TLS1_2_VERSION, TLS1_2_VERSION, NULL), SSL_ERROR_SSL);
	assert_int_equal(shake_as(&rig, TLS1_2_VERSION, TLS1_3_VERSION, NULL), SSL_ERROR_NONE);
	tls_rig_close(&rig);
}

static void test_nothing_is_renegotiated(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct stream_pair *pair;
	struct raw_peer raw;
	struct tls_rig rig;

	(void)state;
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 9 });
	assert_true(tls_rig_accept(&rig, &pair));
	raw_open(&raw, &rig, pair, ctx);
	assert_int_equal(raw_shake(&raw), SSL_ERROR_NONE);
	assert_string_equal(rig.accepted[0].stream->security->version, "TLSv1.2");
	assert_int_equal(SSL_renegotiate(raw.ssl), 1);
	assert_int_not_equal(raw_shake(&raw), SSL_ERROR_NONE);
	raw_close(&raw);
	SSL_CTX_free(ctx);
	tls_rig_close(&rig);
}

/* New keys, as often as a peer likes; and one that asks for ours. */
static void test_keys_are_updated(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct stream_pair *pair;
	struct raw_peer raw;
	struct tls_rig rig;
	char got[8];

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 10 });
	assert_true(tls_rig_accept(&rig, &pair));
	raw_open(&raw, &rig, pair, ctx);
	assert_int_equal(raw_shake(&raw), SSL_ERROR_NONE);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(SSL_key_update(raw.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(raw.ssl, "x", 1), 1);
		raw_flush(&raw);
		tls_rig_settle(&rig);
		assert_int_equal(rig.accepted[0].size, i + 1);
		tls_side_send_bytes(&rig.accepted[0], BYTES("y"));
		tls_rig_settle(&rig);
		assert_int_equal(SSL_read(raw.ssl, got, sizeof(got)), 1);
	}
	assert_int_equal(rig.accepted[0].ends, 0);
	raw_close(&raw);
	SSL_CTX_free(ctx);
	tls_rig_close(&rig);
}

static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

/* Joins with the ticket that was kept, if any; whether it was taken. */
static bool join_with_ticket(struct tls_rig *rig, SSL_CTX *ctx)
{
	unsigned before = rig->accepted_count;
	struct stream_pair *pair;
	struct raw_peer raw;
	bool resumed;
	char byte;

	assert_true(tls_rig_accept(rig, &pair));
	raw_open(&raw, rig, pair, ctx);
	if (kept != NULL)
		assert_int_equal(SSL_set_session(raw.ssl, kept), 1);
	assert_int_equal(raw_shake(&raw), SSL_ERROR_NONE);
	tls_rig_settle(rig);
	SSL_read(raw.ssl, &byte, 1);
	assert_int_equal(rig->accepted_count, before + 1);
	resumed = SSL_session_reused(raw.ssl) == 1;
	/* Of 1.2's renewed tickets nobody is told. */
	if (SSL_version(raw.ssl) == TLS1_2_VERSION)
		keep_session(raw.ssl, SSL_get1_session(raw.ssl));
	assert_int_equal(rig->accepted[before].stream->security->resumed, resumed);
	tls_rig_settle(rig);
	raw_close(&raw);
	tls_rig_settle(rig);
	return resumed;
}

static void test_tickets_last_for_an_hour_or_two(void **state)
{
	for (int max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++) {
		SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
		struct tls_rig rig, other;

		(void)state;
		SSL_CTX_set_max_proto_version(ctx, max);
		SSL_CTX_set_session_cache_mode(ctx,
		                               SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(ctx, keep_session);
		tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 11 });
		assert_false(join_with_ticket(&rig, ctx));
		assert_non_null(kept);
		assert_true(join_with_ticket(&rig, ctx));
		tls_rig_pass(&rig, HOUR_NS + 10 * SECOND_NS);
		/* By the last hour's key: a newer one comes. */
		assert_true(join_with_ticket(&rig, ctx));
		tls_rig_pass(&rig, HOUR_NS);
		assert_true(join_with_ticket(&rig, ctx));
		tls_rig_pass(&rig, 3 * HOUR_NS);
		assert_false(join_with_ticket(&rig, ctx));
		assert_int_equal(stream_tls_stats(rig.server)->resumed, 3);
		tls_rig_close(&rig);
		/* Another worker with the same first secret. */
		tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 12 });
		assert_false(join_with_ticket(&rig, ctx));
		tls_rig_open(&other, &(struct tls_rig_options){ .seed = 13 });
		assert_true(join_with_ticket(&other, ctx));
		tls_rig_close(&other);
		tls_rig_close(&rig);
		/* Whom to trust has changed: what was let in by a ticket is looked at again. */
		tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 14 });
		use_server(&rig, &tls_rig_server);
		join_with_ticket(&rig, ctx);
		tls_rig_close(&rig);
		tls_rig_open(&rig,
		             &(struct tls_rig_options){ .seed = 15, .peers = STREAM_TLS_OPTIONAL });
		assert_false(join_with_ticket(&rig, ctx));
		tls_rig_close(&rig);
		SSL_SESSION_free(kept);
		kept = NULL;
		SSL_CTX_free(ctx);
	}
}

static void test_a_handshake_has_its_time(void **state)
{
	struct stream_pair *pair, *slow;
	struct tls_side client;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 16 });
	assert_true(tls_rig_accept(&rig, &pair));
	assert_true(tls_rig_accept(&rig, &slow));
	slow->ends[1].held_at = 50; /* of the client's first words a part */
	tls_rig_connect(&rig, slow, "localhost", NULL, &client);
	tls_rig_pass(&rig, 9 * SECOND_NS);
	assert_int_equal(stream_tls_stats(rig.server)->connections, 2);
	tls_rig_pass(&rig, 2 * SECOND_NS);
	assert_int_equal(stream_tls_stats(rig.server)->connections, 0);
	assert_int_equal(stream_tls_stats(rig.server)->timed_out, 2);
	assert_int_equal(client.ends, 1);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_a_server_that_says_nothing_is_given_up(void **state)
{
	struct stream_pair *pair;
	struct tls_side client;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 17 });
	assert_true(tls_rig_accept(&rig, &pair));
	pair->ends[0].held_at = 0;
	tls_rig_connect(&rig, pair, "localhost", NULL, &client);
	tls_side_send_bytes(&client, BYTES("anybody there?"));
	tls_rig_pass(&rig, 11 * SECOND_NS);
	assert_int_equal(client.ends, 1);
	assert_int_equal(client.end_status, STATUS_TIMEOUT);
	assert_int_equal(client.sends, 1);
	assert_int_equal(client.send_status, STATUS_UNAVAILABLE);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

/* Eight may shake hands at a time here; who has had a second makes room. */
static void test_who_does_not_get_on_makes_room(void **state)
{
	struct stream_pair *pair;
	struct tls_side client;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 18, .memory_size = 1 });
	assert_int_equal(stream_tls_connections_max(rig.server), 8);
	for (unsigned i = 0; i < 8; i++)
		assert_true(tls_rig_accept(&rig, &pair));
	assert_false(tls_rig_accept(&rig, &pair));
	assert_int_equal(stream_tls_stats(rig.server)->refused, 1);
	tls_rig_pass(&rig, 1100000000);
	assert_true(tls_rig_accept(&rig, &pair));
	tls_rig_connect(&rig, pair, "localhost", NULL, &client);
	tls_rig_settle(&rig);
	assert_int_equal(client.ends, 0);
	assert_int_equal(rig.accepted_count, 1);
	assert_int_equal(stream_tls_stats(rig.server)->connections, 8);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_many_at_once_take_turns(void **state)
{
	struct tls_side clients[10];
	struct stream_pair *pairs[10];
	struct tls_rig rig;
	unsigned turns = 0;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 19 });
	for (unsigned i = 0; i < 10; i++) {
		assert_true(tls_rig_accept(&rig, &pairs[i]));
		tls_rig_connect(&rig, pairs[i], "localhost", NULL, &clients[i]);
	}
	for (; rig.accepted_count < 10 && turns < 100; turns++)
		worker_turn(&rig.worker);
	/* Two steps each, four of them a turn. */
	assert_true(turns >= 5 && turns < 40);
	tls_rig_settle(&rig);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(clients[i].ends, 0);
		tls_side_close(&clients[i]);
	}
	tls_rig_close(&rig);
}

static void test_a_face_may_refuse(void **state)
{
	struct stream_pair *pair;
	struct tls_side client;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 20 });
	rig.refuse = true;
	assert_true(tls_rig_accept(&rig, &pair));
	tls_rig_connect(&rig, pair, "localhost", NULL, &client);
	tls_rig_settle(&rig);
	assert_int_equal(rig.accepted_count, 0);
	assert_int_equal(client.ends, 1);
	assert_int_equal(client.end_status, STATUS_OK);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_a_listener_takes_its_handshakes_along(void **state)
{
	struct tls_side client, *server;
	struct stream_pair *pair;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 21 });
	server = tls_rig_join(&rig, &client);
	assert_true(tls_rig_accept(&rig, &pair));
	rig.listener->ops->close(rig.listener);
	rig.listener = NULL;
	tls_rig_settle(&rig);
	assert_int_equal(stream_tls_stats(rig.server)->connections, 1);
	tls_side_send_bytes(server, BYTES("on"));
	tls_rig_settle(&rig);
	assert_int_equal(client.size, 2);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_what_is_no_tls_is_refused(void **state)
{
	static const char *const texts[] = { "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		                             "*1\r\n$4\r\nPING\r\n", "\x16\x03\x01\xff\xff",
		                             "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00" };
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 22 });
	for (size_t i = 0; i < array_count(texts); i++) {
		struct stream_pair *pair;
		struct pair_end *end;
		size_t size = i < 2 ? strlen(texts[i]) : i == 2 ? 5 : 10;

		assert_true(tls_rig_accept(&rig, &pair));
		end = &pair->ends[1];
		memcpy(end->queue, texts[i], size);
		end->tail = size;
		tls_rig_settle(&rig);
		assert_int_equal(rig.accepted_count, 0);
		tls_rig_pass(&rig, 6 * SECOND_NS);
		assert_int_equal(stream_tls_stats(rig.server)->connections, 0);
		assert_int_equal(stream_tls_stats(rig.server)->failed, i + 1);
	}
	tls_rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_name_must_be_the_certificates),
		cmocka_unit_test(test_a_certificate_has_its_time),
		cmocka_unit_test(test_a_new_certificate_is_for_new_connections),
		cmocka_unit_test(test_what_cannot_be_an_identity),
		cmocka_unit_test(test_clients_show_who_they_are),
		cmocka_unit_test(test_protocols_are_agreed_on),
		cmocka_unit_test(test_what_is_weak_is_refused),
		cmocka_unit_test(test_nothing_is_renegotiated),
		cmocka_unit_test(test_keys_are_updated),
		cmocka_unit_test(test_tickets_last_for_an_hour_or_two),
		cmocka_unit_test(test_a_handshake_has_its_time),
		cmocka_unit_test(test_a_server_that_says_nothing_is_given_up),
		cmocka_unit_test(test_who_does_not_get_on_makes_room),
		cmocka_unit_test(test_many_at_once_take_turns),
		cmocka_unit_test(test_a_face_may_refuse),
		cmocka_unit_test(test_a_listener_takes_its_handshakes_along),
		cmocka_unit_test(test_what_is_no_tls_is_refused),
	};

	return cmocka_run_group_tests_name("stream_tls_peers", tests, tls_rig_make_pairs, NULL);
}
