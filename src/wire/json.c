/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/json.h"

#include "base/assert.h"
#include "base/digest.h"
#include "wire/xml.h"

/* What may come next. */
enum expect { VALUE, VALUE_OR_END, NAME, NAME_OR_END, COMMA_OR_END, NOTHING };

struct parser {
	uint8_t *data;
	size_t size, at;
	struct json_value *values;
	uint32_t count, count_max;
	uint32_t open[JSON_DEPTH_MAX]; /* arrays and objects that have not ended */
	uint32_t depth;
	enum expect expect;
};

static void skip_space(struct parser *p)
{
	while (p->at < p->size && memchr(" \t\r\n", p->data[p->at], 4) != NULL)
		p->at++;
}

static struct json_value *add(struct parser *p, enum json_type type)
{
	struct json_value *value;

	if (p->count == p->count_max)
		return NULL;
	value = &p->values[p->count++];
	*value = (struct json_value){ .type = (uint8_t)type, .next = p->count };
	return value;
}

static bool read_hex4(struct parser *p, uint32_t *ret_c)
{
	uint8_t pair[2];

	if (p->size - p->at < 4 || !hex_parse(bytes_of(p->data + p->at, 4), pair))
		return false;
	p->at += 4;
	*ret_c = (uint32_t)pair[0] << 8 | pair[1];
	return true;
}

