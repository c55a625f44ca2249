/* SPDX-License-Identifier: Apache-2.0 */
/* TCP and unix streams on a worker's io_uring. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/uring.h"

enum { SEND_SIZE_MAX = 1 << 30 }; /* of one operation, whose size is 32 bits wide */

/*
 * A stream is a set of flags that say what flies and what is wanted; issue() compares them and
 * starts what is missing. Whatever finds no room or no buffer is marked dirty and tried again when
 * the turn settles, so no operation is ever lost and none waits by spinning.
 */

/* Receive buffers. */

static uint8_t *buffer_data(const struct uring_buffers *b, uint16_t id)
{
	return b->memory + (size_t)id * IO_RECEIVE_SIZE;
}

static void buffer_give(struct uring_buffers *b, uint16_t id)
{
	assert(id < b->count);
	assert(b->given < b->count);
	io_uring_buf_ring_add(b->ring, buffer_data(b, id), IO_RECEIVE_SIZE, id,
	                      io_uring_buf_ring_mask(b->count), (int)b->unpublished);
	b->unpublished++;
	b->given++;
}

/* The kernel takes from its ring in turn; keeping it short keeps the buffers warm and few. */
static void buffer_return(struct uring_buffers *b, uint16_t id)
{
	if (b->given < b->target) {
		buffer_give(b, id);
		return;
	}
	assert(id < b->count && b->top != id);
	b->buffers[id].next = b->top;
	b->top = id;
}

static void buffers_publish(struct uring_buffers *b)
{
	while (b->given < b->target && b->top != URING_BUFFER_NONE) {
		uint16_t id = b->top;

		assert(id < b->count);
		b->top = b->buffers[id].next;
		buffer_give(b, id);
	}
	if (b->unpublished > 0) {
		io_uring_buf_ring_advance(b->ring, (int)b->unpublished);
		b->unpublished = 0;
	}
}

static enum status buffers_open(struct uring_buffers *b, size_t memory_size)
{
	size_t count = memory_size / IO_RECEIVE_SIZE;

	b->count = 1;
	while (b->count * 2 <= count && b->count < URING_BUFFERS_MAX)
		b->count *= 2;
	b->ring_size = align_up(b->count * sizeof(struct io_uring_buf), 4096);
	b->memory_size = (size_t)b->count * IO_RECEIVE_SIZE;
	b->ring = mmap(NULL, b->ring_size + b->memory_size, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->ring == MAP_FAILED)
		return STATUS_NO_SPACE;
	b->memory = (uint8_t *)b->ring + b->ring_size;
	b->buffers = calloc(b->count, sizeof(*b->buffers));
	if (b->buffers == NULL)
		return STATUS_NO_SPACE;
	assert((b->count & (b->count - 1)) == 0); /* the kernel's ring wants that */
	b->target = b->count < URING_BUFFERS_FIRST ? b->count : URING_BUFFERS_FIRST;
	b->top = URING_BUFFER_NONE;
	for (uint32_t id = b->count; id-- > 0;) {
		b->buffers[id].next = b->top;
		b->top = (uint16_t)id;
	}
	return STATUS_OK;
}

static void buffers_close(struct uring_buffers *b)
{
	if (b->ring != NULL && b->ring != MAP_FAILED)
		munmap(b->ring, b->ring_size + b->memory_size);
	free(b->buffers);
}

/* Streams. */

static void mark_dirty(struct uring_stream *s)
{
	if (s->dirty)
		return;
	s->dirty = true;
	STAILQ_INSERT_TAIL(&s->uring->dirty, s, link);
}

static void mark_resuming(struct uring_stream *s)
{
	if (s->resuming)
		return;
	s->resuming = true;
	STAILQ_INSERT_TAIL(&s->uring->resumed, s, resume_link);
}

static void flew(struct uring_stream *s)
{
	s->flying++;
	s->uring->flying++;
}

static void landed(struct uring_stream *s)
{
	assert(s->flying > 0);
	assert(s->uring->flying > 0);
	s->flying--;
	s->uring->flying--;
}

