/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers that nobody needs: what no name and no other layer stands on is removed; what no name and
 * one other layer stands on becomes one with that; records behind the end of a volume that was
 * shrunk are removed. One thing at a time, in small commits, beside all that clients do.
 *
 * Two layers become one by records that move to the upper one, unless that has its own, each by a
 * commit that takes it out of the lower. Readers know: see struct volume_image.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/volume_state.h"

enum { MOVE_MAX = VOLUME_BATCH / 2 }; /* records at a time: a write to each layer */

struct collect_frame {
	struct frame frame;
};

static void look_for_work(struct volume_leader *leader);
static void move_look(struct volume_leader *leader);
static void tail_look(struct volume_leader *leader);
static void clear_look(struct volume_leader *leader);

static unsigned partitions(const struct volume_leader *leader)
{
	return leader->engine->kv->traits.partitions;
}

static void answered(struct req *req)
{
	struct volume_leader *leader = container_of(req, struct volume_leader, collector.req);

	req_pop(req, struct collect_frame);
	leader->collector.next(leader);
}

static void submit(struct volume_leader *leader, const struct kv_cmd *cmd, volume_leader_fn *next)
{
	struct volume_collector *c = &leader->collector;

	c->next = next;
	req_push(&c->req, struct collect_frame, answered);
	kv_submit(leader->engine->kv, &c->req, cmd);
}

static void fire(struct timer *timer)
{
	struct volume_collector *c = container_of(timer, struct volume_collector, timer);

	volume_collect(container_of(c, struct volume_leader, collector));
}

static void drop_bufs(struct volume_collector *c)
{
	if (c->batch != NULL)
		buf_unref(c->batch);
	if (c->data != NULL)
		buf_unref(c->data);
	c->batch = c->data = NULL;
}

/* It did not work, or there is no memory: later. */
static void give_up(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	struct worker *worker = leader->engine->worker;

	drop_bufs(c);
	c->running = false;
	if (!leader->stopping)
		timer_arm(&worker->timers, &c->timer,
		          worker->now_ns + leader->engine->options.collect_wait_ns, fire);
}

/* True: what was asked has failed, or it is time to stop. */
static bool failed(struct volume_leader *leader)
{
	if (leader->collector.req.status == STATUS_OK && !leader->stopping)
		return false;
	give_up(leader);
	return true;
}

/* A change that runs when no command does; then `next`. */
static void change(struct volume_leader *leader, volume_leader_fn *make, volume_leader_fn *next)
{
	leader->collector.next = next;
	leader->collector.change = make;
	volume_leader_idle(leader);
}

static void look_at(struct volume_leader *leader, uint64_t layer, struct volume_found *found,
                    volume_leader_fn *next)
{
	struct volume_collector *c = &leader->collector;
	struct kv_cmd cmd;

	volume_key(c->keys, c->partition, layer, c->from);
	volume_key(c->keys + VOLUME_KEY_SIZE, c->partition, layer, c->end);
	volume_look_cmd(&cmd, c->keys, found);
	submit(leader, &cmd, next);
}

static void ended(struct volume_leader *leader)
{
	drop_bufs(&leader->collector);
	if (leader->status != STATUS_OK || leader->stopping)
		give_up(leader);
	else
		look_for_work(leader);
}

/* A layer goes. */

static void clear_change(struct volume_leader *leader)
{
	const struct volume_layer *layer = volume_layer_find(leader, leader->collector.layer);

	volume_change_layer(leader, layer, /* goes= */ true);
	leader->engine->stats.cleared++;
}

static void cleared(struct volume_leader *leader)
{
	if (failed(leader))
		return;
	leader->collector.partition++;
	clear_look(leader);
}

static void clear_found(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	const struct kv_cmd cmd = { .op = KV_CLEAR, .key = bytes_of(c->keys, VOLUME_PREFIX_SIZE) };

	if (failed(leader))
		return;
	if (c->found.count > 0) {
		submit(leader, &cmd, cleared);
		return;
	}
	c->partition++;
	clear_look(leader);
}

static void clear_look(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	c->from = 0;
	c->end = UINT64_MAX;
	if (c->partition == partitions(leader))
		change(leader, clear_change, ended);
	else
		look_at(leader, c->layer, &c->found, clear_found);
}

/* Records behind the end go. */

static void tail_change(struct volume_leader *leader)
{
	struct volume_layer *at = volume_layer_find(leader, leader->collector.layer);
	struct volume_layer layer = *at;

	layer.record.flags &= (uint8_t)~VOLUME_LAYER_TAIL;
	volume_change_layer(leader, &layer, /* goes= */ false);
}

