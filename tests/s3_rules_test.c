/* SPDX-License-Identifier: Apache-2.0 */
/* What buckets say of themselves: policies, access lists, tags, CORS, lifecycle, forms; and XML. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cipher.h"
#include "base/crc.h"
#include "base/hash.h"
#include "base/macros.h"
#include "wire/s3_acl.h"
#include "wire/s3_checksum.h"
#include "wire/s3_cors.h"
#include "wire/s3_form.h"
#include "wire/s3_lifecycle.h"
#include "wire/s3_policy.h"
#include "wire/s3_tags.h"

/* Parsers decode in place: each gets a copy of its own size, so that ASan sees its ends. */
static uint8_t *copy_of(const char *text, size_t *ret_size)
{
	size_t size = strlen(text);
	uint8_t *copy = malloc(size == 0 ? 1 : size);

	assert_non_null(copy);
	memcpy(copy, text, size);
	*ret_size = size;
	return copy;
}

static bool text_is(struct bytes bytes, const char *text)
{
	return bytes_equal(bytes, bytes_of(text, strlen(text)));
}

static void test_xml_events(void **state)
{
	size_t size;
	uint8_t *data =
	        copy_of("<?xml version=\"1.0\"?>\n<a xmlns='x' i:t=\"v\"><!-- c --><b>1 &lt; "
	                "&#x41;<![CDATA[<&]]></b><n:c/></a>\n",
	                &size);
	struct xml xml;

	(void)state;
	xml_init(&xml, data, size);
	assert_int_equal(xml_next(&xml), XML_OPEN);
	assert_true(xml_name_is(&xml, "a"));
	assert_true(text_is(xml_attribute(&xml, "t"), "v"));
	assert_int_equal(xml_next(&xml), XML_OPEN);
	assert_true(xml_parent_is(&xml, 1, "a"));
	assert_int_equal(xml_next(&xml), XML_CLOSE);
	assert_true(text_is(xml.text, "1 < A<&"));
	assert_int_equal(xml_next(&xml), XML_OPEN);
	assert_true(xml_name_is(&xml, "c"));
	assert_int_equal(xml_next(&xml), XML_CLOSE);
	assert_int_equal(xml.text.size, 0);
	assert_int_equal(xml_next(&xml), XML_CLOSE);
	assert_true(xml_name_is(&xml, "a"));
	assert_int_equal(xml_next(&xml), XML_END);
	free(data);
}

static void test_xml_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"<a>",
		"<a></b>",
		"<a/><b/>",
		"text",
		"<a>&unknown;</a>",
		"<a>&#0;</a>",
		"<!DOCTYPE a [<!ENTITY x 'y'>]><a/>",
		"<?php ?><a/>",
		"<a b=c/>",
		"<a b='<'/>",
		"<a>\xff</a>",
		"<a>\x01</a>",
		"<a",
		"<a><!-- </a>",
		"<1/>",
		"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
	};

	(void)state;
	for (size_t i = 0; i < array_count(texts); i++) {
		size_t size;
		uint8_t *data = copy_of(texts[i], &size);
		enum xml_event event;
		struct xml xml;

		xml_init(&xml, data, size);
		while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE)
			continue;
		assert_int_equal(event, XML_ERROR);
		free(data);
	}
}

static void test_xml_written(void **state)
{
	char memory[256];
	struct text text;

	(void)state;
	text_init(&text, memory, sizeof(memory));
	xml_bytes(&text, "k", BYTES("<a&\"b>\n\x01\xff"));
	xml_u64(&text, "n", 18446744073709551615ull);
	xml_time(&text, "t", 0);
	assert_true(text_is(text_bytes(&text),
	                    "<k>&lt;a&amp;&quot;b&gt;&#10;\xef\xbf\xbd\xef\xbf\xbd</k>"
	                    "<n>18446744073709551615</n><t>1970-01-01T00:00:00.000Z</t>"));
	text_init(&text, memory, 4);
	xml_string(&text, "k", "v");
	assert_true(text.overflowed);
}

