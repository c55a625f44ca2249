/* SPDX-License-Identifier: Apache-2.0 */
/* One io_uring per worker; shared by uring.c (the ring), uring_blk.c and uring_stream.c. */
#ifndef TRANSPORT_URING_H
#define TRANSPORT_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/macros.h"
#include "core/timer.h"
#include "core/worker.h"
#include "transport/cursor.h"
#include "transport/io_ops.h"
#include "transport/net.h"

/*
 * What a completion belongs to: the low four bits of its user_data. TAG_REQ: the rest is the
 * address of a struct req; TAG_ACCEPT: of a listener; the stream tags: URING_TAG().
 */
enum uring_tag {
	TAG_REQ,
	TAG_RECV,
	TAG_SEND,
	TAG_CONNECT,
	TAG_CANCEL,
	TAG_ACCEPT,
	TAG_WAKE,
	TAG_MASK = 15,
};
#define URING_TAG(stream, tag)                                                                     \
	((uint64_t)(stream)->generation << 32 | (uint64_t)(stream)->index << 4 | (tag))

enum {
	URING_FILES_MAX = 64,        /* block devices of a worker with a registered descriptor */
	URING_REGIONS_MAX = 64,      /* registered memory, in pieces of at most 1 GiB */
	URING_BUFFERS_MAX = 1 << 15, /* the kernel's limit for a ring of buffers */
	URING_BUFFERS_FIRST = 64,    /* receive buffers in the kernel's hands at first */
	URING_BUFFER_NONE = 0xffff,
};

struct uring_stream {
	struct stream stream;
	struct uring *uring;
	STAILQ_ENTRY(uring_stream) link; /* in uring->free or ->dirty */
	STAILQ_ENTRY(uring_stream) resume_link;
	int fd;
	uint32_t index;
	uint32_t generation; /* differs for each use: a late completion cannot be mistaken */
	uint32_t flying;     /* operations whose last completion has not come */
	bool receiving;      /* a receive flies */
	bool connecting;     /* no answer from the peer yet */
	bool connect_begun;  /* a connect flies */
	bool canceling;      /* a cancel flies */
	bool send_begun;     /* a send flies */
	bool paused;
	bool dirty;    /* in uring->dirty: an operation found no room, or no buffer */
	bool resuming; /* in uring->resumed: something is held that may be handed over */
	bool end_held;
	enum status end_status;         /* what ended() will say */
	uint16_t held_first, held_last; /* buffers received while paused */
	struct req *send;
	size_t sent_size;
	struct cursor cursor;
	struct msghdr message;
	struct net_address address; /* to connect to */
};
STAILQ_HEAD(uring_stream_list, uring_stream);

struct uring_listener {
	struct listener listener;
	struct uring *uring;
	LIST_ENTRY(uring_listener) link;
	struct timer retry; /* armed: descriptors ran out */
	int fd;
	bool accepting; /* an accept flies */
	bool closed;
};

struct uring_buffer {
	uint16_t next; /* held by a paused stream; or below it in the stack of free ones */
	uint16_t size;
};

/* Receive buffers: a ring that the kernel takes from, and a stack of those that are warm. */
struct uring_buffers {
	struct io_uring_buf_ring *ring;
	uint8_t *memory;
	struct uring_buffer *buffers;
	size_t ring_size, memory_size;
	uint32_t count;       /* a power of two */
	uint32_t target;      /* that the kernel should have: grows when it ran dry */
	uint32_t given;       /* that the kernel has */
	uint32_t unpublished; /* of those, not yet visible to it */
	uint16_t top;         /* of the stack */
};

struct uring_region {
	uintptr_t start, end;
};

struct uring {
	struct io io;
	struct io_uring ring;
	int event_fd;
	pid_t thread; /* of the first turn */
	bool started; /* enabled, by that thread */
	bool single_issuer;
	bool wake_armed;
	bool multishot_recv;
	bool multishot_accept;
	uint32_t
	        flying; /* operations of streams and listeners whose last completion has not come */
	struct req_list parked; /* block requests that found no room */
	struct uring_stream_list dirty;
	struct uring_stream_list resumed;
	struct uring_stream_list free;
	struct uring_stream *streams;
	uint32_t stream_count, stream_max; /* ever used; there are */
	LIST_HEAD(, uring_listener) listeners;
	bool listeners_dirty; /* one could not issue its accept */
	struct uring_buffers receive;
	struct uring_region regions[URING_REGIONS_MAX];
	unsigned region_count;
	uint64_t files_mask; /* registered descriptors in use */
	bool files_registered;
};

static inline struct uring *uring_of(struct io *io)
{
	return container_of(io, struct uring, io);
}

/* Room for an operation, or NULL: keep it in a list, uring_settle() tries again. */
struct io_uring_sqe *uring_sqe(struct uring *u);

void uring_blk_done(struct uring *u, struct req *req, int res);
void uring_blk_retry(struct uring *u); /* what is parked */
enum status uring_blk_open(struct io *io, const struct file *file, struct blk **out);

enum status uring_streams_open(struct uring *u, const struct io_options *options,
                               char error[static IO_ERROR_SIZE]);
void uring_streams_close(struct uring *u);
void uring_stream_done(struct uring *u, uint64_t data, int res, uint32_t flags);
void uring_accept_done(struct uring *u, struct uring_listener *l, int res, uint32_t flags);
unsigned uring_streams_resume(struct uring *u); /* hands over what was held; in poll() only */
void uring_streams_settle(struct uring *u);     /* buffers back to the kernel, what found no room */
enum status uring_listen(struct io *io, int fd, struct listener **out);
enum status uring_connect(struct io *io, int fd, const struct net_address *address,
                          struct stream **out);

#endif
