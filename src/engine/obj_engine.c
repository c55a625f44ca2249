/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/obj_state.h"

enum { CALLS_DEFAULT = 64, HANDLES_DEFAULT = 512, EXTENT_SHIFT = 26, SPREAD = 4 };
#define COLLECT_WAIT_NS 1000000000ull

static obj_step_fn *const steps[OBJ_OP_COUNT] = {
	[OBJ_BUCKET_CREATE] = obj_bucket_create,
	[OBJ_BUCKET_DELETE] = obj_bucket_delete,
	[OBJ_BUCKET_GET] = obj_bucket_get,
	[OBJ_BUCKET_UPDATE] = obj_bucket_update,
	[OBJ_BUCKET_LIST] = obj_bucket_list,
	[OBJ_DOCUMENT_PUT] = obj_document_put,
	[OBJ_DOCUMENT_GET] = obj_document_get,
	[OBJ_PUT] = obj_put,
	[OBJ_CREATE] = obj_create,
	[OBJ_WRITE] = obj_write,
	[OBJ_COMMIT] = obj_commit,
	[OBJ_ABORT] = obj_abort,
	[OBJ_OPEN] = obj_open,
	[OBJ_READ] = obj_read,
	[OBJ_RELEASE] = obj_release,
	[OBJ_HEAD] = obj_head,
	[OBJ_DELETE] = obj_delete,
	[OBJ_UPDATE] = obj_update,
	[OBJ_PARTS] = obj_parts,
	[OBJ_UPLOAD_CREATE] = obj_upload_create,
	[OBJ_UPLOAD_GET] = obj_upload_get,
	[OBJ_UPLOAD_COMPLETE] = obj_upload_complete,
	[OBJ_UPLOAD_ABORT] = obj_upload_abort,
	[OBJ_UPLOAD_PARTS] = obj_upload_parts,
	[OBJ_LIST] = obj_list,
	[OBJ_LIST_VERSIONS] = obj_list,
	[OBJ_LIST_UPLOADS] = obj_list,
};

/* The frame only keeps the command: nobody below completes the parent's request. */
static void op_done(struct req *req)
{
	(void)req;
	unreachable();
}

static void op_start(struct obj_engine *engine, struct req *req)
{
	struct obj_call *call = obj_call_take(engine);

	assert(call != NULL);
	call->parent = req;
	call->cmd = req_top(req, struct obj_waits)->cmd;
	engine->stats.commands[call->cmd.op]++;
	steps[call->cmd.op](call);
}

static void engine_submit(struct obj *obj, struct req *req, const struct obj_cmd *cmd)
{
	struct obj_engine *engine = container_of(obj, struct obj_engine, obj);

	req_push(req, struct obj_waits, op_done)->cmd = *cmd;
	if (STAILQ_EMPTY(&engine->calls_free) || !STAILQ_EMPTY(&engine->waiting))
		STAILQ_INSERT_TAIL(&engine->waiting, req, link);
	else
		op_start(engine, req);
}

struct obj_call *obj_call_take(struct obj_engine *engine)
{
	struct obj_call *call = STAILQ_FIRST(&engine->calls_free);

	if (call == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&engine->calls_free, link);
	engine->calls_running++;
	memset(call, 0, offsetof(struct obj_call, key));
	call->engine = engine;
	return call;
}

/* The parent's request goes back up, and the call to who waits. */
static void call_give_back(struct obj_call *call, enum status status, uint64_t result)
{
	struct obj_engine *engine = call->engine;
	struct req *parent = call->parent;
	struct req *waiter = STAILQ_FIRST(&engine->waiting);

	req_pop(parent, struct obj_waits);
	parent->state = REQ_RUNNING;
	req_complete(parent, status, result);
	assert(engine->calls_running > 0);
	engine->calls_running--;
	STAILQ_INSERT_HEAD(&engine->calls_free, call, link);
	if (waiter == NULL)
		return;
	STAILQ_REMOVE_HEAD(&engine->waiting, link);
	op_start(engine, waiter);
}

static void call_ended(struct obj_call *call)
{
	obj_call_finish(call, call->ending, call->ending_result);
}

/* What the call alone knows of is given back first. True: it is on the way, and comes back here. */
static bool call_cleans_up(struct obj_call *call)
{
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = call->blob };

	if (call->owns_handle) {
		call->owns_handle = false;
		obj_call_abort(call, call_ended);
		return true;
	}
	if (call->blob == 0)
		return false;
	call->blob = 0;
	obj_call_kv(call, &cmd, call_ended);
	return true;
}

