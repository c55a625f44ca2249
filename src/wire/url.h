/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of URLs (RFC 3986): percent-encoding and queries. */
#ifndef WIRE_URL_H
#define WIRE_URL_H

#include <stdbool.h>

#include "base/bytes.h"

enum url_decode_flags {
	URL_PLUS_IS_SPACE = 1 << 0, /* as in forms and queries */
};

/*
 * Decodes into `out`, which holds text.size bytes and may be text.data itself. False: a "%" without
 * two hexadecimal digits behind it. Any byte may come out, zero included.
 */
bool url_decode(struct bytes text, unsigned flags, uint8_t *out, size_t *ret_size);

/* Encodes all but A-Z a-z 0-9 - . _ ~, and "/" when keep_slash, in capitals: as SigV4 does it.
 * `out` holds 3 * bytes.size. Returns how much was written. */
size_t url_encode(struct bytes bytes, bool keep_slash, uint8_t *out);

/*
 * The next "name=value" of a query, from the front of *query, still encoded. A parameter without
 * "=" has an empty value; empty ones ("a&&b") are passed over. False: no more.
 */
bool url_query_next(struct bytes *query, struct bytes *name, struct bytes *value);

#endif
