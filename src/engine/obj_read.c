/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents read. An object of one extent is pinned by the kv; of one with several each extent is
 * opened when it is wanted, and the collector asks before it removes any: see obj_collect.c.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

enum { HANDLE_SLOT_BITS = 20 };

uint32_t obj_extent_count(uint64_t size, unsigned extent_shift)
{
	return (uint32_t)((size + (1ull << extent_shift) - 1) >> extent_shift);
}

/* Handles. */

uint64_t obj_handle_number(const struct obj_engine *engine, const struct obj_handle *handle)
{
	uint64_t slot = (uint64_t)(handle - engine->handles) + 1;

	return (uint64_t)handle->generation << HANDLE_SLOT_BITS | slot;
}

struct obj_handle *obj_handle_take(struct obj_engine *engine, enum obj_handle_mode mode)
{
	for (unsigned i = 0; i < engine->options.handles_max; i++) {
		unsigned slot = (engine->handle_next + i) % engine->options.handles_max;
		struct obj_handle *handle = &engine->handles[slot];
		uint32_t generation = handle->generation + 1;

		if (handle->mode != OBJ_HANDLE_FREE)
			continue;
		memset(handle, 0, offsetof(struct obj_handle, bucket));
		memset(&handle->record_buf, 0,
		       sizeof(*handle) - offsetof(struct obj_handle, record_buf));
		handle->generation = generation;
		handle->mode = (uint8_t)mode;
		handle->running = true;
		engine->handle_next = slot + 1;
		engine->handles_used++;
		return handle;
	}
	return NULL;
}

void obj_handle_free(struct obj_engine *engine, struct obj_handle *handle)
{
	assert(handle->mode != OBJ_HANDLE_FREE && engine->handles_used > 0);
	assert(handle->blob == 0);
	if (handle->stash != NULL)
		buf_unref(handle->stash);
	if (handle->record_buf != NULL)
		buf_unref(handle->record_buf);
	if (handle->manifest != NULL)
		buf_unref(handle->manifest);
	handle->stash = handle->record_buf = handle->manifest = NULL;
	handle->mode = OBJ_HANDLE_FREE;
	engine->handles_used--;
}

struct obj_handle *obj_call_handle(struct obj_call *call, enum obj_handle_mode mode)
{
	struct obj_engine *engine = call->engine;
	uint64_t slot = call->cmd.handle & ((1u << HANDLE_SLOT_BITS) - 1);
	struct obj_handle *handle = NULL;

	if (slot > 0 && slot <= engine->options.handles_max)
		handle = &engine->handles[slot - 1];
	if (handle == NULL || handle->mode != mode ||
	    obj_handle_number(engine, handle) != call->cmd.handle) {
		obj_call_finish(call, STATUS_INVALID, 0);
		return NULL;
	}
	assert(!handle->running); /* else: two commands on a handle */
	handle->running = true;
	call->handle = handle;
	return handle;
}

bool obj_is_read(const struct obj_engine *engine, uint8_t data, uint64_t data_id)
{
	for (unsigned i = 0; i < engine->options.handles_max; i++) {
		const struct obj_handle *handle = &engine->handles[i];

		if (handle->mode == OBJ_HANDLE_READS && handle->pins &&
		    handle->record.data == data && handle->record.data_id == data_id)
			return true;
	}
	return false;
}

/* OPEN. */

static void open_found(struct obj_call *call);

static void open_done(struct obj_call *call)
{
	struct obj_handle *h = call->handle;

	call->owns_handle = false;
	obj_call_visit_version(call, &h->record, call->progress);
	obj_call_finish(call, STATUS_OK, obj_handle_number(call->engine, h));
}

/* The handle has the record's memory from now on. */
static void open_keep(struct obj_call *call)
{
	const struct obj_record *record = obj_located(call);
	struct obj_handle *h = call->handle;
	bool latest = record == &call->head_record;
	struct obj_fetched *fetched = latest ? &call->head : &call->other;

	h->record = *record;
	h->record_buf = fetched->buf;
	h->partition = call->partition;
	fetched->buf = NULL;
	call->progress = latest;
}

