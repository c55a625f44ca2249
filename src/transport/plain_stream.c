/* SPDX-License-Identifier: Apache-2.0 */
/* TCP and unix streams on a worker's epoll. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/plain.h"

enum { ACCEPTS_MAX = 64 }; /* of a listener in one turn */

/* Tells the kernel which events are wanted; with none it would still report a broken peer. */
static void watch(struct plain_stream *s, uint32_t events)
{
	struct epoll_event e = {
		.events = events,
		.data.u64 = (uint64_t)s->generation << 32 | (uint64_t)s->index << 4 | PLAIN_STREAM,
	};
	int op = s->watched == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
	int r;

	if (events == s->watched)
		return;
	assert(s->fd >= 0 && !s->stream.closed);
	r = epoll_ctl(s->plain->epoll_fd, op, s->fd, &e);
	assert(r == 0 || errno == ENOMEM || errno == ENOSPC);
	if (r == 0)
		s->watched = events;
}

static void rewatch(struct plain_stream *s)
{
	uint32_t events = 0;

	if (!s->paused && !s->connecting && !s->stream.ended && !s->broken)
		events |= EPOLLIN;
	if (s->connecting || s->blocked)
		events |= EPOLLOUT;
	watch(s, events);
}

static void mark_working(struct plain_stream *s)
{
	if (s->working)
		return;
	s->working = true;
	STAILQ_INSERT_TAIL(&s->plain->work, s, link);
}

static void mark_broken(struct plain_stream *s)
{
	assert(!s->broken);
	s->broken = true;
	s->plain->broken_count++;
	mark_working(s);
}

static struct plain_stream *stream_get(struct plain *p, int fd)
{
	struct plain_stream *s = STAILQ_FIRST(&p->free);
	uint32_t index, generation;

	if (s == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&p->free, link);
	assert(s->fd < 0 && !s->working);
	assert(s == &p->streams[s->index]);
	index = s->index;
	generation = s->generation;
	*s = (struct plain_stream){
		.plain = p,
		.fd = fd,
		.index = index,
		.generation = generation,
	};
	s->stream.worker = p->io.transport.worker;
	return s;
}

/* A closed stream goes back to the pool when the work list has let go of it. */
static void stream_release(struct plain_stream *s)
{
	if (!s->stream.closed || s->working)
		return;
	assert(s->send == NULL);
	assert(s->fd < 0 && !s->broken);
	s->generation++;
	STAILQ_INSERT_HEAD(&s->plain->free, s, link);
}

static void send_complete(struct plain_stream *s, enum status status)
{
	struct req *req = s->send;

	assert(req != NULL && s->stream.sending);
	assert(status != STATUS_OK || s->cursor.count == 0);
	s->send = NULL;
	s->blocked = false;
	s->stream.sending = false;
	req_complete(req, status, s->sent_size);
}

/* Sends what the socket takes. */
static void send_some(struct plain_stream *s)
{
	while (s->send != NULL) {
		struct msghdr message = { 0 };
		const struct iovec *iov;
		ssize_t r;

		message.msg_iovlen = cursor_window(&s->cursor, &iov);
		message.msg_iov = (struct iovec *)(uintptr_t)iov;
		r = sendmsg(s->fd, &message, MSG_NOSIGNAL);
		if (r < 0 && errno == EAGAIN) {
			s->blocked = true;
			break;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			send_complete(s, STATUS_UNAVAILABLE);
			break;
		}
		s->sent_size += (size_t)r;
		cursor_advance(&s->cursor, (size_t)r);
		if (s->cursor.count == 0)
			send_complete(s, STATUS_OK);
	}
	rewatch(s);
}

static void plain_stream_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct plain_stream *s = container_of(stream, struct plain_stream, stream);

	assert(s->send == NULL);
	assert(!s->stream.closed && !s->blocked);
	s->send = req;
	s->sent_size = 0;
	cursor_init(&s->cursor, cmd->iov, cmd->iov_count);
	if (s->cursor.count == 0)
		send_complete(s, STATUS_OK);
	else
		mark_working(s);
}

static void plain_stream_pause(struct stream *stream, bool paused)
{
	struct plain_stream *s = container_of(stream, struct plain_stream, stream);

	if (s->paused == paused)
		return;
	s->paused = paused;
	if (!paused && s->broken)
		mark_working(s);
	rewatch(s);
}

