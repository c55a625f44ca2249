/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http_date.h"

#include "base/assert.h"

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Days since 1970-01-01 of a date; Howard Hinnant's days_from_civil, for years from 1970 on. */
static uint64_t days_of(unsigned year, unsigned month, unsigned day)
{
	unsigned y = month <= 2 ? year - 1 : year;
	unsigned era = y / 400, year_of_era = y - era * 400;
	unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return (uint64_t)era * 146097 + day_of_era - 719468;
}

void http_time_of(uint64_t unix_s, struct http_time *time)
{
	uint64_t day = unix_s / 86400, shifted = day + 719468;
	unsigned era = (unsigned)(shifted / 146097), doe = (unsigned)(shifted % 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	unsigned second = (unsigned)(unix_s % 86400);

	assert(unix_s <= HTTP_DATE_MAX);
	*time = (struct http_time){
		.year = yoe + era * 400 + (mp >= 10),
		.month = mp < 10 ? mp + 3 : mp - 9,
		.day = doy - (153 * mp + 2) / 5 + 1,
		.hour = second / 3600,
		.minute = second / 60 % 60,
		.second = second % 60,
		.weekday = (unsigned)((day + 4) % 7),
	};
}

static unsigned month_days(unsigned year, unsigned month)
{
	static const uint8_t sizes[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return sizes[month - 1] + (month == 2 && leap);
}

bool http_time_unix(const struct http_time *time, uint64_t *ret_unix_s)
{
	if (time->year < 1970 || time->year > 9999 || time->month < 1 || time->month > 12 ||
	    time->day < 1 || time->day > month_days(time->year, time->month))
		return false;
	/* 60: a leap second. */
	if (time->hour > 23 || time->minute > 59 || time->second > 60)
		return false;
	*ret_unix_s = days_of(time->year, time->month, time->day) * 86400 + time->hour * 3600 +
	              time->minute * 60 + time->second;
	return true;
}

static char *write_number(char *out, unsigned value, unsigned digits)
{
	for (unsigned i = digits; i > 0; i--) {
		out[i - 1] = (char)('0' + value % 10);
		value /= 10;
	}
	return out + digits;
}

void http_date_format(uint64_t unix_s, char *out)
{
	struct http_time time;

	http_time_of(unix_s < HTTP_DATE_MAX ? unix_s : HTTP_DATE_MAX, &time);
	memcpy(out, days + 3 * time.weekday, 3);
	memcpy(out + 3, ", ", 2);
	write_number(out + 5, time.day, 2);
	out[7] = ' ';
	memcpy(out + 8, months + 3 * (time.month - 1), 3);
	out[11] = ' ';
	write_number(out + 12, time.year, 4);
	out[16] = ' ';
	write_number(out + 17, time.hour, 2);
	out[19] = ':';
	write_number(out + 20, time.minute, 2);
	out[22] = ':';
	write_number(out + 23, time.second, 2);
	memcpy(out + 25, " GMT", 4);
}

/*
 * Fits text to a pattern: 'd' a digit of the day, 'm' three letters of a month, 'Y' 'h' 'i' 's'
 * digits of year, hour, minute, second, '_' the day's first digit or a space, '*' a letter; all
 * others stand for themselves. *time gathers.
 */
static bool fits(struct bytes text, const char *pattern, struct http_time *time)
{
	size_t at = 0;

	for (; *pattern != '\0'; pattern++) {
		uint8_t c = at < text.size ? text.data[at] : 0;
		bool digit = (uint8_t)(c - '0') <= 9;
		unsigned value = digit ? c - '0' : 0;

		switch (*pattern) {
		case 'm':
			for (unsigned i = 0; i < 12 && text.size - at >= 3; i++) {
				if (memcmp(text.data + at, months + 3 * i, 3) == 0)
					time->month = i + 1;
			}
			if (time->month == 0)
				return false;
			at += 3;
			continue;
		case '_':
			if (c != ' ' && !digit)
				return false;
			time->day = value;
			break;
		case 'd':
			time->day = time->day * 10 + value;
			break;
		case 'Y':
			time->year = time->year * 10 + value;
			break;
		case 'h':
			time->hour = time->hour * 10 + value;
			break;
		case 'i':
			time->minute = time->minute * 10 + value;
			break;
		case 's':
			time->second = time->second * 10 + value;
			break;
		default:
			if (*pattern == '*' ? !((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
			                    : c != (uint8_t)*pattern)
				return false;
			digit = true;
			break;
		}
		if (!digit && *pattern != '_')
			return false;
		at++;
	}
	return at == text.size;
}

static bool is_weekday(struct bytes text)
{
	static const char *const names[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
		                             "Thursday", "Friday", "Saturday" };

	for (unsigned i = 0; i < 7; i++) {
		if (bytes_equal(text, bytes_of(names[i], strlen(names[i]))))
			return true;
	}
	return false;
}

bool http_date_parse(struct bytes text, uint64_t *ret_unix_s)
{
	struct http_time time = { .year = 0 };
	const uint8_t *comma;

	if (text.size == 0)
		return false;
	if (fits(text, "***, dd m YYYY hh:ii:ss GMT", &time))
		return http_time_unix(&time, ret_unix_s);
	time = (struct http_time){ .year = 0 };
	if (fits(text, "*** m _d hh:ii:ss YYYY", &time))
		return http_time_unix(&time, ret_unix_s);
	comma = memchr(text.data, ',', text.size);
	if (comma == NULL || !is_weekday(bytes_of(text.data, (size_t)(comma - text.data))))
		return false;
	text = bytes_of(comma, text.size - (size_t)(comma - text.data));
	time = (struct http_time){ .year = 0 };
	if (!fits(text, ", dd-m-YY hh:ii:ss GMT", &time))
		return false;
	time.year += time.year < 70 ? 2000 : 1900;
	return http_time_unix(&time, ret_unix_s);
}
