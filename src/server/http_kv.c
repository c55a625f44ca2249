/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /kv/NAMESPACE/KEY: one key, its value as it is. A key that another face wrote is the same key.
 * Its version is the entity tag, so that If-Match is compare-and-swap.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "server/http_face_internal.h"

enum { KIND_STRING = 0 }; /* as the RESP face has it */

struct bytes face_key(const struct face_state *state)
{
	return bytes_of(state->key, state->key_size);
}

struct bytes face_etag(uint64_t version, char out[FACE_ETAG_MAX])
{
	return bytes_of(out, (size_t)snprintf(out, FACE_ETAG_MAX, "\"%" PRIu64 "\"", version));
}

/* May run on another worker: it touches the state of the exchange and nothing else. */
void face_kv_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct face_state *state = visitor;
	struct kv_state *kv = &state->kv;
	struct face_seen *seen = &kv->seen;

	(void)edit;
	*seen = (struct face_seen){
		.exists = entry->version != 0,
		.version = entry->version,
		.size = entry->size,
		.expires_ms = entry->expires_ms,
		.kind = entry->kind,
		.blob = entry->blob,
		.cut = entry->value.size > kv->room_size,
	};
	if (seen->cut && kv->local && kv->room == state->small) {
		kv->value_buf = buf_get(http_bufs(http_exchange_of(state)), entry->value.size);
		if (kv->value_buf != NULL) {
			kv->room = kv->value_buf->data;
			kv->room_size = kv->value_buf->size;
			seen->cut = false;
		}
	}
	if (!seen->cut && entry->value.size > 0 && kv->room_size > 0)
		memcpy(kv->room, entry->value.data, entry->value.size);
}

static enum http_verdict judge(const struct kv_state *kv, bool read)
{
	char text[FACE_ETAG_MAX];
	const struct http_selected selected = {
		.exists = kv->seen.exists,
		.etag = face_etag(kv->seen.version, text),
	};

	return http_conditions_judge(&kv->conditions, &selected, read);
}

static void answer_etag(struct http_exchange *exchange, uint64_t version)
{
	char text[FACE_ETAG_MAX];

	http_answer_field(exchange, "ETag", face_etag(version, text));
}

static void answer_verdict(struct http_exchange *exchange, enum http_verdict verdict)
{
	const struct kv_state *kv = &face_state(exchange)->kv;

	http_answer(exchange, verdict == HTTP_NOT_MODIFIED ? 304 : 412);
	if (kv->seen.exists)
		answer_etag(exchange, kv->seen.version);
	http_answer_end(exchange);
}

static void refuse_kind(struct http_exchange *exchange)
{
	http_answer_reject(exchange, 409, "the key holds a collection, not a value");
}

bool face_kv_may_go_on(struct http_exchange *exchange, bool read)
{
	const struct kv_state *kv = &face_state(exchange)->kv;
	enum http_verdict verdict = judge(kv, read);

	if (read && !kv->seen.exists && verdict == HTTP_PROCEED)
		http_answer_reject(exchange, 404, "no such key");
	else if (kv->seen.exists && kv->seen.kind != KIND_STRING)
		refuse_kind(exchange);
	else if (verdict != HTTP_PROCEED)
		answer_verdict(exchange, verdict);
	else
		return true;
	return false;
}

/* GET and HEAD. */

static void got(struct http_exchange *exchange);

static void get(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	const struct kv_cmd cmd = {
		.op = KV_GET,
		.key = face_key(state),
		.visit = face_kv_visit,
		.visitor = state,
	};

	state->kv.seen = (struct face_seen){ .exists = false };
	face_submit(exchange, &cmd, got);
}

