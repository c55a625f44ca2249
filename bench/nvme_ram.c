/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe/TCP target with nothing below it but memory: what the face costs by itself. Its workers
 * share one namespace; -w 2 puts queues of a controller on different workers.
 */
#include "bench.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "server/nvme_server.h"
#include "transport/clock.h"
#include "transport/io.h"
#include "transport/mem.h"

enum { WORKERS_MAX = 8, RING_SIZE = 512, BLOCK_BYTES = 4096 };

struct seat {
	struct worker worker;
	struct io *io;
	struct bufs bufs;
	struct mem mem;
	struct export export;
	struct export_set exports;
	struct nvme_server *server;
	struct listener *listener;
	pthread_t thread;
};

static struct seat seats[WORKERS_MAX];
static struct ring rings[WORKERS_MAX * WORKERS_MAX];
static struct req *slots[WORKERS_MAX * WORKERS_MAX][RING_SIZE];
static struct nvme_subsystem subsystem = { .nqn = "nqn.2026-01.weir:ram",
	                                   .serial = "RAM",
	                                   .version = "1" };
static atomic_bool stopping;
static unsigned count = 1;

static void stop(int number)
{
	(void)number;
	atomic_store(&stopping, true);
	for (unsigned i = 0; i < count; i++)
		worker_wake(&seats[i].worker);
}

static void check(enum status status, const char *what)
{
	if (status == STATUS_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, status_text(status));
	exit(3);
}

static void open_seat(struct seat *seat, unsigned id, void *data, uint64_t blocks)
{
	struct nvme_server_options options = {
		.worker = &seat->worker,
		.bufs = &seat->bufs,
		.exports = &seat->exports,
		.subsystem = &subsystem,
		.memory_size = 16 << 20,
	};
	char error[IO_ERROR_SIZE];

	worker_init(&seat->worker, id, ROLE_NETWORK | ROLE_STORAGE, clock_system());
	check(io_open(IO_AUTO, &seat->worker, &(struct io_options){ 0 }, &seat->io, error), error);
	worker_add_transport(&seat->worker, &seat->io->transport);
	check(bufs_open(&seat->bufs, 64 << 20, 0), "buffers");
	mem_init(&seat->mem, &seat->worker, data, blocks);
	seat->mem.blk.geometry.discard_unit = 1;
	seat->export.blk = &seat->mem.blk;
	seat->export.id = 1;
	memcpy(seat->export.name, "ram", 4);
	memcpy(seat->export.uuid, "weir in memory 1", 16);
	export_set_init(&seat->exports);
	check(export_add(&seat->exports, &seat->export), "export");
	check(nvme_server_open(&options, &seat->server), "server");
}

static void listen_here(struct seat *seat, bool first)
{
	struct io_listen_options options = {
		.address = subsystem.address,
		.handler = &nvme_listener_handler,
		.owner = seat->server,
		.share = first ? IO_SHARE_FIRST : IO_SHARE_NEXT,
	};
	char error[IO_ERROR_SIZE];

	check(io_listen(seat->io, &options, &seat->listener, error), error);
	snprintf(subsystem.address, sizeof(subsystem.address), "%s", seat->listener->address);
}

static void connect_seats(void)
{
	for (unsigned i = 0; i < count; i++) {
		for (unsigned k = 0; k < count; k++) {
			if (i == k)
				continue;
			ring_init(&rings[i * WORKERS_MAX + k], slots[i * WORKERS_MAX + k],
			          RING_SIZE);
			worker_connect(&seats[i].worker, &seats[k].worker,
			               &rings[i * WORKERS_MAX + k]);
		}
	}
}

static void *run(void *arg)
{
	struct seat *seat = arg;

	bufs_hand_over(&seat->bufs);
	worker_run(&seat->worker, &stopping);
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t size = 64 << 20, port = 4420;
	int option, cpu = -1;
	void *data;

	while ((option = getopt(argc, argv, "p:m:w:c:")) != -1) {
		uint64_t value = option == '?' ? 0 : number_of((char)option, optarg);

		if (option == 'p')
			port = value;
		else if (option == 'm')
			size = value << 20;
		else if (option == 'w')
			count = (unsigned)value;
		else if (option == 'c')
			cpu = (int)value;
		else
			return 2;
	}
	assert(count >= 1 && count <= WORKERS_MAX);
	pin(cpu);
	snprintf(subsystem.address, sizeof(subsystem.address), "127.0.0.1:%u", (unsigned)port);
	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		die("mmap");
	for (unsigned i = 0; i < count; i++)
		open_seat(&seats[i], i, data, size / BLOCK_BYTES);
	connect_seats();
	for (unsigned i = 0; i < count; i++)
		listen_here(&seats[i], i == 0);
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	printf("listening: %s\n", subsystem.address);
	fflush(stdout);
	for (unsigned i = 1; i < count; i++)
		pthread_create(&seats[i].thread, NULL, run, &seats[i]);
	run(&seats[0]);
	for (unsigned i = 1; i < count; i++)
		pthread_join(seats[i].thread, NULL);
	for (unsigned i = 0; i < count; i++) {
		const struct nvme_stats *s = nvme_server_stats(seats[i].server);

		fprintf(stderr, "worker %u: accepted=%llu reads=%llu writes=%llu sends=%llu\n", i,
		        (unsigned long long)s->connections_accepted, (unsigned long long)s->reads,
		        (unsigned long long)s->writes, (unsigned long long)s->sends);
	}
	fprintf(stderr, "cpu %.3f s\n", (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9);
	return 0;
}
