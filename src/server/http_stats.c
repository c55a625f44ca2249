/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers that an HTTP server counts, for everybody who reads metrics. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/recent.h"
#include "server/http_internal.h"

enum { SLOW_NS = 100 * 1000 * 1000 };

static const char *method_name(unsigned index)
{
	static const char *const names[HTTP_METHODS] = {
		[HTTP_METHOD_OTHER] = "other", [HTTP_GET] = "get",
		[HTTP_HEAD] = "head",          [HTTP_PUT] = "put",
		[HTTP_POST] = "post",          [HTTP_DELETE] = "delete",
		[HTTP_OPTIONS] = "options",    [HTTP_PATCH] = "patch",
	};

	assert(index < HTTP_METHODS);
	return names[index];
}

static const char *class_name(unsigned index)
{
	static const char *const names[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };

	assert(index < array_count(names));
	return names[index];
}

static enum status add_arrays(const struct http_server *server, struct metrics *metrics)
{
	struct metric row = {
		.kind = METRIC_COUNTER,
		.name = "weir_requests_total",
		.help = "Requests that ran.",
		.labels = server->labels,
		.number = server->stats.requests,
		.element_label = "op",
		.element_name = method_name,
		.element_count = HTTP_METHODS,
		.element_size = sizeof(uint64_t),
	};
	enum status status = metrics_add(metrics, &row);

	if (status != STATUS_OK)
		return status;
	row.name = "weir_http_responses_total";
	row.help = "Answers by the class of their status.";
	row.number = server->stats.responses;
	row.element_label = "class";
	row.element_name = class_name;
	row.element_count = array_count(server->stats.responses);
	return metrics_add(metrics, &row);
}

/* What is slow is kept for who looks; the time that the client took for its body is its own. */
void http_stats_answered(const struct http_exchange *exchange)
{
	struct http_server *server = exchange->server;
	struct worker *worker = server->worker;
	uint64_t duration_ns = worker->now_ns - exchange->begun_ns;
	struct bytes path = exchange->request.path;
	char text[RECENT_TEXT_MAX + 1];
	int size;

	assert(duration_ns >= exchange->waited_ns);
	histogram_add(&server->latencies, duration_ns);
	duration_ns -= exchange->waited_ns;
	if (worker->slow == NULL || duration_ns < SLOW_NS)
		return;
	size = snprintf(text, sizeof(text), "%s %s %.*s", server->handler->name,
	                method_name(exchange->request.method),
	                (int)(path.size < RECENT_TEXT_MAX ? path.size : RECENT_TEXT_MAX),
	                (const char *)path.data);
	assert(size > 0);
	recent_put(worker->slow, worker->wall_ms, duration_ns / 1000,
	           bytes_of(text, strnlen(text, sizeof(text))));
}

enum status http_server_metrics(const struct http_server *server, struct metrics *metrics)
{
	const struct http_stats *stats = &server->stats;
	const struct {
		enum metric_kind kind;
		const char *name, *help;
		const uint64_t *number;
	} rows[] = {
		{ METRIC_GAUGE, "weir_connections", "Connections that are open.",
		  &stats->connections_open },
		{ METRIC_COUNTER, "weir_received_bytes_total", "Bytes from clients.",
		  &stats->bytes_in },
		{ METRIC_COUNTER, "weir_sent_bytes_total", "Bytes to clients.", &stats->bytes_out },
		{ METRIC_COUNTER, "weir_http_malformed_total", "Requests that were no HTTP.",
		  &stats->malformed },
		{ METRIC_COUNTER, "weir_http_timeouts_total", "Connections that were too slow.",
		  &stats->timeouts },
		{ METRIC_COUNTER, "weir_http_aborted_total",
		  "Exchanges that nobody waited for any more.", &stats->aborted },
	};
	const struct metric latencies = {
		.kind = METRIC_HISTOGRAM,
		.name = "weir_request_seconds",
		.help = "From the start of a request to its reply, the wait for the disk included.",
		.labels = server->labels,
		.histogram = &server->latencies,
	};
	enum status status = add_arrays(server, metrics);

	for (unsigned i = 0; i < array_count(rows) && status == STATUS_OK; i++) {
		const struct metric row = { .kind = rows[i].kind,
			                    .name = rows[i].name,
			                    .help = rows[i].help,
			                    .labels = server->labels,
			                    .number = rows[i].number };

		status = metrics_add(metrics, &row);
	}
	return status == STATUS_OK ? metrics_add(metrics, &latencies) : status;
}