static void test_json(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{ "{}", true },
		{ " [1, -2.5e+3, \"a\\u00e9\\n\", true, false, null, {\"a\": [[]]}] ", true },
		{ "\"\\ud83d\\ude00\"", true },
		{ "", false },
		{ "{", false },
		{ "[1,]", false },
		{ "{\"a\"}", false },
		{ "{a: 1}", false },
		{ "[01]", false },
		{ "\"\\ud83d\"", false },
		{ "\"\xff\"", false },
		{ "1 2", false },
		{ "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", false },
		{ "\"a\nb\"", false },
	};
	struct json_value values[32];
	uint32_t count;

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		size_t size;
		uint8_t *data = copy_of(rows[i].text, &size);

		assert_int_equal(json_parse(data, size, values, 32, &count), rows[i].good);
		if (i == 2)
			assert_true(text_is(values[0].text, "\xf0\x9f\x98\x80"));
		free(data);
	}
}

struct facts {
	const char *prefix, *ip, *secure;
};

static bool fact(void *owner, struct bytes name, uint32_t index, struct bytes *ret_value)
{
	const struct facts *facts = owner;
	const char *value = NULL;

	if (text_is(name, "s3:RequestObjectTagKeys"))
		value = index == 0 ? "a" : index == 1 ? "b2" : NULL;
	else if (index > 0)
		return false;
	else if (text_is(name, "s3:prefix"))
		value = facts->prefix;
	else if (text_is(name, "aws:SourceIp"))
		value = facts->ip;
	else if (text_is(name, "aws:SecureTransport"))
		value = facts->secure;
	if (value == NULL)
		return false;
	*ret_value = bytes_of(value, strlen(value));
	return true;
}

static enum s3_policy_effect ask(const char *text, const char *user, const char *action,
                                 const char *key, struct facts *facts)
{
	static struct json_value values[S3_POLICY_VALUES_MAX];
	const struct s3_policy_request request = {
		.user = bytes_of(user, strlen(user)),
		.user_name = bytes_of(user, strlen(user)),
		.action = action,
		.bucket = BYTES("b"),
		.key = bytes_of(key, strlen(key)),
		.value = fact,
		.owner = facts,
	};
	struct s3_policy policy;
	enum s3_policy_effect effect;
	size_t size;
	uint8_t *data = copy_of(text, &size);

	assert_true(s3_policy_parse(&policy, BYTES("b"), data, size, values));
	effect = s3_policy_evaluate(&policy, &request);
	free(data);
	return effect;
}

#define ONE(effect, principal, action, resource, more)                                             \
	"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"" effect                         \
	"\",\"Principal\":" principal ",\"Action\":" action ",\"Resource\":" resource more "}]}"
#define IF(condition) ",\"Condition\":{" condition "}"

static void test_policies(void **state)
{
	struct facts facts = { "docs/", "10.1.2.3", "false" };
	static const char anyone[] =
	        ONE("Allow", "\"*\"", "\"s3:Get*\"", "\"arn:aws:s3:::b/*\"", "");
	static const char one[] =
	        ONE("Allow", "{\"AWS\":[\"arn:aws:iam:::user/u\",\"x\"]}", "[\"s3:*\"]",
	            "[\"arn:aws:s3:::b\",\"arn:aws:s3:::b/a?c\"]", "");
	static const char others[] =
	        "{\"Statement\":{\"Effect\":\"Deny\",\"NotPrincipal\":{\"AWS\":\"u\"},"
	        "\"NotAction\":\"s3:GetObject\",\"NotResource\":\"arn:aws:s3:::b/keep\"}}";

	(void)state;
	assert_int_equal(ask(anyone, "", "s3:GetObject", "k", &facts), S3_POLICY_ALLOWS);
	assert_int_equal(ask(anyone, "u", "s3:getobject", "k", &facts), S3_POLICY_ALLOWS);
	assert_int_equal(ask(anyone, "", "s3:PutObject", "k", &facts), S3_POLICY_SILENT);
	assert_int_equal(ask(anyone, "", "s3:GetBucketAcl", "", &facts), S3_POLICY_SILENT);
	assert_int_equal(ask(one, "u", "s3:PutObject", "abc", &facts), S3_POLICY_ALLOWS);
	assert_int_equal(ask(one, "x", "s3:ListBucket", "", &facts), S3_POLICY_ALLOWS);
	assert_int_equal(ask(one, "y", "s3:ListBucket", "", &facts), S3_POLICY_SILENT);
	assert_int_equal(ask(one, "u", "s3:PutObject", "abbc", &facts), S3_POLICY_SILENT);
	assert_int_equal(ask(others, "v", "s3:PutObject", "k", &facts), S3_POLICY_DENIES);
	assert_int_equal(ask(others, "u", "s3:PutObject", "k", &facts), S3_POLICY_SILENT);
	assert_int_equal(ask(others, "v", "s3:GetObject", "k", &facts), S3_POLICY_SILENT);
	assert_int_equal(ask(others, "v", "s3:PutObject", "keep", &facts), S3_POLICY_SILENT);
}

