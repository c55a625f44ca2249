/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DELETE of a name or of a version, and UPDATE of what is known of a version. Where the newest
 * version is removed the one before it takes its place; its record among the older ones stays as
 * it is, so that a list that goes over both never misses it.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

static void nothing_there(struct obj_call *call)
{
	if (call->bucket_is_fresh) {
		obj_call_finish(call, STATUS_OK, OBJ_WAS_ABSENT);
		return;
	}
	obj_bucket_forget(call->engine, call->cmd.bucket);
	call->again(call);
}

static void removed(struct obj_call *call)
{
	const struct obj_record *record = call->progress ? &call->head_record : &call->other_record;

	if (obj_call_failed(call))
		return;
	obj_call_visit_version(call, record, call->progress);
	obj_call_finish(call, STATUS_OK, OBJ_REMOVED);
}

static void marked(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	obj_call_visit_version(call, &call->made, /* latest= */ true);
	obj_call_finish(call, STATUS_OK, OBJ_MARKED);
}

/* Without versioning: the name goes. call->progress: it is the newest that is removed. */
static void delete_only(struct obj_call *call)
{
	struct obj_key key;

	if (call->head.version == 0) {
		nothing_there(call);
		return;
	}
	if (obj_is_locked(call, &call->head_record)) {
		obj_call_finish(call, STATUS_DENIED, 0);
		return;
	}
	if (!obj_change_begin(call))
		return;
	call->progress = 1;
	obj_change_check_seal(call);
	obj_head_key(call, call->head_is_marker, &key);
	obj_change_delete(call, &key, call->head.version);
	obj_change_drop_data(call, call->partition, &call->head_record);
	obj_change_submit(call, removed);
}

static void delete_null(struct obj_call *call)
{
	static const struct obj_put nothing = { .flags = 0 };

	if (!obj_change_begin(call) || !obj_made_set(call, &nothing))
		return;
	call->made.flags |= OBJ_IS_MARKER;
	if (obj_change_head(call))
		obj_change_submit(call, marked);
}

/* A version of its own. */

static void remove_older(struct obj_call *call)
{
	const struct obj_record *record = &call->other_record;
	struct obj_key key;

	call->progress = 0;
	obj_version_key(call, record->version, &key);
	obj_change_delete(call, &key, call->other.version);
	obj_change_drop_data(call, call->partition, record);
	/* Nobody makes it the newest meanwhile. */
	obj_head_key(call, call->head_is_marker, &key);
	if (call->head_record.null_version == record->version) {
		obj_record_set_null(call->head.buf->data, 0);
		obj_change_put(call, &key, obj_fetched_bytes(&call->head), call->head.version);
	} else {
		obj_change_check(call, &key, call->head.version);
	}
	obj_change_submit(call, removed);
}

/* The newest of the older ones, but for a copy of the newest. Where the key's owner is. */
static void heir_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_call *call = visitor;
	uint64_t version;

	(void)edit;
	obj_key_numbered_name(entry->key, &version);
	if (call->other.version != 0 || version == call->head_record.version)
		return;
	call->other.version = entry->version;
	call->other.size = 0;
	if (entry->value.size > call->other.buf->size)
		return;
	memcpy(call->other.buf->data, entry->value.data, entry->value.size);
	call->other.size = (uint32_t)entry->value.size;
}

/* other_record takes the place of the newest, if there is one. */
static void remove_newest(struct obj_call *call)
{
	const struct obj_record *head = &call->head_record, *heir = &call->other_record;
	bool marks = heir->flags & OBJ_IS_MARKER;
	uint64_t null_version = heir->flags & OBJ_IS_NULL ? 0 : head->null_version;
	struct obj_key key;

	if (!obj_change_begin(call))
		return;
	call->progress = 1;
	if (head->flags & OBJ_HAS_COPY) {
		obj_version_key(call, head->version, &key);
		obj_change_delete(call, &key, OBJ_ANY);
	}
	obj_change_drop_data(call, call->partition, head);
	if (call->other.version != 0) {
		obj_version_key(call, heir->version, &key);
		obj_change_check(call, &key, call->other.version);
		obj_record_promote(call->other.buf->data, null_version);
		obj_head_key(call, marks, &key);
		obj_change_put(call, &key, obj_fetched_bytes(&call->other),
		               marks == call->head_is_marker ? call->head.version : 0);
	}
	obj_head_key(call, call->head_is_marker, &key);
	if (call->other.version == 0 || marks != call->head_is_marker)
		obj_change_delete(call, &key, call->head.version);
	obj_change_submit(call, removed);
}

static void heir_found(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	if (call->other.version != 0 &&
	    obj_record_decode(obj_fetched_bytes(&call->other), &call->other_record) != STATUS_OK)
		obj_call_finish(call, STATUS_CORRUPT, 0);
	else
		remove_newest(call);
}

static void find_heir(struct obj_call *call)
{
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_SCAN_PARTITION,
		.partition = (uint16_t)call->partition,
		.limit = 2,
		.visit = heir_visit,
		.visitor = call,
	};
	struct obj_key end;

	call->other.version = 0;
	call->other_record = (struct obj_record){ .size = 0 };
	if (!obj_call_work(call, &call->other.buf, OBJ_RECORD_MAX))
		return;
	obj_name_key(call, OBJ_SPACE_VERSIONS, &call->key);
	obj_key_add_number(&call->key, 0, 1);
	end = call->key;
	obj_key_skip(&end);
	memcpy(call->work->data, end.data, end.size);
	cmd.key = obj_key_bytes(&call->key);
	cmd.end = bytes_of(call->work->data, end.size);
	obj_call_kv(call, &cmd, heir_found);
}

