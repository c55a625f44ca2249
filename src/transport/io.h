/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's files and sockets for one worker: by io_uring, or plainly where that is refused. */
#ifndef TRANSPORT_IO_H
#define TRANSPORT_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/transport.h"
#include "proto/blk.h"
#include "proto/stream.h"

struct worker;

enum { IO_ERROR_SIZE = 256 }; /* bytes of a message for people, terminator included */

enum io_kind {
	IO_AUTO, /* io_uring, else plain */
	IO_URING,
	IO_PLAIN, /* epoll, and helper threads for files */
};

/* Zeroed: all defaults. */
struct io_options {
	unsigned queue_depth;     /* operations made visible by one system call; 0: 256 */
	unsigned connections_max; /* streams, accepted and connected together; 0: 1024 */
	size_t receive_memory;    /* bytes of receive buffers, touched as needed; 0: 16 MiB */
	unsigned helpers;         /* plain: threads that read and write files; 0: 4 */
	bool sqpoll;              /* io_uring: a kernel thread submits; wants a core of its own */
	bool refuse_uring;        /* as if the kernel refused io_uring */
	bool refuse_multishot;    /* as if it were a kernel before 6.0 */
};

/* Counters only grow. */
struct io_stats {
	uint64_t accepted;
	uint64_t refused;          /* connections closed at once: connections_max, or the face */
	uint64_t accept_pauses;    /* times that descriptors or memory for a connection ran out */
	uint64_t receive_starved;  /* times that no receive buffer was free */
	uint64_t parked;           /* operations that waited for room in the submission queue */
	uint64_t enters;           /* system calls that submitted or waited */
	uint64_t register_refused; /* pieces of memory that the kernel would not pin */
};

struct io_ops;

/*
 * Memory: its own, all taken by io_open() and the other calls here; none after that.
 * Thread: everything may be opened by any one thread until the worker's first turn; from then on,
 * all calls but transport.ops->wake come from the worker's thread. (The first turn binds an
 * io_uring to its thread.) io_close() comes from the worker's thread, or after that has ended.
 */
struct io {
	struct transport transport; /* can sleep */
	const struct io_ops *ops;
	struct io_stats stats;
};

/*
 * Opens the transport; worker_add_transport(worker, &(*out)->transport) is the caller's. With
 * IO_AUTO, `error` says why io_uring was not used, or is empty. UNSUPPORTED, DENIED: io_uring was
 * asked for and refused; NO_SPACE: no memory or descriptors.
 */
enum status io_open(enum io_kind kind, struct worker *worker, const struct io_options *options,
                    struct io **out, char error[static IO_ERROR_SIZE])
        __attribute__((warn_unused_result));

/* After its endpoints. Streams and listeners that were closed may still be on their way out. */
void io_close(struct io *io);

const char *io_name(const struct io *io); /* "uring", "plain" */

/*
 * Offers memory, such as a worker's buffers, for I/O without a page walk. It becomes resident and
 * must outlive the transport. Best effort: refused (RLIMIT_MEMLOCK) is OK and counted.
 */
void io_register(struct io *io, void *memory, size_t size);

/* How BLK_FUA is done. */
enum io_fua {
	IO_FUA_DSYNC, /* write with RWF_DSYNC */
	IO_FUA_FLUSH, /* write, then fdatasync */
};

/*
 * Who may have the file. The lock is the open file's, which every operation under way keeps open:
 * it is free when the last of them has ended, and after a kill that is later than the end of the
 * process. It has no effect where the file system has no such locks.
 */
enum io_lock {
	IO_LOCK_NONE,
	IO_LOCK_FIRST, /* nobody else; waits for who had it */
	IO_LOCK_NEXT,  /* shared with the FIRST, which is this process' too */
};

/* Zeroed: an existing file or device, of its own size, through the page cache. */
struct io_file_options {
	bool create; /* a regular file that is not there */
	bool direct; /* O_DIRECT; where the file system has none: through the page cache */
	bool read_only;
	enum io_fua fua;
	enum io_lock lock;
	uint32_t lock_wait_ms; /* 0: 10 s */
	uint64_t size; /* bytes to present; 0: what is there. A regular file is made so long, sparse
	                */
	uint32_t block_size; /* bytes, a power of two; 0: 4096. Raised to the device's own */
};

/*
 * A file or block device as a block device of this worker; several workers may each open the same
 * path. A regular file that is shorter than `size` reads as zeroes past its end. blk->ops->close()
 * gives it back. NOT_FOUND, DENIED, INVALID (not a file or device, or too small), NO_SPACE, IO;
 * BUSY: another process has the lock. Blocks while it waits for that.
 */
enum status io_blk_open(struct io *io, const char *path, const struct io_file_options *options,
                        struct blk **out, char error[static IO_ERROR_SIZE])
        __attribute__((warn_unused_result));

/*
 * Times both ways of a durable write on a nameless file beside `path` (a regular file or its
 * directory); for a block device, which it never writes, goes by what the device says of itself.
 * Blocks for some tens of milliseconds. `report`: the figures, for people.
 */
enum io_fua io_fua_probe(const char *path, char report[static IO_ERROR_SIZE]);

/* Who else listens at an address. */
enum io_share {
	IO_SHARE_NONE,  /* nobody */
	IO_SHARE_FIRST, /* workers of this process that come later, as IO_SHARE_NEXT */
	IO_SHARE_NEXT,
};

/* Addresses: "127.0.0.1:6379", "[::1]:0", "*:80" (all, IPv4 and IPv6), "unix:/path". No names. */
struct io_listen_options {
	const char *address;
	const struct listener_handler *handler;
	void *owner;
	enum io_share share; /* of a TCP address; a unix socket is accepted on one worker only */
};

/*
 * EXISTS: somebody listens there; DENIED: not allowed to; INVALID: the address; UNAVAILABLE: not an
 * address of this machine. A unix socket whose server is gone is replaced; it goes with close().
 */
enum status io_listen(struct io *io, const struct io_listen_options *options, struct listener **out,
                      char error[static IO_ERROR_SIZE]) __attribute__((warn_unused_result));

struct io_connect_options {
	const char *address;
	const struct stream_handler *handler;
	void *owner;
};

/*
 * Returns a stream at once; a send waits until the peer has answered, and
 * handler->ended(UNAVAILABLE) says that it never will. INVALID: the address; BUSY: connections_max;
 * NO_SPACE: descriptors.
 */
enum status io_connect(struct io *io, const struct io_connect_options *options, struct stream **out,
                       char error[static IO_ERROR_SIZE]) __attribute__((warn_unused_result));

/* One thing that the transports would like of this machine. */
struct io_feature {
	const char *name;
	bool usable;
	char reason[96]; /* what it gives, or why it is not usable */
};
enum { IO_FEATURES_MAX = 16 };

/* Tries what the transports use of this kernel; for people. Blocks shortly. Returns how many. */
unsigned io_probe(struct io_feature features[static IO_FEATURES_MAX]);

/*
 * What a place to store in can do: a block device, which is only read, or a directory or a file in
 * it, where a nameless file is written. For people. Blocks for some tens of milliseconds. Returns
 * how many; the first is not usable when the place cannot be opened.
 */
unsigned io_probe_path(const char *path, struct io_feature features[static IO_FEATURES_MAX]);

#endif
