/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of one shard: the index as it was after one frame of the log, written copy-on-write,
 * and then the root that names it. Recovery starts from the newest root and replays what follows.
 *
 *   begin   enough index segments are at hand; the log is cut; every tree is frozen; the body
 * (which segments, how much lives in them, the trees' roots) is made of the same moment pages   the
 * frozen pages, then the body, in large writes flush   the pages are on disk, and the log up to the
 * cut root    both copies; now the checkpoint counts, and what it no longer refers to is free
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/body.h"
#include "engine/shard.h"
#include "engine/store.h"

enum {
	STOCK_MAX = 512, /* index segments that wait to be filled */
	WRITE_BLOCKS = 64,
	WRITES_MAX = 4,
};

enum checkpoint_phase { PHASE_IDLE, PHASE_PAGES, PHASE_FLUSH, PHASE_CARRY, PHASE_LOG, PHASE_ROOT };

struct checkpoint_write {
	struct checkpoint *checkpoint;
	struct buf *buf;
	struct iovec iov;
	struct req req;
	bool busy;
};

struct checkpoint {
	struct shard *shard;
	uint8_t phase; /* enum checkpoint_phase */
	bool wanted, final, failed;
	struct req *notify; /* completed when no checkpoint is wanted any more */
	struct {
		uint32_t segment, next_block;
	} stock[STOCK_MAX]; /* stock[0] is being filled */
	uint32_t stock_count;
	struct root root, previous;
	uint64_t lsn;             /* must be durable before the root is written */
	uint64_t durable_lsn;     /* of the newest root on disk, of this run */
	uint32_t durable_segment; /* where its log goes on */
	struct buf *body;
	uint32_t body_written; /* blocks */
	uint32_t partition;    /* whose pages are written */
	struct checkpoint_write writes[WRITES_MAX];
	uint32_t writes_running;
	uint32_t root_copy; /* written next */
	struct buf *image;  /* a page that did not fit the write before it */
	btree_value image_address;
	bool have_image;
};

struct write_frame {
	struct frame frame;
	struct checkpoint_write *write;
};

static void step_ended(struct req *req);

bool checkpoint_is_running(const struct shard *shard)
{
	return shard->checkpoint->phase != PHASE_IDLE;
}

void checkpoint_want(struct shard *shard)
{
	shard->checkpoint->wanted = true;
}

void checkpoint_segment_ready(struct shard *shard, uint32_t segment, uint64_t generation)
{
	struct checkpoint *c = shard->checkpoint;

	(void)generation;
	assert(c->stock_count < STOCK_MAX);
	assert(segment < shard->segment_count);
	assert(shard->segments[segment].kind == SEGMENT_INDEX);
	assert(shard->segments[segment].state == SEGMENT_FILLING);
	c->stock[c->stock_count].segment = segment;
	c->stock[c->stock_count++].next_block = 1;
}

static uint64_t stock_blocks(const struct checkpoint *c)
{
	uint64_t blocks = 0;

	for (uint32_t i = 0; i < c->stock_count; i++)
		blocks += c->shard->segment_blocks - c->stock[i].next_block;
	return blocks;
}

/* A run of up to `blocks` blocks; how many there are. They are live from now on. */
static uint32_t stock_take(struct checkpoint *c, uint32_t blocks, uint32_t *segment,
                           uint32_t *block)
{
	struct shard *shard = c->shard;
	uint32_t left;

	if (c->stock_count == 0)
		return 0;
	assert(blocks > 0);
	assert(c->stock[0].next_block < shard->segment_blocks);
	assert(shard->segments[c->stock[0].segment].state == SEGMENT_FILLING);
	left = shard->segment_blocks - c->stock[0].next_block;
	blocks = blocks < left ? blocks : left;
	*segment = c->stock[0].segment;
	*block = c->stock[0].next_block;
	c->stock[0].next_block += blocks;
	shard_live_add(shard, *segment, blocks << BLOCK_SHIFT);
	if (blocks == left) {
		shard->segments[*segment].state = SEGMENT_SEALED;
		memmove(&c->stock[0], &c->stock[1], (c->stock_count - 1) * sizeof(c->stock[0]));
		c->stock_count--;
	}
	return blocks;
}

static btree_value page_allocate(void *context)
{
	uint32_t segment, block;

	if (stock_take(context, 1, &segment, &block) == 0)
		return 0;
	return location_pack((struct location){
	        .segment = segment,
	        .offset = block << BLOCK_SHIFT,
	        .size = BLOCK_SIZE,
	});
}

static void page_released(void *context, btree_value address)
{
	struct checkpoint *c = context;
	struct location l = location_unpack(address);

	if (!c->shard->counting)
		return;
	assert(l.size == BLOCK_SIZE);
	assert(c->shard->segments[l.segment].kind == SEGMENT_INDEX);
	shard_live_drop(c->shard, l.segment, l.size);
	/* This checkpoint does not refer to it. */
	c->shard->segments[l.segment].dead_lsn = c->root.lsn + 1;
}

static const struct btree_checkpoint_ops page_ops = {
	.allocate = page_allocate,
	.released = page_released,
};

static void body_release(struct checkpoint *c, const struct root *root)
{
	for (uint32_t i = 0; i < root->body_count; i++) {
		const struct root_extent *e = &root->body[i];

		shard_live_drop(c->shard, e->segment, e->blocks << BLOCK_SHIFT);
		c->shard->segments[e->segment].dead_lsn = c->root.lsn + 1;
	}
}

static size_t body_size_max(const struct shard *shard)
{
	size_t size = BODY_HEAD;

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		if (shard->segments[i].state != SEGMENT_NONE)
			size += BODY_SEGMENT;
	}
	/* Every index segment at hand is listed already; the ones to come are not needed. */
	for (uint32_t i = 0; i < shard->partition_count; i++) {
		if (!shard_owns(shard, i))
			continue;
		size += BODY_PARTITION;
		for (unsigned s = 0; s < KV_SPACES; s++)
			size += shard->partitions[i].counts[s] != 0 ? BODY_SPACE : 0;
	}
	return size + SHARD_TXNS_MAX * BODY_TXN;
}

