/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /kv/NAMESPACE: keys in the order of bytes, a line of JSON each. What does not fit a page, or
 * the limit, is asked for with the cursor of the last line.
 */
#include "base/assert.h"
#include "server/http_face_internal.h"

enum {
	LIMIT_DEFAULT = 1000,
	LIMIT_MAX = 100000,
	MOMENT = 256, /* entries of a scan */
	KEYS_PIECE = 64 << 10,
	VALUES_PIECE = 256 << 10,
	LINE_MAX_KEYS = 2 * KV_KEY_MAX + 256,
	LINE_MAX_VALUES = LINE_MAX_KEYS + 2 * KV_INLINE_MAX,
	CURSOR_LINE_MAX = 2 * KV_KEY_MAX,
};

static bool scan_has_room(const struct scan_state *scan)
{
	uint32_t line = scan->values ? LINE_MAX_VALUES : LINE_MAX_KEYS;

	return scan->json.size - scan->json.used >= line + CURSOR_LINE_MAX;
}

/* May run on another worker: it touches the state of the exchange and its buffer. */
static void scan_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct face_state *state = visitor;
	struct scan_state *scan = &state->scan;
	struct http_json *json = &scan->json;

	(void)edit;
	scan->visited++;
	if (scan->full)
		return;
	if (!scan_has_room(scan)) {
		scan->full = true;
		return;
	}
	http_json_open(json, '{');
	http_json_bytes(json, "key", bytes_of(entry->key.data + 1, entry->key.size - 1));
	http_json_name(json, "size");
	http_json_u64(json, entry->size);
	http_json_name(json, "version");
	http_json_u64(json, entry->version);
	if (entry->expires_ms != 0) {
		http_json_name(json, "expires_ms");
		http_json_u64(json, entry->expires_ms);
	}
	if (entry->kind != 0) {
		http_json_name(json, "kind");
		http_json_u64(json, entry->kind);
	} else if (scan->values && !entry->blob) {
		http_json_bytes(json, "value", entry->value);
	}
	http_json_close(json, '}');
	http_json_line(json);
	assert(!json->full); /* it had room */
	memcpy(state->key, entry->key.data, entry->key.size);
	state->key_size = (uint16_t)entry->key.size;
	scan->behind = true;
	scan->left--;
}

static void scan_cursor(struct face_state *state)
{
	struct http_json *json = &state->scan.json;
	uint8_t text[2 * KV_KEY_MAX];
	struct bytes last = bytes_of(state->key + 1, state->key_size - 1); /* no space byte */

	http_json_open(json, '{');
	http_json_name(json, "cursor");
	http_json_string(json, bytes_of(text, http_base64_write(last, text)));
	http_json_close(json, '}');
	http_json_line(json);
	assert(!json->full);
}

static void scanned(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct scan_state *scan = &state->scan;
	struct buf *buf = scan->buf;

	if (http_is_aborted(exchange) ||
	    (state->req.status != STATUS_OK && http_answer_is_sent(exchange))) {
		http_abort(exchange);
		return;
	}
	if (state->req.status != STATUS_OK) {
		face_fail(exchange, state->req.status);
		return;
	}
	scan->more = scan->full || scan->visited == scan->asked;
	if (scan->left == 0 && scan->more)
		scan_cursor(state);
	scan->buf = NULL;
	buf->used = scan->json.used;
	if (buf->used > 0)
		http_answer_give(exchange, bytes_of(buf->data, buf->used), buf);
	else
		buf_unref(buf);
	if (scan->left == 0 || !scan->more)
		http_answer_finish(exchange);
}

/* The first key that does not begin with the bytes; the space byte at least can grow. */
static uint16_t step_over(uint8_t *key, size_t size)
{
	while (size > 1 && key[size - 1] == 0xff)
		size--;
	key[size - 1]++;
	return (uint16_t)size;
}

