/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /kv/NAMESPACE: many writes in one, all or none. A line of JSON each:
 *
 *	{"op":"put","key":"a","value":"1","ttl":60}
 *	{"op":"put","key_base64":"/w==","value_base64":"AAE=","if_version":0}
 *	{"op":"delete","key":"b","if_version":17}
 *	{"op":"check","key":"c","if_version":4}
 *
 * if_version 0: the key must be absent.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "server/http_face_internal.h"
#include "wire/json.h"

enum {
	BODY_MAX = 512 << 10,
	LINES_MAX = 4096,
	VALUES_MAX = 16, /* of a line: an object with six members has 13 */
};
/* Writes, and their keys with a byte before each, fit a buffer; values stay in the body. */
_Static_assert(LINES_MAX *(sizeof(struct kv_write) + 1) + BODY_MAX <= BUF_SIZE_MAX, "a buffer");

struct line {
	const struct json_value *values;
	uint32_t root;
};

/* The bytes of "name" or "name_base64", which is decoded in place. False: neither, or both. */
static bool line_bytes(const struct line *line, const char *name, struct bytes *ret_bytes)
{
	char longer[32];
	uint32_t plain, encoded;
	uint8_t *memory;
	size_t size;

	snprintf(longer, sizeof(longer), "%s_base64", name);
	plain = json_member(line->values, line->root, name);
	encoded = json_member(line->values, line->root, longer);
	if ((plain != 0) == (encoded != 0))
		return false;
	if (line->values[plain | encoded].type != JSON_STRING)
		return false;
	*ret_bytes = line->values[plain | encoded].text;
	if (encoded == 0)
		return true;
	/* The body is the exchange's memory, and three bytes replace four. */
	memory = (uint8_t *)(uintptr_t)ret_bytes->data;
	if (!http_base64_parse(*ret_bytes, memory, &size))
		return false;
	ret_bytes->size = size;
	return true;
}

/* False: it is there, and no number from 0 to 2^64 - 1. */
static bool line_number(const struct line *line, const char *name, bool *ret_there,
                        uint64_t *ret_number)
{
	uint32_t index = json_member(line->values, line->root, name);

	*ret_there = index != 0;
	return index == 0 || (line->values[index].type == JSON_NUMBER &&
	                      http_parse_u64(line->values[index].text, ret_number));
}

static bool line_op(const struct line *line, uint8_t *ret_op)
{
	uint32_t index = json_member(line->values, line->root, "op");
	struct bytes name = index == 0 ? bytes_of(NULL, 0) : line->values[index].text;

	if (bytes_equal(name, BYTES("put")))
		*ret_op = KV_PUT;
	else if (bytes_equal(name, BYTES("delete")))
		*ret_op = KV_DELETE;
	else if (bytes_equal(name, BYTES("check")))
		*ret_op = KV_GET;
	else
		return false;
	return true;
}

/* A write, but for its key's memory. NULL: fine; else what is wrong with it. */
static const char *line_parse(uint8_t *data, size_t size, uint64_t now_ms, struct kv_write *write)
{
	struct json_value values[VALUES_MAX];
	struct line line = { .values = values };
	uint32_t count;
	uint64_t ttl_s = 0;
	bool has_ttl, conditional;

	*write = (struct kv_write){ .op = KV_PUT };
	if (!json_parse(data, size, values, VALUES_MAX, &count) || values[0].type != JSON_OBJECT)
		return "is no object of JSON";
	if (!line_op(&line, &write->op))
		return "has no op: put, delete or check";
	if (!line_bytes(&line, "key", &write->key) || write->key.size == 0 ||
	    write->key.size > FACE_KEY_MAX)
		return "has no key of 1 to 1023 bytes, as key or key_base64";
	if (write->op == KV_PUT &&
	    (!line_bytes(&line, "value", &write->value) || write->value.size > KV_INLINE_MAX))
		return "has no value of at most 32 KiB, as value or value_base64";
	if (!line_number(&line, "ttl", &has_ttl, &ttl_s) ||
	    (has_ttl && (ttl_s == 0 || ttl_s > UINT32_MAX * 1000ull)))
		return "has a ttl that is no number of seconds";
	if (has_ttl)
		write->expires_ms = now_ms + ttl_s * 1000;
	if (!line_number(&line, "if_version", &conditional, &write->version))
		return "has an if_version that is no number";
	if (conditional)
		write->flags |= KV_IF_VERSION;
	return write->op == KV_GET && !conditional ? "checks nothing: if_version" : NULL;
}

