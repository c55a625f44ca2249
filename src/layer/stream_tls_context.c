/* SPDX-License-Identifier: Apache-2.0 */
/* Who we are and whom we trust: certificates, the rules of a connection, the keys of tickets. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "layer/stream_tls_state.h"

#define HOUR_NS 3600000000000ull
enum { TICKET_LIFE_S = 7200, CHAIN_MAX = 16, TRUSTED_MAX = 1024 };

/* For 1.2: forward secret, with authenticated encryption. Those of 1.3 all are. */
#define CIPHERS                                                                                    \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"

/* What OpenSSL says last went wrong, behind what was tried. */
static enum status refuse(char *error, const char *what)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	snprintf(error, STREAM_TLS_ERROR_SIZE, "%s%s%s", what, reason != NULL ? ": " : "",
	         reason != NULL ? reason : "");
	ERR_clear_error();
	return STATUS_INVALID;
}

/* The file asks for a password: there is nobody to give it. */
static int no_password(char *out, int size, int writing, void *owner)
{
	(void)out;
	(void)size;
	(void)writing;
	(void)owner;
	return -1;
}

static BIO *bio_of(struct bytes text)
{
	if (text.size == 0 || text.size > INT32_MAX)
		return NULL;
	return BIO_new_mem_buf(text.data, (int)text.size);
}

/* The next certificate of a file; NULL: there is none, or it is not right. */
static X509 *next_certificate(struct stream_tls *tls, BIO *bio)
{
	X509 *empty = X509_new_ex(tls->library, NULL), *read;

	if (empty == NULL)
		return NULL;
	read = PEM_read_bio_X509(bio, &empty, no_password, NULL);
	if (read == NULL)
		X509_free(empty);
	return read;
}

/* Whether reading stopped because the file has ended; then that is forgotten. */
static bool is_end(void)
{
	unsigned long code = ERR_peek_last_error();

	if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
		return false;
	ERR_clear_error();
	return true;
}

static enum status use_chain(struct stream_tls *tls, SSL_CTX *ctx, BIO *bio, char *error)
{
	X509 *certificate = next_certificate(tls, bio);
	bool used;

	if (certificate == NULL)
		return refuse(error, "it has no certificate in PEM");
	used = SSL_CTX_use_certificate(ctx, certificate) == 1;
	X509_free(certificate);
	if (!used)
		return refuse(error, "its certificate cannot be used");
	for (unsigned i = 0; i < CHAIN_MAX; i++) {
		certificate = next_certificate(tls, bio);
		if (certificate == NULL)
			return is_end() ? STATUS_OK
			                : refuse(error, "a certificate behind the first is broken");
		if (SSL_CTX_add0_chain_cert(ctx, certificate) != 1) {
			X509_free(certificate);
			return refuse(error, "a certificate behind the first cannot be used");
		}
	}
	return refuse(error, "it has more certificates than a chain may have");
}

static enum status use_key(struct stream_tls *tls, SSL_CTX *ctx, struct bytes text, char *error)
{
	BIO *bio = bio_of(text);
	EVP_PKEY *key = NULL;
	enum status status = STATUS_OK;

	if (bio != NULL)
		key = PEM_read_bio_PrivateKey_ex(bio, NULL, no_password, NULL, tls->library, NULL);
	BIO_free(bio);
	if (key == NULL)
		return refuse(error, "the key is not one in PEM without a password");
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		status = refuse(error, "the key is not the certificate's");
	EVP_PKEY_free(key);
	return status;
}

static enum status use_identity(struct stream_tls *tls, SSL_CTX *ctx,
                                const struct stream_tls_identity *identity, char *error)
{
	enum status status;
	BIO *bio;

	if (identity->certificate.size == 0 && !identity->server)
		return STATUS_OK;
	bio = bio_of(identity->certificate);
	if (bio == NULL)
		return refuse(error, "there is no certificate");
	status = use_chain(tls, ctx, bio, error);
	BIO_free(bio);
	return status == STATUS_OK ? use_key(tls, ctx, identity->key, error) : status;
}

/* A server names those whom it trusts, so that a client with several certificates can choose. */
static enum status trust(struct stream_tls *tls, SSL_CTX *ctx, struct bytes text, bool server,
                         char *error)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio = bio_of(text);
	unsigned count = 0;
	X509 *certificate;

	if (bio == NULL)
		return refuse(error, "there is nobody to be trusted");
	for (; (certificate = next_certificate(tls, bio)) != NULL; count++) {
		bool added = count < TRUSTED_MAX && X509_STORE_add_cert(store, certificate) == 1 &&
		             (!server || SSL_CTX_add_client_CA(ctx, certificate) == 1);

		X509_free(certificate);
		if (!added)
			break;
	}
	BIO_free(bio);
	if (certificate == NULL && is_end() && count > 0)
		return STATUS_OK;
	return refuse(error, count == 0 ? "it has no certificate in PEM"
	                                : "a certificate of it is broken, or there are too many");
}

