/* SPDX-License-Identifier: Apache-2.0 */
#include "layer_bed.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

struct call_frame {
	struct frame frame;
	struct bed_call *call;
};

struct ram_frame {
	struct frame frame;
	struct bed_ram *ram;
	struct blk_cmd cmd;
	enum status status;
};

static uint64_t bed_now(struct clock *clock)
{
	return container_of(clock, struct layer_bed, clock)->now_ns;
}

/* The device. */

static void transfer(const struct bed_ram *ram, const struct blk_cmd *cmd)
{
	uint32_t block_size = ram->blk.geometry.block_size;
	uint8_t *at = ram->data + cmd->lba * block_size;

	if (cmd->op == BLK_DISCARD || cmd->op == BLK_ZEROES)
		memset(at, 0, (size_t)cmd->block_count * block_size);
	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		const struct iovec *v = &cmd->iov[i];

		if (cmd->op == BLK_READ)
			memcpy(v->iov_base, at, v->iov_len);
		else
			memcpy(at, v->iov_base, v->iov_len);
		at += v->iov_len;
	}
}

static enum status ram_fate(struct bed_ram *ram, const struct blk_cmd *cmd)
{
	if (ram->fail == 0 || !(ram->fail_ops & 1u << cmd->op))
		return STATUS_OK;
	if (ram->fail_skip > 0) {
		ram->fail_skip--;
		return STATUS_OK;
	}
	ram->fail--;
	return ram->fail_status;
}

static void ram_apply(struct req *req)
{
	struct ram_frame *frame = req_top(req, struct ram_frame);

	frame->status = ram_fate(frame->ram, &frame->cmd);
	if (frame->status == STATUS_OK)
		transfer(frame->ram, &frame->cmd);
}

static void ram_complete(struct req *req)
{
	struct ram_frame *frame = req_pop(req, struct ram_frame);

	req_complete(req, frame->status, 0);
}

static void ram_run(struct req *req)
{
	ram_apply(req);
	ram_complete(req);
}

static void ram_never(struct req *req)
{
	(void)req;
	fail_msg("nothing is below a device");
}

static void ram_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct bed_ram *ram = container_of(blk, struct bed_ram, blk);
	struct ram_frame *frame = req_push(req, struct ram_frame, ram_never);

	frame->ram = ram;
	frame->cmd = *cmd;
	if (!ram->bed->hold) {
		ram_run(req);
		return;
	}
	STAILQ_INSERT_TAIL(&ram->held, req, link);
	ram->held_count++;
}

static void ram_close(struct blk *blk)
{
	struct bed_ram *ram = container_of(blk, struct bed_ram, blk);

	assert_int_equal(ram->held_count, 0);
	for (unsigned i = 0; i < ram->bed->ram_count; i++) {
		if (ram->bed->rams[i] == ram)
			ram->bed->rams[i] = NULL;
	}
	if (ram->index == 0)
		free(ram->data);
	free(ram);
}

static const struct blk_ops ram_ops = { .name = "ram", .submit = ram_submit, .close = ram_close };

enum { RAM_SIZE, RAM_BLOCK_SIZE, RAM_VOLATILE, RAM_ALIGN, RAM_ZEROES, RAM_TRANSFER, RAM_INDEX };

static const struct conf_setting ram_options[] = {
	[RAM_SIZE] = { .name = "size", .type = CONF_SIZE, .initial = "1M", .max = 1u << 30 },
	[RAM_BLOCK_SIZE] = { .name = "block_size",
	                     .type = CONF_SIZE,
	                     .initial = "4K",
	                     .max = 65536 },
	[RAM_VOLATILE] = { .name = "volatile", .type = CONF_BOOLEAN, .initial = "no", .max = 1 },
	[RAM_ALIGN] = { .name = "align", .type = CONF_INTEGER, .initial = "1", .max = 4096 },
	[RAM_ZEROES] = { .name = "zeroes", .type = CONF_BOOLEAN, .initial = "yes", .max = 1 },
	[RAM_TRANSFER] = { .name = "transfer",
	                   .type = CONF_SIZE,
	                   .initial = "1M",
	                   .max = 1u << 30 },
	[RAM_INDEX] = { .name = "index",
	                .type = CONF_INTEGER,
	                .initial = "0",
	                .max = BED_DEVICES_MAX },
};

static enum status ram_open(struct layer_open *open, struct blk **out)
{
	struct layer_bed *bed = open->env->owner;
	const struct layer_value *v = open->values;
	struct bed_ram *ram = calloc(1, sizeof(*ram));
	uint32_t block_size = (uint32_t)v[RAM_BLOCK_SIZE].number;

