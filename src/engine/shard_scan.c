/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command over a range of keys. A scan collects a page of locations in one step, merging its
 * partitions, so a page is one moment; then it reads what is not in memory and visits in order.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "engine/shard.h"
#include "engine/store.h"

enum {
	SCAN_PAGE_MAX = KV_SCAN_MOMENT,
	SCAN_KEYS_SIZE = 96 << 10,
	SCAN_READ_AHEAD = 32,
	SCAN_SKIP_MAX = 64,
	SCAN_BATCH = 16, /* cursors or entries whose memory is asked for before the first is used */
};

struct scan_entry {
	uint64_t location;
	uint64_t hash; /* of the key */
	uint32_t key;  /* offset in scan->keys */
	uint16_t key_size;
};

/* A cursor that stands in the range; its key begins with those eight bytes after scan->skip. */
struct scan_head {
	uint64_t head;
	uint16_t cursor;
};

/* In op->state. */
struct scan {
	uint32_t visited, count, next; /* of all; entries of the page; to be visited next */
	uint32_t keys_used;
	uint32_t ahead; /* entries up to here were asked for: of the disk */
	uint32_t near;  /* and of the cache */
	uint32_t skip;  /* bytes of `shared`, with which the key of every cursor began */
	uint16_t from_size, end_size;
	bool exhausted; /* nothing follows the page */
	bool pinned;
	uint8_t from[KV_KEY_MAX + 1]; /* where the next page starts */
	uint8_t end[KV_KEY_MAX + 1];  /* and where the scan ends */
	uint8_t shared[SCAN_SKIP_MAX];
	struct scan_entry entries[SCAN_PAGE_MAX];
	uint8_t keys[SCAN_KEYS_SIZE];
	uint32_t cursor_count;
	uint32_t heap_count;
	struct scan_head heap[PARTITIONS_MAX]; /* the next key is the first one's */
	struct btree_cursor cursors[];         /* of the partitions it goes over */
};

static struct scan *scan_of(struct op *op)
{
	return (struct scan *)(void *)op->state->data;
}

static bool scan_has_partition(const struct op *op, uint32_t partition)
{
	if (op->cmd.flags & KV_SCAN_PARTITION)
		return partition == op->cmd.partition;
	return shard_owns(op->shard, partition);
}

/* The first key after all keys of the space. */
static void scan_end_of_space(const struct kv_cmd *cmd, uint8_t *end, uint16_t *end_size)
{
	end[0] = (uint8_t)(cmd->key.data[0] + 1);
	*end_size = cmd->key.data[0] == UINT8_MAX ? 0 : 1;
}

/* All spaces that it looks at are. */
static bool scan_is_relaxed(const struct op *op)
{
	const struct store_options *options = &op->shard->store->options;
	uint8_t first = op->cmd.key.data[0];
	uint8_t last = op->cmd.end.size > 0 ? op->cmd.end.data[0] : first;

	for (unsigned space = first; space <= last; space++) {
		if (options->durability[space] != KV_RELAXED)
			return false;
	}
	return true;
}

static enum op_result scan_begin(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	const struct kv_cmd *cmd = &op->cmd;
	uint32_t cursors = 0;
	struct scan *scan;
	size_t size;

	for (uint32_t i = 0; i < shard->partition_count; i++)
		cursors += scan_has_partition(op, i);
	size = sizeof(*scan) + cursors * sizeof(struct btree_cursor);
	if (size > BUF_SIZE_MAX)
		return op_finish(req, STATUS_UNSUPPORTED, 0);
	assert(op->state == NULL);
	assert(cmd->key.size > 0 && cmd->key.size <= sizeof(((struct scan *)NULL)->from));
	op->state = buf_get(shard->bufs, size);
	if (op->state == NULL)
		return op_finish(req, STATUS_BUSY, 0);
	scan = scan_of(op);
	scan->visited = scan->count = scan->next = 0;
	assert(cursors <= PARTITIONS_MAX);
	scan->exhausted = false;
	scan->cursor_count = cursors;
	scan->pinned = true;
	shard->read_pins++;
	memcpy(scan->from, cmd->key.data, cmd->key.size);
	scan->from_size = (uint16_t)cmd->key.size;
	if (cmd->end.size > 0) {
		memcpy(scan->end, cmd->end.data, cmd->end.size);
		scan->end_size = (uint16_t)cmd->end.size;
	} else {
		scan_end_of_space(cmd, scan->end, &scan->end_size);
	}
	return OP_DONE;
}

static enum op_result scan_finish(struct req *req, enum status status)
{
	struct op *op = op_of(req);
	uint32_t visited = scan_of(op)->visited;

	return op_finish(req, status, visited);
}

