/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values that do not fit a record. Their bytes go to extents in blob segments, once, and are on
 * disk before the record that names them is in the log. An extent counts as live from then on;
 * until then, and while it is read, it is pinned. What a replaced value leaves behind is given back
 * by a RECORD_FREE, so that a replay counts the same.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/blob_state.h"
#include "engine/store.h"

struct io_frame {
	struct frame frame;
	struct blob_io *io;
};

void blob_pin(struct shard *shard, uint32_t segment, int by)
{
	struct shard_segment *s = &shard->segments[segment];

	assert(by > 0 ? s->pins < UINT32_MAX : s->pins > 0);
	s->pins += (uint32_t)by;
	/* One that is being filled is looked at when it is full. */
	if (s->pins == 0 && s->live == 0 && s->state == SEGMENT_SEALED)
		supply_dead(shard, s->dead_lsn);
}

void blob_pin_extents(struct shard *shard, struct blob_handle *h, int by)
{
	for (uint32_t i = 0; i < h->extent_count; i++)
		blob_pin(shard, blob_extent_get(blob_extents(h), i).segment, by);
}

static uint64_t handle_number(const struct shard *shard, const struct blob_handle *h)
{
	uint64_t slot = (uint64_t)(h - shard->blobs->handles) + 1;

	return slot << 40 | (uint64_t)h->generation << 8 | shard->index;
}

static struct blob_handle *handle_find(struct shard *shard, uint64_t number)
{
	uint64_t slot = number >> 40;
	struct blob_handle *h;

	if (slot == 0 || slot > SHARD_BLOBS_MAX)
		return NULL;
	h = &shard->blobs->handles[slot - 1];
	if (!h->used || h->closed || handle_number(shard, h) != number)
		return NULL;
	h->used_ns = shard->worker->now_ns;
	return h;
}

static struct blob_handle *handle_get(struct shard *shard, size_t size)
{
	for (unsigned i = 0; i < SHARD_BLOBS_MAX; i++) {
		struct blob_handle *h = &shard->blobs->handles[i];
		uint32_t generation = h->generation + 1;
		struct buf *buf;

		if (h->used)
			continue;
		buf = buf_get(shard->bufs, size);
		if (buf == NULL)
			return NULL;
		*h = (struct blob_handle){
			.buf = buf,
			.generation = generation,
			.used = true,
			.used_ns = shard->worker->now_ns,
		};
		return h;
	}
	return NULL;
}

/* Whether it is the command's until handle_leave(); else that is parked. */
static bool handle_enter(struct blobs *blobs, struct blob_handle *h, struct req *req)
{
	if (h->user != NULL && h->user != req) {
		(void)blob_park(blobs, req);
		return false;
	}
	h->user = req;
	return true;
}

static void handle_leave(struct shard *shard, struct blob_handle *h)
{
	assert(h->user != NULL && h->running == 0);
	h->user = NULL;
	blob_unpark(shard);
}

static void handle_put(struct blob_handle *h)
{
	assert(h->running == 0 && h->user == NULL);
	assert(h->used && h->waiter == NULL);
	buf_unref(h->buf);
	h->buf = NULL;
	h->used = false;
}

static struct blob_io *io_get(struct blobs *blobs)
{
	for (unsigned i = 0; i < IOS_MAX; i++) {
		if (!blobs->ios[i].busy)
			return &blobs->ios[i];
	}
	return NULL;
}

enum op_result blob_park(struct blobs *blobs, struct req *req)
{
	STAILQ_INSERT_TAIL(&blobs->parked, req, link);
	return OP_PARKED;
}

void blob_unpark(struct shard *shard)
{
	struct blobs *blobs = shard->blobs;

	STAILQ_CONCAT(&blobs->parked, &shard->queue);
	STAILQ_CONCAT(&shard->queue, &blobs->parked);
}

