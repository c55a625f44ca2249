/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bucket's end. First it is closed: its seals change, so whoever is about to write decides again
 * and sees it. Then it is looked at; if nothing is in it, what is left of it is removed, else it is
 * opened again. A deleter that dies in between leaves it closed for a while.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

enum { SPACES = 3 };

static void closed(struct obj_call *call);
static void look(struct obj_call *call);
static void abort_uploads(struct obj_call *call);

static void close_bucket(struct obj_call *call)
{
	struct obj_bucket_record record;

	if (!obj_call_bucket_decode(call, &record))
		return;
	if (obj_bucket_is_closed(call, &record)) {
		obj_call_finish(call, STATUS_BUSY, 0);
		return;
	}
	record.closing = true;
	record.closed_ms = call->engine->worker->wall_ms;
	if (obj_change_bucket(call, &record, /* seals= */ true))
		obj_change_submit(call, closed);
}

void obj_bucket_delete(struct obj_call *call)
{
	call->again = obj_bucket_delete;
	obj_call_bucket_record(call, close_bucket);
}

/* Step 2: its record as it is now, whose version says that nobody has opened it again. */
static void reread(struct obj_call *call)
{
	struct obj_bucket_record record;

	if (!obj_call_bucket_decode(call, &record))
		return;
	if (!record.closing) {
		obj_call_again(call);
		return;
	}
	call->progress = 0;
	look(call);
}

static void closed(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	obj_bucket_forget(call->engine, call->cmd.bucket);
	obj_call_bucket_record(call, reread);
}

/* Step 3: is anything in it? */

static void key_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_call *call = visitor;

	(void)edit;
	assert(entry->key.size <= call->made_buf->size);
	memcpy(call->made_buf->data, entry->key.data, entry->key.size);
	call->made_buf->used = (uint32_t)entry->key.size;
}

/* The first key of the bucket in that space and partition, to made_buf; result 0: there is none. */
static void scan_first(struct obj_call *call, enum obj_space space, unsigned index,
                       obj_step_fn *next)
{
	unsigned partition = obj_bucket_partition(call, index);
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_SCAN_PARTITION | KV_KEYS_ONLY,
		.partition = (uint16_t)partition,
		.limit = 1,
		.visit = key_visit,
		.visitor = call,
	};
	struct obj_key end;

	if (!obj_call_work(call, &call->made_buf, OBJ_KEY_MAX))
		return;
	obj_key_begin(&call->key, space, partition, call->bucket_id);
	end = call->key;
	obj_key_skip(&end);
	/* Both are needed until the answer. */
	memcpy(call->work->data, end.data, end.size);
	cmd.key = obj_key_bytes(&call->key);
	cmd.end = bytes_of(call->work->data, end.size);
	obj_call_kv(call, &cmd, next);
}

static void opened_again(struct obj_call *call)
{
	if (!obj_call_failed(call))
		obj_call_finish(call, STATUS_CONFLICT, 0);
}

static void open_again(struct obj_call *call)
{
	struct obj_bucket_record record;

	if (!obj_call_bucket_decode(call, &record))
		return;
	record.closing = false;
	if (obj_change_bucket(call, &record, /* seals= */ true))
		obj_change_submit(call, opened_again);
}

static void looked(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	if (call->req.result > 0) {
		open_again(call);
		return;
	}
	call->progress++;
	look(call);
}

static void look(struct obj_call *call)
{
	static const enum obj_space spaces[SPACES] = { OBJ_SPACE_CURRENT, OBJ_SPACE_MARKERS,
		                                       OBJ_SPACE_VERSIONS };

	if (call->progress < SPACES * call->bucket_spread) {
		scan_first(call, spaces[call->progress % SPACES],
		           (unsigned)(call->progress / SPACES), looked);
		return;
	}
	call->progress = 0;
	abort_uploads(call);
}

/* Step 5: gone. */

static void bucket_removed(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	obj_bucket_forget(call->engine, call->cmd.bucket);
	obj_call_finish(call, STATUS_OK, 0);
}

static void remove_bucket(struct obj_call *call)
{
	struct obj_bucket_record record;
	struct obj_key key;

	if (!obj_call_bucket_decode(call, &record) || !obj_change_begin(call))
		return;
	obj_bucket_key(call->cmd.bucket, &key);
	obj_change_delete(call, &key, call->other.version);
	for (unsigned i = 0; i < record.spread; i++) {
		obj_key_begin(&key, OBJ_SPACE_SEALS, obj_bucket_partition(call, i), record.id);
		obj_change_delete(call, &key, OBJ_ANY);
	}
	for (unsigned i = 0; i < OBJ_DOCUMENTS; i++) {
		if (!(record.documents & 1u << i))
			continue;
		obj_document_key(record.id, i, &key);
		obj_change_delete(call, &key, OBJ_ANY);
	}
	obj_change_submit(call, bucket_removed);
}

/* Step 4: uploads that nobody will complete. */

static void upload_aborted(struct obj_call *call)
{
	if (!obj_call_failed(call))
		abort_uploads(call);
}

static void upload_found(struct obj_call *call)
{
	struct obj_trash trash = { .kind = OBJ_TRASH_UPLOAD };
	unsigned partition = obj_bucket_partition(call, (unsigned)call->progress);
	struct obj_key key;

	if (obj_call_failed(call))
		return;
	if (call->req.result == 0) {
		call->progress++;
		abort_uploads(call);
		return;
	}
	assert(call->made_buf->used <= sizeof(key.data));
	memcpy(key.data, call->made_buf->data, call->made_buf->used);
	key.size = (uint16_t)call->made_buf->used;
	obj_key_numbered_name(obj_key_bytes(&key), &trash.id);
	if (!obj_change_begin(call))
		return;
	obj_change_delete(call, &key, OBJ_ANY);
	obj_change_trash(call, partition, &trash);
	/* Else it was opened again, and the upload may be an object by now. */
	obj_bucket_key(call->cmd.bucket, &key);
	obj_change_check(call, &key, call->other.version);
	obj_change_submit(call, upload_aborted);
}

static void abort_uploads(struct obj_call *call)
{
	if (call->progress < call->bucket_spread)
		scan_first(call, OBJ_SPACE_UPLOADS, (unsigned)call->progress, upload_found);
	else
		remove_bucket(call);
}