/* Places the cursors; forward at `from`, backward before `end`. */
static enum op_result scan_seek(struct req *req, struct scan *scan)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	bool reverse = op->cmd.flags & KV_REVERSE;
	struct bytes start = reverse ? bytes_of(scan->end, scan->end_size)
	                             : bytes_of(scan->from, scan->from_size);
	uint32_t c = 0;

	for (uint32_t i = 0, ahead = 0; i < shard->partition_count; i++) {
		struct btree_miss miss;
		enum btree_result result;

		for (; ahead < shard->partition_count && ahead < i + SCAN_BATCH; ahead++) {
			if (start.size > 0 && scan_has_partition(op, ahead))
				btree_prefetch(&shard->partitions[ahead].tree, start);
		}
		if (!scan_has_partition(op, i))
			continue;
		result = btree_seek(&shard->partitions[i].tree, &scan->cursors[c], start, reverse,
		                    &miss);
		if (result == BTREE_MISS)
			return op_load_page(req, i, &miss);
		scan->cursors[c++].at_entry = result == BTREE_OK;
	}
	assert(c == scan->cursor_count); /* partitions do not move */
	return OP_DONE;
}

static bool scan_in_range(const struct scan *scan, struct bytes key)
{
	return bytes_compare(key, bytes_of(scan->from, scan->from_size)) >= 0 &&
	       (scan->end_size == 0 || bytes_compare(key, bytes_of(scan->end, scan->end_size)) < 0);
}

/*
 * The eight bytes after those that all keys shared when the cursors were placed, as a number that
 * is smaller for what comes first. A key without the shared bytes came after one that had them, so
 * it comes after all that have them; where numbers are equal, the keys decide.
 */
static uint64_t scan_head_of(const struct scan *scan, struct bytes key, bool reverse)
{
	uint64_t head;

	if (key.size < scan->skip || memcmp(key.data, scan->shared, scan->skip) != 0)
		return UINT64_MAX;
	head = __builtin_bswap64(
	        bytes_word(bytes_of(key.data + scan->skip, key.size - scan->skip)));
	return reverse ? ~head : head;
}

static bool scan_comes_first(const struct scan *scan, const struct scan_head *a,
                             const struct scan_head *b, bool reverse)
{
	int order;

	if (a->head != b->head)
		return a->head < b->head;
	order = bytes_compare(btree_cursor_key(&scan->cursors[a->cursor]),
	                      btree_cursor_key(&scan->cursors[b->cursor]));
	return reverse ? order > 0 : order < 0;
}

static void scan_sift(struct scan *scan, uint32_t i, bool reverse)
{
	struct scan_head moved = scan->heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= scan->heap_count)
			break;
		if (child + 1 < scan->heap_count &&
		    scan_comes_first(scan, &scan->heap[child + 1], &scan->heap[child], reverse))
			child++;
		if (!scan_comes_first(scan, &scan->heap[child], &moved, reverse))
			break;
		scan->heap[i] = scan->heap[child];
		i = child;
	}
	scan->heap[i] = moved;
}

/* What the keys of all cursors in the heap begin with, up to a maximum. */
static void scan_share(struct scan *scan)
{
	struct bytes first;

	scan->skip = 0;
	if (scan->heap_count == 0)
		return;
	first = btree_cursor_key(&scan->cursors[scan->heap[0].cursor]);
	assert(scan->heap_count <= scan->cursor_count);
	scan->skip = (uint32_t)(first.size < SCAN_SKIP_MAX ? first.size : SCAN_SKIP_MAX);
	memcpy(scan->shared, first.data, scan->skip);
	for (uint32_t i = 1; i < scan->heap_count; i++) {
		struct bytes key = btree_cursor_key(&scan->cursors[scan->heap[i].cursor]);
		uint32_t same = 0;

		while (same < scan->skip && same < key.size && key.data[same] == scan->shared[same])
			same++;
		scan->skip = same;
	}
}

/* The cursors that are in the range, in a heap by their keys. */
static void scan_gather(struct scan *scan, bool reverse)
{
	scan->heap_count = 0;
	for (uint32_t i = 0; i < scan->cursor_count; i++) {
		const struct btree_cursor *cursor = &scan->cursors[i];

		if (cursor->at_entry && scan_in_range(scan, btree_cursor_key(cursor)))
			scan->heap[scan->heap_count++].cursor = (uint16_t)i;
	}
	scan_share(scan);
	for (uint32_t i = 0; i < scan->heap_count; i++)
		scan->heap[i].head = scan_head_of(
		        scan, btree_cursor_key(&scan->cursors[scan->heap[i].cursor]), reverse);
	for (uint32_t i = scan->heap_count / 2; i-- > 0;)
		scan_sift(scan, i, reverse);
}

