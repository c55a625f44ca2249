/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of the tree that become two, or one. */
#include <stdlib.h>

#include "engine/btree_node.h"

enum {
	/*
	 * So many inserts in a row into the last third of a page are taken for a pattern: keys that
	 * grow, in about that order. By chance it is one in half a million.
	 */
	APPEND_RUN_MIN = 12,
	APPEND_PART = 3,
	APPEND_LEFT_OVER = 16, /* of what was appended one in so many goes to the new page */
	BOUND_GAIN_MIN = 4,    /* bytes of each key that a bound must save */
	/* A page is merged when it is less than a third full, into one at most two thirds full. */
	MERGE_USED_MAX = PAGE_BODY_SIZE / 3,
	MERGED_USED_MAX = PAGE_BODY_SIZE / 3 * 2,
};

/* The entries of a page with one more among them. */
struct sequence {
	const struct btree_page *page;
	const struct btree_insertion *insertion;
	uint32_t count;
};

/* What a slot and its entry say of a key. */
struct suffix {
	uint32_t head;
	size_t size;
	const uint8_t *rest;
};

static uint32_t old_index(const struct sequence *sequence, uint32_t index)
{
	assert(index < sequence->count);
	assert(index != sequence->insertion->index);
	return index < sequence->insertion->index ? index : index - 1;
}

static struct suffix sequence_suffix(const struct sequence *sequence, uint32_t index)
{
	const struct btree_insertion *insertion = sequence->insertion;
	const struct btree_page *page = sequence->page;

	if (index == insertion->index) {
		const uint8_t *data = insertion->key.data + page->prefix_size;
		size_t size = insertion->key.size - page->prefix_size;

		return (struct suffix){ suffix_head(data, size), size, data + PAGE_HEAD_SIZE };
	}
	index = old_index(sequence, index);
	return (struct suffix){ page_slots(page)[index].head, page_slots(page)[index].size,
		                page_entry(page, index) + PAGE_VALUE_SIZE };
}

static struct bytes sequence_key(const struct sequence *sequence, uint32_t index,
                                 uint8_t buf[PAGE_KEY_BUF_SIZE])
{
	if (index == sequence->insertion->index)
		return sequence->insertion->key;
	return page_key(sequence->page, old_index(sequence, index), buf);
}

static btree_value sequence_value(const struct sequence *sequence, uint32_t index)
{
	if (index == sequence->insertion->index)
		return sequence->insertion->value;
	return page_value(sequence->page, old_index(sequence, index));
}

static size_t suffixes_shared(struct suffix a, struct suffix b)
{
	size_t max = a.size < b.size ? a.size : b.size;
	size_t shared;

	if (a.head != b.head) {
		shared = (size_t)__builtin_clz(a.head ^ b.head) / 8;
	} else {
		shared = PAGE_HEAD_SIZE;
		while (shared < max &&
		       a.rest[shared - PAGE_HEAD_SIZE] == b.rest[shared - PAGE_HEAD_SIZE])
			shared++;
	}
	return shared < max ? shared : max;
}

/*
 * The size of the key that tells what lies before entry `index` from the rest. In a leaf as short
 * as can be; in an inner page it is the entry's own.
 */
static size_t separator_size(const struct sequence *sequence, uint32_t index)
{
	struct suffix suffix = sequence_suffix(sequence, index);

	if (sequence->page->level > 0)
		return sequence->page->prefix_size + suffix.size;
	return sequence->page->prefix_size +
	       suffixes_shared(sequence_suffix(sequence, index - 1), suffix) + 1;
}

/* Where the right page begins, in `buf`. */
static void make_separator(const struct sequence *sequence, uint32_t cut,
                           uint8_t buf[PAGE_KEY_BUF_SIZE], struct bytes *separator)
{
	size_t size = separator_size(sequence, cut);

	*separator = bytes_of(sequence_key(sequence, cut, buf).data, size);
	if (separator->data != buf) {
		memcpy(buf, separator->data, size);
		separator->data = buf;
	}
}

