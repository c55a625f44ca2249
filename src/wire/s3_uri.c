/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_uri.h"

#include "base/assert.h"
#include "base/digest.h"

long s3_uri_decode(struct bytes text, bool plus, uint8_t *out)
{
	size_t size = 0;

	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];

		if (c == '%') {
			if (text.size - i < 3 || !hex_parse(bytes_of(text.data + i + 1, 2), &c))
				return -1;
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		out[size++] = c;
	}
	assert(size <= text.size);
	return (long)size;
}

static bool is_unreserved(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

void s3_uri_encode(struct text *text, struct bytes bytes, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < bytes.size; i++) {
		uint8_t c = bytes.data[i];
		const char escape[3] = { '%', digits[c >> 4], digits[c & 15] };

		if (is_unreserved(c) || (c == '/' && keep_slash))
			text_put(text, (char)c);
		else
			text_add(text, bytes_of(escape, sizeof(escape)));
	}
}
