/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ordered index of one partition: a B+tree of 4 KiB pages that lives in memory, is written out
 * copy-on-write by checkpoints, and gives up clean leaves when memory is short.
 *
 * Pure: it does no I/O. Where a page is not in memory it says so (BTREE_MISS), the caller reads
 * the page, hands it over with btree_load(), and asks again from the start.
 */
#ifndef ENGINE_BTREE_H
#define ENGINE_BTREE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/status.h"

enum {
	BTREE_PAGE_SIZE = 4096,
	BTREE_KEY_MAX = 1104, /* bytes: three of the largest fit a page */
	BTREE_DEPTH_MAX = 64, /* a page has room for three children with the largest keys */
};

/* Where a page or a record is on disk; 0: nowhere. The tree only stores it. */
typedef uint64_t btree_value;

/*
 * Where an entry was when it was last replaced: a guess, checked before it is used, that saves the
 * descent. 0: none. Values that name what no other entry names (locations) make it safe.
 */
typedef uint64_t btree_hint;

/*
 * Memory for pages and nodes, shared by all trees of a worker: bounded, one allocation at open.
 * Evicts with CLOCK over clean leaves. Thread: its worker's.
 */
struct btree_pool;

enum status btree_pool_open(struct btree_pool **out, size_t memory_size)
        __attribute__((warn_unused_result));
void btree_pool_close(struct btree_pool *pool); /* after its trees */

struct btree_pool_stats {
	uint64_t pages, pages_max; /* in use; there are */
	uint64_t pages_dirty;      /* not evictable until a checkpoint has written them */
	uint64_t evicted, loaded;
};
void btree_pool_stats(const struct btree_pool *pool, struct btree_pool_stats *out);
/* Whether the next `changes` insertions or removals in any of its trees cannot end with FULL. */
bool btree_pool_has_room(const struct btree_pool *pool, unsigned changes);

struct btree_node;

struct btree_checkpoint_ops;

/* Memory: its user's, from btree_init() or btree_open() to btree_fini(); it must not move. */
struct btree {
	struct btree_pool *pool;
	struct btree_node *root; /* always in memory */
	uint32_t tag;            /* the partition: written into every page, checked on load */
	uint32_t depth;          /* 1: the root is a leaf */
	uint64_t key_count;
	/* private to btree*.c */
	uint64_t change_count; /* grows when entries move or pages leave: cursors look at it */
	uint64_t shape;        /* changes when keys come to other leaves or leaves go */
	uint64_t dirty_count;
	struct btree_node *dead;   /* have left: the next checkpoint releases their addresses */
	struct btree_node *frozen; /* the checkpoint that runs */
	struct btree_node *frozen_next; /* of it, what is next to write */
	const struct btree_checkpoint_ops *ops;
	void *ops_context;
	btree_value unwanted; /* the last page that btree_load() had no place for */
	bool unwanted_missed; /* and that was asked for since */
	btree_hint last_hint;
	bool checkpointing;
};

enum btree_result {
	BTREE_OK,
	BTREE_ABSENT, /* no such key, or past the last */
	BTREE_MISS,   /* *miss names a page that must be loaded first; nothing was changed */
	BTREE_FULL,   /* no page is free and none can be evicted: checkpoint, then ask again */
};

/* A page to read: one block at `address`, for btree_load(). */
struct btree_miss {
	btree_value address;
};

/* An empty tree; its root is a new dirty leaf. NO_SPACE: the pool is full. */
enum status btree_init(struct btree *tree, struct btree_pool *pool, uint32_t tag)
        __attribute__((warn_unused_result));
/*
 * A tree whose root page was read from `address`. CORRUPT: the page is not that page; NO_SPACE: the
 * pool is full. key_count is the caller's to restore (it is stored with the checkpoint). Pages are
 * aligned to 8 bytes here and below.
 */
enum status btree_open(struct btree *tree, struct btree_pool *pool, uint32_t tag, const void *page,
                       btree_value address, uint64_t key_count) __attribute__((warn_unused_result));
void btree_fini(struct btree *tree); /* gives all pages back */

