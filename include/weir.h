/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libweir: the storage engine of weir in your own process. C11 and C++11.
 *
 * weir_open() opens a store, a directory or a block device, and starts worker threads. Keys and
 * values are bytes; keys are in the order of memcmp(). What a call has acknowledged is on disk,
 * unless its space was made relaxed. There are three ways to use it, which mix freely:
 *
 *   calls      weir_put(), weir_get(), ...: block until it is done; from any thread of yours
 *   requests   weir_submit(): returns at once; request->done() runs on a worker
 *   messages   weir_app_start(): your handler runs on the workers; weir_send() gives it messages
 *
 * What runs on a worker, handlers and every done(), must neither block nor take long: all others
 * of that worker wait meanwhile. The calls that block refuse to work there (WEIR_INVALID).
 *
 * After fork() only the parent may use a store.
 */
#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define WEIR_ALIGNED alignas(16)
extern "C" {
#else
#define WEIR_ALIGNED _Alignas(16)
#endif

/* Grows when something is added. What is here stays as it is in all versions with the same soname.
 */
#define WEIR_API 1

unsigned weir_api(void);        /* WEIR_API of the library that runs */
const char *weir_version(void); /* "0.1.0" */

enum {
	WEIR_SPACES = 64,             /* 0..63: each has its own keys */
	WEIR_KEY_MAX = 1023,          /* bytes, at least 1 */
	WEIR_BATCH_VALUE_MAX = 32768, /* bytes of a value in a batch */
	WEIR_BATCH_WRITES_MAX = 65536,
	WEIR_ERROR_SIZE = 512, /* bytes of a message for people, terminator included */
};
#define WEIR_VALUE_MAX 536870912u /* bytes */

/* The numbers do not change. */
enum weir_status {
	WEIR_OK = 0,
	WEIR_NOT_FOUND = 1,   /* no such key; no such store */
	WEIR_EXISTS = 2,      /* what is there is not a store */
	WEIR_CONFLICT = 3,    /* the version is another one by now */
	WEIR_INVALID = 4,     /* an argument or setting is wrong */
	WEIR_UNSUPPORTED = 5, /* made by a newer weir */
	WEIR_NO_SPACE = 6,    /* of the device, or memory */
	WEIR_TOO_LARGE = 7,   /* does not fit what the caller gave, or a limit */
	WEIR_READ_ONLY = 8,   /* the device has failed; nothing is written until it is reopened */
	WEIR_DENIED = 9,
	WEIR_CORRUPT = 10, /* what is on the device is damaged */
	WEIR_IO = 11,
	WEIR_CANCELED = 12, /* by weir_cancel() */
	WEIR_BUSY =
	        13, /* a bounded resource is used up, try later; another process has the store */
	WEIR_TIMEOUT = 14,     /* not begun within timeout_ns */
	WEIR_UNAVAILABLE = 15, /* the machine refused something */
	WEIR_CLOSED = 16,      /* weir_stop() was called */
};

const char *weir_status_text(enum weir_status status); /* for people; never NULL */

/* Bytes of the caller's. data may be NULL only when size is 0. */
struct weir_bytes {
	const void *data;
	size_t size;
};

struct weir_key {
	const void *data;
	size_t size;
	uint32_t space;
};

/* Of a string, without its terminator. */
struct weir_bytes weir_text(const char *text);
struct weir_key weir_key(uint32_t space, const char *text);

/* Opening. */

/* Make one with weir_options_init(), then change what you want to. */
struct weir_options {
	size_t size;           /* of this struct: weir_options_init() sets it */
	uint64_t memory;       /* bytes that it may take, all together; 0: a default */
	uint64_t store_size;   /* bytes that a new store may grow to; 0: its file system's */
	unsigned workers;      /* that each do everything; 0: by the machine's cores */
	unsigned requests_max; /* under way at a time, until their done() has returned; 0: 65536 */
	uint64_t relaxed_spaces; /* bit i: what is acknowledged in space i is on disk only soon */
	bool pin;                /* bind each worker to a core; the caller's threads stay free */
	bool must_exist;         /* make no store where there is none */
	bool salvage;            /* open a damaged store, without what the damage took */
	/* "section.key=value" as in weir.conf(5): "workers.application_cores=2-3". */
	const char *const *settings;
	unsigned setting_count;
	/* Takes lines for the operator, during weir_open(), weir_log() and weir_close(); or NULL.
	 */
	void (*log)(const char *line, size_t size);
};

void weir_options_init(struct weir_options *options);

struct weir;

/*
 * Blocks. `options` may be NULL. After an error *out is NULL and `error`, if not NULL, of
 * WEIR_ERROR_SIZE bytes, says why. BUSY: somebody else has the store; INVALID: options, such as too
 * little memory; NOT_FOUND; EXISTS; CORRUPT; UNSUPPORTED; others are the machine's.
 */
enum weir_status weir_open(const char *path, const struct weir_options *options, struct weir **out,
                           char *error);

/*
 * Refuses what is new with WEIR_CLOSED and waits until all that is under way has ended, handlers
 * included. Not from a worker.
 */
void weir_stop(struct weir *weir);

/* weir_stop(), then writes that the store ended cleanly and frees the handle. */
void weir_close(struct weir *weir);

void weir_log(struct weir *weir); /* gives options.log what there is; one thread at a time */

/* Calls: from any thread but a worker's. The memory that they are given is theirs until they
 * return. */

enum weir_status weir_put(struct weir *weir, struct weir_key key, struct weir_bytes value);

struct weir_value {
	void *data;       /* the caller's room; NULL: allocated, give it to free() */
	size_t size_max;  /* bytes of room */
	size_t size;      /* result: of the value, also when it did not fit (WEIR_TOO_LARGE) */
	uint64_t version; /* result: grows with every change of the key, never repeats */
};

enum weir_status weir_get(struct weir *weir, struct weir_key key, struct weir_value *value);

/* OK whether it was there or not; was_there may be NULL. */
enum weir_status weir_delete(struct weir *weir, struct weir_key key, bool *was_there);

/*
 * Puts if the key has version *version (0: is absent). OK: *version is the new one. CONFLICT: it is
 * the one that is there.
 */
enum weir_status weir_cas(struct weir *weir, struct weir_key key, struct weir_bytes value,
                          uint64_t *version);

/* Keys from..end, end excluded. */
struct weir_range {
	uint32_t space;
	struct weir_bytes from; /* empty: the first key */
	struct weir_bytes end;  /* empty: past the last key */
	uint64_t limit;         /* entries; 0: all */
	bool reverse;           /* from the end down */
	bool keys_only;
};

struct weir_entry {
	struct weir_bytes key;
	struct weir_bytes value;
	uint64_t version;
};

/* Runs in the caller's thread; false: no more. The entry's memory dies when it returns. */
typedef bool weir_entry_fn(void *context, const struct weir_entry *entry);

/*
 * In the order of keys. Some entries at a time are read, of one moment each; what others change
 * behind the position is not seen.
 */
enum weir_status weir_scan(struct weir *weir, const struct weir_range *range, weir_entry_fn *entry,
                           void *context);

enum weir_status weir_count(struct weir *weir, uint32_t space, uint64_t *count);
enum weir_status weir_clear(struct weir *weir, uint32_t space); /* removes all its keys */

/* All that was acknowledged before, in relaxed spaces too, is on disk when it returns OK. */
enum weir_status weir_sync(struct weir *weir);

/*
 * A batch: writes that happen together or not at all, also in a crash. Memory: its own, with room
 * for writes_max writes with bytes_max bytes of keys and values; they are copied into it. Adding
 * gives TOO_LARGE when it is full. One thread at a time; nobody while it is being committed.
 */
struct weir_batch;

enum weir_status weir_batch_open(struct weir_batch **out, unsigned writes_max, size_t bytes_max);
void weir_batch_close(struct weir_batch *batch);
void weir_batch_reset(struct weir_batch *batch); /* empty again */
enum weir_status weir_batch_put(struct weir_batch *batch, struct weir_key key,
                                struct weir_bytes value);
enum weir_status weir_batch_delete(struct weir_batch *batch, struct weir_key key);
/* Nothing happens unless the key has this version (0: is absent). */
enum weir_status weir_batch_check(struct weir_batch *batch, struct weir_key key, uint64_t version);

/* CONFLICT: a check failed, and nothing has happened. */
enum weir_status weir_commit(struct weir *weir, struct weir_batch *batch);

/*
 * Large values, a piece at a time: no call needs memory for the whole. One thread at a time has a
 * reader or a writer; not from a worker. Both end with weir_close() at the latest; the store
 * forgets one that nobody has used for ten minutes (INVALID).
 *
 * A reader sees the value as it was when it was opened, whatever is written to the key meanwhile.
 */
struct weir_reader;

enum weir_status weir_reader_open(struct weir *weir, struct weir_key key, struct weir_reader **out);
uint64_t weir_reader_size(const struct weir_reader *reader); /* bytes of the value */
uint64_t weir_reader_version(const struct weir_reader *reader);
/* Reads up to `size` bytes from `offset` on; *read: how many, fewer only at the end of the value.
 */
enum weir_status weir_reader_read(struct weir_reader *reader, uint64_t offset, void *out,
                                  size_t size, size_t *read);
void weir_reader_close(struct weir_reader *reader);

/*
 * A writer gathers a value, of up to WEIR_VALUE_MAX bytes, that nobody sees before it is committed.
 * Memory: 256 KiB, its own; the bytes are copied.
 */
struct weir_writer;

struct weir_terms {
	uint32_t flags;      /* WEIR_IF_VERSION, WEIR_KEEP_EXPIRY */
	uint64_t version;    /* with WEIR_IF_VERSION; result of a commit: the new one */
	uint64_t expires_ms; /* milliseconds since 1970; 0: never */
};

enum weir_status weir_writer_open(struct weir *weir, struct weir_key key, struct weir_writer **out);
/* After an error, which all that follow give again, it can only be aborted. */
enum weir_status weir_writer_append(struct weir_writer *writer, struct weir_bytes bytes);
/*
 * The value becomes the key's, at once and as a whole; `terms` may be NULL. It ends the writer,
 * whatever the status. CONFLICT: terms->version is the version that is there.
 */
enum weir_status weir_writer_commit(struct weir_writer *writer, struct weir_terms *terms);
void weir_writer_abort(struct weir_writer *writer); /* leaves nothing */

/* Requests. */

/*
 *          needs                      result                  beside OK
 * GET      key, out, out_max          version, out_size       NOT_FOUND, TOO_LARGE: out_size
 * PUT      key, value, expires_ms     the new version         CONFLICT (1): the one there
 * DELETE   key                        1: was there, 0: not    CONFLICT (1)
 * COMMIT   batch                      writes                  CONFLICT
 * SCAN     key: from, end, limit,     entries; in out: see    (2)
 *          out, out_max               weir_scan_next()
 * COUNT    key.space                  keys
 * CLEAR    key.space                  keys that were removed
 * OPEN     key                        version; handle, out_size: of the value     NOT_FOUND
 * READ     handle, offset, out        out_size                INVALID (4)
 * APPEND   handle (3), value          handle                  INVALID (4), TOO_LARGE
 * DROP     handle                     -
 *
 * (1) With WEIR_IF_VERSION, when the key's version is not `version`.
 * (2) key.size may be 0. result < limit: there are no more, unless out was full: out_size >
 * out_max.
 * (3) 0: begins a value for `key`, which a PUT with WEIR_FROM_HANDLE takes, of the same key; after
 * any other end of it, DROP the handle. All pieces but the last are multiples of 4,096 bytes. (4)
 * No handle of OPEN or APPEND; or nobody has used it for ten minutes, or it is dropped or taken.
 */
enum weir_op {
	WEIR_GET = 0,
	WEIR_PUT = 1,
	WEIR_DELETE = 2,
	WEIR_COMMIT = 3,
	WEIR_SCAN = 4,
	WEIR_COUNT = 5,
	WEIR_CLEAR = 6,
	WEIR_OPEN = 7,
	WEIR_READ = 8,
	WEIR_APPEND = 9,
	WEIR_DROP = 10,
};

enum {
	WEIR_IF_VERSION = 1 << 0,
	WEIR_REVERSE = 1 << 1,
	WEIR_KEYS_ONLY = 1 << 2,
	WEIR_KEEP_EXPIRY = 1 << 3,
	WEIR_FROM_HANDLE = 1 << 4, /* PUT: the value is what was appended to `handle` */
};

struct weir_request;
typedef void weir_done_fn(struct weir_request *request);

/*
 * Memory: the submitter's, zeroed before its first use; weir's from weir_submit() until done()
 * begins. So are value and out; the key and end are copied. It may be used again in its done().
 */
struct weir_request {
	uint32_t op; /* enum weir_op */
	uint32_t flags;
	struct weir_key key;
	struct weir_bytes value;
	struct weir_bytes end;    /* SCAN */
	struct weir_batch *batch; /* COMMIT */
	uint64_t version;         /* with WEIR_IF_VERSION */
	uint64_t expires_ms;      /* PUT: milliseconds since 1970; 0: never */
	uint64_t timeout_ns;      /* to begin within; 0: no limit */
	uint64_t handle;          /* of a large value */
	uint64_t offset;          /* READ: where it begins */
	void *out;
	size_t out_max;
	uint32_t limit;          /* SCAN: entries, at least 1 */
	enum weir_status status; /* result */
	size_t out_size;         /* result: bytes */
	uint64_t result;         /* result: see the table */
	uint64_t id;             /* set by weir_submit(): of no other request of this handle */
	weir_done_fn *done;      /* runs once, on a worker */
	void *context;           /* the submitter's */
	WEIR_ALIGNED unsigned char internal[2880];
};

/*
 * From any thread, also on a worker. OK: done() will run, never before this returns on a worker.
 * Else it never will: BUSY (requests_max), CLOSED, INVALID.
 */
enum weir_status weir_submit(struct weir *weir, struct weir_request *request);

/*
 * Any thread, between submit and done(). Best effort: what has not begun ends with CANCELED; what
 * the engine has is waited for.
 */
void weir_cancel(struct weir_request *request);

/* The next entry of a SCAN's out; *position starts as 0. False: that was the last. */
bool weir_scan_next(const struct weir_request *request, size_t *position, struct weir_entry *entry);

/* Messages: application workers. */

struct weir_app;
struct weir_worker; /* on which something of yours runs now */
struct weir_message;

typedef void weir_message_fn(struct weir_message *message);

/*
 * Memory: the sender's, zeroed before its first use; the application's from weir_send() until
 * done() begins, with all that it points to. The handler owns it until weir_reply().
 */
struct weir_message {
	uint32_t type;       /* the application's */
	struct weir_key key; /* the same key: the same instance, in order; may be empty */
	struct weir_bytes data;
	void *out; /* room for what the handler answers */
	size_t out_max;
	size_t out_size;         /* result: what the handler says */
	uint64_t result;         /* result: what the handler says */
	enum weir_status status; /* result: of weir_reply() */
	uint64_t id;             /* set by weir_send(): the correlation id, of no other message */
	weir_message_fn *done;   /* runs once, on the worker of the handler */
	void *context;           /* the sender's */
	struct weir_request request; /* the handler's, to go on with; its context is the message */
	WEIR_ALIGNED unsigned char internal[96];
};

/* Runs in a worker's turn, for one message at a time of an instance. Replies now or later, once. */
typedef void weir_handler_fn(struct weir_worker *worker, void *state, struct weir_message *message);

struct weir_app_options {
	weir_handler_fn *handler;
	size_t state_size;  /* bytes of each instance's state, which starts zeroed */
	unsigned count;     /* instances, dealt to the application workers; 0: one for each */
	unsigned inbox_max; /* messages under way at a time, of all instances; 0: 4096 */
};

/* Not from a worker. Which workers are for applications, the options of weir_open() say. */
enum weir_status weir_app_start(struct weir *weir, const struct weir_app_options *options,
                                struct weir_app **out);

/* Waits until all messages have their reply. Before weir_close(), not from a worker. */
void weir_app_stop(struct weir_app *app);

unsigned weir_app_count(const struct weir_app *app);        /* instances */
void *weir_app_state(struct weir_app *app, unsigned index); /* while no message is under way */

/* From any thread. OK: done() will run. Else it never will: BUSY (inbox_max), CLOSED, INVALID. */
enum weir_status weir_send(struct weir_app *app, struct weir_message *message);
/* To one instance, whatever the key. */
enum weir_status weir_send_to(struct weir_app *app, unsigned index, struct weir_message *message);

/* weir_send(), and waits for the reply; its status. message->done is not used. Not from a worker.
 */
enum weir_status weir_call(struct weir_app *app, struct weir_message *message);

/* Ends a message, on the worker that has it. done() runs later in the turn. */
void weir_reply(struct weir_message *message, enum weir_status status);

/*
 * For handlers and what continues them: as weir_submit(), without a way through another thread, and
 * also while the store is being stopped. done() runs on the same worker, so it needs no locks to
 * touch the state. It never runs inside this call.
 */
enum weir_status weir_worker_submit(struct weir_worker *worker, struct weir_request *request);

/* The same with request->op, key, value, or out, out_max, and done set. */
enum weir_status weir_worker_put(struct weir_worker *worker, struct weir_request *request,
                                 struct weir_key key, struct weir_bytes value, weir_done_fn *done);
enum weir_status weir_worker_get(struct weir_worker *worker, struct weir_request *request,
                                 struct weir_key key, struct weir_value room, weir_done_fn *done);

/* In done() of a request that was submitted on a worker: that worker. */
struct weir_worker *weir_request_worker(const struct weir_request *request);

uint64_t weir_worker_now_ns(const struct weir_worker *worker); /* monotonic; of this turn */
unsigned weir_worker_index(const struct weir_worker *worker);
struct weir *weir_worker_weir(const struct weir_worker *worker);

#ifdef __cplusplus
}
#endif

#endif
