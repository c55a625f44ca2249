/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on strings. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_expiry.h"
#include "server/resp_txn.h"

/* Entries. */

static bool is_absent(const struct kv_entry *entry)
{
	return entry->version == 0;
}

bool resp_check_string(struct resp_call *call, const struct kv_entry *entry)
{
	if (is_absent(entry) || entry->kind == RESP_STRING)
		return true;
	resp_reply_wrong_type(call);
	return false;
}

bool resp_check_bytes(struct resp_call *call, const struct kv_entry *entry)
{
	if (!resp_check_string(call, entry))
		return false;
	call->blob = entry->blob;
	return !call->blob;
}

static void reply_entry(struct resp_call *call, const struct kv_entry *entry)
{
	if (is_absent(entry))
		resp_reply_null(call);
	else
		resp_reply_bulk(call, entry->value);
}

static void count_lookup(struct resp_call *call, const struct kv_entry *entry)
{
	resp_count_lookup(call, entry->key, !is_absent(entry));
}

static void store(struct kv_edit *edit, struct bytes value, uint64_t expires_ms)
{
	edit->action = KV_STORE;
	edit->value = value;
	edit->expires_ms = expires_ms;
	edit->kind = RESP_STRING;
}

static bool prepare_nothing(struct resp_call *call)
{
	(void)call;
	return true;
}

/* GET and its kin. */

static void get_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	count_lookup(call, entry);
	if (resp_check_bytes(call, entry))
		reply_entry(call, entry);
}

static void strlen_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	count_lookup(call, entry);
	if (resp_check_string(call, entry))
		resp_reply_i64(call, (int64_t)entry->size);
}

struct range_state {
	int64_t start, end;
};

static bool getrange_prepare(struct resp_call *call)
{
	struct range_state *state = RESP_STATE(call, struct range_state);

	return resp_argument_i64(call, 2, &state->start) && resp_argument_i64(call, 3, &state->end);
}

static void getrange_visit(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit);

void resp_string_part(struct resp_call *call, uint64_t size, uint64_t *ret_offset,
                      uint64_t *ret_size)
{
	const struct range_state *state = RESP_STATE(call, struct range_state);
	int64_t limit = (int64_t)size, start = 0, end = limit - 1;

	if (call->command->visit == getrange_visit) {
		start = state->start;
		end = state->end;
	}
	if (start < 0 && end < 0 && start > end)
		limit = 0;
	if (start < 0)
		start = start + limit < 0 ? 0 : start + limit;
	if (end < 0)
		end = end + limit < 0 ? 0 : end + limit;
	if (end >= limit)
		end = limit - 1;
	*ret_offset = start > end ? 0 : (uint64_t)start;
	*ret_size = start > end ? 0 : (uint64_t)(end - start + 1);
}

void resp_reply_absent_string(struct resp_call *call)
{
	if (call->command->visit == getrange_visit)
		resp_reply_bulk(call, bytes_of(NULL, 0));
	else
		resp_reply_null(call);
}

static void getrange_visit(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit)
{
	uint64_t offset, size;

	(void)edit;
	count_lookup(call, entry);
	if (!resp_check_bytes(call, entry))
		return;
	resp_string_part(call, entry->size, &offset, &size);
	resp_reply_bulk(call, bytes_of(size > 0 ? entry->value.data + offset : NULL, size));
}

/* Both, of a value that stays where it is: in a transaction, for else it is sent at once. */
static void get_stream(struct resp_call *call)
{
	const struct resp_value *value = resp_value_of(call, 1, NULL);
	uint64_t offset, size;

	assert(value->exists && value->blob != NULL);
	resp_string_part(call, value->size, &offset, &size);
	resp_reply_long(call, value->blob, offset, size);
	resp_stream_done(call);
}

/* SET and its kin. */

enum {
	SET_NX = 1 << 0,
	SET_XX = 1 << 1,
	SET_GET = 1 << 2,
	SET_KEEP_EXPIRY = 1 << 3,
	SET_EXPIRY = 1 << 4,
	SET_PERSIST = 1 << 5,
	SET_REPLY_NUMBER = 1 << 6, /* SETNX: :1 or :0 */
};

struct set_state {
	uint32_t flags;
	uint32_t value;        /* index of the argument */
	uint32_t expiry_index; /* of the argument, or 0 */
	int expiry_unit;
	uint64_t expires_ms;
};

