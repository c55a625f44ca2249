/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/record_cache.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/macros.h"

enum {
	UNIT = 16, /* bytes: entries start at multiples of it */
	/* Arena bytes per slot. Entries are 64 bytes at least, so few caches are short of slots. */
	SLOT_SHARE = 80,
	LOAD_PERCENT_MAX = 80, /* of slots: beyond this entries go although there is room */
	RESERVE_SHARE = 8,     /* of the arena is kept free between turns */
	RESERVE_MAX = 8 << 20,
	TURN_ENTRIES_MAX = 2048, /* looked at in one turn */
	/* Second chances in a turn: so many bytes, and twice what was freed. */
	CHANCE_SIZE = 64 << 10,
	CLEAR_PREFIX_MAX = 16,
	CLEARS_MAX = 8,           /* that are not done entry by entry */
	CLEAR_NOW_SIZE = 1 << 20, /* a cache that holds no more is cleared at once */
	HUGE_PAGE_SIZE = 2 << 20,
};

enum entry_state { ENTRY_LIVE = 1, ENTRY_REFERENCED = 2, ENTRY_DEAD = 3, ENTRY_FILLER = 4 };

/*
 * A slot: its distance from the home slot of its hash (6 bits, saturating), 10 bits of the hash,
 * and the place of the entry in the arena, in units from 1 on; 0: empty. With the distance a slot
 * can be moved without a look at its entry, and it tells keys of other homes apart.
 */
enum { DISTANCE_MAX = 63, TAG_BITS = 10, PLACE_BITS = 48 };

#define PLACE_MASK ((1ull << PLACE_BITS) - 1)
#define DISTANCE_SHIFT (PLACE_BITS + TAG_BITS)

/* Keys that begin with the prefix are gone, in all entries before `end`. */
struct clear {
	uint64_t end; /* as head */
	uint8_t prefix[CLEAR_PREFIX_MAX];
	uint8_t prefix_size;
};

/* head and tail grow for ever; what they count is at arena[offset % size]. */
struct record_cache {
	uint8_t *arena;
	uint64_t *slots;
	uint64_t size, reserve; /* bytes of the arena; kept free */
	uint64_t slot_count, entries_max;
	uint64_t head, tail; /* where the next entry goes; the oldest */
	uint64_t map_size;
	uint64_t entries;                /* in slots */
	struct clear clears[CLEARS_MAX]; /* oldest first */
	unsigned clear_count;
	struct record_cache_stats stats;
};

static uint64_t home_of(const struct record_cache *cache, uint64_t hash)
{
	return ((hash >> 32) * cache->slot_count) >> 32;
}

static uint64_t next_slot(const struct record_cache *cache, uint64_t i)
{
	return i + 1 < cache->slot_count ? i + 1 : 0;
}

/* What a slot for this hash must hold above the place, so far from home. */
static uint64_t slot_mark(uint64_t hash, uint64_t distance)
{
	uint64_t tag = hash & ((1u << TAG_BITS) - 1); /* the home is made of the upper bits */

	return (distance < DISTANCE_MAX ? distance : DISTANCE_MAX) << DISTANCE_SHIFT |
	       tag << PLACE_BITS;
}

static struct record_cache_entry *slot_entry(const struct record_cache *cache, uint64_t slot)
{
	return (void *)(cache->arena + ((slot & PLACE_MASK) - 1) * UNIT);
}

static struct record_cache_entry *entry_at(const struct record_cache *cache, uint64_t offset)
{
	return (void *)(cache->arena + offset % cache->size);
}

static uint64_t place_of(const struct record_cache *cache, const struct record_cache_entry *entry)
{
	return (uint64_t)((const uint8_t *)entry - cache->arena) / UNIT + 1;
}

static size_t entry_size(size_t key_size, size_t value_size)
{
	return align_up(sizeof(struct record_cache_entry) + key_size + value_size, UNIT);
}

enum status record_cache_open(struct record_cache **out, size_t memory_size)
{
	struct record_cache *cache = calloc(1, sizeof(*cache));
	void *map;

	assert(memory_size >= 64 << 10);
	assert(memory_size / (SLOT_SHARE + sizeof(uint64_t)) <= UINT32_MAX); /* see home_of() */
	if (cache == NULL)
		return STATUS_NO_SPACE;
	cache->slot_count = memory_size / (SLOT_SHARE + sizeof(uint64_t));
	cache->entries_max = cache->slot_count / 100 * LOAD_PERCENT_MAX;
	cache->size = (memory_size - cache->slot_count * sizeof(uint64_t)) & ~(uint64_t)4095;
	cache->reserve = cache->size / RESERVE_SHARE;
	if (cache->reserve > RESERVE_MAX)
		cache->reserve = RESERVE_MAX;
	cache->map_size =
	        align_up(cache->size, HUGE_PAGE_SIZE) + cache->slot_count * sizeof(uint64_t);
	/* Address space only: memory comes as it is touched. */
	map = mmap(NULL, cache->map_size, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		free(cache);
		return STATUS_NO_SPACE;
	}
	if (cache->map_size >= 2 * HUGE_PAGE_SIZE)
		(void)madvise(map, cache->map_size, MADV_HUGEPAGE); /* only a hint */
	cache->arena = map;
	cache->slots = (void *)(cache->arena + align_up(cache->size, HUGE_PAGE_SIZE));
	*out = cache;
	return STATUS_OK;
}

