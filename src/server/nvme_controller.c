/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controllers, and how queues on other workers join and leave them.
 *
 * A queue asks with its own message, which comes back with the answer; it leaves the same way, and
 * is freed only when that has come back. A controller that ends, or is reset, sends each of its
 * queues the order to end. The order goes from the controller's worker to the queue's before the
 * answer to a leave does, so that nothing refers to a queue when it is freed.
 */
#include "base/assert.h"
#include "core/log.h"
#include "server/nvme_internal.h"

enum { NUMBER_SHIFT = 6 }; /* NVME_CONTROLLERS_MAX for each worker, from 1 on */
_Static_assert(1 << NUMBER_SHIFT == NVME_CONTROLLERS_MAX, "numbers");
_Static_assert(WORKER_PEERS_MAX *NVME_CONTROLLERS_MAX < NVME_CONTROLLER_MAX, "numbers");

struct nvme_controller *nvme_controller_get(struct nvme_server *server)
{
	for (uint32_t i = 0; i < NVME_CONTROLLERS_MAX; i++) {
		struct nvme_controller *controller = &server->controllers[i];

		if (controller->used)
			continue;
		*controller = (struct nvme_controller){
			.server = server,
			.used = true,
			.id = (uint16_t)((server->worker->id << NUMBER_SHIFT | i) + 1),
		};
		TAILQ_INIT(&controller->events);
		return controller;
	}
	return NULL;
}

static struct nvme_server *server_of(const struct nvme_subsystem *subsystem, uint16_t number)
{
	uint32_t worker = (number - 1u) >> NUMBER_SHIFT;

	return number >= 1 && worker < WORKER_PEERS_MAX ? subsystem->servers[worker] : NULL;
}

static struct nvme_controller *controller_of(struct nvme_server *server, uint16_t number)
{
	assert(server_of(server->subsystem, number) == server);
	return &server->controllers[(number - 1u) & (NVME_CONTROLLERS_MAX - 1)];
}

static void release_if_empty(struct nvme_controller *controller)
{
	if (controller->queue_count == 0)
		controller->resetting = false;
	if (controller->admin != NULL || controller->queue_count > 0)
		return;
	assert(controller->used && controller->event_count == 0);
	controller->used = false;
	controller->server->stats.controllers_open--;
}

/* Messages of queues, at the controller's worker. */

static void go_home(struct nvme_queue *queue, req_fn *arrive)
{
	worker_send(queue->server->worker, &queue->message, arrive);
}

static uint16_t join(struct nvme_server *server, struct nvme_queue *queue)
{
	struct nvme_controller *controller = controller_of(server, queue->controller_id);

	if (!controller->used || controller->ending || controller->discovery ||
	    controller->admin == NULL)
		return NVME_SC_CONNECT_INVALID | NVME_STATUS_DO_NOT_RETRY;
	if (strcmp(controller->host_nqn, queue->host_nqn) != 0 ||
	    memcmp(controller->host_id, queue->host_id, sizeof(queue->host_id)) != 0)
		return NVME_SC_CONNECT_INVALID | NVME_STATUS_DO_NOT_RETRY;
	if (!(controller->cc & NVME_CC_ENABLE) || controller->shut_down)
		return NVME_SC_COMMAND_SEQUENCE_ERROR | NVME_STATUS_DO_NOT_RETRY;
	if (controller->queues[queue->id] != NULL)
		return NVME_SC_CONNECT_BUSY;
	controller->queues[queue->id] = queue;
	controller->queue_count++;
	queue->ordered = false;
	return NVME_SC_SUCCESS;
}

static void joined(struct req *req);
static void left(struct req *req);

static void join_asked(struct req *req)
{
	struct nvme_queue *queue = container_of(req, struct nvme_queue, message);
	/* The queue's own server may be another worker's: only what never changes of it is read. */
	struct nvme_server *server = server_of(queue->server->subsystem, queue->controller_id);

	assert(server != NULL && (queue->flags & NVME_QUEUE_MESSAGE));
	queue->join_status = join(server, queue);
	go_home(queue, joined);
}

static void leave_asked(struct req *req)
{
	struct nvme_queue *queue = container_of(req, struct nvme_queue, message);
	struct nvme_server *server = server_of(queue->server->subsystem, queue->controller_id);
	struct nvme_controller *controller = controller_of(server, queue->controller_id);

	assert(controller->used && controller->queue_count > 0);
	assert(controller->queues[queue->id] == queue);
	controller->queues[queue->id] = NULL;
	controller->queue_count--;
	release_if_empty(controller);
	go_home(queue, left);
}

/* And back at the queue's. */

