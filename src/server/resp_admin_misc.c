/* SPDX-License-Identifier: Apache-2.0 */
/* Small commands about the server, and honest answers of those that mean nothing here. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_admin_internal.h"

static void time_run(struct resp_call *call)
{
	uint64_t wall_ms = call->server->worker->wall_ms;

	resp_reply_array(call, 2);
	resp_reply_decimal(call, (int64_t)wall_ms / 1000);
	resp_reply_decimal(call, (int64_t)wall_ms % 1000 * 1000);
}

static void lastsave_run(struct resp_call *call)
{
	const struct resp_admin *admin = admin_of(call);
	struct resp_facts facts = admin_facts(admin);
	uint64_t last_ms = facts.last_commit_ms > 0 ? facts.last_commit_ms : admin->started_ms;

	resp_reply_i64(call, (int64_t)last_ms / 1000);
}

/* What was answered is on disk, or will be in a moment where that was chosen: nothing is to do. */
static void save_run(struct resp_call *call)
{
	resp_reply_ok(call);
}

static void bgsave_run(struct resp_call *call)
{
	if (call->argc > 2 || (call->argc == 2 && !resp_word_is(call->argv[1], "schedule")))
		resp_reply_syntax_error(call);
	else
		resp_reply_simple(call, "Background saving is not needed: what was acknowledged is "
		                        "durable");
}

static void bgrewriteaof_run(struct resp_call *call)
{
	resp_reply_simple(call, "Background append only file rewriting is not needed: the store "
	                        "cleans itself");
}

static void role_run(struct resp_call *call)
{
	resp_reply_array(call, 3);
	resp_reply_text(call, "master");
	resp_reply_i64(call, 0);
	resp_reply_array(call, 0);
}

static void replicaof_run(struct resp_call *call)
{
	if (resp_word_is(call->argv[1], "no") && resp_word_is(call->argv[2], "one"))
		resp_reply_ok(call);
	else
		resp_reply_error(call, "ERR replication is not supported");
}

static void lolwut_run(struct resp_call *call)
{
	char text[512];
	int size = snprintf(text, sizeof(text),
	                    "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~\n"
	                    "  ~~~~~ ~~~~~~~ ~~~~~ ~~~~~~~ \n"
	                    "==============================\n"
	                    "  |  |  |  |  |  |  |  |  |  |\n"
	                    "~~~~~ ~~~~~ ~~~~~~~ ~~~~~ ~~~~\n"
	                    "\nweir %s, speaking as Redis ver. 7.0.15\n",
	                    admin_of(call)->version);

	resp_reply_verbatim(call, "txt", bytes_of(text, (size_t)size));
}

static void monitor_run(struct resp_call *call)
{
	resp_reply_error(call, "ERR MONITOR is not supported; see SLOWLOG and INFO commandstats");
}

static void debug_run(struct resp_call *call)
{
	resp_reply_error(call, "ERR DEBUG command not allowed: it is not supported");
}

static void cluster_run(struct resp_call *call)
{
	resp_reply_error(call, "ERR This instance has cluster support disabled");
}

/* SHUTDOWN. */

static void shutdown_step(struct resp_call *call, struct resp_admin *admin)
{
	(void)call;
	resp_server_drain(admin->server);
}

static void shutdown_home(struct resp_call *call)
{
	const struct resp_admin *admin = admin_of(call);

	admin->hooks->shutdown(admin->hooks_owner); /* the reply is that the connection ends */
}

