/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery, first part: what the last checkpoints say, and the headers of segments. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/body.h"
#include "engine/recovery_state.h"

/* Roots: two slots of two copies each, in one read. */

static void body_read(struct recovery *r)
{
	struct root *root = &r->roots[r->cursor];
	uint32_t at = 0;

	assert(r->cursor < r->streams);
	assert(root->body_count <= ROOT_EXTENTS_MAX);
	r->phase = PHASE_BODY;
	for (uint32_t i = 0; i < root->body_count; i++) {
		const struct root_extent *e = &root->body[i];

		if (e->segment >= r->store->space.segment_count || e->blocks == 0 ||
		    e->block >= r->store->super.segment_blocks ||
		    e->blocks > r->store->super.segment_blocks - e->block ||
		    at + e->blocks > BUF_SIZE_MAX >> BLOCK_SHIFT) {
			r->status = STATUS_CORRUPT;
			break;
		}
		recovery_read(r, i, r->big->data + ((size_t)at << BLOCK_SHIFT),
		              recovery_lba(r, e->segment, e->block), e->blocks);
		at += e->blocks;
	}
	if (r->running == 0)
		recovery_fail(r, STATUS_CORRUPT, "the root of stream %u is damaged", r->cursor);
}

void recovery_roots_step(struct recovery *r)
{
	struct root *best = &r->roots[r->cursor];
	bool found = false;

	assert(r->running == 0);
	assert(r->cursor < r->streams);
	for (uint32_t i = 0; i < 4; i++) {
		struct root root;

		if (root_decode(recovery_slot(r, 0) + ((size_t)i << BLOCK_SHIFT), i & 1, &root) !=
		            STATUS_OK ||
		    root.run != r->run || root.stream != r->cursor || (root.sequence & 1) != i >> 1)
			continue;
		if (!found || root.sequence > best->sequence)
			*best = root;
		found = true;
	}
	if (!found) {
		recovery_fail(r, STATUS_CORRUPT, "both roots of stream %u are damaged", r->cursor);
		return;
	}
	body_read(r);
}

/*
 * The segment is in a later life than that in which these streams listed it. A stream that had
 * nothing live in it has nothing to do with it any more. Where something was live, the log behind
 * the checkpoint says what has replaced it: that is still counted until the log has been replayed.
 */
static void disown(struct recovery *r, uint32_t number)
{
	assert(number < r->store->space.segment_count);
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard_segment *segment = &r->store->shards[s]->segments[number];

		if (segment->live > 0)
			continue;
		segment->state = SEGMENT_NONE;
		segment->kind = SEGMENT_FREE;
	}
}

/*
 * Checkpoints of several streams are of several times: what one had in its last, and gave back
 * since, another may have taken. The later life counts.
 */
static bool is_given_back(struct recovery *r, const struct body_segment *listed)
{
	struct recovery_segment *segment = &r->segments[listed->segment];

	if (!segment->listed || segment->header.generation == listed->generation)
		return false;
	if (segment->header.generation > listed->generation)
		return true;
	segment->live = false;
	disown(r, listed->segment);
	return false;
}

static void own(struct shard *shard, const struct body_segment *listed)
{
	struct shard_segment *segment = &shard->segments[listed->segment];

	segment->live = listed->live;
	segment->kind = listed->kind;
	segment->state = SEGMENT_SEALED;
	segment->dead_lsn = 1;
}

static void body_segments(struct recovery *r, const struct body *body)
{
	struct shard *shard = recovery_is_redistributed(r) ? NULL : r->store->shards[r->cursor];

	for (uint32_t i = 0; i < body->segment_count; i++) {
		struct body_segment listed = body_segment_get(body, i);
		struct recovery_segment *segment = &r->segments[listed.segment];

		assert(listed.segment < r->store->space.segment_count); /* body_open() has looked */
		if (is_given_back(r, &listed)) {
			if (shard != NULL && listed.live > 0)
				own(shard, &listed);
			continue;
		}
		segment->listed = true;
		segment->live = segment->live || listed.live > 0;
		segment->header.generation = listed.generation;
		segment->header.kind = listed.kind;
		for (unsigned s = 0; s < r->worker_count; s++)
			r->store->shards[s]->segments[listed.segment].generation =
			        listed.generation;
		/* Of the index, and empty: that checkpoint does not need it, so this one may. */
		if (shard == NULL || (listed.kind == SEGMENT_INDEX && listed.live == 0))
			continue;
		own(shard, &listed);
	}
}

static void body_partitions(struct recovery *r, struct body *body)
{
	struct body_partition partition;

	while (body_partition_next(body, &partition)) {
		assert(partition.partition < r->store->super.partition_count);
		r->trees[partition.partition] = partition.root;
		r->tree_counts[partition.partition] = partition.key_count;
		for (uint32_t i = 0; i < partition.space_count; i++) {
			uint64_t count;
			uint8_t space;

			body_space_get(&partition, i, &space, &count);
			r->store->partitions[partition.partition].counts[space] = count;
		}
	}
}

