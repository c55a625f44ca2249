/* SPDX-License-Identifier: Apache-2.0 */
/* What is written is read again, every field has its limits, and no flipped bit passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/macros.h"
#include "engine/body.h"

enum { CRC_AT = 8, FORMAT_AT = 12 };

static const struct superblock super = {
	.features = { .compatible = 1ull << 40, .read_only = 1ull << 41 },
	.uuid = "0123456789abcde",
	.epoch = 77,
	.created_ms = 1700000000123,
	.segment_blocks = 16384,
	.partition_count = 64,
	.run = 5,
	.stream_count = 3,
	.clean = true,
};

static const struct segment_header segment = { .generation = 0x123456789,
	                                       .segment = 4711,
	                                       .run = 6,
	                                       .stream = 7,
	                                       .kind = SEGMENT_BLOB };

static const struct root root = {
	.sequence = 9,
	.lsn = 1ull << 50,
	.version_next = 12345,
	.generation_next = 678,
	.body_size = 1000,
	.body_crc = 0xdeadbeef,
	.body_count = 2,
	.run = 5,
	.touched = 1000,
	.log_segment = 3,
	.log_block = 17,
	.stream = 2,
	.clean = true,
	.body = { { 1, 2, 3 }, { 4, 5, 6 } },
};

/* What the checksum of a block is when a test has changed its fields. */
static void seal(uint8_t *block, uint32_t place)
{
	put32(block + CRC_AT, 0);
	put32(block + CRC_AT, crc32c(place, block, BLOCK_SIZE));
}

static enum status decode_super(const uint8_t *block)
{
	struct superblock read;
	uint32_t format;

	return superblock_decode(block, 1, &read, &format);
}

static enum status decode_segment(const uint8_t *block)
{
	struct segment_header read;

	return segment_header_decode(block, segment.segment, &read);
}

static enum status decode_root(const uint8_t *block)
{
	struct root read;

	return root_decode(block, 1, &read);
}

