/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "server/nvme_internal.h"

enum { STEPS_MAX = 10000000, SERVER_MEMORY = 8 << 20, FLIP_MAX = 64 << 10 };

/* Streams of node 1. */

/* Perhaps in `copy` with one bit changed; never of what both sides agree on digests by. */
static struct bytes flip(struct nvme_rig *rig, struct bytes data, uint64_t before, uint8_t *copy)
{
	size_t bit;

	if (before < sizeof(struct nvme_tcp_ic) || data.size > FLIP_MAX ||
	    !prng_chance(&rig->prng, rig->options.flips))
		return data;
	memcpy(copy, data.data, data.size);
	bit = prng_below(&rig->prng, data.size * 8);
	copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
	rig->flipped++;
	return bytes_of(copy, data.size);
}

static void stream_pump(struct rig_stream *s)
{
	static uint8_t copy[FLIP_MAX];
	struct req *req = s->req;

	while (s->req != NULL && s->connected && s->iov_count > 0) {
		struct bytes rest =
		        bytes_of((uint8_t *)s->iov->iov_base + s->done, s->iov->iov_len - s->done);
		size_t taken = sim_client_send(s->client, flip(s->rig, rest, s->sent, copy));

		s->sent += taken;

		s->done += taken;
		s->total += taken;
		if (taken < rest.size)
			return;
		s->iov++;
		s->iov_count--;
		s->done = 0;
	}
	if (req == NULL || !s->connected)
		return;
	s->req = NULL;
	s->stream.sending = false;
	req_complete(req, STATUS_OK, s->total);
}

static void rig_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct rig_stream *s = container_of(stream, struct rig_stream, stream);

	s->req = req;
	s->iov = cmd->iov;
	s->iov_count = cmd->iov_count;
	s->done = s->total = 0;
	stream_pump(s);
}

static void rig_pause(struct stream *stream, bool paused)
{
	struct rig_stream *s = container_of(stream, struct rig_stream, stream);

	s->client->paused = paused;
	if (!paused)
		sim_client_resume(s->client);
}

static void rig_stream_close(struct stream *stream)
{
	struct rig_stream *s = container_of(stream, struct rig_stream, stream);
	struct req *req = s->req;

	sim_client_reset(s->client);
	s->client = NULL;
	s->req = NULL;
	if (req == NULL)
		return;
	stream->sending = false;
	req_complete(req, STATUS_CANCELED, 0);
}

static const struct stream_ops rig_stream_ops = {
	.name = "rig",
	.send = rig_send,
	.pause = rig_pause,
	.close = rig_stream_close,
};

static void wake_hosts(struct nvme_rig *rig)
{
	sim_wake(rig->sim, 1, 0);
}

static void stream_connected(struct sim_client *client)
{
	struct rig_stream *s = client->owner;

	s->connected = true;
	stream_pump(s);
	wake_hosts(s->rig);
}

static void stream_received(struct sim_client *client, struct bytes data)
{
	static uint8_t copy[FLIP_MAX];
	struct rig_stream *s = client->owner;
	uint64_t before = s->received;

	s->received += data.size;
	s->stream.handler->received(&s->stream, flip(s->rig, data, before, copy));
	wake_hosts(s->rig);
}

static void stream_writable(struct sim_client *client)
{
	struct rig_stream *s = client->owner;

	stream_pump(s);
	wake_hosts(s->rig);
}

static void stream_ended(struct sim_client *client, enum status status)
{
	struct rig_stream *s = client->owner;

	s->stream.ended = true;
	s->stream.handler->ended(&s->stream, status);
	wake_hosts(s->rig);
}

static const struct sim_client_handler stream_client_handler = {
	.connected = stream_connected,
	.received = stream_received,
	.writable = stream_writable,
	.ended = stream_ended,
};

static enum status rig_connect(struct nvme_host_net *net, const char *address,
                               const struct stream_handler *handler, void *owner,
                               struct stream **out)
{
	struct nvme_rig *rig = container_of(net, struct nvme_rig, host_net);

