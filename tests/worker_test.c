/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "core/transport.h"
#include "core/worker.h"

/* What happened, in order: one letter each. */
static char happened[8192];
static size_t happened_size;

static void note(char what)
{
	assert_true(happened_size < sizeof(happened) - 1);
	happened[happened_size++] = what;
	happened[happened_size] = '\0';
}

static uint64_t now_ns;

static uint64_t clock_now(struct clock *clock)
{
	(void)clock;
	return now_ns;
}

static struct clock by_hand = { .now_ns = clock_now, .wall_ms = clock_now };

/* A transport that can sleep and counts. */
struct probe {
	struct transport transport;
	unsigned doorbells, sleeps, wakes, yields;
	atomic_bool *stop; /* set by the sleep number `stop_at`; 0: by the first one */
	unsigned stop_at;
	uint64_t poll_ns; /* passes with each poll */
};

static unsigned probe_poll(struct transport *t)
{
	now_ns += container_of(t, struct probe, transport)->poll_ns;
	note('p');
	return 0;
}

static void probe_doorbell(struct transport *t)
{
	container_of(t, struct probe, transport)->doorbells++;
	note('d');
}

static void probe_sleep(struct transport *t, uint64_t until_ns)
{
	struct probe *probe = container_of(t, struct probe, transport);

	(void)until_ns;
	probe->sleeps++;
	note('z');
	if (probe->stop != NULL && probe->sleeps >= probe->stop_at)
		atomic_store(probe->stop, true);
}

static void probe_wake(struct transport *t)
{
	container_of(t, struct probe, transport)->wakes++;
}

static void probe_yield(struct transport *t)
{
	container_of(t, struct probe, transport)->yields++;
}

static const struct transport_ops probe_ops = {
	.name = "probe",
	.poll = probe_poll,
	.doorbell = probe_doorbell,
	.sleep = probe_sleep,
	.yield = probe_yield,
	.wake = probe_wake,
};

enum { RING_SIZE = 4 };
static struct worker workers[3];
static struct probe probes[3];
static struct ring rings[3][3];
static struct req *slots[3][3][RING_SIZE];

static int setup(void **state)
{
	(void)state;
	happened_size = 0;
	happened[0] = '\0';
	now_ns = 1000;
	for (unsigned i = 0; i < 3; i++) {
		worker_init(&workers[i], i, ROLE_NETWORK, &by_hand);
		probes[i] = (struct probe){
			.transport = { .ops = &probe_ops, .worker = &workers[i] },
		};
		worker_add_transport(&workers[i], &probes[i].transport);
	}
	for (unsigned from = 0; from < 3; from++) {
		for (unsigned to = 0; to < 3; to++) {
			if (from == to)
				continue;
			ring_init(&rings[from][to], slots[from][to], RING_SIZE);
			worker_connect(&workers[from], &workers[to], &rings[from][to]);
		}
	}
	return 0;
}

static void actor_settled(struct actor *actor)
{
	(void)actor;
	note('s');
}

static unsigned actor_ran(struct actor *actor)
{
	(void)actor;
	note('r');
	return 0;
}

static const struct actor_ops actor_ops = { .name = "probe",
	                                    .run = actor_ran,
	                                    .settle = actor_settled };

static void arrived(struct req *req)
{
	(void)req;
	note('a');
}

static void timer_fired(struct timer *timer)
{
	(void)timer;
	note('t');
}

static void frame_done(struct req *req)
{
	req_pop(req, struct frame);
	note('c');
}

/* Poll, inbox, timers, then what is queued in memory, actors, settle, doorbell. */
static void test_order_of_a_turn(void **state)
{
	static struct req sent, own, ended;
	struct actor actor = { .ops = &actor_ops };
	struct timer timer = { 0 };

	(void)state;
	worker_add_actor(&workers[0], &actor);
	timer_arm(&workers[0].timers, &timer, now_ns, timer_fired);
	now_ns += 10 << 20;
	req_init(&sent, &workers[1]);
	worker_send(&workers[0], &sent, arrived);
	req_init(&own, &workers[0]);
	worker_send(&workers[0], &own, arrived);
	req_init(&ended, &workers[0]);
	req_push(&ended, struct frame, frame_done);
	ended.state = REQ_RUNNING;
	req_complete(&ended, STATUS_OK, 0);
	assert_string_equal(happened, "");
	assert_int_equal(worker_turn(&workers[0]), 4);
	assert_string_equal(happened, "patacrrsd");
	assert_int_equal(ended.state, REQ_IDLE);
	assert_false(worker_has_work(&workers[0]));
}

