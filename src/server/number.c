/* SPDX-License-Identifier: Apache-2.0 */
#include "server/number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "base/macros.h"

bool number_parse_uint64(struct bytes text, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (text.size == 0 || text.size > NUMBER_INT64_MAX)
		return false;
	if (text.data[0] == '0' && text.size > 1)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		unsigned digit = (unsigned)text.data[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return false;
	}
	*ret_value = value;
	return true;
}

bool number_parse_int64(struct bytes text, int64_t *ret_value)
{
	bool negative = text.size > 0 && text.data[0] == '-';
	uint64_t value, limit = (uint64_t)INT64_MAX + negative;

	if (negative)
		text = bytes_of(text.data + 1, text.size - 1);
	if (!number_parse_uint64(text, &value) || value > limit || (negative && value == 0))
		return false;
	*ret_value = (int64_t)(negative ? 0 - value : value);
	return true;
}

size_t number_format_uint64(uint64_t value, char *out)
{
	static const char pairs[] = "00010203040506070809101112131415161718192021222324"
	                            "25262728293031323334353637383940414243444546474849"
	                            "50515253545556575859606162636465666768697071727374"
	                            "75767778798081828384858687888990919293949596979899";
	char digits[NUMBER_INT64_MAX];
	size_t at = sizeof(digits);

	while (value >= 100) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * (value % 100), 2);
		value /= 100;
	}
	if (value >= 10) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * value, 2);
	} else {
		digits[--at] = (char)('0' + value);
	}
	assert(at < sizeof(digits));
	memcpy(out, digits + at, sizeof(digits) - at);
	return sizeof(digits) - at;
}

size_t number_format_int64(int64_t value, char *out)
{
	if (value >= 0)
		return number_format_uint64((uint64_t)value, out);
	*out = '-';
	return 1 + number_format_uint64(0 - (uint64_t)value, out + 1);
}

bool number_add_int64(int64_t a, int64_t b, int64_t *ret_sum)
{
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret_sum = sum;
	return true;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Copies `text` so that it is terminated; false when the C library should not see it. */
static bool terminate(struct bytes text, char *out, size_t out_size)
{
	if (text.size == 0 || text.size >= out_size || is_space((char)text.data[0]))
		return false;
	memcpy(out, text.data, text.size);
	out[text.size] = '\0';
	return true;
}

bool number_parse_long(struct bytes text, long double *ret_value)
{
	char copy[NUMBER_LONG_MAX], *end;
	long double value;

	if (!terminate(text, copy, sizeof(copy)))
		return false;
	errno = 0;
	value = strtold(copy, &end);
	if (end != copy + text.size || isnan(value))
		return false;
	if (errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO))
		return false;
	*ret_value = value;
	return true;
}

bool number_parse_double(struct bytes text, double *ret_value)
{
	char copy[NUMBER_LONG_MAX], *end;
	double value;

	if (!terminate(text, copy, sizeof(copy)))
		return false;
	errno = 0;
	value = strtod(copy, &end);
	if (end != copy + text.size || isnan(value))
		return false;
	if (errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO))
		return false;
	*ret_value = value;
	return true;
}

static size_t put(char *out, const char *text)
{
	size_t size = strlen(text);

	memcpy(out, text, size);
	return size;
}

size_t number_format_long(long double value, char *out)
{
	int size;

	if (isnan(value))
		return put(out, "nan");
	if (isinf(value))
		return put(out, value > 0 ? "inf" : "-inf");
	size = snprintf(out, NUMBER_LONG_MAX, "%.17Lf", value);
	assert(size > 18 && size < NUMBER_LONG_MAX); /* at most 4,933 digits before the point */
	while (out[size - 1] == '0')
		size--;
	if (out[size - 1] == '.')
		size--;
	if (size == 2 && out[0] == '-' && out[1] == '0')
		return put(out, "0");
	return (size_t)size;
}

size_t number_format_double(double value, char *out)
{
	const double exact_max = 4503599627370496.0; /* 2^52 */
	int size;

	if (isnan(value))
		return put(out, "nan");
	if (isinf(value))
		return put(out, value > 0 ? "inf" : "-inf");
	if (value == 0)
		return put(out, signbit(value) ? "-0" : "0");
	if (value > -exact_max && value < exact_max && value == (double)(int64_t)value)
		return number_format_int64((int64_t)value, out);
	size = snprintf(out, NUMBER_DOUBLE_MAX, "%.17g", value);
	assert(size > 0 && size < NUMBER_DOUBLE_MAX);
	return (size_t)size;
}

bool number_parse_size(struct bytes text, uint64_t *ret_size)
{
	static const struct {
		const char *name;
		uint64_t factor;
	} units[] = {
		{ "", 1 },
		{ "b", 1 },
		{ "k", 1000 },
		{ "kb", 1ull << 10 },
		{ "m", 1000 * 1000 },
		{ "mb", 1ull << 20 },
		{ "g", 1000ull * 1000 * 1000 },
		{ "gb", 1ull << 30 },
		{ "t", 1000ull * 1000 * 1000 * 1000 },
		{ "tb", 1ull << 40 },
	};
	uint64_t value = 0;
	size_t i = 0;

	for (; i < text.size && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, text.data[i] - '0', &value))
			return false;
	}
	if (i == 0)
		return false;
	for (size_t u = 0; u < array_count(units); u++) {
		size_t size = strlen(units[u].name);

		if (text.size - i != size ||
		    strncasecmp((const char *)text.data + i, units[u].name, size) != 0)
			continue;
		return !__builtin_mul_overflow(value, units[u].factor, ret_size);
	}
	return false;
}

size_t number_format_size(uint64_t size, char *out)
{
	static const char units[] = "BKMGTPE";
	double value = (double)size;
	size_t unit = 0;
	int written;

	for (; value >= 1024 && unit + 2 < sizeof(units); unit++)
		value /= 1024;
	if (unit == 0)
		written = snprintf(out, NUMBER_SIZE_MAX, "%uB", (unsigned)size);
	else
		written = snprintf(out, NUMBER_SIZE_MAX, "%.2f%c", value, units[unit]);
	assert(written > 0 && written < NUMBER_SIZE_MAX);
	return (size_t)written;
}
