/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values too large to be in memory on their way to the client: read piece by piece into the
 * connection's output, as fast as the client takes them. And GET and GETRANGE of one such value,
 * which start when the call is the next to reply.
 */
#include "base/assert.h"
#include "base/crc64.h"
#include "server/resp_txn.h"

enum {
	PIECE = 60 << 10,       /* bytes; with its header it fits a buffer of 64 KiB */
	UNSENT_MAX = 4 * PIECE, /* bytes read ahead of the client */
};

static void send_next(struct resp_call *call);

/* Sending. */

void resp_send_publish(struct resp_call *call)
{
	assert(call->out == &call->connection->out);
	call->connection->out_ready = resp_out_size(call->out);
	resp_connection_ready(call->connection);
}

static void send_was_read(struct resp_call *call)
{
	struct resp_send *send = call->send;
	uint64_t size = call->req.result;

	call->connection->out_lent = false;
	if (call->req.status != STATUS_OK || size == 0 || size > send->left) {
		send->next(call);
		return;
	}
	if (send->with_crc)
		send->crc = crc64(send->crc, bytes_of(call->out->cursor, size));
	call->out->cursor += size;
	send->offset += size;
	send->left -= size;
	resp_send_publish(call);
	send_next(call);
}

static void send_next(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	struct resp_send *send = call->send;
	struct kv_cmd cmd = {
		.op = KV_BLOB_READ,
		.handle = send->handle,
		.offset = send->offset,
	};

	if (send->left == 0 || connection->discards_output) {
		send->next(call);
		return;
	}
	if (resp_out_size(call->out) - connection->out_sent > UNSENT_MAX) {
		connection->streaming = call; /* goes on when some of it was sent */
		return;
	}
	cmd.out_size = send->left < PIECE ? (uint32_t)send->left : PIECE;
	if (resp_out_grow(call->out, cmd.out_size) == NULL) {
		send->next(call);
		return;
	}
	cmd.out = call->out->cursor;
	connection->out_lent = true;
	resp_call_submit(call, &cmd, send_was_read);
}

void resp_send_start(struct resp_call *call, struct resp_send *send)
{
	assert(STAILQ_FIRST(&call->connection->calls) == call);
	assert(call->out == &call->connection->out && call->connection->streaming == NULL);
	call->send = send;
	send_next(call);
}

void resp_send_resume(struct resp_connection *connection)
{
	struct resp_call *call = connection->streaming;

	connection->streaming = NULL;
	send_next(call);
}

/* GET and GETRANGE. */

struct blob_state {
	struct resp_send send;
	uint64_t size;
	uint8_t kind;
};

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
	/* The header has promised more than came: what is sent cannot be taken back. */
	if (state_of(call)->send.left > 0)
		resp_connection_kill(call->connection);
	resp_call_done(call);
}

static void blob_close(struct resp_call *call)
{
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = state_of(call)->send.handle };

	resp_call_submit(call, &cmd, blob_closed);
}

static void blob_sent(struct resp_call *call)
{
	if (state_of(call)->send.left == 0) {
		resp_reply_raw(call, BYTES("\r\n"));
		resp_send_publish(call);
	}
	blob_close(call);
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
	state->send.handle = call->req.result;
	if (state->kind != RESP_STRING) {
		resp_reply_wrong_type(call);
		blob_close(call);
		return;
	}
	call->out = &connection->out;
	call->out->protocol = connection->protocol;
	if (resp_is_silent(connection) || connection->discards_output) {
		blob_close(call);
		return;
	}
	resp_string_part(call, state->size, &state->send.offset, &state->send.left);
	resp_reply_bulk_header(call, state->send.left);
	resp_send_publish(call);
	state->send.next = blob_sent;
	resp_send_start(call, &state->send);
}

void resp_blob_reply(struct resp_call *call)
{
	struct blob_state *state = state_of(call);
	struct kv_cmd cmd = { .op = KV_BLOB_OPEN, .visit = blob_visit, .visitor = state };

	assert(call->streams && STAILQ_FIRST(&call->connection->calls) == call);
	call->streams = false;
	if (call->txn != NULL) {
		txn_reply_resume(call);
		return;
	}
	*state = (struct blob_state){ .kind = RESP_STRING };
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