static void test_across_keeps_the_order_when_a_ring_is_full(void **state)
{
	enum { COUNT = 11 };
	static struct req reqs[COUNT];
	unsigned turns = 0, seen = 0;

	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		req_init(&reqs[i], &workers[0]);
		worker_send(&workers[1], &reqs[i], arrived);
		assert_ptr_equal(reqs[i].worker, &workers[1]);
	}
	assert_true(worker_has_work(&workers[0])); /* the outbox */
	while (seen < COUNT) {
		struct req *req;

		worker_turn(&workers[0]);
		while ((req = ring_pop(&rings[0][1])) != NULL)
			assert_ptr_equal(req, &reqs[seen++]);
		assert_true(++turns < 10);
	}
	assert_int_equal(turns, 3); /* 4, 4, 3 */
	worker_turn(&workers[0]);
	assert_false(worker_has_work(&workers[0]));
}

static void test_one_wake_per_peer_and_turn(void **state)
{
	static struct req reqs[6];

	(void)state;
	atomic_store(&workers[1].sleeping, true);
	for (unsigned i = 0; i < 6; i++) {
		req_init(&reqs[i], &workers[0]);
		worker_send(&workers[i % 2 + 1], &reqs[i], arrived);
	}
	assert_int_equal(probes[1].wakes, 0); /* not before the end of the turn */
	worker_turn(&workers[0]);
	assert_int_equal(probes[1].wakes, 1);
	assert_int_equal(probes[2].wakes, 0); /* it is awake */
	assert_int_equal(workers[0].stats.wakes_sent, 1);
	worker_turn(&workers[0]);
	assert_int_equal(probes[1].wakes, 1);
	worker_turn(&workers[1]);
	worker_turn(&workers[2]);
	assert_string_equal(strchr(happened, 'a'), "aaadpaaad");
}

static void bounce(struct req *req)
{
	note('b');
	worker_send(&workers[0], req, arrived);
}

static void test_there_and_back(void **state)
{
	static struct req req;

	(void)state;
	req_init(&req, &workers[0]);
	worker_send(&workers[1], &req, bounce);
	worker_turn(&workers[0]);
	worker_turn(&workers[1]);
	assert_ptr_equal(req.worker, &workers[0]);
	worker_turn(&workers[0]);
	assert_string_equal(happened, "pdpbdpad");
}

static void test_does_not_sleep_on_work(void **state)
{
	static struct req req;
	atomic_bool stop = false;

	(void)state;
	probes[0].stop = &stop;
	workers[0].spin_ns = 0;
	req_init(&req, &workers[1]);
	worker_send(&workers[0], &req, arrived);
	worker_run(&workers[0], &stop);
	/* It did the work before it slept, and rang no doorbell of its own beside the sleep's. */
	assert_string_equal(happened, "paz");
	assert_int_equal(probes[0].sleeps, 1);
	assert_int_equal(workers[0].stats.sleeps, 1);
	assert_false(atomic_load(&workers[0].sleeping));
}

/* A worker that lost its core while it spun sleeps for a while without spinning first. */
static void test_spin_that_loses_the_core(void **state)
{
	atomic_bool stop = false;

	(void)state;
	probes[0].stop = &stop;
	probes[0].poll_ns = 1000;
	workers[0].spin_ns = 20000;
	worker_run(&workers[0], &stop);
	assert_int_equal(workers[0].stats.spins, 1); /* the first sleep of 64 */
	assert_int_equal(workers[0].stats.spin_holes, 0);

	atomic_store(&stop, false);
	workers[0].stats.sleeps = 0;
	probes[0].poll_ns = 200000; /* somebody else ran meanwhile */
	probes[0].sleeps = 0;
	probes[0].stop_at = 65;
	worker_run(&workers[0], &stop);
	assert_int_equal(workers[0].stats.spin_holes, 1);
	assert_int_equal(workers[0].stats.spins,
	                 2); /* none before the 65th sleep, though it was due */

	atomic_store(&stop, false);
	workers[0].stats.sleeps = 0;
	now_ns += 1000000000;
	worker_run(&workers[0], &stop);
	assert_int_equal(workers[0].stats.spins, 3);
}

