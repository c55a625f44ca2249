/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "btree_rig.h"

static void rig_set(struct rig *rig, uint32_t rank)
{
	struct model *model = &rig->model;
	btree_value old = 12345, value = rig->value_next++;
	enum btree_result result;
	struct btree_miss miss;
	bool room;

	do {
		room = btree_pool_has_room(rig->pool, 1);
		result = btree_set(&rig->tree, model->keys[rank], value, &old, &miss);
		assert_false(room && result == BTREE_FULL);
	} while (rig_again(rig, result, &miss));
	assert_int_equal(result, BTREE_OK);
	assert_int_equal(old, model->values[rank]);
	model->count += model->values[rank] == 0;
	model->values[rank] = value;
	assert_int_equal(rig->tree.key_count, model->count);
}

static void rig_find(struct rig *rig, uint32_t rank)
{
	btree_value value = 0;
	enum btree_result result;
	struct btree_miss miss;

	btree_prefetch(&rig->tree, rig->model.keys[rank]);
	do
		result = btree_find(&rig->tree, rig->model.keys[rank], &value, &miss);
	while (rig_again(rig, result, &miss));
	assert_int_equal(result, rig->model.values[rank] == 0 ? BTREE_ABSENT : BTREE_OK);
	assert_int_equal(value, rig->model.values[rank]);
}

static void rig_remove(struct rig *rig, uint32_t rank)
{
	struct model *model = &rig->model;
	btree_value old = 0;
	enum btree_result result;
	struct btree_miss miss;

	do
		result = btree_remove(&rig->tree, model->keys[rank], &old, &miss);
	while (rig_again(rig, result, &miss));
	assert_int_equal(result, model->values[rank] == 0 ? BTREE_ABSENT : BTREE_OK);
	assert_int_equal(old, model->values[rank]);
	model->count -= model->values[rank] != 0;
	model->values[rank] = 0;
	assert_int_equal(rig->tree.key_count, model->count);
}

static void rig_replace(struct rig *rig, uint32_t rank)
{
	struct model *model = &rig->model;
	bool fits = model->values[rank] != 0 && rig_random(2) == 0;
	btree_value expected = fits ? model->values[rank] : rig->value_next + 1000000;
	enum btree_result result;
	struct btree_miss miss;

	do
		result = btree_replace(&rig->tree, model->keys[rank], expected, rig->value_next,
		                       &miss);
	while (rig_again(rig, result, &miss));
	assert_int_equal(result, fits ? BTREE_OK : BTREE_ABSENT);
	if (fits)
		model->values[rank] = rig->value_next++;
}

static void range_removed(void *context, struct bytes key, btree_value value)
{
	struct rig *rig = context;
	struct model *model = &rig->model;
	uint32_t rank = model_next(model, rig->removed_next);

	assert_true(rank < rig->removed_end);
	assert_true(bytes_equal(key, model->keys[rank]));
	assert_int_equal(value, model->values[rank]);
	model->values[rank] = 0;
	model->count--;
	rig->removed_next = rank + 1;
	rig->removed_count++;
}

static void rig_remove_range(struct rig *rig, uint32_t first, uint32_t end)
{
	struct model *model = &rig->model;
	struct btree_range range = { .lower = model->keys[first],
		                     .removed = range_removed,
		                     .context = rig };
	uint64_t limit = 1 + rig_random(50);
	enum btree_result result;
	struct btree_miss miss;

	if (end < model->key_count)
		range.upper = model->keys[end];
	rig->removed_next = first;
	rig->removed_end = end;
	do {
		rig->removed_count = 0;
		result = btree_remove_range(&rig->tree, &range, limit, &miss);
		assert_true(rig->removed_count <= limit);
		assert_true(result != BTREE_OK || rig->removed_count == limit);
	} while (rig_again(rig, result, &miss) || result == BTREE_OK);
	assert_int_equal(result, BTREE_ABSENT);
	assert_true(model_next(model, first) >= end);
	assert_int_equal(rig->tree.key_count, model->count);
}

static void check_cursor(struct rig *rig, unsigned i, uint32_t rank)
{
	struct model *model = &rig->model;

	assert_true(rank < model->key_count);
	assert_true(bytes_equal(btree_cursor_key(&rig->cursors[i]), model->keys[rank]));
	assert_int_equal(btree_cursor_value(&rig->cursors[i]), model->values[rank]);
	rig->cursor_rank[i] = rank;
}

