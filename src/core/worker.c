/* SPDX-License-Identifier: Apache-2.0 */
#include "core/worker.h"

#include "base/assert.h"
#include "core/transport.h"

enum {
	TURN_EVENTS_MAX = 256, /* of each kind: bounds the latency of a turn */
	TURN_ROUNDS_MAX = 8,   /* completions that make work that completes, and so on */
	PAID_ALL = 256,
	SPIN_YIELD_NS = 200 * 1000,        /* others wait no longer for a worker that spins */
	SPIN_HOLE_NS = 100 * 1000,         /* no empty turn takes so long that keeps its core */
	SPIN_REST_NS = 1000 * 1000 * 1000, /* of a worker that lost its core while it spun */
};

void worker_init(struct worker *w, unsigned id, unsigned roles, struct clock *clock)
{
	assert(id < WORKER_PEERS_MAX);
	*w = (struct worker){
		.id = id,
		.roles = roles,
		.clock = clock,
		.now_ns = clock->now_ns(clock),
		.wall_ms = clock->wall_ms(clock),
	};
	STAILQ_INIT(&w->completed);
	STAILQ_INIT(&w->arrived);
	for (unsigned i = 0; i < WORKER_PEERS_MAX; i++)
		STAILQ_INIT(&w->outbox[i]);
	timers_init(&w->timers, w->now_ns);
}

void worker_add_actor(struct worker *w, struct actor *actor)
{
	assert(w->actor_count < WORKER_ACTORS_MAX);
	assert(actor->ops != NULL);
	w->actors[w->actor_count++] = actor;
}

void worker_add_transport(struct worker *w, struct transport *transport)
{
	assert(w->transport_count < WORKER_TRANSPORTS_MAX);
	assert(transport->worker == w);
	w->transports[w->transport_count++] = transport;
	if (w->sleeper == NULL && transport->ops->sleep != NULL)
		w->sleeper = transport;
}

void worker_connect(struct worker *from, struct worker *to, struct ring *ring)
{
	assert(from != to);
	assert(to->inbox[from->id] == NULL);
	to->inbox[from->id] = ring;
	from->peers[to->id] = to;
	to->peers[from->id] = from;
	if (to->id >= from->peer_limit)
		from->peer_limit = to->id + 1;
	if (from->id >= to->peer_limit)
		to->peer_limit = from->id + 1;
}

void worker_send(struct worker *to, struct req *req, req_fn *arrive)
{
	struct worker *from = req->worker;

	assert(arrive != NULL);
	req->arrive = arrive;
	if (to == from) {
		STAILQ_INSERT_TAIL(&from->arrived, req, link);
		return;
	}
	assert(to->inbox[from->id] != NULL); /* else: not connected */
	req->worker = to;
	from->wake_mask |= 1ull << to->id;
	/* In order: behind those that wait already. */
	if ((from->outbox_mask & 1ull << to->id) || !ring_push(to->inbox[from->id], req)) {
		STAILQ_INSERT_TAIL(&from->outbox[to->id], req, link);
		from->outbox_mask |= 1ull << to->id;
	}
}

static void flush_outbox(struct worker *w, unsigned id)
{
	struct req_list *outbox = &w->outbox[id];
	struct req *req;

	while ((req = STAILQ_FIRST(outbox)) != NULL) {
		STAILQ_REMOVE_HEAD(outbox, link);
		if (!ring_push(w->peers[id]->inbox[w->id], req)) {
			STAILQ_INSERT_HEAD(outbox, req, link);
			return;
		}
	}
	w->outbox_mask &= ~(1ull << id);
}

