/* SPDX-License-Identifier: Apache-2.0 */
/* Fabrics commands: Connect, and the properties of a controller. */
#include "base/assert.h"
#include "server/nvme_internal.h"

enum { READY_TIMEOUT = 15 /* in 500 ms: what CAP says */ };

/* Offsets of fields, for the host that is told which one is wrong. */
enum {
	AT_QUEUE_ID = 42,
	AT_QUEUE_SIZE = 44,
	IN_DATA = 1 << 16,
	AT_CONTROLLER_ID = 16 | IN_DATA,
	AT_SUBSYSTEM_NQN = 256 | IN_DATA,
	AT_HOST_NQN = 512 | IN_DATA,
};

static void refuse(struct nvme_command *command, uint16_t status, uint32_t where)
{
	command->result = where;
	nvme_command_complete(command, status | NVME_STATUS_DO_NOT_RETRY);
}

bool nvme_host_is_allowed(const struct nvme_subsystem *subsystem, const char *nqn)
{
	const char *at = subsystem->hosts;
	size_t size = strlen(nqn);

	if (subsystem->hosts[0] == '\0')
		return true;
	while (*at != '\0') {
		size_t name = strcspn(at, ", ");

		if (name == size && memcmp(at, nqn, size) == 0)
			return true;
		at += name;
		at += strspn(at, ", ");
	}
	return false;
}

