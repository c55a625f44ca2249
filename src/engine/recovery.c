/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a store. All of it runs on the first worker, reading a piece, looking at it, reading the
 * next; nothing is written before everything is in memory, so it can be cut short and repeated.
 *
 *   super     the newest superblock says how the store is laid out, and the last run
 *   roots     of every stream of that run, the newest; and their bodies
 *   headers   of all segments, after an unclean end: they say where the logs go on
 *   trees     the root page of every partition
 *   replay    the frames behind each root, in order
 *   count     how much lives in each segment, if the number of workers has changed
 *   start     every shard writes a checkpoint of the new run; then the superblock names that run
 */
#include "engine/recovery.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/shard.h"

enum {
	READS_MAX = 32,
	READ_SIZE = 16 << 10,
	HEADER_GAP = 64, /* segments without a header after which there are no more */
};

enum recovery_phase {
	PHASE_SUPER,
	PHASE_ROOTS,
	PHASE_BODY,
	PHASE_HEADERS,
	PHASE_TREES,
	PHASE_REPLAY,
	PHASE_PROOF, /* is what ends the log a torn tail, or damage */
	PHASE_PAGE,
	PHASE_MAKE_ROOM,
	PHASE_COUNT,
	PHASE_START,
	PHASE_SUPER_WRITE,
	PHASE_OPEN,
	PHASE_CLOSE,
};

struct recovery_read {
	struct recovery *recovery;
	uint8_t *data;
	uint64_t tag; /* what it is for */
	struct iovec iov;
	struct req req;
};

/* What a segment header, and the first frame of a log segment, said. */
struct recovery_segment {
	struct segment_header header;
	uint64_t first_lsn, first_durable; /* 0: no frame */
	bool found, listed;                /* a header is there; in the body of a root */
	bool live;                         /* something in it was, in that body */
};

struct recovery {
	struct store *store;
	struct store_worker workers[STREAMS_MAX];
	unsigned worker_count;
	struct req *req;       /* completed at the end */
	uint8_t phase, resume; /* enum recovery_phase; where PAGE and MAKE_ROOM go back to */
	struct recovery_read reads[READS_MAX];
	unsigned running;
	enum status status; /* of the reads that have ended */
	struct buf *memory; /* of the reads */
	struct buf *big;    /* bodies, frames */
	struct buf *page;
	struct root roots[STREAMS_MAX]; /* of the last run */
	struct recovery_segment *segments;
	uint64_t *trees; /* root page of each partition */
	uint64_t *tree_counts;
	uint32_t run, streams;  /* of the last run */
	unsigned batch;         /* reads that were submitted together */
	uint32_t replay_offset; /* in big, of the frame that is replayed */
	uint32_t cursor;        /* stream, segment or partition that is next, by phase */
	uint32_t last_header;
	/* Replay. */
	uint32_t segment, block; /* of the frame that is looked at */
	uint64_t lsn;            /* that it should have */
	uint32_t valid;          /* bytes in big, from that frame on */
	uint32_t at;             /* of the record in the frame */
	uint32_t clear_next;     /* partition a RECORD_CLEAR goes on with */
	uint32_t proof_block;
	struct btree_miss miss;
	uint32_t miss_partition;
	/* Start. */
	struct recovery_start_call {
		struct recovery *recovery;
		struct shard *shard;
		struct req req;
		enum status status;
		bool stay; /* it goes on running; else it is inert again */
		bool open; /* the superblock names this run: what is dead may be given back */
	} starts[STREAMS_MAX];
	unsigned starts_running;
	struct btree_cursor walk;
};

struct read_frame {
	struct frame frame;
	struct recovery_read *read;
};

static void step(struct recovery *r);
static void replay_step(struct recovery *r);

