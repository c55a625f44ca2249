/* SPDX-License-Identifier: Apache-2.0 */
/* Downloads: a version that stays pinned, read piece by piece and decrypted on the way. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/s3_internal.h"

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
	cipher_forget(&reader->cipher);
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
	assert(req->result <= reader->end - reader->at && req->result <= buf->size);
	buf->used = (uint32_t)req->result;
	if (reader->decrypts)
		cipher_apply(&reader->cipher, bytes_of(buf->data, buf->used), buf->data);
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

	if (reader->by_parts && size > reader->part_end - reader->at)
		size = reader->part_end - reader->at;
	cmd.out_size = size < reader->buf->size ? (uint32_t)size : reader->buf->size;
	submit(reader, &cmd, piece_read);
}

/* Of an encrypted multipart object: the key of the part that is read next. */
static void visit_part(void *visitor, const struct obj_entry *entry)
{
	struct s3_reader *reader = visitor;
	const struct obj_part *part = &entry->part;
	struct s3_brief brief;

	if (reader->at < part->offset || reader->at >= part->offset + part->size)
		return;
	s3_brief_parse(&brief, part->brief);
	reader->part_known = true;
	reader->part_start = part->offset;
	reader->part_end = part->offset + part->size;
	memcpy(reader->part_salt, brief.salt, sizeof(reader->part_salt));
}

static void part_found(struct req *req)
{
	struct s3_reader *reader = landed(req);
	struct s3_sse sse = *reader->sse;
	static const uint8_t nonce[CIPHER_NONCE_SIZE];

	if (req->status != STATUS_OK || !reader->part_known) {
		fail(reader, req->status == STATUS_OK ? STATUS_CORRUPT : req->status);
		return;
	}
	memcpy(sse.salt, reader->part_salt, sizeof(sse.salt));
	s3_sse_derive(reader->server, &sse);
	cipher_start(&reader->cipher, sse.key, nonce, reader->at - reader->part_start);
	explicit_bzero(&sse, sizeof(sse));
	read_piece(reader);
}

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

	reader->part_known = false;
	reader->list = (struct obj_list){ .limit = OBJ_PARTS_MAX };
	cmd.visit = visit_part;
	cmd.visitor = reader;
	submit(reader, &cmd, part_found);
}

void s3_reader_read(struct s3_call *call, size_t size, s3_next_fn *next)
{
	struct s3_reader *reader = call->reader;

	assert(reader->handle != 0 && reader->at < reader->end);
	assert(reader->buf == NULL);
	reader->next = next;
	if (size > reader->end - reader->at)
		size = (size_t)(reader->end - reader->at);
	reader->buf = buf_get(reader->server->bufs, size);
	if (reader->buf == NULL) {
		call->req.status = STATUS_BUSY;
		next(call);
		return;
	}
	if (reader->by_parts && (!reader->part_known || reader->at < reader->part_start ||
	                         reader->at >= reader->part_end))
		find_part(reader);
	else
		read_piece(reader);
}
