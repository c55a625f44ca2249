/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256 in counter mode, by libcrypto: as many bytes out as in, and any piece alone. */
#ifndef BASE_CIPHER_H
#define BASE_CIPHER_H

#include <stdbool.h>

#include "base/bytes.h"

enum { CIPHER_KEY_SIZE = 32, CIPHER_NONCE_SIZE = 8, CIPHER_BLOCK_SIZE = 16 };

/*
 * NIST SP 800-38A, counter mode: the counter block is the nonce and then the index of the 16 byte
 * block, big-endian. It hides; that bytes are what was written is for checksums to say. A pair of
 * key and nonce must never be used for two texts.
 *
 * Memory: libcrypto's context, taken by cipher_open() and kept over any number of keys.
 * Thread: one at a time.
 */
struct cipher {
	void *context;
	bool running;
};

bool cipher_open(struct cipher *cipher); /* false: no memory. Allocates. */
void cipher_close(struct cipher *cipher);

void cipher_start(struct cipher *cipher, const uint8_t *key, const uint8_t *nonce, uint64_t offset);
/* Encrypts or decrypts what follows; `out` may be `in.data`. */
void cipher_apply(struct cipher *cipher, struct bytes in, uint8_t *out);
void cipher_forget(struct cipher *cipher); /* wipes the key */

#endif
