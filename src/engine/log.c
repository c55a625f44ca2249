/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/log.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "core/worker.h"

struct write_frame {
	struct frame frame;
	struct log_frame *log_frame;
};

struct flush_frame {
	struct frame frame;
	struct log *log;
};

static void frame_written(struct req *req);
static void flushed(struct req *req);
static void issue_closed(struct log *log);

enum status log_open(struct log *log, struct blk *blk, struct bufs *bufs, uint32_t segment_blocks)
{
	uint32_t segment_size = segment_blocks << BLOCK_SHIFT;
	uint32_t quarter = segment_size / 4;

	assert(segment_blocks >= SEGMENT_BLOCKS_MIN);
	*log = (struct log){
		.worker = blk->worker,
		.blk = blk,
		.segment_blocks = segment_blocks,
		.frame_size_max = quarter < FRAME_SIZE_MAX ? quarter : FRAME_SIZE_MAX,
		.failed = STATUS_OK,
	};
	STAILQ_INIT(&log->unflushed);
	STAILQ_INIT(&log->flushing);
	for (unsigned i = 0; i < LOG_FRAMES; i++) {
		log->frames[i] = (struct log_frame){ .log = log };
		STAILQ_INIT(&log->frames[i].waiters);
		log->frames[i].buf = buf_get(bufs, log->frame_size_max);
		if (log->frames[i].buf == NULL) {
			log_close(log);
			return STATUS_NO_SPACE;
		}
	}
	return STATUS_OK;
}

void log_close(struct log *log)
{
	for (unsigned i = 0; i < LOG_FRAMES; i++) {
		if (log->frames[i].buf != NULL)
			buf_unref(log->frames[i].buf);
		log->frames[i].buf = NULL;
	}
}

void log_start(struct log *log, uint64_t lsn)
{
	assert(lsn > 0);
	assert(log->open == NULL && log_is_idle(log));
	log->lsn_next = lsn;
	log->lsn_durable = log->lsn_written = log->lsn_flushing = log->lsn_plain = lsn - 1;
	log->current.generation = 0;
}

void log_set_next(struct log *log, uint32_t segment, uint64_t generation)
{
	assert(log->next.generation == 0);
	assert(generation != 0);
	log->starved = false;
	log->next = (struct log_segment){
		.generation = generation,
		.segment = segment,
		.seed = record_seed(generation, segment),
	};
}

static uint32_t room_left(const struct log *log)
{
	return (log->segment_blocks - log->next_block) << BLOCK_SHIFT;
}

bool log_fits(const struct log *log, size_t size)
{
	uint32_t blocks = 0;

	if (log->current.generation == 0)
		return false;
	if (log->open != NULL && log->open->used + size <= log->open->size_max)
		return true;
	if (log->open != NULL)
		blocks = (uint32_t)align_up(log->open->used, BLOCK_SIZE) >> BLOCK_SHIFT;
	return FRAME_HEADER_SIZE + size + ((size_t)blocks << BLOCK_SHIFT) <= room_left(log);
}

/* Opens a frame with room for `size` bytes of records. */
static enum status open_frame(struct log *log, size_t size)
{
	struct log_frame *frame = &log->frames[log->lsn_next % LOG_FRAMES];
	uint32_t sealed = log->current.segment;

	if (frame->state != FRAME_FREE) {
		log->stats.stalls++;
		return STATUS_BUSY;
	}
	if (log->current.generation == 0 || FRAME_HEADER_SIZE + size > room_left(log) ||
	    (log->hurried && log->next.generation != 0)) {
		bool had = log->current.generation != 0;

		if (log->next.generation == 0) {
			log->starved = true;
			log->stats.stalls++;
			return STATUS_BUSY;
		}
		log->current = log->next;
		log->next.generation = 0;
		log->next_block = 1;
		log->hurried = !had;
		log->switched(log, had ? sealed : UINT32_MAX);
	}
	frame->lsn = log->lsn_next++;
	frame->generation = log->current.generation;
	frame->segment = log->current.segment;
	frame->block = log->next_block;
	frame->size_max =
	        room_left(log) < log->frame_size_max ? room_left(log) : log->frame_size_max;
	frame->used = FRAME_HEADER_SIZE;
	frame->record_count = 0;
	frame->records_crc = 0;
	frame->urgent = false;
	frame->state = FRAME_OPEN;
	log->open = frame;
	return STATUS_OK;
}

