/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scan over several engines, in rounds. The request goes to every engine and collects what comes
 * first there; at home that is merged, as far as no engine can have anything in between, and
 * visited. The next round begins behind it. So a scan sees a moment of each engine in each round,
 * not one moment of all.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "layer/kv_shard_state.h"

enum {
	PART_SIZE = 48 << 10, /* bytes of entries from one engine in one round */
	BATCH_MAX = 128,      /* entries that an engine is asked for; fewer when they did not fit */
};

struct scan_entry {
	uint64_t size, version, expires_ms;
	uint32_t value_size;
	uint16_t key_size;
	uint8_t kind;
	bool blob;
	uint8_t data[]; /* key, value; padded to 8 */
};

_Static_assert(sizeof(struct scan_entry) + KV_KEY_MAX + KV_INLINE_MAX + 8 <= PART_SIZE,
               "the largest entry fits");

struct scan_part {
	uint32_t count, used, next; /* entries; bytes of them; offset of the first not visited */
	uint32_t last;              /* offset of the last one */
	bool full;                  /* there was more than fitted */
	bool complete;              /* nothing follows in this engine */
	_Alignas(8) uint8_t data[PART_SIZE];
};

struct shard_scan {
	struct shard_scan *next_free;
	struct kv_shard *shard;
	struct kv_cmd cmd;
	uint32_t visited, batch;
	unsigned engine; /* that it goes to, or is at */
	uint16_t from_size, end_size;
	uint8_t from[KV_KEY_MAX + 1], end[KV_KEY_MAX + 1];
	struct scan_part *parts; /* by engine */
};

struct scan_frame {
	struct frame frame;
	struct shard_scan *scan;
};

/* A scan that waits for the memory of one. */
struct wait_frame {
	struct frame frame;
	struct kv_shard *shard;
	struct kv_cmd cmd;
};

size_t shard_scan_frame_size(void)
{
	return align_up(sizeof(struct wait_frame), 16);
}

static void scan_arrived(struct req *req);

static void waited(struct req *req)
{
	struct wait_frame *frame = req_pop(req, struct wait_frame);
	struct kv_shard *shard = frame->shard;
	struct kv_cmd cmd = frame->cmd;

	shard_scan_submit(shard, req, &cmd);
}

/* At home: gives the memory to who waits for it. */
static void scan_end(struct req *req, enum status status)
{
	struct shard_scan *scan = req_pop(req, struct scan_frame)->scan;
	struct kv_shard *shard = scan->shard;
	struct req *waiter = STAILQ_FIRST(&shard->scan_waiters);
	uint64_t visited = scan->visited;

	assert(req->worker == shard->kv.worker);
	assert(visited <= scan->cmd.limit);
	scan->next_free = shard->scans_free;
	shard->scans_free = scan;
	if (waiter != NULL) {
		STAILQ_REMOVE_HEAD(&shard->scan_waiters, link);
		worker_send(shard->kv.worker, waiter, waited);
	}
	req_complete(req, status, visited);
}

static void scan_round(struct req *req, struct shard_scan *scan)
{
	scan->engine = 0;
	worker_send(scan->shard->engines[0]->worker, req, scan_arrived);
}

static struct scan_entry *entry_at(struct scan_part *part, uint32_t offset)
{
	assert(offset % 8 == 0 && offset <= PART_SIZE);
	return (struct scan_entry *)(void *)(part->data + offset);
}

static uint32_t entry_size(const struct scan_entry *entry)
{
	return (uint32_t)align_up(sizeof(*entry) + entry->key_size + entry->value_size, 8);
}

static struct bytes entry_key(const struct scan_entry *entry)
{
	return bytes_of(entry->data, entry->key_size);
}

