/* SPDX-License-Identifier: Apache-2.0 */
#include "core/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* Limits of the buckets that are shown: 2^10 ns (1 us) to 2^34 ns (17 s), every second power. */
enum { LE_FIRST_BIT = 10, LE_LAST_BIT = 34, LE_STEP = 2 };

static const char *const kind_names[] = { "counter", "gauge", "histogram" };
_Static_assert(sizeof(kind_names) / sizeof(kind_names[0]) == METRIC_KINDS, "one name per kind");

static int compare(const struct metric *a, const struct metric *b)
{
	int order = strcmp(a->name, b->name);

	return order != 0 ? order : strcmp(a->labels, b->labels);
}

enum status metrics_add(struct metrics *metrics, const struct metric *metric)
{
	unsigned at = metrics->count;

	assert(metric->kind < METRIC_KINDS);
	assert(metric->name != NULL);
	assert(metric->help != NULL);
	assert(metric->labels != NULL);
	assert(metric->number != NULL);
	if (metrics->count == METRICS_MAX)
		return STATUS_BUSY;
	while (at > 0 && compare(&metrics->rows[at - 1], metric) > 0)
		at--;
	if (at > 0 && strcmp(metrics->rows[at - 1].name, metric->name) == 0)
		assert(metrics->rows[at - 1].kind == metric->kind);
	memmove(&metrics->rows[at + 1], &metrics->rows[at],
	        (metrics->count - at) * sizeof(metrics->rows[0]));
	metrics->rows[at] = *metric;
	metrics->count++;
	return STATUS_OK;
}

/* Text that goes on being counted after it no longer fits. */
struct sink {
	char *out;
	size_t max, size;
};

__attribute__((format(printf, 2, 3))) static void put(struct sink *sink, const char *format, ...)
{
	char line[512];
	va_list args;
	int size;
	size_t room = sink->size < sink->max ? sink->max - sink->size : 0;

	va_start(args, format);
	size = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	assert(size >= 0 && (size_t)size < sizeof(line)); /* else: names and labels too long */
	if (room > (size_t)size)
		room = (size_t)size;
	if (room > 0)
		memcpy(sink->out + sink->size, line, room);
	sink->size += (size_t)size;
}

static uint64_t look(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_RELAXED);
}

static void put_histogram(struct sink *sink, const struct metric *m, const struct histogram *h)
{
	const char *comma = m->labels[0] == '\0' ? "" : ",";
	const char *open = m->labels[0] == '\0' ? "" : "{";
	const char *close = m->labels[0] == '\0' ? "" : "}";

	for (unsigned bit = LE_FIRST_BIT; bit <= LE_LAST_BIT; bit += LE_STEP) {
		put(sink, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", m->name, m->labels, comma,
		    (double)(1ull << bit) / 1e9, histogram_count_to(h, (1ull << bit) - 1));
	}
	put(sink, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", m->name, m->labels, comma, h->count);
	put(sink, "%s_sum%s%s%s %.9g\n", m->name, open, m->labels, close, (double)h->sum / 1e9);
	put(sink, "%s_count%s%s%s %" PRIu64 "\n", m->name, open, m->labels, close, h->count);
}

static void put_series(struct sink *sink, const struct metric *rows, unsigned count)
{
	uint64_t sum = 0;

	if (rows->kind == METRIC_HISTOGRAM) {
		struct histogram all = { 0 };

		for (unsigned i = 0; i < count; i++)
			histogram_merge(&all, rows[i].histogram);
		put_histogram(sink, rows, &all);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		sum += look(rows[i].number);
	if (rows->labels[0] == '\0')
		put(sink, "%s %" PRIu64 "\n", rows->name, sum);
	else
		put(sink, "%s{%s} %" PRIu64 "\n", rows->name, rows->labels, sum);
}

size_t metrics_render(const struct metrics *metrics, char *out, size_t out_max)
{
	struct sink sink = { .out = out, .max = out_max };
	const char *name = "";
	unsigned end;

	for (unsigned i = 0; i < metrics->count; i = end) {
		const struct metric *row = &metrics->rows[i];

		for (end = i + 1; end < metrics->count; end++) {
			if (compare(&metrics->rows[end], row) != 0)
				break;
		}
		if (strcmp(name, row->name) != 0) {
			name = row->name;
			put(&sink, "# HELP %s %s\n# TYPE %s %s\n", name, row->help, name,
			    kind_names[row->kind]);
		}
		put_series(&sink, row, end - i);
	}
	return sink.size;
}

uint64_t metrics_sum(const struct metrics *metrics, const char *name, const char *labels)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < metrics->count; i++) {
		const struct metric *row = &metrics->rows[i];

		if (row->kind == METRIC_HISTOGRAM || strcmp(row->name, name) != 0)
			continue;
		if (strcmp(row->labels, labels) == 0)
			sum += look(row->number);
	}
	return sum;
}
