/* SPDX-License-Identifier: Apache-2.0 */
/* The last few events of a kind, such as slow requests, for whoever looks at a running server. */
#ifndef CORE_RECENT_H
#define CORE_RECENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
	RECENT_MAX = 32,      /* events that are kept */
	RECENT_TEXT_MAX = 224 /* bytes of one; what is longer is cut */
};

struct recent_event {
	uint64_t wall_ms;
	uint64_t duration_us; /* 0: it has none */
	uint64_t size;        /* bytes of text; not terminated */
	char text[RECENT_TEXT_MAX];
};

/* Words of one event as it is kept: so that a reader beside the writer is no data race. */
enum { RECENT_WORDS = sizeof(struct recent_event) / sizeof(uint64_t) };

/* An odd sequence: it is being written. Else 2 * (its number + 1), or 0. */
struct recent_slot {
	_Atomic uint64_t sequence;
	_Atomic uint64_t words[RECENT_WORDS];
};

/*
 * Memory: the owner's, all zeroes at first. Thread: one writes, any may read meanwhile. It is a
 * sequence lock (Lamport, "Concurrent Reading and Writing", 1977) around each slot.
 */
struct recent {
	_Atomic uint64_t count; /* events that there ever were: their numbers are 0 .. count - 1 */
	struct recent_slot slots[RECENT_MAX];
};

/* Bytes that are not printable ASCII become '?'. */
void recent_put(struct recent *recent, uint64_t wall_ms, uint64_t duration_us, struct bytes text);

static inline uint64_t recent_count(const struct recent *recent)
{
	/* Pairs with the release in recent_put(): the events up to it are there. */
	return atomic_load_explicit(&recent->count, memory_order_acquire);
}

/* False: the event of that number is gone, or was overwritten while it was read. */
bool recent_get(const struct recent *recent, uint64_t number, struct recent_event *event);

#endif
