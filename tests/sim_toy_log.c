/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_toy_log.h"

#include "base/assert.h"
#include "base/hash.h"

enum { TOY_MAGIC = 0x70797421 };

struct toy_frame_of_req {
	struct frame frame;
	struct toy_log *log;
};

const char *toy_bug_name(enum toy_bug bug)
{
	static const char *const names[] = {
#define X(name, text) text,
		TOY_BUGS(X)
#undef X
	};

	return names[bug];
}

static uint32_t frame_crc(const uint8_t *block)
{
	return crc32c(0, block + offsetof(struct toy_frame, sequence),
	              4096 - offsetof(struct toy_frame, sequence));
}

static void submit(struct toy_log *log, const struct blk_cmd *cmd, req_fn *done)
{
	req_init(&log->req, log->blk->worker);
	req_push(&log->req, struct toy_frame_of_req, done)->log = log;
	blk_submit(log->blk, &log->req, cmd);
}

static struct toy_log *popped(struct req *req)
{
	return req_pop(req, struct toy_frame_of_req)->log;
}

static bool frame_is_good(const struct toy_log *log, const uint8_t *block)
{
	const struct toy_frame *frame = (const void *)block;

	if (frame->magic != TOY_MAGIC || frame->count == 0 || frame->count > TOY_FRAME_RECORDS)
		return false;
	return log->bug == TOY_NO_CHECKSUM || frame->crc == frame_crc(block);
}

static void recover(struct toy_log *log)
{
	uint64_t oldest = 1, next;

	for (unsigned i = 0; i < TOY_FRAMES; i++) {
		const struct toy_frame *frame = (const void *)log->ring[i];

		if (frame_is_good(log, log->ring[i]) && frame->oldest > oldest)
			oldest = frame->oldest;
	}
	for (next = oldest; next < oldest + TOY_FRAMES; next++) {
		const uint8_t *block = log->ring[next % TOY_FRAMES];
		const struct toy_frame *frame = (const void *)block;

		if (!frame_is_good(log, block))
			break;
		if (log->bug != TOY_UNBOUND && frame->sequence != next)
			break;
		for (uint32_t i = 0; i < frame->count; i++)
			log->found[log->found_count++] = frame->records[i];
		log->found_frames++;
	}
	log->sequence = next;
	if (log->found_count > 0)
		log->acked = log->found[log->found_count - 1].id;
	log->appended = log->acked;
	log->opened = true;
}

static void ring_read(struct req *req)
{
	struct toy_log *log = popped(req);

	assert(req->status == STATUS_OK);
	log->busy = false;
	if (log->bug != TOY_EARLY_READ)
		recover(log);
}

static void frame_acknowledged(struct toy_log *log)
{
	log->acked += log->flying_count;
	log->flying_count = 0;
	log->busy = false;
	if (log->bug != TOY_REWRITE) {
		log->sequence++;
	} else {
		const struct toy_frame *frame = (const void *)log->flying_block;

		/* The next records go behind those of the block, until it is full. */
		if (frame->count > TOY_FRAME_RECORDS / 2) {
			log->sequence++;
			memset(log->flying_block, 0, sizeof(log->flying_block));
		}
	}
}

static void frame_flushed(struct req *req)
{
	struct toy_log *log = popped(req);

	if (req->status == STATUS_OK) {
		if (log->bug != TOY_ACK_EARLY)
			frame_acknowledged(log);
		else
			log->busy = false;
		return;
	}
	if (log->bug == TOY_RETRY_FLUSH)
		submit(log, &(struct blk_cmd){ .op = BLK_FLUSH }, frame_flushed);
	else
		log->dead = true;
}

static void frame_written(struct req *req)
{
	struct toy_log *log = popped(req);

	if (req->status != STATUS_OK) {
		log->dead = true;
		return;
	}
	if (log->bug == TOY_ACK_EARLY) {
		frame_acknowledged(log);
		log->busy = true; /* until the flush has ended */
	}
	submit(log, &(struct blk_cmd){ .op = BLK_FLUSH }, frame_flushed);
}

/* Sends the open frame off, if none is on its way. */
static void settle(struct actor *actor)
{
	struct toy_log *log = container_of(actor, struct toy_log, actor);
	struct toy_frame *flying = (void *)log->flying_block, *open = (void *)log->open_block;
	uint32_t kept = log->bug == TOY_REWRITE ? flying->count : 0;

	if (!log->opened || log->busy || log->dead || log->open_count == 0)
		return;
	if (kept == 0)
		memset(log->flying_block, 0, sizeof(log->flying_block));
	memcpy(&flying->records[kept], open->records, log->open_count * sizeof(open->records[0]));
	flying->magic = TOY_MAGIC;
	flying->sequence = log->sequence;
	flying->oldest = log->sequence > TOY_RETAINED ? log->sequence - TOY_RETAINED : 1;
	flying->count = kept + log->open_count;
	flying->crc = frame_crc(log->flying_block);
	log->flying_count = log->open_count;
	log->open_count = 0;
	log->busy = true;
	log->iov = (struct iovec){ log->flying_block, 4096 };
	submit(log,
	       &(struct blk_cmd){ .op = BLK_WRITE,
	                          .lba = log->sequence % TOY_FRAMES,
	                          .block_count = 1,
	                          .iov_count = 1,
	                          .iov = &log->iov },
	       frame_written);
}

static unsigned run_early(struct actor *actor)
{
	struct toy_log *log = container_of(actor, struct toy_log, actor);

	if (log->bug == TOY_EARLY_READ && !log->opened)
		recover(log);
	return 0;
}

static const struct actor_ops actor_ops = { .name = "toy", .run = run_early, .settle = settle };

bool toy_log_append(struct toy_log *log, struct toy_record record)
{
	struct toy_frame *open = (void *)log->open_block, *flying = (void *)log->flying_block;
	uint32_t room = log->bug == TOY_REWRITE ? TOY_FRAME_RECORDS / 4 : TOY_FRAME_RECORDS;

	assert(log->opened);
	assert(record.id == log->appended + 1);
	if (log->dead || log->open_count == room)
		return false;
	log->appended++;
	if (log->bug == TOY_DIRTY_BUFFER && log->busy && flying->count < TOY_FRAME_RECORDS) {
		flying->records[flying->count++] = record;
		flying->crc = frame_crc(log->flying_block);
		log->flying_count++;
		return true;
	}
	open->records[log->open_count++] = record;
	return true;
}

void toy_log_open(struct toy_log *log, struct blk *blk, enum toy_bug bug)
{
	size_t blocks = offsetof(struct toy_log, open_block);

	memset(log, 0, blocks);
	memset(log->flying_block, 0, sizeof(log->flying_block));
	log->blk = blk;
	log->bug = bug;
	log->actor.ops = &actor_ops;
	worker_add_actor(blk->worker, &log->actor);
	log->busy = true;
	log->iov = (struct iovec){ log->ring, sizeof(log->ring) };
	submit(log,
	       &(struct blk_cmd){ .op = BLK_READ,
	                          .block_count = TOY_FRAMES,
	                          .iov_count = 1,
	                          .iov = &log->iov },
	       ring_read);
}