/* At most one wake-up per peer and turn, and none for a peer that is awake. */
static void turn_publish(struct worker *w)
{
	uint64_t mask = w->outbox_mask;

	w->wake_mask |= mask; /* the peer may have emptied its ring and gone to sleep since */
	for (; mask != 0; mask &= mask - 1)
		flush_outbox(w, (unsigned)__builtin_ctzll(mask));
	if (w->wake_mask == 0)
		return;
	/* Pairs with the fence in worker_sleep(): we see the flag or the peer sees the push. */
	atomic_thread_fence(memory_order_seq_cst);
	for (mask = w->wake_mask; mask != 0; mask &= mask - 1) {
		struct worker *peer = w->peers[__builtin_ctzll(mask)];

		if (atomic_load_explicit(&peer->sleeping, memory_order_relaxed) &&
		    atomic_exchange_explicit(&peer->sleeping, false, memory_order_relaxed)) {
			w->stats.wakes_sent++;
			worker_wake(peer);
		}
	}
	w->wake_mask = 0;
}

static unsigned turn_inbox(struct worker *w)
{
	unsigned count = 0;

	for (unsigned i = 0; i < w->peer_limit; i++) {
		struct ring *ring = w->inbox[i];
		struct req *req;

		if (ring == NULL)
			continue;
		for (unsigned n = 0; n < TURN_EVENTS_MAX && (req = ring_pop(ring)) != NULL; n++) {
			assert(req->worker == w);
			req->arrive(req);
			count++;
		}
	}
	return count;
}

static unsigned turn_queues(struct worker *w)
{
	unsigned count = 0;
	struct req *req;

	while (count < TURN_EVENTS_MAX && (req = STAILQ_FIRST(&w->arrived)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->arrived, link);
		assert(req->worker == w);
		req->arrive(req);
		count++;
	}
	for (unsigned n = 0; n < TURN_EVENTS_MAX && (req = STAILQ_FIRST(&w->completed)) != NULL;
	     n++) {
		STAILQ_REMOVE_HEAD(&w->completed, link);
		assert(req->worker == w);
		req_run_done(req);
		count++;
	}
	for (unsigned i = 0; i < w->actor_count; i++) {
		if (w->actors[i]->ops->run != NULL)
			count += w->actors[i]->ops->run(w->actors[i]);
	}
	return count;
}

/* All of a turn but the doorbells. */
static unsigned turn_body(struct worker *w)
{
	unsigned count = 0, made = 0;

	w->now_ns = w->clock->now_ns(w->clock);
	w->wall_ms = w->clock->wall_ms(w->clock);
	for (unsigned i = 0; i < w->transport_count; i++)
		count += w->transports[i]->ops->poll(w->transports[i]);
	count += turn_inbox(w);
	count += timers_run(&w->timers, w->now_ns);
	for (unsigned round = 0; round < TURN_ROUNDS_MAX; round++) {
		made = turn_queues(w);
		count += made;
		if (made == 0)
			break;
	}
	w->unfinished = made > 0;
	for (unsigned i = 0; i < w->actor_count; i++) {
		if (w->actors[i]->ops->settle != NULL)
			w->actors[i]->ops->settle(w->actors[i]);
	}
	turn_publish(w);
	w->stats.turns++;
	w->stats.events += count;
	return count;
}

static void turn_doorbells(struct worker *w, const struct transport *except)
{
	for (unsigned i = 0; i < w->transport_count; i++) {
		if (w->transports[i] != except)
			w->transports[i]->ops->doorbell(w->transports[i]);
	}
}

unsigned worker_turn(struct worker *w)
{
	unsigned count = turn_body(w);

	turn_doorbells(w, NULL);
	return count;
}

static bool inbox_has_work(const struct worker *w)
{
	for (unsigned i = 0; i < w->peer_limit; i++) {
		if (w->inbox[i] != NULL && !ring_is_empty(w->inbox[i]))
			return true;
	}
	return false;
}

static bool actors_have_work(const struct worker *w)
{
	for (unsigned i = 0; i < w->actor_count; i++) {
		const struct actor *actor = w->actors[i];

		if (actor->ops->has_work != NULL && actor->ops->has_work(actor))
			return true;
	}
	return false;
}

bool worker_has_work(const struct worker *w)
{
	return w->unfinished || !STAILQ_EMPTY(&w->completed) || !STAILQ_EMPTY(&w->arrived) ||
	       w->outbox_mask != 0 || inbox_has_work(w) || actors_have_work(w);
}

