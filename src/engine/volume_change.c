/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change of what there is: the volumes that it is about stand still on every worker, then it is
 * written, by one COMMIT, then every worker learns of it and they go on. So no write goes to a
 * layer that is frozen, and none is missing in a snapshot that was acknowledged before it.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/volume_state.h"

struct leader_frame {
	struct frame frame;
};

/* To the kv. */

static void kv_answered(struct req *req)
{
	struct volume_leader *leader = container_of(req, struct volume_leader, req);

	req_pop(req, struct leader_frame);
	if (leader->status == STATUS_OK)
		leader->status = req->status;
	leader->next(leader);
}

void volume_leader_kv(struct volume_leader *leader, const struct kv_cmd *cmd,
                      volume_leader_fn *next)
{
	leader->next = next;
	req_push(&leader->req, struct leader_frame, kv_answered);
	kv_submit(leader->engine->kv, &leader->req, cmd);
}

/* To the workers, one after the other. */

static bool has_slot(const uint64_t *mask, uint32_t slot)
{
	return mask[slot / 64] >> slot % 64 & 1;
}

static void tell_arrived(struct req *req);

static void tell_returned(struct req *req)
{
	struct volume_leader *leader = container_of(req, struct volume_leader, tell);

	leader->next(leader);
}

/* At the worker that was told: on to the next, or home. */
static void tell_go_on(struct volume_leader *leader)
{
	struct volumes *home = leader->engine;

	leader->told++;
	if (leader->told == home->peer_count)
		worker_send(home->worker, &leader->tell, tell_returned);
	else
		worker_send(home->peers[leader->told]->worker, &leader->tell, tell_arrived);
}

static void freeze(struct volumes *engine, struct volume_leader *leader)
{
	const struct volumes_options *options = &engine->options;

	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		struct volume *volume = &engine->volumes[i];

		if (!has_slot(leader->change.mask, i))
			continue;
		volume->frozen = true;
		if (!leader->change.asks || !volume->served)
			continue;
		if (options->may_leave == NULL ||
		    options->may_leave(options->owner, &volume->image.info, &volume->blk))
			volume->served = false;
		else
			leader->status = STATUS_BUSY;
	}
}

static bool stands_still(const struct volumes *engine, const struct volume_leader *leader)
{
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		if (has_slot(leader->change.mask, i) && engine->volumes[i].running > 0)
			return false;
	}
	return true;
}

static void geometry_set(struct volume *volume)
{
	const struct volume_image *image = &volume->image;
	uint32_t ops = 1u << BLK_READ | 1u << BLK_FLUSH;

	if (!image->info.read_only)
		ops |= 1u << BLK_WRITE | 1u << BLK_DISCARD | 1u << BLK_ZEROES;
	volume->blk.ops = &volume_ops;
	volume->blk.worker = volume->engine->worker;
	volume->blk.frames_size = align_up(sizeof(struct volume_waits), 16);
	volume->blk.geometry = (struct blk_geometry){
		.block_count = image->info.size >> image->record_shift,
		.block_size = image->info.record_size,
		.align = image->info.record_size,
		.transfer_max = 1u << (VOLUME_STRIPE_SHIFT - image->record_shift),
		.ops = ops,
		.atomic_unit = image->info.record_size,
		.discard_unit = 1,
		.discard_zeroes = true,
	};
}

static void learn(struct volumes *engine, const struct volume_leader *leader)
{
	const struct volumes_options *options = &engine->options;

	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		struct volume *volume = &engine->volumes[i];

		if (!has_slot(leader->change.mask, i))
			continue;
		assert(volume->running == 0);
		volume->frozen = false;
		volume->image = leader->images[i];
		if (!volume->image.used) {
			assert(!volume->served);
			continue;
		}
		geometry_set(volume);
		volume->served = true;
		if (options->appeared != NULL)
			options->appeared(options->owner, &volume->image.info, &volume->blk);
	}
	volumes_go_on(engine);
}

static void tell_arrived(struct req *req)
{
	struct volume_leader *leader = container_of(req, struct volume_leader, tell);
	struct volumes *engine = leader->engine->peers[leader->told];

	assert(req->worker == engine->worker && engine->freezing == NULL);
	if (!leader->freezes) {
		learn(engine, leader);
	} else {
		freeze(engine, leader);
		if (!stands_still(engine, leader)) {
			engine->freezing = req;
			return;
		}
	}
	tell_go_on(leader);
}

void volumes_frozen(struct volumes *engine)
{
	struct volume_leader *leader;

	if (engine->freezing == NULL)
		return;
	leader = container_of(engine->freezing, struct volume_leader, tell);
	if (!stands_still(engine, leader))
		return;
	engine->freezing = NULL;
	tell_go_on(leader);
}

static void tell(struct volume_leader *leader, bool freezes, volume_leader_fn *next)
{
	assert(leader->engine->peer_count > 0);
	leader->freezes = freezes;
	leader->next = next;
	leader->told = 0;
	req_init(&leader->tell, leader->engine->worker);
	worker_send(leader->engine->peers[0]->worker, &leader->tell, tell_arrived);
}

