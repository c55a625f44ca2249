/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a root, with the checksum made to fit, and as the body of one: what is taken can be
 * read without another look at any limit.
 */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/body.h"

enum { CRC_AT = 8, STREAM_AT = 80 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_root(const struct root *root, uint32_t copy)
{
	uint8_t block[BLOCK_SIZE];
	struct root again;

	assert(root->stream < STREAMS_MAX);
	assert(root->body_count <= ROOT_EXTENTS_MAX);
	root_encode(root, copy, block);
	assert(root_decode(block, copy, &again) == STATUS_OK);
	assert(again.sequence == root->sequence && again.lsn == root->lsn);
	assert(root_block(root->run, root->stream, root->sequence, copy) < SEGMENT_FIRST_BLOCK);
}

static void use_body(struct body *body, const struct body_limits *limits)
{
	struct body_partition partition;
	uint32_t partitions = 0;

	for (uint32_t i = 0; i < body->segment_count; i++) {
		struct body_segment segment = body_segment_get(body, i);

		assert(segment.segment < limits->segment_count);
		assert(segment.live <= limits->segment_blocks << BLOCK_SHIFT);
		assert(segment.kind > SEGMENT_FREE && segment.kind < SEGMENT_KINDS);
	}
	while (body_partition_next(body, &partition)) {
		assert(partition.partition < limits->partition_count);
		partitions++;
		for (uint32_t i = 0; i < partition.space_count; i++) {
			uint64_t count;
			uint8_t space;

			body_space_get(&partition, i, &space, &count);
		}
	}
	assert(partitions == body->partition_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct body_limits limits = { 64, 16384, 64 };
	uint8_t block[BLOCK_SIZE] = { 0 };
	struct body body;
	struct root root;

	memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
	for (uint32_t copy = 0; copy < ROOT_COPIES; copy++) {
		if (root_decode(block, copy, &root) == STATUS_OK)
			use_root(&root, copy);
		put32(block + CRC_AT, 0);
		put32(block + CRC_AT,
		      crc32c((uint32_t)get16(block + STREAM_AT) << 8 | copy, block, BLOCK_SIZE));
		if (root_decode(block, copy, &root) == STATUS_OK) {
			use_root(&root, copy);
			assert(root_decode(block, !copy, &root) == STATUS_CORRUPT);
		}
	}
	if (body_open(&body, data, size, &limits) == STATUS_OK)
		use_body(&body, &limits);
	return 0;
}
