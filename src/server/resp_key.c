/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on keys of any kind. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_expiry.h"
#include "server/resp_internal.h"

/* Times to live. */

bool resp_expiry_moment(int64_t value, int unit, uint64_t base_ms, int64_t *ret_moment_ms)
{
	bool in_seconds = unit == RESP_EXPIRY_EX || unit == RESP_EXPIRY_EXAT;
	bool from_now = unit == RESP_EXPIRY_EX || unit == RESP_EXPIRY_PX;

	if (in_seconds && __builtin_mul_overflow(value, 1000, &value))
		return false;
	if (from_now && __builtin_add_overflow(value, (int64_t)base_ms, &value))
		return false;
	*ret_moment_ms = value;
	return true;
}

static void reply_invalid_expiry(struct resp_call *call)
{
	resp_reply_errorf(call, "ERR invalid expire time in '%s' command", call->command->name);
}

bool resp_expiry_option(struct resp_call *call, uint32_t index, int unit, uint64_t *ret_expires_ms)
{
	int64_t value, moment_ms;

	if (!resp_argument_i64(call, index, &value))
		return false;
	if (value <= 0 || !resp_expiry_moment(value, unit, call->wall_ms, &moment_ms)) {
		reply_invalid_expiry(call);
		return false;
	}
	*ret_expires_ms = (uint64_t)moment_ms;
	return true;
}

enum { EXPIRE_NX = 1 << 0, EXPIRE_XX = 1 << 1, EXPIRE_GT = 1 << 2, EXPIRE_LT = 1 << 3 };

struct expire_state {
	uint32_t flags;
	uint64_t moment_ms;
};

/* False: an error is replied. */
static bool parse_expire_flags(struct resp_call *call, uint32_t *ret_flags)
{
	static const char *const names[] = { "nx", "xx", "gt", "lt" };
	uint32_t flags = 0;

	for (uint32_t i = 3; i < call->argc; i++) {
		unsigned bit = 0;

		while (bit < array_count(names) && !resp_word_is(call->argv[i], names[bit]))
			bit++;
		if (bit == array_count(names)) {
			resp_reply_errorf(call, "ERR Unsupported option %.*s",
			                  call->argv[i].size < 128 ? (int)call->argv[i].size : 128,
			                  (const char *)call->argv[i].data);
			return false;
		}
		flags |= 1u << bit;
	}
	if ((flags & EXPIRE_NX) && flags != EXPIRE_NX) {
		resp_reply_error(call, "ERR NX and XX, GT or LT options at the same time are not "
		                       "compatible");
		return false;
	}
	if ((flags & EXPIRE_GT) && (flags & EXPIRE_LT)) {
		resp_reply_error(call, "ERR GT and LT options at the same time are not compatible");
		return false;
	}
	*ret_flags = flags;
	return true;
}

static bool expire_prepare_in(struct resp_call *call, int unit)
{
	struct expire_state *state = RESP_STATE(call, struct expire_state);
	int64_t value, moment_ms;

	if (!parse_expire_flags(call, &state->flags) || !resp_argument_i64(call, 2, &value))
		return false;
	if (!resp_expiry_moment(value, unit, call->wall_ms, &moment_ms)) {
		reply_invalid_expiry(call);
		return false;
	}
	/* In the past is in the past: 0 would mean never. */
	state->moment_ms = moment_ms > 0 ? (uint64_t)moment_ms : 1;
	return true;
}

static bool expire_prepare(struct resp_call *call)
{
	return expire_prepare_in(call, RESP_EXPIRY_EX);
}

static bool pexpire_prepare(struct resp_call *call)
{
	return expire_prepare_in(call, RESP_EXPIRY_PX);
}

static bool expireat_prepare(struct resp_call *call)
{
	return expire_prepare_in(call, RESP_EXPIRY_EXAT);
}

static bool pexpireat_prepare(struct resp_call *call)
{
	return expire_prepare_in(call, RESP_EXPIRY_PXAT);
}

static bool expire_is_wanted(const struct expire_state *state, uint64_t current_ms)
{
	uint32_t flags = state->flags;

	if ((flags & EXPIRE_NX) && current_ms != 0)
		return false;
	if ((flags & EXPIRE_XX) && current_ms == 0)
		return false;
	/* A key that never expires counts as one that expires last. */
	if ((flags & EXPIRE_GT) && (current_ms == 0 || state->moment_ms <= current_ms))
		return false;
	if ((flags & EXPIRE_LT) && current_ms != 0 && state->moment_ms >= current_ms)
		return false;
	return true;
}