/* One that was used before, else one whose memory nobody has touched yet. */
static struct uring_stream *stream_take(struct uring *u)
{
	struct uring_stream *s = STAILQ_FIRST(&u->free);

	if (s != NULL) {
		STAILQ_REMOVE_HEAD(&u->free, link);
		return s;
	}
	if (u->stream_count == u->stream_max)
		return NULL;
	s = &u->streams[u->stream_count];
	s->index = u->stream_count++;
	s->fd = -1;
	return s;
}

static struct uring_stream *stream_get(struct uring *u, int fd)
{
	struct uring_stream *s = stream_take(u);
	uint32_t index, generation;

	if (s == NULL)
		return NULL;
	assert(s->fd < 0 && s->flying == 0);
	assert(s == &u->streams[s->index]);
	index = s->index;
	generation = s->generation;
	*s = (struct uring_stream){
		.uring = u,
		.fd = fd,
		.index = index,
		.generation = generation,
		.held_first = URING_BUFFER_NONE,
		.held_last = URING_BUFFER_NONE,
	};
	s->stream.worker = u->io.transport.worker;
	return s;
}

/* A closed stream goes back to the pool when nothing of it flies and no list has it. */
static void stream_release(struct uring_stream *s)
{
	if (!s->stream.closed || s->flying > 0 || s->dirty || s->resuming)
		return;
	assert(s->send == NULL);
	assert(s->held_first == URING_BUFFER_NONE);
	assert(!s->receiving && !s->canceling && !s->connect_begun);
	assert(s->fd >= 0);
	close(s->fd);
	s->fd = -1;
	s->generation++;
	/* First in, last out: the warm ones are used again. */
	STAILQ_INSERT_HEAD(&s->uring->free, s, link);
}

static bool wants_cancel(const struct uring_stream *s)
{
	return !s->canceling &&
	       ((s->paused && s->receiving) || (s->stream.closed && s->connect_begun));
}

static bool wants_receive(const struct uring_stream *s)
{
	return !s->receiving && !s->paused && !s->connecting && !s->end_held && !s->stream.ended &&
	       !s->stream.closed;
}

static void prep_send(struct uring_stream *s, struct io_uring_sqe *sqe)
{
	const struct iovec *iov;
	uint32_t count = cursor_window(&s->cursor, &iov);

	assert(s->send != NULL && !s->send_begun);
	assert(count > 0);
	if (count == 1) {
		size_t size = iov->iov_len < SEND_SIZE_MAX ? iov->iov_len : SEND_SIZE_MAX;

		io_uring_prep_send(sqe, s->fd, iov->iov_base, size, MSG_WAITALL | MSG_NOSIGNAL);
	} else {
		s->message.msg_iov = (struct iovec *)(uintptr_t)iov;
		s->message.msg_iovlen = count;
		io_uring_prep_sendmsg(sqe, s->fd, &s->message, MSG_WAITALL | MSG_NOSIGNAL);
	}
	io_uring_sqe_set_data64(sqe, URING_TAG(s, TAG_SEND));
	s->send_begun = true;
	flew(s);
}