static void set_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	const struct set_state *state = RESP_STATE(call, struct set_state);
	uint32_t flags = state->flags;
	bool wanted = !(is_absent(entry) ? flags & SET_XX : flags & SET_NX);

	/* A value past scratch_max becomes a blob: only a transaction writes those. */
	if (wanted && !resp_edit_room(call, edit, call->argv[state->value].size))
		return;
	if (flags & SET_GET) {
		if (!resp_check_bytes(call, entry))
			return;
		count_lookup(call, entry);
		reply_entry(call, entry);
	} else if (flags & SET_REPLY_NUMBER) {
		resp_reply_i64(call, wanted);
	} else if (wanted) {
		resp_reply_ok(call);
	} else {
		resp_reply_null(call);
	}
	if (!wanted)
		return;
	resp_notify(call, RESP_EVENT_STRING, "set", entry->key);
	if (state->expires_ms != 0)
		resp_notify(call, RESP_EVENT_GENERIC, "expire", entry->key);
	store(edit, call->argv[state->value],
	      flags & SET_KEEP_EXPIRY ? entry->expires_ms : state->expires_ms);
}

/* A SET that looks at nothing is a PUT. */
static void set_decide(struct resp_call *call)
{
	const struct set_state *state = RESP_STATE(call, struct set_state);

	if (state->flags & (SET_NX | SET_XX | SET_GET | SET_REPLY_NUMBER))
		return;
	if (call->notify & (RESP_EVENT_NEW | RESP_EVENT_EXPIRED))
		return; /* it must look whether there is a key, or was one */
	call->kv_op = KV_PUT;
	call->kind = RESP_STRING;
	call->value = call->argv[state->value];
	call->expires_ms = state->expires_ms;
	call->kv_flags = state->flags & SET_KEEP_EXPIRY ? KV_KEEP_EXPIRY : 0;
}

struct set_option {
	const char *name;
	uint32_t flag, excludes;
	int unit; /* of the next word: enum resp_expiry_unit; 0: there is none */
};

static const struct set_option set_options[] = {
	{ "nx", SET_NX, SET_XX, 0 },
	{ "xx", SET_XX, SET_NX, 0 },
	{ "get", SET_GET, 0, 0 },
	{ "keepttl", SET_KEEP_EXPIRY, SET_EXPIRY | SET_PERSIST, 0 },
	{ "persist", SET_PERSIST, SET_EXPIRY | SET_KEEP_EXPIRY, 0 },
	{ "ex", SET_EXPIRY, SET_EXPIRY | SET_KEEP_EXPIRY | SET_PERSIST, RESP_EXPIRY_EX },
	{ "px", SET_EXPIRY, SET_EXPIRY | SET_KEEP_EXPIRY | SET_PERSIST, RESP_EXPIRY_PX },
	{ "exat", SET_EXPIRY, SET_EXPIRY | SET_KEEP_EXPIRY | SET_PERSIST, RESP_EXPIRY_EXAT },
	{ "pxat", SET_EXPIRY, SET_EXPIRY | SET_KEEP_EXPIRY | SET_PERSIST, RESP_EXPIRY_PXAT },
};

/* The options from argv[index] on, of those in `allowed`; false: an error is replied. */
static bool parse_set_options(struct resp_call *call, uint32_t index, uint32_t allowed)
{
	struct set_state *state = RESP_STATE(call, struct set_state);

	for (; index < call->argc; index++) {
		const struct set_option *option = NULL;

		for (unsigned i = 0; i < array_count(set_options); i++) {
			if (resp_word_is(call->argv[index], set_options[i].name))
				option = &set_options[i];
		}
		if (option == NULL || !(option->flag & allowed) ||
		    (option->excludes & state->flags) ||
		    (option->unit != 0 && index + 1 == call->argc)) {
			resp_reply_syntax_error(call);
			return false;
		}
		state->flags |= option->flag;
		if (option->unit != 0) {
			state->expiry_unit = option->unit;
			state->expiry_index = ++index;
		}
	}
	return true;
}

static bool parse_set_expiry(struct resp_call *call)
{
	struct set_state *state = RESP_STATE(call, struct set_state);

	return state->expiry_index == 0 ||
	       resp_expiry_option(call, state->expiry_index, state->expiry_unit,
	                          &state->expires_ms);
}

