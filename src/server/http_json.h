/* SPDX-License-Identifier: Apache-2.0 */
/* JSON (RFC 8259), written into memory of a fixed size. */
#ifndef SERVER_HTTP_JSON_H
#define SERVER_HTTP_JSON_H

#include <stdbool.h>

#include "base/bytes.h"

/*
 * Memory: the caller's. Commas are put where they belong: after a value, when another follows in
 * the same object or array. What does not fit is dropped, and `full` is set.
 */
struct http_json {
	uint8_t *data;
	uint32_t used, size;
	bool comma; /* the next member or element follows another */
	bool full;
};

void http_json_init(struct http_json *json, uint8_t *data, size_t size);
void http_json_open(struct http_json *json, char bracket);  /* '{' or '[' */
void http_json_close(struct http_json *json, char bracket); /* '}' or ']' */
void http_json_name(struct http_json *json, const char *name);
void http_json_string(struct http_json *json, struct bytes text); /* UTF-8 */
void http_json_text(struct http_json *json, const char *text);
void http_json_u64(struct http_json *json, uint64_t value);
void http_json_bool(struct http_json *json, bool value);
void http_json_null(struct http_json *json);
/* "name": "text", or, if it is not UTF-8 or has control characters, "name_base64": "...". */
void http_json_bytes(struct http_json *json, const char *name, struct bytes bytes);
void http_json_raw(struct http_json *json, const char *text); /* as it is; no comma */
void http_json_line(struct http_json *json);                  /* the end of a document: "\n" */

/* Base64 of RFC 4648, with "=": `out` holds 4 bytes for every 3 begun. Returns the size. */
size_t http_base64_write(struct bytes bytes, uint8_t *out);
/* False: it is none. `out` holds 3 bytes for every 4 begun, and may not be the text. */
bool http_base64_parse(struct bytes text, uint8_t *out, size_t *ret_size);

#endif
