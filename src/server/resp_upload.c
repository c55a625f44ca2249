/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SET and others with a long value: written to a blob piece by piece while it arrives. There is
 * one buffer for a value of whatever size; while it is being written nothing more of the connection
 * is parsed, so its stream is paused when enough waits. The value gets its key when all of the
 * command is there; if it does not come to that, the blob is closed.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_txn.h"

enum {
	UPLOADS_MAX = 256,
	UPLOAD_MIN = 64 << 10, /* bytes: a shorter value is gathered in memory */
	PIECE = 256 << 10,     /* of a value: see piece_of() */
	PIECE_LARGE = 512 << 10,
	PIECE_LARGE_MIN = 256 << 20, /* bytes of values that are written in large pieces */
	MEMORY_SHARE = 4,            /* of the buffers, uploads have this part at most */
};

enum upload_phase {
	UPLOAD_WAITING, /* for earlier calls of its connection, or for a buffer */
	UPLOAD_FILLING,
	UPLOAD_WRITING,
};

struct resp_upload {
	STAILQ_ENTRY(resp_upload) link; /* free, or waits for a buffer */
	struct resp_server *server;
	struct resp_call *call; /* NULL: given up */
	struct buf *buf;
	uint64_t size, handle;
	uint32_t piece, used; /* bytes of buf that are written at once; that are filled */
	uint16_t partition;
	enum status status; /* not OK: what comes is dropped */
	uint8_t phase;      /* enum upload_phase */
	bool queued;        /* in the list of those that wait for a buffer */
	bool ended;         /* all of the value came */
	struct req req;
};
STAILQ_HEAD(upload_list, resp_upload);

struct resp_uploads {
	struct upload_list free, waiting;
	uint64_t memory_used; /* bytes of their buffers */
	struct resp_upload uploads[UPLOADS_MAX];
};

struct upload_frame {
	struct frame frame;
};

size_t resp_uploads_memory(void)
{
	return sizeof(struct resp_uploads);
}

enum status resp_uploads_open(struct resp_server *server)
{
	struct resp_uploads *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return STATUS_NO_SPACE;
	STAILQ_INIT(&all->free);
	STAILQ_INIT(&all->waiting);
	for (unsigned i = UPLOADS_MAX; i-- > 0;) {
		all->uploads[i].server = server;
		req_init(&all->uploads[i].req, server->worker);
		STAILQ_INSERT_HEAD(&all->free, &all->uploads[i], link);
	}
	server->uploads = all;
	return STATUS_OK;
}

void resp_uploads_close(struct resp_server *server)
{
	assert(server->uploads_used == 0);
	free(server->uploads);
	server->uploads = NULL;
}

