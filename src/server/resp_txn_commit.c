/* SPDX-License-Identifier: Apache-2.0 */
/* What a transaction has written: blobs first, then all at once. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_txn.h"

static void blob_next(struct resp_txn *txn);

static void blob_written(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct resp_txn *txn = call->txn;

	req_pop(req, struct txn_frame);
	if (req->status != STATUS_OK) {
		txn->status = req->status;
		txn_go(txn);
		return;
	}
	txn->writing->handle = req->result;
	blob_next(txn);
}

static bool needs_blob(const struct resp_txn *txn, const struct txn_entry *entry)
{
	return entry->changed && entry->value.exists &&
	       (entry->value.blob != NULL || entry->value.size > KV_INLINE_MAX) &&
	       txn->write_offset < entry->value.size;
}

static uint32_t partition_of(const struct resp_txn *txn, const struct txn_entry *entry)
{
	return kv_partition(entry->key, txn->server->kv->traits.partitions);
}

/* Whether the key takes what was made for it: nobody else needs it. */
static bool long_take(struct resp_txn *txn, struct txn_entry *entry)
{
	struct resp_long *value = entry->value.blob;

	if (!value->made || value->replied || value->handle == 0 ||
	    value->partition != partition_of(txn, entry))
		return false;
	for (const struct txn_entry *other = STAILQ_NEXT(entry, link); other != NULL;
	     other = STAILQ_NEXT(other, link)) {
		if (other->changed && other->value.exists && other->value.blob == value)
			return false;
	}
	entry->handle = value->handle;
	value->handle = 0;
	txn->write_offset = value->size;
	return true;
}

static void long_copied(struct resp_call *call)
{
	struct resp_txn *txn = call->txn;
	struct resp_long *copy = txn->make.made;

	if (copy == NULL) {
		txn_go(txn);
		return;
	}
	txn->writing->handle = copy->handle;
	txn->write_offset = copy->size;
	copy->handle = 0;
	blob_next(txn);
}

static bool long_copy(struct resp_txn *txn, const struct txn_entry *entry)
{
	struct resp_part *part = resp_txn_memory(txn, sizeof(*part));
	struct resp_make make = {
		.parts = part,
		.part_count = 1,
		.key = entry->key,
		.size = entry->value.size,
		.next = long_copied,
	};

	if (part == NULL)
		return false;
	*part = (struct resp_part){
		.size = make.size,
		.blob = entry->value.blob,
		.op = BITS_COPY,
	};
	return resp_make(txn->call, &make);
}

static void piece_submit(struct resp_txn *txn, const struct txn_entry *entry)
{
	uint64_t left = entry->value.size - txn->write_offset;
	struct kv_cmd cmd = { .op = KV_BLOB_WRITE };

	cmd.handle = entry->handle;
	cmd.partition = (uint16_t)partition_of(txn, entry);
	cmd.value = bytes_of(entry->value.value.data + txn->write_offset,
	                     left < TXN_BLOB_PIECE ? left : TXN_BLOB_PIECE);
	txn->write_offset += cmd.value.size;
	req_push(&txn->call->req, struct txn_frame, blob_written);
	kv_submit(txn->server->kv, &txn->call->req, &cmd);
}

bool txn_blob_submit(struct resp_txn *txn)
{
	struct txn_entry *entry;

	for (; (entry = txn->writing) != NULL; txn->writing = STAILQ_NEXT(entry, link)) {
		if (needs_blob(txn, entry) && entry->value.blob == NULL) {
			piece_submit(txn, entry);
			return true;
		}
		if (needs_blob(txn, entry) && !long_take(txn, entry))
			return long_copy(txn, entry);
		txn->write_offset = 0;
	}
	return false;
}

static void blob_next(struct resp_txn *txn)
{
	if (!txn_blob_submit(txn)) {
		txn->step = STEP_COMMIT;
		txn_go(txn);
	}
}

