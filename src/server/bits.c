/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bits.h"

#include <strings.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"

bool bits_parse_offset(struct bytes text, unsigned width, uint64_t *ret_offset)
{
	bool multiple = width > 0 && text.size > 0 && text.data[0] == '#';
	uint64_t offset;

	assert(width <= 64);
	if (multiple)
		text = bytes_of(text.data + 1, text.size - 1);
	if (!number_parse_uint64(text, &offset) || offset > BITS_OFFSET_MAX)
		return false;
	if (multiple)
		offset *= width;
	if (offset > BITS_OFFSET_MAX)
		return false;
	*ret_offset = offset;
	return true;
}

bool bits_get(struct bytes string, uint64_t offset)
{
	uint64_t byte = offset >> 3;

	return byte < string.size && (string.data[byte] >> (7 - (offset & 7)) & 1);
}

bool bits_set(uint8_t *data, uint64_t offset, bool bit)
{
	uint8_t *byte = &data[offset >> 3];
	uint8_t mask = (uint8_t)(0x80 >> (offset & 7));
	bool before = *byte & mask;

	*byte = (uint8_t)(bit ? *byte | mask : *byte & ~mask);
	return before;
}

static uint64_t load64(const uint8_t *data)
{
	uint64_t word;

	memcpy(&word, data, sizeof(word));
	return word;
}

static uint64_t popcount(const uint8_t *data, size_t size)
{
	uint64_t sums[4] = { 0 };
	uint64_t count;

	for (; size >= 32; data += 32, size -= 32) {
		for (unsigned i = 0; i < 4; i++) /* four chains hide popcnt's latency */
			sums[i] += (unsigned)__builtin_popcountll(load64(data + 8 * i));
	}
	count = sums[0] + sums[1] + sums[2] + sums[3];
	for (; size >= 8; data += 8, size -= 8)
		count += (unsigned)__builtin_popcountll(load64(data));
	for (; size > 0; data++, size--)
		count += (unsigned)__builtin_popcount(*data);
	return count;
}

/* A range of bits [from, to) that lies within the string. */
struct span {
	uint64_t from, to;
};

/* False when the range is empty. */
static bool range_resolve(const struct bits_range *range, size_t size, struct span *ret_span)
{
	int64_t unit = range->by_bit ? 1 : 8, total = (int64_t)size * (8 / unit);
	int64_t start = range->start, end = range->end_given ? range->end : total - 1;

	assert(size <= INT64_MAX / 8);
	if (start < 0)
		start = start + total < 0 ? 0 : start + total;
	if (end < 0)
		end = end + total < 0 ? 0 : end + total;
	if (end >= total)
		end = total - 1;
	if (start > end)
		return false;
	*ret_span = (struct span){ (uint64_t)(start * unit), (uint64_t)((end + 1) * unit) };
	assert(ret_span->from < ret_span->to && ret_span->to <= (uint64_t)size * 8);
	return true;
}

bool bits_resolve(const struct bits_range *range, size_t size, uint64_t *ret_from, uint64_t *ret_to)
{
	struct span span;

	if (!range_resolve(range, size, &span))
		return false;
	*ret_from = span.from;
	*ret_to = span.to;
	return true;
}

uint64_t bits_count(struct bytes string, const struct bits_range *range)
{
	struct span span = { 0, (uint64_t)string.size * 8 };
	uint64_t count;
	size_t first, last;

	if (range && range->start < 0 && range->end_given && range->end < 0 &&
	    range->start > range->end)
		return 0;
	if (range && !range_resolve(range, string.size, &span))
		return 0;
	first = span.from >> 3;
	last = (span.to + 7) >> 3;
	count = popcount(string.data + first, last - first);
	if (span.from & 7)
		count -= (unsigned)__builtin_popcount(string.data[first] >> (8 - (span.from & 7)));
	if (span.to & 7)
		count -= (unsigned)__builtin_popcount(string.data[last - 1] &
		                                      (0xffu >> (span.to & 7)));
	return count;
}

/* The first bit of that value in [span.from, span.to), or span.to. */
static uint64_t scan(const uint8_t *data, struct span span, bool bit)
{
	uint8_t flip = bit ? 0 : 0xff;
	uint64_t at = span.from, skip = bit ? 0 : UINT64_MAX;

	while (at < span.to) {
		size_t byte = at >> 3;
		unsigned rest;

		if ((at & 7) == 0 && span.to - at >= 64 && load64(data + byte) == skip) {
			at += 64;
			continue;
		}
		rest = (uint8_t)(data[byte] ^ flip) & (0xffu >> (at & 7));
		if (rest != 0) {
			at = byte * 8 + (unsigned)__builtin_clz(rest) - 24;
			return at < span.to ? at : span.to;
		}
		at = (byte + 1) * 8;
	}
	return span.to;
}