void resp_uploads_wake(struct resp_server *server)
{
	struct resp_uploads *all = server->uploads;
	struct resp_upload *upload;

	while ((upload = STAILQ_FIRST(&all->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&all->waiting, link);
		upload->queued = false;
		assert(upload->call != NULL);
		resp_connection_ready(upload->call->connection);
	}
}

bool resp_uploads_wait(const struct resp_server *server)
{
	return !STAILQ_EMPTY(&server->uploads->waiting);
}

/*
 * A list of extents has room for 2,040, and a piece is at least one: other values' pieces lie
 * between. What is very long takes larger ones.
 */
static uint32_t piece_of(uint64_t size)
{
	return size >= PIECE_LARGE_MIN ? PIECE_LARGE : PIECE;
}

static bool buffer_take(struct resp_upload *upload)
{
	struct resp_server *server = upload->server;
	uint64_t most = (uint64_t)server->bufs->slab_count * BUF_SIZE_MAX / MEMORY_SHARE;

	if (server->uploads->memory_used > 0 && server->uploads->memory_used + upload->piece > most)
		return false;
	upload->buf = buf_get(server->bufs, upload->piece);
	if (upload->buf == NULL)
		return false;
	server->uploads->memory_used += upload->buf->size;
	return true;
}

static void buffer_drop(struct resp_upload *upload)
{
	if (upload->buf == NULL)
		return;
	upload->server->uploads->memory_used -= upload->buf->size;
	buf_unref(upload->buf);
	upload->buf = NULL;
	resp_uploads_wake(upload->server);
}

/* The place of the value among the words: the last that there must be. */
static uint32_t value_index(const struct resp_command *command)
{
	return (uint32_t)(command->arity < 0 ? -command->arity : command->arity) - 1;
}

bool resp_upload_begin(struct resp_call *call, uint64_t size)
{
	struct resp_server *server = call->server;
	struct resp_upload *upload = STAILQ_FIRST(&server->uploads->free);
	const struct resp_command *command;
	uint32_t index;

	if (size < UPLOAD_MIN || call->discarded || call->argc < 2 || upload == NULL)
		return false;
	command = resp_command_find(call->argv[0], &index);
	if (command == NULL || !(command->flags & RESP_UPLOADS) ||
	    call->argc != value_index(command) || call->argv[1].size > RESP_KEY_MAX)
		return false;
	STAILQ_REMOVE_HEAD(&server->uploads->free, link);
	server->uploads_used++;
	upload->call = call;
	upload->size = size;
	upload->piece = piece_of(size);
	upload->used = 0;
	upload->handle = 0;
	upload->status = STATUS_OK;
	upload->phase = UPLOAD_WAITING;
	upload->queued = false;
	upload->ended = false;
	call->upload = upload;
	return true;
}

/* Inside MULTI the command is kept as it came. */
static void gather(struct resp_upload *upload)
{
	struct resp_call *call = upload->call;

	resp_upload_release(call);
	resp_call_bulk(call, upload->size);
}

size_t resp_upload_room(struct resp_call *call)
{
	struct resp_upload *upload = call->upload;
	struct resp_connection *connection = call->connection;
	struct bytes key;

	switch ((enum upload_phase)upload->phase) {
	case UPLOAD_WAITING:
		/* Which database it is for is known when all before it have ended. */
		if (connection->call_count > 0 || upload->queued)
			return 0;
		if (connection->flags & RESP_CONNECTION_MULTI) {
			gather(upload);
			return SIZE_MAX;
		}
		if (!buffer_take(upload)) {
			upload->queued = true;
			STAILQ_INSERT_TAIL(&upload->server->uploads->waiting, upload, link);
			return 0;
		}
		if (!resp_call_key_in(call, 1, connection->db, &key))
			unreachable(); /* its size was looked at */
		upload->partition =
		        (uint16_t)kv_partition(key, upload->server->kv->traits.partitions);
		call->argv[call->argc++] = bytes_of(call->memory, 0);
		upload->phase = UPLOAD_FILLING;
		return upload->piece;
	case UPLOAD_FILLING:
		if (upload->ended || upload->status != STATUS_OK)
			return SIZE_MAX;
		assert(upload->used < upload->piece);
		return upload->piece - upload->used;
	case UPLOAD_WRITING:
		return 0;
	}
	unreachable();
}

bool resp_upload_is_idle(const struct resp_call *call)
{
	return call->upload == NULL || call->upload->phase == UPLOAD_FILLING;
}

/* The end of one that was given up. */

static void upload_free(struct resp_upload *upload)
{
	struct resp_server *server = upload->server;

	assert(server->uploads_used > 0);
	server->uploads_used--;
	STAILQ_INSERT_HEAD(&server->uploads->free, upload, link);
}

static void upload_closed(struct req *req)
{
	struct resp_upload *upload = container_of(req, struct resp_upload, req);

	req_pop(req, struct upload_frame);
	upload_free(upload);
}

static void upload_end(struct resp_upload *upload)
{
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = upload->handle };

	assert(upload->call == NULL);
	buffer_drop(upload);
	if (upload->handle == 0) {
		upload_free(upload);
		return;
	}
	req_push(&upload->req, struct upload_frame, upload_closed);
	kv_submit(upload->server->kv, &upload->req, &cmd);
}

