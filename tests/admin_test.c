/* SPDX-License-Identifier: Apache-2.0 */
/* Administration through connections: what clients send and get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "resp_client.h"
#include "server/resp_admin.h"

static struct resp_bench *bench;
static struct resp_client *a, *b;
static unsigned shutdowns;

static void facts(void *owner, struct resp_facts *out)
{
	(void)owner;
	*out = (struct resp_facts){ .records_acknowledged = 7,
		                    .records_durable = 6,
		                    .commits = 3,
		                    .last_commit_ms = 1600000000123 };
}

static void shut_down(void *owner)
{
	(void)owner;
	shutdowns++;
}

static const struct resp_admin_hooks hooks = { .facts = facts, .shutdown = shut_down };

static void open_with(const char *password, const char *users)
{
	static const uint8_t secret[RESP_SECRET_SIZE] = { 1, 2, 3 };
	struct resp_admin_options options = {
		.password = bytes_of(password, strlen(password)),
		.users = bytes_of(users, strlen(users)),
		.secret = secret,
		.version = "0.1.0",
		.process_id = 42,
		.port = 6379,
		.hooks = &hooks,
	};
	char error[256];

	bench = resp_bench_open(NULL);
	assert_int_equal(resp_admin_open(&bench->server, &options, error), STATUS_OK);
	a = resp_client_open(bench, 0);
	b = resp_client_open(bench, 1);
	snprintf(a->stream.peer, sizeof(a->stream.peer), "10.0.0.1:1000");
	snprintf(b->stream.peer, sizeof(b->stream.peer), "10.0.0.2:2000");
}

static int setup(void **state)
{
	(void)state;
	open_with("", "");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RESP_CLIENTS; i++)
		resp_client_close(&bench->clients[i]);
	resp_bench_run(bench);
	resp_admin_close(&bench->server);
	resp_bench_close(bench);
	return 0;
}

#define EXPECT(client, reply, ...) assert_string_equal(resp_ask(client, __VA_ARGS__), reply)

static void expect_part(const char *reply, const char *part)
{
	if (strstr(reply, part) == NULL)
		fail_msg("%s\nis not in\n%s", part, reply);
}

static void test_auth(void **state)
{
	(void)state;
	EXPECT(a, "+PONG\r\n", "PING");
	EXPECT(a,
	       "-ERR AUTH <password> called without any password configured for the default user. "
	       "Are you sure your configuration is correct?\r\n",
	       "AUTH x");
	EXPECT(a, "+OK\r\n", "CONFIG SET requirepass secret");
	EXPECT(a, "+PONG\r\n", "PING"); /* who was in stays in */
	EXPECT(b, "-NOAUTH Authentication required.\r\n", "PING");
	EXPECT(b, "-NOAUTH Authentication required.\r\n", "GET k");
	EXPECT(b, "-NOAUTH Authentication required.\r\n", "ACL WHOAMI");
	EXPECT(b, "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
	       "AUTH wrong");
	EXPECT(b, "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
	       "AUTH default wrong");
	EXPECT(b, "-ERR syntax error\r\n", "AUTH a b c");
	expect_part(resp_ask(b, "HELLO 3"), "-NOAUTH HELLO must be called");
	EXPECT(b, "+OK\r\n", "AUTH secret");
	EXPECT(b, "$-1\r\n", "GET k");
	EXPECT(b, "+RESET\r\n", "RESET");
	EXPECT(b, "-NOAUTH Authentication required.\r\n", "GET k");
	EXPECT(b, "+OK\r\n", "AUTH default secret");
	EXPECT(b, "+OK\r\n", "CONFIG SET requirepass \"\"");
	EXPECT(b, "+RESET\r\n", "RESET");
	EXPECT(b, "$-1\r\n", "GET k");
}

static void test_pipelined_auth_holds_for_what_follows(void **state)
{
	(void)state;
	EXPECT(a, "+OK\r\n", "ACL SETUSER low on >l ~low:* +get +acl");
	EXPECT(a, "+OK\r\n", "SET high 1");
	assert_string_equal(resp_ask_raw(a, "GET high\r\nSET high 2\r\nAUTH low l\r\nGET high\r\n"
	                                    "ACL WHOAMI\r\nSET low:1 x\r\n"),
	                    "$1\r\n1\r\n+OK\r\n+OK\r\n-NOPERM this user has no permissions to "
	                    "access one of the "
	                    "keys used as arguments\r\n$3\r\nlow\r\n-NOPERM this user has no "
	                    "permissions to run "
	                    "the 'set' command\r\n");
}

