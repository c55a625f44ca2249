/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments with little left in them are emptied: what is live is written again behind everything
 * else, and the next checkpoint gives the segment back. The victim is the one with the best ratio
 * of space gained to bytes moved, weighed by age (Rosenblum and Ousterhout, SOSP 1991).
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/shard.h"
#include "engine/store.h"

enum {
	CLEAN_SLACK = 8, /* segments of garbage that are not worth cleaning */
	CLEAN_READ = 1 << 20,
	CLEAN_TURN_RECORDS = 1024, /* looked at in a turn: these two bound its share */
	CLEAN_TURN_BYTES = 1 << 20,
	CLEAN_RATIO_MAX = 8, /* bytes moved for each that is written, when hardly any is left */
	CLEAN_IDLE_BYTES = 1 << 20, /* each tick in which nothing was written */
	CLEAN_DEAD_MIN = 16,        /* a victim has a 16th of garbage at least */
	CLEAN_END_LOST = KV_INLINE_MAX + KV_KEY_MAX + 2 * BLOCK_SIZE,
};

struct cleaner {
	struct shard *shard;
	struct buf *buf;
	struct iovec iov;
	struct req req;
	uint32_t victim; /* UINT32_MAX: none */
	uint32_t block;  /* of buf->data[0] */
	uint32_t valid;  /* bytes in buf */
	uint32_t frame;  /* offset in buf of the frame that is looked at */
	uint32_t at;     /* of the record in the frame; 0: the frame was not checked */
	struct btree_miss miss;
	struct buf *page; /* of the index, that is being read */
	uint32_t page_partition;
	bool reading, active;
	bool due;         /* look again whether there is something to clean */
	bool idle;        /* space is wanted, and no segment is worth emptying */
	int64_t budget;   /* bytes that it may write: grows with what others write */
	uint64_t written; /* of others, when it was looked at last */
	uint64_t ticked;  /* the same, at the last tick */
};

struct clean_frame {
	struct frame frame;
	struct cleaner *cleaner;
};

bool cleaner_is_running(const struct shard *shard)
{
	return shard->cleaner->reading || cleaner_blob_is_running(shard);
}

static uint64_t segment_size(const struct shard *shard)
{
	return (uint64_t)shard->segment_blocks << BLOCK_SHIFT;
}

/* Free segments that new data may have, and how many there should be. */
static uint32_t free_now(const struct shard *shard)
{
	return shard->room.left > shard->room.kept ? shard->room.left - shard->room.kept : 0;
}

static uint32_t free_wanted(const struct shard *shard)
{
	return 2 + shard->space->stream_count + shard->segment_count / 64;
}

/* What the segments of a kind hold. */
struct census {
	uint64_t used, live; /* bytes */
	uint32_t dead;       /* segments that only wait to be given back */
};

static struct census take_census(const struct shard *shard, enum segment_kind kind)
{
	struct census census = { .used = 0 };

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		const struct shard_segment *s = &shard->segments[i];

		if (s->state != SEGMENT_SEALED || s->kind != kind)
			continue;
		census.used += segment_size(shard);
		census.live += s->live;
		census.dead += s->live == 0;
	}
	return census;
}

/* Whether there is too much garbage: for the space that is left, or for what is live. */
static bool wants_cleaning(const struct shard *shard)
{
	struct census census = take_census(shard, SEGMENT_LOG);

	if (free_now(shard) < free_wanted(shard))
		return true;
	return census.used > 2 * census.live + CLEAN_SLACK * segment_size(shard);
}

/* Checkpoints that were cut short, and stores that were opened, leave segments nearly empty. */
static bool wants_index_cleaning(const struct shard *shard)
{
	struct census census = take_census(shard, SEGMENT_INDEX);

	return census.used > 2 * census.live + (4 + census.dead) * segment_size(shard);
}

/*
 * The ratio of what is gained to what is read and written, and slightly the age of the newest
 * garbage in it: where much has died lately, more will.
 */