/* Only the expiry changes: the value is not looked at, and may be a blob. */
static void store_expiry(struct kv_edit *edit, uint64_t expires_ms)
{
	edit->action = KV_TOUCH;
	edit->expires_ms = expires_ms;
}

static void expire_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	const struct expire_state *state = RESP_STATE(call, struct expire_state);

	if (entry->version == 0 || !expire_is_wanted(state, entry->expires_ms)) {
		resp_reply_i64(call, 0);
		return;
	}
	if (state->moment_ms <= call->wall_ms) {
		resp_notify(call, RESP_EVENT_GENERIC, "del", entry->key);
		edit->action = KV_REMOVE;
	} else {
		resp_notify(call, RESP_EVENT_GENERIC, "expire", entry->key);
		store_expiry(edit, state->moment_ms);
	}
	resp_reply_i64(call, 1);
}

static void persist_visit(struct resp_call *call, const struct kv_entry *entry,
                          struct kv_edit *edit)
{
	if (entry->version == 0 || entry->expires_ms == 0) {
		resp_reply_i64(call, 0);
		return;
	}
	resp_notify(call, RESP_EVENT_GENERIC, "persist", entry->key);
	store_expiry(edit, 0);
	resp_reply_i64(call, 1);
}

struct ttl_state {
	uint64_t base_ms;
	uint64_t unit_ms;
};

static bool ttl_state_set(struct resp_call *call, uint64_t base_ms, uint64_t unit_ms)
{
	*RESP_STATE(call, struct ttl_state) = (struct ttl_state){
		.base_ms = base_ms,
		.unit_ms = unit_ms,
	};
	return true;
}

static bool ttl_prepare(struct resp_call *call)
{
	return ttl_state_set(call, call->wall_ms, 1000);
}

static bool pttl_prepare(struct resp_call *call)
{
	return ttl_state_set(call, call->wall_ms, 1);
}

static bool expiretime_prepare(struct resp_call *call)
{
	return ttl_state_set(call, 0, 1000);
}

static bool pexpiretime_prepare(struct resp_call *call)
{
	return ttl_state_set(call, 0, 1);
}

static void ttl_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	const struct ttl_state *state = RESP_STATE(call, struct ttl_state);
	uint64_t left_ms;

	(void)edit;
	resp_count_lookup(call, entry->key, entry->version != 0);
	if (entry->version == 0 || entry->expires_ms == 0) {
		resp_reply_i64(call, entry->version == 0 ? -2 : -1);
		return;
	}
	left_ms = entry->expires_ms > state->base_ms ? entry->expires_ms - state->base_ms : 0;
	resp_reply_i64(call, (int64_t)((left_ms + state->unit_ms / 2) / state->unit_ms));
}

/* Kinds. */

static bool prepare_nothing(struct resp_call *call)
{
	(void)call;
	return true;
}

static const char *kind_name(uint8_t kind)
{
	static const char *const names[] = { "string", "hash", "list", "set", "zset", "stream" };

	return kind < array_count(names) ? names[kind] : "unknown";
}

static void type_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	resp_count_lookup(call, entry->key, entry->version != 0);
	resp_reply_simple(call, entry->version == 0 ? "none" : kind_name(entry->kind));
}

enum { EMBSTR_MAX = 44 };

static void encoding_visit(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit)
{
	int64_t number;

	(void)edit;
	if (entry->version == 0)
		resp_reply_null(call);
	else if (entry->kind != RESP_STRING)
		resp_reply_text(call, "listpack");
	else if (!entry->blob && number_parse_int64(entry->value, &number))
		resp_reply_text(call, "int");
	else
		resp_reply_text(call, entry->size <= EMBSTR_MAX ? "embstr" : "raw");
}

static void reply_fixed(struct resp_call *call, const struct kv_entry *entry, int64_t value)
{
	if (entry->version == 0)
		resp_reply_null(call);
	else
		resp_reply_i64(call, value);
}

static void refcount_visit(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit)
{
	(void)edit;
	reply_fixed(call, entry, 1);
}

/* When a key was last read is not kept. */
static void idletime_visit(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit)
{
	(void)edit;
	reply_fixed(call, entry, 0);
}

static void freq_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	if (entry->version == 0)
		resp_reply_null(call);
	else
		resp_reply_error(call, "ERR An LFU maxmemory policy is not selected, access "
		                       "frequency not tracked. Please note that when switching "
		                       "between policies at runtime LRU and LFU data will take "
		                       "some time to adjust.");
}

