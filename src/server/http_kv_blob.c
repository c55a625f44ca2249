/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values too large for a record, sent and received piece by piece: two buffers each, whatever their
 * size. What was received becomes the value when all of it is there.
 */
#include "base/assert.h"
#include "server/http_face_internal.h"

enum { TRIES_MAX = 100 }; /* of a write that others overtake */

static void blob_closed(struct http_exchange *exchange)
{
	(void)exchange;
}

/* The exchange is held until it is done, so the answer need not wait for it. */
static void blob_close(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	const struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = kv->handle };

	if (kv->handle == 0)
		return;
	kv->handle = 0;
	face_submit(exchange, &cmd, blob_closed);
}

void face_blob_give_up(struct http_exchange *exchange)
{
	blob_close(exchange);
	http_abort(exchange);
}

/* Sending. */

static void blob_opened(struct http_exchange *exchange);

void face_blob_send(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	const struct kv_cmd cmd = {
		.op = KV_BLOB_OPEN,
		.key = face_key(state),
		.visit = face_kv_visit,
		.visitor = state,
	};

	state->kv.room_size = 0; /* the value is read, not shown */
	state->kv.seen = (struct face_seen){ .exists = false };
	face_submit(exchange, &cmd, blob_opened);
}

static void blob_opened(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;

	if (state->req.status != STATUS_OK) {
		face_fail(exchange, state->req.status);
		return;
	}
	kv->handle = state->req.result;
	/* Since the first look it may have become anything. */
	if (http_is_aborted(exchange))
		face_blob_give_up(exchange);
	else if (!face_kv_may_go_on(exchange, true) || !face_kv_answer_stream(exchange))
		blob_close(exchange);
}

static void piece_read(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;
	struct buf *buf = kv->bufs[0];

	if (http_is_aborted(exchange) || state->req.status != STATUS_OK || state->req.result == 0 ||
	    state->req.result > kv->left) {
		face_blob_give_up(exchange);
		return;
	}
	buf->used = (uint32_t)state->req.result;
	kv->offset += buf->used;
	kv->left -= buf->used;
	kv->bufs[0] = NULL;
	if (kv->left == 0)
		blob_close(exchange);
	http_answer_give(exchange, bytes_of(buf->data, buf->used), buf);
}

void face_blob_pull(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	uint32_t size = kv->left < FACE_PIECE ? (uint32_t)kv->left : FACE_PIECE;
	struct kv_cmd cmd = {
		.op = KV_BLOB_READ,
		.handle = kv->handle,
		.offset = kv->offset,
		.out_size = size,
	};

	assert(kv->bufs[0] == NULL);
	kv->bufs[0] = buf_get(http_bufs(exchange), size);
	if (kv->bufs[0] == NULL) {
		http_pull_later(exchange);
		return;
	}
	cmd.out = kv->bufs[0]->data;
	face_submit(exchange, &cmd, piece_read);
}

/* Receiving: bufs[0] is filled, bufs[1] is the other one, written or free. */

static void upload_fail(struct http_exchange *exchange, enum status status)
{
	blob_close(exchange);
	if (http_is_aborted(exchange))
		http_abort(exchange);
	else
		face_fail(exchange, status);
}

void face_blob_receive(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;

	kv->bufs[0] = buf_get(http_bufs(exchange), FACE_PIECE);
	if (kv->bufs[0] == NULL) {
		face_fail(exchange, STATUS_BUSY);
		return;
	}
	http_body_want(exchange);
}

static void upload_finish(struct http_exchange *exchange);

static bool upload_writes(struct http_exchange *exchange)
{
	return face_state(exchange)->next != NULL;
}

static void piece_written(struct http_exchange *exchange);

/* What is in bufs[0]; the other takes its place. */
static void upload_write(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;
	struct kv *store = face_of(exchange)->options.kv;
	struct buf *full = kv->bufs[0];
	const struct kv_cmd cmd = {
		.op = KV_BLOB_WRITE,
		.handle = kv->handle,
		.value = bytes_of(full->data, full->used),
		.partition = (uint16_t)kv_partition(face_key(state), store->traits.partitions),
	};

	kv->bufs[0] = kv->bufs[1];
	kv->bufs[1] = full;
	if (kv->bufs[0] == NULL && !kv->body_done)
		kv->bufs[0] = buf_get(http_bufs(exchange), FACE_PIECE);
	face_submit(exchange, &cmd, piece_written);
}

