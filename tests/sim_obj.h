/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated machine with objects on it, and clients that say what each name may have. */
#ifndef TESTS_SIM_OBJ_H
#define TESTS_SIM_OBJ_H

#include "base/prng.h"
#include "engine/obj_engine.h"
#include "sim/sim_disk.h"
#include "sim_store_harness.h"

enum {
	SIM_OBJ_WORKERS = 3,
	SIM_OBJ_CLIENTS = 6,
	SIM_OBJ_NAMES = 4, /* of a client */
	SIM_OBJ_PARTS = 3,
	SIM_OBJ_PART_SIZE = 70000,
	SIM_OBJ_SIZE_MAX = 220000,
};

enum sim_obj_task { TASK_PUT, TASK_STREAM, TASK_DELETE, TASK_READ, TASK_UPLOAD, TASK_LIST, TASKS };

/* What a name may have now: what was acknowledged, or what is under way. */
struct sim_obj_name {
	char text[16];
	uint64_t acked;   /* seed; 0: absent */
	uint64_t pending; /* seed */
	bool deleting;
	bool changing; /* pending or deleting may have happened */
	unsigned versions;
};

struct sim_obj_client {
	struct sim_obj *rig;
	struct req req;
	unsigned index, worker;
	bool busy;
	uint8_t task, step;
	struct sim_obj_name names[SIM_OBJ_NAMES];
	struct sim_obj_name *name; /* of the task */
	uint64_t seed, size, at, handle, version;
	struct obj_put put;
	uint8_t etag[8];
	/* The upload of names[0]. */
	uint64_t upload, upload_seed;
	unsigned parts; /* 1.. that many are acknowledged */
	bool creating, ending;
	struct obj_complete_part complete_parts[SIM_OBJ_PARTS];
	struct obj_complete complete;
	struct obj_list list;
	char listed[16]; /* the last name that a list has told */
	uint8_t data[SIM_OBJ_SIZE_MAX];
};

struct sim_obj {
	struct sim *sim;
	struct sim_disk *disk;
	struct store_env env;
	void *store;
	struct bufs bufs[SIM_OBJ_WORKERS];
	struct obj_engine *engines[SIM_OBJ_WORKERS];
	unsigned workers;
	bool versioned;
	struct prng prng;
	uint64_t next_seed;
	struct sim_obj_client clients[SIM_OBJ_CLIENTS];
	uint64_t cuts, acked, seen, ended, postponed;
};

/* For so many steps; what ends they note in themselves. */
void sim_obj_play(struct sim_obj *rig, uint64_t steps);

#endif
