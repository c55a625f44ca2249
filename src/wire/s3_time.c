/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_time.h"

#include <stdio.h>

#include "base/assert.h"
#include "wire/text.h"

struct civil {
	unsigned year, month, day, hour, minute, second;
};

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char days[] = "ThuFriSatSunMonTueWed"; /* 1970 began on a Thursday */

/* Days from civil and back (Hinnant, "chrono-compatible low-level date algorithms"). */
static uint64_t days_of(const struct civil *c)
{
	unsigned year = c->month <= 2 ? c->year - 1 : c->year;
	unsigned era = year / 400, of_era = year % 400;
	unsigned of_year =
	        (153 * (c->month > 2 ? c->month - 3 : c->month + 9) + 2) / 5 + c->day - 1;

	return (uint64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool seconds_of(const struct civil *c, uint64_t *ret_s)
{
	static const uint8_t month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (c->year % 4 == 0 && c->year % 100 != 0) || c->year % 400 == 0;

	if (c->year < 1970 || c->year > 9999 || c->month < 1 || c->month > 12 || c->day < 1)
		return false;
	if (c->day > month_days[c->month - 1] + (unsigned)(leap && c->month == 2))
		return false;
	if (c->hour > 23 || c->minute > 59 || c->second > 60)
		return false;
	*ret_s = days_of(c) * 86400 + c->hour * 3600 + c->minute * 60 + c->second;
	return true;
}

static struct civil civil_of(uint64_t s)
{
	uint64_t z = s / 86400 + 719468, era = z / 146097;
	unsigned of_era = (unsigned)(z % 146097), second = (unsigned)(s % 86400);
	unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
	unsigned month = (5 * of_year + 2) / 153;
	struct civil c = {
		.day = of_year - (153 * month + 2) / 5 + 1,
		.month = month < 10 ? month + 3 : month - 9,
		.hour = second / 3600,
		.minute = second / 60 % 60,
		.second = second % 60,
	};

	c.year = year + (unsigned)era * 400 + (c.month <= 2);
	return c;
}

/* `digits` digits at the front; takes them. */
static bool take_number(struct bytes *text, unsigned digits, unsigned *ret_value)
{
	uint64_t value;

	if (text->size < digits || !bytes_parse_u64(bytes_of(text->data, digits), 9999, &value))
		return false;
	*text = bytes_of(text->data + digits, text->size - digits);
	*ret_value = (unsigned)value;
	return true;
}

static bool take_word(struct bytes *text, const char *word)
{
	struct bytes prefix = bytes_of(word, strlen(word));

	if (!bytes_starts_with(*text, prefix))
		return false;
	*text = bytes_of(text->data + prefix.size, text->size - prefix.size);
	return true;
}

static void skip_fraction(struct bytes *text)
{
	if (!take_word(text, "."))
		return;
	while (text->size > 0 && text->data[0] >= '0' && text->data[0] <= '9')
		*text = bytes_of(text->data + 1, text->size - 1);
}

bool s3_time_parse_iso(struct bytes text, uint64_t *ret_s)
{
	struct civil c = { 0 };

	if (!take_number(&text, 4, &c.year) || !take_word(&text, "-") ||
	    !take_number(&text, 2, &c.month) || !take_word(&text, "-") ||
	    !take_number(&text, 2, &c.day))
		return false;
	if (text.size > 0) {
		if (!take_word(&text, "T") || !take_number(&text, 2, &c.hour) ||
		    !take_word(&text, ":") || !take_number(&text, 2, &c.minute) ||
		    !take_word(&text, ":") || !take_number(&text, 2, &c.second))
			return false;
		skip_fraction(&text);
		if (text.size > 0 && !take_word(&text, "Z") && !take_word(&text, "+00:00"))
			return false;
	}
	return text.size == 0 && seconds_of(&c, ret_s);
}

bool s3_time_parse_basic(struct bytes text, uint64_t *ret_s)
{
	struct civil c = { 0 };

	return take_number(&text, 4, &c.year) && take_number(&text, 2, &c.month) &&
	       take_number(&text, 2, &c.day) && take_word(&text, "T") &&
	       take_number(&text, 2, &c.hour) && take_number(&text, 2, &c.minute) &&
	       take_number(&text, 2, &c.second) && take_word(&text, "Z") && text.size == 0 &&
	       seconds_of(&c, ret_s);
}

static bool take_month(struct bytes *text, unsigned *ret_month)
{
	for (unsigned i = 0; i < 12 && text->size >= 3; i++) {
		if (memcmp(text->data, months + 3 * i, 3) == 0) {
			*text = bytes_of(text->data + 3, text->size - 3);
			*ret_month = i + 1;
			return true;
		}
	}
	return false;
}

static bool take_clock(struct bytes *text, struct civil *c)
{
	return take_number(text, 2, &c->hour) && take_word(text, ":") &&
	       take_number(text, 2, &c->minute) && take_word(text, ":") &&
	       take_number(text, 2, &c->second);
}

/* "Sun Nov  6 08:49:37 1994", the day's name already taken. */
static bool parse_asctime(struct bytes text, uint64_t *ret_s)
{
	struct civil c = { 0 };

	if (!take_month(&text, &c.month) || !take_word(&text, " "))
		return false;
	if (!take_number(&text, take_word(&text, " ") ? 1 : 2, &c.day) || !take_word(&text, " "))
		return false;
	return take_clock(&text, &c) && take_word(&text, " ") && take_number(&text, 4, &c.year) &&
	       text.size == 0 && seconds_of(&c, ret_s);
}

bool s3_time_parse_http(struct bytes text, uint64_t *ret_s)
{
	struct civil c = { 0 };
	struct bytes rest = text, name;
	bool old;

	if (text.size == 0 || memchr(text.data, ',', text.size) == NULL) {
		bytes_cut(&rest, ' ');
		return parse_asctime(rest, ret_s);
	}
	name = bytes_cut(&rest, ',');
	if (name.size < 3 || !take_word(&rest, " ") || !take_number(&rest, 2, &c.day))
		return false;
	old = take_word(&rest, "-");
	if ((!old && !take_word(&rest, " ")) || !take_month(&rest, &c.month) ||
	    !take_word(&rest, old ? "-" : " ") || !take_number(&rest, old ? 2 : 4, &c.year))
		return false;
	if (old)
		c.year += c.year < 70 ? 2000 : 1900;
	if (!take_word(&rest, " ") || !take_clock(&rest, &c))
		return false;
	return (take_word(&rest, " GMT") || take_word(&rest, " UTC") ||
	        take_word(&rest, " +0000") || take_word(&rest, " -0000")) &&
	       rest.size == 0 && seconds_of(&c, ret_s);
}

void s3_time_format_iso(uint64_t ms, char *out)
{
	struct civil c = civil_of(ms / 1000);
	char text[80];
	int size = snprintf(text, sizeof(text), "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", c.year,
	                    c.month, c.day, c.hour, c.minute, c.second, (unsigned)(ms % 1000));

	assert(size == S3_TIME_ISO_SIZE); /* else: after the year 9999 */
	memcpy(out, text, S3_TIME_ISO_SIZE);
}

void s3_time_format_http(uint64_t s, char *out)
{
	struct civil c = civil_of(s);
	char text[80];
	int size = snprintf(text, sizeof(text), "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
	                    days + s / 86400 % 7 * 3, c.day, months + (size_t)(c.month - 1) * 3,
	                    c.year, c.hour, c.minute, c.second);

	assert(size == S3_TIME_HTTP_SIZE);
	memcpy(out, text, S3_TIME_HTTP_SIZE);
}
