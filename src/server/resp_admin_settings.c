/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONFIG: the settings that clients and test suites of Redis know. A few change how the face works;
 * the others are checked, remembered and told again, and have no effect: docs/acl.md lists which.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/glob.h"
#include "server/number.h"
#include "server/resp_admin_internal.h"
#include "server/resp_internal.h"

enum { PERCENTILES_MAX = 8 }; /* so that INFO has room for them */

enum setting_type {
	SETTING_BOOL,
	SETTING_NUMBER,
	SETTING_SIZE,   /* bytes, with units */
	SETTING_CHOICE, /* one word of `text` */
	SETTING_TEXT,
	SETTING_SAVE,        /* pairs of seconds and changes */
	SETTING_EVENTS,      /* letters of classes of events */
	SETTING_LIMITS,      /* client-output-buffer-limit */
	SETTING_PERCENTILES, /* numbers of 0 .. 100 */
	SETTING_SECRET,      /* never told */
	SETTING_ALIAS,       /* another name: of the one in `text` */
};

struct setting {
	const char *name;
	uint8_t type;
	bool fixed; /* may not be changed while it runs */
	int64_t min, max, preset;
	const char *text; /* TEXT: preset; CHOICE: the words, of which preset is an index */
};

#define BOOL(name, preset)                                                                         \
	{                                                                                          \
		(name), SETTING_BOOL, false, 0, 1, (preset), NULL                                  \
	}
#define NUMBER(name, min, max, preset)                                                             \
	{                                                                                          \
		(name), SETTING_NUMBER, false, (min), (max), (preset), NULL                        \
	}
#define SIZE(name, min, max, preset)                                                               \
	{                                                                                          \
		(name), SETTING_SIZE, false, (min), (max), (preset), NULL                          \
	}
#define CHOICE(name, words, preset)                                                                \
	{                                                                                          \
		(name), SETTING_CHOICE, false, 0, 0, (preset), (words)                             \
	}
#define TEXT(name, preset)                                                                         \
	{                                                                                          \
		(name), SETTING_TEXT, false, 0, 0, 0, (preset)                                     \
	}
#define FIXED(name, type, preset, text)                                                            \
	{                                                                                          \
		(name), (type), true, 0, INT_MAX, (preset), (text)                                 \
	}
#define ALIAS(name, of)                                                                            \
	{                                                                                          \
		(name), SETTING_ALIAS, false, 0, 0, 0, (of)                                        \
	}

#define POLICIES                                                                                   \
	"volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, "    \
	"allkeys-random, noeviction"

