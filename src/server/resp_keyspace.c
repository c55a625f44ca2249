/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on all keys of a database: RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_walk.h"

enum {
	RANDOM_SAMPLE = 256,
	FLUSH_KEYS_MAX = 10000, /* in a transaction: each is a write of its commit */
};

/*
 * RANDOMKEY: one of all, while there are few; else the first at or after a random place between the
 * first and the last key of a random partition.
 */
struct random_state {
	struct walk *walk; /* first: walk_of() */
	uint8_t step;
	uint8_t tries;
};

static void random_next(struct resp_call *call);

/* A key between first (walk->start) and last (walk->last), by the eight bytes where they part. */
static void random_place(struct resp_server *server, struct walk *walk)
{
	uint32_t same = 0;
	uint64_t low = 0, high = 0, at;

	while (same < walk->start_size && same < walk->last_size &&
	       walk->start[same] == walk->last[same])
		same++;
	for (uint32_t i = 0; i < 8; i++) {
		low = low << 8 | (same + i < walk->start_size ? walk->start[same + i] : 0);
		high = high << 8 | (same + i < walk->last_size ? walk->last[same + i] : 0);
	}
	at = high > low ? low + resp_random(server) % (high - low + 1 != 0 ? high - low + 1 : high)
	                : low;
	walk->start_size = same + 8 < KV_KEY_MAX ? same + 8 : KV_KEY_MAX;
	for (uint32_t i = same; i < walk->start_size; i++)
		walk->start[i] = (uint8_t)(at >> (56 - 8 * (i - same)));
}

/* A key that exists because of the transaction; NULL: there are not so many. */
static const struct txn_entry *made_at(struct resp_call *call, uint64_t index)
{
	struct txn_walk made = { .space = walk_of(call)->start[0] };
	const struct txn_entry *entry = NULL;

	for (uint64_t i = 0; call->txn != NULL && i <= index; i++) {
		entry = txn_made_next(call->txn, &made);
		if (entry == NULL)
			return NULL;
	}
	return entry;
}

/* Replies the key at that place of the batch. False: the transaction has changed it. */
static bool random_reply(struct resp_call *call, uint64_t index)
{
	struct walk *walk = walk_of(call);
	uint8_t memory[KV_KEY_MAX];
	struct walk_record record;
	struct bytes key;
	uint32_t at = 0;

	for (memcpy(&record, walk->batch, sizeof(record)); index > 0; index--) {
		at += (uint32_t)sizeof(record) + record.key_size;
		memcpy(&record, walk->batch + at, sizeof(record));
	}
	key = walk_key(walk, at, memory);
	if (call->txn != NULL && txn_changed(call->txn, key) != NULL)
		return false;
	resp_reply_bulk(call, bytes_of(key.data + 1, key.size - 1));
	walk_close(call);
	return true;
}

static void random_made(struct resp_call *call, uint64_t index)
{
	const struct txn_entry *entry = made_at(call, index);

	if (entry == NULL)
		entry = made_at(call, 0);
	if (entry == NULL)
		resp_reply_null(call);
	else
		resp_reply_bulk(call, bytes_of(entry->key.data + 1, entry->key.size - 1));
	walk_close(call);
}

/* All keys of the store are in the batch. */
static void random_of_few(struct resp_call *call)
{
	struct walk *walk = walk_of(call);
	uint64_t made = 0, start, all;

	while (made_at(call, made) != NULL)
		made++;
	all = walk->looked + made;
	start = all > 0 ? resp_random(call->server) % all : 0;
	/* From a random place on, the first that the transaction has left as it was. */
	for (uint64_t i = 0; i < all; i++) {
		uint64_t at = (start + i) % all;

		if (at >= walk->looked) {
			random_made(call, at - walk->looked);
			return;
		}
		if (random_reply(call, at))
			return;
	}
	resp_reply_null(call);
	walk_close(call);
}

