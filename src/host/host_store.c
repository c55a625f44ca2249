/* SPDX-License-Identifier: Apache-2.0 */
/* The store of a server: its file, who may have it, recovery, and a clean end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/store.h"
#include "host/host.h"
#include "layer/kv_shard.h"

enum { PATH_SIZE = 4096, SEGMENTS_MIN = 512, SEGMENT_SIZE_MIN = 1 << 20 };
#define STORE_SIZE_MIN (64ull << 20)

/* What the main thread asks of the store on some worker. */
struct errand {
	struct host_errand errand;
	struct store *store;
	const struct store_options *options;
	struct store_worker *workers;
	struct host_store *s;
	unsigned index, count;
};

/* Where the store is: in a directory a file of a fixed name, else the device or file itself. */
static enum status find_file(struct host *host, char file[PATH_SIZE], bool *is_new)
{
	const char *path = host->options.path;
	struct stat st;
	int size, error = 0;

	*is_new = false;
	if (stat(path, &st) != 0)
		error = errno;
	if (error == ENOENT && !host->options.must_exist) {
		error = mkdir(path, 0700) != 0 || stat(path, &st) != 0 ? errno : 0;
	}
	if (error != 0)
		return host_fail(host, status_from_errno(error), "%s: %s", path, strerror(error));
	size = snprintf(file, PATH_SIZE, S_ISDIR(st.st_mode) ? "%s/store" : "%s", path);
	if (size >= PATH_SIZE)
		return host_fail(host, STATUS_TOO_LARGE, "%.64s...: longer than a path may be",
		                 path);
	*is_new = S_ISDIR(st.st_mode) && access(file, F_OK) != 0;
	if (*is_new && host->options.must_exist)
		return host_fail(host, STATUS_NOT_FOUND, "%s: there is no store in it", path);
	return STATUS_OK;
}

/*
 * One process at a time: two would overwrite each other's acknowledged data. This lock says so at
 * once; those of the endpoints wait for what a process that was killed has left in the kernel.
 */
static enum status lock_file(struct host *host)
{
	const char *path = host->options.path;
	int error;

	host->store.lock = open(path, O_RDONLY | O_CLOEXEC);
	if (host->store.lock < 0) {
		error = errno;
		return host_fail(host, status_from_errno(error), "%s: %s", path, strerror(error));
	}
	if (flock(host->store.lock, LOCK_EX | LOCK_NB) != 0)
		return host_fail(host, STATUS_BUSY, "%s: another weir serves it", path);
	return STATUS_OK;
}

/* A file that may fill its file system, and no more. */
static uint64_t size_of_new(const struct host *host, const char *path)
{
	uint64_t size = conf_number(host->conf, CONF_STORAGE_SIZE);
	struct statvfs fs;

	if (size == 0 && statvfs(path, &fs) == 0)
		size = (uint64_t)fs.f_blocks * fs.f_frsize;
	if (size < STORE_SIZE_MIN)
		size = STORE_SIZE_MIN;
	return size & ~(uint64_t)(BLOCK_SIZE - 1);
}

enum status host_store_open(struct host *host)
{
	struct host_store *s = &host->store;
	const char *path = host->options.path;
	char file[PATH_SIZE], error[IO_ERROR_SIZE] = "";
	struct io_file_options options = { .direct = true, .lock = IO_LOCK_FIRST };
	enum status status;

	status = find_file(host, file, &options.create);
	if (status == STATUS_OK)
		status = lock_file(host);
	if (status != STATUS_OK)
		return status;
	options.fua = io_fua_probe(path, error);
	host_log(host, LOG_INFO, "durable writes: %s", error);
	if (options.create)
		options.size = size_of_new(host, path);
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		if (!w->has_engine)
			continue;
		status = io_blk_open(w->io, file, &options, &s->blks[s->count], error);
		if (status != STATUS_OK)
			return host_fail(host, status, "%s", error);
		w->store_index = s->count;
		s->workers[s->count++] = w;
		options.create = false;
		options.lock = IO_LOCK_NEXT;
	}
	assert(s->count > 0);
	return STATUS_OK;
}

static enum status begin_open(struct host_worker *w, void *arg)
{
	struct errand *errand = arg;

	host_errand_begin(&errand->errand, w);
	store_open(&errand->s->store, errand->options, errand->workers, errand->count,
	           &errand->errand.req);
	return STATUS_OK;
}

static enum status begin_stop(struct host_worker *w, void *arg)
{
	struct errand *errand = arg;

	host_errand_begin(&errand->errand, w);
	store_stop(errand->store, errand->index, &errand->errand.req);
	return STATUS_OK;
}

