/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/text.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/base64.h"
#include "base/digest.h"

void text_init(struct text *text, void *data, size_t size_max)
{
	assert(data != NULL || size_max == 0);
	*text = (struct text){ .data = data, .size_max = size_max };
}

/* Room for `size` more, or NULL for this and every later piece. */
static char *reserve(struct text *text, size_t size)
{
	char *at = text->data + text->size;

	assert(text->size <= text->size_max);
	if (text->overflowed || text->size_max - text->size < size) {
		text->overflowed = true;
		return NULL;
	}
	text->size += size;
	return at;
}

void text_add(struct text *text, struct bytes bytes)
{
	char *at = reserve(text, bytes.size);

	if (at != NULL && bytes.size > 0)
		memcpy(at, bytes.data, bytes.size);
}

void text_put(struct text *text, char c)
{
	char *at = reserve(text, 1);

	if (at != NULL)
		*at = c;
}

void text_string(struct text *text, const char *string)
{
	text_add(text, bytes_of(string, strlen(string)));
}

void text_u64(struct text *text, uint64_t value)
{
	char digits[24];
	int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);

	assert(size > 0 && (size_t)size < sizeof(digits));
	text_add(text, bytes_of(digits, (size_t)size));
}

void text_hex(struct text *text, struct bytes bytes)
{
	char *at = reserve(text, 2 * bytes.size);

	if (at != NULL)
		hex_format(bytes, at);
}

void text_base64(struct text *text, struct bytes bytes)
{
	char *at = reserve(text, BASE64_SIZE(bytes.size));

	if (at != NULL)
		base64_format(bytes, at);
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

void text_lower(struct text *text, struct bytes bytes)
{
	char *at = reserve(text, bytes.size);

	for (size_t i = 0; at != NULL && i < bytes.size; i++)
		at[i] = (char)lower(bytes.data[i]);
}

struct bytes bytes_trim(struct bytes bytes)
{
	while (bytes.size > 0 && (bytes.data[0] == ' ' || bytes.data[0] == '\t')) {
		bytes.data++;
		bytes.size--;
	}
	while (bytes.size > 0 &&
	       (bytes.data[bytes.size - 1] == ' ' || bytes.data[bytes.size - 1] == '\t'))
		bytes.size--;
	return bytes;
}

bool bytes_equal_ignoring_case(struct bytes a, struct bytes b)
{
	if (a.size != b.size)
		return false;
	for (size_t i = 0; i < a.size; i++) {
		if (lower(a.data[i]) != lower(b.data[i]))
			return false;
	}
	return true;
}

bool bytes_starts_with(struct bytes bytes, struct bytes prefix)
{
	return bytes.size >= prefix.size && bytes_equal(bytes_of(bytes.data, prefix.size), prefix);
}

bool bytes_parse_u64(struct bytes bytes, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (bytes.size == 0 || bytes.size > 20)
		return false;
	for (size_t i = 0; i < bytes.size; i++) {
		unsigned digit = bytes.data[i] - (unsigned)'0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (value > max)
		return false;
	*ret_value = value;
	return true;
}

struct bytes bytes_cut(struct bytes *rest, char c)
{
	const uint8_t *at = rest->size == 0 ? NULL : memchr(rest->data, c, rest->size);
	struct bytes before = *rest;

	if (at == NULL) {
		*rest = (struct bytes){ 0 };
		return before;
	}
	before.size = (size_t)(at - before.data);
	*rest = bytes_of(at + 1, rest->size - before.size - 1);
	return before;
}