static bool set_prepare(struct resp_call *call)
{
	struct set_state *state = RESP_STATE(call, struct set_state);

	*state = (struct set_state){ .value = 2 };
	if (call->argc > 3 &&
	    !parse_set_options(call, 3, SET_NX | SET_XX | SET_GET | SET_KEEP_EXPIRY | SET_EXPIRY))
		return false;
	if (!parse_set_expiry(call))
		return false;
	set_decide(call);
	return true;
}

static bool set_put(struct resp_call *call, struct bytes key, const struct resp_value *old)
{
	const struct set_state *state = RESP_STATE(call, struct set_state);
	struct resp_value value = {
		.value = call->argv[state->value],
		.size = call->argv[state->value].size,
		.expires_ms = state->flags & SET_KEEP_EXPIRY ? old->expires_ms : state->expires_ms,
		.kind = RESP_STRING,
	};

	if (call->upload != NULL) {
		value.blob = resp_upload_long(call);
		if (value.blob == NULL)
			return false;
		value.size = value.blob->size;
	}
	return resp_txn_put(call->txn, key, &value);
}

/* The old value or the new one is long. */
static void set_stream(struct resp_call *call)
{
	const struct set_state *state = RESP_STATE(call, struct set_state);
	struct bytes key;
	const struct resp_value old = *resp_value_of(call, 1, &key);
	uint32_t flags = state->flags;
	bool wanted = !(old.exists ? flags & SET_NX : flags & SET_XX);

	if ((flags & SET_GET) && old.exists && old.kind != RESP_STRING) {
		resp_reply_wrong_type(call);
		resp_stream_done(call);
		return;
	}
	if (flags & SET_GET) {
		resp_count_lookup(call, key, old.exists);
		resp_reply_value(call, &old);
	} else if (flags & SET_REPLY_NUMBER) {
		resp_reply_i64(call, wanted);
	} else if (wanted) {
		resp_reply_ok(call);
	} else {
		resp_reply_null(call);
	}
	if (wanted && set_put(call, key, &old)) {
		resp_notify(call, RESP_EVENT_STRING, "set", key);
		if (state->expires_ms != 0)
			resp_notify(call, RESP_EVENT_GENERIC, "expire", key);
	}
	resp_stream_done(call);
}

static bool setnx_prepare(struct resp_call *call)
{
	*RESP_STATE(call, struct set_state) = (struct set_state){
		.flags = SET_NX | SET_REPLY_NUMBER,
		.value = 2,
	};
	return true;
}

static bool set_for_prepare(struct resp_call *call, int unit)
{
	struct set_state *state = RESP_STATE(call, struct set_state);

	*state = (struct set_state){ .value = 3 };
	if (!resp_expiry_option(call, 2, unit, &state->expires_ms))
		return false;
	set_decide(call);
	return true;
}

static bool setex_prepare(struct resp_call *call)
{
	return set_for_prepare(call, RESP_EXPIRY_EX);
}

static bool psetex_prepare(struct resp_call *call)
{
	return set_for_prepare(call, RESP_EXPIRY_PX);
}

static bool getset_prepare(struct resp_call *call)
{
	*RESP_STATE(call, struct set_state) = (struct set_state){ .flags = SET_GET, .value = 2 };
	return true;
}

static void getdel_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	count_lookup(call, entry);
	if (!resp_check_bytes(call, entry))
		return;
	reply_entry(call, entry);
	if (is_absent(entry))
		return;
	resp_notify(call, RESP_EVENT_GENERIC, "del", entry->key);
	edit->action = KV_REMOVE;
}

static void getdel_stream(struct resp_call *call)
{
	struct bytes key;
	const struct resp_value value = *resp_value_of(call, 1, &key);

	resp_reply_value(call, &value);
	resp_txn_delete(call->txn, key);
	resp_notify(call, RESP_EVENT_GENERIC, "del", key);
	resp_stream_done(call);
}

static bool getex_prepare(struct resp_call *call)
{
	*RESP_STATE(call, struct set_state) = (struct set_state){ .flags = 0 };
	return parse_set_options(call, 2, SET_PERSIST | SET_EXPIRY);
}

