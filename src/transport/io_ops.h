/* SPDX-License-Identifier: Apache-2.0 */
/* What io.c dispatches over; for the implementations. */
#ifndef TRANSPORT_IO_OPS_H
#define TRANSPORT_IO_OPS_H

#include "transport/io.h"

struct file;
struct net_address;

/*
 * A descriptor that comes in belongs to the implementation when the call has succeeded. Endpoints
 * come back with the contract's own members (worker, handler, owner, addresses) unset but `worker`.
 */
struct io_ops {
	const char *name;
	void (*register_memory)(struct io *io, void *memory, size_t size);
	enum status (*blk_open)(struct io *io, const struct file *file, struct blk **out);
	enum status (*listen)(struct io *io, int fd, struct listener **out);
	enum status (*connect)(struct io *io, int fd, const struct net_address *address,
	                       struct stream **out);
};

enum {
	IO_RECEIVE_SIZE = 16 << 10, /* bytes of a receive buffer */
	IO_ACCEPT_RETRY_MS = 100,   /* wait when descriptors ran out */
};

enum status uring_open(struct worker *worker, const struct io_options *options, struct io **out,
                       char error[static IO_ERROR_SIZE]) __attribute__((warn_unused_result));
enum status plain_open(struct worker *worker, const struct io_options *options, struct io **out,
                       char error[static IO_ERROR_SIZE]) __attribute__((warn_unused_result));

#endif
