/* SPDX-License-Identifier: Apache-2.0 */
/* How far a transfer over someone else's vector has come. */
#ifndef TRANSPORT_CURSOR_H
#define TRANSPORT_CURSOR_H

#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/assert.h"

/* The vector is const, so what is left of a segment is shown through a segment of our own. */
struct cursor {
	const struct iovec *iov; /* first segment that is not done */
	uint32_t count;          /* of segments from there */
	struct iovec head;       /* iov_len > 0: what is left of iov[0], which was begun */
};

/* The segments to transfer next: all that are left, or the rest of one; at least 1. */
static inline uint32_t cursor_window(const struct cursor *c, const struct iovec **window)
{
	assert(c->count > 0);
	if (c->head.iov_len > 0) {
		*window = &c->head;
		return 1;
	}
	*window = c->iov;
	return c->count < IOV_MAX ? c->count : IOV_MAX;
}

/* Also steps over empty segments, so that what is left is never nothing in many pieces. */
static inline void cursor_advance(struct cursor *c, size_t size)
{
	struct iovec at = c->head.iov_len > 0 || c->count == 0 ? c->head : c->iov[0];

	while (c->count > 0 && size >= at.iov_len) {
		size -= at.iov_len;
		c->iov++;
		c->count--;
		c->head.iov_len = 0;
		if (c->count > 0)
			at = c->iov[0];
	}
	if (size > 0) {
		assert(c->count > 0); /* else: more than was asked for */
		c->head = (struct iovec){ (char *)at.iov_base + size, at.iov_len - size };
	}
}

static inline void cursor_init(struct cursor *c, const struct iovec *iov, uint32_t count)
{
	*c = (struct cursor){ .iov = iov, .count = count };
	cursor_advance(c, 0);
}

/* Fills all that is left with zeroes. */
static inline void cursor_zero(struct cursor *c)
{
	const struct iovec *window;

	while (c->count > 0) {
		cursor_window(c, &window);
		if (window->iov_len > 0)
			memset(window->iov_base, 0, window->iov_len);
		c->head.iov_len = 0;
		c->iov++;
		c->count--;
	}
}

#endif
