/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blob segments with little left in them are emptied. Nothing in such a segment says whose its
 * extents are, so one pass over the index looks for all values that have some in any of the
 * victims: what is there is written again, and then a record of the same version names the new
 * places, with a RECORD_FREE of the old ones behind it in the same frame. So the log says after
 * every frame what lives where, and a segment is given back like any other whose content the log
 * has replaced.
 *
 * One extent is under way at a time, and entries of the index are looked at at a certain rate: that
 * bounds the share of the device and of the turns.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/blob_state.h"
#include "engine/store.h"

enum {
	WALK_TURN = 256,       /* entries of the index, in a turn */
	WALK_TICK = 20000,     /* in a tick: a few per cent of a core */
	WALK_TICK_LOW = 80000, /* when space is wanted */
	PASS_TICKS = 10,       /* from one pass to the next, at least */
	PASS_SHARE = 3,        /* and so many times what the one before took */
	WAIT_TICKS = 20,       /* for a segment: then the pass is given up */
	TURN_STEPS = 8,
	CLASSES = 64, /* of victims, by what lives in them */
	SLACK = 4,    /* segments of garbage that are not worth a pass */
	RECORD_BUF = RECORD_SIZE_MAX + 2 * BLOCK_SIZE,
	VALUE_BUF = BLOB_HEADER_SIZE + BLOB_EXTENTS_MAX * BLOB_EXTENT_SIZE,
};

enum move_step {
	MOVE_IDLE,
	MOVE_WALK,    /* to the next value that is a blob */
	MOVE_RECORD,  /* its record is being read */
	MOVE_LOOK,    /* whether some of it is in a victim */
	MOVE_EXTENTS, /* what is there is read and written again */
	MOVE_LOG,     /* all of it is on disk */
};

struct cleaner_blob {
	struct shard *shard;
	uint8_t step;          /* enum move_step */
	bool running, failed;  /* a read or a write; it has failed */
	bool hopeful;          /* there are victims for the next pass */
	bool walking;          /* the cursor is in the partition */
	bool pinned;           /* `old`, in the segments that it names */
	bool checked;          /* the extent at hand is what was written once */
	uint32_t ticks;        /* until the next pass may begin */
	uint32_t taken, waits; /* ticks of this pass; of those, for a segment */
	uint32_t credit;       /* entries that may be looked at */
	uint32_t partition;    /* that is walked */
	struct btree_cursor cursor;
	struct btree_miss miss; /* the page that is being read; address 0: none is */
	uint64_t location;      /* of the record of the value, whose segment is pinned */
	struct buf *record;     /* it, from the start of its first block */
	struct buf *data;       /* an extent, or a page of the index */
	struct buf *value;      /* the new list of places */
	struct record its;      /* in record */
	struct blob_value old;  /* its value */
	uint32_t next;          /* extent of it */
	uint32_t done, filled;  /* blocks of that extent: written again; at hand */
	uint32_t new_count;     /* places in the new list, all of them pinned */
	uint64_t left;          /* bytes of the value from that extent on */
	struct iovec iov;
	struct req req;
};

struct move_frame {
	struct frame frame;
	struct cleaner_blob *c;
};

bool cleaner_blob_is_running(const struct shard *shard)
{
	return shard->cleaner_blob->running;
}

bool cleaner_blob_is_busy(const struct shard *shard)
{
	return shard->cleaner_blob->step != MOVE_IDLE || shard->cleaner_blob->hopeful;
}

bool cleaner_blob_has_work(const struct shard *shard)
{
	const struct cleaner_blob *c = shard->cleaner_blob;

	return c->step == MOVE_WALK && !c->running && c->credit > 0;
}

static uint64_t segment_size(const struct shard *shard)
{
	return (uint64_t)shard->segment_blocks << BLOCK_SHIFT;
}

static struct btree *tree_of(struct cleaner_blob *c)
{
	assert(c->partition < c->shard->partition_count);
	return &c->shard->partitions[c->partition].tree;
}

