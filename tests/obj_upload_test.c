/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads and their parts, readers of what is removed, and what is left when the kv refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "engine/obj_format.h"
#include "obj_rig.h"

enum { PART = 70000 };

static const struct obj_put no_put = { .flags = 0 };
static const char *const etags[] = { "e0", "e1", "e2", "e3", "e4" };

static struct obj_rig rig;
static uint8_t data[PART];

struct seen {
	unsigned count;
	uint32_t numbers[16];
	uint64_t offsets[16], uploads[16];
};

static struct seen seen;

static void see(void *visitor, const struct obj_entry *entry)
{
	struct seen *to = visitor;

	assert_true(to->count < array_count(to->numbers));
	if (entry->kind == OBJ_PART) {
		to->numbers[to->count] = entry->part.number;
		to->offsets[to->count] = entry->part.offset;
		assert_true(entry->part.size == PART || entry->part.etag.size == 0);
	} else if (entry->kind == OBJ_UPLOAD) {
		to->uploads[to->count] = entry->meta.version;
	} else {
		to->uploads[to->count] = entry->meta.upload;
		to->numbers[to->count] = entry->meta.part_count;
	}
	to->count++;
}

static enum status run(struct obj_cmd cmd, uint64_t *result)
{
	seen.count = 0;
	cmd.bucket = BYTES("b");
	if (cmd.name.size == 0)
		cmd.name = BYTES("n");
	cmd.visit = see;
	cmd.visitor = &seen;
	return obj_rig_run(&rig, &cmd, result);
}

static void make_bucket(enum obj_versioning versioning)
{
	struct obj_settings settings = { .versioning = (uint8_t)versioning };

	assert_int_equal(
	        run((struct obj_cmd){ .op = OBJ_BUCKET_CREATE, .settings = &settings }, NULL),
	        STATUS_OK);
}

static uint64_t upload_begin(void)
{
	struct obj_put put = { .etag = BYTES("none"), .brief = BYTES("b") };
	uint64_t upload;

	assert_int_equal(run((struct obj_cmd){ .op = OBJ_UPLOAD_CREATE, .put = &put }, &upload),
	                 STATUS_OK);
	return upload;
}

static enum status put_part(uint64_t upload, unsigned part, uint64_t seed, unsigned etag)
{
	struct obj_put put = { .etag = bytes_of(etags[etag], 2) };

	obj_fill(seed, 0, data, PART);
	return run((struct obj_cmd){ .op = OBJ_PUT,
	                             .upload = upload,
	                             .part = (uint16_t)part,
	                             .put = &put,
	                             .value = bytes_of(data, PART) },
	           NULL);
}

static enum status complete(uint64_t upload, const unsigned *numbers, const unsigned *tags,
                            uint64_t *result)
{
	struct obj_complete_part parts[8];
	struct obj_complete cmd = { .parts = parts, .size_min = PART };
	struct obj_put put = { .etag = BYTES("whole") };

	for (; numbers[cmd.count] != 0; cmd.count++)
		parts[cmd.count] = (struct obj_complete_part){
			.number = numbers[cmd.count],
			.etag = bytes_of(etags[tags[cmd.count]], 2),
		};
	return run((struct obj_cmd){ .op = OBJ_UPLOAD_COMPLETE,
	                             .upload = upload,
	                             .complete = &cmd,
	                             .put = &put },
	           result);
}

static void check_parts(uint64_t upload)
{
	struct obj_list list = { .limit = 2 };
	struct obj_cmd cmd = { .op = OBJ_UPLOAD_PARTS, .upload = upload };
	uint64_t more;

	cmd.list = &list;
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 1);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.numbers[1], 2);
	list.after_id = 2;
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 0);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.numbers[0], 7);
	assert_int_equal(seen.numbers[1], 300);
}

