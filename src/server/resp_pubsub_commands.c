/* SPDX-License-Identifier: Apache-2.0 */
/* SUBSCRIBE and its kin, PUBLISH, PUBSUB. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/glob.h"
#include "server/resp_admin_internal.h"
#include "server/resp_txn.h"

/* Listening. */

static uint32_t count_told(const struct resp_connection *connection, enum resp_topic_kind kind)
{
	const uint32_t *counts = connection->subscription_counts;

	return kind == RESP_SHARD_CHANNEL ? counts[RESP_SHARD_CHANNEL]
	                                  : counts[RESP_CHANNEL] + counts[RESP_PATTERN];
}

static enum resp_topic_kind kind_of(const struct resp_call *call)
{
	switch (call->command->name[0]) {
	case 'p':
		return strcmp(call->command->name, "publish") == 0 ? RESP_CHANNEL : RESP_PATTERN;
	case 's':
		return strcmp(call->command->name, "subscribe") == 0 ? RESP_CHANNEL
		                                                     : RESP_SHARD_CHANNEL;
	default:
		unreachable();
	}
}

static void subscribe_run(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	enum resp_topic_kind kind = kind_of(call);

	for (uint32_t i = 1; i < call->argc; i++) {
		if (!resp_subscribe(connection, kind, call->argv[i])) {
			resp_reply_error(call, "OOM no memory for more subscriptions");
			return;
		}
		resp_reply_push(call, 3);
		resp_reply_text(call, call->command->name);
		resp_reply_bulk(call, call->argv[i]);
		resp_reply_i64(call, count_told(connection, kind));
	}
}

static void reply_unsubscribed(struct resp_call *call, enum resp_topic_kind kind, struct bytes name,
                               bool is_null)
{
	resp_reply_push(call, 3);
	resp_reply_text(call, call->command->name);
	if (is_null)
		resp_reply_null(call);
	else
		resp_reply_bulk(call, name);
	resp_reply_i64(call, count_told(call->connection, kind));
}

static void unsubscribe(struct resp_call *call, enum resp_topic_kind kind)
{
	struct resp_connection *connection = call->connection;
	struct bytes name;

	for (uint32_t i = 1; i < call->argc; i++) {
		resp_unsubscribe(connection, kind, call->argv[i]);
		reply_unsubscribed(call, kind, call->argv[i], false);
	}
	if (call->argc > 1)
		return;
	if (connection->subscription_counts[kind] == 0)
		reply_unsubscribed(call, kind, bytes_of(NULL, 0), true);
	while (resp_subscription_first(connection, kind, &name)) {
		uint8_t copy[KV_KEY_MAX];
		struct bytes told = bytes_of(copy, name.size < KV_KEY_MAX ? name.size : KV_KEY_MAX);

		memcpy(copy, name.data, told.size); /* a topic without listeners is gone */
		resp_unsubscribe(connection, kind, name);
		reply_unsubscribed(call, kind, told, false);
	}
}

static void unsubscribe_run(struct resp_call *call)
{
	unsubscribe(call, RESP_CHANNEL);
}

static void punsubscribe_run(struct resp_call *call)
{
	unsubscribe(call, RESP_PATTERN);
}

static void sunsubscribe_run(struct resp_call *call)
{
	unsubscribe(call, RESP_SHARD_CHANNEL);
}

/* PUBLISH. */

struct publish_work {
	struct resp_publish publish;
	struct resp_message message;
};

struct count_state {
	struct admin_tour tour;
	struct resp_message *message;
};

static void publish_done(struct resp_call *call)
{
	/* It lies in front of the message that it was published with. */
	const struct publish_work *work = (const void *)call->value.data;

	resp_reply_i64(call, (int64_t)work->publish.receivers);
	resp_call_done(call);
}

/* In a transaction: who would get it now. It is sent when the transaction is committed. */
static uint64_t count_receivers(const struct resp_server *server,
                                const struct resp_message *message)
{
	struct resp_topic_facts facts;
	uint64_t count = 0;

	if (resp_topic_find(server, message->kind, message->channel, &facts))
		count += facts.listeners;
	for (uint32_t i = 0; message->kind == RESP_CHANNEL && resp_topic_at(server, i, &facts);
	     i++) {
		if (facts.kind == RESP_PATTERN && glob_match(facts.name, message->channel, false))
			count += facts.listeners;
	}
	return count;
}

static void count_step(struct resp_call *call, struct resp_admin *admin)
{
	struct count_state *state = RESP_STATE(call, struct count_state);

	state->tour.count += count_receivers(admin->server, state->message);
}

static void count_home(struct resp_call *call)
{
	struct count_state *state = RESP_STATE(call, struct count_state);

	txn_message(call->txn, state->message);
	resp_reply_i64(call, (int64_t)state->tour.count);
}

