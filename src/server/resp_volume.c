/* SPDX-License-Identifier: Apache-2.0 */
/* Commands for `weir volume`: block devices on the store. */
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_internal.h"

static void failed(struct resp_call *call, const char *error)
{
	resp_reply_error(call, error);
	resp_call_done(call);
}

static void done(struct resp_call *call)
{
	switch (call->req.status) {
	case STATUS_OK:
		resp_reply_ok(call);
		break;
	case STATUS_NOT_FOUND:
		resp_reply_error(call, "ERR there is no volume of that name");
		break;
	case STATUS_EXISTS:
		resp_reply_error(call, "ERR there is a volume of that name");
		break;
	case STATUS_INVALID:
		resp_reply_error(call,
		                 "ERR a name has 1 to 64 letters, digits and . _ - @ + :, and "
		                 "a size is a multiple of the record, 4K to 32K, up to 1P");
		break;
	case STATUS_TOO_LARGE:
		resp_reply_error(call, "ERR too many snapshots lie behind it: delete one, or copy");
		break;
	case STATUS_READ_ONLY:
		resp_reply_error(call, "ERR only a snapshot can be cloned: make one first");
		break;
	case STATUS_DENIED:
		resp_reply_error(call, "ERR that is a snapshot: it cannot change");
		break;
	case STATUS_BUSY:
		resp_reply_error(call, "ERR it is in use");
		break;
	default:
		resp_reply_status(call, call->req.status);
		break;
	}
	resp_call_done(call);
}

static void change(struct resp_call *call, const struct volume_cmd *cmd)
{
	struct volume_cmd *kept = RESP_STATE(call, struct volume_cmd);

	if (call->server->volumes == NULL) {
		failed(call, "ERR no volumes are served here");
		return;
	}
	*kept = *cmd;
	volume_submit(call->server->volumes, resp_call_request(call, done), kept);
}

/* WEIR.VOLCREATE name size [record] */
static void create_start(struct resp_call *call)
{
	struct volume_cmd cmd = { .op = VOLUME_CREATE, .name = call->argv[1] };
	int64_t size = 0, record = 1 << VOLUME_RECORD_SHIFT_MIN;

	if (call->argc > 4 || !number_parse_int64(call->argv[2], &size) || size <= 0 ||
	    (call->argc == 4 && !number_parse_int64(call->argv[3], &record)) ||
	    record < 1 << VOLUME_RECORD_SHIFT_MIN || record > 1 << VOLUME_RECORD_SHIFT_MAX ||
	    (record & (record - 1)) != 0) {
		failed(call, "ERR a name, a size in bytes, and a record of 4096 to 32768 bytes");
		return;
	}
	cmd.size = (uint64_t)size;
	cmd.record_shift = (uint32_t)__builtin_ctzll((uint64_t)record);
	change(call, &cmd);
}

/* WEIR.VOLRESIZE name size */
static void resize_start(struct resp_call *call)
{
	struct volume_cmd cmd = { .op = VOLUME_RESIZE, .name = call->argv[1] };
	int64_t size;

	if (!number_parse_int64(call->argv[2], &size) || size <= 0) {
		failed(call, "ERR a name, and a size in bytes");
		return;
	}
	cmd.size = (uint64_t)size;
	change(call, &cmd);
}

/* WEIR.VOLSNAPSHOT volume snapshot */
static void snapshot_start(struct resp_call *call)
{
	change(call, &(struct volume_cmd){ .op = VOLUME_SNAPSHOT,
	                                   .name = call->argv[1],
	                                   .other = call->argv[2] });
}

/* WEIR.VOLCLONE snapshot volume */
static void clone_start(struct resp_call *call)
{
	change(call, &(struct volume_cmd){
	                     .op = VOLUME_CLONE, .name = call->argv[1], .other = call->argv[2] });
}

/* WEIR.VOLDELETE name */
static void delete_start(struct resp_call *call)
{
	change(call, &(struct volume_cmd){ .op = VOLUME_DELETE, .name = call->argv[1] });
}

static struct bytes text(const char *string)
{
	return bytes_of(string, strlen(string));
}

/* WEIR.VOLLIST: of each: name, size, record, 1 if read-only, layers, created (s), origin. */
static void list_start(struct resp_call *call)
{
	struct volume_set *volumes = call->server->volumes;
	uint32_t count = 0;

	for (uint32_t i = 0; i < VOLUMES_MAX && volumes != NULL; i++)
		count += volume_at(volumes, i) != NULL;
	resp_reply_array(call, count);
	for (uint32_t i = 0; i < VOLUMES_MAX && count > 0; i++) {
		const struct volume_info *info = volume_at(volumes, i);

		if (info == NULL)
			continue;
		resp_reply_array(call, 7);
		resp_reply_bulk(call, text(info->name));
		resp_reply_i64(call, (int64_t)info->size);
		resp_reply_i64(call, info->record_size);
		resp_reply_i64(call, info->read_only);
		resp_reply_i64(call, info->depth);
		resp_reply_i64(call, (int64_t)(info->created_ms / 1000));
		resp_reply_bulk(call, text(info->origin));
	}
	resp_call_done(call);
}

enum { FLAGS = RESP_ADMIN | RESP_NOSCRIPT | RESP_NO_MULTI };

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "weir.volcreate", .arity = -3, .flags = FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = create_start },
	{ .name = "weir.volresize", .arity = 3, .flags = FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = resize_start },
	{ .name = "weir.volsnapshot", .arity = 3, .flags = FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = snapshot_start },
	{ .name = "weir.volclone", .arity = 3, .flags = FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = clone_start },
	{ .name = "weir.voldelete", .arity = 2, .flags = FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = delete_start },
	{ .name = "weir.vollist", .arity = 1, .flags = FLAGS,
	  .acl = RESP_ACL_ADMIN | RESP_ACL_DANGEROUS, .start = list_start },
};
// clang-format on

const struct resp_table resp_volume_table = { commands, array_count(commands) };
