/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies into the store: small ones in one command, others through two buffers of a fixed size. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/s3_form.h"
#include "server/s3_internal.h"

struct upload_frame {
	struct frame frame;
};

bool s3_upload_take(struct s3_call *call)
{
	struct s3_server *server = call->server;
	struct s3_upload *upload = SLIST_FIRST(&server->uploads_free);

	assert(call->upload == NULL);
	if (upload == NULL) {
		s3_reply_error(call, S3_SLOW_DOWN);
		return false;
	}
	SLIST_REMOVE_HEAD(&server->uploads_free, link);
	server->borrowed++;
	*upload = (struct s3_upload){
		.server = server,
		.call = call,
		.digests = upload->digests,
		.cipher = upload->cipher,
		.size_max = OBJ_PART_SIZE_MAX,
	};
	call->upload = upload;
	return true;
}

static void give_back(struct s3_upload *upload)
{
	assert(upload->call == NULL && upload->handle == 0 && !upload->flying);
	if (upload->filling != NULL)
		buf_unref(upload->filling);
	if (upload->writing != NULL)
		buf_unref(upload->writing);
	upload->filling = upload->writing = NULL;
	upload->server->borrowed--;
	SLIST_INSERT_HEAD(&upload->server->uploads_free, upload, link);
}

static void submit(struct s3_upload *upload, const struct obj_cmd *cmd, req_fn *done)
{
	assert(!upload->flying);
	upload->flying = true;
	req_init(&upload->req, upload->server->worker);
	req_push(&upload->req, struct upload_frame, done);
	obj_submit(upload->server->obj, &upload->req, cmd);
}

static struct s3_upload *landed(struct req *req)
{
	struct s3_upload *upload = container_of(req, struct s3_upload, req);

	req_pop(req, struct upload_frame);
	assert(upload->flying);
	upload->flying = false;
	return upload;
}

static void upload_aborted(struct req *req)
{
	struct s3_upload *upload = landed(req);

	upload->handle = 0; /* whatever the outcome: there is nothing else that could be done */
	give_back(upload);
}

void s3_upload_release(struct s3_call *call)
{
	struct s3_upload *upload = call->upload;

	if (upload == NULL)
		return;
	assert(!upload->flying);
	call->upload = NULL;
	upload->call = NULL;
	if (upload->handle == 0) {
		give_back(upload);
		return;
	}
	submit(upload, &(struct obj_cmd){ .op = OBJ_ABORT, .handle = upload->handle },
	       upload_aborted);
}

bool s3_upload_flies(const struct s3_call *call)
{
	return call->upload != NULL && call->upload->flying;
}

/* The body is at its end, or failed, and nothing flies: what comes next. */
static void upload_settle(struct s3_call *call)
{
	struct s3_upload *upload = call->upload;
	enum s3_error error = upload->error;

	assert(!upload->flying);
	if (call->aborted) {
		s3_give_up(call);
		return;
	}
	if (upload->resume != NULL) {
		upload->resume(call);
		return;
	}
	if (error == S3_NONE && !upload->body_ended) {
		if (upload->starved)
			http_body_want(call->exchange);
		upload->starved = false;
		return;
	}
	if (error == S3_NONE)
		error = s3_payload_finish(&upload->payload);
	if (error == S3_NONE && upload->payload.size > upload->size_max)
		error = S3_ENTITY_TOO_LARGE;
	if (error == S3_NONE && upload->payload.size < upload->size_min)
		error = S3_ENTITY_TOO_SMALL;
	if (error != S3_NONE)
		s3_reply_error(call, error);
	else
		upload->ready(call);
}

static void piece_written(struct req *req)
{
	struct s3_upload *upload = landed(req);

	buf_unref(upload->writing);
	upload->writing = NULL;
	if (req->status != STATUS_OK && upload->error == S3_NONE)
		upload->error = s3_error_of(req->status, req->result);
	upload_settle(upload->call);
}

static void write_piece(struct s3_upload *upload, req_fn *done)
{
	const struct obj_cmd cmd = {
		.op = OBJ_WRITE,
		.handle = upload->handle,
		.value = bytes_of(upload->writing->data, upload->writing->used),
	};

	assert(upload->handle != 0 && upload->writing->used > 0);
	upload->written += upload->writing->used;
	submit(upload, &cmd, done);
}

static void upload_created(struct req *req)
{
	struct s3_upload *upload = landed(req);

	if (req->status != STATUS_OK) {
		buf_unref(upload->writing);
		upload->writing = NULL;
		upload->error = s3_error_of(req->status, req->result);
		upload_settle(upload->call);
		return;
	}
	upload->handle = req->result;
	assert(upload->handle != 0);
	write_piece(upload, piece_written);
}

