/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volatile write cache: writes are acknowledged when they are in memory, and go to the device
 * later, neighbours as one command. It says of itself that it is volatile, so who needs a write to
 * be durable flushes, or says FUA, and both wait until everything from before is on the device, and
 * durable there. Reads see what is pending. What the device refuses is kept and tried again; the
 * flushes that wait meanwhile fail.
 *
 * A block that is pending has an entry with its newest data. While older data of it are being
 * written, newer ones have a slot of their own and wait. An entry stays as long as a read that
 * found it is under way below, because that may come back with what was there before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/pool.h"

enum { SEGMENTS = 128, SHARE = 4 };
#define NONE UINT32_MAX

struct entry {
	uint64_t lba;
	uint64_t created; /* number: reads that are older have not counted themselves */
	uint64_t stamp;   /* number of the oldest write that is not on its way */
	uint32_t chain;   /* of its bucket, or of the free ones */
	uint32_t slot;    /* newest data; NONE: of no use any more */
	uint32_t writing; /* slot that a command below has; NONE */
	uint32_t readers;
	bool dirty;
	TAILQ_ENTRY(entry) link; /* dirty ones, the oldest first */
};
TAILQ_HEAD(entry_list, entry);

struct child {
	struct req req;
	struct writeback *writeback;
	uint64_t stamp; /* the oldest of them */
	uint32_t count;
	struct entry *entries[SEGMENTS];
	struct iovec iov[SEGMENTS];
	LIST_ENTRY(child) link;
};

struct writeback {
	struct blk blk;
	struct blk *lower;
	struct stack_env *env;
	struct pool pool;
	LIST_HEAD(, child) running;
	uint32_t capacity, dirty_max; /* blocks */
	uint32_t bucket_mask;
	uint64_t numbers;
	struct entry *entries;
	uint32_t *buckets, *slots; /* slots: the free ones, a stack */
	uint32_t entry_count, entry_free, entry_free_count, slot_free_count, dirty_count;
	bool ranging; /* a discard or zeroes is under way */
	bool holding; /* a discard or zeroes is under way, or next: nothing is written beside it */
	struct entry_list dirty;
	struct req_list parked;  /* writes for which there is no room, in order */
	struct req_list waiting; /* for all from before: flushes, FUA, ranges */
	struct entry *chosen[SEGMENTS];
	uint64_t wait_ns;
	struct timer timer;
	void *memory;
	size_t memory_size;
	uint8_t *data;
	uint64_t absorbed, written, commands, failed;
};

struct call_frame {
	struct frame frame;
	struct writeback *writeback;
	struct blk_cmd cmd;
	uint64_t number; /* of the last write before it */
};

struct child_frame {
	struct frame frame;
	struct child *child;
};

enum { OPTION_SIZE, OPTION_DIRTY, OPTION_WAIT, OPTION_COMMANDS };

static void write_out(struct writeback *wb, bool all);

/* Entries and their slots. */

static uint32_t *bucket_of(struct writeback *wb, uint64_t lba)
{
	return &wb->buckets[(lba * 0x9e3779b97f4a7c15ull >> 32) & wb->bucket_mask];
}

static struct entry *find(struct writeback *wb, uint64_t lba)
{
	uint32_t index = *bucket_of(wb, lba);

	while (index != NONE && wb->entries[index].lba != lba)
		index = wb->entries[index].chain;
	return index == NONE ? NULL : &wb->entries[index];
}

static uint8_t *slot_data(const struct writeback *wb, uint32_t slot)
{
	assert(slot < wb->capacity);
	return wb->data + (size_t)slot * wb->blk.geometry.block_size;
}

static void give_slot(struct writeback *wb, uint32_t slot)
{
	assert(wb->slot_free_count < wb->capacity);
	wb->slots[wb->slot_free_count++] = slot;
}

static struct entry *make_entry(struct writeback *wb, uint64_t lba)
{
	uint32_t index = wb->entry_free, *bucket = bucket_of(wb, lba);
	struct entry *entry = &wb->entries[index];