	for (unsigned i = 0; i < RIG_STREAMS; i++) {
		struct rig_stream *s = &rig->streams[i];

		if (s->client != NULL)
			continue;
		*s = (struct rig_stream){ .rig = rig,
			                  .stream = { .ops = &rig_stream_ops,
			                              .worker = rig->worker,
			                              .handler = handler,
			                              .owner = owner } };
		s->client = sim_connect(rig->net, address, &stream_client_handler, s);
		if (s->client == NULL)
			return STATUS_BUSY;
		*out = &s->stream;
		return STATUS_OK;
	}
	return STATUS_BUSY;
}

void rig_host_options(struct nvme_rig *rig, struct nvme_host_options *out)
{
	*out = (struct nvme_host_options){ .worker = rig->worker,
		                           .net = &rig->host_net,
		                           .address = RIG_ADDRESS,
		                           .nqn = RIG_NQN,
		                           .host_nqn = RIG_HOST_NQN,
		                           .host_id = { 1, 2, 3 },
		                           .queues = 2,
		                           .depth = 8,
		                           .seed = rig->options.seed };
}

/* The target. */

static void open_exports(struct nvme_rig *rig, unsigned w)
{
	export_set_init(&rig->sets[w]);
	for (uint32_t i = 0; i < RIG_EXPORTS; i++) {
		struct export *export = &rig->exports[w][i];
		struct mem *mem = &rig->mems[w][i];
		enum status status;

		mem_init(mem, sim_worker(rig->sim, 0, w), rig->data[i], RIG_BLOCKS);
		mem->blk.geometry.discard_unit = 1;
		mem->blk.geometry.transfer_max = 5; /* so that commands come in pieces */
		*export = (struct export){ .blk = &mem->blk, .id = i + 1, .read_only = i == 1 };
		snprintf(export->name, sizeof(export->name), "disk%u", i + 1);
		memset(export->uuid, 0x11 * (int)(i + 1), sizeof(export->uuid));
		status = export_add(&rig->sets[w], export);
		assert(status == STATUS_OK);
	}
}

void nvme_rig_start(struct nvme_rig *rig)
{
	memset(rig->subsystem.servers, 0, sizeof(rig->subsystem.servers));
	for (unsigned w = 0; w < RIG_WORKERS; w++) {
		uint64_t bufs = rig->options.bufs_size != 0 ? rig->options.bufs_size : 16 << 20;
		struct nvme_server_options options = { .worker = sim_worker(rig->sim, 0, w),
			                               .bufs = &rig->bufs[w],
			                               .exports = &rig->sets[w],
			                               .subsystem = &rig->subsystem,
			                               .memory_size = SERVER_MEMORY };
		enum status status = bufs_open(&rig->bufs[w], bufs, 0);

		assert(status == STATUS_OK);
		open_exports(rig, w);
		status = nvme_server_open(&options, &rig->servers[w]);
		assert(status == STATUS_OK);
		sim_listen(rig->net,
		           &(struct sim_listen_options){ .worker = w,
		                                         .address = RIG_ADDRESS,
		                                         .handler = &nvme_listener_handler,
		                                         .owner = rig->servers[w] });
		sim_wake(rig->sim, 0, w);
	}
}

static void free_servers(struct nvme_rig *rig)
{
	for (unsigned w = 0; w < RIG_WORKERS; w++) {
		/* As if the process had ended: what was under way is nobody's. */
		rig->servers[w]->queue_count = rig->servers[w]->commands_reserved = 0;
		rig->servers[w]->data_size = 0;
		nvme_server_close(rig->servers[w]);
		rig->bufs[w].used_size = 0;
		bufs_close(&rig->bufs[w]);
	}
}

void nvme_rig_kill(struct nvme_rig *rig)
{
	sim_stop(rig->sim, 0, SIM_KILL);
	free_servers(rig);
	sim_start(rig->sim, 0);
}

