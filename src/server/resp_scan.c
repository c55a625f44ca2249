/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that walk over keys: SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL, WEIR.RANGE. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/glob.h"
#include "server/number.h"
#include "server/resp_internal.h"

/*
 * Walks. Keys are gathered in a batch by the visits, which may run on other workers, and written to
 * the reply between two scans. A batch that is full ignores the rest: the next scan starts after
 * the last key that it took.
 */
enum {
	BATCH_SIZE = 248 << 10,
	SCAN_STEP = 4096,   /* entries of one kv scan */
	CURSORS_MAX = 1024, /* positions kept; the oldest is forgotten */
	RANDOM_SAMPLE = 256,
	WALKS_MAX = 16, /* under way in one worker, 4 MiB; the others wait for their turn */
};

_Static_assert(BATCH_SIZE > 2 * (KV_KEY_MAX + KV_INLINE_MAX + 64), "one entry always fits");

struct walk {
	struct resp_call *call;
	resp_next_fn *end;     /* what to do when the walk is over */
	struct resp_out found; /* elements of the reply */
	uint64_t found_count;
	struct bytes pattern;
	struct bytes kind_name;
	uint64_t left;   /* entries to look at, before the walk is over */
	uint32_t looked; /* by the scan that runs */
	uint32_t flags;  /* of its kv scans */
	uint16_t partition;
	bool values;   /* each key with its value */
	bool filtered; /* by pattern */
	bool filtered_kind;
	bool full;
	bool over; /* nothing comes after what was looked at */
	uint32_t batch_used;
	uint32_t start_size, end_size, last_size;
	uint8_t start[KV_KEY_MAX + 1], end_key[KV_KEY_MAX + 1], last[KV_KEY_MAX];
	uint8_t batch[BATCH_SIZE];
};

struct record {
	uint32_t key_size, value_size;
	uint8_t has_value;
};

static const char *kind_name(uint8_t kind)
{
	static const char *const names[] = { "string", "hash", "list", "set", "zset", "stream" };

	return kind < array_count(names) ? names[kind] : "unknown";
}

