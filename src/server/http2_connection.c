/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of HTTP/2: a session (wire/http2.h), and an exchange for each of its streams. What
 * the session tells and what handlers call leaves marks; the turn does the work, and all that is to
 * be sent leaves in one send.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/http2_internal.h"

enum {
	MEMORY_SIZE = 64 << 10, /* of an idle connection, the session in it */
	STREAMS_MAX = 128,      /* of a connection; where memory is short, it is told fewer: */
	STREAMS_TOLD_MIN = 16,
	WINDOW_SIZE = 256 << 10, /* of a stream; where memory is short, less: */
	WINDOW_SIZE_MIN = 64 << 10,
	WINDOW_SHARE =
	        64, /* of the buffers: 16 connections whose windows are full of what nobody takes */
	BODY_GRACE_S = 10,
	ROUNDS_MAX = 64,
};
#define SECOND_NS 1000000000ull
#define DRAIN_NS SECOND_NS /* between the two GOAWAYs of a graceful end: a round trip */

struct send_frame {
	struct frame frame;
};

static uint64_t now_ns(const struct http2_connection *http2)
{
	return http2->connection->server->worker->now_ns;
}

void http2_exchange_ready(struct http_exchange *exchange)
{
	if (exchange->flags & HTTP_EXCHANGE_READY)
		return;
	exchange->flags |= HTTP_EXCHANGE_READY;
	TAILQ_INSERT_TAIL(&exchange->connection->http2->ready, exchange, ready_link);
}

/* The body of a request. */

/* How long the peer lets us wait for the body is counted while somebody takes it. */
static void body_clock(struct http_exchange *exchange, bool came)
{
	uint64_t now = exchange->server->worker->now_ns;
	bool waits = !(exchange->flags & (HTTP_EXCHANGE_BODY_DONE | HTTP_EXCHANGE_BODY_COME)) &&
	             exchange->body_mode != HTTP_BODY_HELD && exchange->held == NULL;

	if (exchange->wait_since_ns != 0 && (came || !waits)) {
		exchange->waited_ns += now - exchange->wait_since_ns;
		exchange->wait_since_ns = 0;
	}
	if (waits && exchange->wait_since_ns == 0)
		exchange->wait_since_ns = now;
}

/* Gives what somebody takes; returns how much. */
static size_t body_give(struct http_exchange *exchange, struct bytes piece)
{
	size_t taken = 0, size = 1;

	while (size > 0 && taken < piece.size && exchange->body_mode != HTTP_BODY_HELD) {
		size = piece.size - taken;
		if (exchange->body_mode != HTTP_BODY_DROP)
			size = http_exchange_body(exchange, bytes_of(piece.data + taken, size));
		taken += size;
	}
	if (taken > 0 && exchange->stream != NULL)
		http2_consume(exchange->stream, taken);
	return taken;
}

/* Keeps what nobody takes now: at most a window. False: no memory. */
static bool body_hold(struct http_exchange *exchange, struct bytes piece)
{
	struct buf *held = exchange->held, *bigger;
	size_t rest = held == NULL ? 0 : held->used - exchange->held_start;

	assert(rest + piece.size <= WINDOW_SIZE);
	if (held == NULL || held->used + piece.size > held->size) {
		bigger = buf_get(exchange->server->bufs, rest + piece.size);
		if (bigger == NULL)
			return false;
		if (held != NULL) {
			memcpy(bigger->data, held->data + exchange->held_start, rest);
			buf_unref(held);
		}
		exchange->held = held = bigger;
		exchange->held_start = 0;
		held->used = (uint32_t)rest;
	}
	memcpy(held->data + held->used, piece.data, piece.size);
	held->used += (uint32_t)piece.size;
	return true;
}

static void body_forget(struct http_exchange *exchange)
{
	struct buf *held = exchange->held;

	if (held == NULL)
		return;
	http2_drop(exchange->connection->http2->session, held->used - exchange->held_start);
	buf_unref(held);
	exchange->held = NULL;
}

