/* SPDX-License-Identifier: Apache-2.0 */
/* All layers: a new one is its file, and a row here. */
#include "layer/layer.h"

extern const struct blk_layer blk_null;
extern const struct blk_layer blk_offset;

const struct blk_layer *const blk_layers[] = {
	&blk_offset,
	&blk_null,
	NULL,
};
