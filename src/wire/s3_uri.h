/* SPDX-License-Identifier: Apache-2.0 */
/* Percent encoding (RFC 3986) as S3 signs it. */
#ifndef WIRE_S3_URI_H
#define WIRE_S3_URI_H

#include "wire/text.h"

/*
 * Decodes into `out`, which holds at least text.size bytes and may be text.data. -1: a % without
 * two hexadecimal digits. `plus`: a + is a blank, as forms and queries write it.
 */
long s3_uri_decode(struct bytes text, bool plus, uint8_t *out);

/* Everything but letters, digits and -._~ becomes %XX; a / stays when `keep_slash`. */
void s3_uri_encode(struct text *text, struct bytes bytes, bool keep_slash);

#endif
