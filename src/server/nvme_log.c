/* SPDX-License-Identifier: Apache-2.0 */
/* Get Log Page: a page is made whole, and the part that was asked for is moved to its front. */
#include <stdio.h>

#include "base/assert.h"
#include "server/nvme_internal.h"

enum {
	ERROR_ENTRY_SIZE = 64,
	ROOM_TEMPERATURE = 300, /* Kelvin: there is no thermometer */
	COMMAND_SUPPORTED = 1 << 0,
	COMMAND_CHANGES_DATA = 1 << 1,
	FEATURE_SUPPORTED = 1 << 0,
	PAGE_SUPPORTED = 1 << 0,
	RETAIN_EVENT = 1 << 15, /* cdw10 */
	SUBSYSTEM_NVM = 2,
	SUBSYSTEM_CURRENT = 3, /* the discovery subsystem that is being asked */
	NO_FLOW_CONTROL = 1 << 2,
	ENTRIES = 2,
};

static void set_byte_entry(uint8_t *page, unsigned index, uint32_t value)
{
	memcpy(page + index * sizeof(value), &value, sizeof(value));
}

static uint32_t make_supported(const struct nvme_controller *controller, uint8_t *page)
{
	static const uint8_t of_io[] = { NVME_LOG_ERROR,    NVME_LOG_SMART,
		                         NVME_LOG_FIRMWARE, NVME_LOG_CHANGED_NAMESPACES,
		                         NVME_LOG_EFFECTS,  NVME_LOG_FEATURES };

	set_byte_entry(page, NVME_LOG_SUPPORTED, PAGE_SUPPORTED);
	if (controller->discovery)
		set_byte_entry(page, NVME_LOG_DISCOVERY, PAGE_SUPPORTED);
	for (size_t i = 0; i < array_count(of_io) && !controller->discovery; i++)
		set_byte_entry(page, of_io[i], PAGE_SUPPORTED);
	return 1024;
}

static uint32_t make_features(uint8_t *page)
{
	static const uint8_t ids[] = { NVME_FEATURE_ARBITRATION,     NVME_FEATURE_POWER,
		                       NVME_FEATURE_TEMPERATURE,     NVME_FEATURE_ERROR_RECOVERY,
		                       NVME_FEATURE_WRITE_CACHE,     NVME_FEATURE_QUEUES,
		                       NVME_FEATURE_WRITE_ATOMICITY, NVME_FEATURE_ASYNC_EVENTS,
		                       NVME_FEATURE_KEEP_ALIVE,      NVME_FEATURE_HOST_ID };

	for (size_t i = 0; i < array_count(ids); i++)
		set_byte_entry(page, ids[i], FEATURE_SUPPORTED);
	return 1024;
}

static uint32_t make_effects(uint8_t *page)
{
	static const uint8_t admin[] = { NVME_ADMIN_GET_LOG_PAGE, NVME_ADMIN_IDENTIFY,
		                         NVME_ADMIN_ABORT,        NVME_ADMIN_SET_FEATURES,
		                         NVME_ADMIN_GET_FEATURES, NVME_ADMIN_ASYNC_EVENT,
		                         NVME_ADMIN_KEEP_ALIVE };
	static const uint8_t reads[] = { NVME_READ, NVME_COMPARE, NVME_VERIFY, NVME_FLUSH };
	static const uint8_t writes[] = { NVME_WRITE, NVME_WRITE_ZEROES, NVME_DATASET_MANAGEMENT };
	enum { IO_FIRST = 256 };

	for (size_t i = 0; i < array_count(admin); i++)
		set_byte_entry(page, admin[i], COMMAND_SUPPORTED);
	for (size_t i = 0; i < array_count(reads); i++)
		set_byte_entry(page, IO_FIRST + reads[i], COMMAND_SUPPORTED);
	for (size_t i = 0; i < array_count(writes); i++)
		set_byte_entry(page, IO_FIRST + writes[i],
		               COMMAND_SUPPORTED | COMMAND_CHANGES_DATA);
	return 4096;
}

/* What this worker has served: each has its own counts. */
static uint32_t make_smart(const struct nvme_server *server, uint8_t *page)
{
	const struct nvme_stats *stats = &server->stats;
	struct nvme_smart_log log = {
		.temperature = ROOM_TEMPERATURE,
		.available_spare = 100,
		.spare_threshold = 1,
		.units_read = { (stats->bytes_read + 511999) / 512000 },
		.units_written = { (stats->bytes_written + 511999) / 512000 },
		.host_reads = { stats->reads },
		.host_writes = { stats->writes },
	};

	memcpy(page, &log, sizeof(log));
	return sizeof(log);
}

static uint32_t make_firmware(const struct nvme_server *server, uint8_t *page)
{
	page[0] = 1; /* the first slot is active */
	nvme_pad((char *)page + 8, 8, server->subsystem->version);
	return 512;
}

/* Reading it lets the next event come, unless the host says otherwise. */
static uint32_t make_changed(struct nvme_controller *controller, uint8_t *page, bool retain)
{
	uint32_t count = 0;

	for (uint32_t id = 1; id <= EXPORTS_MAX; id++) {
		if (controller->changed[(id - 1) / 8] & 1u << (id - 1) % 8)
			set_byte_entry(page, count++, id);
	}
	if (retain)
		return 4096;
	memset(controller->changed, 0, sizeof(controller->changed));
	controller->namespaces_changed = false;
	return 4096;
}

