/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines to the operator: written by workers into rings, printed by the main thread. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/worker.h"

/* How lines look: the choices of log.format, in its order. */
enum log_style {
	LOG_PLAIN,  /* 2026-01-31T12:00:00.123Z warn [2] device error, path=x status=y */
	LOG_LOGFMT, /* time=2026-... level=warn worker=2 msg="device error" path=x status=y */
	LOG_JSON,   /* {"time":"2026-...","level":"warn","worker":2,"msg":"...","path":"x",...} */
	LOG_STYLES
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVELS };

enum {
	LOG_RECORDS = 256,   /* 64 KiB a worker; the main thread drains ten times a second */
	LOG_TEXT_MAX = 239,  /* bytes; what is longer is cut and ends in "..." */
	LOG_BURST = 64,      /* lines at once, below LOG_RECORDS so that a burst always fits */
	LOG_PER_SECOND = 20, /* lines of one worker after a burst */
};

struct log_record {
	uint64_t wall_ms;
	uint8_t level;
	uint8_t size;
	char text[LOG_TEXT_MAX + 1];
};

/*
 * Memory: the owner's, for the worker's life. Thread: its worker writes, one other drains. What
 * does not fit, or comes faster than LOG_PER_SECOND, is dropped and counted: a worker never waits.
 */
struct log {
	_Alignas(CACHE_LINE) _Atomic uint32_t tail; /* the worker's */
	uint32_t tokens_milli;                      /* lines that may still go, in thousandths */
	uint64_t refilled_ns;
	_Atomic uint64_t dropped;
	enum log_level level;                       /* below it: nothing */
	enum log_style style;                       /* set before its worker runs */
	_Alignas(CACHE_LINE) _Atomic uint32_t head; /* the drain's */
	uint64_t dropped_seen;
	struct recent *recent; /* keeps what is LOG_WARN or worse; NULL: nobody looks */
	struct log_record records[LOG_RECORDS];
};

void log_init(struct log *log, enum log_level level);

/*
 * `format` gives an event in words and then key=value pairs: "device error, path=%s status=%s".
 * Rare things only: nothing in the data path logs. A worker without a log: nothing.
 */
void log_put(struct worker *w, enum log_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* One line, with its newline, in the form that log_drain() gives; for threads without a ring. */
struct log_line {
	enum log_level level;
	enum log_style style;
	int worker; /* -1: none */
	uint64_t wall_ms;
	const char *text;
};
enum { LOG_LINE_MAX = 1024 };

/*
 * The line in its style, in out, of LOG_LINE_MAX bytes, terminated; returns its size. What follows
 * ", " in the text, or "key=", are pairs. Control characters become '?', and quotes are escaped
 * where that matters, so that nobody can forge a line. What is too long is cut.
 */
size_t log_format(const struct log_line *line, char *out);

typedef void log_write_fn(const char *line, size_t size);

/* Hands over every line that is there, and one that counts the dropped ones. Returns lines. */
unsigned log_drain(struct log *log, int worker, log_write_fn *write);

#endif
