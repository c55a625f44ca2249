/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe/TCP target of one worker: its pools, and connections that come and go. */
#include "server/nvme_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "server/nvme_internal.h"

enum {
	CONNECTIONS_MAX_DEFAULT = 1024,
	COMMANDS_PER_CONNECTION = 64, /* that the memory is split for */
	TTAGS_MAX = 65535,            /* a command's place in the pool is its transfer tag */
	CONNECTIONS_MIN = 2,
};

static unsigned server_run(struct actor *actor)
{
	struct nvme_server *server = container_of(actor, struct nvme_server, actor);

	return TAILQ_EMPTY(&server->starved) ? 0 : nvme_starved_run(server);
}

static void server_settle(struct actor *actor)
{
	struct nvme_server *server = container_of(actor, struct nvme_server, actor);
	struct nvme_queue *queue;

	while ((queue = TAILQ_FIRST(&server->ready)) != NULL) {
		TAILQ_REMOVE(&server->ready, queue, ready_link);
		queue->flags &= ~(uint32_t)NVME_QUEUE_READY;
		nvme_queue_run(queue);
	}
}

static const struct actor_ops server_actor_ops = {
	.name = "nvme_tcp",
	.run = server_run,
	.settle = server_settle,
};

void nvme_queue_ready(struct nvme_queue *queue)
{
	assert(queue->server != NULL);
	if (queue->flags & NVME_QUEUE_READY)
		return;
	queue->flags |= NVME_QUEUE_READY;
	TAILQ_INSERT_TAIL(&queue->server->ready, queue, ready_link);
}

void nvme_queue_free(struct nvme_queue *queue)
{
	struct nvme_server *server = queue->server;

	assert(queue->stream == NULL && queue->command_count == 0 && !queue->sending);
	assert(!(queue->flags & (NVME_QUEUE_MESSAGE | NVME_QUEUE_JOINED)));
	if (queue->flags & NVME_QUEUE_READY)
		TAILQ_REMOVE(&server->ready, queue, ready_link);
	assert(server->commands_reserved >= queue->depth);
	server->commands_reserved -= queue->depth;
	assert(queue->connecting == NULL && queue->waiting_count == 0);
	assert(server->queue_count > 0);
	queue->flags = 0;
	TAILQ_REMOVE(&server->queues, queue, link);
	TAILQ_INSERT_HEAD(&server->queues_free, queue, link);
	server->queue_count--;
	server->stats.connections_open = server->queue_count;
}

bool nvme_reserve(struct nvme_server *server, uint32_t commands)
{
	assert(server->commands_reserved <= server->commands_max);
	if (commands > server->commands_max - server->commands_reserved)
		return false;
	server->commands_reserved += commands;
	return true;
}

bool nvme_server_accept(struct nvme_server *server, struct stream *stream)
{
	struct nvme_queue *queue = TAILQ_FIRST(&server->queues_free);

	assert(stream->worker == server->worker);
	if (queue == NULL && server->queues_made < server->queues_max) {
		queue = &server->queue_memory[server->queues_made++];
		TAILQ_INSERT_HEAD(&server->queues_free, queue, link);
	}
	/* A connection has room for Connect; that makes more of it. */
	if (queue == NULL || server->draining || !nvme_reserve(server, 1)) {
		server->stats.connections_refused++;
		return false;
	}
	assert(queue->command_count == 0 && queue->controller == NULL);
	TAILQ_REMOVE(&server->queues_free, queue, link);
	queue->server = server;
	nvme_queue_init(queue, stream);
	TAILQ_INSERT_TAIL(&server->queues, queue, link);
	server->queue_count++;
	server->stats.connections_accepted++;
	server->stats.connections_open = server->queue_count;
	return true;
}

void nvme_server_listens_at(struct nvme_server *server, const char *address)
{
	if (server->address[0] == '\0')
		snprintf(server->address, sizeof(server->address), "%s", address);
}

static bool server_accepted(struct listener *listener, struct stream *stream)
{
	nvme_server_listens_at(listener->owner, listener->address);
	return nvme_server_accept(listener->owner, stream);
}

const struct listener_handler nvme_listener_handler = { .accepted = server_accepted };

/* What namespaces are now; *changed: bit by id - 1. */
static bool look_at_exports(struct nvme_server *server, uint8_t changed[static EXPORTS_MAX / 8])
{
	bool any = false;

	memset(changed, 0, EXPORTS_MAX / 8);
	for (uint32_t i = 0; i < EXPORTS_MAX; i++) {
		const struct export *export = export_at(server->exports, i + 1);
		struct nvme_seen now = { 0 };

		if (export != NULL) {
			now.block_count = export->blk->geometry.block_count;
			now.read_only = export->read_only;
			memcpy(now.uuid, export->uuid, sizeof(now.uuid));
		}
		if (now.block_count == server->seen[i].block_count &&
		    now.read_only == server->seen[i].read_only &&
		    memcmp(now.uuid, server->seen[i].uuid, sizeof(now.uuid)) == 0)
			continue;
		server->seen[i] = now;
		changed[i / 8] |= (uint8_t)(1u << i % 8);
		any = true;
	}
	server->generation = server->exports->generation;
	return any;
}

