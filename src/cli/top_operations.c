/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/top_operations.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

/* The value of label="..." in the labels of a line; empty: it has none. */
static struct bytes label(struct bytes line, const char *name)
{
	char start[32];
	int size = snprintf(start, sizeof(start), "%s=\"", name);
	const char *at = memmem(line.data, line.size, start, (size_t)size), *end;

	if (at == NULL)
		return bytes_of(NULL, 0);
	at += size;
	end = memchr(at, '"', (size_t)((const char *)line.data + line.size - at));
	return end == NULL ? bytes_of(NULL, 0) : bytes_of(at, (size_t)(end - at));
}

static struct top_operation *find(struct top_operations *operations, const char *name)
{
	uint32_t i = operations->count;

	/* The lines of an operation follow each other. */
	while (i > 0 && strcmp(operations->rows[i - 1].name, name) != 0)
		i--;
	if (i > 0)
		return &operations->rows[i - 1];
	if (operations->count == TOP_OPERATIONS_MAX)
		return NULL;
	operations->rows[operations->count] = (struct top_operation){ .bucket_count = 0 };
	snprintf(operations->rows[operations->count].name, sizeof(operations->rows[0].name), "%s",
	         name);
	return &operations->rows[operations->count++];
}

static void read_line(struct top_operations *operations, struct bytes line)
{
	struct bytes face = label(line, "face"), op = label(line, "op"), limit = label(line, "le");
	const char *value = memrchr(line.data, ' ', line.size);
	struct top_operation *row;
	char name[64];

	if (limit.size == 0 || value == NULL)
		return;
	snprintf(name, sizeof(name), "%.*s %.*s", (int)face.size, (const char *)face.data,
	         (int)op.size, (const char *)op.data);
	row = find(operations, name);
	if (row == NULL || row->bucket_count == TOP_BUCKETS)
		return;
	operations->limits[row->bucket_count] = strtod((const char *)limit.data, NULL);
	row->counts[row->bucket_count++] = strtoull(value + 1, NULL, 10);
}

void top_operations_read(struct top_operations *operations, struct bytes text)
{
	static const char name[] = "weir_request_seconds_bucket{";

	operations->count = 0;
	while (text.size > 0) {
		const uint8_t *end = memchr(text.data, '\n', text.size);
		size_t size = end != NULL ? (size_t)(end - text.data) : text.size;

		if (size > sizeof(name) - 1 && memcmp(text.data, name, sizeof(name) - 1) == 0)
			read_line(operations, bytes_of(text.data, size));
		size += end != NULL;
		text = bytes_of(text.data + size, text.size - size);
	}
}

/* What was counted since `before`; a server that has started anew counts from zero. */
static struct top_operation since(const struct top_operation *now,
                                  const struct top_operations *before)
{
	struct top_operation gained = *now;
	uint32_t i = 0;

	while (i < before->count && strcmp(before->rows[i].name, now->name) != 0)
		i++;
	if (i == before->count || before->rows[i].bucket_count != now->bucket_count)
		return gained;
	for (uint32_t b = 0; b < now->bucket_count; b++) {
		uint64_t old = before->rows[i].counts[b];

		gained.counts[b] = now->counts[b] >= old ? now->counts[b] - old : now->counts[b];
	}
	return gained;
}

static uint64_t total(const struct top_operation *row)
{
	return row->bucket_count > 0 ? row->counts[row->bucket_count - 1] : 0;
}

static int by_count(const void *a, const void *b)
{
	uint64_t left = total(a), right = total(b);

	return left < right ? 1 : left > right ? -1 : 0;
}

static void print_time(const struct top_operations *operations, const struct top_operation *row,
                       double share)
{
	uint32_t b = 0;
	double limit;

	while (b + 1 < row->bucket_count && (double)row->counts[b] < share * (double)total(row))
		b++;
	limit = operations->limits[b];
	if (b + 1 == row->bucket_count)
		printf("%12s", "> 17 s");
	else if (limit < 1e-3)
		printf("%9.0f us", limit * 1e6);
	else
		printf("%9.1f ms", limit * 1e3);
}

void top_operations_print(const struct top_operations *now, const struct top_operations *before,
                          double seconds, unsigned rows_max)
{
	static struct top_operation rows[TOP_OPERATIONS_MAX];

	for (uint32_t i = 0; i < now->count; i++)
		rows[i] = since(&now->rows[i], before);
	qsort(rows, now->count, sizeof(rows[0]), by_count);
	printf("\n%-24s%12s%12s%12s%12s\n", "operation", "a second",
	       "p50 <=", "p99 <=", "p99.9 <=");
	for (uint32_t i = 0; i < now->count && i < rows_max && total(&rows[i]) > 0; i++) {
		printf("%-24s%12.0f", rows[i].name,
		       seconds > 0 ? (double)total(&rows[i]) / seconds : 0.0);
		print_time(now, &rows[i], 0.5);
		print_time(now, &rows[i], 0.99);
		print_time(now, &rows[i], 0.999);
		printf("\n");
	}
}
