/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery, transactions over several streams. What a stream has prepared is applied where the
 * stream resolves it: its keys were locked until then. What no frame resolves is applied at the
 * end, if it is committed: if every participant has prepared it, or says that it is committed. A
 * participant that says neither has not logged it, or has aborted it.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/recovery_state.h"

/* Room for one more of `size` bytes. */
static enum status grow(void **array, uint32_t *max, uint32_t count, size_t size)
{
	uint32_t wanted = *max == 0 ? 64 : *max * 2;
	void *larger;

	assert(count <= *max);
	if (count < *max)
		return STATUS_OK;
	larger = realloc(*array, wanted * size);
	if (larger == NULL)
		return STATUS_NO_SPACE;
	*array = larger;
	*max = wanted;
	return STATUS_OK;
}

enum status recovery_add_outcome(struct recovery *r, uint64_t id)
{
	void *array = r->outcomes;
	enum status status = grow(&array, &r->outcome_max, r->outcome_count, sizeof(*r->outcomes));

	r->outcomes = array;
	if (status == STATUS_OK)
		r->outcomes[r->outcome_count++] = (struct recovery_outcome){ id, r->cursor };
	return status;
}

static struct recovery_doubt *doubt_find(const struct recovery *r, uint64_t id, uint32_t stream)
{
	for (uint32_t i = 0; i < r->doubt_count; i++) {
		struct recovery_doubt *doubt = &r->doubts[i];

		if (doubt->used && doubt->id == id && doubt->stream == stream)
			return doubt;
	}
	return NULL;
}

static void doubt_end(struct recovery_doubt *doubt)
{
	assert(doubt->whole_count <= doubt->part_count && doubt->part_count <= doubt->part_max);
	for (uint32_t i = 0; i < doubt->part_count; i++)
		free(doubt->parts[i].data);
	free(doubt->parts);
	*doubt = (struct recovery_doubt){ .used = false };
}

/* A place for one more: that of one that has ended, if there is any. */
static struct recovery_doubt *doubt_get(struct recovery *r)
{
	void *array = r->doubts;
	enum status status;

	for (uint32_t i = 0; i < r->doubt_count; i++) {
		if (!r->doubts[i].used)
			return &r->doubts[i];
	}
	status = grow(&array, &r->doubt_max, r->doubt_count, sizeof(*r->doubts));
	r->doubts = array;
	if (status != STATUS_OK)
		return NULL;
	r->doubts[r->doubt_count] = (struct recovery_doubt){ .used = false };
	return &r->doubts[r->doubt_count++];
}

static enum status part_add(struct recovery *r, struct recovery_doubt *doubt,
                            struct location location, struct bytes records)
{
	void *array = doubt->parts;
	enum status status =
	        grow(&array, &doubt->part_max, doubt->part_count, sizeof(*doubt->parts));
	struct recovery_part part = {
		.segment = location.segment,
		.seed = record_seed(r->segments[location.segment].header.generation,
		                    location.segment),
		.offset = location.offset + location.size,
		.size = (uint32_t)records.size,
		.data = malloc(records.size + 1),
	};

	doubt->parts = array;
	if (status != STATUS_OK || part.data == NULL) {
		free(part.data);
		return STATUS_NO_SPACE;
	}
	memcpy(part.data, records.data, records.size);
	assert(doubt->part_count < doubt->part_max);
	doubt->parts[doubt->part_count++] = part;
	return STATUS_OK;
}

static void parts_cut(struct recovery_doubt *doubt, uint32_t count)
{
	while (doubt->part_count > count)
		free(doubt->parts[--doubt->part_count].data);
}

static size_t record_at(const struct recovery_part *part, uint32_t at)
{
	struct record record;
	size_t used;
	uint32_t crc;

	if (record_decode(part->data + at, part->size - at, part->seed, part->offset + at, &record,
	                  &used, &crc) != STATUS_OK)
		unreachable(); /* frame_check() has seen it */
	return used;
}

