/* SPDX-License-Identifier: Apache-2.0 */
#include "core/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"

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

size_t log_format(const struct log_line *line, char *out)
{
	time_t seconds = (time_t)(line->wall_ms / 1000);
	char who[16] = "";
	struct tm tm;
	int size;

	assert(line->level < LOG_LEVELS);
	gmtime_r(&seconds, &tm);
	if (line->worker >= 0)
		snprintf(who, sizeof(who), " [%d]", line->worker);
	size = snprintf(out, LOG_LINE_MAX - 1, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %s%s %s",
	                tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	                tm.tm_sec, (unsigned)(line->wall_ms % 1000), level_names[line->level], who,
	                line->text);
	assert(size > 0);
	if (size > LOG_LINE_MAX - 2)
		size = LOG_LINE_MAX - 2;
	for (int i = 0; i < size; i++) {
		if ((unsigned char)out[i] < ' ' || out[i] == 0x7f)
			out[i] = '?';
	}
	out[size++] = '\n';
	out[size] = '\0';
	return (size_t)size;
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
			.worker = worker,
			.wall_ms = record->wall_ms,
			.text = record->text,
		};

		wall_ms = record->wall_ms;
		write(out, log_format(&line, out));
		count++;
		/* Pairs with the acquire in log_put(). */
		atomic_store_explicit(&log->head, ++head, memory_order_release);
	}
	/* Beside a line that came through, so that it has a time and cannot flood either. */
	if (count > 0 && dropped != log->dropped_seen) {
		struct log_line line = { .level = LOG_WARN, .worker = worker, .wall_ms = wall_ms };
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
