/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD face of one worker: its pools, connections that come and go, and their deadlines. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/nbd_internal.h"

#define SECOND_NS 1000000000ull
#define SWEEP_NS (SECOND_NS / 2)

enum {
	CONNECTION_SHARE = 4, /* of the memory: what connections may have; calls get the rest */
	CALLS_MIN = 16,
	BUFS_SHARE = 2,
	STASH_SHARE = 4, /* of those: what connections that have nothing to say may keep */
};

static const struct actor_ops server_actor_ops = {
	.name = "nbd",
	.run = nbd_connections_run,
	.settle = nbd_connections_settle,
};

struct buf *nbd_buf_get(struct nbd_server *server, size_t size)
{
	struct buf *buf;

	if (server->bufs_used + size > server->bufs_max)
		return NULL;
	buf = buf_get(server->bufs, size);
	if (buf != NULL)
		server->bufs_used += buf->size;
	return buf;
}

void nbd_buf_free(struct nbd_server *server, struct buf *buf)
{
	assert(server->bufs_used >= buf->size);
	server->bufs_used -= buf->size;
	server->freed = true;
	buf_unref(buf);
}

struct nbd_call *nbd_call_get(struct nbd_connection *connection)
{
	struct nbd_server *server = connection->server;
	struct nbd_call *call = STAILQ_FIRST(&server->calls_free);

	if (connection->calls == NBD_CALLS_MAX)
		return NULL;
	if (call != NULL) {
		STAILQ_REMOVE_HEAD(&server->calls_free, link);
	} else if (server->calls_made < server->calls_max) {
		call = &server->call_memory[server->calls_made++];
	} else {
		return NULL;
	}
	memset(call, 0, offsetof(struct nbd_call, req));
	call->connection = connection;
	req_init(&call->req, server->worker);
	connection->calls++;
	server->calls_used++;
	return call;
}

static void call_give_back(struct nbd_call *call)
{
	struct nbd_connection *connection = call->connection;
	struct nbd_server *server = connection->server;

	assert(call->buf == NULL);
	assert(connection->calls > 0 && server->calls_used > 0);
	connection->calls--;
	server->calls_used--;
	server->freed = true;
	STAILQ_INSERT_HEAD(&server->calls_free, call, link);
}

void nbd_head_release(struct nbd_call *head)
{
	assert(head->head == head);
	assert(head->pieces_alive > 0);
	head->pieces_alive--;
	if (head->pieces_alive == 0)
		call_give_back(head);
}

void nbd_call_free(struct nbd_call *call)
{
	struct nbd_call *head = call->head;

	if (call->buf != NULL)
		nbd_buf_free(call->connection->server, call->buf);
	call->buf = NULL;
	if (call != head)
		call_give_back(call);
	nbd_head_release(head);
}

void nbd_connection_ready(struct nbd_connection *connection)
{
	struct nbd_server *server = connection->server;

	if (connection->flags & NBD_CONNECTION_READY)
		return;
	if (connection->flags & NBD_CONNECTION_STARVED)
		TAILQ_REMOVE(&server->starved, connection, ready_link);
	connection->flags &= ~(uint32_t)NBD_CONNECTION_STARVED;
	connection->flags |= NBD_CONNECTION_READY;
	TAILQ_INSERT_TAIL(&server->ready, connection, ready_link);
}

void nbd_connection_free(struct nbd_connection *connection)
{
	struct nbd_server *server = connection->server;
	struct export *export = connection->export;

	assert(connection->stream == NULL && connection->calls == 0);
	assert(connection->data == NULL && connection->output == NULL);
	assert(connection->flags & NBD_CONNECTION_READY);
	TAILQ_REMOVE(&server->ready, connection, ready_link);
	nbd_buf_free(server, connection->stash);
	connection->flags = 0;
	connection->export = NULL;
	TAILQ_REMOVE(&server->connections, connection, link);
	TAILQ_INSERT_HEAD(&server->connections_free, connection, link);
	server->connection_count--;
	server->stats.connections_open = server->connection_count;
	if (export != NULL && export_leave(export) && server->options.left != NULL)
		server->options.left(server->options.owner, export);
}

static struct nbd_connection *connection_get(struct nbd_server *server)
{
	struct nbd_connection *connection = TAILQ_FIRST(&server->connections_free);

