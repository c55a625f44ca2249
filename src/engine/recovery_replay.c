/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery, second part: the frames behind the checkpoints, replayed in order. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/recovery_state.h"

/* Brings a page into memory, or makes room for it, and then repeats the phase. */
bool recovery_wait_for_page(struct recovery *r, uint32_t partition, enum btree_result result)
{
	if (result == BTREE_MISS) {
		struct location l = location_unpack(r->miss.address);

		r->miss_partition = partition;
		r->resume = r->phase;
		r->phase = PHASE_PAGE;
		recovery_read(r, 0, r->page->data,
		              recovery_lba(r, l.segment, l.offset >> BLOCK_SHIFT), 1);
		return true;
	}
	assert(result == BTREE_FULL);
	if (recovery_is_redistributed(r)) {
		recovery_fail(
		        r, STATUS_NO_SPACE,
		        "the index does not fit the memory while the store is spread over another "
		        "number of workers: start it once with %u, or raise memory",
		        r->streams);
		return false;
	}
	recovery_drop_replaced(r, /* all= */ false);
	r->resume = r->phase;
	r->phase = PHASE_MAKE_ROOM;
	recovery_start_shard(r, store_owner(r->store, partition), START_BRIEFLY);
	return true;
}

void recovery_page_step(struct recovery *r)
{
	assert(r->running == 0);
	assert(r->miss_partition < r->store->super.partition_count);
	struct btree *tree = &r->store->partitions[r->miss_partition].tree;
	enum status status = btree_load(tree, r->page->data, r->miss.address);

	r->phase = r->resume;
	if (status == STATUS_BUSY) {
		(void)recovery_wait_for_page(r, r->miss_partition, BTREE_FULL);
		return;
	}
	if (status != STATUS_OK) {
		recovery_fail(r, status, "a page of the index of partition %u is damaged",
		              r->miss_partition);
		return;
	}
	recovery_resume(r);
}

/* Replay. */

static void replay_read(struct recovery *r)
{
	uint32_t left = r->store->super.segment_blocks - r->block;
	uint32_t most = BUF_SIZE_MAX >> BLOCK_SHIFT;

	assert(r->segment < r->store->space.segment_count);
	assert(r->block < r->store->super.segment_blocks);
	r->phase = PHASE_REPLAY;
	r->at = 0;
	r->clear_next = 0;
	r->valid = (left < most ? left : most) << BLOCK_SHIFT;
	recovery_read(r, 0, r->big->data, recovery_lba(r, r->segment, r->block),
	              r->valid >> BLOCK_SHIFT);
}

/* The log segment of this stream that starts with frame `lsn`; UINT32_MAX: none. */
static uint32_t segment_starting(const struct recovery *r, uint64_t lsn)
{
	for (uint32_t i = 0; i < r->store->space.segment_count; i++) {
		const struct recovery_segment *segment = &r->segments[i];

		if (segment->found && segment->header.kind == SEGMENT_LOG &&
		    segment->header.run == r->run && segment->header.stream == r->cursor &&
		    segment->first_lsn == lsn)
			return i;
	}
	return UINT32_MAX;
}

/* Whether a segment of this stream was begun when frame `lsn` was durable already. */
static bool later_segment_proves(const struct recovery *r, uint64_t lsn, uint64_t *next_lsn)
{
	bool proven = false;

	*next_lsn = UINT64_MAX;
	for (uint32_t i = 0; i < r->store->space.segment_count; i++) {
		const struct recovery_segment *segment = &r->segments[i];

		if (!segment->found || segment->header.kind != SEGMENT_LOG ||
		    segment->header.run != r->run || segment->header.stream != r->cursor ||
		    segment->first_lsn <= lsn)
			continue;
		if (segment->first_durable >= lsn)
			proven = true;
		if (segment->first_lsn < *next_lsn)
			*next_lsn = segment->first_lsn;
	}
	return proven;
}

static void replay_next_stream(struct recovery *r)
{
	if (r->cursor + 1 < r->streams)
		recovery_replay_begin(r, r->cursor + 1);
	else
		recovery_doubts_begin(r);
}

