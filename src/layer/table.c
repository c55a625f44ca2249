/* SPDX-License-Identifier: Apache-2.0 */
/* All layers: a new one is its file, and a row here. */
#include "layer/layer.h"

extern const struct blk_layer blk_batch;
extern const struct blk_layer blk_cache;
extern const struct blk_layer blk_crypt;
extern const struct blk_layer blk_fault;
extern const struct blk_layer blk_fork;
extern const struct blk_layer blk_mirror;
extern const struct blk_layer blk_null;
extern const struct blk_layer blk_offset;
extern const struct blk_layer blk_retry;
extern const struct blk_layer blk_stripe;
extern const struct blk_layer blk_throttle;
extern const struct blk_layer blk_writeback;

const struct blk_layer *const blk_layers[] = {
	&blk_batch, &blk_cache,  &blk_crypt,    &blk_fault,     &blk_fork, &blk_mirror, &blk_offset,
	&blk_retry, &blk_stripe, &blk_throttle, &blk_writeback, &blk_null, NULL,
};