/* Releases what only the start needed. */
static void drop_memory(struct recovery *r)
{
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

static void finish(struct recovery *r, enum status status)
{
	struct store *store = r->store;

	store->phase = status == STATUS_OK ? STORE_OPEN : STORE_FAILED;
	store->recovered.ended_ns = r->workers[0].worker->now_ns;
	drop_memory(r);
	if (status != STATUS_OK && store->error[0] == '\0')
		snprintf(store->error, sizeof(store->error), "%s", status_text(status));
	req_complete(r->req, status, 0);
}

#define fail(r, status, ...)                                                                       \
	do {                                                                                       \
		snprintf((r)->store->error, sizeof((r)->store->error), __VA_ARGS__);               \
		finish(r, status);                                                                 \
	} while (0)

static void read_ended(struct req *req)
{
	struct recovery_read *read = req_pop(req, struct read_frame)->read;
	struct recovery *r = read->recovery;

	if (req->status != STATUS_OK)
		r->status = req->status;
	if (--r->running > 0)
		return;
	if (r->status != STATUS_OK) {
		fail(r, r->status, "%s the store: %s",
		     r->phase == PHASE_CLOSE || r->phase == PHASE_SUPER_WRITE ? "writing"
		                                                              : "reading",
		     status_text(r->status));
		return;
	}
	step(r);
}

static void read_submit(struct recovery *r, unsigned slot, uint8_t *data, uint64_t block,
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
	r->batch = slot + 1;
	read->data = data;
	read->iov = (struct iovec){ data, (size_t)blocks << BLOCK_SHIFT };
	r->running++;
	req_init(&read->req, r->workers[0].worker);
	req_push(&read->req, struct read_frame, read_ended)->read = read;
	blk_submit(r->workers[0].blk, &read->req, &cmd);
}

static uint8_t *slot_memory(struct recovery *r, unsigned slot)
{
	return r->memory->data + (size_t)slot * READ_SIZE;
}

static uint64_t segment_lba(const struct recovery *r, uint32_t segment, uint32_t block)
{
	return SEGMENT_FIRST_BLOCK + (uint64_t)segment * r->store->super.segment_blocks + block;
}

static struct shard *shard_of(struct recovery *r, uint32_t partition)
{
	return r->store->shards[store_owner(r->store, partition)];
}

/* The number of workers is another than in the last run. */
static bool is_redistributed(const struct recovery *r)
{
	return r->streams != r->worker_count;
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
	if (--r->starts_running > 0)
		return;
	if (r->status != STATUS_OK) {
		fail(r, r->status, "writing the first checkpoint: %s", status_text(r->status));
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

	call->status = req->status;
	call->shard->inert = !call->stay;
	worker_send(call->recovery->workers[0].worker, req, start_returned);
}

static void start_arrived(struct req *req)
{
	struct recovery_start_call *call = container_of(req, struct recovery_start_call, req);

	if (call->open) {
		shard_opened(call->shard);
		worker_send(call->recovery->workers[0].worker, req, start_returned);
		return;
	}
	call->shard->inert = false;
	shard_start(call->shard);
	req_push(req, struct start_frame, start_checkpointed)->call = call;
	checkpoint_notify(call->shard, req, /* final= */ false);
}

static void start_shard(struct recovery *r, unsigned index, bool stay, bool open)
{
	struct recovery_start_call *call = &r->starts[index];

	*call = (struct recovery_start_call){
		.recovery = r,
		.shard = r->store->shards[index],
		.stay = stay,
		.open = open,
	};
	r->starts_running++;
	bufs_hand_over(call->shard->bufs); /* until now this worker took from them */
	req_init(&call->req, r->workers[0].worker);
	worker_send(call->shard->worker, &call->req, start_arrived);
}

/* Brings a page into memory, or makes room for it, and then repeats the phase. */
static bool wait_for_page(struct recovery *r, uint32_t partition, enum btree_result result)
{
	if (result == BTREE_MISS) {
		struct location l = location_unpack(r->miss.address);

		r->miss_partition = partition;
		r->resume = r->phase;
		r->phase = PHASE_PAGE;
		read_submit(r, 0, r->page->data, segment_lba(r, l.segment, l.offset >> BLOCK_SHIFT),
		            1);
		return true;
	}
	assert(result == BTREE_FULL);
	if (is_redistributed(r)) {
		fail(r, STATUS_NO_SPACE,
		     "the index does not fit the memory while the store is spread over another "
		     "number of workers: start it once with %u, or raise memory",
		     r->streams);
		return false;
	}
	r->resume = r->phase;
	r->phase = PHASE_MAKE_ROOM;
	start_shard(r, store_owner(r->store, partition), /* stay= */ false, /* open= */ false);
	return true;
}

static void page_step(struct recovery *r)
{
	struct btree *tree = &r->store->partitions[r->miss_partition].tree;
	enum status status = btree_load(tree, r->page->data, r->miss.address);

	r->phase = r->resume;
	if (status == STATUS_BUSY) {
		wait_for_page(r, r->miss_partition, BTREE_FULL);
		return;
	}
	if (status != STATUS_OK) {
		fail(r, status, "a page of the index of partition %u is damaged",
		     r->miss_partition);
		return;
	}
	replay_step(r);
}

/* Super. */

static void super_create(struct recovery *r)
{
	struct store *store = r->store;
	enum status status;

	if (!store->options.create) {
		finish(r, STATUS_NOT_FOUND);
		return;
	}
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
		status = btree_init(&store->partitions[i].tree, shard_of(r, i)->pool, i);
	if (status != STATUS_OK) {
		fail(r, status, "the device, or the memory, is too small for a store");
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
		        slot_memory(r, 0) + ((size_t)i << BLOCK_SHIFT), i, &super, &format);

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
		fail(r, STATUS_UNSUPPORTED,
		     "the store has format %u; this weir knows formats up to %u: use a newer weir",
		     newest_format, FORMAT_VERSION);
	} else if (!found && worst != STATUS_NOT_FOUND) {
		fail(r, worst, "all copies of the superblock are damaged");
	} else if (!found && !is_zero(slot_memory(r, 0), SUPER_COPIES << BLOCK_SHIFT)) {
		fail(r, STATUS_INVALID, "the device holds something that is not a store");
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
			fail(r, status, "the device, or the memory, is too small for the store");
			return;
		}
		r->segments = calloc(store->space.segment_count, sizeof(*r->segments));
		r->trees = calloc(store->super.partition_count, sizeof(*r->trees));
		r->tree_counts = calloc(store->super.partition_count, sizeof(*r->tree_counts));
		if (r->segments == NULL || r->trees == NULL || r->tree_counts == NULL) {
			finish(r, STATUS_NO_SPACE);
			return;
		}
		store->recovered.clean = store->super.clean;
		r->phase = PHASE_ROOTS;
		r->cursor = 0;
		read_submit(r, 0, slot_memory(r, 0), root_block(r->run, 0, 0, 0), 4);
	}
}

