/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/btree.h"

#include "engine/btree_node.h"

static void tree_reset(struct btree *tree, struct btree_pool *pool, uint32_t tag,
                       uint64_t key_count)
{
	*tree = (struct btree){
		.pool = pool,
		.tag = tag,
		.key_count = key_count,
		.change_count = 1, /* a zeroed cursor has seen nothing */
		.shape = ++pool->shapes,
	};
}

enum status btree_init(struct btree *tree, struct btree_pool *pool, uint32_t tag)
{
	struct btree_page *page;

	tree_reset(tree, pool, tag, 0);
	if (!pool_reserve(pool, 1, 1, NULL))
		return STATUS_NO_SPACE;
	page = pool_take_page(pool);
	page_init(page, tag, 0, BYTES(""), 0);
	tree->root = pool_take_node(tree, page);
	btree_set_depth(tree, 1);
	node_mark_dirty(tree->root);
	return STATUS_OK;
}

enum status btree_open(struct btree *tree, struct btree_pool *pool, uint32_t tag, const void *image,
                       btree_value address, uint64_t key_count)
{
	enum status status = btree_page_check(image, tag, address);
	struct btree_page *page;

	if (status != STATUS_OK)
		return status;
	if (((const struct btree_page *)image)->lower_size != 0)
		return STATUS_CORRUPT;
	tree_reset(tree, pool, tag, key_count);
	if (!pool_reserve(pool, 2, 1, NULL))
		return STATUS_NO_SPACE;
	page = pool_take_page(pool);
	memcpy(page, image, sizeof(*page));
	tree->root = pool_take_node(tree, page);
	btree_set_depth(tree, page->level + 1u);
	pool->loaded++;
	return STATUS_OK;
}

void btree_fini(struct btree *tree)
{
	struct btree_pool *pool = tree->pool;

	for (uint64_t i = 0; i < pool->nodes_used; i++) {
		struct btree_node *node = &pool->nodes[i];

		if (node->tree != tree)
			continue;
		if (node_is_evictable(node))
			pool->clean_count--;
		if (node->frozen != NULL) {
			pool->pages_dirty--;
			if (node->frozen != node->page)
				pool_give_page(pool, node->frozen);
		}
		if (node->dirty && node->frozen != node->page)
			pool->pages_dirty--;
		node_free(node);
	}
	*tree = (struct btree){ .pool = NULL };
}

enum btree_result btree_missed(struct btree *tree, const struct btree_node *parent, uint32_t index,
                               struct btree_miss *miss)
{
	miss->address = page_value(parent->page, index);
	assert(miss->address != 0); /* else: a page that was never written was evicted */
	if (miss->address == tree->unwanted)
		tree->unwanted_missed = true;
	return BTREE_MISS;
}

static uint64_t head_of(const uint8_t *data, size_t size)
{
	uint64_t head = 0;

	if (size >= sizeof(head)) {
		memcpy(&head, data, sizeof(head));
		return __builtin_bswap64(head);
	}
	for (size_t i = 0; i < size; i++)
		head |= (uint64_t)data[i] << (56 - 8 * i);
	return head;
}

void node_refresh(struct btree_node *node)
{
	struct btree_table *table = node_table(node);
	const struct btree_page *page = node->page;
	uint8_t buf[PAGE_KEY_BUF_SIZE];
	struct bytes key;

	table->stale = false;
	table->prefix_size = page->prefix_size;
	table->count = (uint16_t)(page->count - 1);
	table->shared_size = 0;
	if (table->count == 0)
		return;
	key = page_key(page, 1, buf);
	/* All separators begin as the first and the last do. */
	if (table->count > 1) {
		uint8_t last[PAGE_KEY_BUF_SIZE];
		size_t shared = keys_shared(key, page_key(page, page->count - 1u, last)) -
		                page->prefix_size;

		table->shared_size =
		        (uint8_t)(shared < sizeof(table->shared) ? shared : sizeof(table->shared));
		memcpy(table->shared, key.data + page->prefix_size, table->shared_size);
	}
	for (uint32_t i = 0; i < table->count; i++) {
		size_t skip = (size_t)page->prefix_size + table->shared_size;

		key = page_key(page, i + 1, buf);
		table->heads[i] = head_of(key.data + skip, key.size - skip);
	}
}

