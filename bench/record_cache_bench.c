/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a lookup in the record cache costs, one by one and in batches with prefetch, and an
 * insertion. One line per figure: name, value, unit; the best of some rounds in processor time.
 */
#include "bench.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/prng.h"
#include "engine/record_cache.h"

enum { ENTRIES = 300000, KEY_SIZE = 16, VALUE_SIZE = 64, BATCH = 16, ROUNDS = 10 };

static struct record_cache *cache;
static uint8_t keys[ENTRIES][KEY_SIZE];
static uint64_t hashes[ENTRIES];
static uint32_t order[ENTRIES];

static void insert_all(void)
{
	static const uint8_t value[VALUE_SIZE];
	const struct record_cache_entry entry = { .version = 1, .location = 1 };

	for (uint32_t i = 0; i < ENTRIES; i++) {
		bool inserted =
		        record_cache_insert(cache, hashes[i], &entry, bytes_of(keys[i], KEY_SIZE),
		                            bytes_of(value, sizeof(value)));

		assert(inserted);
		if (i % 64 == 0)
			record_cache_turn(cache, 0);
	}
}

static void find_one(uint32_t i)
{
	assert(record_cache_find(cache, hashes[i], bytes_of(keys[i], KEY_SIZE)) != NULL);
}

static void find_all(void)
{
	for (uint32_t i = 0; i < ENTRIES; i++)
		find_one(order[i]);
}

static void find_batches(void)
{
	for (uint32_t i = 0; i + BATCH <= ENTRIES; i += BATCH) {
		for (uint32_t j = i; j < i + BATCH; j++)
			record_cache_prefetch_slot(cache, hashes[order[j]]);
		for (uint32_t j = i; j < i + BATCH; j++)
			record_cache_prefetch_entry(cache, hashes[order[j]]);
		for (uint32_t j = i; j < i + BATCH; j++)
			find_one(order[j]);
	}
}

static void find_none(void)
{
	for (uint32_t i = 0; i < ENTRIES; i++) {
		uint64_t hash = hashes[i] * 0x9e3779b97f4a7c15ull;

		assert(record_cache_find(cache, hash, bytes_of(keys[i], KEY_SIZE)) == NULL);
	}
}

static void figure(const char *what, void (*run)(void))
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t started = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

		run();
		took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - started;
		best = took < best ? took : best;
	}
	printf("record_cache_%s %.1f ns\n", what, (double)best / ENTRIES);
}

int main(void)
{
	struct record_cache_stats stats;
	struct prng prng;

	prng_init(&prng, 1);
	for (uint32_t i = 0; i < ENTRIES; i++) {
		prng_fill(&prng, keys[i], KEY_SIZE);
		hashes[i] = hash64(bytes_of(keys[i], KEY_SIZE));
		order[i] = i;
	}
	for (uint32_t i = ENTRIES - 1; i > 0; i--) {
		uint32_t j = (uint32_t)prng_below(&prng, i + 1), other = order[j];

		order[j] = order[i];
		order[i] = other;
	}
	if (record_cache_open(&cache, (size_t)64 << 20) != STATUS_OK)
		die("memory for the cache");
	insert_all();
	record_cache_stats(cache, &stats);
	printf("record_cache_memory %.1f B/entry\n", (double)stats.bytes / (double)stats.entries);
	figure("insert", insert_all);
	figure("lookup", find_all);
	figure("lookup_batched", find_batches);
	figure("lookup_absent", find_none);
	record_cache_close(cache);
	return 0;
}
