/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of HTTP/1: one exchange at a time; what comes meanwhile waits, and in the end the
 * peer does. Callbacks of the transport and calls of handlers leave marks; the turn does the work.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/http_internal.h"

enum {
	INPUT_PAUSE = 64 << 10, /* bytes that may wait before the stream is paused */
	BODY_GRACE_S = 10,      /* before the rate of a body counts */
	ROUNDS_MAX = 64,        /* of a connection at the end of a turn */
};
#define SECOND_NS 1000000000ull
#define LINGER_NS (2 * SECOND_NS) /* for an answer to a peer that still sends */

struct send_frame {
	struct frame frame;
};

static uint64_t now_ns(const struct http_connection *connection)
{
	return connection->server->worker->now_ns;
}

/* Input that waits. */

static struct bytes input_rest(const struct http_connection *connection)
{
	const struct buf *input = connection->input;

	if (input == NULL)
		return bytes_of(NULL, 0);
	return bytes_of(input->data + connection->input_start,
	                input->used - connection->input_start);
}

static void input_drop(struct http_connection *connection)
{
	if (connection->input != NULL)
		buf_unref(connection->input);
	connection->input = NULL;
	connection->input_start = 0;
}

/* Puts `data` behind what waits already. False: there is no memory for it. */
static bool input_append(struct http_connection *connection, struct bytes data)
{
	struct bytes rest = input_rest(connection);
	struct buf *input = connection->input, *bigger;

	if (data.size == 0)
		return true;
	if (rest.size + data.size > BUF_SIZE_MAX)
		return false;
	if (input == NULL || rest.size + data.size > input->size) {
		bigger = buf_get(connection->server->bufs, rest.size + data.size);
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

static void pause_if_full(struct http_connection *connection)
{
	const struct http_exchange *exchange = connection->exchange;
	bool paused = connection->flags & HTTP_CONNECTION_PAUSED;
	size_t waiting = input_rest(connection).size;
	/* Behind an exchange: else it waits for the rest of something, and nothing would end it. */
	bool behind = exchange != NULL && ((exchange->flags & HTTP_EXCHANGE_BODY_DONE) ||
	                                   !http_exchange_takes_body(exchange));
	bool full = waiting >= INPUT_PAUSE ||
	            (waiting > 0 && behind && http_memory_is_short(connection->server));

	if (connection->stream == NULL || paused == full)
		return;
	connection->flags ^= HTTP_CONNECTION_PAUSED;
	stream_pause(connection->stream, full);
}

/* Requests. */

static void begin_failed(struct http_connection *connection, unsigned status, const char *text)
{
	struct http_exchange *exchange = connection->exchange;

	connection->flags &= ~(uint32_t)HTTP_CONNECTION_IN_HEAD;
	connection->flags |= HTTP_CONNECTION_CLOSING;
	connection->deadline_ns = UINT64_MAX;
	if (exchange == NULL)
		exchange = http_exchange_get(connection);
	if (exchange == NULL) {
		http_connection_kill(connection);
		return;
	}
	connection->exchange = exchange;
	http_answer_alone(exchange, status, text);
}

static void request_failed(struct http_connection *connection, const struct http1_event *event)
{
	struct http_exchange *exchange = connection->exchange;

	connection->server->stats.malformed++;
	if (exchange == NULL) {
		begin_failed(connection, event->status, event->reason);
		return;
	}
	/* Its body is: the handler has begun, so that there is no place for another answer. */
	if (exchange->answer_phase != HTTP_ANSWER_ENDED)
		http_connection_kill(connection);
	else
		connection->flags |= HTTP_CONNECTION_CLOSING;
}

static void request_begin(struct http_connection *connection, const struct http1_head *head,
                          bool body_done)
{
	struct http_server *server = connection->server;
	struct http_exchange *exchange = http_exchange_get(connection);

	assert(exchange != NULL); /* there was one before the head was parsed */
	connection->exchange = exchange;
	connection->flags &= ~(uint32_t)HTTP_CONNECTION_IN_HEAD;
	connection->deadline_ns = UINT64_MAX;
	if (!head->keep_alive || ++connection->request_count >= server->limits.requests_max)
		exchange->flags |= HTTP_EXCHANGE_CLOSE;
	if (head->expects_continue)
		exchange->flags |= HTTP_EXCHANGE_CONTINUE;
	if (body_done)
		exchange->flags |= HTTP_EXCHANGE_BODY_DONE;
	if (!http_exchange_begin(exchange, head)) {
		begin_failed(connection, exchange->status, http_reason(exchange->status));
		return;
	}
	server->stats.requests[exchange->request.method]++;
	server->handler->begin(exchange);
}

static void request_head(struct http_connection *connection, const struct http1_limits *limits,
                         struct http1_event *event, struct bytes *input)
{
	struct http1_head head = event->head;
	bool body_done = head.framing != HTTP1_CHUNKED && head.body_size == 0;

	if (body_done) {
		http1_next(&connection->parser, limits, input, event);
		assert(event->type == HTTP1_END); /* it needs no more input */
	}
	request_begin(connection, &head, body_done);
}

/* Offers what of the input is the body's; false: the handler wants no more of it now. */
static bool body_offer(struct http_connection *connection, struct bytes piece, struct bytes *input)
{
	size_t taken = http_exchange_body(connection->exchange, piece);

	assert(piece.data == input->data && piece.size <= input->size);
	input->data += taken;
	input->size -= taken;
	connection->held = piece.size - taken;
	return connection->held == 0 ||
	       (taken > 0 && http_exchange_takes_body(connection->exchange));
}

static void body_end(struct http_connection *connection, const struct http1_event *event)
{
	if (!http_exchange_body_end(connection->exchange, event->head.fields,
	                            event->head.field_count))
		http_connection_kill(connection);
}

/* One event; false: no more can be taken now. */
static bool take_event(struct http_connection *connection, struct bytes *input)
{
	struct http_server *server = connection->server;
	const struct http1_limits limits = {
		.line_max = HTTP_TARGET_MAX,
		.head_max = HTTP_HEAD_MAX,
		.body_max = UINT64_MAX >> 1,
		.fields = server->fields,
		.field_max = HTTP_FIELDS_MAX,
	};
	struct http1_event event;

	if (connection->held > 0)
		return body_offer(connection, bytes_of(input->data, connection->held), input);
	http1_next(&connection->parser, &limits, input, &event);
	switch (event.type) {
	case HTTP1_NEED_MORE:
		return false;
	case HTTP1_HEAD:
		request_head(connection, &limits, &event, input);
		return true;
	case HTTP1_BODY:
		input->data -= event.body.size;
		input->size += event.body.size;
		return body_offer(connection, event.body, input);
	case HTTP1_END:
		body_end(connection, &event);
		return true;
	case HTTP1_ERROR:
		request_failed(connection, &event);
		return false;
	}
	unreachable();
	return false;
}

/* Whether something may be taken from the front of the input. */
static bool may_take(struct http_connection *connection, const struct bytes *input)
{
	const struct http_exchange *exchange = connection->exchange;

	if (connection->flags & (HTTP_CONNECTION_BROKEN | HTTP_CONNECTION_LINGER))
		return false;
	if (exchange != NULL)
		return !(exchange->flags & (HTTP_EXCHANGE_BODY_DONE | HTTP_EXCHANGE_ALONE)) &&
		       http_exchange_takes_body(exchange);
	if ((connection->flags & HTTP_CONNECTION_CLOSING) || input->size == 0)
		return false;
	if (http_exchanges_are_left(connection->server))
		return true;
	http_connection_starve(connection);
	return false;
}

/* How long the peer lets us wait for the body is counted while somebody takes it. */
static void body_clock(struct http_connection *connection, size_t taken)
{
	struct http_exchange *exchange = connection->exchange;
	bool waits = exchange != NULL && !(exchange->flags & HTTP_EXCHANGE_BODY_DONE) &&
	             exchange->body_mode != HTTP_BODY_HELD;

	if (exchange == NULL || (exchange->flags & HTTP_EXCHANGE_SENDING))
		return;
	if (exchange->wait_since_ns != 0 && (taken > 0 || !waits)) {
		exchange->waited_ns += now_ns(connection) - exchange->wait_since_ns;
		exchange->wait_since_ns = 0;
	}
	connection->deadline_ns = UINT64_MAX;
	if (!waits)
		return;
	if (exchange->wait_since_ns == 0)
		exchange->wait_since_ns = now_ns(connection);
	connection->deadline_ns =
	        exchange->wait_since_ns + connection->server->limits.body_timeout_ns;
}

static unsigned take(struct http_connection *connection, struct bytes *input)
{
	size_t before = input->size;
	unsigned count = 0;

	while (may_take(connection, input) && take_event(connection, input))
		count++;
	body_clock(connection, before - input->size);
	if (connection->exchange == NULL && input->size > 0 &&
	    !(connection->flags & (HTTP_CONNECTION_IN_HEAD | HTTP_CONNECTION_CLOSING))) {
		connection->flags |= HTTP_CONNECTION_IN_HEAD;
		connection->deadline_ns =
		        now_ns(connection) + connection->server->limits.head_timeout_ns;
	}
	return count;
}

static unsigned take_input(struct http_connection *connection)
{
	struct bytes rest = input_rest(connection);
	unsigned count = take(connection, &rest);

	if (rest.size == 0 ||
	    (connection->flags & (HTTP_CONNECTION_BROKEN | HTTP_CONNECTION_LINGER)))
		input_drop(connection);
	else if (connection->input != NULL)
		connection->input_start = connection->input->used - (uint32_t)rest.size;
	pause_if_full(connection);
	return count;
}

/* Whether both ends agreed on HTTP/2 before a byte of it was sent, as TLS can (ALPN "h2"). */
static bool chose_http2(const struct stream *stream)
{
	return strcmp(stream_alpn(stream), "h2") == 0;
}

/*
 * The first bytes of a connection: whether they are the preface of HTTP/2. A part of it is kept,
 * which is no whole request line of HTTP/1 either.
 */
static void connection_speaks(struct http_connection *connection, struct bytes data)
{
	const struct bytes preface = BYTES("PRI * HTTP/2.0");
	const struct bytes before = input_rest(connection);
	size_t wanted = preface.size - before.size;
	size_t size = data.size < wanted ? data.size : wanted;

	if (chose_http2(connection->stream)) {
		connection->flags |= HTTP_CONNECTION_SPOKEN | HTTP_CONNECTION_HTTP2;
		return;
	}
	assert(before.size < preface.size);
	if (memcmp(preface.data + before.size, data.data, size) != 0)
		connection->flags |= HTTP_CONNECTION_SPOKEN;
	else if (size == wanted)
		connection->flags |= HTTP_CONNECTION_SPOKEN | HTTP_CONNECTION_HTTP2;
}

static void http2_begin(struct http_connection *connection, struct bytes data)
{
	struct buf *input = connection->input;

	connection->flags &= ~(uint32_t)HTTP_CONNECTION_IN_HEAD;
	connection->input = NULL;
	if (!http2_connection_open(connection)) {
		http_connection_kill(connection);
	} else {
		if (input != NULL)
			http2_connection_received(connection, bytes_of(input->data, input->used));
		http2_connection_received(connection, data);
	}
	if (input != NULL)
		buf_unref(input);
}

static void connection_received(struct stream *stream, struct bytes data)
{
	struct http_connection *connection = stream->owner;

	connection->server->stats.bytes_in += data.size;
	http_connection_ready(connection);
	if (connection->flags & (HTTP_CONNECTION_BROKEN | HTTP_CONNECTION_LINGER))
		return;
	if (!(connection->flags & HTTP_CONNECTION_SPOKEN)) {
		connection_speaks(connection, data);
		if (connection->flags & HTTP_CONNECTION_HTTP2) {
			http2_begin(connection, data);
			return;
		}
	}
	if (connection->http2 != NULL) {
		http2_connection_received(connection, data);
		return;
	}
	if (connection->input == NULL)
		take(connection, &data);
	if (connection->flags & (HTTP_CONNECTION_BROKEN | HTTP_CONNECTION_LINGER))
		return;
	if (!input_append(connection, data))
		http_connection_kill(connection);
	else if (connection->input != NULL)
		take_input(connection);
}

static void connection_ended(struct stream *stream, enum status status)
{
	struct http_connection *connection = stream->owner;

	connection->flags |= HTTP_CONNECTION_ENDED;
	if (status != STATUS_OK || (connection->flags & HTTP_CONNECTION_LINGER))
		http_connection_kill(connection);
	else
		http_connection_ready(connection);
}

const struct stream_handler http_stream_handler = {
	.received = connection_received,
	.ended = connection_ended,
};

void http_connection_kill(struct http_connection *connection)
{
	connection->flags |= HTTP_CONNECTION_BROKEN | HTTP_CONNECTION_CLOSING;
	http_connection_ready(connection);
}

void http_connection_drain(struct http_connection *connection)
{
	if (connection->exchange != NULL)
		connection->exchange->flags |= HTTP_EXCHANGE_CLOSE;
	if (connection->http2 != NULL)
		http2_connection_drain(connection);
	else
		connection->flags |= HTTP_CONNECTION_CLOSING;
	http_connection_ready(connection);
}

/* Sending. */

static void pieces_sent(struct http_exchange *exchange)
{
	assert(exchange->piece_sending <= exchange->piece_count);
	for (; exchange->piece_sending > 0; exchange->piece_sending--) {
		struct http_piece *piece = &exchange->pieces[exchange->piece_first];

		if (piece->buf != NULL)
			buf_unref(piece->buf);
		exchange->piece_first = (uint8_t)((exchange->piece_first + 1) % HTTP_PIECES_MAX);
		exchange->piece_count--;
	}
}

static void exchange_sent(struct req *req)
{
	struct http_exchange *exchange = container_of(req, struct http_exchange, req);
	struct http_connection *connection = exchange->connection;

	req_pop(req, struct send_frame);
	exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_SENDING;
	pieces_sent(exchange);
	connection->deadline_ns = UINT64_MAX;
	http_connection_ready(connection);
	if (req->status != STATUS_OK) {
		http_connection_kill(connection);
		return;
	}
	connection->server->stats.bytes_out += req->result;
}

struct gather {
	struct iovec *iov;
	unsigned count;
};

static void gather(struct gather *gather, struct bytes bytes)
{
	assert(gather->count < HTTP_IOV_MAX);
	assert(bytes.size > 0);
	gather->iov[gather->count++] = (struct iovec){
		.iov_base = (void *)(uintptr_t)bytes.data,
		.iov_len = bytes.size,
	};
}

static void gather_pieces(struct http_exchange *exchange, struct gather *to)
{
	bool chunked = exchange->flags & HTTP_EXCHANGE_CHUNKED;
	uint32_t used = 0;

	for (unsigned i = 0; i < exchange->piece_count; i++) {
		unsigned index = (exchange->piece_first + i) % HTTP_PIECES_MAX;
		const struct http_piece *piece = &exchange->pieces[index];

		if (chunked) {
			uint8_t *header = exchange->chunk_text + used;
			size_t size = http1_write_chunk(piece->bytes.size, header);

			gather(to, bytes_of(header, size));
			used += (uint32_t)size;
		}
		gather(to, piece->bytes);
		if (chunked)
			gather(to, BYTES("\r\n"));
	}
	exchange->piece_sending = exchange->piece_count;
}

/* What can be sent now; the head waits for the first bytes of the body. */
static void gather_answer(struct http_exchange *exchange, struct gather *to)
{
	bool ended = exchange->answer_phase == HTTP_ANSWER_ENDED;

	if (exchange->answer_phase < HTTP_ANSWER_STREAMS ||
	    (exchange->flags & (HTTP_EXCHANGE_END_SENT | HTTP_EXCHANGE_BROKEN)) ||
	    (!ended && exchange->piece_count == 0))
		return;
	if (!(exchange->flags & HTTP_EXCHANGE_HEAD_SENT)) {
		gather(to, bytes_of(exchange->answer.data, exchange->answer.used));
		exchange->flags |= HTTP_EXCHANGE_HEAD_SENT;
		exchange->server->stats.responses[exchange->status / 100]++;
	}
	gather_pieces(exchange, to);
	if (!ended)
		return;
	exchange->flags |= HTTP_EXCHANGE_END_SENT;
	if ((exchange->flags & HTTP_EXCHANGE_CHUNKED) &&
	    !(exchange->flags & HTTP_EXCHANGE_BODILESS))
		gather(to, BYTES("0\r\n\r\n"));
}

static void exchange_send(struct http_exchange *exchange)
{
	struct http_connection *connection = exchange->connection;
	struct gather to = { .iov = exchange->iov };
	struct stream_cmd cmd = { .iov = exchange->iov };

	if ((exchange->flags & HTTP_EXCHANGE_CONTINUE) && exchange->body_mode != HTTP_BODY_HELD) {
		exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_CONTINUE;
		if (exchange->body_mode != HTTP_BODY_DROP && exchange->body_received == 0)
			gather(&to, BYTES("HTTP/1.1 100 Continue\r\n\r\n"));
	}
	gather_answer(exchange, &to);
	if (to.count == 0)
		return;
	exchange->flags |= HTTP_EXCHANGE_SENDING;
	connection->deadline_ns = now_ns(connection) + connection->server->limits.send_timeout_ns;
	cmd.iov_count = to.count;
	req_push(&exchange->req, struct send_frame, exchange_sent);
	stream_send(connection->stream, &exchange->req, &cmd);
}

/* The turn. */

static bool exchange_is_over(const struct http_exchange *exchange)
{
	if (exchange->answer_phase != HTTP_ANSWER_ENDED || exchange->holds > 0 ||
	    (exchange->flags & HTTP_EXCHANGE_SENDING))
		return false;
	if (exchange->flags & (HTTP_EXCHANGE_ABORTED | HTTP_EXCHANGE_BROKEN))
		return true;
	if (!(exchange->flags & HTTP_EXCHANGE_END_SENT))
		return false;
	return (exchange->flags & (HTTP_EXCHANGE_BODY_DONE | HTTP_EXCHANGE_CLOSE)) ||
	       (exchange->connection->flags & HTTP_CONNECTION_ENDED);
}

void http_connection_linger(struct http_connection *connection)
{
	if (connection->flags & (HTTP_CONNECTION_ENDED | HTTP_CONNECTION_BROKEN)) {
		http_connection_kill(connection);
		return;
	}
	connection->flags |= HTTP_CONNECTION_LINGER | HTTP_CONNECTION_CLOSING;
	connection->deadline_ns = now_ns(connection) + LINGER_NS;
	input_drop(connection);
	pause_if_full(connection);
}

static void exchange_finish(struct http_connection *connection)
{
	struct http_exchange *exchange = connection->exchange;
	uint32_t flags = exchange->flags;

	connection->exchange = NULL;
	connection->deadline_ns = now_ns(connection) + connection->server->limits.idle_timeout_ns;
	http_exchange_end(exchange);
	if (flags & HTTP_EXCHANGE_BROKEN)
		http_connection_kill(connection);
	else if ((flags & HTTP_EXCHANGE_CLOSE) && !(flags & HTTP_EXCHANGE_BODY_DONE))
		http_connection_linger(connection);
	else if (flags & HTTP_EXCHANGE_CLOSE)
		connection->flags |= HTTP_CONNECTION_CLOSING;
}

static unsigned connection_run(struct http_connection *connection)
{
	struct http_exchange *exchange = connection->exchange;
	unsigned count = 0;

	if (connection->http2 != NULL)
		return http2_connection_run(connection);
	if ((connection->flags & HTTP_CONNECTION_BROKEN) && exchange != NULL)
		http_exchange_abort(exchange);
	if (exchange != NULL && exchange_is_over(exchange)) {
		exchange_finish(connection);
		count++;
	}
	if (connection->input != NULL)
		count += take_input(connection);
	else
		body_clock(connection, 0);
	if (connection->exchange != NULL)
		count += http_exchange_run(connection->exchange);
	return count;
}

static void feed_starved(struct http_server *server)
{
	struct http_connection *connection;

	while (http_exchanges_are_left(server) &&
	       (connection = TAILQ_FIRST(&server->starved)) != NULL)
		http_connection_ready(connection);
}

unsigned http_connections_run(struct actor *actor)
{
	struct http_server *server = container_of(actor, struct http_server, actor);
	struct http_connection *connection;
	unsigned count = 0;

	feed_starved(server);
	TAILQ_FOREACH (connection, &server->ready, ready_link) {
		count += connection_run(connection);
	}
	return count;
}

/* Whether the peer has ended and there is nothing to answer any more. */
static bool is_through(const struct http_connection *connection)
{
	const struct http_exchange *exchange = connection->exchange;

	if (!(connection->flags & HTTP_CONNECTION_ENDED) || connection->http2 != NULL ||
	    (connection->flags & HTTP_CONNECTION_STARVED))
		return false;
	/* A body that will never be whole; a head that will not. */
	return exchange == NULL || (!(exchange->flags & HTTP_EXCHANGE_BODY_DONE) &&
	                            exchange->answer_phase != HTTP_ANSWER_ENDED &&
	                            connection->held == 0 && connection->input == NULL);
}

/* Whether it has gone. */
static bool connection_try_close(struct http_connection *connection)
{
	if (is_through(connection))
		connection->flags |= HTTP_CONNECTION_BROKEN;
	if (connection->exchange == NULL && connection->http2 == NULL &&
	    (connection->flags & HTTP_CONNECTION_CLOSING) &&
	    !(connection->flags & HTTP_CONNECTION_LINGER))
		connection->flags |= HTTP_CONNECTION_BROKEN;
	if (!(connection->flags & HTTP_CONNECTION_BROKEN))
		return false;
	connection->flags |= HTTP_CONNECTION_CLOSING;
	if (connection->stream != NULL)
		stream_close(connection->stream);
	connection->stream = NULL;
	if (connection->exchange != NULL) {
		http_exchange_abort(connection->exchange);
		if (!exchange_is_over(connection->exchange))
			return false;
		exchange_finish(connection);
	}
	if (connection->http2 != NULL && !http2_connection_try_close(connection))
		return false;
	input_drop(connection);
	http_connection_free(connection);
	return true;
}

/* Does all that there is to do; what handlers make ready meanwhile is at the end of the list. */
static void connection_settle(struct http_connection *connection)
{
	struct http_server *server = connection->server;
	struct http_exchange *exchange;

	do {
		for (unsigned i = 0; i < ROUNDS_MAX && connection_run(connection) > 0; i++)
			continue;
		if (connection->http2 != NULL)
			http2_connection_settle(connection);
		exchange = connection->exchange;
		if (exchange != NULL && !(connection->flags & HTTP_CONNECTION_BROKEN) &&
		    !(exchange->flags & HTTP_EXCHANGE_SENDING))
			exchange_send(exchange);
		/* An end that is no bytes is sent at once. */
	} while (exchange != NULL && exchange_is_over(exchange));
	if (connection_try_close(connection))
		return;
	TAILQ_REMOVE(&server->ready, connection, ready_link);
	connection->flags &= ~(uint32_t)HTTP_CONNECTION_READY;
	if (connection->flags & HTTP_CONNECTION_STARVED)
		TAILQ_INSERT_TAIL(&server->starved, connection, ready_link);
}

void http_connections_settle(struct actor *actor)
{
	struct http_server *server = container_of(actor, struct http_server, actor);
	struct http_connection *connection;

	do {
		feed_starved(server);
		while ((connection = TAILQ_FIRST(&server->ready)) != NULL)
			connection_settle(connection);
	} while (http_exchanges_are_left(server) && !TAILQ_EMPTY(&server->starved));
}

/* Deadlines. */

static bool body_is_slow(const struct http_connection *connection)
{
	const struct http_exchange *exchange = connection->exchange;
	uint64_t waited_s;

	if (exchange == NULL || exchange->wait_since_ns == 0)
		return false;
	waited_s = (exchange->waited_ns + now_ns(connection) - exchange->wait_since_ns) / SECOND_NS;
	return waited_s > BODY_GRACE_S &&
	       exchange->body_received < waited_s * connection->server->limits.body_rate_min;
}

void http_connection_sweep(struct http_connection *connection)
{
	if (connection->flags & HTTP_CONNECTION_BROKEN)
		return;
	if (connection->http2 != NULL && !(connection->flags & HTTP_CONNECTION_LINGER)) {
		http2_connection_sweep(connection);
		return;
	}
	if (now_ns(connection) < connection->deadline_ns && !body_is_slow(connection))
		return;
	if ((connection->flags & HTTP_CONNECTION_IN_HEAD) && connection->exchange == NULL) {
		connection->server->stats.timeouts++;
		input_drop(connection);
		begin_failed(connection, 408, "the request did not come in time");
		return;
	}
	if (connection->exchange != NULL)
		connection->server->stats.timeouts++;
	http_connection_kill(connection);
}
