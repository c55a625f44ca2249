/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for a moment: for layers that delay, back off or ration. */
#ifndef LAYER_DELAY_H
#define LAYER_DELAY_H

#include "core/timer.h"
#include "proto/blk.h"

/*
 * Memory: the layer's. A request that waits has a frame of this on top, which goes before it is
 * woken: a layer's frames_size covers DELAY_FRAME beside the frames of what is below, not above.
 */
struct delay {
	struct worker *worker;
	struct timer timer;
	struct req_list waiting; /* by their moment, the first one first */
	unsigned count;
	uint64_t last_ns; /* of the last one, while there is one */
	req_fn *wake;     /* the layer's own frame is on top again */
};

enum { DELAY_FRAME = 32 };

void delay_init(struct delay *delay, struct worker *worker, req_fn *wake);

/* req waits until now_ns >= due_ns, at most a tick of the timers longer; those due first first. */
void delay_add(struct delay *delay, struct req *req, uint64_t due_ns);

#endif