static void publish_start(struct resp_call *call)
{
	struct publish_work *work = resp_call_memory(call, sizeof(*work));

	if (work == NULL) {
		resp_reply_error(call, "OOM no memory for this command");
		resp_call_done(call);
		return;
	}
	*work = (struct publish_work){
		.message = { .kind = kind_of(call),
		             .channel = call->argv[1],
		             .payload = call->argv[2] },
	};
	work->publish.messages = &work->message;
	work->publish.count = 1;
	if (call->txn == NULL) {
		call->value = bytes_of(work, sizeof(*work));
		resp_publish(call, &work->publish, publish_done);
		return;
	}
	if (call->server->admin != NULL) {
		RESP_STATE(call, struct count_state)->message = &work->message;
		admin_tour_start(call, count_step, count_home);
		return;
	}
	txn_message(call->txn, &work->message);
	resp_reply_i64(call, (int64_t)count_receivers(call->server, &work->message));
	resp_call_done(call);
}

/* PUBSUB: of all workers, gathered as records; a name that several have is told once. */

struct topic_record {
	uint32_t name_size;
	uint32_t listeners;
};

struct topics_state {
	struct admin_tour tour;
	uint8_t kind;
	bool counts; /* NUMSUB: of the words; else all, by the pattern */
};

static bool put_topic(struct admin_tour *tour, const struct resp_topic_facts *facts)
{
	struct topic_record record = { (uint32_t)facts->name.size, facts->listeners };
	uint8_t room[sizeof(record) + KV_KEY_MAX];

	if (record.name_size > KV_KEY_MAX)
		record.name_size = KV_KEY_MAX;
	memcpy(room, &record, sizeof(record));
	memcpy(room + sizeof(record), facts->name.data, record.name_size);
	return admin_tour_text(tour, room, sizeof(record) + record.name_size);
}

static void topics_step(struct resp_call *call, struct resp_admin *admin)
{
	struct topics_state *state = RESP_STATE(call, struct topics_state);
	struct resp_topic_facts facts;

	for (; resp_topic_at(admin->server, (uint32_t)state->tour.cursor, &facts);
	     state->tour.cursor++) {
		if (facts.kind != state->kind)
			continue;
		if (call->argc > 2 && !glob_match(call->argv[2], facts.name, false))
			continue;
		if (!put_topic(&state->tour, &facts)) {
			state->tour.again = true;
			return;
		}
	}
	state->tour.cursor = 0;
}

/* The next record; false: there are no more. Zeros: the start. */
struct topic_place {
	const struct admin_page *page;
	uint32_t at;
};

static bool next_topic(const struct admin_tour *tour, struct topic_place *place,
                       struct bytes *ret_name)
{
	struct topic_record record;

	if (place->page == NULL)
		place->page = tour->pages;
	while (place->at == place->page->used) {
		if (place->page->next == NULL)
			return false;
		place->page = place->page->next;
		place->at = 0;
	}
	memcpy(&record, place->page->data + place->at, sizeof(record));
	*ret_name = bytes_of(place->page->data + place->at + sizeof(record), record.name_size);
	place->at += (uint32_t)sizeof(record) + record.name_size;
	return true;
}

/* Whether an earlier record has that name: another worker's. */
static bool is_told(const struct admin_tour *tour, struct bytes name)
{
	struct topic_place place = { NULL, 0 };
	struct bytes other;

	while (next_topic(tour, &place, &other) && other.data != name.data) {
		if (bytes_equal(other, name))
			return true;
	}
	return false;
}

static void channels_home(struct resp_call *call)
{
	struct topics_state *state = RESP_STATE(call, struct topics_state);
	bool several = admin_of(call)->server_count > 1;
	struct topic_place place = { NULL, 0 };
	struct bytes name;
	uint64_t count = 0;

	while (next_topic(&state->tour, &place, &name))
		count += !several || !is_told(&state->tour, name);
	if (state->kind == RESP_PATTERN) {
		resp_reply_i64(call, (int64_t)count);
	} else {
		resp_reply_array(call, count);
		place = (struct topic_place){ NULL, 0 };
		while (next_topic(&state->tour, &place, &name)) {
			if (!several || !is_told(&state->tour, name))
				resp_reply_bulk(call, name);
		}
	}
	admin_tour_pages_free(&state->tour);
}

static void topics_start(struct resp_call *call, enum resp_topic_kind kind)
{
	struct topics_state *state = RESP_STATE(call, struct topics_state);

	state->kind = (uint8_t)kind;
	if (admin_tour_pages(call, 0))
		admin_tour_start(call, topics_step, channels_home);
	else
		resp_call_done(call);
}

