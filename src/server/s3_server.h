/* SPDX-License-Identifier: Apache-2.0 */
/* The S3 face: a handler of HTTP exchanges that answers the S3 API from an object store. */
#ifndef SERVER_S3_SERVER_H
#define SERVER_S3_SERVER_H

#include "proto/kv.h"
#include "proto/obj.h"
#include "server/http.h"

struct s3_server;

enum {
	S3_SECRET_SIZE = 64,     /* random bytes that a server needs when it opens */
	S3_ACCESS_KEY_MAX = 128, /* bytes */
	S3_SECRET_KEY_MAX = 128,
	S3_KEYS_MAX = 1024, /* of a store: what every worker holds in memory */
	S3_KEY_RECORD_MAX = 1024,
	S3_MASTER_KEY_SIZE = 32,
	S3_MASTERS_MAX = 8,
	KV_SPACE_KEYS = 8, /* access keys: space byte, access key */
};

/* A key of a user, as the store has it: wire form s3_key_format(). */
struct s3_key {
	struct bytes access, secret, user, name, email;
	uint64_t created_ms;
};

/* False: damaged, or a part too long. `access` is not in the record: it is its key. */
bool s3_key_parse(struct s3_key *key, struct bytes record);
/* 0: a part is too long. `out` holds S3_KEY_RECORD_MAX bytes. */
size_t s3_key_format(const struct s3_key *key, uint8_t *out);
/* Twenty capitals and digits, forty of base64, from 64 random bytes; not terminated. */
void s3_key_generate(const uint8_t *random, char access[20], char secret[40]);

struct s3_server_options {
	struct worker *worker;
	struct obj *obj;
	struct kv *kv; /* access keys */
	struct bufs *bufs;
	const char *region; /* what GetBucketLocation and listings say */
	const char *domain; /* of virtual hosts: BUCKET.domain; empty: none, but see docs/s3.md */
	uint32_t uploads_max;
	uint64_t lifecycle_day_ns; /* how long a day is to lifecycle rules */
	bool leader;               /* does what one worker of all does: first key, lifecycle */
	bool make_first_key;       /* when there is none */
	uint8_t secret[S3_SECRET_SIZE];
	/* What keys of objects are wrapped with (SSE-S3); the first is for new ones. */
	uint8_t masters[S3_MASTERS_MAX][S3_MASTER_KEY_SIZE];
	uint32_t master_count;
	/* Told of the first key, which nobody can ask for again. */
	void (*first_key)(void *owner, struct bytes access, struct bytes secret);
	void *owner;
};

/* Its exchanges' server has the s3_server as owner. */
extern const struct http_handler s3_http_handler;

/* NO_SPACE: not enough memory. */
enum status s3_server_open(const struct s3_server_options *options, struct s3_server **out)
        __attribute__((warn_unused_result));
/* Starts what runs by itself; in a turn of the worker. */
void s3_server_start(struct s3_server *server);
void s3_server_drain(struct s3_server *server); /* stops what runs by itself */
bool s3_server_is_drained(const struct s3_server *server);
void s3_server_close(struct s3_server *server); /* after the HTTP server has gone */

#endif