static struct bytes key_of(const struct cleaner_blob *c)
{
	return btree_cursor_key(&c->cursor);
}

static uint8_t *new_extents(struct cleaner_blob *c)
{
	return c->value->data + BLOB_HEADER_SIZE;
}

static void ended(struct req *req)
{
	struct cleaner_blob *c = req_pop(req, struct move_frame)->c;

	assert(c->running);
	c->running = false;
	c->failed = req->status != STATUS_OK;
}

static void submit(struct cleaner_blob *c, enum blk_op op, uint8_t *data, uint64_t lba,
                   uint32_t blocks)
{
	struct blk_cmd cmd = {
		.op = (uint8_t)op,
		.flags = op == BLK_WRITE ? BLK_FUA : 0,
		.lba = lba,
		.block_count = blocks,
		.iov = &c->iov,
		.iov_count = 1,
	};

	assert(!c->running && blocks > 0);
	c->running = true;
	c->iov = (struct iovec){ data, (size_t)blocks << BLOCK_SHIFT };
	req_init(&c->req, c->shard->worker);
	req_push(&c->req, struct move_frame, ended)->c = c;
	blk_submit(c->shard->blk, &c->req, &cmd);
}

/* Pages of the index. */

static void load_page(struct cleaner_blob *c)
{
	struct location l = location_unpack(c->miss.address);

	submit(c, BLK_READ, c->data->data, shard_lba(c->shard, l.segment, l.offset >> BLOCK_SHIFT),
	       1);
}

/* The page that was missed has been read; false: it cannot be had. */
static bool page_loaded(struct cleaner_blob *c)
{
	enum status status = c->failed ? STATUS_IO : STATUS_OK;

	if (status == STATUS_OK)
		status = btree_load(tree_of(c), c->data->data, c->miss.address);
	c->miss.address = 0;
	c->failed = false;
	if (status == STATUS_BUSY)
		checkpoint_want(c->shard);
	else if (status != STATUS_OK)
		c->shard->stats.corrupt++;
	return status == STATUS_OK || status == STATUS_BUSY;
}

/* Passes. */

static void drop_buffers(struct cleaner_blob *c)
{
	struct buf **all[] = { &c->record, &c->data, &c->value };

	for (unsigned i = 0; i < array_count(all); i++) {
		if (*all[i] != NULL)
			buf_unref(*all[i]);
		*all[i] = NULL;
	}
}

/* Victims that are still not empty have something that could not be moved. */
static void pass_end(struct cleaner_blob *c)
{
	struct shard *shard = c->shard;

	assert(!c->running && !c->pinned && c->location == 0);
	c->step = MOVE_IDLE;
	c->ticks = PASS_SHARE * c->taken;
	if (c->ticks < PASS_TICKS)
		c->ticks = PASS_TICKS;
	if (shard->space_low)
		c->ticks = 1;
	drop_buffers(c);
	for (uint32_t i = 0; i < shard->segment_count; i++) {
		struct shard_segment *s = &shard->segments[i];

		if (s->emptying && s->kind == SEGMENT_BLOB)
			s->cleaning = s->live > 0;
		s->emptying = false;
	}
}

/* What has more in it costs more than it gains; but when space is wanted, any gain is one. */
static bool is_candidate(const struct shard *shard, uint32_t segment, bool low)
{
	const struct shard_segment *s = &shard->segments[segment];
	uint64_t size = segment_size(shard);

	return s->kind == SEGMENT_BLOB && s->state == SEGMENT_SEALED && s->live > 0 &&
	       !s->cleaning && s->live <= (low ? size / 8 * 7 : size / 2);
}

static uint32_t class_of(const struct shard *shard, uint32_t segment)
{
	uint64_t size = segment_size(shard);

	assert(shard->segments[segment].live <= size);
	return (uint32_t)((uint64_t)shard->segments[segment].live * (CLASSES - 1) / size);
}

