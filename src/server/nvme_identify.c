/* SPDX-License-Identifier: Apache-2.0 */
/* Identify: what the controller is, which namespaces there are, and what each is. */
#include <stdio.h>

#include "base/assert.h"
#include "server/nvme_internal.h"

enum {
	KEEP_ALIVE_UNITS = 10, /* of 100 ms: how exact keep alive timers are */
	TYPE_IO = 1,
	TYPE_DISCOVERY = 2,
	WRITE_CACHE = 1 | 2 << 1, /* present; a flush is of one namespace */
	RESPONSE_SIZE = 16,
	CSI_NVM = 0,
	DESCRIPTOR_HEAD = 4,
};

static uint32_t block_shift(const struct blk_geometry *geometry)
{
	return (uint32_t)__builtin_ctz(geometry->block_size);
}

static void describe_limits(struct nvme_id_controller *id)
{
	id->nn = EXPORTS_MAX;
	id->mnan = EXPORTS_MAX;
	id->oncs = NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES | NVME_ONCS_VERIFY;
	id->vwc = WRITE_CACHE;
	id->sqes = 6 | 6 << 4;
	id->cqes = 4 | 4 << 4;
	id->ioccsz = (sizeof(struct nvme_sqe) + NVME_CAPSULE_MAX) / 16;
	id->iorcsz = RESPONSE_SIZE / 16;
	id->wctemp = id->cctemp = 0x157;
	id->cmic = 1 << 1; /* several controllers */
	id->oaes = NVME_OAES_NAMESPACE;
	id->acl = 3;
	id->frmw = 1 << 1 | 1; /* one slot, read-only */
}

