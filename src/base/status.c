/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <errno.h>
#include <stdint.h>

#include "base/assert.h"

static const struct {
	const char *name;
	bool retry;
	uint8_t grpc;
	int16_t errnum;
	int16_t http;
	const char *text;
} table[] = {
#define X(name, retry, errnum, http, grpc, text) { #name, retry, grpc, errnum, http, text },
	STATUS_TABLE(X)
#undef X
};
_Static_assert(sizeof(table) / sizeof(table[0]) == STATUS_COUNT, "one row per status");

const char *status_name(enum status s)
{
	assert(s < STATUS_COUNT);
	return table[s].name;
}

const char *status_text(enum status s)
{
	assert(s < STATUS_COUNT);
	return table[s].text;
}

int status_grpc(enum status s)
{
	assert(s < STATUS_COUNT);
	return table[s].grpc;
}

bool status_may_retry(enum status s)
{
	assert(s < STATUS_COUNT);
	return table[s].retry;
}

int status_errno(enum status s)
{
	assert(s < STATUS_COUNT);
	return table[s].errnum;
}

int status_http(enum status s)
{
	assert(s < STATUS_COUNT);
	return table[s].http;
}

enum status status_from_errno(int err)
{
	assert(err > 0);
	switch (err) {
	case ENOENT:
		return STATUS_NOT_FOUND;
	case EEXIST:
		return STATUS_EXISTS;
	case EINVAL:
		return STATUS_INVALID;
	case EFBIG:
	case EMSGSIZE:
		return STATUS_TOO_LARGE;
	case EROFS:
		return STATUS_READ_ONLY;
	case EACCES:
	case EPERM:
		return STATUS_DENIED;
	case EOPNOTSUPP:
		return STATUS_UNSUPPORTED;
	case ENOSPC:
	case EDQUOT:
		return STATUS_NO_SPACE;
	case EBADMSG:
	case EILSEQ: /* the block layer's protection errors */
		return STATUS_CORRUPT;
	case ECANCELED:
		return STATUS_CANCELED;
	case EAGAIN:
	case EBUSY:
	case ENOMEM:
		return STATUS_BUSY;
	case ETIMEDOUT:
		return STATUS_TIMEOUT;
	case ENOTCONN:
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
		return STATUS_UNAVAILABLE;
	default:
		return STATUS_IO;
	}
}