/* What the version named is gone: it was replaced or removed since. */
static void open_again(struct obj_call *call)
{
	struct obj_handle *h = call->handle;

	buf_unref(h->record_buf);
	h->record_buf = NULL;
	h->pins = false;
	obj_call_again(call);
}

static void open_pinned(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	call->handle->blob = call->req.result;
	if (call->handle->blob == 0)
		open_again(call);
	else
		open_done(call);
}

/* The pin was there before this second look: whoever removes the version later will see it. */
static void open_verified(struct obj_call *call)
{
	const struct obj_record *record = obj_located(call);

	if (record->data == call->handle->record.data &&
	    record->data_id == call->handle->record.data_id)
		open_done(call);
	else
		open_again(call);
}

static void open_found(struct obj_call *call)
{
	struct kv_cmd cmd = { .op = KV_BLOB_OPEN };
	struct obj_handle *h = call->handle;
	uint8_t data;

	open_keep(call);
	data = h->record.data;
	if (data == OBJ_DATA_NONE || data == OBJ_DATA_INLINE) {
		open_done(call);
	} else if (data == OBJ_DATA_EXTENTS &&
	           obj_extent_count(h->record.size, h->record.extent_shift) == 1) {
		h->data_id = h->record.data_id;
		h->extent_shift = h->record.extent_shift;
		obj_data_key(h->data_id, 0, &call->key);
		cmd.key = obj_key_bytes(&call->key);
		obj_call_kv(call, &cmd, open_pinned);
	} else {
		h->pins = true;
		obj_call_version(call, open_verified);
	}
}

static void open_look(struct obj_call *call)
{
	obj_call_version(call, open_found);
}

void obj_open(struct obj_call *call)
{
	call->handle = obj_handle_take(call->engine, OBJ_HANDLE_READS);
	if (call->handle == NULL) {
		obj_call_finish(call, STATUS_BUSY, 0);
		return;
	}
	call->owns_handle = true;
	call->again = open_look;
	open_look(call);
}

/* READ: call->progress bytes are done. */

static void read_more(struct obj_call *call);

/* Which extent of what data an offset is in. */
struct place {
	uint64_t data_id;
	uint64_t offset; /* in the extent */
	uint64_t size;   /* of the extent from there on */
	uint32_t extent;
};

static struct place place_in(uint64_t data_id, unsigned extent_shift, uint64_t offset,
                             uint64_t size)
{
	struct place place = {
		.data_id = data_id,
		.extent = (uint32_t)(offset >> extent_shift),
		.offset = offset & ((1ull << extent_shift) - 1),
	};
	uint64_t most = (1ull << extent_shift) - place.offset;

	assert(offset < size);
	place.size = size - offset < most ? size - offset : most;
	return place;
}

static void manifest_fetched(struct obj_call *call)
{
	struct obj_handle *h = call->handle;
	uint32_t count = call->other.size / OBJ_MANIFEST_ENTRY;

	if (call->other.version == 0 || count == 0 || count > OBJ_MANIFEST_PARTS ||
	    call->other.size % OBJ_MANIFEST_ENTRY != 0) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	}
	h->manifest = call->other.buf;
	h->manifest_count = count;
	call->other.buf = NULL;
	read_more(call);
}

