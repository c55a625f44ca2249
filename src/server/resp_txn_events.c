/* SPDX-License-Identifier: Apache-2.0 */
/* What a transaction will tell when it is committed: messages of PUBLISH, and keyspace events. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_txn.h"

static void add(struct resp_txn *txn, const struct txn_event *event)
{
	struct txn_event *copy = resp_txn_memory(txn, sizeof(*copy));

	if (copy == NULL)
		return; /* the run ends and is made again, or fails */
	*copy = *event;
	copy->next = NULL;
	*txn->events_end = copy;
	txn->events_end = &copy->next;
	txn->event_count++;
}

void txn_notify(struct resp_txn *txn, const char *name, struct bytes key)
{
	uint8_t *copy = resp_txn_memory(txn, key.size);

	if (copy == NULL)
		return;
	memcpy(copy, key.data, key.size);
	add(txn, &(struct txn_event){ .name = name, .key = bytes_of(copy, key.size) });
}

/* Where the event has been put, the next one goes behind it. */
static struct txn_event **event_insert(struct resp_txn *txn, struct txn_event **at,
                                       const char *name, struct bytes key)
{
	uint8_t *memory = resp_txn_memory(txn, sizeof(struct txn_event) + key.size);
	struct txn_event *event = (void *)memory;

	if (memory == NULL)
		return at; /* the run ends and is made again, or fails */
	memcpy(memory + sizeof(*event), key.data, key.size);
	*event = (struct txn_event){
		.next = *at,
		.name = name,
		.key = bytes_of(memory + sizeof(*event), key.size),
	};
	*at = event;
	if (txn->events_end == at)
		txn->events_end = &event->next;
	txn->event_count++;
	return &event->next;
}

void txn_notify_made(struct resp_txn *txn, bool expired, bool stored, struct bytes key)
{
	struct txn_event **at = txn->visit_events != NULL ? txn->visit_events : txn->events_end;
	uint16_t notify = txn->call->notify;

	if (expired && (notify & RESP_EVENT_EXPIRED))
		at = event_insert(txn, at, "expired", key);
	if (!stored || !(notify & RESP_EVENT_NEW))
		return;
	if (*at != NULL && (*at)->name != NULL && strcmp((*at)->name, "keymiss") == 0)
		at = &(*at)->next;
	(void)event_insert(txn, at, "new", key);
}

void txn_message(struct resp_txn *txn, const struct resp_message *message)
{
	add(txn, &(struct txn_event){ .message = *message });
}

void txn_events_reset(struct resp_txn *txn)
{
	txn->events = NULL;
	txn->events_end = &txn->events;
	txn->event_count = 0;
	txn->visit_events = NULL;
}

void txn_events_cut(struct resp_txn *txn, struct txn_event **end, uint32_t count)
{
	*end = NULL;
	txn->events_end = end;
	txn->event_count = count;
}

/* The messages of all events, in order; the memory is the transaction's. */
bool txn_events_publish(struct resp_txn *txn, resp_next_fn *next)
{
	struct resp_call *call = txn->call;
	struct resp_message *messages;
	struct resp_publish *publish;

	if (txn->event_count == 0)
		return false;
	messages = resp_txn_memory(txn, 2 * txn->event_count * sizeof(*messages));
	publish = resp_txn_memory(txn, sizeof(*publish));
	if (messages == NULL || publish == NULL) {
		txn->server->stats.events_dropped += txn->event_count;
		return false;
	}
	*publish = (struct resp_publish){ .messages = messages };
	for (struct txn_event *event = txn->events; event != NULL; event = event->next) {
		struct resp_event_room *room;

		if (event->name == NULL) {
			messages[publish->count++] = event->message;
			continue;
		}
		room = resp_txn_memory(txn, sizeof(*room) + RESP_EVENT_PREFIX + event->key.size);
		if (room == NULL) {
			txn->server->stats.events_dropped++;
			continue;
		}
		room->channel = (uint8_t *)(room + 1);
		room->messages = messages + publish->count;
		publish->count += resp_event_messages(call->notify, event->name, event->key, room);
	}
	resp_publish(call, publish, next);
	return true;
}
