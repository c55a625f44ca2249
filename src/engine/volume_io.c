/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks read and written: a GET for each record, a COMMIT for those beside each other. */
#include "base/assert.h"
#include "engine/volume_state.h"

static uint32_t record_size(const struct volume_call *call)
{
	return 1u << call->volume->image.record_shift;
}

/* Bytes [offset, offset + size) of the command's memory: in one segment, as geometry.align says. */
static uint8_t *memory_at(const struct volume_call *call, uint64_t offset)
{
	const struct blk_cmd *cmd = &call->cmd;

	if (cmd->op == BLK_ZEROES)
		return call->volume->engine->zeroes;
	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		if (offset < cmd->iov[i].iov_len) {
			assert(cmd->iov[i].iov_len - offset >= record_size(call));
			return (uint8_t *)cmd->iov[i].iov_base + offset;
		}
		offset -= cmd->iov[i].iov_len;
	}
	unreachable();
	return NULL;
}

static uint8_t *part_memory(const struct volume_part *part)
{
	return memory_at(part->call, (uint64_t)part->record * record_size(part->call));
}

static void call_failed(struct volume_call *call, enum status status)
{
	if (call->status == STATUS_OK)
		call->status = status;
}

/* After a part has ended: the next, or the end. */
static void call_advance(struct volume_call *call, volume_step_fn *step)
{
	if (call->status == STATUS_OK && call->next < call->cmd.block_count)
		step(call);
	else if (call->parts == 0)
		volume_call_finish(call);
}

/* Reads. */

/* Maybe on another worker: it touches the part, and its share of the submitter's memory. */
static void read_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct volume_part *part = visitor;

	(void)edit;
	if (entry->version == 0)
		return;
	part->found = true;
	if (entry->kind == VOLUME_KIND_HOLE && entry->value.size == 0)
		memset(part_memory(part), 0, record_size(part->call));
	else if (!entry->blob && entry->value.size == record_size(part->call))
		memcpy(part_memory(part), entry->value.data, entry->value.size);
	else
		part->wrong = true;
}

static void read_done(struct req *req);

/* False: there is no layer left to look in. */
static bool read_look(struct volume_part *part)
{
	struct volume_call *call = part->call;
	const struct volume *volume = call->volume;
	const struct volume_image *image = &volume->image;
	uint64_t index = call->first + part->record;
	struct kv_cmd cmd = { .op = KV_GET, .visit = read_visit, .visitor = part };

	while (part->look < image->look_count && index >= image->looks[part->look].limit)
		part->look++;
	if (part->look == image->look_count)
		return false;
	volume_key(part->key, volume_place(volume, index), image->looks[part->look].layer, index);
	cmd.key = bytes_of(part->key, VOLUME_KEY_SIZE);
	part->look++;
	volume->engine->stats.looks++;
	volume_part_submit(part, &cmd, read_done);
	return true;
}

static void read_done(struct req *req)
{
	struct volume_part *part = volume_part_of(req);
	struct volume_call *call = part->call;

	if (req->status != STATUS_OK)
		call_failed(call, req->status);
	else if (part->wrong)
		call_failed(call, STATUS_CORRUPT);
	else if (!part->found && read_look(part))
		return;
	else if (!part->found)
		memset(part_memory(part), 0, record_size(call));
	volume_part_free(part);
	call_advance(call, volume_read);
}

void volume_read(struct volume_call *call)
{
	while (call->next < call->cmd.block_count) {
		struct volume_part *part = volume_part_get(call);
		bool begun;

		if (part == NULL)
			return;
		part->record = call->next++;
		begun = read_look(part);
		assert(begun); /* the newest layer has no limit */
	}
}

/* Batches. */

void volume_batch_begin(struct volume_batch *batch)
{
	batch->commit = (struct kv_commit){ .writes = batch->writes };
}

