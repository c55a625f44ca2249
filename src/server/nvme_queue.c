/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of NVMe/TCP, which is a queue: what comes on it, and how it ends. A peer that breaks
 * the rules gets a TermReq and loses this connection; others do not notice.
 */
#include "base/assert.h"
#include "core/log.h"
#include "server/nvme_internal.h"

void nvme_queue_init(struct nvme_queue *queue, struct stream *stream)
{
	struct nvme_server *server = queue->server;
	uint64_t now_ns = server->worker->now_ns;

	assert(stream->worker == server->worker && !stream->closed);
	queue->stream = stream;
	queue->flags = 0;
	queue->id = 0;
	queue->controller_id = 0;
	queue->depth = 1;
	queue->sq_head = 0;
	queue->command_count = queue->waiting_count = 0;
	queue->received_ns = queue->sent_ns = now_ns;
	queue->deadline_ns = now_ns + NVME_CONNECT_NS;
	queue->tcp = (struct nvme_tcp_link){ .data_max = NVME_H2C_MAX,
		                             .capsule_max = NVME_TCP_ADMIN_DATA_MAX };
	memset(&queue->parser, 0, sizeof(queue->parser));
	queue->receiving = queue->connecting = NULL;
	queue->controller = NULL;
	for (unsigned i = 0; i < NVME_CID_CHAINS; i++)
		LIST_INIT(&queue->cids[i]);
	STAILQ_INIT(&queue->out);
	queue->sending = queue->ordered = false;
	queue->held_count = queue->heads_used = queue->iov_count = 0;
	queue->ic_size = queue->term_size = 0;
	req_init(&queue->send, server->worker);
	req_init(&queue->message, server->worker);
	stream->handler = &nvme_stream_handler;
	stream->owner = queue;
}

void nvme_queue_kill(struct nvme_queue *queue)
{
	queue->flags |= NVME_QUEUE_DYING;
	nvme_queue_ready(queue);
}

void nvme_queue_fail(struct nvme_queue *queue, enum nvme_tcp_error error, uint32_t information)
{
	const struct nvme_tcp_event event = { .error = error, .information = information };

	if (queue->flags & (NVME_QUEUE_TERM | NVME_QUEUE_DYING))
		return;
	assert(queue->stream != NULL && queue->term_size == 0);
	queue->server->stats.malformed++;
	log_put(queue->server->worker, LOG_WARN, "nvme_tcp: %s, peer=%s field=%u",
	        nvme_tcp_error_text(error), queue->stream->peer, information);
	queue->term_size =
	        (uint32_t)nvme_tcp_write_term(queue->term, &queue->tcp, &queue->parser, &event);
	queue->flags |= NVME_QUEUE_TERM;
	queue->receiving = NULL;
	nvme_queue_ready(queue);
}

/* Answers ICReq, and agrees to what it asks for. */
static void set_up(struct nvme_queue *queue)
{
	const struct nvme_tcp_ic *req = &queue->parser.pdu.ic;
	struct nvme_tcp_ic resp = { .digests = req->digests &
		                               (NVME_TCP_DIGEST_HEADERS | NVME_TCP_DIGEST_DATA),
		                    .max = NVME_H2C_MAX };

	assert(!queue->tcp.ready && queue->ic_size == 0);
	memcpy(queue->ic_resp, &resp, sizeof(resp));
	queue->ic_size = (uint32_t)nvme_tcp_seal(queue->ic_resp, &queue->tcp, NVME_TCP_IC_RESP, 0);
	queue->tcp.out_align = req->align;
	queue->tcp.header_digest = req->digests & NVME_TCP_DIGEST_HEADERS;
	queue->tcp.data_digest = req->digests & NVME_TCP_DIGEST_DATA;
	queue->tcp.ready = true;
	nvme_queue_ready(queue);
}

static void pdu_begun(struct nvme_queue *queue)
{
	assert(queue->receiving == NULL);
	switch (queue->parser.pdu.common.type) {
	case NVME_TCP_COMMAND:
		nvme_command_begin(queue);
		return;
	case NVME_TCP_H2C_DATA:
		queue->receiving = nvme_command_of_data(queue);
		return;
	default:
		return;
	}
}

static void pdu_ended(struct nvme_queue *queue, bool damaged)
{
	struct nvme_command *command = queue->receiving;

	queue->receiving = NULL;
	switch (queue->parser.pdu.common.type) {
	case NVME_TCP_IC_REQ:
		set_up(queue);
		return;
	case NVME_TCP_H2C_TERM:
		nvme_queue_kill(queue);
		return;
	default:
		if (command != NULL)
			nvme_command_received(command, damaged);
		return;
	}
}

