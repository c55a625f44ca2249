/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What layers cost: CPU time of a command through stacks of them, less that of the device alone, 32
 * at a time, in one worker with a clock that stands. One line per figure: name, value, unit, limit.
 * The best of the rounds: on a machine that is shared the others say who else was there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "bench.h"
#include "core/worker.h"
#include "layer/layer.h"

enum { BATCH = 32, TURNS = 8000, ROUNDS = 15 };

static uint64_t clock_still(struct clock *clock)
{
	(void)clock;
	return 1000000000;
}

static struct clock still = { clock_still, clock_still };
static struct worker worker;
static struct req reqs[BATCH];
static uint8_t data[BATCH][4096] __attribute__((aligned(4096)));
static unsigned done_count;

/* A device that does nothing, so that what is measured is the way. */

static void empty_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	(void)blk;
	(void)cmd;
	req_complete(req, STATUS_OK, 0);
}

static const struct blk_ops empty_ops = { .name = "empty", .submit = empty_submit };

static struct blk empty;

static enum status empty_open(struct layer_open *open, struct blk **out)
{
	empty = (struct blk){ .ops = &empty_ops,
		              .worker = open->env->worker,
		              .geometry = { .block_count = 1u << 20,
		                            .block_size = 4096,
		                            .align = 1,
		                            .transfer_max = 256,
		                            .ops = (1u << BLK_OP_COUNT) - 1,
		                            .discard_unit = 1 } };
	*out = &empty;
	return STATUS_OK;
}

static const struct blk_layer empty_layer = { .name = "empty", .open = empty_open };
static const struct blk_layer *const devices[] = { &empty_layer, NULL };

static void waiter_done(struct req *req)
{
	(void)req_pop(req, struct frame);
	done_count++;
}

/* Of a command, in ns of CPU. */
static double run(struct blk *top, enum blk_op op)
{
	uint64_t started_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned i = 0; i < BATCH; i++) {
			struct iovec iov = { data[i], sizeof(data[i]) };
			struct blk_cmd cmd = { .op = op, .lba = i, .block_count = 1 };

			if (op == BLK_READ || op == BLK_WRITE) {
				cmd.iov = &iov;
				cmd.iov_count = 1;
			}
			req_init(&reqs[i], &worker);
			req_push(&reqs[i], struct frame, waiter_done);
			blk_submit(top, &reqs[i], &cmd);
		}
		done_count = 0;
		while (done_count < BATCH)
			worker_turn(&worker);
	}
	return (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - started_ns) / TURNS / BATCH;
}

/* crypt's key. */
static enum status read_file(void *owner, const char *path, void *out, size_t size_max,
                             size_t *size)
{
	(void)owner;
	(void)path;
	assert(size_max >= 64);
	*size = 64;
	for (unsigned i = 0; i < 64; i++)
		((uint8_t *)out)[i] = (uint8_t)i;
	return STATUS_OK;
}

static void walk(struct stack *stack, void (*begin)(struct stack *, struct req *))
{
	req_init(&reqs[0], &worker);
	req_push(&reqs[0], struct frame, waiter_done);
	reqs[0].state = REQ_RUNNING;
	done_count = 0;
	begin(stack, &reqs[0]);
	while (done_count == 0)
		worker_turn(&worker);
}

static double best(const char *text, enum blk_op op)
{
	struct stack_env env = {
		.worker = &worker, .memory = 1u << 30, .devices = devices, .read_file = read_file
	};
	char error[STACK_ERROR_SIZE];
	struct stack *stack;
	double least = 1e9;

	if (stack_open(text, &env, &stack, error) != STATUS_OK) {
		fprintf(stderr, "%s\n", error);
		exit(2);
	}
	walk(stack, stack_start);
	for (unsigned round = 0; round < ROUNDS; round++) {
		double ns = run(stack_top(stack), op);

		least = ns < least ? ns : least;
	}
	walk(stack, stack_stop);
	stack_close(stack);
	return least;
}

/* `layer` count times on the device: what one of them costs. */
static double each(const char *layer, unsigned count, double device_ns)
{
	char text[STACK_TEXT_MAX + 1] = "";

	for (unsigned i = 0; i < count; i++) {
		strncat(text, layer, sizeof(text) - strlen(text) - 1);
		strncat(text, " | ", sizeof(text) - strlen(text) - 1);
	}
	strncat(text, "empty", sizeof(text) - strlen(text) - 1);
	return (best(text, BLK_READ) - device_ns) / count;
}

int main(void)
{
	static const struct {
		const char *name, *layer;
		unsigned count;
		const char *limit;
	} rows[] = {
		{ "layer-pass-through", "offset", 8, "<= 12" },
		{ "layer-framed", "retry", 3, "<= 20" },
		{ "layer-fork", "fork", 4, "-" },
		{ "layer-throttle", "throttle iops=1000000000 burst=1h", 4, "-" },
		{ "layer-fault", "fault count=1 skip=1000000000000", 8, "-" },
	};
	double device_ns;

	worker_init(&worker, 0, ROLE_STORAGE, &still);
	device_ns = best("empty", BLK_READ);
	printf("blk-device %.1f ns -\n", device_ns);
	printf("layer-cache-hit %.1f ns <= 400\n", best("cache size=1M | empty", BLK_READ));
	for (unsigned i = 0; i < array_count(rows); i++)
		printf("%s %.1f ns %s\n", rows[i].name,
		       each(rows[i].layer, rows[i].count, device_ns), rows[i].limit);
	printf("layer-batch-write %.1f ns -\n", best("batch | empty", BLK_WRITE));
	printf("layer-writeback-write %.1f ns -\n", best("writeback | empty", BLK_WRITE));
	printf("layer-crypt-write-4k %.1f ns -\n", best("crypt key=k | empty", BLK_WRITE));
	printf("layer-stripe-read %.1f ns -\n", best("stripe { empty | empty }", BLK_READ));
	printf("layer-mirror-write %.1f ns -\n",
	       best("mirror adopt=clean { empty | empty }", BLK_WRITE));
	return 0;
}
