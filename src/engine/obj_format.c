/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/obj_format.h"

#include "base/assert.h"
#include "base/macros.h"

enum { FORMAT = 1 };

static void put16(uint8_t *out, uint16_t value)
{
	memcpy(out, &value, sizeof(value));
}

static void put32(uint8_t *out, uint32_t value)
{
	memcpy(out, &value, sizeof(value));
}

static void put64(uint8_t *out, uint64_t value)
{
	memcpy(out, &value, sizeof(value));
}

static uint16_t get16(const uint8_t *in)
{
	uint16_t value;

	memcpy(&value, in, sizeof(value));
	return value;
}

static uint32_t get32(const uint8_t *in)
{
	uint32_t value;

	memcpy(&value, in, sizeof(value));
	return value;
}

static uint64_t get64(const uint8_t *in)
{
	uint64_t value;

	memcpy(&value, in, sizeof(value));
	return value;
}

/* Keys. */

void obj_key_add_number(struct obj_key *key, uint64_t number, unsigned size)
{
	assert(size <= 8 && key->size + size <= sizeof(key->data));
	assert(size == 8 || number >> (8 * size) == 0);
	for (unsigned i = 0; i < size; i++)
		key->data[key->size++] = (uint8_t)(number >> (8 * (size - 1 - i)));
}

void obj_key_begin(struct obj_key *key, enum obj_space space, unsigned partition, uint64_t id)
{
	key->size = 0;
	obj_key_add_number(key, space, 1);
	obj_key_add_number(key, partition, 2);
	obj_key_add_number(key, id, 8);
}

void obj_key_add(struct obj_key *key, struct bytes name)
{
	assert(key->size + name.size <= sizeof(key->data));
	if (name.size > 0)
		memcpy(key->data + key->size, name.data, name.size);
	key->size += (uint16_t)name.size;
}

void obj_key_add_version(struct obj_key *key, uint64_t version)
{
	obj_key_add_number(key, 0, 1);
	obj_key_add_number(key, ~version, 8);
}

void obj_key_add_upload(struct obj_key *key, uint64_t upload)
{
	obj_key_add_number(key, 0, 1);
	obj_key_add_number(key, upload, 8);
}

bool obj_key_skip(struct obj_key *key)
{
	while (key->size > 0 && key->data[key->size - 1] == UINT8_MAX)
		key->size--;
	if (key->size == 0)
		return false;
	key->data[key->size - 1]++;
	return true;
}

struct bytes obj_key_name(struct bytes key)
{
	if (key.size <= OBJ_KEY_HEAD)
		return (struct bytes){ NULL, 0 };
	return bytes_of(key.data + OBJ_KEY_HEAD, key.size - OBJ_KEY_HEAD);
}

struct bytes obj_key_numbered_name(struct bytes key, uint64_t *number)
{
	const uint8_t *tail = key.data + key.size - 8;

	*number = 0;
	if (key.size <= OBJ_KEY_HEAD + OBJ_KEY_TAIL)
		return (struct bytes){ NULL, 0 };
	for (unsigned i = 0; i < 8; i++)
		*number = *number << 8 | tail[i];
	if (key.data[0] == OBJ_SPACE_VERSIONS)
		*number = ~*number;
	return bytes_of(key.data + OBJ_KEY_HEAD, key.size - OBJ_KEY_HEAD - OBJ_KEY_TAIL);
}

/* Versions, parts, uploads. */

size_t obj_record_size(const struct obj_record *record)
{
	return OBJ_RECORD_HEADER + record->etag.size + record->brief.size +
	       record->attributes.size + record->ends.size + record->contents.size;
}

static uint8_t *append(uint8_t *out, struct bytes bytes)
{
	if (bytes.size > 0)
		memcpy(out, bytes.data, bytes.size);
	return out + bytes.size;
}

size_t obj_record_encode(const struct obj_record *record, uint8_t *out)
{
	uint8_t *at = out + OBJ_RECORD_HEADER;

	assert(record->etag.size <= OBJ_ETAG_MAX && record->brief.size <= OBJ_BRIEF_MAX);
	assert(record->attributes.size <= OBJ_ATTRIBUTES_MAX);
	assert(record->ends.size % 8 == 0 && record->ends.size <= 8 * OBJ_MANIFESTS_MAX);
	assert(record->contents.size == (record->data == OBJ_DATA_INLINE ? record->size : 0));
	memset(out, 0, OBJ_RECORD_HEADER);
	out[0] = FORMAT;
	out[1] = record->data;
	put16(out + 2, record->flags);
	put32(out + 4, record->part_count);
	put64(out + 8, record->size);
	put64(out + 16, record->version);
	put64(out + 24, record->created_ms);
	put64(out + 32, record->retain_until_ms);
	put64(out + 40, record->data_id);
	put64(out + 48, record->null_version);
	out[56] = record->extent_shift;
	out[57] = (uint8_t)record->etag.size;
	out[58] = (uint8_t)record->brief.size;
	out[59] = (uint8_t)(record->ends.size / 8);
	put16(out + 60, (uint16_t)record->attributes.size);
	at = append(at, record->etag);
	at = append(at, record->brief);
	at = append(at, record->attributes);
	at = append(at, record->ends);
	at = append(at, record->contents);
	assert((size_t)(at - out) == obj_record_size(record));
	return (size_t)(at - out);
}

