/* SPDX-License-Identifier: Apache-2.0 */
#include "server/s3_server.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/s3_operations.h"
#include "server/s3_sweep.h"
#include "wire/s3_uri.h"

struct call_frame {
	struct frame frame;
};

static void call_submitted(struct req *req)
{
	struct s3_call *call = container_of(req, struct s3_call, req);

	req_pop(req, struct call_frame);
	assert(call->running);
	call->running = false;
	if (call->aborted)
		s3_give_up(call);
	else
		call->next(call);
}

void s3_give_up(struct s3_call *call)
{
	if (call->running || s3_upload_flies(call) ||
	    (call->reader != NULL && call->reader->flying))
		return; /* it comes back here */
	call->answered = true;
	s3_upload_release(call);
	s3_reader_release(call);
	http_abort(call->exchange);
}

void s3_submit(struct s3_call *call, const struct obj_cmd *cmd, s3_next_fn *next)
{
	assert(!call->running && next != NULL);
	call->running = true;
	call->next = next;
	req_init(&call->req, call->server->worker);
	req_push(&call->req, struct call_frame, call_submitted);
	obj_submit(call->server->obj, &call->req, cmd);
}

struct obj_cmd s3_command(const struct s3_call *call, enum obj_op op)
{
	return (struct obj_cmd){
		.op = (uint8_t)op,
		.bucket = call->bucket,
		.name = call->key,
		.version = call->version,
		.flags = call->version_flags,
	};
}

/* From the call's own memory, then from the newest buffer, then from a new one. */
void *s3_alloc(struct s3_call *call, size_t size)
{
	struct buf *buf = call->buf_count > 0 ? call->bufs[call->buf_count - 1] : NULL;
	uint8_t *at;

	size = align_up(size, 16);
	if (S3_SMALL_MEMORY - call->small_used >= size) {
		at = call->small + call->small_used;
		call->small_used += size;
		return at;
	}
	if (buf == NULL || buf->size - buf->used < size) {
		size_t wanted = size < 16384 ? 16384 : size;

		buf = NULL;
		if (call->buf_count < S3_CALL_BUFS_MAX && wanted <= BUF_SIZE_MAX)
			buf = buf_get(call->server->bufs, wanted);
		if (buf == NULL) {
			s3_reply_error(call, S3_SLOW_DOWN);
			return NULL;
		}
		call->bufs[call->buf_count++] = buf;
	}
	at = buf->data + buf->used;
	buf->used += (uint32_t)size;
	return at;
}

struct s3_mark s3_alloc_mark(const struct s3_call *call)
{
	return (struct s3_mark){
		.small_used = call->small_used,
		.buf_count = call->buf_count,
		.buf_used = call->buf_count > 0 ? call->bufs[call->buf_count - 1]->used : 0,
	};
}

void s3_alloc_back(struct s3_call *call, const struct s3_mark *mark)
{
	assert(call->buf_count >= mark->buf_count && call->small_used >= mark->small_used);
	while (call->buf_count > mark->buf_count)
		buf_unref(call->bufs[--call->buf_count]);
	if (mark->buf_count > 0)
		call->bufs[mark->buf_count - 1]->used = (uint32_t)mark->buf_used;
	call->small_used = mark->small_used;
}

bool s3_keep(struct s3_call *call, struct bytes from, struct bytes *to)
{
	uint8_t *at = NULL;

	if (from.size > 0) {
		at = s3_alloc(call, from.size);
		if (at == NULL)
			return false;
		memcpy(at, from.data, from.size);
	}
	*to = bytes_of(at, from.size);
	return true;
}

bool s3_begin_xml(struct s3_call *call, size_t size)
{
	assert(call->out_buf == NULL);
	if (size > BUF_SIZE_MAX)
		size = BUF_SIZE_MAX;
	call->out_buf = buf_get(call->server->bufs, size < 4096 ? 4096 : size);
	if (call->out_buf == NULL) {
		s3_reply_error(call, S3_SLOW_DOWN);
		return false;
	}
	text_init(&call->out, call->out_buf->data, call->out_buf->size);
	xml_start(&call->out);
	return true;
}

void s3_field(struct s3_call *call, const char *name, struct bytes value)
{
	http_answer_field(call->exchange, name, value);
}

