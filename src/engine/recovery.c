/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a store. All of it runs on the first worker, reading a piece, looking at it, reading the
 * next; nothing is written before everything is in memory, so it can be cut short and repeated.
 *
 *   super     the newest superblock says how the store is laid out, and the last run
 *   roots     of every stream of that run, the newest; and their bodies
 *   headers   of all segments: where the logs go on after an unclean end, and which numbers of
 *             runs and generations an open that was cut short has used
 *   trees     the root page of every partition
 *   replay    the frames behind each root, in order
 *   doubts    transactions over several streams that none of these frames resolves
 *   count     how much lives in each segment, if the number of workers has changed
 *   start     every shard writes a checkpoint of the new run; then the superblock names that run
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/recovery_state.h"

struct read_frame {
	struct frame frame;
	struct recovery_read *read;
};

static void step(struct recovery *r);

/* Releases what only the start needed. */
static void drop_memory(struct recovery *r)
{
	recovery_doubts_free(r);
	free(r->segments);
	free(r->trees);
	free(r->tree_counts);
	r->segments = NULL;
	r->trees = NULL;
	r->tree_counts = NULL;
	if (r->big != NULL)
		buf_unref(r->big);
	if (r->page != NULL)
		buf_unref(r->page);
	if (r->memory != NULL)
		buf_unref(r->memory);
	r->big = r->page = r->memory = NULL;
}

/* Shards that run already end what they have begun: the caller takes their memory away. */
static bool quiesce(struct recovery *r, enum status status)
{
	if (status == STATUS_OK || r->phase == PHASE_FAIL || r->phase == PHASE_CLOSE)
		return false;
	r->end = status;
	r->phase = PHASE_FAIL;
	for (unsigned s = 0; s < r->store->shard_count; s++) {
		if (r->store->shards[s] != NULL && r->store->shards[s]->started)
			recovery_start_shard(r, s, START_NOT);
	}
	return r->starts_running > 0;
}

void recovery_finish(struct recovery *r, enum status status)
{
	struct store *store = r->store;

	if (quiesce(r, status))
		return;
	assert(r->starts_running == 0);
	assert(store->phase == STORE_OPENING);
	store->phase = status == STATUS_OK ? STORE_OPEN : STORE_FAILED;
	store->recovered.ended_ns = r->workers[0].worker->now_ns;
	drop_memory(r);
	if (status != STATUS_OK && store->error[0] == '\0')
		snprintf(store->error, sizeof(store->error), "%s", status_text(status));
	req_complete(r->req, status, 0);
}

static void read_ended(struct req *req)
{
	struct recovery_read *read = req_pop(req, struct read_frame)->read;
	struct recovery *r = read->recovery;

	if (req->status != STATUS_OK)
		r->status = req->status;
	assert(r->running > 0);
	if (--r->running > 0)
		return;
	if (r->status != STATUS_OK) {
		recovery_fail(r, r->status, "%s the store: %s",
		              r->phase == PHASE_CLOSE || r->phase == PHASE_SUPER_WRITE ? "writing"
		                                                                       : "reading",
		              status_text(r->status));
		return;
	}
	step(r);
}

void recovery_read(struct recovery *r, unsigned slot, uint8_t *data, uint64_t block,
                   uint32_t blocks)
{
	struct recovery_read *read = &r->reads[slot];
	struct blk_cmd cmd = {
		.op = BLK_READ,
		.lba = block,
		.block_count = blocks,
		.iov = &read->iov,
		.iov_count = 1,
	};

	assert(slot < READS_MAX);
	assert(blocks > 0);
	assert(r->phase != PHASE_OPEN && r->phase != PHASE_CLOSE);
	r->batch = slot + 1;
	read->data = data;
	read->iov = (struct iovec){ data, (size_t)blocks << BLOCK_SHIFT };
	r->running++;
	req_init(&read->req, r->workers[0].worker);
	req_push(&read->req, struct read_frame, read_ended)->read = read;
	blk_submit(r->workers[0].blk, &read->req, &cmd);
}