static uint32_t count_records(const struct recovery_part *part)
{
	uint32_t count = 0;

	for (uint32_t at = 0; at < part->size; at += (uint32_t)record_at(part, at))
		count++;
	return count;
}

/* A part keeps its first records only. */
static void part_trim(struct recovery_part *part, uint32_t count)
{
	uint32_t at = 0;

	assert(count <= part->size / RECORD_UNIT);
	while (count-- > 0)
		at += (uint32_t)record_at(part, at);
	assert(at <= part->size);
	part->size = at;
}

/*
 * What is there once more is a copy of the last records: the earlier ones are not applied, else the
 * places of a blob would be counted for each copy.
 */
static void forget_copies(struct recovery_doubt *doubt)
{
	uint32_t copies = 0;

	assert(doubt->part == 0 && doubt->next == 0); /* nothing was applied yet */
	assert(doubt->whole_count == doubt->group_first);
	for (uint32_t i = doubt->group_first; i < doubt->part_count; i++)
		copies += count_records(&doubt->parts[i]);
	for (uint32_t i = doubt->group_first; i-- > 0 && copies > 0;) {
		uint32_t count = count_records(&doubt->parts[i]);
		uint32_t drop = copies < count ? copies : count;

		part_trim(&doubt->parts[i], count - drop);
		copies -= drop;
	}
}

/*
 * It may be there several times: in part, if a checkpoint came in between; or as a whole and then,
 * behind a checkpoint that did not count, what of it was not applied yet once more. What is whole
 * is applied in the order of the log, each record from its last copy, so that the index ends where
 * it ended before.
 */
enum status recovery_prepared(struct recovery *r, const struct record *record,
                              struct location location, struct bytes rest)
{
	struct recovery_doubt *doubt = doubt_find(r, record->version, r->cursor);
	struct prepare prepare;
	enum status status;

	assert(record->type == RECORD_PREPARE);
	assert(location.segment < r->store->space.segment_count);
	if (prepare_decode(record->value, &prepare) != STATUS_OK || prepare.size > rest.size)
		return STATUS_OK; /* of no meaning to the index */
	if (doubt == NULL && prepare.part > 0)
		return STATUS_OK; /* damage has taken the ones before */
	if (doubt == NULL)
		doubt = doubt_get(r);
	if (doubt == NULL)
		return STATUS_NO_SPACE;
	if (prepare.part == 0) {
		parts_cut(doubt, doubt->whole_count);
		doubt->group_first = doubt->whole_count;
	}
	if (doubt->part_count - doubt->group_first != prepare.part)
		return STATUS_OK;
	assert(doubt->group_first <= doubt->part_count);
	doubt->id = record->version;
	doubt->participants = prepare.participants;
	doubt->stream = r->cursor;
	doubt->used = true;
	status = part_add(r, doubt, location, bytes_of(rest.data, prepare.size));
	if (status == STATUS_OK && !prepare.more) {
		forget_copies(doubt);
		doubt->whole_count = doubt->part_count;
		doubt->group_first = doubt->part_count;
	}
	return status;
}

static enum btree_result apply_record(struct recovery *r, struct record *record, uint64_t location)
{
	uint32_t partition = kv_partition(record->key, r->store->super.partition_count);
	struct shard *shard = recovery_shard(r, partition);

	r->miss_partition = partition;
	if (record->type == RECORD_PREPARED_DELETE)
		return replay_delete(shard, record, &r->miss);
	record->type = RECORD_PUT;
	return replay_put(shard, record, location, &r->miss);
}

/* What a part does, from doubt->next on. */
static enum btree_result part_apply(struct recovery *r, struct recovery_doubt *doubt)
{
	const struct recovery_part *part = &doubt->parts[doubt->part];

