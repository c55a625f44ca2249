/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that Redis does not have: values with their versions. */
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_long.h"

/* WEIR.GETV key: its value and its version, or null. */
static bool getv_prepare(struct resp_call *call)
{
	(void)call;
	return true;
}

static void getv_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	if (entry->version == 0) {
		resp_reply_null_array(call);
		return;
	}
	if (entry->kind != RESP_STRING) {
		resp_reply_wrong_type(call);
		return;
	}
	call->blob = entry->blob;
	if (call->blob)
		return;
	resp_reply_array(call, 2);
	resp_reply_bulk(call, entry->value);
	resp_reply_i64(call, (int64_t)entry->version);
}

static void getv_stream(struct resp_call *call)
{
	const struct resp_value *value = resp_value_of(call, 1, NULL);

	resp_reply_array(call, 2);
	resp_reply_value(call, value);
	resp_reply_i64(call, (int64_t)value->version);
	resp_stream_done(call);
}

/* WEIR.CAS key version value: OK if it had that version (0: was absent), else null. */
struct cas_state {
	uint64_t version;
};

static bool cas_prepare(struct resp_call *call)
{
	if (number_parse_uint64(call->argv[2], &RESP_STATE(call, struct cas_state)->version))
		return true;
	resp_reply_error(call, "ERR version is not an integer or out of range");
	return false;
}

static void cas_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	if (entry->version != RESP_STATE(call, struct cas_state)->version) {
		resp_reply_null(call);
		return;
	}
	if (!resp_edit_room(call, edit, call->argv[3].size))
		return;
	edit->action = KV_STORE;
	edit->value = call->argv[3];
	edit->expires_ms = entry->expires_ms;
	edit->kind = RESP_STRING;
	resp_reply_ok(call);
}

#define KEY_1 .key_first = 1, .key_last = 1, .key_step = 1

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "weir.getv", .arity = 2, KEY_1, .flags = RESP_READONLY | RESP_FAST | RESP_LOADS,
	  .acl = RESP_ACL_READ | RESP_ACL_STRING | RESP_ACL_FAST,
	  .prepare = getv_prepare, .visit = getv_visit, .stream = getv_stream },
	{ .name = "weir.cas", .arity = 4, KEY_1,
	  .flags = RESP_WRITE | RESP_DENYOOM | RESP_FAST | RESP_LOADS | RESP_NO_MULTI,
	  .acl = RESP_ACL_WRITE | RESP_ACL_STRING | RESP_ACL_FAST,
	  .prepare = cas_prepare, .visit = cas_visit },
};
// clang-format on

const struct resp_table resp_own_table = { commands, array_count(commands) };
