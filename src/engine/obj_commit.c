/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A version made. What was the newest becomes an older one, or is removed, in the same change: with
 * versioning it is kept; without it, or suspended, the null version takes the place of the null
 * version, wherever that is.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

bool obj_is_locked(const struct obj_call *call, const struct obj_record *record)
{
	bool retained = record->retain_until_ms > call->engine->worker->wall_ms;

	if (record->flags & OBJ_HOLD)
		return true;
	if (retained && (record->flags & OBJ_GOVERNANCE))
		return !(call->cmd.flags & OBJ_BYPASS_GOVERNANCE);
	return retained;
}

void obj_head_key(const struct obj_call *call, bool is_marker, struct obj_key *key)
{
	obj_name_key(call, is_marker ? OBJ_SPACE_MARKERS : OBJ_SPACE_CURRENT, key);
}

/* In the order of time where clocks allow it, and in any case behind what is there. */
static uint64_t version_next(const struct obj_call *call)
{
	uint64_t version = call->engine->worker->wall_ms << 20;

	version |= call->engine->number_next & ((1 << 20) - 1);
	return version > call->head_record.version ? version : call->head_record.version + 1;
}

bool obj_made_set(struct obj_call *call, const struct obj_put *put)
{
	uint32_t locks = put->flags & (OBJ_GOVERNANCE | OBJ_COMPLIANCE | OBJ_HOLD);

	if (locks != 0 && !call->seal.locks) {
		obj_call_finish(call, STATUS_INVALID, OBJ_STATE);
		return false;
	}
	call->made = (struct obj_record){
		.flags = (uint16_t)locks,
		.version = version_next(call),
		.created_ms = call->engine->worker->wall_ms,
		.retain_until_ms = put->retain_until_ms,
		.etag = put->etag,
		.brief = put->brief,
		.attributes = put->attributes,
	};
	if (call->seal.versioning != OBJ_VERSIONING_ON)
		call->made.flags |= OBJ_IS_NULL;
	return true;
}

static void null_fetched(struct obj_call *call)
{
	if (call->other.version != 0 &&
	    obj_record_decode(obj_fetched_bytes(&call->other), &call->other_record) != STATUS_OK)
		obj_call_finish(call, STATUS_CORRUPT, 0);
	else
		call->version_next(call);
}

void obj_call_null(struct obj_call *call, obj_step_fn *next)
{
	const struct obj_record *head = &call->head_record;

	call->other.version = 0;
	if (call->seal.versioning != OBJ_VERSIONING_SUSPENDED || head->null_version == 0 ||
	    (head->flags & OBJ_IS_NULL)) {
		next(call);
		return;
	}
	call->version_next = next;
	obj_version_key(call, head->null_version, &call->key);
	obj_call_fetch(call, &call->other, null_fetched);
}

/* The newest so far is kept among the older ones. */
static void retire_head(struct obj_call *call)
{
	const struct obj_record *head = &call->head_record;
	struct obj_key key;

	if (call->seal.versioning == OBJ_VERSIONING_ON)
		call->made.null_version =
		        head->flags & OBJ_IS_NULL ? head->version : head->null_version;
	obj_record_retire(call->head.buf->data);
	obj_version_key(call, head->version, &key);
	obj_change_put(call, &key, obj_fetched_bytes(&call->head), OBJ_ANY);
	if (call->other.version == 0)
		return;
	obj_version_key(call, head->null_version, &key);
	obj_change_delete(call, &key, call->other.version);
	obj_change_drop_data(call, call->partition, &call->other_record);
}

static void replace_head(struct obj_call *call)
{
	const struct obj_record *head = &call->head_record;
	struct obj_key key;

	if (head->flags & OBJ_HAS_COPY) {
		obj_version_key(call, head->version, &key);
		obj_change_delete(call, &key, OBJ_ANY);
	}
	obj_change_drop_data(call, call->partition, head);
}

bool obj_change_head(struct obj_call *call)
{
	const struct obj_record *head = &call->head_record;
	bool was = call->head.version != 0;
	bool marks = call->made.flags & OBJ_IS_MARKER;
	bool keeps = call->seal.versioning != OBJ_VERSIONING_OFF;
	bool replaces = !keeps || (call->seal.versioning == OBJ_VERSIONING_SUSPENDED &&
	                           (head->flags & OBJ_IS_NULL));
	struct obj_key key;
	size_t size;

	if (was && replaces && obj_is_locked(call, head)) {
		obj_call_finish(call, STATUS_DENIED, 0);
		return false;
	}
	obj_change_check_seal(call);
	if (was && replaces)
		replace_head(call);
	else if (was)
		retire_head(call);
	if (!obj_call_work(call, &call->made_buf, obj_record_size(&call->made)))
		return false;
	size = obj_record_encode(&call->made, call->made_buf->data);
	obj_head_key(call, marks, &key);
	obj_change_put(call, &key, bytes_of(call->made_buf->data, size),
	               was && call->head_is_marker == marks ? call->head.version : 0);
	obj_head_key(call, !marks, &key);
	if (was && call->head_is_marker != marks)
		obj_change_delete(call, &key, call->head.version);
	else if (!was && keeps)
		obj_change_check(call, &key, 0);
	return true;
}

