/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of NBD: bytes in, replies out. What cannot be taken now stays in the stash, which
 * holds all that one receive brings, and the stream is paused until it is empty: so a client that
 * is faster than the device, or than the memory, is held back by TCP.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/nbd_internal.h"

enum { REPLIES_AT_ONCE = STREAM_IOV_MAX / 2 }; /* a header and data each */

struct send_frame {
	struct frame frame;
};

/* Input. */

static void skip(struct nbd_connection *connection, struct bytes *input)
{
	uint32_t size = connection->skip_size;

	if (size > input->size)
		size = (uint32_t)input->size;
	connection->skip_size -= size;
	*input = bytes_of(input->data + size, input->size - size);
}

/* One step; false: it waits. */
static bool take_one(struct nbd_connection *connection, struct bytes *input)
{
	switch ((enum nbd_phase)connection->phase) {
	case NBD_PHASE_FLAGS:
		return nbd_take_flags(connection, input);
	case NBD_PHASE_OPTION:
		return nbd_take_option(connection, input);
	case NBD_PHASE_OPTION_DATA:
		return nbd_take_option_data(connection, input);
	case NBD_PHASE_REQUEST:
		return nbd_take_request(connection, input);
	case NBD_PHASE_PIECES:
		return nbd_take_pieces(connection);
	case NBD_PHASE_PAYLOAD:
		return nbd_take_payload(connection, input);
	case NBD_PHASE_OPTION_SKIP:
	case NBD_PHASE_SKIP:
		skip(connection, input);
		if (connection->skip_size > 0)
			return false;
		connection->phase =
		        connection->phase == NBD_PHASE_SKIP ? NBD_PHASE_REQUEST : NBD_PHASE_OPTION;
		return true;
	}
	unreachable();
	return false;
}

static bool takes_input(const struct nbd_connection *connection)
{
	return !(connection->flags & (NBD_CONNECTION_BROKEN | NBD_CONNECTION_CLOSING));
}

/* In the handshake a reply is sent before the next option is looked at. */
static bool speaks(const struct nbd_connection *connection)
{
	return connection->phase < NBD_PHASE_REQUEST &&
	       (connection->output != NULL || (connection->flags & NBD_CONNECTION_SENDING) ||
	        !(connection->flags & NBD_CONNECTION_GREETED));
}

static unsigned take(struct nbd_connection *connection, struct bytes *input)
{
	unsigned count = 0;

	connection->flags &= ~(uint32_t)NBD_CONNECTION_HUNGRY;
	while (takes_input(connection) && !speaks(connection) && take_one(connection, input))
		count++;
	return count;
}

static struct bytes stash_rest(const struct nbd_connection *connection)
{
	return bytes_of(connection->stash->data + connection->stash_start,
	                connection->stash_end - connection->stash_start);
}

static void pause(struct nbd_connection *connection, bool paused)
{
	bool is_paused = connection->flags & NBD_CONNECTION_PAUSED;

	if (connection->stream == NULL || is_paused == paused)
		return;
	connection->flags ^= NBD_CONNECTION_PAUSED;
	stream_pause(connection->stream, paused);
}

/* Whether the peer owes something: the rest of what it has begun, or its choice of an export. */
static bool peer_is_due(const struct nbd_connection *connection)
{
	return connection->phase < NBD_PHASE_REQUEST || connection->gatherer.used > 0 ||
	       connection->phase == NBD_PHASE_PAYLOAD || connection->phase == NBD_PHASE_SKIP;
}

static void set_deadline(struct nbd_connection *connection)
{
	const struct nbd_server *server = connection->server;

	if (connection->phase < NBD_PHASE_REQUEST)
		return; /* one for all of the handshake */
	connection->deadline_ns = UINT64_MAX;
	if ((connection->flags & NBD_CONNECTION_SENDING) ||
	    (peer_is_due(connection) && stash_rest(connection).size == 0))
		connection->deadline_ns = server->worker->now_ns + server->options.stall_timeout_ns;
}

static unsigned take_stash(struct nbd_connection *connection)
{
	struct bytes rest = stash_rest(connection);
	unsigned count = take(connection, &rest);

	connection->stash_start = connection->stash_end - (uint32_t)rest.size;
	if (rest.size == 0)
		connection->stash_start = connection->stash_end = 0;
	pause(connection, rest.size > 0);
	return count;
}

