/* SPDX-License-Identifier: Apache-2.0 */
/* The RESP face: Redis' commands on the key-value protocol. For those who write commands. */
#ifndef SERVER_RESP_SERVER_H
#define SERVER_RESP_SERVER_H

#include <stdbool.h>
#include <sys/queue.h>

#include "core/buf.h"
#include "core/metrics.h"
#include "core/req.h"
#include "core/worker.h"
#include "proto/kv.h"
#include "proto/stream.h"
#include "proto/volume.h"
#include "wire/resp.h"

struct resp_admin; /* users, settings, slow log ...: resp_admin.c */
struct resp_call;
struct resp_connection;
struct resp_server;
struct resp_txn;
struct resp_user;

enum {
	RESP_DATABASES = 16,
	RESP_KEY_MAX = 1023,                     /* bytes, without the space byte */
	RESP_CALL_ARGUMENTS = 8,                 /* of a call, in its own memory */
	RESP_CALL_MEMORY = 192,                  /* bytes of arguments in its own memory */
	RESP_CALL_REPLY = 160,                   /* bytes of reply in its own memory */
	RESP_ARGUMENT_MAX = BUF_SIZE_MAX - 4096, /* bytes; larger ones only stream into a value */
	RESP_ARGUMENTS_MAX = 60000,              /* of a call: their array fits a buffer */
	RESP_PIPELINE_MAX = 256,                 /* calls of a connection under way */
	RESP_NAME_MAX = 63,                      /* bytes of a connection's name */
};

/* The kinds of value that a key may have: the kind of a kv entry. */
enum resp_kind { RESP_STRING, RESP_HASH, RESP_LIST, RESP_SET, RESP_ZSET, RESP_STREAM };

/*
 * Where replies are written: a little memory of the owner's first, then segments that live at the
 * start of buffers. Without a pool it is fixed: what does not fit sets `full`. A writer never
 * fails otherwise: the one who sends or completes looks at `full`.
 */
struct resp_segment {
	struct resp_segment *next;
	struct buf *buf;
	uint32_t used, size; /* bytes of data[] */
	uint8_t data[];
};

struct resp_out {
	uint8_t *cursor, *limit; /* the room left where writing goes on */
	uint8_t *small, *small_end;
	struct resp_segment *first, *last;
	struct bufs *bufs;    /* NULL: fixed */
	uint64_t size_before; /* bytes in front of the place that the cursor is in */
	uint64_t needed;      /* bytes of the write that did not fit; 0: unknown */
	uint8_t protocol;     /* 2 or 3 */
	bool full;
};

/*
 * How a command is done. One row serves pipelined calls, EXEC and the overlay of a transaction.
 *
 * run      Touches no key. Replies before it returns. Runs alone, after all earlier calls of its
 *          connection have ended and before any later one starts.
 * start    Submits requests of its own on call->req and ends with resp_call_done(). Alone, as run.
 * prepare  For commands of keys: looks at the arguments alone, keeps what it found out in
 *          call->state, and returns true; or writes an error and returns false.
 * visit    One key: the visit function of a kv GET (RESP_READONLY) or UPDATE (RESP_WRITE), visitor:
 *          the call. It may be on another worker's thread: it touches nothing but the entry, the
 *          edit, the arguments, the state and the reply of its call, and writes the whole reply.
 *          To fail it replies an error and leaves the edit at KV_KEEP.
 * apply    Several keys: all are in call->txn when it runs (resp_txn_get() ...). May be run again
 *          from the start. A row with visit and apply is visited when it has one argument only.
 * stream   The same for long values, which are not brought into memory (resp_long.h): runs in a
 *          transaction instead of visit or apply when that has set call->blob, having done and
 *          replied nothing, or when the last argument is a blob already (call->upload). Ends with
 *          resp_stream_done(), at once or later.
 */
typedef void resp_run_fn(struct resp_call *call);
typedef void resp_next_fn(struct resp_call *call);
typedef bool resp_prepare_fn(struct resp_call *call);
typedef void resp_visit_fn(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit);