void volume_batch_key(struct volume_batch *batch, unsigned partition, uint64_t layer,
                      uint64_t index)
{
	assert(batch->commit.count < VOLUME_BATCH);
	volume_key(batch->keys[batch->commit.count], partition, layer, index);
}

struct kv_write *volume_batch_add(struct volume_batch *batch, uint8_t op)
{
	uint32_t i = batch->commit.count++;

	assert(i < VOLUME_BATCH);
	batch->writes[i] = (struct kv_write){
		.op = op,
		.key = bytes_of(batch->keys[i], VOLUME_KEY_SIZE),
	};
	return &batch->writes[i];
}

/* Writes. */

static void write_one(struct volume_part *part);

/* True: it goes on with single records. */
static bool write_goes_on(struct volume_part *part, enum status status)
{
	if (part->batch != NULL) {
		if (status != STATUS_BUSY) /* the store has no memory for a batch now */
			return false;
		buf_unref(part->batch);
		part->batch = NULL;
		write_one(part);
		return true;
	}
	if (status != STATUS_OK || part->count == 1)
		return false;
	part->record++;
	part->count--;
	write_one(part);
	return true;
}

static void write_done(struct req *req)
{
	struct volume_part *part = volume_part_of(req);
	struct volume_call *call = part->call;

	if (write_goes_on(part, req->status))
		return;
	if (req->status != STATUS_OK)
		call_failed(call, req->status);
	volume_part_free(part);
	call_advance(call, volume_write);
}

/* Records that go together: of one stripe, so that they are one worker's. */
static uint32_t batch_count(const struct volume_call *call)
{
	unsigned shift = call->volume->image.record_shift;
	uint64_t stripe = 1ull << (VOLUME_STRIPE_SHIFT - shift);
	uint64_t count = stripe - ((call->first + call->next) & (stripe - 1));
	uint32_t most = VOLUME_BATCH_SIZE >> shift;

	if (count > call->cmd.block_count - call->next)
		count = call->cmd.block_count - call->next;
	if (count > most)
		count = most;
	return count < VOLUME_BATCH ? (uint32_t)count : VOLUME_BATCH;
}

/* The first record of the part. */
static void write_one(struct volume_part *part)
{
	struct volume_call *call = part->call;
	struct kv_cmd cmd = { .op = KV_PUT, .kind = VOLUME_KIND_DATA };
	uint64_t index = call->first + part->record;

	volume_key(part->key, volume_place(call->volume, index), call->volume->image.looks[0].layer,
	           index);
	cmd.key = bytes_of(part->key, VOLUME_KEY_SIZE);
	cmd.value = bytes_of(part_memory(part), record_size(call));
	volume_part_submit(part, &cmd, write_done);
}

static void write_batch(struct volume_part *part)
{
	struct volume_call *call = part->call;
	struct volume_batch *batch = (void *)part->batch->data;
	struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &batch->commit };
	uint64_t layer = call->volume->image.looks[0].layer;
	unsigned partition = volume_place(call->volume, call->first + part->record);

	volume_batch_begin(batch);
	for (uint32_t i = 0; i < part->count; i++) {
		uint64_t record = part->record + i;
		struct kv_write *write;

		volume_batch_key(batch, partition, layer, call->first + record);
		write = volume_batch_add(batch, KV_PUT);
		write->kind = VOLUME_KIND_DATA;
		write->value =
		        bytes_of(memory_at(call, record * record_size(call)), record_size(call));
	}
	volume_part_submit(part, &cmd, write_done);
}

void volume_write(struct volume_call *call)
{
	while (call->next < call->cmd.block_count) {
		struct volume_part *part = volume_part_get(call);

		if (part == NULL)
			return;
		part->record = call->next;
		part->count = batch_count(call);
		call->next += part->count;
		if (part->count > 1)
			part->batch =
			        buf_get(call->volume->engine->bufs, sizeof(struct volume_batch));
		/* Without memory for a batch one by one will do. */
		if (part->batch != NULL)
			write_batch(part);
		else
			write_one(part);
	}
}
