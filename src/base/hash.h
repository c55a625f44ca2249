/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums and hashes of bytes. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>

#include "base/bytes.h"

/*
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4): crc32c(0, "123456789") is 0xe3069283. `crc` is the
 * value for the bytes before, so a checksum can be made in pieces.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* XXH3 with a seed that never changes: what is stored may depend on it. */
uint64_t hash64(struct bytes bytes);

#endif
