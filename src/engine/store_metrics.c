/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine counts, where any thread may read it. A tick copies it there: so counting costs
 * nothing on the way of a command, and what is shown is a tenth of a second old at most.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/metrics.h"
#include "engine/shard.h"
#include "engine/store.h"

enum written {
	WRITTEN_LOG,        /* frames, with their padding */
	WRITTEN_VALUES,     /* extents */
	WRITTEN_CLEANING,   /* records and extents that the cleaner has moved */
	WRITTEN_CHECKPOINT, /* pages, bodies, roots */
	WRITTEN_PREPARING,  /* headers and zeroes of segments that were taken into use */
	WRITTEN_COUNT
};

enum read_why { READ_RECORD, READ_PAGE, READ_COUNT };
enum segments_of { SEGMENTS_LOG, SEGMENTS_INDEX, SEGMENTS_VALUES, SEGMENTS_FREE, SEGMENTS_COUNT };
enum pages_of { PAGES_CLEAN, PAGES_DIRTY, PAGES_FREE, PAGES_COUNT };
enum evicted_of { EVICTED_RECORD, EVICTED_PAGE, EVICTED_COUNT };

struct store_metrics {
	uint64_t written[WRITTEN_COUNT], loads[READ_COUNT], commands[KV_OP_COUNT];
	uint64_t segments[SEGMENTS_COUNT], pages[PAGES_COUNT], evicted[EVICTED_COUNT];
	uint64_t commits, records, records_durable, flushes, stalls;
	uint64_t checkpoints, cleaned, expired;
	uint64_t live, segment_size;
	uint64_t cache_hits, cache_misses, cache_entries, cache_bytes;
	uint64_t conflicts, corrupt, waiters, failed;
};

static const char *written_name(unsigned index)
{
	static const char *const names[] = { "log", "values", "cleaning", "checkpoint",
		                             "preparing" };

	assert(index < WRITTEN_COUNT);
	return names[index];
}

static const char *load_name(unsigned index)
{
	assert(index < READ_COUNT);
	return index == READ_RECORD ? "record" : "page";
}

static const char *command_name(unsigned index)
{
	static const char *const names[] = {
		[KV_GET] = "get",
		[KV_PUT] = "put",
		[KV_DELETE] = "delete",
		[KV_UPDATE] = "update",
		[KV_COMMIT] = "commit",
		[KV_SCAN] = "scan",
		[KV_CLEAR] = "clear",
		[KV_COUNT] = "count",
		[KV_BLOB_WRITE] = "blob_write",
		[KV_BLOB_OPEN] = "blob_open",
		[KV_BLOB_READ] = "blob_read",
		[KV_BLOB_CLOSE] = "blob_close",
		[KV_PREPARE] = "prepare",
		[KV_RESOLVE] = "resolve",
		[KV_SYNC] = "sync",
		[KV_EXPIRED] = "expired",
	};

	_Static_assert(array_count(names) == KV_OP_COUNT, "a name for each");
	assert(index < KV_OP_COUNT);
	return names[index];
}

static const char *segments_name(unsigned index)
{
	static const char *const names[] = { "log", "index", "values", "free" };

	assert(index < SEGMENTS_COUNT);
	return names[index];
}

static const char *pages_name(unsigned index)
{
	static const char *const names[] = { "clean", "dirty", "free" };

	assert(index < PAGES_COUNT);
	return names[index];
}

static const char *evicted_name(unsigned index)
{
	assert(index < EVICTED_COUNT);
	return index == EVICTED_RECORD ? "record" : "page";
}

static void copy(uint64_t *to, const uint64_t *from, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		metric_set(&to[i], from[i]);
}

static uint64_t above(uint64_t all, uint64_t part)
{
	return all > part ? all - part : 0;
}

static void publish_segments(struct shard *shard)
{
	uint64_t segments[SEGMENTS_COUNT] = { 0 };

	for (uint32_t i = 0; i < shard->segment_count; i++) {
		const struct shard_segment *s = &shard->segments[i];

		if (s->state == SEGMENT_NONE)
			continue;
		segments[SEGMENTS_LOG] += s->kind == SEGMENT_LOG;
		segments[SEGMENTS_INDEX] += s->kind == SEGMENT_INDEX;
		segments[SEGMENTS_VALUES] += s->kind == SEGMENT_BLOB;
	}
	/* Of all engines: one of them says it. */
	segments[SEGMENTS_FREE] = shard->index == 0 ? shard->room.left : 0;
	copy(shard->metrics->segments, segments, SEGMENTS_COUNT);
	metric_set(&shard->metrics->live, shard->live);
}

