/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buckets. A bucket's record is in partition 0, in the order of names. What a writer must know of
 * it, whether there is versioning and that it is not being deleted, lies beside its objects in each
 * partition that has some: its seals. They are written together, and a change of an object checks
 * the seal that it was decided by, so that no engine but the objects' own has to be asked.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "engine/obj_state.h"

void obj_bucket_key(struct bytes name, struct obj_key *key)
{
	key->size = 0;
	obj_key_add_number(key, OBJ_SPACE_BUCKETS, 1);
	obj_key_add_number(key, 0, 2);
	obj_key_add(key, name);
}

unsigned obj_bucket_partition(const struct obj_call *call, unsigned index)
{
	assert(index < call->bucket_spread);
	return (call->bucket_base + index) % call->engine->kv->traits.partitions;
}

/* Where a bucket's first partition is: anywhere, but always the same. */
static uint16_t base_of(const struct obj_call *call, uint64_t id)
{
	return (uint16_t)(hash64(bytes_of(&id, sizeof(id))) % call->engine->kv->traits.partitions);
}

static struct obj_bucket_ref *ref_of(struct obj_engine *engine, struct bytes name)
{
	return &engine->buckets[hash64(name) % OBJ_BUCKETS_CACHED];
}

static bool ref_is(const struct obj_bucket_ref *ref, struct bytes name)
{
	return ref->id != 0 && bytes_equal(bytes_of(ref->name, ref->name_size), name);
}

void obj_bucket_forget(struct obj_engine *engine, struct bytes name)
{
	struct obj_bucket_ref *ref = ref_of(engine, name);

	if (ref_is(ref, name))
		ref->id = 0;
}

/* From what is remembered to the call. */
static void use_ref(struct obj_call *call, const struct obj_bucket_ref *ref)
{
	call->bucket_id = ref->id;
	call->bucket_base = ref->base;
	call->bucket_spread = ref->spread;
	call->name_index = 0;
	if (call->cmd.name.size > 0)
		call->name_index = (unsigned)(hash64(call->cmd.name) % ref->spread);
	call->partition = obj_bucket_partition(call, call->name_index);
}

static void remember(struct obj_call *call, const struct obj_bucket_record *record)
{
	struct obj_bucket_ref *ref = ref_of(call->engine, call->cmd.bucket);

	if (!ref_is(ref, call->cmd.bucket) || ref->id != record->id) {
		*ref = (struct obj_bucket_ref){
			.id = record->id,
			.base = base_of(call, record->id),
			.spread = record->spread,
			.name_size = (uint8_t)call->cmd.bucket.size,
		};
		memcpy(ref->name, call->cmd.bucket.data, call->cmd.bucket.size);
	}
	use_ref(call, ref);
	call->bucket_is_fresh = true;
}

bool obj_call_bucket_decode(struct obj_call *call, struct obj_bucket_record *record)
{
	enum status status = obj_bucket_decode(obj_fetched_bytes(&call->other), record);

	if (status == STATUS_OK && record->spread <= call->engine->kv->traits.partitions)
		return true;
	obj_call_finish(call, STATUS_CORRUPT, 0);
	return false;
}

static void record_fetched(struct obj_call *call)
{
	struct obj_bucket_record record;

	if (call->other.version == 0) {
		obj_bucket_forget(call->engine, call->cmd.bucket);
		obj_call_not_found(call, OBJ_NO_BUCKET);
		return;
	}
	if (!obj_call_bucket_decode(call, &record))
		return;
	remember(call, &record);
	call->place_next(call);
}

void obj_call_bucket_record(struct obj_call *call, obj_step_fn *next)
{
	call->place_next = next;
	obj_bucket_key(call->cmd.bucket, &call->key);
	obj_call_fetch(call, &call->other, record_fetched);
}