/* Returns the end. */
static uint8_t *encode_txns(const struct shard *shard, uint8_t *p, uint32_t *count)
{
	*count = 0;
	for (unsigned i = 0; i < SHARD_TXNS_MAX; i++) {
		if (shard->txns[i].phase != TXN_COMMITTED)
			continue;
		put64(p, shard->txns[i].id);
		p += BODY_TXN;
		++*count;
	}
	return p;
}

static void body_encode(struct checkpoint *c, const uint64_t *roots)
{
	struct shard *shard = c->shard;
	uint8_t *p = c->body->data + BODY_HEAD;
	uint32_t segments = 0, partitions = 0, txns;

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		const struct shard_segment *segment = &shard->segments[i];

		if (segment->state == SEGMENT_NONE)
			continue;
		put32(p, i);
		put32(p + 4, segment->live);
		put64(p + 8, segment->generation);
		put64(p + 16, segment->kind);
		p += BODY_SEGMENT;
		segments++;
	}
	for (uint32_t i = 0; i < shard->partition_count; i++) {
		const struct partition *partition = &shard->partitions[i];
		uint32_t spaces = 0;
		uint8_t *head = p;

		if (!shard_owns(shard, i))
			continue;
		p += BODY_PARTITION;
		for (unsigned s = 0; s < KV_SPACES; s++) {
			if (partition->counts[s] == 0)
				continue;
			put64(p, s);
			put64(p + 8, partition->counts[s]);
			p += BODY_SPACE;
			spaces++;
		}
		put32(head, i);
		put32(head + 4, spaces);
		put64(head + 8, roots[i]);
		put64(head + 16, partition->tree.key_count);
		partitions++;
	}
	p = encode_txns(shard, p, &txns);
	assert(p <= c->body->data + c->body->size);
	put32(c->body->data, segments);
	put32(c->body->data + 4, partitions);
	put32(c->body->data + 8, txns);
	put32(c->body->data + 12, 0);
	c->body->used = (uint32_t)(p - c->body->data);
}

/* The blocks of the body are taken before it is made: it counts them too. */
static bool body_allocate(struct checkpoint *c, uint32_t blocks)
{
	struct root *root = &c->root;

	assert(blocks > 0);
	root->body_count = 0;
	while (blocks > 0 && root->body_count < ROOT_EXTENTS_MAX) {
		struct root_extent *extent = &root->body[root->body_count];

		extent->blocks = stock_take(c, blocks, &extent->segment, &extent->block);
		if (extent->blocks == 0)
			break;
		blocks -= extent->blocks;
		root->body_count++;
	}
	return blocks == 0;
}