/* Roots: two slots of two copies each, in one read. */

static void body_read(struct recovery *r)
{
	struct root *root = &r->roots[r->cursor];
	uint32_t at = 0;

	r->phase = PHASE_BODY;
	for (uint32_t i = 0; i < root->body_count; i++) {
		const struct root_extent *e = &root->body[i];

		if (e->segment >= r->store->space.segment_count || e->blocks == 0 ||
		    e->block >= r->store->super.segment_blocks ||
		    e->blocks > r->store->super.segment_blocks - e->block ||
		    at + e->blocks > BUF_SIZE_MAX >> BLOCK_SHIFT) {
			r->status = STATUS_CORRUPT;
			break;
		}
		read_submit(r, i, r->big->data + ((size_t)at << BLOCK_SHIFT),
		            segment_lba(r, e->segment, e->block), e->blocks);
		at += e->blocks;
	}
	if (r->running == 0)
		fail(r, STATUS_CORRUPT, "the root of stream %u is damaged", r->cursor);
}

static void roots_step(struct recovery *r)
{
	struct root *best = &r->roots[r->cursor];
	bool found = false;

	for (uint32_t i = 0; i < 4; i++) {
		struct root root;

		if (root_decode(slot_memory(r, 0) + ((size_t)i << BLOCK_SHIFT), i & 1, &root) !=
		            STATUS_OK ||
		    root.run != r->run || root.stream != r->cursor || (root.sequence & 1) != i >> 1)
			continue;
		if (!found || root.sequence > best->sequence)
			*best = root;
		found = true;
	}
	if (!found) {
		fail(r, STATUS_CORRUPT, "both roots of stream %u are damaged", r->cursor);
		return;
	}
	body_read(r);
}

static bool body_segments(struct recovery *r, const uint8_t *p, uint32_t count)
{
	struct shard *shard = is_redistributed(r) ? NULL : r->store->shards[r->cursor];

	for (uint32_t i = 0; i < count; i++, p += BODY_SEGMENT) {
		uint32_t segment = get32(p);

		if (segment >= r->store->space.segment_count || get64(p + 16) >= SEGMENT_KINDS ||
		    get32(p + 4) > r->store->super.segment_blocks << BLOCK_SHIFT)
			return false;
		r->segments[segment].listed = true;
		r->segments[segment].live = get32(p + 4) > 0;
		r->segments[segment].header.generation = get64(p + 8);
		for (unsigned s = 0; s < r->worker_count; s++)
			r->store->shards[s]->segments[segment].generation = get64(p + 8);
		if (shard == NULL)
			continue;
		shard->segments[segment].live = get32(p + 4);
		shard->segments[segment].kind = (uint8_t)get64(p + 16);
		shard->segments[segment].state = SEGMENT_SEALED;
		shard->segments[segment].dead_lsn = 1;
	}
	return true;
}