static void test_users_from_the_start(void **state)
{
	teardown(state);
	open_with("boss",
	          "# who may what\nuser app on >pw ~app:* +@all -@admin\n\nuser idle off\n");
	EXPECT(a, "-NOAUTH Authentication required.\r\n", "PING");
	EXPECT(a, "+OK\r\n", "AUTH app pw");
	EXPECT(a, "+OK\r\n", "SET app:1 v");
	EXPECT(a,
	       "-NOPERM this user has no permissions to access one of the keys used as "
	       "arguments\r\n",
	       "SET other v");
	EXPECT(a, "-NOPERM this user has no permissions to run the 'acl|list' command\r\n",
	       "ACL LIST");
	EXPECT(b, "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
	       "AUTH idle x");
	EXPECT(b, "+OK\r\n", "AUTH boss");
	EXPECT(b, "*3\r\n$3\r\napp\r\n$7\r\ndefault\r\n$4\r\nidle\r\n", "ACL USERS");
	expect_part(resp_ask(b, "ACL LOG"), "$5\r\ncount\r\n:1\r\n");
	expect_part(resp_ask(b, "ACL LOG 1"), "$4\r\nauth\r\n");
}

static void test_bad_users_are_refused_at_the_start(void **state)
{
	static const uint8_t secret[RESP_SECRET_SIZE];
	struct resp_admin_options options = { .users = BYTES("user a on\nuser b on nonsense"),
		                              .secret = secret };
	struct resp_bench *other = resp_bench_open(NULL);
	char error[256];

	(void)state;
	assert_int_equal(resp_admin_open(&other->server, &options, error), STATUS_INVALID);
	assert_string_equal(error, "line 2: Syntax error");
	options.users = BYTES("person a");
	assert_int_equal(resp_admin_open(&other->server, &options, error), STATUS_INVALID);
	assert_null(other->server.admin);
	resp_bench_close(other);
}

static void test_acl_commands(void **state)
{
	(void)state;
	EXPECT(a, "$7\r\ndefault\r\n", "ACL WHOAMI");
	EXPECT(a, "*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n", "ACL LIST");
	EXPECT(a, "+OK\r\n", "ACL SETUSER bob on >x ~a* +get &ch*");
	expect_part(resp_ask(a, "ACL LIST"), "user bob on #2d711642b726b04401627ca9fbac32f5c8530fb"
	                                     "1903cc4db02258717921a4881 ~a* resetchannels &ch* "
	                                     "-@all +get\r\n");
	EXPECT(a,
	       "-ERR Error in ACL SETUSER modifier '+foo': Unknown command or category name in "
	       "ACL\r\n",
	       "ACL SETUSER bob off +foo");
	EXPECT(a, "-ERR Usernames can't contain spaces or null characters\r\n",
	       "ACL SETUSER 'a b' on");
	expect_part(resp_ask(a, "ACL GETUSER bob"), "*12\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n");
	EXPECT(a, "$-1\r\n", "ACL GETUSER nobody");
	EXPECT(a, "+OK\r\n", "ACL DRYRUN bob GET abc");
	EXPECT(a, "$53\r\nThis user has no permissions to run the 'set' command\r\n",
	       "ACL DRYRUN bob SET abc 1");
	EXPECT(a, "$50\r\nThis user has no permissions to access the 'z' key\r\n",
	       "ACL DRYRUN bob GET z");
	EXPECT(a, "-ERR User 'nobody' not found\r\n", "ACL DRYRUN nobody GET z");
	EXPECT(a, "-ERR Command 'nope' not found\r\n", "ACL DRYRUN bob nope");
	EXPECT(a, "-ERR wrong number of arguments for 'get' command\r\n", "ACL DRYRUN bob GET");
	expect_part(resp_ask(a, "ACL CAT"), "*21\r\n$8\r\nkeyspace\r\n");
	expect_part(resp_ask(a, "ACL CAT bitmap"), "$6\r\nsetbit\r\n");
	EXPECT(a, "-ERR Unknown category 'foo'\r\n", "ACL CAT foo");
	assert_int_equal(strlen(resp_ask(a, "ACL GENPASS")), 5 + 64 + 2);
	assert_int_equal(strlen(resp_ask(a, "ACL GENPASS 5")), 4 + 2 + 2);
	expect_part(resp_ask(a, "ACL GENPASS 5000"), "-ERR ACL GENPASS argument must be");
	expect_part(resp_ask(a, "ACL LOAD"), "-ERR This Redis instance is not configured");
	EXPECT(a, "-ERR The 'default' user cannot be removed\r\n", "ACL DELUSER bob default");
	EXPECT(a, ":1\r\n", "ACL DELUSER bob nobody");
	expect_part(resp_ask(a, "ACL HELP"), "+GENPASS [<bits>]\r\n");
	EXPECT(a, "-ERR unknown subcommand 'foo'. Try ACL HELP.\r\n", "ACL foo");
}

static void test_genpass_does_not_repeat(void **state)
{
	char first[128];

	(void)state;
	snprintf(first, sizeof(first), "%s", resp_ask(a, "ACL GENPASS"));
	assert_string_not_equal(resp_ask(a, "ACL GENPASS"), first);
}

