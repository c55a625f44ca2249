/* SPDX-License-Identifier: Apache-2.0 */
#include "blk_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "core/worker.h"

struct call_frame {
	struct frame frame;
	struct model_call *call;
};

enum { ALIGN = 4096, WORDS_APART = 512 };

static uint64_t word_of(uint64_t lba, uint32_t version, uint32_t at)
{
	uint64_t word = (lba << 40 | (uint64_t)version << 16 | at) * 0x9e3779b97f4a7c15ull;

	return version == 0 ? 0 : word | 1;
}

/* Every 512 bytes begin with a word of the version, and the block ends with one. */
static void fill(const struct blk_model *model, uint8_t *data, uint64_t lba, uint32_t version)
{
	uint32_t size = model->blk->geometry.block_size;

	memset(data, version == 0 ? 0 : (int)(version | 1), size);
	for (uint32_t at = 0; at < size; at += WORDS_APART) {
		uint64_t word = word_of(lba, version, at);

		memcpy(data + at, &word, 8);
		memcpy(data + at + WORDS_APART - 8, &word, 8);
	}
}

static bool holds(const struct blk_model *model, const uint8_t *data, uint64_t lba,
                  uint32_t version)
{
	uint32_t size = model->blk->geometry.block_size;

	for (uint32_t at = 0; at < size; at += WORDS_APART) {
		uint64_t word = word_of(lba, version, at);

		if (memcmp(data + at, &word, 8) != 0 ||
		    memcmp(data + at + WORDS_APART - 8, &word, 8) != 0 ||
		    data[at + WORDS_APART / 2] != (uint8_t)(version == 0 ? 0 : version | 1))
			return false;
	}
	return true;
}

static void add_version(uint32_t *list, uint8_t *count, uint32_t version)
{
	for (unsigned i = 0; i < *count; i++) {
		if (list[i] == version)
			return;
	}
	assert_true(*count < MODEL_VERSIONS);
	list[(*count)++] = version;
}

static void set_version(uint32_t *list, uint8_t *count, uint32_t version)
{
	list[0] = version;
	*count = 1;
}

void model_open(struct blk_model *model, struct blk *blk, uint64_t seed, uint32_t block_count)
{
	size_t size = (size_t)MODEL_SPAN * blk->geometry.block_size;

	memset(model, 0, sizeof(*model));
	model->blk = blk;
	model->block_count = block_count;
	model->span = MODEL_SPAN;
	prng_init(&model->prng, seed);
	assert_true(block_count >= MODEL_SPAN && block_count <= blk->geometry.block_count);
	if (model->span > blk->geometry.transfer_max)
		model->span = blk->geometry.transfer_max;
	model->blocks = calloc(block_count, sizeof(*model->blocks));
	assert_non_null(model->blocks);
	for (uint32_t i = 0; i < block_count; i++)
		model->blocks[i].possible_count = model->blocks[i].durable_count = 1;
	for (unsigned i = 0; i < MODEL_CALLS; i++) {
		model->calls[i].data = aligned_alloc(ALIGN, align_up(size, ALIGN));
		assert_non_null(model->calls[i].data);
	}
}

void model_close(struct blk_model *model)
{
	assert_int_equal(model->running, 0);
	for (unsigned i = 0; i < MODEL_CALLS; i++)
		free(model->calls[i].data);
	free(model->blocks);
}

void model_forget(struct blk_model *model)
{
	assert_int_equal(model->running, 0);
	for (uint32_t i = 0; i < model->block_count; i++)
		model->blocks[i].any = model->blocks[i].durable_any = true;
}

void model_move(struct blk_model *model, struct blk *blk)
{
	assert_int_equal(model->running, 0);
	model->blk = blk;
}

/* Completions. */