void obj_call_bucket(struct obj_call *call, obj_step_fn *next)
{
	const struct obj_bucket_ref *ref = ref_of(call->engine, call->cmd.bucket);

	if (!ref_is(ref, call->cmd.bucket)) {
		obj_call_bucket_record(call, next);
		return;
	}
	use_ref(call, ref);
	next(call);
}

bool obj_bucket_is_closed(const struct obj_call *call, const struct obj_bucket_record *record)
{
	uint64_t now_ms = call->engine->worker->wall_ms;

	/* Its deleter may have died; when the clock was set back nobody waits for it either. */
	return record->closing && now_ms >= record->closed_ms &&
	       now_ms - record->closed_ms < OBJ_CLOSING_MS;
}

static void add_seals(struct obj_call *call, const struct obj_bucket_record *record)
{
	struct obj_seal seal = {
		.versioning = record->versioning,
		.locks = record->locks,
		.closing = record->closing,
	};
	uint8_t *value = obj_change_memory(call, OBJ_SEAL_SIZE);
	struct obj_key key;

	obj_seal_encode(&seal, value);
	call->bucket_base = base_of(call, record->id);
	call->bucket_spread = record->spread;
	for (unsigned i = 0; i < record->spread; i++) {
		obj_key_begin(&key, OBJ_SPACE_SEALS, obj_bucket_partition(call, i), record->id);
		obj_change_put(call, &key, bytes_of(value, OBJ_SEAL_SIZE), OBJ_ANY);
	}
}

bool obj_change_bucket(struct obj_call *call, const struct obj_bucket_record *record, bool seals)
{
	struct obj_key key;
	size_t size;

	if (!obj_change_begin(call) ||
	    !obj_call_work(call, &call->made_buf, OBJ_BUCKET_HEADER + OBJ_LABEL_MAX))
		return false;
	size = obj_bucket_encode(record, call->made_buf->data);
	obj_bucket_key(call->cmd.bucket, &key);
	obj_change_put(call, &key, bytes_of(call->made_buf->data, size), call->other.version);
	if (seals)
		add_seals(call, record);
	return true;
}

/* A bucket whose deletion was begun, and not ended in time, is used again. */
static void reopened(struct obj_call *call)
{
	if (!obj_call_failed(call))
		obj_call_again(call);
}

static void reopen(struct obj_call *call)
{
	struct obj_bucket_record record;

	if (!obj_call_bucket_decode(call, &record))
		return;
	if (obj_bucket_is_closed(call, &record)) {
		obj_call_finish(call, STATUS_BUSY, 0);
		return;
	}
	record.closing = false;
	if (obj_change_bucket(call, &record, /* seals= */ true))
		obj_change_submit(call, reopened);
}

static void seal_known(struct obj_call *call, const struct obj_seal_ref *seal)
{
	call->seal = seal->seal;
	call->seal_version = seal->version;
	if (seal->seal.closing)
		obj_call_bucket_record(call, reopen);
	else
		call->place_next(call);
}

static void seal_fetched(struct obj_call *call)
{
	struct obj_bucket_ref *ref = ref_of(call->engine, call->cmd.bucket);
	struct obj_seal_ref seal = { .version = call->other.version };

	if (seal.version == 0) { /* it is gone, or is another one now */
		obj_call_again(call);
		return;
	}
	if (obj_seal_decode(obj_fetched_bytes(&call->other), &seal.seal) != STATUS_OK) {
		obj_call_finish(call, STATUS_CORRUPT, 0);
		return;
	}
	if (ref_is(ref, call->cmd.bucket) && ref->id == call->bucket_id && !seal.seal.closing)
		ref->seals[call->name_index] = seal;
	seal_known(call, &seal);
}