static void walk_store(struct walk *walk, struct bytes key, const struct kv_entry *entry)
{
	struct record record = {
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

static void walk_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct walk *walk = visitor;
	struct bytes key = bytes_of(entry->key.data + 1, entry->key.size - 1);
	size_t size = sizeof(struct record) + key.size + entry->value.size;

	(void)edit;
	if (walk->full || walk->batch_used + size > BATCH_SIZE) {
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

static void walk_write(struct walk *walk)
{
	struct resp_call *call = walk->call;
	struct resp_out *out = call->out;
	struct record record;

	call->out = &walk->found;
	for (uint32_t at = 0; at < walk->batch_used;) {
		const uint8_t *from = walk->batch + at;

		memcpy(&record, from, sizeof(record));
		from += sizeof(record);
		resp_reply_bulk(call, bytes_of(from, record.key_size));
		walk->found_count++;
		if (walk->values) {
			if (record.has_value)
				resp_reply_bulk(
				        call, bytes_of(from + record.key_size, record.value_size));
			else
				resp_reply_null(call);
			walk->found_count++;
		}
		at += (uint32_t)sizeof(record) + record.key_size + record.value_size;
	}
	walk->batch_used = 0;
	call->out = out;
}

static void walk_next(struct resp_call *call);

static struct walk *walk_of(struct resp_call *call)
{
	return *RESP_STATE(call, struct walk *);
}

struct place;

struct resp_scans {
	uint32_t walk_count;        /* under way */
	STAILQ_HEAD(, req) waiting; /* requests of calls that have not started their walk */
	bool resuming;              /* one of them starts now */
	uint32_t next;              /* slot; slot 0 is the start of a partition */
	uint32_t generation;
	struct place *places;
};

/*
 * A walk over the call's database. NULL: it is not its turn, and the call starts again when it is;
 * or there is no memory, and that is replied.
 */
static struct walk *walk_open(struct resp_call *call, resp_next_fn *end)
{
	struct resp_scans *scans = call->server->scans;
	struct walk *walk = NULL;

	assert(scans->walk_count <= WALKS_MAX);
	if (scans->walk_count < WALKS_MAX)
		walk = resp_call_memory(call, sizeof(*walk));
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
static void walk_close(struct resp_call *call)
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

static void walk_reply(struct resp_call *call)
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
	        !walk->full && call->req.result < (walk->left < SCAN_STEP ? walk->left : SCAN_STEP);
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

static void walk_next(struct resp_call *call)
{
	struct walk *walk = walk_of(call);
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = walk->flags,
		.partition = walk->partition,
		.limit = walk->left < SCAN_STEP ? (uint32_t)walk->left : SCAN_STEP,
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

/* Narrows a walk to the keys that start as the pattern does, up to its first special byte. */
static void walk_narrow(struct walk *walk)
{
	uint32_t size = 0;

	while (size < walk->pattern.size && size < RESP_KEY_MAX &&
	       memchr("*?[\\", walk->pattern.data[size], 4) == NULL)
		size++;
	if (size == 0)
		return;
	memcpy(walk->start + 1, walk->pattern.data, size);
	walk->start_size = 1 + size;
	memcpy(walk->end_key, walk->start, walk->start_size);
	walk->end_size = walk->start_size;
	while (walk->end_size > 1 && walk->end_key[walk->end_size - 1] == UINT8_MAX)
		walk->end_size--;
	if (walk->end_size > 1)
		walk->end_key[walk->end_size - 1]++;
	else
		walk->end_size = 0;
}

/* KEYS. */

static void keys_end(struct resp_call *call)
{
	walk_reply(call);
	walk_close(call);
}

static void keys_start(struct resp_call *call)
{
	struct walk *walk = walk_open(call, keys_end);

	if (walk == NULL)
		return;
	walk->pattern = call->argv[1];
	walk->filtered = true;
	walk_narrow(walk);
	walk_next(call);
}

/*
 * SCAN goes from partition to partition. A cursor names a partition and a place in it; places are
 * kept in a table, so that a cursor is a number. One whose place is not known any more, or is
 * another worker's, starts its partition again and goes through all of it at once: that way it
 * always gets on, and what was there all the time is returned.
 *
 * 53 bits, since some clients keep cursors as doubles: generation 24, slot 12, worker 6,
 * partition + 1: 11.
 */
struct place {
	uint32_t generation;
	uint32_t size;
	uint8_t key[KV_KEY_MAX + 1];
};

enum { CURSOR_PARTITION_BITS = 11, CURSOR_WORKER_BITS = 6, CURSOR_SLOT_BITS = 12 };

struct cursor {
	uint32_t generation, slot, worker, partition;
};

static uint64_t cursor_pack(const struct cursor *cursor)
{
	uint64_t packed = cursor->generation;

	packed = packed << CURSOR_SLOT_BITS | cursor->slot;
	packed = packed << CURSOR_WORKER_BITS | cursor->worker;
	return packed << CURSOR_PARTITION_BITS | (cursor->partition + 1);
}

static struct cursor cursor_unpack(uint64_t packed)
{
	struct cursor cursor;

	cursor.partition = (uint32_t)(packed & ((1u << CURSOR_PARTITION_BITS) - 1));
	packed >>= CURSOR_PARTITION_BITS;
	cursor.worker = packed & ((1u << CURSOR_WORKER_BITS) - 1);
	packed >>= CURSOR_WORKER_BITS;
	cursor.slot = packed & ((1u << CURSOR_SLOT_BITS) - 1);
	cursor.generation = (uint32_t)(packed >> CURSOR_SLOT_BITS);
	cursor.partition--; /* 0, the cursor of the start, becomes large */
	return cursor;
}

/* Keeps where the walk stands; returns the cursor that leads there. */
static uint64_t cursor_keep(struct resp_server *server, const struct walk *walk)
{
	struct resp_scans *scans = server->scans;
	struct cursor cursor = { .worker = server->worker->id, .partition = walk->partition };
	struct place *place;

	if (walk->start_size <= 1)
		return cursor_pack(&cursor);
	scans->next = scans->next % (CURSORS_MAX - 1) + 1;
	scans->generation = (scans->generation + 1) & 0xffffff;
	place = &scans->places[scans->next];
	place->generation = scans->generation;
	place->size = walk->start_size;
	memcpy(place->key, walk->start, walk->start_size);
	cursor.slot = scans->next;
	cursor.generation = scans->generation;
	return cursor_pack(&cursor);
}

/* Puts a walk where the cursor says. */
static void cursor_find(struct resp_server *server, const struct cursor *cursor, struct walk *walk)
{
	const struct place *place = &server->scans->places[cursor->slot % CURSORS_MAX];

	walk->partition = (uint16_t)cursor->partition;
	if (cursor->slot == 0)
		return;
	if (cursor->worker == server->worker->id && cursor->slot < CURSORS_MAX && place->size > 1 &&
	    place->generation == cursor->generation && place->key[0] == walk->start[0]) {
		memcpy(walk->start, place->key, place->size);
		walk->start_size = place->size;
		return;
	}
	walk->left = UINT64_MAX;
}

static void scan_reply(struct resp_call *call, uint64_t cursor)
{
	uint8_t text[NUMBER_INT64_MAX];

	resp_reply_array(call, 2);
	resp_reply_bulk(call, bytes_of(text, resp_write_u64(text, cursor)));
	walk_reply(call);
	walk_close(call);
}

static void scan_end(struct resp_call *call)
{
	struct walk *walk = walk_of(call);

	if (walk->over) {
		if (++walk->partition == call->server->kv->traits.partitions) {
			scan_reply(call, 0);
			return;
		}
		walk->start_size = 1;
		walk->over = false;
		if (walk->left > 0 && walk->left <= UINT32_MAX && !walk->found.full) {
			walk_next(call);
			return;
		}
	}
	scan_reply(call, cursor_keep(call->server, walk));
}

/* False: an error is replied. */
static bool parse_scan_options(struct resp_call *call, struct walk *walk)
{
	for (uint32_t i = 2; i < call->argc; i += 2) {
		int64_t count;

		if (i + 1 < call->argc && resp_word_is(call->argv[i], "count")) {
			if (!resp_argument_i64(call, i + 1, &count))
				return false;
			if (count < 1) {
				resp_reply_syntax_error(call);
				return false;
			}
			walk->left = count < INT32_MAX ? (uint64_t)count : INT32_MAX;
		} else if (i + 1 < call->argc && resp_word_is(call->argv[i], "match")) {
			walk->pattern = call->argv[i + 1];
			walk->filtered = true;
		} else if (i + 1 < call->argc && resp_word_is(call->argv[i], "type")) {
			walk->kind_name = call->argv[i + 1];
			walk->filtered_kind = true;
			walk->flags &= ~(uint32_t)KV_KEYS_ONLY;
		} else {
			resp_reply_syntax_error(call);
			return false;
		}
	}
	return true;
}

static void scan_start(struct resp_call *call)
{
	unsigned partitions = call->server->kv->traits.partitions;
	struct cursor cursor;
	struct walk *walk;
	uint64_t packed;

	if (!number_parse_uint64(call->argv[1], &packed)) {
		resp_reply_error(call, "ERR invalid cursor");
		resp_call_done(call);
		return;
	}
	walk = walk_open(call, scan_end);
	if (walk == NULL)
		return;
	walk->flags |= KV_SCAN_PARTITION;
	walk->left = 10;
	if (!parse_scan_options(call, walk)) {
		walk_close(call);
		return;
	}
	cursor = cursor_unpack(packed);
	if (packed != 0 && cursor.partition >= partitions) {
		scan_reply(call, 0);
		return;
	}
	if (packed != 0)
		cursor_find(call->server, &cursor, walk);
	walk_next(call);
}

enum status resp_scans_open(struct resp_server *server)
{
	struct resp_scans *scans = calloc(1, sizeof(*scans));

	assert(server->kv->traits.partitions < 1 << CURSOR_PARTITION_BITS);
	assert(server->worker->id < 1 << CURSOR_WORKER_BITS);
	_Static_assert(CURSORS_MAX <= 1 << CURSOR_SLOT_BITS, "slots are part of cursors");
	if (scans == NULL)
		return STATUS_NO_SPACE;
	scans->places = calloc(CURSORS_MAX, sizeof(*scans->places));
	if (scans->places == NULL) {
		free(scans);
		return STATUS_NO_SPACE;
	}
	STAILQ_INIT(&scans->waiting);
	/* Cursors of an earlier start are not taken for ours. */
	scans->generation = (uint32_t)resp_random(server) & 0xffffff;
	server->scans = scans;
	return STATUS_OK;
}

void resp_scans_close(struct resp_server *server)
{
	free(server->scans->places);
	free(server->scans);
	server->scans = NULL;
}

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

static void random_reply(struct resp_call *call, uint64_t index)
{
	struct walk *walk = walk_of(call);
	struct record record;
	uint32_t at = 0;

	for (memcpy(&record, walk->batch, sizeof(record)); index > 0; index--) {
		at += (uint32_t)sizeof(record) + record.key_size;
		memcpy(&record, walk->batch + at, sizeof(record));
	}
	resp_reply_bulk(call, bytes_of(walk->batch + at + sizeof(record), record.key_size));
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
		if (walk->looked == 0) {
			resp_reply_null(call);
			walk_close(call);
		} else {
			random_reply(call, resp_random(call->server) % walk->looked);
		}
		return;
	}
	if (state->step == 3 && walk->looked > 0) {
		random_reply(call, 0);
		return;
	}
	if ((state->step == 1 || state->step == 2) && walk->looked == 0) {
		state->step = 0; /* an empty partition: another one */
		if (++state->tries == UINT8_MAX) {
			resp_reply_null(call);
			walk_close(call);
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

static void counted(struct resp_call *call)
{
	if (call->req.status != STATUS_OK)
		resp_reply_status(call, call->req.status);
	else
		resp_reply_i64(call, (int64_t)call->req.result);
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

static void flush_spaces(struct resp_call *call, unsigned first, unsigned last)
{
	struct space_state *state = RESP_STATE(call, struct space_state);

	if (call->argc > 2 || (call->argc == 2 && !resp_word_is(call->argv[1], "sync") &&
	                       !resp_word_is(call->argv[1], "async"))) {
		resp_reply_syntax_error(call);
		resp_call_done(call);
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

/* WEIR.RANGE start end [REV] [LIMIT n] [KEYSONLY]: from start up to, not including, end. */

/* False: an error is replied. */
static bool parse_range(struct resp_call *call, struct walk *walk)
{
	walk->left = 1000;
	walk->flags = 0;
	walk->values = true;
	if (call->argv[1].size > RESP_KEY_MAX || call->argv[2].size > RESP_KEY_MAX) {
		resp_reply_error(call, "ERR key is longer than the 1023 byte limit");
		return false;
	}
	memcpy(walk->start + 1, call->argv[1].data, call->argv[1].size);
	walk->start_size = 1 + (uint32_t)call->argv[1].size;
	if (call->argv[2].size > 0) {
		walk->end_key[0] = walk->start[0];
		memcpy(walk->end_key + 1, call->argv[2].data, call->argv[2].size);
		walk->end_size = 1 + (uint32_t)call->argv[2].size;
	}
	for (uint32_t i = 3; i < call->argc; i++) {
		int64_t limit;

		if (resp_word_is(call->argv[i], "rev")) {
			walk->flags |= KV_REVERSE;
		} else if (resp_word_is(call->argv[i], "keysonly")) {
			walk->flags |= KV_KEYS_ONLY;
			walk->values = false;
		} else if (resp_word_is(call->argv[i], "limit") && i + 1 < call->argc) {
			if (!resp_argument_i64(call, ++i, &limit))
				return false;
			walk->left = limit > 0 ? (uint64_t)limit : 0;
		} else {
			resp_reply_syntax_error(call);
			return false;
		}
	}
	return true;
}

static void range_start(struct resp_call *call)
{
	struct walk *walk = walk_open(call, keys_end);

	if (walk == NULL)
		return;
	if (!parse_range(call, walk)) {
		walk_close(call);
		return;
	}
	if (walk->left == 0 ||
	    (walk->end_size > 0 && bytes_compare(bytes_of(walk->start, walk->start_size),
	                                         bytes_of(walk->end_key, walk->end_size)) >= 0))
		keys_end(call);
	else
		walk_next(call);
}

enum {
	READS = RESP_READONLY,
	ACL_READS = RESP_ACL_KEYSPACE | RESP_ACL_READ | RESP_ACL_SLOW,
	ACL_FLUSH = RESP_ACL_KEYSPACE | RESP_ACL_WRITE | RESP_ACL_SLOW | RESP_ACL_DANGEROUS,
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "scan", .arity = -2, .flags = READS, .acl = ACL_READS, .start = scan_start },
	{ .name = "keys", .arity = 2, .flags = READS, .acl = ACL_READS | RESP_ACL_DANGEROUS,
	  .start = keys_start },
	{ .name = "randomkey", .arity = 1, .flags = READS, .acl = ACL_READS,
	  .start = randomkey_start },
	{ .name = "dbsize", .arity = 1, .flags = READS | RESP_FAST,
	  .acl = RESP_ACL_KEYSPACE | RESP_ACL_READ | RESP_ACL_FAST, .start = dbsize_start },
	{ .name = "flushdb", .arity = -1, .flags = RESP_WRITE, .acl = ACL_FLUSH,
	  .start = flushdb_start },
	{ .name = "flushall", .arity = -1, .flags = RESP_WRITE, .acl = ACL_FLUSH,
	  .start = flushall_start },
	{ .name = "weir.range", .arity = -3, .flags = READS, .acl = ACL_READS,
	  .start = range_start },
};
// clang-format on

const struct resp_table resp_scan_table = { commands, array_count(commands) };