static void connection_received(struct stream *stream, struct bytes data)
{
	struct nbd_connection *connection = stream->owner;

	connection->server->stats.bytes_in += data.size;
	nbd_connection_ready(connection);
	if (!takes_input(connection))
		return;
	if (stash_rest(connection).size == 0)
		take(connection, &data);
	set_deadline(connection);
	if (data.size == 0 || !takes_input(connection))
		return;
	if (data.size > NBD_STASH_SIZE - connection->stash_end) {
		nbd_connection_kill(connection); /* a transport that hands over more at a time */
		return;
	}
	memcpy(connection->stash->data + connection->stash_end, data.data, data.size);
	connection->stash_end += (uint32_t)data.size;
	pause(connection, true);
}

static void connection_ended(struct stream *stream, enum status status)
{
	struct nbd_connection *connection = stream->owner;

	nbd_connection_ready(connection);
	/* What has come whole is done; nobody may be there to hear of it. */
	connection->flags |= NBD_CONNECTION_DRAINING;
	if (status != STATUS_OK || connection->phase < NBD_PHASE_REQUEST)
		nbd_connection_kill(connection);
}

const struct stream_handler nbd_stream_handler = {
	.received = connection_received,
	.ended = connection_ended,
};

void nbd_connection_kill(struct nbd_connection *connection)
{
	connection->flags |= NBD_CONNECTION_BROKEN;
	nbd_connection_ready(connection);
}

void nbd_connection_malformed(struct nbd_connection *connection)
{
	connection->server->stats.malformed++;
	nbd_connection_kill(connection);
}

void nbd_connection_sweep(struct nbd_connection *connection)
{
	if (connection->flags & NBD_CONNECTION_STARVED)
		nbd_connection_ready(connection);
	if (connection->flags & NBD_CONNECTION_BROKEN ||
	    connection->server->worker->now_ns < connection->deadline_ns)
		return;
	connection->server->stats.timeouts++;
	nbd_connection_kill(connection);
}

/* Output. */

static void replies_drop(struct nbd_call_list *list)
{
	struct nbd_call *call;

	while ((call = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, link);
		nbd_call_free(call);
	}
}

void nbd_connection_reply(struct nbd_call *call)
{
	struct nbd_connection *connection = call->connection;
	const struct nbd_call *ordered = connection->ordered;

	assert(call->iov_count > 0);
	if (ordered != NULL && call->head != ordered)
		STAILQ_INSERT_TAIL(&connection->held, call, link);
	else
		STAILQ_INSERT_TAIL(&connection->replies, call, link);
	if (ordered != NULL && ordered->pieces_open == 0) {
		connection->ordered = NULL;
		STAILQ_CONCAT(&connection->replies, &connection->held);
	}
	nbd_connection_ready(connection);
}

static void output_drop(struct nbd_connection *connection)
{
	if (connection->output != NULL)
		nbd_buf_free(connection->server, connection->output);
	connection->output = NULL;
}

static void connection_sent(struct req *req)
{
	struct nbd_connection *connection = container_of(req, struct nbd_connection, req);

	req_pop(req, struct send_frame);
	connection->flags &= ~(uint32_t)NBD_CONNECTION_SENDING;
	output_drop(connection);
	replies_drop(&connection->sending);
	nbd_connection_ready(connection);
	set_deadline(connection);
	if (req->status != STATUS_OK)
		nbd_connection_kill(connection);
	else
		connection->server->stats.bytes_out += req->result;
}

static uint32_t gather_replies(struct nbd_connection *connection)
{
	struct nbd_call *call;
	uint32_t iov_count = 0;

	for (unsigned i = 0; i < REPLIES_AT_ONCE; i++) {
		call = STAILQ_FIRST(&connection->replies);
		if (call == NULL)
			break;
		STAILQ_REMOVE_HEAD(&connection->replies, link);
		STAILQ_INSERT_TAIL(&connection->sending, call, link);
		for (unsigned j = 0; j < call->iov_count; j++)
			connection->iov[iov_count++] = call->iov[j];
	}
	return iov_count;
}

