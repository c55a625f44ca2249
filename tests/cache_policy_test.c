/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What caches keep: LRU against a plain one, S3-FIFO against CLOCK and LRU on traces of the shapes
 * that are known: Zipf's law, scans among it, loops, and what is used once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/prng.h"
#include "layer/cache_policy.h"

enum { CAPACITY = 1000, KEYS = 10000, REQUESTS = 200000 };

static struct cache_policy policy;
static void *memory;
static struct prng prng;
static double zipf_sums[KEYS];

static void set_up(enum cache_kind kind, uint32_t capacity)
{
	memory = malloc(cache_policy_memory(capacity));
	assert_non_null(memory);
	cache_policy_init(&policy, kind, capacity, memory);
}

/* True: a hit. */
static bool ask(uint64_t key)
{
	uint32_t slot = cache_find(&policy, key);

	if (slot != CACHE_NONE) {
		assert_int_equal(policy.entries[slot].key, key);
		cache_use(&policy, slot);
		return true;
	}
	slot = cache_insert(&policy, key);
	assert_true(slot < policy.capacity);
	assert_int_equal(cache_find(&policy, key), slot);
	return false;
}

static void lru_is_exact(void **state)
{
	enum { ROOM = 50 };
	uint64_t list[ROOM]; /* the newest first */
	unsigned count = 0;

	(void)state;
	set_up(CACHE_LRU, ROOM);
	prng_init(&prng, 1);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t key = prng_below(&prng, 80);
		unsigned at = 0;

		while (at < count && list[at] != key)
			at++;
		assert_int_equal(ask(key), at < count);
		if (at == count && count < ROOM)
			count++;
		if (at == count)
			at--;
		memmove(list + 1, list, at * sizeof(list[0]));
		list[0] = key;
	}
	free(memory);
}

/* Keys with s = 1: the first is asked for KEYS times as often as the last. */
static uint64_t draw_zipf(void)
{
	double x = (double)(prng_next(&prng) >> 11) / (double)(1ull << 53) * zipf_sums[KEYS - 1];
	unsigned low = 0, high = KEYS - 1;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (zipf_sums[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

enum trace { ZIPF, ZIPF_AND_SCANS, LOOP, ONCE_AND_ZIPF, TRACES };

static uint64_t draw_key(enum trace trace, unsigned i)
{
	switch (trace) {
	case ZIPF:
		return draw_zipf();
	case ZIPF_AND_SCANS: /* one of five commands belongs to a scan of all that there is */
		return i % 5 == 0 ? 1000000 + i / 5 % 30000 : draw_zipf();
	case LOOP:
		return i % (CAPACITY * 3 / 2);
	case ONCE_AND_ZIPF:
		return i % 2 == 0 ? 5000000 + i : draw_zipf();
	case TRACES:
		break;
	}
	fail();
	return 0;
}

static double hit_ratio(enum cache_kind kind, enum trace trace)
{
	unsigned hits = 0;

	set_up(kind, CAPACITY);
	prng_init(&prng, 7);
	for (unsigned i = 0; i < REQUESTS; i++)
		hits += ask(draw_key(trace, i));
	free(memory);
	return (double)hits / REQUESTS;
}

static void s3fifo_beats_what_it_replaces(void **state)
{
	static const char *const names[] = { "zipf", "zipf+scans", "loop", "zipf+once" };
	double ratio[TRACES][3], sum = 0;

	(void)state;
	for (unsigned i = 0; i < KEYS; i++)
		zipf_sums[i] = sum += 1.0 / (i + 1);
	for (unsigned trace = 0; trace < TRACES; trace++) {
		for (unsigned kind = 0; kind < 3; kind++)
			ratio[trace][kind] = hit_ratio((enum cache_kind)kind, (enum trace)trace);
		fprintf(stderr, "%-12s s3fifo %.3f clock %.3f lru %.3f\n", names[trace],
		        ratio[trace][CACHE_S3FIFO], ratio[trace][CACHE_CLOCK],
		        ratio[trace][CACHE_LRU]);
		assert_true(ratio[trace][CACHE_S3FIFO] >= ratio[trace][CACHE_LRU]);
		assert_true(ratio[trace][CACHE_S3FIFO] >= ratio[trace][CACHE_CLOCK]);
	}
	/* A scan does not empty it. */
	assert_true(ratio[ZIPF_AND_SCANS][CACHE_S3FIFO] > ratio[ZIPF_AND_SCANS][CACHE_LRU] + 0.03);
}

/* Insert, remove, pin, hide in any order: the table and the queues agree with a plain list. */
static void stays_consistent(void **state)
{
	enum { ROOM = 32, NAMES = 64 };
	static uint32_t slots[NAMES];
	unsigned pinned = 0;

	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		uint32_t hidden = CACHE_NONE;

		set_up((enum cache_kind)kind, ROOM);
		prng_init(&prng, kind);
		for (unsigned i = 0; i < 50000; i++) {
			uint64_t key = prng_below(&prng, NAMES);
			uint32_t slot = cache_find(&policy, key);
			uint64_t what = prng_below(&prng, 8);

			if (slot == CACHE_NONE) {
				slot = cache_insert(&policy, key);
				assert_int_equal(cache_find(&policy, key), slot);
			} else if (what == 0 && !policy.entries[slot].pinned) {
				cache_remove(&policy, slot);
				assert_int_equal(cache_find(&policy, key), CACHE_NONE);
			} else if (what == 1 && !policy.entries[slot].pinned && pinned < 20) {
				cache_pin(&policy, slot);
				pinned++;
			} else if (what == 2 && policy.entries[slot].pinned) {
				cache_unpin(&policy, slot);
				pinned--;
			} else if (what == 3 && policy.entries[slot].pinned &&
			           hidden == CACHE_NONE) {
				cache_hide(&policy, slot);
				hidden = slot;
				assert_int_equal(cache_find(&policy, key), CACHE_NONE);
				assert_false(cache_is_found(&policy, slot));
			} else if (what == 4 && hidden != CACHE_NONE) {
				cache_unpin(&policy, hidden);
				pinned--;
				cache_remove(&policy, hidden);
				hidden = CACHE_NONE;
			} else {
				cache_use(&policy, slot);
			}
			assert_int_equal(policy.pinned_count, pinned);
			assert_true(policy.queues[0].count + policy.queues[1].count <= ROOM);
		}
		/* Found by their keys, each once. */
		for (uint64_t key = 0; key < NAMES; key++) {
			slots[key] = cache_find(&policy, key);
			for (uint64_t other = 0; other < key; other++)
				assert_true(slots[key] == CACHE_NONE || slots[key] != slots[other]);
		}
		pinned = 0;
		free(memory);
	}
}

static void all_pinned_takes_no_more(void **state)
{
	(void)state;
	set_up(CACHE_S3FIFO, CACHE_CAPACITY_MIN);
	for (uint64_t key = 0; key < CACHE_CAPACITY_MIN; key++)
		cache_pin(&policy, cache_insert(&policy, key));
	assert_int_equal(cache_insert(&policy, 99), CACHE_NONE);
	cache_unpin(&policy, cache_find(&policy, 3));
	assert_int_not_equal(cache_insert(&policy, 99), CACHE_NONE);
	assert_int_equal(cache_find(&policy, 3), CACHE_NONE);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lru_is_exact),
		cmocka_unit_test(s3fifo_beats_what_it_replaces),
		cmocka_unit_test(stays_consistent),
		cmocka_unit_test(all_pinned_takes_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