static bool body_partitions(struct recovery *r, const uint8_t *p, const uint8_t *end,
                            uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t number, spaces;

		if (end - p < BODY_PARTITION)
			return false;
		number = get32(p);
		spaces = get32(p + 4);
		if (number >= r->store->super.partition_count || spaces > KV_SPACES ||
		    (end - p - BODY_PARTITION) / BODY_SPACE < (ptrdiff_t)spaces)
			return false;
		r->trees[number] = get64(p + 8);
		r->tree_counts[number] = get64(p + 16);
		p += BODY_PARTITION;
		for (uint32_t s = 0; s < spaces; s++, p += BODY_SPACE) {
			if (get64(p) >= KV_SPACES)
				return false;
			r->store->partitions[number].counts[get64(p)] = get64(p + 8);
		}
	}
	return p == end;
}

static void headers_begin(struct recovery *r);
static void trees_begin(struct recovery *r);

static void body_step(struct recovery *r)
{
	const struct root *root = &r->roots[r->cursor];
	const uint8_t *p = r->big->data;
	uint32_t segments = get32(p), partitions = get32(p + 4);
	bool ok = root->body_size >= BODY_HEAD && root->body_size <= BUF_SIZE_MAX &&
	          crc32c(0, p, root->body_size) == root->body_crc &&
	          segments <= (root->body_size - BODY_HEAD) / BODY_SEGMENT;

	ok = ok && body_segments(r, p + BODY_HEAD, segments) &&
	     body_partitions(r, p + BODY_HEAD + (size_t)segments * BODY_SEGMENT,
	                     p + root->body_size, partitions);
	if (!ok) {
		fail(r, STATUS_CORRUPT, "the checkpoint of stream %u is damaged", r->cursor);
		return;
	}
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard *shard = r->store->shards[s];

		if (root->version_next > shard->version_next)
			shard->version_next = root->version_next;
		if (root->touched > shard->touched)
			shard->touched = root->touched;
		if (root->generation_next > shard->generation_seen)
			shard->generation_seen = root->generation_next;
	}
	if (!is_redistributed(r))
		checkpoint_restore(r->store->shards[r->cursor], root);
	if (++r->cursor < r->streams) {
		r->phase = PHASE_ROOTS;
		read_submit(r, 0, slot_memory(r, 0), root_block(r->run, r->cursor, 0, 0), 4);
		return;
	}
	if (r->store->super.clean)
		trees_begin(r);
	else
		headers_begin(r);
}

/* Headers. */

static void headers_read(struct recovery *r)
{
	for (unsigned i = 0; i < READS_MAX && r->cursor < r->store->space.segment_count; i++) {
		r->reads[i].tag = r->cursor;
		read_submit(r, i, slot_memory(r, i), segment_lba(r, r->cursor++, 0), 2);
	}
}

static void headers_begin(struct recovery *r)
{
	r->phase = PHASE_HEADERS;
	r->cursor = 0;
	r->last_header = r->store->shards[0]->touched;
	headers_read(r);
}

static void header_seen(struct recovery *r, uint32_t number, const uint8_t *data)
{
	struct recovery_segment *segment = &r->segments[number];
	struct segment_header header;
	struct frame_header frame;

	if (segment_header_decode(data, number, &header) != STATUS_OK)
		return;
	r->last_header = number + 1 > r->last_header ? number + 1 : r->last_header;
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard *shard = r->store->shards[s];

		if (header.generation > shard->generation_seen)
			shard->generation_seen = header.generation;
	}
	if (segment->listed && header.generation != segment->header.generation) {
		if (segment->live || header.generation < segment->header.generation)
			return;          /* damaged, or older: what is read there will say so */
		segment->listed = false; /* given back by that checkpoint, and used again */
	}
	segment->header = header;
	segment->found = true;
	for (unsigned s = 0; s < r->worker_count; s++)
		r->store->shards[s]->segments[number].generation = header.generation;
	if (header.kind == SEGMENT_LOG &&
	    frame_header_decode(data + BLOCK_SIZE, &frame) == STATUS_OK &&
	    frame.generation == header.generation && frame.segment == number && frame.block == 1) {
		segment->first_lsn = frame.lsn;
		segment->first_durable = frame.durable_lsn;
	}
}

