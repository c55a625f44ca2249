/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents written. What comes in large pieces goes on to the kv's blobs as it is; what comes in
 * small ones is gathered. A blob is an extent; a full one is published when more comes, under a
 * number that an intent in the trash knows, so that a crash leaves nothing behind. The last extent
 * is published by COMMIT, together with the name; so is what is small enough for a record.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

/* Contents lie beside the name; parts of an upload one after another, so that all engines work. */
static unsigned data_partition(const struct obj_call *call)
{
	const struct obj_handle *h = call->handle;

	return (h->partition + h->part) % call->engine->kv->traits.partitions;
}

static uint64_t extent_room(const struct obj_handle *h)
{
	return (1ull << h->extent_shift) - h->extent_size;
}

/* A full extent becomes a record of its own. */

static void extent_published(struct obj_call *call)
{
	struct obj_handle *h = call->handle;

	if (call->req.status != STATUS_OK)
		h->failed = call->req.status;
	if (obj_call_failed(call))
		return;
	h->intent = true;
	h->blob = 0;
	h->extent++;
	h->extent_size = 0;
	call->place_next(call);
}

static void extent_numbered(struct obj_call *call)
{
	struct obj_trash trash = { .kind = OBJ_TRASH_INTENT };
	struct obj_handle *h = call->handle;
	struct obj_key key;

	if (h->data_id == 0)
		h->data_id = obj_data_id(obj_number_take(call->engine), data_partition(call));
	if (!obj_change_begin(call))
		return;
	trash.id = h->data_id;
	if (!h->intent)
		obj_change_trash(call, obj_data_partition(h->data_id), &trash);
	obj_data_key(h->data_id, h->extent, &key);
	obj_change_put_blob(call, &key, h->blob);
	obj_change_submit(call, extent_published);
}

static void extent_publish(struct obj_call *call, obj_step_fn *next)
{
	assert(call->handle->blob != 0);
	call->place_next = next;
	obj_call_numbers(call, 1, extent_numbered);
}

/* Appends to the extent: call->number bytes. */
static void extent_append(struct obj_call *call, struct bytes data, obj_step_fn *next)
{
	struct kv_cmd cmd = {
		.op = KV_BLOB_WRITE,
		.handle = call->handle->blob,
		.value = data,
		.partition = (uint16_t)data_partition(call),
	};

	assert(data.size > 0 && data.size <= extent_room(call->handle));
	call->number = data.size;
	obj_call_kv(call, &cmd, next);
}

/* False: the call was finished. */
static bool extent_appended(struct obj_call *call)
{
	struct obj_handle *h = call->handle;

	if (call->req.result != 0)
		h->blob = call->req.result;
	if (call->req.status != STATUS_OK)
		h->failed = call->req.status;
	if (obj_call_failed(call))
		return false;
	h->extent_size += call->number;
	return true;
}

/* What is held. */

static void flush_more(struct obj_call *call);

static void flush_written(struct obj_call *call)
{
	struct bytes *held = &call->handle->held;

	if (!extent_appended(call))
		return;
	*held = bytes_of(held->data + call->number, held->size - call->number);
	flush_more(call);
}

static void flush_more(struct obj_call *call)
{
	struct obj_handle *h = call->handle;
	uint64_t room = extent_room(h);
	struct bytes piece = h->held;

	if (piece.size == 0) {
		call->data_next(call);
		return;
	}
	if (room == 0) {
		extent_publish(call, flush_more);
		return;
	}
	if (piece.size > room)
		piece.size = room;
	extent_append(call, piece, flush_written);
}

void obj_call_flush(struct obj_call *call, obj_step_fn *next)
{
	call->data_next = next;
	flush_more(call);
}

/* WRITE: call->progress bytes are taken. */

static void write_more(struct obj_call *call);

static void write_written(struct obj_call *call)
{
	if (!extent_appended(call))
		return;
	call->handle->size += call->number;
	call->progress += call->number;
	write_more(call);
}

/* False: there is no memory, and the call was finished. */
static bool hold(struct obj_call *call, struct bytes rest)
{
	struct obj_handle *h = call->handle;
	size_t size = OBJ_STASH_SIZE - h->held.size;

	if (!obj_call_work(call, &h->stash, OBJ_STASH_SIZE))
		return false;
	if (size > rest.size)
		size = rest.size;
	memcpy(h->stash->data + h->held.size, rest.data, size);
	h->held = bytes_of(h->stash->data, h->held.size + size);
	h->size += size;
	call->progress += size;
	return true;
}