static enum status begin_close(struct host_worker *w, void *arg)
{
	struct errand *errand = arg;

	host_errand_begin(&errand->errand, w);
	store_close(errand->store, &errand->errand.req);
	return STATUS_OK;
}

/* A database and the members of its collections are one thing to their user. */
static void set_database(struct store_options *options, unsigned database, enum kv_durability how)
{
	options->durability[KV_SPACE_REDIS + database] = how;
	options->durability[KV_SPACE_REDIS_MEMBERS + database] = how;
}

static void set_durability(const struct host *host, struct store_options *options)
{
	struct conf_cores databases;

	conf_cores(host->conf, CONF_DURABILITY_RELAXED, &databases);
	for (unsigned i = 0; i < KV_SPACES; i++)
		options->durability[i] = conf_number(host->conf, CONF_DURABILITY_DEFAULT) == 0
		                                 ? KV_DURABLE
		                                 : KV_RELAXED;
	for (unsigned i = 0; i < databases.count; i++) {
		if (databases.cores[i] < 16)
			set_database(options, databases.cores[i], KV_RELAXED);
	}
	for (unsigned i = 0; i < 64; i++) {
		if (host->options.relaxed_spaces & 1ull << i)
			options->durability[KV_SPACE_APP + i] = KV_RELAXED;
	}
	options->durability[KV_SPACE_SERVER] = KV_DURABLE;
	options->durability[HOST_SPACE_MARKS] = KV_DURABLE;
}

/* What is configured; else, on a small device, so much that there are enough segments to work with.
 */
static uint64_t segment_size(const struct host *host)
{
	const struct blk_geometry *geometry = &host->store.blks[0]->geometry;
	uint64_t size = conf_number(host->conf, CONF_STORAGE_SEGMENT);
	uint64_t device_size = geometry->block_count * geometry->block_size;

	if (conf_is_set(host->conf, CONF_STORAGE_SEGMENT))
		return size;
	while (size > SEGMENT_SIZE_MIN && device_size / size < SEGMENTS_MIN)
		size /= 2;
	return size;
}

static void set_options(const struct host *host, struct store_options *options)
{
	const struct conf *conf = host->conf;

	store_options_init(options);
	options->create = !host->options.must_exist; /* only where nothing is */
	options->index_memory_size = host->parts.index;
	options->cache_memory_size = host->parts.cache;
	options->salvage = host->options.salvage;
	options->partition_count = (uint32_t)conf_number(conf, CONF_STORAGE_PARTITIONS);
	options->segment_blocks = (uint32_t)(segment_size(host) >> BLOCK_SHIFT);
	options->checkpoint_log_max = conf_number(conf, CONF_STORAGE_CHECKPOINT_LOG);
	options->checkpoint_records = conf_number(conf, CONF_STORAGE_CHECKPOINT_RECORDS);
	set_durability(host, options);
	if (getrandom(options->uuid, sizeof(options->uuid), 0) != sizeof(options->uuid))
		memset(options->uuid, 1,
		       sizeof(options->uuid)); /* early at boot: a name is a name */
}

static enum status explain(struct host *host, enum status status)
{
	const struct store *store = host->store.store;
	const char *why =
	        store == NULL || store->error[0] == '\0' ? status_text(status) : store->error;

	if (status == STATUS_INVALID)
		status = STATUS_EXISTS; /* it is not the configuration that is wrong */
	return host_fail(host, status, "%s: %s", host->options.path, why);
}

/* Gives every worker a device for all keys: its own engine when that has them all, else a layer. */
static enum status join_workers(struct host *host)
{
	struct host_store *s = &host->store;
	struct kv *engines[PLAN_WORKERS_MAX];

	for (unsigned i = 0; i < s->count; i++)
		engines[i] = store_kv(s->store, i);
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];

		w->kv_is_local = s->count == 1 && w == s->workers[0];
		if (w->kv_is_local) {
			w->kv = engines[0];
			continue;
		}
		if (kv_shard_open(&w->shard, &w->worker, engines, s->count) != STATUS_OK) {
			return host_fail(host, STATUS_NO_SPACE,
			                 "no memory for keys of other workers");
		}
		w->kv = kv_shard_kv(w->shard);
	}
	return STATUS_OK;
}

/* Lives until the host is closed: workers may still use it after an error. */
struct opening {
	struct store_options options;
	struct store_worker workers[PLAN_WORKERS_MAX];
	struct errand errand;
};

static enum status begin_recovery(struct host *host)
{
	struct host_store *s = &host->store;
	struct opening *opening = calloc(1, sizeof(*opening));
	enum status status;

