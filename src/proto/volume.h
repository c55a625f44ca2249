/* SPDX-License-Identifier: Apache-2.0 */
/* The volume protocol: block devices are made, changed and removed by name. */
#ifndef PROTO_VOLUME_H
#define PROTO_VOLUME_H

#include <stdbool.h>

#include "base/bytes.h"
#include "core/req.h"

enum {
	VOLUMES_MAX = 192, /* snapshots, too */
	VOLUME_NAME_MAX = 64,
	VOLUME_RECORD_SHIFT_MIN = 12,
	VOLUME_RECORD_SHIFT_MAX = 15,
	VOLUME_DEPTH_MAX = 16, /* layers that a read may have to look at */
};
#define VOLUME_SIZE_MAX (1ull << 50)

/* What there is. Memory: the engine's; the same as long as the volume is there. */
struct volume_info {
	char name[VOLUME_NAME_MAX + 1];
	char origin[VOLUME_NAME_MAX + 1]; /* what it is a snapshot or clone of; empty: neither */
	uint8_t uuid[16];
	uint32_t slot; /* 0..VOLUMES_MAX - 1: its own while it is there */
	uint32_t record_size, depth;
	bool read_only;
	uint64_t size, created_ms;
};

/*
 *            name    other          size                      beside OK
 * CREATE     it                     bytes                     EXISTS, NO_SPACE (1), INVALID
 * SNAPSHOT   of it   the snapshot                             NOT_FOUND, EXISTS, TOO_LARGE (2)
 * CLONE      of it   the clone                                READ_ONLY (3), as SNAPSHOT
 * RESIZE     it                     bytes                     NOT_FOUND, INVALID, DENIED (4)
 * DELETE     it                                               NOT_FOUND, BUSY (5)
 *
 * Sizes are multiples of the record. (1) VOLUMES_MAX, or the device is full. (2) VOLUME_DEPTH_MAX.
 * (3) Only a snapshot can be cloned. (4) Of a snapshot. BUSY: what it was shrunk by is still being
 * removed. (5) Somebody uses it.
 */
enum volume_op {
	VOLUME_CREATE,
	VOLUME_SNAPSHOT,
	VOLUME_CLONE,
	VOLUME_RESIZE,
	VOLUME_DELETE,
	VOLUME_OP_COUNT
};

/* The command's memory, names too, stays until the completion. */
struct volume_cmd {
	enum volume_op op;
	uint32_t record_shift; /* CREATE; 0: 12 */
	struct bytes name, other;
	uint64_t size;
};

struct volume_set;

struct volume_set_ops {
	const char *name;
	void (*submit)(struct volume_set *set, struct req *req, const struct volume_cmd *cmd);
	const struct volume_info *(*at)(struct volume_set *set, uint32_t slot);
};

struct volume_set {
	const struct volume_set_ops *ops;
	struct worker *worker; /* the only one that may call */
	uint32_t frames_size;  /* bytes of frames pushed by it and all below it */
};

/* The only ways in. */
void volume_submit(struct volume_set *set, struct req *req, const struct volume_cmd *cmd);
/* What is in a slot, as this worker knows it; NULL: nothing. */
const struct volume_info *volume_at(struct volume_set *set, uint32_t slot);

#endif
