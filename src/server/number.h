/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as Redis reads and writes them: strict, without locale, without allocation. */
#ifndef SERVER_NUMBER_H
#define SERVER_NUMBER_H

#include <stdbool.h>

#include "base/bytes.h"

enum {
	NUMBER_INT64_MAX = 20,     /* bytes of any int64 or uint64 in decimal, sign included */
	NUMBER_DOUBLE_MAX = 32,    /* bytes of any number_format_double() */
	NUMBER_LONG_MAX = 5 << 10, /* bytes of any number_format_long(), and of what is parsed */
	NUMBER_SIZE_MAX = 32,      /* bytes of any number_format_size(), terminator included */
};

/*
 * The whole of `text` as a decimal: no spaces, no plus, no leading zeros, no "-0". False when it is
 * not one or out of range; *ret_value is not touched then.
 */
bool number_parse_int64(struct bytes text, int64_t *ret_value);
bool number_parse_uint64(struct bytes text, uint64_t *ret_value);

/* Writes the decimal, not terminated, and returns its size: at most NUMBER_INT64_MAX. */
size_t number_format_int64(int64_t value, char *out);
size_t number_format_uint64(uint64_t value, char *out);

/* False, and *ret_sum not touched, when a + b does not fit. */
bool number_add_int64(int64_t a, int64_t b, int64_t *ret_sum);

/*
 * As strtold() and strtod() take them, hexadecimal and "inf" too, but no space before or after, no
 * nan, and no number too large or too small to hold.
 */
bool number_parse_long(struct bytes text, long double *ret_value);
bool number_parse_double(struct bytes text, double *ret_value);

/*
 * The decimal that INCRBYFLOAT stores: 17 places, less the zeros at the end; never an exponent.
 * `out` holds NUMBER_LONG_MAX bytes, not terminated. For a number that is not finite: inf, -inf.
 */
size_t number_format_long(long double value, char *out);

/*
 * The shortest of what scores and RESP3 doubles show: integers as such, else 17 digits; inf, -inf,
 * nan. `out` holds NUMBER_DOUBLE_MAX bytes; not terminated.
 */
size_t number_format_double(double value, char *out);

/*
 * Sizes for people: digits and b, k, kb, m, mb, g, gb, t, tb in either case; kb is 1024 and k 1000.
 * False when malformed or past 64 bits.
 */
bool number_parse_size(struct bytes text, uint64_t *ret_size);

/* 1.50K, 2.00G: as INFO's *_human fields; terminated. Returns the size without terminator. */
size_t number_format_size(uint64_t size, char *out);

#endif