	if (opening == NULL)
		return host_fail(host, STATUS_NO_SPACE, "no memory to open the store");
	assert(s->opening == NULL && s->count > 0);
	s->opening = opening;
	set_options(host, &opening->options);
	for (unsigned i = 0; i < s->count; i++) {
		opening->workers[i] = (struct store_worker){ .worker = &s->workers[i]->worker,
			                                     .blk = s->blks[i],
			                                     .bufs = &s->workers[i]->bufs };
	}
	opening->errand.s = s;
	opening->errand.options = &opening->options;
	opening->errand.workers = opening->workers;
	opening->errand.count = s->count;
	status = host_start_worker(s->workers[0]);
	if (status != STATUS_OK)
		return status;
	status = host_call(s->workers[0], begin_open, &opening->errand);
	assert(status == STATUS_OK);
	/* Its actors are where they belong now, and inert; recovery will send to all of them. */
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++)
		status = host_start_worker(&host->workers[i]);
	return status;
}

enum status host_store_recover(struct host *host)
{
	struct host_store *s = &host->store;
	const struct store_recovery *did;
	enum status status = begin_recovery(host);

	if (status != STATUS_OK)
		return status;
	status = host_errand_wait(host, &s->opening->errand.errand);
	if (status != STATUS_OK)
		return explain(host, status);
	assert(!s->recovered && !s->stopped);
	s->recovered = true;
	did = &s->store->recovered;
	host_log(host, LOG_INFO,
	         "store is open, created=%d clean=%d frames=%" PRIu64 " records=%" PRIu64
	         " took_ms=%" PRIu64,
	         did->created, did->clean, did->frames, did->records,
	         (did->ended_ns - did->started_ns) / 1000000);
	for (unsigned i = 0; i < s->count; i++) {
		status = store_metrics_add(s->store, i, &host->metrics);
		assert(status == STATUS_OK); /* METRICS_MAX is derived from what is registered */
	}
	return join_workers(host);
}

static enum status look_idle(struct host_worker *w, void *arg)
{
	bool *idle = arg;

	*idle = store_is_idle(w->host->store.store, w->store_index);
	return STATUS_OK;
}

/* What an engine does beside its commands, such as making segments ready, runs out by itself. */
static void wait_idle(struct host *host)
{
	struct host_store *s = &host->store;

	for (unsigned i = 0; i < s->count; i++) {
		bool idle = false;

		while (!idle)
			host_call(s->workers[i], look_idle, &idle);
	}
}

void host_store_tell(struct host_worker *w)
{
	const struct store *store = w->host->store.store;
	struct store_worker_stats stats;

	assert(w->has_engine && w->store_index < w->host->store.count);
	store_worker_stats(store, w->store_index, &stats);
	atomic_store_explicit(&w->store_used,
	                      stats.segments_used * store->super.segment_blocks * BLOCK_SIZE,
	                      memory_order_relaxed);
	atomic_store_explicit(&w->store_failed, stats.failed, memory_order_relaxed);
	w->told_ns = w->worker.now_ns;
}

void host_store_stop(struct host *host)
{
	struct errand errands[PLAN_WORKERS_MAX];
	struct host_store *s = &host->store;
	enum status status = STATUS_OK;

	if (!s->recovered || s->stopped)
		return;
	s->stopped = true;
	host_objects_stop(host);
	host_volumes_stop(host);
	for (unsigned i = 0; i < s->count; i++) {
		errands[i] = (struct errand){ .store = s->store, .index = i };
		host_call(s->workers[i], begin_stop, &errands[i]);
	}
	for (unsigned i = 0; i < s->count; i++) {
		if (host_errand_wait(host, &errands[i].errand) != STATUS_OK)
			status = errands[i].errand.status;
	}
	wait_idle(host);
	if (status == STATUS_OK) {
		errands[0] = (struct errand){ .store = s->store };
		host_call(s->workers[0], begin_close, &errands[0]);
		status = host_errand_wait(host, &errands[0].errand);
	}
	if (status != STATUS_OK)
		host_log(host, LOG_WARN, "the store did not end cleanly, and will recover: %s",
		         status_text(status));
}

void host_store_close(struct host *host)
{
	struct host_store *s = &host->store;

	host_objects_close(host);
	host_volumes_close(host);
	for (unsigned i = 0; i < host->count; i++) {
		if (host->workers[i].shard != NULL)
			kv_shard_close(host->workers[i].shard);
	}
	for (unsigned i = 0; i < s->count; i++)
		s->blks[i]->ops->close(s->blks[i]);
	s->count = 0;
	if (s->store != NULL)
		store_free(s->store);
	s->store = NULL;
	free(s->opening);
	s->opening = NULL;
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}
