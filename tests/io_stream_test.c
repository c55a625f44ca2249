/* SPDX-License-Identifier: Apache-2.0 */
/* TCP and unix streams: the same tests over every transport. */
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

static const char unix_path[] = "io_stream_test.sock";
static const char unix_address[] = "unix:io_stream_test.sock";

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

static void side_send(struct side *s, unsigned iov_count);

static void side_sent(struct req *req)
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

static void side_send(struct side *s, unsigned iov_count)
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

static void side_received(struct stream *stream, struct bytes data)
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

static void side_ended(struct stream *stream, enum status status)
{
	struct side *s = stream->owner;

	s->ends++;
	s->end_status = status;
}

static const struct stream_handler side_handler = {
	.received = side_received,
	.ended = side_ended,
};

static bool server_accepted(struct listener *listener, struct stream *stream)
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

static enum status server_try(struct server *server, struct fixture *f, const char *address,
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

static void server_open(struct server *server, struct fixture *f, const char *address,
                        unsigned side_max)
{
	*server = (struct server){ .side_max = side_max };
	server->sides = calloc(side_max, sizeof(*server->sides));
	assert_int_equal(server_try(server, f, address, IO_SHARE_NONE), STATUS_OK);
}

static void server_close(struct server *server)
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
static int client_open(const char *address)
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

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 131 + (offset >> 8) * 17 + (offset >> 16));
}

/* Bytes read so far by client_read(), -1 after the end. */
static bool client_read(int fd, uint64_t *size)
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

static void echo_odd_pieces(const char *address, const struct io_options *io_options)
{
	enum { TOTAL = 1 << 20 };
	struct server server, unused = { 0 };
	struct side client = { .server = &unused };
	struct io_connect_options options = { .handler = &side_handler, .owner = &client };
	uint8_t *out = malloc(TOTAL);
	char error[IO_ERROR_SIZE];
	size_t sent = 0, checked = 0, step = 1;
	struct fixture f;

	for (size_t i = 0; i < TOTAL; i++)
		out[i] = pattern(i);
	fixture_open(&f, io_options);
	server_open(&server, &f, address, 1);
	server.echo = true;
	options.address = server.listener->address;
	client.data = malloc(ECHO_MAX);
	assert_int_equal(io_connect(f.io, &options, &client.stream, error), STATUS_OK);
	client.send_done = true;
	while (checked < TOTAL) {
		RUN_UNTIL(&f, client.tail > 0 || (client.send_done && sent < TOTAL));
		assert_memory_equal(client.data, out + checked, client.tail);
		checked += client.tail;
		client.tail = 0;
		if (client.send_done && sent < TOTAL) {
			for (unsigned i = 0; i < PIECES; i++) {
				step = (step * 7 + 3) % 9973;
				if (step > TOTAL - sent)
					step = TOTAL - sent;
				client.iov[i] = (struct iovec){ out + sent, step };
				sent += step;
			}
			side_send(&client, PIECES);
		}
	}
	assert_int_equal(client.received_size, TOTAL);
	assert_true(server.sides[0].stream->local);
	RUN_UNTIL(&f, client.send_done);
	stream_close(client.stream);
	RUN_UNTIL(&f, server.sides[0].ends == 1);
	assert_int_equal(server.sides[0].end_status, STATUS_OK);
	server_close(&server);
	fixture_close(&f);
	free(client.data);
	free(out);
}

static void test_echo_odd_pieces(void **state)
{
	(void)state;
	echo_odd_pieces("127.0.0.1:0", &(struct io_options){ 0 });
	echo_odd_pieces("[::1]:0", &(struct io_options){ 0 });
	echo_odd_pieces(unix_address, &(struct io_options){ 0 });
	echo_odd_pieces("127.0.0.1:0", &(struct io_options){ .queue_depth = 2 });
	echo_odd_pieces("127.0.0.1:0", &(struct io_options){ .sqpoll = true });
	echo_odd_pieces("127.0.0.1:0", &(struct io_options){ .refuse_multishot = true });
}

