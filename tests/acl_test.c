/* SPDX-License-Identifier: Apache-2.0 */
/* Rules and rights, without a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "server/resp_acl.h"
#include "server/resp_internal.h"

static struct resp_acl acl;

static struct bytes text(const char *s)
{
	return bytes_of(s, strlen(s));
}

static uint32_t split(const char *line, struct bytes *words)
{
	uint32_t count = 0;

	while (*line != '\0') {
		size_t size = strcspn(line, " ");

		words[count++] = bytes_of(line, size);
		line += size + (line[size] == ' ');
	}
	return count;
}

static int setup(void **state)
{
	(void)state;
	resp_table_open();
	return acl_open(&acl, 4) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	acl_close(&acl);
	return 0;
}

/* NULL, or the error. */
static const char *set(const char *name, const char *rules)
{
	struct bytes words[64] = { { NULL, 0 } }, merged[64];
	uint32_t count = split(rules, words), bad;
	struct acl_rules set = { .words = merged };
	char room[8192];

	set.count = acl_merge_words(words, count, merged, room, &bad);
	assert_int_not_equal(set.count, UINT32_MAX);
	return acl_user_set(&acl, text(name), &set);
}

static const char *described(const char *name)
{
	static char out[ACL_DESCRIPTION_MAX + 1];

	out[acl_describe(acl_user_find(&acl, text(name)), out)] = '\0';
	return out;
}

static enum acl_reason check(const char *name, const char *line)
{
	struct bytes words[64] = { { NULL, 0 } };
	struct resp_words call = { words, split(line, words) };
	const struct resp_command *command;
	char full[64];
	uint32_t id, word;

	command = acl_command_find(&acl, words[0], &id);
	assert_non_null(command);
	if (command->subcommand_count > 0 && call.argc > 1) {
		snprintf(full, sizeof(full), "%s|%.*s", command->name, (int)words[1].size,
		         (const char *)words[1].data);
		assert_non_null(acl_command_find(&acl, text(full), &id));
	}
	return acl_check(&acl, acl_user_find(&acl, text(name)), id, call, &word);
}

static void test_default_may_all(void **state)
{
	(void)state;
	assert_string_equal(described("default"), "on nopass ~* &* +@all");
	assert_int_equal(check("default", "SET k v"), ACL_GRANTED);
	assert_ptr_equal(acl_authenticate(&acl, BYTES("default"), BYTES("anything")),
	                 acl.default_user);
	assert_null(acl_authenticate(&acl, BYTES("nobody"), BYTES("")));
	acl_set_default_password(&acl, BYTES("secret"));
	assert_null(acl_authenticate(&acl, BYTES("default"), BYTES("anything")));
	assert_null(acl_authenticate(&acl, BYTES("default"), BYTES("")));
	assert_non_null(acl_authenticate(&acl, BYTES("default"), BYTES("secret")));
	acl_set_default_password(&acl, BYTES(""));
	assert_non_null(acl_authenticate(&acl, BYTES("default"), BYTES("x")));
}

static void test_new_users_may_nothing(void **state)
{
	(void)state;
	assert_null(set("eve", ""));
	assert_string_equal(described("eve"), "off resetchannels -@all");
	assert_int_equal(check("eve", "GET k"), ACL_COMMAND);
	assert_int_equal(check("eve", "AUTH eve x"), ACL_GRANTED);
	assert_null(acl_authenticate(&acl, BYTES("eve"), BYTES("")));
	assert_null(set("eve", ">one >two nopass on"));
	assert_non_null(acl_authenticate(&acl, BYTES("eve"), BYTES("")));
	assert_null(set("eve", "resetpass"));
	assert_null(acl_authenticate(&acl, BYTES("eve"), BYTES("")));
}

