/* SPDX-License-Identifier: Apache-2.0 */
/* HELLO and CLIENT: connections, told about and changed. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_admin_internal.h"
#include "server/resp_internal.h"

static uint64_t output_size(const struct resp_connection *connection)
{
	uint64_t size = connection->out.size_before;

	size += resp_out_size(&connection->push);
	return size > connection->out_sent ? size - connection->out_sent : 0;
}

size_t admin_describe_client(const struct resp_connection *connection, char *out)
{
	const struct resp_server *server = connection->server;
	uint64_t now_ns = server->worker->now_ns;
	struct admin_text text = { out, ADMIN_CLIENT_MAX, 0, false };
	uint32_t flags = connection->flags, input = 0, room = 0;
	const struct stream *stream = connection->stream;
	char letters[8], *letter = letters;

	if (flags & RESP_CONNECTION_MULTI)
		*letter++ = 'x';
	if (flags & RESP_CONNECTION_CLOSING)
		*letter++ = 'c';
	if (stream != NULL && strncmp(stream->peer, "unix:", 5) == 0)
		*letter++ = 'U';
	if (flags & RESP_CONNECTION_NO_EVICT)
		*letter++ = 'e';
	if (resp_is_listening(connection))
		*letter++ = 'P';
	if (letter == letters)
		*letter++ = 'N';
	*letter = '\0';
	if (connection->input != NULL) {
		input = connection->input->used - connection->input_start;
		room = connection->input->size - connection->input->used;
	}
	admin_put(&text, "id=%llu addr=%s laddr= fd=-1 name=%s age=%llu idle=%llu flags=%s db=%u ",
	          (unsigned long long)connection->id, stream != NULL ? stream->peer : "",
	          connection->name,
	          (unsigned long long)((now_ns - connection->created_ns) / 1000000000),
	          (unsigned long long)((now_ns - connection->active_ns) / 1000000000), letters,
	          connection->db);
	admin_put(
	        &text,
	        "sub=%u psub=%u ssub=%u multi=%d qbuf=%u qbuf-free=%u argv-mem=0 multi-mem=0 rbs=0 "
	        "rbp=0 obl=%llu oll=0 omem=0 tot-mem=%llu events=r cmd=%s user=%.*s redir=-1 "
	        "resp=%u",
	        connection->subscription_counts[RESP_CHANNEL],
	        connection->subscription_counts[RESP_PATTERN],
	        connection->subscription_counts[RESP_SHARD_CHANNEL],
	        flags & RESP_CONNECTION_MULTI ? 0 : -1, input, room,
	        (unsigned long long)output_size(connection),
	        (unsigned long long)(sizeof(*connection) + input + room + output_size(connection)),
	        connection->last_command != NULL ? connection->last_command->name : "NULL",
	        connection->user->name_size, connection->user->name, connection->protocol);
	return text.used;
}

bool admin_set_name(struct resp_call *call, struct bytes name)
{
	struct resp_connection *connection = call->connection;

	for (size_t i = 0; i < name.size; i++) {
		if (name.data[i] < '!' || name.data[i] > '~') {
			resp_reply_error(call,
			                 "ERR Client names cannot contain spaces, newlines or "
			                 "special characters.");
			return false;
		}
	}
	if (name.size > RESP_NAME_MAX) {
		resp_reply_errorf(call, "ERR Client names have at most %d bytes", RESP_NAME_MAX);
		return false;
	}
	if (name.size > 0)
		memcpy(connection->name, name.data, name.size);
	connection->name[name.size] = '\0';
	connection->name_size = (uint8_t)name.size;
	return true;
}

static void reply_hello(struct resp_call *call)
{
	const struct resp_connection *connection = call->connection;

	resp_reply_map(call, 7);
	resp_reply_text(call, "server");
	resp_reply_text(call, "redis");
	resp_reply_text(call, "version");
	resp_reply_text(call, "7.0.15");
	resp_reply_text(call, "proto");
	resp_reply_i64(call, connection->protocol);
	resp_reply_text(call, "id");
	resp_reply_i64(call, (int64_t)connection->id);
	resp_reply_text(call, "mode");
	resp_reply_text(call, "standalone");
	resp_reply_text(call, "role");
	resp_reply_text(call, "master");
	resp_reply_text(call, "modules");
	resp_reply_array(call, 0);
}

/* The options after the version. False: replied. */
static bool hello_options(struct resp_call *call)
{
	for (uint32_t i = 2; i < call->argc; i++) {
		uint32_t left = call->argc - 1 - i;
		int size;

		if (resp_word_is(call->argv[i], "auth") && left >= 2) {
			if (!admin_authenticate(call, call->argv[i + 1], call->argv[i + 2]))
				return false;
			i += 2;
			continue;
		}
		if (resp_word_is(call->argv[i], "setname") && left >= 1) {
			if (!admin_set_name(call, call->argv[i + 1]))
				return false;
			i++;
			continue;
		}
		size = call->argv[i].size < 128 ? (int)call->argv[i].size : 128;
		resp_reply_errorf(call, "ERR Syntax error in HELLO option '%.*s'", size,
		                  (const char *)call->argv[i].data);
		return false;
	}
	return true;
}

