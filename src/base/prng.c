/* SPDX-License-Identifier: Apache-2.0 */
#include "base/prng.h"

#include <string.h>

#include "base/assert.h"

enum { MILLION = 1000000 };

__extension__ typedef unsigned __int128 uint128;

static uint64_t rotate(uint64_t n, unsigned bits)
{
	return n << bits | n >> (64 - bits);
}

/* SplitMix64: spreads a seed of few bits over all of the state. */
static uint64_t split(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

void prng_init(struct prng *prng, uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		prng->state[i] = split(&seed);
}

uint64_t prng_fork(struct prng *prng, uint64_t what)
{
	uint64_t state = prng_next(prng) ^ what;

	return split(&state);
}

uint64_t prng_next(struct prng *prng)
{
	uint64_t *s = prng->state;
	uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

/* Lemire's method: a multiplication, and a division once in a long while. */
uint64_t prng_below(struct prng *prng, uint64_t limit)
{
	uint128 product;
	uint64_t low;

	assert(limit > 0);
	product = (uint128)prng_next(prng) * limit;
	low = (uint64_t)product;
	if (low < limit) {
		uint64_t threshold = (0 - limit) % limit;

		while (low < threshold) {
			product = (uint128)prng_next(prng) * limit;
			low = (uint64_t)product;
		}
	}
	return (uint64_t)(product >> 64);
}

uint64_t prng_range(struct prng *prng, uint64_t first, uint64_t last)
{
	assert(first <= last);
	if (first == 0 && last == UINT64_MAX)
		return prng_next(prng);
	return first + prng_below(prng, last - first + 1);
}

bool prng_chance(struct prng *prng, uint32_t per_million)
{
	assert(per_million <= MILLION);
	return per_million > 0 && prng_below(prng, MILLION) < per_million;
}

/*
 * Von Neumann's comparison method, which needs no logarithm: the whole part counts rejected runs,
 * the fraction is the first number of a descending run of odd length.
 */
uint64_t prng_exponential(struct prng *prng, uint64_t mean)
{
	enum { WHOLE_MAX = 20 };

	for (unsigned whole = 0; whole < WHOLE_MAX; whole++) {
		uint64_t first = prng_next(prng), last = first, next;
		unsigned run = 1;

		while ((next = prng_next(prng)) < last) {
			last = next;
			run++;
		}
		if (run % 2 == 1)
			return whole * mean + (uint64_t)((uint128)first * mean >> 64);
	}
	return WHOLE_MAX * mean;
}

void prng_fill(struct prng *prng, void *data, size_t size)
{
	uint8_t *at = data;

	while (size > 0) {
		uint64_t word = prng_next(prng);
		size_t part = size < sizeof(word) ? size : sizeof(word);

		memcpy(at, &word, part);
		at += part;
		size -= part;
	}
}
