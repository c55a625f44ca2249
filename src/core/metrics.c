/* SPDX-License-Identifier: Apache-2.0 */
#include "core/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* Limits of the buckets that are shown: 2^10 ns (1 us) to 2^34 ns (17 s). */
enum { LE_FIRST_BIT = 10, LE_LAST_BIT = 34 };

static const char *const kind_names[] = { "counter", "gauge", "histogram" };
_Static_assert(sizeof(kind_names) / sizeof(kind_names[0]) == METRIC_KINDS, "one name per kind");

static int compare(const struct metric *a, const struct metric *b)
{
	int order = strcmp(a->name, b->name);

	return order != 0 ? order : strcmp(a->labels, b->labels);
}

static void check_like(const struct metric *a, const struct metric *b)
{
	if (strcmp(a->name, b->name) != 0)
		return;
	assert(a->kind == b->kind);
	assert(a->divisor == b->divisor);
	if (strcmp(a->labels, b->labels) == 0) {
		assert(a->element_count == b->element_count);
		assert(a->element_name == b->element_name);
	}
}

enum status metrics_add(struct metrics *metrics, const struct metric *metric)
{
	unsigned at = metrics->count;

	assert(!metrics->complete);
	assert(metric->kind < METRIC_KINDS);
	assert(metric->name != NULL && metric->help != NULL && metric->labels != NULL);
	assert(metric->number != NULL);
	assert(metric->divisor == 0 || metric->kind != METRIC_HISTOGRAM);
	if (metric->element_count > 0) {
		assert(metric->element_label != NULL && metric->element_name != NULL);
		assert(metric->element_size > 0);
	}
	if (metrics->count == METRICS_MAX)
		return STATUS_BUSY;
	while (at > 0 && compare(&metrics->rows[at - 1], metric) > 0)
		at--;
	if (at > 0)
		check_like(&metrics->rows[at - 1], metric);
	memmove(&metrics->rows[at + 1], &metrics->rows[at],
	        (metrics->count - at) * sizeof(metrics->rows[0]));
	metrics->rows[at] = *metric;
	metrics->count++;
	return STATUS_OK;
}

/* Reading. */

/*
 * Its only writer adds to it with plain stores of a whole word, which cost nothing; a reader is
 * late by what the processor has in flight, and sees no half of it.
 */
__attribute__((no_sanitize("thread"))) static uint64_t look(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_RELAXED);
}

/* Past the rows that are the same series as the one at `row`. */
static unsigned same_end(const struct metrics *metrics, unsigned row)
{
	unsigned end = row + 1;

	while (end < metrics->count && compare(&metrics->rows[end], &metrics->rows[row]) == 0)
		end++;
	return end;
}

/* The sum of one element over the rows from cursor->row up to end; whether there is any. */
static bool sum_element(const struct metrics *metrics, const struct metrics_cursor *cursor,
                        unsigned end, struct metric_series *series)
{
	uint64_t counted = 0;

	series->number = 0;
	if (metrics->rows[cursor->row].kind == METRIC_HISTOGRAM)
		memset(&series->histogram, 0, sizeof(series->histogram));
	for (unsigned i = cursor->row; i < end; i++) {
		const struct metric *row = &metrics->rows[i];
		const void *at = (const char *)row->number + cursor->element * row->element_size;

		if (row->kind != METRIC_HISTOGRAM) {
			series->number += look(at);
			continue;
		}
		counted = look(&((const struct histogram *)at)->count);
		if (counted > 0)
			histogram_merge(&series->histogram, at);
	}
	return series->number > 0 || series->histogram.count > 0;
}

static void put_labels(const struct metric *row, unsigned element, char *out)
{
	int size;

	if (row->element_count == 0)
		size = snprintf(out, METRIC_LABELS_MAX, "%s", row->labels);
	else
		size = snprintf(out, METRIC_LABELS_MAX, "%s%s%s=\"%s\"", row->labels,
		                row->labels[0] == '\0' ? "" : ",", row->element_label,
		                row->element_name(element));
	assert(size >= 0 && size < METRIC_LABELS_MAX); /* else: labels too long */
}