/* At an engine, inside of its turn. */
static void collect(void *visitor, const struct kv_entry *from, struct kv_edit *edit)
{
	struct scan_part *part = visitor;
	size_t size = align_up(sizeof(struct scan_entry) + from->key.size + from->value.size, 8);
	struct scan_entry *entry = entry_at(part, part->used);

	(void)edit;
	assert(from->key.size <= KV_KEY_MAX && from->value.size <= KV_INLINE_MAX);
	if (part->full || size > PART_SIZE - part->used) {
		part->full = true;
		return;
	}
	*entry = (struct scan_entry){
		.size = from->size,
		.version = from->version,
		.expires_ms = from->expires_ms,
		.value_size = (uint32_t)from->value.size,
		.key_size = (uint16_t)from->key.size,
		.kind = from->kind,
		.blob = from->blob,
	};
	memcpy(entry->data, from->key.data, from->key.size);
	if (from->value.size > 0)
		memcpy(entry->data + from->key.size, from->value.data, from->value.size);
	part->last = part->used;
	part->used += (uint32_t)size;
	part->count++;
	assert(part->used <= PART_SIZE);
	assert(entry_size(entry) == size);
}

static void visit_entry(const struct kv_cmd *cmd, const struct scan_entry *entry)
{
	struct kv_entry seen = {
		.key = entry_key(entry),
		.value = bytes_of(entry->data + entry->key_size, entry->value_size),
		.size = entry->size,
		.version = entry->version,
		.expires_ms = entry->expires_ms,
		.kind = entry->kind,
		.blob = entry->blob,
	};

	cmd->visit(cmd->visitor, &seen, NULL);
}

/* Whether `a` comes before `b` in the direction of the scan. */
static bool comes_before(const struct shard_scan *scan, struct bytes a, struct bytes b)
{
	int order = bytes_compare(a, b);

	return scan->cmd.flags & KV_REVERSE ? order > 0 : order < 0;
}

/* The entry that comes next of all that were collected; NULL: all were visited. */
static struct scan_part *first_part(struct shard_scan *scan)
{
	struct scan_part *best = NULL;

	for (unsigned i = 0; i < scan->shard->engine_count; i++) {
		struct scan_part *part = &scan->parts[i];

		if (part->next == part->used)
			continue;
		if (best == NULL || comes_before(scan, entry_key(entry_at(part, part->next)),
		                                 entry_key(entry_at(best, best->next))))
			best = part;
	}
	return best;
}

/*
 * The part that ends first of those whose engine has more: up to its last entry nothing can be
 * missing. NULL: there is no more anywhere.
 */
static struct scan_part *bounding_part(struct shard_scan *scan)
{
	struct scan_part *bound = NULL;

	for (unsigned i = 0; i < scan->shard->engine_count; i++) {
		struct scan_part *part = &scan->parts[i];

		if (part->complete)
			continue;
		assert(part->count > 0);
		if (bound == NULL || comes_before(scan, entry_key(entry_at(part, part->last)),
		                                  entry_key(entry_at(bound, bound->last))))
			bound = part;
	}
	return bound;
}

/* The next round begins behind this key. */
static void scan_advance(struct shard_scan *scan, struct bytes key)
{
	if (scan->cmd.flags & KV_REVERSE) {
		memcpy(scan->end, key.data, key.size);
		scan->end_size = (uint16_t)key.size;
	} else {
		memcpy(scan->from, key.data, key.size);
		scan->from[key.size] = 0; /* the first key after it */
		scan->from_size = (uint16_t)(key.size + 1);
	}
}

/* As many as fitted the last time, and then more again. */
static void adapt_batch(struct shard_scan *scan)
{
	uint32_t fitted = scan->batch * 2;

	for (unsigned i = 0; i < scan->shard->engine_count; i++) {
		const struct scan_part *part = &scan->parts[i];

		if (part->full && part->count < fitted)
			fitted = part->count;
	}
	scan->batch = fitted < BATCH_MAX ? fitted : BATCH_MAX;
	assert(scan->batch > 0); /* the largest entry fits */
}

/* At home, with what every engine had. */
static void scan_merge(struct req *req)
{
	struct shard_scan *scan = req_top(req, struct scan_frame)->scan;
	struct scan_part *bound, *part;

	if (req->status != STATUS_OK) {
		scan_end(req, req->status);
		return;
	}
	bound = bounding_part(scan);
	while (scan->visited < scan->cmd.limit && (part = first_part(scan)) != NULL) {
		struct scan_entry *entry = entry_at(part, part->next);

		if (bound != NULL &&
		    comes_before(scan, entry_key(entry_at(bound, bound->last)), entry_key(entry)))
			break;
		visit_entry(&scan->cmd, entry);
		scan->visited++;
		part->next += entry_size(entry);
		assert(part->next <= part->used);
	}
	if (bound == NULL || scan->visited == scan->cmd.limit) {
		scan_end(req, STATUS_OK);
		return;
	}
	scan_advance(scan, entry_key(entry_at(bound, bound->last)));
	adapt_batch(scan);
	scan_round(req, scan);
}

