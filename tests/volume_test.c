/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/prng.h"
#include "engine/volume_format.h"
#include "volume_rig.h"

enum { BLOCKS = 600 };

static struct volume_rig rig;

static int open_mem(void **state)
{
	(void)state;
	volume_rig_open_mem(&rig, 3, &(struct kv_mem_options){ .seed = 1, .delay_ns_max = 50000 });
	return 0;
}

static int open_store(void **state)
{
	(void)state;
	volume_rig_open_store(&rig, 64 << 20);
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	volume_rig_close(&rig);
	return 0;
}

static enum status discard(struct blk *blk, uint64_t lba, uint32_t count)
{
	return volume_rig_io(
	        &rig, blk,
	        &(struct blk_cmd){ .op = BLK_DISCARD, .lba = lba, .block_count = count });
}

static enum status zeroes(struct blk *blk, uint64_t lba, uint32_t count, uint32_t flags)
{
	return volume_rig_io(
	        &rig, blk,
	        &(struct blk_cmd){
	                .op = BLK_ZEROES, .flags = flags, .lba = lba, .block_count = count });
}

static void test_names(void **state)
{
	struct volume_cmd odd = { .op = VOLUME_CREATE, .name = BYTES("odd"), .size = 5000 };
	const struct volume_info *info;

	(void)state;
	assert_int_equal(volume_rig_create(&rig, "", 4), STATUS_INVALID);
	assert_int_equal(volume_rig_create(&rig, "a/b", 4), STATUS_INVALID);
	assert_int_equal(volume_rig_create(&rig, "disk", 0), STATUS_INVALID);
	assert_int_equal(volume_rig_run(&rig, 0, &odd), STATUS_INVALID);
	assert_int_equal(volume_rig_create(&rig, "disk", BLOCKS), STATUS_OK);
	assert_int_equal(volume_rig_create(&rig, "disk", BLOCKS), STATUS_EXISTS);
	for (unsigned i = 0; i < rig.obj.count; i++) {
		info = volumes_find(rig.engines[i], BYTES("disk"), NULL);
		assert_non_null(info);
		assert_int_equal(info->size, BLOCKS * VOLUME_RIG_BLOCK);
		assert_int_equal(info->depth, 1);
		assert_non_null(volume_rig_blk(&rig, i, "disk"));
	}
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "none", NULL), STATUS_NOT_FOUND);
	assert_int_equal(volume_rig_do(&rig, VOLUME_CLONE, "disk", "copy"), STATUS_READ_ONLY);
	rig.busy = true;
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "disk", NULL), STATUS_BUSY);
	rig.busy = false;
	volume_rig_reopen(&rig, false);
	assert_non_null(volume_rig_blk(&rig, 0, "disk"));
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "disk", NULL), STATUS_OK);
	assert_null(volume_rig_blk(&rig, 0, "disk"));
	volume_rig_reopen(&rig, false);
	assert_null(volume_rig_blk(&rig, 0, "disk"));
}