	assert_non_null(ram);
	ram->bed = bed;
	ram->size = v[RAM_SIZE].number;
	ram->index = (unsigned)v[RAM_INDEX].number;
	ram->data = ram->index > 0 ? bed->disks[ram->index - 1] : calloc(1, ram->size);
	assert_non_null(ram->data);
	STAILQ_INIT(&ram->held);
	STAILQ_INIT(&ram->applied);
	ram->blk = (struct blk){
		.ops = &ram_ops,
		.worker = open->env->worker,
		.geometry = {
			.block_count = ram->size / block_size,
			.block_size = block_size,
			.align = (uint32_t)v[RAM_ALIGN].number,
			.transfer_max = (uint32_t)v[RAM_TRANSFER].number / block_size,
			.ops = (1u << BLK_READ | 1u << BLK_WRITE | 1u << BLK_FLUSH) |
			       (v[RAM_ZEROES].number ? 1u << BLK_DISCARD | 1u << BLK_ZEROES : 0),
			.discard_unit = v[RAM_ZEROES].number != 0,
			.discard_zeroes = v[RAM_ZEROES].number != 0,
			.volatile_cache = v[RAM_VOLATILE].number != 0,
		},
		.frames_size = align_up(sizeof(struct ram_frame), 16),
	};
	/* Opened from the bottom up, so from the end of the text. */
	assert_true(bed->ram_count < BED_DEVICES_MAX);
	memmove(bed->rams + 1, bed->rams, bed->ram_count * sizeof(bed->rams[0]));
	bed->rams[0] = ram;
	bed->ram_count++;
	*out = &ram->blk;
	return STATUS_OK;
}

static const struct blk_layer ram_layer = {
	.name = "ram",
	.help = "Memory of a test.",
	.options = ram_options,
	.option_count = array_count(ram_options),
	.open = ram_open,
};

static const struct blk_layer *const bed_layers[] = { &ram_layer, NULL };

/* The bed. */

void bed_init(struct layer_bed *bed)
{
	memset(bed, 0, sizeof(*bed));
	bed->clock = (struct clock){ bed_now, bed_now };
	bed->now_ns = 1000000000;
	worker_init(&bed->worker, 0, ROLE_STORAGE, &bed->clock);
	bed->env = (struct stack_env){
		.worker = &bed->worker,
		.memory = 64u << 20,
		.seed = 1,
		.devices = bed_layers,
		.owner = bed,
	};
}

static void call_done(struct req *req)
{
	struct bed_call *call = req_pop(req, struct call_frame)->call;

	call->status = req->status;
	call->done = true;
}

static void call_begin(struct layer_bed *bed, struct bed_call *call)
{
	call->done = false;
	req_init(&call->req, &bed->worker);
	req_push(&call->req, struct call_frame, call_done)->call = call;
}

static enum status call_wait(struct layer_bed *bed, struct bed_call *call)
{
	bed_turn(bed);
	for (unsigned i = 0; i < 100000 && !call->done; i++)
		bed_advance(bed, 1 << 20);
	assert_true(call->done);
	return call->status;
}

enum status bed_try_open(struct layer_bed *bed, const char *text)
{
	struct bed_call call;
	enum status status;

	bed->ram_count = 0;
	bed->error[0] = '\0';
	status = stack_open(text, &bed->env, &bed->stack, bed->error);
	if (status != STATUS_OK)
		return status;
	bed->blk = stack_top(bed->stack);
	call_begin(bed, &call);
	call.req.state = REQ_RUNNING;
	stack_start(bed->stack, &call.req);
	status = call_wait(bed, &call);
	if (status == STATUS_OK)
		return STATUS_OK;
	memcpy(bed->error, stack_error(bed->stack), sizeof(bed->error));
	stack_close(bed->stack);
	bed->stack = NULL;
	return status;
}

void bed_open(struct layer_bed *bed, const char *text)
{
	if (bed_try_open(bed, text) != STATUS_OK)
		fail_msg("%s", bed->error);
}

void bed_close(struct layer_bed *bed)
{
	struct bed_call call;

	call_begin(bed, &call);
	call.req.state = REQ_RUNNING;
	stack_stop(bed->stack, &call.req);
	call_wait(bed, &call);
	stack_close(bed->stack);
	bed->stack = NULL;
}

