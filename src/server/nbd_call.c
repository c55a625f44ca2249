/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on the device, step by step, and the replies that they end in. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/nbd_internal.h"

enum { CACHE_SIZE = 64 << 10 };

struct call_frame {
	struct frame frame;
};

static struct nbd_call *call_of(struct req *req)
{
	req_pop(req, struct call_frame);
	return container_of(req, struct nbd_call, req);
}

static struct blk *blk_of(const struct nbd_call *call)
{
	return call->connection->export->blk;
}

enum nbd_error nbd_error_of(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return NBD_OK;
	case STATUS_NO_SPACE:
	case STATUS_TOO_LARGE:
		return NBD_ENOSPC;
	case STATUS_READ_ONLY:
	case STATUS_DENIED:
		return NBD_EPERM;
	case STATUS_INVALID:
		return NBD_EINVAL;
	case STATUS_UNSUPPORTED:
		return NBD_ENOTSUP;
	case STATUS_BUSY:
		return NBD_ENOMEM;
	case STATUS_UNAVAILABLE:
	case STATUS_CANCELED:
		return NBD_ESHUTDOWN;
	case STATUS_NOT_FOUND:
	case STATUS_EXISTS:
	case STATUS_CONFLICT:
	case STATUS_CORRUPT:
	case STATUS_IO:
	case STATUS_TIMEOUT:
	case STATUS_COUNT:
		return NBD_EIO;
	}
	unreachable();
	return NBD_EIO;
}

static bool is_structured(const struct nbd_call *call)
{
	return call->connection->flags & NBD_CONNECTION_STRUCTURED;
}

/* Replies. */

static void reply_with(struct nbd_call *call, size_t header_size, struct bytes data)
{
	assert(header_size <= sizeof(call->reply));
	call->iov_count = 0;
	if (header_size > 0)
		call->iov[call->iov_count++] = (struct iovec){ call->reply, header_size };
	if (data.size > 0)
		call->iov[call->iov_count++] =
		        (struct iovec){ (void *)(uintptr_t)data.data, data.size };
	nbd_connection_reply(call);
}

/* An error, or an OK without data: of the whole request, or of a piece of a READ. */
static void reply_error(struct nbd_call *call, enum nbd_error error)
{
	const struct nbd_call *head = call->head;
	const struct nbd_request *request = &head->request;
	bool in_read = request->id == NBD_CMD_READ && call->size > 0;
	struct nbd_chunk chunk = {
		.type = in_read ? NBD_CHUNK_ERROR_OFFSET : NBD_CHUNK_ERROR,
		.cookie = request->cookie,
		.done = head->pieces_open == 0,
	};
	size_t size;

	if (error != NBD_OK)
		call->connection->server->stats.errors++;
	if (!is_structured(call)) {
		size = nbd_write_simple_reply(call->reply, error, request->cookie);
	} else if (error != NBD_OK) {
		size = nbd_write_chunk_error(call->reply, &chunk, error, call->offset);
	} else {
		chunk.type = NBD_CHUNK_NONE;
		size = nbd_write_chunk(call->reply, &chunk);
	}
	reply_with(call, size, bytes_of(NULL, 0));
}

static void reply_data(struct nbd_call *call)
{
	const struct nbd_call *head = call->head;
	struct nbd_chunk chunk = {
		.type = NBD_CHUNK_OFFSET_DATA,
		.cookie = head->request.cookie,
		.size = NBD_CHUNK_OFFSET_SIZE + call->size,
		.done = head->pieces_open == 0,
	};
	size_t size = 0;

	if (is_structured(call))
		size = nbd_write_chunk_data(call->reply, &chunk, call->offset);
	else if (call == head)
		size = nbd_write_simple_reply(call->reply, NBD_OK, chunk.cookie);
	reply_with(call, size, bytes_of(call->buf->data, call->size));
}

/* A piece of a simple reply that has begun, or that will not. */
static void ordered_failed(struct nbd_call *call)
{
	struct nbd_connection *connection = call->connection;

	/* Its header said that it went well: there is no way to take that back. */
	connection->server->stats.errors++;
	nbd_connection_kill(connection);
	reply_data(call);
}

