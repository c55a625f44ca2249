/* SPDX-License-Identifier: Apache-2.0 */
#include "app/store_walk.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/buf.h"
#include "engine/btree_page.h"

const char *key_text(struct bytes key, char out[KEY_TEXT_SIZE])
{
	enum { SHOWN = 48 };
	size_t shown = key.size < SHOWN ? key.size : SHOWN, used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < shown; i++)
		used += (size_t)snprintf(out + used, KEY_TEXT_SIZE - used, "%02x", key.data[i]);
	if (shown < key.size)
		snprintf(out + used, KEY_TEXT_SIZE - used, "... (%zu bytes)", key.size);
	return out;
}

uint32_t walk_partition_of(const struct store_image *image, struct bytes key)
{
	enum { MEMBER_HEAD = 3 }; /* space, and what all members of a collection share */

	if (key.size == 0 || key.size > KV_KEY_MAX)
		return UINT32_MAX;
	if (kv_space_is_placed(key.data[0]) && key.size < MEMBER_HEAD)
		return UINT32_MAX;
	return kv_partition(key, image->super.partition_count);
}

/* Index. */

/* A page on the way down, and the first key behind it. */
struct walk_level {
	struct btree_page page;
	uint32_t next;       /* child */
	uint32_t upper_size; /* 0: none */
	uint8_t upper[BTREE_KEY_MAX];
};

/* What the parent says of a page. */
struct walk_expected {
	struct location where;
	struct bytes lower, upper;
	int level; /* -1: any */
};

enum status walk_index_open(struct walk_index *walk, struct store_image *image)
{
	*walk = (struct walk_index){ .image = image };
	walk->levels = aligned_alloc(64, align_up(BTREE_DEPTH_MAX * sizeof(*walk->levels), 64));
	walk->leaves = aligned_alloc(BLOCK_SIZE, (size_t)READER_READS_MAX << BLOCK_SHIFT);
	return walk->levels != NULL && walk->leaves != NULL ? STATUS_OK : STATUS_NO_SPACE;
}

void walk_index_close(struct walk_index *walk)
{
	free(walk->levels);
	free(walk->leaves);
}

static void page_damaged(struct walk_index *walk, const struct walk_expected *expected,
                         const char *what)
{
	char from[KEY_TEXT_SIZE];

	walk->damaged++;
	findings_add(
	        walk->image->findings, expected->level < 0 ? FINDING_FATAL : FINDING_DAMAGE,
	        "segment %u, block %u: index page of partition %u, keys from %s on: %s",
	        expected->where.segment, expected->where.offset >> BLOCK_SHIFT, walk->partition,
	        expected->lower.size == 0 ? "the first" : key_text(expected->lower, from), what);
}

/* Whether an index page can be there at all. */
static bool place_is_sound(const struct store_image *image, struct location l)
{
	return l.size == BLOCK_SIZE && l.offset % BLOCK_SIZE == 0 && l.flags == 0 &&
	       store_image_has(image, l.segment, l.offset, l.size) &&
	       image->segments[l.segment].listed &&
	       image->segments[l.segment].kind == SEGMENT_INDEX;
}

/* Everything that the page itself and its parent promise. */
static const char *page_fault(const struct walk_index *walk, const struct btree_page *page,
                              const struct walk_expected *expected)
{
	uint8_t last[PAGE_KEY_BUF_SIZE];

	if (btree_page_check(page, walk->partition, location_pack(expected->where)) != STATUS_OK)
		return "its checksum, address, partition or order of keys is wrong";
	if (expected->level >= 0 && page->level != expected->level)
		return "it is of another level than its parent says";
	if (!bytes_equal(page_lower(page), expected->lower))
		return "it begins with another key than its parent says";
	if (page->count > (page->level > 0 ? 1 : 0) && expected->upper.size > 0 &&
	    bytes_compare(page_key(page, page->count - 1u, last), expected->upper) >= 0)
		return "it has keys of the page behind it";
	return NULL;
}

static bool page_take(struct walk_index *walk, const struct btree_page *page,
                      const struct walk_expected *expected, enum status status)
{
	const char *fault = status != STATUS_OK ? "the device cannot read it"
	                                        : page_fault(walk, page, expected);

	if (fault != NULL) {
		page_damaged(walk, expected, fault);
		return false;
	}
	walk->pages++;
	walk->image->segments[expected->where.segment].counted += BLOCK_SIZE;
	if (walk->page != NULL)
		walk->page(walk->context, walk->partition, expected->where, page);
	return true;
}

static void leaf_entries(struct walk_index *walk, const struct btree_page *page)
{
	uint8_t key[PAGE_KEY_BUF_SIZE];

	assert(page->level == 0);
	for (uint32_t i = 0; i < page->count; i++) {
		walk->entries++;
		if (walk->entry != NULL)
			walk->entry(walk->context, walk->partition, page_key(page, i, key),
			            page_value(page, i));
	}
}

/* What a parent says of its child `index`; `lower` and `upper` hold the keys. */
static struct walk_expected child_expected(const struct walk_level *parent, uint32_t index,
                                           uint8_t lower[PAGE_KEY_BUF_SIZE],
                                           uint8_t upper[PAGE_KEY_BUF_SIZE])
{
	const struct btree_page *page = &parent->page;
	struct walk_expected expected = {
		.where = location_unpack(page_value(page, index)),
		.level = page->level - 1,
		.lower = index == 0 ? page_lower(page) : page_key(page, index, lower),
	};

	if (index + 1 < page->count)
		expected.upper = page_key(page, index + 1, upper);
	else
		expected.upper = bytes_of(parent->upper, parent->upper_size);
	return expected;
}

