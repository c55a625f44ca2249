/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: from the public struct to a command on a worker, and back. */
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "lib/lib.h"

/* An entry of a SCAN in out: this, then the key, then the value, then up to a multiple of 8. */
struct scan_entry {
	uint64_t version;
	uint64_t value_size;
	uint32_t key_size;
	uint32_t room;
};

static struct lib_request *of_req(struct req *req)
{
	return container_of(req, struct lib_request, req);
}

uint16_t lib_key(uint8_t *out, uint32_t space, struct weir_bytes key)
{
	assert(space < WEIR_SPACES && key.size <= WEIR_KEY_MAX);
	out[0] = (uint8_t)(KV_SPACE_APP + space);
	if (key.size > 0)
		memcpy(out + 1, key.data, key.size);
	return (uint16_t)(1 + key.size);
}

bool lib_key_is_valid(struct weir_key key)
{
	return key.space < WEIR_SPACES && key.size > 0 && key.size <= WEIR_KEY_MAX;
}

struct weir_worker *lib_owner(struct weir *weir, struct bytes key)
{
	const struct kv *kv = weir->engines[0]->host->kv;

	if (weir->engine_count == 1)
		return weir->engines[0];
	return weir->engines[kv_partition(key, kv->traits.partitions) % weir->engine_count];
}

/* Whether a request says what can be done. */
static bool is_valid(const struct weir_request *r)
{
	if (r->done == NULL || (r->out == NULL && r->out_max > 0) || r->key.space >= WEIR_SPACES)
		return false;
	switch ((enum weir_op)r->op) {
	case WEIR_PUT:
		if (r->flags & WEIR_FROM_HANDLE)
			return lib_key_is_valid(r->key) && r->handle != 0;
		return lib_key_is_valid(r->key) && r->value.size <= WEIR_VALUE_MAX;
	case WEIR_READ:
		return r->handle != 0 && r->out_max > 0;
	case WEIR_DROP:
		return r->handle != 0;
	case WEIR_APPEND:
		return (r->handle != 0 || lib_key_is_valid(r->key)) && r->value.size > 0 &&
		       r->value.size <= WEIR_VALUE_MAX;
	case WEIR_GET:
	case WEIR_OPEN:
	case WEIR_DELETE:
		return lib_key_is_valid(r->key);
	case WEIR_SCAN:
		return r->key.size <= WEIR_KEY_MAX && r->end.size <= WEIR_KEY_MAX && r->limit > 0;
	case WEIR_COMMIT:
		return r->batch != NULL && lib_batch_commit(r->batch).count > 0;
	case WEIR_COUNT:
	case WEIR_CLEAR:
		return true;
	default:
		return false;
	}
}

/* Whether more of the key is looked at than its space. */
static bool takes_key(const struct weir_request *request)
{
	switch ((enum weir_op)request->op) {
	case WEIR_COUNT:
	case WEIR_CLEAR:
	case WEIR_COMMIT:
	case WEIR_READ:
	case WEIR_DROP:
		return false;
	case WEIR_APPEND:
		return request->handle == 0;
	default:
		return true;
	}
}

enum weir_status lib_request_prepare(struct weir *weir, struct weir_request *request)
{
	struct lib_request *r = lib_request(request);
	struct weir_bytes key = { request->key.data, takes_key(request) ? request->key.size : 0 };

	if (!is_valid(request))
		return WEIR_INVALID;
	request->id = atomic_fetch_add_explicit(&weir->id_next, 1, memory_order_relaxed);
	request->status = WEIR_OK;
	request->result = 0;
	request->out_size = 0;
	r->request = request;
	r->handle = 0;
	r->failure = STATUS_OK;
	r->taken = 0;
	r->full = false;
	r->key_size = lib_key(r->key, request->key.space, key);
	r->end_size = 0;
	if (request->op == WEIR_SCAN && request->end.size > 0)
		r->end_size = lib_key(r->end, request->key.space, request->end);
	if (request->op == WEIR_COMMIT)
		r->commit = lib_batch_commit(request->batch);
	atomic_store_explicit(&r->canceled, false, memory_order_relaxed);
	return WEIR_OK;
}

void weir_cancel(struct weir_request *request)
{
	atomic_store_explicit(&lib_request(request)->canceled, true, memory_order_relaxed);
}

