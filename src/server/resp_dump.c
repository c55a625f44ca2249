/* SPDX-License-Identifier: Apache-2.0 */
/* DUMP and RESTORE. */
#include "base/assert.h"
#include "base/crc64.h"
#include "base/macros.h"
#include "server/rdb.h"
#include "server/resp_txn.h"

static void dump_apply(struct resp_call *call)
{
	const struct resp_value *value;
	struct rdb_writer writer = { 0 };
	struct bytes key;

	if (!resp_call_key(call, 1, &key))
		unreachable(); /* the transaction has loaded it */
	value = resp_txn_get(call->txn, key);
	resp_count_lookup(call, key, value->exists);
	if (!value->exists) {
		resp_reply_null(call);
		return;
	}
	if (value->kind != RESP_STRING) {
		resp_reply_wrong_type(call);
		return;
	}
	if (value->blob != NULL) {
		resp_reply_dump(call, value->blob);
		return;
	}
	writer.size = value->size + RDB_STRING_HEAD_MAX + 1 + RDB_FOOTER_SIZE;
	writer.data = resp_txn_memory(call->txn, writer.size);
	if (writer.data == NULL)
		return;
	rdb_dump_string(&writer, value->value);
	assert(!writer.full);
	resp_reply_bulk(call, bytes_of(writer.data, writer.used));
}

struct restore_stream;
struct restore_state {
	int64_t ttl_ms;
	bool replace, absolute;
	struct restore_stream *stream; /* of a payload that is not in memory */
};

static bool restore_prepare(struct resp_call *call)
{
	struct restore_state *state = RESP_STATE(call, struct restore_state);
	int64_t number;

	*state = (struct restore_state){ 0 };
	for (uint32_t i = 4; i < call->argc; i++) {
		bool more = i + 1 < call->argc;

		if (resp_word_is(call->argv[i], "replace")) {
			state->replace = true;
		} else if (resp_word_is(call->argv[i], "absttl")) {
			state->absolute = true;
		} else if (more && resp_word_is(call->argv[i], "idletime")) {
			if (!resp_argument_i64(call, ++i, &number))
				return false;
			if (number < 0) {
				resp_reply_error(call, "ERR Invalid IDLETIME value, must be >= 0");
				return false;
			}
		} else if (more && resp_word_is(call->argv[i], "freq")) {
			if (!resp_argument_i64(call, ++i, &number))
				return false;
			if (number < 0 || number > 255) {
				resp_reply_error(call, "ERR Invalid FREQ value, must be >= 0 and "
				                       "<= 255");
				return false;
			}
		} else {
			resp_reply_syntax_error(call);
			return false;
		}
	}
	return true;
}

/* The string of a payload; false: an error is replied or arranged for. */
static bool restore_read(struct resp_call *call, struct resp_value *value)
{
	struct rdb_room room = { .size = RESP_ARGUMENT_MAX };
	struct rdb_reader reader;
	uint8_t type;

	if (!rdb_reader_open(&reader, call->argv[3])) {
		resp_reply_error(call, RDB_PAYLOAD_ERROR);
		return false;
	}
	room.data = resp_txn_memory(call->txn, room.size);
	if (room.data == NULL)
		return false;
	if (!rdb_read_type(&reader, &type) || type != RDB_TYPE_STRING ||
	    !rdb_read_string(&reader, room, &value->value) || !rdb_reader_is_at_end(&reader)) {
		resp_reply_error(call, RDB_FORMAT_ERROR);
		return false;
	}
	value->size = value->value.size;
	value->kind = RESP_STRING;
	return true;
}

/* Whether the value is to be stored; else it is replied why not. */
static bool restore_may(struct resp_call *call, struct bytes key)
{
	struct restore_state *state = RESP_STATE(call, struct restore_state);

	if (resp_txn_get(call->txn, key)->exists && !state->replace) {
		resp_reply_error(call, "BUSYKEY Target key name already exists.");
		return false;
	}
	if (!resp_argument_i64(call, 2, &state->ttl_ms))
		return false;
	if (state->ttl_ms < 0) {
		resp_reply_error(call, "ERR Invalid TTL value, must be >= 0");
		return false;
	}
	return true;
}

static void restore_store(struct resp_call *call, struct bytes key, struct resp_value *value)
{
	const struct restore_state *state = RESP_STATE(call, struct restore_state);

	value->kind = RESP_STRING;
	if (state->ttl_ms > 0)
		value->expires_ms = (uint64_t)state->ttl_ms + (state->absolute ? 0 : call->wall_ms);
	if (value->expires_ms != 0 && value->expires_ms <= call->wall_ms) {
		if (resp_txn_get(call->txn, key)->exists) {
			resp_txn_delete(call->txn, key);
			resp_notify(call, RESP_EVENT_GENERIC, "del", key);
		}
		resp_reply_ok(call);
		return;
	}
	if (!resp_txn_put(call->txn, key, value))
		return;
	resp_notify(call, RESP_EVENT_GENERIC, "restore", key);
	resp_reply_ok(call);
}

static void restore_apply(struct resp_call *call)
{
	struct resp_value value = { 0 };
	struct bytes key;

	if (!resp_call_key(call, 1, &key))
		unreachable(); /* the transaction has loaded it */
	if (restore_may(call, key) && restore_read(call, &value))
		restore_store(call, key, &value);
}

