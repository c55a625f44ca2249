/* SPDX-License-Identifier: Apache-2.0 */
/* A transaction of the RESP face, for the files that make one: how it works, see resp_txn.c. */
#ifndef SERVER_RESP_TXN_H
#define SERVER_RESP_TXN_H

#include "server/resp_long.h"

enum {
	TXN_BUCKETS = 256,
	TXN_FETCHES = 8,            /* keys that one transaction reads at a time */
	TXN_BLOB_PIECE = 256 << 10, /* bytes of a blob read or written at a time */
};

/* Memory for values too large for buffers: an old one and a new one. One transaction at a time. */
#define TXN_REGION_SIZE ((size_t)(2 * KV_VALUE_MAX + (64ull << 20)))

enum entry_state {
	ENTRY_UNKNOWN, /* nothing is known of it */
	ENTRY_META,    /* all but the bytes */
	ENTRY_LOADED,
};

/* A key of the transaction. */
struct txn_entry {
	STAILQ_ENTRY(txn_entry) link;
	struct txn_entry *bucket_next;
	struct bytes key;
	struct resp_value value; /* as the commands see it */
	uint64_t version;        /* as it was read or watched */
	uint64_t handle;         /* of the blob that is written for it, or 0 */
	uint8_t state;           /* enum entry_state */
	bool has_version;        /* the commit checks `version` */
	bool changed;
	bool watched; /* version is what WATCH saw */
	bool wanted;  /* to be read before the command runs */
	bool stored;  /* without has_version: it is in the store, as a walk has seen */
};

/* Reads one key. */
struct txn_fetch {
	struct resp_txn *txn;
	struct txn_entry *entry;
	struct resp_value value;
	uint8_t *room;
	uint64_t room_size, offset, handle;
	struct resp_long *at; /* for a long value */
	bool meta, again, blob, busy;
	struct req req;
};

/* Something to tell when it is committed: a message, or what has happened to a key. */
struct txn_event {
	struct txn_event *next;
	const char *name; /* NULL: the message */
	struct bytes key;
	struct resp_message message;
};

enum txn_step {
	STEP_WATCH,
	STEP_COMMAND,
	STEP_LOAD,
	STEP_EXECUTE,
	STEP_WRITE,
	STEP_COMMIT,
	STEP_PUBLISH,
	STEP_REPLY,
	STEP_CLOSE,
};