/* False: the manifest that has it is on its way, or the call was finished. */
static bool place_in_parts(struct obj_call *call, uint64_t offset, struct place *place)
{
	struct obj_handle *h = call->handle;
	struct obj_manifest_entry entry = { .end = 0 }, before = { .end = 0 };
	uint32_t index = 0, first = 0, last;
	uint64_t end = 0, start;

	for (; index < h->record.ends.size / 8; index++) {
		memcpy(&end, h->record.ends.data + (size_t)8 * index, 8);
		if (offset < end)
			break;
	}
	if (h->manifest == NULL || h->manifest_index != index) {
		if (h->manifest != NULL)
			buf_unref(h->manifest);
		h->manifest = NULL;
		h->manifest_index = index;
		obj_manifest_key(h->partition, h->record.data_id, index, &call->key);
		obj_call_fetch(call, &call->other, manifest_fetched);
		return false;
	}
	/* The first entry that ends behind the offset. */
	for (last = h->manifest_count - 1; first < last;) {
		uint32_t middle = (first + last) / 2;

		obj_manifest_get(h->manifest->data, middle, &entry);
		if (entry.end > offset)
			last = middle;
		else
			first = middle + 1;
	}
	obj_manifest_get(h->manifest->data, first, &entry);
	if (first > 0)
		obj_manifest_get(h->manifest->data, first - 1, &before);
	start = before.end;
	if (first == 0 && index > 0)
		memcpy(&start, h->record.ends.data + (size_t)8 * (index - 1), 8);
	if (entry.end <= offset || start > offset || entry.data_id == 0 ||
	    entry.extent_shift < 12 || entry.extent_shift > 29) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return false;
	}
	*place = place_in(entry.data_id, entry.extent_shift, offset - start, entry.end - start);
	return true;
}

static void extent_read(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	if (call->req.result != call->number) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	}
	call->progress += call->req.result;
	read_more(call);
}

static void extent_opened(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	call->handle->blob = call->req.result;
	if (call->handle->blob == 0)
		obj_call_finish(call, STATUS_CORRUPT, 0);
	else
		read_more(call);
}

static void extent_closed(struct obj_call *call)
{
	if (!obj_call_failed(call))
		read_more(call);
}

/* Reads from the place, if its extent is open; else brings that about. */
static void read_place(struct obj_call *call, const struct place *place, uint64_t wanted)
{
	struct obj_handle *h = call->handle;
	struct kv_cmd cmd = { .op = KV_BLOB_READ, .handle = h->blob };

	if (h->blob != 0 && (h->data_id != place->data_id || h->extent != place->extent)) {
		cmd.op = KV_BLOB_CLOSE;
		h->blob = 0;
		obj_call_kv(call, &cmd, extent_closed);
		return;
	}
	if (h->blob == 0) {
		h->data_id = place->data_id;
		h->extent = place->extent;
		obj_data_key(h->data_id, h->extent, &call->key);
		cmd.op = KV_BLOB_OPEN;
		cmd.key = obj_key_bytes(&call->key);
		obj_call_kv(call, &cmd, extent_opened);
		return;
	}
	call->number = wanted < place->size ? wanted : place->size;
	cmd.offset = place->offset;
	cmd.out = call->cmd.out + call->progress;
	cmd.out_size = (uint32_t)call->number;
	obj_call_kv(call, &cmd, extent_read);
}

static void read_more(struct obj_call *call)
{
	const struct obj_record *record = &call->handle->record;
	uint64_t offset = call->cmd.offset + call->progress;
	uint64_t wanted = call->cmd.out_size - call->progress;
	struct place place;

	if (offset >= record->size || wanted == 0) {
		obj_call_finish(call, STATUS_OK, call->progress);
		return;
	}
	if (wanted > record->size - offset)
		wanted = record->size - offset;
	switch ((enum obj_data)record->data) {
	case OBJ_DATA_NONE:
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	case OBJ_DATA_INLINE:
		memcpy(call->cmd.out, record->contents.data + offset, wanted);
		obj_call_finish(call, STATUS_OK, wanted);
		return;
	case OBJ_DATA_EXTENTS:
		place = place_in(record->data_id, record->extent_shift, offset, record->size);
		break;
	case OBJ_DATA_PARTS:
		if (!place_in_parts(call, offset, &place))
			return;
		break;
	}
	read_place(call, &place, wanted);
}

void obj_read(struct obj_call *call)
{
	if (obj_call_handle(call, OBJ_HANDLE_READS) != NULL)
		read_more(call);
}

/* RELEASE. */

static void released(struct obj_call *call)
{
	obj_call_finish(call, STATUS_OK, 0);
}

void obj_release(struct obj_call *call)
{
	if (obj_call_handle(call, OBJ_HANDLE_READS) != NULL)
		obj_call_abort(call, released);
}