/* The class up to which all candidates together hold no more than the budget, but perhaps its own.
 */
static uint32_t last_class(const struct shard *shard, bool low, uint64_t budget)
{
	uint64_t held[CLASSES] = { 0 }, live = 0;
	uint32_t last = 0;

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		if (is_candidate(shard, i, low))
			held[class_of(shard, i)] += shard->segments[i].live;
	}
	while (last < CLASSES - 1 && live + held[last] <= budget)
		live += held[last++];
	return last;
}

/*
 * The emptiest, as long as what they hold fits what is free; when that is next to nothing, it fits
 * one segment, which the cleaner gets.
 */
static uint32_t choose_victims(struct shard *shard, bool low)
{
	uint64_t size = segment_size(shard) - BLOCK_SIZE;
	uint64_t room =
	        shard->room.left > shard->room.kept ? shard->room.left - shard->room.kept : 0;
	uint64_t budget = room > 1 ? room * size / 2 : size;
	uint32_t count = 0, last = last_class(shard, low, budget);

	/* Those of the last class come after the others. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < shard->segment_count; i++) {
			struct shard_segment *s = &shard->segments[i];

			if (!is_candidate(shard, i, low) || s->live > budget ||
			    (pass == 0 ? class_of(shard, i) >= last : class_of(shard, i) != last))
				continue;
			budget -= s->live;
			s->emptying = true;
			count++;
		}
	}
	return count;
}

/* Whether there is garbage enough: for the space that is left, or for what is live. */
static bool is_wanted(const struct shard *shard, bool low)
{
	uint64_t size = segment_size(shard);
	uint64_t used = 0, live = 0;
	bool any = false;

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		const struct shard_segment *s = &shard->segments[i];

		if (s->kind != SEGMENT_BLOB || s->state != SEGMENT_SEALED || s->cleaning)
			continue;
		used += size;
		live += s->live;
		any = any || is_candidate(shard, i, low);
	}
	return any && (low ? used >= live + size : used > 2 * live + SLACK * size);
}

static void pass_begin(struct cleaner_blob *c, bool low)
{
	assert(c->step == MOVE_IDLE && c->record == NULL);
	c->taken = c->waits = 0;
	if (choose_victims(c->shard, low) == 0)
		return;
	c->record = buf_get(c->shard->bufs, RECORD_BUF);
	c->data = buf_get(c->shard->bufs, EXTENT_BLOCKS_MAX << BLOCK_SHIFT);
	c->value = buf_get(c->shard->bufs, VALUE_BUF);
	if (c->record == NULL || c->data == NULL || c->value == NULL) {
		pass_end(c);
		return;
	}
	c->step = MOVE_WALK;
	c->partition = 0;
	c->walking = false;
}

/* The walk over the index. */

/*
 * Its segment is pinned until this value is done with: else it might be given back and used again,
 * and another record come to the same place.
 */
static void record_read(struct cleaner_blob *c, uint64_t location)
{
	struct location l = location_unpack(location);
	const uint8_t *data = log_peek(&c->shard->log, l);
	uint32_t first = l.offset >> BLOCK_SHIFT;
	uint32_t end = (uint32_t)align_up(l.offset + l.size, BLOCK_SIZE) >> BLOCK_SHIFT;

	assert(c->location == 0 && !c->pinned);
	c->location = location;
	c->new_count = 0;
	c->step = MOVE_RECORD;
	blob_pin(c->shard, l.segment, 1);
	if (data != NULL)
		memcpy(c->record->data + l.offset % BLOCK_SIZE, data, l.size);
	else
		submit(c, BLK_READ, c->record->data, shard_lba(c->shard, l.segment, first),
		       end - first);
}

static enum btree_result walk_next(struct cleaner_blob *c)
{
	if (!shard_owns(c->shard, c->partition))
		return BTREE_ABSENT;
	if (c->walking)
		return btree_next(&c->cursor, /* reverse= */ false, &c->miss);
	c->walking = true;
	return btree_seek(tree_of(c), &c->cursor, (struct bytes){ NULL, 0 }, /* reverse= */ false,
	                  &c->miss);
}

