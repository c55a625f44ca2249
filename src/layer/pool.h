/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a layer's own: for those that make several of one, or begin anew. */
#ifndef LAYER_POOL_H
#define LAYER_POOL_H

#include "layer/layer.h"

/*
 * A fixed number of structs of the layer that begin with a struct req. Memory: out of the stack's,
 * between pool_open() and pool_close(). Whoever finds too few parks its request with pool_park().
 */
struct pool {
	struct req_list free;
	struct req_list parked; /* requests from above that wait for free ones, in order */
	unsigned free_count, count;
	void *memory;
	size_t memory_size;
};

/* NO_SPACE after layer_fail(). */
enum status pool_open(struct pool *pool, struct layer_open *open, unsigned count, size_t size)
        __attribute__((warn_unused_result));
void pool_close(struct pool *pool, struct stack_env *env); /* all are free */

/* Initialised, for `worker`; NULL: none is free. */
struct req *pool_get(struct pool *pool, struct worker *worker);
void pool_give(struct pool *pool, struct req *req);

/* Waits until somebody calls pool_next(), which gives it back; NULL: nobody waits. */
void pool_park(struct pool *pool, struct req *req);
struct req *pool_next(struct pool *pool);

#endif
