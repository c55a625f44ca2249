/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of several keys and EXEC, optimistically: every key is read with its version, the
 * commands run against an overlay, and one KV_COMMIT applies what they wrote if nothing that they
 * read has changed. If something has, all of it runs again.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "server/resp_internal.h"

enum {
	TXNS_MAX = 64,  /* under way; more calls wait */
	RUNS_MAX = 100, /* of one transaction before it gives up */
	RUNS_CALM = 3,  /* runs after which others of this server make room */
	BUCKETS = 256,
	FETCHES = 8,      /* keys that one transaction reads at a time */
	FETCH_ROOM = 256, /* bytes for a value of unknown size, if it is read elsewhere */
	BLOB_PIECE = 256 << 10,
};

/* Memory for values too large for buffers: an old one and a new one. One transaction at a time. */
#define REGION_SIZE ((size_t)(2 * KV_VALUE_MAX + (64ull << 20)))

enum entry_state {
	ENTRY_UNKNOWN, /* nothing is known of it */
	ENTRY_META,    /* all but the bytes */
	ENTRY_LOADED,
};

/* A key of the transaction. */
struct entry {
	STAILQ_ENTRY(entry) link;
	struct entry *bucket_next;
	struct bytes key;
	struct resp_value value; /* as the commands see it */
	uint64_t version;        /* as it was read or watched */
	uint64_t handle;         /* of the blob that is written for it, or 0 */
	uint8_t state;           /* enum entry_state */
	bool has_version;        /* the commit checks `version` */
	bool changed;
	bool watched; /* version is what WATCH saw */
	bool wanted;  /* to be read before the command runs */
};

/* Reads one key. */
struct fetch {
	struct resp_txn *txn;
	struct entry *entry;
	struct resp_value value;
	uint8_t *room;
	uint64_t room_size, offset, handle;
	bool meta, again, blob, busy;
	struct req req;
};

enum step {
	STEP_WATCH,
	STEP_COMMAND,
	STEP_LOAD,
	STEP_EXECUTE,
	STEP_WRITE,
	STEP_COMMIT,
	STEP_COMMITTED,
};

struct resp_txn {
	STAILQ_ENTRY(resp_txn) link; /* in the free list, or waiting for the region */
	struct resp_server *server;
	struct resp_call *call;
	struct resp_segment *memory;
	STAILQ_HEAD(, entry) entries;
	struct entry *buckets[BUCKETS];
	uint32_t entry_count;
	uint32_t runs;
	enum step step;
	enum status status;
	bool conflict;      /* what was read is not true any more: run again */
	bool wants_region;  /* run again with it */
	bool watch_lost;    /* a watched key has changed */
	bool started;       /* an implicit transaction's one command was run */
	bool flushing;      /* the commit is made for a start command, which comes after it */
	bool watch_checked; /* a commit has had the watched keys in it */
	uint8_t db_first;   /* the connection's when the run started */
	struct resp_queued *queued, *queued_first; /* the next command; where a run starts */
	struct resp_queued *queued_current;
	const struct resp_command *command; /* the call's own */
	uint32_t command_index;
	uint64_t reply_first; /* bytes of reply, past those ready to be sent, where a run starts */
	unsigned loading;
	struct entry *load_next; /* where to look for the next key that is wanted */
	struct entry *writing;   /* the next whose blob is to be written */
	uint64_t write_offset;
	struct kv_commit commit;
	struct fetch fetches[FETCHES];
};

STAILQ_HEAD(resp_txn_list, resp_txn);

struct resp_txns {
	struct resp_txn *txns;
	struct resp_txn_list free, region_waiting;
	struct resp_txn_list again;    /* have met a conflict */
	struct resp_txn *favoured;     /* lost too often: others start when it has ended */
	struct resp_call_list waiting; /* calls, by wait_link */
	uint8_t *region;
	size_t region_used;
	struct resp_txn *region_user;
};

struct txn_frame {
	struct frame frame;
};

