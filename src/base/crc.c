/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"

#include <isa-l/crc.h>

#include "base/assert.h"

/* Polynomials, reflected: the highest power is the lowest bit. */
#define CRC32_GZIP_POLY 0xedb88320u
#define CRC32C_POLY 0x82f63b78u
#define CRC64_NVME_POLY 0x9a6c9329ac4bc9b5ull

uint32_t crc32_gzip(uint32_t crc, struct bytes bytes)
{
	return bytes.size == 0 ? crc : crc32_gzip_refl(crc, bytes.data, bytes.size);
}

/*
 * Slicing by eight: tables[k][b] is the remainder of byte b with k zero bytes after it. ISA-L has
 * this polynomial from 2.31 on. The tables are constants once made; whoever makes them first makes
 * the same, so two threads may.
 */
static uint64_t tables[8][256];

static void make_tables(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t value = i;

		for (unsigned bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ CRC64_NVME_POLY : value >> 1;
		tables[0][i] = value;
	}
	for (unsigned k = 1; k < 8; k++) {
		for (unsigned i = 0; i < 256; i++) {
			uint64_t value = tables[k - 1][i];

			tables[k][i] = value >> 8 ^ tables[0][value & 255];
		}
	}
}

__attribute__((constructor)) static void init_tables(void)
{
	make_tables();
	assert(tables[0][128] == CRC64_NVME_POLY);
}

uint64_t crc64_nvme(uint64_t crc, struct bytes bytes)
{
	const uint8_t *at = bytes.data;
	size_t left = bytes.size;

	crc = ~crc;
	for (; left >= 8; left -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		word ^= crc;
		crc = tables[7][word & 255] ^ tables[6][word >> 8 & 255] ^
		      tables[5][word >> 16 & 255] ^ tables[4][word >> 24 & 255] ^
		      tables[3][word >> 32 & 255] ^ tables[2][word >> 40 & 255] ^
		      tables[1][word >> 48 & 255] ^ tables[0][word >> 56];
	}
	for (; left > 0; left--, at++)
		crc = crc >> 8 ^ tables[0][(crc ^ *at) & 255];
	return ~crc;
}

/* Polynomials over GF(2), reflected in `width` bits: x^0 is the highest bit. */
struct field {
	uint64_t poly;
	unsigned width;
};

static uint64_t multiply(const struct field *field, uint64_t a, uint64_t b)
{
	uint64_t product = 0;

	for (unsigned bit = 0; bit < field->width; bit++) {
		if (a >> (field->width - 1 - bit) & 1)
			product ^= b;
		b = b & 1 ? b >> 1 ^ field->poly : b >> 1;
	}
	return product;
}

/* a * x^(8 * size) + b: A is moved past B; the complements cancel out. */
static uint64_t combine(const struct field *field, uint64_t a, uint64_t b, uint64_t size)
{
	uint64_t power = 1ull << (field->width - 1 - 8); /* x^8 */

	for (; size > 0; size >>= 1) {
		if (size & 1)
			a = multiply(field, a, power);
		power = multiply(field, power, power);
	}
	return a ^ b;
}

uint32_t crc32_gzip_combine(uint32_t a, uint32_t b, uint64_t b_size)
{
	static const struct field field = { CRC32_GZIP_POLY, 32 };

	return (uint32_t)combine(&field, a, b, b_size);
}

uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_size)
{
	static const struct field field = { CRC32C_POLY, 32 };

	return (uint32_t)combine(&field, a, b, b_size);
}

uint64_t crc64_nvme_combine(uint64_t a, uint64_t b, uint64_t b_size)
{
	static const struct field field = { CRC64_NVME_POLY, 64 };

	return combine(&field, a, b, b_size);
}
