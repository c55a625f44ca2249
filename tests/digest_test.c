/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc64.h"
#include "base/digest.h"
#include "base/macros.h"

static void expect_hex(enum digest_kind kind, const uint8_t *digest, const char *hex)
{
	char text[DIGEST_HEX_MAX];

	hex_format(bytes_of(digest, digest_size(kind)), text);
	assert_int_equal(strlen(hex), 2 * digest_size(kind));
	assert_memory_equal(text, hex, strlen(hex));
}

static void test_known_digests(void **state)
{
	static const struct {
		enum digest_kind kind;
		const char *text, *hex;
	} rows[] = {
		{ DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e" },
		{ DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72" },
		{ DIGEST_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" },
		{ DIGEST_SHA256, "",
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ DIGEST_SHA256, "abc",
		  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	};

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		uint8_t out[DIGEST_SIZE_MAX];
		struct digest digest;

		assert_true(digest_open(&digest, rows[i].kind));
		for (unsigned again = 0; again < 2; again++) {
			digest_of(&digest, bytes_of(rows[i].text, strlen(rows[i].text)), out);
			expect_hex(rows[i].kind, out, rows[i].hex);
		}
		digest_close(&digest);
	}
}

static void test_pieces(void **state)
{
	uint8_t whole[SHA256_SIZE], pieces[SHA256_SIZE];
	struct digest digest;

	(void)state;
	assert_true(digest_open(&digest, DIGEST_SHA256));
	digest_of(&digest, BYTES("one two three"), whole);
	digest_start(&digest);
	digest_add(&digest, BYTES("dropped by the next start"));
	digest_start(&digest);
	digest_add(&digest, BYTES("one "));
	digest_add(&digest, BYTES(""));
	digest_add(&digest, BYTES("two three"));
	digest_finish(&digest, pieces);
	assert_memory_equal(whole, pieces, sizeof(whole));
	digest_close(&digest);
}

/* RFC 4231, cases 1, 2 and 6 (a key longer than a block). */
static void test_hmac(void **state)
{
	uint8_t key[131], out[DIGEST_SIZE_MAX];
	struct digest digest;

	(void)state;
	assert_true(digest_open(&digest, DIGEST_SHA256));
	memset(key, 0x0b, 20);
	digest_hmac(&digest, bytes_of(key, 20), BYTES("Hi There"), out);
	expect_hex(DIGEST_SHA256, out,
	           "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	digest_hmac(&digest, BYTES("Jefe"), BYTES("what do ya want for nothing?"), out);
	expect_hex(DIGEST_SHA256, out,
	           "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	digest_hmac(&digest, bytes_of(key, sizeof(key)),
	            BYTES("Test Using Larger Than Block-Size Key - Hash Key First"), out);
	expect_hex(DIGEST_SHA256, out,
	           "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	digest_close(&digest);
}

static void test_equal(void **state)
{
	(void)state;
	assert_true(digest_equal(BYTES("same"), BYTES("same")));
	assert_false(digest_equal(BYTES("same"), BYTES("samf")));
	assert_false(digest_equal(BYTES("same"), BYTES("same ")));
	assert_true(digest_equal(BYTES(""), BYTES("")));
}

static void test_hex(void **state)
{
	uint8_t out[2];

	(void)state;
	assert_true(hex_parse(BYTES("0aFf"), out));
	assert_memory_equal(out, "\x0a\xff", 2);
	assert_false(hex_parse(BYTES("0aF"), out));
	assert_false(hex_parse(BYTES("0g"), out));
	assert_true(hex_parse(BYTES(""), out));
}

static void test_crc64(void **state)
{
	struct bytes text = BYTES("123456789");

	(void)state;
	assert_true(crc64(0, text) == 0xe9c6d914c4b8d9ca);
	assert_true(crc64(0, BYTES("")) == 0);
	for (size_t i = 0; i <= text.size; i++) {
		uint64_t first = crc64(0, bytes_of(text.data, i));

		assert_true(crc64(first, bytes_of(text.data + i, text.size - i)) ==
		            0xe9c6d914c4b8d9ca);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_digests), cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_hmac),          cmocka_unit_test(test_equal),
		cmocka_unit_test(test_hex),           cmocka_unit_test(test_crc64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