static bool is_append(const struct sequence *sequence, const struct btree_node *node)
{
	return node->run >= APPEND_RUN_MIN && sequence->count >= 4;
}

/* The bytes that the first `index` entries take, for each index. */
static void sum_costs(const struct sequence *sequence, uint16_t sums[PAGE_ENTRIES_MAX + 2])
{
	sums[0] = 0;
	for (uint32_t i = 0; i < sequence->count; i++)
		sums[i + 1] = (uint16_t)(sums[i] + suffix_cost(sequence_suffix(sequence, i).size));
}

/*
 * The first entry of the right page: near the middle where the separator is short. Costs are taken
 * with the old prefix and the largest fence for the right page, so the truth is never larger. There
 * is always a cut that fits: the bytes where it may lie span more than the largest entry.
 */
static uint32_t choose_cut(const struct sequence *sequence, const struct btree_node *node)
{
	uint32_t margin = sequence->page->level > 0 && sequence->count >= 4 ? 2 : 1, cut = 0;
	size_t left_max = page_capacity(sequence->page->lower_size);
	size_t right_max = page_capacity(BTREE_KEY_MAX);
	uint32_t best = UINT32_MAX, best_size = UINT32_MAX;
	uint16_t sums[PAGE_ENTRIES_MAX + 2];
	uint32_t total, near;

	sum_costs(sequence, sums);
	total = sums[sequence->count];
	if (is_append(sequence, node)) {
		cut = sequence->count - margin;
		if (sequence->insertion->index < sequence->page->count)
			cut -= sequence->count / (uint32_t)APPEND_LEFT_OVER;
		if (sums[cut] <= left_max && total - sums[cut] <= right_max)
			return cut;
	}
	for (uint32_t i = margin; i <= sequence->count - margin; i++) {
		uint32_t apart = (uint32_t)abs(2 * sums[i] - (int)total);

		if (sums[i] <= left_max && total - sums[i] <= right_max && apart < best) {
			best = apart;
			cut = i;
		}
	}
	assert(cut != 0);
	near = total / 4;
	for (uint32_t i = margin; i <= sequence->count - margin; i++) {
		uint32_t apart = (uint32_t)abs(2 * sums[i] - (int)total), size;

		if (apart > near || sums[i] > left_max || total - sums[i] > right_max)
			continue;
		size = (uint32_t)separator_size(sequence, i);
		if (size < best_size || (size == best_size && apart < best)) {
			best_size = size;
			best = apart;
			cut = i;
		}
	}
	return cut;
}

/*
 * The last page of a tree has no upper bound, so by rule its keys share nothing, whatever they do
 * share. While keys grow, it is given one right behind all keys that begin as its own do: it
 * becomes smaller, goes on to be filled, and what comes behind the bound has an empty page. False:
 * there is no such bound, or no gain. The bound is left in `buf`.
 */
static bool find_bound(const struct sequence *sequence, struct btree_node *node,
                       uint8_t buf[PAGE_KEY_BUF_SIZE], struct bytes *bound)
{
	const struct btree_page *page = sequence->page;
	uint8_t other[PAGE_KEY_BUF_SIZE];
	struct bytes first, last, upper;
	size_t size, gain;

	if (page->level > 0 || !is_append(sequence, node) || node_upper(node, other, &upper))
		return false;
	last = sequence_key(sequence, sequence->count - 1, other);
	first = sequence_key(sequence, 0, buf);
	size = keys_shared(first, last);
	while (size > 0 && last.data[size - 1] == UINT8_MAX)
		size--;
	if (size == 0)
		return false;
	memcpy(buf, last.data, size);
	buf[size - 1]++;
	*bound = bytes_of(buf, size);
	size = keys_shared(page_lower(page), *bound);
	if (size < (size_t)page->prefix_size + BOUND_GAIN_MIN)
		return false;
	gain = size - page->prefix_size;
	size = 0;
	for (uint32_t i = 0; i < sequence->count; i++)
		size += suffix_cost(sequence_suffix(sequence, i).size - gain);
	return size <= page_capacity(page->lower_size) / 4 * 3;
}

