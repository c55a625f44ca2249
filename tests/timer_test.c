/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "core/timer.h"

struct probe {
	struct timer timer;
	uint64_t now_ns; /* when the wheel ran */
	uint64_t fired_ns;
	uint64_t *clock;
	unsigned fired;
};

static void fire(struct timer *timer)
{
	struct probe *probe = container_of(timer, struct probe, timer);

	probe->fired++;
	probe->fired_ns = *probe->clock;
}

static void test_never_early_at_most_a_tick_late(void **state)
{
	enum { COUNT = 400 };
	static struct probe probes[COUNT];
	struct timers timers;
	uint64_t now_ns = 123456789012345ull, tick_ns = 1ull << TIMER_TICK_SHIFT;

	(void)state;
	timers_init(&timers, now_ns);
	for (unsigned i = 0; i < COUNT; i++) {
		uint64_t wait_ns = (uint64_t)i * i * i * 7919 + i;

		probes[i] = (struct probe){ .clock = &now_ns };
		timer_arm(&timers, &probes[i].timer, now_ns + wait_ns, fire);
	}
	for (unsigned i = 0; i < COUNT; i += 5)
		timer_cancel(&timers, &probes[i].timer);
	while (timers.count > 0) {
		uint64_t next_ns = timers_next_ns(&timers);

		assert_true(next_ns != UINT64_MAX);
		now_ns = next_ns > now_ns ? next_ns : now_ns + tick_ns;
		timers_run(&timers, now_ns);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		if (i % 5 == 0) {
			assert_int_equal(probes[i].fired, 0);
			continue;
		}
		assert_int_equal(probes[i].fired, 1);
		assert_true(probes[i].fired_ns >= probes[i].timer.deadline_ns);
		assert_true(probes[i].fired_ns - probes[i].timer.deadline_ns <= 2 * tick_ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_early_at_most_a_tick_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
