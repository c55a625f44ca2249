/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery with another number of workers than in the last run: the partitions have moved, and how
 * much lives in a segment was counted by streams that are no more. So it is counted anew, for each
 * worker what its own partitions refer to: pages of the index, records, extents of blobs. What the
 * last run may need, should this one end before the superblock names it, is held until then.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/recovery_state.h"

static void page_counted(void *context, btree_value address)
{
	shard_credit(context, address);
}

/* A record of a blob: its extents are in it. */
static void blob_read(struct recovery *r, uint64_t location)
{
	struct location l = location_unpack(location);
	uint32_t first = l.offset >> BLOCK_SHIFT;
	uint32_t end = (uint32_t)(align_up(l.offset + l.size, BLOCK_SIZE) >> BLOCK_SHIFT);

	assert(r->blob == 0 && r->running == 0);
	assert((size_t)(end - first) << BLOCK_SHIFT <= BUF_SIZE_MAX);
	r->blob = location;
	recovery_read(r, 0, r->big->data, recovery_lba(r, l.segment, first), end - first);
}

/* False: it is damaged. */
static bool blob_counted(struct recovery *r, struct shard *shard)
{
	struct location l = location_unpack(r->blob);
	struct record record;
	size_t used;
	uint32_t crc;

	if (record_decode(r->big->data + l.offset % BLOCK_SIZE, l.size,
	                  record_seed(shard->segments[l.segment].generation, l.segment), l.offset,
	                  &record, &used, &crc) != STATUS_OK)
		return false;
	blob_credit(shard, record.value);
	r->blob = 0;
	return true;
}

static bool location_is_sane(const struct recovery *r, struct location l)
{
	return l.segment < r->store->space.segment_count && l.size > 0 &&
	       (l.offset + l.size - 1) >> BLOCK_SHIFT < r->store->super.segment_blocks;
}

/* The entries of the partition at r->cursor. False: it goes on later, or has failed. */
static bool count_entries(struct recovery *r, struct btree *tree, struct shard *shard)
{
	for (;;) {
		enum btree_result result;
		uint64_t location;

		result = r->walking ? btree_next(&r->walk, /* reverse= */ false, &r->miss)
		                    : btree_seek(tree, &r->walk, (struct bytes){ NULL, 0 },
		                                 /* reverse= */ false, &r->miss);
		r->walking = true;
		if (result == BTREE_ABSENT)
			return true;
		if (result != BTREE_OK) {
			(void)recovery_wait_for_page(r, r->cursor, result);
			return false;
		}
		if (btree_cursor_key(&r->walk).data[0] == KV_SPACE_ENGINE)
			continue; /* an expiry: it refers to nothing */
		location = btree_cursor_value(&r->walk);
		if (!location_is_sane(r, location_unpack(location))) {
			recovery_fail(r, STATUS_CORRUPT, "the index of partition %u is damaged",
			              r->cursor);
			return false;
		}
		shard_credit(shard, location);
		if (location_unpack(location).flags & RECORD_BLOB) {
			blob_read(r, location);
			return false;
		}
	}
}

/*
 * Whether another recovery of the last run, should this one be cut short, reads it: the pages of
 * its checkpoints and the logs behind them. What nothing refers to after a replay is not read by
 * one.
 */
static bool is_of_last_run(const struct recovery *r, uint32_t number)
{
	const struct recovery_segment *segment = &r->segments[number];

	if (segment->listed && segment->header.kind == SEGMENT_INDEX)
		return segment->live;
	return !r->store->super.clean && recovery_is_log_tail(r, number);
}

static void hold(struct recovery *r, struct shard *shard, uint32_t number)
{
	struct shard_segment *segment = &shard->segments[number];

	assert(number < shard->segment_count);
	assert(segment->state == SEGMENT_NONE);
	segment->state = SEGMENT_SEALED;
	segment->dead_lsn = 1;
	segment->kind = r->segments[number].header.kind;
	space_hold(&r->store->space, number);
}

static void count_ended(struct recovery *r)
{
	struct store *store = r->store;
	uint64_t generation = 0;

	assert(r->blob == 0 && !r->walking);
	assert(r->cursor == store->super.partition_count);
	for (uint32_t i = 0; i < store->space.segment_count; i++) {
		bool held = false;

		for (unsigned s = 0; s < r->worker_count; s++) {
			if (store->shards[s]->segments[i].live == 0)
				continue;
			hold(r, store->shards[s], i);
			held = true;
		}
		/* The first worker gives it back when the store is open. */
		if (!held && is_of_last_run(r, i)) {
			hold(r, store->shards[0], i);
			held = true;
		}
		if (held && i >= store->space.touched)
			store->space.touched = i + 1;
	}
	for (unsigned s = 0; s < r->worker_count; s++) {
		if (store->shards[s]->generation_seen > generation)
			generation = store->shards[s]->generation_seen;
	}
	space_start(&store->space, store->space.touched, generation + 1);
	recovery_start_begin(r);
}

void recovery_count_step(struct recovery *r)
{
	assert(recovery_is_redistributed(r));
	assert(r->running == 0);
	for (; r->cursor < r->store->super.partition_count; r->cursor++) {
		struct btree *tree = &r->store->partitions[r->cursor].tree;
		struct shard *shard = recovery_shard(r, r->cursor);

		if (r->blob != 0 && !blob_counted(r, shard)) {
			recovery_fail(r, STATUS_CORRUPT, "a record of partition %u is damaged",
			              r->cursor);
			return;
		}
		if (!count_entries(r, tree, shard))
			return;
		if (btree_visit_addresses(tree, page_counted, shard, &r->miss) != BTREE_OK)
			unreachable(); /* the walk has loaded all inner pages, and they stay */
		r->walking = false;
	}
	count_ended(r);
}