static void body_give_held(struct http_exchange *exchange)
{
	struct buf *held = exchange->held;

	if (held == NULL)
		return;
	exchange->held_start +=
	        (uint32_t)body_give(exchange, bytes_of(held->data + exchange->held_start,
	                                               held->used - exchange->held_start));
	if (exchange->held_start < held->used)
		return;
	buf_unref(held);
	exchange->held = NULL;
	if (exchange->flags & HTTP_EXCHANGE_BODY_COME)
		exchange->flags |= HTTP_EXCHANGE_BODY_DONE;
}

/* Exchanges that end. */

/* Nothing more passes between the exchange and its stream. */
static void stream_part(struct http_exchange *exchange)
{
	body_forget(exchange);
	if (exchange->stream == NULL)
		return;
	http2_stream_leave(exchange->stream);
	exchange->stream = NULL;
}

static void exchange_cut(struct http_exchange *exchange, enum http2_error error)
{
	if (exchange->stream != NULL)
		http2_reset(exchange->stream, error);
	stream_part(exchange);
	http_exchange_abort(exchange);
	http_exchange_ready(exchange);
}

static bool exchange_is_over(const struct http_exchange *exchange)
{
	return exchange->answer_phase == HTTP_ANSWER_ENDED && exchange->holds == 0 &&
	       !(exchange->flags & HTTP_EXCHANGE_SENDING) &&
	       (exchange->flags &
	        (HTTP_EXCHANGE_ABORTED | HTTP_EXCHANGE_BROKEN | HTTP_EXCHANGE_END_SENT));
}

/*
 * The answer is all, and some of the body is still to come (RFC 9113 section 8.1). A little of it
 * is dropped, so that the client can read the answer first: curl takes a reset for a failure.
 */
static void stream_leave_early(struct http_exchange *exchange)
{
	body_forget(exchange);
	http2_stream_leave_open(exchange->stream, exchange->server->limits.drop_max);
	exchange->stream = NULL;
}

static void exchange_finish(struct http_exchange *exchange)
{
	struct http2_connection *http2 = exchange->connection->http2;
	uint32_t flags = exchange->flags;

	if (exchange->stream != NULL && !(flags & HTTP_EXCHANGE_BODY_DONE))
		stream_leave_early(exchange);
	stream_part(exchange);
	if (flags & HTTP_EXCHANGE_READY)
		TAILQ_REMOVE(&http2->ready, exchange, ready_link);
	TAILQ_REMOVE(&http2->exchanges, exchange, link);
	assert(http2->exchange_count > 0);
	if (--http2->exchange_count == 0)
		http2->idle_ns = now_ns(http2);
	http_exchange_end(exchange);
	if ((flags & HTTP_EXCHANGE_CLOSE) && !(flags & HTTP_EXCHANGE_BROKEN))
		http2_connection_drain(http2->connection);
}

/* What the session tells. */

static void begin(struct http_exchange *exchange, const struct http2_head *head)
{
	struct http_server *server = exchange->server;
	const struct http1_head common = {
		.method = head->method,
		.target = head->target,
		.host = head->host,
		.framing = head->has_length ? HTTP1_SIZED
		           : head->ended    ? HTTP1_NO_BODY
		                            : HTTP1_CHUNKED,
		.body_size = head->body_size,
		.fields = head->fields,
		.field_count = head->field_count,
	};

	exchange->request.version = 20;
	exchange->request.method = http_method_of(head->method); /* an answer to HEAD is short */
	if (head->ended)
		exchange->flags |= HTTP_EXCHANGE_BODY_DONE;
	if (head->expects_continue)
		exchange->flags |= HTTP_EXCHANGE_CONTINUE;
	if (head->status != 0)
		exchange->status = (uint16_t)head->status;
	else if (http_exchange_begin(exchange, &common))
		exchange->status = 0;
	if (exchange->status != 0) {
		server->stats.malformed++;
		http_answer_alone(exchange, exchange->status, http_reason(exchange->status));
		return;
	}
	server->stats.requests[exchange->request.method]++;
	server->handler->begin(exchange);
}