int64_t bits_position(struct bytes string, bool bit, const struct bits_range *range)
{
	static const struct bits_range whole = { 0 };
	struct span span;
	uint64_t at;

	if (!range)
		range = &whole;
	if (!range_resolve(range, string.size, &span))
		return -1;
	at = scan(string.data, span, bit);
	if (at < span.to)
		return (int64_t)at;
	return !bit && !range->end_given ? (int64_t)at : -1;
}

static bool is_word(struct bytes text, const char *word)
{
	size_t size = strlen(word);

	return text.size == size && strncasecmp((const char *)text.data, word, size) == 0;
}

bool bits_parse_op(struct bytes text, enum bits_op *ret_op)
{
	static const char *const names[] = { "and", "or", "xor", "not" };

	for (size_t i = 0; i < array_count(names); i++) {
		if (is_word(text, names[i])) {
			*ret_op = (enum bits_op)i;
			return true;
		}
	}
	return false;
}

size_t bits_combined_size(const struct bytes *sources, size_t count)
{
	size_t size = 0;

	for (size_t i = 0; i < count; i++)
		size = sources[i].size > size ? sources[i].size : size;
	return size;
}

/* The compiler makes vectors of these loops. */
void bits_apply(enum bits_op op, const uint8_t *source, size_t size, uint8_t *out)
{
	switch (op) {
	case BITS_AND:
		for (size_t i = 0; i < size; i++)
			out[i] &= source[i];
		return;
	case BITS_OR:
		for (size_t i = 0; i < size; i++)
			out[i] |= source[i];
		return;
	case BITS_XOR:
		for (size_t i = 0; i < size; i++)
			out[i] ^= source[i];
		return;
	case BITS_NOT:
		for (size_t i = 0; i < size; i++)
			out[i] = (uint8_t)~source[i];
		return;
	case BITS_COPY:
		memcpy(out, source, size);
		return;
	}
	unreachable();
}

void bits_combine(enum bits_op op, const struct bytes *sources, size_t count, uint8_t *out)
{
	size_t size = bits_combined_size(sources, count);

	assert(count > 0 && (op != BITS_NOT || count == 1));
	if (size == 0)
		return;
	if (op == BITS_NOT) {
		bits_apply(op, sources[0].data, size, out);
		return;
	}
	if (sources[0].size > 0)
		memcpy(out, sources[0].data, sources[0].size);
	memset(out + sources[0].size, 0, size - sources[0].size);
	for (size_t i = 1; i < count; i++) {
		bits_apply(op, sources[i].data, sources[i].size, out);
		if (op == BITS_AND)
			memset(out + sources[i].size, 0, size - sources[i].size);
	}
}

/* "u8", "i64": false when it is no such type. */
static bool parse_type(struct bytes text, struct bitfield_step *step)
{
	uint64_t width;

	if (text.size < 2 || (text.data[0] != 'i' && text.data[0] != 'u'))
		return false;
	step->is_signed = text.data[0] == 'i';
	if (!number_parse_uint64(bytes_of(text.data + 1, text.size - 1), &width))
		return false;
	if (width < 1 || width > (step->is_signed ? 64 : 63))
		return false;
	step->width = (uint8_t)width;
	return true;
}

static bool parse_overflow(struct bytes text, uint8_t *ret_overflow)
{
	static const char *const names[] = { "wrap", "sat", "fail" };

	for (size_t i = 0; i < array_count(names); i++) {
		if (is_word(text, names[i])) {
			*ret_overflow = (uint8_t)i;
			return true;
		}
	}
	return false;
}

/* The operation named by args[0], of which `count` are left; false when none fits. */
static bool parse_kind(const struct bytes *args, size_t count, uint8_t *ret_kind)
{
	static const char *const names[] = { "get", "set", "incrby" };

	for (size_t i = 0; i < array_count(names); i++) {
		if (is_word(args[0], names[i]) && count >= (i == BITFIELD_GET ? 3u : 4u)) {
			*ret_kind = (uint8_t)i;
			return true;
		}
	}
	return false;
}

/* One step from args[0] on: *ret_used of them. */
static const char *parse_step(const struct bytes *args, size_t count, struct bitfield_step *step,
                              size_t *ret_used)
{
	if (!parse_kind(args, count, &step->kind))
		return "syntax error";
	if (!parse_type(args[1], step))
		return "Invalid bitfield type. Use something like i16 u8. Note that u64 is not "
		       "supported but i64 is.";
	if (!bits_parse_offset(args[2], step->width, &step->offset))
		return BITS_OFFSET_ERROR;
	*ret_used = 3;
	if (step->kind == BITFIELD_GET)
		return NULL;
	*ret_used = 4;
	if (!number_parse_int64(args[3], &step->value))
		return "value is not an integer or out of range";
	return NULL;
}

