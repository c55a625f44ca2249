/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long values, read and written in pieces. A value is made by going over it once: for each piece,
 * what each part has there is put into it, and then the piece is written.
 */
#include "server/resp_long.h"

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_txn.h"

enum {
	PIECE = 256 << 10,       /* bytes; a list of extents has room for 2,040 */
	PIECE_LARGE = 512 << 10, /* of values from PIECE_LARGE_MIN on */
	PIECE_LARGE_MIN = 256 << 20,
};

static void make_part(struct resp_call *call);
static void read_next(struct resp_call *call);

struct resp_long *txn_long(struct resp_txn *txn)
{
	struct resp_long *value = resp_txn_memory(txn, sizeof(*value));

	if (value == NULL)
		return NULL;
	*value = (struct resp_long){ .next = txn->longs };
	txn->longs = value;
	return value;
}

static struct buf *piece_get(struct resp_txn *txn, uint32_t size)
{
	struct buf *buf = buf_get(txn->server->bufs, size);

	if (buf == NULL)
		txn->status = STATUS_BUSY;
	return buf;
}

/* Making. */

static uint32_t piece_of(const struct resp_make *make)
{
	return make->size >= PIECE_LARGE_MIN ? PIECE_LARGE : PIECE;
}

static void make_end(struct resp_call *call, enum status status)
{
	struct resp_txn *txn = call->txn;
	struct resp_make *make = &txn->make;

	buf_unref(make->out);
	buf_unref(make->in);
	make->out = make->in = NULL;
	if (status != STATUS_OK)
		txn->status = status;
	else
		make->made = make->target;
	make->next(call);
}

/* What a part has of the piece: false: nothing. */
struct overlap {
	uint64_t from; /* of the part */
	uint32_t at;   /* in the piece */
	uint32_t size;
};

static bool overlap_find(const struct resp_make *make, const struct resp_part *part,
                         struct overlap *ret_overlap)
{
	uint64_t start = part->at > make->at ? part->at : make->at;
	uint64_t end = part->at + part->size, piece_end = make->at + make->out->used;

	if (end > piece_end)
		end = piece_end;
	if (start >= end)
		return false;
	*ret_overlap = (struct overlap){
		.from = start - part->at,
		.at = (uint32_t)(start - make->at),
		.size = (uint32_t)(end - start),
	};
	return true;
}

/* Where an AND has nothing, there are its zeros. */
static void part_clear(struct resp_make *make, const struct overlap *overlap)
{
	uint32_t end = overlap->at + overlap->size;

	memset(make->out->data, 0, overlap->at);
	memset(make->out->data + end, 0, make->out->used - end);
}

static void part_put(struct resp_make *make, const struct overlap *overlap, const uint8_t *data)
{
	const struct resp_part *part = &make->parts[make->part];

	assert(overlap->at + overlap->size <= make->out->used);
	if (part->op == BITS_AND)
		part_clear(make, overlap);
	bits_apply(part->op, data, overlap->size, make->out->data + overlap->at);
	make->part++;
}

static void part_was_read(struct resp_call *call)
{
	struct resp_make *make = &call->txn->make;
	struct overlap overlap;

	if (!overlap_find(make, &make->parts[make->part], &overlap))
		unreachable(); /* it was asked for */
	if (call->req.status != STATUS_OK) {
		make_end(call, call->req.status);
	} else if (call->req.result != overlap.size) {
		make_end(call, STATUS_CORRUPT); /* shorter than it said */
	} else {
		part_put(make, &overlap, make->in->data);
		make_part(call);
	}
}

static void make_piece(struct resp_call *call)
{
	struct resp_make *make = &call->txn->make;
	uint64_t left = make->size - make->at;

	if (left == 0) {
		make_end(call, STATUS_OK);
		return;
	}
	if (call->connection->discards_output) {
		make_end(call, STATUS_CANCELED); /* nobody waits for it any more */
		return;
	}
	make->part = 0;
	make->out->used = left < piece_of(make) ? (uint32_t)left : piece_of(make);
	memset(make->out->data, 0, make->out->used);
	make_part(call);
}

static void piece_was_written(struct resp_call *call)
{
	struct resp_make *make = &call->txn->make;

	/* A refused first piece has made no handle. */
	if (call->req.status != STATUS_OK) {
		make_end(call, call->req.status);
		return;
	}
	make->target->handle = call->req.result;
	make->at += make->out->used;
	make_piece(call);
}

static void piece_write(struct resp_call *call)
{
	struct resp_make *make = &call->txn->make;
	struct kv_cmd cmd = {
		.op = KV_BLOB_WRITE,
		.handle = make->target->handle,
		.partition = (uint16_t)make->target->partition,
		.value = bytes_of(make->out->data, make->out->used),
	};

	resp_call_submit(call, &cmd, piece_was_written);
}

