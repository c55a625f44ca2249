/* SPDX-License-Identifier: Apache-2.0 */
/* The check finds each kind of damage, and nothing in a store that is good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "app/store_check.h"
#include "app/store_walk.h"
#include "base/macros.h"
#include "store_fixture.h"

enum { DISK_SIZE = 48 << 20, KEYS = 3000, BLOB_SIZE = 200000 };

/* What a check said. */
struct said {
	char damage[4096]; /* all lines of it */
	char all[16384];
	struct store_check_result result;
	enum status status;
};

static struct said said;

static void hear(void *context, enum finding kind, const char *text)
{
	size_t used = strlen(said.all);

	(void)context;
	snprintf(said.all + used, sizeof(said.all) - used, "%s\n", text);
	used = strlen(said.damage);
	if (kind != FINDING_NOTE)
		snprintf(said.damage + used, sizeof(said.damage) - used, "%s\n", text);
}

static const struct store_check_options hearing = { .tell = hear };

/* A device of its own on the fixture's disk. */
struct side {
	struct worker worker;
	struct mem mem;
	struct store_reader reader;
};

static void side_open(struct side *side, struct store_fixture *f)
{
	worker_init(&side->worker, 0, ROLE_STORAGE, &f->clock);
	mem_init(&side->mem, &side->worker, f->disk, f->disk_size / BLOCK_SIZE);
	assert_int_equal(store_reader_open(&side->reader, &side->worker, &side->mem.blk),
	                 STATUS_OK);
}

static void check(struct store_fixture *f)
{
	struct side side;

	side_open(&side, f);
	memset(&said, 0, sizeof(said));
	said.status = store_check_run(&side.reader, &hearing, &said.result);
	store_reader_close(&side.reader);
}

static uint64_t damage_count(void)
{
	return said.result.found[FINDING_DAMAGE] + said.result.found[FINDING_FATAL];
}

static void assert_good(struct store_fixture *f)
{
	check(f);
	assert_int_equal(said.status, STATUS_OK);
	assert_string_equal(said.damage, "");
	assert_int_equal(damage_count(), 0);
}

static struct bytes make_key(unsigned i, char *memory)
{
	return bytes_of(memory, (size_t)snprintf(memory, 40, "%ckey:%010u", KV_SPACE_APP, i));
}

static void put(struct store_fixture *f, unsigned i, size_t size, uint64_t expires_ms)
{
	uint8_t value[4000];
	char key[40];
	struct kv_cmd cmd = {
		.op = KV_PUT,
		.key = make_key(i, key),
		.value = bytes_of(value, size),
		.expires_ms = expires_ms,
	};

	memset(value, (int)i, sizeof(value));
	assert_int_equal(store_run(f, &cmd, NULL), STATUS_OK);
}

static void put_blob(struct store_fixture *f, unsigned i)
{
	static uint8_t value[BLOB_SIZE];
	char key[40];
	struct kv_cmd cmd = { .op = KV_BLOB_WRITE, .value = bytes_of(value, sizeof(value)) };
	uint64_t handle;

	memset(value, (int)i + 1, sizeof(value));
	assert_int_equal(store_run(f, &cmd, &handle), STATUS_OK);
	cmd = (struct kv_cmd){
		.op = KV_PUT, .flags = KV_FROM_BLOB, .key = make_key(i, key), .handle = handle
	};
	assert_int_equal(store_run(f, &cmd, NULL), STATUS_OK);
}

/* A store with everything in it. */
static void fill(struct store_fixture *f)
{
	store_fixture_init(f, DISK_SIZE);
	assert_int_equal(store_fixture_open(f), STATUS_OK);
	for (unsigned i = 0; i < KEYS; i++)
		put(f, i, i % 50 == 0 ? 3000 : i % 100, i % 10 == 0 ? f->wall_ms + 1000000 : 0);
	for (unsigned i = 0; i < 5; i++)
		put_blob(f, KEYS + i);
	for (unsigned i = 0; i < KEYS; i += 7) {
		char key[40];
		bool was;

		assert_int_equal(store_delete(f, make_key(i, key), &was), STATUS_OK);
		assert_true(was);
	}
}