	assert(index != NONE);
	wb->entry_free = entry->chain;
	wb->entry_free_count--;
	*entry = (struct entry){
		.lba = lba, .created = wb->numbers, .chain = *bucket, .slot = NONE, .writing = NONE
	};
	*bucket = index;
	return entry;
}

/* When nobody needs it any more. */
static void drop_if_idle(struct writeback *wb, struct entry *entry)
{
	uint32_t index = (uint32_t)(entry - wb->entries), *at;

	if (entry->dirty || entry->writing != NONE || entry->readers > 0)
		return;
	if (entry->slot != NONE)
		give_slot(wb, entry->slot);
	for (at = bucket_of(wb, entry->lba); *at != index; at = &wb->entries[*at].chain)
		assert(*at != NONE);
	*at = entry->chain;
	entry->chain = wb->entry_free;
	wb->entry_free = index;
	wb->entry_free_count++;
}

static void set_dirty(struct writeback *wb, struct entry *entry)
{
	assert(!entry->dirty && entry->slot != NONE);
	entry->dirty = true;
	entry->stamp = wb->numbers;
	TAILQ_INSERT_TAIL(&wb->dirty, entry, link);
	wb->dirty_count++;
}

static void set_clean(struct writeback *wb, struct entry *entry)
{
	assert(entry->dirty && wb->dirty_count > 0);
	entry->dirty = false;
	TAILQ_REMOVE(&wb->dirty, entry, link);
	wb->dirty_count--;
}