/* All up to here are durable when what is under way has ended well. */
static uint64_t lsn_covered(const struct log *log)
{
	return log->lsn_flushing > log->lsn_durable ? log->lsn_flushing : log->lsn_durable;
}

/* Where the device has no volatile cache, what is written is durable. */
static bool is_fua(const struct log *log, const struct log_frame *frame)
{
	if (!log->blk->geometry.volatile_cache)
		return true;
	return frame->urgent && (log->lsn_plain <= lsn_covered(log) || log->hasty);
}

static void issue(struct log_frame *frame)
{
	struct log *log = frame->log;
	uint32_t size = (uint32_t)align_up(frame->used, BLOCK_SIZE);
	struct frame_header header = {
		.generation = frame->generation,
		.lsn = frame->lsn,
		.durable_lsn = log->lsn_durable,
		.segment = frame->segment,
		.block = frame->block,
		.size = frame->used,
		.record_count = frame->record_count,
		.records_crc = frame->records_crc,
	};
	struct blk_cmd cmd = {
		.op = BLK_WRITE,
		.lba = SEGMENT_FIRST_BLOCK + (uint64_t)frame->segment * log->segment_blocks +
		       frame->block,
		.block_count = size >> BLOCK_SHIFT,
		.iov = &frame->iov,
		.iov_count = 1,
	};

	assert(frame->state == FRAME_CLOSED);
	frame->fua = is_fua(log, frame);
	if (frame->fua)
		cmd.flags = BLK_FUA;
	else
		log->lsn_plain = frame->lsn;
	frame_header_encode(&header, frame->buf->data);
	memset(frame->buf->data + frame->used, 0, size - frame->used);
	frame->iov = (struct iovec){ frame->buf->data, size };
	frame->state = FRAME_IN_FLIGHT;
	log->in_flight++;
	req_init(&frame->req, log->worker);
	req_push(&frame->req, struct write_frame, frame_written)->log_frame = frame;
	blk_submit(log->blk, &frame->req, &cmd);
}

/* Whether one more frame of this kind may be on its way. */
static bool may_issue(const struct log *log, const struct log_frame *frame)
{
	if (log->unflushed_size + log->flushing_size >= 2ull * LOG_UNFLUSHED_MAX)
		return false;
	return log->in_flight < (frame->urgent ? LOG_IN_FLIGHT : LOG_IN_FLIGHT_RELAXED);
}

static void issue_closed(struct log *log)
{
	uint64_t lsn = log->lsn_written + 1;

	for (; lsn < log->lsn_next && log->failed == STATUS_OK; lsn++) {
		struct log_frame *frame = &log->frames[lsn % LOG_FRAMES];

		assert(frame->lsn == lsn);
		if (frame->state != FRAME_CLOSED)
			continue;
		if (!may_issue(log, frame))
			return;
		issue(frame);
	}
}

static void close_frame(struct log *log)
{
	struct log_frame *frame = log->open;
	uint32_t blocks = (uint32_t)align_up(frame->used, BLOCK_SIZE) >> BLOCK_SHIFT;

	assert(frame->state == FRAME_OPEN);
	frame->state = FRAME_CLOSED;
	frame->closed_ns = log->worker->now_ns;
	log->open = NULL;
	log->next_block += blocks;
	log->stats.frames++;
	log->stats.bytes += (uint64_t)blocks << BLOCK_SHIFT;
}

enum status log_reserve(struct log *log, size_t size)
{
	assert(FRAME_HEADER_SIZE + size <= log->frame_size_max);
	if (log->failed != STATUS_OK)
		return STATUS_READ_ONLY;
	if (log->open != NULL && log->open->used + size <= log->open->size_max)
		return STATUS_OK;
	if (log->open != NULL && log->open->record_count == 0) {
		/* Opened for less than this, at the end of a segment, and not used. */
		log->open->state = FRAME_FREE;
		log->open = NULL;
		log->lsn_next--;
	} else if (log->open != NULL) {
		close_frame(log);
		issue_closed(log);
	}
	return open_frame(log, size);
}

