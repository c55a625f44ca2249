/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who listens to which channels and patterns on this worker, and what they are sent. A message goes
 * into the listener's output at once, or waits beside it while a reply is being written there.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "server/glob.h"
#include "server/resp_internal.h"

enum {
	BUCKETS = 4096,
	NAME_INLINE = 56,        /* bytes; longer names have a buffer each */
	SHARE = 8,               /* of the worker's buffers, that one listener may leave unread */
	SHORT_SIZE = 256 << 10,  /* bytes that it may, when more than half of them are in use */
	SUBSCRIPTIONS_MIN = 1024 /* of a worker */
};

struct topic {
	struct topic *next; /* in its bucket, in the patterns, or free */
	LIST_HEAD(, resp_subscription) listeners;
	uint32_t listener_count;
	enum resp_topic_kind kind;
	uint32_t name_size;
	struct buf *buf; /* NULL: the name is in here */
	uint8_t name[NAME_INLINE];
};

struct resp_subscription {
	LIST_ENTRY(resp_subscription) of_topic, of_connection;
	struct topic *topic;
	struct resp_connection *connection;
	struct resp_subscription *next_free;
};

/*
 * Memory: taken when opened, touched when used: as many subscriptions, and topics, as there may be
 * connections (and SUBSCRIPTIONS_MIN), 192 bytes for both together.
 */
struct resp_pubsub {
	struct topic *topics, *topics_free;
	struct resp_subscription *subscriptions, *subscriptions_free;
	uint32_t max, made; /* of both: made: used at least once */
	uint32_t topics_made;
	struct topic *buckets[BUCKETS]; /* channels */
	struct topic *patterns;
};

static struct bytes name_of(const struct topic *topic)
{
	return bytes_of(topic->buf != NULL ? topic->buf->data : topic->name, topic->name_size);
}

static struct topic **list_of(struct resp_pubsub *pubsub, enum resp_topic_kind kind,
                              struct bytes name)
{
	if (kind == RESP_PATTERN)
		return &pubsub->patterns;
	return &pubsub->buckets[(hash64(name) + kind) % BUCKETS];
}

static struct topic **topic_place(struct resp_pubsub *pubsub, enum resp_topic_kind kind,
                                  struct bytes name)
{
	struct topic **at = list_of(pubsub, kind, name);

	while (*at != NULL && ((*at)->kind != kind || !bytes_equal(name_of(*at), name)))
		at = &(*at)->next;
	return at;
}

/* NULL: no room. */
static struct topic *topic_make(struct resp_server *server, enum resp_topic_kind kind,
                                struct bytes name)
{
	struct resp_pubsub *pubsub = server->pubsub;
	struct topic **place = topic_place(pubsub, kind, name), *topic = pubsub->topics_free;
	struct buf *buf = NULL;

	if (*place != NULL)
		return *place;
	if (topic == NULL && pubsub->topics_made == pubsub->max)
		return NULL;
	if (name.size > NAME_INLINE) {
		buf = name.size <= BUF_SIZE_MAX ? buf_get(server->bufs, name.size) : NULL;
		if (buf == NULL)
			return NULL;
	}
	if (topic != NULL)
		pubsub->topics_free = topic->next;
	else
		topic = &pubsub->topics[pubsub->topics_made++];
	*topic = (struct topic){ .kind = kind, .name_size = (uint32_t)name.size, .buf = buf };
	memcpy(buf != NULL ? buf->data : topic->name, name.data, name.size);
	LIST_INIT(&topic->listeners);
	*place = topic; /* the end of its list: patterns match in the order of their making */
	return topic;
}

static void topic_free(struct resp_pubsub *pubsub, struct topic *topic)
{
	struct topic **place = topic_place(pubsub, topic->kind, name_of(topic));

	assert(*place == topic && topic->listener_count == 0);
	*place = topic->next;
	if (topic->buf != NULL)
		buf_unref(topic->buf);
	topic->name_size = 0;
	topic->buf = NULL;
	topic->next = pubsub->topics_free;
	pubsub->topics_free = topic;
}

static struct resp_subscription *find(const struct topic *topic,
                                      const struct resp_connection *connection)
{
	struct resp_subscription *subscription;

	LIST_FOREACH(subscription, &connection->subscriptions, of_connection)
	{
		if (subscription->topic == topic)
			return subscription;
	}
	return NULL;
}

bool resp_subscribe(struct resp_connection *connection, enum resp_topic_kind kind,
                    struct bytes name)
{
	struct resp_pubsub *pubsub = connection->server->pubsub;
	struct resp_subscription *subscription = pubsub->subscriptions_free;
	struct topic *topic;

