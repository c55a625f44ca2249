/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/space.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum status space_open(struct space *space, struct worker *home, uint32_t segment_count,
                       unsigned stream_count, uint32_t checkpoint_count)
{
	assert(segment_count > 0 && segment_count <= SEGMENTS_MAX);
	*space = (struct space){
		.home = home,
		.segment_count = segment_count,
		/* A checkpoint, a log segment and a cleaner's target for each stream. */
		.reserve_count = (2 + checkpoint_count) * stream_count,
		.root_count = checkpoint_count * stream_count,
	};
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

static void allocate(struct space *space, struct space_call *call)
{
	uint32_t left = space_left(space);
	uint32_t kept = call->need == SPACE_DATA  ? space->reserve_count
	                : call->need == SPACE_LOG ? space->root_count
	                                          : 0;

	if (left <= kept) {
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

	if (call->op == SPACE_ALLOCATE) {
		allocate(space, call);
	} else if (call->op == SPACE_LOOK) {
		call->status = STATUS_OK;
	} else {
		assert(space->refs[call->segment] > 0);
		if (--space->refs[call->segment] == 0)
			space->free[space->free_count++] = call->segment;
		call->status = STATUS_OK;
	}
	call->left = space_left(space);
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
