/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same on several devices. A write ends when all have answered, because a slow one still reads
 * the submitter's memory, and has succeeded when a quorum of members has it; one that fails a write
 * is no member any more. Reads go to the first member, to another one when it fails: so what was
 * read once is read again, whatever crashes left on the others. mirror.h says how they agree.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "core/worker.h"
#include "layer/mirror.h"

enum stage { STAGE_BEGIN, STAGE_RUN, STAGE_END };

struct write_frame { /* of a command that changes something, or a flush */
	struct frame frame;
	struct mirror *mirror;
	struct blk_cmd cmd;
	uint8_t stage, running, succeeded; /* legs */
	uint16_t slot;                     /* in mirror->running */
};

struct read_frame {
	struct frame frame;
	struct mirror *mirror;
	struct blk_cmd cmd;
	uint32_t leg;
};

struct child_frame {
	struct frame frame;
	struct req *parent;
	uint32_t leg;
};

enum { OPTION_QUORUM, OPTION_ADOPT, OPTION_REGION, OPTION_CLEAN, OPTION_COMMANDS };

static void begin_write(struct mirror *mirror, struct req *req);

/* Regions of a command; none: first > last. */
static uint32_t first_region(const struct mirror *mirror, const struct blk_cmd *cmd)
{
	return cmd->op == BLK_FLUSH ? 1 : (uint32_t)(cmd->lba / mirror->region_blocks);
}

static uint32_t last_region(const struct mirror *mirror, const struct blk_cmd *cmd)
{
	if (cmd->op == BLK_FLUSH)
		return 0;
	return (uint32_t)((cmd->lba + cmd->block_count - 1) / mirror->region_blocks);
}

static void end_write(struct mirror *mirror, struct req *req)
{
	const struct write_frame *frame = req_pop(req, struct write_frame);
	bool ok = !mirror->failed && frame->succeeded >= mirror->quorum;

	req_complete(req, ok ? STATUS_OK : STATUS_UNAVAILABLE, 0);
}

static void write_never_done(struct req *req)
{
	(void)req;
	unreachable(); /* the last leg's end pops it */
}

