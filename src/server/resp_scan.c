/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that tell keys: SCAN, KEYS, WEIR.RANGE. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_walk.h"

enum { CURSORS_MAX = 1024 }; /* positions kept; the oldest is forgotten */

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
	walk_add_made(call, false);
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
struct resp_place {
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
	struct resp_place *place;

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
	const struct resp_place *place = &server->scans->places[cursor->slot % CURSORS_MAX];

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
		walk_add_made(call, true);
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

size_t resp_scans_memory(void)
{
	return sizeof(struct resp_scans) + CURSORS_MAX * sizeof(struct resp_place);
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
};

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "scan", .arity = -2, .flags = READS | RESP_WALKS, .acl = ACL_READS,
	  .start = scan_start },
	{ .name = "keys", .arity = 2, .flags = READS | RESP_WALKS,
	  .acl = ACL_READS | RESP_ACL_DANGEROUS,
	  .start = keys_start },
	{ .name = "weir.range", .arity = -3, .flags = READS | RESP_NO_MULTI, .acl = ACL_READS,
	  .start = range_start },
};
// clang-format on

const struct resp_table resp_scan_table = { commands, array_count(commands) };
