/* SPDX-License-Identifier: Apache-2.0 */
/* A connection of the initiator: commands and data go out in batches, answers come in. */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "transport/nvme_host_internal.h"

struct send_frame {
	struct frame frame;
};

enum { GENERATION_SHIFT = 8 };
_Static_assert(NVME_HOST_DEPTH_MAX <= 1 << GENERATION_SHIFT, "identifiers");

static uint16_t cid_of(const struct host_queue *queue, const struct host_slot *slot)
{
	return (uint16_t)((uint16_t)(slot - queue->slots) |
	                  (uint16_t)(slot->generation << GENERATION_SHIFT));
}

static struct host_slot *slot_of(struct host_queue *queue, uint16_t cid)
{
	uint32_t index = cid & ((1u << GENERATION_SHIFT) - 1);
	struct host_slot *slot = &queue->slots[index];

	if (index >= queue->depth || slot->kind == SLOT_FREE || slot->answered ||
	    slot->generation != cid >> GENERATION_SHIFT)
		return NULL;
	return slot;
}

struct host_slot *host_slot_get(struct host_queue *queue, enum host_slot_kind kind)
{
	struct host_slot *slot = STAILQ_FIRST(&queue->free);
	uint8_t generation;

	if (slot == NULL)
		return NULL;
	assert(slot->kind == SLOT_FREE && kind != SLOT_FREE);
	STAILQ_REMOVE_HEAD(&queue->free, link);
	generation = (uint8_t)(slot->generation + 1);
	*slot = (struct host_slot){ .kind = (uint8_t)kind,
		                    .generation = generation,
		                    .begun_ns = queue->host->options.worker->now_ns };
	queue->in_flight++;
	return slot;
}

void host_slot_release(struct host_queue *queue, struct host_slot *slot)
{
	assert(slot->kind != SLOT_FREE && !slot->sending && !slot->is_out);
	assert(queue->in_flight > 0);
	slot->kind = SLOT_FREE;
	slot->req = NULL;
	queue->in_flight--;
	STAILQ_INSERT_HEAD(&queue->free, slot, link);
}

static void put_out(struct host_queue *queue, struct host_slot *slot)
{
	assert(!slot->is_out);
	slot->is_out = true;
	STAILQ_INSERT_TAIL(&queue->out, slot, link);
	host_kick(queue->host);
}

/* Its data goes in the capsule where that has room, else the controller asks for it. */
void host_slot_submit(struct host_queue *queue, struct host_slot *slot)
{
	uint32_t capsule_max =
	        slot->sqe.opcode == NVME_FABRICS ? NVME_TCP_ADMIN_DATA_MAX : queue->capsule_max;
	bool in_capsule = slot->writes && slot->data_size > 0 && slot->data_size <= capsule_max &&
	                  slot->iov_count <= HOST_SEGMENTS_MAX;

	assert(slot->kind != SLOT_FREE && !slot->capsule_sent);
	assert(slot->data_size == 0 || slot->iov_count > 0);
	slot->sqe.cid = cid_of(queue, slot);
	slot->sqe.flags = NVME_SQE_SGL;
	slot->sqe.sgl =
	        (struct nvme_sgl){ .size = slot->data_size,
		                   .type = in_capsule ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT };
	put_out(queue, slot);
}

/* Sending. */

