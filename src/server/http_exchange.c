/* SPDX-License-Identifier: Apache-2.0 */
/* An exchange: its request, as the handler sees it, and the calls of the handler that are due. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/http_internal.h"
#include "wire/url.h"

enum { COLLECT_FIRST = 4096, PULL_LATER_NS = 2000000, SLAB_SIZE = 64 << 10 };

/* What a handler may read. */

const struct http_request *http_request_of(const struct http_exchange *exchange)
{
	return &exchange->request;
}

struct http_server *http_server_of(const struct http_exchange *exchange)
{
	return exchange->server;
}

struct worker *http_worker(const struct http_exchange *exchange)
{
	return exchange->server->worker;
}

struct bufs *http_bufs(const struct http_exchange *exchange)
{
	return exchange->server->bufs;
}

void *http_owner(const struct http_exchange *exchange)
{
	return exchange->server->owner;
}

enum { STATE_OFFSET = align_up(sizeof(struct http_exchange), 16) };

void *http_state(struct http_exchange *exchange)
{
	return (uint8_t *)exchange + STATE_OFFSET;
}

struct http_exchange *http_exchange_of(void *state)
{
	return (struct http_exchange *)(void *)((uint8_t *)state - STATE_OFFSET);
}

bool http_is_aborted(const struct http_exchange *exchange)
{
	return exchange->flags & HTTP_EXCHANGE_ABORTED;
}

void http_hold(struct http_exchange *exchange)
{
	exchange->holds++;
	assert(exchange->holds != 0);
}

void http_release(struct http_exchange *exchange)
{
	assert(exchange->holds > 0);
	if (--exchange->holds == 0)
		http_exchange_ready(exchange);
}

unsigned http_lent(const struct http_exchange *exchange)
{
	return exchange->piece_count;
}

static bool find(const struct http_field *fields, uint32_t count, const char *name,
                 struct bytes *ret_value)
{
	struct bytes wanted = bytes_of(name, strlen(name));

	for (uint32_t i = 0; i < count; i++) {
		if (bytes_equal(fields[i].name, wanted)) {
			*ret_value = fields[i].value;
			return true;
		}
	}
	return false;
}

bool http_field_get(const struct http_exchange *exchange, const char *lower_name,
                    struct bytes *ret_value)
{
	return find(exchange->request.fields, exchange->request.field_count, lower_name, ret_value);
}

bool http_parameter_get(const struct http_exchange *exchange, const char *name,
                        struct bytes *ret_value)
{
	return find(exchange->request.parameters, exchange->request.parameter_count, name,
	            ret_value);
}

/* The pool. */

static struct http_exchange *slab_exchange(struct http_server *server, struct http_slab *slab,
                                           uint32_t index)
{
	uint8_t *first = (uint8_t *)slab + align_up(sizeof(*slab), 16);

	assert(index < slab->count);
	return (struct http_exchange *)(void *)(first + index * server->exchange_size);
}

bool http_exchanges_are_left(const struct http_server *server)
{
	return !TAILQ_EMPTY(&server->exchanges_free) ||
	       server->exchanges_made < server->exchanges_max;
}

bool http_memory_is_short(const struct http_server *server)
{
	const struct bufs *bufs = server->bufs;

	return bufs->used_size > (uint64_t)bufs->slab_count * BUF_SIZE_MAX / 4;
}

/* A quarter of the buffers at most is for this. */
static uint64_t slabs_room(const struct http_server *server)
{
	return (uint64_t)server->bufs->slab_count * BUF_SIZE_MAX / 4;
}

uint32_t http_exchanges_max(const struct http_server *server)
{
	return server->exchanges_max +
	       (uint32_t)(slabs_room(server) / align_up(server->exchange_size, 1024));
}

static void slab_get(struct http_server *server)
{
	size_t front = align_up(sizeof(struct http_slab), 16);
	struct buf *buf = NULL;
	struct http_slab *slab;

	assert(front + server->exchange_size <= SLAB_SIZE);
	if (server->bufs->used_size < slabs_room(server))
		buf = buf_get(server->bufs, SLAB_SIZE);
	if (buf == NULL)
		return;
	slab = (struct http_slab *)(void *)buf->data;
	*slab = (struct http_slab){ .buf = buf };
	slab->count = (uint32_t)((SLAB_SIZE - front) / server->exchange_size);
	for (uint32_t i = 0; i < slab->count; i++) {
		struct http_exchange *exchange = slab_exchange(server, slab, i);

		exchange->slab = slab;
		TAILQ_INSERT_TAIL(&server->exchanges_free, exchange, link);
	}
}