/* Any one bit of the block is another block. */
static void assert_flips_fail(uint8_t *block, enum status (*decode)(const uint8_t *block))
{
	assert_int_equal(decode(block), STATUS_OK);
	for (uint32_t bit = 0; bit < BLOCK_SIZE * 8; bit++) {
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(decode(block), STATUS_OK);
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(decode(block), STATUS_OK);
}

static void test_superblock(void **state)
{
	uint8_t block[BLOCK_SIZE];
	struct superblock read;
	uint32_t format;

	(void)state;
	superblock_encode(&super, 1, block);
	assert_int_equal(superblock_decode(block, 1, &read, &format), STATUS_OK);
	assert_int_equal(read.features.compatible, super.features.compatible);
	assert_int_equal(read.features.read_only, super.features.read_only);
	assert_memory_equal(read.uuid, super.uuid, sizeof(super.uuid));
	assert_int_equal(read.epoch, super.epoch);
	assert_int_equal(read.created_ms, super.created_ms);
	assert_int_equal(read.segment_blocks, super.segment_blocks);
	assert_int_equal(read.partition_count, super.partition_count);
	assert_int_equal(read.run, super.run);
	assert_int_equal(read.stream_count, super.stream_count);
	assert_true(read.clean);
	assert_int_equal(superblock_decode(block, 3, &read, &format), STATUS_CORRUPT);
	assert_flips_fail(block, decode_super);
}

static void test_superblock_limits(void **state)
{
	static const struct {
		uint32_t at, value;
	} bad[] = {
		{ 72, 512 },                    /* block size */
		{ 76, SEGMENT_BLOCKS_MIN - 1 }, /* segment_blocks */
		{ 76, SEGMENT_BLOCKS_MAX + 1 }, /* */
		{ 80, 0 },                      /* partition_count */
		{ 80, PARTITIONS_MAX + 1 },     /* */
		{ 88, 0 },                      /* stream_count */
		{ 88, STREAMS_MAX + 1 },        /* */
	};
	uint8_t block[BLOCK_SIZE];
	struct superblock read;
	uint32_t format;

	(void)state;
	for (size_t i = 0; i < array_count(bad); i++) {
		superblock_encode(&super, 1, block);
		put32(block + bad[i].at, bad[i].value);
		seal(block, 1);
		assert_int_equal(decode_super(block), STATUS_CORRUPT);
	}
	superblock_encode(&super, 1, block);
	block[32] = 1; /* an incompatible feature */
	seal(block, 1);
	assert_int_equal(decode_super(block), STATUS_UNSUPPORTED);
	superblock_encode(&super, 1, block);
	put32(block + FORMAT_AT, FORMAT_VERSION + 1);
	seal(block, 1);
	assert_int_equal(superblock_decode(block, 1, &read, &format), STATUS_UNSUPPORTED);
	assert_int_equal(format, FORMAT_VERSION + 1);
	memset(block, 0, sizeof(block));
	assert_int_equal(decode_super(block), STATUS_NOT_FOUND);
}

static void test_segment_header(void **state)
{
	uint8_t block[BLOCK_SIZE];
	struct segment_header read;

	(void)state;
	segment_header_encode(&segment, block);
	assert_int_equal(segment_header_decode(block, segment.segment, &read), STATUS_OK);
	assert_int_equal(read.generation, segment.generation);
	assert_int_equal(read.segment, segment.segment);
	assert_int_equal(read.run, segment.run);
	assert_int_equal(read.stream, segment.stream);
	assert_int_equal(read.kind, segment.kind);
	assert_int_equal(segment_header_decode(block, 4712, &read), STATUS_CORRUPT);
	assert_flips_fail(block, decode_segment);
	block[34] = SEGMENT_FREE;
	seal(block, segment.segment);
	assert_int_equal(decode_segment(block), STATUS_CORRUPT);
	block[34] = SEGMENT_KINDS;
	seal(block, segment.segment);
	assert_int_equal(decode_segment(block), STATUS_CORRUPT);
	segment_header_encode(&segment, block);
	put16(block + 32, STREAMS_MAX);
	seal(block, segment.segment);
	assert_int_equal(decode_segment(block), STATUS_CORRUPT);
}

static void test_root(void **state)
{
	uint32_t place = (uint32_t)root.stream << 8 | 1;
	uint8_t block[BLOCK_SIZE];
	struct root read;

	(void)state;
	root_encode(&root, 1, block);
	assert_int_equal(root_decode(block, 1, &read), STATUS_OK);
	assert_int_equal(read.sequence, root.sequence);
	assert_int_equal(read.lsn, root.lsn);
	assert_int_equal(read.version_next, root.version_next);
	assert_int_equal(read.generation_next, root.generation_next);
	assert_int_equal(read.body_size, root.body_size);
	assert_int_equal(read.body_crc, root.body_crc);
	assert_int_equal(read.body_count, root.body_count);
	assert_int_equal(read.run, root.run);
	assert_int_equal(read.touched, root.touched);
	assert_int_equal(read.log_segment, root.log_segment);
	assert_int_equal(read.log_block, root.log_block);
	assert_int_equal(read.stream, root.stream);
	assert_true(read.clean);
	assert_memory_equal(read.body, root.body, sizeof(root.body));
	assert_int_equal(root_decode(block, 0, &read), STATUS_CORRUPT);
	assert_flips_fail(block, decode_root);
	put32(block + 60, ROOT_EXTENTS_MAX + 1);
	seal(block, place);
	assert_int_equal(decode_root(block), STATUS_CORRUPT);
	root_encode(&root, 1, block);
	put16(block + 80, STREAMS_MAX);
	seal(block, STREAMS_MAX << 8 | 1);
	assert_int_equal(decode_root(block), STATUS_CORRUPT);
}

static void test_root_places(void **state)
{
	uint8_t used[SEGMENT_FIRST_BLOCK] = { 0 };

	(void)state;
	for (uint32_t run = 0; run < 2; run++) {
		for (uint32_t stream = 0; stream < STREAMS_MAX; stream++) {
			for (uint32_t i = 0; i < 4; i++) {
				uint64_t block = root_block(run, stream, i / 2, i % 2);

				assert_true(block >= ROOT_FIRST_BLOCK);
				assert_true(block < SEGMENT_FIRST_BLOCK);
				assert_int_equal(used[block]++, 0);
			}
		}
	}
	assert_int_equal(root_block(7, 3, 8, 1), root_block(1, 3, 2, 1));
}

static void test_location(void **state)
{
	const struct location most = {
		.segment = SEGMENTS_MAX - 1,
		.offset = (SEGMENT_BLOCKS_MAX << BLOCK_SHIFT) - RECORD_UNIT,
		.size = RECORD_SIZE_MAX,
		.flags = 0xff,
	};
	struct location read = location_unpack(location_pack(most));

	(void)state;
	assert_int_equal(location_pack(most), UINT64_MAX);
	assert_int_equal(read.segment, most.segment);
	assert_int_equal(read.offset, most.offset);
	assert_int_equal(read.size, most.size);
	assert_int_equal(read.flags, most.flags);
}

/* A frame with three records of different kinds; its size. */
static uint32_t frame_make(uint8_t *out)
{
	const struct record records[] = {
		{ .type = RECORD_PUT, .version = 1, .key = BYTES("key"), .value = BYTES("value") },
		{ .type = RECORD_PUT,
		  .flags = 3,
		  .version = 2,
		  .expires_ms = 999,
		  .key = BYTES("k"),
		  .value = BYTES("") },
		{ .type = RECORD_DELETE, .version = 3, .key = BYTES("another key") },
	};
	struct frame_header header = {
		.generation = segment.generation,
		.lsn = 10,
		.durable_lsn = 8,
		.segment = segment.segment,
		.block = 2,
		.size = FRAME_HEADER_SIZE,
		.record_count = array_count(records),
	};

	memset(out, 0, BLOCK_SIZE);
	for (size_t i = 0; i < array_count(records); i++) {
		uint32_t crc =
		        record_encode(&records[i], record_seed(segment.generation, segment.segment),
		                      2 * BLOCK_SIZE + header.size, out + header.size);

		header.records_crc = crc32c(header.records_crc, &crc, sizeof(crc));
		header.size += (uint32_t)record_size(records[i].key.size, records[i].value.size,
		                                     records[i].expires_ms != 0);
	}
	frame_header_encode(&header, out);
	return header.size;
}

static void test_record(void **state)
{
	const struct record written = { .type = RECORD_PUT,
		                        .flags = 5 | RECORD_BLOB,
		                        .version = 1ull << 60,
		                        .expires_ms = 1ull << 55,
		                        .key = BYTES("the key"),
		                        .value = BYTES("the value of it") };
	size_t size = record_size(written.key.size, written.value.size, true), used;
	uint32_t seed = record_seed(5, 6), wrote, crc;
	struct record read;
	uint8_t data[128];

	(void)state;
	assert_true(size <= sizeof(data) && size % RECORD_UNIT == 0);
	wrote = record_encode(&written, seed, 4096 + 64, data);
	assert_int_equal(record_decode(data, size, seed, 4096 + 64, &read, &used, &crc), STATUS_OK);
	assert_int_equal(crc, wrote);
	assert_int_equal(used, size);
	assert_int_equal(read.type, RECORD_PUT);
	assert_int_equal(read.flags, 5 | RECORD_BLOB | RECORD_EXPIRES);
	assert_int_equal(read.version, written.version);
	assert_int_equal(read.expires_ms, written.expires_ms);
	assert_true(bytes_equal(read.key, written.key));
	assert_true(bytes_equal(read.value, written.value));
	/* Bound to its place, and to the life of the segment. */
	assert_int_equal(record_decode(data, size, seed, 4096 + 80, &read, &used, &crc),
	                 STATUS_CORRUPT);
	assert_int_equal(
	        record_decode(data, size, record_seed(6, 6), 4096 + 64, &read, &used, &crc),
	        STATUS_CORRUPT);
	for (size_t less = 0; less < 24 + 8 + 7 + 15; less++)
		assert_int_equal(record_decode(data, less, seed, 4096 + 64, &read, &used, &crc),
		                 STATUS_CORRUPT);
	put32(data + 8, UINT32_MAX); /* a value that cannot be there */
	assert_int_equal(record_decode(data, size, seed, 4096 + 64, &read, &used, &crc),
	                 STATUS_CORRUPT);
}

static void test_frame(void **state)
{
	static uint8_t data[BLOCK_SIZE];
	struct segment_header other = segment;
	uint32_t size = frame_make(data);
	struct frame_header read;

	(void)state;
	assert_int_equal(frame_check(data, size, &segment, 2, &read), STATUS_OK);
	assert_int_equal(read.lsn, 10);
	assert_int_equal(read.durable_lsn, 8);
	assert_int_equal(read.record_count, 3);
	assert_int_equal(read.size, size);
	assert_int_equal(frame_check(data, size - 1, &segment, 2, &read), STATUS_CORRUPT);
	assert_int_equal(frame_check(data, size, &segment, 3, &read), STATUS_NOT_FOUND);
	other.generation++;
	assert_int_equal(frame_check(data, size, &other, 2, &read), STATUS_NOT_FOUND);
	other = segment;
	other.segment++;
	assert_int_equal(frame_check(data, size, &other, 2, &read), STATUS_NOT_FOUND);
}

/* By member: what lies between them has no value. */
static void assert_same_header(const struct frame_header *a, const struct frame_header *b)
{
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->lsn, b->lsn);
	assert_int_equal(a->durable_lsn, b->durable_lsn);
	assert_int_equal(a->segment, b->segment);
	assert_int_equal(a->block, b->block);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->record_count, b->record_count);
	assert_int_equal(a->records_crc, b->records_crc);
}