static void check_object_parts(void)
{
	struct obj_list list = { .limit = 2 };
	struct obj_cmd cmd = { .op = OBJ_PARTS };
	uint64_t more;

	cmd.list = &list;
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 1);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.numbers[0], 1);
	assert_int_equal(seen.numbers[1], 7);
	assert_int_equal(seen.offsets[1], PART);
	list.after_id = 7;
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 0);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.numbers[0], 300);
	assert_int_equal(seen.offsets[0], 2 * PART);
}

static void test_upload(void **state)
{
	uint64_t upload, result;

	(void)state;
	obj_rig_open_mem(&rig, 1, NULL);
	make_bucket(OBJ_VERSIONING_OFF);
	upload = upload_begin();
	assert_int_equal(run((struct obj_cmd){ .op = OBJ_UPLOAD_GET, .upload = upload }, NULL),
	                 STATUS_OK);
	assert_int_equal(
	        run((struct obj_cmd){ .op = OBJ_UPLOAD_GET, .upload = upload + 1 }, &result),
	        STATUS_NOT_FOUND);
	assert_int_equal(result, OBJ_NO_UPLOAD);
	assert_int_equal(put_part(upload, 7, 9, 4), STATUS_OK);
	assert_int_equal(put_part(upload, 300, 3, 3), STATUS_OK);
	assert_int_equal(put_part(upload, 1, 1, 1), STATUS_OK);
	assert_int_equal(put_part(upload, 2, 8, 0), STATUS_OK);
	assert_int_equal(put_part(upload, 7, 2, 2), STATUS_OK); /* instead of the first */
	assert_int_equal(put_part(upload + 1, 7, 2, 2), STATUS_NOT_FOUND);
	check_parts(upload);
	assert_int_equal(complete(upload, (unsigned[]){ 0 }, NULL, &result), STATUS_INVALID);
	assert_int_equal(result, OBJ_PART_ORDER);
	assert_int_equal(complete(upload, (unsigned[]){ 7, 1, 0 }, (unsigned[]){ 2, 1 }, &result),
	                 STATUS_INVALID);
	assert_int_equal(result, OBJ_PART_ORDER);
	assert_int_equal(complete(upload, (unsigned[]){ 1, 7, 0 }, (unsigned[]){ 1, 4 }, &result),
	                 STATUS_INVALID);
	assert_int_equal(result, OBJ_PART_UNKNOWN);
	assert_int_equal(complete(upload, (unsigned[]){ 1, 3, 0 }, (unsigned[]){ 1, 4 }, &result),
	                 STATUS_INVALID);
	assert_int_equal(result, OBJ_PART_UNKNOWN);
	assert_int_equal(
	        complete(upload, (unsigned[]){ 1, 7, 300, 0 }, (unsigned[]){ 1, 2, 3 }, NULL),
	        STATUS_OK);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.uploads[0], upload);
	assert_int_equal(put_part(upload, 4, 2, 2), STATUS_NOT_FOUND);
	check_object_parts();
	obj_rig_wait(&rig, 3000000000);
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_PARTS), 3); /* the second was not named */
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_DATA), 6);
	assert_int_equal(run((struct obj_cmd){ .op = OBJ_DELETE }, NULL), STATUS_OK);
	obj_rig_wait(&rig, 3000000000);
	for (unsigned space = OBJ_SPACE_CURRENT; space < OBJ_SPACE_BUCKETS; space++)
		assert_int_equal(obj_rig_count(&rig, (uint8_t)space), 0);
	obj_rig_close(&rig);
}