void obj_change_contents(struct obj_call *call, bool may_inline)
{
	struct obj_trash trash;
	struct obj_handle *h = call->handle;
	struct obj_key key;

	call->made.size = h->size;
	call->made.data = OBJ_DATA_NONE;
	if (h->size == 0)
		return;
	if (h->blob == 0 && may_inline && h->size <= OBJ_INLINE_MAX) {
		call->made.data = OBJ_DATA_INLINE;
		call->made.contents = h->held;
		return;
	}
	call->made.data = OBJ_DATA_EXTENTS;
	call->made.data_id = h->data_id;
	call->made.extent_shift = h->extent_shift;
	obj_data_key(h->data_id, h->extent, &key);
	if (h->blob != 0) {
		assert(h->held.size == 0);
		obj_change_put_blob(call, &key, h->blob);
	} else {
		assert(h->held.size == h->size && h->extent == 0);
		obj_change_put(call, &key, h->held, OBJ_ANY);
	}
	if (!h->intent)
		return;
	trash.id = h->data_id;
	obj_key_begin(&key, OBJ_SPACE_TRASH, obj_data_partition(h->data_id), trash.id >> 16);
	obj_change_delete(call, &key, OBJ_ANY);
}

/* COMMIT. */

void obj_call_made(struct obj_call *call, uint64_t result)
{
	struct obj_handle *h = call->handle;

	if (h->upload != 0)
		obj_call_visit_part(call, &call->made, 0);
	else
		obj_call_visit_version(call, &call->made, /* latest= */ true);
	h->blob = 0; /* it is the version's */
	h->intent = false;
	call->handle = NULL;
	call->owns_handle = false;
	obj_handle_free(call->engine, h);
	obj_call_finish(call, STATUS_OK, result);
}

static void committed(struct obj_call *call)
{
	if (!obj_call_failed(call))
		obj_call_made(call, call->made.version);
}

static void commit_null(struct obj_call *call)
{
	if (!obj_change_begin(call) || !obj_made_set(call, call->cmd.put))
		return;
	obj_change_contents(call, /* may_inline= */ true);
	if (obj_change_head(call))
		obj_change_submit(call, committed);
}

static void commit_head(struct obj_call *call)
{
	if (obj_call_condition(call, &call->cmd.put->condition))
		obj_call_null(call, commit_null);
}

static void commit_sealed(struct obj_call *call)
{
	obj_call_head(call, commit_head);
}

static void commit_placed(struct obj_call *call)
{
	if (call->handle->upload != 0)
		obj_part_commit(call);
	else
		obj_call_seal(call, commit_sealed);
}

static void commit_decide(struct obj_call *call)
{
	obj_call_bucket(call, commit_placed);
}

static void commit_numbered(struct obj_call *call)
{
	struct obj_handle *h = call->handle;

	if (h->data_id == 0)
		h->data_id =
		        obj_data_id(obj_number_take(call->engine),
		                    (h->partition + h->part) % call->engine->kv->traits.partitions);
	commit_decide(call);
}

static void commit_flushed(struct obj_call *call)
{
	obj_call_numbers(call, 1, commit_numbered);
}

static void commit_contents(struct obj_call *call)
{
	struct obj_handle *h = call->handle;

	call->again = commit_decide;
	if (h->blob != 0 || h->size > OBJ_PACKED_MAX)
		obj_call_flush(call, commit_flushed);
	else
		commit_flushed(call);
}

void obj_commit(struct obj_call *call)
{
	struct obj_handle *h = obj_call_handle(call, OBJ_HANDLE_WRITES);

	if (h == NULL)
		return;
	if (h->failed != STATUS_OK) {
		obj_call_finish(call, h->failed, 0);
		return;
	}
	call->cmd.bucket = bytes_of(h->bucket, h->bucket_size);
	call->cmd.name = bytes_of(h->name, h->name_size);
	call->cmd.upload = h->upload;
	call->cmd.part = h->part;
	commit_contents(call);
}

static void put_placed(struct obj_call *call)
{
	if (!obj_call_create(call))
		return;
	call->handle->partition = call->partition;
	call->handle->held = call->cmd.value;
	call->handle->size = call->cmd.value.size;
	commit_contents(call);
}

void obj_put(struct obj_call *call)
{
	obj_call_bucket(call, put_placed);
}
