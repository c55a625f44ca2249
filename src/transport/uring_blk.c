/* SPDX-License-Identifier: Apache-2.0 */
/* Files and block devices on a worker's io_uring. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/file.h"
#include "transport/uring.h"

enum { TRIES_MAX = 16 }; /* of an operation that the kernel interrupts */

struct uring_blk {
	struct blk blk;
	struct uring *uring;
	int fd;
	int slot; /* of the registered descriptor; -1: none */
	enum io_fua fua;
	bool direct;
	uint32_t running;
};

enum uring_step { STEP_TRANSFER, STEP_FLUSH, STEP_DISCARD };

struct uring_op {
	struct frame frame;
	struct uring_blk *dev;
	uint64_t offset; /* bytes */
	uint64_t left;   /* bytes */
	struct cursor cursor;
	uint8_t op;   /* enum blk_op */
	uint8_t step; /* enum uring_step: what flies now */
	uint8_t tries;
	bool fua;
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

static void prep_transfer(struct uring_op *op, struct io_uring_sqe *sqe)
{
	int fd = op->dev->slot >= 0 ? op->dev->slot : op->dev->fd;
	const struct iovec *iov;
	uint32_t count = cursor_window(&op->cursor, &iov);
	int region = count == 1 ? find_region(op->dev->uring, iov) : -1;

	if (op->op == BLK_READ) {
		if (region >= 0)
			io_uring_prep_read_fixed(sqe, fd, iov->iov_base, (unsigned)iov->iov_len,
			                         op->offset, region);
		else if (count == 1)
			io_uring_prep_read(sqe, fd, iov->iov_base, (unsigned)iov->iov_len,
			                   op->offset);
		else
			io_uring_prep_readv(sqe, fd, iov, count, op->offset);
		return;
	}
	if (region >= 0)
		io_uring_prep_write_fixed(sqe, fd, iov->iov_base, (unsigned)iov->iov_len,
		                          op->offset, region);
	else if (count == 1)
		io_uring_prep_write(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, op->offset);
	else
		io_uring_prep_writev(sqe, fd, iov, count, op->offset);
	if (op->fua && op->dev->fua == IO_FUA_DSYNC)
		sqe->rw_flags = RWF_DSYNC;
}

static void issue(struct uring *u, struct req *req)
{
	struct uring_op *op = req_top(req, struct uring_op);
	struct uring_blk *dev = op->dev;
	int fd = dev->slot >= 0 ? dev->slot : dev->fd;
	struct io_uring_sqe *sqe = uring_sqe(u);

	if (sqe == NULL) {
		STAILQ_INSERT_TAIL(&u->parked, req, link);
		return;
	}
	switch ((enum uring_step)op->step) {
	case STEP_TRANSFER:
		prep_transfer(op, sqe);
		break;
	case STEP_FLUSH:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case STEP_DISCARD:
		io_uring_prep_fallocate(sqe, fd, file_discard_mode(), (off_t)op->offset,
		                        (off_t)op->left);
		break;
	}
	if (dev->slot >= 0)
		sqe->flags |= IOSQE_FIXED_FILE;
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
	struct uring_op *op = req_push(req, struct uring_op, op_never_done);

	op->dev = dev;
	op->offset = cmd->lba * blk->geometry.block_size;
	op->left = (uint64_t)cmd->block_count * blk->geometry.block_size;
	cursor_init(&op->cursor, cmd->iov, cmd->iov_count);
	op->op = (uint8_t)cmd->op;
	op->step = cmd->op == BLK_FLUSH     ? STEP_FLUSH
	           : cmd->op == BLK_DISCARD ? STEP_DISCARD
	                                    : STEP_TRANSFER;
	op->tries = 0;
	op->fua = cmd->op == BLK_WRITE && (cmd->flags & BLK_FUA) && blk->geometry.volatile_cache;
	dev->running++;
	issue(dev->uring, req);
}

static void complete(struct req *req, enum status status)
{
	struct uring_blk *dev = req_pop(req, struct uring_op)->dev;

	assert(dev->running > 0);
	dev->running--;
	req_complete(req, status, 0);
}

/* A transfer that moved `size` bytes. True: more of the operation is to come. */
static bool transferred(struct uring_op *op, uint64_t size, enum status *status)
{
	uint32_t align = op->dev->direct ? op->dev->blk.geometry.align : 1;

	assert(size <= op->left);
	cursor_advance(&op->cursor, size);
	op->offset += size;
	op->left -= size;
	*status = STATUS_OK;
	if (op->left == 0) {
		op->step = STEP_FLUSH;
		return op->fua && op->dev->fua == IO_FUA_FLUSH;
	}
	/* O_DIRECT can stop unaligned only where the file ends. */
	if (size > 0 && (size & (align - 1)) == 0)
		return true;
	if (op->op == BLK_READ)
		cursor_zero(&op->cursor); /* past the end of the file */
	else
		*status = STATUS_IO;
	return false;
}

void uring_blk_done(struct uring *u, struct req *req, int res)
{
	struct uring_op *op = req_top(req, struct uring_op);
	enum status status = STATUS_OK;

	if (res < 0) {
		if ((res == -EINTR || res == -EAGAIN) && op->tries++ < TRIES_MAX)
			issue(u, req);
		else
			complete(req, file_status(-res));
		return;
	}
	if (op->step == STEP_TRANSFER && transferred(op, (uint64_t)res, &status)) {
		op->tries = 0;
		issue(u, req);
		return;
	}
	complete(req, status);
}

static void uring_blk_close(struct blk *blk)
{
	struct uring_blk *dev = container_of(blk, struct uring_blk, blk);
	int none = -1;

	assert(dev->running == 0);
	if (dev->slot >= 0 &&
	    io_uring_register_files_update(&dev->uring->ring, (unsigned)dev->slot, &none, 1) == 1)
		dev->uring->files_mask &= ~(1ull << dev->slot);
	close(dev->fd);
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
	u->files_mask |= 1ull << slot;
	return slot;
}

enum status uring_blk_open(struct io *io, const struct file *file, struct blk **out)
{
	struct uring_blk *dev = calloc(1, sizeof(*dev));

	if (dev == NULL)
		return STATUS_NO_SPACE;
	dev->blk.ops = &uring_blk_ops;
	dev->blk.frames_size = align_up(sizeof(struct uring_op), 16);
	dev->uring = uring_of(io);
	dev->fd = file->fd;
	dev->slot = register_fd(dev->uring, file->fd);
	dev->fua = file->fua;
	dev->direct = file->direct;
	*out = &dev->blk;
	return STATUS_OK;
}
