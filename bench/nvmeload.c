/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load of NVMe/TCP: random reads of 4 KiB. It connects as a host does, with SQ flow control
 * disabled, so that an answer is data alone: then 72 bytes go and 4,120 come, which is what it also
 * does to a server that only echoes that shape (-x). One line of JSON.
 *
 *   nvmeload -p PORT [-c CONNECTIONS] [-q DEPTH] [-d MILLISECONDS] [-n NQN] [-x]
 */
#include "bench.h"

#include <poll.h>
#include <stdbool.h>

#include "base/prng.h"
#include "wire/nvme_tcp.h"

enum {
	CONNECTIONS_MAX = 64,
	DEPTH_MAX = 127,
	BLOCK_SIZE = 4096,
	REPLY_SIZE = 24 + BLOCK_SIZE,
	RECEIVE_SIZE = 1 << 20,
	ENTRIES = 128,
};

struct connection {
	int fd;
	uint64_t received;
	uint16_t cid;
};

static struct connection connections[CONNECTIONS_MAX];
static struct pollfd polls[CONNECTIONS_MAX];
static uint8_t buffer[RECEIVE_SIZE];
static struct prng prng;
static uint64_t blocks = 1;
static const char *nqn = "nqn.2026-01.weir:ram";
static const struct nvme_tcp_link before = { .host = true };
static const struct nvme_tcp_link after = { .host = true, .ready = true };

static void send_all(int fd, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t done = send(fd, at, size, MSG_NOSIGNAL);

		if (done <= 0)
			die("send");
		at += done;
		size -= (size_t)done;
	}
}

static void receive_all(int fd, void *data, size_t size)
{
	uint8_t *at = data;

	while (size > 0) {
		ssize_t done = recv(fd, at, size, 0);

		if (done <= 0)
			die("receive");
		at += done;
		size -= (size_t)done;
	}
}

static uint64_t answer_of(int fd)
{
	struct nvme_tcp_response response;

	receive_all(fd, &response, sizeof(response));
	if (response.common.type != NVME_TCP_RESPONSE || response.cqe.status != 0) {
		fprintf(stderr, "refused: %s\n", nvme_status_text(response.cqe.status >> 1));
		exit(3);
	}
	return response.cqe.result;
}

static uint64_t call(int fd, struct nvme_sqe sqe, const void *data, uint32_t size)
{
	uint8_t out[NVME_TCP_SEAL_MAX] = { 0 };
	struct nvme_tcp_command pdu = { .sqe = sqe };

	pdu.sqe.flags = NVME_SQE_SGL;
	pdu.sqe.sgl = (struct nvme_sgl){ .size = size, .type = NVME_SGL_IN_CAPSULE };
	memcpy(out, &pdu, sizeof(pdu));
	send_all(fd, out, nvme_tcp_seal(out, &after, NVME_TCP_COMMAND, size));
	if (size > 0)
		send_all(fd, data, size);
	return answer_of(fd);
}

static int dial(uint16_t port)
{
	struct sockaddr_in to = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect to port %u", port);
	no_delay(fd);
	return fd;
}

static void set_up(int fd)
{
	uint8_t out[NVME_TCP_SEAL_MAX] = { 0 };

	send_all(fd, out, nvme_tcp_seal(out, &before, NVME_TCP_IC_REQ, 0));
	receive_all(fd, out, sizeof(struct nvme_tcp_ic));
}

static uint16_t join(int fd, uint16_t queue, uint16_t controller)
{
	struct nvme_connect_data data = { .host_id = { 7 }, .controller_id = controller };
	struct nvme_sqe sqe = { .opcode = NVME_FABRICS };

	set_up(fd);
	sqe.fctype = NVME_CONNECT;
	nvme_connect_set(&sqe, &(struct nvme_connect){ .queue_id = queue,
	                                               .queue_size = queue == 0 ? 31 : ENTRIES - 1,
	                                               .attributes = NVME_CONNECT_NO_SQ_FLOW });
	snprintf(data.subsystem_nqn, sizeof(data.subsystem_nqn), "%s", nqn);
	snprintf(data.host_nqn, sizeof(data.host_nqn), "nqn.2026-01.weir:load");
	return (uint16_t)call(fd, sqe, &data, sizeof(data));
}

