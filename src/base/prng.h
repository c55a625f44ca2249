/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded random numbers: for the simulator, jitter and sampling. Not for secrets. */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* xoshiro256** (Blackman and Vigna 2018). The same seed gives the same numbers everywhere. */
struct prng {
	uint64_t state[4]; /* not all zero */
};

void prng_init(struct prng *prng, uint64_t seed); /* any seed, 0 too */

/* A seed for a generator of its own, so that what one part draws does not shift the others. */
uint64_t prng_fork(struct prng *prng, uint64_t what);

uint64_t prng_next(struct prng *prng);

/* 0..limit-1, without bias; limit > 0. */
uint64_t prng_below(struct prng *prng, uint64_t limit);

/* first..last, both included. */
uint64_t prng_range(struct prng *prng, uint64_t first, uint64_t last);

/* True `per_million` times out of a million; never draws a number for 0. */
bool prng_chance(struct prng *prng, uint32_t per_million);

/* 0 or more, exponentially distributed with that mean, at most 20 times the mean. */
uint64_t prng_exponential(struct prng *prng, uint64_t mean);

void prng_fill(struct prng *prng, void *data, size_t size);

#endif