static void rig_seek(struct rig *rig, unsigned i, uint32_t rank)
{
	struct model *model = &rig->model;
	bool reverse = rig_random(2) == 0;
	struct bytes key = model->keys[rank];
	enum btree_result result;
	struct btree_miss miss;
	uint32_t expected;

	if (rig_random(8) == 0) {
		key = BYTES("");
		rank = reverse ? model->key_count : 0;
	}
	result = btree_seek(&rig->tree, &rig->cursors[i], key, reverse, &miss);
	while (rig_again(rig, result, &miss)) {
		if (rig_random(8) == 0)
			result = btree_seek(&rig->tree, &rig->cursors[i], key, reverse, &miss);
		else
			result = btree_next(&rig->cursors[i], reverse, &miss);
	}
	expected = reverse ? model_before(model, rank) : model_next(model, rank);
	rig->cursor_rank[i] = KEYS_MAX;
	assert_int_equal(result, expected < model->key_count ? BTREE_OK : BTREE_ABSENT);
	if (result == BTREE_OK)
		check_cursor(rig, i, expected);
}

static void rig_next(struct rig *rig, unsigned i, bool reverse)
{
	struct model *model = &rig->model;
	enum btree_result result;
	struct btree_miss miss;
	uint32_t expected;

	if (rig->cursor_rank[i] == KEYS_MAX)
		return;
	expected = reverse ? model_before(model, rig->cursor_rank[i])
	                   : model_next(model, rig->cursor_rank[i] + 1);
	do
		result = btree_next(&rig->cursors[i], reverse, &miss);
	while (rig_again(rig, result, &miss));
	assert_int_equal(result, expected < model->key_count ? BTREE_OK : BTREE_ABSENT);
	if (result == BTREE_OK)
		check_cursor(rig, i, expected);
	else if (!rig->cursors[i].at_entry)
		rig->cursor_rank[i] = KEYS_MAX;
}

/* A cleaner wants a page of the disk to move. */
static void rig_touch(struct rig *rig)
{
	uint32_t place = rig_random(STORE_PAGES_MAX);
	_Alignas(8) uint8_t page[BTREE_PAGE_SIZE];
	enum btree_result result;
	struct btree_miss miss;
	btree_value address;

	for (unsigned i = 0; rig->store->states[place] != PLACE_USED; i++) {
		if (i == 1000)
			return;
		place = rig_random(rig->store->free_count > STORE_PAGES_MAX - 2000
		                           ? STORE_PAGES_MAX - rig->store->free_count + 1
		                           : STORE_PAGES_MAX);
	}
	address = place + 1;
	memcpy(page, rig_page(rig, address), sizeof(page));
	if (btree_page_check(page, 7, address) != STATUS_OK)
		return; /* allocated, but not written yet */
	do
		result = btree_touch(&rig->tree, page, address, &miss);
	while (rig_again(rig, result, &miss));
	if (result == BTREE_OK)
		assert_true(btree_dirty_count(&rig->tree) > 0);
	else
		assert_int_equal(result, BTREE_ABSENT);
}

/* All entries in order, forward and back. */
static void rig_compare(struct rig *rig)
{
	struct model *model = &rig->model;
	struct btree_cursor *cursor = &rig->cursors[0];
	enum btree_result result;
	struct btree_miss miss;
	uint32_t rank;

	for (int reverse = 0; reverse < 2; reverse++) {
		rank = reverse ? model->key_count : 0;
		result = btree_seek(&rig->tree, cursor, BYTES(""), reverse, &miss);
		while (rig_again(rig, result, &miss))
			result = btree_next(cursor, reverse, &miss);
		for (;;) {
			rank = reverse ? model_before(model, rank) : model_next(model, rank);
			if (rank >= model->key_count)
				break;
			assert_int_equal(result, BTREE_OK);
			check_cursor(rig, 0, rank);
			do
				result = btree_next(cursor, reverse, &miss);
			while (rig_again(rig, result, &miss));
			rank += !reverse;
		}
		assert_int_equal(result, BTREE_ABSENT);
	}
	rig->cursor_rank[0] = KEYS_MAX;
}

static void rig_checkpoint(struct rig *rig)
{
	if (!rig->tree.checkpointing) {
		if (rig_random(4) == 0)
			rig->store->allocate_max = rig_random(20);
		(void)rig_checkpoint_begin(rig);
		rig->store->allocate_max = UINT32_MAX;
		return;
	}
	if (rig_random(3) != 0) {
		for (uint32_t i = rig_random(10); i > 0 && rig_checkpoint_step(rig); i--) {
		}
		return;
	}
	rig_checkpoint_end(rig, rig_random(4) != 0);
}