static void piece_written(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;

	if (state->req.status == STATUS_OK) {
		kv->handle = state->req.result;
		kv->offset += kv->bufs[1]->used;
	}
	kv->bufs[1]->used = 0;
	if (kv->bufs[0] == NULL) {
		kv->bufs[0] = kv->bufs[1];
		kv->bufs[1] = NULL;
	}
	if (state->req.status != STATUS_OK)
		upload_fail(exchange, state->req.status);
	else if (http_is_aborted(exchange))
		face_blob_give_up(exchange);
	else if (kv->body_done)
		upload_finish(exchange);
	else
		http_body_want(exchange);
}

size_t face_blob_body(struct http_exchange *exchange, struct bytes piece)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	size_t taken = 0;

	while (taken < piece.size && kv->bufs[0] != NULL) {
		struct buf *buf = kv->bufs[0];
		size_t part = piece.size - taken;

		if (part > FACE_PIECE - buf->used)
			part = FACE_PIECE - buf->used;
		memcpy(buf->data + buf->used, piece.data + taken, part);
		buf->used += (uint32_t)part;
		taken += part;
		if (buf->used < FACE_PIECE)
			continue;
		if (upload_writes(exchange))
			break;
		if (kv->offset + buf->used > KV_VALUE_MAX) {
			upload_fail(exchange, STATUS_TOO_LARGE);
			return piece.size;
		}
		upload_write(exchange);
	}
	return taken;
}

void face_blob_body_ended(struct http_exchange *exchange)
{
	face_state(exchange)->kv.body_done = true;
	if (!upload_writes(exchange))
		upload_finish(exchange);
}

/* All is written: it becomes the value, if that is still as it was judged. */

static void upload_looked(struct http_exchange *exchange);

static void upload_look(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	const struct kv_cmd cmd = {
		.op = KV_GET,
		.key = face_key(state),
		.visit = face_kv_visit,
		.visitor = state,
	};

	state->kv.room_size = 0;
	state->kv.local = false;
	state->kv.seen = (struct face_seen){ .exists = false };
	face_submit(exchange, &cmd, upload_looked);
}

static void upload_put(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;

	if (state->req.status == STATUS_CONFLICT && kv->tries++ < TRIES_MAX) {
		upload_look(exchange);
	} else if (state->req.status == STATUS_CONFLICT) {
		upload_fail(exchange, STATUS_BUSY);
	} else if (state->req.status != STATUS_OK) {
		upload_fail(exchange, state->req.status);
	} else {
		kv->handle = 0; /* it is the value now */
		if (http_is_aborted(exchange))
			http_abort(exchange);
		else
			face_kv_answer_write(exchange, state->req.result);
	}
}

static void upload_looked(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;
	const struct kv_cmd cmd = {
		.op = KV_PUT,
		.key = face_key(state),
		.flags = KV_FROM_BLOB | KV_IF_VERSION,
		.handle = kv->handle,
		.version = kv->seen.version,
		.expires_ms = kv->expires_ms,
	};

	if (state->req.status != STATUS_OK)
		upload_fail(exchange, state->req.status);
	else if (http_is_aborted(exchange))
		face_blob_give_up(exchange);
	else if (!face_kv_may_go_on(exchange, false))
		blob_close(exchange);
	else
		face_submit(exchange, &cmd, upload_put);
}

static void upload_finish(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	struct buf *buf = kv->bufs[0];

	assert(buf != NULL);
	if (kv->offset + buf->used > KV_VALUE_MAX)
		upload_fail(exchange, STATUS_TOO_LARGE);
	else if (kv->handle == 0 && buf->used <= KV_INLINE_MAX)
		face_kv_store(exchange, bytes_of(buf->data, buf->used));
	else if (buf->used > 0)
		upload_write(exchange);
	else
		upload_look(exchange);
}
