/* SPDX-License-Identifier: Apache-2.0 */
/* Ordered walks over the tree, and the walk that checks it. */
#include "engine/btree_node.h"

/* Goes down to the first, or with `reverse` the last leaf under a node. */
static enum btree_result edge_leaf(struct btree_node **node, bool reverse, struct btree_miss *miss)
{
	while ((*node)->children != NULL) {
		uint32_t index = reverse ? (*node)->page->count - 1u : 0;
		struct btree_node *child = (*node)->children[index];

		if (child == NULL)
			return btree_missed((*node)->tree, *node, index, miss);
		child->index = (uint16_t)index;
		*node = child;
	}
	return BTREE_OK;
}

/* To the neighbour of a leaf. There are no links between leaves: the way is through the parents. */
static enum btree_result next_leaf(struct btree_node **leaf, bool reverse, struct btree_miss *miss)
{
	struct btree_node *node = *leaf;

	while (node->parent != NULL) {
		uint32_t index = node_index(node);
		bool edge = reverse ? index == 0 : index + 1u == node->parent->page->count;
		enum btree_result result;

		node = node->parent;
		if (edge)
			continue;
		index = reverse ? index - 1 : index + 1;
		if (node->children[index] == NULL)
			return btree_missed(node->tree, node, index, miss);
		node = node->children[index];
		node->index = (uint16_t)index;
		result = edge_leaf(&node, reverse, miss);
		if (result != BTREE_OK)
			return result;
		node->referenced = true;
		for (unsigned line = 0; line < BTREE_PAGE_SIZE / 64; line++)
			__builtin_prefetch((const uint8_t *)node->page + line * 64);
		*leaf = node;
		return BTREE_OK;
	}
	return BTREE_ABSENT;
}

/* Copies what is mostly a few bytes. */
static inline void copy_short(uint8_t *to, const uint8_t *from, size_t size)
{
	uint64_t first, last;

	if (size < sizeof(first) || size > 2 * sizeof(first)) {
		memcpy(to, from, size);
		return;
	}
	memcpy(&first, from, sizeof(first));
	memcpy(&last, from + size - sizeof(last), sizeof(last));
	memcpy(to, &first, sizeof(first));
	memcpy(to + size - sizeof(last), &last, sizeof(last));
}

/* The suffix and the value; the prefix is there already. */
static inline void copy_entry(struct btree_cursor *cursor, const struct btree_page *page,
                              uint32_t index)
{
	const struct btree_slot *slot = &page_slots(page)[index];
	const uint8_t *entry = (const uint8_t *)page + slot->offset;
	uint32_t head = __builtin_bswap32(slot->head);
	uint8_t *suffix = cursor->key + page->prefix_size;

	assert(index < page->count);
	memcpy(&cursor->value, entry, sizeof(cursor->value));
	memcpy(suffix, &head, sizeof(head));
	if (slot->size > PAGE_HEAD_SIZE)
		copy_short(suffix + PAGE_HEAD_SIZE, entry + PAGE_VALUE_SIZE,
		           slot->size - PAGE_HEAD_SIZE);
	cursor->key_size = (uint16_t)(page->prefix_size + slot->size);
	/* Entries lie in the order of their insertion: the next is elsewhere in the page. */
	if (index + 1 < page->count)
		__builtin_prefetch((const uint8_t *)page + slot[1].offset);
}

/* A move of the cursor has to wait for a page: it goes on from this key, in either direction. */
static enum btree_result pause_at(struct btree_cursor *cursor, struct bytes key)
{
	assert(key.size <= BTREE_KEY_MAX);
	if (key.size > 0)
		memmove(cursor->key, key.data, key.size);
	cursor->key_size = (uint16_t)key.size;
	cursor->leaf = NULL;
	cursor->at_entry = false;
	return BTREE_MISS;
}

/*
 * Puts the cursor on the entry at `index` of the leaf (or, with `reverse`, on the one before it),
 * or on the first one after (before) if the leaf ends there.
 */
static enum btree_result settle(struct btree_cursor *cursor, struct btree_node *leaf,
                                uint32_t index, bool reverse, struct btree_miss *miss)
{
	const struct btree_page *page = leaf->page;

	while (index == (reverse ? 0 : page->count)) {
		enum btree_result result = next_leaf(&leaf, reverse, miss);

		if (result == BTREE_MISS) {
			uint8_t buf[PAGE_KEY_BUF_SIZE];
			struct bytes fence = page_lower(leaf->page);

			if (!reverse)
				(void)node_upper(leaf, buf, &fence);
			return pause_at(cursor, fence);
		}
		if (result != BTREE_OK)
			return result;
		page = leaf->page;
		index = reverse ? page->count : 0;
	}
	index -= reverse;
	if (cursor->leaf != leaf || cursor->change_count != leaf->tree->change_count)
		memcpy(cursor->key, page->body, page->prefix_size);
	copy_entry(cursor, page, index);
	cursor->leaf = leaf;
	cursor->index = index;
	cursor->change_count = leaf->tree->change_count;
	cursor->at_entry = true;
	return BTREE_OK;
}

/* To the first entry >= key, or with `reverse` the last < key (of size 0: the last). */
static enum btree_result seek(struct btree_cursor *cursor, struct bytes key, bool reverse,
                              struct btree_miss *miss)
{
	struct btree_node *leaf;
	bool found;

