/* SPDX-License-Identifier: Apache-2.0 */
/* Random commands on a bucket, against a model that is a sorted table; lists are read by pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/prng.h"
#include "engine/obj_format.h"
#include "obj_rig.h"

enum { VERSIONS_MAX = 48, ENTRIES_MAX = 4096, NAME_SIZE = 16, PARTS = 6 };

struct model_version {
	uint64_t version, seed, size;
	bool null, marker;
};

/* Versions from the oldest to the newest. */
struct model_name {
	const char *name;
	unsigned count;
	struct model_version versions[VERSIONS_MAX];
};

static struct model_name names[] = {
	{ .name = "a" },       { .name = "a/" },    { .name = "a/b" },   { .name = "a/b/c" },
	{ .name = "a/b/d" },   { .name = "a/c" },   { .name = "a\x01" }, { .name = "ab" },
	{ .name = "b//x" },    { .name = "b/x" },   { .name = "b0" },    { .name = "c" },
	{ .name = "d/e/f" },   { .name = "d/e/g" }, { .name = "d/f" },   { .name = "e" },
	{ .name = "e\xff/x" }, { .name = "f" },     { .name = "f/0" },   { .name = "f/1" },
	{ .name = "f/2" },     { .name = "f/3" },   { .name = "g" },     { .name = "\xff\xff" },
};

static const char *const prefixes[] = {
	"", "a", "a/", "a/b", "b/", "d/e", "e", "f/", "zz", "\xff"
};
static const char *const delimiters[] = { "", "/", "//", "b" };

struct listed {
	char name[NAME_SIZE];
	bool prefix, latest, null, marker;
	uint64_t version, size;
};

struct listing {
	unsigned count;
	struct listed entries[ENTRIES_MAX];
};

static struct obj_rig rig;
static struct prng prng;
static enum obj_versioning versioning;
static struct listing told, expected;
static uint64_t next_seed = 1;

static void see(void *visitor, const struct obj_entry *entry)
{
	struct listing *to = visitor;
	struct listed *e = &to->entries[to->count++];

	assert_true(to->count <= ENTRIES_MAX);
	*e = (struct listed){ .prefix = entry->kind == OBJ_PREFIX };
	assert_true(entry->name.size < NAME_SIZE);
	memcpy(e->name, entry->name.data, entry->name.size);
	if (e->prefix)
		return;
	assert_int_equal(entry->kind, OBJ_OBJECT);
	e->latest = entry->meta.flags & OBJ_IS_LATEST;
	e->null = entry->meta.flags & OBJ_IS_NULL;
	e->marker = entry->meta.flags & OBJ_IS_MARKER;
	e->version = entry->meta.version;
	e->size = entry->meta.size;
}

static struct bytes text(const char *string)
{
	return bytes_of(string, strlen(string));
}

static enum status run(struct obj_cmd cmd, uint64_t *result)
{
	cmd.bucket = BYTES("bucket");
	return obj_rig_run_on(&rig, (unsigned)prng_below(&prng, rig.count), &cmd, result);
}

/* What the model says. */

static struct model_name *any_name(void)
{
	return &names[prng_below(&prng, array_count(names))];
}

static struct model_version *newest(struct model_name *name)
{
	return name->count == 0 ? NULL : &name->versions[name->count - 1];
}

static void model_remove(struct model_name *name, unsigned index)
{
	name->count--;
	memmove(&name->versions[index], &name->versions[index + 1],
	        (name->count - index) * sizeof(name->versions[0]));
}

static void model_add(struct model_name *name, struct model_version version)
{
	version.null = versioning != OBJ_VERSIONING_ON;
	for (unsigned i = 0; version.null && i < name->count; i++) {
		if (name->versions[i].null) {
			model_remove(name, i);
			break;
		}
	}
	assert_true(name->count < VERSIONS_MAX);
	name->versions[name->count++] = version;
}

static uint64_t any_size(void)
{
	switch (prng_below(&prng, 4)) {
	case 0:
		return prng_below(&prng, 100);
	case 1:
		return prng_below(&prng, 5000);
	case 2:
		return prng_below(&prng, 60000);
	default:
		return prng_below(&prng, 180000);
	}
}

