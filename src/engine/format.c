/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/format.h"

#include "base/assert.h"
#include "base/hash.h"

#define SUPER_MAGIC 0x3145524f54534557ull   /* "WESTORE1" */
#define SEGMENT_MAGIC 0x31544e454d474557ull /* "WEGMENT1" */
#define ROOT_MAGIC 0x31544f4f52524557ull    /* "WERROOT1" */
enum { FRAME_MAGIC = 0x4d415246 };          /* "FRAM" */

/*
 * Superblocks, segment headers and roots share their first 16 bytes: magic, checksum of the whole
 * block (taken with the field zero) seeded with its place, format version.
 */
enum { AT_MAGIC = 0, AT_CRC = 8, AT_FORMAT = 12, AT_FIELDS = 16 };

static void block_seal(uint8_t *block, uint64_t magic, uint32_t place)
{
	put64(block + AT_MAGIC, magic);
	put32(block + AT_CRC, 0);
	put32(block + AT_FORMAT, FORMAT_VERSION);
	put32(block + AT_CRC, crc32c(place, block, BLOCK_SIZE));
}

static enum status block_open(const uint8_t *block, uint64_t magic, uint32_t place,
                              uint32_t *format)
{
	static const uint8_t zero[4];
	uint32_t crc;

	if (get64(block + AT_MAGIC) != magic)
		return STATUS_NOT_FOUND;
	crc = crc32c(place, block, AT_CRC);
	crc = crc32c(crc, zero, sizeof(zero));
	crc = crc32c(crc, block + AT_FORMAT, BLOCK_SIZE - AT_FORMAT);
	if (crc != get32(block + AT_CRC))
		return STATUS_CORRUPT;
	*format = get32(block + AT_FORMAT);
	return *format <= FORMAT_VERSION ? STATUS_OK : STATUS_UNSUPPORTED;
}

enum {
	SUPER_COMPATIBLE = 16,
	SUPER_READ_ONLY = 24,
	SUPER_INCOMPATIBLE = 32,
	SUPER_UUID = 40,
	SUPER_EPOCH = 56,
	SUPER_CREATED = 64,
	SUPER_BLOCK_SIZE = 72,
	SUPER_SEGMENT_BLOCKS = 76,
	SUPER_PARTITIONS = 80,
	SUPER_RUN = 84,
	SUPER_STREAMS = 88,
	SUPER_CLEAN = 92,
};

void superblock_encode(const struct superblock *super, uint32_t copy, void *out)
{
	uint8_t *block = out;

	assert(copy < SUPER_COPIES);
	/* What superblock_decode() asks for. */
	assert(super->segment_blocks >= SEGMENT_BLOCKS_MIN);
	assert(super->segment_blocks <= SEGMENT_BLOCKS_MAX);
	assert(super->partition_count > 0 && super->partition_count <= PARTITIONS_MAX);
	assert(super->stream_count > 0 && super->stream_count <= STREAMS_MAX);
	assert((super->features.incompatible & ~FEATURES_INCOMPATIBLE) == 0);
	memset(block, 0, BLOCK_SIZE);
	put64(block + SUPER_COMPATIBLE, super->features.compatible);
	put64(block + SUPER_READ_ONLY, super->features.read_only);
	put64(block + SUPER_INCOMPATIBLE, super->features.incompatible);
	memcpy(block + SUPER_UUID, super->uuid, sizeof(super->uuid));
	put64(block + SUPER_EPOCH, super->epoch);
	put64(block + SUPER_CREATED, super->created_ms);
	put32(block + SUPER_BLOCK_SIZE, BLOCK_SIZE);
	put32(block + SUPER_SEGMENT_BLOCKS, super->segment_blocks);
	put32(block + SUPER_PARTITIONS, super->partition_count);
	put32(block + SUPER_RUN, super->run);
	put32(block + SUPER_STREAMS, super->stream_count);
	block[SUPER_CLEAN] = super->clean;
	block_seal(block, SUPER_MAGIC, copy);
}

