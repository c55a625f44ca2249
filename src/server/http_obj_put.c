/* SPDX-License-Identifier: Apache-2.0 */
/* PUT /o/BUCKET/KEY: a small object in one command, a larger one in pieces, two buffers at a time.
 */
#include "base/assert.h"
#include "server/http_face_internal.h"
#include "server/s3_internal.h"

_Static_assert(FACE_PIECE % OBJ_PIECE_UNIT == 0, "every piece but the last");

/* One tag in quotes, or "*". */
static bool take_tag(struct bytes value, struct bytes *ret_tag)
{
	struct bytes tag, more;

	if (!http_list_next(&value, &tag) || http_list_next(&value, &more))
		return false;
	if (bytes_equal(tag, BYTES("*"))) {
		*ret_tag = bytes_of(NULL, 0);
		return true;
	}
	if (tag.size < 3 || tag.data[0] != '"' || tag.data[tag.size - 1] != '"' ||
	    tag.size - 2 > OBJ_ETAG_MAX)
		return false;
	*ret_tag = bytes_of(tag.data + 1, tag.size - 2);
	return true;
}

bool face_obj_condition(struct http_exchange *exchange, struct obj_condition *condition)
{
	struct bytes value, tag;
	bool fine = true;

	if (http_field_get(exchange, "if-match", &value)) {
		fine = take_tag(value, &tag);
		condition->flags |= tag.size > 0 ? OBJ_IF_ETAG : OBJ_IF_PRESENT;
		condition->etag = tag;
	}
	if (fine && http_field_get(exchange, "if-none-match", &value)) {
		fine = take_tag(value, &tag) && tag.size == 0 && condition->flags == 0;
		condition->flags |= OBJ_IF_ABSENT;
	}
	if (!fine)
		http_answer_reject(exchange, 400,
		                   "If-Match takes one tag or *, If-None-Match only *");
	return fine;
}

/* What is stored beside the bytes; it lies in the exchange's memory. */
static bool attributes_make(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct obj_attributes attributes = { .data = state->small,
		                             .size_max = sizeof(state->small) };
	struct bytes type;

	if (http_field_get(exchange, "content-type", &type) && type.size > 0 &&
	    !obj_attribute_add(&attributes, S3_ATTRIBUTE_CONTENT_TYPE, type)) {
		http_answer_reject(exchange, 431, "Content-Type is too long");
		return false;
	}
	state->obj.put.attributes = bytes_of(attributes.data, attributes.size);
	return true;
}

void face_obj_put(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	uint64_t size = http_request_of(exchange)->body_size;
	struct bytes range;

	if (http_field_get(exchange, "content-range", &range)) {
		http_answer_reject(exchange, 400, "a part of an object cannot be put");
		return;
	}
	if (size != HTTP_SIZE_UNKNOWN && size > OBJ_PART_SIZE_MAX) {
		http_answer_reject(exchange, 413, "an object in one piece has at most 5 GiB");
		return;
	}
	if (!face_obj_condition(exchange, &obj->put.condition) || !attributes_make(exchange))
		return;
	obj->md5 = face_digest_get(face_of(exchange));
	if (size > FACE_PIECE)
		obj->bufs[0] = buf_get(http_bufs(exchange), FACE_PIECE);
	if (obj->md5 == NULL || (size > FACE_PIECE && obj->bufs[0] == NULL))
		face_fail(exchange, STATUS_BUSY);
	else if (size > FACE_PIECE)
		http_body_want(exchange);
	else
		http_body_collect(exchange, FACE_PIECE);
}

static void etag_make(struct obj_state *obj)
{
	uint8_t md5[16];

	_Static_assert(sizeof(obj->md5_text) == 2 * sizeof(md5), "in hexadecimal");
	digest_finish(obj->md5, md5);
	hex_format(bytes_of(md5, sizeof(md5)), obj->md5_text);
	obj->put.etag = bytes_of(obj->md5_text, sizeof(obj->md5_text));
}

static void obj_stored(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct obj_state *obj = &state->obj;
	enum status status = state->req.status;
	char etag[sizeof(obj->md5_text) + 2];

	/* After these the handle can be tried again; others have ended it. */
	if (status != STATUS_CONFLICT && status != STATUS_NO_SPACE && status != STATUS_BUSY)
		obj->handle = 0;
	if (http_is_aborted(exchange)) {
		face_obj_give_up(exchange);
		return;
	}
	if (status == STATUS_CONFLICT ||
	    (status == STATUS_NOT_FOUND && state->req.result != OBJ_NO_BUCKET)) {
		http_answer(exchange, 412);
		http_answer_end(exchange);
	} else if (status != STATUS_OK) {
		face_obj_fail(exchange);
	} else {
		http_answer(exchange, 201);
		etag[0] = etag[sizeof(etag) - 1] = '"';
		memcpy(etag + 1, obj->md5_text, sizeof(obj->md5_text));
		http_answer_field(exchange, "ETag", bytes_of(etag, sizeof(etag)));
		http_answer_end(exchange);
	}
	face_obj_release(exchange, OBJ_ABORT);
}

