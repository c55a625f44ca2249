/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call of the RESP face from its first argument to its reply. Calls of a connection start in
 * order and reply in order; between, commands of one key overlap, and the store keeps the order of
 * those that meet at a key.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_internal.h"

struct call_frame {
	struct frame frame;
};

enum {
	KEY_MASK_BITS = 256,
	ARGUMENT_SLACK = 1, /* the byte in front of each, which makes a key of it */
	RETRIES_MAX = 8,
};

static void call_visited(struct req *req);

static struct resp_call *call_make(struct resp_server *server)
{
	struct resp_call *call = &server->calls[server->calls_made];

	assert(server->calls_made < server->calls_max);
	server->calls_made++;
	call->server = server;
	req_init(&call->req, server->worker);
	return call;
}

struct resp_call *resp_call_get(struct resp_connection *connection)
{
	struct resp_server *server = connection->server;
	struct resp_call *call = STAILQ_FIRST(&server->calls_free);

	if (!resp_calls_are_left(server))
		return NULL;
	if (call == NULL) {
		call = call_make(server);
	} else {
		STAILQ_REMOVE_HEAD(&server->calls_free, link);
		/* The next one is likely wanted soon, and may have gone from the cache. */
		__builtin_prefetch(STAILQ_FIRST(&server->calls_free), 1);
	}
	if (++server->calls_used > server->calls_used_max)
		server->calls_used_max = server->calls_used;
	assert(call->phase == RESP_CALL_FREE);
	call->phase = RESP_CALL_READING;
	call->connection = connection;
	call->command = NULL;
	call->argc = 0;
	call->argv = call->arguments;
	call->memory_used = 0;
	call->failed = false;
	call->hits = 0;
	call->misses = 0;
	call->again = false;
	call->blob = false;
	call->in_exec = false;
	call->discarded = false;
	call->changed = false;
	call->event_count = 0;
	call->notify = 0;
	call->streams = false;
	call->kv_flags = 0;
	call->value.size = 0;
	call->error_text = NULL;
	call->txn = NULL;
	call->upload = NULL;
	return call;
}

void resp_call_free(struct resp_call *call)
{
	struct resp_server *server = call->server;

	assert(call->phase != RESP_CALL_FREE);
	if (call->storage != NULL) {
		resp_segments_free(call->storage);
		call->storage = NULL;
	}
	if (call->large)
		resp_large_free(call);
	if (call->upload != NULL)
		resp_upload_release(call);
	call->phase = RESP_CALL_FREE;
	call->connection = NULL;
	server->calls_used--;
	STAILQ_INSERT_HEAD(&server->calls_free, call, link);
}

/* Arguments. */

void *resp_call_memory(struct resp_call *call, size_t size)
{
	struct resp_segment *segment = call->storage;
	void *memory;

	if (segment == NULL || segment->size - segment->used < size) {
		segment = resp_segment_get(call->server->bufs, size);
		if (segment == NULL)
			return NULL;
		segment->next = call->storage;
		call->storage = segment;
	}
	memory = segment->data + segment->used;
	segment->used += (uint32_t)align_up(size, 16);
	if (segment->used > segment->size)
		segment->used = segment->size;
	return memory;
}

void resp_call_discard(struct resp_call *call, const char *error_text)
{
	call->discarded = true;
	if (call->error_text == NULL)
		call->error_text = error_text;
}

void resp_call_begin(struct resp_call *call, uint64_t count)
{
	if (count <= RESP_CALL_ARGUMENTS)
		return;
	if (count > RESP_ARGUMENTS_MAX) {
		resp_call_discard(call, "ERR too many arguments");
		return;
	}
	call->argv = resp_call_memory(call, count * sizeof(*call->argv));
	if (call->argv == NULL) {
		call->argv = call->arguments;
		resp_call_discard(call, "OOM no memory for the arguments of this command");
	}
}

