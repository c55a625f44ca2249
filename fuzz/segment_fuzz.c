/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a segment header, with the checksum made to fit. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/format.h"

enum { CRC_AT = 8, NUMBER_AT = 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct segment_header *header, uint32_t segment)
{
	uint8_t block[BLOCK_SIZE];
	struct segment_header again;

	assert(header->segment == segment);
	assert(header->kind > SEGMENT_FREE && header->kind < SEGMENT_KINDS);
	assert(header->stream < STREAMS_MAX);
	segment_header_encode(header, block);
	assert(segment_header_decode(block, segment, &again) == STATUS_OK);
	assert(memcmp(&again.generation, &header->generation, sizeof(again.generation)) == 0);
	assert(again.run == header->run && again.kind == header->kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t block[BLOCK_SIZE] = { 0 };
	struct segment_header header;
	uint32_t segment;

	memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
	segment = get32(block + NUMBER_AT);
	if (segment_header_decode(block, segment, &header) == STATUS_OK)
		use(&header, segment);
	put32(block + CRC_AT, 0);
	put32(block + CRC_AT, crc32c(segment, block, BLOCK_SIZE));
	if (segment_header_decode(block, segment, &header) == STATUS_OK) {
		use(&header, segment);
		/* Of one segment it is not taken for another's. */
		assert(segment_header_decode(block, segment ^ 1, &header) == STATUS_CORRUPT);
	}
	return 0;
}
