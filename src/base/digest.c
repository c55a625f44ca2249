/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/assert.h"

enum { HMAC_BLOCK_SIZE = 64 }; /* of MD5, SHA-1 and SHA-256 alike */

size_t digest_size(enum digest_kind kind)
{
	static const uint8_t sizes[] = { 16, 20, 32 };

	assert(kind < DIGEST_KIND_COUNT);
	return sizes[kind];
}

static const EVP_MD *method(enum digest_kind kind)
{
	switch (kind) {
	case DIGEST_MD5:
		return EVP_md5();
	case DIGEST_SHA1:
		return EVP_sha1();
	case DIGEST_SHA256:
		return EVP_sha256();
	case DIGEST_KIND_COUNT:
		break;
	}
	unreachable();
}

bool digest_open(struct digest *digest, enum digest_kind kind)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	*digest = (struct digest){ .kind = kind };
	if (!context)
		return false;
	if (EVP_DigestInit_ex(context, method(kind), NULL) != 1) {
		EVP_MD_CTX_free(context);
		return false;
	}
	assert((size_t)EVP_MD_CTX_size(context) == digest_size(kind));
	digest->context = context;
	return true;
}

void digest_close(struct digest *digest)
{
	EVP_MD_CTX_free(digest->context);
	*digest = (struct digest){ 0 };
}

/* Once open() has succeeded the library has no reason left to fail. */
static void check(int result)
{
	assert(result == 1);
}

void digest_start(struct digest *digest)
{
	assert(digest->context);
	check(EVP_DigestInit_ex(digest->context, NULL, NULL)); /* keeps the method and its memory */
	digest->running = true;
}

void digest_add(struct digest *digest, struct bytes bytes)
{
	assert(digest->running);
	check(EVP_DigestUpdate(digest->context, bytes.data, bytes.size));
}

void digest_finish(struct digest *digest, uint8_t *out)
{
	assert(digest->running);
	check(EVP_DigestFinal_ex(digest->context, out, NULL));
	digest->running = false;
}

void digest_of(struct digest *digest, struct bytes bytes, uint8_t *out)
{
	digest_start(digest);
	digest_add(digest, bytes);
	digest_finish(digest, out);
}

/* Starts with the key's block, every byte turned by `pad`. */
static void start_with_pad(struct digest *digest, struct bytes key, uint8_t pad)
{
	uint8_t block[HMAC_BLOCK_SIZE] = { 0 };

	if (key.size > HMAC_BLOCK_SIZE)
		digest_of(digest, key, block);
	else if (key.size > 0)
		memcpy(block, key.data, key.size);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= pad;
	digest_start(digest);
	digest_add(digest, bytes_of(block, sizeof(block)));
	OPENSSL_cleanse(block, sizeof(block));
}

void digest_hmac_start(struct digest *digest, struct bytes key)
{
	start_with_pad(digest, key, 0x36);
}

void digest_hmac_finish(struct digest *digest, struct bytes key, uint8_t *out)
{
	uint8_t inner[DIGEST_SIZE_MAX];

	digest_finish(digest, inner);
	start_with_pad(digest, key, 0x5c);
	digest_add(digest, bytes_of(inner, digest_size(digest->kind)));
	digest_finish(digest, out);
}

void digest_hmac(struct digest *digest, struct bytes key, struct bytes bytes, uint8_t *out)
{
	digest_hmac_start(digest, key);
	digest_add(digest, bytes);
	digest_hmac_finish(digest, key, out);
}

bool digest_equal(struct bytes a, struct bytes b)
{
	if (a.size != b.size)
		return false;
	return a.size == 0 || CRYPTO_memcmp(a.data, b.data, a.size) == 0;
}

void hex_format(struct bytes bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < bytes.size; i++) {
		out[2 * i] = digits[bytes.data[i] >> 4];
		out[2 * i + 1] = digits[bytes.data[i] & 15];
	}
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_parse(struct bytes text, uint8_t *out)
{
	if (text.size % 2 != 0)
		return false;
	for (size_t i = 0; i < text.size; i += 2) {
		int high = hex_value(text.data[i]), low = hex_value(text.data[i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i / 2] = (uint8_t)(high << 4 | low);
	}
	return true;
}
