/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "base/assert.h"
#include "base/macros.h"
#include "host/host.h"

static void errand_done(struct req *req)
{
	struct host_errand *errand = container_of(req, struct host_errand, req);

	assert(!atomic_load_explicit(&errand->done, memory_order_relaxed)); /* else: twice */
	errand->status = req->status;
	req_pop(req, struct frame);
	/* Pairs with the acquire in host_errand_wait(). */
	atomic_store_explicit(&errand->done, true, memory_order_release);
}

void host_errand_begin(struct host_errand *errand, struct host_worker *w)
{
	req_init(&errand->req, &w->worker);
	req_push(&errand->req, struct frame, errand_done);
	errand->req.state = REQ_RUNNING;
}

enum status host_errand_wait(struct host *host, struct host_errand *errand)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	while (!atomic_load_explicit(&errand->done, memory_order_acquire)) {
		host_drain_logs(host);
		nanosleep(&pause, NULL);
	}
	return errand->status;
}
