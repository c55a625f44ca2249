/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/cache_policy.h"

#include <string.h>

#include "base/assert.h"
#include "base/macros.h"

enum { MAIN, SMALL, NOWHERE };
enum { USES_MAX = 3, GHOST_WAYS = 4, LOOKED_AT_MAX = 64, HIDDEN = 1 << 7 };

static uint64_t mix(uint64_t key)
{
	key ^= key >> 31;
	key *= 0x9e3779b97f4a7c15ull;
	return key ^ key >> 29;
}

static uint32_t power_of_two(uint32_t least)
{
	uint32_t n = 1;

	while (n < least)
		n *= 2;
	return n;
}

static uint32_t ghost_sets(uint32_t capacity)
{
	return power_of_two((capacity + GHOST_WAYS - 1) / GHOST_WAYS);
}

size_t cache_policy_memory(uint32_t capacity)
{
	assert(capacity >= CACHE_CAPACITY_MIN && capacity <= 1u << 30);
	return (size_t)capacity * sizeof(struct cache_entry) +
	       (size_t)ghost_sets(capacity) * GHOST_WAYS * sizeof(struct cache_ghost) +
	       (size_t)power_of_two(capacity) * sizeof(uint32_t);
}

void cache_policy_init(struct cache_policy *policy, enum cache_kind kind, uint32_t capacity,
                       void *memory)
{
	uint8_t *at = memory;

	*policy = (struct cache_policy){ .kind = kind, .capacity = capacity };
	policy->small_max = capacity / 10;
	policy->bucket_mask = power_of_two(capacity) - 1;
	policy->ghost_mask = ghost_sets(capacity) - 1;
	policy->entries = (void *)at;
	at += (size_t)capacity * sizeof(struct cache_entry);
	policy->ghosts = (void *)at;
	at += (size_t)(policy->ghost_mask + 1) * GHOST_WAYS * sizeof(struct cache_ghost);
	policy->buckets = (void *)at;
	memset(policy->ghosts, 0,
	       (size_t)(policy->ghost_mask + 1) * GHOST_WAYS * sizeof(struct cache_ghost));
	memset(policy->buckets, 0xff, ((size_t)policy->bucket_mask + 1) * sizeof(uint32_t));
	for (uint32_t i = 0; i < capacity; i++) {
		policy->entries[i].queue = NOWHERE;
		policy->entries[i].chain = i + 1 < capacity ? i + 1 : CACHE_NONE;
	}
	for (unsigned i = 0; i < 2; i++)
		policy->queues[i] = (struct cache_queue){ CACHE_NONE, CACHE_NONE, 0 };
}

/* Queues. */

static void enqueue(struct cache_policy *policy, uint32_t slot, unsigned which)
{
	struct cache_entry *entry = &policy->entries[slot];
	struct cache_queue *queue = &policy->queues[which];

	entry->queue = (uint8_t)which;
	entry->older = queue->newest;
	entry->newer = CACHE_NONE;
	if (queue->newest != CACHE_NONE)
		policy->entries[queue->newest].newer = slot;
	else
		queue->oldest = slot;
	queue->newest = slot;
	queue->count++;
}

static void dequeue(struct cache_policy *policy, uint32_t slot)
{
	struct cache_entry *entry = &policy->entries[slot];
	struct cache_queue *queue = &policy->queues[entry->queue];

	assert(entry->queue != NOWHERE && queue->count > 0);
	if (entry->newer != CACHE_NONE)
		policy->entries[entry->newer].older = entry->older;
	else
		queue->newest = entry->older;
	if (entry->older != CACHE_NONE)
		policy->entries[entry->older].newer = entry->newer;
	else
		queue->oldest = entry->newer;
	queue->count--;
	entry->queue = NOWHERE;
}

/* The table of keys. */

static uint32_t *bucket_of(const struct cache_policy *policy, uint64_t key)
{
	return &policy->buckets[mix(key) >> 32 & policy->bucket_mask];
}

uint32_t cache_find(const struct cache_policy *policy, uint64_t key)
{
	uint32_t slot = *bucket_of(policy, key);

	while (slot != CACHE_NONE && policy->entries[slot].key != key)
		slot = policy->entries[slot].chain;
	return slot;
}

bool cache_is_found(const struct cache_policy *policy, uint32_t slot)
{
	const struct cache_entry *entry = &policy->entries[slot];

	assert(slot < policy->capacity);
	return entry->queue != NOWHERE && !(entry->uses & HIDDEN);
}

static void unlink_key(struct cache_policy *policy, uint32_t slot)
{
	uint32_t *at = bucket_of(policy, policy->entries[slot].key);

	while (*at != slot) {
		assert(*at != CACHE_NONE);
		at = &policy->entries[*at].chain;
	}
	*at = policy->entries[slot].chain;
}

/* Keys that have left: sets of a few, each with the moment; what is older than the main queue is
 * long does not count. */

static struct cache_ghost *ghost_set(const struct cache_policy *policy, uint64_t key,
                                     uint32_t *mark)
{
	uint64_t hash = mix(key);

	*mark = (uint32_t)hash | 1;
	return &policy->ghosts[(hash >> 33 & policy->ghost_mask) * GHOST_WAYS];
}

