/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server of one worker: its pools, and connections that come and go. */
#include "server/http_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/http_internal.h"
#include "wire/http2.h"

#define SECOND_NS 1000000000ull
#define SWEEP_NS (SECOND_NS / 2)

enum {
	CONNECTIONS_MAX_DEFAULT = 10000,
	EXCHANGES_MIN = 4,
	CONNECTION_SHARE = 4, /* of the memory: what connections may have; exchanges get the rest */
};

static const struct http_limits limits_default = {
	.head_timeout_ns = 10 * SECOND_NS,
	.body_timeout_ns = 30 * SECOND_NS,
	.idle_timeout_ns = 75 * SECOND_NS,
	.send_timeout_ns = 60 * SECOND_NS,
	.body_rate_min = 500,
	.drop_max = 1 << 20,
	.requests_max = UINT32_MAX,
};

static const struct actor_ops server_actor_ops = {
	.name = "http",
	.run = http_connections_run,
	.settle = http_connections_settle,
};

void http_connection_ready(struct http_connection *connection)
{
	struct http_server *server = connection->server;

	if (connection->flags & HTTP_CONNECTION_READY)
		return;
	if (connection->flags & HTTP_CONNECTION_STARVED)
		TAILQ_REMOVE(&server->starved, connection, ready_link);
	connection->flags &= ~(uint32_t)HTTP_CONNECTION_STARVED;
	connection->flags |= HTTP_CONNECTION_READY;
	TAILQ_INSERT_TAIL(&server->ready, connection, ready_link);
}

void http_exchange_ready(struct http_exchange *exchange)
{
	if (exchange->connection->http2 != NULL)
		http2_exchange_ready(exchange);
	http_connection_ready(exchange->connection);
}

void http_connection_starve(struct http_connection *connection)
{
	uint32_t flags = connection->flags;

	connection->flags |= HTTP_CONNECTION_STARVED;
	/* One that is ready now becomes a starved one when the turn is settled. */
	if (!(flags & (HTTP_CONNECTION_STARVED | HTTP_CONNECTION_READY)))
		TAILQ_INSERT_TAIL(&connection->server->starved, connection, ready_link);
}

void http_connection_free(struct http_connection *connection)
{
	struct http_server *server = connection->server;

	assert(connection->stream == NULL && connection->exchange == NULL);
	assert(connection->input == NULL && connection->http2 == NULL);
	if (connection->flags & HTTP_CONNECTION_READY)
		TAILQ_REMOVE(&server->ready, connection, ready_link);
	else if (connection->flags & HTTP_CONNECTION_STARVED)
		TAILQ_REMOVE(&server->starved, connection, ready_link);
	connection->flags = 0;
	TAILQ_REMOVE(&server->connections, connection, link);
	TAILQ_INSERT_HEAD(&server->connections_free, connection, link);
	server->connection_count--;
	server->stats.connections_open = server->connection_count;
}

bool http_server_accept(struct http_server *server, struct stream *stream)
{
	struct http_connection *connection = TAILQ_FIRST(&server->connections_free);

	assert(stream->worker == server->worker);
	if (connection == NULL && server->connections_made < server->connections_max) {
		connection = &server->connection_memory[server->connections_made++];
		TAILQ_INSERT_HEAD(&server->connections_free, connection, link);
	}
	if (connection == NULL || server->draining) {
		server->stats.connections_refused++;
		return false;
	}
	TAILQ_REMOVE(&server->connections_free, connection, link);
	*connection = (struct http_connection){
		.server = server,
		.stream = stream,
		.deadline_ns = server->worker->now_ns + server->limits.head_timeout_ns,
	};
	TAILQ_INSERT_TAIL(&server->connections, connection, link);
	server->connection_count++;
	server->stats.connections_accepted++;
	server->stats.connections_open = server->connection_count;
	stream->handler = &http_stream_handler;
	stream->owner = connection;
	return true;
}

static bool server_accepted(struct listener *listener, struct stream *stream)
{
	return http_server_accept(listener->owner, stream);
}

const struct listener_handler http_listener_handler = { .accepted = server_accepted };

static void server_sweep(struct timer *timer)
{
	struct http_server *server = container_of(timer, struct http_server, sweep);
	struct http_connection *connection;

	TAILQ_FOREACH (connection, &server->connections, link) {
		http_connection_sweep(connection);
	}
	timer_arm(&server->worker->timers, timer, server->worker->now_ns + SWEEP_NS, server_sweep);
}

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
	return value != 0 ? value : otherwise;
}