/* Of a header every bit counts but those of its unused end, of a record all but its padding. */
static void test_frame_flips(void **state)
{
	static uint8_t data[BLOCK_SIZE], good[BLOCK_SIZE];
	uint32_t size = frame_make(good), passed = 0;
	struct frame_header read, first;

	(void)state;
	assert_int_equal(frame_check(good, size, &segment, 2, &first), STATUS_OK);
	for (uint32_t bit = 0; bit < size * 8; bit++) {
		memcpy(data, good, sizeof(data));
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (frame_check(data, size, &segment, 2, &read) != STATUS_OK)
			continue;
		passed++;
		assert_true(bit / 8 >= FRAME_HEADER_SIZE); /* padding: nothing reads it */
		assert_same_header(&read, &first);
	}
	assert_true(passed <= 3 * (RECORD_UNIT - 1) * 8);
}

static void test_blob_value(void **state)
{
	const struct blob_extent extents[] = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } };
	uint8_t data[BLOB_HEADER_SIZE + 2 * BLOB_EXTENT_SIZE];
	struct blob_value blob;
	struct blob_extent e;

	(void)state;
	assert_int_equal(blob_value_size(2), sizeof(data));
	blob_value_encode(9999, extents, 2, data);
	assert_int_equal(blob_value_decode(bytes_of(data, sizeof(data)), &blob), STATUS_OK);
	assert_int_equal(blob.size, 9999);
	assert_int_equal(blob.extent_count, 2);
	e = blob_extent_get(blob.extents, 1);
	assert_memory_equal(&e, &extents[1], sizeof(e));
	for (size_t size = 0; size < sizeof(data); size++)
		assert_int_equal(blob_value_decode(bytes_of(data, size), &blob), STATUS_CORRUPT);
	put32(data + 8, 3);
	assert_int_equal(blob_value_decode(bytes_of(data, sizeof(data)), &blob), STATUS_CORRUPT);
	put32(data + 8, UINT32_MAX);
	assert_int_equal(blob_value_decode(bytes_of(data, sizeof(data)), &blob), STATUS_CORRUPT);
}