static enum status use_trust(struct stream_tls *tls, SSL_CTX *ctx,
                             const struct stream_tls_identity *identity, char *error)
{
	int mode = SSL_VERIFY_NONE;

	if (identity->server && identity->peers != STREAM_TLS_ANYONE)
		mode = SSL_VERIFY_PEER |
		       (identity->peers == STREAM_TLS_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT
		                                               : 0);
	else if (!identity->server && !identity->trust_anyone)
		mode = SSL_VERIFY_PEER;
	SSL_CTX_set_verify(ctx, mode, NULL);
	if (mode == SSL_VERIFY_NONE)
		return STATUS_OK;
	if (identity->trusted.size > 0 || identity->server)
		return trust(tls, ctx, identity->trusted, identity->server, error);
	if (SSL_CTX_set_default_verify_paths(ctx) != 1)
		return refuse(error, "this system trusts nobody");
	return STATUS_OK;
}

/* Tickets. */

static void ticket_derive(struct digest *digest, struct tls_ticket_key *key)
{
	struct bytes secret = bytes_of(key->secret, sizeof(key->secret));

	digest_hmac(digest, secret, BYTES("weir ticket name"), key->name);
	digest_hmac(digest, secret, BYTES("weir ticket cipher"), key->cipher);
	digest_hmac(digest, secret, BYTES("weir ticket mac"), key->mac);
}

static void ticket_advance(struct digest *digest, struct tls_ticket_key *key)
{
	uint8_t next[SHA256_SIZE];

	_Static_assert(sizeof(next) == sizeof(key->secret), "a secret is a digest");
	digest_hmac(digest, bytes_of(key->secret, sizeof(key->secret)), BYTES("weir ticket next"),
	            next);
	memcpy(key->secret, next, sizeof(next));
	explicit_bzero(next, sizeof(next));
	key->hour++;
}

void tls_tickets_start(struct stream_tls *tls)
{
	struct tls_ticket_key *key = &tls->ticket_now;

	memcpy(key->secret, tls->options.ticket_secret, sizeof(key->secret));
	explicit_bzero(tls->options.ticket_secret, sizeof(tls->options.ticket_secret));
	key->hour = 0;
	ticket_derive(&tls->digest, key);
	tls->ticket_before = *key;
	explicit_bzero(tls->ticket_before.secret, sizeof(tls->ticket_before.secret));
}

/* Up to the hour that it is: what came before the last one cannot be had again. */
static void tickets_rotate(struct stream_tls *tls)
{
	uint64_t since_ns = tls->options.worker->now_ns - tls->options.ticket_from_ns;
	uint64_t hour = since_ns / HOUR_NS;

	if (tls->ticket_now.hour >= hour)
		return;
	while (tls->ticket_now.hour < hour) {
		tls->ticket_before = tls->ticket_now;
		ticket_advance(&tls->digest, &tls->ticket_now);
	}
	assert(tls->ticket_before.hour + 1 == hour);
	ticket_derive(&tls->digest, &tls->ticket_before);
	explicit_bzero(tls->ticket_before.secret, sizeof(tls->ticket_before.secret));
	ticket_derive(&tls->digest, &tls->ticket_now);
}

static bool ticket_use(const struct tls_ticket_key *key, const struct tls_stream *t,
                       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, const uint8_t *iv, int encrypt)
{
	char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac,
		                                  sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1 &&
	       EVP_CipherInit_ex2(cipher, t->tls->ticket_cipher, key->cipher, iv, encrypt, NULL) ==
	               1;
}

/* 0: not one of ours, a full handshake follows; 1: it is; 2: it is, and a newer one is due. */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int encrypt)
{
	struct tls_stream *t = SSL_get_app_data(ssl);
	struct stream_tls *tls = t->tls;

	tickets_rotate(tls);
	if (encrypt) {
		tls->options.random(tls->options.random_owner, iv, 16);
		memcpy(name, tls->ticket_now.name, TLS_TICKET_NAME_SIZE);
		return ticket_use(&tls->ticket_now, t, cipher, mac, iv, 1) ? 1 : -1;
	}
	if (memcmp(name, tls->ticket_now.name, TLS_TICKET_NAME_SIZE) == 0) {
		/* Clients of 1.3 use a ticket once, so that nobody can tell that they came again.
		 */
		int renewed = SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;

		return ticket_use(&tls->ticket_now, t, cipher, mac, iv, 0) ? renewed : -1;
	}
	if (memcmp(name, tls->ticket_before.name, TLS_TICKET_NAME_SIZE) == 0)
		return ticket_use(&tls->ticket_before, t, cipher, mac, iv, 0) ? 2 : -1;
	return 0;
}

/* Protocols. */

int tls_alpn_parse(const char *text, uint8_t out[static STREAM_TLS_ALPN_MAX])
{
	size_t used = 0;

	while (*text != '\0') {
		size_t size = strcspn(text, ",");

		if (size == 0 || size > 15 || used + 1 + size > STREAM_TLS_ALPN_MAX)
			return -1;
		out[used++] = (uint8_t)size;
		memcpy(out + used, text, size);
		used += size;
		text += size;
		if (*text == ',' && *++text == '\0')
			return -1;
	}
	return (int)used;
}

