/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a superblock, with the checksum made to fit: what is taken is within its limits. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/format.h"

enum { CRC_AT = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct superblock *super, uint32_t copy)
{
	uint8_t block[BLOCK_SIZE];
	struct superblock again;
	uint32_t format;

	assert(super->segment_blocks >= SEGMENT_BLOCKS_MIN);
	assert(super->segment_blocks <= SEGMENT_BLOCKS_MAX);
	assert(super->partition_count > 0 && super->partition_count <= PARTITIONS_MAX);
	assert(super->stream_count > 0 && super->stream_count <= STREAMS_MAX);
	assert((super->features.incompatible & ~FEATURES_INCOMPATIBLE) == 0);
	superblock_encode(super, copy, block);
	assert(superblock_decode(block, copy, &again, &format) == STATUS_OK);
	assert(again.epoch == super->epoch && again.run == super->run);
	assert(again.clean == super->clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t block[BLOCK_SIZE] = { 0 };
	struct superblock super;
	uint32_t format;

	memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
	for (uint32_t copy = 0; copy < SUPER_COPIES; copy++) {
		if (superblock_decode(block, copy, &super, &format) == STATUS_OK)
			use(&super, copy);
		put32(block + CRC_AT, 0);
		put32(block + CRC_AT, crc32c(copy, block, BLOCK_SIZE));
		if (superblock_decode(block, copy, &super, &format) == STATUS_OK) {
			use(&super, copy);
			/* A copy is no other copy. */
			assert(superblock_decode(block, (copy + 1) % SUPER_COPIES, &super,
			                         &format) == STATUS_CORRUPT);
		}
	}
	return 0;
}
