/* SPDX-License-Identifier: Apache-2.0 */
#include "base/xts.h"

#include <openssl/evp.h>

#include "base/assert.h"

enum { TWEAK_SIZE = 16, UNIT_SIZE_MAX = 1 << 24 }; /* IEEE 1619: at most 2^20 blocks of AES */

/* With a key, without a tweak yet; NULL: it was refused. */
static EVP_CIPHER_CTX *make_context(const uint8_t *key, int encrypt)
{
	static const uint8_t tweak[TWEAK_SIZE];
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

	if (context == NULL)
		return NULL;
	if (EVP_CipherInit_ex(context, EVP_aes_256_xts(), NULL, key, tweak, encrypt) == 1)
		return context;
	EVP_CIPHER_CTX_free(context);
	return NULL;
}

bool xts_open(struct xts *xts, const uint8_t *key)
{
	assert(key != NULL);
	xts->encrypt = make_context(key, 1);
	xts->decrypt = make_context(key, 0);
	if (xts->encrypt != NULL && xts->decrypt != NULL)
		return true;
	xts_close(xts);
	return false;
}

void xts_close(struct xts *xts)
{
	EVP_CIPHER_CTX_free(xts->encrypt);
	EVP_CIPHER_CTX_free(xts->decrypt);
	*xts = (struct xts){ .encrypt = NULL };
}

static void apply(EVP_CIPHER_CTX *context, uint64_t number, struct bytes in, uint8_t *out)
{
	uint8_t tweak[TWEAK_SIZE] = { 0 };
	int done = 0, ok;

	assert(context != NULL);
	assert(in.size >= XTS_UNIT_SIZE_MIN && in.size <= UNIT_SIZE_MAX);
	for (unsigned i = 0; i < 8; i++)
		tweak[i] = (uint8_t)(number >> 8 * i);
	/* Without a device or a policy behind it, AES of libcrypto has no reason to fail. */
	ok = EVP_CipherInit_ex(context, NULL, NULL, NULL, tweak, -1);
	assert(ok == 1);
	ok = EVP_CipherUpdate(context, out, &done, in.data, (int)in.size);
	assert(ok == 1 && (size_t)done == in.size);
}

void xts_encrypt(struct xts *xts, uint64_t number, struct bytes in, uint8_t *out)
{
	apply(xts->encrypt, number, in, out);
}

void xts_decrypt(struct xts *xts, uint64_t number, struct bytes in, uint8_t *out)
{
	apply(xts->decrypt, number, in, out);
}
