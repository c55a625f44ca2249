/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP server with any handler, and clients of it without sockets: for tests. */
#ifndef TESTS_HTTP_CLIENT_H
#define TESTS_HTTP_CLIENT_H

#include "kv_mem.h"
#include "server/http_server.h"

enum { HTTP_CLIENTS = 8, HTTP_CLIENT_OUTPUT = 8 << 20 };

struct http_client {
	struct stream stream;
	struct http_bench *bench;
	struct req *sending;
	uint64_t sending_size;
	bool open, paused, stuck; /* stuck: takes no bytes */
	uint32_t sends;
	uint8_t *output;
	size_t output_size;
};

struct http_bench {
	struct clock clock;
	uint64_t now_ns, wall_ms;
	struct worker worker;
	struct actor actor; /* completes sends */
	struct bufs bufs;
	struct kv_mem *mem;
	struct kv *kv;
	struct http_server *server;
	struct listener listener;
	struct http_client clients[HTTP_CLIENTS];
};

struct http_bench_options {
	const struct http_handler *handler;
	void *owner;
	/* Called when the store is there, before the server: sets bench's owner. May be NULL. */
	void *(*prepare)(struct http_bench *bench);
	struct http_limits limits;
	uint64_t delay_ns_max; /* of the store */
	size_t memory_size;    /* of buffers; 0: 64 MiB */
	uint64_t pool_size;    /* 0: 1 MiB */
};

struct http_bench *http_bench_open(const struct http_bench_options *options);
void http_bench_close(struct http_bench *bench); /* closes the clients first */

/* Lets time pass until nothing is under way; for so long. */
void http_bench_run(struct http_bench *bench);
void http_bench_wait(struct http_bench *bench, uint64_t time_ns);

struct http_client *http_client_open(struct http_bench *bench, unsigned index);
void http_client_close(struct http_client *client);  /* by a reset */
void http_client_finish(struct http_client *client); /* sends no more */
void http_client_bytes(struct http_client *client, const void *data, size_t size);
void http_client_text(struct http_client *client, const char *text);

/* What has come since the last call, terminated, until the next call. */
const char *http_client_output(struct http_client *client);

/* Sends bytes as they are, runs, and returns what came back. */
const char *http_ask_raw(struct http_client *client, const char *bytes);
/* A request: "GET /path", fields as lines with CR LF, a body with its Content-Length, or NULL. */
const char *http_ask(struct http_client *client, const char *line, const char *fields,
                     const char *body);

/* The status of an answer; 0: it is none. Its body; NULL: no end of a head. */
unsigned http_answer_status(const char *answer);
const char *http_answer_text_of(const char *answer);
/* Undoes the chunks of a body in place; returns its size, or SIZE_MAX if they are wrong. */
size_t http_unchunk(char *text);

#endif
