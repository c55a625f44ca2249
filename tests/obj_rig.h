/* SPDX-License-Identifier: Apache-2.0 */
/* Object engines for tests: over a kv in memory, or over a store on a device in memory. */
#ifndef TESTS_OBJ_RIG_H
#define TESTS_OBJ_RIG_H

#include "engine/obj_engine.h"
#include "kv_mem.h"
#include "store_fixture.h"

enum { OBJ_RIG_WORKERS = 3 };

/* With extents of 64 KiB, so that short contents have several. */
struct obj_rig {
	bool has_store;
	unsigned count; /* workers, each with an engine; a store has one */
	struct store_fixture f;
	struct kv_mem *mem;
	struct kv *kvs[OBJ_RIG_WORKERS];
	struct clock clock;
	uint64_t now_ns, wall_ms;
	struct worker mem_workers[OBJ_RIG_WORKERS];
	struct bufs mem_bufs[OBJ_RIG_WORKERS];
	struct ring rings[OBJ_RIG_WORKERS][OBJ_RIG_WORKERS];
	struct req *slots[OBJ_RIG_WORKERS][OBJ_RIG_WORKERS][64];
	struct obj_engine *engines[OBJ_RIG_WORKERS];
};

void obj_rig_open_mem(struct obj_rig *rig, unsigned count, const struct kv_mem_options *options);
void obj_rig_open_store(struct obj_rig *rig, uint64_t disk_size);
void obj_rig_reopen(struct obj_rig *rig, bool crash); /* a store's, or engines over what is there */
void obj_rig_close(struct obj_rig *rig);

struct worker *obj_rig_worker(struct obj_rig *rig, unsigned index);
void obj_rig_turn(struct obj_rig *rig);
void obj_rig_wait(struct obj_rig *rig, uint64_t ns); /* turns until so much time has passed */

/* One command on an engine, turned until it has ended. */
enum status obj_rig_run_on(struct obj_rig *rig, unsigned index, const struct obj_cmd *cmd,
                           uint64_t *result);
enum status obj_rig_run(struct obj_rig *rig, const struct obj_cmd *cmd, uint64_t *result);

/* Keys in a space of the kv, as they are on engine 0. */
uint64_t obj_rig_count(struct obj_rig *rig, uint8_t space);

/* Contents that their seed says; the same at every offset whatever the piece. */
void obj_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t size);
bool obj_is_filled(uint64_t seed, uint64_t offset, const uint8_t *data, size_t size);

/* A put in pieces of at most that many bytes; 0: one command. */
enum status obj_rig_put(struct obj_rig *rig, const struct obj_cmd *cmd, uint64_t seed,
                        uint64_t size, size_t piece, uint64_t *result);
/* Opens what cmd names, reads all of it in such pieces, and releases it. INVALID: wrong bytes. */
enum status obj_rig_get(struct obj_rig *rig, const struct obj_cmd *cmd, uint64_t seed,
                        uint64_t size, size_t piece);

#endif