static void test_pipelined(void **state)
{
	enum { MESSAGES = 1000, SIZE = 64 };
	uint8_t message[SIZE];
	uint64_t size = 0;
	struct server server;
	struct fixture f;
	int fd;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&server, &f, "127.0.0.1:0", 1);
	server.echo = true;
	fd = client_open(server.listener->address);
	for (uint64_t m = 0; m < MESSAGES; m++) {
		for (uint64_t i = 0; i < SIZE; i++)
			message[i] = pattern(m * SIZE + i);
		assert_int_equal(send(fd, message, SIZE, 0), SIZE);
		if (m % 50 == 0)
			fixture_step(&f);
	}
	RUN_UNTIL(&f, (client_read(fd, &size), size == MESSAGES * SIZE));
	close(fd);
	server_close(&server);
	fixture_close(&f);
}

/* The client's end is told once; what the server then says still arrives. */
static void test_half_close(void **state)
{
	uint64_t size = 0;
	uint8_t reply[5000];
	struct server server;
	struct fixture f;
	struct side *s;
	int fd;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&server, &f, "127.0.0.1:0", 1);
	fd = client_open(server.listener->address);
	assert_int_equal(send(fd, "question", 8, 0), 8);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	RUN_UNTIL(&f, server.side_count == 1 && server.sides[0].ends == 1);
	s = &server.sides[0];
	assert_int_equal(s->end_status, STATUS_OK);
	assert_int_equal(s->received_size, 8);
	for (size_t i = 0; i < sizeof(reply); i++)
		reply[i] = pattern(i);
	s->iov[0] = (struct iovec){ reply, sizeof(reply) };
	side_send(s, 1);
	RUN_UNTIL(&f, s->send_done);
	assert_int_equal(s->send_status, STATUS_OK);
	stream_close(s->stream);
	s->stream = NULL;
	RUN_UNTIL(&f, client_read(fd, &size));
	assert_int_equal(size, sizeof(reply));
	assert_int_equal(s->ends, 1);
	close(fd);
	server_close(&server);
	fixture_close(&f);
}

static void test_reset_by_peer(void **state)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	struct server server;
	struct fixture f;
	struct side *s;
	int fd;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&server, &f, "127.0.0.1:0", 1);
	fd = client_open(server.listener->address);
	RUN_UNTIL(&f, server.side_count == 1);
	fixture_idle(&f, 5);
	s = &server.sides[0];
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
	RUN_UNTIL(&f, s->ends == 1);
	assert_int_equal(s->end_status, STATUS_UNAVAILABLE);
	s->iov[0] = (struct iovec){ (void *)(uintptr_t) "late", 4 };
	side_send(s, 1);
	RUN_UNTIL(&f, s->send_done);
	assert_int_equal(s->send_status, STATUS_UNAVAILABLE);
	assert_int_equal(s->ends, 1);
	server_close(&server);
	fixture_close(&f);
}

