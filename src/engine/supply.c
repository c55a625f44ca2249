/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments for the log, the index and blobs. A segment is handed over when its header is on disk;
 * one that was never written is filled with zeroes first, because a durable write into a file's
 * hole or unwritten extent costs about twice as much as one over blocks that are there.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/shard.h"
#include "engine/store.h"

enum {
	FILL_BLOCKS = 64,
	FILL_FRAME_MAX = 128 << 10,
	RELEASES_MAX = 8,
	NOT_REFUSED = -1,
	LOOK_TICKS = 10, /* between looks at what the others have left, when nothing is short */
};

struct supply_line {
	struct supply *supply;
	struct space_call call;
	struct req req;
	struct buf *buf;
	struct iovec iov;
	uint32_t filled; /* blocks, the header's included */
	uint8_t kind;
	bool running;
};

struct supply {
	struct shard *shard;
	struct supply_line lines[SEGMENT_KINDS];
	struct space_call releases[RELEASES_MAX];
	uint32_t scan;     /* segment that is looked at next for a release */
	bool scanning;     /* some may be releasable */
	int refused;       /* the deepest need; not asked again before something has changed */
	uint64_t lsn;      /* of the last checkpoint */
	uint64_t dead_lsn; /* some may be releasable when this is durable; 0: none are known */
	struct timer look; /* while somebody waits for space */
	unsigned ticks;
	uint32_t checkpoint_count; /* as the space was told last */
	uint64_t frames, bytes;    /* of the log when it last asked for a segment */
};

struct supply_frame {
	struct frame frame;
	struct supply_line *line;
};

static void header_written(struct req *req);
static void part_filled(struct req *req);

static void line_write(struct supply_line *line, uint32_t block, uint32_t blocks, req_fn *done)
{
	struct shard *shard = line->supply->shard;
	struct blk_cmd cmd = {
		.op = BLK_WRITE,
		.flags = BLK_FUA,
		.lba = shard_lba(shard, line->call.segment, block),
		.block_count = blocks,
		.iov = &line->iov,
		.iov_count = 1,
	};

	assert(line->running && line->buf != NULL);
	assert(blocks > 0 && blocks <= FILL_BLOCKS);
	assert(block + blocks <= shard->segment_blocks);
	assert(shard->segments[line->call.segment].state == SEGMENT_NONE); /* not handed over */
	line->iov = (struct iovec){ line->buf->data, (size_t)blocks << BLOCK_SHIFT };
	shard->stats.filled_bytes += (uint64_t)blocks << BLOCK_SHIFT;
	req_init(&line->req, shard->worker);
	req_push(&line->req, struct supply_frame, done)->line = line;
	blk_submit(shard->blk, &line->req, &cmd);
}

static void line_header(struct supply_line *line)
{
	struct shard *shard = line->supply->shard;
	struct segment_header header = {
		.generation = line->call.generation,
		.segment = line->call.segment,
		.run = shard->store->super.run,
		.stream = (uint16_t)shard->index,
		.kind = line->kind,
	};

	assert(header.generation > 0 && header.run > 0);
	assert(line->kind > SEGMENT_FREE && line->kind < SEGMENT_KINDS);
	segment_header_encode(&header, line->buf->data);
	line_write(line, 0, 1, header_written);
}

static void line_fill(struct supply_line *line)
{
	struct shard *shard = line->supply->shard;
	uint32_t left = shard->segment_blocks - line->filled;
	uint32_t blocks = left < FILL_BLOCKS ? left : FILL_BLOCKS;

	assert(line->kind == SEGMENT_LOG); /* nothing else is filled */
	assert(line->filled >= 1 && line->filled <= shard->segment_blocks);
	if (blocks == 0) {
		line_header(line);
		return;
	}
	memset(line->buf->data, 0, (size_t)blocks << BLOCK_SHIFT);
	line_write(line, line->filled, blocks, part_filled);
	line->filled += blocks;
}

static void line_ended(struct supply_line *line)
{
	assert(line->running && !line->call.busy);
	buf_unref(line->buf);
	line->buf = NULL;
	line->running = false;
}

/* What the space has said about the store. */
static void answered(struct shard *shard, const struct space_call *call)
{
	bool was_low = shard->space_low;
	bool more = call->report.released != shard->room.released;
	bool progress = !shard->space_low || call->report.left > shard->room_best;

	assert(call->report.released >= shard->room.released); /* it counts up */
	assert(call->report.left <= shard->segment_count);
	assert(call->report.kept >= call->report.kept_log);
	shard->room = call->report;
	shard->space_low = call->report.left <= call->report.kept;
	if (progress || !was_low) {
		shard->room_ns = shard->worker->now_ns;
		shard->room_best = call->report.left;
	}
	if (more || !shard->space_low)
		shard->supply->refused = NOT_REFUSED;
	if (!shard->space_low)
		shard->space_none = false;
	if (shard->space_waiter_count > 0 && (!shard->space_low || shard_is_full(shard)))
		shard_wake_space_waiters(shard);
	else if (more || !shard->space_low)
		blob_unpark(shard);
}

