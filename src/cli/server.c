/* SPDX-License-Identifier: Apache-2.0 */
/* The wiring, in the order in which things are opened; closing goes backwards. */
#include "cli/server.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_admin.h"
#include "transport/clock.h"

static const struct face *const faces[] = { &face_resp };
_Static_assert(array_count(faces) <= SERVER_FACES_MAX, "a worker has room for all faces");

void server_log(const struct server *server, enum log_level level, const char *format, ...)
{
	struct clock *clock = clock_system();
	char text[LOG_LINE_MAX], out[LOG_LINE_MAX];
	struct log_line line = { .level = level, .worker = -1, .text = text };
	va_list args;

	if (level < (enum log_level)conf_number(server->conf, CONF_LOG_LEVEL))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	line.wall_ms = clock->wall_ms(clock);
	fwrite(out, 1, log_format(&line, out), stderr);
}

static void write_line(const char *line, size_t size)
{
	fwrite(line, 1, size, stderr);
}

void server_drain_logs(struct server *server)
{
	for (unsigned i = 0; i < server->count; i++)
		log_drain(&server->workers[i].log, (int)i, write_line);
}

/* The calling thread's processors. Refused (a sandbox): it runs where it may. */
static void bind_to(const uint16_t *cpus, unsigned count)
{
	cpu_set_t *set = CPU_ALLOC(TOPOLOGY_CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(TOPOLOGY_CPUS_MAX);

	if (set == NULL)
		return;
	CPU_ZERO_S(size, set);
	for (unsigned i = 0; i < count; i++)
		CPU_SET_S(cpus[i], size, set);
	sched_setaffinity(0, size, set);
	CPU_FREE(set);
}

static void run_task(struct server_worker *w)
{
	w->task_exit = w->task(w, w->task_arg);
	/* Pairs with the acquire in server_call(): what the task did is seen with it. */
	atomic_store_explicit(&w->task_posted, false, memory_order_release);
}

enum cli_exit server_call(struct server_worker *w, server_task_fn *task, void *arg)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	assert(!atomic_load(&w->task_posted));
	if (!w->started)
		return task(w, arg);
	w->task = task;
	w->task_arg = arg;
	/* Pairs with the acquire in control_run(). */
	atomic_store_explicit(&w->task_posted, true, memory_order_release);
	worker_wake(&w->worker);
	while (atomic_load_explicit(&w->task_posted, memory_order_acquire)) {
		server_drain_logs(w->server);
		nanosleep(&pause, NULL);
	}
	return w->task_exit;
}

/* Does what the main thread asks for, once a turn. */
static unsigned control_run(struct actor *actor)
{
	struct server_worker *w = container_of(actor, struct server_worker, control);
	bool drained = true;

	/* Pairs with the release in server_call(). */
	if (atomic_load_explicit(&w->task_posted, memory_order_acquire))
		run_task(w);
	if (!atomic_load_explicit(&w->server->draining, memory_order_relaxed))
		return 0;
	if (!w->draining) {
		w->draining = true;
		for (unsigned i = 0; i < w->listener_count; i++)
			w->listeners[i]->ops->close(w->listeners[i]);
		w->listener_count = 0;
		for (unsigned i = 0; i < array_count(faces); i++) {
			if (w->faces[i] != NULL)
				faces[i]->drain(w->faces[i]);
		}
	}
	if (!w->killed && atomic_load_explicit(&w->server->killing, memory_order_relaxed)) {
		w->killed = true;
		for (unsigned i = 0; i < array_count(faces); i++) {
			if (w->faces[i] != NULL)
				faces[i]->kill(w->faces[i]);
		}
	}
	for (unsigned i = 0; i < array_count(faces); i++)
		drained = drained && (w->faces[i] == NULL || faces[i]->is_drained(w->faces[i]));
	if (drained)
		atomic_store_explicit(&w->drained, true, memory_order_release);
	return 0;
}

static const struct actor_ops control_ops = { .name = "control", .run = control_run };

enum { REGISTERED_SIZE = 6 << 20 }; /* the frames of a log */

static enum cli_exit open_io(struct server_worker *w)
{
	const struct conf *conf = w->server->conf;
	const struct io_options options = {
		.connections_max = (unsigned)conf_number(conf, CONF_RESP_CLIENTS_MAX),
		.receive_memory = w->server->parts.receives,
	};
	enum io_kind kind = (enum io_kind)conf_number(conf, CONF_TRANSPORT_KIND);
	char error[IO_ERROR_SIZE] = "";

