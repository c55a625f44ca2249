/* SPDX-License-Identifier: Apache-2.0 */
/* The records that an index names, in large reads. */
#include <stdlib.h>

#include "app/store_walk.h"
#include "base/assert.h"
#include "base/macros.h"

/* Records whose blocks are read together. */
struct group {
	uint32_t first, end; /* in walk->order */
	uint32_t segment, block, blocks;
};

enum { GAP_BLOCKS = 4 }; /* that are read for nothing rather than twice */

enum status walk_records_open(struct walk_records *walk, struct store_image *image)
{
	*walk = (struct walk_records){ .image = image };
	walk->all = malloc(WALK_REFS_MAX * sizeof(*walk->all));
	walk->order = malloc(WALK_REFS_MAX * sizeof(*walk->order));
	walk->keys = malloc(WALK_KEYS_SIZE);
	return walk->all != NULL && walk->order != NULL && walk->keys != NULL ? STATUS_OK
	                                                                      : STATUS_NO_SPACE;
}

void walk_records_close(struct walk_records *walk)
{
	free(walk->all);
	free(walk->order);
	free(walk->keys);
}

bool walk_location_is_sound(const struct store_image *image, struct location l)
{
	return l.offset >= BLOCK_SIZE + FRAME_HEADER_SIZE &&
	       store_image_has(image, l.segment, l.offset, l.size) &&
	       image->segments[l.segment].listed && image->segments[l.segment].kind == SEGMENT_LOG;
}

void walk_records_add(struct walk_records *walk, uint32_t partition, struct bytes key,
                      uint64_t location)
{
	assert(walk_location_is_sound(walk->image, location_unpack(location)));
	assert(key.size <= UINT16_MAX);
	if (walk->count == WALK_REFS_MAX || key.size > WALK_KEYS_SIZE - walk->keys_used)
		walk_records_run(walk);
	walk->all[walk->count] = (struct walk_ref){
		.location = location,
		.partition = partition,
		.key = walk->keys_used,
		.key_size = (uint16_t)key.size,
	};
	memcpy(walk->keys + walk->keys_used, key.data, key.size);
	walk->keys_used += (uint32_t)key.size;
	walk->order[walk->count] = walk->count;
	walk->count++;
}

static int by_location(const void *a, const void *b, void *context)
{
	const struct walk_records *walk = context;
	uint64_t left = walk->all[*(const uint32_t *)a].location;
	uint64_t right = walk->all[*(const uint32_t *)b].location;

	return left < right ? -1 : left > right;
}

static const char *record_fault(struct walk_records *walk, struct walk_ref *ref,
                                const uint8_t *data, struct record *record)
{
	struct location l = location_unpack(ref->location);
	uint32_t seed = record_seed(walk->image->segments[l.segment].generation, l.segment);
	size_t used;
	uint32_t crc;

	if (record_decode(data, l.size, seed, l.offset, record, &used, &crc) != STATUS_OK)
		return "its checksum is wrong";
	if (used != l.size)
		return "it has another size than the index says";
	if (!bytes_equal(record->key, bytes_of(walk->keys + ref->key, ref->key_size)))
		return "it has another key than the index says";
	if (record->type != RECORD_PUT && record->type != RECORD_MOVED &&
	    record->type != RECORD_PREPARED_PUT)
		return "it is not one that stores a value";
	if (record->flags != l.flags)
		return "its flags are not those in the index";
	return NULL;
}

static void ref_take(struct walk_records *walk, struct walk_ref *ref, const uint8_t *data,
                     enum status status)
{
	struct location l = location_unpack(ref->location);
	struct record record = { .type = 0 };
	const char *fault = status != STATUS_OK ? "the device cannot read it"
	                                        : record_fault(walk, ref, data, &record);
	char key[KEY_TEXT_SIZE];

