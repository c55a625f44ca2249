/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the RESP face share among themselves, and commands have no business with. */
#ifndef SERVER_RESP_INTERNAL_H
#define SERVER_RESP_INTERNAL_H

#include "server/resp_server.h"

/* resp_out.c: output. */
void resp_out_init(struct resp_out *out, uint8_t *small, size_t small_size, struct bufs *bufs);
void resp_out_fini(struct resp_out *out); /* gives its segments back and leaves it empty */
/* `size` bytes (at most 4000) in one piece at out->cursor, or NULL and out->full is set. */
uint8_t *resp_out_room_slow(struct resp_out *out, size_t size);
void resp_out_bytes(struct resp_out *out, const void *data, size_t size);
uint64_t resp_out_size(const struct resp_out *out);
/* Drops all but the first `size` bytes, in an output without small memory. */
void resp_out_truncate(struct resp_out *out, uint64_t size);
/* Gives back the segments in front of the last that lie in the first `size` bytes; how many bytes.
 */
uint64_t resp_out_release(struct resp_out *out, uint64_t size);
/* Appends all of `from` and leaves it empty; long segments are moved, not copied. */
void resp_out_append(struct resp_out *out, struct resp_out *from);
/* A fresh segment with room for `size` bytes at the end; NULL: none, and out->full is set. */
struct resp_segment *resp_out_grow(struct resp_out *out, size_t size);

static inline uint8_t *resp_out_room(struct resp_out *out, size_t size)
{
	if (__builtin_expect((size_t)(out->limit - out->cursor) >= size, 1))
		return out->cursor;
	return resp_out_room_slow(out, size);
}

struct resp_segment *resp_segment_get(struct bufs *bufs, size_t size); /* NULL: no buffer */
void resp_segments_free(struct resp_segment *first);

/* resp_connection.c */
void resp_connection_ready(struct resp_connection *connection);
void resp_sweep_start(struct resp_server *server);
unsigned resp_connections_run(struct actor *actor);
void resp_connections_settle(struct actor *actor);

/* Whether resp_call_get() would find one. */
static inline bool resp_calls_are_left(const struct resp_server *server)
{
	return server->calls_used < server->calls_max;
}

/* resp_call.c: arguments, then the life of a call. */
struct resp_call *resp_call_get(struct resp_connection *connection); /* NULL: none is free */
void resp_call_free(struct resp_call *call);
void resp_call_begin(struct resp_call *call, uint64_t count);
void resp_call_argument(struct resp_call *call, struct bytes data);
void resp_call_bulk(struct resp_call *call, uint64_t size);
void resp_call_piece(struct resp_call *call, struct bytes data, bool last);
void resp_call_discard(struct resp_call *call, const char *error_text);
void *resp_call_memory(struct resp_call *call, size_t size); /* NULL: no buffer */
/* All arguments are there: finds the command and starts the call, or lets it wait. */
void resp_call_arrived(struct resp_call *call);
bool resp_call_try_start(struct resp_call *call);
bool resp_is_out_of_memory(const struct resp_server *server);
/* Forgets what was replied so far; small errors fit ever after. */
void resp_call_restart_reply(struct resp_call *call);
void resp_call_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit);
/* Finds the row and checks the words; false: an error is replied. */
bool resp_call_resolve(struct resp_call *call);

/* resp_multi.c: what MULTI queues. Each record lives until the queue is discarded. */
struct resp_queued {
	struct resp_queued *next;
	const struct resp_command *command;
	uint32_t command_index;
	uint32_t argc;
	struct bytes argv[];
};

struct resp_multi {
	struct resp_queued *first, **last;
	struct resp_segment *memory; /* the segment that it lies in is the last of them */
	uint64_t size;
	uint32_t flags; /* of all its commands */
	uint32_t count;
};

struct resp_watch {
	struct resp_watch *next;
	struct bytes key; /* the engine's */
	uint64_t version;
};

bool resp_multi_queue(struct resp_call *call); /* false: not queued, an error is replied */
void resp_multi_discard(struct resp_connection *connection);
void resp_watch_clear(struct resp_connection *connection);

