/* SPDX-License-Identifier: Apache-2.0 */
#include "volume_rig.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/volume_format.h"

enum { TURNS_MAX = 1000000, BLOCKS_MAX = 256 };

struct wait_frame {
	struct frame frame;
	bool *done;
};

static void waited(struct req *req)
{
	*req_pop(req, struct wait_frame)->done = true;
}

static void wait_begin(struct req *req, struct worker *worker, bool *done)
{
	*done = false;
	req_init(req, worker);
	req_push(req, struct wait_frame, waited)->done = done;
}

static enum status wait_end(struct volume_rig *rig, const struct req *req, const bool *done)
{
	for (unsigned i = 0; i < TURNS_MAX && !*done; i++)
		obj_rig_turn(&rig->obj);
	assert(*done); /* else: it never ends */
	return req->status;
}

static void appeared(void *owner, const struct volume_info *info, struct blk *blk)
{
	struct volume_rig *rig = owner;

	rig->told++;
	for (unsigned i = 0; i < rig->obj.count; i++) {
		if (blk->worker == obj_rig_worker(&rig->obj, i))
			rig->seen[i][info->slot] = true;
	}
	assert(blk->geometry.block_count * blk->geometry.block_size == info->size);
}

static bool may_leave(void *owner, const struct volume_info *info, struct blk *blk)
{
	struct volume_rig *rig = owner;

	for (unsigned i = 0; i < rig->obj.count; i++) {
		if (blk->worker == obj_rig_worker(&rig->obj, i) && !rig->busy)
			rig->seen[i][info->slot] = false;
	}
	return !rig->busy;
}

static void engines_open(struct volume_rig *rig)
{
	struct req req;
	bool done;

	memset(rig->seen, 0, sizeof(rig->seen));
	for (unsigned i = 0; i < rig->obj.count; i++) {
		struct volumes_options options = {
			.kv = rig->obj.kvs[i],
			.bufs = rig->obj.has_store ? &rig->obj.f.bufs : &rig->obj.mem_bufs[i],
			.calls_max = 8,
			.parts_max = 24,
			.seed = 7,
			.leads = i + 1 == rig->obj.count,
			.collect_wait_ns = 10000000,
			.appeared = appeared,
			.may_leave = may_leave,
			.owner = rig,
		};
		enum status status = volumes_open(&rig->engines[i], &options);

		assert(status == STATUS_OK);
		assert(volumes_memory(&options) > 0);
	}
	for (unsigned i = 0; i < rig->obj.count; i++)
		volumes_join(rig->engines[i], rig->engines, rig->obj.count);
	wait_begin(&req, obj_rig_worker(&rig->obj, rig->obj.count - 1), &done);
	volumes_start(rig->engines[rig->obj.count - 1], &req);
	assert(wait_end(rig, &req, &done) == STATUS_OK);
}

void volume_rig_open_mem(struct volume_rig *rig, unsigned count,
                         const struct kv_mem_options *options)
{
	memset(rig, 0, sizeof(*rig));
	obj_rig_open_mem(&rig->obj, count, options);
	engines_open(rig);
}

void volume_rig_open_store(struct volume_rig *rig, uint64_t disk_size)
{
	memset(rig, 0, sizeof(*rig));
	obj_rig_open_store(&rig->obj, disk_size);
	engines_open(rig);
}

void volume_rig_settle(struct volume_rig *rig)
{
	for (unsigned i = 0; i < TURNS_MAX; i++) {
		bool idle = true;

		for (unsigned j = 0; j < rig->obj.count; j++)
			idle = idle && volumes_are_idle(rig->engines[j]);
		if (idle)
			return;
		obj_rig_turn(&rig->obj);
	}
	unreachable();
}

static void engines_close(struct volume_rig *rig, bool crash)
{
	for (unsigned i = 0; i < rig->obj.count && !crash; i++)
		volumes_stop(rig->engines[i]);
	if (!crash)
		volume_rig_settle(rig);
	for (unsigned i = 0; i < rig->obj.count; i++)
		volumes_close(rig->engines[i]);
}

void volume_rig_reopen(struct volume_rig *rig, bool crash)
{
	/* What is under way in a kv in memory would still end. */
	crash = crash && rig->obj.has_store;
	engines_close(rig, crash);
	obj_rig_reopen(&rig->obj, crash);
	engines_open(rig);
}

void volume_rig_close(struct volume_rig *rig)
{
	engines_close(rig, /* crash= */ false);
	obj_rig_close(&rig->obj);
}

enum status volume_rig_run(struct volume_rig *rig, unsigned worker, const struct volume_cmd *cmd)
{
	struct req req;
	bool done;