	if (fault != NULL) {
		walk->damaged++;
		findings_add(walk->image->findings, FINDING_DAMAGE,
		             "segment %u, block %u, byte %u: record of partition %u, key %s: %s",
		             l.segment, l.offset >> BLOCK_SHIFT, l.offset % BLOCK_SIZE,
		             ref->partition,
		             key_text(bytes_of(walk->keys + ref->key, ref->key_size), key), fault);
		return;
	}
	walk->records++;
	assert(!ref->good && ref->partition < walk->image->super.partition_count);
	ref->good = true;
	ref->version = record.version;
	ref->expires_ms = record.expires_ms;
	ref->flags = record.flags;
	ref->value_size = record.value.size;
	if ((record.flags & RECORD_BLOB) && record.value.size >= BLOB_HEADER_SIZE)
		ref->value_size = get64(record.value.data);
	if (walk->record != NULL)
		walk->record(walk->context, ref, &record);
}

/* As many of the records from `first` on as one read brings. */
static struct group group_make(const struct walk_records *walk, uint32_t first)
{
	struct location l = location_unpack(walk->all[walk->order[first]].location);
	struct group group = {
		.first = first,
		.segment = l.segment,
		.block = l.offset >> BLOCK_SHIFT,
	};
	uint32_t end = group.block;

	for (group.end = first; group.end < walk->count; group.end++) {
		uint32_t next_end;

		l = location_unpack(walk->all[walk->order[group.end]].location);
		next_end = (uint32_t)(align_up(l.offset + l.size, BLOCK_SIZE) >> BLOCK_SHIFT);
		if (l.segment != group.segment || l.offset >> BLOCK_SHIFT > end + GAP_BLOCKS ||
		    next_end - group.block > READER_BLOCKS_MAX)
			break;
		end = next_end > end ? next_end : end;
	}
	assert(group.end > first); /* a record is smaller than a slot */
	group.blocks = end - group.block;
	return group;
}

/* `data`: what was read. A block that cannot be read takes only its own records with it. */
static void group_take(struct walk_records *walk, const struct group *group, uint8_t *data,
                       enum status status)
{
	for (uint32_t n = group->first; n < group->end; n++) {
		struct walk_ref *ref = &walk->all[walk->order[n]];
		struct location l = location_unpack(ref->location);
		uint32_t first = l.offset >> BLOCK_SHIFT;
		uint32_t end = (uint32_t)(align_up(l.offset + l.size, BLOCK_SIZE) >> BLOCK_SHIFT);
		enum status own = status;

		if (status != STATUS_OK)
			own = store_reader_get(
			        walk->image->reader,
			        data + ((size_t)(first - group->block) << BLOCK_SHIFT),
			        store_image_lba(walk->image, l.segment, first), end - first);
		ref_take(walk, ref, data + l.offset - ((size_t)group->block << BLOCK_SHIFT), own);
	}
}

void walk_records_run(struct walk_records *walk)
{
	struct store_reader *reader = walk->image->reader;
	struct group groups[READER_READS_MAX];
	enum status statuses[READER_READS_MAX];
	uint32_t next = 0;

	assert(walk->count <= WALK_REFS_MAX && walk->keys_used <= WALK_KEYS_SIZE);
	qsort_r(walk->order, walk->count, sizeof(*walk->order), by_location, walk);
	while (next < walk->count) {
		unsigned count = 0;

		for (; count < READER_READS_MAX && next < walk->count; count++) {
			struct group *group = &groups[count];

			*group = group_make(walk, next);
			next = group->end;
			store_reader_add(reader, store_reader_slot(reader, count),
			                 store_image_lba(walk->image, group->segment, group->block),
			                 group->blocks);
		}
		store_reader_run(reader);
		for (unsigned i = 0; i < count; i++)
			statuses[i] = reader->reads[i].status;
		for (unsigned i = 0; i < count; i++)
			group_take(walk, &groups[i], store_reader_slot(reader, i), statuses[i]);
		if (walk->pause != NULL)
			walk->pause(walk->context);
	}
	if (walk->refs != NULL && walk->count > 0)
		walk->refs(walk->context, walk->all, walk->count);
	walk->count = 0;
	walk->keys_used = 0;
}