static void prep_receive(struct uring_stream *s, struct io_uring_sqe *sqe)
{
	assert(!s->receiving && !s->stream.closed);
	if (s->uring->multishot_recv)
		io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
	else
		io_uring_prep_recv(sqe, s->fd, NULL, IO_RECEIVE_SIZE, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 0;
	io_uring_sqe_set_data64(sqe, URING_TAG(s, TAG_RECV));
	s->receiving = true;
	flew(s);
}

/* Starts what is wanted and does not fly. False: no room; tried again later. */
static bool issue(struct uring_stream *s)
{
	struct uring *u = s->uring;
	struct io_uring_sqe *sqe;

	if (s->connecting && !s->connect_begun && !s->stream.closed) {
		sqe = uring_sqe(u);
		if (sqe == NULL)
			return false;
		io_uring_prep_connect(sqe, s->fd, &s->address.any, s->address.size);
		io_uring_sqe_set_data64(sqe, URING_TAG(s, TAG_CONNECT));
		s->connect_begun = true;
		flew(s);
	}
	if (s->send != NULL && !s->send_begun && !s->connecting) {
		sqe = uring_sqe(u);
		if (sqe == NULL)
			return false;
		prep_send(s, sqe);
	}
	if (wants_receive(s)) {
		sqe = uring_sqe(u);
		if (sqe == NULL)
			return false;
		prep_receive(s, sqe);
	}
	if (wants_cancel(s)) {
		sqe = uring_sqe(u);
		if (sqe == NULL)
			return false;
		io_uring_prep_cancel64(
		        sqe, s->connect_begun ? URING_TAG(s, TAG_CONNECT) : URING_TAG(s, TAG_RECV),
		        0);
		io_uring_sqe_set_data64(sqe, URING_TAG(s, TAG_CANCEL));
		s->canceling = true;
		flew(s);
	}
	return true;
}

static void issue_or_park(struct uring_stream *s)
{
	if (!s->dirty && !issue(s))
		mark_dirty(s);
}

static void send_complete(struct uring_stream *s, enum status status)
{
	struct req *req = s->send;

	assert(req != NULL && s->stream.sending);
	assert(status != STATUS_OK || s->cursor.count == 0); /* all of it was taken */
	s->send = NULL;
	s->send_begun = false;
	s->stream.sending = false;
	req_complete(req, status, s->sent_size);
}

static void uring_stream_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct uring_stream *s = container_of(stream, struct uring_stream, stream);

	assert(s->send == NULL);
	assert(!s->stream.closed && !s->send_begun);
	s->send = req;
	s->sent_size = 0;
	cursor_init(&s->cursor, cmd->iov, cmd->iov_count);
	if (s->cursor.count == 0)
		send_complete(s, STATUS_OK);
	else
		issue_or_park(s);
}

static void uring_stream_pause(struct stream *stream, bool paused)
{
	struct uring_stream *s = container_of(stream, struct uring_stream, stream);

	assert(!s->stream.closed);
	if (s->paused == paused)
		return;
	s->paused = paused;
	if (!paused && (s->held_first != URING_BUFFER_NONE || s->end_held))
		mark_resuming(s);
	issue_or_park(s);
}

static void drop_held(struct uring_stream *s)
{
	while (s->held_first != URING_BUFFER_NONE) {
		uint16_t id = s->held_first;

		s->held_first = s->uring->receive.buffers[id].next;
		buffer_return(&s->uring->receive, id);
	}
}

static void uring_stream_close(struct stream *stream)
{
	struct uring_stream *s = container_of(stream, struct uring_stream, stream);

	assert(s->stream.closed); /* stream_close() has said so */
	drop_held(s);
	if (s->send != NULL && !s->send_begun)
		send_complete(s, STATUS_CANCELED);
	if (s->connect_begun)
		issue_or_park(s);
	else if (s->flying > 0 && shutdown(s->fd, SHUT_RDWR) != 0)
		assert(errno == ENOTCONN); /* the peer broke it: what flies has ended already */
	stream_release(s);
}

static const struct stream_ops uring_stream_ops = {
	.name = "uring",
	.send = uring_stream_send,
	.pause = uring_stream_pause,
	.close = uring_stream_close,
};

static void stream_end(struct uring_stream *s, enum status status)
{
	if (s->stream.closed || s->stream.ended || s->end_held)
		return;
	if (s->paused || s->held_first != URING_BUFFER_NONE) {
		s->end_held = true;
		s->end_status = status;
		return;
	}
	s->stream.ended = true;
	s->stream.handler->ended(&s->stream, status);
}

static void received(struct uring_stream *s, uint16_t id, uint32_t size)
{
	struct uring_buffers *b = &s->uring->receive;

	assert(id < b->count);
	assert(size <= IO_RECEIVE_SIZE);
	assert(b->given > 0);
	b->given--;
	if (size == 0 || s->stream.closed || s->stream.ended || s->end_held) {
		buffer_return(b, id);
		return;
	}
	if (s->paused || s->held_first != URING_BUFFER_NONE) {
		b->buffers[id] = (struct uring_buffer){ URING_BUFFER_NONE, (uint16_t)size };
		if (s->held_first == URING_BUFFER_NONE)
			s->held_first = id;
		else
			b->buffers[s->held_last].next = id;
		s->held_last = id;
		return;
	}
	s->stream.handler->received(&s->stream, bytes_of(buffer_data(b, id), size));
	buffer_return(b, id);
}

