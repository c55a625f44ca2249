/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of the RESP face: bytes in, calls, bytes out. All replies of a turn leave in one
 * send. Whatever holds a connection up (a call that must wait, no call free, a reader that is slow)
 * ends with an event that puts it into server->ready, from where it goes on.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

enum {
	HOLDER_S = 5,
	/* Bytes that may wait to be parsed before the stream is paused: more than a line may have,
	 * since only the bytes that follow show that a line is too long. */
	INPUT_PAUSE = RESP_LINE_MAX + 1,
	OUTPUT_PAUSE = 1 << 20, /* bytes that may wait to be sent before parsing stops */
	SWEEP_NS = 1000 * 1000000,
	STUCK_S = 60, /* a reader that took nothing for so long is cut off */
};

struct send_frame {
	struct frame frame;
};

void resp_connection_ready(struct resp_connection *connection)
{
	struct resp_server *server = connection->server;

	if (connection->flags & RESP_CONNECTION_READY)
		return;
	if (connection->flags & RESP_CONNECTION_STARVED)
		TAILQ_REMOVE(&server->starved, connection, ready_link);
	connection->flags &= ~(uint32_t)RESP_CONNECTION_STARVED;
	connection->flags |= RESP_CONNECTION_READY;
	TAILQ_INSERT_TAIL(&server->ready, connection, ready_link);
}

static void connection_starve(struct resp_connection *connection)
{
	uint32_t flags = connection->flags;

	connection->flags |= RESP_CONNECTION_STARVED;
	/* One that is ready now becomes a starved one when the turn is settled. */
	if (!(flags & (RESP_CONNECTION_STARVED | RESP_CONNECTION_READY)))
		TAILQ_INSERT_TAIL(&connection->server->starved, connection, ready_link);
}

/* Parsing. */

/*
 * Memory is shared by arguments of calls under way, replies and input that waits. Past a quarter of
 * it nothing more is read ahead, past a half no call starts beside another of its connection: what
 * is left takes what the kernel has handed over meanwhile.
 */
static bool memory_is_short(const struct resp_connection *connection, unsigned share)
{
	const struct bufs *bufs = connection->server->bufs;

	return bufs->used_size > (uint64_t)bufs->slab_count * BUF_SIZE_MAX / share;
}

static bool may_parse(struct resp_connection *connection)
{
	if (connection->flags & RESP_CONNECTION_CLOSING)
		return false;
	if (connection->reading != NULL)
		return true;
	if (connection->call_count > 0 && memory_is_short(connection, 2))
		return false;
	return connection->waiting == NULL && connection->call_count < RESP_PIPELINE_MAX &&
	       resp_out_size(&connection->out) - connection->out_sent < OUTPUT_PAUSE &&
	       resp_calls_are_left(connection->server);
}

static void parse_failed(struct resp_connection *connection, struct bytes text)
{
	struct resp_call *call = connection->reading;

	assert(text.data[text.size] == '\0');
	if (call == NULL)
		call = resp_call_get(connection);
	assert(call != NULL); /* may_parse() saw one */
	connection->reading = NULL;
	connection->server->stats.protocol_errors++;
	call->discarded = true;
	call->error_text = (const char *)text.data;
	resp_call_arrived(call);
	resp_connection_shut(connection);
}

/* False: quotes do not match. */
static bool parse_inline(struct resp_connection *connection, struct bytes line)
{
	uint8_t *scratch = connection->server->scratch;
	struct bytes rest = line;
	struct resp_call *call;
	uint64_t count = 0;
	long size;

	while ((size = resp_split_word(&rest, scratch)) >= 0)
		count++;
	if (size == -1)
		return false;
	if (count == 0)
		return true;
	call = resp_call_get(connection);
	assert(call != NULL); /* may_parse() saw one */
	resp_call_begin(call, count);
	while ((size = resp_split_word(&line, scratch)) >= 0)
		resp_call_argument(call, bytes_of(scratch, (size_t)size));
	resp_call_arrived(call);
	return true;
}

static struct resp_limits limits_of(const struct resp_connection *connection)
{
	const struct resp_settings *settings = &connection->server->settings;

	return (struct resp_limits){
		.bulk_max = settings->bulk_max,
		.count_max = RESP_COUNT_MAX,
		.authenticated = !settings->authentication_required ||
		                 (connection->flags & RESP_CONNECTION_AUTHENTICATED),
	};
}