void obj_call_finish(struct obj_call *call, enum status status, uint64_t result)
{
	struct buf *bufs[] = { call->work, call->made_buf, call->manifest };

	call->ending = status;
	call->ending_result = result;
	if (call_cleans_up(call))
		return;
	for (unsigned i = 0; i < array_count(bufs); i++) {
		if (bufs[i] != NULL)
			buf_unref(bufs[i]);
	}
	call->work = call->made_buf = call->manifest = NULL;
	obj_fetched_drop(&call->head);
	obj_fetched_drop(&call->other);
	obj_fetched_drop(&call->upload);
	if (call->handle != NULL)
		call->handle->running = false;
	call->handle = NULL;
	if (call->parent == NULL)
		obj_collector_call_done(call, status, result);
	else
		call_give_back(call, status, result);
}

static const struct obj_ops engine_ops = { .name = "objects", .submit = engine_submit };

static void set_defaults(struct obj_options *options)
{
	if (options->calls_max == 0)
		options->calls_max = CALLS_DEFAULT;
	if (options->handles_max == 0)
		options->handles_max = HANDLES_DEFAULT;
	if (options->extent_shift == 0)
		options->extent_shift = EXTENT_SHIFT;
	if (options->spread == 0)
		options->spread = SPREAD;
	if (options->spread > options->kv->traits.partitions)
		options->spread = options->kv->traits.partitions;
	if (options->collect_wait_ns == 0)
		options->collect_wait_ns = COLLECT_WAIT_NS;
}

size_t obj_engine_memory(const struct obj_options *options)
{
	size_t calls = options->calls_max == 0 ? CALLS_DEFAULT : options->calls_max;
	size_t handles = options->handles_max == 0 ? HANDLES_DEFAULT : options->handles_max;

	return sizeof(struct obj_engine) + calls * sizeof(struct obj_call) +
	       handles * sizeof(struct obj_handle);
}

enum status obj_engine_open(struct obj_engine **out, const struct obj_options *options)
{
	struct obj_engine *engine = calloc(1, sizeof(*engine));

	assert(options->kv->traits.sorted && options->kv->traits.transactional);
	assert(options->extent_shift == 0 ||
	       (1 << options->extent_shift) % OBJ_STASH_SIZE == 0); /* whole stashes fill it */
	assert(options->extent_shift == 0 || 1ull << options->extent_shift <= KV_VALUE_MAX);
	assert(options->spread <= OBJ_SPREAD_MAX);
	if (engine == NULL)
		return STATUS_NO_SPACE;
	engine->options = *options;
	set_defaults(&engine->options);
	engine->kv = options->kv;
	engine->worker = options->kv->worker;
	engine->bufs = options->bufs;
	engine->obj = (struct obj){
		.ops = &engine_ops,
		.worker = engine->worker,
		.frames_size = align_up(sizeof(struct obj_waits), 16),
	};
	STAILQ_INIT(&engine->waiting);
	STAILQ_INIT(&engine->calls_free);
	engine->calls = calloc(engine->options.calls_max, sizeof(*engine->calls));
	engine->handles = calloc(engine->options.handles_max, sizeof(*engine->handles));
	if (engine->calls == NULL || engine->handles == NULL ||
	    (options->collects && obj_collector_open(engine) != STATUS_OK)) {
		obj_engine_close(engine);
		return STATUS_NO_SPACE;
	}
	for (unsigned i = 0; i < engine->options.calls_max; i++)
		STAILQ_INSERT_TAIL(&engine->calls_free, &engine->calls[i], link);
	*out = engine;
	return STATUS_OK;
}

void obj_engine_join(struct obj_engine *engine, struct obj_engine *const *all, unsigned count)
{
	assert(count > 0 && count <= WORKER_PEERS_MAX);
	memcpy(engine->peers, all, count * sizeof(all[0]));
	engine->peer_count = count;
}

void obj_engine_start(struct obj_engine *engine, struct req *req)
{
	assert(engine->peer_count > 0);
	req->state = REQ_RUNNING;
	if (engine->collector == NULL)
		req_complete(req, STATUS_OK, 0);
	else
		obj_collector_start(engine, req);
}

void obj_engine_stop(struct obj_engine *engine)
{
	if (engine->collector != NULL)
		obj_collector_stop(engine);
}

bool obj_engine_is_idle(const struct obj_engine *engine)
{
	return engine->calls_running == 0 &&
	       (engine->collector == NULL || obj_collector_is_idle(engine));
}

void obj_engine_close(struct obj_engine *engine)
{
	if (engine->collector != NULL)
		obj_collector_close(engine);
	free(engine->calls);
	free(engine->handles);
	free(engine);
}

struct obj *obj_engine_obj(struct obj_engine *engine)
{
	return &engine->obj;
}

void obj_engine_stats(const struct obj_engine *engine, struct obj_engine_stats *out)
{
	*out = engine->stats;
	out->calls = engine->calls_running;
	out->handles = engine->handles_used;
}