static void hello_run(struct resp_call *call)
{
	struct resp_connection *connection = call->connection;
	int64_t version = connection->protocol;

	if (call->argc >= 2 && !number_parse_int64(call->argv[1], &version)) {
		resp_reply_error(call, "ERR Protocol version is not an integer or out of range");
		return;
	}
	if (version < 2 || version > 3) {
		resp_reply_error(call, "NOPROTO unsupported protocol version");
		return;
	}
	if (!hello_options(call))
		return;
	if (!admin_is_authenticated(connection)) {
		resp_reply_error(
		        call, "NOAUTH HELLO must be called with the client already authenticated, "
		              "otherwise the HELLO AUTH <user> <pass> option can be used to "
		              "authenticate the client and select the RESP protocol version at the "
		              "same time");
		return;
	}
	connection->protocol = (uint8_t)version;
	call->out->protocol = (uint8_t)version;
	reply_hello(call);
}

static void id_run(struct resp_call *call)
{
	resp_reply_i64(call, (int64_t)call->connection->id);
}

static void getname_run(struct resp_call *call)
{
	const struct resp_connection *connection = call->connection;

	if (connection->name_size == 0)
		resp_reply_null(call);
	else
		resp_reply_bulk(call, bytes_of(connection->name, connection->name_size));
}

static void setname_run(struct resp_call *call)
{
	if (admin_set_name(call, call->argv[2]))
		resp_reply_ok(call);
}

static void setinfo_run(struct resp_call *call)
{
	int size = call->argv[2].size < 128 ? (int)call->argv[2].size : 128;

	if (resp_word_is(call->argv[2], "lib-name") || resp_word_is(call->argv[2], "lib-ver"))
		resp_reply_ok(call);
	else
		resp_reply_errorf(call, "ERR Unrecognized option '%.*s'", size,
		                  (const char *)call->argv[2].data);
}

static void info_run(struct resp_call *call)
{
	char line[ADMIN_CLIENT_MAX + 1];
	size_t size = admin_describe_client(call->connection, line);

	line[size++] = '\n';
	resp_reply_verbatim(call, "txt", bytes_of(line, size));
}

static void reply_run(struct resp_call *call)
{
	uint32_t *flags = &call->connection->flags;

	if (resp_word_is(call->argv[2], "on")) {
		*flags &= ~(uint32_t)(RESP_CONNECTION_REPLY_OFF | RESP_CONNECTION_REPLY_SKIP |
		                      RESP_CONNECTION_REPLY_SKIP_NEXT);
		resp_reply_ok(call);
	} else if (resp_word_is(call->argv[2], "off")) {
		*flags |= RESP_CONNECTION_REPLY_OFF;
	} else if (resp_word_is(call->argv[2], "skip")) {
		if (!(*flags & RESP_CONNECTION_REPLY_OFF))
			*flags |= RESP_CONNECTION_REPLY_SKIP_NEXT;
	} else {
		resp_reply_syntax_error(call);
	}
}

