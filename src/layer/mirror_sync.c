/* SPDX-License-Identifier: Apache-2.0 */
/* What the mirror does beside its commands: copying what may differ, and unmarking. */
#include "base/assert.h"
#include "core/worker.h"
#include "layer/mirror.h"

struct job_frame {
	struct frame frame;
	struct mirror *mirror;
	uint32_t leg;
};

static void next_job(struct mirror *mirror);
static void copy_piece(struct mirror *mirror);

static uint32_t region_size(const struct mirror *mirror, uint32_t region)
{
	uint64_t left = mirror->blk.geometry.block_count - (uint64_t)region * mirror->region_blocks;

	return left < mirror->region_blocks ? (uint32_t)left : mirror->region_blocks;
}

static bool has_targets(const struct mirror *mirror)
{
	int source = mirror_first_member(mirror);

	for (unsigned i = 0; i < mirror->leg_count && source >= 0; i++) {
		if ((int)i != source && mirror_leg_is_written(mirror, i))
			return true;
	}
	return false;
}

bool mirror_may_copy(const struct mirror *mirror)
{
	return !mirror->failed && !mirror->stalled && mirror->stopper == NULL &&
	       has_targets(mirror);
}

static bool all_are_in(const struct mirror *mirror)
{
	for (unsigned i = 0; i < mirror->leg_count; i++) {
		if (mirror->legs[i].state != LEG_IN)
			return false;
	}
	return true;
}

static bool may_unmark(const struct mirror *mirror)
{
	return all_are_in(mirror) && mirror->behind_count == 0 && !mirror->failed;
}

static void end_job(struct mirror *mirror)
{
	assert(mirror->job != JOB_NONE && mirror->job_running == 0);
	mirror->job = JOB_NONE;
	mirror_copied(mirror);
	if (mirror->job == JOB_NONE) /* else: one of those that waited began the next one */
		next_job(mirror);
}

/* Flushing all, before a mark says that they are the same. */

static void job_never_done(struct req *req)
{
	(void)req;
	unreachable(); /* mirror_job_marked() pops it */
}

static void mark_after_flush(struct mirror *mirror)
{
	for (unsigned i = 0; i < mirror->leg_count && mirror->job == JOB_FINISH; i++) {
		if (mirror->legs[i].state == LEG_SYNCING)
			mirror->legs[i].state = LEG_IN;
	}
	mirror->epoch += mirror->job == JOB_FINISH;
	for (uint32_t i = 0; i < mirror->region_count && mirror->job != JOB_FINISH; i++) {
		bool idle = mirror->writers[i] == 0 && !mirror_bit(mirror->touched, i);

		if (may_unmark(mirror) && idle && mirror_bit(mirror->clean_set, i))
			mirror_bit_clear(mirror->dirty, i);
	}
	req_init(&mirror->job_req, mirror->blk.worker);
	req_push(&mirror->job_req, struct job_frame, job_never_done);
	mirror->job_req.state = REQ_RUNNING;
	mirror_mark_wait(mirror, &mirror->job_req);
}

void mirror_job_marked(struct mirror *mirror)
{
	req_pop(&mirror->job_req, struct job_frame);
	end_job(mirror);
}

static void flush_done(struct req *req)
{
	const struct job_frame *frame = req_pop(req, struct job_frame);
	struct mirror *mirror = frame->mirror;

	if (req->status != STATUS_OK)
		mirror_leg_drop(mirror, frame->leg);
	pool_give(&mirror->own, req);
	if (--mirror->job_running == 0)
		mark_after_flush(mirror);
}

static void flush_all(struct mirror *mirror)
{
	static const struct blk_cmd flush = { .op = BLK_FLUSH };

	for (unsigned i = 0; i < mirror->leg_count; i++) {
		struct req *req;
		struct job_frame *frame;

		if (!mirror_leg_is_written(mirror, i))
			continue;
		req = pool_get(&mirror->own, mirror->blk.worker);
		assert(req != NULL);
		frame = req_push(req, struct job_frame, flush_done);
		frame->mirror = mirror;
		frame->leg = i;
		mirror->job_running++;
		blk_submit(mirror->legs[i].blk, req, &flush);
	}
	if (mirror->job_running == 0)
		mark_after_flush(mirror);
}

/* Copying. */

static void piece_written(struct mirror *mirror)
{
	uint32_t region = mirror->copy_region;

	mirror->copy_at += (uint32_t)(mirror->copy_iov.iov_len / mirror->blk.geometry.block_size);
	if (mirror->copy_at < region_size(mirror, region) && mirror->stopper == NULL) {
		copy_piece(mirror);
		return;
	}
	if (mirror->copy_at == region_size(mirror, region) && has_targets(mirror)) {
		mirror_bit_clear(mirror->behind, region);
		mirror->behind_count--;
		mirror->copied_regions++;
	}
	end_job(mirror);
}

static void write_done(struct req *req)
{
	const struct job_frame *frame = req_pop(req, struct job_frame);
	struct mirror *mirror = frame->mirror;

	if (req->status != STATUS_OK)
		mirror_leg_drop(mirror, frame->leg);
	pool_give(&mirror->own, req);
	if (--mirror->job_running == 0)
		piece_written(mirror);
}

static struct blk_cmd piece_cmd(struct mirror *mirror, enum blk_op op)
{
	uint32_t block_size = mirror->blk.geometry.block_size;

	return (struct blk_cmd){ .op = op,
		                 .lba = mirror->data_start + mirror->copy_at +
		                        (uint64_t)mirror->copy_region * mirror->region_blocks,
		                 .block_count = (uint32_t)(mirror->copy_iov.iov_len / block_size),
		                 .iov = &mirror->copy_iov,
		                 .iov_count = 1 };
}