/* One event; false: no more can be parsed now. */
static bool parse_event(struct resp_connection *connection, const struct resp_event *event)
{
	struct resp_call *call = connection->reading;

	switch (event->type) {
	case RESP_NEED_MORE:
		return false;
	case RESP_BEGIN:
		assert(call == NULL);
		connection->reading = resp_call_get(connection);
		assert(connection->reading != NULL); /* may_parse() saw one */
		resp_call_begin(connection->reading, event->size);
		return true;
	case RESP_ARGUMENT:
		resp_call_argument(call, event->data);
		return true;
	case RESP_BULK:
		if (!resp_upload_begin(call, event->size))
			resp_call_bulk(call, event->size);
		return true;
	case RESP_PIECE:
		if (call->upload != NULL)
			resp_upload_piece(call, event->data, event->last);
		else
			resp_call_piece(call, event->data, event->last);
		return true;
	case RESP_END:
		connection->reading = NULL;
		resp_call_arrived(call);
		return true;
	case RESP_INLINE:
		if (!parse_inline(connection, event->data))
			parse_failed(connection,
			             BYTES("ERR Protocol error: unbalanced quotes in request"));
		return true;
	case RESP_ERROR:
		parse_failed(connection, event->data);
		return false;
	}
	unreachable();
	return false;
}

static void parse(struct resp_connection *connection, struct bytes *input)
{
	struct resp_limits limits = limits_of(connection);
	struct resp_event event;

	while (may_parse(connection)) {
		struct resp_call *call = connection->reading;
		size_t room =
		        call != NULL && call->upload != NULL ? resp_upload_room(call) : SIZE_MAX;
		struct bytes part = bytes_of(input->data, input->size < room ? input->size : room);
		size_t taken = part.size;

		if (room == 0)
			return;
		resp_next(&connection->parser, &limits, &part, &event);
		taken -= part.size;
		*input = bytes_of(input->data + taken, input->size - taken);
		if (!parse_event(connection, &event))
			return;
		if (event.type == RESP_END || event.type == RESP_INLINE)
			limits = limits_of(connection);
	}
	if (!resp_calls_are_left(connection->server))
		connection_starve(connection);
}

/* Input that waits. */

static struct bytes input_rest(const struct resp_connection *connection)
{
	const struct buf *input = connection->input;

	if (input == NULL)
		return bytes_of(NULL, 0);
	return bytes_of(input->data + connection->input_start,
	                input->used - connection->input_start);
}

static void input_drop(struct resp_connection *connection)
{
	if (connection->input != NULL)
		buf_unref(connection->input);
	connection->input = NULL;
	connection->input_start = 0;
}

/* What must be kept is kept: when all memory is cut into larger buffers, in one of those. */
static struct buf *input_get(struct bufs *bufs, size_t size)
{
	struct buf *buf = buf_get(bufs, size);

	while (buf == NULL && size < BUF_SIZE_MAX) {
		size = size > BUF_SIZE_MAX / 4 ? BUF_SIZE_MAX : size * 4;
		buf = buf_get(bufs, size);
	}
	return buf;
}

/* Puts `data` behind what waits already. False: there is no memory for it. */
static bool input_append(struct resp_connection *connection, struct bytes data)
{
	struct bytes rest = input_rest(connection);
	struct buf *input = connection->input, *bigger;

	if (data.size == 0)
		return true;
	if (rest.size + data.size > BUF_SIZE_MAX)
		return false;
	if (input == NULL || rest.size + data.size > input->size) {
		bigger = input_get(connection->server->bufs, rest.size + data.size);
		if (bigger == NULL)
			return false;
		if (rest.size > 0)
			memcpy(bigger->data, rest.data, rest.size);
		input_drop(connection);
		connection->input = input = bigger;
		input->used = (uint32_t)rest.size;
	} else if (input->used + data.size > input->size) {
		memmove(input->data, rest.data, rest.size);
		connection->input_start = 0;
		input->used = (uint32_t)rest.size;
	}
	memcpy(input->data + input->used, data.data, data.size);
	input->used += (uint32_t)data.size;
	return true;
}

