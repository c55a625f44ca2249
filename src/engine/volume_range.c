/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands over ranges: what is there is looked up, a few keys at a time. Blocks that are dropped
 * are removed from the only layer of a volume; where others are below, holes are put in front.
 */
#include "base/assert.h"
#include "engine/volume_state.h"

enum { MAP_STRIPES = 64 }; /* at a time: what is behind them is told of when it is asked for */

/* In a call's buffer. */
struct range_work {
	struct volume_found found;
	struct volume_batch batch;
	uint8_t keys[2 * VOLUME_KEY_SIZE];
	/* MAP: of a stripe, bit by record. */
	uint64_t known[VOLUME_STRIPE_RECORDS / 64], data[VOLUME_STRIPE_RECORDS / 64];
};
_Static_assert(sizeof(struct range_work) <= 16 << 10, "the second class of buffers");

static struct range_work *work_of(const struct volume_call *call)
{
	return (struct range_work *)(void *)call->work->data;
}

static void look_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct volume_found *found = visitor;

	(void)edit;
	assert(found->count < found->limit);
	if (entry->key.size != VOLUME_KEY_SIZE)
		return; /* no record of ours */
	found->index[found->count] = volume_key_index(entry->key);
	found->kind[found->count++] = entry->kind;
}

void volume_look_cmd(struct kv_cmd *cmd, uint8_t keys[2 * VOLUME_KEY_SIZE],
                     struct volume_found *found)
{
	found->count = 0;
	found->limit = VOLUME_BATCH;
	*cmd = (struct kv_cmd){
		.op = KV_SCAN,
		.flags = KV_KEYS_ONLY | KV_SCAN_PARTITION,
		.partition = (uint16_t)(keys[1] << 8 | keys[2]),
		.limit = VOLUME_BATCH,
		.key = bytes_of(keys, VOLUME_KEY_SIZE),
		.end = bytes_of(keys + VOLUME_KEY_SIZE, VOLUME_KEY_SIZE),
		.visit = look_visit,
		.visitor = found,
	};
}

static void range_fail(struct volume_call *call, enum status status)
{
	call->status = status;
	volume_call_finish(call);
}

/* False: it has ended. */
static bool work_begin(struct volume_call *call)
{
	if (call->work == NULL)
		call->work = buf_get(call->volume->engine->bufs, sizeof(struct range_work));
	if (call->work == NULL)
		range_fail(call, STATUS_BUSY);
	return call->work != NULL;
}

/* Looks at [from, end) in the partition, in the layer of call->look. False: no part is left. */
static bool look(struct volume_call *call, req_fn *done)
{
	struct range_work *work = work_of(call);
	struct volume_part *part = volume_part_get(call);
	uint64_t layer = call->volume->image.looks[call->look].layer;
	struct kv_cmd cmd;

	if (part == NULL)
		return false;
	volume_key(work->keys, call->partition, layer, call->from);
	volume_key(work->keys + VOLUME_KEY_SIZE, call->partition, layer, call->end);
	volume_look_cmd(&cmd, work->keys, &work->found);
	volume_part_submit(part, &cmd, done);
	return true;
}

/* Dropping. */

static uint64_t records_of_stripe(const struct volume_call *call)
{
	return 1ull << (VOLUME_STRIPE_SHIFT - call->volume->image.record_shift);
}

/*
 * Places of the range: its stripes, or, when they are more than there are partitions, all of those.
 * False: there are no more.
 */
static bool range_place(struct volume_call *call)
{
	uint64_t stripe = records_of_stripe(call), first = call->first;
	uint64_t end = first + call->cmd.block_count;
	uint64_t stripes = (end - 1) / stripe - first / stripe + 1;
	unsigned partitions = call->volume->engine->kv->traits.partitions;

	if (stripes > partitions) {
		call->from = first;
		call->end = end;
		call->partition = call->place;
		return call->place < partitions;
	}
	if (call->place >= stripes)
		return false;
	call->from = (first / stripe + call->place) * stripe;
	call->end = call->from + stripe;
	call->partition = volume_place(call->volume, call->from);
	if (call->from < first)
		call->from = first;
	if (call->end > end)
		call->end = end;
	return true;
}

static void range_go_on(struct volume_call *call)
{
	const struct volume_found *found = &work_of(call)->found;

	if (found->count == found->limit) {
		call->from = found->index[found->count - 1] + 1;
		if (call->from < call->end) {
			volume_range(call);
			return;
		}
	}
	call->next = 0; /* the next place, or the next layer there */
	if (++call->look == call->volume->image.look_count) {
		call->look = 0;
		call->place++;
	}
	volume_range(call);
}

static void range_dropped(struct req *req)
{
	struct volume_part *part = volume_part_of(req);
	struct volume_call *call = part->call;
	enum status status = req->status;

	volume_part_free(part);
	if (status != STATUS_OK)
		range_fail(call, status);
	else
		range_go_on(call);
}

