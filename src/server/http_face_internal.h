/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the HTTP face share. */
#ifndef SERVER_HTTP_FACE_INTERNAL_H
#define SERVER_HTTP_FACE_INTERNAL_H

#include "proto/obj.h"
#include "server/http_face.h"
#include "server/http_json.h"
#include "wire/http_range.h"

enum {
	FACE_KEY_MAX = 1023,    /* bytes, as the RESP face has it; the space byte is ours */
	FACE_VALUE_SMALL = 512, /* bytes of a value that need no buffer */
	FACE_PIECE = 256 << 10, /* bytes of a large value read or written at once */
	FACE_NAMESPACES = 16,
};

/* A part of the paths, and who answers there: as struct http_handler. */
struct http_route {
	const char *path; /* "/kv/": all below it; "/healthz": itself alone */
	void (*begin)(struct http_exchange *exchange);
	size_t (*body)(struct http_exchange *exchange, struct bytes piece);
	void (*body_ended)(struct http_exchange *exchange, enum status status, struct bytes body);
	void (*pull)(struct http_exchange *exchange);
	void (*aborted)(struct http_exchange *exchange); /* NULL: http_abort() */
	void (*ended)(struct http_exchange *exchange);
};

typedef void face_next_fn(struct http_exchange *exchange);

/* What a visit has seen of a key; written by another worker's thread perhaps. */
struct face_seen {
	uint64_t version;
	uint64_t size, expires_ms;
	uint8_t kind;
	bool exists, blob;
	bool cut; /* the value is larger than its room */
};

struct kv_state {
	struct face_seen seen;
	struct http_conditions conditions;
	uint8_t *room; /* for the value: small, or in value_buf */
	uint32_t room_size;
	bool local;            /* a visit runs on the face's own worker */
	struct buf *value_buf; /* NULL: none */
	/* A write. */
	struct bytes body;
	uint64_t expires_ms;
	enum http_verdict verdict;
	uint32_t tries;
	/* A large value. */
	uint64_t handle; /* 0: none is open */
	uint64_t offset, left;
	struct buf *bufs[2]; /* of an upload: one is filled, one is written; of a download: one */
	bool body_done;
};

struct scan_state {
	struct http_json json;
	struct buf *buf;
	uint32_t left;           /* entries still wanted */
	uint32_t asked, visited; /* of the scan that runs */
	uint16_t end_size;
	bool behind; /* the key was told already */
	bool full;   /* the buffer is: what came after the last one is asked for again */
	bool values;
	bool more;
	uint8_t end[KV_KEY_MAX];
};

struct batch_state {
	struct kv_commit commit;
	struct buf *buf; /* writes and keys */
};

/* /o/: an object that is read, or written. */
struct obj_state {
	struct bytes bucket, name; /* of the request's path */
	uint64_t handle;           /* 0: none is open */
	struct obj_meta meta;      /* attributes: in attributes_buf, or in small */
	bool found, marker;
	char etag[OBJ_ETAG_MAX + 2]; /* with its quotes */
	uint8_t etag_size;
	uint8_t encryption; /* 0: none */
	struct buf *attributes_buf;
	uint64_t offset, left; /* of what is read; bytes written */
	struct buf *bufs[2];   /* as in kv_state */
	bool body_done, writing;
	struct digest *md5; /* of what is written; from the face's pool */
	struct obj_put put;
	char md5_text[2 * 16];
};

/* /o/: a list of buckets or objects. */
struct list_state {
	struct http_json json;
	struct buf *buf;
	struct obj_list list;
	struct bytes bucket, delimiter;
	uint32_t left, told;
	uint16_t after_size; /* of `key`: the last name that was told */
	bool full, started, html;
};

struct page_state {
	struct metrics_cursor cursor;
	uint32_t step;
	struct bytes text; /* the answer */
	struct buf *buf;   /* which holds it; NULL: it is a part of the binary */
	uint64_t counts[FACE_NAMESPACES];
};

/* The state of an exchange of the face. */
struct face_state {
	const struct http_route *route;
	face_next_fn *next; /* when req completes; NULL: it does not run */
	struct req req;
	uint8_t key[KV_KEY_MAX]; /* the engine's */
	uint16_t key_size;
	union {
		struct kv_state kv;
		struct scan_state scan;
		struct batch_state batch;
		struct obj_state obj;
		struct list_state list;
		struct page_state page;
	};
	uint8_t small[FACE_VALUE_SMALL];
};