static void test_passwords(void **state)
{
	(void)state;
	assert_null(set("bob", "on >x >y >x"));
	assert_int_equal(acl_user_find(&acl, BYTES("bob"))->password_count, 2);
	assert_non_null(acl_authenticate(&acl, BYTES("bob"), BYTES("x")));
	assert_null(set("bob", "<x"));
	assert_null(acl_authenticate(&acl, BYTES("bob"), BYTES("x")));
	assert_non_null(acl_authenticate(&acl, BYTES("bob"), BYTES("y")));
	assert_null(acl_authenticate(&acl, BYTES("bob"), BYTES("")));
	assert_string_equal(set("bob", "<x"),
	                    "The password you are trying to remove from the user does not exist");
	assert_null(
	        set("bob", "#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"));
	assert_non_null(acl_authenticate(&acl, BYTES("bob"), BYTES("x")));
	assert_null(
	        set("bob", "!2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"));
	assert_null(acl_authenticate(&acl, BYTES("bob"), BYTES("x")));
	assert_non_null(set("bob", "#2d71"));
	assert_non_null(
	        set("bob", "#2D711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"));
	assert_null(set("bob", "off"));
	assert_null(acl_authenticate(&acl, BYTES("bob"), BYTES("y")));
}

static void test_commands_and_categories(void **state)
{
	(void)state;
	assert_null(set("bob", "~* +@read -@dangerous +set +client|id"));
	assert_int_equal(check("bob", "get k"), ACL_GRANTED);
	assert_int_equal(check("bob", "set k v"), ACL_GRANTED);
	assert_int_equal(check("bob", "keys *"), ACL_COMMAND);
	assert_int_equal(check("bob", "del k"), ACL_COMMAND);
	assert_int_equal(check("bob", "client id"), ACL_GRANTED);
	assert_int_equal(check("bob", "client list"), ACL_COMMAND);
	assert_null(set("bob", "+client"));
	assert_int_equal(check("bob", "client list"), ACL_GRANTED);
	assert_null(set("bob", "-client|kill"));
	assert_int_equal(check("bob", "client list"), ACL_GRANTED);
	assert_int_equal(check("bob", "client kill a"), ACL_COMMAND);
	assert_string_equal(described("bob"), "off ~* resetchannels -@all +@read -@dangerous +set "
	                                      "+client -client|kill");
	assert_null(set("bob", "+CLIENT -set"));
	assert_string_equal(described("bob"),
	                    "off ~* resetchannels -@all +@read -@dangerous +client -set");
	assert_null(set("bob", "allcommands -@admin"));
	assert_int_equal(check("bob", "config get x"), ACL_COMMAND);
	assert_int_equal(check("bob", "set k v"), ACL_GRANTED);
	assert_string_equal(described("bob"), "off ~* resetchannels +@all -@admin");
}

static void test_keys(void **state)
{
	(void)state;
	assert_null(set("bob", "on nopass +@all ~app:* %R~read:* %W~write:*"));
	assert_int_equal(check("bob", "GET app:1"), ACL_GRANTED);
	assert_int_equal(check("bob", "GET read:1"), ACL_GRANTED);
	assert_int_equal(check("bob", "SET read:1 v"), ACL_KEY);
	assert_int_equal(check("bob", "SET write:1 v"), ACL_GRANTED);
	assert_int_equal(check("bob", "SET write:1 v GET"), ACL_KEY);
	assert_int_equal(check("bob", "SET app:1 v GET"), ACL_GRANTED);
	assert_int_equal(check("bob", "GET write:1"), ACL_KEY);
	assert_int_equal(check("bob", "EXISTS write:1 read:1"), ACL_GRANTED);
	assert_int_equal(check("bob", "EXISTS write:1 other"), ACL_KEY);
	assert_int_equal(check("bob", "MGET app:1 read:2 write:3"), ACL_KEY);
	assert_int_equal(check("bob", "COPY read:1 write:1"), ACL_GRANTED);
	assert_int_equal(check("bob", "COPY write:1 read:1"), ACL_KEY);
	assert_int_equal(check("bob", "BITOP AND write:1 read:1 read:2"), ACL_GRANTED);
	assert_int_equal(check("bob", "BITOP AND write:1 read:1 write:2"), ACL_KEY);
	assert_int_equal(check("bob", "MSET app:1 other app:2 other"), ACL_GRANTED);
	assert_int_equal(check("bob", "MSET app:1 v other v"), ACL_KEY);
	assert_int_equal(check("bob", "BITFIELD read:1 GET u8 0"), ACL_GRANTED);
	assert_int_equal(check("bob", "BITFIELD read:1 SET u8 0 1"), ACL_KEY);
	assert_int_equal(check("bob", "PING"), ACL_GRANTED);
	assert_string_equal(described("bob"),
	                    "on nopass ~app:* %R~read:* %W~write:* resetchannels +@all");
	assert_null(set("bob", "%W~read:* resetchannels"));
	assert_int_equal(check("bob", "SET read:1 v"), ACL_GRANTED);
	assert_null(set("bob", "resetkeys"));
	assert_int_equal(check("bob", "GET app:1"), ACL_KEY);
	assert_null(set("bob", "allkeys"));
	assert_int_equal(check("bob", "GET any"), ACL_GRANTED);
	assert_string_equal(described("bob"), "on nopass ~* resetchannels +@all");
}