void obj_call_seal(struct obj_call *call, obj_step_fn *next)
{
	struct obj_bucket_ref *ref = ref_of(call->engine, call->cmd.bucket);

	call->place_next = next;
	if (ref_is(ref, call->cmd.bucket) && ref->id == call->bucket_id &&
	    ref->seals[call->name_index].version != 0) {
		seal_known(call, &ref->seals[call->name_index]);
		return;
	}
	obj_key_begin(&call->key, OBJ_SPACE_SEALS, call->partition, call->bucket_id);
	obj_call_fetch(call, &call->other, seal_fetched);
}

/* GET. */

static void bucket_got(struct obj_call *call)
{
	struct obj_entry entry = { .kind = OBJ_BUCKET, .name = call->cmd.bucket };
	struct obj_bucket_record record;

	if (!obj_call_bucket_decode(call, &record))
		return;
	entry.bucket = (struct obj_bucket){
		.created_ms = record.created_ms,
		.version = call->other.version,
		.documents = record.documents,
		.versioning = record.versioning,
		.locks = record.locks,
		.label = record.label,
	};
	obj_call_visit(call, &entry);
	obj_call_finish(call, STATUS_OK, 0);
}

void obj_bucket_get(struct obj_call *call)
{
	obj_call_bucket_record(call, bucket_got);
}

/* CREATE. */

static void bucket_stored(struct obj_call *call)
{
	if (obj_call_failed(call))
		return;
	obj_bucket_forget(call->engine, call->cmd.bucket);
	obj_call_finish(call, STATUS_OK, 0);
}

static void create_numbered(struct obj_call *call)
{
	const struct obj_settings *settings = call->cmd.settings;
	struct obj_bucket_record record = {
		.versioning = settings->locks ? OBJ_VERSIONING_ON : settings->versioning,
		.locks = settings->locks,
		.spread = (uint8_t)call->engine->options.spread,
		.id = obj_number_take(call->engine),
		.created_ms = call->engine->worker->wall_ms,
		.label = settings->label,
	};

	if (obj_change_bucket(call, &record, /* seals= */ true))
		obj_change_submit(call, bucket_stored);
}

static void create_looked(struct obj_call *call)
{
	if (call->other.version != 0)
		obj_call_finish(call, STATUS_EXISTS, 0);
	else
		obj_call_numbers(call, 1, create_numbered);
}

void obj_bucket_create(struct obj_call *call)
{
	call->again = obj_bucket_create;
	obj_bucket_key(call->cmd.bucket, &call->key);
	obj_call_fetch(call, &call->other, create_looked);
}

/* UPDATE. */

/* False: the settings forbid it. */
static bool apply_settings(struct obj_bucket_record *record, const struct obj_settings *settings)
{
	bool locks = record->locks || (settings->set_locks && settings->locks);
	uint8_t versioning = record->versioning;

	if (settings->set_versioning)
		versioning = settings->versioning;
	else if (locks)
		versioning = OBJ_VERSIONING_ON;
	if (versioning == OBJ_VERSIONING_OFF && record->versioning != OBJ_VERSIONING_OFF)
		return false;
	if (locks && versioning != OBJ_VERSIONING_ON)
		return false;
	record->locks = locks;
	record->versioning = versioning;
	if (settings->set_label)
		record->label = settings->label;
	return true;
}

static void update_looked(struct obj_call *call)
{
	struct obj_bucket_record record, old;

	if (!obj_call_bucket_decode(call, &record))
		return;
	if (obj_bucket_is_closed(call, &record)) {
		obj_call_finish(call, STATUS_BUSY, 0);
		return;
	}
	old = record;
	record.closing = false;
	if (!apply_settings(&record, call->cmd.settings)) {
		obj_call_finish(call, STATUS_INVALID, OBJ_STATE);
		return;
	}
	if (obj_change_bucket(call, &record,
	                      record.versioning != old.versioning || record.locks != old.locks ||
	                              old.closing))
		obj_change_submit(call, bucket_stored);
}

void obj_bucket_update(struct obj_call *call)
{
	call->again = obj_bucket_update;
	obj_call_bucket_record(call, update_looked);
}