static void object_help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"ENCODING <key>",
		"    Return the kind of internal representation used in order to store the value",
		"    associated with a <key>.",
		"FREQ <key>",
		"    Return the access frequency index of the <key>. The returned integer is",
		"    proportional to the logarithm of the recent access frequency of the key.",
		"IDLETIME <key>",
		"    Return the idle time of the <key>, that is the approximated number of",
		"    seconds elapsed since the last access to the key.",
		"REFCOUNT <key>",
		"    Return the number of references of the value associated with the specified",
		"    <key>.",
		"HELP",
		"    Print this help.",
	};

	resp_reply_array(call, array_count(lines));
	for (unsigned i = 0; i < array_count(lines); i++)
		resp_reply_simple(call, lines[i]);
}

/* Several keys, or one. */

static void exists_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	resp_count_lookup(call, entry->key, entry->version != 0);
	resp_reply_i64(call, entry->version != 0);
}

static bool del_prepare(struct resp_call *call)
{
	/* Of one key; several are deleted by del_apply(). What has expired is the store's to tell.
	 */
	if (!(call->notify & RESP_EVENT_EXPIRED))
		call->kv_op = KV_DELETE;
	return true;
}

static void del_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	resp_reply_i64(call, entry->version != 0);
	if (entry->version == 0)
		return;
	resp_notify(call, RESP_EVENT_GENERIC, "del", entry->key);
	edit->action = KV_REMOVE;
}

static void exists_apply(struct resp_call *call)
{
	int64_t count = 0;
	struct bytes key;
	bool exists;

	for (uint32_t i = 1; i < call->argc; i++) {
		if (!resp_call_key(call, i, &key))
			unreachable(); /* the transaction has loaded it */
		exists = resp_txn_get(call->txn, key)->exists;
		resp_count_lookup(call, key, exists);
		count += exists;
	}
	resp_reply_i64(call, count);
}

static void del_apply(struct resp_call *call)
{
	int64_t count = 0;
	struct bytes key;

	for (uint32_t i = 1; i < call->argc; i++) {
		if (!resp_call_key(call, i, &key))
			unreachable(); /* the transaction has loaded it */
		if (!resp_txn_get(call->txn, key)->exists)
			continue;
		resp_txn_delete(call->txn, key);
		resp_notify(call, RESP_EVENT_GENERIC, "del", key);
		count++;
	}
	resp_reply_i64(call, count);
}

/* Both must be keys of the call's database. Whether the source is there; else nothing is replied.
 */
static bool source_of(struct resp_call *call, struct bytes *ret_key, struct resp_value *ret_value)
{
	if (!resp_call_key(call, 1, ret_key))
		unreachable(); /* the transaction has loaded it */
	*ret_value = *resp_txn_get(call->txn, *ret_key);
	return ret_value->exists;
}

static void rename_apply(struct resp_call *call)
{
	bool only_new = call->command->flags & RESP_FAST; /* RENAMENX */
	struct bytes from, to;
	struct resp_value value;

	if (!source_of(call, &from, &value)) {
		resp_reply_error(call, "ERR no such key");
		return;
	}
	if (!resp_call_key(call, 2, &to))
		unreachable(); /* the transaction has loaded it */
	if (bytes_equal(from, to)) {
		if (only_new)
			resp_reply_i64(call, 0);
		else
			resp_reply_ok(call);
		return;
	}
	if (only_new && resp_txn_get(call->txn, to)->exists) {
		resp_reply_i64(call, 0);
		return;
	}
	if (!resp_txn_put(call->txn, to, &value))
		return;
	resp_txn_delete(call->txn, from);
	resp_notify(call, RESP_EVENT_GENERIC, "rename_from", from);
	resp_notify(call, RESP_EVENT_GENERIC, "rename_to", to);
	if (only_new)
		resp_reply_i64(call, 1);
	else
		resp_reply_ok(call);
}

struct copy_state {
	uint8_t db;
	bool replace;
};

/* False: no number of a database; replied. */
static bool parse_db(struct resp_call *call, uint32_t index, const char *error, uint8_t *ret_db)
{
	int64_t db;

	if (!number_parse_int64(call->argv[index], &db)) {
		resp_reply_error(call, error);
		return false;
	}
	if (db < 0 || db >= RESP_DATABASES) {
		resp_reply_error(call, "ERR DB index is out of range");
		return false;
	}
	*ret_db = (uint8_t)db;
	return true;
}

