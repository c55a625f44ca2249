/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/nvme.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"

struct nvme_connect nvme_connect_of(const struct nvme_sqe *sqe)
{
	return (struct nvme_connect){
		.format = (uint16_t)sqe->cdw10,
		.queue_id = (uint16_t)(sqe->cdw10 >> 16),
		.queue_size = (uint16_t)sqe->cdw11,
		.attributes = (uint8_t)(sqe->cdw11 >> 16),
		.keep_alive_ms = sqe->cdw12,
	};
}

void nvme_connect_set(struct nvme_sqe *sqe, const struct nvme_connect *connect)
{
	sqe->cdw10 = connect->format | (uint32_t)connect->queue_id << 16;
	sqe->cdw11 = connect->queue_size | (uint32_t)connect->attributes << 16;
	sqe->cdw12 = connect->keep_alive_ms;
}

bool nvme_nqn_is_valid(const char *nqn, size_t field_size)
{
	size_t size = strnlen(nqn, field_size);

	if (size == field_size || size > NVME_NQN_MAX || size < 5 || memcmp(nqn, "nqn.", 4) != 0)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (nqn[i] <= ' ' || nqn[i] > '~')
			return false;
	}
	return true;
}

void nvme_pad(char *out, size_t size, const char *text)
{
	size_t used = strlen(text);

	if (used > size)
		used = size;
	memcpy(out, text, used);
	memset(out + used, ' ', size - used);
}

void nvme_uuid_text(const uint8_t uuid[static 16], char out[static NVME_UUID_TEXT_SIZE])
{
	snprintf(out, NVME_UUID_TEXT_SIZE,
	         "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", uuid[0],
	         uuid[1], uuid[2], uuid[3], uuid[4], uuid[5], uuid[6], uuid[7], uuid[8], uuid[9],
	         uuid[10], uuid[11], uuid[12], uuid[13], uuid[14], uuid[15]);
}

uint16_t nvme_status_from(enum status status, bool is_write)
{
	switch (status) {
	case STATUS_OK:
		return NVME_SC_SUCCESS;
	case STATUS_NOT_FOUND:
		return NVME_SC_INVALID_NAMESPACE | NVME_STATUS_DO_NOT_RETRY;
	case STATUS_INVALID:
	case STATUS_TOO_LARGE:
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DO_NOT_RETRY;
	case STATUS_UNSUPPORTED:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DO_NOT_RETRY;
	case STATUS_NO_SPACE:
		return NVME_SC_CAPACITY_EXCEEDED;
	case STATUS_READ_ONLY:
		return NVME_SC_WRITE_PROTECTED | NVME_STATUS_DO_NOT_RETRY;
	case STATUS_DENIED:
		return NVME_SC_WRITE_PROTECTED | NVME_STATUS_DO_NOT_RETRY;
	case STATUS_CORRUPT:
		return NVME_SC_READ_ERROR | NVME_STATUS_DO_NOT_RETRY;
	case STATUS_IO:
		return is_write ? NVME_SC_WRITE_FAULT : NVME_SC_READ_ERROR;
	case STATUS_CANCELED:
		return NVME_SC_ABORT_REQUESTED;
	case STATUS_BUSY:
	case STATUS_TIMEOUT:
		return NVME_SC_COMMAND_INTERRUPTED;
	case STATUS_UNAVAILABLE:
		return NVME_SC_NAMESPACE_NOT_READY;
	case STATUS_EXISTS:
	case STATUS_CONFLICT:
	case STATUS_COUNT:
		break;
	}
	return NVME_SC_INTERNAL_ERROR;
}

enum status nvme_status_to(uint16_t status)
{
	switch (status & NVME_STATUS_CODE) {
	case NVME_SC_SUCCESS:
		return STATUS_OK;
	case NVME_SC_INVALID_OPCODE:
		return STATUS_UNSUPPORTED;
	case NVME_SC_INVALID_FIELD:
	case NVME_SC_LBA_OUT_OF_RANGE:
		return STATUS_INVALID;
	case NVME_SC_INVALID_NAMESPACE:
		return STATUS_NOT_FOUND;
	case NVME_SC_CAPACITY_EXCEEDED:
		return STATUS_NO_SPACE;
	case NVME_SC_WRITE_PROTECTED:
	case NVME_SC_READ_ONLY_RANGE:
		return STATUS_READ_ONLY;
	case NVME_SC_COMMAND_INTERRUPTED:
		return STATUS_BUSY;
	case NVME_SC_READ_ERROR:
		return status & NVME_STATUS_DO_NOT_RETRY ? STATUS_CORRUPT : STATUS_IO;
	case NVME_SC_NAMESPACE_NOT_READY:
	case NVME_SC_TRANSIENT_TRANSPORT:
	case NVME_SC_ABORT_REQUESTED:
	case NVME_SC_ABORTED_QUEUE_DELETED:
	case NVME_SC_HOST_PATH_ERROR:
	case NVME_SC_ANA_INACCESSIBLE:
	case NVME_SC_ANA_TRANSITION:
	case NVME_SC_ANA_PERSISTENT_LOSS:
		return STATUS_UNAVAILABLE;
	default:
		return STATUS_IO;
	}
}

const char *nvme_status_text(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *text;
	} texts[] = {
		{ NVME_SC_SUCCESS, "success" },
		{ NVME_SC_INVALID_OPCODE, "invalid command opcode" },
		{ NVME_SC_INVALID_FIELD, "invalid field in command" },
		{ NVME_SC_COMMAND_SEQUENCE_ERROR, "command sequence error" },
		{ NVME_SC_INVALID_NAMESPACE, "invalid namespace" },
		{ NVME_SC_CONNECT_FORMAT, "incompatible format of connect" },
		{ NVME_SC_CONNECT_BUSY, "the controller is busy" },
		{ NVME_SC_CONNECT_INVALID, "no such subsystem, or wrong parameters of connect" },
		{ NVME_SC_CONNECT_INVALID_HOST, "this host is not allowed" },
	};

	for (size_t i = 0; i < array_count(texts); i++) {
		if (texts[i].status == (status & NVME_STATUS_CODE))
			return texts[i].text;
	}
	return "an error";
}

uint8_t nvme_ana_state_of(const uint8_t *log, size_t size, uint32_t nsid)
{
	struct nvme_ana_header header;
	struct nvme_ana_group group;
	size_t at = sizeof(header);
	uint32_t id;

	if (size < sizeof(header))
		return 0;
	memcpy(&header, log, sizeof(header));
	for (uint32_t i = 0; i < header.group_count; i++) {
		if (size - at < sizeof(group))
			return 0;
		memcpy(&group, log + at, sizeof(group));
		at += sizeof(group);
		if (group.namespace_count > (size - at) / sizeof(id))
			return 0;
		for (uint32_t k = 0; k < group.namespace_count; k++) {
			memcpy(&id, log + at + k * sizeof(id), sizeof(id));
			if (id == nsid)
				return group.state & 0xf;
		}
		at += group.namespace_count * sizeof(id);
	}
	assert(at <= size);
	return 0;
}
