/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256-XTS, by libcrypto: for the blocks of devices. */
#ifndef BASE_XTS_H
#define BASE_XTS_H

#include <stdbool.h>

#include "base/bytes.h"

enum { XTS_KEY_SIZE = 64, XTS_UNIT_SIZE_MIN = 16 };

/*
 * IEEE 1619-2007 and NIST SP 800-38E: units of a device, each with its number, which is the tweak,
 * little-endian. What dm-crypt calls aes-xts-plain64. It hides; it proves nothing.
 *
 * Memory: libcrypto's contexts, taken by xts_open(). Thread: one at a time.
 */
struct xts {
	void *encrypt, *decrypt;
};

/* False: no memory, or the two halves of the key are the same. Allocates. */
bool xts_open(struct xts *xts, const uint8_t *key);
void xts_close(struct xts *xts);

/* One unit, the same bytes each way; `out` may be `in.data`. */
void xts_encrypt(struct xts *xts, uint64_t number, struct bytes in, uint8_t *out);
void xts_decrypt(struct xts *xts, uint64_t number, struct bytes in, uint8_t *out);

#endif
