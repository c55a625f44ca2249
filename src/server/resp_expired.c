/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of keys whose time has passed. The first server asks the engines ten times a second what
 * they have removed, as long as that class of events is wanted, and takes it to every server.
 * Commands tell it themselves of a key that they change before the store has removed it.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_admin_internal.h"
#include "server/resp_internal.h"

enum {
	ASK_NS = 100 * 1000 * 1000,
	ASK_SIZE = 16 << 10, /* bytes of keys at a time */
};

struct resp_expired {
	struct resp_server *server; /* home */
	struct timer timer;
	struct req req;
	bool busy;       /* asks, or is on its way from server to server */
	bool waits;      /* the timer runs */
	uint32_t at;     /* the server that it is at */
	uint16_t engine; /* that is asked */
	uint32_t used;
	uint8_t keys[ASK_SIZE]; /* as KV_EXPIRED writes them */
};

struct expired_frame {
	struct frame frame;
};

static void ask(struct resp_expired *expired);

/* All servers that it goes to. */
static uint32_t server_count(const struct resp_expired *expired)
{
	const struct resp_admin *admin = expired->server->admin;

	return admin != NULL ? admin->server_count : 1;
}

static struct resp_server *server_at(const struct resp_expired *expired, uint32_t index)
{
	const struct resp_admin *admin = expired->server->admin;

	assert(index < server_count(expired));
	return admin != NULL ? admin->servers[index] : expired->server;
}

static bool is_wanted(const struct resp_expired *expired)
{
	const struct resp_server *server = expired->server;

	return !server->draining && (server->settings.notify & RESP_EVENT_EXPIRED) &&
	       server_count(expired) > 0 && server_at(expired, 0) == server;
}

static void timer_fired(struct timer *timer)
{
	struct resp_expired *expired = container_of(timer, struct resp_expired, timer);

	assert(expired->waits && !expired->busy);
	expired->waits = false;
	expired->engine = 0;
	if (is_wanted(expired))
		ask(expired);
}

static void rest(struct resp_expired *expired)
{
	struct worker *worker = expired->server->worker;

	assert(!expired->busy && !expired->waits);
	if (!is_wanted(expired))
		return;
	expired->waits = true;
	timer_arm(&worker->timers, &expired->timer, worker->now_ns + ASK_NS, timer_fired);
}

static void tell_one(struct resp_server *server, struct bytes key)
{
	uint8_t channel[RESP_EVENT_PREFIX + KV_KEY_MAX];
	struct resp_message messages[2];
	struct resp_event_room room = { .channel = channel, .messages = messages };
	uint32_t count;

	if (key.data[0] < KV_SPACE_REDIS || key.data[0] >= KV_SPACE_REDIS + RESP_DATABASES)
		return; /* another face's */
	count = resp_event_messages(server->settings.notify, "expired", key, &room);
	server->stats.published += count;
	for (uint32_t i = 0; i < count; i++)
		(void)resp_deliver(server, &messages[i]);
}

static void tell(struct resp_server *server, const struct resp_expired *expired)
{
	uint32_t at = 0;

	if (!(server->settings.notify & RESP_EVENT_EXPIRED))
		return;
	while (at < expired->used) {
		uint32_t size = expired->keys[at] | (uint32_t)expired->keys[at + 1] << 8;

		assert(size > 0 && size <= expired->used - at - 2);
		tell_one(server, bytes_of(expired->keys + at + 2, size));
		at += 2 + size;
	}
}

static void came_home(struct req *req)
{
	struct resp_expired *expired = container_of(req, struct resp_expired, req);

	assert(req->worker == expired->server->worker);
	expired->busy = false;
	if (is_wanted(expired))
		ask(expired); /* there may be more */
}

static void arrived(struct req *req)
{
	struct resp_expired *expired = container_of(req, struct resp_expired, req);
	struct resp_server *here = server_at(expired, expired->at);

	assert(here->worker == req->worker);
	tell(here, expired);
	if (++expired->at < server_count(expired))
		worker_send(server_at(expired, expired->at)->worker, req, arrived);
	else
		worker_send(expired->server->worker, req, came_home);
}

static void answered(struct req *req)
{
	struct resp_expired *expired = container_of(req, struct resp_expired, req);

	req_pop(req, struct expired_frame);
	expired->busy = false;
	expired->used = req->status == STATUS_OK ? (uint32_t)req->result : 0;
	assert(expired->used <= ASK_SIZE);
	if (expired->used > 0) {
		expired->busy = true;
		expired->at = 0;
		worker_send(server_at(expired, 0)->worker, req, arrived);
	} else if (++expired->engine < expired->server->kv->traits.engines && is_wanted(expired)) {
		ask(expired);
	} else {
		rest(expired);
	}
}

static void ask(struct resp_expired *expired)
{
	struct kv_cmd cmd = {
		.op = KV_EXPIRED,
		.partition = expired->engine,
		.out = expired->keys,
		.out_size = ASK_SIZE,
	};

	assert(!expired->busy && !expired->waits);
	expired->busy = true;
	req_push(&expired->req, struct expired_frame, answered);
	kv_submit(expired->server->kv, &expired->req, &cmd);
}

void resp_expired_wake(struct resp_server *server)
{
	struct resp_expired *expired = server->expired;

	if (expired->busy || expired->waits || !is_wanted(expired))
		return;
	expired->engine = 0;
	ask(expired);
}

bool resp_expired_is_idle(const struct resp_server *server)
{
	return !server->expired->busy;
}

size_t resp_expired_memory(void)
{
	return sizeof(struct resp_expired);
}

enum status resp_expired_open(struct resp_server *server)
{
	struct resp_expired *expired = calloc(1, sizeof(*expired));

	if (expired == NULL)
		return STATUS_NO_SPACE;
	expired->server = server;
	req_init(&expired->req, server->worker);
	server->expired = expired;
	return STATUS_OK;
}

void resp_expired_close(struct resp_server *server)
{
	assert(!server->expired->busy);
	if (server->expired->waits)
		timer_cancel(&server->worker->timers, &server->expired->timer);
	free(server->expired);
	server->expired = NULL;
}
