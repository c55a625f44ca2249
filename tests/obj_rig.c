/* SPDX-License-Identifier: Apache-2.0 */
#include "obj_rig.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum { TURNS_MAX = 400000, BUFS_SIZE = 32 << 20 };

static uint64_t now_ns(struct clock *clock)
{
	return container_of(clock, struct obj_rig, clock)->now_ns;
}

static uint64_t wall_ms(struct clock *clock)
{
	return container_of(clock, struct obj_rig, clock)->wall_ms;
}

struct worker *obj_rig_worker(struct obj_rig *rig, unsigned index)
{
	return rig->has_store ? &rig->f.worker : &rig->mem_workers[index];
}

void obj_rig_turn(struct obj_rig *rig)
{
	rig->now_ns += 10000;
	rig->f.now_ns += 10000;
	for (unsigned i = 0; i < rig->count; i++)
		worker_turn(obj_rig_worker(rig, i));
}

void obj_rig_wait(struct obj_rig *rig, uint64_t ns)
{
	uint64_t *clock = rig->has_store ? &rig->f.now_ns : &rig->now_ns;
	uint64_t until = *clock + ns;

	while (*clock < until) {
		obj_rig_turn(rig);
		*clock += 1000000;
	}
	rig->wall_ms += ns / 1000000;
	rig->f.wall_ms += ns / 1000000;
}

struct wait_frame {
	struct frame frame;
	bool *done;
};

static void waited(struct req *req)
{
	*req_pop(req, struct wait_frame)->done = true;
}

static void turn_until(struct obj_rig *rig, const bool *done)
{
	for (unsigned i = 0; i < TURNS_MAX && !*done; i++)
		obj_rig_turn(rig);
	assert(*done); /* else: it never ends */
}

static void engines_open(struct obj_rig *rig)
{
	for (unsigned i = 0; i < rig->count; i++) {
		struct obj_options options = {
			.kv = rig->kvs[i],
			.bufs = rig->has_store ? &rig->f.bufs : &rig->mem_bufs[i],
			.extent_shift = 16,
			.spread = rig->has_store ? 3 : 4,
			.collects = i == 0,
		};
		enum status status = obj_engine_open(&rig->engines[i], &options);

		assert(status == STATUS_OK);
	}
	for (unsigned i = 0; i < rig->count; i++) {
		struct req req;
		bool done = false;

		obj_engine_join(rig->engines[i], rig->engines, rig->count);
		req_init(&req, obj_rig_worker(rig, i));
		req_push(&req, struct wait_frame, waited)->done = &done;
		obj_engine_start(rig->engines[i], &req);
		turn_until(rig, &done);
		assert(req.status == STATUS_OK);
	}
}

static void mem_workers_open(struct obj_rig *rig)
{
	for (unsigned i = 0; i < rig->count; i++) {
		enum status status = bufs_open(&rig->mem_bufs[i], BUFS_SIZE, 0);

		assert(status == STATUS_OK);
		worker_init(&rig->mem_workers[i], i, ROLE_STORAGE, &rig->clock);
	}
	for (unsigned i = 0; i < rig->count; i++) {
		for (unsigned j = 0; j < rig->count; j++) {
			if (i == j)
				continue;
			ring_init(&rig->rings[i][j], rig->slots[i][j], 64);
			worker_connect(&rig->mem_workers[i], &rig->mem_workers[j],
			               &rig->rings[i][j]);
		}
	}
	for (unsigned i = 0; i < rig->count; i++)
		rig->kvs[i] = kv_mem_attach(rig->mem, &rig->mem_workers[i]);
}

void obj_rig_open_mem(struct obj_rig *rig, unsigned count, const struct kv_mem_options *options)
{
	memset(rig, 0, sizeof(*rig));
	rig->clock = (struct clock){ now_ns, wall_ms };
	rig->now_ns = 1;
	rig->wall_ms = 1700000000000;
	rig->count = count;
	rig->mem = kv_mem_open(options);
	mem_workers_open(rig);
	engines_open(rig);
}

void obj_rig_open_store(struct obj_rig *rig, uint64_t disk_size)
{
	enum status status;

	memset(rig, 0, sizeof(*rig));
	rig->has_store = true;
	rig->count = 1;
	store_fixture_init(&rig->f, disk_size);
	rig->f.options.create = true;
	rig->f.options.segment_blocks = 256;
	status = store_fixture_open(&rig->f);
	assert(status == STATUS_OK);
	rig->kvs[0] = store_kv(rig->f.store, 0);
	engines_open(rig);
}

static void engines_close(struct obj_rig *rig, bool crash)
{
	for (unsigned i = 0; i < rig->count && !crash; i++) {
		obj_engine_stop(rig->engines[i]);
		for (unsigned t = 0; t < TURNS_MAX && !obj_engine_is_idle(rig->engines[i]); t++)
			obj_rig_turn(rig);
		assert(obj_engine_is_idle(rig->engines[i]));
	}
	for (unsigned i = 0; i < rig->count; i++)
		obj_engine_close(rig->engines[i]);
}

void obj_rig_reopen(struct obj_rig *rig, bool crash)
{
	engines_close(rig, crash);
	if (rig->has_store) {
		enum status status;

		store_fixture_close(&rig->f, crash);
		status = store_fixture_open(&rig->f);
		assert(status == STATUS_OK);
		rig->kvs[0] = store_kv(rig->f.store, 0);
	}
	engines_open(rig);
}