static void publish_written(struct shard *shard)
{
	const struct shard_stats *stats = &shard->stats;
	uint64_t moved_records = above(stats->moved_bytes, stats->blob_moved_bytes);
	const uint64_t written[WRITTEN_COUNT] = {
		[WRITTEN_LOG] = above(shard->log.stats.bytes, moved_records),
		[WRITTEN_VALUES] = above(stats->blob_bytes, stats->blob_moved_bytes),
		[WRITTEN_CLEANING] = stats->moved_bytes,
		[WRITTEN_CHECKPOINT] = stats->index_bytes,
		[WRITTEN_PREPARING] = stats->filled_bytes,
	};

	copy(shard->metrics->written, written, WRITTEN_COUNT);
}

static void publish_memory(struct shard *shard)
{
	struct store_metrics *m = shard->metrics;
	struct record_cache_stats cache;
	struct btree_pool_stats pool;
	uint64_t pages[PAGES_COUNT];

	record_cache_stats(shard->cache, &cache);
	btree_pool_stats(shard->pool, &pool);
	assert(pool.pages_dirty <= pool.pages && pool.pages <= pool.pages_max);
	pages[PAGES_CLEAN] = pool.pages - pool.pages_dirty;
	pages[PAGES_DIRTY] = pool.pages_dirty;
	pages[PAGES_FREE] = pool.pages_max - pool.pages;
	copy(m->pages, pages, PAGES_COUNT);
	metric_set(&m->evicted[EVICTED_RECORD], cache.evicted);
	metric_set(&m->evicted[EVICTED_PAGE], pool.evicted);
	metric_set(&m->cache_hits, cache.hits);
	metric_set(&m->cache_misses, cache.misses);
	metric_set(&m->cache_entries, cache.entries);
	metric_set(&m->cache_bytes, cache.bytes);
}

void store_metrics_publish(struct shard *shard)
{
	struct store_metrics *m = shard->metrics;
	const struct shard_stats *stats = &shard->stats;

	publish_segments(shard);
	publish_written(shard);
	publish_memory(shard);
	copy(m->commands, stats->commands, KV_OP_COUNT);
	metric_set(&m->loads[READ_RECORD], stats->record_loads);
	metric_set(&m->loads[READ_PAGE], stats->page_loads);
	metric_set(&m->commits, shard->log.stats.frames);
	metric_set(&m->records, shard->log.stats.records);
	metric_set(&m->records_durable, shard->log.stats.records_durable);
	metric_set(&m->flushes, shard->log.stats.flushes);
	metric_set(&m->stalls, shard->log.stats.stalls);
	metric_set(&m->checkpoints, stats->checkpoints);
	metric_set(&m->cleaned, stats->cleaned_segments);
	metric_set(&m->expired, stats->expired);
	metric_set(&m->conflicts, stats->conflicts);
	metric_set(&m->corrupt, stats->corrupt);
	metric_set(&m->waiters, shard->space_waiter_count);
	metric_set(&m->failed, shard->log.failed != STATUS_OK);
}

enum status store_metrics_open(struct shard *shard)
{
	shard->metrics = calloc(1, sizeof(*shard->metrics));
	if (shard->metrics == NULL)
		return STATUS_NO_SPACE;
	if (shard->index == 0)
		shard->metrics->segment_size = (uint64_t)shard->segment_blocks << BLOCK_SHIFT;
	return STATUS_OK;
}

void store_metrics_close(struct shard *shard)
{
	free(shard->metrics);
	shard->metrics = NULL;
}