static void rig_step(struct rig *rig, unsigned set_share)
{
	uint32_t rank = rig_random(rig->model.key_count), end;
	unsigned choice = rig_random(1000), cursor = rig_random(CURSORS);

	/* What is known ahead must do no harm when the tree changes in between. */
	for (uint32_t i = rig_random(4); i > 0; i--)
		btree_prefetch(&rig->tree, rig->model.keys[rig_random(rig->model.key_count)]);

	if (choice < set_share)
		rig_set(rig, rank);
	else if (choice < 700)
		rig_remove(rig, rank);
	else if (choice < 750)
		rig_find(rig, rank);
	else if (choice < 800)
		rig_replace(rig, rank);
	else if (choice < 830)
		rig_seek(rig, cursor, rank);
	else if (choice < 960)
		rig_next(rig, cursor, rig_random(2) == 0);
	else if (choice < 963) {
		end = rank + rig_random(200);
		rig_remove_range(rig, rank,
		                 end < rig->model.key_count ? end : rig->model.key_count);
	} else if (choice < 970)
		rig_touch(rig);
	else if (choice < 999)
		rig_checkpoint(rig);
	else if (rig_random(4) == 0)
		rig_crash(rig);
}

struct plan {
	uint64_t seed;
	uint32_t keys;
	unsigned kinds;
	uint32_t pages;
	uint32_t steps;
	uint32_t validate_every;
};

static void run_plan(const struct plan *plan)
{
	struct rig *rig = rig_open(plan->seed, plan->keys, plan->kinds, plan->pages);
	static const unsigned shares[] = { 600, 350, 100, 500, 350 };

	for (uint32_t i = 0; i < plan->steps; i++) {
		/* Grows, stays, shrinks to little, grows again. */
		rig_step(rig, shares[(uint64_t)i * array_count(shares) / plan->steps]);
		if (i % plan->validate_every == 0)
			btree_validate(&rig->tree);
	}
	rig_compare(rig);
	rig_check_leaks(rig);
	btree_validate(&rig->tree);
	rig_crash(rig);
	rig_compare(rig);
	printf("seed %lu: %lu keys, depth %u, %lu misses, %lu full, %lu busy, %lu checkpoints, "
	       "%lu failed, %lu crashes\n",
	       plan->seed, rig->model.count, rig->tree.depth, rig->misses, rig->fulls, rig->busies,
	       rig->checkpoints, rig->failures, rig->crashes);
	rig_close(rig);
}

static void test_model_every_step(void **state)
{
	static const struct plan plans[] = {
		{ 1, 600, 31, 64, 6000, 1 },
		{ 2, 400, 1, 64, 4000, 1 },
		{ 3, 300, 8, 300, 4000, 1 },
	};

	(void)state;
	for (size_t i = 0; i < array_count(plans); i++)
		run_plan(&plans[i]);
}

static void test_model_long(void **state)
{
	static const struct plan plans[] = {
		{ 11, 4000, 31, 80, 60000, 500 }, { 12, 4000, 31, 2000, 60000, 500 },
		{ 13, 4000, 2, 64, 60000, 500 },  { 14, 2000, 4, 64, 40000, 500 },
		{ 15, 3000, 8, 100, 40000, 500 }, { 16, 3000, 16, 200, 40000, 500 },
		{ 17, 4000, 1, 64, 60000, 500 },  { 18, 4000, 24, 1000, 60000, 500 },
	};

	(void)state;
	for (size_t i = 0; i < array_count(plans); i++)
		run_plan(&plans[i]);
}

/* Keys that grow, in order or nearly so; bytes of the index for each. */
static void append_keys(unsigned mix, unsigned cost_max)
{
	enum { KEYS = 1 << 17 };
	struct rig *rig = rig_open(1, 1, 2, 4096);
	struct btree_pool_stats stats;
	struct btree_miss miss;
	char key[32];
	btree_value old;

	for (unsigned i = 0; i < KEYS; i++) {
		size_t size = (size_t)snprintf(key, sizeof(key), "key:%012u", i ^ mix);

		assert_int_equal(btree_set(&rig->tree, bytes_of(key, size), i + 1, &old, &miss),
		                 BTREE_OK);
	}
	btree_validate(&rig->tree);
	btree_pool_stats(rig->pool, &stats);
	assert_in_range(stats.pages, 1, KEYS * cost_max / BTREE_PAGE_SIZE);
	rig_close(rig);
}