static void test_deleted_users_are_put_out(void **state)
{
	(void)state;
	EXPECT(a, "+OK\r\n", "ACL SETUSER bob on nopass +@all ~*");
	EXPECT(b, "+OK\r\n", "AUTH bob x");
	EXPECT(a, ":1\r\n", "ACL DELUSER bob");
	resp_bench_run(bench);
	assert_false(b->open);
	EXPECT(a, "+OK\r\n", "ACL SETUSER eve on nopass +@all ~*");
	EXPECT(a, "+OK\r\n", "AUTH eve x");
	EXPECT(a, ":1\r\n", "ACL DELUSER eve");
	assert_false(a->open);
}

static void test_hello(void **state)
{
	(void)state;
	expect_part(resp_ask(a, "HELLO"), "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n"
	                                  "$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n");
	expect_part(resp_ask(a, "HELLO 3 SETNAME me"), "%7\r\n");
	EXPECT(a, "$2\r\nme\r\n", "CLIENT GETNAME");
	EXPECT(a, "_\r\n", "GET k");
	EXPECT(a, "-NOPROTO unsupported protocol version\r\n", "HELLO 4");
	EXPECT(a, "-ERR Protocol version is not an integer or out of range\r\n", "HELLO x");
	EXPECT(a, "-ERR Syntax error in HELLO option 'BAD'\r\n", "HELLO 2 BAD");
	EXPECT(a, "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
	       "HELLO 2 AUTH nobody x");
	EXPECT(a, "_\r\n", "GET k");
	expect_part(resp_ask(a, "HELLO 2"), "*14\r\n");
	EXPECT(a, "$-1\r\n", "GET k");
}

static void test_client(void **state)
{
	(void)state;
	EXPECT(a, ":1\r\n", "CLIENT ID");
	EXPECT(b, ":2\r\n", "CLIENT ID");
	EXPECT(a, "$-1\r\n", "CLIENT GETNAME");
	EXPECT(a, "+OK\r\n", "CLIENT SETNAME one");
	EXPECT(a, "$3\r\none\r\n", "CLIENT GETNAME");
	EXPECT(a, "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
	       "CLIENT SETNAME 'a b'");
	EXPECT(a, "+OK\r\n", "CLIENT SETINFO LIB-NAME x");
	expect_part(resp_ask(a, "CLIENT SETINFO x y"), "-ERR Unrecognized option 'x'");
	expect_part(resp_ask(a, "CLIENT LIST"), "id=1 addr=10.0.0.1:1000 ");
	expect_part(resp_ask(a, "CLIENT LIST"), "\nid=2 addr=10.0.0.2:2000 ");
	assert_null(strstr(resp_ask(a, "CLIENT LIST ID 2"), "id=1 "));
	EXPECT(a, "$0\r\n\r\n", "CLIENT LIST TYPE pubsub");
	EXPECT(a, "-ERR Unknown client type 'x'\r\n", "CLIENT LIST TYPE x");
	EXPECT(a, "-ERR Invalid client ID\r\n", "CLIENT LIST ID x");
	expect_part(resp_ask(a, "CLIENT INFO"), "name=one age=");
	EXPECT(a, ":-1\r\n", "CLIENT GETREDIR");
	EXPECT(a, "-ERR client-side caching is not supported\r\n", "CLIENT TRACKING on");
	EXPECT(a, ":0\r\n", "CLIENT UNBLOCK 2");
	EXPECT(a, "+OK\r\n", "CLIENT NO-EVICT on");
	EXPECT(a, "+OK\r\n", "CLIENT NO-TOUCH on");
	expect_part(resp_ask(a, "CLIENT HELP"), "+CLIENT <subcommand>");
}

static void test_client_kill(void **state)
{
	(void)state;
	EXPECT(a, "-ERR No such client\r\n", "CLIENT KILL 1.2.3.4:5");
	EXPECT(a, ":0\r\n", "CLIENT KILL ID 77");
	EXPECT(a, "-ERR client-id should be greater than 0\r\n", "CLIENT KILL ID 0");
	EXPECT(a, "-ERR syntax error\r\n", "CLIENT KILL ID 1 SKIPME maybe");
	EXPECT(a, "-ERR No such user 'x'\r\n", "CLIENT KILL USER x");
	EXPECT(a, ":1\r\n", "CLIENT KILL TYPE normal");
	assert_false(b->open);
	assert_true(a->open);
	b = resp_client_open(bench, 1);
	EXPECT(a, ":1\r\n", "CLIENT KILL ID 3");
	assert_false(b->open);
	EXPECT(a, "+OK\r\n", "CLIENT KILL 10.0.0.1:1000");
	assert_false(a->open);
}

static void test_client_reply(void **state)
{
	(void)state;
	assert_string_equal(resp_ask_raw(a, "CLIENT REPLY SKIP\r\nPING\r\nECHO x\r\n"),
	                    "$1\r\nx\r\n");
	EXPECT(a, "", "CLIENT REPLY OFF");
	EXPECT(a, "", "PING");
	EXPECT(a, "+OK\r\n", "CLIENT REPLY ON");
	EXPECT(a, "+PONG\r\n", "PING");
	EXPECT(a, "-ERR syntax error\r\n", "CLIENT REPLY x");
}

