/* SPDX-License-Identifier: Apache-2.0 */
/* Marks of the mirror: what they say at the start, and writing new ones. */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/prng.h"
#include "core/worker.h"
#include "layer/mirror.h"

struct mark_frame {
	struct frame frame;
	struct mirror *mirror;
	struct iovec iov;
	uint32_t leg;
};

int mirror_first_member(const struct mirror *mirror)
{
	for (unsigned i = 0; i < mirror->leg_count; i++) {
		if (mirror->legs[i].state == LEG_IN)
			return (int)i;
	}
	return -1;
}

bool mirror_leg_is_written(const struct mirror *mirror, unsigned leg)
{
	return mirror->legs[leg].state != LEG_OUT;
}

/* A device that is being copied to has what is written now, and marks, but cannot be read alone. */
static bool has_quorum(const struct mirror *mirror)
{
	unsigned count = 0;

	for (unsigned i = 0; i < mirror->leg_count; i++)
		count += mirror_leg_is_written(mirror, i);
	return count >= mirror->quorum && mirror_first_member(mirror) >= 0;
}

void mirror_leg_drop(struct mirror *mirror, unsigned leg)
{
	if (mirror->legs[leg].state == LEG_OUT)
		return;
	mirror->epoch += mirror->legs[leg].state == LEG_IN;
	mirror->legs[leg].state = LEG_OUT;
	mirror->dropped_legs++;
	if (!has_quorum(mirror))
		mirror->failed = true;
}

static uint32_t crc_of(const struct mirror_mark *mark)
{
	static const uint8_t none[4];
	const uint8_t *at = (const uint8_t *)mark;
	uint32_t crc = crc32c(0, at, 8);

	crc = crc32c(crc, none, sizeof(none));
	return crc32c(crc, at + 12, sizeof(*mark) - 12);
}

static bool is_whole(const struct mirror_mark *mark)
{
	return mark->magic == MIRROR_MAGIC && mark->crc == crc_of(mark);
}

const struct mirror_mark *mirror_mark_newest(const struct mirror_leg *leg)
{
	const struct mirror_mark *newest = NULL;

	for (unsigned i = 0; i < 2; i++) {
		if (!leg->answered[i] || !is_whole(leg->slots[i]))
			continue;
		if (newest == NULL || leg->slots[i]->sequence > newest->sequence)
			newest = leg->slots[i];
	}
	return newest;
}

void mirror_mark_fill(struct mirror *mirror, unsigned leg)
{
	struct mirror_mark *mark = mirror->legs[leg].slots[0];

	*mark = (struct mirror_mark){ .magic = MIRROR_MAGIC,
		                      .version = MIRROR_VERSION,
		                      .leg = (uint8_t)leg,
		                      .legs = (uint8_t)mirror->leg_count,
		                      .epoch = mirror->epoch,
		                      .sequence = mirror->sequence,
		                      .region_blocks = mirror->region_blocks,
		                      .block_count = mirror->blk.geometry.block_count };
	memcpy(mark->uuid, mirror->uuid, sizeof(mark->uuid));
	for (unsigned i = 0; i < mirror->leg_count; i++)
		mark->members |= (uint32_t)(mirror->legs[i].state == LEG_IN) << i;
	memcpy(mark->regions, mirror->dirty, sizeof(mark->regions));
	mark->crc = crc_of(mark);
}

/* What the devices say at the start. */

static void all_behind(struct mirror *mirror)
{
	for (uint32_t i = 0; i < mirror->region_count; i++)
		mirror_bit_set(mirror->behind, i);
}

/* No device has a mark: a new mirror. */
static enum status make_new(struct mirror *mirror)
{
	struct prng prng;

	if (mirror->adopt == ADOPT_NO)
		return STATUS_NOT_FOUND;
	prng_init(&prng, mirror->env->seed);
	prng_fill(&prng, mirror->uuid, sizeof(mirror->uuid));
	mirror->epoch = 1;
	for (unsigned i = 0; i < mirror->leg_count; i++) {
		if (!mirror->legs[i].answered[0] || !mirror->legs[i].answered[1])
			return STATUS_UNAVAILABLE; /* all of them, to begin with */
		mirror->legs[i].state = LEG_IN;
	}
	if (mirror->adopt == ADOPT_YES)
		all_behind(mirror);
	return STATUS_OK;
}

/* Whether a mark is one of this mirror, at this place of it. */
static enum status check_mark(const struct mirror *mirror, const struct mirror_mark *mark,
                              const struct mirror_mark *truth, unsigned leg)
{
	if (mark->version != MIRROR_VERSION)
		return STATUS_UNSUPPORTED;
	if (mark->legs != mirror->leg_count || mark->leg != leg ||
	    memcmp(mark->uuid, truth->uuid, sizeof(mark->uuid)) != 0 ||
	    mark->region_blocks != mirror->region_blocks ||
	    mark->block_count != mirror->blk.geometry.block_count)
		return STATUS_CONFLICT;
	return STATUS_OK;
}

static enum status place_leg(struct mirror *mirror, const struct mirror_mark *truth, unsigned leg,
                             unsigned *answered)
{
	struct mirror_leg *l = &mirror->legs[leg];
	const struct mirror_mark *mark = mirror_mark_newest(l);
	enum status status;

	if (mark == NULL) {
		bool adopted = mirror->adopt == ADOPT_YES && l->answered[0] && l->answered[1];

		l->state = adopted ? LEG_SYNCING : LEG_OUT;
		*answered += adopted;
		if (adopted)
			all_behind(mirror);
		return STATUS_OK;
	}
	status = check_mark(mirror, mark, truth, leg);
	if (status != STATUS_OK)
		return status;
	++*answered;
	l->state = truth->members >> leg & 1 ? LEG_IN : LEG_SYNCING;
	for (unsigned i = 0; i < MIRROR_WORDS; i++)
		mirror->behind[i] |= mark->regions[i];
	if (mark->sequence > mirror->sequence)
		mirror->sequence = mark->sequence;
	return STATUS_OK;
}