/* A receive ended in an error. */
static void receive_failed(struct uring_stream *s, int err)
{
	struct uring *u = s->uring;

	switch (err) {
	case ENOBUFS:
		u->io.stats.receive_starved++;
		if (u->receive.target < u->receive.count)
			u->receive.target *= 2;
		if (!s->stream.closed)
			mark_dirty(s); /* until the turn settles, and a buffer is free */
		break;
	case ECANCELED: /* by a pause */
	case EINTR:
	case EAGAIN:
		break;
	case EINVAL:
		if (u->multishot_recv) {
			u->multishot_recv = false; /* a kernel before 6.0 */
			break;
		}
		/* fallthrough */
	default:
		stream_end(s, STATUS_UNAVAILABLE);
	}
}

static void receive_done(struct uring_stream *s, int res, uint32_t flags)
{
	bool more = (flags & IORING_CQE_F_MORE) != 0;

	assert(s->receiving);
	s->receiving = more;
	if (flags & IORING_CQE_F_BUFFER)
		received(s, (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT),
		         res > 0 ? (uint32_t)res : 0);
	if (res == 0)
		stream_end(s, STATUS_OK);
	else if (res < 0)
		receive_failed(s, -res);
	if (more)
		return;
	landed(s);
	if (!s->stream.closed)
		issue_or_park(s);
}

static void send_done(struct uring_stream *s, int res)
{
	assert(s->send != NULL && s->send_begun);
	landed(s);
	s->send_begun = false;
	if (res > 0) {
		s->sent_size += (size_t)res;
		cursor_advance(&s->cursor, (size_t)res);
		if (s->cursor.count == 0) {
			send_complete(s, STATUS_OK);
			return;
		}
	}
	if (s->stream.closed)
		send_complete(s, STATUS_CANCELED);
	else if (res > 0 || res == -EINTR || res == -EAGAIN)
		issue_or_park(s);
	else
		send_complete(s, STATUS_UNAVAILABLE);
}

static void connect_done(struct uring_stream *s, int res)
{
	assert(s->connecting && s->connect_begun);
	s->connect_begun = false;
	if (!s->stream.closed) {
		s->connecting = false;
		if (res < 0 && s->send != NULL)
			send_complete(s, STATUS_UNAVAILABLE);
		if (res < 0)
			stream_end(s, STATUS_UNAVAILABLE);
		else
			issue_or_park(s);
	}
	landed(s); /* last: a handler that closes it must not give it back twice */
}

void uring_stream_done(struct uring *u, uint64_t data, int res, uint32_t flags)
{
	uint32_t index = (uint32_t)data >> 4;
	struct uring_stream *s = &u->streams[index];

	assert(index < u->stream_count);
	assert(s->generation == (uint32_t)(data >> 32)); /* else: given back while this flew */
	assert(s->flying > 0);
	switch (data & TAG_MASK) {
	case TAG_RECV:
		receive_done(s, res, flags);
		break;
	case TAG_SEND:
		send_done(s, res);
		break;
	case TAG_CONNECT:
		connect_done(s, res);
		break;
	case TAG_CANCEL:
		assert(s->canceling);
		landed(s);
		s->canceling = false;
		issue_or_park(s); /* it may have come too late, or be undone by now */
		break;
	default:
		unreachable();
	}
	if (s->stream.closed)
		stream_release(s);
}