/*
 * A payload that came as a blob: its checksum first, which is of all of it, then the string in it.
 */
enum { HEAD_MAX = 1 + 2 * RDB_STRING_HEAD_MAX };

struct restore_stream {
	struct resp_long *payload;
	uint64_t crc;
	uint8_t head[HEAD_MAX];
	uint8_t footer[RDB_FOOTER_SIZE];
	struct resp_part part;
};

/* Behind what was prepared. */
static struct restore_stream **stream_of(struct resp_call *call)
{
	return &RESP_STATE(call, struct restore_state)->stream;
}

/* What a piece has of the `size` bytes of the payload from `start` on. */
static void keep(uint8_t *to, struct bytes piece, uint64_t piece_at, uint64_t start, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint64_t at = start + i;

		if (at >= piece_at && at - piece_at < piece.size)
			to[i] = piece.data[at - piece_at];
	}
}

static bool restore_take(struct resp_call *call, uint64_t offset, struct bytes piece)
{
	struct restore_stream *stream = *stream_of(call);
	uint64_t checked = stream->payload->size - 8; /* the CRC is not of itself */
	uint64_t size = offset >= checked ? 0 : checked - offset;

	stream->crc =
	        crc64(stream->crc, bytes_of(piece.data, size < piece.size ? size : piece.size));
	if (offset < HEAD_MAX)
		keep(stream->head, piece, offset, 0, HEAD_MAX);
	keep(stream->footer, piece, offset, stream->payload->size - RDB_FOOTER_SIZE,
	     RDB_FOOTER_SIZE);
	return true;
}

static void restore_made(struct resp_call *call)
{
	struct resp_value value = { .blob = call->txn->make.made };
	struct bytes key;

	if (value.blob != NULL) {
		value.size = value.blob->size;
		if (!resp_call_key(call, 1, &key))
			unreachable(); /* the transaction has looked it up */
		restore_store(call, key, &value);
	}
	resp_stream_done(call);
}

/* The string of the payload, found and copied; false: an error is replied or arranged for. */
static bool restore_copy(struct resp_call *call)
{
	struct restore_stream *stream = *stream_of(call);
	struct rdb_reader reader = { .rest = bytes_of(stream->head, HEAD_MAX) };
	struct resp_make make = { .parts = &stream->part, .part_count = 1, .next = restore_made };
	uint64_t body = stream->payload->size - RDB_FOOTER_SIZE, size;
	uint8_t type;

	if (!rdb_footer_is_sound(stream->footer, stream->crc)) {
		resp_reply_error(call, RDB_PAYLOAD_ERROR);
		return false;
	}
	if (!rdb_read_type(&reader, &type) || type != RDB_TYPE_STRING ||
	    !rdb_read_plain(&reader, &size) || size == 0 ||
	    size != body - (HEAD_MAX - reader.rest.size)) {
		resp_reply_error(call, RDB_FORMAT_ERROR);
		return false;
	}
	stream->part = (struct resp_part){
		.size = size,
		.blob = stream->payload,
		.offset = body - size,
		.op = BITS_COPY,
	};
	make.size = size;
	if (!resp_call_key(call, 1, &make.key))
		unreachable(); /* the transaction has looked it up */
	return resp_make(call, &make);
}

static void restore_checked(struct resp_call *call)
{
	if (call->txn->read.failed || !restore_copy(call))
		resp_stream_done(call);
}

static bool restore_begin(struct resp_call *call)
{
	struct restore_stream *stream = resp_txn_memory(call->txn, sizeof(*stream));
	struct resp_read read = { .take = restore_take, .next = restore_checked };
	struct bytes key;

	if (stream == NULL)
		return false;
	*stream = (struct restore_stream){ .payload = resp_upload_long(call) };
	*stream_of(call) = stream;
	if (stream->payload == NULL)
		return false;
	assert(stream->payload->size > HEAD_MAX + RDB_FOOTER_SIZE); /* else: it is no blob */
	if (!resp_call_key(call, 1, &key))
		unreachable(); /* the transaction has looked it up */
	if (!restore_may(call, key))
		return false;
	read.blob = stream->payload;
	read.left = stream->payload->size;
	return resp_read(call, &read);
}

static void restore_stream(struct resp_call *call)
{
	if (!restore_begin(call))
		resp_stream_done(call);
}

#define KEY_1 .key_first = 1, .key_last = 1, .key_step = 1

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "dump", .arity = 2, KEY_1, .flags = RESP_READONLY,
	  .acl = RESP_ACL_KEYSPACE | RESP_ACL_READ | RESP_ACL_SLOW, .apply = dump_apply },
	{ .name = "restore", .arity = -4, KEY_1,
	  .flags = RESP_WRITE | RESP_DENYOOM | RESP_META | RESP_UPLOADS,
	  .acl = RESP_ACL_KEYSPACE | RESP_ACL_WRITE | RESP_ACL_SLOW | RESP_ACL_DANGEROUS,
	  .prepare = restore_prepare, .apply = restore_apply, .stream = restore_stream },
};
// clang-format on

const struct resp_table resp_dump_table = { commands, array_count(commands) };
