/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long values in the reply of a transaction. They are not read while it runs, for it may have to
 * run again: the reply has holes where they belong, each with the replies behind it. When the
 * transaction is committed, holes are filled one after the other, as fast as the client takes them.
 */
#include "base/assert.h"
#include "base/crc64.h"
#include "base/macros.h"
#include "server/rdb.h"
#include "server/resp_txn.h"

struct txn_hole {
	struct txn_hole *next;
	struct resp_send send;
	struct resp_out behind; /* replies up to the next one, or the end */
	bool dump;              /* a DUMP's footer follows the value */
};

/* What is replied from now on comes behind these bytes. */
static void hole_add(struct resp_call *call, const struct resp_send *send, bool dump)
{
	struct resp_txn *txn = call->txn;
	struct txn_hole *hole = resp_txn_memory(txn, sizeof(*hole));

	if (hole == NULL)
		return; /* the run ends */
	*hole = (struct txn_hole){ .send = *send, .dump = dump };
	resp_out_init(&hole->behind, NULL, 0, call->server->bufs);
	hole->behind.protocol = call->out->protocol;
	if (txn->holes == NULL) {
		txn->reply = call->out;
		txn->holes_end = &txn->holes;
	}
	*txn->holes_end = hole;
	txn->holes_end = &hole->next;
	call->out = &hole->behind;
}

void resp_reply_long(struct resp_call *call, struct resp_long *blob, uint64_t offset, uint64_t size)
{
	assert(offset <= blob->size && size <= blob->size - offset);
	resp_reply_bulk_header(call, size);
	if (size > 0) {
		blob->replied = true;
		hole_add(call,
		         &(struct resp_send){
		                 .handle = blob->handle,
		                 .offset = offset,
		                 .left = size,
		         },
		         false);
	}
	resp_reply_raw(call, BYTES("\r\n"));
}

void resp_reply_dump(struct resp_call *call, struct resp_long *blob)
{
	uint8_t head[1 + RDB_STRING_HEAD_MAX];
	struct rdb_writer writer = { .data = head, .size = sizeof(head) };

	rdb_write_type(&writer, RDB_TYPE_STRING);
	rdb_write_count(&writer, blob->size);
	assert(!writer.full);
	resp_reply_bulk_header(call, writer.used + blob->size + RDB_FOOTER_SIZE);
	resp_reply_raw(call, bytes_of(head, writer.used));
	blob->replied = true;
	hole_add(call,
	         &(struct resp_send){
	                 .handle = blob->handle,
	                 .left = blob->size,
	                 .crc = crc64(0, bytes_of(head, writer.used)),
	                 .with_crc = true,
	         },
	         true);
	resp_reply_raw(call, BYTES("\r\n"));
}

void resp_reply_value(struct resp_call *call, const struct resp_value *value)
{
	if (!value->exists)
		resp_reply_null(call);
	else if (value->blob != NULL)
		resp_reply_long(call, value->blob, 0, value->size);
	else
		resp_reply_bulk(call, value->value);
}

void txn_reply_drop(struct resp_txn *txn)
{
	if (txn->holes == NULL)
		return;
	for (struct txn_hole *hole = txn->holes; hole != NULL; hole = hole->next)
		resp_out_fini(&hole->behind);
	txn->holes = NULL;
	txn->call->out = txn->reply;
}

bool txn_reply_is_full(const struct resp_txn *txn)
{
	bool full = txn->call->out->full || (txn->holes != NULL && txn->reply->full);

	for (const struct txn_hole *hole = txn->holes; hole != NULL; hole = hole->next)
		full |= hole->behind.full;
	return full;
}

/* Sending. */

static void hole_sent(struct resp_call *call)
{
	struct resp_txn *txn = call->txn;
	struct resp_connection *connection = call->connection;
	struct txn_hole *hole = txn->holes;
	uint8_t footer[RDB_FOOTER_SIZE];

	if (hole->send.left > 0) {
		/* The header has promised more than came: what is sent cannot be taken back. */
		resp_connection_kill(connection);
	} else {
		if (hole->dump) {
			rdb_footer(hole->send.crc, footer);
			resp_out_bytes(&connection->out, footer, sizeof(footer));
		}
		resp_out_append(&connection->out, &hole->behind);
		if (connection->out.full)
			resp_connection_kill(connection);
		else
			resp_send_publish(call);
	}
	resp_out_fini(&hole->behind);
	txn->holes = hole->next;
	txn->reply = &connection->out;
	txn_go(txn);
}

bool txn_reply_send(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_connection *connection = call->connection;

	if (txn->holes == NULL)
		return true;
	if (connection->discards_output || resp_is_silent(connection)) {
		txn_reply_drop(txn);
		return true;
	}
	if (STAILQ_FIRST(&connection->calls) != call) {
		call->streams = true; /* those before it reply first */
		return false;
	}
	if (txn->reply == &call->reply) {
		resp_out_append(&connection->out, &call->reply);
		resp_out_fini(&call->reply);
	}
	txn->reply = call->out = &connection->out;
	if (connection->out.full) {
		resp_connection_kill(connection);
		txn_reply_drop(txn);
		return true;
	}
	resp_send_publish(call);
	txn->holes->send.next = hole_sent;
	resp_send_start(call, &txn->holes->send);
	return false;
}

void txn_reply_resume(struct resp_call *call)
{
	assert(call->txn->step == STEP_REPLY);
	txn_go(call->txn);
}