static void tell_changes(struct nvme_server *server)
{
	uint8_t changed[EXPORTS_MAX / 8];

	if (server->generation == server->exports->generation || !look_at_exports(server, changed))
		return;
	for (uint32_t i = 0; i < NVME_CONTROLLERS_MAX; i++) {
		struct nvme_controller *controller = &server->controllers[i];

		if (!controller->used || controller->ending || controller->discovery)
			continue;
		for (uint32_t k = 0; k < sizeof(changed); k++)
			controller->changed[k] |= changed[k];
		nvme_controller_changed(controller);
	}
}

static void server_sweep(struct timer *timer)
{
	struct nvme_server *server = container_of(timer, struct nvme_server, sweep);
	struct nvme_queue *queue;

	tell_changes(server);
	TAILQ_FOREACH (queue, &server->queues, link) {
		nvme_queue_sweep(queue);
	}
	for (uint32_t i = 0; i < NVME_CONTROLLERS_MAX; i++) {
		if (server->controllers[i].used)
			nvme_controller_sweep(&server->controllers[i]);
	}
	timer_arm(&server->worker->timers, timer, server->worker->now_ns + NVME_SWEEP_NS,
	          server_sweep);
}

uint32_t nvme_nsid_max(const struct nvme_server *server)
{
	for (uint32_t id = EXPORTS_MAX; id > 1; id--) {
		if (export_at(server->exports, id) != NULL)
			return id;
	}
	return 1;
}

/*
 * As many connections as the memory has room for, each with its share of commands; the deepest
 * queue is an eighth of all commands, so that several hosts get one each.
 */
static void pools_plan(struct nvme_server *server, const struct nvme_server_options *options)
{
	uint64_t controllers = NVME_CONTROLLERS_MAX * sizeof(struct nvme_controller);
	uint64_t each =
	        sizeof(struct nvme_queue) + COMMANDS_PER_CONNECTION * sizeof(struct nvme_command);
	uint64_t left = options->memory_size - controllers;
	uint64_t asked =
	        options->connections_max != 0 ? options->connections_max : CONNECTIONS_MAX_DEFAULT;
	uint64_t commands;

	if (options->memory_size < controllers) {
		server->queues_max = 0;
		return;
	}
	server->queues_max = (uint32_t)(left / each < asked ? left / each : asked);
	left -= server->queues_max * sizeof(struct nvme_queue);
	commands = left / sizeof(struct nvme_command);
	server->commands_max = (uint32_t)(commands < TTAGS_MAX ? commands : TTAGS_MAX);
	server->depth_max = NVME_DEPTH_MAX;
	while (server->depth_max > NVME_DEPTH_MIN && server->depth_max > server->commands_max / 8)
		server->depth_max /= 2;
	/* Half of the buffers at most: other faces, and devices, need some, too. */
	server->data_max = (uint64_t)options->bufs->slab_count * BUF_SIZE_MAX / 2;
}

static enum status pools_open(struct nvme_server *server)
{
	if (server->queues_max < CONNECTIONS_MIN || server->commands_max < NVME_DEPTH_MIN)
		return STATUS_NO_SPACE;
	server->queue_memory = calloc(server->queues_max, sizeof(*server->queue_memory));
	server->command_memory = calloc(server->commands_max, sizeof(*server->command_memory));
	server->controllers = calloc(NVME_CONTROLLERS_MAX, sizeof(*server->controllers));
	if (server->queue_memory == NULL || server->command_memory == NULL ||
	    server->controllers == NULL)
		return STATUS_NO_SPACE;
	for (uint32_t i = 0; i < server->commands_max; i++)
		STAILQ_INSERT_TAIL(&server->commands_free, &server->command_memory[i], link);
	return STATUS_OK;
}

static void server_free(struct nvme_server *server)
{
	free(server->queue_memory);
	free(server->command_memory);
	free(server->controllers);
	free(server);
}

enum status nvme_server_open(const struct nvme_server_options *options, struct nvme_server **out)
{
	struct nvme_server *server = calloc(1, sizeof(*server));
	uint8_t changed[EXPORTS_MAX / 8];
	enum status status;