static void test_client_pause(void **state)
{
	(void)state;
	EXPECT(a, "-ERR timeout is negative\r\n", "CLIENT PAUSE -1");
	EXPECT(a, "-ERR timeout is not an integer or out of range\r\n", "CLIENT PAUSE x");
	EXPECT(a, "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n", "CLIENT PAUSE 1 x");
	EXPECT(a, "+OK\r\n", "CLIENT PAUSE 100000 WRITE");
	EXPECT(b, "$-1\r\n", "GET k");
	EXPECT(b, "", "SET k 1");
	EXPECT(a, "+OK\r\n", "CLIENT UNPAUSE");
	assert_int_equal(b->output_size, 5); /* +OK of the SET */
	EXPECT(a, "+OK\r\n", "CLIENT PAUSE 50 ALL");
	EXPECT(b, "", "GET k");
	bench->now_ns += 60 * 1000000;
	resp_bench_run(bench);
	assert_int_equal(b->output_size, 7);
	EXPECT(a, "+PONG\r\n", "PING");
}

static void test_config(void **state)
{
	(void)state;
	EXPECT(a, "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n", "CONFIG GET maxmemory");
	EXPECT(a, "*0\r\n", "CONFIG GET nosuch");
	EXPECT(a, "+OK\r\n", "CONFIG SET maxmemory 100mb");
	EXPECT(a, "*2\r\n$9\r\nmaxmemory\r\n$9\r\n104857600\r\n", "CONFIG GET MAXMEMORY");
	assert_int_equal(bench->server.settings.memory_max, 100 << 20);
	EXPECT(a, "+OK\r\n", "CONFIG SET maxmemory 0");
	expect_part(resp_ask(a, "CONFIG GET *max-*list* hash*"),
	            "$24\r\nhash-max-ziplist-entries\r\n$3\r\n512\r\n");
	EXPECT(a, "+OK\r\n", "CONFIG SET hash-max-ziplist-entries 7 list-max-ziplist-size -3");
	EXPECT(a, "*2\r\n$25\r\nhash-max-listpack-entries\r\n$1\r\n7\r\n",
	       "CONFIG GET hash-max-listpack-entries");
	EXPECT(a, "*2\r\n$21\r\nlist-max-ziplist-size\r\n$2\r\n-3\r\n",
	       "CONFIG GET list-max-ziplist-size");
	EXPECT(a, "+OK\r\n", "CONFIG SET proto-max-bulk-len 10000000000");
	EXPECT(a, "*2\r\n$18\r\nproto-max-bulk-len\r\n$11\r\n10000000000\r\n",
	       "CONFIG GET proto-max-bulk-len");
	assert_int_equal(bench->server.settings.bulk_max, 512 << 20);
	EXPECT(a, "+OK\r\n", "CONFIG SET notify-keyspace-events KEA save '900 1 300 10'");
	EXPECT(a, "*2\r\n$22\r\nnotify-keyspace-events\r\n$3\r\nAKE\r\n",
	       "CONFIG GET notify-keyspace-events");
	EXPECT(a, "*2\r\n$4\r\nsave\r\n$12\r\n900 1 300 10\r\n", "CONFIG GET save");
	EXPECT(a, "-ERR The server is running without a config file\r\n", "CONFIG REWRITE");
	EXPECT(a, "+OK\r\n", "CONFIG RESETSTAT");
	expect_part(resp_ask(a, "CONFIG HELP"), "+CONFIG <subcommand>");
}

static void test_config_errors_change_nothing(void **state)
{
#define FAILED "-ERR CONFIG SET failed (possibly related to argument "
	static const char *const rows[][2] = {
		{ "foo bar", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'" },
		{ "timeout", "-ERR wrong number of arguments for 'config|set' command" },
		{ "timeout 1 foo", "-ERR wrong number of arguments for 'config|set' command" },
		{ "daemonize yes", FAILED "'daemonize') - can't set immutable config" },
		{ "maxmemory abc", FAILED "'maxmemory') - argument must be a memory value" },
		{ "appendonly maybe", FAILED "'appendonly') - argument must be 'yes' or 'no'" },
		{ "timeout -1",
		  FAILED "'timeout') - argument must be between 0 and 2147483647 inclusive" },
		{ "timeout 1x", FAILED "'timeout') - argument couldn't be parsed into an integer" },
		{ "timeout 1 timeout 2", FAILED "'timeout') - duplicate parameter" },
		{ "save x", FAILED "'save') - Invalid save parameters" },
		{ "notify-keyspace-events Q",
		  FAILED "'notify-keyspace-events') - Invalid event class character. Use "
		         "'Ag$lshzxeKEtmdn'." },
		{ "loglevel loud", FAILED "'loglevel') - argument(s) must be one of the following: "
		                          "debug, verbose, notice, warning" },
	};

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		char expected[256];

		snprintf(expected, sizeof(expected), "%s\r\n", rows[i][1]);
		EXPECT(a, expected, "CONFIG SET %s%s", i < 3 ? "" : "hz 33 ", rows[i][0]);
	}
	EXPECT(a, "*2\r\n$2\r\nhz\r\n$2\r\n10\r\n", "CONFIG GET hz");
	EXPECT(a, "*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n", "CONFIG GET timeout");
}

