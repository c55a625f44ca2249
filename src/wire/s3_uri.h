/* SPDX-License-Identifier: Apache-2.0 */
/* Percent encoding (RFC 3986) as S3 signs it, and queries. */
#ifndef WIRE_S3_URI_H
#define WIRE_S3_URI_H

#include "wire/text.h"

/*
 * Decodes into `out`, which holds at least text.size bytes and may be text.data. -1: a % without
 * two hexadecimal digits. `plus`: a + is a blank, as forms and queries write it.
 */
long s3_uri_decode(struct bytes text, bool plus, uint8_t *out);

/* Everything but letters, digits and -._~ becomes %XX; a / stays when `keep_slash`. */
void s3_uri_encode(struct text *text, struct bytes bytes, bool keep_slash);

enum { S3_QUERY_MAX = 64 }; /* parameters of a request: the longest of S3's has a dozen */

struct s3_parameter {
	struct bytes name, value; /* decoded */
	bool has_value;           /* there was a '=' */
};

/* Memory: the caller's; names and values lie in what s3_query_parse() was given to write to. */
struct s3_query {
	struct s3_parameter parameters[S3_QUERY_MAX];
	uint32_t count;
};

/* `scratch` holds query.size bytes. False: malformed, or too many. */
bool s3_query_parse(struct s3_query *query, struct bytes text, uint8_t *scratch);
/* NULL: not there. The first of several. */
const struct s3_parameter *s3_query_find(const struct s3_query *query, const char *name);
/* Empty when it is not there. */
struct bytes s3_query_value(const struct s3_query *query, const char *name);

#endif
