/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to all workers, and keyspace events, which are messages about what commands did. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_admin_internal.h"
#include "server/resp_txn.h"

/* Publishing. */

struct publish_state {
	struct admin_tour tour; /* first: admin_tour() */
	struct resp_publish *publish;
	resp_next_fn *next;
};

static uint32_t deliver_all(struct resp_server *server, const struct resp_publish *publish)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < publish->count; i++)
		count += resp_deliver(server, &publish->messages[i]);
	return count;
}

static void publish_step(struct resp_call *call, struct resp_admin *admin)
{
	struct resp_publish *publish = RESP_STATE(call, struct publish_state)->publish;

	publish->receivers += deliver_all(admin->server, publish);
}

static void publish_home(struct resp_call *call)
{
	struct publish_state *state = RESP_STATE(call, struct publish_state);

	state->tour.stays = true;
	state->next(call);
}

void resp_publish(struct resp_call *call, struct resp_publish *publish, resp_next_fn *next)
{
	struct resp_server *server = call->server;
	struct publish_state *state = RESP_STATE(call, struct publish_state);

	server->stats.published += publish->count;
	if (server->admin == NULL || server->admin->server_count == 1) {
		publish->receivers += deliver_all(server, publish);
		next(call);
		return;
	}
	state->publish = publish;
	state->next = next;
	admin_tour_start(call, publish_step, publish_home);
}

/* Events. */

static const char event_keymiss[] = "keymiss";

void resp_notify(struct resp_call *call, uint16_t event_class, const char *event, struct bytes key)
{
	assert(__builtin_popcount(event_class) == 1);
	if (__builtin_expect(!(call->notify & event_class), 1))
		return;
	if (call->txn != NULL)
		txn_notify(call->txn, event, key);
	else if (call->event_count < RESP_CALL_EVENTS)
		call->events[call->event_count++] = event;
}

void resp_count_lookup(struct resp_call *call, struct bytes key, bool exists)
{
	call->hits += exists;
	call->misses += !exists;
	if (!exists)
		resp_notify(call, RESP_EVENT_MISS, event_keymiss, key);
}

static void event_insert(struct resp_call *call, uint32_t at, const char *event)
{
	assert(at <= call->event_count);
	assert(call->event_count < RESP_CALL_EVENTS); /* else: a visit tells too much */
	memmove(call->events + at + 1, call->events + at,
	        (call->event_count - at) * sizeof(call->events[0]));
	call->events[at] = event;
	call->event_count++;
}

void resp_events_made(struct resp_call *call, bool expired, bool stored)
{
	bool missed = call->event_count > 0 && call->events[0] == event_keymiss;

	assert(call->txn == NULL);
	if (stored && (call->notify & RESP_EVENT_NEW))
		event_insert(call, missed, "new");
	if (expired && (call->notify & RESP_EVENT_EXPIRED))
		event_insert(call, 0, "expired");
}

void resp_notify_put(struct resp_call *call, struct bytes key)
{
	resp_notify(call, RESP_EVENT_STRING, "set", key);
	if (call->expires_ms != 0)
		resp_notify(call, RESP_EVENT_GENERIC, "expire", key);
}

uint32_t resp_event_messages(uint16_t notify, const char *event, struct bytes key,
                             struct resp_event_room *room)
{
	struct bytes name = bytes_of(key.data + 1, key.size - 1);
	unsigned db = key.data[0] - (unsigned)KV_SPACE_REDIS;
	uint32_t count = 0;
	int size;

	assert(db < RESP_DATABASES);
	if (notify & RESP_EVENT_KEYSPACE) {
		size = snprintf((char *)room->channel, RESP_EVENT_PREFIX, "__keyspace@%u__:", db);
		memcpy(room->channel + size, name.data, name.size);
		room->messages[count++] = (struct resp_message){
			.channel = bytes_of(room->channel, (size_t)size + name.size),
			.payload = bytes_of(event, strlen(event)),
		};
	}
	if (notify & RESP_EVENT_KEYEVENT) {
		size = snprintf(room->event, sizeof(room->event), "__keyevent@%u__:%s", db, event);
		assert((size_t)size < sizeof(room->event));
		room->messages[count++] = (struct resp_message){
			.channel = bytes_of(room->event, (size_t)size),
			.payload = name,
		};
	}
	return count;
}

/* The events of a call that was a visit. */
struct call_events {
	struct resp_publish publish;
	struct resp_message messages[2 * RESP_CALL_EVENTS];
	struct resp_event_room rooms[RESP_CALL_EVENTS];
	uint8_t channels[RESP_CALL_EVENTS][RESP_EVENT_PREFIX + KV_KEY_MAX];
};

static void events_published(struct resp_call *call)
{
	resp_call_done(call);
}

void resp_events_publish(struct resp_call *call)
{
	struct call_events *events = resp_call_memory(call, sizeof(*events));
	uint32_t count = call->event_count;
	struct bytes key;

	assert(count > 0 && count <= RESP_CALL_EVENTS);
	call->event_count = 0;
	if (events == NULL || !resp_call_key(call, (uint32_t)call->command->key_first, &key)) {
		call->server->stats.events_dropped += count;
		resp_call_done(call);
		return;
	}
	events->publish = (struct resp_publish){ .messages = events->messages };
	for (uint32_t i = 0; i < count; i++) {
		struct resp_event_room *room = &events->rooms[i];

		room->channel = events->channels[i];
		room->messages = events->messages + events->publish.count;
		events->publish.count +=
		        resp_event_messages(call->notify, call->events[i], key, room);
	}
	resp_publish(call, &events->publish, events_published);
}
