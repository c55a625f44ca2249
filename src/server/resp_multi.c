/* SPDX-License-Identifier: Apache-2.0 */
/* MULTI and its kin: what is queued until EXEC, and what is watched. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

enum { WATCHES_MAX = 16384 };

/* The queue. */

/* Memory that lives as long as the queue; NULL: none. */
static void *queue_memory(struct resp_server *server, struct resp_segment **memory, size_t size)
{
	struct resp_segment *segment = *memory;
	uint8_t *taken;

	size = align_up(size, 16);
	if (size > RESP_ARGUMENT_MAX)
		return NULL;
	if (segment == NULL || segment->size - segment->used < size) {
		segment = resp_segment_get(server->bufs, size);
		if (segment == NULL)
			return NULL;
		segment->next = *memory;
		*memory = segment;
	}
	taken = segment->data + segment->used;
	segment->used += (uint32_t)size;
	return taken;
}

bool resp_multi_queue(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	struct resp_multi *multi = connection->multi;
	struct resp_queued *queued;
	size_t size = sizeof(*queued) + call->argc * sizeof(struct bytes);
	uint8_t *at;

	for (uint32_t i = 0; i < call->argc; i++)
		size += call->argv[i].size + 1;
	queued = multi->size + size <= call->server->settings.multi_max
	                 ? queue_memory(call->server, &multi->memory, size)
	                 : NULL;
	if (queued == NULL) {
		connection->flags |= RESP_CONNECTION_DIRTY_EXEC;
		resp_reply_error(call, "OOM no memory for more commands in this transaction");
		return false;
	}
	*queued = (struct resp_queued){
		.command = call->command,
		.command_index = call->command_index,
		.argc = call->argc,
	};
	at = (uint8_t *)&queued->argv[call->argc];
	for (uint32_t i = 0; i < call->argc; i++) {
		struct bytes word = call->argv[i];

		at++; /* for the byte that makes a key of it */
		queued->argv[i] = bytes_of(at, word.size);
		if (word.size > 0)
			memcpy(at, word.data, word.size);
		at += word.size;
	}
	*multi->last = queued;
	multi->last = &queued->next;
	multi->size += size;
	multi->count++;
	multi->flags |= call->command->flags;
	return true;
}

void resp_multi_discard(struct resp_connection *connection)
{
	struct resp_multi *multi = connection->multi;

	connection->multi = NULL;
	connection->flags &= ~(uint32_t)(RESP_CONNECTION_MULTI | RESP_CONNECTION_DIRTY_EXEC);
	if (multi != NULL)
		resp_segments_free(multi->memory); /* it lies in there itself */
}

static void multi_run(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	struct resp_segment *memory = NULL;
	struct resp_multi *multi;

	if (connection->flags & RESP_CONNECTION_MULTI) {
		resp_reply_error(call, "ERR MULTI calls can not be nested");
		return;
	}
	assert(connection->multi == NULL);
	multi = queue_memory(call->server, &memory, sizeof(*multi));
	if (multi == NULL) {
		resp_reply_error(call, "OOM no memory for a transaction");
		return;
	}
	*multi = (struct resp_multi){ .memory = memory };
	multi->last = &multi->first;
	connection->multi = multi;
	connection->flags |= RESP_CONNECTION_MULTI;
	resp_reply_ok(call);
}

static void discard_run(struct resp_call *call)
{
	if (!(call->connection->flags & RESP_CONNECTION_MULTI)) {
		resp_reply_error(call, "ERR DISCARD without MULTI");
		return;
	}
	resp_multi_discard(call->connection);
	resp_watch_clear(call->connection);
	resp_reply_ok(call);
}

static void exec_start(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;

	if (!(connection->flags & RESP_CONNECTION_MULTI)) {
		resp_reply_error(call, "ERR EXEC without MULTI");
		resp_call_done(call);
		return;
	}
	if (connection->flags & RESP_CONNECTION_DIRTY_EXEC) {
		resp_multi_discard(connection);
		resp_watch_clear(connection);
		resp_reply_error(call, "EXECABORT Transaction discarded because of previous "
		                       "errors.");
		resp_call_done(call);
		return;
	}
	if ((connection->multi->flags & RESP_DENYOOM) && resp_is_out_of_memory(call->server)) {
		resp_multi_discard(connection);
		resp_watch_clear(connection);
		resp_reply_error(call,
		                 "EXECABORT Transaction discarded because of: OOM command not "
		                 "allowed when used memory > 'maxmemory'.");
		resp_call_done(call);
		return;
	}
	connection->flags &= ~(uint32_t)RESP_CONNECTION_MULTI;
	call->in_exec = true;
	resp_txn_start(call);
}

