/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests are checked and cut into calls. All sizes and offsets are the client's, so nothing is
 * believed before it was compared with the device's geometry.
 */
#include "base/assert.h"
#include "server/nbd_internal.h"

/* Bytes of a piece: a multiple of the block, and at most what the device takes at once. */
static uint32_t piece_max(const struct export *export)
{
	const struct blk_geometry *geometry = &export->blk->geometry;
	uint64_t most = (uint64_t)geometry->transfer_max * geometry->block_size;

	return most < NBD_PIECE_SIZE ? (uint32_t)most : NBD_PIECE_SIZE;
}

static uint32_t pieces_of(const struct export *export, uint32_t size)
{
	uint32_t most = piece_max(export);

	return size / most + (size % most != 0);
}

static bool has_data(const struct nbd_request *request)
{
	return request->id == NBD_CMD_READ || request->id == NBD_CMD_WRITE;
}

static bool changes(const struct nbd_request *request)
{
	return request->id == NBD_CMD_WRITE || request->id == NBD_CMD_TRIM ||
	       request->id == NBD_CMD_WRITE_ZEROES;
}

/* The flags that each may have. */
static uint16_t flags_of(const struct nbd_connection *connection, uint16_t id)
{
	bool structured = connection->flags & NBD_CONNECTION_STRUCTURED;

	switch (id) {
	case NBD_CMD_READ:
		return structured ? NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF : NBD_CMD_FLAG_FUA;
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
	default:
		return NBD_CMD_FLAG_FUA;
	}
}

static enum nbd_error check_range(const struct nbd_request *request,
                                  const struct blk_geometry *geometry)
{
	uint64_t size = geometry->block_count * geometry->block_size;

	if (request->size == 0)
		return NBD_EINVAL;
	if (request->offset > size || request->size > size - request->offset)
		return changes(request) ? NBD_ENOSPC : NBD_EINVAL;
	if ((request->offset | request->size) & (geometry->block_size - 1))
		return NBD_EINVAL;
	return NBD_OK;
}

static enum nbd_error check(const struct nbd_connection *connection,
                            const struct nbd_request *request)
{
	const struct export *export = connection->export;
	const struct blk_geometry *geometry = &export->blk->geometry;
	enum nbd_error error;

	if (connection->flags & NBD_CONNECTION_DRAINING)
		return NBD_ESHUTDOWN;
	if (request->id >= NBD_CMD_COUNT ||
	    (request->flags & ~flags_of(connection, request->id)) != 0)
		return NBD_EINVAL;
	if (request->id == NBD_CMD_FLUSH) /* its offset and size are to be 0 */
		return request->offset == 0 && request->size == 0 ? NBD_OK : NBD_EINVAL;
	if (changes(request) && export->read_only)
		return NBD_EPERM;
	error = check_range(request, geometry);
	if (error != NBD_OK)
		return error;
	if (has_data(request) && request->size > NBD_PAYLOAD_MAX)
		return NBD_EOVERFLOW;
	if (request->id == NBD_CMD_BLOCK_STATUS && !(connection->flags & NBD_CONNECTION_ALLOCATION))
		return NBD_EINVAL;
	if (request->id == NBD_CMD_TRIM &&
	    (!(geometry->ops & 1u << BLK_DISCARD) || geometry->discard_unit == 0))
		return NBD_EINVAL;
	/* In one chunk is in one piece. */
	if ((request->flags & NBD_CMD_FLAG_DF) && request->size > piece_max(export))
		return NBD_EOVERFLOW;
	return NBD_OK;
}

static struct nbd_call *head_get(struct nbd_connection *connection,
                                 const struct nbd_request *request)
{
	struct nbd_call *head = nbd_call_get(connection);

	if (head == NULL)
		return NULL;
	head->head = head;
	head->request = *request;
	head->pieces_open = 1;
	head->pieces_alive = 1;
	return head;
}

/* With data: it is cut; what is no data is done by the head alone. */
static void request_begin(struct nbd_connection *connection, struct nbd_call *head)
{
	const struct nbd_request *request = &head->request;
	bool structured = connection->flags & NBD_CONNECTION_STRUCTURED;

	if (!has_data(request)) {
		nbd_call_steps(head);
		return;
	}
	head->pieces_open = pieces_of(connection->export, request->size);
	head->pieces_alive++; /* until it is cut */
	head->ordered = request->id == NBD_CMD_READ && !structured && head->pieces_open > 1;
	connection->head = head;
	connection->pieces_end = 0;
	connection->phase = NBD_PHASE_PIECES;
}

