/* SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum { TURNS_MAX = 100000 };

static uint64_t now_ns(struct clock *clock)
{
	return container_of(clock, struct store_fixture, clock)->now_ns;
}

static uint64_t wall_ms(struct clock *clock)
{
	return container_of(clock, struct store_fixture, clock)->wall_ms;
}

void store_fixture_init(struct store_fixture *f, uint64_t disk_size)
{
	*f = (struct store_fixture){
		.clock = { now_ns, wall_ms },
		.now_ns = 1,
		.wall_ms = 1700000000000,
		.disk_size = disk_size,
	};
	f->disk = calloc(1, disk_size);
	assert(f->disk != NULL);
	store_options_init(&f->options);
	f->options.partition_count = 4;
	f->options.segment_blocks = 64;
	f->options.index_memory_size = 1 << 20;
	f->options.cache_memory_size = 256 << 10;
	f->options.checkpoint_log_max = 1 << 20;
	f->options.checkpoint_records = 3000;
}

void store_fixture_fini(struct store_fixture *f)
{
	free(f->disk);
}

struct wait_frame {
	struct frame frame;
	bool *done;
};

static void waited(struct req *req)
{
	*req_pop(req, struct wait_frame)->done = true;
}

static void turn(struct store_fixture *f)
{
	f->now_ns += 10000;
	worker_turn(&f->worker);
}

static enum status turn_until(struct store_fixture *f, const bool *done, const struct req *req)
{
	for (unsigned i = 0; i < TURNS_MAX && !*done; i++)
		turn(f);
	assert(*done); /* else: it never ends */
	return req->status;
}

enum status store_fixture_open(struct store_fixture *f)
{
	struct store_worker part = { .worker = &f->worker, .blk = &f->mem.blk, .bufs = &f->bufs };
	struct req req;
	bool done = false;
	enum status status;

	worker_init(&f->worker, 0, ROLE_STORAGE, &f->clock);
	status = bufs_open(&f->bufs, 64 << 20, 0);
	assert(status == STATUS_OK);
	mem_init(&f->mem, &f->worker, f->disk, f->disk_size / BLOCK_SIZE);
	req_init(&req, &f->worker);
	req_push(&req, struct wait_frame, waited)->done = &done;
	store_open(&f->store, &f->options, &part, 1, &req);
	return turn_until(f, &done, &req);
}

void store_fixture_close(struct store_fixture *f, bool crash)
{
	if (!crash) {
		struct req req;
		bool done = false;

		req_init(&req, &f->worker);
		req_push(&req, struct wait_frame, waited)->done = &done;
		store_stop(f->store, 0, &req);
		(void)turn_until(f, &done, &req);
		done = false;
		req_init(&req, &f->worker);
		req_push(&req, struct wait_frame, waited)->done = &done;
		store_close(f->store, &req);
		(void)turn_until(f, &done, &req);
	}
	store_free(f->store);
	bufs_close(&f->bufs);
}

enum status store_run(struct store_fixture *f, const struct kv_cmd *cmd, uint64_t *result)
{
	struct req req;
	bool done = false;
	enum status status;

	req_init(&req, &f->worker);
	req_push(&req, struct wait_frame, waited)->done = &done;
	kv_submit(store_kv(f->store, 0), &req, cmd);
	assert(!done); /* never from inside a submit */
	status = turn_until(f, &done, &req);
	if (result != NULL)
		*result = req.result;
	return status;
}

enum status store_put(struct store_fixture *f, struct bytes key, struct bytes value)
{
	struct kv_cmd cmd = { .op = KV_PUT, .key = key, .value = value };

	return store_run(f, &cmd, NULL);
}

struct get_visit {
	uint8_t *out;
	size_t out_size;
	uint64_t size;
};

static void see(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct get_visit *visit = visitor;

	(void)edit;
	if (entry->version == 0)
		return;
	visit->size = entry->size;
	assert(entry->value.size <= visit->out_size);
	if (entry->value.size > 0)
		memcpy(visit->out, entry->value.data, entry->value.size);
}

enum status store_get(struct store_fixture *f, struct bytes key, uint8_t *out, size_t out_size,
                      uint64_t *size)
{
	struct get_visit visit = { .out = out, .out_size = out_size, .size = UINT64_MAX };
	struct kv_cmd cmd = { .op = KV_GET, .key = key, .visit = see, .visitor = &visit };
	enum status status = store_run(f, &cmd, NULL);

	*size = visit.size;
	return status;
}

enum status store_delete(struct store_fixture *f, struct bytes key, bool *was_there)
{
	struct kv_cmd cmd = { .op = KV_DELETE, .key = key };
	uint64_t result = 0;
	enum status status = store_run(f, &cmd, &result);

	*was_there = result == 1;
	return status;
}