static void test_channels(void **state)
{
	const struct resp_user *user;

	(void)state;
	assert_null(set("bob", "&news:* &exact"));
	user = acl_user_find(&acl, BYTES("bob"));
	assert_true(acl_may_use_channel(user, BYTES("news:1"), false));
	assert_false(acl_may_use_channel(user, BYTES("new"), false));
	assert_true(acl_may_use_channel(user, BYTES("news:*"), true));
	assert_false(acl_may_use_channel(user, BYTES("news:1"), true));
	assert_string_equal(described("bob"), "off resetchannels &news:* &exact -@all");
	assert_null(set("bob", "allchannels"));
	assert_true(acl_may_use_channel(user, BYTES("x*"), true));
}

static void test_selectors(void **state)
{
	(void)state;
	assert_null(set("bob", "on nopass ~own:* +@all -@dangerous (%R~shared:* +get +mget) "
	                       "(~tmp:* &tmp:* +set)"));
	assert_string_equal(described("bob"),
	                    "on nopass ~own:* resetchannels +@all -@dangerous (%R~shared:* "
	                    "resetchannels -@all +get +mget) (~tmp:* resetchannels &tmp:* -@all "
	                    "+set)");
	assert_int_equal(check("bob", "SET own:1 v"), ACL_GRANTED);
	assert_int_equal(check("bob", "GET shared:1"), ACL_GRANTED);
	assert_int_equal(check("bob", "SET shared:1 v"), ACL_KEY);
	assert_int_equal(check("bob", "SET tmp:1 v"), ACL_GRANTED);
	assert_int_equal(check("bob", "SET tmp:1 v GET"), ACL_GRANTED);
	assert_int_equal(check("bob", "GET tmp:1"), ACL_KEY);
	/* One selector must grant all of it. */
	assert_int_equal(check("bob", "MGET own:1 shared:1"), ACL_KEY);
	assert_int_equal(check("bob", "KEYS *"), ACL_COMMAND);
	assert_true(acl_may_use_channel(acl_user_find(&acl, BYTES("bob")), BYTES("tmp:x"), false));
	assert_null(set("bob", "(~k +del)"));
	assert_int_equal(check("bob", "DEL k"), ACL_GRANTED);
	assert_non_null(set("bob", "clearselectors (nonsense)"));
	assert_int_equal(check("bob", "DEL k"), ACL_GRANTED);
	assert_null(set("bob", "clearselectors"));
	assert_int_equal(check("bob", "DEL k"), ACL_KEY);
	assert_string_equal(described("bob"), "on nopass ~own:* resetchannels +@all -@dangerous");
}

/* What is told makes the same user again; a pool of selectors loses none. */
static void test_selectors_come_back(void **state)
{
	char first[ACL_DESCRIPTION_MAX];
	const char *error = NULL;

	(void)state;
	assert_null(set("bob",
	                "on #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 "
	                "~a &b +get ( ~x +set ) (allkeys +@read) ()"));
	snprintf(first, sizeof(first), "%s", described("bob"));
	assert_null(set("eve", first));
	assert_string_equal(described("eve"), first);
	for (unsigned i = 0; i < 3 * ACL_SELECTORS_MAX && error == NULL; i++)
		error = set("eve", "(~x +get)");
	assert_string_equal(error, "Too many selectors");
	for (unsigned i = 0; i < 3 * ACL_SELECTORS_MAX; i++)
		assert_null(set("eve", "reset (~x +get)"));
	acl_user_delete(&acl, acl_user_find(&acl, BYTES("eve")));
	assert_null(set("eve", first));
	assert_string_equal(described("eve"), first);
}