/* Memory for the next argument, which becomes argv[argc]; NULL: discarded. */
static uint8_t *argument_take(struct resp_call *call, size_t size)
{
	uint8_t *memory;

	if (call->discarded)
		return NULL;
	if (size + ARGUMENT_SLACK <= RESP_CALL_MEMORY - call->memory_used) {
		memory = &call->memory[call->memory_used];
		call->memory_used += (uint32_t)size + ARGUMENT_SLACK;
	} else {
		memory = size + ARGUMENT_SLACK <= RESP_ARGUMENT_MAX
		                 ? resp_call_memory(call, size + ARGUMENT_SLACK)
		                 : resp_large_take(call, size + ARGUMENT_SLACK);
		if (memory == NULL) {
			resp_call_discard(call, "OOM no memory for the arguments of this command");
			return NULL;
		}
	}
	memory += ARGUMENT_SLACK;
	call->argv[call->argc++] = bytes_of(memory, size);
	return memory;
}

void resp_call_argument(struct resp_call *call, struct bytes data)
{
	uint8_t *memory = argument_take(call, data.size);

	if (memory != NULL && data.size > 0)
		memcpy(memory, data.data, data.size);
}

/* The size of an argument that comes in pieces is what has come of it. */
void resp_call_bulk(struct resp_call *call, uint64_t size)
{
	if (argument_take(call, size) != NULL)
		call->argv[call->argc - 1].size = 0;
}

void resp_call_piece(struct resp_call *call, struct bytes data, bool last)
{
	struct bytes *argument;

	(void)last;
	if (call->discarded)
		return;
	argument = &call->argv[call->argc - 1];
	memcpy((uint8_t *)(uintptr_t)argument->data + argument->size, data.data, data.size);
	argument->size += data.size;
}

bool resp_call_key_in(struct resp_call *call, uint32_t index, uint8_t db, struct bytes *ret_key)
{
	struct bytes word;
	uint8_t *start;

	assert(index < call->argc);
	assert(db < RESP_DATABASES);
	word = call->argv[index];
	if (word.size > RESP_KEY_MAX) {
		resp_reply_error(call, "ERR key is longer than the 1023 byte limit");
		return false;
	}
	start = (uint8_t *)(uintptr_t)word.data - ARGUMENT_SLACK;
	*start = (uint8_t)(KV_SPACE_REDIS + db);
	*ret_key = bytes_of(start, word.size + ARGUMENT_SLACK);
	return true;
}

bool resp_call_key(struct resp_call *call, uint32_t index, struct bytes *ret_key)
{
	return resp_call_key_in(call, index, call->db, ret_key);
}

bool resp_argument_i64(struct resp_call *call, uint32_t index, int64_t *ret_value)
{
	assert(index < call->argc);
	if (number_parse_int64(call->argv[index], ret_value))
		return true;
	resp_reply_error(call, "ERR value is not an integer or out of range");
	return false;
}

/* Commands. */

static void reply_unknown(struct resp_call *call)
{
	char words[160];
	size_t used = 0;

	words[0] = '\0';
	for (uint32_t i = 1; i < call->argc && used < 128; i++) {
		int room = 128 - (int)used;
		int size = call->argv[i].size < (size_t)room ? (int)call->argv[i].size : room;

		used += (size_t)snprintf(words + used, sizeof(words) - used, "'%.*s' ", size,
		                         (const char *)call->argv[i].data);
	}
	resp_reply_errorf(call, "ERR unknown command '%.*s', with args beginning with: %s",
	                  call->argv[0].size < 128 ? (int)call->argv[0].size : 128,
	                  (const char *)call->argv[0].data, words);
}

