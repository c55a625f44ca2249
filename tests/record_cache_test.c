/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/macros.h"
#include "base/prng.h"
#include "engine/record_cache.h"

enum { KEYS = 500, KEY_MAX = 40, HELD_MAX = 64, VALUE_MAX = 3000 };

/* What a key should have; value_size and seed make the value. */
struct expected {
	uint8_t key[KEY_MAX];
	struct bytes bytes;
	uint64_t hash;
	bool present; /* may be found */
	bool must;    /* is not durable yet, so it must be found */
	uint64_t version, lsn, location;
	uint32_t value_size;
};

/* An entry that was found in this turn and the version that it had. */
struct held {
	const struct record_cache_entry *entry;
	uint64_t version;
	uint32_t value_size;
};

struct rig {
	struct record_cache *cache;
	struct prng prng;
	struct expected keys[KEYS];
	struct held held[HELD_MAX];
	unsigned held_count;
	uint64_t lsn, lsn_durable, version;
	uint64_t found, refused;
};

static uint32_t draw(struct rig *rig, uint32_t limit)
{
	return (uint32_t)prng_below(&rig->prng, limit);
}

static void make_value(uint8_t *value, uint64_t version, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		value[i] = (uint8_t)(version * 31 + i * 7 + (version >> 8));
}

static void check_value(struct bytes value, uint64_t version, uint32_t size)
{
	uint8_t expected[VALUE_MAX];

	make_value(expected, version, size);
	assert_int_equal(value.size, size);
	assert_memory_equal(value.data, expected, size);
}

/* With `same_hash` all hashes have only a few values: what must not matter but for speed. */
static struct rig *rig_open(uint64_t seed, size_t memory_size, bool same_hash)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	prng_init(&rig->prng, seed);
	assert_int_equal(record_cache_open(&rig->cache, memory_size), STATUS_OK);
	for (unsigned i = 0; i < KEYS; i++) {
		struct expected *key = &rig->keys[i];
		size_t size = (size_t)snprintf((char *)key->key, KEY_MAX, "%c%c%u", 1 + (int)i % 3,
		                               'a' + (int)i % 2, i);

		key->bytes = bytes_of(key->key, size + i % 20);
		key->hash = same_hash ? i % 3 : hash64(key->bytes);
	}
	return rig;
}

static void rig_close(struct rig *rig)
{
	record_cache_close(rig->cache);
	free(rig);
}

static void rig_insert(struct rig *rig, struct expected *key, uint32_t value_max)
{
	uint8_t value[VALUE_MAX];
	struct record_cache_entry entry = {
		.version = ++rig->version,
		.expires_ms = rig->version * 3,
		.lsn = ++rig->lsn,
		.location = rig->version * 5,
		.flags = (uint8_t)rig->version,
	};

	key->version = entry.version;
	key->location = entry.location;
	key->lsn = entry.lsn;
	key->value_size = draw(rig, value_max);
	make_value(value, key->version, key->value_size);
	key->present = record_cache_insert(rig->cache, key->hash, &entry, key->bytes,
	                                   bytes_of(value, key->value_size));
	key->must = key->present;
	if (!key->present) {
		rig->refused++;
		record_cache_remove(rig->cache, key->hash, key->bytes);
	}
}

static void rig_find(struct rig *rig, struct expected *key)
{
	const struct record_cache_entry *entry;

	record_cache_prefetch_slot(rig->cache, key->hash);
	record_cache_prefetch_entry(rig->cache, key->hash);
	entry = record_cache_find(rig->cache, key->hash, key->bytes);
	if (entry == NULL) {
		assert_false(key->present && key->must && key->lsn > rig->lsn_durable);
		return;
	}
	assert_true(key->present);
	assert_int_equal(entry->version, key->version);
	assert_int_equal(entry->location, key->location);
	assert_int_equal(entry->lsn, key->lsn);
	assert_int_equal(entry->expires_ms, key->version * 3);
	assert_int_equal(entry->flags, (uint8_t)key->version);
	assert_true(bytes_equal(bytes_of(entry->data, entry->key_size), key->bytes));
	check_value(record_cache_value(entry), key->version, key->value_size);
	rig->found++;
	if (rig->held_count < HELD_MAX)
		rig->held[rig->held_count++] =
		        (struct held){ entry, entry->version, key->value_size };
}

static void rig_clear(struct rig *rig, struct bytes prefix)
{
	record_cache_clear(rig->cache, prefix);
	for (unsigned i = 0; i < KEYS; i++) {
		if (rig->keys[i].bytes.size >= prefix.size &&
		    memcmp(rig->keys[i].key, prefix.data, prefix.size) == 0)
			rig->keys[i].present = false;
	}
}