/* Between a block of the command and memory of ours. */
static void copy_block(const struct writeback *wb, const struct blk_cmd *cmd, uint32_t block,
                       uint8_t *memory)
{
	size_t size = wb->blk.geometry.block_size, at = (size_t)block * size;

	for (uint32_t i = 0; size > 0; i++) {
		const struct iovec *v = &cmd->iov[i];
		size_t part;

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

/* Writing out. */

static bool is_written(struct writeback *wb, uint64_t number)
{
	struct entry *first = TAILQ_FIRST(&wb->dirty);
	const struct child *child;

	if (first != NULL && first->stamp <= number)
		return false;
	LIST_FOREACH(child, &wb->running, link)
	{
		if (child->stamp <= number)
			return false;
	}
	return true;
}

static void call_done(struct req *req)
{
	const struct call_frame *frame = req_pop(req, struct call_frame);

	assert(frame->writeback != NULL);
	req_complete(req, req->status, 0);
}

static bool is_range(const struct blk_cmd *cmd)
{
	return cmd->op == BLK_DISCARD || cmd->op == BLK_ZEROES;
}

static void pass_waiting(struct writeback *wb);
static void unpark(struct writeback *wb);

/* Data that are kept for reads under way are not what is there any more. */
static void range_done(struct req *req)
{
	const struct call_frame *frame = req_pop(req, struct call_frame);
	struct writeback *wb = frame->writeback;

	for (uint32_t i = 0; i < wb->entry_count; i++) {
		struct entry *entry = &wb->entries[i];

		if (entry->readers > 0 && !entry->dirty && entry->writing == NONE &&
		    entry->slot != NONE && entry->lba >= frame->cmd.lba &&
		    entry->lba - frame->cmd.lba < frame->cmd.block_count) {
			give_slot(wb, entry->slot);
			entry->slot = NONE;
		}
	}
	req_complete(req, req->status, 0);
	wb->holding = wb->ranging = false;
	pass_waiting(wb);
	unpark(wb);
}

/* All from before is on the device: a flush makes it durable there; a range may go. */
static void pass_waiting(struct writeback *wb)
{
	static const struct blk_cmd flush = { .op = BLK_FLUSH };
	struct req *req;

	while ((req = STAILQ_FIRST(&wb->waiting)) != NULL &&
	       is_written(wb, req_top(req, struct call_frame)->number)) {
		struct blk_cmd cmd = req_top(req, struct call_frame)->cmd;

		/* Beside newer writes of the same blocks nobody could say what is left there. */
		if (is_range(&cmd) && (wb->ranging || !LIST_EMPTY(&wb->running))) {
			wb->holding = true;
			return;
		}
		wb->holding |= is_range(&cmd);
		wb->ranging |= is_range(&cmd);
		STAILQ_REMOVE_HEAD(&wb->waiting, link);
		blk_submit(wb->lower, req, is_range(&cmd) ? &cmd : &flush);
	}
	if (req != NULL)
		write_out(wb, true);
}

static void fail_all(struct req_list *list, enum status status)
{
	struct req_list waiting = STAILQ_HEAD_INITIALIZER(waiting);
	struct req *req;

	STAILQ_CONCAT(&waiting, list);
	while ((req = STAILQ_FIRST(&waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&waiting, link);
		req_pop(req, struct call_frame);
		req_complete(req, status, 0);
	}
}

static void settle_entry(struct writeback *wb, struct entry *entry, bool ok)
{
	uint32_t slot = entry->writing;

	entry->writing = NONE;
	if (entry->slot != slot)
		give_slot(wb, slot); /* newer data are there */
	else if (!ok)
		set_dirty(wb, entry);
	drop_if_idle(wb, entry);
}

static void child_done(struct req *req)
{
	struct child *child = req_pop(req, struct child_frame)->child;
	struct writeback *wb = child->writeback;
	bool ok = req->status == STATUS_OK;
	enum status status = req->status;

	LIST_REMOVE(child, link);
	for (uint32_t i = 0; i < child->count; i++)
		settle_entry(wb, child->entries[i], ok);
	pool_give(&wb->pool, req);
	if (ok) {
		wb->written += child->count;
	} else {
		wb->failed++;
		fail_all(&wb->waiting, status);
		fail_all(&wb->parked, status);
		wb->holding = wb->ranging;
	}
	pass_waiting(wb);
	unpark(wb);
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

	return x->lba < y->lba ? -1 : x->lba > y->lba;
}

static uint32_t submit_run(struct writeback *wb, uint32_t from, uint32_t count)
{
	struct req *req = pool_get(&wb->pool, wb->blk.worker);
	struct child *child = container_of(req, struct child, req);
	struct blk_cmd cmd = { .op = BLK_WRITE, .lba = wb->chosen[from]->lba, .iov = child->iov };

	assert(req != NULL);
	child->writeback = wb;
	child->stamp = UINT64_MAX;
	child->count = 0;
	while (child->count < count && child->count < wb->blk.geometry.transfer_max &&
	       wb->chosen[from + child->count]->lba == cmd.lba + child->count) {
		struct entry *entry = wb->chosen[from + child->count];

		set_clean(wb, entry);
		entry->writing = entry->slot;
		if (entry->stamp < child->stamp)
			child->stamp = entry->stamp;
		child->entries[child->count] = entry;
		child->iov[child->count++] =
		        (struct iovec){ slot_data(wb, entry->slot), wb->blk.geometry.block_size };
	}
	cmd.block_count = cmd.iov_count = child->count;
	wb->commands++;
	LIST_INSERT_HEAD(&wb->running, child, link);
	req_push(req, struct child_frame, child_done)->child = child;
	blk_submit(wb->lower, req, &cmd);
	return child->count;
}

/* The oldest ones, and with `all` the rest, too, as long as there are requests. */
static void write_out(struct writeback *wb, bool all)
{
	while (wb->pool.free_count > 0 && wb->dirty_count > 0 && !wb->holding) {
		struct entry *entry;
		uint32_t count = 0, done = 0;

		TAILQ_FOREACH (entry, &wb->dirty, link) {
			if (entry->writing == NONE)
				wb->chosen[count++] = entry;
			if (count == SEGMENTS)
				break;
		}
		if (count == 0)
			return; /* older data of all of them are on their way */
		qsort(wb->chosen, count, sizeof(wb->chosen[0]), compare);
		while (done < count && wb->pool.free_count > 0)
			done += submit_run(wb, done, count - done);
		if (!all)
			return;
	}
}

static void waited(struct timer *timer)
{
	struct writeback *wb = container_of(timer, struct writeback, timer);
	struct worker *worker = wb->blk.worker;

	write_out(wb, true);
	if (wb->dirty_count > 0)
		timer_arm(&worker->timers, timer, worker->now_ns + wb->wait_ns, waited);
}

/* Commands. */

static bool has_room(const struct writeback *wb, uint32_t blocks)
{
	return wb->slot_free_count >= blocks && wb->entry_free_count >= blocks;
}

static void absorb(struct writeback *wb, const struct blk_cmd *cmd)
{
	struct worker *worker = wb->blk.worker;

	wb->numbers++;
	for (uint32_t i = 0; i < cmd->block_count; i++) {
		struct entry *entry = find(wb, cmd->lba + i);

		if (entry == NULL)
			entry = make_entry(wb, cmd->lba + i);
		/* A slot that is being written keeps its data. */
		if (entry->slot == NONE || entry->slot == entry->writing)
			entry->slot = wb->slots[--wb->slot_free_count];
		copy_block(wb, cmd, i, slot_data(wb, entry->slot));
		if (!entry->dirty)
			set_dirty(wb, entry);
	}
	wb->absorbed += cmd->block_count;
	if (wb->dirty_count >= wb->dirty_max)
		write_out(wb, false);
	if (!wb->timer.armed && wb->dirty_count > 0)
		timer_arm(&worker->timers, &wb->timer, worker->now_ns + wb->wait_ns, waited);
}

static void wait_for_all(struct writeback *wb, struct req *req)
{
	req_top(req, struct call_frame)->number = wb->numbers;
	STAILQ_INSERT_TAIL(&wb->waiting, req, link);
	pass_waiting(wb);
}

/* A write with a frame, for which there is room. */
static void write_on(struct writeback *wb, struct req *req)
{
	const struct call_frame *frame = req_top(req, struct call_frame);

	absorb(wb, &frame->cmd);
	if (frame->cmd.flags & BLK_FUA) {
		wait_for_all(wb, req);
		return;
	}
	req_pop(req, struct call_frame);
	req_complete(req, STATUS_OK, 0);
}

static void unpark(struct writeback *wb)
{
	struct req *req;

	while ((req = STAILQ_FIRST(&wb->parked)) != NULL &&
	       has_room(wb, req_top(req, struct call_frame)->cmd.block_count)) {
		STAILQ_REMOVE_HEAD(&wb->parked, link);
		write_on(wb, req);
	}
	if (req != NULL)
		write_out(wb, true);
}

static void push_call(struct writeback *wb, struct req *req, const struct blk_cmd *cmd,
                      req_fn *done)
{
	struct call_frame *frame = req_push(req, struct call_frame, done);

	frame->writeback = wb;
	frame->cmd = *cmd;
	frame->number = wb->numbers;
}

static void write_submit(struct writeback *wb, struct req *req, const struct blk_cmd *cmd)
{
	bool room = STAILQ_EMPTY(&wb->parked) && has_room(wb, cmd->block_count);

	if (room && !(cmd->flags & BLK_FUA)) {
		absorb(wb, cmd);
		req_complete(req, STATUS_OK, 0);
		return;
	}
	push_call(wb, req, cmd, call_done);
	if (room) {
		write_on(wb, req);
	} else {
		STAILQ_INSERT_TAIL(&wb->parked, req, link);
		write_out(wb, true);
	}
}

/* Puts what is pending over what came from below, and lets go of what it had found. */
static void read_done(struct req *req)
{
	const struct call_frame *frame = req_pop(req, struct call_frame);
	struct writeback *wb = frame->writeback;

	for (uint32_t i = 0; i < frame->cmd.block_count; i++) {
		struct entry *entry = find(wb, frame->cmd.lba + i);

		if (entry == NULL)
			continue;
		if (entry->slot != NONE)
			copy_block(wb, &frame->cmd, i, slot_data(wb, entry->slot));
		if (entry->created > frame->number)
			continue;
		assert(entry->readers > 0);
		entry->readers--;
		drop_if_idle(wb, entry);
	}
	req_complete(req, req->status, req->result);
	unpark(wb);
}

static void read_submit(struct writeback *wb, struct req *req, const struct blk_cmd *cmd)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < cmd->block_count; i++) {
		struct entry *entry = find(wb, cmd->lba + i);

		found += entry != NULL && entry->slot != NONE;
	}
	if (found == cmd->block_count) {
		for (uint32_t i = 0; i < cmd->block_count; i++)
			copy_block(wb, cmd, i, slot_data(wb, find(wb, cmd->lba + i)->slot));
		req_complete(req, STATUS_OK, 0);
		return;
	}
	push_call(wb, req, cmd, read_done);
	for (uint32_t i = 0; i < cmd->block_count; i++) {
		struct entry *entry = find(wb, cmd->lba + i);

		if (entry != NULL)
			entry->readers++;
	}
	wb->numbers++; /* entries made from now on are newer than this read */
	blk_submit(wb->lower, req, cmd);
}

static void writeback_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct writeback *wb = container_of(blk, struct writeback, blk);

	switch (cmd->op) {
	case BLK_READ:
		read_submit(wb, req, cmd);
		return;
	case BLK_WRITE:
		write_submit(wb, req, cmd);
		return;
	case BLK_FLUSH:
	case BLK_DISCARD:
	case BLK_ZEROES:
		push_call(wb, req, cmd, is_range(cmd) ? range_done : call_done);
		wait_for_all(wb, req);
		return;
	case BLK_OP_COUNT:
		break;
	}
	unreachable();
}