	if (io_open(kind, &w->worker, &options, &w->io, error) != STATUS_OK) {
		cli_error("transport %s: %s", conf_text(conf, CONF_TRANSPORT_KIND), error);
		return CLI_ENVIRONMENT;
	}
	if (error[0] != '\0' && w->worker.id == 0)
		server_log(w->server, LOG_WARN, "io_uring is not used: %s", error);
	worker_add_transport(&w->worker, &w->io->transport);
	/* What is registered is resident: only what the log takes first, which is written from
	 * always. */
	if (w->has_engine)
		io_register(w->io, w->bufs.arena, REGISTERED_SIZE);
	return CLI_DONE;
}

static enum cli_exit open_worker(struct server_worker *w, unsigned id)
{
	struct server *server = w->server;
	const struct plan_worker *planned = &server->plan.workers[id];
	uint64_t buffers = server->parts.buffers + (planned->engine ? server->parts.log : 0);

	w->cpu = planned->cpu;
	w->has_engine = planned->engine;
	snprintf(w->name, sizeof(w->name), "weir-%u", id);
	worker_init(&w->worker, id, planned->roles, clock_system());
	w->worker.spin_ns = (uint32_t)conf_number(server->conf, CONF_WORKERS_SPIN);
	w->trace.name = w->name;
	w->worker.trace = &w->trace;
	log_init(&w->log, (enum log_level)conf_number(server->conf, CONF_LOG_LEVEL));
	w->worker.log = &w->log;
	w->control.ops = &control_ops;
	worker_add_actor(&w->worker, &w->control);
	/* From its own core, so that memory that is touched now is on its own node. */
	if (conf_number(server->conf, CONF_WORKERS_PIN) != 0)
		bind_to(&w->cpu, 1);
	if (bufs_open(&w->bufs, buffers, planned->node) != STATUS_OK) {
		cli_error("no memory for buffers");
		return CLI_ENVIRONMENT;
	}
	w->bufs_opened = true;
	return open_io(w);
}

/* A ring each way between any two workers. */
static bool connect_workers(struct server *server)
{
	unsigned count = server->count, ring = 0;
	size_t edges = (size_t)count * (count - 1);

	if (edges == 0)
		return true;
	server->rings = aligned_alloc(CACHE_LINE, edges * sizeof(*server->rings));
	server->ring_slots = calloc(edges * SERVER_RING_SIZE, sizeof(*server->ring_slots));
	if (server->rings == NULL || server->ring_slots == NULL)
		return false;
	for (unsigned from = 0; from < count; from++) {
		for (unsigned to = 0; to < count; to++) {
			if (from == to)
				continue;
			ring_init(&server->rings[ring],
			          &server->ring_slots[(size_t)ring * SERVER_RING_SIZE],
			          SERVER_RING_SIZE);
			worker_connect(&server->workers[from].worker, &server->workers[to].worker,
			               &server->rings[ring++]);
		}
	}
	assert(ring == edges);
	return true;
}

static enum status add_metric(struct server *server, const char *name, const char *help,
                              const uint64_t *number)
{
	const struct metric metric = {
		.kind = METRIC_COUNTER, .name = name, .help = help, .labels = "", .number = number
	};

	return metrics_add(&server->metrics, &metric);
}

static void add_metrics(struct server *server)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < server->count && status == STATUS_OK; i++) {
		struct server_worker *w = &server->workers[i];
		const struct {
			const char *name, *help;
			const uint64_t *number;
		} rows[] = {
			{ "weir_turns_total", "Passes of the workers' loops.",
			  &w->worker.stats.turns },
			{ "weir_events_total", "Completions, arrivals and timers.",
			  &w->worker.stats.events },
			{ "weir_sleeps_total", "Times that a worker slept.",
			  &w->worker.stats.sleeps },
			{ "weir_wakes_total", "Times that a worker woke another.",
			  &w->worker.stats.wakes_sent },
			{ "weir_accepted_total", "Connections taken.", &w->io->stats.accepted },
			{ "weir_refused_total", "Connections closed at once.",
			  &w->io->stats.refused },
			{ "weir_enters_total", "System calls that submitted or waited.",
			  &w->io->stats.enters },
			{ "weir_buffer_refused_total", "Times that no buffer was left.",
			  &w->bufs.refused },
		};

		for (size_t row = 0; row < array_count(rows) && status == STATUS_OK; row++)
			status = add_metric(server, rows[row].name, rows[row].help,
			                    rows[row].number);
	}
	assert(status == STATUS_OK); /* METRICS_MAX is derived from what is registered here */
}

