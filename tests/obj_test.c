/* SPDX-License-Identifier: Apache-2.0 */
/* Objects, one command after another: what each does, and what is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "engine/obj_format.h"
#include "obj_rig.h"

static const struct obj_put no_put = { .flags = 0 };

/* What visits have told. */
struct seen {
	unsigned count;
	struct obj_entry entries[64];
	char names[64][32];
	char etags[64][16];
	uint8_t document[300000];
};

static struct obj_rig rig;
static struct seen seen;

static void see(void *visitor, const struct obj_entry *entry)
{
	struct seen *to = visitor;
	unsigned i = to->count++;

	assert_true(i < array_count(to->entries));
	to->entries[i] = *entry;
	assert_true(entry->name.size < sizeof(to->names[i]));
	if (entry->name.size > 0)
		memcpy(to->names[i], entry->name.data, entry->name.size);
	to->names[i][entry->name.size] = '\0';
	if (entry->kind == OBJ_OBJECT) {
		if (entry->meta.etag.size > 0)
			memcpy(to->etags[i], entry->meta.etag.data, entry->meta.etag.size);
		to->etags[i][entry->meta.etag.size] = '\0';
	}
	if (entry->kind == OBJ_DOCUMENT)
		memcpy(to->document, entry->document.data, entry->document.size);
}

static void open_mem(void)
{
	obj_rig_open_mem(&rig, 1, NULL);
	seen.count = 0;
}

static enum status run(struct obj_cmd cmd, uint64_t *result)
{
	seen.count = 0;
	cmd.visit = see;
	cmd.visitor = &seen;
	return obj_rig_run(&rig, &cmd, result);
}

static void make_bucket(struct bytes bucket, enum obj_versioning versioning, bool locks)
{
	struct obj_settings settings = {
		.versioning = (uint8_t)versioning,
		.locks = locks,
		.label = BYTES("owner"),
	};

	assert_int_equal(run((struct obj_cmd){ .op = OBJ_BUCKET_CREATE,
	                                       .bucket = bucket,
	                                       .settings = &settings },
	                     NULL),
	                 STATUS_OK);
}

static uint64_t put(const char *name, uint64_t seed, uint64_t size)
{
	struct obj_cmd cmd = {
		.bucket = BYTES("b"),
		.name = bytes_of(name, strlen(name)),
		.put = &no_put,
	};
	uint64_t version;

	assert_int_equal(obj_rig_put(&rig, &cmd, seed, size, 0, &version), STATUS_OK);
	return version;
}

static enum status do_name(enum obj_op op, const char *name, uint64_t version, uint32_t flags,
                           uint64_t *result)
{
	return run((struct obj_cmd){ .op = (uint8_t)op,
	                             .bucket = BYTES("b"),
	                             .name = bytes_of(name, strlen(name)),
	                             .version = version,
	                             .flags = flags },
	           result);
}

static enum status get(const char *name, uint64_t version, uint64_t seed, uint64_t size)
{
	struct obj_cmd cmd = {
		.bucket = BYTES("b"),
		.name = bytes_of(name, strlen(name)),
		.version = version,
	};

	return obj_rig_get(&rig, &cmd, seed, size, 50000);
}