/* What was found stays as it was found until here, unless its key was inserted again. */
static void rig_turn(struct rig *rig)
{
	struct record_cache_stats stats;

	for (unsigned i = 0; i < rig->held_count; i++) {
		if (rig->held[i].entry->version > rig->held[i].version)
			continue;
		assert_int_equal(rig->held[i].entry->version, rig->held[i].version);
		check_value(record_cache_value(rig->held[i].entry), rig->held[i].version,
		            rig->held[i].value_size);
	}
	rig->held_count = 0;
	if (draw(rig, 3) != 0)
		rig->lsn_durable += draw(rig, (uint32_t)(rig->lsn - rig->lsn_durable) + 1);
	record_cache_turn(rig->cache, rig->lsn_durable);
	record_cache_stats(rig->cache, &stats);
	assert_true(stats.entries <= KEYS);
	assert_true(stats.bytes <= stats.bytes_max);
}

static void rig_step(struct rig *rig, uint32_t value_max)
{
	struct expected *key = &rig->keys[draw(rig, KEYS)];
	uint32_t choice = draw(rig, 1000);

	if (choice < 400) {
		rig_insert(rig, key, value_max);
	} else if (choice < 850) {
		rig_find(rig, key);
	} else if (choice < 900) {
		record_cache_remove(rig->cache, key->hash, key->bytes);
		key->present = false;
		rig_find(rig, key);
	} else if (choice < 930) {
		record_cache_moved(rig->cache, key->hash, key->bytes, key->location, 77);
		key->location = 77;
		record_cache_moved(rig->cache, key->hash, key->bytes, 78, 79);
	} else if (choice < 998) {
		rig_turn(rig);
	} else {
		uint8_t prefix[2] = { (uint8_t)(1 + draw(rig, 3)), (uint8_t)('a' + draw(rig, 2)) };

		rig_clear(rig, bytes_of(prefix, draw(rig, 3)));
	}
}

static void run(uint64_t seed, size_t memory_size, bool same_hash, uint32_t value_max)
{
	struct rig *rig = rig_open(seed, memory_size, same_hash);
	struct record_cache_stats stats;

	for (unsigned i = 0; i < 100000; i++)
		rig_step(rig, value_max);
	rig_turn(rig);
	for (unsigned i = 0; i < KEYS; i++)
		rig_find(rig, &rig->keys[i]);
	record_cache_stats(rig->cache, &stats);
	assert_true(stats.hits > 1000);
	assert_int_equal(stats.hits, rig->found);
	assert_int_equal(stats.refused, rig->refused);
	printf("%zu B: %lu hits, %lu misses, %lu inserted, %lu refused, %lu evicted\n", memory_size,
	       stats.hits, stats.misses, stats.inserted, stats.refused, stats.evicted);
	rig_close(rig);
}

static void test_model(void **state)
{
	(void)state;
	run(1, 64 << 10, false, 100);
	run(2, 64 << 10, false, 1);
	run(3, 64 << 10, false, VALUE_MAX);
	run(4, 100 << 10, true, 200);
	run(5, 1 << 20, false, VALUE_MAX);
	run(6, 2 << 20, false, VALUE_MAX);
	run(7, 3 << 20, true, VALUE_MAX);
}

static bool insert(struct record_cache *cache, uint64_t number, uint64_t lsn, size_t value_size)
{
	static const uint8_t value[4096];
	struct record_cache_entry entry = { .version = number, .lsn = lsn, .location = number + 1 };
	struct bytes key = bytes_of(&number, sizeof(number));

	return record_cache_insert(cache, hash64(key), &entry, key, bytes_of(value, value_size));
}

static bool find(struct record_cache *cache, uint64_t number)
{
	struct bytes key = bytes_of(&number, sizeof(number));

	return record_cache_find(cache, hash64(key), key) != NULL;
}

/* What is not durable is never evicted: rather nothing else is taken. */
static void test_pending_stays(void **state)
{
	struct record_cache *cache;
	uint64_t count = 0;

	(void)state;
	assert_int_equal(record_cache_open(&cache, 64 << 10), STATUS_OK);
	while (insert(cache, count, 10, 100)) {
		count++;
		record_cache_turn(cache, 9);
	}
	assert_true(count > 200);
	record_cache_turn(cache, 9);
	assert_false(insert(cache, count, 10, 100));
	for (uint64_t i = 0; i < count; i++)
		assert_true(find(cache, i));
	/* All were just found: they get a second chance, but not all of them. */
	record_cache_turn(cache, 10);
	assert_true(insert(cache, count, 11, 100));
	record_cache_close(cache);
}