void nvme_rig_open(struct nvme_rig *rig, const struct rig_options *options)
{
	struct sim_net_options net = options->net;

	memset(rig, 0, sizeof(*rig));
	rig->options = *options;
	prng_init(&rig->prng, options->seed);
	net.seed = options->seed;
	if (net.buffer_size == 0)
		net.buffer_size = 64 << 10;
	rig->sim = sim_open(&(struct sim_options){
	        .seed = options->seed, .nodes = 2, .workers_per_node = RIG_WORKERS });
	rig->net = sim_net_open(rig->sim, &net);
	rig->worker = sim_worker(rig->sim, 1, 0);
	rig->host_net.connect = rig_connect;
	snprintf(rig->subsystem.nqn, sizeof(rig->subsystem.nqn), "%s", RIG_NQN);
	snprintf(rig->subsystem.address, sizeof(rig->subsystem.address), "%s", RIG_ADDRESS);
	snprintf(rig->subsystem.hosts, sizeof(rig->subsystem.hosts), "%s",
	         options->hosts != NULL ? options->hosts : "");
	for (unsigned i = 0; i < RIG_EXPORTS; i++) {
		rig->data[i] = calloc(RIG_BLOCKS, RIG_BLOCK_SIZE);
		assert(rig->data[i] != NULL);
	}
	nvme_rig_start(rig);
}

void nvme_rig_close(struct nvme_rig *rig)
{
	sim_stop(rig->sim, 0, SIM_KILL);
	free_servers(rig);
	sim_close(rig->sim);
	sim_net_close(rig->net);
	for (unsigned i = 0; i < RIG_EXPORTS; i++)
		free(rig->data[i]);
}

void nvme_rig_run(struct nvme_rig *rig)
{
	bool settled = sim_settle(rig->sim, STEPS_MAX);

	assert(settled);
}

/* Raw peers. */

static void peer_received(struct sim_client *client, struct bytes data)
{
	struct rig_peer *peer = client->owner;

	assert(peer->output_size + data.size <= sizeof(peer->output));
	memcpy(peer->output + peer->output_size, data.data, data.size);
	peer->output_size += data.size;
}

static void peer_ended(struct sim_client *client, enum status status)
{
	struct rig_peer *peer = client->owner;

	(void)status;
	peer->ended = true;
}

static const struct sim_client_handler peer_handler = { .received = peer_received,
	                                                .ended = peer_ended };

void rig_peer_open(struct rig_peer *peer, struct nvme_rig *rig)
{
	memset(peer, 0, offsetof(struct rig_peer, output));
	peer->rig = rig;
	peer->link = (struct nvme_tcp_link){ .host = true,
		                             .data_max = 1 << 20,
		                             .capsule_max = NVME_TCP_ADMIN_DATA_MAX };
	peer->client = sim_connect(rig->net, RIG_ADDRESS, &peer_handler, peer);
	assert(peer->client != NULL);
	nvme_rig_run(rig);
}

void rig_peer_close(struct rig_peer *peer)
{
	sim_client_close(peer->client);
	nvme_rig_run(peer->rig);
}

void rig_peer_send(struct rig_peer *peer, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0 && !peer->ended) {
		size_t taken = sim_client_send(peer->client, bytes_of(at, size));

		at += taken;
		size -= taken;
		if (size > 0)
			nvme_rig_run(peer->rig);
	}
}

bool rig_peer_next(struct rig_peer *peer, union nvme_tcp_pdu *pdu, struct bytes *data)
{
	static uint8_t whole[RIG_OUTPUT];
	size_t used = 0;

	nvme_rig_run(peer->rig);
	while (true) {
		struct bytes input = bytes_of(peer->output + peer->output_taken,
		                              peer->output_size - peer->output_taken);
		struct nvme_tcp_event event;

		nvme_tcp_next(&peer->parser, &peer->link, &input, &event);
		peer->output_taken = (size_t)(input.data - peer->output);
		switch (event.type) {
		case NVME_TCP_NEED_MORE:
			return false;
		case NVME_TCP_BEGIN:
			break;
		case NVME_TCP_PIECE:
			memcpy(whole + used, event.data.data, event.data.size);
			used += event.data.size;
			break;
		case NVME_TCP_END:
			assert(!event.damaged);
			*pdu = peer->parser.pdu;
			*data = bytes_of(whole, used);
			return true;
		case NVME_TCP_ERROR:
			fprintf(stderr, "the target sent nonsense: %s %u\n",
			        nvme_tcp_error_text(event.error), event.information);
			abort();
		}
	}
}