/* False: the data that come with it are beyond what a client may send. */
static bool skip_data(struct nbd_connection *connection, const struct nbd_request *request)
{
	if (request->id != NBD_CMD_WRITE || request->size == 0)
		return true;
	if (request->size > NBD_PAYLOAD_MAX)
		return false;
	connection->phase = NBD_PHASE_SKIP;
	connection->skip_size = request->size;
	return true;
}

static bool request_take(struct nbd_connection *connection)
{
	const struct nbd_request *request = &connection->request;
	struct nbd_server *server = connection->server;
	struct nbd_call *head;
	enum nbd_error error;

	if (request->id == NBD_CMD_DISC) {
		server->stats.requests[NBD_CMD_DISC]++;
		connection->flags |= NBD_CONNECTION_CLOSING;
		return true;
	}
	head = head_get(connection, request);
	if (head == NULL) {
		connection->flags |= NBD_CONNECTION_HUNGRY;
		return false;
	}
	connection->has_request = false;
	if (request->id < NBD_CMD_COUNT)
		server->stats.requests[request->id]++;
	error = check(connection, request);
	if (error == NBD_OK)
		request_begin(connection, head);
	else
		nbd_call_fail(head, error);
	if (error != NBD_OK && !skip_data(connection, request))
		nbd_connection_malformed(connection);
	return true;
}

bool nbd_take_request(struct nbd_connection *connection, struct bytes *input)
{
	const uint8_t *data;

	if (connection->has_request)
		return request_take(connection);
	data = nbd_gather(&connection->gatherer, NBD_REQUEST_SIZE, input);
	if (data == NULL)
		return false;
	if (!nbd_request_decode(data, &connection->request)) {
		nbd_connection_malformed(connection);
		return false;
	}
	connection->has_request = true;
	return request_take(connection);
}

/* The next piece, with a buffer; NULL: not now. */
static struct nbd_call *piece_get(struct nbd_connection *connection)
{
	struct nbd_call *head = connection->head, *call = head;
	uint32_t left = head->request.size - connection->pieces_end;
	uint32_t most = piece_max(connection->export);
	uint32_t size = left < most ? left : most;
	struct buf *buf = nbd_buf_get(connection->server, size);

	if (buf == NULL)
		return NULL;
	if (connection->pieces_end > 0) {
		call = nbd_call_get(connection);
		if (call == NULL) {
			nbd_buf_free(connection->server, buf);
			return NULL;
		}
		call->head = head;
		head->pieces_alive++;
	}
	call->buf = buf;
	call->offset = head->request.offset + connection->pieces_end;
	call->size = size;
	connection->pieces_end += size;
	return call;
}

/* After the last piece. */
static void request_is_cut(struct nbd_connection *connection)
{
	struct nbd_call *head = connection->head;

	assert(connection->pieces_end == head->request.size);
	connection->head = NULL;
	connection->phase = NBD_PHASE_REQUEST;
	nbd_head_release(head);
}

bool nbd_take_pieces(struct nbd_connection *connection)
{
	struct nbd_call *head = connection->head, *call;
	bool reads = head->request.id == NBD_CMD_READ;

	/* In order, one after the other: each when the reply to the one before is on its way. */
	if (head->ordered && connection->pieces_running > 0) {
		connection->flags |= NBD_CONNECTION_HUNGRY;
		return false;
	}
	call = piece_get(connection);
	if (call == NULL) {
		connection->flags |= NBD_CONNECTION_HUNGRY;
		return false;
	}
	if (!reads) {
		connection->receiving = call;
		connection->phase = NBD_PHASE_PAYLOAD;
		return true;
	}
	if (connection->pieces_end == head->request.size)
		request_is_cut(connection);
	nbd_call_start(call);
	return true;
}

bool nbd_take_payload(struct nbd_connection *connection, struct bytes *input)
{
	struct nbd_call *call = connection->receiving;
	uint32_t size = call->size - call->received;

	if (size > input->size)
		size = (uint32_t)input->size;
	if (size == 0)
		return false;
	memcpy(call->buf->data + call->received, input->data, size);
	call->received += size;
	*input = bytes_of(input->data + size, input->size - size);
	if (call->received < call->size)
		return false;
	connection->receiving = NULL;
	connection->phase = NBD_PHASE_PIECES;
	if (connection->pieces_end == connection->head->request.size)
		request_is_cut(connection);
	nbd_call_start(call);
	return true;
}

void nbd_request_give_up(struct nbd_call *head, struct nbd_call *receiving, uint32_t pieces_end)
{
	const struct export *export = head->connection->export;
	uint32_t unmade = pieces_of(export, head->request.size - pieces_end);

	unmade += receiving != NULL;
	assert(unmade > 0 && unmade <= head->pieces_open);
	if (receiving != NULL && receiving != head)
		nbd_call_free(receiving);
	nbd_call_give_up(head, unmade, pieces_end > 0);
	nbd_head_release(head);
}
