/* SPDX-License-Identifier: Apache-2.0 */
/* An NBD server over a device in memory, and clients of it without sockets: for tests. */
#ifndef TESTS_NBD_CLIENT_H
#define TESTS_NBD_CLIENT_H

#include "core/worker.h"
#include "server/nbd_server.h"

enum {
	NBD_CLIENTS = 4,
	NBD_CLIENT_OUTPUT = 40 << 20,
	NBD_DEVICE_SIZE = 40 << 20,
	NBD_DEVICE_BLOCK = 4096,
	NBD_DEVICE_QUEUE = 1024,
};

/* A device whose requests end when the bench lets them, newest first when it is told so. */
struct nbd_device {
	struct blk blk;
	uint8_t *data;
	bool *present; /* by block: written and not discarded */
	struct req *queue[NBD_DEVICE_QUEUE];
	unsigned queued;
	bool held, newest_first;
	unsigned skip;    /* that many commands, then */
	unsigned fails;   /* so many fail */
	enum status fail; /* with this */
	uint64_t ops[BLK_OP_COUNT], fua;
};

struct nbd_client {
	struct stream stream;
	struct nbd_bench *bench;
	struct req *sending;
	uint64_t sending_size;
	bool open, paused, stuck; /* stuck: takes no bytes */
	unsigned sends;
	uint8_t *output;
	size_t output_size, output_start;
};

struct nbd_bench {
	struct clock clock;
	uint64_t now_ns;
	struct worker worker;
	struct actor actor; /* completes sends, and what the device has */
	struct bufs bufs;
	struct nbd_device device;
	struct export_set exports;
	struct export export; /* "disk" */
	struct nbd_server *server;
	struct nbd_client clients[NBD_CLIENTS];
	unsigned left; /* times that an export was told to be unused */
};

/* buffers, memory: bytes; 0: plenty. */
struct nbd_bench *nbd_bench_open(size_t buffers, size_t memory);
void nbd_bench_close(struct nbd_bench *bench);
void nbd_bench_run(struct nbd_bench *bench); /* until nothing happens */
void nbd_bench_wait(struct nbd_bench *bench, uint64_t time_ns);

struct nbd_client *nbd_client_open(struct nbd_bench *bench, unsigned index);
void nbd_client_close(struct nbd_client *client); /* by a reset */
/* Bytes, in pieces of at most 16 KiB, while the server takes them; how many it has taken. */
size_t nbd_client_bytes(struct nbd_client *client, const void *data, size_t size);
/* What has come: `size` bytes; NULL: not so many. */
const uint8_t *nbd_client_take(struct nbd_client *client, size_t size);
size_t nbd_client_waiting(const struct nbd_client *client);

/* From the greeting to the choice of "disk". */
void nbd_client_handshake(struct nbd_client *client, bool structured);
void nbd_client_option(struct nbd_client *client, uint32_t id, const void *data, size_t size);
/* The next reply to an option: its type. *data: what came with it. */
uint32_t nbd_client_option_reply(struct nbd_client *client, uint32_t id, struct bytes *data);
void nbd_client_request(struct nbd_client *client, const struct nbd_request *request);

#endif
