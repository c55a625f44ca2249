/* SPDX-License-Identifier: Apache-2.0 */
/* Cryptographic digests, by libcrypto: passwords, signatures, entity tags. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>

#include "base/bytes.h"

enum digest_kind { DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256, DIGEST_KIND_COUNT };

enum {
	DIGEST_SIZE_MAX = 32,
	DIGEST_HEX_MAX = 2 * DIGEST_SIZE_MAX,
	SHA256_SIZE = 32,
};

size_t digest_size(enum digest_kind kind); /* bytes: 16, 20, 32 */

/*
 * A digest made in pieces.
 *
 * Memory: libcrypto's context, taken by digest_open() and kept over any number of digests.
 * Thread: one at a time.
 */
struct digest {
	void *context;
	enum digest_kind kind;
	bool running;
};

/* False: no memory, or the library's policy forbids the kind (MD5 in FIPS mode). Allocates. */
bool digest_open(struct digest *digest, enum digest_kind kind);
void digest_close(struct digest *digest);

void digest_start(struct digest *digest); /* drops what was added before */
void digest_add(struct digest *digest, struct bytes bytes);
void digest_finish(struct digest *digest, uint8_t *out); /* digest_size(); start() again after */

/* Starts, adds and finishes. */
void digest_of(struct digest *digest, struct bytes bytes, uint8_t *out);

/*
 * RFC 2104 with the digest's kind; `out` holds digest_size() bytes. Drops what was added before.
 * In pieces: start with the key, digest_add() the rest, finish with the same key.
 */
void digest_hmac(struct digest *digest, struct bytes key, struct bytes bytes, uint8_t *out);
void digest_hmac_start(struct digest *digest, struct bytes key);
void digest_hmac_finish(struct digest *digest, struct bytes key, uint8_t *out);

/* Compares in a time that depends on the sizes only. */
bool digest_equal(struct bytes a, struct bytes b);

/* Lower-case hexadecimal, 2 * bytes.size, not terminated. */
void hex_format(struct bytes bytes, char *out);

/* False: odd, or not hexadecimal; else text.size / 2 bytes are written. Either case. */
bool hex_parse(struct bytes text, uint8_t *out);

#endif