/* There is no segment to be had now: asked again when one has come free, and with the next tick. */
static void refused(struct supply_line *line, enum status status)
{
	struct shard *shard = line->supply->shard;
	enum space_need need = line->call.need;

	assert(need <= SPACE_ROOT);
	assert(status != STATUS_OK);
	shard->space_low = true;
	if ((int)need > shard->supply->refused)
		shard->supply->refused = (int)need;
	line_ended(line);
	if (line->kind == SEGMENT_INDEX) {
		checkpoint_refused(shard, status);
		shard->space_none = true;
	}
	if (line->kind == SEGMENT_BLOB)
		blob_unpark(shard);
	if (line->kind != SEGMENT_LOG || need == SPACE_DATA)
		return;
	if (shard->log.stats.records != shard->records_checkpointed)
		checkpoint_want(shard); /* what is dead since the last is given back */
	else if (!checkpoint_is_running(shard) && cleaner_is_idle(shard))
		shard->space_none = true;
}

/* The file system is full, or the device refuses writes: the log will find out which. */
static void refuse(struct supply_line *line, enum status status)
{
	supply_release(line->supply->shard, line->call.segment);
	refused(line, status);
}

static void part_filled(struct req *req)
{
	struct supply_line *line = req_pop(req, struct supply_frame)->line;

	if (req->status != STATUS_OK) { /* no room on the file system, or a broken device */
		refuse(line, req->status);
		return;
	}
	line_fill(line);
}

static void hand_over(struct supply_line *line)
{
	struct shard *shard = line->supply->shard;
	uint32_t segment = line->call.segment;
	uint64_t generation = line->call.generation;

	assert(segment < shard->segment_count);
	assert(shard->segments[segment].live == 0); /* else: still referred to */
	assert(shard->segments[segment].pins == 0);
	assert(shard->segments[segment].state == SEGMENT_NONE);
	shard->segments[segment] = (struct shard_segment){
		.generation = generation,
		.kind = line->kind,
		.state = SEGMENT_FILLING,
	};
	switch ((enum segment_kind)line->kind) {
	case SEGMENT_LOG:
		shard->next_need = line->call.need < SPACE_CLEAN ? line->call.need : SPACE_CLEAN;
		shard->starved_need = SPACE_DATA;
		log_set_next(&shard->log, segment, generation);
		break;
	case SEGMENT_INDEX:
		checkpoint_segment_ready(shard, segment, generation);
		break;
	case SEGMENT_BLOB:
		blob_segment_ready(shard, segment, line->call.need);
		break;
	default:
		unreachable();
	}
}

static void header_written(struct req *req)
{
	struct supply_line *line = req_pop(req, struct supply_frame)->line;
	struct shard *shard = line->supply->shard;

	if (req->status != STATUS_OK) {
		refuse(line, req->status);
		return;
	}
	line_ended(line);
	shard->space_none = false;
	hand_over(line);
}

/*
 * Whether the log writes little at a time: then filling a segment pays. A load in large frames has
 * no gain from it, and would be written twice.
 */
static bool is_worth_filling(struct shard *shard)
{
	struct supply *supply = shard->supply;
	uint64_t frames = shard->log.stats.frames - supply->frames;
	uint64_t bytes = shard->log.stats.bytes - supply->bytes;

	supply->frames = shard->log.stats.frames;
	supply->bytes = shard->log.stats.bytes;
	return frames == 0 || bytes / frames < FILL_FRAME_MAX;
}

static void allocated(struct space_call *call)
{
	struct supply_line *line = container_of(call, struct supply_line, call);
	struct shard *shard = line->supply->shard;

	answered(shard, call);
	if (call->status != STATUS_OK) {
		refused(line, call->status);
		return;
	}
	assert(call->segment < shard->segment_count);
	assert(call->generation > shard->segments[call->segment].generation);
	if (shard_has_bug(shard, BUG_ONE_GENERATION))
		call->generation = 1;
	if (call->segment >= shard->touched)
		shard->touched = call->segment + 1;
	if (call->generation > shard->generation_seen)
		shard->generation_seen = call->generation;
	line->filled = 1;
	/* The log waits for its first segment: then a faster commit later is no help now. */
	if (line->kind == SEGMENT_LOG && call->fresh && shard->log.current.generation != 0 &&
	    is_worth_filling(shard))
		line_fill(line);
	else
		line_header(line);
}