static void stream_begin(struct http2_connection *http2, struct http_exchange *exchange,
                         struct http2_stream *stream, const struct http2_head *head)
{
	struct http_connection *connection = http2->connection;

	http2->exchange_count++;
	TAILQ_INSERT_TAIL(&http2->exchanges, exchange, link);
	exchange->stream = stream;
	http2_stream_bind(stream, exchange);
	if (++connection->request_count >= connection->server->limits.requests_max)
		exchange->flags |= HTTP_EXCHANGE_CLOSE;
	begin(exchange, head);
	http_exchange_ready(exchange);
}

static void stream_head(void *owner, struct http2_stream *stream, const struct http2_head *head)
{
	struct http2_connection *http2 = owner;
	struct http_exchange *exchange = NULL;

	/* Those of streams that the client has reset count as long as they last: rapid reset. */
	if (http2->exchange_count + http2->parked_count >= STREAMS_MAX)
		http2_reset(stream, HTTP2_REFUSED_STREAM);
	else if (http2->parked_count == 0 &&
	         (exchange = http_exchange_get(http2->connection)) != NULL)
		stream_begin(http2, exchange, stream, head);
	else if (!http2_park(http2, stream, head))
		http2_reset(stream, HTTP2_REFUSED_STREAM);
}

static void stream_body(void *owner, void *arg, struct bytes piece)
{
	struct http_exchange *exchange = arg;
	size_t taken = 0;

	(void)owner;
	if (exchange->held == NULL)
		taken = body_give(exchange, piece);
	piece = bytes_of(piece.data + taken, piece.size - taken);
	if (piece.size > 0 && !body_hold(exchange, piece)) {
		http2_drop(exchange->connection->http2->session, piece.size);
		exchange_cut(exchange, HTTP2_ENHANCE_YOUR_CALM);
		return;
	}
	body_clock(exchange, true);
	http_exchange_ready(exchange);
}

static void stream_ended(void *owner, void *arg, const struct http_field *trailers, uint32_t count)
{
	struct http_exchange *exchange = arg;

	(void)owner;
	if (!http_exchange_body_end(exchange, trailers, count)) {
		exchange_cut(exchange, HTTP2_ENHANCE_YOUR_CALM);
		return;
	}
	if (exchange->held != NULL) {
		exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_BODY_DONE;
		exchange->flags |= HTTP_EXCHANGE_BODY_COME;
	}
	body_clock(exchange, false);
	http_exchange_ready(exchange);
}

static void stream_gone(void *owner, void *arg)
{
	struct http_exchange *exchange = arg;

	if (http2_parked_gone(owner, arg))
		return;
	exchange->stream = NULL;
	body_forget(exchange);
	if (!(exchange->flags & HTTP_EXCHANGE_END_SENT))
		http_exchange_abort(exchange);
	http_exchange_ready(exchange);
}

/* The first piece that is not wholly in frames; NULL: none. */
static struct http_piece *piece_next(struct http_exchange *exchange)
{
	unsigned index = (exchange->piece_first + exchange->piece_sending) % HTTP_PIECES_MAX;

	return exchange->piece_sending == exchange->piece_count ? NULL : &exchange->pieces[index];
}

static size_t stream_available(void *owner, void *arg, size_t size_max, bool *ret_ends)
{
	struct http_exchange *exchange = arg;
	const struct http_piece *piece = piece_next(exchange);
	bool ended = exchange->answer_phase == HTTP_ANSWER_ENDED;
	size_t size;

	(void)owner;
	*ret_ends = ended && piece == NULL;
	if (piece == NULL)
		return 0;
	size = piece->bytes.size - exchange->piece_used;
	*ret_ends =
	        ended && size <= size_max && exchange->piece_sending + 1 == exchange->piece_count;
	return size < size_max ? size : size_max;
}

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