/* Watched keys. */

void resp_watch_clear(struct resp_connection *connection)
{
	struct resp_segment *memory = connection->watch_memory;

	connection->watch = NULL;
	connection->watch_memory = NULL;
	connection->watch_count = 0;
	resp_segments_free(memory);
}

struct watch_state {
	uint32_t index; /* of the argument that is looked up */
};

static void watch_next(struct resp_call *call);

static void watch_looked(struct resp_call *call)
{
	struct watch_state *state = RESP_STATE(call, struct watch_state);
	struct resp_connection *connection = call->connection;
	struct resp_watch *watch;
	struct bytes key;

	if (call->req.status != STATUS_OK) {
		resp_reply_status(call, call->req.status);
		resp_call_done(call);
		return;
	}
	if (!resp_call_key(call, state->index, &key))
		unreachable(); /* it was looked up */
	watch = connection->watch_count < WATCHES_MAX
	                ? queue_memory(call->server, &connection->watch_memory,
	                               sizeof(*watch) + key.size)
	                : NULL;
	if (watch == NULL) {
		resp_reply_error(call, "OOM no memory for more watched keys");
		resp_call_done(call);
		return;
	}
	memcpy(watch + 1, key.data, key.size);
	*watch = (struct resp_watch){
		.next = connection->watch,
		.key = bytes_of(watch + 1, key.size),
		.version = call->req.result,
	};
	connection->watch = watch;
	connection->watch_count++;
	state->index++;
	watch_next(call);
}

static bool is_watched(const struct resp_connection *connection, struct bytes key)
{
	const struct resp_watch *watch = connection->watch;

	while (watch != NULL && !bytes_equal(watch->key, key))
		watch = watch->next;
	return watch != NULL;
}

static void watch_next(struct resp_call *call)
{
	struct watch_state *state = RESP_STATE(call, struct watch_state);
	struct kv_cmd cmd = { .op = KV_GET };

	for (; state->index < call->argc; state->index++) {
		if (!resp_call_key(call, state->index, &cmd.key)) {
			resp_call_done(call);
			return;
		}
		/* What was seen first counts. */
		if (is_watched(call->connection, cmd.key))
			continue;
		resp_call_submit(call, &cmd, watch_looked);
		return;
	}
	resp_reply_ok(call);
	resp_call_done(call);
}

static void watch_start(struct resp_call *call)
{
	if (call->connection->flags & RESP_CONNECTION_MULTI) {
		resp_reply_error(call, "ERR WATCH inside MULTI is not allowed");
		resp_call_done(call);
		return;
	}
	RESP_STATE(call, struct watch_state)->index = 1;
	watch_next(call);
}

/* Inside EXEC it is too late to unwatch, and after it nothing is watched any more. */
static void unwatch_run(struct resp_call *call)
{
	if (!call->in_exec)
		resp_watch_clear(call->connection);
	resp_reply_ok(call);
}

enum {
	FLAGS = RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_FAST,
	ACL = RESP_ACL_FAST | RESP_ACL_TRANSACTION,
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "multi", .arity = 1, .flags = FLAGS | RESP_UNQUEUED, .acl = ACL,
	  .run = multi_run },
	{ .name = "exec", .arity = 1,
	  .flags = RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_SKIP_SLOWLOG | RESP_UNQUEUED,
	  .acl = RESP_ACL_SLOW | RESP_ACL_TRANSACTION, .start = exec_start },
	{ .name = "discard", .arity = 1, .flags = FLAGS | RESP_UNQUEUED, .acl = ACL,
	  .run = discard_run },
	{ .name = "watch", .arity = -2, .key_first = 1, .key_last = -1, .key_step = 1,
	  .flags = FLAGS | RESP_UNQUEUED, .acl = ACL, .start = watch_start },
	{ .name = "unwatch", .arity = 1, .flags = FLAGS, .acl = ACL, .run = unwatch_run },
};
// clang-format on

const struct resp_table resp_multi_table = { commands, array_count(commands) };