void resp_upload_release(struct resp_call *call)
{
	struct resp_upload *upload = call->upload;

	call->upload = NULL;
	upload->call = NULL;
	if (upload->queued)
		STAILQ_REMOVE(&upload->server->uploads->waiting, upload, resp_upload, link);
	upload->queued = false;
	if (upload->phase != UPLOAD_WRITING) /* else: when that has ended */
		upload_end(upload);
}

/* Pieces. */

static void upload_written(struct req *req)
{
	struct resp_upload *upload = container_of(req, struct resp_upload, req);

	req_pop(req, struct upload_frame);
	if (req->status == STATUS_OK)
		upload->handle = req->result;
	else
		upload->status = req->status;
	upload->used = 0;
	upload->phase = UPLOAD_FILLING;
	if (upload->call == NULL)
		upload_end(upload);
	else
		resp_connection_ready(upload->call->connection);
}

void resp_upload_piece(struct resp_call *call, struct bytes data, bool last)
{
	struct resp_upload *upload = call->upload;
	struct kv_cmd cmd = {
		.op = KV_BLOB_WRITE,
		.handle = upload->handle,
		.partition = upload->partition,
	};

	assert(upload->phase == UPLOAD_FILLING && !upload->ended);
	upload->ended = last;
	if (upload->status != STATUS_OK)
		return;
	assert(data.size <= upload->piece - upload->used);
	memcpy(upload->buf->data + upload->used, data.data, data.size);
	upload->used += (uint32_t)data.size;
	if (!last && upload->used < upload->piece)
		return;
	cmd.value = bytes_of(upload->buf->data, upload->used);
	upload->phase = UPLOAD_WRITING;
	req_push(&upload->req, struct upload_frame, upload_written);
	kv_submit(upload->server->kv, &upload->req, &cmd);
}

/* The value gets its key. */

static void finish(struct resp_call *call, enum status status)
{
	if (status != STATUS_OK)
		resp_reply_status(call, status);
	resp_call_done(call);
}

static void put_done(struct resp_call *call)
{
	if (call->req.status == STATUS_OK) {
		resp_upload_taken(call);
		call->changed = true;
		resp_notify_put(call, call->argv[1]);
		resp_reply_ok(call);
	}
	finish(call, call->req.status);
}

static void put(struct resp_call *call)
{
	struct kv_cmd cmd = {
		.op = KV_PUT,
		.kind = call->kind,
		.flags = call->kv_flags | KV_FROM_BLOB,
		.handle = call->upload->handle,
		.expires_ms = call->expires_ms,
	};

	if (!resp_call_key(call, 1, &cmd.key))
		unreachable(); /* start_visit() has seen it */
	resp_call_submit(call, &cmd, put_done);
}

/* What looks at the key first is a transaction. */
void resp_upload_store(struct resp_call *call)
{
	assert(call->upload->ended && call->upload->phase == UPLOAD_FILLING);
	call->connection->exclusive = true;
	if (call->upload->status != STATUS_OK)
		finish(call, call->upload->status);
	else if (call->kv_op == KV_PUT)
		put(call);
	else
		resp_txn_start(call);
}

struct resp_long *resp_upload_long(struct resp_call *call)
{
	struct resp_upload *upload = call->upload;
	struct resp_long *value;

	assert(upload->ended && upload->phase == UPLOAD_FILLING);
	if (upload->status != STATUS_OK) {
		call->txn->status = upload->status;
		return NULL;
	}
	value = txn_long(call->txn);
	if (value == NULL)
		return NULL;
	value->handle = upload->handle;
	value->size = upload->size;
	value->partition = upload->partition;
	value->made = true;
	value->lent = true;
	return value;
}

bool resp_upload_has(const struct resp_call *call, uint64_t handle)
{
	return call->upload != NULL && call->upload->handle == handle;
}

void resp_upload_taken(struct resp_call *call)
{
	assert(call->upload != NULL && call->upload->phase == UPLOAD_FILLING);
	call->upload->handle = 0;
}
