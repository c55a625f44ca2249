/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from a connection to a device that is ready: Connect, properties, Identify, features, the
 * I/O queues; and what the admin queue does afterwards.
 */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/log.h"
#include "transport/nvme_host_internal.h"

enum {
	LIST_MAX = 1024, /* namespaces in one list */
	TYPE_DISCOVERY = 2,
	SHIFT_MIN = 9,
	SHIFT_MAX = 16,
	BLOCKS_MAX = 65536, /* of a command */
};
#define ANA_PAUSE_NS 1000000000ull

static uint64_t now_ns(const struct nvme_host *host)
{
	return host->options.worker->now_ns;
}

static void reads(struct nvme_host *host, struct host_slot *slot, uint32_t size)
{
	assert(size <= HOST_DATA_SIZE);
	slot->own = (struct iovec){ host->data, size };
	slot->iov = &slot->own;
	slot->iov_count = 1;
	slot->data_size = size;
}

static void identify(struct nvme_host *host, struct host_slot *slot, uint32_t cns, uint32_t nsid)
{
	slot->sqe.opcode = NVME_ADMIN_IDENTIFY;
	slot->sqe.nsid = nsid;
	slot->sqe.cdw10 = cns;
	reads(host, slot, NVME_PAGE_SIZE);
}

static void log_page(struct nvme_host *host, struct host_slot *slot, uint32_t page, uint32_t size)
{
	uint32_t dwords = size / 4 - 1;

	slot->sqe.opcode = NVME_ADMIN_GET_LOG_PAGE;
	slot->sqe.nsid = NVME_NAMESPACE_ALL;
	slot->sqe.cdw10 = page | (dwords & 0xffff) << 16;
	slot->sqe.cdw11 = dwords >> 16;
	reads(host, slot, size);
}

static void property(struct host_slot *slot, uint8_t fctype, uint32_t offset, bool wide)
{
	slot->sqe.opcode = NVME_FABRICS;
	slot->sqe.nsid = 0;
	slot->sqe.fctype = fctype;
	slot->sqe.cdw10 = wide;
	slot->sqe.cdw11 = offset;
}

static void set_feature(struct host_slot *slot, uint32_t id, uint32_t value)
{
	slot->sqe.opcode = NVME_ADMIN_SET_FEATURES;
	slot->sqe.cdw10 = id;
	slot->sqe.cdw11 = value;
}

/* The command of a step. */
static void fill(struct nvme_host *host, struct host_slot *slot, enum host_step step)
{
	uint32_t more = host->options.queues - 1;

	switch (step) {
	case STEP_CAP:
		property(slot, NVME_PROPERTY_GET, NVME_PROPERTY_CAP, true);
		return;
	case STEP_ENABLE:
		property(slot, NVME_PROPERTY_SET, NVME_PROPERTY_CC, false);
		slot->sqe.cdw12 = NVME_CC_USUAL | NVME_CC_ENABLE;
		return;
	case STEP_CSTS:
		property(slot, NVME_PROPERTY_GET, NVME_PROPERTY_CSTS, false);
		return;
	case STEP_CONTROLLER:
		identify(host, slot, NVME_CNS_CONTROLLER, 0);
		return;
	case STEP_NAMESPACES:
		identify(host, slot, NVME_CNS_ACTIVE, 0);
		return;
	case STEP_NAMESPACE:
		identify(host, slot, NVME_CNS_NAMESPACE, host->options.nsid);
		return;
	case STEP_DESCRIPTORS:
		identify(host, slot, NVME_CNS_DESCRIPTORS, host->options.nsid);
		return;
	case STEP_QUEUES:
		set_feature(slot, NVME_FEATURE_QUEUES, more | more << 16);
		return;
	case STEP_EVENTS:
		set_feature(slot, NVME_FEATURE_ASYNC_EVENTS, NVME_OAES_NAMESPACE | NVME_OAES_ANA);
		return;
	case STEP_ANA:
		log_page(host, slot, NVME_LOG_ANA, HOST_DATA_SIZE);
		return;
	case STEP_CHANGED:
		log_page(host, slot, NVME_LOG_CHANGED_NAMESPACES, NVME_PAGE_SIZE);
		return;
	case STEP_DISCOVERY:
		log_page(host, slot, NVME_LOG_DISCOVERY, HOST_DATA_SIZE);
		slot->sqe.cdw12 = (uint32_t)host->log_offset;
		return;
	case STEP_EVENT:
		slot->sqe.opcode = NVME_ADMIN_ASYNC_EVENT;
		return;
	case STEP_KEEP_ALIVE:
		slot->sqe.opcode = NVME_ADMIN_KEEP_ALIVE;
		return;
	case STEP_NONE:
	case STEP_CONNECT:
	case STEP_SHUTDOWN:
		break;
	}
	unreachable();
}