/*
 * Takes a page that was read for `address`, wherever in the tree that address is now wanted: it
 * descends by the page's own lower fence. OK also when it is in memory already or no longer wanted
 * (the tree has changed since): just ask again. CORRUPT: checksum, address, tag or fences do not
 * fit, or the tree asks for the address again and again but not where its page says it belongs (a
 * lost write that left an older page). BUSY: the pool is full.
 */
enum status btree_load(struct btree *tree, const void *page, btree_value address)
        __attribute__((warn_unused_result));

enum btree_result btree_find(struct btree *tree, struct bytes key, btree_value *value,
                             struct btree_miss *miss) __attribute__((warn_unused_result));

/* Inserts or replaces; *old is what was there, 0 if absent. On MISS and FULL nothing changed. */
enum btree_result btree_set(struct btree *tree, struct bytes key, btree_value value,
                            btree_value *old, struct btree_miss *miss)
        __attribute__((warn_unused_result));

/*
 * Replaces the value only if it is `expected`. OK: replaced; ABSENT: the key is absent or has
 * another value. For cleaners.
 */
enum btree_result btree_replace(struct btree *tree, struct bytes key, btree_value expected,
                                btree_value value, struct btree_miss *miss)
        __attribute__((warn_unused_result));

/* *old is what was there. ABSENT: nothing was. */
enum btree_result btree_remove(struct btree *tree, struct bytes key, btree_value *old,
                               struct btree_miss *miss) __attribute__((warn_unused_result));

/* What to remove: keys from `lower` on and below `upper` (of size 0: to the end). */
struct btree_range {
	struct bytes lower, upper;
	/* Told every entry that went, in key order; must not use the tree. NULL: nobody is. */
	void (*removed)(void *context, struct bytes key, btree_value value);
	void *context;
	/* Private, 0 at first: nothing is left below this key. */
	uint16_t at_size;
	uint8_t at[BTREE_KEY_MAX + 8];
};

/* Nothing of the range is left below this key. */
static inline struct bytes btree_range_place(const struct btree_range *range)
{
	return range->at_size > 0 ? bytes_of(range->at, range->at_size) : range->lower;
}

/*
 * Removes up to `limit` entries of a range, leaf by leaf. OK: there may be more, call again;
 * ABSENT: all that was in the range is gone. On MISS and FULL what was told to removed() is gone,
 * nothing else. Go on with the same range: it remembers how far it came, and what is inserted
 * behind that place in the meantime stays.
 */
enum btree_result btree_remove_range(struct btree *tree, struct btree_range *range, uint64_t limit,
                                     struct btree_miss *miss) __attribute__((warn_unused_result));

/* Of the entry that the last btree_set() of this tree replaced; 0: it inserted one. */
btree_hint btree_last_hint(const struct btree *tree);
/* Replaces the value at the hint if that is `expected`. False: nothing was changed. */
bool btree_set_hinted(struct btree *tree, btree_hint hint, btree_value expected, btree_value value);
enum { BTREE_HINT_STEPS = 4 };
/* Step 0.. of bringing near what a hint names; each needs what the one before it brought. */
void btree_prefetch_hint(const struct btree_pool *pool, btree_hint hint, unsigned step);

/*
 * Descends for what will be asked next, asks the memory for the leaf, and remembers some of these
 * descents: for batches of lookups or changes, all of them first and then each.
 */
void btree_prefetch(const struct btree *tree, struct bytes key);

/*
 * A position in the tree that survives changes: it remembers its key, and the value as it was when
 * the cursor came there. May be copied.
 */
struct btree_cursor {
	struct btree *tree;
	struct btree_node *leaf;
	uint32_t index;
	uint64_t change_count;
	uint16_t key_size;
	bool at_entry; /* else `key` is a place between two entries */
	btree_value value;
	uint8_t key[BTREE_KEY_MAX + 8]; /* a short suffix is written as a whole word */
};

/*
 * To the first entry >= key (or, with `reverse`, the last entry < key; key of size 0: the end).
 * ABSENT: none. On MISS the cursor is between two entries: load the page and go on with
 * btree_next(). (Seeking again is right too, but walks again over leaves without entries.)
 */
