/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "transport/clock.h"

enum {
	RING_SIZE = 512,
	BUFFERS_SIZE = 64 << 20, /* of a worker */
};

static enum cli_exit refuse(const char *path, const char *why)
{
	cli_error("%s: %s", path, why);
	return CLI_ENVIRONMENT;
}

static enum cli_exit worker_open(struct offline *offline, unsigned index)
{
	struct offline_worker *w = &offline->workers[index];
	const struct io_options options = { .queue_depth = 2 * READER_READS_MAX,
		                            .connections_max = 1,
		                            .receive_memory = 64 << 10 };
	const struct io_file_options file = { .direct = true,
		                              .read_only = offline->read_only,
		                              .lock = index == 0 ? IO_LOCK_FIRST : IO_LOCK_NEXT,
		                              .fua = IO_FUA_FLUSH };
	char error[IO_ERROR_SIZE] = "";

	worker_init(&w->worker, index, ROLE_STORAGE, clock_system());
	if (bufs_open(&w->bufs, BUFFERS_SIZE, 0) != STATUS_OK)
		return refuse(offline->file, "no memory");
	w->opened = true;
	if (io_open(IO_AUTO, &w->worker, &options, &w->io, error) != STATUS_OK)
		return refuse(offline->file, error);
	worker_add_transport(&w->worker, &w->io->transport);
	if (io_blk_open(w->io, offline->file, &file, &w->blk, error) != STATUS_OK)
		return refuse(offline->file, error);
	if (w->blk->geometry.block_size != BLOCK_SIZE)
		return refuse(offline->file, "its blocks are larger than a store's");
	return CLI_DONE;
}

static void worker_close(struct offline_worker *w)
{
	if (w->blk != NULL)
		w->blk->ops->close(w->blk);
	if (w->io != NULL)
		io_close(w->io);
	if (w->opened)
		bufs_close(&w->bufs);
	*w = (struct offline_worker){ .opened = false };
}

enum cli_exit offline_open(struct offline *offline, const char *path, bool read_only)
{
	enum cli_exit exit;
	struct stat st;
	int size;

	*offline = (struct offline){ .lock = -1, .read_only = read_only };
	if (stat(path, &st) != 0)
		return refuse(path, strerror(errno));
	size = snprintf(offline->file, sizeof(offline->file),
	                S_ISDIR(st.st_mode) ? "%s/store" : "%s", path);
	if ((size_t)size >= sizeof(offline->file))
		return refuse("the path", "longer than a path may be");
	offline->lock = open(path, O_RDONLY | O_CLOEXEC);
	if (offline->lock < 0)
		return refuse(path, strerror(errno));
	if (flock(offline->lock, LOCK_EX | LOCK_NB) != 0)
		return refuse(path, "a server has it: stop that first");
	exit = worker_open(offline, 0);
	if (exit != CLI_DONE)
		return exit;
	offline->count = 1;
	if (store_reader_open(&offline->reader, &offline->workers[0].worker,
	                      offline->workers[0].blk) != STATUS_OK)
		return refuse(path, "no memory");
	return CLI_DONE;
}

void offline_close(struct offline *offline)
{
	if (offline->reader.slots != NULL)
		store_reader_close(&offline->reader);
	for (unsigned i = 0; i < STREAMS_MAX; i++)
		worker_close(&offline->workers[i]);
	free(offline->rings);
	free(offline->ring_slots);
	offline->rings = NULL;
	offline->ring_slots = NULL;
	if (offline->lock >= 0)
		close(offline->lock);
	offline->lock = -1;
}

/* A ring each way between any two workers. */
static bool connect_workers(struct offline *offline)
{
	unsigned count = offline->count, ring = 0;
	size_t edges = (size_t)count * (count - 1);

	if (edges == 0)
		return true;
	offline->rings = aligned_alloc(64, align_up(edges * sizeof(*offline->rings), 64));
	offline->ring_slots = calloc(edges * RING_SIZE, sizeof(struct req *));
	if (offline->rings == NULL || offline->ring_slots == NULL)
		return false;
	for (unsigned from = 0; from < count; from++) {
		for (unsigned to = 0; to < count; to++) {
			if (from == to)
				continue;
			ring_init(&offline->rings[ring],
			          &offline->ring_slots[(size_t)ring * RING_SIZE], RING_SIZE);
			worker_connect(&offline->workers[from].worker, &offline->workers[to].worker,
			               &offline->rings[ring++]);
		}
	}
	return true;
}

