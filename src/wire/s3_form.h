/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Browser uploads: a body of multipart/form-data (RFC 7578) whose last part is the file, and the
 * policy that it is checked against ("POST Object" of the S3 API reference). Pure.
 */
#ifndef WIRE_S3_FORM_H
#define WIRE_S3_FORM_H

#include "wire/json.h"
#include "wire/s3_error.h"
#include "wire/text.h"

enum {
	S3_FORM_FIELDS_MAX = 64,
	S3_FORM_MEMORY = 28 << 10, /* all fields, their names and heads; S3 takes 20 KiB */
	S3_FORM_BOUNDARY_MAX = 70, /* RFC 2046 section 5.1.1 */
	S3_FORM_VALUES_MAX = 1024, /* JSON values of a policy */
};

struct s3_form_field {
	struct bytes name, value;
};

enum s3_form_event {
	S3_FORM_MORE,  /* all input is taken */
	S3_FORM_FILE,  /* all fields are there; the file's bytes begin */
	S3_FORM_DATA,  /* form->data is the next piece of the file */
	S3_FORM_END,   /* the file has ended; what is behind it is ignored */
	S3_FORM_ERROR, /* form->error */
};

/* Memory: the caller's, zeroed; fields lie in `memory`. */
struct s3_form {
	struct s3_form_field fields[S3_FORM_FIELDS_MAX];
	uint32_t field_count;
	struct bytes file_name, file_type; /* of the part "file"; may be empty */
	struct bytes data;
	enum s3_error error;
	uint8_t state;
	char delimiter[4 + S3_FORM_BOUNDARY_MAX]; /* CR LF "--" boundary */
	size_t delimiter_size;
	size_t matched; /* bytes of the delimiter that the input so far ends with */
	size_t used;    /* of memory */
	size_t part;    /* where the part that comes starts in memory */
	uint8_t memory[S3_FORM_MEMORY];
};

/* False: the Content-Type is not multipart/form-data with a boundary. */
bool s3_form_init(struct s3_form *form, struct bytes content_type);
enum s3_form_event s3_form_next(struct s3_form *form, struct bytes *input);

/* In any case; empty when it is not there. */
struct bytes s3_form_value(const struct s3_form *form, const char *name);
bool s3_form_has(const struct s3_form *form, const char *name);

/* What the policy says of the file's size. */
struct s3_form_limits {
	uint64_t size_min, size_max;
};

/*
 * Whether the form meets its policy, JSON that is decoded in place. `bucket` is checked as the
 * field of that name. S3_NONE, S3_INVALID_POLICY_DOCUMENT, S3_ACCESS_DENIED_POLICY...
 */
struct s3_form_policy {
	const struct s3_form *form;
	struct bytes bucket;
	uint64_t now_s;
	uint8_t *data; /* decoded from base64 */
	size_t size;
	struct json_value *values; /* room for S3_FORM_VALUES_MAX */
};
enum s3_error s3_form_check_policy(const struct s3_form_policy *policy,
                                   struct s3_form_limits *limits);

#endif
