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

bool s3_query_parse(struct s3_query *query, struct bytes text, uint8_t *scratch)
{
	query->count = 0;
	while (text.size > 0) {
		struct bytes value = bytes_cut(&text, '&');
		struct s3_parameter *parameter = &query->parameters[query->count];
		bool has_value = value.size > 0 && memchr(value.data, '=', value.size) != NULL;
		struct bytes name = bytes_cut(&value, '=');
		long name_size, value_size;

		if (name.size == 0 && value.size == 0)
			continue;
		if (query->count == S3_QUERY_MAX)
			return false;
		name_size = s3_uri_decode(name, true, scratch);
		if (name_size < 0)
			return false;
		value_size = s3_uri_decode(value, true, scratch + name_size);
		if (value_size < 0)
			return false;
		parameter->name = bytes_of(scratch, (size_t)name_size);
		parameter->value = bytes_of(scratch + name_size, (size_t)value_size);
		parameter->has_value = has_value;
		scratch += name_size + value_size;
		query->count++;
	}
	return true;
}

const struct s3_parameter *s3_query_find(const struct s3_query *query, const char *name)
{
	struct bytes wanted = bytes_of(name, strlen(name));

	assert(query->count <= S3_QUERY_MAX);
	for (uint32_t i = 0; i < query->count; i++) {
		if (bytes_equal(query->parameters[i].name, wanted))
			return &query->parameters[i];
	}
	return NULL;
}

struct bytes s3_query_value(const struct s3_query *query, const char *name)
{
	const struct s3_parameter *parameter = s3_query_find(query, name);

	return parameter == NULL ? (struct bytes){ 0 } : parameter->value;
}