static void test_uploads_are_listed(void **state)
{
	struct obj_list list = { .limit = 2 };
	struct obj_cmd cmd = { .op = OBJ_LIST_UPLOADS };
	uint64_t uploads[3], more;

	(void)state;
	obj_rig_open_mem(&rig, 1, NULL);
	make_bucket(OBJ_VERSIONING_OFF);
	for (unsigned i = 0; i < 3; i++)
		uploads[i] = upload_begin();
	cmd.list = &list;
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 1);
	assert_int_equal(seen.uploads[0], uploads[0]);
	list.after = BYTES("n");
	list.after_id = seen.uploads[1];
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 0);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.uploads[0], uploads[2]);
	assert_int_equal(put_part(uploads[1], 1, 1, 1), STATUS_OK);
	/* They go with their bucket. */
	assert_int_equal(run((struct obj_cmd){ .op = OBJ_BUCKET_DELETE }, NULL), STATUS_OK);
	obj_rig_wait(&rig, 3000000000);
	for (unsigned space = OBJ_SPACE_CURRENT; space < OBJ_SPACE_COUNTER; space++)
		assert_int_equal(obj_rig_count(&rig, (uint8_t)space), 0);
	obj_rig_close(&rig);
}

/* Ten thousand parts: several manifests, and offsets in all of them. */
static void test_many_parts(void **state)
{
	static struct obj_complete_part parts[OBJ_PARTS_MAX];
	struct obj_complete all = { .parts = parts, .count = OBJ_PARTS_MAX };
	struct obj_cmd cmd = { .op = OBJ_UPLOAD_COMPLETE, .put = &no_put };
	uint64_t upload, version, result;
	uint8_t out[64];

	(void)state;
	obj_rig_open_mem(&rig, 1, NULL);
	make_bucket(OBJ_VERSIONING_OFF);
	upload = upload_begin();
	for (unsigned i = 0; i < OBJ_PARTS_MAX; i++) {
		parts[i].number = i + 1;
		obj_fill(7, (uint64_t)i * 10, out, 10);
		assert_int_equal(run((struct obj_cmd){ .op = OBJ_PUT,
		                                       .upload = upload,
		                                       .part = (uint16_t)(i + 1),
		                                       .put = &no_put,
		                                       .value = bytes_of(out, 10) },
		                     NULL),
		                 STATUS_OK);
	}
	cmd.upload = upload;
	cmd.complete = &all;
	assert_int_equal(run(cmd, &version), STATUS_OK);
	cmd = (struct obj_cmd){ .op = OBJ_OPEN };
	assert_int_equal(run(cmd, &cmd.handle), STATUS_OK);
	for (uint64_t at = 0; at < 100000; at += 12487) {
		struct obj_cmd read = { .op = OBJ_READ,
			                .handle = cmd.handle,
			                .offset = at,
			                .out = out,
			                .out_size = sizeof(out) };

		assert_int_equal(run(read, &result), STATUS_OK);
		assert_int_equal(result, sizeof(out));
		assert_true(obj_is_filled(7, at, out, sizeof(out)));
	}
	cmd.op = OBJ_RELEASE;
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	assert_int_equal(run((struct obj_cmd){ .op = OBJ_DELETE }, NULL), STATUS_OK);
	obj_rig_wait(&rig, 30000000000);
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_DATA), 0);
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_TRASH), 0);
	obj_rig_close(&rig);
}

/* Who has opened it reads all of it, though it is removed and another worker collects. */
static void test_readers_are_waited_for(void **state)
{
	enum { SIZE = 300000 };
	static uint8_t out[SIZE];
	struct obj_cmd put = { .bucket = BYTES("b"), .name = BYTES("n"), .put = &no_put };
	struct obj_cmd open = { .op = OBJ_OPEN, .bucket = BYTES("b"), .name = BYTES("n") };
	struct obj_engine_stats stats;
	uint64_t got;

	(void)state;
	obj_rig_open_mem(&rig, 3, NULL);
	make_bucket(OBJ_VERSIONING_OFF);
	assert_int_equal(obj_rig_put(&rig, &put, 5, SIZE, 65536, NULL), STATUS_OK);
	assert_int_equal(obj_rig_run_on(&rig, 2, &open, &open.handle), STATUS_OK);
	assert_int_equal(run((struct obj_cmd){ .op = OBJ_DELETE }, NULL), STATUS_OK);
	obj_rig_wait(&rig, 5000000000);
	obj_engine_stats(rig.engines[0], &stats);
	assert_true(stats.postponed > 0 && stats.collected == 0);
	open.op = OBJ_READ;
	open.out = out;
	open.out_size = SIZE;
	open.offset = 0;
	assert_int_equal(obj_rig_run_on(&rig, 2, &open, &got), STATUS_OK);
	assert_int_equal(got, SIZE);
	assert_true(obj_is_filled(5, 0, out, SIZE));
	open.op = OBJ_RELEASE;
	assert_int_equal(obj_rig_run_on(&rig, 2, &open, NULL), STATUS_OK);
	obj_rig_wait(&rig, 3000000000);
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_DATA), 0);
	obj_rig_close(&rig);
}

