/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks dealt out to several devices in turn, so that they work side by side. Nothing is kept
 * twice: one device lost is all lost. The order of the devices and the chunk are the format.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/legs.h"
#include "layer/pool.h"

enum { SEGMENTS = 32 };

struct stripe {
	struct blk blk;
	struct blk *legs[STACK_LEGS_MAX];
	unsigned leg_count;
	uint32_t chunk; /* blocks */
	uint32_t piece_max;
	struct stack_env *env;
	struct pool pool;
};

struct stripe_frame { /* on the request from above */
	struct frame frame;
	struct stripe *stripe;
	struct blk_cmd cmd;
	uint32_t next;    /* what is not submitted yet: a block of the command, or a leg */
	uint32_t running; /* children */
	enum status status;
};

struct child {
	struct req req;
	struct iovec iov[SEGMENTS];
};

struct child_frame {
	struct frame frame;
	struct req *parent;
};

enum { OPTION_CHUNK, OPTION_REQUESTS };

static void go_on(struct stripe *stripe, struct req *parent);

static void parent_never_done(struct req *req)
{
	(void)req;
	unreachable(); /* the last child's end pops it */
}

static bool has_more(const struct stripe *stripe, const struct stripe_frame *frame)
{
	bool data = frame->cmd.op == BLK_READ || frame->cmd.op == BLK_WRITE;

	return frame->next < (data ? frame->cmd.block_count : stripe->leg_count);
}

static void end_if_done(struct stripe *stripe, struct req *parent)
{
	const struct stripe_frame *frame = req_top(parent, struct stripe_frame);

	if (frame->running > 0 || has_more(stripe, frame))
		return;
	req_pop(parent, struct stripe_frame);
	req_complete(parent, frame->status, 0);
}

static void child_done(struct req *child)
{
	struct req *parent = req_pop(child, struct child_frame)->parent, *next;
	struct stripe_frame *frame = req_top(parent, struct stripe_frame);
	struct stripe *stripe = frame->stripe;

	assert(frame->running > 0);
	frame->running--;
	if (frame->status == STATUS_OK)
		frame->status = child->status;
	pool_give(&stripe->pool, child);
	end_if_done(stripe, parent);
	next = pool_next(&stripe->pool);
	if (next != NULL)
		go_on(stripe, next);
}

/* How many blocks of a leg lie before block `lba` of the whole. */
static uint64_t leg_blocks(const struct stripe *stripe, unsigned leg, uint64_t lba)
{
	uint64_t row = (uint64_t)stripe->chunk * stripe->leg_count;
	uint64_t in_row = lba % row, before = (uint64_t)leg * stripe->chunk;
	uint64_t part = in_row <= before ? 0 : in_row - before;

	return lba / row * stripe->chunk + (part < stripe->chunk ? part : stripe->chunk);
}

/* The next piece of a read or write: at most to the end of its chunk. 0: too many segments. */
static uint32_t make_piece(const struct stripe *stripe, const struct stripe_frame *frame,
                           struct child *child, struct blk_cmd *cmd, unsigned *leg)
{
	uint64_t lba = frame->cmd.lba + frame->next;
	uint32_t count = stripe->chunk - (uint32_t)(lba % stripe->chunk);
	uint32_t block_size = stripe->blk.geometry.block_size;
	uint64_t size;

	if (count > frame->cmd.block_count - frame->next)
		count = frame->cmd.block_count - frame->next;
	if (count > stripe->piece_max)
		count = stripe->piece_max;
	size = (uint64_t)count * block_size;
	*leg = (unsigned)(lba / stripe->chunk % stripe->leg_count);
	*cmd = frame->cmd;
	cmd->lba = leg_blocks(stripe, *leg, lba);
	cmd->iov = child->iov;
	cmd->iov_count = iov_slice(&frame->cmd, (uint64_t)frame->next * block_size, &size,
	                           child->iov, SEGMENTS, block_size);
	cmd->block_count = (uint32_t)(size / block_size);
	return cmd->block_count;
}

/* A discard or zeroes has one range on each leg, a flush goes to all of them. */
static void make_range(const struct stripe *stripe, const struct stripe_frame *frame,
                       struct blk_cmd *cmd, unsigned leg)
{
	uint64_t end = leg_blocks(stripe, leg, frame->cmd.lba + frame->cmd.block_count);

	*cmd = frame->cmd;
	if (cmd->op == BLK_FLUSH)
		return;
	cmd->lba = leg_blocks(stripe, leg, frame->cmd.lba);
	assert(end >= cmd->lba);
	cmd->block_count = (uint32_t)(end - cmd->lba);
}