/* Those of slabs are used last, so that slabs get free. */
static void exchange_give_back(struct http_server *server, struct http_exchange *exchange)
{
	struct http_slab *slab = exchange->slab;

	if (slab == NULL) {
		TAILQ_INSERT_HEAD(&server->exchanges_free, exchange, link);
		return;
	}
	TAILQ_INSERT_TAIL(&server->exchanges_free, exchange, link);
	assert(slab->used > 0);
	if (--slab->used > 0)
		return;
	for (uint32_t i = 0; i < slab->count; i++)
		TAILQ_REMOVE(&server->exchanges_free, slab_exchange(server, slab, i), link);
	buf_unref(slab->buf);
}

struct http_exchange *http_exchange_get(struct http_connection *connection)
{
	struct http_server *server = connection->server;
	struct http_exchange *exchange;

	if (!http_exchanges_are_left(server) && connection->http2 != NULL)
		slab_get(server);
	if (!http_exchanges_are_left(server))
		return NULL;
	exchange = TAILQ_FIRST(&server->exchanges_free);
	if (exchange != NULL) {
		TAILQ_REMOVE(&server->exchanges_free, exchange, link);
	} else {
		exchange = (struct http_exchange *)(void *)(server->exchange_memory +
		                                            server->exchange_size *
		                                                    server->exchanges_made++);
		exchange->slab = NULL;
	}
	if (exchange->slab != NULL)
		exchange->slab->used++;
	server->exchanges_used++;
	memset(exchange, 0, offsetof(struct http_exchange, req));
	exchange->server = server;
	exchange->begun_ns = server->worker->now_ns;
	exchange->connection = connection;
	exchange->request_memory.data = exchange->request_inline;
	exchange->request_memory.size = HTTP_REQUEST_MEMORY;
	exchange->answer.data = exchange->answer_inline;
	exchange->answer.size = HTTP_ANSWER_MEMORY;
	req_init(&exchange->req, server->worker);
	return exchange;
}

void http_pieces_drop(struct http_exchange *exchange)
{
	for (; exchange->piece_count > 0; exchange->piece_count--) {
		struct http_piece *piece = &exchange->pieces[exchange->piece_first];

		if (piece->buf != NULL)
			buf_unref(piece->buf);
		exchange->piece_first = (uint8_t)((exchange->piece_first + 1) % HTTP_PIECES_MAX);
	}
}

void http_exchange_end(struct http_exchange *exchange)
{
	struct http_server *server = exchange->server;

	assert(exchange->answer_phase == HTTP_ANSWER_ENDED);
	assert(!(exchange->flags & HTTP_EXCHANGE_SENDING) && exchange->holds == 0);
	http_pieces_drop(exchange);
	if (exchange->flags & HTTP_EXCHANGE_PULL_LATER)
		TAILQ_REMOVE(&server->later, exchange, later_link);
	if (!(exchange->flags & HTTP_EXCHANGE_ALONE) && server->handler->ended != NULL)
		server->handler->ended(exchange);
	http_memory_release(&exchange->request_memory);
	http_memory_release(&exchange->answer);
	if (exchange->collect_buf != NULL)
		buf_unref(exchange->collect_buf);
	if (exchange->trailer_buf != NULL)
		buf_unref(exchange->trailer_buf);
	if (exchange->held != NULL)
		buf_unref(exchange->held);
	exchange->connection = NULL;
	exchange_give_back(server, exchange);
	server->exchanges_used--;
}

/* The head. */

/* Bytes of memory that is written from front to end, reserved before. */
struct writer {
	uint8_t *at;
	size_t left;
};

static struct bytes keep(struct writer *writer, struct bytes bytes)
{
	struct bytes kept = bytes_of(writer->at, bytes.size);

	assert(bytes.size <= writer->left);
	if (bytes.size > 0)
		memcpy(writer->at, bytes.data, bytes.size);
	writer->at += bytes.size;
	writer->left -= bytes.size;
	return kept;
}

static struct http_field *keep_fields(struct writer *writer, const struct http_field *fields,
                                      uint32_t count)
{
	struct http_field *kept = (struct http_field *)(void *)writer->at;
	size_t size = count * sizeof(*kept);

	assert(size <= writer->left);
	writer->at += size;
	writer->left -= size;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *name = writer->at;

		kept[i].name = keep(writer, fields[i].name);
		http_lower(name, kept[i].name.size);
		kept[i].value = keep(writer, fields[i].value);
	}
	return kept;
}

