/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"

#include "base/assert.h"

enum { SUB_COUNT = 1 << HISTOGRAM_SUB_BITS, PER_MILLION = 1000000 };

static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < SUB_COUNT)
		return (unsigned)value;
	if (value >> HISTOGRAM_VALUE_BITS != 0)
		return HISTOGRAM_BUCKETS - 1;
	shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	/* The leading bit adds SUB_COUNT, which is the next row's start. */
	return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

/* The largest value that falls into a bucket. */
static uint64_t bucket_last(unsigned bucket)
{
	unsigned shift;
	uint64_t first;

	assert(bucket < HISTOGRAM_BUCKETS);
	if (bucket < SUB_COUNT)
		return bucket;
	shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
	first = (uint64_t)(SUB_COUNT + (bucket & (SUB_COUNT - 1))) << shift;
	return first + (1ull << shift) - 1;
}

/* One writer: a relaxed store is a plain one, and a reader elsewhere never sees half of it. */
static void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static uint64_t look(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void histogram_add(struct histogram *h, uint64_t value)
{
	bump(&h->buckets[bucket_of(value)], 1);
	bump(&h->sum, value);
	bump(&h->count, 1);
	if (value > h->max)
		__atomic_store_n(&h->max, value, __ATOMIC_RELAXED);
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	uint64_t count = 0, max = look(&from->max);

	assert(to != from);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = look(&from->buckets[i]);

		to->buckets[i] += n;
		count += n;
	}
	/* Not from->count: it may be of another moment, and percentiles need the buckets' sum. */
	to->count += count;
	to->sum += look(&from->sum);
	if (max > to->max)
		to->max = max;
}

uint64_t histogram_percentile(const struct histogram *h, uint32_t per_million)
{
	uint64_t rank, seen = 0;

	assert(per_million <= PER_MILLION);
	if (h->count == 0)
		return 0;
	/* count * per_million / PER_MILLION, rounded up, without the product that could overflow.
	 */
	rank = h->count / PER_MILLION * per_million +
	       (h->count % PER_MILLION * per_million + PER_MILLION - 1) / PER_MILLION;
	if (rank == 0)
		rank = 1;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t last = bucket_last(i);

		seen += h->buckets[i];
		if (seen >= rank && i < HISTOGRAM_BUCKETS - 1)
			return last < h->max ? last : h->max;
	}
	return h->max;
}

uint64_t histogram_count_to(const struct histogram *h, uint64_t value)
{
	unsigned end = bucket_of(value);
	uint64_t seen = 0;

	for (unsigned i = 0; i <= end; i++)
		seen += h->buckets[i];
	return seen;
}
