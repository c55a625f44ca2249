/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read cache in memory, over a device that stays the truth: writes go through, and are durable
 * when the device says so. A hit copies and completes, with no frame and no command below. A page
 * that is being read is read once, whoever else wants it.
 *
 * What keeps it right is done when a write completes, and not before: until then readers may see
 * old or new. Its pages are overwritten in memory if no other write touched them meanwhile, else
 * dropped; those that are being read just then are read for those who wait, and not kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/cache_policy.h"
#include "layer/pool.h"

enum {
	FETCH_PAGES = 32,
	FETCHES_MAX = 254, /* a slot's tag names its fetch */
	TAG_VALID = 255,
	WRITERS = 4096, /* counters of writes under way, by a page's hash */
	WAITS_MAX = 8,  /* for fetches that came to nothing; then past the cache */
};

enum { OPTION_SIZE, OPTION_POLICY, OPTION_PAGE, OPTION_LARGE, OPTION_FETCHES };

/* A hash of pages with writes under way. */
struct writers {
	uint16_t count;
	bool contended; /* since it was 0 the last time, more than one */
};

/* Pages that are read from the device. */
struct fetch {
	struct req req;
	struct cache *cache;
	struct req_list waiters;
	uint64_t page;
	uint32_t count;
	uint32_t doomed; /* bit per page: it was written meanwhile, and its slot is hidden */
	uint32_t slots[FETCH_PAGES];
	struct iovec iov[FETCH_PAGES];
};

struct cache {
	struct blk blk;
	struct blk *lower;
	struct stack_env *env;
	struct cache_policy policy;
	struct pool fetches;
	uint32_t page_size, page_blocks;
	uint64_t page_count; /* whole ones of the device */
	uint64_t large_size;
	uint32_t ranges_running; /* discards and zeroes */
	uint64_t range_epoch;    /* of their beginnings and ends */
	uint64_t hits, misses, joined, bypassed, updated, dropped;
	uint8_t *data; /* a page per slot */
	void *data_memory, *policy_memory;
	size_t data_size, policy_size;
	struct writers writers[WRITERS];
};

struct read_frame {
	struct frame frame;
	struct cache *cache;
	struct blk_cmd cmd;
	uint32_t at; /* bytes that are copied */
	uint32_t waits;
};

struct write_frame {
	struct frame frame;
	struct cache *cache;
	struct blk_cmd cmd;
	uint64_t range_epoch;
};

struct fetch_frame {
	struct frame frame;
	struct fetch *fetch;
};

static void read_on(struct cache *cache, struct req *req);

static uint8_t *slot_data(const struct cache *cache, uint32_t slot)
{
	assert(slot < cache->policy.capacity);
	return cache->data + (size_t)slot * cache->page_size;
}

/* Between memory of ours and the command's vector, `at` bytes into that. */
static void copy_iov(const struct blk_cmd *cmd, uint64_t at, uint8_t *memory, size_t size)
{
	for (uint32_t i = 0; size > 0; i++) {
		const struct iovec *v = &cmd->iov[i];
		size_t part;

		assert(i < cmd->iov_count);
		if (at >= v->iov_len) {
			at -= v->iov_len;
			continue;
		}
		part = v->iov_len - at < size ? v->iov_len - at : size;
		if (cmd->op == BLK_READ)
			memcpy((uint8_t *)v->iov_base + at, memory, part);
		else
			memcpy(memory, (uint8_t *)v->iov_base + at, part);
		memory += part;
		size -= part;
		at = 0;
	}
}

/* What of a command is in one page. */
struct piece {
	uint64_t page;
	uint32_t from, size; /* bytes in the page */
};

static struct piece piece_at(const struct cache *cache, const struct blk_cmd *cmd, uint64_t at)
{
	uint32_t block_size = cache->blk.geometry.block_size;
	uint64_t offset = cmd->lba * block_size + at;
	uint64_t left = (uint64_t)cmd->block_count * block_size - at;
	struct piece piece = { .page = offset / cache->page_size,
		               .from = (uint32_t)(offset % cache->page_size) };

	piece.size = cache->page_size - piece.from;
	if (piece.size > left)
		piece.size = (uint32_t)left;
	assert(piece.size > 0);
	return piece;
}

static uint64_t cmd_size(const struct cache *cache, const struct blk_cmd *cmd)
{
	return (uint64_t)cmd->block_count * cache->blk.geometry.block_size;
}