static bool is_newer(const struct mirror_mark *a, const struct mirror_mark *b)
{
	return b == NULL || a->epoch > b->epoch ||
	       (a->epoch == b->epoch && a->sequence > b->sequence);
}

enum status mirror_mark_decide(struct mirror *mirror)
{
	const struct mirror_mark *truth = NULL;
	enum status status = STATUS_OK;
	unsigned answered = 0;

	for (unsigned i = 0; i < mirror->leg_count; i++) {
		const struct mirror_mark *mark = mirror_mark_newest(&mirror->legs[i]);

		if (mark != NULL && is_newer(mark, truth))
			truth = mark;
	}
	if (truth == NULL) {
		status = make_new(mirror);
	} else {
		memcpy(mirror->uuid, truth->uuid, sizeof(mirror->uuid));
		mirror->epoch = truth->epoch;
		for (unsigned i = 0; i < mirror->leg_count && status == STATUS_OK; i++)
			status = place_leg(mirror, truth, i, &answered);
		/* So many that one of them was in every quorum. */
		if (status == STATUS_OK && (answered < mirror->leg_count - mirror->quorum + 1 ||
		                            mirror_first_member(mirror) < 0))
			status = STATUS_UNAVAILABLE;
	}
	if (status != STATUS_OK)
		return status;
	mirror->epoch += truth != NULL; /* who is away now is behind */
	memcpy(mirror->dirty, mirror->behind, sizeof(mirror->dirty));
	for (uint32_t i = 0; i < mirror->region_count; i++)
		mirror->behind_count += mirror_bit(mirror->behind, i);
	if (!has_quorum(mirror))
		mirror->failed = true;
	return STATUS_OK;
}

/* Writing marks: one at a time, to all that are written to. */

static void begin_round(struct mirror *mirror);

static void end_round(struct mirror *mirror)
{
	struct req_list now = STAILQ_HEAD_INITIALIZER(now);
	struct req *req;

	if (mirror->mark_ok < mirror->quorum)
		mirror->failed = true;
	if (!mirror->failed) {
		int member = mirror_first_member(mirror);
		const struct mirror_mark *mark = mirror->legs[member].slots[0];

		for (unsigned i = 0; i < MIRROR_WORDS; i++)
			mirror->durable[i] |= mark->regions[i] & mirror->dirty[i];
		mirror->epoch_durable = mark->epoch;
	}
	STAILQ_CONCAT(&now, &mirror->mark_now);
	/* A leg that failed the mark is behind: those that wait must know it to be told. */
	if (!mirror->failed && mirror->epoch_durable != mirror->epoch)
		STAILQ_CONCAT(&mirror->mark_next, &now);
	while ((req = STAILQ_FIRST(&now)) != NULL) {
		STAILQ_REMOVE_HEAD(&now, link);
		mirror_marked(mirror, req);
	}
	if (!STAILQ_EMPTY(&mirror->mark_next) && mirror->mark_running == 0)
		begin_round(mirror);
}

static void mark_done(struct req *req)
{
	const struct mark_frame *frame = req_pop(req, struct mark_frame);
	struct mirror *mirror = frame->mirror;
	unsigned leg = frame->leg;

	if (req->status == STATUS_OK)
		mirror->mark_ok += mirror_leg_is_written(mirror, leg);
	else
		mirror_leg_drop(mirror, leg);
	pool_give(&mirror->own, req);
	assert(mirror->mark_running > 0);
	if (--mirror->mark_running == 0)
		end_round(mirror);
}

static void begin_round(struct mirror *mirror)
{
	uint32_t mark_blocks = MIRROR_MARK_SIZE / mirror->blk.geometry.block_size;

	assert(mirror->mark_running == 0);
	STAILQ_CONCAT(&mirror->mark_now, &mirror->mark_next);
	mirror->sequence++;
	mirror->mark_ok = 0;
	/* What is cleared counts as cleared from now on. */
	for (unsigned i = 0; i < MIRROR_WORDS; i++)
		mirror->durable[i] &= mirror->dirty[i];
	for (unsigned i = 0; i < mirror->leg_count; i++) {
		struct req *req;
		struct mark_frame *frame;
		struct blk_cmd cmd;

		if (!mirror_leg_is_written(mirror, i))
			continue;
		req = pool_get(&mirror->own, mirror->blk.worker);
		assert(req != NULL);
		mirror_mark_fill(mirror, i);
		frame = req_push(req, struct mark_frame, mark_done);
		frame->mirror = mirror;
		frame->leg = i;
		frame->iov = (struct iovec){ mirror->legs[i].slots[0], MIRROR_MARK_SIZE };
		cmd = (struct blk_cmd){ .op = BLK_WRITE,
			                .flags = BLK_FUA,
			                .lba = (mirror->sequence & 1) * mark_blocks,
			                .block_count = mark_blocks,
			                .iov = &frame->iov,
			                .iov_count = 1 };
		mirror->mark_running++;
		blk_submit(mirror->legs[i].blk, req, &cmd);
	}
	if (mirror->mark_running == 0)
		end_round(mirror);
}

void mirror_mark_wait(struct mirror *mirror, struct req *req)
{
	STAILQ_INSERT_TAIL(&mirror->mark_next, req, link);
	if (mirror->mark_running == 0)
		begin_round(mirror);
}
