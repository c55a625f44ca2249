/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys to workers. A command for a key goes to the worker that owns its partition: the request
 * itself is the message, and comes back the same way. A command for all keys visits one worker
 * after the other; only what must be in order over all of them, a scan, is merged. A commit for
 * keys of several visits them in passes.
 */
#include "layer/kv_shard.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "layer/kv_shard_state.h"

/* Remembers a command while another worker has its request. */
struct hop_frame {
	struct frame frame;
	struct kv_shard *shard;
	struct kv_cmd cmd;
	uint64_t sum;  /* of the results so far, of a command for all */
	uint16_t next; /* engine that it goes to, or is at */
	bool all;      /* it goes on to the engines after that */
};

static unsigned owner_of(const struct kv_shard *shard, uint32_t partition)
{
	return partition % shard->engine_count;
}

/* Step 4, at home: go on up. */
static void hop_returned(struct req *req)
{
	struct hop_frame *frame = req_pop(req, struct hop_frame);
	uint64_t result = frame->all ? frame->sum : req->result;

	assert(req->worker == frame->shard->kv.worker);
	assert(frame->next < frame->shard->engine_count);

	req_complete(req, req->status, result);
}

static void hop_arrived(struct req *req);

/* Step 3, at the owner: to the next engine of a command for all, or home. */
static void hop_done(struct req *req)
{
	struct hop_frame *frame = req_top(req, struct hop_frame);
	struct kv_shard *shard = frame->shard;

	assert(req->worker == shard->engines[frame->next]->worker);
	frame->sum += req->result;
	if (frame->all && req->status == STATUS_OK && frame->next + 1u < shard->engine_count) {
		frame->next++;
		worker_send(shard->engines[frame->next]->worker, req, hop_arrived);
		return;
	}
	worker_send(shard->kv.worker, req, hop_returned);
}

/* Step 2, at the owner. */
static void hop_arrived(struct req *req)
{
	struct hop_frame *frame = req_top(req, struct hop_frame);

	kv_submit(frame->shard->engines[frame->next], req, &frame->cmd);
}

/* Step 1, at home. */
static void hop(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd, unsigned engine,
                bool all)
{
	struct hop_frame *frame = req_push(req, struct hop_frame, hop_done);

	assert(engine < shard->engine_count);
	assert(req->worker == shard->kv.worker);
	frame->shard = shard;
	frame->cmd = *cmd;
	frame->sum = 0;
	frame->next = (uint16_t)engine;
	frame->all = all;
	worker_send(shard->engines[engine]->worker, req, hop_arrived);
}

static void send_to(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd,
                    unsigned engine)
{
	assert(engine < shard->engine_count);
	if (shard->engines[engine]->worker == shard->kv.worker)
		kv_submit(shard->engines[engine], req, cmd);
	else
		hop(shard, req, cmd, engine, /* all= */ false);
}

static void send_to_all(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd)
{
	if (shard->engine_count == 1) {
		send_to(shard, req, cmd, 0);
		return;
	}
	hop(shard, req, cmd, 0, /* all= */ true);
}

/*
 * A COMMIT over several engines. The request goes from one to the next, in ascending order, once
 * for each pass. When all have prepared and are durable it is committed: nothing can fail any more,
 * and the deadline is not looked at. A failed write after that leaves the rest to the next start.
 */
enum txn_pass {
	TXN_PREPARE,
	TXN_PREPARED, /* wait until it is on disk */
	TXN_COMMIT,
	TXN_COMMITTED, /* wait again: before that, nobody may forget it */
	TXN_FORGET,
	TXN_ABORT, /* those that have prepared */
	TXN_ENDED,
};

struct txn_frame {
	struct frame frame;
	struct kv_shard *shard;
	const struct kv_commit *commit;
	uint64_t id;
	uint64_t engines; /* bit by engine: those that take part in this pass */
	uint64_t result;
	enum status status; /* what the request completes with */
	uint8_t next;       /* engine that it goes to, or is at */
	uint8_t pass;       /* enum txn_pass */
};

static uint64_t commit_engines(const struct kv_shard *shard, const struct kv_commit *commit)
{
	unsigned partitions = shard->kv.traits.partitions;
	uint64_t engines = 0;

	if (shard->engine_count == 1)
		return 1;
	for (uint32_t i = 0; i < commit->count; i++)
		engines |= 1ull << owner_of(shard, kv_partition(commit->writes[i].key, partitions));
	return engines;
}

