/* SPDX-License-Identifier: Apache-2.0 */
/* A durable kv of 300 lines, right or with one planted bug: what the store harness is tested with.
 */
#ifndef TESTS_SIM_TOY_KV_H
#define TESTS_SIM_TOY_KV_H

#include "sim_store_harness.h"

/*
 * All in memory (kv_mem), and a log of what keys became. Frames are appended, one at a time under
 * way; the log is never cleaned. One worker. Blobs are put into the log when a PUT takes them.
 */
#define TOY_KV_BUGS(X)                                                                             \
	X(NONE, "none")                                                                            \
	X(ACK_EARLY, "acknowledge before flush")                                                   \
	X(DIRTY_READ, "show what is not durable")                                                  \
	X(SPLIT_COMMIT, "half of a commit in the next frame")                                      \
	X(NO_CHECKSUM, "no checksum")                                                              \
	X(LOST_DELETE, "recovery forgets deletes")                                                 \
	X(NEW_VERSIONS, "recovery gives new versions")                                             \
	X(UNFLUSHED_REPLAY, "recovery shows what is only in the device's cache")                   \
	X(STUCK, "a full frame parks its request for ever")

enum toy_kv_bug {
#define X(name, text) TOY_KV_##name,
	TOY_KV_BUGS(X)
#undef X
	        TOY_KV_BUG_COUNT
};

/* The binding of a store with that bug. Static. */
const struct store_binding *toy_kv_binding(enum toy_kv_bug bug);

/* No disk at all: for runs of one life. Its ports are on all workers, and it delays. */
const struct store_binding *kv_mem_binding(void);

#endif
