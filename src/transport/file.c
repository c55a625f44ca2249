/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"

enum {
	BLOCK_SIZE_DEFAULT = 4096,
	TRIES_MAX = 16,
	LOCK_WAIT_MS = 10000,
	LOCK_PAUSE_MS = 2,
	TRANSFER_SIZE_MAX = 16 << 20, /* of one command: bounds what a queue holds in flight */
};

static enum status fail(const char *what, const char *path, char error[static IO_ERROR_SIZE])
{
	int err = errno;

	snprintf(error, IO_ERROR_SIZE, "%s %.120s: %s", what, path, strerror(err));
	return file_status(err);
}

enum status file_status(int err)
{
	/* EFBIG is a limit of the file system or process: the device is full for us. */
	if (err == EFBIG || err == EMFILE || err == ENFILE)
		return STATUS_NO_SPACE;
	return status_from_errno(err);
}

int file_allocate_mode(enum file_step step)
{
	assert(step == FILE_DISCARD || step == FILE_ZERO);
	return (step == FILE_ZERO ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE) |
	       FALLOC_FL_KEEP_SIZE;
}

/* A number or word from the device's queue directory in sysfs; false: there is none. */
static bool queue_read(dev_t dev, const char *name, char text[static 32])
{
	static const char *const forms[] = { "/sys/dev/block/%u:%u/queue/%s",
		                             "/sys/dev/block/%u:%u/../queue/%s" };
	char path[128];

	for (unsigned i = 0; i < array_count(forms); i++) {
		ssize_t size = -1;
		int fd;

		snprintf(path, sizeof(path), forms[i], major(dev), minor(dev), name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		size = read(fd, text, 31);
		close(fd);
		if (size > 0) {
			text[size] = '\0';
			text[strcspn(text, "\n")] = '\0';
			return true;
		}
	}
	return false;
}

static uint64_t queue_number(dev_t dev, const char *name)
{
	char text[32];

	return queue_read(dev, name, text) ? strtoull(text, NULL, 10) : 0;
}

static bool queue_is(dev_t dev, const char *name, const char *value)
{
	char text[32];

	return queue_read(dev, name, text) && strcmp(text, value) == 0;
}

static bool is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static int open_flags(const struct io_file_options *options)
{
	return (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC |
	       (options->create && !options->read_only ? O_CREAT : 0);
}

static enum status open_fd(struct file *file, const char *path,
                           const struct io_file_options *options, char error[static IO_ERROR_SIZE])
{
	int flags = open_flags(options);

	file->direct = options->direct;
	file->fd = open(path, flags | (options->direct ? O_DIRECT : 0), 0600);
	if (file->fd < 0 && options->direct && errno == EINVAL) {
		file->direct = false;
		file->fd = open(path, flags, 0600);
	}
	return file->fd < 0 ? fail("open", path, error) : STATUS_OK;
}

/* 0 or errno. */
static int lock_try(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

/* The same for one that may not write: whether it could have the lock. */
static int lock_probe(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
		return errno;
	return lock.l_type == F_UNLCK ? 0 : EAGAIN;
}

static bool lock_is_taken(int err)
{
	return err == EAGAIN || err == EACCES;
}

/*
 * All endpoints share the lock; the first has it alone for a moment, which it gets when no endpoint
 * of another process is left.
 */
static enum status lock_fd(const struct file *file, const char *path,
                           const struct io_file_options *options, char error[static IO_ERROR_SIZE])
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };
	uint32_t wait_ms = options->lock_wait_ms != 0 ? options->lock_wait_ms : LOCK_WAIT_MS;
	int err = EAGAIN;

	assert(options->lock <= IO_LOCK_NEXT);
	if (options->lock == IO_LOCK_NONE)
		return STATUS_OK;
	if (options->lock == IO_LOCK_NEXT)
		wait_ms = err = 0;
	for (uint32_t ms = 0; ms < wait_ms && lock_is_taken(err); ms += LOCK_PAUSE_MS) {
		if (ms > 0)
			nanosleep(&pause, NULL);
		err = options->read_only ? lock_probe(file->fd) : lock_try(file->fd, F_WRLCK);
	}
	if (err == 0)
		err = lock_try(file->fd, F_RDLCK);
	if (!lock_is_taken(err))
		return STATUS_OK; /* else: there are no locks here */
	snprintf(error, IO_ERROR_SIZE, "%.120s: another process still writes to it", path);
	return STATUS_BUSY;
}

/* What O_DIRECT asks of offsets and memory. Unknown to old kernels: what every device can do. */
static uint32_t direct_align(const struct file *file)
{
	struct statx stx;

	if (!file->direct)
		return 1;
	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN) && is_power_of_two(stx.stx_dio_offset_align) &&
	    is_power_of_two(stx.stx_dio_mem_align)) {
		/* The length of a segment counts as an offset. */
		return stx.stx_dio_offset_align > stx.stx_dio_mem_align ? stx.stx_dio_offset_align
		                                                        : stx.stx_dio_mem_align;
	}
	return BLOCK_SIZE_DEFAULT;
}

