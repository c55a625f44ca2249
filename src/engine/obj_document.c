/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of buckets: opaque, by number; large ones are blobs. */
#include "base/assert.h"
#include "engine/obj_state.h"

void obj_document_key(uint64_t bucket_id, unsigned number, struct obj_key *key)
{
	obj_key_begin(key, OBJ_SPACE_DOCUMENTS, 0, bucket_id);
	obj_key_add_number(key, number, 1);
}

static void document_stored(struct obj_call *call)
{
	if (call->req.status == STATUS_OK)
		call->blob = 0; /* it is the value now */
	if (!obj_call_failed(call))
		obj_call_finish(call, STATUS_OK, 0);
}

static void document_looked(struct obj_call *call)
{
	uint32_t bit = 1u << call->cmd.part;
	struct obj_bucket_record record;
	struct obj_key key;

	if (!obj_call_bucket_decode(call, &record))
		return;
	if (obj_bucket_is_closed(call, &record)) {
		obj_call_finish(call, STATUS_BUSY, 0);
		return;
	}
	if (call->cmd.value.size > 0)
		record.documents |= bit;
	else
		record.documents &= ~bit;
	if (!obj_change_bucket(call, &record, /* seals= */ false))
		return;
	obj_document_key(record.id, call->cmd.part, &key);
	if (call->cmd.value.size == 0)
		obj_change_delete(call, &key, OBJ_ANY);
	else if (call->blob != 0)
		obj_change_put_blob(call, &key, call->blob);
	else
		obj_change_put(call, &key, call->cmd.value, OBJ_ANY);
	obj_change_submit(call, document_stored);
}

static void document_decide(struct obj_call *call)
{
	call->again = document_decide;
	obj_call_bucket_record(call, document_looked);
}

static void document_written(struct obj_call *call)
{
	call->blob = call->req.result;
	if (!obj_call_failed(call))
		document_decide(call);
}

void obj_document_put(struct obj_call *call)
{
	struct kv_cmd cmd = { .op = KV_BLOB_WRITE, .partition = 0, .value = call->cmd.value };

	if (call->cmd.value.size <= KV_INLINE_MAX)
		document_decide(call);
	else
		obj_call_kv(call, &cmd, document_written);
}

static void document_fetched(struct obj_call *call)
{
	struct obj_entry entry = { .kind = OBJ_DOCUMENT };

	if (call->head.version == 0) { /* it was removed since */
		obj_call_not_found(call, OBJ_NO_DOCUMENT);
		return;
	}
	entry.document = obj_fetched_bytes(&call->head);
	obj_call_visit(call, &entry);
	obj_call_finish(call, STATUS_OK, 0);
}

static void document_wanted(struct obj_call *call)
{
	struct obj_bucket_record record;

	if (!obj_call_bucket_decode(call, &record))
		return;
	if (!(record.documents & 1u << call->cmd.part)) {
		obj_call_not_found(call, OBJ_NO_DOCUMENT);
		return;
	}
	obj_document_key(record.id, call->cmd.part, &call->key);
	call->head.load = true;
	obj_call_fetch(call, &call->head, document_fetched);
}

void obj_document_get(struct obj_call *call)
{
	obj_call_bucket_record(call, document_wanted);
}