const char *bitfield_parse(const struct bytes *args, size_t count, bool read_only,
                           struct bitfield *field)
{
	uint8_t overflow = BITFIELD_WRAP;

	assert(field->step_max >= count / 3);
	field->step_count = 0;
	field->size_min = 0;
	for (size_t i = 0; i < count;) {
		struct bitfield_step *step = &field->steps[field->step_count];
		const char *error;
		size_t used, size;

		if (is_word(args[i], "overflow") && count - i >= 2) {
			if (!parse_overflow(args[i + 1], &overflow))
				return "Invalid OVERFLOW type specified";
			i += 2;
			continue;
		}
		if (field->step_count == field->step_max)
			return "syntax error"; /* fewer than three arguments are left */
		*step = (struct bitfield_step){ .overflow = overflow };
		error = parse_step(args + i, count - i, step, &used);
		if (error)
			return error;
		i += used;
		field->step_count++;
		size = (step->offset + step->width + 7) >> 3;
		if (step->kind != BITFIELD_GET && size > field->size_min)
			field->size_min = size;
	}
	if (read_only && field->size_min > 0)
		return "BITFIELD_RO only supports the GET subcommand";
	return NULL;
}

/* The bytes that hold a field: at most nine, so that they fit a wide integer. */
struct window {
	uint64_t first; /* byte */
	unsigned count; /* of bytes */
	unsigned shift; /* bits below the field */
};

static struct window window_of(const struct bitfield_step *step)
{
	uint64_t first = step->offset >> 3, end = step->offset + step->width;

	assert(step->width >= 1 && step->width <= 64);
	return (struct window){ first, (unsigned)(((end + 7) >> 3) - first),
		                (unsigned)(8 - end % 8) % 8 };
}

static __uint128_t window_load(const struct window *window, struct bytes string)
{
	__uint128_t wide = 0;

	for (uint64_t i = window->first; i < window->first + window->count; i++)
		wide = wide << 8 | (i < string.size ? string.data[i] : 0);
	return wide;
}

static void field_store(const struct bitfield_step *step, struct bytes string, uint8_t *data,
                        uint64_t value)
{
	struct window window = window_of(step);
	__uint128_t mask = (((__uint128_t)1 << step->width) - 1) << window.shift;
	__uint128_t wide = window_load(&window, string);

	assert(window.first + window.count <= string.size);
	wide = (wide & ~mask) | ((__uint128_t)value << window.shift & mask);
	for (unsigned i = window.count; i > 0; i--, wide >>= 8)
		data[window.first + i - 1] = (uint8_t)wide;
}

static int64_t extend(const struct bitfield_step *step, uint64_t raw)
{
	if (step->is_signed && step->width < 64)
		return (int64_t)(raw << (64 - step->width)) >> (64 - step->width);
	return (int64_t)raw;
}

int64_t bitfield_get(const struct bitfield_step *step, struct bytes string)
{
	struct window window = window_of(step);
	uint64_t raw = (uint64_t)(window_load(&window, string) >> window.shift);

	return extend(step, step->width == 64 ? raw : raw & ((1ull << step->width) - 1));
}

bool bitfield_run(const struct bitfield_step *step, uint8_t *data, size_t size, int64_t *ret_value)
{
	int64_t old = bitfield_get(step, bytes_of(data, size));
	unsigned bits = step->width - step->is_signed;
	__int128_t max = ((__int128_t)1 << bits) - 1, min = step->is_signed ? -max - 1 : 0;
	__int128_t wanted;

	*ret_value = old;
	if (step->kind == BITFIELD_GET)
		return true;
	assert(((step->offset + step->width + 7) >> 3) <= size);
	if (step->kind == BITFIELD_ADD)
		wanted = (__int128_t)old + step->value;
	else /* a negative number for an unsigned field counts as very large */
		wanted = step->is_signed ? (__int128_t)step->value
		                         : (__int128_t)(uint64_t)step->value;
	if (wanted > max || wanted < min) {
		if (step->overflow == BITFIELD_FAIL)
			return false;
		if (step->overflow == BITFIELD_SATURATE)
			wanted = wanted > max ? max : min;
	}
	field_store(step, bytes_of(data, size), data, (uint64_t)wanted);
	if (step->kind == BITFIELD_ADD) /* what is there now, wrapped or not */
		*ret_value = bitfield_get(step, bytes_of(data, size));
	return true;
}
