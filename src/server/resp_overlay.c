/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of a transaction see and do: the store's keys, and over them their own. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "server/resp_txn.h"

/* Memory and keys. */

static void *region_take(struct resp_txn *txn, size_t size)
{
	struct resp_txns *txns = txn->server->txns;
	void *memory;

	if (txns->region_user != NULL && txns->region_user != txn) {
		txn->wants_region = true;
		return NULL;
	}
	if (size > TXN_REGION_SIZE - txns->region_used) {
		txn->status = STATUS_TOO_LARGE;
		return NULL;
	}
	if (align_up(size, BUF_ALIGN) > txn->server->values_max - txn->server->values_used) {
		txn->status = STATUS_BUSY;
		return NULL;
	}
	txns->region_user = txn;
	memory = txns->region + txns->region_used;
	txns->region_used += align_up(size, BUF_ALIGN);
	txn->server->values_used += align_up(size, BUF_ALIGN);
	return memory;
}

void *resp_txn_memory(struct resp_txn *txn, size_t size)
{
	struct resp_segment *segment = txn->memory;
	void *memory;

	if (size > RESP_ARGUMENT_MAX)
		return region_take(txn, size);
	if (segment == NULL || segment->size - segment->used < size) {
		/* Many small things fill large buffers; one large thing takes what it needs. */
		size_t wanted = segment != NULL && size < 4096 ? 60 << 10 : size;

		segment = resp_segment_get(txn->server->bufs, wanted);
		if (segment == NULL) {
			txn->status = STATUS_BUSY;
			return NULL;
		}
		segment->next = txn->memory;
		txn->memory = segment;
	}
	memory = segment->data + segment->used;
	segment->used += (uint32_t)align_up(size, 16);
	if (segment->used > segment->size)
		segment->used = segment->size;
	return memory;
}

static struct txn_entry **bucket_of(struct resp_txn *txn, struct bytes key)
{
	return &txn->buckets[hash64(key) % TXN_BUCKETS];
}

struct txn_entry *txn_find(struct resp_txn *txn, struct bytes key)
{
	struct txn_entry *entry = *bucket_of(txn, key);

	while (entry != NULL && !bytes_equal(entry->key, key))
		entry = entry->bucket_next;
	return entry;
}

/* The entry of a key, made if there is none; NULL: no memory. */
struct txn_entry *txn_entry(struct resp_txn *txn, struct bytes key)
{
	struct txn_entry *entry = txn_find(txn, key);
	struct txn_entry **bucket;
	uint8_t *memory;

	if (entry != NULL)
		return entry;
	memory = resp_txn_memory(txn, sizeof(*entry) + key.size);
	if (memory == NULL)
		return NULL;
	entry = (struct txn_entry *)(void *)memory;
	memcpy(memory + sizeof(*entry), key.data, key.size);
	bucket = bucket_of(txn, key);
	*entry = (struct txn_entry){
		.bucket_next = *bucket,
		.key = bytes_of(memory + sizeof(*entry), key.size),
	};
	*bucket = entry;
	STAILQ_INSERT_TAIL(&txn->entries, entry, link);
	txn->entry_count++;
	return entry;
}

const struct resp_value *resp_txn_get(struct resp_txn *txn, struct bytes key)
{
	struct txn_entry *entry = txn_find(txn, key);

	assert(entry != NULL); /* else: not a key of the command's row */
	return &entry->value;
}

bool resp_txn_put(struct resp_txn *txn, struct bytes key, const struct resp_value *value)
{
	struct txn_entry *entry = txn_entry(txn, key);

	if (entry == NULL)
		return false;
	assert(value->size == (value->blob != NULL ? value->blob->size : value->value.size));
	if (!entry->value.exists)
		txn_notify_made(txn, entry->value.expired, /* stored= */ true, key);
	entry->value = *value;
	entry->value.exists = true;
	entry->value.expired = false;
	entry->value.version = UINT64_MAX; /* some version, not known yet */
	entry->state = ENTRY_LOADED;
	entry->changed = true;
	return true;
}

void resp_txn_delete(struct resp_txn *txn, struct bytes key)
{
	struct txn_entry *entry = txn_find(txn, key);

	assert(entry != NULL);
	if (entry->value.expired)
		txn_notify_made(txn, true, /* stored= */ false, key);
	entry->value = (struct resp_value){ .exists = false };
	entry->state = ENTRY_LOADED;
	entry->changed = true;
}

/* The keys of the command that runs. */

/* Whether the command writes without a look at what is there. */
static bool is_blind(const struct resp_call *call)
{
	/* Unless somebody wants to know whether it makes keys, or that one had expired. */
	if (call->notify & (RESP_EVENT_NEW | RESP_EVENT_EXPIRED))
		return false;
	if (call->in_exec && (call->connection->multi->flags & RESP_WALKS))
		return false;
	return (call->command->flags & RESP_BLIND) ||
	       (call->kv_op == KV_PUT && !(call->kv_flags & KV_KEEP_EXPIRY));
}