/* Two segments; partition 1 with two spaces, partition 3 with none. */
static size_t body_make(uint8_t *p)
{
	static const uint64_t words[] = { 2 | 2ull << 32, 0,
		                          /* segment | live, generation, kind */
		                          4 | 4096ull << 32, 11, SEGMENT_LOG, 9, 12, SEGMENT_INDEX,
		                          /* partition | spaces, root, keys; space, count */
		                          1 | 2ull << 32, 77, 5, 16, 3, 64, 2, 3, 78, 0 };

	for (size_t i = 0; i < array_count(words); i++)
		put64(p + 8 * i, words[i]);
	return sizeof(words);
}

static void test_body(void **state)
{
	const struct body_limits limits = { 10, 64, 4 };
	uint8_t data[256], space;
	size_t size = body_make(data);
	struct body_partition partition;
	struct body_segment listed;
	struct body body;
	uint64_t count;

	(void)state;
	assert_int_equal(body_open(&body, data, size, &limits), STATUS_OK);
	assert_int_equal(body.segment_count, 2);
	listed = body_segment_get(&body, 0);
	assert_int_equal(listed.segment, 4);
	assert_int_equal(listed.live, 4096);
	assert_int_equal(listed.generation, 11);
	assert_int_equal(listed.kind, SEGMENT_LOG);
	assert_true(body_partition_next(&body, &partition));
	assert_int_equal(partition.partition, 1);
	assert_int_equal(partition.root, 77);
	assert_int_equal(partition.key_count, 5);
	assert_int_equal(partition.space_count, 2);
	body_space_get(&partition, 1, &space, &count);
	assert_int_equal(space, 64);
	assert_int_equal(count, 2);
	assert_true(body_partition_next(&body, &partition));
	assert_int_equal(partition.partition, 3);
	assert_false(body_partition_next(&body, &partition));
}

