/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the admin queue: which there are, and the small ones. */
#include "base/assert.h"
#include "server/nvme_internal.h"

/* What runs cannot be taken back, as the specification lets it be: it completes by itself. */
static void abort_run(struct nvme_command *command)
{
	command->result = 1; /* not aborted */
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static void keep_alive_run(struct nvme_command *command)
{
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

/* It is answered when there is something to tell. */
static void event_run(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;

	if (controller->event_count >= NVME_EVENTS_MAX) {
		nvme_command_complete(command,
		                      NVME_SC_ASYNC_EVENT_LIMIT | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	assert(command->phase == NVME_PHASE_RUN && command->buf == NULL);
	command->phase = NVME_PHASE_EVENT;
	TAILQ_INSERT_TAIL(&controller->events, command, wait_link);
	controller->event_count++;
	nvme_controller_changed(controller);
}

uint16_t nvme_admin_check(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_controller *controller = queue->controller;
	uint8_t opcode = command->sqe.opcode;

	assert(controller != NULL);
	nvme_controller_alive(controller);
	queue->server->stats.admin++;
	if (!(controller->cc & NVME_CC_ENABLE))
		return NVME_SC_COMMAND_SEQUENCE_ERROR;
	switch (opcode) {
	case NVME_ADMIN_GET_LOG_PAGE:
		return nvme_log_check(command);
	case NVME_ADMIN_IDENTIFY:
		return nvme_identify_check(command);
	case NVME_ADMIN_SET_FEATURES:
	case NVME_ADMIN_GET_FEATURES:
		return nvme_features_check(command);
	case NVME_ADMIN_ASYNC_EVENT:
		command->run = event_run;
		return NVME_SC_SUCCESS;
	case NVME_ADMIN_KEEP_ALIVE:
		command->run = keep_alive_run;
		return NVME_SC_SUCCESS;
	case NVME_ADMIN_ABORT:
		command->run = abort_run;
		return controller->discovery ? NVME_SC_INVALID_OPCODE : NVME_SC_SUCCESS;
	default:
		return NVME_SC_INVALID_OPCODE;
	}
}