static void no_evict_run(struct resp_call *call)
{
	bool on = resp_word_is(call->argv[2], "on");

	if (!on && !resp_word_is(call->argv[2], "off")) {
		resp_reply_syntax_error(call);
		return;
	}
	if (resp_word_is(call->argv[1], "no-evict")) {
		call->connection->flags &= ~(uint32_t)RESP_CONNECTION_NO_EVICT;
		call->connection->flags |= on ? RESP_CONNECTION_NO_EVICT : 0;
	}
	resp_reply_ok(call);
}

static void tracking_run(struct resp_call *call)
{
	if (resp_word_is(call->argv[1], "tracking") && resp_word_is(call->argv[2], "off"))
		resp_reply_ok(call);
	else
		resp_reply_error(call, "ERR client-side caching is not supported");
}

static void getredir_run(struct resp_call *call)
{
	resp_reply_i64(call, -1);
}

static void trackinginfo_run(struct resp_call *call)
{
	resp_reply_map(call, 3);
	resp_reply_text(call, "flags");
	resp_reply_set(call, 1);
	resp_reply_text(call, "off");
	resp_reply_text(call, "redirect");
	resp_reply_i64(call, -1);
	resp_reply_text(call, "prefixes");
	resp_reply_array(call, 0);
}

/* LIST and KILL: which connections. Words are indexes; 0: any. */
struct client_filter {
	struct admin_tour tour;
	uint64_t id;
	uint16_t address, local_address, user, ids;
	bool none, skip_me, by_type, listens;
};

static bool parse_type(struct resp_call *call, uint32_t word, struct client_filter *filter)
{
	static const char *const others[] = { "master", "replica", "slave" };
	int size;

	filter->listens = resp_word_is(call->argv[word], "pubsub");
	filter->by_type = true;
	if (filter->listens || resp_word_is(call->argv[word], "normal"))
		return true;
	for (uint32_t i = 0; i < array_count(others); i++) {
		if (resp_word_is(call->argv[word], others[i])) {
			filter->none = true;
			return true;
		}
	}
	size = call->argv[word].size < 128 ? (int)call->argv[word].size : 128;
	resp_reply_errorf(call, "ERR Unknown client type '%.*s'", size,
	                  (const char *)call->argv[word].data);
	return false;
}

static bool is_listed_id(const struct resp_call *call, uint32_t first, uint64_t id)
{
	for (uint32_t i = first; i < call->argc; i++) {
		uint64_t other;

		if (number_parse_uint64(call->argv[i], &other) && other == id)
			return true;
	}
	return false;
}

static bool is_meant(const struct resp_call *call, const struct client_filter *filter,
                     const struct resp_connection *connection)
{
	const struct resp_user *user = connection->user;

	if (filter->none || connection->stream == NULL)
		return false;
	if (filter->by_type && filter->listens != resp_is_listening(connection))
		return false;
	if (filter->id != 0 && filter->id != connection->id)
		return false;
	if (filter->ids != 0 && !is_listed_id(call, filter->ids, connection->id))
		return false;
	if (filter->address != 0 &&
	    !bytes_equal(call->argv[filter->address], admin_text_of(connection->stream->peer)))
		return false;
	if (filter->local_address != 0)
		return false; /* which is not known */
	if (filter->user != 0 &&
	    !bytes_equal(call->argv[filter->user], bytes_of(user->name, user->name_size)))
		return false;
	return !filter->skip_me || connection != call->connection;
}