static uint64_t dirty_pages(const struct shard *shard)
{
	uint64_t dirty = 0;

	for (uint32_t i = 0; i < shard->partition_count; i++) {
		if (shard_owns(shard, i))
			dirty += btree_dirty_count(&shard->partitions[i].tree);
	}
	return dirty;
}

/* Ends the frozen state of the trees before `end`, in the good or the bad way. */
static void trees_end(struct shard *shard, uint32_t end, bool ok)
{
	for (uint32_t i = 0; i < end; i++) {
		if (shard_owns(shard, i))
			btree_checkpoint_end(&shard->partitions[i].tree, ok);
	}
}

static bool trees_begin(struct checkpoint *c, uint64_t *roots)
{
	struct shard *shard = c->shard;

	for (uint32_t i = 0; i < shard->partition_count; i++) {
		if (!shard_owns(shard, i))
			continue;
		if (btree_checkpoint_begin(&shard->partitions[i].tree, &page_ops, c, &roots[i]) !=
		    STATUS_OK) {
			trees_end(shard, i, false);
			return false;
		}
	}
	return true;
}

static void begin(struct checkpoint *c)
{
	struct shard *shard = c->shard;
	struct log *log = &shard->log;
	uint64_t roots[PARTITIONS_MAX];
	uint32_t body_blocks;

	/* Segments that are made or taken below may add to the list: at most those in stock. */
	body_blocks = (uint32_t)(align_up(body_size_max(shard), BLOCK_SIZE) >> BLOCK_SHIFT);
	c->body = buf_get(shard->bufs, (size_t)body_blocks << BLOCK_SHIFT);
	if (c->body == NULL)
		return; /* tried again with the next turn */
	assert(c->phase == PHASE_IDLE && c->writes_running == 0);
	assert(!c->have_image);
	c->previous = c->root;
	c->root.sequence++;
	c->root.run = shard->store->super.run;
	c->root.stream = (uint16_t)shard->index;
	c->root.lsn = log_cut(log);
	c->root.clean = c->final && !txns_are_prepared(shard) && !shard->clear.active;
	c->lsn = c->root.lsn;
	txns_cut(shard);
	if (!body_allocate(c, body_blocks) || !trees_begin(c, roots)) {
		body_release(c, &c->root);
		c->root = c->previous;
		buf_unref(c->body);
		c->body = NULL;
		return;
	}
	shard_clear_cut(shard);
	body_release(c, &c->previous);
	c->root.version_next = shard->version_next;
	c->root.generation_next = shard->generation_seen + 1;
	c->root.touched = shard->touched;
	c->root.log_segment = log->current.generation != 0 ? log->current.segment : UINT32_MAX;
	c->root.log_block = log->open != NULL ? log->open->block : log->next_block;
	body_encode(c, roots);
	c->root.body_size = c->body->used;
	c->root.body_crc = crc32c(0, c->body->data, c->body->used);
	memset(c->body->data + c->body->used, 0,
	       ((size_t)body_blocks << BLOCK_SHIFT) - c->body->used);
	c->wanted = false;
	c->failed = false;
	c->partition = 0;
	c->body_written = 0;
	c->phase = PHASE_PAGES;
	shard->log_bytes_checkpointed = log->stats.bytes;
	shard->records_checkpointed = log->stats.records;
}

static void write_submit(struct checkpoint_write *write, uint32_t segment, uint32_t block,
                         uint32_t blocks)
{
	struct checkpoint *c = write->checkpoint;
	struct blk_cmd cmd = {
		.op = BLK_WRITE,
		.lba = shard_lba(c->shard, segment, block),
		.block_count = blocks,
		.iov = &write->iov,
		.iov_count = 1,
	};

	assert(c->phase == PHASE_PAGES && !write->busy);
	assert(blocks > 0 && blocks <= WRITE_BLOCKS);
	assert(block > 0 && block + blocks <= c->shard->segment_blocks);
	write->iov.iov_len = (size_t)blocks << BLOCK_SHIFT;
	write->busy = true;
	c->writes_running++;
	c->shard->stats.index_bytes += (uint64_t)blocks << BLOCK_SHIFT;
	req_init(&write->req, c->shard->worker);
	req_push(&write->req, struct write_frame, step_ended)->write = write;
	blk_submit(c->shard->blk, &write->req, &cmd);
}