static uint64_t score(const struct shard *shard, uint32_t segment)
{
	const struct shard_segment *s = &shard->segments[segment];
	uint64_t dead, age;

	assert(s->state == SEGMENT_SEALED && s->live > 0);
	if (s->live >= segment_size(shard)) /* with what a transaction has not told yet */
		return 0;
	dead = segment_size(shard) - s->live;
	/* Where it goes as much may be lost at the end, because the next record does not fit. */
	if (dead < segment_size(shard) / CLEAN_DEAD_MIN || dead < 2 * CLEAN_END_LOST)
		return 0;
	age = 1 + (shard->log.lsn_next > s->dead_lsn ? shard->log.lsn_next - s->dead_lsn : 0);
	age = 64 - (unsigned)__builtin_clzll(age); /* its order of magnitude */
	return dead * 1024 / (segment_size(shard) + s->live) * (64 + age);
}

/*
 * One that can be given back at once, if there is any that is nearly as good as one that must wait
 * for the next checkpoint.
 */
static uint32_t choose_victim(const struct shard *shard, enum segment_kind kind)
{
	uint64_t best_score = 0;
	uint32_t best = UINT32_MAX;

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		const struct shard_segment *s = &shard->segments[i];
		uint64_t its;

		if (s->state != SEGMENT_SEALED || s->live == 0 || s->cleaning || s->kind != kind)
			continue;
		its = score(shard, i);
		if (kind == SEGMENT_INDEX || !checkpoint_is_past(shard, i))
			its /= 2;
		if (its > best_score) {
			best_score = its;
			best = i;
		}
	}
	return best;
}

bool cleaner_is_idle(const struct shard *shard)
{
	return shard->cleaner->idle && !cleaner_blob_is_busy(shard);
}

/*
 * The less is left, the more the cleaner writes for what others write. So it ends up where it gains
 * as much as they take, without a moment at which they would have to stand still.
 */
static void grow_budget(struct cleaner *cleaner)
{
	struct shard *shard = cleaner->shard;
	uint64_t others = shard->log.stats.bytes + shard->stats.blob_bytes;
	uint32_t left = free_now(shard), wanted = free_wanted(shard);
	uint64_t written;

	others = others > shard->stats.moved_bytes ? others - shard->stats.moved_bytes : 0;
	written = others > cleaner->written ? others - cleaner->written : 0;
	cleaner->written = others;
	if (!shard_has_space(shard) || shard->log.starved)
		cleaner->budget = CLEAN_TURN_BYTES;
	else if (left < wanted)
		cleaner->budget += (int64_t)(written * CLEAN_RATIO_MAX * (wanted - left) / wanted);
	else
		cleaner->budget += (int64_t)written;
	if (cleaner->budget > 4 * CLEAN_TURN_BYTES)
		cleaner->budget = 4 * CLEAN_TURN_BYTES;
}

static void victim_read(struct req *req);

static void read_on(struct cleaner *cleaner)
{
	struct shard *shard = cleaner->shard;
	uint32_t left = shard->segment_blocks - cleaner->block;
	uint32_t blocks = left < CLEAN_READ >> BLOCK_SHIFT ? left : CLEAN_READ >> BLOCK_SHIFT;
	struct blk_cmd cmd = {
		.op = BLK_READ,
		.lba = shard_lba(shard, cleaner->victim, cleaner->block),
		.block_count = blocks,
		.iov = &cleaner->iov,
		.iov_count = 1,
	};

	assert(blocks > 0);
	assert(!cleaner->reading);
	assert(cleaner->victim < shard->segment_count);
	assert(cleaner->block > 0); /* the header is no frame */
	cleaner->valid = blocks << BLOCK_SHIFT;
	cleaner->frame = 0;
	cleaner->at = 0;
	cleaner->reading = true;
	cleaner->iov = (struct iovec){ cleaner->buf->data, cleaner->valid };
	req_init(&cleaner->req, shard->worker);
	req_push(&cleaner->req, struct clean_frame, victim_read)->cleaner = cleaner;
	blk_submit(shard->blk, &cleaner->req, &cmd);
}