/* Hands over what was held while paused, in order, before anything new. */
static void resume(struct uring_stream *s)
{
	struct uring_buffers *b = &s->uring->receive;

	while (s->held_first != URING_BUFFER_NONE && !s->paused && !s->stream.closed) {
		uint16_t id = s->held_first;

		s->stream.handler->received(&s->stream,
		                            bytes_of(buffer_data(b, id), b->buffers[id].size));
		if (s->stream.closed)
			break; /* all that was held has gone back */
		s->held_first = b->buffers[id].next;
		buffer_return(b, id);
	}
	if (s->held_first == URING_BUFFER_NONE && s->end_held && !s->paused && !s->stream.closed) {
		s->end_held = false;
		stream_end(s, s->end_status);
	}
}

unsigned uring_streams_resume(struct uring *u)
{
	struct uring_stream_list resumed = STAILQ_HEAD_INITIALIZER(resumed);
	struct uring_stream *s;
	unsigned count = 0;

	STAILQ_CONCAT(&resumed, &u->resumed);
	while ((s = STAILQ_FIRST(&resumed)) != NULL) {
		assert(s->resuming);
		STAILQ_REMOVE_HEAD(&resumed, resume_link);
		resume(s);
		s->resuming = false;
		count++;
		if (s->stream.closed)
			stream_release(s);
		else
			issue_or_park(s);
	}
	return count;
}

static void issue_accept(struct uring_listener *l);

void uring_streams_settle(struct uring *u)
{
	struct uring_stream_list dirty = STAILQ_HEAD_INITIALIZER(dirty);
	struct uring_listener *l;
	struct uring_stream *s;

	buffers_publish(&u->receive);
	if (u->listeners_dirty) {
		u->listeners_dirty = false;
		LIST_FOREACH(l, &u->listeners, link)
		issue_accept(l);
	}
	if (STAILQ_EMPTY(&u->dirty))
		return;
	STAILQ_CONCAT(&dirty, &u->dirty);
	while ((s = STAILQ_FIRST(&dirty)) != NULL) {
		assert(s->dirty);
		STAILQ_REMOVE_HEAD(&dirty, link);
		s->dirty = false;
		if (wants_receive(s) && u->receive.given == 0)
			mark_dirty(
			        s); /* paused streams hold all buffers: until one of them is back */
		else if (!issue(s))
			mark_dirty(s);
		if (s->stream.closed)
			stream_release(s);
	}
}

/* Listeners. */

static void issue_accept(struct uring_listener *l)
{
	struct uring *u = l->uring;
	struct io_uring_sqe *sqe;

	if (l->accepting || l->closed || l->retry.armed)
		return;
	sqe = uring_sqe(u);
	if (sqe == NULL) {
		u->listeners_dirty = true;
		return;
	}
	if (u->multishot_accept)
		io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
	else
		io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
	assert(((uintptr_t)l & TAG_MASK) == 0);
	io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)l | TAG_ACCEPT);
	l->accepting = true;
	u->flying++;
}

static void accept_retry(struct timer *timer)
{
	issue_accept(container_of(timer, struct uring_listener, retry));
}

static void accepted(struct uring_listener *l, int fd)
{
	struct uring *u = l->uring;
	struct uring_stream *s = l->closed ? NULL : stream_get(u, fd);

	if (s == NULL) {
		u->io.stats.refused++;
		close(fd);
		return;
	}
	s->stream.ops = &uring_stream_ops;
	net_describe_accepted(&s->stream, fd, l->listener.address);
	u->io.stats.accepted++;
	if (!l->listener.handler->accepted(&l->listener, &s->stream)) {
		u->io.stats.refused++;
		s->stream.closed = true;
		stream_release(s);
		return;
	}
	if (!s->stream.closed)
		issue_or_park(s);
}

static void accept_failed(struct uring_listener *l, int err)
{
	struct uring *u = l->uring;
	struct worker *worker = u->io.transport.worker;

	switch (err) {
	case ECANCELED:
	case EINTR:
	case EAGAIN:
	case ECONNABORTED: /* by the peer, before we came to it */
		return;
	case EINVAL:
		if (u->multishot_accept) {
			u->multishot_accept = false; /* a kernel before 5.19 */
			return;
		}
		break;
	default: /* descriptors or memory ran out: trying at once would spin */
		break;
	}
	u->io.stats.accept_pauses++;
	timer_arm(&worker->timers, &l->retry,
	          worker->now_ns + (uint64_t)IO_ACCEPT_RETRY_MS * 1000000u, accept_retry);
}