static void ghost_add(struct cache_policy *policy, uint64_t key)
{
	uint32_t mark;
	struct cache_ghost *set = ghost_set(policy, key, &mark), *oldest = set;

	policy->ghost_clock++;
	for (unsigned i = 1; i < GHOST_WAYS; i++) {
		if (set[i].mark == 0 ||
		    policy->ghost_clock - set[i].when > policy->ghost_clock - oldest->when)
			oldest = &set[i];
	}
	*oldest = (struct cache_ghost){ .mark = mark, .when = policy->ghost_clock };
}

static bool ghost_take(struct cache_policy *policy, uint64_t key)
{
	uint32_t mark;
	struct cache_ghost *set = ghost_set(policy, key, &mark);

	for (unsigned i = 0; i < GHOST_WAYS; i++) {
		if (set[i].mark != mark)
			continue;
		set[i].mark = 0;
		return policy->ghost_clock - set[i].when <= policy->capacity - policy->small_max;
	}
	return false;
}

/* Eviction. */

static void let_go(struct cache_policy *policy, uint32_t slot)
{
	dequeue(policy, slot);
	unlink_key(policy, slot);
	policy->entries[slot].chain = policy->free;
	policy->free = slot;
}

/* One look at the oldest of the queue: true, it went. */
static bool evict_small(struct cache_policy *policy)
{
	uint32_t slot = policy->queues[SMALL].oldest;
	struct cache_entry *entry = &policy->entries[slot];

	if (entry->pinned || entry->uses > 1) {
		dequeue(policy, slot);
		enqueue(policy, slot, entry->pinned ? SMALL : MAIN);
		entry->uses = entry->pinned ? entry->uses : 0;
		return false;
	}
	ghost_add(policy, entry->key);
	let_go(policy, slot);
	return true;
}

static bool evict_main(struct cache_policy *policy)
{
	uint32_t slot = policy->queues[MAIN].oldest;
	struct cache_entry *entry = &policy->entries[slot];

	if (entry->pinned || (entry->uses > 0 && policy->kind != CACHE_LRU)) {
		dequeue(policy, slot);
		enqueue(policy, slot, MAIN);
		entry->uses -= !entry->pinned;
		return false;
	}
	let_go(policy, slot);
	return true;
}

static bool evict(struct cache_policy *policy)
{
	/* At most USES_MAX passes over what is used, but a bounded look at what is pinned. */
	uint64_t looks = (uint64_t)(USES_MAX + 1) * policy->capacity + LOOKED_AT_MAX;

	if (policy->pinned_count >= policy->capacity)
		return false;
	while (looks-- > 0) {
		bool small = policy->queues[SMALL].count > 0 &&
		             (policy->queues[SMALL].count > policy->small_max ||
		              policy->queues[MAIN].count == 0);

		if (small ? evict_small(policy) : evict_main(policy)) {
			policy->evicted++;
			return true;
		}
	}
	return false;
}

void cache_use(struct cache_policy *policy, uint32_t slot)
{
	struct cache_entry *entry = &policy->entries[slot];

	assert(slot < policy->capacity && entry->queue != NOWHERE);
	if (policy->kind == CACHE_LRU) {
		dequeue(policy, slot);
		enqueue(policy, slot, MAIN);
		return;
	}
	if (entry->uses < (policy->kind == CACHE_CLOCK ? 1 : USES_MAX))
		entry->uses++;
}

uint32_t cache_insert(struct cache_policy *policy, uint64_t key)
{
	uint32_t slot, *bucket;
	bool known = false;

	assert_slow(cache_find(policy, key) == CACHE_NONE);
	if (policy->kind == CACHE_S3FIFO)
		known = ghost_take(policy, key);
	if (policy->free == CACHE_NONE && !evict(policy))
		return CACHE_NONE;
	slot = policy->free;
	policy->free = policy->entries[slot].chain;
	bucket = bucket_of(policy, key);
	policy->entries[slot] = (struct cache_entry){ .key = key, .chain = *bucket };
	*bucket = slot;
	enqueue(policy, slot, policy->kind == CACHE_S3FIFO && !known ? SMALL : MAIN);
	return slot;
}

void cache_remove(struct cache_policy *policy, uint32_t slot)
{
	struct cache_entry *entry = &policy->entries[slot];

	assert(slot < policy->capacity && !entry->pinned);
	dequeue(policy, slot);
	if (!(entry->uses & HIDDEN))
		unlink_key(policy, slot);
	entry->chain = policy->free;
	policy->free = slot;
}

void cache_pin(struct cache_policy *policy, uint32_t slot)
{
	assert(!policy->entries[slot].pinned);
	policy->entries[slot].pinned = true;
	policy->pinned_count++;
}

void cache_unpin(struct cache_policy *policy, uint32_t slot)
{
	assert(policy->entries[slot].pinned && policy->pinned_count > 0);
	policy->entries[slot].pinned = false;
	policy->pinned_count--;
}

void cache_hide(struct cache_policy *policy, uint32_t slot)
{
	struct cache_entry *entry = &policy->entries[slot];

	assert(entry->pinned && !(entry->uses & HIDDEN));
	unlink_key(policy, slot);
	entry->uses |= HIDDEN;
}
