/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded queue between exactly two threads: one pushes, one pops. */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE 64

struct req;

struct ring {
	_Alignas(CACHE_LINE) _Atomic uint32_t tail; /* producer writes */
	uint32_t head_seen;                         /* producer's last look at head */
	_Alignas(CACHE_LINE) _Atomic uint32_t head; /* consumer writes */
	uint32_t tail_seen;                         /* consumer's last look at tail */
	_Alignas(CACHE_LINE) uint32_t mask;         /* capacity - 1; capacity is a power of two */
	struct req **slots;
};

void ring_init(struct ring *r, struct req **slots, uint32_t capacity);
bool ring_push(struct ring *r, struct req *req); /* producer; false when full */
struct req *ring_pop(struct ring *r);            /* consumer; NULL when empty */
bool ring_is_empty(const struct ring *r);        /* consumer */

#endif