static void ask_space(struct shard *shard, struct space_call *call)
{
	assert(!call->busy);
	assert(call->done != NULL);
	call->stream = shard->index;
	call->live = shard->live;
	if (call->op != SPACE_RELEASE) /* they come in crowds */
		shard->supply->checkpoint_count = checkpoint_segments_needed(shard);
	call->checkpoint_count = shard->supply->checkpoint_count;
	space_call(shard->space, call, shard->worker);
}

void supply_want(struct shard *shard, enum segment_kind kind, enum space_need need)
{
	struct supply_line *line = &shard->supply->lines[kind];

	if (line->running || line->call.busy || (int)need <= shard->supply->refused)
		return;
	assert(kind > SEGMENT_FREE && kind < SEGMENT_KINDS);
	assert(line->buf == NULL);
	line->buf = buf_get(shard->bufs, (size_t)FILL_BLOCKS << BLOCK_SHIFT);
	if (line->buf == NULL)
		return; /* asked again with the next tick */
	line->running = true;
	line->call.op = SPACE_ALLOCATE;
	line->call.need = (uint8_t)need;
	line->call.done = allocated;
	ask_space(shard, &line->call);
}

bool supply_is_running(const struct shard *shard)
{
	const struct supply *supply = shard->supply;

	for (uint32_t i = 0; i < RELEASES_MAX; i++) {
		if (supply->releases[i].busy)
			return true;
	}
	for (unsigned kind = 0; kind < SEGMENT_KINDS; kind++) {
		if (supply->lines[kind].running)
			return true;
	}
	return false;
}

static void released(struct space_call *call)
{
	struct supply *supply = container_of(call - call->slot, struct supply, releases[0]);

	assert(call->slot < RELEASES_MAX);
	assert(!call->busy);
	answered(supply->shard, call);
}

/* False: no call is free, ask again later. */
static bool tell_space(struct shard *shard, enum space_op op, uint32_t segment)
{
	for (uint32_t i = 0; i < RELEASES_MAX; i++) {
		struct space_call *call = &shard->supply->releases[i];

		if (call->busy)
			continue;
		call->op = (uint8_t)op;
		call->segment = segment;
		call->slot = i;
		call->done = released;
		ask_space(shard, call);
		return true;
	}
	return false;
}

bool supply_release(struct shard *shard, uint32_t segment)
{
	assert(shard->segments[segment].live == 0);
	assert(shard->segments[segment].pins == 0);
	if (!tell_space(shard, SPACE_RELEASE, segment))
		return false;
	shard->segments[segment].state = SEGMENT_NONE;
	shard->segments[segment].kind = SEGMENT_FREE;
	return true;
}

static bool is_dead(const struct shard *shard, uint32_t segment)
{
	const struct shard_segment *s = &shard->segments[segment];

	return s->state == SEGMENT_SEALED && s->live == 0 && s->pins == 0;
}

/*
 * The newest checkpoint may refer to records and extents in it. But all of them have been replaced,
 * by what is durable: a replay puts that in their place before anybody asks for them, and does not
 * read them itself. The checkpoint's own pages are read; and so is the log behind it.
 */
static bool is_replaced(const struct shard *shard, uint32_t segment)
{
	const struct shard_segment *s = &shard->segments[segment];

	if (!shard->open || shard->exclusive != NULL || s->dead_lsn > shard->log.lsn_durable + 1)
		return false;
	return s->kind == SEGMENT_BLOB ||
	       (s->kind == SEGMENT_LOG && checkpoint_is_past(shard, segment));
}

static bool is_releasable(const struct shard *shard, uint32_t segment, uint64_t lsn)
{
	return is_dead(shard, segment) &&
	       (shard->segments[segment].dead_lsn <= lsn + 1 || is_replaced(shard, segment));
}

void supply_dead(struct shard *shard, uint64_t lsn)
{
	struct supply *supply = shard->supply;

	assert(lsn > 0);
	if (supply->dead_lsn == 0 || lsn < supply->dead_lsn)
		supply->dead_lsn = lsn;
}

void supply_release_up_to(struct shard *shard, uint64_t lsn)
{
	assert(shard->open);
	shard->supply->lsn = lsn;
	shard->supply->scanning = true;
	shard->supply->scan = 0;
}

/* A store that is hardly used stays small on disk: its second segment is filled when there is use.
 */
static bool wants_log_segment(const struct shard *shard)
{
	return shard->log.current.generation == 0 || !shard->log.hurried ||
	       shard->log.next_block > shard->segment_blocks / 64;
}

/*
 * What the log's next segment is for. When the cleaner has none, and for a while nobody has given
 * one back, it takes of what is kept for checkpoints: to empty a segment that is behind the newest
 * one makes room without another.
 */
