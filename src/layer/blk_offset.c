/* SPDX-License-Identifier: Apache-2.0 */
/* Shows a range of a device as a device: a partition. The whole of what a pass-through layer is. */
#include <stdlib.h>

#include "base/assert.h"
#include "layer/layer.h"

struct offset {
	struct blk blk;
	struct blk *lower;
	uint64_t first; /* block of `lower` that is our block 0 */
};

enum { OPTION_FIRST, OPTION_SIZE };

static void offset_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct offset *offset = container_of(blk, struct offset, blk);
	struct blk_cmd shifted = *cmd;

	shifted.lba += offset->first;
	blk_submit(offset->lower, req, &shifted);
}

static void offset_close(struct blk *blk)
{
	free(container_of(blk, struct offset, blk));
}

static const struct blk_ops offset_ops = {
	.name = "offset",
	.submit = offset_submit,
	.close = offset_close,
};

static enum status offset_open(struct layer_open *open, struct blk **out)
{
	struct blk *lower = open->lower[0];
	uint32_t block_size = lower->geometry.block_size;
	uint64_t whole = lower->geometry.block_count * block_size;
	uint64_t first = open->values[OPTION_FIRST].number;
	uint64_t size = open->values[OPTION_SIZE].number;
	struct offset *offset;

	if (first % block_size != 0 || first >= whole)
		return layer_fail_option(open, OPTION_FIRST,
		                         "a multiple of %u bytes, less than %llu", block_size,
		                         (unsigned long long)whole);
	if (size == 0)
		size = whole - first;
	if (size % block_size != 0 || size > whole - first)
		return layer_fail_option(open, OPTION_SIZE, "a multiple of %u bytes, at most %llu",
		                         block_size, (unsigned long long)(whole - first));
	offset = calloc(1, sizeof(*offset));
	if (offset == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	offset->blk = LAYER_DEVICE(lower, &offset_ops, 0);
	offset->blk.geometry.block_count = size / block_size;
	offset->lower = lower;
	offset->first = first / block_size;
	*out = &offset->blk;
	return STATUS_OK;
}

static const struct conf_setting offset_options[] = {
	[OPTION_FIRST] = { .name = "first",
	                   .type = CONF_SIZE,
	                   .initial = "0",
	                   .max = 1ull << 60,
	                   .help = "Where the range begins, in bytes." },
	[OPTION_SIZE] = { .name = "size",
	                  .type = CONF_SIZE,
	                  .initial = "0",
	                  .max = 1ull << 60,
	                  .help = "How long it is. 0: to the end." },
};

const struct blk_layer blk_offset = {
	.name = "offset",
	.help = "A range of a device as a device.",
	.options = offset_options,
	.option_count = array_count(offset_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = offset_open,
};
