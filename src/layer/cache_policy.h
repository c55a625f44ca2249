/* SPDX-License-Identifier: Apache-2.0 */
/* Which of more keys than there is room for to keep. Pure: it moves no data. */
#ifndef LAYER_CACHE_POLICY_H
#define LAYER_CACHE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * S3FIFO: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP
 * 2023. New keys enter a small queue, a tenth of the room; those that are used again there go to
 * the main one, the others leave, and are remembered by name: who comes back soon enters the main
 * queue at once. So a scan passes through the small queue and evicts nothing that is used.
 * CLOCK, LRU: to compare with.
 */
enum cache_kind { CACHE_S3FIFO, CACHE_CLOCK, CACHE_LRU };

#define CACHE_NONE UINT32_MAX

struct cache_entry {
	uint64_t key;
	uint32_t chain;        /* the next one of the bucket, or of the free list */
	uint32_t newer, older; /* in its queue */
	uint8_t uses;          /* since it came, or was looked at last; at most 3 */
	uint8_t queue;
	bool pinned; /* not to be evicted */
	uint8_t tag; /* the caller's; 0 when it is inserted */
};

struct cache_queue {
	uint32_t newest, oldest, count;
};

struct cache_ghost {
	uint32_t mark, when; /* of the key; moment of leaving. 0: empty */
};

/* Memory: the caller's, of cache_policy_memory() bytes. Slots are 0..capacity-1. */
struct cache_policy {
	enum cache_kind kind;
	uint32_t capacity, small_max;
	uint32_t pinned_count;
	uint32_t free; /* list, by chain */
	uint32_t bucket_mask;
	uint32_t ghost_mask, ghost_clock; /* sets of GHOST_WAYS; departures so far */
	struct cache_entry *entries;
	uint32_t *buckets;
	struct cache_ghost *ghosts;
	struct cache_queue queues[2];
	uint64_t evicted; /* only grows */
};

enum { CACHE_CAPACITY_MIN = 16 };

size_t cache_policy_memory(uint32_t capacity);
void cache_policy_init(struct cache_policy *policy, enum cache_kind kind, uint32_t capacity,
                       void *memory);

/* Its slot; CACHE_NONE: it is not there. Not a use. */
uint32_t cache_find(const struct cache_policy *policy, uint64_t key);
bool cache_is_found(const struct cache_policy *policy, uint32_t slot); /* it has a key */
void cache_use(struct cache_policy *policy, uint32_t slot);

/* A slot for a key that is not there, of another one when all are taken. CACHE_NONE: all that are
 * looked at are pinned. */
uint32_t cache_insert(struct cache_policy *policy, uint64_t key);
void cache_remove(struct cache_policy *policy, uint32_t slot); /* not pinned */

void cache_pin(struct cache_policy *policy, uint32_t slot);
void cache_unpin(struct cache_policy *policy, uint32_t slot);

/* Its key is found no more, and may be inserted anew; the slot stays taken, pinned, until
 * cache_unpin() and cache_remove(). */
void cache_hide(struct cache_policy *policy, uint32_t slot);

#endif