static void write_more(struct obj_call *call)
{
	struct obj_handle *h = call->handle;
	struct bytes rest = bytes_of(call->cmd.value.data + call->progress,
	                             call->cmd.value.size - call->progress);
	size_t whole = rest.size / OBJ_STASH_SIZE * OBJ_STASH_SIZE;

	if (rest.size == 0) {
		obj_call_finish(call, STATUS_OK, h->size);
		return;
	}
	if (h->held.size == OBJ_STASH_SIZE) {
		obj_call_flush(call, write_more);
		return;
	}
	if (h->held.size > 0 || whole == 0) {
		if (hold(call, rest))
			write_more(call);
		return;
	}
	if (extent_room(h) == 0) {
		extent_publish(call, write_more);
		return;
	}
	if (whole > extent_room(h))
		whole = extent_room(h);
	extent_append(call, bytes_of(rest.data, whole), write_written);
}

void obj_write(struct obj_call *call)
{
	struct obj_handle *h = obj_call_handle(call, OBJ_HANDLE_WRITES);
	uint64_t most;

	if (h == NULL)
		return;
	most = h->upload != 0 ? OBJ_PART_SIZE_MAX + OBJ_PART_ROOM : OBJ_SIZE_MAX;
	if (h->failed == STATUS_OK && call->cmd.value.size > most - h->size)
		h->failed = STATUS_TOO_LARGE;
	if (h->failed != STATUS_OK)
		obj_call_finish(call, h->failed, 0);
	else
		write_more(call);
}

/* CREATE. */

bool obj_call_create(struct obj_call *call)
{
	const struct obj_cmd *cmd = &call->cmd;
	struct obj_handle *h = obj_handle_take(call->engine, OBJ_HANDLE_WRITES);

	if (h == NULL) {
		obj_call_finish(call, STATUS_BUSY, 0);
		return false;
	}
	call->handle = h;
	call->owns_handle = true;
	h->extent_shift = (uint8_t)call->engine->options.extent_shift;
	h->upload = cmd->upload;
	h->part = cmd->part;
	h->bucket_size = (uint8_t)cmd->bucket.size;
	memcpy(h->bucket, cmd->bucket.data, cmd->bucket.size);
	h->name_size = (uint16_t)cmd->name.size;
	memcpy(h->name, cmd->name.data, cmd->name.size);
	return true;
}

static void created(struct obj_call *call)
{
	call->owns_handle = false;
	obj_call_finish(call, STATUS_OK, obj_handle_number(call->engine, call->handle));
}

static void create_placed(struct obj_call *call)
{
	if (!obj_call_create(call))
		return;
	call->handle->partition = call->partition;
	if (call->cmd.upload != 0)
		obj_call_upload(call, created);
	else
		created(call);
}

void obj_create(struct obj_call *call)
{
	obj_call_bucket(call, create_placed);
}

/* ABORT, and the end of whatever handle. */

static void abort_free(struct obj_call *call)
{
	struct obj_handle *h = call->handle;

	call->handle = NULL;
	obj_handle_free(call->engine, h);
	call->data_next(call);
}

/* Without it the extents stay until the next start: the intent is looked at then. */
static void abort_forget(struct obj_call *call)
{
	struct obj_handle *h = call->handle;
	struct obj_trash trash = { .kind = OBJ_TRASH_DATA, .id = h->data_id };
	struct kv_cmd cmd = { .op = KV_PUT };
	uint8_t *value = call->key.data + OBJ_KEY_HEAD;

	if (!h->intent) {
		abort_free(call);
		return;
	}
	obj_key_begin(&call->key, OBJ_SPACE_TRASH, obj_data_partition(h->data_id),
	              h->data_id >> 16);
	obj_trash_encode(&trash, value); /* behind the key there is room */
	cmd.key = obj_key_bytes(&call->key);
	cmd.value = bytes_of(value, OBJ_TRASH_SIZE);
	obj_call_kv(call, &cmd, abort_free);
}

void obj_call_abort(struct obj_call *call, obj_step_fn *next)
{
	struct obj_handle *h = call->handle;
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = h->blob };

	call->data_next = next;
	if (h->blob == 0) {
		abort_forget(call);
		return;
	}
	h->blob = 0;
	obj_call_kv(call, &cmd, abort_forget);
}

static void aborted(struct obj_call *call)
{
	obj_call_finish(call, STATUS_OK, 0);
}

void obj_abort(struct obj_call *call)
{
	if (obj_call_handle(call, OBJ_HANDLE_WRITES) != NULL)
		obj_call_abort(call, aborted);
}