static void complete(struct lib_request *r, enum weir_status status)
{
	struct weir *weir = r->worker->weir;
	struct weir_request *request = r->request;

	request->status = status;
	request->done(request); /* it may be gone now */
	lib_gate_leave(&weir->gate);
}

static void submit(struct lib_request *r, const struct kv_cmd *cmd, req_fn *done)
{
	req_push(&r->req, struct frame, done);
	kv_submit(r->worker->host->kv, &r->req, cmd);
}

/* On the worker that has the key, in its turn. */
static void get_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct lib_request *r = visitor;
	struct weir_request *request = r->request;

	assert(edit == NULL);
	request->out_size = entry->size;
	if (entry->value.size > 0 && entry->value.size <= request->out_max)
		memcpy(request->out, entry->value.data, entry->size);
}

static void scan_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct lib_request *r = visitor;
	struct weir_request *request = r->request;
	size_t value_size = entry->value.size;
	struct scan_entry header = { .version = entry->version,
		                     .value_size = entry->size,
		                     .key_size = (uint32_t)entry->key.size - 1 };
	size_t room = align_up(sizeof(header) + header.key_size + value_size, 8);
	uint8_t *out = (uint8_t *)request->out + request->out_size;

	assert(edit == NULL);
	if (r->full)
		return;
	if (room > request->out_max - request->out_size) {
		r->full = true;
		return;
	}
	if (request->flags & WEIR_KEYS_ONLY)
		header.value_size = 0;
	header.room = (uint32_t)room;
	memcpy(out, &header, sizeof(header));
	memcpy(out + sizeof(header), entry->key.data + 1, header.key_size);
	if (value_size > 0)
		memcpy(out + sizeof(header) + header.key_size, entry->value.data, value_size);
	request->out_size += room;
	r->taken++;
}

bool weir_scan_next(const struct weir_request *request, size_t *position, struct weir_entry *entry)
{
	const uint8_t *out = request->out;
	struct scan_entry header;

	if (*position >= request->out_size || request->op != WEIR_SCAN)
		return false;
	memcpy(&header, out + *position, sizeof(header));
	entry->key = (struct weir_bytes){ out + *position + sizeof(header), header.key_size };
	entry->version = header.version;
	/* A value that is not there is larger than what scans carry: to be had with a GET. */
	entry->value = (struct weir_bytes){ out + *position + sizeof(header) + header.key_size,
		                            header.value_size };
	if (sizeof(header) + header.key_size + header.value_size > header.room)
		entry->value.data = NULL;
	*position += header.room;
	return true;
}

static void request_done(struct req *req)
{
	struct lib_request *r = of_req(req);
	struct weir_request *request = r->request;
	enum weir_status status = lib_status(req->status);

	req_pop(req, struct frame);
	request->result = req->result;
	if (request->op == WEIR_GET && status == WEIR_OK) {
		request->version = req->result;
		if (req->result == 0)
			status = WEIR_NOT_FOUND;
		else if (request->out_size > request->out_max)
			status = WEIR_TOO_LARGE;
	}
	if (request->op == WEIR_OPEN && status == WEIR_OK) {
		request->handle = req->result;
		request->result = request->version;
		if (request->handle == 0)
			status = WEIR_NOT_FOUND;
	}
	if (request->op == WEIR_READ)
		request->out_size = status == WEIR_OK ? req->result : 0;
	if (request->op == WEIR_APPEND) /* also of one that failed: it is to be dropped */
		request->handle = req->result;
	if (request->op == WEIR_SCAN) {
		request->result = r->taken;
		if (r->full && r->taken == 0 && status == WEIR_OK)
			status = WEIR_TOO_LARGE;
	}
	complete(r, status);
}

/* Values larger than a command may carry, 1: the value is written where nobody sees it. */
static void large_written(struct req *req);
static void large_put(struct req *req);
static void large_dropped(struct req *req);

static void large_write(struct lib_request *r)
{
	const struct kv *kv = r->worker->host->kv;
	struct kv_cmd cmd = {
		.op = KV_BLOB_WRITE,
		.partition = (uint16_t)kv_partition(bytes_of(r->key, r->key_size),
		                                    kv->traits.partitions),
		.value = bytes_of(r->request->value.data, r->request->value.size),
	};

	submit(r, &cmd, large_written);
}