/* Appends entries [first, end) to a page; the first of an inner page gives up its key. */
static void sequence_copy(const struct sequence *sequence, uint32_t first, uint32_t end,
                          struct btree_page *to)
{
	uint8_t buf[PAGE_KEY_BUF_SIZE];

	for (uint32_t i = first; i < end; i++) {
		bool keyless = to->level > 0 && i == first;
		struct bytes key = keyless ? page_prefix(to) : sequence_key(sequence, i, buf);

		page_insert(to, to->count, key, sequence_value(sequence, i));
	}
}

static void move_child(struct btree_node *from, uint32_t from_index, struct btree_node *to,
                       uint32_t to_index)
{
	struct btree_node *child = from->children[from_index];

	if (child == NULL)
		return;
	from->children[from_index] = NULL;
	from->resident_count--;
	node_attach(to, to_index, child);
}

/* A place for a child at `index`, before the page's count includes it. */
static void open_gap(struct btree_node *node, uint32_t index)
{
	memmove(node->children + index + 1, node->children + index,
	        (node->page->count - index) * sizeof(struct btree_node *));
	node->children[index] = NULL;
}

/* Children follow their entries: those from `cut` on to the right, with the new one among them. */
static void split_children(struct btree_node *node, struct btree_node *right,
                           const struct btree_insertion *insertion, uint32_t cut)
{
	uint32_t count = right->page->count;

	open_gap(node, insertion->index);
	for (uint32_t i = 0; i < count; i++)
		move_child(node, cut + i, right, i);
	if (insertion->index < cut)
		node_attach(node, insertion->index, insertion->child);
	else
		node_attach(right, insertion->index - cut, insertion->child);
}

/*
 * Splits a node while it takes up one more entry. The new right node is not in its parent yet;
 * *separator, in `buf`, is where it begins.
 */
static struct btree_node *split(struct btree_node *node, const struct btree_insertion *insertion,
                                uint8_t buf[PAGE_KEY_BUF_SIZE], struct bytes *separator)
{
	struct btree_page *page = node->page, *left, *right;
	struct sequence sequence = { page, insertion, page->count + 1u };
	bool bounded = find_bound(&sequence, node, buf, separator);
	uint32_t cut = bounded ? sequence.count : choose_cut(&sequence, node);
	bool append = is_append(&sequence, node);
	size_t prefix_size = 0;
	struct btree *tree = node->tree;
	uint8_t upper_buf[PAGE_KEY_BUF_SIZE];
	struct btree_node *right_node;
	struct bytes upper;

	assert(cut > 0);
	assert(cut < sequence.count || bounded);
	if (!bounded)
		make_separator(&sequence, cut, buf, separator);
	if (node_upper(node, upper_buf, &upper))
		prefix_size = keys_shared(*separator, upper);
	left = pool_take_page(tree->pool);
	right = pool_take_page(tree->pool);
	page_init(left, tree->tag, page->level, page_lower(page),
	          keys_shared(page_lower(page), *separator));
	page_init(right, tree->tag, page->level, *separator, prefix_size);
	sequence_copy(&sequence, 0, cut, left);
	sequence_copy(&sequence, cut, sequence.count, right);
	left->address = page->address;
	right_node = pool_take_node(tree, right);
	right_node->run = append ? node->run : 0;
	node_mark_dirty(right_node);
	node_mark_dirty(node);
	if (page->level > 0)
		split_children(node, right_node, insertion, cut);
	node_renew(node, left);
	node_set_stale(node);
	node->run = 0;
	btree_reshaped(tree);
	return right_node;
}

