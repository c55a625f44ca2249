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

static void frame_written(struct req *req);

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
	assert(log->open == NULL && log->in_flight == 0);
	log->lsn_next = lsn;
	log->lsn_durable = lsn - 1;
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
	frame->state = FRAME_OPEN;
	log->open = frame;
	return STATUS_OK;
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
		.flags = BLK_FUA,
		.lba = SEGMENT_FIRST_BLOCK + (uint64_t)frame->segment * log->segment_blocks +
		       frame->block,
		.block_count = size >> BLOCK_SHIFT,
		.iov = &frame->iov,
		.iov_count = 1,
	};

	assert(frame->state == FRAME_CLOSED);
	frame_header_encode(&header, frame->buf->data);
	memset(frame->buf->data + frame->used, 0, size - frame->used);
	frame->iov = (struct iovec){ frame->buf->data, size };
	frame->state = FRAME_IN_FLIGHT;
	log->in_flight++;
	req_init(&frame->req, log->worker);
	req_push(&frame->req, struct write_frame, frame_written)->log_frame = frame;
	blk_submit(log->blk, &frame->req, &cmd);
}

static void issue_closed(struct log *log)
{
	uint64_t lsn = log->lsn_durable + 1;

	for (; lsn < log->lsn_next && log->in_flight < LOG_IN_FLIGHT; lsn++) {
		struct log_frame *frame = &log->frames[lsn % LOG_FRAMES];

		assert(frame->lsn == lsn);
		if (frame->state == FRAME_CLOSED && log->failed == STATUS_OK)
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

uint64_t log_append(struct log *log, const struct record *record)
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
	log->stats.records++;
	frame->used += (uint32_t)size;
	return location;
}

void log_wait(struct log *log, uint64_t lsn, struct req *req)
{
	struct log_frame *frame = &log->frames[lsn % LOG_FRAMES];

	assert(req->state == REQ_RUNNING);
	assert(lsn > log->lsn_durable && lsn < log->lsn_next);
	assert(frame->lsn == lsn && frame->state != FRAME_FREE);
	if (log->failed != STATUS_OK) {
		req_complete(req, STATUS_IO, 0);
		return;
	}
	STAILQ_INSERT_TAIL(&frame->waiters, req, link);
}

void log_settle(struct log *log)
{
	if (log->failed != STATUS_OK)
		return;
	if (log->open != NULL && log->open->record_count > 0 && log->in_flight < LOG_IN_FLIGHT)
		close_frame(log);
	issue_closed(log);
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

static void complete_waiters(struct log_frame *frame, enum status status)
{
	struct req *req;

	while ((req = STAILQ_FIRST(&frame->waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&frame->waiters, link);
		req_complete(req, status, status == STATUS_OK ? req->result : 0);
	}
}

/*
 * A write failed: what it held may or may not be on disk, and a flush that failed once may lie the
 * second time. So nothing is tried again: every frame that is not durable fails.
 */
void log_fail(struct log *log, enum status status)
{
	assert(status != STATUS_OK);
	log->failed = status;
	for (uint64_t lsn = log->lsn_durable + 1; lsn < log->lsn_next; lsn++)
		complete_waiters(&log->frames[lsn % LOG_FRAMES], STATUS_IO);
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
			frame = &log->frames[(log->lsn_durable + 1) % LOG_FRAMES];
			if (frame->state != FRAME_ENDED || frame->lsn != log->lsn_durable + 1)
				break;
			frame->state = FRAME_FREE;
			log->stats.records_durable += frame->record_count;
			log->lsn_durable++;
			complete_waiters(frame, STATUS_OK);
		}
		issue_closed(log);
	}
	log->advanced(log);
}