static const uint8_t *stream_take(void *owner, void *arg, size_t size, bool lent)
{
	struct http2_connection *http2 = owner;
	struct http_exchange *exchange = arg;
	const struct http_piece *piece = piece_next(exchange);
	const uint8_t *data;

	assert(piece != NULL);
	assert(size > 0 && size <= piece->bytes.size - exchange->piece_used);
	data = piece->bytes.data + exchange->piece_used;
	exchange->piece_used += size;
	exchange->moved_ns = now_ns(http2);
	if (lent && !(exchange->flags & HTTP_EXCHANGE_SENDING)) {
		assert(http2->lent_count < HTTP2_LENT_MAX);
		http2->lent[http2->lent_count++] = exchange;
		exchange->flags |= HTTP_EXCHANGE_SENDING;
	}
	if (exchange->piece_used < piece->bytes.size)
		return data;
	exchange->piece_used = 0;
	exchange->piece_sending++;
	if (piece_next(exchange) == NULL)
		exchange->moved_ns = 0;
	http_exchange_ready(exchange); /* there is room for the next piece */
	return data;
}

static void stream_answered(void *owner, void *arg)
{
	struct http_exchange *exchange = arg;

	(void)owner;
	exchange->flags |= HTTP_EXCHANGE_END_SENT;
	http_exchange_ready(exchange);
}

static const struct http2_events session_events = {
	.head = stream_head,
	.body = stream_body,
	.ended = stream_ended,
	.gone = stream_gone,
	.available = stream_available,
	.take = stream_take,
	.answered = stream_answered,
};

/* Memory. */

static bool memory_get(void *owner, size_t size, struct http2_chunk *ret)
{
	struct buf *buf = buf_get(owner, size);

	if (buf == NULL)
		return false;
	*ret = (struct http2_chunk){ .data = buf->data, .size = buf->size, .handle = buf };
	return true;
}

static void memory_give_back(void *owner, const struct http2_chunk *chunk)
{
	(void)owner;
	buf_unref(chunk->handle);
}

/* A share of the exchanges there can be, as if twice as many connections came. */
static uint32_t streams_told(const struct http_server *server)
{
	uint32_t share = http_exchanges_max(server) / (2 * server->connection_count);

	if (share < STREAMS_TOLD_MIN)
		return STREAMS_TOLD_MIN;
	return share > STREAMS_MAX ? STREAMS_MAX : share;
}

static uint32_t window_size(const struct bufs *bufs)
{
	uint64_t share = (uint64_t)bufs->slab_count * BUF_SIZE_MAX / WINDOW_SHARE;

	if (share < WINDOW_SIZE_MIN)
		return WINDOW_SIZE_MIN;
	return share > WINDOW_SIZE ? WINDOW_SIZE : (uint32_t)share;
}

bool http2_connection_open(struct http_connection *connection)
{
	struct http_server *server = connection->server;
	struct buf *buf = buf_get(server->bufs, MEMORY_SIZE);
	struct http2_connection *http2;
	size_t own = align_up(sizeof(*http2), 16);
	struct http2_options options = {
		.library = server->http2,
		.source = { memory_get, memory_give_back, server->bufs },
		.limits = {
			.head_max = HTTP_HEAD_MAX,
			.field_max = HTTP_FIELDS_MAX,
			.target_max = HTTP_TARGET_MAX,
			.streams_max = STREAMS_MAX,
			.streams_told = streams_told(server),
			.window_size = window_size(server->bufs),
		},
		.events = &session_events,
		.now_ns = server->worker->now_ns,
	};

	_Static_assert(sizeof(*http2) + HTTP2_SESSION_MEMORY_MIN < MEMORY_SIZE, "too small");
	if (buf == NULL)
		return false;
	http2 = (struct http2_connection *)(void *)buf->data;
	memset(http2, 0, offsetof(struct http2_connection, req));
	http2->connection = connection;
	http2->buf = buf;
	TAILQ_INIT(&http2->exchanges);
	TAILQ_INIT(&http2->ready);
	TAILQ_INIT(&http2->parked);
	http2->idle_ns = server->worker->now_ns;
	req_init(&http2->req, server->worker);
	options.owner = http2;
	options.memory = buf->data + own;
	options.memory_size = MEMORY_SIZE - own;
	http2->session = http2_open(&options);
	if (http2->session == NULL) {
		buf_unref(buf);
		return false;
	}
	connection->http2 = http2;
	connection->deadline_ns = UINT64_MAX;
	if (server->draining)
		http2_connection_drain(connection);
	return true;
}