static void test_append_fills_pages(void **state)
{
	(void)state;
	/* 16 of slot and value, and what the prefix leaves of the key; split at random: 40. */
	append_keys(0, 18);
	append_keys(31, 22); /* every 32 of them arrive in reverse */
}

static void count_removed(void *context, struct bytes key, btree_value value)
{
	(void)key;
	(void)value;
	++*(uint64_t *)context;
}

static void test_range_removal_gives_back_pages(void **state)
{
	struct rig *rig = rig_open(1, 1, 2, 4096);
	uint64_t removed = 0;
	struct btree_range range = { .lower = BYTES("b"),
		                     .upper = BYTES("c"),
		                     .removed = count_removed,
		                     .context = &removed };
	struct btree_pool_stats stats;
	enum btree_result result;
	struct btree_miss miss;
	char key[32];
	btree_value old;

	(void)state;
	for (unsigned i = 0; i < 90000; i++) {
		size_t size = (size_t)snprintf(key, sizeof(key), "%c:%012u", 'a' + i % 3, i);

		assert_int_equal(btree_set(&rig->tree, bytes_of(key, size), i + 1, &old, &miss),
		                 BTREE_OK);
	}
	do
		result = btree_remove_range(&rig->tree, &range, 1000, &miss);
	while (result == BTREE_OK);
	assert_int_equal(result, BTREE_ABSENT);
	assert_int_equal(removed, 30000);
	assert_int_equal(rig->tree.key_count, 60000);
	btree_validate(&rig->tree);
	range = (struct btree_range){ .lower = BYTES("c:000000050000"),
		                      .upper = BYTES("a"),
		                      .removed = count_removed,
		                      .context = &removed };
	assert_int_equal(btree_remove_range(&rig->tree, &range, 1000, &miss), BTREE_ABSENT);
	range = (struct btree_range){ .removed = count_removed, .context = &removed };
	do
		result = btree_remove_range(&rig->tree, &range, UINT64_MAX, &miss);
	while (result == BTREE_OK);
	assert_int_equal(removed, 90000);
	assert_int_equal(rig->tree.depth, 1);
	btree_pool_stats(rig->pool, &stats);
	assert_int_equal(stats.pages, 1);
	btree_validate(&rig->tree);
	rig_close(rig);
}

/* Trees that share a pool push out each other's pages and are written out one by one. */
static void test_trees_share_a_pool(void **state)
{
	enum { TREES = 3, KEYS = 8000, STEPS = 60000 };
	static btree_value values[TREES][KEYS];
	struct btree trees[TREES];
	struct rig *rig = rig_open(9, 1, 2, 100);
	uint64_t loads = 0;

	(void)state;
	memset(values, 0, sizeof(values));
	for (uint32_t t = 0; t < TREES; t++)
		assert_int_equal(btree_init(&trees[t], rig->pool, t), STATUS_OK);
	for (uint32_t step = 0; step < STEPS; step++) {
		uint32_t t = rig_random(TREES), k = rig_random(KEYS);
		bool set = step < STEPS / 4 || rig_random(4) == 0;
		btree_value value = values[t][k], old = 0;
		enum btree_result result;
		struct btree_miss miss;
		char key[32];
		size_t size = (size_t)snprintf(key, sizeof(key), "%u:key:%07u", t, k * 37);

		for (;;) {
			enum status status = STATUS_BUSY;

			result = set ? btree_set(&trees[t], bytes_of(key, size), step + 1, &old,
			                         &miss)
			             : btree_find(&trees[t], bytes_of(key, size), &old, &miss);
			if (result == BTREE_OK || result == BTREE_ABSENT)
				break;
			if (result == BTREE_MISS)
				status = btree_load(&trees[t], rig_page(rig, miss.address),
				                    miss.address);
			loads += status == STATUS_OK;
			for (uint32_t i = 0; status == STATUS_BUSY && i < TREES; i++)
				rig_write_tree(rig, &trees[i]);
		}
		assert_int_equal(result, set || value != 0 ? BTREE_OK : BTREE_ABSENT);
		assert_int_equal(old, value);
		if (set)
			values[t][k] = step + 1;
	}
	assert_true(loads > 1000);
	for (uint32_t t = 0; t < TREES; t++) {
		btree_validate(&trees[t]);
		btree_fini(&trees[t]);
	}
	rig_close(rig);
}

/* A tree of some pages on disk, opened with only its root in memory. */
static struct rig *rig_on_disk(void)
{
	struct rig *rig = rig_open(5, 4000, 2, 2000);

	for (uint32_t i = 0; i < rig->model.key_count; i++)
		rig_set(rig, i);
	rig_checkpoint_whole(rig);
	rig_crash(rig);
	return rig;
}

