/* SPDX-License-Identifier: Apache-2.0 */
/* Get Features and Set Features. */
#include "base/assert.h"
#include "server/nvme_internal.h"

enum {
	SELECT_CURRENT = 0,
	SELECT_DEFAULT = 1,
	SELECT_SAVED = 2,
	SELECT_CAPABILITIES = 3,
	CHANGEABLE = 1 << 2, /* of capabilities */
	WARMEST_KELVIN = 0x157,
	EVENTS_KNOWN = NVME_OAES_NAMESPACE,
};
#define SAVE_BIT (1u << 31) /* SV */

/* Features that a controller only remembers, and where. */
static uint32_t *remembered(struct nvme_controller *controller, uint8_t id)
{
	switch (id) {
	case NVME_FEATURE_ARBITRATION:
		return &controller->features[0];
	case NVME_FEATURE_POWER:
		return &controller->features[1];
	case NVME_FEATURE_TEMPERATURE:
		return &controller->features[2];
	case NVME_FEATURE_ERROR_RECOVERY:
		return &controller->features[3];
	case NVME_FEATURE_WRITE_ATOMICITY:
		return &controller->features[4];
	default:
		return NULL;
	}
}

static uint64_t default_of(uint8_t id)
{
	switch (id) {
	case NVME_FEATURE_TEMPERATURE:
		return WARMEST_KELVIN;
	case NVME_FEATURE_WRITE_CACHE:
		return 1;
	case NVME_FEATURE_QUEUES:
		return (NVME_QUEUES_MAX - 1) | (uint32_t)(NVME_QUEUES_MAX - 1) << 16;
	default:
		return 0;
	}
}

static bool is_known(const struct nvme_controller *controller, uint8_t id)
{
	switch (id) {
	case NVME_FEATURE_ASYNC_EVENTS:
	case NVME_FEATURE_KEEP_ALIVE:
		return true;
	case NVME_FEATURE_ARBITRATION:
	case NVME_FEATURE_POWER:
	case NVME_FEATURE_TEMPERATURE:
	case NVME_FEATURE_ERROR_RECOVERY:
	case NVME_FEATURE_WRITE_CACHE:
	case NVME_FEATURE_QUEUES:
	case NVME_FEATURE_WRITE_ATOMICITY:
	case NVME_FEATURE_HOST_ID:
		return !controller->discovery;
	default:
		return false;
	}
}

static uint64_t current(struct nvme_controller *controller, uint8_t id)
{
	const uint32_t *value = remembered(controller, id);

	if (value != NULL)
		return id == NVME_FEATURE_TEMPERATURE && *value == 0 ? WARMEST_KELVIN : *value;
	switch (id) {
	case NVME_FEATURE_ASYNC_EVENTS:
		return controller->async_events;
	case NVME_FEATURE_KEEP_ALIVE:
		return controller->keep_alive_ms;
	default:
		return default_of(id);
	}
}

static void get_run(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	uint8_t id = (uint8_t)command->sqe.cdw10;

	switch (command->sqe.cdw10 >> 8 & 7) {
	case SELECT_CURRENT:
		if (id == NVME_FEATURE_HOST_ID)
			memcpy(command->buf->data, controller->host_id,
			       sizeof(controller->host_id));
		else
			command->result = current(controller, id);
		break;
	case SELECT_CAPABILITIES:
		command->result = id == NVME_FEATURE_HOST_ID || id == NVME_FEATURE_WRITE_CACHE
		                          ? 0
		                          : CHANGEABLE;
		break;
	default: /* nothing is saved: the default is what it comes back to */
		command->result = default_of(id);
		break;
	}
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

/* A queue each way is the least; as many as are asked for up to what there is. */
static uint16_t set_queues(struct nvme_command *command)
{
	uint32_t submission = command->sqe.cdw11 & 0xffff, completion = command->sqe.cdw11 >> 16;
	uint32_t least = submission < completion ? submission : completion;

	if (submission == 0xffff || completion == 0xffff)
		return NVME_SC_INVALID_FIELD;
	if (command->queue->controller->queue_count > 0)
		return NVME_SC_COMMAND_SEQUENCE_ERROR;
	if (least > NVME_QUEUES_MAX - 1)
		least = NVME_QUEUES_MAX - 1;
	command->result = least | least << 16;
	return NVME_SC_SUCCESS;
}

static uint16_t set(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	uint8_t id = (uint8_t)command->sqe.cdw10;
	uint32_t value = command->sqe.cdw11, *place = remembered(controller, id);

	if (command->sqe.cdw10 & SAVE_BIT)
		return NVME_SC_FEATURE_NOT_SAVEABLE;
	if (place != NULL) {
		if (id == NVME_FEATURE_POWER && (value & 0x1f) != 0)
			return NVME_SC_INVALID_FIELD; /* there is one power state */
		*place = value;
		return NVME_SC_SUCCESS;
	}
	switch (id) {
	case NVME_FEATURE_WRITE_CACHE: /* its devices' caches are what they are */
		return value & 1 ? NVME_SC_SUCCESS : NVME_SC_FEATURE_NOT_CHANGEABLE;
	case NVME_FEATURE_QUEUES:
		return set_queues(command);
	case NVME_FEATURE_ASYNC_EVENTS:
		controller->async_events = value & EVENTS_KNOWN;
		nvme_controller_changed(controller);
		return NVME_SC_SUCCESS;
	case NVME_FEATURE_KEEP_ALIVE:
		controller->keep_alive_ms = value;
		nvme_controller_alive(controller);
		return NVME_SC_SUCCESS;
	case NVME_FEATURE_HOST_ID: /* on fabrics, Connect has said it */
		return NVME_SC_COMMAND_SEQUENCE_ERROR;
	default:
		return NVME_SC_INVALID_FIELD;
	}
}

static void set_run(struct nvme_command *command)
{
	uint16_t status = set(command);

	nvme_command_complete(
	        command, status == NVME_SC_SUCCESS ? status : status | NVME_STATUS_DO_NOT_RETRY);
}

uint16_t nvme_features_check(struct nvme_command *command)
{
	uint8_t id = (uint8_t)command->sqe.cdw10;
	bool is_get = command->sqe.opcode == NVME_ADMIN_GET_FEATURES;

	if (!is_known(command->queue->controller, id))
		return NVME_SC_INVALID_FIELD;
	if (is_get && (command->sqe.cdw10 >> 8 & 7) > SELECT_CAPABILITIES)
		return NVME_SC_INVALID_FIELD;
	command->run = is_get ? get_run : set_run;
	if (id != NVME_FEATURE_HOST_ID)
		return NVME_SC_SUCCESS;
	if (!is_get)
		return NVME_SC_COMMAND_SEQUENCE_ERROR;
	if ((command->sqe.cdw10 >> 8 & 7) != SELECT_CURRENT)
		return NVME_SC_SUCCESS;
	if (!(command->sqe.cdw11 & 1)) /* fabrics have host identifiers of 128 bits */
		return NVME_SC_INVALID_FIELD;
	command->data_size = sizeof(command->queue->controller->host_id);
	return NVME_SC_SUCCESS;
}
