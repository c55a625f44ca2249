/* SPDX-License-Identifier: Apache-2.0 */
/* Fails and delays chosen commands: every error path above becomes a line of text. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/prng.h"
#include "core/worker.h"
#include "layer/delay.h"
#include "layer/layer.h"

struct fault {
	struct blk blk;
	struct blk *lower;
	struct delay delay;
	struct prng prng;
	uint64_t delay_ns, skip, count;
	uint32_t rate, ops; /* per million; bits 1 << enum blk_op */
	enum status status;
	bool torn;
};

struct fault_frame {
	struct frame frame;
	struct fault *fault;
	struct blk_cmd cmd;
};

enum {
	OPTION_OP,
	OPTION_STATUS,
	OPTION_SKIP,
	OPTION_COUNT,
	OPTION_RATE,
	OPTION_DELAY,
	OPTION_TORN
};

static const enum status statuses[] = { STATUS_IO,       STATUS_CORRUPT, STATUS_NO_SPACE,
	                                STATUS_BUSY,     STATUS_TIMEOUT, STATUS_UNAVAILABLE,
	                                STATUS_READ_ONLY };

/* Whether this command is one of those that fail. */
static bool decide(struct fault *fault, enum blk_op op)
{
	if (!(fault->ops & 1u << op) || fault->count == 0)
		return false;
	if (fault->skip > 0) {
		fault->skip--;
		return false;
	}
	if (fault->rate < 1000000 && !prng_chance(&fault->prng, fault->rate))
		return false;
	if (fault->count != UINT64_MAX)
		fault->count--;
	return true;
}

static void fault_done(struct req *req)
{
	const struct fault_frame *frame = req_pop(req, struct fault_frame);

	assert(frame->fault->torn);
	req_complete(req, frame->fault->status, 0); /* whatever the device says */
}

/* Some of the first blocks are written, the others are not. */
static void tear(struct fault *fault, struct req *req, const struct blk_cmd *cmd)
{
	struct blk_cmd part = *cmd;
	uint64_t size;

	part.block_count = (uint32_t)prng_below(&fault->prng, cmd->block_count);
	size = (uint64_t)part.block_count * fault->blk.geometry.block_size;
	part.iov_count = 0;
	for (uint32_t i = 0; i < cmd->iov_count && size >= cmd->iov[i].iov_len; i++) {
		size -= cmd->iov[i].iov_len;
		part.iov_count++;
	}
	/* What ends inside of a segment is left out with it. */
	part.block_count -= (uint32_t)(size / fault->blk.geometry.block_size);
	if (size % fault->blk.geometry.block_size != 0 || part.block_count == 0) {
		req_complete(req, fault->status, 0);
		return;
	}
	req_push(req, struct fault_frame, fault_done)->fault = fault;
	blk_submit(fault->lower, req, &part);
}

static void go_on(struct fault *fault, struct req *req, const struct blk_cmd *cmd)
{
	if (!decide(fault, cmd->op))
		blk_submit(fault->lower, req, cmd);
	else if (fault->torn && cmd->op == BLK_WRITE)
		tear(fault, req, cmd);
	else
		req_complete(req, fault->status, 0);
}

static void waited(struct req *req)
{
	const struct fault_frame *frame = req_pop(req, struct fault_frame);
	struct blk_cmd cmd = frame->cmd;

	go_on(frame->fault, req, &cmd);
}

static void fault_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct fault *fault = container_of(blk, struct fault, blk);
	struct fault_frame *frame;

	if (fault->delay_ns == 0 || !(fault->ops & 1u << cmd->op)) {
		go_on(fault, req, cmd);
		return;
	}
	frame = req_push(req, struct fault_frame, fault_done);
	frame->fault = fault;
	frame->cmd = *cmd;
	delay_add(&fault->delay, req, blk->worker->now_ns + fault->delay_ns);
}

static void fault_close(struct blk *blk)
{
	struct fault *fault = container_of(blk, struct fault, blk);

	assert(fault->delay.count == 0);
	free(fault);
}

static const struct blk_ops fault_ops = {
	.name = "fault",
	.submit = fault_submit,
	.close = fault_close,
};

static enum status fault_open(struct layer_open *open, struct blk **out)
{
	const struct layer_value *v = open->values;
	struct blk *lower = open->lower[0];
	struct fault *fault = calloc(1, sizeof(*fault));
	uint32_t waits = (uint32_t)align_up(sizeof(struct fault_frame), 16) + DELAY_FRAME;

	if (fault == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	fault->blk = LAYER_DEVICE(lower, &fault_ops, 0);
	fault->torn = v[OPTION_TORN].number != 0;
	if (fault->torn)
		fault->blk.frames_size += (uint32_t)align_up(sizeof(struct fault_frame), 16);
	if (fault->blk.frames_size < waits)
		fault->blk.frames_size = waits;
	fault->lower = lower;
	fault->ops = v[OPTION_OP].number == 0 ? (1u << BLK_OP_COUNT) - 1
	                                      : 1u << (v[OPTION_OP].number - 1);
	assert(v[OPTION_STATUS].number < array_count(statuses));
	fault->status = statuses[v[OPTION_STATUS].number];
	fault->skip = v[OPTION_SKIP].number;
	fault->count = v[OPTION_COUNT].number == 0 ? UINT64_MAX : v[OPTION_COUNT].number;
	fault->rate = (uint32_t)v[OPTION_RATE].number;
	fault->delay_ns = v[OPTION_DELAY].number;
	delay_init(&fault->delay, lower->worker, waited);
	prng_init(&fault->prng, open->env->seed);
	*out = &fault->blk;
	return STATUS_OK;
}

static const struct conf_setting fault_options[] = {
	[OPTION_OP] = { .name = "op",
	                .type = CONF_CHOICE,
	                .initial = "any",
	                .choices = "any|read|write|flush|discard|zeroes",
	                .help = "Which commands." },
	[OPTION_STATUS] = { .name = "status",
	                    .type = CONF_CHOICE,
	                    .initial = "io",
	                    .choices = "io|corrupt|no_space|busy|timeout|unavailable|read_only",
	                    .help = "How they end." },
	[OPTION_SKIP] = { .name = "skip",
	                  .type = CONF_INTEGER,
	                  .initial = "0",
	                  .max = 1ull << 60,
	                  .help = "So many of them pass first." },
	[OPTION_COUNT] = { .name = "count",
	                   .type = CONF_INTEGER,
	                   .initial = "0",
	                   .max = 1ull << 60,
	                   .help = "So many fail, then all pass. 0: for ever." },
	[OPTION_RATE] = { .name = "rate",
	                  .type = CONF_INTEGER,
	                  .initial = "1000000",
	                  .max = 1000000,
	                  .help = "How many in a million." },
	[OPTION_DELAY] = { .name = "delay",
	                   .type = CONF_DURATION,
	                   .initial = "0",
	                   .max = 3600000000000,
	                   .help = "How long all of them wait first, those that pass too." },
	[OPTION_TORN] = { .name = "torn",
	                  .type = CONF_BOOLEAN,
	                  .initial = "no",
	                  .max = 1,
	                  .help = "Of a write that fails, some of the first blocks are written." },
};

const struct blk_layer blk_fault = {
	.name = "fault",
	.help = "Fails and delays chosen commands.",
	.options = fault_options,
	.option_count = array_count(fault_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = fault_open,
};