static struct kv_cmd put_command(const struct lib_request *r)
{
	const struct weir_request *request = r->request;
	struct kv_cmd cmd = {
		.op = KV_PUT,
		.key = bytes_of(r->key, r->key_size),
		.version = request->version,
		.expires_ms = request->expires_ms,
	};

	if (request->flags & WEIR_IF_VERSION)
		cmd.flags |= KV_IF_VERSION;
	if (request->flags & WEIR_KEEP_EXPIRY)
		cmd.flags |= KV_KEEP_EXPIRY;
	return cmd;
}

/* 2: it becomes the key's. */
static void large_written(struct req *req)
{
	struct lib_request *r = of_req(req);
	struct kv_cmd cmd = put_command(r);

	req_pop(req, struct frame);
	r->handle = req->result;
	if (req->status != STATUS_OK) {
		r->failure = req->status;
		if (r->handle == 0) {
			complete(r, lib_status(req->status));
			return;
		}
		cmd = (struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = r->handle };
		req->deadline_ns = 0;
		submit(r, &cmd, large_dropped);
		return;
	}
	cmd.flags |= KV_FROM_BLOB;
	cmd.handle = r->handle;
	submit(r, &cmd, large_put);
}

/* 3: done, or the engine did not want it. */
static void large_put(struct req *req)
{
	struct lib_request *r = of_req(req);
	const struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = r->handle };

	if (req->status == STATUS_OK) {
		request_done(req);
		return;
	}
	req_pop(req, struct frame);
	r->failure = req->status;
	r->request->result = req->result;
	req->deadline_ns = 0;
	submit(r, &cmd, large_dropped);
}

static void large_dropped(struct req *req)
{
	struct lib_request *r = of_req(req);

	req_pop(req, struct frame);
	complete(r, lib_status(r->failure));
}

static void submit_scan(struct lib_request *r)
{
	const struct weir_request *request = r->request;
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.limit = request->limit,
		.key = bytes_of(r->key, r->key_size),
		.end = bytes_of(r->end, r->end_size),
		.visit = scan_visit,
		.visitor = r,
	};

	if (request->flags & WEIR_REVERSE)
		cmd.flags |= KV_REVERSE;
	if (request->flags & WEIR_KEYS_ONLY)
		cmd.flags |= KV_KEYS_ONLY;
	submit(r, &cmd, request_done);
}

static void open_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct lib_request *r = visitor;

	assert(edit == NULL);
	r->request->out_size = entry->size;
	r->request->version = entry->version;
}

static void submit_large_op(struct lib_request *r)
{
	const struct weir_request *request = r->request;
	const struct kv *kv = r->worker->host->kv;
	struct bytes key = bytes_of(r->key, r->key_size);
	struct kv_cmd cmd = { .handle = request->handle };

	switch ((enum weir_op)request->op) {
	case WEIR_OPEN:
		cmd = (struct kv_cmd){
			.op = KV_BLOB_OPEN,
			.key = key,
			.visit = open_visit,
			.visitor = r,
		};
		break;
	case WEIR_READ:
		cmd.op = KV_BLOB_READ;
		cmd.offset = request->offset;
		cmd.out = request->out;
		cmd.out_size =
		        request->out_max < LIB_READ_MAX ? (uint32_t)request->out_max : LIB_READ_MAX;
		break;
	case WEIR_APPEND:
		cmd.op = KV_BLOB_WRITE;
		cmd.partition = (uint16_t)kv_partition(key, kv->traits.partitions);
		cmd.value = bytes_of(request->value.data, request->value.size);
		break;
	default:
		cmd.op = KV_BLOB_CLOSE;
		break;
	}
	submit(r, &cmd, request_done);
}