/* A script in which the kv refuses one command; false: it did not come to that. */
static bool script(uint32_t skip, enum status status)
{
	const struct kv_mem_fault fault = {
		.skip = skip, .count = 1, .status = status, .reads = true
	};
	struct obj_cmd put = { .bucket = BYTES("b"), .name = BYTES("n"), .put = &no_put };
	struct obj_cmd get = { .bucket = BYTES("b"), .name = BYTES("n") };
	struct obj_list list = { .limit = 10 };
	struct obj_engine_stats stats;
	struct kv_mem_stats before, after;
	uint64_t upload = 0;
	unsigned failed = 0;

	kv_mem_stats(rig.mem, &before);
	kv_mem_fail(rig.mem, &fault);
	failed += obj_rig_put(&rig, &put, 1, 200000, 30000, NULL) != STATUS_OK;
	failed += obj_rig_put(&rig, &put, 2, 100, 0, NULL) != STATUS_OK;
	failed += obj_rig_put(&rig, &put, 3, 300000, 0, NULL) != STATUS_OK;
	failed += obj_rig_get(&rig, &get, 3, 300000, 100000) != STATUS_OK;
	failed += run((struct obj_cmd){ .op = OBJ_UPLOAD_CREATE, .put = &no_put }, &upload) !=
	          STATUS_OK;
	if (upload != 0) {
		failed += put_part(upload, 1, 4, 1) != STATUS_OK;
		failed += complete(upload, (unsigned[]){ 1, 0 }, (unsigned[]){ 1 }, NULL) !=
		          STATUS_OK;
	}
	failed += run((struct obj_cmd){ .op = OBJ_LIST, .list = &list }, NULL) != STATUS_OK;
	failed += run((struct obj_cmd){ .op = OBJ_DELETE }, NULL) != STATUS_OK;
	obj_engine_stats(rig.engines[0], &stats);
	assert_int_equal(stats.calls, 0);
	assert_int_equal(stats.handles, 0);
	kv_mem_stats(rig.mem, &after);
	assert_int_equal(after.handles_open, before.handles_open);
	return failed > 0 || after.commands - before.commands > skip;
}

static void test_refusals(void **state)
{
	static const enum status refusals[] = { STATUS_BUSY, STATUS_NO_SPACE, STATUS_IO };
	uint32_t skip = 0;

	(void)state;
	obj_rig_open_mem(&rig, 1, NULL);
	make_bucket(OBJ_VERSIONING_ON);
	for (unsigned i = 0; i < array_count(refusals); i++) {
		for (skip = 0; script(skip, refusals[i]); skip++)
			;
		assert_true(skip > 30);
	}
	kv_mem_fail(rig.mem, &(struct kv_mem_fault){ .count = 0 });
	obj_rig_close(&rig);
}

/* Commands of three workers at a time, and a kv that answers in any order. */
enum { RACERS = 30 };

struct racer {
	struct req req;
	bool done;
};

struct racer_frame {
	struct frame frame;
	struct racer *racer;
};

static void racer_done(struct req *req)
{
	req_pop(req, struct racer_frame)->racer->done = true;
}

