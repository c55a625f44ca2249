/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree of the index, a disk of pages for it, and a model of what it should hold: for tests that
 * change it, write it out, lose power and look.
 */
#ifndef TESTS_BTREE_RIG_H
#define TESTS_BTREE_RIG_H

#include "engine/btree_node.h"

/* A disk of pages; an address is free, used, or used until the next checkpoint is durable. */
enum { STORE_PAGES_MAX = 1 << 15 };

enum place_state { PLACE_FREE, PLACE_USED, PLACE_RELEASED };

struct store {
	uint8_t *pages; /* of address i + 1 */
	enum place_state states[STORE_PAGES_MAX];
	uint32_t free[STORE_PAGES_MAX]; /* a stack */
	uint32_t free_count, used_count;
	uint32_t allocate_max; /* then allocate() says no */
};

/* A universe of keys in order; the model of a tree is a value per key, 0: absent. */
enum { KEYS_MAX = 4096, CURSORS = 4 };

struct model {
	uint8_t (*data)[BTREE_KEY_MAX];
	struct bytes keys[KEYS_MAX];
	uint32_t key_count;
	btree_value values[KEYS_MAX];
	uint64_t count;
};

/* A tree, what it should hold, and what the disk holds. */
struct rig {
	struct model model;
	struct btree_pool *pool;
	struct btree tree;
	struct store *store;
	btree_value root, root_begun; /* durable; of the checkpoint that runs */
	btree_value durable[KEYS_MAX], begun[KEYS_MAX];
	uint64_t durable_count, begun_count;
	struct btree_cursor cursors[CURSORS];
	uint32_t cursor_rank[CURSORS]; /* KEYS_MAX: not positioned */
	uint64_t value_next;
	uint64_t misses, fulls, busies, checkpoints, failures, crashes;
	uint32_t removed_next, removed_end; /* of the range removal under way */
	uint64_t removed_count;
};

uint32_t rig_random(uint32_t bound); /* 0..bound-1, from the seed of rig_open() */

/* `kinds`: a bit per kind of key. `pages`: of memory. */
struct rig *rig_open(uint64_t seed, uint32_t keys, unsigned kinds, uint32_t pages);
void rig_close(struct rig *rig);

/* The next present key from `from` on; the last before `end`: UINT32_MAX if none. */
uint32_t model_next(const struct model *model, uint32_t from);
uint32_t model_before(const struct model *model, uint32_t end);

void *rig_page(struct rig *rig, btree_value address);

/* False: no space. */
bool rig_checkpoint_begin(struct rig *rig);
/* Writes a page; false: all are written. */
bool rig_checkpoint_step(struct rig *rig);
void rig_checkpoint_end(struct rig *rig, bool ok);
/* Ends one that runs, and makes another: all pages are clean then. */
void rig_checkpoint_whole(struct rig *rig);

/* A whole checkpoint of a tree that is not the rig's own. */
void rig_write_tree(struct rig *rig, struct btree *tree);

/* Does what a result other than OK and ABSENT asks for. False: the result is final. */
bool rig_again(struct rig *rig, enum btree_result result, const struct btree_miss *miss);
/* Power is lost: what is on disk must be the tree as it was when the last checkpoint began. */
void rig_crash(struct rig *rig);
/* After a whole checkpoint the disk holds the pages of the tree and nothing else. */
void rig_check_leaks(struct rig *rig);

#endif