static size_t fields_size(const struct http_field *fields, uint32_t count)
{
	size_t size = count * sizeof(*fields);

	for (uint32_t i = 0; i < count; i++)
		size += fields[i].name.size + fields[i].value.size;
	return size;
}

static uint32_t parameter_count(struct bytes query)
{
	struct bytes name, value;
	uint32_t count = 0;

	while (url_query_next(&query, &name, &value))
		count++;
	return count;
}

static bool decode(struct writer *writer, struct bytes text, unsigned flags, struct bytes *out)
{
	size_t size = 0;

	assert(text.size <= writer->left);
	*out = bytes_of(writer->at, 0);
	if (!url_decode(text, flags, writer->at, &size))
		return false;
	out->size = size;
	writer->at += size;
	writer->left -= size;
	return true;
}

/* Target, path and parameters; the array of the latter has been reserved. */
static bool target_take(struct http_request *request, struct writer *writer, struct bytes target,
                        struct http_field *parameters)
{
	const uint8_t *mark;
	struct bytes query;

	request->target = keep(writer, target);
	request->raw_path = request->target;
	mark = memchr(request->target.data, '?', request->target.size);
	if (mark != NULL) {
		request->raw_path.size = (size_t)(mark - request->target.data);
		request->raw_query =
		        bytes_of(mark + 1, request->target.size - request->raw_path.size - 1);
	}
	request->path = request->raw_path;
	if (memchr(request->raw_path.data, '%', request->raw_path.size) != NULL &&
	    !decode(writer, request->raw_path, 0, &request->path))
		return false;
	query = request->raw_query;
	request->parameters = parameters;
	for (struct bytes name, value; url_query_next(&query, &name, &value); parameters++) {
		request->parameter_count++;
		if (!decode(writer, name, URL_PLUS_IS_SPACE, &parameters->name) ||
		    !decode(writer, value, URL_PLUS_IS_SPACE, &parameters->value))
			return false;
	}
	return true;
}

bool http_exchange_begin(struct http_exchange *exchange, const struct http1_head *head)
{
	struct http_request *request = &exchange->request;
	struct http_memory *memory = &exchange->request_memory;
	const uint8_t *mark = memchr(head->target.data, '?', head->target.size);
	struct bytes query = { .size = 0 };
	struct http_field *parameters;
	struct writer writer;
	uint32_t count;
	size_t size;

	if (mark != NULL)
		query = bytes_of(mark + 1,
		                 head->target.size - (size_t)(mark + 1 - head->target.data));
	count = parameter_count(query);
	exchange->status = 400;
	if (count > HTTP_PARAMETERS_MAX)
		return false;
	/* The target twice: as sent, and its parts decoded, which makes nothing longer. */
	size = fields_size(head->fields, head->field_count) + count * sizeof(*parameters) +
	       head->method.size + head->host.size + 2 * head->target.size;
	if (!http_memory_grow(exchange, memory, size)) {
		exchange->status = 503;
		return false;
	}
	writer = (struct writer){ .at = memory->data, .left = size };
	parameters = (struct http_field *)(void *)writer.at;
	writer.at += count * sizeof(*parameters);
	writer.left -= count * sizeof(*parameters);
	request->fields = keep_fields(&writer, head->fields, head->field_count);
	request->field_count = head->field_count;
	request->method = http_method_of(head->method);
	request->method_name = keep(&writer, head->method);
	request->host = keep(&writer, head->host);
	if (!target_take(request, &writer, head->target, parameters))
		return false;
	assert(request->parameter_count == count);
	memory->used = (uint32_t)(writer.at - memory->data);
	request->body_size = head->framing == HTTP1_CHUNKED ? HTTP_SIZE_UNKNOWN : head->body_size;
	request->has_length = head->framing == HTTP1_SIZED;
	if (request->version == 0)
		request->version = (uint8_t)(10 + head->minor_version);
	request->local = exchange->connection->stream->local;
	request->secure = exchange->connection->stream->security != NULL;
	request->peer = exchange->connection->stream->peer;
	exchange->status = 0;
	memset(http_state(exchange), 0, exchange->server->handler->state_size);
	return true;
}

/* The body. */

void http_body_want(struct http_exchange *exchange)
{
	assert(exchange->answer_phase != HTTP_ANSWER_ENDED);
	assert(exchange->body_mode == HTTP_BODY_HELD || exchange->body_mode == HTTP_BODY_WANTED);
	assert(exchange->server->handler->body_ended != NULL);
	exchange->body_mode = HTTP_BODY_WANTED;
	http_exchange_ready(exchange);
}