	wait_begin(&req, obj_rig_worker(&rig->obj, worker), &done);
	volume_submit(volumes_set(rig->engines[worker]), &req, cmd);
	return wait_end(rig, &req, &done);
}

static struct bytes text(const char *string)
{
	return string == NULL ? bytes_of(NULL, 0) : bytes_of(string, strlen(string));
}

enum status volume_rig_create(struct volume_rig *rig, const char *name, uint64_t blocks)
{
	return volume_rig_run(rig, 0,
	                      &(struct volume_cmd){ .op = VOLUME_CREATE,
	                                            .name = text(name),
	                                            .size = blocks * VOLUME_RIG_BLOCK });
}

enum status volume_rig_do(struct volume_rig *rig, enum volume_op op, const char *name,
                          const char *other)
{
	return volume_rig_run(
	        rig, 0, &(struct volume_cmd){ .op = op, .name = text(name), .other = text(other) });
}

struct blk *volume_rig_blk(struct volume_rig *rig, unsigned worker, const char *name)
{
	struct blk *blk = NULL;
	const struct volume_info *info = volumes_find(rig->engines[worker], text(name), &blk);

	assert(info == NULL || rig->seen[worker][info->slot]);
	return info == NULL ? NULL : blk;
}

enum status volume_rig_io(struct volume_rig *rig, struct blk *blk, const struct blk_cmd *cmd)
{
	struct req req;
	bool done;

	wait_begin(&req, blk->worker, &done);
	blk_submit(blk, &req, cmd);
	return wait_end(rig, &req, &done);
}

uint64_t volume_rig_map(struct volume_rig *rig, struct blk *blk, const struct blk_map_cmd *cmd)
{
	struct req req;
	bool done;
	enum status status;

	wait_begin(&req, blk->worker, &done);
	blk_map(blk, &req, cmd);
	status = wait_end(rig, &req, &done);
	assert(status == STATUS_OK);
	return req.result;
}

void volume_rig_fill(uint8_t *block, uint32_t seed)
{
	for (uint32_t i = 0; i < VOLUME_RIG_BLOCK; i += 8) {
		uint64_t word = seed == 0 ? 0 : seed * 0x9e3779b97f4a7c15ull + i;

		memcpy(block + i, &word, sizeof(word));
	}
}

enum status volume_rig_write(struct volume_rig *rig, struct blk *blk, uint64_t lba,
                             const uint32_t *seeds, uint32_t count)
{
	uint8_t *data = aligned_alloc(VOLUME_RIG_BLOCK, (size_t)count * VOLUME_RIG_BLOCK);
	struct iovec iov = { data, (size_t)count * VOLUME_RIG_BLOCK };
	enum status status;

	assert(data != NULL && count <= BLOCKS_MAX);
	for (uint32_t i = 0; i < count; i++)
		volume_rig_fill(data + (size_t)i * VOLUME_RIG_BLOCK, seeds[i]);
	status = volume_rig_io(rig, blk,
	                       &(struct blk_cmd){ .op = BLK_WRITE,
	                                          .lba = lba,
	                                          .block_count = count,
	                                          .iov = &iov,
	                                          .iov_count = 1 });
	free(data);
	return status;
}

bool volume_rig_is(struct volume_rig *rig, struct blk *blk, uint64_t lba, const uint32_t *seeds,
                   uint32_t count)
{
	uint8_t *data = aligned_alloc(VOLUME_RIG_BLOCK, (size_t)count * VOLUME_RIG_BLOCK);
	uint8_t block[VOLUME_RIG_BLOCK];
	struct iovec iov = { data, (size_t)count * VOLUME_RIG_BLOCK };
	bool same = true;

	assert(data != NULL && count <= BLOCKS_MAX);
	memset(data, 0xee, (size_t)count * VOLUME_RIG_BLOCK);
	same = volume_rig_io(rig, blk,
	                     &(struct blk_cmd){ .op = BLK_READ,
	                                        .lba = lba,
	                                        .block_count = count,
	                                        .iov = &iov,
	                                        .iov_count = 1 }) == STATUS_OK;
	for (uint32_t i = 0; i < count && same; i++) {
		volume_rig_fill(block, seeds[i]);
		same = memcmp(block, data + (size_t)i * VOLUME_RIG_BLOCK, VOLUME_RIG_BLOCK) == 0;
	}
	free(data);
	return same;
}

uint64_t volume_rig_records(struct volume_rig *rig)
{
	return obj_rig_count(&rig->obj, VOLUME_SPACE_DATA);
}