/* The first cursor of the heap has moved on: `left` is whether it is past its last entry. */
static void scan_moved(struct scan *scan, bool left, bool reverse)
{
	const struct btree_cursor *cursor = &scan->cursors[scan->heap[0].cursor];

	assert(scan->heap_count > 0);
	if (left || !scan_in_range(scan, btree_cursor_key(cursor)))
		scan->heap[0] = scan->heap[--scan->heap_count];
	else
		scan->heap[0].head = scan_head_of(scan, btree_cursor_key(cursor), reverse);
	scan_sift(scan, 0, reverse);
}

static uint32_t scan_partition_of(const struct op *op, const struct btree_cursor *cursor)
{
	return (uint32_t)(container_of(cursor->tree, struct partition, tree) -
	                  op->shard->partitions);
}

/* The first cursor of the heap is at a key that a CLEAR has still to remove: past all of those. */
static enum op_result scan_pass_cleared(struct req *req, struct scan *scan,
                                        struct btree_cursor *cursor)
{
	struct op *op = op_of(req);
	const struct clear *clear = &op->shard->clear;
	bool reverse = op->cmd.flags & KV_REVERSE;
	uint32_t partition = scan_partition_of(op, cursor);
	struct bytes first = partition == clear->partition
	                             ? btree_range_place(&clear->range)
	                             : bytes_of(clear->prefix, clear->prefix_size);
	enum btree_result result = BTREE_ABSENT;
	struct btree_miss miss;

	if (reverse || clear->upper.size > 0)
		result = btree_seek(cursor->tree, cursor, reverse ? first : clear->upper, reverse,
		                    &miss);
	if (result == BTREE_MISS)
		return op_load_page(req, partition, &miss);
	cursor->at_entry = result == BTREE_OK;
	scan_moved(scan, /* left= */ result == BTREE_ABSENT, reverse);
	return OP_DONE;
}

/* One page, at one moment: if a page of the index is missing it begins again. */
static enum op_result scan_collect(struct req *req)
{
	struct op *op = op_of(req);
	struct scan *scan = scan_of(op);
	bool reverse = op->cmd.flags & KV_REVERSE;
	uint32_t wanted = op->cmd.limit - scan->visited;
	enum op_result result;

	assert(scan->visited < op->cmd.limit);
	assert(scan->next == scan->count); /* the page before is done */
	scan->count = scan->next = scan->keys_used = scan->ahead = scan->near = 0;
	scan->exhausted = false;
	result = scan_seek(req, scan);
	if (result != OP_DONE)
		return result;
	scan_gather(scan, reverse);
	while (scan->count < wanted && scan->count < SCAN_PAGE_MAX) {
		struct scan_entry *entry = &scan->entries[scan->count];
		struct btree_cursor *cursor;
		struct btree_miss miss;
		struct bytes key;

		if (scan->heap_count == 0) {
			scan->exhausted = true;
			break;
		}
		cursor = &scan->cursors[scan->heap[0].cursor];
		key = btree_cursor_key(cursor);
		if (shard_clear_hides(op->shard, scan_partition_of(op, cursor), key)) {
			result = scan_pass_cleared(req, scan, cursor);
			if (result != OP_DONE)
				return result;
			continue;
		}
		if (scan->keys_used + key.size > SCAN_KEYS_SIZE)
			break;
		assert(cursor->at_entry && key.size <= KV_KEY_MAX);
		entry->location = btree_cursor_value(cursor);
		entry->key = scan->keys_used;
		entry->key_size = (uint16_t)key.size;
		memcpy(scan->keys + scan->keys_used, key.data, key.size);
		scan->keys_used += (uint32_t)key.size;
		switch (btree_next(cursor, reverse, &miss)) {
		case BTREE_OK:
			scan_moved(scan, /* left= */ false, reverse);
			break;
		case BTREE_ABSENT:
			scan_moved(scan, /* left= */ true, reverse);
			break;
		default:
			return op_load_page(req, scan_partition_of(op, cursor), &miss);
		}
		scan->count++;
	}
	/* What is seen must be durable before it is told. */
	if (!scan_is_relaxed(op))
		op->lsn = log_last_lsn(&op->shard->log);
	return OP_DONE;
}

/* The next page starts behind the last entry of this one. */
static void scan_advance(const struct op *op, struct scan *scan)
{
	const struct scan_entry *last = &scan->entries[scan->count - 1];

	assert(scan->count > 0 && scan->count <= SCAN_PAGE_MAX);
	assert(last->key + last->key_size == scan->keys_used);
	assert(last->key_size < sizeof(scan->from));
	if (op->cmd.flags & KV_REVERSE) {
		memcpy(scan->end, scan->keys + last->key, last->key_size);
		scan->end_size = last->key_size;
	} else {
		memcpy(scan->from, scan->keys + last->key, last->key_size);
		scan->from[last->key_size] = 0; /* the first key after it */
		scan->from_size = (uint16_t)(last->key_size + 1);
	}
}