/* Room for all that may come, if that is known and little; else as it comes. */
static bool collect_grow(struct http_exchange *exchange, size_t size)
{
	struct http_memory *memory = &exchange->request_memory;
	struct buf *buf;

	if (exchange->collect_buf == NULL && size <= memory->size - memory->used) {
		exchange->collected.data = memory->data + memory->used;
		return true;
	}
	if (exchange->collect_buf != NULL && size <= exchange->collect_buf->size)
		return true;
	buf = buf_get(exchange->server->bufs, size > COLLECT_FIRST ? size : COLLECT_FIRST);
	if (buf == NULL)
		return false;
	if (exchange->collected.size > 0)
		memcpy(buf->data, exchange->collected.data, exchange->collected.size);
	if (exchange->collect_buf != NULL)
		buf_unref(exchange->collect_buf);
	exchange->collect_buf = buf;
	exchange->collected.data = buf->data;
	return true;
}

static void collect_fail(struct http_exchange *exchange, enum status status)
{
	exchange->collect_status = status;
	exchange->body_mode = HTTP_BODY_DROP;
	http_exchange_ready(exchange);
}

void http_body_collect(struct http_exchange *exchange, uint32_t size_max)
{
	uint64_t size = exchange->request.body_size;

	assert(exchange->answer_phase != HTTP_ANSWER_ENDED);
	assert(exchange->body_mode == HTTP_BODY_HELD);
	assert(size_max <= HTTP_COLLECT_MAX);
	assert(exchange->server->handler->body_ended != NULL);
	exchange->body_mode = HTTP_BODY_COLLECT;
	exchange->collect_max = size_max;
	if (size != HTTP_SIZE_UNKNOWN && size > size_max)
		collect_fail(exchange, STATUS_TOO_LARGE);
	else if (size != HTTP_SIZE_UNKNOWN && size > 0 && !collect_grow(exchange, size))
		collect_fail(exchange, STATUS_BUSY);
	http_exchange_ready(exchange);
}

static void collect(struct http_exchange *exchange, struct bytes piece)
{
	size_t size = exchange->collected.size + piece.size;
	uint8_t *to;

	if (size > exchange->collect_max) {
		collect_fail(exchange, STATUS_TOO_LARGE);
		return;
	}
	if (!collect_grow(exchange, size)) {
		collect_fail(exchange, STATUS_BUSY);
		return;
	}
	to = exchange->collect_buf != NULL
	             ? exchange->collect_buf->data
	             : exchange->request_memory.data + exchange->request_memory.used;
	memcpy(to + exchange->collected.size, piece.data, piece.size);
	exchange->collected.size = size;
}

static size_t body_give(struct http_exchange *exchange, struct bytes piece)
{
	size_t taken;

	assert(exchange->server->handler->body != NULL);
	exchange->body_mode = HTTP_BODY_HELD;
	taken = exchange->server->handler->body(exchange, piece);
	assert(taken <= piece.size);
	if (exchange->body_mode == HTTP_BODY_DROP)
		return piece.size; /* it has answered meanwhile */
	if (taken == piece.size)
		exchange->body_mode = HTTP_BODY_WANTED;
	return taken;
}

size_t http_exchange_body(struct http_exchange *exchange, struct bytes piece)
{
	size_t taken = piece.size;

	switch ((enum http_body_mode)exchange->body_mode) {
	case HTTP_BODY_HELD:
		return 0;
	case HTTP_BODY_WANTED:
		taken = body_give(exchange, piece);
		break;
	case HTTP_BODY_COLLECT:
		collect(exchange, piece);
		break;
	case HTTP_BODY_DROP:
		exchange->body_dropped += piece.size;
		if (exchange->body_dropped > exchange->server->limits.drop_max)
			exchange->flags |= HTTP_EXCHANGE_CLOSE;
		break;
	}
	exchange->body_received += taken;
	return taken;
}

bool http_exchange_takes_body(const struct http_exchange *exchange)
{
	switch ((enum http_body_mode)exchange->body_mode) {
	case HTTP_BODY_HELD:
		return false;
	case HTTP_BODY_WANTED:
	case HTTP_BODY_COLLECT:
		return true;
	case HTTP_BODY_DROP:
		return exchange->body_dropped <= exchange->server->limits.drop_max;
	}
	unreachable();
	return false;
}