static bool copy_prepare(struct resp_call *call)
{
	struct copy_state *state = RESP_STATE(call, struct copy_state);

	*state = (struct copy_state){ .db = call->db };
	for (uint32_t i = 3; i < call->argc; i++) {
		if (resp_word_is(call->argv[i], "replace")) {
			state->replace = true;
		} else if (resp_word_is(call->argv[i], "db") && i + 1 < call->argc) {
			if (!parse_db(call, ++i, "ERR value is not an integer or out of range",
			              &state->db))
				return false;
		} else {
			resp_reply_syntax_error(call);
			return false;
		}
	}
	call->target_db = state->db;
	if (state->db == call->db && bytes_equal(call->argv[1], call->argv[2])) {
		resp_reply_error(call, "ERR source and destination objects are the same");
		return false;
	}
	return true;
}

static void copy_apply(struct resp_call *call)
{
	const struct copy_state *state = RESP_STATE(call, struct copy_state);
	struct bytes from, to;
	struct resp_value value;

	bool exists = source_of(call, &from, &value);

	if (!resp_call_key_in(call, 2, state->db, &to))
		unreachable(); /* the transaction has loaded it */
	resp_count_lookup(call, from, exists);
	if (!exists || (!state->replace && resp_txn_get(call->txn, to)->exists)) {
		resp_reply_i64(call, 0);
		return;
	}
	if (!resp_txn_put(call->txn, to, &value))
		return;
	resp_notify(call, RESP_EVENT_GENERIC, "copy_to", to);
	resp_reply_i64(call, 1);
}

static bool move_prepare(struct resp_call *call)
{
	struct copy_state *state = RESP_STATE(call, struct copy_state);

	if (!parse_db(call, 2, "ERR value is not an integer or out of range", &state->db))
		return false;
	if (state->db == call->db) {
		resp_reply_error(call, "ERR source and destination objects are the same");
		return false;
	}
	call->target_db = state->db;
	return true;
}

static void move_apply(struct resp_call *call)
{
	const struct copy_state *state = RESP_STATE(call, struct copy_state);
	struct bytes from, to;
	struct resp_value value;
	uint8_t *copy;

	if (!source_of(call, &from, &value)) {
		resp_reply_i64(call, 0);
		return;
	}
	/* The same name in two databases at once: the second key needs memory of its own. */
	copy = resp_txn_memory(call->txn, from.size);
	if (copy == NULL)
		return;
	memcpy(copy, from.data, from.size);
	copy[0] = (uint8_t)(KV_SPACE_REDIS + state->db);
	to = bytes_of(copy, from.size);
	if (resp_txn_get(call->txn, to)->exists) {
		resp_reply_i64(call, 0);
		return;
	}
	if (!resp_txn_put(call->txn, to, &value))
		return;
	resp_txn_delete(call->txn, from);
	resp_notify(call, RESP_EVENT_GENERIC, "move_from", from);
	resp_notify(call, RESP_EVENT_GENERIC, "move_to", to);
	resp_reply_i64(call, 1);
}

enum {
	READS = RESP_READONLY | RESP_FAST,
	WRITES = RESP_WRITE | RESP_FAST,
	ACL_READS = RESP_ACL_KEYSPACE | RESP_ACL_READ,
	ACL_WRITES = RESP_ACL_KEYSPACE | RESP_ACL_WRITE,
};

#define KEY_1 .key_first = 1, .key_last = 1, .key_step = 1
#define KEYS_1_2 .key_first = 1, .key_last = 2, .key_step = 1
#define KEYS_ALL .key_first = 1, .key_last = -1, .key_step = 1
#define OBJECT_KEY .key_first = 2, .key_last = 2, .key_step = 1

// clang-format off
static const struct resp_command object_commands[] = {
	{ .name = "object|encoding", .arity = 3, OBJECT_KEY, .flags = RESP_READONLY,
	  .acl = ACL_READS | RESP_ACL_SLOW, .prepare = prepare_nothing, .visit = encoding_visit },
	{ .name = "object|refcount", .arity = 3, OBJECT_KEY, .flags = RESP_READONLY,
	  .acl = ACL_READS | RESP_ACL_SLOW, .prepare = prepare_nothing, .visit = refcount_visit },
	{ .name = "object|idletime", .arity = 3, OBJECT_KEY, .flags = RESP_READONLY,
	  .acl = ACL_READS | RESP_ACL_SLOW, .prepare = prepare_nothing, .visit = idletime_visit },
	{ .name = "object|freq", .arity = 3, OBJECT_KEY, .flags = RESP_READONLY,
	  .acl = ACL_READS | RESP_ACL_SLOW, .prepare = prepare_nothing, .visit = freq_visit },
	{ .name = "object|help", .arity = 2, .flags = RESP_LOADING | RESP_STALE,
	  .acl = RESP_ACL_KEYSPACE | RESP_ACL_SLOW, .run = object_help_run },
};