static void listener_release(struct uring_listener *l)
{
	if (l->accepting)
		return;
	assert(l->closed && !l->retry.armed);
	close(l->fd);
	LIST_REMOVE(l, link);
	free(l);
}

void uring_accept_done(struct uring *u, struct uring_listener *l, int res, uint32_t flags)
{
	assert(l->accepting);
	if (res >= 0)
		accepted(l, res);
	else if (!l->closed)
		accept_failed(l, -res);
	if (flags & IORING_CQE_F_MORE)
		return;
	assert(u->flying > 0);
	u->flying--;
	l->accepting = false;
	if (l->closed)
		listener_release(l);
	else
		issue_accept(l);
}

static void uring_listener_close(struct listener *listener)
{
	struct uring_listener *l = container_of(listener, struct uring_listener, listener);

	assert(!l->closed);
	l->closed = true;
	timer_cancel(&l->uring->io.transport.worker->timers, &l->retry);
	net_unlisten(l->fd, listener->address); /* ends the accept that flies */
	listener_release(l);
}

static const struct listener_ops uring_listener_ops = {
	.name = "uring",
	.close = uring_listener_close,
};

enum status uring_listen(struct io *io, int fd, struct listener **out)
{
	struct uring_listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return STATUS_NO_SPACE;
	l->listener.ops = &uring_listener_ops;
	l->uring = uring_of(io);
	l->fd = fd;
	net_set_blocking(fd); /* else io_uring reports EAGAIN instead of waiting */
	LIST_INSERT_HEAD(&l->uring->listeners, l, link);
	issue_accept(l);
	*out = &l->listener;
	return STATUS_OK;
}

enum status uring_connect(struct io *io, int fd, const struct net_address *address,
                          struct stream **out)
{
	struct uring_stream *s = stream_get(uring_of(io), fd);

	if (s == NULL)
		return STATUS_BUSY;
	s->stream.ops = &uring_stream_ops;
	s->address = *address;
	s->connecting = true;
	net_set_blocking(fd);
	issue_or_park(s);
	*out = &s->stream;
	return STATUS_OK;
}

enum status uring_streams_open(struct uring *u, const struct io_options *options,
                               char error[static IO_ERROR_SIZE])
{
	struct io_uring_buf_reg reg;
	int r;

	u->streams = calloc(options->connections_max, sizeof(*u->streams));
	if (u->streams == NULL || buffers_open(&u->receive, options->receive_memory) != STATUS_OK) {
		uring_streams_close(u);
		snprintf(error, IO_ERROR_SIZE, "no memory for %u connections",
		         options->connections_max);
		return STATUS_NO_SPACE;
	}
	reg = (struct io_uring_buf_reg){
		.ring_addr = (uintptr_t)u->receive.ring,
		.ring_entries = u->receive.count,
	};
	r = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (r != 0) {
		uring_streams_close(u);
		snprintf(error, IO_ERROR_SIZE, "io_uring has no rings of buffers (before 5.19): %s",
		         strerror(-r));
		return STATUS_UNSUPPORTED;
	}
	io_uring_buf_ring_init(u->receive.ring);
	u->stream_max = options->connections_max;
	u->multishot_recv = !options->refuse_multishot;
	u->multishot_accept = !options->refuse_multishot;
	return STATUS_OK;
}

void uring_streams_close(struct uring *u)
{
	struct uring_listener *l;

	/* Those whose accept never came back: the ring was not run, or its thread has ended. */
	while ((l = LIST_FIRST(&u->listeners)) != NULL) {
		assert(l->closed);
		l->accepting = false;
		listener_release(l);
	}
	buffers_close(&u->receive);
	for (uint32_t i = 0; i < u->stream_count; i++) {
		if (u->streams[i].fd >= 0)
			close(u->streams[i].fd);
	}
	free(u->streams);
}