/* What was gathered is encrypted, if it is to be. */
static void seal(struct s3_upload *upload, bool last)
{
	const struct s3_piece piece = { .index = upload->sealed, .last = last };

	if (upload->key == NULL || upload->filling == NULL || upload->filling->used == 0)
		return;
	s3_piece_seal(&upload->cipher, upload->key, piece, upload->filling);
	upload->sealed++;
}

/* The full buffer goes to the store. */
static void fly(struct s3_call *call)
{
	struct s3_upload *upload = call->upload;
	struct obj_cmd cmd = s3_command(call, OBJ_CREATE);

	assert(upload->writing == NULL && upload->filling != NULL);
	seal(upload, /* last= */ false);
	upload->writing = upload->filling;
	upload->filling = NULL;
	if (upload->handle != 0) {
		write_piece(upload, piece_written);
		return;
	}
	cmd.version = 0;
	cmd.flags = 0;
	cmd.offset =
	        upload->payload.size_expected == UINT64_MAX ? 0 : upload->payload.size_expected;
	if (upload->key != NULL)
		cmd.offset = s3_sealed_size(cmd.offset);
	cmd.upload = call->part_upload;
	cmd.part = call->part_number;
	submit(upload, &cmd, upload_created);
}

/* Bytes that still fit into the buffer: one that is encrypted keeps room for its tag. */
static size_t room_in(const struct s3_upload *upload)
{
	return upload->filling->size - upload->filling->used -
	       (upload->key != NULL ? CIPHER_TAG_SIZE : 0);
}

/* A buffer to fill. False: none now, or both are in use. */
static bool has_room(struct s3_upload *upload)
{
	size_t tag = upload->key != NULL ? CIPHER_TAG_SIZE : 0;
	size_t size = upload->piece_size + tag;

	if (upload->filling != NULL)
		return room_in(upload) > 0;
	upload->filling =
	        buf_get(upload->server->bufs, size < S3_PIECE_SIZE ? size : S3_PIECE_SIZE);
	return upload->filling != NULL;
}

static size_t put_data(struct s3_call *call, struct bytes data)
{
	struct s3_upload *upload = call->upload;
	size_t taken = 0;

	while (taken < data.size) {
		struct buf *buf;
		size_t size;

		if (upload->filling != NULL && room_in(upload) == 0 && !upload->flying)
			fly(call);
		if (!has_room(upload))
			break;
		buf = upload->filling;
		size = room_in(upload);
		size = size < data.size - taken ? size : data.size - taken;
		memcpy(buf->data + buf->used, data.data + taken, size);
		buf->used += (uint32_t)size;
		taken += size;
	}
	return taken;
}

static size_t stop(struct s3_call *call, enum s3_error error, size_t size)
{
	struct s3_upload *upload = call->upload;

	if (upload->error == S3_NONE)
		upload->error = error;
	if (!upload->flying)
		s3_reply_error(call, upload->error);
	return size;
}

/* Bytes of the object that a new buffer takes. */
static size_t capacity(const struct s3_upload *upload)
{
	return upload->key != NULL && upload->piece_size > S3_PLAIN_PIECE ? S3_PLAIN_PIECE
	                                                                  : upload->piece_size;
}

/* How much of a piece can be taken for sure: digests must not see what is not taken. */
size_t s3_upload_room(struct s3_call *call)
{
	struct s3_upload *upload = call->upload;
	size_t room = 0;

	if (has_room(upload))
		room = room_in(upload);
	if (!upload->flying && room < capacity(upload))
		room += upload->filling == NULL ? 0 : capacity(upload);
	return room;
}

size_t s3_upload_feed(struct s3_call *call, struct bytes data)
{
	struct s3_upload *upload = call->upload;
	/* A run of data is never larger than the input that it comes from. */
	size_t room = s3_upload_room(call), size = data.size < room ? data.size : room;
	struct bytes input = bytes_of(data.data, size);

	if (room == 0 && !upload->flying)
		return stop(call, S3_SLOW_DOWN, data.size);
	while (input.size > 0) {
		struct bytes run = s3_payload_next(&upload->payload, &input);

		if (upload->payload.error != S3_NONE)
			return stop(call, upload->payload.error, data.size);
		if (upload->payload.size > upload->size_max)
			return stop(call, S3_ENTITY_TOO_LARGE, data.size);
		if (put_data(call, run) < run.size)
			return stop(call, S3_SLOW_DOWN, data.size);
	}
	return size;
}

