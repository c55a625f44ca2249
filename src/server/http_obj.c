/* SPDX-License-Identifier: Apache-2.0 */
/* /o/BUCKET/KEY: objects as they are, read and deleted; those of S3 are the same ones. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/http_face_internal.h"
#include "server/s3_internal.h"

bool face_obj_path(struct http_exchange *exchange, struct bytes *ret_bucket, struct bytes *ret_name)
{
	struct bytes path = http_request_of(exchange)->path, rest;
	const uint8_t *slash;

	assert(path.size >= 3);
	rest = bytes_of(path.data + 3, path.size - 3);
	slash = rest.size == 0 ? NULL : memchr(rest.data, '/', rest.size);
	*ret_bucket = bytes_of(rest.data, slash == NULL ? rest.size : (size_t)(slash - rest.data));
	*ret_name = slash == NULL ? bytes_of(rest.data + rest.size, 0)
	                          : bytes_of(slash + 1, rest.size - ret_bucket->size - 1);
	if (memchr(path.data, '\0', path.size) == NULL && ret_bucket->size <= OBJ_BUCKET_NAME_MAX &&
	    ret_name->size <= OBJ_NAME_MAX)
		return true;
	http_answer_reject(exchange, 400, "a name is too long, or has a zero byte");
	return false;
}

void face_obj_fail(struct http_exchange *exchange)
{
	const struct req *req = &face_state(exchange)->req;

	if (req->status != STATUS_NOT_FOUND)
		face_fail(exchange, req->status);
	else if (req->result == OBJ_NO_BUCKET)
		http_answer_reject(exchange, 404, "no such bucket");
	else
		http_answer_reject(exchange, 404, "no such object");
}

static void released(struct http_exchange *exchange)
{
	(void)exchange;
}

/* The exchange is held until it is done, so the answer need not wait for it. */
void face_obj_release(struct http_exchange *exchange, enum obj_op op)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	const struct obj_cmd cmd = { .op = (uint8_t)op, .handle = obj->handle };

	assert(op == OBJ_RELEASE || op == OBJ_ABORT);
	if (obj->handle == 0)
		return;
	obj->handle = 0;
	face_submit_obj(exchange, &cmd, released);
}

void face_obj_give_up(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;

	face_obj_release(exchange, obj->writing ? OBJ_ABORT : OBJ_RELEASE);
	http_abort(exchange);
}

/* What is kept of a version: the rest dies when this returns. */
static void meta_visit(void *visitor, const struct obj_entry *entry)
{
	struct face_state *state = visitor;
	struct obj_state *obj = &state->obj;
	const struct obj_meta *meta = &entry->meta;
	uint8_t *kept = state->small;
	struct s3_brief brief;

	obj->found = true;
	obj->marker = meta->flags & OBJ_IS_MARKER;
	obj->meta = *meta;
	s3_brief_parse(&brief, meta->brief);
	obj->encryption = (uint8_t)brief.sse;
	obj->etag[0] = '"';
	if (meta->etag.size > 0)
		memcpy(obj->etag + 1, meta->etag.data, meta->etag.size);
	obj->etag[1 + meta->etag.size] = '"';
	obj->etag_size = (uint8_t)(meta->etag.size + 2);
	if (meta->attributes.size > sizeof(state->small)) {
		obj->attributes_buf =
		        buf_get(http_bufs(http_exchange_of(state)), meta->attributes.size);
		kept = obj->attributes_buf != NULL ? obj->attributes_buf->data : NULL;
	}
	obj->meta.attributes = bytes_of(NULL, 0);
	if (kept != NULL && meta->attributes.size > 0) {
		memcpy(kept, meta->attributes.data, meta->attributes.size);
		obj->meta.attributes = bytes_of(kept, meta->attributes.size);
	}
}

static struct http_selected selected_of(const struct obj_state *obj)
{
	return (struct http_selected){
		.exists = obj->found && !obj->marker,
		.etag = bytes_of(obj->etag, obj->etag_size),
		.modified_unix_s = obj->meta.created_ms / 1000,
	};
}

static void answer_validators(struct http_exchange *exchange)
{
	const struct obj_state *obj = &face_state(exchange)->obj;

	if (obj->etag_size > 2)
		http_answer_field(exchange, "ETag", bytes_of(obj->etag, obj->etag_size));
	http_answer_date(exchange, "Last-Modified", obj->meta.created_ms / 1000);
}

