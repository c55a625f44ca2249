/* SPDX-License-Identifier: Apache-2.0 */
/* A run of bytes that someone else owns. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *data; /* NULL only when size is 0 */
	size_t size;
};

/* The bytes of a string literal, without its terminator. */
#define BYTES(literal) ((struct bytes){ (const uint8_t *)("" literal), sizeof(literal) - 1 })

static inline struct bytes bytes_of(const void *data, size_t size)
{
	return (struct bytes){ (const uint8_t *)data, size };
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* In the order of memcmp(); a prefix comes before what it is a prefix of. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
	size_t shared = a.size < b.size ? a.size : b.size;
	int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);

	if (order != 0)
		return order;
	return a.size < b.size ? -1 : a.size > b.size;
}

/*
 * The first up to 8 bytes as a little-endian word, zeros behind them. Loads of whole words that may
 * overlap: a copy of a few bytes to memory, read back as one word, would wait for the copy.
 */
static inline uint64_t bytes_word(struct bytes bytes)
{
	uint64_t word;
	uint32_t first, last;
	uint16_t first_two, last_two;

	if (bytes.size >= 8) {
		memcpy(&word, bytes.data, 8);
		return word;
	}
	if (bytes.size >= 4) {
		memcpy(&first, bytes.data, 4);
		memcpy(&last, bytes.data + bytes.size - 4, 4);
		return first | (uint64_t)last << 8 * (bytes.size - 4);
	}
	if (bytes.size >= 2) {
		memcpy(&first_two, bytes.data, 2);
		memcpy(&last_two, bytes.data + bytes.size - 2, 2);
		return first_two | (uint64_t)last_two << 8 * (bytes.size - 2);
	}
	return bytes.size == 1 ? bytes.data[0] : 0;
}

#endif