/* Paused, nothing is handed over and the peer is held back; then all comes, and the end last. */
static void pause_holds_back(const char *address, bool from_the_start, bool multishot)
{
	uint8_t data[4096];
	uint64_t sent = 0, checked = 0;
	struct server server;
	struct fixture f;
	struct side *s;
	ssize_t r;
	int fd;

	fixture_open(&f, &(struct io_options){
	                         .receive_memory = 256 << 10,
	                         .refuse_multishot = !multishot,
	                 });
	server_open(&server, &f, address, 1);
	server.paused = from_the_start;
	fd = client_open(server.listener->address);
	RUN_UNTIL(&f, server.side_count == 1);
	s = &server.sides[0];
	if (!from_the_start) {
		data[0] = pattern(0);
		assert_int_equal(send(fd, data, 1, 0), 1);
		sent = 1;
		RUN_UNTIL(&f, s->received_size == 1);
		stream_pause(s->stream, true);
	}
	for (unsigned blocked = 0; blocked < 20;) {
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = pattern(sent + i);
		r = send(fd, data, sizeof(data), 0);
		blocked = r < 0 ? blocked + 1 : 0;
		sent += r < 0 ? 0 : (uint64_t)r;
		assert_true(sent < 256 << 20); /* else: never held back */
		fixture_idle(&f, r < 0 ? 2 : 0);
	}
	assert_int_equal(s->received_size, from_the_start ? 0 : 1);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	fixture_idle(&f, 5);
	assert_int_equal(s->ends, 0);
	stream_pause(s->stream, false);
	stream_pause(s->stream, true); /* a change of mind loses nothing */
	fixture_step(&f);
	stream_pause(s->stream, false);
	while (checked < sent) {
		RUN_UNTIL(&f, s->tail > ECHO_MAX / 4 || s->received_size == sent);
		if (s->tail > ECHO_MAX / 4 && s->received_size < sent)
			stream_pause(s->stream, true);
		for (size_t i = 0; i < s->tail; i++)
			assert_int_equal(s->data[i], pattern(checked + i));
		checked += s->tail;
		s->tail = 0;
		stream_pause(s->stream, false);
	}
	RUN_UNTIL(&f, s->ends == 1);
	assert_int_equal(s->end_status, STATUS_OK);
	close(fd);
	server_close(&server);
	fixture_close(&f);
}

static void test_pause(void **state)
{
	(void)state;
	pause_holds_back("127.0.0.1:0", false, true);
	pause_holds_back("127.0.0.1:0", true, true);
	pause_holds_back("127.0.0.1:0", false, false);
	pause_holds_back(unix_address, false, true);
}

/* A paused stream may hold every receive buffer; others then wait, and go on. */
static void test_buffers_run_out(void **state)
{
	struct server server;
	struct fixture f;
	uint8_t data[8192];
	uint64_t total = 0, size = 0;
	int fd[2];

	(void)state;
	fixture_open(&f, &(struct io_options){ .receive_memory = 32 << 10 });
	server_open(&server, &f, "127.0.0.1:0", 2);
	fd[0] = client_open(server.listener->address);
	RUN_UNTIL(&f, server.side_count == 1);
	fd[1] = client_open(server.listener->address);
	RUN_UNTIL(&f, server.side_count == 2);
	fixture_idle(&f, 5);
	stream_pause(server.sides[0].stream, true); /* its receive still flies in this turn */
	for (unsigned i = 0; i < 16; i++) {
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = pattern(total + k);
		assert_int_equal(send(fd[0], data, sizeof(data), 0), sizeof(data));
		assert_int_equal(send(fd[1], data, sizeof(data), 0), sizeof(data));
		total += sizeof(data);
		fixture_idle(&f, 1);
	}
	assert_int_equal(server.sides[0].received_size, 0);
	stream_pause(server.sides[0].stream, false);
	RUN_UNTIL(&f, server.sides[0].received_size == total);
	RUN_UNTIL(&f, server.sides[1].received_size == total);
	for (size = 0; size < total; size++) {
		assert_int_equal(server.sides[0].data[size], pattern(size));
		assert_int_equal(server.sides[1].data[size], pattern(size));
	}
	close(fd[0]);
	close(fd[1]);
	server_close(&server);
	fixture_close(&f);
}

