/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot records of one worker, found by hash before the index is asked. Bounded by the memory
 * given at open; a ring of entries in the order of insertion with second chances, so there is no
 * fragmentation and no list to keep.
 *
 * Thread: its worker's. Nothing here blocks or allocates but record_cache_open().
 */
#ifndef ENGINE_RECORD_CACHE_H
#define ENGINE_RECORD_CACHE_H

#include "base/bytes.h"
#include "base/status.h"

struct record_cache;

/*
 * An entry that was found stays readable until the next record_cache_turn(), or until its key is
 * inserted again: a value of about the same size takes the old one's place.
 */
struct record_cache_entry {
	uint64_t hash; /* of the key, hash64() */
	uint64_t version;
	uint64_t expires_ms;
	uint64_t lsn; /* must be durable before anybody is told; such entries are not evicted */
	uint64_t location; /* 0: the key was deleted */
	uint32_t value_size;
	uint16_t key_size;
	uint8_t flags;  /* of the record */
	uint8_t state;  /* the cache's */
	uint8_t data[]; /* key, value */
};

struct record_cache_stats {
	uint64_t hits, misses, inserted, refused, evicted;
	uint64_t entries, bytes, bytes_max;
};

/* At least 64 KiB; a twelfth of it is for slots. NO_SPACE: no memory. */
enum status record_cache_open(struct record_cache **out, size_t memory_size)
        __attribute__((warn_unused_result));
void record_cache_close(struct record_cache *cache);

/* NULL: not there. */
const struct record_cache_entry *record_cache_find(struct record_cache *cache, uint64_t hash,
                                                   struct bytes key);
static inline struct bytes record_cache_value(const struct record_cache_entry *entry)
{
	return bytes_of(entry->data + entry->key_size, entry->value_size);
}

/*
 * Inserts or replaces. `entry` gives version, expires_ms, lsn, location and flags; key and value
 * are copied (they may lie in another entry). False: no room now; an older entry of the key stays,
 * and is the caller's to remove.
 */
bool record_cache_insert(struct record_cache *cache, uint64_t hash,
                         const struct record_cache_entry *entry, struct bytes key,
                         struct bytes value);
void record_cache_remove(struct record_cache *cache, uint64_t hash, struct bytes key);
/* The record is the same, its place another. */
void record_cache_moved(struct record_cache *cache, uint64_t hash, struct bytes key, uint64_t from,
                        uint64_t to);
/*
 * Removes all keys that begin with the prefix. In a large cache they are only no longer found, and
 * go as the ring comes round.
 */
void record_cache_clear(struct record_cache *cache, struct bytes prefix);

/* For batches: all slots first, then all entries, then the lookups. */
void record_cache_prefetch_slot(const struct record_cache *cache, uint64_t hash);
void record_cache_prefetch_entry(const struct record_cache *cache, uint64_t hash);
/* Probably the entry of a key with this hash; NULL: none. */
const struct record_cache_entry *record_cache_guess(const struct record_cache *cache,
                                                    uint64_t hash);

/*
 * Once a turn, at its end: makes room ahead of the next one. Entries past durable_lsn stay, and
 * all that came after them: while the log is slow, insertions may be refused.
 */
void record_cache_turn(struct record_cache *cache, uint64_t durable_lsn);

void record_cache_stats(const struct record_cache *cache, struct record_cache_stats *out);

#endif