static uint8_t *disk_at(struct store_fixture *f, uint32_t segment, uint32_t offset)
{
	return f->disk +
	       ((SEGMENT_FIRST_BLOCK + (uint64_t)segment * f->options.segment_blocks)
	        << BLOCK_SHIFT) +
	       offset;
}

static void test_good_when_closed(void **state)
{
	struct store_fixture f;

	(void)state;
	fill(&f);
	store_fixture_close(&f, false);
	assert_good(&f);
	assert_true(said.result.clean);
	assert_int_equal(said.result.keys, KEYS - (KEYS + 6) / 7 + 5);
	assert_int_equal(said.result.blobs, 5);
	assert_true(said.result.expiries >= KEYS / 10);
	assert_true(said.result.pages > 8);
	assert_int_equal(said.result.copies_bad, 0);
	store_fixture_fini(&f);
}

/* After every crash: what was not finished is no damage. */
static void test_good_after_crashes(void **state)
{
	struct store_fixture f;

	(void)state;
	fill(&f);
	for (unsigned round = 0; round < 20; round++) {
		store_fixture_close(&f, round % 4 != 3);
		assert_good(&f);
		assert_int_equal(said.result.clean, round % 4 == 3);
		assert_int_equal(store_fixture_open(&f), STATUS_OK);
		for (unsigned i = 0; i < 400; i++)
			put(&f, (round * 977 + i * 3) % KEYS, (i * round) % 2000, 0);
		put_blob(&f, KEYS + round % 5);
	}
	store_fixture_close(&f, true);
	assert_good(&f);
	assert_true(said.result.frames > 0);
	assert_true(said.result.records > 0);
	store_fixture_fini(&f);
}

/* A piece of a store to damage: found by walking it. */
struct target {
	struct store_image image;
	struct location page, record, blob;
	struct location places[2 * KEYS]; /* of pages and records */
	uint32_t place_count;
};

static struct target target;

static void take_page(void *context, uint32_t partition, struct location where, const void *page)
{
	(void)context, (void)partition;
	target.places[target.place_count++] = where;
	if (btree_page_is_leaf(page))
		target.page = where;
}

static void take_record(void *context, const struct walk_ref *ref, const struct record *record)
{
	(void)context;
	target.places[target.place_count++] = location_unpack(ref->location);
	if (record->flags & RECORD_BLOB) {
		struct blob_extent e = blob_extent_get(record->value.data + BLOB_HEADER_SIZE, 0);

		target.blob =
		        (struct location){ .segment = e.segment, .offset = e.block << BLOCK_SHIFT };
	} else {
		target.record = location_unpack(ref->location);
	}
}

static void take_entry(void *context, uint32_t partition, struct bytes key, uint64_t value)
{
	if (key.data[0] != KV_SPACE_ENGINE)
		walk_records_add(context, partition, key, value);
}

static void find_target(struct store_fixture *f)
{
	struct findings findings = { .tell = hear };
	struct walk_index index;
	struct walk_records records;
	struct side side;

	side_open(&side, f);
	memset(&target, 0, sizeof(target));
	assert_int_equal(store_image_open(&target.image, &side.reader, &findings), STATUS_OK);
	assert_int_equal(walk_index_open(&index, &target.image), STATUS_OK);
	assert_int_equal(walk_records_open(&records, &target.image), STATUS_OK);
	index.context = records.context = &records;
	index.page = take_page;
	index.entry = take_entry;
	records.record = take_record;
	for (uint32_t i = 0; i < target.image.super.partition_count; i++)
		walk_index_run(&index, i);
	walk_records_run(&records);
	walk_records_close(&records);
	walk_index_close(&index);
	store_image_close(&target.image);
	store_reader_close(&side.reader);
}

static void assert_found(struct store_fixture *f, uint8_t *byte, const char *words)
{
	*byte ^= 0x10;
	check(f);
	if (damage_count() == 0 || strstr(said.damage, words) == NULL)
		print_error("wanted: %s\nsaid: %s", words, said.all);
	assert_true(damage_count() > 0);
	assert_non_null(strstr(said.damage, words));
	*byte ^= 0x10;
	assert_good(f);
}