static void test_500_connections(void **state)
{
	enum { COUNT = 500, SIZE = 100 };
	static struct side clients[COUNT];
	struct server server, unused = { 0 };
	uint8_t out[SIZE];
	struct fixture f;

	(void)state;
	memset(clients, 0, sizeof(clients));
	fixture_open(&f, &(struct io_options){ .connections_max = 2 * COUNT });
	server_open(&server, &f, "127.0.0.1:0", COUNT);
	server.echo = true;
	for (size_t i = 0; i < SIZE; i++)
		out[i] = pattern(i);
	for (unsigned i = 0; i < COUNT; i++) {
		struct io_connect_options options = {
			.address = server.listener->address,
			.handler = &side_handler,
			.owner = &clients[i],
		};
		char error[IO_ERROR_SIZE];

		clients[i].server = &unused;
		clients[i].data = malloc(ECHO_MAX);
		assert_int_equal(io_connect(f.io, &options, &clients[i].stream, error), STATUS_OK);
		clients[i].iov[0] = (struct iovec){ out, SIZE };
		side_send(&clients[i], 1);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		RUN_UNTIL(&f, clients[i].received_size == SIZE && clients[i].send_done);
		assert_int_equal(clients[i].send_status, STATUS_OK);
		assert_memory_equal(clients[i].data, out, SIZE);
	}
	assert_int_equal(server.side_count, COUNT);
	assert_int_equal(f.io->stats.accepted, COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		stream_close(clients[i].stream);
		free(clients[i].data);
	}
	for (unsigned i = 0; i < COUNT; i++)
		RUN_UNTIL(&f, server.sides[i].ends == 1);
	server_close(&server);
	fixture_close(&f);
}

/* The request completes before its memory may go, and nothing is told after the close. */
static void test_close_with_send_in_flight(void **state)
{
	enum { SIZE = 64 << 20 };
	uint8_t *out = calloc(1, SIZE);
	struct server server;
	struct fixture f;
	struct side *s;
	int fd;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&server, &f, "127.0.0.1:0", 1);
	fd = client_open(server.listener->address);
	RUN_UNTIL(&f, server.side_count == 1);
	s = &server.sides[0];
	s->iov[0] = (struct iovec){ out, SIZE };
	side_send(s, 1);
	fixture_idle(&f, 10);
	assert_false(s->send_done);
	stream_close(s->stream);
	s->stream = NULL;
	assert_int_equal(send(fd, "late", 4, MSG_NOSIGNAL), 4);
	RUN_UNTIL(&f, s->send_done);
	assert_int_equal(s->send_status, STATUS_CANCELED);
	free(out);
	fixture_idle(&f, 5);
	assert_int_equal(s->received_size, 0);
	assert_int_equal(s->ends, 0);
	close(fd);
	server_close(&server);
	fixture_close(&f);
}

static void test_close_inside_received(void **state)
{
	enum { ROUNDS = 50 };
	struct server server;
	struct fixture f;
	uint64_t size = 0;

	(void)state;
	fixture_open(&f, &(struct io_options){ .connections_max = 2 });
	server_open(&server, &f, "127.0.0.1:0", ROUNDS);
	server.close_on_data = true;
	for (unsigned i = 0; i < ROUNDS; i++) {
		int fd = client_open(server.listener->address);
		char byte;

		assert_int_equal(send(fd, "x", 1, 0), 1);
		RUN_UNTIL(&f, recv(fd, &byte, 1, 0) == 0);
		assert_int_equal(server.side_count, i + 1);
		close(fd);
	}
	(void)size;
	server_close(&server);
	fixture_close(&f);
}

static void test_connections_max(void **state)
{
	enum { MAX = 3, COUNT = 5 };
	struct server server;
	struct fixture f;
	int fd[COUNT];
	char byte;

	(void)state;
	fixture_open(&f, &(struct io_options){ .connections_max = MAX });
	server_open(&server, &f, "127.0.0.1:0", COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		fd[i] = client_open(server.listener->address);
		RUN_UNTIL(&f, f.io->stats.accepted + f.io->stats.refused == i + 1);
	}
	assert_int_equal(server.side_count, MAX);
	assert_int_equal(f.io->stats.refused, COUNT - MAX);
	assert_int_equal(recv(fd[COUNT - 1], &byte, 1, 0), 0);
	assert_int_equal(recv(fd[0], &byte, 1, 0), -1);
	close(fd[0]);
	RUN_UNTIL(&f, server.sides[0].ends == 1);
	stream_close(server.sides[0].stream);
	server.sides[0].stream = NULL;
	fixture_idle(&f, 5);
	close(fd[1]);
	fd[1] = client_open(server.listener->address);
	RUN_UNTIL(&f, server.side_count == MAX + 1);
	server.reject = true;
	RUN_UNTIL(&f, server.sides[1].ends == 1);
	stream_close(server.sides[1].stream);
	server.sides[1].stream = NULL;
	fixture_idle(&f, 5);
	fd[0] = client_open(server.listener->address);
	RUN_UNTIL(&f, recv(fd[0], &byte, 1, 0) == 0);
	assert_int_equal(server.side_count, MAX + 1);
	for (unsigned i = 0; i < COUNT; i++)
		close(fd[i]);
	server_close(&server);
	fixture_close(&f);
}