void blob_segment_ready(struct shard *shard, uint32_t segment, enum space_need need)
{
	struct blobs *blobs = shard->blobs;

	assert(blobs->segment == UINT32_MAX);
	assert(shard->segments[segment].kind == SEGMENT_BLOB);
	assert(shard->segments[segment].state == SEGMENT_FILLING);
	blobs->segment = segment;
	blobs->need = (uint8_t)need;
	blobs->next_block = 1;
	blob_unpark(blobs->shard);
}

/* Checks what was read, and hands over the part that was asked for. */
static enum status io_take(struct blob_io *io)
{
	assert(io->data_size <= io->iov.iov_len);
	assert(io->skip + io->out_size <= io->data_size);
	if (crc32c(0, io->buf->data, io->data_size) != io->crc)
		return STATUS_CORRUPT;
	memcpy(io->out, io->buf->data + io->skip, io->out_size);
	return STATUS_OK;
}

static void io_ended(struct req *req)
{
	struct blob_io *io = req_pop(req, struct io_frame)->io;
	struct blob_handle *h = io->handle;
	struct shard *shard = io->blobs->shard;
	struct req *waiter = h->waiter;
	enum status status = req->status;

	if (status == STATUS_OK && io->out != NULL)
		status = io_take(io);
	if (status == STATUS_CORRUPT)
		shard->stats.corrupt++;
	if (status != STATUS_OK)
		h->status = status;
	assert(io->busy && h->running > 0);
	buf_unref(io->buf);
	io->buf = NULL;
	io->busy = false;
	h->running--;
	if (h->running == 0 && waiter != NULL) {
		h->waiter = NULL;
		shard_requeue(shard, waiter);
	}
	blob_unpark(shard);
}

static void io_submit(struct blob_io *io, enum blk_op op, struct blob_extent extent)
{
	struct shard *shard = io->blobs->shard;
	struct blk_cmd cmd = {
		.op = op,
		.flags = op == BLK_WRITE ? BLK_FUA : 0,
		.lba = shard_lba(shard, extent.segment, extent.block),
		.block_count = extent.blocks,
		.iov = &io->iov,
		.iov_count = 1,
	};

	assert(!io->busy && io->buf != NULL);
	assert(extent.blocks > 0 && extent.blocks <= EXTENT_BLOCKS_MAX);
	io->busy = true;
	io->handle->running++;
	io->iov = (struct iovec){ io->buf->data, (size_t)extent.blocks << BLOCK_SHIFT };
	req_init(&io->req, shard->worker);
	req_push(&io->req, struct io_frame, io_ended)->io = io;
	blk_submit(shard->blk, &io->req, &cmd);
}

uint32_t blob_take_blocks(struct shard *shard, uint32_t blocks, struct blob_extent *extent)
{
	struct blobs *blobs = shard->blobs;
	uint32_t room = shard->segment_blocks - blobs->next_block;

	assert(blobs->segment != UINT32_MAX && room > 0);
	blocks = blocks < room ? blocks : room;
	blocks = blocks < EXTENT_BLOCKS_MAX ? blocks : EXTENT_BLOCKS_MAX;
	*extent = (struct blob_extent){
		.segment = blobs->segment,
		.block = blobs->next_block,
		.blocks = blocks,
	};
	assert(blocks > 0 && blobs->next_block > 0);
	blob_pin(shard, extent->segment, 1);
	blobs->next_block += blocks;
	shard->stats.blob_bytes += (uint64_t)blocks << BLOCK_SHIFT;
	if (blobs->next_block == shard->segment_blocks) {
		shard->segments[blobs->segment].state = SEGMENT_SEALED;
		shard->segments[blobs->segment].dead_lsn = shard->log.lsn_next;
		supply_dead(shard, shard->log.lsn_next);
		blobs->segment = UINT32_MAX;
	}
	return blocks;
}

/* Whether new data may go to the segment that is being filled; else one was asked for. */
static bool has_segment(struct blobs *blobs)
{
	struct shard *shard = blobs->shard;

	if (blobs->segment != UINT32_MAX)
		return !shard->space_low || blobs->need == SPACE_DATA; /* else: the cleaner's */
	supply_want(shard, SEGMENT_BLOB, SPACE_DATA);
	return false;
}

