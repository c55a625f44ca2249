/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes on the store: an engine on every worker, of which the first leads. */
#include "base/assert.h"
#include "host/host.h"

enum { CONNECTION_SHARE = 8, PARTS_MAX = 512, PARTS_MIN = 32 };

/* What the main thread asks of an engine. */
struct errand {
	struct host_errand errand;
	struct volumes *volumes;
};

/* As much as a share of the memory for connections holds; the tables are touched as they fill. */
static unsigned parts_max(const struct host *host, struct volumes_options *options)
{
	uint64_t room = host->parts.connections / CONNECTION_SHARE;
	size_t tables, each;

	options->calls_max = options->parts_max = 1;
	tables = volumes_memory(options);
	options->parts_max = 3;
	each = (volumes_memory(options) - tables) / 2;
	room /= each + each / 2; /* a call for every two */
	if (room < PARTS_MIN)
		return PARTS_MIN;
	return room > PARTS_MAX ? PARTS_MAX : (unsigned)room;
}

static enum status open_here(struct host_worker *w, void *arg)
{
	const struct host_volumes *with = arg;
	struct volumes_options options = {
		.kv = w->kv,
		.bufs = &w->bufs,
		.seed = with->seed,
		.leads = w == w->host->workers,
		.appeared = with->appeared,
		.may_leave = with->may_leave,
		.owner = w->faces[with->index],
	};

	options.parts_max = parts_max(w->host, &options);
	options.calls_max = options.parts_max / 2;
	if (volumes_open(&w->volumes, &options) != STATUS_OK)
		return host_fail(w->host, STATUS_NO_SPACE, "no memory for volumes");
	return STATUS_OK;
}

static enum status begin_start(struct host_worker *w, void *arg)
{
	struct errand *errand = arg;

	host_errand_begin(&errand->errand, w);
	volumes_start(w->volumes, &errand->errand.req);
	return STATUS_OK;
}

enum status host_volumes_open(struct host *host, const struct host_volumes *with)
{
	struct volumes *all[PLAN_WORKERS_MAX];
	struct errand errand = { .volumes = NULL };
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		status = host_call(&host->workers[i], open_here, (void *)(uintptr_t)with);
		all[i] = host->workers[i].volumes;
	}
	if (status != STATUS_OK)
		return status;
	for (unsigned i = 0; i < host->count; i++)
		volumes_join(all[i], all, host->count);
	host_call(&host->workers[0], begin_start, &errand);
	status = host_errand_wait(host, &errand.errand);
	if (status != STATUS_OK)
		return host_fail(host, status, "volumes: %s", status_text(status));
	return STATUS_OK;
}

static enum status stop(struct host_worker *w, void *arg)
{
	(void)arg;
	volumes_stop(w->volumes);
	return STATUS_OK;
}

static enum status look_idle(struct host_worker *w, void *arg)
{
	bool *idle = arg;

	*idle = volumes_are_idle(w->volumes);
	return STATUS_OK;
}

void host_volumes_stop(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		if (host->workers[i].volumes != NULL)
			host_call(&host->workers[i], stop, NULL);
	}
	for (unsigned i = 0; i < host->count; i++) {
		bool idle = host->workers[i].volumes == NULL;

		while (!idle)
			host_call(&host->workers[i], look_idle, &idle);
	}
}

void host_volumes_close(struct host *host)
{
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		if (w->volumes != NULL)
			volumes_close(w->volumes);
		w->volumes = NULL;
	}
}