	topic = *topic_place(pubsub, kind, name);
	if (topic != NULL && find(topic, connection) != NULL)
		return true;
	if (subscription == NULL && pubsub->made == pubsub->max)
		return false;
	topic = topic_make(connection->server, kind, name);
	if (topic == NULL)
		return false;
	if (subscription != NULL)
		pubsub->subscriptions_free = subscription->next_free;
	else
		subscription = &pubsub->subscriptions[pubsub->made++];
	subscription->topic = topic;
	subscription->connection = connection;
	LIST_INSERT_HEAD(&topic->listeners, subscription, of_topic);
	LIST_INSERT_HEAD(&connection->subscriptions, subscription, of_connection);
	topic->listener_count++;
	connection->subscription_counts[kind]++;
	return true;
}

static void subscription_end(struct resp_subscription *subscription)
{
	struct resp_connection *connection = subscription->connection;
	struct resp_pubsub *pubsub = connection->server->pubsub;
	struct topic *topic = subscription->topic;

	LIST_REMOVE(subscription, of_topic);
	LIST_REMOVE(subscription, of_connection);
	assert(connection->subscription_counts[topic->kind] > 0);
	connection->subscription_counts[topic->kind]--;
	if (--topic->listener_count == 0)
		topic_free(pubsub, topic);
	subscription->next_free = pubsub->subscriptions_free;
	pubsub->subscriptions_free = subscription;
}

bool resp_unsubscribe(struct resp_connection *connection, enum resp_topic_kind kind,
                      struct bytes name)
{
	struct topic *topic = *topic_place(connection->server->pubsub, kind, name);
	struct resp_subscription *subscription = topic != NULL ? find(topic, connection) : NULL;

	if (subscription == NULL)
		return false;
	subscription_end(subscription);
	return true;
}

void resp_unsubscribe_all(struct resp_connection *connection)
{
	struct resp_subscription *subscription;

	while ((subscription = LIST_FIRST(&connection->subscriptions)) != NULL)
		subscription_end(subscription);
	connection->soft_since_ns = 0;
}

bool resp_subscription_first(const struct resp_connection *connection, enum resp_topic_kind kind,
                             struct bytes *ret_name)
{
	struct resp_subscription *subscription;

	LIST_FOREACH(subscription, &connection->subscriptions, of_connection)
	{
		if (subscription->topic->kind != kind)
			continue;
		*ret_name = name_of(subscription->topic);
		return true;
	}
	return false;
}

bool resp_may_listen(const struct resp_connection *connection,
                     bool (*may)(const struct resp_user *user, struct bytes name, bool is_pattern))
{
	struct resp_subscription *subscription;

	LIST_FOREACH(subscription, &connection->subscriptions, of_connection)
	{
		const struct topic *topic = subscription->topic;

		if (!may(connection->user, name_of(topic), topic->kind == RESP_PATTERN))
			return false;
	}
	return true;
}

/* Sending. */

/* Bytes that the connection has not read yet. */
static uint64_t unread_size(const struct resp_connection *connection)
{
	return resp_out_size(&connection->out) - connection->out_sent +
	       resp_out_size(&connection->push);
}

/* Cuts off who leaves too much unread; whether it did. */
static bool cut_if_slow(struct resp_connection *connection)
{
	struct resp_server *server = connection->server;
	const struct resp_settings *settings = &server->settings;
	const struct bufs *bufs = server->bufs;
	uint64_t memory = (uint64_t)bufs->slab_count * BUF_SIZE_MAX;
	uint64_t unread = unread_size(connection), max = memory / SHARE;

	if (settings->pubsub_hard_size > 0 && settings->pubsub_hard_size < max)
		max = settings->pubsub_hard_size;
	if (settings->pubsub_soft_size == 0 || unread <= settings->pubsub_soft_size)
		connection->soft_since_ns = 0;
	else if (connection->soft_since_ns == 0)
		connection->soft_since_ns = server->worker->now_ns;
	if (unread <= max && !connection->push.full && !connection->out.full &&
	    (bufs->used_size < memory / 2 || unread <= SHORT_SIZE))
		return false;
	server->stats.pubsub_closed++;
	resp_connection_kill(connection);
	return true;
}

void resp_push_sweep(struct resp_connection *connection)
{
	struct resp_server *server = connection->server;
	uint64_t now_ns = server->worker->now_ns;

	if (connection->discards_output || cut_if_slow(connection) ||
	    connection->soft_since_ns == 0)
		return;
	if (now_ns - connection->soft_since_ns < server->settings.pubsub_soft_s * 1000000000)
		return;
	server->stats.pubsub_closed++;
	resp_connection_kill(connection);
}

static void put_header(struct resp_out *out, char type, uint64_t value)
{
	uint8_t text[RESP_HEADER_MAX];

	resp_out_bytes(out, text, resp_write_header(text, type, (int64_t)value));
}

static void put_bulk(struct resp_out *out, struct bytes bytes)
{
	put_header(out, '$', bytes.size);
	resp_out_bytes(out, bytes.data, bytes.size);
	resp_out_bytes(out, "\r\n", 2);
}

