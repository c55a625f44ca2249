/* SPDX-License-Identifier: Apache-2.0 */
#include "server/resp_walk.h"

#include "base/assert.h"
#include "base/macros.h"
#include "server/glob.h"

static const char *kind_name(uint8_t kind)
{
	static const char *const names[] = { "string", "hash", "list", "set", "zset", "stream" };

	return kind < array_count(names) ? names[kind] : "unknown";
}

static void walk_store(struct walk *walk, struct bytes key, const struct kv_entry *entry)
{
	struct walk_record record = {
		.key_size = (uint32_t)key.size,
		.value_size = walk->values ? (uint32_t)entry->value.size : 0,
		.has_value = !entry->blob,
	};
	uint8_t *at = walk->batch + walk->batch_used;

	memcpy(at, &record, sizeof(record));
	memcpy(at + sizeof(record), key.data, key.size);
	if (record.value_size > 0)
		memcpy(at + sizeof(record) + key.size, entry->value.data, record.value_size);
	walk->batch_used += (uint32_t)(sizeof(record) + key.size + record.value_size);
}

void walk_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct walk *walk = visitor;
	struct bytes key = bytes_of(entry->key.data + 1, entry->key.size - 1);
	size_t size = sizeof(struct walk_record) + key.size + entry->value.size;

	(void)edit;
	if (walk->full || walk->batch_used + size > WALK_BATCH_SIZE) {
		walk->full = true;
		return;
	}
	walk->looked++;
	memcpy(walk->last, entry->key.data, entry->key.size);
	walk->last_size = (uint32_t)entry->key.size;
	if (walk->filtered_kind && !resp_word_is(walk->kind_name, kind_name(entry->kind)))
		return;
	if (!walk->filtered || glob_match(walk->pattern, key, false))
		walk_store(walk, key, entry);
}

static void walk_tell(struct walk *walk, struct bytes key, struct bytes value, bool has_value)
{
	struct resp_call *call = walk->call;

	resp_reply_bulk(call, key);
	walk->found_count++;
	if (!walk->values)
		return;
	if (has_value)
		resp_reply_bulk(call, value);
	else
		resp_reply_null(call);
	walk->found_count++;
}

struct bytes walk_key(const struct walk *walk, uint32_t at, uint8_t *key)
{
	struct walk_record record;

	memcpy(&record, walk->batch + at, sizeof(record));
	key[0] = walk->start[0];
	memcpy(key + 1, walk->batch + at + sizeof(record), record.key_size);
	return bytes_of(key, record.key_size + 1);
}

/* Whether a key of the store is as the store has it, and is to be told. */
static bool walk_wants(struct walk *walk, uint32_t at)
{
	struct resp_txn *txn = walk->call->txn;
	uint8_t key[KV_KEY_MAX];

	if (txn == NULL)
		return true;
	if (walk->removes) {
		txn_remove(txn, walk_key(walk, at, key));
		return false;
	}
	return txn_changed(txn, walk_key(walk, at, key)) == NULL;
}

static void walk_write(struct walk *walk)
{
	struct resp_call *call = walk->call;
	struct resp_out *out = call->out;
	struct walk_record record;

	call->out = &walk->found;
	for (uint32_t at = 0; at < walk->batch_used;) {
		const uint8_t *key = walk->batch + at + sizeof(record);

		memcpy(&record, walk->batch + at, sizeof(record));
		if (walk_wants(walk, at))
			walk_tell(walk, bytes_of(key, record.key_size),
			          bytes_of(key + record.key_size, record.value_size),
			          record.has_value);
		at += (uint32_t)sizeof(record) + record.key_size + record.value_size;
	}
	walk->batch_used = 0;
	call->out = out;
}

void walk_add_made(struct resp_call *call, bool of_partition)
{
	struct walk *walk = walk_of(call);
	struct txn_walk made = { .space = walk->start[0] };
	unsigned partitions = call->server->kv->traits.partitions;
	struct resp_out *out = call->out;
	const struct txn_entry *entry;

	if (call->txn == NULL)
		return;
	call->out = &walk->found;
	while ((entry = txn_made_next(call->txn, &made)) != NULL) {
		struct bytes key = bytes_of(entry->key.data + 1, entry->key.size - 1);

		if (of_partition && kv_partition(entry->key, partitions) != walk->partition)
			continue;
		if (walk->filtered_kind &&
		    !resp_word_is(walk->kind_name, kind_name(entry->value.kind)))
			continue;
		if (!walk->filtered || glob_match(walk->pattern, key, false))
			walk_tell(walk, key, entry->value.value, true);
	}
	call->out = out;
}

