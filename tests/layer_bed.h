/* SPDX-License-Identifier: Apache-2.0 */
/* A stack of layers on memory that a test holds back and makes fail, driven by hand. */
#ifndef LAYER_BED_H
#define LAYER_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/prng.h"
#include "core/worker.h"
#include "layer/layer.h"

/*
 * The devices, of which there may be several: "ram size=1M block_size=4K volatile=no align=1
 * zeroes=yes transfer=1M index=0". With `hold` they keep commands until the test lets them go.
 */
enum { BED_DEVICES_MAX = 8, BED_BLOCK = 4096 };

struct bed_ram {
	struct blk blk;
	struct layer_bed *bed;
	uint8_t *data;
	uint64_t size;
	unsigned index;
	struct req_list held;
	unsigned held_count;     /* of both lists */
	struct req_list applied; /* moved their bytes, and are still to complete */
	/* The next `fail` commands of the ops in fail_ops end with fail_status, after fail_skip. */
	unsigned fail, fail_skip;
	uint32_t fail_ops;
	enum status fail_status;
};

struct layer_bed {
	struct clock clock; /* first member: the worker's */
	uint64_t now_ns;
	struct worker worker;
	struct stack_env env;
	struct stack *stack;
	struct blk *blk; /* the top */
	bool hold;
	uint8_t *disks[BED_DEVICES_MAX]; /* the test's: "ram index=1" is disks[0], as it was left */
	struct bed_ram *rams[BED_DEVICES_MAX]; /* in the order of the text */
	unsigned ram_count;
	char error[STACK_ERROR_SIZE];
};

/* One command of a test. Memory: the test's, not moved until `done`. */
struct bed_call {
	struct req req;
	struct blk_cmd cmd;
	struct iovec iov;
	enum status status;
	bool done;
};

/* No stack yet: bed_open() opens and starts one, and must succeed; bed_close() stops and closes. */
void bed_init(struct layer_bed *bed);
void bed_open(struct layer_bed *bed, const char *text);
enum status bed_try_open(struct layer_bed *bed, const char *text); /* bed->error says why not */
void bed_close(struct layer_bed *bed);

/* Submits; `data` holds block_count blocks. Turns are the caller's. */
void bed_start(struct layer_bed *bed, struct bed_call *call, struct blk_cmd cmd, void *data);
void bed_submit(struct layer_bed *bed, struct bed_call *call, struct blk_cmd cmd); /* as it is */
void bed_turn(struct layer_bed *bed); /* until nothing is left to do but timers and what is held */
void bed_advance(struct layer_bed *bed, uint64_t ns); /* timers, a tick at a time */
void bed_release(struct bed_ram *ram, unsigned count);
/* The index-th that is held moves its bytes, or the index-th that has completes; in any order. */
void bed_apply_at(struct bed_ram *ram, unsigned index);
void bed_complete_at(struct bed_ram *ram, unsigned index);

/* Start, turns and time until it ends. */
enum status bed_do(struct layer_bed *bed, struct blk_cmd cmd, void *data);
enum status bed_read(struct layer_bed *bed, uint64_t lba, uint32_t count, void *data);
enum status bed_write(struct layer_bed *bed, uint64_t lba, uint32_t count, const void *data);
enum status bed_write_fua(struct layer_bed *bed, uint64_t lba, uint32_t count, const void *data);
enum status bed_flush(struct layer_bed *bed);

/* Bytes that only (lba, version) have, and a check of them. */
void bed_fill(void *data, uint64_t lba, uint32_t count, uint32_t version);
bool bed_is(const void *data, uint64_t lba, uint32_t count, uint32_t version);

#endif