static void submit_op(struct lib_request *r)
{
	const struct weir_request *request = r->request;
	struct kv_cmd cmd = { .key = bytes_of(r->key, r->key_size) };

	switch ((enum weir_op)request->op) {
	case WEIR_GET:
		cmd.op = KV_GET;
		cmd.visit = get_visit;
		cmd.visitor = r;
		/* What does not fit anyway need not be read. */
		cmd.flags = request->out_max > KV_INLINE_MAX ? KV_LOAD : 0;
		break;
	case WEIR_PUT:
		if (request->flags & WEIR_FROM_HANDLE) {
			cmd = put_command(r);
			cmd.flags |= KV_FROM_BLOB;
			cmd.handle = request->handle;
			break;
		}
		if (request->value.size > KV_INLINE_MAX) {
			large_write(r);
			return;
		}
		cmd = put_command(r);
		cmd.value = bytes_of(request->value.data, request->value.size);
		break;
	case WEIR_DELETE:
		cmd.op = KV_DELETE;
		cmd.version = request->version;
		cmd.flags = request->flags & WEIR_IF_VERSION ? KV_IF_VERSION : 0;
		break;
	case WEIR_COMMIT:
		cmd.op = KV_COMMIT;
		cmd.commit = &r->commit;
		break;
	case WEIR_SCAN:
		submit_scan(r);
		return;
	case WEIR_COUNT:
		cmd.op = KV_COUNT;
		break;
	case WEIR_CLEAR:
		cmd.op = KV_CLEAR;
		break;
	case WEIR_OPEN:
	case WEIR_READ:
	case WEIR_APPEND:
	case WEIR_DROP:
		submit_large_op(r);
		return;
	}
	submit(r, &cmd, request_done);
}

void lib_request_begin(struct weir_worker *w, struct weir_request *request)
{
	struct lib_request *r = lib_request(request);

	r->worker = w;
	req_init(&r->req, &w->host->worker);
	if (request->timeout_ns != 0)
		r->req.deadline_ns = w->host->worker.now_ns + request->timeout_ns;
	submit_op(r);
}

static void arrived(struct weir_worker *w, struct lib_item *item)
{
	struct lib_request *r = container_of(item, struct lib_request, item);

	r->worker = w;
	if (atomic_load_explicit(&r->canceled, memory_order_relaxed)) {
		complete(r, WEIR_CANCELED);
		return;
	}
	lib_request_begin(w, r->request);
}

/* Where it is done; a handle says it in its lowest byte, if it is one. */
static struct weir_worker *request_worker(struct weir *weir, const struct weir_request *request,
                                          struct bytes key)
{
	unsigned engine = (unsigned)(request->handle & 0xff);
	bool by_handle = request->op == WEIR_READ || request->op == WEIR_DROP ||
	                 (request->op == WEIR_APPEND && request->handle != 0);

	if (!by_handle)
		return lib_owner(weir, key);
	return weir->engines[engine < weir->engine_count ? engine : 0];
}

enum weir_status weir_submit(struct weir *weir, struct weir_request *request)
{
	struct lib_request *r = lib_request(request);
	enum weir_status status = lib_gate_enter(&weir->gate, weir->requests_max);
	struct bytes key;

	if (status != WEIR_OK)
		return status;
	status = lib_request_prepare(weir, request);
	if (status != WEIR_OK) {
		lib_gate_leave(&weir->gate);
		return status;
	}
	key = bytes_of(r->key, r->key_size);
	if (request->op == WEIR_COMMIT)
		key = r->commit.writes[0].key;
	r->item.run = arrived;
	lib_post(request_worker(weir, request, key), &r->item);
	return WEIR_OK;
}

/* What a handler submits belongs to a message that is counted already: only the end can refuse. */
enum weir_status weir_worker_submit(struct weir_worker *w, struct weir_request *request)
{
	enum weir_status status = lib_request_prepare(w->weir, request);

	assert(lib_on_worker()); /* else: not in a handler, nor in what continues one */
	if (status != WEIR_OK)
		return status;
	atomic_fetch_add(&w->weir->gate.count, 1);
	lib_request_begin(w, request);
	return WEIR_OK;
}

enum weir_status weir_worker_put(struct weir_worker *w, struct weir_request *request,
                                 struct weir_key key, struct weir_bytes value, weir_done_fn *done)
{
	request->op = WEIR_PUT;
	request->flags = 0;
	request->key = key;
	request->value = value;
	request->done = done;
	return weir_worker_submit(w, request);
}

enum weir_status weir_worker_get(struct weir_worker *w, struct weir_request *request,
                                 struct weir_key key, struct weir_value room, weir_done_fn *done)
{
	request->op = WEIR_GET;
	request->flags = 0;
	request->key = key;
	request->out = room.data;
	request->out_max = room.data == NULL ? 0 : room.size_max;
	request->done = done;
	return weir_worker_submit(w, request);
}

struct weir_worker *weir_request_worker(const struct weir_request *request)
{
	return ((const struct lib_request *)(const void *)request->internal)->worker;
}