/* A small one. */
static void store_whole(struct http_exchange *exchange, struct bytes body)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	const struct obj_cmd cmd = {
		.op = OBJ_PUT,
		.bucket = obj->bucket,
		.name = obj->name,
		.value = body,
		.put = &obj->put,
	};

	digest_add(obj->md5, body);
	etag_make(obj);
	face_submit_obj(exchange, &cmd, obj_stored);
}

/* A large one: bufs[0] is filled, bufs[1] is the other one, written or free. */

static void piece_written(struct http_exchange *exchange);

static void commit(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	const struct obj_cmd cmd = {
		.op = OBJ_COMMIT,
		.handle = obj->handle,
		.put = &obj->put,
	};

	etag_make(obj);
	face_submit_obj(exchange, &cmd, obj_stored);
}

static void write_piece(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	struct buf *full = obj->bufs[0];
	const struct obj_cmd cmd = {
		.op = OBJ_WRITE,
		.handle = obj->handle,
		.value = bytes_of(full->data, full->used),
	};

	assert(obj->handle != 0);
	obj->bufs[0] = obj->bufs[1];
	obj->bufs[1] = full;
	if (obj->bufs[0] == NULL && !obj->body_done)
		obj->bufs[0] = buf_get(http_bufs(exchange), FACE_PIECE);
	digest_add(obj->md5, cmd.value);
	obj->offset += full->used;
	face_submit_obj(exchange, &cmd, piece_written);
}

static void obj_created(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct obj_state *obj = &state->obj;

	if (state->req.status == STATUS_OK) {
		obj->handle = state->req.result;
		obj->writing = true;
	}
	if (http_is_aborted(exchange))
		face_obj_give_up(exchange);
	else if (state->req.status != STATUS_OK)
		face_obj_fail(exchange);
	else
		write_piece(exchange);
}

static void create(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;
	uint64_t size = http_request_of(exchange)->body_size;
	const struct obj_cmd cmd = {
		.op = OBJ_CREATE,
		.bucket = obj->bucket,
		.name = obj->name,
		.offset = size == HTTP_SIZE_UNKNOWN ? 0 : size,
	};

	face_submit_obj(exchange, &cmd, obj_created);
}

/* What is in bufs[0] goes on its way. */
static void flush(struct http_exchange *exchange)
{
	if (face_state(exchange)->obj.handle == 0)
		create(exchange);
	else
		write_piece(exchange);
}

static void body_finish(struct http_exchange *exchange)
{
	struct obj_state *obj = &face_state(exchange)->obj;

	assert(obj->bufs[0] != NULL);
	if (obj->handle == 0 && obj->bufs[0]->used <= FACE_PIECE / 2)
		store_whole(exchange, bytes_of(obj->bufs[0]->data, obj->bufs[0]->used));
	else if (obj->bufs[0]->used > 0)
		flush(exchange);
	else
		commit(exchange);
}

static void piece_written(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	struct obj_state *obj = &state->obj;

	obj->bufs[1]->used = 0;
	if (obj->bufs[0] == NULL) {
		obj->bufs[0] = obj->bufs[1];
		obj->bufs[1] = NULL;
	}
	if (http_is_aborted(exchange)) {
		face_obj_give_up(exchange);
	} else if (state->req.status != STATUS_OK) {
		face_obj_fail(exchange);
		face_obj_release(exchange, OBJ_ABORT);
	} else if (obj->body_done) {
		body_finish(exchange);
	} else {
		http_body_want(exchange);
	}
}

size_t face_obj_body(struct http_exchange *exchange, struct bytes piece)
{
	struct face_state *state = face_state(exchange);
	struct obj_state *obj = &state->obj;
	size_t taken = 0;

	while (taken < piece.size && obj->bufs[0] != NULL) {
		struct buf *buf = obj->bufs[0];
		size_t part = piece.size - taken;

		if (part > FACE_PIECE - buf->used)
			part = FACE_PIECE - buf->used;
		memcpy(buf->data + buf->used, piece.data + taken, part);
		buf->used += (uint32_t)part;
		taken += part;
		if (buf->used < FACE_PIECE)
			continue;
		if (state->next != NULL)
			break;
		if (obj->offset + buf->used > OBJ_PART_SIZE_MAX) {
			face_obj_release(exchange, OBJ_ABORT);
			http_answer_reject(exchange, 413,
			                   "an object in one piece has at most 5 GiB");
			return piece.size;
		}
		flush(exchange);
		if (obj->handle == 0)
			break; /* it is created first: the buffer waits */
	}
	return taken;
}

void face_obj_body_ended(struct http_exchange *exchange, enum status status, struct bytes body)
{
	struct face_state *state = face_state(exchange);

	if (status != STATUS_OK) {
		face_fail(exchange, status);
	} else if (state->obj.bufs[0] == NULL && state->next == NULL) {
		store_whole(exchange, body);
	} else {
		state->obj.body_done = true;
		if (state->next == NULL)
			body_finish(exchange);
	}
}
