/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-side encryption. Each object has a secret: with SSE-C it is the customer's key, which is
 * never kept; with SSE-S3 random bytes, which are kept wrapped by the server's own key. From the
 * secret and a salt comes the key of an object or a part, and a check that tells a wrong secret.
 */
#include <stdio.h>

#include "base/assert.h"
#include "server/s3_internal.h"

_Static_assert(S3_SSE_KEPT_MAX == S3_KEY_SALT + S3_KEY_CHECK + S3_MASTER_ID + CIPHER_NONCE_SIZE +
                                          CIPHER_KEY_SIZE + CIPHER_TAG_SIZE,
               "see docs/formats.md");

static bool header(struct s3_call *call, const char *prefix, const char *name,
                   struct bytes *ret_value)
{
	char full[96];
	int size = snprintf(full, sizeof(full), "x-amz-%sserver-side-encryption-customer-%s",
	                    prefix, name);

	assert(size > 0 && (size_t)size < sizeof(full));
	return s3_header(call, full, ret_value);
}

enum s3_error s3_sse_read(struct s3_call *call, const char *prefix, struct s3_sse *sse)
{
	struct bytes algorithm, key, md5;
	bool has_algorithm = header(call, prefix, "algorithm", &algorithm);
	bool has_key = header(call, prefix, "key", &key), has_md5;
	uint8_t digest[S3_MD5_SIZE], expected[S3_MD5_SIZE];
	size_t size;

	has_md5 = header(call, prefix, "key-md5", &md5);
	*sse = (struct s3_sse){ 0 };
	if (!has_algorithm && !has_key && !has_md5)
		return S3_NONE;
	if (!has_algorithm || !has_key || !has_md5)
		return S3_INVALID_ARGUMENT;
	if (!bytes_equal(algorithm, BYTES("AES256")))
		return S3_INVALID_ENCRYPTION;
	if (!base64_parse(key, sse->secret, CIPHER_KEY_SIZE, &size) || size != CIPHER_KEY_SIZE)
		return S3_INVALID_SSE_KEY;
	if (!base64_parse(md5, expected, sizeof(expected), &size) || size != sizeof(expected))
		return S3_INVALID_SSE_KEY_MD5;
	digest_of(&call->server->md5, bytes_of(sse->secret, CIPHER_KEY_SIZE), digest);
	if (!digest_equal(bytes_of(digest, sizeof(digest)), bytes_of(expected, sizeof(expected))))
		return S3_INVALID_SSE_KEY_MD5;
	sse->kind = S3_SSE_CUSTOMER;
	sse->md5_text = md5;
	return S3_NONE;
}

enum s3_error s3_sse_wanted(struct s3_call *call, struct s3_sse *sse)
{
	struct bytes method, kms_key;
	bool has_method = s3_header(call, "x-amz-server-side-encryption", &method);
	bool has_kms = s3_header(call, "x-amz-server-side-encryption-aws-kms-key-id", &kms_key);
	enum s3_error error = s3_sse_read(call, "", sse);

	if (error != S3_NONE)
		return error;
	if (sse->kind == S3_SSE_CUSTOMER)
		return has_method || has_kms ? S3_TWO_ENCRYPTIONS : S3_NONE;
	if (has_method &&
	    (bytes_equal(method, BYTES("aws:kms")) || bytes_equal(method, BYTES("aws:kms:dsse"))))
		return has_kms && kms_key.size > 0 ? S3_NO_KMS : S3_NO_KMS_KEY;
	if (has_kms || (has_method && !bytes_equal(method, BYTES("AES256"))))
		return S3_UNKNOWN_ENCRYPTION;
	if (!has_method && !(call->info.documents >> S3_DOCUMENT_ENCRYPTION & 1))
		return S3_NONE;
	if (call->server->master_count == 0)
		return S3_NO_ENCRYPTION_KEY;
	sse->kind = S3_SSE_S3;
	return S3_NONE;
}

