/* SPDX-License-Identifier: Apache-2.0 */
/* How an operation ended. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>

/*
 * The one error type, a closed set. A new status is a new row: every protocol face maps it here or
 * the build fails. "retry": the same request, unchanged, may succeed later.
 *
 *	 name          retry  errno      HTTP gRPC text
 */
// clang-format off
#define STATUS_TABLE(X) \
	X(OK,          false, 0,          200,  0, "ok") \
	X(NOT_FOUND,   false, ENOENT,     404,  5, "no such key, object or file") \
	X(EXISTS,      false, EEXIST,     409,  6, "already exists") \
	X(CONFLICT,    false, ESTALE,     412, 10, "compare-and-swap lost") \
	X(INVALID,     false, EINVAL,     400,  3, "malformed request") \
	X(UNSUPPORTED, false, EOPNOTSUPP, 501, 12, "not supported here") \
	X(NO_SPACE,    false, ENOSPC,     507,  8, "no space left") \
	X(TOO_LARGE,   false, EFBIG,      413, 11, "larger than the limit") \
	X(READ_ONLY,   false, EROFS,      503,  9, "device failed: read-only until restart") \
	X(DENIED,      false, EACCES,     403,  7, "not allowed") \
	X(CORRUPT,     false, EBADMSG,    500, 15, "checksum mismatch") \
	X(IO,          false, EIO,        500, 13, "device error") \
	X(CANCELED,    false, ECANCELED,  499,  1, "canceled by the submitter") \
	X(BUSY,        true,  EAGAIN,     503, 14, "out of a bounded resource") \
	X(TIMEOUT,     true,  ETIMEDOUT,  504,  4, "deadline passed") \
	X(UNAVAILABLE, true,  ENOTCONN,   503, 14, "peer or quorum not reachable")

enum status {
#define X(name, ...) STATUS_##name,
	STATUS_TABLE(X)
#undef X
	STATUS_COUNT
};
// clang-format on

const char *status_name(enum status s);
const char *status_text(enum status s); /* for people */
bool status_may_retry(enum status s);
int status_errno(enum status s); /* >= 0 */
int status_http(enum status s);
int status_grpc(enum status s);
enum status status_from_errno(int err); /* of a system call, > 0; unknown ones: STATUS_IO */

#endif