static void test_bucket(void **state)
{
	struct obj_settings settings = { .set_versioning = true, .versioning = OBJ_VERSIONING_ON };
	struct obj_cmd cmd = { .bucket = BYTES("b"), .settings = &settings };
	uint64_t result;

	(void)state;
	open_mem();
	cmd.op = OBJ_BUCKET_GET;
	assert_int_equal(run(cmd, &result), STATUS_NOT_FOUND);
	assert_int_equal(result, OBJ_NO_BUCKET);
	make_bucket(BYTES("b"), OBJ_VERSIONING_OFF, false);
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.entries[0].bucket.versioning, OBJ_VERSIONING_OFF);
	cmd.op = OBJ_BUCKET_CREATE;
	assert_int_equal(run(cmd, NULL), STATUS_EXISTS);
	cmd.op = OBJ_BUCKET_UPDATE;
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	settings.versioning = OBJ_VERSIONING_OFF;
	assert_int_equal(run(cmd, &result), STATUS_INVALID);
	assert_int_equal(result, OBJ_STATE);
	settings.versioning = OBJ_VERSIONING_SUSPENDED;
	settings.set_locks = settings.locks = true;
	assert_int_equal(run(cmd, &result), STATUS_INVALID);
	settings.set_versioning = false;
	assert_int_equal(run(cmd, &result), STATUS_OK);
	cmd.op = OBJ_BUCKET_GET;
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	assert_true(seen.entries[0].bucket.locks);
	assert_int_equal(seen.entries[0].bucket.versioning, OBJ_VERSIONING_ON);
	put("x", 1, 10);
	cmd.op = OBJ_BUCKET_DELETE;
	assert_int_equal(run(cmd, NULL), STATUS_CONFLICT);
	assert_int_equal(do_name(OBJ_DELETE, "x", 0, 0, NULL), STATUS_OK);
	assert_int_equal(run(cmd, NULL), STATUS_CONFLICT); /* versions are something, too */
	assert_int_equal(do_name(OBJ_HEAD, "x", 0, 0, NULL), STATUS_NOT_FOUND);
	assert_int_equal(do_name(OBJ_DELETE, "x", seen.entries[0].meta.version, 0, NULL),
	                 STATUS_OK);
	assert_int_equal(do_name(OBJ_HEAD, "x", 0, 0, NULL), STATUS_OK);
	assert_int_equal(do_name(OBJ_DELETE, "x", seen.entries[0].meta.version, 0, NULL),
	                 STATUS_OK);
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	assert_int_equal(run(cmd, &result), STATUS_NOT_FOUND);
	for (unsigned space = OBJ_SPACE_CURRENT; space < OBJ_SPACE_COUNTER; space++)
		assert_int_equal(obj_rig_count(&rig, (uint8_t)space), 0);
	obj_rig_close(&rig);
}

static void test_buckets_are_listed(void **state)
{
	struct obj_list list = { .limit = 2 };
	struct obj_cmd cmd = { .op = OBJ_BUCKET_LIST, .list = &list };
	uint64_t more;

	(void)state;
	open_mem();
	make_bucket(BYTES("cc"), OBJ_VERSIONING_OFF, false);
	make_bucket(BYTES("a"), OBJ_VERSIONING_OFF, false);
	make_bucket(BYTES("b"), OBJ_VERSIONING_ON, true);
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 1);
	assert_int_equal(seen.count, 2);
	assert_string_equal(seen.names[0], "a");
	assert_string_equal(seen.names[1], "b");
	assert_true(seen.entries[1].bucket.locks);
	list.after = BYTES("b");
	assert_int_equal(run(cmd, &more), STATUS_OK);
	assert_int_equal(more, 0);
	assert_int_equal(seen.count, 1);
	assert_string_equal(seen.names[0], "cc");
	obj_rig_close(&rig);
}

static void test_documents(void **state)
{
	static uint8_t text[200000];
	const size_t sizes[] = { 10, sizeof(text), 300, 0 };
	uint64_t result;

	(void)state;
	open_mem();
	make_bucket(BYTES("b"), OBJ_VERSIONING_OFF, false);
	for (unsigned i = 0; i < array_count(sizes); i++) {
		struct obj_cmd cmd = { .op = OBJ_DOCUMENT_PUT, .bucket = BYTES("b"), .part = 7 };

		cmd.value = bytes_of(text, sizes[i]);
		obj_fill(i, 0, text, sizes[i]);
		assert_int_equal(run(cmd, NULL), STATUS_OK);
		cmd.op = OBJ_DOCUMENT_GET;
		if (sizes[i] == 0) {
			assert_int_equal(run(cmd, &result), STATUS_NOT_FOUND);
			assert_int_equal(result, OBJ_NO_DOCUMENT);
			break;
		}
		assert_int_equal(run(cmd, NULL), STATUS_OK);
		assert_int_equal(seen.entries[0].document.size, sizes[i]);
		assert_memory_equal(seen.document, text, sizes[i]);
	}
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_DOCUMENTS), 0);
	obj_rig_close(&rig);
}