static void victim_ended(struct cleaner *cleaner)
{
	assert(cleaner->victim != UINT32_MAX);
	assert(!cleaner->reading);
	cleaner->shard->segments[cleaner->victim].cleaning = true; /* not looked at again */
	cleaner->shard->stats.cleaned_segments++;
	cleaner->victim = UINT32_MAX;
	cleaner->due = true;
}

static void victim_read(struct req *req)
{
	struct cleaner *cleaner = req_pop(req, struct clean_frame)->cleaner;

	cleaner->reading = false;
	if (req->status != STATUS_OK) {
		cleaner->shard->stats.corrupt++;
		victim_ended(cleaner);
	}
}

enum move_result { MOVED, MOVE_LATER };

static void page_loaded(struct req *req);

/* The leaf of a record is not in memory: read it, then look at the record again. */
static enum move_result load_leaf(struct cleaner *cleaner, uint32_t partition)
{
	struct shard *shard = cleaner->shard;
	struct location l = location_unpack(cleaner->miss.address);
	struct blk_cmd cmd = {
		.op = BLK_READ,
		.lba = shard_lba(shard, l.segment, l.offset >> BLOCK_SHIFT),
		.block_count = 1,
		.iov = &cleaner->iov,
		.iov_count = 1,
	};

	assert(!cleaner->reading && cleaner->page == NULL);
	assert(cleaner->miss.address != 0);
	assert(shard_owns(shard, partition));
	cleaner->page = buf_get(shard->bufs, BLOCK_SIZE);
	if (cleaner->page == NULL)
		return MOVE_LATER;
	cleaner->page_partition = partition;
	cleaner->reading = true;
	cleaner->iov = (struct iovec){ cleaner->page->data, BLOCK_SIZE };
	req_init(&cleaner->req, shard->worker);
	req_push(&cleaner->req, struct clean_frame, page_loaded)->cleaner = cleaner;
	blk_submit(shard->blk, &cleaner->req, &cmd);
	return MOVE_LATER;
}

static void page_loaded(struct req *req)
{
	struct cleaner *cleaner = req_pop(req, struct clean_frame)->cleaner;
	struct shard *shard = cleaner->shard;
	enum status status = req->status;

	assert(cleaner->reading && cleaner->page != NULL);
	cleaner->reading = false;
	if (status == STATUS_OK)
		status = btree_load(&shard->partitions[cleaner->page_partition].tree,
		                    cleaner->page->data, cleaner->miss.address);
	buf_unref(cleaner->page);
	cleaner->page = NULL;
	if (status == STATUS_BUSY) {
		checkpoint_want(shard);
	} else if (status != STATUS_OK) {
		shard->stats.corrupt++;
		victim_ended(cleaner);
	}
}

/* Writes one record again if the index still refers to it. */
static enum move_result move_record(struct cleaner *cleaner, struct record *record,
                                    uint64_t location)
{
	struct shard *shard = cleaner->shard;
	uint64_t hash = hash64(record->key);
	size_t size = location_unpack(location).size;
	uint64_t current = 0, moved;
	uint32_t partition;
	enum btree_result result;
	struct btree *tree;

	if (!kv_key_is_sound(record->key))
		return MOVED; /* a damaged disk; the index names no such key */
	partition = kv_partition_hashed(record->key, hash, shard->partition_count);
	tree = &shard->partitions[partition].tree;
	if (!shard_owns(shard, partition))
		return MOVED; /* its owner cleans what is its own */
	result = btree_find(tree, record->key, &current, &cleaner->miss);
	if (result == BTREE_MISS)
		return load_leaf(cleaner, partition);
	if (result != BTREE_OK || current != location)
		return MOVED;
	if (shard_reserve(shard, size, SPACE_CLEAN) != STATUS_OK)
		return MOVE_LATER;
	moved = log_next_location(&shard->log, size, (uint8_t)location);
	result = btree_replace(tree, record->key, location, moved, &cleaner->miss);
	if (result == BTREE_FULL)
		checkpoint_want(shard);
	if (result != BTREE_OK)
		return MOVE_LATER;
	record->type = RECORD_MOVED;
	assert(moved != location);
	log_append(&shard->log, record, shard_is_relaxed(shard, record->key));
	shard_credit(shard, moved);
	shard_debit(shard, location);
	record_cache_moved(shard->cache, hash, record->key, location, moved);
	shard->stats.moved_bytes += size;
	cleaner->budget -= (int64_t)size;
	return MOVED;
}

