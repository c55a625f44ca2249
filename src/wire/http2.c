/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/assert.h"

enum {
	COPY_MAX = 1024,        /* bytes of a payload that are copied rather than lent */
	CONNECTION_WINDOWS = 4, /* the connection's window in windows of a stream */
	STREAMS_LIBRARY_MAX = 1 << 30,
	SETTING_SIZE = 6,
};

struct http2_library {
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
};

struct http2_stream {
	LIST_ENTRY(http2_stream) link; /* in session->streams */
	struct http2_session *session;
	void *exchange;     /* NULL: none, or none any more */
	uint64_t body_left; /* of has_length */
	uint32_t
	        held_size; /* bytes of the body that the owner has not consumed: a window at most */
	uint32_t drop_left; /* bytes of the body that are dropped: http2_stream_leave_open() */
	int32_t id;
	int32_t window_size; /* that the client leaves us, before SETTINGS change it */
	bool drops;
	bool has_length;
	bool malformed; /* has been reset, or will be: nothing more is told */
};

struct http2_session {
	struct http2_memory memory;
	struct http2_memory_source source;
	nghttp2_mem hooks;
	nghttp2_session *nghttp2;
	const struct http2_events *events;
	void *owner;
	struct http2_limits limits;
	struct http2_walker walker;
	struct http2_out *out; /* inside http2_pull() */
	struct bytes waiting;  /* a frame that did not fit: nghttp2's until it is asked again */
	LIST_HEAD(, http2_stream) streams;
	uint32_t stream_count;
	uint32_t window_size; /* that the client gave streams, before SETTINGS change it */
	bool broken;          /* no memory: nothing can be said any more */
	bool failed;          /* it ends with a GOAWAY that says an error */
	bool deaf;            /* a connection error: nothing is heard any more */
	bool left;            /* the client has said GOAWAY */
	bool greeted;         /* our SETTINGS have left */
	bool refuses;         /* the stream whose head comes is one too many */
	uint32_t kept_count;
	nghttp2_rcbuf *kept[2 * (HTTP2_FIELDS_MAX + HTTP2_PSEUDO_MAX)]; /* of `section` */
	struct http2_section section;
};

/* Memory. */

static void *hook_malloc(size_t size, void *user_data)
{
	return http2_memory_get(user_data, size);
}

static void hook_free(void *data, void *user_data)
{
	http2_memory_free(user_data, data);
}

static void *hook_calloc(size_t count, size_t size, void *user_data)
{
	void *data;

	if (size != 0 && count > HTTP2_MEMORY_LARGE_MAX / size)
		return NULL;
	data = http2_memory_get(user_data, count * size);
	if (data != NULL)
		memset(data, 0, count * size);
	return data;
}

static void *hook_realloc(void *data, size_t size, void *user_data)
{
	return http2_memory_resize(user_data, data, size);
}

/* Streams. */

static struct http2_stream *stream_of(struct http2_session *session, int32_t id)
{
	return nghttp2_session_get_stream_user_data(session->nghttp2, id);
}

/* What a submit can return besides success is that memory ran out, or that the stream has gone. */
static void submitted(struct http2_session *session, int result)
{
	if (nghttp2_is_fatal(result))
		session->broken = true;
}

void http2_stream_bind(struct http2_stream *stream, void *exchange)
{
	assert(stream->exchange == NULL && exchange != NULL);
	stream->exchange = exchange;
}

void http2_stream_leave(struct http2_stream *stream)
{
	assert(stream->exchange != NULL);
	stream->exchange = NULL;
}

void http2_stream_leave_open(struct http2_stream *stream, uint32_t size_max)
{
	http2_stream_leave(stream);
	stream->drops = true;
	stream->drop_left = size_max;
}

void http2_reset(struct http2_stream *stream, enum http2_error error)
{
	submitted(stream->session, nghttp2_submit_rst_stream(stream->session->nghttp2, 0,
	                                                     stream->id, (uint32_t)error));
}

void http2_consume(struct http2_stream *stream, size_t size)
{
	assert(size <= stream->held_size);
	stream->held_size -= (uint32_t)size;
	submitted(stream->session,
	          nghttp2_session_consume(stream->session->nghttp2, stream->id, size));
}

