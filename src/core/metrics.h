/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: numbers that workers count in memory of their own, summed by whoever reads them. */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/status.h"

/*
 * A number stays where its writer has it, usually in the writer's own struct, and is registered by
 * address when that is opened. Series with the same name and labels are one series to the reader:
 * their sum. So a worker shares no cache line that it writes with another.
 *
 * Names: weir_ first, units last (_seconds, _bytes), counters end in _total. Labels that say the
 * same everywhere: face="resp", op="get", worker="0".
 */
enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_KINDS };

/*
 * Memory: the texts and the numbers live as long as the registry (literals; the owner's struct).
 *
 * With element_count, an array of numbers: one series per element, whose labels are `labels` and
 * then element_label="element_name(i)". Elements that are 0 with all writers are no series, so that
 * a row may stand for all that a face can do. Rows of the same name and labels have the same array.
 */
struct metric {
	enum metric_kind kind;
	const char *name;   /* "weir_turns_total"; a histogram's ends in _seconds */
	const char *help;   /* one sentence */
	const char *labels; /* "op=\"get\",space=\"redis\"", or "" */
	union {
		const uint64_t *number;            /* counter, gauge; of the first element */
		const struct histogram *histogram; /* of nanoseconds */
	};
	uint64_t divisor;          /* counter, gauge: shown divided by it (1e9: ns); 0: as it is */
	const char *element_label; /* "op" */
	const char *(*element_name)(unsigned index); /* any thread; a text that stays */
	unsigned element_count;                      /* 0: one number */
	size_t element_size; /* bytes from one element's number to the next one's */
};

enum {
	METRICS_MAX = 6144,        /* 64 workers of 96 rows each */
	METRIC_LABELS_MAX = 256,   /* bytes of a series' labels, terminator included */
	METRIC_TEXT_MAX = 12 << 10 /* bytes of any metric_write() */
};

/* Thread: the control thread registers before anybody reads; then any thread may read. */
struct metrics {
	struct metric rows[METRICS_MAX]; /* in the order of name, then labels */
	unsigned count;
	bool complete; /* they may be read: nothing is added any more */
};

/*
 * BUSY: METRICS_MAX are registered. The same name with another kind, and the same name and labels
 * with another array, are programmer errors.
 */
enum status metrics_add(struct metrics *metrics, const struct metric *metric)
        __attribute__((warn_unused_result));

/* A series as its reader sees it: the sum of all rows with these labels. About 5 KiB. */
struct metric_series {
	const struct metric *metric; /* its name, help and kind; labels are here: */
	char labels[METRIC_LABELS_MAX];
	bool is_first;              /* of its name */
	uint64_t number;            /* counter, gauge; not divided yet */
	struct histogram histogram; /* METRIC_HISTOGRAM */
};

/* Where a reader stands: zeros, the start. It may be kept over turns: rows only grow at open. */
struct metrics_cursor {
	unsigned row, element;
	const char *name; /* of the last series that was told */
};

/*
 * The next series, in the order of name and labels. False: there are no more. Any thread; neither
 * blocks nor allocates; takes about a microsecond per histogram of each worker.
 *
 *	struct metrics_cursor cursor = { 0 };
 *
 *	while (metrics_next(metrics, &cursor, &series))
 *		size += metric_write(&series, out + size);
 */
bool metrics_next(const struct metrics *metrics, struct metrics_cursor *cursor,
                  struct metric_series *series);

/*
 * A series in the Prometheus text format 0.0.4, with HELP and TYPE before the first of its name, in
 * `out` of METRIC_TEXT_MAX bytes; returns its size, without a terminator. Concatenated they are a
 * whole exposition: content type "text/plain; version=0.0.4; charset=utf-8".
 */
size_t metric_write(const struct metric_series *series, char *out);

/*
 * All of it in out; at most out_max bytes, without a terminator. Returns the bytes that all of it
 * needs: more than out_max means that it was cut.
 */
size_t metrics_render(const struct metrics *metrics, char *out, size_t out_max);

/* The sum over workers of a counter or gauge that is no array; 0 when there is none. */
uint64_t metrics_sum(const struct metrics *metrics, const char *name, const char *labels);

/* For the one writer of a number: readers elsewhere never see half of it. */
static inline void metric_add(uint64_t *number, uint64_t n)
{
	__atomic_store_n(number, *number + n, __ATOMIC_RELAXED);
}

static inline void metric_set(uint64_t *number, uint64_t value)
{
	__atomic_store_n(number, value, __ATOMIC_RELAXED);
}

#endif