/* The leaves below a page, a batch of them. */
static void leaves_run(struct walk_index *walk, struct walk_level *parent)
{
	uint32_t first = parent->next, end = first, reads = 0;
	uint8_t lower[PAGE_KEY_BUF_SIZE], upper[PAGE_KEY_BUF_SIZE];
	unsigned slots[READER_READS_MAX];

	for (; end < parent->page.count && reads < READER_READS_MAX; end++, reads++) {
		struct location l = location_unpack(page_value(&parent->page, end));

		slots[reads] = UINT32_MAX;
		if (place_is_sound(walk->image, l))
			slots[reads] = store_reader_add(
			        walk->image->reader, walk->leaves + ((size_t)reads << BLOCK_SHIFT),
			        store_image_lba(walk->image, l.segment, l.offset >> BLOCK_SHIFT),
			        1);
	}
	assert(end > first && end - first <= READER_READS_MAX);
	store_reader_run(walk->image->reader);
	parent->next = end;
	/* Taken now: the entries' user reads too. */
	for (uint32_t i = 0; i < reads; i++) {
		struct walk_expected expected = child_expected(parent, first + i, lower, upper);
		const struct btree_page *page =
		        (const void *)(walk->leaves + ((size_t)i << BLOCK_SHIFT));

		if (slots[i] == UINT32_MAX)
			page_damaged(walk, &expected, "no index page can be there");
		else if (!page_take(walk, page, &expected,
		                    walk->image->reader->reads[slots[i]].status))
			slots[i] = UINT32_MAX;
	}
	for (uint32_t i = 0; i < reads; i++) {
		if (slots[i] != UINT32_MAX)
			leaf_entries(walk,
			             (const void *)(walk->leaves + ((size_t)i << BLOCK_SHIFT)));
	}
}

/* Reads one page to *level; false: it is damaged. */
static bool level_read(struct walk_index *walk, struct walk_level *level,
                       const struct walk_expected *expected)
{
	struct location l = expected->where;
	enum status status;

	if (!place_is_sound(walk->image, l)) {
		page_damaged(walk, expected, "no index page can be there");
		return false;
	}
	status = store_reader_get(walk->image->reader, walk->leaves,
	                          store_image_lba(walk->image, l.segment, l.offset >> BLOCK_SHIFT),
	                          1);
	memcpy(&level->page, walk->leaves, BLOCK_SIZE);
	level->next = 0;
	level->upper_size = (uint32_t)expected->upper.size;
	if (expected->upper.size > 0)
		memcpy(level->upper, expected->upper.data, expected->upper.size);
	return page_take(walk, &level->page, expected, status);
}

void walk_index_run(struct walk_index *walk, uint32_t partition)
{
	struct walk_expected root = {
		.where = location_unpack(walk->image->partitions[partition].root),
		.level = -1,
	};
	uint8_t lower[PAGE_KEY_BUF_SIZE], upper[PAGE_KEY_BUF_SIZE];
	uint32_t depth = 0;

	assert(partition < walk->image->super.partition_count);
	assert(walk->image->partitions[partition].listed);
	walk->partition = partition;
	if (!level_read(walk, &walk->levels[0], &root))
		return;
	if (walk->levels[0].page.level == 0) {
		leaf_entries(walk, &walk->levels[0].page);
		return;
	}
	for (;;) {
		struct walk_level *level = &walk->levels[depth];
		struct walk_expected expected;

		if (level->next == level->page.count) {
			if (depth == 0)
				return;
			depth--;
			continue;
		}
		if (level->page.level == 1) {
			leaves_run(walk, level);
			continue;
		}
		/* Levels fall from each to the next, so the stack is deep enough. */
		assert(depth + 1 < BTREE_DEPTH_MAX);
		expected = child_expected(level, level->next++, lower, upper);
		if (level_read(walk, level + 1, &expected))
			depth++;
	}
}

/* Log. */

enum status walk_log_open(struct walk_log *walk, struct store_image *image)
{
	*walk = (struct walk_log){ .image = image };
	walk->data = aligned_alloc(BLOCK_SIZE, BUF_SIZE_MAX);
	return walk->data != NULL ? STATUS_OK : STATUS_NO_SPACE;
}

void walk_log_close(struct walk_log *walk)
{
	free(walk->data);
}

enum status walk_log_run(struct walk_log *walk)
{
	const struct store_image *image = walk->image;
	const struct segment_header segment = {
		.segment = walk->segment,
		.generation = image->segments[walk->segment].generation,
	};

	assert(walk->segment < image->segment_count);
	while (walk->block < image->super.segment_blocks) {
		uint32_t left = image->super.segment_blocks - walk->block;
		uint32_t blocks =
		        left < BUF_SIZE_MAX >> BLOCK_SHIFT ? left : BUF_SIZE_MAX >> BLOCK_SHIFT;
		uint32_t offset = 0, valid = blocks << BLOCK_SHIFT;
		enum status status = store_reader_get(
		        image->reader, walk->data,
		        store_image_lba(image, walk->segment, walk->block), blocks);

		if (status != STATUS_OK)
			return status;
		while (offset < valid) {
			struct frame_header frame;

			if (frame_check(walk->data + offset, valid - offset, &segment, walk->block,
			                &frame) != STATUS_OK ||
			    (walk->lsn != 0 && frame.lsn != walk->lsn))
				break;
			if (walk->frame != NULL)
				walk->frame(walk->context, &frame, walk->data + offset);
			walk->lsn = frame.lsn + 1;
			offset += (uint32_t)align_up(frame.size, BLOCK_SIZE);
			walk->block += (uint32_t)align_up(frame.size, BLOCK_SIZE) >> BLOCK_SHIFT;
		}
		if (offset == 0)
			return STATUS_OK; /* else: once more, the next may have been cut off */
	}
	return STATUS_OK;
}