static void test_policy_conditions(void **state)
{
	static const struct {
		const char *text;
		bool met;
	} rows[] = {
#define ROW(condition) ONE("Allow", "\"*\"", "\"s3:*\"", "\"arn:aws:s3:::b\"", IF(condition))
		{ ROW("\"StringEquals\":{\"s3:prefix\":\"docs/\"}"), true },
		{ ROW("\"StringEquals\":{\"s3:prefix\":[\"a\",\"docs/\"]}"), true },
		{ ROW("\"StringNotEquals\":{\"s3:prefix\":\"docs/\"}"), false },
		{ ROW("\"StringLike\":{\"s3:prefix\":\"d*/\"}"), true },
		{ ROW("\"StringLike\":{\"s3:prefix\":\"d?/\"}"), false },
		{ ROW("\"StringEquals\":{\"s3:delimiter\":\"/\"}"), false },
		{ ROW("\"StringEqualsIfExists\":{\"s3:delimiter\":\"/\"}"), true },
		{ ROW("\"StringNotEquals\":{\"s3:delimiter\":\"/\"}"), true },
		{ ROW("\"Null\":{\"s3:delimiter\":\"true\"}"), true },
		{ ROW("\"Null\":{\"s3:prefix\":true}"), false },
		{ ROW("\"IpAddress\":{\"aws:SourceIp\":\"10.1.0.0/16\"}"), true },
		{ ROW("\"IpAddress\":{\"aws:SourceIp\":[\"10.2.0.0/16\",\"::1\"]}"), false },
		{ ROW("\"NotIpAddress\":{\"aws:SourceIp\":\"10.2.0.0/16\"}"), true },
		{ ROW("\"Bool\":{\"aws:SecureTransport\":\"true\"}"), false },
		{ ROW("\"Bool\":{\"aws:SecureTransport\":false}"), true },
#define KEYS(how, wanted) ROW("\"" how "\":{\"s3:RequestObjectTagKeys\":" wanted "}")
		{ KEYS("ForAllValues:StringLike", "[\"a\",\"b*\"]"), true },
		{ KEYS("ForAllValues:StringEquals", "[\"a\",\"b\"]"), false },
		{ KEYS("ForAnyValue:StringEquals", "[\"c\",\"b2\"]"), true },
		{ KEYS("ForAnyValue:StringEquals", "[\"c\"]"), false },
		{ KEYS("ForAllValues:StringNotEquals", "[\"c\"]"), true },
		{ KEYS("ForAllValues:StringNotEquals", "[\"a\"]"), false },
		{ ROW("\"ForAllValues:StringEquals\":{\"s3:delimiter\":\"/\"}"), true },
		{ ROW("\"ForAnyValue:StringEquals\":{\"s3:delimiter\":\"/\"}"), false },
		{ ROW("\"StringEquals\":{\"s3:prefix\":\"docs/\"},"
		      "\"Bool\":{\"aws:SecureTransport\":\"true\"}"),
		  false },
	};
	struct facts facts = { "docs/", "10.1.2.3", "false" };

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		assert_int_equal(ask(rows[i].text, "u", "s3:ListBucket", "", &facts),
		                 rows[i].met ? S3_POLICY_ALLOWS : S3_POLICY_SILENT);
	}
	facts.ip = "2001:db8::7";
	assert_int_equal(ask(ROW("\"IpAddress\":{\"aws:SourceIp\":\"2001:db8::/32\"}"), "u",
	                     "s3:ListBucket", "", &facts),
	                 S3_POLICY_ALLOWS);
}

