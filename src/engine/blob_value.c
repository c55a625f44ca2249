/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs, second part: what a replaced one leaves behind is freed, and whole values are brought into
 * memory for commands that change them.
 */
#include <sys/mman.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/worker.h"
#include "engine/blob_state.h"

struct free_frame {
	struct frame frame;
};

/* Freeing: the record is read once more, for its extents. */

void blob_free_later(struct shard *shard, uint64_t location)
{
	struct blobs *blobs = shard->blobs;

	if (blobs->free_head - blobs->free_tail == FREES_MAX) {
		blobs->leaked++; /* the extents stay live: weir check finds them */
		return;
	}
	assert(location & RECORD_BLOB);
	assert(blobs->free_head - blobs->free_tail < FREES_MAX);
	blob_pin(shard, location_unpack(location).segment, 1);
	blobs->frees[blobs->free_head++ % FREES_MAX] = location;
}

void blob_free_moved(struct shard *shard, uint64_t from, uint64_t to)
{
	struct blobs *blobs = shard->blobs;

	for (uint32_t i = blobs->free_tail; i != blobs->free_head; i++) {
		if (blobs->frees[i % FREES_MAX] != from)
			continue;
		assert(i != blobs->free_tail || (!blobs->freeing && !blobs->free_read));
		blob_pin(shard, location_unpack(from).segment, -1);
		blob_pin(shard, location_unpack(to).segment, 1);
		blobs->frees[i % FREES_MAX] = to;
		return;
	}
}

void blob_forget_frees(struct shard *shard)
{
	struct blobs *blobs = shard->blobs;

	assert(!blobs->freeing && !blobs->free_read);
	for (; blobs->free_tail != blobs->free_head; blobs->free_tail++)
		blob_pin(shard, location_unpack(blobs->frees[blobs->free_tail % FREES_MAX]).segment,
		         -1);
}

static void free_next(struct blobs *blobs)
{
	struct location l = location_unpack(blobs->frees[blobs->free_tail % FREES_MAX]);

	assert(!blobs->freeing && blobs->free_tail != blobs->free_head);
	blob_pin(blobs->shard, l.segment, -1);
	do {
		blobs->free_tail++;
	} while (blobs->free_tail != blobs->free_head &&
	         blobs->frees[blobs->free_tail % FREES_MAX] == 0);
	blobs->free_read = false;
	buf_unref(blobs->free_buf);
	blobs->free_buf = NULL;
}

/*
 * Not always the oldest: one that could not be read then was passed over, and is tried again now.
 * One that is not there belongs to a value that was replaced before the checkpoint.
 */
void blob_replay_free(struct shard *shard, const struct record *record)
{
	struct blobs *blobs = shard->blobs;

	blob_debit(shard, record->value);
	if (record->key.size != sizeof(uint64_t))
		return;
	for (uint32_t i = blobs->free_tail; i != blobs->free_head; i++) {
		uint64_t *free = &blobs->frees[i % FREES_MAX];

		if (*free != get64(record->key.data))
			continue;
		blob_pin(shard, location_unpack(*free).segment, -1);
		*free = 0;
		break;
	}
	while (blobs->free_tail != blobs->free_head &&
	       blobs->frees[blobs->free_tail % FREES_MAX] == 0)
		blobs->free_tail++;
}

/* Appends the RECORD_FREE as soon as the log has room. */
static void free_append(struct blobs *blobs)
{
	struct shard *shard = blobs->shard;
	struct location l = location_unpack(blobs->frees[blobs->free_tail % FREES_MAX]);
	uint64_t location = location_pack(l);
	struct record record;
	struct record freed = { .type = RECORD_FREE, .key = bytes_of(&location, sizeof(location)) };
	size_t used;
	uint32_t crc;

	assert(blobs->free_read && blobs->free_buf != NULL);
	assert(!shard->replaying);
	if (record_decode(blobs->free_buf->data + l.offset % BLOCK_SIZE, l.size,
	                  record_seed(shard->segments[l.segment].generation, l.segment), l.offset,
	                  &record, &used, &crc) != STATUS_OK) {
		shard->stats.corrupt++;
		blobs->leaked++;
		free_next(blobs);
		return;
	}
	freed.value = record.value;
	if (shard_reserve(shard, record_size(freed.key.size, freed.value.size, false),
	                  SPACE_CLEAN) != STATUS_OK)
		return;
	log_append(&shard->log, &freed, shard_is_relaxed(shard, record.key));
	/* Until that is on disk a replay reads the record once more. */
	shard->segments[l.segment].dead_lsn = shard->log.lsn_next;
	if (shard->segments[l.segment].live == 0)
		supply_dead(shard, shard->log.lsn_next);
	blob_debit(shard, freed.value);
	free_next(blobs);
}

