/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies of operations, out of the metrics that a server tells. */
#ifndef CLI_TOP_OPERATIONS_H
#define CLI_TOP_OPERATIONS_H

#include <stdint.h>

#include "base/bytes.h"

enum { TOP_OPERATIONS_MAX = 256, TOP_BUCKETS = 32 };

/* One face's operation: how many took at most so long, in the order of times. */
struct top_operation {
	char name[64]; /* "resp get" */
	uint64_t counts[TOP_BUCKETS];
	uint32_t bucket_count;
};

struct top_operations {
	struct top_operation rows[TOP_OPERATIONS_MAX];
	uint32_t count;
	double limits[TOP_BUCKETS]; /* seconds; the last is without limit */
};

/* Reads weir_request_seconds out of a text in the Prometheus format; others are passed over. */
void top_operations_read(struct top_operations *operations, struct bytes text);

/* The busiest operations between two looks: how many a second, and how long they took. */
void top_operations_print(const struct top_operations *now, const struct top_operations *before,
                          double seconds, unsigned rows_max);

#endif