uint32_t node_child(const struct btree_node *node, struct bytes key)
{
	const struct btree_table *table = node_table(node);
	const uint64_t *base = table->heads;
	uint32_t count = table->count;
	const uint8_t *data;
	uint64_t head;
	size_t size;

	if (table->stale)
		return page_child(node->page, key);
	assert(key.size >= table->prefix_size); /* else: the fences do not hold */
	data = key.data + table->prefix_size;
	size = key.size - table->prefix_size;
	if (table->shared_size > 0) {
		size_t shared = size < table->shared_size ? size : table->shared_size;
		int order = shared > 0 ? memcmp(data, table->shared, shared) : 0;

		if (order != 0 || shared < table->shared_size)
			return order > 0 ? count : 0;
		data += shared;
		size -= shared;
	}
	head = head_of(data, size);
	while (count > 1) {
		uint32_t half = count / 2;

		base += base[half - 1] < head ? half : 0;
		count -= half;
	}
	if (count == 1 && *base < head)
		base++;
	if (base < table->heads + table->count && *base == head)
		return page_child(node->page, key);
	return (uint32_t)(base - table->heads);
}

/* A leaf's header and what a search in it looks at first. */
static void prefetch_leaf(const struct btree_node *leaf)
{
	const uint8_t *page = (const uint8_t *)leaf->page;

	for (unsigned line = 0; line < 14; line += 2)
		__builtin_prefetch(page + line * 64);
}

/* By the key, and by the tree: a scan looks for one key in many trees. */
static struct btree_landing *landing_for(const struct btree *tree, struct bytes key)
{
	struct btree_pool *pool = tree->pool;
	uint32_t tail;

	if (key.size < sizeof(tail) || key.size > LANDING_KEY_MAX)
		return NULL;
	memcpy(&tail, key.data + key.size - sizeof(tail), sizeof(tail));
	_Static_assert(LANDING_COUNT == 1 << 5, "the upper 5 bits of a product");
	return &pool->landings[((tail * 0x9e3779b1u) >> 27 ^ tree->tag) % LANDING_COUNT];
}

/* The leaf that btree_prefetch() found for the key; NULL: unknown, or no longer known. */
static struct btree_node *landed_leaf(struct btree *tree, struct bytes key)
{
	struct btree_landing *landing;

	if (tree->pool->landings_set == 0)
		return NULL;
	landing = landing_for(tree, key);
	if (landing == NULL || landing->tree != tree || landing->shape != tree->shape ||
	    landing->key_size != key.size || memcmp(landing->key, key.data, key.size) != 0)
		return NULL;
	landing->key_size = 0;
	tree->pool->landings_set--;
	return landing->leaf;
}

static struct btree_node *descend(struct btree *tree, struct bytes key, struct btree_miss *miss)
{
	struct btree_node *node = tree->root;

	while (node->children != NULL) {
		struct btree_node *child;
		uint32_t index;

		if (node_table(node)->stale)
			node_refresh(node);
		index = node_child(node, key);
		child = node->children[index];
		if (child == NULL) {
			(void)btree_missed(tree, node, index, miss);
			return NULL;
		}
		node = child;
	}
	return node;
}

struct btree_node *btree_descend(struct btree *tree, struct bytes key, struct btree_miss *miss)
{
	struct btree_node *leaf = landed_leaf(tree, key);

	if (leaf != NULL) {
		assert_slow(leaf == descend(tree, key, miss));
		return leaf;
	}
	leaf = descend(tree, key, miss);
	if (leaf == NULL)
		return NULL;
	prefetch_leaf(leaf);
	if (!leaf->referenced)
		leaf->referenced = true;
	return leaf;
}