static void put_and_get(bool in_store)
{
	static const uint64_t sizes[] = { 0,     1,      4096,   4097,   32768,  32769,  65536,
		                          65537, 131072, 200001, 400000, 655360, 1000003 };
	static const size_t pieces[] = { 0, 1000000, 65536, 20000, 777 };
	uint64_t seed = 1;

	if (in_store)
		obj_rig_open_store(&rig, 96 << 20);
	else
		open_mem();
	make_bucket(BYTES("b"), OBJ_VERSIONING_OFF, false);
	for (unsigned s = 0; s < array_count(sizes); s++) {
		for (unsigned p = 0; p < array_count(pieces); p++, seed++) {
			struct obj_cmd cmd = { .bucket = BYTES("b"),
				               .name = BYTES("name"),
				               .put = &no_put };

			if (pieces[p] != 0 && sizes[s] / pieces[p] > 200)
				continue;
			assert_int_equal(obj_rig_put(&rig, &cmd, seed, sizes[s], pieces[p], NULL),
			                 STATUS_OK);
			assert_int_equal(get("name", 0, seed, sizes[s]), STATUS_OK);
			cmd.put = NULL;
			assert_int_equal(obj_rig_get(&rig, &cmd, seed, sizes[s], 333333),
			                 STATUS_OK);
		}
	}
	if (in_store) {
		obj_rig_reopen(&rig, /* crash= */ true);
		assert_int_equal(get("name", 0, seed - 2, 1000003), STATUS_OK);
	}
	assert_int_equal(do_name(OBJ_DELETE, "name", 0, 0, NULL), STATUS_OK);
	obj_rig_wait(&rig, 20000000000);
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_DATA), 0);
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_TRASH), 0);
	obj_rig_close(&rig);
}

static void test_put_and_get(void **state)
{
	(void)state;
	put_and_get(/* in_store= */ false);
}

static void test_put_and_get_in_a_store(void **state)
{
	(void)state;
	put_and_get(/* in_store= */ true);
}

static void test_versions(void **state)
{
	struct obj_settings settings = { .set_versioning = true };
	struct obj_cmd update = { .op = OBJ_BUCKET_UPDATE, .bucket = BYTES("b") };
	uint64_t null, one, two, marker, result;

	(void)state;
	open_mem();
	update.settings = &settings;
	make_bucket(BYTES("b"), OBJ_VERSIONING_OFF, false);
	null = put("n", 1, 100);
	settings.versioning = OBJ_VERSIONING_ON;
	assert_int_equal(run(update, NULL), STATUS_OK);
	one = put("n", 2, 100000);
	two = put("n", 3, 300);
	assert_true(null < one && one < two);
	assert_int_equal(get("n", 0, 3, 300), STATUS_OK);
	assert_int_equal(get("n", one, 2, 100000), STATUS_OK);
	assert_int_equal(get("n", null, 1, 100), STATUS_OK);
	assert_int_equal(do_name(OBJ_HEAD, "n", 0, OBJ_NULL_VERSION, &result), STATUS_OK);
	assert_int_equal(result, null);
	assert_int_equal(do_name(OBJ_DELETE, "n", 0, 0, &result), STATUS_OK);
	assert_int_equal(result, OBJ_MARKED);
	marker = seen.entries[0].meta.version;
	assert_int_equal(do_name(OBJ_HEAD, "n", 0, 0, &result), STATUS_NOT_FOUND);
	assert_int_equal(result, OBJ_NO_NAME);
	assert_true(seen.count == 1 && (seen.entries[0].meta.flags & OBJ_IS_MARKER));
	assert_int_equal(do_name(OBJ_HEAD, "n", marker, 0, &result), STATUS_NOT_FOUND);
	assert_int_equal(result, OBJ_NO_VERSION);
	assert_int_equal(get("n", two, 3, 300), STATUS_OK);
	/* Suspended, a put takes the place of the null version among the older ones. */
	settings.versioning = OBJ_VERSIONING_SUSPENDED;
	assert_int_equal(run(update, NULL), STATUS_OK);
	result = put("n", 4, 77);
	assert_int_equal(get("n", null, 1, 100), STATUS_NOT_FOUND);
	assert_int_equal(do_name(OBJ_HEAD, "n", 0, OBJ_NULL_VERSION, &null), STATUS_OK);
	assert_int_equal(null, result);
	/* Without the newest, the one before it is the newest. */
	assert_int_equal(do_name(OBJ_DELETE, "n", 0, OBJ_NULL_VERSION, NULL), STATUS_OK);
	assert_int_equal(do_name(OBJ_HEAD, "n", 0, 0, NULL), STATUS_NOT_FOUND);
	assert_int_equal(do_name(OBJ_DELETE, "n", marker, 0, NULL), STATUS_OK);
	assert_int_equal(get("n", 0, 3, 300), STATUS_OK);
	assert_int_equal(do_name(OBJ_DELETE, "n", one, 0, &result), STATUS_OK);
	assert_int_equal(result, OBJ_REMOVED);
	assert_int_equal(do_name(OBJ_DELETE, "n", one, 0, &result), STATUS_OK);
	assert_int_equal(result, OBJ_WAS_ABSENT);
	assert_int_equal(do_name(OBJ_DELETE, "n", two, 0, &result), STATUS_OK);
	obj_rig_wait(&rig, 3000000000);
	for (unsigned space = OBJ_SPACE_CURRENT; space < OBJ_SPACE_BUCKETS; space++)
		assert_int_equal(obj_rig_count(&rig, (uint8_t)space), 0);
	obj_rig_close(&rig);
}

