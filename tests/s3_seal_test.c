/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of encrypted objects: what was changed, moved or cut off is found out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "server/s3_internal.h"

static uint8_t key[CIPHER_KEY_SIZE] = { 1, 2, 3 };
static struct cipher cipher;
static struct buf buf = { .size = S3_PIECE_SIZE };
static uint8_t plain[S3_PLAIN_PIECE];

static int open_all(void **state)
{
	struct prng prng;

	(void)state;
	prng_init(&prng, 7);
	prng_fill(&prng, plain, sizeof(plain));
	buf.data = malloc(S3_PIECE_SIZE);
	return buf.data != NULL && cipher_open(&cipher) ? 0 : -1;
}

static int close_all(void **state)
{
	(void)state;
	cipher_close(&cipher);
	free(buf.data);
	return 0;
}

static void seal(uint32_t size, struct s3_piece piece)
{
	memcpy(buf.data, plain, size);
	buf.used = size;
	s3_piece_seal(&cipher, key, piece, &buf);
	assert_int_equal(buf.used, size + CIPHER_TAG_SIZE);
}

static void test_there_and_back(void **state)
{
	const uint32_t sizes[] = { 1, 15, 16, 17, 4080, S3_PLAIN_PIECE };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const struct s3_piece piece = { .index = i, .last = true };

		seal(sizes[i], piece);
		assert_true(sizes[i] < 16 || memcmp(buf.data, plain, sizes[i]) != 0);
		assert_true(s3_piece_unseal(&cipher, key, piece, &buf));
		assert_int_equal(buf.used, sizes[i]);
		assert_memory_equal(buf.data, plain, sizes[i]);
	}
}

static void test_only_in_its_place(void **state)
{
	const struct s3_piece piece = { .index = 3 }, others[] = { { .index = 2 },
		                                                   { .index = 1ull << 40 | 3 },
		                                                   { .index = 3, .last = true } };
	uint8_t wrong[CIPHER_KEY_SIZE] = { 1, 2, 4 };

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		seal(S3_PLAIN_PIECE, piece);
		assert_false(s3_piece_unseal(&cipher, key, others[i], &buf));
	}
	seal(S3_PLAIN_PIECE, piece);
	assert_false(s3_piece_unseal(&cipher, wrong, piece, &buf));
}

static void test_only_as_it_was(void **state)
{
	const struct s3_piece piece = { .last = true };

	(void)state;
	for (uint32_t at = 0; at < 64 + CIPHER_TAG_SIZE; at++) {
		seal(64, piece);
		buf.data[at] ^= 0x80;
		assert_false(s3_piece_unseal(&cipher, key, piece, &buf));
		seal(64, piece);
		buf.used = at;
		assert_false(s3_piece_unseal(&cipher, key, piece, &buf));
	}
}

static void test_sizes(void **state)
{
	(void)state;
	assert_int_equal(s3_sealed_size(0), 0);
	assert_int_equal(s3_sealed_size(1), 17);
	assert_int_equal(s3_sealed_size(S3_PLAIN_PIECE), S3_PIECE_SIZE);
	assert_int_equal(s3_sealed_size(S3_PLAIN_PIECE + 1), S3_PIECE_SIZE + 17);
	/* The largest part stays below what the engine takes of one. */
	assert_true(s3_sealed_size(OBJ_PART_SIZE_MAX) <= OBJ_PART_SIZE_MAX + OBJ_PART_ROOM);
}

/* What lists, parts and readers know of it. */
static void test_briefs(void **state)
{
	const struct s3_brief given = {
		.checksum = S3_CHECKSUM_SHA256,
		.has_checksum = true,
		.full = true,
		.sse = S3_SSE_S3,
		.plain_size = 0x0102030405060708,
		.value = { 9, 8, 7 },
		.owner = BYTES("an owner of fifty-six characters, which is the longest !"),
	};
	struct s3_brief part = { .sse = S3_SSE_CUSTOMER, .plain_size = 5, .salt = { 4, 2 } }, got;
	uint8_t memory[OBJ_BRIEF_MAX];
	size_t size = s3_brief_format(&given, memory);

	(void)state;
	s3_brief_parse(&got, bytes_of(memory, size));
	assert_int_equal(got.sse, S3_SSE_S3);
	assert_int_equal(got.plain_size, given.plain_size);
	assert_memory_equal(got.value, given.value, sizeof(given.value));
	assert_true(bytes_equal(got.owner, given.owner));
	size = s3_brief_format(&part, memory);
	s3_brief_parse(&got, bytes_of(memory, size));
	assert_memory_equal(got.salt, part.salt, sizeof(part.salt));
	assert_int_equal(s3_size_of(&got, 21), 5);
	assert_int_equal(s3_size_of(&got, 4), 4); /* damaged: no more than there is */
	for (size_t cut = 0; cut < size; cut++)
		s3_brief_parse(&got, bytes_of(memory, cut));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_only_in_its_place),
		cmocka_unit_test(test_only_as_it_was), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_briefs),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