uint64_t log_next_location(const struct log *log, size_t size, uint8_t flags)
{
	struct location location = {
		.segment = log->open->segment,
		.offset = (log->open->block << BLOCK_SHIFT) + log->open->used,
		.size = (uint32_t)size,
		.flags = flags,
	};

	return location_pack(location);
}

uint64_t log_append(struct log *log, const struct record *record, bool relaxed)
{
	struct log_frame *frame = log->open;
	size_t size = record_size(record->key.size, record->value.size, record->expires_ms != 0);
	uint8_t flags = (uint8_t)(record->flags & ~RECORD_EXPIRES) |
	                (record->expires_ms != 0 ? RECORD_EXPIRES : 0);
	uint64_t location = log_next_location(log, size <= RECORD_SIZE_MAX ? size : 0, flags);
	uint32_t offset = (frame->block << BLOCK_SHIFT) + frame->used;
	uint32_t crc;

	assert(frame->state == FRAME_OPEN);
	assert(frame->used + size <= frame->size_max); /* else: not reserved */
	crc = record_encode(record, log->current.seed, offset, frame->buf->data + frame->used);
	frame->records_crc = crc32c(frame->records_crc, &crc, sizeof(crc));
	frame->record_count++;
	frame->urgent |= !relaxed;
	log->stats.records++;
	frame->used += (uint32_t)size;
	return location;
}

/* What is written becomes durable; once under way, it covers nothing that is written later. */
static void start_flush(struct log *log)
{
	static const struct blk_cmd cmd = { .op = BLK_FLUSH };

	assert(!log->flush_running && log->lsn_written > log->lsn_durable);
	log->flush_running = true;
	log->lsn_flushing = log->lsn_written;
	log->records_flushing = log->records_written;
	log->flushing_size = log->unflushed_size;
	log->unflushed_size = 0;
	STAILQ_CONCAT(&log->flushing, &log->unflushed);
	log->stats.flushes++;
	req_init(&log->flush, log->worker);
	req_push(&log->flush, struct flush_frame, flushed)->log = log;
	blk_submit(log->blk, &log->flush, &cmd);
}

static void flush_if_due(struct log *log)
{
	if (log->flush_running || log->failed != STATUS_OK)
		return;
	if (!STAILQ_EMPTY(&log->unflushed) || log->unflushed_size >= LOG_UNFLUSHED_MAX)
		start_flush(log);
}

void log_wait(struct log *log, uint64_t lsn, struct req *req)
{
	struct log_frame *frame = &log->frames[lsn % LOG_FRAMES];

	assert(req->state == REQ_RUNNING);
	assert(lsn > log->lsn_durable && lsn < log->lsn_next);
	if (log->failed != STATUS_OK) {
		req_complete(req, STATUS_IO, 0);
		return;
	}
	if (lsn > log->lsn_written) {
		assert(frame->lsn == lsn && frame->state != FRAME_FREE);
		frame->urgent = true;
		STAILQ_INSERT_TAIL(&frame->waiters, req, link);
		return;
	}
	STAILQ_INSERT_TAIL(lsn <= log->lsn_flushing ? &log->flushing : &log->unflushed, req, link);
	flush_if_due(log);
}

void log_settle(struct log *log)
{
	if (log->failed != STATUS_OK)
		return;
	if (log->open != NULL && log->open->record_count > 0 && may_issue(log, log->open))
		close_frame(log);
	issue_closed(log);
}

void log_tick(struct log *log)
{
	if (log->failed == STATUS_OK && !log->flush_running && log->lsn_written > log->lsn_durable)
		start_flush(log);
}

uint64_t log_cut(struct log *log)
{
	if (log->open != NULL && log->open->record_count > 0) {
		close_frame(log);
		issue_closed(log);
	}
	return log_last_lsn(log);
}

