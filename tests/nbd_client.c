/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd_client.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum { TURN_NS = 100000, TURNS_MAX = 1000000, RECEIVE_SIZE = 16 << 10 };

/* The device. */

static void device_apply(struct nbd_device *device, const struct blk_cmd *cmd)
{
	uint8_t *data = device->data + cmd->lba * NBD_DEVICE_BLOCK;

	for (unsigned i = 0; i < cmd->iov_count; i++) {
		if (cmd->op == BLK_READ)
			memcpy(cmd->iov[i].iov_base, data, cmd->iov[i].iov_len);
		else
			memcpy(data, cmd->iov[i].iov_base, cmd->iov[i].iov_len);
		data += cmd->iov[i].iov_len;
	}
	for (uint32_t i = 0; i < cmd->block_count; i++) {
		if (cmd->op == BLK_READ)
			continue;
		device->present[cmd->lba + i] = cmd->op == BLK_WRITE || (cmd->op == BLK_ZEROES &&
		                                                         !(cmd->flags & BLK_UNMAP));
		if (cmd->op == BLK_WRITE)
			continue;
		memset(device->data + (cmd->lba + i) * NBD_DEVICE_BLOCK, 0, NBD_DEVICE_BLOCK);
	}
}

static void device_queue(struct nbd_device *device, struct req *req)
{
	assert(device->queued < NBD_DEVICE_QUEUE);
	device->queue[device->queued++] = req;
	req->status = STATUS_OK;
	if (device->skip > 0) {
		device->skip--;
	} else if (device->fails > 0) {
		device->fails--;
		req->status = device->fail;
	}
}

static void device_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct nbd_device *device = container_of(blk, struct nbd_device, blk);

	device->ops[cmd->op]++;
	device->fua += (cmd->flags & BLK_FUA) != 0;
	device_queue(device, req);
	req->result = 0;
	if (req->status == STATUS_OK)
		device_apply(device, cmd);
}

static void device_map(struct blk *blk, struct req *req, const struct blk_map_cmd *cmd)
{
	struct nbd_device *device = container_of(blk, struct nbd_device, blk);
	uint64_t i = 0;
	uint32_t count = 0;

	device_queue(device, req);
	while (i < cmd->block_count && count < cmd->extent_max) {
		bool present = device->present[cmd->lba + i];
		struct blk_extent *extent = &cmd->extents[count++];

		*extent = (struct blk_extent){ .hole = !present, .zero = !present };
		for (; i < cmd->block_count && device->present[cmd->lba + i] == present; i++)
			extent->block_count++;
	}
	req->result = count;
}

static const struct blk_ops device_ops = {
	.name = "test",
	.submit = device_submit,
	.map = device_map,
};

static unsigned device_run(struct nbd_device *device)
{
	unsigned count = device->held ? 0 : device->queued;

	for (unsigned i = 0; i < count; i++) {
		struct req *req = device->queue[device->newest_first ? count - 1 - i : i];

		req_complete(req, req->status, req->result);
	}
	device->queued -= count;
	return count;
}

static void device_open(struct nbd_device *device, struct worker *worker)
{
	*device = (struct nbd_device){
		.blk = { .ops = &device_ops,
		         .worker = worker,
		         .geometry = { .block_count = NBD_DEVICE_SIZE / NBD_DEVICE_BLOCK,
		                       .block_size = NBD_DEVICE_BLOCK,
		                       .align = NBD_DEVICE_BLOCK,
		                       .transfer_max = 256,
		                       .ops = ((1u << BLK_OP_COUNT) - 1) & ~(1u << BLK_ZEROES),
		                       .discard_unit = 1,
		                       .volatile_cache = true,
		                       .discard_zeroes = true } },
		.data = calloc(1, NBD_DEVICE_SIZE),
		.present = calloc(NBD_DEVICE_SIZE / NBD_DEVICE_BLOCK, sizeof(bool)),
	};
	assert(device->data != NULL && device->present != NULL);
}

/* The stream. */

static void client_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct nbd_client *client = container_of(stream, struct nbd_client, stream);

	assert(client->sending == NULL);
	client->sends++;
	client->sending = req;
	client->sending_size = 0;
	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		assert(cmd->iov[i].iov_len > 0);
		assert(client->output_size + cmd->iov[i].iov_len <= NBD_CLIENT_OUTPUT);
		memcpy(client->output + client->output_size, cmd->iov[i].iov_base,
		       cmd->iov[i].iov_len);
		client->output_size += cmd->iov[i].iov_len;
		client->sending_size += cmd->iov[i].iov_len;
	}
}

