/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under every networked figure: a server that does nothing. For each `-q` bytes that a
 * connection sends it gets `-r` bytes back, with io_uring as the server uses it (multishot accept
 * and receive into provided buffers, all replies of a turn in one send per connection). What a
 * database spends above this is its own.
 */
#include "bench.h"

#include <liburing.h>
#include <signal.h>
#include <stdbool.h>

enum {
	RING_ENTRIES = 2048,
	COMPLETIONS = 8192,
	BUFFERS = 1024,
	BUFFER_SIZE = 16384,
	SEND_SIZE_MAX = 1 << 20,
	FDS_MAX = 65536,
};

enum what { ACCEPT, RECEIVE, SEND };

struct connection {
	uint64_t partial; /* bytes of a request that is not whole yet */
	uint64_t owed;    /* bytes to send */
	bool sending;
};

static struct connection connections[FDS_MAX];
static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static uint8_t *buffers, *answer;
static uint64_t request_size = 64, reply_size = 64, request_count, enter_count;
static volatile sig_atomic_t stopping;

static void stop(int signal)
{
	(void)signal;
	stopping = 1;
}

static struct io_uring_sqe *next_entry(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (sqe == NULL) {
		io_uring_submit(&ring);
		sqe = io_uring_get_sqe(&ring);
	}
	if (sqe == NULL)
		die("a full submission queue");
	return sqe;
}

static uint64_t tag(enum what what, int fd)
{
	return (uint64_t)what << 32 | (uint32_t)fd;
}

static void accept_next(int listener)
{
	struct io_uring_sqe *sqe = next_entry();

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, 0);
	sqe->user_data = tag(ACCEPT, listener);
}

static void receive_next(int fd)
{
	struct io_uring_sqe *sqe = next_entry();

	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 0;
	sqe->user_data = tag(RECEIVE, fd);
}

static void send_owed(int fd)
{
	struct connection *c = &connections[fd];
	struct io_uring_sqe *sqe;

	if (c->sending || c->owed == 0)
		return;
	sqe = next_entry();
	io_uring_prep_send(sqe, fd, answer, c->owed < SEND_SIZE_MAX ? c->owed : SEND_SIZE_MAX,
	                   MSG_WAITALL | MSG_NOSIGNAL);
	sqe->user_data = tag(SEND, fd);
	c->sending = true;
}

static void received(int fd, uint32_t size)
{
	struct connection *c = &connections[fd];
	uint64_t total = c->partial + size;

	c->partial = total % request_size;
	c->owed += total / request_size * reply_size;
	request_count += total / request_size;
	send_owed(fd);
}

/* Returns how many buffers went back to the ring. */
static int complete(const struct io_uring_cqe *cqe, int returned)
{
	enum what what = (enum what)(cqe->user_data >> 32);
	int fd = (int)(cqe->user_data & UINT32_MAX), mask = io_uring_buf_ring_mask(BUFFERS);
	bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;

	if (what == ACCEPT) {
		if (cqe->res >= 0 && cqe->res < FDS_MAX) {
			no_delay(cqe->res);
			connections[cqe->res] = (struct connection){ 0 };
			receive_next(cqe->res);
		}
		if (!more)
			accept_next(fd);
		return 0;
	}
	if (what == SEND) {
		connections[fd].sending = false;
		if (cqe->res > 0) {
			connections[fd].owed -= (uint64_t)cqe->res;
			send_owed(fd);
		}
		return 0;
	}
	if (cqe->res > 0)
		received(fd, (uint32_t)cqe->res);
	if (!more) {
		if (cqe->res > 0 || cqe->res == -ENOBUFS)
			receive_next(fd);
		else
			close(fd);
	}
	if ((cqe->flags & IORING_CQE_F_BUFFER) == 0)
		return 0;
	unsigned short id = (unsigned short)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);

	io_uring_buf_ring_add(buffer_ring, buffers + (size_t)id * BUFFER_SIZE, BUFFER_SIZE, id,
	                      mask, returned);
	return 1;
}

static void open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
		         IORING_SETUP_COOP_TASKRUN,
		.cq_entries = COMPLETIONS,
	};
	struct io_uring_buf_reg reg = { .ring_entries = BUFFERS };
	int rc = io_uring_queue_init_params(RING_ENTRIES, &ring, &params);

	errno = -rc;
	if (rc != 0)
		die("io_uring");
	if (posix_memalign((void **)&buffer_ring, 4096, BUFFERS * sizeof(struct io_uring_buf)) ||
	    posix_memalign((void **)&buffers, 4096, (size_t)BUFFERS * BUFFER_SIZE) ||
	    posix_memalign((void **)&answer, 4096, SEND_SIZE_MAX))
		die("memory");
	memset(answer, 'x', SEND_SIZE_MAX);
	memset(buffers, 0, (size_t)BUFFERS * BUFFER_SIZE);
	reg.ring_addr = (uint64_t)(uintptr_t)buffer_ring;
	rc = io_uring_register_buf_ring(&ring, &reg, 0);
	errno = -rc;
	if (rc != 0)
		die("provided buffers");
	io_uring_buf_ring_init(buffer_ring);
	for (unsigned short i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(buffer_ring, buffers + (size_t)i * BUFFER_SIZE, BUFFER_SIZE,
		                      i, io_uring_buf_ring_mask(BUFFERS), i);
	io_uring_buf_ring_advance(buffer_ring, BUFFERS);
	io_uring_register_ring_fd(&ring);
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in address = loopback(port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 512) != 0)
		die("listen on port %u", port);
	return fd;
}

static void serve(void)
{
	while (!stopping) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		int returned = 0, rc = io_uring_submit_and_wait(&ring, 1);

		if (rc == -EINTR)
			continue;
		enter_count++;
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			returned += complete(cqe, returned);
			seen++;
		}
		io_uring_buf_ring_advance(buffer_ring, returned);
		io_uring_cq_advance(&ring, seen);
	}
}

int main(int argc, char **argv)
{
	uint16_t port = 7001;
	int letter, cpu = -1;

	while ((letter = getopt(argc, argv, "p:c:q:r:")) != -1) {
		uint64_t value = letter == '?' ? 0 : number_of((char)letter, optarg);

		if (value > SEND_SIZE_MAX || (value == 0 && letter != 'c')) {
			fprintf(stderr, "echo_floor [-p port] [-c cpu] [-q request bytes] "
			                "[-r reply bytes]\n");
			return 2;
		}
		if (letter == 'p')
			port = (uint16_t)value;
		else if (letter == 'c')
			cpu = (int)value;
		else if (letter == 'q')
			request_size = value;
		else
			reply_size = value;
	}
	pin(cpu);
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	open_ring();
	accept_next(listen_on(port));
	serve();
	printf("{\"requests\": %llu, \"requests_per_enter\": %.2f}\n",
	       (unsigned long long)request_count,
	       (double)request_count / (double)(enter_count > 0 ? enter_count : 1));
	return 0;
}
