/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe/TCP target on one worker: listeners give it connections, each a queue of a controller;
 * all the exports are namespaces of one subsystem.
 */
#ifndef SERVER_NVME_SERVER_H
#define SERVER_NVME_SERVER_H

#include "core/buf.h"
#include "core/metrics.h"
#include "core/worker.h"
#include "proto/stream.h"
#include "server/export.h"
#include "wire/nvme.h"

struct nvme_server;

enum { NVME_ADDRESS_SIZE = 128, NVME_HOSTS_SIZE = 4096 };

/*
 * What all workers' servers are one subsystem by. Memory: the opener's, as long as the servers.
 * Thread: written before the first connection is accepted, afterwards only read.
 *
 * A host's queues land on any worker. A controller belongs to the worker of its admin queue; its
 * number says which one that is, and servers on other workers ask there, by message, whether a
 * queue may join, and say when it has left. Commands for blocks need nothing of a controller: they
 * run where their queue is, on that worker's own devices.
 */
struct nvme_subsystem {
	char nqn[NVME_NQN_MAX + 1];
	char serial[21], version[9];
	char hosts[NVME_HOSTS_SIZE]; /* NQNs that may connect, "a, b"; empty: all */
	/* "192.0.2.1:4420", for the discovery log; empty: what the listener has. */
	char address[NVME_ADDRESS_SIZE];
	struct nvme_server *servers[WORKER_PEERS_MAX]; /* by the id of the worker; NULL: none */
};

struct nvme_server_options {
	struct worker *worker;
	struct bufs *bufs;
	struct export_set *exports;
	struct nvme_subsystem *subsystem;
	uint64_t memory_size;     /* bytes for connections, commands and controllers */
	uint32_t connections_max; /* 0: as many as the memory has room for */
};

struct nvme_stats {
	uint64_t connections_accepted, connections_refused, connections_open;
	uint64_t controllers_open;
	uint64_t reads, writes, flushes, others, admin; /* commands */
	uint64_t bytes_read, bytes_written;
	uint64_t failed;    /* commands that did not end with success */
	uint64_t malformed; /* connections ended for what came on them */
	uint64_t expired;   /* controllers whose host kept silent, connections that stood still */
	uint64_t starved;   /* commands that waited for a buffer */
	uint64_t sends;     /* each of the responses of a turn, or many turns' */
};

/*
 * NO_SPACE: not enough memory. Puts itself into subsystem->servers. Thread: the worker's, or any
 * before its first turn.
 */
enum status nvme_server_open(const struct nvme_server_options *options, struct nvme_server **out)
        __attribute__((warn_unused_result));
void nvme_server_close(struct nvme_server *server); /* after it has drained */

/* What a listener's handler does with a stream. False: it is to be closed. */
bool nvme_server_accept(struct nvme_server *server, struct stream *stream);
void nvme_server_listens_at(struct nvme_server *server, const char *address);
extern const struct listener_handler nvme_listener_handler; /* listener->owner: the server */

void nvme_server_drain(struct nvme_server *server); /* commands end, then their connections */
void nvme_server_kill(struct nvme_server *server);  /* connections end now */
bool nvme_server_is_drained(const struct nvme_server *server);

const struct nvme_stats *nvme_server_stats(const struct nvme_server *server);

/* Registers its numbers; before anybody reads. BUSY: METRICS_MAX. */
enum status nvme_server_metrics(const struct nvme_server *server, struct metrics *metrics)
        __attribute__((warn_unused_result));

#endif