static void writeback_stop(struct blk *blk, struct req *req)
{
	static const struct blk_cmd flush = { .op = BLK_FLUSH };
	struct writeback *wb = container_of(blk, struct writeback, blk);

	push_call(wb, req, &flush, call_done);
	wait_for_all(wb, req);
}

static void writeback_describe(const struct blk *blk, char *out, size_t out_max)
{
	const struct writeback *wb = container_of(blk, struct writeback, blk);

	snprintf(out, out_max,
	         "%u blocks; dirty=%u absorbed=%llu written=%llu commands=%llu failed=%llu",
	         wb->capacity, wb->dirty_count, (unsigned long long)wb->absorbed,
	         (unsigned long long)wb->written, (unsigned long long)wb->commands,
	         (unsigned long long)wb->failed);
}

static void writeback_close(struct blk *blk)
{
	struct writeback *wb = container_of(blk, struct writeback, blk);

	assert(LIST_EMPTY(&wb->running) && STAILQ_EMPTY(&wb->parked));
	timer_cancel(&blk->worker->timers, &wb->timer);
	if (wb->pool.count > 0)
		pool_close(&wb->pool, wb->env);
	layer_memory_close(wb->env, wb->memory, wb->memory_size);
	free(wb);
}

static const struct blk_ops writeback_ops = {
	.name = "writeback",
	.submit = writeback_submit,
	.close = writeback_close,
	.stop = writeback_stop,
};