static void test_finds_damage(void **state)
{
	struct store_fixture f;
	char words[100];
	const struct root *root;
	uint64_t block;

	(void)state;
	fill(&f);
	store_fixture_close(&f, false);
	find_target(&f);
	for (uint32_t i = 0; i < SUPER_COPIES; i++) {
		snprintf(words, sizeof(words), "superblock copy %u", i);
		assert_found(&f, f.disk + ((size_t)i << BLOCK_SHIFT) + 60, words);
	}
	root = &target.image.roots[0];
	for (uint32_t copy = 0; copy < ROOT_COPIES; copy++) {
		block = root_block(root->run, 0, root->sequence, copy);
		assert_found(&f, f.disk + (block << BLOCK_SHIFT) + 30, "root of stream 0");
		block = root_block(root->run, 0, root->sequence + 1, copy);
		assert_found(&f, f.disk + (block << BLOCK_SHIFT) + 30, "the one before");
	}
	assert_found(&f, disk_at(&f, root->body[0].segment, root->body[0].block << BLOCK_SHIFT),
	             "list of segments");
	assert_int_equal(said.result.found[FINDING_FATAL], 0);
	assert_found(&f, disk_at(&f, target.page.segment, target.page.offset + 2000), "index page");
	assert_found(&f, disk_at(&f, target.page.segment, 100), "its header is damaged");
	assert_found(&f, disk_at(&f, target.record.segment, target.record.offset + 20),
	             "checksum is wrong");
	assert_found(&f, disk_at(&f, target.blob.segment, target.blob.offset + 77),
	             "of the value of key");
	store_fixture_fini(&f);
}

/* A flip anywhere in what the index or a record refers to is found. */
static void test_finds_every_flip(void **state)
{
	struct store_fixture f;
	uint64_t random = 99;

	(void)state;
	fill(&f);
	store_fixture_close(&f, false);
	find_target(&f);
	assert_true(target.place_count > 1000);
	for (unsigned i = 0; i < 60; i++) {
		struct location l;
		uint8_t *byte;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		l = target.places[(random >> 33) % target.place_count];
		/* Not the last unit of a record: it may be padding. */
		byte = disk_at(&f, l.segment,
		               l.offset + (uint32_t)(random >> 13) % (l.size - RECORD_UNIT));
		*byte ^= (uint8_t)(1u << i % 8);
		check(&f);
		assert_int_equal(said.status, STATUS_OK);
		assert_true(damage_count() > 0);
		*byte ^= (uint8_t)(1u << i % 8);
	}
	assert_good(&f);
	store_fixture_fini(&f);
}

/* The frames of the log tail, by the check's own walk. */
struct frames {
	uint32_t segment[600], block[600];
	uint64_t lsn[600];
	uint32_t size[600], count;
};

static struct frames frames;

static void take_frame(void *context, const struct frame_header *frame, const uint8_t *data)
{
	(void)context, (void)data;
	assert_true(frames.count < array_count(frames.lsn));
	frames.segment[frames.count] = frame->segment;
	frames.block[frames.count] = frame->block;
	frames.size[frames.count] = frame->size;
	frames.lsn[frames.count++] = frame->lsn;
}

static uint32_t segment_starting(uint64_t lsn)
{
	for (uint32_t i = 0; i < target.image.segment_count; i++) {
		if (target.image.segments[i].found &&
		    target.image.segments[i].header.run == target.image.super.run &&
		    target.image.segments[i].first_lsn == lsn)
			return i;
	}
	return UINT32_MAX;
}