enum {
	RESP_WRITE = 1 << 0,
	RESP_READONLY = 1 << 1,
	RESP_DENYOOM = 1 << 2,
	RESP_ADMIN = 1 << 3,
	RESP_PUBSUB = 1 << 4,
	RESP_NOSCRIPT = 1 << 5,
	RESP_BLOCKING = 1 << 6,
	RESP_LOADING = 1 << 7,
	RESP_STALE = 1 << 8,
	RESP_SKIP_MONITOR = 1 << 9,
	RESP_SKIP_SLOWLOG = 1 << 10,
	RESP_ASKING = 1 << 11,
	RESP_FAST = 1 << 12,
	RESP_NO_AUTH = 1 << 13, /* also for those who have not authenticated */
	RESP_NO_MULTI = 1 << 14,
	RESP_MOVABLE_KEYS = 1 << 15,
	/* Below: not shown to clients. */
	RESP_UNQUEUED = 1 << 16,   /* runs at once inside MULTI: EXEC, DISCARD, WATCH, QUIT ... */
	RESP_META = 1 << 17,       /* apply looks at no value: they are not read */
	RESP_LOADS = 1 << 18,      /* visit may need a second step: for a long reply, for a blob */
	RESP_SUBSCRIBED = 1 << 21, /* also for those who listen to channels in RESP2 */
	RESP_BLIND = 1 << 22,      /* apply only writes: its keys are not looked at before */
	RESP_STREAMS = 1 << 23,    /* a blob is not loaded for visit, but sent as it is read */
	RESP_UPLOADS = 1 << 25,    /* its last word but options may be written while it arrives */
	RESP_BOTH_DBS =
	        1 << 24, /* start makes all arguments keys, in db and target_db, for apply */
	RESP_DB_ARGUMENT = 1 << 19, /* a key of another database may be named: COPY, MOVE */
	RESP_NEEDS_ADMIN = 1 << 20, /* refused while server->admin is NULL */
	RESP_WALKS =
	        1 << 27, /* start looks at all keys: in EXEC, at those of the transaction, too */
};

/* Classes of keyspace events, as the letters of notify-keyspace-events. */
enum {
	RESP_EVENT_KEYSPACE = 1 << 0, /* K: to __keyspace@<db>__:<key> */
	RESP_EVENT_KEYEVENT = 1 << 1, /* E: to __keyevent@<db>__:<event> */
	RESP_EVENT_GENERIC = 1 << 2,  /* g */
	RESP_EVENT_STRING = 1 << 3,   /* $ */
	RESP_EVENT_LIST = 1 << 4,     /* l */
	RESP_EVENT_SET = 1 << 5,      /* s */
	RESP_EVENT_HASH = 1 << 6,     /* h */
	RESP_EVENT_ZSET = 1 << 7,     /* z */
	RESP_EVENT_EXPIRED = 1 << 8,  /* x */
	RESP_EVENT_EVICTED = 1 << 9,  /* e */
	RESP_EVENT_STREAM = 1 << 10,  /* t */
	RESP_EVENT_MODULE = 1 << 11,  /* d */
	RESP_EVENT_MISS = 1 << 12,    /* m: not in A */
	RESP_EVENT_NEW = 1 << 13,     /* n: not in A */
};
enum { RESP_CALL_EVENTS = 5 }; /* SET with GET and EX: expired, keymiss, new, set, expire */

/* As Redis' ACL categories, in its order. */
enum {
	RESP_ACL_KEYSPACE = 1 << 0,
	RESP_ACL_READ = 1 << 1,
	RESP_ACL_WRITE = 1 << 2,
	RESP_ACL_SET = 1 << 3,
	RESP_ACL_SORTEDSET = 1 << 4,
	RESP_ACL_LIST = 1 << 5,
	RESP_ACL_HASH = 1 << 6,
	RESP_ACL_STRING = 1 << 7,
	RESP_ACL_BITMAP = 1 << 8,
	RESP_ACL_HYPERLOGLOG = 1 << 9,
	RESP_ACL_GEO = 1 << 10,
	RESP_ACL_STREAM = 1 << 11,
	RESP_ACL_PUBSUB = 1 << 12,
	RESP_ACL_ADMIN = 1 << 13,
	RESP_ACL_FAST = 1 << 14,
	RESP_ACL_SLOW = 1 << 15,
	RESP_ACL_BLOCKING = 1 << 16,
	RESP_ACL_DANGEROUS = 1 << 17,
	RESP_ACL_CONNECTION = 1 << 18,
	RESP_ACL_TRANSACTION = 1 << 19,
	RESP_ACL_SCRIPTING = 1 << 20,
};

