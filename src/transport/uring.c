/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"

enum {
	POLL_MAX = 256,            /* completions of a turn */
	COMPLETIONS_FACTOR = 8,    /* multishot operations complete more often than they start */
	REGION_SIZE_MAX = 1 << 30, /* the kernel's limit for one registered buffer */
	CLOSE_ROUNDS_MAX = 1000,   /* of at most CLOSE_WAIT_NS: what flies is being canceled */
	CLOSE_WAIT_NS = 10 * 1000000,
};

/* What was not taken (EAGAIN, EBUSY, EINTR) stays in the queue for the next time. */
static void entered(struct uring *u, int r)
{
	assert(r != -EBADF && r != -EFAULT && r != -EINVAL);
	assert(r != -EEXIST); /* else: not the thread of the first turn */
	assert(r != -EBADR);  /* else: no memory for completions, and some are lost */
	u->io.stats.enters++;
}

static void submit(struct uring *u)
{
	int r = io_uring_submit(&u->ring);

	entered(u, r);
}

/* Binds the ring to the calling thread: it was created disabled, perhaps by another one. */
static void start(struct uring *u)
{
	/* io_uring_enable_rings(), which liburing 2.3 declares but does not export. */
	int r = io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	assert(r == 0);
	u->started = true;
	u->thread = gettid();
	/* The index is the thread's own: without SINGLE_ISSUER a close by another one would misuse
	 * it. */
	if (u->single_issuer && io_uring_register_ring_fd(&u->ring) != 1)
		u->io.stats.register_refused++;
}

struct io_uring_sqe *uring_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe != NULL)
		return sqe;
	if (!u->started)
		start(u);
	submit(u);
	sqe = io_uring_get_sqe(&u->ring);
	u->io.stats.parked += sqe == NULL;
	return sqe;
}

static bool kernel_has_news(const struct uring *u)
{
	unsigned flags = IO_URING_READ_ONCE(*u->ring.sq.kflags);

	return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

static void arm_wake(struct uring *u)
{
	struct io_uring_sqe *sqe = uring_sqe(u);

	if (sqe == NULL)
		return;
	assert(u->started && !u->wake_armed);
	/* Edge-triggered, so the event counter is never read: each wake() is one completion. */
	io_uring_prep_poll_multishot(sqe, u->event_fd, POLLIN);
	io_uring_sqe_set_data64(sqe, TAG_WAKE);
	u->wake_armed = true;
}

/* What earlier found no room, and the buffers of this turn; then the queue is as it should be. */
static void settle(struct uring *u)
{
	if (!u->started)
		start(u);
	if (!u->wake_armed)
		arm_wake(u);
	if (!STAILQ_EMPTY(&u->parked))
		uring_blk_retry(u);
	uring_streams_settle(u);
}

static void uring_doorbell(struct transport *t)
{
	struct uring *u = container_of(t, struct uring, io.transport);
	int r;

	settle(u);
	if (io_uring_sq_ready(&u->ring) == 0)
		return;
	/* Deferred work runs only when asked for: here, for the price of the submission. */
	r = io_uring_submit_and_get_events(&u->ring);
	entered(u, r);
}

static void dispatch(struct uring *u, uint64_t data, int res, uint32_t flags)
{
	switch (data & TAG_MASK) {
	case TAG_REQ:
		uring_blk_done(u, (struct req *)(uintptr_t)data, res);
		break;
	case TAG_RECV:
	case TAG_SEND:
	case TAG_CONNECT:
	case TAG_CANCEL:
		uring_stream_done(u, data, res, flags);
		break;
	case TAG_ACCEPT:
		uring_accept_done(u, (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK), res, flags);
		break;
	case TAG_WAKE:
		if (!(flags & IORING_CQE_F_MORE))
			u->wake_armed = false;
		break;
	default:
		unreachable();
	}
}

static unsigned uring_poll(struct transport *t)
{
	struct uring *u = container_of(t, struct uring, io.transport);
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;

	if (io_uring_cq_ready(&u->ring) == 0) {
		if (!u->started)
			start(u);
		if (kernel_has_news(u)) {
			io_uring_get_events(&u->ring);
			u->io.stats.enters++;
		}
	}
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		dispatch(u, cqe->user_data, cqe->res, cqe->flags);
		if (++count == POLL_MAX)
			break;
	}
	assert(count <= POLL_MAX);
	io_uring_cq_advance(&u->ring, count);
	return count + uring_streams_resume(u);
}