static void do_put(struct model_name *name)
{
	static const struct obj_put nothing = { .flags = 0 };
	struct model_version made = { .seed = next_seed++, .size = any_size() };
	struct obj_cmd cmd = { .bucket = BYTES("bucket"), .name = text(name->name) };
	size_t piece = prng_below(&prng, 2) == 0 ? 0 : 1 + prng_below(&prng, 100000);

	if (name->count == VERSIONS_MAX)
		return;
	cmd.put = &nothing;
	if (piece > 0 && made.size / piece > 50)
		piece = 10000;
	assert_int_equal(obj_rig_put(&rig, &cmd, made.seed, made.size, piece, &made.version),
	                 STATUS_OK);
	model_add(name, made);
}

static void do_upload(struct model_name *name)
{
	static const struct obj_put nothing = { .flags = 0 };
	struct model_version made = { .seed = next_seed++ };
	struct obj_complete_part parts[PARTS];
	struct obj_complete complete = { .parts = parts };
	struct obj_cmd cmd = { .op = OBJ_UPLOAD_CREATE, .name = text(name->name) };
	uint64_t upload;

	if (name->count == VERSIONS_MAX)
		return;
	cmd.put = &nothing;
	assert_int_equal(run(cmd, &upload), STATUS_OK);
	for (unsigned i = 0; i < PARTS; i++) {
		uint64_t size = 50000 + prng_below(&prng, 60000);
		uint8_t *data = malloc(size);
		struct obj_cmd put = cmd;

		assert_non_null(data);
		put.op = OBJ_PUT;
		put.upload = upload;
		put.part = (uint16_t)(1 + 3 * i);
		put.value = bytes_of(data, size);
		obj_fill(made.seed + 1, 0, data, size);
		if (prng_below(&prng, 3) == 0) /* and again, with what it is to be */
			assert_int_equal(run(put, NULL), STATUS_OK);
		if (prng_below(&prng, 4) != 0) {
			obj_fill(made.seed, made.size, data, size);
			made.size += size;
			parts[complete.count++].number = put.part;
			parts[complete.count - 1].etag = (struct bytes){ NULL, 0 };
		}
		assert_int_equal(run(put, NULL), STATUS_OK);
		free(data);
	}
	next_seed++;
	cmd.op = OBJ_UPLOAD_COMPLETE;
	cmd.upload = upload;
	cmd.complete = &complete;
	if (complete.count == 0 || prng_below(&prng, 5) == 0) {
		cmd.op = OBJ_UPLOAD_ABORT;
		assert_int_equal(run(cmd, NULL), STATUS_OK);
		return;
	}
	assert_int_equal(run(cmd, &made.version), STATUS_OK);
	assert_int_equal(run(cmd, NULL), STATUS_NOT_FOUND);
	model_add(name, made);
}

static void do_delete(struct model_name *name)
{
	struct obj_cmd cmd = { .op = OBJ_DELETE, .name = text(name->name) };
	struct listing *seen = &told;
	uint64_t result;

	if (name->count == VERSIONS_MAX)
		return;
	seen->count = 0;
	cmd.visit = see;
	cmd.visitor = seen;
	assert_int_equal(run(cmd, &result), STATUS_OK);
	if (versioning != OBJ_VERSIONING_OFF) {
		assert_int_equal(result, OBJ_MARKED);
		assert_int_equal(seen->count, 1);
		model_add(name, (struct model_version){ .marker = true,
		                                        .version = seen->entries[0].version });
		return;
	}
	assert_int_equal(result, name->count > 0 ? OBJ_REMOVED : OBJ_WAS_ABSENT);
	name->count = 0;
}

static void do_delete_version(struct model_name *name)
{
	struct obj_cmd cmd = { .op = OBJ_DELETE, .name = text(name->name) };
	unsigned index;
	uint64_t result;

	if (name->count == 0)
		return;
	index = (unsigned)prng_below(&prng, name->count);
	if (prng_below(&prng, 2) == 0)
		index = name->count - 1;
	cmd.version = name->versions[index].version;
	if (name->versions[index].null && prng_below(&prng, 2) == 0) {
		cmd.version = 0;
		cmd.flags = OBJ_NULL_VERSION;
	}
	assert_int_equal(run(cmd, &result), STATUS_OK);
	assert_int_equal(result, OBJ_REMOVED);
	model_remove(name, index);
}

