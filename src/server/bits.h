/* SPDX-License-Identifier: Apache-2.0 */
/* Strings as arrays of bits: SETBIT, BITCOUNT, BITPOS, BITOP and BITFIELD on runs of bytes. */
#ifndef SERVER_BITS_H
#define SERVER_BITS_H

#include <stdbool.h>

#include "base/bytes.h"

/*
 * Bit 0 is the highest bit of byte 0. Past its end a string has zeros for ever. All functions are
 * pure and touch no memory but what they are given.
 */
#define BITS_OFFSET_MAX ((512ull << 23) - 1) /* in a string of 512 MiB */

/*
 * Reads a bit offset. With `width` not 0, "#n" is n times width. False: not an integer, negative or
 * past BITS_OFFSET_MAX; Redis says BITS_OFFSET_ERROR then.
 */
bool bits_parse_offset(struct bytes text, unsigned width, uint64_t *ret_offset);
#define BITS_OFFSET_ERROR "bit offset is not an integer or out of range"

bool bits_get(struct bytes string, uint64_t offset);

/* Sets one bit of `data`, which is large enough, and returns the bit before. */
bool bits_set(uint8_t *data, uint64_t offset, bool bit);

/* The range of BITCOUNT and BITPOS as given: negative ones count from the end, inclusive. */
struct bits_range {
	int64_t start;
	int64_t end;
	bool by_bit;    /* in bits; else in bytes */
	bool end_given; /* else to the end of the string, and BITPOS of 0 sees zeros after it */
};

uint64_t bits_count(struct bytes string, const struct bits_range *range); /* NULL: the whole */
int64_t bits_position(struct bytes string, bool bit, const struct bits_range *range); /* or -1 */

enum bits_op { BITS_AND, BITS_OR, BITS_XOR, BITS_NOT, BITS_COPY };

/* AND, OR, XOR or NOT. */
bool bits_parse_op(struct bytes text, enum bits_op *ret_op);

/* One source over `out`: NOT and COPY replace what is there. */
void bits_apply(enum bits_op op, const uint8_t *source, size_t size, uint8_t *out);

/* The range of bits [*ret_from, *ret_to) in a string of `size` bytes; false: it is empty. */
bool bits_resolve(const struct bits_range *range, size_t size, uint64_t *ret_from,
                  uint64_t *ret_to);

/* Bytes of the longest of the sources: the size of the result of a bits_combine(). */
size_t bits_combined_size(const struct bytes *sources, size_t count);

/* Writes bits_combined_size() bytes to `out`, which is none of the sources. NOT: one source. */
void bits_combine(enum bits_op op, const struct bytes *sources, size_t count, uint8_t *out);

enum bitfield_kind { BITFIELD_GET, BITFIELD_SET, BITFIELD_ADD };
enum bitfield_overflow { BITFIELD_WRAP, BITFIELD_SATURATE, BITFIELD_FAIL };

/* One step of a BITFIELD. */
struct bitfield_step {
	uint64_t offset;  /* of its first bit */
	int64_t value;    /* SET, ADD */
	uint8_t kind;     /* enum bitfield_kind */
	uint8_t overflow; /* enum bitfield_overflow */
	uint8_t width;    /* 1..64 bits, 63 when not signed */
	bool is_signed;
};

struct bitfield {
	struct bitfield_step *steps; /* the caller's memory */
	uint32_t step_count;
	uint32_t step_max; /* enough: argument count / 3 */
	size_t size_min;   /* bytes the string must have when it writes; 0: it only reads */
};

/*
 * Compiles the arguments after the key into `field`, whose steps and step_max are set. With
 * `read_only`, as BITFIELD_RO takes them. Returns NULL, or the text of Redis's error.
 */
const char *bitfield_parse(const struct bytes *args, size_t count, bool read_only,
                           struct bitfield *field);

/* False: overflow and FAIL, the reply is null and nothing was written; else *ret_value is it. */
bool bitfield_run(const struct bitfield_step *step, uint8_t *data, size_t size, int64_t *ret_value);

/* What a GET sees, of a string that is not to be written. */
int64_t bitfield_get(const struct bitfield_step *step, struct bytes string);

#endif
