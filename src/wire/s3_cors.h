/* SPDX-License-Identifier: Apache-2.0 */
/* CORS rules of a bucket: checked, and matched against requests (PutBucketCors of S3). Pure. */
#ifndef WIRE_S3_CORS_H
#define WIRE_S3_CORS_H

#include "wire/s3_error.h"
#include "wire/xml.h"

enum { S3_CORS_RULES_MAX = 100, S3_CORS_SIZE_MAX = 64 << 10 };

/* S3_NONE, S3_MALFORMED_XML, S3_INVALID_REQUEST. Decodes in place. */
enum s3_error s3_cors_check(uint8_t *data, size_t size);

struct s3_cors_request {
	struct bytes origin, method;
	struct bytes headers; /* Access-Control-Request-Headers: a list; empty: none */
};

/* What to answer. Memory: in the document. */
struct s3_cors_answer {
	bool any_origin; /* the rule's origin is "*" */
	bool has_max_age;
	uint64_t max_age_s;
};

/*
 * The first rule that lets the request happen: true. Decodes the document in place. The lists of
 * what is exposed and allowed are written to `exposed` and `methods`, with ", " between.
 */
bool s3_cors_match(uint8_t *data, size_t size, const struct s3_cors_request *request,
                   struct s3_cors_answer *answer, struct text *exposed, struct text *methods);

#endif
