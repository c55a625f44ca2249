/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/macros.h"

/* What the linker makes of the names: __wrap_x is called for x, and __real_x is x. */
#define WRAPPED(type, name, ...)                                                                   \
	type __real_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__)

WRAPPED(void *, malloc, size_t size);
WRAPPED(void *, calloc, size_t count, size_t size);
WRAPPED(void *, realloc, void *memory, size_t size);
WRAPPED(void *, aligned_alloc, size_t align, size_t size);
WRAPPED(void *, mmap64, void *at, size_t size, int protection, int flags, int fd, off_t offset);
WRAPPED(int, munmap, void *memory, size_t size);
WRAPPED(ssize_t, preadv64v2, int fd, const struct iovec *iov, int count, off_t offset, int flags);
WRAPPED(ssize_t, pwritev64v2, int fd, const struct iovec *iov, int count, off_t offset, int flags);
WRAPPED(int, fdatasync, int fd);
WRAPPED(int, io_uring_submit, struct io_uring *ring);
WRAPPED(int, io_uring_submit_and_get_events, struct io_uring *ring);
WRAPPED(int, io_uring_get_events, struct io_uring *ring);
WRAPPED(int, io_uring_submit_and_wait_timeout, struct io_uring *ring, struct io_uring_cqe **cqe,
        unsigned wait_count, struct __kernel_timespec *timeout, sigset_t *mask);

/* Of the sanitizer, when there is one. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

enum { BLOCK = 4096 };

static struct fault armed = { .kind = FAULT_KINDS };
static _Atomic uint64_t calls[FAULT_KINDS], hits, mapped;

static void count_anew(void)
{
	for (unsigned i = 0; i < FAULT_KINDS; i++)
		atomic_store(&calls[i], 0);
	atomic_store(&hits, 0);
}

void fault_arm(const struct fault *fault)
{
	count_anew();
	armed = *fault;
}

void fault_disarm(void)
{
	armed.kind = FAULT_KINDS;
	count_anew();
}

uint64_t fault_calls(enum fault_kind kind)
{
	return atomic_load(&calls[kind]);
}

uint64_t fault_hits(void)
{
	return atomic_load(&hits);
}

uint64_t fault_mapped(void)
{
	return atomic_load(&mapped);
}

bool fault_has_leaked(void)
{
	return __lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0;
}

/* Counts the call; whether it is to fail. */
static bool fails(enum fault_kind kind)
{
	uint64_t number = atomic_fetch_add(&calls[kind], 1);

	if (armed.kind != kind || number < armed.skip ||
	    (armed.count != UINT32_MAX && number >= (uint64_t)armed.skip + armed.count))
		return false;
	atomic_fetch_add(&hits, 1);
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails(FAULT_MEMORY) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails(FAULT_MEMORY) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return fails(FAULT_MEMORY) ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails(FAULT_MEMORY) ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	void *memory;

	if (fails(FAULT_MEMORY)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	memory = __real_mmap64(at, size, protection, flags, fd, offset);
	if (memory != MAP_FAILED)
		atomic_fetch_add(&mapped, align_up(size, BLOCK));
	return memory;
}

int __wrap_munmap(void *memory, size_t size)
{
	int r = __real_munmap(memory, size);

	if (r == 0)
		atomic_fetch_sub(&mapped, align_up(size, BLOCK));
	return r;
}

/* Files, by system call. Sockets are not touched. */

static bool step_fails(bool durable)
{
	return fails(FAULT_STEP) || (durable && fails(FAULT_FUA));
}

/* Half of what a transfer was to do, in whole blocks; 0: it cannot be halved. */
static size_t half(size_t size)
{
	return size / 2 & ~(size_t)(BLOCK - 1);
}

static ssize_t transfer(bool write, int fd, const struct iovec *iov, int count, off_t offset,
                        int flags)
{
	struct iovec first = iov[0];

	if (step_fails(write && (flags & RWF_DSYNC))) {
		errno = -armed.result;
		return -1;
	}
	if (half(first.iov_len) > 0 && fails(FAULT_SHORT)) {
		first.iov_len = half(first.iov_len);
		iov = &first;
		count = 1;
	}
	return write ? __real_pwritev64v2(fd, iov, count, offset, flags)
	             : __real_preadv64v2(fd, iov, count, offset, flags);
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return transfer(false, fd, iov, count, offset, flags);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return transfer(true, fd, iov, count, offset, flags);
}

int __wrap_fdatasync(int fd)
{
	if (step_fails(true)) {
		errno = -armed.result;
		return -1;
	}
	return __real_fdatasync(fd);
}

/*
 * Files, by io_uring: an operation is chosen when it is handed over, and its completion is changed
 * before the program has looked at it. One ring a thread; what is chosen is few.
 */
static _Thread_local uint64_t doomed[64];
static _Thread_local unsigned doomed_count;

static void choose(struct io_uring_sqe *sqe)
{
	bool write = sqe->opcode == IORING_OP_WRITE || sqe->opcode == IORING_OP_WRITE_FIXED ||
	             sqe->opcode == IORING_OP_WRITEV;
	bool vectored = sqe->opcode == IORING_OP_WRITEV || sqe->opcode == IORING_OP_READV;
	bool read = sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_READ_FIXED ||
	            sqe->opcode == IORING_OP_READV;

	if (!read && !write && sqe->opcode != IORING_OP_FSYNC)
		return;
	if (step_fails(sqe->opcode == IORING_OP_FSYNC || (write && (sqe->rw_flags & RWF_DSYNC)))) {
		if (doomed_count < array_count(doomed))
			doomed[doomed_count++] = sqe->user_data;
	} else if ((read || write) && !vectored && half(sqe->len) > 0 && fails(FAULT_SHORT)) {
		sqe->len = (unsigned)half(sqe->len);
	}
}

static void choose_all(struct io_uring *ring)
{
	const struct io_uring_sq *sq = &ring->sq;

	for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++)
		choose(&ring->sq.sqes[i & sq->ring_mask]);
}

static int change_all(struct io_uring *ring, int r)
{
	struct io_uring_cqe *cqe;
	unsigned head;

	io_uring_for_each_cqe(ring, head, cqe)
	{
		for (unsigned i = 0; i < doomed_count; i++) {
			if (doomed[i] != cqe->user_data)
				continue;
			cqe->res = armed.result;
			doomed[i--] = doomed[--doomed_count];
		}
	}
	return r;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (fails(FAULT_ENTER))
		return armed.result;
	choose_all(ring);
	return change_all(ring, __real_io_uring_submit(ring));
}

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	if (fails(FAULT_ENTER))
		return armed.result;
	choose_all(ring);
	return change_all(ring, __real_io_uring_submit_and_get_events(ring));
}

int __wrap_io_uring_get_events(struct io_uring *ring)
{
	return change_all(ring, __real_io_uring_get_events(ring));
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned wait_count, struct __kernel_timespec *timeout,
                                            sigset_t *mask)
{
	if (fails(FAULT_ENTER))
		return armed.result;
	choose_all(ring);
	return change_all(ring, __real_io_uring_submit_and_wait_timeout(ring, cqe, wait_count,
	                                                                timeout, mask));
}
