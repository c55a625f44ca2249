/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/volume_format.h"

#include "base/assert.h"
#include "base/hash.h"

enum { FORMAT = 1 };

static void put_number(uint8_t *out, uint64_t number)
{
	memcpy(out, &number, sizeof(number));
}

static uint64_t get_number(const uint8_t *data)
{
	uint64_t number;

	memcpy(&number, data, sizeof(number));
	return number;
}

unsigned volume_partition(uint64_t family, uint64_t index, unsigned record_shift,
                          unsigned partitions)
{
	uint64_t stripe = index >> (VOLUME_STRIPE_SHIFT - record_shift);
	uint64_t base = hash64(bytes_of(&family, sizeof(family)));

	assert(record_shift <= VOLUME_STRIPE_SHIFT && partitions > 0);
	return (unsigned)((base + stripe) % partitions);
}

static void key_begin(uint8_t *out, enum volume_space space, unsigned partition)
{
	out[0] = (uint8_t)space;
	out[1] = (uint8_t)(partition >> 8);
	out[2] = (uint8_t)partition;
}

void volume_key(uint8_t *out, unsigned partition, uint64_t layer, uint64_t index)
{
	key_begin(out, VOLUME_SPACE_DATA, partition);
	put_number(out + 3, __builtin_bswap64(layer));
	put_number(out + VOLUME_PREFIX_SIZE, __builtin_bswap64(index));
}

uint64_t volume_key_index(struct bytes key)
{
	assert(key.size == VOLUME_KEY_SIZE);
	return __builtin_bswap64(get_number(key.data + VOLUME_PREFIX_SIZE));
}

void volume_layer_key(uint8_t *out, uint64_t layer)
{
	key_begin(out, VOLUME_SPACE_LAYERS, 0);
	put_number(out + 3, __builtin_bswap64(layer));
}

size_t volume_name_key(uint8_t *out, struct bytes name)
{
	assert(name.size <= VOLUME_NAME_MAX);
	key_begin(out, VOLUME_SPACE_NAMES, 0);
	if (name.size > 0)
		memcpy(out + 3, name.data, name.size);
	return 3 + name.size;
}

bool volume_name_is_sound(struct bytes name)
{
	if (name.size == 0 || name.size > VOLUME_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.size; i++) {
		uint8_t c = name.data[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!letter && !(c >= '0' && c <= '9') && (c == '\0' || !strchr("._-@+:", c)))
			return false;
	}
	return true;
}

size_t volume_record_encode(const struct volume_record *record, uint8_t *out)
{
	assert(record->origin.size <= VOLUME_NAME_MAX);
	memset(out, 0, VOLUME_RECORD_SIZE);
	out[0] = FORMAT;
	out[1] = record->flags;
	out[2] = record->record_shift;
	out[4] = (uint8_t)record->slot;
	out[5] = (uint8_t)(record->slot >> 8);
	put_number(out + 8, record->size);
	put_number(out + 16, record->created_ms);
	put_number(out + 24, record->layer);
	memcpy(out + 32, record->uuid, sizeof(record->uuid));
	out[48] = (uint8_t)record->origin.size;
	if (record->origin.size > 0)
		memcpy(out + 49, record->origin.data, record->origin.size);
	return 49 + record->origin.size;
}

enum status volume_record_decode(struct bytes value, struct volume_record *record)
{
	const uint8_t *data = value.data;

	if (value.size < 49 || data[0] != FORMAT || value.size != 49u + data[48] ||
	    data[48] > VOLUME_NAME_MAX)
		return STATUS_CORRUPT;
	*record = (struct volume_record){
		.flags = data[1],
		.record_shift = data[2],
		.slot = (uint16_t)(data[4] | data[5] << 8),
		.size = get_number(data + 8),
		.created_ms = get_number(data + 16),
		.layer = get_number(data + 24),
		.origin = bytes_of(data + 49, data[48]),
	};
	memcpy(record->uuid, data + 32, sizeof(record->uuid));
	if (record->record_shift < VOLUME_RECORD_SHIFT_MIN ||
	    record->record_shift > VOLUME_RECORD_SHIFT_MAX || record->slot >= VOLUMES_MAX ||
	    record->layer == 0 || record->size == 0 || record->size > VOLUME_SIZE_MAX ||
	    (record->size & ((1ull << record->record_shift) - 1)) != 0)
		return STATUS_CORRUPT;
	return STATUS_OK;
}

void volume_layer_encode(const struct volume_layer_record *layer, uint8_t *out)
{
	memset(out, 0, VOLUME_LAYER_SIZE);
	out[0] = FORMAT;
	out[1] = layer->flags;
	put_number(out + 8, layer->parent);
	put_number(out + 16, layer->family);
	put_number(out + 24, layer->visible);
}

enum status volume_layer_decode(struct bytes value, struct volume_layer_record *layer)
{
	const uint8_t *data = value.data;

	if (value.size != VOLUME_LAYER_SIZE || data[0] != FORMAT)
		return STATUS_CORRUPT;
	*layer = (struct volume_layer_record){
		.flags = data[1],
		.parent = get_number(data + 8),
		.family = get_number(data + 16),
		.visible = get_number(data + 24),
	};
	return layer->family == 0 ? STATUS_CORRUPT : STATUS_OK;
}