/* Takes the next image of any tree; false: all were taken. */
static bool next_image(struct checkpoint *c, uint8_t *page, btree_value *address)
{
	struct shard *shard = c->shard;

	for (; c->partition < shard->partition_count; c->partition++) {
		struct partition *partition = &shard->partitions[c->partition];

		if (shard_owns(shard, c->partition) &&
		    btree_checkpoint_next(&partition->tree, page, address))
			return true;
	}
	return false;
}

/* Fills a buffer with images whose places follow each other, and writes it. */
static bool write_pages(struct checkpoint *c, struct checkpoint_write *write)
{
	uint32_t count = 0, segment = 0, block = 0;
	btree_value address;

	while (count < WRITE_BLOCKS) {
		struct location l;

		if (c->have_image) {
			memcpy(write->buf->data + ((size_t)count << BLOCK_SHIFT), c->image->data,
			       BLOCK_SIZE);
			address = c->image_address;
			c->have_image = false;
		} else if (!next_image(c, write->buf->data + ((size_t)count << BLOCK_SHIFT),
		                       &address)) {
			break;
		}
		l = location_unpack(address);
		if (count == 0) {
			segment = l.segment;
			block = l.offset >> BLOCK_SHIFT;
		} else if (l.segment != segment || l.offset >> BLOCK_SHIFT != block + count) {
			memcpy(c->image->data, write->buf->data + ((size_t)count << BLOCK_SHIFT),
			       BLOCK_SIZE);
			c->image_address = address;
			c->have_image = true;
			break;
		}
		count++;
	}
	if (count == 0)
		return false;
	write->iov.iov_base = write->buf->data;
	write_submit(write, segment, block, count);
	return true;
}

static bool write_body(struct checkpoint *c, struct checkpoint_write *write)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < c->root.body_count; i++) {
		const struct root_extent *extent = &c->root.body[i];
		uint32_t skip = c->body_written > at ? c->body_written - at : 0;
		uint32_t blocks;

		at += extent->blocks;
		if (skip >= extent->blocks)
			continue;
		blocks =
		        extent->blocks - skip < WRITE_BLOCKS ? extent->blocks - skip : WRITE_BLOCKS;
		write->iov.iov_base = c->body->data + ((size_t)c->body_written << BLOCK_SHIFT);
		c->body_written += blocks;
		write_submit(write, extent->segment, extent->block + skip, blocks);
		return true;
	}
	return false;
}

static void finish(struct checkpoint *c)
{
	struct shard *shard = c->shard;
	struct req *notify = c->notify;

	assert(c->writes_running == 0);
	assert(c->body != NULL && c->phase != PHASE_IDLE);
	assert(c->failed || c->lsn <= shard->log.lsn_durable);
	trees_end(shard, shard->partition_count, !c->failed);
	buf_unref(c->body);
	c->body = NULL;
	c->phase = PHASE_IDLE;
	if (c->failed) {
		body_release(c, &c->root);
		c->root = c->previous;
		c->wanted = false;
		log_fail(&shard->log, STATUS_IO);
	} else {
		shard->stats.checkpoints++;
		c->durable_lsn = c->root.lsn;
		c->durable_segment = c->root.log_segment;
		for (uint32_t i = 0; i < shard->segment_count; i++)
			shard->segments[i].cleaning = false; /* worth another look */
		if (shard->open)
			supply_release_up_to(shard, c->root.lsn);
	}
	if (notify != NULL && (c->failed || !c->wanted)) {
		c->notify = NULL;
		req_complete(notify, c->failed ? STATUS_IO : STATUS_OK, 0);
	}
}

static void submit_step(struct checkpoint *c, const struct blk_cmd *cmd)
{
	struct checkpoint_write *write = &c->writes[0];

	assert(c->writes_running == 0); /* one step after the other */
	write->busy = true;
	c->writes_running++;
	req_init(&write->req, c->shard->worker);
	req_push(&write->req, struct write_frame, step_ended)->write = write;
	blk_submit(c->shard->blk, &write->req, cmd);
}

/* Both copies of the root, one after the other: never both at risk. */
static void write_root(struct checkpoint *c)
{
	struct checkpoint_write *write = &c->writes[0];
	struct blk_cmd cmd = {
		.op = BLK_WRITE,
		.flags = BLK_FUA,
		.lba = root_block(c->root.run, c->root.stream, c->root.sequence, c->root_copy),
		.block_count = 1,
		.iov = &write->iov,
		.iov_count = 1,
	};

	assert(c->phase == PHASE_ROOT && c->root_copy < ROOT_COPIES);
	assert(c->root.lsn <= c->shard->log.lsn_durable); /* else: it refers to what may be lost */
	assert(c->root.sequence == c->previous.sequence + 1);
	root_encode(&c->root, c->root_copy, write->buf->data);
	write->iov = (struct iovec){ write->buf->data, BLOCK_SIZE };
	c->root_copy++;
	c->shard->stats.index_bytes += BLOCK_SIZE;
	submit_step(c, &cmd);
}

