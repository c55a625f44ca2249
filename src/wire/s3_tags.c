/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_tags.h"

#include "base/assert.h"
#include "wire/s3_uri.h"

static size_t count_characters(struct bytes text)
{
	size_t count = 0;

	for (size_t i = 0; i < text.size; i++)
		count += (text.data[i] & 0xc0) != 0x80;
	return count;
}

static enum s3_error add(struct text *out, struct bytes key, struct bytes value)
{
	if (key.size == 0 || count_characters(key) > S3_TAG_KEY_MAX ||
	    count_characters(value) > S3_TAG_VALUE_MAX)
		return S3_INVALID_TAG;
	if (!utf8_is_valid(key) || !utf8_is_valid(value))
		return S3_INVALID_TAG;
	if (key.size >= 4 && bytes_equal_ignoring_case(bytes_of(key.data, 4), BYTES("aws:")))
		return S3_INVALID_TAG;
	if (s3_tags_find(text_bytes(out), key, (uint8_t[S3_TAG_MEMORY]){ 0 }, &(struct bytes){ 0 }))
		return S3_INVALID_TAG;
	if (out->size > 0)
		text_put(out, '&');
	s3_uri_encode(out, key, false);
	text_put(out, '=');
	s3_uri_encode(out, value, false);
	return out->overflowed ? S3_INVALID_TAG : S3_NONE;
}

enum s3_error s3_tags_parse_xml(uint8_t *data, size_t size, uint32_t tags_max, struct text *out,
                                uint32_t *ret_count)
{
	struct bytes key = { 0 }, value = { 0 };
	bool has_key = false, has_value = false, has_set = false;
	enum xml_event event;
	struct xml xml;

	*ret_count = 0;
	xml_init(&xml, data, size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN) {
			if (xml.depth == 1 && !xml_name_is(&xml, "Tagging"))
				return S3_MALFORMED_XML;
			has_set |= xml.depth == 2 && xml_name_is(&xml, "TagSet");
			continue;
		}
		if (xml_name_is(&xml, "Key")) {
			key = xml.text;
			has_key = true;
		} else if (xml_name_is(&xml, "Value")) {
			value = xml.text;
			has_value = true;
		} else if (xml_name_is(&xml, "Tag")) {
			enum s3_error error;

			if (!has_key || !has_value)
				return S3_MALFORMED_XML;
			if (++*ret_count > tags_max)
				return S3_INVALID_TAG;
			error = add(out, key, value);
			if (error != S3_NONE)
				return error;
			has_key = has_value = false;
		}
	}
	return event == XML_END && has_set ? S3_NONE : S3_MALFORMED_XML;
}

enum s3_error s3_tags_parse_query(struct bytes text, struct text *out, uint32_t *ret_count)
{
	uint8_t memory[S3_TAG_MEMORY];
	struct bytes key, value;

	*ret_count = 0;
	while (text.size > 0) {
		enum s3_error error;

		if (!s3_tags_next(&text, memory, &key, &value))
			return S3_INVALID_TAG;
		if (++*ret_count > S3_TAGS_OBJECT_MAX)
			return S3_INVALID_TAG;
		error = add(out, key, value);
		if (error != S3_NONE)
			return error;
	}
	return S3_NONE;
}

bool s3_tags_next(struct bytes *tags, uint8_t *memory, struct bytes *ret_key,
                  struct bytes *ret_value)
{
	struct bytes value = bytes_cut(tags, '&'), key = bytes_cut(&value, '=');
	long key_size, value_size;

	if (key.size == 0 || key.size > 12 * S3_TAG_KEY_MAX || value.size > 12 * S3_TAG_VALUE_MAX)
		return false;
	/* What is decoded must fit: count before. */
	if (key.size + value.size > S3_TAG_MEMORY) {
		size_t escapes = 0;

		for (size_t i = 0; i < key.size + value.size; i++)
			escapes += (i < key.size ? key.data[i] : value.data[i - key.size]) == '%';
		if (key.size + value.size > S3_TAG_MEMORY + 2 * escapes)
			return false;
	}
	key_size = s3_uri_decode(key, true, memory);
	if (key_size < 0)
		return false;
	value_size = s3_uri_decode(value, true, memory + key_size);
	if (value_size < 0)
		return false;
	*ret_key = bytes_of(memory, (size_t)key_size);
	*ret_value = bytes_of(memory + key_size, (size_t)value_size);
	return true;
}

bool s3_tags_find(struct bytes tags, struct bytes key, uint8_t *memory, struct bytes *ret_value)
{
	struct bytes found;

	while (tags.size > 0 && s3_tags_next(&tags, memory, &found, ret_value)) {
		if (bytes_equal(found, key))
			return true;
	}
	return false;
}

uint32_t s3_tags_count(struct bytes tags)
{
	uint32_t count = 0;

	while (tags.size > 0) {
		bytes_cut(&tags, '&');
		count++;
	}
	return count;
}

void s3_tags_write_xml(struct text *out, struct bytes tags)
{
	uint8_t memory[S3_TAG_MEMORY];
	struct bytes key, value;

	xml_start(out);
	xml_open_in(out, "Tagging");
	xml_open(out, "TagSet");
	while (tags.size > 0 && s3_tags_next(&tags, memory, &key, &value)) {
		xml_open(out, "Tag");
		xml_bytes(out, "Key", key);
		xml_bytes(out, "Value", value);
		xml_close(out, "Tag");
	}
	xml_close(out, "TagSet");
	xml_close(out, "Tagging");
}