void s3_sse_derive(struct s3_server *server, struct s3_sse *sse)
{
	uint8_t mac[SHA256_SIZE], text[8 + S3_KEY_SALT];

	assert(sse->kind != S3_SSE_NONE);
	memcpy(text, "weir key", 8);
	memcpy(text + 8, sse->salt, S3_KEY_SALT);
	digest_hmac(&server->sha256, bytes_of(sse->secret, CIPHER_KEY_SIZE),
	            bytes_of(text, sizeof(text)), sse->key);
	digest_hmac(&server->sha256, bytes_of(sse->key, CIPHER_KEY_SIZE), BYTES("weir check"), mac);
	memcpy(sse->check, mac, S3_KEY_CHECK);
	explicit_bzero(mac, sizeof(mac));
}

/*
 * 256 bits that nobody guesses, and never the same twice: a count and the server's generator,
 * hashed with a key of random bytes that the server got when it was opened.
 */
static void draw(struct s3_server *server, uint8_t out[SHA256_SIZE])
{
	uint8_t seed[24];

	server->draws++;
	memcpy(seed, &server->draws, 8);
	prng_fill(&server->prng, seed + 8, sizeof(seed) - 8);
	digest_hmac(&server->sha256, bytes_of(server->options.secret, S3_SECRET_SIZE),
	            bytes_of(seed, sizeof(seed)), out);
}

void s3_sse_salt(struct s3_server *server, struct s3_sse *sse)
{
	uint8_t drawn[SHA256_SIZE];

	draw(server, drawn);
	memcpy(sse->salt, drawn, S3_KEY_SALT);
	s3_sse_derive(server, sse);
}

size_t s3_sse_make(struct s3_server *server, struct s3_sse *sse, uint8_t kept[S3_SSE_KEPT_MAX])
{
	const struct s3_master *master = &server->masters[0];
	uint8_t drawn[SHA256_SIZE], *at = kept + S3_KEY_SALT + S3_KEY_CHECK;

	assert(sse->kind != S3_SSE_NONE);
	if (sse->kind == S3_SSE_S3)
		draw(server, sse->secret);
	s3_sse_salt(server, sse);
	memcpy(kept, sse->salt, S3_KEY_SALT);
	memcpy(kept + S3_KEY_SALT, sse->check, S3_KEY_CHECK);
	if (sse->kind == S3_SSE_CUSTOMER)
		return S3_KEY_SALT + S3_KEY_CHECK;
	assert(server->master_count > 0);
	memcpy(at, master->id, S3_MASTER_ID);
	at += S3_MASTER_ID;
	draw(server, drawn);
	memcpy(at, drawn, CIPHER_NONCE_SIZE);
	cipher_seal(&server->cipher, master->key, at, bytes_of(sse->secret, CIPHER_KEY_SIZE),
	            at + CIPHER_NONCE_SIZE);
	return S3_SSE_KEPT_MAX;
}

/* The secret of an object out of what is kept of it; false: not by a key of this server. */
static bool unwrap(struct s3_server *server, struct s3_sse *sse, struct bytes kept)
{
	const uint8_t *id = kept.data + S3_KEY_SALT + S3_KEY_CHECK, *nonce = id + S3_MASTER_ID;
	struct bytes wrapped =
	        bytes_of(nonce + CIPHER_NONCE_SIZE, CIPHER_KEY_SIZE + CIPHER_TAG_SIZE);

	assert(kept.size == S3_SSE_KEPT_MAX);
	for (uint32_t i = 0; i < server->master_count; i++) {
		if (memcmp(server->masters[i].id, id, S3_MASTER_ID) == 0)
			return cipher_unseal(&server->cipher, server->masters[i].key, nonce,
			                     wrapped, sse->secret);
	}
	return false;
}

enum s3_error s3_sse_check_found(struct s3_call *call, const struct s3_found *found,
                                 struct s3_sse *sse)
{
	struct bytes kept = obj_attribute_get(found->meta.attributes, S3_ATTRIBUTE_SSE);
	enum s3_sse_kind kind = found->brief.sse;

