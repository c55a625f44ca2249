/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/kv.h"

#include "base/assert.h"
#include "base/hash.h"
#include "core/worker.h"

static bool takes_key(enum kv_op op)
{
	switch (op) {
	case KV_COMMIT:
	case KV_BLOB_WRITE:
	case KV_BLOB_READ:
	case KV_BLOB_CLOSE:
	case KV_PREPARE:
	case KV_RESOLVE:
	case KV_SYNC:
	case KV_EXPIRED:
		return false;
	default:
		return true;
	}
}

static void check_command(const struct kv *kv, const struct kv_cmd *cmd)
{
	assert(cmd->op < KV_OP_COUNT);
	assert(cmd->kind < 16);
	if (takes_key((enum kv_op)cmd->op))
		assert(cmd->key.size > 0 && cmd->key.size <= KV_KEY_MAX);
	if (cmd->op == KV_PUT && !(cmd->flags & KV_FROM_BLOB))
		assert(cmd->value.size <= KV_INLINE_MAX);
	if (cmd->op == KV_UPDATE || cmd->op == KV_SCAN)
		assert(cmd->visit != NULL);
	if (cmd->op == KV_SCAN)
		assert(cmd->limit > 0);
	if (cmd->flags & KV_SCAN_PARTITION)
		assert(cmd->partition < kv->traits.partitions);
	if (cmd->op == KV_EXPIRED)
		assert(cmd->partition < kv->traits.engines && cmd->out_size >= 2 + KV_KEY_MAX);
	if (cmd->op == KV_COMMIT || cmd->op == KV_PREPARE)
		assert(cmd->commit->count > 0 && cmd->commit->count <= KV_COMMIT_WRITES_MAX);
}

void kv_submit(struct kv *kv, struct req *req, const struct kv_cmd *cmd)
{
	enum status status;

	assert(req->worker == kv->worker);
	assert(req->state != REQ_DONE);
	assert(req->frame_end + kv->frames_size <= REQ_FRAMES_SIZE);
	check_command(kv, cmd);

	req->state = REQ_RUNNING;
	status = req_check(req);
	if (status != STATUS_OK) {
		req_complete(req, status, 0);
		return;
	}
	kv->ops->submit(kv, req, cmd);
}

bool kv_key_is_sound(struct bytes key)
{
	if (key.size == 0 || key.size > KV_KEY_MAX)
		return false;
	return key.size >= 3 || !kv_space_is_placed(key.data[0]);
}

uint32_t kv_partition_hashed(struct bytes key, uint64_t hash, unsigned partitions)
{
	assert(partitions > 0);
	if (kv_space_is_placed(key.data[0])) {
		assert(key.size >= 3);
		return ((uint32_t)key.data[1] << 8 | key.data[2]) % partitions;
	}
	return (uint32_t)(hash % partitions);
}

uint32_t kv_partition(struct bytes key, unsigned partitions)
{
	assert(key.size > 0);
	return kv_partition_hashed(key, hash64(key), partitions);
}
