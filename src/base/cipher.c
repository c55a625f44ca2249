/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/assert.h"

enum { PIECE_MAX = 1 << 30 }; /* libcrypto takes an int */

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

void cipher_start(struct cipher *cipher, const uint8_t *key, const uint8_t *nonce, uint64_t offset)
{
	static const uint8_t zeros[CIPHER_BLOCK_SIZE];
	uint8_t counter[CIPHER_BLOCK_SIZE], dropped[CIPHER_BLOCK_SIZE];
	uint64_t block = offset / CIPHER_BLOCK_SIZE;

	assert(cipher->context != NULL);
	assert(key != NULL && nonce != NULL);
	memcpy(counter, nonce, CIPHER_NONCE_SIZE);
	for (unsigned i = 0; i < 8; i++)
		counter[CIPHER_NONCE_SIZE + i] = (uint8_t)(block >> (56 - 8 * i));
	check(EVP_EncryptInit_ex(cipher->context, EVP_aes_256_ctr(), NULL, key, counter));
	cipher->running = true;
	cipher_apply(cipher, bytes_of(zeros, offset % CIPHER_BLOCK_SIZE), dropped);
}

void cipher_apply(struct cipher *cipher, struct bytes in, uint8_t *out)
{
	assert(cipher->running);
	while (in.size > 0) {
		int piece = in.size < PIECE_MAX ? (int)in.size : PIECE_MAX, done = 0;

		check(EVP_EncryptUpdate(cipher->context, out, &done, in.data, piece));
		assert(done == piece);
		in = bytes_of(in.data + piece, in.size - (size_t)piece);
		out += piece;
	}
}

void cipher_forget(struct cipher *cipher)
{
	check(EVP_CIPHER_CTX_reset(cipher->context));
	cipher->running = false;
}
