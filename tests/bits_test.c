/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/macros.h"
#include "server/bits.h"

static uint64_t seed = 1;

static uint64_t chance(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void test_offsets(void **state)
{
	uint64_t offset;

	(void)state;
	assert_true(bits_parse_offset(BYTES("4294967295"), 0, &offset));
	assert_true(offset == BITS_OFFSET_MAX);
	assert_false(bits_parse_offset(BYTES("4294967296"), 0, &offset));
	assert_false(bits_parse_offset(BYTES("-1"), 0, &offset));
	assert_false(bits_parse_offset(BYTES("#1"), 0, &offset));
	assert_true(bits_parse_offset(BYTES("#3"), 8, &offset));
	assert_int_equal(offset, 24);
	assert_false(bits_parse_offset(BYTES("#4294967295"), 64, &offset));
	assert_false(bits_parse_offset(BYTES("#-1"), 8, &offset));
	assert_false(bits_parse_offset(BYTES("#"), 8, &offset));
	assert_false(bits_parse_offset(BYTES(""), 8, &offset));
}

static void test_get_and_set(void **state)
{
	uint8_t data[2] = { 0 };

	(void)state;
	assert_false(bits_set(data, 1, true));
	assert_false(bits_set(data, 15, true));
	assert_int_equal(data[0], 0x40);
	assert_int_equal(data[1], 0x01);
	assert_true(bits_get(bytes_of(data, 2), 15));
	assert_false(bits_get(bytes_of(data, 2), 16));
	assert_false(bits_get(bytes_of(data, 2), BITS_OFFSET_MAX));
	assert_true(bits_set(data, 1, false));
	assert_int_equal(data[0], 0);
}

static void test_count_and_position_of_the_manual(void **state)
{
	struct bits_range range = { 0, 0, false, true };
	struct bytes s = BYTES("foobar"), p = BYTES("\xff\xf0\x00"), zeros = BYTES("\0\0\0");

	(void)state;
	assert_int_equal(bits_count(s, NULL), 26);
	assert_int_equal(bits_count(s, &range), 4);
	range = (struct bits_range){ 1, 1, false, true };
	assert_int_equal(bits_count(s, &range), 6);
	range = (struct bits_range){ 5, 30, true, true };
	assert_int_equal(bits_count(s, &range), 17);
	range = (struct bits_range){ -5, -9, false, true };
	assert_int_equal(bits_count(BYTES("\xff"), &range), 0);

	assert_int_equal(bits_position(p, false, NULL), 12);
	assert_int_equal(bits_position(zeros, true, NULL), -1);
	assert_int_equal(bits_position(BYTES("\xff\xff\xff"), false, NULL), 24);
	range = (struct bits_range){ 0, 0, false, false };
	assert_int_equal(bits_position(BYTES("\xff\xff\xff"), false, &range), 24);
	range = (struct bits_range){ 0, -1, false, true };
	assert_int_equal(bits_position(BYTES("\xff\xff\xff"), false, &range), -1);
	range = (struct bits_range){ 2, -1, true, true };
	assert_int_equal(bits_position(BYTES("\xc0\x10"), true, &range), 11);
	range = (struct bits_range){ 5, 0, false, false };
	assert_int_equal(bits_position(BYTES("\xff\xff\xff"), false, &range), -1);
	assert_int_equal(bits_position(BYTES(""), false, NULL), -1);
}

/* One bit at a time, straight from the manual's words. */
static int64_t model_position(struct bytes s, bool bit, const struct bits_range *r)
{
	int64_t total = (int64_t)s.size * (r->by_bit ? 8 : 1), start = r->start;
	int64_t end = r->end_given ? r->end : total - 1;

	start = start < 0 ? start + total : start;
	end = end < 0 ? end + total : end;
	start = start < 0 ? 0 : start;
	end = end < 0 ? 0 : end;
	end = end >= total ? total - 1 : end;
	if (start > end)
		return -1;
	for (int64_t i = r->by_bit ? start : start * 8; i < (r->by_bit ? end + 1 : (end + 1) * 8);
	     i++) {
		if (bits_get(s, (uint64_t)i) == bit)
			return i;
	}
	return bit || r->end_given ? -1 : (int64_t)s.size * 8;
}

static uint64_t model_count(struct bytes s, const struct bits_range *r)
{
	struct bits_range rest = *r;
	uint64_t count = 0;
	int64_t at;

	/* Found bit by bit: the next search starts one after the last find. */
	if (r->start < 0 && r->end < 0 && r->start > r->end)
		return 0;
	for (at = model_position(s, true, &rest); at >= 0; count++) {
		int64_t total = (int64_t)s.size * 8, end = r->end;

		end = end < 0 ? end + (r->by_bit ? total : total / 8) : end;
		end = end < 0 ? 0 : end;
		end = r->by_bit ? end : end > total ? total : end * 8 + 7;
		rest = (struct bits_range){ at + 1, end, true, true };
		if (at + 1 >= total)
			return count + 1;
		at = model_position(s, true, &rest);
	}
	return count;
}

static void test_against_a_model(void **state)
{
	uint8_t data[80];

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		size_t size = chance() % (sizeof(data) + 1);
		uint8_t fill = round % 3 == 0 ? 0 : round % 3 == 1 ? 0xff : 0x5a;
		struct bytes s = bytes_of(data, size);
		struct bits_range range = { (int64_t)(chance() % 200) - 100,
			                    (int64_t)(chance() % 1000) - 500, chance() & 1, true };

		memset(data, fill, sizeof(data));
		for (uint64_t i = chance() % 3; i > 0; i--)
			data[chance() % sizeof(data)] = (uint8_t)chance();
		assert_int_equal(bits_count(s, &range), model_count(s, &range));
		range.end_given = chance() & 1;
		assert_int_equal(bits_position(s, true, &range), model_position(s, true, &range));
		assert_int_equal(bits_position(s, false, &range), model_position(s, false, &range));
	}
}