struct resp_command {
	const char *name;                     /* lower case; of a subcommand: "client|list" */
	int16_t arity;                        /* words, the name included; -n: n or more */
	int8_t key_first, key_last, key_step; /* as in COMMAND; key_first 0: no keys */
	uint32_t flags;
	uint32_t acl;
	resp_run_fn *run;
	resp_run_fn *start;
	resp_prepare_fn *prepare;
	resp_visit_fn *visit;
	resp_run_fn *apply;
	resp_run_fn *stream;
	/* Rows of subcommands, or NULL; a call of one has the subcommand's row. */
	const struct resp_command *subcommands;
	uint32_t subcommand_count;
};

struct resp_table {
	const struct resp_command *commands;
	uint32_t count;
};

/* Each file of commands has a table; resp_table.c lists them. */
extern const struct resp_table resp_basic_table;    /* resp_basic.c */
extern const struct resp_table resp_string_table;   /* resp_string.c */
extern const struct resp_table resp_bit_table;      /* resp_bit.c */
extern const struct resp_table resp_dump_table;     /* resp_dump.c */
extern const struct resp_table resp_incr_table;     /* resp_incr.c */
extern const struct resp_table resp_lcs_table;      /* resp_lcs.c */
extern const struct resp_table resp_own_table;      /* resp_own.c */
extern const struct resp_table resp_swap_table;     /* resp_swap.c */
extern const struct resp_table resp_key_table;      /* resp_key.c */
extern const struct resp_table resp_multi_table;    /* resp_multi.c */
extern const struct resp_table resp_scan_table;     /* resp_scan.c */
extern const struct resp_table resp_keyspace_table; /* resp_keyspace.c */
extern const struct resp_table resp_pubsub_table;   /* resp_pubsub_commands.c */
extern const struct resp_table resp_sync_table;     /* resp_sync.c */
extern const struct resp_table resp_acl_table;      /* resp_acl_commands.c */
extern const struct resp_table resp_client_table;   /* resp_admin_client.c */
extern const struct resp_table resp_config_table;   /* resp_admin_settings.c */
extern const struct resp_table resp_docs_table;     /* resp_docs_commands.c */
extern const struct resp_table resp_info_table;     /* resp_admin_info.c */
extern const struct resp_table resp_log_table;      /* resp_admin_log.c */
extern const struct resp_table resp_misc_table;     /* resp_admin_misc.c */
extern const struct resp_table resp_s3_key_table;   /* resp_s3_key.c */
extern const struct resp_table resp_volume_table;   /* resp_volume.c */

/* By name, in any case; NULL: none. The index counts rows of all tables, for statistics. */
const struct resp_command *resp_command_find(struct bytes name, uint32_t *index);
uint32_t resp_command_count(void);
const struct resp_command *resp_command_at(uint32_t index);

/* What prepare and start keep; a command uses it as it likes, through RESP_STATE(). */
enum { RESP_STATE_SIZE = 96 };
#define RESP_STATE(call, type)                                                                     \
	((type *)(sizeof(type) <= RESP_STATE_SIZE ? (void *)(call)->state : NULL))

enum resp_call_phase {
	RESP_CALL_FREE,
	RESP_CALL_READING, /* arguments are coming */
	RESP_CALL_WAITING, /* complete, waits for its turn to start */
	RESP_CALL_RUNNING,
	RESP_CALL_DONE, /* the reply waits for those before it */
};

/*
 * A command on its way. Memory: the server's pool; arguments live in it or in its buffers, and die
 * with it. argv[i].data[-1] is a free byte, so that a key becomes an engine's key in place.
 */
