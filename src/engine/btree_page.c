/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/btree_page.h"

#include "base/hash.h"

enum { CRC_OFFSET = offsetof(struct btree_page, address) };

void page_init(struct btree_page *page, uint32_t tag, uint8_t level, struct bytes lower,
               size_t prefix_size)
{
	assert(lower.size <= BTREE_KEY_MAX);
	assert(prefix_size <= lower.size);
	assert(level < BTREE_DEPTH_MAX);
	memset(page, 0, PAGE_HEADER_SIZE);
	page->magic = PAGE_MAGIC;
	page->tag = tag;
	page->level = level;
	page->lower_size = (uint16_t)lower.size;
	page->prefix_size = (uint16_t)prefix_size;
	page->heap_start = BTREE_PAGE_SIZE;
	if (lower.size > 0)
		memcpy(page->body, lower.data, lower.size);
}

static size_t heap_cost(const struct btree_slot *slot)
{
	return PAGE_VALUE_SIZE + suffix_rest_size(slot->size);
}

/* Moves all entries to the end of the page, so that the holes join the free space. */
static void compact(struct btree_page *page)
{
	struct btree_slot *slots = page_slots_writable(page);
	uint8_t old[BTREE_PAGE_SIZE];
	size_t start = BTREE_PAGE_SIZE;

	memcpy(old + page->heap_start, (uint8_t *)page + page->heap_start,
	       BTREE_PAGE_SIZE - (size_t)page->heap_start);
	for (uint32_t i = 0; i < page->count; i++) {
		size_t cost = heap_cost(&slots[i]);

		start -= cost;
		memcpy((uint8_t *)page + start, old + slots[i].offset, cost);
		slots[i].offset = (uint16_t)start;
	}
	assert(start == BTREE_PAGE_SIZE - (size_t)page->heap_size);
	page->heap_start = (uint16_t)start;
}

void page_insert(struct btree_page *page, uint32_t index, struct bytes key, btree_value value)
{
	struct btree_slot *slots = page_slots_writable(page);
	struct btree_slot slot;
	size_t cost, rest;
	uint8_t *entry;

	assert(index <= page->count);
	assert(key.size >= page->prefix_size);
	assert(key.size <= BTREE_KEY_MAX);
	slot.size = (uint16_t)(key.size - page->prefix_size);
	slot.head = suffix_head(key.data + page->prefix_size, slot.size);
	rest = suffix_rest_size(slot.size);
	cost = PAGE_VALUE_SIZE + rest;
	assert(page_room(page) >= PAGE_SLOT_SIZE + cost);
	if (page->heap_start < page_slots_end(page) + PAGE_SLOT_SIZE + cost)
		compact(page);
	page->heap_start = (uint16_t)(page->heap_start - cost);
	page->heap_size = (uint16_t)(page->heap_size + cost);
	slot.offset = page->heap_start;
	entry = (uint8_t *)page + slot.offset;
	memcpy(entry, &value, sizeof(value));
	if (rest > 0)
		memcpy(entry + PAGE_VALUE_SIZE, key.data + page->prefix_size + PAGE_HEAD_SIZE,
		       rest);
	memmove(slots + index + 1, slots + index, (page->count - index) * sizeof(*slots));
	slots[index] = slot;
	page->count++;
}

void page_remove(struct btree_page *page, uint32_t index, uint32_t count)
{
	struct btree_slot *slots = page_slots_writable(page);

	assert(index <= page->count);
	assert(count <= page->count - index);
	for (uint32_t i = index; i < index + count; i++) {
		size_t cost = heap_cost(&slots[i]);

		if (slots[i].offset == page->heap_start)
			page->heap_start = (uint16_t)(page->heap_start + cost);
		page->heap_size = (uint16_t)(page->heap_size - cost);
	}
	page->count = (uint16_t)(page->count - count);
	memmove(slots + index, slots + index + count, (page->count - index) * sizeof(*slots));
	if (page->count == 0) {
		assert(page->heap_size == 0);
		page->heap_start = BTREE_PAGE_SIZE;
	}
}

struct bytes page_key(const struct btree_page *page, uint32_t index, uint8_t buf[PAGE_KEY_BUF_SIZE])
{
	const struct btree_slot *slot = &page_slots(page)[index];
	size_t rest = suffix_rest_size(slot->size);
	uint32_t head = __builtin_bswap32(slot->head);

	assert(index < page->count);
	memcpy(buf, page->body, page->prefix_size);
	memcpy(buf + page->prefix_size, &head, sizeof(head));
	if (rest > 0)
		memcpy(buf + page->prefix_size + PAGE_HEAD_SIZE,
		       page_entry(page, index) + PAGE_VALUE_SIZE, rest);
	return bytes_of(buf, (size_t)page->prefix_size + slot->size);
}

size_t keys_shared(struct bytes a, struct bytes b)
{
	size_t max = a.size < b.size ? a.size : b.size;
	size_t shared = 0;

	while (shared < max && a.data[shared] == b.data[shared])
		shared++;
	return shared;
}

static uint32_t page_crc(const struct btree_page *page)
{
	return crc32c(0, (const uint8_t *)page + CRC_OFFSET, BTREE_PAGE_SIZE - CRC_OFFSET);
}