void record_cache_close(struct record_cache *cache)
{
	munmap(cache->arena, cache->map_size);
	free(cache);
}

static bool entry_is(const struct record_cache_entry *entry, uint64_t hash, struct bytes key)
{
	return entry->hash == hash && entry->key_size == key.size &&
	       memcmp(entry->data, key.data, key.size) == 0;
}

/*
 * The index of the slot that names the key, or of the empty one where the search ended; *distance
 * from its home. There is always an empty slot: see entries_max.
 */
static uint64_t probe(const struct record_cache *cache, uint64_t hash, struct bytes key,
                      uint64_t *distance)
{
	uint64_t i = home_of(cache, hash);

	assert(cache->entries < cache->slot_count); /* else: the search does not end */
	for (*distance = 0;; i = next_slot(cache, i), ++*distance) {
		uint64_t slot = cache->slots[i];

		if (slot == 0)
			return i;
		if (((slot ^ slot_mark(hash, *distance)) & ~PLACE_MASK) == 0 &&
		    entry_is(slot_entry(cache, slot), hash, key))
			return i;
	}
}

static uint64_t slot_distance(const struct record_cache *cache, uint64_t i)
{
	uint64_t distance = cache->slots[i] >> DISTANCE_SHIFT, home;

	if (distance < DISTANCE_MAX)
		return distance;
	home = home_of(cache, slot_entry(cache, cache->slots[i])->hash);
	return i >= home ? i - home : i + cache->slot_count - home;
}

/* Closes the gap, so that searches never meet tombstones. */
static void slot_remove(struct record_cache *cache, uint64_t i)
{
	uint64_t next = i, gap = 0;

	assert(cache->entries > 0);
	for (;;) {
		uint64_t slot, distance;

		next = next_slot(cache, next);
		gap++;
		slot = cache->slots[next];
		if (slot == 0)
			break;
		distance = slot_distance(cache, next);
		if (distance < gap) /* else: it would lie before its home */
			continue;
		distance -= gap;
		slot &= (1ull << DISTANCE_SHIFT) - 1;
		cache->slots[i] = slot | (distance < DISTANCE_MAX ? distance : DISTANCE_MAX)
		                                 << DISTANCE_SHIFT;
		i = next;
		gap = 0;
	}
	cache->slots[i] = 0;
	cache->entries--;
}

/* Where an entry that is in the ring is, counted as head and tail are. */
static uint64_t offset_of(const struct record_cache *cache, const struct record_cache_entry *entry)
{
	uint64_t at = (uint64_t)((const uint8_t *)entry - cache->arena);
	uint64_t tail = cache->tail % cache->size;

	return cache->tail + (at >= tail ? at - tail : at + cache->size - tail);
}

static bool has_prefix(const struct record_cache_entry *entry, struct bytes prefix)
{
	return entry->key_size >= prefix.size &&
	       (prefix.size == 0 || memcmp(entry->data, prefix.data, prefix.size) == 0);
}

/* Whether the entry was there when its prefix was cleared. */
static bool is_cleared(const struct record_cache *cache, const struct record_cache_entry *entry)
{
	for (unsigned i = 0; i < cache->clear_count; i++) {
		const struct clear *clear = &cache->clears[i];

		if (has_prefix(entry, bytes_of(clear->prefix, clear->prefix_size)) &&
		    offset_of(cache, entry) < clear->end)
			return true;
	}
	return false;
}

const struct record_cache_entry *record_cache_find(struct record_cache *cache, uint64_t hash,
                                                   struct bytes key)
{
	uint64_t distance;
	uint64_t slot = cache->slots[probe(cache, hash, key, &distance)];
	struct record_cache_entry *entry;

	if (slot == 0 || is_cleared(cache, slot_entry(cache, slot))) {
		cache->stats.misses++;
		return NULL;
	}
	entry = slot_entry(cache, slot);
	if (entry->state == ENTRY_LIVE) /* a write only when it changes something */
		entry->state = ENTRY_REFERENCED;
	cache->stats.hits++;
	return entry;
}

static uint64_t room(const struct record_cache *cache)
{
	assert(cache->tail <= cache->head && cache->head - cache->tail <= cache->size);
	return cache->size - (cache->head - cache->tail);
}