static void test_conditions(void **state)
{
	struct obj_put asks = { .etag = BYTES("one"), .condition.flags = OBJ_IF_ABSENT };
	struct obj_cmd cmd = { .op = OBJ_PUT,
		               .bucket = BYTES("b"),
		               .name = BYTES("n"),
		               .value = BYTES("text"),
		               .put = &asks };
	uint64_t result;

	(void)state;
	open_mem();
	make_bucket(BYTES("b"), OBJ_VERSIONING_OFF, false);
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	assert_int_equal(run(cmd, NULL), STATUS_CONFLICT);
	asks.condition.flags = OBJ_IF_ETAG;
	asks.condition.etag = BYTES("two");
	assert_int_equal(run(cmd, NULL), STATUS_CONFLICT);
	asks.condition.etag = BYTES("one");
	asks.etag = BYTES("two");
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	cmd.op = OBJ_DELETE;
	assert_int_equal(run(cmd, NULL), STATUS_CONFLICT);
	asks.condition.etag = BYTES("two");
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	assert_int_equal(run(cmd, &result), STATUS_NOT_FOUND);
	assert_int_equal(result, OBJ_NO_NAME);
	cmd.op = OBJ_PUT;
	assert_int_equal(run(cmd, &result), STATUS_NOT_FOUND);
	asks.condition.flags = OBJ_IF_OTHER_ETAG;
	assert_int_equal(run(cmd, NULL), STATUS_OK); /* absent is other */
	assert_int_equal(run(cmd, NULL), STATUS_CONFLICT);
	asks.condition.etag = BYTES("one");
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	obj_rig_close(&rig);
}