/*
 * The log must be on disk as far as the index refers to it, and behind the cut it must have what is
 * prepared and not resolved yet, and what a CLEAR has still to do.
 */
static void wait_for_log(struct checkpoint *c)
{
	struct checkpoint_write *write = &c->writes[0];

	if (c->phase != PHASE_LOG && (txns_carry_over(c->shard, &c->lsn) != STATUS_OK ||
	                              shard_clear_carry_over(c->shard, &c->lsn) != STATUS_OK)) {
		c->phase = PHASE_CARRY; /* the log has no room: at the end of a later turn */
		return;
	}
	if (c->lsn > c->root.lsn)
		log_settle(&c->shard->log);
	if (c->lsn <= c->shard->log.lsn_durable) {
		c->phase = PHASE_ROOT;
		c->root_copy = 0;
		write_root(c);
		return;
	}
	c->phase = PHASE_LOG;
	write->busy = true;
	c->writes_running++;
	req_init(&write->req, c->shard->worker);
	req_push(&write->req, struct write_frame, step_ended)->write = write;
	write->req.state = REQ_RUNNING;
	log_wait(&c->shard->log, c->lsn, &write->req);
}

static void pages_written(struct checkpoint *c)
{
	static const struct blk_cmd flush = { .op = BLK_FLUSH };

	if (c->shard->blk->geometry.volatile_cache && !shard_has_bug(c->shard, BUG_EARLY_ROOT)) {
		c->phase = PHASE_FLUSH;
		submit_step(c, &flush);
	} else {
		wait_for_log(c);
	}
}

/* Keeps the writes going; on to the next phase when they have ended. */
static void advance(struct checkpoint *c)
{
	for (uint32_t i = 0; i < WRITES_MAX && !c->failed && c->phase == PHASE_PAGES; i++) {
		if (!c->writes[i].busy && !write_pages(c, &c->writes[i]) &&
		    !write_body(c, &c->writes[i]))
			break;
	}
	if (c->writes_running > 0)
		return;
	if (c->failed)
		finish(c);
	else if (c->phase == PHASE_PAGES)
		pages_written(c);
	else if (c->phase == PHASE_FLUSH)
		wait_for_log(c);
	else if (c->phase == PHASE_CARRY || c->phase == PHASE_LOG)
		wait_for_log(c);
	else if (c->phase == PHASE_ROOT && c->root_copy < ROOT_COPIES)
		write_root(c);
	else
		finish(c);
}

static void step_ended(struct req *req)
{
	struct checkpoint_write *write = req_pop(req, struct write_frame)->write;
	struct checkpoint *c = write->checkpoint;

	assert(write->busy && c->writes_running > 0);
	assert(c->phase != PHASE_IDLE);
	write->busy = false;
	c->writes_running--;
	if (req->status != STATUS_OK)
		c->failed = true;
	advance(c);
}

/*
 * Parents of what is dirty become dirty too: the pool's depth for each partition. The body is of
 * the size that it had, or has now.
 */
static uint64_t blocks_needed(const struct shard *shard, uint64_t dirty)
{
	return dirty + 4 * shard->partition_count + (body_size_max(shard) >> BLOCK_SHIFT) + 2;
}

uint64_t checkpoint_cost(const struct shard *shard)
{
	return blocks_needed(shard, dirty_pages(shard)) << BLOCK_SHIFT;
}

uint32_t checkpoint_segments_needed(const struct shard *shard)
{
	const struct checkpoint *c = shard->checkpoint;
	struct btree_pool_stats pages;
	uint64_t blocks;

	if (c->phase != PHASE_IDLE) /* it has taken what it needs, and another open may have that */
		return 2;
	btree_pool_stats(shard->pool, &pages);
	blocks = blocks_needed(shard, pages.pages);
	/* Not with what is in stock, and a segment for the log: the next open must find as much. */
	return (uint32_t)(blocks / (shard->segment_blocks - 1)) + 2;
}

