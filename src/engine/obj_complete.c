/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upload becomes an object: its parts stay where they are, and a manifest says where in the
 * object each begins. What was put but is not named is left to the collector.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

enum { ATTRIBUTES_AT = 32 << 10 }; /* in the made buffer, behind the record */

static void completed(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	obj_call_visit_version(call, &call->made, /* latest= */ true);
	obj_call_finish(call, STATUS_OK, call->made.version);
}

/* What UPLOAD_CREATE said of the object, and what is said now. False: the call was finished. */
static bool complete_made(struct obj_call *call)
{
	const struct obj_record *upload = &call->upload_record;
	const struct obj_put *put = call->cmd.put;
	struct obj_attributes merged = { .size_max = OBJ_ATTRIBUTES_MAX };
	struct obj_put said = {
		.etag = put->etag.size > 0 ? put->etag : upload->etag,
		.brief = put->brief.size > 0 ? put->brief : upload->brief,
		.flags = upload->flags & (OBJ_GOVERNANCE | OBJ_COMPLIANCE | OBJ_HOLD),
		.retain_until_ms = upload->retain_until_ms,
	};

	if (!obj_call_work(call, &call->made_buf, ATTRIBUTES_AT + OBJ_ATTRIBUTES_MAX))
		return false;
	merged.data = call->made_buf->data + ATTRIBUTES_AT;
	if (!obj_attributes_merge(&merged, upload->attributes, put->attributes)) {
		obj_call_finish(call, STATUS_TOO_LARGE, 0);
		return false;
	}
	said.attributes = bytes_of(merged.data, merged.size);
	return obj_made_set(call, &said);
}

static void add_manifests(struct obj_call *call, uint32_t count)
{
	uint32_t records = (count + OBJ_MANIFEST_PARTS - 1) / OBJ_MANIFEST_PARTS;
	uint8_t *ends = obj_change_memory(call, 8 * (size_t)records);
	struct obj_manifest_entry last = { .end = 0 };
	struct obj_key key;

	for (uint32_t i = 0; i < records; i++) {
		uint32_t first = i * OBJ_MANIFEST_PARTS;
		uint32_t here =
		        count - first < OBJ_MANIFEST_PARTS ? count - first : OBJ_MANIFEST_PARTS;
		const uint8_t *data = call->manifest->data + (size_t)first * OBJ_MANIFEST_ENTRY;

		obj_manifest_get(data, here - 1, &last);
		memcpy(ends + 8 * (size_t)i, &last.end, 8);
		obj_manifest_key(call->partition, call->cmd.upload, i, &key);
		obj_change_put(call, &key, bytes_of(data, (size_t)here * OBJ_MANIFEST_ENTRY),
		               OBJ_ANY);
	}
	call->made.ends = bytes_of(ends, 8 * (size_t)records);
	call->made.size = last.end;
}

static void complete_null(struct obj_call *call)
{
	struct obj_trash rest = { .kind = OBJ_TRASH_REST, .id = call->cmd.upload };
	struct obj_key key;

	if (!obj_change_begin(call) || !complete_made(call))
		return;
	call->made.data = OBJ_DATA_PARTS;
	call->made.data_id = call->cmd.upload;
	call->made.part_count = call->cmd.complete->count;
	add_manifests(call, call->made.part_count);
	obj_upload_key(call, call->cmd.upload, &key);
	obj_change_delete(call, &key, call->upload.version);
	rest.part_count = call->made.part_count;
	if (call->flag)
		obj_change_trash(call, call->partition, &rest);
	if (obj_change_head(call))
		obj_change_submit(call, completed);
}

static void complete_head(struct obj_call *call)
{
	if (obj_call_condition(call, &call->cmd.put->condition))
		obj_call_null(call, complete_null);
}

/*
 * The parts in their order, against those that are named. Where the keys' owner is: it touches the
 * call alone. call->progress: parts that fit so far; flag: some are not named; ending: it is over.
 */
static void part_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_call *call = visitor;
	const struct obj_complete *complete = call->cmd.complete;
	const struct obj_complete_part *wanted = &complete->parts[call->progress];
	struct obj_manifest_entry made = { .end = call->number };
	struct obj_record part;

	(void)edit;
	if (call->ending != STATUS_OK)
		return;
	if (obj_record_decode(entry->value, &part) != STATUS_OK) {
		call->ending = STATUS_CORRUPT;
		return;
	}
	if (call->progress == complete->count || part.version < wanted->number) {
		call->flag = true;
		return;
	}
	if (part.version > wanted->number || !bytes_equal(part.etag, wanted->etag)) {
		call->ending = STATUS_INVALID;
		call->ending_result = OBJ_PART_UNKNOWN;
		return;
	}
	if (part.size < complete->size_min && call->progress + 1 < complete->count) {
		call->ending = STATUS_INVALID;
		call->ending_result = OBJ_PART_SMALL;
		return;
	}
	made.end += part.size;
	made.data_id = part.data_id;
	made.number = wanted->number;
	made.extent_shift = part.extent_shift;
	obj_manifest_put(call->manifest->data, (uint32_t)call->progress, &made);
	call->number = made.end;
	call->progress++;
}

static void parts_seen(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	if (call->ending == STATUS_OK && call->progress < call->cmd.complete->count) {
		call->ending = STATUS_INVALID;
		call->ending_result = OBJ_PART_UNKNOWN;
	}
	if (call->ending == STATUS_OK && call->number > OBJ_SIZE_MAX)
		call->ending = STATUS_TOO_LARGE;
	if (call->ending != STATUS_OK)
		obj_call_finish(call, call->ending, call->ending_result);
	else
		obj_call_head(call, complete_head);
}

static void complete_upload(struct obj_call *call)
{
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_SCAN_PARTITION,
		.partition = (uint16_t)call->partition,
		.limit = OBJ_PARTS_MAX + 1,
		.visit = part_visit,
		.visitor = call,
	};
	struct obj_key end;

	if (!obj_change_begin(call) ||
	    !obj_call_work(call, &call->manifest,
	                   (size_t)call->cmd.complete->count * OBJ_MANIFEST_ENTRY))
		return;
	call->progress = 0;
	call->number = 0;
	call->flag = false;
	call->ending = STATUS_OK;
	obj_part_key(call, call->cmd.upload, 0, &call->key);
	obj_part_key(call, call->cmd.upload, UINT16_MAX, &end);
	memcpy(call->work->data, end.data, end.size);
	cmd.key = obj_key_bytes(&call->key);
	cmd.end = bytes_of(call->work->data, end.size);
	obj_call_kv(call, &cmd, parts_seen);
}

static void complete_sealed(struct obj_call *call)
{
	obj_call_upload(call, complete_upload);
}

static void complete_placed(struct obj_call *call)
{
	obj_call_seal(call, complete_sealed);
}

static void complete_decide(struct obj_call *call)
{
	obj_call_bucket(call, complete_placed);
}

void obj_upload_complete(struct obj_call *call)
{
	const struct obj_complete *complete = call->cmd.complete;

	call->again = complete_decide;
	for (uint32_t i = 0; i < complete->count; i++) {
		if (complete->parts[i].number <= (i == 0 ? 0 : complete->parts[i - 1].number) ||
		    complete->parts[i].number > OBJ_PARTS_MAX) {
			obj_call_finish(call, STATUS_INVALID, OBJ_PART_ORDER);
			return;
		}
	}
	if (complete->count == 0)
		obj_call_finish(call, STATUS_INVALID, OBJ_PART_ORDER);
	else
		complete_decide(call);
}