/* \uXXXX, the backslash and the u taken; a pair of surrogates is one character. */
static bool read_unicode(struct parser *p, uint8_t **out)
{
	uint32_t c, low;

	if (!read_hex4(p, &c))
		return false;
	if (c >= 0xdc00 && c < 0xe000)
		return false;
	if (c >= 0xd800 && c < 0xdc00) {
		if (p->size - p->at < 2 || memcmp(p->data + p->at, "\\u", 2) != 0)
			return false;
		p->at += 2;
		if (!read_hex4(p, &low) || low < 0xdc00 || low > 0xdfff)
			return false;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	if (c < 0x80) {
		*(*out)++ = (uint8_t)c;
	} else if (c < 0x800) {
		*(*out)++ = (uint8_t)(0xc0 | c >> 6);
		*(*out)++ = (uint8_t)(0x80 | (c & 63));
	} else {
		if (c < 0x10000) {
			*(*out)++ = (uint8_t)(0xe0 | c >> 12);
		} else {
			*(*out)++ = (uint8_t)(0xf0 | c >> 18);
			*(*out)++ = (uint8_t)(0x80 | (c >> 12 & 63));
		}
		*(*out)++ = (uint8_t)(0x80 | (c >> 6 & 63));
		*(*out)++ = (uint8_t)(0x80 | (c & 63));
	}
	return true;
}

static bool read_escape(struct parser *p, uint8_t **out)
{
	static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	const char *found;

	if (p->at == p->size)
		return false;
	if (p->data[p->at] == 'u') {
		p->at++;
		return read_unicode(p, out);
	}
	found = memchr(escapes, p->data[p->at], sizeof(escapes) - 1);
	if (found == NULL)
		return false;
	*(*out)++ = (uint8_t)meanings[found - escapes];
	p->at++;
	return true;
}

static bool read_string(struct parser *p)
{
	struct json_value *value = add(p, JSON_STRING);
	uint8_t *start = p->data + ++p->at, *out = start;

	if (value == NULL)
		return false;
	while (p->at < p->size && p->data[p->at] != '"') {
		uint8_t c = p->data[p->at++];

		if (c < 0x20)
			return false;
		if (c != '\\')
			*out++ = c;
		else if (!read_escape(p, &out))
			return false;
	}
	if (p->at == p->size)
		return false;
	assert(out <= p->data + p->at);
	p->at++;
	value->text = bytes_of(start, (size_t)(out - start));
	return utf8_is_valid(value->text);
}

static bool is_digit(const struct parser *p)
{
	return p->at < p->size && p->data[p->at] >= '0' && p->data[p->at] <= '9';
}

static bool skip_digits(struct parser *p)
{
	size_t start = p->at;

	while (is_digit(p))
		p->at++;
	return p->at > start;
}

static bool read_number(struct parser *p)
{
	struct json_value *value = add(p, JSON_NUMBER);
	size_t start = p->at;

	if (value == NULL)
		return false;
	p->at += p->data[p->at] == '-';
	if (p->at < p->size && p->data[p->at] == '0')
		p->at++;
	else if (!skip_digits(p))
		return false;
	if (p->at < p->size && p->data[p->at] == '.') {
		p->at++;
		if (!skip_digits(p))
			return false;
	}
	if (p->at < p->size && (p->data[p->at] | 32) == 'e') {
		p->at++;
		p->at += p->at < p->size && (p->data[p->at] == '+' || p->data[p->at] == '-');
		if (!skip_digits(p))
			return false;
	}
	value->text = bytes_of(p->data + start, p->at - start);
	return true;
}

static bool read_word(struct parser *p, const char *word, enum json_type type)
{
	size_t size = strlen(word);

	if (p->size - p->at < size || memcmp(p->data + p->at, word, size) != 0)
		return false;
	p->at += size;
	return add(p, type) != NULL;
}

static bool open_group(struct parser *p, enum json_type type)
{
	if (p->depth == JSON_DEPTH_MAX || add(p, type) == NULL)
		return false;
	p->open[p->depth++] = p->count - 1;
	p->at++;
	p->expect = type == JSON_ARRAY ? VALUE_OR_END : NAME_OR_END;
	return true;
}

static bool read_value(struct parser *p)
{
	p->expect = p->depth == 0 ? NOTHING : COMMA_OR_END;
	switch (p->data[p->at]) {
	case '{':
		return open_group(p, JSON_OBJECT);
	case '[':
		return open_group(p, JSON_ARRAY);
	case '"':
		return read_string(p);
	case 't':
		return read_word(p, "true", JSON_TRUE);
	case 'f':
		return read_word(p, "false", JSON_FALSE);
	case 'n':
		return read_word(p, "null", JSON_NULL);
	default:
		return (p->data[p->at] == '-' || is_digit(p)) && read_number(p);
	}
}

static bool close_group(struct parser *p)
{
	struct json_value *group = &p->values[p->open[p->depth - 1]];

	if (p->data[p->at] != (group->type == JSON_ARRAY ? ']' : '}'))
		return false;
	p->at++;
	group->next = p->count;
	p->depth--;
	p->expect = p->depth == 0 ? NOTHING : COMMA_OR_END;
	return true;
}

static bool read_name(struct parser *p)
{
	if (p->data[p->at] != '"' || !read_string(p))
		return false;
	skip_space(p);
	if (p->at == p->size || p->data[p->at] != ':')
		return false;
	p->at++;
	p->expect = VALUE;
	return true;
}

static bool step(struct parser *p)
{
	uint8_t c = p->data[p->at];

	switch (p->expect) {
	case VALUE:
		return read_value(p);
	case VALUE_OR_END:
		return c == ']' ? close_group(p) : read_value(p);
	case NAME:
		return read_name(p);
	case NAME_OR_END:
		return c == '}' ? close_group(p) : read_name(p);
	case COMMA_OR_END:
		if (c != ',')
			return close_group(p);
		p->at++;
		p->expect = p->values[p->open[p->depth - 1]].type == JSON_ARRAY ? VALUE : NAME;
		return true;
	case NOTHING:
		return false;
	}
	unreachable();
}

bool json_parse(uint8_t *data, size_t size, struct json_value *values, uint32_t values_max,
                uint32_t *ret_count)
{
	struct parser p = {
		.data = data,
		.size = size,
		.values = values,
		.count_max = values_max,
		.expect = VALUE,
	};

	for (;;) {
		skip_space(&p);
		if (p.at == p.size)
			break;
		if (!step(&p))
			return false;
	}
	*ret_count = p.count;
	return p.expect == NOTHING;
}

uint32_t json_member(const struct json_value *values, uint32_t index, const char *name)
{
	struct bytes wanted = bytes_of(name, strlen(name));
	uint32_t found = 0;

	if (values[index].type != JSON_OBJECT)
		return 0;
	for (uint32_t i = index + 1; i < values[index].next; i = values[i + 1].next) {
		if (bytes_equal(values[i].text, wanted))
			found = i + 1;
	}
	return found;
}