static struct fetch *fetch_of(const struct cache *cache, uint32_t slot)
{
	uint8_t tag = cache->policy.entries[slot].tag;
	size_t each = align_up(sizeof(struct fetch), 64);

	assert(tag > 0 && tag != TAG_VALID);
	return (struct fetch *)(void *)((char *)cache->fetches.memory + (tag - 1u) * each);
}

static uint8_t tag_of(const struct cache *cache, const struct fetch *fetch)
{
	size_t each = align_up(sizeof(struct fetch), 64);

	return (uint8_t)(((const char *)fetch - (const char *)cache->fetches.memory) / each + 1);
}

/* Reads. */

static void read_done(struct req *req)
{
	req_pop(req, struct read_frame);
	req_complete(req, req->status, req->result);
}

static void read_past(struct cache *cache, struct req *req)
{
	cache->bypassed++;
	blk_submit(cache->lower, req, &req_top(req, struct read_frame)->cmd);
}

/* Copies what is there, from *at on; the slot of the first page that is not, or is being read. */
static bool copy_hits(struct cache *cache, const struct blk_cmd *cmd, uint32_t *at, uint32_t *slot)
{
	uint64_t size = cmd_size(cache, cmd);

	while (*at < size) {
		struct piece piece = piece_at(cache, cmd, *at);

		*slot = cache_find(&cache->policy, piece.page);
		if (*slot == CACHE_NONE || cache->policy.entries[*slot].tag != TAG_VALID)
			return false;
		cache_use(&cache->policy, *slot);
		copy_iov(cmd, *at, slot_data(cache, *slot) + piece.from, piece.size);
		cache->hits++;
		*at += piece.size;
	}
	return true;
}

/* A fetch has ended: what it read is kept, but for what was written meanwhile. */
static void keep_pages(struct fetch *fetch, bool ok)
{
	struct cache *cache = fetch->cache;

	for (uint32_t i = 0; i < fetch->count; i++) {
		struct cache_entry *entry = &cache->policy.entries[fetch->slots[i]];
		bool doomed = fetch->doomed >> i & 1;

		assert(entry->tag == tag_of(cache, fetch));
		cache_unpin(&cache->policy, fetch->slots[i]);
		entry->tag = TAG_VALID;
		if (doomed || !ok)
			cache_remove(&cache->policy, fetch->slots[i]);
	}
}

