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

static uint32_t limit_connections(const struct server *server)
{
	uint64_t room =
	        server->parts.connections / CONNECTION_SHARE / sizeof(struct resp_connection);
	uint64_t asked = conf_number(server->conf, CONF_RESP_CLIENTS_MAX);

	return (uint32_t)(asked < room ? asked : room);
}

static uint32_t limit_calls(const struct server *server)
{
	return (uint32_t)(server->parts.connections / CONNECTION_SHARE / sizeof(struct resp_call));
}

/* In the turn of worker `owner`: its part of what INFO tells. */
static void tell_facts(void *owner, struct resp_facts *facts)
{
	struct server_worker *w = owner;

	server_store_facts(w, facts);
	server_process_facts(w->server, facts);
}

static void shut_down(void *owner)
{
	(void)owner;
	kill(getpid(), SIGTERM); /* the main thread takes it, as if somebody had sent it */
}

static const struct resp_admin_hooks hooks = { .facts = tell_facts, .shutdown = shut_down };

static enum cli_exit open_admin(struct server_worker *w, const struct resp_task *task)
{
	struct resp_face *face = w->faces[task->index];
	const char *password = conf_text(w->server->conf, CONF_RESP_PASSWORD);
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
		cli_error("resp: %s", error[0] == '\0' ? "no memory" : error);
		return CLI_ENVIRONMENT;
	}
	face->administered = true;
	return CLI_DONE;
}

static enum cli_exit open_here(struct server_worker *w, void *arg)
{
	const struct resp_server_options options = {
		.worker = &w->worker,
		.kv = w->kv,
		.bufs = &w->bufs,
		.kv_is_local = w->kv_is_local,
		.calls_max = limit_calls(w->server),
		.connections_max = limit_connections(w->server),
		.random_seed = w->worker.now_ns ^ w->worker.id,
		.settings = { .memory_max = w->server->memory },
	};
	struct resp_face *face = calloc(1, sizeof(*face));
	struct resp_task *task = arg;

	assert(w->kv != NULL);
	if (face == NULL || resp_server_open(&face->server, &options) != STATUS_OK) {
		free(face);
		cli_error("resp: no memory for %u connections", options.connections_max);
		return CLI_ENVIRONMENT;
	}
	w->faces[task->index] = face;
	assert(task->count < RESP_SERVERS_MAX);
	task->servers[task->count++] = &face->server;
	return open_admin(w, task);
}

/* On one of their workers; the others' have no connection yet, so nothing looks. */
static enum cli_exit join(struct server_worker *w, void *arg)
{
	struct resp_task *task = arg;

	(void)w;
	resp_admin_join(task->servers, task->count);
	return CLI_DONE;
}

static enum cli_exit resp_open(struct server *server, unsigned index)
{
	const struct server_listen listen = {
		.setting = CONF_RESP_LISTEN,
		.face = "resp",
		.index = index,
		.handler = &resp_listener_handler,
		.authenticated = conf_text(server->conf, CONF_RESP_PASSWORD)[0] != '\0',
	};
	struct resp_task task = { .index = index };
	struct conf_address address;
	enum cli_exit exit = CLI_DONE;
	ssize_t size;

	conf_address(server->conf, CONF_RESP_LISTEN, &address);
	if (address.kind == CONF_OFF)
		return CLI_DONE;
	task.port = address.port;
	size = readlink("/proc/self/exe", task.executable, sizeof(task.executable) - 1);
	task.executable[size < 0 ? 0 : size] = '\0';
	if (getrandom(task.secret, sizeof(task.secret), 0) != sizeof(task.secret)) {
		cli_error("this machine gives no random bytes");
		return CLI_ENVIRONMENT;
	}
	for (unsigned i = 0; i < server->count; i++)
		task.workers += (server->workers[i].worker.roles & ROLE_NETWORK) != 0;
	for (unsigned i = 0; i < server->count && exit == CLI_DONE; i++) {
		if (server->workers[i].worker.roles & ROLE_NETWORK)
			exit = server_call(&server->workers[i], open_here, &task);
	}
	if (exit != CLI_DONE)
		return exit;
	for (unsigned i = 0; i < server->count; i++) {
		if (server->workers[i].faces[index] != NULL) {
			exit = server_call(&server->workers[i], join, &task);
			break;
		}
	}
	return exit == CLI_DONE ? server_listen(server, &listen) : exit;
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