struct resp_call {
	STAILQ_ENTRY(resp_call) link;      /* in the connection's calls, or the free list */
	STAILQ_ENTRY(resp_call) wait_link; /* while it waits for a transaction or a cursor */
	struct resp_server *server;
	struct resp_connection *connection;
	const struct resp_command *command;
	struct bytes *argv;
	uint32_t argc;
	uint32_t command_index; /* for statistics */
	uint8_t phase;          /* enum resp_call_phase */
	uint8_t db;             /* where its keys are */
	uint8_t target_db;      /* RESP_DB_ARGUMENT: of the second key */
	uint8_t kv_op;         /* what a visit command submits: prepare may say KV_PUT, KV_DELETE */
	uint8_t kind;          /* KV_PUT */
	bool failed;           /* an error was replied */
	char error_code[16];   /* its first word, cut, terminated: "ERR", "WRONGTYPE" */
	uint32_t hits, misses; /* for keyspace_hits and _misses: resp_count_lookup() */
	bool again;            /* visit: more room or another way is needed; nothing was replied */
	bool blob;             /* the value is a blob, or gets too large: nothing was done */
	bool in_exec;          /* runs a transaction's commands, one after another */
	bool discarded;        /* its arguments were dropped: error_text says why */
	uint8_t event_count;
	uint16_t notify;         /* which events are wanted, when it started; 0: none */
	uint32_t kv_flags;       /* KV_PUT */
	struct bytes value;      /* KV_PUT */
	uint64_t expires_ms;     /* KV_PUT */
	uint64_t wall_ms;        /* when it started: the time that visits go by */
	uint64_t key_hash;       /* of the one key of a visit command */
	uint64_t scratch_needed; /* with blob: resp_edit_room() */
	const char *error_text;  /* what to reply instead of running it, or NULL */
	resp_next_fn *next;      /* resp_call_submit() */
	uint32_t memory_used;    /* bytes of memory[] */
	/*
	 * When it was complete; started; was visited, on whichever worker, or its writes went to
	 * the log. So: it waited, something was read, and something was made durable.
	 */
	uint64_t arrived_ns, started_ns, visited_ns;
	struct resp_out *out; /* where its reply goes: its own or, at the head, the connection's */
	struct resp_out reply;
	struct resp_txn *txn;                 /* NULL: not in a transaction */
	struct resp_segment *storage;         /* buffers of arguments too large for memory[] */
	struct resp_upload *upload;           /* its value is a blob already; resp_upload.c */
	struct resp_send *send;               /* what is sent as it is read; resp_blob.c */
	const char *events[RESP_CALL_EVENTS]; /* of a visit, about its key; literals */
	bool changed;                         /* visit, commit: something was written */
	bool streams; /* a blob is to be read when it is its turn to reply */
	bool large;   /* some argument is in server->large */
	_Alignas(16) uint8_t state[RESP_STATE_SIZE];
	struct bytes arguments[RESP_CALL_ARGUMENTS];
	uint8_t memory[RESP_CALL_MEMORY];
	uint8_t small_reply[RESP_CALL_REPLY];
	struct req req;
};
STAILQ_HEAD(resp_call_list, resp_call);

enum {
	RESP_CONNECTION_MULTI = 1 << 0,
	RESP_CONNECTION_DIRTY_EXEC = 1 << 1, /* a queued command was wrong: EXECABORT */
	RESP_CONNECTION_CLOSING = 1 << 2,    /* takes no more commands; closes after the replies */
	RESP_CONNECTION_PAUSED = 1 << 3,     /* the stream is paused */
	RESP_CONNECTION_ENDED = 1 << 4,      /* the peer sends no more */
	RESP_CONNECTION_BROKEN = 1 << 5,     /* nothing can be sent any more */
	RESP_CONNECTION_AUTHENTICATED = 1 << 6,
	RESP_CONNECTION_REPLY_OFF = 1 << 7,  /* CLIENT REPLY OFF */
	RESP_CONNECTION_REPLY_SKIP = 1 << 8, /* this command's reply is dropped */
	RESP_CONNECTION_REPLY_SKIP_NEXT = 1 << 9,
	RESP_CONNECTION_NO_EVICT = 1 << 10,
	RESP_CONNECTION_MONITOR = 1 << 11,
	RESP_CONNECTION_READY = 1 << 12,   /* in server->ready */
	RESP_CONNECTION_STARVED = 1 << 13, /* in server->starved */
};

/* What a connection listens to. */
enum resp_topic_kind { RESP_CHANNEL, RESP_PATTERN, RESP_SHARD_CHANNEL, RESP_TOPIC_KINDS };
struct resp_subscription;
LIST_HEAD(resp_subscription_list, resp_subscription);

