/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/blk.h"

#include "base/assert.h"

static void check_data(const struct blk_geometry *g, const struct blk_cmd *cmd)
{
	uint64_t bytes = 0;

	assert(cmd->block_count > 0);
	assert(cmd->block_count <= g->transfer_max);
	for (unsigned i = 0; i < cmd->iov_count; i++) {
		assert(((uintptr_t)cmd->iov[i].iov_base & (g->align - 1)) == 0);
		assert((cmd->iov[i].iov_len & (g->align - 1)) == 0);
		bytes += cmd->iov[i].iov_len;
	}
	assert(bytes == (uint64_t)cmd->block_count * g->block_size);
}

void blk_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	const struct blk_geometry *g = &blk->geometry;
	enum status status;

	assert(req->worker == blk->worker);
	assert(req->state != REQ_DONE);
	assert(req->frame_end + blk->frames_size <= REQ_FRAMES_SIZE);
	assert(cmd->op < BLK_OP_COUNT);
	assert(g->ops & (1u << cmd->op));
	assert(cmd->lba <= g->block_count);
	assert(cmd->block_count <= g->block_count - cmd->lba);
	if (cmd->op == BLK_READ || cmd->op == BLK_WRITE)
		check_data(g, cmd);

	req->state = REQ_RUNNING;
	status = req_check(req);
	if (status != STATUS_OK) {
		req_complete(req, status, 0);
		return;
	}
	blk->ops->submit(blk, req, cmd);
}

void blk_map(struct blk *blk, struct req *req, const struct blk_map_cmd *cmd)
{
	enum status status;

	assert(req->worker == blk->worker);
	assert(req->state != REQ_DONE);
	assert(req->frame_end + blk->frames_size <= REQ_FRAMES_SIZE);
	assert(blk->ops->map != NULL);
	assert(cmd->block_count > 0 && cmd->extent_max > 0);
	assert(cmd->lba <= blk->geometry.block_count);
	assert(cmd->block_count <= blk->geometry.block_count - cmd->lba);

	req->state = REQ_RUNNING;
	status = req_check(req);
	if (status != STATUS_OK) {
		req_complete(req, status, 0);
		return;
	}
	blk->ops->map(blk, req, cmd);
}
