/* SPDX-License-Identifier: Apache-2.0 */
/* The wiring, in the order in which things are opened; closing goes backwards. */
#include "host/host.h"

#include <errno.h>
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
#include "layer/stream_tls.h"
#include "transport/clock.h"
#include "transport/numa.h"

void host_log(struct host *host, enum log_level level, const char *format, ...)
{
	struct clock *clock = clock_system();
	char text[LOG_LINE_MAX], out[LOG_LINE_MAX];
	struct log_line line = { .level = level,
		                 .style = (enum log_style)conf_number(host->conf, CONF_LOG_FORMAT),
		                 .worker = -1,
		                 .text = text };
	va_list args;

	if (host->options.log_write == NULL ||
	    level < (enum log_level)conf_number(host->conf, CONF_LOG_LEVEL))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	line.wall_ms = clock->wall_ms(clock);
	host->options.log_write(out, log_format(&line, out));
	if (level >= LOG_WARN)
		recent_put(&host->told, line.wall_ms, 0, bytes_of(text, strlen(text)));
}

enum status host_fail(struct host *host, enum status status, const char *format, ...)
{
	va_list args;

	assert(status != STATUS_OK);
	if (host->error[0] == '\0') {
		va_start(args, format);
		vsnprintf(host->error, sizeof(host->error), format, args);
		va_end(args);
	}
	return status;
}

#define TELL_NS 1000000000ull

static void write_nowhere(const char *line, size_t size)
{
	(void)line;
	(void)size;
}

static void run_chore(struct host_worker *w)
{
	struct host_chore *chore = atomic_load_explicit(&w->chore, memory_order_acquire);

	if (chore == NULL)
		return;
	chore->run(chore);
	atomic_store_explicit(&w->chore, NULL, memory_order_release);
	worker_wake(&w->worker);
}

void host_drain_logs(struct host *host)
{
	log_write_fn *write = host->options.log_write;

	if (write == NULL)
		write = write_nowhere;
	for (unsigned i = 0; i < host->count; i++) {
		log_drain(&host->workers[i].log, (int)i, write);
		run_chore(&host->workers[i]);
	}
}

void host_chore_post(struct host_worker *w, struct host_chore *chore)
{
	assert(w->chore_waits == NULL);
	w->chore_waits = chore;
	/* Pairs with the acquire in run_chore(): it sees what the chore is about. */
	atomic_store_explicit(&w->chore, chore, memory_order_release);
}

/* In a turn of its worker, while it waits. */
static void end_chore(struct host_worker *w)
{
	struct req *req = w->chore_waits->req;

	/* Pairs with the release in run_chore(): what the chore did is seen. */
	if (atomic_load_explicit(&w->chore, memory_order_acquire) != NULL)
		return;
	w->chore_waits = NULL;
	req_complete(req, STATUS_OK, 0);
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

/* What the calling thread touches first from now on. Refused (a sandbox): as the kernel likes. */
static void prefer_node(const struct host_worker *w)
{
	if (w->node >= 0 && numa_prefer((unsigned)w->node) != STATUS_OK)
		host_log(w->host, LOG_INFO, "memory of node %d cannot be preferred", w->node);
}

static void run_task(struct host_worker *w)
{
	w->task_status = w->task(w, w->task_arg);
	/* Pairs with the acquire in host_call(): what the task did is seen with it. */
	atomic_store_explicit(&w->task_posted, false, memory_order_release);
}

enum status host_call(struct host_worker *w, host_task_fn *task, void *arg)
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
		host_drain_logs(w->host);
		nanosleep(&pause, NULL);
	}
	return w->task_status;
}

static void drain_faces(struct host_worker *w)
{
	const struct host_options *options = &w->host->options;

	w->draining = true;
	for (unsigned i = 0; i < w->listener_count; i++)
		w->listeners[i]->ops->close(w->listeners[i]);
	w->listener_count = 0;
	for (unsigned i = 0; i < options->face_count; i++) {
		if (w->faces[i] != NULL)
			options->faces[i]->drain(w->faces[i]);
	}
}

static void kill_faces(struct host_worker *w)
{
	const struct host_options *options = &w->host->options;

	w->killed = true;
	for (unsigned i = 0; i < options->face_count; i++) {
		if (w->faces[i] != NULL)
			options->faces[i]->kill(w->faces[i]);
	}
}

static bool faces_are_drained(const struct host_worker *w)
{
	const struct host_options *options = &w->host->options;

	for (unsigned i = 0; i < options->face_count; i++) {
		if (w->faces[i] != NULL && !options->faces[i]->is_drained(w->faces[i]))
			return false;
	}
	return true;
}