static int by_key(const void *a, const void *b)
{
	return bytes_compare(((const struct kv_write *)a)->key, ((const struct kv_write *)b)->key);
}

static void refuse_line(struct http_exchange *exchange, unsigned number, const char *why)
{
	char text[128];

	snprintf(text, sizeof(text), "line %u %s", number, why);
	http_answer_reject(exchange, 400, text);
}

/* All lines; false: it has been answered. */
static bool batch_parse(struct http_exchange *exchange, struct bytes body)
{
	struct face_state *state = face_state(exchange);
	struct batch_state *batch = &state->batch;
	struct kv_write *writes = (struct kv_write *)(void *)batch->buf->data;
	uint8_t *keys = batch->buf->data + LINES_MAX * sizeof(*writes);
	uint8_t *at = (uint8_t *)(uintptr_t)body.data, *end = at + body.size;

	for (unsigned number = 1; at < end; number++) {
		uint8_t *lf = memchr(at, '\n', (size_t)(end - at));
		size_t size = lf == NULL ? (size_t)(end - at) : (size_t)(lf - at);
		struct kv_write *write = &writes[batch->commit.count];
		const char *wrong;

		if (size > 0) {
			if (batch->commit.count == LINES_MAX) {
				http_answer_reject(exchange, 413, "a batch has at most 4096 lines");
				return false;
			}
			wrong = line_parse(at, size, http_worker(exchange)->wall_ms, write);
			if (wrong != NULL) {
				refuse_line(exchange, number, wrong);
				return false;
			}
			keys[0] = state->key[0];
			memcpy(keys + 1, write->key.data, write->key.size);
			write->key = bytes_of(keys, write->key.size + 1);
			keys += write->key.size;
			batch->commit.count++;
		}
		at += size + 1;
	}
	batch->commit.writes = writes;
	qsort(writes, batch->commit.count, sizeof(*writes), by_key);
	for (uint32_t i = 1; i < batch->commit.count; i++) {
		if (bytes_equal(writes[i - 1].key, writes[i].key)) {
			http_answer_reject(exchange, 400, "a key is there twice");
			return false;
		}
	}
	if (batch->commit.count == 0)
		http_answer_reject(exchange, 400, "the batch is empty");
	return batch->commit.count > 0;
}

static void committed(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	char text[64];

	if (http_is_aborted(exchange)) {
		http_abort(exchange);
	} else if (state->req.status == STATUS_CONFLICT) {
		http_answer_reject(exchange, 412, "a key is not of the version that it is to be");
	} else if (state->req.status != STATUS_OK) {
		face_fail(exchange, state->req.status);
	} else {
		snprintf(text, sizeof(text), "{\"applied\":%u}\n", state->batch.commit.count);
		http_answer(exchange, 200);
		http_answer_text(exchange, "Content-Type", "application/json");
		http_answer_body(exchange, bytes_of(text, strlen(text)));
	}
}

static void batch_body_ended(struct http_exchange *exchange, enum status status, struct bytes body)
{
	struct batch_state *batch = &face_state(exchange)->batch;
	const struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &batch->commit };

	if (status == STATUS_TOO_LARGE) {
		http_answer_reject(exchange, 413, "a batch has at most 512 KiB");
		return;
	}
	if (status == STATUS_OK)
		batch->buf = buf_get(http_bufs(exchange), BUF_SIZE_MAX);
	if (status != STATUS_OK || batch->buf == NULL)
		face_fail(exchange, status != STATUS_OK ? status : STATUS_BUSY);
	else if (batch_parse(exchange, body))
		face_submit(exchange, &cmd, committed);
}

static void batch_begin(struct http_exchange *exchange)
{
	http_body_collect(exchange, BODY_MAX);
}

static void batch_aborted(struct http_exchange *exchange)
{
	if (face_state(exchange)->next == NULL)
		http_abort(exchange);
}

static void batch_ended(struct http_exchange *exchange)
{
	struct batch_state *batch = &face_state(exchange)->batch;

	if (batch->buf != NULL)
		buf_unref(batch->buf);
}

const struct http_route face_batch_route = {
	.path = "/kv/",
	.begin = batch_begin,
	.body_ended = batch_body_ended,
	.aborted = batch_aborted,
	.ended = batch_ended,
};