/* What stands in the way of an answer with the object; false: it has been answered. */
static bool may_answer(struct http_exchange *exchange)
{
	const struct obj_state *obj = &face_state(exchange)->obj;
	const struct http_selected selected = selected_of(obj);
	struct http_conditions conditions = { .if_match = { .size = 0 } };
	enum http_verdict verdict;

	if (obj->marker) {
		http_answer_reject(exchange, 404, "no such object");
		return false;
	}
	if (obj->encryption != S3_SSE_NONE) {
		http_answer_reject(exchange, 403, "only S3 with its key can read this object");
		return false;
	}
	http_field_get(exchange, "if-match", &conditions.if_match);
	http_field_get(exchange, "if-none-match", &conditions.if_none_match);
	http_field_get(exchange, "if-modified-since", &conditions.if_modified_since);
	http_field_get(exchange, "if-unmodified-since", &conditions.if_unmodified_since);
	verdict = http_conditions_judge(&conditions, &selected, true);
	if (verdict == HTTP_PROCEED)
		return true;
	http_answer(exchange, verdict == HTTP_NOT_MODIFIED ? 304 : 412);
	answer_validators(exchange);
	http_answer_end(exchange);
	return false;
}

/* As the S3 face has stored them. */
static const struct {
	unsigned number;
	const char *name;
} headers[] = {
	{ S3_ATTRIBUTE_CONTENT_ENCODING, "Content-Encoding" },
	{ S3_ATTRIBUTE_CACHE_CONTROL, "Cache-Control" },
	{ S3_ATTRIBUTE_CONTENT_DISPOSITION, "Content-Disposition" },
	{ S3_ATTRIBUTE_CONTENT_LANGUAGE, "Content-Language" },
	{ S3_ATTRIBUTE_EXPIRES, "Expires" },
};

static void answer_headers(struct http_exchange *exchange)
{
	const struct obj_state *obj = &face_state(exchange)->obj;
	struct bytes type = obj_attribute_get(obj->meta.attributes, S3_ATTRIBUTE_CONTENT_TYPE);

	if (type.size == 0)
		type = BYTES("application/octet-stream");
	http_answer_field(exchange, "Content-Type", type);
	for (size_t i = 0; i < array_count(headers); i++) {
		struct bytes value = obj_attribute_get(obj->meta.attributes, headers[i].number);

		if (value.size > 0)
			http_answer_field(exchange, headers[i].name, value);
	}
	/* A page that somebody has stored is not a page of this server. */
	http_answer_text(exchange, "Content-Security-Policy", "sandbox");
	http_answer_text(exchange, "X-Content-Type-Options", "nosniff");
	http_answer_text(exchange, "Accept-Ranges", "bytes");
	answer_validators(exchange);
}

/* True: pull() comes. */
static bool answer_object(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	const struct http_selected selected = selected_of(obj);
	enum http_range_result result = HTTP_RANGE_IGNORED;
	struct http_range range = { .size = obj->meta.size };
	char text[HTTP_CONTENT_RANGE_MAX];
	struct bytes asked, condition;
	unsigned count;

	if (http_field_get(exchange, "range", &asked) &&
	    (!http_field_get(exchange, "if-range", &condition) ||
	     http_if_range(condition, &selected)))
		result = http_range_parse(asked, obj->meta.size, &range, 1, &count);
	if (result == HTTP_RANGE_UNSATISFIABLE) {
		http_answer(exchange, 416);
		snprintf(text, sizeof(text), "bytes */%" PRIu64, obj->meta.size);
		http_answer_text(exchange, "Content-Range", text);
		http_answer_end(exchange);
		return false;
	}
	if (result == HTTP_RANGE_IGNORED)
		range = (struct http_range){ .size = obj->meta.size };
	obj->offset = range.offset;
	obj->left = range.size;
	http_answer(exchange, result == HTTP_RANGE_OK ? 206 : 200);
	if (result == HTTP_RANGE_OK)
		http_answer_field(exchange, "Content-Range",
		                  bytes_of(text, http_content_range(&range, obj->meta.size, text)));
	answer_headers(exchange);
	return http_answer_stream(exchange, obj->left);
}

static void obj_opened(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct obj_state *obj = &state->obj;

	if (state->req.status == STATUS_OK)
		obj->handle =
		        http_request_of(exchange)->method == HTTP_HEAD ? 0 : state->req.result;
	if (http_is_aborted(exchange))
		face_obj_give_up(exchange);
	else if (state->req.status != STATUS_OK)
		face_obj_fail(exchange);
	else if (!may_answer(exchange) || !answer_object(exchange))
		face_obj_release(exchange, OBJ_RELEASE);
}

