/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call writes, in one COMMIT: it names the version of every record that it was decided by,
 * so a change that somebody else's came before of is decided again, from the start.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

static struct obj_change *change_of(struct obj_call *call)
{
	return (struct obj_change *)(void *)call->work->data;
}

bool obj_change_begin(struct obj_call *call)
{
	struct obj_change *change;

	if (!obj_call_work(call, &call->work, sizeof(*change)))
		return false;
	change = change_of(call);
	change->commit = (struct kv_commit){ .writes = change->writes };
	change->keys_used = 0;
	return true;
}

uint8_t *obj_change_memory(struct obj_call *call, size_t size)
{
	struct obj_change *change = change_of(call);
	uint8_t *memory = change->keys + change->keys_used;

	assert(size <= OBJ_CHANGE_KEYS - change->keys_used);
	change->keys_used += (uint32_t)size;
	return memory;
}

static struct kv_write *change_add(struct obj_call *call, enum kv_op op, const struct obj_key *key,
                                   uint64_t version)
{
	struct obj_change *change = change_of(call);
	struct kv_write *write = &change->writes[change->commit.count];
	uint8_t *memory = obj_change_memory(call, key->size);

	assert(change->commit.count < OBJ_CHANGE_WRITES);
	change->commit.count++;
	memcpy(memory, key->data, key->size);
	*write = (struct kv_write){ .op = (uint8_t)op, .key = bytes_of(memory, key->size) };
	if (version != OBJ_ANY) {
		write->flags = KV_IF_VERSION;
		write->version = version;
	}
	return write;
}

void obj_change_check(struct obj_call *call, const struct obj_key *key, uint64_t version)
{
	assert(version != OBJ_ANY);
	change_add(call, KV_GET, key, version);
}

void obj_change_put(struct obj_call *call, const struct obj_key *key, struct bytes value,
                    uint64_t version)
{
	assert(value.size <= KV_INLINE_MAX);
	change_add(call, KV_PUT, key, version)->value = value;
}

void obj_change_put_blob(struct obj_call *call, const struct obj_key *key, uint64_t blob)
{
	struct kv_write *write = change_add(call, KV_PUT, key, OBJ_ANY);

	assert(blob != 0);
	write->flags = KV_FROM_BLOB;
	write->version = blob;
}

void obj_change_delete(struct obj_call *call, const struct obj_key *key, uint64_t version)
{
	change_add(call, KV_DELETE, key, version);
}

void obj_change_trash(struct obj_call *call, unsigned partition, const struct obj_trash *trash)
{
	bool is_data = trash->kind == OBJ_TRASH_INTENT || trash->kind == OBJ_TRASH_DATA;
	uint8_t *value = obj_change_memory(call, OBJ_TRASH_SIZE);
	struct obj_key key;

	obj_trash_encode(trash, value);
	/* Of data: the number alone, so that what an intent becomes takes its place. */
	obj_key_begin(&key, OBJ_SPACE_TRASH, partition, is_data ? trash->id >> 16 : trash->id);
	obj_change_put(call, &key, bytes_of(value, OBJ_TRASH_SIZE), OBJ_ANY);
}

void obj_change_drop_data(struct obj_call *call, unsigned partition,
                          const struct obj_record *record)
{
	struct obj_trash trash = { .id = record->data_id, .part_count = record->part_count };
	struct obj_key key;

	switch ((enum obj_data)record->data) {
	case OBJ_DATA_NONE:
	case OBJ_DATA_INLINE:
		return;
	case OBJ_DATA_EXTENTS:
		/* Who reads one extent has it pinned; of several, others may be needed later. */
		if (obj_extent_count(record->size, record->extent_shift) == 1) {
			obj_data_key(record->data_id, 0, &key);
			obj_change_delete(call, &key, OBJ_ANY);
			return;
		}
		trash.kind = OBJ_TRASH_DATA;
		obj_change_trash(call, obj_data_partition(record->data_id), &trash);
		return;
	case OBJ_DATA_PARTS:
		trash.kind = OBJ_TRASH_UPLOAD;
		obj_change_trash(call, partition, &trash);
		return;
	}
	unreachable();
}

void obj_change_check_seal(struct obj_call *call)
{
	struct obj_key key;

	assert(call->seal_version != 0);
	obj_key_begin(&key, OBJ_SPACE_SEALS, call->partition, call->bucket_id);
	obj_change_check(call, &key, call->seal_version);
}

static void change_answered(struct obj_call *call)
{
	if (call->req.status == STATUS_CONFLICT)
		obj_call_again(call);
	else
		call->fetched_next(call);
}

void obj_change_submit(struct obj_call *call, obj_step_fn *next)
{
	struct obj_change *change = change_of(call);
	struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &change->commit };

	assert(change->commit.count > 0);
	call->fetched_next = next;
	obj_call_kv(call, &cmd, change_answered);
}

void obj_call_again(struct obj_call *call)
{
	enum status status = call->parent != NULL ? req_check(call->parent) : STATUS_OK;

	assert(call->again != NULL);
	call->engine->stats.retries++;
	if (call->cmd.bucket.size > 0)
		obj_bucket_forget(call->engine, call->cmd.bucket);
	if (status == STATUS_OK && ++call->tries >= OBJ_TRIES_MAX)
		status = STATUS_BUSY;
	if (status != STATUS_OK)
		obj_call_finish(call, status, 0);
	else
		call->again(call);
}
