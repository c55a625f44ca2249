/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_error.h"

#include "base/assert.h"

static const struct {
	const char *code, *text;
	unsigned http;
} table[] = {
#define X(id, code, http, text) { code, text, http },
	S3_ERROR_TABLE(X)
#undef X
};

const char *s3_error_code(enum s3_error error)
{
	assert(error < S3_ERROR_COUNT);
	return table[error].code;
}

const char *s3_error_text(enum s3_error error)
{
	assert(error < S3_ERROR_COUNT);
	return table[error].text;
}

unsigned s3_error_http(enum s3_error error)
{
	assert(error < S3_ERROR_COUNT);
	return table[error].http;
}