static void obj_get(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	bool head = http_request_of(exchange)->method == HTTP_HEAD;
	const struct obj_cmd cmd = {
		.op = head ? OBJ_HEAD : OBJ_OPEN,
		.bucket = state->obj.bucket,
		.name = state->obj.name,
		.visit = meta_visit,
		.visitor = state,
	};

	face_submit_obj(exchange, &cmd, obj_opened);
}

static void piece_read(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct obj_state *obj = &state->obj;
	struct buf *buf = obj->bufs[0];
	bool wrong = state->req.status != STATUS_OK || state->req.result == 0 ||
	             state->req.result > obj->left;

	if (http_is_aborted(exchange) || (wrong && http_answer_is_sent(exchange))) {
		face_obj_give_up(exchange);
		return;
	}
	if (wrong) {
		enum status status = state->req.status;

		face_obj_release(exchange, OBJ_RELEASE);
		face_fail(exchange, status != STATUS_OK ? status : STATUS_CORRUPT);
		return;
	}
	buf->used = (uint32_t)state->req.result;
	obj->offset += buf->used;
	obj->left -= buf->used;
	obj->bufs[0] = NULL;
	if (obj->left == 0)
		face_obj_release(exchange, OBJ_RELEASE);
	http_answer_give(exchange, bytes_of(buf->data, buf->used), buf);
}

static void obj_pull(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	uint32_t size = obj->left < FACE_PIECE ? (uint32_t)obj->left : FACE_PIECE;
	struct obj_cmd cmd = {
		.op = OBJ_READ,
		.handle = obj->handle,
		.offset = obj->offset,
		.out_size = size,
	};

	assert(obj->bufs[0] == NULL);
	obj->bufs[0] = buf_get(http_bufs(exchange), size);
	if (obj->bufs[0] == NULL) {
		http_pull_later(exchange);
		return;
	}
	cmd.out = obj->bufs[0]->data;
	face_submit_obj(exchange, &cmd, piece_read);
}

static void obj_deleted(struct http_exchange *exchange)
{
	const struct req *req = &face_state(exchange)->req;

	if (http_is_aborted(exchange)) {
		http_abort(exchange);
	} else if (req->status == STATUS_CONFLICT) {
		http_answer(exchange, 412);
		http_answer_end(exchange);
	} else if (req->status != STATUS_OK) {
		face_obj_fail(exchange);
	} else if (req->result == OBJ_WAS_ABSENT) {
		http_answer_reject(exchange, 404, "no such object");
	} else {
		http_answer(exchange, 204);
		http_answer_end(exchange);
	}
}

static void obj_delete(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	const struct obj_cmd cmd = {
		.op = OBJ_DELETE,
		.bucket = obj->bucket,
		.name = obj->name,
		.put = &obj->put,
	};

	if (face_obj_condition(exchange, &obj->put.condition))
		face_submit_obj(exchange, &cmd, obj_deleted);
}

static void obj_begin(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;

	if (!face_obj_path(exchange, &obj->bucket, &obj->name))
		return;
	switch (http_request_of(exchange)->method) {
	case HTTP_GET:
	case HTTP_HEAD:
		obj_get(exchange);
		break;
	case HTTP_PUT:
		face_obj_put(exchange);
		break;
	case HTTP_DELETE:
		obj_delete(exchange);
		break;
	default:
		face_refuse_method(exchange, "GET, HEAD, PUT, DELETE");
		break;
	}
}

static void obj_aborted(struct http_exchange *exchange)
{
	if (face_state(exchange)->next == NULL)
		face_obj_give_up(exchange);
}

static void obj_ended(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	struct buf *held[] = { obj->attributes_buf, obj->bufs[0], obj->bufs[1] };

	assert(obj->handle == 0);
	for (unsigned i = 0; i < array_count(held); i++) {
		if (held[i] != NULL)
			buf_unref(held[i]);
	}
	if (obj->md5 != NULL)
		face_digest_unget(face_of(exchange), obj->md5);
}

const struct http_route face_obj_route = {
	.path = "/o/",
	.begin = obj_begin,
	.body = face_obj_body,
	.body_ended = face_obj_body_ended,
	.pull = obj_pull,
	.aborted = obj_aborted,
	.ended = obj_ended,
};
