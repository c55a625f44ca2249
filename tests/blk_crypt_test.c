/* SPDX-License-Identifier: Apache-2.0 */
/* Encryption: a vector of IEEE 1619, what lies on the device, keys, and data in pieces. */
#include "layer_bed.h"

#include <string.h>

#include "base/digest.h"
#include "base/xts.h"

static struct layer_bed bed;
static uint8_t data[32 * BED_BLOCK], got[32 * BED_BLOCK];

static const char key_text[] = "2718281828459045235360287471352662497757247093699959574966967627"
                               "3141592653589793238462643383279502884197169399375105820974944592";

/* "good": the key above; "raw": its bytes; "same": two equal halves; "open": readable by all. */
static enum status read_file(void *owner, const char *path, void *out, size_t size_max,
                             size_t *size)
{
	(void)owner;
	assert_true(size_max >= 130);
	*size = 128;
	memcpy(out, key_text, 128);
	if (strcmp(path, "good") == 0) {
		((char *)out)[(*size)++] = '\n';
	} else if (strcmp(path, "raw") == 0) {
		*size = 64;
		assert_true(hex_parse(bytes_of(key_text, 128), out));
	} else if (strcmp(path, "same") == 0) {
		memset(out, 'a', 128);
	} else if (strcmp(path, "open") == 0) {
		return STATUS_DENIED;
	} else if (strcmp(path, "short") == 0) {
		*size = 127;
	} else {
		return STATUS_NOT_FOUND;
	}
	return STATUS_OK;
}

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	bed.env.read_file = read_file;
	return 0;
}

/* IEEE 1619-2007, annex B, vector 10: the first 32 bytes of its 512. */
static void xts_is_the_standards(void **state)
{
	static const char expected[] =
	        "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b";
	uint8_t key[64], plain[512], cipher[512], start[32];
	struct xts xts;

	(void)state;
	assert_true(hex_parse(bytes_of(key_text, 128), key));
	assert_true(hex_parse(bytes_of(expected, 64), start));
	for (unsigned i = 0; i < 512; i++)
		plain[i] = (uint8_t)i;
	assert_true(xts_open(&xts, key));
	xts_encrypt(&xts, 0xff, bytes_of(plain, 512), cipher);
	assert_memory_equal(cipher, start, 32);
	xts_decrypt(&xts, 0xff, bytes_of(cipher, 512), cipher);
	assert_memory_equal(cipher, plain, 512);
	xts_close(&xts);
	memcpy(key + 32, key, 32);
	assert_false(xts_open(&xts, key));
}

static void hides_and_shows(void **state)
{
	struct xts xts;
	uint8_t key[64];

	(void)state;
	bed_open(&bed, "crypt key=good unit=512 | ram");
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(bed_write(&bed, 3, 8, data), STATUS_OK);
	/* The same content is different everywhere, and what the unit's number makes it. */
	assert_memory_not_equal(bed.rams[0]->data + 3 * BED_BLOCK, data, 16);
	assert_memory_not_equal(bed.rams[0]->data + 3 * BED_BLOCK,
	                        bed.rams[0]->data + 4 * BED_BLOCK, 16);
	assert_true(hex_parse(bytes_of(key_text, 128), key));
	assert_true(xts_open(&xts, key));
	xts_decrypt(&xts, 4 * 8 + 1, bytes_of(bed.rams[0]->data + 4 * BED_BLOCK + 512, 512), got);
	assert_memory_equal(got, data, 512);
	xts_close(&xts);
	assert_int_equal(bed_read(&bed, 3, 8, got), STATUS_OK);
	assert_memory_equal(got, data, 8 * BED_BLOCK);
	assert_true(data[0] == 0x5a && data[8 * BED_BLOCK - 1] == 0x5a); /* not ours to change */
	assert_int_equal(bed.blk->geometry.ops & (1u << BLK_ZEROES | 1u << BLK_DISCARD), 0);
	bed_close(&bed);
	bed_open(&bed, "crypt key=raw discard=yes | ram");
	assert_true(bed.blk->geometry.ops & 1u << BLK_DISCARD);
	assert_false(bed.blk->geometry.discard_zeroes);
	bed_close(&bed);
}

static void data_may_lie_in_pieces(void **state)
{
	struct bed_call call;
	struct iovec v[9];
	size_t at = 0;

	(void)state;
	bed_open(&bed, "crypt key=good | ram");
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 999);
	for (unsigned i = 0; i < 9; i++) {
		size_t size = i == 4 ? 0 : 1000 + 37 * i;

		v[i] = (struct iovec){ data + at, i == 8 ? 4 * BED_BLOCK - at : size };
		at += size;
	}
	bed_submit(&bed, &call,
	           (struct blk_cmd){
	                   .op = BLK_WRITE, .lba = 2, .block_count = 4, .iov = v, .iov_count = 9 });
	bed_turn(&bed);
	assert_true(call.done && call.status == STATUS_OK);
	assert_int_equal(bed_read(&bed, 2, 4, got), STATUS_OK);
	assert_memory_equal(got, data, 4 * BED_BLOCK);
	memset(data, 0, sizeof(data));
	bed_submit(&bed, &call,
	           (struct blk_cmd){
	                   .op = BLK_READ, .lba = 2, .block_count = 4, .iov = v, .iov_count = 9 });
	bed_turn(&bed);
	assert_true(call.done && call.status == STATUS_OK);
	assert_memory_equal(got, data, 4 * BED_BLOCK);
	bed_close(&bed);
}

static void writes_wait_for_buffers(void **state)
{
	static struct bed_call calls[6];

	(void)state;
	bed_open(&bed, "crypt key=good buffers=2 | ram");
	bed.hold = true;
	for (unsigned i = 0; i < 6; i++) {
		bed_fill(data + i * BED_BLOCK, i, 1, 1);
		bed_start(&bed, &calls[i],
		          (struct blk_cmd){ .op = BLK_WRITE, .lba = i, .block_count = 1 },
		          data + i * BED_BLOCK);
	}
	for (unsigned done = 0; done < 6; done++) {
		bed_turn(&bed);
		assert_int_equal(bed.rams[0]->held_count, done < 5 ? 2 : 1);
		assert_true(done == 0 || calls[done - 1].done);
		bed_release(bed.rams[0], 1);
	}
	bed_turn(&bed);
	bed.hold = false;
	assert_int_equal(bed_read(&bed, 0, 6, got), STATUS_OK);
	assert_true(bed_is(got, 0, 6, 1));
	bed_close(&bed);
}

static void says_what_is_wrong_with_a_key(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "crypt key=none | ram", "no such" },
		{ "crypt key=open | ram", "by its owner only" },
		{ "crypt key=short | ram", "128 hexadecimal digits" },
		{ "crypt key=same | ram", "must be different" },
		{ "crypt | ram", "crypt needs key" },
		{ "crypt key=good unit=8K | ram", "a power of two" },
	};

	(void)state;
	for (unsigned i = 0; i < array_count(rows); i++) {
		assert_int_not_equal(bed_try_open(&bed, rows[i].text), STATUS_OK);
		assert_non_null(strstr(bed.error, rows[i].why));
	}
	bed.env.read_file = NULL;
	assert_int_not_equal(bed_try_open(&bed, "crypt key=good | ram"), STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xts_is_the_standards),
		cmocka_unit_test_setup(hides_and_shows, set_up),
		cmocka_unit_test_setup(data_may_lie_in_pieces, set_up),
		cmocka_unit_test_setup(writes_wait_for_buffers, set_up),
		cmocka_unit_test_setup(says_what_is_wrong_with_a_key, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
