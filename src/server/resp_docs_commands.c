/* SPDX-License-Identifier: Apache-2.0 */
/* COMMAND: the commands told about, from their rows and their documentation. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/glob.h"
#include "server/resp_admin_internal.h"

static void reply_flags(struct resp_call *call, const struct resp_command *command)
{
	/* By bit, as the rows have them. */
	static const char *const names[] = {
		"write",    "readonly", "denyoom",  "admin",        "pubsub",       "noscript",
		"blocking", "loading",  "stale",    "skip_monitor", "skip_slowlog", "asking",
		"fast",     "no_auth",  "no_multi", "movablekeys",
	};
	uint32_t shown = command->flags & ((1u << array_count(names)) - 1);

	resp_reply_set(call, (unsigned)__builtin_popcount(shown));
	for (uint32_t i = 0; i < array_count(names); i++) {
		if (shown & 1u << i)
			resp_reply_simple(call, names[i]);
	}
}

static void reply_categories(struct resp_call *call, const struct resp_command *command)
{
	uint32_t categories = acl_categories(command);

	resp_reply_set(call, (unsigned)__builtin_popcount(categories));
	for (uint32_t i = 0; i < ACL_CATEGORY_COUNT; i++) {
		char name[24];

		if (!(categories & 1u << i))
			continue;
		snprintf(name, sizeof(name), "@%s", acl_category_names[i]);
		resp_reply_simple(call, name);
	}
}

static void reply_key_flags(struct resp_call *call, uint16_t flags)
{
	static const char *const names[] = {
		"RO",     "RW",     "OW",      "RM",         "access",        "update",
		"insert", "delete", "not_key", "incomplete", "variable_flags"
	};

	resp_reply_set(call, (unsigned)__builtin_popcount(flags));
	for (uint32_t i = 0; i < array_count(names); i++) {
		if (flags & 1u << i)
			resp_reply_simple(call, names[i]);
	}
}

static void reply_pair(struct resp_call *call, const char *name, int64_t value)
{
	resp_reply_text(call, name);
	resp_reply_i64(call, value);
}

static void reply_begin(struct resp_call *call, const struct resp_key_spec *spec)
{
	resp_reply_text(call, "begin_search");
	resp_reply_map(call, 2);
	resp_reply_text(call, "type");
	resp_reply_text(call, spec->begin.keyword ? "keyword" : "index");
	resp_reply_text(call, "spec");
	resp_reply_map(call, spec->begin.keyword ? 2 : 1);
	if (spec->begin.keyword != NULL) {
		resp_reply_text(call, "keyword");
		resp_reply_text(call, spec->begin.keyword);
		reply_pair(call, "startfrom", spec->begin.index);
	} else {
		reply_pair(call, "index", spec->begin.index);
	}
}

static void reply_find(struct resp_call *call, const struct resp_key_spec *spec)
{
	bool counted = spec->find.counted;

	resp_reply_text(call, "find_keys");
	resp_reply_map(call, 2);
	resp_reply_text(call, "type");
	resp_reply_text(call, counted ? "keynum" : "range");
	resp_reply_text(call, "spec");
	resp_reply_map(call, 3);
	reply_pair(call, counted ? "keynumidx" : "lastkey", spec->find.last);
	reply_pair(call, counted ? "firstkey" : "keystep", spec->find.step);
	reply_pair(call, counted ? "keystep" : "limit", spec->find.limit);
}

static void reply_keys(struct resp_call *call, const struct resp_doc *doc)
{
	uint32_t count = doc != NULL ? doc->key_count : 0;

	resp_reply_array(call, count);
	for (uint32_t i = 0; i < count; i++) {
		resp_reply_map(call, 3);
		resp_reply_text(call, "flags");
		reply_key_flags(call, doc->keys[i].flags);
		reply_begin(call, &doc->keys[i]);
		reply_find(call, &doc->keys[i]);
	}
}

static const struct resp_doc *doc_of(const struct resp_command *command)
{
	return resp_doc_find(admin_text_of(command->name));
}

/* All but the subcommands. */
static void reply_row(struct resp_call *call, const struct resp_command *command)
{
	resp_reply_array(call, 10);
	resp_reply_text(call, command->name);
	resp_reply_i64(call, command->arity);
	reply_flags(call, command);
	resp_reply_i64(call, command->key_first);
	resp_reply_i64(call, command->key_last);
	resp_reply_i64(call, command->key_step);
	reply_categories(call, command);
	resp_reply_array(call, 0); /* tips */
	reply_keys(call, doc_of(command));
}