static void check_block(struct blk_model *model, const struct model_call *call, uint32_t i)
{
	uint64_t lba = call->cmd.lba + i;
	struct model_block *block = &model->blocks[lba];
	const uint8_t *data = call->data + (size_t)i * model->blk->geometry.block_size;
	bool quiet = block->writers == 0 && block->changed < call->started;

	for (unsigned j = 0; j < block->possible_count; j++) {
		if (!holds(model, data, lba, block->possible[j]))
			continue;
		/* From now on it is this one, for good. */
		if (quiet && !block->any) {
			set_version(block->possible, &block->possible_count, block->possible[j]);
			/* What a power cut has left is there for good, too. */
			if (block->changed <= model->cut_event)
				set_version(block->durable, &block->durable_count,
				            block->possible[0]);
		}
		return;
	}
	if (!quiet || block->any) {
		/* Old, from before a change that ended meanwhile: any version that was written. */
		for (uint32_t version = 0; version <= model->version; version++) {
			if (holds(model, data, lba, version))
				return;
		}
		if (block->any || call->started <= block->any_until)
			return;
	}
	fail_msg("block %llu does not hold version %u (of %u)", (unsigned long long)lba,
	         block->possible[0], block->possible_count);
}

static void write_ended(struct blk_model *model, const struct model_call *call, bool ok)
{
	bool durable = ok && ((call->cmd.flags & BLK_FUA) || !model->blk->geometry.volatile_cache);
	bool any = call->cmd.op == BLK_DISCARD && !model->blk->geometry.discard_zeroes;

	for (uint32_t i = 0; i < call->cmd.block_count; i++) {
		struct model_block *block = &model->blocks[call->cmd.lba + i];

		block->changed = model->events;
		if (ok && !block->contended) {
			set_version(block->possible, &block->possible_count, call->version);
			if (block->any && !any)
				block->any_until = model->events;
			block->any = any;
		}
		/* What reads may show a flush may keep. */
		if (durable && !block->contended) {
			set_version(block->durable, &block->durable_count, call->version);
			block->durable_any = any;
		}
		assert_true(block->writers > 0);
		if (--block->writers == 0)
			block->contended = false;
	}
}

/* What was there when the flush began, and was not touched since, is all that there can be. */
static void flush_ended(struct blk_model *model, const struct model_call *call)
{
	for (uint32_t i = 0; i < model->block_count; i++) {
		struct model_block *block = &model->blocks[i];

		if (block->writers > 0 || block->changed >= call->started)
			continue;
		memcpy(block->durable, block->possible, sizeof(block->durable));
		block->durable_count = block->possible_count;
		block->durable_any = block->any;
	}
}

static void call_done(struct req *req)
{
	struct model_call *call = req_pop(req, struct call_frame)->call;
	struct blk_model *model = call->model;
	bool ok = req->status == STATUS_OK;

	assert_true(call->running);
	call->running = false;
	model->running--;
	model->events++;
	model->completed[call->cmd.op]++;
	if (!ok) {
		if (!model->errors)
			fail_msg("command %d failed: %s", call->cmd.op, status_name(req->status));
		model->failed++;
	}
	switch (call->cmd.op) {
	case BLK_READ:
		for (uint32_t i = 0; ok && i < call->cmd.block_count; i++)
			check_block(model, call, i);
		break;
	case BLK_FLUSH:
		if (ok)
			flush_ended(model, call);
		break;
	default:
		write_ended(model, call, ok);
		break;
	}
}

/* Submissions. */

static struct model_call *take_call(struct blk_model *model)
{
	for (unsigned i = 0; i < MODEL_CALLS; i++) {
		if (!model->calls[i].running)
			return &model->calls[i];
	}
	return NULL;
}

/* Some segments, of any whole number of aligned pieces. */
static void set_iov(struct blk_model *model, struct model_call *call)
{
	uint32_t align = model->blk->geometry.align;
	size_t size = (size_t)call->cmd.block_count * model->blk->geometry.block_size, at = 0;
	unsigned count = 1 + (unsigned)prng_below(&model->prng, array_count(call->iov));

	if (align < 8)
		align = 8;
	for (unsigned i = 0; i + 1 < count; i++) {
		size_t part = (size_t)prng_below(&model->prng, (size - at) / align + 1) * align;

		call->iov[i] = (struct iovec){ call->data + at, part };
		at += part;
	}
	call->iov[count - 1] = (struct iovec){ call->data + at, size - at };
	call->cmd.iov = call->iov;
	call->cmd.iov_count = count;
}

static void submit(struct blk_model *model, struct model_call *call)
{
	call->model = model;
	call->running = true;
	call->started = ++model->events;
	model->running++;
	req_init(&call->req, model->blk->worker);
	req_push(&call->req, struct call_frame, call_done)->call = call;
	blk_submit(model->blk, &call->req, &call->cmd);
}

