/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads and their parts. A part is put only while its upload is there, and an upload is ended by
 * one change: so a part that comes too late is refused, and none is left without an owner.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

void obj_upload_key(const struct obj_call *call, uint64_t upload, struct obj_key *key)
{
	obj_name_key(call, OBJ_SPACE_UPLOADS, key);
	obj_key_add_upload(key, upload);
}

void obj_part_key(const struct obj_call *call, uint64_t upload, unsigned part, struct obj_key *key)
{
	obj_key_begin(key, OBJ_SPACE_PARTS, call->partition, upload);
	obj_key_add_number(key, part, 2);
}

void obj_manifest_key(unsigned partition, uint64_t upload, uint32_t index, struct obj_key *key)
{
	obj_key_begin(key, OBJ_SPACE_MANIFESTS, partition, upload);
	obj_key_add_number(key, index, 2);
}

static void upload_fetch(struct obj_call *call);

static void upload_fetched(struct obj_call *call)
{
	if (call->upload.version == 0 && !call->bucket_is_fresh) {
		obj_call_bucket_record(call, upload_fetch);
	} else if (call->upload.version == 0) {
		obj_call_not_found(call, OBJ_NO_UPLOAD);
	} else if (obj_record_decode(obj_fetched_bytes(&call->upload), &call->upload_record) !=
	           STATUS_OK) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
	} else {
		call->version_next(call);
	}
}

static void upload_fetch(struct obj_call *call)
{
	obj_upload_key(call, call->cmd.upload, &call->key);
	obj_call_fetch(call, &call->upload, upload_fetched);
}

void obj_call_upload(struct obj_call *call, obj_step_fn *next)
{
	call->version_next = next;
	upload_fetch(call);
}

/* CREATE. */

static void upload_created(struct obj_call *call)
{
	if (!obj_call_failed(call))
		obj_call_finish(call, STATUS_OK, call->made.version);
}

static void create_numbered(struct obj_call *call)
{
	struct obj_key key;
	size_t size;

	if (!obj_change_begin(call) || !obj_made_set(call, call->cmd.put))
		return;
	call->made.version = obj_number_take(call->engine);
	call->made.flags &= (uint16_t)~OBJ_IS_NULL;
	if (!obj_call_work(call, &call->made_buf, obj_record_size(&call->made)))
		return;
	size = obj_record_encode(&call->made, call->made_buf->data);
	obj_change_check_seal(call);
	obj_upload_key(call, call->made.version, &key);
	obj_change_put(call, &key, bytes_of(call->made_buf->data, size), 0);
	obj_change_submit(call, upload_created);
}

static void create_sealed(struct obj_call *call)
{
	obj_call_numbers(call, 1, create_numbered);
}

static void create_placed(struct obj_call *call)
{
	obj_call_seal(call, create_sealed);
}

void obj_upload_create(struct obj_call *call)
{
	call->again = obj_upload_create;
	obj_call_bucket(call, create_placed);
}

/* GET. */

static void got(struct obj_call *call)
{
	struct obj_entry entry = { .kind = OBJ_UPLOAD, .name = call->cmd.name };

	obj_record_meta(&call->upload_record, &entry.meta);
	obj_call_visit(call, &entry);
	obj_call_finish(call, STATUS_OK, call->cmd.upload);
}

static void get_placed(struct obj_call *call)
{
	obj_call_upload(call, got);
}

void obj_upload_get(struct obj_call *call)
{
	obj_call_bucket(call, get_placed);
}

/* ABORT. */

static void upload_aborted(struct obj_call *call)
{
	if (!obj_call_failed(call))
		obj_call_finish(call, STATUS_OK, 0);
}

static void abort_found(struct obj_call *call)
{
	struct obj_trash trash = { .kind = OBJ_TRASH_UPLOAD, .id = call->cmd.upload };
	struct obj_key key;

	if (!obj_change_begin(call))
		return;
	obj_upload_key(call, call->cmd.upload, &key);
	obj_change_delete(call, &key, call->upload.version);
	obj_change_trash(call, call->partition, &trash);
	obj_change_submit(call, upload_aborted);
}

static void abort_placed(struct obj_call *call)
{
	obj_call_upload(call, abort_found);
}

void obj_upload_abort(struct obj_call *call)
{
	call->again = obj_upload_abort;
	obj_call_bucket(call, abort_placed);
}

/* A part's COMMIT, once its contents are written. */

static void part_committed(struct obj_call *call)
{
	if (!obj_call_failed(call))
		obj_call_made(call, 0);
}

static void part_looked(struct obj_call *call)
{
	const struct obj_put *put = call->cmd.put;
	bool replaces = call->other.version != 0;
	struct obj_key key;
	size_t size;

	if (replaces &&
	    obj_record_decode(obj_fetched_bytes(&call->other), &call->other_record) != STATUS_OK) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	}
	if (!obj_change_begin(call))
		return;
	call->made = (struct obj_record){
		.version = call->cmd.part,
		.created_ms = call->engine->worker->wall_ms,
		.etag = put->etag,
		.brief = put->brief,
		.attributes = put->attributes,
	};
	obj_change_contents(call, /* may_inline= */ false);
	if (!obj_call_work(call, &call->made_buf, obj_record_size(&call->made)))
		return;
	size = obj_record_encode(&call->made, call->made_buf->data);
	obj_part_key(call, call->cmd.upload, call->cmd.part, &key);
	obj_change_put(call, &key, bytes_of(call->made_buf->data, size), call->other.version);
	obj_upload_key(call, call->cmd.upload, &key);
	if (replaces) {
		/* Who completes the upload may have seen the old one, and must look again. */
		obj_change_put(call, &key, obj_fetched_bytes(&call->upload), call->upload.version);
		obj_change_drop_data(call, call->partition, &call->other_record);
	} else {
		obj_change_check(call, &key, call->upload.version);
	}
	obj_change_submit(call, part_committed);
}

static void part_upload(struct obj_call *call)
{
	obj_part_key(call, call->cmd.upload, call->cmd.part, &call->key);
	obj_call_fetch(call, &call->other, part_looked);
}

void obj_part_commit(struct obj_call *call)
{
	obj_call_upload(call, part_upload);
}