/* Requests. */

static void exchanges_cut(struct http2_connection *http2)
{
	struct http_exchange *exchange;

	http2_parked_drop(http2);
	TAILQ_FOREACH (exchange, &http2->exchanges, link) {
		stream_part(exchange);
		if (!(exchange->flags & HTTP_EXCHANGE_END_SENT))
			http_exchange_abort(exchange);
		http_exchange_ready(exchange);
	}
}

void http2_connection_received(struct http_connection *connection, struct bytes data)
{
	struct http2_connection *http2 = connection->http2;

	if (http2_is_deaf(http2->session))
		return;
	if (!http2_receive(http2->session, now_ns(http2), data))
		exchanges_cut(http2);
}

/* Answers. */

static void continue_send(struct http_exchange *exchange)
{
	if (!(exchange->flags & HTTP_EXCHANGE_CONTINUE) || exchange->body_mode == HTTP_BODY_HELD)
		return;
	exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_CONTINUE;
	if (exchange->body_mode != HTTP_BODY_DROP && exchange->body_received == 0)
		http2_continue(exchange->stream);
}

/* The head waits for the first bytes of the body. */
static void answer_begin(struct http_exchange *exchange)
{
	struct http_field fields[HTTP2_ANSWER_FIELDS_MAX];
	bool ended = exchange->answer_phase == HTTP_ANSWER_ENDED;
	uint32_t count;

	if (exchange->answer_phase < HTTP_ANSWER_STREAMS || (!ended && exchange->piece_count == 0))
		return;
	count = http_answer_fields(exchange, fields, HTTP2_ANSWER_FIELDS_MAX);
	exchange->flags |= HTTP_EXCHANGE_HEAD_SENT;
	exchange->server->stats.responses[exchange->status / 100]++;
	if (exchange->piece_count > 0)
		exchange->moved_ns = exchange->server->worker->now_ns;
	if (!http2_answer(exchange->stream, exchange->status, fields, count,
	                  !ended || exchange->piece_count > 0))
		exchange_cut(exchange, HTTP2_INTERNAL_ERROR);
}

static void answer_go_on(struct http_exchange *exchange)
{
	bool ended = exchange->answer_phase == HTTP_ANSWER_ENDED;

	if ((exchange->flags & HTTP_EXCHANGE_END_SENT) || (piece_next(exchange) == NULL && !ended))
		return;
	if (exchange->moved_ns == 0)
		exchange->moved_ns = exchange->server->worker->now_ns;
	http2_resume(exchange->stream);
}

/* What is due of an exchange. */
static void exchange_step(struct http_exchange *exchange)
{
	if (!(exchange->flags & HTTP_EXCHANGE_SENDING))
		pieces_sent(exchange);
	if ((exchange->flags & HTTP_EXCHANGE_BROKEN) && exchange->stream != NULL) {
		http2_reset(exchange->stream, HTTP2_INTERNAL_ERROR);
		stream_part(exchange);
	}
	if (exchange_is_over(exchange)) {
		exchange_finish(exchange);
		return;
	}
	body_give_held(exchange);
	http_exchange_run(exchange);
	body_clock(exchange, false);
	if (exchange->stream == NULL || (exchange->flags & HTTP_EXCHANGE_BROKEN))
		return;
	continue_send(exchange);
	if (exchange->flags & HTTP_EXCHANGE_HEAD_SENT)
		answer_go_on(exchange);
	else
		answer_begin(exchange);
}

