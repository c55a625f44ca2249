/* SPDX-License-Identifier: Apache-2.0 */
/* Objects on the store: an engine on every worker, over the keys of all of them. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/obj_engine.h"
#include "host/host.h"

enum { HANDLES_MIN = 32, HANDLES_MAX = 512, CONNECTION_SHARE = 4 };

/* What the main thread asks of an engine. */
struct errand {
	struct host_errand errand;
	struct obj_engine *engine;
};

static unsigned handles_max(const struct host *host)
{
	const struct obj_options none = { .calls_max = 1, .handles_max = 1 };
	const struct obj_options two = { .calls_max = 1, .handles_max = 2 };
	size_t each = obj_engine_memory(&two) - obj_engine_memory(&none);
	uint64_t room = host->parts.connections / CONNECTION_SHARE / each;

	if (room < HANDLES_MIN)
		return HANDLES_MIN;
	return room > HANDLES_MAX ? HANDLES_MAX : (unsigned)room;
}

static enum status begin_start(struct host_worker *w, void *arg)
{
	struct errand *errand = arg;

	assert(errand->engine == w->objects && errand->engine != NULL);
	host_errand_begin(&errand->errand, w);
	obj_engine_start(errand->engine, &errand->errand.req);
	return STATUS_OK;
}

static enum status make(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];
		struct obj_options options = {
			.kv = w->kv,
			.bufs = &w->bufs,
			.handles_max = handles_max(host),
			.collects = i == 0,
		};

		if (obj_engine_open(&w->objects, &options) != STATUS_OK)
			return host_fail(host, STATUS_NO_SPACE, "no memory for objects");
	}
	return STATUS_OK;
}

enum status host_objects_open(struct host *host)
{
	struct obj_engine *all[PLAN_WORKERS_MAX];
	enum status status;

	if (host->workers[0].obj != NULL)
		return STATUS_OK;
	assert(host->count > 0 && host->store.recovered);
	status = make(host);
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++)
		all[i] = host->workers[i].objects;
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++)
		obj_engine_join(all[i], all, host->count);
	/* The one that collects first: what it finds is of a run before. */
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		struct host_worker *w = &host->workers[i];
		struct errand errand = { .engine = w->objects };

		host_call(w, begin_start, &errand);
		status = host_errand_wait(host, &errand.errand);
		if (status == STATUS_OK)
			w->obj = obj_engine_obj(w->objects);
		else
			host_fail(host, status, "objects: %s", status_text(status));
	}
	return status;
}

static enum status stop(struct host_worker *w, void *arg)
{
	(void)arg;
	assert(w->objects != NULL);
	obj_engine_stop(w->objects);
	return STATUS_OK;
}

static enum status look_idle(struct host_worker *w, void *arg)
{
	bool *idle = arg;

	*idle = obj_engine_is_idle(w->objects);
	return STATUS_OK;
}

void host_objects_stop(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];
		bool idle = false;

		if (w->objects == NULL)
			continue;
		host_call(w, stop, NULL);
		while (!idle)
			host_call(w, look_idle, &idle);
	}
}

void host_objects_close(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		if (w->objects != NULL)
			obj_engine_close(w->objects);
		w->objects = NULL;
		w->obj = NULL;
	}
}
