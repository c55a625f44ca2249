/* SPDX-License-Identifier: Apache-2.0 */
/* Epoll and helper threads; shared by plain.c (the wait), plain_blk.c and plain_stream.c. */
#ifndef TRANSPORT_PLAIN_H
#define TRANSPORT_PLAIN_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "base/macros.h"
#include "core/timer.h"
#include "core/worker.h"
#include "transport/cursor.h"
#include "transport/io_ops.h"
#include "transport/net.h"

/* What an event belongs to: the low four bits of its data, as in uring.h. */
enum plain_tag { PLAIN_WAKE, PLAIN_STREAM, PLAIN_LISTENER, PLAIN_TAG_MASK = 15 };

enum {
	PLAIN_EVENTS_MAX = 256,
	PLAIN_RECEIVE_SIZE = 64 << 10,
	PLAIN_HELPERS_MAX = 64,
};

struct plain_stream {
	struct stream stream;
	struct plain *plain;
	STAILQ_ENTRY(plain_stream) link; /* in plain->free, or ->work */
	int fd;
	uint32_t index;
	uint32_t generation; /* differs for each use: a late event cannot be mistaken */
	uint32_t watched;    /* events that the kernel reports; 0: it does not know the socket */
	bool connecting;
	bool paused;
	bool blocked; /* the socket takes no more for now */
	bool broken;  /* ended() is to be told in the next poll */
	bool working; /* in plain->work: sends or is broken */
	struct req *send;
	size_t sent_size;
	struct cursor cursor;
};
STAILQ_HEAD(plain_stream_list, plain_stream);

struct plain_listener {
	struct listener listener;
	struct plain *plain;
	LIST_ENTRY(plain_listener) link;
	struct timer retry; /* armed: descriptors ran out */
	int fd;
	bool closed; /* freed when no event can name it */
};

/*
 * The threads that read and write files. The one place in the program with a lock: a helper has
 * nothing to poll, so it must be able to wait for its work.
 */
struct plain_helpers {
	pthread_mutex_t lock;
	pthread_cond_t queued_some;
	struct req_list queued; /* under the lock, as are: */
	struct req_list done;
	unsigned idle_count;
	bool told; /* the worker's event is set and not read yet */
	bool stop;
	pthread_t threads[PLAIN_HELPERS_MAX];
	unsigned thread_count, thread_max;
	struct req_list submitted; /* the worker's, until the doorbell */
	unsigned submitted_count;
};

struct plain {
	struct io io;
	int epoll_fd;
	int event_fd;
	bool wait_in_ns;      /* epoll_pwait2() is there */
	unsigned event_count; /* that a sleep found, for the next poll */
	struct epoll_event events[PLAIN_EVENTS_MAX];
	struct plain_stream_list work;
	struct plain_stream_list free;
	struct plain_stream *streams;
	uint32_t stream_count;
	uint32_t broken_count;
	LIST_HEAD(, plain_listener) listeners;
	bool listener_closed; /* one waits to be freed */
	uint8_t *receive;
	struct plain_helpers helpers;
};

static inline struct plain *plain_of(struct io *io)
{
	return container_of(io, struct plain, io);
}

void plain_helpers_init(struct plain_helpers *h, unsigned thread_max);
void plain_helpers_fini(struct plain *p);
void plain_blk_doorbell(struct plain *p);
unsigned plain_blk_poll(struct plain *p); /* the event was set */
enum status plain_blk_open(struct io *io, const struct file *file, struct blk **out);

enum status plain_streams_open(struct plain *p, const struct io_options *options);
void plain_streams_close(struct plain *p);
void plain_stream_event(struct plain *p, uint64_t data, uint32_t events);
void plain_accept_event(struct plain_listener *l);
void plain_streams_doorbell(struct plain *p);
unsigned plain_streams_poll(struct plain *p); /* after the events */
enum status plain_listen(struct io *io, int fd, struct listener **out);
enum status plain_connect(struct io *io, int fd, const struct net_address *address,
                          struct stream **out);

#endif
