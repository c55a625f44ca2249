/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: the dirty pages get addresses and are frozen as they are; who changes one later
 * copies it first. Nothing is written here.
 */
#include "engine/btree_node.h"

uint64_t btree_dirty_count(const struct btree *tree)
{
	return tree->dirty_count;
}

static void unwind(struct btree *tree)
{
	struct btree_node *node;

	while ((node = tree->frozen) != NULL) {
		tree->frozen = node->next;
		node->next = NULL;
		tree->ops->released(tree->ops_context, node->address);
		node->address = 0;
	}
	tree->ops = NULL;
	tree->ops_context = NULL;
}

/* The first dirty child of a node from `index` on; NULL: none. */
static struct btree_node *dirty_child(const struct btree_node *node, uint32_t index)
{
	if (node->children == NULL)
		return NULL;
	for (; index < node->page->count; index++) {
		struct btree_node *child = node->children[index];

		if (child != NULL && child->dirty) {
			child->index = (uint16_t)index;
			return child;
		}
	}
	return NULL;
}

/* Lists all dirty nodes, children in key order before their parents, with an address each. */
static bool collect(struct btree *tree)
{
	struct btree_node **last = &tree->frozen, *node = tree->root, *child;
	uint32_t index = 0;

	if (!node->dirty)
		return true;
	for (;;) {
		while ((child = dirty_child(node, index)) != NULL) {
			node = child;
			index = 0;
		}
		assert(node->frozen == NULL);
		node->address = tree->ops->allocate(tree->ops_context);
		if (node->address == 0)
			return false;
		*last = node;
		node->next = NULL;
		last = &node->next;
		if (node->parent == NULL)
			return true;
		index = node->index + 1u;
		node = node->parent;
	}
}

static void release_dead(struct btree *tree)
{
	struct btree_node *node;

	while ((node = tree->dead) != NULL) {
		tree->dead = node->next;
		tree->ops->released(tree->ops_context, node->address);
		pool_give_node(tree->pool, node);
	}
}

enum status btree_checkpoint_begin(struct btree *tree, const struct btree_checkpoint_ops *ops,
                                   void *context, btree_value *root)
{
	struct btree_node *node;

	assert(!tree->checkpointing);
	assert(tree->frozen == NULL);
	tree->ops = ops;
	tree->ops_context = context;
	if (!collect(tree)) {
		unwind(tree);
		return STATUS_NO_SPACE;
	}
	for (node = tree->frozen; node != NULL; node = node->next) {
		if (node->page->address != 0)
			ops->released(context, node->page->address);
		node->page->address = node->address;
		if (node->parent != NULL)
			page_set_value(node->parent->page, node_index(node), node->address);
		node->frozen = node->page;
		node->dirty = false;
		tree->dirty_count--;
	}
	assert(tree->dirty_count == 0);
	release_dead(tree);
	tree->frozen_next = tree->frozen;
	tree->checkpointing = true;
	*root = tree->root->page->address;
	return STATUS_OK;
}

bool btree_checkpoint_next(struct btree *tree, void *image, btree_value *address)
{
	struct btree_node *node = tree->frozen_next;
	struct btree_page *page = image;

	assert(tree->checkpointing);
	assert((uintptr_t)image % _Alignof(struct btree_page) == 0);
	if (node == NULL)
		return false;
	memcpy(page, node->frozen, sizeof(*page));
	page_seal(page, node->address);
	assert_slow(btree_page_check(page, tree->tag, node->address) == STATUS_OK);
	*address = node->address;
	tree->frozen_next = node->next;
	return true;
}

/* The checkpoint no longer needs a node's image. */
static void thaw(struct btree_node *node)
{
	struct btree_pool *pool = node->tree->pool;

	if (node->frozen != node->page) {
		pool_give_page(pool, node->frozen);
		pool->pages_dirty--;
	} else if (!node->dirty) {
		pool->pages_dirty--;
	}
	node->frozen = NULL;
	node->next = NULL;
	if (node_is_evictable(node))
		pool->clean_count++;
}

/* What was written to the address of a failed checkpoint counts for nothing. */
static void disown(struct btree_node *node)
{
	struct btree *tree = node->tree;

	tree->ops->released(tree->ops_context, node->address);
	node->address = 0;
	if (node->dead)
		return;
	node->page->address = 0;
	node_mark_dirty(node);
}

void btree_checkpoint_end(struct btree *tree, bool ok)
{
	struct btree_node *node;

	assert(tree->checkpointing);
	while ((node = tree->frozen) != NULL) {
		tree->frozen = node->next;
		if (!ok)
			disown(node);
		thaw(node);
		if (!node->dead) {
			node->address = 0;
			continue;
		}
		if (node->address == 0) {
			pool_give_node(tree->pool, node);
			continue;
		}
		node->next = tree->dead;
		tree->dead = node;
	}
	tree->frozen_next = NULL;
	tree->ops = NULL;
	tree->ops_context = NULL;
	tree->checkpointing = false;
}

/* The first child from `index` on that is in memory; told are the leaves before it that are not. */
static struct btree_node *next_child(struct btree_node *node, uint32_t index,
                                     void (*visit)(void *context, btree_value address),
                                     void *context)
{
	for (; node->children != NULL && index < node->page->count; index++) {
		struct btree_node *child = node->children[index];

		if (child != NULL) {
			child->index = (uint16_t)index;
			return child;
		}
		if (visit != NULL)
			visit(context, page_value(node->page, index));
	}
	return NULL;
}

/* An inner page that is not in memory; 0: none. */
static btree_value missing_inner(struct btree_node *node)
{
	for (uint32_t i = 0; node->page->level > 1 && i < node->page->count; i++) {
		if (node->children[i] == NULL)
			return page_value(node->page, i);
	}
	return 0;
}

/* One pass over the nodes in memory: tells addresses, or looks for what is missing. */
static btree_value walk_addresses(const struct btree *tree,
                                  void (*visit)(void *context, btree_value address), void *context)
{
	struct btree_node *node = tree->root, *child;
	uint32_t index = 0;

	for (;;) {
		if (visit == NULL && index == 0 && missing_inner(node) != 0)
			return missing_inner(node);
		if (visit != NULL && index == 0 && node->page->address != 0)
			visit(context, node->page->address);
		child = next_child(node, index, visit, context);
		if (child != NULL) {
			node = child;
			index = 0;
			continue;
		}
		if (node->parent == NULL)
			return 0;
		index = node->index + 1u;
		node = node->parent;
	}
}

enum btree_result btree_visit_addresses(const struct btree *tree,
                                        void (*visit)(void *context, btree_value address),
                                        void *context, struct btree_miss *miss)
{
	assert(!tree->checkpointing);
	miss->address = walk_addresses(tree, NULL, NULL);
	if (miss->address != 0)
		return BTREE_MISS;
	(void)walk_addresses(tree, visit, context);
	for (const struct btree_node *node = tree->dead; node != NULL; node = node->next)
		visit(context, node->address);
	return BTREE_OK;
}