static void begin_write(struct blk_model *model, struct model_call *call)
{
	uint32_t size = model->blk->geometry.block_size;

	call->version = call->cmd.op == BLK_WRITE ? ++model->version : 0;
	for (uint32_t i = 0; i < call->cmd.block_count; i++) {
		struct model_block *block = &model->blocks[call->cmd.lba + i];

		block->changed = model->events + 1;
		block->contended |= block->writers > 0;
		block->writers++;
		add_version(block->possible, &block->possible_count, call->version);
		add_version(block->durable, &block->durable_count, call->version);
		if (call->cmd.op == BLK_DISCARD && !model->blk->geometry.discard_zeroes)
			block->any = block->durable_any = true;
		if (call->cmd.op == BLK_WRITE)
			fill(model, call->data + (size_t)i * size, call->cmd.lba + i,
			     call->version);
	}
}

static bool is_free(const struct blk_model *model, const struct blk_cmd *cmd)
{
	for (uint32_t i = 0; i < cmd->block_count; i++) {
		const struct model_block *block = &model->blocks[cmd->lba + i];

		if (block->possible_count + 1 >= MODEL_VERSIONS ||
		    block->durable_count + 1 >= MODEL_VERSIONS)
			return false;
		if (block->writers > (model->overlap ? 3 : 0))
			return false;
	}
	return true;
}

static enum blk_op draw_op(struct blk_model *model)
{
	uint64_t n = prng_below(&model->prng, 100);

	if (n < 45)
		return BLK_READ;
	if (n < 85)
		return BLK_WRITE;
	if (n < 92)
		return BLK_FLUSH;
	return n < 96 ? BLK_ZEROES : BLK_DISCARD;
}

void model_start_read(struct blk_model *model, uint64_t lba, uint32_t count)
{
	struct model_call *call = take_call(model);

	assert_non_null(call);
	call->cmd = (struct blk_cmd){ .op = BLK_READ, .lba = lba, .block_count = count };
	set_iov(model, call);
	submit(model, call);
}

void model_start_flush(struct blk_model *model)
{
	struct model_call *call = take_call(model);

	assert_non_null(call);
	call->cmd = (struct blk_cmd){ .op = BLK_FLUSH };
	submit(model, call);
}

bool model_start(struct blk_model *model)
{
	struct model_call *call = take_call(model);
	enum blk_op op = draw_op(model);

	if (call == NULL)
		return false;
	if (!(model->blk->geometry.ops & 1u << op))
		op = BLK_READ;
	if (op == BLK_FLUSH) {
		model_start_flush(model);
		return true;
	}
	call->cmd = (struct blk_cmd){ .op = op };
	call->cmd.block_count = 1 + (uint32_t)prng_below(&model->prng, model->span);
	if (prng_below(&model->prng, 2) == 0)
		call->cmd.block_count = 1;
	call->cmd.lba = prng_below(&model->prng, model->block_count - call->cmd.block_count + 1);
	/* Often near the beginning, so that there is something to find in caches. */
	if (prng_below(&model->prng, 2) == 0)
		call->cmd.lba /= 8;
	if (op == BLK_READ || op == BLK_WRITE)
		set_iov(model, call);
	if (op != BLK_READ) {
		if (!is_free(model, &call->cmd))
			return true;
		if (op != BLK_DISCARD && prng_below(&model->prng, 5) == 0)
			call->cmd.flags |= BLK_FUA;
		if (op == BLK_ZEROES && prng_below(&model->prng, 2) == 0)
			call->cmd.flags |= BLK_UNMAP;
		begin_write(model, call);
	}
	submit(model, call);
	return true;
}

void model_cut(struct blk_model *model)
{
	for (unsigned i = 0; i < MODEL_CALLS; i++)
		model->calls[i].running = false;
	model->running = 0;
	model->cut_event = ++model->events;
	for (uint32_t i = 0; i < model->block_count; i++) {
		struct model_block *block = &model->blocks[i];

		memcpy(block->possible, block->durable, sizeof(block->possible));
		block->possible_count = block->durable_count;
		block->any = block->durable_any;
		block->writers = 0;
		block->contended = false;
		block->changed = model->events;
	}
}