/* Contiguous bytes at the head; NULL: there is no room. */
static struct record_cache_entry *take(struct record_cache *cache, size_t size)
{
	uint64_t until_end = cache->size - cache->head % cache->size;
	struct record_cache_entry *entry;

	if (until_end < size) {
		if (room(cache) < until_end + size)
			return NULL;
		if (until_end >= sizeof(*entry))
			entry_at(cache, cache->head)->state = ENTRY_FILLER;
		cache->head += until_end;
	} else if (room(cache) < size) {
		return NULL;
	}
	entry = entry_at(cache, cache->head);
	cache->head += size;
	assert(cache->head - cache->tail <= cache->size);
	assert((uint8_t *)entry + size <= cache->arena + cache->size);
	return entry;
}

/* Key and value may lie in the entry itself: they are moved, the rest is set after. */
static void fill(struct record_cache_entry *entry, uint64_t hash,
                 const struct record_cache_entry *from, struct bytes key, struct bytes value)
{
	if (value.size > 0)
		memmove(entry->data + key.size, value.data, value.size);
	memmove(entry->data, key.data, key.size);
	entry->hash = hash;
	entry->version = from->version;
	entry->expires_ms = from->expires_ms;
	entry->lsn = from->lsn;
	entry->location = from->location;
	entry->hint = from->hint;
	entry->value_size = (uint32_t)value.size;
	entry->key_size = (uint16_t)key.size;
	entry->flags = from->flags;
	entry->state = ENTRY_LIVE;
}

bool record_cache_insert(struct record_cache *cache, uint64_t hash,
                         const struct record_cache_entry *from, struct bytes key,
                         struct bytes value)
{
	size_t size = entry_size(key.size, value.size);
	uint64_t distance;
	uint64_t i = probe(cache, hash, key, &distance);
	struct record_cache_entry *old = NULL, *entry = NULL;

	assert(key.size > 0);
	assert(key.size <= UINT16_MAX);
	assert(value.size <= UINT32_MAX);
	if (cache->slots[i] != 0)
		old = slot_entry(cache, cache->slots[i]);
	if (old != NULL && entry_size(old->key_size, old->value_size) == size &&
	    !is_cleared(cache, old)) {
		/* In its place: a key that is written often takes no more room than another. */
		fill(old, hash, from, key, value);
		cache->stats.inserted++;
		return true;
	}
	if (old != NULL || cache->entries < cache->entries_max)
		entry = take(cache, size);
	if (entry == NULL) {
		cache->stats.refused++;
		return false;
	}
	fill(entry, hash, from, key, value);
	if (old != NULL)
		old->state = ENTRY_DEAD;
	else
		cache->entries++;
	assert(cache->entries <= cache->entries_max);
	assert(place_of(cache, entry) <= PLACE_MASK);
	cache->slots[i] = slot_mark(hash, distance) | place_of(cache, entry);
	cache->stats.inserted++;
	return true;
}

void record_cache_remove(struct record_cache *cache, uint64_t hash, struct bytes key)
{
	uint64_t distance;
	uint64_t i = probe(cache, hash, key, &distance);

	if (cache->slots[i] == 0)
		return;
	slot_entry(cache, cache->slots[i])->state = ENTRY_DEAD;
	slot_remove(cache, i);
}

void record_cache_moved(struct record_cache *cache, uint64_t hash, struct bytes key, uint64_t from,
                        uint64_t to)
{
	uint64_t distance;
	uint64_t slot = cache->slots[probe(cache, hash, key, &distance)];

	if (slot != 0 && slot_entry(cache, slot)->location == from)
		slot_entry(cache, slot)->location = to;
}

/* Bytes of what is at an offset; *entry is NULL where the end of the arena was skipped. */
static size_t step_at(const struct record_cache *cache, uint64_t offset,
                      struct record_cache_entry **entry)
{
	uint64_t until_end = cache->size - offset % cache->size;

	*entry = NULL;
	if (until_end < sizeof(struct record_cache_entry))
		return until_end;
	*entry = entry_at(cache, offset);
	if ((*entry)->state != ENTRY_FILLER)
		return entry_size((*entry)->key_size, (*entry)->value_size);
	*entry = NULL;
	return until_end;
}

static void clear_now(struct record_cache *cache, struct bytes prefix)
{
	uint64_t offset = cache->tail;

	while (offset < cache->head) {
		struct record_cache_entry *entry;

		offset += step_at(cache, offset, &entry);
		if (entry != NULL && entry->state != ENTRY_DEAD && has_prefix(entry, prefix))
			record_cache_remove(cache, entry->hash,
			                    bytes_of(entry->data, entry->key_size));
	}
}

