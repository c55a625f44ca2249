/* SPDX-License-Identifier: Apache-2.0 */
/* Dates of HTTP, RFC 9110 section 5.6.7. Pure: seconds since 1970, without leap seconds. */
#ifndef WIRE_HTTP_DATE_H
#define WIRE_HTTP_DATE_H

#include <stdbool.h>

#include "base/bytes.h"

enum { HTTP_DATE_SIZE = 29 };
#define HTTP_DATE_MAX 253402300799ull /* 9999-12-31 23:59:59 */

struct http_time {
	unsigned year, month, day; /* 1970.., 1.., 1.. */
	unsigned hour, minute, second;
	unsigned weekday; /* 0: Sunday */
};

void http_time_of(uint64_t unix_s, struct http_time *time); /* at most HTTP_DATE_MAX */

/* False: no such moment, or before 1970. The weekday is not looked at. */
bool http_time_unix(const struct http_time *time, uint64_t *ret_unix_s);

/* "Sun, 06 Nov 1994 08:49:37 GMT": HTTP_DATE_SIZE bytes, not terminated. Later than
 * HTTP_DATE_MAX: that. */
void http_date_format(uint64_t unix_s, char *out);

/*
 * All three forms that a recipient must take: the one above, "Sunday, 06-Nov-94 08:49:37 GMT" and
 * "Sun Nov  6 08:49:37 1994". A year of two digits is 1970..2069.
 */
bool http_date_parse(struct bytes text, uint64_t *ret_unix_s);

#endif
