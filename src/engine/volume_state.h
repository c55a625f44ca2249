/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the volume engine share. Inside of it only.
 *
 *   volume_engine.c   opened, commands taken, calls and parts given out
 *   volume_io.c       READ, WRITE
 *   volume_range.c    DISCARD, and what a range is made of
 *   volume_tables.c   the leader's: all names and layers
 *   volume_change.c   the leader's: they change, and all workers are told
 *   volume_control.c  the leader's: CREATE .. DELETE
 *   volume_collect.c  the leader's: layers that nobody needs are removed, or made one
 */
#ifndef ENGINE_VOLUME_STATE_H
#define ENGINE_VOLUME_STATE_H

#include "base/prng.h"
#include "core/timer.h"
#include "core/worker.h"
#include "engine/volume_format.h"

enum {
	VOLUME_BATCH = 64,             /* records of a COMMIT, or of a look at what there is */
	VOLUME_BATCH_SIZE = 256 << 10, /* bytes of them */
	VOLUME_LOOKS_MAX = 2 * VOLUME_DEPTH_MAX,
	VOLUME_STRIPE_RECORDS = 1 << (VOLUME_STRIPE_SHIFT - VOLUME_RECORD_SHIFT_MIN),
	VOLUME_LAYERS_MAX = 1024, /* those that are being removed, too */
	VOLUME_SLOT_WORDS = VOLUMES_MAX / 64,
};
_Static_assert(VOLUMES_MAX % 64 == 0, "slots are whole words");

/* A place where a record may be: of `layer`, if its index is below `limit`. */
struct volume_look {
	uint64_t layer, limit;
};

/*
 * How a volume is read, as the leader has told it. The first look is the newest layer, to which is
 * written. A layer whose records are being moved to the one before it is followed by that one once
 * more: what is not there any more is here by now.
 */
struct volume_image {
	bool used;
	uint8_t record_shift, look_count;
	uint64_t family;
	struct volume_look looks[VOLUME_LOOKS_MAX];
	struct volume_info info;
};

/* A volume as a worker has it. */
struct volume {
	struct blk blk;
	struct volumes *engine;
	struct volume_image image;
	uint32_t running; /* calls on it */
	bool frozen;      /* nothing begins on it now */
	bool served;      /* who wants to know of volumes knows of it */
};

struct volume_call;
struct volume_part;
typedef void volume_step_fn(struct volume_call *call);

/* A COMMIT that is put together. In a buffer. */
struct volume_batch {
	struct kv_commit commit;
	struct kv_write writes[VOLUME_BATCH];
	uint8_t keys[VOLUME_BATCH][VOLUME_KEY_SIZE];
};
_Static_assert(sizeof(struct volume_batch) <= 16 << 10, "the second class of buffers");

/* What a look at keys has found. */
struct volume_found {
	uint32_t count, limit;
	uint64_t index[VOLUME_BATCH];
	uint8_t kind[VOLUME_BATCH];
};

/* A command of the kv for a call. */
struct volume_part {
	STAILQ_ENTRY(volume_part) link;
	struct volume_call *call;
	uint32_t record, count; /* in the call's range */
	uint8_t look;
	bool found, wrong; /* READ: set by the visit, at whatever worker */
	uint8_t key[VOLUME_KEY_SIZE];
	struct buf *batch;
	struct req req;
};
STAILQ_HEAD(volume_part_list, volume_part);

/* A command on a volume. */
struct volume_call {
	STAILQ_ENTRY(volume_call) link, hungry_link;
	struct volume *volume;
	struct req *parent;
	enum { VOLUME_CALL_READ, VOLUME_CALL_WRITE, VOLUME_CALL_RANGE, VOLUME_CALL_MAP } kind;
	struct blk_cmd cmd;
	struct blk_map_cmd map;
	uint64_t first; /* record; equal to the block */
	uint32_t next;  /* record, from `first` on, that no part has yet */
	uint32_t parts; /* running */
	bool hungry;    /* waits for a part */
	enum status status;
	uint64_t result;
	/* RANGE, MAP: one part at a time, with this buffer. */
	struct buf *work;
	uint64_t from, end; /* records that are looked at, of partition */
	unsigned partition, place;
	uint8_t look;
};
STAILQ_HEAD(volume_call_list, volume_call);