static void reply_info(struct resp_call *call, const struct resp_command *command)
{
	reply_row(call, command);
	resp_reply_array(call, command->subcommand_count);
	for (uint32_t i = 0; i < command->subcommand_count; i++) {
		reply_row(call, &command->subcommands[i]);
		resp_reply_array(call, 0);
	}
}

static void command_run(struct resp_call *call)
{
	resp_reply_array(call, resp_command_count());
	for (uint32_t i = 0; i < resp_command_count(); i++)
		reply_info(call, resp_command_at(i));
}

static void count_run(struct resp_call *call)
{
	resp_reply_i64(call, resp_command_count());
}

static const struct resp_command *find(struct resp_call *call, struct bytes name)
{
	uint32_t id;

	return acl_command_find(&admin_of(call)->acl, name, &id);
}

static void info_run(struct resp_call *call)
{
	if (call->argc == 2) {
		command_run(call);
		return;
	}
	resp_reply_array(call, call->argc - 2);
	for (uint32_t i = 2; i < call->argc; i++) {
		const struct resp_command *command = find(call, call->argv[i]);

		if (command != NULL)
			reply_info(call, command);
		else
			resp_reply_null(call);
	}
}

/* `subcommands`: how many of them follow in the map. */
static void reply_doc(struct resp_call *call, const struct resp_command *command, bool subcommands)
{
	const struct resp_doc *doc = doc_of(command);
	bool complexity = doc != NULL && doc->complexity[0] != '\0';

	resp_reply_text(call, command->name);
	resp_reply_map(call, 3u + complexity + subcommands);
	resp_reply_text(call, "summary");
	resp_reply_text(call, doc != NULL ? doc->summary : "");
	resp_reply_text(call, "since");
	resp_reply_text(call, doc != NULL ? doc->since : "7.0.0");
	resp_reply_text(call, "group");
	resp_reply_text(call, doc != NULL ? doc->group : "generic");
	if (complexity) {
		resp_reply_text(call, "complexity");
		resp_reply_text(call, doc->complexity);
	}
}

static void reply_docs(struct resp_call *call, const struct resp_command *command)
{
	reply_doc(call, command, command->subcommand_count > 0);
	if (command->subcommand_count == 0)
		return;
	resp_reply_text(call, "subcommands");
	resp_reply_map(call, command->subcommand_count);
	for (uint32_t i = 0; i < command->subcommand_count; i++)
		reply_doc(call, &command->subcommands[i], false);
}

static void docs_run(struct resp_call *call)
{
	uint32_t count = 0;

	if (call->argc == 2) {
		resp_reply_map(call, resp_command_count());
		for (uint32_t i = 0; i < resp_command_count(); i++)
			reply_docs(call, resp_command_at(i));
		return;
	}
	for (uint32_t i = 2; i < call->argc; i++)
		count += find(call, call->argv[i]) != NULL;
	resp_reply_map(call, count);
	for (uint32_t i = 2; i < call->argc; i++) {
		const struct resp_command *command = find(call, call->argv[i]);

		if (command != NULL)
			reply_docs(call, command);
	}
}

/* LIST FILTERBY ... */
struct filter {
	enum { NO_FILTER, NOTHING, BY_CATEGORY, BY_PATTERN } kind;
	uint32_t category;
	struct bytes pattern;
};

static bool parse_filter(struct resp_call *call, struct filter *filter)
{
	*filter = (struct filter){ NO_FILTER, 0, { NULL, 0 } };
	if (call->argc == 2)
		return true;
	if (call->argc != 5 || !resp_word_is(call->argv[2], "filterby"))
		return false;
	filter->pattern = call->argv[4];
	if (resp_word_is(call->argv[3], "module")) {
		filter->kind = NOTHING;
	} else if (resp_word_is(call->argv[3], "aclcat")) {
		filter->category = acl_category_find(call->argv[4]);
		filter->kind = BY_CATEGORY;
	} else if (resp_word_is(call->argv[3], "pattern")) {
		filter->kind = BY_PATTERN;
	} else {
		return false;
	}
	return true;
}

static bool is_listed(const struct filter *filter, const struct resp_command *command)
{
	switch (filter->kind) {
	case NO_FILTER:
		return strchr(command->name, '|') == NULL;
	case NOTHING:
		return false;
	case BY_CATEGORY:
		return acl_categories(command) & filter->category;
	case BY_PATTERN:
		return glob_match(filter->pattern, admin_text_of(command->name), true);
	}
	unreachable();
}