static bool resolve_subcommand(struct resp_call *call)
{
	const struct resp_command *parent = call->command;
	size_t prefix = strlen(parent->name) + 1;
	char upper[32];

	assert(prefix < sizeof(upper));
	for (uint32_t i = 0; i < parent->subcommand_count; i++) {
		const struct resp_command *row = &parent->subcommands[i];

		if (resp_word_is(call->argv[1], row->name + prefix)) {
			call->command = row;
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(upper); i++) /* the terminator, too */
		upper[i] = (char)(i < prefix - 1 ? parent->name[i] & ~0x20 : 0);
	resp_reply_errorf(call, "ERR unknown subcommand '%.*s'. Try %s HELP.",
	                  call->argv[1].size < 128 ? (int)call->argv[1].size : 128,
	                  (const char *)call->argv[1].data, upper);
	return false;
}

static bool check_arity(struct resp_call *call)
{
	int arity = call->command->arity;

	if (arity >= 0 ? call->argc == (uint32_t)arity : call->argc >= (uint32_t)-arity)
		return true;
	resp_reply_errorf(call, "ERR wrong number of arguments for '%s' command",
	                  call->command->name);
	return false;
}

bool resp_call_resolve(struct resp_call *call)
{
	call->command = resp_command_find(call->argv[0], &call->command_index);
	if (call->command == NULL) {
		reply_unknown(call);
		return false;
	}
	if (call->command->subcommands != NULL && call->argc > 1 && !resolve_subcommand(call))
		return false;
	return check_arity(call);
}

bool resp_is_out_of_memory(const struct resp_server *server)
{
	return server->settings.memory_max != 0 &&
	       server->bufs->used_size + (1 << 20) > server->settings.memory_max;
}

/* All that can be said against a call without running it. */
static bool call_is_allowed(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;

	if (call->error_text != NULL) {
		resp_reply_error(call, call->error_text);
		return false;
	}
	if (!resp_call_resolve(call))
		return false;
	connection->last_command = call->command;
	if ((connection->flags & RESP_CONNECTION_MULTI) && (call->command->flags & RESP_NO_MULTI)) {
		resp_reply_error(call, "ERR Command not allowed inside a transaction");
		return false;
	}
	if (resp_is_listening(connection) && connection->protocol == 2 &&
	    !(call->command->flags & RESP_SUBSCRIBED)) {
		resp_reply_errorf(call,
		                  "ERR Can't execute '%s': only (P|S)SUBSCRIBE / "
		                  "(P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
		                  "context",
		                  call->command->name);
		return false;
	}
	if ((call->command->flags & RESP_NEEDS_ADMIN) && call->server->admin == NULL) {
		resp_reply_error(call, "ERR this server has no administration");
		return false;
	}
	if (call->server->authorize != NULL && !call->server->authorize(call))
		return false;
	if ((call->command->flags & RESP_DENYOOM) && resp_is_out_of_memory(call->server)) {
		resp_reply_error(call, "OOM command not allowed when used memory > 'maxmemory'.");
		return false;
	}
	return true;
}

/* The output that the call writes to: at the head, the connection's. */
static void choose_out(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;

	if (STAILQ_FIRST(&connection->calls) == call && call->server->kv_is_local) {
		call->out = &connection->out;
	} else {
		resp_out_init(&call->reply, call->small_reply, RESP_CALL_REPLY,
		              call->server->kv_is_local ? call->server->bufs : NULL);
		call->out = &call->reply;
	}
	call->out->protocol = connection->protocol;
}

void resp_call_restart_reply(struct resp_call *call)
{
	if (call->out == &call->reply)
		resp_out_fini(&call->reply);
	else
		resp_out_truncate(call->out, call->connection->out_ready);
	resp_out_init(&call->reply, call->small_reply, RESP_CALL_REPLY, call->server->bufs);
	call->reply.protocol = call->connection->protocol;
	call->out = &call->reply;
	call->failed = false;
}

static void count_call(struct resp_call *call)
{
	struct resp_server *server = call->server;
	struct resp_command_stats *stats = &server->command_stats[call->command_index];
	uint64_t duration_ns = server->worker->now_ns - call->started_ns;

	metric_add(&server->stats.commands, 1);
	server->stats.hits += call->hits;
	server->stats.misses += call->misses;
	server->stats.changes += call->changed;
	if (call->failed)
		metric_add(&server->stats.errors, 1);
	if (server->observe != NULL)
		server->observe(call, duration_ns);
	if (call->command == NULL)
		return;
	if (call->phase == RESP_CALL_RUNNING) {
		metric_add(&stats->calls, 1);
		metric_add(&stats->failed, call->failed);
		stats->usec += duration_ns / 1000;
		histogram_add(&server->latencies[call->command_index], duration_ns);
	} else {
		metric_add(&stats->rejected, 1);
	}
}

/* CLIENT REPLY: what the connection does not want to hear is dropped when its turn comes. */
static bool reply_is_wanted(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	uint32_t flags = connection->flags;
	/* What a SUBSCRIBE answers are messages. */
	const uint32_t listens = RESP_PUBSUB | RESP_SUBSCRIBED;

	if (call->command != NULL && (call->command->flags & listens) == listens)
		return true;

	if (!(flags & (RESP_CONNECTION_REPLY_OFF | RESP_CONNECTION_REPLY_SKIP |
	               RESP_CONNECTION_REPLY_SKIP_NEXT)))
		return true;
	connection->flags &=
	        ~(uint32_t)(RESP_CONNECTION_REPLY_SKIP | RESP_CONNECTION_REPLY_SKIP_NEXT);
	if (flags & RESP_CONNECTION_REPLY_SKIP_NEXT)
		connection->flags |= RESP_CONNECTION_REPLY_SKIP;
	return !(flags & (RESP_CONNECTION_REPLY_OFF | RESP_CONNECTION_REPLY_SKIP));
}

static void reply_deliver(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;

	if (connection->discards_output) {
		if (call->out == &call->reply)
			resp_out_fini(&call->reply);
		return;
	}
	if (call->out == &call->reply) {
		if (reply_is_wanted(call))
			resp_out_append(&connection->out, &call->reply);
		resp_out_fini(&call->reply);
	} else if (!reply_is_wanted(call)) {
		resp_out_truncate(call->out, call->connection->out_ready);
	}
	connection->out_ready = resp_out_size(&connection->out);
	if (connection->out.full) {
		/* Not even a small buffer is left for it: the order of replies cannot be kept. */
		resp_connection_kill(connection);
	}
}

void resp_call_done(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;

	assert(call->phase == RESP_CALL_RUNNING || call->phase == RESP_CALL_WAITING);
	if (call->in_exec) {
		resp_txn_command_done(call);
		return;
	}
	if (call->out->full) {
		resp_call_restart_reply(call);
		resp_reply_error(call, "OOM no memory for the reply");
	}
	if (__builtin_expect(call->event_count > 0, 0)) {
		resp_events_publish(call);
		return;
	}
	count_call(call);
	if (call->phase == RESP_CALL_RUNNING) {
		assert(connection->running_count > 0);
		if (--connection->running_count == 0) {
			memset(connection->reads, 0, sizeof(connection->reads));
			memset(connection->slow_writes, 0, sizeof(connection->slow_writes));
			connection->exclusive = false;
		}
	}
	call->phase = RESP_CALL_DONE;
	while ((call = STAILQ_FIRST(&connection->calls)) != NULL && call->phase == RESP_CALL_DONE) {
		reply_deliver(call);
		STAILQ_REMOVE_HEAD(&connection->calls, link);
		connection->call_count--;
		resp_call_free(call);
		if (connection->push.first != NULL)
			resp_push_flush(connection);
	}
	resp_connection_ready(connection);
	if (call != NULL && call->streams)
		resp_blob_reply(call);
}

/* Keys of one visit. */

static uint64_t hash_key(struct bytes key)
{
	uint64_t hash = key.size, word;

	for (size_t at = 0; at + 8 <= key.size; at += 8) {
		memcpy(&word, key.data + at, 8);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	word = bytes_word(bytes_of(key.data + key.size - key.size % 8, key.size % 8));
	return (hash ^ word) * 0x9e3779b97f4a7c15ull >> 32;
}

static bool mask_has(const uint64_t *mask, uint64_t hash)
{
	return mask[hash / 64 % (KEY_MASK_BITS / 64)] & 1ull << hash % 64;
}

/*
 * A command of one key may take a second step: a value that does not fit, a blob. Until it is done,
 * nothing of the same connection that would be seen to overtake it may start.
 */
static bool key_is_free(struct resp_call *call, uint64_t hash)
{
	struct resp_connection *connection = call->connection;

	if (mask_has(connection->slow_writes, hash))
		return false;
	return (call->command->flags & RESP_READONLY) || !mask_has(connection->reads, hash);
}

static void key_use(struct resp_call *call, uint64_t hash)
{
	struct resp_connection *connection = call->connection;
	uint64_t bit = 1ull << hash % 64;
	unsigned word = hash / 64 % (KEY_MASK_BITS / 64);

	if (!(call->command->flags & RESP_LOADS))
		return;
	if (call->command->flags & RESP_READONLY)
		connection->reads[word] |= bit;
	else if (call->kv_op == KV_UPDATE || call->value.size > KV_INLINE_MAX)
		connection->slow_writes[word] |= bit;
}

void resp_call_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct resp_call *call = visitor;

	call->event_count = 0;
	call->hits = 0;
	call->misses = 0;
	call->visited_ns = call->req.worker->now_ns;
	call->command->visit(call, entry, edit);
	if (call->out->full || call->again || call->blob) {
		if (edit != NULL)
			edit->action = KV_KEEP;
		call->again = true;
		call->event_count = 0;
	}
	call->changed = edit != NULL && edit->action != KV_KEEP;
	if (call->changed && call->notify != 0 && entry->version == 0)
		resp_events_made(call, entry->expired, edit->action == KV_STORE);
}

static void visit_submit(struct resp_call *call, struct bytes key)
{
	struct kv_cmd cmd = {
		.op = call->kv_op,
		.kind = call->kind,
		.flags = call->kv_flags,
		.key = key,
	};

	if (call->kv_op == KV_PUT) {
		cmd.value = call->value;
		cmd.expires_ms = call->expires_ms;
	} else if (call->kv_op != KV_DELETE) {
		cmd.visit = resp_call_visit;
		cmd.visitor = call;
	}
	req_push(&call->req, struct call_frame, call_visited);
	kv_submit(call->server->kv, &call->req, &cmd);
}

/* A reply that did not fit gets the room it needs, and the visit is made again. */
static bool visit_again(struct resp_call *call)
{
	struct bytes key;
	uint64_t needed = call->out->needed + 64;

	if (call->blob || call->out->bufs != NULL || needed > RESP_ARGUMENT_MAX)
		return false;
	resp_call_restart_reply(call);
	call->again = false;
	if (resp_out_grow(&call->reply, needed) == NULL)
		return false;
	call->reply.bufs = NULL;
	call->connection->reply_guess = (uint32_t)needed;
	if (!resp_call_key(call, (uint32_t)call->command->key_first, &key))
		unreachable();
	visit_submit(call, key);
	return true;
}

/* Rooms that were much too large make the next ones smaller. */
static void guess_less(struct resp_call *call)
{
	uint32_t *guess = &call->connection->reply_guess;

	if (*guess > 0 && call->out->bufs == NULL && (call->command->flags & RESP_READONLY) &&
	    resp_out_size(call->out) < *guess / 2)
		*guess -= *guess / 8 + 1;
}

/* What the visit could not tell itself. */
static void notify_visited(struct resp_call *call)
{
	if (call->kv_op == KV_PUT)
		resp_notify_put(call, call->argv[call->command->key_first]);
	else if (call->kv_op == KV_DELETE && call->changed)
		resp_notify(call, RESP_EVENT_GENERIC, "del", call->argv[1]);
}

static void call_visited(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	enum status status = req->status;

	req_pop(req, struct call_frame);
	assert(call->phase == RESP_CALL_RUNNING);
	if (status == STATUS_OK && call->again) {
		if (call->blob) {
			resp_call_restart_reply(call);
			if (call->command->flags & RESP_STREAMS)
				resp_blob_start(call);
			else
				resp_txn_start(call);
			return;
		}
		if (visit_again(call))
			return;
		status = STATUS_NO_SPACE;
	}
	guess_less(call);
	if (status != STATUS_OK) {
		resp_call_restart_reply(call);
		call->event_count = 0;
		resp_reply_status(call, status);
	} else if (call->kv_op == KV_PUT) {
		call->changed = true;
		resp_reply_ok(call);
	} else if (call->kv_op == KV_DELETE) {
		call->changed = req->result > 0;
		resp_reply_i64(call, (int64_t)req->result);
	}
	if (call->notify != 0 && status == STATUS_OK)
		notify_visited(call);
	resp_call_done(call);
}

/* Starts. */

/*
 * A visit on another worker writes only where there is room beforehand: as much as the replies of
 * this connection needed lately, so that a second visit is the exception.
 */
static void reply_reserve(struct resp_call *call)
{
	uint32_t guess = call->connection->reply_guess;

	if (guess > RESP_CALL_REPLY && (call->command->flags & RESP_LOADS) && call->kv_op != KV_PUT)
		resp_out_grow(call->out, guess);
	call->out->full = false;
	call->out->bufs = NULL;
}

static void start_visit(struct resp_call *call)
{
	struct bytes key;

	call->kv_op = call->command->flags & RESP_WRITE ? KV_UPDATE : KV_GET;
	choose_out(call);
	call->out->bufs = call->server->bufs;
	if (!resp_call_key(call, (uint32_t)call->command->key_first, &key) ||
	    !call->command->prepare(call)) {
		resp_call_done(call);
		return;
	}
	if (call->upload != NULL) {
		resp_upload_store(call);
		return;
	}
	if (call->kv_op == KV_PUT && call->value.size > KV_INLINE_MAX) {
		key_use(call, call->key_hash);
		resp_txn_start(call);
		return;
	}
	if (!call->server->kv_is_local)
		reply_reserve(call);
	key_use(call, call->key_hash);
	visit_submit(call, key);
}

static void start_alone(struct resp_call *call)
{
	const struct resp_command *command = call->command;

	assert(STAILQ_FIRST(&call->connection->calls) == call);
	call->connection->exclusive = true;
	call->out = &call->connection->out;
	call->out->protocol = call->connection->protocol;
	if (command->run != NULL) {
		command->run(call);
		resp_call_done(call);
	} else if (command->start != NULL) {
		command->start(call);
	} else {
		resp_txn_start(call);
	}
}

static bool is_visit(const struct resp_call *call)
{
	return call->command->visit != NULL && (call->command->apply == NULL || call->argc == 2);
}

static bool is_paused(const struct resp_call *call)
{
	if (call->server->pause == RESP_PAUSE_WRITES)
		return (call->command->flags & RESP_WRITE) || resp_word_is(call->argv[0], "exec");
	return call->server->pause == RESP_PAUSE_ALL;
}

bool resp_call_try_start(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	const struct resp_command *command = call->command;

	assert(call->phase == RESP_CALL_WAITING);
	if (connection->exclusive || (call->server->pause != RESP_PAUSE_NONE && is_paused(call)))
		return false;
	if (is_visit(call)) {
		call->key_hash = hash_key(call->argv[command->key_first]);
		if (connection->running_count > 0 && !key_is_free(call, call->key_hash))
			return false;
	} else if (connection->running_count > 0) {
		return false;
	}
	call->phase = RESP_CALL_RUNNING;
	call->db = connection->db;
	call->wall_ms = call->server->worker->wall_ms;
	call->started_ns = call->server->worker->now_ns;
	call->visited_ns = call->started_ns;
	call->notify = call->server->settings.notify;
	connection->running_count++;
	if (is_visit(call))
		start_visit(call);
	else
		start_alone(call);
	return true;
}

static bool is_queued(const struct resp_call *call)
{
	return (call->connection->flags & RESP_CONNECTION_MULTI) &&
	       !(call->command->flags & RESP_UNQUEUED);
}

void resp_call_arrived(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;

	assert(call->phase == RESP_CALL_READING);
	call->phase = RESP_CALL_WAITING;
	call->arrived_ns = call->started_ns = call->server->worker->now_ns;
	STAILQ_INSERT_TAIL(&connection->calls, call, link);
	connection->call_count++;
	connection->command_count++;
	choose_out(call);
	call->out->bufs = call->server->bufs; /* until it starts, only this worker writes */
	if (!call_is_allowed(call)) {
		if (connection->flags & RESP_CONNECTION_MULTI)
			connection->flags |= RESP_CONNECTION_DIRTY_EXEC;
		resp_call_done(call);
	} else if (is_queued(call)) {
		if (resp_multi_queue(call))
			resp_reply_simple(call, "QUEUED");
		resp_call_done(call);
	} else if (!resp_call_try_start(call)) {
		assert(connection->waiting == NULL);
		connection->waiting = call;
	}
}

/* For start commands. */

static void call_submitted(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);

	req_pop(req, struct call_frame);
	call->next(call);
}

struct req *resp_call_request(struct resp_call *call, resp_next_fn *next)
{
	assert(call->phase == RESP_CALL_RUNNING);
	call->next = next;
	req_push(&call->req, struct call_frame, call_submitted);
	return &call->req;
}

void resp_call_submit(struct resp_call *call, const struct kv_cmd *cmd, resp_next_fn *next)
{
	kv_submit(call->server->kv, resp_call_request(call, next), cmd);
}
