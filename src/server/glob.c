/* SPDX-License-Identifier: Apache-2.0 */
#include "server/glob.h"

#include "base/assert.h"

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static uint8_t fold(uint8_t c, bool nocase)
{
	return nocase ? lower(c) : c;
}

static bool range_has(uint8_t from, uint8_t to, uint8_t c, bool nocase)
{
	if (from > to) {
		uint8_t swap = from;

		from = to;
		to = swap;
	}
	return fold(c, nocase) >= fold(from, nocase) && fold(c, nocase) <= fold(to, nocase);
}

/* Matches `c` against the class that starts after the [ at `*at`, and moves *at past its ]. */
static bool class_match(struct bytes pattern, size_t *at, uint8_t c, bool nocase)
{
	const uint8_t *p = pattern.data;
	size_t i = *at, end = pattern.size;
	bool negated = i < end && p[i] == '^', found = false;

	assert(i <= end);
	if (negated)
		i++;
	for (; i < end && p[i] != ']'; i++) {
		if (p[i] == '\\' && end - i >= 2) {
			i++;
			found |= p[i] == c;
		} else if (end - i >= 3 && p[i + 1] == '-') {
			found |= range_has(p[i], p[i + 2], c, nocase);
			i += 2;
		} else {
			found |= fold(p[i], nocase) == fold(c, nocase);
		}
	}
	*at = i < end ? i + 1 : end;
	return found != negated;
}

/* Matches the one element at `*at`, which is not a star, and moves *at past it. */
static bool element_match(struct bytes pattern, size_t *at, uint8_t c, bool nocase)
{
	uint8_t element = pattern.data[(*at)++];

	assert(*at <= pattern.size && element != '*');
	switch (element) {
	case '?':
		return true;
	case '[':
		return class_match(pattern, at, c, nocase);
	case '\\':
		if (*at < pattern.size)
			element = pattern.data[(*at)++];
		break;
	default:
		break;
	}
	return fold(element, nocase) == fold(c, nocase);
}

/*
 * Only the last star seen is ever tried again: if what follows it fits nowhere further right, no
 * other placement of an earlier star can help.
 */
bool glob_match(struct bytes pattern, struct bytes subject, bool nocase)
{
	size_t p = 0, s = 0, star = SIZE_MAX, star_s = 0;

	while (s < subject.size) {
		if (p < pattern.size && pattern.data[p] == '*') {
			star = ++p;
			star_s = s;
			if (star == pattern.size)
				return true;
			continue;
		}
		if (p < pattern.size && element_match(pattern, &p, subject.data[s], nocase)) {
			s++;
			continue;
		}
		if (star == SIZE_MAX)
			return false;
		p = star;
		s = ++star_s;
	}
	while (p < pattern.size && pattern.data[p] == '*')
		p++;
	return p == pattern.size;
}

bool glob_is_literal(struct bytes pattern)
{
	for (size_t i = 0; i < pattern.size; i++) {
		uint8_t c = pattern.data[i];

		if (c == '*' || c == '?' || c == '[' || c == '\\')
			return false;
	}
	return true;
}

bool glob_covers(struct bytes outer, struct bytes inner)
{
	size_t stars = 0;

	if (bytes_equal(outer, inner))
		return true;
	if (glob_is_literal(inner))
		return glob_match(outer, inner, false);
	for (size_t i = 0; i < outer.size; i++) {
		uint8_t c = outer.data[i];

		if (c == '?' || c == '[' || c == '\\')
			return false;
		stars += c == '*';
	}
	/* prefix* covers whatever starts with the prefix, once that is all literal. */
	return stars == 1 && outer.data[outer.size - 1] == '*' && inner.size >= outer.size - 1 &&
	       glob_is_literal(bytes_of(inner.data, outer.size - 1)) &&
	       memcmp(outer.data, inner.data, outer.size - 1) == 0;
}