void obj_record_set_null(uint8_t *value, uint64_t null_version)
{
	put64(value + 48, null_version);
}

void obj_record_retire(uint8_t *value)
{
	put16(value + 2, (uint16_t)(get16(value + 2) & ~OBJ_HAS_COPY));
	obj_record_set_null(value, 0);
}

void obj_record_promote(uint8_t *value, uint64_t null_version)
{
	put16(value + 2, (uint16_t)(get16(value + 2) | OBJ_HAS_COPY));
	obj_record_set_null(value, null_version);
}

size_t obj_record_start_size(struct bytes value)
{
	size_t size = OBJ_RECORD_HEADER;

	if (value.size < size)
		return value.size;
	size += (size_t)value.data[57] + value.data[58];
	return size < value.size ? size : value.size;
}

enum status obj_record_decode_start(struct bytes value, struct obj_record *record)
{
	const uint8_t *in = value.data;

	if (value.size < OBJ_RECORD_HEADER || in[0] != FORMAT || in[1] > OBJ_DATA_PARTS)
		return STATUS_CORRUPT;
	if (in[57] > OBJ_ETAG_MAX || in[58] > OBJ_BRIEF_MAX ||
	    value.size < (size_t)OBJ_RECORD_HEADER + in[57] + in[58])
		return STATUS_CORRUPT;
	*record = (struct obj_record){
		.data = in[1],
		.flags = get16(in + 2),
		.part_count = get32(in + 4),
		.size = get64(in + 8),
		.version = get64(in + 16),
		.created_ms = get64(in + 24),
		.retain_until_ms = get64(in + 32),
		.data_id = get64(in + 40),
		.null_version = get64(in + 48),
		.extent_shift = in[56],
		.etag = bytes_of(in + OBJ_RECORD_HEADER, in[57]),
		.brief = bytes_of(in + OBJ_RECORD_HEADER + in[57], in[58]),
	};
	if (record->size > OBJ_SIZE_MAX || record->part_count > OBJ_PARTS_MAX)
		return STATUS_CORRUPT;
	if (record->data == OBJ_DATA_EXTENTS &&
	    (record->extent_shift < 12 || record->extent_shift > 29))
		return STATUS_CORRUPT;
	return STATUS_OK;
}

enum status obj_record_decode(struct bytes value, struct obj_record *record)
{
	enum status status = obj_record_decode_start(value, record);
	size_t at = OBJ_RECORD_HEADER + record->etag.size + record->brief.size;
	size_t attributes, ends, contents;

	if (status != STATUS_OK)
		return status;
	attributes = get16(value.data + 60);
	ends = (size_t)8 * value.data[59];
	contents = record->data == OBJ_DATA_INLINE ? record->size : 0;
	if (attributes > OBJ_ATTRIBUTES_MAX || ends > 8 * OBJ_MANIFESTS_MAX ||
	    contents > KV_INLINE_MAX || value.size != at + attributes + ends + contents)
		return STATUS_CORRUPT;
	if (record->data == OBJ_DATA_PARTS &&
	    ends / 8 != (record->part_count + OBJ_MANIFEST_PARTS - 1) / OBJ_MANIFEST_PARTS)
		return STATUS_CORRUPT;
	record->attributes = bytes_of(value.data + at, attributes);
	record->ends = bytes_of(value.data + at + attributes, ends);
	record->contents = bytes_of(value.data + at + attributes + ends, contents);
	return STATUS_OK;
}

void obj_record_meta(const struct obj_record *record, struct obj_meta *meta)
{
	*meta = (struct obj_meta){
		.size = record->size,
		.version = record->version,
		.created_ms = record->created_ms,
		.retain_until_ms = record->retain_until_ms,
		.upload = record->data == OBJ_DATA_PARTS ? record->data_id : 0,
		.part_count = record->part_count,
		.flags = record->flags & ~(uint32_t)(OBJ_HAS_COPY | OBJ_IS_LATEST),
		.etag = record->etag,
		.brief = record->brief,
		.attributes = record->attributes,
	};
}