struct resp_connection {
	TAILQ_ENTRY(resp_connection) link;       /* in server->connections */
	TAILQ_ENTRY(resp_connection) ready_link; /* in server->ready or ->starved */
	struct resp_server *server;
	struct stream *stream; /* NULL: closed, waits for its last request */
	struct resp_user *user;
	uint64_t id;
	uint64_t created_ns, active_ns; /* worker's clock */
	uint32_t flags;
	uint8_t db;
	uint8_t protocol; /* 2 or 3 */
	uint8_t name_size;
	char name[RESP_NAME_MAX + 1];
	const struct resp_command *last_command; /* NULL: none yet */
	struct resp_parser parser;
	struct buf *input;           /* bytes received and not yet parsed, or NULL */
	uint32_t input_start;        /* of input->used */
	struct resp_call *reading;   /* whose arguments come */
	struct resp_call *waiting;   /* the last of calls, if it could not start yet */
	struct resp_call *streaming; /* waits for the peer to take some of its reply */
	struct resp_call_list calls; /* in order: the head replies next */
	uint32_t call_count;
	uint32_t running_count;            /* of them, started and not done */
	uint64_t reads[4], slow_writes[4]; /* hashes of the keys of calls under way: resp_call.c */
	struct resp_out out;
	uint64_t
	        out_ready; /* bytes of out, from the start of its first segment, that may be sent */
	uint64_t out_sent; /* of them, sent */
	uint64_t out_taken; /* of them, sent or in the send that runs */
	struct req send_req;
	struct iovec iov[STREAM_IOV_MAX];
	bool sending;
	bool discards_output;     /* until the end of the connection */
	bool out_lent;            /* the store writes into out, past what is in it */
	bool exclusive;           /* the running call wants to be alone */
	struct resp_multi *multi; /* queued commands, NULL: none; resp_multi.c */
	struct resp_watch *watch; /* watched keys, NULL: none; resp_multi.c */
	struct resp_segment *watch_memory;
	uint32_t watch_count;
	/* What is published to it while a reply is being written; else it goes to out at once. */
	struct resp_out push;
	struct resp_subscription_list subscriptions;
	uint32_t subscription_counts[RESP_TOPIC_KINDS];
	uint64_t soft_since_ns; /* since when it has more to read than the soft limit; 0: it has not
	                         */
	uint64_t bytes_in, bytes_out, command_count;
	uint32_t reply_guess; /* bytes of late replies of visits elsewhere */
};

TAILQ_HEAD(resp_connection_list, resp_connection);

/* What may be changed while it runs (CONFIG SET). */
struct resp_settings {
	uint64_t bulk_max;        /* proto-max-bulk-len */
	uint64_t output_max;      /* bytes of replies a connection may leave unread */
	uint64_t multi_max;       /* bytes of commands queued by MULTI */
	uint32_t connections_max; /* maxclients */
	uint32_t idle_timeout_s;  /* timeout; 0: none */
	uint64_t memory_max;      /* maxmemory, as far as told; 0: none */
	bool authentication_required;
	uint16_t notify; /* notify-keyspace-events; 0: no events */
	/* client-output-buffer-limit of those who listen: hard, and soft for so long; 0: none. */
	uint64_t pubsub_hard_size, pubsub_soft_size, pubsub_soft_s;
};

/* CLIENT PAUSE: which calls wait. */
enum resp_pause { RESP_PAUSE_NONE, RESP_PAUSE_WRITES, RESP_PAUSE_ALL };

/* Those that resp_server_metrics() registers are changed by metric_add(): others read them. */
struct resp_command_stats {
	uint64_t calls, usec, rejected, failed;
};

struct resp_stats {
	uint64_t connections_received, connections_refused, commands, errors, hits, misses;
	uint64_t bytes_in, bytes_out, protocol_errors, conflicts, output_closed, idle_closed;
	uint64_t changes;                             /* keys written or deleted by commands */
	uint64_t connections;                         /* now */
	uint64_t published, delivered, pubsub_closed; /* messages; listeners that were too slow */
	uint64_t events_dropped;                      /* for lack of memory */
};

struct resp_server_options {
	struct worker *worker;
	struct kv *kv;
	struct bufs *bufs;
	bool kv_is_local; /* every visit runs on this worker */
	struct volume_set *volumes; /* NULL: none are served */
	uint32_t calls_max;
	uint32_t connections_max;
	uint64_t random_seed;
	size_t values_memory; /* bytes of values and arguments too large for buffers; 0: any */
	struct resp_settings settings; /* zeros: defaults */
};