/* One that spins and never sleeps lets others have its core now and then. */
static void test_spin_yields(void **state)
{
	atomic_bool stop = false;

	(void)state;
	probes[0].stop = &stop;
	probes[0].poll_ns = 1000;
	workers[0].spin_ns = 20000;
	workers[0].rested_ns = now_ns;
	worker_run(&workers[0], &stop);
	assert_int_equal(workers[0].stats.spins, 1);
	assert_int_equal(probes[0].yields, 0); /* it has just slept */
	assert_int_equal(workers[0].rested_ns, now_ns);

	atomic_store(&stop, false);
	workers[0].stats.sleeps = 0;
	now_ns += 300000;
	worker_run(&workers[0], &stop);
	assert_int_equal(workers[0].stats.spins, 2);
	assert_int_equal(probes[0].yields, 1);
}

/* Work that another thread leaves with an actor. */
struct box {
	struct actor actor;
	bool full;
};

static unsigned box_run(struct actor *actor)
{
	struct box *box = container_of(actor, struct box, actor);
	unsigned count = box->full;

	box->full = false;
	return count;
}

static bool box_has_work(const struct actor *actor)
{
	return container_of(actor, struct box, actor)->full;
}

static void test_work_from_outside_ends_a_sleep(void **state)
{
	static const struct actor_ops ops = { .name = "box",
		                              .run = box_run,
		                              .has_work = box_has_work };
	struct box box = { .actor = { &ops } };

	(void)state;
	worker_add_actor(&workers[0], &box.actor);
	assert_false(worker_has_work(&workers[0]));
	box.full = true;
	assert_true(worker_has_work(&workers[0]));
	worker_ring(&workers[0]);
	assert_int_equal(probes[0].wakes, 0); /* it is awake */
	atomic_store(&workers[0].sleeping, true);
	worker_ring(&workers[0]);
	worker_ring(&workers[0]);
	assert_int_equal(probes[0].wakes, 1); /* once */
	assert_int_equal(worker_turn(&workers[0]), 1);
	assert_false(worker_has_work(&workers[0]));
}

static unsigned chain_left;

static void chain(struct req *req)
{
	if (chain_left-- > 1)
		worker_send(req->worker, req, chain);
}

/* Work that makes work is bounded per turn: the transport gets its say. */
static void test_a_turn_ends(void **state)
{
	static struct req req;
	unsigned turns = 0;

	(void)state;
	chain_left = 100000;
	req_init(&req, &workers[0]);
	worker_send(&workers[0], &req, chain);
	while (chain_left > 0) {
		worker_turn(&workers[0]);
		turns++;
		happened_size = 0;
	}
	assert_true(turns > 10);
}

static void test_ring(void **state)
{
	static struct req reqs[3 * RING_SIZE];
	struct req *room[RING_SIZE];
	struct ring ring;
	unsigned pushed = 0, popped = 0;

	(void)state;
	ring_init(&ring, room, RING_SIZE);
	assert_true(ring_is_empty(&ring));
	assert_null(ring_pop(&ring));
	while (pushed < 3 * RING_SIZE) {
		while (pushed < 3 * RING_SIZE && ring_push(&ring, &reqs[pushed]))
			pushed++;
		assert_true(pushed - popped <= RING_SIZE);
		assert_ptr_equal(ring_pop(&ring), &reqs[popped]);
		popped++;
	}
	while (popped < pushed)
		assert_ptr_equal(ring_pop(&ring), &reqs[popped++]);
	assert_true(ring_is_empty(&ring));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_order_of_a_turn, setup),
		cmocka_unit_test_setup(test_across_keeps_the_order_when_a_ring_is_full, setup),
		cmocka_unit_test_setup(test_one_wake_per_peer_and_turn, setup),
		cmocka_unit_test_setup(test_there_and_back, setup),
		cmocka_unit_test_setup(test_does_not_sleep_on_work, setup),
		cmocka_unit_test_setup(test_spin_that_loses_the_core, setup),
		cmocka_unit_test_setup(test_spin_yields, setup),
		cmocka_unit_test_setup(test_work_from_outside_ends_a_sleep, setup),
		cmocka_unit_test_setup(test_a_turn_ends, setup),
		cmocka_unit_test_setup(test_ring, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