static bool want_key(struct resp_txn *txn, struct bytes key)
{
	uint32_t flags = txn->call->command->flags;
	struct txn_entry *entry = txn_entry(txn, key);
	uint8_t needed = flags & RESP_META ? ENTRY_META : ENTRY_LOADED;

	if (entry == NULL)
		return false;
	entry->wanted = !is_blind(txn->call) && entry->state < needed;
	return true;
}

/* False: a key is too long, replied; or no memory, in txn->status. */
static bool want_argument(struct resp_txn *txn, uint32_t index, uint8_t db)
{
	struct bytes key;

	return resp_call_key_in(txn->call, index, db, &key) && want_key(txn, key);
}

/* All arguments are keys, in two databases. */
static bool want_both(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;

	for (uint32_t i = 1; i < call->argc; i++) {
		if (!want_argument(txn, i, call->db) || !want_argument(txn, i, call->target_db))
			return false;
	}
	txn->load_next = STAILQ_FIRST(&txn->entries);
	return true;
}

static bool want_keys(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	const struct resp_command *command = call->command;
	int last = command->key_last < 0 ? (int)call->argc + command->key_last : command->key_last;

	txn->load_next = STAILQ_FIRST(&txn->entries);
	if (command->flags & RESP_BOTH_DBS)
		return want_both(txn);
	if (command->key_first == 0)
		return true;
	if (command->flags & RESP_DB_ARGUMENT) {
		if (!want_argument(txn, (uint32_t)last, call->target_db))
			return false;
		last = command->key_first;
	}
	for (int i = command->key_first; i <= last; i += command->key_step) {
		if (!want_argument(txn, (uint32_t)i, call->db))
			return false;
	}
	txn->load_next = STAILQ_FIRST(&txn->entries);
	return true;
}

/* Running commands. */

bool resp_edit_room(struct resp_call *call, const struct kv_edit *edit, uint64_t size)
{
	if (size <= edit->scratch_max)
		return true;
	call->blob = true;
	call->scratch_needed = size;
	return false;
}

/* Whether what the command has to do is done by its stream. */
static bool is_long(const struct resp_call *call, const struct kv_entry *entry)
{
	return call->command->stream != NULL &&
	       (entry->blob || call->scratch_needed > RESP_ARGUMENT_MAX);
}

/* Calls the visit until it has the room that it needs; false: no memory, or call->blob. */
static bool visit_once(struct resp_txn *txn, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct resp_call *call = txn->call;

	struct txn_event **events_end = txn->events_end;
	uint32_t event_count = txn->event_count, hits = call->hits, misses = call->misses;

	edit->scratch = txn->server->scratch;
	edit->scratch_max = RESP_LINE_MAX;
	for (;;) {
		call->blob = false;
		call->scratch_needed = 0;
		call->hits = hits;
		call->misses = misses;
		txn_events_cut(txn, events_end, event_count);
		call->command->visit(call, entry, edit);
		if (!call->blob)
			return true;
		edit->action = KV_KEEP;
		if (is_long(call, entry)) {
			txn_events_cut(txn, events_end, event_count);
			return false;
		}
		call->blob = false;
		assert(call->scratch_needed > edit->scratch_max); /* else: it would never end */
		edit->scratch_max = call->scratch_needed;
		edit->scratch = resp_txn_memory(txn, edit->scratch_max);
		if (edit->scratch == NULL)
			return false;
	}
}

static void visit_key(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct kv_edit edit = { .action = KV_KEEP };
	struct bytes key;
	struct txn_entry *found;
	struct kv_entry entry;
	struct resp_value value;

	if (!resp_call_key(call, (uint32_t)call->command->key_first, &key))
		unreachable(); /* want_keys() would have replied */
	found = txn_find(txn, key);
	assert(found != NULL && found->state == ENTRY_LOADED);
	entry = (struct kv_entry){ .key = key };
	if (found->value.exists) {
		entry.value = found->value.value;
		entry.blob = found->value.blob != NULL;
		entry.size = found->value.size;
		entry.version = found->value.version;
		entry.expires_ms = found->value.expires_ms;
		entry.kind = found->value.kind;
	}
	entry.expired = found->value.expired;
	if (!visit_once(txn, &entry, &edit))
		return;
	if (edit.action == KV_KEEP)
		return;
	if (edit.action == KV_REMOVE) {
		resp_txn_delete(txn, key);
		return;
	}
	if (edit.action == KV_TOUCH) {
		edit.value = entry.value;
		edit.kind = entry.kind;
	}
	value = (struct resp_value){
		.value = edit.value,
		.size = edit.value.size,
		.expires_ms = edit.expires_ms,
		.kind = edit.kind,
	};
	if (edit.action == KV_TOUCH) {
		value.blob = found->value.blob;
		value.size = entry.size;
	}
	if (edit.value.data == txn->server->scratch && edit.value.size > 0) {
		uint8_t *copy = resp_txn_memory(txn, edit.value.size);

		if (copy == NULL)
			return;
		memcpy(copy, edit.value.data, edit.value.size);
		value.value.data = copy;
	}
	resp_txn_put(txn, key, &value);
}