/* Does what the main thread asks for, once a turn. */
static unsigned control_run(struct actor *actor)
{
	struct host_worker *w = container_of(actor, struct host_worker, control);

	/* Pairs with the release in host_call(). */
	if (atomic_load_explicit(&w->task_posted, memory_order_acquire))
		run_task(w);
	if (w->chore_waits != NULL)
		end_chore(w);
	if (w->has_engine && w->host->store.recovered && w->worker.now_ns - w->told_ns >= TELL_NS)
		host_store_tell(w);
	if (!atomic_load_explicit(&w->host->draining, memory_order_relaxed))
		return 0;
	if (!w->draining)
		drain_faces(w);
	if (!w->killed && atomic_load_explicit(&w->host->killing, memory_order_relaxed))
		kill_faces(w);
	/* Pairs with the acquire in host_is_drained(). */
	if (faces_are_drained(w) && (w->killed || w->tls == NULL || stream_tls_is_drained(w->tls)))
		atomic_store_explicit(&w->drained, true, memory_order_release);
	return 0;
}

static const struct actor_ops control_ops = { .name = "control", .run = control_run };

enum { REGISTERED_SIZE = 6 << 20 }; /* the frames of a log */

static enum status open_io(struct host_worker *w)
{
	const struct conf *conf = w->host->conf;
	const struct io_options options = {
		.connections_max = (unsigned)(conf_number(conf, CONF_RESP_CLIENTS_MAX) +
		                              conf_number(conf, CONF_HTTP_CLIENTS_MAX)),
		.receive_memory = w->host->parts.receives,
	};
	enum io_kind kind = (enum io_kind)conf_number(conf, CONF_TRANSPORT_KIND);
	char error[IO_ERROR_SIZE] = "";

	if (io_open(kind, &w->worker, &options, &w->io, error) != STATUS_OK) {
		return host_fail(w->host, STATUS_UNAVAILABLE, "transport %s: %s",
		                 conf_text(conf, CONF_TRANSPORT_KIND), error);
	}
	if (error[0] != '\0' && w->worker.id == 0)
		host_log(w->host, LOG_WARN, "io_uring is not used: %s", error);
	worker_add_transport(&w->worker, &w->io->transport);
	/* What is registered is resident: only what the log takes first, which is written from
	 * always. */
	if (w->has_engine)
		io_register(w->io, w->bufs.arena, REGISTERED_SIZE);
	return STATUS_OK;
}

static enum status open_worker(struct host_worker *w, unsigned id)
{
	struct host *host = w->host;
	const struct plan_worker *planned = &host->plan.workers[id];
	uint64_t buffers = host->parts.buffers + (planned->engine ? host->parts.log : 0);

	w->cpu = planned->cpu;
	w->has_engine = planned->engine;
	snprintf(w->name, sizeof(w->name), "weir-%u", id);
	worker_init(&w->worker, id, planned->roles, clock_system());
	w->worker.spin_ns = (uint32_t)conf_number(host->conf, CONF_WORKERS_SPIN);
	w->trace.name = w->name;
	w->worker.trace = &w->trace;
	w->worker.slow = &w->slow;
	log_init(&w->log, (enum log_level)conf_number(host->conf, CONF_LOG_LEVEL));
	w->log.style = (enum log_style)conf_number(host->conf, CONF_LOG_FORMAT);
	w->log.recent = &host->told;
	w->worker.log = &w->log;
	w->control.ops = &control_ops;
	worker_add_actor(&w->worker, &w->control);
	w->node = -1;
	if (host->options.topology->node_count > 1 &&
	    conf_number(host->conf, CONF_WORKERS_PIN) != 0)
		w->node = host->options.topology->nodes[planned->node];
	/* From its own core, so that memory that is touched now is on its own node. */
	if (conf_number(host->conf, CONF_WORKERS_PIN) != 0)
		bind_to(&w->cpu, 1);
	prefer_node(w);
	if (bufs_open(&w->bufs, buffers, planned->node) != STATUS_OK) {
		return host_fail(w->host, STATUS_NO_SPACE, "no memory for buffers");
	}
	w->bufs_opened = true;
	/* It is touched later, and by others, too: what they send back lies in it. */
	if (w->node >= 0 && numa_place(w->bufs.arena, (size_t)w->bufs.slab_count * BUF_SIZE_MAX,
	                               (unsigned)w->node) != STATUS_OK)
		host_log(host, LOG_INFO, "buffers cannot be placed on node %d", w->node);
	return open_io(w);
}

