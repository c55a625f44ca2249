/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/delay.h"

#include "base/assert.h"
#include "core/worker.h"

struct delay_frame {
	struct frame frame;
	struct delay *delay;
	uint64_t due_ns;
};

_Static_assert(sizeof(struct delay_frame) <= DELAY_FRAME, "what layers count with");

static void never_done(struct req *req)
{
	(void)req;
	unreachable(); /* it is popped before the request goes on */
}

static uint64_t due_of(struct req *req)
{
	return req_top(req, struct delay_frame)->due_ns;
}

static void arm(struct delay *delay);

static void fire(struct timer *timer)
{
	struct delay *delay = container_of(timer, struct delay, timer);
	struct req *req;

	while ((req = STAILQ_FIRST(&delay->waiting)) != NULL &&
	       due_of(req) <= delay->worker->now_ns) {
		STAILQ_REMOVE_HEAD(&delay->waiting, link);
		delay->count--;
		req_pop(req, struct delay_frame);
		delay->wake(req);
	}
	arm(delay);
}

static void arm(struct delay *delay)
{
	struct req *first = STAILQ_FIRST(&delay->waiting);

	assert((first == NULL) == (delay->count == 0));
	if (first != NULL)
		timer_arm(&delay->worker->timers, &delay->timer, due_of(first), fire);
}

void delay_init(struct delay *delay, struct worker *worker, req_fn *wake)
{
	assert(wake != NULL);
	*delay = (struct delay){ .worker = worker, .wake = wake };
	STAILQ_INIT(&delay->waiting);
}

/* Most are due after all that wait: that is looked at first. */
void delay_add(struct delay *delay, struct req *req, uint64_t due_ns)
{
	struct delay_frame *frame = req_push(req, struct delay_frame, never_done);
	struct req *at, *before = NULL;

	assert(req->worker == delay->worker && req->state == REQ_RUNNING);
	frame->delay = delay;
	frame->due_ns = due_ns;
	if (delay->count++ == 0 || delay->last_ns <= due_ns) {
		delay->last_ns = due_ns;
		STAILQ_INSERT_TAIL(&delay->waiting, req, link);
	} else {
		STAILQ_FOREACH (at, &delay->waiting, link) {
			if (due_of(at) > due_ns)
				break;
			before = at;
		}
		if (before == NULL)
			STAILQ_INSERT_HEAD(&delay->waiting, req, link);
		else
			STAILQ_INSERT_AFTER(&delay->waiting, before, req, link);
	}
	arm(delay);
}
