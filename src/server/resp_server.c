/* SPDX-License-Identifier: Apache-2.0 */
/* The RESP face of one worker: its pools, opened and closed. */
#include "server/resp_server.h"

#include <stdlib.h>

#include "base/assert.h"
#include "server/resp_internal.h"

enum {
	CALLS_MAX_DEFAULT = 4096,
	CONNECTIONS_MAX_DEFAULT = 10000,
};

static const struct resp_settings settings_default = {
	.bulk_max = 512ull << 20,
	.output_max = 64ull << 20,
	.multi_max = 16ull << 20,
};

static const struct actor_ops server_actor_ops = {
	.name = "resp",
	.run = resp_connections_run,
	.settle = resp_connections_settle,
};

static void settings_complete(struct resp_settings *settings, uint32_t connections_max)
{
	if (settings->bulk_max == 0)
		settings->bulk_max = settings_default.bulk_max;
	if (settings->output_max == 0)
		settings->output_max = settings_default.output_max;
	if (settings->multi_max == 0)
		settings->multi_max = settings_default.multi_max;
	if (settings->connections_max == 0 || settings->connections_max > connections_max)
		settings->connections_max = connections_max;
}

static void pools_init(struct resp_server *server)
{
	STAILQ_INIT(&server->calls_free);
	TAILQ_INIT(&server->connections);
	TAILQ_INIT(&server->connections_free);
	TAILQ_INIT(&server->ready);
	TAILQ_INIT(&server->starved);
}

static void memory_free(struct resp_server *server)
{
	free(server->calls);
	free(server->connection_memory);
	free(server->command_stats);
	free(server->latencies);
	free(server->scratch);
}

uint64_t resp_server_memory(void)
{
	resp_table_open();
	return (resp_command_count() + 1) *
	               (sizeof(struct resp_command_stats) + sizeof(struct histogram)) +
	       RESP_LINE_MAX + resp_uploads_memory() + resp_large_memory() + resp_txns_memory() +
	       resp_scans_memory() + resp_pubsub_memory() + resp_expired_memory();
}

uint64_t resp_connection_memory(void)
{
	return sizeof(struct resp_connection) + resp_subscription_memory();
}

enum status resp_server_open(struct resp_server *server, const struct resp_server_options *options)
{
	enum status status;

	assert(options->worker == options->kv->worker);
	resp_table_open();
	*server = (struct resp_server){
		.actor = { .ops = &server_actor_ops },
		.worker = options->worker,
		.kv = options->kv,
		.bufs = options->bufs,
		.kv_is_local = options->kv_is_local,
		.volumes = options->volumes,
		.settings = options->settings,
		.calls_max = options->calls_max != 0 ? options->calls_max : CALLS_MAX_DEFAULT,
		.connections_max = options->connections_max != 0 ? options->connections_max
		                                                 : CONNECTIONS_MAX_DEFAULT,
		.connection_id_next = 1,
		.random_state = options->random_seed,
		.values_max = options->values_memory != 0 ? options->values_memory : UINT64_MAX,
	};
	settings_complete(&server->settings, server->connections_max);
	server->calls = calloc(server->calls_max, sizeof(*server->calls));
	server->connection_memory =
	        calloc(server->connections_max, sizeof(*server->connection_memory));
	server->command_stats = calloc(resp_command_count() + 1, sizeof(*server->command_stats));
	server->latencies = calloc(resp_command_count() + 1, sizeof(*server->latencies));
	server->scratch = calloc(1, RESP_LINE_MAX);
	if (server->calls == NULL || server->connection_memory == NULL ||
	    server->command_stats == NULL || server->latencies == NULL || server->scratch == NULL) {
		memory_free(server);
		return STATUS_NO_SPACE;
	}
	pools_init(server);
	status = resp_uploads_open(server);
	if (status == STATUS_OK)
		status = resp_large_open(server);
	if (status == STATUS_OK)
		status = resp_txns_open(server);
	if (status == STATUS_OK)
		status = resp_scans_open(server);
	if (status == STATUS_OK)
		status = resp_pubsub_open(server);
	if (status == STATUS_OK)
		status = resp_expired_open(server);
	if (status != STATUS_OK) {
		if (server->pubsub != NULL)
			resp_pubsub_close(server);
		if (server->scans != NULL)
			resp_scans_close(server);
		if (server->txns != NULL)
			resp_txns_close(server);
		if (server->large != NULL)
			resp_large_close(server);
		if (server->uploads != NULL)
			resp_uploads_close(server);
		memory_free(server);
		return status;
	}
	worker_add_actor(server->worker, &server->actor);
	resp_sweep_start(server);
	return STATUS_OK;
}

void resp_server_close(struct resp_server *server)
{
	assert(server->connection_count == 0);
	assert(server->calls_used == 0);
	timer_cancel(&server->worker->timers, &server->sweep);
	resp_expired_close(server);
	resp_pubsub_close(server);
	resp_scans_close(server);
	resp_txns_close(server);
	resp_large_close(server);
	resp_uploads_close(server);
	memory_free(server);
}

void resp_server_drain(struct resp_server *server)
{
	struct resp_connection *connection;

	server->draining = true;
	TAILQ_FOREACH (connection, &server->connections, link) {
		resp_connection_shut(connection);
	}
}

bool resp_server_is_drained(const struct resp_server *server)
{
	return server->connection_count == 0 && server->calls_used == 0 &&
	       server->uploads_used == 0 && resp_expired_is_idle(server);
}

/* xorshift64*: for RANDOMKEY, where the quality does not matter. */
uint64_t resp_random(struct resp_server *server)
{
	uint64_t x = server->random_state != 0 ? server->random_state : 88172645463325252ull;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	server->random_state = x;
	return x * 2685821657736338717ull;
}
