/* SPDX-License-Identifier: Apache-2.0 */
/* The flight recorder: the last thousands of events of a worker, kept for the day it falls over. */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "core/worker.h"

/*
 * One row per event: name, and what the two numbers are. A new event is a new row.
 *
 *        name                a               b
 */
// clang-format off
#define TRACE_TABLE(X) \
	X(WORKER_START,       "roles",        "core") \
	X(WORKER_STOP,        "turns",        "events") \
	X(STREAM_ACCEPT,      "stream",       "open") \
	X(STREAM_CLOSE,       "stream",       "status") \
	X(LOG_WRITE,          "offset",       "size") \
	X(LOG_DURABLE,        "sequence",     "took_ns") \
	X(CHECKPOINT_START,   "sequence",     "pages") \
	X(CHECKPOINT_DONE,    "sequence",     "took_ns") \
	X(CLEAN_SEGMENT,      "segment",      "live_size") \
	X(DEVICE_ERROR,       "offset",       "status") \
	X(PARKED,             "what",         "count") \
	X(SLOW_REQUEST,       "op",           "took_ns") \
	X(TEST,               "a",            "b")

enum trace_event {
#define X(name, ...) TRACE_##name,
	TRACE_TABLE(X)
#undef X
	TRACE_EVENTS
};
// clang-format on

enum {
	TRACE_RECORDS = 4096
}; /* 128 KiB a worker: seconds of rare events, milliseconds of a storm */

struct trace_record {
	uint64_t time_ns;
	uint64_t event; /* enum trace_event */
	uint64_t a, b;
};

/* Memory: the owner's, for the worker's life. Thread: its worker writes; a dump may read a torn
 * one. */
struct trace {
	const char *name; /* of the worker, for people */
	uint64_t count;   /* records ever written; the next goes to count % TRACE_RECORDS */
	struct trace_record records[TRACE_RECORDS];
};

static inline void trace_put(struct worker *w, enum trace_event event, uint64_t a, uint64_t b)
{
	struct trace *t = w->trace;
	struct trace_record *record;

	if (t == NULL)
		return;
	record = &t->records[t->count % TRACE_RECORDS];
	record->time_ns = w->now_ns;
	record->event = event;
	record->a = a;
	record->b = b;
	/* A reader in a signal handler of this thread takes only what is complete. */
	__atomic_store_n(&t->count, t->count + 1, __ATOMIC_RELEASE);
}

/* Where dumps go; called from signal handlers, so it allocates nothing and takes no locks. */
typedef void trace_write_fn(const char *text, size_t size);

/* Turns a code address into a name in out, terminated; returns its size, or 0: not known. */
typedef size_t trace_name_fn(uintptr_t address, char *out, size_t out_max);

/* The newest `limit` records, oldest first, a line each. */
void trace_dump(const struct trace *trace, unsigned limit, trace_write_fn *write);

/* A request's frames as a backtrace, newest first: who waits for it, by the name of its done(). */
void trace_request(const struct req *req, trace_name_fn *name, trace_write_fn *write);

#endif
