/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What handing a request over costs: to the own worker, and to another that is awake, 32 at a time
 * there and back. One line per figure: name, value, unit, limit. Wall time, so on a machine that is
 * shared the best of the rounds is what counts.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "core/worker.h"

enum { BATCH = 32, ROUNDS = 15, SENDS = 1 << 20, RING_SIZE = 1024 };

static uint64_t clock_now(struct clock *clock)
{
	struct timespec ts;

	(void)clock;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t clock_still(struct clock *clock)
{
	(void)clock;
	return 1;
}

/* The turn's own look at the clock is not a hand-off's cost. */
static struct clock still = { .now_ns = clock_still, .wall_ms = clock_still };
static struct worker workers[2];
static struct ring rings[2];
static struct req *slots[2][RING_SIZE];
static struct req reqs[BATCH];
static uint64_t arrivals;
static atomic_bool stop;

static void arrived(struct req *req)
{
	(void)req;
	arrivals++;
}

static void bounce(struct req *req)
{
	worker_send(&workers[0], req, arrived);
}

static double bench_same(void)
{
	uint64_t started = clock_now(NULL);

	for (unsigned i = 0; i < SENDS; i += BATCH) {
		for (unsigned j = 0; j < BATCH; j++)
			worker_send(&workers[0], &reqs[j], arrived);
		worker_turn(&workers[0]);
	}
	return (double)(clock_now(NULL) - started) / SENDS;
}

static void *peer(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		worker_turn(&workers[1]);
	return NULL;
}

/* A batch there and back is 2 x BATCH messages; each side pays for half of all of it. */
static double bench_across(void)
{
	uint64_t started = clock_now(NULL);

	for (unsigned i = 0; i < SENDS; i += BATCH) {
		uint64_t until = arrivals + BATCH;

		for (unsigned j = 0; j < BATCH; j++)
			worker_send(&workers[1], &reqs[j], bounce);
		do
			worker_turn(&workers[0]);
		while (arrivals < until);
	}
	return (double)(clock_now(NULL) - started) / SENDS / 2;
}

static void report(const char *name, double (*bench)(void), double limit)
{
	double best = 1e9;

	for (unsigned i = 0; i < ROUNDS; i++) {
		double ns = bench();

		best = ns < best ? ns : best;
	}
	printf("%s %.1f ns limit %.0f %s\n", name, best, limit, best <= limit ? "ok" : "OVER");
}

int main(void)
{
	pthread_t thread;

	for (unsigned i = 0; i < 2; i++) {
		worker_init(&workers[i], i, ROLE_NETWORK, &still);
		ring_init(&rings[i], slots[i], RING_SIZE);
	}
	worker_connect(&workers[0], &workers[1], &rings[0]);
	worker_connect(&workers[1], &workers[0], &rings[1]);
	for (unsigned i = 0; i < BATCH; i++)
		req_init(&reqs[i], &workers[0]);
	report("handoff_same_worker", bench_same, 20);
	if (pthread_create(&thread, NULL, peer, NULL) != 0)
		return 1;
	report("handoff_awake_worker_a_side_batch_32", bench_across, 60);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	printf("wakes_sent %" PRIu64 "\n", workers[0].stats.wakes_sent);
	return 0;
}
