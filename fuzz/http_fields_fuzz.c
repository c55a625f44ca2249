/* SPDX-License-Identifier: Apache-2.0 */
/* Values of fields and URLs of anybody: ranges, conditions, dates, lists, percent-encoding. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "wire/http.h"
#include "wire/http_date.h"
#include "wire/http_range.h"
#include "wire/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_range(struct bytes text, uint64_t size)
{
	struct http_range ranges[4];
	unsigned count;

	if (http_range_parse(text, size, ranges, 4, &count) != HTTP_RANGE_OK)
		return;
	assert(count >= 1 && count <= 4);
	for (unsigned i = 0; i < count; i++) {
		char out[HTTP_CONTENT_RANGE_MAX];

		assert(ranges[i].size > 0);
		assert(ranges[i].offset < size && ranges[i].size <= size - ranges[i].offset);
		assert(http_content_range(&ranges[i], size, out) <= sizeof(out));
	}
}

static void try_date(struct bytes text)
{
	char out[HTTP_DATE_SIZE];
	uint64_t first, again;

	if (!http_date_parse(text, &first))
		return;
	http_date_format(first, out);
	assert(http_date_parse(bytes_of(out, sizeof(out)), &again));
	/* A leap second at the end of time is cut. */
	assert(first == again || first > HTTP_DATE_MAX);
}

static void try_url(struct bytes text)
{
	uint8_t *encoded = malloc(3 * text.size + 1), *decoded = malloc(3 * text.size + 1);
	struct bytes query = text, name, value;
	size_t size, back;

	assert(encoded != NULL && decoded != NULL);
	size = url_encode(text, false, encoded);
	assert(url_decode(bytes_of(encoded, size), URL_PLUS_IS_SPACE, decoded, &back));
	assert(bytes_equal(text, bytes_of(decoded, back)));
	if (url_decode(text, 0, decoded, &back))
		assert(back <= text.size);
	while (url_query_next(&query, &name, &value))
		assert(name.size + value.size <= text.size);
	free(encoded);
	free(decoded);
}

static void try_conditions(struct bytes text)
{
	const struct http_selected selected = {
		.exists = true,
		.etag = BYTES("\"12-3\""),
		.modified_unix_s = 784111777,
	};
	const struct http_conditions as_match = { .if_match = text };
	const struct http_conditions as_none = { .if_none_match = text };
	bool in = http_etag_is_in(text, selected.etag, false);

	assert(!in || http_etag_is_in(text, selected.etag, true));
	assert(text.size == 0 || (http_conditions_judge(&as_match, &selected, true) ==
	                          (in ? HTTP_PROCEED : HTTP_PRECONDITION_FAILED)));
	assert(http_conditions_judge(&as_none, &selected, true) != HTTP_PRECONDITION_FAILED);
	http_if_range(text, &selected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes text;
	uint8_t *copy;
	uint64_t of;

	if (size < 2)
		return 0;
	/* A copy of its exact size, so that a sanitizer sees what is read past its end. */
	copy = malloc(size - 1);
	assert(copy != NULL);
	memcpy(copy, data + 1, size - 1);
	text = bytes_of(copy, size - 1);
	of = data[0] < 250 ? data[0] : UINT64_MAX - (255 - data[0]);
	try_range(text, of);
	try_date(text);
	try_url(text);
	try_conditions(text);
	free(copy);
	return 0;
}
