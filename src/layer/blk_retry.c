/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Submits again what failed with a status that may pass, after a wait that doubles, with jitter.
 * A budget bounds what this adds when all fails: a retry takes a token, a command gives a part of
 * one (as in gRPC's retry throttling, gRFC A6). A flush that failed is never tried again: the
 * kernel may have dropped the pages, and a second one would say OK for nothing.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/prng.h"
#include "core/worker.h"
#include "layer/delay.h"
#include "layer/layer.h"

struct retry {
	struct blk blk;
	struct blk *lower;
	struct delay delay;
	struct prng prng;
	uint64_t wait_ns, wait_ns_max;
	uint64_t tokens, tokens_max; /* thousandths of a retry */
	uint64_t given;              /* of a token, by each command */
	uint32_t tries_max;
	bool retries_io;
	uint64_t retried, refused; /* counters: tried again; the budget was empty */
};

struct retry_frame {
	struct frame frame;
	struct retry *retry;
	struct blk_cmd cmd;
	uint32_t tries;
};

enum { OPTION_TRIES, OPTION_WAIT, OPTION_WAIT_MAX, OPTION_BUDGET, OPTION_IO };

enum { TOKEN = 1000, TOKENS_MAX = 100 };

static bool may_pass(const struct retry *retry, const struct req *req, enum blk_op op)
{
	if (op == BLK_FLUSH || req_check(req) != STATUS_OK)
		return false;
	return status_may_retry(req->status) || (retry->retries_io && req->status == STATUS_IO);
}

/* Half of it is certain, half is chance, so that those that failed together do not come together.
 */
static uint64_t draw_wait(struct retry *retry, uint32_t tries)
{
	uint64_t wait_ns = retry->wait_ns;

	for (uint32_t i = 1; i < tries && wait_ns < retry->wait_ns_max; i++)
		wait_ns *= 2;
	if (wait_ns > retry->wait_ns_max)
		wait_ns = retry->wait_ns_max;
	return wait_ns / 2 + prng_below(&retry->prng, wait_ns / 2 + 1);
}

static void waited(struct req *req)
{
	struct retry_frame *frame = req_top(req, struct retry_frame);

	blk_submit(frame->retry->lower, req, &frame->cmd);
}

static void retry_done(struct req *req)
{
	struct retry_frame *frame = req_top(req, struct retry_frame);
	struct retry *retry = frame->retry;
	bool again = req->status != STATUS_OK && frame->tries < retry->tries_max &&
	             may_pass(retry, req, frame->cmd.op);

	if (again && retry->tokens < TOKEN) {
		retry->refused++;
		again = false;
	}
	if (!again) {
		req_pop(req, struct retry_frame);
		req_complete(req, req->status, req->result);
		return;
	}
	retry->tokens -= TOKEN;
	retry->retried++;
	delay_add(&retry->delay, req, req->worker->now_ns + draw_wait(retry, frame->tries++));
}

static void retry_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct retry *retry = container_of(blk, struct retry, blk);
	struct retry_frame *frame = req_push(req, struct retry_frame, retry_done);

	frame->retry = retry;
	frame->cmd = *cmd;
	frame->tries = 1;
	retry->tokens += retry->given;
	if (retry->tokens > retry->tokens_max)
		retry->tokens = retry->tokens_max;
	blk_submit(retry->lower, req, cmd);
}

static void retry_close(struct blk *blk)
{
	struct retry *retry = container_of(blk, struct retry, blk);

	assert(retry->delay.count == 0);
	free(retry);
}

static const struct blk_ops retry_ops = {
	.name = "retry",
	.submit = retry_submit,
	.close = retry_close,
};

static enum status retry_open(struct layer_open *open, struct blk **out)
{
	const struct layer_value *v = open->values;
	struct blk *lower = open->lower[0];
	struct retry *retry = calloc(1, sizeof(*retry));

	if (retry == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	retry->blk = LAYER_DEVICE(lower, &retry_ops, sizeof(struct retry_frame));
	if (lower->frames_size < DELAY_FRAME)
		retry->blk.frames_size += DELAY_FRAME - lower->frames_size;
	retry->lower = lower;
	retry->tries_max = (uint32_t)v[OPTION_TRIES].number;
	retry->wait_ns = v[OPTION_WAIT].number;
	retry->wait_ns_max = v[OPTION_WAIT_MAX].number;
	retry->given = v[OPTION_BUDGET].number * TOKEN / 100;
	retry->tokens = retry->tokens_max = TOKENS_MAX * TOKEN;
	retry->retries_io = v[OPTION_IO].number != 0;
	delay_init(&retry->delay, lower->worker, waited);
	prng_init(&retry->prng, open->env->seed);
	*out = &retry->blk;
	return STATUS_OK;
}

static const struct conf_setting retry_options[] = {
	[OPTION_TRIES] = { .name = "tries",
	                   .type = CONF_INTEGER,
	                   .initial = "4",
	                   .min = 1,
	                   .max = 100,
	                   .help = "Of one command, the first included." },
	[OPTION_WAIT] = { .name = "wait",
	                  .type = CONF_DURATION,
	                  .initial = "10ms",
	                  .min = 1000,
	                  .max = 3600000000000,
	                  .help = "Before the second try; doubles with each one." },
	[OPTION_WAIT_MAX] = { .name = "wait_max",
	                      .type = CONF_DURATION,
	                      .initial = "1s",
	                      .min = 1000,
	                      .max = 3600000000000,
	                      .help = "No wait is longer." },
	[OPTION_BUDGET] = { .name = "budget",
	                    .type = CONF_INTEGER,
	                    .initial = "20",
	                    .max = 10000,
	                    .help = "Retries for every hundred commands, beyond the first 100." },
	[OPTION_IO] = { .name = "io",
	                .type = CONF_BOOLEAN,
	                .initial = "no",
	                .max = 1,
	                .help = "Device errors of reads and writes, too, not only busy, timeout "
	                        "and "
	                        "unavailable." },
};

const struct blk_layer blk_retry = {
	.name = "retry",
	.help = "Submits again what failed with a status that may pass.",
	.options = retry_options,
	.option_count = array_count(retry_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = retry_open,
};
