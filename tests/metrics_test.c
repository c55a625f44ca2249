/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/metrics.h"

static struct metrics metrics;
static char text[16384];

static void add(enum metric_kind kind, const char *name, const char *labels, const void *number)
{
	struct metric m = { .kind = kind, .name = name, .help = "A help.", .labels = labels };

	if (kind == METRIC_HISTOGRAM)
		m.histogram = number;
	else
		m.number = number;
	assert_int_equal(metrics_add(&metrics, &m), STATUS_OK);
}

static const char *render(void)
{
	size_t size = metrics_render(&metrics, text, sizeof(text) - 1);

	assert_true(size < sizeof(text));
	text[size] = '\0';
	return text;
}

static int setup(void **state)
{
	(void)state;
	memset(&metrics, 0, sizeof(metrics));
	return 0;
}

static void test_sums_workers_and_groups_names(void **state)
{
	uint64_t gets[2] = { 0 }, puts = 7, clients = 3;

	(void)state;
	add(METRIC_COUNTER, "weir_ops_total", "op=\"put\"", &puts);
	add(METRIC_GAUGE, "weir_clients", "", &clients);
	add(METRIC_COUNTER, "weir_ops_total", "op=\"get\"", &gets[0]);
	add(METRIC_COUNTER, "weir_ops_total", "op=\"get\"", &gets[1]);
	metric_add(&gets[0], 40);
	metric_add(&gets[1], 2);
	metric_set(&clients, 5);
	assert_string_equal(render(), "# HELP weir_clients A help.\n"
	                              "# TYPE weir_clients gauge\n"
	                              "weir_clients 5\n"
	                              "# HELP weir_ops_total A help.\n"
	                              "# TYPE weir_ops_total counter\n"
	                              "weir_ops_total{op=\"get\"} 42\n"
	                              "weir_ops_total{op=\"put\"} 7\n");
	assert_int_equal(metrics_sum(&metrics, "weir_ops_total", "op=\"get\""), 42);
	assert_int_equal(metrics_sum(&metrics, "weir_ops_total", "op=\"none\""), 0);
}

static void test_histogram(void **state)
{
	static struct histogram a, b;

	(void)state;
	add(METRIC_HISTOGRAM, "weir_get_seconds", "", &a);
	add(METRIC_HISTOGRAM, "weir_get_seconds", "", &b);
	histogram_add(&a, 1000);
	histogram_add(&b, 5000);
	histogram_add(&b, 30000000000ull);
	render();
	assert_non_null(strstr(text, "weir_get_seconds_bucket{le=\"1.024e-06\"} 1\n"));
	assert_non_null(strstr(text, "weir_get_seconds_bucket{le=\"4.096e-06\"} 1\n"));
	assert_non_null(strstr(text, "weir_get_seconds_bucket{le=\"1.6384e-05\"} 2\n"));
	assert_non_null(strstr(text, "weir_get_seconds_bucket{le=\"+Inf\"} 3\n"));
	assert_non_null(strstr(text, "weir_get_seconds_sum 30.000006\n"));
	assert_non_null(strstr(text, "weir_get_seconds_count 3\n"));
}

static const char *const ops[] = { "get", "put", "never" };

static const char *op_name(unsigned index)
{
	return ops[index];
}

struct counted {
	uint64_t calls, errors;
	struct histogram took;
};

static void add_ops(const struct counted *counted)
{
	struct metric calls = { .kind = METRIC_COUNTER,
		                .name = "weir_requests_total",
		                .help = "Requests.",
		                .labels = "face=\"resp\"",
		                .number = &counted->calls,
		                .element_label = "op",
		                .element_name = op_name,
		                .element_count = 3,
		                .element_size = sizeof(*counted) };
	struct metric took = calls;

	took.kind = METRIC_HISTOGRAM;
	took.name = "weir_request_seconds";
	took.histogram = &counted->took;
	assert_int_equal(metrics_add(&metrics, &calls), STATUS_OK);
	assert_int_equal(metrics_add(&metrics, &took), STATUS_OK);
}