static void test_blocks(void **state)
{
	struct blk *blk;
	uint32_t seeds[BLOCKS] = { 0 };

	(void)state;
	assert_int_equal(volume_rig_create(&rig, "disk", BLOCKS), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_true(volume_rig_is(&rig, blk, 0, seeds, 200));
	assert_int_equal(volume_rig_records(&rig), 0);
	for (uint32_t i = 0; i < 100; i++)
		seeds[230 + i] = i + 1;
	/* Over the border of two stripes. */
	assert_int_equal(volume_rig_write(&rig, blk, 230, seeds + 230, 100), STATUS_OK);
	assert_int_equal(volume_rig_write(&rig, blk, BLOCKS - 1, seeds + 230, 1), STATUS_OK);
	seeds[BLOCKS - 1] = 1;
	assert_int_equal(volume_rig_records(&rig), 101);
	blk = volume_rig_blk(&rig, rig.obj.count - 1, "disk");
	assert_true(volume_rig_is(&rig, blk, 200, seeds + 200, 256));
	volume_rig_reopen(&rig, true);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_true(volume_rig_is(&rig, blk, 400, seeds + 400, 200));
	assert_true(volume_rig_is(&rig, blk, 200, seeds + 200, 200));
	assert_int_equal(discard(blk, 250, 20), STATUS_OK);
	memset(seeds + 250, 0, 20 * sizeof(seeds[0]));
	assert_int_equal(volume_rig_records(&rig), 81);
	assert_true(volume_rig_is(&rig, blk, 200, seeds + 200, 200));
	assert_int_equal(discard(blk, 0, BLOCKS), STATUS_OK);
	assert_int_equal(volume_rig_records(&rig), 0);
	/* Zeroes take room, unless they may be holes. */
	assert_int_equal(zeroes(blk, 250, 100, 0), STATUS_OK);
	assert_int_equal(volume_rig_records(&rig), 100);
	assert_int_equal(zeroes(blk, 250, 90, BLK_UNMAP), STATUS_OK);
	assert_int_equal(volume_rig_records(&rig), 10);
	memset(seeds, 0, sizeof(seeds));
	assert_true(volume_rig_is(&rig, blk, 200, seeds, 200));
}

static void test_map(void **state)
{
	struct blk_extent extents[8];
	struct blk_map_cmd cmd = { .block_count = BLOCKS, .extents = extents, .extent_max = 8 };
	uint32_t seeds[64];
	struct blk *blk;

	(void)state;
	for (uint32_t i = 0; i < 64; i++)
		seeds[i] = i + 1;
	assert_int_equal(volume_rig_create(&rig, "disk", BLOCKS), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_int_equal(volume_rig_write(&rig, blk, 250, seeds, 64), STATUS_OK);
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "snap"), STATUS_OK);
	assert_int_equal(discard(blk, 260, 10), STATUS_OK);
	assert_int_equal(volume_rig_write(&rig, blk, 500, seeds, 3), STATUS_OK);
	assert_int_equal(volume_rig_map(&rig, blk, &cmd), 7);
	assert_int_equal(extents[0].block_count, 250);
	assert_true(extents[0].hole && extents[0].zero);
	assert_int_equal(extents[1].block_count, 10);
	assert_false(extents[1].hole);
	assert_int_equal(extents[2].block_count, 10);
	assert_int_equal(extents[3].block_count, 44);
	assert_int_equal(extents[4].block_count, 500 - 314);
	assert_int_equal(extents[5].block_count, 3);
	assert_int_equal(extents[6].block_count, BLOCKS - 503);
}

static void test_snapshots(void **state)
{
	uint32_t old[32], new[32], none[32] = { 0 };
	struct volumes_stats stats;
	struct blk *blk;

	(void)state;
	for (uint32_t i = 0; i < 32; i++) {
		old[i] = 100 + i;
		new[i] = i % 3 == 0 ? 200 + i : old[i];
	}
	assert_int_equal(volume_rig_create(&rig, "disk", BLOCKS), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_int_equal(volume_rig_write(&rig, blk, 8, old, 32), STATUS_OK);
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "snap"), STATUS_OK);
	for (uint32_t i = 0; i < 32; i += 3)
		assert_int_equal(volume_rig_write(&rig, blk, 8 + i, new + i, 1), STATUS_OK);
	assert_true(volume_rig_is(&rig, blk, 8, new, 32));
	assert_true(volume_rig_is(&rig, volume_rig_blk(&rig, 0, "snap"), 8, old, 32));
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "snap", "x"), STATUS_DENIED);
	assert_int_equal(volume_rig_do(&rig, VOLUME_CLONE, "snap", "clone"), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "clone");
	assert_true(volume_rig_is(&rig, blk, 8, old, 32));
	assert_int_equal(discard(blk, 8, 16), STATUS_OK);
	assert_true(volume_rig_is(&rig, blk, 8, none, 16));
	assert_true(volume_rig_is(&rig, blk, 24, old + 16, 16));
	assert_true(volume_rig_is(&rig, volume_rig_blk(&rig, 0, "snap"), 8, old, 32));
	volume_rig_reopen(&rig, true);
	assert_true(volume_rig_is(&rig, volume_rig_blk(&rig, 0, "disk"), 8, new, 32));
	assert_true(volume_rig_is(&rig, volume_rig_blk(&rig, 0, "clone"), 24, old + 16, 16));

	/* Without the snapshot its layer still has two on it; without the clone it has one. */
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "snap", NULL), STATUS_OK);
	volume_rig_settle(&rig);
	assert_int_equal(volumes_find(rig.engines[0], BYTES("disk"), NULL)->depth, 2);
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "clone", NULL), STATUS_OK);
	volume_rig_settle(&rig);
	volumes_stats(rig.engines[rig.obj.count - 1], &stats);
	assert_int_equal(stats.merged, 1);
	assert_int_equal(stats.cleared, 1);
	assert_int_equal(volumes_find(rig.engines[0], BYTES("disk"), NULL)->depth, 1);
	assert_true(volume_rig_is(&rig, volume_rig_blk(&rig, 0, "disk"), 8, new, 32));
	assert_int_equal(volume_rig_records(&rig), 32);
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "disk", NULL), STATUS_OK);
	volume_rig_settle(&rig);
	assert_int_equal(volume_rig_records(&rig), 0);
	assert_int_equal(obj_rig_count(&rig.obj, VOLUME_SPACE_LAYERS), 0);
}

