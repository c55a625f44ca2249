/* SPDX-License-Identifier: Apache-2.0 */
/* Downloads: a version that stays pinned, read piece by piece and decrypted on the way. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/s3_internal.h"

enum { PARTS_PAGE = 128 }; /* gone through at a time */

struct reader_frame {
	struct frame frame;
};

bool s3_reader_take(struct s3_call *call)
{
	struct s3_server *server = call->server;
	struct s3_reader *reader = SLIST_FIRST(&server->readers_free);

	assert(call->reader == NULL);
	if (reader == NULL) {
		s3_reply_error(call, S3_SLOW_DOWN);
		return false;
	}
	SLIST_REMOVE_HEAD(&server->readers_free, link);
	server->borrowed++;
	*reader = (struct s3_reader){ .server = server, .call = call, .cipher = reader->cipher };
	call->reader = reader;
	return true;
}

static void give_back(struct s3_reader *reader)
{
	assert(reader->call == NULL && reader->handle == 0 && !reader->flying);
	if (reader->buf != NULL)
		buf_unref(reader->buf);
	reader->buf = NULL;
	explicit_bzero(&reader->part, sizeof(reader->part));
	reader->server->borrowed--;
	SLIST_INSERT_HEAD(&reader->server->readers_free, reader, link);
}

static void submit(struct s3_reader *reader, const struct obj_cmd *cmd, req_fn *done)
{
	assert(!reader->flying);
	reader->flying = true;
	req_init(&reader->req, reader->server->worker);
	req_push(&reader->req, struct reader_frame, done);
	obj_submit(reader->server->obj, &reader->req, cmd);
}

static struct s3_reader *landed(struct req *req)
{
	struct s3_reader *reader = container_of(req, struct s3_reader, req);

	req_pop(req, struct reader_frame);
	assert(reader->flying);
	reader->flying = false;
	return reader;
}

static void reader_released(struct req *req)
{
	struct s3_reader *reader = landed(req);

	reader->handle = 0;
	give_back(reader);
}

void s3_reader_release(struct s3_call *call)
{
	struct s3_reader *reader = call->reader;

	if (reader == NULL)
		return;
	assert(!reader->flying);
	call->reader = NULL;
	reader->call = NULL;
	if (reader->handle == 0) {
		give_back(reader);
		return;
	}
	submit(reader, &(struct obj_cmd){ .op = OBJ_RELEASE, .handle = reader->handle },
	       reader_released);
}

/* Hands the outcome to the call, or ends it. */
static void tell(struct s3_reader *reader)
{
	struct s3_call *call = reader->call;

	call->req.status = reader->req.status;
	call->req.result = reader->req.result;
	if (call->aborted)
		s3_give_up(call);
	else
		reader->next(call);
}

static void reader_opened(struct req *req)
{
	struct s3_reader *reader = landed(req);

	if (req->status == STATUS_OK)
		reader->handle = req->result;
	tell(reader);
}

void s3_reader_open(struct s3_call *call, const struct obj_cmd *cmd, s3_next_fn *next)
{
	struct obj_cmd open = *cmd;

	assert(open.op == OBJ_OPEN && call->reader->handle == 0);
	call->reader->next = next;
	open.visit = s3_visit_found;
	open.visitor = call;
	submit(call->reader, &open, reader_opened);
}

static void fail(struct s3_reader *reader, enum status status)
{
	if (reader->buf != NULL)
		buf_unref(reader->buf);
	reader->buf = NULL;
	reader->req.status = status;
	tell(reader);
}

/* Of a part, or of an object in one piece: where it is; its key is known. */
static bool begin_part(struct s3_reader *reader, uint64_t size, uint64_t sealed_size)
{
	reader->part_known = true;
	reader->part_start = reader->part_end;
	reader->part_end += size;
	reader->sealed_start = reader->sealed_end;
	reader->sealed_end += sealed_size;
	return s3_sealed_size(size) == sealed_size;
}

bool s3_reader_decrypt(struct s3_call *call, const struct s3_sse *sse)
{
	struct s3_reader *reader = call->reader;
	const struct s3_found *found = &call->found;

	reader->decrypts = found->brief.sse != S3_SSE_NONE;
	reader->by_parts = reader->decrypts && found->meta.part_count > 0;
	reader->part = *sse;
	reader->meta = found->meta;
	reader->bucket = call->bucket;
	reader->key = call->key;
	if (!reader->decrypts || reader->by_parts)
		return true;
	return begin_part(reader, found->meta.size, found->sealed_size);
}