static void test_arrays_show_what_is_used(void **state)
{
	static struct counted workers[2][3];

	(void)state;
	add_ops(workers[0]);
	add_ops(workers[1]);
	metric_add(&workers[0][0].calls, 2);
	metric_add(&workers[1][0].calls, 3);
	metric_add(&workers[1][1].calls, 1);
	histogram_add(&workers[1][1].took, 2000);
	render();
	assert_non_null(strstr(text, "weir_requests_total{face=\"resp\",op=\"get\"} 5\n"));
	assert_non_null(strstr(text, "weir_requests_total{face=\"resp\",op=\"put\"} 1\n"));
	assert_non_null(strstr(text, "weir_request_seconds_count{face=\"resp\",op=\"put\"} 1\n"));
	assert_null(strstr(text, "weir_request_seconds_count{face=\"resp\",op=\"get\"}"));
	assert_null(strstr(text, "never"));
	assert_null(strstr(strstr(text, "# TYPE weir_requests_total") + 1,
	                   "# TYPE weir_requests_total"));
}

static void test_a_reader_goes_from_series_to_series(void **state)
{
	static struct counted workers[1][3];
	static struct metric_series series;
	struct metrics_cursor cursor = { 0 };
	uint64_t busy_ns = 2500000000ull;
	struct metric busy = { .kind = METRIC_COUNTER,
		               .name = "weir_busy_seconds_total",
		               .help = "Busy.",
		               .labels = "worker=\"0\"",
		               .number = &busy_ns,
		               .divisor = 1000000000 };

	(void)state;
	add_ops(workers[0]);
	assert_int_equal(metrics_add(&metrics, &busy), STATUS_OK);
	metric_add(&workers[0][1].calls, 7);
	assert_true(metrics_next(&metrics, &cursor, &series));
	assert_string_equal(series.metric->name, "weir_busy_seconds_total");
	assert_int_equal(series.number, busy_ns);
	assert_true(series.is_first);
	assert_true(metrics_next(&metrics, &cursor, &series));
	assert_string_equal(series.metric->name, "weir_requests_total");
	assert_string_equal(series.labels, "face=\"resp\",op=\"put\"");
	assert_int_equal(series.number, 7);
	assert_false(metrics_next(&metrics, &cursor, &series));
	assert_false(metrics_next(&metrics, &cursor, &series));
	assert_non_null(strstr(render(), "weir_busy_seconds_total{worker=\"0\"} 2.5\n"));
}

static void test_cut_text_says_how_much_it_needs(void **state)
{
	uint64_t n = 1;
	char few[10];
	size_t need;

	(void)state;
	add(METRIC_COUNTER, "weir_n_total", "", &n);
	need = strlen(render());
	memset(few, 'x', sizeof(few));
	assert_int_equal(metrics_render(&metrics, few, 7), need);
	assert_memory_equal(few, "# HELP xxx", 10);
	assert_int_equal(metrics_render(&metrics, NULL, 0), need);
}

static void test_bounded(void **state)
{
	static uint64_t n;
	struct metric m = { .name = "a", .help = "A help.", .labels = "", .number = &n };

	(void)state;
	for (unsigned i = 0; i < METRICS_MAX; i++)
		assert_int_equal(metrics_add(&metrics, &m), STATUS_OK);
	assert_int_equal(metrics_add(&metrics, &m), STATUS_BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_sums_workers_and_groups_names, setup),
		cmocka_unit_test_setup(test_histogram, setup),
		cmocka_unit_test_setup(test_arrays_show_what_is_used, setup),
		cmocka_unit_test_setup(test_a_reader_goes_from_series_to_series, setup),
		cmocka_unit_test_setup(test_cut_text_says_how_much_it_needs, setup),
		cmocka_unit_test_setup(test_bounded, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