void page_seal(struct btree_page *page, btree_value address)
{
	size_t free_start = page_slots_end(page);

	assert(address != 0);
	assert(free_start <= page->heap_start);
	/* What was removed here long ago does not travel on. */
	memset((uint8_t *)page + free_start, 0, page->heap_start - free_start);
	page->address = address;
	page->crc = page_crc(page);
}

/* Marks the bytes of an entry as taken. False: one was taken already. */
static bool claim(uint64_t taken[BTREE_PAGE_SIZE / 64], size_t offset, size_t size)
{
	while (size > 0) {
		size_t bit = offset % 64, here = 64 - bit < size ? 64 - bit : size;
		uint64_t mask = (here == 64 ? ~0ull : (1ull << here) - 1) << bit;

		if ((taken[offset / 64] & mask) != 0)
			return false;
		taken[offset / 64] |= mask;
		offset += here;
		size -= here;
	}
	return true;
}

/* Whether every slot points to an entry of its own within the heap. */
static bool entries_are_sound(const struct btree_page *page)
{
	const struct btree_slot *slots = page_slots(page);
	uint64_t taken[BTREE_PAGE_SIZE / 64] = { 0 };
	size_t heap_size = 0;

	for (uint32_t i = 0; i < page->count; i++) {
		size_t size = slots[i].size, cost;

		if (size + page->prefix_size > BTREE_KEY_MAX)
			return false;
		cost = heap_cost(&slots[i]);
		if (slots[i].offset < page->heap_start || slots[i].offset + cost > BTREE_PAGE_SIZE)
			return false;
		if (size < PAGE_HEAD_SIZE && slots[i].head << (8 * size) != 0)
			return false;
		if (!claim(taken, slots[i].offset, cost))
			return false;
		heap_size += cost;
	}
	return heap_size == page->heap_size;
}

/* The suffix of entry `index` below the one of `index + 1`. */
static bool entries_ascend(const struct btree_page *page, uint32_t index)
{
	const struct btree_slot *slot = &page_slots(page)[index];
	size_t a = suffix_rest_size(slot[0].size), b = suffix_rest_size(slot[1].size);
	size_t shared = a < b ? a : b;
	int order = 0;

	if (slot[0].head != slot[1].head)
		return slot[0].head < slot[1].head;
	if (shared > 0)
		order = memcmp(page_entry(page, index) + PAGE_VALUE_SIZE,
		               page_entry(page, index + 1) + PAGE_VALUE_SIZE, shared);
	return order != 0 ? order < 0 : slot[0].size < slot[1].size;
}

/* Whether keys ascend from the lower fence on. */
static bool keys_are_sound(const struct btree_page *page)
{
	uint32_t first = page->level > 0 ? 1 : 0;
	struct bytes lower = page_lower(page);
	uint8_t buf[PAGE_KEY_BUF_SIZE];
	struct bytes key;
	int order;

	if (first == 1 && (page->count == 0 || page_slots(page)[0].size != 0))
		return false;
	if (page->count == first)
		return true;
	key = page_key(page, first, buf);
	order = bytes_compare(lower, key);
	/* A separator that is the lower fence would leave the child before it without keys. */
	if (key.size == 0 || order > 0 || (order == 0 && first == 1))
		return false;
	for (uint32_t i = first; i + 1 < page->count; i++) {
		if (!entries_ascend(page, i))
			return false;
	}
	return true;
}

bool page_is_sound(const struct btree_page *page)
{
	if (page->magic != PAGE_MAGIC || page->zero != 0 || page->level >= BTREE_DEPTH_MAX)
		return false;
	if (page->lower_size > BTREE_KEY_MAX || page->prefix_size > page->lower_size)
		return false;
	if (page->count > PAGE_ENTRIES_MAX || page_slots_end(page) > page->heap_start)
		return false;
	if (page->heap_start > BTREE_PAGE_SIZE ||
	    page->heap_size > BTREE_PAGE_SIZE - page->heap_start)
		return false;
	return entries_are_sound(page) && keys_are_sound(page);
}

enum status btree_page_check(const void *image, uint32_t tag, btree_value address)
{
	const struct btree_page *page = image;

	assert((uintptr_t)image % _Alignof(struct btree_page) == 0);
	if (address == 0 || page->crc != page_crc(page))
		return STATUS_CORRUPT;
	if (page->address != address || page->tag != tag || !page_is_sound(page))
		return STATUS_CORRUPT;
	for (uint32_t i = 0; i < page->count; i++) {
		if (page_value(page, i) == 0)
			return STATUS_CORRUPT;
	}
	return STATUS_OK;
}

bool btree_page_entry(const void *image, uint32_t index, uint8_t key[BTREE_KEY_MAX],
                      uint32_t *key_size, btree_value *value)
{
	const struct btree_page *page = image;
	uint8_t buf[PAGE_KEY_BUF_SIZE];
	struct bytes whole;

	if (index >= page->count)
		return false;
	whole = index == 0 && page->level > 0 ? page_lower(page) : page_key(page, index, buf);
	memcpy(key, whole.data, whole.size);
	*key_size = (uint32_t)whole.size;
	*value = page_value(page, index);
	return true;
}

bool btree_page_is_leaf(const void *image)
{
	const struct btree_page *page = image;

	return page->level == 0;
}

uint32_t btree_page_tag(const void *page)
{
	return ((const struct btree_page *)page)->tag;
}
