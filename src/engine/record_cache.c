/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/record_cache.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/macros.h"

enum {
	UNIT = 16,              /* bytes: entries start at multiples of it */
	ENTRY_SIZE_GUESS = 128, /* for the number of slots */
	RESERVE_SHARE = 8,      /* of the arena is kept free between turns */
	RESERVE_MAX = 8 << 20,
	TURN_ENTRIES_MAX = 4096, /* looked at in one turn */
};

enum entry_state { ENTRY_LIVE = 1, ENTRY_REFERENCED = 2, ENTRY_DEAD = 3, ENTRY_FILLER = 4 };

/*
 * Offsets grow for ever; an entry is at arena[offset % size]. So a slot names an entry without
 * doubt, and offset 0 is never used. A slot: 16 bits of the hash, 48 bits of offset / UNIT.
 */
struct record_cache {
	uint8_t *arena;
	uint64_t *slots;
	uint64_t size, reserve; /* bytes */
	uint64_t slot_mask;
	uint64_t head, tail; /* offsets: where the next goes, the oldest */
	uint64_t entries;    /* in slots */
	struct record_cache_stats stats;
};

#define SLOT_OFFSET_MASK ((1ull << 48) - 1)

static uint64_t slot_make(uint64_t hash, uint64_t offset)
{
	return (hash & ~SLOT_OFFSET_MASK) | offset / UNIT;
}

static struct record_cache_entry *entry_at(const struct record_cache *cache, uint64_t offset)
{
	return (struct record_cache_entry *)(void *)(cache->arena + offset % cache->size);
}

static struct record_cache_entry *slot_entry(const struct record_cache *cache, uint64_t slot)
{
	return entry_at(cache, (slot & SLOT_OFFSET_MASK) * UNIT);
}

static size_t entry_size(size_t key_size, size_t value_size)
{
	return align_up(sizeof(struct record_cache_entry) + key_size + value_size, UNIT);
}

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, size, MADV_HUGEPAGE); /* a wish: one miss less for every cold entry */
	return memory;
}

enum status record_cache_open(struct record_cache **out, size_t memory_size)
{
	struct record_cache *cache = calloc(1, sizeof(*cache));
	uint64_t slots = 1024;

	assert(memory_size >= 64 << 10);
	if (cache == NULL)
		return STATUS_NO_SPACE;
	while (slots * 2 * (ENTRY_SIZE_GUESS + sizeof(uint64_t)) <= memory_size)
		slots *= 2;
	cache->slot_mask = slots - 1;
	cache->size = (memory_size - slots * sizeof(uint64_t)) & ~(uint64_t)4095;
	cache->reserve = cache->size / RESERVE_SHARE;
	if (cache->reserve > RESERVE_MAX)
		cache->reserve = RESERVE_MAX;
	cache->head = cache->tail = cache->size; /* so that no entry has offset 0 */
	cache->arena = map(cache->size);
	cache->slots = map(slots * sizeof(uint64_t));
	if (cache->arena == NULL || cache->slots == NULL) {
		record_cache_close(cache);
		return STATUS_NO_SPACE;
	}
	*out = cache;
	return STATUS_OK;
}

void record_cache_close(struct record_cache *cache)
{
	if (cache->arena != NULL)
		munmap(cache->arena, cache->size);
	if (cache->slots != NULL)
		munmap(cache->slots, (cache->slot_mask + 1) * sizeof(uint64_t));
	free(cache);
}

static bool entry_is(const struct record_cache_entry *entry, uint64_t hash, struct bytes key)
{
	return entry->hash == hash && entry->key_size == key.size &&
	       memcmp(entry->data, key.data, key.size) == 0;
}

/* The index of the slot that names the key, or of the empty one where the search ended. */
static uint64_t probe(const struct record_cache *cache, uint64_t hash, struct bytes key)
{
	uint64_t i = hash & cache->slot_mask;

	for (;; i = (i + 1) & cache->slot_mask) {
		uint64_t slot = cache->slots[i];

		if (slot == 0)
			return i;
		if (((slot ^ hash) & ~SLOT_OFFSET_MASK) == 0 &&
		    entry_is(slot_entry(cache, slot), hash, key))
			return i;
	}
}

const struct record_cache_entry *record_cache_find(struct record_cache *cache, uint64_t hash,
                                                   struct bytes key)
{
	uint64_t slot = cache->slots[probe(cache, hash, key)];
	struct record_cache_entry *entry;

	if (slot == 0) {
		cache->stats.misses++;
		return NULL;
	}
	entry = slot_entry(cache, slot);
	if (entry->state == ENTRY_LIVE) /* a write only when it changes something */
		entry->state = ENTRY_REFERENCED;
	cache->stats.hits++;
	return entry;
}

/* Closes the gap, so that searches never meet tombstones. */
static void slot_remove(struct record_cache *cache, uint64_t i)
{
	uint64_t mask = cache->slot_mask;
	uint64_t next = i;

	assert(cache->entries > 0);
	for (;;) {
		uint64_t home;

		next = (next + 1) & mask;
		if (cache->slots[next] == 0)
			break;
		home = slot_entry(cache, cache->slots[next])->hash & mask;
		/* It may move to i unless its home lies between i and where it is. */
		if (((next - home) & mask) >= ((next - i) & mask)) {
			cache->slots[i] = cache->slots[next];
			i = next;
		}
	}
	cache->slots[i] = 0;
	cache->entries--;
}

static uint64_t room(const struct record_cache *cache)
{
	return cache->size - (cache->head - cache->tail);
}