/* A whole piece came: of what it says, what was asked for. */
static bool unseal(struct s3_reader *reader)
{
	struct buf *buf = reader->buf;
	uint64_t at = reader->at - reader->part_start;
	uint64_t size = reader->part_end - reader->part_start;
	uint64_t first = at / S3_PLAIN_PIECE * S3_PLAIN_PIECE, skip = at - first;
	const struct s3_piece piece = {
		.index = at / S3_PLAIN_PIECE,
		.last = size - first <= S3_PLAIN_PIECE,
	};

	if (!s3_piece_unseal(&reader->cipher, reader->part.key, piece, buf) || buf->used <= skip)
		return false;
	buf->used -= (uint32_t)skip;
	if (skip > 0)
		memmove(buf->data, buf->data + skip, buf->used);
	if (buf->used > reader->end - reader->at)
		buf->used = (uint32_t)(reader->end - reader->at);
	return true;
}

static void piece_read(struct req *req)
{
	struct s3_reader *reader = landed(req);
	struct buf *buf = reader->buf;

	if (req->status == STATUS_OK && req->result == 0)
		req->status = STATUS_CORRUPT; /* shorter than its meta said */
	if (req->status != STATUS_OK) {
		fail(reader, req->status);
		return;
	}
	assert(req->result <= buf->size);
	buf->used = (uint32_t)req->result;
	if (reader->decrypts && !unseal(reader)) {
		fail(reader, STATUS_CORRUPT);
		return;
	}
	assert(buf->used <= reader->end - reader->at);
	reader->at += buf->used;
	tell(reader);
}

static void read_piece(struct s3_reader *reader)
{
	uint64_t size = reader->end - reader->at;
	struct obj_cmd cmd = {
		.op = OBJ_READ,
		.handle = reader->handle,
		.offset = reader->at,
		.out = reader->buf->data,
	};

	if (reader->decrypts) {
		uint64_t index = (reader->at - reader->part_start) / S3_PLAIN_PIECE;

		cmd.offset = reader->sealed_start + index * S3_PIECE_SIZE;
		size = reader->sealed_end - cmd.offset;
		if (size > S3_PIECE_SIZE)
			size = S3_PIECE_SIZE;
		assert(size <= reader->buf->size);
	}
	cmd.out_size = size < reader->buf->size ? (uint32_t)size : reader->buf->size;
	submit(reader, &cmd, piece_read);
}

/* Of an encrypted multipart object: the part that is read next, and its key. */
static void visit_part(void *visitor, const struct obj_entry *entry)
{
	struct s3_reader *reader = visitor;
	const struct obj_part *part = &entry->part;
	struct s3_brief brief;

	if (reader->part_known)
		return;
	s3_brief_parse(&brief, part->brief);
	reader->part_number = part->number;
	if (!begin_part(reader, brief.plain_size, part->size) ||
	    part->offset != reader->sealed_start)
		reader->part_end = reader->part_start; /* damaged: nothing is found in it */
	reader->part_known = reader->at < reader->part_end;
	memcpy(reader->part.salt, brief.salt, S3_KEY_SALT);
}

static void find_part(struct s3_reader *reader);

static void part_found(struct req *req)
{
	struct s3_reader *reader = landed(req);

	if (req->status == STATUS_OK && !reader->part_known && req->result != 0) {
		find_part(reader);
		return;
	}
	if (req->status != STATUS_OK || !reader->part_known) {
		fail(reader, req->status == STATUS_OK ? STATUS_CORRUPT : req->status);
		return;
	}
	s3_sse_derive(reader->server, &reader->part);
	read_piece(reader);
}

/* Mostly the next one; else they are gone through in order. */
static void find_part(struct s3_reader *reader)
{
	bool null = reader->meta.flags & OBJ_IS_NULL;
	struct obj_cmd cmd = {
		.op = OBJ_PARTS,
		.bucket = reader->bucket,
		.name = reader->key,
		.version = null ? 0 : reader->meta.version,
		.flags = null ? OBJ_NULL_VERSION : 0,
		.list = &reader->list,
	};

	reader->list = (struct obj_list){
		.limit = reader->at == reader->part_end ? 1 : PARTS_PAGE,
		.after_id = reader->part_number,
	};
	reader->part_known = false;
	cmd.visit = visit_part;
	cmd.visitor = reader;
	submit(reader, &cmd, part_found);
}

void s3_reader_read(struct s3_call *call, size_t size, s3_next_fn *next)
{
	struct s3_reader *reader = call->reader;

	assert(reader->handle != 0 && reader->at < reader->end);
	assert(reader->buf == NULL && size <= S3_PIECE_SIZE);
	reader->next = next;
	if (size > reader->end - reader->at)
		size = (size_t)(reader->end - reader->at);
	if (reader->decrypts && (reader->by_parts || reader->meta.size >= S3_PLAIN_PIECE))
		size = S3_PIECE_SIZE;
	else if (reader->decrypts)
		size = (size_t)reader->meta.size + CIPHER_TAG_SIZE;
	reader->buf = buf_get(reader->server->bufs, size);
	if (reader->buf == NULL) {
		call->req.status = STATUS_BUSY;
		next(call);
		return;
	}
	if (reader->by_parts && (!reader->part_known || reader->at >= reader->part_end))
		find_part(reader);
	else
		read_piece(reader);
}