/* Log and blob segments that came after the last checkpoint belong to their stream. */
static void headers_adopt(struct recovery *r)
{
	for (uint32_t i = 0; i < r->store->space.segment_count; i++) {
		struct recovery_segment *segment = &r->segments[i];
		struct shard *shard;

		if (!segment->found || segment->listed || is_redistributed(r) ||
		    segment->header.run != r->run || segment->header.kind == SEGMENT_INDEX ||
		    segment->header.stream >= r->streams)
			continue;
		if (segment->header.kind == SEGMENT_LOG &&
		    segment->first_lsn <= r->roots[segment->header.stream].lsn)
			continue; /* given back by the checkpoint, or never written */
		shard = r->store->shards[segment->header.stream];
		shard->segments[i].live = 0;
		shard->segments[i].state = SEGMENT_SEALED;
		shard->segments[i].kind = segment->header.kind;
		shard->segments[i].dead_lsn = 1;
	}
}

static void headers_step(struct recovery *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		header_seen(r, (uint32_t)r->reads[i].tag, r->reads[i].data);
	if (r->cursor < r->store->space.segment_count && r->cursor < r->last_header + HEADER_GAP) {
		headers_read(r);
		return;
	}
	headers_adopt(r);
	trees_begin(r);
}

/* Trees. */

static void trees_read(struct recovery *r)
{
	for (unsigned i = 0; i < READS_MAX && r->cursor < r->store->super.partition_count; i++) {
		struct location l = location_unpack(r->trees[r->cursor]);

		if (l.segment >= r->store->space.segment_count || l.size != BLOCK_SIZE ||
		    l.offset % BLOCK_SIZE != 0 ||
		    l.offset >> BLOCK_SHIFT >= r->store->super.segment_blocks) {
			r->status = STATUS_CORRUPT;
			break;
		}
		r->reads[i].tag = r->cursor++;
		read_submit(r, i, slot_memory(r, i),
		            segment_lba(r, l.segment, l.offset >> BLOCK_SHIFT), 1);
	}
	if (r->running == 0)
		fail(r, STATUS_CORRUPT, "the root of partition %u is not in the store", r->cursor);
}

static void trees_begin(struct recovery *r)
{
	struct store *store = r->store;
	uint32_t touched = store->shards[0]->touched;
	uint64_t generation = store->shards[0]->generation_seen;

	if (r->last_header > touched)
		touched = r->last_header;
	for (unsigned s = 0; s < r->worker_count; s++) {
		struct shard *shard = store->shards[s];

		shard->counting = !is_redistributed(r);
		for (uint32_t i = 0; i < shard->segment_count; i++) {
			if (shard->segments[i].state == SEGMENT_NONE)
				continue;
			space_hold(&store->space, i);
			touched = i + 1 > touched ? i + 1 : touched;
		}
	}
	if (!is_redistributed(r))
		space_start(&store->space, touched, generation + 1);
	else
		store->space.touched = touched;
	r->phase = PHASE_TREES;
	r->cursor = 0;
	trees_read(r);
}

static void replay_begin(struct recovery *r, uint32_t stream);
static void count_begin(struct recovery *r);

static void trees_step(struct recovery *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t number = (uint32_t)r->reads[i].tag;
		enum status status = btree_open(&r->store->partitions[number].tree,
		                                shard_of(r, number)->pool, number, r->reads[i].data,
		                                r->trees[number], r->tree_counts[number]);

		if (status != STATUS_OK) {
			fail(r, status, "the root page of partition %u is damaged", number);
			return;
		}
	}
	if (r->cursor < r->store->super.partition_count) {
		trees_read(r);
		return;
	}
	if (r->store->super.clean)
		count_begin(r);
	else
		replay_begin(r, 0);
}

/* Replay. */

static void replay_read(struct recovery *r)
{
	uint32_t left = r->store->super.segment_blocks - r->block;
	uint32_t most = BUF_SIZE_MAX >> BLOCK_SHIFT;

	r->phase = PHASE_REPLAY;
	r->at = 0;
	r->clear_next = 0;
	r->valid = (left < most ? left : most) << BLOCK_SHIFT;
	read_submit(r, 0, r->big->data, segment_lba(r, r->segment, r->block),
	            r->valid >> BLOCK_SHIFT);
}