/* Whether the end of the output is the end of a reply, so that something may come there. */
static bool is_between_replies(const struct resp_connection *connection)
{
	const struct resp_call *head = STAILQ_FIRST(&connection->calls);

	return connection->out_ready == resp_out_size(&connection->out) && !connection->out_lent &&
	       (head == NULL || !head->streams) && resp_out_size(&connection->push) == 0;
}

/* `pattern` without data: none. */
static void push(struct resp_connection *connection, const struct resp_message *message,
                 struct bytes pattern)
{
	static const char *const words[] = { "message", "pmessage", "smessage" };
	const char *word = words[pattern.data != NULL ? RESP_PATTERN : message->kind];
	bool direct = is_between_replies(connection);
	struct resp_out *out = direct ? &connection->out : &connection->push;

	if (connection->discards_output)
		return;
	put_header(out, connection->protocol == 3 ? '>' : '*', pattern.data != NULL ? 4 : 3);
	put_bulk(out, bytes_of(word, strlen(word)));
	if (pattern.data != NULL)
		put_bulk(out, pattern);
	put_bulk(out, message->channel);
	put_bulk(out, message->payload);
	if (cut_if_slow(connection))
		return;
	if (direct)
		connection->out_ready = resp_out_size(&connection->out);
	connection->server->stats.delivered++;
	resp_connection_ready(connection);
}

void resp_push_flush(struct resp_connection *connection)
{
	const struct resp_call *head = STAILQ_FIRST(&connection->calls);

	if (connection->discards_output || (head != NULL && head->streams))
		return;
	resp_out_append(&connection->out, &connection->push);
	resp_out_fini(&connection->push);
	connection->out_ready = resp_out_size(&connection->out);
	cut_if_slow(connection);
}

uint32_t resp_deliver(struct resp_server *server, const struct resp_message *message)
{
	struct resp_pubsub *pubsub = server->pubsub;
	struct resp_subscription *listener;
	struct topic *topic = *topic_place(pubsub, message->kind, message->channel);
	uint32_t count = 0;

	if (topic != NULL) {
		LIST_FOREACH(listener, &topic->listeners, of_topic)
		push(listener->connection, message, bytes_of(NULL, 0));
		count += topic->listener_count;
	}
	topic = message->kind == RESP_CHANNEL ? pubsub->patterns : NULL;
	for (; topic != NULL; topic = topic->next) {
		if (!glob_match(name_of(topic), message->channel, false))
			continue;
		LIST_FOREACH(listener, &topic->listeners, of_topic)
		push(listener->connection, message, name_of(topic));
		count += topic->listener_count;
	}
	return count;
}

/* Telling. */

static void tell(const struct topic *topic, struct resp_topic_facts *facts)
{
	*facts = (struct resp_topic_facts){ .kind = topic->kind,
		                            .name = name_of(topic),
		                            .listeners = topic->listener_count };
}

bool resp_topic_at(const struct resp_server *server, uint32_t index,
                   struct resp_topic_facts *ret_facts)
{
	const struct resp_pubsub *pubsub = server->pubsub;

	if (index >= pubsub->topics_made)
		return false;
	tell(&pubsub->topics[index], ret_facts);
	if (ret_facts->listeners == 0)
		ret_facts->kind = RESP_TOPIC_KINDS;
	return true;
}

bool resp_topic_find(const struct resp_server *server, enum resp_topic_kind kind, struct bytes name,
                     struct resp_topic_facts *ret_facts)
{
	const struct topic *topic = *topic_place(server->pubsub, kind, name);

	if (topic != NULL)
		tell(topic, ret_facts);
	return topic != NULL;
}

size_t resp_subscription_memory(void)
{
	return sizeof(struct topic) + sizeof(struct resp_subscription);
}

size_t resp_pubsub_memory(void)
{
	return sizeof(struct resp_pubsub) + SUBSCRIPTIONS_MIN * resp_subscription_memory();
}

enum status resp_pubsub_open(struct resp_server *server)
{
	struct resp_pubsub *pubsub = calloc(1, sizeof(*pubsub));

	if (pubsub == NULL)
		return STATUS_NO_SPACE;
	pubsub->max = server->connections_max > SUBSCRIPTIONS_MIN ? server->connections_max
	                                                          : SUBSCRIPTIONS_MIN;
	pubsub->topics = calloc(pubsub->max, sizeof(*pubsub->topics));
	pubsub->subscriptions = calloc(pubsub->max, sizeof(*pubsub->subscriptions));
	server->pubsub = pubsub;
	if (pubsub->topics != NULL && pubsub->subscriptions != NULL)
		return STATUS_OK;
	resp_pubsub_close(server);
	return STATUS_NO_SPACE;
}

void resp_pubsub_close(struct resp_server *server)
{
	free(server->pubsub->topics);
	free(server->pubsub->subscriptions);
	free(server->pubsub);
	server->pubsub = NULL;
}