static void find_frames(struct store_fixture *f)
{
	struct findings findings = { .tell = hear };
	struct walk_log log;
	struct side side;

	side_open(&side, f);
	frames.count = 0;
	assert_int_equal(store_image_open(&target.image, &side.reader, &findings), STATUS_OK);
	assert_int_equal(walk_log_open(&log, &target.image), STATUS_OK);
	log.frame = take_frame;
	log.segment = target.image.roots[0].log_segment;
	log.block = target.image.roots[0].log_block;
	log.lsn = target.image.roots[0].lsn + 1;
	if (log.segment < target.image.segment_count)
		assert_int_equal(walk_log_run(&log), STATUS_OK);
	while (segment_starting(log.lsn) != UINT32_MAX) {
		log.segment = segment_starting(log.lsn);
		log.block = 1;
		assert_int_equal(walk_log_run(&log), STATUS_OK);
		assert_true(log.block > 1);
	}
	walk_log_close(&log);
	store_image_close(&target.image);
	store_reader_close(&side.reader);
}

static void open_tail(struct store_fixture *f)
{
	fill(f);
	store_fixture_close(f, false);
	assert_int_equal(store_fixture_open(f), STATUS_OK);
	for (unsigned i = 0; i < 40; i++)
		put(f, i, 50, 0);
	store_fixture_close(f, true);
}

static void test_tells_torn_from_lost(void **state)
{
	struct store_fixture f;
	uint32_t middle;
	uint8_t *byte;

	(void)state;
	open_tail(&f);
	assert_good(&f);
	assert_true(said.result.frames >= 40);
	find_frames(&f);
	assert_true(frames.count >= 20);
	/* The last frame may never have been finished. */
	byte = disk_at(&f, frames.segment[frames.count - 1],
	               (frames.block[frames.count - 1] << BLOCK_SHIFT) + 80);
	*byte ^= 1;
	assert_good(&f);
	assert_int_equal(said.result.streams_torn, 1);
	assert_non_null(strstr(said.all, "torn frame"));
	*byte ^= 1;
	/* One in the middle was: a later one says so. */
	middle = frames.count / 2;
	byte = disk_at(&f, frames.segment[middle], (frames.block[middle] << BLOCK_SHIFT) + 80);
	*byte ^= 1;
	check(&f);
	assert_int_equal(said.status, STATUS_OK);
	assert_int_equal(said.result.frames_lost, 1);
	assert_non_null(strstr(said.damage, "were durable and cannot be read"));
	/* So says recovery; and with salvage it goes on, and then all is good. */
	assert_int_equal(store_fixture_open(&f), STATUS_CORRUPT);
	store_free(f.store);
	bufs_close(&f.bufs);
	f.options.salvage = true;
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	assert_int_equal(f.store->recovered.frames_lost, 1);
	store_fixture_close(&f, false);
	assert_good(&f);
	store_fixture_fini(&f);
}

static void test_repairs_copies(void **state)
{
	struct store_fixture f;
	const struct root *root = &target.image.roots[0];
	struct side side;
	uint32_t repaired;

	(void)state;
	fill(&f);
	store_fixture_close(&f, false);
	find_target(&f);
	f.disk[1 << BLOCK_SHIFT | 200] ^= 1;
	memset(f.disk + (2 << BLOCK_SHIFT), 0, BLOCK_SIZE);
	f.disk[root_block(root->run, 0, root->sequence, 1) << BLOCK_SHIFT] ^= 1;
	f.disk[root_block(root->run, 0, root->sequence + 1, 0) << BLOCK_SHIFT] ^= 1;
	check(&f);
	assert_int_equal(said.result.copies_bad, 3); /* the one before is not needed */
	assert_int_equal(damage_count(), 4);
	side_open(&side, &f);
	assert_int_equal(store_repair_copies(&side.reader, &hearing, &repaired), STATUS_OK);
	store_reader_close(&side.reader);
	assert_int_equal(repaired, 4);
	assert_good(&f);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	store_fixture_close(&f, false);
	assert_good(&f);
	store_fixture_fini(&f);
}

static void test_nothing_to_open(void **state)
{
	struct store_fixture f;

	(void)state;
	store_fixture_init(&f, DISK_SIZE);
	check(&f);
	assert_int_equal(said.status, STATUS_NOT_FOUND);
	memset(f.disk, 7, 1 << 16);
	check(&f);
	assert_int_equal(said.status, STATUS_INVALID);
	memset(f.disk, 0, 1 << 16);
	assert_int_equal(store_fixture_open(&f), STATUS_OK);
	store_fixture_close(&f, false);
	for (uint32_t i = 0; i < SUPER_COPIES; i++)
		f.disk[(i << BLOCK_SHIFT) + 20] ^= 1;
	check(&f);
	assert_int_equal(said.status, STATUS_CORRUPT);
	assert_int_equal(said.result.found[FINDING_FATAL], 1);
	store_fixture_fini(&f);
}