static enum space_need log_need(const struct shard *shard)
{
	if (!shard->log.starved || !shard->space_low)
		return SPACE_DATA;
	if (shard->starved_need == SPACE_CLEAN &&
	    shard->worker->now_ns > shard->room_ns + SHARD_SPACE_IDLE_NS)
		return SPACE_ROOT;
	return shard->starved_need;
}

static void release_dead(struct shard *shard)
{
	struct supply *supply = shard->supply;

	if (supply->dead_lsn != 0 && supply->dead_lsn <= shard->log.lsn_durable + 1) {
		supply->dead_lsn = 0;
		supply->scanning = true;
		supply->scan = 0;
	}
	if (!supply->scanning || shard->read_pins > 0 || !shard->open || shard->exclusive != NULL)
		return;
	for (; supply->scan < shard->segment_count; supply->scan++) {
		if (!is_dead(shard, supply->scan))
			continue;
		if (is_releasable(shard, supply->scan, supply->lsn)) {
			if (!supply_release(shard, supply->scan))
				return;
		} else if (shard->segments[supply->scan].dead_lsn > shard->log.lsn_durable + 1) {
			supply_dead(shard, shard->segments[supply->scan].dead_lsn);
		} /* else: the next checkpoint, when it ends */
	}
	supply->scanning = false;
}

static void looked(struct timer *timer);

void supply_turn(struct shard *shard)
{
	struct supply *supply = shard->supply;

	/* The log wants one segment ahead of the one it fills. */
	if (shard->log.next.generation == 0 && shard->log.failed == STATUS_OK &&
	    wants_log_segment(shard))
		supply_want(shard, SEGMENT_LOG, log_need(shard));
	if (shard_has_bug(shard, BUG_EARLY_RELEASE) && shard->open)
		supply_release_up_to(shard, UINT64_MAX - 1);
	release_dead(shard);
	if (shard->space_low && shard->open && !supply->look.armed &&
	    (shard->space_waiter_count > 0 || shard->log.starved))
		timer_arm(&shard->worker->timers, &supply->look,
		          shard->worker->now_ns + SHARD_LOOK_NS, looked);
}

bool supply_checkpoint_is_worth(const struct shard *shard)
{
	uint64_t size = (uint64_t)shard->segment_blocks << BLOCK_SHIFT;
	uint64_t gain = 0;

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		const struct shard_segment *s = &shard->segments[i];

		if (is_dead(shard, i) && s->dead_lsn <= shard->log.lsn_durable + 1 &&
		    !is_releasable(shard, i, shard->supply->lsn))
			gain += size;
		if (s->kind == SEGMENT_INDEX && s->cleaning && s->live > 0)
			gain += size - s->live; /* its pages are dirty */
	}
	return gain > 0 && (gain >= 4 * checkpoint_cost(shard) || cleaner_is_idle(shard));
}

static void look_for_space(struct shard *shard)
{
	shard_expire_space_waiters(shard);
	if (shard->space_waiter_count > 0 &&
	    (shard_is_full(shard) || shard->log.failed != STATUS_OK))
		shard_wake_space_waiters(shard);
	if (!shard->inert && shard->quiet == NULL)
		(void)tell_space(shard, SPACE_LOOK, 0); /* another shard may have given some back */
}

static void looked(struct timer *timer)
{
	look_for_space(container_of(timer, struct supply, look)->shard);
}

void supply_tick(struct shard *shard)
{
	struct supply *supply = shard->supply;

	supply->refused = NOT_REFUSED;
	if (shard->quiet != NULL || shard->inert)
		return;
	blob_unpark(shard);
	if (shard->space_low ||
	    (shard->space->stream_count > 1 && ++supply->ticks % LOOK_TICKS == 0))
		look_for_space(shard);
	if (shard->space_low && shard->open && !checkpoint_is_running(shard) &&
	    supply_checkpoint_is_worth(shard))
		checkpoint_want(shard);
}

enum status supply_open(struct shard *shard)
{
	struct supply *supply = calloc(1, sizeof(*supply));

	if (supply == NULL)
		return STATUS_NO_SPACE;
	supply->shard = shard;
	supply->refused = NOT_REFUSED;
	supply->checkpoint_count = 2;
	for (unsigned i = 0; i < SEGMENT_KINDS; i++) {
		supply->lines[i].supply = supply;
		supply->lines[i].kind = (uint8_t)i;
	}
	shard->supply = supply;
	return STATUS_OK;
}

void supply_close(struct shard *shard)
{
	timer_cancel(&shard->worker->timers, &shard->supply->look);
	free(shard->supply);
	shard->supply = NULL;
}
