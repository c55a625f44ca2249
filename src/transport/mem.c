/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"

enum { TRANSFER_SIZE_MAX = 1 << 20 };

static void transfer(unsigned char *block, const struct blk_cmd *cmd)
{
	for (unsigned i = 0; i < cmd->iov_count; i++) {
		const struct iovec *v = &cmd->iov[i];

		if (v->iov_len == 0)
			continue;
		if (cmd->op == BLK_READ)
			memcpy(v->iov_base, block, v->iov_len);
		else
			memcpy(block, v->iov_base, v->iov_len);
		block += v->iov_len;
	}
}

static void mem_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct mem *mem = container_of(blk, struct mem, blk);
	uint32_t block_size = blk->geometry.block_size;
	unsigned char *block = mem->data + cmd->lba * block_size;

	switch (cmd->op) {
	case BLK_READ:
	case BLK_WRITE:
		transfer(block, cmd);
		break;
	case BLK_DISCARD:
	case BLK_ZEROES:
		memset(block, 0, (size_t)cmd->block_count * block_size);
		break;
	case BLK_FLUSH:
		break;
	case BLK_OP_COUNT:
		unreachable();
	}
	req_complete(req, STATUS_OK, 0);
}

static const struct blk_ops mem_ops = { .name = "mem", .submit = mem_submit };

static void mem_set(struct mem *mem, struct worker *worker, uint64_t block_count,
                    uint32_t block_size)
{
	*mem = (struct mem){
		.blk = {
			.ops = &mem_ops,
			.worker = worker,
			.geometry = {
				.block_count = block_count,
				.block_size = block_size,
				.align = 1,
				.transfer_max = TRANSFER_SIZE_MAX / block_size,
				.ops = (1u << BLK_OP_COUNT) - 1,
				.discard_unit = 1,
				.discard_zeroes = true,
				.volatile_media = true,
			},
		},
	};
}

void mem_init(struct mem *mem, struct worker *worker, void *data, uint64_t block_count)
{
	assert(data != NULL);
	mem_set(mem, worker, block_count, 4096);
	mem->data = data;
}

static void mem_close(struct blk *blk)
{
	struct mem *mem = container_of(blk, struct mem, blk);
	int r = munmap(mem->data, blk->geometry.block_count * blk->geometry.block_size);

	assert(r == 0);
	free(mem);
}

static const struct blk_ops mem_open_ops = { .name = "mem",
	                                     .submit = mem_submit,
	                                     .close = mem_close };

struct blk *mem_open(struct worker *worker, uint64_t block_count, uint32_t block_size)
{
	struct mem *mem = calloc(1, sizeof(*mem));

	assert(block_count > 0 && block_count <= SIZE_MAX / block_size);
	assert(block_size >= 512 && block_size <= TRANSFER_SIZE_MAX);
	if (mem == NULL)
		return NULL;
	mem_set(mem, worker, block_count, block_size);
	mem->blk.ops = &mem_open_ops;
	mem->data = mmap(NULL, block_count * block_size, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem->data == MAP_FAILED) {
		free(mem);
		return NULL;
	}
	return &mem->blk;
}