static uint64_t microseconds(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

void server_look(struct server *server)
{
	unsigned long pages = 0;
	struct rusage usage;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file != NULL) {
		if (fscanf(file, "%*u %lu", &pages) != 1)
			pages = 0;
		fclose(file);
	}
	atomic_store(&server->memory_resident, pages * (uint64_t)sysconf(_SC_PAGESIZE));
	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return;
	atomic_store(&server->memory_peak, (uint64_t)usage.ru_maxrss * 1024);
	atomic_store(&server->cpu_user_us, microseconds(usage.ru_utime));
	atomic_store(&server->cpu_system_us, microseconds(usage.ru_stime));
}

void server_process_facts(const struct server *server, struct resp_facts *facts)
{
	facts->memory_resident = atomic_load(&server->memory_resident);
	facts->memory_peak = atomic_load(&server->memory_peak);
	facts->memory_total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	facts->cpu_user_us = atomic_load(&server->cpu_user_us);
	facts->cpu_system_us = atomic_load(&server->cpu_system_us);
}

static void *run_worker(void *arg)
{
	struct server_worker *w = arg;

	pthread_setname_np(pthread_self(), w->name);
	if (conf_number(w->server->conf, CONF_WORKERS_PIN) != 0)
		bind_to(&w->cpu, 1);
	trace_put(&w->worker, TRACE_WORKER_START, w->worker.roles, w->cpu);
	worker_run(&w->worker, &w->server->stop);
	trace_put(&w->worker, TRACE_WORKER_STOP, w->worker.stats.turns, w->worker.stats.events);
	return NULL;
}

enum cli_exit server_start_worker(struct server_worker *w)
{
	int error;

	if (w->started)
		return CLI_DONE;
	error = pthread_create(&w->thread, NULL, run_worker, w);
	if (error != 0) {
		cli_error("no thread for %s: %s", w->name, strerror(error));
		return CLI_ENVIRONMENT;
	}
	w->started = true;
	return CLI_DONE;
}

enum cli_exit server_open(struct server *server, const struct server_options *options)
{
	const struct conf *conf = options->conf;
	enum cli_exit exit;

	*server = (struct server){ .options = *options, .conf = conf, .store.lock = -1 };
	if (plan_make(&server->plan, options->topology, conf) != STATUS_OK) {
		cli_error("%s", server->plan.error);
		return CLI_USAGE;
	}
	if (server->plan.notice[0] != '\0')
		server_log(server, LOG_WARN, "%s", server->plan.notice);
	exit = cli_memory(conf,
	                  (struct memory_shape){ server->plan.count, server->plan.engine_count },
	                  &server->memory, &server->parts);
	if (exit != CLI_DONE)
		return exit;
	server->workers = calloc(server->plan.count, sizeof(*server->workers));
	if (server->workers == NULL) {
		cli_error("no memory for %u workers", server->plan.count);
		return CLI_ENVIRONMENT;
	}
	server->count = server->plan.count;
	for (unsigned i = 0; i < server->count; i++) {
		server->workers[i].server = server;
		exit = open_worker(&server->workers[i], i);
		if (exit != CLI_DONE)
			return exit;
	}
	if (conf_number(conf, CONF_WORKERS_PIN) != 0)
		bind_to(server->plan.system, server->plan.system_count);
	if (!connect_workers(server)) {
		cli_error("no memory for the rings between workers");
		return CLI_ENVIRONMENT;
	}
	add_metrics(server);
	exit = server_store_open(server);
	if (exit == CLI_DONE)
		exit = server_store_recover(server);
	for (unsigned i = 0; i < array_count(faces) && exit == CLI_DONE; i++)
		exit = faces[i]->open(server, i);
	return exit;
}

void server_close(struct server *server)
{
	for (unsigned i = 0; i < server->count; i++) {
		struct server_worker *w = &server->workers[i];

		assert(!w->started);
		for (unsigned j = 0; j < w->listener_count; j++)
			w->listeners[j]->ops->close(w->listeners[j]);
		for (unsigned j = 0; j < array_count(faces); j++) {
			if (w->faces[j] != NULL)
				faces[j]->close(w->faces[j]);
		}
	}
	server_store_close(server);
	for (unsigned i = 0; i < server->count; i++) {
		struct server_worker *w = &server->workers[i];

		if (w->io != NULL)
			io_close(w->io);
		if (w->bufs_opened)
			bufs_close(&w->bufs);
	}
	free(server->ring_slots);
	free(server->rings);
	free(server->workers);
	server->count = 0;
}

static void wake_all(struct server *server)
{
	for (unsigned i = 0; i < server->count; i++) {
		if (server->workers[i].started)
			worker_wake(&server->workers[i].worker);
	}
}