static void gather(struct host_queue *queue, const void *data, size_t size)
{
	struct iovec *last = &queue->iov[queue->iov_count];

	assert(size > 0);
	if (queue->iov_count > 0 && (uint8_t *)last[-1].iov_base + last[-1].iov_len == data) {
		last[-1].iov_len += size;
		return;
	}
	assert(queue->iov_count < STREAM_IOV_MAX);
	*last = (struct iovec){ .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	queue->iov_count++;
}

static void gather_head(struct host_queue *queue, size_t size)
{
	gather(queue, queue->heads + queue->heads_used, size);
	queue->heads_used += (uint32_t)size;
	assert(queue->heads_used <= sizeof(queue->heads));
}

/* Bytes from `offset` of the slot's data, and their digest; at most `segments` pieces. */
static uint32_t gather_data(struct host_queue *queue, const struct host_slot *slot, uint32_t offset,
                            uint32_t size)
{
	uint32_t crc = 0, left = size;

	for (uint32_t i = 0; i < slot->iov_count && left > 0; i++) {
		const struct iovec *v = &slot->iov[i];
		size_t part;

		if (offset >= v->iov_len) {
			offset -= (uint32_t)v->iov_len;
			continue;
		}
		part = v->iov_len - offset < left ? v->iov_len - offset : left;
		gather(queue, (uint8_t *)v->iov_base + offset, part);
		if (queue->tcp.data_digest)
			crc = crc32c(crc, (uint8_t *)v->iov_base + offset, part);
		left -= (uint32_t)part;
		offset = 0;
	}
	assert(left == 0);
	if (queue->tcp.data_digest) {
		memcpy(queue->heads + queue->heads_used, &crc, sizeof(crc));
		gather_head(queue, sizeof(crc));
	}
	return size;
}

/* How many bytes from `offset` HOST_SEGMENTS_MAX pieces hold, up to `size`. */
static uint32_t reach(const struct host_slot *slot, uint32_t offset, uint32_t size)
{
	uint32_t total = 0, pieces = 0;

	for (uint32_t i = 0; i < slot->iov_count && total < size; i++) {
		const struct iovec *v = &slot->iov[i];

		if (offset >= v->iov_len) {
			offset -= (uint32_t)v->iov_len;
			continue;
		}
		if (pieces++ == HOST_SEGMENTS_MAX)
			break;
		total += (uint32_t)v->iov_len - offset;
		offset = 0;
	}
	return total < size ? total : size;
}

static void put_capsule(struct host_queue *queue, struct host_slot *slot)
{
	uint8_t *head = queue->heads + queue->heads_used;
	const struct nvme_tcp_command pdu = { .sqe = slot->sqe };
	uint32_t size =
	        slot->writes && slot->sqe.sgl.type == NVME_SGL_IN_CAPSULE ? slot->data_size : 0;

	memcpy(head, &pdu, sizeof(pdu));
	gather_head(queue, nvme_tcp_seal(head, &queue->tcp, NVME_TCP_COMMAND, size));
	if (size > 0)
		gather_data(queue, slot, 0, size);
	assert(!slot->capsule_sent);
	slot->capsule_sent = true;
}

static void put_data(struct host_queue *queue, struct host_slot *slot)
{
	uint8_t *head = queue->heads + queue->heads_used;
	uint32_t most = slot->left < queue->h2c_max ? slot->left : queue->h2c_max;
	uint32_t size = reach(slot, slot->offset, most);
	const struct nvme_tcp_data pdu = {
		.common.flags = size == slot->left ? NVME_TCP_LAST : 0,
		.cid = slot->sqe.cid,
		.tag = slot->tag,
		.offset = slot->offset,
		.size = size,
	};

	assert(slot->left > 0 && size > 0);
	memcpy(head, &pdu, sizeof(pdu));
	gather_head(queue, nvme_tcp_seal(head, &queue->tcp, NVME_TCP_H2C_DATA, size));
	gather_data(queue, slot, slot->offset, size);
	slot->offset += size;
	slot->left -= size;
}

static void put_ic_req(struct host_queue *queue)
{
	const struct nvme_host_options *o = &queue->host->options;
	const struct nvme_tcp_ic ic = {
		.digests = (uint8_t)((o->header_digest ? NVME_TCP_DIGEST_HEADERS : 0) |
		                     (o->data_digest ? NVME_TCP_DIGEST_DATA : 0)),
	};

	memcpy(queue->heads, &ic, sizeof(ic));
	gather_head(queue, nvme_tcp_seal(queue->heads, &queue->tcp, NVME_TCP_IC_REQ, 0));
	queue->ic_wanted = false;
}

/* The answer has come, or the connection has gone, and its memory is not being sent. */
static void slot_ended(struct host_queue *queue, struct host_slot *slot)
{
	if (slot->is_out) {
		STAILQ_REMOVE(&queue->out, slot, host_slot, link);
		slot->is_out = false;
	}
	if (slot->sending)
		return;
	if (slot->kind == SLOT_BLOCK)
		host_block_ended(slot, queue);
	else
		host_admin_ended(slot, queue);
}

static void sent(struct req *req)
{
	struct host_queue *queue = container_of(req, struct host_queue, send);
	struct nvme_host *host = queue->host;
	uint32_t count = queue->batch_count;

	req_pop(req, struct send_frame);
	assert(queue->sending && count <= HOST_BATCH_MAX);
	queue->sending = false;
	queue->batch_count = 0;
	for (uint32_t i = 0; i < count; i++)
		queue->batch[i]->sending = false;
	for (uint32_t i = 0; i < count; i++) {
		struct host_slot *slot = queue->batch[i];

		/* A slot may be in it twice, and free since. */
		if (slot->kind != SLOT_FREE && !slot->sending &&
		    (slot->answered || queue->stream == NULL))
			slot_ended(queue, slot);
	}
	if (queue->stream == NULL)
		host_quiet(host);
	else if (req->status != STATUS_OK)
		host_lose(host, "the connection broke");
	else
		host_kick(host);
}

static void gather_all(struct host_queue *queue)
{
	struct host_slot *slot;

	while (queue->batch_count < HOST_BATCH_MAX && (slot = STAILQ_FIRST(&queue->out)) != NULL) {
		uint32_t segments =
		        slot->iov_count < HOST_SEGMENTS_MAX ? slot->iov_count : HOST_SEGMENTS_MAX;

		if (queue->iov_count > 0 && queue->iov_count + segments + 2 > STREAM_IOV_MAX)
			return;
		STAILQ_REMOVE_HEAD(&queue->out, link);
		slot->is_out = false;
		slot->sending = true;
		queue->batch[queue->batch_count++] = slot;
		if (!slot->capsule_sent)
			put_capsule(queue, slot);
		else
			put_data(queue, slot);
		if (slot->left > 0) {
			slot->is_out = true;
			STAILQ_INSERT_TAIL(&queue->out, slot, link);
		}
	}
}

void host_queue_send(struct host_queue *queue)
{
	struct stream_cmd cmd = { .iov = queue->iov };

	if (queue->stream == NULL || queue->sending)
		return;
	queue->iov_count = queue->heads_used = 0;
	assert(queue->batch_count == 0);
	if (queue->ic_wanted)
		put_ic_req(queue);
	else if (queue->tcp.ready)
		gather_all(queue);
	if (queue->iov_count == 0)
		return;
	queue->host->stats.sends++;
	queue->sending = true;
	cmd.iov_count = queue->iov_count;
	req_push(&queue->send, struct send_frame, sent);
	stream_send(queue->stream, &queue->send, &cmd);
}

/* Receiving. */

static void set_up(struct host_queue *queue)
{
	const struct nvme_host_options *o = &queue->host->options;
	const struct nvme_tcp_ic *ic = &queue->parser.pdu.ic;

	if (((ic->digests & NVME_TCP_DIGEST_HEADERS) && !o->header_digest) ||
	    ((ic->digests & NVME_TCP_DIGEST_DATA) && !o->data_digest)) {
		host_lose(queue->host, "the controller wants digests that were not asked for");
		return;
	}
	assert(queue->state == QUEUE_SET_UP && !queue->tcp.ready);
	queue->tcp.header_digest = ic->digests & NVME_TCP_DIGEST_HEADERS;
	queue->tcp.data_digest = ic->digests & NVME_TCP_DIGEST_DATA;
	queue->tcp.out_align = ic->align;
	queue->tcp.ready = true;
	queue->h2c_max = ic->max & ~3u;
	queue->state = QUEUE_CONNECT;
	host_queue_connect(queue);
}

static void responded(struct host_queue *queue)
{
	const struct nvme_cqe *cqe = &queue->parser.pdu.response.cqe;
	struct host_slot *slot = slot_of(queue, cqe->cid);

	if (slot == NULL) {
		host_lose(queue->host, "a response to no command");
		return;
	}
	slot->answered = true;
	slot->status = cqe->status >> 1;
	slot->result = cqe->result;
	slot_ended(queue, slot);
}

static void asked_for_data(struct host_queue *queue)
{
	const struct nvme_tcp_data *r2t = &queue->parser.pdu.data;
	struct host_slot *slot = slot_of(queue, r2t->cid);

	if (slot == NULL || !slot->writes || !slot->capsule_sent || slot->left > 0 ||
	    slot->sqe.sgl.type != NVME_SGL_TRANSPORT || r2t->offset > slot->data_size ||
	    r2t->size > slot->data_size - r2t->offset) {
		host_lose(queue->host, "an R2T that fits no command");
		return;
	}
	slot->tag = r2t->tag;
	slot->offset = r2t->offset;
	slot->left = r2t->size;
	put_out(queue, slot);
}

static void data_begun(struct host_queue *queue)
{
	const struct nvme_tcp_data *pdu = &queue->parser.pdu.data;
	struct host_slot *slot = slot_of(queue, pdu->cid);

	/* More than all of it in all would be some of it twice. */
	if (slot == NULL || slot->writes || pdu->offset > slot->data_size ||
	    pdu->size > slot->data_size - pdu->offset ||
	    pdu->size > slot->data_size - slot->received) {
		host_lose(queue->host, "data that fits no command");
		return;
	}
	queue->receiving = slot;
	queue->received_at = pdu->offset;
	slot->received += pdu->size;
}

static void data_piece(struct host_queue *queue, struct bytes data)
{
	const struct host_slot *slot = queue->receiving;
	uint32_t offset = queue->received_at;

	queue->received_at += (uint32_t)data.size;
	for (uint32_t i = 0; i < slot->iov_count && data.size > 0; i++) {
		const struct iovec *v = &slot->iov[i];
		size_t part;

		if (offset >= v->iov_len) {
			offset -= (uint32_t)v->iov_len;
			continue;
		}
		part = v->iov_len - offset < data.size ? v->iov_len - offset : data.size;
		memcpy((uint8_t *)v->iov_base + offset, data.data, part);
		data.data += part;
		data.size -= part;
		offset = 0;
	}
	assert(data.size == 0);
}

static void data_ended(struct host_queue *queue, bool damaged)
{
	struct host_slot *slot = queue->receiving;

	queue->receiving = NULL;
	if (slot == NULL)
		return;
	slot->damaged |= damaged;
	if (!(queue->parser.pdu.common.flags & NVME_TCP_SUCCESS))
		return;
	slot->answered = true;
	slot->status = NVME_SC_SUCCESS;
	slot_ended(queue, slot);
}

static void pdu_begun(struct host_queue *queue)
{
	if (queue->parser.pdu.common.type == NVME_TCP_C2H_DATA)
		data_begun(queue);
}

static void pdu_ended(struct host_queue *queue, bool damaged)
{
	switch (queue->parser.pdu.common.type) {
	case NVME_TCP_IC_RESP:
		set_up(queue);
		return;
	case NVME_TCP_RESPONSE:
		responded(queue);
		return;
	case NVME_TCP_R2T:
		asked_for_data(queue);
		return;
	case NVME_TCP_C2H_DATA:
		data_ended(queue, damaged);
		return;
	default:
		host_lose(queue->host, "the controller gave the connection up: %s",
		          nvme_tcp_error_text((enum nvme_tcp_error)queue->parser.pdu.term.error));
		return;
	}
}

static void queue_received(struct stream *stream, struct bytes data)
{
	struct host_queue *queue = stream->owner;
	struct nvme_tcp_event event;

	while (queue->stream == stream) {
		nvme_tcp_next(&queue->parser, &queue->tcp, &data, &event);
		switch (event.type) {
		case NVME_TCP_NEED_MORE:
			return;
		case NVME_TCP_BEGIN:
			pdu_begun(queue);
			break;
		case NVME_TCP_PIECE:
			if (queue->receiving != NULL)
				data_piece(queue, event.data);
			break;
		case NVME_TCP_END:
			pdu_ended(queue, event.damaged);
			break;
		case NVME_TCP_ERROR:
			host_lose(queue->host, "the controller broke the rules: %s",
			          nvme_tcp_error_text(event.error));
			return;
		}
	}
}

static void queue_ended(struct stream *stream, enum status status)
{
	struct host_queue *queue = stream->owner;

	host_lose(queue->host, "%s %s",
	          status == STATUS_OK ? "the connection was closed by" : "no connection to",
	          queue->host->options.address);
}

static const struct stream_handler queue_handler = {
	.received = queue_received,
	.ended = queue_ended,
};

enum status host_queue_open(struct host_queue *queue)
{
	struct nvme_host *host = queue->host;
	struct nvme_host_net *net = host->options.net;

	assert(queue->stream == NULL && !queue->sending && queue->in_flight == 0);
	queue->tcp = (struct nvme_tcp_link){
		.host = true,
		.data_max = HOST_TRANSFER_MAX,
	};
	queue->capsule_max = queue->id == 0 ? NVME_TCP_ADMIN_DATA_MAX : host->io_capsule_max;
	memset(&queue->parser, 0, sizeof(queue->parser));
	queue->receiving = NULL;
	queue->ic_wanted = true;
	queue->state = QUEUE_SET_UP;
	req_init(&queue->send, host->options.worker);
	return net->connect(net, host->options.address, &queue_handler, queue, &queue->stream);
}

/* What it had under way ends: at once, or when its memory is not being sent any more. */
void host_queue_close(struct host_queue *queue)
{
	struct stream *stream = queue->stream;

	if (stream == NULL)
		return;
	queue->stream = NULL;
	queue->state = QUEUE_CLOSED;
	queue->receiving = NULL;
	stream_close(stream);
	for (uint32_t i = 0; i < queue->depth; i++) {
		if (queue->slots[i].kind != SLOT_FREE)
			slot_ended(queue, &queue->slots[i]);
	}
}