/* Nothing more of it is told: the client has broken a rule. */
static void stream_condemn(struct http2_stream *stream, enum http2_error error)
{
	struct http2_session *session = stream->session;
	void *exchange = stream->exchange;

	stream->malformed = true;
	stream->exchange = NULL;
	http2_reset(stream, error);
	if (exchange != NULL)
		session->events->gone(session->owner, exchange);
}

/* Sections of fields. */

static void section_drop(struct http2_session *session)
{
	for (uint32_t i = 0; i < session->kept_count; i++)
		nghttp2_rcbuf_decref(session->kept[i]);
	session->kept_count = 0;
}

static int on_begin_headers(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *user_data)
{
	struct http2_session *session = user_data;
	bool request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
	struct http2_stream *stream;

	section_drop(session);
	http2_section_init(&session->section, &session->limits, !request);
	session->refuses = false;
	if (!request)
		return 0;
	stream = http2_memory_get(&session->memory, sizeof(*stream));
	if (stream == NULL)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	*stream = (struct http2_stream){ .session = session, .id = frame->hd.stream_id };
	session->refuses = session->stream_count >= session->limits.streams_max;
	session->stream_count++;
	LIST_INSERT_HEAD(&session->streams, stream, link);
	return nghttp2_session_set_stream_user_data(nghttp2, stream->id, stream) == 0
	               ? 0
	               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static struct bytes bytes_of_rcbuf(nghttp2_rcbuf *rcbuf)
{
	nghttp2_vec vec = nghttp2_rcbuf_get_buf(rcbuf);

	return bytes_of(vec.base, vec.len);
}

static int on_header(nghttp2_session *nghttp2, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
	struct http2_session *session = user_data;

	(void)nghttp2;
	(void)frame;
	(void)flags;
	if (!http2_section_add(&session->section, bytes_of_rcbuf(name), bytes_of_rcbuf(value)))
		return 0;
	assert(session->kept_count + 2 <= sizeof(session->kept) / sizeof(session->kept[0]));
	nghttp2_rcbuf_incref(name);
	nghttp2_rcbuf_incref(value);
	session->kept[session->kept_count++] = name;
	session->kept[session->kept_count++] = value;
	return 0;
}

static void request_received(struct http2_session *session, const nghttp2_frame *frame)
{
	struct http2_stream *stream = stream_of(session, frame->hd.stream_id);
	const struct http2_head *head = &session->section.head;
	bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (stream == NULL)
		return;
	if (!http2_section_finish(&session->section, ended)) {
		stream_condemn(stream, HTTP2_PROTOCOL_ERROR);
		return;
	}
	if (session->refuses) {
		stream->malformed = true;
		http2_reset(stream, HTTP2_REFUSED_STREAM);
		return;
	}
	stream->has_length = head->has_length;
	stream->body_left = head->body_size;
	session->events->head(session->owner, stream, head);
}

static void trailers_received(struct http2_session *session, const nghttp2_frame *frame)
{
	struct http2_stream *stream = stream_of(session, frame->hd.stream_id);
	bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (stream == NULL || stream->malformed)
		return;
	if (!http2_section_finish(&session->section, ended) ||
	    (stream->has_length && stream->body_left > 0)) {
		stream_condemn(stream, HTTP2_PROTOCOL_ERROR);
		return;
	}
	if (stream->exchange != NULL)
		session->events->ended(session->owner, stream->exchange,
		                       session->section.head.fields,
		                       session->section.head.field_count);
}

static void data_received(struct http2_session *session, const nghttp2_frame *frame)
{
	struct http2_stream *stream;

	if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return;
	stream = stream_of(session, frame->hd.stream_id);
	if (stream == NULL || stream->malformed)
		return;
	if (stream->has_length && stream->body_left > 0)
		stream_condemn(stream, HTTP2_PROTOCOL_ERROR);
	else if (stream->exchange != NULL)
		session->events->ended(session->owner, stream->exchange, NULL, 0);
}

/*
 * RFC 9113 section 6.9.2: SETTINGS that make a window too large are an error of the connection.
 * nghttp2 resets the stream; so the windows are noted before it applies them.
 */
static int on_begin_frame(nghttp2_session *nghttp2, const nghttp2_frame_hd *header, void *user_data)
{
	struct http2_session *session = user_data;
	struct http2_stream *stream;

	if (header->type != NGHTTP2_SETTINGS || header->length == 0)
		return 0;
	session->window_size =
	        nghttp2_session_get_remote_settings(nghttp2, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
	LIST_FOREACH(stream, &session->streams, link)
	{
		stream->window_size =
		        nghttp2_session_get_stream_remote_window_size(nghttp2, stream->id);
	}
	return 0;
}

static void settings_received(struct http2_session *session)
{
	int64_t size = nghttp2_session_get_remote_settings(session->nghttp2,
	                                                   NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
	const struct http2_stream *stream;

	LIST_FOREACH(stream, &session->streams, link)
	{
		if (stream->window_size + size - session->window_size > INT32_MAX) {
			http2_fail(session, HTTP2_FLOW_CONTROL_ERROR);
			return;
		}
	}
}

static int on_frame_recv(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *user_data)
{
	struct http2_session *session = user_data;

	(void)nghttp2;
	if (frame->hd.type == NGHTTP2_DATA)
		data_received(session, frame);
	session->left |= frame->hd.type == NGHTTP2_GOAWAY;
	if (frame->hd.type == NGHTTP2_SETTINGS && frame->settings.niv > 0)
		settings_received(session);
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		request_received(session, frame);
	else
		trailers_received(session, frame);
	section_drop(session);
	return 0;
}

static void body_drop(struct http2_stream *stream, size_t size)
{
	if (size <= stream->drop_left) {
		stream->drop_left -= (uint32_t)size;
		return;
	}
	stream->drops = false;
	http2_reset(stream, HTTP2_NO_ERROR);
}

static void body_check(struct http2_stream *stream, size_t size)
{
	if (stream->has_length && !stream->malformed && size > stream->body_left)
		stream_condemn(stream, HTTP2_PROTOCOL_ERROR);
	/* nghttp2 has reset it, and yet hands over what came past the window. */
	if (stream->exchange != NULL &&
	    stream->held_size + size > stream->session->limits.window_size)
		stream_condemn(stream, HTTP2_FLOW_CONTROL_ERROR);
}

static int on_data_chunk_recv(nghttp2_session *nghttp2, uint8_t flags, int32_t id,
                              const uint8_t *data, size_t size, void *user_data)
{
	struct http2_session *session = user_data;
	struct http2_stream *stream = stream_of(session, id);

	(void)flags;
	if (stream != NULL)
		body_check(stream, size);
	if (stream != NULL && stream->has_length && !stream->malformed)
		stream->body_left -= size;
	if (stream == NULL || stream->exchange == NULL) {
		submitted(session, nghttp2_session_consume(nghttp2, id, size));
		if (stream != NULL && stream->drops)
			body_drop(stream, size);
		return 0;
	}
	stream->held_size += (uint32_t)size;
	session->events->body(session->owner, stream->exchange, bytes_of(data, size));
	return 0;
}

static int on_stream_close(nghttp2_session *nghttp2, int32_t id, uint32_t error, void *user_data)
{
	struct http2_session *session = user_data;
	struct http2_stream *stream = stream_of(session, id);
	void *exchange;

	(void)nghttp2;
	(void)error;
	if (stream == NULL)
		return 0;
	exchange = stream->exchange;
	LIST_REMOVE(stream, link);
	http2_memory_free(&session->memory, stream);
	assert(session->stream_count > 0);
	session->stream_count--;
	if (exchange != NULL)
		session->events->gone(session->owner, exchange);
	return 0;
}

/* Answers. */

static ssize_t answer_read(nghttp2_session *nghttp2, int32_t id, uint8_t *buf, size_t size_max,
                           uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
	struct http2_session *session = user_data;
	struct http2_stream *stream = source->ptr;
	bool ends = false;
	size_t size;

	(void)nghttp2;
	(void)id;
	(void)buf;
	if (stream->exchange == NULL)
		return NGHTTP2_ERR_DEFERRED; /* it has been reset */
	size = session->events->available(session->owner, stream->exchange, size_max, &ends);
	assert(size <= size_max);
	if (size == 0 && !ends)
		return NGHTTP2_ERR_DEFERRED;
	*flags = NGHTTP2_DATA_FLAG_NO_COPY | (ends ? NGHTTP2_DATA_FLAG_EOF : 0u);
	return (ssize_t)size;
}

static void out_refer(struct http2_out *out, const uint8_t *data, size_t size)
{
	struct iovec *last = out->iov_count > 0 ? &out->iov[out->iov_count - 1] : NULL;

	out->bytes += size;
	if (last != NULL && (const uint8_t *)last->iov_base + last->iov_len == data) {
		last->iov_len += size;
		return;
	}
	assert(out->iov_count < out->iov_max);
	out->iov[out->iov_count++] = (struct iovec){
		.iov_base = (void *)(uintptr_t)data,
		.iov_len = size,
	};
}

static void out_copy(struct http2_out *out, const uint8_t *data, size_t size)
{
	assert(size <= out->size - out->used);
	memcpy(out->data + out->used, data, size);
	out_refer(out, out->data + out->used, size);
	out->used += (uint32_t)size;
}

static int answer_send(nghttp2_session *nghttp2, nghttp2_frame *frame, const uint8_t *header,
                       size_t size, nghttp2_data_source *source, void *user_data)
{
	struct http2_session *session = user_data;
	struct http2_stream *stream = source->ptr;
	struct http2_out *out = session->out;
	bool lent = size > COPY_MAX;
	size_t copied = HTTP2_FRAME_HEADER_SIZE + (lent ? 0 : size);
	const uint8_t *data;

	(void)nghttp2;
	assert(frame->data.padlen == 0);
	if (stream->exchange == NULL)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (out->size - out->used < copied || out->iov_max - out->iov_count < 2)
		return NGHTTP2_ERR_WOULDBLOCK;
	out_copy(out, header, HTTP2_FRAME_HEADER_SIZE);
	if (size == 0)
		return 0;
	data = session->events->take(session->owner, stream->exchange, size, lent);
	if (lent)
		out_refer(out, data, size);
	else
		out_copy(out, data, size);
	http2_walker_earn_bytes(&session->walker, size);
	return 0;
}

/* The end of an answer, in a frame with DATA or with fields. */
static int on_frame_send(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *user_data)
{
	struct http2_session *session = user_data;
	struct http2_stream *stream;

	(void)nghttp2;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		session->failed |= frame->goaway.error_code != HTTP2_NO_ERROR;
	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
	    !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	http2_walker_earn(&session->walker, 2);
	stream = stream_of(session, frame->hd.stream_id);
	if (stream != NULL && stream->exchange != NULL)
		session->events->answered(session->owner, stream->exchange);
	return 0;
}

/* Answers take turns; what a client says of priorities is ignored. */
static void stream_share(struct http2_stream *stream)
{
	const nghttp2_extpri priority = { .urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1 };

	submitted(stream->session, nghttp2_session_change_extpri_stream_priority(
	                                   stream->session->nghttp2, stream->id, &priority, 1));
}

bool http2_answer(struct http2_stream *stream, unsigned status, const struct http_field *fields,
                  uint32_t field_count, bool has_body)
{
	nghttp2_nv nv[1 + HTTP2_ANSWER_FIELDS_MAX];
	uint8_t digits[3] = {
		(uint8_t)('0' + status / 100),
		(uint8_t)('0' + status / 10 % 10),
		(uint8_t)('0' + status % 10),
	};
	nghttp2_data_provider provider = { .source.ptr = stream, .read_callback = answer_read };
	int result;

	assert(status >= 200 && status <= 599);
	assert(field_count <= HTTP2_ANSWER_FIELDS_MAX);
	nv[0] = (nghttp2_nv){ (uint8_t *)(uintptr_t) ":status", digits, 7, 3, 0 };
	for (uint32_t i = 0; i < field_count; i++)
		nv[1 + i] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)fields[i].name.data,
			.namelen = fields[i].name.size,
			.value = (uint8_t *)(uintptr_t)fields[i].value.data,
			.valuelen = fields[i].value.size,
		};
	result = nghttp2_submit_response(stream->session->nghttp2, stream->id, nv, 1 + field_count,
	                                 has_body ? &provider : NULL);
	submitted(stream->session, result);
	if (has_body)
		stream_share(stream);
	return result == 0;
}

void http2_continue(struct http2_stream *stream)
{
	const nghttp2_nv nv = {
		.name = (uint8_t *)(uintptr_t) ":status",
		.namelen = 7,
		.value = (uint8_t *)(uintptr_t) "100",
		.valuelen = 3,
	};

	submitted(stream->session, nghttp2_submit_headers(stream->session->nghttp2, 0, stream->id,
	                                                  NULL, &nv, 1, NULL));
}

void http2_resume(struct http2_stream *stream)
{
	submitted(stream->session,
	          nghttp2_session_resume_data(stream->session->nghttp2, stream->id));
}

/* The session. */

struct http2_library *http2_library_open(void)
{
	struct http2_library *library = calloc(1, sizeof(*library));
	nghttp2_session_callbacks *callbacks;

	if (library == NULL)
		return NULL;
	if (nghttp2_session_callbacks_new(&library->callbacks) != 0 ||
	    nghttp2_option_new(&library->option) != 0) {
		http2_library_close(library);
		return NULL;
	}
	callbacks = library->callbacks;
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk_recv);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, answer_send);
	/* What a request may be is wire/http2_head.c's to say: here invalid fields are ignored. */
	nghttp2_option_set_no_http_messaging(library->option, 1);
	nghttp2_option_set_no_auto_window_update(library->option, 1);
	nghttp2_option_set_no_closed_streams(library->option, 1);
	/* Bounded by http2_walk() already. */
	nghttp2_option_set_max_continuations(library->option, HTTP2_CONTINUATIONS_MAX + 1);
	nghttp2_option_set_max_outbound_ack(library->option, HTTP2_CREDIT_MAX + 1);
	nghttp2_option_set_stream_reset_rate_limit(library->option, UINT32_MAX, UINT32_MAX);
	return library;
}

