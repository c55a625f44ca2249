/* SPDX-License-Identifier: Apache-2.0 */
/* The library as a face of its host: what other threads leave for a worker, and its turn. */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "lib/lib.h"

enum { ITEMS_PER_RUN = 128 };

/* Set by every turn of a worker of the library. */
static _Thread_local bool on_worker;

bool lib_on_worker(void)
{
	return on_worker;
}

void lib_gate_init(struct lib_gate *gate)
{
	int error = sem_init(&gate->empty, 0, 0);

	assert(error == 0);
	atomic_init(&gate->count, 1);
	atomic_init(&gate->closed, false);
}

void lib_gate_leave(struct lib_gate *gate)
{
	unsigned before = atomic_fetch_sub(&gate->count, 1);

	assert(before > 0);
	if (before == 1)
		sem_post(&gate->empty);
}

enum weir_status lib_gate_enter(struct lib_gate *gate, unsigned max)
{
	unsigned before = atomic_fetch_add(&gate->count, 1);

	/* Sequentially consistent with lib_gate_close(): it counts us, or we see that it closed. */
	if (atomic_load(&gate->closed)) {
		lib_gate_leave(gate);
		return WEIR_CLOSED;
	}
	if (before > max) {
		lib_gate_leave(gate);
		return WEIR_BUSY;
	}
	return WEIR_OK;
}

void lib_gate_close(struct lib_gate *gate)
{
	assert(!on_worker);
	if (atomic_exchange(&gate->closed, true))
		return;
	lib_gate_leave(gate);
	while (sem_wait(&gate->empty) != 0)
		assert(errno == EINTR);
}

void lib_post(struct weir_worker *w, struct lib_item *item)
{
	struct lib_item *top = atomic_load_explicit(&w->mail, memory_order_relaxed);

	/* Pairs with the exchange in take_mail(): what the item holds is seen with it. */
	do {
		item->next = top;
	} while (!atomic_compare_exchange_weak_explicit(&w->mail, &top, item, memory_order_release,
	                                                memory_order_relaxed));
	worker_ring(&w->host->worker);
}

/* The stack has the newest on top; the first that came is to run first. */
static void take_mail(struct weir_worker *w)
{
	struct lib_item *item = atomic_exchange_explicit(&w->mail, NULL, memory_order_acquire);

	assert(w->first == NULL);
	while (item != NULL) {
		struct lib_item *next = item->next;

		item->next = w->first;
		w->first = item;
		item = next;
	}
}

static unsigned run(struct actor *actor)
{
	struct weir_worker *w = container_of(actor, struct weir_worker, actor);
	unsigned count = 0;

	on_worker = true;
	if (w->first == NULL && atomic_load_explicit(&w->mail, memory_order_relaxed) != NULL)
		take_mail(w);
	while (count < ITEMS_PER_RUN && w->first != NULL) {
		struct lib_item *item = w->first;

		w->first = item->next;
		item->run(w, item);
		count++;
	}
	return count;
}

static bool has_work(const struct actor *actor)
{
	const struct weir_worker *w = container_of(actor, struct weir_worker, actor);

	return w->first != NULL || atomic_load_explicit(&w->mail, memory_order_relaxed) != NULL;
}

static const struct actor_ops actor_ops = { .name = "library", .run = run, .has_work = has_work };

static enum status open_here(struct host_worker *hw, void *arg)
{
	struct weir *weir = container_of(hw->host, struct weir, host);
	size_t size = align_up(sizeof(struct weir_worker), CACHE_LINE);
	struct weir_worker *w = aligned_alloc(CACHE_LINE, size);

	if (w == NULL)
		return host_fail(hw->host, STATUS_NO_SPACE, "no memory for the library");
	*w = (struct weir_worker){ .actor = { &actor_ops }, .weir = weir, .host = hw };
	atomic_init(&w->mail, NULL);
	hw->faces[*(unsigned *)arg] = w;
	weir->workers[hw->worker.id] = w;
	worker_add_actor(&hw->worker, &w->actor);
	return STATUS_OK;
}

static enum status open_face(struct host *host, unsigned index)
{
	struct weir *weir = container_of(host, struct weir, host);
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++)
		status = host_call(&host->workers[i], open_here, &index);
	if (status != STATUS_OK)
		return status;
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *hw = &host->workers[i];

		if (hw->worker.roles & ROLE_APPLICATION)
			weir->apps[weir->app_count++] = weir->workers[i];
	}
	for (unsigned i = 0; i < host->store.count; i++)
		weir->engines[i] = weir->workers[host->store.workers[i]->worker.id];
	weir->engine_count = host->store.count;
	assert(weir->engine_count > 0);
	return STATUS_OK;
}

/* The gate is closed before the host is drained: nothing is left to do. */
static void drain(void *face)
{
	struct weir_worker *w = face;

	w->closed = true;
}

static void kill_face(void *face)
{
	(void)face;
}

static bool is_drained(const void *face)
{
	const struct weir_worker *w = face;

	return w->closed && !has_work(&w->actor);
}

static void close_face(void *face)
{
	free(face);
}

const struct face lib_face = {
	.name = "library",
	.open = open_face,
	.drain = drain,
	.kill = kill_face,
	.is_drained = is_drained,
	.close = close_face,
};