/* Bytes at the head, contiguous; UINT64_MAX: there is no room. */
static uint64_t take(struct record_cache *cache, size_t size)
{
	uint64_t until_end = cache->size - cache->head % cache->size;
	uint64_t offset;

	if (until_end < size) {
		if (room(cache) < until_end + size)
			return UINT64_MAX;
		if (until_end >= sizeof(struct record_cache_entry)) {
			entry_at(cache, cache->head)->state = ENTRY_FILLER;
			entry_at(cache, cache->head)->value_size = (uint32_t)until_end;
		}
		cache->head += until_end;
	} else if (room(cache) < size) {
		return UINT64_MAX;
	}
	offset = cache->head;
	cache->head += size;
	return offset;
}

bool record_cache_insert(struct record_cache *cache, uint64_t hash,
                         const struct record_cache_entry *from, struct bytes key,
                         struct bytes value)
{
	size_t size = entry_size(key.size, value.size);
	uint64_t i = probe(cache, hash, key);
	struct record_cache_entry *entry;
	uint64_t offset;

	assert(key.size > 0 && key.size <= UINT16_MAX);
	if (cache->slots[i] == 0 && cache->entries >= cache->slot_mask / 8 * 7) {
		cache->stats.refused++;
		return false;
	}
	offset = take(cache, size);
	if (offset == UINT64_MAX) {
		cache->stats.refused++;
		return false;
	}
	entry = entry_at(cache, offset);
	entry->hash = hash;
	entry->version = from->version;
	entry->expires_ms = from->expires_ms;
	entry->lsn = from->lsn;
	entry->location = from->location;
	entry->hint = from->hint;
	entry->flags = from->flags;
	entry->state = ENTRY_LIVE;
	entry->key_size = (uint16_t)key.size;
	entry->value_size = (uint32_t)value.size;
	memcpy(entry->data, key.data, key.size);
	if (value.size > 0)
		memcpy(entry->data + key.size, value.data, value.size);
	if (cache->slots[i] != 0)
		slot_entry(cache, cache->slots[i])->state = ENTRY_DEAD;
	else
		cache->entries++;
	cache->slots[i] = slot_make(hash, offset);
	cache->stats.inserted++;
	return true;
}

void record_cache_remove(struct record_cache *cache, uint64_t hash, struct bytes key)
{
	uint64_t i = probe(cache, hash, key);

	if (cache->slots[i] == 0)
		return;
	slot_entry(cache, cache->slots[i])->state = ENTRY_DEAD;
	slot_remove(cache, i);
}

void record_cache_moved(struct record_cache *cache, uint64_t hash, struct bytes key, uint64_t from,
                        uint64_t to)
{
	uint64_t slot = cache->slots[probe(cache, hash, key)];

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
	return entry_at(cache, offset)->value_size;
}

void record_cache_clear(struct record_cache *cache, struct bytes prefix)
{
	uint64_t offset = cache->tail;

	while (offset < cache->head) {
		struct record_cache_entry *entry;

		offset += step_at(cache, offset, &entry);
		if (entry == NULL || entry->state == ENTRY_DEAD)
			continue;
		if (entry->key_size >= prefix.size &&
		    memcmp(entry->data, prefix.data, prefix.size) == 0)
			record_cache_remove(cache, entry->hash,
			                    bytes_of(entry->data, entry->key_size));
	}
}

void record_cache_prefetch_slot(const struct record_cache *cache, uint64_t hash)
{
	__builtin_prefetch(&cache->slots[hash & cache->slot_mask]);
}

const struct record_cache_entry *record_cache_guess(const struct record_cache *cache, uint64_t hash)
{
	uint64_t i = hash & cache->slot_mask;

	for (unsigned n = 0; n < 4; n++, i = (i + 1) & cache->slot_mask) {
		uint64_t slot = cache->slots[i];

		if (slot == 0)
			return NULL;
		if (((slot ^ hash) & ~SLOT_OFFSET_MASK) == 0)
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

/* Takes the oldest entry out; false: it must stay. */
static bool reclaim(struct record_cache *cache, uint64_t durable_lsn)
{
	struct record_cache_entry *entry;
	size_t size = step_at(cache, cache->tail, &entry);
	bool live = entry != NULL && entry->state != ENTRY_DEAD;
	uint64_t i;

	if (live && entry->lsn > durable_lsn)
		return false;
	if (live) {
		i = probe(cache, entry->hash, bytes_of(entry->data, entry->key_size));
		assert(slot_entry(cache, cache->slots[i]) == entry);
		if (entry->state == ENTRY_REFERENCED) {
			uint64_t offset = take(cache, size);

			if (offset != UINT64_MAX) { /* a second chance, at the head */
				struct record_cache_entry *copy = entry_at(cache, offset);

				memcpy(copy, entry, size);
				copy->state = ENTRY_LIVE;
				cache->slots[i] = slot_make(copy->hash, offset);
				cache->tail += size;
				return true;
			}
		}
		slot_remove(cache, i);
		cache->stats.evicted++;
	}
	cache->tail += size;
	return true;
}

void record_cache_turn(struct record_cache *cache, uint64_t durable_lsn)
{
	unsigned looked = 0;
	bool crowded = cache->entries >= cache->slot_mask / 4 * 3;

	while ((room(cache) < cache->reserve || crowded) && cache->tail < cache->head &&
	       looked++ < TURN_ENTRIES_MAX) {
		if (!reclaim(cache, durable_lsn))
			return;
		crowded = cache->entries >= cache->slot_mask / 4 * 3;
	}
}

void record_cache_stats(const struct record_cache *cache, struct record_cache_stats *out)
{
	*out = cache->stats;
	out->entries = cache->entries;
	out->bytes = cache->head - cache->tail;
	out->bytes_max = cache->size;
}
