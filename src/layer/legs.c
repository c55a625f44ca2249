/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/legs.h"

#include "base/assert.h"

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static void join(struct blk_geometry *out, const struct blk_geometry *g)
{
	if (g->block_count < out->block_count)
		out->block_count = g->block_count;
	out->align = most(out->align, g->align);
	out->transfer_max = least(out->transfer_max, g->transfer_max);
	if (out->range_max == 0 || (g->range_max != 0 && g->range_max < out->range_max))
		out->range_max = g->range_max;
	out->ops &= g->ops;
	out->atomic_unit = least(out->atomic_unit, g->atomic_unit);
	out->discard_unit = most(out->discard_unit, g->discard_unit);
	out->volatile_cache |= g->volatile_cache;
	out->fua_is_flush |= g->fua_is_flush;
	out->discard_zeroes &= g->discard_zeroes;
	out->volatile_media |= g->volatile_media;
}

enum status legs_geometry(struct layer_open *open, struct blk_geometry *out)
{
	*out = open->lower[0]->geometry;
	for (unsigned i = 1; i < open->lower_count; i++) {
		const struct blk_geometry *g = &open->lower[i]->geometry;

		if (g->block_size != out->block_size)
			return layer_fail(open, STATUS_INVALID,
			                  "its devices have blocks of %u and of %u bytes",
			                  out->block_size, g->block_size);
		join(out, g);
	}
	if (!(out->ops & 1u << BLK_DISCARD)) {
		out->discard_unit = 0;
		out->discard_zeroes = false;
	}
	return STATUS_OK;
}

uint32_t iov_slice(const struct blk_cmd *cmd, uint64_t at, uint64_t *size, struct iovec *out,
                   uint32_t out_max, uint32_t unit)
{
	uint64_t left = *size, taken = 0;
	uint32_t count = 0, i = 0;

	assert(left % unit == 0);
	for (; at >= cmd->iov[i].iov_len; i++) {
		assert(i + 1 < cmd->iov_count);
		at -= cmd->iov[i].iov_len;
	}
	for (; left > 0 && count < out_max; i++, at = 0) {
		uint64_t part = cmd->iov[i].iov_len - at;

		assert(i < cmd->iov_count);
		part = part < left ? part : left;
		if (part == 0)
			continue;
		out[count++] = (struct iovec){ (uint8_t *)cmd->iov[i].iov_base + at, part };
		left -= part;
		taken += part;
	}
	/* What is not a whole unit is left for the next slice. */
	for (uint64_t odd = taken % unit; odd > 0;) {
		uint64_t part = out[count - 1].iov_len < odd ? out[count - 1].iov_len : odd;

		out[count - 1].iov_len -= part;
		odd -= part;
		taken -= part;
		count -= out[count - 1].iov_len == 0;
	}
	*size = taken;
	return count;
}
