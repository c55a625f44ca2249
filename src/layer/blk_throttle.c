/* SPDX-License-Identifier: Apache-2.0 */
/*
 * At most so many commands and bytes a second; what is too early waits, in order. Each limit is the
 * virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A): a moment that
 * moves by the cost of each command, and a burst by which it may be ahead of the clock.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/layer.h"

struct limit {
	uint64_t per_second; /* 0: none */
	uint64_t due_ns;     /* when what was let through has been paid for */
};

struct throttle {
	struct blk blk;
	struct blk *lower;
	struct limit iops, bandwidth;
	uint64_t burst_ns;
	struct req_list parked;
	struct timer timer;
};

struct park_frame { /* only while it waits */
	struct frame frame;
	struct throttle *throttle;
	struct blk_cmd cmd;
};

enum { OPTION_IOPS, OPTION_BANDWIDTH, OPTION_BURST };

#define SECOND_NS 1000000000ull

static void never_done(struct req *req)
{
	(void)req;
	unreachable(); /* it is popped before the request goes on */
}

static uint64_t cost_bytes(const struct throttle *throttle, const struct blk_cmd *cmd)
{
	if (cmd->op != BLK_READ && cmd->op != BLK_WRITE)
		return 0;
	return (uint64_t)cmd->block_count * throttle->blk.geometry.block_size;
}

/* When it lets the next one through. */
static uint64_t open_ns(const struct throttle *throttle, const struct limit *limit)
{
	if (limit->per_second == 0 || limit->due_ns < throttle->burst_ns)
		return 0;
	return limit->due_ns - throttle->burst_ns;
}

static void pay(const struct throttle *throttle, struct limit *limit, uint64_t cost)
{
	uint64_t now_ns = throttle->blk.worker->now_ns;

	if (limit->per_second == 0)
		return;
	if (limit->due_ns < now_ns)
		limit->due_ns = now_ns;
	/* Whole seconds apart, so that nothing overflows. */
	limit->due_ns += cost / limit->per_second * SECOND_NS;
	limit->due_ns +=
	        (uint64_t)((double)(cost % limit->per_second) * 1e9 / (double)limit->per_second);
}

/* From when on the next command may go. */
static uint64_t next_ns(const struct throttle *throttle)
{
	uint64_t iops_ns = open_ns(throttle, &throttle->iops);
	uint64_t bandwidth_ns = open_ns(throttle, &throttle->bandwidth);

	return iops_ns > bandwidth_ns ? iops_ns : bandwidth_ns;
}

static void go_on(struct throttle *throttle, struct req *req, const struct blk_cmd *cmd)
{
	pay(throttle, &throttle->iops, 1);
	pay(throttle, &throttle->bandwidth, cost_bytes(throttle, cmd));
	blk_submit(throttle->lower, req, cmd);
}

static void fire(struct timer *timer)
{
	struct throttle *throttle = container_of(timer, struct throttle, timer);
	struct worker *worker = throttle->blk.worker;
	struct req *req;

	while ((req = STAILQ_FIRST(&throttle->parked)) != NULL &&
	       next_ns(throttle) <= worker->now_ns) {
		const struct park_frame *frame;
		struct blk_cmd cmd;

		STAILQ_REMOVE_HEAD(&throttle->parked, link);
		frame = req_pop(req, struct park_frame);
		assert(frame->throttle == throttle);
		cmd = frame->cmd;
		go_on(throttle, req, &cmd);
	}
	if (req != NULL)
		timer_arm(&worker->timers, &throttle->timer, next_ns(throttle), fire);
}

static void throttle_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct throttle *throttle = container_of(blk, struct throttle, blk);
	struct park_frame *frame;
	bool first = STAILQ_EMPTY(&throttle->parked);

	if (first && next_ns(throttle) <= blk->worker->now_ns) {
		go_on(throttle, req, cmd);
		return;
	}
	frame = req_push(req, struct park_frame, never_done);
	frame->throttle = throttle;
	frame->cmd = *cmd;
	STAILQ_INSERT_TAIL(&throttle->parked, req, link);
	if (first)
		timer_arm(&blk->worker->timers, &throttle->timer, next_ns(throttle), fire);
}

static void throttle_close(struct blk *blk)
{
	struct throttle *throttle = container_of(blk, struct throttle, blk);

	assert(STAILQ_EMPTY(&throttle->parked) && !throttle->timer.armed);
	free(throttle);
}

static const struct blk_ops throttle_ops = {
	.name = "throttle",
	.submit = throttle_submit,
	.close = throttle_close,
};

static enum status throttle_open(struct layer_open *open, struct blk **out)
{
	const struct layer_value *v = open->values;
	struct blk *lower = open->lower[0];
	uint32_t parked_size = (uint32_t)align_up(sizeof(struct park_frame), 16);
	struct throttle *throttle;

	if (v[OPTION_IOPS].number == 0 && v[OPTION_BANDWIDTH].number == 0)
		return layer_fail(open, STATUS_INVALID, "say iops=, bandwidth= or both");
	throttle = calloc(1, sizeof(*throttle));
	if (throttle == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	throttle->blk = LAYER_DEVICE(lower, &throttle_ops, 0);
	if (throttle->blk.frames_size < parked_size)
		throttle->blk.frames_size = parked_size;
	throttle->lower = lower;
	throttle->iops.per_second = v[OPTION_IOPS].number;
	throttle->bandwidth.per_second = v[OPTION_BANDWIDTH].number;
	throttle->burst_ns = v[OPTION_BURST].number;
	STAILQ_INIT(&throttle->parked);
	*out = &throttle->blk;
	return STATUS_OK;
}

static const struct conf_setting throttle_options[] = {
	[OPTION_IOPS] = { .name = "iops",
	                  .type = CONF_INTEGER,
	                  .initial = "0",
	                  .max = 1000000000,
	                  .help = "Commands a second. 0: any number." },
	[OPTION_BANDWIDTH] = { .name = "bandwidth",
	                       .type = CONF_SIZE,
	                       .initial = "0",
	                       .max = 1ull << 50,
	                       .help = "Bytes read and written a second. 0: any number." },
	[OPTION_BURST] = { .name = "burst",
	                   .type = CONF_DURATION,
	                   .initial = "20ms",
	                   .min = 2000000,
	                   .max = 3600000000000,
	                   .help = "Who was idle may be ahead by what this time allows." },
};

const struct blk_layer blk_throttle = {
	.name = "throttle",
	.help = "At most so many commands and bytes a second.",
	.options = throttle_options,
	.option_count = array_count(throttle_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = throttle_open,
};
