/* SPDX-License-Identifier: Apache-2.0 */
/* The block protocol: blocks of one size at numbered addresses. */
#ifndef PROTO_BLK_H
#define PROTO_BLK_H

#include <stdbool.h>
#include <sys/uio.h>

#include "base/macros.h"
#include "core/req.h"

/*
 * What a command does. Nothing is emulated on the way: who submits looks at geometry.ops first.
 *
 *   READ     fills iov with the blocks
 *   WRITE    makes the blocks what iov holds; the memory may not change until it completes
 *   FLUSH    what had completed when it was submitted is durable when it completes
 *   DISCARD  the content is wanted no more: reads give what geometry.discard_zeroes says
 *   ZEROES   makes the blocks zeroes, without memory
 *
 * Commands under way at a time have no order: who needs one waits. Two that overlap, one of which
 * writes, leave any mixture of blocks; an error leaves each block old, new or, where the device's
 * atomic_unit is less than a block, torn.
 */
enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZEROES, BLK_OP_COUNT };

enum {
	BLK_FUA = 1 << 0,   /* write, zeroes: durable when it completes */
	BLK_UNMAP = 1 << 1, /* zeroes: may give the space back */
};

/* Result: none. All the blocks, or a status other than OK and unspecified content. */
struct blk_cmd {
	enum blk_op op;
	uint32_t flags;
	uint64_t lba;         /* first block */
	uint32_t block_count; /* flush: 0 */
	uint32_t iov_count;
	const struct iovec *iov; /* read, write: block_count blocks, aligned to geometry.align */
};

struct blk_geometry {
	uint64_t block_count;
	uint32_t block_size;   /* bytes, a power of two */
	uint32_t align;        /* bytes, of each segment's address and length */
	uint32_t transfer_max; /* blocks in one read or write */
	uint32_t range_max;    /* blocks in one discard or zeroes; 0: as many as there are */
	uint32_t ops;          /* bit (1 << enum blk_op) for each supported */
	uint32_t atomic_unit;  /* bytes that a power cut leaves old or new; 0: none promised */
	uint32_t discard_unit; /* blocks; 0: no discard */
	bool volatile_cache;   /* writes need BLK_FUA or a later BLK_FLUSH to be durable */
	bool fua_is_flush;     /* BLK_FUA costs a whole flush here: flush once for many writes */
	bool discard_zeroes;   /* discarded blocks read as zeroes */
	bool volatile_media;   /* memory: a restart loses all of it, whatever was flushed */
};

/* So many blocks in a row that are alike. */
struct blk_extent {
	uint64_t block_count;
	bool hole; /* they take no room: a write may need some */
	bool zero; /* they read as zeroes */
};

/*
 * What a range is made of, for those who copy it: `extent_max` extents at most, from lba on, that
 * cover block_count blocks or the first so many of them, one at least. Result: extents. What writes
 * that run meanwhile make of it is told or not.
 */
struct blk_map_cmd {
	uint64_t lba, block_count;  /* at least one */
	struct blk_extent *extents; /* the submitter's, until the completion */
	uint32_t extent_max;
};

struct blk;

struct blk_ops {
	const char *name;
	/* The command dies when this returns; what it points to lives until the completion. */
	void (*submit)(struct blk *blk, struct req *req, const struct blk_cmd *cmd);
	/* NULL: it does not know; then all of it may be data. */
	void (*map)(struct blk *blk, struct req *req, const struct blk_map_cmd *cmd);
	void (*close)(struct blk *blk); /* no request is running */
	/*
	 * Completes `req` when what it does beside its commands has ended and its state is durable
	 * below; it takes no command any more. With an error it is stopped, too. NULL: there is
	 * nothing to end.
	 */
	void (*stop)(struct blk *blk, struct req *req);
};

/* A device, or a layer that looks like one. First member of the implementation's own struct. */
struct blk {
	const struct blk_ops *ops;
	struct worker *worker; /* the only one that may submit */
	struct blk_geometry geometry;
	uint32_t frames_size;             /* bytes of frames pushed by it and all below it */
	uint64_t submitted[BLK_OP_COUNT]; /* commands, for whoever asks; only grow */
};

/* Whether what an implementation says of itself can be: when it was opened. */
void blk_check(const struct blk *blk);

/* The only way in: checks the command against the geometry and the worker, then ops->submit. */
void blk_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd);

/* The same for ops->map, where there is one. */
void blk_map(struct blk *blk, struct req *req, const struct blk_map_cmd *cmd);

#endif
