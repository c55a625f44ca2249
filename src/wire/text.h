/* SPDX-License-Identifier: Apache-2.0 */
/* Text that is built piece by piece in memory of a fixed size. */
#ifndef WIRE_TEXT_H
#define WIRE_TEXT_H

#include <stdbool.h>

#include "base/bytes.h"

/*
 * Memory: the caller's. What does not fit is dropped whole, and so is all that comes after it:
 * look at `overflowed` once, at the end.
 */
struct text {
	char *data;
	size_t size, size_max;
	bool overflowed;
};

void text_init(struct text *text, void *data, size_t size_max);
void text_add(struct text *text, struct bytes bytes);
void text_put(struct text *text, char c);
void text_string(struct text *text, const char *string);
void text_u64(struct text *text, uint64_t value);
void text_hex(struct text *text, struct bytes bytes); /* lower case */
void text_base64(struct text *text, struct bytes bytes);
void text_lower(struct text *text, struct bytes bytes); /* ASCII letters in lower case */

static inline struct bytes text_bytes(const struct text *text)
{
	return bytes_of(text->data, text->size);
}

/* Parsing and comparing of words, for codecs. */
struct bytes bytes_trim(struct bytes bytes);                    /* blanks and tabs */
bool bytes_equal_ignoring_case(struct bytes a, struct bytes b); /* ASCII */
bool bytes_starts_with(struct bytes bytes, struct bytes prefix);
/* Decimal digits only, at least one, not above `max`. */
bool bytes_parse_u64(struct bytes bytes, uint64_t max, uint64_t *ret_value);
/* Cuts at the first `c`: returns what is before, *rest is what is after; no c: all, and empty. */
struct bytes bytes_cut(struct bytes *rest, char c);

#endif
