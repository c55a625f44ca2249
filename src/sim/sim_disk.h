/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that outlives power cuts, with a volatile cache and the faults that real disks have. */
#ifndef SIM_SIM_DISK_H
#define SIM_SIM_DISK_H

#include "proto/blk.h"
#include "sim/sim.h"

/*
 * What is on the media, what reads see (the media and the volatile cache over it), the writes that
 * the cache holds, and the operations that are under way.
 *
 * A write's bytes are taken from the submitter's memory at a moment between its doorbell and its
 * completion that the seed chooses, and a read's buffer is scribbled over or filled at such a
 * moment: code that touches a buffer while the device has it is found out. A write is seen by
 * reads when it completes. BLK_FUA: it is durable then. BLK_FLUSH: what had completed when the
 * flush was submitted is durable when it completes.
 *
 * Memory: everything at open, but the pages that are written. Thread: one.
 */
struct sim_disk;

/* Rates per million; all 0: a disk that only loses what was not flushed. */
struct sim_disk_faults {
	/* of reads */
	uint32_t read_error; /* STATUS_IO */
	uint32_t read_flip;  /* one bit is wrong, this time */
	uint32_t read_rot;   /* a sector of it has become garbage, on the media */
	/* of writes */
	uint32_t write_error;       /* STATUS_IO; any part of it may have been written */
	uint32_t write_no_space;    /* STATUS_NO_SPACE; nothing is written */
	uint32_t write_lost;        /* OK, and nothing is written */
	uint32_t write_misdirected; /* OK, and it is written elsewhere */
	/* of flushes */
	uint32_t flush_error; /* STATUS_IO; most of what it was to cover never becomes durable */
	uint32_t flush_lie;   /* OK, and nothing becomes durable; of writes with BLK_FUA too */
	/* of all */
	uint32_t stall; /* takes a thousand times as long */
	/* of the writes that are neither durable nor lost when the power is cut */
	uint32_t cut_torn;    /* some sectors are new, the others old; one may be both */
	uint32_t cut_garbage; /* and one that was being written holds neither */
};

struct sim_disk_options {
	uint64_t seed;
	uint64_t size;         /* bytes, a multiple of 4 KiB */
	uint32_t block_size;   /* 512 or 4096; 0: 4096 */
	uint32_t transfer_max; /* blocks; 0: 256 */
	uint32_t queue_depth;  /* operations not yet completed; 0: 1024 */
	uint32_t atomic_unit;  /* bytes that a power cut leaves old or new: 0, 512 or 4096 */
	bool write_through;    /* no volatile cache: a write that completes is durable */
	bool fua_is_flush;     /* as the geometry says it; FUA is honoured anyway */
	bool discard_zeroes;   /* else a discarded block holds old bytes, zeroes or garbage */
	bool slow_media;       /* latencies of a spinning disk rather than of flash */
	struct sim_disk_faults faults;
};

struct sim_disk *sim_disk_open(const struct sim_disk_options *options);
void sim_disk_close(struct sim_disk *disk); /* no endpoint is left */

/*
 * The disk as a worker sees it. The endpoint is also a transport of that worker; close it with
 * blk->ops->close() when nothing is in flight on it, or stop the node. sim_stop(SIM_POWER_CUT) cuts
 * the disk's power too. All endpoints of a disk are of one node.
 */
struct blk *sim_disk_attach(struct sim_disk *disk, struct sim *sim, unsigned node, unsigned worker);

/*
 * Every write since the last flush that is not durable is kept, lost, torn or garbled as `disk`'s
 * seed says. No endpoint is left: sim_stop() does this to a disk that is in use.
 */
void sim_disk_power_cut(struct sim_disk *disk);

/* An unattached disk with the options of `disk` and no content: to be cut into. */
struct sim_disk *sim_disk_open_like(const struct sim_disk *disk);

/*
 * Makes `to`, which is unattached and was opened like `from`, what a power cut at this moment would
 * leave of `from`, which goes on undisturbed. Different seeds: different cuts.
 */
void sim_disk_cut_into(struct sim_disk *to, const struct sim_disk *from, uint64_t seed);

/* Grows when an operation is submitted, has moved its bytes, or has completed: moments to cut. */
uint64_t sim_disk_moment(const struct sim_disk *disk);

void sim_disk_set_faults(struct sim_disk *disk, const struct sim_disk_faults *faults);

/*
 * After `skip` more operations of the kinds in `ops` (bits 1 << enum blk_op) that touch the blocks
 * first..last the next `count` complete with `status`, as the faults above say; a count of
 * UINT32_MAX: for ever. STATUS_OK: a write is lost, a flush lies. At most SIM_DISK_RULES_MAX.
 */
enum { SIM_DISK_RULES_MAX = 8 };
struct sim_disk_rule {
	uint32_t ops, skip, count;
	enum status status;
	uint64_t first, last; /* both 0: any */
};
void sim_disk_add_rule(struct sim_disk *disk, const struct sim_disk_rule *rule);
void sim_disk_clear_rules(struct sim_disk *disk);

/* By hand, past all caches: what is on the media, and what reads see, becomes `data`. */
void sim_disk_poke(struct sim_disk *disk, uint64_t offset, const void *data, size_t size);
void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, void *data, size_t size);
/* The whole as reads see it: for comparing two disks. */
uint64_t sim_disk_hash(const struct sim_disk *disk);

struct sim_disk_stats {
	uint64_t ops[BLK_OP_COUNT]; /* completed, whatever their status */
	uint64_t blocks_written, blocks_read;
	uint64_t power_cuts, writes_cut; /* writes that a power cut found not durable */
	uint64_t writes_lost, writes_torn, writes_garbled; /* of those */
	uint64_t faults;                                   /* of all other kinds */
	uint32_t in_flight, unflushed;                     /* operations; pages */
};
void sim_disk_stats(const struct sim_disk *disk, struct sim_disk_stats *out);

#endif