static void test_info(void **state)
{
	const char *info;

	(void)state;
	EXPECT(a, "+OK\r\n", "SET k v");
	EXPECT(a, "+OK\r\n", "SELECT 3");
	EXPECT(a, "+OK\r\n", "MSET x 1 y 2");
	expect_part(resp_ask(a, "INCR nope x"), "-ERR wrong number");
	expect_part(resp_ask(a, "NOSUCH"), "-ERR unknown command");
	info = resp_ask(a, "INFO");
	expect_part(info, "# Server\r\nredis_version:7.0.15\r\nweir_version:0.1.0\r\n");
	expect_part(info, "redis_git_sha1:00000000\r\n");
	expect_part(info, "\r\nprocess_id:42\r\n");
	expect_part(info, "\r\nconnected_clients:2\r\n");
	expect_part(info, "\r\nweir_records_acknowledged:7\r\nweir_records_durable:6\r\n");
	expect_part(info, "\r\nweir_records_per_commit:2.00\r\n");
	expect_part(info, "\r\nrole:master\r\n");
	expect_part(info, "\r\nerrorstat_ERR:count=2\r\n");
	expect_part(info, "# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"
	                  "db3:keys=2,expires=0,avg_ttl=0\r\n");
	assert_null(strstr(info, "Commandstats"));
	info = resp_ask(a, "INFO commandstats");
	expect_part(info, "# Commandstats\r\n");
	expect_part(info, "cmdstat_set:calls=1,usec=");
	expect_part(info, "cmdstat_incr:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,");
	assert_null(strstr(info, "# Server"));
	info = resp_ask(a, "INFO keyspace SERVER");
	expect_part(info, "# Server\r\n");
	expect_part(info, "db0:keys=1");
	expect_part(resp_ask(a, "INFO everything"), "latency_percentiles_usec_set:p50=");
	EXPECT(a, "+OK\r\n", "CONFIG SET latency-tracking-info-percentiles '10.0 100'");
	expect_part(resp_ask(a, "INFO latencystats"), "latency_percentiles_usec_config|set:p10=");
	EXPECT(a, "*2\r\n$33\r\nlatency-tracking-info-percentiles\r\n$6\r\n10 100\r\n",
	       "CONFIG GET latency-tracking-info-percentiles");
	expect_part(resp_ask(a, "CONFIG SET latency-tracking-info-percentiles '10 101'"),
	            "-ERR CONFIG SET failed");
	expect_part(resp_ask(a, "CLIENT INFO"), "cmd=client|info ");
	EXPECT(a, "$0\r\n\r\n", "INFO nosuch");
	EXPECT(a, "+OK\r\n", "CONFIG RESETSTAT");
	assert_null(strstr(resp_ask(a, "INFO all"), "cmdstat_mset"));
}

static void test_slowlog(void **state)
{
	(void)state;
	EXPECT(a, ":0\r\n", "SLOWLOG LEN");
	EXPECT(a, "+OK\r\n", "CONFIG SET slowlog-log-slower-than 0");
	EXPECT(a, "+OK\r\n", "CLIENT SETNAME me");
	EXPECT(a, "+OK\r\n", "SET k 0123456789");
	expect_part(resp_ask(a, "SLOWLOG GET 1"), "*1\r\n*6\r\n:2\r\n:1700000000\r\n:");
	expect_part(resp_ask(a, "SLOWLOG GET"),
	            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n$13\r\n10.0.0.1:1000\r\n"
	            "$2\r\nme\r\n");
	EXPECT(a, "+OK\r\n", "CONFIG SET slowlog-log-slower-than -1");
	EXPECT(a, "+OK\r\n", "SLOWLOG RESET");
	EXPECT(a, ":0\r\n", "SLOWLOG LEN");
	EXPECT(a, "*0\r\n", "SLOWLOG GET -1");
	EXPECT(a, "-ERR count should be greater than or equal to -1\r\n", "SLOWLOG GET -2");
	EXPECT(a, "+OK\r\n", "CONFIG SET slowlog-log-slower-than 0");
	resp_ask(a, "AUTH default secret");
	expect_part(resp_ask(a, "SLOWLOG GET 1"),
	            "$4\r\nAUTH\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)");
	resp_ask(a, "ACL SETUSER bob >secret");
	resp_ask(a, "CONFIG SET requirepass secret hz 11");
	resp_ask(a, "CONFIG SET requirepass \"\"");
	resp_ask(a, "HELLO 2 AUTH default secret SETNAME x");
	expect_part(resp_ask(a, "SLOWLOG GET"), "$2\r\nhz\r\n$2\r\n11\r\n");
	expect_part(resp_ask(a, "SLOWLOG GET"), "$7\r\nSETNAME\r\n$1\r\nx\r\n");
	assert_null(strstr(resp_ask(a, "SLOWLOG GET -1"), "secret"));
	resp_ask(a, "SET long %0500d", 7);
	expect_part(resp_ask(a, "SLOWLOG GET 1"), "... (372 more bytes)\r\n");
	for (unsigned i = 0; i < 200; i++)
		resp_ask(a, "PING");
	EXPECT(a, ":128\r\n", "SLOWLOG LEN");
}