/* The records of the frame at cleaner->frame, from cleaner->at on. */
static enum move_result move_frame(struct cleaner *cleaner, const struct frame_header *frame,
                                   unsigned *budget)
{
	uint32_t seed = record_seed(frame->generation, frame->segment);
	const uint8_t *data = cleaner->buf->data + cleaner->frame;

	assert(cleaner->at >= FRAME_HEADER_SIZE && cleaner->at <= frame->size);
	assert(frame->segment == cleaner->victim);
	while (cleaner->at < frame->size) {
		uint32_t place = (frame->block << BLOCK_SHIFT) + cleaner->at;
		struct location l = { .segment = frame->segment, .offset = place };
		struct record record;
		size_t used;
		uint32_t crc;

		if (*budget == 0 || cleaner->budget <= 0)
			return MOVE_LATER;
		if (record_decode(data + cleaner->at, frame->size - cleaner->at, seed, place,
		                  &record, &used, &crc) != STATUS_OK)
			unreachable(); /* the whole frame was checked */
		l.size = (uint32_t)(used <= RECORD_SIZE_MAX ? used : 0);
		l.flags = record.flags;
		if ((record.type == RECORD_PUT || record.type == RECORD_MOVED ||
		     record.type == RECORD_PREPARED_PUT) &&
		    move_record(cleaner, &record, location_pack(l)) == MOVE_LATER)
			return MOVE_LATER;
		cleaner->at += (uint32_t)used;
		(*budget)--;
	}
	return MOVED;
}

static void clean_log(struct cleaner *cleaner)
{
	struct shard *shard = cleaner->shard;
	unsigned budget = CLEAN_TURN_RECORDS;
	struct segment_header segment = {
		.segment = cleaner->victim,
		.generation = shard->segments[cleaner->victim].generation,
	};

	assert(!cleaner->reading);
	assert(cleaner->frame <= cleaner->valid);
	assert(cleaner->frame % BLOCK_SIZE == 0);
	while (budget > 0) {
		struct frame_header frame;
		enum status status = STATUS_NOT_FOUND;
		uint32_t block = cleaner->block + (cleaner->frame >> BLOCK_SHIFT);

		if (cleaner->frame < cleaner->valid)
			status = cleaner->at > 0
			                 ? frame_header_decode(cleaner->buf->data + cleaner->frame,
			                                       &frame)
			                 : frame_check(cleaner->buf->data + cleaner->frame,
			                               cleaner->valid - cleaner->frame, &segment,
			                               block, &frame);
		if (status != STATUS_OK) {
			if (cleaner->frame > 0 && block < shard->segment_blocks) {
				cleaner->block = block; /* from its start */
				read_on(cleaner);
			} else {
				victim_ended(cleaner);
			}
			return;
		}
		if (cleaner->at == 0)
			cleaner->at = FRAME_HEADER_SIZE;
		if (move_frame(cleaner, &frame, &budget) == MOVE_LATER)
			return;
		cleaner->frame += (uint32_t)align_up(frame.size, BLOCK_SIZE);
		cleaner->at = 0;
	}
}

/* Pages that the index still uses are made dirty: the next checkpoint writes them elsewhere. */
static void clean_index(struct cleaner *cleaner)
{
	struct shard *shard = cleaner->shard;

	assert(!cleaner->reading);
	assert(!checkpoint_is_running(shard)); /* its pages are frozen */
	for (; cleaner->frame < cleaner->valid; cleaner->frame += BLOCK_SIZE) {
		const uint8_t *page = cleaner->buf->data + cleaner->frame;
		uint64_t address = location_pack((struct location){
		        .segment = cleaner->victim,
		        .offset = (cleaner->block << BLOCK_SHIFT) + cleaner->frame,
		        .size = BLOCK_SIZE,
		});
		uint32_t partition = btree_page_tag(page);

		if (partition >= shard->partition_count || !shard_owns(shard, partition) ||
		    btree_page_check(page, partition, address) != STATUS_OK)
			continue;
		switch (btree_touch(&shard->partitions[partition].tree, page, address,
		                    &cleaner->miss)) {
		case BTREE_MISS:
			load_leaf(cleaner, partition);
			return;
		case BTREE_FULL:
			checkpoint_want(shard);
			return;
		default:
			break;
		}
	}
	cleaner->block += cleaner->valid >> BLOCK_SHIFT;
	if (cleaner->block < shard->segment_blocks) {
		read_on(cleaner);
		return;
	}
	victim_ended(cleaner);
}

