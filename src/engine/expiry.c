/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys whose time has passed. Reads treat them as absent at once; this removes them. The index has
 * an entry {engine space, expiry, key} for every expiry that was ever set, in the order of time. An
 * entry that came due is looked up: if the key still has that expiry the key is removed, and in any
 * case the entry is.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/shard.h"

enum { EXPIRY_PREFIX = 9, EXPIRY_TICK_MAX = 64 };

_Static_assert(KV_KEY_MAX + EXPIRY_PREFIX <= BTREE_KEY_MAX, "an expiry entry fits the index");

static void put64_big_endian(uint8_t *out, uint64_t value)
{
	value = __builtin_bswap64(value);
	memcpy(out, &value, sizeof(value));
}

static uint64_t get64_big_endian(const uint8_t *in)
{
	uint64_t value;

	memcpy(&value, in, sizeof(value));
	return __builtin_bswap64(value);
}

struct bytes expiry_key(uint64_t expires_ms, struct bytes key, uint8_t *out)
{
	assert(key.size > 0 && key.size <= KV_KEY_MAX);
	assert(expires_ms > 0);
	out[0] = KV_SPACE_ENGINE;
	put64_big_endian(out + 1, expires_ms);
	memcpy(out + EXPIRY_PREFIX, key.data, key.size);
	return bytes_of(out, EXPIRY_PREFIX + key.size);
}

/*
 * The removal is an ordinary command: an UPDATE that looks again when its turn comes. A lane takes
 * the entries of its partitions one after another.
 */
enum { LANES = 16 };

struct expiry_lane {
	struct shard *shard;
	struct req req;
	uint32_t partition; /* looked at now */
	uint16_t entry_size;
	bool busy, found;
	bool expired;                 /* the key was there until now */
	uint8_t entry[BTREE_KEY_MAX]; /* key of the index entry that came due */
};

/* What is kept for EXPIRED: as it is told. */
enum {
	TOLD_HEADER = 2,
	TOLD_SIZE = 64 << 10,
	TOLD_RESERVE = LANES * (TOLD_HEADER + KV_KEY_MAX), /* for lanes that are under way */
};

struct expiry {
	struct expiry_lane lanes[LANES];
	uint64_t asked_ns; /* when somebody wanted to know; 0: nobody does */
	uint32_t told_size;
	uint8_t told[TOLD_SIZE];
};

struct lane_frame {
	struct frame frame;
	struct expiry_lane *lane;
};

static void lane_next(struct expiry_lane *lane);

static bool entry_is_due(const struct shard *shard, struct bytes entry)
{
	return entry.size > EXPIRY_PREFIX && entry.data[0] == KV_SPACE_ENGINE &&
	       get64_big_endian(entry.data + 1) <= shard->worker->wall_ms;
}

static void lane_submit(struct expiry_lane *lane, const struct kv_cmd *cmd, req_fn *done)
{
	assert(!lane->busy);
	assert(lane->partition < lane->shard->partition_count);
	lane->busy = true;
	req_init(&lane->req, lane->shard->worker);
	req_push(&lane->req, struct lane_frame, done)->lane = lane;
	kv_submit(&lane->shard->kv, &lane->req, cmd);
}

/* It may have been deleted, or have got another value or time. */
static void remove_if_expired(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct expiry_lane *lane = visitor;

	lane->expired = entry->expired;
	if (entry->expired)
		edit->action = KV_REMOVE;
}

static bool is_listened_to(struct shard *shard)
{
	struct expiry *expiry = shard->expiry;
	uint64_t idle_ns = (uint64_t)KV_EXPIRED_IDLE_S * 1000000000;

	if (expiry->asked_ns != 0 && shard->worker->now_ns - expiry->asked_ns < idle_ns)
		return true;
	expiry->asked_ns = 0;
	expiry->told_size = 0;
	return false;
}

static void expired_add(struct shard *shard, struct bytes key)
{
	struct expiry *expiry = shard->expiry;
	uint8_t *at = expiry->told + expiry->told_size;

	shard->stats.expired++;
	if (!is_listened_to(shard))
		return;
	assert(TOLD_HEADER + key.size <= TOLD_SIZE - expiry->told_size); /* expiry_tick() */
	put16(at, (uint16_t)key.size);
	memcpy(at + TOLD_HEADER, key.data, key.size);
	expiry->told_size += TOLD_HEADER + (uint32_t)key.size;
}

static bool has_room(struct shard *shard)
{
	return !is_listened_to(shard) ||
	       shard->expiry->told_size <= TOLD_SIZE - (uint32_t)TOLD_RESERVE;
}

enum op_result op_expired(struct req *req)
{
	struct op *op = op_of(req);
	struct expiry *expiry = op->shard->expiry;
	uint32_t size = 0;

