/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/xml.h"

#include "base/assert.h"
#include "wire/s3_time.h"

void xml_init(struct xml *xml, uint8_t *data, size_t size)
{
	static const uint8_t mark[3] = { 0xef, 0xbb, 0xbf };

	*xml = (struct xml){ .data = data, .size = size };
	if (size >= 3 && memcmp(data, mark, 3) == 0)
		xml->at = 3;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name(uint8_t c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' || c >= 0x80)
		return true;
	return !first && ((c >= '0' && c <= '9') || c == '-' || c == '.');
}

static bool at_is(const struct xml *xml, const char *what)
{
	size_t size = strlen(what);

	return xml->size - xml->at >= size && memcmp(xml->data + xml->at, what, size) == 0;
}

/* Past the next `end`; false: there is none. */
static bool skip_past(struct xml *xml, const char *end)
{
	const uint8_t *found = memmem(xml->data + xml->at, xml->size - xml->at, end, strlen(end));

	if (found == NULL)
		return false;
	xml->at = (size_t)(found - xml->data) + strlen(end);
	return true;
}

static void skip_space(struct xml *xml)
{
	while (xml->at < xml->size && is_space(xml->data[xml->at]))
		xml->at++;
}

static struct bytes take_name(struct xml *xml)
{
	size_t start = xml->at;

	while (xml->at < xml->size && is_name(xml->data[xml->at], xml->at == start))
		xml->at++;
	return bytes_of(xml->data + start, xml->at - start);
}

static struct bytes local_name(struct bytes name)
{
	const uint8_t *colon = name.size == 0 ? NULL : memrchr(name.data, ':', name.size);

	if (colon == NULL)
		return name;
	return bytes_of(colon + 1, name.size - (size_t)(colon + 1 - name.data));
}

static bool is_character(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0xd800) ||
	       (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

static size_t utf8_write(uint8_t *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		out[2] = (uint8_t)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
	out[3] = (uint8_t)(0x80 | (c & 63));
	return 4;
}

/* Bytes of the character at the front, 0: it is not UTF-8. */
static size_t utf8_read(struct bytes bytes, uint32_t *ret_c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t first = bytes.data[0];
	size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint32_t c = size == 1 ? first : first & (0x7fu >> size);

	assert(bytes.size > 0);
	if (size == 0 || first > 0xf4 || size > bytes.size)
		return 0;
	for (size_t i = 1; i < size; i++) {
		if ((bytes.data[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (bytes.data[i] & 63);
	}
	if (c < least[size] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret_c = c;
	return size;
}

bool utf8_is_valid(struct bytes bytes)
{
	while (bytes.size > 0) {
		uint32_t c;
		size_t size = utf8_read(bytes, &c);

		if (size == 0)
			return false;
		bytes = bytes_of(bytes.data + size, bytes.size - size);
	}
	return true;
}

/* "&#x2D;", its & and ; left out. 0: not a character. */
static uint32_t parse_reference(struct bytes text)
{
	bool hex = text.size > 1 && text.data[1] == 'x';
	uint32_t value = 0;

	for (size_t i = hex ? 2 : 1; i < text.size; i++) {
		uint8_t c = text.data[i];
		uint32_t digit = c >= '0' && c <= '9'          ? c - '0'
		                 : hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
		                 : hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
		                                               : 99;

		if (digit == 99 || value > 0x10ffff)
			return 0;
		value = value * (hex ? 16 : 10) + digit;
	}
	return text.size > (hex ? 2 : 1) && is_character(value) ? value : 0;
}

static uint32_t decode_entity(struct bytes name)
{
	static const struct {
		const char *name;
		uint32_t c;
	} known[] = {
		{ "lt", '<' }, { "gt", '>' }, { "amp", '&' }, { "quot", '"' }, { "apos", '\'' }
	};

	if (name.size > 1 && name.data[0] == '#')
		return parse_reference(name);
	for (size_t i = 0; i < 5; i++) {
		if (bytes_equal(name, bytes_of(known[i].name, strlen(known[i].name))))
			return known[i].c;
	}
	return 0;
}

/* Adds what the reader has passed to the text, which lies behind it. */
static void keep(struct xml *xml, size_t from, size_t size)
{
	assert(xml->text_end <= from);
	memmove(xml->data + xml->text_end, xml->data + from, size);
	xml->text_end += size;
}

/* Characters up to the next '<'. */
static bool take_text(struct xml *xml)
{
	while (xml->at < xml->size && xml->data[xml->at] != '<') {
		struct bytes rest = bytes_of(xml->data + xml->at, xml->size - xml->at);
		uint32_t c;
		size_t size;

		if (rest.data[0] == '&') {
			const uint8_t *end =
			        memchr(rest.data, ';', rest.size < 16 ? rest.size : 16);

			c = end == NULL ? 0
			                : decode_entity(bytes_of(rest.data + 1,
			                                         (size_t)(end - rest.data - 1)));
			if (c == 0 || xml->depth == 0)
				return false;
			xml->at += (size_t)(end + 1 - rest.data);
			xml->text_end += utf8_write(xml->data + xml->text_end, c);
			continue;
		}
		size = utf8_read(rest, &c);
		if (size == 0 || !is_character(c) || (xml->depth == 0 && !is_space(rest.data[0])))
			return false;
		keep(xml, xml->at, size);
		xml->at += size;
	}
	return true;
}

static bool take_cdata(struct xml *xml)
{
	size_t start = xml->at + strlen("<![CDATA[");

	if (xml->depth == 0 || !skip_past(xml, "]]>"))
		return false;
	if (!utf8_is_valid(bytes_of(xml->data + start, xml->at - 3 - start)))
		return false;
	keep(xml, start, xml->at - 3 - start);
	return true;
}

/* Name, '=' and quoted value, any number of times. */
static bool check_attributes(struct xml *xml)
{
	for (;;) {
		size_t before = xml->at;
		const uint8_t *end;

		skip_space(xml);
		if (xml->at < xml->size && (xml->data[xml->at] == '>' || xml->data[xml->at] == '/'))
			return true;
		if (before == xml->at || take_name(xml).size == 0)
			return false;
		skip_space(xml);
		if (!at_is(xml, "="))
			return false;
		xml->at++;
		skip_space(xml);
		if (!at_is(xml, "\"") && !at_is(xml, "'"))
			return false;
		end = memchr(xml->data + xml->at + 1, xml->data[xml->at], xml->size - xml->at - 1);
		if (end == NULL ||
		    memchr(xml->data + xml->at, '<', (size_t)(end - xml->data) - xml->at) != NULL)
			return false;
		xml->at = (size_t)(end - xml->data) + 1;
	}
}

static enum xml_event open_element(struct xml *xml)
{
	struct bytes name;
	size_t start;

	xml->at++;
	name = take_name(xml);
	start = xml->at;
	if (local_name(name).size == 0 || xml->depth == XML_DEPTH_MAX ||
	    (xml->depth == 0 && xml->rooted))
		return XML_ERROR;
	if (!check_attributes(xml))
		return XML_ERROR;
	xml->attributes = bytes_of(xml->data + start, xml->at - start);
	xml->closing = at_is(xml, "/>");
	if (!xml->closing && !at_is(xml, ">"))
		return XML_ERROR;
	xml->at += xml->closing ? 2 : 1;
	xml->rooted = true;
	xml->leaf = true;
	xml->text_start = xml->text_end = xml->at;
	xml->stack[xml->depth++] = name;
	xml->name = local_name(name);
	return XML_OPEN;
}

static enum xml_event close_element(struct xml *xml)
{
	assert(xml->depth > 0);
	xml->depth--;
	xml->name = local_name(xml->stack[xml->depth]);
	xml->text = (struct bytes){ 0 };
	if (xml->leaf)
		xml->text = bytes_of(xml->data + xml->text_start, xml->text_end - xml->text_start);
	xml->leaf = false;
	xml->text_start = xml->text_end = xml->at;
	return XML_CLOSE;
}

static enum xml_event read_close(struct xml *xml)
{
	struct bytes name;

	xml->at += 2;
	name = take_name(xml);
	skip_space(xml);
	if (xml->depth == 0 || !at_is(xml, ">") || !bytes_equal(name, xml->stack[xml->depth - 1]))
		return XML_ERROR;
	xml->at++;
	return close_element(xml);
}

enum xml_event xml_next(struct xml *xml)
{
	if (xml->closing) {
		xml->closing = false;
		return close_element(xml);
	}
	while (xml->at < xml->size) {
		if (xml->data[xml->at] != '<') {
			if (!take_text(xml))
				return XML_ERROR;
		} else if (at_is(xml, "<!--")) {
			if (!skip_past(xml, "-->"))
				return XML_ERROR;
		} else if (at_is(xml, "<![CDATA[")) {
			if (!take_cdata(xml))
				return XML_ERROR;
		} else if (at_is(xml, "<?xml ") && !xml->rooted) {
			if (!skip_past(xml, "?>"))
				return XML_ERROR;
		} else if (at_is(xml, "</")) {
			return read_close(xml);
		} else {
			return open_element(xml);
		}
	}
	return xml->depth == 0 && xml->rooted ? XML_END : XML_ERROR;
}

bool xml_name_is(const struct xml *xml, const char *name)
{
	return bytes_equal(xml->name, bytes_of(name, strlen(name)));
}

struct bytes xml_parent(const struct xml *xml, uint32_t up)
{
	/* After XML_CLOSE the element itself is off the stack, after XML_OPEN it is on it. */
	uint32_t own =
	        xml->depth > 0 && xml->name.data >= xml->stack[xml->depth - 1].data &&
	        xml->name.data < xml->stack[xml->depth - 1].data + xml->stack[xml->depth - 1].size;

	assert(up > 0);
	if (up + own > xml->depth)
		return (struct bytes){ 0 };
	return local_name(xml->stack[xml->depth - up - own]);
}

bool xml_parent_is(const struct xml *xml, uint32_t up, const char *name)
{
	return bytes_equal(xml_parent(xml, up), bytes_of(name, strlen(name)));
}

struct bytes xml_attribute(const struct xml *xml, const char *name)
{
	struct xml walk = { .data = (uint8_t *)(uintptr_t)xml->attributes.data,
		            .size = xml->attributes.size };

	while (skip_space(&walk), walk.at < walk.size) {
		struct bytes found = take_name(&walk);
		const uint8_t *end;
		size_t start;

		skip_space(&walk);
		walk.at++; /* '=': check_attributes() has seen that all is there */
		skip_space(&walk);
		assert(walk.at < walk.size);
		start = walk.at + 1;
		end = memchr(walk.data + start, walk.data[walk.at], walk.size - start);
		assert(end != NULL);
		walk.at = (size_t)(end - walk.data) + 1;
		if (bytes_equal(local_name(found), bytes_of(name, strlen(name))))
			return bytes_of(walk.data + start, walk.at - 1 - start);
	}
	return (struct bytes){ 0 };
}

void xml_start(struct text *text)
{
	text_string(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}

void xml_open(struct text *text, const char *name)
{
	text_put(text, '<');
	text_string(text, name);
	text_put(text, '>');
}

void xml_open_in(struct text *text, const char *name)
{
	text_put(text, '<');
	text_string(text, name);
	text_string(text, " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
}

void xml_close(struct text *text, const char *name)
{
	text_string(text, "</");
	text_string(text, name);
	text_put(text, '>');
}

static void escape_one(struct text *text, uint32_t c, struct bytes raw)
{
	switch (c) {
	case '<':
		text_string(text, "&lt;");
		return;
	case '>':
		text_string(text, "&gt;");
		return;
	case '&':
		text_string(text, "&amp;");
		return;
	case '"':
		text_string(text, "&quot;");
		return;
	case '\r':
		text_string(text, "&#13;");
		return;
	case '\n':
		text_string(text, "&#10;");
		return;
	case '\t':
		text_string(text, "&#9;");
		return;
	default:
		if (is_character(c))
			text_add(text, raw);
		else
			text_string(text, "\xef\xbf\xbd");
		return;
	}
}

void xml_escape(struct text *text, struct bytes bytes)
{
	while (bytes.size > 0) {
		uint32_t c = 0;
		size_t size = utf8_read(bytes, &c);

		size = size == 0 ? 1 : size; /* c is 0 then, which is no character */
		escape_one(text, c, bytes_of(bytes.data, size));
		bytes = bytes_of(bytes.data + size, bytes.size - size);
	}
}

void xml_bytes(struct text *text, const char *name, struct bytes value)
{
	xml_open(text, name);
	xml_escape(text, value);
	xml_close(text, name);
}

void xml_string(struct text *text, const char *name, const char *value)
{
	xml_bytes(text, name, bytes_of(value, strlen(value)));
}

void xml_u64(struct text *text, const char *name, uint64_t value)
{
	xml_open(text, name);
	text_u64(text, value);
	xml_close(text, name);
}

void xml_bool(struct text *text, const char *name, bool value)
{
	xml_string(text, name, value ? "true" : "false");
}

void xml_time(struct text *text, const char *name, uint64_t ms)
{
	char time[S3_TIME_ISO_SIZE];

	s3_time_format_iso(ms, time);
	xml_bytes(text, name, bytes_of(time, sizeof(time)));
}