static void test_combine(void **state)
{
	struct bytes three[] = { BYTES("\xff\x0f\xaa"), BYTES("\x0f"), BYTES("\xf0\xff") };
	enum bits_op op;
	uint8_t out[40];

	(void)state;
	assert_int_equal(bits_combined_size(three, 3), 3);
	bits_combine(BITS_AND, three, 3, out);
	assert_memory_equal(out, "\x00\x00\x00", 3);
	bits_combine(BITS_AND, three, 2, out);
	assert_memory_equal(out, "\x0f\x00\x00", 3);
	bits_combine(BITS_OR, three, 3, out);
	assert_memory_equal(out, "\xff\xff\xaa", 3);
	bits_combine(BITS_XOR, three, 3, out);
	assert_memory_equal(out, "\x00\xf0\xaa", 3);
	bits_combine(BITS_NOT, three, 1, out);
	assert_memory_equal(out, "\x00\xf0\x55", 3);
	assert_true(bits_parse_op(BYTES("XoR"), &op));
	assert_int_equal(op, BITS_XOR);
	assert_false(bits_parse_op(BYTES("nand"), &op));
	three[0].size = 0;
	bits_combine(BITS_OR, three, 2, out);
	assert_memory_equal(out, "\x0f", 1);
}

struct script {
	const char *args;    /* separated by one space */
	const char *replies; /* "n" stands for null */
};

static size_t split(const char *text, struct bytes *args)
{
	size_t count = 0;

	while (*text) {
		size_t size = strcspn(text, " ");

		args[count++] = bytes_of(text, size);
		text += size + (text[size] == ' ');
	}
	return count;
}