/* What was found is dropped. False: there is nothing to drop. */
static bool range_drop(struct volume_part *part)
{
	struct volume_call *call = part->call;
	struct range_work *work = work_of(call);
	const struct volume_image *image = &call->volume->image;
	struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &work->batch.commit };
	bool alone = image->look_count == 1;

	volume_batch_begin(&work->batch);
	for (uint32_t i = 0; i < work->found.count; i++) {
		struct kv_write *write;

		if (!alone && work->found.kind[i] == VOLUME_KIND_HOLE)
			continue; /* in front of all that is below */
		volume_batch_key(&work->batch, call->partition, image->looks[0].layer,
		                 work->found.index[i]);
		write = volume_batch_add(&work->batch, alone ? KV_DELETE : KV_PUT);
		write->kind = VOLUME_KIND_HOLE;
	}
	if (work->batch.commit.count == 0)
		return false;
	volume_part_submit(part, &cmd, range_dropped);
	return true;
}

static void range_found(struct req *req)
{
	struct volume_part *part = volume_part_of(req);
	struct volume_call *call = part->call;
	enum status status = req->status;

	if (status == STATUS_OK && range_drop(part))
		return;
	volume_part_free(part);
	if (status != STATUS_OK)
		range_fail(call, status);
	else
		range_go_on(call);
}

void volume_range(struct volume_call *call)
{
	if (!work_begin(call))
		return;
	/* call->next: 1: [from, end) is what is left of a place. */
	if (call->next == 0 && !range_place(call)) {
		volume_call_finish(call);
		return;
	}
	call->next = 1;
	look(call, range_found);
}

/* What is there. */

static void map_add(struct volume_call *call, uint64_t count, bool data)
{
	struct blk_extent *extents = call->map.extents;

	if (call->result > 0 && extents[call->result - 1].hole != data) {
		extents[call->result - 1].block_count += count;
		return;
	}
	if (call->result == call->map.extent_max) {
		call->next = UINT32_MAX; /* there is no room for more */
		return;
	}
	extents[call->result++] =
	        (struct blk_extent){ .block_count = count, .hole = !data, .zero = !data };
}

static bool bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

/* All layers were looked at: what was found of this stripe is told. */
static void map_tell(struct volume_call *call)
{
	const struct range_work *work = work_of(call);
	uint64_t stripe = records_of_stripe(call), end = call->first + call->map.block_count;
	uint64_t i = call->first / stripe * stripe + (uint64_t)call->place * stripe,
	         until = i + stripe;

	if (i < call->first)
		i = call->first;
	if (until > end)
		until = end;
	while (i < until && call->next != UINT32_MAX) {
		uint64_t first = i;
		bool data = bit(work->data, i % stripe);

		while (i < until && bit(work->data, i % stripe) == data)
			i++;
		map_add(call, i - first, data);
	}
	call->place++;
	if (until == end || call->place == MAP_STRIPES)
		call->next = UINT32_MAX;
}

static void map_note(struct volume_call *call)
{
	struct range_work *work = work_of(call);
	uint64_t stripe = records_of_stripe(call);
	const struct volume_look *at = &call->volume->image.looks[call->look];

	for (uint32_t i = 0; i < work->found.count; i++) {
		uint64_t index = work->found.index[i], b = index % stripe;

		if (index >= at->limit || bit(work->known, b))
			continue;
		work->known[b / 64] |= 1ull << b % 64;
		if (work->found.kind[i] != VOLUME_KIND_HOLE)
			work->data[b / 64] |= 1ull << b % 64;
	}
}

static void map_found(struct req *req)
{
	struct volume_part *part = volume_part_of(req);
	struct volume_call *call = part->call;
	const struct volume_found *found = &work_of(call)->found;
	enum status status = req->status;

	volume_part_free(part);
	if (status != STATUS_OK) {
		range_fail(call, status);
		return;
	}
	map_note(call);
	if (found->count == found->limit && found->index[found->count - 1] + 1 < call->end) {
		call->from = found->index[found->count - 1] + 1;
		call->next = 1;
	} else {
		call->next = 0;
		call->look++;
	}
	if (call->look == call->volume->image.look_count) {
		call->look = 0;
		map_tell(call);
	}
	if (call->next == UINT32_MAX)
		volume_call_finish(call);
	else
		volume_map(call);
}

void volume_map(struct volume_call *call)
{
	uint64_t stripe = records_of_stripe(call);
	struct range_work *work;

	if (!work_begin(call))
		return;
	work = work_of(call);
	if (call->next == 0) {
		call->from = (call->first / stripe + call->place) * stripe;
		call->end = call->from + stripe;
		call->partition = volume_place(call->volume, call->from);
	}
	if (call->next == 0 && call->look == 0) {
		memset(work->known, 0, sizeof(work->known));
		memset(work->data, 0, sizeof(work->data));
	}
	call->next = 1;
	look(call, map_found);
}