struct wait_frame {
	struct frame frame;
	bool *done;
};

static void waited(struct req *req)
{
	*req_pop(req, struct wait_frame)->done = true;
}

/* Turns all workers, one after the other, until it is done. They poll: that is short. */
static enum status wait_for(struct offline *offline, struct req *req, const bool *done)
{
	while (!*done) {
		for (unsigned i = 0; i < offline->count; i++)
			worker_turn(&offline->workers[i].worker);
	}
	return req->status;
}

static enum status close_store(struct offline *offline, struct store *store)
{
	enum status status = STATUS_OK;
	struct req req;
	bool done;

	for (unsigned i = 0; status == STATUS_OK && i < offline->count; i++) {
		done = false;
		req_init(&req, &offline->workers[i].worker);
		req_push(&req, struct wait_frame, waited)->done = &done;
		store_stop(store, i, &req);
		status = wait_for(offline, &req, &done);
	}
	if (status != STATUS_OK)
		return status;
	done = false;
	req_init(&req, &offline->workers[0].worker);
	req_push(&req, struct wait_frame, waited)->done = &done;
	store_close(store, &req);
	return wait_for(offline, &req, &done);
}

static enum cli_exit recover(struct offline *offline, struct store_recovery *did)
{
	static struct store_options options; /* large */
	struct store_worker workers[STREAMS_MAX];
	struct store *store = NULL;
	struct req req;
	bool done = false;
	enum status status;

	store_options_init(&options);
	options.create = false;
	options.salvage = true;
	for (unsigned i = 0; i < offline->count; i++) {
		struct offline_worker *w = &offline->workers[i];

		workers[i] = (struct store_worker){ &w->worker, w->blk, &w->bufs };
	}
	req_init(&req, &offline->workers[0].worker);
	req_push(&req, struct wait_frame, waited)->done = &done;
	store_open(&store, &options, workers, offline->count, &req);
	status = wait_for(offline, &req, &done);
	if (store != NULL)
		*did = store->recovered;
	if (status != STATUS_OK)
		cli_error("%s: %s", offline->file,
		          store != NULL ? store->error : status_text(status));
	else if ((status = close_store(offline, store)) != STATUS_OK)
		cli_error("%s: could not be closed cleanly: %s", offline->file,
		          status_text(status));
	store_free(store);
	if (status == STATUS_OK)
		return CLI_DONE;
	return status == STATUS_CORRUPT ? CLI_STORE : CLI_ENVIRONMENT;
}

enum cli_exit offline_recover(struct offline *offline, uint32_t streams, struct store_recovery *did)
{
	enum cli_exit exit = CLI_DONE;

	assert(streams >= 1 && streams <= STREAMS_MAX);
	assert(!offline->read_only && offline->count == 1);
	/* The reader's worker has run alone; the ones that work together are new. */
	store_reader_close(&offline->reader);
	worker_close(&offline->workers[0]);
	for (unsigned i = 0; exit == CLI_DONE && i < streams; i++)
		exit = worker_open(offline, i);
	if (exit != CLI_DONE)
		return exit;
	offline->count = streams;
	if (!connect_workers(offline))
		return refuse(offline->file, "no memory");
	return recover(offline, did);
}

bool offline_agrees(const char *question)
{
	char line[16] = "";

	if (!isatty(STDIN_FILENO)) {
		cli_error("%s: say --yes to agree", question);
		return false;
	}
	fprintf(stderr, "%s? Type yes to agree: ", question);
	return fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "yes\n") == 0;
}

enum cli_exit offline_explain(const struct offline *offline, enum status status)
{
	switch (status) {
	case STATUS_OK:
		return CLI_DONE;
	case STATUS_CORRUPT:
	case STATUS_UNSUPPORTED:
		return CLI_STORE; /* what was found has been said */
	case STATUS_NOT_FOUND:
		return refuse(offline->file, "there is no store in it");
	case STATUS_INVALID:
		return refuse(offline->file, "holds something that is not a store");
	case STATUS_NO_SPACE:
		return refuse(offline->file, "too small for a store, or no memory");
	default:
		return refuse(offline->file, status_text(status));
	}
}