static void read_ended(struct nbd_call *call, enum status status)
{
	struct nbd_call *head = call->head;
	struct nbd_connection *connection = call->connection;

	if (head->ordered) {
		connection->pieces_running--;
		if (call == head && status == STATUS_OK)
			connection->ordered = head;
	}
	head->pieces_open--;
	if (status == STATUS_OK) {
		reply_data(call);
	} else if (head->ordered && call == head) {
		/* No other piece of it was begun, and none will. */
		head->pieces_open = 0;
		if (connection->head == head) {
			connection->head = NULL;
			connection->phase = NBD_PHASE_REQUEST;
			nbd_head_release(head);
		}
		reply_error(head, nbd_error_of(status));
	} else if (head->ordered) {
		ordered_failed(call);
	} else {
		reply_error(call, nbd_error_of(status));
	}
}

static void head_ended(struct nbd_call *head)
{
	assert(head->pieces_open == 0);
	reply_error(head, nbd_error_of(head->status));
}

static void head_flushed(struct req *req)
{
	struct nbd_call *head = call_of(req);

	if (head->status == STATUS_OK)
		head->status = req->status;
	head_ended(head);
}

static void head_flush(struct nbd_call *head)
{
	const struct blk_cmd cmd = { .op = BLK_FLUSH };

	req_push(&head->req, struct call_frame, head_flushed);
	blk_submit(blk_of(head), &head->req, &cmd);
}

static bool can_flush(const struct nbd_call *head)
{
	return blk_of(head)->geometry.ops & 1u << BLK_FLUSH;
}

/* All pieces have, or there are none. */
static void write_ended(struct nbd_call *head)
{
	bool flushes = head->flushes || head->request.id == NBD_CMD_FLUSH;

	if (flushes && head->status == STATUS_OK && can_flush(head))
		head_flush(head);
	else
		head_ended(head);
}

static void piece_ended(struct req *req)
{
	struct nbd_call *call = call_of(req), *head = call->head;
	enum status status = req->status;

	nbd_connection_ready(call->connection);
	if (head->request.id == NBD_CMD_READ) {
		read_ended(call, status);
		return;
	}
	if (head->status == STATUS_OK)
		head->status = status;
	nbd_buf_free(call->connection->server, call->buf);
	call->buf = NULL;
	if (call != head)
		nbd_call_free(call);
	head->pieces_open--;
	if (head->pieces_open == 0)
		write_ended(head);
}

void nbd_call_start(struct nbd_call *call)
{
	struct nbd_call *head = call->head;
	struct blk *blk = blk_of(call);
	const struct blk_geometry *geometry = &blk->geometry;
	struct blk_cmd cmd = {
		.op = head->request.id == NBD_CMD_READ ? BLK_READ : BLK_WRITE,
		.lba = call->offset / geometry->block_size,
		.block_count = call->size / geometry->block_size,
		.iov = call->iov,
		.iov_count = 1,
	};

	call->iov[0] = (struct iovec){ call->buf->data, call->size };
	if (head->ordered)
		call->connection->pieces_running++;
	if (cmd.op == BLK_WRITE && (head->request.flags & NBD_CMD_FLAG_FUA)) {
		if (geometry->fua_is_flush && head->request.size > call->size)
			head->flushes = true;
		else
			cmd.flags = BLK_FUA;
	}
	req_push(&call->req, struct call_frame, piece_ended);
	blk_submit(blk, &call->req, &cmd);
}

void nbd_call_give_up(struct nbd_call *head, uint32_t pieces, bool is_begun)
{
	assert(pieces > 0 && pieces <= head->pieces_open);
	head->status = STATUS_UNAVAILABLE;
	head->pieces_open -= pieces;
	if (head->request.id != NBD_CMD_READ) {
		if (head->pieces_open == 0)
			head_ended(head);
	} else if (!is_begun) {
		nbd_call_free(head); /* nobody is there to hear of it */
	}
}

void nbd_call_fail(struct nbd_call *head, enum nbd_error error)
{
	head->pieces_open = 0;
	reply_error(head, error);
}

/* What is no data: one step on the device at a time. */

static void steps_end(struct nbd_call *head)
{
	bool fua = head->request.flags & NBD_CMD_FLAG_FUA;

	head->pieces_open = 0;
	if (head->buf != NULL)
		nbd_buf_free(head->connection->server, head->buf);
	head->buf = NULL;
	if (fua && head->status == STATUS_OK && head->request.id != NBD_CMD_CACHE &&
	    can_flush(head))
		head_flush(head);
	else
		head_ended(head);
}

static void step_ended(struct req *req)
{
	struct nbd_call *head = call_of(req);

	head->status = req->status;
	head->progress += head->size;
	nbd_call_steps(head);
}

static void step(struct nbd_call *head, const struct blk_cmd *cmd)
{
	req_push(&head->req, struct call_frame, step_ended);
	blk_submit(blk_of(head), &head->req, cmd);
}