static void plain_stream_close(struct stream *stream)
{
	struct plain_stream *s = container_of(stream, struct plain_stream, stream);

	if (s->send != NULL)
		send_complete(s, STATUS_CANCELED);
	if (s->broken)
		s->plain->broken_count--;
	s->broken = false;
	assert(s->stream.closed && s->fd >= 0);
	close(s->fd); /* and out of the epoll set */
	s->fd = -1;
	stream_release(s);
}

static const struct stream_ops plain_stream_ops = {
	.name = "plain",
	.send = plain_stream_send,
	.pause = plain_stream_pause,
	.close = plain_stream_close,
};

static void stream_end(struct plain_stream *s, enum status status)
{
	assert(!s->stream.ended);
	s->stream.ended = true;
	rewatch(s);
	s->stream.handler->ended(&s->stream, status);
}

static void receive_some(struct plain_stream *s)
{
	uint8_t *data = s->plain->receive;
	ssize_t r = recv(s->fd, data, PLAIN_RECEIVE_SIZE, 0);

	if (r > 0)
		s->stream.handler->received(&s->stream, bytes_of(data, (size_t)r));
	else if (r == 0)
		stream_end(s, STATUS_OK);
	else if (errno != EAGAIN && errno != EINTR)
		stream_end(s, STATUS_UNAVAILABLE);
}

static void connected(struct plain_stream *s)
{
	socklen_t size = sizeof(int);
	int err = 0;

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &size) != 0)
		err = errno;
	s->connecting = false;
	if (err != 0) {
		if (s->send != NULL)
			send_complete(s, STATUS_UNAVAILABLE);
		stream_end(s, STATUS_UNAVAILABLE);
		return;
	}
	if (s->send != NULL)
		send_some(s);
	rewatch(s);
}

void plain_stream_event(struct plain *p, uint64_t data, uint32_t events)
{
	uint32_t index = (uint32_t)data >> 4;
	struct plain_stream *s = &p->streams[index];
	uint32_t generation = s->generation;

	assert(index < p->stream_count);
	/* Closed, or closed and used again, since the kernel noted the event. */
	if (generation != (uint32_t)(data >> 32) || s->fd < 0)
		return;
	if (s->connecting) {
		connected(s);
		return;
	}
	if (s->blocked && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		s->blocked = false;
		send_some(s);
	}
	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && !s->paused && !s->stream.ended &&
	    !s->broken)
		receive_some(s);
}

/* Sends what this turn has queued, as one batch of calls. */
void plain_streams_doorbell(struct plain *p)
{
	struct plain_stream_list work = STAILQ_HEAD_INITIALIZER(work);
	struct plain_stream *s;

	STAILQ_CONCAT(&work, &p->work);
	while ((s = STAILQ_FIRST(&work)) != NULL) {
		assert(s->working);
		STAILQ_REMOVE_HEAD(&work, link);
		s->working = false;
		if (s->stream.closed)
			stream_release(s);
		else if (s->send != NULL && !s->blocked && !s->connecting)
			send_some(s);
		/* Its end is for the next poll to tell. */
		if (!s->stream.closed && s->broken)
			mark_working(s);
	}
}

static void break_streams(struct plain *p)
{
	struct plain_stream_list work = STAILQ_HEAD_INITIALIZER(work);
	struct plain_stream *s;

	STAILQ_CONCAT(&work, &p->work);
	while ((s = STAILQ_FIRST(&work)) != NULL) {
		STAILQ_REMOVE_HEAD(&work, link);
		s->working = false;
		if (s->stream.closed) {
			stream_release(s);
			continue;
		}
		if (s->send != NULL && !s->blocked)
			mark_working(s);
		if (s->broken && !s->paused) {
			assert(p->broken_count > 0);
			s->broken = false;
			p->broken_count--;
			if (s->send != NULL)
				send_complete(s, STATUS_UNAVAILABLE);
			stream_end(s, STATUS_UNAVAILABLE);
		}
	}
}

static void free_closed_listeners(struct plain *p)
{
	struct plain_listener *l = LIST_FIRST(&p->listeners), *next;

	p->listener_closed = false;
	for (; l != NULL; l = next) {
		next = LIST_NEXT(l, link);
		if (l->closed) {
			LIST_REMOVE(l, link);
			free(l);
		}
	}
}

unsigned plain_streams_poll(struct plain *p)
{
	unsigned count = p->broken_count;

	if (count > 0)
		break_streams(p);
	if (p->listener_closed)
		free_closed_listeners(p);
	return count;
}

/* Listeners. */