static void uring_sleep(struct transport *t, uint64_t until_ns)
{
	struct uring *u = container_of(t, struct uring, io.transport);
	struct __kernel_timespec ts, *timeout = NULL;
	struct io_uring_cqe *cqe;
	uint64_t now_ns;
	int r;

	settle(u);
	if (!STAILQ_EMPTY(&u->resumed) || io_uring_cq_ready(&u->ring) > 0)
		until_ns = 0;
	if (until_ns != UINT64_MAX) {
		struct clock *clock = t->worker->clock;

		now_ns = until_ns == 0 ? 0 : clock->now_ns(clock);
		if (until_ns <= now_ns) {
			uring_doorbell(t);
			return;
		}
		until_ns -= now_ns;
		ts.tv_sec = (long long)(until_ns / 1000000000u);
		ts.tv_nsec = (long long)(until_ns % 1000000000u);
		timeout = &ts;
	}
	r = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout, NULL);
	entered(u, r);
}

static void uring_yield(struct transport *t)
{
	(void)t;
	sched_yield();
}

static void uring_wake(struct transport *t)
{
	const struct uring *u = container_of(t, struct uring, io.transport);
	uint64_t one = 1;
	ssize_t r = write(u->event_fd, &one, sizeof(one));

	assert(r == sizeof(one)); /* else: 2^64 wakes */
}

/* Until nothing that the kernel might write into is left. */
static void drain(struct uring *u)
{
	struct __kernel_timespec ts = { .tv_nsec = CLOSE_WAIT_NS };
	struct io_uring_sync_cancel_reg all = {
		.fd = -1,
		.flags = IORING_ASYNC_CANCEL_ANY,
		.timeout = { .tv_sec = -1, .tv_nsec = -1 },
	};
	struct io_uring_cqe *cqe;
	unsigned head, count;

	for (unsigned i = 0; i < CLOSE_ROUNDS_MAX && u->flying > 0; i++) {
		int r = io_uring_submit_and_get_events(&u->ring);

		assert(r != -EEXIST);
		/* Without it (before 6.0) only what was shut down ends; the rest is asserted below.
		 */
		if (i == 0 && io_uring_register_sync_cancel(&u->ring, &all) != 0)
			continue;
		if (io_uring_cq_ready(&u->ring) == 0)
			io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
		count = 0;
		io_uring_for_each_cqe(&u->ring, head, cqe)
		{
			dispatch(u, cqe->user_data, cqe->res, cqe->flags);
			count++;
		}
		io_uring_cq_advance(&u->ring, count);
	}
	assert(u->flying == 0); /* else: a stream or listener is still open */
}

static void uring_close(struct transport *t)
{
	struct uring *u = container_of(t, struct uring, io.transport);

	assert(STAILQ_EMPTY(&u->parked));
	/* A thread that has ended has taken all that it had started with it. */
	if (u->started && u->thread == gettid())
		drain(u);
	io_uring_queue_exit(&u->ring);
	close(u->event_fd);
	uring_streams_close(u);
	free(u);
}

static const struct transport_ops uring_transport_ops = {
	.name = "uring",
	.poll = uring_poll,
	.doorbell = uring_doorbell,
	.sleep = uring_sleep,
	.yield = uring_yield,
	.wake = uring_wake,
	.close = uring_close,
};