/* Index pages in the wrong place pass their own checksum, not what their parents say. */
static void test_finds_swapped_pages(void **state)
{
	struct store_fixture f;
	uint8_t page[BLOCK_SIZE];

	(void)state;
	fill(&f);
	store_fixture_close(&f, false);
	find_target(&f);
	memcpy(page, disk_at(&f, target.page.segment, target.page.offset), BLOCK_SIZE);
	memcpy(disk_at(&f, target.page.segment, target.page.offset),
	       disk_at(&f, target.page.segment,
	               target.page.offset == BLOCK_SIZE ? 2 * BLOCK_SIZE
	                                                : target.page.offset - BLOCK_SIZE),
	       BLOCK_SIZE);
	check(&f);
	assert_non_null(strstr(said.damage, "index page"));
	memcpy(disk_at(&f, target.page.segment, target.page.offset), page, BLOCK_SIZE);
	assert_good(&f);
	store_fixture_fini(&f);
}

struct places {
	const struct store_image *image;
	const struct store_replaced *replaced;
	unsigned keys, gone;
};

static void see_place(void *context, uint32_t partition, struct bytes key, uint64_t value)
{
	struct places *places = context;
	struct location l = location_unpack(value);

	(void)partition;
	places->keys++;
	if (store_replaced_has(places->replaced, key, l.segment))
		places->gone++;
	else
		assert_true(walk_location_is_sound(places->image, l));
}

/* Segments that the log has replaced are used again: the index of the checkpoint names them yet. */
static void test_tells_replaced_from_lost(void **state)
{
	enum { COUNT = 300, ROUNDS = 6 };
	struct findings findings = { .tell = hear };
	struct store_image image;
	struct store_replaced *replaced;
	struct walk_index walk;
	struct store_fixture f;
	struct side side;
	struct places places = { .image = &image };

	(void)state;
	store_fixture_init(&f, DISK_SIZE);
	f.options.checkpoint_log_max = DISK_SIZE;
	f.options.checkpoint_records = 1 << 20;
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (round < 2)
			assert_int_equal(store_fixture_open(&f), STATUS_OK);
		for (unsigned i = 0; i < COUNT; i++)
			put(&f, i, 3000, 0);
		if (round == 0 || round == ROUNDS - 1)
			store_fixture_close(&f, /* crash= */ round > 0);
	}
	assert_good(&f);
	side_open(&side, &f);
	assert_int_equal(store_image_open(&image, &side.reader, &findings), STATUS_OK);
	assert_int_equal(store_replaced_open(&replaced, &image), STATUS_OK);
	places.replaced = replaced;
	assert_int_equal(walk_index_open(&walk, &image), STATUS_OK);
	walk.context = &places;
	walk.entry = see_place;
	for (uint32_t i = 0; i < image.super.partition_count; i++)
		walk_index_run(&walk, i);
	assert_int_equal(places.keys, COUNT);
	assert_true(places.gone > COUNT / 4);
	assert_false(store_replaced_has(replaced, bytes_of("nobody's", 8), 0));
	walk_index_close(&walk);
	store_replaced_close(replaced);
	store_image_close(&image);
	store_reader_close(&side.reader);
	store_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_when_closed),
		cmocka_unit_test(test_good_after_crashes),
		cmocka_unit_test(test_finds_damage),
		cmocka_unit_test(test_finds_every_flip),
		cmocka_unit_test(test_tells_torn_from_lost),
		cmocka_unit_test(test_repairs_copies),
		cmocka_unit_test(test_nothing_to_open),
		cmocka_unit_test(test_finds_swapped_pages),
		cmocka_unit_test(test_tells_replaced_from_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
