/* SPDX-License-Identifier: Apache-2.0 */
/* JSON (RFC 8259) of a bounded size, as a flat array of values. Pure. */
#ifndef WIRE_JSON_H
#define WIRE_JSON_H

#include <stdbool.h>

#include "base/bytes.h"

enum { JSON_DEPTH_MAX = 16 };

enum json_type {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT, /* its children are names, strings, each followed by its value */
};

/* A value; those inside it follow it, up to index `next`. */
struct json_value {
	struct bytes text; /* number: as written; string: decoded */
	uint32_t next;     /* index of the value after this one and all inside it */
	uint8_t type;      /* enum json_type */
};

/*
 * Decodes strings in place: values point into `data`. *ret_count values are written, the first is
 * the document. False: malformed, too deep, or more than `values_max`.
 */
bool json_parse(uint8_t *data, size_t size, struct json_value *values, uint32_t values_max,
                uint32_t *ret_count);

/* The member of the object at `index`; 0: none. The last of several. */
uint32_t json_member(const struct json_value *values, uint32_t index, const char *name);

#endif