// clang-format off
static const struct setting settings[] = {
	/* These change how the face works. */
	NUMBER("acllog-max-len", 0, INT64_MAX, ACL_LOG_MAX),
	NUMBER("latency-monitor-threshold", 0, INT64_MAX, 0),
	NUMBER("maxclients", 1, UINT_MAX, 10000),
	SIZE("maxmemory", 0, INT64_MAX, 0),
	SIZE("proto-max-bulk-len", 1024 * 1024, INT64_MAX, 512ll << 20),
	{ "requirepass", SETTING_SECRET, false, 0, 0, 0, "" },
	NUMBER("slowlog-log-slower-than", -1, INT64_MAX, 10000),
	NUMBER("slowlog-max-len", 0, INT64_MAX, ADMIN_SLOW_MAX),
	NUMBER("timeout", 0, INT_MAX, 0),
	/* These tell what is; they cannot be changed. */
	FIXED("aclfile", SETTING_TEXT, 0, ""),
	FIXED("appenddirname", SETTING_TEXT, 0, ""),
	FIXED("appendfilename", SETTING_TEXT, 0, ""),
	FIXED("cluster-enabled", SETTING_BOOL, 0, NULL),
	FIXED("daemonize", SETTING_BOOL, 0, NULL),
	FIXED("databases", SETTING_NUMBER, RESP_DATABASES, NULL),
	FIXED("enable-debug-command", SETTING_TEXT, 0, "no"),
	FIXED("enable-module-command", SETTING_TEXT, 0, "no"),
	FIXED("enable-protected-configs", SETTING_TEXT, 0, "no"),
	FIXED("io-threads", SETTING_NUMBER, 1, NULL),
	FIXED("logfile", SETTING_TEXT, 0, ""),
	FIXED("pidfile", SETTING_TEXT, 0, ""),
	FIXED("port", SETTING_NUMBER, 0, NULL),
	FIXED("replicaof", SETTING_TEXT, 0, ""),
	FIXED("slaveof", SETTING_TEXT, 0, ""),
	FIXED("supervised", SETTING_TEXT, 0, "no"),
	FIXED("tcp-backlog", SETTING_NUMBER, 511, NULL),
	FIXED("unixsocket", SETTING_TEXT, 0, ""),
	/* These are remembered. */
	CHOICE("acl-pubsub-default", "allchannels, resetchannels", 1),
	NUMBER("active-defrag-cycle-max", 1, 99, 25),
	NUMBER("active-defrag-cycle-min", 1, 99, 1),
	SIZE("active-defrag-ignore-bytes", 1, INT64_MAX, 100ll << 20),
	NUMBER("active-defrag-max-scan-fields", 1, INT64_MAX, 1000),
	NUMBER("active-defrag-threshold-lower", 0, 1000, 10),
	NUMBER("active-defrag-threshold-upper", 0, 1000, 100),
	NUMBER("active-expire-effort", 1, 10, 1),
	BOOL("activedefrag", 0),
	BOOL("activerehashing", 1),
	BOOL("aof-use-rdb-preamble", 1),
	CHOICE("appendfsync", "everysec, always, no", 1),
	BOOL("appendonly", 1),
	NUMBER("auto-aof-rewrite-percentage", 0, INT_MAX, 100),
	SIZE("auto-aof-rewrite-min-size", 0, INT64_MAX, 64ll << 20),
	TEXT("bind", "*"),
	TEXT("bind-source-addr", ""),
	NUMBER("busy-reply-threshold", 0, INT64_MAX, 5000),
	{ "client-output-buffer-limit", SETTING_LIMITS, false, 0, 0, 0,
	  "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60" },
	SIZE("client-query-buffer-limit", 1024 * 1024, INT64_MAX, 1ll << 30),
	TEXT("dbfilename", "dump.rdb"),
	TEXT("dir", ""),
	BOOL("dynamic-hz", 1),
	NUMBER("hash-max-listpack-entries", 0, INT64_MAX, 512),
	SIZE("hash-max-listpack-value", 0, INT64_MAX, 64),
	ALIAS("hash-max-ziplist-entries", "hash-max-listpack-entries"),
	ALIAS("hash-max-ziplist-value", "hash-max-listpack-value"),
	SIZE("hll-sparse-max-bytes", 0, INT64_MAX, 3000),
	NUMBER("hz", 0, INT_MAX, 10),
	BOOL("latency-tracking", 1),
	{ "latency-tracking-info-percentiles", SETTING_PERCENTILES, false, 0, 0, 0, "50 99 99.9" },
	BOOL("lazyfree-lazy-eviction", 0),
	BOOL("lazyfree-lazy-expire", 0),
	BOOL("lazyfree-lazy-server-del", 0),
	BOOL("lazyfree-lazy-user-del", 0),
	BOOL("lazyfree-lazy-user-flush", 0),
	NUMBER("lfu-decay-time", 0, INT_MAX, 1),
	NUMBER("lfu-log-factor", 0, INT_MAX, 10),
	NUMBER("list-compress-depth", 0, INT_MAX, 0),
	NUMBER("list-max-listpack-size", INT_MIN, INT_MAX, -2),
	ALIAS("list-max-ziplist-size", "list-max-listpack-size"),
	CHOICE("loglevel", "debug, verbose, notice, warning", 2),
	ALIAS("lua-time-limit", "busy-reply-threshold"),
	TEXT("masterauth", ""),
	TEXT("masteruser", ""),
	SIZE("maxmemory-clients", 0, INT64_MAX, 0),
	NUMBER("maxmemory-eviction-tenacity", 0, 100, 10),
	CHOICE("maxmemory-policy", POLICIES, 7),
	NUMBER("maxmemory-samples", 1, INT_MAX, 5),
	NUMBER("min-replicas-max-lag", 0, INT_MAX, 10),
	NUMBER("min-replicas-to-write", 0, INT_MAX, 0),
	BOOL("no-appendfsync-on-rewrite", 0),
	CHOICE("oom-score-adj", "no, yes, relative, absolute", 0),
	TEXT("proc-title-template", ""),
	{ "notify-keyspace-events", SETTING_EVENTS, false, 0, 0, 0, "" },
	BOOL("protected-mode", 1),
	BOOL("rdbchecksum", 1),
	BOOL("rdbcompression", 1),
	SIZE("repl-backlog-size", 1, INT64_MAX, 1ll << 20),
	NUMBER("repl-backlog-ttl", 0, INT64_MAX, 3600),
	BOOL("repl-disable-tcp-nodelay", 0),
	CHOICE("repl-diskless-load", "disabled, on-empty-db, swapdb", 0),
	BOOL("repl-diskless-sync", 1),
	NUMBER("repl-diskless-sync-delay", 0, INT_MAX, 5),
	NUMBER("repl-ping-replica-period", 1, INT_MAX, 10),
	ALIAS("repl-ping-slave-period", "repl-ping-replica-period"),
	NUMBER("repl-timeout", 1, INT_MAX, 60),
	BOOL("replica-ignore-maxmemory", 1),
	BOOL("replica-lazy-flush", 0),
	NUMBER("replica-priority", 0, INT_MAX, 100),
	BOOL("replica-read-only", 1),
	BOOL("replica-serve-stale-data", 1),
	CHOICE("sanitize-dump-payload", "no, yes, clients", 1),
	{ "save", SETTING_SAVE, false, 0, 0, 0, "" },
	NUMBER("set-max-intset-entries", 0, INT64_MAX, 512),
	NUMBER("set-max-listpack-entries", 0, INT64_MAX, 128),
	SIZE("set-max-listpack-value", 0, INT64_MAX, 64),
	NUMBER("shutdown-timeout", 0, INT_MAX, 10),
	TEXT("shutdown-on-sigint", "default"),
	TEXT("shutdown-on-sigterm", "default"),
	ALIAS("slave-priority", "replica-priority"),
	ALIAS("slave-read-only", "replica-read-only"),
	ALIAS("slave-serve-stale-data", "replica-serve-stale-data"),
	BOOL("stop-writes-on-bgsave-error", 1),
	SIZE("stream-node-max-bytes", 0, INT64_MAX, 4096),
	NUMBER("stream-node-max-entries", 0, INT64_MAX, 100),
	NUMBER("tcp-keepalive", 0, INT_MAX, 300),
	NUMBER("tracking-table-max-keys", 0, INT64_MAX, 1000000),
	NUMBER("zset-max-listpack-entries", 0, INT64_MAX, 128),
	SIZE("zset-max-listpack-value", 0, INT64_MAX, 64),
	ALIAS("zset-max-ziplist-entries", "zset-max-listpack-entries"),
	ALIAS("zset-max-ziplist-value", "zset-max-listpack-value"),
};
// clang-format on