/* Writes data[0..size) as one extent of at most what fits; the bytes that it took, 0: park. */
static size_t extent_write(struct blobs *blobs, struct blob_handle *h, const uint8_t *data,
                           size_t size)
{
	struct shard *shard = blobs->shard;
	uint32_t blocks = EXTENT_BLOCKS_MAX;
	struct blob_extent extent;
	struct blob_io *io = io_get(blobs);

	if (!has_segment(blobs))
		return 0;
	if (size < (size_t)blocks << BLOCK_SHIFT)
		blocks = (uint32_t)(align_up(size, BLOCK_SIZE) >> BLOCK_SHIFT);
	if (io == NULL || (io->buf = buf_get(shard->bufs, (size_t)blocks << BLOCK_SHIFT)) == NULL)
		return 0;
	blocks = blob_take_blocks(shard, blocks, &extent);
	size = size < (size_t)blocks << BLOCK_SHIFT ? size : (size_t)blocks << BLOCK_SHIFT;
	memcpy(io->buf->data, data, size);
	memset(io->buf->data + size, 0, ((size_t)blocks << BLOCK_SHIFT) - size);
	extent.crc = crc32c(0, io->buf->data, size);
	assert(h->extent_count < BLOB_EXTENTS_MAX);
	assert(h->writing || h == &blobs->load_handle);
	blob_extent_put(blob_extents(h), h->extent_count++, extent);
	h->size += size;
	io->handle = h;
	io->out = NULL;
	io_submit(io, BLK_WRITE, extent);
	return size;
}

enum op_result blob_write_all(struct req *req, struct blob_handle *h, struct bytes data)
{
	struct op *op = op_of(req);
	struct blobs *blobs = op->shard->blobs;

	while (op->result < data.size && h->status == STATUS_OK) {
		size_t took;

		if (op->shard->log.failed != STATUS_OK)
			h->status = STATUS_READ_ONLY;
		else if (h->extent_count == BLOB_EXTENTS_MAX)
			h->status = STATUS_TOO_LARGE;
		else if (shard_is_full(op->shard))
			h->status = STATUS_NO_SPACE;
		if (h->status != STATUS_OK)
			break;
		took = extent_write(blobs, h, data.data + op->result, data.size - op->result);
		if (took == 0)
			return blob_park(blobs, req);
		op->result += took;
	}
	if (h->running > 0) {
		h->waiter = req;
		return OP_PARKED;
	}
	return OP_DONE;
}

/* Who has asked for a new blob and was refused has no handle to close. */
static enum op_result blob_refuse(struct req *req, struct blob_handle *h)
{
	enum status status = h->status;

	blob_pin_extents(op_of(req)->shard, h, -1);
	handle_leave(op_of(req)->shard, h);
	handle_put(h);
	return op_finish(req, status, 0);
}

static enum op_result blob_write(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct blob_handle *h = op->cmd.handle != 0 ? handle_find(shard, op->cmd.handle)
	                                            : handle_get(shard, 32 << 10);
	enum op_result result;

	if (h == NULL)
		return op_finish(req, op->cmd.handle != 0 ? STATUS_INVALID : STATUS_BUSY, 0);
	if (op->cmd.handle == 0) {
		h->writing = true;
		h->first = true;
		op->cmd.handle = handle_number(shard, h);
	}
	if (!handle_enter(shard->blobs, h, req))
		return OP_PARKED;
	if (!h->writing || (op->result == 0 && h->size % BLOCK_SIZE != 0)) {
		handle_leave(shard, h);
		return op_finish(req, STATUS_INVALID, op->cmd.handle);
	}
	if (h->size + op->cmd.value.size - op->result > KV_VALUE_MAX) {
		handle_leave(shard, h);
		return op_finish(req, STATUS_TOO_LARGE, op->cmd.handle);
	}
	result = blob_write_all(req, h, op->cmd.value);
	if (result != OP_DONE)
		return result;
	if (h->status == STATUS_OK || !h->first)
		h->first = false;
	else
		return blob_refuse(req, h);
	handle_leave(shard, h);
	return op_finish(req, h->status, op->cmd.handle);
}