enum status superblock_decode(const void *in, uint32_t copy, struct superblock *super,
                              uint32_t *format)
{
	const uint8_t *block = in;
	enum status status = block_open(block, SUPER_MAGIC, copy, format);

	if (status != STATUS_OK)
		return status;
	*super = (struct superblock){
		.features = { get64(block + SUPER_COMPATIBLE), get64(block + SUPER_READ_ONLY),
		              get64(block + SUPER_INCOMPATIBLE) },
		.epoch = get64(block + SUPER_EPOCH),
		.created_ms = get64(block + SUPER_CREATED),
		.segment_blocks = get32(block + SUPER_SEGMENT_BLOCKS),
		.partition_count = get32(block + SUPER_PARTITIONS),
		.run = get32(block + SUPER_RUN),
		.stream_count = get32(block + SUPER_STREAMS),
		.clean = block[SUPER_CLEAN] == 1,
	};
	memcpy(super->uuid, block + SUPER_UUID, sizeof(super->uuid));
	if (super->features.incompatible & ~FEATURES_INCOMPATIBLE)
		return STATUS_UNSUPPORTED;
	if (get32(block + SUPER_BLOCK_SIZE) != BLOCK_SIZE ||
	    super->segment_blocks < SEGMENT_BLOCKS_MIN ||
	    super->segment_blocks > SEGMENT_BLOCKS_MAX || super->partition_count == 0 ||
	    super->partition_count > PARTITIONS_MAX || super->stream_count == 0 ||
	    super->stream_count > STREAMS_MAX)
		return STATUS_CORRUPT;
	return STATUS_OK;
}

enum {
	SEGMENT_GENERATION = 16,
	SEGMENT_NUMBER = 24,
	SEGMENT_RUN = 28,
	SEGMENT_STREAM = 32,
	SEGMENT_KIND = 34,
};

void segment_header_encode(const struct segment_header *header, void *out)
{
	uint8_t *block = out;

	assert(header->kind > SEGMENT_FREE && header->kind < SEGMENT_KINDS);
	assert(header->stream < STREAMS_MAX);
	memset(block, 0, BLOCK_SIZE);
	put64(block + SEGMENT_GENERATION, header->generation);
	put32(block + SEGMENT_NUMBER, header->segment);
	put32(block + SEGMENT_RUN, header->run);
	put16(block + SEGMENT_STREAM, header->stream);
	block[SEGMENT_KIND] = header->kind;
	block_seal(block, SEGMENT_MAGIC, header->segment);
}

enum status segment_header_decode(const void *in, uint32_t segment, struct segment_header *header)
{
	const uint8_t *block = in;
	uint32_t format;
	enum status status = block_open(block, SEGMENT_MAGIC, segment, &format);

	if (status != STATUS_OK)
		return status;
	*header = (struct segment_header){
		.generation = get64(block + SEGMENT_GENERATION),
		.segment = get32(block + SEGMENT_NUMBER),
		.run = get32(block + SEGMENT_RUN),
		.stream = get16(block + SEGMENT_STREAM),
		.kind = block[SEGMENT_KIND],
	};
	if (header->segment != segment || header->kind == SEGMENT_FREE ||
	    header->kind >= SEGMENT_KINDS || header->stream >= STREAMS_MAX)
		return STATUS_CORRUPT;
	return STATUS_OK;
}

enum {
	ROOT_SEQUENCE = 16,
	ROOT_LSN = 24,
	ROOT_VERSION_NEXT = 32,
	ROOT_GENERATION_NEXT = 40,
	ROOT_BODY_SIZE = 48,
	ROOT_BODY_CRC = 56,
	ROOT_BODY_COUNT = 60,
	ROOT_RUN = 64,
	ROOT_TOUCHED = 68,
	ROOT_LOG_SEGMENT = 72,
	ROOT_LOG_BLOCK = 76,
	ROOT_STREAM = 80,
	ROOT_CLEAN = 82,
	ROOT_BODY = 96,
};

static uint32_t root_place(const uint8_t *block, uint32_t copy)
{
	return (uint32_t)get16(block + ROOT_STREAM) << 8 | copy;
}

