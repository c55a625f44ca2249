/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object engine: proto/obj.h on a key-value device. Each worker has one over the same store;
 * they meet in the store only, and where one asks the others what they read.
 */
#ifndef ENGINE_OBJ_ENGINE_H
#define ENGINE_OBJ_ENGINE_H

#include "core/buf.h"
#include "proto/kv.h"
#include "proto/obj.h"

struct obj_engine;

struct obj_options {
	struct kv *kv;            /* the whole store, as this worker sees it */
	struct bufs *bufs;        /* of the worker */
	unsigned calls_max;       /* commands at a time; others wait. 0: 64 */
	unsigned handles_max;     /* 0: 512 */
	unsigned extent_shift;    /* of what is written: extents of 1 << that many bytes. 0: 26 */
	unsigned spread;          /* of new buckets: partitions for its names. 0: 4 */
	bool collects;            /* removes what is to be removed; one engine of a store */
	uint64_t collect_wait_ns; /* between two looks for it; 0: one second */
};

/* Memory that an engine takes at open, in bytes; the rest comes from bufs. */
size_t obj_engine_memory(const struct obj_options *options);

/* On the control path, before any thread uses the worker. NO_SPACE: no memory. */
enum status obj_engine_open(struct obj_engine **out, const struct obj_options *options)
        __attribute__((warn_unused_result));

/* Before the first command: all engines of the store, this one too. */
void obj_engine_join(struct obj_engine *engine, struct obj_engine *const *all, unsigned count);

/*
 * On its worker: begins to collect. `req` carries a frame of the caller's and completes when
 * commands may come, on whatever engine of the store: the one that collects is started first.
 */
void obj_engine_start(struct obj_engine *engine, struct req *req);

/* On its worker: begins nothing of its own any more. */
void obj_engine_stop(struct obj_engine *engine);
/* On its worker: nothing is under way. Handles may still be open. */
bool obj_engine_is_idle(const struct obj_engine *engine);
/* After its worker's last turn, or when it is idle. */
void obj_engine_close(struct obj_engine *engine);

/* What commands are submitted to. */
struct obj *obj_engine_obj(struct obj_engine *engine);

/* For tests and metrics. On its worker. */
struct obj_engine_stats {
	uint64_t commands[OBJ_OP_COUNT];
	uint64_t retries;              /* changes that lost against another and were done again */
	uint64_t collected, postponed; /* trash that was removed; that somebody still reads */
	unsigned calls, handles;       /* in use */
};
void obj_engine_stats(const struct obj_engine *engine, struct obj_engine_stats *out);

#endif
