/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges and conditions of requests: RFC 9110 sections 13 and 14. Pure. */
#ifndef WIRE_HTTP_RANGE_H
#define WIRE_HTTP_RANGE_H

#include <stdbool.h>

#include "base/bytes.h"

struct http_range {
	uint64_t offset, size; /* bytes; size at least 1 */
};

enum http_range_result {
	HTTP_RANGE_IGNORED,       /* not of bytes, or malformed: answer with all */
	HTTP_RANGE_OK,            /* *count ranges, in the order asked for */
	HTTP_RANGE_UNSATISFIABLE, /* 416 */
};

/*
 * The value of Range for a representation of `size` bytes. Ranges behind its end are left out, and
 * what reaches past the end is cut. More than count_max ranges: IGNORED.
 */
enum http_range_result http_range_parse(struct bytes value, uint64_t size,
                                        struct http_range *ranges, unsigned count_max,
                                        unsigned *count);

/* "bytes 0-9/100" into `out`, not terminated; returns its size. */
enum { HTTP_CONTENT_RANGE_MAX = 70 };
size_t http_content_range(const struct http_range *range, uint64_t size, char *out);

/*
 * Whether an entity tag, with its quotes, is in the value of If-Match or If-None-Match, which may
 * be "*". weak: W/ makes no difference (If-None-Match); else a weak tag matches nothing. A tag
 * without quotes in the list, as some clients send it, matches the tag with them.
 */
bool http_etag_is_in(struct bytes list, struct bytes etag, bool weak);

/* Values as sent; data NULL: the field is not there. */
struct http_conditions {
	struct bytes if_match, if_none_match, if_modified_since, if_unmodified_since;
};

/* The selected representation, which they are held against. */
struct http_selected {
	bool exists;
	struct bytes etag;        /* with its quotes */
	uint64_t modified_unix_s; /* 0: not known: conditions on dates are ignored */
};

enum http_verdict { HTTP_PROCEED, HTTP_NOT_MODIFIED, HTTP_PRECONDITION_FAILED };

/* In the order of section 13.2.2; `read`: the method is GET or HEAD. Dates that are none are
 * ignored. */
enum http_verdict http_conditions_judge(const struct http_conditions *conditions,
                                        const struct http_selected *state, bool read);

/* Whether Range counts, given the value of If-Range. */
bool http_if_range(struct bytes value, const struct http_selected *state);

#endif
