/* SPDX-License-Identifier: Apache-2.0 */
/* A log of 150 lines, right or with one planted bug: what the simulator is tested with. */
#ifndef TESTS_SIM_TOY_LOG_H
#define TESTS_SIM_TOY_LOG_H

#include "core/worker.h"
#include "proto/blk.h"

/*
 * Frames of one block in a ring of TOY_FRAMES; a frame holds what was appended while the one before
 * it was written and flushed. Frame s lies in block s % TOY_FRAMES; each says which is the oldest
 * one that still counts.
 */
enum { TOY_FRAMES = 8, TOY_RETAINED = TOY_FRAMES - 2, TOY_FRAME_RECORDS = 64 };

#define TOY_BUGS(X)                                                                                \
	X(NONE, "none")                                                                            \
	X(ACK_EARLY, "acknowledge before flush")                                                   \
	X(NO_CHECKSUM, "no checksum")                                                              \
	X(UNBOUND, "checksum not bound to lap or sequence")                                        \
	X(REWRITE, "rewrite a sector that holds acknowledged data")                                \
	X(RETRY_FLUSH, "flush error retried")                                                      \
	X(DIRTY_BUFFER, "buffer changed while the device has it")                                  \
	X(EARLY_READ, "buffer used before its read has completed")

enum toy_bug {
#define X(name, text) TOY_##name,
	TOY_BUGS(X)
#undef X
	        TOY_BUG_COUNT
};
const char *toy_bug_name(enum toy_bug bug);

struct toy_record {
	uint64_t id, payload; /* ids count up by one, from 1 */
};

struct toy_frame {
	uint32_t magic, crc; /* of all that follows */
	uint64_t sequence, oldest;
	uint32_t count, unused;
	struct toy_record records[TOY_FRAME_RECORDS];
};

struct toy_log {
	struct blk *blk;
	enum toy_bug bug;
	struct actor actor;
	struct req req;
	struct iovec iov;
	uint64_t sequence; /* of the frame that is open */
	bool opened, busy, dead;
	uint32_t open_count, flying_count; /* records in the open frame; in the one on its way */
	uint64_t acked;                    /* ids up to here are acknowledged */
	uint64_t appended;                 /* ids up to here were appended */
	/* What recovery found. */
	struct toy_record found[TOY_FRAMES * TOY_FRAME_RECORDS];
	uint32_t found_count, found_frames;
	_Alignas(4096) uint8_t open_block[4096], flying_block[4096], ring[TOY_FRAMES][4096];
};

/* Starts recovery; log->opened when it is over. */
void toy_log_open(struct toy_log *log, struct blk *blk, enum toy_bug bug);

/* False: full, or dead after a failed flush; ask again later. */
bool toy_log_append(struct toy_log *log, struct toy_record record);

#endif
