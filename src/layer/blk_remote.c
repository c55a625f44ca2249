/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device of another worker, shown as one of this worker. The request itself is the message: it
 * goes over on a ring, down the other worker's stack, and comes back the same way.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/layer.h"

struct remote {
	struct blk blk;    /* on the submitter's worker */
	struct blk *lower; /* on another */
};

struct remote_frame {
	struct frame frame;
	struct remote *remote;
	struct blk_cmd cmd;
};

_Static_assert(sizeof(struct remote_frame) <= 64, "what STACK_FRAMES_MAX leaves for it");

/* Step 4, at home: go on up. */
static void remote_returned(struct req *req)
{
	const struct remote_frame *frame = req_pop(req, struct remote_frame);

	assert(req->worker == frame->remote->blk.worker);
	req_complete(req, req->status, req->result);
}

/* Step 3, at the device: the layers below have completed; send it home. */
static void remote_done(struct req *req)
{
	struct remote_frame *frame = req_top(req, struct remote_frame);

	worker_send(frame->remote->blk.worker, req, remote_returned);
}

/* Step 2, at the device. */
static void remote_arrived(struct req *req)
{
	struct remote_frame *frame = req_top(req, struct remote_frame);

	blk_submit(frame->remote->lower, req, &frame->cmd);
}

/* Step 1, at home. */
static void remote_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct remote *remote = container_of(blk, struct remote, blk);
	struct remote_frame *frame = req_push(req, struct remote_frame, remote_done);

	frame->remote = remote;
	frame->cmd = *cmd;
	worker_send(remote->lower->worker, req, remote_arrived);
}

static void remote_close(struct blk *blk)
{
	free(container_of(blk, struct remote, blk));
}

static const struct blk_ops remote_ops = {
	.name = "remote",
	.submit = remote_submit,
	.close = remote_close,
};

struct blk *blk_remote_open(struct worker *worker, struct blk *lower)
{
	struct remote *remote = calloc(1, sizeof(*remote));

	assert(worker != lower->worker);
	if (remote == NULL)
		return NULL;
	remote->blk = LAYER_DEVICE(lower, &remote_ops, sizeof(struct remote_frame));
	remote->blk.worker = worker;
	remote->lower = lower;
	blk_check(&remote->blk);
	return &remote->blk;
}
