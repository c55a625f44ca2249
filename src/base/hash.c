/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <isa-l/crc.h> /* crc32_iscsi() leaves initialisation and complement to us */

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { HASH_SEED = 0x77656972 };

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *next = data;

	crc = ~crc;
	while (size > 0) { /* ISA-L takes an int */
		size_t piece = size < (1u << 30) ? size : 1u << 30;

		/* Its prototype lacks const; it only reads. */
		crc = crc32_iscsi((unsigned char *)(uintptr_t)next, (int)piece, crc);
		next += piece;
		size -= piece;
	}
	return ~crc;
}

uint64_t hash64(struct bytes bytes)
{
	return XXH3_64bits_withSeed(bytes.data, bytes.size, HASH_SEED);
}
