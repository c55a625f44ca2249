/* SPDX-License-Identifier: Apache-2.0 */
#include "core/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "core/recent.h"

static const char *const level_names[] = { "debug", "info", "warn", "error" };
_Static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVELS, "one name per level");
_Static_assert((LOG_RECORDS & (LOG_RECORDS - 1)) == 0, "indices wrap by a mask");
_Static_assert(LOG_BURST < LOG_RECORDS, "a burst fits an empty ring");

void log_init(struct log *log, enum log_level level)
{
	assert(level < LOG_LEVELS);
	*log = (struct log){ .level = level, .tokens_milli = LOG_BURST * 1000 };
}

static bool take_token(struct log *log, uint64_t now_ns)
{
	uint64_t gained = (now_ns - log->refilled_ns) / (1000000 / LOG_PER_SECOND);

	assert(now_ns >= log->refilled_ns);
	if (gained > 0) {
		uint64_t tokens = log->tokens_milli + gained;

		log->tokens_milli = tokens > LOG_BURST * 1000 ? LOG_BURST * 1000 : (uint32_t)tokens;
		log->refilled_ns = now_ns;
	}
	if (log->tokens_milli < 1000)
		return false;
	log->tokens_milli -= 1000;
	return true;
}

static void drop(struct log *log)
{
	uint64_t dropped = atomic_load_explicit(&log->dropped, memory_order_relaxed);

	atomic_store_explicit(&log->dropped, dropped + 1, memory_order_relaxed);
}

void log_put(struct worker *w, enum log_level level, const char *format, ...)
{
	struct log *log = w->log;
	struct log_record *record;
	uint32_t tail;
	va_list args;
	int size;

	assert(level < LOG_LEVELS);
	if (log == NULL || level < log->level)
		return;
	tail = atomic_load_explicit(&log->tail, memory_order_relaxed);
	/* Pairs with the release in log_drain(): the record has been read before it is reused. */
	if (tail - atomic_load_explicit(&log->head, memory_order_acquire) == LOG_RECORDS ||
	    !take_token(log, w->now_ns)) {
		drop(log);
		return;
	}
	record = &log->records[tail % LOG_RECORDS];
	record->wall_ms = w->wall_ms;
	record->level = (uint8_t)level;
	va_start(args, format);
	size = vsnprintf(record->text, sizeof(record->text), format, args);
	va_end(args);
	assert(size >= 0);
	if (size > LOG_TEXT_MAX) {
		memcpy(&record->text[LOG_TEXT_MAX - 3], "...", 3);
		size = LOG_TEXT_MAX;
	}
	record->size = (uint8_t)size;
	/* Pairs with the acquire in log_drain(): the record is whole before it is seen. */
	atomic_store_explicit(&log->tail, tail + 1, memory_order_release);
}

/* A line that grows, with room for an end of three bytes. */
struct text {
	char *out;
	size_t size;
};

enum { TEXT_ROOM = LOG_LINE_MAX - 4 };

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
	size_t room = TEXT_ROOM - text->size;
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(text->out + text->size, room + 1, format, args);
	va_end(args);
	assert(size >= 0);
	text->size += (size_t)size < room ? (size_t)size : room;
}

/* In quotes. Bytes that are no characters, or would end them, do no harm. */
static void put_quoted(struct text *text, const char *value, size_t size)
{
	put(text, "\"");
	for (size_t i = 0; i < size && text->size + 3 < TEXT_ROOM; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c == '"' || c == '\\')
			put(text, "\\%c", c);
		else
			put(text, "%c", c < ' ' || c >= 0x7f ? '?' : c);
	}
	put(text, "\"");
}

/* The size of "key=" at `text`; 0: there is none. */
static size_t key_size(const char *text)
{
	size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return size > 0 && text[size] == '=' ? size : 0;
}

/* The size of what happened, in words; *ret_pairs: where the pairs start. */
static size_t event_size(const char *text, const char **ret_pairs)
{
	size_t size = 0;

	for (; text[size] != '\0'; size++) {
		if (text[size] == ',' && text[size + 1] == ' ' && key_size(text + size + 2) > 0) {
			*ret_pairs = text + size + 2;
			return size;
		}
	}
	*ret_pairs = text + size;
	return size;
}

static void put_pair(struct text *text, enum log_style style, struct bytes key, struct bytes value)
{
	const char *data = (const char *)value.data;
	bool is_number = value.size > 0 && value.size < 16 && (value.size == 1 || data[0] != '0') &&
	                 strspn(data, "0123456789") >= value.size;
	bool is_plain = value.size > 0;

	for (size_t i = 0; i < value.size; i++)
		is_plain &= data[i] > ' ' && data[i] < 0x7f && data[i] != '"' && data[i] != '=';
	if (style == LOG_JSON)
		put(text, ",\"%.*s\":", (int)key.size, (const char *)key.data);
	else
		put(text, " %.*s=", (int)key.size, (const char *)key.data);
	if (style == LOG_JSON ? is_number : is_plain)
		put(text, "%.*s", (int)value.size, data);
	else
		put_quoted(text, data, value.size);
}