/* A clear is remembered until all entries that it is about have been reclaimed. */
void record_cache_clear(struct record_cache *cache, struct bytes prefix)
{
	struct clear *clear;

	for (unsigned i = 0; i < cache->clear_count; i++) { /* the same again: it reaches further */
		clear = &cache->clears[i];
		if (bytes_equal(prefix, bytes_of(clear->prefix, clear->prefix_size))) {
			clear->end = cache->head;
			return;
		}
	}
	if (cache->head - cache->tail <= CLEAR_NOW_SIZE || cache->clear_count == CLEARS_MAX ||
	    prefix.size > CLEAR_PREFIX_MAX) {
		clear_now(cache, prefix);
		return;
	}
	clear = &cache->clears[cache->clear_count++];
	clear->end = cache->head;
	clear->prefix_size = (uint8_t)prefix.size;
	if (prefix.size > 0)
		memcpy(clear->prefix, prefix.data, prefix.size);
}

static void forget_clears(struct record_cache *cache)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cache->clear_count; i++) {
		if (cache->clears[i].end > cache->tail)
			cache->clears[kept++] = cache->clears[i];
	}
	cache->clear_count = kept;
}

void record_cache_prefetch_slot(const struct record_cache *cache, uint64_t hash)
{
	__builtin_prefetch(&cache->slots[home_of(cache, hash)]);
}

const struct record_cache_entry *record_cache_guess(const struct record_cache *cache, uint64_t hash)
{
	uint64_t i = home_of(cache, hash);

	for (uint64_t distance = 0; distance < 8; distance++, i = next_slot(cache, i)) {
		uint64_t slot = cache->slots[i];

		if (slot == 0)
			return NULL;
		if (((slot ^ slot_mark(hash, distance)) & ~PLACE_MASK) == 0)
			return slot_entry(cache, slot);
	}
	return NULL;
}

void record_cache_prefetch_entry(const struct record_cache *cache, uint64_t hash)
{
	const uint8_t *entry = (const uint8_t *)record_cache_guess(cache, hash);

	if (entry == NULL)
		return;
	/* The header, the key and a short value. */
	__builtin_prefetch(entry);
	__builtin_prefetch(entry + 64);
	__builtin_prefetch(entry + 128);
}

/* The slot of an entry that is live. */
static uint64_t slot_of(const struct record_cache *cache, const struct record_cache_entry *entry)
{
	uint64_t distance, i;

	i = probe(cache, entry->hash, bytes_of(entry->data, entry->key_size), &distance);
	assert(slot_entry(cache, cache->slots[i]) == entry);
	return i;
}

/* Puts a copy of the oldest entry at the head. False: there is no room for it. */
static bool give_chance(struct record_cache *cache, const struct record_cache_entry *entry,
                        size_t size)
{
	struct record_cache_entry *copy = take(cache, size);
	uint64_t i;

	if (copy == NULL)
		return false;
	assert(copy != entry);
	i = slot_of(cache, entry);
	memcpy(copy, entry, size);
	copy->state = ENTRY_LIVE;
	cache->slots[i] = (cache->slots[i] & ~PLACE_MASK) | place_of(cache, copy);
	return true;
}

/* Bytes of a turn. */
struct reclaimed {
	uint64_t freed, copied;
};

/* Takes the oldest entry out; false: it must stay. */
static bool reclaim(struct record_cache *cache, uint64_t durable_lsn, struct reclaimed *reclaimed)
{
	struct record_cache_entry *entry;
	size_t size = step_at(cache, cache->tail, &entry);

	if (entry != NULL && entry->state != ENTRY_DEAD) {
		if (entry->lsn > durable_lsn)
			return false;
		if (entry->state == ENTRY_REFERENCED && entry->location != 0 &&
		    reclaimed->copied < CHANCE_SIZE + 2 * reclaimed->freed &&
		    !is_cleared(cache, entry) && give_chance(cache, entry, size)) {
			reclaimed->copied += size;
			cache->tail += size;
			return true;
		}
		slot_remove(cache, slot_of(cache, entry));
		cache->stats.evicted++;
	}
	cache->tail += size;
	assert(cache->tail <= cache->head);
	reclaimed->freed += size;
	return true;
}

void record_cache_turn(struct record_cache *cache, uint64_t durable_lsn)
{
	struct reclaimed reclaimed = { 0 };

	for (unsigned i = 0; i < TURN_ENTRIES_MAX && cache->tail < cache->head; i++) {
		bool crowded = cache->entries >= cache->entries_max / 16 * 15;

		if (room(cache) >= cache->reserve && !crowded)
			break;
		if (!reclaim(cache, durable_lsn, &reclaimed))
			break;
	}
	forget_clears(cache);
}

void record_cache_stats(const struct record_cache *cache, struct record_cache_stats *out)
{
	*out = cache->stats;
	out->entries = cache->entries;
	out->bytes = cache->head - cache->tail;
	out->bytes_max = cache->size;
}