/* Out of descriptors: what waits is accepted later, and the worker does not spin meanwhile. */
static void test_descriptors_run_out(void **state)
{
	struct rlimit old, low;
	struct server server;
	struct fixture f;
	uint64_t enters;
	int fd, extra;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&server, &f, "127.0.0.1:0", 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	fd = client_open(server.listener->address);
	extra = dup(fd);
	low = (struct rlimit){ (rlim_t)extra, old.rlim_max };
	close(extra);
	/* Every number below the limit is taken but one, which the probe for it takes. */
	extra = dup(fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	RUN_UNTIL(&f, f.io->stats.accept_pauses > 0 || server.side_count > 0);
	if (server.side_count == 0) {
		enters = f.io->stats.enters;
		for (unsigned i = 0; i < 4; i++) {
			struct transport *t = &f.io->transport;

			worker_turn(&f.worker);
			t->ops->sleep(t, f.worker.now_ns + 20 * 1000000u);
		}
		assert_true(f.io->stats.enters - enters < 20);
		assert_int_equal(server.side_count, 0);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	RUN_UNTIL(&f, server.side_count == 1);
	assert_true(f.io->stats.accept_pauses > 0);
	close(extra);
	close(fd);
	server_close(&server);
	fixture_close(&f);
}

static void test_connect_refused(void **state)
{
	struct server server, unused = { 0 };
	struct side client = { .server = &unused };
	struct io_connect_options options = { .handler = &side_handler, .owner = &client };
	char address[128], error[IO_ERROR_SIZE];
	struct fixture f;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&server, &f, "127.0.0.1:0", 1);
	snprintf(address, sizeof(address), "%s", server.listener->address);
	server_close(&server);
	fixture_idle(&f, 5);
	options.address = address;
	assert_int_equal(io_connect(f.io, &options, &client.stream, error), STATUS_OK);
	client.iov[0] = (struct iovec){ address, 10 };
	side_send(&client, 1);
	RUN_UNTIL(&f, client.ends == 1 && client.send_done);
	assert_int_equal(client.end_status, STATUS_UNAVAILABLE);
	assert_int_equal(client.send_status, STATUS_UNAVAILABLE);
	stream_close(client.stream);
	options.address = "example.org:80";
	assert_int_equal(io_connect(f.io, &options, &client.stream, error), STATUS_INVALID);
	/* Closed before the answer, which never comes: a documentation address. */
	options.address = "192.0.2.1:9";
	client = (struct side){ .server = &unused };
	assert_int_equal(io_connect(f.io, &options, &client.stream, error), STATUS_OK);
	fixture_idle(&f, 2);
	stream_close(client.stream);
	fixture_idle(&f, 2);
	assert_true(client.ends <= 1);
	fixture_close(&f);
}

static void test_addresses_in_use(void **state)
{
	struct server a, b = { 0 };
	struct fixture f;
	struct stat st;
	int fd, one = 1;
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t size = sizeof(in);
	char address[64];

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&a, &f, "127.0.0.1:0", 1);
	assert_int_equal(server_try(&b, &f, a.listener->address, IO_SHARE_NONE), STATUS_EXISTS);
	assert_int_equal(server_try(&b, &f, a.listener->address, IO_SHARE_FIRST), STATUS_EXISTS);
	server_close(&a);
	assert_int_equal(server_try(&a, &f, "127.0.0.1:0", IO_SHARE_FIRST), STATUS_OK);
	assert_int_equal(server_try(&b, &f, a.listener->address, IO_SHARE_NEXT), STATUS_OK);
	a.listener->ops->close(a.listener);
	b.listener->ops->close(b.listener);
	/* Somebody else who shares his port with everybody is seen, too. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
	snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(in.sin_port));
	assert_int_equal(server_try(&b, &f, address, IO_SHARE_FIRST), STATUS_EXISTS);
	close(fd);
	assert_int_equal(server_try(&b, &f, "127.0.0.1", IO_SHARE_NONE), STATUS_INVALID);
	assert_int_equal(server_try(&b, &f, "127.0.0.1:65536", IO_SHARE_NONE), STATUS_INVALID);
	assert_int_equal(server_try(&b, &f, "192.0.2.1:80", IO_SHARE_NONE), STATUS_UNAVAILABLE);
	/* A unix socket: in use, then left behind, then gone with its listener. */
	server_open(&a, &f, unix_address, 1);
	assert_int_equal(server_try(&b, &f, unix_address, IO_SHARE_NONE), STATUS_EXISTS);
	server_close(&a);
	assert_int_equal(stat(unix_path, &st), -1);
	fixture_close(&f);
}

