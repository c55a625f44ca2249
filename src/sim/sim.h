/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster in one thread: the order of turns, the time and the faults all come from one seed. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/prng.h"
#include "core/transport.h"
#include "core/worker.h"

/*
 * The workers of every node, joined by rings within their node, one clock moved by hand, and the
 * events of simulated devices. Everything is allocated when it is opened. Thread: one.
 *
 * A worker runs a turn when it is awake: woken by a peer or a device, left with work by its last
 * turn, or with a timer due. A worker that sleeps with a full inbox is not run: a lost wake-up
 * shows as a simulation that has nothing left to do. Whoever submits from outside of a turn says
 * sim_wake() afterwards.
 */
struct sim;

enum { SIM_NODES_MAX = 16, SIM_WORKERS_MAX = 8 };

struct sim_options {
	uint64_t seed;
	unsigned nodes;            /* 0: 1 */
	unsigned workers_per_node; /* 0: 1 */
	uint32_t events_max;       /* armed at once; 0: 16384 */
	uint32_t turn_ns_max;      /* how long a turn takes; 0: 5000 */
	/* Per million steps: the next event comes although a worker could run: workers are slow. */
	uint32_t event_first;
	uint32_t wall_skew_ppm_max; /* of each node's wall clock, either way */
	uint32_t wall_jump;         /* per million turns: the node's wall clock jumps */
	uint32_t wall_jump_ms_max;  /* either way */
	bool trace;                 /* every step goes to stderr */
};

struct sim *sim_open(const struct sim_options *options); /* NULL: no memory */
void sim_close(struct sim *sim); /* detaches all devices as sim_stop(SIM_CLOSE) does */

struct worker *sim_worker(struct sim *sim, unsigned node, unsigned index);
struct prng *sim_prng(struct sim *sim);     /* what the scheduler draws from */
uint64_t sim_now_ns(const struct sim *sim); /* of devices; a node's own clock starts elsewhere */

/* Makes a worker run a turn; inside of its own: another one. */
void sim_wake(struct sim *sim, unsigned node, unsigned index);

/* A worker that is held has no turns: as if its thread had not been started yet. */
void sim_hold(struct sim *sim, unsigned node, unsigned index, bool held);

enum sim_step {
	SIM_TURN,  /* a worker had a turn */
	SIM_EVENT, /* a device did something */
	SIM_TIMER, /* nothing but timers was left: the clock went to the first of them */
	SIM_QUIET, /* nothing is left, not even a timer */
};
enum sim_step sim_step(struct sim *sim);

/* Steps until done(argument). False: nothing is left to do, or it took more than steps_max. */
bool sim_run(struct sim *sim, bool (*done)(void *argument), void *argument, uint64_t steps_max);

/* Steps until only timers are left. False: it took more than steps_max. */
bool sim_settle(struct sim *sim, uint64_t steps_max);

void sim_advance(struct sim *sim, uint64_t wait_ns); /* steps while the clock is not there yet */

/* The wall clock of a node, moved by hand. */
void sim_wall_jump(struct sim *sim, unsigned node, int64_t by_ms);

enum sim_end {
	SIM_CLOSE,     /* nothing is in flight */
	SIM_KILL,      /* the process dies: what devices have stays with them */
	SIM_POWER_CUT, /* and what devices have not made durable is lost, torn or kept */
};

/*
 * Ends a node: its workers run no more and its requests never complete, so what they own may be
 * freed afterwards. sim_start() makes it run again with new workers at the same addresses.
 */
void sim_stop(struct sim *sim, unsigned node, enum sim_end end);
void sim_start(struct sim *sim, unsigned node);
bool sim_is_running(const struct sim *sim, unsigned node);

/* Grows with every step and depends on all that happened: equal runs have equal digests. */
uint64_t sim_digest(const struct sim *sim);
uint64_t sim_steps(const struct sim *sim);

/* One line of the trace, with the time in front; nothing when the trace is off. */
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool sim_is_traced(const struct sim *sim);

/*
 * For devices. An event is embedded in what it belongs to, and not moved while armed; zeroed it is
 * not armed. It fires once.
 */
struct sim_event {
	uint64_t when_ns;
	uint64_t order; /* of arming: breaks ties */
	void (*fire)(struct sim *sim, struct sim_event *event);
	uint32_t slot; /* in the heap, from 1; 0: not armed */
};
void sim_arm(struct sim *sim, struct sim_event *event, uint64_t wait_ns,
             void (*fire)(struct sim *sim, struct sim_event *event));
void sim_disarm(struct sim *sim, struct sim_event *event); /* not armed: nothing */

/* What must be told of the end of a node. Memory: the device's, until end() returns. */
struct sim_device {
	LIST_ENTRY(sim_device) link;
	unsigned node;
	void (*end)(struct sim_device *device, enum sim_end end); /* may free the device */
};
void sim_add_device(struct sim *sim, struct sim_device *device, unsigned node);

#endif
