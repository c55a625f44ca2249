/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine offers the transports, tried out, for people. */
#include "transport/io.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "transport/clock.h"
#include "transport/file.h"

enum {
	FUA_ROUNDS = 5,
	FUA_BLOCK = 4096,
	FUA_SPAN = 16 * FUA_BLOCK, /* written before, as a log segment is */
};

struct report {
	struct io_feature *features;
	unsigned count;
};

static void add(struct report *r, const char *name, int err, const char *gives)
{
	struct io_feature *f = &r->features[r->count++];

	assert(r->count <= IO_FEATURES_MAX);
	f->name = name;
	f->usable = err == 0;
	snprintf(f->reason, sizeof(f->reason), "%.95s", err == 0 ? gives : strerror(err));
}

static int try_setup(unsigned flags)
{
	struct io_uring ring;
	int r = io_uring_queue_init(4, &ring, flags);

	if (r == 0)
		io_uring_queue_exit(&ring);
	return -r;
}

/* The errno of one operation on a ring; 0: it worked, or was canceled as it was to be. */
static int run_one(struct io_uring *ring)
{
	struct __kernel_timespec ts = { .tv_sec = 1 };
	struct io_uring_cqe *cqe;
	int r = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &ts, NULL);

	if (r < 0)
		return -r;
	r = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return r < 0 ? -r : 0;
}

static int try_multishot_accept(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	/* On what is no socket: a kernel that knows the operation says so, others EINVAL. */
	io_uring_prep_multishot_accept(sqe, ring->ring_fd, NULL, NULL, 0);
	return run_one(ring) == EINVAL ? EINVAL : 0;
}

