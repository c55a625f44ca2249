/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/plain.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"

static void plain_doorbell(struct transport *t)
{
	struct plain *p = container_of(t, struct plain, io.transport);

	plain_streams_doorbell(p);
	plain_blk_doorbell(p);
}

/* Waits for events at most timeout_ns, UINT64_MAX: for ever. */
static void wait_events(struct plain *p, uint64_t timeout_ns)
{
	int r = -1;

	assert(p->event_count == 0); /* else: events of the last wait are lost */
	p->io.stats.enters++;
	if (p->wait_in_ns && timeout_ns != 0 && timeout_ns != UINT64_MAX) {
		struct timespec ts = {
			.tv_sec = (time_t)(timeout_ns / 1000000000u),
			.tv_nsec = (long)(timeout_ns % 1000000000u),
		};

		r = epoll_pwait2(p->epoll_fd, p->events, PLAIN_EVENTS_MAX, &ts, NULL);
		if (r < 0 && errno != EINTR)
			p->wait_in_ns = false; /* before 5.11, or refused like io_uring */
	}
	if (!p->wait_in_ns || timeout_ns == 0 || timeout_ns == UINT64_MAX) {
		/* Rounded up, so that a sleep is never a spin. */
		uint64_t ms = timeout_ns / 1000000u + (timeout_ns % 1000000u != 0);
		int timeout_ms = timeout_ns == UINT64_MAX ? -1
		                 : ms > 1000000000u       ? 1000000000
		                                          : (int)ms;

		r = epoll_wait(p->epoll_fd, p->events, PLAIN_EVENTS_MAX, timeout_ms);
	}
	assert(r >= 0 || errno == EINTR);
	p->event_count = r > 0 ? (unsigned)r : 0;
}

static void plain_sleep(struct transport *t, uint64_t until_ns)
{
	struct plain *p = container_of(t, struct plain, io.transport);
	struct clock *clock = t->worker->clock;

	plain_doorbell(t);
	/* What the doorbell sent has completed: the worker has something to do. */
	if (p->event_count > 0 || p->broken_count > 0 || worker_has_work(t->worker))
		return;
	if (until_ns != UINT64_MAX) {
		uint64_t now_ns = until_ns == 0 ? 0 : clock->now_ns(clock);

		until_ns = until_ns > now_ns ? until_ns - now_ns : 0;
	}
	if (until_ns > 0)
		wait_events(p, until_ns);
}

static unsigned plain_poll(struct transport *t)
{
	struct plain *p = container_of(t, struct plain, io.transport);
	unsigned count = 0, event_count;

	if (p->event_count == 0)
		wait_events(p, 0);
	event_count = p->event_count;
	for (unsigned i = 0; i < event_count; i++) {
		uint64_t data = p->events[i].data.u64;

		switch (data & PLAIN_TAG_MASK) {
		case PLAIN_WAKE:
			count += 1 + plain_blk_poll(p);
			break;
		case PLAIN_STREAM:
			plain_stream_event(p, data, p->events[i].events);
			count++;
			break;
		case PLAIN_LISTENER:
			plain_accept_event((void *)(uintptr_t)(data & ~(uint64_t)PLAIN_TAG_MASK));
			count++;
			break;
		default:
			unreachable();
		}
	}
	p->event_count = 0;
	return count + plain_streams_poll(p);
}

static void plain_yield(struct transport *t)
{
	(void)t;
	sched_yield();
}

static void plain_wake(struct transport *t)
{
	const struct plain *p = container_of(t, struct plain, io.transport);
	uint64_t one = 1;
	ssize_t r = write(p->event_fd, &one, sizeof(one));

	assert(r == sizeof(one)); /* else: 2^64 wakes, none of them read */
}

static void plain_close(struct transport *t)
{
	struct plain *p = container_of(t, struct plain, io.transport);

	plain_helpers_fini(p);
	plain_streams_close(p);
	close(p->epoll_fd);
	close(p->event_fd);
	free(p);
}

static const struct transport_ops plain_transport_ops = {
	.name = "plain",
	.poll = plain_poll,
	.doorbell = plain_doorbell,
	.sleep = plain_sleep,
	.yield = plain_yield,
	.wake = plain_wake,
	.close = plain_close,
};

/* There is nothing to register memory with, so nothing is refused either. */
static void plain_register(struct io *io, void *memory, size_t size)
{
	assert(memory != NULL && size > 0);
	assert(io->ops != NULL);
}

static const struct io_ops plain_io_ops = {
	.name = "plain",
	.register_memory = plain_register,
	.blk_open = plain_blk_open,
	.listen = plain_listen,
	.connect = plain_connect,
};

static enum status open_descriptors(struct plain *p)
{
	struct epoll_event wake = { .events = EPOLLIN, .data.u64 = PLAIN_WAKE };

	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll_fd < 0)
		return STATUS_NO_SPACE;
	p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->event_fd < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->event_fd, &wake) != 0) {
		close(p->epoll_fd);
		if (p->event_fd >= 0)
			close(p->event_fd);
		return STATUS_NO_SPACE;
	}
	return STATUS_OK;
}

enum status plain_open(struct worker *worker, const struct io_options *options, struct io **out,
                       char error[static IO_ERROR_SIZE])
{
	struct plain *p = calloc(1, sizeof(*p));
	enum status status = p == NULL ? STATUS_NO_SPACE : open_descriptors(p);

	if (status == STATUS_OK) {
		p->io.transport =
		        (struct transport){ .ops = &plain_transport_ops, .worker = worker };
		p->io.ops = &plain_io_ops;
		p->wait_in_ns = true;
		plain_helpers_init(&p->helpers, options->helpers);
		status = plain_streams_open(p, options);
		if (status != STATUS_OK) {
			plain_close(&p->io.transport);
			p = NULL;
		}
	}
	if (status != STATUS_OK) {
		snprintf(error, IO_ERROR_SIZE, "no descriptors or memory for %u connections: %s",
		         options->connections_max, strerror(errno));
		free(p);
		return status;
	}
	*out = &p->io;
	return STATUS_OK;
}