/* Rings the sleeper's doorbell and waits, in one system call. */
static void worker_sleep(struct worker *w, const atomic_bool *stop)
{
	uint64_t until_ns = timers_next_ns(&w->timers);
	uint64_t started_ns = w->clock->now_ns(w->clock);

	atomic_store_explicit(&w->sleeping, true, memory_order_relaxed);
	/* Pairs with the fence in turn_publish(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (worker_has_work(w) || atomic_load_explicit(stop, memory_order_relaxed))
		until_ns = 0;
	w->sleeper->ops->sleep(w->sleeper, until_ns);
	atomic_store_explicit(&w->sleeping, false, memory_order_relaxed);
	w->stats.sleeps++;
	w->rested_ns = w->clock->now_ns(w->clock);
	w->stats.asleep_ns += w->rested_ns - started_ns;
}

/*
 * Turns for at most w->spin_ns; whether something came. Spinning uses up what the scheduler owes
 * to a thread that sleeps, so that whoever else wants the core gets it for milliseconds. That shows
 * as a hole between two empty turns, and then it sleeps for a while as everybody does: a hole a
 * second is a tail that nobody measures at the 99th percentile.
 */
static bool worker_spin(struct worker *w, const atomic_bool *stop)
{
	uint64_t before_ns, until_ns;

	assert(w->spin_ns > 0);
	before_ns = w->clock->now_ns(w->clock);
	/* The kernel's own thread for packets, above all: while it waits, replies do. */
	if (before_ns - w->rested_ns > SPIN_YIELD_NS && w->sleeper->ops->yield != NULL) {
		w->sleeper->ops->yield(w->sleeper);
		before_ns = w->rested_ns = w->clock->now_ns(w->clock);
	}
	until_ns = before_ns + w->spin_ns;
	w->stats.spins++;
	do {
		bool found = worker_turn(w) > 0 || worker_has_work(w);

		if (w->now_ns - before_ns > SPIN_HOLE_NS) {
			w->spin_again_ns = w->now_ns + SPIN_REST_NS;
			w->stats.spin_holes++;
			return found;
		}
		if (found)
			return true;
		before_ns = w->now_ns;
	} while (w->now_ns < until_ns && !atomic_load_explicit(stop, memory_order_relaxed));
	return false;
}

/* Now and then a spin is tried although the last ones did not pay. */
static bool worker_may_spin(const struct worker *w, unsigned paid)
{
	return w->spin_ns > 0 && w->now_ns >= w->spin_again_ns &&
	       (paid >= PAID_ALL / 2 || w->stats.sleeps % 64 == 0);
}

void worker_run(struct worker *w, const atomic_bool *stop)
{
	unsigned paid = 0; /* share of recent spins that found something, of PAID_ALL */

	assert(w->sleeper != NULL);
	while (!atomic_load_explicit(stop, memory_order_acquire)) {
		turn_body(w);
		turn_doorbells(w, w->sleeper);
		if (worker_has_work(w)) {
			w->sleeper->ops->doorbell(w->sleeper);
			continue;
		}
		if (worker_may_spin(w, paid)) {
			bool found;

			w->sleeper->ops->doorbell(w->sleeper);
			found = worker_spin(w, stop);
			paid = paid - paid / 8 + (found ? PAID_ALL / 8 : 0);
			if (found)
				continue;
		}
		worker_sleep(w, stop);
	}
}

void worker_ring(struct worker *w)
{
	/* Pairs with the fence in worker_sleep(): we see the flag or it sees the work. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&w->sleeping, memory_order_relaxed) &&
	    atomic_exchange_explicit(&w->sleeping, false, memory_order_relaxed))
		worker_wake(w);
}

void worker_wake(struct worker *w)
{
	if (w->sleeper != NULL && w->sleeper->ops->wake != NULL)
		w->sleeper->ops->wake(w->sleeper);
}
