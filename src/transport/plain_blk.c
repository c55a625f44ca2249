/* SPDX-License-Identifier: Apache-2.0 */
/* Files and block devices by blocking system calls, on threads that may wait. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/file.h"
#include "transport/plain.h"

struct plain_blk {
	struct blk blk;
	struct plain *plain;
	struct file file;
	uint32_t running;
};

/* The worker's, except between the doorbell and the poll that finds it done: then a helper's. */
struct plain_op {
	struct frame frame;
	struct plain_blk *dev;
	struct file_op op;
	enum status status;
};

static void op_never_done(struct req *req)
{
	(void)req;
	unreachable(); /* nothing is below this frame */
}

/* Helpers. */

static int64_t run_step(const struct file *file, const struct file_op *op)
{
	const struct iovec *iov;
	ssize_t r = -1;
	int count;

	switch ((enum file_step)op->step) {
	case FILE_TRANSFER:
		count = (int)cursor_window(&op->cursor, &iov);
		if (op->op == BLK_READ)
			r = preadv2(file->fd, iov, count, (off_t)op->offset, op->rw_flags);
		else
			r = pwritev2(file->fd, iov, count, (off_t)op->offset, op->rw_flags);
		break;
	case FILE_FLUSH:
		r = fdatasync(file->fd);
		break;
	case FILE_DISCARD:
	case FILE_ZERO:
		r = fallocate(file->fd, file_allocate_mode((enum file_step)op->step),
		              (off_t)op->offset, (off_t)op->left);
		break;
	default:
		unreachable();
	}
	return r >= 0 ? r : -(int64_t)errno;
}

static void run_op(struct req *req)
{
	struct plain_op *frame = req_top(req, struct plain_op);
	const struct file *file = &frame->dev->file;

	while (file_op_advance(&frame->op, run_step(file, &frame->op), &frame->status))
		;
}

static void *helper_main(void *arg)
{
	struct plain *p = arg;
	struct plain_helpers *h = &p->helpers;
	struct req *req;
	bool tell;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		while ((req = STAILQ_FIRST(&h->queued)) == NULL && !h->stop) {
			h->idle_count++;
			pthread_cond_wait(&h->queued_some, &h->lock);
			h->idle_count--;
		}
		if (req == NULL)
			break;
		STAILQ_REMOVE_HEAD(&h->queued, link);
		pthread_mutex_unlock(&h->lock);
		run_op(req);
		pthread_mutex_lock(&h->lock);
		STAILQ_INSERT_TAIL(&h->done, req, link);
		tell = !h->told;
		h->told = true;
		if (tell)
			p->io.transport.ops->wake(&p->io.transport);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

void plain_helpers_init(struct plain_helpers *h, unsigned thread_max)
{
	int r = pthread_mutex_init(&h->lock, NULL);

	assert(r == 0);
	r = pthread_cond_init(&h->queued_some, NULL);
	assert(r == 0);
	STAILQ_INIT(&h->queued);
	STAILQ_INIT(&h->done);
	STAILQ_INIT(&h->submitted);
	assert(thread_max > 0);
	h->thread_max = thread_max < PLAIN_HELPERS_MAX ? thread_max : PLAIN_HELPERS_MAX;
}

void plain_helpers_fini(struct plain *p)
{
	struct plain_helpers *h = &p->helpers;

	pthread_mutex_lock(&h->lock);
	assert(STAILQ_EMPTY(&h->queued));
	h->stop = true;
	pthread_cond_broadcast(&h->queued_some);
	pthread_mutex_unlock(&h->lock);
	for (unsigned i = 0; i < h->thread_count; i++)
		pthread_join(h->threads[i], NULL);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->queued_some);
}

/* With the first file: a worker that has only sockets needs no threads. */
static enum status start_helpers(struct plain *p)
{
	struct plain_helpers *h = &p->helpers;
	sigset_t all, old;

	/* Signals are for the threads that know what to do with them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (h->thread_count < h->thread_max &&
	       pthread_create(&h->threads[h->thread_count], NULL, helper_main, p) == 0)
		h->thread_count++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return h->thread_count > 0 ? STATUS_OK : STATUS_NO_SPACE;
}

/* The worker's side. */

void plain_blk_doorbell(struct plain *p)
{
	struct plain_helpers *h = &p->helpers;

	if (STAILQ_EMPTY(&h->submitted))
		return;
	assert(h->submitted_count > 0 && h->thread_count > 0);
	pthread_mutex_lock(&h->lock);
	STAILQ_CONCAT(&h->queued, &h->submitted);
	for (unsigned i = 0; i < h->submitted_count && i < h->idle_count; i++)
		pthread_cond_signal(&h->queued_some);
	pthread_mutex_unlock(&h->lock);
	h->submitted_count = 0;
}

unsigned plain_blk_poll(struct plain *p)
{
	struct req_list done = STAILQ_HEAD_INITIALIZER(done);
	struct plain_helpers *h = &p->helpers;
	unsigned count = 0;
	uint64_t events;
	struct req *req;

	/* Before the list is taken, so that what is added after it sets the event again. */
	if (read(p->event_fd, &events, sizeof(events)) != sizeof(events))
		return 0;
	pthread_mutex_lock(&h->lock);
	STAILQ_CONCAT(&done, &h->done);
	h->told = false;
	pthread_mutex_unlock(&h->lock);
	while ((req = STAILQ_FIRST(&done)) != NULL) {
		const struct plain_op *frame = req_top(req, struct plain_op);
		enum status status = frame->status;

		STAILQ_REMOVE_HEAD(&done, link);
		assert(frame->dev->running > 0);
		frame->dev->running--;
		assert(frame->dev->plain == p);
		req_pop(req, struct plain_op);
		req_complete(req, status, 0);
		count++;
	}
	return count;
}

static void plain_blk_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct plain_blk *dev = container_of(blk, struct plain_blk, blk);
	struct plain_op *frame = req_push(req, struct plain_op, op_never_done);
	struct plain_helpers *h = &dev->plain->helpers;

	frame->dev = dev;
	file_op_init(&frame->op, &dev->file, cmd);
	dev->running++;
	assert(h->thread_count > 0); /* else: nobody would run it */
	STAILQ_INSERT_TAIL(&h->submitted, req, link);
	h->submitted_count++;
}

static void plain_blk_close(struct blk *blk)
{
	struct plain_blk *dev = container_of(blk, struct plain_blk, blk);

	assert(dev->running == 0);
	close(dev->file.fd);
	free(dev);
}

static const struct blk_ops plain_blk_ops = {
	.name = "plain",
	.submit = plain_blk_submit,
	.close = plain_blk_close,
};

enum status plain_blk_open(struct io *io, const struct file *file, struct blk **out)
{
	struct plain *p = plain_of(io);
	struct plain_blk *dev;

	if (p->helpers.thread_count == 0 && start_helpers(p) != STATUS_OK)
		return STATUS_NO_SPACE;
	dev = calloc(1, sizeof(*dev));
	if (dev == NULL)
		return STATUS_NO_SPACE;
	assert(file->fd >= 0);
	dev->blk.ops = &plain_blk_ops;
	dev->blk.frames_size = align_up(sizeof(struct plain_op), 16);
	dev->plain = p;
	dev->file = *file;
	*out = &dev->blk;
	return STATUS_OK;
}