static void list_run(struct resp_call *call)
{
	const struct resp_acl *acl = &admin_of(call)->acl;
	struct filter filter;
	uint32_t count = 0;

	if (!parse_filter(call, &filter)) {
		resp_reply_syntax_error(call);
		return;
	}
	for (uint32_t id = 0; id < acl->command_count; id++)
		count += is_listed(&filter, acl->commands[id]);
	resp_reply_array(call, count);
	for (uint32_t id = 0; id < acl->command_count; id++) {
		if (is_listed(&filter, acl->commands[id]))
			resp_reply_text(call, acl->commands[id]->name);
	}
}

/* GETKEYS. */
struct keys {
	struct resp_call *call;
	uint32_t count;
	bool counting, with_flags;
};

static bool key_found(void *owner, uint32_t index, uint16_t flags)
{
	struct keys *keys = owner;
	struct bytes key = keys->call->argv[2 + index];

	keys->count++;
	if (keys->counting)
		return true;
	if (keys->with_flags)
		resp_reply_array(keys->call, 2);
	resp_reply_bulk(keys->call, key);
	if (keys->with_flags)
		reply_key_flags(keys->call, flags);
	return true;
}

/* The row of the words from argv[2] on. */
static const struct resp_command *named(struct resp_call *call)
{
	const struct resp_command *command = find(call, call->argv[2]);
	char name[ACL_COMMAND_NAME_MAX];
	int size;

	if (command == NULL || command->subcommand_count == 0 || call->argc < 4)
		return command;
	size = snprintf(name, sizeof(name), "%s|%.*s", command->name,
	                (int)(call->argv[3].size < 32 ? call->argv[3].size : 32),
	                (const char *)call->argv[3].data);
	return find(call, bytes_of(name, (size_t)size));
}

static void getkeys_run(struct resp_call *call)
{
	const struct resp_command *command = named(call);
	struct resp_words words = { call->argv + 2, call->argc - 2 };
	struct keys keys = { .call = call, .counting = true };
	int argc = (int)words.argc;
	const struct resp_doc *doc;

	keys.with_flags = resp_word_is(call->argv[1], "getkeysandflags");
	if (command == NULL) {
		resp_reply_error(call, "ERR Invalid command specified");
		return;
	}
	doc = doc_of(command);
	if (doc == NULL || doc->key_count == 0) {
		resp_reply_error(call, "ERR The command has no key arguments");
		return;
	}
	if (command->arity >= 0 ? argc != command->arity : argc < -command->arity) {
		resp_reply_error(call, "ERR Invalid number of arguments specified for command");
		return;
	}
	if (!resp_keys_find(doc, words, key_found, &keys)) {
		resp_reply_error(call, "ERR Invalid arguments specified for command");
		return;
	}
	resp_reply_array(call, keys.count);
	keys.counting = false;
	resp_keys_find(doc, words, key_found, &keys);
}

static void help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"(no subcommand)",
		"    Describes all commands.",
		"COUNT",
		"    Counts the commands.",
		"DOCS [<command-name> ...]",
		"    Documents commands: all if none are named.",
		"GETKEYS <full-command>",
		"    Finds the keys among the words of a command.",
		"GETKEYSANDFLAGS <full-command>",
		"    Finds the keys and how the command uses them.",
		"INFO [<command-name> ...]",
		"    Describes commands: all if none are named.",
		"LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
		"    Lists names of commands.",
	};

	admin_reply_help(call, "COMMAND", lines, array_count(lines));
}

enum { PLAIN = RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN, CONNECTION = RESP_ACL_CONNECTION };

// clang-format off
static const struct resp_command command_rows[] = {
	{ .name = "command|count", .arity = 2, .flags = PLAIN, .acl = CONNECTION,
	  .run = count_run },
	{ .name = "command|docs", .arity = -2, .flags = PLAIN, .acl = CONNECTION, .run = docs_run },
	{ .name = "command|getkeys", .arity = -4, .flags = PLAIN, .acl = CONNECTION,
	  .run = getkeys_run },
	{ .name = "command|getkeysandflags", .arity = -4, .flags = PLAIN, .acl = CONNECTION,
	  .run = getkeys_run },
	{ .name = "command|help", .arity = 2, .flags = PLAIN, .acl = CONNECTION, .run = help_run },
	{ .name = "command|info", .arity = -2, .flags = PLAIN, .acl = CONNECTION, .run = info_run },
	{ .name = "command|list", .arity = -2, .flags = PLAIN, .acl = CONNECTION, .run = list_run },
};

static const struct resp_command commands[] = {
	{ .name = "command", .arity = -1, .flags = PLAIN, .acl = CONNECTION, .run = command_run,
	  .subcommands = command_rows, .subcommand_count = array_count(command_rows) },
};
// clang-format on

const struct resp_table resp_docs_table = { commands, array_count(commands) };
