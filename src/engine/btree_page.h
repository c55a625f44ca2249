/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page of the tree, the same bytes in memory and on disk, little-endian:
 *
 *	header 32 B | lower fence, padded to 8 | slots, 8 B each, in key order -> free <- heap
 *
 * All keys of a page start with the first prefix_size bytes of its lower fence; what a slot stores
 * of a key is the suffix after that. The suffix's first four bytes lie in the slot as a number
 * (zero padded), so that a binary search reads slots only; the rest lies in the heap behind the
 * value. A leaf's values are its user's, an inner page's are the addresses of its children. Slot 0
 * of an inner page has no key of its own: its child holds everything from the lower fence on.
 */
#ifndef ENGINE_BTREE_PAGE_H
#define ENGINE_BTREE_PAGE_H

#include "base/assert.h"
#include "base/macros.h"
#include "engine/btree.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pages are used as they are on disk");

struct btree_slot {
	uint16_t offset; /* of the entry from the start of the page: value, then rest of suffix */
	uint16_t size;   /* of the suffix */
	uint32_t head; /* the suffix's first bytes, the first one highest; 0 where it is shorter */
};

enum {
	PAGE_MAGIC = 0x45524257, /* "WBRE" */
	PAGE_HEADER_SIZE = 32,
	PAGE_HEAD_SIZE = sizeof(((struct btree_slot *)0)->head),
	PAGE_SLOT_SIZE = sizeof(struct btree_slot),
	PAGE_VALUE_SIZE = sizeof(btree_value),
	PAGE_BODY_SIZE = BTREE_PAGE_SIZE - PAGE_HEADER_SIZE,
	PAGE_ENTRIES_MAX = PAGE_BODY_SIZE / (PAGE_SLOT_SIZE + PAGE_VALUE_SIZE),
	PAGE_ENTRY_SIZE_MAX = PAGE_SLOT_SIZE + PAGE_VALUE_SIZE + BTREE_KEY_MAX - PAGE_HEAD_SIZE,
	/* Where keys are put together: a head is stored whole, past the end of a short suffix. */
	PAGE_KEY_BUF_SIZE = BTREE_KEY_MAX + PAGE_HEAD_SIZE,
};

struct btree_page {
	uint32_t magic;
	uint32_t crc;     /* of everything after it */
	uint64_t address; /* 0: has never been given one */
	uint32_t tag;
	uint8_t level; /* 0: leaf */
	uint8_t zero;
	uint16_t count;
	uint16_t prefix_size;
	uint16_t lower_size;
	uint16_t heap_start;
	uint16_t heap_size; /* bytes of live entries; the heap may have holes */
	uint8_t body[PAGE_BODY_SIZE];
};

_Static_assert(sizeof(struct btree_slot) == 8, "on disk");
_Static_assert(sizeof(struct btree_page) == BTREE_PAGE_SIZE, "on disk");
_Static_assert(offsetof(struct btree_page, body) == PAGE_HEADER_SIZE, "on disk");
/* A lower fence and two entries of the largest size fit, so a page can always be split. */
_Static_assert(BTREE_KEY_MAX + 2 * PAGE_ENTRY_SIZE_MAX <= PAGE_BODY_SIZE, "BTREE_KEY_MAX");

static inline const struct btree_slot *page_slots(const struct btree_page *page)
{
	return (const void *)(page->body + align_up(page->lower_size, 8));
}

static inline struct btree_slot *page_slots_writable(struct btree_page *page)
{
	return (void *)(page->body + align_up(page->lower_size, 8));
}

static inline struct bytes page_lower(const struct btree_page *page)
{
	return bytes_of(page->body, page->lower_size);
}

static inline struct bytes page_prefix(const struct btree_page *page)
{
	return bytes_of(page->body, page->prefix_size);
}

static inline const uint8_t *page_entry(const struct btree_page *page, uint32_t index)
{
	return (const uint8_t *)page + page_slots(page)[index].offset;
}

static inline btree_value page_value(const struct btree_page *page, uint32_t index)
{
	btree_value value;

	assert(index < page->count);
	memcpy(&value, page_entry(page, index), sizeof(value));
	return value;
}

static inline void page_set_value(struct btree_page *page, uint32_t index, btree_value value)
{
	assert(index < page->count);
	memcpy((uint8_t *)page + page_slots(page)[index].offset, &value, sizeof(value));
}

static inline uint32_t suffix_head(const uint8_t *data, size_t size)
{
	uint32_t head = 0;

	if (__builtin_expect(size >= sizeof(head), 1)) {
		memcpy(&head, data, sizeof(head));
		return __builtin_bswap32(head);
	}
	for (size_t i = 0; i < size; i++)
		head |= (uint32_t)data[i] << (24 - 8 * i);
	return head;
}

