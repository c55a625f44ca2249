/* SPDX-License-Identifier: Apache-2.0 */
/* AUTH and ACL. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_acl_internal.h"

enum { GENPASS_BITS_MAX = 4096, LOG_COUNT_DEFAULT = 10 };

static struct bytes name_of(const struct resp_user *user)
{
	return bytes_of(user->name, user->name_size);
}

static void auth_run(struct resp_call *call)
{
	struct bytes name = BYTES("default"), password = call->argv[call->argc - 1];

	if (call->argc > 3) {
		resp_reply_syntax_error(call);
		return;
	}
	if (call->argc == 2 && admin_of(call)->acl.default_user->nopass) {
		resp_reply_error(call, "ERR AUTH <password> called without any password configured "
		                       "for the default user. Are you sure your configuration is "
		                       "correct?");
		return;
	}
	if (call->argc == 3)
		name = call->argv[1];
	if (admin_authenticate(call, name, password))
		resp_reply_ok(call);
}

static void whoami_run(struct resp_call *call)
{
	resp_reply_bulk(call, name_of(call->connection->user));
}

static void users_run(struct resp_call *call)
{
	const struct resp_acl *acl = &admin_of(call)->acl;

	resp_reply_array(call, acl->user_count);
	for (uint32_t i = 0; i < acl->user_count; i++)
		resp_reply_bulk(call, name_of(acl->sorted[i]));
}

static void list_run(struct resp_call *call)
{
	const struct resp_acl *acl = &admin_of(call)->acl;
	char line[ACL_NAME_MAX + 8 + ACL_DESCRIPTION_MAX];

	resp_reply_array(call, acl->user_count);
	for (uint32_t i = 0; i < acl->user_count; i++) {
		const struct resp_user *user = acl->sorted[i];
		size_t size = (size_t)snprintf(line, sizeof(line), "user %.*s ", user->name_size,
		                               user->name);

		size += acl_describe(user, line + size);
		resp_reply_bulk(call, bytes_of(line, size));
	}
}

static void reply_flags(struct resp_call *call, const struct resp_user *user)
{
	resp_reply_set(call, 1u + user->nopass + (user->sanitize != 0));
	resp_reply_text(call, user->enabled ? "on" : "off");
	if (user->nopass)
		resp_reply_text(call, "nopass");
	if (user->sanitize != 0)
		resp_reply_text(call,
		                user->sanitize > 0 ? "sanitize-payload" : "skip-sanitize-payload");
}

static void reply_selector(struct resp_call *call, const struct acl_selector *selector)
{
	char text[2 * ACL_TEXT_MAX];

	resp_reply_text(call, "commands");
	resp_reply_bulk(call, bytes_of(selector->rules, selector->rules_used));
	resp_reply_text(call, "keys");
	resp_reply_bulk(call, bytes_of(text, acl_describe_patterns(selector, false, text)));
	resp_reply_text(call, "channels");
	resp_reply_bulk(call, bytes_of(text, acl_describe_patterns(selector, true, text)));
}

static void getuser_run(struct resp_call *call)
{
	const struct resp_user *user = acl_user_find(&admin_of(call)->acl, call->argv[2]);
	char text[2 * SHA256_SIZE];
	uint32_t count = 0;

	if (user == NULL) {
		resp_reply_null(call);
		return;
	}
	resp_reply_map(call, 6);
	resp_reply_text(call, "flags");
	reply_flags(call, user);
	resp_reply_text(call, "passwords");
	resp_reply_array(call, user->password_count);
	for (uint32_t i = 0; i < user->password_count; i++) {
		hex_format(bytes_of(user->passwords[i], SHA256_SIZE), text);
		resp_reply_bulk(call, bytes_of(text, 2 * SHA256_SIZE));
	}
	reply_selector(call, &user->root);
	resp_reply_text(call, "selectors");
	for (const struct acl_selector *s = user->others; s != NULL; s = s->next)
		count++;
	resp_reply_array(call, count);
	for (const struct acl_selector *s = user->others; s != NULL; s = s->next) {
		resp_reply_map(call, 3);
		reply_selector(call, s);
	}
}

static void cat_run(struct resp_call *call)
{
	const struct resp_acl *acl = &admin_of(call)->acl;
	uint32_t category, count = 0;

	if (call->argc == 2) {
		resp_reply_array(call, ACL_CATEGORY_COUNT);
		for (uint32_t i = 0; i < ACL_CATEGORY_COUNT; i++)
			resp_reply_text(call, acl_category_names[i]);
		return;
	}
	if (call->argc > 3) {
		resp_reply_error(call, "ERR unknown subcommand or wrong number of arguments for "
		                       "'cat'. Try ACL HELP.");
		return;
	}
	category = acl_category_find(call->argv[2]);
	if (category == 0) {
		int size = call->argv[2].size < 128 ? (int)call->argv[2].size : 128;

		resp_reply_errorf(call, "ERR Unknown category '%.*s'", size,
		                  (const char *)call->argv[2].data);
		return;
	}
	for (uint32_t id = 0; id < acl->command_count; id++)
		count += (acl_categories(acl->commands[id]) & category) != 0;
	resp_reply_array(call, count);
	for (uint32_t id = 0; id < acl->command_count; id++) {
		if (acl_categories(acl->commands[id]) & category)
			resp_reply_text(call, acl->commands[id]->name);
	}
}

static void genpass_run(struct resp_call *call)
{
	uint8_t bytes[GENPASS_BITS_MAX / 8];
	char text[2 * sizeof(bytes)];
	int64_t bits = 256;

	if (call->argc == 3 && !resp_argument_i64(call, 2, &bits))
		return;
	if (call->argc > 3 || bits <= 0 || bits > GENPASS_BITS_MAX) {
		resp_reply_errorf(call,
		                  "ERR ACL GENPASS argument must be the number of bits for the "
		                  "output password, a positive number up to %d",
		                  GENPASS_BITS_MAX);
		return;
	}
	admin_random(admin_of(call), bytes, (size_t)(bits + 7) / 8);
	hex_format(bytes_of(bytes, (size_t)(bits + 7) / 8), text);
	resp_reply_bulk(call, bytes_of(text, (size_t)(bits + 3) / 4));
}

/* The row of the words from argv[3] on; replies and returns NULL if there is none that fits. */
static const struct resp_command *dryrun_command(struct resp_call *call, uint32_t *ret_id)
{
	const struct resp_acl *acl = &admin_of(call)->acl;
	const struct resp_command *command = acl_command_find(acl, call->argv[3], ret_id);
	int argc = (int)call->argc - 3;

	if (command != NULL && command->subcommand_count > 0 && argc > 1) {
		char name[ACL_COMMAND_NAME_MAX];
		int size = snprintf(name, sizeof(name), "%s|%.*s", command->name,
		                    (int)(call->argv[4].size < 32 ? call->argv[4].size : 32),
		                    (const char *)call->argv[4].data);

		command = acl_command_find(acl, bytes_of(name, (size_t)size), ret_id);
	}
	if (command == NULL) {
		int size = call->argv[3].size < 128 ? (int)call->argv[3].size : 128;

		resp_reply_errorf(call, "ERR Command '%.*s' not found", size,
		                  (const char *)call->argv[3].data);
		return NULL;
	}
	if (command->arity >= 0 ? argc != command->arity : argc < -command->arity) {
		resp_reply_errorf(call, "ERR wrong number of arguments for '%s' command",
		                  command->name);
		return NULL;
	}
	return command;
}