static void input_parse(struct resp_connection *connection)
{
	struct bytes rest = input_rest(connection);

	parse(connection, &rest);
	if (rest.size == 0 || (connection->flags & RESP_CONNECTION_CLOSING))
		input_drop(connection);
	else
		connection->input_start = connection->input->used - (uint32_t)rest.size;
}

static void pause_if_full(struct resp_connection *connection)
{
	bool paused = connection->flags & RESP_CONNECTION_PAUSED;
	size_t waiting = input_rest(connection).size;
	/* With calls under way: else it waits for the rest of a command, and nothing would end it.
	 */
	bool busy = connection->call_count > 0 ||
	            (connection->reading != NULL && !resp_upload_is_idle(connection->reading));
	bool full =
	        waiting >= INPUT_PAUSE || (waiting > 0 && busy && memory_is_short(connection, 4));

	if (connection->stream == NULL || paused == full)
		return;
	connection->flags ^= RESP_CONNECTION_PAUSED;
	stream_pause(connection->stream, full);
}

static void connection_received(struct stream *stream, struct bytes data)
{
	struct resp_connection *connection = stream->owner;

	connection->bytes_in += data.size;
	metric_add(&connection->server->stats.bytes_in, data.size);
	connection->active_ns = connection->server->worker->now_ns;
	if (connection->flags & RESP_CONNECTION_CLOSING)
		return;
	if (connection->input == NULL) {
		parse(connection, &data);
		if (connection->flags & RESP_CONNECTION_CLOSING)
			return;
	}
	if (!input_append(connection, data)) {
		resp_connection_kill(connection);
		return;
	}
	if (connection->input != NULL) {
		input_parse(connection);
		pause_if_full(connection);
	}
}

/* The end. */

static void connection_ended(struct stream *stream, enum status status)
{
	struct resp_connection *connection = stream->owner;

	connection->flags |= RESP_CONNECTION_ENDED;
	if (status != STATUS_OK)
		resp_connection_kill(connection);
	else
		resp_connection_ready(connection);
}

static void drop_unstarted(struct resp_connection *connection)
{
	struct resp_call *waiting = connection->waiting;

	if (connection->reading != NULL) {
		resp_call_free(connection->reading);
		connection->reading = NULL;
	}
	connection->waiting = NULL;
	if (waiting != NULL) {
		assert(waiting->phase == RESP_CALL_WAITING);
		resp_call_done(waiting);
	}
}

void resp_connection_shut(struct resp_connection *connection)
{
	connection->flags |= RESP_CONNECTION_CLOSING;
	resp_connection_ready(connection);
}

void resp_connection_kill(struct resp_connection *connection)
{
	if (connection->discards_output)
		return;
	connection->discards_output = true;
	connection->flags |= RESP_CONNECTION_CLOSING;
	resp_connection_ready(connection);
}

static void connection_free(struct resp_connection *connection)
{
	struct resp_server *server = connection->server;

	assert(STAILQ_EMPTY(&connection->calls));
	assert(!connection->sending && connection->stream == NULL);
	resp_multi_discard(connection);
	resp_watch_clear(connection);
	resp_unsubscribe_all(connection);
	input_drop(connection);
	resp_out_fini(&connection->out);
	resp_out_fini(&connection->push);
	if (connection->flags & RESP_CONNECTION_READY)
		TAILQ_REMOVE(&server->ready, connection, ready_link);
	else if (connection->flags & RESP_CONNECTION_STARVED)
		TAILQ_REMOVE(&server->starved, connection, ready_link);
	connection->flags = 0;
	TAILQ_REMOVE(&server->connections, connection, link);
	TAILQ_INSERT_HEAD(&server->connections_free, connection, link);
	metric_set(&server->stats.connections, --server->connection_count);
}

/* Whether it has gone. */
static bool connection_try_close(struct resp_connection *connection)
{
	bool ended = (connection->flags & RESP_CONNECTION_ENDED) && connection->waiting == NULL &&
	             connection->call_count == 0 &&
	             !(connection->flags & RESP_CONNECTION_STARVED) &&
	             connection->out_sent == connection->out_ready;

	if (ended)
		connection->flags |= RESP_CONNECTION_CLOSING;
	if (!(connection->flags & RESP_CONNECTION_CLOSING))
		return false;
	if (connection->discards_output && connection->stream != NULL) {
		stream_close(connection->stream);
		connection->stream = NULL;
	}
	if (connection->discards_output && connection->streaming != NULL)
		resp_send_resume(connection);
	drop_unstarted(connection);
	if (connection->call_count > 0 || connection->sending)
		return false;
	if (!connection->discards_output && connection->out_sent < connection->out_ready)
		return false;
	if (connection->stream != NULL)
		stream_close(connection->stream);
	connection->stream = NULL;
	connection_free(connection);
	return true;
}

