/* SPDX-License-Identifier: Apache-2.0 */
/* Times as S3 writes them: ISO 8601, and HTTP's (RFC 9110 section 5.6.7). Always UTC. */
#ifndef WIRE_S3_TIME_H
#define WIRE_S3_TIME_H

#include <stdbool.h>

#include "base/bytes.h"

enum { S3_TIME_ISO_SIZE = 24, S3_TIME_HTTP_SIZE = 29, S3_TIME_BASIC_SIZE = 16 };

/* "2013-05-24T00:00:00.000Z", the fraction or the time of day left out, "+00:00" for "Z". */
bool s3_time_parse_iso(struct bytes text, uint64_t *ret_s);
/* "20130524T000000Z". */
bool s3_time_parse_basic(struct bytes text, uint64_t *ret_s);
/* The three forms of RFC 9110. */
bool s3_time_parse_http(struct bytes text, uint64_t *ret_s);

/* Exactly as many bytes as above, not terminated. */
void s3_time_format_iso(uint64_t ms, char *out);
void s3_time_format_http(uint64_t s, char *out);

#endif