static void test_policies_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"[]",
		"{}",
		"{\"Statement\":[]}",
		"{\"Version\":\"2020-01-01\",\"Statement\":[]}",
		ONE("Maybe", "\"*\"", "\"s3:*\"", "\"arn:aws:s3:::b\"", ""),
		ONE("Allow", "\"u\"", "\"s3:*\"", "\"arn:aws:s3:::b\"", ""),
		ONE("Allow", "\"*\"", "\"ec2:*\"", "\"arn:aws:s3:::b\"", ""),
		ONE("Allow", "\"*\"", "\"s3:*\"", "\"arn:aws:s3:::other\"", ""),
		ONE("Allow", "\"*\"", "[]", "\"arn:aws:s3:::b\"", ""),
		"{\"Statement\":{\"Effect\":\"Allow\",\"NotPrincipal\":{\"AWS\":\"u\"},"
		"\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b\"}}",
		ONE("Allow", "\"*\"", "\"s3:*\"", "\"arn:aws:s3:::b\"",
		    IF("\"Odd\":{\"a\":\"b\"}")),
		ONE("Allow", "\"*\"", "\"s3:*\"", "\"arn:aws:s3:::b\"", ",\"NotAction\":\"s3:*\""),
	};
	static struct json_value values[S3_POLICY_VALUES_MAX];

	(void)state;
	for (size_t i = 0; i < array_count(texts); i++) {
		struct s3_policy policy;
		size_t size;
		uint8_t *data = copy_of(texts[i], &size);

		assert_false(s3_policy_parse(&policy, BYTES("b"), data, size, values));
		free(data);
	}
}

static void test_access_lists(void **state)
{
	struct s3_acl acl, again;
	char memory[S3_ACL_SIZE_MAX + 1];
	struct text text;

	(void)state;
	assert_true(s3_acl_canned(&acl, BYTES("public-read"), BYTES("me"), BYTES("me")));
	assert_true(s3_acl_allows(&acl, (struct bytes){ 0 }, S3_READ));
	assert_false(s3_acl_allows(&acl, (struct bytes){ 0 }, S3_WRITE));
	assert_true(s3_acl_allows(&acl, BYTES("me"), S3_FULL_CONTROL));
	text_init(&text, memory, sizeof(memory));
	s3_acl_encode(&acl, BYTES("me"), &text);
	s3_acl_decode(&again, text_bytes(&text), BYTES("me"));
	assert_int_equal(again.count, 2);
	assert_true(s3_acl_allows(&again, (struct bytes){ 0 }, S3_READ));
	assert_true(s3_acl_canned(&acl, BYTES("authenticated-read"), BYTES("me"), BYTES("me")));
	assert_false(s3_acl_allows(&acl, (struct bytes){ 0 }, S3_READ));
	assert_true(s3_acl_allows(&acl, BYTES("you"), S3_READ));
	assert_false(s3_acl_canned(&acl, BYTES("odd"), BYTES("me"), BYTES("me")));
	assert_true(s3_acl_canned(&acl, BYTES("private"), BYTES("me"), BYTES("me")));
	text_init(&text, memory, sizeof(memory));
	s3_acl_encode(&acl, BYTES("me"), &text);
	assert_int_equal(text.size, 0);
	acl = (struct s3_acl){ 0 };
	assert_int_equal(s3_acl_add_header(&acl, S3_READ, BYTES("id=\"a\", emailAddress=\"b@c\"")),
	                 S3_NONE);
	assert_int_equal(acl.count, 2);
	assert_int_equal(s3_acl_add_header(&acl, S3_READ, BYTES("uri=\"http://odd\"")),
	                 S3_INVALID_ARGUMENT);
	/* Cut at any place: nothing is read past the end, and nothing is granted by accident. */
	for (size_t cut = 0; cut < 12; cut++) {
		s3_acl_decode(&again, bytes_of("\1\1\2\0\1\0\3you", cut == 0 ? 1 : cut),
		              BYTES("me"));
		assert_false(s3_acl_allows(&again, BYTES("you"), S3_WRITE));
	}
}

