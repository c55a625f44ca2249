/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/space.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum status space_open(struct space *space, struct worker *home, uint32_t segment_count,
                       uint32_t segment_blocks, unsigned stream_count)
{
	assert(segment_count > 0 && segment_count <= SEGMENTS_MAX);
	assert(stream_count > 0 && stream_count <= STREAMS_MAX);
	*space = (struct space){
		.home = home,
		.segment_count = segment_count,
		.segment_size = (uint64_t)segment_blocks << BLOCK_SHIFT,
		.stream_count = stream_count,
	};
	for (unsigned i = 0; i < stream_count; i++)
		space->streams[i].checkpoint_count = 2;
	space->refs = calloc(segment_count, sizeof(*space->refs));
	space->free = calloc(segment_count, sizeof(*space->free));
	if (space->refs == NULL || space->free == NULL) {
		space_close(space);
		return STATUS_NO_SPACE;
	}
	return STATUS_OK;
}

void space_close(struct space *space)
{
	free(space->refs);
	free(space->free);
	space->refs = NULL;
	space->free = NULL;
}

void space_hold(struct space *space, uint32_t segment)
{
	assert(segment < space->segment_count);
	assert(space->refs[segment] < UINT8_MAX);
	space->refs[segment]++;
}

/* Those before it that were never used are free now. */
static void touch(struct space *space, uint32_t segment)
{
	while (space->touched <= segment)
		space->free[space->free_count++] = space->touched++;
}

void space_adopt(struct space *space, uint32_t segment)
{
	uint32_t i = 0;

	assert(segment < space->segment_count);
	touch(space, segment);
	if (space->refs[segment]++ > 0)
		return;
	while (i < space->free_count && space->free[i] != segment)
		i++;
	assert(i < space->free_count); /* else: neither held nor free */
	space->free[i] = space->free[--space->free_count];
}

void space_drop(struct space *space, uint32_t segment)
{
	assert(segment < space->segment_count);
	assert(space->refs[segment] > 0);
	if (--space->refs[segment] > 0)
		return;
	assert(segment < space->touched);
	space->free[space->free_count++] = segment;
	space->released++;
}

void space_start(struct space *space, uint32_t touched, uint64_t generation_next)
{
	assert(touched <= space->segment_count);
	assert(generation_next > 0);
	space->touched = touched;
	space->generation_next = generation_next;
	space->free_count = 0;
	for (uint32_t i = touched; i-- > 0;) {
		if (space->refs[i] == 0)
			space->free[space->free_count++] = i;
	}
	for (uint32_t i = touched; i < space->segment_count; i++)
		assert(space->refs[i] == 0); /* else: touched is wrong */
}

uint32_t space_left(const struct space *space)
{
	return space->free_count + (space->segment_count - space->touched);
}

/* Segments that the next checkpoints of all streams need: only they may have them. */
static uint32_t kept_for_roots(const struct space *space)
{
	uint32_t kept = 0;

	for (unsigned i = 0; i < space->stream_count; i++)
		kept += space->streams[i].checkpoint_count;
	return kept;
}

static uint32_t kept_from(const struct space *space, enum space_need need)
{
	uint32_t kept = 0;

	if (need < SPACE_ROOT)
		kept += kept_for_roots(space);
	if (need < SPACE_CLEAN)
		kept += SPACE_CLEAN_RESERVE * space->stream_count;
	if (need < SPACE_LOG)
		kept += SPACE_LOG_RESERVE * space->stream_count;
	return kept;
}

/*
 * More live data than this would make the cleaner write ten bytes for each that it gains. The log
 * that is open, of each stream, is no garbage either.
 */
static bool is_full(const struct space *space)
{
	uint64_t kept = kept_from(space, SPACE_DATA) + space->stream_count;
	uint64_t live = 0;

	for (unsigned i = 0; i < space->stream_count; i++)
		live += space->streams[i].live;
	return kept >= space->segment_count || live > (space->segment_count - kept) *
	                                                       space->segment_size / 100 *
	                                                       SPACE_LIVE_MAX_PERCENT;
}

static void allocate(struct space *space, struct space_call *call)
{
	uint32_t left = space_left(space);

	if (left <= kept_from(space, call->need)) {
		call->status = STATUS_NO_SPACE;
		return;
	}
	call->fresh = space->free_count == 0;
	call->segment = call->fresh ? space->touched++ : space->free[--space->free_count];
	call->generation = space->generation_next++;
	call->status = STATUS_OK;
	assert(space->refs[call->segment] == 0);
	space->refs[call->segment] = 1;
}

static void call_returned(struct req *req)
{
	struct space_call *call = container_of(req, struct space_call, req);

	call->busy = false;
	call->done(call);
}

static void call_arrived(struct req *req)
{
	struct space_call *call = container_of(req, struct space_call, req);
	struct space *space = call->space;

	assert(call->stream < space->stream_count);
	space->streams[call->stream].live = call->live;
	space->streams[call->stream].checkpoint_count = call->checkpoint_count;
	if (call->op == SPACE_ALLOCATE) {
		allocate(space, call);
	} else if (call->op == SPACE_LOOK) {
		call->status = STATUS_OK;
	} else {
		space_drop(space, call->segment);
		call->status = STATUS_OK;
	}
	call->report = (struct space_report){
		.left = space_left(space),
		.kept = kept_from(space, SPACE_DATA),
		.kept_log = kept_from(space, SPACE_LOG),
		.released = space->released,
		.full = is_full(space),
	};
	worker_send(call->caller, req, call_returned);
}

void space_call(struct space *space, struct space_call *call, struct worker *caller)
{
	assert(!call->busy);
	assert(call->done != NULL);
	call->busy = true;
	call->space = space;
	call->caller = caller;
	req_init(&call->req, caller);
	worker_send(space->home, &call->req, call_arrived);
}
