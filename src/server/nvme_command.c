/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a command: it is checked when its header is there, gets its buffer, gets its data,
 * runs, is answered.
 */
#include "base/assert.h"
#include "server/nvme_internal.h"

static struct nvme_command *command_get(struct nvme_queue *queue)
{
	struct nvme_server *server = queue->server;
	struct nvme_command *command = STAILQ_FIRST(&server->commands_free);
	uint16_t cid = queue->parser.pdu.command.sqe.cid;

	assert(command != NULL); /* else: more is reserved than there is */
	assert(command->phase == NVME_PHASE_FREE);
	assert(queue->command_count < queue->depth);
	STAILQ_REMOVE_HEAD(&server->commands_free, link);
	command->queue = queue;
	command->run = NULL;
	command->sqe = queue->parser.pdu.command.sqe;
	command->phase = NVME_PHASE_CAPSULE;
	command->to_controller = command->wants_r2t = false;
	command->status = NVME_SC_SUCCESS;
	command->result = 0;
	command->data_size = command->data_done = command->scratch_size = 0;
	command->buf = command->scratch = NULL;
	command->export = NULL;
	req_init(&command->req, server->worker);
	LIST_INSERT_HEAD(&queue->cids[cid % NVME_CID_CHAINS], command, cid_link);
	queue->command_count++;
	return command;
}

static void buf_give_back(struct nvme_server *server, struct buf **buf)
{
	if (*buf == NULL)
		return;
	assert(server->data_size >= (*buf)->size);
	server->data_size -= (*buf)->size;
	buf_unref(*buf);
	*buf = NULL;
}

void nvme_command_release(struct nvme_command *command)
{
	buf_give_back(command->queue->server, &command->buf);
	buf_give_back(command->queue->server, &command->scratch);
}

void nvme_command_free(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;

	assert(command->phase != NVME_PHASE_FREE && command->export == NULL);
	assert(queue->command_count > 0);
	nvme_command_release(command);
	LIST_REMOVE(command, cid_link);
	command->phase = NVME_PHASE_FREE;
	STAILQ_INSERT_HEAD(&queue->server->commands_free, command, link);
	queue->command_count--;
	if (queue->flags & NVME_QUEUE_DYING)
		nvme_queue_ready(queue);
}

static void waits(struct nvme_command *command, enum nvme_command_phase phase)
{
	assert(phase == NVME_PHASE_CAPSULE || phase == NVME_PHASE_DATA);
	assert(command->queue->waiting_count < command->queue->command_count);
	command->phase = (uint8_t)phase;
	command->queue->waiting_count++;
}

static void waited(struct nvme_command *command)
{
	assert(command->phase == NVME_PHASE_CAPSULE || command->phase == NVME_PHASE_DATA);
	assert(command->queue->waiting_count > 0);
	command->queue->waiting_count--;
}

void nvme_command_drop(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;

	switch ((enum nvme_command_phase)command->phase) {
	case NVME_PHASE_CAPSULE:
	case NVME_PHASE_DATA:
		waited(command);
		break;
	case NVME_PHASE_STARVED:
		TAILQ_REMOVE(&queue->server->starved, command, wait_link);
		break;
	case NVME_PHASE_EVENT:
		TAILQ_REMOVE(&queue->controller->events, command, wait_link);
		queue->controller->event_count--;
		break;
	case NVME_PHASE_ANSWER:
		break;
	case NVME_PHASE_RUN:
	case NVME_PHASE_FREE:
		unreachable();
		break;
	}
	if (command->export != NULL)
		export_leave(command->export);
	command->export = NULL;
	nvme_command_free(command);
}

void nvme_command_complete(struct nvme_command *command, uint16_t status)
{
	struct nvme_queue *queue = command->queue;

	assert(command->phase != NVME_PHASE_ANSWER && command->phase != NVME_PHASE_FREE);
	assert(command->phase != NVME_PHASE_STARVED);
	if (command->export != NULL)
		export_leave(command->export);
	command->export = NULL;
	command->status = status;
	command->phase = NVME_PHASE_ANSWER;
	if (queue->flags & (NVME_QUEUE_DYING | NVME_QUEUE_TERM)) {
		nvme_command_free(command);
		return;
	}
	if (status != NVME_SC_SUCCESS) {
		queue->server->stats.failed++;
		nvme_command_release(command);
	}
	STAILQ_INSERT_TAIL(&queue->out, command, link);
	nvme_queue_ready(queue);
}