static void write_piece(struct mirror *mirror)
{
	/* Durable, so that what was read from one is what all say from then on. */
	struct blk_cmd cmd = piece_cmd(mirror, BLK_WRITE);
	int source = mirror_first_member(mirror);

	for (unsigned i = 0; i < mirror->leg_count; i++) {
		struct req *req;
		struct job_frame *frame;

		if ((int)i == source || !mirror_leg_is_written(mirror, i))
			continue;
		req = pool_get(&mirror->own, mirror->blk.worker);
		assert(req != NULL);
		frame = req_push(req, struct job_frame, write_done);
		frame->mirror = mirror;
		frame->leg = i;
		mirror->job_running++;
		cmd.flags = BLK_FUA;
		blk_submit(mirror->legs[i].blk, req, &cmd);
	}
	if (mirror->job_running == 0)
		piece_written(mirror);
}

static void piece_read(struct req *req)
{
	const struct job_frame *frame = req_pop(req, struct job_frame);
	struct mirror *mirror = frame->mirror;

	/* Who was the first member may have failed a write meanwhile: then it is no source. */
	if (req->status == STATUS_OK && mirror_first_member(mirror) == (int)frame->leg) {
		write_piece(mirror);
		return;
	}
	mirror->stalled |= mirror_first_member(mirror) == (int)frame->leg;
	end_job(mirror);
}

static void copy_piece(struct mirror *mirror)
{
	const struct blk_geometry *g = &mirror->blk.geometry;
	uint32_t left = region_size(mirror, mirror->copy_region) - mirror->copy_at;
	uint32_t most = MIRROR_COPY_SIZE / g->block_size;
	int source = mirror_first_member(mirror);
	struct job_frame *frame;
	struct blk_cmd cmd;

	if (source < 0 || !has_targets(mirror)) {
		end_job(mirror);
		return;
	}
	most = most < g->transfer_max ? most : g->transfer_max;
	left = left < most ? left : most;
	mirror->copy_iov = (struct iovec){ mirror->copy_data, (size_t)left * g->block_size };
	cmd = piece_cmd(mirror, BLK_READ);
	req_init(&mirror->job_req, mirror->blk.worker);
	frame = req_push(&mirror->job_req, struct job_frame, piece_read);
	frame->mirror = mirror;
	frame->leg = (uint32_t)source;
	blk_submit(mirror->legs[source].blk, &mirror->job_req, &cmd);
}

static void copy_region(struct mirror *mirror)
{
	uint32_t region = mirror->wanted_region;

	for (uint32_t i = 0; !mirror_bit(mirror->behind, region); i++) {
		assert(i < mirror->region_count);
		region = i;
	}
	assert(region < mirror->region_count);
	mirror->job = JOB_COPY;
	mirror->copy_region = region;
	mirror->copy_at = 0;
	if (mirror->writers[region] == 0)
		copy_piece(mirror);
}

void mirror_sync_drained(struct mirror *mirror, uint32_t region)
{
	if (mirror->job == JOB_COPY && region == mirror->copy_region)
		copy_piece(mirror);
}

/* What comes next. */

static void stop_now(struct mirror *mirror)
{
	struct req *stopper = mirror->stopper;

	mirror->stopper = NULL;
	req_complete(stopper, mirror->failed ? STATUS_UNAVAILABLE : STATUS_OK, 0);
}

static void next_job(struct mirror *mirror)
{
	bool syncing = false;

	assert(mirror->job == JOB_NONE);
	if (mirror->stopper != NULL) {
		stop_now(mirror);
		return;
	}
	if (!mirror_may_copy(mirror))
		return;
	for (unsigned i = 0; i < mirror->leg_count; i++)
		syncing |= mirror->legs[i].state == LEG_SYNCING;
	if (mirror->behind_count > 0) {
		copy_region(mirror);
	} else if (syncing) {
		mirror->job = JOB_FINISH;
		flush_all(mirror);
	}
}

void mirror_sync_start(struct mirror *mirror)
{
	if (mirror->job == JOB_NONE)
		next_job(mirror);
}

static void clean(struct timer *timer)
{
	struct mirror *mirror = container_of(timer, struct mirror, clean_timer);
	bool any = false;

	mirror_clean_arm(mirror);
	if (mirror->job != JOB_NONE || !may_unmark(mirror))
		return;
	for (unsigned i = 0; i < MIRROR_WORDS; i++) {
		mirror->clean_set[i] = mirror->dirty[i] & ~mirror->touched[i];
		mirror->touched[i] = 0;
		any |= mirror->clean_set[i] != 0;
	}
	for (uint32_t i = 0; i < mirror->region_count; i++) {
		if (mirror->writers[i] > 0)
			mirror_bit_set(mirror->touched, i);
	}
	if (!any)
		return;
	mirror->job = JOB_CLEAN;
	flush_all(mirror);
}

void mirror_clean_arm(struct mirror *mirror)
{
	struct worker *worker = mirror->blk.worker;

	if (!mirror->clean_timer.armed)
		timer_arm(&worker->timers, &mirror->clean_timer, worker->now_ns + mirror->clean_ns,
		          clean);
}

void mirror_sync_stop(struct mirror *mirror, struct req *req)
{
	timer_cancel(&mirror->blk.worker->timers, &mirror->clean_timer);
	assert(mirror->commands == 0);
	mirror->stopper = req;
	if (mirror->job != JOB_NONE)
		return; /* its end is ours */
	if (!may_unmark(mirror)) {
		stop_now(mirror);
		return;
	}
	for (unsigned i = 0; i < MIRROR_WORDS; i++) {
		mirror->clean_set[i] = mirror->dirty[i];
		mirror->touched[i] = 0;
	}
	mirror->job = JOB_STOP;
	flush_all(mirror);
}