/* Whole discard units in what is left, from its start; 0: it does not begin with one. */
static uint64_t discard_count(const struct nbd_call *head, uint64_t lba, uint64_t count)
{
	const struct blk_geometry *geometry = &blk_of(head)->geometry;

	if (geometry->discard_unit == 0 || lba % geometry->discard_unit != 0)
		return 0;
	/* The end of the device may be half a unit. */
	if (lba + count == geometry->block_count)
		return count;
	return count - count % geometry->discard_unit;
}

/* To the next unit, where that is nearer. */
static uint64_t until_unit(const struct nbd_call *head, uint64_t lba, uint64_t count)
{
	uint32_t unit = blk_of(head)->geometry.discard_unit;
	uint64_t next = unit == 0 ? count : unit - lba % unit;

	return next < count ? next : count;
}

/* What a device takes at a time, of ranges and of data. */
static void range_cut(const struct nbd_call *head, struct blk_cmd *cmd)
{
	uint32_t most = blk_of(head)->geometry.range_max;

	if (most != 0 && cmd->block_count > most)
		cmd->block_count = most;
}

static bool discard_zeroes(const struct nbd_call *head)
{
	const struct blk_geometry *geometry = &blk_of(head)->geometry;

	return !(head->request.flags & NBD_CMD_FLAG_NO_HOLE) &&
	       (geometry->ops & 1u << BLK_DISCARD) && geometry->discard_zeroes;
}

static bool range_step(struct nbd_call *head, struct blk_cmd *cmd)
{
	range_cut(head, cmd);
	head->size = cmd->block_count * blk_of(head)->geometry.block_size;
	step(head, cmd);
	return false;
}

/* That blocks are dropped is a hint: what is less than a unit stays. True: there was no step. */
static bool trim_step(struct nbd_call *head, struct blk_cmd *cmd)
{
	uint32_t block_size = blk_of(head)->geometry.block_size;
	uint64_t count = discard_count(head, cmd->lba, cmd->block_count);

	if (count == 0) {
		count = until_unit(head, cmd->lba, cmd->block_count);
		head->progress += (uint32_t)(count * block_size);
		return true;
	}
	cmd->op = BLK_DISCARD;
	cmd->block_count = (uint32_t)count;
	return range_step(head, cmd);
}

/* By a command for it, by dropping blocks, or, where there is neither, by writing them. */
static bool zeroes_step(struct nbd_call *head, struct blk_cmd *cmd)
{
	const struct blk_geometry *geometry = &blk_of(head)->geometry;
	uint32_t most = NBD_ZERO_SIZE / geometry->block_size;
	uint64_t count = 0;

	if (geometry->ops & 1u << BLK_ZEROES) {
		cmd->op = BLK_ZEROES;
		cmd->flags = head->request.flags & NBD_CMD_FLAG_NO_HOLE ? 0 : BLK_UNMAP;
		return range_step(head, cmd);
	}
	if (discard_zeroes(head))
		count = discard_count(head, cmd->lba, cmd->block_count);
	if (count > 0) {
		cmd->op = BLK_DISCARD;
		cmd->block_count = (uint32_t)count;
		return range_step(head, cmd);
	}
	if (head->request.flags & NBD_CMD_FLAG_FAST_ZERO) {
		head->status = STATUS_UNSUPPORTED;
		return true;
	}
	if (most > geometry->transfer_max)
		most = geometry->transfer_max;
	count = discard_zeroes(head) ? until_unit(head, cmd->lba, cmd->block_count)
	                             : cmd->block_count;
	cmd->op = BLK_WRITE;
	cmd->block_count = (uint32_t)(count < most ? count : most);
	head->size = cmd->block_count * geometry->block_size;
	head->iov[0] = (struct iovec){ head->connection->server->zeroes, head->size };
	cmd->iov_count = 1;
	step(head, cmd);
	return false;
}

/* Read, so that whoever caches below has it; what came is dropped. */
static bool cache_step(struct nbd_call *head, struct blk_cmd *cmd)
{
	const struct blk_geometry *geometry = &blk_of(head)->geometry;
	uint32_t most = CACHE_SIZE / geometry->block_size;

	if (head->buf == NULL)
		head->buf = nbd_buf_get(head->connection->server, CACHE_SIZE);
	if (head->buf == NULL) { /* a hint that costs memory is not taken */
		head->progress = head->request.size;
		return true;
	}
	if (most > geometry->transfer_max)
		most = geometry->transfer_max;
	cmd->op = BLK_READ;
	if (cmd->block_count > most)
		cmd->block_count = most;
	head->size = cmd->block_count * geometry->block_size;
	head->iov[0] = (struct iovec){ head->buf->data, head->size };
	cmd->iov_count = 1;
	step(head, cmd);
	return false;
}