void rig_peer_set_up(struct rig_peer *peer, uint8_t digests)
{
	uint8_t out[NVME_TCP_SEAL_MAX];
	const struct nvme_tcp_ic ic = { .digests = digests };
	union nvme_tcp_pdu pdu;
	struct bytes data;
	bool came;

	memcpy(out, &ic, sizeof(ic));
	rig_peer_send(peer, out, nvme_tcp_seal(out, &peer->link, NVME_TCP_IC_REQ, 0));
	came = rig_peer_next(peer, &pdu, &data);
	assert(came && pdu.common.type == NVME_TCP_IC_RESP);
	assert(pdu.ic.digests == digests);
	peer->link.ready = true;
	peer->link.header_digest = digests & NVME_TCP_DIGEST_HEADERS;
	peer->link.data_digest = digests & NVME_TCP_DIGEST_DATA;
}

void rig_peer_command(struct rig_peer *peer, const struct nvme_sqe *sqe, const void *data,
                      uint32_t size)
{
	uint8_t out[NVME_TCP_SEAL_MAX];
	const struct nvme_tcp_command pdu = { .sqe = *sqe };
	uint32_t crc = crc32c(0, data, size);

	memcpy(out, &pdu, sizeof(pdu));
	rig_peer_send(peer, out, nvme_tcp_seal(out, &peer->link, NVME_TCP_COMMAND, size));
	if (size == 0)
		return;
	rig_peer_send(peer, data, size);
	if (peer->link.data_digest)
		rig_peer_send(peer, &crc, sizeof(crc));
}

uint16_t rig_peer_call(struct rig_peer *peer, const struct nvme_sqe *sqe, void *out,
                       uint32_t out_size, uint64_t *result)
{
	union nvme_tcp_pdu pdu;
	struct bytes data;

	rig_peer_command(peer, sqe, NULL, 0);
	while (rig_peer_next(peer, &pdu, &data)) {
		if (pdu.common.type == NVME_TCP_C2H_DATA) {
			assert(data.size <= out_size);
			memcpy(out, data.data, data.size);
			continue;
		}
		assert(pdu.common.type == NVME_TCP_RESPONSE);
		assert(pdu.response.cqe.cid == sqe->cid);
		if (result != NULL)
			*result = pdu.response.cqe.result;
		return pdu.response.cqe.status >> 1;
	}
	return UINT16_MAX;
}

static uint16_t response_of(struct rig_peer *peer, uint64_t *result)
{
	union nvme_tcp_pdu pdu;
	struct bytes data;

	if (!rig_peer_next(peer, &pdu, &data) || pdu.common.type != NVME_TCP_RESPONSE)
		return UINT16_MAX;
	*result = pdu.response.cqe.result;
	return pdu.response.cqe.status >> 1;
}

uint16_t rig_peer_connect(struct rig_peer *peer, const char *nqn, uint16_t queue_id,
                          uint16_t controller_id, uint16_t queue_size)
{
	struct nvme_connect_data data = { .host_id = { 1, 2, 3 }, .controller_id = controller_id };
	struct nvme_sqe sqe = {
		.opcode = NVME_FABRICS,
		.flags = NVME_SQE_SGL,
		.cid = 1,
		.sgl = { .size = sizeof(data), .type = NVME_SGL_IN_CAPSULE },
	};
	uint64_t result;
	uint16_t status;

	sqe.fctype = NVME_CONNECT;
	nvme_connect_set(&sqe,
	                 &(struct nvme_connect){ .queue_id = queue_id, .queue_size = queue_size });
	snprintf(data.subsystem_nqn, sizeof(data.subsystem_nqn), "%s", nqn);
	snprintf(data.host_nqn, sizeof(data.host_nqn), "%s", RIG_HOST_NQN);
	rig_peer_command(peer, &sqe, &data, sizeof(data));
	status = response_of(peer, &result);
	if (status != NVME_SC_SUCCESS || queue_id != 0)
		return status;
	peer->controller_id = (uint16_t)result;
	sqe = (struct nvme_sqe){ .opcode = NVME_FABRICS,
		                 .flags = NVME_SQE_SGL,
		                 .cid = 2,
		                 .cdw11 = NVME_PROPERTY_CC,
		                 .cdw12 = NVME_CC_USUAL | NVME_CC_ENABLE };
	sqe.fctype = NVME_PROPERTY_SET;
	return rig_peer_call(peer, &sqe, NULL, 0, NULL);
}
