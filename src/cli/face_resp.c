/* SPDX-License-Identifier: Apache-2.0 */
/* The RESP face on every network worker. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/server.h"
#include "cli/users_file.h"
#include "engine/store.h"
#include "server/resp_admin.h"
#include "server/resp_server.h"

/* Of the face's memory: what connections get, and calls get the rest. */
enum { CONNECTION_SHARE = 2 };

struct resp_face {
	struct resp_server server; /* first: the listeners' owner is the face */
	bool administered;
};

/* The face asks for one file at a time, always on the same worker. */
static struct file_chore {
	struct host_chore chore;
	const char *path;
	struct resp_file *file;
} file_chore;

enum { USERS_FILE_MAX = 512 << 10 };

/* What opening needs on every worker, gathered by the main thread. */
struct resp_task {
	unsigned index;
	uint8_t secret[RESP_SECRET_SIZE];
	char executable[1024];
	uint16_t port;
	uint32_t workers;
	struct resp_server *servers[RESP_SERVERS_MAX];
	uint32_t count;
	struct resp_file users; /* of resp.acl_file */
	/* Loading those in the store. */
	struct req req;
	atomic_bool loaded;
	char error[RESP_FILE_ERROR];
};

static uint32_t limit_connections(const struct host *host)
{
	uint64_t memory = server_memory(host, CONF_RESP_LISTEN);
	uint64_t room = memory / CONNECTION_SHARE / resp_connection_memory();
	uint64_t asked = conf_number(host->conf, CONF_RESP_CLIENTS_MAX);

	return (uint32_t)(asked < room ? asked : room);
}

static uint32_t limit_calls(const struct host *host)
{
	uint64_t memory = server_memory(host, CONF_RESP_LISTEN);

	return (uint32_t)(memory / CONNECTION_SHARE / sizeof(struct resp_call));
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
	facts->expired = stats.expired;
	facts->commit_bytes = stats.bytes;
	facts->store_used = stats.segments_used * segment_size;
	facts->store_live = stats.live_bytes;
	facts->store_free = stats.segments_left * segment_size;
	facts->written_bytes =
	        stats.bytes + stats.blob_bytes + stats.index_bytes + stats.filled_bytes;
	facts->moved_bytes = stats.moved_bytes;
	facts->index_bytes = stats.index_bytes;
	facts->checkpoints = stats.checkpoints;
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

/* ACL LOAD and SAVE: blocking, so it is the main thread's. */
static void run_file(struct host_chore *chore)
{
	struct file_chore *own = container_of(chore, struct file_chore, chore);

	if (own->file->writes)
		users_file_write(own->path, own->file);
	else
		users_file_read(own->path, own->file);
}

static void ask_file(void *owner, struct req *req, struct resp_file *file)
{
	struct host_worker *w = owner;
	struct file_chore *own = &file_chore;

	*own = (struct file_chore){ .chore = { run_file, req },
		                    .path = conf_text(w->host->conf, CONF_RESP_ACL_FILE),
		                    .file = file };
	host_chore_post(w, &own->chore);
}

static const struct metrics *tell_metrics(void *owner)
{
	const struct host_worker *w = owner;

	return &w->host->metrics;
}

static const struct resp_admin_hooks hooks = {
	.metrics = tell_metrics,
	.facts = tell_facts,
	.shutdown = shut_down,
	.file = ask_file,
};

static enum status open_admin(struct host_worker *w, const struct resp_task *task)
{
	struct resp_face *face = w->faces[task->index];
	const char *password = conf_text(w->host->conf, CONF_RESP_PASSWORD);
	const char *path = conf_text(w->host->conf, CONF_RESP_ACL_FILE);
	const struct resp_admin_options options = {
		.password = bytes_of(password, strlen(password)),
		.users = bytes_of(task->users.data, task->users.size),
		.users_path = task->users.data != NULL ? path : NULL,
		.secret = task->secret,
		.executable = task->executable,
		.version = WEIR_VERSION,
		.process_id = (uint32_t)getpid(),
		.port = task->port,
		.workers = task->workers,
		.hooks = &hooks,
		.hooks_owner = w,
	};
	char error[RESP_FILE_ERROR] = "";
	enum status status = resp_admin_open(&face->server, &options, error);

	if (status == STATUS_INVALID)
		return host_fail(w->host, status, "%s: %s", path, error);
	if (status != STATUS_OK)
		return host_fail(w->host, status, "resp: no memory");
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
		.volumes = w->volumes != NULL ? volumes_set(w->volumes) : NULL,
		.calls_max = limit_calls(w->host),
		.connections_max = limit_connections(w->host),
		.random_seed = w->worker.now_ns ^ w->worker.id,
		.values_memory = w->host->parts.values,
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

/* The users of a file, or, when there is none, those in the store. */
static enum status read_users(struct host *host, struct resp_task *task)
{
	const char *path = conf_text(host->conf, CONF_RESP_ACL_FILE);

	if (path[0] == '\0')
		return STATUS_OK;
	task->users.data = malloc(USERS_FILE_MAX);
	task->users.size_max = USERS_FILE_MAX;
	if (task->users.data == NULL)
		return host_fail(host, STATUS_NO_SPACE, "resp: no memory for %s", path);
	users_file_read(path, &task->users);
	if (task->users.error[0] == '\0')
		return STATUS_OK;
	return host_fail(host, STATUS_INVALID, "%s", task->users.error);
}

static void users_loaded(struct req *req)
{
	struct resp_task *task = container_of(req, struct resp_task, req);

	req_pop(req, struct frame);
	/* Pairs with the acquire in load_users(). */
	atomic_store_explicit(&task->loaded, true, memory_order_release);
}

static enum status begin_load(struct host_worker *w, void *arg)
{
	struct resp_task *task = arg;

	req_init(&task->req, &w->worker);
	req_push(&task->req, struct frame, users_loaded);
	task->req.state = REQ_RUNNING;
	resp_users_load_open(task->servers[0], &task->req, task->error);
	return STATUS_OK;
}

static enum status load_users(struct host *host, struct host_worker *first, struct resp_task *task)
{
	const char *password = conf_text(host->conf, CONF_RESP_PASSWORD);
	const struct timespec pause = { .tv_nsec = 1000000 };

	host_call(first, begin_load, task);
	while (!atomic_load_explicit(&task->loaded, memory_order_acquire)) {
		host_drain_logs(host);
		nanosleep(&pause, NULL);
	}
	if (task->req.status != STATUS_OK)
		return host_fail(host, task->req.status, "users in the store: %s",
		                 task->error[0] != '\0' ? task->error
		                                        : status_text(task->req.status));
	if (password[0] != '\0')
		resp_admin_set_password(task->servers[0], bytes_of(password, strlen(password)));
	return STATUS_OK;
}

static enum status open_servers(struct host *host, struct resp_task *task)
{
	struct host_worker *first = NULL;
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < host->count; i++)
		task->workers += (host->workers[i].worker.roles & ROLE_NETWORK) != 0;
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (!(host->workers[i].worker.roles & ROLE_NETWORK))
			continue;
		first = first != NULL ? first : &host->workers[i];
		status = host_call(&host->workers[i], open_here, task);
	}
	if (status != STATUS_OK)
		return status;
	assert(first != NULL); /* a plan without network workers is refused */
	status = host_call(first, join, task);
	if (status == STATUS_OK && task->users.data == NULL)
		status = load_users(host, first, task);
	return status == STATUS_OK ? add_metrics(host, task) : status;
}

