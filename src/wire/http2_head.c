/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http2_head.h"

#include "base/assert.h"

static bool fail(struct http2_section *section, const char *reason)
{
	if (section->reason == NULL)
		section->reason = reason;
	return false;
}

/* The first error that has an answer stands. */
static void answer(struct http2_section *section, unsigned status)
{
	if (section->head.status == 0)
		section->head.status = status;
}

void http2_section_init(struct http2_section *section, const struct http2_limits *limits,
                        bool trailers)
{
	assert(limits->field_max <= HTTP2_FIELDS_MAX);
	/* The array of fields is filled before it is read. */
	section->limits = limits;
	section->head = (struct http2_head){ .fields = section->fields + 1 };
	section->authority = bytes_of(NULL, 0);
	section->size = 0;
	section->reason = NULL;
	section->trailers = trailers;
	section->has_method = section->has_scheme = section->has_path = false;
	section->has_authority = section->has_host = section->regular = false;
}

/* Sets a pseudo field, which comes once. */
static bool pseudo_set(struct http2_section *section, bool *has, struct bytes *to,
                       struct bytes value)
{
	if (*has)
		return fail(section, "a pseudo field comes twice");
	*has = true;
	*to = value;
	return true;
}

static bool pseudo_add(struct http2_section *section, struct bytes name, struct bytes value)
{
	struct http2_head *head = &section->head;

	if (section->trailers || section->regular)
		return fail(section, "a pseudo field comes behind others, or in trailers");
	if (bytes_equal(name, BYTES(":method")))
		return pseudo_set(section, &section->has_method, &head->method, value);
	if (bytes_equal(name, BYTES(":path")))
		return pseudo_set(section, &section->has_path, &head->target, value);
	if (bytes_equal(name, BYTES(":scheme")))
		return pseudo_set(section, &section->has_scheme, &head->scheme, value);
	if (bytes_equal(name, BYTES(":authority")))
		return pseudo_set(section, &section->has_authority, &section->authority, value);
	return fail(section, "an unknown pseudo field");
}

static bool length_add(struct http2_section *section, struct bytes value)
{
	struct http2_head *head = &section->head;

	if (head->has_length || !http_parse_u64(value, &head->body_size) ||
	    head->body_size > UINT64_MAX >> 1)
		return fail(section, "Content-Length is no number, or there twice");
	head->has_length = true;
	return true;
}

static bool host_add(struct http2_section *section, struct bytes value)
{
	if (section->has_host || !http_is_authority(value))
		return fail(section, "Host is there twice, or malformed");
	section->has_host = true;
	section->head.host = value;
	return true;
}

/* Fields that mean something here, and those of HTTP/1 that RFC 9113 section 8.2.2 forbids. */
static bool field_heed(struct http2_section *section, struct bytes name, struct bytes value)
{
	switch (name.size) {
	case 2:
		if (bytes_equal(name, BYTES("te")) && !http_name_is(value, BYTES("trailers")))
			return fail(section, "TE may only say \"trailers\"");
		return true;
	case 4:
		return section->trailers || !bytes_equal(name, BYTES("host")) ||
		       host_add(section, value);
	case 6:
		if (section->trailers || !bytes_equal(name, BYTES("expect")))
			return true;
		section->head.expects_continue = http_name_is(value, BYTES("100-continue"));
		if (!section->head.expects_continue)
			answer(section, 417);
		return true;
	case 7:
		return !bytes_equal(name, BYTES("upgrade")) || fail(section, "Upgrade");
	case 10:
		if (bytes_equal(name, BYTES("connection")) ||
		    bytes_equal(name, BYTES("keep-alive")))
			return fail(section, "a field of a connection");
		return true;
	case 14:
		return section->trailers || !bytes_equal(name, BYTES("content-length")) ||
		       length_add(section, value);
	case 16:
		return !bytes_equal(name, BYTES("proxy-connection")) ||
		       fail(section, "a field of a connection");
	case 17:
		return !bytes_equal(name, BYTES("transfer-encoding")) ||
		       fail(section, "Transfer-Encoding");
	default:
		return true;
	}
}

static bool is_lower(struct bytes name)
{
	for (size_t i = 0; i < name.size; i++) {
		if ((uint8_t)(name.data[i] - 'A') < 26)
			return false;
	}
	return true;
}