/*
 * One per network worker. Memory: caller's, not moved; pools taken when opened. Thread: its
 * worker's. Give `listener_handler` to the listeners, with the server as their owner.
 */
struct resp_server {
	struct actor actor;
	struct worker *worker;
	struct kv *kv;
	struct bufs *bufs;
	bool kv_is_local;
	struct volume_set *volumes;
	struct resp_settings settings;
	struct resp_stats stats;
	struct resp_command_stats *command_stats; /* by command index */
	struct histogram *latencies; /* by command index: from start to reply; touched when used */
	struct resp_admin *admin;    /* NULL until resp_admin is opened */
	/* Whether the call's user may do it; else it has replied NOAUTH or NOPERM. NULL: all may.
	 */
	bool (*authorize)(struct resp_call *call);
	/*
	 * Told of each call that ends (slow log, latency, errors): its phase is RUNNING, or it was
	 * refused, and its command may be NULL. NULL: nobody is told.
	 */
	void (*observe)(struct resp_call *call, uint64_t duration_ns);
	struct resp_user *default_user;
	struct resp_call *calls;
	uint32_t calls_max, calls_used, calls_used_max;
	uint32_t calls_made; /* of them, used at least once: the rest is memory not touched yet */
	struct resp_call_list calls_free;
	struct resp_connection *connection_memory;
	uint32_t connections_max, connection_count;
	uint32_t connections_made; /* as calls_made */
	struct resp_connection_list connections, connections_free;
	struct resp_connection_list ready;   /* have something to parse, send or close */
	struct resp_connection_list starved; /* have input, but no call was free */
	struct resp_large *large;            /* memory of very long arguments; resp_large.c */
	uint64_t values_max, values_used;    /* bytes of the memory of those and of transactions */
	struct resp_uploads *uploads;        /* values that arrive; resp_upload.c */
	uint32_t uploads_used;               /* of them, under way */
	struct resp_scans *scans;            /* open cursors; resp_scan.c */
	struct resp_txns *txns;              /* pool of transactions; resp_txn.c */
	struct resp_pubsub *pubsub;          /* who listens to what; resp_pubsub.c */
	struct resp_expired *expired;        /* tells what expires; resp_expired.c */
	uint64_t connection_id_next, random_state;
	uint8_t *scratch; /* RESP_LINE_MAX bytes for one function at a time */
	struct timer sweep;
	uint8_t pause; /* enum resp_pause; who ends it makes all connections ready */
	bool draining;
};

extern const struct listener_handler resp_listener_handler; /* listener->owner: the server */

/* NO_SPACE: not enough memory. */
enum status resp_server_open(struct resp_server *server, const struct resp_server_options *options)
        __attribute__((warn_unused_result));
void resp_server_close(struct resp_server *server); /* it is drained */

/* Bytes of a server's pools, whatever its options; and of one connection with a subscription. */
uint64_t resp_server_memory(void);
uint64_t resp_connection_memory(void);

/* resp_metrics.c: by operation, with face="resp". Once, before anybody reads the metrics. */
enum status resp_server_metrics(const struct resp_server *server, struct metrics *metrics)
        __attribute__((warn_unused_result));

/* Asks all to end after their replies; resp_server_is_drained() says when they have. */
void resp_server_drain(struct resp_server *server);

bool resp_server_is_drained(const struct resp_server *server);

/* Takes no more commands; what is replied so far, and what runs, is sent. Any handler may call it.
 */
void resp_connection_shut(struct resp_connection *connection);
void resp_connection_kill(struct resp_connection *connection);  /* drops what is not sent */
void resp_connection_reset(struct resp_connection *connection); /* RESET, but for the reply */

/* For a `start` command: the reply is written; may be called inside start. */
void resp_call_done(struct resp_call *call);

/*
 * For a `start` command: submits on call->req; next() runs when it has ended, with call->req.status
 * and .result.
 */
void resp_call_submit(struct resp_call *call, const struct kv_cmd *cmd, resp_next_fn *next);
/* The same for other protocols: the request that is to be submitted. */
struct req *resp_call_request(struct resp_call *call, resp_next_fn *next);

/*
 * The engine's key of argument `index`, in the call's database (or another): valid as long as the
 * call. False: longer than RESP_KEY_MAX, and the error is replied.
 */
