/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ring.h"

#include "base/assert.h"

void ring_init(struct ring *r, struct req **slots, uint32_t capacity)
{
	assert(capacity >= 2);
	assert((capacity & (capacity - 1)) == 0);
	*r = (struct ring){ .mask = capacity - 1, .slots = slots };
}

bool ring_push(struct ring *r, struct req *req)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	assert(req != NULL);
	if (tail - r->head_seen > r->mask) {
		r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
		if (tail - r->head_seen > r->mask)
			return false;
	}
	r->slots[tail & r->mask] = req;
	/* Pairs with the acquire in ring_pop(): the slot and *req are visible before the tail. */
	atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
	return true;
}

struct req *ring_pop(struct ring *r)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	struct req *req;

	if (head == r->tail_seen) {
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		if (head == r->tail_seen)
			return NULL;
	}
	req = r->slots[head & r->mask];
	/* Pairs with the acquire in ring_push(): we are done with the slot before it is reused. */
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
	return req;
}

bool ring_is_empty(const struct ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_relaxed) ==
	       atomic_load_explicit(&r->tail, memory_order_acquire);
}
