/* SPDX-License-Identifier: Apache-2.0 */
/* Timers on a worker's clock: arm and cancel in constant time, never early, at most a tick late. */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/*
 * A hierarchical wheel (Varghese and Lauck, SOSP 1987): four levels of 64 slots over ticks of
 * 2^20 ns. Deadlines past the last level wait in its last slot and are placed again.
 */
enum { TIMER_LEVELS = 4, TIMER_SLOTS = 64, TIMER_TICK_SHIFT = 20 };

struct timer;
typedef void timer_fn(struct timer *timer);

/* Memory: the owner's, not moved while armed. Zero-initialised it is not armed. */
struct timer {
	LIST_ENTRY(timer) link;
	timer_fn *fire; /* runs once, in the worker's turn, after the timer was disarmed */
	uint64_t deadline_ns;
	bool armed;
};

struct timers {
	LIST_HEAD(, timer) slots[TIMER_LEVELS][TIMER_SLOTS];
	uint64_t occupied[TIMER_LEVELS]; /* bit per slot that is not empty */
	uint64_t tick;                   /* all earlier ones have fired */
	unsigned count;
};

void timers_init(struct timers *timers, uint64_t now_ns);

/* Fires at the first timers_run() with now_ns >= deadline_ns. Arming an armed timer moves it. */
void timer_arm(struct timers *timers, struct timer *timer, uint64_t deadline_ns, timer_fn *fire);
void timer_cancel(struct timers *timers, struct timer *timer); /* not armed: nothing */

/* Fires what is due; returns how many. */
unsigned timers_run(struct timers *timers, uint64_t now_ns);

/* A moment not after the earliest deadline and at most one slot before it; UINT64_MAX: none. */
uint64_t timers_next_ns(const struct timers *timers);

#endif
