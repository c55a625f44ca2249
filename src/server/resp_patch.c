/* SPDX-License-Identifier: Apache-2.0 */
/*
 * APPEND and SETRANGE of a value too long for memory: the old blob is copied into a new one piece
 * by piece, with the change in it, and the new one takes its place if the key is still as it was.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

enum {
	PIECE = 256 << 10,       /* bytes; a list of extents has room for 2,040 */
	PIECE_LARGE = 512 << 10, /* of values from PIECE_LARGE_MIN on */
	PIECE_LARGE_MIN = 256 << 20,
	TRIES_MAX = 16, /* copies that were in vain because somebody wrote the key */
};

struct patch {
	uint64_t from, to; /* handles: of the old value, of the new one */
	uint64_t version, expires_ms, old_size;
	uint64_t at; /* bytes of the new value that are written */
	struct buf *buf;
	uint16_t tries;
	uint8_t status; /* enum status, with which it ends */
	uint8_t kind;
	bool taken; /* the new value is the key's */
};

static void copy_next(struct resp_call *call);
static void patch_open(struct resp_call *call);
static void patch_close(struct resp_call *call);

/* What the command has prepared stays in front. */
static struct patch *patch_of(struct resp_call *call)
{
	return (struct patch *)(void *)(call->state + RESP_STATE_SIZE - sizeof(struct patch));
}

_Static_assert(sizeof(struct patch) + 16 <= RESP_STATE_SIZE, "behind a part");
_Static_assert((RESP_STATE_SIZE - sizeof(struct patch)) % 8 == 0, "aligned");

static struct bytes change_of(const struct resp_call *call)
{
	return call->argv[call->argc - 1];
}

static uint64_t size_of(struct resp_call *call, uint64_t *ret_offset)
{
	uint64_t old_size = patch_of(call)->old_size, end;

	*ret_offset = resp_string_offset(call, old_size);
	end = *ret_offset + change_of(call).size;
	return end > old_size ? end : old_size;
}

static void patch_end(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	uint64_t offset;

	buf_unref(patch->buf);
	if (patch->status != STATUS_OK) {
		resp_reply_status(call, (enum status)patch->status);
	} else if (patch->taken) {
		call->changed = true;
		resp_reply_i64(call, (int64_t)size_of(call, &offset));
		resp_notify(call, RESP_EVENT_STRING, call->command->name, call->argv[1]);
	}
	resp_call_done(call);
}

/* Both handles go back; after a conflict it begins anew. */
static void patch_closed(struct resp_call *call)
{
	struct patch *patch = patch_of(call);

	if (patch->from != 0 || patch->to != 0) {
		patch_close(call);
	} else if (patch->status == STATUS_CONFLICT && ++patch->tries < TRIES_MAX) {
		patch_open(call);
	} else {
		if (patch->status == STATUS_CONFLICT)
			patch->status = STATUS_BUSY;
		patch_end(call);
	}
}

static void patch_close(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	uint64_t *handle = patch->to != 0 ? &patch->to : &patch->from;
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = *handle };

	if (*handle == 0) {
		patch_closed(call);
		return;
	}
	*handle = 0;
	resp_call_submit(call, &cmd, patch_closed);
}

static void patch_fail(struct resp_call *call, enum status status)
{
	patch_of(call)->status = (uint8_t)status;
	patch_close(call);
}

static void patch_stored(struct resp_call *call)
{
	struct patch *patch = patch_of(call);

	if (call->req.status != STATUS_OK) {
		patch_fail(call, call->req.status);
		return;
	}
	patch->to = 0; /* the store's now */
	patch->taken = true;
	patch_close(call);
}

static void patch_store(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	struct kv_cmd cmd = {
		.op = KV_PUT,
		.kind = RESP_STRING,
		.flags = KV_FROM_BLOB | KV_IF_VERSION,
		.handle = patch->to,
		.version = patch->version,
		.expires_ms = patch->expires_ms,
	};

	if (!resp_call_key(call, (uint32_t)call->command->key_first, &cmd.key))
		unreachable(); /* it was looked up */
	resp_call_submit(call, &cmd, patch_stored);
}