/* A new root above the old one, which is about to be split. */
static void grow(struct btree *tree)
{
	struct btree_node *old = tree->root;
	struct btree_page *page = pool_take_page(tree->pool);

	assert(tree->depth < BTREE_DEPTH_MAX);
	page_init(page, tree->tag, (uint8_t)tree->depth, BYTES(""), 0);
	page_insert(page, 0, BYTES(""), old->page->address);
	node_mark_dirty(old);
	tree->root = pool_take_node(tree, page);
	btree_set_depth(tree, tree->depth + 1);
	node_attach(tree->root, 0, old);
	node_mark_dirty(tree->root);
}

static void insert(struct btree_node *node, const struct btree_insertion *insertion)
{
	node_change(node);
	if (insertion->child != NULL)
		open_gap(node, insertion->index);
	page_insert(node->page, insertion->index, insertion->key, insertion->value);
	if (insertion->child != NULL)
		node_attach(node, insertion->index, insertion->child);
	node_set_stale(node);
	node->tree->change_count++;
}

static void note_run(struct btree_node *node, uint32_t index)
{
	if (index < node->page->count - node->page->count / (uint32_t)APPEND_PART)
		node->run = 0;
	else if (node->run < UINT8_MAX)
		node->run++;
}

enum btree_result btree_insert(struct btree_node *node, struct btree_insertion *insertion)
{
	struct btree *tree = node->tree;
	uint8_t bufs[2][PAGE_KEY_BUF_SIZE];
	unsigned turn = 0;

	if (page_room(node->page) >= suffix_cost(insertion->key.size - node->page->prefix_size)) {
		if (!node_may_change(node))
			return BTREE_FULL;
		note_run(node, insertion->index);
		insert(node, insertion);
		return BTREE_OK;
	}
	if (tree->depth == BTREE_DEPTH_MAX ||
	    !pool_reserve(tree->pool, BTREE_CHANGE_PAGES(tree->depth), tree->depth + 1, node))
		return BTREE_FULL;
	while (page_room(node->page) < suffix_cost(insertion->key.size - node->page->prefix_size)) {
		struct bytes separator;
		struct btree_node *right;

		note_run(node, insertion->index);
		if (node->parent == NULL)
			grow(tree);
		right = split(node, insertion, bufs[turn], &separator);
		turn ^= 1; /* the next split reads this separator while it makes its own */
		*insertion = (struct btree_insertion){
			.index = node_index(node) + 1,
			.key = separator,
			.child = right,
		};
		node = node->parent;
	}
	note_run(node, insertion->index);
	insert(node, insertion);
	return BTREE_OK;
}

/* What a page's entries take when their common prefix is only so long. */
static size_t cost_with_prefix(const struct btree_page *page, size_t prefix_size)
{
	size_t longer = page->prefix_size - prefix_size, cost = 0;

	assert(prefix_size <= page->prefix_size);
	for (uint32_t i = 0; i < page->count; i++)
		cost += suffix_cost(page_slots(page)[i].size + longer);
	return cost;
}

/* The pages of two neighbours as one; NULL: too much for one, or no page to make it in. */
static struct btree_page *join(struct btree_node *left, struct btree_node *right)
{
	const struct btree_page *a = left->page, *b = right->page;
	struct btree_pool *pool = left->tree->pool;
	struct btree_node *parent = left->parent;
	size_t used = page_used(a) + page_used(b), max = MERGED_USED_MAX, prefix_size = 0;
	uint8_t buf[PAGE_KEY_BUF_SIZE];
	struct btree_page *page;
	struct bytes upper;

