/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a call. Each command to the kv names the step that goes on with its answer; what a
 * visit of the kv sees is copied, because it may run on another worker.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/obj_state.h"

struct kv_frame {
	struct frame frame;
	struct obj_call *call;
};

static void kv_answered(struct req *req)
{
	struct obj_call *call = req_pop(req, struct kv_frame)->call;

	call->next(call);
}

void obj_call_kv(struct obj_call *call, const struct kv_cmd *cmd, obj_step_fn *next)
{
	call->next = next;
	req_init(&call->req, call->engine->worker);
	req_push(&call->req, struct kv_frame, kv_answered)->call = call;
	kv_submit(call->engine->kv, &call->req, cmd);
}

bool obj_call_failed(struct obj_call *call)
{
	if (call->req.status == STATUS_OK)
		return false;
	obj_call_finish(call, call->req.status, 0);
	return true;
}

bool obj_call_work(struct obj_call *call, struct buf **buf, size_t size)
{
	if (*buf != NULL && (*buf)->size >= size)
		return true;
	if (*buf != NULL)
		buf_unref(*buf);
	*buf = buf_get(call->engine->bufs, size);
	if (*buf != NULL)
		return true;
	obj_call_finish(call, STATUS_BUSY, 0);
	return false;
}

void obj_fetched_drop(struct obj_fetched *fetched)
{
	if (fetched->buf != NULL)
		buf_unref(fetched->buf);
	*fetched = (struct obj_fetched){ .buf = NULL };
}

/* On the worker that owns the key. */
static void fetched_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_fetched *to = visitor;

	(void)edit;
	to->version = entry->version;
	to->needed = (uint32_t)entry->value.size;
	to->size = entry->value.size <= to->buf->size ? to->needed : 0;
	if (to->size > 0)
		memcpy(to->buf->data, entry->value.data, to->size);
}

static void fetched(struct obj_call *call);

static void fetch(struct obj_call *call, size_t size)
{
	struct obj_fetched *to = call->fetching;
	struct kv_cmd cmd = {
		.op = KV_GET,
		.flags = to->load ? KV_LOAD : 0,
		.key = obj_key_bytes(&call->key),
		.visit = fetched_visit,
		.visitor = to,
	};

	if (!obj_call_work(call, &to->buf, size))
		return;
	to->version = 0;
	to->size = to->needed = 0;
	obj_call_kv(call, &cmd, fetched);
}

static void fetched(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	if (call->fetching->needed <= call->fetching->size)
		call->fetched_next(call);
	else if (call->fetching->needed <= OBJ_DOCUMENT_MAX)
		fetch(call, call->fetching->needed);
	else
		obj_call_finish(call, STATUS_CORRUPT, 0);
}

void obj_call_fetch(struct obj_call *call, struct obj_fetched *to, obj_step_fn *next)
{
	call->fetching = to;
	call->fetched_next = next;
	fetch(call, OBJ_FETCH_SIZE);
}

/* Numbers: never given out twice, and in the order in which the store gave out their ranges. */

static void numbers_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_call *call = visitor;
	uint64_t first = 1;
	uint64_t next;

	if (entry->version != 0 && entry->value.size != sizeof(first)) {
		edit->status = STATUS_CORRUPT;
		return;
	}
	if (entry->version != 0)
		memcpy(&first, entry->value.data, sizeof(first));
	next = first + OBJ_NUMBERS_STEP;
	memcpy(edit->scratch, &next, sizeof(next));
	edit->action = KV_STORE;
	edit->value = bytes_of(edit->scratch, sizeof(next));
	call->number = first;
}

static void numbers_taken(struct obj_call *call)
{
	struct obj_engine *engine = call->engine;

	if (obj_call_failed(call))
		return;
	/* Of two calls that asked at a time the later one's are used. */
	engine->number_next = call->number;
	engine->number_end = call->number + OBJ_NUMBERS_STEP;
	call->fetched_next(call);
}

void obj_call_numbers(struct obj_call *call, unsigned count, obj_step_fn *next)
{
	struct kv_cmd cmd = { .op = KV_UPDATE, .visit = numbers_visit, .visitor = call };

	if (call->engine->number_end - call->engine->number_next >= count) {
		next(call);
		return;
	}
	call->fetched_next = next;
	call->key.size = 0;
	obj_key_add_number(&call->key, OBJ_SPACE_COUNTER, 1);
	obj_key_add_number(&call->key, 0, 2);
	cmd.key = obj_key_bytes(&call->key);
	obj_call_kv(call, &cmd, numbers_taken);
}

uint64_t obj_number_take(struct obj_engine *engine)
{
	assert(engine->number_next < engine->number_end); /* else: without obj_call_numbers() */
	return engine->number_next++;
}

/* What the submitter is told. */

void obj_call_visit(struct obj_call *call, const struct obj_entry *entry)
{
	if (call->cmd.visit != NULL)
		call->cmd.visit(call->cmd.visitor, entry);
}

void obj_call_visit_version(struct obj_call *call, const struct obj_record *record, bool latest)
{
	struct obj_entry entry = { .kind = OBJ_OBJECT, .name = call->cmd.name };

	obj_record_meta(record, &entry.meta);
	if (latest)
		entry.meta.flags |= OBJ_IS_LATEST;
	obj_call_visit(call, &entry);
}

void obj_call_visit_part(struct obj_call *call, const struct obj_record *record, uint64_t offset)
{
	struct obj_entry entry = {
		.kind = OBJ_PART,
		.part = {
			.size = record->size,
			.offset = offset,
			.created_ms = record->created_ms,
			.number = (uint32_t)record->version,
			.etag = record->etag,
			.brief = record->brief,
			.attributes = record->attributes,
		},
	};

	obj_call_visit(call, &entry);
}

void obj_call_not_found(struct obj_call *call, enum obj_missing missing)
{
	obj_call_finish(call, STATUS_NOT_FOUND, missing);
}
