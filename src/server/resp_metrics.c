/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers that the RESP face counts, for everybody who reads metrics. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

#define FACE "face=\"resp\""

static const char *operation_name(unsigned index)
{
	return resp_command_at(index)->name;
}

static enum status add_operations(const struct resp_server *server, struct metrics *metrics)
{
	const struct resp_command_stats *stats = server->command_stats;
	struct metric row = {
		.kind = METRIC_COUNTER,
		.labels = FACE,
		.element_label = "op",
		.element_name = operation_name,
		.element_count = resp_command_count(),
		.element_size = sizeof(*stats),
	};
	enum status status;

	row.name = "weir_requests_total";
	row.help = "Requests that ran.";
	row.number = &stats->calls;
	status = metrics_add(metrics, &row);
	if (status != STATUS_OK)
		return status;
	row.name = "weir_request_errors_total";
	row.help = "Requests that ran and were answered with an error.";
	row.number = &stats->failed;
	status = metrics_add(metrics, &row);
	if (status != STATUS_OK)
		return status;
	row.name = "weir_requests_rejected_total";
	row.help = "Requests that were refused before they ran.";
	row.number = &stats->rejected;
	status = metrics_add(metrics, &row);
	if (status != STATUS_OK)
		return status;
	row.kind = METRIC_HISTOGRAM;
	row.name = "weir_request_seconds";
	row.help = "From the start of a request to its reply, the wait for the disk included.";
	row.histogram = server->latencies;
	row.element_size = sizeof(*server->latencies);
	return metrics_add(metrics, &row);
}

enum status resp_server_metrics(const struct resp_server *server, struct metrics *metrics)
{
	const struct resp_stats *stats = &server->stats;
	const struct {
		enum metric_kind kind;
		const char *name, *help;
		const uint64_t *number;
	} rows[] = {
		{ METRIC_GAUGE, "weir_connections", "Connections that are open.",
		  &stats->connections },
		{ METRIC_COUNTER, "weir_received_bytes_total", "Bytes from clients.",
		  &stats->bytes_in },
		{ METRIC_COUNTER, "weir_sent_bytes_total", "Bytes to clients.", &stats->bytes_out },
	};
	enum status status = add_operations(server, metrics);

	for (unsigned i = 0; i < array_count(rows) && status == STATUS_OK; i++) {
		const struct metric row = { .kind = rows[i].kind,
			                    .name = rows[i].name,
			                    .help = rows[i].help,
			                    .labels = FACE,
			                    .number = rows[i].number };

		status = metrics_add(metrics, &row);
	}
	return status;
}