static void reply_dryrun(struct resp_call *call, const char *kind, struct bytes object)
{
	char text[256];
	int size = snprintf(text, sizeof(text),
	                    kind ? "This user has no permissions to access the '%.*s' %s"
	                         : "This user has no permissions to run the '%.*s' command",
	                    object.size < 128 ? (int)object.size : 128, (const char *)object.data,
	                    kind);

	resp_reply_bulk(call, bytes_of(text, (size_t)size));
}

static void dryrun_run(struct resp_call *call)
{
	const struct resp_acl *acl = &admin_of(call)->acl;
	const struct resp_user *user = acl_user_find(acl, call->argv[2]);
	struct resp_words words = { call->argv + 3, call->argc - 3 };
	const struct resp_command *command;
	uint32_t id, word;

	if (user == NULL) {
		int size = call->argv[2].size < 128 ? (int)call->argv[2].size : 128;

		resp_reply_errorf(call, "ERR User '%.*s' not found", size,
		                  (const char *)call->argv[2].data);
		return;
	}
	command = dryrun_command(call, &id);
	if (command == NULL)
		return;
	switch (acl_check(acl, user, id, words, &word)) {
	case ACL_GRANTED:
		resp_reply_ok(call);
		return;
	case ACL_COMMAND:
		reply_dryrun(call, NULL, admin_text_of(command->name));
		return;
	case ACL_KEY:
		reply_dryrun(call, "key", words.argv[word]);
		return;
	case ACL_CHANNEL_NAME:
		reply_dryrun(call, "channel", words.argv[word]);
		return;
	case ACL_AUTH:
		break;
	}
	unreachable();
}