/* To the next value that is a blob. */
static void walk(struct cleaner_blob *c)
{
	for (unsigned i = 0; i < WALK_TURN && c->credit > 0; i++) {
		uint64_t location;

		if (c->partition == c->shard->partition_count) {
			pass_end(c);
			return;
		}
		c->credit--;
		switch (walk_next(c)) {
		case BTREE_MISS:
			load_page(c);
			return;
		case BTREE_OK:
			break;
		default:
			c->partition++;
			c->walking = false;
			continue;
		}
		location = btree_cursor_value(&c->cursor);
		if (key_of(c).data[0] != KV_SPACE_ENGINE &&
		    (location_unpack(location).flags & RECORD_BLOB)) {
			record_read(c, location);
			return;
		}
	}
}

/* One value. */

static void pin_old(struct cleaner_blob *c, int by)
{
	assert(c->pinned == (by < 0));
	c->pinned = by > 0;
	for (uint32_t i = 0; i < c->old.extent_count; i++)
		blob_pin(c->shard, blob_extent_get(c->old.extents, i).segment, by);
}

/* It has been moved, or what was written of it is dead. */
static void value_end(struct cleaner_blob *c)
{
	assert(c->location != 0 && !c->running);
	for (uint32_t i = 0; i < c->new_count; i++)
		blob_pin(c->shard, blob_extent_get(new_extents(c), i).segment, -1);
	c->new_count = 0;
	if (c->pinned)
		pin_old(c, -1);
	blob_pin(c->shard, location_unpack(c->location).segment, -1);
	c->location = 0;
	c->step = MOVE_WALK;
}

static bool record_get(struct cleaner_blob *c)
{
	struct location l = location_unpack(c->location);
	size_t used;
	uint32_t crc;

	return record_decode(c->record->data + l.offset % BLOCK_SIZE, l.size,
	                     record_seed(c->shard->segments[l.segment].generation, l.segment),
	                     l.offset, &c->its, &used, &crc) == STATUS_OK &&
	       bytes_equal(c->its.key, key_of(c)) &&
	       blob_value_decode(c->its.value, &c->old) == STATUS_OK;
}

static bool is_victim(const struct cleaner_blob *c, struct blob_extent e)
{
	return c->shard->segments[e.segment].emptying;
}

/* Whether the records of a list that is so much longer fit their frame; nor may it be too long. */
static bool list_fits(const struct cleaner_blob *c, uint32_t more)
{
	uint32_t count = c->old.extent_count + more;
	size_t size = record_size(c->its.key.size, blob_value_size(count), c->its.expires_ms != 0);

	return count <= BLOB_EXTENTS_MAX && size <= RECORD_SIZE_MAX &&
	       size + record_size(sizeof(c->location), c->its.value.size, false) +
	                       FRAME_HEADER_SIZE <=
	               c->shard->log.frame_size_max;
}

/* What lies in victims; 0: nothing, or nothing that can be moved. */
static uint32_t count_wanted(const struct cleaner_blob *c)
{
	uint32_t wanted = 0;

	for (uint32_t i = 0; i < c->old.extent_count; i++) {
		struct blob_extent e = blob_extent_get(c->old.extents, i);

		if (!blob_extent_is_sane(c->shard, e))
			return 0;
		wanted += is_victim(c, e);
	}
	/* Each may come to two places, at the end of a segment. */
	return list_fits(c, wanted) ? wanted : 0;
}