/* "HOST:PORT" or "[HOST]:PORT" */
static void set_address(struct nvme_discovery_entry *entry, const char *address)
{
	const char *colon = strrchr(address, ':');
	size_t size = colon != NULL ? (size_t)(colon - address) : strlen(address);
	char text[NVME_ADDRESS_SIZE];

	entry->transport = NVME_TRTYPE_TCP;
	entry->address_family = address[0] == '[' ? NVME_ADRFAM_IPV6 : NVME_ADRFAM_IPV4;
	if (address[0] == '[' && size >= 2)
		snprintf(text, sizeof(text), "%.*s", (int)size - 2, address + 1);
	else
		snprintf(text, sizeof(text), "%.*s", (int)size, address);
	nvme_pad(entry->address, sizeof(entry->address), text);
	nvme_pad(entry->service, sizeof(entry->service), colon != NULL ? colon + 1 : "4420");
}

static uint32_t make_discovery(const struct nvme_server *server, uint8_t *page)
{
	struct nvme_discovery_header header = { .record_count = ENTRIES, .generation = 1 };
	struct nvme_discovery_entry entry = {
		.controller_id = NVME_CONTROLLER_ANY,
		.requirements = NO_FLOW_CONTROL,
		.port_id = 1,
		.admin_queue_max = (uint16_t)server->depth_max,
	};

	memcpy(page, &header, sizeof(header));
	page += sizeof(header);
	set_address(&entry, server->subsystem->address[0] != '\0' ? server->subsystem->address
	                                                          : server->address);
	entry.subsystem_type = SUBSYSTEM_CURRENT;
	snprintf(entry.subsystem_nqn, sizeof(entry.subsystem_nqn), "%s", NVME_DISCOVERY_NQN);
	memcpy(page, &entry, sizeof(entry));
	page += sizeof(entry);
	entry.subsystem_type = SUBSYSTEM_NVM;
	snprintf(entry.subsystem_nqn, sizeof(entry.subsystem_nqn), "%s", server->subsystem->nqn);
	memcpy(page, &entry, sizeof(entry));
	return sizeof(header) + ENTRIES * sizeof(entry);
}

static uint32_t make(struct nvme_command *command, uint8_t *page)
{
	struct nvme_server *server = command->queue->server;

	switch ((uint8_t)command->sqe.cdw10) {
	case NVME_LOG_SUPPORTED:
		return make_supported(command->queue->controller, page);
	case NVME_LOG_ERROR:
		return ERROR_ENTRY_SIZE; /* no errors: a host was told of each already */
	case NVME_LOG_SMART:
		return make_smart(server, page);
	case NVME_LOG_FIRMWARE:
		return make_firmware(server, page);
	case NVME_LOG_CHANGED_NAMESPACES:
		return make_changed(command->queue->controller, page,
		                    command->sqe.cdw10 & RETAIN_EVENT);
	case NVME_LOG_EFFECTS:
		return make_effects(page);
	case NVME_LOG_FEATURES:
		return make_features(page);
	case NVME_LOG_DISCOVERY:
		return make_discovery(server, page);
	default:
		unreachable();
		return 0;
	}
}

static uint64_t offset_of(const struct nvme_command *command)
{
	return command->sqe.cdw12 | (uint64_t)command->sqe.cdw13 << 32;
}

static void log_run(struct nvme_command *command)
{
	uint8_t *page = command->scratch->data;
	uint64_t offset = offset_of(command);
	uint32_t size, part;

	assert(command->scratch->size >= NVME_PAGE_SIZE);
	memset(page, 0, NVME_PAGE_SIZE);
	size = make(command, page);
	assert(size <= NVME_PAGE_SIZE);
	if (offset > size) {
		nvme_command_complete(command, NVME_SC_INVALID_FIELD | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	part = size - (uint32_t)offset;
	if (part > command->data_size)
		part = command->data_size;
	memset(command->buf->data, 0, command->data_size);
	memcpy(command->buf->data, page + offset, part);
	nvme_command_complete(command, NVME_SC_SUCCESS);
}

static bool is_known(const struct nvme_controller *controller, uint8_t id)
{
	switch (id) {
	case NVME_LOG_SUPPORTED:
		return true;
	case NVME_LOG_DISCOVERY:
		return controller->discovery;
	case NVME_LOG_ERROR:
	case NVME_LOG_SMART:
	case NVME_LOG_FIRMWARE:
	case NVME_LOG_CHANGED_NAMESPACES:
	case NVME_LOG_EFFECTS:
	case NVME_LOG_FEATURES:
		return !controller->discovery;
	default:
		return false;
	}
}

uint16_t nvme_log_check(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t dwords = (sqe->cdw10 >> 16 | (uint64_t)(sqe->cdw11 & 0xffff) << 16) + 1;

	if (!is_known(command->queue->controller, (uint8_t)sqe->cdw10))
		return NVME_SC_INVALID_LOG_PAGE;
	if (dwords * 4 > NVME_TRANSFER_MAX || offset_of(command) % 4 != 0)
		return NVME_SC_INVALID_FIELD;
	command->data_size = (uint32_t)dwords * 4;
	command->scratch_size = NVME_PAGE_SIZE;
	command->run = log_run;
	return NVME_SC_SUCCESS;
}