static void txn_returned(struct req *req)
{
	struct txn_frame *frame = req_pop(req, struct txn_frame);

	assert(frame->pass == TXN_ENDED);
	assert(req->worker == frame->shard->kv.worker);
	req_complete(req, frame->status, frame->result);
}

static void txn_arrived(struct req *req);

/* To the first engine from `from` on that takes part, in this pass or the next. */
static void txn_go(struct req *req, struct txn_frame *frame, unsigned from)
{
	uint64_t left = from < ENGINES_MAX ? frame->engines >> from << from : 0;

	if (left == 0 && frame->pass < TXN_FORGET) {
		frame->pass++;
		left = frame->engines;
	} else if (left == 0) {
		frame->pass = TXN_ENDED;
	}
	if (frame->pass == TXN_ENDED) {
		worker_send(frame->shard->kv.worker, req, txn_returned);
		return;
	}
	frame->next = (uint8_t)__builtin_ctzll(left);
	assert(frame->next < frame->shard->engine_count);
	assert(frame->pass < TXN_ENDED);
	worker_send(frame->shard->engines[frame->next]->worker, req, txn_arrived);
}

/* At an engine: nothing is committed; the keys of the first `prepared` bits are let go. */
static void txn_abort(struct req *req, struct txn_frame *frame, uint64_t prepared)
{
	assert(frame->pass <= TXN_PREPARED); /* else: it is committed */
	assert(req->status != STATUS_OK);
	assert((prepared & ~frame->engines) == 0);
	frame->status = req->status;
	frame->result = req->result;
	frame->engines = prepared;
	frame->pass = prepared != 0 ? TXN_ABORT : TXN_ENDED;
	txn_go(req, frame, 0);
}

static void txn_answered(struct req *req)
{
	struct txn_frame *frame = req_top(req, struct txn_frame);
	uint64_t before = frame->engines & ((1ull << frame->next) - 1);
	bool failed = req->status != STATUS_OK;

	assert(frame->engines >> frame->next & 1);
	assert(req->worker == frame->shard->engines[frame->next]->worker);

	switch ((enum txn_pass)frame->pass) {
	case TXN_PREPARE:
		if (failed) {
			txn_abort(req, frame, before);
			return;
		}
		frame->id = req->result;
		break;
	case TXN_PREPARED:
		if (failed) {
			txn_abort(req, frame, frame->engines);
			return;
		}
		break;
	case TXN_COMMIT:
		if (failed) /* it is committed, but cannot be seen before the next start */
			frame->status = req->status;
		break;
	case TXN_COMMITTED:
		if (failed) { /* nobody forgets it */
			frame->pass = TXN_ENDED;
			frame->engines = 0;
		}
		break;
	default:
		break;
	}
	txn_go(req, frame, frame->next + 1u);
}

static void txn_arrived(struct req *req)
{
	static const enum kv_resolve how[] = {
		[TXN_PREPARED] = KV_RESOLVE_WAIT,  [TXN_COMMIT] = KV_RESOLVE_COMMIT,
		[TXN_COMMITTED] = KV_RESOLVE_WAIT, [TXN_FORGET] = KV_RESOLVE_FORGET,
		[TXN_ABORT] = KV_RESOLVE_ABORT,
	};
	struct txn_frame *frame = req_top(req, struct txn_frame);
	struct kv *engine = frame->shard->engines[frame->next];
	struct kv_cmd cmd = { .op = KV_RESOLVE, .version = frame->id };

	if (frame->pass == TXN_PREPARE) {
		cmd.op = KV_PREPARE;
		cmd.commit = frame->commit;
		cmd.handle = frame->engines;
		kv_submit(engine, req, &cmd);
		return;
	}
	cmd.limit = how[frame->pass];
	/* Not by kv_submit(): what has begun is ended, whoever has lost patience. */
	req->state = REQ_RUNNING;
	engine->ops->submit(engine, req, &cmd);
}