/* Whether a page has the fences and the keys that its place in the tree demands. */
static bool page_fits(struct btree_node *parent, uint32_t index, const struct btree_page *page)
{
	uint8_t lower_buf[PAGE_KEY_BUF_SIZE], upper_buf[PAGE_KEY_BUF_SIZE];
	uint8_t last_buf[PAGE_KEY_BUF_SIZE];
	struct bytes lower = page_lower(parent->page), upper;
	bool bounded = true;

	if (index > 0)
		lower = page_key(parent->page, index, lower_buf);
	if (!bytes_equal(lower, page_lower(page)))
		return false;
	if (index + 1u < parent->page->count)
		upper = page_key(parent->page, index + 1, upper_buf);
	else
		bounded = node_upper(parent, upper_buf, &upper);
	if (!bounded)
		return page->prefix_size == 0;
	if (page->prefix_size > keys_shared(lower, upper))
		return false;
	/* The first key of an inner page is its lower fence, which was compared. */
	return page->count <= (page->level > 0 ? 1 : 0) ||
	       bytes_compare(page_key(page, page->count - 1u, last_buf), upper) < 0;
}

/*
 * Where a page belongs by its level and lower fence: below a parent, or it is the root (no parent).
 * False: the way there is not in memory (*miss), or there is no such place (miss->address 0).
 */
static bool find_place(struct btree *tree, const struct btree_page *page,
                       struct btree_node **parent, uint32_t *index, struct btree_miss *miss)
{
	struct btree_node *node = tree->root;

	miss->address = 0;
	*parent = NULL;
	if (page->level >= node->page->level)
		return page->level == node->page->level && page->lower_size == 0;
	for (;;) {
		struct btree_node *child;

		*index = page_child(node->page, page_lower(page));
		if (node->page->level == page->level + 1)
			break;
		child = node->children[*index];
		if (child == NULL) {
			(void)btree_missed(tree, node, *index, miss);
			return false;
		}
		node = child;
	}
	*parent = node;
	return true;
}

static bool install(struct btree_node *parent, uint32_t index, const struct btree_page *image)
{
	struct btree *tree = parent->tree;
	struct btree_pool *pool = tree->pool;
	struct btree_page *page;
	struct btree_node *node;

	if (pool->pages_dirty + pool->table_count + POOL_CLEAN_PAGES_MIN > pool->pages_max)
		return false;
	if (!pool_reserve(pool, image->level > 0 ? 2 : 1, 1, parent))
		return false;
	page = pool_take_page(pool);
	memcpy(page, image, sizeof(*page));
	node = pool_take_node(tree, page);
	node_attach(parent, index, node);
	pool->clean_count++;
	pool->loaded++;
	return true;
}

enum status btree_load(struct btree *tree, const void *image, btree_value address)
{
	enum status status = btree_page_check(image, tree->tag, address);
	const struct btree_page *page = image;
	struct btree_node *parent;
	struct btree_miss miss;
	uint32_t index;

	if (status != STATUS_OK)
		return status;
	if (!find_place(tree, page, &parent, &index, &miss) && miss.address != 0)
		return STATUS_OK; /* what is above it was evicted in the meantime */
	if (parent != NULL && page_value(parent->page, index) == address) {
		if (parent->children[index] != NULL)
			return STATUS_OK;
		if (!page_fits(parent, index, page))
			return STATUS_CORRUPT;
		return install(parent, index, page) ? STATUS_OK : STATUS_BUSY;
	}
	if (tree->unwanted == address && tree->unwanted_missed)
		return STATUS_CORRUPT;
	tree->unwanted = address;
	tree->unwanted_missed = false;
	return STATUS_OK;
}

enum btree_result btree_touch(struct btree *tree, const void *image, btree_value address,
                              struct btree_miss *miss)
{
	const struct btree_page *page = image;
	struct btree_node *parent, *node;
	uint32_t index;

	assert(page->address == address); /* else: was not checked */
	if (!find_place(tree, page, &parent, &index, miss))
		return miss->address != 0 ? BTREE_MISS : BTREE_ABSENT;
	node = parent == NULL ? tree->root : parent->children[index];
	if (node == NULL) {
		if (page_value(parent->page, index) != address)
			return BTREE_ABSENT;
		if (!page_fits(parent, index, page))
			return btree_missed(tree, parent, index, miss);
		if (!install(parent, index, page))
			return BTREE_FULL;
		node = parent->children[index];
	}
	if (node->page->address != address)
		return BTREE_ABSENT;
	node_mark_dirty(node);
	return BTREE_OK;
}