static void channels_start(struct resp_call *call)
{
	if (call->argc > 3) {
		resp_reply_syntax_error(call);
		resp_call_done(call);
		return;
	}
	topics_start(call, call->command->name[7] == 's' ? RESP_SHARD_CHANNEL : RESP_CHANNEL);
}

static void numpat_start(struct resp_call *call)
{
	topics_start(call, RESP_PATTERN);
}

/* The counts lie in the first page, one per word. */
static void numsub_step(struct resp_call *call, struct resp_admin *admin)
{
	struct topics_state *state = RESP_STATE(call, struct topics_state);
	uint64_t *counts = (uint64_t *)(void *)state->tour.pages->data;
	struct resp_topic_facts facts;

	for (uint32_t i = 2; i < call->argc; i++) {
		if (resp_topic_find(admin->server, (enum resp_topic_kind)state->kind, call->argv[i],
		                    &facts))
			counts[i - 2] += facts.listeners;
	}
}

static void numsub_home(struct resp_call *call)
{
	struct topics_state *state = RESP_STATE(call, struct topics_state);
	const uint64_t *counts = (const uint64_t *)(const void *)state->tour.pages->data;

	resp_reply_array(call, 2 * (uint64_t)(call->argc - 2));
	for (uint32_t i = 2; i < call->argc; i++) {
		resp_reply_bulk(call, call->argv[i]);
		resp_reply_i64(call, (int64_t)counts[i - 2]);
	}
	admin_tour_pages_free(&state->tour);
}

static void numsub_start(struct resp_call *call)
{
	struct topics_state *state = RESP_STATE(call, struct topics_state);
	size_t size = call->argc * sizeof(uint64_t);

	state->kind = call->command->name[7] == 's' ? RESP_SHARD_CHANNEL : RESP_CHANNEL;
	if (!admin_tour_pages(call, sizeof(struct admin_page) + size)) {
		resp_call_done(call);
		return;
	}
	memset(state->tour.pages->data, 0, size);
	admin_tour_start(call, numsub_step, numsub_home);
}

static void help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"CHANNELS [<pattern>]",
		"    Return the currently active channels matching a <pattern> (default: '*').",
		"NUMPAT",
		"    Return number of subscriptions to patterns.",
		"NUMSUB [<channel> ...]",
		"    Return the number of subscribers for the specified channels, excluding",
		"    pattern subscriptions(default: no channels).",
		"SHARDCHANNELS [<pattern>]",
		"    Return the currently active shard level channels matching a <pattern> "
		"(default: "
		"'*').",
		"SHARDNUMSUB [<shardchannel> ...]",
		"    Return the number of subscribers for the specified shard level channel(s)",
	};

	admin_reply_help(call, "PUBSUB", lines, array_count(lines));
}

enum {
	LISTEN = RESP_PUBSUB | RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_SUBSCRIBED,
	PUBLISH = RESP_PUBSUB | RESP_LOADING | RESP_STALE | RESP_FAST,
	TELL = RESP_PUBSUB | RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
};

// clang-format off
static const struct resp_command pubsub_rows[] = {
	{ .name = "pubsub|channels", .arity = -2, .flags = TELL, .start = channels_start },
	{ .name = "pubsub|help", .arity = 2, .flags = RESP_LOADING | RESP_STALE,
	  .run = help_run },
	{ .name = "pubsub|numpat", .arity = 2, .flags = TELL, .start = numpat_start },
	{ .name = "pubsub|numsub", .arity = -2, .flags = TELL, .start = numsub_start },
	{ .name = "pubsub|shardchannels", .arity = -2, .flags = TELL, .start = channels_start },
	{ .name = "pubsub|shardnumsub", .arity = -2, .flags = TELL, .start = numsub_start },
};

static const struct resp_command commands[] = {
	{ .name = "psubscribe", .arity = -2, .flags = LISTEN, .run = subscribe_run },
	{ .name = "publish", .arity = 3, .flags = PUBLISH, .start = publish_start },
	{ .name = "pubsub", .arity = -2, .subcommands = pubsub_rows,
	  .subcommand_count = array_count(pubsub_rows) },
	{ .name = "punsubscribe", .arity = -1, .flags = LISTEN, .run = punsubscribe_run },
	{ .name = "spublish", .arity = 3, .flags = PUBLISH, .start = publish_start },
	{ .name = "ssubscribe", .arity = -2, .flags = LISTEN, .run = subscribe_run },
	{ .name = "subscribe", .arity = -2, .flags = LISTEN, .run = subscribe_run },
	{ .name = "sunsubscribe", .arity = -1, .flags = LISTEN, .run = sunsubscribe_run },
	{ .name = "unsubscribe", .arity = -1, .flags = LISTEN, .run = unsubscribe_run },
};
// clang-format on

const struct resp_table resp_pubsub_table = { commands, array_count(commands) };
