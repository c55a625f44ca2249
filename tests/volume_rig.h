/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes for tests, and a model of what each has: the seed of every block. */
#ifndef TESTS_VOLUME_RIG_H
#define TESTS_VOLUME_RIG_H

#include "engine/volume.h"
#include "obj_rig.h"

enum { VOLUME_RIG_BLOCK = 4096, VOLUME_RIG_SEEN = VOLUMES_MAX };

/* Over the kv of an obj_rig, on each of its workers. */
struct volume_rig {
	struct obj_rig obj;
	struct volumes *engines[OBJ_RIG_WORKERS];
	bool seen[OBJ_RIG_WORKERS][VOLUME_RIG_SEEN]; /* by slot: that it has appeared */
	bool busy;                                   /* may_leave() says no */
	unsigned told;
};

void volume_rig_open_mem(struct volume_rig *rig, unsigned count,
                         const struct kv_mem_options *options);
void volume_rig_open_store(struct volume_rig *rig, uint64_t disk_size);
void volume_rig_reopen(struct volume_rig *rig, bool crash);
void volume_rig_close(struct volume_rig *rig);
/* Turns until nothing is to be collected. */
void volume_rig_settle(struct volume_rig *rig);

enum status volume_rig_run(struct volume_rig *rig, unsigned worker, const struct volume_cmd *cmd);
enum status volume_rig_create(struct volume_rig *rig, const char *name, uint64_t blocks);
enum status volume_rig_do(struct volume_rig *rig, enum volume_op op, const char *name,
                          const char *other);
/* The device of a volume on a worker; NULL: there is none. */
struct blk *volume_rig_blk(struct volume_rig *rig, unsigned worker, const char *name);

/* A block command that is turned until it has ended. */
enum status volume_rig_io(struct volume_rig *rig, struct blk *blk, const struct blk_cmd *cmd);
uint64_t volume_rig_map(struct volume_rig *rig, struct blk *blk, const struct blk_map_cmd *cmd);
/* Blocks that their seeds make; 0: zeroes. Reads find out whether they are so. */
enum status volume_rig_write(struct volume_rig *rig, struct blk *blk, uint64_t lba,
                             const uint32_t *seeds, uint32_t count);
bool volume_rig_is(struct volume_rig *rig, struct blk *blk, uint64_t lba, const uint32_t *seeds,
                   uint32_t count);
uint64_t volume_rig_records(struct volume_rig *rig); /* there are in the store */

void volume_rig_fill(uint8_t *block, uint32_t seed);

#endif
