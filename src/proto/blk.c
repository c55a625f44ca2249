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

static void check_range(const struct blk_geometry *g, const struct blk_cmd *cmd)
{
	assert(cmd->block_count > 0);
	assert(g->range_max == 0 || cmd->block_count <= g->range_max);
	assert(cmd->iov_count == 0);
}

static void check_flags(const struct blk_cmd *cmd)
{
	assert((cmd->flags & ~(uint32_t)(BLK_FUA | BLK_UNMAP)) == 0);
	assert(!(cmd->flags & BLK_FUA) || cmd->op == BLK_WRITE || cmd->op == BLK_ZEROES);
	assert(!(cmd->flags & BLK_UNMAP) || cmd->op == BLK_ZEROES);
}

static void check_cmd(const struct blk_geometry *g, const struct blk_cmd *cmd)
{
	assert(cmd->op < BLK_OP_COUNT);
	assert(g->ops & (1u << cmd->op));
	assert(cmd->lba <= g->block_count);
	assert(cmd->block_count <= g->block_count - cmd->lba);
	if (cmd->flags != 0)
		check_flags(cmd);
	switch (cmd->op) {
	case BLK_READ:
	case BLK_WRITE:
		check_data(g, cmd);
		break;
	case BLK_DISCARD:
	case BLK_ZEROES:
		check_range(g, cmd);
		break;
	case BLK_FLUSH:
		assert(cmd->block_count == 0 && cmd->iov_count == 0);
		break;
	case BLK_OP_COUNT:
		unreachable();
	}
}

void blk_check(const struct blk *blk)
{
	const struct blk_geometry *g = &blk->geometry;

	assert(blk->ops != NULL && blk->ops->submit != NULL && blk->ops->name != NULL);
	assert(blk->worker != NULL);
	assert(blk->frames_size <= REQ_FRAMES_SIZE);
	assert(g->block_count > 0 && g->transfer_max > 0);
	assert(g->block_size >= 512 && (g->block_size & (g->block_size - 1)) == 0);
	assert(g->align > 0 && (g->align & (g->align - 1)) == 0 && g->align <= g->block_size);
	assert(g->ops != 0 && g->ops < 1u << BLK_OP_COUNT);
	assert(!(g->ops & 1u << BLK_DISCARD) || g->discard_unit > 0);
	/* Who may write may say when it is to be durable. */
	assert(!(g->ops & 1u << BLK_WRITE) || (g->ops & 1u << BLK_FLUSH));
}

void blk_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	const struct blk_geometry *g = &blk->geometry;
	enum status status;

	assert(req->worker == blk->worker);
	assert(req->state != REQ_DONE);
	assert(req->frame_end + blk->frames_size <= REQ_FRAMES_SIZE);
	check_cmd(g, cmd);

	blk->submitted[cmd->op]++;
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