enum btree_result btree_find(struct btree *tree, struct bytes key, btree_value *value,
                             struct btree_miss *miss)
{
	struct btree_node *leaf = btree_descend(tree, key, miss);
	uint32_t index;
	bool found;

	assert(key.size >= 1);
	assert(key.size <= BTREE_KEY_MAX);
	if (leaf == NULL)
		return BTREE_MISS;
	index = page_search(leaf->page, key, 0, &found);
	if (!found)
		return BTREE_ABSENT;
	*value = page_value(leaf->page, index);
	return BTREE_OK;
}

/* The node's number, from 1, and the slot. */
enum { HINT_SLOT_BITS = 16 };

static btree_hint hint_make(const struct btree_node *leaf, uint32_t index)
{
	uint64_t number = (uint64_t)(leaf - leaf->tree->pool->nodes) + 1;

	assert(index < 1u << HINT_SLOT_BITS);
	return number << HINT_SLOT_BITS | index;
}

/* Any memory of the pool's arena of nodes: what is there is looked at before it is believed. */
static struct btree_node *hint_node(const struct btree_pool *pool, btree_hint hint)
{
	uint64_t number = hint >> HINT_SLOT_BITS;

	assert(number > 0 && number <= pool->nodes_max);
	return &pool->nodes[number - 1];
}

btree_hint btree_last_hint(const struct btree *tree)
{
	return tree->last_hint;
}

bool btree_set_hinted(struct btree *tree, btree_hint hint, btree_value expected, btree_value value)
{
	struct btree_node *node = hint_node(tree->pool, hint);
	uint32_t index = hint & ((1u << HINT_SLOT_BITS) - 1);

	assert(expected != 0 && value != 0);
	if (node->tree != tree || node->dead || node->children != NULL ||
	    index >= node->page->count || page_value(node->page, index) != expected ||
	    !node_may_change(node))
		return false;
	node_change(node);
	page_set_value(node->page, index, value);
	node->referenced = true;
	return true;
}

void btree_prefetch_hint(const struct btree_pool *pool, btree_hint hint, unsigned step)
{
	const struct btree_node *node = hint_node(pool, hint);
	uint32_t index = hint & ((1u << HINT_SLOT_BITS) - 1);

	if (step == 0) {
		__builtin_prefetch(node);
		return;
	}
	if (node->page == NULL || node->children != NULL)
		return;
	if (step == 1)
		__builtin_prefetch(node->page);
	else if (step == 2)
		__builtin_prefetch(&page_slots(node->page)[index]);
	else if (index < node->page->count)
		__builtin_prefetch(page_entry(node->page, index), 1);
}

enum btree_result btree_set(struct btree *tree, struct bytes key, btree_value value,
                            btree_value *old, struct btree_miss *miss)
{
	struct btree_node *leaf = btree_descend(tree, key, miss);
	struct btree_insertion insertion = { .key = key, .value = value };
	enum btree_result result;
	bool found;

	assert(key.size >= 1);
	assert(key.size <= BTREE_KEY_MAX);
	assert(value != 0);
	if (leaf == NULL)
		return BTREE_MISS;
	insertion.index = page_search(leaf->page, key, 0, &found);
	if (found) {
		if (!node_may_change(leaf))
			return BTREE_FULL;
		*old = page_value(leaf->page, insertion.index);
		node_change(leaf);
		page_set_value(leaf->page, insertion.index, value);
		tree->last_hint = hint_make(leaf, insertion.index);
		return BTREE_OK;
	}
	tree->last_hint = 0;
	result = btree_insert(leaf, &insertion);
	if (result != BTREE_OK)
		return result;
	*old = 0;
	tree->key_count++;
	return BTREE_OK;
}

enum btree_result btree_replace(struct btree *tree, struct bytes key, btree_value expected,
                                btree_value value, struct btree_miss *miss)
{
	struct btree_node *leaf = btree_descend(tree, key, miss);
	uint32_t index;
	bool found;

	assert(key.size >= 1);
	assert(key.size <= BTREE_KEY_MAX);
	assert(value != 0);
	if (leaf == NULL)
		return BTREE_MISS;
	index = page_search(leaf->page, key, 0, &found);
	if (!found || page_value(leaf->page, index) != expected)
		return BTREE_ABSENT;
	if (!node_may_change(leaf))
		return BTREE_FULL;
	node_change(leaf);
	page_set_value(leaf->page, index, value);
	return BTREE_OK;
}