static bool buf_take(struct nvme_server *server, uint32_t size, struct buf **out)
{
	/* One command may always have a buffer, so that there is an end to waiting. */
	if (server->data_size > 0 && server->data_size + size > server->data_max)
		return false;
	*out = buf_get(server->bufs, size);
	if (*out == NULL)
		return false;
	server->data_size += (*out)->size;
	return true;
}

/* All the buffers that it needs, or none of them. */
static bool buffers_take(struct nvme_command *command)
{
	struct nvme_server *server = command->queue->server;

	if (command->data_size > 0 && command->buf == NULL &&
	    !buf_take(server, command->data_size, &command->buf))
		return false;
	if (command->scratch_size > 0 && command->scratch == NULL &&
	    !buf_take(server, command->scratch_size, &command->scratch)) {
		if (command->data_done == 0) /* else: what its capsule had is in it */
			buf_give_back(server, &command->buf);
		return false;
	}
	return true;
}

/* It has its buffers: asks for its data, or runs. */
static void go_on(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;

	if (command->to_controller && command->data_size > 0 &&
	    command->data_done < command->data_size) {
		waits(command, NVME_PHASE_DATA);
		command->wants_r2t = true;
		STAILQ_INSERT_TAIL(&queue->out, command, link);
		nvme_queue_ready(queue);
		return;
	}
	command->phase = NVME_PHASE_RUN;
	assert(command->run != NULL);
	assert(command->data_size == 0 || command->buf != NULL);
	assert(command->scratch_size == 0 || command->scratch != NULL);
	command->run(command);
}

/* In order: nobody overtakes those that wait for buffers already. */
static void proceed(struct nvme_command *command)
{
	struct nvme_server *server = command->queue->server;
	bool needs = (command->data_size > 0 && command->buf == NULL) || command->scratch_size > 0;

	if (needs && (!TAILQ_EMPTY(&server->starved) || !buffers_take(command))) {
		command->phase = NVME_PHASE_STARVED;
		TAILQ_INSERT_TAIL(&server->starved, command, wait_link);
		server->stats.starved++;
		return;
	}
	go_on(command);
}

unsigned nvme_starved_run(struct nvme_server *server)
{
	struct nvme_command *command;
	unsigned count = 0;

	while ((command = TAILQ_FIRST(&server->starved)) != NULL && buffers_take(command)) {
		assert(command->phase == NVME_PHASE_STARVED);
		TAILQ_REMOVE(&server->starved, command, wait_link);
		go_on(command);
		count++;
	}
	return count;
}

/* Whether the data pointer fits what the command says of its data. */
static uint16_t check_sgl(const struct nvme_command *command, uint32_t capsule_size)
{
	const struct nvme_sgl *sgl = &command->sqe.sgl;

	if (command->sqe.flags & NVME_SQE_FUSE)
		return NVME_SC_INVALID_FIELD;
	if (command->data_size > 0 && (command->sqe.flags & NVME_SQE_PSDT) != NVME_SQE_SGL)
		return NVME_SC_INVALID_FIELD;
	if (command->data_size == 0)
		return capsule_size == 0 ? NVME_SC_SUCCESS : NVME_SC_SGL_LENGTH_INVALID;
	if (command->data_size > NVME_TRANSFER_MAX)
		return NVME_SC_INVALID_FIELD;
	if (sgl->type == NVME_SGL_IN_CAPSULE) {
		if (!command->to_controller)
			return NVME_SC_SGL_TYPE_INVALID;
		if (sgl->address != 0)
			return NVME_SC_SGL_OFFSET_INVALID;
		if (sgl->size != command->data_size || capsule_size != command->data_size)
			return NVME_SC_SGL_LENGTH_INVALID;
		return NVME_SC_SUCCESS;
	}
	if (sgl->type != NVME_SGL_TRANSPORT)
		return NVME_SC_SGL_TYPE_INVALID;
	if (sgl->size != command->data_size || capsule_size != 0)
		return NVME_SC_SGL_LENGTH_INVALID;
	return NVME_SC_SUCCESS;
}

static uint16_t check(struct nvme_command *command)
{
	const struct nvme_queue *queue = command->queue;
	uint16_t status;

	if (command->sqe.opcode == NVME_FABRICS)
		status = nvme_fabrics_check(command);
	else if (!(queue->flags & NVME_QUEUE_CONNECTED))
		status = NVME_SC_COMMAND_SEQUENCE_ERROR;
	else if (queue->id == 0)
		status = nvme_admin_check(command);
	else
		status = nvme_io_check(command);
	if (status == NVME_SC_SUCCESS)
		status = check_sgl(command, queue->parser.data_size);
	return status == NVME_SC_SUCCESS ? status : status | NVME_STATUS_DO_NOT_RETRY;
}