static void getex_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	const struct set_state *state = RESP_STATE(call, struct set_state);

	count_lookup(call, entry);
	if (!resp_check_bytes(call, entry))
		return;
	/* As in Redis, the time is not looked at when there is no key. */
	if (!is_absent(entry) && !parse_set_expiry(call))
		return;
	reply_entry(call, entry);
	if (is_absent(entry))
		return;
	if ((state->flags & SET_EXPIRY) && state->expires_ms <= call->wall_ms) {
		resp_notify(call, RESP_EVENT_GENERIC, "del", entry->key);
		edit->action = KV_REMOVE;
	} else if (state->flags & SET_EXPIRY) {
		resp_notify(call, RESP_EVENT_GENERIC, "expire", entry->key);
		store(edit, entry->value, state->expires_ms);
	} else if ((state->flags & SET_PERSIST) && entry->expires_ms != 0) {
		resp_notify(call, RESP_EVENT_GENERIC, "persist", entry->key);
		store(edit, entry->value, 0);
	}
}

static void getex_stream(struct resp_call *call)
{
	const struct set_state *state = RESP_STATE(call, struct set_state);
	struct bytes key;
	struct resp_value value = *resp_value_of(call, 1, &key);

	if (!parse_set_expiry(call)) {
		resp_stream_done(call);
		return;
	}
	resp_reply_value(call, &value);
	if ((state->flags & SET_EXPIRY) && state->expires_ms <= call->wall_ms) {
		resp_txn_delete(call->txn, key);
		resp_notify(call, RESP_EVENT_GENERIC, "del", key);
	} else if ((state->flags & SET_EXPIRY) ||
	           ((state->flags & SET_PERSIST) && value.expires_ms != 0)) {
		value.expires_ms = state->flags & SET_EXPIRY ? state->expires_ms : 0;
		if (resp_txn_put(call->txn, key, &value))
			resp_notify(call, RESP_EVENT_GENERIC,
			            value.expires_ms != 0 ? "expire" : "persist", key);
	}
	resp_stream_done(call);
}

/* Parts of a value. */

struct part_state {
	int64_t offset; /* -1: at the end */
	uint64_t size_max;
};

static bool append_prepare(struct resp_call *call)
{
	*RESP_STATE(call, struct part_state) = (struct part_state){
		.offset = -1,
		.size_max = call->server->settings.bulk_max,
	};
	return true;
}

static bool setrange_prepare(struct resp_call *call)
{
	struct part_state *state = RESP_STATE(call, struct part_state);

	if (!resp_argument_i64(call, 2, &state->offset))
		return false;
	if (state->offset < 0) {
		resp_reply_error(call, "ERR offset is out of range");
		return false;
	}
	state->size_max = call->server->settings.bulk_max;
	return true;
}

static uint64_t part_offset(struct resp_call *call, uint64_t size)
{
	const struct part_state *state = RESP_STATE(call, struct part_state);

	return state->offset < 0 ? size : (uint64_t)state->offset;
}

/* Whether a value of that size may come of it; else it is replied. */
static bool part_fits(struct resp_call *call, uint64_t offset, uint64_t size)
{
	const struct part_state *state = RESP_STATE(call, struct part_state);

	if (offset <= state->size_max && size <= state->size_max - offset)
		return true;
	resp_reply_error(call, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
	return false;
}

/* Replaces the bytes from state->offset on by the last argument. */
static void part_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	const struct part_state *state = RESP_STATE(call, struct part_state);
	struct bytes part = call->argv[call->argc - 1];
	uint64_t offset = part_offset(call, entry->size);
	uint64_t size;

	if (!resp_check_string(call, entry))
		return;
	if (part.size == 0 && (state->offset >= 0 || !is_absent(entry))) {
		resp_reply_i64(call, (int64_t)entry->size);
		return;
	}
	if (!part_fits(call, offset, part.size))
		return;
	size = offset + part.size > entry->size ? offset + part.size : entry->size;
	call->blob = entry->blob;
	if (call->blob || !resp_edit_room(call, edit, size))
		return;
	if (entry->size > 0)
		memcpy(edit->scratch, entry->value.data, entry->size);
	if (offset > entry->size)
		memset(edit->scratch + entry->size, 0, offset - entry->size);
	memcpy(edit->scratch + offset, part.data, part.size);
	resp_notify(call, RESP_EVENT_STRING, state->offset < 0 ? "append" : "setrange", entry->key);
	store(edit, bytes_of(edit->scratch, size), entry->expires_ms);
	resp_reply_i64(call, (int64_t)size);
}