static enum status resp_open(struct host *host, unsigned index)
{
	struct host_listen listen = {
		.setting = CONF_RESP_LISTEN,
		.face = "resp",
		.index = index,
		.handler = &resp_listener_handler,
		.remedy = "set resp.password",
	};
	struct resp_task task = { .index = index };
	struct conf_address address;
	enum status status;
	ssize_t size;

	conf_address(host->conf, CONF_RESP_LISTEN, &address);
	if (!host_listens(host, CONF_RESP_LISTEN, CONF_RESP_TLS_LISTEN))
		return STATUS_OK;
	task.port = address.port;
	size = readlink("/proc/self/exe", task.executable, sizeof(task.executable) - 1);
	task.executable[size < 0 ? 0 : size] = '\0';
	if (getrandom(task.secret, sizeof(task.secret), 0) != sizeof(task.secret))
		return host_fail(host, STATUS_UNAVAILABLE, "this machine gives no random bytes");
	status = read_users(host, &task);
	if (status == STATUS_OK)
		status = open_servers(host, &task);
	free(task.users.data);
	if (status != STATUS_OK)
		return status;
	listen.authenticated = !resp_admin_is_open(task.servers[0]);
	host_listen(host, &listen);
	listen.setting = CONF_RESP_TLS_LISTEN;
	listen.tls = "";
	host_listen(host, &listen);
	return STATUS_OK;
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

	return resp_server_is_drained(&face->server);
}

static void resp_close(void *state)
{
	struct resp_face *face = state;

	if (face->administered)
		resp_admin_close(&face->server);
	resp_server_close(&face->server);
	free(face);
}

static uint64_t resp_memory(const struct conf *conf)
{
	struct conf_address plain, tls;

	conf_address(conf, CONF_RESP_LISTEN, &plain);
	conf_address(conf, CONF_RESP_TLS_LISTEN, &tls);
	if (plain.kind == CONF_OFF && tls.kind == CONF_OFF)
		return 0;
	return resp_server_memory() + resp_admin_memory();
}

const struct face face_resp = {
	.name = "resp",
	.open = resp_open,
	.drain = resp_drain,
	.kill = resp_kill,
	.is_drained = resp_is_drained,
	.close = resp_close,
	.memory = resp_memory,
};