static void delete_located(struct obj_call *call)
{
	const struct obj_record *record = obj_located(call);

	if (record == NULL) {
		nothing_there(call);
		return;
	}
	if (obj_is_locked(call, record)) {
		obj_call_finish(call, STATUS_DENIED, 0);
		return;
	}
	if (!obj_change_begin(call))
		return;
	if (record == &call->other_record)
		remove_older(call);
	else
		find_heir(call);
}

static void delete_head(struct obj_call *call)
{
	const struct obj_put *put = call->cmd.put;

	if (put != NULL && !obj_call_condition(call, &put->condition))
		return;
	if (obj_command_names_version(&call->cmd))
		obj_call_locate(call, delete_located);
	else if (call->seal.versioning == OBJ_VERSIONING_OFF)
		delete_only(call);
	else
		obj_call_null(call, delete_null);
}

static void delete_sealed(struct obj_call *call)
{
	obj_call_head(call, delete_head);
}

static void delete_placed(struct obj_call *call)
{
	obj_call_seal(call, delete_sealed);
}

void obj_delete(struct obj_call *call)
{
	call->again = obj_delete;
	obj_call_bucket(call, delete_placed);
}

/* UPDATE. */

/* What a lock in force allows: nothing shorter, nothing weaker, unless governance is bypassed. */
static bool may_retain(const struct obj_call *call, const struct obj_record *record)
{
	const uint32_t modes = OBJ_GOVERNANCE | OBJ_COMPLIANCE;
	const struct obj_put *put = call->cmd.put;

	if (record->retain_until_ms <= call->number) /* now */
		return true;
	if ((record->flags & modes) == (put->flags & modes) &&
	    put->retain_until_ms >= record->retain_until_ms)
		return true;
	return (record->flags & OBJ_GOVERNANCE) && (call->cmd.flags & OBJ_BYPASS_GOVERNANCE);
}

/* Where the key's owner is; reads the call, which nobody else touches meanwhile. */
static void update_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	const struct obj_call *call = visitor;
	const struct obj_put *put = call->cmd.put;
	struct obj_attributes merged = { .data = call->made_buf->data,
		                         .size_max = OBJ_ATTRIBUTES_MAX };
	struct obj_record record;

	edit->status = STATUS_NOT_FOUND;
	if (entry->version == 0)
		return;
	edit->status = obj_record_decode(entry->value, &record);
	if (edit->status != STATUS_OK)
		return;
	edit->status = STATUS_NOT_FOUND;
	if (record.version != call->made.version)
		return;
	edit->status = STATUS_DENIED;
	if ((call->cmd.flags & OBJ_SET_RETENTION) && !may_retain(call, &record))
		return;
	edit->status = STATUS_TOO_LARGE;
	if (!obj_attributes_merge(&merged, record.attributes, put->attributes))
		return;
	record.attributes = bytes_of(merged.data, merged.size);
	if (call->cmd.flags & OBJ_SET_RETENTION) {
		record.flags &= (uint16_t) ~(OBJ_GOVERNANCE | OBJ_COMPLIANCE);
		record.flags |= put->flags & (OBJ_GOVERNANCE | OBJ_COMPLIANCE);
		record.retain_until_ms = put->retain_until_ms;
	}
	if (call->cmd.flags & OBJ_SET_HOLD)
		record.flags = (uint16_t)((record.flags & ~OBJ_HOLD) | (put->flags & OBJ_HOLD));
	edit->status = STATUS_OK;
	edit->action = KV_STORE;
	edit->value = bytes_of(edit->scratch, obj_record_encode(&record, edit->scratch));
}

static void updated(struct obj_call *call)
{
	if (call->req.status == STATUS_NOT_FOUND) {
		obj_call_again(call); /* it has moved */
	} else if (!obj_call_failed(call)) {
		obj_call_visit_version(call, obj_located(call), call->progress);
		obj_call_finish(call, STATUS_OK, call->made.version);
	}
}

/* call->progress: it is the newest version. */
static void update_store(struct obj_call *call)
{
	struct kv_cmd cmd = { .op = KV_UPDATE, .visit = update_visit, .visitor = call };

	if (!obj_call_work(call, &call->made_buf, OBJ_ATTRIBUTES_MAX))
		return;
	if (call->progress)
		obj_name_key(call, OBJ_SPACE_CURRENT, &call->key);
	else
		obj_version_key(call, call->made.version, &call->key);
	cmd.key = obj_key_bytes(&call->key);
	obj_call_kv(call, &cmd, updated);
}

static void update_sealed(struct obj_call *call)
{
	if (call->seal.locks)
		update_store(call);
	else
		obj_call_finish(call, STATUS_INVALID, OBJ_STATE);
}

static void update_found(struct obj_call *call)
{
	const struct obj_record *record = obj_located(call);

	call->progress = record == &call->head_record;
	call->made.version = record->version;
	call->number = call->engine->worker->wall_ms;
	if (call->cmd.flags & (OBJ_SET_RETENTION | OBJ_SET_HOLD))
		obj_call_seal(call, update_sealed);
	else
		update_store(call);
}

void obj_update(struct obj_call *call)
{
	call->again = obj_update;
	obj_call_version(call, update_found);
}