static enum status resize(const char *name, uint64_t blocks)
{
	return volume_rig_run(&rig, 0,
	                      &(struct volume_cmd){ .op = VOLUME_RESIZE,
	                                            .name = bytes_of(name, strlen(name)),
	                                            .size = blocks * VOLUME_RIG_BLOCK });
}

/* What was cut off does not come back, neither its own nor a snapshot's. */
static void test_resize(void **state)
{
	uint32_t seeds[64], none[64] = { 0 };
	struct blk *blk;

	(void)state;
	for (uint32_t i = 0; i < 64; i++)
		seeds[i] = i + 1;
	assert_int_equal(volume_rig_create(&rig, "disk", 64), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_int_equal(volume_rig_write(&rig, blk, 0, seeds, 64), STATUS_OK);
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "snap"), STATUS_OK);
	assert_int_equal(volume_rig_write(&rig, blk, 20, seeds + 20, 20), STATUS_OK);
	assert_int_equal(resize("none", 5), STATUS_NOT_FOUND);
	assert_int_equal(resize("snap", 5), STATUS_DENIED);
	assert_int_equal(resize("disk", 30), STATUS_OK);
	assert_int_equal(blk->geometry.block_count, 30);
	volume_rig_settle(&rig);
	assert_int_equal(resize("disk", 100), STATUS_OK);
	assert_true(volume_rig_is(&rig, blk, 0, seeds, 30));
	assert_true(volume_rig_is(&rig, blk, 30, none, 64));
	assert_true(volume_rig_is(&rig, volume_rig_blk(&rig, 0, "snap"), 0, seeds, 64));
	volume_rig_reopen(&rig, true);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_int_equal(blk->geometry.block_count, 100);
	assert_true(volume_rig_is(&rig, blk, 30, none, 64));
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "snap", NULL), STATUS_OK);
	volume_rig_settle(&rig);
	assert_true(volume_rig_is(&rig, blk, 0, seeds, 30));
	assert_true(volume_rig_is(&rig, blk, 30, none, 64));
	assert_int_equal(volume_rig_records(&rig), 30);
}

static void test_depth(void **state)
{
	char name[16];
	uint32_t seed = 1;
	struct blk *blk;

	(void)state;
	assert_int_equal(volume_rig_create(&rig, "disk", 64), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "disk");
	for (unsigned i = 1; i < VOLUME_DEPTH_MAX; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(volume_rig_write(&rig, blk, i, &seed, 1), STATUS_OK);
		assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", name), STATUS_OK);
	}
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "one"), STATUS_TOO_LARGE);
	for (unsigned i = 1; i < VOLUME_DEPTH_MAX; i++)
		assert_true(volume_rig_is(&rig, blk, i, &seed, 1));
	for (unsigned i = 1; i < VOLUME_DEPTH_MAX; i += 2) {
		snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, name, NULL), STATUS_OK);
	}
	volume_rig_settle(&rig);
	assert_int_equal(volumes_find(rig.engines[0], BYTES("disk"), NULL)->depth,
	                 VOLUME_DEPTH_MAX / 2);
	for (unsigned i = 1; i < VOLUME_DEPTH_MAX; i++)
		assert_true(volume_rig_is(&rig, blk, i, &seed, 1));
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "one"), STATUS_OK);
}