	if (reverse && key.size == 0) {
		leaf = cursor->tree->root;
		if (edge_leaf(&leaf, reverse, miss) != BTREE_OK)
			return pause_at(cursor, key);
		return settle(cursor, leaf, leaf->page->count, reverse, miss);
	}
	leaf = btree_descend(cursor->tree, key, miss);
	if (leaf == NULL)
		return pause_at(cursor, key);
	return settle(cursor, leaf, page_search(leaf->page, key, 0, &found), reverse, miss);
}

enum btree_result btree_seek(struct btree *tree, struct btree_cursor *cursor, struct bytes key,
                             bool reverse, struct btree_miss *miss)
{
	_Static_assert(sizeof(cursor->key) >= PAGE_KEY_BUF_SIZE, "page_key() writes here");
	assert(key.size <= BTREE_KEY_MAX);
	cursor->tree = tree;
	(void)pause_at(cursor, key);
	return seek(cursor, key, reverse, miss);
}

enum btree_result btree_next(struct btree_cursor *cursor, bool reverse, struct btree_miss *miss)
{
	struct btree *tree = cursor->tree;
	struct bytes key = bytes_of(cursor->key, cursor->key_size);
	struct btree_node *leaf = cursor->leaf;
	uint32_t index = cursor->index;
	bool found = true;

	if (!cursor->at_entry)
		return seek(cursor, key, reverse, miss);
	if (cursor->change_count == tree->change_count && !reverse &&
	    index + 1 < leaf->page->count) {
		cursor->index = index + 1;
		copy_entry(cursor, leaf->page, index + 1);
		return BTREE_OK;
	}
	if (cursor->change_count != tree->change_count) {
		leaf = btree_descend(tree, key, miss);
		if (leaf == NULL)
			return BTREE_MISS;
		index = page_search(leaf->page, key, 0, &found);
	}
	return settle(cursor, leaf, reverse ? index : index + found, reverse, miss);
}

struct bytes btree_cursor_key(const struct btree_cursor *cursor)
{
	assert(cursor->at_entry);
	return bytes_of(cursor->key, cursor->key_size);
}

btree_value btree_cursor_value(const struct btree_cursor *cursor)
{
	assert(cursor->at_entry);
	return cursor->value;
}

/* The keys of a page lie between its fences, and its prefix is one of both. */
static void validate_fences(struct btree_node *node)
{
	uint8_t buf[PAGE_KEY_BUF_SIZE], upper_buf[PAGE_KEY_BUF_SIZE];
	const struct btree_page *page = node->page;
	struct bytes upper;

	if (node->parent == NULL) {
		assert(page->lower_size == 0);
	} else if (node_index(node) == 0) {
		assert(bytes_equal(page_lower(page), page_lower(node->parent->page)));
	} else {
		assert(bytes_equal(page_lower(page),
		                   page_key(node->parent->page, node_index(node), buf)));
	}
	if (!node_upper(node, upper_buf, &upper)) {
		assert(page->prefix_size == 0);
		return;
	}
	assert(bytes_compare(page_lower(page), upper) < 0);
	assert(page->prefix_size <= keys_shared(page_lower(page), upper));
	if (page->count > (page->level > 0))
		assert(bytes_compare(page_key(page, page->count - 1u, buf), upper) < 0);
}

/* The heads lead where the page does. */
static void validate_heads(struct btree_node *node)
{
	uint8_t buf[PAGE_KEY_BUF_SIZE];

	if (node->children == NULL || node_table(node)->stale)
		return;
	for (uint32_t i = 1; i < node->page->count; i++) {
		struct bytes key = page_key(node->page, i, buf);

		assert(node_child(node, key) == i);
		key.size--;
		if (key.size >= node->page->prefix_size)
			assert(node_child(node, key) == page_child(node->page, key));
	}
}

static void validate_node(struct btree_node *node)
{
	const struct btree *tree = node->tree;
	const struct btree_page *page = node->page;
	uint32_t resident_count = 0;

	assert(!node->dead);
	assert(page->tag == tree->tag);
	assert(page_is_sound(page));
	assert((page->level > 0) == (node->children != NULL));
	assert(node->dirty || page->address != 0);
	validate_fences(node);
	validate_heads(node);
	for (uint32_t i = 0; node->children != NULL && i < page->count; i++) {
		const struct btree_node *child = node->children[i];

		if (child == NULL) {
			assert(page_value(page, i) != 0);
			continue;
		}
		resident_count++;
		assert(child->parent == node);
		assert(child->tree == tree);
		assert(child->page->level + 1 == page->level);
		assert(!child->dirty || node->dirty);
		assert(child->dirty || child->page->address == page_value(page, i));
	}
	assert(resident_count == node->resident_count);
}

void btree_validate(const struct btree *tree)
{
	struct btree_node *node = tree->root;
	uint64_t key_count = 0, dirty_count = 0;
	bool whole = true;
	uint32_t index = 0;

	assert(node->parent == NULL);
	assert(tree->depth == node->page->level + 1u);
	for (;;) {
		uint32_t count = node->children != NULL ? node->page->count : 0;

		if (index == 0) {
			validate_node(node);
			key_count += node->children == NULL ? node->page->count : 0;
			dirty_count += node->dirty;
		}
		while (index < count && node->children[index] == NULL) {
			whole = false;
			index++;
		}
		if (index < count) {
			node = node->children[index];
			index = 0;
			continue;
		}
		if (node->parent == NULL)
			break;
		index = node_index(node) + 1;
		node = node->parent;
	}
	assert(!whole || key_count == tree->key_count);
	assert(dirty_count == tree->dirty_count);
}