/* The record at a location, whatever the index says by now. NOT_FOUND: it must be read. */
static enum status scan_record(struct op *op, const struct scan_entry *entry, struct bytes key,
                               struct found *found)
{
	struct shard *shard = op->shard;
	const struct record_cache_entry *cached = record_cache_find(shard->cache, entry->hash, key);

	*found = (struct found){ .entry.key = key, .location = entry->location };
	if (cached != NULL && cached->location == entry->location) {
		struct record record = {
			.flags = cached->flags,
			.version = cached->version,
			.expires_ms = cached->expires_ms,
			.value = record_cache_value(cached),
		};

		found_from_record(found, &record);
		return STATUS_OK;
	}
	return find_record(shard, op, found);
}

/* The next entries that are read will be in the cache mostly, and all at different places. */
static void scan_come_near(const struct shard *shard, struct scan *scan)
{
	uint32_t from = scan->next;

	assert(from < scan->count && from >= scan->near);
	scan->near = scan->count - from < SCAN_BATCH ? scan->count : from + SCAN_BATCH;
	for (uint32_t i = from; i < scan->near; i++) {
		struct scan_entry *entry = &scan->entries[i];

		entry->hash = hash64(bytes_of(scan->keys + entry->key, entry->key_size));
		record_cache_prefetch_slot(shard->cache, entry->hash);
	}
	for (uint32_t i = from; i < scan->near; i++)
		record_cache_prefetch_entry(shard->cache, scan->entries[i].hash);
}

/* Visits the entries that are at hand. OP_DONE: the page is done. */
static enum op_result scan_visit(struct req *req)
{
	struct op *op = op_of(req);
	struct shard *shard = op->shard;
	struct scan *scan = scan_of(op);

	for (; scan->next < scan->count; scan->next++) {
		const struct scan_entry *entry = &scan->entries[scan->next];
		struct bytes key = bytes_of(scan->keys + entry->key, entry->key_size);
		uint8_t flags = location_unpack(entry->location).flags;
		struct found found = { .entry = { .key = key, .kind = flags & RECORD_KIND_MASK } };
		enum status status = STATUS_OK;

		found.entry.blob = flags & RECORD_BLOB;
		if (!(op->cmd.flags & KV_KEYS_ONLY) || (flags & RECORD_EXPIRES)) {
			if (scan->next >= scan->near)
				scan_come_near(shard, scan);
			status = scan_record(op, entry, key, &found);
		}
		if (status == STATUS_NOT_FOUND) {
			if (scan->next >= scan->ahead) {
				scan->ahead = scan->next + SCAN_READ_AHEAD;
				for (uint32_t i = scan->next + 1;
				     i < scan->ahead && i < scan->count; i++)
					shard_read_ahead(shard, scan->entries[i].location);
			}
			return op_load_record(req, entry->location);
		}
		if (status != STATUS_OK) {
			shard->stats.corrupt++;
			scan_finish(req, status);
			return OP_PARKED;
		}
		if (found.entry.expires_ms != 0 && found.entry.expires_ms <= shard->worker->wall_ms)
			continue;
		if (found.entry.blob)
			found.entry.value = (struct bytes){ NULL, 0 };
		if (op->cmd.flags & KV_KEYS_ONLY) {
			found.entry.value = (struct bytes){ NULL, 0 };
			found.entry.version = found.entry.expires_ms = found.entry.size = 0;
		}
		assert(scan->visited < op->cmd.limit);
		op->cmd.visit(op->cmd.visitor, &found.entry, NULL);
		scan->visited++;
	}
	return OP_DONE;
}

enum op_result op_scan(struct req *req)
{
	struct op *op = op_of(req);
	enum op_result result;
	struct scan *scan;

	if (op->state == NULL) {
		result = scan_begin(req);
		if (result != OP_DONE || op->state == NULL)
			return result;
	}
	scan = scan_of(op);
	for (;;) {
		if (scan->next == scan->count) {
			if (scan->count > 0)
				scan_advance(op, scan);
			if (scan->exhausted || scan->visited >= op->cmd.limit)
				return scan_finish(req, STATUS_OK);
			result = scan_collect(req);
			if (result != OP_DONE) {
				scan->count = scan->next = 0;
				return result;
			}
			if (scan->count == 0)
				return scan_finish(req, STATUS_OK);
		}
		result = scan_visit(req);
		if (result != OP_DONE)
			return result;
	}
}
