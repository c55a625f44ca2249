/* SPDX-License-Identifier: Apache-2.0 */
#include "core/timer.h"

#include "base/assert.h"

enum { SLOT_BITS = 6, SLOT_MASK = TIMER_SLOTS - 1 };

_Static_assert(1 << SLOT_BITS == TIMER_SLOTS, "a slot index is SLOT_BITS bits");

void timers_init(struct timers *timers, uint64_t now_ns)
{
	*timers = (struct timers){ .tick = now_ns >> TIMER_TICK_SHIFT };
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		for (unsigned slot = 0; slot < TIMER_SLOTS; slot++)
			LIST_INIT(&timers->slots[level][slot]);
	}
}

/* Rounded up, so that a timer never fires early. */
static uint64_t tick_of(uint64_t deadline_ns)
{
	uint64_t tick = deadline_ns >> TIMER_TICK_SHIFT;

	return (deadline_ns & ((1ull << TIMER_TICK_SHIFT) - 1)) == 0 ? tick : tick + 1;
}

static void place(struct timers *timers, struct timer *timer)
{
	uint64_t due = tick_of(timer->deadline_ns);
	uint64_t span = 1ull << (SLOT_BITS * TIMER_LEVELS);
	unsigned level = 0, slot;

	if (due <= timers->tick)
		due = timers->tick + 1;
	if (due - timers->tick >= span)
		due = timers->tick + span - 1; /* placed again when that slot comes up */
	while (due - timers->tick >= 1ull << (SLOT_BITS * (level + 1)))
		level++;
	assert(level < TIMER_LEVELS);
	slot = (unsigned)(due >> (SLOT_BITS * level)) & SLOT_MASK;
	LIST_INSERT_HEAD(&timers->slots[level][slot], timer, link);
	timers->occupied[level] |= 1ull << slot;
}

void timer_arm(struct timers *timers, struct timer *timer, uint64_t deadline_ns, timer_fn *fire)
{
	assert(fire != NULL);
	if (timer->armed)
		timer_cancel(timers, timer);
	timer->deadline_ns = deadline_ns;
	timer->fire = fire;
	timer->armed = true;
	timers->count++;
	place(timers, timer);
}

void timer_cancel(struct timers *timers, struct timer *timer)
{
	if (!timer->armed)
		return;
	assert(timers->count > 0);
	/* Its slot stays marked occupied: a pass over an empty slot clears the mark. */
	LIST_REMOVE(timer, link);
	timer->armed = false;
	timers->count--;
}

/* Fires or places again all timers of a slot whose turn has come. */
static unsigned expire(struct timers *timers, unsigned level, unsigned slot, uint64_t now_ns)
{
	LIST_HEAD(, timer) due = LIST_HEAD_INITIALIZER(due);
	struct timer *timer;
	unsigned fired = 0;

	while ((timer = LIST_FIRST(&timers->slots[level][slot])) != NULL) {
		LIST_REMOVE(timer, link);
		LIST_INSERT_HEAD(&due, timer, link);
	}
	timers->occupied[level] &= ~(1ull << slot);
	while ((timer = LIST_FIRST(&due)) != NULL) {
		LIST_REMOVE(timer, link);
		assert(timer->armed);
		if (timer->deadline_ns > now_ns) {
			place(timers, timer);
			continue;
		}
		assert(timers->count > 0);
		timer->armed = false;
		timers->count--;
		fired++;
		timer->fire(timer);
	}
	return fired;
}

unsigned timers_run(struct timers *timers, uint64_t now_ns)
{
	uint64_t now = now_ns >> TIMER_TICK_SHIFT;
	unsigned fired = 0;

	if (timers->count == 0) {
		timers->tick = now > timers->tick ? now : timers->tick;
		return 0;
	}
	while (timers->tick < now) {
		timers->tick++;
		for (unsigned level = 1; level < TIMER_LEVELS; level++) {
			uint64_t below = (1ull << (SLOT_BITS * level)) - 1;

			if ((timers->tick & below) != 0)
				break;
			fired += expire(timers, level,
			                (unsigned)(timers->tick >> (SLOT_BITS * level)) & SLOT_MASK,
			                now_ns);
		}
		fired += expire(timers, 0, (unsigned)timers->tick & SLOT_MASK, now_ns);
	}
	return fired;
}

uint64_t timers_next_ns(const struct timers *timers)
{
	uint64_t best = UINT64_MAX;

	if (timers->count == 0)
		return UINT64_MAX;
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		unsigned shift = SLOT_BITS * level;
		unsigned here = (unsigned)(timers->tick >> shift) & SLOT_MASK;
		uint64_t marks = timers->occupied[level];
		uint64_t ahead, due;

		if (marks == 0)
			continue;
		/* Slots after `here` first; `here` itself is a whole round away. */
		ahead = here == SLOT_MASK ? 0 : marks & ~0ull << (here + 1);
		if (ahead != 0)
			due = (timers->tick >> shift) - here + (unsigned)__builtin_ctzll(ahead);
		else
			due = (timers->tick >> shift) - here + TIMER_SLOTS +
			      (unsigned)__builtin_ctzll(marks);
		due <<= shift;
		if (due < best)
			best = due;
	}
	return best == UINT64_MAX ? UINT64_MAX : best << TIMER_TICK_SHIFT;
}