/* The part of the value that is asked for; false: it has been answered. */
static bool choose_range(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	char etag[FACE_ETAG_MAX], text[HTTP_CONTENT_RANGE_MAX];
	const struct http_selected selected = {
		.exists = true,
		.etag = face_etag(kv->seen.version, etag),
	};
	struct bytes asked, condition;
	struct http_range range;
	unsigned count;

	kv->offset = 0;
	kv->left = kv->seen.size;
	if (!http_field_get(exchange, "range", &asked) ||
	    (http_field_get(exchange, "if-range", &condition) &&
	     !http_if_range(condition, &selected))) {
		http_answer(exchange, 200);
		return true;
	}
	switch (http_range_parse(asked, kv->seen.size, &range, 1, &count)) {
	case HTTP_RANGE_IGNORED:
		http_answer(exchange, 200);
		return true;
	case HTTP_RANGE_OK:
		kv->offset = range.offset;
		kv->left = range.size;
		http_answer(exchange, 206);
		http_answer_field(exchange, "Content-Range",
		                  bytes_of(text, http_content_range(&range, kv->seen.size, text)));
		return true;
	case HTTP_RANGE_UNSATISFIABLE:
		http_answer(exchange, 416);
		snprintf(text, sizeof(text), "bytes */%" PRIu64, kv->seen.size);
		http_answer_text(exchange, "Content-Range", text);
		http_answer_end(exchange);
		return false;
	}
	unreachable();
	return false;
}

static bool answer_head(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	uint64_t now_ms = http_worker(exchange)->wall_ms;

	if (!choose_range(exchange))
		return false;
	http_answer_text(exchange, "Content-Type", "application/octet-stream");
	http_answer_text(exchange, "X-Content-Type-Options", "nosniff");
	answer_etag(exchange, kv->seen.version);
	if (kv->seen.expires_ms > now_ms)
		http_answer_u64(exchange, "TTL", (kv->seen.expires_ms - now_ms + 999) / 1000);
	return true;
}

bool face_kv_answer_stream(struct http_exchange *exchange)
{
	return answer_head(exchange) && http_answer_stream(exchange, face_state(exchange)->kv.left);
}

static void answer_value(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;

	if (http_request_of(exchange)->method == HTTP_HEAD || kv->value_buf != NULL)
		face_kv_answer_stream(exchange);
	else if (answer_head(exchange))
		http_answer_body(exchange, bytes_of(kv->room + kv->offset, kv->left));
}

/* Room for any value that is not a blob: it may have grown since it was looked at. */
static void get_again(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;

	if (kv->value_buf == NULL)
		kv->value_buf = buf_get(http_bufs(exchange), KV_INLINE_MAX);
	if (kv->value_buf == NULL) {
		face_fail(exchange, STATUS_BUSY);
		return;
	}
	kv->room = kv->value_buf->data;
	kv->room_size = kv->value_buf->size;
	get(exchange);
}

static void got(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);

	if (http_is_aborted(exchange))
		http_abort(exchange);
	else if (state->req.status != STATUS_OK)
		face_fail(exchange, state->req.status);
	else if (!face_kv_may_go_on(exchange, true))
		return;
	else if (http_request_of(exchange)->method == HTTP_HEAD)
		answer_value(exchange);
	else if (state->kv.seen.blob)
		face_blob_send(exchange);
	else if (state->kv.seen.cut)
		get_again(exchange);
	else
		answer_value(exchange);
}

static void kv_pull(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	struct buf *buf = kv->value_buf;

	if (kv->handle != 0) {
		face_blob_pull(exchange);
		return;
	}
	assert(buf != NULL);
	kv->value_buf = NULL;
	http_answer_give(exchange, bytes_of(buf->data + kv->offset, kv->left), buf);
}

/* PUT and DELETE. */

void face_kv_answer_write(struct http_exchange *exchange, uint64_t version)
{
	http_answer(exchange, face_state(exchange)->kv.seen.exists ? 204 : 201);
	answer_etag(exchange, version);
	http_answer_end(exchange);
}

/* Looks and writes in one: nobody comes between. */
static void write_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct face_state *state = visitor;
	struct kv_state *kv = &state->kv;

	kv->room_size = 0;
	face_kv_visit(state, entry, edit);
	kv->verdict = judge(kv, false);
	if (kv->verdict != HTTP_PROCEED || (kv->seen.exists && kv->seen.kind != KIND_STRING))
		return;
	if (kv->body.data == NULL) {
		edit->action = kv->seen.exists ? KV_REMOVE : KV_KEEP;
		return;
	}
	edit->action = KV_STORE;
	edit->value = kv->body;
	edit->kind = KIND_STRING;
	edit->expires_ms = kv->expires_ms;
}