/* Those that found no exchange, while there are some. */
static unsigned unpark(struct http2_connection *http2)
{
	struct http_exchange *exchange;
	struct http2_parked *parked;
	unsigned count = 0;

	while ((parked = http2_parked_next(http2)) != NULL) {
		exchange = http_exchange_get(http2->connection);
		if (exchange == NULL) {
			http_connection_starve(http2->connection);
			break;
		}
		http2_stream_leave(parked->stream);
		stream_begin(http2, exchange, parked->stream, &parked->head);
		http2_parked_free(http2, parked);
		count++;
	}
	return count;
}

unsigned http2_connection_run(struct http_connection *connection)
{
	struct http2_connection *http2 = connection->http2;
	struct http_exchange *exchange;
	unsigned count = unpark(http2);

	/* Those that become ready meanwhile are for the next round. */
	for (uint32_t left = http2->exchange_count; left > 0; left--) {
		exchange = TAILQ_FIRST(&http2->ready);
		if (exchange == NULL)
			break;
		TAILQ_REMOVE(&http2->ready, exchange, ready_link);
		exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_READY;
		exchange_step(exchange);
		count++;
	}
	return count;
}

/* Sending. */

static void connection_sent(struct req *req)
{
	struct http2_connection *http2 = container_of(req, struct http2_connection, req);
	struct http_connection *connection = http2->connection;

	req_pop(req, struct send_frame);
	http2->sending = false;
	for (uint32_t i = 0; i < http2->lent_count; i++) {
		struct http_exchange *exchange = http2->lent[i];

		exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_SENDING;
		pieces_sent(exchange);
		http_exchange_ready(exchange);
	}
	http2->lent_count = 0;
	http_connection_ready(connection);
	if (req->status != STATUS_OK)
		http_connection_kill(connection);
	else
		connection->server->stats.bytes_out += req->result;
}

/* False: nothing is to be sent. */
static bool connection_send(struct http2_connection *http2)
{
	struct http2_out out = {
		.data = http2->out,
		.size = HTTP2_OUT_SIZE,
		.iov = http2->iov,
		.iov_max = STREAM_IOV_MAX,
	};
	struct stream_cmd cmd = { .iov = http2->iov };

	assert(!http2->sending && http2->lent_count == 0);
	if (!http2_pull(http2->session, &out) || out.iov_count == 0)
		return false;
	cmd.iov_count = out.iov_count;
	http2->sending = true;
	http2->sent_ns = now_ns(http2);
	req_push(&http2->req, struct send_frame, connection_sent);
	stream_send(http2->connection->stream, &http2->req, &cmd);
	return true;
}

/* The client sends no more: what it has asked is answered, the rest never comes. */
static void connection_half_closed(struct http2_connection *http2)
{
	struct http_exchange *exchange;

	TAILQ_FOREACH (exchange, &http2->exchanges, link) {
		if (!(exchange->flags & (HTTP_EXCHANGE_BODY_DONE | HTTP_EXCHANGE_BODY_COME)) &&
		    !(exchange->flags & HTTP_EXCHANGE_ABORTED))
			exchange_cut(exchange, HTTP2_CANCEL);
	}
}

static void connection_over(struct http2_connection *http2)
{
	struct http_connection *connection = http2->connection;
	bool half_closed = connection->flags & HTTP_CONNECTION_ENDED;

	if (http2->drains && !http2->refuses &&
	    (http2->exchange_count + http2->parked_count == 0 ||
	     now_ns(http2) >= http2->drained_ns + DRAIN_NS)) {
		http2->refuses = true;
		http2_refuse(http2->session);
		connection_send(http2);
	}
	if (http2->sending)
		return;
	if (http2_is_over(http2->session) && http2_has_failed(http2->session)) {
		connection->server->stats.malformed++;
		http_connection_linger(connection);
	} else if (http2_is_over(http2->session) ||
	           (half_closed && http2->exchange_count + http2->parked_count == 0)) {
		http_connection_kill(connection);
	}
}

