/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random workload on a block device, many commands at a time, and what its blocks may hold. The
 * same for every stack: whoever runs it turns the worker, holds back, cuts the power.
 */
#ifndef BLK_MODEL_H
#define BLK_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "proto/blk.h"

enum { MODEL_CALLS = 24, MODEL_VERSIONS = 24, MODEL_SPAN = 16 };

struct blk_model;

struct model_call {
	struct req req;
	struct blk_model *model;
	struct blk_cmd cmd;
	struct iovec iov[4];
	uint8_t *data;
	uint32_t version; /* of a write; 0: zeroes, or any for a discard */
	uint64_t started; /* on the model's count of events */
	bool running;
};

/* What a block may hold: versions, of which 0 is zeroes. */
struct model_block {
	uint32_t possible[MODEL_VERSIONS];
	uint32_t durable[MODEL_VERSIONS]; /* after a power cut now */
	uint8_t possible_count, durable_count;
	uint16_t writers;      /* under way */
	bool contended;        /* since that was 0, more than one */
	bool any, durable_any; /* discarded: anything */
	uint64_t any_until;    /* event until which reads could show anything */
	uint64_t changed;      /* event of the last change, or beginning of one */
};

struct blk_model {
	struct blk *blk;
	struct prng prng;
	uint32_t block_count; /* of the device that are used */
	uint32_t span;        /* blocks of a command, at most */
	bool errors;          /* commands may fail, for no reason that the model knows */
	bool overlap;         /* writes may overlap */
	uint32_t version;
	uint64_t events, cut_event; /* so far; of the last power cut */
	uint32_t running;
	uint64_t completed[BLK_OP_COUNT], failed;
	struct model_block *blocks;
	struct model_call calls[MODEL_CALLS];
};

void model_open(struct blk_model *model, struct blk *blk, uint64_t seed, uint32_t block_count);
void model_close(struct blk_model *model); /* nothing is running */

/* Nobody has written anything yet, and nobody knows what is there. */
void model_forget(struct blk_model *model);

/* The device is another one now, with the same content: after a restart. */
void model_move(struct blk_model *model, struct blk *blk);

/* Submits a random command, if there is room for one. False: there is none. */
bool model_start(struct blk_model *model);
void model_start_read(struct blk_model *model, uint64_t lba, uint32_t count);
void model_start_flush(struct blk_model *model);

/* The power was cut: nothing runs, and what was not durable may be there or not. */
void model_cut(struct blk_model *model);

#endif