static void joined(struct req *req)
{
	struct nvme_queue *queue = container_of(req, struct nvme_queue, message);
	struct nvme_command *command = queue->connecting;
	const struct nvme_connect connect = nvme_connect_of(&command->sqe);

	assert(command != NULL && command->phase == NVME_PHASE_RUN);
	queue->flags &= ~(uint32_t)NVME_QUEUE_MESSAGE;
	queue->connecting = NULL;
	nvme_queue_ready(queue);
	if (queue->join_status == NVME_SC_SUCCESS)
		queue->flags |= NVME_QUEUE_JOINED;
	if (queue->join_status == NVME_SC_SUCCESS &&
	    !nvme_reserve(queue->server, connect.queue_size)) {
		nvme_command_complete(command, NVME_SC_CONNECT_BUSY);
		nvme_queue_leave(queue);
		return;
	}
	if (queue->join_status != NVME_SC_SUCCESS) {
		queue->id = 0;
		command->result = (queue->join_status & NVME_STATUS_CODE) == NVME_SC_CONNECT_INVALID
		                          ? 16 | 1 << 16 /* the controller's number, in the data */
		                          : 0;
		nvme_command_complete(command, queue->join_status);
		return;
	}
	queue->depth += connect.queue_size;
	queue->deadline_ns = UINT64_MAX;
	queue->tcp.capsule_max = NVME_CAPSULE_MAX;
	queue->flags |= NVME_QUEUE_CONNECTED;
	if (connect.attributes & NVME_CONNECT_NO_SQ_FLOW)
		queue->flags |= NVME_QUEUE_NO_FLOW;
	command->result = queue->controller_id;
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static void left(struct req *req)
{
	struct nvme_queue *queue = container_of(req, struct nvme_queue, message);

	queue->flags &= ~(uint32_t)(NVME_QUEUE_MESSAGE | NVME_QUEUE_JOINED);
	if (!(queue->flags & NVME_QUEUE_CONNECTED))
		queue->id = 0; /* it may try again */
	nvme_queue_ready(queue);
}

static void ask(struct nvme_queue *queue, req_fn *arrive)
{
	struct nvme_server *server = server_of(queue->server->subsystem, queue->controller_id);

	assert(!(queue->flags & NVME_QUEUE_MESSAGE) && server != NULL);
	queue->flags |= NVME_QUEUE_MESSAGE;
	worker_send(server->worker, &queue->message, arrive);
}

void nvme_queue_join(struct nvme_queue *queue, struct nvme_command *command)
{
	assert(queue->connecting == NULL && !(queue->flags & NVME_QUEUE_JOINED));
	if (server_of(queue->server->subsystem, queue->controller_id) == NULL ||
	    (queue->flags & NVME_QUEUE_MESSAGE)) {
		queue->id = 0;
		command->result = 16 | 1 << 16;
		nvme_command_complete(command, NVME_SC_CONNECT_INVALID | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	queue->connecting = command;
	ask(queue, join_asked);
}

void nvme_queue_leave(struct nvme_queue *queue)
{
	assert(queue->flags & NVME_QUEUE_JOINED);
	ask(queue, leave_asked);
}

/* Orders. */

static void ordered(struct req *req)
{
	struct nvme_queue *queue = container_of(req, struct nvme_queue, order);

	nvme_queue_kill(queue);
}

void nvme_controller_drop_queues(struct nvme_controller *controller)
{
	for (uint32_t i = 1; i <= NVME_QUEUES_MAX; i++) {
		struct nvme_queue *queue = controller->queues[i];

		if (queue == NULL || queue->ordered)
			continue;
		queue->ordered = true;
		req_init(&queue->order, controller->server->worker);
		worker_send(queue->server->worker, &queue->order, ordered);
	}
}

void nvme_controller_end(struct nvme_controller *controller)
{
	if (controller->ending)
		return;
	controller->ending = true;
	nvme_controller_drop_queues(controller);
	if (controller->admin != NULL)
		nvme_queue_kill(controller->admin);
}

void nvme_controller_admin_left(struct nvme_controller *controller)
{
	assert(controller->admin != NULL);
	controller->admin = NULL;
	controller->ending = true;
	nvme_controller_drop_queues(controller);
	release_if_empty(controller);
}

void nvme_controller_alive(struct nvme_controller *controller)
{
	controller->keep_alive_ns =
	        controller->server->worker->now_ns + (uint64_t)controller->keep_alive_ms * 1000000;
}

void nvme_controller_sweep(struct nvme_controller *controller)
{
	struct nvme_server *server = controller->server;

	if (controller->ending || controller->keep_alive_ms == 0 ||
	    server->worker->now_ns <= controller->keep_alive_ns)
		return;
	log_put(server->worker, LOG_WARN, "nvme_tcp: a host keeps silent, host=%s controller=%u",
	        controller->host_nqn, controller->id);
	server->stats.expired++;
	nvme_controller_end(controller);
}

/* One event for all changes until the host has read which ones they are. */
void nvme_controller_changed(struct nvme_controller *controller)
{
	struct nvme_command *command = TAILQ_FIRST(&controller->events);
	bool any = false;

	for (uint32_t i = 0; i < sizeof(controller->changed); i++)
		any |= controller->changed[i] != 0;
	if (!any || controller->namespaces_changed || command == NULL ||
	    !(controller->async_events & NVME_OAES_NAMESPACE))
		return;
	controller->namespaces_changed = true;
	assert(command->phase == NVME_PHASE_EVENT && controller->event_count > 0);
	TAILQ_REMOVE(&controller->events, command, wait_link);
	controller->event_count--;
	command->result =
	        NVME_EVENT(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE, NVME_LOG_CHANGED_NAMESPACES);
	nvme_command_complete(command, NVME_SC_SUCCESS);
}
