/* SPDX-License-Identifier: Apache-2.0 */
/* A server that keeps or echoes what it gets, and clients for it, over the transport under test. */
#ifndef IO_SIDE_H
#define IO_SIDE_H

#include "io_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { ECHO_MAX = 512 << 10, PIECES = 7 };

/* Programs run side by side in one directory, so each names its own socket: SIDE_SOCKET. */
static const char unix_path[] = SIDE_SOCKET;
static const char unix_address[] = "unix:" SIDE_SOCKET;

/* One side of a connection; what came and was not sent back yet is in data[head..tail). */
struct side {
	struct stream *stream;
	struct server *server;
	struct req req;
	struct iovec iov[PIECES];
	uint8_t *data;
	size_t head, tail, sending;
	uint64_t received_size;
	unsigned ends;
	enum status end_status, send_status;
	bool busy, send_done;
};

struct server {
	struct listener *listener;
	struct side *sides;
	unsigned side_max, side_count;
	bool echo, reject, close_on_data, paused;
};

struct side_frame {
	struct frame frame;
	struct side *side;
};

static inline void side_send(struct side *s, unsigned iov_count);

static inline void side_sent(struct req *req)
{
	struct side *s = req_pop(req, struct side_frame)->side;

	s->send_status = req->status;
	s->send_done = true;
	s->busy = false;
	if (s->server == NULL || !s->server->echo || req->status != STATUS_OK)
		return;
	assert_int_equal(req->result, s->sending);
	s->head += s->sending;
	s->sending = 0;
	if (s->head == s->tail) {
		s->head = s->tail = 0;
		if (!s->stream->closed)
			stream_pause(s->stream, false);
		return;
	}
	s->iov[0] = (struct iovec){ s->data + s->head, s->tail - s->head };
	side_send(s, 1);
}

static inline void side_send(struct side *s, unsigned iov_count)
{
	req_init(&s->req, s->stream->worker);
	req_push(&s->req, struct side_frame, side_sent)->side = s;
	s->send_done = false;
	s->busy = true;
	s->sending = 0;
	for (unsigned i = 0; i < iov_count; i++)
		s->sending += s->iov[i].iov_len;
	stream_send(s->stream, &s->req,
	            &(struct stream_cmd){ .iov_count = iov_count, .iov = s->iov });
	assert_false(s->send_done); /* completion never runs inside a submit */
}

static inline void side_received(struct stream *stream, struct bytes data)
{
	struct side *s = stream->owner;

	assert_true(data.size > 0);
	assert_int_equal(s->ends, 0);
	s->received_size += data.size;
	if (s->server->close_on_data) {
		s->stream = NULL;
		stream_close(stream);
		return;
	}
	assert_true(s->tail + data.size <= ECHO_MAX);
	memcpy(s->data + s->tail, data.data, data.size);
	s->tail += data.size;
	if (!s->server->echo)
		return;
	if (s->tail > ECHO_MAX / 4)
		stream_pause(stream, true);
	if (!s->busy) {
		s->iov[0] = (struct iovec){ s->data + s->head, s->tail - s->head };
		side_send(s, 1);
	}
}

static inline void side_ended(struct stream *stream, enum status status)
{
	struct side *s = stream->owner;

	s->ends++;
	s->end_status = status;
}

static const struct stream_handler side_handler = {
	.received = side_received,
	.ended = side_ended,
};

static inline bool server_accepted(struct listener *listener, struct stream *stream)
{
	struct server *server = listener->owner;
	struct side *s = &server->sides[server->side_count];

	if (server->reject)
		return false;
	assert_true(server->side_count < server->side_max);
	server->side_count++;
	stream->handler = &side_handler;
	stream->owner = s;
	s->stream = stream;
	s->server = server;
	s->data = malloc(ECHO_MAX);
	if (server->paused)
		stream_pause(stream, true);
	return true;
}

static const struct listener_handler server_handler = { .accepted = server_accepted };

static inline enum status server_try(struct server *server, struct fixture *f, const char *address,
                                     enum io_share share)
{
	struct io_listen_options options = {
		.address = address,
		.handler = &server_handler,
		.owner = server,
		.share = share,
	};
	char error[IO_ERROR_SIZE] = "";
	enum status status = io_listen(f->io, &options, &server->listener, error);

	assert_true((status == STATUS_OK) == (error[0] == '\0'));
	return status;
}

static inline void server_open(struct server *server, struct fixture *f, const char *address,
                               unsigned side_max)
{
	*server = (struct server){ .side_max = side_max };
	server->sides = calloc(side_max, sizeof(*server->sides));
	assert_int_equal(server_try(server, f, address, IO_SHARE_NONE), STATUS_OK);
}

static inline void server_close(struct server *server)
{
	server->listener->ops->close(server->listener);
	for (unsigned i = 0; i < server->side_count; i++) {
		if (server->sides[i].stream != NULL)
			stream_close(server->sides[i].stream);
		free(server->sides[i].data);
	}
	free(server->sides);
}

/* A client of the test's own: a plain non-blocking socket. */
static inline int client_open(const char *address)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET };
	const char *colon = strrchr(address, ':');
	bool local = strncmp(address, "unix:", 5) == 0;
	int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0), r;

	assert_true(fd >= 0);
	strncpy(un.sun_path, unix_path, sizeof(un.sun_path) - 1);
	in.sin_port = htons((uint16_t)atoi(colon + 1));
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = local ? connect(fd, (struct sockaddr *)&un, sizeof(un))
	          : connect(fd, (struct sockaddr *)&in, sizeof(in));
	assert_int_equal(r, 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 131 + (offset >> 8) * 17 + (offset >> 16));
}

/* Bytes read so far by client_read(), -1 after the end. */
static inline bool client_read(int fd, uint64_t *size)
{
	uint8_t data[8192];
	ssize_t r = recv(fd, data, sizeof(data), 0);

	if (r <= 0)
		return r == 0;
	for (ssize_t i = 0; i < r; i++)
		assert_int_equal(data[i], pattern(*size + (uint64_t)i));
	*size += (uint64_t)r;
	return false;
}

/* For both sides of many connections; false: not allowed to. */
static inline bool raise_descriptors(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return false;
	if (files.rlim_cur >= 2048)
		return true;
	files.rlim_cur = files.rlim_max < 2048 ? files.rlim_max : 2048;
	return setrlimit(RLIMIT_NOFILE, &files) == 0;
}

#endif