static void shutdown_start(struct resp_call *call)
{
	static const char *const words[] = { "nosave", "save", "now", "force" };
	const struct resp_admin *admin = admin_of(call);

	for (uint32_t i = 1; i < call->argc; i++) {
		bool known = false;

		for (uint32_t w = 0; w < array_count(words); w++)
			known |= resp_word_is(call->argv[i], words[w]);
		if (known)
			continue;
		if (resp_word_is(call->argv[i], "abort"))
			resp_reply_error(call, "ERR No shutdown in progress.");
		else
			resp_reply_syntax_error(call);
		resp_call_done(call);
		return;
	}
	if (admin->hooks == NULL || admin->hooks->shutdown == NULL) {
		resp_reply_error(call, "ERR SHUTDOWN is not allowed here");
		resp_call_done(call);
		return;
	}
	admin_tour_start(call, shutdown_step, shutdown_home);
}

/* FUNCTION, SCRIPT, MODULE: there are none. */

static void flush_run(struct resp_call *call)
{
	if (call->argc > 3 || (call->argc == 3 && !resp_word_is(call->argv[2], "sync") &&
	                       !resp_word_is(call->argv[2], "async")))
		resp_reply_error(call,
		                 resp_word_is(call->argv[0], "function")
		                         ? "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"
		                         : "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
	else
		resp_reply_ok(call);
}

static void empty_run(struct resp_call *call)
{
	resp_reply_array(call, 0);
}

static void exists_run(struct resp_call *call)
{
	resp_reply_array(call, call->argc - 2);
	for (uint32_t i = 2; i < call->argc; i++)
		resp_reply_i64(call, 0);
}

/* MEMORY. */

enum { VALUE_OVERHEAD = 64 }; /* bytes: an entry of the index and the head of a record */

static bool usage_prepare(struct resp_call *call)
{
	int64_t samples;

	if (call->argc == 3)
		return true;
	if (call->argc != 5 || !resp_word_is(call->argv[3], "samples")) {
		resp_reply_syntax_error(call);
		return false;
	}
	if (!resp_argument_i64(call, 4, &samples))
		return false;
	if (samples < 0)
		resp_reply_syntax_error(call);
	return samples >= 0;
}

static void usage_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	if (entry->version == 0)
		resp_reply_null(call);
	else
		resp_reply_i64(call, (int64_t)(entry->key.size + entry->size + VALUE_OVERHEAD));
}

static void memory_doctor_run(struct resp_call *call)
{
	resp_reply_verbatim(call, "txt",
	                    BYTES("All memory was taken at the start, and its pools are bounded: "
	                          "see INFO memory.\n"));
}

static void memory_stats_run(struct resp_call *call)
{
	struct resp_facts facts = admin_facts(admin_of(call));

	resp_reply_map(call, 5);
	resp_reply_text(call, "startup.allocated");
	resp_reply_i64(call, (int64_t)admin_pools_memory(admin_of(call)));
	resp_reply_text(call, "peak.allocated");
	resp_reply_i64(call, (int64_t)facts.memory_peak);
	resp_reply_text(call, "total.allocated");
	resp_reply_i64(call, (int64_t)facts.memory_resident);
	resp_reply_text(call, "buffers.used");
	resp_reply_i64(call, (int64_t)call->server->bufs->used_size);
	resp_reply_text(call, "buffers.peak");
	resp_reply_i64(call, (int64_t)call->server->bufs->used_size_max);
}

static void malloc_stats_run(struct resp_call *call)
{
	resp_reply_text(call, "Stats not supported for the current allocator");
}

static void memory_help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"DOCTOR",
		"    Judges the use of memory.",
		"MALLOC-STATS",
		"    Is not supported.",
		"PURGE",
		"    Is accepted: nothing is to be given back.",
		"STATS",
		"    Tells how memory is used.",
		"USAGE <key> [SAMPLES <count>]",
		"    Tells the bytes of a key and its value in the store.",
	};

	admin_reply_help(call, "MEMORY", lines, array_count(lines));
}

enum {
	PLAIN = RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	ADMIN = PLAIN | RESP_ADMIN,
	SCRIPT = RESP_NOSCRIPT | RESP_NEEDS_ADMIN,
	ANYWHERE = RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	SCRIPTING = RESP_ACL_SCRIPTING,
};