static void test_stale_unix_socket(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct server server = { 0 };
	struct fixture f;
	FILE *file;
	int fd;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	strncpy(un.sun_path, unix_path, sizeof(un.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	server_open(&server, &f, unix_address, 1);
	fd = client_open(unix_address);
	RUN_UNTIL(&f, server.side_count == 1);
	close(fd);
	server_close(&server);
	/* What is no socket is not ours to remove. */
	file = fopen(unix_path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(server_try(&server, &f, unix_address, IO_SHARE_NONE), STATUS_EXISTS);
	assert_int_equal(unlink(unix_path), 0);
	fixture_close(&f);
}

/* Without it, a reply in two pieces waits for the peer's delayed acknowledgement. */
static void test_accepted_sockets_do_not_delay(void **state)
{
	struct sockaddr_in mine, peer;
	socklen_t size = sizeof(mine);
	struct server server;
	struct fixture f;
	unsigned found = 0;
	int fd;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	server_open(&server, &f, "127.0.0.1:0", 1);
	fd = client_open(server.listener->address);
	RUN_UNTIL(&f, server.side_count == 1);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&mine, &size), 0);
	for (int other = 3; other < 1024; other++) {
		int nodelay = 0;
		socklen_t option_size = sizeof(nodelay);

		size = sizeof(peer);
		if (other == fd || getpeername(other, (struct sockaddr *)&peer, &size) != 0 ||
		    peer.sin_port != mine.sin_port)
			continue;
		assert_int_equal(
		        getsockopt(other, IPPROTO_TCP, TCP_NODELAY, &nodelay, &option_size), 0);
		assert_int_equal(nodelay, 1);
		found++;
	}
	assert_int_equal(found, 1);
	close(fd);
	server_close(&server);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo_odd_pieces),
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_reset_by_peer),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_buffers_run_out),
		cmocka_unit_test(test_500_connections),
		cmocka_unit_test(test_close_with_send_in_flight),
		cmocka_unit_test(test_close_inside_received),
		cmocka_unit_test(test_connections_max),
		cmocka_unit_test(test_descriptors_run_out),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_addresses_in_use),
		cmocka_unit_test(test_stale_unix_socket),
		cmocka_unit_test(test_accepted_sockets_do_not_delay),
	};
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 2048) {
		files.rlim_cur = files.rlim_max < 2048 ? files.rlim_max : 2048;
		if (setrlimit(RLIMIT_NOFILE, &files) != 0)
			return 77;
	}
	return run_all_kinds(tests, array_count(tests));
}
