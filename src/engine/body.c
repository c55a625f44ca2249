/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/body.h"

#include "base/assert.h"

enum { HEAD_SEGMENTS = 0, HEAD_PARTITIONS = 4, HEAD_TXNS = 8, HEAD_ZERO = 12 };
enum { SEGMENT_AT = 0, SEGMENT_LIVE_AT = 4, SEGMENT_GENERATION_AT = 8, SEGMENT_KIND_AT = 16 };
enum { PARTITION_AT = 0, PARTITION_SPACES_AT = 4, PARTITION_ROOT_AT = 8, PARTITION_KEYS_AT = 16 };

_Static_assert(BODY_SEGMENT == SEGMENT_KIND_AT + 8, "on disk");
_Static_assert(BODY_PARTITION == PARTITION_KEYS_AT + 8, "on disk");

static bool segments_are_sound(const struct body *body, const struct body_limits *limits)
{
	for (uint32_t i = 0; i < body->segment_count; i++) {
		const uint8_t *p = body->segments + (size_t)i * BODY_SEGMENT;
		uint64_t kind = get64(p + SEGMENT_KIND_AT);

		if (get32(p + SEGMENT_AT) >= limits->segment_count ||
		    get32(p + SEGMENT_LIVE_AT) > limits->segment_blocks << BLOCK_SHIFT)
			return false;
		if (kind == SEGMENT_FREE || kind >= SEGMENT_KINDS)
			return false;
		if (i > 0 && get32(p + SEGMENT_AT) <= get32(p + SEGMENT_AT - BODY_SEGMENT))
			return false;
	}
	return true;
}

static bool spaces_are_sound(const struct body_partition *partition)
{
	for (uint32_t i = 0; i < partition->space_count; i++) {
		const uint8_t *p = partition->spaces + (size_t)i * BODY_SPACE;

		if (get64(p) >= BODY_SPACES_MAX || (i > 0 && get64(p) <= get64(p - BODY_SPACE)))
			return false;
	}
	return true;
}

static bool partitions_are_sound(const struct body *body, const struct body_limits *limits)
{
	struct body left = *body;
	uint32_t next = 0;

	for (uint32_t i = 0; i < body->partition_count; i++) {
		struct body_partition partition;
		size_t size = (size_t)(left.end - left.partitions);

		if (size < BODY_PARTITION)
			return false;
		partition.space_count = get32(left.partitions + PARTITION_SPACES_AT);
		if (partition.space_count > BODY_SPACES_MAX ||
		    (size - BODY_PARTITION) / BODY_SPACE < partition.space_count)
			return false;
		if (!body_partition_next(&left, &partition) || partition.partition < next ||
		    partition.partition >= limits->partition_count || !spaces_are_sound(&partition))
			return false;
		next = partition.partition + 1;
	}
	return left.partitions == left.end;
}

enum status body_open(struct body *body, const void *data, size_t size,
                      const struct body_limits *limits)
{
	const uint8_t *p = data;

	assert(limits->segment_blocks <= SEGMENT_BLOCKS_MAX);
	assert(limits->partition_count <= PARTITIONS_MAX);
	if (size < BODY_HEAD || get32(p + HEAD_ZERO) != 0)
		return STATUS_CORRUPT;
	if (get32(p + HEAD_TXNS) > (size - BODY_HEAD) / BODY_TXN)
		return STATUS_CORRUPT;
	*body = (struct body){
		.txn_count = get32(p + HEAD_TXNS),
		.segment_count = get32(p + HEAD_SEGMENTS),
		.partition_count = get32(p + HEAD_PARTITIONS),
		.segments = p + BODY_HEAD,
		.end = p + size - (size_t)get32(p + HEAD_TXNS) * BODY_TXN,
	};
	if (body->segment_count > (size_t)(body->end - body->segments) / BODY_SEGMENT)
		return STATUS_CORRUPT;
	body->partitions = body->segments + (size_t)body->segment_count * BODY_SEGMENT;
	return segments_are_sound(body, limits) && partitions_are_sound(body, limits)
	               ? STATUS_OK
	               : STATUS_CORRUPT;
}

struct body_segment body_segment_get(const struct body *body, uint32_t index)
{
	const uint8_t *p = body->segments + (size_t)index * BODY_SEGMENT;

	assert(index < body->segment_count);
	return (struct body_segment){
		.segment = get32(p + SEGMENT_AT),
		.live = get32(p + SEGMENT_LIVE_AT),
		.generation = get64(p + SEGMENT_GENERATION_AT),
		.kind = (uint8_t)get64(p + SEGMENT_KIND_AT),
	};
}

bool body_partition_next(struct body *body, struct body_partition *partition)
{
	const uint8_t *p = body->partitions;

	if (p == body->end)
		return false;
	assert(body->end - p >= BODY_PARTITION); /* body_open() has looked */
	*partition = (struct body_partition){
		.partition = get32(p + PARTITION_AT),
		.space_count = get32(p + PARTITION_SPACES_AT),
		.root = get64(p + PARTITION_ROOT_AT),
		.key_count = get64(p + PARTITION_KEYS_AT),
		.spaces = p + BODY_PARTITION,
	};
	body->partitions = partition->spaces + (size_t)partition->space_count * BODY_SPACE;
	assert(body->partitions <= body->end);
	return true;
}

void body_space_get(const struct body_partition *partition, uint32_t index, uint8_t *space,
                    uint64_t *count)
{
	const uint8_t *p = partition->spaces + (size_t)index * BODY_SPACE;

	assert(index < partition->space_count);
	*space = (uint8_t)get64(p);
	*count = get64(p + 8);
}

uint64_t body_txn_get(const struct body *body, uint32_t index)
{
	assert(index < body->txn_count);
	return get64(body->end + (size_t)index * BODY_TXN);
}