static void limits_complete(struct http_limits *limits)
{
	const struct http_limits *d = &limits_default;

	limits->head_timeout_ns = or_default(limits->head_timeout_ns, d->head_timeout_ns);
	limits->body_timeout_ns = or_default(limits->body_timeout_ns, d->body_timeout_ns);
	limits->idle_timeout_ns = or_default(limits->idle_timeout_ns, d->idle_timeout_ns);
	limits->send_timeout_ns = or_default(limits->send_timeout_ns, d->send_timeout_ns);
	limits->body_rate_min = (uint32_t)or_default(limits->body_rate_min, d->body_rate_min);
	limits->drop_max = (uint32_t)or_default(limits->drop_max, d->drop_max);
	limits->requests_max = (uint32_t)or_default(limits->requests_max, d->requests_max);
}

/* A share of the memory for connections, as many as that holds; exchanges in the rest. */
static void pools_plan(struct http_server *server, const struct http_server_options *options)
{
	uint64_t room = options->memory_size / CONNECTION_SHARE / sizeof(struct http_connection);
	uint64_t asked = or_default(options->connections_max, CONNECTIONS_MAX_DEFAULT);
	uint64_t left;

	server->connections_max = (uint32_t)(asked < room ? asked : room);
	left = options->memory_size - server->connections_max * sizeof(struct http_connection);
	server->exchange_size = align_up(sizeof(struct http_exchange), 16) +
	                        align_up(options->handler->state_size, 16);
	server->exchanges_max = (uint32_t)(left / server->exchange_size);
}

enum status http_server_open(const struct http_server_options *options, struct http_server **out)
{
	struct http_server *server = calloc(1, sizeof(*server));

	assert(options->handler->begin != NULL);
	if (server == NULL)
		return STATUS_NO_SPACE;
	server->actor.ops = &server_actor_ops;
	server->worker = options->worker;
	server->bufs = options->bufs;
	server->handler = options->handler;
	server->owner = options->owner;
	server->limits = options->limits;
	limits_complete(&server->limits);
	pools_plan(server, options);
	snprintf(server->labels, sizeof(server->labels), "face=\"%s\"", options->handler->name);
	TAILQ_INIT(&server->exchanges_free);
	TAILQ_INIT(&server->later);
	TAILQ_INIT(&server->connections);
	TAILQ_INIT(&server->connections_free);
	TAILQ_INIT(&server->ready);
	TAILQ_INIT(&server->starved);
	server->date_s = UINT64_MAX;
	if (server->exchanges_max < EXCHANGES_MIN) {
		free(server);
		return STATUS_NO_SPACE;
	}
	server->http2 = http2_library_open();
	server->connection_memory =
	        calloc(server->connections_max, sizeof(*server->connection_memory));
	server->exchange_memory = calloc(server->exchanges_max, server->exchange_size);
	if (server->connection_memory == NULL || server->exchange_memory == NULL ||
	    server->http2 == NULL) {
		if (server->http2 != NULL)
			http2_library_close(server->http2);
		free(server->connection_memory);
		free(server->exchange_memory);
		free(server);
		return STATUS_NO_SPACE;
	}
	worker_add_actor(server->worker, &server->actor);
	timer_arm(&server->worker->timers, &server->sweep, server->worker->now_ns + SWEEP_NS,
	          server_sweep);
	*out = server;
	return STATUS_OK;
}

void http_server_close(struct http_server *server)
{
	assert(server->connection_count == 0);
	assert(server->exchanges_used == 0);
	timer_cancel(&server->worker->timers, &server->sweep);
	timer_cancel(&server->worker->timers, &server->later_timer);
	http2_library_close(server->http2);
	free(server->connection_memory);
	free(server->exchange_memory);
	free(server);
}

void http_server_drain(struct http_server *server)
{
	struct http_connection *connection;

	server->draining = true;
	TAILQ_FOREACH (connection, &server->connections, link) {
		http_connection_drain(connection);
	}
}

void http_server_kill(struct http_server *server)
{
	struct http_connection *connection;

	TAILQ_FOREACH (connection, &server->connections, link) {
		http_connection_kill(connection);
	}
}

bool http_server_is_drained(const struct http_server *server)
{
	return server->connection_count == 0 && server->exchanges_used == 0;
}

const struct http_stats *http_server_stats(const struct http_server *server)
{
	return &server->stats;
}
