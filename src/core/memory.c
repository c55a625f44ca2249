/* SPDX-License-Identifier: Apache-2.0 */
#include "core/memory.h"

#include "base/assert.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static const uint64_t shared_size = 8 * MIB; /* code, libraries, metrics, configuration */
static const uint64_t fixed_size = 2 * MIB;  /* touched stack, ring, 63 inboxes, recorder, log */

static const struct {
	uint64_t divisor, min, max;
} buffers = { 8, 4 * MIB, 256 * MIB }, receives = { 16, 512 * KIB, 32 * MIB },
  connections = { 16, 512 * KIB, 128 * MIB };

static const uint64_t index_min = 2 * MIB, cache_min = 1 * MIB;

static uint64_t within(uint64_t value, uint64_t min, uint64_t max)
{
	if (value < min)
		return min;
	return value > max ? max : value;
}

uint64_t memory_default(unsigned workers)
{
	return 32 * MIB * workers > 256 * MIB ? 32 * MIB * workers : 256 * MIB;
}

uint64_t memory_sum(const struct memory_parts *p, unsigned workers)
{
	return p->shared + workers * (p->fixed + p->buffers + p->receives + p->connections +
	                              p->index + p->cache);
}

enum status memory_split(uint64_t total, unsigned workers, struct memory_parts *parts,
                         uint64_t *minimum)
{
	uint64_t each, left, least;

	assert(workers >= 1 && workers <= 64);
	least = buffers.min + receives.min + connections.min + index_min + cache_min;
	*minimum = shared_size + workers * (fixed_size + least);
	if (total < *minimum)
		return STATUS_TOO_LARGE;
	each = (total - shared_size) / workers - fixed_size;
	assert(each >= least);
	*parts = (struct memory_parts){ .shared = shared_size, .fixed = fixed_size };
	parts->buffers = within(each / buffers.divisor, buffers.min, buffers.max) / MIB * MIB;
	parts->receives = within(each / receives.divisor, receives.min, receives.max);
	parts->connections = within(each / connections.divisor, connections.min, connections.max);
	left = each - parts->buffers - parts->receives - parts->connections;
	/* A quarter of `each` is a third of what is left when no part is at a limit. */
	parts->index = within(left / 3, index_min, left - cache_min);
	parts->cache = left - parts->index;
	assert(parts->cache >= cache_min);
	assert(memory_sum(parts, workers) <= total);
	return STATUS_OK;
}