void bed_start(struct layer_bed *bed, struct bed_call *call, struct blk_cmd cmd, void *data)
{
	call->cmd = cmd;
	if (cmd.op == BLK_READ || cmd.op == BLK_WRITE) {
		call->iov = (struct iovec){ data, (size_t)cmd.block_count *
			                                  bed->blk->geometry.block_size };
		call->cmd.iov = &call->iov;
		call->cmd.iov_count = 1;
	}
	bed_submit(bed, call, call->cmd);
}

void bed_submit(struct layer_bed *bed, struct bed_call *call, struct blk_cmd cmd)
{
	call->cmd = cmd;
	call_begin(bed, call);
	blk_submit(bed->blk, &call->req, &call->cmd);
}

void bed_turn(struct layer_bed *bed)
{
	for (unsigned i = 0; i < 100000; i++) {
		if (worker_turn(&bed->worker) == 0 && !worker_has_work(&bed->worker))
			return;
	}
	fail_msg("it never comes to rest");
}

void bed_advance(struct layer_bed *bed, uint64_t ns)
{
	uint64_t until_ns = bed->now_ns + ns;

	while (bed->now_ns < until_ns) {
		uint64_t left_ns = until_ns - bed->now_ns;

		bed->now_ns += left_ns < 1u << 20 ? left_ns : 1u << 20;
		bed_turn(bed);
	}
}

void bed_release(struct bed_ram *ram, unsigned count)
{
	struct req *req;

	while (count-- > 0 && (req = STAILQ_FIRST(&ram->held)) != NULL) {
		STAILQ_REMOVE_HEAD(&ram->held, link);
		ram->held_count--;
		ram_run(req);
	}
}

static struct req *take_at(struct req_list *list, unsigned index)
{
	struct req *req;

	STAILQ_FOREACH (req, list, link) {
		if (index-- > 0)
			continue;
		STAILQ_REMOVE(list, req, req, link);
		return req;
	}
	return NULL;
}

void bed_apply_at(struct bed_ram *ram, unsigned index)
{
	struct req *req = take_at(&ram->held, index);

	if (req == NULL)
		return;
	ram_apply(req);
	STAILQ_INSERT_TAIL(&ram->applied, req, link);
}

void bed_complete_at(struct bed_ram *ram, unsigned index)
{
	struct req *req = take_at(&ram->applied, index);

	if (req == NULL)
		return;
	ram->held_count--;
	ram_complete(req);
}

enum status bed_do(struct layer_bed *bed, struct blk_cmd cmd, void *data)
{
	struct bed_call call;

	bed_start(bed, &call, cmd, data);
	return call_wait(bed, &call);
}

enum status bed_read(struct layer_bed *bed, uint64_t lba, uint32_t count, void *data)
{
	memset(data, 0xee, (size_t)count * bed->blk->geometry.block_size);
	return bed_do(bed, (struct blk_cmd){ .op = BLK_READ, .lba = lba, .block_count = count },
	              data);
}

enum status bed_write(struct layer_bed *bed, uint64_t lba, uint32_t count, const void *data)
{
	return bed_do(bed, (struct blk_cmd){ .op = BLK_WRITE, .lba = lba, .block_count = count },
	              (void *)(uintptr_t)data);
}

enum status bed_write_fua(struct layer_bed *bed, uint64_t lba, uint32_t count, const void *data)
{
	return bed_do(bed,
	              (struct blk_cmd){
	                      .op = BLK_WRITE, .flags = BLK_FUA, .lba = lba, .block_count = count },
	              (void *)(uintptr_t)data);
}

enum status bed_flush(struct layer_bed *bed)
{
	return bed_do(bed, (struct blk_cmd){ .op = BLK_FLUSH }, NULL);
}

static uint64_t word_of(uint64_t lba, uint32_t version, uint32_t index)
{
	const uint64_t words[3] = { lba, version, index };

	return hash64(bytes_of(words, sizeof(words)));
}

void bed_fill(void *data, uint64_t lba, uint32_t count, uint32_t version)
{
	uint8_t *at = data;

	for (uint32_t i = 0; i < count; i++, at += BED_BLOCK) {
		for (uint32_t j = 0; j < BED_BLOCK; j += 8) {
			uint64_t word = version == 0 ? 0 : word_of(lba + i, version, j / 512);

			memcpy(at + j, &word, 8);
		}
	}
}

bool bed_is(const void *data, uint64_t lba, uint32_t count, uint32_t version)
{
	static uint8_t expected[BED_BLOCK];
	const uint8_t *at = data;

	for (uint32_t i = 0; i < count; i++, at += BED_BLOCK) {
		bed_fill(expected, lba + i, 1, version);
		if (memcmp(at, expected, BED_BLOCK) != 0)
			return false;
	}
	return true;
}