	assert(doubt->used && doubt->part < doubt->part_count);
	assert(doubt->next <= part->size);
	while (doubt->next < part->size) {
		uint32_t offset = part->offset + doubt->next;
		struct location location = { .segment = part->segment, .offset = offset };
		struct record record;
		enum btree_result result;
		size_t used;
		uint32_t crc;

		if (record_decode(part->data + doubt->next, part->size - doubt->next, part->seed,
		                  offset, &record, &used, &crc) != STATUS_OK)
			unreachable(); /* frame_check() has seen it */
		location.size = used <= RECORD_SIZE_MAX ? (uint32_t)used : 0;
		location.flags = record.flags;
		if (kv_key_is_sound(record.key)) { /* replay has seen that it is */
			result = apply_record(r, &record, location_pack(location));
			if (result == BTREE_MISS || result == BTREE_FULL)
				return result;
		}
		doubt->next += (uint32_t)used;
	}
	return BTREE_OK;
}

static enum btree_result doubt_apply(struct recovery *r, struct recovery_doubt *doubt)
{
	uint32_t count = doubt->whole_count;

	if (shard_has_bug(r->store->shards[0], BUG_FIRST_PART))
		count = doubt->part_count;
	for (; doubt->part < count; doubt->part++, doubt->next = 0) {
		enum btree_result result = part_apply(r, doubt);

		if (result != BTREE_OK)
			return result;
	}
	return BTREE_OK;
}

enum btree_result recovery_resolved(struct recovery *r, const struct record *record)
{
	struct recovery_doubt *doubt = doubt_find(r, record->version, r->cursor);
	bool committed = record->value.size > 0 && record->value.data[0] != 0;
	enum btree_result result;

	if (doubt == NULL)
		return BTREE_OK; /* it began and was aborted before the checkpoint */
	if (committed) {
		result = doubt_apply(r, doubt);
		if (result != BTREE_OK)
			return result;
		if (recovery_add_outcome(r, record->version) != STATUS_OK)
			return BTREE_FULL;
	}
	doubt_end(doubt);
	return BTREE_OK;
}

static bool is_committed(const struct recovery *r, uint64_t id, uint32_t stream)
{
	for (uint32_t i = 0; i < r->outcome_count; i++) {
		if (r->outcomes[i].id == id && r->outcomes[i].stream == stream)
			return true;
	}
	return false;
}

static bool is_prepared(const struct recovery *r, uint64_t id, uint32_t stream)
{
	const struct recovery_doubt *doubt = doubt_find(r, id, stream);

	if (doubt != NULL && shard_has_bug(r->store->shards[0], BUG_FIRST_PART))
		return true;
	return doubt != NULL && doubt->whole_count > 0;
}

static bool doubt_commits(const struct recovery *r, const struct recovery_doubt *doubt)
{
	for (uint32_t stream = 0; stream < STREAMS_MAX; stream++) {
		if ((doubt->participants >> stream & 1) != 0 &&
		    !is_prepared(r, doubt->id, stream) && !is_committed(r, doubt->id, stream))
			return false;
	}
	return true;
}

/* All are decided before the first is ended: each decision looks at the others. */
void recovery_doubts_begin(struct recovery *r)
{
	for (uint32_t i = 0; i < r->doubt_count; i++) {
		struct recovery_doubt *doubt = &r->doubts[i];

		if (doubt->used && !doubt_commits(r, doubt))
			doubt->part = doubt->part_count; /* as if it had been applied */
	}
	r->phase = PHASE_DOUBTS;
	recovery_doubts_step(r);
}

void recovery_doubts_step(struct recovery *r)
{
	for (uint32_t i = 0; i < r->doubt_count; i++) {
		struct recovery_doubt *doubt = &r->doubts[i];
		enum btree_result result;

		if (!doubt->used)
			continue;
		result = doubt_apply(r, doubt);
		if (result != BTREE_OK) {
			(void)recovery_wait_for_page(r, r->miss_partition, result);
			return;
		}
		doubt_end(doubt);
	}
	recovery_count_begin(r);
}

void recovery_doubts_free(struct recovery *r)
{
	for (uint32_t i = 0; i < r->doubt_count; i++)
		doubt_end(&r->doubts[i]);
	free(r->doubts);
	free(r->outcomes);
	r->doubts = NULL;
	r->outcomes = NULL;
	r->doubt_count = r->doubt_max = r->outcome_count = r->outcome_max = 0;
}
