/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/clock.h"

#include <time.h>

#include "base/assert.h"

static struct timespec read_clock(clockid_t id)
{
	struct timespec ts;
	int r = clock_gettime(id, &ts);

	assert(r == 0);
	return ts;
}

static uint64_t system_now_ns(struct clock *clock)
{
	struct timespec ts = read_clock(CLOCK_MONOTONIC);

	(void)clock;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t system_wall_ms(struct clock *clock)
{
	struct timespec ts = read_clock(CLOCK_REALTIME);

	(void)clock;
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

struct clock *clock_system(void)
{
	static struct clock clock = { .now_ns = system_now_ns, .wall_ms = system_wall_ms };

	return &clock;
}