/* resp_txn.c: runs an apply command, or what a connection has queued. Ends in resp_call_done(). */
enum status resp_txns_open(struct resp_server *server) __attribute__((warn_unused_result));
void resp_txns_close(struct resp_server *server);
void resp_txn_start(struct resp_call *call);
unsigned resp_txns_run(struct resp_server *server); /* goes on with those that wait; how many */
void resp_txn_command_done(struct resp_call *call); /* a start command of EXEC has ended */

/* resp_blob.c: replies that are sent as they are read, of rows with RESP_STREAMS. */
void resp_blob_start(struct resp_call *call);
void resp_blob_reply(struct resp_call *call); /* it is the head of its connection's calls now */

/*
 * Sends bytes of an opened blob behind what is in the connection's output, at the pace of the
 * reader. The call is the head of its connection's calls; the memory lives until next() runs. Then
 * `left` is not 0 if it failed or nobody wants the rest: the reply can only end with the
 * connection.
 */
struct resp_send {
	uint64_t handle, offset, left;
	uint64_t crc; /* with_crc: of what was sent, from what it is when it starts */
	bool with_crc;
	resp_next_fn *next;
};
void resp_send_start(struct resp_call *call, struct resp_send *send);
void resp_send_resume(struct resp_connection *connection);
/* What is in the connection's output by now may be sent. */
void resp_send_publish(struct resp_call *call);
/* Whether the reply that is next is not wanted. */
static inline bool resp_is_silent(const struct resp_connection *connection)
{
	return connection->flags & (RESP_CONNECTION_REPLY_OFF | RESP_CONNECTION_REPLY_SKIP);
}

/* resp_string.c: absent or a string; else the error is replied. */
bool resp_check_string(struct resp_call *call, const struct kv_entry *entry);
/* The same, and its bytes are there; false with call->blob: they are not. */
bool resp_check_bytes(struct resp_call *call, const struct kv_entry *entry);

/* What a GET or GETRANGE wants of a string, and of one that is not there. */
void resp_string_part(struct resp_call *call, uint64_t size, uint64_t *ret_offset,
                      uint64_t *ret_size);
void resp_reply_absent_string(struct resp_call *call);
void resp_reply_bulk_header(struct resp_call *call, uint64_t size);

/* resp_upload.c: long values of rows with RESP_UPLOADS, written while they arrive. */
enum status resp_uploads_open(struct resp_server *server) __attribute__((warn_unused_result));
void resp_uploads_close(struct resp_server *server); /* uploads_used is 0 */
/* Those that wait for a buffer look again. */
void resp_uploads_wake(struct resp_server *server);
bool resp_uploads_wait(const struct resp_server *server); /* whether one does */
/* The next argument has so many bytes; false: it is to be gathered in memory. */
bool resp_upload_begin(struct resp_call *call, uint64_t size);
/* Bytes of input that may be parsed; 0: not now, its connection becomes ready when some may. */
size_t resp_upload_room(struct resp_call *call);
void resp_upload_piece(struct resp_call *call, struct bytes data, bool last);
bool resp_upload_is_idle(const struct resp_call *call); /* nothing but its peer keeps it waiting */
/* Of a prepared call of one key that starts; ends in resp_call_done(). */
void resp_upload_store(struct resp_call *call);
/* The value as one of the run of a transaction; NULL: it failed, or no memory: the run ends. */
struct resp_long *resp_upload_long(struct resp_call *call);
bool resp_upload_has(const struct resp_call *call, uint64_t handle); /* whether it closes it */
void resp_upload_taken(struct resp_call *call);                      /* the value has got its key */
void resp_upload_release(struct resp_call *call); /* and closes a blob that got no key */

/* resp_large.c: memory for arguments that fit no buffer; a few calls at a time. */
enum status resp_large_open(struct resp_server *server) __attribute__((warn_unused_result));
void resp_large_close(struct resp_server *server);
uint8_t *resp_large_take(struct resp_call *call, size_t size); /* NULL: none is free */
void resp_large_free(struct resp_call *call);

/* resp_scan.c */
enum status resp_scans_open(struct resp_server *server) __attribute__((warn_unused_result));
void resp_scans_close(struct resp_server *server);

/*
 * resp_pubsub.c: who listens to what on this worker. A listener that leaves more unread than it
 * may, or for which there is no memory, is cut off.
 */