static void tail_dropped(struct volume_leader *leader)
{
	if (!failed(leader))
		tail_look(leader);
}

static void tail_found(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	struct volume_batch *batch = (void *)c->batch->data;
	const struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &batch->commit };

	if (failed(leader))
		return;
	if (c->found.count == 0) {
		c->partition++;
		tail_look(leader);
		return;
	}
	volume_batch_begin(batch);
	for (uint32_t i = 0; i < c->found.count; i++) {
		volume_batch_key(batch, c->partition, c->layer, c->found.index[i]);
		volume_batch_add(batch, KV_DELETE);
	}
	submit(leader, &cmd, tail_dropped);
}

/* The end is where it is now: it may have been moved up or down meanwhile. */
static void tail_look(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	const struct volume_entry *entry = volume_layer_entry(leader, c->layer);

	if (entry == NULL) { /* it is a case for the others now */
		ended(leader);
		return;
	}
	c->from = entry->record.size >> entry->record.record_shift;
	c->end = UINT64_MAX;
	if (c->partition == partitions(leader))
		change(leader, tail_change, ended);
	else
		look_at(leader, c->layer, &c->found, tail_found);
}

/* Two become one. */

static void merge_change(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	const struct volume_layer *lower = volume_layer_find(leader, c->layer);
	struct volume_layer upper = *volume_layer_find(leader, c->child);

	volume_change_readers(leader, c->layer);
	upper.record.parent = lower->record.parent;
	if (upper.record.visible > lower->record.visible)
		upper.record.visible = lower->record.visible;
	volume_change_layer(leader, &upper, /* goes= */ false);
	volume_change_layer(leader, lower, /* goes= */ true);
	leader->engine->stats.merged++;
}

static void moved(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	/* Somebody has written one of them: they are looked at again. */
	if (c->req.status == STATUS_CONFLICT)
		c->req.status = STATUS_OK;
	else if (c->req.status == STATUS_OK)
		leader->engine->stats.moved += c->count;
	if (!failed(leader))
		move_look(leader);
}

static bool is_there(const struct volume_found *found, uint64_t index)
{
	for (uint32_t i = 0; i < found->count; i++) {
		if (found->index[i] == index)
			return true;
	}
	return false;
}

/* Whether the upper one wants record i of those found. */
static bool is_wanted(struct volume_leader *leader, uint32_t i)
{
	struct volume_collector *c = &leader->collector;
	const struct volume_layer *upper = volume_layer_find(leader, c->child);
	const struct volume_layer *lower = volume_layer_find(leader, c->layer);

	if (c->found.index[i] >= upper->record.visible || is_there(&c->there, c->found.index[i]))
		return false;
	return c->found.kind[i] != VOLUME_KIND_HOLE || lower->record.parent != 0;
}

static void move_commit(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	struct volume_batch *batch = (void *)c->batch->data;
	const struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &batch->commit };

	volume_batch_begin(batch);
	for (uint32_t i = 0; i < c->count; i++) {
		if (is_wanted(leader, i)) {
			struct kv_write *write;

			volume_batch_key(batch, c->partition, c->child, c->found.index[i]);
			write = volume_batch_add(batch, KV_PUT);
			write->flags = KV_IF_VERSION; /* absent */
			write->kind = c->found.kind[i];
			if (write->kind != VOLUME_KIND_HOLE)
				write->value = bytes_of(c->data->data + ((size_t)i << c->shift),
				                        1ul << c->shift);
		}
		volume_batch_key(batch, c->partition, c->layer, c->found.index[i]);
		volume_batch_add(batch, KV_DELETE);
	}
	submit(leader, &cmd, moved);
}

static void move_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct volume_collector *c = visitor;

	(void)edit;
	c->wrong = entry->version == 0 || entry->value.size != 1ul << c->shift;
	if (!c->wrong)
		memcpy(c->data->data + ((size_t)c->taken << c->shift), entry->value.data,
		       entry->value.size);
}

static void move_taken(struct volume_leader *leader);

static void move_read(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	struct kv_cmd cmd = { .op = KV_GET, .visit = move_visit, .visitor = c };

	while (c->taken < c->count &&
	       (!is_wanted(leader, c->taken) || c->found.kind[c->taken] == VOLUME_KIND_HOLE))
		c->taken++;
	if (c->taken == c->count) {
		move_commit(leader);
		return;
	}
	volume_key(c->keys, c->partition, c->layer, c->found.index[c->taken]);
	cmd.key = bytes_of(c->keys, VOLUME_KEY_SIZE);
	submit(leader, &cmd, move_taken);
}

