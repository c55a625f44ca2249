/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that wait until what was acknowledged is on disk: WEIR.SYNC, WAITAOF, WAIT. They start
 * when all earlier commands of their connection have ended, so that those are waited for.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

static void submit(struct resp_call *call, resp_next_fn *next)
{
	struct kv_cmd cmd = { .op = KV_SYNC };

	resp_call_submit(call, &cmd, next);
}

static void synced(struct resp_call *call)
{
	if (call->req.status != STATUS_OK)
		resp_reply_status(call, call->req.status);
	else
		resp_reply_ok(call);
	resp_call_done(call);
}

static void sync_start(struct resp_call *call)
{
	submit(call, synced);
}

/* How many disks have it: this one, and no replicas, since there are none. */
static void waitaof_synced(struct resp_call *call)
{
	if (call->req.status != STATUS_OK && call->req.status != STATUS_TIMEOUT) {
		resp_reply_status(call, call->req.status);
	} else {
		resp_reply_array(call, 2);
		resp_reply_i64(call, call->req.status == STATUS_OK);
		resp_reply_i64(call, 0);
	}
	resp_call_done(call);
}

/* False: an error is replied. */
static bool parse_numbers(struct resp_call *call, int64_t *numbers, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!resp_argument_i64(call, i + 1, &numbers[i]))
			return false;
	}
	if (numbers[count - 1] >= 0)
		return true;
	resp_reply_error(call, "ERR timeout is negative");
	return false;
}

static void waitaof_start(struct resp_call *call)
{
	int64_t numbers[3];

	if (!parse_numbers(call, numbers, array_count(numbers))) {
		resp_call_done(call);
		return;
	}
	if (numbers[0] < 0 || numbers[0] > 1 || numbers[1] < 0) {
		resp_reply_error(call, "ERR value is out of range, must be between 0 and 1");
		resp_call_done(call);
		return;
	}
	submit(call, waitaof_synced);
}

/* There are no replicas, and none can come: it is known at once how many have it. */
static void wait_run(struct resp_call *call)
{
	int64_t numbers[2];

	if (parse_numbers(call, numbers, array_count(numbers)))
		resp_reply_i64(call, 0);
}

enum {
	ACL = RESP_ACL_SLOW | RESP_ACL_CONNECTION,
	FLAGS = RESP_NOSCRIPT | RESP_NO_MULTI,
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "wait", .arity = 3, .flags = RESP_NOSCRIPT, .acl = ACL, .run = wait_run },
	{ .name = "waitaof", .arity = 4, .flags = FLAGS, .acl = ACL, .start = waitaof_start },
	{ .name = "weir.sync", .arity = 1, .flags = FLAGS, .acl = ACL, .start = sync_start },
};
// clang-format on

const struct resp_table resp_sync_table = { commands, array_count(commands) };
