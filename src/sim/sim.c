/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"

enum {
	EVENTS_MAX_DEFAULT = 16384,
	TURN_NS_MAX_DEFAULT = 5000,
	RING_SIZE = 64,     /* small, so that outboxes are used */
	EARLY_TURN = 10000, /* per million steps: a sleep that returns early */
	NS_PER_MS = 1000000,
};
#define WALL_MS_START 1700000000000ull
#define CLOCK_START_MAX_NS (1ull << 40)

struct sim_node {
	struct clock clock;
	struct sim *sim;
	uint64_t start_ns; /* of its monotonic clock, when the simulation starts */
	int64_t wall_offset_ms, wall_skew_ppm;
	bool running;
};

struct sim_worker {
	struct worker worker;
	struct transport transport; /* its sleeper: only there to be woken */
	struct sim_node *node;
	bool awake, held;
	struct ring inbox[SIM_WORKERS_MAX]; /* by sender */
	struct req *inbox_slots[SIM_WORKERS_MAX][RING_SIZE];
};

struct sim {
	struct sim_options options;
	struct prng prng;
	uint64_t now_ns, steps, digest, order;
	struct sim_event **heap; /* [0]: the earliest */
	uint32_t heap_count;
	LIST_HEAD(, sim_device) devices;
	struct sim_node nodes[SIM_NODES_MAX];
	unsigned worker_count;
	struct sim_worker workers[]; /* by node, then index */
};

static uint64_t clock_now_ns(struct clock *clock)
{
	const struct sim_node *node = container_of(clock, struct sim_node, clock);

	return node->start_ns + node->sim->now_ns;
}

static uint64_t clock_wall_ms(struct clock *clock)
{
	const struct sim_node *node = container_of(clock, struct sim_node, clock);
	int64_t passed_ms = (int64_t)(node->sim->now_ns / NS_PER_MS);

	return WALL_MS_START + (uint64_t)(node->wall_offset_ms + passed_ms +
	                                  passed_ms * node->wall_skew_ppm / 1000000);
}

static unsigned sleeper_poll(struct transport *t)
{
	(void)t;
	return 0;
}

static void sleeper_doorbell(struct transport *t)
{
	(void)t;
}

static void sleeper_sleep(struct transport *t, uint64_t until_ns)
{
	(void)t;
	(void)until_ns;
	unreachable(); /* worker_run() is not for simulated workers */
}

static void sleeper_wake(struct transport *t)
{
	container_of(t, struct sim_worker, transport)->awake = true;
}

static const struct transport_ops sleeper_ops = {
	.name = "sim",
	.poll = sleeper_poll,
	.doorbell = sleeper_doorbell,
	.sleep = sleeper_sleep,
	.wake = sleeper_wake,
};

static struct sim_worker *worker_at(struct sim *sim, unsigned node, unsigned index)
{
	assert(node < sim->options.nodes);
	assert(index < sim->options.workers_per_node);
	return &sim->workers[node * sim->options.workers_per_node + index];
}

void sim_start(struct sim *sim, unsigned node)
{
	unsigned count = sim->options.workers_per_node;
	unsigned roles = ROLE_NETWORK | ROLE_STORAGE | ROLE_APPLICATION | ROLE_BACKGROUND;

	assert(node < sim->options.nodes);
	assert(!sim->nodes[node].running);
	sim->nodes[node].running = true;
	for (unsigned i = 0; i < count; i++) {
		struct sim_worker *w = worker_at(sim, node, i);

		worker_init(&w->worker, i, roles, &sim->nodes[node].clock);
		w->node = &sim->nodes[node];
		w->transport = (struct transport){ .ops = &sleeper_ops, .worker = &w->worker };
		worker_add_transport(&w->worker, &w->transport);
		w->awake = true;
		w->held = false;
		for (unsigned p = 0; p < count; p++)
			ring_init(&w->inbox[p], w->inbox_slots[p], RING_SIZE);
	}
	for (unsigned from = 0; from < count; from++) {
		for (unsigned to = 0; to < count; to++) {
			if (from != to)
				worker_connect(&worker_at(sim, node, from)->worker,
				               &worker_at(sim, node, to)->worker,
				               &worker_at(sim, node, to)->inbox[from]);
		}
	}
}