void s3_field_etag(struct s3_call *call, struct bytes etag)
{
	char memory[OBJ_ETAG_MAX + 2];
	struct text text;

	if (etag.size == 0)
		return;
	text_init(&text, memory, sizeof(memory));
	text_put(&text, '"');
	text_add(&text, etag);
	text_put(&text, '"');
	s3_field(call, "ETag", text_bytes(&text));
}

void s3_id_format(uint64_t id, char out[S3_ID_SIZE])
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(id >> (56 - 8 * i));
	hex_format(bytes_of(bytes, sizeof(bytes)), out);
}

bool s3_id_parse(struct bytes text, uint64_t *ret_id)
{
	uint8_t bytes[8];
	uint64_t id = 0;

	if (text.size != S3_ID_SIZE || !hex_parse(text, bytes))
		return false;
	for (unsigned i = 0; i < 8; i++)
		id = id << 8 | bytes[i];
	*ret_id = id;
	return id != 0;
}

struct bytes s3_version_text(const struct obj_meta *meta, char memory[S3_ID_SIZE])
{
	if (meta->flags & OBJ_IS_NULL)
		return BYTES("null");
	s3_id_format(meta->version, memory);
	return bytes_of(memory, S3_ID_SIZE);
}

/* A bucket that never had versioning says nothing of versions. */
void s3_field_version(struct s3_call *call, const char *name, const struct obj_meta *meta)
{
	char memory[S3_ID_SIZE];

	if ((meta->flags & OBJ_IS_NULL) && call->info.versioning == OBJ_VERSIONING_OFF)
		return;
	s3_field(call, name, s3_version_text(meta, memory));
}

static void put_request_id(const struct s3_call *call, char out[S3_ID_SIZE])
{
	s3_id_format(call->request_id, out);
	for (unsigned i = 0; i < S3_ID_SIZE; i++) {
		if (out[i] >= 'a')
			out[i] = (char)(out[i] - 32);
	}
}

void s3_reply(struct s3_call *call, unsigned status)
{
	char id[S3_ID_SIZE], host[64];
	struct text text;

	assert(!call->answered && !call->running);
	put_request_id(call, id);
	http_answer(call->exchange, status);
	s3_field(call, "x-amz-request-id", bytes_of(id, sizeof(id)));
	text_init(&text, host, sizeof(host));
	text_base64(&text, bytes_of(id, sizeof(id)));
	s3_field(call, "x-amz-id-2", text_bytes(&text));
	s3_cors_fields(call);
}

void s3_end(struct s3_call *call)
{
	assert(!call->answered);
	call->answered = true;
	http_answer_end(call->exchange);
}

void s3_end_xml(struct s3_call *call)
{
	struct buf *buf = call->out_buf;

	assert(!call->answered && buf != NULL);
	assert(!call->out.overflowed); /* else: whoever wrote it did not look */
	call->answered = true;
	buf->used = (uint32_t)call->out.size;
	http_answer_text(call->exchange, "Content-Type", "application/xml");
	http_answer_stream(call->exchange, call->out.size); /* s3_pull() gives it */
}

/* What may have been set on the way and must not be in an error. */
static void write_error(struct s3_call *call, enum s3_error error, const char *message)
{
	char memory[4096], id[S3_ID_SIZE];
	struct text text;

	put_request_id(call, id);
	text_init(&text, memory, sizeof(memory));
	xml_start(&text);
	xml_open(&text, "Error");
	xml_string(&text, "Code", s3_error_code(error));
	xml_string(&text, "Message", message);
	if (error == S3_PRECONDITION_FAILED && call->condition_name != NULL)
		xml_string(&text, "Condition", call->condition_name);
	if (error == S3_INVALID_RANGE && call->range.size > 0 && call->range.size < 256) {
		xml_bytes(&text, "RangeRequested", call->range);
		xml_u64(&text, "ActualObjectSize", call->found.meta.size);
	}
	if (call->bucket.size > 0)
		xml_bytes(&text, "BucketName", call->bucket);
	if (call->key.size > 0 && call->key.size < 1025)
		xml_bytes(&text, "Key", call->key);
	xml_open(&text, "Resource");
	xml_escape(&text, bytes_of(call->request->raw_path.data,
	                           call->request->raw_path.size < 512 ? call->request->raw_path.size
	                                                              : 512));
	xml_close(&text, "Resource");
	xml_bytes(&text, "RequestId", bytes_of(id, sizeof(id)));
	xml_close(&text, "Error");
	if (text.overflowed) { /* a key of control characters: all the rest matters more */
		text_init(&text, memory, sizeof(memory));
		xml_start(&text);
		xml_open(&text, "Error");
		xml_string(&text, "Code", s3_error_code(error));
		xml_string(&text, "Message", message);
		xml_bytes(&text, "RequestId", bytes_of(id, sizeof(id)));
		xml_close(&text, "Error");
	}
	assert(!text.overflowed);
	http_answer_text(call->exchange, "Content-Type", "application/xml");
	http_answer_body(call->exchange, text_bytes(&text));
}

