/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /o/ and /o/BUCKET/PREFIX/: buckets, and names in one as a directory shows them. Lines of JSON, or
 * a page for a browser. A path that does not end in a slash is an object's: http_obj.c.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "server/http_face_internal.h"
#include "server/s3_internal.h"
#include "wire/url.h"

enum {
	LIMIT_DEFAULT = 1000,
	LIMIT_MAX = 100000,
	MOMENT = 128,
	PIECE = 64 << 10,
	LINE_MAX_SIZE = 12 * OBJ_NAME_MAX + 512, /* a name in HTML: "%XX" and "&quot;" for a byte */
};
_Static_assert(PIECE >= 4 * LINE_MAX_SIZE, "a piece has several lines");

static void put(struct http_json *json, const void *data, size_t size)
{
	assert(size <= json->size - json->used); /* LINE_MAX_SIZE was free */
	memcpy(json->data + json->used, data, size);
	json->used += (uint32_t)size;
}

static void put_html(struct http_json *json, struct bytes text)
{
	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];
		const char *escape = c == '<'   ? "&lt;"
		                     : c == '>' ? "&gt;"
		                     : c == '&' ? "&amp;"
		                     : c == '"' ? "&quot;"
		                                : NULL;

		if (escape != NULL)
			put(json, escape, strlen(escape));
		else
			put(json, &c, 1);
	}
}

/* Of what S3 has encrypted: as its readers see it. */
static uint64_t size_of(const struct obj_meta *meta)
{
	struct s3_brief brief;

	s3_brief_parse(&brief, meta->brief);
	return s3_size_of(&brief, meta->size);
}

static void line_html(struct list_state *list, const struct obj_entry *entry)
{
	struct http_json *json = &list->json;
	uint8_t encoded[3 * OBJ_NAME_MAX];
	char size[32];

	http_json_raw(json, "<tr><td><a href=\"/o/");
	if (list->bucket.size > 0) {
		put(json, encoded, url_encode(list->bucket, false, encoded));
		put(json, "/", 1);
	}
	put(json, encoded, url_encode(entry->name, true, encoded));
	http_json_raw(json, entry->kind == OBJ_BUCKET ? "/\">" : "\">");
	put_html(json, entry->name);
	http_json_raw(json, "</a>");
	if (entry->kind == OBJ_OBJECT) {
		snprintf(size, sizeof(size), "<td>%" PRIu64, size_of(&entry->meta));
		http_json_raw(json, size);
	}
	http_json_line(json);
}

static void line_json(struct http_json *json, const struct obj_entry *entry)
{
	http_json_open(json, '{');
	switch (entry->kind) {
	case OBJ_BUCKET:
		http_json_bytes(json, "bucket", entry->name);
		http_json_name(json, "created_ms");
		http_json_u64(json, entry->bucket.created_ms);
		break;
	case OBJ_PREFIX:
		http_json_bytes(json, "prefix", entry->name);
		break;
	default:
		http_json_bytes(json, "name", entry->name);
		http_json_name(json, "size");
		http_json_u64(json, size_of(&entry->meta));
		http_json_bytes(json, "etag", entry->meta.etag);
		http_json_name(json, "modified_ms");
		http_json_u64(json, entry->meta.created_ms);
		break;
	}
	http_json_close(json, '}');
	http_json_line(json);
}

static void list_visit(void *visitor, const struct obj_entry *entry)
{
	struct face_state *state = visitor;
	struct list_state *list = &state->list;

	if (list->full)
		return;
	if (list->json.size - list->json.used < 2 * LINE_MAX_SIZE) {
		list->full = true;
		return;
	}
	if (list->html)
		line_html(list, entry);
	else
		line_json(&list->json, entry);
	assert(!list->json.full && entry->name.size <= sizeof(state->key));
	memcpy(state->key, entry->name.data, entry->name.size);
	list->after_size = (uint16_t)entry->name.size;
	list->left--;
	list->told++;
}

/* The line that says where to go on. */
static void list_more(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct list_state *list = &state->list;
	uint8_t text[2 * OBJ_NAME_MAX], encoded[3 * sizeof(text)];
	size_t size = http_base64_write(bytes_of(state->key, list->after_size), text);

	if (list->html) {
		http_json_raw(&list->json, "<tr><td><a href=\"?cursor=");
		put(&list->json, encoded, url_encode(bytes_of(text, size), false, encoded));
		http_json_raw(&list->json, "\">more</a>\n");
		return;
	}
	http_json_open(&list->json, '{');
	http_json_name(&list->json, "cursor");
	http_json_string(&list->json, bytes_of(text, size));
	http_json_close(&list->json, '}');
	http_json_line(&list->json);
}

