/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_cors.h"

#include "base/assert.h"
#include "wire/s3_policy.h"

static bool is_method(struct bytes text)
{
	return bytes_equal(text, BYTES("GET")) || bytes_equal(text, BYTES("PUT")) ||
	       bytes_equal(text, BYTES("POST")) || bytes_equal(text, BYTES("DELETE")) ||
	       bytes_equal(text, BYTES("HEAD"));
}

static bool has_one_star(struct bytes text)
{
	const uint8_t *star = text.size == 0 ? NULL : memchr(text.data, '*', text.size);

	return star == NULL ||
	       memchr(star + 1, '*', text.size - (size_t)(star + 1 - text.data)) == NULL;
}

enum s3_error s3_cors_check(uint8_t *data, size_t size)
{
	uint32_t rules = 0, origins = 0, methods = 0;
	enum xml_event event;
	uint64_t number;
	struct xml xml;

	xml_init(&xml, data, size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN) {
			if (xml.depth == 1 && !xml_name_is(&xml, "CORSConfiguration"))
				return S3_MALFORMED_XML;
			continue;
		}
		if (xml_name_is(&xml, "AllowedOrigin")) {
			origins++;
			if (!has_one_star(xml.text))
				return S3_INVALID_REQUEST;
		} else if (xml_name_is(&xml, "AllowedMethod")) {
			methods++;
			if (!is_method(xml.text))
				return S3_INVALID_REQUEST;
		} else if (xml_name_is(&xml, "AllowedHeader")) {
			if (!has_one_star(xml.text))
				return S3_INVALID_REQUEST;
		} else if (xml_name_is(&xml, "MaxAgeSeconds")) {
			if (!bytes_parse_u64(xml.text, UINT32_MAX, &number))
				return S3_MALFORMED_XML;
		} else if (xml_name_is(&xml, "CORSRule")) {
			if (origins == 0 || methods == 0 || ++rules > S3_CORS_RULES_MAX)
				return S3_MALFORMED_XML;
			origins = methods = 0;
		}
	}
	return event == XML_END && rules > 0 ? S3_NONE : S3_MALFORMED_XML;
}

/* A rule as its elements come. */
struct rule {
	bool origin, method;
	uint64_t headers; /* bit by position in the request's list: allowed */
	struct s3_cors_answer answer;
};

static void allow_headers(struct rule *rule, struct bytes pattern, struct bytes list)
{
	for (unsigned i = 0; list.size > 0 && i < 64; i++) {
		if (s3_wildcard_match(pattern, bytes_trim(bytes_cut(&list, ',')), true))
			rule->headers |= 1ull << i;
	}
}

static bool allows_headers(const struct rule *rule, struct bytes list)
{
	unsigned i = 0;

	for (; list.size > 0 && i < 64; i++) {
		if (bytes_trim(bytes_cut(&list, ',')).size > 0 && !(rule->headers >> i & 1))
			return false;
	}
	return list.size == 0;
}

static void add_to_list(struct text *text, struct bytes value)
{
	if (text->size > 0)
		text_string(text, ", ");
	text_add(text, value);
}

bool s3_cors_match(uint8_t *data, size_t size, const struct s3_cors_request *request,
                   struct s3_cors_answer *answer, struct text *exposed, struct text *methods)
{
	struct rule rule = { 0 };
	enum xml_event event;
	struct xml xml;

	xml_init(&xml, data, size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN && xml_name_is(&xml, "CORSRule")) {
			rule = (struct rule){ 0 };
			exposed->size = methods->size = 0;
		}
		if (event == XML_OPEN)
			continue;
		if (xml_name_is(&xml, "AllowedOrigin")) {
			rule.origin |= s3_wildcard_match(xml.text, request->origin, false);
			rule.answer.any_origin |= bytes_equal(xml.text, BYTES("*"));
		} else if (xml_name_is(&xml, "AllowedMethod")) {
			rule.method |= bytes_equal(xml.text, request->method);
			add_to_list(methods, xml.text);
		} else if (xml_name_is(&xml, "AllowedHeader")) {
			allow_headers(&rule, xml.text, request->headers);
		} else if (xml_name_is(&xml, "ExposeHeader")) {
			add_to_list(exposed, xml.text);
		} else if (xml_name_is(&xml, "MaxAgeSeconds")) {
			rule.answer.has_max_age =
			        bytes_parse_u64(xml.text, UINT32_MAX, &rule.answer.max_age_s);
		} else if (xml_name_is(&xml, "CORSRule")) {
			if (rule.origin && rule.method && allows_headers(&rule, request->headers)) {
				*answer = rule.answer;
				return true;
			}
		}
	}
	return false;
}