static void identify_controller(struct nvme_command *command)
{
	const struct nvme_controller *controller = command->queue->controller;
	const struct nvme_server *server = controller->server;
	const struct nvme_subsystem *subsystem = server->subsystem;
	struct nvme_id_controller *id = (void *)command->buf->data;

	assert(command->buf->size >= sizeof(*id));
	memset(id, 0, sizeof(*id));
	nvme_pad(id->serial, sizeof(id->serial), subsystem->serial);
	nvme_pad(id->model, sizeof(id->model), "weir");
	nvme_pad(id->firmware, sizeof(id->firmware), subsystem->version);
	id->mdts = NVME_MDTS;
	id->controller_id = controller->id;
	id->version = NVME_VERSION_2_0;
	id->ctratt = 1; /* host identifiers of 128 bits */
	id->type = controller->discovery ? TYPE_DISCOVERY : TYPE_IO;
	id->aerl = NVME_EVENTS_MAX - 1;
	id->lpa = NVME_LPA_EFFECTS | NVME_LPA_EXTENDED;
	id->kas = KEEP_ALIVE_UNITS;
	id->maxcmd = (uint16_t)server->depth_max;
	id->sgls = NVME_SGLS_FABRICS;
	id->msdbd = 1;
	if (!controller->discovery)
		describe_limits(id);
	snprintf(id->subsystem_nqn, sizeof(id->subsystem_nqn), "%s",
	         controller->discovery ? NVME_DISCOVERY_NQN : subsystem->nqn);
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static void describe_namespace(const struct export *export, struct nvme_id_namespace *id)
{
	const struct blk_geometry *g = &export->blk->geometry;
	uint32_t unit = g->atomic_unit / g->block_size;

	id->nsze = id->ncap = id->nuse = g->block_count;
	id->nsfeat = NVME_NSFEAT_OPTIMAL;
	id->nmic = NVME_NMIC_SHARED;
	id->nsattr = export->read_only ? NVME_NSATTR_READ_ONLY : 0;
	id->dlfeat = (uint8_t)((g->discard_zeroes ? NVME_DLFEAT_ZEROES : 0) |
	                       (g->ops & 1u << BLK_ZEROES ? NVME_DLFEAT_WRITE_ZEROES : 0));
	if (g->discard_unit > 1 && g->discard_unit <= 0x10000)
		id->npdg = id->npda = (uint16_t)(g->discard_unit - 1);
	if (unit > 0) {
		id->nsfeat |= NVME_NSFEAT_ATOMIC;
		id->nawun = id->nawupf = (uint16_t)((unit < 0x10000 ? unit : 0x10000) - 1);
	}
	memcpy(id->nguid, export->uuid, sizeof(id->nguid));
	id->lbaf[0] = block_shift(g) << 16;
}

static void identify_namespace(struct nvme_command *command)
{
	uint32_t nsid = command->sqe.nsid;
	const struct export *export = export_at(command->queue->server->exports, nsid);
	struct nvme_id_namespace *id = (void *)command->buf->data;

	memset(id, 0, sizeof(*id));
	if (nsid == 0 || nsid > EXPORTS_MAX) {
		nvme_command_complete(command,
		                      NVME_SC_INVALID_NAMESPACE | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	if (export != NULL) /* else: inactive, all zeroes */
		describe_namespace(export, id);
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static void identify_active(struct nvme_command *command)
{
	const struct export_set *exports = command->queue->server->exports;
	uint32_t after = command->sqe.nsid, *list = (void *)command->buf->data, count = 0;

	memset(list, 0, NVME_PAGE_SIZE);
	if (after >= NVME_NAMESPACE_ALL - 1) {
		nvme_command_complete(command,
		                      NVME_SC_INVALID_NAMESPACE | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	for (uint32_t id = after + 1; id <= EXPORTS_MAX; id++) {
		if (export_at((struct export_set *)(uintptr_t)exports, id) != NULL)
			list[count++] = id;
	}
	assert(count <= EXPORTS_MAX);
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static size_t add_descriptor(uint8_t *out, uint8_t type, const uint8_t *value, uint8_t size)
{
	out[0] = type;
	out[1] = size;
	out[2] = out[3] = 0;
	memcpy(out + DESCRIPTOR_HEAD, value, size);
	return DESCRIPTOR_HEAD + (size_t)size;
}

static void identify_descriptors(struct nvme_command *command)
{
	static const uint8_t csi = CSI_NVM;
	const struct export *export = export_at(command->queue->server->exports, command->sqe.nsid);
	uint8_t *out = command->buf->data;

	memset(out, 0, NVME_PAGE_SIZE);
	if (export == NULL) {
		nvme_command_complete(command,
		                      NVME_SC_INVALID_NAMESPACE | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	out += add_descriptor(out, NVME_NIDT_UUID, export->uuid, sizeof(export->uuid));
	out += add_descriptor(out, NVME_NIDT_NGUID, export->uuid, sizeof(export->uuid));
	add_descriptor(out, NVME_NIDT_CSI, &csi, sizeof(csi));
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

/* Of the NVM command set: zeroes, because what moves no data has no limits but its fields. */
static void identify_nvm_controller(struct nvme_command *command)
{
	memset(command->buf->data, 0, NVME_PAGE_SIZE);
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

/* Of the NVM command set a namespace has no more than its zeroes say. */
static void identify_nvm_namespace(struct nvme_command *command)
{
	memset(command->buf->data, 0, NVME_PAGE_SIZE);
	if (command->sqe.nsid == 0 || command->sqe.nsid > EXPORTS_MAX)
		nvme_command_complete(command,
		                      NVME_SC_INVALID_NAMESPACE | NVME_STATUS_DO_NOT_RETRY);
	else
		nvme_command_complete(command, NVME_SC_SUCCESS);
}

static void identify_independent(struct nvme_command *command)
{
	const struct export *export = export_at(command->queue->server->exports, command->sqe.nsid);
	uint8_t *out = command->buf->data;

	memset(out, 0, NVME_PAGE_SIZE);
	if (export != NULL) {
		out[1] = NVME_NMIC_SHARED;
		out[8] = export->read_only ? NVME_NSATTR_READ_ONLY : 0;
		out[14] = 1; /* ready */
	}
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static void identify_command_sets(struct nvme_command *command)
{
	memset(command->buf->data, 0, NVME_PAGE_SIZE);
	command->buf->data[0] = 1 << CSI_NVM;
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

uint16_t nvme_identify_check(struct nvme_command *command)
{
	bool discovery = command->queue->controller->discovery;
	uint8_t cns = (uint8_t)command->sqe.cdw10, csi = (uint8_t)(command->sqe.cdw11 >> 24);

	command->data_size = NVME_PAGE_SIZE;
	if (discovery && cns != NVME_CNS_CONTROLLER)
		return NVME_SC_INVALID_FIELD;
	switch (cns) {
	case NVME_CNS_CONTROLLER:
		command->run = identify_controller;
		return NVME_SC_SUCCESS;
	case NVME_CNS_NAMESPACE:
		command->run = identify_namespace;
		return NVME_SC_SUCCESS;
	case NVME_CNS_CSI_ACTIVE:
		if (csi != CSI_NVM)
			return NVME_SC_INVALID_FIELD;
		command->run = identify_active;
		return NVME_SC_SUCCESS;
	case NVME_CNS_ACTIVE:
		command->run = identify_active;
		return NVME_SC_SUCCESS;
	case NVME_CNS_DESCRIPTORS:
		command->run = identify_descriptors;
		return NVME_SC_SUCCESS;
	case NVME_CNS_INDEPENDENT:
		command->run = identify_independent;
		return NVME_SC_SUCCESS;
	case NVME_CNS_COMMAND_SETS:
		command->run = identify_command_sets;
		return NVME_SC_SUCCESS;
	case NVME_CNS_CSI_CONTROLLER:
	case NVME_CNS_CSI_NAMESPACE:
		if (csi != CSI_NVM)
			return NVME_SC_INVALID_FIELD;
		command->run = cns == NVME_CNS_CSI_CONTROLLER ? identify_nvm_controller
		                                              : identify_nvm_namespace;
		return NVME_SC_SUCCESS;
	default:
		return NVME_SC_INVALID_FIELD;
	}
}