/* A value as CONFIG SET was given it, read. */
struct value {
	int64_t number;
	char text[ADMIN_VALUE_MAX];
};

static bool is_text(const struct setting *setting)
{
	return setting->type == SETTING_TEXT || setting->type == SETTING_SAVE ||
	       setting->type == SETTING_EVENTS || setting->type == SETTING_LIMITS ||
	       setting->type == SETTING_PERCENTILES || setting->type == SETTING_SECRET;
}

static int find_exact(const char *name)
{
	for (uint32_t i = 0; i < array_count(settings); i++) {
		if (strcmp(settings[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

/* The row of a name or of what it stands for; -1: none. */
static int find(struct bytes name)
{
	for (uint32_t i = 0; i < array_count(settings); i++) {
		if (!resp_word_is(name, settings[i].name))
			continue;
		return settings[i].type == SETTING_ALIAS ? find_exact(settings[i].text) : (int)i;
	}
	return -1;
}

int64_t admin_number(const struct resp_admin *admin, const char *name)
{
	int row = find_exact(name);

	assert(row >= 0 && !is_text(&settings[row]));
	return admin->numbers[row];
}

void admin_tell_setting(struct resp_admin *admin, const char *name, const char *text)
{
	int row = find_exact(name);

	assert(row >= 0 && is_text(&settings[row]));
	snprintf(admin->texts[row], ADMIN_VALUE_MAX, "%s", text);
}

const char *admin_text_setting(const struct resp_admin *admin, const char *name)
{
	int row = find_exact(name);

	assert(row >= 0 && is_text(&settings[row]));
	return admin->texts[row];
}

static uint64_t at_most(int64_t value, uint64_t max)
{
	return (uint64_t)value < max ? (uint64_t)value : max;
}

/* The bits of letters that parse_events() has seen. */
static uint16_t events_of(const char *letters)
{
	static const char order[] = "KEg$lshzxetdmn"; /* by bit of RESP_EVENT_ */
	uint16_t bits = 0;

	for (unsigned i = 0; order[i] != '\0'; i++) {
		if (strchr(letters, order[i]) != NULL ||
		    (strchr(letters, 'A') != NULL && strchr("KEmn", order[i]) == NULL))
			bits |= (uint16_t)(1u << i);
	}
	return bits & (RESP_EVENT_KEYSPACE | RESP_EVENT_KEYEVENT) ? bits : 0;
}

/* The limits of those who listen, out of a text that parse_limits() has made. */
static void take_limits(const char *text, struct resp_settings *now)
{
	unsigned long long hard, soft, seconds;
	const char *at = strstr(text, "pubsub ");

	assert(at != NULL);
	if (sscanf(at, "pubsub %llu %llu %llu", &hard, &soft, &seconds) != 3)
		unreachable();
	now->pubsub_hard_size = hard;
	now->pubsub_soft_size = soft;
	now->pubsub_soft_s = seconds;
}

/* What is in force follows what was set, as far as this server can. */
static void take_effect(struct resp_admin *admin)
{
	struct resp_server *server = admin->server;
	struct resp_settings *now = &server->settings;

	now->connections_max =
	        (uint32_t)at_most(admin_number(admin, "maxclients"), server->connections_max);
	now->idle_timeout_s = (uint32_t)admin_number(admin, "timeout");
	now->memory_max = (uint64_t)admin_number(admin, "maxmemory");
	now->bulk_max = at_most(admin_number(admin, "proto-max-bulk-len"), KV_VALUE_MAX);
	now->notify = events_of(admin_text_setting(admin, "notify-keyspace-events"));
	resp_expired_wake(server);
	take_limits(admin_text_setting(admin, "client-output-buffer-limit"), now);
	admin->slow_after_us = admin_number(admin, "slowlog-log-slower-than");
	admin->slow_max = (uint32_t)at_most(admin_number(admin, "slowlog-max-len"), ADMIN_SLOW_MAX);
	admin->latency_tracked = admin_number(admin, "latency-tracking");
	admin->latency_after_ms = admin_number(admin, "latency-monitor-threshold");
	admin->acl.log_max = (uint32_t)at_most(admin_number(admin, "acllog-max-len"), ACL_LOG_MAX);
	if (admin->acl.log_count > admin->acl.log_max)
		admin->acl.log_count = admin->acl.log_max;
}

size_t admin_settings_memory(void)
{
	return array_count(settings) * (ADMIN_VALUE_MAX + sizeof(int64_t));
}

bool admin_settings_open(struct resp_admin *admin)
{
	const struct resp_settings *now = &admin->server->settings;

	admin->texts = calloc(array_count(settings), sizeof(*admin->texts));
	admin->numbers = calloc(array_count(settings), sizeof(*admin->numbers));
	if (admin->texts == NULL || admin->numbers == NULL)
		return false;
	for (uint32_t i = 0; i < array_count(settings); i++) {
		admin->numbers[i] = settings[i].preset;
		if (is_text(&settings[i]))
			snprintf(admin->texts[i], ADMIN_VALUE_MAX, "%s", settings[i].text);
	}
	admin->numbers[find_exact("maxclients")] = now->connections_max;
	admin->numbers[find_exact("timeout")] = now->idle_timeout_s;
	admin->numbers[find_exact("maxmemory")] = (int64_t)now->memory_max;
	admin->numbers[find_exact("proto-max-bulk-len")] = (int64_t)now->bulk_max;
	take_effect(admin);
	return true;
}

/* One word of "a, b, c", by its index. */
static struct bytes choice_at(const char *words, int64_t index)
{
	size_t size = strcspn(words, ",");

	for (; index > 0 && words[size] != '\0'; index--) {
		words += size + 2;
		size = strcspn(words, ",");
	}
	return bytes_of(words, size);
}

static size_t format_value(const struct resp_admin *admin, uint32_t row, char *out)
{
	const struct setting *setting = &settings[row];
	struct bytes word;
	int64_t number;

	if (setting->type == SETTING_ALIAS) {
		row = (uint32_t)find_exact(setting->text);
		setting = &settings[row];
	}
	number = admin->numbers[row];
	switch ((enum setting_type)setting->type) {
	case SETTING_BOOL:
		return (size_t)snprintf(out, ADMIN_VALUE_MAX, "%s", number ? "yes" : "no");
	case SETTING_NUMBER:
	case SETTING_SIZE:
		return number_format_int64(number, out);
	case SETTING_CHOICE:
		word = choice_at(setting->text, number);
		memcpy(out, word.data, word.size);
		return word.size;
	case SETTING_TEXT:
	case SETTING_SAVE:
	case SETTING_EVENTS:
	case SETTING_LIMITS:
	case SETTING_PERCENTILES:
	case SETTING_SECRET:
		return (size_t)snprintf(out, ADMIN_VALUE_MAX, "%s", admin->texts[row]);
	case SETTING_ALIAS:
		break;
	}
	unreachable();
}

/* Longer patterns than any name has use for are not worth the time that they take. */
static bool is_pattern_of(struct bytes pattern, const char *name)
{
	return pattern.size <= ADMIN_VALUE_MAX && glob_match(pattern, admin_text_of(name), true);
}

/* Whether the word at `index` is the first that asks for it. */
static bool is_asked_at(const struct resp_call *call, uint32_t index, const char *name)
{
	if (!is_pattern_of(call->argv[index], name))
		return false;
	for (uint32_t i = 2; i < index; i++) {
		if (is_pattern_of(call->argv[i], name))
			return false;
	}
	return true;
}

/* In the order asked for. */
static void get_run(struct resp_call *call)
{
	const struct resp_admin *admin = admin_of(call);
	uint32_t words = call->argc < ADMIN_WORDS_COMMAND ? call->argc : ADMIN_WORDS_COMMAND;
	char value[ADMIN_VALUE_MAX];
	uint64_t count = 0;

	for (uint32_t w = 2; w < words; w++) {
		for (uint32_t i = 0; i < array_count(settings); i++)
			count += is_asked_at(call, w, settings[i].name);
	}
	resp_reply_map(call, count);
	for (uint32_t w = 2; w < words; w++) {
		for (uint32_t i = 0; i < array_count(settings); i++) {
			if (!is_asked_at(call, w, settings[i].name))
				continue;
			resp_reply_text(call, settings[i].name);
			resp_reply_bulk(call, bytes_of(value, format_value(admin, i, value)));
		}
	}
}

/* Reading values. Each returns NULL, or what is wrong with it. */

static const char *parse_number(const struct setting *setting, struct bytes text,
                                struct value *value, char *error)
{
	uint64_t size;

	if (setting->type == SETTING_SIZE) {
		if (!number_parse_size(text, &size) || size > INT64_MAX)
			return "argument must be a memory value";
		value->number = (int64_t)size;
	} else if (!number_parse_int64(text, &value->number)) {
		return "argument couldn't be parsed into an integer";
	}
	if (value->number >= setting->min && value->number <= setting->max)
		return NULL;
	snprintf(error, ADMIN_VALUE_MAX, "argument must be between %lld and %lld inclusive",
	         (long long)setting->min, (long long)setting->max);
	return error;
}

static const char *parse_choice(const struct setting *setting, struct bytes text,
                                struct value *value, char *error)
{
	struct bytes word;

	for (value->number = 0;; value->number++) {
		word = choice_at(setting->text, value->number);
		if (text.size == word.size && glob_match(word, text, true))
			return NULL;
		if (word.data[word.size] == '\0')
			break;
	}
	snprintf(error, ADMIN_VALUE_MAX, "argument(s) must be one of the following: %s",
	         setting->text);
	return error;
}

static const char *parse_save(struct value *value)
{
	const char *at = value->text;
	unsigned words = 0;

	while (*at != '\0') {
		size_t size = strcspn(at, " ");
		int64_t number;

		if (size > 0) {
			if (!number_parse_int64(bytes_of(at, size), &number) ||
			    number < (words % 2 == 0))
				return "Invalid save parameters";
			words++;
		}
		at += size + (at[size] == ' ');
	}
	return words % 2 == 0 ? NULL : "Invalid save parameters";
}

/* Brings the letters into the order that Redis tells them in, with A for all. */
static const char *parse_events(struct value *value)
{
	static const char classes[] = "g$lshzxetd", others[] = "nKEm";
	char ordered[sizeof(classes) + sizeof(others)], *out = ordered;
	bool all = strchr(value->text, 'A') != NULL;
	unsigned count = 0;

	for (const char *c = value->text; *c != '\0'; c++) {
		if (*c != 'A' && strchr(classes, *c) == NULL && strchr(others, *c) == NULL)
			return "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
	}
	for (const char *c = classes; *c != '\0'; c++)
		count += strchr(value->text, *c) != NULL;
	all |= count == sizeof(classes) - 1;
	if (all)
		*out++ = 'A';
	for (const char *c = classes; *c != '\0'; c++) {
		if (!all && strchr(value->text, *c) != NULL)
			*out++ = *c;
	}
	for (const char *c = others; *c != '\0'; c++) {
		if (strchr(value->text, *c) != NULL)
			*out++ = *c;
	}
	*out = '\0';
	snprintf(value->text, sizeof(value->text), "%s", ordered);
	return NULL;
}

/* One class's three numbers, in bytes and seconds. */
static const char *parse_limit(const char **at, const char *name, char *out, size_t out_size)
{
	uint64_t numbers[3];

	for (unsigned i = 0; i < 3; i++) {
		size_t size = strcspn(*at, " ");

		if (size == 0 || !number_parse_size(bytes_of(*at, size), &numbers[i]))
			return "Error in hard, soft or soft_seconds setting in buffer limit "
			       "configuration.";
		*at += size;
		*at += strspn(*at, " ");
	}
	snprintf(out, out_size, "%s %llu %llu %llu", name, (unsigned long long)numbers[0],
	         (unsigned long long)numbers[1], (unsigned long long)numbers[2]);
	return NULL;
}

/* Classes that are not named have Redis' own limits again. */
static const char *parse_limits(struct value *value)
{
	static const char *const names[] = { "normal", "slave", "pubsub" };
	char told[3][80] = { "normal 0 0 0", "slave 268435456 67108864 60",
		             "pubsub 33554432 8388608 60" };
	const char *at = value->text + strspn(value->text, " ");

	while (*at != '\0') {
		size_t size = strcspn(at, " ");
		struct bytes word = bytes_of(at, size);
		unsigned i = resp_word_is(word, "replica") ? 1 : 0;
		const char *why;

		while (i < 3 && !resp_word_is(word, names[i]) && !resp_word_is(word, "replica"))
			i++;
		if (i == 3)
			return "Invalid client class specified in buffer limit configuration.";
		at += size;
		at += strspn(at, " ");
		why = parse_limit(&at, names[i], told[i], sizeof(told[i]));
		if (why != NULL)
			return why;
	}
	snprintf(value->text, sizeof(value->text), "%s %s %s", told[0], told[1], told[2]);
	return NULL;
}

static const char *parse_percentiles(struct value *value)
{
	char told[ADMIN_VALUE_MAX];
	struct admin_text out = { told, sizeof(told) - 1, 0, false };
	const char *at = value->text;
	unsigned count = 0;

	while (*at != '\0') {
		size_t size = strcspn(at, " ");
		double number;

		if (size > 0) {
			if (!number_parse_double(bytes_of(at, size), &number) || number < 0 ||
			    number > 100)
				return "percentiles are numbers of 0 to 100";
			if (++count > PERCENTILES_MAX)
				return "at most 8 percentiles are told";
			admin_put(&out, out.used > 0 ? " %g" : "%g", number);
		}
		at += size + (at[size] == ' ');
	}
	memcpy(value->text, told, out.used);
	value->text[out.used] = '\0';
	return NULL;
}

/* `error`: room for a text of ADMIN_VALUE_MAX bytes. */
static const char *parse(const struct setting *setting, struct bytes text, struct value *value,
                         char *error)
{
	if (is_text(setting)) {
		if (text.size >= ADMIN_VALUE_MAX || memchr(text.data, '\0', text.size) != NULL)
			return "argument is too long or has a zero byte";
		memcpy(value->text, text.data, text.size);
		value->text[text.size] = '\0';
	}
	switch ((enum setting_type)setting->type) {
	case SETTING_BOOL:
		value->number = resp_word_is(text, "yes");
		if (value->number || resp_word_is(text, "no"))
			return NULL;
		return "argument must be 'yes' or 'no'";
	case SETTING_NUMBER:
	case SETTING_SIZE:
		return parse_number(setting, text, value, error);
	case SETTING_CHOICE:
		return parse_choice(setting, text, value, error);
	case SETTING_SAVE:
		return parse_save(value);
	case SETTING_EVENTS:
		return parse_events(value);
	case SETTING_LIMITS:
		return parse_limits(value);
	case SETTING_PERCENTILES:
		return parse_percentiles(value);
	case SETTING_TEXT:
	case SETTING_SECRET:
		return NULL;
	case SETTING_ALIAS:
		break;
	}
	unreachable();
}

/* Setting. All pairs are looked at first: all are set, or none. */

static void reply_failed(struct resp_call *call, uint32_t word, const char *why)
{
	struct bytes name = call->argv[word];

	resp_reply_errorf(call, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s",
	                  name.size < 128 ? (int)name.size : 128, (const char *)name.data, why);
}

static bool is_repeated(const struct resp_call *call, uint32_t word)
{
	int row = find(call->argv[word]);

	for (uint32_t i = 2; i < word; i += 2) {
		if (find(call->argv[i]) == row)
			return true;
	}
	return false;
}

static bool check_pairs(struct resp_call *call)
{
	char error[ADMIN_VALUE_MAX];
	struct value value;

	for (uint32_t i = 2; i < call->argc; i += 2) {
		int row = find(call->argv[i]);
		const char *why;

		if (row < 0) {
			int size = call->argv[i].size < 128 ? (int)call->argv[i].size : 128;

			resp_reply_errorf(
			        call,
			        "ERR Unknown option or number of arguments for CONFIG SET - "
			        "'%.*s'",
			        size, (const char *)call->argv[i].data);
			return false;
		}
		if (settings[row].fixed)
			why = "can't set immutable config";
		else if (is_repeated(call, i))
			why = "duplicate parameter";
		else
			why = parse(&settings[row], call->argv[i + 1], &value, error);
		if (why != NULL) {
			reply_failed(call, i, why);
			return false;
		}
	}
	return true;
}

static void set_step(struct resp_call *call, struct resp_admin *admin)
{
	char error[ADMIN_VALUE_MAX];
	struct value value;

	for (uint32_t i = 2; i < call->argc; i += 2) {
		int row = find(call->argv[i]);
		const char *why = parse(&settings[row], call->argv[i + 1], &value, error);

		assert(why == NULL); /* check_pairs() has seen it */
		if (settings[row].type == SETTING_SECRET) {
			acl_set_default_password(&admin->acl, call->argv[i + 1]);
			admin_acl_changed(admin);
		} else if (is_text(&settings[row])) {
			memcpy(admin->texts[row], value.text, sizeof(value.text));
		} else {
			admin->numbers[row] = value.number;
		}
	}
	take_effect(admin);
}

static void ok_home(struct resp_call *call)
{
	resp_reply_ok(call);
}

static void set_start(struct resp_call *call)
{
	if (call->argc % 2 != 0) {
		resp_reply_error(call, "ERR wrong number of arguments for 'config|set' command");
	} else if (call->argc > ADMIN_WORDS_COMMAND) {
		resp_reply_error(call, "ERR too many arguments for CONFIG SET");
	} else if (check_pairs(call)) {
		admin_tour_start(call, set_step, ok_home);
		return;
	}
	resp_call_done(call);
}

/* Others may read them meanwhile. */
static void zero(void *counters, size_t size)
{
	uint64_t *numbers = counters;

	assert(size % sizeof(*numbers) == 0);
	for (size_t i = 0; i < size / sizeof(*numbers); i++)
		metric_set(&numbers[i], 0);
}

static void resetstat_step(struct resp_call *call, struct resp_admin *admin)
{
	struct resp_server *server = admin->server;

	(void)call;
	zero(&server->stats, sizeof(server->stats));
	metric_set(&server->stats.connections, server->connection_count);
	zero(server->command_stats, resp_command_count() * sizeof(*server->command_stats));
	for (uint32_t i = 0; i < resp_command_count(); i++) {
		if (server->latencies[i].count > 0)
			zero(&server->latencies[i], sizeof(server->latencies[i]));
	}
	memset(admin->errors, 0, sizeof(admin->errors));
	memset(admin->commands, 0, ACL_COMMANDS_MAX * sizeof(*admin->commands));
	memset(admin->samples, 0, sizeof(admin->samples));
	admin->acl.denied_auth = admin->acl.denied_command = 0;
	admin->acl.denied_key = admin->acl.denied_channel = 0;
}

static void resetstat_start(struct resp_call *call)
{
	admin_tour_start(call, resetstat_step, ok_home);
}

static void rewrite_run(struct resp_call *call)
{
	resp_reply_error(call, "ERR The server is running without a config file");
}

static void help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"GET <pattern> [<pattern> ...]",
		"    Tells the settings that match the patterns, and their values.",
		"SET <directive> <value> [<directive> <value> ...]",
		"    Changes settings: all, or none if one is wrong.",
		"RESETSTAT",
		"    Sets the counters of INFO back to zero.",
		"REWRITE",
		"    Is refused: settings are kept by who started the server.",
	};

	admin_reply_help(call, "CONFIG", lines, array_count(lines));
}

enum {
	ADMIN = RESP_ADMIN | RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
};

// clang-format off
static const struct resp_command config_rows[] = {
	{ .name = "config|get", .arity = -3, .flags = ADMIN, .run = get_run },
	{ .name = "config|help", .arity = 2, .flags = RESP_LOADING | RESP_STALE, .run = help_run },
	{ .name = "config|resetstat", .arity = 2, .flags = ADMIN, .start = resetstat_start },
	{ .name = "config|rewrite", .arity = 2, .flags = ADMIN, .run = rewrite_run },
	{ .name = "config|set", .arity = -4, .flags = ADMIN, .start = set_start },
};

static const struct resp_command commands[] = {
	{ .name = "config", .arity = -2, .subcommands = config_rows,
	  .subcommand_count = array_count(config_rows) },
};
// clang-format on

const struct resp_table resp_config_table = { commands, array_count(commands) };