static void txn_committed(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct resp_txn *txn = call->txn;
	struct txn_entry *entry;

	req_pop(req, struct txn_frame);
	if (req->status == STATUS_CONFLICT) {
		txn->conflict = true;
	} else if (req->status != STATUS_OK) {
		txn->status = req->status;
	} else {
		/* The blobs are the store's now. */
		txn->server->stats.changes += txn->changed_count;
		STAILQ_FOREACH (entry, &txn->entries, link) {
			if (entry->handle != 0 && resp_upload_has(call, entry->handle))
				resp_upload_taken(call);
			entry->handle = 0;
		}
	}
	txn_go(txn);
}

static void write_fill(struct kv_write **at, const struct txn_entry *entry)
{
	bool blob = entry->changed && entry->handle != 0;

	/* A blob's write has no room for a version: the check is an entry of its own. */
	if (entry->has_version && (blob || !entry->changed))
		*(*at)++ = (struct kv_write){
			.op = KV_GET,
			.key = entry->key,
			.version = entry->version,
			.flags = KV_IF_VERSION,
		};
	if (!entry->changed)
		return;
	**at = (struct kv_write){
		.op = entry->value.exists ? KV_PUT : KV_DELETE,
		.key = entry->key,
		.kind = entry->value.kind,
		.expires_ms = entry->value.expires_ms,
	};
	if (blob) {
		(*at)->flags = KV_FROM_BLOB;
		(*at)->version = entry->handle;
	} else {
		if (entry->value.exists)
			(*at)->value = entry->value.value;
		if (entry->has_version) {
			(*at)->flags = KV_IF_VERSION;
			(*at)->version = entry->version;
		}
	}
	(*at)++;
}

/* Whether a commit was submitted; else there is nothing to write or to check. */
bool txn_commit_submit(struct resp_txn *txn)
{
	struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &txn->commit };
	struct kv_write *writes, *at;
	struct txn_entry *entry;
	uint32_t changed = 0, checked = 0, watched = 0;

	STAILQ_FOREACH (entry, &txn->entries, link) {
		changed += entry->changed;
		checked += entry->has_version;
		watched += entry->watched;
	}
	/* One key that was only read was true at that moment. */
	if (changed == 0 && watched == 0 && checked <= 1)
		return false;
	if (changed + checked > KV_COMMIT_WRITES_MAX) {
		txn->status = STATUS_TOO_LARGE;
		return false;
	}
	writes = resp_txn_memory(txn, (changed + checked) * sizeof(*writes));
	if (writes == NULL)
		return false;
	at = writes;
	STAILQ_FOREACH (entry, &txn->entries, link) {
		write_fill(&at, entry);
	}
	txn->changed_count = changed;
	txn->commit = (struct kv_commit){ .writes = writes, .count = (uint32_t)(at - writes) };
	txn->call->visited_ns = txn->server->worker->now_ns;
	req_push(&txn->call->req, struct txn_frame, txn_committed);
	kv_submit(txn->server->kv, &txn->call->req, &cmd);
	return true;
}

static void blob_dropped(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);

	req_pop(req, struct txn_frame);
	txn_go(call->txn);
}

/* The next that is to be closed, which is nobody's any more; 0: none. */
static uint64_t handle_drop(struct resp_txn *txn)
{
	struct txn_entry *entry;
	uint64_t handle;

	STAILQ_FOREACH (entry, &txn->entries, link) {
		handle = entry->handle;
		entry->handle = 0;
		if (handle != 0 && !resp_upload_has(txn->call, handle))
			return handle;
	}
	for (struct resp_long *value = txn->longs; value != NULL; value = value->next) {
		handle = value->handle;
		value->handle = 0;
		if (handle != 0 && !value->lent)
			return handle;
	}
	return 0;
}

bool txn_blob_drop(struct resp_txn *txn)
{
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = handle_drop(txn) };

	if (cmd.handle == 0)
		return false;
	req_push(&txn->call->req, struct txn_frame, blob_dropped);
	kv_submit(txn->server->kv, &txn->call->req, &cmd);
	return true;
}
