/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on strings as numbers. A value that is a blob has more digits than any. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_internal.h"

static void store(struct kv_edit *edit, struct bytes value, uint64_t expires_ms)
{
	edit->action = KV_STORE;
	edit->value = value;
	edit->expires_ms = expires_ms;
	edit->kind = RESP_STRING;
}

struct incr_state {
	int64_t by;
};

static bool incr_prepare(struct resp_call *call)
{
	RESP_STATE(call, struct incr_state)->by = 1;
	return true;
}

static bool decr_prepare(struct resp_call *call)
{
	RESP_STATE(call, struct incr_state)->by = -1;
	return true;
}

static bool incrby_prepare(struct resp_call *call)
{
	return resp_argument_i64(call, 2, &RESP_STATE(call, struct incr_state)->by);
}

static bool decrby_prepare(struct resp_call *call)
{
	struct incr_state *state = RESP_STATE(call, struct incr_state);

	if (!resp_argument_i64(call, 2, &state->by))
		return false;
	if (state->by == INT64_MIN) {
		resp_reply_error(call, "ERR decrement would overflow");
		return false;
	}
	state->by = -state->by;
	return true;
}

static void incr_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	int64_t value = 0;

	if (!resp_check_string(call, entry))
		return;
	if (entry->version != 0 && !number_parse_int64(entry->value, &value)) {
		resp_reply_error(call, "ERR value is not an integer or out of range");
		return;
	}
	if (!number_add_int64(value, RESP_STATE(call, struct incr_state)->by, &value)) {
		resp_reply_error(call, "ERR increment or decrement would overflow");
		return;
	}
	resp_notify(call, RESP_EVENT_STRING, "incrby", entry->key);
	store(edit, bytes_of(edit->scratch, resp_write_i64(edit->scratch, value)),
	      entry->expires_ms);
	resp_reply_i64(call, value);
}

struct incrbyfloat_state {
	long double by;
};

static bool incrbyfloat_prepare(struct resp_call *call)
{
	struct incrbyfloat_state *state = RESP_STATE(call, struct incrbyfloat_state);

	if (number_parse_long(call->argv[2], &state->by))
		return true;
	resp_reply_error(call, "ERR value is not a valid float");
	return false;
}

static void incrbyfloat_visit(struct resp_call *call, const struct kv_entry *entry,
                              struct kv_edit *edit)
{
	long double value = 0;
	size_t size;

	if (!resp_check_string(call, entry))
		return;
	if (entry->version != 0 && !number_parse_long(entry->value, &value)) {
		resp_reply_error(call, "ERR value is not a valid float");
		return;
	}
	value += RESP_STATE(call, struct incrbyfloat_state)->by;
	if (__builtin_isnan(value) || __builtin_isinf(value)) {
		resp_reply_error(call, "ERR increment would produce NaN or Infinity");
		return;
	}
	assert(edit->scratch_max >= NUMBER_LONG_MAX);
	resp_notify(call, RESP_EVENT_STRING, "incrbyfloat", entry->key);
	size = number_format_long(value, (char *)edit->scratch);
	store(edit, bytes_of(edit->scratch, size), entry->expires_ms);
	resp_reply_bulk(call, edit->value);
}

enum {
	WRITES = RESP_WRITE | RESP_DENYOOM | RESP_FAST,
	ACL = RESP_ACL_WRITE | RESP_ACL_STRING | RESP_ACL_FAST,
};

#define KEY_1 .key_first = 1, .key_last = 1, .key_step = 1

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "incr", .arity = 2, KEY_1, .flags = WRITES, .acl = ACL,
	  .prepare = incr_prepare, .visit = incr_visit },
	{ .name = "decr", .arity = 2, KEY_1, .flags = WRITES, .acl = ACL,
	  .prepare = decr_prepare, .visit = incr_visit },
	{ .name = "incrby", .arity = 3, KEY_1, .flags = WRITES, .acl = ACL,
	  .prepare = incrby_prepare, .visit = incr_visit },
	{ .name = "decrby", .arity = 3, KEY_1, .flags = WRITES, .acl = ACL,
	  .prepare = decrby_prepare, .visit = incr_visit },
	{ .name = "incrbyfloat", .arity = 3, KEY_1, .flags = WRITES | RESP_LOADS, .acl = ACL,
	  .prepare = incrbyfloat_prepare, .visit = incrbyfloat_visit },
};
// clang-format on

const struct resp_table resp_incr_table = { commands, array_count(commands) };
