/* SPDX-License-Identifier: Apache-2.0 */
/* The RESP face on every network worker. */
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/assert.h"
#include "cli/server.h"
#include "engine/store.h"
#include "server/resp_admin.h"
#include "server/resp_server.h"

/* Of a worker's connection memory: what connections get, and calls get the rest. */
enum { CONNECTION_SHARE = 2 };

struct resp_face {
	struct resp_server server; /* first: the listeners' owner is the face */
	bool administered;
};

/* What opening needs on every worker, gathered by the main thread. */
struct resp_task {
	unsigned index;
	uint8_t secret[RESP_SECRET_SIZE];
	char executable[1024];
	uint16_t port;
	uint32_t workers;
	struct resp_server *servers[RESP_SERVERS_MAX];
	uint32_t count;
};

static uint32_t limit_connections(const struct host *host)
{
	uint64_t room = host->parts.connections / CONNECTION_SHARE / sizeof(struct resp_connection);
	uint64_t asked = conf_number(host->conf, CONF_RESP_CLIENTS_MAX);

	return (uint32_t)(asked < room ? asked : room);
}

static uint32_t limit_calls(const struct host *host)
{
	return (uint32_t)(host->parts.connections / CONNECTION_SHARE / sizeof(struct resp_call));
}

static void tell_process(const struct host *host, struct resp_facts *facts)
{
	facts->memory_resident = atomic_load(&host->memory_resident);
	facts->memory_peak = atomic_load(&host->memory_peak);
	facts->memory_total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	facts->cpu_user_us = atomic_load(&host->cpu_user_us);
	facts->cpu_system_us = atomic_load(&host->cpu_system_us);
}

static void tell_store(struct host_worker *w, struct resp_facts *facts)
{
	const struct store *store = w->host->store.store;
	const struct blk_geometry *geometry = &w->host->store.blks[0]->geometry;
	uint64_t segment_size = (uint64_t)store->super.segment_blocks * BLOCK_SIZE;
	struct store_worker_stats stats;

	for (unsigned i = 0; i < KV_SPACES; i++)
		facts->relaxed |= store->options.durability[i] == KV_RELAXED;
	facts->store_size = geometry->block_count * geometry->block_size;
	if (!w->has_engine)
		return;
	store_worker_stats(store, w->store_index, &stats);
	facts->records_durable = stats.records_durable;
	facts->records_acknowledged = facts->relaxed ? stats.records : stats.records_durable;
	facts->commits = stats.frames;
	facts->commit_bytes = stats.bytes;
	facts->store_used = stats.segments_used * segment_size;
	facts->read_only = stats.failed;
}

/* In the turn of worker `owner`: its part of what INFO tells. */
static void tell_facts(void *owner, struct resp_facts *facts)
{
	struct host_worker *w = owner;

	tell_store(w, facts);
	tell_process(w->host, facts);
}

static void shut_down(void *owner)
{
	(void)owner;
	kill(getpid(), SIGTERM); /* the main thread takes it, as if somebody had sent it */
}

static const struct resp_admin_hooks hooks = { .facts = tell_facts, .shutdown = shut_down };

static enum status open_admin(struct host_worker *w, const struct resp_task *task)
{
	struct resp_face *face = w->faces[task->index];
	const char *password = conf_text(w->host->conf, CONF_RESP_PASSWORD);
	const struct resp_admin_options options = {
		.password = bytes_of(password, strlen(password)),
		.secret = task->secret,
		.executable = task->executable,
		.version = WEIR_VERSION,
		.process_id = (uint32_t)getpid(),
		.port = task->port,
		.workers = task->workers,
		.hooks = &hooks,
		.hooks_owner = w,
	};
	char error[256] = "";

	if (resp_admin_open(&face->server, &options, error) != STATUS_OK) {
		return host_fail(w->host, STATUS_NO_SPACE, "resp: %s",
		                 error[0] == '\0' ? "no memory" : error);
	}
	face->administered = true;
	return STATUS_OK;
}