enum btree_result btree_seek(struct btree *tree, struct btree_cursor *cursor, struct bytes key,
                             bool reverse, struct btree_miss *miss)
        __attribute__((warn_unused_result));
/*
 * To the next entry in the direction from the one it is at (or that was there when it came).
 * ABSENT: none, the cursor stays where it was. On MISS it is between two entries: go on in the same
 * direction. An entry that is inserted while a page is waited for may be passed over.
 */
enum btree_result btree_next(struct btree_cursor *cursor, bool reverse, struct btree_miss *miss)
        __attribute__((warn_unused_result));
/* The entry under the cursor; the key is the cursor's own memory. */
struct bytes btree_cursor_key(const struct btree_cursor *cursor);
btree_value btree_cursor_value(const struct btree_cursor *cursor);

/*
 * A checkpoint of the tree as it is now. Every dirty page gets a disk address from `allocate`
 * (bottom up, in key order; 0: no space, the checkpoint is not begun), its old address is told to
 * `released`, and its image is frozen: changes after this copy the page first. Then the caller
 * takes the images with btree_checkpoint_next(), writes them, and calls btree_checkpoint_end().
 * The cost of begin is one pass over the dirty pages, no copying.
 */
struct btree_checkpoint_ops {
	btree_value (*allocate)(void *context);
	/*
	 * The tree no longer needs what is at this address once the checkpoint is durable. It may
	 * be needed by the checkpoint before until then, also if this one fails.
	 */
	void (*released)(void *context, btree_value address);
};

/*
 * *root: the address of the root page in this checkpoint (as before, if nothing was dirty). OK: the
 * checkpoint runs until btree_checkpoint_end(), and ops and context must stay until then. NO_SPACE:
 * nothing has changed, and the addresses that had been allocated were released.
 */
enum status btree_checkpoint_begin(struct btree *tree, const struct btree_checkpoint_ops *ops,
                                   void *context, btree_value *root)
        __attribute__((warn_unused_result));
/*
 * Copies the next frozen image, sealed with checksum, tag and its address, to page[4096].
 * False: there is none left.
 */
bool btree_checkpoint_next(struct btree *tree, void *page, btree_value *address);
/*
 * All images were written (ok), or writing failed: then the pages are dirty again and their new
 * addresses were released. Frozen memory is free afterwards.
 */
void btree_checkpoint_end(struct btree *tree, bool ok);

/* Whether anything would be written; how many pages. */
uint64_t btree_dirty_count(const struct btree *tree);

/*
 * Tells the address of every page that the tree has on disk, and those that its next checkpoint
 * will release. MISS: an inner page must be loaded; then ask again from the start.
 */
enum btree_result btree_visit_addresses(const struct btree *tree,
                                        void (*visit)(void *context, btree_value address),
                                        void *context, struct btree_miss *miss)
        __attribute__((warn_unused_result));

/*
 * Marks the page with this address dirty so that the next checkpoint moves it: for the cleaner of
 * index segments, which has the page's image and has checked it with btree_page_check(). ABSENT:
 * the tree as it is now does not use it (nothing to do). MISS: its parent must be loaded first, or
 * the page itself (then btree_load() says what is wrong with it). FULL: the pool is.
 */
enum btree_result btree_touch(struct btree *tree, const void *page, btree_value address,
                              struct btree_miss *miss) __attribute__((warn_unused_result));

/* Checks a page image as btree_load() does, without a tree: for weir check and fuzzers. */
enum status btree_page_check(const void *page, uint32_t tag, btree_value address)
        __attribute__((warn_unused_result));
/* The entries of a checked page, for weir check and weir dump. False: no entry `index`. */
bool btree_page_entry(const void *page, uint32_t index, uint8_t key[BTREE_KEY_MAX],
                      uint32_t *key_size, btree_value *value);
bool btree_page_is_leaf(const void *page);
/* Of any 4 KiB: the tag it would have if it were a page. */
uint32_t btree_page_tag(const void *page);

/* Walks all pages in memory and asserts the order and fences of every one. For tests. */
void btree_validate(const struct btree *tree);

#endif