static void test_first_arguments(void **state)
{
	(void)state;
	assert_null(set("bob", "on +select|0 +select|1"));
	assert_int_equal(check("bob", "SELECT 0"), ACL_GRANTED);
	assert_int_equal(check("bob", "SELECT 1"), ACL_GRANTED);
	assert_int_equal(check("bob", "SELECT 2"), ACL_COMMAND);
	assert_string_equal(described("bob"), "on resetchannels -@all +select|0 +select|1");
	assert_null(set("bob", "-select"));
	assert_int_equal(check("bob", "SELECT 0"), ACL_COMMAND);
	assert_null(set("bob", "+select|0 +@all -@connection"));
	assert_int_equal(check("bob", "SELECT 0"), ACL_COMMAND);
}

static void test_unclosed_selectors(void **state)
{
	struct bytes words[] = { BYTES("on"), BYTES("(~a"), BYTES("+get"), BYTES("(+set)") };
	struct bytes merged[4];
	char room[64];
	uint32_t bad = 9;

	(void)state;
	assert_int_equal(acl_merge_words(words, 3, merged, room, &bad), UINT32_MAX);
	assert_int_equal(bad, 1);
	/* The parenthesis that ends another ends this one. */
	assert_int_equal(acl_merge_words(words, 4, merged, room, &bad), 2);
	assert_true(bytes_equal(merged[1], BYTES("(~a +get (+set)")));
}

static void test_wrong_rules_change_nothing(void **state)
{
	static const char *const rows[][2] = {
		{ "+nosuch", "Unknown command or category name in ACL" },
		{ "+@nosuch", "Unknown command or category name in ACL" },
		{ "-client|nosuch", "Unknown command or category name in ACL" },
		{ "+get|", "Syntax error" },
		{ "nonsense", "Syntax error" },
		{ "%X~a", "Syntax error" },
		{ "%RR~a", "Syntax error" },
		{ "%R", "Syntax error" },
		{ "%~a", "Syntax error" },
		{ "(+get >x)", "Syntax error" },
		{ "(on)", "Syntax error" },
		{ "+get|x|y", "Unknown command or category name in ACL" },
		{ "+config|get|x", "Allowing first-arg of a subcommand is not supported" },
		{ "-select|0", "Unknown command or category name in ACL" },
	};

	(void)state;
	assert_null(set("bob", "on +get ~a"));
	for (size_t i = 0; i < array_count(rows); i++) {
		char rules[128];
		const char *error;

		snprintf(rules, sizeof(rules), "off +set %s", rows[i][0]);
		error = set("bob", rules);
		assert_non_null(error);
		assert_string_equal(error, rows[i][1]);
		assert_string_equal(described("bob"), "on ~a resetchannels -@all +get");
		assert_non_null(set("new", rows[i][0]));
		assert_null(acl_user_find(&acl, BYTES("new")));
	}
	assert_non_null(set("bob", "~* ~a"));
	assert_non_null(set("bob", "&* &a"));
	assert_null(set("bob", "reset"));
	assert_string_equal(described("bob"), "off sanitize-payload resetchannels -@all");
}

static void test_limits(void **state)
{
	char rules[4096] = "";
	size_t used = 0;

	(void)state;
	assert_null(set("c", ""));
	assert_null(set("b", ""));
	assert_null(set("a", ""));
	assert_non_null(set("d", ""));
	assert_true(bytes_equal(bytes_of(acl.sorted[0]->name, 1), BYTES("a")));
	assert_true(bytes_equal(bytes_of(acl.sorted[2]->name, 1), BYTES("c")));
	acl_user_delete(&acl, acl_user_find(&acl, BYTES("b")));
	assert_int_equal(acl.user_count, 3);
	assert_null(set("d", ""));
	for (unsigned i = 0; i < 60; i++)
		used += (size_t)snprintf(rules + used, sizeof(rules) - used, "~key:%u ", i);
	assert_null(set("a", rules));
	for (size_t i = 0; i < used; i++)
		rules[i] = rules[i] == '~' ? '&' : rules[i];
	assert_string_equal(set("a", rules), "Too many rules for one user");
	assert_non_null(set("a b", ""));
	assert_non_null(set("", ""));
}

