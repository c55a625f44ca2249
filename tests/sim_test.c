/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "sim/sim.h"

enum { WORKERS = 4, BALLS = 200, HOPS = 50 };

/* A request that is thrown from worker to worker. */
struct ball {
	struct req req;
	unsigned hops;
};

static struct sim *sim;
static struct ball balls[BALLS];
static unsigned landed;

static void throw_on(struct req *req)
{
	struct ball *ball = container_of(req, struct ball, req);

	if (++ball->hops == HOPS) {
		landed++;
		return;
	}
	worker_send(sim_worker(sim, 0, (unsigned)(req->worker->id + ball->hops) % WORKERS), req,
	            throw_on);
}

static uint64_t throw_balls(uint64_t seed)
{
	uint64_t digest;

	landed = 0;
	sim = sim_open(&(struct sim_options){ .seed = seed, .workers_per_node = WORKERS });
	for (unsigned i = 0; i < BALLS; i++) {
		balls[i].hops = 0;
		req_init(&balls[i].req, sim_worker(sim, 0, i % WORKERS));
		throw_on(&balls[i].req);
	}
	assert_true(sim_settle(sim, 1000000));
	assert_int_equal(landed, BALLS); /* no wake-up is lost, nothing is left in an outbox */
	assert_int_equal(sim_step(sim), SIM_QUIET);
	digest = sim_digest(sim);
	sim_close(sim);
	return digest;
}

static void test_requests_cross_workers(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		assert_int_equal(throw_balls(seed), throw_balls(seed));
		assert_true(throw_balls(seed) != throw_balls(seed + 100));
	}
}

struct alarm {
	struct timer timer;
	struct worker *worker;
	unsigned rings;
};

static void ring(struct timer *timer)
{
	struct alarm *alarm = container_of(timer, struct alarm, timer);

	alarm->rings++;
	assert_true(alarm->worker->now_ns >= timer->deadline_ns);
	if (alarm->rings < 10)
		timer_arm(&alarm->worker->timers, timer, alarm->worker->now_ns + 3600000000000ull,
		          ring);
}

static void test_timers_move_the_clock(void **state)
{
	struct alarm alarm = { .rings = 0 };
	unsigned steps = 0;

	(void)state;
	sim = sim_open(&(struct sim_options){ .seed = 1, .nodes = 2 });
	alarm.worker = sim_worker(sim, 1, 0);
	timer_arm(&alarm.worker->timers, &alarm.timer, alarm.worker->now_ns + 1000000000, ring);
	while (sim_step(sim) != SIM_QUIET)
		steps++;
	assert_int_equal(alarm.rings, 10);
	assert_true(sim_now_ns(sim) >= 9 * 3600000000000ull);
	assert_true(steps < 1000); /* hours cost nothing */
	sim_close(sim);
}

struct tick {
	struct sim_event event;
	uint64_t at_ns;
};

static void tick(struct sim *s, struct sim_event *event)
{
	container_of(event, struct tick, event)->at_ns = sim_now_ns(s);
}

static void test_events_come_in_time(void **state)
{
	enum { TICKS = 300 };
	static struct tick ticks[TICKS];
	struct prng prng;

	(void)state;
	prng_init(&prng, 5);
	sim = sim_open(&(struct sim_options){ .seed = 1 });
	for (unsigned i = 0; i < TICKS; i++)
		sim_arm(sim, &ticks[i].event, 1 + prng_below(&prng, 100000), tick);
	for (unsigned i = 0; i < TICKS; i += 3)
		sim_disarm(sim, &ticks[i].event);
	while (sim_step(sim) != SIM_QUIET)
		;
	for (unsigned i = 0; i < TICKS; i++) {
		assert_int_equal(ticks[i].event.slot, 0);
		if (i % 3 == 0)
			assert_int_equal(ticks[i].at_ns, 0);
		else
			assert_true(ticks[i].at_ns >= ticks[i].event.when_ns);
	}
	sim_close(sim);
}

static void test_clocks(void **state)
{
	struct worker *a, *b;
	uint64_t wall_ms, start_ns;

	(void)state;
	sim = sim_open(&(struct sim_options){ .seed = 1, .nodes = 2, .wall_skew_ppm_max = 100000 });
	a = sim_worker(sim, 0, 0);
	b = sim_worker(sim, 1, 0);
	assert_true(a->now_ns != b->now_ns);
	wall_ms = a->wall_ms;
	start_ns = a->now_ns;
	sim_advance(sim, 1000000000000ull);
	sim_wall_jump(sim, 0, -5000);
	sim_wake(sim, 0, 0);
	sim_wake(sim, 1, 0);
	sim_settle(sim, 100);
	assert_true(a->now_ns >= start_ns + 1000000000000ull);
	assert_in_range(a->wall_ms, wall_ms + 895000 - 5000, wall_ms + 1105000 - 5000);
	assert_true(a->wall_ms != b->wall_ms);
	sim_close(sim);
}

static void test_a_stopped_node_does_nothing(void **state)
{
	(void)state;
	sim = sim_open(&(struct sim_options){ .seed = 1, .nodes = 2, .workers_per_node = 2 });
	assert_true(sim_settle(sim, 100));
	sim_stop(sim, 1, SIM_POWER_CUT);
	assert_false(sim_is_running(sim, 1));
	sim_wake(sim, 1, 0);
	assert_int_equal(sim_step(sim), SIM_QUIET);
	sim_start(sim, 1);
	assert_int_equal(sim_step(sim), SIM_TURN);
	assert_true(sim_settle(sim, 100));
	assert_true(sim_worker(sim, 1, 0)->stats.turns > 0);
	sim_close(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_cross_workers),
		cmocka_unit_test(test_timers_move_the_clock),
		cmocka_unit_test(test_events_come_in_time),
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_a_stopped_node_does_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