static void listed(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct list_state *list = &state->list;
	struct buf *buf = list->buf;
	bool more;

	if (http_is_aborted(exchange) ||
	    (state->req.status != STATUS_OK && http_answer_is_sent(exchange))) {
		http_abort(exchange);
		return;
	}
	if (state->req.status != STATUS_OK) {
		face_obj_fail(exchange);
		return;
	}
	more = list->full || state->req.result == 1;
	if (more && list->left == 0)
		list_more(exchange);
	buf->used = list->json.used;
	list->buf = NULL;
	if (buf->used > 0)
		http_answer_give(exchange, bytes_of(buf->data, buf->used), buf);
	else
		buf_unref(buf);
	if (!more || list->left == 0)
		http_answer_finish(exchange);
}

static void list_pull(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct list_state *list = &state->list;
	struct obj_cmd cmd = {
		.op = list->bucket.size > 0 ? OBJ_LIST : OBJ_BUCKET_LIST,
		.bucket = list->bucket,
		.list = &list->list,
		.visit = list_visit,
		.visitor = state,
	};

	list->buf = buf_get(http_bufs(exchange), PIECE);
	if (list->buf == NULL) {
		http_pull_later(exchange);
		return;
	}
	http_json_init(&list->json, list->buf->data, list->buf->size);
	if (!list->started && list->html)
		http_json_raw(&list->json, "<!doctype html><meta charset=utf-8><table>\n");
	list->started = true;
	list->full = false;
	list->list.after = bytes_of(state->key, list->after_size);
	list->list.limit = list->left < MOMENT ? list->left : MOMENT;
	face_submit_obj(exchange, &cmd, listed);
}

static bool parameters_take(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct list_state *list = &state->list;
	struct bytes text;
	uint64_t limit = LIMIT_DEFAULT;
	size_t size = 0;

	if (http_parameter_get(exchange, "limit", &text) &&
	    (!http_parse_u64(text, &limit) || limit == 0 || limit > LIMIT_MAX))
		return false;
	list->left = (uint32_t)limit;
	if (list->bucket.size > 0)
		list->list.delimiter = BYTES("/");
	if (http_parameter_get(exchange, "all", &text) && !bytes_equal(text, BYTES("0")))
		list->list.delimiter = bytes_of(NULL, 0);
	if (!http_parameter_get(exchange, "cursor", &text))
		return true;
	/* What is decoded has three bytes for every four. */
	if (text.size / 4 * 3 > sizeof(state->key) || !http_base64_parse(text, state->key, &size) ||
	    size > OBJ_NAME_MAX || memchr(state->key, '\0', size) != NULL)
		return false;
	list->after_size = (uint16_t)size;
	return true;
}

static void list_begin(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct bytes path = http_request_of(exchange)->path, bucket, prefix;

	if (face_of(exchange)->options.obj == NULL) {
		http_answer_reject(exchange, 404, "there are no objects here");
		return;
	}
	if (!face_obj_path(exchange, &bucket, &prefix))
		return;
	if (path.data[path.size - 1] != '/') {
		if (prefix.size > 0) {
			state->route = &face_obj_route;
			state->route->begin(exchange);
			return;
		}
		http_answer_reject(exchange, 404, "a bucket's path ends in a slash");
		return;
	}
	/* A name that ends in a slash is an object, too: made, and deleted, as one. */
	if (prefix.size > 0 && http_request_of(exchange)->method != HTTP_GET) {
		state->route = &face_obj_route;
		state->route->begin(exchange);
		return;
	}
	if (http_request_of(exchange)->method != HTTP_GET) {
		face_refuse_method(exchange, "GET");
		return;
	}
	state->list.bucket = bucket;
	state->list.list.prefix = prefix;
	if (!parameters_take(exchange)) {
		http_answer_reject(exchange, 400,
		                   "limit is 1 to 100000, cursor is of a page before");
		return;
	}
	state->list.html = face_is_for_browser(exchange);
	http_answer(exchange, 200);
	http_answer_text(exchange, "Content-Type",
	                 state->list.html ? "text/html" : "application/x-ndjson");
	http_answer_text(exchange, "Content-Security-Policy", "sandbox");
	http_answer_text(exchange, "Cache-Control", "no-store");
	http_answer_stream(exchange, HTTP_SIZE_UNKNOWN);
}

static void list_aborted(struct http_exchange *exchange)
{
	if (face_state(exchange)->next == NULL)
		http_abort(exchange);
}

static void list_ended(struct http_exchange *exchange)
{
	struct list_state *list = &face_state(exchange)->list;

	if (list->buf != NULL)
		buf_unref(list->buf);
}

const struct http_route face_list_route = {
	.path = "/o/",
	.begin = list_begin,
	.pull = list_pull,
	.aborted = list_aborted,
	.ended = list_ended,
};
