/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A proxy that keeps a journal: what a client sends is on disk before the server sees it, and what
 * the server answers before the client does. Network and storage are one thing here: the same
 * struct req first writes blocks and then sends bytes, on one worker, in one loop. Back-pressure,
 * deadlines and the end of a peer are said in the same words for both.
 *
 *     proxy LISTEN SERVER JOURNAL
 *
 * It is built with weir, from its inner headers: those of libweir know no network.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/worker.h"
#include "proto/blk.h"
#include "proto/stream.h"
#include "transport/clock.h"
#include "transport/io.h"

enum {
	PAIRS_MAX = 64,
	CHUNK_MAX = 256 << 10, /* bytes that a stream hands over at a time */
	JOURNAL_SIZE = 64 << 20,
	BLOCK = 4096,
};
#define PATIENCE_NS 5000000000ull /* of a chunk: on disk, and then the peer's */

struct pair;

/* One way: bytes of `from` go to `to`. Until a chunk is through, `from` is paused. */
struct way {
	struct pair *pair;
	struct stream *from, *to;
	struct req req;
	struct iovec iov;
	size_t size; /* of the chunk under way; 0: none */
	uint8_t *chunk;
};

struct pair {
	struct way up, down;
	bool used, over;
};

struct proxy {
	struct worker worker;
	struct io *io;
	struct blk *journal;
	uint64_t next_lba; /* the journal starts again when it is full */
	const char *server;
	struct listener *listener;
	struct pair pairs[PAIRS_MAX];
};

static struct proxy proxy;
static atomic_bool stop;

static void pair_end(struct pair *pair);
static void chunk_written(struct req *req);
static void chunk_sent(struct req *req);

/* Both steps of a chunk, in the order of a line of thought: disk, then peer. */

static void chunk_write(struct way *way)
{
	uint32_t blocks = (uint32_t)(align_up(way->size, BLOCK) / BLOCK);
	struct blk_cmd cmd = {
		.op = BLK_WRITE,
		.flags = BLK_FUA,
		.block_count = blocks,
		.iov_count = 1,
		.iov = &way->iov,
	};

	if (proxy.next_lba + blocks > proxy.journal->geometry.block_count)
		proxy.next_lba = 0;
	cmd.lba = proxy.next_lba;
	proxy.next_lba += blocks;
	memset(way->chunk + way->size, 0, (size_t)blocks * BLOCK - way->size);
	way->iov = (struct iovec){ way->chunk, (size_t)blocks * BLOCK };
	way->req.deadline_ns = proxy.worker.now_ns + PATIENCE_NS;
	req_push(&way->req, struct frame, chunk_written);
	blk_submit(proxy.journal, &way->req, &cmd);
}

static void chunk_written(struct req *req)
{
	struct way *way = container_of(req, struct way, req);
	struct stream_cmd cmd = { .iov_count = 1, .iov = &way->iov };

	req_pop(req, struct frame);
	if (req->status != STATUS_OK || way->pair->over) {
		way->size = 0;
		pair_end(way->pair);
		return;
	}
	way->iov = (struct iovec){ way->chunk, way->size };
	req_push(req, struct frame, chunk_sent);
	stream_send(way->to, req, &cmd);
}

static void chunk_sent(struct req *req)
{
	struct way *way = container_of(req, struct way, req);

	req_pop(req, struct frame);
	way->size = 0;
	if (req->status != STATUS_OK || way->pair->over)
		pair_end(way->pair);
	else
		stream_pause(way->from, false);
}

/* Streams. */

static void way_received(struct stream *stream, struct bytes data)
{
	struct pair *pair = stream->owner;
	struct way *way = stream == pair->up.from ? &pair->up : &pair->down;

	assert(way->size == 0); /* else: it is paused */
	if (data.size > CHUNK_MAX) {
		pair_end(pair);
		return;
	}
	stream_pause(stream, true);
	memcpy(way->chunk, data.data, data.size);
	way->size = data.size;
	chunk_write(way);
}

static void way_ended(struct stream *stream, enum status status)
{
	(void)status;
	pair_end(stream->owner);
}