static bool trailers_take(struct http_exchange *exchange, const struct http_field *trailers,
                          uint32_t count)
{
	struct http_memory *memory = &exchange->request_memory;
	uint32_t start = (uint32_t)align_up(memory->used, sizeof(void *));
	size_t size = fields_size(trailers, count);
	struct writer writer = { .left = size };

	/* A collected body may lie in what is free of the request's memory. */
	if (exchange->body_mode != HTTP_BODY_COLLECT && start <= memory->size &&
	    size <= memory->size - start) {
		writer.at = memory->data + start;
		memory->used = start + (uint32_t)size;
	} else {
		exchange->trailer_buf = buf_get(exchange->server->bufs, size);
		if (exchange->trailer_buf == NULL)
			return false;
		writer.at = exchange->trailer_buf->data;
	}
	exchange->request.trailers = keep_fields(&writer, trailers, count);
	exchange->request.trailer_count = count;
	return true;
}

bool http_exchange_body_end(struct http_exchange *exchange, const struct http_field *trailers,
                            uint32_t count)
{
	exchange->flags |= HTTP_EXCHANGE_BODY_DONE;
	return count == 0 || trailers_take(exchange, trailers, count);
}

/* What is due. */

static void body_tell(struct http_exchange *exchange, enum status status)
{
	exchange->flags |= HTTP_EXCHANGE_BODY_TOLD;
	exchange->server->handler->body_ended(
	        exchange, status, status == STATUS_OK ? exchange->collected : bytes_of(NULL, 0));
}

static bool pull_is_due(const struct http_exchange *exchange)
{
	return exchange->answer_phase == HTTP_ANSWER_STREAMS &&
	       !(exchange->flags &
	         (HTTP_EXCHANGE_PULLED | HTTP_EXCHANGE_PULL_LATER | HTTP_EXCHANGE_ABORTED)) &&
	       exchange->piece_count < HTTP_PIECES_AHEAD && exchange->answer_left > 0;
}

unsigned http_exchange_run(struct http_exchange *exchange)
{
	unsigned count = 0;

	if (exchange->flags & (HTTP_EXCHANGE_ABORTED | HTTP_EXCHANGE_ALONE))
		return 0;
	if (!(exchange->flags & HTTP_EXCHANGE_BODY_TOLD) &&
	    exchange->answer_phase != HTTP_ANSWER_ENDED) {
		bool taken = exchange->body_mode == HTTP_BODY_WANTED ||
		             exchange->body_mode == HTTP_BODY_COLLECT;

		if (exchange->collect_status != STATUS_OK ||
		    ((exchange->flags & HTTP_EXCHANGE_BODY_DONE) && taken)) {
			body_tell(exchange, exchange->collect_status);
			count++;
		}
	}
	if (pull_is_due(exchange)) {
		exchange->flags |= HTTP_EXCHANGE_PULLED;
		exchange->server->handler->pull(exchange);
		count++;
	}
	return count;
}

void http_exchange_abort(struct http_exchange *exchange)
{
	const struct http_handler *handler = exchange->server->handler;

	if (exchange->flags & HTTP_EXCHANGE_ABORTED)
		return;
	exchange->flags |= HTTP_EXCHANGE_ABORTED;
	exchange->server->stats.aborted++;
	if (exchange->answer_phase != HTTP_ANSWER_ENDED && handler->aborted != NULL)
		handler->aborted(exchange);
}

/* pull() again. */

static void later_ran(struct timer *timer)
{
	struct http_server *server = container_of(timer, struct http_server, later_timer);
	struct http_exchange *exchange;

	while ((exchange = TAILQ_FIRST(&server->later)) != NULL) {
		TAILQ_REMOVE(&server->later, exchange, later_link);
		exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_PULL_LATER;
		http_exchange_ready(exchange);
	}
}

void http_pull_later(struct http_exchange *exchange)
{
	struct http_server *server = exchange->server;

	assert(exchange->answer_phase == HTTP_ANSWER_STREAMS);
	assert(!(exchange->flags & HTTP_EXCHANGE_PULL_LATER));
	exchange->flags &= ~(uint32_t)HTTP_EXCHANGE_PULLED;
	exchange->flags |= HTTP_EXCHANGE_PULL_LATER;
	TAILQ_INSERT_TAIL(&server->later, exchange, later_link);
	if (!server->later_timer.armed)
		timer_arm(&server->worker->timers, &server->later_timer,
		          server->worker->now_ns + PULL_LATER_NS, later_ran);
}
