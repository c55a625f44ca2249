/* SPDX-License-Identifier: Apache-2.0 */
/* What all versions of HTTP share (RFC 9110): methods, fields, the words of status codes. */
#ifndef WIRE_HTTP_H
#define WIRE_HTTP_H

#include <stdbool.h>

#include "base/bytes.h"

/* HTTP_METHOD_OTHER: some other token, such as PROPFIND; who needs it looks at the name. */
enum http_method {
	HTTP_METHOD_OTHER,
	HTTP_GET,
	HTTP_HEAD,
	HTTP_PUT,
	HTTP_POST,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_PATCH,
	HTTP_METHODS
};

/* A field of a header or trailer section, or a parameter of a query. */
struct http_field {
	struct bytes name, value;
};

/* Case matters, as in RFC 9110 section 9.1. */
enum http_method http_method_of(struct bytes name);

/* "Not Found"; "Unknown" for a code without a word of its own. */
const char *http_reason(unsigned status);

/* A token of RFC 9110 section 5.6.2: methods, names of fields. */
bool http_is_token(struct bytes bytes);

/* No control character but TAB; section 5.5. Neither end is white space. */
bool http_is_value(struct bytes bytes);

/* What a host with its port may hold: RFC 3986, without user information. */
bool http_is_authority(struct bytes host);

/* No space, control character or "#". */
bool http_is_target(struct bytes target);

/* How many bytes from the front are of a token; may be in a value. */
size_t http_token_size(struct bytes bytes);
size_t http_value_size(struct bytes bytes);

/* Without spaces and tabs at both ends. */
struct bytes http_trim(struct bytes bytes);

void http_lower(uint8_t *data, size_t size); /* ASCII letters, in place */

/* Decimal digits and nothing else; false also when it does not fit 64 bits. */
bool http_parse_u64(struct bytes digits, uint64_t *ret_value);

/* Compares names in any case; `lower` is in lower case. */
bool http_name_is(struct bytes name, struct bytes lower);

/*
 * The next element of a comma-separated list (section 5.6.1), without white space around it, taken
 * from the front of *list. Commas inside quoted strings do not separate. False: no more.
 */
bool http_list_next(struct bytes *list, struct bytes *element);

#endif
