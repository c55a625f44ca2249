/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http.h"

#include "base/assert.h"

enum { TOKEN = 1, VALUE = 2 };

/* TOKEN: tchar of RFC 9110; VALUE: what a value may hold, TAB, space and obs-text included. */
// clang-format off
static const uint8_t classes[256] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, /* 00 */
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* 10 */
	2, 3, 2, 3, 3, 3, 3, 3, 2, 2, 3, 3, 2, 3, 3, 2, /* 20 */
	3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, /* 30 */
	2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, /* 40 */
	3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 3, 3, /* 50 */
	3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, /* 60 */
	3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 3, 2, 3, 0, /* 70 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* 80 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* 90 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* a0 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* b0 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* c0 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* d0 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* e0 */
	2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* f0 */
};
// clang-format on

static const struct {
	const char *name;
	enum http_method method;
} methods[] = {
	{ "GET", HTTP_GET },     { "HEAD", HTTP_HEAD },     { "PUT", HTTP_PUT },
	{ "POST", HTTP_POST },   { "DELETE", HTTP_DELETE }, { "OPTIONS", HTTP_OPTIONS },
	{ "PATCH", HTTP_PATCH },
};

enum http_method http_method_of(struct bytes name)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (bytes_equal(name, bytes_of(methods[i].name, strlen(methods[i].name))))
			return methods[i].method;
	}
	return HTTP_METHOD_OTHER;
}

/* RFC 9110 section 15, RFC 6585, RFC 4918. */
static const struct {
	unsigned status;
	const char *reason;
} reasons[] = {
	{ 100, "Continue" },
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 204, "No Content" },
	{ 206, "Partial Content" },
	{ 207, "Multi-Status" },
	{ 300, "Multiple Choices" },
	{ 301, "Moved Permanently" },
	{ 302, "Found" },
	{ 303, "See Other" },
	{ 304, "Not Modified" },
	{ 307, "Temporary Redirect" },
	{ 308, "Permanent Redirect" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 406, "Not Acceptable" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 410, "Gone" },
	{ 411, "Length Required" },
	{ 412, "Precondition Failed" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 415, "Unsupported Media Type" },
	{ 416, "Range Not Satisfiable" },
	{ 417, "Expectation Failed" },
	{ 421, "Misdirected Request" },
	{ 422, "Unprocessable Content" },
	{ 423, "Locked" },
	{ 426, "Upgrade Required" },
	{ 428, "Precondition Required" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 499, "Client Closed Request" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
	{ 505, "HTTP Version Not Supported" },
	{ 507, "Insufficient Storage" },
};

const char *http_reason(unsigned status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Unknown";
}

bool http_is_authority(struct bytes host)
{
	for (size_t i = 0; i < host.size; i++) {
		uint8_t c = host.data[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"#/<>?@\\^`{|},", c) != NULL)
			return false;
	}
	return true;
}

bool http_is_target(struct bytes target)
{
	for (size_t i = 0; i < target.size; i++) {
		uint8_t c = target.data[i];

		if (c <= ' ' || c == 0x7f || c == '#')
			return false;
	}
	return true;
}

size_t http_token_size(struct bytes bytes)
{
	size_t i = 0;

	while (i < bytes.size && (classes[bytes.data[i]] & TOKEN))
		i++;
	return i;
}

size_t http_value_size(struct bytes bytes)
{
	size_t i = 0;

	while (i < bytes.size && (classes[bytes.data[i]] & VALUE))
		i++;
	return i;
}

bool http_is_token(struct bytes bytes)
{
	return bytes.size > 0 && http_token_size(bytes) == bytes.size;
}

struct bytes http_trim(struct bytes bytes)
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

bool http_is_value(struct bytes bytes)
{
	return http_value_size(bytes) == bytes.size && http_trim(bytes).size == bytes.size;
}

static uint8_t lower_of(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

void http_lower(uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = lower_of(data[i]);
}

bool http_name_is(struct bytes name, struct bytes lower)
{
	if (name.size != lower.size)
		return false;
	for (size_t i = 0; i < name.size; i++) {
		assert(lower.data[i] == lower_of(lower.data[i]));
		if (lower_of(name.data[i]) != lower.data[i])
			return false;
	}
	return true;
}

/* Bytes up to the next comma that stands outside quotes, or all. */
static size_t element_size(struct bytes list)
{
	bool quoted = false;

	for (size_t i = 0; i < list.size; i++) {
		if (list.data[i] == '"')
			quoted = !quoted;
		else if (list.data[i] == '\\' && quoted)
			i++;
		else if (list.data[i] == ',' && !quoted)
			return i;
	}
	return list.size;
}

bool http_list_next(struct bytes *list, struct bytes *element)
{
	while (list->size > 0) {
		size_t size = element_size(*list);

		*element = http_trim(bytes_of(list->data, size));
		size += size < list->size;
		list->data += size;
		list->size -= size;
		if (element->size > 0)
			return true;
	}
	return false;
}

bool http_parse_u64(struct bytes digits, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (digits.size == 0)
		return false;
	for (size_t i = 0; i < digits.size; i++) {
		uint8_t digit = (uint8_t)(digits.data[i] - '0');

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*ret_value = value;
	return true;
}