static bool body_txns(struct recovery *r, const struct body *body)
{
	for (uint32_t i = 0; i < body->txn_count; i++) {
		if (recovery_add_outcome(r, body_txn_get(body, i)) != STATUS_OK)
			return false;
	}
	return true;
}

static void headers_begin(struct recovery *r);
static void trees_begin(struct recovery *r);

void recovery_body_step(struct recovery *r)
{
	const struct root *root = &r->roots[r->cursor];
	const struct body_limits limits = { r->store->space.segment_count,
		                            r->store->super.segment_blocks,
		                            r->store->super.partition_count };
	struct body body;

	if (root->body_size > BUF_SIZE_MAX ||
	    crc32c(0, r->big->data, root->body_size) != root->body_crc ||
	    body_open(&body, r->big->data, root->body_size, &limits) != STATUS_OK) {
		recovery_fail(r, STATUS_CORRUPT, "the checkpoint of stream %u is damaged",
		              r->cursor);
		return;
	}
	body_segments(r, &body);
	body_partitions(r, &body);
	if (!body_txns(r, &body)) {
		recovery_finish(r, STATUS_NO_SPACE);
		return;
	}
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard *shard = r->store->shards[s];

		if (root->version_next > shard->version_next)
			shard->version_next = root->version_next;
		if (root->touched > shard->touched)
			shard->touched = root->touched;
		if (root->generation_next > shard->generation_seen)
			shard->generation_seen = root->generation_next;
	}
	if (!recovery_is_redistributed(r))
		checkpoint_restore(r->store->shards[r->cursor], root);
	if (++r->cursor < r->streams) {
		r->phase = PHASE_ROOTS;
		recovery_read(r, 0, recovery_slot(r, 0), root_block(r->run, r->cursor, 0, 0), 4);
		return;
	}
	headers_begin(r);
}

/* Headers. */

static void headers_read(struct recovery *r)
{
	for (unsigned i = 0; i < READS_MAX && r->cursor < r->store->space.segment_count; i++) {
		r->reads[i].tag = r->cursor;
		recovery_read(r, i, recovery_slot(r, i), recovery_lba(r, r->cursor++, 0), 2);
	}
}

static void headers_begin(struct recovery *r)
{
	r->phase = PHASE_HEADERS;
	r->cursor = 0;
	r->last_header = r->store->shards[0]->touched;
	headers_read(r);
}

static void header_seen(struct recovery *r, uint32_t number, const uint8_t *data)
{
	struct recovery_segment *segment = &r->segments[number];
	struct segment_header header;
	struct frame_header frame;

	if (segment_header_decode(data, number, &header) != STATUS_OK)
		return;
	r->last_header = number + 1 > r->last_header ? number + 1 : r->last_header;
	r->run_seen = header.run > r->run_seen ? header.run : r->run_seen;
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard *shard = r->store->shards[s];

		if (header.generation > shard->generation_seen)
			shard->generation_seen = header.generation;
	}
	if (r->store->super.clean)
		return; /* what counts is listed; only the numbers are not used again */
	if (segment->listed && header.generation != segment->header.generation) {
		if ((segment->live && segment->header.kind == SEGMENT_INDEX) ||
		    header.generation < segment->header.generation)
			return;          /* damaged, or older: what is read there will say so */
		segment->listed = false; /* given back since, and used again */
		segment->live = false;
		disown(r, number);
	}
	segment->header = header;
	segment->found = true;
	for (unsigned s = 0; s < r->worker_count; s++)
		r->store->shards[s]->segments[number].generation = header.generation;
	if (header.kind == SEGMENT_LOG &&
	    frame_header_decode(data + BLOCK_SIZE, &frame) == STATUS_OK &&
	    frame.generation == header.generation && frame.segment == number && frame.block == 1) {
		segment->first_lsn = frame.lsn;
		segment->first_durable = frame.durable_lsn;
	}
}

/* Log and blob segments that came after the last checkpoint belong to their stream. */
static void headers_adopt(struct recovery *r)
{
	for (uint32_t i = 0; i < r->store->space.segment_count; i++) {
		struct recovery_segment *segment = &r->segments[i];
		struct shard *shard;

		if (!segment->found || segment->listed || recovery_is_redistributed(r) ||
		    segment->header.run != r->run || segment->header.kind == SEGMENT_INDEX ||
		    segment->header.stream >= r->streams)
			continue;
		if (segment->header.kind == SEGMENT_LOG &&
		    segment->first_lsn <= r->roots[segment->header.stream].lsn)
			continue; /* given back by the checkpoint, or never written */
		shard = r->store->shards[segment->header.stream];
		shard->segments[i].state = SEGMENT_SEALED;
		shard->segments[i].kind = segment->header.kind;
		shard->segments[i].dead_lsn = 1;
	}
}