static const struct resp_command commands[] = {
	{ .name = "del", .arity = -2, KEYS_ALL, .flags = RESP_WRITE | RESP_META,
	  .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = del_prepare, .visit = del_visit, .apply = del_apply },
	{ .name = "unlink", .arity = -2, KEYS_ALL, .flags = WRITES | RESP_META,
	  .acl = ACL_WRITES | RESP_ACL_FAST,
	  .prepare = del_prepare, .visit = del_visit, .apply = del_apply },
	{ .name = "exists", .arity = -2, KEYS_ALL, .flags = READS | RESP_META,
	  .acl = ACL_READS | RESP_ACL_FAST,
	  .prepare = prepare_nothing, .visit = exists_visit, .apply = exists_apply },
	{ .name = "touch", .arity = -2, KEYS_ALL, .flags = READS | RESP_META,
	  .acl = ACL_READS | RESP_ACL_FAST,
	  .prepare = prepare_nothing, .visit = exists_visit, .apply = exists_apply },
	{ .name = "type", .arity = 2, KEY_1, .flags = READS,
	  .acl = ACL_READS | RESP_ACL_FAST, .prepare = prepare_nothing, .visit = type_visit },
	{ .name = "expire", .arity = -3, KEY_1, .flags = WRITES | RESP_LOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST, .prepare = expire_prepare, .visit = expire_visit },
	{ .name = "pexpire", .arity = -3, KEY_1, .flags = WRITES | RESP_LOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST, .prepare = pexpire_prepare, .visit = expire_visit },
	{ .name = "expireat", .arity = -3, KEY_1, .flags = WRITES | RESP_LOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST, .prepare = expireat_prepare, .visit = expire_visit },
	{ .name = "pexpireat", .arity = -3, KEY_1, .flags = WRITES | RESP_LOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST, .prepare = pexpireat_prepare, .visit = expire_visit },
	{ .name = "persist", .arity = 2, KEY_1, .flags = WRITES | RESP_LOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST, .prepare = prepare_nothing, .visit = persist_visit },
	{ .name = "ttl", .arity = 2, KEY_1, .flags = READS,
	  .acl = ACL_READS | RESP_ACL_FAST, .prepare = ttl_prepare, .visit = ttl_visit },
	{ .name = "pttl", .arity = 2, KEY_1, .flags = READS,
	  .acl = ACL_READS | RESP_ACL_FAST, .prepare = pttl_prepare, .visit = ttl_visit },
	{ .name = "expiretime", .arity = 2, KEY_1, .flags = READS,
	  .acl = ACL_READS | RESP_ACL_FAST, .prepare = expiretime_prepare, .visit = ttl_visit },
	{ .name = "pexpiretime", .arity = 2, KEY_1, .flags = READS,
	  .acl = ACL_READS | RESP_ACL_FAST, .prepare = pexpiretime_prepare, .visit = ttl_visit },
	{ .name = "rename", .arity = 3, KEYS_1_2, .flags = RESP_WRITE,
	  .acl = ACL_WRITES | RESP_ACL_SLOW, .apply = rename_apply },
	{ .name = "renamenx", .arity = 3, KEYS_1_2, .flags = WRITES,
	  .acl = ACL_WRITES | RESP_ACL_FAST, .apply = rename_apply },
	{ .name = "copy", .arity = -3, KEYS_1_2,
	  .flags = RESP_WRITE | RESP_DENYOOM | RESP_DB_ARGUMENT,
	  .acl = ACL_WRITES | RESP_ACL_SLOW, .prepare = copy_prepare, .apply = copy_apply },
	{ .name = "move", .arity = 3, KEY_1, .flags = WRITES | RESP_DB_ARGUMENT,
	  .acl = ACL_WRITES | RESP_ACL_FAST, .prepare = move_prepare, .apply = move_apply },
	{ .name = "object", .arity = -2, .flags = 0, .acl = RESP_ACL_SLOW,
	  .subcommands = object_commands, .subcommand_count = array_count(object_commands) },
};
// clang-format on

const struct resp_table resp_key_table = { commands, array_count(commands) };