/* Buckets. */

size_t obj_bucket_encode(const struct obj_bucket_record *record, uint8_t *out)
{
	assert(record->label.size <= OBJ_LABEL_MAX);
	assert(record->spread > 0 && record->spread <= OBJ_SPREAD_MAX);
	memset(out, 0, OBJ_BUCKET_HEADER);
	out[0] = FORMAT;
	out[1] = record->versioning;
	out[2] = record->locks;
	out[3] = record->closing;
	out[4] = record->spread;
	put16(out + 6, (uint16_t)record->label.size);
	put32(out + 8, record->documents);
	put64(out + 16, record->id);
	put64(out + 24, record->created_ms);
	put64(out + 32, record->closed_ms);
	append(out + OBJ_BUCKET_HEADER, record->label);
	return OBJ_BUCKET_HEADER + record->label.size;
}

enum status obj_bucket_decode(struct bytes value, struct obj_bucket_record *record)
{
	const uint8_t *in = value.data;

	if (value.size < OBJ_BUCKET_HEADER || in[0] != FORMAT || in[1] > OBJ_VERSIONING_SUSPENDED ||
	    in[2] > 1 || in[3] > 1 || in[4] == 0 || in[4] > OBJ_SPREAD_MAX)
		return STATUS_CORRUPT;
	if (get16(in + 6) > OBJ_LABEL_MAX ||
	    value.size != (size_t)OBJ_BUCKET_HEADER + get16(in + 6))
		return STATUS_CORRUPT;
	*record = (struct obj_bucket_record){
		.versioning = in[1],
		.locks = in[2],
		.closing = in[3],
		.spread = in[4],
		.documents = get32(in + 8),
		.id = get64(in + 16),
		.created_ms = get64(in + 24),
		.closed_ms = get64(in + 32),
		.label = bytes_of(in + OBJ_BUCKET_HEADER, get16(in + 6)),
	};
	return STATUS_OK;
}

void obj_seal_encode(const struct obj_seal *seal, uint8_t *out)
{
	memset(out, 0, OBJ_SEAL_SIZE);
	out[0] = FORMAT;
	out[1] = seal->versioning;
	out[2] = seal->locks;
	out[3] = seal->closing;
}

enum status obj_seal_decode(struct bytes value, struct obj_seal *seal)
{
	const uint8_t *in = value.data;

	if (value.size != OBJ_SEAL_SIZE || in[0] != FORMAT || in[1] > OBJ_VERSIONING_SUSPENDED ||
	    in[2] > 1 || in[3] > 1)
		return STATUS_CORRUPT;
	*seal = (struct obj_seal){ .versioning = in[1], .locks = in[2], .closing = in[3] };
	return STATUS_OK;
}

/* Trash and manifests. */

void obj_trash_encode(const struct obj_trash *trash, uint8_t *out)
{
	memset(out, 0, OBJ_TRASH_SIZE);
	out[0] = FORMAT;
	out[1] = trash->kind;
	put32(out + 4, trash->part_count);
	put64(out + 8, trash->id);
}

enum status obj_trash_decode(struct bytes value, struct obj_trash *trash)
{
	const uint8_t *in = value.data;

	if (value.size != OBJ_TRASH_SIZE || in[0] != FORMAT || in[1] < OBJ_TRASH_INTENT ||
	    in[1] > OBJ_TRASH_REST || get32(in + 4) > OBJ_PARTS_MAX)
		return STATUS_CORRUPT;
	*trash = (struct obj_trash){
		.kind = in[1],
		.part_count = get32(in + 4),
		.id = get64(in + 8),
	};
	return STATUS_OK;
}

void obj_manifest_put(uint8_t *manifest, uint32_t index, const struct obj_manifest_entry *entry)
{
	uint8_t *out = manifest + (size_t)index * OBJ_MANIFEST_ENTRY;

	put64(out, entry->end);
	put64(out + 8, entry->data_id);
	put32(out + 16, entry->number);
	put32(out + 20, entry->extent_shift);
}

void obj_manifest_get(const uint8_t *manifest, uint32_t index, struct obj_manifest_entry *entry)
{
	const uint8_t *in = manifest + (size_t)index * OBJ_MANIFEST_ENTRY;

	*entry = (struct obj_manifest_entry){
		.end = get64(in),
		.data_id = get64(in + 8),
		.number = get32(in + 16),
		.extent_shift = in[20],
	};
}
