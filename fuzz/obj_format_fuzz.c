/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the records of objects: what is taken lies within them, and encodes to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/obj_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(struct bytes whole, struct bytes part)
{
	assert(part.size == 0 ||
	       (part.data >= whole.data && part.data + part.size <= whole.data + whole.size));
}

static void check_attributes(struct bytes attributes)
{
	static uint8_t memory[2 * OBJ_ATTRIBUTES_MAX];
	struct obj_attributes merged = { .data = memory, .size_max = sizeof(memory) };

	for (unsigned i = 0; i <= OBJ_ATTRIBUTE_NUMBER_MAX; i++)
		check_within(attributes, obj_attribute_get(attributes, i));
	if (obj_attributes_merge(&merged, attributes, (struct bytes){ NULL, 0 }))
		assert(obj_attributes_are_sane(bytes_of(merged.data, merged.size)));
	(void)obj_attributes_are_sane(attributes);
}

static void check_record(struct bytes value)
{
	static uint8_t memory[OBJ_RECORD_MAX + KV_INLINE_MAX];
	struct obj_record record, again;
	size_t start = obj_record_start_size(value);
	enum status status = obj_record_decode_start(bytes_of(value.data, start), &record);

	assert(start <= value.size);
	if (status == STATUS_OK)
		check_within(value, record.brief);
	if (obj_record_decode(value, &record) != STATUS_OK)
		return;
	check_within(value, record.ends);
	check_within(value, record.contents);
	check_attributes(record.attributes);
	assert(obj_record_size(&record) == value.size);
	assert(obj_record_encode(&record, memory) == value.size);
	assert(obj_record_decode(bytes_of(memory, value.size), &again) == STATUS_OK);
	assert(bytes_equal(record.attributes, again.attributes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes value = bytes_of(data, size);
	struct obj_bucket_record bucket;
	struct obj_seal seal;
	struct obj_trash trash;
	uint64_t number;

	check_record(value);
	check_attributes(value);
	if (obj_bucket_decode(value, &bucket) == STATUS_OK)
		check_within(value, bucket.label);
	if (obj_seal_decode(value, &seal) == STATUS_OK)
		assert(seal.versioning <= OBJ_VERSIONING_SUSPENDED);
	if (obj_trash_decode(value, &trash) == STATUS_OK)
		assert(trash.part_count <= OBJ_PARTS_MAX);
	if (size > 0) {
		check_within(value, obj_key_name(value));
		check_within(value, obj_key_numbered_name(value, &number));
	}
	return 0;
}