static bool is_of_setup(enum host_step step)
{
	return step < STEP_EVENT && step != STEP_ANA;
}

void host_admin_start(struct nvme_host *host, enum host_step step)
{
	struct host_queue *queue = &host->queues[0];
	struct host_slot *slot = host_slot_get(queue, SLOT_ADMIN);

	assert(slot != NULL); /* there are more than kinds of commands */
	assert(queue->state == QUEUE_LIVE);
	slot->step = (uint8_t)step;
	fill(host, slot, step);
	if (host->state == HOST_ADMIN) {
		host->step = step;
		host->step_ns = now_ns(host);
		host->settling = true;
	}
	host_slot_submit(queue, slot);
}

void host_queue_connect(struct host_queue *queue)
{
	struct nvme_host *host = queue->host;
	const struct nvme_host_options *o = &host->options;
	struct host_slot *slot = host_slot_get(queue, SLOT_ADMIN);
	struct nvme_connect_data *data = &queue->connect;
	uint32_t entries = queue->depth + 1;

	assert(slot != NULL);
	if (queue->id == 0)
		entries = HOST_ADMIN_DEPTH;
	else if (entries > NVME_CAP_ENTRIES(host->cap))
		entries = NVME_CAP_ENTRIES(host->cap);
	queue->limit = entries - 1;
	memset(data, 0, sizeof(*data));
	memcpy(data->host_id, o->host_id, sizeof(data->host_id));
	data->controller_id = queue->id == 0 ? NVME_CONTROLLER_ANY : host->facts.controller_id;
	snprintf(data->subsystem_nqn, sizeof(data->subsystem_nqn), "%s", o->nqn);
	snprintf(data->host_nqn, sizeof(data->host_nqn), "%s", o->host_nqn);
	slot->step = STEP_CONNECT;
	slot->sqe.opcode = NVME_FABRICS;
	slot->sqe.fctype = NVME_CONNECT;
	nvme_connect_set(&slot->sqe,
	                 &(struct nvme_connect){
	                         .queue_id = queue->id,
	                         .queue_size = (uint16_t)(entries - 1),
	                         .attributes = NVME_CONNECT_NO_SQ_FLOW,
	                         .keep_alive_ms = queue->id == 0
	                                                  ? (uint32_t)(o->keep_alive_ns / 1000000)
	                                                  : 0,
	                 });
	slot->own = (struct iovec){ data, sizeof(*data) };
	slot->iov = &slot->own;
	slot->iov_count = 1;
	slot->data_size = sizeof(*data);
	slot->writes = true;
	host_slot_submit(queue, slot);
}

/* What the answers say. */

static void trim(char *out, size_t out_size, const char *field, size_t size)
{
	while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
		size--;
	snprintf(out, out_size, "%.*s", (int)size, field);
}

static bool learn_controller(struct nvme_host *host)
{
	const struct nvme_id_controller *id = (const void *)host->data;
	struct nvme_host_facts *facts = &host->facts;
	struct blk_geometry *g = &facts->geometry;
	uint64_t most = id->mdts == 0 || id->mdts > 8 ? HOST_TRANSFER_MAX
	                                              : (uint64_t)NVME_PAGE_SIZE << id->mdts;

	trim(facts->serial, sizeof(facts->serial), id->serial, sizeof(id->serial));
	trim(facts->model, sizeof(facts->model), id->model, sizeof(id->model));
	trim(facts->firmware, sizeof(facts->firmware), id->firmware, sizeof(id->firmware));
	trim(facts->subsystem_nqn, sizeof(facts->subsystem_nqn), id->subsystem_nqn, NVME_NQN_MAX);
	facts->version = id->version;
	facts->capsule_max = 0;
	if (id->ioccsz > sizeof(struct nvme_sqe) / 16 && id->icdoff == 0)
		facts->capsule_max = (id->ioccsz - (uint32_t)sizeof(struct nvme_sqe) / 16) * 16;
	if (facts->capsule_max > HOST_TRANSFER_MAX)
		facts->capsule_max = HOST_TRANSFER_MAX;
	host->io_capsule_max = facts->capsule_max;
	*g = (struct blk_geometry){
		.transfer_max = (uint32_t)(most < HOST_TRANSFER_MAX ? most : HOST_TRANSFER_MAX),
		.align = 1,
		.ops = 1u << BLK_READ | 1u << BLK_WRITE | 1u << BLK_FLUSH,
		.volatile_cache = id->vwc & 1,
	};
	if (id->oncs & NVME_ONCS_DSM)
		g->ops |= 1u << BLK_DISCARD;
	if (id->oncs & NVME_ONCS_WRITE_ZEROES)
		g->ops |= 1u << BLK_ZEROES;
	g->range_max = BLOCKS_MAX;
	host->has_ana = (id->cmic & NVME_CMIC_ANA) != 0;
	if (!(id->sgls & 3)) {
		host_lose(host, "the controller takes no SGLs");
		return false;
	}
	return true;
}