static void random_scanned(struct resp_call *call)
{
	struct random_state *state = RESP_STATE(call, struct random_state);
	struct walk *walk = state->walk;

	if (call->req.status != STATUS_OK) {
		resp_reply_status(call, call->req.status);
		walk_close(call);
		return;
	}
	if (state->step == 0 && walk->looked <= RANDOM_SAMPLE) {
		random_of_few(call);
		return;
	}
	if (state->step == 3 && walk->looked > 0 && random_reply(call, 0))
		return;
	if (walk->looked == 0 ? state->step == 1 || state->step == 2 : state->step == 3) {
		/* An empty partition, or a key that the transaction has changed: another one. */
		state->step = 0;
		if (++state->tries == UINT8_MAX) {
			random_made(call, 0);
			return;
		}
	}
	if (state->step == 1) {
		memcpy(walk->start, walk->last, walk->last_size);
		walk->start_size = walk->last_size;
	} else if (state->step == 2) {
		random_place(call->server, walk);
	} else if (state->step == 3) {
		state->step = 0; /* nothing after the place: keys went away */
	}
	state->step++;
	random_next(call);
}

static void random_next(struct resp_call *call)
{
	struct random_state *state = RESP_STATE(call, struct random_state);
	struct walk *walk = state->walk;
	struct kv_cmd cmd = { .op = KV_SCAN, .limit = 1, .visit = walk_visit, .visitor = walk };

	cmd.flags = KV_KEYS_ONLY | (state->step > 0 ? KV_SCAN_PARTITION : 0u) |
	            (state->step == 2 ? KV_REVERSE : 0u);
	if (state->step == 0)
		cmd.limit = RANDOM_SAMPLE + 1;
	if (state->step == 1) {
		walk->partition =
		        (uint16_t)(resp_random(call->server) % call->server->kv->traits.partitions);
		walk->start_size = 1;
	}
	cmd.partition = walk->partition;
	cmd.key = bytes_of(walk->start, state->step == 2 ? 1 : walk->start_size);
	walk->looked = 0;
	walk->batch_used = 0;
	walk->full = false;
	resp_call_submit(call, &cmd, random_scanned);
}

static void randomkey_start(struct resp_call *call)
{
	struct random_state *state = RESP_STATE(call, struct random_state);

	if (walk_open(call, NULL) == NULL)
		return;
	state->step = 0;
	state->tries = 0;
	random_next(call);
}

/* Counting and clearing. */

struct space_state {
	uint8_t space, last; /* to be looked at; FLUSHALL: up to this one */
	uint8_t key;
};

static int64_t count_change(const struct resp_call *call)
{
	return call->txn != NULL ? txn_count_change(call->txn, (uint8_t)(KV_SPACE_REDIS + call->db))
	                         : 0;
}

static void counted(struct resp_call *call)
{
	if (call->req.status != STATUS_OK)
		resp_reply_status(call, call->req.status);
	else
		resp_reply_i64(call, (int64_t)call->req.result + count_change(call));
	resp_call_done(call);
}

static void dbsize_start(struct resp_call *call)
{
	struct space_state *state = RESP_STATE(call, struct space_state);
	struct kv_cmd cmd = { .op = KV_COUNT, .key = bytes_of(&state->key, 1) };

	state->key = (uint8_t)(KV_SPACE_REDIS + call->db);
	resp_call_submit(call, &cmd, counted);
}

static void flush_next(struct resp_call *call);

static void flush_cleared(struct resp_call *call)
{
	struct space_state *state = RESP_STATE(call, struct space_state);

	if (call->req.status != STATUS_OK) {
		resp_reply_status(call, call->req.status);
		resp_call_done(call);
		return;
	}
	state->space++;
	flush_next(call);
}

static void flush_next(struct resp_call *call)
{
	struct space_state *state = RESP_STATE(call, struct space_state);
	struct kv_cmd cmd = { .op = KV_CLEAR, .key = bytes_of(&state->key, 1) };

	if (state->space > state->last) {
		resp_reply_ok(call);
		resp_call_done(call);
		return;
	}
	state->key = state->space;
	resp_call_submit(call, &cmd, flush_cleared);
}

/*
 * In a transaction: all keys are counted, and then deleted one by one when it is committed. So
 * there may not be many.
 */
struct flush_state {
	struct walk *walk; /* first: walk_of() */
	uint64_t count;
	uint8_t first, last, space, key;
	bool walking;
};