/* The log segment of this stream that starts with frame `lsn`; UINT32_MAX: none. */
static uint32_t segment_starting(const struct recovery *r, uint64_t lsn)
{
	for (uint32_t i = 0; i < r->store->space.segment_count; i++) {
		const struct recovery_segment *segment = &r->segments[i];

		if (segment->found && segment->header.kind == SEGMENT_LOG &&
		    segment->header.run == r->run && segment->header.stream == r->cursor &&
		    segment->first_lsn == lsn)
			return i;
	}
	return UINT32_MAX;
}

/* Whether a segment of this stream was begun when frame `lsn` was durable already. */
static bool later_segment_proves(const struct recovery *r, uint64_t lsn, uint64_t *next_lsn)
{
	bool proven = false;

	*next_lsn = UINT64_MAX;
	for (uint32_t i = 0; i < r->store->space.segment_count; i++) {
		const struct recovery_segment *segment = &r->segments[i];

		if (!segment->found || segment->header.kind != SEGMENT_LOG ||
		    segment->header.run != r->run || segment->header.stream != r->cursor ||
		    segment->first_lsn <= lsn)
			continue;
		if (segment->first_durable >= lsn)
			proven = true;
		if (segment->first_lsn < *next_lsn)
			*next_lsn = segment->first_lsn;
	}
	return proven;
}

static void replay_next_stream(struct recovery *r)
{
	if (r->cursor + 1 < r->streams)
		replay_begin(r, r->cursor + 1);
	else
		count_begin(r);
}

static void replay_begin(struct recovery *r, uint32_t stream)
{
	const struct root *root = &r->roots[stream];

	r->cursor = stream;
	r->lsn = root->lsn + 1;
	r->segment = root->log_segment;
	r->block = root->log_block;
	if (root->clean) {
		replay_next_stream(r);
		return;
	}
	if (r->segment >= r->store->space.segment_count || !r->segments[r->segment].found ||
	    r->block >= r->store->super.segment_blocks) {
		r->segment = segment_starting(r, r->lsn);
		r->block = 1;
		if (r->segment == UINT32_MAX) {
			replay_next_stream(r);
			return;
		}
	}
	replay_read(r);
}

static void replay_damaged(struct recovery *r, uint64_t next_lsn)
{
	if (!r->store->options.salvage) {
		fail(r, STATUS_CORRUPT,
		     "the log of stream %u is damaged: frame %llu in segment %u, block %u was "
		     "durable and cannot be read. What it held is lost; weir check --repair goes "
		     "on without it",
		     r->cursor, (unsigned long long)r->lsn, r->segment, r->block);
		return;
	}
	r->store->recovered.frames_lost += next_lsn == UINT64_MAX ? 1 : next_lsn - r->lsn;
	if (next_lsn == UINT64_MAX) {
		replay_next_stream(r);
		return;
	}
	r->lsn = next_lsn;
	r->segment = segment_starting(r, next_lsn);
	r->block = 1;
	replay_read(r);
}

/*
 * Nothing valid is where frame r->lsn should be. If that frame was durable once, a later frame of
 * the same life of the segment says so: it carries how far the log was durable when it was written.
 */
static void proof_read(struct recovery *r)
{
	uint32_t left = r->store->super.segment_blocks - r->proof_block;
	uint32_t most = BUF_SIZE_MAX >> BLOCK_SHIFT;
	uint64_t next_lsn;

	if (left == 0) {
		if (later_segment_proves(r, r->lsn, &next_lsn))
			replay_damaged(r, next_lsn);
		else
			replay_next_stream(r);
		return;
	}
	r->phase = PHASE_PROOF;
	r->valid = (left < most ? left : most) << BLOCK_SHIFT;
	read_submit(r, 0, r->big->data, segment_lba(r, r->segment, r->proof_block),
	            r->valid >> BLOCK_SHIFT);
}

static void proof_step(struct recovery *r)
{
	for (uint32_t at = 0; at < r->valid; at += BLOCK_SIZE) {
		struct frame_header frame;
		uint32_t block = r->proof_block + (at >> BLOCK_SHIFT);

		if (frame_header_decode(r->big->data + at, &frame) != STATUS_OK ||
		    frame.generation != r->segments[r->segment].header.generation ||
		    frame.block != block || frame.lsn <= r->lsn || frame.durable_lsn < r->lsn)
			continue;
		if (r->store->options.salvage) {
			r->store->recovered.frames_lost += frame.lsn - r->lsn;
			r->lsn = frame.lsn;
			r->block = block;
			replay_read(r);
			return;
		}
		replay_damaged(r, frame.lsn);
		return;
	}
	r->proof_block += r->valid >> BLOCK_SHIFT;
	proof_read(r);
}