static enum op_result blob_open(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct blob_value value;
	struct blob_handle *h;
	struct found found;
	enum op_result result;

	result = op_find(req, op->cmd.key, op->lock.hash, true, &found);
	if (result != OP_DONE)
		return result;
	op->lsn = shard_is_relaxed(shard, op->cmd.key) ? 0 : found.lsn;
	if (found.entry.version == 0) {
		if (op->cmd.visit != NULL)
			op->cmd.visit(op->cmd.visitor, &found.entry, NULL);
		return op_finish(req, STATUS_OK, 0);
	}
	h = handle_get(shard, found.entry.value.size + 1);
	if (h == NULL)
		return op_finish(req, STATUS_BUSY, 0);
	h->size = found.entry.size;
	memcpy(h->buf->data, found.entry.value.data, found.entry.value.size);
	h->inline_value = !found.entry.blob;
	if (found.entry.blob) {
		if (blob_value_decode(found.entry.value, &value) != STATUS_OK) {
			handle_put(h);
			return op_finish(req, STATUS_CORRUPT, 0);
		}
		h->extent_count = value.extent_count;
		blob_pin_extents(shard, h, 1);
		found.entry.value = (struct bytes){ NULL, 0 };
	}
	if (op->cmd.visit != NULL)
		op->cmd.visit(op->cmd.visitor, &found.entry, NULL);
	return op_finish(req, STATUS_OK, handle_number(shard, h));
}

/* Bytes of the value that are in an extent. */
static uint32_t extent_size(const struct blob_handle *h, uint64_t start, struct blob_extent extent)
{
	uint64_t most = (uint64_t)extent.blocks << BLOCK_SHIFT;

	return (uint32_t)(h->size - start < most ? h->size - start : most);
}

bool blob_extent_is_sane(const struct shard *shard, struct blob_extent extent)
{
	return extent.segment < shard->segment_count && extent.blocks > 0 &&
	       extent.blocks <= EXTENT_BLOCKS_MAX && extent.block < shard->segment_blocks &&
	       extent.blocks <= shard->segment_blocks - extent.block;
}

/* Reads from `offset` into out what the extent there has, at most out_size; 0: park or failed. */
static uint32_t extent_read(struct blobs *blobs, struct blob_handle *h, uint64_t offset,
                            uint8_t *out, uint32_t out_size)
{
	struct blob_io *io = io_get(blobs);
	struct blob_extent extent = { .blocks = 0 };
	uint64_t start = 0;
	uint32_t i = 0;

	for (; i < h->extent_count; i++) {
		extent = blob_extent_get(blob_extents(h), i);
		if (offset < start + ((uint64_t)extent.blocks << BLOCK_SHIFT))
			break;
		start += (uint64_t)extent.blocks << BLOCK_SHIFT;
	}
	if (i == h->extent_count || !blob_extent_is_sane(blobs->shard, extent)) {
		h->status = STATUS_CORRUPT;
		return 0;
	}
	if (io == NULL)
		return 0;
	io->buf = buf_get(blobs->shard->bufs, (size_t)extent.blocks << BLOCK_SHIFT);
	if (io->buf == NULL)
		return 0;
	io->handle = h;
	io->data_size = extent_size(h, start, extent);
	io->crc = extent.crc;
	assert(offset >= start && offset < h->size);
	io->skip = (uint32_t)(offset - start);
	io->out = out;
	io->out_size = io->data_size - io->skip < out_size ? io->data_size - io->skip : out_size;
	io_submit(io, BLK_READ, extent);
	return io->out_size;
}

