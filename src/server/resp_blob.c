/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET and GETRANGE of values too large to be in memory: read piece by piece into the connection's
 * output, as fast as the client takes them. Starts when the call is the next to reply.
 */
#include "base/assert.h"
#include "server/resp_internal.h"

enum {
	PIECE = 60 << 10,       /* bytes; with its header it fits a buffer of 64 KiB */
	UNSENT_MAX = 4 * PIECE, /* bytes read ahead of the client */
};

struct blob_state {
	uint64_t handle, size;
	uint64_t offset, left; /* of what is to be replied */
	uint8_t kind;
};

static void blob_next(struct resp_call *call);

/* The prepared state of the command stays in front: a range is worked out when the size is known.
 */
static struct blob_state *state_of(struct resp_call *call)
{
	return (struct blob_state *)(void *)(call->state + RESP_STATE_SIZE -
	                                     sizeof(struct blob_state));
}

_Static_assert(sizeof(struct blob_state) + 16 <= RESP_STATE_SIZE, "behind a range");
_Static_assert((RESP_STATE_SIZE - sizeof(struct blob_state)) % 8 == 0, "aligned");

static void blob_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct blob_state *state = visitor;

	(void)edit;
	state->size = entry->size;
	state->kind = entry->kind;
}

static void blob_closed(struct resp_call *call)
{
	struct blob_state *state = state_of(call);

	/* The header has promised more than came: what is sent cannot be taken back. */
	if (state->left > 0)
		resp_connection_kill(call->connection);
	resp_call_done(call);
}

static void blob_close(struct resp_call *call)
{
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = state_of(call)->handle };

	resp_call_submit(call, &cmd, blob_closed);
}

static void blob_publish(struct resp_call *call)
{
	call->connection->out_ready = resp_out_size(call->out);
	resp_connection_ready(call->connection);
}

static void blob_read(struct resp_call *call)
{
	struct blob_state *state = state_of(call);

	call->connection->out_lent = false;
	if (call->req.status != STATUS_OK || call->req.result == 0 ||
	    call->req.result > state->left) {
		blob_close(call);
		return;
	}
	call->out->cursor += call->req.result;
	state->offset += call->req.result;
	state->left -= call->req.result;
	if (state->left == 0)
		resp_reply_raw(call, BYTES("\r\n"));
	blob_publish(call);
	blob_next(call);
}

static void blob_next(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	struct blob_state *state = state_of(call);
	struct kv_cmd cmd = {
		.op = KV_BLOB_READ,
		.handle = state->handle,
		.offset = state->offset,
	};

	if (state->left == 0 || connection->discards_output) {
		blob_close(call);
		return;
	}
	if (resp_out_size(call->out) - connection->out_sent > UNSENT_MAX) {
		connection->streaming = call; /* goes on when some of it was sent */
		return;
	}
	cmd.out_size = state->left < PIECE ? (uint32_t)state->left : PIECE;
	if (resp_out_grow(call->out, cmd.out_size) == NULL) {
		blob_close(call);
		return;
	}
	cmd.out = call->out->cursor;
	connection->out_lent = true;
	resp_call_submit(call, &cmd, blob_read);
}

void resp_blob_resume(struct resp_connection *connection)
{
	struct resp_call *call = connection->streaming;

	connection->streaming = NULL;
	blob_next(call);
}

static bool is_silent(const struct resp_connection *connection)
{
	return connection->flags & (RESP_CONNECTION_REPLY_OFF | RESP_CONNECTION_REPLY_SKIP);
}

static void blob_opened(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	struct blob_state *state = state_of(call);

	if (call->req.status != STATUS_OK) {
		resp_reply_status(call, call->req.status);
		resp_call_done(call);
		return;
	}
	/* Between the first look and this one, it may have become anything. */
	if (call->req.result == 0) {
		resp_reply_absent_string(call);
		resp_call_done(call);
		return;
	}
	state->handle = call->req.result;
	if (state->kind != RESP_STRING) {
		resp_reply_wrong_type(call);
		blob_close(call);
		return;
	}
	call->out = &connection->out;
	call->out->protocol = connection->protocol;
	if (!is_silent(connection) && !connection->discards_output) {
		resp_string_part(call, state->size, &state->offset, &state->left);
		resp_reply_bulk_header(call, state->left);
		if (state->left == 0)
			resp_reply_raw(call, BYTES("\r\n"));
		blob_publish(call);
	}
	blob_next(call);
}

void resp_blob_reply(struct resp_call *call)
{
	struct blob_state *state = state_of(call);
	struct kv_cmd cmd = { .op = KV_BLOB_OPEN, .visit = blob_visit, .visitor = state };

	assert(call->streams && STAILQ_FIRST(&call->connection->calls) == call);
	call->streams = false;
	*state = (struct blob_state){ .left = 0 };
	if (!resp_call_key(call, (uint32_t)call->command->key_first, &cmd.key))
		unreachable(); /* it was looked up */
	resp_call_submit(call, &cmd, blob_opened);
}

void resp_blob_start(struct resp_call *call)
{
	call->streams = true;
	if (STAILQ_FIRST(&call->connection->calls) == call)
		resp_blob_reply(call);
}