static void do_settings(void)
{
	struct obj_settings settings = { .set_versioning = true };
	struct obj_cmd cmd = { .op = OBJ_BUCKET_UPDATE };

	versioning = prng_below(&prng, 2) == 0 ? OBJ_VERSIONING_ON : OBJ_VERSIONING_SUSPENDED;
	settings.versioning = (uint8_t)versioning;
	cmd.settings = &settings;
	assert_int_equal(run(cmd, NULL), STATUS_OK);
}

static void check_version(struct model_name *name, const struct model_version *version)
{
	struct obj_cmd cmd = { .bucket = BYTES("bucket"),
		               .name = text(name->name),
		               .version = version == newest(name) ? 0 : version->version };
	enum status status;

	if (version->null && cmd.version != 0 && prng_below(&prng, 2) == 0) {
		cmd.version = 0;
		cmd.flags = OBJ_NULL_VERSION;
	}
	status = obj_rig_get(&rig, &cmd, version->seed, version->size,
	                     1 + prng_below(&prng, 200000) + version->size / 20);
	assert_int_equal(status, version->marker ? STATUS_NOT_FOUND : STATUS_OK);
}

static void do_get(struct model_name *name)
{
	uint64_t result;

	if (name->count > 0) {
		check_version(name, &name->versions[prng_below(&prng, name->count)]);
		return;
	}
	assert_int_equal(run((struct obj_cmd){ .op = OBJ_HEAD, .name = text(name->name) }, &result),
	                 STATUS_NOT_FOUND);
	assert_int_equal(result, OBJ_NO_NAME);
}

/* Lists. */

static int by_name(const void *a, const void *b)
{
	return bytes_compare(text(((const struct model_name *)a)->name),
	                     text(((const struct model_name *)b)->name));
}

static void expect(const struct listed *entry)
{
	expected.entries[expected.count++] = *entry;
}

static void expect_all(const char *prefix, const char *delimiter, bool versions)
{
	expected.count = 0;
	for (size_t n = 0; n < array_count(names); n++) {
		struct model_name *name = &names[n];
		struct listed entry = { .prefix = false };
		const char *found = NULL;
		bool has = versions ? name->count > 0 : name->count > 0 && !newest(name)->marker;

		if (!has || strncmp(name->name, prefix, strlen(prefix)) != 0)
			continue;
		if (delimiter[0] != '\0')
			found = strstr(name->name + strlen(prefix), delimiter);
		if (found != NULL) {
			entry.prefix = true;
			memcpy(entry.name, name->name,
			       (size_t)(found - name->name) + strlen(delimiter));
			if (expected.count == 0 || !expected.entries[expected.count - 1].prefix ||
			    strcmp(expected.entries[expected.count - 1].name, entry.name) != 0)
				expect(&entry);
			continue;
		}
		strcpy(entry.name, name->name);
		for (unsigned i = name->count; i-- > 0;) {
			const struct model_version *version = &name->versions[i];

			entry.latest = i == name->count - 1;
			entry.version = version->version;
			entry.size = version->size;
			entry.null = version->null;
			entry.marker = version->marker;
			expect(&entry);
			if (!versions)
				break;
		}
	}
}