static void test_bitfield(void **state)
{
	static const struct script scripts[] = {
		{ "get u8 0 set u8 0 255 get u8 0", "0 0 255" },
		{ "incrby i5 100 1 get u4 0", "1 15" },
		{ "set i8 0 -128 get u8 0 get i8 0", "-1 128 -128" },
		{ "set u8 0 255 incrby u8 0 1", "128 0" },
		{ "set u8 0 255 overflow sat incrby u8 0 1 incrby u8 0 -300", "0 255 0" },
		{ "overflow fail set u8 0 256 set u8 0 255 incrby u8 0 1 get u8 0", "n 0 n 255" },
		{ "overflow sat set u8 0 -1 set i8 0 300 set i8 0 -300 get i8 0",
		  "255 -1 127 -128" },
		{ "set i64 #0 9223372036854775807 incrby i64 0 1", NULL },
		{ "get i64 #0", "-9223372036854775808" },
		{ "set u63 1 9223372036854775807 incrby u63 1 2 get u63 1", "0 1 1" },
		{ "set u4 #3 10 get u4 12 get u3 4294967293", "0 10 0" },
	};
	struct bitfield_step steps[8];
	uint8_t data[64] = { 0 };

	(void)state;
	for (size_t s = 0; s < array_count(scripts); s++) {
		struct bitfield field = { .steps = steps, .step_max = array_count(steps) };
		struct bytes args[24], replies[8];
		size_t count = split(scripts[s].args, args);

		assert_null(bitfield_parse(args, count, false, &field));
		assert_true(field.size_min <= sizeof(data));
		if (scripts[s].replies)
			assert_int_equal(split(scripts[s].replies, replies), field.step_count);
		for (uint32_t i = 0; i < field.step_count; i++) {
			int64_t value;
			bool written = bitfield_run(&steps[i], data, sizeof(data), &value);
			char text[32];

			if (!scripts[s].replies)
				continue;
			snprintf(text, sizeof(text), written ? "%lld" : "n", (long long)value);
			if (!bytes_equal(replies[i], bytes_of(text, strlen(text))))
				fail_msg("%s: step %u gives %s", scripts[s].args, i, text);
		}
	}
}

static void test_bitfield_every_width(void **state)
{
	uint8_t data[12], before[12];

	(void)state;
	for (unsigned round = 0; round < 5000; round++) {
		struct bitfield_step step = { .kind = BITFIELD_SET,
			                      .width = (uint8_t)(1 + chance() % 63) };
		int64_t value, old;

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = before[i] = (uint8_t)chance();
		step.offset = chance() % (96 - step.width);
		step.is_signed = chance() & 1;
		step.value = (int64_t)(chance() & ((1ull << step.width) - 1));
		assert_true(bitfield_run(&step, data, sizeof(data), &old));
		value = bitfield_get(&step, bytes_of(data, sizeof(data)));
		assert_true((((uint64_t)value ^ (uint64_t)step.value) << (64 - step.width)) == 0);
		for (uint64_t i = 0; i < 96; i++) {
			bool expected = bits_get(bytes_of(before, 12), i);

			if (i >= step.offset && i < step.offset + step.width)
				expected = step.value >> (step.offset + step.width - 1 - i) & 1;
			assert_int_equal(bits_get(bytes_of(data, 12), i), expected);
		}
	}
}

static void test_bitfield_errors(void **state)
{
	static const char *const rows[][2] = {
		{ "get u64 0", "Invalid bitfield type. Use something like i16 u8. Note that u64 "
		               "is not supported but i64 is." },
		{ "get i65 0", "Invalid bitfield type. Use something like i16 u8. Note that u64 "
		               "is not supported but i64 is." },
		{ "get x8 0", "Invalid bitfield type. Use something like i16 u8. Note that u64 "
		              "is not supported but i64 is." },
		{ "get u8 -1", BITS_OFFSET_ERROR },
		{ "get u8", "syntax error" },
		{ "set u8 0", "syntax error" },
		{ "get u8 0 overflow", "syntax error" },
		{ "overflow never get u8 0", "Invalid OVERFLOW type specified" },
		{ "set u8 0 x", "value is not an integer or out of range" },
		{ "get u8 0 frobnicate", "syntax error" },
	};
	struct bitfield_step steps[8];
	struct bitfield field = { .steps = steps, .step_max = array_count(steps) };
	struct bytes args[24];
	size_t count;

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		const char *error = bitfield_parse(args, split(rows[i][0], args), false, &field);

		assert_non_null(error);
		assert_string_equal(error, rows[i][1]);
	}
	count = split("get u8 0 set u8 0 1", args);
	assert_string_equal(bitfield_parse(args, count, true, &field),
	                    "BITFIELD_RO only supports the GET subcommand");
	assert_null(bitfield_parse(args, 0, true, &field));
	assert_int_equal(field.step_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_get_and_set),
		cmocka_unit_test(test_count_and_position_of_the_manual),
		cmocka_unit_test(test_against_a_model),
		cmocka_unit_test(test_combine),
		cmocka_unit_test(test_bitfield),
		cmocka_unit_test(test_bitfield_every_width),
		cmocka_unit_test(test_bitfield_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
