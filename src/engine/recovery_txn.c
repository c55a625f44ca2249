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

		if (doubt->data != NULL && doubt->id == id && doubt->stream == stream)
			return doubt;
	}
	return NULL;
}

static void doubt_end(struct recovery_doubt *doubt)
{
	free(doubt->data);
	doubt->data = NULL;
}

/* A place for one more: that of one that has ended, if there is any. */
static struct recovery_doubt *doubt_get(struct recovery *r)
{
	void *array = r->doubts;
	enum status status;

	for (uint32_t i = 0; i < r->doubt_count; i++) {
		if (r->doubts[i].data == NULL)
			return &r->doubts[i];
	}
	status = grow(&array, &r->doubt_max, r->doubt_count, sizeof(*r->doubts));
	r->doubts = array;
	return status == STATUS_OK ? &r->doubts[r->doubt_count++] : NULL;
}

enum status recovery_prepared(struct recovery *r, const struct record *record,
                              struct location location, struct bytes rest)
{
	struct recovery_doubt *doubt = doubt_find(r, record->version, r->cursor);
	struct prepare prepare;

	if (prepare_decode(record->value, &prepare) != STATUS_OK || prepare.size > rest.size)
		return STATUS_OK; /* of no meaning to the index */
	if (doubt != NULL)
		doubt_end(doubt); /* carried over by a checkpoint that did not count */
	else
		doubt = doubt_get(r);
	if (doubt == NULL)
		return STATUS_NO_SPACE;
	*doubt = (struct recovery_doubt){
		.id = record->version,
		.participants = prepare.participants,
		.stream = r->cursor,
		.segment = location.segment,
		.seed = record_seed(r->segments[location.segment].header.generation,
		                    location.segment),
		.offset = location.offset + location.size,
		.size = prepare.size,
		.data = malloc(prepare.size + 1u),
	};
	if (doubt->data == NULL)
		return STATUS_NO_SPACE;
	memcpy(doubt->data, rest.data, prepare.size);
	return STATUS_OK;
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

/* What it does, from doubt->next on. */
static enum btree_result doubt_apply(struct recovery *r, struct recovery_doubt *doubt)
{
	while (doubt->next < doubt->size) {
		uint32_t offset = doubt->offset + doubt->next;
		struct location location = { .segment = doubt->segment, .offset = offset };
		struct record record;
		enum btree_result result;
		size_t used;
		uint32_t crc;

		if (record_decode(doubt->data + doubt->next, doubt->size - doubt->next, doubt->seed,
		                  offset, &record, &used, &crc) != STATUS_OK)
			unreachable(); /* frame_check() has seen it */
		location.size = used <= RECORD_SIZE_MAX ? (uint32_t)used : 0;
		location.flags = record.flags;
		if (record.key.size > 0 && record.key.size <= KV_KEY_MAX) {
			result = apply_record(r, &record, location_pack(location));
			if (result == BTREE_MISS || result == BTREE_FULL)
				return result;
		}
		doubt->next += (uint32_t)used;
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

static bool doubt_commits(const struct recovery *r, const struct recovery_doubt *doubt)
{
	for (uint32_t stream = 0; stream < STREAMS_MAX; stream++) {
		if ((doubt->participants >> stream & 1) == 0)
			continue;
		if (doubt_find(r, doubt->id, stream) == NULL && !is_committed(r, doubt->id, stream))
			return false;
	}
	return true;
}

/* All are decided before the first is ended: each decision looks at the others. */
void recovery_doubts_begin(struct recovery *r)
{
	for (uint32_t i = 0; i < r->doubt_count; i++) {
		struct recovery_doubt *doubt = &r->doubts[i];

		if (doubt->data != NULL)
			doubt->next = doubt_commits(r, doubt) ? 0 : doubt->size;
	}
	r->phase = PHASE_DOUBTS;
	recovery_doubts_step(r);
}

void recovery_doubts_step(struct recovery *r)
{
	for (uint32_t i = 0; i < r->doubt_count; i++) {
		struct recovery_doubt *doubt = &r->doubts[i];
		enum btree_result result;

		if (doubt->data == NULL)
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