/* http_face.c */
struct http_face *face_of(const struct http_exchange *exchange);
struct face_state *face_state(struct http_exchange *exchange);
/*
 * Submits on the exchange's request; next() runs when it has completed, also when nobody waits for
 * the answer any more.
 */
void face_submit(struct http_exchange *exchange, const struct kv_cmd *cmd, face_next_fn *next);
void face_submit_obj(struct http_exchange *exchange, const struct obj_cmd *cmd, face_next_fn *next);
/* Answers 405 with what is allowed. */
void face_refuse_method(struct http_exchange *exchange, const char *allowed);
/* An answer for a status that is not OK. */
void face_fail(struct http_exchange *exchange, enum status status);
/* "default" or "0" .. "15"; false: no namespace. */
bool face_is_for_browser(struct http_exchange *exchange); /* it asks for text/html */
bool face_namespace(struct bytes name, uint8_t *ret_space);

/* A page that is a part of the binary: src/server/web/, made into C by tools/embed.py. */
struct http_page {
	const char *type;   /* Content-Type */
	const char *policy; /* Content-Security-Policy; "": none */
	struct bytes data;
};
extern const struct http_page http_page_dashboard, http_page_openapi;
/* http_pages.c. The whole answer to a GET or HEAD; the route's pull is face_page_pull(). */
void face_answer_page(struct http_exchange *exchange, const struct http_page *page);
void face_page_pull(struct http_exchange *exchange); /* page.text, with the reference of page.buf */

extern const struct http_route face_kv_route;      /* http_kv.c */
extern const struct http_route face_batch_route;   /* http_batch.c */
extern const struct http_route face_scan_route;    /* http_scan.c */
extern const struct http_route face_list_route;    /* http_obj_list.c */
extern const struct http_route face_obj_route;     /* http_obj.c */
extern const struct http_route face_metrics_route; /* http_pages.c */
extern const struct http_route face_api_route;     /* http_api.c */

/* http_kv.c: what the key there is like, and what the request asks of it. */
enum { FACE_ETAG_MAX = 24 };
struct bytes face_etag(uint64_t version, char out[FACE_ETAG_MAX]);
struct bytes face_key(const struct face_state *state);
/* Judges what was seen; false: it has been answered. */
bool face_kv_may_go_on(struct http_exchange *exchange, bool read);
/* Head and range; false: pull() does not come, the answer has ended. */
bool face_kv_answer_stream(struct http_exchange *exchange);
void face_kv_answer_write(struct http_exchange *exchange, uint64_t version);
void face_kv_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit);
void face_kv_store(struct http_exchange *exchange, struct bytes value);

/* http_kv_blob.c: values of more than KV_INLINE_MAX bytes. */
void face_blob_send(struct http_exchange *exchange);
void face_blob_pull(struct http_exchange *exchange);
void face_blob_receive(struct http_exchange *exchange);
size_t face_blob_body(struct http_exchange *exchange, struct bytes piece);
void face_blob_body_ended(struct http_exchange *exchange);
/* Closes what is open, and aborts the exchange. No request runs. */
void face_blob_give_up(struct http_exchange *exchange);

/* http_obj.c: "/o/BUCKET/KEY" is taken apart; false: it has been answered. */
bool face_obj_path(struct http_exchange *exchange, struct bytes *ret_bucket,
                   struct bytes *ret_name);
void face_obj_fail(struct http_exchange *exchange); /* what the request came back with */
void face_obj_release(struct http_exchange *exchange, enum obj_op op); /* the handle */
void face_obj_give_up(struct http_exchange *exchange);

/* http_obj_put.c */
void face_obj_put(struct http_exchange *exchange);
size_t face_obj_body(struct http_exchange *exchange, struct bytes piece);
void face_obj_body_ended(struct http_exchange *exchange, enum status status, struct bytes body);
/* The condition of If-Match and If-None-Match; false: such a one cannot be decided here. */
bool face_obj_condition(struct http_exchange *exchange, struct obj_condition *condition);

/* http_face.c: digests for what is written. NULL: none is free. */
struct digest *face_digest_get(struct http_face *face);
void face_digest_unget(struct http_face *face, struct digest *digest);

#endif
