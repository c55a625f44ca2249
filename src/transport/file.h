/* SPDX-License-Identifier: Apache-2.0 */
/* Opening files and block devices, and what they say of themselves. Control path: blocks. */
#ifndef TRANSPORT_FILE_H
#define TRANSPORT_FILE_H

#include "transport/io.h"

struct file {
	struct blk_geometry geometry;
	int fd;
	enum io_fua fua;
	bool direct; /* O_DIRECT is on */
	bool device; /* a block device */
};

enum status file_open(struct file *file, const char *path, const struct io_file_options *options,
                      char error[static IO_ERROR_SIZE]);

/* fallocate() mode for BLK_DISCARD: of files and devices alike, and what is gone reads as zeroes.
 */
int file_discard_mode(void);

/* The status of a failed read, write, flush or discard. */
enum status file_status(int err);

#endif