static void list_step(struct resp_call *call, struct resp_admin *admin)
{
	struct client_filter *filter = RESP_STATE(call, struct client_filter);
	const struct resp_connection *connection;
	char line[ADMIN_CLIENT_MAX + 1];
	size_t size;

	TAILQ_FOREACH (connection, &admin->server->connections, link) {
		if (connection->id <= filter->tour.cursor || !is_meant(call, filter, connection))
			continue;
		size = admin_describe_client(connection, line);
		line[size++] = '\n';
		if (!admin_tour_text(&filter->tour, line, size)) {
			filter->tour.again = true;
			return;
		}
		filter->tour.cursor = connection->id;
	}
	filter->tour.cursor = 0;
}

static bool list_arguments(struct resp_call *call, struct client_filter *filter)
{
	uint64_t id;

	if (call->argc == 2)
		return true;
	if (call->argc == 4 && resp_word_is(call->argv[2], "type"))
		return parse_type(call, 3, filter);
	if (call->argc < 4 || !resp_word_is(call->argv[2], "id")) {
		resp_reply_syntax_error(call);
		return false;
	}
	for (uint32_t i = 3; i < call->argc; i++) {
		if (!number_parse_uint64(call->argv[i], &id)) {
			resp_reply_error(call, "ERR Invalid client ID");
			return false;
		}
	}
	filter->ids = 3;
	return true;
}

static void list_start(struct resp_call *call)
{
	struct client_filter *filter = RESP_STATE(call, struct client_filter);

	*filter = (struct client_filter){ 0 };
	if (list_arguments(call, filter) && admin_tour_pages(call, 0))
		admin_tour_start(call, list_step, admin_tour_reply_text);
	else
		resp_call_done(call);
}

static bool kill_option(struct resp_call *call, uint32_t word, struct client_filter *filter)
{
	struct bytes name = call->argv[word], value = call->argv[word + 1];

	if (resp_word_is(name, "id")) {
		if (number_parse_uint64(value, &filter->id) && filter->id > 0)
			return true;
		resp_reply_error(call, "ERR client-id should be greater than 0");
		return false;
	}
	if (resp_word_is(name, "type"))
		return parse_type(call, word + 1, filter);
	if (resp_word_is(name, "addr")) {
		filter->address = (uint16_t)(word + 1);
	} else if (resp_word_is(name, "laddr")) {
		filter->local_address = (uint16_t)(word + 1);
	} else if (resp_word_is(name, "user")) {
		filter->user = (uint16_t)(word + 1);
		if (acl_user_find(&admin_of(call)->acl, value) == NULL) {
			resp_reply_errorf(call, "ERR No such user '%.*s'",
			                  value.size < 128 ? (int)value.size : 128,
			                  (const char *)value.data);
			return false;
		}
	} else if (resp_word_is(name, "skipme") &&
	           (resp_word_is(value, "yes") || resp_word_is(value, "no"))) {
		filter->skip_me = value.size == 3;
	} else {
		resp_reply_syntax_error(call);
		return false;
	}
	return true;
}

static bool kill_arguments(struct resp_call *call, struct client_filter *filter)
{
	if (call->argc == 3) {
		filter->address = 2;
		return true;
	}
	filter->skip_me = true;
	if (call->argc % 2 != 0 || call->argc > 64) {
		resp_reply_syntax_error(call);
		return false;
	}
	for (uint32_t i = 2; i < call->argc; i += 2) {
		if (!kill_option(call, i, filter))
			return false;
	}
	return true;
}

static void kill_step(struct resp_call *call, struct resp_admin *admin)
{
	struct client_filter *filter = RESP_STATE(call, struct client_filter);
	struct resp_connection *connection, *next;

	for (connection = TAILQ_FIRST(&admin->server->connections); connection; connection = next) {
		next = TAILQ_NEXT(connection, link);
		if (!is_meant(call, filter, connection))
			continue;
		filter->tour.count++;
		if (connection == call->connection)
			resp_connection_shut(connection);
		else
			resp_connection_kill(connection);
	}
}

static void kill_home(struct resp_call *call)
{
	uint64_t count = admin_tour(call)->count;

	if (call->argc > 3)
		resp_reply_i64(call, (int64_t)count);
	else if (count == 0)
		resp_reply_error(call, "ERR No such client");
	else
		resp_reply_ok(call);
}

