/* SPDX-License-Identifier: Apache-2.0 */
/* A worker: what it polls, the actors it runs, and the requests it holds. A step function. */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/ring.h"
#include "core/req.h"
#include "core/timer.h"

enum { WORKER_PEERS_MAX = 64, WORKER_TRANSPORTS_MAX = 8, WORKER_ACTORS_MAX = 16 };

/* What a worker is for; data, not types: any mask runs the same code. */
enum worker_role {
	ROLE_NETWORK = 1 << 0,
	ROLE_STORAGE = 1 << 1,
	ROLE_APPLICATION = 1 << 2,
	ROLE_BACKGROUND = 1 << 3,
};

struct transport;
struct trace;
struct log;

/* Real, or advanced by hand: nothing else in the program may ask the time. */
struct clock {
	uint64_t (*now_ns)(struct clock *clock);  /* monotonic; starts anywhere */
	uint64_t (*wall_ms)(struct clock *clock); /* since 1970; may jump */
};

/*
 * Something that has work of its own in a turn: a storage engine's queue, a face's connections.
 *
 * Memory: its owner's, from worker_add_actor() to the end of the worker. Thread: its worker's.
 */
struct actor;

struct actor_ops {
	const char *name;
	/* Does what is queued, within a bound of its own; returns the events. NULL: nothing. */
	unsigned (*run)(struct actor *actor);
	/*
	 * Once, at the end of the turn, after the last run(): closes frames, sends replies. What it
	 * completes is delivered in the next turn. NULL: nothing.
	 */
	void (*settle)(struct actor *actor);
	/* Whether another thread has left it work: asked before a sleep. NULL: none can. */
	bool (*has_work)(const struct actor *actor);
};

struct actor {
	const struct actor_ops *ops;
};

/* What a worker reports of itself; counters only grow. */
struct worker_stats {
	uint64_t turns, sleeps, wakes_sent, spins, events;
	uint64_t spin_holes; /* spins that lost the core: others want it */
	uint64_t asleep_ns;  /* time spent in sleep(); the rest of a thread's time it was busy */
};

struct worker {
	unsigned id;
	unsigned roles;
	struct clock *clock;
	uint64_t now_ns;           /* read once a turn */
	uint64_t wall_ms;          /* read once a turn */
	struct req_list completed; /* whose done() has not run yet */
	struct req_list arrived;   /* sent to this worker by itself */
	struct timers timers;
	struct actor *actors[WORKER_ACTORS_MAX];
	unsigned actor_count;
	struct transport *transports[WORKER_TRANSPORTS_MAX];
	unsigned transport_count;
	struct transport *sleeper; /* the one of the transports that can sleep, or NULL */

	struct ring *inbox[WORKER_PEERS_MAX];     /* inbox[p]: from worker p; NULL: no such edge */
	struct worker *peers[WORKER_PEERS_MAX];   /* by id: the other workers; NULL: none */
	unsigned peer_limit;                      /* past the highest id of a peer */
	struct req_list outbox[WORKER_PEERS_MAX]; /* what did not fit their ring yet */
	uint64_t outbox_mask;                     /* peers whose outbox is not empty */
	uint64_t wake_mask;                       /* peers sent to in this turn */
	bool unfinished;                          /* the turn ended with work left to do */
	uint32_t spin_ns;                         /* how long to look before a sleep; 0: never */
	uint64_t rested_ns;                       /* when others last could have the core */
	uint64_t spin_again_ns;                   /* not before: others want the core */
	struct worker_stats stats;
	struct trace *trace;  /* flight recorder; NULL: none */
	struct log *log;      /* its lines to the operator; NULL: none */
	struct recent *slow;  /* its slow requests; NULL: nobody looks */
	atomic_bool sleeping; /* set before the last look at the rings, cleared after the sleep */
};

void worker_init(struct worker *w, unsigned id, unsigned roles, struct clock *clock);

/* Control path, before the first turn. */
void worker_add_actor(struct worker *w, struct actor *actor);
void worker_add_transport(struct worker *w, struct transport *transport);

/* Joins `from` to `to` by a ring; both directions need a call each. Control path. */
void worker_connect(struct worker *from, struct worker *to, struct ring *ring);

/*
 * Hands `req` to worker `to`, which calls arrive(req); the sender must not touch it again. To the
 * own worker: arrive() runs later in this turn. Never fails: what does not fit a ring waits in the
 * outbox, and the number of requests is bounded by their pools.
 */
void worker_send(struct worker *to, struct req *req, req_fn *arrive);

/* One turn: inbox, polls, completions, actors, timers, doorbells. Never blocks. Returns events. */
unsigned worker_turn(struct worker *w);

/* Whether a turn would find something queued in memory: then do not sleep. */
bool worker_has_work(const struct worker *w);

/*
 * Turns until *stop; sleeps when a turn did nothing, after a bounded spin that is kept up only as
 * long as recent spins paid. The calling thread becomes the worker.
 */
void worker_run(struct worker *w, const atomic_bool *stop);

/*
 * For any thread that has put something where an actor's has_work() finds it: wakes the worker, if
 * it sleeps. What it does not see in time it sees before it sleeps.
 */
void worker_ring(struct worker *w);

/* Makes a sleeping worker look again; for any thread (stop flags, signals). */
void worker_wake(struct worker *w);

#endif