static void piece_written(struct resp_call *call)
{
	struct patch *patch = patch_of(call);

	if (call->req.status != STATUS_OK) {
		patch_fail(call, call->req.status);
		return;
	}
	patch->to = call->req.result;
	patch->at += patch->buf->used;
	copy_next(call);
}

/* The change over what there was; then it is written. */
static void piece_write(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	struct bytes change = change_of(call), key;
	uint64_t offset, first, end;
	struct kv_cmd cmd = { .op = KV_BLOB_WRITE, .handle = patch->to };

	(void)size_of(call, &offset);
	first = offset > patch->at ? offset : patch->at;
	end = offset + change.size;
	if (end > patch->at + patch->buf->used)
		end = patch->at + patch->buf->used;
	if (first < end)
		memcpy(patch->buf->data + (first - patch->at), change.data + (first - offset),
		       end - first);
	if (!resp_call_key(call, (uint32_t)call->command->key_first, &key))
		unreachable(); /* it was looked up */
	cmd.partition = (uint16_t)kv_partition(key, call->server->kv->traits.partitions);
	cmd.value = bytes_of(patch->buf->data, patch->buf->used);
	resp_call_submit(call, &cmd, piece_written);
}

static void piece_read(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	uint64_t left = patch->old_size - patch->at;
	uint64_t wanted = left < patch->buf->used ? left : patch->buf->used;

	if (call->req.status != STATUS_OK)
		patch_fail(call, call->req.status);
	else if (call->req.result != wanted)
		patch_fail(call, STATUS_CORRUPT); /* shorter than it said */
	else
		piece_write(call);
}

static void copy_next(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	uint64_t offset, size = size_of(call, &offset);
	uint32_t piece = size >= PIECE_LARGE_MIN ? PIECE_LARGE : PIECE;
	struct kv_cmd cmd = {
		.op = KV_BLOB_READ,
		.handle = patch->from,
		.offset = patch->at,
		.out = patch->buf->data,
	};

	assert(piece <= patch->buf->size);
	if (patch->at == size) {
		patch_store(call);
		return;
	}
	patch->buf->used = size - patch->at < piece ? (uint32_t)(size - patch->at) : piece;
	memset(patch->buf->data, 0, patch->buf->used);
	if (patch->at >= patch->old_size) {
		piece_write(call);
		return;
	}
	cmd.out_size = patch->old_size - patch->at < patch->buf->used
	                       ? (uint32_t)(patch->old_size - patch->at)
	                       : patch->buf->used;
	resp_call_submit(call, &cmd, piece_read);
}

static void patch_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct patch *patch = visitor;

	(void)edit;
	patch->old_size = entry->size;
	patch->version = entry->version;
	patch->expires_ms = entry->expires_ms;
	patch->kind = entry->kind;
}

static void patch_opened(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	uint64_t offset;

	if (call->req.status != STATUS_OK) {
		patch_fail(call, call->req.status);
		return;
	}
	patch->from = call->req.result;
	if (patch->version != 0 && patch->kind != RESP_STRING) {
		resp_reply_wrong_type(call);
		patch_close(call);
	} else if (size_of(call, &offset) > call->server->settings.bulk_max) {
		resp_reply_error(call, "ERR string exceeds maximum allowed size "
		                       "(proto-max-bulk-len)");
		patch_close(call);
	} else {
		copy_next(call);
	}
}

static void patch_open(struct resp_call *call)
{
	struct patch *patch = patch_of(call);
	struct kv_cmd cmd = { .op = KV_BLOB_OPEN, .visit = patch_visit, .visitor = patch };

	patch->at = 0;
	patch->status = STATUS_OK;
	if (!resp_call_key(call, (uint32_t)call->command->key_first, &cmd.key))
		unreachable(); /* it was looked up */
	resp_call_submit(call, &cmd, patch_opened);
}

void resp_patch_start(struct resp_call *call)
{
	struct patch *patch = patch_of(call);

	*patch = (struct patch){ .buf = buf_get(call->server->bufs, PIECE_LARGE) };
	if (patch->buf == NULL) {
		resp_reply_error(call, "OOM no memory for this command");
		resp_call_done(call);
		return;
	}
	patch_open(call);
}