static uint32_t round_limit(const struct shard_scan *scan)
{
	uint32_t left = scan->cmd.limit - scan->visited;

	assert(scan->visited < scan->cmd.limit);
	return left < scan->batch ? left : scan->batch;
}

/* At an engine. */
static void scan_answered(struct req *req)
{
	struct shard_scan *scan = req_top(req, struct scan_frame)->scan;
	struct scan_part *part = &scan->parts[scan->engine];

	assert(scan->engine < scan->shard->engine_count);
	assert(req->worker == scan->shard->engines[scan->engine]->worker);
	part->complete = !part->full && req->result < round_limit(scan);
	if (req->status == STATUS_OK && ++scan->engine < scan->shard->engine_count)
		worker_send(scan->shard->engines[scan->engine]->worker, req, scan_arrived);
	else
		worker_send(scan->shard->kv.worker, req, scan_merge);
}

static void scan_arrived(struct req *req)
{
	struct shard_scan *scan = req_top(req, struct scan_frame)->scan;
	struct scan_part *part = &scan->parts[scan->engine];
	struct kv_cmd cmd = scan->cmd;

	assert(scan->engine < scan->shard->engine_count);
	assert(scan->from_size <= sizeof(scan->from) && scan->end_size <= sizeof(scan->end));
	part->count = part->used = part->next = part->last = 0;
	part->full = false;
	cmd.key = bytes_of(scan->from, scan->from_size);
	cmd.end = bytes_of(scan->end, scan->end_size);
	cmd.limit = round_limit(scan);
	cmd.visit = collect;
	cmd.visitor = part;
	kv_submit(scan->shard->engines[scan->engine], req, &cmd);
}

void shard_scan_submit(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd)
{
	struct shard_scan *scan = shard->scans_free;

	if (scan == NULL) {
		struct wait_frame *frame = req_push(req, struct wait_frame, waited);

		frame->shard = shard;
		frame->cmd = *cmd;
		STAILQ_INSERT_TAIL(&shard->scan_waiters, req, link);
		return;
	}
	assert(scan->shard == shard);
	assert(cmd->op == KV_SCAN && !(cmd->flags & KV_SCAN_PARTITION));
	assert(cmd->key.size <= sizeof(scan->from) && cmd->end.size <= sizeof(scan->end));
	shard->scans_free = scan->next_free;
	scan->cmd = *cmd;
	scan->visited = 0;
	scan->batch = BATCH_MAX;
	scan->from_size = (uint16_t)cmd->key.size;
	scan->end_size = (uint16_t)cmd->end.size;
	memcpy(scan->from, cmd->key.data, cmd->key.size);
	if (cmd->end.size > 0)
		memcpy(scan->end, cmd->end.data, cmd->end.size);
	req_push(req, struct scan_frame, scan_answered)->scan = scan;
	scan_round(req, scan);
}

enum status shard_scans_open(struct kv_shard *shard)
{
	STAILQ_INIT(&shard->scan_waiters);
	if (shard->engine_count == 1)
		return STATUS_OK;
	shard->scans = calloc(SHARD_SCANS_MAX, sizeof(*shard->scans));
	if (shard->scans == NULL)
		return STATUS_NO_SPACE;
	for (unsigned i = 0; i < SHARD_SCANS_MAX; i++) {
		struct shard_scan *scan = &shard->scans[i];

		/* Touched when it is used. */
		scan->parts = malloc(shard->engine_count * sizeof(*scan->parts));
		if (scan->parts == NULL)
			return STATUS_NO_SPACE;
		scan->shard = shard;
		scan->next_free = shard->scans_free;
		shard->scans_free = scan;
	}
	return STATUS_OK;
}

void shard_scans_close(struct kv_shard *shard)
{
	for (unsigned i = 0; shard->scans != NULL && i < SHARD_SCANS_MAX; i++)
		free(shard->scans[i].parts);
	free(shard->scans);
}
