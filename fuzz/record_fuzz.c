/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a record, with place and checksum made to fit; and its value as that of a blob. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/format.h"

enum { HEADER = 24, OFFSET = 4096 + 64, SEED = 77 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct record *record, const uint8_t *data, size_t size, size_t used)
{
	bool expires = record->expires_ms != 0;
	uint8_t *again;
	struct blob_value blob;
	struct record read;
	size_t read_used;
	uint32_t crc;

	assert(record->key.data >= data + HEADER);
	assert(record->value.data + record->value.size <= data + size);
	if (blob_value_decode(record->value, &blob) == STATUS_OK) {
		for (uint32_t i = 0; i < blob.extent_count; i++)
			(void)blob_extent_get(blob.extents, i);
	}
	again = malloc(record_size(record->key.size, record->value.size, expires));
	if (again == NULL)
		abort();
	record_encode(record, SEED, OFFSET, again);
	assert(record_decode(again, record_size(record->key.size, record->value.size, expires),
	                     SEED, OFFSET, &read, &read_used, &crc) == STATUS_OK);
	assert(bytes_equal(read.key, record->key));
	assert(bytes_equal(read.value, record->value));
	assert(read.version == record->version && read.expires_ms == record->expires_ms);
	assert(read_used <= used);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	struct record record;
	uint32_t crc;
	size_t used, total;

	if (copy == NULL)
		abort();
	memcpy(copy, data, size);
	if (size >= HEADER) {
		put32(copy + 12, OFFSET);
		total = HEADER + (copy[7] & RECORD_EXPIRES ? 8 : 0) + (size_t)get16(copy + 4) +
		        get32(copy + 8);
		if (total <= size)
			put32(copy, crc32c(SEED, copy + 4, total - 4));
	}
	if (record_decode(copy, size, SEED, OFFSET, &record, &used, &crc) == STATUS_OK) {
		struct record other;

		use(&record, copy, size, used);
		assert(record_decode(copy, size, SEED + 1, OFFSET, &other, &used, &crc) ==
		       STATUS_CORRUPT);
		assert(record_decode(copy, size, SEED, OFFSET + RECORD_UNIT, &other, &used, &crc) ==
		       STATUS_CORRUPT);
	}
	free(copy);
	return 0;
}