static void overlay_visit(struct resp_txn *txn)
{
	txn->visit_events = txn->events_end;
	visit_key(txn);
	txn->visit_events = NULL;
}

static bool is_expired(const struct resp_txn *txn, const struct resp_value *value)
{
	return value->exists && value->expires_ms != 0 && value->expires_ms <= txn->call->wall_ms;
}

/* What an earlier command gave an expiry that has passed is gone for those after it. */
static void drop_expired(struct resp_txn *txn)
{
	struct txn_entry *entry;

	STAILQ_FOREACH (entry, &txn->entries, link) {
		if (entry->changed && is_expired(txn, &entry->value))
			resp_txn_delete(txn, entry->key);
	}
}

/* The next command becomes the call's; false: there is none. */
bool txn_next_command(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_queued *queued = txn->queued;

	if (call->in_exec)
		drop_expired(txn);
	if (!call->in_exec) {
		if (txn->started)
			return false;
		txn->started = true;
		return true;
	}
	if (queued == NULL)
		return false;
	txn->queued = queued->next;
	call->command = queued->command;
	call->command_index = queued->command_index;
	call->argv = queued->argv;
	call->argc = queued->argc;
	call->db = call->connection->db;
	return true;
}

/* Whether it has keys to be read: else it is done with, or fails. */
bool txn_command_begin(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;

	call->failed = false;
	call->kv_op = call->command->flags & RESP_WRITE ? KV_UPDATE : KV_GET;
	if (call->in_exec && call->server->authorize != NULL && !call->server->authorize(call))
		return false;
	if (call->command->prepare != NULL && !call->command->prepare(call))
		return false;
	return want_keys(txn);
}

static void overlay_put(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_value value = {
		.value = call->value,
		.size = call->value.size,
		.expires_ms = call->expires_ms,
		.kind = call->kind,
	};
	struct bytes key;

	if (!resp_call_key(call, (uint32_t)call->command->key_first, &key))
		unreachable(); /* want_keys() would have replied */
	if (!resp_txn_put(txn, key, &value))
		return;
	resp_notify_put(call, key);
	resp_reply_ok(call);
}

bool txn_command_execute(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;

	call->blob = false;
	if (call->upload != NULL)
		return false;
	if (call->command->visit != NULL && call->kv_op == KV_PUT &&
	    !(call->kv_flags & KV_KEEP_EXPIRY))
		overlay_put(txn);
	else if (call->command->apply != NULL)
		call->command->apply(call);
	else if (call->command->visit != NULL)
		overlay_visit(txn);
	else
		call->command->run(call);
	assert(!call->blob || call->command->stream != NULL);
	return !call->blob;
}

/* For commands that look at all keys. */

const struct resp_value *txn_changed(struct resp_txn *txn, struct bytes key)
{
	const struct txn_entry *entry = txn_find(txn, key);

	return entry != NULL && entry->changed ? &entry->value : NULL;
}

static bool is_of_space(const struct txn_entry *entry, uint8_t space)
{
	return entry->changed && entry->key.data[0] == space;
}

const struct txn_entry *txn_made_next(const struct resp_txn *txn, struct txn_walk *walk)
{
	const struct txn_entry *entry =
	        walk->next == NULL ? STAILQ_FIRST(&txn->entries) : STAILQ_NEXT(walk->next, link);

	while (entry != NULL && !(is_of_space(entry, walk->space) && entry->value.exists))
		entry = STAILQ_NEXT(entry, link);
	walk->next = entry;
	return entry;
}

int64_t txn_count_change(const struct resp_txn *txn, uint8_t space)
{
	const struct txn_entry *entry;
	int64_t change = 0;

	STAILQ_FOREACH (entry, &txn->entries, link) {
		if (!is_of_space(entry, space))
			continue;
		assert(entry->has_version || entry->stored); /* else: it was written blindly */
		change += entry->value.exists;
		change -= entry->has_version ? entry->version > 0 : entry->stored;
	}
	return change;
}

bool txn_remove(struct resp_txn *txn, struct bytes key)
{
	struct txn_entry *entry = txn_entry(txn, key);

	if (entry == NULL)
		return false;
	if (!entry->has_version)
		entry->stored = true;
	entry->value = (struct resp_value){ .exists = false };
	entry->state = ENTRY_LOADED;
	entry->changed = true;
	return true;
}

void txn_remove_made(struct resp_txn *txn, uint8_t space)
{
	struct txn_entry *entry;

	STAILQ_FOREACH (entry, &txn->entries, link) {
		if (is_of_space(entry, space))
			entry->value = (struct resp_value){ .exists = false };
	}
}
