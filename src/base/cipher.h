/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256-GCM, by libcrypto: pieces that are hidden, and cannot be changed unseen. */
#ifndef BASE_CIPHER_H
#define BASE_CIPHER_H

#include <stdbool.h>

#include "base/bytes.h"

enum { CIPHER_KEY_SIZE = 32, CIPHER_NONCE_SIZE = 12, CIPHER_TAG_SIZE = 16 };

/*
 * NIST SP 800-38D with a tag of 128 bits, which lies behind the sealed bytes. A pair of key and
 * nonce must never be used for two texts.
 *
 * Memory: libcrypto's context, taken by cipher_open() and kept over any number of keys.
 * Thread: one at a time.
 */
struct cipher {
	void *context;
};

bool cipher_open(struct cipher *cipher); /* false: no memory. Allocates. */
void cipher_close(struct cipher *cipher);

/*
 * Writes in.size + CIPHER_TAG_SIZE bytes; `out` may be `in.data`. At most 1 GiB at a time. The key
 * is not kept.
 */
void cipher_seal(struct cipher *cipher, const uint8_t *key, const uint8_t *nonce, struct bytes in,
                 uint8_t *out);
/*
 * Back, without the tag. False: the key is another, or the bytes are; then what is in `out` must
 * not be used. `in` has at least CIPHER_TAG_SIZE bytes.
 */
bool cipher_unseal(struct cipher *cipher, const uint8_t *key, const uint8_t *nonce, struct bytes in,
                   uint8_t *out) __attribute__((warn_unused_result));

#endif