void s3_reply_error_text(struct s3_call *call, enum s3_error error, const char *text)
{
	assert(error != S3_NONE);
	s3_upload_release(call);
	s3_reader_release(call);
	s3_reply(call, s3_error_http(error));
	call->answered = true;
	if (call->marker_found) {
		http_answer_text(call->exchange, "x-amz-delete-marker", "true");
		s3_field_version(call, "x-amz-version-id", &call->found.meta);
		http_answer_date(call->exchange, "Last-Modified",
		                 call->found.meta.created_ms / 1000);
	}
	if (error == S3_NOT_MODIFIED)
		http_answer_end(call->exchange);
	else
		write_error(call, error, text);
}

void s3_reply_error(struct s3_call *call, enum s3_error error)
{
	s3_reply_error_text(call, error, s3_error_text(error));
}

static enum s3_error missing(uint64_t what)
{
	switch ((enum obj_missing)what) {
	case OBJ_NO_BUCKET:
		return S3_NO_SUCH_BUCKET;
	case OBJ_NO_NAME:
		return S3_NO_SUCH_KEY;
	case OBJ_NO_VERSION:
		return S3_NO_SUCH_VERSION;
	case OBJ_NO_UPLOAD:
		return S3_NO_SUCH_UPLOAD;
	case OBJ_NO_DOCUMENT:
		return S3_NO_SUCH_KEY;
	}
	return S3_NO_SUCH_KEY;
}

enum s3_error s3_error_of(enum status status, uint64_t result)
{
	switch (status) {
	case STATUS_OK:
		return S3_NONE;
	case STATUS_NOT_FOUND:
		return missing(result);
	case STATUS_EXISTS:
		return S3_BUCKET_ALREADY_EXISTS;
	case STATUS_CONFLICT:
		return S3_PRECONDITION_FAILED;
	case STATUS_INVALID:
		return S3_INVALID_REQUEST;
	case STATUS_UNSUPPORTED:
		return S3_NOT_IMPLEMENTED;
	case STATUS_NO_SPACE:
		return S3_STORAGE_FULL;
	case STATUS_TOO_LARGE:
		return S3_ENTITY_TOO_LARGE;
	case STATUS_DENIED:
		return S3_ACCESS_DENIED_LOCKED;
	case STATUS_BUSY:
		return S3_SLOW_DOWN;
	case STATUS_READ_ONLY:
	case STATUS_TIMEOUT:
	case STATUS_UNAVAILABLE:
	case STATUS_CANCELED:
		return S3_SERVICE_UNAVAILABLE;
	case STATUS_CORRUPT:
	case STATUS_IO:
		return S3_INTERNAL_ERROR;
	case STATUS_COUNT:
		break;
	}
	unreachable();
}

void s3_reply_status(struct s3_call *call)
{
	assert(call->req.status != STATUS_OK);
	s3_reply_error(call, s3_error_of(call->req.status, call->req.result));
}

bool s3_header(const struct s3_call *call, const char *name, struct bytes *ret_value)
{
	struct bytes wanted = bytes_of(name, strlen(name));

	for (uint32_t i = 0; i < call->field_count; i++) {
		if (bytes_equal(call->fields[i].name, wanted)) {
			*ret_value = call->fields[i].value;
			return true;
		}
	}
	*ret_value = (struct bytes){ 0 };
	return false;
}

bool s3_parameter(const struct s3_call *call, const char *name, struct bytes *ret_value)
{
	*ret_value = (struct bytes){ 0 };
	return http_parameter_get(call->exchange, name, ret_value);
}

uint64_t s3_now_ms(const struct s3_call *call)
{
	return call->server->worker->wall_ms;
}

