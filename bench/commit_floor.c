/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under every durable figure: one write of `-b` bytes at a time, `-k` of them in flight,
 * into a file that was written before (so that no metadata changes), each durable before it counts.
 * -m dsync: io_uring write with RWF_DSYNC; -m sync: O_DIRECT pwrite() and fdatasync().
 */
#include "bench.h"

#include <liburing.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "base/histogram.h"

enum { BLOCK = 4096, IN_FLIGHT_MAX = 256, PIECE = 1 << 20 };

static struct {
	const char *path, *method;
	uint64_t size, in_flight, duration_ns, file_size;
	int cpu;
} option = {
	.method = "dsync",
	.size = BLOCK,
	.in_flight = 1,
	.duration_ns = 2000000000,
	.file_size = 256ull << 20,
	.cpu = -1,
};

static struct histogram latency;
static uint64_t position;
static uint8_t *data;

static uint64_t next_offset(void)
{
	uint64_t offset = position;

	position = offset + 2 * option.size > option.file_size ? 0 : offset + option.size;
	return offset;
}

static int open_file(void)
{
	int fd = open(option.path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);

	if (fd < 0)
		die("%s", option.path);
	for (uint64_t at = 0; at < option.file_size; at += PIECE) {
		if (pwrite(fd, data, PIECE, (off_t)at) != PIECE)
			die("writing %s", option.path);
	}
	if (fsync(fd) != 0)
		die("fsync");
	return fd;
}

static void run_sync(int fd, uint64_t end_ns)
{
	for (uint64_t start_ns = now_ns(); start_ns < end_ns;) {
		uint64_t ended_ns;

		if (pwrite(fd, data, option.size, (off_t)next_offset()) != (ssize_t)option.size ||
		    fdatasync(fd) != 0)
			die("write");
		ended_ns = now_ns();
		histogram_add(&latency, ended_ns - start_ns);
		start_ns = ended_ns;
	}
}

static void submit(struct io_uring *ring, int fd, uint64_t *started_ns, uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_write(sqe, fd, data, (unsigned)option.size, next_offset());
	sqe->rw_flags = RWF_DSYNC;
	sqe->user_data = slot;
	started_ns[slot] = now_ns();
}

static void run_dsync(int fd, uint64_t end_ns)
{
	uint64_t started_ns[IN_FLIGHT_MAX], now = now_ns(), running = option.in_flight;
	struct io_uring ring;
	int rc = io_uring_queue_init(IN_FLIGHT_MAX, &ring, IORING_SETUP_SINGLE_ISSUER);

	errno = -rc;
	if (rc != 0)
		die("io_uring");
	for (uint64_t slot = 0; slot < option.in_flight; slot++)
		submit(&ring, fd, started_ns, slot);
	while (running > 0) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;

		io_uring_submit_and_wait(&ring, 1);
		now = now_ns();
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			errno = cqe->res < 0 ? -cqe->res : EIO;
			if (cqe->res != (int)option.size)
				die("write");
			histogram_add(&latency, now - started_ns[cqe->user_data]);
			if (now < end_ns)
				submit(&ring, fd, started_ns, cqe->user_data);
			else
				running--;
			seen++;
		}
		io_uring_cq_advance(&ring, seen);
	}
	io_uring_queue_exit(&ring);
}

static void usage(void)
{
	fprintf(stderr, "commit_floor -f file [-m dsync|sync] [-b bytes] [-k in flight] "
	                "[-d milliseconds] [-c cpu]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t start_ns, cpu_ns, elapsed_ns;
	int letter, fd;

	while ((letter = getopt(argc, argv, "f:m:b:k:d:c:")) != -1) {
		if (letter == 'f')
			option.path = optarg;
		else if (letter == 'm')
			option.method = optarg;
		else if (letter == 'b')
			option.size = number_of('b', optarg);
		else if (letter == 'k')
			option.in_flight = number_of('k', optarg);
		else if (letter == 'd')
			option.duration_ns = number_of('d', optarg) * 1000000;
		else if (letter == 'c')
			option.cpu = (int)number_of('c', optarg);
		else
			usage();
	}
	if (option.path == NULL || option.size == 0 || option.size > PIECE ||
	    option.in_flight == 0 || option.in_flight > IN_FLIGHT_MAX)
		usage();
	option.size = (option.size + BLOCK - 1) / BLOCK * BLOCK;
	pin(option.cpu);
	if (posix_memalign((void **)&data, BLOCK, PIECE) != 0)
		die("memory");
	memset(data, 'd', PIECE);
	fd = open_file();
	cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	start_ns = now_ns();
	if (strcmp(option.method, "sync") == 0)
		run_sync(fd, start_ns + option.duration_ns);
	else
		run_dsync(fd, start_ns + option.duration_ns);
	elapsed_ns = now_ns() - start_ns;
	cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
	printf("{\"method\": \"%s\", \"size\": %llu, \"in_flight\": %llu, \"commits\": %llu, "
	       "\"rate\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_ns\": %.0f}\n",
	       option.method, (unsigned long long)option.size, (unsigned long long)option.in_flight,
	       (unsigned long long)latency.count, (double)latency.count * 1e9 / (double)elapsed_ns,
	       (double)histogram_percentile(&latency, 500000) / 1e3,
	       (double)histogram_percentile(&latency, 990000) / 1e3,
	       (double)cpu_ns / (double)(latency.count > 0 ? latency.count : 1));
	return 0;
}