	if (kind != S3_SSE_CUSTOMER && sse->kind == S3_SSE_CUSTOMER)
		return S3_UNEXPECTED_SSE_KEY;
	if (kind == S3_SSE_NONE)
		return S3_NONE;
	if (kind == S3_SSE_CUSTOMER && sse->kind == S3_SSE_NONE)
		return S3_MISSING_SSE_KEY;
	if (kept.size != (kind == S3_SSE_S3 ? S3_SSE_KEPT_MAX : S3_KEY_SALT + S3_KEY_CHECK))
		return S3_INTERNAL_ERROR;
	if (kind == S3_SSE_S3 && !unwrap(call->server, sse, kept))
		return S3_LOST_ENCRYPTION_KEY;
	sse->kind = kind;
	memcpy(sse->salt, kept.data, S3_KEY_SALT);
	s3_sse_derive(call->server, sse);
	if (digest_equal(bytes_of(sse->check, S3_KEY_CHECK),
	                 bytes_of(kept.data + S3_KEY_SALT, S3_KEY_CHECK)))
		return S3_NONE;
	return kind == S3_SSE_S3 ? S3_LOST_ENCRYPTION_KEY : S3_WRONG_SSE_KEY;
}

enum s3_error s3_sse_read_found(struct s3_call *call, struct s3_sse *sse)
{
	enum s3_error error = s3_sse_read(call, "", sse);
	struct bytes text;

	if (error == S3_NONE && call->found.brief.sse == S3_SSE_S3 &&
	    s3_header(call, "x-amz-server-side-encryption", &text))
		return S3_ENCRYPTION_OF_READ;
	return error == S3_NONE ? s3_sse_check_found(call, &call->found, sse) : error;
}

void s3_sse_fields(struct s3_call *call, const struct s3_sse *sse)
{
	if (sse->kind == S3_SSE_S3)
		http_answer_text(call->exchange, "x-amz-server-side-encryption", "AES256");
	if (sse->kind != S3_SSE_CUSTOMER)
		return;
	http_answer_text(call->exchange, "x-amz-server-side-encryption-customer-algorithm",
	                 "AES256");
	s3_field(call, "x-amz-server-side-encryption-customer-key-MD5", sse->md5_text);
}

uint64_t s3_sealed_size(uint64_t size)
{
	uint64_t pieces = (size + S3_PLAIN_PIECE - 1) / S3_PLAIN_PIECE;

	return size + pieces * CIPHER_TAG_SIZE;
}

/* Piece by piece in order, and the last one known as such: none can be moved or cut off. */
static void make_nonce(uint64_t index, bool last, uint8_t nonce[CIPHER_NONCE_SIZE])
{
	memset(nonce, 0, CIPHER_NONCE_SIZE);
	nonce[0] = last;
	for (unsigned i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(index >> (56 - 8 * i));
}

void s3_piece_seal(struct cipher *cipher, const uint8_t *key, struct s3_piece piece,
                   struct buf *buf)
{
	uint8_t nonce[CIPHER_NONCE_SIZE];

	assert(buf->used > 0 && buf->used + CIPHER_TAG_SIZE <= buf->size);
	assert(piece.last || buf->used == S3_PLAIN_PIECE);
	make_nonce(piece.index, piece.last, nonce);
	cipher_seal(cipher, key, nonce, bytes_of(buf->data, buf->used), buf->data);
	buf->used += CIPHER_TAG_SIZE;
}

bool s3_piece_unseal(struct cipher *cipher, const uint8_t *key, struct s3_piece piece,
                     struct buf *buf)
{
	uint8_t nonce[CIPHER_NONCE_SIZE];

	if (buf->used < CIPHER_TAG_SIZE)
		return false;
	make_nonce(piece.index, piece.last, nonce);
	if (!cipher_unseal(cipher, key, nonce, bytes_of(buf->data, buf->used), buf->data))
		return false;
	buf->used -= CIPHER_TAG_SIZE;
	return true;
}