enum op_result blob_read_all(struct req *req, struct blob_handle *h, uint64_t offset, uint8_t *out,
                             uint64_t size)
{
	struct op *op = op_of(req);
	struct blobs *blobs = op->shard->blobs;

	while (op->result < size && h->status == STATUS_OK) {
		uint64_t left = size - op->result;
		uint32_t took = extent_read(blobs, h, offset + op->result, out + op->result,
		                            left < UINT32_MAX ? (uint32_t)left : UINT32_MAX);

		if (took == 0 && h->status == STATUS_OK)
			return blob_park(blobs, req);
		op->result += took;
	}
	if (h->running > 0) {
		h->waiter = req;
		return OP_PARKED;
	}
	return OP_DONE;
}

static enum op_result blob_read(struct req *req)
{
	struct op *op = op_of(req);
	struct blob_handle *h = handle_find(op->shard, op->cmd.handle);
	uint64_t size;
	enum op_result result;

	if (h == NULL)
		return op_finish(req, STATUS_INVALID, 0);
	if (op->cmd.offset >= h->size)
		return op_finish(req, STATUS_OK, 0);
	size = h->size - op->cmd.offset;
	size = size < op->cmd.out_size ? size : op->cmd.out_size;
	if (h->inline_value) {
		memcpy(op->cmd.out, h->buf->data + op->cmd.offset, size);
		return op_finish(req, STATUS_OK, size);
	}
	if (!handle_enter(op->shard->blobs, h, req))
		return OP_PARKED;
	result = blob_read_all(req, h, op->cmd.offset, op->cmd.out, size);
	if (result != OP_DONE)
		return result;
	handle_leave(op->shard, h);
	return op_finish(req, h->status, h->status == STATUS_OK ? size : 0);
}

static enum op_result blob_close(struct req *req)
{
	struct op *op = op_of(req);
	struct blob_handle *h = handle_find(op->shard, op->cmd.handle);

	if (h == NULL)
		return op_finish(req, STATUS_OK, 0); /* published, or closed before */
	if (!handle_enter(op->shard->blobs, h, req))
		return OP_PARKED;
	handle_leave(op->shard, h);
	if (!h->inline_value)
		blob_pin_extents(op->shard, h, -1);
	handle_put(h);
	return op_finish(req, STATUS_OK, 0);
}

/* A commit may rely on the handles that it has looked at. */
static bool handles_are_held(const struct shard *shard)
{
	return shard->exclusive != NULL || txns_are_prepared(shard);
}

void blob_tick(struct shard *shard)
{
	uint64_t idle_ns = (uint64_t)KV_BLOB_IDLE_S * 1000000000;

	blob_unpark(shard);
	if (handles_are_held(shard))
		return;
	for (unsigned i = 0; i < SHARD_BLOBS_MAX; i++) {
		struct blob_handle *h = &shard->blobs->handles[i];

		if (!h->used || h->user != NULL || shard->worker->now_ns - h->used_ns < idle_ns)
			continue;
		if (!h->inline_value)
			blob_pin_extents(shard, h, -1);
		handle_put(h);
		shard->stats.blobs_dropped++;
	}
}

enum op_result op_blob(struct req *req)
{
	switch ((enum kv_op)op_of(req)->cmd.op) {
	case KV_BLOB_WRITE:
		return blob_write(req);
	case KV_BLOB_OPEN:
		return blob_open(req);
	case KV_BLOB_READ:
		return blob_read(req);
	case KV_BLOB_CLOSE:
		return blob_close(req);
	default:
		unreachable();
	}
}

/* Publication. */

enum status blob_take(struct shard *shard, uint64_t handle, struct record *record)
{
	struct blob_handle *h = handle_find(shard, handle);

	if (h == NULL || !h->writing || h->user != NULL)
		return STATUS_INVALID;
	if (h->status != STATUS_OK)
		return h->status;
	assert(h->extent_count <= BLOB_EXTENTS_MAX);
	put64(h->buf->data, h->size);
	put32(h->buf->data + 8, h->extent_count);
	put32(h->buf->data + 12, 0);
	record->flags |= RECORD_BLOB;
	record->value = bytes_of(h->buf->data, blob_value_size(h->extent_count));
	return STATUS_OK;
}

