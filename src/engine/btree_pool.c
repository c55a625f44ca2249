/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the trees of a worker: pages and nodes, and who has to go when it is short. */
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/btree_node.h"

enum { HUGE_PAGE_SIZE = 2 << 20 };

enum status btree_pool_open(struct btree_pool **out, size_t memory_size)
{
	/* A quarter more nodes than pages: dead ones wait for a checkpoint without a page. */
	size_t page_cost = BTREE_PAGE_SIZE + sizeof(struct btree_node) * 5 / 4;
	uint64_t pages_max = memory_size / page_cost;
	struct btree_pool *pool;
	size_t pages_size;
	uint8_t *map;

	if (pages_max < POOL_PAGES_MIN)
		return STATUS_INVALID;
	pool = calloc(1, sizeof(*pool));
	if (pool == NULL)
		return STATUS_NO_SPACE;
	pool->pages_max = pages_max;
	pool->nodes_max = pages_max * 5 / 4;
	pages_size = align_up(pages_max * BTREE_PAGE_SIZE, HUGE_PAGE_SIZE);
	pool->map_size = pages_size + pool->nodes_max * sizeof(struct btree_node);
	/* Address space only: memory comes as it is touched. */
	map = mmap(NULL, pool->map_size, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		free(pool);
		return STATUS_NO_SPACE;
	}
	/* Only a hint: a lookup then misses the TLB less often. */
	(void)madvise(map, pool->map_size, MADV_HUGEPAGE);
	pool->pages = map;
	pool->nodes = (void *)(map + pages_size);
	pool->free_page_count = pool->pages_max;
	pool->free_node_count = pool->nodes_max;
	*out = pool;
	return STATUS_OK;
}

void btree_pool_close(struct btree_pool *pool)
{
	assert(pool->free_node_count == pool->nodes_max); /* else: a tree is still open */
	assert(pool->free_page_count == pool->pages_max);
	assert(pool->pages_dirty == 0);
	assert(pool->clean_count == 0);
	munmap(pool->pages, pool->map_size);
	free(pool);
}

void btree_pool_stats(const struct btree_pool *pool, struct btree_pool_stats *out)
{
	*out = (struct btree_pool_stats){
		.pages = pool->pages_max - pool->free_page_count,
		.pages_max = pool->pages_max,
		.pages_dirty = pool->pages_dirty,
		.evicted = pool->evicted,
		.loaded = pool->loaded,
	};
}

bool btree_pool_has_room(const struct btree_pool *pool, unsigned changes)
{
	uint64_t pages = changes * (uint64_t)BTREE_CHANGE_PAGES(pool->depth_max);
	/* The way down to the leaf may be clean, but it is needed. */
	uint64_t nodes = changes * (pool->depth_max + 1) + pool->depth_max;

	pages += pool->depth_max + POOL_SPARE_PAGES;
	return pool->free_page_count + pool->clean_count >= pages &&
	       pool->free_node_count + pool->clean_count >= nodes;
}

struct btree_page *pool_take_page(struct btree_pool *pool)
{
	void *page = pool->free_pages;

	assert(pool->free_page_count > 0);
	pool->free_page_count--;
	if (page != NULL) {
		memcpy(&pool->free_pages, page, sizeof(page));
		return page;
	}
	assert(pool->pages_used < pool->pages_max);
	return (void *)(pool->pages + pool->pages_used++ * BTREE_PAGE_SIZE);
}

void pool_give_page(struct btree_pool *pool, void *page)
{
	assert((uint8_t *)page >= pool->pages);
	assert((uint8_t *)page < pool->pages + pool->pages_used * BTREE_PAGE_SIZE);
	memcpy(page, &pool->free_pages, sizeof(page));
	pool->free_pages = page;
	pool->free_page_count++;
}

struct btree_node *pool_take_node(struct btree *tree, struct btree_page *page)
{
	struct btree_pool *pool = tree->pool;
	struct btree_node *node = pool->free_nodes;

	assert(pool->free_node_count > 0);
	pool->free_node_count--;
	if (node != NULL) {
		pool->free_nodes = node->next;
	} else {
		assert(pool->nodes_used < pool->nodes_max);
		node = &pool->nodes[pool->nodes_used++];
	}
	assert(node->tree == NULL);
	*node = (struct btree_node){ .tree = tree, .page = page, .referenced = true };
	if (page->level > 0) {
		node->children = (void *)pool_take_page(pool);
		memset(node->children, 0, BTREE_PAGE_SIZE);
		node_set_stale(node);
		pool->table_count++;
	}
	return node;
}

void pool_give_node(struct btree_pool *pool, struct btree_node *node)
{
	assert(node->tree != NULL);
	*node = (struct btree_node){ .next = pool->free_nodes };
	pool->free_nodes = node;
	pool->free_node_count++;
}