static void test_tags(void **state)
{
	char memory[S3_TAGS_TEXT_MAX];
	uint8_t decoded[S3_TAG_MEMORY], *data;
	struct bytes value;
	struct text text;
	uint32_t count;
	size_t size;

	(void)state;
	text_init(&text, memory, sizeof(memory));
	assert_int_equal(s3_tags_parse_query(BYTES("a=b%20c&d=&e%26=%3D"), &text, &count), S3_NONE);
	assert_int_equal(count, 3);
	assert_true(s3_tags_find(text_bytes(&text), BYTES("e&"), decoded, &value));
	assert_true(text_is(value, "="));
	assert_false(s3_tags_find(text_bytes(&text), BYTES("x"), decoded, &value));
	assert_int_equal(s3_tags_count(text_bytes(&text)), 3);
	text_init(&text, memory, sizeof(memory));
	assert_int_equal(s3_tags_parse_query(BYTES("a=1&a=2"), &text, &count), S3_INVALID_TAG);
	text_init(&text, memory, sizeof(memory));
	assert_int_equal(s3_tags_parse_query(BYTES("a=1&b=%2"), &text, &count), S3_INVALID_TAG);
	data = copy_of(
	        "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
	        &size);
	text_init(&text, memory, sizeof(memory));
	assert_int_equal(s3_tags_parse_xml(data, size, 10, &text, &count), S3_NONE);
	assert_true(text_is(text_bytes(&text), "k=v"));
	free(data);
	data = copy_of("<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>", &size);
	text_init(&text, memory, sizeof(memory));
	assert_int_equal(s3_tags_parse_xml(data, size, 10, &text, &count), S3_MALFORMED_XML);
	free(data);
}

static bool cors(const char *document, const char *origin, const char *method, const char *headers)
{
	const struct s3_cors_request request = { bytes_of(origin, strlen(origin)),
		                                 bytes_of(method, strlen(method)),
		                                 bytes_of(headers, strlen(headers)) };
	char exposed_memory[256], methods_memory[256];
	struct text exposed, methods;
	struct s3_cors_answer answer;
	size_t size;
	uint8_t *data = copy_of(document, &size);
	bool matched;

	text_init(&exposed, exposed_memory, sizeof(exposed_memory));
	text_init(&methods, methods_memory, sizeof(methods_memory));
	matched = s3_cors_match(data, size, &request, &answer, &exposed, &methods);
	free(data);
	return matched;
}

static void test_cors(void **state)
{
	static const char rules[] =
	        "<CORSConfiguration><CORSRule><AllowedOrigin>http://*.a</AllowedOrigin>"
	        "<AllowedMethod>GET</AllowedMethod></CORSRule><CORSRule>"
	        "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>"
	        "<AllowedHeader>x-*</AllowedHeader></CORSRule></CORSConfiguration>";

	(void)state;
	assert_true(cors(rules, "http://b.a", "GET", ""));
	assert_false(cors(rules, "http://b.c", "GET", ""));
	assert_true(cors(rules, "any", "PUT", "X-One, x-two"));
	assert_false(cors(rules, "any", "PUT", "x-one, y"));
	assert_false(cors(rules, "any", "DELETE", ""));
}

static void test_lifecycle(void **state)
{
	static const char rules[] =
	        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><And><Prefix>p/</Prefix>"
	        "<Tag><Key>k</Key><Value>v</Value></Tag>"
	        "<ObjectSizeGreaterThan>10</ObjectSizeGreaterThan></And></Filter>"
	        "<Status>Enabled</Status><Expiration><Days>3</Days></Expiration>"
	        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>"
	        "</AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>";
	struct s3_lifecycle_object object = { BYTES("p/x"), BYTES("k=v"), 11 };
	struct s3_lifecycle_rule rule;
	struct s3_lifecycle lifecycle;
	size_t size;
	uint8_t *data = copy_of(rules, &size);

	(void)state;
	s3_lifecycle_init(&lifecycle, data, size);
	assert_true(s3_lifecycle_next(&lifecycle, &rule));
	assert_true(text_is(rule.id, "a"));
	assert_int_equal(rule.expire_days, 3);
	assert_int_equal(rule.abort_days, 7);
	assert_true(s3_lifecycle_applies(&rule, &object));
	object.size = 10;
	assert_false(s3_lifecycle_applies(&rule, &object));
	object = (struct s3_lifecycle_object){ BYTES("q/x"), BYTES("k=v"), 11 };
	assert_false(s3_lifecycle_applies(&rule, &object));
	object = (struct s3_lifecycle_object){ BYTES("p/x"), BYTES("k=w"), 11 };
	assert_false(s3_lifecycle_applies(&rule, &object));
	assert_false(s3_lifecycle_next(&lifecycle, &rule));
	assert_int_equal(lifecycle.error, S3_NONE);
	free(data);
	/* Due at the midnight behind the days. */
	assert_int_equal(s3_lifecycle_due_ms(1000, 1, 86400000), 2 * 86400000ull);
	assert_int_equal(s3_lifecycle_due_ms(86400000, 1, 86400000), 2 * 86400000ull);
}