/* One piece of memory: data, entries, buckets, free slots. */
static enum status open_memory(struct writeback *wb, struct layer_open *open)
{
	size_t data_size = (size_t)wb->capacity * wb->blk.geometry.block_size, size;
	uint32_t buckets = 1;

	while (buckets < wb->capacity)
		buckets *= 2;
	wb->bucket_mask = buckets - 1;
	wb->entry_count = 2 * wb->capacity;
	size = data_size + wb->entry_count * sizeof(struct entry);
	wb->memory_size = size + ((size_t)buckets + wb->capacity) * sizeof(uint32_t);
	wb->memory = layer_memory_open(open, wb->memory_size);
	if (wb->memory == NULL)
		return STATUS_NO_SPACE;
	wb->data = wb->memory;
	wb->entries = (void *)(wb->data + data_size);
	wb->buckets = (void *)(wb->data + size);
	wb->slots = wb->buckets + buckets;
	memset(wb->buckets, 0xff, (size_t)buckets * sizeof(uint32_t));
	for (uint32_t i = 0; i < wb->capacity; i++)
		give_slot(wb, i);
	for (uint32_t i = 0; i < wb->entry_count; i++)
		wb->entries[i].chain = i + 1 < wb->entry_count ? i + 1 : NONE;
	wb->entry_free_count = wb->entry_count;
	return pool_open(&wb->pool, open, (unsigned)open->values[OPTION_COMMANDS].number,
	                 sizeof(struct child));
}