void s3_visit_found(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct s3_found *found = &call->found;

	if (call->answered)
		return;
	found->meta = entry->meta;
	if (!s3_keep(call, entry->meta.etag, &found->meta.etag) ||
	    !s3_keep(call, entry->meta.brief, &found->meta.brief) ||
	    !s3_keep(call, entry->meta.attributes, &found->meta.attributes))
		return;
	s3_brief_parse(&found->brief, found->meta.brief);
	found->sealed_size = found->meta.size;
	found->meta.size = s3_size_of(&found->brief, found->meta.size);
	found->there = true;
}

void s3_visit_document(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;

	if (!call->answered && !s3_keep(call, entry->document, &call->document))
		assert(call->answered);
}

/* The handler of exchanges. */

/* "/bucket/key", or the bucket from the host and the key alone. */
static void read_target(struct s3_call *call)
{
	struct bytes path = call->request->path, host = call->request->host;
	struct bytes domain =
	        bytes_of(call->server->options.domain, strlen(call->server->options.domain));

	if (path.size > 0 && path.data[0] == '/')
		path = bytes_of(path.data + 1, path.size - 1);
	host = bytes_cut(&host, ':');
	if (domain.size > 0 && host.size > domain.size + 1 &&
	    host.data[host.size - domain.size - 1] == '.' &&
	    bytes_equal_ignoring_case(bytes_of(host.data + host.size - domain.size, domain.size),
	                              domain)) {
		call->bucket = bytes_of(host.data, host.size - domain.size - 1);
		call->key = path;
		return;
	}
	call->bucket = bytes_cut(&path, '/');
	call->key = path;
}

static enum s3_error check_target(struct s3_call *call)
{
	struct bytes text;

	if (call->key.size > OBJ_NAME_MAX)
		return S3_KEY_TOO_LONG;
	if (call->bucket.size > OBJ_BUCKET_NAME_MAX)
		return S3_INVALID_BUCKET_NAME;
	if (call->bucket.size == 0 && call->key.size > 0)
		return S3_INVALID_BUCKET_NAME;
	if (call->key.size > 0 &&
	    (memchr(call->key.data, 0, call->key.size) != NULL || !utf8_is_valid(call->key)))
		return S3_INVALID_URI;
	if (!s3_parameter(call, "versionId", &text))
		return S3_NONE;
	call->has_version = true;
	if (bytes_equal(text, BYTES("null")))
		call->version_flags = OBJ_NULL_VERSION;
	else if (!s3_id_parse(text, &call->version))
		return S3_INVALID_ARGUMENT;
	return S3_NONE;
}

static void start_route(struct s3_call *call)
{
	call->route->start(call);
}

static void begin_collected(struct s3_call *call)
{
	if (call->route->flags & S3_ROUTE_COLLECT) {
		call->collected = start_route;
		http_body_collect(call->exchange, S3_BODY_MAX);
		return;
	}
	start_route(call);
}

static void authenticated(struct s3_call *call)
{
	if (call->route->flags & (S3_ROUTE_NO_BUCKET | S3_ROUTE_SELF)) {
		begin_collected(call);
		return;
	}
	s3_authorize(call, begin_collected);
}

static void s3_begin(struct http_exchange *exchange)
{
	struct s3_call *call = http_state(exchange);
	struct s3_server *server = http_owner(exchange);
	enum s3_error error;

	call->server = server;
	call->exchange = exchange;
	call->request = http_request_of(exchange);
	call->fields = call->request->fields;
	call->field_count = call->request->field_count;
	call->request_id = prng_next(&server->prng);
	read_target(call);
	error = check_target(call);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	if (call->request->method == HTTP_OPTIONS) {
		s3_cors_preflight(call);
		return;
	}
	call->route = s3_route_find(call);
	if (call->route == NULL) {
		s3_reply_error(call, S3_METHOD_NOT_ALLOWED);
		return;
	}
	if (call->route->start == NULL) {
		s3_reply_error(call, S3_NOT_IMPLEMENTED);
		return;
	}
	call->action = call->route->action;
	call->permission = call->route->permission;
	s3_authenticate(call, authenticated);
}

static size_t s3_body(struct http_exchange *exchange, struct bytes piece)
{
	struct s3_call *call = http_state(exchange);

	if (call->answered)
		return piece.size;
	return s3_upload_body(call, piece);
}

