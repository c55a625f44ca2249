/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes that arrive while others are under way go together when those have ended: what is next to
 * each other as one command. Nobody waits when nothing is under way, unless `wait` says so. A write
 * ends when its command has, so nothing is acknowledged early, and reads and flushes need not know.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/pool.h"

enum { SEGMENTS = 256, GATHERED_MAX = 512 };

struct batch {
	struct blk blk;
	struct blk *lower;
	struct stack_env *env;
	struct pool pool;
	struct req_list pending; /* writes, in the order of arrival */
	uint32_t pending_count;
	uint64_t pending_size; /* bytes */
	uint32_t running;      /* commands of ours */
	uint32_t blocks_max;   /* of one command */
	uint64_t size_max;     /* of pending bytes: then nobody waits any more */
	uint64_t wait_ns;
	struct timer timer;
	uint64_t numbers; /* of writes so far */
	uint64_t merged;  /* writes that went with another one */
	struct req *gathered[GATHERED_MAX];
};

struct write_frame {
	struct frame frame;
	struct batch *batch;
	struct blk_cmd cmd;
	uint64_t arrived_ns;
	uint64_t number; /* keeps equal ones in order */
};

struct child {
	struct req req;
	struct batch *batch;
	struct req_list members;
	struct iovec iov[SEGMENTS];
};

struct child_frame {
	struct frame frame;
	struct child *child;
};

enum { OPTION_SIZE, OPTION_WAIT, OPTION_COMMANDS };

static void dispatch(struct batch *batch);

static void write_never_done(struct req *req)
{
	(void)req;
	unreachable(); /* the command that it is in ends it */
}

static const struct blk_cmd *cmd_of(struct req *req)
{
	return &req_top(req, struct write_frame)->cmd;
}

static void child_done(struct req *req)
{
	struct child *child = req_pop(req, struct child_frame)->child;
	struct batch *batch = child->batch;
	struct req *member;

	while ((member = STAILQ_FIRST(&child->members)) != NULL) {
		STAILQ_REMOVE_HEAD(&child->members, link);
		req_pop(member, struct write_frame);
		req_complete(member, req->status, 0);
	}
	pool_give(&batch->pool, req);
	assert(batch->running > 0);
	batch->running--;
	dispatch(batch);
}

/* By address; those that came first first. */
static int compare(const void *a, const void *b)
{
	const struct write_frame *x = req_top(*(struct req *const *)a, struct write_frame);
	const struct write_frame *y = req_top(*(struct req *const *)b, struct write_frame);

	if (x->cmd.lba != y->cmd.lba)
		return x->cmd.lba < y->cmd.lba ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

/* Whether `next` goes on where `cmd` ends, in the same way, and there is room. */
static bool may_join(const struct batch *batch, const struct blk_cmd *cmd,
                     const struct blk_cmd *next)
{
	return next->lba == cmd->lba + cmd->block_count && next->flags == cmd->flags &&
	       cmd->block_count + next->block_count <= batch->blocks_max &&
	       cmd->iov_count + next->iov_count <= SEGMENTS;
}

/* Submits the first of `count` with all that join it; returns how many these are. */
static uint32_t submit_run(struct batch *batch, struct req **reqs, uint32_t count)
{
	struct req *req = pool_get(&batch->pool, batch->blk.worker);
	struct child *child = container_of(req, struct child, req);
	struct blk_cmd cmd = *cmd_of(reqs[0]);
	const struct iovec *alone = cmd.iov;
	uint32_t taken;

	assert(req != NULL);
	child->batch = batch;
	STAILQ_INIT(&child->members);
	STAILQ_INSERT_TAIL(&child->members, reqs[0], link);
	if (cmd.iov_count <= SEGMENTS) {
		for (uint32_t i = 0; i < cmd.iov_count; i++)
			child->iov[i] = alone[i];
		cmd.iov = child->iov;
	}
	for (taken = 1; taken < count; taken++) {
		const struct blk_cmd *next = cmd_of(reqs[taken]);

		if (!may_join(batch, &cmd, next))
			break;
		for (uint32_t i = 0; i < next->iov_count; i++)
			child->iov[cmd.iov_count++] = next->iov[i];
		cmd.block_count += next->block_count;
		STAILQ_INSERT_TAIL(&child->members, reqs[taken], link);
	}
	batch->merged += taken > 1 ? taken : 0;
	batch->running++;
	req_push(req, struct child_frame, child_done)->child = child;
	blk_submit(batch->lower, req, &cmd);
	return taken;
}

/* The oldest of those that wait, sorted. */
static uint32_t gather(struct batch *batch)
{
	uint32_t count = 0;

	while (count < GATHERED_MAX && !STAILQ_EMPTY(&batch->pending)) {
		struct req *req = STAILQ_FIRST(&batch->pending);

		STAILQ_REMOVE_HEAD(&batch->pending, link);
		batch->pending_count--;
		batch->pending_size -=
		        (uint64_t)cmd_of(req)->block_count * batch->blk.geometry.block_size;
		batch->gathered[count++] = req;
	}
	qsort(batch->gathered, count, sizeof(batch->gathered[0]), compare);
	return count;
}

static void waited(struct timer *timer)
{
	dispatch(container_of(timer, struct batch, timer));
}

/* Whether the oldest one has waited long enough, for others to come or for those before. */
static bool is_due(struct batch *batch)
{
	struct req *oldest = STAILQ_FIRST(&batch->pending);
	uint64_t now_ns = batch->blk.worker->now_ns;

	if (oldest == NULL)
		return false;
	if (batch->pending_size >= batch->size_max)
		return true;
	if (batch->wait_ns == 0)
		return batch->running == 0;
	if (req_top(oldest, struct write_frame)->arrived_ns + batch->wait_ns <= now_ns)
		return true;
	timer_arm(&batch->blk.worker->timers, &batch->timer,
	          req_top(oldest, struct write_frame)->arrived_ns + batch->wait_ns, waited);
	return false;
}

static void dispatch(struct batch *batch)
{
	while (batch->pool.free_count > 0 && is_due(batch)) {
		uint32_t count = gather(batch), done = 0;

		while (done < count && batch->pool.free_count > 0)
			done += submit_run(batch, batch->gathered + done, count - done);
		/* No command is free: they are the first to go next time. */
		while (count > done) {
			struct req *req = batch->gathered[--count];

			STAILQ_INSERT_HEAD(&batch->pending, req, link);
			batch->pending_count++;
			batch->pending_size +=
			        (uint64_t)cmd_of(req)->block_count * batch->blk.geometry.block_size;
		}
	}
}

static void batch_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct batch *batch = container_of(blk, struct batch, blk);
	struct write_frame *frame;

	if (cmd->op != BLK_WRITE) {
		blk_submit(batch->lower, req, cmd);
		return;
	}
	frame = req_push(req, struct write_frame, write_never_done);
	frame->batch = batch;
	frame->cmd = *cmd;
	frame->arrived_ns = blk->worker->now_ns;
	frame->number = batch->numbers++;
	STAILQ_INSERT_TAIL(&batch->pending, req, link);
	batch->pending_count++;
	batch->pending_size += (uint64_t)cmd->block_count * blk->geometry.block_size;
	dispatch(batch);
}

