/* SPDX-License-Identifier: Apache-2.0 */
/* The store of a server: its file, who may have it, recovery, and a clean end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/server.h"
#include "engine/store.h"
#include "layer/kv_shard.h"
#include "server/resp_admin.h"

enum { PATH_SIZE = 4096 };
#define STORE_SIZE_MIN (64ull << 20)

/* A request of the main thread's that some worker runs. */
struct errand {
	struct req req;
	struct store *store;
	const struct store_options *options;
	struct store_worker *workers;
	struct server_store *s;
	unsigned index, count;
	atomic_bool done;
	enum status status;
};

static void errand_done(struct req *req)
{
	struct errand *errand = container_of(req, struct errand, req);

	errand->status = req->status;
	req_pop(req, struct frame);
	/* Pairs with the acquire in errand_wait(). */
	atomic_store_explicit(&errand->done, true, memory_order_release);
}

static void errand_begin(struct errand *errand, struct server_worker *w)
{
	req_init(&errand->req, &w->worker);
	req_push(&errand->req, struct frame, errand_done);
	errand->req.state = REQ_RUNNING;
}

static enum status errand_wait(struct server *server, struct errand *errand)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	while (!atomic_load_explicit(&errand->done, memory_order_acquire)) {
		server_drain_logs(server);
		nanosleep(&pause, NULL);
	}
	return errand->status;
}

/* Where the store is: in a directory a file of a fixed name, else the device or file itself. */
static enum cli_exit find_file(const char *path, char file[PATH_SIZE], bool *is_new)
{
	struct stat st;
	int size;

	*is_new = false;
	if (stat(path, &st) != 0) {
		if (errno != ENOENT || mkdir(path, 0700) != 0 || stat(path, &st) != 0) {
			cli_error("%s: %s", path, strerror(errno));
			return CLI_ENVIRONMENT;
		}
	}
	size = snprintf(file, PATH_SIZE, S_ISDIR(st.st_mode) ? "%s/store" : "%s", path);
	if (size >= PATH_SIZE) {
		cli_error("%.64s...: longer than a path may be", path);
		return CLI_ENVIRONMENT;
	}
	*is_new = S_ISDIR(st.st_mode) && access(file, F_OK) != 0;
	return CLI_DONE;
}

/* One server at a time: two would overwrite each other's acknowledged data. */
static enum cli_exit lock_file(struct server_store *s, const char *path)
{
	s->lock = open(path, O_RDONLY | O_CLOEXEC);
	if (s->lock < 0) {
		cli_error("%s: %s", path, strerror(errno));
		return CLI_ENVIRONMENT;
	}
	if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
		cli_error("%s: another weir serves it", path);
		return CLI_ENVIRONMENT;
	}
	return CLI_DONE;
}

/* A file that may fill its file system, and no more. */
static uint64_t size_of_new(const struct server *server, const char *path)
{
	uint64_t size = conf_number(server->conf, CONF_STORAGE_SIZE);
	struct statvfs fs;

	if (size == 0 && statvfs(path, &fs) == 0)
		size = (uint64_t)fs.f_blocks * fs.f_frsize;
	if (size < STORE_SIZE_MIN)
		size = STORE_SIZE_MIN;
	return size & ~(uint64_t)(BLOCK_SIZE - 1);
}

enum cli_exit server_store_open(struct server *server)
{
	struct server_store *s = &server->store;
	const char *path = server->options.path;
	char file[PATH_SIZE], error[IO_ERROR_SIZE] = "";
	struct io_file_options options = { .direct = true };
	enum cli_exit exit;

	exit = find_file(path, file, &options.create);
	if (exit == CLI_DONE)
		exit = lock_file(s, path);
	if (exit != CLI_DONE)
		return exit;
	options.fua = io_fua_probe(path, error);
	server_log(server, LOG_INFO, "durable writes: %s", error);
	if (options.create)
		options.size = size_of_new(server, path);
	for (unsigned i = 0; i < server->count; i++) {
		struct server_worker *w = &server->workers[i];

		if (!w->has_engine)
			continue;
		if (io_blk_open(w->io, file, &options, &s->blks[s->count], error) != STATUS_OK) {
			cli_error("%s", error);
			return CLI_ENVIRONMENT;
		}
		w->store_index = s->count;
		s->workers[s->count++] = w;
		options.create = false;
	}
	assert(s->count > 0);
	return CLI_DONE;
}