void http2_connection_settle(struct http_connection *connection)
{
	struct http2_connection *http2 = connection->http2;

	if (connection->flags & HTTP_CONNECTION_ENDED)
		connection_half_closed(http2);
	for (unsigned i = 0; i < ROUNDS_MAX; i++) {
		if (!http2->sending &&
		    !(connection->flags & (HTTP_CONNECTION_BROKEN | HTTP_CONNECTION_LINGER)))
			connection_send(http2);
		if (http2_connection_run(connection) == 0)
			break;
	}
	if (!http2->sending &&
	    !(connection->flags & (HTTP_CONNECTION_BROKEN | HTTP_CONNECTION_LINGER)))
		connection_over(http2);
}

void http2_connection_drain(struct http_connection *connection)
{
	struct http2_connection *http2 = connection->http2;

	http_connection_ready(connection);
	if (http2->drains || http2_is_deaf(http2->session))
		return;
	http2->drains = true;
	http2->drained_ns = now_ns(http2);
	http2_announce(http2->session);
}

bool http2_connection_try_close(struct http_connection *connection)
{
	struct http2_connection *http2 = connection->http2;

	exchanges_cut(http2);
	for (unsigned i = 0; i < ROUNDS_MAX && http2_connection_run(connection) > 0; i++)
		continue;
	if (http2->exchange_count > 0 || http2->sending)
		return false;
	http2_close(http2->session);
	connection->http2 = NULL;
	buf_unref(http2->buf);
	return true;
}

/* Deadlines. */

static bool body_is_slow(const struct http_exchange *exchange)
{
	const struct http_limits *limits = &exchange->server->limits;
	uint64_t now = exchange->server->worker->now_ns, waited_s;

	if (exchange->wait_since_ns == 0)
		return false;
	if (now >= exchange->wait_since_ns + limits->body_timeout_ns)
		return true;
	waited_s = (exchange->waited_ns + now - exchange->wait_since_ns) / SECOND_NS;
	return waited_s > BODY_GRACE_S &&
	       exchange->body_received < waited_s * limits->body_rate_min;
}

/* Whether the client leaves no room for an answer that is there. */
static bool answer_is_stuck(const struct http_exchange *exchange)
{
	return exchange->moved_ns != 0 && !(exchange->flags & HTTP_EXCHANGE_SENDING) &&
	       http2_is_blocked(exchange->stream) &&
	       exchange->server->worker->now_ns >=
	               exchange->moved_ns + exchange->server->limits.send_timeout_ns;
}

void http2_connection_sweep(struct http_connection *connection)
{
	struct http2_connection *http2 = connection->http2;
	struct http_server *server = connection->server;
	const struct http_limits *limits = &server->limits;
	uint64_t now = now_ns(http2), begun_ns = http2_begun_ns(http2->session);
	struct http_exchange *exchange;
	bool due = http2->drains;

	if (http2->sending && now >= http2->sent_ns + limits->send_timeout_ns) {
		server->stats.timeouts++;
		http_connection_kill(connection);
		return;
	}
	TAILQ_FOREACH (exchange, &http2->exchanges, link) {
		if (exchange->stream == NULL ||
		    !(body_is_slow(exchange) || answer_is_stuck(exchange)))
			continue;
		server->stats.timeouts++;
		exchange_cut(exchange, HTTP2_CANCEL);
	}
	if (http2_is_deaf(http2->session)) {
		due = false;
	} else if (begun_ns != UINT64_MAX && now >= begun_ns + limits->head_timeout_ns) {
		server->stats.timeouts++;
		http2_fail(http2->session, HTTP2_NO_ERROR);
		exchanges_cut(http2);
		due = true;
	} else if (http2->exchange_count + http2->parked_count == 0 &&
	           now >= http2->idle_ns + limits->idle_timeout_ns) {
		http2_fail(http2->session, HTTP2_NO_ERROR);
		due = true;
	}
	if (due)
		http_connection_ready(connection);
}