/* No frame at r->block: the log goes on in another segment, or ends, or is damaged. */
static void replay_gap(struct recovery *r)
{
	uint32_t segment = segment_starting(r, r->lsn);

	if (segment != UINT32_MAX && segment != r->segment) {
		r->segment = segment;
		r->block = 1;
		replay_read(r);
		return;
	}
	r->proof_block = r->block;
	proof_read(r);
}

static enum btree_result replay_clear(struct recovery *r, const struct record *record)
{
	for (; r->clear_next < r->store->super.partition_count; r->clear_next++) {
		enum btree_result result;
		uint64_t removed = 0;

		/* A stream's CLEAR is about the partitions that the stream had. */
		if (r->clear_next % r->streams != r->cursor)
			continue;
		result = shard_clear_partition(shard_of(r, r->clear_next),
		                               &r->store->partitions[r->clear_next], record->key,
		                               &removed, &r->miss);
		if (result != BTREE_ABSENT) {
			r->miss_partition = r->clear_next;
			return result;
		}
	}
	r->clear_next = 0;
	return BTREE_OK;
}

static enum btree_result replay_record(struct recovery *r, const struct record *record,
                                       uint64_t location)
{
	uint32_t partition;
	struct shard *shard;

	if (record->type == RECORD_CLEAR && record->key.size > 0 && record->key.size <= KV_KEY_MAX)
		return replay_clear(r, record);
	if (record->type == RECORD_FREE) {
		if (!is_redistributed(r))
			blob_replay_free(r->store->shards[r->cursor], record);
		return BTREE_OK;
	}
	if (record->key.size == 0 || record->key.size > KV_KEY_MAX)
		return BTREE_OK; /* of no meaning to the index */
	partition = kv_partition(record->key, r->store->super.partition_count);
	shard = shard_of(r, partition);
	r->miss_partition = partition;
	switch (record->type) {
	case RECORD_PUT:
	case RECORD_MOVED:
		return replay_put(shard, record, location, &r->miss);
	case RECORD_DELETE:
		return replay_delete(shard, record, &r->miss);
	default:
		return BTREE_OK; /* of no meaning to the index */
	}
}

/* The records of the whole frame at the start of big. False: it goes on later. */
static bool replay_frame(struct recovery *r, uint32_t offset, const struct frame_header *frame)
{
	const uint8_t *data = r->big->data + offset;
	uint32_t seed = record_seed(frame->generation, frame->segment);

	if (r->at == 0)
		r->at = FRAME_HEADER_SIZE;
	while (r->at < frame->size) {
		uint32_t place = (frame->block << BLOCK_SHIFT) + r->at;
		struct location location = { .segment = frame->segment, .offset = place };
		struct record record;
		enum btree_result result;
		size_t used;
		uint32_t crc;

		if (record_decode(data + r->at, frame->size - r->at, seed, place, &record, &used,
		                  &crc) != STATUS_OK)
			unreachable(); /* frame_check() has seen it */
		location.size = used <= RECORD_SIZE_MAX ? (uint32_t)used : 0;
		location.flags = record.flags;
		result = replay_record(r, &record, location_pack(location));
		if (result == BTREE_MISS || result == BTREE_FULL) {
			wait_for_page(r, r->miss_partition, result);
			return false;
		}
		r->at += (uint32_t)used;
		r->store->recovered.records++;
	}
	r->at = 0;
	r->store->recovered.frames++;
	return true;
}

static void replay_step(struct recovery *r)
{
	const struct segment_header *segment = &r->segments[r->segment].header;
	uint32_t offset = 0;

	if (r->at > 0) /* in the middle of a frame: big starts with an earlier one */
		offset = r->replay_offset;
	for (;;) {
		struct frame_header frame;
		enum status status = STATUS_NOT_FOUND;

		if (offset < r->valid)
			status = frame_check(r->big->data + offset, r->valid - offset, segment,
			                     r->block, &frame);
		if (status == STATUS_OK && frame.lsn == r->lsn) {
			r->replay_offset = offset;
			if (!replay_frame(r, offset, &frame))
				return;
			r->lsn++;
			offset += (uint32_t)align_up(frame.size, BLOCK_SIZE);
			r->block += (uint32_t)align_up(frame.size, BLOCK_SIZE) >> BLOCK_SHIFT;
			continue;
		}
		if (offset > 0 && r->block < r->store->super.segment_blocks) {
			replay_read(r); /* from its start, in case only a part of it was read */
			return;
		}
		replay_gap(r);
		return;
	}
}