static void test_latency(void **state)
{
	(void)state;
	EXPECT(a, "*0\r\n", "LATENCY LATEST");
	EXPECT(a, "*0\r\n", "LATENCY HISTORY command");
	EXPECT(a, ":0\r\n", "LATENCY RESET");
	expect_part(resp_ask(a, "LATENCY DOCTOR"), "Latency is not watched");
	resp_ask(a, "SET k v");
	expect_part(resp_ask(a, "LATENCY HISTOGRAM set"), "*2\r\n$3\r\nset\r\n*4\r\n$5\r\ncalls\r\n"
	                                                  ":1\r\n$14\r\nhistogram_usec\r\n*2\r\n");
	expect_part(resp_ask(a, "LATENCY GRAPH x"), "-ERR LATENCY GRAPH is not supported");
}

static void test_command(void **state)
{
	(void)state;
	expect_part(resp_ask(a, "COMMAND COUNT"), ":");
	expect_part(
	        resp_ask(a, "COMMAND INFO get nosuch"),
	        "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n");
	expect_part(resp_ask(a, "COMMAND INFO get nosuch"), "$-1\r\n");
	expect_part(resp_ask(a, "COMMAND INFO acl|whoami"), "$10\r\nacl|whoami\r\n:2\r\n");
	expect_part(
	        resp_ask(a, "COMMAND DOCS get"),
	        "*2\r\n$3\r\nget\r\n*8\r\n$7\r\nsummary\r\n$13\r\nGets a string\r\n$5\r\nsince\r\n"
	        "$5\r\n1.0.0\r\n$5\r\ngroup\r\n$6\r\nstring\r\n");
	EXPECT(a, "*0\r\n", "COMMAND DOCS nosuch");
	expect_part(resp_ask(a, "COMMAND LIST FILTERBY PATTERN config|*"), "*5\r\n");
	expect_part(resp_ask(a, "COMMAND LIST FILTERBY ACLCAT bitmap"), "$6\r\nbitpos\r\n");
	EXPECT(a, "*0\r\n", "COMMAND LIST FILTERBY MODULE x");
	EXPECT(a, "-ERR syntax error\r\n", "COMMAND LIST FILTERBY x y");
	EXPECT(a, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "COMMAND GETKEYS MSET a 1 b 2");
	EXPECT(a, "*1\r\n*2\r\n$1\r\nk\r\n*3\r\n+RW\r\n+access\r\n+update\r\n",
	       "COMMAND GETKEYSANDFLAGS SET k v GET");
	EXPECT(a, "-ERR The command has no key arguments\r\n", "COMMAND GETKEYS ECHO x");
	EXPECT(a, "-ERR Invalid command specified\r\n", "COMMAND GETKEYS nosuch a");
	EXPECT(a, "-ERR Invalid number of arguments specified for command\r\n",
	       "COMMAND GETKEYS GET a b");
	/* Everything is told without a fault, in both protocols. */
	assert_true(strlen(resp_ask(a, "COMMAND")) > 10000);
	assert_true(strlen(resp_ask(a, "COMMAND DOCS")) > 10000);
	resp_ask(a, "HELLO 3");
	assert_true(strlen(resp_ask(a, "COMMAND")) > 10000);
	assert_true(strlen(resp_ask(a, "COMMAND DOCS")) > 10000);
}

