/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of records and pages that are not in memory, shared by all commands that wait for one. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/shard.h"

static void load_read(struct req *req);

void shard_load_drop(struct shard *shard, struct op *op)
{
	struct load *load = op->loaded;

	if (load == NULL)
		return;
	assert(load->buf != NULL && !load->page);
	assert(STAILQ_EMPTY(&load->waiters)); /* they run with it */
	op->loaded = NULL;
	buf_unref(load->buf);
	load->buf = NULL;
	LIST_INSERT_HEAD(&shard->loads_free, load, link);
	if (!STAILQ_EMPTY(&shard->load_waiters)) {
		STAILQ_CONCAT(&shard->load_waiters, &shard->queue);
		STAILQ_CONCAT(&shard->queue, &shard->load_waiters);
	}
}

static struct load *load_get(struct shard *shard, struct req *req, uint64_t address, size_t size)
{
	struct load *load = LIST_FIRST(&shard->loads_free);

	if (load != NULL)
		load->buf = buf_get(shard->bufs, size);
	if (load == NULL || load->buf == NULL) {
		STAILQ_INSERT_TAIL(&shard->load_waiters, req, link);
		return NULL;
	}
	assert(address != 0);
	LIST_REMOVE(load, link);
	load->address = address;
	STAILQ_INIT(&load->waiters);
	STAILQ_INSERT_TAIL(&load->waiters, req, link);
	LIST_INSERT_HEAD(&shard->loads[address % SHARD_BUSY_BUCKETS], load, link);
	return load;
}

struct load_frame {
	struct frame frame;
	struct load *load;
};

static void load_submit(struct load *load, uint32_t block, uint32_t blocks)
{
	struct shard *shard = load->shard;
	struct blk_cmd cmd = {
		.op = BLK_READ,
		.lba = shard_lba(shard, location_unpack(load->address).segment, block),
		.block_count = blocks,
		.iov = &load->iov,
		.iov_count = 1,
	};

	assert(blocks > 0 && (size_t)blocks << BLOCK_SHIFT <= load->buf->size);
	assert(block + blocks <= shard->segment_blocks);
	assert(shard->loads_running < SHARD_LOADS_MAX);
	load->iov = (struct iovec){ load->buf->data, (size_t)blocks << BLOCK_SHIFT };
	req_init(&load->req, shard->worker);
	req_push(&load->req, struct load_frame, load_read)->load = load;
	shard->loads_running++;
	blk_submit(shard->blk, &load->req, &cmd);
}

enum op_result op_load_page(struct req *req, uint32_t partition, const struct btree_miss *miss)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct location l = location_unpack(miss->address);
	struct load *load;

	op_lock(op);
	LIST_FOREACH(load, &shard->loads[miss->address % SHARD_BUSY_BUCKETS], link)
	{
		if (load->address == miss->address && load->page) {
			STAILQ_INSERT_TAIL(&load->waiters, req, link);
			return OP_PARKED;
		}
	}
	assert(shard_owns(shard, partition));
	load = load_get(shard, req, miss->address, BLOCK_SIZE);
	if (load == NULL)
		return OP_PARKED;
	load->page = true;
	load->partition = partition;
	shard->stats.page_loads++;
	load_submit(load, l.offset >> BLOCK_SHIFT, 1);
	return OP_PARKED;
}

static void load_record(struct load *load, struct location l)
{
	uint32_t first = l.offset >> BLOCK_SHIFT;
	uint32_t end = (uint32_t)align_up(l.offset + l.size, BLOCK_SIZE) >> BLOCK_SHIFT;

	load->page = false;
	load->skip = l.offset - (first << BLOCK_SHIFT);
	load->shard->stats.record_loads++;
	load_submit(load, first, end - first);
}

enum op_result op_load_record(struct req *req, uint64_t location)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct location l = location_unpack(location);
	struct load *load;

	op_lock(op);
	shard_load_drop(shard, op);
	load = load_get(shard, req, location, l.size + 2 * BLOCK_SIZE);
	if (load != NULL)
		load_record(load, l);
	return OP_PARKED;
}