/* Count: only when partitions have moved to other workers. */

static void start_begin(struct recovery *r)
{
	r->phase = PHASE_START;
	step(r);
}

static void count_begin(struct recovery *r)
{
	uint64_t version_next = 1;

	for (unsigned s = 0; s < r->worker_count; s++) {
		if (r->store->shards[s]->version_next > version_next)
			version_next = r->store->shards[s]->version_next;
	}
	for (unsigned s = 0; s < r->worker_count; s++)
		r->store->shards[s]->version_next = version_next;
	if (!is_redistributed(r)) {
		start_begin(r);
		return;
	}
	r->phase = PHASE_COUNT;
	r->cursor = 0;
	step(r);
}

static void count_step(struct recovery *r)
{
	fail(r, STATUS_UNSUPPORTED,
	     "the store was last used by %u workers: start it with workers = %u", r->streams,
	     r->streams);
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

	superblock_encode(super, copy, slot_memory(r, 0));
	write->iov = (struct iovec){ slot_memory(r, 0), BLOCK_SIZE };
	r->running++;
	req_init(&write->req, r->workers[0].worker);
	req_push(&write->req, struct read_frame, read_ended)->read = write;
	blk_submit(r->workers[0].blk, &write->req, &cmd);
}

static void start_step(struct recovery *r)
{
	struct superblock *super = &r->store->super;

	r->phase = PHASE_SUPER_WRITE;
	r->cursor = 0;
	super->epoch++;
	super->clean = false;
	for (unsigned s = 0; s < r->worker_count; s++)
		start_shard(r, s, /* stay= */ true, /* open= */ false);
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
			start_shard(r, s, /* stay= */ true, /* open= */ true);
	}
}

static void step(struct recovery *r)
{
	unsigned count = r->batch;

	switch ((enum recovery_phase)r->phase) {
	case PHASE_SUPER:
		super_step(r);
		break;
	case PHASE_ROOTS:
		roots_step(r);
		break;
	case PHASE_BODY:
		body_step(r);
		break;
	case PHASE_HEADERS:
		headers_step(r, count);
		break;
	case PHASE_TREES:
		trees_step(r, count);
		break;
	case PHASE_REPLAY:
		replay_step(r);
		break;
	case PHASE_PROOF:
		proof_step(r);
		break;
	case PHASE_PAGE:
		page_step(r);
		break;
	case PHASE_MAKE_ROOM:
		r->phase = r->resume;
		replay_step(r);
		break;
	case PHASE_COUNT:
		count_step(r);
		break;
	case PHASE_START:
		start_step(r);
		break;
	case PHASE_SUPER_WRITE:
	case PHASE_CLOSE:
		super_write_step(r);
		break;
	case PHASE_OPEN:
		finish(r, STATUS_OK);
		break;
	}
}

void recovery_start(struct store *store, const struct store_worker *workers, unsigned worker_count,
                    struct req *req)
{
	struct recovery *r = calloc(1, sizeof(*r));
	struct bufs *bufs = workers[0].bufs;

	assert(r != NULL); /* else: not even this is left, at the start of the program */
	store->recovery = r;
	store->recovered.started_ns = workers[0].worker->now_ns;
	r->store = store;
	r->worker_count = worker_count;
	memcpy(r->workers, workers, worker_count * sizeof(*workers));
	r->req = req;
	req->state = REQ_RUNNING;
	for (unsigned i = 0; i < READS_MAX; i++)
		r->reads[i].recovery = r;
	r->memory = buf_get(bufs, (size_t)READS_MAX * READ_SIZE);
	r->big = buf_get(bufs, BUF_SIZE_MAX);
	r->page = buf_get(bufs, BLOCK_SIZE);
	if (r->memory == NULL || r->big == NULL || r->page == NULL) {
		fail(r, STATUS_NO_SPACE, "the memory is too small to open a store");
		return;
	}
	if (workers[0].blk->geometry.block_count < SEGMENT_FIRST_BLOCK) {
		fail(r, STATUS_NO_SPACE, "the device is too small for a store");
		return;
	}
	r->phase = PHASE_SUPER;
	read_submit(r, 0, slot_memory(r, 0), 0, SUPER_COPIES);
}

void store_close(struct store *store, struct req *req)
{
	struct recovery *r = store->recovery;

	assert(req->worker == r->workers[0].worker);
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