void recovery_replay_begin(struct recovery *r, uint32_t stream)
{
	const struct root *root = &r->roots[stream];

	assert(stream < r->streams);
	assert(r->running == 0 && r->at == 0);
	r->cursor = stream;
	for (unsigned s = 0; s < r->worker_count; s++)
		r->store->shards[s]->replaying = true;
	r->lsn = root->lsn + 1;
	r->segment = root->log_segment;
	r->block = root->log_block;
	if (root->clean) {
		replay_next_stream(r);
		return;
	}
	if (r->segment >= r->store->space.segment_count || !r->segments[r->segment].found ||
	    r->block >= r->store->super.segment_blocks) {
		r->segment = segment_starting(r, r->lsn);
		r->block = 1;
		if (r->segment == UINT32_MAX) {
			replay_next_stream(r);
			return;
		}
	}
	replay_read(r);
}

static void replay_damaged(struct recovery *r, uint64_t next_lsn)
{
	if (!r->store->options.salvage) {
		recovery_fail(
		        r, STATUS_CORRUPT,
		        "the log of stream %u is damaged: frame %llu in segment %u, block %u was "
		        "durable and cannot be read. What it held is lost; weir check --repair "
		        "goes "
		        "on without it",
		        r->cursor, (unsigned long long)r->lsn, r->segment, r->block);
		return;
	}
	r->store->recovered.frames_lost += next_lsn == UINT64_MAX ? 1 : next_lsn - r->lsn;
	if (next_lsn == UINT64_MAX) {
		replay_next_stream(r);
		return;
	}
	r->lsn = next_lsn;
	r->segment = segment_starting(r, next_lsn);
	r->block = 1;
	replay_read(r);
}

/*
 * Nothing valid is where frame r->lsn should be. If that frame was durable once, a later frame of
 * the same life of the segment says so: it carries how far the log was durable when it was written.
 */
static void proof_read(struct recovery *r)
{
	uint32_t left = r->store->super.segment_blocks - r->proof_block;
	uint32_t most = BUF_SIZE_MAX >> BLOCK_SHIFT;
	uint64_t next_lsn;

	if (left == 0) {
		if (later_segment_proves(r, r->lsn, &next_lsn))
			replay_damaged(r, next_lsn);
		else
			replay_next_stream(r);
		return;
	}
	r->phase = PHASE_PROOF;
	r->valid = (left < most ? left : most) << BLOCK_SHIFT;
	recovery_read(r, 0, r->big->data, recovery_lba(r, r->segment, r->proof_block),
	              r->valid >> BLOCK_SHIFT);
}

void recovery_proof_step(struct recovery *r)
{
	for (uint32_t at = 0; at < r->valid; at += BLOCK_SIZE) {
		struct frame_header frame;
		uint32_t block = r->proof_block + (at >> BLOCK_SHIFT);

		if (frame_header_decode(r->big->data + at, &frame) != STATUS_OK ||
		    frame.generation != r->segments[r->segment].header.generation ||
		    frame.block != block || frame.lsn <= r->lsn || frame.durable_lsn < r->lsn)
			continue;
		if (r->store->options.salvage) {
			r->store->recovered.frames_lost += frame.lsn - r->lsn;
			r->lsn = frame.lsn;
			r->block = block;
			replay_read(r);
			return;
		}
		replay_damaged(r, frame.lsn);
		return;
	}
	r->proof_block += r->valid >> BLOCK_SHIFT;
	proof_read(r);
}

/* No frame at r->block: the log goes on in another segment, or ends, or is damaged. */
static void replay_gap(struct recovery *r)
{
	uint32_t segment = segment_starting(r, r->lsn);

	if (segment != UINT32_MAX && segment != r->segment) {
		r->segment = segment;
		r->block = 1;
		replay_read(r);
		return;
	}
	r->proof_block = r->block;
	proof_read(r);
}

static enum btree_result clear_again(struct recovery *r, const struct record *record)
{
	for (; r->clear_next < r->store->super.partition_count; r->clear_next++) {
		enum btree_result result;

		/* A stream's CLEAR is about the partitions that the stream had. */
		if (r->clear_next % r->streams != r->cursor)
			continue;
		result = replay_clear(recovery_shard(r, r->clear_next), record, r->clear_next,
		                      &r->miss);
		if (result != BTREE_ABSENT) {
			r->miss_partition = r->clear_next;
			return result;
		}
	}
	r->clear_next = 0;
	return BTREE_OK;
}

/* A record of this type with such a key was never written: its checksum is right, and it is not. */
static bool record_is_sound(const struct record *record)
{
	switch (record->type) {
	case RECORD_PUT:
	case RECORD_MOVED:
	case RECORD_DELETE:
	case RECORD_PREPARED_PUT:
	case RECORD_PREPARED_DELETE:
		return kv_key_is_sound(record->key);
	case RECORD_CLEAR:
		return record->key.size > 0 && record->key.size <= KV_KEY_MAX;
	default:
		return true; /* its key is not a key of the index */
	}
}

