/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of the NVM command set: each becomes one command of the namespace's device, or several,
 * one after the other, when it is larger than what the device takes.
 */
#include "base/assert.h"
#include "server/nvme_internal.h"

struct io_frame {
	struct frame frame;
};

static struct blk *blk_of(const struct nvme_command *command)
{
	return command->export->blk;
}

static void stepped(struct req *req);

/* The device's next piece of the command. */
static void submit(struct nvme_command *command, enum blk_op op, uint32_t flags, void *memory)
{
	const struct blk_geometry *g = &blk_of(command)->geometry;
	const struct blk_cmd cmd = {
		.op = op,
		.flags = flags,
		.lba = op == BLK_FLUSH ? 0 : command->lba,
		.block_count = op == BLK_FLUSH ? 0 : command->blocks_now,
		.iov_count = memory != NULL ? 1 : 0,
		.iov = memory != NULL ? &command->iov : NULL,
	};

	assert(command->phase == NVME_PHASE_RUN && command->export != NULL);
	assert(op == BLK_FLUSH || command->blocks_now > 0);
	command->iov = (struct iovec){
		.iov_base = memory,
		.iov_len = (size_t)command->blocks_now * g->block_size,
	};
	req_push(&command->req, struct io_frame, stepped);
	blk_submit(blk_of(command), &command->req, &cmd);
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
	return value < limit ? value : limit;
}

static uint32_t write_flags(const struct nvme_command *command)
{
	return command->sqe.cdw12 & NVME_CDW12_FUA ? BLK_FUA : 0;
}

static void read_step(struct nvme_command *command)
{
	const struct blk_geometry *g = &blk_of(command)->geometry;

	command->blocks_now = at_most(command->blocks_left, g->transfer_max);
	submit(command, BLK_READ, 0, command->buf->data + command->data_done);
}

static void write_step(struct nvme_command *command)
{
	const struct blk_geometry *g = &blk_of(command)->geometry;

	command->blocks_now = at_most(command->blocks_left, g->transfer_max);
	submit(command, BLK_WRITE, write_flags(command), command->buf->data + command->data_done);
}

/* Blocks that the scratch buffer has room for. */
static uint32_t scratch_blocks(const struct nvme_command *command)
{
	const struct blk_geometry *g = &blk_of(command)->geometry;

	return at_most(command->blocks_left,
	               at_most(g->transfer_max, command->scratch_size / g->block_size));
}

/* Compare and verify: what is there comes into the scratch buffer. */
static void look_step(struct nvme_command *command)
{
	command->blocks_now = scratch_blocks(command);
	submit(command, BLK_READ, 0, command->scratch->data);
}

/* Blocks of one discard or zeroes command of the device. */
static uint32_t range_blocks(const struct nvme_command *command)
{
	const struct blk_geometry *g = &blk_of(command)->geometry;

	return g->range_max == 0 ? command->blocks_left
	                         : at_most(command->blocks_left, g->range_max);
}

static bool has_op(const struct nvme_command *command, enum blk_op op)
{
	return blk_of(command)->geometry.ops & 1u << op;
}

static void zeroes_step(struct nvme_command *command)
{
	uint32_t flags = write_flags(command);

	if (!has_op(command, BLK_ZEROES)) {
		command->blocks_now = scratch_blocks(command);
		submit(command, BLK_WRITE, flags, command->scratch->data);
		return;
	}
	command->blocks_now = range_blocks(command);
	if (command->sqe.cdw12 & NVME_CDW12_DEALLOCATE)
		flags |= BLK_UNMAP;
	submit(command, BLK_ZEROES, flags, NULL);
}

/* The next range that has a whole unit to discard; false: there is none. */
static bool next_range(struct nvme_command *command)
{
	const uint64_t unit = blk_of(command)->geometry.discard_unit;
	struct nvme_dsm_range range;

	while (command->range_index < command->range_count) {
		uint64_t first, end;

		memcpy(&range, command->buf->data + command->range_index++ * sizeof(range),
		       sizeof(range));
		first = (range.lba + unit - 1) / unit * unit;
		end = (range.lba + range.block_count) / unit * unit;
		if (end <= first)
			continue;
		command->lba = first;
		command->blocks_left = (uint32_t)(end - first);
		return true;
	}
	return false;
}