static enum status check_lower(struct layer_open *open)
{
	const struct blk_geometry *g = &open->lower[0]->geometry;
	uint64_t blocks = open->values[OPTION_SIZE].number / g->block_size;

	if (!(g->ops & 1u << BLK_WRITE))
		return layer_fail(open, STATUS_READ_ONLY, "the device can only be read");
	if (g->align > 4096)
		return layer_fail(open, STATUS_UNSUPPORTED, "the device wants memory aligned to %u",
		                  g->align);
	if (blocks < 2 * SHARE || blocks > 1u << 28)
		return layer_fail_option(open, OPTION_SIZE, "%u to %u blocks of %u bytes",
		                         2 * SHARE, 1u << 28, g->block_size);
	return STATUS_OK;
}

static enum status writeback_open(struct layer_open *open, struct blk **out)
{
	struct blk *lower = open->lower[0];
	enum status status = check_lower(open);
	struct writeback *wb;

	if (status != STATUS_OK)
		return status;
	wb = calloc(1, sizeof(*wb));
	if (wb == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	wb->env = open->env;
	wb->lower = lower;
	wb->blk = LAYER_DEVICE(lower, &writeback_ops, sizeof(struct call_frame));
	wb->blk.geometry.volatile_cache = wb->blk.geometry.fua_is_flush = true;
	wb->capacity = (uint32_t)(open->values[OPTION_SIZE].number / lower->geometry.block_size);
	if (wb->blk.geometry.transfer_max > wb->capacity / SHARE)
		wb->blk.geometry.transfer_max = wb->capacity / SHARE;
	wb->dirty_max = (uint32_t)open->values[OPTION_DIRTY].number;
	if (wb->dirty_max > wb->capacity / 2)
		wb->dirty_max = wb->capacity / 2;
	wb->wait_ns = open->values[OPTION_WAIT].number;
	LIST_INIT(&wb->running);
	TAILQ_INIT(&wb->dirty);
	STAILQ_INIT(&wb->parked);
	STAILQ_INIT(&wb->waiting);
	status = open_memory(wb, open);
	if (status != STATUS_OK) {
		writeback_close(&wb->blk);
		return status;
	}
	*out = &wb->blk;
	return STATUS_OK;
}

static const struct conf_setting writeback_options[] = {
	[OPTION_SIZE] = { .name = "size",
	                  .type = CONF_SIZE,
	                  .initial = "4M",
	                  .min = 32 << 10,
	                  .max = 1ull << 40,
	                  .help = "Data that may be pending." },
	[OPTION_DIRTY] = { .name = "dirty",
	                   .type = CONF_INTEGER,
	                   .initial = "256",
	                   .min = 1,
	                   .max = 1 << 28,
	                   .help = "From so many pending blocks on they are written." },
	[OPTION_WAIT] = { .name = "wait",
	                  .type = CONF_DURATION,
	                  .initial = "100ms",
	                  .min = 1000000,
	                  .max = 3600000000000,
	                  .help = "After so long they are written anyway." },
	[OPTION_COMMANDS] = { .name = "commands",
	                      .type = CONF_INTEGER,
	                      .initial = "16",
	                      .min = 1,
	                      .max = 1024,
	                      .help = "Under way at a time, each 4 KiB." },
};

const struct blk_layer blk_writeback = {
	.name = "writeback",
	.help = "A volatile write cache: durable after a flush.",
	.options = writeback_options,
	.option_count = array_count(writeback_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = writeback_open,
	.describe = writeback_describe,
};