static void test_load_refuses_what_is_not_the_page(void **state)
{
	struct rig *rig = rig_on_disk();
	_Alignas(8) uint8_t page[BTREE_PAGE_SIZE], other[BTREE_PAGE_SIZE];
	struct btree_miss miss, second;
	btree_value value;
	uint32_t last = rig->model.key_count - 1;

	(void)state;
	assert_int_equal(btree_find(&rig->tree, rig->model.keys[0], &value, &miss), BTREE_MISS);
	assert_int_equal(btree_find(&rig->tree, rig->model.keys[last], &value, &second),
	                 BTREE_MISS);
	assert_int_not_equal(miss.address, second.address);
	memcpy(page, rig_page(rig, miss.address), sizeof(page));
	memcpy(other, rig_page(rig, second.address), sizeof(other));
	assert_int_equal(btree_load(&rig->tree, other, miss.address), STATUS_CORRUPT);
	page[1000] ^= 1;
	assert_int_equal(btree_load(&rig->tree, page, miss.address), STATUS_CORRUPT);
	page[1000] ^= 1;
	/* Another page with the right address: as if a write had been lost. */
	page_seal((struct btree_page *)(void *)other, miss.address);
	assert_int_equal(btree_load(&rig->tree, other, miss.address), STATUS_OK);
	assert_int_equal(btree_find(&rig->tree, rig->model.keys[0], &value, &miss), BTREE_MISS);
	assert_int_equal(btree_load(&rig->tree, other, miss.address), STATUS_CORRUPT);
	/* Another partition's. */
	((struct btree_page *)(void *)other)->tag = 8;
	page_seal((struct btree_page *)(void *)other, miss.address);
	assert_int_equal(btree_load(&rig->tree, other, miss.address), STATUS_CORRUPT);
	assert_int_equal(btree_load(&rig->tree, page, miss.address), STATUS_OK);
	assert_int_equal(btree_load(&rig->tree, page, miss.address), STATUS_OK);
	assert_int_equal(btree_find(&rig->tree, rig->model.keys[0], &value, &miss), BTREE_OK);
	rig_close(rig);
}

static void test_touch_moves_a_page(void **state)
{
	struct rig *rig = rig_on_disk();
	_Alignas(8) uint8_t page[BTREE_PAGE_SIZE];
	struct btree_miss miss, same;
	btree_value value;

	(void)state;
	assert_int_equal(btree_find(&rig->tree, rig->model.keys[9], &value, &miss), BTREE_MISS);
	memcpy(page, rig_page(rig, miss.address), sizeof(page));
	assert_int_equal(btree_touch(&rig->tree, page, miss.address, &same), BTREE_OK);
	assert_int_equal(btree_dirty_count(&rig->tree), rig->tree.depth);
	rig_checkpoint_whole(rig);
	assert_int_equal(rig->store->states[miss.address - 1], PLACE_FREE);
	assert_int_equal(btree_touch(&rig->tree, page, miss.address, &same), BTREE_ABSENT);
	rig_check_leaks(rig);
	rig_close(rig);
}

static void test_full_pool_changes_nothing(void **state)
{
	struct rig *rig = rig_open(3, 4000, 2, 64);
	enum btree_result result = BTREE_OK;
	struct btree_miss miss;
	uint64_t count = 0;
	btree_value old;

	(void)state;
	for (uint32_t i = 0; result == BTREE_OK && i < rig->model.key_count; i += 7) {
		result = btree_set(&rig->tree, rig->model.keys[i], i + 1, &old, &miss);
		count += result == BTREE_OK;
	}
	for (uint32_t i = 0; result == BTREE_OK && i < rig->model.key_count; i++) {
		result = btree_set(&rig->tree, rig->model.keys[i], i + 1, &old, &miss);
		count += result == BTREE_OK && old == 0;
	}
	if (result == BTREE_FULL)
		assert_int_equal(rig->tree.key_count, count);
	btree_validate(&rig->tree);
	rig_checkpoint_whole(rig);
	btree_validate(&rig->tree);
	rig_close(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_fills_pages),
		cmocka_unit_test(test_range_removal_gives_back_pages),
		cmocka_unit_test(test_load_refuses_what_is_not_the_page),
		cmocka_unit_test(test_touch_moves_a_page),
		cmocka_unit_test(test_full_pool_changes_nothing),
		cmocka_unit_test(test_trees_share_a_pool),
		cmocka_unit_test(test_model_every_step),
		cmocka_unit_test(test_model_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