static void log_reset_step(struct resp_call *call, struct resp_admin *admin)
{
	(void)call;
	acl_log_reset(&admin->acl);
}

static void log_reset_home(struct resp_call *call)
{
	resp_reply_ok(call);
}

/* LOG: each worker's newest entries; home merges them. */
struct log_get {
	struct admin_tour tour;
	uint32_t count;
};

static void log_step(struct resp_call *call, struct resp_admin *admin)
{
	struct log_get *get = RESP_STATE(call, struct log_get);

	while (get->tour.cursor < admin->acl.log_count && get->tour.cursor < get->count) {
		if (!admin_tour_text(&get->tour, &admin->acl.log[get->tour.cursor],
		                     sizeof(struct acl_log_entry))) {
			get->tour.again = true;
			return;
		}
		get->tour.cursor++;
		get->tour.count++;
	}
	get->tour.cursor = 0;
}

static void reply_log_entry(struct resp_call *call, const struct acl_log_entry *entry)
{
	static const char *const reasons[] = { "", "command", "key", "channel", "auth" };
	uint64_t age_ms = call->server->worker->wall_ms - entry->last_ms;

	resp_reply_map(call, 7);
	resp_reply_text(call, "count");
	resp_reply_i64(call, (int64_t)entry->count);
	resp_reply_text(call, "reason");
	resp_reply_text(call, reasons[entry->reason]);
	resp_reply_text(call, "context");
	resp_reply_text(call, entry->in_multi ? "multi" : "toplevel");
	resp_reply_text(call, "object");
	resp_reply_bulk(call, bytes_of(entry->object, entry->object_size));
	resp_reply_text(call, "username");
	resp_reply_bulk(call, bytes_of(entry->name, entry->name_size));
	resp_reply_text(call, "age-seconds");
	resp_reply_double(call, (double)age_ms / 1000);
	resp_reply_text(call, "client-info");
	resp_reply_bulk(call, bytes_of(entry->client, entry->client_size));
}

static struct acl_log_entry *newest(struct admin_tour *tour)
{
	struct acl_log_entry *entry, *best = NULL;
	struct admin_page *page = NULL;
	uint32_t at;

	while ((entry = admin_tour_record(tour, sizeof(*entry), &page, &at)) != NULL) {
		if (entry->count > 0 && (best == NULL || entry->last_ms > best->last_ms))
			best = entry;
	}
	return best;
}

static void log_home(struct resp_call *call)
{
	struct log_get *get = RESP_STATE(call, struct log_get);
	uint64_t count = get->tour.count < get->count ? get->tour.count : get->count;

	resp_reply_array(call, count);
	for (; count > 0; count--) {
		struct acl_log_entry *entry = newest(&get->tour);

		assert(entry != NULL);
		reply_log_entry(call, entry);
		entry->count = 0;
	}
	admin_tour_pages_free(&get->tour);
}

