/* SPDX-License-Identifier: Apache-2.0 */
/* Tag sets, kept as x-amz-tagging writes them: "key=value&key=value", percent-encoded. Pure. */
#ifndef WIRE_S3_TAGS_H
#define WIRE_S3_TAGS_H

#include "wire/s3_error.h"
#include "wire/xml.h"

enum {
	S3_TAGS_OBJECT_MAX = 10,
	S3_TAGS_BUCKET_MAX = 50,
	S3_TAG_KEY_MAX = 128,   /* characters */
	S3_TAG_VALUE_MAX = 256, /* characters */
	/* Ten tags of characters of four bytes, each of them encoded as three. */
	S3_TAGS_TEXT_MAX = 10 * 12 * (S3_TAG_KEY_MAX + S3_TAG_VALUE_MAX),
};

/* Reads <Tagging>; writes the tags to `out`, and how many there are to *ret_count. */
enum s3_error s3_tags_parse_xml(uint8_t *data, size_t size, uint32_t tags_max, struct text *out,
                                uint32_t *ret_count);
/* Checks and normalizes what x-amz-tagging or a form has said. */
enum s3_error s3_tags_parse_query(struct bytes text, struct text *out, uint32_t *ret_count);
void s3_tags_write_xml(struct text *out, struct bytes tags);

/* Takes the next tag off the front, decoded into `memory`, which holds 2 KiB. False: no more. */
enum { S3_TAG_MEMORY = 4 * (S3_TAG_KEY_MAX + S3_TAG_VALUE_MAX) };
bool s3_tags_next(struct bytes *tags, uint8_t *memory, struct bytes *ret_key,
                  struct bytes *ret_value);
/* False: there is no such tag. */
bool s3_tags_find(struct bytes tags, struct bytes key, uint8_t *memory, struct bytes *ret_value);
uint32_t s3_tags_count(struct bytes tags);

#endif
