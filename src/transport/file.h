/* SPDX-License-Identifier: Apache-2.0 */
/* Opening files and block devices, and what they say of themselves. Control path: blocks. */
#ifndef TRANSPORT_FILE_H
#define TRANSPORT_FILE_H

#include "transport/cursor.h"
#include "transport/io.h"

struct file {
	struct blk_geometry geometry;
	int fd;
	enum io_fua fua;
	bool direct; /* O_DIRECT is on */
	bool device; /* a block device */
	bool zeroes; /* BLK_ZEROES can be done */
};

enum status file_open(struct file *file, const char *path, const struct io_file_options *options,
                      char error[static IO_ERROR_SIZE]);

/* The status of a failed read, write, flush or discard. */
enum status file_status(int err);

/* What an operation on a file does next, until it is done. */
enum file_step { FILE_TRANSFER, FILE_FLUSH, FILE_DISCARD, FILE_ZERO };

/* A block command as system calls: resumed where one stops short. Shared by all transports. */
struct file_op {
	uint64_t offset; /* bytes */
	uint64_t left;   /* bytes */
	struct cursor cursor;
	uint32_t align; /* where O_DIRECT stops in the middle of a file */
	uint8_t op;     /* enum blk_op */
	uint8_t step;   /* enum file_step */
	uint8_t tries;  /* of this step, that the kernel interrupted */
	bool flush_after;
	int rw_flags; /* of a transfer: pwritev2() */
};

void file_op_init(struct file_op *op, const struct file *file, const struct blk_cmd *cmd);

/* A step ended with `res`, bytes or a negative errno. True: do the step that op now names. */
bool file_op_advance(struct file_op *op, int64_t res, enum status *status);

/* fallocate() mode of a step, of files and devices alike: what is gone reads as zeroes. */
int file_allocate_mode(enum file_step step);

#endif
