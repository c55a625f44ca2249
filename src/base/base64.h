/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648 section 4), as headers and policies carry it. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>

#include "base/bytes.h"

#define BASE64_SIZE(bytes_size) (((bytes_size) + 2) / 3 * 4)

/* BASE64_SIZE(bytes.size) characters, padded, not terminated. Returns how many. */
size_t base64_format(struct bytes bytes, char *out);

/*
 * Strict: padded, no white space, unused bits zero. False: not base64, or more than out_max bytes;
 * else *ret_size bytes are written.
 */
bool base64_parse(struct bytes text, uint8_t *out, size_t out_max, size_t *ret_size);

#endif