static void next_victim(struct cleaner *cleaner)
{
	struct shard *shard = cleaner->shard;
	bool low = free_now(shard) < free_wanted(shard);
	bool was_idle = cleaner->idle;

	assert(cleaner->victim == UINT32_MAX);
	assert(!cleaner->reading);
	cleaner->due = false;
	cleaner->active = wants_cleaning(shard);
	cleaner->idle = false;
	if (!checkpoint_is_running(shard)) {
		if (low && supply_checkpoint_is_worth(shard))
			checkpoint_want(shard);
		if (wants_index_cleaning(shard))
			cleaner->victim = choose_victim(shard, SEGMENT_INDEX);
	}
	if (cleaner->victim == UINT32_MAX && cleaner->active)
		cleaner->victim = choose_victim(shard, SEGMENT_LOG);
	if (cleaner->victim == UINT32_MAX) {
		cleaner->idle = low;
		return;
	}
	assert(shard->segments[cleaner->victim].state == SEGMENT_SEALED);
	assert(!shard->segments[cleaner->victim].emptying);
	if (was_idle)
		shard->room_ns = shard->worker->now_ns; /* there is hope again */
	cleaner->block = 1;
	read_on(cleaner);
}

static bool may_clean(const struct shard *shard)
{
	return shard->log.failed == STATUS_OK && shard->exclusive == NULL && !shard->clear.active &&
	       shard->open && !shard->closing;
}

bool cleaner_has_work(const struct shard *shard)
{
	return cleaner_blob_has_work(shard) && may_clean(shard);
}

void cleaner_consider(struct shard *shard)
{
	struct cleaner *cleaner = shard->cleaner;

	if (!may_clean(shard))
		return;
	cleaner_blob_turn(shard, free_now(shard) < free_wanted(shard));
	if (cleaner->reading)
		return;
	grow_budget(cleaner);
	if (cleaner->victim == UINT32_MAX) {
		if (cleaner->due)
			next_victim(cleaner);
		return;
	}
	if (shard->segments[cleaner->victim].kind == SEGMENT_LOG)
		clean_log(cleaner);
	else if (!checkpoint_is_running(shard))
		clean_index(cleaner);
}

void cleaner_tick(struct shard *shard)
{
	struct cleaner *cleaner = shard->cleaner;

	cleaner_blob_tick(shard);
	cleaner->due = true;
	if (cleaner->written == cleaner->ticked && cleaner->budget < CLEAN_IDLE_BYTES)
		cleaner->budget = CLEAN_IDLE_BYTES;
	cleaner->ticked = cleaner->written;
}

enum status cleaner_open(struct shard *shard)
{
	struct cleaner *cleaner = calloc(1, sizeof(*cleaner));

	if (cleaner == NULL)
		return STATUS_NO_SPACE;
	shard->cleaner = cleaner;
	cleaner->shard = shard;
	cleaner->victim = UINT32_MAX;
	cleaner->buf = buf_get(shard->bufs, CLEAN_READ);
	if (cleaner->buf == NULL) {
		cleaner_close(shard);
		return STATUS_NO_SPACE;
	}
	return STATUS_OK;
}

void cleaner_close(struct shard *shard)
{
	struct cleaner *cleaner = shard->cleaner;

	if (cleaner->buf != NULL)
		buf_unref(cleaner->buf);
	free(cleaner);
	shard->cleaner = NULL;
}