struct resp_message {
	enum resp_topic_kind kind; /* RESP_CHANNEL or RESP_SHARD_CHANNEL */
	struct bytes channel, payload;
};
enum status resp_pubsub_open(struct resp_server *server) __attribute__((warn_unused_result));
void resp_pubsub_close(struct resp_server *server);
/* False: no room for more subscriptions. What it listens to already changes nothing. */
bool resp_subscribe(struct resp_connection *connection, enum resp_topic_kind kind,
                    struct bytes name);
bool resp_unsubscribe(struct resp_connection *connection, enum resp_topic_kind kind,
                      struct bytes name);
void resp_unsubscribe_all(struct resp_connection *connection);
/* One of that kind that it listens to; until it is unsubscribed. False: there is none. */
bool resp_subscription_first(const struct resp_connection *connection, enum resp_topic_kind kind,
                             struct bytes *ret_name);
uint32_t resp_deliver(struct resp_server *server, const struct resp_message *message);
void resp_push_flush(struct resp_connection *connection); /* a reply has ended */
void resp_push_sweep(struct resp_connection *connection); /* now and then: the soft limit */
static inline bool resp_is_listening(const struct resp_connection *connection)
{
	return !LIST_EMPTY(&connection->subscriptions);
}
/* The topics with listeners, by an index that ends where this is NULL. */
struct resp_topic_facts {
	enum resp_topic_kind kind;
	struct bytes name;
	uint32_t listeners;
};
bool resp_topic_at(const struct resp_server *server, uint32_t index,
                   struct resp_topic_facts *ret_facts); /* false: past the end; kind: KINDS: none */
bool resp_topic_find(const struct resp_server *server, enum resp_topic_kind kind, struct bytes name,
                     struct resp_topic_facts *ret_facts);
/* Whether it may go on listening: its user's rights have changed. */
bool resp_may_listen(const struct resp_connection *connection,
                     bool (*may)(const struct resp_user *user, struct bytes name, bool is_pattern));

/*
 * resp_events.c: messages that go to all workers. next() runs when all have them, at once or later;
 * *receivers counts the listeners. The messages live until then.
 */
struct resp_publish {
	const struct resp_message *messages;
	uint32_t count;
	uint64_t receivers; /* result */
};
void resp_publish(struct resp_call *call, struct resp_publish *publish, resp_next_fn *next);
/* What the call, not of a transaction, has to tell is published; then resp_call_done() again. */
void resp_events_publish(struct resp_call *call);
/* A visit has changed a key that was not there: what happened before what it has told. */
void resp_events_made(struct resp_call *call, bool expired, bool stored);
/* What a SET that was a KV_PUT has to tell. */
void resp_notify_put(struct resp_call *call, struct bytes key);
/*
 * One event as messages, of which there are as many as ways to tell it in `notify`: their number.
 * `channel` has room for the key and RESP_EVENT_PREFIX bytes, `messages` for two; all of it, and
 * the key, lives as long as the messages.
 */
enum { RESP_EVENT_PREFIX = 24, RESP_EVENT_NAME = 64 };
struct resp_event_room {
	uint8_t *channel;
	struct resp_message *messages;
	char event[RESP_EVENT_NAME];
};
uint32_t resp_event_messages(uint16_t notify, const char *event, struct bytes key,
                             struct resp_event_room *room);

/*
 * resp_expired.c: tells those who listen what the store has removed, one server for all. Memory:
 * taken when opened. Idle as long as nobody wants it.
 */
enum status resp_expired_open(struct resp_server *server) __attribute__((warn_unused_result));
void resp_expired_close(struct resp_server *server);
void resp_expired_wake(struct resp_server *server); /* somebody may want it from now on */
bool resp_expired_is_idle(const struct resp_server *server);

/* Bytes of the pools that those open, all of them used. */
size_t resp_uploads_memory(void);
size_t resp_large_memory(void); /* without what it lends */
size_t resp_txns_memory(void);  /* the same */
size_t resp_scans_memory(void);
size_t resp_pubsub_memory(void); /* without subscriptions */
size_t resp_subscription_memory(void);
size_t resp_expired_memory(void);

/* resp_table.c */
void resp_table_open(void); /* may be called again */

#endif