static enum status add_arrays(const struct store_metrics *m, struct metrics *metrics)
{
	const struct metric arrays[] = {
		{ .kind = METRIC_COUNTER,
		  .name = "weir_store_written_bytes_total",
		  .help = "Bytes written to the device, by what for.",
		  .number = m->written,
		  .element_label = "cause",
		  .element_name = written_name,
		  .element_count = WRITTEN_COUNT },
		{ .kind = METRIC_COUNTER,
		  .name = "weir_store_loads_total",
		  .help = "Reads of what was not in memory.",
		  .number = m->loads,
		  .element_label = "what",
		  .element_name = load_name,
		  .element_count = READ_COUNT },
		{ .kind = METRIC_COUNTER,
		  .name = "weir_store_commands_total",
		  .help = "Commands that the engines took.",
		  .number = m->commands,
		  .element_label = "op",
		  .element_name = command_name,
		  .element_count = KV_OP_COUNT },
		{ .kind = METRIC_GAUGE,
		  .name = "weir_store_segments",
		  .help = "Segments of the device, by what is in them.",
		  .number = m->segments,
		  .element_label = "kind",
		  .element_name = segments_name,
		  .element_count = SEGMENTS_COUNT },
		{ .kind = METRIC_GAUGE,
		  .name = "weir_store_index_pages",
		  .help = "Pages of memory for the index; dirty ones wait for a checkpoint.",
		  .number = m->pages,
		  .element_label = "state",
		  .element_name = pages_name,
		  .element_count = PAGES_COUNT },
		{ .kind = METRIC_COUNTER,
		  .name = "weir_store_evicted_total",
		  .help = "What made room for others in memory.",
		  .number = m->evicted,
		  .element_label = "what",
		  .element_name = evicted_name,
		  .element_count = EVICTED_COUNT },
	};
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < array_count(arrays) && status == STATUS_OK; i++) {
		struct metric metric = arrays[i];

		metric.labels = "";
		metric.element_size = sizeof(uint64_t);
		status = metrics_add(metrics, &metric);
	}
	return status;
}

enum status store_metrics_add(const struct store *store, unsigned worker_index,
                              struct metrics *metrics)
{
	const struct store_metrics *m = store->shards[worker_index]->metrics;
	const struct {
		enum metric_kind kind;
		const char *name, *help;
		const uint64_t *number;
	} rows[] = {
		{ METRIC_COUNTER, "weir_store_commits_total",
		  "Frames of the log: writes that share one are durable together.", &m->commits },
		{ METRIC_COUNTER, "weir_store_records_total", "Records in them.", &m->records },
		{ METRIC_COUNTER, "weir_store_durable_records_total", "Records that are on disk.",
		  &m->records_durable },
		{ METRIC_COUNTER, "weir_store_flushes_total", "Flushes of relaxed frames.",
		  &m->flushes },
		{ METRIC_COUNTER, "weir_store_stalls_total", "Times that the log had no room.",
		  &m->stalls },
		{ METRIC_COUNTER, "weir_store_checkpoints_total", "Checkpoints.", &m->checkpoints },
		{ METRIC_COUNTER, "weir_store_cleaned_total",
		  "Segments that the cleaner has gone through.", &m->cleaned },
		{ METRIC_COUNTER, "weir_store_expired_total", "Entries of the index that came due.",
		  &m->expired },
		{ METRIC_COUNTER, "weir_store_cache_hits_total", "Records found in memory.",
		  &m->cache_hits },
		{ METRIC_COUNTER, "weir_store_cache_misses_total", "Records not found in memory.",
		  &m->cache_misses },
		{ METRIC_GAUGE, "weir_store_cache_entries", "Records in memory.",
		  &m->cache_entries },
		{ METRIC_GAUGE, "weir_store_cache_bytes", "Memory that they take.",
		  &m->cache_bytes },
		{ METRIC_COUNTER, "weir_store_conflicts_total",
		  "Commits that a version has refused.", &m->conflicts },
		{ METRIC_COUNTER, "weir_store_corrupt_total",
		  "Blocks that were not what was written.", &m->corrupt },
		{ METRIC_GAUGE, "weir_store_space_waiters", "Writes that wait for space.",
		  &m->waiters },
		{ METRIC_GAUGE, "weir_store_failed", "Engines that take no writes until a restart.",
		  &m->failed },
		{ METRIC_GAUGE, "weir_store_live_bytes", "Bytes that the index refers to.",
		  &m->live },
		{ METRIC_GAUGE, "weir_store_segment_bytes", "Bytes of a segment.",
		  &m->segment_size },
	};
	enum status status = add_arrays(m, metrics);

	assert(worker_index < store->shard_count);
	for (unsigned i = 0; i < array_count(rows) && status == STATUS_OK; i++)
		status = metrics_add(metrics, &(struct metric){ .kind = rows[i].kind,
		                                                .name = rows[i].name,
		                                                .help = rows[i].help,
		                                                .labels = "",
		                                                .number = rows[i].number });
	return status;
}