static void test_log_groups_what_is_alike(void **state)
{
	struct acl_denial denial = { .reason = ACL_KEY,
		                     .object = BYTES("k1"),
		                     .user = BYTES("bob"),
		                     .client = BYTES("id=1"),
		                     .wall_ms = 1000000 };

	(void)state;
	acl_log_add(&acl, &denial);
	acl_log_add(&acl, &denial);
	assert_int_equal(acl.log_count, 1);
	assert_int_equal(acl.log[0].count, 2);
	denial.object = BYTES("k2");
	acl_log_add(&acl, &denial);
	assert_int_equal(acl.log_count, 2);
	denial.object = BYTES("k1");
	acl_log_add(&acl, &denial);
	assert_int_equal(acl.log_count, 2);
	assert_int_equal(acl.log[0].count, 3);
	denial.wall_ms += 61000;
	acl_log_add(&acl, &denial);
	assert_int_equal(acl.log_count, 3);
	assert_int_equal(acl.denied_key, 5);
	for (unsigned i = 0; i < 2 * ACL_LOG_MAX; i++) {
		char name[16];

		denial.object = bytes_of(name, (size_t)snprintf(name, sizeof(name), "x%u", i));
		acl_log_add(&acl, &denial);
	}
	assert_int_equal(acl.log_count, ACL_LOG_MAX);
	acl_log_reset(&acl);
	assert_int_equal(acl.log_count, 0);
}

/* Where keys are not where the row says, only the documentation tells users' rights. */
static void test_movable_keys_are_documented(void **state)
{
	uint32_t count = 0;

	(void)state;
	for (uint32_t id = 0; id < acl.command_count; id++) {
		const struct resp_command *command = acl.commands[id];

		if (acl.docs[id] == NULL)
			continue;
		count++;
		if ((command->key_first > 0 || (command->flags & RESP_MOVABLE_KEYS)) &&
		    acl.docs[id]->key_count == 0)
			fail_msg("%s has keys and no specification of them", command->name);
	}
	assert_true(count > 100);
}

struct found {
	uint32_t at[8], count;
};

static bool found_key(void *owner, uint32_t index, uint16_t flags)
{
	struct found *found = owner;

	(void)flags;
	found->at[found->count++] = index;
	return found->count < array_count(found->at);
}

static void test_where_keys_are(void **state)
{
	static const struct {
		const char *line;
		bool good;
		uint32_t count, last;
	} rows[] = {
		{ "get k", true, 1, 1 },
		{ "mset a 1 b 2 c 3", true, 3, 5 },
		{ "del a b c", true, 3, 3 },
		{ "zunionstore d 2 a b weights 1 2", true, 3, 4 },
		{ "zunion 2 a", false, 0, 0 },
		{ "zunion x a", false, 0, 0 },
		{ "zunion -1 a", false, 0, 0 },
		{ "sort k by w_* get # limit 0 1 store d", true, 2, 10 },
		{ "sort k get store", true, 1, 1 },
		{ "blpop a b 0", true, 2, 2 },
		{ "xread count 1 streams a b 0 0", true, 2, 5 },
		{ "georadius k 1 2 3 m store d", true, 2, 7 },
		{ "georadius k 1 2 3 m", true, 1, 1 },
		{ "lcs a b", true, 2, 2 },
		{ "object encoding k", true, 0, 0 },
		{ "publish ch msg", true, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		struct bytes words[16];
		struct resp_words call = { words, split(rows[i].line, words) };
		struct found found = { .count = 0 };
		bool good = resp_keys_find(resp_doc_find(words[0]), call, found_key, &found);

		if (good != rows[i].good || found.count != rows[i].count ||
		    (found.count > 0 && found.at[found.count - 1] != rows[i].last))
			fail_msg("%s: %s, %u keys", rows[i].line, good ? "good" : "bad",
			         found.count);
	}
	assert_non_null(resp_doc_find(BYTES("ZUNIONSTORE")));
	assert_non_null(resp_doc_find(BYTES("acl")));
	assert_null(resp_doc_find(BYTES("zunionstor")));
	assert_null(resp_doc_find(BYTES("")));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_default_may_all),
		TEST(test_new_users_may_nothing),
		TEST(test_passwords),
		TEST(test_commands_and_categories),
		TEST(test_keys),
		TEST(test_channels),
		TEST(test_selectors),
		TEST(test_selectors_come_back),
		TEST(test_first_arguments),
		TEST(test_unclosed_selectors),
		TEST(test_wrong_rules_change_nothing),
		TEST(test_limits),
		TEST(test_log_groups_what_is_alike),
		TEST(test_movable_keys_are_documented),
		TEST(test_where_keys_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
