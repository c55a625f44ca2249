/* SPDX-License-Identifier: Apache-2.0 */
#include "core/memory.h"

#include "base/assert.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

enum { SHARE = 16, CONNECTIONS_SHARE = 8, TLS_SHARE = 5, VALUES_SHARE = 8, CACHE_SHARE = 3 };

static const uint64_t shared_size = 8 * MIB; /* code, libraries, metrics, configuration */
static const uint64_t fixed_size = 2 * MIB;  /* touched stack, ring, 63 inboxes, recorder, log */
static const uint64_t index_min = 2 * MIB, cache_min = 1 * MIB;

static const struct limits {
	uint64_t min, max;
} buffers = { 4 * MIB, 128 * MIB }, receives = { 512 * KIB, 32 * MIB },
  connections = { 512 * KIB, 128 * MIB }, tls = { 2 * MIB, 512 * MIB },
  values = { 0, 1088 * MIB }, /* at most: the largest value, old and new */
        /* 6 frames of the log, 2 MiB of a checkpoint, 1 of the cleaner, 3 while recovery runs. */
        engine_log = { 12 * MIB, 128 * MIB };

/* The minimum and a share of what is there beyond all minimums, up to the maximum. */
static uint64_t part_of(uint64_t surplus, struct limits limits, unsigned share)
{
	uint64_t value = limits.min + surplus / share;

	return value > limits.max ? limits.max : value;
}

uint64_t memory_sum(const struct memory_parts *p, struct memory_shape shape)
{
	return p->shared + p->stacks +
	       shape.workers * (p->faces + p->fixed + p->buffers + p->receives + p->connections +
	                        p->tls + p->values) +
	       shape.engines * (p->log + p->index + p->cache);
}

uint64_t memory_default(unsigned workers)
{
	return 32 * MIB * workers > 256 * MIB ? 32 * MIB * workers : 256 * MIB;
}

enum status memory_split(uint64_t total, struct memory_shape shape, struct memory_parts *parts,
                         uint64_t *minimum)
{
	struct memory_parts p = {
		.shared = shared_size,
		.stacks = shape.stacks,
		.faces = shape.faces,
		.fixed = fixed_size,
		.buffers = buffers.min,
		.receives = receives.min,
		.connections = connections.min,
		.tls = shape.tls ? tls.min : 0,
		.values = values.min,
		.log = engine_log.min,
		.index = index_min,
		.cache = cache_min,
	};
	uint64_t surplus, left;

	assert(shape.workers >= 1 && shape.workers <= 64);
	assert(shape.engines >= 1 && shape.engines <= shape.workers);
	*minimum = memory_sum(&p, shape);
	if (total < *minimum)
		return STATUS_TOO_LARGE;
	surplus = total - *minimum;
	p.buffers = part_of(surplus / shape.workers, buffers, SHARE) / MIB * MIB;
	p.receives = part_of(surplus / shape.workers, receives, SHARE);
	p.connections = part_of(surplus / shape.workers, connections, CONNECTIONS_SHARE);
	if (shape.tls)
		p.tls = part_of(surplus / shape.workers, tls, TLS_SHARE);
	p.values = part_of(surplus / shape.workers, values, VALUES_SHARE) / (64 * KIB) * (64 * KIB);
	p.log = part_of(surplus / shape.engines, engine_log, SHARE) / MIB * MIB;
	assert(memory_sum(&p, shape) <= total);
	left = (total - memory_sum(&p, shape)) / shape.engines;
	p.cache += left / CACHE_SHARE;
	p.index += left - left / CACHE_SHARE;
	assert(memory_sum(&p, shape) <= total);
	*parts = p;
	return STATUS_OK;
}
