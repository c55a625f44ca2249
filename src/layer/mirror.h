/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the mirror share: its state, and its mark on every device. */
#ifndef LAYER_MIRROR_H
#define LAYER_MIRROR_H

#include "core/timer.h"
#include "layer/legs.h"
#include "layer/pool.h"

/*
 * Each device begins with 64 KiB of ours: two slots for a mark of 4 KiB, written in turn, so that
 * one is whole whenever the power is cut. Data follow. docs/formats.md has the table.
 *
 * A region is marked before the first write to it, and unmarked when all have it and nothing has
 * been written for a while: after a crash the marked regions are copied from the first member to
 * the others. A device that fails a write is no member any more. The mark that says so, with the
 * next epoch, is durable on a quorum before that write ends: so a device that was away is known to
 * be behind, and is not read until the marked regions have been copied to it.
 */
enum {
	MIRROR_DATA_START = 64 << 10, /* bytes */
	MIRROR_MARK_SIZE = 4096,
	MIRROR_VERSION = 1,
	MIRROR_REGIONS_MAX = 4032 * 8,
	MIRROR_REGION_SIZE_MIN = 64 << 10,
	MIRROR_WORDS = MIRROR_REGIONS_MAX / 64,
	MIRROR_COPY_SIZE = 64 << 10,
};

#define MIRROR_MAGIC 0x726f7272696d6577ull /* "wemirror" */

/* Little-endian, as on disk. */
struct mirror_mark {
	uint64_t magic;
	uint32_t crc; /* CRC-32C of the mark with 0 here */
	uint16_t version;
	uint8_t leg, legs;
	uint8_t uuid[16];  /* of the mirror */
	uint64_t epoch;    /* of the members: grows with every change of them */
	uint64_t sequence; /* of marks: the slot is its lowest bit */
	uint32_t members;  /* bit per leg */
	uint32_t region_blocks;
	uint64_t block_count;           /* of the mirror */
	uint64_t regions[MIRROR_WORDS]; /* bit: the members may differ there */
};
_Static_assert(sizeof(struct mirror_mark) == MIRROR_MARK_SIZE, "one slot");

enum leg_state {
	LEG_OUT,     /* failed, or could not be read at the start */
	LEG_SYNCING, /* is written to; what it has is not known to be whole */
	LEG_IN,      /* a member */
};

struct mirror_leg {
	struct blk *blk;
	enum leg_state state;
	struct mirror_mark *slots[2]; /* start: as read; later slots[0] is what is written */
	bool answered[2];
};

enum mirror_job {
	JOB_NONE,
	JOB_START,  /* reads the marks */
	JOB_COPY,   /* a region */
	JOB_FINISH, /* all is copied: flush, and they are members */
	JOB_CLEAN,  /* flush, and what nobody writes to is unmarked */
	JOB_STOP,   /* flush, and all is unmarked */
};

enum mirror_adopt { ADOPT_NO, ADOPT_YES, ADOPT_CLEAN };

struct mirror {
	struct blk blk;
	struct mirror_leg legs[STACK_LEGS_MAX];
	unsigned leg_count, quorum;
	enum mirror_adopt adopt;
	uint64_t data_start; /* blocks */
	uint32_t region_blocks, region_count;
	struct stack_env *env;
	struct pool pool; /* commands' requests to legs */
	struct pool own;  /* those of marks, and of the job: one of each for every leg */
	unsigned commands, commands_max; /* that have children */
	struct req **running;            /* these, in any order */
	struct req_list overlap_waiters; /* for one of these, which writes the same blocks */
	void *memory;
	size_t memory_size;

	/* Marks. */
	uint8_t uuid[16];
	uint64_t epoch, epoch_durable, sequence;
	uint64_t dirty[MIRROR_WORDS];   /* to be in the next mark */
	uint64_t durable[MIRROR_WORDS]; /* are in the last one, on a quorum */
	struct req_list mark_next;      /* wait for a mark that is not begun */
	struct req_list mark_now;       /* for the one under way */
	unsigned mark_running;          /* legs */
	unsigned mark_ok;
	bool failed; /* no quorum: writes fail until a restart */

	/* Regions. */
	uint16_t *writers;              /* commands under way, by region */
	uint64_t touched[MIRROR_WORDS]; /* written since the last look */
	uint64_t behind[MIRROR_WORDS];  /* to be copied from the first member */
	uint32_t behind_count;

	/* What it does beside its commands, one thing at a time. */
	enum mirror_job job;
	struct req job_req;           /* reads, and waits for marks */
	unsigned job_running;         /* legs */
	bool stalled;                 /* what is to be copied cannot be read */
	uint32_t copy_region;         /* JOB_COPY: commands to it wait */
	uint32_t copy_at;             /* blocks of it that are done */
	struct req_list copy_waiters; /* writes */
	struct req_list behind_reads; /* until their regions are copied */
	uint32_t wanted_region;       /* by them, the next one to copy */
	uint8_t *copy_data;
	struct iovec copy_iov;
	uint64_t clean_set[MIRROR_WORDS];
	struct timer clean_timer;
	uint64_t clean_ns;
	unsigned start_leg, start_slot; /* JOB_START: what is being read */
	struct req *starter, *stopper;  /* who waits for that; NULL: nobody */
	uint64_t copied_regions, dropped_legs, switched_reads;
};

/* mirror_mark.c. */
void mirror_mark_fill(struct mirror *mirror, unsigned leg);
/* Whether the slot holds one that is whole; NULL: neither does. */
const struct mirror_mark *mirror_mark_newest(const struct mirror_leg *leg);
enum status mirror_mark_decide(struct mirror *mirror);
/* `req` goes on by mirror_marked() when a mark that is begun after this call is durable, or none
 * can be: mirror->failed. */
void mirror_mark_wait(struct mirror *mirror, struct req *req);
void mirror_leg_drop(struct mirror *mirror, unsigned leg); /* it failed a write */
bool mirror_leg_is_written(const struct mirror *mirror, unsigned leg);
int mirror_first_member(const struct mirror *mirror); /* -1: none */
bool mirror_may_copy(const struct mirror *mirror);    /* there is a source, and a target */

/* mirror_sync.c. */
void mirror_sync_start(struct mirror *mirror); /* if there is something to copy */
void mirror_sync_drained(struct mirror *mirror, uint32_t region); /* its last writer has ended */
void mirror_clean_arm(struct mirror *mirror);
void mirror_sync_stop(struct mirror *mirror, struct req *req);
void mirror_job_marked(struct mirror *mirror); /* the mark that job_req waited for */

/* blk_mirror.c. */
void mirror_marked(struct mirror *mirror, struct req *req);
void mirror_copied(struct mirror *mirror); /* copy_waiters may go on */

static inline bool mirror_bit(const uint64_t *words, uint32_t region)
{
	return words[region / 64] >> region % 64 & 1;
}

static inline void mirror_bit_set(uint64_t *words, uint32_t region)
{
	words[region / 64] |= 1ull << region % 64;
}

static inline void mirror_bit_clear(uint64_t *words, uint32_t region)
{
	words[region / 64] &= ~(1ull << region % 64);
}

#endif