static void client_pause(struct stream *stream, bool paused)
{
	container_of(stream, struct nbd_client, stream)->paused = paused;
}

static void sent(struct nbd_client *client, enum status status)
{
	struct req *req = client->sending;

	client->sending = NULL;
	client->stream.sending = false;
	req_complete(req, status, client->sending_size);
}

static void client_stream_close(struct stream *stream)
{
	struct nbd_client *client = container_of(stream, struct nbd_client, stream);

	client->open = false;
	if (client->sending != NULL)
		sent(client, STATUS_CANCELED);
}

static const struct stream_ops client_ops = {
	.name = "test",
	.send = client_send,
	.pause = client_pause,
	.close = client_stream_close,
};

/* The bench. */

static uint64_t bench_now_ns(struct clock *clock)
{
	return container_of(clock, struct nbd_bench, clock)->now_ns;
}

static unsigned bench_actor_run(struct actor *actor)
{
	struct nbd_bench *bench = container_of(actor, struct nbd_bench, actor);
	unsigned count = device_run(&bench->device);

	for (unsigned i = 0; i < NBD_CLIENTS; i++) {
		struct nbd_client *client = &bench->clients[i];

		if (client->sending == NULL || client->stuck)
			continue;
		sent(client, STATUS_OK);
		count++;
	}
	return count;
}

static const struct actor_ops bench_actor_ops = { .name = "bench", .run = bench_actor_run };

static void export_left(void *owner, struct export *export)
{
	struct nbd_bench *bench = owner;

	assert(export == &bench->export);
	bench->left++;
}

struct nbd_bench *nbd_bench_open(size_t buffers, size_t memory)
{
	struct nbd_bench *bench = calloc(1, sizeof(*bench));
	struct nbd_server_options options = {
		.memory_size = memory != 0 ? memory : 4 << 20,
		.connections_max = NBD_CLIENTS,
		.handshake_timeout_ns = 10000000000,
		.stall_timeout_ns = 60000000000,
		.left = export_left,
	};
	enum status status;

	assert(bench != NULL);
	bench->clock = (struct clock){ bench_now_ns, bench_now_ns };
	bench->now_ns = 1000000000;
	worker_init(&bench->worker, 0, ROLE_NETWORK, &bench->clock);
	bench->worker.now_ns = bench->now_ns;
	status = bufs_open(&bench->bufs, buffers != 0 ? buffers : 64 << 20, 0);
	assert(status == STATUS_OK);
	device_open(&bench->device, &bench->worker);
	export_set_init(&bench->exports);
	bench->export = (struct export){ .name = "disk", .blk = &bench->device.blk, .id = 7 };
	status = export_add(&bench->exports, &bench->export);
	assert(status == STATUS_OK);
	options.worker = &bench->worker;
	options.bufs = &bench->bufs;
	options.exports = &bench->exports;
	options.owner = bench;
	status = nbd_server_open(&options, &bench->server);
	assert(status == STATUS_OK);
	bench->actor.ops = &bench_actor_ops;
	worker_add_actor(&bench->worker, &bench->actor);
	return bench;
}

static unsigned turn(struct nbd_bench *bench, uint64_t time_ns)
{
	bench->now_ns += time_ns;
	return worker_turn(&bench->worker);
}

void nbd_bench_run(struct nbd_bench *bench)
{
	unsigned quiet = 0;

	for (unsigned i = 0; quiet < 4; i++) {
		assert(i < TURNS_MAX); /* else: it never ends */
		quiet = turn(bench, TURN_NS) == 0 ? quiet + 1 : 0;
	}
}

void nbd_bench_wait(struct nbd_bench *bench, uint64_t time_ns)
{
	for (unsigned i = 0; i < 100; i++)
		turn(bench, time_ns / 100);
}

void nbd_bench_close(struct nbd_bench *bench)
{
	bench->device.held = false;
	for (unsigned i = 0; i < NBD_CLIENTS; i++)
		nbd_client_close(&bench->clients[i]);
	nbd_bench_run(bench);
	assert(nbd_server_is_drained(bench->server));
	assert(bench->export.users == 0);
	nbd_server_close(bench->server);
	assert(bench->bufs.used_size == 0);
	bufs_close(&bench->bufs);
	for (unsigned i = 0; i < NBD_CLIENTS; i++)
		free(bench->clients[i].output);
	free(bench->device.data);
	free(bench->device.present);
	free(bench);
}

/* A client. */

