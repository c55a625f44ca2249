/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "btree_rig.h"

static uint64_t random_state;

static uint64_t random_next(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint32_t rig_random(uint32_t bound)
{
	return (uint32_t)(random_next() % bound);
}

static struct store *store_open(void)
{
	struct store *store = calloc(1, sizeof(*store));

	assert_non_null(store);
	store->pages = aligned_alloc(BTREE_PAGE_SIZE, (size_t)STORE_PAGES_MAX * BTREE_PAGE_SIZE);
	assert_non_null(store->pages);
	memset(store->pages, 0, (size_t)STORE_PAGES_MAX * BTREE_PAGE_SIZE);
	store->allocate_max = UINT32_MAX;
	for (uint32_t i = STORE_PAGES_MAX; i > 0; i--)
		store->free[store->free_count++] = i - 1;
	return store;
}

static void store_close(struct store *store)
{
	free(store->pages);
	free(store);
}

static void *store_page(struct store *store, btree_value address)
{
	assert_in_range(address, 1, STORE_PAGES_MAX);
	assert_int_not_equal(store->states[address - 1], PLACE_FREE);
	return store->pages + (address - 1) * BTREE_PAGE_SIZE;
}

void *rig_page(struct rig *rig, btree_value address)
{
	return store_page(rig->store, address);
}

static btree_value store_allocate(void *context)
{
	struct store *store = context;
	uint32_t place;

	if (store->allocate_max == 0)
		return 0;
	store->allocate_max--;
	assert_true(store->free_count > 0);
	place = store->free[--store->free_count];
	assert_int_equal(store->states[place], PLACE_FREE);
	store->states[place] = PLACE_USED;
	store->used_count++;
	return place + 1;
}

static void store_released(void *context, btree_value address)
{
	struct store *store = context;

	assert_in_range(address, 1, STORE_PAGES_MAX);
	assert_int_equal(store->states[address - 1], PLACE_USED);
	store->states[address - 1] = PLACE_RELEASED;
	store->used_count--;
}

static const struct btree_checkpoint_ops store_ops = { store_allocate, store_released };

/* A checkpoint is durable: what it does not need may be overwritten. */
static void store_reuse(struct store *store)
{
	for (uint32_t i = 0; i < STORE_PAGES_MAX; i++) {
		if (store->states[i] != PLACE_RELEASED)
			continue;
		store->states[i] = PLACE_FREE;
		memset(store->pages + (size_t)i * BTREE_PAGE_SIZE, 0xdd, BTREE_PAGE_SIZE);
		store->free[store->free_count++] = i;
	}
}

static int key_order(const void *a, const void *b)
{
	return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static size_t key_make(uint8_t *key, unsigned kind)
{
	size_t size, prefix;

	switch (kind) {
	case 0: /* short, few letters: prefixes of each other */
		size = 1 + rig_random(7);
		for (size_t i = 0; i < size; i++)
			key[i] = (uint8_t)("\0ab\xff"[rig_random(4)]);
		return size;
	case 1:
		return (size_t)snprintf((char *)key, BTREE_KEY_MAX, "key:%012u",
		                        rig_random(1000000));
	case 2: /* long and alike */
		prefix = 900 + 30 * rig_random(4);
		memset(key, 'p', prefix);
		size = prefix + 1 + rig_random(8);
		for (size_t i = prefix; i < size; i++)
			key[i] = (uint8_t)rig_random(3);
		return size;
	case 3: /* as long as can be and different at once, or only at the end */
		size = BTREE_KEY_MAX - rig_random(3);
		memset(key, (int)rig_random(40), size);
		key[size - 1] = (uint8_t)rig_random(4);
		return size;
	default:
		size = 1 + rig_random(BTREE_KEY_MAX);
		for (size_t i = 0; i < size; i++)
			key[i] = (uint8_t)random_next();
		return size;
	}
}

static void model_init(struct model *model, uint32_t count, unsigned kinds)
{
	uint32_t kept = 0;

	assert_true(count <= KEYS_MAX);
	model->data = malloc(count * sizeof(*model->data));
	assert_non_null(model->data);
	for (uint32_t i = 0; i < count; i++) {
		unsigned kind = rig_random(5);

		while ((kinds & 1u << kind) == 0)
			kind = (kind + 1) % 5;
		model->keys[i] = bytes_of(model->data[i], key_make(model->data[i], kind));
	}
	qsort(model->keys, count, sizeof(model->keys[0]), key_order);
	for (uint32_t i = 0; i < count; i++) {
		if (kept == 0 || !bytes_equal(model->keys[kept - 1], model->keys[i]))
			model->keys[kept++] = model->keys[i];
	}
	model->key_count = kept;
}

uint32_t model_next(const struct model *model, uint32_t from)
{
	while (from < model->key_count && model->values[from] == 0)
		from++;
	return from;
}

uint32_t model_before(const struct model *model, uint32_t end)
{
	while (end > 0 && model->values[end - 1] == 0)
		end--;
	return end - 1;
}

struct rig *rig_open(uint64_t seed, uint32_t keys, unsigned kinds, uint32_t pages)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	random_state = seed;
	model_init(&rig->model, keys, kinds);
	rig->store = store_open();
	rig->value_next = 1;
	for (unsigned i = 0; i < CURSORS; i++)
		rig->cursor_rank[i] = KEYS_MAX;
	assert_int_equal(btree_pool_open(&rig->pool, pages * (BTREE_PAGE_SIZE + 80)), STATUS_OK);
	assert_int_equal(btree_init(&rig->tree, rig->pool, 7), STATUS_OK);
	return rig;
}

void rig_close(struct rig *rig)
{
	btree_fini(&rig->tree);
	btree_pool_close(rig->pool);
	store_close(rig->store);
	free(rig->model.data);
	free(rig);
}

bool rig_checkpoint_begin(struct rig *rig)
{
	uint64_t changes = rig->tree.change_count, dirty = btree_dirty_count(&rig->tree);
	uint32_t used = rig->store->used_count;
	enum status status =
	        btree_checkpoint_begin(&rig->tree, &store_ops, rig->store, &rig->root_begun);

	if (status == STATUS_NO_SPACE) {
		assert_int_equal(rig->tree.change_count, changes);
		assert_int_equal(btree_dirty_count(&rig->tree), dirty);
		assert_int_equal(rig->store->used_count, used);
		return false;
	}
	assert_int_equal(status, STATUS_OK);
	assert_int_equal(btree_dirty_count(&rig->tree), 0);
	memcpy(rig->begun, rig->model.values, sizeof(rig->begun));
	rig->begun_count = rig->model.count;
	return true;
}

bool rig_checkpoint_step(struct rig *rig)
{
	_Alignas(8) uint8_t page[BTREE_PAGE_SIZE];
	btree_value address;

	if (!btree_checkpoint_next(&rig->tree, page, &address))
		return false;
	/* An address that this checkpoint has dropped again is released, but still written. */
	memcpy(store_page(rig->store, address), page, sizeof(page));
	assert_int_equal(btree_page_check(page, 7, address), STATUS_OK);
	return true;
}

void rig_checkpoint_end(struct rig *rig, bool ok)
{
	while (ok && rig_checkpoint_step(rig)) {
	}
	btree_checkpoint_end(&rig->tree, ok);
	if (!ok) {
		rig->failures++;
		return;
	}
	store_reuse(rig->store);
	rig->root = rig->root_begun;
	memcpy(rig->durable, rig->begun, sizeof(rig->durable));
	rig->durable_count = rig->begun_count;
	rig->checkpoints++;
}

void rig_checkpoint_whole(struct rig *rig)
{
	if (rig->tree.checkpointing)
		rig_checkpoint_end(rig, true);
	assert_true(rig_checkpoint_begin(rig));
	rig_checkpoint_end(rig, true);
}

void rig_write_tree(struct rig *rig, struct btree *tree)
{
	_Alignas(8) uint8_t page[BTREE_PAGE_SIZE];
	btree_value address, root;

	assert_int_equal(btree_checkpoint_begin(tree, &store_ops, rig->store, &root), STATUS_OK);
	while (btree_checkpoint_next(tree, page, &address))
		memcpy(rig_page(rig, address), page, sizeof(page));
	btree_checkpoint_end(tree, true);
	store_reuse(rig->store);
}

bool rig_again(struct rig *rig, enum btree_result result, const struct btree_miss *miss)
{
	enum status status;

	if (result == BTREE_FULL) {
		rig->fulls++;
		rig_checkpoint_whole(rig);
		return true;
	}
	if (result != BTREE_MISS)
		return false;
	rig->misses++;
	status = btree_load(&rig->tree, store_page(rig->store, miss->address), miss->address);
	if (status == STATUS_BUSY) {
		rig->busies++;
		rig_checkpoint_whole(rig);
		return true;
	}
	assert_int_equal(status, STATUS_OK);
	return true;
}

/* Counts the pages and entries below a root as they are on disk. */
static void walk_disk(struct rig *rig, btree_value root, uint32_t *pages, uint64_t *entries)
{
	static btree_value stack[STORE_PAGES_MAX];
	uint8_t key[BTREE_KEY_MAX];
	uint32_t top = 0, key_size;
	btree_value value;

	stack[top++] = root;
	*pages = 0;
	*entries = 0;
	while (top > 0) {
		btree_value address = stack[--top];
		const void *page = store_page(rig->store, address);

		assert_int_equal(btree_page_check(page, 7, address), STATUS_OK);
		(*pages)++;
		for (uint32_t i = 0; btree_page_entry(page, i, key, &key_size, &value); i++) {
			if (btree_page_is_leaf(page))
				(*entries)++;
			else
				stack[top++] = value;
		}
	}
}

void rig_crash(struct rig *rig)
{
	uint32_t pages;
	uint64_t entries;

	if (rig->root == 0)
		return;
	walk_disk(rig, rig->root, &pages, &entries);
	assert_int_equal(entries, rig->durable_count);
	btree_fini(&rig->tree);
	for (unsigned i = 0; i < CURSORS; i++)
		rig->cursor_rank[i] = KEYS_MAX;
	/* Recovery knows what is used from the pages that it can reach. */
	for (uint32_t i = 0; i < STORE_PAGES_MAX; i++) {
		if (rig->store->states[i] == PLACE_USED)
			store_released(rig->store, i + 1);
	}
	assert_int_equal(btree_open(&rig->tree, rig->pool, 7, store_page(rig->store, rig->root),
	                            rig->root, rig->durable_count),
	                 STATUS_OK);
	{
		static btree_value stack[STORE_PAGES_MAX];
		uint8_t key[BTREE_KEY_MAX];
		uint32_t top = 0, key_size;
		btree_value value;

		stack[top++] = rig->root;
		while (top > 0) {
			btree_value address = stack[--top];
			const void *page = store_page(rig->store, address);

			rig->store->states[address - 1] = PLACE_USED;
			rig->store->used_count++;
			for (uint32_t i = 0; !btree_page_is_leaf(page) &&
			                     btree_page_entry(page, i, key, &key_size, &value);
			     i++)
				stack[top++] = value;
		}
	}
	store_reuse(rig->store);
	memcpy(rig->model.values, rig->durable, sizeof(rig->durable));
	rig->model.count = rig->durable_count;
	rig->crashes++;
}

void rig_check_leaks(struct rig *rig)
{
	uint32_t pages;
	uint64_t entries;

	rig_checkpoint_whole(rig);
	walk_disk(rig, rig->root, &pages, &entries);
	assert_int_equal(entries, rig->model.count);
	assert_int_equal(pages, rig->store->used_count);
}