void sim_stop(struct sim *sim, unsigned node, enum sim_end end)
{
	struct sim_device *device, *next;

	assert(node < sim->options.nodes);
	assert(sim->nodes[node].running);
	sim_trace(sim, "node %u ends (%d)", node, (int)end);
	sim->nodes[node].running = false;
	for (device = LIST_FIRST(&sim->devices); device != NULL; device = next) {
		next = LIST_NEXT(device, link);
		if (device->node != node)
			continue;
		LIST_REMOVE(device, link);
		device->end(device, end);
	}
	for (unsigned i = 0; i < sim->options.workers_per_node; i++)
		worker_at(sim, node, i)->awake = false;
}

bool sim_is_running(const struct sim *sim, unsigned node)
{
	assert(node < sim->options.nodes);
	return sim->nodes[node].running;
}

static void node_init(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];
	uint32_t skew = sim->options.wall_skew_ppm_max;

	n->sim = sim;
	n->clock = (struct clock){ .now_ns = clock_now_ns, .wall_ms = clock_wall_ms };
	n->start_ns = prng_below(&sim->prng, CLOCK_START_MAX_NS);
	n->wall_skew_ppm = (int64_t)prng_below(&sim->prng, 2ull * skew + 1) - skew;
}

struct sim *sim_open(const struct sim_options *options)
{
	unsigned nodes = options->nodes == 0 ? 1 : options->nodes;
	unsigned per_node = options->workers_per_node == 0 ? 1 : options->workers_per_node;
	struct sim *sim;

	assert(nodes <= SIM_NODES_MAX);
	assert(per_node <= SIM_WORKERS_MAX);
	_Static_assert(_Alignof(struct sim) == CACHE_LINE, "calloc() would not be aligned enough");
	sim = aligned_alloc(CACHE_LINE, sizeof(*sim) + nodes * per_node * sizeof(sim->workers[0]));
	if (sim == NULL)
		return NULL;
	memset(sim, 0, sizeof(*sim) + nodes * per_node * sizeof(sim->workers[0]));
	sim->options = *options;
	sim->options.nodes = nodes;
	sim->options.workers_per_node = per_node;
	if (sim->options.events_max == 0)
		sim->options.events_max = EVENTS_MAX_DEFAULT;
	if (sim->options.turn_ns_max == 0)
		sim->options.turn_ns_max = TURN_NS_MAX_DEFAULT;
	sim->heap = calloc(sim->options.events_max, sizeof(struct sim_event *));
	if (sim->heap == NULL) {
		free(sim);
		return NULL;
	}
	LIST_INIT(&sim->devices);
	prng_init(&sim->prng, options->seed);
	sim->worker_count = nodes * per_node;
	for (unsigned node = 0; node < nodes; node++) {
		node_init(sim, node);
		sim_start(sim, node);
	}
	return sim;
}

void sim_close(struct sim *sim)
{
	for (unsigned node = 0; node < sim->options.nodes; node++) {
		if (sim->nodes[node].running)
			sim_stop(sim, node, SIM_CLOSE);
	}
	assert(LIST_EMPTY(&sim->devices));
	free(sim->heap);
	free(sim);
}

struct worker *sim_worker(struct sim *sim, unsigned node, unsigned index)
{
	return &worker_at(sim, node, index)->worker;
}

struct prng *sim_prng(struct sim *sim)
{
	return &sim->prng;
}

uint64_t sim_now_ns(const struct sim *sim)
{
	return sim->now_ns;
}

uint64_t sim_digest(const struct sim *sim)
{
	return sim->digest;
}

uint64_t sim_steps(const struct sim *sim)
{
	return sim->steps;
}

void sim_wake(struct sim *sim, unsigned node, unsigned index)
{
	worker_at(sim, node, index)->awake = true;
}

void sim_hold(struct sim *sim, unsigned node, unsigned index, bool held)
{
	worker_at(sim, node, index)->held = held;
}

void sim_wall_jump(struct sim *sim, unsigned node, int64_t by_ms)
{
	assert(node < sim->options.nodes);
	sim_trace(sim, "node %u wall clock jumps by %" PRId64 " ms", node, by_ms);
	sim->nodes[node].wall_offset_ms += by_ms;
}