static bool cid_is_used(const struct nvme_queue *queue, uint16_t cid)
{
	const struct nvme_command *command;

	LIST_FOREACH(command, &queue->cids[cid % NVME_CID_CHAINS], cid_link)
	{
		if (command->sqe.cid == cid)
			return true;
	}
	return false;
}

void nvme_command_begin(struct nvme_queue *queue)
{
	struct nvme_command *command;
	bool conflict;

	if (queue->command_count >= queue->depth) {
		nvme_queue_fail(queue, NVME_TCP_SEQUENCE, 0); /* more than fit the queue */
		return;
	}
	conflict = cid_is_used(queue, queue->parser.pdu.command.sqe.cid);
	command = command_get(queue);
	command->status =
	        conflict ? NVME_SC_COMMAND_ID_CONFLICT | NVME_STATUS_DO_NOT_RETRY : check(command);
	waits(command, NVME_PHASE_CAPSULE);
	queue->receiving = command;
	/* Data that comes with it cannot wait for a buffer: without one the host has to retry. */
	if (command->status == NVME_SC_SUCCESS && queue->parser.data_size > 0 &&
	    !buf_take(queue->server, command->data_size, &command->buf))
		command->status = NVME_SC_COMMAND_INTERRUPTED;
}

void nvme_command_data(struct nvme_command *command, struct bytes data)
{
	assert(command->phase == NVME_PHASE_CAPSULE || command->phase == NVME_PHASE_DATA);
	if (command->status != NVME_SC_SUCCESS)
		return;
	assert(command->buf != NULL);
	assert(data.size <= command->data_size - command->data_done);
	memcpy(command->buf->data + command->data_done, data.data, data.size);
	command->data_done += (uint32_t)data.size;
}

void nvme_command_received(struct nvme_command *command, bool damaged)
{
	if (damaged && command->status == NVME_SC_SUCCESS)
		command->status = NVME_SC_TRANSIENT_TRANSPORT;
	/* Of data that is asked for all is taken, so that its end is the end of the command. */
	if (command->phase == NVME_PHASE_DATA && command->status == NVME_SC_SUCCESS &&
	    command->data_done < command->data_size)
		return;
	if (command->phase == NVME_PHASE_DATA && command->status != NVME_SC_SUCCESS &&
	    !(command->queue->parser.pdu.common.flags & NVME_TCP_LAST))
		return;
	waited(command);
	if (command->status != NVME_SC_SUCCESS)
		nvme_command_complete(command, command->status);
	else
		proceed(command);
}

struct nvme_command *nvme_command_of_data(struct nvme_queue *queue)
{
	const struct nvme_tcp_data *pdu = &queue->parser.pdu.data;
	struct nvme_server *server = queue->server;
	struct nvme_command *command;
	bool last = pdu->common.flags & NVME_TCP_LAST;

	enum { AT_CID = 8, AT_TAG = 10, AT_OFFSET = 12 };

	if (pdu->tag >= server->commands_max) {
		nvme_queue_fail(queue, NVME_TCP_INVALID_FIELD, AT_TAG);
		return NULL;
	}
	command = &server->command_memory[pdu->tag];
	if (command->phase != NVME_PHASE_DATA || command->queue != queue || command->wants_r2t) {
		nvme_queue_fail(queue, NVME_TCP_INVALID_FIELD, AT_TAG);
		return NULL;
	}
	if (pdu->cid != command->sqe.cid) {
		nvme_queue_fail(queue, NVME_TCP_INVALID_FIELD, AT_CID);
		return NULL;
	}
	if (pdu->offset > command->data_size || pdu->size > command->data_size - pdu->offset) {
		nvme_queue_fail(queue, NVME_TCP_OUT_OF_RANGE, AT_OFFSET);
		return NULL;
	}
	/* A damaged piece has ended the count: then only the end matters. */
	if (command->status == NVME_SC_SUCCESS &&
	    (pdu->offset != command->data_done ||
	     last != (pdu->offset + pdu->size == command->data_size))) {
		nvme_queue_fail(queue, NVME_TCP_INVALID_FIELD,
		                pdu->offset != command->data_done ? AT_OFFSET : 1);
		return NULL;
	}
	return command;
}
