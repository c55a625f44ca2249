/* SPDX-License-Identifier: Apache-2.0 */
/* A histogram of latencies in log-linear buckets: fixed size, mergeable, never wrong by over 1/16.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

/*
 * Values below 16 have a bucket each; above, every power of two is cut into 16. Values past the
 * last bucket (2^40 ns: 18 minutes) count in it; max keeps the true one.
 */
enum {
	HISTOGRAM_SUB_BITS = 4,
	HISTOGRAM_VALUE_BITS = 40,
	HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

/*
 * Memory: its owner's; zero-initialised it is empty. Thread: one adds; any other may merge from it
 * meanwhile and sees each counter whole, if not all of them of one moment.
 */
struct histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *to, const struct histogram *from);

/* The value that `per_million` of a million are not above, rounded up to its bucket; empty: 0. */
uint64_t histogram_percentile(const struct histogram *h, uint32_t per_million);

/* How many are at most `value`, which is 2^n - 1 (else: to the end of its bucket). */
uint64_t histogram_count_to(const struct histogram *h, uint64_t value);

#endif