static void give_table(struct btree_node *node)
{
	struct btree_pool *pool = node->tree->pool;

	if (node->children == NULL)
		return;
	pool_give_page(pool, node->children);
	pool->table_count--;
	node->children = NULL;
}

void node_free(struct btree_node *node)
{
	struct btree_pool *pool = node->tree->pool;

	give_table(node);
	if (node->page != NULL)
		pool_give_page(pool, node->page);
	pool_give_node(pool, node);
}

static void evict(struct btree_pool *pool, struct btree_node *node)
{
	struct btree_node *parent = node->parent;
	uint32_t index = node_index(node);

	assert(node_is_evictable(node));
	assert(node->resident_count == 0);
	assert(page_value(parent->page, index) == node->page->address);
	parent->children[index] = NULL;
	parent->resident_count--;
	btree_reshaped(node->tree);
	pool->clean_count--;
	pool->evicted++;
	node_free(node);
}

/* One step of the clock at a time, at most two rounds: the first may only clear marks. */
static bool evict_one(struct btree_pool *pool, const struct btree_node *keep)
{
	for (uint64_t step = 0; step < 2 * pool->nodes_used && pool->clean_count > 0; step++) {
		struct btree_node *node = &pool->nodes[pool->hand];

		pool->hand = pool->hand + 1 < pool->nodes_used ? pool->hand + 1 : 0;
		if (node->tree == NULL || node == keep || node->resident_count > 0 ||
		    !node_is_evictable(node))
			continue;
		if (node->referenced) {
			node->referenced = false;
			continue;
		}
		evict(pool, node);
		return true;
	}
	return false;
}

bool pool_reserve(struct btree_pool *pool, uint64_t pages, uint64_t nodes,
                  const struct btree_node *keep)
{
	while (pool->free_page_count < pages + POOL_SPARE_PAGES || pool->free_node_count < nodes) {
		if (!evict_one(pool, keep))
			return false;
	}
	return true;
}

uint32_t node_index(struct btree_node *node)
{
	const struct btree_node *parent = node->parent;

	assert(parent != NULL);
	if (node->index < parent->page->count && parent->children[node->index] == node)
		return node->index;
	for (uint32_t i = 0; i < parent->page->count; i++) {
		if (parent->children[i] == node) {
			node->index = (uint16_t)i;
			return i;
		}
	}
	unreachable(); /* else: a node's parent does not know it */
}

void node_attach(struct btree_node *parent, uint32_t index, struct btree_node *child)
{
	assert(parent->children[index] == NULL);
	assert(parent->page->level == child->page->level + 1);
	parent->children[index] = child;
	parent->resident_count++;
	child->parent = parent;
	child->index = (uint16_t)index;
}

void node_mark_dirty(struct btree_node *node)
{
	struct btree_pool *pool = node->tree->pool;

	while (node != NULL && !node->dirty) {
		assert(!node->dead);
		if (node_is_evictable(node))
			pool->clean_count--;
		if (node->frozen != node->page) /* else: counted as frozen */
			pool->pages_dirty++;
		node->dirty = true;
		node->tree->dirty_count++;
		node = node->parent;
	}
}

void node_renew(struct btree_node *node, struct btree_page *page)
{
	struct btree_pool *pool = node->tree->pool;

	assert(node->dirty);
	assert(page != node->page);
	if (node->frozen == node->page)
		pool->pages_dirty++;
	else
		pool_give_page(pool, node->page);
	node->page = page;
}

void node_change(struct btree_node *node)
{
	node_mark_dirty(node);
	if (node->frozen == node->page) {
		struct btree_page *copy = pool_take_page(node->tree->pool);

		memcpy(copy, node->page, sizeof(*copy));
		node_renew(node, copy);
	}
}

void node_kill(struct btree_node *node)
{
	struct btree *tree = node->tree;
	struct btree_pool *pool = tree->pool;

	assert(!node->dead);
	assert(node->resident_count == 0);
	if (node_is_evictable(node))
		pool->clean_count--;
	if (node->dirty) {
		tree->dirty_count--;
		pool->pages_dirty -= node->frozen != node->page;
	}
	node->dirty = false;
	node->dead = true;
	if (node->frozen == NULL)
		node->address = node->page->address;
	if (node->frozen != node->page)
		pool_give_page(pool, node->page);
	give_table(node);
	node->page = NULL;
	if (node->frozen != NULL)
		return; /* in the list of the checkpoint, which looks at it when it ends */
	if (node->address == 0) {
		pool_give_node(pool, node);
		return;
	}
	node->next = tree->dead;
	tree->dead = node;
}

bool node_upper(struct btree_node *node, uint8_t buf[PAGE_KEY_BUF_SIZE], struct bytes *upper)
{
	while (node->parent != NULL) {
		uint32_t index = node_index(node) + 1;

		node = node->parent;
		if (index < node->page->count) {
			*upper = page_key(node->page, index, buf);
			return true;
		}
	}
	return false;
}