static bool is_zero(const uint8_t *data, size_t size)
{
	return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

/* Start: every shard on its own worker. */

static void start_returned(struct req *req)
{
	struct recovery_start_call *call = container_of(req, struct recovery_start_call, req);
	struct recovery *r = call->recovery;

	if (call->status != STATUS_OK)
		r->status = call->status;
	assert(r->starts_running > 0);
	if (--r->starts_running > 0)
		return;
	if (r->status != STATUS_OK && r->phase != PHASE_FAIL) {
		recovery_fail(r, r->status, "writing the first checkpoint: %s",
		              status_text(r->status));
		return;
	}
	step(r);
}

struct start_frame {
	struct frame frame;
	struct recovery_start_call *call;
};

static void start_checkpointed(struct req *req)
{
	struct recovery_start_call *call = req_pop(req, struct start_frame)->call;

	assert(call->how == START_BRIEFLY || call->how == START_STAY || call->how == START_NOT);
	call->status = req->status;
	call->shard->inert = call->how != START_STAY;
	worker_send(call->recovery->workers[0].worker, req, start_returned);
}

static void start_arrived(struct req *req)
{
	struct recovery_start_call *call = container_of(req, struct recovery_start_call, req);

	if (call->how == START_OPEN) {
		shard_opened(call->shard);
		worker_send(call->recovery->workers[0].worker, req, start_returned);
		return;
	}
	req_push(req, struct start_frame, start_checkpointed)->call = call;
	if (call->how == START_NOT) {
		shard_quiesce(call->shard, req, STATUS_OK);
		return;
	}
	call->shard->inert = false;
	shard_start(call->shard);
	checkpoint_notify(call->shard, req, /* final= */ false);
}

void recovery_start_shard(struct recovery *r, unsigned index, enum recovery_start_how how)
{
	struct recovery_start_call *call = &r->starts[index];

	*call = (struct recovery_start_call){
		.recovery = r,
		.shard = r->store->shards[index],
		.how = (uint8_t)how,
	};
	assert(index < r->worker_count && call->shard != NULL);
	assert(call->how != START_OPEN || call->shard->started);
	r->starts_running++;
	bufs_hand_over(call->shard->bufs); /* until now this worker took from them */
	req_init(&call->req, r->workers[0].worker);
	worker_send(call->shard->worker, &call->req, start_arrived);
}

/* Super. */

static void super_create(struct recovery *r)
{
	struct store *store = r->store;
	enum status status;

	if (!store->options.create) {
		recovery_finish(r, STATUS_NOT_FOUND);
		return;
	}
	assert(r->worker_count > 0 && r->streams == 0);
	store->super = (struct superblock){
		.segment_blocks = store->options.segment_blocks,
		.partition_count = store->options.partition_count,
		.stream_count = r->worker_count,
		.run = 1,
		.created_ms = r->workers[0].worker->wall_ms,
		.clean = true,
	};
	memcpy(store->super.uuid, store->options.uuid, sizeof(store->super.uuid));
	store->recovered.created = true;
	status = store_make_shards(store, r->workers, r->worker_count);
	for (uint32_t i = 0; status == STATUS_OK && i < store->super.partition_count; i++)
		status = btree_init(&store->partitions[i].tree, recovery_shard(r, i)->pool, i);
	if (status != STATUS_OK) {
		recovery_fail(r, status, "the device, or the memory, is too small for a store");
		return;
	}
	space_start(&store->space, 0, 1);
	r->phase = PHASE_START;
	step(r);
}

static void super_step(struct recovery *r)
{
	struct store *store = r->store;
	enum status worst = STATUS_NOT_FOUND;
	uint32_t format = 0, newest_format = 0;
	bool found = false;

	for (uint32_t i = 0; i < SUPER_COPIES; i++) {
		struct superblock super;
		enum status status = superblock_decode(
		        recovery_slot(r, 0) + ((size_t)i << BLOCK_SHIFT), i, &super, &format);

		if (status == STATUS_OK && (!found || super.epoch > store->super.epoch)) {
			store->super = super;
			found = true;
		}
		if (status == STATUS_UNSUPPORTED)
			newest_format = format > newest_format ? format : newest_format;
		if (status != STATUS_OK && worst != STATUS_UNSUPPORTED)
			worst = status != STATUS_NOT_FOUND ? status : worst;
	}
	if (newest_format > 0) {
		recovery_fail(r, STATUS_UNSUPPORTED,
		              "the store has format %u; this weir knows formats up to %u: use a "
		              "newer weir",
		              newest_format, FORMAT_VERSION);
	} else if (!found && worst != STATUS_NOT_FOUND) {
		recovery_fail(r, worst, "all copies of the superblock are damaged");
	} else if (!found && !is_zero(recovery_slot(r, 0), SUPER_COPIES << BLOCK_SHIFT)) {
		recovery_fail(r, STATUS_INVALID, "the device holds something that is not a store");
	} else if (!found) {
		super_create(r);
	} else {
		enum status status;

		/* What is written from now on belongs to the next run. */
		r->run = store->super.run;
		r->streams = store->super.stream_count;
		store->super.run++;
		store->super.stream_count = r->worker_count;
		status = store_make_shards(store, r->workers, r->worker_count);
		if (status != STATUS_OK) {
			recovery_fail(r, status,
			              "the device, or the memory, is too small for the store");
			return;
		}
		r->segments = calloc(store->space.segment_count, sizeof(*r->segments));
		r->trees = calloc(store->super.partition_count, sizeof(*r->trees));
		r->tree_counts = calloc(store->super.partition_count, sizeof(*r->tree_counts));
		if (r->segments == NULL || r->trees == NULL || r->tree_counts == NULL) {
			recovery_finish(r, STATUS_NO_SPACE);
			return;
		}
		store->recovered.clean = store->super.clean;
		r->phase = PHASE_ROOTS;
		r->cursor = 0;
		recovery_read(r, 0, recovery_slot(r, 0), root_block(r->run, 0, 0, 0), 4);
	}
}

/* Count: only when partitions have moved to other workers. */

void recovery_start_begin(struct recovery *r)
{
	r->phase = PHASE_START;
	step(r);
}

void recovery_count_begin(struct recovery *r)
{
	uint64_t version_next = 1;

	for (unsigned s = 0; s < r->worker_count; s++) {
		if (r->store->shards[s]->version_next > version_next)
			version_next = r->store->shards[s]->version_next;
	}
	for (unsigned s = 0; s < r->worker_count; s++)
		r->store->shards[s]->version_next = version_next;
	for (unsigned s = 0; s < r->worker_count; s++)
		r->store->shards[s]->replaying = false;
	if (!recovery_is_redistributed(r)) {
		recovery_drop_replaced(r, /* all= */ true);
		recovery_start_begin(r);
		return;
	}
	r->phase = PHASE_COUNT;
	r->cursor = 0;
	r->walking = false;
	for (unsigned s = 0; s < r->worker_count; s++) {
		blob_forget_frees(r->store->shards[s]);
		r->store->shards[s]->counting = true;
	}
	step(r);
}

/* Start. */

static void super_write(struct recovery *r)
{
	struct superblock *super = &r->store->super;
	struct recovery_read *write = &r->reads[0];
	uint32_t copy = (uint32_t)(super->epoch & 1) + 2 * r->cursor;
	struct blk_cmd cmd = {
		.op = BLK_WRITE,
		.flags = BLK_FUA,
		.lba = copy,
		.block_count = 1,
		.iov = &write->iov,
		.iov_count = 1,
	};

	assert(r->cursor < 2 && copy < SUPER_COPIES);
	assert(r->running == 0);
	assert(super->stream_count == r->worker_count);
	superblock_encode(super, copy, recovery_slot(r, 0));
	write->iov = (struct iovec){ recovery_slot(r, 0), BLOCK_SIZE };
	r->running++;
	req_init(&write->req, r->workers[0].worker);
	req_push(&write->req, struct read_frame, read_ended)->read = write;
	blk_submit(r->workers[0].blk, &write->req, &cmd);
}

static void start_step(struct recovery *r)
{
	struct superblock *super = &r->store->super;

	assert(r->starts_running == 0);
	assert(super->run > r->run); /* nothing of the last run is written over */
	r->phase = PHASE_SUPER_WRITE;
	r->cursor = 0;
	super->epoch++;
	super->clean = false;
	for (unsigned s = 0; s < r->worker_count; s++)
		recovery_start_shard(r, s, START_STAY);
}

/* Two of the four copies; the other two still hold the epoch before. */
static void super_write_step(struct recovery *r)
{
	if (r->cursor < 2) {
		super_write(r);
		r->cursor++;
	} else if (r->phase == PHASE_CLOSE) {
		r->store->phase = STORE_CLOSED;
		req_complete(r->req, STATUS_OK, 0);
	} else {
		r->phase = PHASE_OPEN;
		for (unsigned s = 0; s < r->worker_count; s++)
			recovery_start_shard(r, s, START_OPEN);
	}
}

void recovery_resume(struct recovery *r)
{
	assert(r->phase == PHASE_REPLAY || r->phase == PHASE_DOUBTS || r->phase == PHASE_COUNT);
	step(r);
}

static void step(struct recovery *r)
{
	unsigned count = r->batch;

	switch ((enum recovery_phase)r->phase) {
	case PHASE_SUPER:
		super_step(r);
		break;
	case PHASE_ROOTS:
		recovery_roots_step(r);
		break;
	case PHASE_BODY:
		recovery_body_step(r);
		break;
	case PHASE_HEADERS:
		recovery_headers_step(r, count);
		break;
	case PHASE_TREES:
		recovery_trees_step(r, count);
		break;
	case PHASE_REPLAY:
		recovery_replay_step(r);
		break;
	case PHASE_PROOF:
		recovery_proof_step(r);
		break;
	case PHASE_DOUBTS:
		recovery_doubts_step(r);
		break;
	case PHASE_PAGE:
		recovery_page_step(r);
		break;
	case PHASE_MAKE_ROOM:
		r->phase = r->resume;
		recovery_resume(r);
		break;
	case PHASE_COUNT:
		recovery_count_step(r);
		break;
	case PHASE_START:
		start_step(r);
		break;
	case PHASE_SUPER_WRITE:
	case PHASE_CLOSE:
		super_write_step(r);
		break;
	case PHASE_OPEN:
		recovery_finish(r, STATUS_OK);
		break;
	case PHASE_FAIL:
		recovery_finish(r, r->end);
		break;
	}
}

void recovery_start(struct store *store, const struct store_worker *workers, unsigned worker_count,
                    struct req *req)
{
	struct recovery *r = calloc(1, sizeof(*r));
	struct bufs *bufs = workers[0].bufs;

	req->state = REQ_RUNNING;
	if (r == NULL) {
		snprintf(store->error, sizeof(store->error), "no memory to open a store");
		store->phase = STORE_FAILED;
		req_complete(req, STATUS_NO_SPACE, 0);
		return;
	}
	store->recovery = r;
	store->recovered.started_ns = workers[0].worker->now_ns;
	r->store = store;
	r->worker_count = worker_count;
	memcpy(r->workers, workers, worker_count * sizeof(*workers));
	r->req = req;
	for (unsigned i = 0; i < READS_MAX; i++)
		r->reads[i].recovery = r;
	r->memory = buf_get(bufs, (size_t)READS_MAX * READ_SIZE);
	r->big = buf_get(bufs, BUF_SIZE_MAX);
	r->page = buf_get(bufs, BLOCK_SIZE);
	if (r->memory == NULL || r->big == NULL || r->page == NULL) {
		recovery_fail(r, STATUS_NO_SPACE, "the memory is too small to open a store");
		return;
	}
	if (workers[0].blk->geometry.block_count < SEGMENT_FIRST_BLOCK) {
		recovery_fail(r, STATUS_NO_SPACE, "the device is too small for a store");
		return;
	}
	r->phase = PHASE_SUPER;
	recovery_read(r, 0, recovery_slot(r, 0), 0, SUPER_COPIES);
}

void store_close(struct store *store, struct req *req)
{
	struct recovery *r = store->recovery;

	assert(req->worker == r->workers[0].worker);
	assert(store->phase == STORE_OPEN);
	assert(r->running == 0 && r->memory == NULL);
	req->state = REQ_RUNNING;
	r->req = req;
	for (unsigned s = 0; s < store->shard_count; s++) {
		if (store->shards[s]->log.failed != STATUS_OK) {
			req_complete(req, STATUS_READ_ONLY, 0); /* the next start replays */
			return;
		}
	}
	r->memory = buf_get(r->workers[0].bufs, BLOCK_SIZE);
	if (r->memory == NULL) {
		req_complete(req, STATUS_BUSY, 0);
		return;
	}
	r->status = STATUS_OK;
	r->phase = PHASE_CLOSE;
	r->cursor = 0;
	store->phase = STORE_CLOSING;
	store->super.epoch++;
	store->super.clean = true;
	super_write_step(r);
}

void recovery_free(struct store *store)
{
	if (store->recovery == NULL)
		return;
	drop_memory(store->recovery);
	free(store->recovery);
	store->recovery = NULL;
}
