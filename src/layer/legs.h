/* SPDX-License-Identifier: Apache-2.0 */
/* What layers share that make several commands of one, or stand on several devices. */
#ifndef LAYER_LEGS_H
#define LAYER_LEGS_H

#include "layer/layer.h"

/*
 * What all of the lower devices can do: the smallest, the strictest. Of block_count the smallest,
 * for the layer to change. INVALID after layer_fail(): their blocks are of different sizes.
 */
enum status legs_geometry(struct layer_open *open, struct blk_geometry *out)
        __attribute__((warn_unused_result));

/*
 * The segments of the bytes at..at+*size of `iov`, in at most out_max pieces; *size becomes less
 * when they are more, in multiples of `unit`, and 0 when not even that fits.
 */
uint32_t iov_slice(const struct blk_cmd *cmd, uint64_t at, uint64_t *size, struct iovec *out,
                   uint32_t out_max, uint32_t unit);

#endif