/* What a parent's request remembers while it is here. */
struct volume_waits {
	struct frame frame;
	struct volume *volume;
	bool is_map;
	union {
		struct blk_cmd cmd;
		struct blk_map_cmd map;
	};
};

struct volume_leader;

struct volumes {
	struct volume_set set;
	struct worker *worker;
	struct kv *kv;
	struct bufs *bufs;
	struct volumes_options options;
	struct volume *volumes; /* VOLUMES_MAX, by slot */
	uint8_t *zeroes;        /* as many as the largest record has */
	struct volume_call *calls;
	struct volume_part *parts;
	struct volume_call_list calls_free, hungry;
	struct volume_part_list parts_free;
	bool kicked; /* what waits is looked at later in this turn */
	struct req kick;
	struct req_list waiting; /* for a call, or for a volume that is frozen */
	struct volumes *peers[WORKER_PEERS_MAX];
	unsigned peer_count;
	struct volumes *first;        /* the leader */
	struct volume_leader *leader; /* NULL: another engine's */
	struct req *freezing; /* goes on when what it freezes has ended; see volume_change.c */
	struct volumes_stats stats;
};

/* volume_engine.c */
extern const struct blk_ops volume_ops;
void volume_call_finish(struct volume_call *call);
struct volume_part *volume_part_get(struct volume_call *call); /* NULL: none; it will go on */
void volume_part_free(struct volume_part *part);
/* Submits; done(req) finds its part with volume_part_of(). */
void volume_part_submit(struct volume_part *part, const struct kv_cmd *cmd, req_fn *done);
struct volume_part *volume_part_of(struct req *req); /* once */
void volumes_go_on(struct volumes *engine);          /* with what waits, later in this turn */
static inline unsigned volume_place(const struct volume *volume, uint64_t index)
{
	return volume_partition(volume->image.family, index, volume->image.record_shift,
	                        volume->engine->kv->traits.partitions);
}

/* volume_io.c, volume_range.c */
volume_step_fn volume_read, volume_write, volume_range, volume_map;

/* In a buffer of sizeof(struct volume_batch). */
void volume_batch_begin(struct volume_batch *batch);
void volume_batch_key(struct volume_batch *batch, unsigned partition, uint64_t layer,
                      uint64_t index);
/* Adds a write; its key is the one of the last volume_batch_key(). */
struct kv_write *volume_batch_add(struct volume_batch *batch, uint8_t op);
/* A SCAN of keys of a layer, [from, end) in a partition, into *found; keys: two of them. */
void volume_look_cmd(struct kv_cmd *cmd, uint8_t keys[2 * VOLUME_KEY_SIZE],
                     struct volume_found *found);

/* The leader's tables. */
struct volume_entry {
	bool used;
	struct volume_record record; /* its origin: in `origin` */
	char name[VOLUME_NAME_MAX + 1], origin[VOLUME_NAME_MAX + 1];
};

struct volume_layer {
	uint64_t number; /* 0: free */
	struct volume_layer_record record;
	bool merging; /* its records go to its only child */
};

typedef void volume_leader_fn(struct volume_leader *leader);

/* What a change does to the tables, and in the store by one COMMIT. */
enum { VOLUME_CHANGES_MAX = 4, VOLUME_CHANGE_WRITES = 2 * VOLUME_CHANGES_MAX + 1 };

struct volume_change {
	unsigned entry_count, layer_count;
	struct volume_entry entries[VOLUME_CHANGES_MAX]; /* not `used`: is removed */
	struct volume_layer layers[VOLUME_CHANGES_MAX];
	bool layer_goes[VOLUME_CHANGES_MAX];
	struct kv_commit commit;
	struct kv_write writes[VOLUME_CHANGE_WRITES];
	uint8_t keys[VOLUME_CHANGE_WRITES][VOLUME_NAME_KEY_MAX];
	uint8_t values[VOLUME_CHANGE_WRITES][VOLUME_RECORD_SIZE];
	uint64_t mask[VOLUME_SLOT_WORDS]; /* slots that it is about */
	bool asks;                        /* whether they may leave */
};