struct resp_txn {
	STAILQ_ENTRY(resp_txn) link; /* in the free list, or waiting for the region */
	struct resp_server *server;
	struct resp_call *call;
	struct resp_segment *memory;
	STAILQ_HEAD(, txn_entry) entries;
	struct txn_entry *buckets[TXN_BUCKETS];
	uint32_t entry_count;
	uint32_t runs;
	enum txn_step step;
	enum status status;
	bool conflict;                      /* what was read is not true any more: run again */
	bool wants_region;                  /* run again with it */
	bool watch_lost;                    /* a watched key has changed */
	bool started;                       /* an implicit transaction's one command was run */
	bool starting;                      /* a start command is in its start() */
	bool start_ended;                   /* and has ended there */
	uint8_t db_first;                   /* the connection's when it started */
	struct resp_queued *queued;         /* the next command */
	const struct resp_command *command; /* the call's own */
	uint32_t command_index;
	struct txn_event *events, **events_end;
	struct txn_event **visit_events; /* where those of the visit that runs begin, or NULL */
	uint32_t event_count;
	void *walk; /* of a start command that looks at all keys: used again by the next one */
	unsigned loading;
	struct txn_entry *load_next; /* where to look for the next key that is wanted */
	struct txn_entry *writing;   /* the next whose blob is to be written */
	uint64_t write_offset;
	struct resp_long *longs; /* all that this run has opened or made */
	struct resp_make make;
	struct resp_read read;
	struct txn_hole *holes, **holes_end; /* where long values go into the reply */
	struct resp_out *reply;              /* with holes: what is in front of the first */
	struct kv_commit commit;
	uint32_t changed_count; /* keys that the commit writes */
	struct txn_fetch fetches[TXN_FETCHES];
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

/* resp_txn.c: goes on where it stood, as far as it gets. */
void txn_go(struct resp_txn *txn);
/* Whether this run cannot end well any more. */
bool txn_must_stop(const struct resp_txn *txn);

/* resp_overlay.c: keys and commands. */
struct txn_entry *txn_find(struct resp_txn *txn, struct bytes key); /* NULL: not one of its keys */
/* The entry of a key, made if there is none; NULL: no memory. */
struct txn_entry *txn_entry(struct resp_txn *txn, struct bytes key);
/* The next command becomes the call's; false: there is none. */
bool txn_next_command(struct resp_txn *txn);
/* Whether it is to be run, after its keys were read: else it is done with, or fails. */
bool txn_command_begin(struct resp_txn *txn);
/* False: its stream is to be run. */
bool txn_command_execute(struct resp_txn *txn);

/* resp_txn_load.c: starts to read the keys that are wanted, as many as there are fetches. */
void txn_load_some(struct resp_txn *txn, bool meta);

/* resp_txn_events.c: what is told after the commit, in order. */
void txn_events_reset(struct resp_txn *txn);
void txn_notify(struct resp_txn *txn, const char *name, struct bytes key);
/* A key that was not there is written: in front of what the visit that does it has told. */
void txn_notify_made(struct resp_txn *txn, bool expired, bool stored, struct bytes key);
void txn_message(struct resp_txn *txn, const struct resp_message *message);
/* Forgets those after `end`, where there were `count`. */
void txn_events_cut(struct resp_txn *txn, struct txn_event **end, uint32_t count);
/* Whether there is something to tell: next() runs when all have been told. */
bool txn_events_publish(struct resp_txn *txn, resp_next_fn *next);

/* resp_overlay.c: for commands that look at all keys, of which the row is RESP_WALKS. */
struct txn_walk {
	uint8_t space;
	const struct txn_entry *next; /* NULL: the start, or the end */
};
/* What the transaction has made of a key; NULL: nothing, it is as in the store. */
const struct resp_value *txn_changed(struct resp_txn *txn, struct bytes key);
/* The next of the keys of that space that exist because of the transaction; NULL: no more. */
const struct txn_entry *txn_made_next(const struct resp_txn *txn, struct txn_walk *walk);
/* By how much the keys of that space are more, or fewer, than in the store. */
int64_t txn_count_change(const struct resp_txn *txn, uint8_t space);
/* Deletes a key that is in the store, without a look at it; false: no memory. */
bool txn_remove(struct resp_txn *txn, struct bytes key);
/* Deletes all that the transaction itself has made in that space. */
void txn_remove_made(struct resp_txn *txn, uint8_t space);

/* resp_txn_reply.c */
/* Forgets the long values of the reply, and all that was replied behind the first of them. */
void txn_reply_drop(struct resp_txn *txn);
bool txn_reply_is_full(const struct resp_txn *txn);
/* Whether all of the reply is in the connection's output, or nobody wants it: else it goes on. */
bool txn_reply_send(struct resp_txn *txn);
void txn_reply_resume(struct resp_call *call); /* it is the head of its connection's calls now */

/* resp_long.c: one that the run closes, without a handle yet; NULL: no memory, in txn->status. */
struct resp_long *txn_long(struct resp_txn *txn);

/* resp_txn_commit.c */
/* Whether a piece of a blob was submitted; else all are written, or it has failed. */
bool txn_blob_submit(struct resp_txn *txn);
/* Gives back one blob that no commit took, or that was opened; false: there is none. */
bool txn_blob_drop(struct resp_txn *txn);
/* Whether a commit was submitted; else there is nothing to write or to check. */
bool txn_commit_submit(struct resp_txn *txn);

#endif