static void test_body_limits(void **state)
{
	static const struct {
		uint32_t at;
		uint64_t value;
	} bad[] = {
		{ 0, 3 | 2ull << 32 },                /* more segments than there are */
		{ 0, UINT64_MAX },                    /* */
		{ 0, 2 | 1ull << 32 },                /* fewer partitions: bytes are left */
		{ 0, 2 | 3ull << 32 },                /* more */
		{ 8, 1 },                             /* what is zero */
		{ 16, 10 },                           /* segment number */
		{ 16, 9 },                            /* twice */
		{ 16, 4 | (64 * 4096ull + 1) << 32 }, /* live */
		{ 32, SEGMENT_FREE },                 /* kind */
		{ 32, SEGMENT_KINDS },                /* */
		{ 64, 4 | 2ull << 32 },               /* partition number */
		{ 64, 3 | 2ull << 32 },               /* twice */
		{ 64, 1 | 257ull << 32 },             /* spaces */
		{ 64, 1 | 1ull << 32 },               /* */
		{ 88, 256 },                          /* space */
		{ 104, 16 },                          /* twice */
	};
	const struct body_limits limits = { 10, 64, 4 };
	uint8_t data[256];
	size_t size = body_make(data);
	struct body body;

	(void)state;
	for (size_t i = 0; i < array_count(bad); i++) {
		body_make(data);
		put64(data + bad[i].at, bad[i].value);
		assert_int_equal(body_open(&body, data, size, &limits), STATUS_CORRUPT);
	}
	body_make(data);
	for (size_t less = 0; less < size; less++) {
		uint8_t *exact = malloc(less + 1);

		assert_non_null(exact);
		memcpy(exact + 1, data, less);
		assert_int_equal(body_open(&body, exact + 1, less, &limits), STATUS_CORRUPT);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_superblock),     cmocka_unit_test(test_superblock_limits),
		cmocka_unit_test(test_segment_header), cmocka_unit_test(test_root),
		cmocka_unit_test(test_root_places),    cmocka_unit_test(test_location),
		cmocka_unit_test(test_record),         cmocka_unit_test(test_frame),
		cmocka_unit_test(test_frame_flips),    cmocka_unit_test(test_blob_value),
		cmocka_unit_test(test_body),           cmocka_unit_test(test_body_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
