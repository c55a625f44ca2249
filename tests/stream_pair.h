/* SPDX-License-Identifier: Apache-2.0 */
/* Two streams of one worker that are each other's peer: TCP as hostile as a test wants it. */
#ifndef STREAM_PAIR_H
#define STREAM_PAIR_H

#include "core/worker.h"
#include "proto/stream.h"

enum { PAIR_QUEUE_MAX = 1 << 20 };

struct stream_pair;

/* One end. What it sent and the other has not got yet waits in queue[head..tail). */
struct pair_end {
	struct stream stream;
	struct stream_pair *pair;
	struct pair_end *peer;
	struct req *send;
	const struct iovec *iov;
	uint32_t iov_count;
	size_t iov_skip;
	uint64_t sent_size;
	bool paused, opened, finished; /* finished: sends no more */
	bool end_told;
	uint8_t queue[PAIR_QUEUE_MAX];
	size_t head, tail;
	uint64_t total;   /* bytes ever handed to the peer */
	uint64_t held_at; /* no byte from here on is handed over; UINT64_MAX: all are */
};

/*
 * Memory: the test's. Bytes are handed over by the worker's turns, in pieces of at most `piece`;
 * a send ends when all of it fits in `capacity`. What a handler gets dies when it returns.
 */
struct stream_pair {
	struct actor actor;
	struct worker *worker;
	struct pair_end ends[2];
	size_t piece, capacity;
	bool broken; /* both ends see UNAVAILABLE */
};

void stream_pair_init(struct stream_pair *pair, struct worker *worker);
struct stream *stream_pair_open(struct stream_pair *pair, unsigned end); /* once each */

/* The other end sees that this one sends no more, behind what is under way; as an attacker would */
void stream_pair_finish(struct stream_pair *pair, unsigned end);

#endif