/*
 * What is done about layers that nobody needs, one at a time. Everything is found again after a
 * crash, and may be done twice.
 */
struct volume_collector {
	struct timer timer;
	volume_leader_fn *next;   /* when the kv has answered */
	volume_leader_fn *change; /* runs when no command does: it makes a change */
	bool running;
	uint64_t layer, child; /* numbers */
	unsigned shift;        /* of their records */
	bool wrong;            /* a record was not as it must be */
	unsigned partition;
	uint64_t from, end;
	struct volume_found found, there;
	uint32_t count, taken; /* of found: in this batch; their values are in `data` */
	uint8_t keys[2 * VOLUME_KEY_SIZE];
	struct buf *batch, *data;
	struct req req;
};

struct volume_leader {
	struct volumes *engine;
	struct volume_entry entries[VOLUMES_MAX]; /* by slot */
	struct volume_layer layers[VOLUME_LAYERS_MAX];
	struct volume_image images[VOLUMES_MAX];
	uint64_t number_next; /* the next that is free */
	struct prng prng;
	bool stopping;
	/* A change under way: one at a time. */
	struct req_list queue; /* commands that wait */
	struct req *command;   /* NULL: the collector's, or none */
	bool busy;
	enum status status;
	volume_leader_fn *next, *changed; /* when the kv or all workers have answered; at the end */
	struct volume_change change;
	unsigned told; /* workers */
	bool freezes;
	uint8_t keys[2][VOLUME_NAME_KEY_MAX];
	struct volume_collector collector;
	struct req req, tell;
};

/* volume_tables.c */
void volume_leader_init(struct volume_leader *leader, struct volumes *engine);
struct volume_entry *volume_entry_find(struct volume_leader *leader, struct bytes name);
struct volume_layer *volume_layer_find(struct volume_leader *leader, uint64_t number);
unsigned volume_layer_depth(struct volume_leader *leader, uint64_t number);
/* The volume whose newest layer it is; NULL: none. */
struct volume_entry *volume_layer_entry(struct volume_leader *leader, uint64_t number);
/* Layers that stand on it; *child: one of them. */
unsigned volume_layer_children(struct volume_leader *leader, uint64_t number, uint64_t *child);
void volume_image_make(struct volume_leader *leader, uint32_t slot);
void volume_load(struct volume_leader *leader, volume_leader_fn *next);

/* volume_change.c: a change is begun, gets what it changes, and is made. */
void volume_change_begin(struct volume_leader *leader);
void volume_change_entry(struct volume_leader *leader, const struct volume_entry *entry);
void volume_change_layer(struct volume_leader *leader, const struct volume_layer *layer, bool goes);
uint64_t volume_change_number(struct volume_leader *leader); /* one that is free */
void volume_change_slot(struct volume_leader *leader, uint32_t slot);
void volume_change_readers(struct volume_leader *leader, uint64_t layer); /* the slots of all */
/* Nothing runs on the slots, then the COMMIT, then all know of it; leader->status. */
void volume_change_make(struct volume_leader *leader, volume_leader_fn *changed);
/* All workers have the images of leader->change.mask. */
void volume_tell_images(struct volume_leader *leader, volume_leader_fn *next);
void volumes_frozen(struct volumes *engine); /* a call on a frozen volume has ended */
/* A command of the kv's; its status goes to leader->status. */
void volume_leader_kv(struct volume_leader *leader, const struct kv_cmd *cmd,
                      volume_leader_fn *next);

/* volume_control.c */
enum { VOLUME_CONTROL_FRAME = 48 }; /* bytes that it pushes on a request */
void volume_control_submit(struct volumes *engine, struct req *req, const struct volume_cmd *cmd);
void volume_leader_idle(struct volume_leader *leader); /* what waits is next */

/* volume_collect.c */
void volume_collect(struct volume_leader *leader); /* there may be something */
void volume_collect_stop(struct volume_leader *leader);

#endif