void root_encode(const struct root *root, uint32_t copy, void *out)
{
	uint8_t *block = out;

	assert(copy < ROOT_COPIES);
	assert(root->stream < STREAMS_MAX);
	assert(root->body_count <= ROOT_EXTENTS_MAX);
	memset(block, 0, BLOCK_SIZE);
	put64(block + ROOT_SEQUENCE, root->sequence);
	put64(block + ROOT_LSN, root->lsn);
	put64(block + ROOT_VERSION_NEXT, root->version_next);
	put64(block + ROOT_GENERATION_NEXT, root->generation_next);
	put64(block + ROOT_BODY_SIZE, root->body_size);
	put32(block + ROOT_BODY_CRC, root->body_crc);
	put32(block + ROOT_BODY_COUNT, root->body_count);
	put32(block + ROOT_RUN, root->run);
	put32(block + ROOT_TOUCHED, root->touched);
	put32(block + ROOT_LOG_SEGMENT, root->log_segment);
	put32(block + ROOT_LOG_BLOCK, root->log_block);
	put16(block + ROOT_STREAM, root->stream);
	block[ROOT_CLEAN] = root->clean;
	for (uint32_t i = 0; i < root->body_count; i++) {
		put32(block + ROOT_BODY + 12 * i, root->body[i].segment);
		put32(block + ROOT_BODY + 12 * i + 4, root->body[i].block);
		put32(block + ROOT_BODY + 12 * i + 8, root->body[i].blocks);
	}
	block_seal(block, ROOT_MAGIC, root_place(block, copy));
}

enum status root_decode(const void *in, uint32_t copy, struct root *root)
{
	const uint8_t *block = in;
	uint32_t format;
	enum status status = block_open(block, ROOT_MAGIC, root_place(block, copy), &format);

	if (status != STATUS_OK)
		return status;
	*root = (struct root){
		.sequence = get64(block + ROOT_SEQUENCE),
		.lsn = get64(block + ROOT_LSN),
		.version_next = get64(block + ROOT_VERSION_NEXT),
		.generation_next = get64(block + ROOT_GENERATION_NEXT),
		.body_size = get64(block + ROOT_BODY_SIZE),
		.body_crc = get32(block + ROOT_BODY_CRC),
		.body_count = get32(block + ROOT_BODY_COUNT),
		.run = get32(block + ROOT_RUN),
		.touched = get32(block + ROOT_TOUCHED),
		.log_segment = get32(block + ROOT_LOG_SEGMENT),
		.log_block = get32(block + ROOT_LOG_BLOCK),
		.stream = get16(block + ROOT_STREAM),
		.clean = block[ROOT_CLEAN] == 1,
	};
	if (root->stream >= STREAMS_MAX || root->body_count > ROOT_EXTENTS_MAX)
		return STATUS_CORRUPT;
	for (uint32_t i = 0; i < root->body_count; i++) {
		root->body[i].segment = get32(block + ROOT_BODY + 12 * i);
		root->body[i].block = get32(block + ROOT_BODY + 12 * i + 4);
		root->body[i].blocks = get32(block + ROOT_BODY + 12 * i + 8);
	}
	return STATUS_OK;
}

uint64_t root_block(uint32_t run, uint32_t stream, uint64_t sequence, uint32_t copy)
{
	uint64_t set = (uint64_t)(run & 1) * STREAMS_MAX + stream;

	assert(stream < STREAMS_MAX && copy < ROOT_COPIES);
	return ROOT_FIRST_BLOCK + (set * 2 + (sequence & 1)) * ROOT_COPIES + copy;
}
_Static_assert(ROOT_FIRST_BLOCK + 2 * STREAMS_MAX * 2 * ROOT_COPIES <= SEGMENT_FIRST_BLOCK,
               "the roots end before the segments");

enum {
	FRAME_CRC = 4,
	FRAME_GENERATION = 8,
	FRAME_LSN = 16,
	FRAME_DURABLE = 24,
	FRAME_SEGMENT = 32,
	FRAME_BLOCK = 36,
	FRAME_SIZE = 40,
	FRAME_COUNT = 44,
	FRAME_RECORDS_CRC = 48,
};

void frame_header_encode(const struct frame_header *header, void *out)
{
	uint8_t *frame = out;

	assert(header->size >= FRAME_HEADER_SIZE && header->size <= FRAME_SIZE_MAX);
	memset(frame, 0, FRAME_HEADER_SIZE);
	put32(frame, FRAME_MAGIC);
	put64(frame + FRAME_GENERATION, header->generation);
	put64(frame + FRAME_LSN, header->lsn);
	put64(frame + FRAME_DURABLE, header->durable_lsn);
	put32(frame + FRAME_SEGMENT, header->segment);
	put32(frame + FRAME_BLOCK, header->block);
	put32(frame + FRAME_SIZE, header->size);
	put32(frame + FRAME_COUNT, header->record_count);
	put32(frame + FRAME_RECORDS_CRC, header->records_crc);
	put32(frame + FRAME_CRC, crc32c(0, frame + 8, FRAME_HEADER_SIZE - 8));
}