static void move_taken(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	if (failed(leader))
		return;
	if (c->wrong) { /* damaged: it stays where it is, and so does its layer */
		give_up(leader);
		return;
	}
	c->taken++;
	move_read(leader);
}

/* The upper one was looked at, where the records of the lower are. */
static void move_there(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	if (failed(leader))
		return;
	/* It may have more of them in between than a look shows. */
	while (c->there.count == c->there.limit &&
	       c->found.index[c->count - 1] > c->there.index[c->there.count - 1])
		c->count--;
	assert(c->count > 0);
	c->taken = 0;
	move_read(leader);
}

static void move_found(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	uint32_t most = VOLUME_BATCH_SIZE >> c->shift;

	if (failed(leader))
		return;
	if (c->found.count == 0) {
		c->partition++;
		move_look(leader);
		return;
	}
	c->count = c->found.count < MOVE_MAX ? c->found.count : MOVE_MAX;
	if (c->count > most)
		c->count = most;
	c->from = c->found.index[0];
	c->end = c->found.index[c->count - 1] + 1;
	look_at(leader, c->child, &c->there, move_there);
}

static void move_look(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	c->from = 0;
	c->end = UINT64_MAX;
	if (c->partition == partitions(leader))
		change(leader, merge_change, ended);
	else
		look_at(leader, c->layer, &c->found, move_found);
}

/* From now on readers look in the upper layer again when the lower one has not got it. */
static void merge_begin(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	volume_layer_find(leader, c->layer)->merging = true;
	volume_change_readers(leader, c->layer);
}

static void merge_told(struct volume_leader *leader)
{
	if (leader->stopping)
		give_up(leader);
	else
		move_look(leader);
}

/* What there is to do. */

static bool take_bufs(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	c->batch = buf_get(leader->engine->bufs, sizeof(struct volume_batch));
	c->data = buf_get(leader->engine->bufs, VOLUME_BATCH_SIZE);
	return c->batch != NULL && c->data != NULL;
}

static const struct volume_image *reader_of(struct volume_leader *leader, uint64_t layer)
{
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		const struct volume_image *image = &leader->images[i];

		for (unsigned j = 0; image->used && j < image->look_count; j++) {
			if (image->looks[j].layer == layer)
				return image;
		}
	}
	return NULL;
}

enum work { WORK_NONE, WORK_CLEAR, WORK_MERGE, WORK_TAIL };

static enum work work_on(struct volume_leader *leader, const struct volume_layer *layer)
{
	struct volume_collector *c = &leader->collector;
	bool named = volume_layer_entry(leader, layer->number) != NULL;
	const struct volume_image *reader;
	unsigned children;

	if (layer->number == 0)
		return WORK_NONE;
	c->layer = layer->number;
	children = volume_layer_children(leader, layer->number, &c->child);
	if (!named && children == 0)
		return WORK_CLEAR;
	if (named)
		return layer->record.flags & VOLUME_LAYER_TAIL ? WORK_TAIL : WORK_NONE;
	reader = reader_of(leader, layer->number);
	if (children != 1 || reader == NULL)
		return WORK_NONE;
	c->shift = reader->record_shift;
	return WORK_MERGE;
}

static void look_for_work(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	enum work work = WORK_NONE;

	for (uint32_t i = 0; i < VOLUME_LAYERS_MAX && work == WORK_NONE; i++)
		work = work_on(leader, &leader->layers[i]);
	c->partition = 0;
	if (work != WORK_NONE && work != WORK_CLEAR && !take_bufs(leader)) {
		give_up(leader);
		return;
	}
	switch (work) {
	case WORK_NONE:
		c->running = false;
		break;
	case WORK_CLEAR:
		clear_look(leader);
		break;
	case WORK_MERGE:
		change(leader, merge_begin, merge_told);
		break;
	case WORK_TAIL:
		tail_look(leader);
		break;
	}
}

void volume_collect(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;

	if (c->running || leader->stopping)
		return;
	timer_cancel(&leader->engine->worker->timers, &c->timer);
	c->running = true;
	leader->status = STATUS_OK;
	look_for_work(leader);
}

void volume_collect_stop(struct volume_leader *leader)
{
	leader->stopping = true;
	timer_cancel(&leader->engine->worker->timers, &leader->collector.timer);
}