void http2_library_close(struct http2_library *library)
{
	nghttp2_session_callbacks_del(library->callbacks);
	nghttp2_option_del(library->option);
	free(library);
}

static bool session_greet(struct http2_session *session)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_LIBRARY_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, session->limits.window_size },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, session->limits.head_max },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};

	return nghttp2_submit_settings(session->nghttp2, 0, settings,
	                               sizeof(settings) / sizeof(settings[0])) == 0 &&
	       nghttp2_session_set_local_window_size(
	               session->nghttp2, 0, 0,
	               (int32_t)(session->limits.window_size * CONNECTION_WINDOWS)) == 0;
}

struct http2_session *http2_open(const struct http2_options *options)
{
	struct http2_session *session = options->memory;

	_Static_assert(sizeof(*session) + 1024 <= HTTP2_SESSION_MEMORY_MIN, "it says too little");
	assert(options->memory_size >= HTTP2_SESSION_MEMORY_MIN);
	assert(options->limits.window_size > 0 && options->limits.window_size <= 1 << 28);
	memset(session, 0, offsetof(struct http2_session, kept));
	session->source = options->source;
	session->limits = options->limits;
	session->events = options->events;
	session->owner = options->owner;
	http2_walker_init(&session->walker, options->now_ns);
	http2_memory_init(&session->memory, &session->source,
	                  (uint8_t *)options->memory + (sizeof(*session) + 15) / 16 * 16,
	                  options->memory_size - (sizeof(*session) + 15) / 16 * 16);
	session->hooks = (nghttp2_mem){ .mem_user_data = &session->memory,
		                        .malloc = hook_malloc,
		                        .free = hook_free,
		                        .calloc = hook_calloc,
		                        .realloc = hook_realloc };
	if (nghttp2_session_server_new3(&session->nghttp2, options->library->callbacks, session,
	                                options->library->option, &session->hooks) != 0) {
		http2_memory_fini(&session->memory);
		return NULL;
	}
	if (session_greet(session))
		return session;
	http2_close(session);
	return NULL;
}