/* The first key behind the last one that was told. */
static void go_on(struct face_state *state)
{
	if (!state->scan.behind)
		return;
	state->scan.behind = false;
	if (state->key_size < KV_KEY_MAX)
		state->key[state->key_size++] = 0;
	else
		state->key_size = step_over(state->key, state->key_size);
}

static void scan_pull(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct scan_state *scan = &state->scan;
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.end = bytes_of(scan->end, scan->end_size),
		.visit = scan_visit,
		.visitor = state,
	};

	scan->buf = buf_get(http_bufs(exchange), scan->values ? VALUES_PIECE : KEYS_PIECE);
	if (scan->buf == NULL) {
		http_pull_later(exchange);
		return;
	}
	http_json_init(&scan->json, scan->buf->data, scan->buf->size);
	scan->visited = 0;
	scan->full = false;
	scan->asked = scan->left < MOMENT ? scan->left : MOMENT;
	go_on(state);
	cmd.key = face_key(state);
	cmd.limit = scan->asked;
	face_submit(exchange, &cmd, scanned);
}

static bool limit_take(struct http_exchange *exchange, uint32_t *ret_limit)
{
	struct bytes text;
	uint64_t limit = LIMIT_DEFAULT;

	if (http_parameter_get(exchange, "limit", &text) &&
	    (!http_parse_u64(text, &limit) || limit == 0 || limit > LIMIT_MAX))
		return false;
	*ret_limit = (uint32_t)limit;
	return true;
}

/* Where it starts: behind the cursor's key, or at the prefix. */
static bool range_take(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct bytes prefix = { .size = 0 }, cursor;
	uint8_t last[2 * KV_KEY_MAX];
	size_t size = 0;

	http_parameter_get(exchange, "prefix", &prefix);
	if (prefix.size > FACE_KEY_MAX)
		return false;
	if (prefix.size > 0)
		memcpy(state->key + 1, prefix.data, prefix.size);
	state->key_size = (uint16_t)(1 + prefix.size);
	memcpy(state->scan.end, state->key, state->key_size);
	state->scan.end_size = step_over(state->scan.end, state->key_size);
	if (!http_parameter_get(exchange, "cursor", &cursor))
		return true;
	if (cursor.size > sizeof(last) || !http_base64_parse(cursor, last, &size) ||
	    size > FACE_KEY_MAX || size < prefix.size ||
	    !bytes_equal(bytes_of(last, prefix.size), prefix))
		return false;
	memcpy(state->key + 1, last, size);
	state->key_size = (uint16_t)(1 + size);
	state->scan.behind = true;
	return true;
}

static void scan_begin(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct bytes values;

	if (http_request_of(exchange)->method == HTTP_POST) {
		state->route = &face_batch_route;
		state->route->begin(exchange);
		return;
	}
	if (http_request_of(exchange)->method != HTTP_GET) {
		face_refuse_method(exchange, "GET, POST");
		return;
	}
	state->scan.values =
	        http_parameter_get(exchange, "values", &values) && !bytes_equal(values, BYTES("0"));
	if (!limit_take(exchange, &state->scan.left)) {
		http_answer_reject(exchange, 400, "limit is a number from 1 to 100000");
		return;
	}
	if (!range_take(exchange)) {
		http_answer_reject(exchange, 400,
		                   "prefix is too long, or cursor is not of this prefix");
		return;
	}
	http_answer(exchange, 200);
	http_answer_text(exchange, "Content-Type", "application/x-ndjson");
	http_answer_text(exchange, "Cache-Control", "no-store");
	http_answer_stream(exchange, HTTP_SIZE_UNKNOWN);
}

static void scan_aborted(struct http_exchange *exchange)
{
	if (face_state(exchange)->next == NULL)
		http_abort(exchange);
}

static void scan_ended(struct http_exchange *exchange)
{
	struct scan_state *scan = &face_state(exchange)->scan;

	if (scan->buf != NULL)
		buf_unref(scan->buf);
}

const struct http_route face_scan_route = {
	.path = "/kv/",
	.begin = scan_begin,
	.pull = scan_pull,
	.aborted = scan_aborted,
	.ended = scan_ended,
};