bool sim_is_traced(const struct sim *sim)
{
	return sim->options.trace;
}

void sim_trace(struct sim *sim, const char *format, ...)
{
	va_list arguments;

	if (!sim->options.trace)
		return;
	fprintf(stderr, "%12" PRIu64 " ", sim->now_ns);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

static bool event_is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->order < b->order;
}

static void heap_set(struct sim *sim, uint32_t index, struct sim_event *event)
{
	sim->heap[index] = event;
	event->slot = index + 1;
}

static void heap_up(struct sim *sim, uint32_t index, struct sim_event *event)
{
	while (index > 0 && event_is_before(event, sim->heap[(index - 1) / 2])) {
		heap_set(sim, index, sim->heap[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	heap_set(sim, index, event);
}

static void heap_down(struct sim *sim, uint32_t index, struct sim_event *event)
{
	for (;;) {
		uint32_t child = index * 2 + 1;

		if (child >= sim->heap_count)
			break;
		if (child + 1 < sim->heap_count &&
		    event_is_before(sim->heap[child + 1], sim->heap[child]))
			child++;
		if (!event_is_before(sim->heap[child], event))
			break;
		heap_set(sim, index, sim->heap[child]);
		index = child;
	}
	heap_set(sim, index, event);
}

void sim_arm(struct sim *sim, struct sim_event *event, uint64_t wait_ns,
             void (*fire)(struct sim *sim, struct sim_event *event))
{
	assert(event->slot == 0);
	assert(sim->heap_count < sim->options.events_max);
	event->when_ns = sim->now_ns + wait_ns;
	event->order = sim->order++;
	event->fire = fire;
	heap_up(sim, sim->heap_count++, event);
}

void sim_disarm(struct sim *sim, struct sim_event *event)
{
	struct sim_event *last;
	uint32_t index;

	if (event->slot == 0)
		return;
	index = event->slot - 1;
	assert(sim->heap[index] == event);
	event->slot = 0;
	last = sim->heap[--sim->heap_count];
	if (last == event)
		return;
	if (index > 0 && event_is_before(last, sim->heap[(index - 1) / 2]))
		heap_up(sim, index, last);
	else
		heap_down(sim, index, last);
}

void sim_add_device(struct sim *sim, struct sim_device *device, unsigned node)
{
	assert(node < sim->options.nodes);
	assert(sim->nodes[node].running);
	device->node = node;
	LIST_INSERT_HEAD(&sim->devices, device, link);
}

/* When the worker's timers want a turn, in the simulation's time; UINT64_MAX: never. */
static uint64_t timer_when_ns(const struct sim_worker *w)
{
	uint64_t next_ns = timers_next_ns(&w->worker.timers);

	if (next_ns == UINT64_MAX)
		return UINT64_MAX;
	return next_ns > w->node->start_ns ? next_ns - w->node->start_ns : 0;
}

/* A queue of its own that is not empty can only have been filled from outside of its turn. */
static bool worker_is_runnable(const struct sim *sim, const struct sim_worker *w)
{
	if (!w->node->running || w->held)
		return false;
	return w->awake || !STAILQ_EMPTY(&w->worker.completed) ||
	       !STAILQ_EMPTY(&w->worker.arrived) || timer_when_ns(w) <= sim->now_ns;
}

static void step_digest(struct sim *sim, uint64_t what)
{
	sim->steps++;
	sim->digest = (sim->digest ^ what ^ sim->now_ns << 8) * 0x9e3779b97f4a7c15ull;
	sim->digest ^= sim->digest >> 32;
}

static void run_turn(struct sim *sim, struct sim_worker *w)
{
	unsigned events;

	if (prng_chance(&sim->prng, sim->options.wall_jump)) {
		uint64_t far_ms = sim->options.wall_jump_ms_max;

		sim_wall_jump(sim, (unsigned)(w->node - sim->nodes),
		              (int64_t)prng_below(&sim->prng, 2 * far_ms + 1) - (int64_t)far_ms);
	}
	w->awake = false;
	atomic_store_explicit(&w->worker.sleeping, false, memory_order_relaxed);
	events = worker_turn(&w->worker);
	sim_trace(sim, "node %u worker %u turn: %u events", (unsigned)(w->node - sim->nodes),
	          w->worker.id, events);
	step_digest(sim, (uint64_t)(w - sim->workers) << 32 | events);
	sim->now_ns += 1 + prng_below(&sim->prng, sim->options.turn_ns_max);
	/* As worker_sleep(): the flag first, then the last look. */
	atomic_store_explicit(&w->worker.sleeping, true, memory_order_relaxed);
	if (worker_has_work(&w->worker))
		w->awake = true;
}

static void fire_event(struct sim *sim)
{
	struct sim_event *event = sim->heap[0];

	if (event->when_ns > sim->now_ns)
		sim->now_ns = event->when_ns;
	sim_disarm(sim, event);
	step_digest(sim, event->order);
	event->fire(sim, event);
}

/* The clock goes to the first timer of any worker; false: there is none. */
static bool skip_to_timer(struct sim *sim)
{
	uint64_t next_ns = UINT64_MAX;

	for (unsigned i = 0; i < sim->worker_count; i++) {
		const struct sim_worker *w = &sim->workers[i];

		if (w->node->running && !w->held && timer_when_ns(w) < next_ns)
			next_ns = timer_when_ns(w);
	}
	if (next_ns == UINT64_MAX)
		return false;
	if (sim->heap_count > 0 && sim->heap[0]->when_ns <= next_ns)
		return false;
	assert(next_ns > sim->now_ns); /* else: that worker was runnable */
	sim->now_ns = next_ns;
	step_digest(sim, 1);
	return true;
}

enum sim_step sim_step(struct sim *sim)
{
	struct sim_worker *runnable[SIM_NODES_MAX * SIM_WORKERS_MAX];
	unsigned count = 0;
	bool due = sim->heap_count > 0 && sim->heap[0]->when_ns <= sim->now_ns;

	for (unsigned i = 0; i < sim->worker_count; i++) {
		if (worker_is_runnable(sim, &sim->workers[i]))
			runnable[count++] = &sim->workers[i];
	}
	if (count > 0 && sim->heap_count > 0 && prng_chance(&sim->prng, sim->options.event_first)) {
		fire_event(sim);
		return SIM_EVENT;
	}
	if (count + due > 0) {
		uint64_t pick = prng_below(&sim->prng, count + due);

		if (pick < count) {
			run_turn(sim, runnable[pick]);
			return SIM_TURN;
		}
		fire_event(sim);
		return SIM_EVENT;
	}
	if (skip_to_timer(sim))
		return sim->heap_count > 0 ? SIM_EVENT : SIM_TIMER;
	if (sim->heap_count == 0)
		return SIM_QUIET;
	if (prng_chance(&sim->prng, EARLY_TURN)) {
		struct sim_worker *w = &sim->workers[prng_below(&sim->prng, sim->worker_count)];

		if (w->node->running && !w->held) {
			run_turn(sim, w);
			return SIM_TURN;
		}
	}
	fire_event(sim);
	return SIM_EVENT;
}

bool sim_run(struct sim *sim, bool (*done)(void *argument), void *argument, uint64_t steps_max)
{
	for (uint64_t i = 0; !done(argument); i++) {
		if (i == steps_max || sim_step(sim) == SIM_QUIET)
			return false;
	}
	return true;
}

bool sim_settle(struct sim *sim, uint64_t steps_max)
{
	for (uint64_t i = 0; i < steps_max; i++) {
		bool runnable = sim->heap_count > 0;

		for (unsigned n = 0; !runnable && n < sim->worker_count; n++)
			runnable = worker_is_runnable(sim, &sim->workers[n]);
		if (!runnable)
			return true;
		sim_step(sim);
	}
	return false;
}

static void nothing(struct sim *sim, struct sim_event *event)
{
	(void)sim;
	(void)event;
}

void sim_advance(struct sim *sim, uint64_t wait_ns)
{
	struct sim_event end = { 0 };

	sim_arm(sim, &end, wait_ns, nothing);
	while (end.slot != 0)
		sim_step(sim);
}
