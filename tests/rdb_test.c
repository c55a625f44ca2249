/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc64.h"
#include "base/digest.h"
#include "base/macros.h"
#include "server/rdb.h"

/* What DUMP of redis-server 7.0.15 gives. */
struct vector {
	const char *text; /* repeated to make the value */
	size_t repeat;
	const char *payload; /* hexadecimal */
};

// clang-format off
static const struct vector vectors[] = {
	{ "hello", 1, "000568656c6c6f0a006372df766534200a" },
	{ "0", 1, "00c0000a009840a778f8500308" },
	{ "-1", 1, "00c0ff0a000c937e2485089dc5" },
	{ "127", 1, "00c07f0a000db5eb315254c514" },
	{ "128", 1, "00c180000a00eb7ab3b510cf4b65" },
	{ "-129", 1, "00c17fff0a001760822854808480" },
	{ "32768", 1, "00c2008000000a0045d82eedd5bda910" },
	{ "2147483647", 1, "00c2ffffff7f0a002c74e59ee02eada1" },
	{ "2147483648", 1, "000a323134373438333634380a00e7b129a34c1d76ee" },
	{ "-2147483648", 1, "00c2000000800a00c74f873e33558187" },
	{ "-2147483649", 1, "000b2d323134373438333634390a00c261377908f2028c" },
	{ "0123", 1, "0004303132330a000ae40c929e3b6422" },
	{ "", 0, "00000a005d9b5c400f7fa2da" },
};

static const struct vector compressed[] = {
	{ "abc", 40, "00c30b40780361626361e069020162630a00c494a1702ae23e06" },
	{ "x", 300, "00c30c412c017878e0ff00e017000178780a00f033195a8b660d84" },
	{ "01234567890123456789", 20,
	  "00c31541900a3031323334353637383930e0ff09e1720d0138390a0015506817a6245060" },
};
// clang-format on

static size_t value_of(const struct vector *vector, uint8_t *out)
{
	size_t size = strlen(vector->text);

	for (size_t i = 0; i < vector->repeat; i++)
		memcpy(out + i * size, vector->text, size);
	return size * vector->repeat;
}

static size_t payload_of(const struct vector *vector, uint8_t *out)
{
	size_t size = strlen(vector->payload);

	assert_true(hex_parse(bytes_of(vector->payload, size), out));
	return size / 2;
}

/* The string of a payload in `room`; false as RESTORE refuses it. */
static bool restore(struct bytes payload, struct rdb_room room, struct bytes *ret_string)
{
	struct rdb_reader reader;
	uint8_t type;

	return rdb_reader_open(&reader, payload) && rdb_read_type(&reader, &type) &&
	       type == RDB_TYPE_STRING && rdb_read_string(&reader, room, ret_string) &&
	       rdb_reader_is_at_end(&reader);
}

static void test_dump_as_redis(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_count(vectors); i++) {
		uint8_t value[512], expected[512], out[512];
		struct rdb_writer writer = { .data = out, .size = sizeof(out) };

		rdb_dump_string(&writer, bytes_of(value, value_of(&vectors[i], value)));
		assert_false(writer.full);
		assert_int_equal(writer.used, payload_of(&vectors[i], expected));
		assert_memory_equal(out, expected, writer.used);
	}
}

static void expect_restored(const struct vector *vector)
{
	uint8_t value[512], payload[512], memory[512];
	struct rdb_room room = { memory, sizeof(memory) };
	size_t value_size = value_of(vector, value), size = payload_of(vector, payload);
	struct bytes string;

	assert_true(restore(bytes_of(payload, size), room, &string));
	assert_true(bytes_equal(string, bytes_of(value, value_size)));
	for (size_t bit = 0; bit < size * 8; bit++) {
		payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(restore(bytes_of(payload, size), room, &string));
		payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t cut = 0; cut < size; cut++)
		assert_false(restore(bytes_of(payload, cut), room, &string));
}

static void test_restore_and_refuse_what_is_changed(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_count(vectors); i++)
		expect_restored(&vectors[i]);
	for (size_t i = 0; i < array_count(compressed); i++)
		expect_restored(&compressed[i]);
}

/* Gives `body` a footer that is right. */
static struct bytes sign(const char *hex, unsigned version, uint8_t *out)
{
	size_t size = strlen(hex) / 2;
	uint64_t crc;

	assert_true(hex_parse(bytes_of(hex, 2 * size), out));
	out[size++] = (uint8_t)version;
	out[size++] = (uint8_t)(version >> 8);
	crc = crc64(0, bytes_of(out, size));
	memcpy(out + size, &crc, sizeof(crc));
	return bytes_of(out, size + sizeof(crc));
}