static void connect_admin(struct nvme_command *command, const struct nvme_connect_data *data,
                          bool discovery)
{
	struct nvme_queue *queue = command->queue;
	const struct nvme_connect connect = nvme_connect_of(&command->sqe);
	struct nvme_controller *controller;

	if (data->controller_id != NVME_CONTROLLER_ANY) {
		refuse(command, NVME_SC_CONNECT_INVALID, AT_CONTROLLER_ID);
		return;
	}
	controller = nvme_controller_get(queue->server);
	if (controller == NULL || !nvme_reserve(queue->server, connect.queue_size)) {
		if (controller != NULL)
			controller->used = false;
		nvme_command_complete(command, NVME_SC_CONNECT_BUSY);
		return;
	}
	queue->server->stats.controllers_open++;
	queue->depth += connect.queue_size;
	queue->controller = controller;
	queue->controller_id = controller->id;
	queue->deadline_ns = UINT64_MAX;
	queue->flags |= NVME_QUEUE_CONNECTED;
	if (discovery)
		queue->flags |= NVME_QUEUE_DISCOVERY;
	if (connect.attributes & NVME_CONNECT_NO_SQ_FLOW)
		queue->flags |= NVME_QUEUE_NO_FLOW;
	controller->admin = queue;
	controller->discovery = discovery;
	controller->keep_alive_ms = connect.keep_alive_ms;
	memcpy(controller->host_id, data->host_id, sizeof(controller->host_id));
	memcpy(controller->host_nqn, data->host_nqn, sizeof(controller->host_nqn));
	nvme_controller_alive(controller);
	command->result = controller->id;
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static void connect_run(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	const struct nvme_subsystem *subsystem = queue->server->subsystem;
	const struct nvme_connect connect = nvme_connect_of(&command->sqe);
	struct nvme_connect_data data;
	bool discovery;

	memcpy(&data, command->buf->data, sizeof(data));
	discovery = strncmp(data.subsystem_nqn, NVME_DISCOVERY_NQN, NVME_NQN_SIZE) == 0;
	if (connect.format != 0) {
		refuse(command, NVME_SC_CONNECT_FORMAT, 0);
		return;
	}
	if (!nvme_nqn_is_valid(data.host_nqn, NVME_NQN_SIZE)) {
		refuse(command, NVME_SC_CONNECT_INVALID, AT_HOST_NQN);
		return;
	}
	if (!discovery && strncmp(data.subsystem_nqn, subsystem->nqn, NVME_NQN_SIZE) != 0) {
		refuse(command, NVME_SC_CONNECT_INVALID, AT_SUBSYSTEM_NQN);
		return;
	}
	if (!nvme_host_is_allowed(subsystem, data.host_nqn)) {
		refuse(command, NVME_SC_CONNECT_INVALID_HOST, AT_HOST_NQN);
		return;
	}
	if (connect.queue_size == 0 || connect.queue_size >= queue->server->depth_max) {
		refuse(command, NVME_SC_CONNECT_INVALID, AT_QUEUE_SIZE);
		return;
	}
	if (connect.queue_id > NVME_QUEUES_MAX || (discovery && connect.queue_id > 0)) {
		refuse(command, NVME_SC_CONNECT_INVALID, AT_QUEUE_ID);
		return;
	}
	if (connect.queue_id == 0) {
		connect_admin(command, &data, discovery);
		return;
	}
	memcpy(queue->host_id, data.host_id, sizeof(queue->host_id));
	memcpy(queue->host_nqn, data.host_nqn, sizeof(queue->host_nqn));
	queue->id = connect.queue_id;
	queue->controller_id = data.controller_id;
	nvme_queue_join(queue, command);
}

static uint64_t csts(const struct nvme_controller *controller)
{
	uint64_t value = 0;

	if ((controller->cc & NVME_CC_ENABLE) || controller->resetting)
		value |= NVME_CSTS_READY;
	if (controller->fatal)
		value |= NVME_CSTS_FATAL;
	if (controller->shut_down)
		value |= NVME_CSTS_SHUTDOWN_DONE;
	return value;
}

static void property_get_run(struct nvme_command *command)
{
	const struct nvme_controller *controller = command->queue->controller;
	bool is_wide = (command->sqe.cdw10 & 7) == 1;
	uint64_t value;

	switch (command->sqe.cdw11) {
	case NVME_PROPERTY_CAP:
		value = NVME_CAP(command->queue->server->depth_max, READY_TIMEOUT);
		break;
	case NVME_PROPERTY_VS:
		value = NVME_VERSION_2_0;
		break;
	case NVME_PROPERTY_CC:
		value = controller->cc;
		break;
	case NVME_PROPERTY_CSTS:
		value = csts(controller);
		break;
	default:
		nvme_command_complete(command, NVME_SC_INVALID_FIELD | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	if (is_wide != (command->sqe.cdw11 == NVME_PROPERTY_CAP)) {
		nvme_command_complete(command, NVME_SC_INVALID_FIELD | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	command->result = value;
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

/* CC: enabling checks what is asked for; disabling takes the I/O queues away. */
static void configure(struct nvme_controller *controller, uint32_t cc)
{
	const uint32_t others = NVME_CC_CSS | NVME_CC_MPS | NVME_CC_AMS;
	const uint32_t sizes = NVME_CC_IOSQES | NVME_CC_IOCQES;
	bool was = controller->cc & NVME_CC_ENABLE, is = cc & NVME_CC_ENABLE;
	bool usual = (cc & others) == 0 &&
	             (controller->discovery || (cc & sizes) == NVME_CC_USUAL || (cc & sizes) == 0);

	if (is && !was && !usual) {
		controller->fatal = true;
		cc &= ~(uint32_t)NVME_CC_ENABLE;
	} else if (is && !was) {
		controller->shut_down = false;
	} else if (!is && was) {
		controller->resetting = controller->queue_count > 0;
		controller->fatal = controller->shut_down = false;
		nvme_controller_drop_queues(controller);
	}
	if ((cc & NVME_CC_SHN) && !(controller->cc & NVME_CC_SHN)) {
		controller->shut_down = true;
		nvme_controller_drop_queues(controller);
	}
	controller->cc = cc;
}

static void property_set_run(struct nvme_command *command)
{
	if (command->sqe.cdw11 != NVME_PROPERTY_CC || (command->sqe.cdw10 & 7) != 0) {
		nvme_command_complete(command, NVME_SC_INVALID_FIELD | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	configure(command->queue->controller, command->sqe.cdw12);
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

uint16_t nvme_fabrics_check(struct nvme_command *command)
{
	const struct nvme_queue *queue = command->queue;
	bool connected = queue->flags & NVME_QUEUE_CONNECTED;

	if (command->sqe.fctype == NVME_CONNECT) {
		if (connected || queue->connecting != NULL)
			return NVME_SC_COMMAND_SEQUENCE_ERROR;
		command->run = connect_run;
		command->to_controller = true;
		command->data_size = sizeof(struct nvme_connect_data);
		return NVME_SC_SUCCESS;
	}
	if (!connected)
		return NVME_SC_COMMAND_SEQUENCE_ERROR;
	if (queue->id != 0)
		return NVME_SC_INVALID_OPCODE;
	nvme_controller_alive(queue->controller);
	switch (command->sqe.fctype) {
	case NVME_PROPERTY_GET:
		command->run = property_get_run;
		return NVME_SC_SUCCESS;
	case NVME_PROPERTY_SET:
		command->run = property_set_run;
		return NVME_SC_SUCCESS;
	default:
		return NVME_SC_INVALID_OPCODE;
	}
}
