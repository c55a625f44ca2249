/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: block devices on a key-value store, thin, with snapshots and clones. Every worker has an
 * engine over the same store, and on it a struct blk for each volume. One of the engines leads: it
 * makes, changes and removes volumes, and tells the others. docs/volumes.md is for users.
 *
 * A volume is a chain of layers. A write goes to the newest, a read looks from there on back; what
 * no layer has reads as zeroes. A snapshot freezes the newest layer and puts an empty one in front
 * of it. When what is removed leaves a layer that only one other stands on, the two become one.
 *
 * Writes are durable when they complete: a flush has nothing to do. A record, 4 to 32 KiB, is
 * written as a whole or not; several of one command may be in any combination after a power cut.
 */
#ifndef ENGINE_VOLUME_H
#define ENGINE_VOLUME_H

#include "core/buf.h"
#include "proto/blk.h"
#include "proto/kv.h"
#include "proto/volume.h"

struct volumes;

struct volumes_options {
	struct kv *kv;            /* the whole store, as this worker sees it */
	struct bufs *bufs;        /* of the worker */
	unsigned calls_max;       /* commands at a time; others wait. 0: 128 */
	unsigned parts_max;       /* kv commands of theirs at a time. 0: 256 */
	uint64_t seed;            /* for the numbers that name volumes */
	bool leads;               /* one engine of a store */
	uint64_t collect_wait_ns; /* between two looks for what is to be removed; 0: one second */
	/*
	 * In a turn of the worker. A volume is there, has changed, or was not removed after all.
	 * Never fails. NULL: nobody is told.
	 */
	void (*appeared)(void *owner, const struct volume_info *info, struct blk *blk);
	/* It is to be removed: false: somebody uses it. */
	bool (*may_leave)(void *owner, const struct volume_info *info, struct blk *blk);
	void *owner;
};

/* On the control path, before any thread uses the worker. NO_SPACE: no memory. */
enum status volumes_open(struct volumes **out, const struct volumes_options *options)
        __attribute__((warn_unused_result));
size_t volumes_memory(const struct volumes_options *options); /* bytes that it takes then */

/* Before the first command: all engines of the store, this one too; one of them leads. */
void volumes_join(struct volumes *volumes, struct volumes *const *all, unsigned count);
/*
 * On the leader's worker, after all have joined: finds the volumes and tells everybody. `req`
 * carries a frame of the caller's.
 */
void volumes_start(struct volumes *volumes, struct req *req);
/* On its worker: begins nothing of its own any more. */
void volumes_stop(struct volumes *volumes);
bool volumes_are_idle(const struct volumes *volumes); /* on its worker */
void volumes_close(struct volumes *volumes); /* when idle, or after its worker's last turn */

/* What commands are submitted to: on its worker. */
struct volume_set *volumes_set(struct volumes *volumes);

/* On its worker. The volume of that name; NULL: none. *blk (may be NULL): its device here. */
const struct volume_info *volumes_find(struct volumes *volumes, struct bytes name,
                                       struct blk **blk);

struct volumes_stats {
	uint64_t reads, writes, discards; /* commands */
	uint64_t looks;                   /* GETs that reads have taken */
	uint64_t cleared, merged, moved;  /* layers removed, layers made one, records moved so */
	unsigned calls, parts;            /* in use */
};
void volumes_stats(const struct volumes *volumes, struct volumes_stats *out);

#endif