/* However small the entries are, there is an empty slot and the cache goes on taking. */
static void test_more_entries_than_slots(void **state)
{
	struct record_cache_stats stats;
	struct record_cache *cache;

	(void)state;
	assert_int_equal(record_cache_open(&cache, 1 << 20), STATUS_OK);
	for (uint64_t i = 0; i < 200000; i++) {
		(void)insert(cache, i, 0, 0);
		if (i % 16 == 0)
			record_cache_turn(cache, 0);
	}
	record_cache_stats(cache, &stats);
	assert_int_equal(stats.refused, 0);
	assert_true(stats.entries > 7000);
	for (uint64_t i = 199000; i < 200000; i++)
		assert_true(find(cache, i));
	record_cache_close(cache);
}

enum { TRACE_BITS = 17, TRACE_STEPS = 400000, TRACE_WARM = 200000 };

/* Item i about in proportion to 1 / (i + 1), as in a Zipf distribution. */
static uint64_t draw_item(struct prng *prng)
{
	return prng_below(prng, 1ull << prng_below(prng, TRACE_BITS + 1));
}

static double hit_ratio(size_t memory_size)
{
	struct record_cache *cache;
	struct prng prng;
	uint64_t hits = 0;

	prng_init(&prng, 3);
	assert_int_equal(record_cache_open(&cache, memory_size), STATUS_OK);
	for (unsigned i = 0; i < TRACE_STEPS; i++) {
		uint64_t item = draw_item(&prng);
		bool hit = find(cache, item);

		if (!hit)
			(void)insert(cache, item, 0, 64);
		if (i % 16 == 0)
			record_cache_turn(cache, 0);
		hits += hit && i >= TRACE_WARM;
	}
	record_cache_close(cache);
	return (double)hits / (TRACE_STEPS - TRACE_WARM);
}

/* A plain FIFO of so many entries. */
static double hit_ratio_fifo(uint64_t entries)
{
	static uint64_t last[1 << TRACE_BITS]; /* when it was inserted, counted in insertions */
	uint64_t hits = 0, inserted = 0;
	struct prng prng;

	prng_init(&prng, 3);
	for (unsigned i = 0; i < TRACE_STEPS; i++) {
		uint64_t item = draw_item(&prng);
		bool hit = last[item] != 0 && last[item] + entries > inserted;

		if (!hit)
			last[item] = ++inserted;
		hits += hit && i >= TRACE_WARM;
	}
	return (double)hits / (TRACE_STEPS - TRACE_WARM);
}

static void test_second_chances_beat_fifo(void **state)
{
	enum { ENTRY_SIZE = 128 };
	double cache, fifo;

	(void)state;
	cache = hit_ratio(1 << 20);
	fifo = hit_ratio_fifo((1 << 20) / ENTRY_SIZE);
	printf("hit ratio: %.3f, of a FIFO as large %.3f\n", cache, fifo);
	assert_true(cache > fifo);
}

static void test_clear_of_a_large_cache(void **state)
{
	struct record_cache *cache;
	struct record_cache_stats stats;

	(void)state;
	assert_int_equal(record_cache_open(&cache, 8 << 20), STATUS_OK);
	for (uint64_t i = 0; i < 20000; i++)
		assert_true(insert(cache, i, 0, 100));
	record_cache_stats(cache, &stats);
	assert_true(stats.bytes > 2 << 20);
	assert_true(find(cache, 258));
	record_cache_clear(cache, BYTES("\x02")); /* numbers are stored low byte first */
	for (uint64_t i = 0; i < 20000; i++)
		assert_int_equal(find(cache, i), (i & 0xff) != 2);
	assert_true(insert(cache, 258, 0, 100));
	for (uint64_t i = 20000; i < 200000; i++) {
		(void)insert(cache, i, 0, 100);
		record_cache_turn(cache, 0);
		if (i % 64 == 0)
			assert_true(find(cache, 258));
		assert_false(find(cache, 514));
	}
	record_cache_clear(cache, BYTES(""));
	for (uint64_t i = 0; i < 200000; i++)
		assert_false(find(cache, i));
	record_cache_close(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_pending_stays),
		cmocka_unit_test(test_more_entries_than_slots),
		cmocka_unit_test(test_second_chances_beat_fifo),
		cmocka_unit_test(test_clear_of_a_large_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
