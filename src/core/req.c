/* SPDX-License-Identifier: Apache-2.0 */
#include "core/req.h"

#include "base/assert.h"
#include "base/macros.h"
#include "core/worker.h"

enum { FRAME_ALIGN = 16 };

_Static_assert(sizeof(struct req) == 512, "eight cache lines");

static struct frame *frame_at(struct req *req, uint16_t offset)
{
	return (struct frame *)(void *)&req->frames[offset];
}

void req_init(struct req *req, struct worker *worker)
{
	assert(worker != NULL);
	req->worker = worker;
	req->arrive = NULL;
	req->deadline_ns = 0;
	req->result = 0;
	req->status = STATUS_OK;
	req->state = REQ_IDLE;
	req->canceled = false;
	req->frame_top = 0;
	req->frame_end = 0;
}

void *req_push_frame(struct req *req, size_t size, req_fn *done)
{
	struct frame *frame = frame_at(req, req->frame_end);

	assert(req->state != REQ_DONE);
	assert(size >= sizeof(*frame));
	assert(req->frame_end + align_up(size, FRAME_ALIGN) <= REQ_FRAMES_SIZE);
	assert(done != NULL);

	*frame = (struct frame){ .done = done, .size = (uint16_t)size, .below = req->frame_top };
	req->frame_top = req->frame_end;
	req->frame_end += (uint16_t)align_up(size, FRAME_ALIGN);
	return frame;
}

void *req_top_frame(struct req *req, size_t size)
{
	struct frame *frame = frame_at(req, req->frame_top);

	assert(req->frame_end > 0);
	assert(frame->size == size); /* else: looked at by a layer that did not push it */
	return frame;
}

void *req_pop_frame(struct req *req, size_t size)
{
	struct frame *frame = req_top_frame(req, size);

	assert(req->state == REQ_RUNNING);
	req->frame_end = req->frame_top;
	req->frame_top = frame->below;
	if (req->frame_end == 0)
		req->state = REQ_IDLE;
	return frame;
}

void req_cancel(struct req *req)
{
	assert(req->state != REQ_IDLE);
	req->canceled = true;
}

enum status req_check(const struct req *req)
{
	if (req->canceled)
		return STATUS_CANCELED;
	if (req->deadline_ns != 0 && req->worker->now_ns > req->deadline_ns)
		return STATUS_TIMEOUT;
	return STATUS_OK;
}

void req_complete(struct req *req, enum status status, uint64_t result)
{
	assert(req->state == REQ_RUNNING); /* else: completed twice, or never submitted */
	assert(req->frame_end > 0);        /* else: nobody waits for it */
	assert(status < STATUS_COUNT);

	req->state = REQ_DONE;
	req->status = status;
	req->result = result;
	STAILQ_INSERT_TAIL(&req->worker->completed, req, link);
}

void req_run_done(struct req *req)
{
	assert(req->state == REQ_DONE);
	req->state = REQ_RUNNING; /* in the hands of the layer that pushed the newest frame */
	frame_at(req, req->frame_top)->done(req);
}