static void fetch_done(struct req *req)
{
	struct fetch *fetch = req_pop(req, struct fetch_frame)->fetch;
	struct cache *cache = fetch->cache;
	bool ok = req->status == STATUS_OK;
	struct req_list waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct req *waiter;

	STAILQ_CONCAT(&waiters, &fetch->waiters);
	keep_pages(fetch, ok);
	pool_give(&cache->fetches, &fetch->req);
	while ((waiter = STAILQ_FIRST(&waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&waiters, link);
		/* Each has its own error: another page may be what failed. */
		if (ok)
			read_on(cache, waiter);
		else
			read_past(cache, waiter);
	}
}

/* How many pages from `page` on are wanted, whole, and not there. */
static uint32_t missing_run(const struct cache *cache, const struct blk_cmd *cmd, uint64_t page)
{
	uint64_t end = (cmd->lba + cmd->block_count - 1) / cache->page_blocks + 1;
	uint32_t limit = cache->blk.geometry.transfer_max / cache->page_blocks, count = 0;

	if (end > cache->page_count)
		end = cache->page_count;
	if (limit > FETCH_PAGES)
		limit = FETCH_PAGES;
	while (count < limit && page + count < end &&
	       cache_find(&cache->policy, page + count) == CACHE_NONE)
		count++;
	return count;
}

/* Takes slots for up to `count` pages; fewer when the policy has no more. */
static void take_slots(struct cache *cache, struct fetch *fetch, uint32_t count)
{
	fetch->count = 0;
	while (fetch->count < count) {
		uint32_t slot = cache_insert(&cache->policy, fetch->page + fetch->count);

		if (slot == CACHE_NONE)
			break;
		cache_pin(&cache->policy, slot);
		cache->policy.entries[slot].tag = tag_of(cache, fetch);
		fetch->slots[fetch->count] = slot;
		fetch->iov[fetch->count++] =
		        (struct iovec){ slot_data(cache, slot), cache->page_size };
	}
}

/* NULL: there is nothing to fetch with, or nothing that the cache could keep. */
static struct fetch *start_fetch(struct cache *cache, const struct blk_cmd *wanted, uint64_t page)
{
	uint32_t count = missing_run(cache, wanted, page);
	struct fetch *fetch;
	struct blk_cmd cmd;
	struct req *req;

	if (count == 0)
		return NULL;
	req = pool_get(&cache->fetches, cache->blk.worker);
	if (req == NULL)
		return NULL;
	fetch = container_of(req, struct fetch, req);
	fetch->cache = cache;
	fetch->page = page;
	fetch->doomed = 0;
	STAILQ_INIT(&fetch->waiters);
	take_slots(cache, fetch, count);
	if (fetch->count == 0) {
		pool_give(&cache->fetches, req);
		return NULL;
	}
	cache->misses += fetch->count;
	req_push(req, struct fetch_frame, fetch_done)->fetch = fetch;
	cmd = (struct blk_cmd){ .op = BLK_READ,
		                .lba = page * cache->page_blocks,
		                .block_count = fetch->count * cache->page_blocks,
		                .iov = fetch->iov,
		                .iov_count = fetch->count };
	blk_submit(cache->lower, req, &cmd);
	return fetch;
}

/* Goes on with a read that has a frame: to its end, to a fetch that it waits for, or past us. */
static void read_on(struct cache *cache, struct req *req)
{
	struct read_frame *frame = req_top(req, struct read_frame);
	struct fetch *fetch;
	uint32_t slot;

	if (copy_hits(cache, &frame->cmd, &frame->at, &slot)) {
		req_pop(req, struct read_frame);
		req_complete(req, STATUS_OK, 0);
		return;
	}
	if (frame->waits++ == WAITS_MAX || cmd_size(cache, &frame->cmd) > cache->large_size) {
		read_past(cache, req);
		return;
	}
	if (slot != CACHE_NONE) {
		fetch = fetch_of(cache, slot);
		cache->joined++;
	} else {
		fetch = start_fetch(cache, &frame->cmd,
		                    piece_at(cache, &frame->cmd, frame->at).page);
	}
	if (fetch == NULL)
		read_past(cache, req);
	else
		STAILQ_INSERT_TAIL(&fetch->waiters, req, link);
}

static void read_submit(struct cache *cache, struct req *req, const struct blk_cmd *cmd)
{
	struct read_frame *frame;
	uint32_t at = 0, slot;

	if (copy_hits(cache, cmd, &at, &slot)) {
		req_complete(req, STATUS_OK, 0);
		return;
	}
	frame = req_push(req, struct read_frame, read_done);
	frame->cache = cache;
	frame->cmd = *cmd;
	frame->at = at;
	frame->waits = 0;
	read_on(cache, req);
}

/* Writes. */

static void drop_slot(struct cache *cache, uint32_t slot)
{
	struct fetch *fetch;

	cache->dropped++;
	if (cache->policy.entries[slot].tag == TAG_VALID) {
		cache_remove(&cache->policy, slot);
		return;
	}
	fetch = fetch_of(cache, slot);
	fetch->doomed |= 1u << (cache->policy.entries[slot].key - fetch->page);
	cache_hide(&cache->policy, slot);
}

static void drop_range(struct cache *cache, const struct blk_cmd *cmd)
{
	uint64_t first = cmd->lba / cache->page_blocks;
	uint64_t last = (cmd->lba + cmd->block_count - 1) / cache->page_blocks;

	if (last - first < cache->policy.capacity) {
		for (uint64_t page = first; page <= last; page++) {
			uint32_t slot = cache_find(&cache->policy, page);

			if (slot != CACHE_NONE)
				drop_slot(cache, slot);
		}
		return;
	}
	for (uint32_t slot = 0; slot < cache->policy.capacity; slot++) {
		uint64_t page = cache->policy.entries[slot].key;

		if (cache_is_found(&cache->policy, slot) && page >= first && page <= last)
			drop_slot(cache, slot);
	}
}

static struct writers *writers_of(struct cache *cache, uint64_t page)
{
	return &cache->writers[(page ^ page >> 12) % WRITERS];
}

/* One page of a write that has completed. */
static void settle_page(struct cache *cache, const struct write_frame *frame, uint64_t at,
                        bool keep)
{
	struct piece piece = piece_at(cache, &frame->cmd, at);
	struct writers *writers = writers_of(cache, piece.page);
	uint32_t slot = cache_find(&cache->policy, piece.page);
	bool alone = !writers->contended;

	assert(writers->count > 0);
	if (--writers->count == 0)
		writers->contended = false;
	if (slot == CACHE_NONE)
		return;
	if (keep && alone && cache->policy.entries[slot].tag == TAG_VALID) {
		copy_iov(&frame->cmd, at, slot_data(cache, slot) + piece.from, piece.size);
		cache->updated++;
	} else {
		drop_slot(cache, slot);
	}
}

static void write_done(struct req *req)
{
	const struct write_frame *frame = req_pop(req, struct write_frame);
	struct cache *cache = frame->cache;
	bool keep = req->status == STATUS_OK && cache->ranges_running == 0 &&
	            cache->range_epoch == frame->range_epoch;
	uint64_t size = cmd_size(cache, &frame->cmd);

	for (uint64_t at = 0; at < size; at += piece_at(cache, &frame->cmd, at).size)
		settle_page(cache, frame, at, keep);
	req_complete(req, req->status, req->result);
}

static void range_done(struct req *req)
{
	const struct write_frame *frame = req_pop(req, struct write_frame);
	struct cache *cache = frame->cache;

	assert(cache->ranges_running > 0);
	cache->ranges_running--;
	cache->range_epoch++;
	drop_range(cache, &frame->cmd);
	req_complete(req, req->status, req->result);
}

static void write_submit(struct cache *cache, struct req *req, const struct blk_cmd *cmd)
{
	bool write = cmd->op == BLK_WRITE;
	struct write_frame *frame =
	        req_push(req, struct write_frame, write ? write_done : range_done);
	uint64_t size = cmd_size(cache, cmd);

	frame->cache = cache;
	frame->cmd = *cmd;
	for (uint64_t at = 0; write && at < size; at += piece_at(cache, cmd, at).size) {
		struct writers *writers = writers_of(cache, piece_at(cache, cmd, at).page);

		assert(writers->count < UINT16_MAX);
		writers->contended |= writers->count > 0;
		writers->count++;
	}
	cache->ranges_running += !write;
	cache->range_epoch += !write;
	frame->range_epoch = cache->range_epoch;
	blk_submit(cache->lower, req, cmd);
}

static void cache_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct cache *cache = container_of(blk, struct cache, blk);

	switch (cmd->op) {
	case BLK_READ:
		read_submit(cache, req, cmd);
		return;
	case BLK_WRITE:
	case BLK_DISCARD:
	case BLK_ZEROES:
		write_submit(cache, req, cmd);
		return;
	case BLK_FLUSH:
		blk_submit(cache->lower, req, cmd);
		return;
	case BLK_OP_COUNT:
		break;
	}
	unreachable();
}