/* Pairs up to the end of the line; what is none belongs to the value before it. */
static void put_pairs(struct text *text, enum log_style style, const char *pairs)
{
	size_t size = key_size(pairs);

	while (size > 0) {
		const char *value = pairs + size + 1, *end = value;
		struct bytes key = bytes_of(pairs, size);

		if (*value == '"' && strchr(value + 1, '"') != NULL) {
			end = strchr(value + 1, '"');
			put_pair(text, style, key, bytes_of(value + 1, (size_t)(end - value) - 1));
			end++;
			pairs = end + strspn(end, " ");
			size = key_size(pairs);
			continue;
		}
		while (*end != '\0' && !(*end == ' ' && key_size(end + 1) > 0))
			end++;
		put_pair(text, style, key, bytes_of(value, (size_t)(end - value)));
		pairs = *end == '\0' ? end : end + 1;
		size = key_size(pairs);
	}
}

static void put_structured(struct text *text, const struct log_line *line, const char *time)
{
	bool json = line->style == LOG_JSON;
	const char *pairs;
	size_t size = event_size(line->text, &pairs);

	put(text, json ? "{\"time\":\"%s\",\"level\":\"%s\"" : "time=%s level=%s", time,
	    level_names[line->level]);
	if (line->worker >= 0)
		put(text, json ? ",\"worker\":%d" : " worker=%d", line->worker);
	put(text, "%s", json ? ",\"msg\":" : " msg=");
	put_quoted(text, line->text, size);
	put_pairs(text, line->style, pairs);
}

static void put_plain(struct text *text, const struct log_line *line, const char *time)
{
	put(text, "%s %s", time, level_names[line->level]);
	if (line->worker >= 0)
		put(text, " [%d]", line->worker);
	put(text, " %s", line->text);
	for (size_t i = 0; i < text->size; i++) {
		if ((unsigned char)text->out[i] < ' ' || text->out[i] == 0x7f)
			text->out[i] = '?';
	}
}

size_t log_format(const struct log_line *line, char *out)
{
	time_t seconds = (time_t)(line->wall_ms / 1000);
	struct text text = { .out = out };
	char time[40];
	struct tm tm;

	assert(line->level < LOG_LEVELS);
	assert(line->style < LOG_STYLES);
	gmtime_r(&seconds, &tm);
	snprintf(time, sizeof(time), "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900,
	         tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	         (unsigned)(line->wall_ms % 1000));
	if (line->style == LOG_PLAIN)
		put_plain(&text, line, time);
	else
		put_structured(&text, line, time);
	/* A line that was cut is whole again for who parses it. */
	if (line->style != LOG_PLAIN && text.size == TEXT_ROOM)
		out[text.size++] = '"';
	if (line->style == LOG_JSON)
		out[text.size++] = '}';
	out[text.size++] = '\n';
	out[text.size] = '\0';
	return text.size;
}

unsigned log_drain(struct log *log, int worker, log_write_fn *write)
{
	uint32_t head = atomic_load_explicit(&log->head, memory_order_relaxed);
	uint64_t dropped = atomic_load_explicit(&log->dropped, memory_order_relaxed);
	uint64_t wall_ms = 0;
	unsigned count = 0;
	char out[LOG_LINE_MAX];

	/* Pairs with the release in log_put(). */
	while (head != atomic_load_explicit(&log->tail, memory_order_acquire)) {
		const struct log_record *record = &log->records[head % LOG_RECORDS];
		struct log_line line = {
			.level = record->level,
			.style = log->style,
			.worker = worker,
			.wall_ms = record->wall_ms,
			.text = record->text,
		};

		wall_ms = record->wall_ms;
		write(out, log_format(&line, out));
		if (log->recent != NULL && line.level >= LOG_WARN)
			recent_put(log->recent, line.wall_ms, 0,
			           bytes_of(record->text, record->size));
		count++;
		/* Pairs with the acquire in log_put(). */
		atomic_store_explicit(&log->head, ++head, memory_order_release);
	}
	/* Beside a line that came through, so that it has a time and cannot flood either. */
	if (count > 0 && dropped != log->dropped_seen) {
		struct log_line line = {
			.level = LOG_WARN, .style = log->style, .worker = worker, .wall_ms = wall_ms
		};
		char text[64];

		snprintf(text, sizeof(text), "log lines dropped, count=%" PRIu64,
		         dropped - log->dropped_seen);
		line.text = text;
		write(out, log_format(&line, out));
		log->dropped_seen = dropped;
		count++;
	}
	return count;
}