/* A ring each way between any two workers. */
static bool connect_workers(struct host *host)
{
	unsigned count = host->count, ring = 0;
	size_t edges = (size_t)count * (count - 1);

	if (edges == 0)
		return true;
	host->rings = aligned_alloc(CACHE_LINE, edges * sizeof(*host->rings));
	host->ring_slots = calloc(edges * HOST_RING_SIZE, sizeof(*host->ring_slots));
	if (host->rings == NULL || host->ring_slots == NULL)
		return false;
	for (unsigned from = 0; from < count; from++) {
		for (unsigned to = 0; to < count; to++) {
			if (from == to)
				continue;
			ring_init(&host->rings[ring],
			          &host->ring_slots[(size_t)ring * HOST_RING_SIZE], HOST_RING_SIZE);
			worker_connect(&host->workers[from].worker, &host->workers[to].worker,
			               &host->rings[ring++]);
		}
	}
	assert(ring == edges);
	return true;
}

static enum status add_metric(struct host *host, const char *name, const char *help,
                              const uint64_t *number)
{
	const struct metric metric = {
		.kind = METRIC_COUNTER, .name = name, .help = help, .labels = "", .number = number
	};

	return metrics_add(&host->metrics, &metric);
}

/* What of its time a worker had nothing to do. */
static enum status add_worker_metric(struct host_worker *w)
{
	const struct metric metric = {
		.kind = METRIC_COUNTER,
		.name = "weir_asleep_seconds_total",
		.help = "Time that a worker waited for something to do.",
		.labels = w->labels,
		.number = &w->worker.stats.asleep_ns,
		.divisor = 1e9,
	};

	snprintf(w->labels, sizeof(w->labels), "worker=\"%u\"", w->worker.id);
	return metrics_add(&w->host->metrics, &metric);
}

static void add_metrics(struct host *host)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		struct host_worker *w = &host->workers[i];
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
			{ "weir_spin_holes_total", "Spins in which a worker lost its core.",
			  &w->worker.stats.spin_holes },
			{ "weir_accepted_total", "Connections taken.", &w->io->stats.accepted },
			{ "weir_refused_total", "Connections closed at once.",
			  &w->io->stats.refused },
			{ "weir_enters_total", "System calls that submitted or waited.",
			  &w->io->stats.enters },
			{ "weir_buffer_refused_total", "Times that no buffer was left.",
			  &w->bufs.refused },
		};

		for (size_t row = 0; row < array_count(rows) && status == STATUS_OK; row++)
			status = add_metric(host, rows[row].name, rows[row].help, rows[row].number);
		if (status == STATUS_OK)
			status = add_worker_metric(w);
	}
	assert(status == STATUS_OK); /* METRICS_MAX is derived from what is registered here */
}

static uint64_t microseconds(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

void host_look(struct host *host)
{
	unsigned long pages = 0;
	struct rusage usage;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file != NULL) {
		if (fscanf(file, "%*u %lu", &pages) != 1)
			pages = 0;
		fclose(file);
	}
	atomic_store(&host->memory_resident, pages * (uint64_t)sysconf(_SC_PAGESIZE));
	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return;
	atomic_store(&host->memory_peak, (uint64_t)usage.ru_maxrss * 1024);
	atomic_store(&host->cpu_user_us, microseconds(usage.ru_utime));
	atomic_store(&host->cpu_system_us, microseconds(usage.ru_stime));
}

static void *run_worker(void *arg)
{
	struct host_worker *w = arg;

	pthread_setname_np(pthread_self(), w->name);
	if (conf_number(w->host->conf, CONF_WORKERS_PIN) != 0)
		bind_to(&w->cpu, 1);
	prefer_node(w);
	trace_put(&w->worker, TRACE_WORKER_START, w->worker.roles, w->cpu);
	worker_run(&w->worker, &w->host->stop);
	trace_put(&w->worker, TRACE_WORKER_STOP, w->worker.stats.turns, w->worker.stats.events);
	return NULL;
}

enum status host_start_worker(struct host_worker *w)
{
	int error;

	if (w->started)
		return STATUS_OK;
	error = pthread_create(&w->thread, NULL, run_worker, w);
	if (error != 0) {
		return host_fail(w->host, STATUS_UNAVAILABLE, "no thread for %s: %s", w->name,
		                 strerror(error));
	}
	w->started = true;
	return STATUS_OK;
}

uint64_t faces_memory(const struct face *const *faces, unsigned count, const struct conf *conf)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += faces[i]->memory != NULL ? faces[i]->memory(conf) : 0;
	return sum;
}