enum status frame_header_decode(const void *in, struct frame_header *header)
{
	const uint8_t *frame = in;

	if (get32(frame) != FRAME_MAGIC ||
	    get32(frame + FRAME_CRC) != crc32c(0, frame + 8, FRAME_HEADER_SIZE - 8))
		return STATUS_NOT_FOUND;
	*header = (struct frame_header){
		.generation = get64(frame + FRAME_GENERATION),
		.lsn = get64(frame + FRAME_LSN),
		.durable_lsn = get64(frame + FRAME_DURABLE),
		.segment = get32(frame + FRAME_SEGMENT),
		.block = get32(frame + FRAME_BLOCK),
		.size = get32(frame + FRAME_SIZE),
		.record_count = get32(frame + FRAME_COUNT),
		.records_crc = get32(frame + FRAME_RECORDS_CRC),
	};
	if (header->size < FRAME_HEADER_SIZE || header->size > FRAME_SIZE_MAX)
		return STATUS_NOT_FOUND;
	return STATUS_OK;
}

/*
 * Record: crc u32 | key size u16 | type u8 | flags u8 | value size u32 | zero u32 | version u64 |
 * [expiry u64] | key | value.
 */
enum { RECORD_HEADER = 24, RECORD_EXPIRY = 8 };

static size_t pad16(size_t size)
{
	return (size + RECORD_UNIT - 1) & ~(size_t)(RECORD_UNIT - 1);
}

size_t record_size(size_t key_size, size_t value_size, bool expires)
{
	return pad16(RECORD_HEADER + (expires ? RECORD_EXPIRY : 0) + key_size + value_size);
}

uint32_t record_seed(uint64_t generation, uint32_t segment)
{
	uint8_t place[12];

	put64(place, generation);
	put32(place + 8, segment);
	return crc32c(0, place, sizeof(place));
}

uint32_t record_encode(const struct record *record, uint32_t seed, uint32_t offset, void *out)
{
	bool expires = record->expires_ms != 0;
	size_t used = RECORD_HEADER + (expires ? RECORD_EXPIRY : 0);
	uint8_t *p = out;
	uint32_t crc;

	assert(record->key.size <= UINT16_MAX && record->value.size <= UINT32_MAX);
	assert(offset % RECORD_UNIT == 0);
	assert(offset < SEGMENT_BLOCKS_MAX << BLOCK_SHIFT);
	put16(p + 4, (uint16_t)record->key.size);
	p[6] = record->type;
	p[7] = (uint8_t)(record->flags & ~RECORD_EXPIRES) | (expires ? RECORD_EXPIRES : 0);
	put32(p + 8, (uint32_t)record->value.size);
	put32(p + 12, offset); /* covered by the checksum: binds the record to its place */
	put64(p + 16, record->version);
	if (expires)
		put64(p + 24, record->expires_ms);
	if (record->key.size > 0)
		memcpy(p + used, record->key.data, record->key.size);
	used += record->key.size;
	if (record->value.size > 0)
		memcpy(p + used, record->value.data, record->value.size);
	used += record->value.size;
	memset(p + used, 0, pad16(used) - used);
	crc = crc32c(seed, p + 4, used - 4);
	put32(p, crc);
	return crc;
}

enum status record_parse(const void *data, size_t size, uint32_t offset, struct record *record,
                         size_t *total)
{
	const uint8_t *p = data;
	size_t head;

	if (size < RECORD_HEADER || get32(p + 12) != offset)
		return STATUS_CORRUPT;
	*record = (struct record){
		.type = p[6],
		.flags = p[7],
		.version = get64(p + 16),
	};
	head = RECORD_HEADER + (record->flags & RECORD_EXPIRES ? RECORD_EXPIRY : 0);
	*total = head + get16(p + 4) + get32(p + 8);
	if (*total > size)
		return STATUS_CORRUPT;
	if (record->flags & RECORD_EXPIRES)
		record->expires_ms = get64(p + 24);
	record->key = bytes_of(p + head, get16(p + 4));
	record->value = bytes_of(p + head + record->key.size, get32(p + 8));
	return STATUS_OK;
}