static void free_was_read(struct req *req)
{
	struct blobs *blobs = container_of(req, struct blobs, free_req);

	(void)req_pop(req, struct free_frame);
	assert(blobs->freeing && !blobs->free_read);
	blobs->freeing = false;
	blobs->free_read = true;
	if (req->status != STATUS_OK) {
		blobs->leaked++;
		free_next(blobs);
	}
}

static void free_read(struct blobs *blobs)
{
	struct shard *shard = blobs->shard;
	struct location l = location_unpack(blobs->frees[blobs->free_tail % FREES_MAX]);
	uint32_t first = l.offset >> BLOCK_SHIFT;
	uint32_t end = (uint32_t)align_up(l.offset + l.size, BLOCK_SIZE) >> BLOCK_SHIFT;
	const uint8_t *data = log_peek(&shard->log, l);
	struct blk_cmd cmd = {
		.op = BLK_READ,
		.lba = shard_lba(shard, l.segment, first),
		.block_count = end - first,
		.iov = &blobs->free_iov,
		.iov_count = 1,
	};

	assert(!blobs->freeing && blobs->free_buf == NULL);
	assert(l.flags & RECORD_BLOB);
	assert(shard->segments[l.segment].pins > 0); /* it cannot be given back */
	blobs->free_buf = buf_get(shard->bufs, (size_t)(end - first) << BLOCK_SHIFT);
	if (blobs->free_buf == NULL)
		return;
	if (data != NULL) { /* not written yet */
		memcpy(blobs->free_buf->data + l.offset % BLOCK_SIZE, data, l.size);
		blobs->free_read = true;
		return;
	}
	blobs->freeing = true;
	blobs->free_iov =
	        (struct iovec){ blobs->free_buf->data, (size_t)(end - first) << BLOCK_SHIFT };
	req_init(&blobs->free_req, shard->worker);
	req_push(&blobs->free_req, struct free_frame, free_was_read);
	blk_submit(shard->blk, &blobs->free_req, &cmd);
}

void blob_turn(struct shard *shard)
{
	struct blobs *blobs = shard->blobs;

	if (shard->exclusive != NULL) /* not before the record that replaces the value */
		return;
	if (shard->replaying) /* the log may have the FREE further on */
		return;
	for (unsigned i = 0; i < 64 && blobs->free_tail != blobs->free_head && !blobs->freeing;
	     i++) {
		if (!blobs->free_read)
			free_read(blobs);
		if (!blobs->free_read)
			return;
		free_append(blobs);
		if (blobs->free_read)
			return; /* no room in the log now */
	}
}

bool blob_is_freeing(const struct shard *shard)
{
	return shard->blobs->freeing || shard->blobs->free_tail != shard->blobs->free_head;
}

bool blob_is_running(const struct shard *shard)
{
	for (unsigned i = 0; i < IOS_MAX; i++) {
		if (shard->blobs->ios[i].busy)
			return true;
	}
	return shard->blobs->freeing;
}

/* Whole values in memory. */