/* Takes entries out of a leaf that may be changed. */
static void remove_entries(struct btree_node *leaf, uint32_t index, uint32_t count)
{
	struct btree *tree = leaf->tree;

	node_change(leaf);
	page_remove(leaf->page, index, count);
	leaf->run = 0;
	tree->change_count++;
	/* The count came from disk: it must not wrap, whatever it was. */
	tree->key_count -= count < tree->key_count ? count : tree->key_count;
	btree_shrink(tree, leaf);
}

enum btree_result btree_remove(struct btree *tree, struct bytes key, btree_value *old,
                               struct btree_miss *miss)
{
	struct btree_node *leaf = btree_descend(tree, key, miss);
	uint32_t index;
	bool found;

	assert(key.size >= 1);
	assert(key.size <= BTREE_KEY_MAX);
	if (leaf == NULL)
		return BTREE_MISS;
	index = page_search(leaf->page, key, 0, &found);
	if (!found)
		return BTREE_ABSENT;
	if (!node_may_change(leaf))
		return BTREE_FULL;
	*old = page_value(leaf->page, index);
	remove_entries(leaf, index, 1);
	return BTREE_OK;
}

/* The entries of a leaf before `upper`; *more: the range goes on in the next leaf. */
static uint32_t range_end(struct btree_node *leaf, struct bytes upper, struct bytes fence,
                          bool *more)
{
	bool found;

	*more = fence.size > 0 && (upper.size == 0 || bytes_compare(fence, upper) < 0);
	if (*more || upper.size == 0 || (fence.size > 0 && bytes_equal(fence, upper)))
		return leaf->page->count;
	return page_search(leaf->page, upper, 0, &found);
}

enum btree_result btree_remove_range(struct btree *tree, struct btree_range *range, uint64_t limit,
                                     struct btree_miss *miss)
{
	uint8_t key_buf[PAGE_KEY_BUF_SIZE], fence_buf[PAGE_KEY_BUF_SIZE];
	struct bytes lower = range->lower;

	_Static_assert(sizeof(range->at) >= BTREE_KEY_MAX, "a fence is kept here");
	assert(limit > 0);
	if (range->at_size > 0)
		lower = bytes_of(range->at, range->at_size);
	if (range->upper.size > 0 && bytes_compare(lower, range->upper) >= 0)
		return BTREE_ABSENT;
	for (;;) {
		struct btree_node *leaf = btree_descend(tree, lower, miss);
		struct bytes fence = BYTES("");
		uint32_t first, end;
		bool found, more;

		if (leaf == NULL)
			return BTREE_MISS;
		(void)node_upper(leaf, fence_buf, &fence);
		first = page_search(leaf->page, lower, 0, &found);
		end = range_end(leaf, range->upper, fence, &more);
		if (first < end) {
			if (!node_may_change(leaf))
				return BTREE_FULL;
			end = end - first > limit ? first + (uint32_t)limit : end;
			limit -= end - first;
			for (uint32_t i = first; i < end && range->removed != NULL; i++)
				range->removed(range->context, page_key(leaf->page, i, key_buf),
				               page_value(leaf->page, i));
			remove_entries(leaf, first, end - first);
			if (limit == 0)
				return BTREE_OK;
		}
		if (!more)
			return BTREE_ABSENT;
		memcpy(range->at, fence.data, fence.size);
		range->at_size = (uint16_t)fence.size;
		lower = bytes_of(range->at, range->at_size);
	}
}

void btree_prefetch(const struct btree *tree, struct bytes key)
{
	struct btree_landing *landing = landing_for(tree, key);
	struct btree_node *node = tree->root;

	while (node->children != NULL) {
		node = node->children[node_child(node, key)];
		if (node == NULL)
			return;
	}
	prefetch_leaf(node);
	node->referenced = true;
	if (landing == NULL)
		return;
	tree->pool->landings_set += landing->key_size == 0;
	landing->tree = tree;
	landing->leaf = node;
	landing->shape = tree->shape;
	landing->key_size = (uint8_t)key.size;
	memcpy(landing->key, key.data, key.size);
}