void recovery_headers_step(struct recovery *r, unsigned count)
{
	assert(count > 0 && count <= READS_MAX);
	assert(r->running == 0);
	for (unsigned i = 0; i < count; i++)
		header_seen(r, (uint32_t)r->reads[i].tag, r->reads[i].data);
	if (r->cursor < r->store->space.segment_count && r->cursor < r->last_header + HEADER_GAP) {
		headers_read(r);
		return;
	}
	headers_adopt(r);
	trees_begin(r);
}

/* Trees. */

static void trees_read(struct recovery *r)
{
	for (unsigned i = 0; i < READS_MAX && r->cursor < r->store->super.partition_count; i++) {
		struct location l = location_unpack(r->trees[r->cursor]);

		if (l.segment >= r->store->space.segment_count || l.size != BLOCK_SIZE ||
		    l.offset % BLOCK_SIZE != 0 ||
		    l.offset >> BLOCK_SHIFT >= r->store->super.segment_blocks) {
			r->status = STATUS_CORRUPT;
			break;
		}
		r->reads[i].tag = r->cursor++;
		recovery_read(r, i, recovery_slot(r, i),
		              recovery_lba(r, l.segment, l.offset >> BLOCK_SHIFT), 1);
	}
	if (r->running == 0)
		recovery_fail(r, STATUS_CORRUPT, "the root of partition %u is not in the store",
		              r->cursor);
}

bool recovery_is_log_tail(const struct recovery *r, uint32_t number)
{
	const struct recovery_segment *segment = &r->segments[number];

	for (uint32_t s = 0; s < r->streams; s++) {
		const struct root *root = &r->roots[s];

		if (number == root->log_segment ||
		    (segment->found && segment->header.kind == SEGMENT_LOG &&
		     segment->header.run == r->run && segment->header.stream == s &&
		     segment->first_lsn > root->lsn))
			return true;
	}
	return false;
}

/*
 * What was dead when the last checkpoint was made, and is not needed to replay what followed, is
 * free now, not when the store is open: else every open that is cut short costs segments.
 */
static void drop_if_dead(struct recovery *r, struct shard *shard, uint32_t number)
{
	struct shard_segment *segment = &shard->segments[number];
	bool ended = r->store->super.clean || r->roots[shard->index].clean;

	if (segment->state == SEGMENT_NONE || segment->live > 0)
		return;
	if (!ended && segment->kind == SEGMENT_BLOB)
		return; /* a record behind the root may name what is in it */
	if (!ended && segment->kind == SEGMENT_LOG && recovery_is_log_tail(r, number))
		return;
	segment->state = SEGMENT_NONE;
	segment->kind = SEGMENT_FREE;
}

void recovery_drop_replaced(struct recovery *r, bool all)
{
	if (r->store->super.clean)
		return;
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard *shard = r->store->shards[s];

		for (uint32_t i = 0; i < shard->segment_count; i++) {
			struct shard_segment *segment = &shard->segments[i];

			if (segment->state != SEGMENT_SEALED || segment->live > 0 ||
			    segment->pins > 0 || segment->kind == SEGMENT_INDEX ||
			    (segment->kind == SEGMENT_BLOB && !all) || recovery_is_log_tail(r, i))
				continue;
			segment->state = SEGMENT_NONE;
			segment->kind = SEGMENT_FREE;
			space_drop(&r->store->space, i);
		}
	}
}

static void trees_begin(struct recovery *r)
{
	struct store *store = r->store;
	uint32_t touched = store->shards[0]->touched;
	uint64_t generation = store->shards[0]->generation_seen;

	if (r->last_header > touched)
		touched = r->last_header;
	/* What an open that was cut short has written is not taken for ours; the set stays the
	 * other. */
	while (store->super.run <= r->run_seen)
		store->super.run += 2;
	assert((store->super.run ^ r->run) & 1); /* else: over the roots that count */
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard *shard = store->shards[s];

		shard->counting = !recovery_is_redistributed(r);
		for (uint32_t i = 0; i < shard->segment_count; i++) {
			if (shard->counting)
				drop_if_dead(r, shard, i);
			if (shard->segments[i].state == SEGMENT_NONE)
				continue;
			space_hold(&store->space, i);
			touched = i + 1 > touched ? i + 1 : touched;
		}
	}
	if (!recovery_is_redistributed(r))
		space_start(&store->space, touched, generation + 1);
	else
		store->space.touched = touched;
	r->phase = PHASE_TREES;
	r->cursor = 0;
	trees_read(r);
}

void recovery_trees_step(struct recovery *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t number = (uint32_t)r->reads[i].tag;
		enum status status;

		assert(number < r->store->super.partition_count);
		status = btree_open(&r->store->partitions[number].tree,
		                    recovery_shard(r, number)->pool, number, r->reads[i].data,
		                    r->trees[number], r->tree_counts[number]);

		if (status != STATUS_OK) {
			recovery_fail(r, status, "the root page of partition %u is damaged",
			              number);
			return;
		}
	}
	if (r->cursor < r->store->super.partition_count) {
		trees_read(r);
		return;
	}
	if (r->store->super.clean)
		recovery_count_begin(r);
	else
		recovery_replay_begin(r, 0);
}
