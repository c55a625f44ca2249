/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values of volumes, as docs/formats.md has them. Pure. */
#ifndef ENGINE_VOLUME_FORMAT_H
#define ENGINE_VOLUME_FORMAT_H

#include "base/status.h"
#include "engine/volume.h"

/* The first byte of a key. */
enum volume_space {
	VOLUME_SPACE_DATA = KV_SPACE_VOLUMES, /* records: blocks of a layer */
	VOLUME_SPACE_NAMES,
	VOLUME_SPACE_LAYERS,
	VOLUME_SPACE_COUNTER, /* of all numbers that are given out */
};

enum {
	VOLUME_PREFIX_SIZE = 1 + 2 + 8,                /* space, partition, layer */
	VOLUME_KEY_SIZE = VOLUME_PREFIX_SIZE + 8,      /* and the index of the record */
	VOLUME_NAME_KEY_MAX = 3 + VOLUME_NAME_MAX + 1, /* one more: the first key behind one */
	VOLUME_RECORD_SIZE = 49 + VOLUME_NAME_MAX,
	VOLUME_LAYER_SIZE = 32,
	VOLUME_STRIPE_SHIFT = 20, /* so many bytes of a volume are in one partition */
};

/* The kinds of a record in DATA. */
enum { VOLUME_KIND_DATA = 0, VOLUME_KIND_HOLE = 1 };

/* What a name stands for. */
struct volume_record {
	uint8_t flags; /* VOLUME_READ_ONLY */
	uint8_t record_shift;
	uint16_t slot; /* 0..VOLUMES_MAX - 1 */
	uint64_t size; /* bytes */
	uint64_t created_ms;
	uint64_t layer; /* its newest one */
	uint8_t uuid[16];
	struct bytes origin; /* the volume or snapshot that it was made of; empty: none */
};

enum { VOLUME_READ_ONLY = 1 << 0 };

/* Blocks that were written while it was the newest layer of a volume. */
struct volume_layer_record {
	uint8_t flags;    /* VOLUME_LAYER_TAIL */
	uint64_t parent;  /* what it lacks is there; 0: reads as zeroes */
	uint64_t family;  /* the number of the first ancestor: where records are */
	uint64_t visible; /* records of the parent that are seen, from the first on */
};

enum { VOLUME_LAYER_TAIL = 1 << 0 }; /* records behind the volume's end are to be removed */

/* Where record `index` of a family's layers is, of so many partitions. */
unsigned volume_partition(uint64_t family, uint64_t index, unsigned record_shift,
                          unsigned partitions);
/* {DATA, partition, layer, index}: VOLUME_KEY_SIZE bytes. */
void volume_key(uint8_t *out, unsigned partition, uint64_t layer, uint64_t index);
uint64_t volume_key_index(struct bytes key);
/* {space, 0, number}: of LAYERS; VOLUME_PREFIX_SIZE bytes. */
void volume_layer_key(uint8_t *out, uint64_t layer);
size_t volume_name_key(uint8_t *out, struct bytes name);

bool volume_name_is_sound(struct bytes name);
size_t volume_record_encode(const struct volume_record *record, uint8_t *out);
enum status volume_record_decode(struct bytes value, struct volume_record *record)
        __attribute__((warn_unused_result));
void volume_layer_encode(const struct volume_layer_record *layer, uint8_t *out);
enum status volume_layer_decode(struct bytes value, struct volume_layer_record *layer)
        __attribute__((warn_unused_result));

#endif