bool metrics_next(const struct metrics *metrics, struct metrics_cursor *cursor,
                  struct metric_series *series)
{
	while (cursor->row < metrics->count) {
		const struct metric *row = &metrics->rows[cursor->row];
		unsigned elements = row->element_count > 0 ? row->element_count : 1;
		unsigned end = same_end(metrics, cursor->row);
		bool shown;

		series->histogram.count = 0;
		shown = sum_element(metrics, cursor, end, series) || row->element_count == 0;
		if (shown)
			put_labels(row, cursor->element, series->labels);
		if (++cursor->element == elements) {
			cursor->row = end;
			cursor->element = 0;
		}
		if (!shown)
			continue;
		series->metric = row;
		series->is_first = cursor->name == NULL || strcmp(cursor->name, row->name) != 0;
		cursor->name = row->name;
		return true;
	}
	return false;
}

/* Writing. */

struct sink {
	char *out;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static void put(struct sink *sink, const char *format, ...)
{
	size_t room = METRIC_TEXT_MAX - sink->size;
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(sink->out + sink->size, room, format, args);
	va_end(args);
	assert(size >= 0 && (size_t)size < room); /* else: names and labels too long */
	sink->size += (size_t)size;
}

static void put_histogram(struct sink *sink, const struct metric_series *series)
{
	const struct histogram *h = &series->histogram;
	const char *name = series->metric->name, *labels = series->labels;
	const char *comma = labels[0] == '\0' ? "" : ",";
	const char *open = labels[0] == '\0' ? "" : "{";
	const char *close = labels[0] == '\0' ? "" : "}";

	for (unsigned bit = LE_FIRST_BIT; bit <= LE_LAST_BIT; bit++) {
		put(sink, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", name, labels, comma,
		    (double)(1ull << bit) / 1e9, histogram_count_to(h, (1ull << bit) - 1));
	}
	put(sink, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, h->count);
	put(sink, "%s_sum%s%s%s %.9g\n", name, open, labels, close, (double)h->sum / 1e9);
	put(sink, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, h->count);
}

size_t metric_write(const struct metric_series *series, char *out)
{
	const struct metric *metric = series->metric;
	struct sink sink = { .out = out };

	if (series->is_first)
		put(&sink, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
		    kind_names[metric->kind]);
	if (metric->kind == METRIC_HISTOGRAM) {
		put_histogram(&sink, series);
		return sink.size;
	}
	if (series->labels[0] == '\0')
		put(&sink, "%s ", metric->name);
	else
		put(&sink, "%s{%s} ", metric->name, series->labels);
	if (metric->divisor > 1)
		put(&sink, "%.9g\n", (double)series->number / (double)metric->divisor);
	else
		put(&sink, "%" PRIu64 "\n", series->number);
	return sink.size;
}

size_t metrics_render(const struct metrics *metrics, char *out, size_t out_max)
{
	struct metrics_cursor cursor = { 0 };
	struct metric_series series;
	char text[METRIC_TEXT_MAX];
	size_t used = 0;

	while (metrics_next(metrics, &cursor, &series)) {
		size_t size = metric_write(&series, text);
		size_t room = used < out_max ? out_max - used : 0;

		if (room > 0)
			memcpy(out + used, text, size < room ? size : room);
		used += size;
	}
	return used;
}

uint64_t metrics_sum(const struct metrics *metrics, const char *name, const char *labels)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < metrics->count; i++) {
		const struct metric *row = &metrics->rows[i];

		if (row->kind == METRIC_HISTOGRAM || row->element_count > 0 ||
		    strcmp(row->name, name) != 0)
			continue;
		if (strcmp(row->labels, labels) == 0)
			sum += look(row->number);
	}
	return sum;
}