static void queue_received(struct stream *stream, struct bytes data)
{
	const uint32_t deaf =
	        NVME_QUEUE_DYING | NVME_QUEUE_TERM | NVME_QUEUE_LINGER | NVME_QUEUE_ENDED;
	struct nvme_queue *queue = stream->owner;
	struct nvme_tcp_event event;

	assert(queue->stream == stream);
	queue->received_ns = queue->server->worker->now_ns;
	while (!(queue->flags & deaf)) {
		nvme_tcp_next(&queue->parser, &queue->tcp, &data, &event);
		switch (event.type) {
		case NVME_TCP_NEED_MORE:
			return;
		case NVME_TCP_BEGIN:
			pdu_begun(queue);
			break;
		case NVME_TCP_PIECE:
			if (queue->receiving != NULL)
				nvme_command_data(queue->receiving, event.data);
			break;
		case NVME_TCP_END:
			pdu_ended(queue, event.damaged);
			break;
		case NVME_TCP_ERROR:
			nvme_queue_fail(queue, event.error, event.information);
			return;
		}
	}
}

/* A host that sends no more has left: commands under way end, nobody waits for their answers. */
static void queue_ended(struct stream *stream, enum status status)
{
	struct nvme_queue *queue = stream->owner;

	(void)status;
	queue->flags |= NVME_QUEUE_ENDED;
	nvme_queue_kill(queue);
}

const struct stream_handler nvme_stream_handler = {
	.received = queue_received,
	.ended = queue_ended,
};

/* Whether a command is under way that ends without the host's doing. */
static bool is_busy(const struct nvme_queue *queue)
{
	const struct nvme_command *command;

	if (queue->sending || queue->ic_size > 0 || queue->term_size > 0)
		return true;
	for (unsigned i = 0; i < NVME_CID_CHAINS; i++) {
		LIST_FOREACH(command, &queue->cids[i], cid_link)
		{
			if (command->phase == NVME_PHASE_RUN ||
			    command->phase == NVME_PHASE_STARVED ||
			    command->phase == NVME_PHASE_ANSWER)
				return true;
		}
	}
	return false;
}

static void drop_commands(struct nvme_queue *queue)
{
	struct nvme_command *command, *next;

	queue->receiving = NULL;
	for (unsigned i = 0; i < NVME_CID_CHAINS; i++) {
		for (command = LIST_FIRST(&queue->cids[i]); command != NULL; command = next) {
			next = LIST_NEXT(command, cid_link);
			assert(command->queue == queue);
			if (command->phase != NVME_PHASE_RUN)
				nvme_command_drop(command);
		}
	}
	STAILQ_INIT(&queue->out);
}

/* One step of its end; the rest when what is under way has come home. */
static void end(struct nvme_queue *queue)
{
	assert(queue->flags & NVME_QUEUE_DYING);
	if (queue->stream != NULL) {
		stream_close(queue->stream);
		queue->stream = NULL;
	}
	drop_commands(queue);
	if ((queue->flags & NVME_QUEUE_JOINED) && !(queue->flags & NVME_QUEUE_MESSAGE))
		nvme_queue_leave(queue);
	if (queue->command_count > 0 || queue->sending ||
	    (queue->flags & (NVME_QUEUE_JOINED | NVME_QUEUE_MESSAGE)))
		return;
	if (queue->controller != NULL)
		nvme_controller_admin_left(queue->controller);
	queue->controller = NULL;
	nvme_queue_free(queue);
}

void nvme_queue_run(struct nvme_queue *queue)
{
	if (!(queue->flags & NVME_QUEUE_DYING))
		nvme_queue_send(queue);
	if ((queue->flags & NVME_QUEUE_DRAINING) && !(queue->flags & NVME_QUEUE_DYING)) {
		stream_pause(queue->stream, true);
		if (!is_busy(queue))
			queue->flags |= NVME_QUEUE_DYING;
	}
	if (queue->flags & NVME_QUEUE_DYING)
		end(queue);
}

void nvme_queue_sweep(struct nvme_queue *queue)
{
	uint64_t now_ns = queue->server->worker->now_ns;
	bool owed = queue->waiting_count > 0 && now_ns > queue->received_ns + NVME_STALL_NS;
	bool stuck = queue->sending && now_ns > queue->sent_ns + NVME_STALL_NS;

	if ((queue->flags & NVME_QUEUE_DYING) || !(owed || stuck || now_ns > queue->deadline_ns))
		return;
	if (!(queue->flags & NVME_QUEUE_LINGER))
		queue->server->stats.expired++;
	nvme_queue_kill(queue);
}
