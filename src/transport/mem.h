/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_MEM_H
#define TRANSPORT_MEM_H

#include "proto/blk.h"

struct mem {
	struct blk blk;
	unsigned char *data;
};

void mem_init(struct mem *mem, struct worker *worker, void *data, uint64_t block_count);

#endif
