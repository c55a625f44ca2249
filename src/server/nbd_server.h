/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD face of one worker: block devices for clients of the network block device protocol.
 * docs/nbd.md says what it answers.
 */
#ifndef SERVER_NBD_SERVER_H
#define SERVER_NBD_SERVER_H

#include "core/buf.h"
#include "core/metrics.h"
#include "proto/stream.h"
#include "server/export.h"
#include "wire/nbd.h"

struct nbd_server;

struct nbd_stats {
	uint64_t connections_accepted, connections_refused, connections_open;
	uint64_t requests[NBD_CMD_COUNT];
	uint64_t errors; /* requests that were answered with one */
	uint64_t bytes_in, bytes_out;
	uint64_t malformed, timeouts; /* connections that ended so */
};

struct nbd_server_options {
	struct worker *worker;
	struct bufs *bufs; /* half of them at most is taken */
	struct export_set *exports;
	uint64_t memory_size; /* bytes for connections and requests */
	uint32_t connections_max;
	uint64_t handshake_timeout_ns; /* from the connection to the choice of an export */
	uint64_t stall_timeout_ns;     /* of a peer that neither sends the rest nor takes a reply */
	/* In a turn: an export that was removed has no user here any more. May be NULL. */
	void (*left)(void *owner, struct export *export);
	void *owner;
};

/* What a listener's handler does with a stream: false: it is to be closed. */
bool nbd_server_accept(struct nbd_server *server, struct stream *stream);

/* NO_SPACE: not enough memory. Thread: the worker's, or any before its first turn. */
enum status nbd_server_open(const struct nbd_server_options *options, struct nbd_server **out)
        __attribute__((warn_unused_result));
void nbd_server_close(struct nbd_server *server); /* after it has drained */

/* Connections that use it end as their requests do; what comes meanwhile is refused. */
void nbd_server_drop(struct nbd_server *server, const struct export *export);
void nbd_server_drain(struct nbd_server *server); /* so do all */
void nbd_server_kill(struct nbd_server *server);  /* without waiting for peers */
bool nbd_server_is_drained(const struct nbd_server *server);

const struct nbd_stats *nbd_server_stats(const struct nbd_server *server);

/* Registers its numbers; before anybody reads. BUSY: METRICS_MAX. */
enum status nbd_server_metrics(const struct nbd_server *server, struct metrics *metrics)
        __attribute__((warn_unused_result));

#endif