static void flush_made(struct resp_call *call);

static void flush_counted(struct resp_call *call)
{
	struct flush_state *state = RESP_STATE(call, struct flush_state);

	if (call->req.status != STATUS_OK) {
		resp_reply_status(call, call->req.status);
		resp_call_done(call);
		return;
	}
	state->count += call->req.result;
	state->space++;
	flush_made(call);
}

static void flush_walked(struct resp_call *call)
{
	struct flush_state *state = RESP_STATE(call, struct flush_state);
	struct walk *walk = state->walk;

	state->space++;
	if (state->space <= state->last) {
		walk->start[0] = state->space;
		walk->start_size = 1;
		walk->over = false;
		walk->left = UINT64_MAX;
		walk_next(call);
		return;
	}
	for (unsigned space = state->first; space <= state->last; space++)
		txn_remove_made(call->txn, (uint8_t)space);
	resp_reply_ok(call);
	walk_close(call);
}

/* Counts the next space; when all are counted, walks over the first. */
static void flush_made(struct resp_call *call)
{
	struct flush_state *state = RESP_STATE(call, struct flush_state);
	struct kv_cmd cmd = { .op = KV_COUNT, .key = bytes_of(&state->key, 1) };

	if (state->space <= state->last) {
		state->key = state->space;
		resp_call_submit(call, &cmd, flush_counted);
		return;
	}
	if (state->count > FLUSH_KEYS_MAX) {
		resp_reply_errorf(call,
		                  "ERR %s of more than %d keys inside a transaction is not "
		                  "supported",
		                  call->command->name, FLUSH_KEYS_MAX);
		resp_call_done(call);
		return;
	}
	if (walk_open(call, flush_walked) == NULL)
		return;
	state->space = state->first;
	state->walk->removes = true;
	state->walk->start[0] = state->space;
	walk_next(call);
}

static void flush_spaces(struct resp_call *call, unsigned first, unsigned last)
{
	struct space_state *state = RESP_STATE(call, struct space_state);

	if (call->argc > 2 || (call->argc == 2 && !resp_word_is(call->argv[1], "sync") &&
	                       !resp_word_is(call->argv[1], "async"))) {
		resp_reply_syntax_error(call);
		resp_call_done(call);
		return;
	}
	if (call->txn != NULL) {
		*RESP_STATE(call, struct flush_state) = (struct flush_state){
			.first = (uint8_t)first,
			.last = (uint8_t)last,
			.space = (uint8_t)first,
		};
		flush_made(call);
		return;
	}
	state->space = (uint8_t)first;
	state->last = (uint8_t)last;
	flush_next(call);
}

static void flushdb_start(struct resp_call *call)
{
	flush_spaces(call, KV_SPACE_REDIS + call->db, KV_SPACE_REDIS + call->db);
}

static void flushall_start(struct resp_call *call)
{
	flush_spaces(call, KV_SPACE_REDIS, KV_SPACE_REDIS + RESP_DATABASES - 1);
}

enum {
	READS = RESP_READONLY | RESP_WALKS,
	WRITES = RESP_WRITE | RESP_WALKS,
	ACL_FLUSH = RESP_ACL_KEYSPACE | RESP_ACL_WRITE | RESP_ACL_SLOW | RESP_ACL_DANGEROUS,
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "randomkey", .arity = 1, .flags = READS,
	  .acl = RESP_ACL_KEYSPACE | RESP_ACL_READ | RESP_ACL_SLOW, .start = randomkey_start },
	{ .name = "dbsize", .arity = 1, .flags = READS | RESP_FAST,
	  .acl = RESP_ACL_KEYSPACE | RESP_ACL_READ | RESP_ACL_FAST, .start = dbsize_start },
	{ .name = "flushdb", .arity = -1, .flags = WRITES, .acl = ACL_FLUSH,
	  .start = flushdb_start },
	{ .name = "flushall", .arity = -1, .flags = WRITES, .acl = ACL_FLUSH,
	  .start = flushall_start },
};
// clang-format on

const struct resp_table resp_keyspace_table = { commands, array_count(commands) };
