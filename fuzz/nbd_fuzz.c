/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a client of NBD sends, handshake included: cut anywhere, the server says the
 * same, ends, and gives back all that it took.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "core/worker.h"
#include "server/nbd_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCKS = 512, BLOCK = 4096, OUTPUT_MAX = 1 << 16, TURNS = 40, INPUT_MAX = 1 << 16 };

/* A device that has everything at once; its content does not matter. */
struct device {
	struct blk blk;
	uint8_t data[BLOCKS * BLOCK];
};

struct peer {
	struct stream stream;
	struct req *sending;
	uint64_t sending_size, said_size;
	uint32_t said; /* a checksum */
	bool paused, closed;
};

static uint64_t now_ns;

static uint64_t tell_ns(struct clock *clock)
{
	(void)clock;
	return now_ns;
}

static void device_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct device *device = container_of(blk, struct device, blk);
	uint8_t *at = device->data + cmd->lba * BLOCK;

	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		if (cmd->op == BLK_READ)
			memcpy(cmd->iov[i].iov_base, at, cmd->iov[i].iov_len);
		else
			memcpy(at, cmd->iov[i].iov_base, cmd->iov[i].iov_len);
		at += cmd->iov[i].iov_len;
	}
	req_complete(req, STATUS_OK, 0);
}

static const struct blk_ops device_ops = { .name = "fuzz", .submit = device_submit };

static void peer_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct peer *peer = container_of(stream, struct peer, stream);

	assert(peer->sending == NULL && cmd->iov_count > 0);
	peer->sending = req;
	peer->sending_size = 0;
	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		peer->said = crc32c(peer->said, cmd->iov[i].iov_base, cmd->iov[i].iov_len);
		peer->sending_size += cmd->iov[i].iov_len;
	}
	peer->said_size += peer->sending_size;
}

static void peer_pause(struct stream *stream, bool paused)
{
	container_of(stream, struct peer, stream)->paused = paused;
}

static void peer_close(struct stream *stream)
{
	container_of(stream, struct peer, stream)->closed = true;
}

static const struct stream_ops peer_ops = {
	.name = "fuzz",
	.send = peer_send,
	.pause = peer_pause,
	.close = peer_close,
};

static void run(struct worker *worker, struct peer *peer)
{
	for (unsigned i = 0; i < TURNS; i++) {
		struct req *req = peer->sending;

		if (req != NULL) {
			peer->sending = NULL;
			peer->stream.sending = false;
			req_complete(req, peer->closed ? STATUS_CANCELED : STATUS_OK,
			             peer->sending_size);
		}
		now_ns += 1000;
		if (worker_turn(worker) == 0 && peer->sending == NULL)
			break;
	}
}

/* In pieces of `piece` bytes; returns what was said, which is not the same when it was cut off. */
static void play(struct bytes input, size_t piece, struct peer *peer)
{
	static struct device device;
	static struct bufs bufs;
	struct clock clock = { tell_ns, tell_ns };
	struct export_set exports;
	struct export export = { .name = "disk", .blk = &device.blk, .id = 1 };
	struct worker worker;
	struct nbd_server *server;
	struct nbd_server_options options = {
		.worker = &worker,
		.bufs = &bufs,
		.exports = &exports,
		.memory_size = 256 << 10,
		.connections_max = 1,
		.handshake_timeout_ns = UINT32_MAX,
		.stall_timeout_ns = UINT32_MAX,
	};
	enum status status;

	memset(&device, 0, sizeof(device));
	worker_init(&worker, 0, ROLE_NETWORK, &clock);
	device.blk = (struct blk){ .ops = &device_ops,
		                   .worker = &worker,
		                   .geometry = { .block_count = BLOCKS,
		                                 .block_size = BLOCK,
		                                 .align = BLOCK,
		                                 .transfer_max = 16,
		                                 .ops = (1u << BLK_OP_COUNT) - 1,
		                                 .discard_unit = 1 } };
	export_set_init(&exports);
	status = export_add(&exports, &export);
	assert(status == STATUS_OK);
	status = bufs_open(&bufs, 4 << 20, 0);
	assert(status == STATUS_OK);
	status = nbd_server_open(&options, &server);
	assert(status == STATUS_OK);
	*peer = (struct peer){ .stream = { .ops = &peer_ops, .worker = &worker } };
	if (!nbd_server_accept(server, &peer->stream))
		unreachable();
	run(&worker, peer);
	while (input.size > 0 && !peer->closed && !peer->paused) {
		size_t taken = input.size < piece ? input.size : piece;

		peer->stream.handler->received(&peer->stream, bytes_of(input.data, taken));
		input = bytes_of(input.data + taken, input.size - taken);
		run(&worker, peer);
	}
	if (!peer->closed)
		peer->stream.handler->ended(&peer->stream, STATUS_UNAVAILABLE);
	run(&worker, peer);
	run(&worker, peer);
	assert(nbd_server_is_drained(server) && export.users == 0);
	nbd_server_close(server);
	assert(bufs.used_size == 0);
	bufs_close(&bufs);
}

static void decode(struct bytes data)
{
	struct nbd_meta meta;
	struct nbd_go go;

	if (nbd_go_decode(data, &go))
		assert(go.name.size <= NBD_NAME_SIZE_MAX && go.name.size + 6 <= data.size);
	if (!nbd_meta_decode(data, &meta))
		return;
	for (uint32_t i = 0; i < meta.count; i++)
		assert(nbd_meta_next(&meta).size <= data.size);
	assert(meta.queries.size == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer whole, cut;

	if (size > INPUT_MAX)
		return 0;
	decode(bytes_of(data, size));
	play(bytes_of(data, size), 16 << 10, &whole);
	play(bytes_of(data, size), 1 + size / 7, &cut);
	if (!whole.closed && !cut.closed)
		assert(whole.said == cut.said && whole.said_size == cut.said_size);
	return 0;
}
