/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goes on with a request of its own: what is above has all of one request for its frames, what is
 * below all of another. Also bounds how many are under way; the others wait in order.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/pool.h"

struct fork {
	struct blk blk;
	struct blk *lower;
	struct stack_env *env;
	struct pool pool;
};

struct parent_frame { /* on the request from above */
	struct frame frame;
	struct fork *fork;
	struct blk_cmd cmd;
};

struct child_frame { /* on ours */
	struct frame frame;
	struct req *parent;
};

enum { OPTION_REQUESTS };

static void go_on(struct fork *fork, struct req *parent);

static void child_done(struct req *child)
{
	struct req *parent = req_pop(child, struct child_frame)->parent;
	struct fork *fork = req_pop(parent, struct parent_frame)->fork;
	struct req *next;

	req_complete(parent, child->status, child->result);
	pool_give(&fork->pool, child);
	next = pool_next(&fork->pool);
	if (next != NULL)
		go_on(fork, next);
}

static void parent_never_done(struct req *req)
{
	(void)req;
	unreachable(); /* the child's end pops it */
}

static void go_on(struct fork *fork, struct req *parent)
{
	struct req *child = pool_get(&fork->pool, fork->blk.worker);

	assert(child != NULL);
	child->deadline_ns = parent->deadline_ns;
	child->canceled = parent->canceled;
	req_push(child, struct child_frame, child_done)->parent = parent;
	blk_submit(fork->lower, child, &req_top(parent, struct parent_frame)->cmd);
}

static void fork_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct fork *fork = container_of(blk, struct fork, blk);
	struct parent_frame *frame = req_push(req, struct parent_frame, parent_never_done);

	frame->fork = fork;
	frame->cmd = *cmd;
	if (fork->pool.free_count > 0)
		go_on(fork, req);
	else
		pool_park(&fork->pool, req);
}

static void fork_close(struct blk *blk)
{
	struct fork *fork = container_of(blk, struct fork, blk);

	pool_close(&fork->pool, fork->env);
	free(fork);
}

static const struct blk_ops fork_ops = {
	.name = "fork",
	.submit = fork_submit,
	.close = fork_close,
};

static enum status fork_open(struct layer_open *open, struct blk **out)
{
	struct blk *lower = open->lower[0];
	struct fork *fork = calloc(1, sizeof(*fork));

	if (fork == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	if (pool_open(&fork->pool, open, (unsigned)open->values[OPTION_REQUESTS].number,
	              sizeof(struct req)) != STATUS_OK) {
		free(fork);
		return STATUS_NO_SPACE;
	}
	fork->env = open->env;
	fork->lower = lower;
	fork->blk = LAYER_DEVICE(lower, &fork_ops, 0);
	fork->blk.frames_size = (uint32_t)align_up(sizeof(struct parent_frame), 16);
	*out = &fork->blk;
	return STATUS_OK;
}

static const struct conf_setting fork_options[] = {
	[OPTION_REQUESTS] = { .name = "requests",
	                      .type = CONF_INTEGER,
	                      .initial = "256",
	                      .min = 1,
	                      .max = 1 << 20,
	                      .help = "Under way at a time, each 512 bytes; others wait." },
};

const struct blk_layer blk_fork = {
	.name = "fork",
	.help = "Goes on with requests of its own, at most so many at a time.",
	.options = fork_options,
	.option_count = array_count(fork_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = fork_open,
};