	if (connection != NULL) {
		TAILQ_REMOVE(&server->connections_free, connection, link);
		return connection;
	}
	if (server->connections_made == server->connections_max)
		return NULL;
	return &server->connection_memory[server->connections_made++];
}

bool nbd_server_accept(struct nbd_server *server, struct stream *stream)
{
	struct nbd_connection *connection = NULL;
	struct buf *stash = NULL;

	assert(stream->worker == server->worker);
	if (!server->draining)
		stash = nbd_buf_get(server, NBD_STASH_SIZE);
	if (stash != NULL)
		connection = connection_get(server);
	if (connection == NULL) {
		if (stash != NULL)
			nbd_buf_free(server, stash);
		server->stats.connections_refused++;
		return false;
	}
	memset(connection, 0, sizeof(*connection));
	connection->server = server;
	connection->stash = stash;
	connection->stream = stream;
	connection->deadline_ns = server->worker->now_ns + server->options.handshake_timeout_ns;
	STAILQ_INIT(&connection->replies);
	STAILQ_INIT(&connection->held);
	STAILQ_INIT(&connection->sending);
	req_init(&connection->req, server->worker);
	TAILQ_INSERT_TAIL(&server->connections, connection, link);
	server->connection_count++;
	server->stats.connections_accepted++;
	server->stats.connections_open = server->connection_count;
	stream->handler = &nbd_stream_handler;
	stream->owner = connection;
	nbd_connection_ready(connection); /* the server speaks first */
	return true;
}

/* Whoever waits for buffers that others have is looked at now and then, too. */
static void server_sweep(struct timer *timer)
{
	struct nbd_server *server = container_of(timer, struct nbd_server, sweep);
	struct nbd_connection *connection;

	TAILQ_FOREACH (connection, &server->connections, link) {
		nbd_connection_sweep(connection);
	}
	timer_arm(&server->worker->timers, timer, server->worker->now_ns + SWEEP_NS, server_sweep);
}

static void pools_plan(struct nbd_server *server)
{
	const struct nbd_server_options *options = &server->options;
	uint64_t room = options->memory_size / CONNECTION_SHARE / sizeof(struct nbd_connection);
	uint64_t bufs_size = (uint64_t)server->bufs->slab_count * BUF_SIZE_MAX;
	uint64_t stashes, left;

	server->bufs_max = bufs_size / BUFS_SHARE;
	stashes = server->bufs_max / STASH_SHARE / NBD_STASH_SIZE;
	if (room > stashes)
		room = stashes;
	if (room > options->connections_max)
		room = options->connections_max;
	server->connections_max = (uint32_t)room;
	left = options->memory_size - room * sizeof(struct nbd_connection);
	left /= sizeof(struct nbd_call);
	if (left > room * NBD_CALLS_MAX)
		left = room * NBD_CALLS_MAX;
	server->calls_max = (uint32_t)left;
}

static void server_free(struct nbd_server *server)
{
	free(server->zeroes);
	free(server->connection_memory);
	free(server->call_memory);
	free(server);
}

enum status nbd_server_open(const struct nbd_server_options *options, struct nbd_server **out)
{
	struct nbd_server *server = calloc(1, sizeof(*server));

	assert(options->connections_max > 0);
	assert(options->handshake_timeout_ns > 0 && options->stall_timeout_ns > 0);
	if (server == NULL)
		return STATUS_NO_SPACE;
	server->actor.ops = &server_actor_ops;
	server->worker = options->worker;
	server->bufs = options->bufs;
	server->exports = options->exports;
	server->options = *options;
	pools_plan(server);
	TAILQ_INIT(&server->connections);
	TAILQ_INIT(&server->connections_free);
	TAILQ_INIT(&server->ready);
	TAILQ_INIT(&server->starved);
	STAILQ_INIT(&server->calls_free);
	if (server->connections_max > 0 && server->calls_max >= CALLS_MIN) {
		server->connection_memory =
		        calloc(server->connections_max, sizeof(*server->connection_memory));
		server->call_memory = calloc(server->calls_max, sizeof(*server->call_memory));
		server->zeroes = aligned_alloc(BUF_ALIGN, NBD_ZERO_SIZE);
	}
	if (server->connection_memory == NULL || server->call_memory == NULL ||
	    server->zeroes == NULL) {
		server_free(server);
		return STATUS_NO_SPACE;
	}
	memset(server->zeroes, 0, NBD_ZERO_SIZE);
	worker_add_actor(server->worker, &server->actor);
	timer_arm(&server->worker->timers, &server->sweep, server->worker->now_ns + SWEEP_NS,
	          server_sweep);
	*out = server;
	return STATUS_OK;
}

