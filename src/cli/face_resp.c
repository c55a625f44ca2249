/* SPDX-License-Identifier: Apache-2.0 */
/* The RESP face on every network worker. */
#include <stdlib.h>
#include <sys/random.h>

#include "base/assert.h"
#include "cli/server.h"
#include "server/resp_server.h"

/* Of a worker's connection memory: what connections get, and calls get the rest. */
enum { CONNECTION_SHARE = 2 };

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

static enum cli_exit open_here(struct server_worker *w, void *arg)
{
	struct resp_server_options options = {
		.worker = &w->worker,
		.kv = w->kv,
		.bufs = &w->bufs,
		.kv_is_local = w->kv_is_local,
		.calls_max = limit_calls(w->server),
		.connections_max = limit_connections(w->server),
	};
	struct resp_server *resp = calloc(1, sizeof(*resp));
	const unsigned *index = arg;

	assert(w->kv != NULL);
	if (getrandom(&options.random_seed, sizeof(options.random_seed), GRND_NONBLOCK) < 0)
		options.random_seed = w->worker.now_ns;
	if (resp == NULL || resp_server_open(resp, &options) != STATUS_OK) {
		free(resp);
		cli_error("resp: no memory for %u connections", options.connections_max);
		return CLI_ENVIRONMENT;
	}
	w->faces[*index] = resp;
	return CLI_DONE;
}

static enum cli_exit resp_open(struct server *server, unsigned index)
{
	const struct server_listen listen = {
		.setting = CONF_RESP_LISTEN,
		.face = "resp",
		.index = index,
		.handler = &resp_listener_handler,
	};
	struct conf_address address;
	enum cli_exit exit = CLI_DONE;

	conf_address(server->conf, CONF_RESP_LISTEN, &address);
	if (address.kind == CONF_OFF)
		return CLI_DONE;
	for (unsigned i = 0; i < server->count && exit == CLI_DONE; i++) {
		if (server->workers[i].worker.roles & ROLE_NETWORK)
			exit = server_call(&server->workers[i], open_here, &index);
	}
	return exit == CLI_DONE ? server_listen(server, &listen) : exit;
}

static void resp_drain(void *face)
{
	resp_server_drain(face);
}

static bool resp_is_drained(const void *face)
{
	const struct resp_server *resp = face;

	return resp->connection_count == 0;
}

static void resp_close(void *face)
{
	resp_server_close(face);
	free(face);
}

const struct face face_resp = {
	.name = "resp",
	.open = resp_open,
	.drain = resp_drain,
	.is_drained = resp_is_drained,
	.close = resp_close,
};