static void run_form(const char *body, size_t step, enum s3_error error, const char *file)
{
	struct s3_form *form = calloc(1, sizeof(*form));
	struct bytes all = bytes_of(body, strlen(body));
	char memory[256];
	struct text got;
	bool ended = false;

	assert_non_null(form);
	text_init(&got, memory, sizeof(memory));
	assert_true(s3_form_init(form, BYTES("multipart/form-data; boundary=\"ab\"")));
	for (size_t at = 0; at < all.size && form->error == S3_NONE; at += step) {
		struct bytes piece =
		        bytes_of(all.data + at, all.size - at < step ? all.size - at : step);

		while (piece.size > 0) {
			enum s3_form_event event = s3_form_next(form, &piece);

			ended |= event == S3_FORM_END;
			if (event == S3_FORM_DATA)
				text_add(&got, form->data);
			if (event == S3_FORM_ERROR)
				break;
		}
	}
	assert_int_equal(form->error, error);
	if (error == S3_NONE) {
		assert_true(ended);
		assert_true(text_is(text_bytes(&got), file));
		assert_true(text_is(s3_form_value(form, "KEY"), "v\r\n--a"));
	}
	free(form);
}

static void test_forms(void **state)
{
	static const char body[] =
	        "--ab\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nv\r\n--a\r\n"
	        "--ab\r\ncontent-disposition: form-data; name=file; filename=\"f\"\r\n"
	        "Content-Type: text/x\r\n\r\nx\r\n--aa\r\r\n-\r\n--ab--\r\n";

	(void)state;
	for (size_t step = 1; step < sizeof(body); step++)
		run_form(body, step, S3_NONE, "x\r\n--aa\r\r\n-");
	run_form("--ab--\r\n", 3, S3_MALFORMED_POST, "");
	run_form("--ab\r\nX: y\r\n\r\n", 3, S3_MALFORMED_POST, "");
}

static enum s3_error check_form(const char *policy, const char *name, const char *value,
                                struct s3_form_limits *limits)
{
	static struct s3_form form;
	static struct json_value values[S3_FORM_VALUES_MAX];
	size_t size;
	uint8_t *data = copy_of(policy, &size);
	const struct s3_form_policy check = { &form, BYTES("b"), 1000, data, size, values };
	enum s3_error error;

	form.field_count = 2;
	form.fields[0] = (struct s3_form_field){ BYTES("key"), BYTES("user/x") };
	form.fields[1] = (struct s3_form_field){ bytes_of(name, strlen(name)),
		                                 bytes_of(value, strlen(value)) };
	error = s3_form_check_policy(&check, limits);
	free(data);
	return error;
}

static void test_form_policies(void **state)
{
#define POLICY(conditions)                                                                         \
	"{\"expiration\":\"1970-01-02T00:00:00Z\",\"conditions\":[" conditions "]}"
	static const char policy[] =
	        POLICY("{\"bUcKeT\":\"b\"},[\"StArTs-with\",\"$KEY\",\"user/\"],"
	               "[\"eq\",\"$acl\",\"private\"],[\"content-length-range\",5,10]");
	struct s3_form_limits limits;

	(void)state;
	assert_int_equal(check_form(policy, "Acl", "private", &limits), S3_NONE);
	assert_int_equal(limits.size_min, 5);
	assert_int_equal(limits.size_max, 10);
	assert_int_equal(check_form(policy, "acl", "public-read", &limits),
	                 S3_ACCESS_DENIED_POLICY);
	assert_int_equal(check_form(policy, "x-amz-meta-a", "b", &limits), S3_ACCESS_DENIED_POLICY);
	assert_int_equal(check_form(POLICY("{\"bucket\":\"b\"},[\"starts-with\",\"$key\",\"\"]"),
	                            "x-ignore-this", "y", &limits),
	                 S3_NONE);
	assert_int_equal(check_form(POLICY("{\"bucket\":\"c\"}"), "policy", "", &limits),
	                 S3_ACCESS_DENIED_POLICY);
	assert_int_equal(check_form(POLICY("{}"), "policy", "", &limits),
	                 S3_INVALID_POLICY_DOCUMENT);
	assert_int_equal(
	        check_form(POLICY("[\"content-length-range\",-1,0]"), "policy", "", &limits),
	        S3_INVALID_POLICY_DOCUMENT);
	assert_int_equal(check_form("{\"expiration\":\"1970-01-01T00:00:00Z\",\"conditions\":[]}",
	                            "policy", "", &limits),
	                 S3_ACCESS_DENIED_POLICY_EXPIRED);
	assert_int_equal(check_form("{\"conditions\":[]}", "policy", "", &limits),
	                 S3_INVALID_POLICY_DOCUMENT);
}