/* A collected body against what the request said of it. */
static enum s3_error check_collected(struct s3_call *call, struct bytes *body)
{
	struct sigv4_request request;
	struct s3_payload *payload = &call->upload->payload;
	uint8_t *out;
	size_t size = 0;
	enum s3_error error;

	if (!s3_sign_request(call, &request))
		return S3_INVALID_REQUEST;
	s3_payload_init(payload, &call->server->sha256, S3_CHECKSUM_NONE);
	/* Of that one the checksum in a header is the object's, not the body's. */
	payload->ignores_checksum = call->route->start == s3_multipart_complete;
	error = s3_payload_start(payload, &call->sig, &request,
	                         call->anonymous ? NULL : call->signing_key,
	                         &call->upload->digests);
	if (error != S3_NONE)
		return error;
	if ((call->route->flags & S3_ROUTE_NEEDS_MD5) && !payload->has_md5 &&
	    !payload->has_checksum && !payload->trailer_wanted)
		return S3_MISSING_CONTENT_MD5;
	/* Unwrapped in place, and decoded in place by those who parse it. */
	out = (uint8_t *)(uintptr_t)body->data;
	for (struct bytes rest = *body; rest.size > 0 && payload->error == S3_NONE;) {
		struct bytes data = s3_payload_next(payload, &rest);

		if (data.size > 0)
			memmove(out + size, data.data, data.size);
		size += data.size;
	}
	*body = bytes_of(out, size);
	return s3_payload_finish(payload);
}

static void s3_collected(struct s3_call *call, enum status status, struct bytes body)
{
	enum s3_error error = status == STATUS_OK          ? S3_NONE
	                      : status == STATUS_TOO_LARGE ? S3_MAX_MESSAGE
	                                                   : S3_SLOW_DOWN;

	if (error == S3_NONE && !s3_upload_take(call))
		return;
	if (error == S3_NONE) {
		error = check_collected(call, &body);
		s3_upload_release(call);
	}
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	call->body = body;
	call->collected(call);
}

static void s3_body_ended(struct http_exchange *exchange, enum status status, struct bytes body)
{
	struct s3_call *call = http_state(exchange);

	if (call->answered)
		return;
	if (call->collected != NULL)
		s3_collected(call, status, body);
	else
		s3_upload_body_ended(call);
}

static void s3_pull(struct http_exchange *exchange)
{
	struct s3_call *call = http_state(exchange);
	struct buf *buf = call->out_buf;

	if (buf == NULL) {
		s3_get_pull(call);
		return;
	}
	call->out_buf = NULL;
	http_answer_give(exchange, bytes_of(buf->data, buf->used), buf);
}

/* The peer has gone. What runs is waited for. */
static void s3_aborted(struct http_exchange *exchange)
{
	struct s3_call *call = http_state(exchange);

	call->aborted = true;
	if (call->waiting) {
		STAILQ_REMOVE(&call->server->users_waiting, call, s3_call, link);
		call->waiting = false;
	}
	s3_give_up(call);
}

static void s3_ended(struct http_exchange *exchange)
{
	struct s3_call *call = http_state(exchange);

	assert(!call->running && !call->waiting);
	s3_upload_release(call); /* an answer that could not be sent leaves them behind */
	s3_reader_release(call);
	if (call->out_buf != NULL)
		buf_unref(call->out_buf);
	for (uint32_t i = 0; i < call->buf_count; i++)
		buf_unref(call->bufs[i]);
	explicit_bzero(&call->sse, sizeof(call->sse));
	explicit_bzero(&call->source_sse, sizeof(call->source_sse));
	explicit_bzero(call->signing_key, sizeof(call->signing_key));
}

const struct http_handler s3_http_handler = {
	.name = "s3",
	.state_size = sizeof(struct s3_call),
	.begin = s3_begin,
	.body = s3_body,
	.body_ended = s3_body_ended,
	.pull = s3_pull,
	.aborted = s3_aborted,
	.ended = s3_ended,
};

/* Opening and closing. */

