/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on the connection itself that need no rights: PING, ECHO, QUIT, RESET, SELECT. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

/* In RESP2, among messages, it looks like one. */
static void ping_listener(struct resp_call *call)
{
	resp_reply_array(call, 2);
	resp_reply_text(call, "pong");
	resp_reply_bulk(call, call->argc == 2 ? call->argv[1] : bytes_of(NULL, 0));
}

static void ping_run(struct resp_call *call)
{
	if (call->argc > 2)
		resp_reply_error(call, "ERR wrong number of arguments for 'ping' command");
	else if (resp_is_listening(call->connection) && call->connection->protocol == 2)
		ping_listener(call);
	else if (call->argc == 2)
		resp_reply_bulk(call, call->argv[1]);
	else
		resp_reply_simple(call, "PONG");
}

static void echo_run(struct resp_call *call)
{
	resp_reply_bulk(call, call->argv[1]);
}

static void quit_run(struct resp_call *call)
{
	resp_reply_ok(call);
	resp_connection_shut(call->connection);
}

static void reset_run(struct resp_call *call)
{
	resp_connection_reset(call->connection);
	call->out->protocol = call->connection->protocol;
	resp_reply_simple(call, "RESET");
}

static void select_run(struct resp_call *call)
{
	int64_t db;

	if (!resp_argument_i64(call, 1, &db))
		return;
	if (db < 0 || db >= RESP_DATABASES) {
		resp_reply_error(call, "ERR DB index is out of range");
		return;
	}
	call->connection->db = (uint8_t)db;
	resp_reply_ok(call);
}

enum {
	ANYTIME = RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_FAST | RESP_NO_AUTH |
	          RESP_SUBSCRIBED,
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "ping", .arity = -1, .flags = RESP_FAST | RESP_SUBSCRIBED,
	  .acl = RESP_ACL_FAST | RESP_ACL_CONNECTION, .run = ping_run },
	{ .name = "echo", .arity = 2, .flags = RESP_FAST | RESP_LOADING | RESP_STALE,
	  .acl = RESP_ACL_FAST | RESP_ACL_CONNECTION, .run = echo_run },
	{ .name = "quit", .arity = -1, .flags = ANYTIME | RESP_UNQUEUED,
	  .acl = RESP_ACL_FAST | RESP_ACL_CONNECTION, .run = quit_run },
	{ .name = "reset", .arity = 1, .flags = ANYTIME | RESP_UNQUEUED,
	  .acl = RESP_ACL_FAST | RESP_ACL_CONNECTION, .run = reset_run },
	{ .name = "select", .arity = 2, .flags = RESP_FAST | RESP_LOADING | RESP_STALE,
	  .acl = RESP_ACL_FAST | RESP_ACL_CONNECTION, .run = select_run },
};
// clang-format on

const struct resp_table resp_basic_table = { commands, array_count(commands) };