static const struct stream_handler handler = { .received = way_received, .ended = way_ended };

/* What is under way is asked to end early; when all of it has, the streams go. */
static void pair_end(struct pair *pair)
{
	pair->over = true;
	if (pair->up.size > 0)
		req_cancel(&pair->up.req);
	if (pair->down.size > 0)
		req_cancel(&pair->down.req);
	if (pair->up.size > 0 || pair->down.size > 0 || !pair->used)
		return;
	stream_close(pair->up.from);
	stream_close(pair->down.from);
	pair->used = false;
}

static void way_start(struct way *way, struct pair *pair, struct stream *from, struct stream *to)
{
	way->pair = pair;
	way->from = from;
	way->to = to;
	way->size = 0;
	req_init(&way->req, &proxy.worker);
}

static bool accepted(struct listener *listener, struct stream *client)
{
	struct io_connect_options options = { .address = proxy.server, .handler = &handler };
	struct pair *pair = proxy.pairs;
	char error[IO_ERROR_SIZE];
	struct stream *server;

	(void)listener;
	while (pair < proxy.pairs + PAIRS_MAX && pair->used)
		pair++;
	if (pair == proxy.pairs + PAIRS_MAX)
		return false;
	options.owner = pair;
	if (io_connect(proxy.io, &options, &server, error) != STATUS_OK)
		return false;
	way_start(&pair->up, pair, client, server);
	way_start(&pair->down, pair, server, client);
	pair->used = true;
	pair->over = false;
	client->handler = &handler;
	client->owner = pair;
	return true;
}

static const struct listener_handler listener_handler = { .accepted = accepted };

static void end(int number)
{
	(void)number;
	atomic_store(&stop, true);
	worker_wake(&proxy.worker);
}

static int fail(const char *what, const char *error)
{
	fprintf(stderr, "proxy: %s: %s\n", what, error);
	return 1;
}

int main(int argc, char **argv)
{
	const struct io_options options = { .connections_max = 2 * PAIRS_MAX,
		                            .receive_memory = 1 << 20 };
	const struct io_file_options journal = { .create = true, .size = JOURNAL_SIZE };
	struct io_listen_options listen = { .handler = &listener_handler, .owner = &proxy };
	char error[IO_ERROR_SIZE];

	if (argc != 4)
		return fail("usage", "proxy LISTEN SERVER JOURNAL");
	listen.address = argv[1];
	proxy.server = argv[2];
	worker_init(&proxy.worker, 0, ROLE_NETWORK, clock_system());
	if (io_open(IO_AUTO, &proxy.worker, &options, &proxy.io, error) != STATUS_OK)
		return fail("io", error);
	worker_add_transport(&proxy.worker, &proxy.io->transport);
	if (io_blk_open(proxy.io, argv[3], &journal, &proxy.journal, error) != STATUS_OK)
		return fail(argv[3], error);
	for (unsigned i = 0; i < PAIRS_MAX; i++) {
		proxy.pairs[i].up.chunk = aligned_alloc(BLOCK, CHUNK_MAX);
		proxy.pairs[i].down.chunk = aligned_alloc(BLOCK, CHUNK_MAX);
		if (proxy.pairs[i].up.chunk == NULL || proxy.pairs[i].down.chunk == NULL)
			return fail("memory", "there is none");
	}
	if (io_listen(proxy.io, &listen, &proxy.listener, error) != STATUS_OK)
		return fail(argv[1], error);
	printf("%s\n", proxy.listener->address);
	fflush(stdout);
	signal(SIGTERM, end);
	worker_run(&proxy.worker, &stop);
	proxy.listener->ops->close(proxy.listener);
	for (unsigned i = 0; i < PAIRS_MAX; i++) {
		if (proxy.pairs[i].used)
			pair_end(&proxy.pairs[i]);
		while (proxy.pairs[i].used)
			worker_turn(&proxy.worker);
		free(proxy.pairs[i].up.chunk);
		free(proxy.pairs[i].down.chunk);
	}
	proxy.journal->ops->close(proxy.journal);
	io_close(proxy.io);
	return 0;
}
