/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/assert.h"

enum { TEXT_MAX = 1 << 30 }; /* libcrypto takes an int */

bool cipher_open(struct cipher *cipher)
{
	*cipher = (struct cipher){ .context = EVP_CIPHER_CTX_new() };
	return cipher->context != NULL;
}

void cipher_close(struct cipher *cipher)
{
	EVP_CIPHER_CTX_free(cipher->context);
	OPENSSL_cleanse(cipher, sizeof(*cipher));
}

/* Without a device or a policy behind it, AES of libcrypto has no reason to fail. */
static void check(int result)
{
	assert(result == 1);
}

void cipher_seal(struct cipher *cipher, const uint8_t *key, const uint8_t *nonce, struct bytes in,
                 uint8_t *out)
{
	EVP_CIPHER_CTX *context = cipher->context;
	int done = 0, more = 0;

	assert(context != NULL && key != NULL && nonce != NULL);
	assert(in.size <= TEXT_MAX);
	check(EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, nonce));
	if (in.size > 0)
		check(EVP_EncryptUpdate(context, out, &done, in.data, (int)in.size));
	check(EVP_EncryptFinal_ex(context, out + done, &more));
	assert((size_t)done == in.size && more == 0);
	check(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, CIPHER_TAG_SIZE, out + done));
	check(EVP_CIPHER_CTX_reset(context));
}

bool cipher_unseal(struct cipher *cipher, const uint8_t *key, const uint8_t *nonce, struct bytes in,
                   uint8_t *out)
{
	EVP_CIPHER_CTX *context = cipher->context;
	uint8_t tag[CIPHER_TAG_SIZE];
	size_t size = in.size - CIPHER_TAG_SIZE;
	int done = 0, more = 0;
	bool right;

	assert(context != NULL && key != NULL && nonce != NULL);
	assert(in.size >= CIPHER_TAG_SIZE && size <= TEXT_MAX);
	memcpy(tag, in.data + size, CIPHER_TAG_SIZE);
	check(EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, nonce));
	if (size > 0)
		check(EVP_DecryptUpdate(context, out, &done, in.data, (int)size));
	assert((size_t)done == size);
	check(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, CIPHER_TAG_SIZE, tag));
	right = EVP_DecryptFinal_ex(context, out + done, &more) == 1;
	check(EVP_CIPHER_CTX_reset(context));
	return right;
}
