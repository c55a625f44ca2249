/* SPDX-License-Identifier: Apache-2.0 */
/* Listening, connecting and their limits: the same tests over every transport. */
#define SIDE_SOCKET "io_listen_test.sock"
#include "io_side.h"

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
		cmocka_unit_test(test_connections_max),
		cmocka_unit_test(test_descriptors_run_out),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_addresses_in_use),
		cmocka_unit_test(test_stale_unix_socket),
		cmocka_unit_test(test_accepted_sockets_do_not_delay),
	};

	if (!raise_descriptors())
		return 77;
	return run_all_kinds(tests, array_count(tests));
}
