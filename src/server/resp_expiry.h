/* SPDX-License-Identifier: Apache-2.0 */
/* Times to live as arguments. */
#ifndef SERVER_RESP_EXPIRY_H
#define SERVER_RESP_EXPIRY_H

#include "server/resp_server.h"

enum resp_expiry_unit {
	RESP_EXPIRY_EX = 1, /* seconds from now */
	RESP_EXPIRY_PX,     /* milliseconds from now */
	RESP_EXPIRY_EXAT,   /* seconds since 1970 */
	RESP_EXPIRY_PXAT,   /* milliseconds since 1970 */
};

/*
 * The moment in ms since 1970 that a signed number of units means, from `base_ms` on. False: out of
 * range. It may lie in the past, even before 1970.
 */
bool resp_expiry_moment(int64_t value, int unit, uint64_t base_ms, int64_t *ret_moment_ms);

/* argv[index] as the positive time to live of SET, SETEX, GETEX; false: an error is replied. */
bool resp_expiry_option(struct resp_call *call, uint32_t index, int unit, uint64_t *ret_expires_ms);

#endif