enum status record_decode(const void *data, size_t size, uint32_t seed, uint32_t offset,
                          struct record *record, size_t *used, uint32_t *crc)
{
	const uint8_t *p = data;
	size_t total;
	enum status status = record_parse(data, size, offset, record, &total);

	if (status != STATUS_OK)
		return status;
	*crc = get32(p);
	if (*crc != crc32c(seed, p + 4, total - 4))
		return STATUS_CORRUPT;
	*used = pad16(total);
	return STATUS_OK;
}

enum status frame_check(const void *data, size_t size, const struct segment_header *segment,
                        uint32_t block, struct frame_header *header)
{
	const uint8_t *frame = data;
	uint32_t seed = record_seed(segment->generation, segment->segment);
	uint32_t records_crc = 0;
	size_t at = FRAME_HEADER_SIZE;

	if (size < FRAME_HEADER_SIZE || frame_header_decode(frame, header) != STATUS_OK)
		return STATUS_NOT_FOUND;
	if (header->generation != segment->generation || header->segment != segment->segment ||
	    header->block != block)
		return STATUS_NOT_FOUND; /* of an earlier life of the segment, or misplaced */
	if (header->size > size)
		return STATUS_CORRUPT;
	for (uint32_t i = 0; i < header->record_count; i++) {
		struct record record;
		size_t used;
		uint32_t crc;
		enum status status =
		        record_decode(frame + at, header->size - at, seed,
		                      (block << BLOCK_SHIFT) + (uint32_t)at, &record, &used, &crc);

		if (status != STATUS_OK)
			return status;
		records_crc = crc32c(records_crc, &crc, sizeof(crc));
		at += used;
		if (at > header->size)
			return STATUS_CORRUPT;
	}
	return at == header->size && records_crc == header->records_crc ? STATUS_OK
	                                                                : STATUS_CORRUPT;
}

size_t blob_value_size(uint32_t extent_count)
{
	return BLOB_HEADER_SIZE + (size_t)extent_count * BLOB_EXTENT_SIZE;
}

void blob_value_encode(uint64_t size, const struct blob_extent *extents, uint32_t count, void *out)
{
	uint8_t *p = out;

	assert(count <= BLOB_EXTENTS_MAX);
	put64(p, size);
	put32(p + 8, count);
	put32(p + 12, 0);
	for (uint32_t i = 0; i < count; i++)
		blob_extent_put(p + BLOB_HEADER_SIZE, i, extents[i]);
}

enum status blob_value_decode(struct bytes value, struct blob_value *blob)
{
	if (value.size < BLOB_HEADER_SIZE)
		return STATUS_CORRUPT;
	*blob = (struct blob_value){
		.size = get64(value.data),
		.extent_count = get32(value.data + 8),
		.extents = value.data + BLOB_HEADER_SIZE,
	};
	if (blob->extent_count > BLOB_EXTENTS_MAX ||
	    value.size != blob_value_size(blob->extent_count))
		return STATUS_CORRUPT;
	return STATUS_OK;
}

struct blob_extent blob_extent_get(const uint8_t *extents, uint32_t index)
{
	const uint8_t *p = extents + (size_t)index * BLOB_EXTENT_SIZE;

	return (struct blob_extent){ get32(p), get32(p + 4), get32(p + 8), get32(p + 12) };
}

void blob_extent_put(uint8_t *extents, uint32_t index, struct blob_extent extent)
{
	uint8_t *p = extents + (size_t)index * BLOB_EXTENT_SIZE;

	put32(p, extent.segment);
	put32(p + 4, extent.block);
	put32(p + 8, extent.blocks);
	put32(p + 12, extent.crc);
}

void prepare_encode(const struct prepare *prepare, uint8_t out[PREPARE_SIZE])
{
	put64(out, prepare->participants);
	put32(out + 8, prepare->size);
	put32(out + 12, prepare->part | (prepare->more ? PREPARE_MORE : 0));
}

enum status prepare_decode(struct bytes value, struct prepare *prepare)
{
	if (value.size != PREPARE_SIZE)
		return STATUS_CORRUPT;
	prepare->participants = get64(value.data);
	prepare->size = get32(value.data + 8);
	prepare->part = get32(value.data + 12) & ~PREPARE_MORE;
	prepare->more = (get32(value.data + 12) & PREPARE_MORE) != 0;
	return STATUS_OK;
}