static void log_start(struct resp_call *call)
{
	struct log_get *get = RESP_STATE(call, struct log_get);
	int64_t count = LOG_COUNT_DEFAULT;

	if (call->argc == 3 && resp_word_is(call->argv[2], "reset")) {
		admin_tour_start(call, log_reset_step, log_reset_home);
		return;
	}
	if (call->argc > 3)
		resp_reply_syntax_error(call);
	else if (call->argc < 3 || resp_argument_i64(call, 2, &count)) {
		get->count = (uint32_t)(count < 0 ? 0 : count > ACL_LOG_MAX ? ACL_LOG_MAX : count);
		if (admin_tour_pages(call, 0)) {
			admin_tour_start(call, log_step, log_home);
			return;
		}
	}
	resp_call_done(call);
}

static void help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"CAT [<category>]",
		"    Lists the commands of a category, or all categories.",
		"DELUSER <username> [<username> ...]",
		"    Deletes users and closes their connections.",
		"DRYRUN <username> <command> [<arg> ...]",
		"    Tells whether a user might run a command, without running it.",
		"GETUSER <username>",
		"    Tells the rights of a user.",
		"GENPASS [<bits>]",
		"    Makes a random password of 256 or as many bits.",
		"LIST",
		"    Lists all users with their rules.",
		"LOAD",
		"    Reads all users from the file of resp.acl_file.",
		"LOG [<count> | RESET]",
		"    Lists what was denied lately.",
		"SAVE",
		"    Writes all users to the file of resp.acl_file.",
		"SETUSER <username> <attribute> [<attribute> ...]",
		"    Makes or changes a user.",
		"USERS",
		"    Lists the names of all users.",
		"WHOAMI",
		"    Tells the user of the connection.",
	};

	admin_reply_help(call, "ACL", lines, array_count(lines));
}

enum {
	PLAIN = RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	ADMIN = PLAIN | RESP_ADMIN,
};

// clang-format off
static const struct resp_command acl_rows[] = {
	{ .name = "acl|cat", .arity = -2, .flags = PLAIN, .run = cat_run },
	{ .name = "acl|deluser", .arity = -3, .flags = ADMIN, .start = acl_deluser_start },
	{ .name = "acl|dryrun", .arity = -4, .flags = ADMIN, .run = dryrun_run },
	{ .name = "acl|genpass", .arity = -2, .flags = PLAIN, .run = genpass_run },
	{ .name = "acl|getuser", .arity = 3, .flags = ADMIN, .run = getuser_run },
	{ .name = "acl|help", .arity = 2, .flags = RESP_LOADING | RESP_STALE, .run = help_run },
	{ .name = "acl|list", .arity = 2, .flags = ADMIN, .run = list_run },
	{ .name = "acl|load", .arity = 2, .flags = ADMIN, .start = acl_load_start },
	{ .name = "acl|log", .arity = -2, .flags = ADMIN, .start = log_start },
	{ .name = "acl|save", .arity = 2, .flags = ADMIN, .start = acl_save_start },
	{ .name = "acl|setuser", .arity = -3, .flags = ADMIN,
	  .start = acl_setuser_start },
	{ .name = "acl|users", .arity = 2, .flags = ADMIN, .run = users_run },
	{ .name = "acl|whoami", .arity = 2, .flags = PLAIN, .run = whoami_run },
};

static const struct resp_command commands[] = {
	{ .name = "acl", .arity = -2, .acl = RESP_ACL_SLOW, .subcommands = acl_rows,
	  .subcommand_count = array_count(acl_rows) },
	{ .name = "auth", .arity = -2, .acl = RESP_ACL_CONNECTION,
	  .flags = PLAIN | RESP_FAST | RESP_NO_AUTH, .run = auth_run },
};
// clang-format on

const struct resp_table resp_acl_table = { commands, array_count(commands) };