void http2_close(struct http2_session *session)
{
	struct http2_stream *stream;

	section_drop(session);
	nghttp2_session_del(session->nghttp2);
	while ((stream = LIST_FIRST(&session->streams)) != NULL) {
		LIST_REMOVE(stream, link);
		http2_memory_free(&session->memory, stream);
	}
	http2_memory_fini(&session->memory);
}

void http2_fail(struct http2_session *session, enum http2_error error)
{
	session->deaf = true;
	submitted(session, nghttp2_session_terminate_session(session->nghttp2, (uint32_t)error));
}

bool http2_receive(struct http2_session *session, uint64_t now_ns, struct bytes input)
{
	enum http2_error error;
	size_t size;
	ssize_t taken;

	if (session->broken || session->deaf)
		return false;
	size = http2_walk(&session->walker, now_ns, input, &error);
	taken = nghttp2_session_mem_recv(session->nghttp2, input.data, size);
	if (taken == NGHTTP2_ERR_NOMEM || taken == NGHTTP2_ERR_CALLBACK_FAILURE)
		session->broken = true;
	else if (taken < 0)
		error = taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? HTTP2_PROTOCOL_ERROR
		                                              : HTTP2_ENHANCE_YOUR_CALM;
	if (error != HTTP2_NO_ERROR && nghttp2_session_want_read(session->nghttp2))
		http2_fail(session, error);
	else if (!nghttp2_session_want_read(session->nghttp2) &&
	         !(session->left && session->stream_count == 0))
		session->deaf = true;
	return !session->broken && !session->deaf;
}

