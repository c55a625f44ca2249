/* SPDX-License-Identifier: Apache-2.0 */
/* Commands for `weir key`: the access keys of the S3 face. Secrets go in, and never out. */
#include "base/macros.h"
#include "server/resp_admin_internal.h"
#include "server/resp_internal.h"
#include "server/s3_server.h"

enum { ACCESS_MIN = 3, ACCESS_MAX = 64 };

struct key_state {
	uint8_t key[1 + ACCESS_MAX + 1]; /* one more, for the next one there can be */
	uint8_t size;
	struct buf *found; /* a key's name and record: what a visit has seen; used is 0: nothing */
};

static bool read_access(struct resp_call *call, size_t least)
{
	struct key_state *state = RESP_STATE(call, struct key_state);
	struct bytes access = call->argv[1];

	/* Whoever makes a key of a user is that user for S3, whatever he may do here. */
	if (!admin_is_proven(call->connection)) {
		resp_reply_error(call, "NOPERM keys of S3 are for users with a password, AUTH "
		                       "first; or for a unix socket");
		resp_call_done(call);
		return false;
	}
	if (access.size < least || access.size > ACCESS_MAX) {
		resp_reply_error(call, "ERR an access key has 3 to 64 bytes");
		resp_call_done(call);
		return false;
	}
	*state = (struct key_state){ .key = { KV_SPACE_KEYS }, .size = (uint8_t)(access.size + 1) };
	if (access.size > 0)
		memcpy(state->key + 1, access.data, access.size);
	return true;
}

static struct bytes key_of(struct resp_call *call)
{
	const struct key_state *state = RESP_STATE(call, struct key_state);

	return bytes_of(state->key, state->size);
}

static void set_done(struct resp_call *call)
{
	if (call->req.status != STATUS_OK)
		resp_reply_status(call, call->req.status);
	else
		resp_reply_ok(call);
	resp_call_done(call);
}

/* WEIR.KEYSET access record: makes it, or replaces it. */
static void set_start(struct resp_call *call)
{
	struct kv_cmd cmd = { .op = KV_PUT };
	struct s3_key key;

	if (!read_access(call, ACCESS_MIN))
		return;
	if (call->argv[2].size > S3_KEY_RECORD_MAX || !s3_key_parse(&key, call->argv[2])) {
		resp_reply_error(call, "ERR not a record of a key");
		resp_call_done(call);
		return;
	}
	cmd.key = key_of(call);
	cmd.value = call->argv[2];
	resp_call_submit(call, &cmd, set_done);
}

static void delete_done(struct resp_call *call)
{
	if (call->req.status != STATUS_OK)
		resp_reply_status(call, call->req.status);
	else
		resp_reply_i64(call, call->req.result != 0);
	resp_call_done(call);
}

/* WEIR.KEYDEL access: 1 if it was there. */
static void delete_start(struct resp_call *call)
{
	struct kv_cmd cmd = { .op = KV_DELETE };

	if (!read_access(call, 1))
		return;
	cmd.key = key_of(call);
	resp_call_submit(call, &cmd, delete_done);
}

/* The entry is copied: a reply may only be written where its connection is. */
static void next_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct buf *buf = visitor;

	(void)edit;
	if (entry->key.size > 255 || entry->value.size == 0 ||
	    1 + entry->key.size + entry->value.size > buf->size)
		return;
	buf->data[0] = (uint8_t)entry->key.size;
	memcpy(buf->data + 1, entry->key.data, entry->key.size);
	memcpy(buf->data + 1 + entry->key.size, entry->value.data, entry->value.size);
	buf->used = (uint32_t)(1 + entry->key.size + entry->value.size);
}

static bool reply_found(struct resp_call *call, const struct buf *buf)
{
	struct bytes name, record;
	struct s3_key key;

	if (buf->used == 0)
		return false;
	name = bytes_of(buf->data + 1, buf->data[0]);
	record = bytes_of(name.data + name.size, buf->used - 1 - name.size);
	if (name.size < 2 || !s3_key_parse(&key, record))
		return false;
	resp_reply_array(call, 5);
	resp_reply_bulk(call, bytes_of(name.data + 1, name.size - 1));
	resp_reply_bulk(call, key.user);
	resp_reply_bulk(call, key.name);
	resp_reply_bulk(call, key.email);
	resp_reply_i64(call, (int64_t)(key.created_ms / 1000));
	return true;
}

static void next_done(struct resp_call *call)
{
	struct buf *buf = RESP_STATE(call, struct key_state)->found;

	if (call->req.status != STATUS_OK)
		resp_reply_status(call, call->req.status);
	else if (!reply_found(call, buf))
		resp_reply_null_array(call);
	buf_unref(buf);
	resp_call_done(call);
}

/* WEIR.KEYNEXT access: the first behind it: access key, user, name, address, seconds; or null. */
static void next_start(struct resp_call *call)
{
	struct kv_cmd cmd = { .op = KV_SCAN, .limit = 1, .visit = next_visit };
	struct key_state *state = RESP_STATE(call, struct key_state);

	if (!read_access(call, 0))
		return;
	if (state->size > 1)
		state->size++; /* a zero: the next key there can be */
	state->found = buf_get(call->server->bufs, 2 * S3_KEY_RECORD_MAX);
	if (state->found == NULL) {
		resp_reply_status(call, STATUS_BUSY);
		resp_call_done(call);
		return;
	}
	cmd.key = key_of(call);
	cmd.visitor = state->found;
	resp_call_submit(call, &cmd, next_done);
}

enum { KEYS_FLAGS = RESP_ADMIN | RESP_NOSCRIPT | RESP_NO_MULTI | RESP_NEEDS_ADMIN };

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "weir.keyset", .arity = 3, .flags = KEYS_FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = set_start },
	{ .name = "weir.keydel", .arity = 2, .flags = KEYS_FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = delete_start },
	{ .name = "weir.keynext", .arity = 2, .flags = KEYS_FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = next_start },
};
// clang-format on

const struct resp_table resp_s3_key_table = { commands, array_count(commands) };
