/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the B+tree share: the node that stands for a page in memory, the pool that
 * nodes and pages come from, and the steps of a descent.
 */
#ifndef ENGINE_BTREE_NODE_H
#define ENGINE_BTREE_NODE_H

#include "engine/btree_page.h"

/*
 * A page of a tree in memory. A dirty node's parent is dirty too, so a checkpoint finds all dirty
 * nodes from the root; only the root has no parent.
 *
 * Memory: the pool's. A dead node has left the tree but still names an address to release.
 */
struct btree_node {
	struct btree_page *page; /* as the tree is now; NULL: dead */
	struct btree_node *parent;
	struct btree_node **children; /* one per slot, NULL: not in memory; of a leaf: NULL */
	struct btree_page *frozen;    /* as the running checkpoint writes it; may be `page` */
	struct btree_node *next;      /* in the checkpoint, among the dead, or free */
	struct btree *tree;           /* NULL: the node is free */
	btree_value address;          /* frozen: where to; dead: what to release */
	uint16_t index;               /* among its siblings, a guess: see node_index() */
	uint16_t resident_count;      /* children in memory */
	uint8_t run;                  /* inserts at the right edge in a row, saturating */
	bool dirty, referenced, dead;
};

_Static_assert(sizeof(struct btree_node) == 64, "one cache line");

enum {
	/*
	 * Pages that only merging takes: one for the merged page and one for a copy of the parent,
	 * since removal must not fail for lack of memory to become smaller.
	 */
	POOL_SPARE_PAGES = 2,
	/*
	 * Pages that must be neither dirty nor tables when one is loaded: else the way to a leaf
	 * and to its neighbour would not fit, and one would push out the other for ever. Without
	 * dirty pages it is always so, since an inner node has a page for its table.
	 */
	POOL_CLEAN_PAGES_MIN = 24,
	POOL_PAGES_MIN = 64, /* at least twice POOL_CLEAN_PAGES_MIN */
};

/*
 * What an inner node has besides its page, in a page of its own: its children, and the first eight
 * bytes in which its separators differ, as numbers. Most descents look at nothing else.
 */
struct btree_table {
	struct btree_node *children[PAGE_ENTRIES_MAX + 1]; /* one more while it is being split */
	uint64_t heads[PAGE_ENTRIES_MAX - 1];              /* of the slots from 1 on */
	uint16_t count, prefix_size;                       /* of the page; count: of heads */
	uint8_t shared_size; /* of what all separators go on with after the prefix */
	bool stale;          /* the page has changed since heads were made */
	uint8_t shared[26];
};

_Static_assert(sizeof(struct btree_table) == BTREE_PAGE_SIZE, "comes from the pool of pages");

static inline struct btree_table *node_table(const struct btree_node *node)
{
	return (struct btree_table *)(void *)node->children;
}

static inline void node_set_stale(struct btree_node *node)
{
	if (node->children != NULL)
		node_table(node)->stale = true;
}

/* Makes the heads anew from the page. */
void node_refresh(struct btree_node *node);
/* The child that a key belongs to, looked up in the page where heads do not tell. */
uint32_t node_child(const struct btree_node *node, struct bytes key);

/*
 * Pages that an insertion takes at most: per level both halves of a split and a table of children,
 * a root with its table, a copy.
 */
#define BTREE_CHANGE_PAGES(depth) (3 * (depth) + 3)

enum { LANDING_COUNT = 32, LANDING_KEY_MAX = 39 };

/* Where a descent that was made ahead ended: good while the tree has the same shape. */
struct btree_landing {
	const struct btree *tree;
	struct btree_node *leaf;
	uint64_t shape;
	uint8_t key_size; /* 0: empty */
	uint8_t key[LANDING_KEY_MAX];
};

_Static_assert(sizeof(struct btree_landing) == 64, "one cache line");