uint64_t http2_begun_ns(const struct http2_session *session)
{
	return http2_walker_begun_ns(&session->walker);
}

bool http2_is_deaf(const struct http2_session *session)
{
	return session->broken || session->deaf;
}

bool http2_has_failed(const struct http2_session *session)
{
	return session->failed;
}

bool http2_is_over(const struct http2_session *session)
{
	return session->broken ||
	       (session->waiting.size == 0 && !nghttp2_session_want_read(session->nghttp2) &&
	        !nghttp2_session_want_write(session->nghttp2));
}

bool http2_is_blocked(const struct http2_stream *stream)
{
	nghttp2_session *nghttp2 = stream->session->nghttp2;

	return nghttp2_session_get_stream_remote_window_size(nghttp2, stream->id) <= 0 ||
	       nghttp2_session_get_remote_window_size(nghttp2) <= 0;
}

void *http2_keep(struct http2_session *session, size_t size)
{
	return http2_memory_get(&session->memory, size);
}

void http2_unkeep(struct http2_session *session, void *kept)
{
	http2_memory_free(&session->memory, kept);
}

void http2_drop(struct http2_session *session, size_t size)
{
	submitted(session, nghttp2_session_consume_connection(session->nghttp2, size));
}

void http2_announce(struct http2_session *session)
{
	submitted(session, nghttp2_submit_shutdown_notice(session->nghttp2));
}