static void test_attributes(void **state)
{
	static uint8_t memory[3][256];
	struct obj_attributes first = { memory[0], 0, 256 }, change = { memory[1], 0, 256 };
	struct obj_put with = { .etag = BYTES("e"), .brief = BYTES("short") };
	struct obj_cmd cmd = { .op = OBJ_PUT,
		               .bucket = BYTES("b"),
		               .name = BYTES("n"),
		               .value = BYTES("text"),
		               .put = &with };

	(void)state;
	open_mem();
	make_bucket(BYTES("b"), OBJ_VERSIONING_ON, false);
	assert_true(obj_attribute_add(&first, 1, BYTES("type")));
	assert_true(obj_attribute_add(&first, 2, BYTES("tags")));
	assert_true(obj_attribute_add(&change, 2, BYTES("other tags")));
	assert_true(obj_attribute_add(&change, 3, BYTES("acl")));
	with.attributes = bytes_of(first.data, first.size);
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	with = (struct obj_put){ .attributes = bytes_of(change.data, change.size) };
	cmd.op = OBJ_UPDATE;
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	assert_int_equal(do_name(OBJ_HEAD, "n", 0, 0, NULL), STATUS_OK);
	assert_int_equal(seen.entries[0].meta.attributes.size, 4 * 3 + 4 + 10 + 3);
	assert_int_equal(seen.entries[0].meta.brief.size, 5);
	assert_int_equal(get("n", 0, 0, 4), STATUS_INVALID); /* it is "text" */
	cmd.name = BYTES("other");
	assert_int_equal(run(cmd, NULL), STATUS_NOT_FOUND);
	obj_rig_close(&rig);
}

static enum status lock(uint32_t mode, uint64_t until_ms, uint32_t command)
{
	struct obj_put with = { .flags = mode, .retain_until_ms = until_ms };

	return run((struct obj_cmd){ .op = OBJ_UPDATE,
	                             .bucket = BYTES("b"),
	                             .name = BYTES("n"),
	                             .put = &with,
	                             .flags = OBJ_SET_RETENTION | command },
	           NULL);
}

static void test_locks(void **state)
{
	struct obj_put with = { .flags = OBJ_HOLD };
	struct obj_cmd hold = { .op = OBJ_UPDATE,
		                .bucket = BYTES("b"),
		                .name = BYTES("n"),
		                .put = &with,
		                .flags = OBJ_SET_HOLD };
	uint64_t version, now_ms;

	(void)state;
	open_mem();
	now_ms = rig.wall_ms;
	make_bucket(BYTES("b"), OBJ_VERSIONING_ON, true);
	version = put("n", 1, 10);
	assert_int_equal(lock(OBJ_GOVERNANCE, now_ms + 1000000, 0), STATUS_OK);
	assert_int_equal(do_name(OBJ_DELETE, "n", version, 0, NULL), STATUS_DENIED);
	assert_int_equal(lock(OBJ_GOVERNANCE, now_ms + 1000, 0), STATUS_DENIED);
	assert_int_equal(lock(OBJ_COMPLIANCE, now_ms + 2000000, 0), STATUS_DENIED);
	assert_int_equal(lock(OBJ_GOVERNANCE, now_ms + 2000000, 0), STATUS_OK);
	assert_int_equal(lock(OBJ_COMPLIANCE, now_ms + 10000, OBJ_BYPASS_GOVERNANCE), STATUS_OK);
	assert_int_equal(do_name(OBJ_DELETE, "n", version, OBJ_BYPASS_GOVERNANCE, NULL),
	                 STATUS_DENIED);
	assert_int_equal(lock(OBJ_COMPLIANCE, now_ms + 9000, OBJ_BYPASS_GOVERNANCE), STATUS_DENIED);
	assert_int_equal(do_name(OBJ_DELETE, "n", 0, 0, NULL), STATUS_OK); /* a marker */
	assert_int_equal(do_name(OBJ_DELETE, "n", seen.entries[0].meta.version, 0, NULL),
	                 STATUS_OK);
	assert_int_equal(run(hold, NULL), STATUS_OK);
	obj_rig_wait(&rig, 20000000000);
	assert_int_equal(do_name(OBJ_DELETE, "n", version, 0, NULL), STATUS_DENIED);
	with.flags = 0;
	assert_int_equal(run(hold, NULL), STATUS_OK);
	assert_int_equal(do_name(OBJ_DELETE, "n", version, 0, NULL), STATUS_OK);
	assert_int_equal(obj_rig_count(&rig, OBJ_SPACE_CURRENT), 0);
	obj_rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_buckets_are_listed),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_put_and_get),
		cmocka_unit_test(test_put_and_get_in_a_store),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