static void test_checksums(void **state)
{
	struct bytes all = BYTES("123456789"), a = BYTES("1234"), b = BYTES("56789");

	(void)state;
	assert_int_equal(crc32_gzip(0, all), 0xcbf43926);
	assert_int_equal(crc64_nvme(0, all), 0xae8b14860a799888ull);
	assert_int_equal(crc64_nvme(crc64_nvme(0, a), b), 0xae8b14860a799888ull);
	assert_int_equal(crc32_gzip_combine(crc32_gzip(0, a), crc32_gzip(0, b), b.size),
	                 0xcbf43926);
	assert_int_equal(
	        crc32c_combine(crc32c(0, a.data, a.size), crc32c(0, b.data, b.size), b.size),
	        0xe3069283);
	assert_int_equal(crc64_nvme_combine(crc64_nvme(0, a), crc64_nvme(0, b), b.size),
	                 0xae8b14860a799888ull);
	assert_int_equal(crc32_gzip_combine(0x12345678, 0, 0), 0x12345678);
}

static void test_base64(void **state)
{
	static const char *const texts[] = { "",         "Zg==",     "Zm8=",    "Zm9v",
		                             "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
	char out[16];
	uint8_t back[8];
	size_t size;

	(void)state;
	for (size_t i = 0; i < array_count(texts); i++) {
		assert_int_equal(base64_format(bytes_of("foobar", i), out), strlen(texts[i]));
		assert_memory_equal(out, texts[i], strlen(texts[i]));
		assert_true(base64_parse(bytes_of(texts[i], strlen(texts[i])), back, 8, &size));
		assert_int_equal(size, i);
		assert_memory_equal(back, "foobar", i);
	}
	assert_false(base64_parse(BYTES("Zg="), back, 8, &size));
	assert_false(base64_parse(BYTES("Zh=="), back, 8, &size));
	assert_false(base64_parse(BYTES("Z g="), back, 8, &size));
	assert_false(base64_parse(BYTES("===="), back, 8, &size));
	assert_false(base64_parse(BYTES("Zm9vYmFy"), back, 5, &size));
}

/* AES-256-GCM: test case 14 of McGrew and Viega's "The Galois/Counter Mode of Operation". */
static void test_cipher(void **state)
{
	static const uint8_t zeros[32];
	uint8_t sealed[16 + CIPHER_TAG_SIZE], text[100 + CIPHER_TAG_SIZE];
	char hex[64];
	struct cipher cipher;

	(void)state;
	assert_true(cipher_open(&cipher));
	cipher_seal(&cipher, zeros, zeros, bytes_of(zeros, 16), sealed);
	hex_format(bytes_of(sealed, sizeof(sealed)), hex);
	assert_memory_equal(hex, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
	                    sizeof(hex));
	memset(text, 'a', 100);
	cipher_seal(&cipher, zeros, zeros, bytes_of(text, 100), text);
	assert_int_not_equal(text[0], 'a');
	assert_true(cipher_unseal(&cipher, zeros, zeros, bytes_of(text, sizeof(text)), text));
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(text[i], 'a');
	for (size_t i = 0; i < sizeof(sealed); i++) {
		uint8_t out[16];

		sealed[i] ^= 1;
		assert_false(cipher_unseal(&cipher, zeros, zeros, bytes_of(sealed, sizeof(sealed)),
		                           out));
		sealed[i] ^= 1;
	}
	cipher_seal(&cipher, zeros, zeros, bytes_of(NULL, 0), sealed);
	assert_true(cipher_unseal(&cipher, zeros, zeros, bytes_of(sealed, 16), text));
	cipher_close(&cipher);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xml_events),
		cmocka_unit_test(test_xml_refused),
		cmocka_unit_test(test_xml_written),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_policy_conditions),
		cmocka_unit_test(test_policies_refused),
		cmocka_unit_test(test_access_lists),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_cors),
		cmocka_unit_test(test_lifecycle),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_form_policies),
		cmocka_unit_test(test_checksums),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_cipher),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