static inline size_t suffix_rest_size(size_t size)
{
	return size > PAGE_HEAD_SIZE ? size - PAGE_HEAD_SIZE : 0;
}

/* What a suffix of this size takes, its slot included. */
static inline size_t suffix_cost(size_t size)
{
	return PAGE_SLOT_SIZE + PAGE_VALUE_SIZE + suffix_rest_size(size);
}

/* A suffix against a slot's that has the same head. Equal heads order short ones by size. */
static inline int suffix_compare(const struct btree_page *page, struct bytes suffix, uint32_t index)
{
	size_t other = page_slots(page)[index].size;
	size_t a = suffix_rest_size(suffix.size), b = suffix_rest_size(other);
	size_t shared = a < b ? a : b;

	if (shared > 0) {
		int order = memcmp(suffix.data + PAGE_HEAD_SIZE,
		                   page_entry(page, index) + PAGE_VALUE_SIZE, shared);

		if (order != 0)
			return order;
	}
	return (int)suffix.size - (int)other;
}

/* The first slot in [first, end) whose head is at least `head`; no branch depends on the data. */
static inline uint32_t page_head_bound(const struct btree_page *page, uint32_t first, uint32_t end,
                                       uint32_t head)
{
	const struct btree_slot *base = page_slots(page) + first;
	uint32_t count = end - first;

	while (count > 1) {
		uint32_t half = count / 2;

		base += base[half - 1].head < head ? half : 0;
		count -= half;
	}
	if (count == 1 && base->head < head)
		base++;
	return (uint32_t)(base - page_slots(page));
}

/* The first entry from `first` on that is not below the key; *found: it is the key. */
static inline uint32_t page_search(const struct btree_page *page, struct bytes key, uint32_t first,
                                   bool *found)
{
	const struct btree_slot *slots = page_slots(page);
	struct bytes suffix;
	uint32_t head, low, high;

	assert(key.size >= page->prefix_size); /* else: the fences do not hold */
	suffix = bytes_of(key.data + page->prefix_size, key.size - page->prefix_size);
	head = suffix_head(suffix.data, suffix.size);
	low = page_head_bound(page, first, page->count, head);
	*found = false;
	if (low == page->count || slots[low].head != head)
		return low;
	high = low + 1;
	if (high < page->count && slots[high].head == head)
		high = head == UINT32_MAX ? page->count
		                          : page_head_bound(page, high, page->count, head + 1);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = suffix_compare(page, suffix, middle);

		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The child of an inner page that a key belongs to. */
static inline uint32_t page_child(const struct btree_page *page, struct bytes key)
{
	bool found;
	uint32_t index = page_search(page, key, 1, &found);

	return found ? index : index - 1;
}

static inline size_t page_slots_end(const struct btree_page *page)
{
	return PAGE_HEADER_SIZE + align_up(page->lower_size, 8) +
	       (size_t)page->count * PAGE_SLOT_SIZE;
}

/* Free bytes, the holes of the heap included. */
static inline size_t page_room(const struct btree_page *page)
{
	return BTREE_PAGE_SIZE - page_slots_end(page) - page->heap_size;
}

/* What entries and their slots take. */
static inline size_t page_used(const struct btree_page *page)
{
	return page->heap_size + (size_t)page->count * PAGE_SLOT_SIZE;
}

/* What a page with this lower fence has for entries. */
static inline size_t page_capacity(size_t lower_size)
{
	return PAGE_BODY_SIZE - align_up(lower_size, 8);
}

/* An empty page with the address 0. */
void page_init(struct btree_page *page, uint32_t tag, uint8_t level, struct bytes lower,
               size_t prefix_size);
/* The caller made sure that there is room. */
void page_insert(struct btree_page *page, uint32_t index, struct bytes key, btree_value value);
/* Removes the entries [index, index + count). */
void page_remove(struct btree_page *page, uint32_t index, uint32_t count);
/* The whole key, put together in `buf`; of slot 0 of an inner page: the prefix. */
struct bytes page_key(const struct btree_page *page, uint32_t index,
                      uint8_t buf[PAGE_KEY_BUF_SIZE]);
/* How many bytes two keys share from the start. */
size_t keys_shared(struct bytes a, struct bytes b);
/* Address and checksum: the page may go to disk. */
void page_seal(struct btree_page *page, btree_value address);
/*
 * Whether the page can be used: offsets, sizes, order of keys. Not: checksum, address and tag, nor
 * whether values are there (a child that is not on disk yet has the address 0).
 */
bool page_is_sound(const struct btree_page *page);

#endif