static bool open_pools(struct s3_server *server)
{
	uint32_t count = server->options.uploads_max;

	SLIST_INIT(&server->uploads_free);
	SLIST_INIT(&server->readers_free);
	server->uploads = calloc(count, sizeof(*server->uploads));
	server->readers = calloc(count, sizeof(*server->readers));
	if (server->uploads == NULL || server->readers == NULL)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		struct s3_upload *upload = &server->uploads[i];
		struct s3_reader *reader = &server->readers[i];

		if (!s3_digests_open(&upload->digests) || !cipher_open(&upload->cipher) ||
		    !cipher_open(&reader->cipher))
			return false;
		SLIST_INSERT_HEAD(&server->uploads_free, upload, link);
		SLIST_INSERT_HEAD(&server->readers_free, reader, link);
	}
	return true;
}

/* By its name a key is found again, whatever its place among them. */
static void name_masters(struct s3_server *server)
{
	uint8_t mac[SHA256_SIZE];

	for (uint32_t i = 0; i < server->master_count; i++) {
		struct s3_master *master = &server->masters[i];

		digest_hmac(&server->sha256, bytes_of(master->key, CIPHER_KEY_SIZE),
		            BYTES("weir master"), mac);
		memcpy(master->id, mac, S3_MASTER_ID);
	}
}

enum status s3_server_open(const struct s3_server_options *options, struct s3_server **out)
{
	struct s3_server *server = calloc(1, sizeof(*server));
	uint64_t seed;

	assert(options->uploads_max > 0 && options->lifecycle_day_ns > 0);
	*out = NULL;
	if (server == NULL)
		return STATUS_NO_SPACE;
	server->options = *options;
	server->worker = options->worker;
	server->obj = options->obj;
	server->kv = options->kv;
	server->bufs = options->bufs;
	assert(options->master_count <= S3_MASTERS_MAX);
	for (uint32_t i = 0; i < options->master_count; i++)
		memcpy(server->masters[i].key, options->masters[i], S3_MASTER_KEY_SIZE);
	server->master_count = options->master_count;
	explicit_bzero(server->options.masters, sizeof(server->options.masters));
	memcpy(&seed, options->secret, sizeof(seed));
	prng_init(&server->prng, seed);
	STAILQ_INIT(&server->users_waiting);
	server->values = calloc(S3_POLICY_VALUES_MAX, sizeof(*server->values));
	server->scratch = malloc(S3_SCRATCH_SIZE);
	server->users = calloc(S3_KEYS_MAX, sizeof(*server->users));
	server->users_next = calloc(S3_KEYS_MAX, sizeof(*server->users));
	if (server->values == NULL || server->scratch == NULL || server->users == NULL ||
	    server->users_next == NULL || !digest_open(&server->sha256, DIGEST_SHA256) ||
	    !digest_open(&server->md5, DIGEST_MD5) || !digest_open(&server->sha1, DIGEST_SHA1) ||
	    !cipher_open(&server->cipher) || !open_pools(server) ||
	    (options->leader && (server->sweep = s3_sweep_open(server)) == NULL)) {
		s3_server_close(server);
		return STATUS_NO_SPACE;
	}
	name_masters(server);
	*out = server;
	return STATUS_OK;
}

void s3_server_start(struct s3_server *server)
{
	s3_users_load(server);
	if (server->sweep != NULL)
		s3_sweep_start(server->sweep);
}

void s3_server_drain(struct s3_server *server)
{
	server->draining = true;
	timer_cancel(&server->worker->timers, &server->users_timer);
	if (server->sweep != NULL)
		s3_sweep_stop(server->sweep);
}

bool s3_server_is_drained(const struct s3_server *server)
{
	return server->borrowed == 0 && !server->users_loading &&
	       (server->sweep == NULL || s3_sweep_is_idle(server->sweep));
}

void s3_server_close(struct s3_server *server)
{
	for (uint32_t i = 0; server->uploads != NULL && i < server->options.uploads_max; i++) {
		s3_digests_close(&server->uploads[i].digests);
		cipher_close(&server->uploads[i].cipher);
	}
	for (uint32_t i = 0; server->readers != NULL && i < server->options.uploads_max; i++)
		cipher_close(&server->readers[i].cipher);
	digest_close(&server->sha256);
	digest_close(&server->md5);
	digest_close(&server->sha1);
	cipher_close(&server->cipher);
	explicit_bzero(server->masters, sizeof(server->masters));
	if (server->sweep != NULL)
		s3_sweep_close(server->sweep);
	free(server->uploads);
	free(server->readers);
	free(server->values);
	free(server->scratch);
	free(server->users);
	free(server->users_next);
	free(server);
}