/* Sending. */

static void connection_sent(struct req *req)
{
	struct resp_connection *connection = container_of(req, struct resp_connection, send_req);
	struct resp_out *out = &connection->out;
	uint64_t released;

	req_pop(req, struct send_frame);
	connection->sending = false;
	connection->active_ns = connection->server->worker->now_ns;
	resp_connection_ready(connection);
	if (req->status != STATUS_OK) {
		resp_connection_kill(connection);
		return;
	}
	assert(req->result == connection->out_taken - connection->out_sent);
	connection->bytes_out += req->result;
	metric_add(&connection->server->stats.bytes_out, req->result);
	connection->out_sent = connection->out_taken;
	if (resp_out_size(out) == connection->out_sent && !connection->out_lent) {
		resp_out_fini(out);
		connection->out_ready = connection->out_sent = connection->out_taken = 0;
	} else {
		released = resp_out_release(out, connection->out_sent);
		connection->out_ready -= released;
		connection->out_sent -= released;
		connection->out_taken -= released;
	}
	if (connection->streaming != NULL)
		resp_send_resume(connection);
}

static void connection_send(struct resp_connection *connection)
{
	uint64_t skip = connection->out_sent, left = connection->out_ready - skip;
	const struct resp_segment *segment = connection->out.first;
	struct stream_cmd cmd = { .iov = connection->iov };

	assert(!connection->sending && left > 0);
	for (; left > 0 && cmd.iov_count < STREAM_IOV_MAX; segment = segment->next) {
		uint64_t used = segment == connection->out.last
		                        ? (uint64_t)(connection->out.cursor - segment->data)
		                        : segment->used;
		uint64_t part;

		if (used <= skip) {
			skip -= used;
			continue;
		}
		part = used - skip < left ? used - skip : left;
		connection->iov[cmd.iov_count++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)(segment->data + skip),
			.iov_len = part,
		};
		left -= part;
		skip = 0;
	}
	connection->out_taken = connection->out_ready - left;
	connection->sending = true;
	req_push(&connection->send_req, struct send_frame, connection_sent);
	stream_send(connection->stream, &connection->send_req, &cmd);
}

/* The turn. */

/* Goes on with what was held up; returns how many calls started. */
static unsigned connection_resume(struct resp_connection *connection)
{
	uint64_t before = connection->command_count;
	unsigned started = 0;

	connection->flags &= ~(uint32_t)RESP_CONNECTION_STARVED;
	if (connection->discards_output)
		return 0;
	if (connection->waiting != NULL) {
		if (!resp_call_try_start(connection->waiting))
			return 0;
		connection->waiting = NULL;
		started = 1;
	}
	if (connection->input != NULL) {
		input_parse(connection);
		pause_if_full(connection);
	}
	return started + (unsigned)(connection->command_count - before);
}

unsigned resp_connections_run(struct actor *actor)
{
	struct resp_server *server = container_of(actor, struct resp_server, actor);
	struct resp_connection *connection;
	unsigned count = resp_txns_run(server);

	while (resp_calls_are_left(server) && (connection = TAILQ_FIRST(&server->starved)) != NULL)
		resp_connection_ready(connection);
	TAILQ_FOREACH (connection, &server->ready, ready_link) {
		count += connection_resume(connection);
	}
	return count;
}

void resp_connections_settle(struct actor *actor)
{
	struct resp_server *server = container_of(actor, struct resp_server, actor);
	struct resp_connection *connection, *next;

	resp_connections_run(actor);
	for (connection = TAILQ_FIRST(&server->ready); connection != NULL; connection = next) {
		if (!connection->discards_output && !connection->sending &&
		    connection->out_ready > connection->out_sent)
			connection_send(connection);
		if (connection_try_close(connection)) {
			next = TAILQ_FIRST(&server->ready);
			continue;
		}
		TAILQ_REMOVE(&server->ready, connection, ready_link);
		connection->flags &= ~(uint32_t)RESP_CONNECTION_READY;
		if (connection->flags & RESP_CONNECTION_STARVED)
			TAILQ_INSERT_TAIL(&server->starved, connection, ready_link);
		next = TAILQ_FIRST(&server->ready);
	}
}