static void uring_register(struct io *io, void *memory, size_t size)
{
	struct uring *u = uring_of(io);
	uint8_t *piece = memory;

	while (size > 0) {
		struct iovec iov = { piece, size < REGION_SIZE_MAX ? size : REGION_SIZE_MAX };
		__u64 tag = 0;

		if (u->region_count == URING_REGIONS_MAX ||
		    io_uring_register_buffers_update_tag(&u->ring, u->region_count, &iov, &tag,
		                                         1) != 1) {
			io->stats.register_refused++;
			return;
		}
		u->regions[u->region_count++] = (struct uring_region){
			(uintptr_t)piece,
			(uintptr_t)piece + iov.iov_len,
		};
		piece += iov.iov_len;
		size -= iov.iov_len;
	}
}

static const struct io_ops uring_io_ops = {
	.name = "uring",
	.register_memory = uring_register,
	.blk_open = uring_blk_open,
	.listen = uring_listen,
	.connect = uring_connect,
};

/* The best set of flags that this kernel takes. 0, or a negative errno. */
static int setup(struct uring *u, const struct io_options *options)
{
	static const unsigned wishes[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int r = -EINVAL;

	for (unsigned i = options->sqpoll ? array_count(wishes) - 1 : 0;
	     i < array_count(wishes) && r == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = wishes[i] | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
			         IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED |
			         (options->sqpoll ? IORING_SETUP_SQPOLL : 0u),
			.cq_entries = options->queue_depth * COMPLETIONS_FACTOR,
		};

		r = io_uring_queue_init_params(options->queue_depth, &u->ring, &params);
		u->single_issuer = (wishes[i] & IORING_SETUP_SINGLE_ISSUER) != 0;
		if (r == 0 && !(params.features & IORING_FEAT_EXT_ARG)) {
			io_uring_queue_exit(&u->ring);
			return -ENOSYS;
		}
	}
	return r;
}

static enum status refused(int err, char error[static IO_ERROR_SIZE])
{
	const char *why = "";

	switch (err) {
	case EPERM:
	case EACCES:
		why = " (kernel.io_uring_disabled, or a seccomp profile as of containers)";
		break;
	case ENOSYS:
	case EINVAL:
		why = " (a kernel before 5.19, or a seccomp profile)";
		break;
	case ENOMEM:
		why = " (RLIMIT_MEMLOCK?)";
		break;
	default:
		break;
	}
	snprintf(error, IO_ERROR_SIZE, "io_uring is refused: %s%s", strerror(err), why);
	return err == ENOSYS || err == EINVAL ? STATUS_UNSUPPORTED : status_from_errno(err);
}

static enum status open_parts(struct uring *u, const struct io_options *options,
                              char error[static IO_ERROR_SIZE])
{
	enum status status;

	u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->event_fd < 0) {
		snprintf(error, IO_ERROR_SIZE, "eventfd: %s", strerror(errno));
		return STATUS_NO_SPACE;
	}
	status = uring_streams_open(u, options, error);
	if (status != STATUS_OK) {
		close(u->event_fd);
		return status;
	}
	u->files_registered = io_uring_register_files_sparse(&u->ring, URING_FILES_MAX) == 0;
	if (io_uring_register_buffers_sparse(&u->ring, URING_REGIONS_MAX) != 0)
		u->io.stats.register_refused++;
	return STATUS_OK;
}

enum status uring_open(struct worker *worker, const struct io_options *options, struct io **out,
                       char error[static IO_ERROR_SIZE])
{
	struct uring *u;
	enum status status;
	int r;

	if (options->refuse_uring)
		return refused(EPERM, error);
	u = calloc(1, sizeof(*u));
	if (u == NULL)
		return STATUS_NO_SPACE;
	u->io.transport = (struct transport){ .ops = &uring_transport_ops, .worker = worker };
	u->io.ops = &uring_io_ops;
	STAILQ_INIT(&u->parked);
	STAILQ_INIT(&u->dirty);
	STAILQ_INIT(&u->resumed);
	STAILQ_INIT(&u->free);
	assert(options->queue_depth > 0);
	assert(worker != NULL);
	r = setup(u, options);
	if (r < 0) {
		free(u);
		return refused(-r, error);
	}
	status = open_parts(u, options, error);
	if (status != STATUS_OK) {
		io_uring_queue_exit(&u->ring);
		free(u);
		return status;
	}
	*out = &u->io;
	return STATUS_OK;
}
