/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encryption with keys of customers (SSE-C). A key is never kept: of an object there is a salt,
 * from which and the customer's key its own key is made, and a check that tells a wrong key.
 */
#include <stdio.h>

#include "base/assert.h"
#include "server/s3_internal.h"

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
	if (!base64_parse(key, sse->customer_key, CIPHER_KEY_SIZE, &size) ||
	    size != CIPHER_KEY_SIZE)
		return S3_INVALID_SSE_KEY;
	if (!base64_parse(md5, expected, sizeof(expected), &size) || size != sizeof(expected))
		return S3_INVALID_SSE_KEY_MD5;
	digest_of(&call->server->md5, bytes_of(sse->customer_key, CIPHER_KEY_SIZE), digest);
	if (!digest_equal(bytes_of(digest, sizeof(digest)), bytes_of(expected, sizeof(expected))))
		return S3_INVALID_SSE_KEY_MD5;
	sse->there = true;
	sse->md5_text = md5;
	return S3_NONE;
}

void s3_sse_derive(struct s3_server *server, struct s3_sse *sse)
{
	uint8_t mac[SHA256_SIZE], text[8 + S3_KEY_SALT];

	assert(sse->there);
	memcpy(text, "weir key", 8);
	memcpy(text + 8, sse->salt, S3_KEY_SALT);
	digest_hmac(&server->sha256, bytes_of(sse->customer_key, CIPHER_KEY_SIZE),
	            bytes_of(text, sizeof(text)), sse->key);
	digest_hmac(&server->sha256, bytes_of(sse->key, CIPHER_KEY_SIZE), BYTES("weir check"), mac);
	memcpy(sse->check, mac, S3_KEY_CHECK);
	explicit_bzero(mac, sizeof(mac));
}

/*
 * Salts need not be secret, but never the same twice: the server's own generator is seeded with
 * random bytes when it opens, and hashed here with a key of the same origin.
 */
void s3_sse_make(struct s3_call *call, struct s3_sse *sse)
{
	struct s3_server *server = call->server;
	uint8_t seed[16], mac[SHA256_SIZE];

	prng_fill(&server->prng, seed, sizeof(seed));
	digest_hmac(&server->sha256, bytes_of(server->options.secret, S3_SECRET_SIZE),
	            bytes_of(seed, sizeof(seed)), mac);
	memcpy(sse->salt, mac, S3_KEY_SALT);
	s3_sse_derive(server, sse);
}

bool s3_sse_open(struct s3_call *call, struct s3_sse *sse, struct bytes kept)
{
	if (kept.size != S3_KEY_SALT + S3_KEY_CHECK)
		return false;
	memcpy(sse->salt, kept.data, S3_KEY_SALT);
	s3_sse_derive(call->server, sse);
	return digest_equal(bytes_of(sse->check, S3_KEY_CHECK),
	                    bytes_of(kept.data + S3_KEY_SALT, S3_KEY_CHECK));
}

enum s3_error s3_sse_check_found(struct s3_call *call, const struct s3_found *found,
                                 struct s3_sse *sse)
{
	struct bytes kept = obj_attribute_get(found->meta.attributes, S3_ATTRIBUTE_SSE);

	if (found->brief.sse != S3_SSE_CUSTOMER)
		return sse->there ? S3_UNEXPECTED_SSE_KEY : S3_NONE;
	if (!sse->there)
		return S3_MISSING_SSE_KEY;
	return s3_sse_open(call, sse, kept) ? S3_NONE : S3_WRONG_SSE_KEY;
}

void s3_sse_fields(struct s3_call *call, const struct s3_sse *sse)
{
	if (!sse->there)
		return;
	http_answer_text(call->exchange, "x-amz-server-side-encryption-customer-algorithm",
	                 "AES256");
	s3_field(call, "x-amz-server-side-encryption-customer-key-MD5", sse->md5_text);
}
