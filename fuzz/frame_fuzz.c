/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a frame of a log. All checksums are made to fit, of the records too, so that what is
 * tried is the sizes and counts and not the checksum; and once as it is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/format.h"

enum { RECORD_HEADER = 24, BLOCK = 3, SEGMENT = 9, GENERATION = 1234 };
enum { CRC_AT = 4, COUNT_AT = 44 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Gives every record that the sizes lead to its place and checksum; the frame's over them. */
static void seal(uint8_t *frame, size_t size)
{
	uint32_t seed = record_seed(GENERATION, SEGMENT), records_crc = 0;
	struct frame_header header;
	size_t at = FRAME_HEADER_SIZE, end;
	uint32_t count = get32(frame + COUNT_AT);

	header = (struct frame_header){
		.generation = GENERATION,
		.segment = SEGMENT,
		.block = BLOCK,
		.lsn = get64(frame + 16),
		.durable_lsn = get64(frame + 24),
		.size = get32(frame + 40),
		.record_count = count,
	};
	if (header.size < FRAME_HEADER_SIZE || header.size > FRAME_SIZE_MAX)
		header.size = (uint32_t)size;
	end = header.size < size ? header.size : size;
	for (uint32_t i = 0; i < count && end - at >= RECORD_HEADER; i++) {
		uint8_t *record = frame + at;
		size_t total = RECORD_HEADER + (record[7] & RECORD_EXPIRES ? 8 : 0) +
		               (size_t)get16(record + 4) + get32(record + 8);
		uint32_t crc;

		if (total > end - at)
			break;
		put32(record + 12, (BLOCK << BLOCK_SHIFT) + (uint32_t)at);
		crc = crc32c(seed, record + 4, total - 4);
		put32(record, crc);
		records_crc = crc32c(records_crc, &crc, sizeof(crc));
		at += (total + RECORD_UNIT - 1) / RECORD_UNIT * RECORD_UNIT;
		if (at >= end)
			break;
	}
	header.records_crc = records_crc;
	frame_header_encode(&header, frame);
}

static void use(const uint8_t *frame, size_t size, const struct segment_header *segment)
{
	struct frame_header header;
	uint32_t records = 0;
	size_t at = FRAME_HEADER_SIZE;

	if (frame_check(frame, size, segment, BLOCK, &header) != STATUS_OK)
		return;
	assert(header.size <= size);
	while (at < header.size) {
		struct record record;
		uint32_t crc;
		size_t used;

		assert(record_decode(frame + at, header.size - at, record_seed(GENERATION, SEGMENT),
		                     (BLOCK << BLOCK_SHIFT) + (uint32_t)at, &record, &used,
		                     &crc) == STATUS_OK);
		assert(record.value.data + record.value.size <= frame + header.size);
		at += used;
		records++;
	}
	assert(records == header.record_count);
	/* Cut short, elsewhere, or of another life of the segment it is none. */
	assert(frame_check(frame, header.size - 1, segment, BLOCK, &header) != STATUS_OK);
	assert(frame_check(frame, size, segment, BLOCK + 1, &header) != STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct segment_header segment = { .segment = SEGMENT,
		                                .generation = GENERATION,
		                                .kind = SEGMENT_LOG };
	uint8_t *frame;

	if (size < FRAME_HEADER_SIZE || size > FRAME_SIZE_MAX)
		return 0;
	frame = malloc(size);
	if (frame == NULL)
		abort();
	memcpy(frame, data, size);
	use(frame, size, &segment);
	seal(frame, size);
	use(frame, size, &segment);
	free(frame);
	return 0;
}