static void make_part(struct resp_call *call)
{
	struct resp_make *make = &call->txn->make;
	struct kv_cmd cmd = { .op = KV_BLOB_READ, .out = make->in->data };
	struct overlap overlap = { .size = 0 };

	while (make->part < make->part_count) {
		const struct resp_part *part = &make->parts[make->part];

		if (!overlap_find(make, part, &overlap)) {
			if (part->op == BITS_AND)
				memset(make->out->data, 0, make->out->used);
			make->part++;
		} else if (part->blob == NULL) {
			part_put(make, &overlap, part->bytes.data + overlap.from);
		} else {
			cmd.handle = part->blob->handle;
			cmd.offset = part->offset + overlap.from;
			cmd.out_size = overlap.size;
			resp_call_submit(call, &cmd, part_was_read);
			return;
		}
	}
	piece_write(call);
}

bool resp_make(struct resp_call *call, const struct resp_make *make)
{
	struct resp_txn *txn = call->txn;
	struct resp_make *own = &txn->make;

	assert(make->size > 0 && make->next != NULL);
	assert(own->out == NULL && own->in == NULL); /* else: another one is under way */
	for (uint32_t i = 0; i < make->part_count; i++) {
		const struct resp_part *part = &make->parts[i];

		assert(part->blob == NULL ? part->size == part->bytes.size
		                          : part->offset + part->size <= part->blob->size);
		assert(part->at + part->size <= make->size);
	}
	*own = *make;
	own->made = NULL;
	own->at = 0;
	own->target = txn_long(txn);
	if (own->target == NULL)
		return false;
	own->target->made = true;
	own->target->size = make->size;
	own->target->partition = kv_partition(make->key, txn->server->kv->traits.partitions);
	own->out = piece_get(txn, piece_of(own));
	own->in = own->out != NULL ? piece_get(txn, piece_of(own)) : NULL;
	if (own->in == NULL) {
		if (own->out != NULL)
			buf_unref(own->out);
		own->out = NULL;
		return false;
	}
	make_piece(call);
	return true;
}

/* Reading. */

static void read_end(struct resp_call *call, enum status status)
{
	struct resp_txn *txn = call->txn;

	buf_unref(txn->read.in);
	txn->read.in = NULL;
	txn->read.failed = status != STATUS_OK;
	if (status != STATUS_OK)
		txn->status = status;
	txn->read.next(call);
}

static void read_ended(struct resp_call *call)
{
	struct resp_read *read = &call->txn->read;
	uint64_t offset = read->offset;

	if (call->req.status != STATUS_OK) {
		read_end(call, call->req.status);
		return;
	}
	if (call->req.result != read->wanted) {
		read_end(call, STATUS_CORRUPT);
		return;
	}
	read->offset += read->wanted;
	read->left -= read->wanted;
	if (!read->take(call, offset, bytes_of(read->in->data, read->wanted)))
		read->left = 0;
	if (read->left == 0)
		read_end(call, STATUS_OK);
	else if (call->connection->discards_output)
		read_end(call, STATUS_CANCELED);
	else
		read_next(call);
}

static void read_next(struct resp_call *call)
{
	struct resp_read *read = &call->txn->read;
	struct kv_cmd cmd = {
		.op = KV_BLOB_READ,
		.handle = read->blob->handle,
		.offset = read->offset,
		.out = read->in->data,
	};

	read->wanted = read->left < PIECE ? (uint32_t)read->left : PIECE;
	cmd.out_size = read->wanted;
	resp_call_submit(call, &cmd, read_ended);
}

bool resp_read(struct resp_call *call, const struct resp_read *read)
{
	struct resp_txn *txn = call->txn;
	uint64_t size = read->left < PIECE ? read->left : PIECE;

	assert(read->left > 0 && read->offset + read->left <= read->blob->size);
	assert(read->take != NULL && read->next != NULL);
	assert(txn->read.in == NULL); /* else: another one is under way */
	txn->read = *read;
	txn->read.failed = false;
	txn->read.in = piece_get(txn, (uint32_t)size);
	if (txn->read.in == NULL)
		return false;
	read_next(call);
	return true;
}

const struct resp_value *resp_value_of(struct resp_call *call, uint32_t index,
                                       struct bytes *ret_key)
{
	struct bytes key;

	if (!resp_call_key(call, index, &key))
		unreachable(); /* the transaction has looked it up */
	if (ret_key != NULL)
		*ret_key = key;
	return resp_txn_get(call->txn, key);
}
