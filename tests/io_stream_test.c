/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes over TCP and unix streams: the same tests over every transport. */
#define SIDE_SOCKET "io_stream_test.sock"
#include "io_side.h"

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

static void closing_ended(struct stream *stream, enum status status)
{
	struct side *s = stream->owner;

	s->end_status = status;
	s->ends++;
	stream_close(stream);
}

static void nothing_received(struct stream *stream, struct bytes data)
{
	(void)stream;
	(void)data;
	fail();
}

/* Of a connect that is refused: it goes back to the pool once. */
static void test_close_inside_ended(void **state)
{
	static const struct stream_handler handler = { .received = nothing_received,
		                                       .ended = closing_ended };
	struct fixture f;
	struct side sides[3] = { 0 };
	struct io_connect_options options = { .address = "127.0.0.1:1", .handler = &handler };
	char error[IO_ERROR_SIZE];

	(void)state;
	fixture_open(&f, &(struct io_options){ .connections_max = 2 });
	options.owner = &sides[0];
	assert_int_equal(io_connect(f.io, &options, &sides[0].stream, error), STATUS_OK);
	RUN_UNTIL(&f, sides[0].ends == 1);
	fixture_idle(&f, 5);
	options.handler = &handler;
	for (unsigned i = 1; i < 3; i++) {
		options.owner = &sides[i];
		assert_int_equal(io_connect(f.io, &options, &sides[i].stream, error), STATUS_OK);
	}
	assert_ptr_not_equal(sides[1].stream, sides[2].stream);
	RUN_UNTIL(&f, sides[1].ends == 1 && sides[2].ends == 1);
	assert_int_equal(sides[2].end_status, STATUS_UNAVAILABLE);
	fixture_idle(&f, 5);
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
		cmocka_unit_test(test_close_inside_ended),
	};

	if (!raise_descriptors())
		return 77;
	return run_all_kinds(tests, array_count(tests));
}