/* Those that wait go on, or wait again. */
static void begin_all(struct mirror *mirror, struct req_list *list)
{
	struct req_list waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct req *req;

	STAILQ_CONCAT(&waiters, list);
	while ((req = STAILQ_FIRST(&waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&waiters, link);
		begin_write(mirror, req);
	}
}

static void take_out(struct mirror *mirror, const struct write_frame *frame)
{
	struct req *last = mirror->running[--mirror->commands];

	assert(frame->slot <= mirror->commands);
	mirror->running[frame->slot] = last;
	req_top(last, struct write_frame)->slot = frame->slot;
}

/*
 * Of two that write the same block side by side each device may keep another one: one at a time,
 * so that all have the same.
 */
static bool overlaps(const struct mirror *mirror, const struct blk_cmd *cmd)
{
	for (unsigned i = 0; i < mirror->commands && cmd->op != BLK_FLUSH; i++) {
		const struct blk_cmd *other = &req_top(mirror->running[i], struct write_frame)->cmd;

		if (other->op != BLK_FLUSH && cmd->lba < other->lba + other->block_count &&
		    other->lba < cmd->lba + cmd->block_count)
			return true;
	}
	return false;
}

static void legs_done(struct mirror *mirror, struct req *req)
{
	struct write_frame *frame = req_top(req, struct write_frame);
	uint32_t last = last_region(mirror, &frame->cmd);
	struct req *next;

	for (uint32_t i = first_region(mirror, &frame->cmd); i <= last; i++) {
		assert(mirror->writers[i] > 0);
		if (--mirror->writers[i] == 0)
			mirror_sync_drained(mirror, i);
	}
	take_out(mirror, frame);
	frame->stage = STAGE_END;
	/* Who is behind must be known on disk before anybody believes that this is there. */
	if (mirror->epoch != mirror->epoch_durable && !mirror->failed)
		mirror_mark_wait(mirror, req);
	else
		end_write(mirror, req);
	while (mirror->commands < mirror->commands_max && (next = pool_next(&mirror->pool)) != NULL)
		begin_write(mirror, next);
	begin_all(mirror, &mirror->overlap_waiters);
}

static void leg_done(struct req *child)
{
	const struct child_frame *frame = req_pop(child, struct child_frame);
	struct req *parent = frame->parent;
	struct write_frame *write = req_top(parent, struct write_frame);
	struct mirror *mirror = write->mirror;

	if (child->status != STATUS_OK)
		mirror_leg_drop(mirror, frame->leg);
	else
		write->succeeded =
		        (uint8_t)(write->succeeded + mirror_leg_is_written(mirror, frame->leg));
	pool_give(&mirror->pool, child);
	assert(write->running > 0);
	if (--write->running == 0)
		legs_done(mirror, parent);
}

static void fan_out(struct mirror *mirror, struct req *req)
{
	struct write_frame *frame = req_top(req, struct write_frame);
	uint32_t last = last_region(mirror, &frame->cmd);
	struct blk_cmd cmd = frame->cmd;

	cmd.lba += cmd.op == BLK_FLUSH ? 0 : mirror->data_start;
	for (uint32_t i = first_region(mirror, &frame->cmd); i <= last; i++) {
		mirror->writers[i]++;
		mirror_bit_set(mirror->touched, i);
	}
	frame->slot = (uint16_t)mirror->commands;
	mirror->running[mirror->commands++] = req;
	frame->stage = STAGE_RUN;
	for (unsigned i = 0; i < mirror->leg_count; i++) {
		struct child_frame *child_frame;
		struct req *child;

		if (!mirror_leg_is_written(mirror, i))
			continue;
		child = pool_get(&mirror->pool, mirror->blk.worker);
		assert(child != NULL);
		child_frame = req_push(child, struct child_frame, leg_done);
		child_frame->parent = req;
		child_frame->leg = i;
		frame->running++;
		blk_submit(mirror->legs[i].blk, child, &cmd);
	}
	assert(frame->running > 0); /* else: the mirror has failed */
}

/* Whether all regions are marked on disk; those that are not will be in the next mark. */
static bool is_marked(struct mirror *mirror, const struct blk_cmd *cmd)
{
	uint32_t last = last_region(mirror, cmd);
	bool marked = true;

	for (uint32_t i = first_region(mirror, cmd); i <= last; i++) {
		mirror_bit_set(mirror->dirty, i);
		marked &= mirror_bit(mirror->durable, i);
	}
	return marked;
}

/* What must be before the devices are written to; comes here again after each wait. */
static void begin_write(struct mirror *mirror, struct req *req)
{
	struct write_frame *frame = req_top(req, struct write_frame);
	const struct blk_cmd *cmd = &frame->cmd;

	assert(frame->stage == STAGE_BEGIN);
	if (mirror->failed) {
		end_write(mirror, req);
	} else if (mirror->job == JOB_COPY && first_region(mirror, cmd) <= mirror->copy_region &&
	           last_region(mirror, cmd) >= mirror->copy_region) {
		STAILQ_INSERT_TAIL(&mirror->copy_waiters, req, link);
	} else if (!is_marked(mirror, cmd)) {
		mirror_mark_wait(mirror, req);
	} else if (mirror->commands == mirror->commands_max) {
		pool_park(&mirror->pool, req);
	} else if (overlaps(mirror, cmd)) {
		STAILQ_INSERT_TAIL(&mirror->overlap_waiters, req, link);
	} else {
		fan_out(mirror, req);
	}
}

void mirror_marked(struct mirror *mirror, struct req *req)
{
	struct write_frame *frame;

	if (req == mirror->starter) {
		mirror->starter = NULL;
		req_complete(req, mirror->failed ? STATUS_UNAVAILABLE : STATUS_OK, 0);
		mirror_sync_start(mirror);
		return;
	}
	if (req == &mirror->job_req) {
		mirror_job_marked(mirror);
		return;
	}
	frame = req_top(req, struct write_frame);
	if (frame->stage == STAGE_END)
		end_write(mirror, req);
	else
		begin_write(mirror, req);
}

/* Reads. */

static bool is_behind(const struct mirror *mirror, const struct blk_cmd *cmd)
{
	uint32_t last = last_region(mirror, cmd);

	for (uint32_t i = first_region(mirror, cmd); i <= last; i++) {
		if (mirror_bit(mirror->behind, i))
			return true;
	}
	return false;
}

static void read_from(struct mirror *mirror, struct req *req, uint32_t leg)
{
	struct read_frame *frame = req_top(req, struct read_frame);
	struct blk_cmd cmd = frame->cmd;

	frame->leg = leg;
	cmd.lba += mirror->data_start;
	blk_submit(mirror->legs[leg].blk, req, &cmd);
}

static void read_done(struct req *req)
{
	struct read_frame *frame = req_top(req, struct read_frame);
	struct mirror *mirror = frame->mirror;
	uint32_t next = frame->leg + 1;

	bool good = req->status == STATUS_OK && mirror->legs[frame->leg].state == LEG_IN;

	/* Another member has it, too, unless a crash may have left it something else. */
	if (!good && req_check(req) == STATUS_OK && !is_behind(mirror, &frame->cmd)) {
		while (next < mirror->leg_count && mirror->legs[next].state != LEG_IN)
			next++;
		if (next < mirror->leg_count) {
			mirror->switched_reads++;
			read_from(mirror, req, next);
			return;
		}
	}
	req_pop(req, struct read_frame);
	req_complete(req, req->status, req->result);
}

/* What a crash may have left different is made the same before anybody sees it. */
static void begin_read(struct mirror *mirror, struct req *req)
{
	const struct blk_cmd *cmd = &req_top(req, struct read_frame)->cmd;
	int first = mirror_first_member(mirror);
	uint32_t region = first_region(mirror, cmd);

	if (first < 0) {
		req_pop(req, struct read_frame);
		req_complete(req, STATUS_UNAVAILABLE, 0);
	} else if (mirror->behind_count > 0 && is_behind(mirror, cmd) && mirror_may_copy(mirror)) {
		while (!mirror_bit(mirror->behind, region))
			region++;
		mirror->wanted_region = region;
		STAILQ_INSERT_TAIL(&mirror->behind_reads, req, link);
		mirror_sync_start(mirror);
	} else {
		read_from(mirror, req, (uint32_t)first);
	}
}

void mirror_copied(struct mirror *mirror)
{
	struct req_list waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct req *req;

	begin_all(mirror, &mirror->copy_waiters);
	STAILQ_CONCAT(&waiters, &mirror->behind_reads);
	while ((req = STAILQ_FIRST(&waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&waiters, link);
		begin_read(mirror, req);
	}
}

static void mirror_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct mirror *mirror = container_of(blk, struct mirror, blk);

	if (cmd->op == BLK_READ) {
		struct read_frame *frame = req_push(req, struct read_frame, read_done);

		frame->mirror = mirror;
		frame->cmd = *cmd;
		begin_read(mirror, req);
	} else {
		struct write_frame *frame = req_push(req, struct write_frame, write_never_done);

		frame->mirror = mirror;
		frame->cmd = *cmd;
		frame->stage = STAGE_BEGIN;
		frame->running = frame->succeeded = 0;
		begin_write(mirror, req);
	}
}

/* Starting: the marks of all are read, one after the other. */

struct start_frame {
	struct frame frame;
	struct mirror *mirror;
};

static void read_mark(struct mirror *mirror);

static void decide(struct mirror *mirror)
{
	enum status status = mirror_mark_decide(mirror);

	mirror->job = JOB_NONE;
	if (status != STATUS_OK) {
		struct req *starter = mirror->starter;

		mirror->starter = NULL;
		req_complete(starter, status, 0);
		return;
	}
	mirror_clean_arm(mirror);
	mirror_mark_wait(mirror, mirror->starter);
}

static void mark_read(struct req *req)
{
	struct mirror *mirror = req_pop(req, struct start_frame)->mirror;
	struct mirror_leg *leg = &mirror->legs[mirror->start_leg];

	leg->answered[mirror->start_slot] = req->status == STATUS_OK;
	mirror->start_slot ^= 1;
	mirror->start_leg += mirror->start_slot == 0;
	if (mirror->start_leg < mirror->leg_count)
		read_mark(mirror);
	else
		decide(mirror);
}

static void read_mark(struct mirror *mirror)
{
	struct mirror_leg *leg = &mirror->legs[mirror->start_leg];
	uint32_t mark_blocks = MIRROR_MARK_SIZE / mirror->blk.geometry.block_size;
	struct blk_cmd cmd = { .op = BLK_READ,
		               .lba = mirror->start_slot * mark_blocks,
		               .block_count = mark_blocks,
		               .iov = &mirror->copy_iov,
		               .iov_count = 1 };

	mirror->copy_iov = (struct iovec){ leg->slots[mirror->start_slot], MIRROR_MARK_SIZE };
	req_init(&mirror->job_req, mirror->blk.worker);
	req_push(&mirror->job_req, struct start_frame, mark_read)->mirror = mirror;
	blk_submit(leg->blk, &mirror->job_req, &cmd);
}

static void mirror_start(struct blk *blk, struct req *req)
{
	struct mirror *mirror = container_of(blk, struct mirror, blk);

	assert(mirror->starter == NULL && mirror->job == JOB_NONE);
	mirror->starter = req;
	mirror->job = JOB_START;
	read_mark(mirror);
}

static void mirror_stop(struct blk *blk, struct req *req)
{
	mirror_sync_stop(container_of(blk, struct mirror, blk), req);
}

static void mirror_describe(const struct blk *blk, char *out, size_t out_max)
{
	static const char *const states[] = { "out", "syncing", "in" };
	const struct mirror *mirror = container_of(blk, struct mirror, blk);
	size_t size = 0;

	for (unsigned i = 0; i < mirror->leg_count && size < out_max; i++)
		size += (size_t)snprintf(out + size, out_max - size, "%s%s", i == 0 ? "" : " ",
		                         states[mirror->legs[i].state]);
	if (size < out_max)
		snprintf(out + size, out_max - size,
		         "; quorum %u of %u, epoch %llu, behind=%u copied=%llu dropped=%llu "
		         "switched=%llu%s",
		         mirror->quorum, mirror->leg_count, (unsigned long long)mirror->epoch,
		         mirror->behind_count, (unsigned long long)mirror->copied_regions,
		         (unsigned long long)mirror->dropped_legs,
		         (unsigned long long)mirror->switched_reads,
		         mirror->failed ? ", no quorum: writes fail" : "");
}

static void mirror_close(struct blk *blk)
{
	struct mirror *mirror = container_of(blk, struct mirror, blk);

	assert(mirror->job == JOB_NONE && mirror->commands == 0);
	timer_cancel(&blk->worker->timers, &mirror->clean_timer);
	pool_close(&mirror->pool, mirror->env);
	pool_close(&mirror->own, mirror->env);
	layer_memory_close(mirror->env, mirror->memory, mirror->memory_size);
	free(mirror);
}

static const struct blk_ops mirror_ops = {
	.name = "mirror",
	.submit = mirror_submit,
	.close = mirror_close,
	.stop = mirror_stop,
};

static enum status set_geometry(struct mirror *mirror, struct layer_open *open)
{
	struct blk_geometry *g = &mirror->blk.geometry;
	uint64_t region_size = open->values[OPTION_REGION].number;
	enum status status = legs_geometry(open, g);

	if (status != STATUS_OK)
		return status;
	if (g->block_size > MIRROR_MARK_SIZE || g->align > MIRROR_MARK_SIZE)
		return layer_fail(open, STATUS_UNSUPPORTED, "its devices' blocks exceed %u bytes",
		                  MIRROR_MARK_SIZE);
	if (g->transfer_max < MIRROR_MARK_SIZE / g->block_size)
		return layer_fail(open, STATUS_UNSUPPORTED, "a device writes less than %u at once",
		                  MIRROR_MARK_SIZE);
	mirror->data_start = MIRROR_DATA_START / g->block_size;
	if (g->block_count <= mirror->data_start)
		return layer_fail(open, STATUS_INVALID, "a device has no more than 64 KiB");
	g->block_count -= mirror->data_start;
	if (!(g->ops & 1u << BLK_WRITE))
		return layer_fail(open, STATUS_READ_ONLY, "a device can only be read");
	while (g->block_count * g->block_size / region_size >= MIRROR_REGIONS_MAX)
		region_size *= 2;
	mirror->region_blocks = (uint32_t)(region_size / g->block_size);
	mirror->region_count = (uint32_t)((g->block_count - 1) / mirror->region_blocks + 1);
	return STATUS_OK;
}

static enum status open_memory(struct mirror *mirror, struct layer_open *open)
{
	size_t marks = (size_t)mirror->leg_count * 2 * MIRROR_MARK_SIZE;
	enum status status;

	mirror->memory_size = marks + MIRROR_COPY_SIZE +
	                      mirror->region_count * sizeof(*mirror->writers) +
	                      mirror->commands_max * sizeof(struct req *);
	mirror->memory = layer_memory_open(open, mirror->memory_size);
	if (mirror->memory == NULL)
		return STATUS_NO_SPACE;
	for (unsigned i = 0; i < 2 * mirror->leg_count; i++)
		mirror->legs[i / 2].slots[i % 2] =
		        (void *)((char *)mirror->memory + i * MIRROR_MARK_SIZE);
	mirror->copy_data = (uint8_t *)mirror->memory + marks;
	mirror->running = (void *)(mirror->copy_data + MIRROR_COPY_SIZE);
	mirror->writers = (void *)(mirror->running + mirror->commands_max);
	status = pool_open(&mirror->own, open, 2 * mirror->leg_count, sizeof(struct req));
	if (status == STATUS_OK)
		status = pool_open(&mirror->pool, open, mirror->commands_max * mirror->leg_count,
		                   sizeof(struct req));
	return status;
}

static void make_lists(struct mirror *mirror)
{
	STAILQ_INIT(&mirror->mark_next);
	STAILQ_INIT(&mirror->mark_now);
	STAILQ_INIT(&mirror->copy_waiters);
	STAILQ_INIT(&mirror->behind_reads);
	STAILQ_INIT(&mirror->overlap_waiters);
}

static enum status mirror_open(struct layer_open *open, struct blk **out)
{
	const struct layer_value *v = open->values;
	struct mirror *mirror;
	enum status status;
	uint32_t below = 0;

	if (v[OPTION_QUORUM].number > open->lower_count)
		return layer_fail_option(open, OPTION_QUORUM, "there are only %u devices",
		                         open->lower_count);
	mirror = calloc(1, sizeof(*mirror));
	if (mirror == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	mirror->blk = LAYER_DEVICE(open->lower[0], &mirror_ops, 0);
	mirror->env = open->env;
	mirror->leg_count = open->lower_count;
	for (unsigned i = 0; i < open->lower_count; i++) {
		mirror->legs[i].blk = open->lower[i];
		if (open->lower[i]->frames_size > below)
			below = open->lower[i]->frames_size;
	}
	/* Reads go down on the request from above. */
	mirror->blk.frames_size = (uint32_t)align_up(sizeof(struct write_frame), 16) + below;
	mirror->quorum = v[OPTION_QUORUM].number != 0 ? (unsigned)v[OPTION_QUORUM].number
	                                              : mirror->leg_count / 2 + 1;
	mirror->adopt = (enum mirror_adopt)v[OPTION_ADOPT].number;
	mirror->clean_ns = v[OPTION_CLEAN].number;
	mirror->commands_max = (unsigned)v[OPTION_COMMANDS].number;
	make_lists(mirror);
	status = set_geometry(mirror, open);
	if (status == STATUS_OK)
		status = open_memory(mirror, open);
	if (status != STATUS_OK) {
		mirror_close(&mirror->blk);
		return status;
	}
	*out = &mirror->blk;
	return STATUS_OK;
}

static const struct conf_setting mirror_options[] = {
	[OPTION_QUORUM] = { .name = "quorum",
	                    .type = CONF_INTEGER,
	                    .initial = "0",
	                    .max = STACK_LEGS_MAX,
	                    .help = "Devices that must have a write. 0: more than half." },
	[OPTION_ADOPT] = { .name = "adopt",
	                   .type = CONF_CHOICE,
	                   .initial = "no",
	                   .choices = "no|yes|clean",
	                   .help = "Devices without our mark are taken, and overwritten; clean: "
	                           "all are new, and the same already." },
	[OPTION_REGION] = { .name = "region",
	                    .type = CONF_SIZE,
	                    .initial = "1M",
	                    .min = MIRROR_REGION_SIZE_MIN,
	                    .max = 1 << 30,
	                    .help = "What is marked, and copied, as a whole; more where there "
	                            "would be too many." },
	[OPTION_CLEAN] = { .name = "clean",
	                   .type = CONF_DURATION,
	                   .initial = "5s",
	                   .min = 10000000,
	                   .max = 3600000000000,
	                   .help = "After how long without writes a region is unmarked." },
	[OPTION_COMMANDS] = { .name = "commands",
	                      .type = CONF_INTEGER,
	                      .initial = "64",
	                      .min = 1,
	                      .max = 4096,
	                      .help = "Writes under way at a time; others wait." },
};

const struct blk_layer blk_mirror = {
	.name = "mirror",
	.help = "The same on several devices, of which a quorum must have a write.",
	.options = mirror_options,
	.option_count = array_count(mirror_options),
	.lower_min = 2,
	.lower_max = STACK_LEGS_MAX,
	.open = mirror_open,
	.start = mirror_start,
	.describe = mirror_describe,
};
