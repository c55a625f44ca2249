/* SPDX-License-Identifier: Apache-2.0 */
/* What the leader knows: all names and all layers, as the store has them. */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/volume_state.h"

void volume_leader_init(struct volume_leader *leader, struct volumes *engine)
{
	leader->engine = engine;
	leader->number_next = 1;
	prng_init(&leader->prng, engine->options.seed);
	STAILQ_INIT(&leader->queue);
	req_init(&leader->req, engine->worker);
	req_init(&leader->collector.req, engine->worker);
}

struct volume_entry *volume_entry_find(struct volume_leader *leader, struct bytes name)
{
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		struct volume_entry *entry = &leader->entries[i];

		if (entry->used && bytes_equal(name, bytes_of(entry->name, strlen(entry->name))))
			return entry;
	}
	return NULL;
}

struct volume_layer *volume_layer_find(struct volume_leader *leader, uint64_t number)
{
	for (uint32_t i = 0; i < VOLUME_LAYERS_MAX; i++) {
		if (leader->layers[i].number == number)
			return &leader->layers[i];
	}
	return NULL;
}

unsigned volume_layer_depth(struct volume_leader *leader, uint64_t number)
{
	unsigned depth = 0;

	while (number != 0) {
		depth++;
		assert(depth <= VOLUME_DEPTH_MAX);
		number = volume_layer_find(leader, number)->record.parent;
	}
	return depth;
}

struct volume_entry *volume_layer_entry(struct volume_leader *leader, uint64_t number)
{
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		if (leader->entries[i].used && leader->entries[i].record.layer == number)
			return &leader->entries[i];
	}
	return NULL;
}

unsigned volume_layer_children(struct volume_leader *leader, uint64_t number, uint64_t *child)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < VOLUME_LAYERS_MAX; i++) {
		const struct volume_layer *layer = &leader->layers[i];

		if (layer->number == 0 || layer->record.parent != number)
			continue;
		*child = layer->number;
		count++;
	}
	return count;
}

static void image_looks(struct volume_leader *leader, struct volume_image *image, uint64_t number)
{
	uint64_t limit = UINT64_MAX;

	while (number != 0) {
		const struct volume_layer *layer = volume_layer_find(leader, number);
		unsigned i = image->look_count;

		assert(layer != NULL && i + 2 <= VOLUME_LOOKS_MAX);
		image->looks[image->look_count++] = (struct volume_look){ number, limit };
		if (layer->merging && i > 0)
			image->looks[image->look_count++] = image->looks[i - 1];
		image->family = layer->record.family;
		image->info.depth++;
		if (layer->record.visible < limit)
			limit = layer->record.visible;
		number = layer->record.parent;
	}
}

void volume_image_make(struct volume_leader *leader, uint32_t slot)
{
	const struct volume_entry *entry = &leader->entries[slot];
	const struct volume_record *record = &entry->record;
	struct volume_image *image = &leader->images[slot];

	*image = (struct volume_image){ .used = entry->used };
	if (!entry->used)
		return;
	assert(record->slot == slot);
	image->record_shift = record->record_shift;
	image->info = (struct volume_info){
		.slot = slot,
		.record_size = 1u << record->record_shift,
		.read_only = record->flags & VOLUME_READ_ONLY,
		.size = record->size,
		.created_ms = record->created_ms,
	};
	memcpy(image->info.name, entry->name, sizeof(entry->name));
	memcpy(image->info.origin, entry->origin, sizeof(entry->origin));
	memcpy(image->info.uuid, record->uuid, sizeof(record->uuid));
	image_looks(leader, image, record->layer);
}

/* Loading. Visits run where the keys are, while the leader waits. */

static void load_name(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct volume_leader *leader = visitor;
	struct bytes name = bytes_of(entry->key.data + 3, entry->key.size - 3);
	struct volume_record record;
	struct volume_entry *to;

	(void)edit;
	if (!volume_name_is_sound(name) ||
	    volume_record_decode(entry->value, &record) != STATUS_OK ||
	    leader->entries[record.slot].used) {
		leader->status = STATUS_CORRUPT;
		return;
	}
	to = &leader->entries[record.slot];
	*to = (struct volume_entry){ .used = true, .record = record };
	memcpy(to->name, name.data, name.size);
	memcpy(to->origin, record.origin.data, record.origin.size);
	to->record.origin = bytes_of(NULL, 0);
}

static void load_layer(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct volume_leader *leader = visitor;
	struct volume_layer *to = volume_layer_find(leader, 0);
	struct volume_layer_record record;
	uint64_t number;

	(void)edit;
	if (entry->key.size != VOLUME_PREFIX_SIZE || to == NULL ||
	    volume_layer_decode(entry->value, &record) != STATUS_OK) {
		leader->status = STATUS_CORRUPT;
		return;
	}
	memcpy(&number, entry->key.data + 3, sizeof(number));
	*to = (struct volume_layer){ .number = __builtin_bswap64(number), .record = record };
}

static void load_counter(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct volume_leader *leader = visitor;

	(void)edit;
	if (entry->version == 0)
		return;
	if (entry->value.size == sizeof(leader->number_next))
		memcpy(&leader->number_next, entry->value.data, sizeof(leader->number_next));
	else
		leader->status = STATUS_CORRUPT;
}

static enum status tables_check(struct volume_leader *leader)
{
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		uint64_t number = leader->entries[i].record.layer;

		for (unsigned depth = 0; leader->entries[i].used && number != 0; depth++) {
			const struct volume_layer *layer = volume_layer_find(leader, number);

			if (layer == NULL || depth == VOLUME_DEPTH_MAX ||
			    number >= leader->number_next)
				return STATUS_CORRUPT;
			number = layer->record.parent;
		}
	}
	return STATUS_OK;
}

static void load_done(struct volume_leader *leader)
{
	if (leader->status == STATUS_OK)
		leader->status = tables_check(leader);
	for (uint32_t i = 0; i < VOLUMES_MAX && leader->status == STATUS_OK; i++)
		volume_image_make(leader, i);
	leader->changed(leader);
}

static void load_next(struct volume_leader *leader)
{
	uint8_t *key = leader->keys[0];
	struct kv_cmd cmd = { .op = KV_GET, .visit = load_counter, .visitor = leader };

	if (leader->status != STATUS_OK) {
		leader->changed(leader);
		return;
	}
	key[0] = VOLUME_SPACE_COUNTER;
	key[1] = key[2] = 0;
	cmd.key = bytes_of(key, 3);
	volume_leader_kv(leader, &cmd, load_done);
}

static void load_space(struct volume_leader *leader, enum volume_space space, kv_visit_fn *visit,
                       volume_leader_fn *next)
{
	uint8_t *from = leader->keys[0], *end = leader->keys[1];
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_SCAN_PARTITION,
		.limit = UINT32_MAX,
		.visit = visit,
		.visitor = leader,
	};

	from[0] = end[0] = (uint8_t)space;
	from[1] = from[2] = end[1] = 0;
	end[2] = 1;
	cmd.key = bytes_of(from, 3);
	cmd.end = bytes_of(end, 3);
	volume_leader_kv(leader, &cmd, next);
}

static void load_layers(struct volume_leader *leader)
{
	if (leader->status != STATUS_OK)
		leader->changed(leader);
	else
		load_space(leader, VOLUME_SPACE_LAYERS, load_layer, load_next);
}

void volume_load(struct volume_leader *leader, volume_leader_fn *next)
{
	leader->status = STATUS_OK;
	leader->changed = next;
	load_space(leader, VOLUME_SPACE_NAMES, load_name, load_layers);
}
