/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/url.h"

/* The value of a hexadecimal digit; -1: none. */
static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool url_decode(struct bytes text, unsigned flags, uint8_t *out, size_t *ret_size)
{
	size_t used = 0;

	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];

		if (c == '%') {
			int high = text.size - i > 2 ? hex_value(text.data[i + 1]) : -1;
			int low = text.size - i > 2 ? hex_value(text.data[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (uint8_t)(high << 4 | low);
			i += 2;
		} else if (c == '+' && (flags & URL_PLUS_IS_SPACE)) {
			c = ' ';
		}
		out[used++] = c;
	}
	*ret_size = used;
	return true;
}

static bool is_unreserved(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

size_t url_encode(struct bytes bytes, bool keep_slash, uint8_t *out)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t used = 0;

	for (size_t i = 0; i < bytes.size; i++) {
		uint8_t c = bytes.data[i];

		if (is_unreserved(c) || (c == '/' && keep_slash)) {
			out[used++] = c;
			continue;
		}
		out[used++] = '%';
		out[used++] = (uint8_t)digits[c >> 4];
		out[used++] = (uint8_t)digits[c & 15];
	}
	return used;
}

bool url_query_next(struct bytes *query, struct bytes *name, struct bytes *value)
{
	while (query->size > 0) {
		const uint8_t *start = query->data;
		const uint8_t *end = memchr(start, '&', query->size), *equals;
		size_t size = end == NULL ? query->size : (size_t)(end - start);

		query->data += size + (end != NULL);
		query->size -= size + (end != NULL);
		if (size == 0)
			continue;
		equals = memchr(start, '=', size);
		*name = bytes_of(start, equals == NULL ? size : (size_t)(equals - start));
		*value = equals == NULL ? bytes_of(NULL, 0)
		                        : bytes_of(equals + 1, size - name->size - 1);
		return true;
	}
	return false;
}