/* RFC 9113 section 8.2.1: no control characters, no white space at an end. */
static bool value_is_valid(struct bytes value)
{
	return http_value_size(value) == value.size && http_trim(value).size == value.size;
}

bool http2_section_add(struct http2_section *section, struct bytes name, struct bytes value)
{
	struct http2_head *head = &section->head;

	if (section->reason != NULL)
		return false;
	section->size += name.size + value.size + HTTP2_FIELD_OVERHEAD;
	if (!value_is_valid(value))
		return fail(section, "a value has a character that it may not have");
	if (name.size > 0 && name.data[0] == ':')
		return pseudo_add(section, name, value);
	section->regular = true;
	if (name.size == 0 || http_token_size(name) != name.size || !is_lower(name))
		return fail(section, "a name is no token in lower case");
	/* Before it is heeded: nothing may point at bytes that are not kept. */
	if (section->size > section->limits->head_max ||
	    head->field_count == section->limits->field_max) {
		answer(section, 431);
		return false;
	}
	if (!field_heed(section, name, value))
		return false;
	head->fields[head->field_count++] = (struct http_field){ .name = name, .value = value };
	return true;
}

static bool scheme_is_valid(struct bytes scheme)
{
	for (size_t i = 0; i < scheme.size; i++) {
		uint8_t c = scheme.data[i] | 0x20;
		bool letter = (uint8_t)(c - 'a') < 26;

		if (!letter && (i == 0 || ((uint8_t)(scheme.data[i] - '0') > 9 && c != '+' &&
		                           scheme.data[i] != '-' && scheme.data[i] != '.')))
			return false;
	}
	return scheme.size > 0;
}

/* RFC 9113 section 8.5; here is no proxy. */
static bool connect_finish(struct http2_section *section)
{
	if (section->has_scheme || section->has_path || !section->has_authority)
		return fail(section, "CONNECT has an authority and nothing else");
	section->head.target = BYTES("*");
	answer(section, 501);
	return true;
}

/* ":authority" stands for Host; where both are, they say the same. */
static bool host_finish(struct http2_section *section)
{
	struct http2_head *head = &section->head;

	if (section->has_authority) {
		if (!http_is_authority(section->authority))
			return fail(section, ":authority is malformed");
		if (section->has_host && !bytes_equal(section->authority, head->host))
			return fail(section, "Host is not :authority");
		head->host = section->authority;
	}
	if (head->status == 431 && head->host.size == 0)
		return true; /* it may be among what was dropped */
	if (head->host.size == 0)
		return fail(section, "neither :authority nor Host says who is asked");
	if (!section->has_host) {
		head->fields--;
		head->field_count++;
		head->fields[0] = (struct http_field){
			.name = BYTES("host"),
			.value = section->authority,
		};
	}
	return true;
}

static bool target_finish(struct http2_section *section)
{
	const struct http2_head *head = &section->head;

	if (!http_is_target(head->target))
		return fail(section, ":path has a character that no path may have");
	if (head->target.size > section->limits->target_max)
		answer(section, 414);
	if (head->target.size > 0 && head->target.data[0] == '/')
		return true;
	if (bytes_equal(head->target, BYTES("*")) && bytes_equal(head->method, BYTES("OPTIONS")))
		return true;
	return fail(section, ":path is no path");
}

bool http2_section_finish(struct http2_section *section, bool ended)
{
	struct http2_head *head = &section->head;

	if (section->reason != NULL)
		return false;
	if (section->trailers) {
		if (!ended)
			return fail(section, "fields in the middle of a body");
		if (head->status != 0)
			return fail(section, "the trailers are too large");
		return true;
	}
	head->ended = ended;
	if (section->size > section->limits->head_max)
		answer(section, 431);
	if (!section->has_method || !http_is_token(head->method))
		return fail(section, ":method is missing or malformed");
	if (!host_finish(section))
		return false;
	if (ended && head->has_length && head->body_size > 0)
		return fail(section, "Content-Length without a body");
	if (bytes_equal(head->method, BYTES("CONNECT")))
		return connect_finish(section);
	if (!section->has_scheme || !section->has_path)
		return fail(section, "a pseudo field is missing");
	if (!scheme_is_valid(head->scheme))
		return fail(section, ":scheme is no scheme");
	return target_finish(section);
}