static void do_list(bool versions)
{
	const char *prefix = prefixes[prng_below(&prng, array_count(prefixes))];
	const char *delimiter = delimiters[prng_below(&prng, array_count(delimiters))];
	struct obj_list list = { .prefix = text(prefix), .delimiter = text(delimiter) };
	struct obj_cmd cmd = { .op = versions ? OBJ_LIST_VERSIONS : OBJ_LIST };
	char after[NAME_SIZE] = "";
	uint64_t more = 1;

	cmd.list = &list;
	cmd.visit = see;
	cmd.visitor = &told;
	expect_all(prefix, delimiter, versions);
	list.limit = (uint32_t)(1 + prng_below(&prng, 12));
	for (told.count = 0; more == 1;) {
		unsigned before = told.count;

		assert_int_equal(run(cmd, &more), STATUS_OK);
		assert_true(told.count - before <= list.limit);
		assert_true(more == 0 || told.count - before == list.limit);
		if (told.count == 0)
			break;
		strcpy(after, told.entries[told.count - 1].name);
		list.after = text(after);
		list.after_id = versions ? told.entries[told.count - 1].version : 0;
	}
	assert_int_equal(told.count, expected.count);
	for (unsigned i = 0; i < told.count; i++) {
		const struct listed *a = &told.entries[i], *b = &expected.entries[i];

		assert_string_equal(a->name, b->name);
		assert_int_equal(a->prefix, b->prefix);
		assert_int_equal(a->version, b->version);
		assert_int_equal(a->size, b->size);
		assert_int_equal(a->latest, b->latest);
		assert_int_equal(a->null, b->null);
		assert_int_equal(a->marker, b->marker);
	}
}

static void step(void)
{
	switch (prng_below(&prng, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
		do_put(any_name());
		break;
	case 4:
		do_upload(any_name());
		break;
	case 5:
		do_delete(any_name());
		break;
	case 6:
	case 7:
		do_delete_version(any_name());
		break;
	case 8:
		if (prng_below(&prng, 6) == 0)
			do_settings();
		break;
	case 9:
	case 10:
	case 11:
		do_list(/* versions= */ prng_below(&prng, 2) == 0);
		break;
	case 12:
		if (prng_below(&prng, 20) == 0)
			obj_rig_reopen(&rig, /* crash= */ rig.has_store);
		break;
	default:
		do_get(any_name());
		break;
	}
}

/* Nothing is left behind but what the model has. */
static void check_end(void)
{
	uint64_t versions = 0;

	for (size_t n = 0; n < array_count(names); n++) {
		for (unsigned i = 0; i < names[n].count; i++)
			check_version(&names[n], &names[n].versions[i]);
		while (names[n].count > 0) {
			struct obj_cmd cmd = { .op = OBJ_DELETE,
				               .name = text(names[n].name),
				               .version = newest(&names[n])->version };

			versions++;
			assert_int_equal(run(cmd, NULL), STATUS_OK);
			names[n].count--;
		}
	}
	assert_true(versions > 0);
	assert_int_equal(run((struct obj_cmd){ .op = OBJ_BUCKET_DELETE }, NULL), STATUS_OK);
	obj_rig_wait(&rig, 10000000000);
	for (unsigned space = OBJ_SPACE_CURRENT; space < OBJ_SPACE_COUNTER; space++)
		assert_int_equal(obj_rig_count(&rig, (uint8_t)space), 0);
}

static void play(uint64_t seed, unsigned steps)
{
	struct obj_settings settings = { .versioning = OBJ_VERSIONING_OFF };
	struct obj_cmd cmd = { .op = OBJ_BUCKET_CREATE };

	prng_init(&prng, seed);
	qsort(names, array_count(names), sizeof(names[0]), by_name);
	for (size_t n = 0; n < array_count(names); n++)
		names[n].count = 0;
	versioning = OBJ_VERSIONING_OFF;
	cmd.settings = &settings;
	assert_int_equal(run(cmd, NULL), STATUS_OK);
	for (unsigned i = 0; i < steps; i++)
		step();
	check_end();
}

static void test_in_memory(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		obj_rig_open_mem(&rig, (unsigned)(1 + seed % 3), NULL);
		play(seed, 500);
		obj_rig_close(&rig);
	}
}

static void test_in_a_store(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 2; seed++) {
		obj_rig_open_store(&rig, 192 << 20);
		play(seed, 300);
		obj_rig_close(&rig);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_memory),
		cmocka_unit_test(test_in_a_store),
	};

	if (argc > 1) { /* a seed */
		obj_rig_open_mem(&rig, 1, NULL);
		play(strtoull(argv[1], NULL, 0), 3000);
		obj_rig_close(&rig);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