const uint8_t *log_peek(const struct log *log, struct location location)
{
	for (unsigned i = 0; i < LOG_FRAMES; i++) {
		const struct log_frame *frame = &log->frames[i];
		uint32_t start = frame->block << BLOCK_SHIFT;

		if (frame->state == FRAME_FREE || frame->segment != location.segment)
			continue;
		if (location.offset >= start &&
		    location.offset + location.size <= start + frame->used)
			return frame->buf->data + (location.offset - start);
	}
	return NULL;
}

static void complete_waiters(struct req_list *waiters, enum status status)
{
	struct req *req;

	while ((req = STAILQ_FIRST(waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(waiters, link);
		req_complete(req, status, status == STATUS_OK ? req->result : 0);
	}
}

/*
 * A write or a flush failed: what it held may or may not be on disk, and a flush that failed once
 * may lie the second time. So nothing is tried again: every frame that is not durable fails.
 */
void log_fail(struct log *log, enum status status)
{
	assert(status != STATUS_OK);
	log->failed = status;
	complete_waiters(&log->flushing, STATUS_IO);
	complete_waiters(&log->unflushed, STATUS_IO);
	for (uint64_t lsn = log->lsn_written + 1; lsn < log->lsn_next; lsn++)
		complete_waiters(&log->frames[lsn % LOG_FRAMES].waiters, STATUS_IO);
}

/* All up to this one are durable. */
static void advance_durable(struct log *log, uint64_t lsn, uint64_t records)
{
	assert(lsn > log->lsn_durable);
	log->lsn_durable = lsn;
	log->stats.records_durable = records;
}

/* All before it are written, and now it is: its buffer is free, who waits for it waits on. */
static void advance_written(struct log *log, struct log_frame *frame)
{
	assert(frame->lsn == log->lsn_written + 1);
	frame->state = FRAME_FREE;
	log->lsn_written++;
	log->records_written += frame->record_count;
	if (!frame->fua) {
		log->unflushed_size += align_up(frame->used, BLOCK_SIZE);
		STAILQ_CONCAT(&log->unflushed, &frame->waiters);
	} else if (log->lsn_durable == frame->lsn - 1 || log->hasty) {
		advance_durable(log, frame->lsn, log->records_written);
		complete_waiters(&frame->waiters, STATUS_OK);
	} else {
		/* Durable itself, and all before it are when that flush ends. */
		assert(log->flush_running && log->lsn_flushing == frame->lsn - 1);
		log->lsn_flushing = frame->lsn;
		log->records_flushing = log->records_written;
		STAILQ_CONCAT(&log->flushing, &frame->waiters);
	}
}

static void frame_written(struct req *req)
{
	struct log_frame *frame = req_pop(req, struct write_frame)->log_frame;
	struct log *log = frame->log;

	assert(frame->state == FRAME_IN_FLIGHT);
	assert(log->in_flight > 0);
	log->in_flight--;
	frame->state = FRAME_ENDED;
	if (req->status != STATUS_OK && log->failed == STATUS_OK)
		log_fail(log, req->status);
	if (log->failed == STATUS_OK) {
		/* In order: a frame after a hole is not reachable by recovery. */
		for (;;) {
			frame = &log->frames[(log->lsn_written + 1) % LOG_FRAMES];
			if (frame->state != FRAME_ENDED || frame->lsn != log->lsn_written + 1)
				break;
			advance_written(log, frame);
		}
		flush_if_due(log);
		issue_closed(log);
	}
	log->advanced(log);
}

static void flushed(struct req *req)
{
	struct log *log = req_pop(req, struct flush_frame)->log;

	assert(log->flush_running);
	log->flush_running = false;
	log->flushing_size = 0;
	if (req->status != STATUS_OK && log->failed == STATUS_OK)
		log_fail(log, req->status);
	if (log->failed == STATUS_OK) {
		if (!log->hasty || log->lsn_flushing > log->lsn_durable)
			advance_durable(log, log->lsn_flushing, log->records_flushing);
		complete_waiters(&log->flushing, STATUS_OK);
		flush_if_due(log);
		issue_closed(log);
	}
	log->advanced(log);
}