static void kill_start(struct resp_call *call)
{
	struct client_filter *filter = RESP_STATE(call, struct client_filter);

	*filter = (struct client_filter){ 0 };
	if (kill_arguments(call, filter))
		admin_tour_start(call, kill_step, kill_home);
	else
		resp_call_done(call);
}

static void unblock_run(struct resp_call *call)
{
	int64_t id;

	if (call->argc > 4) {
		resp_reply_syntax_error(call);
	} else if (call->argc == 4 && !resp_word_is(call->argv[3], "timeout") &&
	           !resp_word_is(call->argv[3], "error")) {
		resp_reply_error(call, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
	} else if (resp_argument_i64(call, 2, &id)) {
		resp_reply_i64(call, 0); /* no command blocks */
	}
}

/* PAUSE. */

static void pause_end(struct resp_admin *admin)
{
	struct resp_server *server = admin->server;
	struct resp_connection *connection;

	server->pause = RESP_PAUSE_NONE;
	admin->pause_end_ns = 0;
	timer_cancel(&server->worker->timers, &admin->pause_timer);
	TAILQ_FOREACH (connection, &server->connections, link) {
		resp_connection_ready(connection);
	}
}

static void pause_over(struct timer *timer)
{
	pause_end(container_of(timer, struct resp_admin, pause_timer));
}

struct pause {
	struct admin_tour tour;
	uint64_t timeout_ms;
	bool writes_only;
};

static void pause_step(struct resp_call *call, struct resp_admin *admin)
{
	const struct pause *pause = RESP_STATE(call, struct pause);
	struct resp_server *server = admin->server;
	uint64_t end_ns = server->worker->now_ns + pause->timeout_ms * 1000000;

	/* As Redis: a pause that is there is never made shorter, nor ALL made WRITE. */
	if (server->pause != RESP_PAUSE_ALL)
		server->pause = pause->writes_only ? RESP_PAUSE_WRITES : RESP_PAUSE_ALL;
	if (end_ns <= admin->pause_end_ns)
		return;
	admin->pause_end_ns = end_ns;
	timer_arm(&server->worker->timers, &admin->pause_timer, end_ns, pause_over);
}

static void ok_home(struct resp_call *call)
{
	resp_reply_ok(call);
}

static void pause_start(struct resp_call *call)
{
	struct pause *pause = RESP_STATE(call, struct pause);
	int64_t timeout_ms;

	*pause = (struct pause){ 0 };
	if (call->argc == 4)
		pause->writes_only = resp_word_is(call->argv[3], "write");
	if (call->argc > 4 ||
	    (call->argc == 4 && !pause->writes_only && !resp_word_is(call->argv[3], "all"))) {
		resp_reply_error(call, "ERR CLIENT PAUSE mode must be WRITE or ALL");
	} else if (!number_parse_int64(call->argv[2], &timeout_ms) ||
	           timeout_ms > INT64_MAX / 1000000 / 2) {
		resp_reply_error(call, "ERR timeout is not an integer or out of range");
	} else if (timeout_ms < 0) {
		resp_reply_error(call, "ERR timeout is negative");
	} else {
		pause->timeout_ms = (uint64_t)timeout_ms;
		admin_tour_start(call, pause_step, ok_home);
		return;
	}
	resp_call_done(call);
}

static void unpause_step(struct resp_call *call, struct resp_admin *admin)
{
	(void)call;
	pause_end(admin);
}

static void unpause_start(struct resp_call *call)
{
	admin_tour_start(call, unpause_step, ok_home);
}

static void help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"GETNAME",
		"    Tells the name of the connection.",
		"GETREDIR",
		"    Answers -1: client-side caching is not supported.",
		"ID",
		"    Tells the number of the connection.",
		"INFO",
		"    Tells about the connection.",
		"KILL <ip:port>",
		"    Closes the connection from there.",
		"KILL <option> <value> [<option> <value> [...]]",
		"    Closes connections by ID, ADDR, LADDR, TYPE, USER; SKIPME (yes|no).",
		"LIST [TYPE <type> | ID <id> [<id> ...]]",
		"    Tells about connections.",
		"NO-EVICT (ON|OFF)",
		"    Is accepted: connections are not evicted here.",
		"PAUSE <timeout> [WRITE|ALL]",
		"    Holds back commands for so many milliseconds.",
		"REPLY (ON|OFF|SKIP)",
		"    Switches replies to this connection.",
		"SETINFO (LIB-NAME|LIB-VER) <value>",
		"    Is accepted and forgotten.",
		"SETNAME <name>",
		"    Names the connection.",
		"UNBLOCK <clientid> [TIMEOUT|ERROR]",
		"    Ends the wait of another connection.",
		"UNPAUSE",
		"    Ends a pause.",
	};

	admin_reply_help(call, "CLIENT", lines, array_count(lines));
}