static void watch_listener(struct plain_listener *l)
{
	struct epoll_event e = { .events = EPOLLIN,
		                 .data.u64 = (uint64_t)(uintptr_t)l | PLAIN_LISTENER };
	int r = epoll_ctl(l->plain->epoll_fd, EPOLL_CTL_ADD, l->fd, &e);

	assert(r == 0 || errno == ENOMEM || errno == ENOSPC);
}

static void accept_retry(struct timer *timer)
{
	watch_listener(container_of(timer, struct plain_listener, retry));
}

static void accepted(struct plain_listener *l, int fd)
{
	struct plain *p = l->plain;
	struct plain_stream *s = stream_get(p, fd);

	if (s == NULL) {
		p->io.stats.refused++;
		close(fd);
		return;
	}
	s->stream.ops = &plain_stream_ops;
	net_describe_accepted(&s->stream, fd, l->listener.address);
	p->io.stats.accepted++;
	if (!l->listener.handler->accepted(&l->listener, &s->stream)) {
		p->io.stats.refused++;
		stream_close(&s->stream);
		return;
	}
	if (!s->stream.closed)
		rewatch(s);
}

/* Whether to go on accepting. */
static bool accept_failed(struct plain_listener *l, int err)
{
	struct worker *worker = l->plain->io.transport.worker;

	if (err == EAGAIN)
		return false;
	if (err == EINTR || err == ECONNABORTED)
		return true;
	/* Descriptors or memory ran out: the event stays, so trying at once would spin. */
	l->plain->io.stats.accept_pauses++;
	if (epoll_ctl(l->plain->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL) == 0)
		timer_arm(&worker->timers, &l->retry,
		          worker->now_ns + (uint64_t)IO_ACCEPT_RETRY_MS * 1000000u, accept_retry);
	return false;
}

void plain_accept_event(struct plain_listener *l)
{
	for (unsigned i = 0; i < ACCEPTS_MAX && !l->closed; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			accepted(l, fd);
		else if (!accept_failed(l, errno))
			return;
	}
}

static void plain_listener_close(struct listener *listener)
{
	struct plain_listener *l = container_of(listener, struct plain_listener, listener);

	assert(!l->closed);
	l->closed = true;
	l->plain->listener_closed = true;
	timer_cancel(&l->plain->io.transport.worker->timers, &l->retry);
	net_unlisten(l->fd, listener->address);
	close(l->fd);
}

static const struct listener_ops plain_listener_ops = {
	.name = "plain",
	.close = plain_listener_close,
};

enum status plain_listen(struct io *io, int fd, struct listener **out)
{
	struct plain_listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return STATUS_NO_SPACE;
	l->listener.ops = &plain_listener_ops;
	l->plain = plain_of(io);
	l->fd = fd;
	LIST_INSERT_HEAD(&l->plain->listeners, l, link);
	watch_listener(l);
	*out = &l->listener;
	return STATUS_OK;
}

enum status plain_connect(struct io *io, int fd, const struct net_address *address,
                          struct stream **out)
{
	struct plain_stream *s = stream_get(plain_of(io), fd);

	if (s == NULL)
		return STATUS_BUSY;
	s->stream.ops = &plain_stream_ops;
	if (connect(fd, &address->any, address->size) != 0) {
		if (errno == EINPROGRESS)
			s->connecting = true;
		else
			mark_broken(s);
	}
	rewatch(s);
	*out = &s->stream;
	return STATUS_OK;
}

enum status plain_streams_open(struct plain *p, const struct io_options *options)
{
	STAILQ_INIT(&p->work);
	STAILQ_INIT(&p->free);
	p->streams = calloc(options->connections_max, sizeof(*p->streams));
	p->receive = calloc(1, PLAIN_RECEIVE_SIZE);
	if (p->streams == NULL || p->receive == NULL)
		return STATUS_NO_SPACE;
	p->stream_count = options->connections_max;
	for (uint32_t i = p->stream_count; i-- > 0;) {
		p->streams[i].index = i;
		p->streams[i].fd = -1;
		STAILQ_INSERT_HEAD(&p->free, &p->streams[i], link);
	}
	return STATUS_OK;
}

void plain_streams_close(struct plain *p)
{
	free_closed_listeners(p);
	assert(LIST_EMPTY(&p->listeners)); /* else: a listener is still open */
	for (uint32_t i = 0; i < p->stream_count; i++)
		assert(p->streams[i].fd < 0); /* else: a stream is still open */
	free(p->streams);
	free(p->receive);
}