static enum cli_exit begin_open(struct server_worker *w, void *arg)
{
	struct errand *errand = arg;

	errand_begin(errand, w);
	store_open(&errand->s->store, errand->options, errand->workers, errand->count,
	           &errand->req);
	return CLI_DONE;
}

static enum cli_exit begin_stop(struct server_worker *w, void *arg)
{
	struct errand *errand = arg;

	errand_begin(errand, w);
	store_stop(errand->store, errand->index, &errand->req);
	return CLI_DONE;
}

static enum cli_exit begin_close(struct server_worker *w, void *arg)
{
	struct errand *errand = arg;

	errand_begin(errand, w);
	store_close(errand->store, &errand->req);
	return CLI_DONE;
}

/* A database and the members of its collections are one thing to their user. */
static void set_database(struct store_options *options, unsigned database, enum kv_durability how)
{
	options->durability[KV_SPACE_REDIS + database] = how;
	options->durability[KV_SPACE_REDIS_MEMBERS + database] = how;
}

static void set_durability(const struct server *server, struct store_options *options)
{
	struct conf_cores databases;

	conf_cores(server->conf, CONF_DURABILITY_RELAXED, &databases);
	for (unsigned i = 0; i < KV_SPACES; i++)
		options->durability[i] = conf_number(server->conf, CONF_DURABILITY_DEFAULT) == 0
		                                 ? KV_DURABLE
		                                 : KV_RELAXED;
	for (unsigned i = 0; i < databases.count; i++) {
		if (databases.cores[i] < 16)
			set_database(options, databases.cores[i], KV_RELAXED);
	}
}

static void set_options(const struct server *server, struct store_options *options)
{
	const struct conf *conf = server->conf;

	store_options_init(options);
	options->create = true; /* only where nothing is */
	options->index_memory_size = server->parts.index;
	options->cache_memory_size = server->parts.cache;
	options->salvage = server->options.salvage;
	options->partition_count = (uint32_t)conf_number(conf, CONF_STORAGE_PARTITIONS);
	options->segment_blocks =
	        (uint32_t)(conf_number(conf, CONF_STORAGE_SEGMENT) >> BLOCK_SHIFT);
	options->checkpoint_log_max = conf_number(conf, CONF_STORAGE_CHECKPOINT_LOG);
	options->checkpoint_records = conf_number(conf, CONF_STORAGE_CHECKPOINT_RECORDS);
	set_durability(server, options);
	if (getrandom(options->uuid, sizeof(options->uuid), 0) != sizeof(options->uuid))
		memset(options->uuid, 1,
		       sizeof(options->uuid)); /* early at boot: a name is a name */
}

static enum cli_exit explain(const struct server *server, enum status status)
{
	const struct store *store = server->store.store;
	const char *why =
	        store == NULL || store->error[0] == '\0' ? status_text(status) : store->error;

	cli_error("%s: %s", server->options.path, why);
	return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED ? CLI_STORE
	                                                                : CLI_ENVIRONMENT;
}

void server_store_facts(struct server_worker *w, struct resp_facts *facts)
{
	const struct store *store = w->server->store.store;
	const struct blk_geometry *geometry = &w->server->store.blks[0]->geometry;
	uint64_t segment_size = (uint64_t)store->super.segment_blocks * BLOCK_SIZE;
	struct store_worker_stats stats;

	for (unsigned i = 0; i < KV_SPACES; i++)
		facts->relaxed |= store->options.durability[i] == KV_RELAXED;
	facts->store_size = geometry->block_count * geometry->block_size;
	if (!w->has_engine)
		return;
	store_worker_stats(store, w->store_index, &stats);
	facts->records_durable = stats.lsn_durable;
	facts->records_acknowledged = facts->relaxed ? stats.lsn : stats.lsn_durable;
	facts->commits = stats.frames;
	facts->commit_bytes = stats.bytes;
	facts->store_used = stats.segments_used * segment_size;
	facts->read_only = stats.failed;
}

/* Gives every worker a device for all keys: its own engine when that has them all, else a layer. */
static enum cli_exit join_workers(struct server *server)
{
	struct server_store *s = &server->store;
	struct kv *engines[PLAN_WORKERS_MAX];