static void txn_go(struct resp_txn *txn);

/* Memory and keys. */

static void *region_take(struct resp_txn *txn, size_t size)
{
	struct resp_txns *txns = txn->server->txns;
	void *memory;

	if (txns->region_user != NULL && txns->region_user != txn) {
		txn->wants_region = true;
		return NULL;
	}
	if (size > REGION_SIZE - txns->region_used) {
		txn->status = STATUS_TOO_LARGE;
		return NULL;
	}
	txns->region_user = txn;
	memory = txns->region + txns->region_used;
	txns->region_used += align_up(size, BUF_ALIGN);
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

static struct entry **bucket_of(struct resp_txn *txn, struct bytes key)
{
	return &txn->buckets[hash64(key) % BUCKETS];
}

static struct entry *entry_find(struct resp_txn *txn, struct bytes key)
{
	struct entry *entry = *bucket_of(txn, key);

	while (entry != NULL && !bytes_equal(entry->key, key))
		entry = entry->bucket_next;
	return entry;
}

/* The entry of a key, made if there is none; NULL: no memory. */
static struct entry *entry_get(struct resp_txn *txn, struct bytes key)
{
	struct entry *entry = entry_find(txn, key);
	struct entry **bucket;
	uint8_t *memory;

	if (entry != NULL)
		return entry;
	memory = resp_txn_memory(txn, sizeof(*entry) + key.size);
	if (memory == NULL)
		return NULL;
	entry = (struct entry *)(void *)memory;
	memcpy(memory + sizeof(*entry), key.data, key.size);
	bucket = bucket_of(txn, key);
	*entry = (struct entry){
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
	struct entry *entry = entry_find(txn, key);

	assert(entry != NULL); /* else: not a key of the command's row */
	return &entry->value;
}

bool resp_txn_put(struct resp_txn *txn, struct bytes key, const struct resp_value *value)
{
	struct entry *entry = entry_get(txn, key);

	if (entry == NULL)
		return false;
	assert(value->size == value->value.size);
	entry->value = *value;
	entry->value.exists = true;
	entry->value.version = UINT64_MAX; /* some version, not known yet */
	entry->state = ENTRY_LOADED;
	entry->changed = true;
	return true;
}

void resp_txn_delete(struct resp_txn *txn, struct bytes key)
{
	struct entry *entry = entry_find(txn, key);

	assert(entry != NULL);
	entry->value = (struct resp_value){ .exists = false };
	entry->state = ENTRY_LOADED;
	entry->changed = true;
}

/* Whether this run cannot end well any more. */
static bool must_stop(const struct resp_txn *txn)
{
	return txn->status != STATUS_OK || txn->conflict || txn->wants_region || txn->watch_lost;
}

/* Reading. */

static void fetch_done(struct req *req);
static void fetch_blob_opened(struct req *req);

static void fetch_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct fetch *fetch = visitor;

	(void)edit;
	fetch->value = (struct resp_value){
		.size = entry->size,
		.expires_ms = entry->expires_ms,
		.version = entry->version,
		.kind = entry->kind,
		.exists = entry->version != 0,
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

static void fetch_submit(struct fetch *fetch)
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
static void fetch_end(struct fetch *fetch, enum status status)
{
	struct resp_txn *txn = fetch->txn;
	struct entry *entry = fetch->entry;

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
		entry->value.value = bytes_of(fetch->room, fetch->meta ? 0 : fetch->value.size);
		entry->version = fetch->value.version;
		entry->has_version = true;
		entry->state = fetch->meta ? ENTRY_META : ENTRY_LOADED;
	}
	txn_go(txn);
}

static void fetch_open_blob(struct fetch *fetch)
{
	struct kv_cmd cmd = {
		.op = KV_BLOB_OPEN,
		.key = fetch->entry->key,
		.visit = fetch_visit,
		.visitor = fetch,
	};

	fetch->meta = true; /* the visit of an inline value is not wanted to copy */
	req_push(&fetch->req, struct txn_frame, fetch_blob_opened);
	kv_submit(fetch->txn->server->kv, &fetch->req, &cmd);
}

static void fetch_done(struct req *req)
{
	struct fetch *fetch = container_of(req, struct fetch, req);
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
	struct fetch *fetch = container_of(req, struct fetch, req);

	req_pop(req, struct txn_frame);
	fetch->meta = false;
	fetch_end(fetch, fetch->txn->status);
}

static void fetch_blob_read(struct req *req);

static void fetch_blob_next(struct fetch *fetch)
{
	uint64_t left = fetch->value.size - fetch->offset;
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE, .handle = fetch->handle };

	if (left > 0 && fetch->txn->status == STATUS_OK) {
		cmd.op = KV_BLOB_READ;
		cmd.offset = fetch->offset;
		cmd.out = fetch->room + fetch->offset;
		cmd.out_size = left < BLOB_PIECE ? (uint32_t)left : BLOB_PIECE;
	}
	req_push(&fetch->req, struct txn_frame,
	         cmd.op == KV_BLOB_READ ? fetch_blob_read : fetch_blob_closed);
	kv_submit(fetch->txn->server->kv, &fetch->req, &cmd);
}

static void fetch_blob_read(struct req *req)
{
	struct fetch *fetch = container_of(req, struct fetch, req);

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
	struct fetch *fetch = container_of(req, struct fetch, req);
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
	fetch->room = resp_txn_memory(txn, fetch->value.size > 0 ? fetch->value.size : 1);
	if (fetch->room == NULL && txn->wants_region)
		fetch->value.size = 0; /* only closes it; the run is made again */
	fetch_blob_next(fetch);
}

/* Starts to read the keys that are wanted, as many at a time as there are fetches. */
static void load_some(struct resp_txn *txn, bool meta)
{
	for (unsigned i = 0; i < FETCHES; i++) {
		struct fetch *fetch = &txn->fetches[i];
		struct entry *entry;

		if (fetch->busy)
			continue;
		while (txn->load_next != NULL && !txn->load_next->wanted)
			txn->load_next = STAILQ_NEXT(txn->load_next, link);
		entry = txn->load_next;
		if (entry == NULL || must_stop(txn))
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

/* The keys of the command that runs. */

/* Whether the command writes without a look at what is there. */
static bool is_blind(const struct resp_call *call)
{
	return (call->command->flags & RESP_BLIND) ||
	       (call->kv_op == KV_PUT && !(call->kv_flags & KV_KEEP_EXPIRY));
}

static bool want_key(struct resp_txn *txn, struct bytes key)
{
	uint32_t flags = txn->call->command->flags;
	struct entry *entry = entry_get(txn, key);
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

static bool want_keys(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	const struct resp_command *command = call->command;
	int last = command->key_last < 0 ? (int)call->argc + command->key_last : command->key_last;

	txn->load_next = STAILQ_FIRST(&txn->entries);
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

/* Calls the visit until it has the room that it needs; false: no memory. */
static bool visit_once(struct resp_txn *txn, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct resp_call *call = txn->call;

	edit->scratch = txn->server->scratch;
	edit->scratch_max = RESP_LINE_MAX;
	for (;;) {
		call->blob = false;
		call->command->visit(call, entry, edit);
		if (!call->blob)
			return true;
		assert(call->scratch_needed > edit->scratch_max); /* else: it would never end */
		edit->action = KV_KEEP;
		edit->scratch_max = call->scratch_needed;
		edit->scratch = resp_txn_memory(txn, edit->scratch_max);
		if (edit->scratch == NULL)
			return false;
	}
}

static void overlay_visit(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct kv_edit edit = { .action = KV_KEEP };
	struct bytes key;
	struct entry *found;
	struct kv_entry entry;
	struct resp_value value;

	if (!resp_call_key(call, (uint32_t)call->command->key_first, &key))
		unreachable(); /* want_keys() would have replied */
	found = entry_find(txn, key);
	assert(found != NULL && found->state == ENTRY_LOADED);
	entry = (struct kv_entry){ .key = key };
	if (found->value.exists) {
		entry.value = found->value.value;
		entry.size = found->value.size;
		entry.version = found->value.version;
		entry.expires_ms = found->value.expires_ms;
		entry.kind = found->value.kind;
	}
	if (!visit_once(txn, &entry, &edit))
		return;
	if (edit.action == KV_KEEP)
		return;
	if (edit.action == KV_REMOVE) {
		resp_txn_delete(txn, key);
		return;
	}
	value = (struct resp_value){
		.value = edit.value,
		.size = edit.value.size,
		.expires_ms = edit.expires_ms,
		.kind = edit.kind,
	};
	if (edit.value.data == txn->server->scratch && edit.value.size > 0) {
		uint8_t *copy = resp_txn_memory(txn, edit.value.size);

		if (copy == NULL)
			return;
		memcpy(copy, edit.value.data, edit.value.size);
		value.value.data = copy;
	}
	resp_txn_put(txn, key, &value);
}

static bool is_expired(const struct resp_txn *txn, const struct resp_value *value)
{
	return value->exists && value->expires_ms != 0 && value->expires_ms <= txn->call->wall_ms;
}

/* What an earlier command gave an expiry that has passed is gone for those after it. */
static void drop_expired(struct resp_txn *txn)
{
	struct entry *entry;

	STAILQ_FOREACH (entry, &txn->entries, link) {
		if (entry->changed && is_expired(txn, &entry->value))
			resp_txn_delete(txn, entry->key);
	}
}

/* The next command becomes the call's; false: there is none. */
static bool next_command(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_queued *queued = txn->queued;

	if (!call->in_exec) {
		if (txn->started)
			return false;
		txn->started = true;
		return true;
	}
	if (queued == NULL)
		return false;
	txn->queued_current = queued;
	txn->queued = queued->next;
	call->command = queued->command;
	call->command_index = queued->command_index;
	call->argv = queued->argv;
	call->argc = queued->argc;
	call->db = call->connection->db;
	return true;
}

/* Whether it has keys to be read: else it is done with, or fails. */
static bool command_begin(struct resp_txn *txn)
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
	if (resp_txn_put(txn, key, &value))
		resp_reply_ok(call);
}

static void command_execute(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;

	if (call->command->visit != NULL && is_blind(call))
		overlay_put(txn);
	else if (call->command->apply != NULL)
		call->command->apply(call);
	else if (call->command->visit != NULL)
		overlay_visit(txn);
	else
		call->command->run(call);
	if (call->in_exec)
		drop_expired(txn);
}

/* Writing. */

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

static bool needs_blob(const struct entry *entry)
{
	return entry->changed && entry->value.exists && entry->value.size > KV_INLINE_MAX;
}

/* Whether a piece of a blob was submitted; else all are written. */
static bool blob_submit(struct resp_txn *txn)
{
	struct entry *entry;
	uint64_t left;
	struct kv_cmd cmd = { .op = KV_BLOB_WRITE };

	while ((entry = txn->writing) != NULL &&
	       !(needs_blob(entry) && txn->write_offset < entry->value.size)) {
		txn->writing = STAILQ_NEXT(entry, link);
		txn->write_offset = 0;
	}
	if (entry == NULL)
		return false;
	left = entry->value.size - txn->write_offset;
	cmd.handle = entry->handle;
	cmd.value = bytes_of(entry->value.value.data + txn->write_offset,
	                     left < BLOB_PIECE ? left : BLOB_PIECE);
	txn->write_offset += cmd.value.size;
	req_push(&txn->call->req, struct txn_frame, blob_written);
	kv_submit(txn->server->kv, &txn->call->req, &cmd);
	return true;
}

static void blob_next(struct resp_txn *txn)
{
	if (!blob_submit(txn)) {
		txn->step = STEP_COMMIT;
		txn_go(txn);
	}
}

static void txn_committed(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct resp_txn *txn = call->txn;
	struct entry *entry;

	req_pop(req, struct txn_frame);
	if (req->status == STATUS_CONFLICT) {
		txn->conflict = true;
	} else if (req->status != STATUS_OK) {
		txn->status = req->status;
	} else {
		/* The blobs are the store's now. */
		STAILQ_FOREACH (entry, &txn->entries, link) {
			entry->handle = 0;
		}
	}
	txn_go(txn);
}

static void write_fill(struct kv_write **at, const struct entry *entry)
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
static bool commit_submit(struct resp_txn *txn)
{
	struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &txn->commit };
	struct kv_write *writes, *at;
	struct entry *entry;
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
	txn->commit = (struct kv_commit){ .writes = writes, .count = (uint32_t)(at - writes) };
	req_push(&txn->call->req, struct txn_frame, txn_committed);
	kv_submit(txn->server->kv, &txn->call->req, &cmd);
	return true;
}

/* Runs. */

static void run_drop(struct resp_txn *txn)
{
	struct resp_txns *txns = txn->server->txns;

	assert(txn->loading == 0);
	resp_segments_free(txn->memory);
	txn->memory = NULL;
	STAILQ_INIT(&txn->entries);
	memset(txn->buckets, 0, sizeof(txn->buckets));
	txn->entry_count = 0;
	if (txns->region_user == txn) {
		/* What was touched goes back to the system: it may be a gigabyte. */
		madvise(txns->region, align_up(txns->region_used, BUF_ALIGN), MADV_DONTNEED);
		txns->region_used = 0;
	}
}

static void watch_entries(struct resp_txn *txn)
{
	struct resp_watch *watch = txn->call->connection->watch;

	for (; watch != NULL && txn->call->in_exec && !txn->watch_checked; watch = watch->next) {
		struct entry *entry = entry_get(txn, watch->key);

		if (entry == NULL)
			return;
		entry->version = watch->version;
		entry->has_version = true;
		entry->watched = true;
		/* The commit tells at first; when it has found something, each is looked at. */
		entry->wanted = txn->runs > 0;
	}
}

static void run_begin(struct resp_txn *txn)
{
	txn->status = STATUS_OK;
	txn->conflict = false;
	txn->wants_region = false;
	txn->watch_lost = false;
	txn->started = false;
	txn->flushing = false;
	txn->queued = txn->queued_first;
	txn->writing = NULL;
	txn->step = STEP_WATCH;
	watch_entries(txn);
	txn->load_next = STAILQ_FIRST(&txn->entries);
}

/* Back to where the run started. */
static void run_again(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_connection *connection = call->connection;

	run_drop(txn);
	txn->runs++;
	connection->db = call->in_exec ? txn->db_first : connection->db;
	if (call->out == &connection->out)
		resp_out_truncate(call->out, connection->out_ready + txn->reply_first);
	else
		resp_call_restart_reply(call);
	call->failed = false;
	if (call->in_exec && txn->reply_first == 0)
		resp_reply_array(call, connection->multi->count);
	run_begin(txn);
}

static void txn_end(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_txns *txns = txn->server->txns;

	run_drop(txn);
	call->command = txn->command;
	call->command_index = txn->command_index;
	call->txn = NULL;
	if (call->in_exec) {
		call->in_exec = false;
		resp_multi_discard(call->connection);
		resp_watch_clear(call->connection);
	}
	if (txns->region_user == txn)
		txns->region_user = NULL;
	if (txns->favoured == txn)
		txns->favoured = NULL;
	STAILQ_INSERT_HEAD(&txns->free, txn, link);
	resp_call_done(call);
}

static void txn_fail(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;

	resp_call_restart_reply(call);
	if (txn->watch_lost)
		resp_reply_null_array(call);
	else if (txn->status == STATUS_TOO_LARGE)
		resp_reply_error(call, "ERR transaction is too large");
	else if (txn->status == STATUS_BUSY && !txn->conflict)
		resp_reply_error(call, "OOM no memory for this command");
	else
		resp_reply_status(call, txn->status != STATUS_OK ? txn->status : STATUS_BUSY);
	txn_end(txn);
}

/* The run has ended badly, and nothing of it is under way. */
static void txn_stop(struct resp_txn *txn)
{
	struct resp_txns *txns = txn->server->txns;

	if (txn->wants_region && txn->status == STATUS_OK) {
		/* Who has the region must be able to get on. */
		if (txns->favoured == txn)
			txns->favoured = NULL;
		run_drop(txn);
		STAILQ_INSERT_TAIL(&txns->region_waiting, txn, link);
		return;
	}
	txn->server->stats.conflicts += txn->conflict;
	if (txn->status != STATUS_OK || txn->watch_lost || txn->runs + 1 >= RUNS_MAX) {
		txn_fail(txn);
		return;
	}
	if (txn->runs + 1 >= RUNS_CALM && txns->favoured == NULL)
		txns->favoured = txn;
	run_drop(txn);
	STAILQ_INSERT_TAIL(&txns->again, txn, link);
}

static void txn_again(struct resp_txn *txn)
{
	run_again(txn);
	txn_go(txn);
}

unsigned resp_txns_run(struct resp_server *server)
{
	struct resp_txns *txns = server->txns;
	struct resp_txn_list again = txns->again;
	struct resp_txn *txn;
	struct resp_call *call;
	unsigned count = 0;

	if (STAILQ_EMPTY(&again))
		STAILQ_INIT(&again);
	STAILQ_INIT(&txns->again);
	while ((txn = STAILQ_FIRST(&again)) != NULL) {
		STAILQ_REMOVE_HEAD(&again, link);
		if (txns->favoured != NULL && txns->favoured != txn) {
			STAILQ_INSERT_TAIL(&txns->again, txn, link);
			continue;
		}
		txn_again(txn);
		count++;
	}
	if (txns->region_user == NULL && (txn = STAILQ_FIRST(&txns->region_waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&txns->region_waiting, link);
		txns->region_user = txn;
		txn_again(txn);
		count++;
	}
	while (txns->favoured == NULL && !STAILQ_EMPTY(&txns->free) &&
	       (call = STAILQ_FIRST(&txns->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&txns->waiting, wait_link);
		resp_txn_start(call);
		count++;
	}
	return count;
}

static void blob_dropped(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);

	req_pop(req, struct txn_frame);
	txn_go(call->txn);
}

/* Gives back one blob that no commit took; false: there is none. */
static bool blob_drop(struct resp_txn *txn)
{
	struct kv_cmd cmd = { .op = KV_BLOB_CLOSE };
	struct entry *entry = STAILQ_FIRST(&txn->entries);

	while (entry != NULL && entry->handle == 0)
		entry = STAILQ_NEXT(entry, link);
	if (entry == NULL)
		return false;
	cmd.handle = entry->handle;
	entry->handle = 0;
	req_push(&txn->call->req, struct txn_frame, blob_dropped);
	kv_submit(txn->server->kv, &txn->call->req, &cmd);
	return true;
}

/* A start command of EXEC: what came before it is committed, and will not run again. */
static void start_command(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;

	run_drop(txn);
	txn->watch_checked = true;
	txn->flushing = false;
	txn->queued_first = txn->queued;
	call->command->start(call);
}

void resp_txn_command_done(struct resp_call *call)
{
	struct resp_txn *txn = call->txn;

	txn->reply_first = resp_out_size(call->out) - call->connection->out_ready;
	txn->db_first = call->connection->db;
	txn->step = STEP_COMMAND;
	txn_go(txn);
}

/* One step; false: it goes on when something has ended. */
static bool txn_step(struct resp_txn *txn)
{
	switch (txn->step) {
	case STEP_WATCH:
		load_some(txn, true);
		if (txn->loading == 0)
			txn->step = STEP_COMMAND;
		return txn->loading == 0;
	case STEP_COMMAND:
		if (!next_command(txn))
			txn->step = STEP_WRITE;
		else if (command_begin(txn))
			txn->step = STEP_LOAD;
		break;
	case STEP_LOAD:
		load_some(txn, txn->call->command->flags & RESP_META);
		if (txn->loading == 0)
			txn->step = STEP_EXECUTE;
		return txn->loading == 0;
	case STEP_EXECUTE:
		if (txn->call->command->start == NULL) {
			command_execute(txn);
			txn->step = STEP_COMMAND;
			break;
		}
		txn->flushing = true;
		txn->step = STEP_WRITE;
		break;
	case STEP_WRITE:
		txn->writing = STAILQ_FIRST(&txn->entries);
		txn->write_offset = 0;
		txn->step = STEP_COMMIT;
		return !blob_submit(txn);
	case STEP_COMMIT:
		txn->step = STEP_COMMITTED;
		return !commit_submit(txn);
	case STEP_COMMITTED:
		if (txn->flushing)
			start_command(txn);
		else
			txn_end(txn);
		return false;
	}
	return true;
}

static void txn_go(struct resp_txn *txn)
{
	do {
		if (must_stop(txn)) {
			if (txn->loading == 0 && !blob_drop(txn))
				txn_stop(txn);
			return;
		}
	} while (txn_step(txn));
}

void resp_txn_start(struct resp_call *call)
{
	struct resp_txns *txns = call->server->txns;
	struct resp_txn *txn = STAILQ_FIRST(&txns->free);
	struct resp_connection *connection = call->connection;

	if (txn == NULL || txns->favoured != NULL) {
		STAILQ_INSERT_TAIL(&txns->waiting, call, wait_link);
		return;
	}
	STAILQ_REMOVE_HEAD(&txns->free, link);
	call->txn = txn;
	txn->call = call;
	txn->runs = 0;
	txn->watch_checked = false;
	txn->db_first = connection->db;
	txn->reply_first = 0;
	txn->queued_first = call->in_exec ? connection->multi->first : NULL;
	txn->command = call->command;
	txn->command_index = call->command_index;
	if (call->in_exec)
		resp_reply_array(call, connection->multi->count);
	run_begin(txn);
	txn_go(txn);
}

/* The pool. */

static void txn_init(struct resp_server *server, struct resp_txn *txn)
{
	txn->server = server;
	STAILQ_INIT(&txn->entries);
	for (unsigned i = 0; i < FETCHES; i++) {
		txn->fetches[i].txn = txn;
		req_init(&txn->fetches[i].req, server->worker);
	}
}

enum status resp_txns_open(struct resp_server *server)
{
	struct resp_txns *txns = calloc(1, sizeof(*txns));

	if (txns == NULL)
		return STATUS_NO_SPACE;
	txns->txns = calloc(TXNS_MAX, sizeof(*txns->txns));
	/* Address space only: pages come as they are touched. */
	txns->region = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (txns->txns == NULL || txns->region == MAP_FAILED) {
		if (txns->region != MAP_FAILED)
			munmap(txns->region, REGION_SIZE);
		free(txns->txns);
		free(txns);
		return STATUS_NO_SPACE;
	}
	STAILQ_INIT(&txns->free);
	STAILQ_INIT(&txns->region_waiting);
	STAILQ_INIT(&txns->waiting);
	STAILQ_INIT(&txns->again);
	for (unsigned i = TXNS_MAX; i-- > 0;) {
		txn_init(server, &txns->txns[i]);
		STAILQ_INSERT_HEAD(&txns->free, &txns->txns[i], link);
	}
	server->txns = txns;
	return STATUS_OK;
}

void resp_txns_close(struct resp_server *server)
{
	struct resp_txns *txns = server->txns;

	assert(txns->region_user == NULL);
	munmap(txns->region, REGION_SIZE);
	free(txns->txns);
	free(txns);
	server->txns = NULL;
}