// clang-format off
static const struct resp_command function_rows[] = {
	{ .name = "function|flush", .arity = -2, .flags = SCRIPT | RESP_WRITE, .acl = SCRIPTING,
	  .run = flush_run },
	{ .name = "function|list", .arity = -2, .flags = SCRIPT, .acl = SCRIPTING,
	  .run = empty_run },
};

static const struct resp_command script_rows[] = {
	{ .name = "script|exists", .arity = -3, .flags = SCRIPT, .acl = SCRIPTING,
	  .run = exists_run },
	{ .name = "script|flush", .arity = -2, .flags = SCRIPT, .acl = SCRIPTING,
	  .run = flush_run },
};

static const struct resp_command module_rows[] = {
	{ .name = "module|list", .arity = 2, .flags = ADMIN, .run = empty_run },
};

static const struct resp_command memory_rows[] = {
	{ .name = "memory|doctor", .arity = 2, .flags = RESP_NEEDS_ADMIN,
	  .run = memory_doctor_run },
	{ .name = "memory|help", .arity = 2, .flags = ANYWHERE, .run = memory_help_run },
	{ .name = "memory|malloc-stats", .arity = 2, .flags = RESP_NEEDS_ADMIN,
	  .run = malloc_stats_run },
	{ .name = "memory|purge", .arity = 2, .flags = RESP_NEEDS_ADMIN, .run = save_run },
	{ .name = "memory|stats", .arity = 2, .flags = RESP_NEEDS_ADMIN, .run = memory_stats_run },
	{ .name = "memory|usage", .arity = -3, .flags = RESP_READONLY, .acl = RESP_ACL_READ,
	  .key_first = 2, .key_last = 2, .key_step = 1, .prepare = usage_prepare,
	  .visit = usage_visit },
};

static const struct resp_command commands[] = {
	{ .name = "bgrewriteaof", .arity = 1, .flags = ADMIN, .run = bgrewriteaof_run },
	{ .name = "bgsave", .arity = -1, .flags = ADMIN, .run = bgsave_run },
	{ .name = "cluster", .arity = -2, .flags = RESP_NEEDS_ADMIN, .run = cluster_run },
	{ .name = "debug", .arity = -2, .flags = ADMIN, .run = debug_run },
	{ .name = "function", .arity = -2, .subcommands = function_rows,
	  .subcommand_count = array_count(function_rows) },
	{ .name = "lastsave", .arity = 1, .flags = ANYWHERE | RESP_FAST,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .run = lastsave_run },
	{ .name = "lolwut", .arity = -1, .flags = RESP_FAST | RESP_READONLY | RESP_NEEDS_ADMIN,
	  .run = lolwut_run },
	{ .name = "memory", .arity = -2, .subcommands = memory_rows,
	  .subcommand_count = array_count(memory_rows) },
	{ .name = "module", .arity = -2, .subcommands = module_rows,
	  .subcommand_count = array_count(module_rows) },
	{ .name = "monitor", .arity = 1, .flags = ADMIN, .run = monitor_run },
	{ .name = "replicaof", .arity = 3, .flags = ADMIN, .run = replicaof_run },
	{ .name = "role", .arity = 1, .flags = PLAIN | RESP_FAST,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .run = role_run },
	{ .name = "save", .arity = 1, .flags = ADMIN | RESP_NO_MULTI, .run = save_run },
	{ .name = "script", .arity = -2, .subcommands = script_rows,
	  .subcommand_count = array_count(script_rows) },
	{ .name = "shutdown", .arity = -1, .flags = ADMIN | RESP_NO_MULTI,
	  .start = shutdown_start },
	{ .name = "slaveof", .arity = 3, .flags = ADMIN, .run = replicaof_run },
	{ .name = "time", .arity = 1, .flags = ANYWHERE | RESP_FAST, .run = time_run },
};
// clang-format on

const struct resp_table resp_misc_table = { commands, array_count(commands) };