static void cache_describe(const struct blk *blk, char *out, size_t out_max)
{
	static const char *const kinds[] = { "s3fifo", "clock", "lru" };
	const struct cache *cache = container_of(blk, struct cache, blk);

	snprintf(out, out_max,
	         "%s, %u pages of %u bytes; hits=%llu misses=%llu joined=%llu bypassed=%llu "
	         "updated=%llu dropped=%llu evicted=%llu",
	         kinds[cache->policy.kind], cache->policy.capacity, cache->page_size,
	         (unsigned long long)cache->hits, (unsigned long long)cache->misses,
	         (unsigned long long)cache->joined, (unsigned long long)cache->bypassed,
	         (unsigned long long)cache->updated, (unsigned long long)cache->dropped,
	         (unsigned long long)cache->policy.evicted);
}

static void cache_close(struct blk *blk)
{
	struct cache *cache = container_of(blk, struct cache, blk);

	assert(cache->ranges_running == 0 && cache->policy.pinned_count == 0);
	if (cache->fetches.count > 0)
		pool_close(&cache->fetches, cache->env);
	layer_memory_close(cache->env, cache->policy_memory, cache->policy_size);
	layer_memory_close(cache->env, cache->data_memory, cache->data_size);
	free(cache);
}

static const struct blk_ops cache_ops = {
	.name = "cache",
	.submit = cache_submit,
	.close = cache_close,
};

