/* SPDX-License-Identifier: Apache-2.0 */
/* PARTS: of what an object was made, by its manifest and the records of its parts. */
#include "base/assert.h"
#include "engine/obj_state.h"

static void parts_next(struct obj_call *call);

/* call->progress: entries of the manifest passed; number: entries told. */
static void part_fetched(struct obj_call *call)
{
	struct obj_manifest_entry entry, before = { .end = 0 };
	uint32_t index = (uint32_t)(call->progress % OBJ_MANIFEST_PARTS);

	if (call->other.version == 0 ||
	    obj_record_decode(obj_fetched_bytes(&call->other), &call->other_record) != STATUS_OK) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	}
	obj_manifest_get(call->manifest->data, index, &entry);
	if (entry.end < call->other_record.size) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	}
	before.end = entry.end - call->other_record.size;
	obj_call_visit_part(call, &call->other_record, before.end);
	call->progress++;
	call->number++;
	parts_next(call);
}

static void manifest_fetched(struct obj_call *call)
{
	if (call->other.version == 0) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	}
	call->manifest = call->other.buf;
	call->manifest->used = call->other.size;
	call->other.buf = NULL;
	parts_next(call);
}

static void manifest_fetch(struct obj_call *call, uint32_t index)
{
	if (call->manifest != NULL)
		buf_unref(call->manifest);
	call->manifest = NULL;
	call->manifest_index = index;
	obj_manifest_key(call->partition, call->made.data_id, index, &call->key);
	obj_call_fetch(call, &call->other, manifest_fetched);
}

static void parts_next(struct obj_call *call)
{
	struct obj_manifest_entry entry;

	for (; call->progress < call->made.part_count; call->progress++) {
		uint32_t record = (uint32_t)(call->progress / OBJ_MANIFEST_PARTS);
		uint32_t index = (uint32_t)(call->progress % OBJ_MANIFEST_PARTS);

		if (call->manifest == NULL || call->manifest_index != record) {
			manifest_fetch(call, record);
			return;
		}
		if ((size_t)(index + 1) * OBJ_MANIFEST_ENTRY > call->manifest->used) {
			obj_call_finish(call, STATUS_CORRUPT, 0);
			return;
		}
		obj_manifest_get(call->manifest->data, index, &entry);
		if (entry.number > call->cmd.list->after_id)
			break;
	}
	if (call->progress >= call->made.part_count || call->number == call->cmd.list->limit) {
		obj_call_finish(call, STATUS_OK, call->progress < call->made.part_count);
		return;
	}
	obj_part_key(call, call->made.data_id, entry.number, &call->key);
	obj_call_fetch(call, &call->other, part_fetched);
}

static void parts_found(struct obj_call *call)
{
	const struct obj_record *record = obj_located(call);

	if (record->data != OBJ_DATA_PARTS) {
		obj_call_finish(call, STATUS_OK, 0);
		return;
	}
	call->made.data_id = record->data_id;
	call->made.part_count = record->part_count;
	parts_next(call);
}

void obj_parts(struct obj_call *call)
{
	obj_call_version(call, parts_found);
}