/* Where the hole is that was punched; what is allocated for it is given back. */
static bool can_zero(const struct file *file, uint64_t size)
{
	if (fallocate(file->fd, file_allocate_mode(FILE_ZERO), (off_t)size, 4096) != 0)
		return false;
	return fallocate(file->fd, file_allocate_mode(FILE_DISCARD), (off_t)size, 4096) == 0;
}

/* Sets the size in bytes; makes a regular file as long as it is to be, sparsely. */
static enum status measure_file(struct file *file, const char *path, const struct stat *st,
                                const struct io_file_options *options, uint64_t *size,
                                char error[static IO_ERROR_SIZE])
{
	struct blk_geometry *g = &file->geometry;

	*size = options->size != 0 ? options->size : (uint64_t)st->st_size;
	/* Written past its end, a file would take its lock and a journal entry every time. */
	if (!options->read_only && (uint64_t)st->st_size < *size &&
	    ftruncate(file->fd, (off_t)*size) != 0)
		return fail("size", path, error);
	g->volatile_cache = true;
	/* Past the end, where nothing is: whether this file system can. */
	if (!options->read_only &&
	    fallocate(file->fd, file_allocate_mode(FILE_DISCARD), (off_t)*size, 4096) == 0)
		g->discard_unit = 1;
	file->zeroes = !options->read_only && g->discard_unit != 0 && can_zero(file, *size);
	g->discard_zeroes = g->discard_unit != 0;
	return STATUS_OK;
}

static enum status measure_device(struct file *file, const char *path, const struct stat *st,
                                  const struct io_file_options *options, uint64_t *size,
                                  char error[static IO_ERROR_SIZE])
{
	struct blk_geometry *g = &file->geometry;
	dev_t dev = st->st_rdev;
	uint64_t there, unit;
	int logical;

	if (ioctl(file->fd, BLKGETSIZE64, &there) != 0 || ioctl(file->fd, BLKSSZGET, &logical) != 0)
		return fail("geometry of", path, error);
	if (options->size > there) {
		snprintf(error, IO_ERROR_SIZE, "%.120s has %llu bytes, %llu are asked for", path,
		         (unsigned long long)there, (unsigned long long)options->size);
		return STATUS_INVALID;
	}
	*size = options->size != 0 ? options->size : there;
	assert(is_power_of_two((uint64_t)logical));
	if ((uint32_t)logical > g->block_size)
		g->block_size = (uint32_t)logical;
	if (file->direct && (uint32_t)logical > g->align)
		g->align = (uint32_t)logical;
	g->volatile_cache = !file->direct || !queue_is(dev, "write_cache", "write through");
	g->fua_is_flush = g->volatile_cache && queue_number(dev, "fua") == 0;
	unit = queue_number(dev, "atomic_write_unit_max_bytes");
	g->atomic_unit = file->direct && is_power_of_two(unit) ? (uint32_t)unit : 0;
	if (!options->read_only && queue_number(dev, "write_zeroes_max_bytes") != 0)
		g->discard_unit = 1;
	g->discard_zeroes = g->discard_unit != 0;
	file->zeroes = !options->read_only; /* the kernel writes them where the device cannot */
	return STATUS_OK;
}

static enum status measure(struct file *file, const char *path,
                           const struct io_file_options *options, char error[static IO_ERROR_SIZE])
{
	struct blk_geometry *g = &file->geometry;
	enum status status;
	uint64_t size = 0;
	struct stat st;

	g->block_size = options->block_size != 0 ? options->block_size : BLOCK_SIZE_DEFAULT;
	assert(is_power_of_two(g->block_size) && g->block_size >= 512);
	g->align = direct_align(file);
	if (g->align > g->block_size)
		g->block_size = g->align;
	if (fstat(file->fd, &st) != 0)
		return fail("stat", path, error);
	if (S_ISREG(st.st_mode)) {
		status = measure_file(file, path, &st, options, &size, error);
	} else if (S_ISBLK(st.st_mode)) {
		file->device = true;
		status = measure_device(file, path, &st, options, &size, error);
	} else {
		snprintf(error, IO_ERROR_SIZE, "%.120s is no file and no block device", path);
		return STATUS_INVALID;
	}
	if (status != STATUS_OK)
		return status;
	g->block_count = size / g->block_size;
	if (g->block_count == 0) {
		snprintf(error, IO_ERROR_SIZE, "%.120s is empty: say how large it is to be", path);
		return STATUS_INVALID;
	}
	return STATUS_OK;
}

