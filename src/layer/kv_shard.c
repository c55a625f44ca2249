/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys to workers. A command for a key goes to the worker that owns its partition: the request
 * itself is the message, and comes back the same way. A command for all keys visits one worker
 * after the other; only what must be in order over all of them, a scan, is merged.
 */
#include "layer/kv_shard.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum { ENGINES_MAX = WORKER_PEERS_MAX };

struct kv_shard {
	struct kv kv;
	struct kv *engines[ENGINES_MAX];
	unsigned engine_count;
};

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

	req_complete(req, req->status, result);
}

static void hop_arrived(struct req *req);

/* Step 3, at the owner: to the next engine of a command for all, or home. */
static void hop_done(struct req *req)
{
	struct hop_frame *frame = req_top(req, struct hop_frame);
	struct kv_shard *shard = frame->shard;

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
static void hop(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd, unsigned engine)
{
	struct hop_frame *frame = req_push(req, struct hop_frame, hop_done);

	frame->shard = shard;
	frame->cmd = *cmd;
	frame->sum = 0;
	frame->next = (uint16_t)engine;
	frame->all = false;
	worker_send(shard->engines[engine]->worker, req, hop_arrived);
}

static void send_to(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd,
                    unsigned engine)
{
	if (shard->engines[engine]->worker == shard->kv.worker)
		kv_submit(shard->engines[engine], req, cmd);
	else
		hop(shard, req, cmd, engine);
}

static void send_to_all(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd)
{
	if (shard->engine_count == 1) {
		send_to(shard, req, cmd, 0);
		return;
	}
	hop(shard, req, cmd, 0);
	req_top(req, struct hop_frame)->all = true;
}

/* The engine that owns all keys of a commit; engine_count: there are several. */
static unsigned commit_owner(const struct kv_shard *shard, const struct kv_commit *commit)
{
	unsigned partitions = shard->kv.traits.partitions;
	unsigned first;

	if (shard->engine_count == 1)
		return 0;
	first = owner_of(shard, kv_partition(commit->writes[0].key, partitions));
	for (uint32_t i = 1; i < commit->count; i++) {
		if (owner_of(shard, kv_partition(commit->writes[i].key, partitions)) != first)
			return shard->engine_count;
	}
	return first;
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
		engine = commit_owner(shard, cmd->commit);
		if (engine < shard->engine_count)
			send_to(shard, req, cmd, engine);
		else
			req_complete(req, STATUS_UNSUPPORTED, 0);
		break;
	case KV_SCAN:
		if (cmd->flags & KV_SCAN_PARTITION)
			send_to(shard, req, cmd, owner_of(shard, cmd->partition));
		else if (shard->engine_count == 1)
			send_to(shard, req, cmd, 0);
		else
			req_complete(req, STATUS_UNSUPPORTED, 0);
		break;
	case KV_CLEAR:
	case KV_COUNT:
		send_to_all(shard, req, cmd);
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
	shard->engine_count = engine_count;
	for (unsigned i = 0; i < engine_count; i++)
		shard->engines[i] = engines[i];
	*out = shard;
	return STATUS_OK;
}

void kv_shard_close(struct kv_shard *shard)
{
	free(shard);
}

struct kv *kv_shard_kv(struct kv_shard *shard)
{
	return &shard->kv;
}