	assert(options->worker != NULL && options->bufs != NULL);
	assert(options->exports != NULL && options->subsystem != NULL);
	assert(nvme_nqn_is_valid(options->subsystem->nqn, sizeof(options->subsystem->nqn)));
	assert(options->subsystem->servers[options->worker->id] == NULL);
	if (server == NULL)
		return STATUS_NO_SPACE;
	server->actor.ops = &server_actor_ops;
	server->worker = options->worker;
	server->bufs = options->bufs;
	server->exports = options->exports;
	server->subsystem = options->subsystem;
	TAILQ_INIT(&server->queues);
	TAILQ_INIT(&server->queues_free);
	TAILQ_INIT(&server->ready);
	TAILQ_INIT(&server->starved);
	STAILQ_INIT(&server->commands_free);
	pools_plan(server, options);
	status = pools_open(server);
	if (status != STATUS_OK) {
		server_free(server);
		return status;
	}
	look_at_exports(server, changed);
	worker_add_actor(server->worker, &server->actor);
	timer_arm(&server->worker->timers, &server->sweep, server->worker->now_ns + NVME_SWEEP_NS,
	          server_sweep);
	options->subsystem->servers[server->worker->id] = server;
	*out = server;
	return STATUS_OK;
}

void nvme_server_close(struct nvme_server *server)
{
	assert(server->queue_count == 0);
	assert(server->commands_reserved == 0 && server->data_size == 0);
	timer_cancel(&server->worker->timers, &server->sweep);
	server->subsystem->servers[server->worker->id] = NULL;
	server_free(server);
}

void nvme_server_drain(struct nvme_server *server)
{
	struct nvme_queue *queue;

	server->draining = true;
	TAILQ_FOREACH (queue, &server->queues, link) {
		queue->flags |= NVME_QUEUE_DRAINING;
		nvme_queue_ready(queue);
	}
}

void nvme_server_kill(struct nvme_server *server)
{
	struct nvme_queue *queue;

	TAILQ_FOREACH (queue, &server->queues, link) {
		nvme_queue_kill(queue);
	}
}

bool nvme_server_is_drained(const struct nvme_server *server)
{
	return server->queue_count == 0;
}

const struct nvme_stats *nvme_server_stats(const struct nvme_server *server)
{
	return &server->stats;
}

enum status nvme_server_metrics(const struct nvme_server *server, struct metrics *metrics)
{
	const struct nvme_stats *s = &server->stats;
	const struct {
		enum metric_kind kind;
		const char *name, *help, *labels;
		const uint64_t *number;
	} rows[] = {
		{ METRIC_GAUGE, "weir_connections", "Connections that are open.",
		  "face=\"nvme_tcp\"", &s->connections_open },
		{ METRIC_COUNTER, "weir_connections_accepted_total", "Connections accepted.",
		  "face=\"nvme_tcp\"", &s->connections_accepted },
		{ METRIC_COUNTER, "weir_connections_refused_total", "Connections closed at once.",
		  "face=\"nvme_tcp\"", &s->connections_refused },
		{ METRIC_GAUGE, "weir_nvme_controllers", "Controllers that hosts have.", "",
		  &s->controllers_open },
		{ METRIC_COUNTER, "weir_requests_total", "Requests that ran.",
		  "face=\"nvme_tcp\",op=\"read\"", &s->reads },
		{ METRIC_COUNTER, "weir_requests_total", "Requests that ran.",
		  "face=\"nvme_tcp\",op=\"write\"", &s->writes },
		{ METRIC_COUNTER, "weir_requests_total", "Requests that ran.",
		  "face=\"nvme_tcp\",op=\"flush\"", &s->flushes },
		{ METRIC_COUNTER, "weir_requests_total", "Requests that ran.",
		  "face=\"nvme_tcp\",op=\"other\"", &s->others },
		{ METRIC_COUNTER, "weir_requests_total", "Requests that ran.",
		  "face=\"nvme_tcp\",op=\"admin\"", &s->admin },
		{ METRIC_COUNTER, "weir_nvme_read_bytes_total", "Bytes read by hosts.", "",
		  &s->bytes_read },
		{ METRIC_COUNTER, "weir_nvme_written_bytes_total", "Bytes written by hosts.", "",
		  &s->bytes_written },
		{ METRIC_COUNTER, "weir_nvme_failed_total", "Commands that failed.", "",
		  &s->failed },
		{ METRIC_COUNTER, "weir_nvme_malformed_total",
		  "Connections ended for what came on them.", "", &s->malformed },
		{ METRIC_COUNTER, "weir_nvme_expired_total",
		  "Controllers and connections ended because their host stood still.", "",
		  &s->expired },
		{ METRIC_COUNTER, "weir_nvme_starved_total",
		  "Commands that waited for a free buffer.", "", &s->starved },
	};

	for (size_t i = 0; i < array_count(rows); i++) {
		const struct metric row = { .kind = rows[i].kind,
			                    .name = rows[i].name,
			                    .help = rows[i].help,
			                    .labels = rows[i].labels,
			                    .number = rows[i].number };
		enum status status = metrics_add(metrics, &row);

		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}