/* transfer_max is in bytes until here. */
static bool learn_namespace(struct nvme_host *host)
{
	const struct nvme_id_namespace *id = (const void *)host->data;
	struct blk_geometry *g = &host->facts.geometry;
	uint32_t format = id->lbaf[(id->flbas & 0xf) | (id->flbas >> 1 & 0x30)];
	uint32_t shift = format >> 16 & 0xff;

	if (id->nsze == 0) {
		host_lose(host, "there is no namespace %u", host->options.nsid);
		return false;
	}
	if ((format & 0xffff) != 0 || shift < SHIFT_MIN || shift > SHIFT_MAX ||
	    id->nsze > UINT64_MAX >> (shift + 1)) {
		host_lose(host, "a format of blocks that is not supported");
		return false;
	}
	g->block_count = id->nsze;
	g->block_size = 1u << shift;
	g->transfer_max >>= shift;
	if (g->transfer_max > BLOCKS_MAX)
		g->transfer_max = BLOCKS_MAX;
	g->discard_unit = g->ops & 1u << BLK_DISCARD ? 1 : 0;
	if (g->discard_unit != 0 && (id->nsfeat & NVME_NSFEAT_OPTIMAL))
		g->discard_unit = id->npdg + 1u;
	g->discard_zeroes = (id->dlfeat & 7) == NVME_DLFEAT_ZEROES;
	if (id->nsfeat & NVME_NSFEAT_ATOMIC)
		g->atomic_unit = (id->nawupf + 1u) * g->block_size;
	host->facts.read_only = id->nsattr & NVME_NSATTR_READ_ONLY;
	if (host->facts.read_only)
		g->ops &= ~(1u << BLK_WRITE | 1u << BLK_DISCARD | 1u << BLK_ZEROES);
	memcpy(host->facts.uuid, id->nguid, sizeof(host->facts.uuid));
	return g->transfer_max > 0;
}

/* A uuid among the descriptors, when there is one, is what the namespace is known by. */
static void learn_descriptors(struct nvme_host *host)
{
	const uint8_t *at = host->data, *end = host->data + NVME_PAGE_SIZE;

	while (end - at >= 4 && at[0] != 0 && at[1] != 0 && at + 4 + at[1] <= end) {
		if (at[0] == NVME_NIDT_UUID && at[1] == sizeof(host->facts.uuid))
			memcpy(host->facts.uuid, at + 4, sizeof(host->facts.uuid));
		at += 4 + at[1];
	}
}

/* Whether what was found is what the device has said that it is. */
static bool check_facts(struct nvme_host *host)
{
	const struct blk_geometry *was = &host->blk.geometry, *is = &host->facts.geometry;

	if (!host->facts_given) {
		host->blk.geometry = *is;
		host->facts_given = true;
		return true;
	}
	if (was->block_size == is->block_size && was->block_count <= is->block_count &&
	    was->transfer_max <= is->transfer_max && (was->ops & ~is->ops) == 0)
		return true;
	host_lose(host, "the namespace is another one than before, or smaller");
	return false;
}

static void learn_ana(struct nvme_host *host, uint32_t size)
{
	uint8_t state = nvme_ana_state_of(host->data, size, host->options.nsid);

	host->facts.ana_state = state;
	host->ana_ns = now_ns(host);
	host->accessible =
	        state == 0 || state == NVME_ANA_OPTIMIZED || state == NVME_ANA_NON_OPTIMIZED;
	host_kick(host);
}