/* The admin queue stays open: without it there is no controller. */
static uint16_t open_controller(uint16_t port)
{
	struct nvme_sqe sqe = { .opcode = NVME_FABRICS,
		                .cdw11 = NVME_PROPERTY_CC,
		                .cdw12 = NVME_CC_USUAL | NVME_CC_ENABLE };
	struct nvme_id_namespace id;
	struct nvme_tcp_data head;
	int fd = dial(port);
	uint16_t controller = join(fd, 0, NVME_CONTROLLER_ANY);
	struct nvme_tcp_command identify = { .sqe = { .opcode = NVME_ADMIN_IDENTIFY,
		                                      .flags = NVME_SQE_SGL,
		                                      .nsid = 1,
		                                      .sgl = { .size = sizeof(id),
		                                               .type = NVME_SGL_TRANSPORT } } };
	uint8_t out[NVME_TCP_SEAL_MAX];

	sqe.fctype = NVME_PROPERTY_SET;
	call(fd, sqe, NULL, 0);
	memcpy(out, &identify, sizeof(identify));
	send_all(fd, out, nvme_tcp_seal(out, &after, NVME_TCP_COMMAND, 0));
	receive_all(fd, &head, sizeof(head));
	receive_all(fd, &id, sizeof(id));
	if (!(head.common.flags & NVME_TCP_SUCCESS))
		answer_of(fd);
	blocks = id.nsze;
	return controller;
}

static void ask(struct connection *c, unsigned count)
{
	uint8_t out[DEPTH_MAX * sizeof(struct nvme_tcp_command)];
	size_t used = 0;

	for (unsigned i = 0; i < count; i++) {
		struct nvme_tcp_command pdu = {
			.sqe = { .opcode = NVME_READ,
			         .flags = NVME_SQE_SGL,
			         .cid = c->cid++,
			         .nsid = 1,
			         .cdw10 = (uint32_t)prng_below(&prng, blocks),
			         .sgl = { .size = BLOCK_SIZE, .type = NVME_SGL_TRANSPORT } }
		};

		memcpy(out + used, &pdu, sizeof(pdu));
		used += nvme_tcp_seal(out + used, &after, NVME_TCP_COMMAND, 0);
	}
	send_all(c->fd, out, used);
}

/* Answers that are complete; as many commands go again. */
static unsigned collect(struct connection *c)
{
	ssize_t size = recv(c->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
	unsigned count;

	if (size <= 0)
		die("receive");
	count = (unsigned)((c->received % REPLY_SIZE + (uint64_t)size) / REPLY_SIZE);
	c->received += (uint64_t)size;
	if (count > 0)
		ask(c, count);
	return count;
}

int main(int argc, char **argv)
{
	uint64_t port = NVME_TCP_PORT, count = 8, depth = 16, milliseconds = 1000, done = 0;
	uint64_t begun_ns, now;
	uint16_t controller = 0;
	bool echo = false;
	int option;

	while ((option = getopt(argc, argv, "p:c:q:d:n:x")) != -1) {
		if (option == 'x')
			echo = true;
		else if (option == 'n')
			nqn = optarg;
		else if (option == 'p')
			port = number_of('p', optarg);
		else if (option == 'c')
			count = number_of('c', optarg);
		else if (option == 'q')
			depth = number_of('q', optarg);
		else if (option == 'd')
			milliseconds = number_of('d', optarg);
		else
			return 2;
	}
	if (count < 1 || count > CONNECTIONS_MAX || depth < 1 || depth > DEPTH_MAX)
		return 2;
	prng_init(&prng, 1);
	if (!echo)
		controller = open_controller((uint16_t)port);
	for (unsigned i = 0; i < count; i++) {
		connections[i].fd = dial((uint16_t)port);
		polls[i] = (struct pollfd){ .fd = connections[i].fd, .events = POLLIN };
		if (!echo)
			join(connections[i].fd, (uint16_t)(i + 1), controller);
	}
	begun_ns = now_ns();
	for (unsigned i = 0; i < count; i++)
		ask(&connections[i], (unsigned)depth);
	do {
		if (poll(polls, count, 30000) <= 0)
			die("no answer");
		for (unsigned i = 0; i < count; i++) {
			if (polls[i].revents != 0)
				done += collect(&connections[i]);
		}
		now = now_ns();
	} while (now - begun_ns < milliseconds * 1000000);
	printf("{\"operations\": %llu, \"seconds\": %.4f, \"rate\": %.0f}\n",
	       (unsigned long long)done, (double)(now - begun_ns) / 1e9,
	       (double)done * 1e9 / (double)(now - begun_ns));
	return 0;
}
