/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where versions are. The newest of a name is in CURRENT, or in MARKERS if it is a marker; the
 * older ones are in VERSIONS, newest first. The newest says which of the older ones is the null
 * version.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

void obj_name_key(const struct obj_call *call, enum obj_space space, struct obj_key *key)
{
	obj_key_begin(key, space, call->partition, call->bucket_id);
	obj_key_add(key, call->cmd.name);
}

void obj_version_key(const struct obj_call *call, uint64_t version, struct obj_key *key)
{
	obj_name_key(call, OBJ_SPACE_VERSIONS, key);
	obj_key_add_version(key, version);
}

void obj_data_key(uint64_t data_id, uint32_t extent, struct obj_key *key)
{
	obj_key_begin(key, OBJ_SPACE_DATA, obj_data_partition(data_id), data_id);
	obj_key_add_number(key, extent, 4);
}

static bool decode(struct obj_call *call, const struct obj_fetched *fetched,
                   struct obj_record *record)
{
	if (obj_record_decode(obj_fetched_bytes(fetched), record) == STATUS_OK)
		return true;
	obj_call_finish(call, STATUS_CORRUPT, 0);
	return false;
}

static void marker_fetched(struct obj_call *call)
{
	call->head_is_marker = call->head.version != 0;
	if (call->head_is_marker && !decode(call, &call->head, &call->head_record))
		return;
	call->version_next(call);
}

static void current_fetched(struct obj_call *call)
{
	if (call->head.version != 0) {
		if (decode(call, &call->head, &call->head_record))
			call->version_next(call);
		return;
	}
	/* A seal that was read says that nothing here ever had versions. */
	if (call->seal_version != 0 && call->seal.versioning == OBJ_VERSIONING_OFF) {
		call->version_next(call);
		return;
	}
	obj_name_key(call, OBJ_SPACE_MARKERS, &call->key);
	obj_call_fetch(call, &call->head, marker_fetched);
}

void obj_call_head(struct obj_call *call, obj_step_fn *next)
{
	call->version_next = next;
	call->head_is_marker = false;
	call->head_record = (struct obj_record){ .size = 0 };
	obj_name_key(call, OBJ_SPACE_CURRENT, &call->key);
	obj_call_fetch(call, &call->head, current_fetched);
}

bool obj_command_names_version(const struct obj_cmd *cmd)
{
	return cmd->version != 0 || (cmd->flags & OBJ_NULL_VERSION);
}

static bool is_wanted(const struct obj_cmd *cmd, const struct obj_record *record)
{
	if (cmd->flags & OBJ_NULL_VERSION)
		return record->flags & OBJ_IS_NULL;
	return cmd->version == 0 || record->version == cmd->version;
}

static void version_fetched(struct obj_call *call)
{
	if (call->other.version == 0 || decode(call, &call->other, &call->other_record))
		call->version_next(call);
}

void obj_call_locate(struct obj_call *call, obj_step_fn *next)
{
	const struct obj_cmd *cmd = &call->cmd;
	uint64_t version =
	        cmd->flags & OBJ_NULL_VERSION ? call->head_record.null_version : cmd->version;

	call->version_next = next;
	call->other.version = 0;
	if (call->head.version == 0 || is_wanted(cmd, &call->head_record) || version == 0) {
		next(call);
		return;
	}
	obj_version_key(call, version, &call->key);
	obj_call_fetch(call, &call->other, version_fetched);
}

const struct obj_record *obj_located(const struct obj_call *call)
{
	if (call->head.version != 0 && is_wanted(&call->cmd, &call->head_record))
		return &call->head_record;
	if (call->other.version != 0 && is_wanted(&call->cmd, &call->other_record))
		return &call->other_record;
	return NULL;
}

/* The way of commands that read a version. */

static void version_placed(struct obj_call *call);

static void version_located(struct obj_call *call)
{
	const struct obj_record *record = obj_located(call);
	bool named = obj_command_names_version(&call->cmd);

	if (record == NULL && !call->bucket_is_fresh) {
		/* Perhaps this is another bucket by now, or none. */
		obj_call_bucket_record(call, version_placed);
	} else if (record == NULL) {
		obj_call_not_found(call, named ? OBJ_NO_VERSION : OBJ_NO_NAME);
	} else if (record->flags & OBJ_IS_MARKER) {
		obj_call_visit_version(call, record, record == &call->head_record);
		obj_call_not_found(call, named ? OBJ_NO_VERSION : OBJ_NO_NAME);
	} else {
		call->data_next(call);
	}
}

static void version_head(struct obj_call *call)
{
	obj_call_locate(call, version_located);
}

static void version_placed(struct obj_call *call)
{
	obj_call_head(call, version_head);
}

void obj_call_version(struct obj_call *call, obj_step_fn *next)
{
	call->data_next = next;
	obj_call_bucket(call, version_placed);
}

static void head_found(struct obj_call *call)
{
	const struct obj_record *record = obj_located(call);

	obj_call_visit_version(call, record, record == &call->head_record);
	obj_call_finish(call, STATUS_OK, record->version);
}

void obj_head(struct obj_call *call)
{
	obj_call_version(call, head_found);
}

bool obj_call_condition(struct obj_call *call, const struct obj_condition *condition)
{
	const struct obj_record *head = &call->head_record;
	bool present = call->head.version != 0 && !call->head_is_marker;
	bool holds = true;

	if (condition->flags == 0)
		return true;
	if (condition->flags & OBJ_IF_ABSENT) {
		holds = !present;
	} else if (condition->flags & OBJ_IF_OTHER_ETAG) {
		holds = !present || !bytes_equal(head->etag, condition->etag);
	} else if (!present) {
		obj_call_not_found(call, OBJ_NO_NAME);
		return false;
	}
	if (condition->flags & OBJ_IF_ETAG)
		holds = holds && bytes_equal(head->etag, condition->etag);
	if (condition->flags & OBJ_IF_VERSION)
		holds = holds && head->version == condition->version;
	if (condition->flags & OBJ_IF_SIZE)
		holds = holds && head->size == condition->size;
	if (condition->flags & OBJ_IF_CREATED)
		holds = holds && head->created_ms / 1000 == condition->created_ms / 1000;
	if (!holds)
		obj_call_finish(call, STATUS_CONFLICT, 0);
	return holds;
}