static enum btree_result replay_record(struct recovery *r, const struct record *record,
                                       uint64_t location)
{
	uint32_t partition;
	struct shard *shard;

	if (record->type == RECORD_CLEAR)
		return clear_again(r, record);
	if (record->type == RECORD_FREE) {
		if (!recovery_is_redistributed(r))
			blob_replay_free(r->store->shards[r->cursor], record);
		return BTREE_OK;
	}
	if (record->type == RECORD_RESOLVE)
		return recovery_resolved(r, record);
	if (!kv_key_is_sound(record->key))
		return BTREE_OK; /* of a type that has none: of no meaning to the index */
	partition = kv_partition(record->key, r->store->super.partition_count);
	shard = recovery_shard(r, partition);
	r->miss_partition = partition;
	switch (record->type) {
	case RECORD_PUT:
	case RECORD_MOVED:
		return replay_put(shard, record, location, &r->miss);
	case RECORD_DELETE:
		if (shard_has_bug(shard, BUG_FORGOTTEN_DELETE))
			return BTREE_OK;
		return replay_delete(shard, record, &r->miss);
	default:
		return BTREE_OK; /* of no meaning to the index */
	}
}

/* The records of the whole frame at the start of big. False: it goes on later. */
static bool replay_frame(struct recovery *r, uint32_t offset, const struct frame_header *frame)
{
	const uint8_t *data = r->big->data + offset;
	uint32_t seed = record_seed(frame->generation, frame->segment);

	assert(frame->lsn == r->lsn);
	assert(offset + frame->size <= r->valid);
	if (r->at == 0)
		r->at = FRAME_HEADER_SIZE;
	while (r->at < frame->size) {
		uint32_t place = (frame->block << BLOCK_SHIFT) + r->at;
		struct location location = { .segment = frame->segment, .offset = place };
		struct record record;
		enum btree_result result;
		size_t used;
		uint32_t crc;

		if (record_decode(data + r->at, frame->size - r->at, seed, place, &record, &used,
		                  &crc) != STATUS_OK)
			unreachable(); /* frame_check() has seen it */
		if (!record_is_sound(&record)) {
			recovery_fail(r, STATUS_CORRUPT,
			              "the log of stream %u has a record with an impossible key in "
			              "segment %u, offset %u",
			              r->cursor, frame->segment, place);
			return false;
		}
		location.size = used <= RECORD_SIZE_MAX ? (uint32_t)used : 0;
		location.flags = record.flags;
		if (record.type == RECORD_PREPARE &&
		    recovery_prepared(r, &record, location,
		                      bytes_of(data + r->at + used, frame->size - r->at - used)) !=
		            STATUS_OK) {
			recovery_fail(r, STATUS_NO_SPACE, "no memory for a transaction");
			return false;
		}
		result = replay_record(r, &record, location_pack(location));
		if (result == BTREE_MISS || result == BTREE_FULL) {
			(void)recovery_wait_for_page(r, r->miss_partition, result);
			return false;
		}
		r->at += (uint32_t)used;
		r->store->recovered.records++;
	}
	r->at = 0;
	r->store->recovered.frames++;
	return true;
}

void recovery_replay_step(struct recovery *r)
{
	const struct segment_header *segment = &r->segments[r->segment].header;
	uint32_t offset = 0;

	if (r->at > 0) /* in the middle of a frame: big starts with an earlier one */
		offset = r->replay_offset;
	for (;;) {
		struct frame_header frame;
		enum status status = STATUS_NOT_FOUND;

		if (offset < r->valid)
			status = frame_check(r->big->data + offset, r->valid - offset, segment,
			                     r->block, &frame);
		if (status == STATUS_OK && frame.lsn == r->lsn) {
			r->replay_offset = offset;
			if (!replay_frame(r, offset, &frame))
				return;
			r->lsn++;
			offset += (uint32_t)align_up(frame.size, BLOCK_SIZE);
			r->block += (uint32_t)align_up(frame.size, BLOCK_SIZE) >> BLOCK_SHIFT;
			continue;
		}
		if (offset > 0 && r->block < r->store->super.segment_blocks) {
			replay_read(r); /* from its start, in case only a part of it was read */
			return;
		}
		replay_gap(r);
		return;
	}
}
