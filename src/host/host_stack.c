/* SPDX-License-Identifier: Apache-2.0 */
/* The stacks of the configuration: opened on storage workers, shown to all. */
#include "base/assert.h"
#include "host/host.h"

enum { MEMORY_SHARE = 8 };

/* What the main thread asks of a stack, on its worker. */
struct errand {
	struct host_errand errand;
	struct host_stack *s;
};

uint64_t host_stacks_memory(const struct conf *conf, uint64_t memory)
{
	uint64_t asked = conf_number(conf, CONF_STACKS_MEMORY);

	if (conf->stack_count == 0)
		return 0;
	return asked != 0 ? asked : memory / MEMORY_SHARE;
}

/* In a turn of the stack's worker: what it opens belongs to that thread. */
static enum status open_here(struct host_worker *w, void *arg)
{
	struct host_stack *s = arg;
	char error[STACK_ERROR_SIZE] = "";
	enum status status;

	assert(s->worker == w && s->stack == NULL);
	status = stack_open(s->conf->layers, &s->env, &s->stack, error);
	if (status != STATUS_OK)
		return host_fail(w->host, status, "stack %s: %s", s->conf->name, error);
	return STATUS_OK;
}

static enum status begin_start(struct host_worker *w, void *arg)
{
	struct errand *errand = arg;

	host_errand_begin(&errand->errand, w);
	stack_start(errand->s->stack, &errand->errand.req);
	return STATUS_OK;
}

static enum status begin_stop(struct host_worker *w, void *arg)
{
	struct errand *errand = arg;

	host_errand_begin(&errand->errand, w);
	stack_stop(errand->s->stack, &errand->errand.req);
	return STATUS_OK;
}

/* Every worker's way to it. */
static enum status show(struct host *host, struct host_stack *s)
{
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		s->blks[i] = w == s->worker ? stack_top(s->stack)
		                            : blk_remote_open(&w->worker, stack_top(s->stack));
		if (s->blks[i] == NULL)
			return host_fail(host, STATUS_NO_SPACE, "stack %s: no memory",
			                 s->conf->name);
	}
	return STATUS_OK;
}

static enum status open_stack(struct host *host, struct host_stack *s)
{
	struct errand errand = { .s = s };
	enum status status;

	if (s->conf->layers == NULL)
		return host_fail(host, STATUS_INVALID, "stack %s has no layers", s->conf->name);
	status = host_call(s->worker, open_here, s);
	if (status != STATUS_OK)
		return status;
	host_call(s->worker, begin_start, &errand);
	status = host_errand_wait(host, &errand.errand);
	if (status != STATUS_OK)
		return host_fail(host, status, "stack %s: %s", s->conf->name,
		                 stack_error(s->stack));
	s->started = true;
	host_log(host, LOG_INFO, "stack %s is open, worker=%u", s->conf->name,
	         s->worker->worker.id);
	return show(host, s);
}

/* The storage workers in turn. */
static struct host_worker *next_worker(struct host *host, unsigned *next)
{
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[(*next + i) % host->count];

		if (w->worker.roles & ROLE_STORAGE) {
			*next = w->worker.id + 1;
			return w;
		}
	}
	return &host->workers[0];
}

enum status host_stacks_open(struct host *host)
{
	uint64_t memory = host->parts.stacks;
	enum status status = STATUS_OK;
	unsigned next = 0;

	assert(host->stack_count == 0);
	for (unsigned i = 0; i < host->conf->stack_count && status == STATUS_OK; i++) {
		struct host_stack *s = &host->stacks[host->stack_count++];

		s->conf = &host->conf->stacks[i];
		s->worker = next_worker(host, &next);
		s->devices.io = s->worker->io;
		s->env = (struct stack_env){ .worker = &s->worker->worker,
			                     .memory = memory,
			                     .seed = host->started_ms + i,
			                     .devices = io_device_layers,
			                     .owner = &s->devices,
			                     .read_file = io_device_read_file };
		status = open_stack(host, s);
		memory = s->env.memory;
		s->env.memory = 0; /* later: nothing */
	}
	return status;
}

void host_stacks_stop(struct host *host)
{
	for (unsigned i = 0; i < host->stack_count; i++) {
		struct host_stack *s = &host->stacks[i];
		struct errand errand = { .s = s };

		if (!s->started)
			continue;
		s->started = false;
		host_call(s->worker, begin_stop, &errand);
		if (host_errand_wait(host, &errand.errand) != STATUS_OK)
			host_log(host, LOG_ERROR, "stack %s did not end cleanly: %s", s->conf->name,
			         stack_error(s->stack));
	}
}

void host_stacks_close(struct host *host)
{
	for (unsigned i = 0; i < host->stack_count; i++) {
		struct host_stack *s = &host->stacks[i];

		for (unsigned j = 0; j < host->count; j++) {
			if (s->blks[j] != NULL && s->blks[j] != stack_top(s->stack))
				s->blks[j]->ops->close(s->blks[j]);
			s->blks[j] = NULL;
		}
		if (s->stack != NULL)
			stack_close(s->stack);
		s->stack = NULL;
	}
	host->stack_count = 0;
}