void obj_rig_close(struct obj_rig *rig)
{
	engines_close(rig, /* crash= */ false);
	if (rig->has_store) {
		store_fixture_close(&rig->f, /* crash= */ false);
		store_fixture_fini(&rig->f);
		return;
	}
	for (unsigned i = 0; i < rig->count; i++) {
		rig->kvs[i]->ops->close(rig->kvs[i]);
		assert(rig->mem_bufs[i].used_size == 0);
		bufs_close(&rig->mem_bufs[i]);
	}
	kv_mem_close(rig->mem);
}

enum status obj_rig_run_on(struct obj_rig *rig, unsigned index, const struct obj_cmd *cmd,
                           uint64_t *result)
{
	struct req req;
	bool done = false;

	req_init(&req, obj_rig_worker(rig, index));
	req_push(&req, struct wait_frame, waited)->done = &done;
	obj_submit(obj_engine_obj(rig->engines[index]), &req, cmd);
	assert(!done); /* never from inside a submit */
	turn_until(rig, &done);
	if (result != NULL)
		*result = req.result;
	return req.status;
}

enum status obj_rig_run(struct obj_rig *rig, const struct obj_cmd *cmd, uint64_t *result)
{
	return obj_rig_run_on(rig, 0, cmd, result);
}

uint64_t obj_rig_count(struct obj_rig *rig, uint8_t space)
{
	struct kv_cmd cmd = { .op = KV_COUNT, .key = { &space, 1 } };
	struct req req;
	bool done = false;

	req_init(&req, obj_rig_worker(rig, 0));
	req_push(&req, struct wait_frame, waited)->done = &done;
	kv_submit(rig->kvs[0], &req, &cmd);
	turn_until(rig, &done);
	assert(req.status == STATUS_OK);
	return req.result;
}

void obj_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint64_t at = offset + i;
		uint64_t word = (seed + at / 8 + 1) * 0x9e3779b97f4a7c15ull;

		out[i] = (uint8_t)((word ^ word >> 29) >> (8 * (at % 8)));
	}
}

bool obj_is_filled(uint64_t seed, uint64_t offset, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t byte;

		obj_fill(seed, offset + i, &byte, 1);
		if (data[i] != byte)
			return false;
	}
	return true;
}

static enum status put_pieces(struct obj_rig *rig, const struct obj_cmd *cmd, uint64_t seed,
                              uint64_t size, size_t piece)
{
	struct obj_cmd write = { .op = OBJ_WRITE, .handle = cmd->handle };
	uint8_t *data = malloc(piece);
	enum status status = STATUS_OK;

	assert(data != NULL);
	for (uint64_t at = 0; at < size && status == STATUS_OK; at += write.value.size) {
		uint64_t so_far;

		write.value = bytes_of(data, size - at < piece ? size - at : piece);
		obj_fill(seed, at, data, write.value.size);
		status = obj_rig_run(rig, &write, &so_far);
		assert(status != STATUS_OK || so_far == at + write.value.size);
	}
	free(data);
	return status;
}

enum status obj_rig_put(struct obj_rig *rig, const struct obj_cmd *cmd, uint64_t seed,
                        uint64_t size, size_t piece, uint64_t *result)
{
	struct obj_cmd step = *cmd;
	enum status status;
	uint8_t *data;

	if (piece == 0) {
		data = malloc(size + 1);
		assert(data != NULL);
		obj_fill(seed, 0, data, size);
		step.op = OBJ_PUT;
		step.value = bytes_of(data, size);
		status = obj_rig_run(rig, &step, result);
		free(data);
		return status;
	}
	step.op = OBJ_CREATE;
	step.put = NULL;
	status = obj_rig_run(rig, &step, &step.handle);
	if (status != STATUS_OK)
		return status;
	status = put_pieces(rig, &step, seed, size, piece);
	if (status == STATUS_OK) {
		step = (struct obj_cmd){ .op = OBJ_COMMIT,
			                 .handle = step.handle,
			                 .put = cmd->put,
			                 .visit = cmd->visit,
			                 .visitor = cmd->visitor };
		status = obj_rig_run(rig, &step, result);
	}
	if (status != STATUS_OK) {
		step = (struct obj_cmd){ .op = OBJ_ABORT, .handle = step.handle };
		obj_rig_run(rig, &step, NULL);
	}
	return status;
}

enum status obj_rig_get(struct obj_rig *rig, const struct obj_cmd *cmd, uint64_t seed,
                        uint64_t size, size_t piece)
{
	struct obj_cmd step = *cmd;
	uint8_t *data = malloc(piece);
	enum status status, wrong = STATUS_OK;
	uint64_t at = 0;

	assert(data != NULL);
	step.op = OBJ_OPEN;
	status = obj_rig_run(rig, &step, &step.handle);
	if (status != STATUS_OK) {
		free(data);
		return status;
	}
	for (;;) {
		struct obj_cmd read = { .op = OBJ_READ,
			                .handle = step.handle,
			                .offset = at,
			                .out = data,
			                .out_size = (uint32_t)piece };
		uint64_t got;

		status = obj_rig_run(rig, &read, &got);
		if (status != STATUS_OK || got == 0)
			break;
		if (!obj_is_filled(seed, at, data, got))
			wrong = STATUS_INVALID;
		at += got;
	}
	if (status == STATUS_OK && (wrong != STATUS_OK || at != size))
		status = STATUS_INVALID;
	step = (struct obj_cmd){ .op = OBJ_RELEASE, .handle = step.handle };
	obj_rig_run(rig, &step, NULL);
	free(data);
	return status;
}
