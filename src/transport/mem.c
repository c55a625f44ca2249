/* SPDX-License-Identifier: Apache-2.0 */
/* A block device in memory: for tests, and for benchmarks of the layers above it. */
#include "transport/mem.h"

#include <string.h>

#include "base/assert.h"

static void mem_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct mem *mem = container_of(blk, struct mem, blk);
	unsigned char *block = mem->data + cmd->lba * blk->geometry.block_size;

	for (unsigned i = 0; i < cmd->iov_count; i++) {
		const struct iovec *v = &cmd->iov[i];

		if (cmd->op == BLK_READ)
			memcpy(v->iov_base, block, v->iov_len);
		else
			memcpy(block, v->iov_base, v->iov_len);
		block += v->iov_len;
	}
	req_complete(req, STATUS_OK, 0);
}

static const struct blk_ops mem_ops = { .name = "mem", .submit = mem_submit };

void mem_init(struct mem *mem, struct worker *worker, void *data, uint64_t block_count)
{
	assert(data != NULL);
	*mem = (struct mem){
		.blk = {
			.ops = &mem_ops,
			.worker = worker,
			.geometry = {
				.block_count = block_count,
				.block_size = 4096,
				.align = 1,
				.transfer_max = 256,
				.ops = (1u << BLK_OP_COUNT) - 1,
			},
		},
		.data = data,
	};
}