static void part_made(struct resp_call *call)
{
	struct bytes key;
	struct resp_value value = *resp_value_of(call, 1, &key);

	value.blob = call->txn->make.made;
	if (value.blob != NULL) {
		value.value = bytes_of(NULL, 0);
		value.size = value.blob->size;
		value.kind = RESP_STRING;
		resp_reply_i64(call, (int64_t)value.size);
		if (resp_txn_put(call->txn, key, &value))
			resp_notify(call, RESP_EVENT_STRING, call->command->name, key);
	}
	resp_stream_done(call);
}

/* The value as it was, and the last argument over it. False: replied, or no memory. */
static bool part_make(struct resp_call *call)
{
	struct bytes key;
	const struct resp_value *old = resp_value_of(call, 1, &key);
	struct resp_part *parts = resp_txn_memory(call->txn, 2 * sizeof(*parts));
	struct resp_part *part = parts + 1;
	struct resp_make make = { .parts = parts, .part_count = 2, .next = part_made };

	if (parts == NULL)
		return false;
	if (old->exists && old->kind != RESP_STRING) {
		resp_reply_wrong_type(call);
		return false;
	}
	parts[0] = (struct resp_part){
		.size = old->size,
		.bytes = old->value,
		.blob = old->blob,
		.op = BITS_COPY,
	};
	*part = (struct resp_part){ .at = part_offset(call, old->size), .op = BITS_COPY };
	if (call->upload != NULL) {
		part->blob = resp_upload_long(call);
		if (part->blob == NULL)
			return false;
		part->size = part->blob->size;
	} else {
		part->bytes = call->argv[call->argc - 1];
		part->size = part->bytes.size;
	}
	if (!part_fits(call, part->at, part->size))
		return false;
	make.key = key;
	make.size = part->at + part->size > old->size ? part->at + part->size : old->size;
	return resp_make(call, &make);
}

static void part_stream(struct resp_call *call)
{
	if (!part_make(call))
		resp_stream_done(call);
}

/* Several keys. */

static void mget_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	count_lookup(call, entry);
	call->blob = entry->blob;
	resp_reply_array(call, 1);
	if (is_absent(entry) || entry->kind != RESP_STRING)
		resp_reply_null(call);
	else
		resp_reply_bulk(call, entry->value);
}

static void mget_apply(struct resp_call *call)
{
	struct bytes key;

	resp_reply_array(call, call->argc - 1);
	for (uint32_t i = 1; i < call->argc; i++) {
		const struct resp_value *value;

		if (!resp_call_key(call, i, &key))
			unreachable(); /* the transaction has loaded it */
		value = resp_txn_get(call->txn, key);
		resp_count_lookup(call, key, value->exists);
		if (value->exists && value->kind == RESP_STRING)
			resp_reply_value(call, value);
		else
			resp_reply_null(call);
	}
}

static bool mset_prepare(struct resp_call *call)
{
	if (call->argc % 2 == 1)
		return true;
	resp_reply_errorf(call, "ERR wrong number of arguments for '%s' command",
	                  call->command->name);
	return false;
}

/* False: no memory, replied. */
static bool mset_put(struct resp_call *call)
{
	struct bytes key;

	for (uint32_t i = 1; i < call->argc; i += 2) {
		struct resp_value value = {
			.value = call->argv[i + 1],
			.size = call->argv[i + 1].size,
			.kind = RESP_STRING,
		};

		if (!resp_call_key(call, i, &key))
			unreachable(); /* the transaction knows it */
		if (!resp_txn_put(call->txn, key, &value))
			return false;
		resp_notify(call, RESP_EVENT_STRING, "set", key);
	}
	return true;
}

static void mset_apply(struct resp_call *call)
{
	if (mset_put(call))
		resp_reply_ok(call);
}

static void msetnx_apply(struct resp_call *call)
{
	struct bytes key;

	for (uint32_t i = 1; i < call->argc; i += 2) {
		if (!resp_call_key(call, i, &key))
			unreachable(); /* the transaction has loaded it */
		if (resp_txn_get(call->txn, key)->exists) {
			resp_reply_i64(call, 0);
			return;
		}
	}
	if (mset_put(call))
		resp_reply_i64(call, 1);
}

