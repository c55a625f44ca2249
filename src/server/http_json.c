/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_json.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"

void http_json_init(struct http_json *json, uint8_t *data, size_t size)
{
	*json = (struct http_json){ .data = data, .size = (uint32_t)size };
}

static void put(struct http_json *json, const void *data, size_t size)
{
	if (size > json->size - json->used) {
		json->full = true;
		return;
	}
	if (size > 0 && !json->full) {
		memcpy(json->data + json->used, data, size);
		json->used += (uint32_t)size;
	}
}

static void begin_value(struct http_json *json)
{
	if (json->comma)
		put(json, ",", 1);
	json->comma = true;
}

void http_json_open(struct http_json *json, char bracket)
{
	assert(bracket == '{' || bracket == '[');
	begin_value(json);
	put(json, &bracket, 1);
	json->comma = false;
}

void http_json_close(struct http_json *json, char bracket)
{
	assert(bracket == '}' || bracket == ']');
	put(json, &bracket, 1);
	json->comma = true;
}

static void put_escaped(struct http_json *json, uint8_t c)
{
	static const char letters[] = "btnvfr";
	char text[8];

	if (c == '"' || c == '\\')
		put(json, (const char[]){ '\\', (char)c }, 2);
	else if (c >= '\b' && c <= '\r' && c != '\v')
		put(json, (const char[]){ '\\', letters[c - '\b'] }, 2);
	else
		put(json, text, (size_t)snprintf(text, sizeof(text), "\\u%04x", c));
}

static void put_string(struct http_json *json, struct bytes text)
{
	size_t start = 0;

	put(json, "\"", 1);
	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];

		if (c >= ' ' && c != '"' && c != '\\' && c != 0x7f)
			continue;
		put(json, text.data + start, i - start);
		put_escaped(json, c);
		start = i + 1;
	}
	put(json, text.data + start, text.size - start);
	put(json, "\"", 1);
}

void http_json_name(struct http_json *json, const char *name)
{
	begin_value(json);
	put_string(json, bytes_of(name, strlen(name)));
	put(json, ":", 1);
	json->comma = false;
}

void http_json_string(struct http_json *json, struct bytes text)
{
	begin_value(json);
	put_string(json, text);
}

void http_json_text(struct http_json *json, const char *text)
{
	http_json_string(json, bytes_of(text, strlen(text)));
}

void http_json_u64(struct http_json *json, uint64_t value)
{
	char text[24];

	begin_value(json);
	put(json, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, value));
}

void http_json_bool(struct http_json *json, bool value)
{
	begin_value(json);
	put(json, value ? "true" : "false", value ? 4 : 5);
}

void http_json_null(struct http_json *json)
{
	begin_value(json);
	put(json, "null", 4);
}

void http_json_raw(struct http_json *json, const char *text)
{
	put(json, text, strlen(text));
}

void http_json_line(struct http_json *json)
{
	put(json, "\n", 1);
	json->comma = false;
}

/* How many bytes of a well-formed character (RFC 3629) begin there; 0: none. */
static size_t utf8_size(const uint8_t *at, size_t left)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t size = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	uint32_t value = at[0] & (size == 1 ? 0x7f : 0xffu >> (size + 1));

	if (size == 0 || size > left || at[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < size; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (at[i] & 0x3f);
	}
	if (value < least[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	return size;
}

/* So that escapes at most double it. */
static bool is_plain_text(struct bytes bytes)
{
	for (size_t i = 0; i < bytes.size;) {
		uint8_t c = bytes.data[i];
		size_t size = utf8_size(bytes.data + i, bytes.size - i);

		if (size == 0 || c == 0x7f || (c < ' ' && c != '\t' && c != '\n' && c != '\r'))
			return false;
		i += size;
	}
	return true;
}

void http_json_bytes(struct http_json *json, const char *name, struct bytes bytes)
{
	char longer[64];
	size_t size = (bytes.size + 2) / 3 * 4;

	if (is_plain_text(bytes)) {
		http_json_name(json, name);
		http_json_string(json, bytes);
		return;
	}
	snprintf(longer, sizeof(longer), "%s_base64", name);
	http_json_name(json, longer);
	begin_value(json);
	put(json, "\"", 1);
	if (size > json->size - json->used)
		json->full = true;
	if (json->full)
		return;
	json->used += (uint32_t)http_base64_write(bytes, json->data + json->used);
	put(json, "\"", 1);
}

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t http_base64_write(struct bytes bytes, uint8_t *out)
{
	size_t used = 0;

	for (size_t i = 0; i < bytes.size; i += 3) {
		size_t left = bytes.size - i;
		uint32_t group = (uint32_t)bytes.data[i] << 16 |
		                 (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
		                 (left > 2 ? bytes.data[i + 2] : 0);

		out[used++] = (uint8_t)base64[group >> 18];
		out[used++] = (uint8_t)base64[group >> 12 & 63];
		out[used++] = left > 1 ? (uint8_t)base64[group >> 6 & 63] : '=';
		out[used++] = left > 2 ? (uint8_t)base64[group & 63] : '=';
	}
	return used;
}

bool http_base64_parse(struct bytes text, uint8_t *out, size_t *ret_size)
{
	size_t used = 0, padding = 0;

	if (text.size % 4 != 0)
		return false;
	while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=')
		padding++;
	for (size_t i = 0; i < text.size; i += 4) {
		uint32_t group = 0;

		for (size_t j = i; j < i + 4; j++) {
			const char *at = memchr(base64, text.data[j], sizeof(base64) - 1);

			if (at == NULL && j < text.size - padding)
				return false;
			group = group << 6 | (at == NULL ? 0 : (uint32_t)(at - base64));
		}
		out[used++] = (uint8_t)(group >> 16);
		out[used++] = (uint8_t)(group >> 8);
		out[used++] = (uint8_t)group;
	}
	*ret_size = used - padding;
	return true;
}