/* Of a namespace's size only growing is noticed, and not followed: a device has the size it has. */
static void event_came(struct nvme_host *host, uint32_t event)
{
	uint32_t type = event & 7, information = event >> 8 & 0xff;

	host->event_asked = false;
	if (type != NVME_EVENT_NOTICE)
		return;
	if (information == NVME_NOTICE_ANA && host->has_ana)
		host_admin_start(host, STEP_ANA);
	else if (information == NVME_NOTICE_NAMESPACE)
		host_admin_start(host, STEP_CHANGED);
}

static void learn_discovery(struct nvme_host *host)
{
	const struct nvme_discovery_header *header = (const void *)host->data;
	size_t at = host->log_offset == 0 ? sizeof(*header) : 0;
	uint64_t total;

	if (host->log_offset == 0)
		host->entry_total = header->record_count;
	total = host->entry_total < NVME_HOST_ENTRIES_MAX ? host->entry_total
	                                                  : NVME_HOST_ENTRIES_MAX;
	for (; at + sizeof(struct nvme_discovery_entry) <= HOST_DATA_SIZE &&
	       host->entry_count < total;
	     at += sizeof(struct nvme_discovery_entry)) {
		const struct nvme_discovery_entry *entry = (const void *)(host->data + at);
		struct nvme_host_entry *out = &host->entries[host->entry_count++];
		char address[257], service[33];

		trim(address, sizeof(address), entry->address, sizeof(entry->address));
		trim(service, sizeof(service), entry->service, sizeof(entry->service));
		trim(out->nqn, sizeof(out->nqn), entry->subsystem_nqn, NVME_NQN_MAX);
		snprintf(out->address, sizeof(out->address),
		         entry->address_family == NVME_ADRFAM_IPV6 ? "[%s]:%s" : "%s:%s", address,
		         service);
		out->subsystem_type = entry->subsystem_type;
		out->transport = entry->transport;
	}
	host->log_offset += HOST_DATA_SIZE;
	if (host->entry_count < total)
		host_admin_start(host, STEP_DISCOVERY);
	else
		host->ended = true;
}

static void open_next_queue(struct nvme_host *host)
{
	for (unsigned i = 1; i <= host->options.queues; i++) {
		struct host_queue *queue = &host->queues[i];

		if (queue->state == QUEUE_LIVE)
			continue;
		host->state = HOST_IO;
		host->step_ns = now_ns(host);
		if (host_queue_open(queue) != STATUS_OK)
			host_lose(host, "cannot connect to %s", host->options.address);
		else
			host_kick(host);
		return;
	}
	host->state = HOST_READY;
	host->attempts = 0;
	host->error[0] = '\0';
	host->alive_ns = now_ns(host);
	host_kick(host);
	log_put(host->options.worker, LOG_INFO, "nvme_tcp: connected, address=%s controller=%u",
	        host->options.address, host->facts.controller_id);
}

static void count_namespaces(struct nvme_host *host)
{
	uint32_t id;

	host->facts.namespaces = 0;
	for (uint32_t i = 0; i < LIST_MAX; i++) {
		memcpy(&id, host->data + i * sizeof(id), sizeof(id));
		if (id == 0)
			return;
		host->facts.namespaces++;
	}
}

/* A step has succeeded, or its failure does not matter; the next one. */
static void advance(struct nvme_host *host, enum host_step step, uint64_t result)
{
	switch (step) {
	case STEP_CAP:
		host->cap = result;
		host_admin_start(host, STEP_ENABLE);
		return;
	case STEP_ENABLE:
		host_admin_start(host, STEP_CSTS);
		return;
	case STEP_CSTS:
		if (result & NVME_CSTS_FATAL)
			host_lose(host, "the controller has failed");
		else if (result & NVME_CSTS_READY)
			host_admin_start(host, host->discovery ? STEP_DISCOVERY : STEP_CONTROLLER);
		return; /* else: asked again in the next tick */
	case STEP_CONTROLLER:
		if (learn_controller(host))
			host_admin_start(host, STEP_NAMESPACES);
		return;
	case STEP_NAMESPACES:
		count_namespaces(host);
		host_admin_start(host, STEP_NAMESPACE);
		return;
	case STEP_NAMESPACE:
		if (learn_namespace(host))
			host_admin_start(host, STEP_DESCRIPTORS);
		return;
	case STEP_DESCRIPTORS:
		learn_descriptors(host);
		if (check_facts(host))
			host_admin_start(host, STEP_QUEUES);
		return;
	case STEP_QUEUES:
		if ((result & 0xffff) + 1 < host->options.queues)
			host->options.queues = (unsigned)(result & 0xffff) + 1;
		host_admin_start(host, STEP_EVENTS);
		return;
	case STEP_EVENTS:
		if (host->has_ana)
			host_admin_start(host, STEP_ANA);
		else
			open_next_queue(host);
		return;
	case STEP_DISCOVERY:
		learn_discovery(host);
		return;
	default:
		unreachable();
		return;
	}
}