static enum status open_memory(struct cache *cache, struct layer_open *open)
{
	uint32_t capacity = (uint32_t)(open->values[OPTION_SIZE].number / cache->page_size);

	if (open->values[OPTION_SIZE].number / cache->page_size > 1u << 30)
		return layer_fail_option(open, OPTION_SIZE, "at most %u pages of %u bytes",
		                         1u << 30, cache->page_size);
	if (capacity < CACHE_CAPACITY_MIN)
		return layer_fail_option(open, OPTION_SIZE, "at least %u pages of %u bytes",
		                         CACHE_CAPACITY_MIN, cache->page_size);
	/* Pages are as aligned as blocks may have to be. */
	cache->data_size = (size_t)capacity * cache->page_size + cache->page_size;
	cache->policy_size = cache_policy_memory(capacity);
	cache->data_memory = layer_memory_open(open, cache->data_size);
	if (cache->data_memory == NULL)
		return STATUS_NO_SPACE;
	cache->data = (uint8_t *)align_up((uintptr_t)cache->data_memory, cache->page_size);
	cache->policy_memory = layer_memory_open(open, cache->policy_size);
	if (cache->policy_memory == NULL)
		return STATUS_NO_SPACE;
	cache_policy_init(&cache->policy, (enum cache_kind)open->values[OPTION_POLICY].number,
	                  capacity, cache->policy_memory);
	return pool_open(&cache->fetches, open, (unsigned)open->values[OPTION_FETCHES].number,
	                 sizeof(struct fetch));
}

static enum status cache_open(struct layer_open *open, struct blk **out)
{
	struct blk *lower = open->lower[0];
	uint32_t page_size = (uint32_t)open->values[OPTION_PAGE].number;
	struct cache *cache;
	enum status status;

	if ((page_size & (page_size - 1)) != 0)
		return layer_fail_option(open, OPTION_PAGE, "a power of two");
	if (page_size < lower->geometry.block_size)
		page_size = lower->geometry.block_size;
	if (page_size / lower->geometry.block_size > lower->geometry.transfer_max)
		return layer_fail_option(open, OPTION_PAGE, "more than the device reads at once");
	cache = calloc(1, sizeof(*cache));
	if (cache == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	cache->env = open->env;
	cache->lower = lower;
	cache->blk = LAYER_DEVICE(lower, &cache_ops, sizeof(struct read_frame));
	_Static_assert(sizeof(struct write_frame) <= sizeof(struct read_frame),
	               "one size for both");
	cache->page_size = page_size;
	cache->page_blocks = page_size / lower->geometry.block_size;
	cache->page_count = lower->geometry.block_count / cache->page_blocks;
	cache->large_size = open->values[OPTION_LARGE].number;
	status = open_memory(cache, open);
	if (status != STATUS_OK) {
		cache_close(&cache->blk);
		return status;
	}
	*out = &cache->blk;
	return STATUS_OK;
}

static const struct conf_setting cache_options[] = {
	[OPTION_SIZE] = { .name = "size",
	                  .type = CONF_SIZE,
	                  .min = 64 << 10,
	                  .max = 1ull << 46,
	                  .help = "Memory for data; names take about one part in a hundred more." },
	[OPTION_POLICY] = { .name = "policy",
	                    .type = CONF_CHOICE,
	                    .initial = "s3fifo",
	                    .choices = "s3fifo|clock|lru",
	                    .help = "What to keep; s3fifo is not emptied by scans." },
	[OPTION_PAGE] = { .name = "page",
	                  .type = CONF_SIZE,
	                  .initial = "4K",
	                  .min = 512,
	                  .max = 64 << 10,
	                  .help = "What is kept together; a block where that is more." },
	[OPTION_LARGE] = { .name = "large",
	                   .type = CONF_SIZE,
	                   .initial = "256K",
	                   .max = 1ull << 40,
	                   .help = "Longer reads that are not all there go past the cache." },
	[OPTION_FETCHES] = { .name = "fetches",
	                     .type = CONF_INTEGER,
	                     .initial = "64",
	                     .min = 1,
	                     .max = FETCHES_MAX,
	                     .help = "Reads to fill it at a time; more go past it." },
};

const struct blk_layer blk_cache = {
	.name = "cache",
	.help = "A read cache in memory; writes go through it.",
	.options = cache_options,
	.option_count = array_count(cache_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = cache_open,
	.describe = cache_describe,
};