static void send(struct nbd_connection *connection)
{
	struct stream_cmd cmd = { .iov = connection->iov };

	if (!(connection->flags & NBD_CONNECTION_GREETED)) {
		connection->flags |= NBD_CONNECTION_GREETED;
		connection->iov[0] = (struct iovec){ connection->greeting,
			                             nbd_write_greeting(connection->greeting) };
		cmd.iov_count = 1;
	} else if (connection->output != NULL) {
		connection->iov[0] =
		        (struct iovec){ connection->output->data, connection->output->used };
		cmd.iov_count = 1;
	} else {
		cmd.iov_count = gather_replies(connection);
	}
	if (cmd.iov_count == 0)
		return;
	connection->flags |= NBD_CONNECTION_SENDING;
	set_deadline(connection);
	req_push(&connection->req, struct send_frame, connection_sent);
	stream_send(connection->stream, &connection->req, &cmd);
}

/* The turn. */

static void request_give_up(struct nbd_connection *connection)
{
	struct nbd_call *head = connection->head, *receiving = connection->receiving;

	connection->head = NULL;
	connection->receiving = NULL;
	if (head != NULL)
		nbd_request_give_up(head, receiving, connection->pieces_end);
}

/*
 * What is under way is answered; of what has not come whole the peer hears that we go. Requests
 * that wait in the stash are refused one by one.
 */
static void drain(struct nbd_connection *connection)
{
	if (connection->phase < NBD_PHASE_REQUEST) {
		nbd_connection_kill(connection);
		return;
	}
	if (connection->flags & NBD_CONNECTION_HUNGRY)
		return; /* it is all there, and gets its turn */
	if (connection->phase == NBD_PHASE_PAYLOAD)
		request_give_up(connection);
	connection->flags |= NBD_CONNECTION_CLOSING;
}

static bool is_through(const struct nbd_connection *connection)
{
	return (connection->flags & NBD_CONNECTION_CLOSING) && connection->output == NULL &&
	       !(connection->flags & NBD_CONNECTION_SENDING) && connection->calls == 0;
}

/* Whether it has gone. */
static bool connection_try_close(struct nbd_connection *connection)
{
	if (is_through(connection))
		connection->flags |= NBD_CONNECTION_BROKEN;
	if (!(connection->flags & NBD_CONNECTION_BROKEN))
		return false;
	if (connection->stream != NULL)
		stream_close(connection->stream);
	connection->stream = NULL;
	request_give_up(connection);
	connection->ordered = NULL;
	STAILQ_CONCAT(&connection->replies, &connection->held);
	replies_drop(&connection->replies);
	if (connection->data != NULL)
		nbd_buf_free(connection->server, connection->data);
	connection->data = NULL;
	if (connection->flags & NBD_CONNECTION_SENDING)
		return false;
	output_drop(connection);
	if (connection->calls > 0)
		return false;
	nbd_connection_free(connection);
	return true;
}

static void connection_settle(struct nbd_connection *connection)
{
	struct nbd_server *server = connection->server;

	take_stash(connection);
	if ((connection->flags & NBD_CONNECTION_DRAINING) && takes_input(connection))
		drain(connection);
	if (!(connection->flags & (NBD_CONNECTION_BROKEN | NBD_CONNECTION_SENDING)))
		send(connection);
	if (connection_try_close(connection))
		return;
	TAILQ_REMOVE(&server->ready, connection, ready_link);
	connection->flags &= ~(uint32_t)NBD_CONNECTION_READY;
	if (!(connection->flags & NBD_CONNECTION_HUNGRY))
		return;
	connection->flags |= NBD_CONNECTION_STARVED;
	TAILQ_INSERT_TAIL(&server->starved, connection, ready_link);
}

/* Those that wait for memory try again when some was given back. */
static void feed(struct nbd_server *server)
{
	struct nbd_connection *connection;

	if (!server->freed)
		return;
	server->freed = false;
	while ((connection = TAILQ_FIRST(&server->starved)) != NULL)
		nbd_connection_ready(connection);
}

unsigned nbd_connections_run(struct actor *actor)
{
	struct nbd_server *server = container_of(actor, struct nbd_server, actor);
	struct nbd_connection *connection;
	unsigned count = 0;

	feed(server);
	TAILQ_FOREACH (connection, &server->ready, ready_link) {
		count += take_stash(connection);
	}
	return count;
}

void nbd_connections_settle(struct actor *actor)
{
	struct nbd_server *server = container_of(actor, struct nbd_server, actor);
	struct nbd_connection *connection;

	do {
		feed(server);
		while ((connection = TAILQ_FIRST(&server->ready)) != NULL)
			connection_settle(connection);
	} while (server->freed && !TAILQ_EMPTY(&server->starved));
}