struct walk *walk_of(struct resp_call *call)
{
	return *RESP_STATE(call, struct walk *);
}

struct walk *walk_open(struct resp_call *call, resp_next_fn *end)
{
	struct resp_scans *scans = call->server->scans;
	struct walk *walk = NULL;

	assert(scans->walk_count <= WALKS_MAX);
	if (scans->walk_count < WALKS_MAX)
		walk = call->txn != NULL && call->txn->walk != NULL
		               ? call->txn->walk
		               : resp_call_memory(call, sizeof(*walk));
	if (walk == NULL && scans->walk_count > 0) {
		if (scans->resuming) /* there is no memory after all */
			STAILQ_INSERT_HEAD(&scans->waiting, &call->req, link);
		else
			STAILQ_INSERT_TAIL(&scans->waiting, &call->req, link);
		scans->resuming = false;
		return NULL;
	}
	if (walk == NULL) {
		resp_reply_error(call, "OOM no memory to walk over keys");
		resp_call_done(call);
		return NULL;
	}
	scans->walk_count++;
	if (call->txn != NULL)
		call->txn->walk = walk; /* the memory stays until the call ends */
	memset(walk, 0, offsetof(struct walk, start));
	walk->call = call;
	walk->end = end;
	walk->left = UINT64_MAX;
	walk->flags = KV_KEYS_ONLY;
	walk->start[0] = (uint8_t)(KV_SPACE_REDIS + call->db);
	walk->start_size = 1;
	resp_out_init(&walk->found, NULL, 0, call->server->bufs);
	walk->found.protocol = call->out->protocol;
	*RESP_STATE(call, struct walk *) = walk;
	return walk;
}

/* The call has replied. The walk's memory goes with it, and who waits takes its turn. */
void walk_close(struct resp_call *call)
{
	struct resp_scans *scans = call->server->scans;

	assert(scans->walk_count > 0);
	scans->walk_count--;
	resp_out_fini(&walk_of(call)->found);
	resp_call_done(call);
	if (scans->resuming) /* one that was resumed ended at once: the loop below goes on */
		return;
	scans->resuming = true;
	while (scans->resuming && scans->walk_count < WALKS_MAX && !STAILQ_EMPTY(&scans->waiting)) {
		call = container_of(STAILQ_FIRST(&scans->waiting), struct resp_call, req);
		STAILQ_REMOVE_HEAD(&scans->waiting, link);
		call->command->start(call);
	}
	scans->resuming = false;
}

void walk_reply(struct resp_call *call)
{
	struct walk *walk = walk_of(call);

	resp_reply_array(call, walk->found_count);
	if (walk->found.full)
		call->out->full = true; /* becomes an error: resp_call_done() */
	else
		resp_out_append(call->out, &walk->found);
}

static void walk_scanned(struct resp_call *call)
{
	struct walk *walk = walk_of(call);
	bool reverse = walk->flags & KV_REVERSE;

	if (call->req.status != STATUS_OK) {
		resp_reply_status(call, call->req.status);
		walk_close(call);
		return;
	}
	walk->over =
	        !walk->full && call->req.result < (walk->left < WALK_STEP ? walk->left : WALK_STEP);
	walk->left -= walk->looked;
	walk_write(walk);
	/* Forwards on from just after the last key, backwards down to just before it. */
	if (walk->last_size > 0 && !reverse) {
		memcpy(walk->start, walk->last, walk->last_size);
		walk->start[walk->last_size] = 0;
		walk->start_size = walk->last_size + 1;
	} else if (walk->last_size > 0) {
		memcpy(walk->end_key, walk->last, walk->last_size);
		walk->end_size = walk->last_size;
	}
	if (walk->start_size > KV_KEY_MAX) {
		/* The longest key has no key of its own length after it: go on past its prefix. */
		walk->start_size = KV_KEY_MAX;
		walk->over |= walk->start[KV_KEY_MAX - 1] == UINT8_MAX;
		walk->start[KV_KEY_MAX - 1]++;
	}
	if (walk->over || walk->left == 0 || walk->found.full)
		walk->end(call);
	else
		walk_next(call);
}

void walk_next(struct resp_call *call)
{
	struct walk *walk = walk_of(call);
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = walk->flags,
		.partition = walk->partition,
		.limit = walk->left < WALK_STEP ? (uint32_t)walk->left : WALK_STEP,
		.key = bytes_of(walk->start, walk->start_size),
		.end = bytes_of(walk->end_key, walk->end_size),
		.visit = walk_visit,
		.visitor = walk,
	};

	walk->looked = 0;
	walk->full = false;
	walk->last_size = 0;
	resp_call_submit(call, &cmd, walk_scanned);
}
