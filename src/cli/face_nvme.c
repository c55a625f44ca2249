/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe/TCP face on every network worker: what the exports are, as namespaces of a subsystem. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cli/server.h"
#include "engine/store.h"
#include "server/nvme_server.h"

/* Of the process: the first face that opens makes it, the last one that closes frees it. */
struct shared {
	struct nvme_subsystem subsystem;
	unsigned users;
};

/* Of a worker. */
struct face_nvme {
	struct nvme_server *server;
	struct shared *shared;
};

struct task {
	struct shared *shared;
	unsigned index;
};

static bool accepted(struct listener *listener, struct stream *stream)
{
	struct face_nvme *nvme = listener->owner;

	nvme_server_listens_at(nvme->server, listener->address);
	return nvme_server_accept(nvme->server, stream);
}

static const struct listener_handler listener_handler = { .accepted = accepted };

/* The names of the subsystem: as configured, or after the store. INVALID: not an NQN. */
static enum status name_subsystem(struct host *host, struct nvme_subsystem *subsystem)
{
	const char *nqn = conf_text(host->conf, CONF_NVME_NQN);
	const char *hosts = conf_text(host->conf, CONF_NVME_HOSTS);
	const char *told = conf_text(host->conf, CONF_NVME_ADDRESS);
	const uint8_t *uuid = host->store.store->super.uuid;
	char text[NVME_UUID_TEXT_SIZE];

	nvme_uuid_text(uuid, text);
	if (nqn[0] != '\0')
		snprintf(subsystem->nqn, sizeof(subsystem->nqn), "%s", nqn);
	else
		snprintf(subsystem->nqn, sizeof(subsystem->nqn),
		         "nqn.2014-08.org.nvmexpress:uuid:%s", text);
	if (!nvme_nqn_is_valid(subsystem->nqn, sizeof(subsystem->nqn)))
		return host_fail(host, STATUS_INVALID,
		                 "nvme_tcp.nqn = %s is not an NQN, such as "
		                 "nqn.2026-01.org.example:disks",
		                 nqn);
	for (unsigned i = 0; i < sizeof(subsystem->serial) / 2; i++)
		snprintf(subsystem->serial + 2 * (size_t)i, 3, "%02x", uuid[i]);
	snprintf(subsystem->version, sizeof(subsystem->version), "%s", WEIR_VERSION);
	snprintf(subsystem->hosts, sizeof(subsystem->hosts), "%s", hosts);
	snprintf(subsystem->address, sizeof(subsystem->address), "%s", told);
	return STATUS_OK;
}

static enum status open_here(struct host_worker *w, void *arg)
{
	const struct task *task = arg;
	const struct host *host = w->host;
	struct face_nvme *nvme = calloc(1, sizeof(*nvme));
	struct nvme_server_options options = {
		.worker = &w->worker,
		.bufs = &w->bufs,
		.exports = w->exports,
		.subsystem = &task->shared->subsystem,
		.memory_size = server_memory(host, CONF_NVME_LISTEN),
		.connections_max = (uint32_t)conf_number(host->conf, CONF_NVME_CLIENTS_MAX),
	};
	enum status status = STATUS_NO_SPACE;

	assert(w->exports != NULL); /* the exports come before those who serve them */
	if (nvme != NULL)
		status = nvme_server_open(&options, &nvme->server);
	if (status != STATUS_OK) {
		free(nvme);
		return host_fail(w->host, status,
		                 "nvme_tcp: memory = %.0f MiB leaves too little for connections",
		                 (double)host->memory / (1 << 20));
	}
	nvme->shared = task->shared;
	task->shared->users++;
	w->faces[task->index] = nvme;
	if (nvme_server_metrics(nvme->server, &w->host->metrics) == STATUS_OK)
		return STATUS_OK;
	return host_fail(w->host, STATUS_BUSY, "nvme_tcp: more metrics than there is room for");
}

static enum status nvme_open(struct host *host, unsigned index)
{
	struct host_listen listen = {
		.setting = CONF_NVME_LISTEN,
		.face = "nvme_tcp",
		.index = index,
		.handler = &listener_handler,
		.authenticated = conf_text(host->conf, CONF_NVME_HOSTS)[0] != '\0',
		.remedy = "name the hosts that may connect in nvme_tcp.hosts",
	};
	struct task task = { .index = index };
	enum status status;

	if (!server_nvme_is_on(host))
		return STATUS_OK;
	task.shared = calloc(1, sizeof(*task.shared));
	if (task.shared == NULL)
		return host_fail(host, STATUS_NO_SPACE, "nvme_tcp: no memory");
	status = name_subsystem(host, &task.shared->subsystem);
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (host->workers[i].worker.roles & ROLE_NETWORK)
			status = host_call(&host->workers[i], open_here, &task);
	}
	if (task.shared->users == 0)
		free(task.shared);
	if (status != STATUS_OK)
		return status;
	host_log(host, LOG_INFO, "nvme_tcp: subsystem %s", task.shared->subsystem.nqn);
	host_listen(host, &listen);
	return STATUS_OK;
}

static void nvme_drain(void *state)
{
	struct face_nvme *nvme = state;

	nvme_server_drain(nvme->server);
}

static void nvme_kill(void *state)
{
	struct face_nvme *nvme = state;

	nvme_server_kill(nvme->server);
}

static bool nvme_is_drained(const void *state)
{
	const struct face_nvme *nvme = state;

	return nvme_server_is_drained(nvme->server);
}

static void nvme_close(void *state)
{
	struct face_nvme *nvme = state;

	nvme_server_close(nvme->server);
	if (--nvme->shared->users == 0)
		free(nvme->shared);
	free(nvme);
}

const struct face face_nvme = {
	.name = "nvme_tcp",
	.open = nvme_open,
	.drain = nvme_drain,
	.kill = nvme_kill,
	.is_drained = nvme_is_drained,
	.close = nvme_close,
};
