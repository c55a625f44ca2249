/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http_range.h"

#include <inttypes.h>
#include <stdio.h>

#include "wire/http.h"
#include "wire/http_date.h"

enum spec { SPEC_WRONG, SPEC_OUTSIDE, SPEC_OK };

/* Digits that do not fit 64 bits are a position behind any end. */
static bool position_parse(struct bytes digits, uint64_t *ret_value)
{
	if (digits.size == 0)
		return false;
	for (size_t i = 0; i < digits.size; i++) {
		if ((uint8_t)(digits.data[i] - '0') > 9)
			return false;
	}
	if (!http_parse_u64(digits, ret_value))
		*ret_value = UINT64_MAX;
	return true;
}

static enum spec spec_parse(struct bytes spec, uint64_t size, struct http_range *range)
{
	const uint8_t *dash = memchr(spec.data, '-', spec.size);
	struct bytes first, last;
	uint64_t from = 0, to = UINT64_MAX;

	if (dash == NULL)
		return SPEC_WRONG;
	first = bytes_of(spec.data, (size_t)(dash - spec.data));
	last = bytes_of(dash + 1, spec.size - first.size - 1);
	if (first.size == 0) {
		if (!position_parse(last, &to))
			return SPEC_WRONG;
		if (to == 0 || size == 0)
			return SPEC_OUTSIDE;
		range->size = to < size ? to : size;
		range->offset = size - range->size;
		return SPEC_OK;
	}
	if (!position_parse(first, &from) || (last.size > 0 && !position_parse(last, &to)) ||
	    from > to)
		return SPEC_WRONG;
	if (from >= size)
		return SPEC_OUTSIDE;
	range->offset = from;
	range->size = (to < size ? to + 1 : size) - from;
	return SPEC_OK;
}

enum http_range_result http_range_parse(struct bytes value, uint64_t size,
                                        struct http_range *ranges, unsigned count_max,
                                        unsigned *count)
{
	struct bytes unit = bytes_of(value.data, value.size < 6 ? value.size : 6), spec;
	bool outside = false;

	*count = 0;
	if (!http_name_is(unit, BYTES("bytes=")))
		return HTTP_RANGE_IGNORED;
	value = bytes_of(value.data + 6, value.size - 6);
	while (http_list_next(&value, &spec)) {
		struct http_range range;

		switch (spec_parse(spec, size, &range)) {
		case SPEC_WRONG:
			return HTTP_RANGE_IGNORED;
		case SPEC_OUTSIDE:
			outside = true;
			break;
		case SPEC_OK:
			if (*count == count_max)
				return HTTP_RANGE_IGNORED;
			ranges[(*count)++] = range;
			break;
		}
	}
	if (*count > 0)
		return HTTP_RANGE_OK;
	return outside ? HTTP_RANGE_UNSATISFIABLE : HTTP_RANGE_IGNORED;
}

size_t http_content_range(const struct http_range *range, uint64_t size, char *out)
{
	char text[HTTP_CONTENT_RANGE_MAX + 1];
	int used = snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
	                    range->offset, range->offset + range->size - 1, size);

	memcpy(out, text, (size_t)used);
	return (size_t)used;
}

static bool is_weak(struct bytes etag)
{
	return etag.size >= 2 && etag.data[0] == 'W' && etag.data[1] == '/';
}

static struct bytes opaque_of(struct bytes etag)
{
	if (is_weak(etag))
		etag = bytes_of(etag.data + 2, etag.size - 2);
	if (etag.size >= 2 && etag.data[0] == '"' && etag.data[etag.size - 1] == '"')
		etag = bytes_of(etag.data + 1, etag.size - 2);
	return etag;
}

bool http_etag_is_in(struct bytes list, struct bytes etag, bool weak)
{
	struct bytes element;

	while (http_list_next(&list, &element)) {
		if (bytes_equal(element, BYTES("*")))
			return true;
		if (!weak && (is_weak(element) || is_weak(etag)))
			continue;
		if (bytes_equal(opaque_of(element), opaque_of(etag)))
			return true;
	}
	return false;
}

enum http_verdict http_conditions_judge(const struct http_conditions *c,
                                        const struct http_selected *state, bool read)
{
	bool dated = state->exists && state->modified_unix_s != 0;
	uint64_t date_s;

	if (c->if_match.data != NULL) {
		if (!state->exists || !http_etag_is_in(c->if_match, state->etag, false))
			return HTTP_PRECONDITION_FAILED;
	} else if (c->if_unmodified_since.data != NULL && dated &&
	           http_date_parse(c->if_unmodified_since, &date_s) &&
	           state->modified_unix_s > date_s) {
		return HTTP_PRECONDITION_FAILED;
	}
	if (c->if_none_match.data != NULL) {
		if (state->exists && http_etag_is_in(c->if_none_match, state->etag, true))
			return read ? HTTP_NOT_MODIFIED : HTTP_PRECONDITION_FAILED;
	} else if (read && c->if_modified_since.data != NULL && dated &&
	           http_date_parse(c->if_modified_since, &date_s) &&
	           state->modified_unix_s <= date_s) {
		return HTTP_NOT_MODIFIED;
	}
	return HTTP_PROCEED;
}

bool http_if_range(struct bytes value, const struct http_selected *state)
{
	uint64_t date_s;

	if (!state->exists)
		return false;
	if (http_date_parse(value, &date_s))
		return state->modified_unix_s != 0 && state->modified_unix_s == date_s;
	return value.size > 0 && value.data[0] == '"' && !is_weak(state->etag) &&
	       bytes_equal(value, state->etag);
}