enum status file_open(struct file *file, const char *path, const struct io_file_options *options,
                      char error[static IO_ERROR_SIZE])
{
	struct blk_geometry *g = &file->geometry;
	enum status status;

	*file = (struct file){ .fd = -1, .fua = options->fua };
	status = open_fd(file, path, options, error);
	if (status != STATUS_OK)
		return status;
	status = lock_fd(file, path, options, error);
	if (status == STATUS_OK)
		status = measure(file, path, options, error);
	if (status != STATUS_OK) {
		close(file->fd);
		return status;
	}
	if (file->fua == IO_FUA_FLUSH)
		g->fua_is_flush = true;
	assert(is_power_of_two(g->block_size) && is_power_of_two(g->align));
	assert(g->align <= g->block_size);
	g->transfer_max = TRANSFER_SIZE_MAX / g->block_size;
	g->ops = 1u << BLK_READ;
	if (!options->read_only)
		g->ops |= 1u << BLK_WRITE | 1u << BLK_FLUSH;
	if (g->discard_unit != 0)
		g->ops |= 1u << BLK_DISCARD;
	if (file->zeroes)
		g->ops |= 1u << BLK_ZEROES;
	return STATUS_OK;
}

static enum file_step first_step(const struct blk_cmd *cmd)
{
	switch (cmd->op) {
	case BLK_READ:
	case BLK_WRITE:
		return FILE_TRANSFER;
	case BLK_FLUSH:
		return FILE_FLUSH;
	case BLK_DISCARD:
		return FILE_DISCARD;
	case BLK_ZEROES:
		return cmd->flags & BLK_UNMAP ? FILE_DISCARD : FILE_ZERO;
	case BLK_OP_COUNT:
		break;
	}
	unreachable();
}

void file_op_init(struct file_op *op, const struct file *file, const struct blk_cmd *cmd)
{
	const struct blk_geometry *g = &file->geometry;
	bool fua = (cmd->flags & BLK_FUA) && g->volatile_cache;

	assert(g->ops >> cmd->op & 1);
	assert(cmd->lba <= g->block_count && cmd->block_count <= g->block_count - cmd->lba);
	op->offset = cmd->lba * g->block_size;
	op->left = (uint64_t)cmd->block_count * g->block_size;
	cursor_init(&op->cursor, cmd->iov, cmd->iov_count);
	op->align = file->direct ? g->align : 1;
	op->op = (uint8_t)cmd->op;
	op->step = (uint8_t)first_step(cmd);
	op->tries = 0;
	op->flush_after = fua && (file->fua == IO_FUA_FLUSH || cmd->op == BLK_ZEROES);
	op->rw_flags = fua && file->fua == IO_FUA_DSYNC ? RWF_DSYNC : 0;
}

static bool op_transferred(struct file_op *op, uint64_t size, enum status *status)
{
	assert(size <= op->left);
	op->tries = 0;
	cursor_advance(&op->cursor, size);
	op->offset += size;
	op->left -= size;
	if (op->left == 0) {
		op->step = FILE_FLUSH;
		return op->flush_after;
	}
	/* O_DIRECT can stop unaligned only where the file ends. */
	if (size > 0 && (size & (op->align - 1)) == 0)
		return true;
	if (op->op == BLK_READ)
		cursor_zero(&op->cursor); /* past the end of the file */
	else
		*status = STATUS_IO;
	return false;
}

bool file_op_advance(struct file_op *op, int64_t res, enum status *status)
{
	assert(op->step <= FILE_ZERO);
	assert(op->step != FILE_TRANSFER || op->left > 0);
	*status = STATUS_OK;
	if (res >= 0 && op->step == FILE_TRANSFER)
		return op_transferred(op, (uint64_t)res, status);
	if (res >= 0 && op->op == BLK_ZEROES && op->step != FILE_FLUSH) {
		op->tries = 0;
		op->step = FILE_FLUSH;
		return op->flush_after;
	}
	if (res >= 0)
		return false;
	if ((res == -EINTR || res == -EAGAIN) && op->tries++ < TRIES_MAX)
		return true;
	*status = file_status((int)-res);
	return false;
}