enum {
	PLAIN = RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	ADMIN = PLAIN | RESP_ADMIN,
	CONNECTION = RESP_ACL_CONNECTION,
};

// clang-format off
static const struct resp_command client_rows[] = {
	{ .name = "client|caching", .arity = 3, .flags = PLAIN, .acl = CONNECTION,
	  .run = tracking_run },
	{ .name = "client|getname", .arity = 2, .flags = PLAIN, .acl = CONNECTION,
	  .run = getname_run },
	{ .name = "client|getredir", .arity = 2, .flags = PLAIN, .acl = CONNECTION,
	  .run = getredir_run },
	{ .name = "client|help", .arity = 2, .flags = RESP_LOADING | RESP_STALE, .acl = CONNECTION,
	  .run = help_run },
	{ .name = "client|id", .arity = 2, .flags = PLAIN, .acl = CONNECTION, .run = id_run },
	{ .name = "client|info", .arity = 2, .flags = PLAIN, .acl = CONNECTION, .run = info_run },
	{ .name = "client|kill", .arity = -3, .flags = ADMIN, .acl = CONNECTION,
	  .start = kill_start },
	{ .name = "client|list", .arity = -2, .flags = ADMIN, .acl = CONNECTION,
	  .start = list_start },
	{ .name = "client|no-evict", .arity = 3, .flags = ADMIN, .acl = CONNECTION,
	  .run = no_evict_run },
	{ .name = "client|no-touch", .arity = 3, .flags = PLAIN, .acl = CONNECTION,
	  .run = no_evict_run },
	{ .name = "client|pause", .arity = -3, .flags = ADMIN, .acl = CONNECTION,
	  .start = pause_start },
	{ .name = "client|reply", .arity = 3, .flags = PLAIN, .acl = CONNECTION,
	  .run = reply_run },
	{ .name = "client|setinfo", .arity = 4, .flags = PLAIN, .acl = CONNECTION,
	  .run = setinfo_run },
	{ .name = "client|setname", .arity = 3, .flags = PLAIN, .acl = CONNECTION,
	  .run = setname_run },
	{ .name = "client|tracking", .arity = -3, .flags = PLAIN, .acl = CONNECTION,
	  .run = tracking_run },
	{ .name = "client|trackinginfo", .arity = 2, .flags = PLAIN, .acl = CONNECTION,
	  .run = trackinginfo_run },
	{ .name = "client|unblock", .arity = -3, .flags = ADMIN, .acl = CONNECTION,
	  .run = unblock_run },
	{ .name = "client|unpause", .arity = 2, .flags = ADMIN, .acl = CONNECTION,
	  .start = unpause_start },
};

static const struct resp_command commands[] = {
	{ .name = "client", .arity = -2, .acl = RESP_ACL_SLOW, .subcommands = client_rows,
	  .subcommand_count = array_count(client_rows) },
	{ .name = "hello", .arity = -1,
	  .flags = PLAIN | RESP_FAST | RESP_NO_AUTH,
	  .acl = CONNECTION, .run = hello_run },
};
// clang-format on

const struct resp_table resp_client_table = { commands, array_count(commands) };