static int try_multishot_receive(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_recv_multishot(sqe, ring->ring_fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	return run_one(ring) == EINVAL ? EINVAL : 0;
}

static int try_buffer_ring(struct io_uring *ring)
{
	struct io_uring_buf_reg reg = { .ring_entries = 1, .bgid = 1 };
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (memory == MAP_FAILED)
		return errno;
	reg.ring_addr = (uintptr_t)memory;
	r = io_uring_register_buf_ring(ring, &reg, 0);
	if (r == 0)
		r = io_uring_unregister_buf_ring(ring, 1);
	munmap(memory, 4096);
	return -r;
}

static int try_fixed_memory(struct io_uring *ring)
{
	size_t size = 16 << 20;
	struct iovec v = { .iov_len = size };
	int r;

	v.iov_base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (v.iov_base == MAP_FAILED)
		return errno;
	r = io_uring_register_buffers(ring, &v, 1);
	if (r == 0)
		r = io_uring_unregister_buffers(ring);
	munmap(v.iov_base, size);
	return -r;
}

static int try_sparse_files(struct io_uring *ring)
{
	int r = io_uring_register_files_sparse(ring, 4);

	return r < 0 ? -r : 0;
}

static int try_sync_cancel(struct io_uring *ring)
{
	struct io_uring_sync_cancel_reg reg = {
		.fd = -1,
		.flags = IORING_ASYNC_CANCEL_ANY,
		.timeout = { .tv_sec = -1, .tv_nsec = -1 },
	};
	int r = io_uring_register_sync_cancel(ring, &reg);

	return r == -ENOENT || r >= 0 ? 0 : -r;
}

static void probe_ring(struct report *r, struct io_uring *ring)
{
	add(r, "multishot accept", try_multishot_accept(ring), "one operation for all connections");
	add(r, "multishot receive", try_multishot_receive(ring), "one operation per connection");
	add(r, "buffer rings", try_buffer_ring(ring), "no memory bound by idle connections");
	add(r, "registered files", try_sparse_files(ring), "no reference counting per operation");
	add(r, "registered memory", try_fixed_memory(ring), "no page walk per operation");
	add(r, "synchronous cancel", try_sync_cancel(ring), "a close that waits for the kernel");
}

unsigned io_probe(struct io_feature features[static IO_FEATURES_MAX])
{
	struct report r = { .features = features };
	struct io_uring ring;
	int err = try_setup(0);

	add(&r, "io_uring", err, "files and sockets through one wait");
	add(&r, "plain", 0, "epoll, and threads for files: where io_uring is refused");
	if (err != 0)
		return r.count;
	add(&r, "single issuer", try_setup(IORING_SETUP_SINGLE_ISSUER), "no lock for the ring");
	add(&r, "deferred task work",
	    try_setup(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
	    "completions in batches, when asked for");
	add(&r, "cooperative task work", try_setup(IORING_SETUP_COOP_TASKRUN),
	    "no interrupts for completions");
	err = -io_uring_queue_init(8, &ring, 0);
	if (err == 0) {
		probe_ring(&r, &ring);
		io_uring_queue_exit(&ring);
	}
	return r.count;
}

/* How durable writes are done. */

/* A nameless file in the directory of `path`, or -1. */
static int open_beside(const char *path)
{
	char directory[4096];
	struct stat st;
	char *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		slash = strrchr(directory, '/');
		if (slash == NULL)
			snprintf(directory, sizeof(directory), ".");
		else
			slash[slash == directory ? 1 : 0] = '\0';
	}
	return open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static uint64_t now_ns(void)
{
	return clock_system()->now_ns(clock_system());
}

/* Nanoseconds of one durable write; 0: it failed. */
static uint64_t time_write(int fd, const struct iovec *v, off_t offset, enum io_fua fua)
{
	uint64_t start_ns = now_ns();
	ssize_t r = pwritev2(fd, v, 1, offset, fua == IO_FUA_DSYNC ? RWF_DSYNC : 0);

	if (r != (ssize_t)v->iov_len || (fua == IO_FUA_FLUSH && fdatasync(fd) != 0))
		return 0;
	return now_ns() - start_ns;
}

/* The best of some rounds of both ways, in turns; false: neither can be told. */
static bool time_both(int fd, void *memory, uint64_t best_ns[static 2])
{
	struct iovec all = { memory, FUA_SPAN }, one = { memory, FUA_BLOCK };

	memset(memory, 0x5a, FUA_SPAN);
	best_ns[0] = best_ns[1] = UINT64_MAX;
	if (pwritev(fd, &all, 1, 0) != FUA_SPAN || fdatasync(fd) != 0)
		return false;
	for (unsigned i = 0; i < 2 * FUA_ROUNDS; i++) {
		uint64_t took_ns = time_write(fd, &one, (off_t)i * FUA_BLOCK, (enum io_fua)(i % 2));

		if (took_ns == 0)
			return false;
		if (took_ns < best_ns[i % 2])
			best_ns[i % 2] = took_ns;
	}
	return true;
}

enum io_fua io_fua_probe(const char *path, char report[static IO_ERROR_SIZE])
{
	uint64_t best_ns[2];
	struct stat st;
	void *memory;
	bool known;
	int fd;

	if (stat(path, &st) == 0 && S_ISBLK(st.st_mode)) {
		snprintf(report, IO_ERROR_SIZE,
		         "a device is not written to find out: writes with RWF_DSYNC");
		return IO_FUA_DSYNC;
	}
	fd = open_beside(path);
	if (fd < 0) {
		snprintf(report, IO_ERROR_SIZE, "not probed (%s): writes with RWF_DSYNC",
		         strerror(errno));
		return IO_FUA_DSYNC;
	}
	memory = aligned_alloc(FUA_BLOCK, FUA_SPAN);
	/* O_DIRECT where there is one; a refusal leaves the descriptor as it was. */
	if (memory != NULL && fcntl(fd, F_SETFL, O_DIRECT) != 0)
		errno = 0;
	known = memory != NULL && time_both(fd, memory, best_ns);
	free(memory);
	close(fd);
	if (!known) {
		snprintf(report, IO_ERROR_SIZE, "not probed (writes fail): writes with RWF_DSYNC");
		return IO_FUA_DSYNC;
	}
	snprintf(report, IO_ERROR_SIZE, "RWF_DSYNC %.0f us, write and fdatasync %.0f us",
	         (double)best_ns[IO_FUA_DSYNC] / 1e3, (double)best_ns[IO_FUA_FLUSH] / 1e3);
	/* Two operations cost twice the processor, so they must be clearly faster. */
	return best_ns[IO_FUA_FLUSH] < best_ns[IO_FUA_DSYNC] * 3 / 4 ? IO_FUA_FLUSH : IO_FUA_DSYNC;
}

static void add_geometry(struct report *r, const struct file *file)
{
	const struct blk_geometry *g = &file->geometry;
	char text[sizeof(r->features->reason)];

	snprintf(text, sizeof(text), "past the page cache, in multiples of %u bytes", g->align);
	add(r, "direct I/O", file->direct ? 0 : EOPNOTSUPP, text);
	add(r, "write through", g->volatile_cache ? EOPNOTSUPP : 0,
	    "a write is durable when it ends");
	if (file->device)
		add(r, "forced unit access", g->fua_is_flush ? EOPNOTSUPP : 0,
		    "one write is made durable without a flush");
	snprintf(text, sizeof(text), "a power cut leaves %u bytes old or new", g->atomic_unit);
	add(r, "atomic writes", g->atomic_unit == 0 ? EOPNOTSUPP : 0, text);
	if (!file->device)
		add(r, "discard", g->discard_unit == 0 ? EOPNOTSUPP : 0,
		    "freed space goes back, and reads as zeroes");
}

/* On a nameless file, opened again by the name that the system gives its descriptor. */
static enum status probe_directory(struct report *r, const char *path,
                                   char error[static IO_ERROR_SIZE])
{
	struct io_file_options options = { .direct = true, .size = 1 << 20 };
	char name[64], text[IO_ERROR_SIZE];
	enum status status;
	struct file file;
	int fd = open_beside(path);

	if (fd < 0) {
		snprintf(error, IO_ERROR_SIZE, "%s", strerror(errno));
		return status_from_errno(errno);
	}
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	status = file_open(&file, name, &options, error);
	close(fd);
	if (status != STATUS_OK)
		return status;
	add_geometry(r, &file);
	close(file.fd);
	io_fua_probe(path, text);
	add(r, "durable writes", 0, text);
	return STATUS_OK;
}

unsigned io_probe_path(const char *path, struct io_feature features[static IO_FEATURES_MAX])
{
	struct io_file_options options = { .direct = true, .read_only = true };
	struct report r = { .features = features };
	char error[IO_ERROR_SIZE];
	enum status status;
	struct stat st;
	struct file file;

	if (stat(path, &st) == 0 && S_ISBLK(st.st_mode)) {
		status = file_open(&file, path, &options, error);
		if (status == STATUS_OK) {
			add_geometry(&r, &file);
			close(file.fd);
		}
	} else {
		status = probe_directory(&r, path, error);
	}
	if (status != STATUS_OK) {
		add(&r, "open", EIO, "");
		snprintf(features[0].reason, sizeof(features[0].reason), "%.95s", error);
	}
	return r.count;
}
