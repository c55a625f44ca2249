/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a page of the index, with checksum, address and tag made to fit: what is refused is
 * refused without harm, and what is taken can be used in every way as root and below a root.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/btree.h"

enum { TAG = 7, ADDRESS = 42, BELOW = 43, CRC_AT = 4, CRC_FROM = 8, ADDRESS_AT = 8, TAG_AT = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct btree_pool *pool;
static uint64_t addresses;

static btree_value allocate(void *context)
{
	(void)context;
	return ++addresses;
}

static void released(void *context, btree_value address)
{
	(void)context;
	assert(address != 0);
}

static const struct btree_checkpoint_ops ops = { allocate, released };

static void seal(uint8_t *page, uint64_t address)
{
	uint32_t tag = TAG, crc;

	memcpy(page + ADDRESS_AT, &address, sizeof(address));
	memcpy(page + TAG_AT, &tag, sizeof(tag));
	crc = crc32c(0, page + CRC_FROM, BTREE_PAGE_SIZE - CRC_FROM);
	memcpy(page + CRC_AT, &crc, sizeof(crc));
}

/* The first thing that differs between the key and the page's own: its neighbours, too. */
static void use_key(struct btree *tree, struct bytes key)
{
	struct btree_miss miss;
	btree_value value, old;

	btree_prefetch(tree, key);
	if (btree_find(tree, key, &value, &miss) == BTREE_OK) {
		assert(btree_replace(tree, key, value, value + 1, &miss) != BTREE_MISS);
		assert(btree_find(tree, key, &old, &miss) == BTREE_OK);
		assert(old == value + 1 || old == value);
	}
	if (btree_set(tree, key, 99, &old, &miss) == BTREE_OK) {
		assert(btree_find(tree, key, &value, &miss) == BTREE_OK);
		assert(value == 99);
	}
}

static void walk(struct btree *tree, bool reverse)
{
	struct btree_cursor cursor;
	struct btree_miss miss;
	enum btree_result result = btree_seek(tree, &cursor, BYTES(""), reverse, &miss);
	uint8_t last[BTREE_KEY_MAX];
	size_t last_size = 0;

	while (result == BTREE_OK) {
		struct bytes key = btree_cursor_key(&cursor);
		int order = bytes_compare(bytes_of(last, last_size), key);

		assert(last_size == 0 || (reverse ? order > 0 : order < 0));
		memcpy(last, key.data, key.size);
		last_size = key.size;
		result = btree_next(&cursor, reverse, &miss);
	}
}

static void checkpoint(struct btree *tree, bool ok)
{
	_Alignas(8) uint8_t image[BTREE_PAGE_SIZE];
	btree_value root, address;

	assert(btree_checkpoint_begin(tree, &ops, NULL, &root) == STATUS_OK);
	while (btree_checkpoint_next(tree, image, &address))
		assert(btree_page_check(image, TAG, address) == STATUS_OK);
	btree_checkpoint_end(tree, ok);
}

static void use_tree(struct btree *tree, const uint8_t *page, const uint8_t *data, size_t size)
{
	struct btree_range range = { .lower = BYTES("") };
	uint8_t key[BTREE_KEY_MAX];
	struct btree_miss miss;
	uint32_t key_size;
	btree_value value, old;

	btree_validate(tree);
	walk(tree, false);
	walk(tree, true);
	for (uint32_t i = 0; btree_page_entry(page, i, key, &key_size, &value); i += 3) {
		if (key_size == 0)
			continue;
		use_key(tree, bytes_of(key, key_size));
		if (key_size < BTREE_KEY_MAX) {
			key[key_size] = 0;
			use_key(tree, bytes_of(key, key_size + 1));
		}
		(void)!btree_remove(tree, bytes_of(key, key_size), &old, &miss);
	}
	checkpoint(tree, false);
	for (size_t i = 0; i + 1 < size; i += 64)
		use_key(tree, bytes_of(data + i, 1 + data[i] % (size - i)));
	btree_validate(tree);
	checkpoint(tree, true);
	range.lower = bytes_of(data, size < BTREE_KEY_MAX ? size : BTREE_KEY_MAX);
	(void)!btree_remove_range(tree, &range, 100, &miss);
	range = (struct btree_range){ .lower = BYTES("") };
	(void)!btree_remove_range(tree, &range, UINT64_MAX, &miss);
	btree_validate(tree);
}

static uint64_t key_count(const uint8_t *page)
{
	uint8_t key[BTREE_KEY_MAX];
	uint32_t key_size, count = 0;
	btree_value value;

	while (btree_page_is_leaf(page) && btree_page_entry(page, count, key, &key_size, &value))
		count++;
	return count;
}

/* The page as the only thing that a root of its level plus one points to. */
static void use_below(const uint8_t *page, const uint8_t *data, size_t size)
{
	_Alignas(8) uint8_t image[BTREE_PAGE_SIZE] = { 0 };
	struct {
		uint16_t offset, size;
		uint32_t head;
	} slot = { BTREE_PAGE_SIZE - 8, 0, 0 };
	uint16_t count = 1, heap_start = slot.offset, heap_size = 8;
	uint64_t below = BELOW;
	struct btree tree;

	memcpy(image, page, 4);
	image[20] = (uint8_t)(page[20] + 1);
	memcpy(image + 22, &count, sizeof(count));
	memcpy(image + 28, &heap_start, sizeof(heap_start));
	memcpy(image + 30, &heap_size, sizeof(heap_size));
	memcpy(image + 32, &slot, sizeof(slot));
	memcpy(image + slot.offset, &below, sizeof(below));
	seal(image, ADDRESS);
	if (btree_open(&tree, pool, TAG, image, ADDRESS, key_count(page)) != STATUS_OK)
		return;
	if (btree_load(&tree, page, BELOW) == STATUS_OK)
		use_tree(&tree, page, data, size);
	btree_fini(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_Alignas(8) uint8_t page[BTREE_PAGE_SIZE] = { 0 };
	struct btree tree;

	if (pool == NULL && btree_pool_open(&pool, 1 << 20) != STATUS_OK)
		abort();
	memcpy(page, data, size < sizeof(page) ? size : sizeof(page));
	seal(page, ADDRESS);
	if (btree_page_check(page, TAG, ADDRESS) != STATUS_OK)
		return 0;
	assert(btree_page_check(page, TAG + 1, ADDRESS) == STATUS_CORRUPT);
	assert(btree_page_check(page, TAG, BELOW) == STATUS_CORRUPT);
	if (btree_open(&tree, pool, TAG, page, ADDRESS, key_count(page)) == STATUS_OK) {
		use_tree(&tree, page, data, size);
		btree_fini(&tree);
	}
	seal(page, BELOW);
	use_below(page, data, size);
	return 0;
}