size_t s3_upload_body(struct s3_call *call, struct bytes piece)
{
	struct s3_upload *upload = call->upload;
	size_t taken;

	if (upload->error != S3_NONE)
		return piece.size;
	if (upload->form != NULL)
		return s3_form_body(call, piece);
	taken = s3_upload_feed(call, piece);
	if (!call->answered && taken < piece.size) {
		upload->starved = upload->flying;
		if (!upload->flying)
			http_body_want(call->exchange);
	}
	return taken;
}

void s3_upload_body_ended(struct s3_call *call)
{
	struct s3_upload *upload = call->upload;

	upload->body_ended = true;
	if (upload->form != NULL && upload->error == S3_NONE)
		s3_form_body_ended(call);
	if (!call->answered && !upload->flying)
		upload_settle(call);
}

void s3_upload_plain(struct s3_call *call, enum s3_checksum_kind kind, uint64_t size)
{
	struct s3_upload *upload = call->upload;

	s3_payload_init(&upload->payload, &call->server->sha256, kind);
	s3_payload_start_plain(&upload->payload, kind, &upload->digests);
	upload->payload.size_expected = size;
	upload->piece_size =
	        size < S3_PIECE_SIZE ? (size == 0 ? 1 : (uint32_t)size) : S3_PIECE_SIZE;
}

void s3_upload_receive(struct s3_call *call, s3_next_fn *ready)
{
	struct s3_upload *upload;
	struct sigv4_request request;
	enum s3_error error;

	if (call->upload == NULL && !s3_upload_take(call))
		return;
	upload = call->upload;
	upload->ready = ready;
	if (!s3_sign_request(call, &request)) {
		s3_reply_error(call, S3_INVALID_REQUEST);
		return;
	}
	s3_payload_init(&upload->payload, &call->server->sha256, upload->checksum_wanted);
	error = s3_payload_start(&upload->payload, &call->sig, &request,
	                         call->anonymous ? NULL : call->signing_key, &upload->digests);
	if (error == S3_NONE && upload->payload.size_expected == UINT64_MAX) {
		if (!call->request->has_length && call->request->body_size != 0)
			error = S3_MISSING_CONTENT_LENGTH;
		else if (!call->request->has_length && call->request->version < 20)
			error = S3_MISSING_CONTENT_LENGTH;
		else
			upload->payload.size_expected = call->request->body_size;
	}
	if (error == S3_NONE && upload->payload.size_expected > upload->size_max)
		error = S3_ENTITY_TOO_LARGE;
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	upload->piece_size = S3_PIECE_SIZE;
	if (upload->payload.size_expected < S3_PIECE_SIZE)
		upload->piece_size = upload->payload.size_expected == 0
		                             ? 1
		                             : (uint32_t)upload->payload.size_expected;
	http_body_want(call->exchange);
}

/* The outcome becomes the call's, as if it had submitted by itself. */
static void upload_committed(struct req *req)
{
	struct s3_upload *upload = landed(req);
	struct s3_call *call = upload->call;

	if (req->status == STATUS_OK)
		upload->handle = 0; /* else it is aborted when the upload is released */
	call->req.status = req->status;
	call->req.result = req->result;
	if (call->aborted)
		s3_give_up(call);
	else
		upload->commit_next(call);
}

static void submit_commit(struct s3_upload *upload)
{
	struct s3_call *call = upload->call;
	struct obj_cmd cmd = s3_command(call, upload->handle == 0 ? OBJ_PUT : OBJ_COMMIT);

	cmd.version = 0;
	cmd.flags = 0;
	cmd.put = &call->put;
	cmd.upload = call->part_upload;
	cmd.part = call->part_number;
	cmd.handle = upload->handle;
	if (call->part_upload == 0) {
		cmd.visit = s3_visit_found;
		cmd.visitor = call;
	}
	if (upload->handle == 0 && upload->filling != NULL)
		cmd.value = bytes_of(upload->filling->data, upload->filling->used);
	submit(upload, &cmd, upload_committed);
}

static void last_written(struct req *req)
{
	struct s3_upload *upload = landed(req);
	struct s3_call *call = upload->call;

	if (req->status == STATUS_OK && !call->aborted) {
		submit_commit(upload);
		return;
	}
	call->req.status = req->status;
	call->req.result = req->result;
	if (call->aborted)
		s3_give_up(call);
	else
		upload->commit_next(call);
}

void s3_upload_commit(struct s3_call *call, s3_next_fn *next)
{
	struct s3_upload *upload = call->upload;

	assert(upload->writing == NULL && !upload->flying);
	seal(upload, /* last= */ true);
	upload->commit_next = next;
	if (upload->handle != 0 && upload->filling != NULL && upload->filling->used > 0) {
		upload->writing = upload->filling;
		upload->filling = NULL;
		write_piece(upload, last_written);
		return;
	}
	submit_commit(upload);
}