/* As long as the index names the record its extents are live, and can be held. */
static void look(struct cleaner_blob *c)
{
	uint64_t now = 0;
	enum btree_result result = btree_find(tree_of(c), key_of(c), &now, &c->miss);

	if (result == BTREE_MISS) {
		load_page(c);
		return;
	}
	if (result != BTREE_OK || now != c->location) {
		value_end(c);
		return;
	}
	if (!record_get(c)) {
		c->shard->stats.corrupt++;
		value_end(c);
		return;
	}
	if (count_wanted(c) == 0) {
		value_end(c);
		return;
	}
	pin_old(c, 1);
	c->step = MOVE_EXTENTS;
	c->next = c->done = c->filled = 0;
	c->left = c->old.size;
}

static void extent_add(struct cleaner_blob *c, struct blob_extent e)
{
	assert(c->new_count < BLOB_EXTENTS_MAX);
	blob_extent_put(new_extents(c), c->new_count++, e);
}

/* Bytes of the value in the extent that is next. */
static uint64_t extent_bytes(const struct cleaner_blob *c, struct blob_extent e)
{
	uint64_t most = (uint64_t)e.blocks << BLOCK_SHIFT;

	return c->left < most ? c->left : most;
}

/* Of the extent at hand, what fits the segment that is being filled. */
static void extent_write(struct cleaner_blob *c, struct blob_extent old)
{
	struct shard *shard = c->shard;
	uint64_t start = (uint64_t)c->done << BLOCK_SHIFT;
	uint64_t size = extent_bytes(c, old) > start ? extent_bytes(c, old) - start : 0;
	struct blob_extent e;
	uint32_t blocks;

	if (shard->blobs->segment == UINT32_MAX) {
		supply_want(shard, SEGMENT_BLOB, shard->space_low ? SPACE_CLEAN : SPACE_DATA);
		return;
	}
	blocks = blob_take_blocks(shard, old.blocks - c->done, &e);
	if (size > (uint64_t)blocks << BLOCK_SHIFT)
		size = (uint64_t)blocks << BLOCK_SHIFT;
	e.crc = crc32c(0, c->data->data + start, size);
	extent_add(c, e);
	shard->stats.moved_bytes += (uint64_t)blocks << BLOCK_SHIFT;
	shard->stats.blob_moved_bytes += (uint64_t)blocks << BLOCK_SHIFT;
	c->done += blocks;
	submit(c, BLK_WRITE, c->data->data + start, shard_lba(shard, e.segment, e.block), blocks);
}

/* Copies what is in victims, keeps the rest as it is. */
static void extents_step(struct cleaner_blob *c)
{
	while (c->next < c->old.extent_count) {
		struct blob_extent e = blob_extent_get(c->old.extents, c->next);

		if (!is_victim(c, e)) {
			extent_add(c, e);
			blob_pin(c->shard, e.segment, 1); /* as one of the new list */
		} else if (c->filled == 0) {
			c->filled = e.blocks;
			c->checked = false;
			submit(c, BLK_READ, c->data->data, shard_lba(c->shard, e.segment, e.block),
			       e.blocks);
			return;
		} else if (c->done < e.blocks) {
			if (!c->checked && crc32c(0, c->data->data, extent_bytes(c, e)) != e.crc) {
				c->shard->stats.corrupt++;
				value_end(c);
				return;
			}
			c->checked = true;
			extent_write(c, e);
			return;
		}
		c->left -= extent_bytes(c, e);
		c->next++;
		c->done = c->filled = 0;
	}
	c->step = MOVE_LOG;
}

/*
 * Both records in one frame. The new list is counted before the old one is not, as a replay does
 * it: what is in both is live at every moment.
 */
