/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a transaction, read from the store with their versions. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_txn.h"

enum { FETCH_ROOM = 256 }; /* bytes for a value of unknown size, if it is read elsewhere */

static void fetch_done(struct req *req);
static void fetch_blob_opened(struct req *req);

static void fetch_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct txn_fetch *fetch = visitor;

	(void)edit;
	fetch->value = (struct resp_value){
		.size = entry->size,
		.expires_ms = entry->expires_ms,
		.version = entry->version,
		.kind = entry->kind,
		.exists = entry->version != 0,
		.expired = entry->expired,
	};
	fetch->blob = entry->blob;
	if (fetch->meta || entry->blob || entry->value.size == 0)
		return;
	/* Here, the room may be made; on another worker it is what it is. */
	if (fetch->room_size < entry->value.size && fetch->txn->server->kv_is_local) {
		fetch->room = resp_txn_memory(fetch->txn, entry->value.size);
		fetch->room_size = fetch->room != NULL ? entry->value.size : 0;
	}
	fetch->again = fetch->room_size < entry->value.size;
	if (!fetch->again)
		memcpy(fetch->room, entry->value.data, entry->value.size);
}

static void fetch_submit(struct txn_fetch *fetch)
{
	struct kv_cmd cmd = {
		.op = KV_GET,
		.key = fetch->entry->key,
		.visit = fetch_visit,
		.visitor = fetch,
	};

	fetch->again = false;
	req_push(&fetch->req, struct txn_frame, fetch_done);
	kv_submit(fetch->txn->server->kv, &fetch->req, &cmd);
}

/* Takes over what was read. A key that was known with another version is a conflict. */
static void fetch_end(struct txn_fetch *fetch, enum status status)
{
	struct resp_txn *txn = fetch->txn;
	struct txn_entry *entry = fetch->entry;

	assert(txn->loading > 0);
	fetch->busy = false;
	txn->loading--;
	if (status != STATUS_OK) {
		if (txn->status == STATUS_OK)
			txn->status = status;
	} else if (entry->has_version && entry->version != fetch->value.version) {
		txn->watch_lost |= entry->watched;
		txn->conflict = true;
	} else {
		entry->value = fetch->value;
		if (!fetch->meta && entry->value.blob == NULL)
			entry->value.value = bytes_of(fetch->room, fetch->value.size);
		entry->version = fetch->value.version;
		entry->has_version = true;
		entry->state = fetch->meta ? ENTRY_META : ENTRY_LOADED;
	}
	txn_go(txn);
}

static void fetch_open_blob(struct txn_fetch *fetch)
{
	struct kv_cmd cmd = {
		.op = KV_BLOB_OPEN,
		.key = fetch->entry->key,
		.visit = fetch_visit,
		.visitor = fetch,
	};

	/* Before the handle: who has one must be able to close it. */
	fetch->at = txn_long(fetch->txn);
	if (fetch->at == NULL) {
		fetch_end(fetch, fetch->txn->status);
		return;
	}
	fetch->meta = true; /* the visit of an inline value is not wanted to copy */
	req_push(&fetch->req, struct txn_frame, fetch_blob_opened);
	kv_submit(fetch->txn->server->kv, &fetch->req, &cmd);
}

static void fetch_done(struct req *req)
{
	struct txn_fetch *fetch = container_of(req, struct txn_fetch, req);
	struct resp_txn *txn = fetch->txn;
	enum status status = req->status;

	req_pop(req, struct txn_frame);
	if (status == STATUS_OK && fetch->again) {
		fetch->room = resp_txn_memory(txn, fetch->value.size);
		fetch->room_size = fetch->room != NULL ? fetch->value.size : 0;
		if (fetch->room != NULL) {
			fetch_submit(fetch);
			return;
		}
		status = txn->wants_region ? STATUS_BUSY : txn->status;
	} else if (status == STATUS_OK && fetch->blob && !fetch->meta) {
		fetch_open_blob(fetch);
		return;
	}
	fetch_end(fetch, status);
}

static void fetch_blob_closed(struct req *req)
{
	struct txn_fetch *fetch = container_of(req, struct txn_fetch, req);

	req_pop(req, struct txn_frame);
	fetch->meta = false;
	fetch_end(fetch, fetch->txn->status);
}

static void fetch_blob_read(struct req *req);

static void fetch_blob_next(struct txn_fetch *fetch)
{
	uint64_t left = fetch->value.size - fetch->offset;
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = fetch->handle };

	if (left > 0 && fetch->txn->status == STATUS_OK) {
		cmd.op = KV_BLOB_READ;
		cmd.offset = fetch->offset;
		cmd.out = fetch->room + fetch->offset;
		cmd.out_size = left < TXN_BLOB_PIECE ? (uint32_t)left : TXN_BLOB_PIECE;
	}
	req_push(&fetch->req, struct txn_frame,
	         cmd.op == KV_BLOB_READ ? fetch_blob_read : fetch_blob_closed);
	kv_submit(fetch->txn->server->kv, &fetch->req, &cmd);
}

static void fetch_blob_read(struct req *req)
{
	struct txn_fetch *fetch = container_of(req, struct txn_fetch, req);

	req_pop(req, struct txn_frame);
	if (req->status != STATUS_OK)
		fetch->txn->status = req->status;
	else if (req->result == 0)
		fetch->txn->status = STATUS_CORRUPT; /* shorter than it said */
	else
		fetch->offset += req->result;
	fetch_blob_next(fetch);
}

static void fetch_blob_opened(struct req *req)
{
	struct txn_fetch *fetch = container_of(req, struct txn_fetch, req);
	struct resp_txn *txn = fetch->txn;

	req_pop(req, struct txn_frame);
	if (req->status != STATUS_OK || req->result == 0) {
		fetch->meta = false;
		fetch->room = NULL;
		fetch_end(fetch, req->status);
		return;
	}
	fetch->handle = req->result;
	fetch->offset = 0;
	if (fetch->value.size > RESP_ARGUMENT_MAX) {
		fetch->at->handle = fetch->handle;
		fetch->at->size = fetch->value.size;
		fetch->value.blob = fetch->at;
		fetch->meta = false;
		fetch_end(fetch, STATUS_OK);
		return;
	}
	fetch->room = resp_txn_memory(txn, fetch->value.size > 0 ? fetch->value.size : 1);
	if (fetch->room == NULL && txn->wants_region)
		fetch->value.size = 0; /* only closes it; the run is made again */
	fetch_blob_next(fetch);
}

/* Starts to read the keys that are wanted, as many at a time as there are fetches. */
void txn_load_some(struct resp_txn *txn, bool meta)
{
	for (unsigned i = 0; i < TXN_FETCHES; i++) {
		struct txn_fetch *fetch = &txn->fetches[i];
		struct txn_entry *entry;

		if (fetch->busy)
			continue;
		while (txn->load_next != NULL && !txn->load_next->wanted)
			txn->load_next = STAILQ_NEXT(txn->load_next, link);
		entry = txn->load_next;
		if (entry == NULL || txn_must_stop(txn))
			return;
		entry->wanted = false;
		fetch->entry = entry;
		fetch->meta = meta;
		fetch->blob = false;
		fetch->busy = true;
		fetch->room = NULL;
		fetch->room_size = 0;
		if (!meta && !txn->server->kv_is_local) {
			fetch->room = resp_txn_memory(txn, FETCH_ROOM);
			fetch->room_size = fetch->room != NULL ? FETCH_ROOM : 0;
		}
		txn->loading++;
		fetch_submit(fetch);
	}
}