static void test_small_ones(void **state)
{
	(void)state;
	expect_part(resp_ask(a, "TIME"), "*2\r\n$10\r\n1700000000\r\n$");
	EXPECT(a, ":1600000000\r\n", "LASTSAVE");
	EXPECT(a, "+OK\r\n", "SAVE");
	expect_part(resp_ask(a, "BGSAVE"), "+Background saving");
	expect_part(resp_ask(a, "BGREWRITEAOF"), "+Background append only file rewriting");
	EXPECT(a, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", "ROLE");
	EXPECT(a, "+OK\r\n", "REPLICAOF NO ONE");
	EXPECT(a, "-ERR replication is not supported\r\n", "REPLICAOF host 6379");
	EXPECT(a, "+OK\r\n", "FUNCTION FLUSH");
	EXPECT(a, "+OK\r\n", "SCRIPT FLUSH ASYNC");
	EXPECT(a, "-ERR SCRIPT FLUSH only support SYNC|ASYNC option\r\n", "SCRIPT FLUSH x");
	EXPECT(a, "*2\r\n:0\r\n:0\r\n", "SCRIPT EXISTS x y");
	EXPECT(a, "*0\r\n", "MODULE LIST");
	EXPECT(a, "-ERR This instance has cluster support disabled\r\n", "CLUSTER INFO");
	expect_part(resp_ask(a, "DEBUG SLEEP 1"), "-ERR DEBUG command not allowed");
	expect_part(resp_ask(a, "MONITOR"), "-ERR MONITOR is not supported");
	expect_part(resp_ask(a, "LOLWUT"), "weir 0.1.0");
	EXPECT(a, "$-1\r\n", "MEMORY USAGE k");
	EXPECT(a, "+OK\r\n", "SET k 12345");
	assert_true(atoi(resp_ask(a, "MEMORY USAGE k") + 1) > 5);
	EXPECT(a, "-ERR syntax error\r\n", "MEMORY USAGE k SAMPLES");
	EXPECT(a, "+OK\r\n", "MEMORY PURGE");
	expect_part(resp_ask(a, "MEMORY STATS"), "peak.allocated");
}

static void test_inside_a_transaction(void **state)
{
	(void)state;
	EXPECT(a, "+OK\r\n", "MULTI");
	EXPECT(a, "+QUEUED\r\n", "SET k 1");
	EXPECT(a, "+QUEUED\r\n", "CONFIG SET hz 20");
	EXPECT(a, "+QUEUED\r\n", "CONFIG GET hz");
	EXPECT(a, "+QUEUED\r\n", "ACL WHOAMI");
	EXPECT(a, "+QUEUED\r\n", "GET k");
	EXPECT(a, "*5\r\n+OK\r\n+OK\r\n*2\r\n$2\r\nhz\r\n$2\r\n20\r\n$7\r\ndefault\r\n$1\r\n1\r\n",
	       "EXEC");
	EXPECT(a, "+OK\r\n", "ACL SETUSER low on nopass ~low:* +@all");
	EXPECT(b, "+OK\r\n", "AUTH low x");
	EXPECT(b, "+OK\r\n", "MULTI");
	expect_part(resp_ask(b, "SET high 1"), "-NOPERM");
	expect_part(resp_ask(b, "EXEC"), "-EXECABORT");
}

static void test_shutdown(void **state)
{
	(void)state;
	shutdowns = 0;
	EXPECT(a, "-ERR syntax error\r\n", "SHUTDOWN x");
	EXPECT(a, "-ERR No shutdown in progress.\r\n", "SHUTDOWN ABORT");
	EXPECT(a, "", "SHUTDOWN NOSAVE");
	assert_int_equal(shutdowns, 1);
	assert_false(a->open);
	assert_false(b->open);
}

static void test_without_administration(void **state)
{
	struct resp_bench *bare = resp_bench_open(NULL);
	struct resp_client *c = resp_client_open(bare, 0);

	(void)state;
	EXPECT(c, "-ERR this server has no administration\r\n", "ACL WHOAMI");
	EXPECT(c, "-ERR this server has no administration\r\n", "INFO");
	EXPECT(c, "-ERR this server has no administration\r\n", "COMMAND");
	EXPECT(c, "+OK\r\n", "SET k v");
	resp_bench_close(bare);
}

/* Two workers, each with its own face, joined. */
struct pair {
	struct resp_bench *other;
	struct resp_client *c; /* of the other */
	struct ring rings[2];
	struct req *slots[2][64];
};

static void pair_open(struct pair *pair)
{
	static const uint8_t secret[RESP_SECRET_SIZE] = { 9 };
	struct resp_admin_options options = { .secret = secret, .hooks = &hooks };
	struct resp_server *servers[2];
	char error[256];

	pair->other = resp_bench_open(NULL);
	pair->other->worker.id = 1;
	assert_int_equal(resp_admin_open(&pair->other->server, &options, error), STATUS_OK);
	ring_init(&pair->rings[0], pair->slots[0], 64);
	ring_init(&pair->rings[1], pair->slots[1], 64);
	worker_connect(&bench->worker, &pair->other->worker, &pair->rings[0]);
	worker_connect(&pair->other->worker, &bench->worker, &pair->rings[1]);
	servers[0] = &bench->server;
	servers[1] = &pair->other->server;
	for (unsigned i = 0; i < 2; i++) { /* before anyone is connected */
		resp_client_close(i == 0 ? a : b);
	}
	resp_admin_join(servers, 2);
	a = resp_client_open(bench, 0);
	b = resp_client_open(bench, 1);
	pair->c = resp_client_open(pair->other, 0);
	snprintf(pair->c->stream.peer, sizeof(pair->c->stream.peer), "10.0.0.3:3000");
}

static void pair_run(struct pair *pair)
{
	for (unsigned i = 0; i < 20; i++) {
		resp_bench_run(bench);
		resp_bench_run(pair->other);
	}
}

static const char *pair_ask(struct pair *pair, struct resp_client *client, const char *line)
{
	const char *reply = resp_ask(client, "%s", line);

	if (*reply != '\0')
		return reply;
	pair_run(pair);
	client->output[client->output_size] = '\0';
	client->output_size = 0;
	return (const char *)client->output;
}

static void pair_close(struct pair *pair)
{
	resp_client_close(pair->c);
	pair_run(pair);
	resp_admin_close(&pair->other->server);
	resp_bench_close(pair->other);
}

static void test_two_workers(void **state)
{
	static struct pair pair;
	struct resp_client *c;
	const char *reply;

	(void)state;
	pair_open(&pair);
	c = pair.c;
	assert_string_equal(pair_ask(&pair, c, "CLIENT ID"), ":1099511627777\r\n");
	assert_string_equal(pair_ask(&pair, a, "ACL SETUSER bob on >x +@all ~*"), "+OK\r\n");
	assert_string_equal(pair_ask(&pair, c, "AUTH bob x"), "+OK\r\n");
	assert_string_equal(pair_ask(&pair, c, "ACL WHOAMI"), "$3\r\nbob\r\n");
	reply = pair_ask(&pair, c, "ACL SETUSER bob nonsense");
	expect_part(reply, "-ERR Error in ACL SETUSER modifier 'nonsense'");
	assert_string_equal(pair_ask(&pair, c, "CONFIG SET hz 50"), "+OK\r\n");
	assert_string_equal(pair_ask(&pair, a, "CONFIG GET hz"), "*2\r\n$2\r\nhz\r\n$2\r\n50\r\n");
	reply = pair_ask(&pair, c, "CLIENT LIST");
	expect_part(reply, "id=2 addr=");
	expect_part(reply, "id=1099511627777 addr=10.0.0.3:3000 ");
	reply = pair_ask(&pair, a, "INFO");
	expect_part(reply, "\r\nconnected_clients:3\r\n");
	expect_part(reply, "\r\nweir_commits:6\r\n");
	expect_part(reply, "\r\nweir_workers:2\r\n");
	assert_string_equal(pair_ask(&pair, a, "CONFIG SET slowlog-log-slower-than 0"), "+OK\r\n");
	assert_string_equal(pair_ask(&pair, c, "PING"), "+PONG\r\n");
	expect_part(pair_ask(&pair, a, "SLOWLOG GET"), "*1\r\n$4\r\nPING\r\n$13\r\n10.0.0.3:3000");
	assert_string_equal(pair_ask(&pair, c, "CLIENT PAUSE 1000000 WRITE"), "+OK\r\n");
	assert_string_equal(pair_ask(&pair, a, "SET k v"), "");
	assert_string_equal(pair_ask(&pair, c, "CLIENT UNPAUSE"), "+OK\r\n");
	assert_int_equal(a->output_size, 5);
	assert_string_equal(pair_ask(&pair, a, "ACL DELUSER bob"), ":1\r\n");
	assert_false(c->open);
	pair.c = resp_client_open(pair.other, 1);
	assert_string_equal(pair_ask(&pair, a, "CLIENT KILL TYPE normal"), ":2\r\n");
	assert_false(pair.c->open);
	assert_false(b->open);
	pair_close(&pair);
}

/* More connections and log than a page holds: the tour comes home for more. */
static void test_text_of_many_pages(void **state)
{
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 128; i++) {
		snprintf(name, sizeof(name), "user%u", i);
		expect_part(resp_ask(a, "AUTH %s x", name), "-WRONGPASS");
	}
	expect_part(resp_ask(a, "ACL LOG 1000"), "*128\r\n*14\r\n");
	expect_part(resp_ask(a, "ACL LOG 1000"), "user0\r\n");
	EXPECT(a, "+OK\r\n", "ACL LOG RESET");
	EXPECT(a, "*0\r\n", "ACL LOG");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_auth),
		TEST(test_pipelined_auth_holds_for_what_follows),
		TEST(test_users_from_the_start),
		TEST(test_bad_users_are_refused_at_the_start),
		TEST(test_acl_commands),
		TEST(test_genpass_does_not_repeat),
		TEST(test_deleted_users_are_put_out),
		TEST(test_hello),
		TEST(test_client),
		TEST(test_client_kill),
		TEST(test_client_reply),
		TEST(test_client_pause),
		TEST(test_config),
		TEST(test_config_errors_change_nothing),
		TEST(test_info),
		TEST(test_slowlog),
		TEST(test_latency),
		TEST(test_command),
		TEST(test_small_ones),
		TEST(test_inside_a_transaction),
		TEST(test_shutdown),
		TEST(test_without_administration),
		TEST(test_two_workers),
		TEST(test_text_of_many_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
