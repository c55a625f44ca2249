/* SPDX-License-Identifier: Apache-2.0 */
/* Application workers: handlers with a state each, on the workers that are for applications. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "lib/lib.h"

enum { INBOX_DEFAULT = 4096 };

struct instance {
	struct weir_app *app;
	struct weir_worker *worker;
	void *state;
};

struct weir_app {
	struct weir *weir;
	struct weir_app_options options;
	struct lib_gate gate;
	uint8_t *states;
	unsigned count;
	struct instance instances[];
};

/* What a weir_message keeps in `internal`. */
struct lib_message {
	struct lib_item item;
	struct instance *instance;
	sem_t *ended; /* somebody waits in weir_call(); NULL: done() is called */
	bool replied;
};
_Static_assert(sizeof(struct lib_message) <= sizeof(((struct weir_message *)0)->internal),
               "the public struct has room for it");

static struct lib_message *lib_message(struct weir_message *message)
{
	return (struct lib_message *)(void *)message->internal;
}

static struct weir_message *message_of(struct lib_item *item)
{
	unsigned char *internal = (unsigned char *)container_of(item, struct lib_message, item);

	return container_of(
	        (unsigned char(*)[sizeof(((struct weir_message *)0)->internal)])internal,
	        struct weir_message, internal);
}

enum weir_status weir_app_start(struct weir *weir, const struct weir_app_options *options,
                                struct weir_app **out)
{
	unsigned count = options->count != 0 ? options->count : weir->app_count;
	size_t state_size = align_up(options->state_size + 1, CACHE_LINE);
	struct weir_app *app;
	enum weir_status status;

	*out = NULL;
	if (options->handler == NULL || lib_on_worker())
		return WEIR_INVALID;
	if (weir->app_count == 0)
		return WEIR_UNAVAILABLE; /* the options of weir_open() leave none for applications
		                          */
	status = lib_gate_enter(&weir->gate, UINT32_MAX);
	if (status != WEIR_OK)
		return status;
	lib_gate_leave(&weir->gate);
	app = calloc(1, sizeof(*app) + count * sizeof(app->instances[0]));
	if (app == NULL)
		return WEIR_NO_SPACE;
	app->states = aligned_alloc(CACHE_LINE, count * state_size);
	if (app->states == NULL) {
		free(app);
		return WEIR_NO_SPACE;
	}
	memset(app->states, 0, count * state_size);
	app->weir = weir;
	app->options = *options;
	if (app->options.inbox_max == 0)
		app->options.inbox_max = INBOX_DEFAULT;
	app->count = count;
	lib_gate_init(&app->gate);
	for (unsigned i = 0; i < count; i++) {
		app->instances[i] = (struct instance){
			.app = app,
			.worker = weir->apps[i % weir->app_count],
			.state = app->states + i * state_size,
		};
	}
	*out = app;
	return WEIR_OK;
}

void weir_app_stop(struct weir_app *app)
{
	lib_gate_close(&app->gate);
	sem_destroy(&app->gate.empty);
	free(app->states);
	free(app);
}

unsigned weir_app_count(const struct weir_app *app)
{
	return app->count;
}

void *weir_app_state(struct weir_app *app, unsigned index)
{
	assert(index < app->count);
	return app->instances[index].state;
}

static void handle(struct weir_worker *w, struct lib_item *item)
{
	struct weir_message *message = message_of(item);
	struct instance *instance = lib_message(message)->instance;

	assert(instance->worker == w);
	instance->app->options.handler(w, instance->state, message);
}

static enum weir_status send(struct weir_app *app, struct instance *instance,
                             struct weir_message *message, sem_t *ended)
{
	struct weir *weir = app->weir;
	struct lib_message *m = lib_message(message);
	enum weir_status status = lib_gate_enter(&weir->gate, weir->requests_max);

	if (status != WEIR_OK)
		return status;
	status = lib_gate_enter(&app->gate, app->options.inbox_max);
	if (status != WEIR_OK) {
		lib_gate_leave(&weir->gate);
		return status;
	}
	message->id = atomic_fetch_add_explicit(&weir->id_next, 1, memory_order_relaxed);
	message->status = WEIR_OK;
	message->out_size = 0;
	message->result = 0;
	message->request.context = message;
	*m = (struct lib_message){ .item = { .run = handle },
		                   .instance = instance,
		                   .ended = ended };
	lib_post(instance->worker, &m->item);
	return WEIR_OK;
}

static struct instance *route(struct weir_app *app, const struct weir_message *message)
{
	uint64_t hash = hash64(bytes_of(message->key.data, message->key.size));

	return &app->instances[hash % app->count];
}

enum weir_status weir_send(struct weir_app *app, struct weir_message *message)
{
	if (message->done == NULL)
		return WEIR_INVALID;
	return send(app, route(app, message), message, NULL);
}

enum weir_status weir_send_to(struct weir_app *app, unsigned index, struct weir_message *message)
{
	if (message->done == NULL || index >= app->count)
		return WEIR_INVALID;
	return send(app, &app->instances[index], message, NULL);
}

enum weir_status weir_call(struct weir_app *app, struct weir_message *message)
{
	enum weir_status status;
	sem_t ended;
	int error;

	if (lib_on_worker())
		return WEIR_INVALID;
	error = sem_init(&ended, 0, 0);
	assert(error == 0);
	status = send(app, route(app, message), message, &ended);
	if (status == WEIR_OK) {
		while (sem_wait(&ended) != 0)
			assert(errno == EINTR);
		status = message->status;
	}
	sem_destroy(&ended);
	return status;
}

static void deliver(struct weir_worker *w, struct lib_item *item)
{
	struct weir_message *message = message_of(item);
	struct lib_message *m = lib_message(message);
	struct weir_app *app = m->instance->app;

	if (m->ended != NULL)
		sem_post(m->ended); /* the message may be gone now */
	else
		message->done(message);
	lib_gate_leave(&app->gate); /* and now the application */
	lib_gate_leave(&w->weir->gate);
}

void weir_reply(struct weir_message *message, enum weir_status status)
{
	struct lib_message *m = lib_message(message);

	assert(lib_on_worker());
	assert(!m->replied);
	m->replied = true;
	m->item.run = deliver;
	message->status = status;
	lib_post(m->instance->worker, &m->item);
}

uint64_t weir_worker_now_ns(const struct weir_worker *worker)
{
	return worker->host->worker.now_ns;
}

unsigned weir_worker_index(const struct weir_worker *worker)
{
	return worker->host->worker.id;
}

struct weir *weir_worker_weir(const struct weir_worker *worker)
{
	return worker->weir;
}
