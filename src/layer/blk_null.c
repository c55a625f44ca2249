/* SPDX-License-Identifier: Apache-2.0 */
/* A device that forgets: writes go nowhere, reads give zeroes. What a stack costs without one. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "layer/layer.h"

enum { OPTION_SIZE, OPTION_BLOCK_SIZE };

struct null {
	struct blk blk;
};

static void null_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	(void)blk;
	for (uint32_t i = 0; cmd->op == BLK_READ && i < cmd->iov_count; i++)
		memset(cmd->iov[i].iov_base, 0, cmd->iov[i].iov_len);
	req_complete(req, STATUS_OK, 0);
}

static void null_close(struct blk *blk)
{
	free(container_of(blk, struct null, blk));
}

static const struct blk_ops null_ops = {
	.name = "null",
	.submit = null_submit,
	.close = null_close,
};

static enum status null_open(struct layer_open *open, struct blk **out)
{
	uint32_t block_size = (uint32_t)open->values[OPTION_BLOCK_SIZE].number;
	struct null *null;

	if ((block_size & (block_size - 1)) != 0)
		return layer_fail_option(open, OPTION_BLOCK_SIZE, "a power of two");
	null = calloc(1, sizeof(*null));
	if (null == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	null->blk = (struct blk){
		.ops = &null_ops,
		.worker = open->env->worker,
		.geometry = {
			.block_count = open->values[OPTION_SIZE].number / block_size,
			.block_size = block_size,
			.align = 1,
			.transfer_max = (1u << 20) / block_size,
			.ops = (1u << BLK_OP_COUNT) - 1,
			.discard_unit = 1,
			.discard_zeroes = true,
			.volatile_media = true,
		},
	};
	*out = &null->blk;
	return STATUS_OK;
}

static const struct conf_setting null_options[] = {
	[OPTION_SIZE] = { .name = "size",
	                  .type = CONF_SIZE,
	                  .initial = "1G",
	                  .min = 64 << 10,
	                  .max = 1ull << 60,
	                  .help = "How large it says it is." },
	[OPTION_BLOCK_SIZE] = { .name = "block_size",
	                        .type = CONF_SIZE,
	                        .initial = "4K",
	                        .min = 512,
	                        .max = 64 << 10,
	                        .help = "Of its blocks." },
};

const struct blk_layer blk_null = {
	.name = "null",
	.help = "A device that forgets what is written and reads as zeroes.",
	.options = null_options,
	.option_count = array_count(null_options),
	.open = null_open,
};
