/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include "base/assert.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_format(struct bytes bytes, char *out)
{
	char *at = out;

	assert(bytes.size == 0 || bytes.data != NULL);
	for (size_t i = 0; i < bytes.size; i += 3) {
		size_t left = bytes.size - i;
		uint32_t word = (uint32_t)bytes.data[i] << 16;

		word |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
		word |= left > 2 ? bytes.data[i + 2] : 0;
		*at++ = alphabet[word >> 18];
		*at++ = alphabet[word >> 12 & 63];
		*at++ = left > 1 ? alphabet[word >> 6 & 63] : '=';
		*at++ = left > 2 ? alphabet[word & 63] : '=';
	}
	assert((size_t)(at - out) == BASE64_SIZE(bytes.size));
	return (size_t)(at - out);
}

static int digit_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

bool base64_parse(struct bytes text, uint8_t *out, size_t out_max, size_t *ret_size)
{
	size_t size = 0, pads = 0;

	if (text.size % 4 != 0)
		return false;
	while (pads < 2 && text.size > pads && text.data[text.size - 1 - pads] == '=')
		pads++;
	if (text.size / 4 * 3 - pads > out_max)
		return false;
	for (size_t i = 0; i < text.size; i += 4) {
		size_t digits = i + 4 == text.size ? 4 - pads : 4;
		uint32_t word = 0;

		for (size_t j = 0; j < digits; j++) {
			int value = digit_value(text.data[i + j]);

			if (value < 0)
				return false;
			word |= (uint32_t)value << (18 - 6 * j);
		}
		if ((digits == 2 && (word & 0xffff)) || (digits == 3 && (word & 0xff)))
			return false;
		for (size_t j = 0; j + 1 < digits; j++)
			out[size++] = (uint8_t)(word >> (16 - 8 * j));
	}
	*ret_size = size;
	return true;
}