struct btree_pool {
	struct btree_node *nodes;
	uint8_t *pages;
	size_t map_size;
	uint64_t nodes_max, pages_max;
	uint64_t nodes_used, pages_used; /* of the arenas; what is free again is in the lists */
	struct btree_node *free_nodes;
	void *free_pages;                          /* each begins with a pointer to the next */
	uint64_t free_node_count, free_page_count; /* the untouched ones included */
	uint64_t clean_count; /* nodes that could be evicted once their children are */
	uint64_t hand;        /* of the clock, an index of nodes */
	uint32_t depth_max;   /* of all trees that there were */
	uint64_t table_count; /* pages that hold tables of children */
	uint64_t pages_dirty, evicted, loaded;
	uint64_t shapes; /* the last number given to a shape of a tree */
	uint32_t landings_set;
	struct btree_landing landings[LANDING_COUNT];
};

/*
 * Makes sure that so many pages and nodes can be taken, by evicting; never `keep`, nor what is
 * above it. False: too much is dirty.
 */
bool pool_reserve(struct btree_pool *pool, uint64_t pages, uint64_t nodes,
                  const struct btree_node *keep) __attribute__((warn_unused_result));
struct btree_page *pool_take_page(struct btree_pool *pool); /* after pool_reserve() */
void pool_give_page(struct btree_pool *pool, void *page);
/* Empty, not in the tree yet; an inner one with a table for its children. */
struct btree_node *pool_take_node(struct btree *tree, struct btree_page *page);
void pool_give_node(struct btree_pool *pool, struct btree_node *node);
/* A node with its memory; it must not be in a list. */
void node_free(struct btree_node *node);

static inline bool node_is_evictable(const struct btree_node *node)
{
	return !node->dirty && !node->dead && node->frozen == NULL && node->parent != NULL;
}

static inline void btree_set_depth(struct btree *tree, uint32_t depth)
{
	tree->depth = depth;
	if (tree->pool->depth_max < depth)
		tree->pool->depth_max = depth;
}

/* Keys may belong to other leaves now, or leaves have gone. */
static inline void btree_reshaped(struct btree *tree)
{
	tree->change_count++;
	tree->shape = ++tree->pool->shapes;
}

/* Which child of its parent a node is. */
uint32_t node_index(struct btree_node *node);
/* Puts a node in its place below its parent. */
void node_attach(struct btree_node *parent, uint32_t index, struct btree_node *child);
/* Needs to be written by the next checkpoint, and so do those above it. */
void node_mark_dirty(struct btree_node *node);
/* Whether node_change() can be called: makes sure of a page for a copy if one is needed. */
static inline bool node_may_change(const struct btree_node *node)
{
	return node->frozen != node->page || pool_reserve(node->tree->pool, 1, 0, node);
}
/* Makes the page writable and dirty: copies it if a checkpoint needs it as it is. */
void node_change(struct btree_node *node);
/* `page` becomes the node's image; the old one is given back unless a checkpoint needs it. */
void node_renew(struct btree_node *node, struct btree_page *page);
/* The node has left the tree. Its memory goes as soon as no checkpoint needs it. */
void node_kill(struct btree_node *node);
/* Where the node's keys end: false: nowhere. */
bool node_upper(struct btree_node *node, uint8_t buf[PAGE_KEY_BUF_SIZE], struct bytes *upper);

/* Remembers that a page was asked for; returns BTREE_MISS. */
enum btree_result btree_missed(struct btree *tree, const struct btree_node *parent, uint32_t index,
                               struct btree_miss *miss);
/* The leaf that a key belongs to; NULL: a page is not in memory. */
struct btree_node *btree_descend(struct btree *tree, struct bytes key, struct btree_miss *miss);

/* An entry to be put into a page. */
struct btree_insertion {
	uint32_t index;
	struct bytes key;
	btree_value value;
	struct btree_node *child; /* of an inner page */
};

/* Inserts; splits what is full, up to the root. FULL: nothing changed. */
enum btree_result btree_insert(struct btree_node *leaf, struct btree_insertion *insertion)
        __attribute__((warn_unused_result));
/* After a removal: merges the node with a neighbour in memory if that leaves room, and so on up. */
void btree_shrink(struct btree *tree, struct btree_node *node);

#endif
