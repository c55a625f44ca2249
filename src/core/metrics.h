/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: numbers that workers count in memory of their own, and one text that sums them. */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/status.h"

/*
 * A number stays where its writer has it, usually in the writer's own struct, and is registered by
 * address when that is opened. Series with the same name and labels are one series to the reader:
 * their sum. So a worker shares no cache line that it writes with another.
 */
enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_KINDS };

/* Memory: the texts and the number live as long as the registry (literals; the owner's struct). */
struct metric {
	enum metric_kind kind;
	const char *name;   /* "weir_turns_total"; a histogram's ends in _seconds */
	const char *help;   /* one sentence */
	const char *labels; /* "op=\"get\",space=\"redis\"", or "" */
	union {
		const uint64_t *number;            /* counter, gauge */
		const struct histogram *histogram; /* of nanoseconds */
	};
};

enum { METRICS_MAX = 4096 }; /* 64 workers of 64 series each */

/* Thread: the control thread registers before the workers start; any one thread may read. */
struct metrics {
	struct metric rows[METRICS_MAX]; /* in the order of name, then labels */
	unsigned count;
};

/* BUSY: METRICS_MAX are registered. The same name with another kind or help is a programmer error.
 */
enum status metrics_add(struct metrics *metrics, const struct metric *metric)
        __attribute__((warn_unused_result));

/*
 * The Prometheus text format 0.0.4, in out; at most out_max bytes, without a terminator. Returns
 * the bytes that all of it needs: more than out_max means that it was cut.
 */
size_t metrics_render(const struct metrics *metrics, char *out, size_t out_max);

/* The sum over workers of a counter or gauge; 0 when there is none. */
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