static void written(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct kv_state *kv = &state->kv;

	if (http_is_aborted(exchange)) {
		http_abort(exchange);
	} else if (state->req.status != STATUS_OK) {
		face_fail(exchange, state->req.status);
	} else if (kv->seen.exists && kv->seen.kind != KIND_STRING) {
		refuse_kind(exchange);
	} else if (kv->verdict != HTTP_PROCEED) {
		answer_verdict(exchange, kv->verdict);
	} else if (kv->body.data != NULL) {
		face_kv_answer_write(exchange, state->req.result);
	} else if (kv->seen.exists) {
		http_answer(exchange, 204);
		http_answer_end(exchange);
	} else {
		http_answer_reject(exchange, 404, "no such key");
	}
}

static void change(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	const struct kv_cmd cmd = {
		.op = KV_UPDATE,
		.key = face_key(state),
		.visit = write_visit,
		.visitor = state,
	};

	face_submit(exchange, &cmd, written);
}

void face_kv_store(struct http_exchange *exchange, struct bytes value)
{
	struct face_state *state = face_state(exchange);

	assert(value.size <= KV_INLINE_MAX);
	/* No data means DELETE. */
	state->kv.body = value.data != NULL ? value : bytes_of(state->small, 0);
	change(exchange);
}

/* When it ends; false: it has been answered. */
static bool take_ttl(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	struct bytes text;
	uint64_t ttl_s = 0;

	if (!http_field_get(exchange, "ttl", &text) && !http_parameter_get(exchange, "ttl", &text))
		return true;
	if (!http_parse_u64(text, &ttl_s) || ttl_s == 0 || ttl_s > UINT32_MAX * 1000ull) {
		http_answer_reject(exchange, 400, "TTL is a number of seconds, 1 or more");
		return false;
	}
	kv->expires_ms = http_worker(exchange)->wall_ms + ttl_s * 1000;
	return true;
}

static void put(struct http_exchange *exchange)
{
	uint64_t size = http_request_of(exchange)->body_size;
	struct bytes encoding;

	if (!take_ttl(exchange))
		return;
	if (http_field_get(exchange, "content-range", &encoding))
		http_answer_reject(exchange, 400, "a part of a value cannot be put");
	else if (size != HTTP_SIZE_UNKNOWN && size > KV_VALUE_MAX)
		http_answer_reject(exchange, 413, "a value has at most 512 MiB");
	else if (size <= KV_INLINE_MAX)
		http_body_collect(exchange, KV_INLINE_MAX);
	else
		face_blob_receive(exchange);
}

static void kv_body_ended(struct http_exchange *exchange, enum status status, struct bytes body)
{
	uint64_t size = http_request_of(exchange)->body_size;

	if (status != STATUS_OK)
		face_fail(exchange, status);
	else if (size <= KV_INLINE_MAX)
		face_kv_store(exchange, body);
	else
		face_blob_body_ended(exchange);
}

static void conditions_take(struct http_exchange *exchange)
{
	struct http_conditions *conditions = &face_state(exchange)->kv.conditions;

	http_field_get(exchange, "if-match", &conditions->if_match);
	http_field_get(exchange, "if-none-match", &conditions->if_none_match);
}

static void kv_begin(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);

	state->kv.room = state->small;
	state->kv.room_size = sizeof(state->small);
	state->kv.local = face_of(exchange)->options.kv_is_local;
	conditions_take(exchange);
	switch (http_request_of(exchange)->method) {
	case HTTP_GET:
	case HTTP_HEAD:
		get(exchange);
		break;
	case HTTP_PUT:
		put(exchange);
		break;
	case HTTP_DELETE:
		change(exchange);
		break;
	default:
		face_refuse_method(exchange, "GET, HEAD, PUT, DELETE");
		break;
	}
}

/* What runs sees it when it completes. */
static void kv_aborted(struct http_exchange *exchange)
{
	if (face_state(exchange)->next == NULL)
		face_blob_give_up(exchange);
}

static void kv_ended(struct http_exchange *exchange)
{
	struct kv_state *kv = &face_state(exchange)->kv;
	struct buf *held[] = { kv->value_buf, kv->bufs[0], kv->bufs[1] };

	assert(kv->handle == 0);
	for (unsigned i = 0; i < 3; i++) {
		if (held[i] != NULL)
			buf_unref(held[i]);
	}
}

const struct http_route face_kv_route = {
	.path = "/kv/",
	.begin = kv_begin,
	.body = face_blob_body,
	.body_ended = kv_body_ended,
	.pull = kv_pull,
	.aborted = kv_aborted,
	.ended = kv_ended,
};