/* Block status. */

struct status_room {
	struct blk_extent extents[NBD_EXTENTS_MAX];
	uint8_t reply[NBD_CONTEXT_ID_SIZE + NBD_EXTENTS_MAX * NBD_EXTENT_SIZE];
};
_Static_assert(sizeof(struct status_room) <= BUF_ALIGN, "of a small buffer");

static uint32_t extent_state(const struct blk_extent *extent)
{
	return (extent->hole ? NBD_STATE_HOLE : 0) | (extent->zero ? NBD_STATE_ZERO : 0);
}

/* Extents that are alike become one; what the device tells beyond the range is not told. */
static void status_reply(struct nbd_call *head, uint64_t count)
{
	struct status_room *room = (void *)head->buf->data;
	uint32_t block_size = blk_of(head)->geometry.block_size;
	uint64_t left = head->request.size;
	uint8_t *end = room->reply + nbd_write_context_id(room->reply, NBD_ALLOCATION_ID);
	struct nbd_chunk chunk = {
		.type = NBD_CHUNK_BLOCK_STATUS,
		.done = true,
		.cookie = head->request.cookie,
	};

	assert(count > 0 && count <= NBD_EXTENTS_MAX);
	for (uint64_t i = 0, next; i < count && left > 0; i = next) {
		uint64_t size = room->extents[i].block_count * block_size;
		uint32_t state = extent_state(&room->extents[i]);

		for (next = i + 1; next < count && extent_state(&room->extents[next]) == state;
		     next++)
			size += room->extents[next].block_count * block_size;
		if (size > left)
			size = left;
		left -= size;
		end += nbd_write_extent(end, (uint32_t)size, state);
		if (head->request.flags & NBD_CMD_FLAG_REQ_ONE)
			break;
	}
	chunk.size = (uint32_t)(end - room->reply);
	reply_with(head, nbd_write_chunk(head->reply, &chunk), bytes_of(room->reply, chunk.size));
}

static void status_mapped(struct req *req)
{
	struct nbd_call *head = call_of(req);

	head->pieces_open = 0;
	if (req->status == STATUS_OK)
		status_reply(head, req->result);
	else
		reply_error(head, nbd_error_of(req->status));
}

static void status_start(struct nbd_call *head)
{
	struct blk *blk = blk_of(head);
	struct blk_map_cmd cmd = {
		.lba = head->request.offset / blk->geometry.block_size,
		.block_count = head->request.size / blk->geometry.block_size,
		.extent_max = NBD_EXTENTS_MAX,
	};

	head->buf = nbd_buf_get(head->connection->server, sizeof(struct status_room));
	if (head->buf == NULL) {
		nbd_call_fail(head, NBD_ENOMEM);
		return;
	}
	cmd.extents = ((struct status_room *)(void *)head->buf->data)->extents;
	if (blk->ops->map != NULL) {
		req_push(&head->req, struct call_frame, status_mapped);
		blk_map(blk, &head->req, &cmd);
		return;
	}
	cmd.extents[0] = (struct blk_extent){ .block_count = cmd.block_count };
	head->pieces_open = 0;
	status_reply(head, 1);
}

/* A step, or none; true: go on with the next. */
static bool next_step(struct nbd_call *head)
{
	const struct nbd_request *request = &head->request;
	uint32_t block_size = blk_of(head)->geometry.block_size;
	struct blk_cmd cmd = {
		.lba = (request->offset + head->progress) / block_size,
		.block_count = (request->size - head->progress) / block_size,
		.iov = head->iov,
	};

	if (request->id == NBD_CMD_CACHE)
		return cache_step(head, &cmd);
	if (request->id == NBD_CMD_WRITE_ZEROES)
		return zeroes_step(head, &cmd);
	assert(request->id == NBD_CMD_TRIM);
	return trim_step(head, &cmd);
}

void nbd_call_steps(struct nbd_call *head)
{
	const struct nbd_request *request = &head->request;

	if (request->id == NBD_CMD_BLOCK_STATUS) {
		status_start(head);
		return;
	}
	if (request->id == NBD_CMD_FLUSH) {
		head->pieces_open = 0;
		write_ended(head);
		return;
	}
	while (head->status == STATUS_OK && head->progress < request->size) {
		if (!next_step(head))
			return;
	}
	steps_end(head);
}