static bool load_memory(struct blobs *blobs)
{
	if (blobs->load == NULL) {
		uint8_t *memory = mmap(NULL, 2 * blobs->load_max, PROT_READ | PROT_WRITE,
		                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (memory == MAP_FAILED)
			return false;
		blobs->load = memory;
		blobs->load_new = memory + blobs->load_max;
	}
	return true;
}

/* `most`: bytes that a value may have. */
static enum status load_begin(struct blobs *blobs, const struct found *found, uint64_t most)
{
	struct blob_handle *h = &blobs->load_handle;
	struct blob_value value;

	assert(h->running == 0 && h->buf == NULL);
	*h = (struct blob_handle){ .size = found->entry.size };
	if (!found->entry.blob)
		return STATUS_OK;
	if (found->entry.size > most)
		return STATUS_TOO_LARGE;
	if (blob_value_decode(found->entry.value, &value) != STATUS_OK)
		return STATUS_CORRUPT;
	h->buf = buf_get(blobs->shard->bufs, found->entry.value.size);
	if (h->buf == NULL)
		return STATUS_BUSY;
	memcpy(h->buf->data, found->entry.value.data, found->entry.value.size);
	h->extent_count = value.extent_count;
	blob_pin_extents(blobs->shard, h, 1);
	return STATUS_OK;
}

static void load_handle_drop(struct blobs *blobs)
{
	struct blob_handle *h = &blobs->load_handle;

	if (h->buf == NULL)
		return;
	assert(h->running == 0);
	blob_pin_extents(blobs->shard, h, -1);
	buf_unref(h->buf);
	*h = (struct blob_handle){ .size = 0 };
}

enum op_result blob_load(struct req *req, struct found *found, struct kv_edit *edit)
{
	struct op *op = op_of(req);
	struct blobs *blobs = op->shard->blobs;
	struct blob_handle *h = &blobs->load_handle;
	enum op_result result;
	enum status status;

	if (blobs->loader != NULL && blobs->loader != req)
		return blob_park(blobs, req);
	/* A read holds no key: another value may have taken its place meanwhile. */
	if (blobs->loader == req && blobs->load_location != found->location) {
		if (h->running > 0) {
			h->waiter = req;
			return OP_PARKED;
		}
		load_handle_drop(blobs);
		blobs->loader = NULL;
	}
	if (blobs->loader == NULL) {
		/* Who changes nothing needs no room for another. */
		uint64_t most = op->cmd.op == KV_GET ? 2 * blobs->load_max : blobs->load_max;

		status = load_memory(blobs) ? load_begin(blobs, found, most) : STATUS_BUSY;
		if (status != STATUS_OK) {
			op_finish(req, status, 0);
			return OP_PARKED;
		}
		blobs->loader = req;
		op_lock(op); /* who takes the key would wait for the memory, and this for the key */
		blobs->load_location = found->location;
		op->result = 0;
	}
	if (found->entry.blob) {
		result = blob_read_all(req, h, 0, blobs->load, h->size);
		if (result != OP_DONE)
			return result;
		if (h->status != STATUS_OK) {
			op_finish(req, h->status, 0);
			return OP_PARKED;
		}
		found->entry.value = bytes_of(blobs->load, h->size);
		found->entry.blob = false;
	}
	edit->scratch = blobs->load_new;
	edit->scratch_max = blobs->load_max;
	return OP_DONE;
}

void blob_unload(struct req *req)
{
	struct blobs *blobs = op_of(req)->shard->blobs;

	if (blobs->loader != req)
		return;
	load_handle_drop(blobs);
	blobs->loader = NULL;
	blob_unpark(blobs->shard);
}

enum op_result blob_store_large(struct req *req, const struct kv_edit *edit)
{
	struct op *op = op_of(req);
	struct blobs *blobs = op->shard->blobs;
	struct blob_handle *h = &blobs->load_handle;
	struct record record = {
		.type = RECORD_PUT,
		.key = op->cmd.key,
		.expires_ms = edit->expires_ms,
	};
	enum op_result result;

	assert(blobs->loader == req); /* else: a value of that size without KV_LOAD */
	load_handle_drop(blobs);
	*h = (struct blob_handle){ .writing = true };
	h->buf = buf_get(op->shard->bufs, 32 << 10);
	if (h->buf == NULL)
		return op_finish(req, STATUS_BUSY, 0);
	/* The rest of the command is done from memory of ours. */
	if (edit->value.data != blobs->load_new)
		memmove(blobs->load_new, edit->value.data, edit->value.size);
	op->cmd.value = bytes_of(blobs->load_new, edit->value.size);
	op->cmd.expires_ms = edit->expires_ms;
	op->cmd.kind = edit->kind;
	op->result = 0;
	result = blob_store_ready(req, &record);
	if (result != OP_DONE)
		return result;
	return op_update(req); /* with its step set: stores the record */
}

bool blob_stores_under(const struct shard *shard, struct bytes prefix)
{
	const struct blobs *blobs = shard->blobs;
	const struct op *op;

	if (blobs->loader == NULL)
		return false;
	op = op_of(blobs->loader);
	return op->step == STEP_LARGE && op->cmd.key.size >= prefix.size &&
	       memcmp(op->cmd.key.data, prefix.data, prefix.size) == 0;
}

enum op_result blob_store_ready(struct req *req, struct record *record)
{
	struct op *op = op_of(req);
	struct blob_handle *h = &op->shard->blobs->load_handle;
	enum op_result result = blob_write_all(req, h, op->cmd.value);

	if (result != OP_DONE)
		return result;
	if (h->status != STATUS_OK) {
		op_finish(req, h->status, 0);
		return OP_PARKED;
	}
	assert(h->running == 0 && h->size == op->cmd.value.size);
	assert(h->extent_count > 0 && h->extent_count <= BLOB_EXTENTS_MAX);
	put64(h->buf->data, h->size);
	put32(h->buf->data + 8, h->extent_count);
	put32(h->buf->data + 12, 0);
	record->flags = op->cmd.kind | RECORD_BLOB;
	record->value = bytes_of(h->buf->data, blob_value_size(h->extent_count));
	return OP_DONE;
}