/* All put the same name; how many have succeeded. The others have lost by the condition. */
static unsigned race(struct racer *racers, const struct obj_put *put)
{
	struct obj_cmd cmd = { .op = OBJ_PUT,
		               .bucket = BYTES("b"),
		               .name = BYTES("n"),
		               .put = put,
		               .value = BYTES("text") };
	unsigned won = 0;

	for (unsigned i = 0; i < RACERS; i++) {
		racers[i].done = false;
		req_init(&racers[i].req, obj_rig_worker(&rig, i % 3));
		req_push(&racers[i].req, struct racer_frame, racer_done)->racer = &racers[i];
		obj_submit(obj_engine_obj(rig.engines[i % 3]), &racers[i].req, &cmd);
	}
	for (unsigned i = 0; i < RACERS; i++) {
		while (!racers[i].done)
			obj_rig_turn(&rig);
		won += racers[i].req.status == STATUS_OK;
		assert_true(racers[i].req.status == STATUS_OK ||
		            racers[i].req.status == STATUS_CONFLICT);
	}
	return won;
}

static void test_races(void **state)
{
	static struct racer racers[RACERS];
	const struct obj_put if_absent = { .condition.flags = OBJ_IF_ABSENT };
	struct kv_mem_options options = { .seed = 5, .delay_ns_max = 50000 };
	struct obj_engine_stats stats;

	(void)state;
	obj_rig_open_mem(&rig, 3, &options);
	make_bucket(OBJ_VERSIONING_ON);
	assert_int_equal(race(racers, &if_absent), 1);
	assert_int_equal(race(racers, &no_put), RACERS);
	for (unsigned i = 0; i < RACERS; i++) {
		for (unsigned j = 0; j < i; j++)
			assert_true(racers[i].req.result != racers[j].req.result);
	}
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_VERSIONS), RACERS);
	obj_engine_stats(rig.engines[0], &stats);
	assert_true(stats.retries > 0);
	obj_rig_close(&rig);
}

/* What a full store still does is to remove objects; then there is room again. */
static void test_a_full_store(void **state)
{
	enum { SIZE = 300000, NAMES = 400 };
	struct obj_cmd cmd = { .bucket = BYTES("b"), .put = &no_put };
	char name[16];
	unsigned count = 0;
	enum status status = STATUS_OK;

	(void)state;
	obj_rig_open_store(&rig, 48 << 20);
	make_bucket(OBJ_VERSIONING_OFF);
	for (unsigned round = 0; round < 3; round++) {
		unsigned filled = 0;

		for (status = STATUS_OK; status == STATUS_OK; filled++) {
			assert_true(filled < NAMES);
			snprintf(name, sizeof(name), "%u", filled);
			cmd.name = bytes_of(name, strlen(name));
			status = obj_rig_put(&rig, &cmd, filled, SIZE, 100000, NULL);
		}
		assert_int_equal(status, STATUS_NO_SPACE);
		assert_true(filled > count / 2 && filled > 30);
		count = filled - 1;
		cmd.name = BYTES("1");
		assert_int_equal(obj_rig_get(&rig, &cmd, 1, SIZE, 100000), STATUS_OK);
		for (unsigned i = 0; i < count; i++) {
			snprintf(name, sizeof(name), "%u", i);
			assert_int_equal(
			        run((struct obj_cmd){ .op = OBJ_DELETE,
			                              .name = bytes_of(name, strlen(name)) },
			            NULL),
			        STATUS_OK);
		}
		obj_rig_wait(&rig, 30000000000);
		assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_TRASH), 0);
		assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_DATA), 0);
	}
	obj_rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upload),     cmocka_unit_test(test_uploads_are_listed),
		cmocka_unit_test(test_many_parts), cmocka_unit_test(test_readers_are_waited_for),
		cmocka_unit_test(test_refusals),   cmocka_unit_test(test_a_full_store),
		cmocka_unit_test(test_races),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
