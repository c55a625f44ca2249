/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/pool.h"

#include "base/assert.h"
#include "base/macros.h"

enum status pool_open(struct pool *pool, struct layer_open *open, unsigned count, size_t size)
{
	size_t each = align_up(size, 64);

	assert(count > 0 && size >= sizeof(struct req));
	*pool = (struct pool){ .memory_size = count * each };
	STAILQ_INIT(&pool->free);
	STAILQ_INIT(&pool->parked);
	pool->memory = layer_memory_open(open, pool->memory_size);
	if (pool->memory == NULL)
		return STATUS_NO_SPACE;
	for (unsigned i = 0; i < count; i++) {
		struct req *req = (struct req *)(void *)((char *)pool->memory + i * each);

		STAILQ_INSERT_TAIL(&pool->free, req, link);
	}
	pool->count = pool->free_count = count;
	return STATUS_OK;
}

void pool_close(struct pool *pool, struct stack_env *env)
{
	assert(pool->free_count == pool->count);
	assert(pool->count == 0 || STAILQ_EMPTY(&pool->parked));
	layer_memory_close(env, pool->memory, pool->memory_size);
	*pool = (struct pool){ .count = 0 };
}

struct req *pool_get(struct pool *pool, struct worker *worker)
{
	struct req *req = STAILQ_FIRST(&pool->free);

	if (req == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&pool->free, link);
	pool->free_count--;
	req_init(req, worker);
	return req;
}

/* The last one used is the next one: it is in the processor's cache. */
void pool_give(struct pool *pool, struct req *req)
{
	assert(req->state == REQ_IDLE && pool->free_count < pool->count);
	STAILQ_INSERT_HEAD(&pool->free, req, link);
	pool->free_count++;
}

void pool_park(struct pool *pool, struct req *req)
{
	assert(req->state == REQ_RUNNING);
	STAILQ_INSERT_TAIL(&pool->parked, req, link);
}

struct req *pool_next(struct pool *pool)
{
	struct req *req = STAILQ_FIRST(&pool->parked);

	if (req != NULL)
		STAILQ_REMOVE_HEAD(&pool->parked, link);
	return req;
}