/* Records larger than a block. */
static void test_large_records(void **state)
{
	struct volume_cmd create = {
		.op = VOLUME_CREATE, .name = BYTES("disk"), .record_shift = 15, .size = 64 << 15
	};
	static _Alignas(32768) uint8_t data[4 << 15], seen[4 << 15];
	struct iovec iov = { data, sizeof(data) };
	struct blk_cmd cmd = {
		.op = BLK_WRITE, .lba = 30, .block_count = 4, .iov = &iov, .iov_count = 1
	};
	struct blk *blk;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i += VOLUME_RIG_BLOCK)
		volume_rig_fill(data + i, (uint32_t)i + 1);
	assert_int_equal(volume_rig_run(&rig, 0, &create), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_int_equal(blk->geometry.block_size, 32768);
	assert_int_equal(volume_rig_io(&rig, blk, &cmd), STATUS_OK);
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "snap"), STATUS_OK);
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "snap", NULL), STATUS_OK);
	volume_rig_settle(&rig);
	iov.iov_base = seen;
	cmd.op = BLK_READ;
	assert_int_equal(volume_rig_io(&rig, blk, &cmd), STATUS_OK);
	assert_memory_equal(data, seen, sizeof(data));
	assert_int_equal(volume_rig_records(&rig), 4);
}

/* A store that fails now and then: what was not told to be written is old or new. */
static void test_failures(void **state)
{
	uint32_t old[16], new[16];
	struct blk *blk;

	(void)state;
	for (uint32_t i = 0; i < 16; i++) {
		old[i] = i + 1;
		new[i] = i + 100;
	}
	assert_int_equal(volume_rig_create(&rig, "disk", BLOCKS), STATUS_OK);
	blk = volume_rig_blk(&rig, 0, "disk");
	assert_int_equal(volume_rig_write(&rig, blk, 0, old, 16), STATUS_OK);
	kv_mem_fail(rig.obj.mem, &(struct kv_mem_fault){ .count = 1, .status = STATUS_NO_SPACE });
	assert_int_equal(volume_rig_write(&rig, blk, 0, new, 16), STATUS_NO_SPACE);
	assert_true(volume_rig_is(&rig, blk, 0, old, 16));
	kv_mem_fail(rig.obj.mem, &(struct kv_mem_fault){ .count = 1, .status = STATUS_IO });
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "snap"), STATUS_IO);
	assert_null(volume_rig_blk(&rig, 0, "snap"));
	/* Without memory for a batch its records go one by one. */
	kv_mem_fail(rig.obj.mem, &(struct kv_mem_fault){ .count = 1, .status = STATUS_BUSY });
	assert_int_equal(volume_rig_write(&rig, blk, 0, new, 16), STATUS_OK);
	assert_true(volume_rig_is(&rig, blk, 0, new, 16));
	assert_int_equal(volume_rig_do(&rig, VOLUME_SNAPSHOT, "disk", "snap"), STATUS_OK);
	kv_mem_fail(rig.obj.mem,
	            &(struct kv_mem_fault){ .count = 1, .status = STATUS_IO, .reads = true });
	assert_false(volume_rig_is(&rig, blk, 0, new, 16));
	assert_true(volume_rig_is(&rig, blk, 0, new, 16));
	/* A merge that fails is tried again. */
	assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, "snap", NULL), STATUS_OK);
	kv_mem_fail(rig.obj.mem,
	            &(struct kv_mem_fault){
	                    .skip = 3, .count = 2, .status = STATUS_IO, .reads = true });
	volume_rig_settle(&rig);
	obj_rig_wait(&rig.obj, 100000000);
	volume_rig_settle(&rig);
	assert_int_equal(volumes_find(rig.engines[0], BYTES("disk"), NULL)->depth, 1);
	assert_true(volume_rig_is(&rig, blk, 0, new, 16));
}

/* Any operations against a model, with what is removed and merged beside them. */
enum { MODEL_VOLUMES = 8, MODEL_BLOCKS = 48 };

struct model {
	bool used, read_only;
	uint32_t size;
	char name[16];
	uint32_t seeds[96];
};

static struct model models[MODEL_VOLUMES];

static struct model *model_of(struct prng *prng, bool used)
{
	for (unsigned i = 0; i < 100; i++) {
		struct model *model = &models[prng_below(prng, MODEL_VOLUMES)];

		if (model->used == used)
			return model;
	}
	return NULL;
}

