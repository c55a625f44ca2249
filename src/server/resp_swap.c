/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SWAPDB. A database is part of its keys, so they are all written anew, in one transaction; that
 * is for small databases. A key that somebody makes while the others are being gathered stays.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_internal.h"

enum {
	BATCH = 60, /* keys of one scan */
	BATCH_SIZE = BATCH * (RESP_KEY_MAX + 1 + 2),
	KEYS_MAX = 20000, /* of both; each is at most three writes and checks of the commit */
};

struct swap {
	uint8_t dbs[2];
	uint8_t gathering;    /* of dbs */
	uint32_t first_count; /* argc when the first was gathered */
	uint32_t used, start_size;
	uint8_t start[KV_KEY_MAX + 1];
	uint8_t batch[BATCH_SIZE];
};

static void swap_next(struct resp_call *call);

static struct swap *swap_of(struct resp_call *call)
{
	return *RESP_STATE(call, struct swap *);
}

static void swap_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct swap *swap = visitor;
	uint16_t size = (uint16_t)entry->key.size;

	(void)edit;
	assert(swap->used + size + sizeof(size) <= BATCH_SIZE);
	memcpy(swap->batch + swap->used, &size, sizeof(size));
	memcpy(swap->batch + swap->used + sizeof(size), entry->key.data, size);
	swap->used += (uint32_t)sizeof(size) + size;
}

/* Whether the first database has the key, whose words were gathered in order. */
static bool is_gathered(const struct resp_call *call, struct bytes word)
{
	uint32_t first = 1, last = swap_of((struct resp_call *)(uintptr_t)call)->first_count;

	while (first < last) {
		uint32_t middle = first + (last - first) / 2;
		int order = bytes_compare(call->argv[middle], word);

		if (order == 0)
			return true;
		if (order < 0)
			first = middle + 1;
		else
			last = middle;
	}
	return false;
}

/* Adds the words of a batch to the call's arguments; false: too many, or no memory. */
static bool swap_take(struct resp_call *call)
{
	struct swap *swap = swap_of(call);

	for (uint32_t at = 0; at < swap->used;) {
		struct bytes word;
		uint16_t size;
		uint8_t *memory;

		memcpy(&size, swap->batch + at, sizeof(size));
		word = bytes_of(swap->batch + at + sizeof(size) + 1, size - 1u);
		at += (uint32_t)sizeof(size) + size;
		memcpy(swap->start, word.data - 1, size);
		swap->start_size = size;
		if (swap->gathering == 1 && is_gathered(call, word))
			continue;
		memory = call->argc <= KEYS_MAX ? resp_call_memory(call, size) : NULL;
		if (memory == NULL)
			return false;
		memcpy(memory + 1, word.data, word.size);
		call->argv[call->argc++] = bytes_of(memory + 1, word.size);
	}
	return true;
}

static void swap_scanned(struct resp_call *call)
{
	struct swap *swap = swap_of(call);

	if (call->req.status != STATUS_OK) {
		resp_reply_status(call, call->req.status);
		resp_call_done(call);
		return;
	}
	if (!swap_take(call)) {
		resp_reply_error(call, "ERR SWAPDB of more than 20000 keys is not supported");
		resp_call_done(call);
		return;
	}
	if (call->req.result == BATCH) {
		swap->start[swap->start_size++] = 0;
		swap->start_size = swap->start_size > KV_KEY_MAX ? KV_KEY_MAX : swap->start_size;
	} else if (swap->gathering == 0) {
		swap->gathering = 1;
		swap->first_count = call->argc;
		swap->start[0] = (uint8_t)(KV_SPACE_REDIS + swap->dbs[1]);
		swap->start_size = 1;
	} else {
		call->db = swap->dbs[0];
		call->target_db = swap->dbs[1];
		resp_txn_start(call);
		return;
	}
	swap_next(call);
}

static void swap_next(struct resp_call *call)
{
	struct swap *swap = swap_of(call);
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_KEYS_ONLY,
		.limit = BATCH,
		.key = bytes_of(swap->start, swap->start_size),
		.visit = swap_visit,
		.visitor = swap,
	};

	swap->used = 0;
	resp_call_submit(call, &cmd, swap_scanned);
}

static void swap_apply(struct resp_call *call)
{
	for (uint32_t i = 1; i < call->argc; i++) {
		struct resp_value values[2];
		struct bytes key;

		for (unsigned n = 0; n < 2; n++) {
			if (!resp_call_key_in(call, i, n == 0 ? call->db : call->target_db, &key))
				unreachable(); /* it was a key */
			values[n] = *resp_txn_get(call->txn, key);
		}
		for (unsigned n = 0; n < 2; n++) {
			if (!resp_call_key_in(call, i, n == 0 ? call->db : call->target_db, &key))
				unreachable(); /* it was a key */
			if (!values[1 - n].exists && values[n].exists)
				resp_txn_delete(call->txn, key);
			else if (values[1 - n].exists &&
			         !resp_txn_put(call->txn, key, &values[1 - n]))
				return;
		}
	}
	resp_reply_ok(call);
}

static void swapdb_start(struct resp_call *call)
{
	static const char *const errors[] = { "ERR invalid first DB index",
		                              "ERR invalid second DB index" };
	int64_t dbs[2];
	struct swap *swap;

	for (uint32_t i = 0; i < 2; i++) {
		if (!number_parse_int64(call->argv[i + 1], &dbs[i])) {
			resp_reply_error(call, errors[i]);
			resp_call_done(call);
			return;
		}
	}
	if (dbs[0] < 0 || dbs[0] >= RESP_DATABASES || dbs[1] < 0 || dbs[1] >= RESP_DATABASES) {
		resp_reply_error(call, "ERR DB index is out of range");
		resp_call_done(call);
		return;
	}
	swap = resp_call_memory(call, sizeof(*swap));
	call->argv = resp_call_memory(call, (KEYS_MAX + 1) * sizeof(*call->argv));
	if (dbs[0] == dbs[1] || swap == NULL || call->argv == NULL) {
		if (dbs[0] == dbs[1])
			resp_reply_ok(call);
		else
			resp_reply_error(call, "OOM no memory for this command");
		resp_call_done(call);
		return;
	}
	call->argc = 1;
	call->argv[0] = BYTES("swapdb");
	swap->dbs[0] = (uint8_t)dbs[0];
	swap->dbs[1] = (uint8_t)dbs[1];
	swap->gathering = 0;
	swap->start[0] = (uint8_t)(KV_SPACE_REDIS + dbs[0]);
	swap->start_size = 1;
	*RESP_STATE(call, struct swap *) = swap;
	swap_next(call);
}

enum {
	FLAGS = RESP_WRITE | RESP_FAST | RESP_NO_MULTI | RESP_BOTH_DBS,
	ACL = RESP_ACL_KEYSPACE | RESP_ACL_WRITE | RESP_ACL_FAST | RESP_ACL_DANGEROUS,
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "swapdb", .arity = 3, .flags = FLAGS, .acl = ACL, .start = swapdb_start,
	  .apply = swap_apply },
};
// clang-format on

const struct resp_table resp_swap_table = { commands, array_count(commands) };