void nbd_server_close(struct nbd_server *server)
{
	assert(server->connection_count == 0);
	assert(server->calls_used == 0 && server->bufs_used == 0);
	timer_cancel(&server->worker->timers, &server->sweep);
	server_free(server);
}

static void connection_drain(struct nbd_connection *connection)
{
	connection->flags |= NBD_CONNECTION_DRAINING;
	nbd_connection_ready(connection);
}

void nbd_server_drop(struct nbd_server *server, const struct export *export)
{
	struct nbd_connection *connection;

	TAILQ_FOREACH (connection, &server->connections, link) {
		if (connection->export == export)
			connection_drain(connection);
	}
}

void nbd_server_drain(struct nbd_server *server)
{
	struct nbd_connection *connection;

	server->draining = true;
	TAILQ_FOREACH (connection, &server->connections, link) {
		connection_drain(connection);
	}
}

void nbd_server_kill(struct nbd_server *server)
{
	struct nbd_connection *connection;

	TAILQ_FOREACH (connection, &server->connections, link) {
		nbd_connection_kill(connection);
	}
}

bool nbd_server_is_drained(const struct nbd_server *server)
{
	return server->connection_count == 0;
}

const struct nbd_stats *nbd_server_stats(const struct nbd_server *server)
{
	return &server->stats;
}

static const char *command_name(unsigned index)
{
	static const char *const names[NBD_CMD_COUNT] = {
		[NBD_CMD_READ] = "read",
		[NBD_CMD_WRITE] = "write",
		[NBD_CMD_DISC] = "disc",
		[NBD_CMD_FLUSH] = "flush",
		[NBD_CMD_TRIM] = "trim",
		[NBD_CMD_CACHE] = "cache",
		[NBD_CMD_WRITE_ZEROES] = "write_zeroes",
		[NBD_CMD_BLOCK_STATUS] = "block_status",
	};

	assert(index < NBD_CMD_COUNT);
	return names[index];
}

enum status nbd_server_metrics(const struct nbd_server *server, struct metrics *metrics)
{
	const struct nbd_stats *stats = &server->stats;
	const struct {
		enum metric_kind kind;
		const char *name, *help;
		const uint64_t *number;
	} rows[] = {
		{ METRIC_GAUGE, "weir_connections", "Connections that are open.",
		  &stats->connections_open },
		{ METRIC_COUNTER, "weir_received_bytes_total", "Bytes from clients.",
		  &stats->bytes_in },
		{ METRIC_COUNTER, "weir_sent_bytes_total", "Bytes to clients.", &stats->bytes_out },
		{ METRIC_COUNTER, "weir_nbd_errors_total", "Requests answered with an error.",
		  &stats->errors },
		{ METRIC_COUNTER, "weir_nbd_malformed_total", "Connections that did not speak NBD.",
		  &stats->malformed },
		{ METRIC_COUNTER, "weir_nbd_timeouts_total", "Connections that were too slow.",
		  &stats->timeouts },
	};
	const struct metric requests = {
		.kind = METRIC_COUNTER,
		.name = "weir_requests_total",
		.help = "Requests that ran.",
		.labels = "face=\"nbd\"",
		.number = stats->requests,
		.element_label = "op",
		.element_name = command_name,
		.element_count = NBD_CMD_COUNT,
		.element_size = sizeof(uint64_t),
	};
	enum status status = metrics_add(metrics, &requests);

	for (unsigned i = 0; i < array_count(rows) && status == STATUS_OK; i++) {
		const struct metric row = { .kind = rows[i].kind,
			                    .name = rows[i].name,
			                    .help = rows[i].help,
			                    .labels = "face=\"nbd\"",
			                    .number = rows[i].number };

		status = metrics_add(metrics, &row);
	}
	return status;
}