static int alpn_choose(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                       const unsigned char *offered, unsigned offered_size, void *owner)
{
	const struct tls_stream *t = SSL_get_app_data(ssl);
	unsigned char *chosen = NULL;

	(void)owner;
	assert(t->listener != NULL);
	if (t->listener->alpn_size == 0)
		return SSL_TLSEXT_ERR_NOACK;
	if (SSL_select_next_proto(&chosen, out_size, t->listener->alpn, t->listener->alpn_size,
	                          offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static void describe_peer(struct tls_stream *t)
{
	X509 *certificate = SSL_get0_peer_certificate(t->ssl);
	BIO *bio;
	int size;

	if (certificate == NULL || SSL_get_verify_mode(t->ssl) == SSL_VERIFY_NONE)
		return;
	bio = BIO_new(BIO_s_mem());
	if (bio == NULL)
		return;
	X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
	                   XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
	size = BIO_read(bio, t->security.subject, sizeof(t->security.subject) - 1);
	/* One that does not fit would be somebody else's, cut. */
	if (size < 0 || BIO_pending(bio) > 0)
		size = 0;
	t->security.subject[size] = '\0';
	BIO_free(bio);
}

void tls_describe(struct tls_stream *t)
{
	const unsigned char *alpn = NULL;
	unsigned alpn_size = 0;

	t->security = (struct stream_security){
		.version = SSL_get_version(t->ssl),
		.cipher = SSL_get_cipher_name(t->ssl),
		.resumed = SSL_session_reused(t->ssl) == 1,
	};
	SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_size);
	if (alpn_size > 0 && alpn_size < sizeof(t->security.alpn))
		memcpy(t->security.alpn, alpn, alpn_size);
	describe_peer(t);
}

/* The rules. */

/*
 * A ticket lets its holder in without a look at its certificate: so it is good only where the same
 * are trusted.
 */
static bool set_session_context(SSL_CTX *ctx, const struct stream_tls_identity *identity)
{
	const uint8_t peers = (uint8_t)identity->peers;
	struct digest digest;
	uint8_t id[SHA256_SIZE];

	if (!digest_open(&digest, DIGEST_SHA256))
		return false;
	digest_start(&digest);
	digest_add(&digest, bytes_of(&peers, 1));
	digest_add(&digest, identity->trusted);
	digest_finish(&digest, id);
	digest_close(&digest);
	return SSL_CTX_set_session_id_context(ctx, id, sizeof(id)) == 1;
}

static bool set_rules(SSL_CTX *ctx, const struct stream_tls_identity *identity)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                                 SSL_OP_CIPHER_SERVER_PREFERENCE |
	                                 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
	SSL_CTX_set_read_ahead(ctx, 0);
	if (SSL_CTX_set_min_proto_version(ctx, identity->tls13_only ? TLS1_3_VERSION
	                                                            : TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, CIPHERS) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, CIPHERSUITES) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, GROUPS) != 1)
		return false;
	if (!identity->server)
		return SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET) != 0;
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_choose, NULL);
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key) == 1 &&
	       set_session_context(ctx, identity);
}

enum status stream_tls_context_open(struct stream_tls *tls,
                                    const struct stream_tls_identity *identity,
                                    struct stream_tls_context **out,
                                    char error[static STREAM_TLS_ERROR_SIZE])
{
	struct stream_tls_context *context = calloc(1, sizeof(*context));
	enum status status = STATUS_NO_SPACE;

	ERR_clear_error();
	snprintf(error, STREAM_TLS_ERROR_SIZE, "no memory");
	if (context != NULL)
		context->ctx = SSL_CTX_new_ex(tls->library, NULL,
		                              identity->server ? TLS_server_method()
		                                               : TLS_client_method());
	if (context != NULL && context->ctx != NULL)
		status = set_rules(context->ctx, identity)
		                 ? STATUS_OK
		                 : refuse(error, "this OpenSSL has not what is needed");
	if (status == STATUS_OK)
		status = use_identity(tls, context->ctx, identity, error);
	if (status == STATUS_OK)
		status = use_trust(tls, context->ctx, identity, error);
	if (status != STATUS_OK) {
		stream_tls_context_close(context);
		return status;
	}
	error[0] = '\0';
	*out = context;
	return STATUS_OK;
}

void stream_tls_context_close(struct stream_tls_context *context)
{
	if (context == NULL)
		return;
	SSL_CTX_free(context->ctx);
	free(context);
}

int64_t stream_tls_context_expiry_s(const struct stream_tls_context *context)
{
	const X509 *certificate = SSL_CTX_get0_certificate(context->ctx);
	struct tm when;

	if (certificate == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1)
		return INT64_MAX;
	return (int64_t)timegm(&when);
}