static void connected(struct nvme_host *host, struct host_queue *queue, uint64_t result)
{
	assert(queue->state == QUEUE_CONNECT);
	queue->state = QUEUE_LIVE;
	if (queue->id != 0) {
		open_next_queue(host);
		return;
	}
	host->facts.controller_id = (uint16_t)result;
	host_admin_start(host, STEP_CAP);
}

static void ended_later(struct nvme_host *host, enum host_step step, uint64_t result,
                        uint32_t received)
{
	switch (step) {
	case STEP_ANA:
		learn_ana(host, received);
		host->ana_asked = false;
		if (host->state == HOST_ADMIN)
			open_next_queue(host);
		return;
	case STEP_EVENT:
		event_came(host, (uint32_t)result);
		return;
	case STEP_KEEP_ALIVE:
		host->alive_asked = false;
		return;
	default:
		return;
	}
}

void host_admin_ended(struct host_slot *slot, struct host_queue *queue)
{
	struct nvme_host *host = queue->host;
	enum host_step step = (enum host_step)slot->step;
	bool answered = slot->answered, damaged = slot->damaged;
	uint16_t status = slot->status;
	uint64_t result = slot->result;
	uint32_t received = slot->received, wanted = slot->writes ? 0 : slot->data_size;

	host_slot_release(queue, slot);
	if (!answered)
		return; /* the connection has gone */
	if (is_of_setup(step))
		host->settling = false;
	if (damaged) {
		host->stats.digest_errors++;
		host_lose(host, "damaged data of an admin command");
		return;
	}
	if (status == NVME_SC_SUCCESS && received != wanted && step != STEP_ANA) {
		host_lose(host, "less data than was asked for");
		return;
	}
	if (status != NVME_SC_SUCCESS && step != STEP_DESCRIPTORS && step != STEP_EVENTS &&
	    step < STEP_EVENT) {
		host_lose(host, "%s (%03x)", nvme_status_text(status), status & NVME_STATUS_CODE);
		return;
	}
	if (step == STEP_DESCRIPTORS && status != NVME_SC_SUCCESS)
		memset(host->data, 0, sizeof(host->data));
	if (step == STEP_CONNECT)
		connected(host, queue, result);
	else if (is_of_setup(step))
		advance(host, step, result);
	else if (status == NVME_SC_SUCCESS || step == STEP_KEEP_ALIVE)
		ended_later(host, step, result, received);
}

static void tick_ready(struct nvme_host *host)
{
	uint64_t now = now_ns(host), period = host->options.keep_alive_ns / 2;

	if (host->alive_asked && now - host->alive_ns > host->options.keep_alive_ns) {
		host_lose(host, "no answer to a keep alive from %s", host->options.address);
		return;
	}
	if (!host->alive_asked && now - host->alive_ns >= period) {
		host->alive_asked = true;
		host->alive_ns = now;
		host_admin_start(host, STEP_KEEP_ALIVE);
	}
	if (!host->event_asked) {
		host->event_asked = true;
		host_admin_start(host, STEP_EVENT);
	}
	if (host->accessible || host->ana_asked || now - host->ana_ns < ANA_PAUSE_NS)
		return;
	if (!host->has_ana) {
		host->accessible = true;
		host_kick(host);
		return;
	}
	host->ana_asked = true;
	host_admin_start(host, STEP_ANA);
}

void host_setup_tick(struct nvme_host *host)
{
	switch (host->state) {
	case HOST_ADMIN:
	case HOST_IO:
		if (now_ns(host) - host->step_ns > HOST_SETUP_NS)
			host_lose(host, "no answer from %s", host->options.address);
		else if (host->state == HOST_ADMIN && host->step == STEP_CSTS && !host->settling &&
		         !host->ended)
			host_admin_start(host, STEP_CSTS);
		return;
	case HOST_READY:
		tick_ready(host);
		return;
	case HOST_DOWN:
	case HOST_STOPPED:
		return;
	}
}
