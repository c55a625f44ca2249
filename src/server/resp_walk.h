/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over the keys of a database: for the commands that look at all of them. */
#ifndef SERVER_RESP_WALK_H
#define SERVER_RESP_WALK_H

#include "server/resp_txn.h"

/*
 * Keys are gathered in a batch by the visits, which may run on other workers, and written to
 * the reply between two scans. A batch that is full ignores the rest: the next scan starts after
 * the last key that it took. In a transaction, keys that it has changed are left out, and those
 * that exist because of it are told at the end.
 */
enum {
	WALK_BATCH_SIZE = 248 << 10,
	WALK_STEP = 4096, /* entries of one kv scan */
	WALKS_MAX = 16,   /* under way in one worker, 4 MiB; the others wait for their turn */
};

_Static_assert(WALK_BATCH_SIZE > 2 * (KV_KEY_MAX + KV_INLINE_MAX + 64), "one entry always fits");

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
	bool removes; /* in a transaction: each key is deleted there, and not told */
	bool over;    /* nothing comes after what was looked at */
	uint32_t batch_used;
	uint32_t start_size, end_size, last_size;
	uint8_t start[KV_KEY_MAX + 1], end_key[KV_KEY_MAX + 1], last[KV_KEY_MAX];
	uint8_t batch[WALK_BATCH_SIZE];
};

/* In the batch, and then the key, without its space, and the value. */
struct walk_record {
	uint32_t key_size, value_size;
	uint8_t has_value;
};

struct resp_place;

struct resp_scans {
	uint32_t walk_count;        /* under way */
	STAILQ_HEAD(, req) waiting; /* requests of calls that have not started their walk */
	bool resuming;              /* one of them starts now */
	uint32_t next;              /* slot; slot 0 is the start of a partition */
	uint32_t generation;
	struct resp_place *places; /* resp_scan.c */
};

/*
 * A walk over the call's database, of a start command; walk_of() then finds it. NULL: it is not its
 * turn, and the call starts again when it is; or there is no memory, and that is replied. end()
 * runs when the walk is over.
 */
struct walk *walk_open(struct resp_call *call, resp_next_fn *end);
struct walk *walk_of(struct resp_call *call);
void walk_next(struct resp_call *call);  /* goes on */
void walk_reply(struct resp_call *call); /* what was found, as an array */
/* What the transaction has made, and the walk would find; of all partitions, or of one. */
void walk_add_made(struct resp_call *call, bool of_partition);
/* The call has replied: it is done, and the walk's memory goes. */
void walk_close(struct resp_call *call);
/* For scans of one's own: fills the batch. */
void walk_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit);
/* The engine's key of a record of the batch, in `key` of KV_KEY_MAX bytes. */
struct bytes walk_key(const struct walk *walk, uint32_t at, uint8_t *key);

#endif