static void end(struct nvme_command *command, uint16_t status);

static void step(struct nvme_command *command)
{
	/* It was so when the command came; a device may have shrunk since. */
	if (command->lba + command->blocks_left > blk_of(command)->geometry.block_count) {
		end(command, NVME_SC_LBA_OUT_OF_RANGE | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	switch (command->sqe.opcode) {
	case NVME_READ:
		read_step(command);
		return;
	case NVME_WRITE:
		write_step(command);
		return;
	case NVME_COMPARE:
	case NVME_VERIFY:
		look_step(command);
		return;
	case NVME_WRITE_ZEROES:
		zeroes_step(command);
		return;
	case NVME_DATASET_MANAGEMENT:
		command->blocks_now = range_blocks(command);
		submit(command, BLK_DISCARD, 0, NULL);
		return;
	default:
		unreachable();
		return;
	}
}

static void end(struct nvme_command *command, uint16_t status)
{
	struct nvme_stats *stats = &command->queue->server->stats;

	switch (command->sqe.opcode) {
	case NVME_READ:
		stats->reads++;
		stats->bytes_read += status == NVME_SC_SUCCESS ? command->data_size : 0;
		break;
	case NVME_WRITE:
		stats->writes++;
		stats->bytes_written += status == NVME_SC_SUCCESS ? command->data_size : 0;
		break;
	case NVME_FLUSH:
		stats->flushes++;
		break;
	default:
		stats->others++;
		break;
	}
	nvme_command_complete(command, status);
}

static bool is_same(const struct nvme_command *command, size_t size)
{
	return memcmp(command->buf->data + command->data_done, command->scratch->data, size) == 0;
}

/* A piece is done: the next one, or the end. */
static void stepped(struct req *req)
{
	struct nvme_command *command = container_of(req, struct nvme_command, req);
	size_t size = command->iov.iov_len;
	uint8_t opcode = command->sqe.opcode;

	req_pop(req, struct io_frame);
	assert(command->export != NULL);
	if (req->status != STATUS_OK) {
		end(command,
		    nvme_status_from(req->status, opcode != NVME_READ && opcode != NVME_COMPARE &&
		                                          opcode != NVME_VERIFY));
		return;
	}
	if (opcode == NVME_COMPARE && !is_same(command, size)) {
		end(command, NVME_SC_COMPARE_FAILURE | NVME_STATUS_DO_NOT_RETRY);
		return;
	}
	if (opcode == NVME_FLUSH) {
		end(command, NVME_SC_SUCCESS);
		return;
	}
	assert(command->blocks_now <= command->blocks_left);
	command->data_done += (uint32_t)size;
	command->lba += command->blocks_now;
	command->blocks_left -= command->blocks_now;
	if (command->blocks_left > 0 || (opcode == NVME_DATASET_MANAGEMENT && next_range(command)))
		step(command);
	else
		end(command, NVME_SC_SUCCESS);
}

static void blocks_run(struct nvme_command *command)
{
	command->data_done = 0;
	if (command->scratch != NULL && command->sqe.opcode == NVME_WRITE_ZEROES)
		memset(command->scratch->data, 0, command->scratch_size);
	step(command);
}

static void flush_run(struct nvme_command *command)
{
	if (!has_op(command, BLK_FLUSH)) {
		end(command, NVME_SC_SUCCESS); /* it has nothing to make durable */
		return;
	}
	command->blocks_now = 0;
	submit(command, BLK_FLUSH, 0, NULL);
}

/* A hint, so that a device without it does nothing; but wrong ranges are wrong. */
static void dsm_run(struct nvme_command *command)
{
	const struct blk_geometry *g = &blk_of(command)->geometry;
	struct nvme_dsm_range range;

	for (uint32_t i = 0; i < command->range_count; i++) {
		memcpy(&range, command->buf->data + i * sizeof(range), sizeof(range));
		if (range.lba > g->block_count || range.block_count > g->block_count - range.lba) {
			end(command, NVME_SC_LBA_OUT_OF_RANGE | NVME_STATUS_DO_NOT_RETRY);
			return;
		}
	}
	command->range_index = command->data_done = 0;
	if (!(command->sqe.cdw11 & NVME_DSM_DEALLOCATE) || g->discard_unit == 0 ||
	    !has_op(command, BLK_DISCARD) || !next_range(command))
		end(command, NVME_SC_SUCCESS);
	else
		step(command);
}

static bool changes_data(uint8_t opcode)
{
	return opcode == NVME_WRITE || opcode == NVME_WRITE_ZEROES ||
	       opcode == NVME_DATASET_MANAGEMENT;
}

static uint16_t check_blocks(struct nvme_command *command)
{
	const struct blk_geometry *g = &blk_of(command)->geometry;
	uint8_t opcode = command->sqe.opcode;
	uint32_t count = nvme_block_count(&command->sqe);

	command->lba = nvme_lba(&command->sqe);
	command->blocks_left = count;
	command->run = blocks_run;
	if (command->sqe.cdw12 & NVME_CDW12_PRINFO)
		return NVME_SC_INVALID_FIELD;
	if (command->lba > g->block_count || count > g->block_count - command->lba)
		return NVME_SC_LBA_OUT_OF_RANGE;
	if (opcode == NVME_READ || opcode == NVME_WRITE || opcode == NVME_COMPARE) {
		if ((uint64_t)count * g->block_size > NVME_TRANSFER_MAX)
			return NVME_SC_INVALID_FIELD;
		command->data_size = count * g->block_size;
		command->to_controller = opcode != NVME_READ;
	}
	if (opcode == NVME_COMPARE || opcode == NVME_VERIFY ||
	    (opcode == NVME_WRITE_ZEROES && !has_op(command, BLK_ZEROES)))
		command->scratch_size =
		        (uint32_t)((uint64_t)count * g->block_size < NVME_SCRATCH_MAX
		                           ? count * g->block_size
		                           : NVME_SCRATCH_MAX);
	return NVME_SC_SUCCESS;
}

static uint16_t check_dsm(struct nvme_command *command)
{
	command->range_count = (command->sqe.cdw10 & 0xff) + 1;
	command->data_size = command->sqe.sgl.size; /* hosts may have more of it than ranges */
	command->to_controller = true;
	command->run = dsm_run;
	if (command->data_size < command->range_count * sizeof(struct nvme_dsm_range) ||
	    command->data_size > NVME_DSM_RANGES_MAX * sizeof(struct nvme_dsm_range))
		return NVME_SC_SGL_LENGTH_INVALID;
	return NVME_SC_SUCCESS;
}

/* By its namespace: which commands there are on it, and whether they may change anything. */
uint16_t nvme_io_check(struct nvme_command *command)
{
	uint8_t opcode = command->sqe.opcode;
	struct export *export = export_at(command->queue->server->exports, command->sqe.nsid);
	const struct blk_geometry *g;
	uint16_t status;

	switch (opcode) {
	case NVME_FLUSH:
	case NVME_READ:
	case NVME_WRITE:
	case NVME_COMPARE:
	case NVME_VERIFY:
	case NVME_WRITE_ZEROES:
	case NVME_DATASET_MANAGEMENT:
		break;
	default:
		return NVME_SC_INVALID_OPCODE;
	}
	if (export == NULL)
		return NVME_SC_INVALID_NAMESPACE;
	g = &export->blk->geometry;
	if (changes_data(opcode) && (export->read_only || !(g->ops & 1u << BLK_WRITE)))
		return NVME_SC_WRITE_PROTECTED;
	if (g->block_size > NVME_SCRATCH_MAX)
		return NVME_SC_NAMESPACE_NOT_READY;
	command->export = export;
	command->run = flush_run;
	if (opcode == NVME_FLUSH)
		status = NVME_SC_SUCCESS;
	else
		status = opcode == NVME_DATASET_MANAGEMENT ? check_dsm(command)
		                                           : check_blocks(command);
	if (status == NVME_SC_SUCCESS)
		export_enter(export);
	else
		command->export = NULL;
	return status;
}