	for (unsigned i = 0; i < s->count; i++)
		engines[i] = store_kv(s->store, i);
	for (unsigned i = 0; i < server->count; i++) {
		struct server_worker *w = &server->workers[i];

		w->kv_is_local = s->count == 1 && w == s->workers[0];
		if (w->kv_is_local) {
			w->kv = engines[0];
			continue;
		}
		if (kv_shard_open(&w->shard, &w->worker, engines, s->count) != STATUS_OK) {
			cli_error("no memory for keys of other workers");
			return CLI_ENVIRONMENT;
		}
		w->kv = kv_shard_kv(w->shard);
	}
	return CLI_DONE;
}

enum cli_exit server_store_recover(struct server *server)
{
	static struct store_options options; /* large */
	static struct errand errand;
	struct store_worker workers[PLAN_WORKERS_MAX];
	struct server_store *s = &server->store;
	const struct store_recovery *did;
	enum cli_exit exit;

	set_options(server, &options);
	for (unsigned i = 0; i < s->count; i++) {
		workers[i] = (struct store_worker){ .worker = &s->workers[i]->worker,
			                            .blk = s->blks[i],
			                            .bufs = &s->workers[i]->bufs };
	}
	errand = (struct errand){ .s = s, .options = &options, .workers = workers };
	errand.count = s->count;
	exit = server_start_worker(s->workers[0]);
	if (exit != CLI_DONE)
		return exit;
	exit = server_call(s->workers[0], begin_open, &errand);
	assert(exit == CLI_DONE);
	/* Its actors are where they belong now, and inert; recovery will send to all of them. */
	for (unsigned i = 0; i < server->count && exit == CLI_DONE; i++)
		exit = server_start_worker(&server->workers[i]);
	if (exit != CLI_DONE)
		return exit;
	if (errand_wait(server, &errand) != STATUS_OK)
		return explain(server, errand.status);
	s->recovered = true;
	did = &s->store->recovered;
	server_log(server, LOG_INFO,
	           "store is open, created=%d clean=%d frames=%" PRIu64 " records=%" PRIu64
	           " took_ms=%" PRIu64,
	           did->created, did->clean, did->frames, did->records,
	           (did->ended_ns - did->started_ns) / 1000000);
	return join_workers(server);
}

static enum cli_exit look_idle(struct server_worker *w, void *arg)
{
	bool *idle = arg;

	*idle = store_is_idle(w->server->store.store, w->store_index);
	return CLI_DONE;
}

/* What an engine does beside its commands, such as making segments ready, runs out by itself. */
static void wait_idle(struct server *server)
{
	struct server_store *s = &server->store;

	for (unsigned i = 0; i < s->count; i++) {
		bool idle = false;

		while (!idle)
			server_call(s->workers[i], look_idle, &idle);
	}
}

void server_store_stop(struct server *server)
{
	static struct errand errands[PLAN_WORKERS_MAX];
	struct server_store *s = &server->store;
	enum status status = STATUS_OK;

	if (!s->recovered || s->stopped)
		return;
	s->stopped = true;
	for (unsigned i = 0; i < s->count; i++) {
		errands[i] = (struct errand){ .store = s->store, .index = i };
		server_call(s->workers[i], begin_stop, &errands[i]);
	}
	for (unsigned i = 0; i < s->count; i++) {
		if (errand_wait(server, &errands[i]) != STATUS_OK)
			status = errands[i].status;
	}
	wait_idle(server);
	if (status == STATUS_OK) {
		errands[0] = (struct errand){ .store = s->store };
		server_call(s->workers[0], begin_close, &errands[0]);
		status = errand_wait(server, &errands[0]);
	}
	if (status != STATUS_OK)
		server_log(server, LOG_WARN, "the store did not end cleanly, and will recover: %s",
		           status_text(status));
}

void server_store_close(struct server *server)
{
	struct server_store *s = &server->store;

	for (unsigned i = 0; i < server->count; i++) {
		if (server->workers[i].shard != NULL)
			kv_shard_close(server->workers[i].shard);
	}
	for (unsigned i = 0; i < s->count; i++)
		s->blks[i]->ops->close(s->blks[i]);
	s->count = 0;
	if (s->store != NULL)
		store_free(s->store);
	s->store = NULL;
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}