static void test_lies_with_a_good_checksum(void **state)
{
	static const char *const bodies[] = {
		"",                     /* no type */
		"00",                   /* no size */
		"0005616263",           /* shorter than it says */
		"000361626364",         /* longer */
		"004001",               /* 14 bits: 1 byte missing */
		"00800000ffff",         /* 32 bits */
		"0081ffffffffffffffff", /* 64 bits */
		"0082",                 /* no such size */
		"00c4",                 /* no such encoding */
		"00c20000",             /* integer cut short */
		"00c30000",             /* compressed nothing */
		"00c3027fff0061",       /* too large for so few bytes */
		"00c303022000ff",       /* copies from before the start */
		"00c3020304",           /* literals past the end */
		"00c3020361616161",     /* ends elsewhere */
		"00c3c00161",           /* a size that is an encoding */
		"00c30481ffffffffffffffff61626364",
	};
	uint8_t payload[64], memory[1024];
	struct rdb_room room = { memory, sizeof(memory) }, small = { memory, 2 };
	struct bytes string;

	(void)state;
	for (size_t i = 0; i < array_count(bodies); i++) {
		if (restore(sign(bodies[i], 10, payload), room, &string))
			fail_msg("%s was taken", bodies[i]);
	}
	assert_true(restore(sign("00c1e803", 7, payload), room, &string));
	assert_true(bytes_equal(string, BYTES("1000")));
	assert_false(restore(sign("00c1e803", 7, payload), small, &string));
	assert_false(restore(sign("00c1e803", 11, payload), room, &string));
	assert_false(restore(sign("00c1e803", 0x100, payload), room, &string));
}

static void test_collections(void **state)
{
	uint8_t out[256], memory[32];
	struct rdb_writer writer = { .data = out, .size = sizeof(out) };
	struct rdb_room room = { memory, sizeof(memory) };
	struct rdb_reader reader;
	struct bytes string;
	uint64_t count;
	uint8_t type;
	double score;

	(void)state;
	rdb_write_type(&writer, RDB_TYPE_ZSET);
	rdb_write_count(&writer, 2);
	rdb_write_string(&writer, BYTES("member"));
	rdb_write_double(&writer, -1.5);
	rdb_write_string(&writer, BYTES("77"));
	rdb_write_double(&writer, (double)NAN);
	rdb_write_footer(&writer);
	assert_false(writer.full);

	assert_true(rdb_reader_open(&reader, bytes_of(out, writer.used)));
	assert_true(rdb_read_type(&reader, &type));
	assert_int_equal(type, RDB_TYPE_ZSET);
	assert_true(rdb_read_count(&reader, 9, &count));
	assert_int_equal(count, 2);
	assert_true(rdb_read_string(&reader, room, &string));
	assert_true(bytes_equal(string, BYTES("member")));
	assert_true(rdb_read_double(&reader, &score));
	assert_true(score == -1.5);
	assert_true(rdb_read_string(&reader, room, &string));
	assert_true(bytes_equal(string, BYTES("77")));
	assert_false(rdb_read_double(&reader, &score));
	assert_true(rdb_reader_is_at_end(&reader));

	reader.rest = BYTES("\x0a"
	                    "123456789");
	assert_false(rdb_read_count(&reader, 1, &count));
}

static void test_writer_that_is_full(void **state)
{
	static uint8_t value[20000], out[20100];
	struct rdb_writer exact = { .data = out, .size = 1 + 5 + sizeof(value) + 10 };
	struct rdb_writer small = { .data = out, .size = exact.size - 1 };
	struct bytes string;

	(void)state;
	memset(value, 'v', sizeof(value));
	rdb_dump_string(&small, bytes_of(value, sizeof(value)));
	assert_true(small.full);
	assert_int_equal(small.used, exact.size);
	rdb_dump_string(&exact, bytes_of(value, sizeof(value)));
	assert_false(exact.full);
	assert_int_equal(exact.used, exact.size);
	assert_true(restore(bytes_of(out, exact.used), (struct rdb_room){ NULL, 0 }, &string));
	assert_true(bytes_equal(string, bytes_of(value, sizeof(value))));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dump_as_redis),
		cmocka_unit_test(test_restore_and_refuse_what_is_changed),
		cmocka_unit_test(test_lies_with_a_good_checksum),
		cmocka_unit_test(test_collections),
		cmocka_unit_test(test_writer_that_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