enum {
	READS = RESP_READONLY | RESP_FAST,
	WRITES = RESP_WRITE | RESP_DENYOOM,
	ACL_READS = RESP_ACL_READ | RESP_ACL_STRING,
	ACL_WRITES = RESP_ACL_WRITE | RESP_ACL_STRING,
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "get", .arity = 2, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = READS | RESP_LOADS | RESP_STREAMS, .acl = ACL_READS | RESP_ACL_FAST,
	  .prepare = prepare_nothing, .visit = get_visit,
	  .stream = get_stream },
	{ .name = "set", .arity = -3, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = WRITES | RESP_LOADS | RESP_UPLOADS, .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = set_prepare, .visit = set_visit,
	  .stream = set_stream },
	{ .name = "setnx", .arity = 3, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = WRITES | RESP_FAST | RESP_LOADS | RESP_UPLOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST,
	  .prepare = setnx_prepare, .visit = set_visit,
	  .stream = set_stream },
	{ .name = "setex", .arity = 4, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = WRITES | RESP_LOADS | RESP_UPLOADS, .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = setex_prepare, .visit = set_visit,
	  .stream = set_stream },
	{ .name = "psetex", .arity = 4, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = WRITES | RESP_LOADS | RESP_UPLOADS, .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = psetex_prepare, .visit = set_visit,
	  .stream = set_stream },
	{ .name = "getset", .arity = 3, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = WRITES | RESP_FAST | RESP_LOADS | RESP_UPLOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST,
	  .prepare = getset_prepare, .visit = set_visit,
	  .stream = set_stream },
	{ .name = "getdel", .arity = 2, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = RESP_WRITE | RESP_FAST | RESP_LOADS, .acl = ACL_WRITES | RESP_ACL_FAST,
	  .prepare = prepare_nothing, .visit = getdel_visit,
	  .stream = getdel_stream },
	{ .name = "getex", .arity = -2, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = RESP_WRITE | RESP_FAST | RESP_LOADS, .acl = ACL_WRITES | RESP_ACL_FAST,
	  .prepare = getex_prepare, .visit = getex_visit,
	  .stream = getex_stream },
	{ .name = "strlen", .arity = 2, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = READS, .acl = ACL_READS | RESP_ACL_FAST,
	  .prepare = prepare_nothing, .visit = strlen_visit },
	{ .name = "getrange", .arity = 4, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = RESP_READONLY | RESP_LOADS | RESP_STREAMS, .acl = ACL_READS | RESP_ACL_SLOW,
	  .prepare = getrange_prepare, .visit = getrange_visit,
	  .stream = get_stream },
	{ .name = "substr", .arity = 4, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = RESP_READONLY | RESP_LOADS | RESP_STREAMS, .acl = ACL_READS | RESP_ACL_SLOW,
	  .prepare = getrange_prepare, .visit = getrange_visit,
	  .stream = get_stream },
	{ .name = "append", .arity = 3, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = WRITES | RESP_FAST | RESP_LOADS | RESP_UPLOADS,
	  .acl = ACL_WRITES | RESP_ACL_FAST,
	  .prepare = append_prepare, .visit = part_visit,
	  .stream = part_stream },
	{ .name = "setrange", .arity = 4, .key_first = 1, .key_last = 1, .key_step = 1,
	  .flags = WRITES | RESP_LOADS | RESP_UPLOADS, .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = setrange_prepare, .visit = part_visit,
	  .stream = part_stream },
	{ .name = "mget", .arity = -2, .key_first = 1, .key_last = -1, .key_step = 1,
	  .flags = READS | RESP_LOADS, .acl = ACL_READS | RESP_ACL_FAST,
	  .prepare = prepare_nothing, .visit = mget_visit, .apply = mget_apply },
	{ .name = "mset", .arity = -3, .key_first = 1, .key_last = -1, .key_step = 2,
	  .flags = WRITES | RESP_BLIND, .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = mset_prepare, .apply = mset_apply },
	{ .name = "msetnx", .arity = -3, .key_first = 1, .key_last = -1, .key_step = 2,
	  .flags = WRITES | RESP_META, .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = mset_prepare, .apply = msetnx_apply },
};
// clang-format on

const struct resp_table resp_string_table = { commands, array_count(commands) };