static void batch_close(struct blk *blk)
{
	struct batch *batch = container_of(blk, struct batch, blk);

	assert(batch->running == 0 && batch->pending_count == 0);
	timer_cancel(&blk->worker->timers, &batch->timer);
	pool_close(&batch->pool, batch->env);
	free(batch);
}

static const struct blk_ops batch_ops = {
	.name = "batch",
	.submit = batch_submit,
	.close = batch_close,
};

static enum status batch_open(struct layer_open *open, struct blk **out)
{
	struct blk *lower = open->lower[0];
	uint32_t own_size = (uint32_t)align_up(sizeof(struct write_frame), 16);
	struct batch *batch = calloc(1, sizeof(*batch));
	uint64_t blocks_max = open->values[OPTION_SIZE].number / lower->geometry.block_size;
	enum status status;

	if (batch == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	status = pool_open(&batch->pool, open, (unsigned)open->values[OPTION_COMMANDS].number,
	                   sizeof(struct child));
	if (status != STATUS_OK) {
		free(batch);
		return status;
	}
	batch->env = open->env;
	batch->lower = lower;
	batch->blk = LAYER_DEVICE(lower, &batch_ops, 0);
	/* Writes go on with requests of ours, everything else with its own. */
	if (batch->blk.frames_size < own_size)
		batch->blk.frames_size = own_size;
	batch->blocks_max = lower->geometry.transfer_max;
	if (blocks_max < batch->blocks_max)
		batch->blocks_max = blocks_max == 0 ? 1 : (uint32_t)blocks_max;
	batch->size_max = open->values[OPTION_SIZE].number;
	batch->wait_ns = open->values[OPTION_WAIT].number;
	STAILQ_INIT(&batch->pending);
	*out = &batch->blk;
	return STATUS_OK;
}

static const struct conf_setting batch_options[] = {
	[OPTION_SIZE] = { .name = "size",
	                  .type = CONF_SIZE,
	                  .initial = "1M",
	                  .min = 4096,
	                  .max = 64 << 20,
	                  .help = "The longest command that is made; so many bytes wait for "
	                          "nothing." },
	[OPTION_WAIT] = { .name = "wait",
	                  .type = CONF_DURATION,
	                  .initial = "0",
	                  .max = 1000000000,
	                  .help = "How long a write waits for others; 0: until those under way "
	                          "have ended." },
	[OPTION_COMMANDS] = { .name = "commands",
	                      .type = CONF_INTEGER,
	                      .initial = "32",
	                      .min = 1,
	                      .max = 1024,
	                      .help = "Under way at a time, each 5 KiB." },
};

const struct blk_layer blk_batch = {
	.name = "batch",
	.help = "Writes that arrive together go together, neighbours as one.",
	.options = batch_options,
	.option_count = array_count(batch_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = batch_open,
};