static enum status split_memory(struct host *host)
{
	struct memory_shape shape = {
		.workers = host->plan.count,
		.engines = host->plan.engine_count,
		.faces = faces_memory(host->options.faces, host->options.face_count, host->conf),
	};
	uint64_t minimum;

	host->memory = conf_is_set(host->conf, CONF_MEMORY) ? conf_number(host->conf, CONF_MEMORY)
	                                                    : memory_default(shape.workers);
	shape.stacks = host_stacks_memory(host->conf, host->memory);
	shape.tls = conf_wants_tls(host->conf);
	if (memory_split(host->memory, shape, &host->parts, &minimum) == STATUS_OK)
		return STATUS_OK;
	return host_fail(
	        host, STATUS_INVALID, "memory = %s is too small for %u workers: at least %.1f MiB",
	        conf_text(host->conf, CONF_MEMORY), shape.workers, (double)minimum / (1 << 20));
}

enum status host_open(struct host *host, const struct host_options *options)
{
	const struct conf *conf = options->conf;
	enum status status;

	assert(options->face_count <= HOST_FACES_MAX);
	*host = (struct host){ .options = *options, .conf = conf, .store.lock = -1 };
	if (plan_make(&host->plan, options->topology, conf) != STATUS_OK) {
		return host_fail(host, STATUS_INVALID, "%s", host->plan.error);
	}
	if (host->plan.notice[0] != '\0')
		host_log(host, LOG_WARN, "%s", host->plan.notice);
	status = split_memory(host);
	if (status != STATUS_OK)
		return status;
	host->workers = calloc(host->plan.count, sizeof(*host->workers));
	if (host->workers == NULL) {
		return host_fail(host, STATUS_NO_SPACE, "no memory for %u workers",
		                 host->plan.count);
	}
	host->count = host->plan.count;
	host->started_ms = clock_system()->wall_ms(clock_system());
	for (unsigned i = 0; i < host->count; i++) {
		host->workers[i].host = host;
		status = open_worker(&host->workers[i], i);
		if (status != STATUS_OK)
			return status;
	}
	if (options->topology->node_count > 1)
		numa_default();
	if (conf_number(conf, CONF_WORKERS_PIN) != 0)
		bind_to(host->plan.system, host->plan.system_count);
	if (!connect_workers(host)) {
		return host_fail(host, STATUS_NO_SPACE, "no memory for the rings between workers");
	}
	add_metrics(host);
	status = host_store_open(host);
	if (status == STATUS_OK)
		status = host_store_recover(host);
	if (status == STATUS_OK)
		status = host_tls_open(host);
	if (status == STATUS_OK)
		status = host_stacks_open(host);
	for (unsigned i = 0; i < host->options.face_count && status == STATUS_OK; i++)
		status = options->faces[i]->open(host, i);
	host->metrics.complete = true;
	return status == STATUS_OK ? host_listen_open(host) : status;
}

void host_close(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		assert(!w->started);
		for (unsigned j = 0; j < w->listener_count; j++)
			w->listeners[j]->ops->close(w->listeners[j]);
		for (unsigned j = 0; j < host->options.face_count; j++) {
			if (w->faces[j] != NULL)
				host->options.faces[j]->close(w->faces[j]);
		}
		host_tls_close(w);
	}
	host_stacks_close(host);
	host_store_close(host);
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		if (w->io != NULL)
			io_close(w->io);
		if (w->bufs_opened)
			bufs_close(&w->bufs);
	}
	free(host->ring_slots);
	free(host->rings);
	free(host->workers);
	host->count = 0;
}

static void wake_all(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		if (host->workers[i].started)
			worker_wake(&host->workers[i].worker);
	}
}

void host_drain(struct host *host)
{
	atomic_store(&host->draining, true);
	wake_all(host);
}

void host_kill(struct host *host)
{
	assert(atomic_load(&host->draining));
	atomic_store(&host->killing, true);
	wake_all(host);
}

bool host_is_drained(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		if (!atomic_load_explicit(&host->workers[i].drained, memory_order_acquire))
			return false;
	}
	return true;
}

void host_end(struct host *host)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	host_drain(host);
	host_kill(host);
	while (!host_is_drained(host)) {
		host_drain_logs(host);
		nanosleep(&pause, NULL);
	}
}

void host_stop(struct host *host)
{
	if (host_is_drained(host)) {
		host_stacks_stop(host);
		host_store_stop(host);
	}
	atomic_store(&host->stop, true);
	wake_all(host);
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		if (!w->started)
			continue;
		pthread_join(w->thread, NULL);
		w->started = false;
		bufs_hand_over(&w->bufs);
	}
	host_drain_logs(host);
}