/* Submits one child. False: there is nothing more to submit. */
static bool submit_next(struct stripe *stripe, struct req *parent, struct req *req)
{
	struct stripe_frame *frame = req_top(parent, struct stripe_frame);
	struct child *child = container_of(req, struct child, req);
	struct blk_cmd cmd;
	unsigned leg;

	if (frame->cmd.op == BLK_READ || frame->cmd.op == BLK_WRITE) {
		uint32_t count = 0;

		if (frame->next < frame->cmd.block_count)
			count = make_piece(stripe, frame, child, &cmd, &leg);
		if (count == 0 && frame->next < frame->cmd.block_count) {
			frame->status = STATUS_TOO_LARGE; /* a block in so many segments */
			frame->next = frame->cmd.block_count;
		}
		if (count == 0)
			return false;
		frame->next += count;
	} else {
		do {
			if (frame->next == stripe->leg_count)
				return false;
			leg = frame->next++;
			make_range(stripe, frame, &cmd, leg);
		} while (cmd.op != BLK_FLUSH && cmd.block_count == 0);
	}
	frame->running++;
	req->deadline_ns = parent->deadline_ns;
	req_push(req, struct child_frame, child_done)->parent = parent;
	blk_submit(stripe->legs[leg], req, &cmd);
	return true;
}

/* Submits what there are children for; waits for more, if any is left. */
static void go_on(struct stripe *stripe, struct req *parent)
{
	while (has_more(stripe, req_top(parent, struct stripe_frame))) {
		struct req *child = pool_get(&stripe->pool, stripe->blk.worker);

		if (child == NULL) {
			pool_park(&stripe->pool, parent);
			return;
		}
		if (!submit_next(stripe, parent, child))
			pool_give(&stripe->pool, child);
	}
	end_if_done(stripe, parent);
}

static void stripe_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct stripe *stripe = container_of(blk, struct stripe, blk);
	struct stripe_frame *frame = req_push(req, struct stripe_frame, parent_never_done);

	frame->stripe = stripe;
	frame->cmd = *cmd;
	frame->next = 0;
	frame->running = 0;
	frame->status = STATUS_OK;
	go_on(stripe, req);
}

static void stripe_close(struct blk *blk)
{
	struct stripe *stripe = container_of(blk, struct stripe, blk);

	pool_close(&stripe->pool, stripe->env);
	free(stripe);
}

static const struct blk_ops stripe_ops = {
	.name = "stripe",
	.submit = stripe_submit,
	.close = stripe_close,
};

static enum status set_geometry(struct stripe *stripe, struct layer_open *open)
{
	uint64_t chunk_size = open->values[OPTION_CHUNK].number;
	struct blk_geometry *g = &stripe->blk.geometry;
	enum status status = legs_geometry(open, g);

	if (status != STATUS_OK)
		return status;
	if (chunk_size % g->block_size != 0)
		return layer_fail_option(open, OPTION_CHUNK, "a multiple of the block size, %u",
		                         g->block_size);
	stripe->chunk = (uint32_t)(chunk_size / g->block_size);
	stripe->piece_max = g->transfer_max;
	g->block_count = g->block_count / stripe->chunk * stripe->chunk * open->lower_count;
	if (g->block_count == 0)
		return layer_fail_option(open, OPTION_CHUNK, "a device is smaller than that");
	g->range_max = g->range_max == 0 ? 0 : g->range_max / stripe->chunk * stripe->chunk;
	if (g->range_max == 0 && open->lower[0]->geometry.range_max != 0)
		g->ops &= ~(1u << BLK_DISCARD | 1u << BLK_ZEROES);
	return STATUS_OK;
}

static enum status stripe_open(struct layer_open *open, struct blk **out)
{
	struct stripe *stripe = calloc(1, sizeof(*stripe));
	enum status status;

	if (stripe == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	stripe->blk = LAYER_DEVICE(open->lower[0], &stripe_ops, 0);
	stripe->blk.frames_size = (uint32_t)align_up(sizeof(struct stripe_frame), 16);
	stripe->env = open->env;
	stripe->leg_count = open->lower_count;
	for (unsigned i = 0; i < open->lower_count; i++)
		stripe->legs[i] = open->lower[i];
	status = set_geometry(stripe, open);
	if (status == STATUS_OK)
		status = pool_open(&stripe->pool, open,
		                   (unsigned)open->values[OPTION_REQUESTS].number,
		                   sizeof(struct child));
	if (status != STATUS_OK) {
		free(stripe);
		return status;
	}
	*out = &stripe->blk;
	return STATUS_OK;
}

static const struct conf_setting stripe_options[] = {
	[OPTION_CHUNK] = { .name = "chunk",
	                   .type = CONF_SIZE,
	                   .initial = "64K",
	                   .min = 4096,
	                   .max = 16 << 20,
	                   .help = "What goes to one device before the next one's turn." },
	[OPTION_REQUESTS] = { .name = "requests",
	                      .type = CONF_INTEGER,
	                      .initial = "256",
	                      .min = 1,
	                      .max = 65536,
	                      .help = "Pieces under way at a time, each 1 KiB." },
};

const struct blk_layer blk_stripe = {
	.name = "stripe",
	.help = "Chunks dealt out to several devices in turn.",
	.options = stripe_options,
	.option_count = array_count(stripe_options),
	.lower_min = 2,
	.lower_max = STACK_LEGS_MAX,
	.open = stripe_open,
};