	(void)is_listened_to(op->shard); /* else: what is old is forgotten */
	expiry->asked_ns = op->shard->worker->now_ns;
	while (size < expiry->told_size) {
		uint32_t next = size + TOLD_HEADER + get16(expiry->told + size);

		assert(next <= expiry->told_size);
		if (next > op->cmd.out_size)
			break;
		size = next;
	}
	memcpy(op->cmd.out, expiry->told, size);
	memmove(expiry->told, expiry->told + size, expiry->told_size - size);
	expiry->told_size -= size;
	return op_finish(req, STATUS_OK, size);
}

static void key_removed(struct req *req)
{
	struct expiry_lane *lane = req_pop(req, struct lane_frame)->lane;
	struct partition *partition = &lane->shard->partitions[lane->partition];
	struct btree_miss miss;
	uint64_t old;

	assert(lane->busy);
	assert(shard_owns(lane->shard, lane->partition));
	lane->busy = false;
	if (req->status != STATUS_OK)
		return; /* tried again with a later tick */
	if (lane->expired)
		expired_add(lane->shard, bytes_of(lane->entry + EXPIRY_PREFIX,
		                                  lane->entry_size - (size_t)EXPIRY_PREFIX));
	/* A page that is not in memory: the entry is met again, and then its key is absent. */
	if (btree_remove(&partition->tree, bytes_of(lane->entry, lane->entry_size), &old, &miss) ==
	    BTREE_OK)
		lane_next(lane);
}

static void lane_remove(struct expiry_lane *lane)
{
	struct kv_cmd cmd = {
		.op = KV_UPDATE,
		.key = bytes_of(lane->entry + EXPIRY_PREFIX,
		                lane->entry_size - (size_t)EXPIRY_PREFIX),
		.visit = remove_if_expired,
		.visitor = lane,
	};

	lane_submit(lane, &cmd, key_removed);
}

static void lane_take(struct expiry_lane *lane, struct bytes entry)
{
	assert(entry.size <= sizeof(lane->entry));
	memcpy(lane->entry, entry.data, entry.size);
	lane->entry_size = (uint16_t)entry.size;
}

static void see_entry(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct expiry_lane *lane = visitor;

	(void)edit;
	if (entry_is_due(lane->shard, entry->key)) {
		lane_take(lane, entry->key);
		lane->found = true;
	}
}

static void scanned(struct req *req)
{
	struct expiry_lane *lane = req_pop(req, struct lane_frame)->lane;

	lane->busy = false;
	if (req->status == STATUS_OK && lane->found)
		lane_remove(lane);
}

/* Brings the page with the first entry into memory. */
static void lane_scan(struct expiry_lane *lane)
{
	static const uint8_t space[] = { KV_SPACE_ENGINE };
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_KEYS_ONLY | KV_SCAN_PARTITION,
		.partition = (uint16_t)lane->partition,
		.limit = 1,
		.key = bytes_of(space, sizeof(space)),
		.visit = see_entry,
		.visitor = lane,
	};

	lane->found = false;
	lane_submit(lane, &cmd, scanned);
}

/* Goes over its partitions until one has an entry that is due. */
static void lane_next(struct expiry_lane *lane)
{
	struct shard *shard = lane->shard;
	static const uint8_t first[] = { KV_SPACE_ENGINE };

	for (; has_room(shard) && lane->partition < shard->partition_count;
	     lane->partition += LANES) {
		struct btree_cursor cursor;
		struct btree_miss miss;

		if (!shard_owns(shard, lane->partition))
			continue;
		switch (btree_seek(&shard->partitions[lane->partition].tree, &cursor,
		                   bytes_of(first, sizeof(first)), /* reverse= */ false, &miss)) {
		case BTREE_OK:
			if (!entry_is_due(shard, btree_cursor_key(&cursor)))
				break;
			lane_take(lane, btree_cursor_key(&cursor));
			lane_remove(lane);
			return;
		case BTREE_MISS:
			lane_scan(lane);
			return;
		default:
			break;
		}
	}
}

void expiry_tick(struct shard *shard)
{
	if (shard->log.failed != STATUS_OK)
		return;
	for (uint32_t i = 0; i < LANES; i++) {
		struct expiry_lane *lane = &shard->expiry->lanes[i];

		if (lane->busy)
			continue;
		lane->partition = i;
		lane_next(lane);
	}
}

bool expiry_is_running(const struct shard *shard)
{
	for (uint32_t i = 0; i < LANES; i++) {
		if (shard->expiry->lanes[i].busy)
			return true;
	}
	return false;
}

enum status expiry_open(struct shard *shard)
{
	shard->expiry = calloc(1, sizeof(*shard->expiry));
	if (shard->expiry == NULL)
		return STATUS_NO_SPACE;
	for (uint32_t i = 0; i < LANES; i++)
		shard->expiry->lanes[i].shard = shard;
	return STATUS_OK;
}

void expiry_close(struct shard *shard)
{
	free(shard->expiry);
	shard->expiry = NULL;
}