static void connection_sweep(struct resp_connection *connection)
{
	struct resp_server *server = connection->server;
	uint64_t idle_s = (server->worker->now_ns - connection->active_ns) / 1000000000;
	uint32_t timeout_s = server->settings.idle_timeout_s;

	if (connection->flags & RESP_CONNECTION_CLOSING)
		return;
	if (resp_is_listening(connection))
		resp_push_sweep(connection);
	if (connection->sending && idle_s >= STUCK_S) {
		server->stats.output_closed++;
		resp_connection_kill(connection);
	} else if (connection->reading != NULL && resp_upload_is_idle(connection->reading) &&
	           (!TAILQ_EMPTY(&server->starved) || resp_uploads_wait(server)) &&
	           idle_s >= HOLDER_S) {
		/* Half a request holds a call, or a buffer, that others wait for. */
		server->stats.idle_closed++;
		resp_connection_kill(connection);
	} else if (timeout_s > 0 && idle_s >= timeout_s && connection->call_count == 0 &&
	           !resp_is_listening(connection)) {
		server->stats.idle_closed++;
		resp_connection_kill(connection);
	}
}

static void server_sweep(struct timer *timer)
{
	struct resp_server *server = container_of(timer, struct resp_server, sweep);
	struct resp_connection *connection;

	TAILQ_FOREACH (connection, &server->connections, link) {
		connection_sweep(connection);
	}
	resp_uploads_wake(server);
	resp_expired_wake(server);
	timer_arm(&server->worker->timers, timer, server->worker->now_ns + SWEEP_NS, server_sweep);
}

void resp_sweep_start(struct resp_server *server)
{
	timer_arm(&server->worker->timers, &server->sweep, server->worker->now_ns + SWEEP_NS,
	          server_sweep);
}

/* The beginning. */

void resp_connection_reset(struct resp_connection *connection)
{
	resp_multi_discard(connection);
	resp_watch_clear(connection);
	resp_unsubscribe_all(connection);
	connection->flags &= RESP_CONNECTION_CLOSING | RESP_CONNECTION_PAUSED |
	                     RESP_CONNECTION_ENDED | RESP_CONNECTION_READY |
	                     RESP_CONNECTION_STARVED;
	connection->db = 0;
	connection->protocol = 2;
	connection->name_size = 0;
	connection->name[0] = '\0';
	connection->user = connection->server->default_user;
}

static const struct stream_handler connection_handler = {
	.received = connection_received,
	.ended = connection_ended,
};

static bool server_accepted(struct listener *listener, struct stream *stream)
{
	struct resp_server *server = listener->owner;
	struct resp_connection *connection = TAILQ_FIRST(&server->connections_free);

	assert(stream->worker == server->worker);
	if (connection == NULL && server->connections_made < server->connections_max) {
		connection = &server->connection_memory[server->connections_made++];
		TAILQ_INSERT_HEAD(&server->connections_free, connection, link);
	}
	if (connection == NULL || server->draining ||
	    server->connection_count >= server->settings.connections_max) {
		server->stats.connections_refused++;
		return false;
	}
	TAILQ_REMOVE(&server->connections_free, connection, link);
	*connection = (struct resp_connection){
		.server = server,
		.stream = stream,
		.id = server->connection_id_next++,
		.created_ns = server->worker->now_ns,
		.active_ns = server->worker->now_ns,
	};
	STAILQ_INIT(&connection->calls);
	LIST_INIT(&connection->subscriptions);
	resp_out_init(&connection->push, NULL, 0, server->bufs);
	resp_out_init(&connection->out, NULL, 0, server->bufs);
	req_init(&connection->send_req, server->worker);
	resp_connection_reset(connection);
	TAILQ_INSERT_TAIL(&server->connections, connection, link);
	metric_set(&server->stats.connections, ++server->connection_count);
	metric_add(&server->stats.connections_received, 1);
	stream->handler = &connection_handler;
	stream->owner = connection;
	return true;
}

const struct listener_handler resp_listener_handler = { .accepted = server_accepted };