	if (a->count == 0 || b->count == 0)
		max = page_capacity(a->lower_size);
	if (max > page_capacity(a->lower_size))
		max = page_capacity(a->lower_size);
	/* Keys are never cheaper together: their prefix is not longer. */
	if (used > max || pool->free_page_count < 1u + (parent->frozen == parent->page))
		return NULL;
	if (node_upper(right, buf, &upper))
		prefix_size = keys_shared(page_lower(a), upper);
	/* A page from disk may use less of a prefix than it could. */
	prefix_size = prefix_size < a->prefix_size ? prefix_size : a->prefix_size;
	prefix_size = prefix_size < b->prefix_size ? prefix_size : b->prefix_size;
	if (cost_with_prefix(a, prefix_size) + cost_with_prefix(b, prefix_size) +
	            (b->level > 0 ? b->lower_size : 0) >
	    max)
		return NULL;
	page = pool_take_page(pool);
	page_init(page, a->tag, a->level, page_lower(a), prefix_size);
	for (uint32_t i = 0; i < a->count; i++) {
		bool keyless = a->level > 0 && i == 0;
		struct bytes key = keyless ? page_prefix(page) : page_key(a, i, buf);

		page_insert(page, page->count, key, page_value(a, i));
	}
	for (uint32_t i = 0; i < b->count; i++) {
		bool keyless = b->level > 0 && i == 0;
		struct bytes key = keyless ? page_lower(b) : page_key(b, i, buf);

		page_insert(page, page->count, key, page_value(b, i));
	}
	page->address = a->address;
	return page;
}

/* Both must be children of the same parent, and in memory. */
static bool merge(struct btree_node *left, struct btree_node *right)
{
	struct btree_node *parent = left->parent;
	uint32_t index = node_index(right), at = left->page->count;
	struct btree_page *page = join(left, right);

	if (page == NULL)
		return false;
	assert(index == node_index(left) + 1);
	node_mark_dirty(left);
	node_renew(left, page);
	for (uint32_t i = 0; left->children != NULL && i < right->page->count; i++)
		move_child(right, i, left, at + i);
	node_change(parent);
	page_remove(parent->page, index, 1);
	memmove(parent->children + index, parent->children + index + 1,
	        (parent->page->count - index) * sizeof(struct btree_node *));
	parent->children[parent->page->count] = NULL;
	parent->resident_count--;
	node_kill(right);
	node_set_stale(left);
	node_set_stale(parent);
	left->run = 0;
	btree_reshaped(left->tree);
	return true;
}

/* The node that has both pages now; NULL: it cannot be merged. */
static struct btree_node *merge_with_neighbour(struct btree_node *node)
{
	struct btree_node *parent = node->parent;
	struct btree_node *left = NULL, *right = NULL;
	uint32_t index = node_index(node);

	if (index > 0)
		left = parent->children[index - 1];
	if (index + 1u < parent->page->count)
		right = parent->children[index + 1];
	if (left != NULL && merge(left, node))
		return left;
	return right != NULL && merge(node, right) ? node : NULL;
}

/* A root with one child is not needed. */
static void lower_root(struct btree *tree)
{
	while (tree->root->children != NULL && tree->root->page->count == 1 &&
	       tree->root->children[0] != NULL) {
		struct btree_node *old = tree->root, *child = old->children[0];

		node_mark_dirty(child); /* so that there is a reason to write the new root */
		old->children[0] = NULL;
		old->resident_count--;
		child->parent = NULL;
		tree->root = child;
		tree->depth--;
		btree_reshaped(tree);
		node_kill(old);
	}
}

static bool is_small(const struct btree_node *node)
{
	return node->parent != NULL && page_used(node->page) <= MERGE_USED_MAX;
}

void btree_shrink(struct btree *tree, struct btree_node *node)
{
	struct btree_node *only = NULL; /* the lowest that was an only child */

	if (page_used(node->page) > MERGE_USED_MAX)
		return;
	while (is_small(node)) {
		struct btree_node *parent = node->parent, *merged;
		bool any = false;

		/* An only child has nobody to merge with; when its parent is merged, it has. */
		if (parent->page->count == 1) {
			only = only == NULL ? node : only;
			node = parent;
			continue;
		}
		while (is_small(node) && (merged = merge_with_neighbour(node)) != NULL) {
			node = merged;
			any = true;
		}
		if (!any)
			break;
		node = only == NULL ? parent : only;
		only = NULL;
	}
	lower_root(tree);
}