void volume_tell_images(struct volume_leader *leader, volume_leader_fn *next)
{
	tell(leader, /* freezes= */ false, next);
}

/* The change. */

void volume_change_begin(struct volume_leader *leader)
{
	leader->status = STATUS_OK;
	memset(&leader->change, 0, sizeof(leader->change));
	leader->change.commit.writes = leader->change.writes;
}

static struct kv_write *add_write(struct volume_leader *leader, uint8_t op, uint8_t **value)
{
	struct volume_change *change = &leader->change;
	uint32_t i = change->commit.count++;

	assert(i < VOLUME_CHANGE_WRITES);
	change->writes[i].op = op;
	change->writes[i].key.data = change->keys[i];
	*value = change->values[i];
	return &change->writes[i];
}

void volume_change_entry(struct volume_leader *leader, const struct volume_entry *entry)
{
	struct volume_change *change = &leader->change;
	struct bytes name = bytes_of(entry->name, strlen(entry->name));
	struct volume_record record = entry->record;
	struct kv_write *write;
	uint8_t *value;

	assert(change->entry_count < VOLUME_CHANGES_MAX);
	change->entries[change->entry_count++] = *entry;
	volume_change_slot(leader, entry->record.slot);
	write = add_write(leader, entry->used ? KV_PUT : KV_DELETE, &value);
	write->key.size = volume_name_key((uint8_t *)(uintptr_t)write->key.data, name);
	if (!entry->used)
		return;
	record.origin = bytes_of(entry->origin, strlen(entry->origin));
	write->value = bytes_of(value, volume_record_encode(&record, value));
}

void volume_change_layer(struct volume_leader *leader, const struct volume_layer *layer, bool goes)
{
	struct volume_change *change = &leader->change;
	struct kv_write *write;
	uint8_t *value;

	assert(change->layer_count < VOLUME_CHANGES_MAX && layer->number != 0);
	change->layer_goes[change->layer_count] = goes;
	change->layers[change->layer_count++] = *layer;
	write = add_write(leader, goes ? KV_DELETE : KV_PUT, &value);
	volume_layer_key((uint8_t *)(uintptr_t)write->key.data, layer->number);
	write->key.size = VOLUME_PREFIX_SIZE;
	if (goes)
		return;
	volume_layer_encode(&layer->record, value);
	write->value = bytes_of(value, VOLUME_LAYER_SIZE);
}

uint64_t volume_change_number(struct volume_leader *leader)
{
	uint64_t number = leader->number_next++;
	uint8_t *value, *key;
	struct kv_write *write = add_write(leader, KV_PUT, &value);

	key = (uint8_t *)(uintptr_t)write->key.data;
	key[0] = VOLUME_SPACE_COUNTER;
	key[1] = key[2] = 0;
	write->key.size = 3;
	memcpy(value, &leader->number_next, sizeof(leader->number_next));
	write->value = bytes_of(value, sizeof(leader->number_next));
	return number;
}

void volume_change_slot(struct volume_leader *leader, uint32_t slot)
{
	assert(slot < VOLUMES_MAX);
	leader->change.mask[slot / 64] |= 1ull << slot % 64;
}

void volume_change_readers(struct volume_leader *leader, uint64_t layer)
{
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		const struct volume_image *image = &leader->images[i];

		for (unsigned j = 0; image->used && j < image->look_count; j++) {
			if (image->looks[j].layer == layer)
				volume_change_slot(leader, i);
		}
	}
}

static void apply(struct volume_leader *leader)
{
	struct volume_change *change = &leader->change;

	for (unsigned i = 0; i < change->entry_count; i++)
		leader->entries[change->entries[i].record.slot] = change->entries[i];
	for (unsigned i = 0; i < change->layer_count; i++) {
		struct volume_layer *layer = volume_layer_find(leader, change->layers[i].number);

		if (layer == NULL)
			layer = volume_layer_find(leader, 0);
		assert(layer != NULL); /* there was room before it was begun */
		*layer = change->layers[i];
		if (change->layer_goes[i])
			layer->number = 0;
	}
}

static void change_told(struct volume_leader *leader)
{
	leader->changed(leader);
}

static void change_written(struct volume_leader *leader)
{
	if (leader->status == STATUS_OK)
		apply(leader);
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		if (has_slot(leader->change.mask, i))
			volume_image_make(leader, i);
	}
	volume_tell_images(leader, change_told);
}

static void change_frozen(struct volume_leader *leader)
{
	const struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &leader->change.commit };

	if (leader->status != STATUS_OK || leader->change.commit.count == 0)
		change_written(leader);
	else
		volume_leader_kv(leader, &cmd, change_written);
}

void volume_change_make(struct volume_leader *leader, volume_leader_fn *changed)
{
	leader->changed = changed;
	tell(leader, /* freezes= */ true, change_frozen);
}