static void value_log(struct cleaner_blob *c)
{
	struct shard *shard = c->shard;
	struct record record = c->its;
	struct record freed = {
		.type = RECORD_FREE,
		.key = bytes_of(&c->location, sizeof(c->location)),
		.value = record.value,
	};
	bool relaxed = shard_is_relaxed(shard, record.key);
	enum btree_result result;
	uint64_t moved;
	size_t size;

	assert(c->pinned && list_fits(c, c->new_count - c->old.extent_count));
	put64(c->value->data, c->old.size);
	put32(c->value->data + 8, c->new_count);
	put32(c->value->data + 12, 0);
	record.type = RECORD_PUT;
	record.value = bytes_of(c->value->data, blob_value_size(c->new_count));
	size = record_size(record.key.size, record.value.size, record.expires_ms != 0);
	if (shard_reserve(shard, size + record_size(freed.key.size, freed.value.size, false),
	                  SPACE_CLEAN) != STATUS_OK)
		return; /* in a later turn */
	moved = log_next_location(&shard->log, size, (uint8_t)c->location);
	result = btree_replace(tree_of(c), record.key, c->location, moved, &c->miss);
	if (result == BTREE_MISS)
		load_page(c);
	if (result == BTREE_FULL)
		checkpoint_want(shard);
	if (result == BTREE_ABSENT)
		value_end(c); /* it was replaced meanwhile */
	if (result != BTREE_OK)
		return;
	log_append(&shard->log, &record, relaxed);
	log_append(&shard->log, &freed, relaxed);
	shard_credit(shard, moved);
	blob_credit(shard, record.value);
	shard_debit(shard, c->location);
	blob_debit(shard, freed.value);
	record_cache_remove(shard->cache, hash64(record.key), record.key);
	if (!relaxed && shard->uncached_lsn < log_open_lsn(&shard->log))
		shard->uncached_lsn = log_open_lsn(&shard->log);
	value_end(c);
}

/* A page of the index that was missed. */
static void page_ended(struct cleaner_blob *c)
{
	if (page_loaded(c))
		return;
	if (c->location != 0)
		value_end(c);
	pass_end(c);
}

static void step(struct cleaner_blob *c)
{
	if (c->miss.address != 0) {
		page_ended(c);
		return;
	}
	if (c->failed) { /* to read or to write something of a value */
		c->failed = false;
		value_end(c);
		return;
	}
	switch ((enum move_step)c->step) {
	case MOVE_IDLE:
		break;
	case MOVE_WALK:
		walk(c);
		break;
	case MOVE_RECORD:
		c->step = MOVE_LOOK;
		look(c);
		break;
	case MOVE_LOOK:
		look(c);
		break;
	case MOVE_EXTENTS:
		extents_step(c);
		break;
	case MOVE_LOG:
		value_log(c);
		break;
	}
}

void cleaner_blob_turn(struct shard *shard, bool low)
{
	struct cleaner_blob *c = shard->cleaner_blob;

	if (c->running)
		return;
	if (c->step == MOVE_IDLE && c->ticks == 0) {
		c->ticks = 1;
		if (is_wanted(shard, low))
			pass_begin(c, low);
		c->hopeful = false;
	}
	if (c->waits >= WAIT_TICKS && c->step == MOVE_EXTENTS && c->miss.address == 0) {
		value_end(c); /* what it holds on to may be what others wait for */
		pass_end(c);
	}
	for (unsigned i = 0; i < TURN_STEPS && !c->running && c->step != MOVE_IDLE; i++)
		step(c);
}

void cleaner_blob_tick(struct shard *shard)
{
	struct cleaner_blob *c = shard->cleaner_blob;
	bool waits = c->step == MOVE_EXTENTS && !c->running && shard->blobs->segment == UINT32_MAX;

	if (c->ticks > 0)
		c->ticks--;
	c->credit = shard->space_low ? WALK_TICK_LOW : WALK_TICK;
	c->taken += c->step != MOVE_IDLE;
	c->waits = waits ? c->waits + 1 : 0;
	c->hopeful = c->step == MOVE_IDLE && is_wanted(shard, shard->space_low);
}

enum status cleaner_blob_open(struct shard *shard)
{
	struct cleaner_blob *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return STATUS_NO_SPACE;
	c->shard = shard;
	shard->cleaner_blob = c;
	return STATUS_OK;
}

void cleaner_blob_close(struct shard *shard)
{
	drop_buffers(shard->cleaner_blob);
	free(shard->cleaner_blob);
	shard->cleaner_blob = NULL;
}