static void commit_submit(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd)
{
	uint64_t engines = commit_engines(shard, cmd->commit);
	struct txn_frame *frame;

	if ((engines & (engines - 1)) == 0) {
		send_to(shard, req, cmd, (unsigned)__builtin_ctzll(engines));
		return;
	}
	frame = req_push(req, struct txn_frame, txn_answered);
	frame->shard = shard;
	frame->commit = cmd->commit;
	frame->id = 0;
	frame->engines = engines;
	frame->result = cmd->commit->count;
	frame->status = STATUS_OK;
	frame->pass = TXN_PREPARE;
	txn_go(req, frame, 0);
}

/*
 * A blob is made where its key will live, before the key is known: its handle carries the engine in
 * the lowest byte, and starts at the engine of cmd->partition.
 */
static unsigned blob_owner(const struct kv_shard *shard, const struct kv_cmd *cmd)
{
	if (cmd->op == KV_BLOB_WRITE && cmd->handle == 0)
		return owner_of(shard, cmd->partition);
	return (unsigned)(cmd->handle & 0xff);
}

static void shard_submit(struct kv *kv, struct req *req, const struct kv_cmd *cmd)
{
	struct kv_shard *shard = container_of(kv, struct kv_shard, kv);
	unsigned engine;

	switch ((enum kv_op)cmd->op) {
	case KV_GET:
	case KV_PUT:
	case KV_DELETE:
	case KV_UPDATE:
	case KV_BLOB_OPEN:
		engine = 0;
		if (shard->engine_count > 1)
			engine = owner_of(shard, kv_partition(cmd->key, kv->traits.partitions));
		send_to(shard, req, cmd, engine);
		break;
	case KV_BLOB_WRITE:
	case KV_BLOB_READ:
	case KV_BLOB_CLOSE:
		engine = blob_owner(shard, cmd);
		if (engine < shard->engine_count)
			send_to(shard, req, cmd, engine);
		else
			req_complete(req, STATUS_INVALID, 0);
		break;
	case KV_COMMIT:
		commit_submit(shard, req, cmd);
		break;
	case KV_SCAN:
		if (cmd->flags & KV_SCAN_PARTITION)
			send_to(shard, req, cmd, owner_of(shard, cmd->partition));
		else if (shard->engine_count == 1)
			send_to(shard, req, cmd, 0);
		else
			shard_scan_submit(shard, req, cmd);
		break;
	case KV_CLEAR:
	case KV_COUNT:
	case KV_SYNC:
		send_to_all(shard, req, cmd);
		break;
	case KV_EXPIRED:
		send_to(shard, req, cmd, cmd->partition);
		break;
	case KV_PREPARE:
	case KV_RESOLVE:
	case KV_OP_COUNT:
		unreachable();
	}
}

static const struct kv_ops shard_ops = { .name = "shard", .submit = shard_submit };

enum status kv_shard_open(struct kv_shard **out, struct worker *worker, struct kv *const *engines,
                          unsigned engine_count)
{
	struct kv_shard *shard = calloc(1, sizeof(*shard));

	assert(engine_count > 0 && engine_count <= ENGINES_MAX);
	if (shard == NULL)
		return STATUS_NO_SPACE;
	shard->kv = (struct kv){
		.ops = &shard_ops,
		.worker = worker,
		.traits = engines[0]->traits,
		.frames_size = engines[0]->frames_size + align_up(sizeof(struct hop_frame), 16),
	};
	_Static_assert(sizeof(struct txn_frame) <= sizeof(struct hop_frame), "frames_size");
	shard->engine_count = engine_count;
	shard->kv.traits.engines = engine_count;
	for (unsigned i = 0; i < engine_count; i++) {
		assert(engines[i]->traits.partitions == engines[0]->traits.partitions);
		assert(engines[i]->frames_size <= engines[0]->frames_size);
		shard->engines[i] = engines[i];
	}
	assert(shard_scan_frame_size() <= align_up(sizeof(struct hop_frame), 16));
	if (shard_scans_open(shard) != STATUS_OK) {
		kv_shard_close(shard);
		return STATUS_NO_SPACE;
	}
	*out = shard;
	return STATUS_OK;
}

void kv_shard_close(struct kv_shard *shard)
{
	shard_scans_close(shard);
	free(shard);
}

struct kv *kv_shard_kv(struct kv_shard *shard)
{
	return &shard->kv;
}
