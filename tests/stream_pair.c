/* SPDX-License-Identifier: Apache-2.0 */
#include "stream_pair.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"

static void end_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct pair_end *end = container_of(stream, struct pair_end, stream);

	assert(end->send == NULL);
	end->send = req;
	end->iov = cmd->iov;
	end->iov_count = cmd->iov_count;
	end->iov_skip = 0;
	end->sent_size = 0;
}

static void end_complete(struct pair_end *end, enum status status)
{
	struct req *req = end->send;

	end->send = NULL;
	end->stream.sending = false;
	req_complete(req, status, end->sent_size);
}

static void end_pause(struct stream *stream, bool paused)
{
	container_of(stream, struct pair_end, stream)->paused = paused;
}

static void end_close(struct stream *stream)
{
	struct pair_end *end = container_of(stream, struct pair_end, stream);

	if (end->send != NULL)
		end_complete(end, STATUS_CANCELED);
	end->finished = true;
}

static const struct stream_ops end_ops = {
	.name = "pair",
	.send = end_send,
	.pause = end_pause,
	.close = end_close,
};

static unsigned take_send(struct pair_end *end)
{
	unsigned count = 0;

	while (end->send != NULL) {
		size_t room = end->pair->capacity - (end->tail - end->head);
		size_t part;

		while (end->iov_count > 0 && end->iov_skip == end->iov->iov_len) {
			end->iov++;
			end->iov_count--;
			end->iov_skip = 0;
		}
		if (end->iov_count == 0) {
			end_complete(end, STATUS_OK);
			return count + 1;
		}
		part = end->iov->iov_len - end->iov_skip;
		part = part < room ? part : room;
		if (part == 0)
			return count;
		if (end->tail + part > PAIR_QUEUE_MAX) {
			memmove(end->queue, end->queue + end->head, end->tail - end->head);
			end->tail -= end->head;
			end->head = 0;
		}
		memcpy(end->queue + end->tail, (const char *)end->iov->iov_base + end->iov_skip,
		       part);
		end->tail += part;
		end->iov_skip += part;
		end->sent_size += part;
		count++;
	}
	return count;
}

static unsigned hand_over(struct pair_end *from)
{
	struct pair_end *to = from->peer;
	size_t size = from->tail - from->head;
	uint64_t left = from->held_at - from->total;
	uint8_t *copy;

	size = size < from->pair->piece ? size : from->pair->piece;
	size = size < left ? size : (size_t)left;
	if (!to->opened || to->stream.closed || to->paused || to->end_told ||
	    to->stream.handler == NULL)
		return 0;
	if (size > 0) {
		copy = malloc(size);
		assert(copy != NULL);
		memcpy(copy, from->queue + from->head, size);
		from->head += size;
		from->total += size;
		to->stream.handler->received(&to->stream, bytes_of(copy, size));
		free(copy);
		return 1;
	}
	if (from->finished && from->head == from->tail && from->send == NULL) {
		to->end_told = true;
		to->stream.ended = true;
		to->stream.handler->ended(&to->stream, STATUS_OK);
		return 1;
	}
	return 0;
}

static unsigned break_ends(struct stream_pair *pair)
{
	unsigned count = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct pair_end *end = &pair->ends[i];

		if (end->send != NULL) {
			end_complete(end, STATUS_UNAVAILABLE);
			count++;
		}
		if (!end->opened || end->stream.closed || end->end_told || end->paused)
			continue;
		end->end_told = true;
		end->stream.ended = true;
		end->stream.handler->ended(&end->stream, STATUS_UNAVAILABLE);
		count++;
	}
	return count;
}

static unsigned pair_run(struct actor *actor)
{
	struct stream_pair *pair = container_of(actor, struct stream_pair, actor);
	unsigned count = 0;

	if (pair->broken)
		return break_ends(pair);
	for (unsigned i = 0; i < 2; i++)
		count += take_send(&pair->ends[i]) + hand_over(&pair->ends[i]);
	return count;
}

static const struct actor_ops pair_ops = { .name = "pair", .run = pair_run };

void stream_pair_init(struct stream_pair *pair, struct worker *worker)
{
	memset(pair, 0, sizeof(*pair));
	pair->worker = worker;
	pair->piece = 16 << 10;
	pair->capacity = PAIR_QUEUE_MAX / 2;
	pair->actor.ops = &pair_ops;
	for (unsigned i = 0; i < 2; i++) {
		pair->ends[i].pair = pair;
		pair->ends[i].peer = &pair->ends[1 - i];
		pair->ends[i].held_at = UINT64_MAX;
	}
	worker_add_actor(worker, &pair->actor);
}

struct stream *stream_pair_open(struct stream_pair *pair, unsigned end)
{
	struct pair_end *e = &pair->ends[end];

	assert(!e->opened);
	e->opened = true;
	e->stream.ops = &end_ops;
	e->stream.worker = pair->worker;
	memcpy(e->stream.peer, "pair", sizeof("pair"));
	return &e->stream;
}

void stream_pair_finish(struct stream_pair *pair, unsigned end)
{
	pair->ends[end].finished = true;
}