static void model_change(struct prng *prng, unsigned step)
{
	struct model *model = model_of(prng, true), *other = model_of(prng, false);
	enum status status;
	char name[16];

	snprintf(name, sizeof(name), "v%u", step);
	switch (model == NULL ? 0 : prng_below(prng, 5)) {
	case 0:
		if (other == NULL)
			return;
		assert_int_equal(volume_rig_create(&rig, name, MODEL_BLOCKS), STATUS_OK);
		*other = (struct model){ .used = true, .size = MODEL_BLOCKS };
		memcpy(other->name, name, sizeof(name));
		return;
	case 1:
	case 2:
		if (other == NULL)
			return;
		status = volume_rig_do(&rig, model->read_only ? VOLUME_CLONE : VOLUME_SNAPSHOT,
		                       model->name, name);
		if (status == STATUS_TOO_LARGE)
			return;
		assert_int_equal(status, STATUS_OK);
		*other = *model;
		other->read_only = !model->read_only;
		memcpy(other->name, name, sizeof(name));
		return;
	case 3:
		assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, model->name, NULL), STATUS_OK);
		model->used = false;
		return;
	default: {
		uint32_t size = 1 + (uint32_t)prng_below(prng, 90);

		status = resize(model->name, size);
		if (model->read_only || status == STATUS_BUSY)
			return;
		assert_int_equal(status, STATUS_OK);
		for (uint32_t i = size; i < model->size; i++)
			model->seeds[i] = 0;
		model->size = size;
	}
	}
}

static void model_io(struct prng *prng, uint32_t *seed)
{
	struct model *model = model_of(prng, true);
	struct blk *blk;
	uint32_t lba, count;

	if (model == NULL)
		return;
	blk = volume_rig_blk(&rig, (unsigned)prng_below(prng, rig.obj.count), model->name);
	assert_non_null(blk);
	lba = (uint32_t)prng_below(prng, model->size);
	count = 1 + (uint32_t)prng_below(prng, model->size - lba);
	if (model->read_only || prng_below(prng, 3) == 0) {
		assert_true(volume_rig_is(&rig, blk, lba, model->seeds + lba, count));
		return;
	}
	if (prng_below(prng, 3) == 0) {
		assert_int_equal(discard(blk, lba, count), STATUS_OK);
		memset(model->seeds + lba, 0, count * sizeof(model->seeds[0]));
		return;
	}
	for (uint32_t i = lba; i < lba + count; i++)
		model->seeds[i] = ++*seed;
	assert_int_equal(volume_rig_write(&rig, blk, lba, model->seeds + lba, count), STATUS_OK);
}

static void model_check(void)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		if (models[i].used)
			assert_true(volume_rig_is(&rig, volume_rig_blk(&rig, 0, models[i].name), 0,
			                          models[i].seeds, models[i].size));
	}
}

static void run_model(unsigned steps)
{
	struct prng prng;
	uint32_t seed = 0;

	prng_init(&prng, 5);
	memset(models, 0, sizeof(models));
	for (unsigned step = 0; step < steps; step++) {
		if (prng_below(&prng, 4) == 0)
			model_change(&prng, step);
		for (unsigned i = 0; i < 4; i++)
			model_io(&prng, &seed);
		if (prng_below(&prng, 40) == 0) {
			volume_rig_reopen(&rig, prng_below(&prng, 2) == 0);
			model_check();
		}
	}
	volume_rig_settle(&rig);
	model_check();
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		if (models[i].used)
			assert_int_equal(volume_rig_do(&rig, VOLUME_DELETE, models[i].name, NULL),
			                 STATUS_OK);
	}
	volume_rig_settle(&rig);
	assert_int_equal(volume_rig_records(&rig), 0);
	assert_int_equal(obj_rig_count(&rig.obj, VOLUME_SPACE_LAYERS), 0);
}

static void test_model(void **state)
{
	(void)state;
	run_model(400);
}

static void test_model_on_a_store(void **state)
{
	(void)state;
	run_model(150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_mem, close_rig)
#define ON_STORE(name) cmocka_unit_test_setup_teardown(name, open_store, close_rig)
		TEST(test_names),    TEST(test_blocks),    ON_STORE(test_blocks),
		TEST(test_map),      TEST(test_snapshots), ON_STORE(test_snapshots),
		TEST(test_resize),   TEST(test_depth),     TEST(test_large_records),
		TEST(test_failures), TEST(test_model),     ON_STORE(test_model_on_a_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