bool resp_call_key(struct resp_call *call, uint32_t index, struct bytes *ret_key);
bool resp_call_key_in(struct resp_call *call, uint32_t index, uint8_t db, struct bytes *ret_key);

/* A word of the call compared with one in lower case, in any case. */
bool resp_word_is(struct bytes word, const char *lower);
/* number_parse_int64() of an argument; else replies "ERR value is not an integer or out of range".
 */
bool resp_argument_i64(struct resp_call *call, uint32_t index, int64_t *ret_value);

/*
 * For visits that store: whether edit->scratch has room for `size` bytes. False: the visit must
 * return at once, without a reply, and is called again with more.
 */
bool resp_edit_room(struct resp_call *call, const struct kv_edit *edit, uint64_t size);

uint64_t resp_random(struct resp_server *server);

/*
 * Tells that something has happened to a key, for keyspace events: `event` is a literal in Redis'
 * words, `event_class` one RESP_EVENT_; `key` is the engine's. From a visit (of its own key only)
 * or an apply, before or after it writes; it is published when that is durable, or never. Cheap
 * when nobody wants it. What a visit stores where nothing was is told as "new" without a word of
 * it; and where something has expired, that.
 */
void resp_notify(struct resp_call *call, uint16_t event_class, const char *event, struct bytes key);
/* A key was looked up to be read, as Redis counts and tells it: by a visit or an apply, once each.
 */
void resp_count_lookup(struct resp_call *call, struct bytes key, bool exists);

/* Replies, in the connection's protocol version. `text` of errors begins with its code. */
void resp_reply_simple(struct resp_call *call, const char *text);
void resp_reply_ok(struct resp_call *call);
void resp_reply_error(struct resp_call *call, const char *text);
void resp_reply_errorf(struct resp_call *call, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void resp_reply_status(struct resp_call *call, enum status status); /* not OK, as an error */
void resp_reply_i64(struct resp_call *call, int64_t value);
void resp_reply_bulk(struct resp_call *call, struct bytes value);
void resp_reply_text(struct resp_call *call, const char *text); /* as a bulk string */
void resp_reply_decimal(struct resp_call *call, int64_t value); /* as a bulk string */
void resp_reply_verbatim(struct resp_call *call, const char *format3, struct bytes value);
void resp_reply_null(struct resp_call *call);
void resp_reply_null_array(struct resp_call *call);
void resp_reply_bool(struct resp_call *call, bool value); /* RESP2: :1 or :0 */
void resp_reply_double(struct resp_call *call, double value);
void resp_reply_array(struct resp_call *call, uint64_t count);
void resp_reply_map(struct resp_call *call, uint64_t pairs); /* RESP2: an array of twice as many */
void resp_reply_set(struct resp_call *call, uint64_t count);
void resp_reply_push(struct resp_call *call, uint64_t count); /* RESP2: an array */
void resp_reply_syntax_error(struct resp_call *call);
void resp_reply_wrong_type(struct resp_call *call);
void resp_reply_raw(struct resp_call *call, struct bytes bytes);

/*
 * Transactions: an overlay over the store. apply functions see through it what the commands before
 * them have done; the whole ends in one KV_COMMIT. Keys are the engine's. A call that fails (false,
 * NULL) has arranged for the reply: the apply function returns at once.
 */
struct resp_value {
	struct bytes
	        value; /* the bytes are there, unless the row is RESP_META or RESP_BLIND, or: */
	struct resp_long *blob; /* not NULL: where they are; resp_long.h */
	uint64_t size;
	uint64_t expires_ms;
	uint64_t version; /* of what is stored; 0: absent, or not known in a RESP_BLIND row */
	uint8_t kind;
	bool exists;
	bool expired; /* is there no more, and nobody has told it yet */
};

/* The key is one of the command's, by its row: those have been looked up. Until the next put. */
const struct resp_value *resp_txn_get(struct resp_txn *txn, struct bytes key);
/* The value's bytes are an argument's, another value's, or in resp_txn_memory(). */
bool resp_txn_put(struct resp_txn *txn, struct bytes key, const struct resp_value *value);
void resp_txn_delete(struct resp_txn *txn, struct bytes key);
/* A stream has ended. */
void resp_stream_done(struct resp_call *call);
/* Memory until the end of the transaction. */
void *resp_txn_memory(struct resp_txn *txn, size_t size);

#endif