static void each_extent(struct shard *shard, struct bytes value,
                        void (*act)(struct shard *shard, uint32_t segment, uint32_t size))
{
	struct blob_value blob;

	if (blob_value_decode(value, &blob) != STATUS_OK)
		return;
	for (uint32_t i = 0; i < blob.extent_count; i++) {
		struct blob_extent extent = blob_extent_get(blob.extents, i);

		if (blob_extent_is_sane(shard, extent))
			act(shard, extent.segment, extent.blocks << BLOCK_SHIFT);
	}
}

static void gain(struct shard *shard, uint32_t segment, uint32_t size)
{
	shard_live_add(shard, segment, size);
}

/*
 * What the log behind a checkpoint names may have been replaced since, and its segment used again
 * by an open that was cut short. What is left of it is counted until its FREE comes, and that is of
 * the log only after the replay; so the segment is nobody else's until then.
 */
static void gain_again(struct shard *shard, uint32_t segment, uint32_t size)
{
	struct shard_segment *s = &shard->segments[segment];

	assert(!shard->open);
	if (s->state == SEGMENT_NONE) {
		space_adopt(shard->space, segment);
		s->state = SEGMENT_SEALED;
		s->kind = SEGMENT_BLOB;
		s->dead_lsn = 1;
		if (segment >= shard->touched)
			shard->touched = segment + 1;
	}
	shard_live_add(shard, segment, size);
}

static void lose(struct shard *shard, uint32_t segment, uint32_t size)
{
	shard_live_drop(shard, segment, size);
	shard->segments[segment].dead_lsn = shard->log.lsn_next;
	if (shard->segments[segment].live == 0)
		supply_dead(shard, shard->log.lsn_next);
}

void blob_credit(struct shard *shard, struct bytes value)
{
	if (shard->counting)
		each_extent(shard, value, gain);
}

void blob_replay_credit(struct shard *shard, struct bytes value)
{
	if (shard->counting)
		each_extent(shard, value, gain_again);
}

void blob_debit(struct shard *shard, struct bytes value)
{
	if (shard->counting)
		each_extent(shard, value, lose);
}

void blob_published(struct shard *shard, uint64_t handle)
{
	struct blob_handle *h = handle_find(shard, handle);

	if (h == NULL)
		return;
	blob_pin_extents(shard, h, -1);
	handle_put(h);
}

enum status blobs_open(struct shard *shard)
{
	struct blobs *blobs = calloc(1, sizeof(*blobs));

	if (blobs == NULL)
		return STATUS_NO_SPACE;
	shard->blobs = blobs;
	blobs->shard = shard;
	blobs->load_max = shard->store->options.load_memory_size / 2 / BLOCK_SIZE * BLOCK_SIZE;
	blobs->segment = UINT32_MAX;
	STAILQ_INIT(&blobs->parked);
	for (unsigned i = 0; i < IOS_MAX; i++)
		blobs->ios[i].blobs = blobs;
	blobs->frees = calloc(FREES_MAX, sizeof(*blobs->frees));
	if (blobs->frees == NULL) {
		blobs_close(shard);
		return STATUS_NO_SPACE;
	}
	return STATUS_OK;
}

void blobs_close(struct shard *shard)
{
	struct blobs *blobs = shard->blobs;

	/* After a failed write there may be what nobody will take any more. */
	for (unsigned i = 0; i < SHARD_BLOBS_MAX; i++) {
		if (blobs->handles[i].used)
			buf_unref(blobs->handles[i].buf);
	}
	if (blobs->free_buf != NULL)
		buf_unref(blobs->free_buf);
	if (blobs->load != NULL)
		munmap(blobs->load, 2 * blobs->load_max);
	free(blobs->frees);
	free(blobs);
	shard->blobs = NULL;
}
