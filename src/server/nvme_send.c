/* SPDX-License-Identifier: Apache-2.0 */
/* What a queue answers: all the responses of a turn in one send. */
#include "base/assert.h"
#include "base/hash.h"
#include "server/nvme_internal.h"

struct send_frame {
	struct frame frame;
};

/* Behind what is gathered already; pieces that touch become one. */
static void gather(struct nvme_queue *queue, const void *data, size_t size)
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

static void gather_head(struct nvme_queue *queue, size_t size)
{
	gather(queue, queue->heads + queue->heads_used, size);
	queue->heads_used += (uint32_t)size;
	assert(queue->heads_used <= NVME_HEADS_SIZE);
}

static void put_r2t(struct nvme_queue *queue, struct nvme_command *command)
{
	uint8_t *head = queue->heads + queue->heads_used;
	const struct nvme_tcp_data r2t = {
		.cid = command->sqe.cid,
		.tag = (uint16_t)(command - queue->server->command_memory),
		.size = command->data_size,
	};

	assert(command->phase == NVME_PHASE_DATA && command->data_done == 0);
	memcpy(head, &r2t, sizeof(r2t));
	gather_head(queue, nvme_tcp_seal(head, &queue->tcp, NVME_TCP_R2T, 0));
	command->wants_r2t = false;
}

/* Its data; it is the send's from now on. */
static void put_data(struct nvme_queue *queue, struct nvme_command *command, uint8_t flags)
{
	uint8_t *head = queue->heads + queue->heads_used;
	const struct nvme_tcp_data pdu = {
		.common.flags = flags,
		.cid = command->sqe.cid,
		.size = command->data_size,
	};
	uint32_t crc;

	assert(command->buf != NULL && command->data_size <= command->buf->size);
	assert(queue->held_count < NVME_BATCH_MAX);
	memcpy(head, &pdu, sizeof(pdu));
	gather_head(queue, nvme_tcp_seal(head, &queue->tcp, NVME_TCP_C2H_DATA, command->data_size));
	gather(queue, command->buf->data, command->data_size);
	queue->held[queue->held_count++] = command->buf;
	if (queue->tcp.data_digest) {
		crc = crc32c(0, command->buf->data, command->data_size);
		memcpy(queue->heads + queue->heads_used, &crc, sizeof(crc));
		gather_head(queue, sizeof(crc));
	}
	command->buf = NULL;
}

static void put_response(struct nvme_queue *queue, const struct nvme_command *command)
{
	uint8_t *head = queue->heads + queue->heads_used;
	const struct nvme_tcp_response pdu = { .cqe = {
		                                       .result = command->result,
		                                       .sq_head = (uint16_t)queue->sq_head,
		                                       .cid = command->sqe.cid,
		                                       .status = (uint16_t)(command->status << 1),
		                               } };

	memcpy(head, &pdu, sizeof(pdu));
	gather_head(queue, nvme_tcp_seal(head, &queue->tcp, NVME_TCP_RESPONSE, 0));
}

/*
 * Where SQ flow control is disabled, the last data of a command that has succeeded says so, and
 * there is no response.
 */
static void put_answer(struct nvme_queue *queue, struct nvme_command *command)
{
	bool has_data = command->buf != NULL && !command->to_controller &&
	                command->status == NVME_SC_SUCCESS;
	bool quick = has_data && (queue->flags & NVME_QUEUE_NO_FLOW) && command->result == 0;

	assert(command->phase == NVME_PHASE_ANSWER && command->queue == queue);
	assert(queue->depth > 1 || !(queue->flags & NVME_QUEUE_CONNECTED));
	if (queue->flags & NVME_QUEUE_NO_FLOW)
		queue->sq_head = NVME_SQ_HEAD_NONE;
	else
		queue->sq_head = (queue->sq_head + 1) % queue->depth;
	if (has_data)
		put_data(queue, command, quick ? NVME_TCP_LAST | NVME_TCP_SUCCESS : NVME_TCP_LAST);
	if (!quick)
		put_response(queue, command);
	nvme_command_free(command);
}

static void sent(struct req *req)
{
	struct nvme_queue *queue = container_of(req, struct nvme_queue, send);
	struct nvme_server *server = queue->server;

	req_pop(req, struct send_frame);
	assert(queue->sending);
	queue->sending = false;
	for (uint32_t i = 0; i < queue->held_count; i++) {
		assert(server->data_size >= queue->held[i]->size);
		server->data_size -= queue->held[i]->size;
		buf_unref(queue->held[i]);
	}
	queue->held_count = 0;
	nvme_queue_ready(queue);
	if (req->status != STATUS_OK) {
		nvme_queue_kill(queue);
	} else if ((queue->flags & NVME_QUEUE_TERM) && queue->term_size == 0) {
		queue->flags |= NVME_QUEUE_LINGER;
		queue->deadline_ns = server->worker->now_ns + NVME_LINGER_NS;
	}
}

static void gather_all(struct nvme_queue *queue)
{
	struct nvme_command *command;

	queue->iov_count = queue->heads_used = 0;
	if (queue->ic_size > 0) {
		gather(queue, queue->ic_resp, queue->ic_size);
		queue->ic_size = 0;
	}
	if (queue->flags & NVME_QUEUE_TERM) {
		if (queue->term_size > 0)
			gather(queue, queue->term, queue->term_size);
		queue->term_size = 0;
		return;
	}
	for (unsigned i = 0; i < NVME_BATCH_MAX; i++) {
		command = STAILQ_FIRST(&queue->out);
		if (command == NULL)
			return;
		STAILQ_REMOVE_HEAD(&queue->out, link);
		if (command->wants_r2t)
			put_r2t(queue, command);
		else
			put_answer(queue, command);
	}
}

void nvme_queue_send(struct nvme_queue *queue)
{
	struct stream_cmd cmd = { .iov = queue->iov };

	assert(queue->stream != NULL);
	if (queue->sending)
		return;
	assert(queue->held_count == 0);
	gather_all(queue);
	if (queue->iov_count == 0)
		return;
	queue->server->stats.sends++;
	queue->sending = true;
	queue->sent_ns = queue->server->worker->now_ns;
	cmd.iov_count = queue->iov_count;
	req_push(&queue->send, struct send_frame, sent);
	stream_send(queue->stream, &queue->send, &cmd);
}
