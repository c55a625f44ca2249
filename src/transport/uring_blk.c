/* SPDX-License-Identifier: Apache-2.0 */
/* Files and block devices on a worker's io_uring. */
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/file.h"
#include "transport/uring.h"

struct uring_blk {
	struct blk blk;
	struct uring *uring;
	struct file file;
	int slot; /* of the registered descriptor; -1: none */
	uint32_t running;
};

struct uring_op {
	struct frame frame;
	struct uring_blk *dev;
	struct file_op op;
};

static void op_never_done(struct req *req)
{
	(void)req;
	unreachable(); /* nothing is below this frame */
}

/* The registered memory that a segment lies in, or -1. */
static int find_region(const struct uring *u, const struct iovec *v)
{
	uintptr_t start = (uintptr_t)v->iov_base;

	for (unsigned i = 0; i < u->region_count; i++) {
		if (start >= u->regions[i].start && start < u->regions[i].end)
			return v->iov_len <= u->regions[i].end - start ? (int)i : -1;
	}
	return -1;
}

static void prep_transfer(const struct uring_blk *dev, const struct file_op *op, int fd,
                          struct io_uring_sqe *sqe)
{
	const struct iovec *iov;
	uint32_t count = cursor_window(&op->cursor, &iov);
	int region = count == 1 ? find_region(dev->uring, iov) : -1;
	unsigned size = (unsigned)iov->iov_len;

	assert(op->op == BLK_READ || op->op == BLK_WRITE);
	if (op->op == BLK_READ) {
		if (region >= 0)
			io_uring_prep_read_fixed(sqe, fd, iov->iov_base, size, op->offset, region);
		else if (count == 1)
			io_uring_prep_read(sqe, fd, iov->iov_base, size, op->offset);
		else
			io_uring_prep_readv(sqe, fd, iov, count, op->offset);
	} else {
		if (region >= 0)
			io_uring_prep_write_fixed(sqe, fd, iov->iov_base, size, op->offset, region);
		else if (count == 1)
			io_uring_prep_write(sqe, fd, iov->iov_base, size, op->offset);
		else
			io_uring_prep_writev(sqe, fd, iov, count, op->offset);
	}
	assert(count > 0 && size > 0); /* a transfer that has ended is not issued */
	sqe->rw_flags = op->rw_flags;
}

static void issue(struct uring *u, struct req *req)
{
	const struct uring_op *frame = req_top(req, struct uring_op);
	const struct uring_blk *dev = frame->dev;
	const struct file_op *op = &frame->op;
	int fd = dev->slot >= 0 ? dev->slot : dev->file.fd;
	struct io_uring_sqe *sqe = uring_sqe(u);

	if (sqe == NULL) {
		STAILQ_INSERT_TAIL(&u->parked, req, link);
		return;
	}
	assert(dev->uring == u && dev->running > 0);
	switch ((enum file_step)op->step) {
	case FILE_TRANSFER:
		prep_transfer(dev, op, fd, sqe);
		break;
	case FILE_FLUSH:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case FILE_DISCARD:
	case FILE_ZERO:
		io_uring_prep_fallocate(sqe, fd, file_allocate_mode((enum file_step)op->step),
		                        (off_t)op->offset, (off_t)op->left);
		break;
	default:
		unreachable();
	}
	if (dev->slot >= 0)
		sqe->flags |= IOSQE_FIXED_FILE;
	assert(((uintptr_t)req & TAG_MASK) == TAG_REQ);
	io_uring_sqe_set_data(sqe, req);
}

void uring_blk_retry(struct uring *u)
{
	struct req_list parked = STAILQ_HEAD_INITIALIZER(parked);
	struct req *req;

	STAILQ_CONCAT(&parked, &u->parked);
	while ((req = STAILQ_FIRST(&parked)) != NULL) {
		STAILQ_REMOVE_HEAD(&parked, link);
		issue(u, req);
	}
}

static void uring_blk_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct uring_blk *dev = container_of(blk, struct uring_blk, blk);
	struct uring_op *frame = req_push(req, struct uring_op, op_never_done);

	frame->dev = dev;
	assert(dev->running < UINT32_MAX);
	file_op_init(&frame->op, &dev->file, cmd);
	dev->running++;
	issue(dev->uring, req);
}

void uring_blk_done(struct uring *u, struct req *req, int res)
{
	struct uring_op *frame = req_top(req, struct uring_op);
	enum status status;

	assert(frame->dev->uring == u);
	if (file_op_advance(&frame->op, res, &status)) {
		issue(u, req);
		return;
	}
	assert(frame->dev->running > 0);
	frame->dev->running--;
	req_pop(req, struct uring_op);
	req_complete(req, status, 0);
}

static void uring_blk_close(struct blk *blk)
{
	struct uring_blk *dev = container_of(blk, struct uring_blk, blk);
	int none = -1;

	assert(dev->running == 0);
	if (dev->slot >= 0 &&
	    io_uring_register_files_update(&dev->uring->ring, (unsigned)dev->slot, &none, 1) == 1)
		dev->uring->files_mask &= ~(1ull << dev->slot);
	close(dev->file.fd);
	free(dev);
}

static const struct blk_ops uring_blk_ops = {
	.name = "uring",
	.submit = uring_blk_submit,
	.close = uring_blk_close,
};

/* A place in the table of registered descriptors; -1: none is left, or the kernel will not. */
static int register_fd(struct uring *u, int fd)
{
	int slot;

	_Static_assert(URING_FILES_MAX == 64, "one bit each");
	if (!u->files_registered || u->files_mask == UINT64_MAX)
		return -1;
	slot = __builtin_ctzll(~u->files_mask);
	if (io_uring_register_files_update(&u->ring, (unsigned)slot, &fd, 1) != 1)
		return -1;
	assert(slot < URING_FILES_MAX);
	u->files_mask |= 1ull << slot;
	return slot;
}

enum status uring_blk_open(struct io *io, const struct file *file, struct blk **out)
{
	struct uring_blk *dev = calloc(1, sizeof(*dev));

	if (dev == NULL)
		return STATUS_NO_SPACE;
	assert(file->fd >= 0);
	dev->blk.ops = &uring_blk_ops;
	dev->blk.frames_size = align_up(sizeof(struct uring_op), 16);
	dev->uring = uring_of(io);
	dev->file = *file;
	dev->slot = register_fd(dev->uring, file->fd);
	*out = &dev->blk;
	return STATUS_OK;
}