void server_drain(struct server *server)
{
	atomic_store(&server->draining, true);
	wake_all(server);
}

void server_kill(struct server *server)
{
	assert(atomic_load(&server->draining));
	atomic_store(&server->killing, true);
	wake_all(server);
}

bool server_is_drained(struct server *server)
{
	for (unsigned i = 0; i < server->count; i++) {
		if (!atomic_load_explicit(&server->workers[i].drained, memory_order_acquire))
			return false;
	}
	return true;
}

void server_stop(struct server *server)
{
	if (server_is_drained(server))
		server_store_stop(server);
	atomic_store(&server->stop, true);
	wake_all(server);
	for (unsigned i = 0; i < server->count; i++) {
		struct server_worker *w = &server->workers[i];

		if (!w->started)
			continue;
		pthread_join(w->thread, NULL);
		w->started = false;
		bufs_hand_over(&w->bufs);
	}
	server_drain_logs(server);
}

/* One worker's share of a face's listening. */
struct listen_task {
	struct io_listen_options options;
	unsigned index;         /* of the face */
	char address[NAME_MAX]; /* as asked for, then as bound */
	char error[IO_ERROR_SIZE];
	enum status status;
};

static enum cli_exit listen_here(struct server_worker *w, void *arg)
{
	struct listen_task *task = arg;
	struct listener **out = &w->listeners[w->listener_count];

	assert(w->listener_count < SERVER_LISTENERS_MAX);
	task->options.address = task->address;
	task->options.owner = w->faces[task->index];
	task->status = io_listen(w->io, &task->options, out, task->error);
	if (task->status != STATUS_OK)
		return CLI_ENVIRONMENT;
	w->listener_count++;
	/* Port 0 has become one: the other workers take the same. */
	snprintf(task->address, sizeof(task->address), "%s", (*out)->address);
	return CLI_DONE;
}

/* On all workers that have the face; only the first can find the address taken. */
static enum status listen_at(struct server *server, const struct server_listen *l,
                             const char *address, char *error)
{
	bool is_unix = strncmp(address, "unix:", 5) == 0;
	struct listen_task task = {
		.options = { .handler = l->handler,
		             .share = is_unix ? IO_SHARE_NONE : IO_SHARE_FIRST },
		.index = l->index,
	};

	snprintf(task.address, sizeof(task.address), "%s", address);
	for (unsigned i = 0; i < server->count; i++) {
		struct server_worker *w = &server->workers[i];
		bool first = task.options.share != IO_SHARE_NEXT;

		if (w->faces[l->index] == NULL)
			continue;
		if (server_call(w, listen_here, &task) != CLI_DONE) {
			memcpy(error, task.error, IO_ERROR_SIZE);
			return task.status;
		}
		if (first && !server->options.quiet) {
			printf("listening: %s %s\n", l->face, task.address);
			fflush(stdout);
		}
		if (is_unix)
			break;
		task.options.share = IO_SHARE_NEXT;
	}
	return STATUS_OK;
}

enum cli_exit server_listen(struct server *server, const struct server_listen *l)
{
	const char *text = conf_text(server->conf, l->setting), *key = conf_name(l->setting);
	bool pinned = conf_is_set(server->conf, l->setting);
	struct conf_address address;
	char error[IO_ERROR_SIZE] = "", moved[CONF_NAME_MAX + 128];
	enum status status;

	conf_address(server->conf, l->setting, &address);
	if (address.kind == CONF_OFF)
		return CLI_DONE;
	if (!conf_address_is_local(&address) && !l->authenticated && !server->options.insecure) {
		cli_error(
		        "%s = %s can be reached by strangers, and nobody is asked for a password: "
		        "set %s.password, or say --insecure-i-know",
		        key, text, l->face);
		return CLI_USAGE;
	}
	status = listen_at(server, l, text, error);
	for (unsigned i = 1; status == STATUS_EXISTS && !pinned && i <= SERVER_PORTS_TRIED; i++) {
		snprintf(moved, sizeof(moved), "%s:%u", address.host, address.port + i);
		status = listen_at(server, l, moved, error);
		if (status == STATUS_OK)
			server_log(server, LOG_WARN,
			           "port %u is taken, so %s listens at %s: set %s to pin a port",
			           address.port, l->face, moved, key);
	}
	if (status == STATUS_OK)
		return CLI_DONE;
	cli_error("%s = %s: %s", key, text, error);
	return status == STATUS_INVALID ? CLI_USAGE : CLI_ENVIRONMENT;
}