struct nbd_client *nbd_client_open(struct nbd_bench *bench, unsigned index)
{
	struct nbd_client *client = &bench->clients[index];
	uint8_t *output = client->output;

	assert(index < NBD_CLIENTS && !client->open);
	*client = (struct nbd_client){
		.stream = { .ops = &client_ops, .worker = &bench->worker, .local = true },
		.bench = bench,
		.output = output != NULL ? output : malloc(NBD_CLIENT_OUTPUT),
	};
	assert(client->output != NULL);
	client->open = nbd_server_accept(bench->server, &client->stream);
	nbd_bench_run(bench);
	return client;
}

void nbd_client_close(struct nbd_client *client)
{
	if (!client->open)
		return;
	client->stuck = false;
	client->stream.handler->ended(&client->stream, STATUS_UNAVAILABLE);
	nbd_bench_run(client->bench);
}

size_t nbd_client_bytes(struct nbd_client *client, const void *data, size_t size)
{
	size_t done = 0;

	while (done < size && client->open) {
		size_t piece = size - done < RECEIVE_SIZE ? size - done : RECEIVE_SIZE;
		uint8_t *copy;

		if (client->paused)
			nbd_bench_run(client->bench);
		if (client->paused || !client->open)
			break;
		/* In memory of its own, so that a sanitizer sees a use of it after received(). */
		copy = malloc(piece);
		assert(copy != NULL);
		memcpy(copy, (const uint8_t *)data + done, piece);
		client->stream.handler->received(&client->stream, bytes_of(copy, piece));
		free(copy);
		done += piece;
	}
	nbd_bench_run(client->bench);
	return done;
}

const uint8_t *nbd_client_take(struct nbd_client *client, size_t size)
{
	const uint8_t *data = client->output + client->output_start;

	if (client->output_size - client->output_start < size)
		return NULL;
	client->output_start += size;
	return data;
}

size_t nbd_client_waiting(const struct nbd_client *client)
{
	return client->output_size - client->output_start;
}

void nbd_client_option(struct nbd_client *client, uint32_t id, const void *data, size_t size)
{
	uint8_t header[NBD_OPTION_SIZE];

	nbd_write_option(header, id, (uint32_t)size);
	nbd_client_bytes(client, header, sizeof(header));
	nbd_client_bytes(client, data, size);
}

uint32_t nbd_client_option_reply(struct nbd_client *client, uint32_t id, struct bytes *data)
{
	const uint8_t *header = nbd_client_take(client, NBD_OPTION_REPLY_SIZE);

	if (header == NULL)
		return 0;
	assert(nbd_get64(header) == 0x3e889045565a9);
	assert(nbd_get32(header + 8) == id);
	data->size = nbd_get32(header + 16);
	data->data = nbd_client_take(client, data->size);
	assert(data->data != NULL);
	return nbd_get32(header + 12);
}

void nbd_client_handshake(struct nbd_client *client, bool structured)
{
	static const uint8_t flags[] = { 0, 0, 0, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES };
	static const uint8_t go[] = { 0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 1, 0, 3 };
	static const uint8_t meta[] = "\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation";
	struct bytes data;
	uint32_t reply;

	assert(nbd_client_take(client, NBD_GREETING_SIZE) != NULL);
	nbd_client_bytes(client, flags, sizeof(flags));
	if (structured) {
		nbd_client_option(client, NBD_OPT_STRUCTURED_REPLY, "", 0);
		reply = nbd_client_option_reply(client, NBD_OPT_STRUCTURED_REPLY, &data);
		assert(reply == NBD_REP_ACK);
		nbd_client_option(client, NBD_OPT_SET_META_CONTEXT, meta, sizeof(meta) - 1);
		reply = nbd_client_option_reply(client, NBD_OPT_SET_META_CONTEXT, &data);
		assert(reply == NBD_REP_META_CONTEXT);
		reply = nbd_client_option_reply(client, NBD_OPT_SET_META_CONTEXT, &data);
		assert(reply == NBD_REP_ACK);
	}
	nbd_client_option(client, NBD_OPT_GO, go, sizeof(go));
	do {
		reply = nbd_client_option_reply(client, NBD_OPT_GO, &data);
	} while (reply == NBD_REP_INFO);
	assert(reply == NBD_REP_ACK);
}

void nbd_client_request(struct nbd_client *client, const struct nbd_request *request)
{
	uint8_t header[NBD_REQUEST_SIZE];

	nbd_write_request(header, request);
	nbd_client_bytes(client, header, sizeof(header));
}