void http2_refuse(struct http2_session *session)
{
	int32_t last = nghttp2_session_get_last_proc_stream_id(session->nghttp2);

	submitted(session,
	          nghttp2_submit_goaway(session->nghttp2, 0, last, HTTP2_NO_ERROR, NULL, 0));
}

/* Output. */

/*
 * Says in our SETTINGS how many streams may be open. nghttp2 is told of more: to it one too many is
 * an error of the connection, and RFC 9113 section 5.1.2 wants one of the stream.
 */
static void greeting_correct(struct http2_session *session, uint8_t *frame, size_t size)
{
	assert(size >= HTTP2_FRAME_HEADER_SIZE && frame[3] == HTTP2_SETTINGS);
	for (size_t i = HTTP2_FRAME_HEADER_SIZE; i + SETTING_SIZE <= size; i += SETTING_SIZE) {
		if (frame[i + 1] != NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
			continue;
		for (unsigned k = 0; k < 4; k++)
			frame[i + 2 + k] = (uint8_t)(session->limits.streams_told >> (24 - 8 * k));
	}
	session->greeted = true;
}

/* Copies of what waits as much as there is room for; true: all. */
static bool waiting_copy(struct http2_session *session, struct http2_out *out)
{
	struct bytes *waiting = &session->waiting;
	size_t room = out->size - out->used;
	size_t size = waiting->size < room ? waiting->size : room;

	if (size == 0 || out->iov_count == out->iov_max)
		return waiting->size == 0;
	out_copy(out, waiting->data, size);
	if (!session->greeted)
		greeting_correct(session, out->data + out->used - size, size);
	waiting->data += size;
	waiting->size -= size;
	return waiting->size == 0;
}

bool http2_pull(struct http2_session *session, struct http2_out *out)
{
	session->out = out;
	while (!session->broken && waiting_copy(session, out)) {
		const uint8_t *data;
		ssize_t size = nghttp2_session_mem_send(session->nghttp2, &data);

		if (size < 0)
			session->broken = true;
		if (size <= 0)
			break;
		session->waiting = bytes_of(data, (size_t)size);
	}
	session->out = NULL;
	return !session->broken;
}