bool checkpoint_is_past(const struct shard *shard, uint32_t segment)
{
	const struct checkpoint *c = shard->checkpoint;

	return shard->stats.checkpoints > 0 && segment != c->durable_segment &&
	       shard->segments[segment].last_lsn <= c->durable_lsn;
}

static bool is_due(const struct shard *shard)
{
	const struct store_options *options = &shard->store->options;
	struct btree_pool_stats pages;

	if (shard->log.stats.bytes >= shard->log_bytes_checkpointed + shard->checkpoint_log_max)
		return true;
	if (shard->log.stats.records - shard->records_checkpointed >= options->checkpoint_records)
		return true;
	btree_pool_stats(shard->pool, &pages);
	return pages.pages_dirty > pages.pages_max / 2;
}

void checkpoint_consider(struct shard *shard)
{
	struct checkpoint *c = shard->checkpoint;
	uint64_t needed;

	if (c->phase == PHASE_CARRY) {
		c->failed = shard->log.failed != STATUS_OK;
		advance(c);
	}
	if (c->phase != PHASE_IDLE)
		return;
	if (shard->log.failed != STATUS_OK) {
		checkpoint_refused(shard, STATUS_IO);
		return;
	}
	if (!c->wanted && !(shard->open && is_due(shard)))
		return;
	c->wanted = true;
	if (shard->exclusive != NULL && op_of(shard->exclusive)->cmd.op != KV_RESOLVE)
		return; /* the index lacks records that are in the log */
	if (blob_is_freeing(shard) && !shard->replaying && shard->exclusive == NULL &&
	    !shard->space_low &&
	    shard->log.stats.bytes < shard->log_bytes_checkpointed + 2 * shard->checkpoint_log_max)
		return; /* what is freed soon would be forgotten by a crash behind this one */
	needed = blocks_needed(shard, dirty_pages(shard));
	if (stock_blocks(c) < needed) {
		if (c->stock_count < STOCK_MAX)
			supply_want(shard, SEGMENT_INDEX, SPACE_ROOT);
		return;
	}
	begin(c);
	if (c->phase == PHASE_PAGES)
		advance(c);
}

void checkpoint_notify(struct shard *shard, struct req *req, bool final)
{
	struct checkpoint *c = shard->checkpoint;

	assert(c->notify == NULL);
	req->state = REQ_RUNNING;
	if (shard->log.failed != STATUS_OK) {
		req_complete(req, STATUS_READ_ONLY, 0);
		return;
	}
	assert(req->worker == shard->worker);
	c->final = final;
	c->notify = req;
	c->wanted = true; /* one that begins now: what runs may have begun before */
}

void checkpoint_refused(struct shard *shard, enum status status)
{
	struct checkpoint *c = shard->checkpoint;
	struct req *notify = c->notify;

	if (notify == NULL || c->phase != PHASE_IDLE)
		return;
	c->notify = NULL;
	c->wanted = false;
	req_complete(notify, status, 0);
}

void checkpoint_restore(struct shard *shard, const struct root *root)
{
	assert(shard->checkpoint->phase == PHASE_IDLE);
	assert(root->stream == shard->index);
	shard->checkpoint->root = *root;
}

enum status checkpoint_open(struct shard *shard)
{
	struct checkpoint *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return STATUS_NO_SPACE;
	c->shard = shard;
	shard->checkpoint = c;
	c->image = buf_get(shard->bufs, BLOCK_SIZE);
	for (uint32_t i = 0; i < WRITES_MAX; i++) {
		c->writes[i].checkpoint = c;
		c->writes[i].buf = buf_get(shard->bufs, WRITE_BLOCKS << BLOCK_SHIFT);
	}
	for (uint32_t i = 0; i < WRITES_MAX; i++) {
		if (c->image == NULL || c->writes[i].buf == NULL) {
			checkpoint_close(shard);
			return STATUS_NO_SPACE;
		}
	}
	return STATUS_OK;
}

void checkpoint_close(struct shard *shard)
{
	struct checkpoint *c = shard->checkpoint;

	if (c == NULL)
		return;
	if (c->image != NULL)
		buf_unref(c->image);
	if (c->body != NULL)
		buf_unref(c->body);
	for (uint32_t i = 0; i < WRITES_MAX; i++) {
		if (c->writes[i].buf != NULL)
			buf_unref(c->writes[i].buf);
	}
	free(c);
	shard->checkpoint = NULL;
}