void shard_read_ahead(struct shard *shard, uint64_t location)
{
	struct location l = location_unpack(location);
	struct load *load = LIST_FIRST(&shard->loads_free);

	if (load == NULL || log_peek(&shard->log, l) != NULL)
		return;
	load->buf = buf_get(shard->bufs, l.size + 2 * BLOCK_SIZE);
	if (load->buf == NULL)
		return;
	LIST_REMOVE(load, link);
	load->address = location;
	STAILQ_INIT(&load->waiters);
	LIST_INSERT_HEAD(&shard->loads[location % SHARD_BUSY_BUCKETS], load, link);
	load_record(load, l);
}

/* The waiters run again, or fail with the read. */
static void load_wake(struct load *load, enum status status)
{
	struct shard *shard = load->shard;
	struct req *req;

	if (status == STATUS_OK) {
		STAILQ_CONCAT(&load->waiters, &shard->queue);
		STAILQ_CONCAT(&shard->queue, &load->waiters);
		return;
	}
	while ((req = STAILQ_FIRST(&load->waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&load->waiters, link);
		op_finish(req, status, 0);
	}
}

void shard_remember(struct shard *shard, uint64_t hash, const struct record *record,
                    uint64_t location, uint64_t lsn)
{
	struct record_cache_entry entry = {
		.version = record->version,
		.expires_ms = record->expires_ms,
		.lsn = lsn,
		.location = location,
		.flags = (uint8_t)location,
	};

	assert(location != 0);
	/* Refused: then it is read again when it is wanted. */
	(void)record_cache_insert(shard->cache, hash, &entry, record->key, record->value);
}

/* What was read ahead is kept in the cache or nowhere. */
static void cache_read_ahead(struct load *load)
{
	struct shard *shard = load->shard;
	struct location l = location_unpack(load->address);
	struct record record;
	struct btree_miss miss;
	uint64_t hash;
	btree_value named;
	size_t used;
	uint32_t crc, partition;

	if (record_decode(load->buf->data + load->skip, l.size,
	                  record_seed(shard->segments[l.segment].generation, l.segment), l.offset,
	                  &record, &used, &crc) != STATUS_OK)
		return; /* who needs it reads it again, and says so */
	if (!kv_key_is_sound(record.key))
		return;
	hash = hash64(record.key);
	partition = kv_partition_hashed(record.key, hash, shard->partition_count);
	/* The key may have been written again meanwhile: then this is not its record any more. */
	if (shard_clear_hides(shard, partition, record.key) ||
	    btree_find(&shard->partitions[partition].tree, record.key, &named, &miss) != BTREE_OK ||
	    named != load->address)
		return;
	/* It was on disk when it was read, perhaps by a plain write. */
	shard_remember(shard, hash, &record, load->address,
	               shard_is_relaxed(shard, record.key) ? 0 : shard->log.lsn_written);
}

static void load_read(struct req *done)
{
	struct load *load = req_pop(done, struct load_frame)->load;
	struct shard *shard = load->shard;
	enum status status = done->status;
	struct req *first = STAILQ_FIRST(&load->waiters);

	assert(load->shard->loads_running > 0);
	assert(load->buf != NULL);
	shard->loads_running--;
	LIST_REMOVE(load, link);
	if (status == STATUS_OK && load->page)
		status = btree_load(&shard->partitions[load->partition].tree, load->buf->data,
		                    load->address);
	if (status == STATUS_BUSY) { /* no page free: a checkpoint makes some */
		checkpoint_want(shard);
		status = STATUS_OK;
	}
	if (status == STATUS_CORRUPT)
		shard->stats.corrupt++;
	if (status == STATUS_OK && !load->page && first == NULL)
		cache_read_ahead(load);
	if (status == STATUS_OK && !load->page && first != NULL) {
		op_of(first)->loaded = load; /* given back by shard_load_drop() */
		load_wake(load, STATUS_OK);
		return;
	}
	load_wake(load, status);
	buf_unref(load->buf);
	load->buf = NULL;
	LIST_INSERT_HEAD(&shard->loads_free, load, link);
	STAILQ_CONCAT(&shard->load_waiters, &shard->queue);
	STAILQ_CONCAT(&shard->queue, &shard->load_waiters);
}