static enum status open_here(struct host_worker *w, void *arg)
{
	const struct resp_server_options options = {
		.worker = &w->worker,
		.kv = w->kv,
		.bufs = &w->bufs,
		.kv_is_local = w->kv_is_local,
		.calls_max = limit_calls(w->host),
		.connections_max = limit_connections(w->host),
		.random_seed = w->worker.now_ns ^ w->worker.id,
		.settings = { .memory_max = w->host->memory },
	};
	struct resp_face *face = calloc(1, sizeof(*face));
	struct resp_task *task = arg;

	assert(w->kv != NULL);
	if (face == NULL || resp_server_open(&face->server, &options) != STATUS_OK) {
		free(face);
		return host_fail(w->host, STATUS_NO_SPACE, "resp: no memory for %u connections",
		                 options.connections_max);
	}
	w->faces[task->index] = face;
	assert(task->count < RESP_SERVERS_MAX);
	task->servers[task->count++] = &face->server;
	return open_admin(w, task);
}

/* On one of their workers; the others' have no connection yet, so nothing looks. */
static enum status join(struct host_worker *w, void *arg)
{
	struct resp_task *task = arg;

	(void)w;
	resp_admin_join(task->servers, task->count);
	return STATUS_OK;
}

/* Nobody reads metrics before all faces are open. */
static enum status add_metrics(struct host *host, const struct resp_task *task)
{
	enum status status = STATUS_OK;

	for (uint32_t i = 0; i < task->count && status == STATUS_OK; i++)
		status = resp_server_metrics(task->servers[i], &host->metrics);
	if (status == STATUS_OK)
		return STATUS_OK;
	return host_fail(host, status, "resp: more metrics than there is room for");
}

static enum status resp_open(struct host *host, unsigned index)
{
	const struct host_listen listen = {
		.setting = CONF_RESP_LISTEN,
		.face = "resp",
		.index = index,
		.handler = &resp_listener_handler,
		.authenticated = conf_text(host->conf, CONF_RESP_PASSWORD)[0] != '\0',
	};
	struct resp_task task = { .index = index };
	struct conf_address address;
	enum status status = STATUS_OK;
	ssize_t size;

	conf_address(host->conf, CONF_RESP_LISTEN, &address);
	if (address.kind == CONF_OFF)
		return STATUS_OK;
	task.port = address.port;
	size = readlink("/proc/self/exe", task.executable, sizeof(task.executable) - 1);
	task.executable[size < 0 ? 0 : size] = '\0';
	if (getrandom(task.secret, sizeof(task.secret), 0) != sizeof(task.secret))
		return host_fail(host, STATUS_UNAVAILABLE, "this machine gives no random bytes");
	for (unsigned i = 0; i < host->count; i++)
		task.workers += (host->workers[i].worker.roles & ROLE_NETWORK) != 0;
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (host->workers[i].worker.roles & ROLE_NETWORK)
			status = host_call(&host->workers[i], open_here, &task);
	}
	if (status != STATUS_OK)
		return status;
	status = add_metrics(host, &task);
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (host->workers[i].faces[index] != NULL) {
			status = host_call(&host->workers[i], join, &task);
			break;
		}
	}
	return status == STATUS_OK ? host_listen(host, &listen) : status;
}

static void resp_drain(void *state)
{
	struct resp_face *face = state;

	resp_server_drain(&face->server);
}

static void resp_kill(void *state)
{
	struct resp_face *face = state;
	struct resp_connection *connection = TAILQ_FIRST(&face->server.connections);

	while (connection != NULL) {
		struct resp_connection *next = TAILQ_NEXT(connection, link);

		resp_connection_kill(connection);
		connection = next;
	}
}

static bool resp_is_drained(const void *state)
{
	const struct resp_face *face = state;

	return face->server.connection_count == 0 && face->server.calls_used == 0;
}

static void resp_close(void *state)
{
	struct resp_face *face = state;

	if (face->administered)
		resp_admin_close(&face->server);
	resp_server_close(&face->server);
	free(face);
}

const struct face face_resp = {
	.name = "resp",
	.open = resp_open,
	.drain = resp_drain,
	.kill = resp_kill,
	.is_drained = resp_is_drained,
	.close = resp_close,
};
