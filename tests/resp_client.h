/* SPDX-License-Identifier: Apache-2.0 */
/* A RESP face on a store in memory, and clients of it without sockets: for tests. */
#ifndef TESTS_RESP_CLIENT_H
#define TESTS_RESP_CLIENT_H

#include "kv_mem.h"
#include "server/resp_server.h"

enum { RESP_CLIENTS = 8, RESP_CLIENT_OUTPUT = 8 << 20 };

struct resp_client {
	struct stream stream;
	struct resp_bench *bench;
	struct req *sending;
	uint64_t sending_size;
	bool open, paused, stuck; /* stuck: takes no bytes */
	uint32_t sends;
	uint8_t *output;
	size_t output_size;
};

struct resp_bench {
	struct clock clock;
	uint64_t now_ns, wall_ms;
	struct worker worker;
	struct actor actor; /* completes sends */
	struct bufs bufs;
	struct kv_mem *mem;
	struct kv *kv;
	struct resp_server server;
	struct listener listener;
	struct resp_client clients[RESP_CLIENTS];
};

struct resp_bench_options {
	bool remote;           /* visits may not use this worker's memory */
	uint64_t delay_ns_max; /* of the store */
	size_t memory_size;    /* 0: 64 MiB */
	uint32_t calls_max;
};

/* NULL: all zeroes. */
struct resp_bench *resp_bench_open(const struct resp_bench_options *options);
void resp_bench_close(struct resp_bench *bench); /* closes the clients first */

/* Lets time pass until nothing is under way. */
void resp_bench_run(struct resp_bench *bench);

struct resp_client *resp_client_open(struct resp_bench *bench, unsigned index);
void resp_client_close(struct resp_client *client);
void resp_client_bytes(struct resp_client *client, const void *data, size_t size);

/* Sends bytes as they are, runs, and returns what came back, terminated, until the next call. */
const char *resp_ask_raw(struct resp_client *client, const char *bytes);
/* Sends the words of a line, quoted as for an inline request, as one request of bulk strings. */
const char *resp_ask(struct resp_client *client, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

#endif
