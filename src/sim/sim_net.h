/* SPDX-License-Identifier: Apache-2.0 */
/* A network between clients that a test moves and the streams of simulated workers. */
#ifndef SIM_SIM_NET_H
#define SIM_SIM_NET_H

#include "proto/stream.h"
#include "sim/sim.h"

/*
 * Connections as TCP gives them: bytes in order, in pieces that the seed cuts, late, held back when
 * a buffer is full, closed in one direction or both, or reset at any moment. What a handler is
 * given dies when it returns and is scribbled over; what is sent is taken from the sender's memory
 * at a moment between its submission and its completion that the seed chooses.
 *
 * Memory: all at open. Thread: one. Close it after the simulation.
 */
struct sim_net;

struct sim_net_options {
	uint64_t seed;
	uint32_t connections_max; /* 0: 64 */
	uint32_t buffer_size;     /* bytes at each end of each direction; 0: 16 KiB */
	uint32_t piece_max; /* bytes moved at once; 0: each connection draws its own, from 1 */
	uint32_t latency_ns_mean; /* of a piece; 0: 30 us */
	/* Per million pieces. */
	uint32_t reset;  /* the connection breaks for both */
	uint32_t stall;  /* takes a thousand times as long */
	uint32_t refuse; /* per million connects: nobody answers */
};

struct sim_net *sim_net_open(struct sim *sim, const struct sim_net_options *options);
void sim_net_close(struct sim_net *net);

/* Nothing gets to a node or from it until it is mended. Connections live on, for a while. */
void sim_net_partition(struct sim_net *net, unsigned node, bool cut);

struct sim_listen_options {
	unsigned node, worker;
	const char *address; /* several workers of a node may listen at one: the seed spreads */
	const struct listener_handler *handler;
	void *owner;
};
/* The listener ends with its node, or by listener->ops->close(). Aborts without memory. */
struct listener *sim_listen(struct sim_net *net, const struct sim_listen_options *options);

struct sim_client;

/* Each may send, close and connect; none runs inside of a call of the client's. */
struct sim_client_handler {
	void (*connected)(struct sim_client *client); /* NULL: not told */
	void (*received)(struct sim_client *client, struct bytes data);
	void (*writable)(struct sim_client *client); /* after a send that was cut short; or NULL */
	/* OK: the server sends no more. UNAVAILABLE: refused, or reset. Once. */
	void (*ended)(struct sim_client *client, enum status status);
};

/* Memory: the net's, until sim_client_close(). */
struct sim_client {
	const struct sim_client_handler *handler;
	void *owner;
	bool paused; /* set by hand: nothing is received, and in the end the server is held back */
};

/* NULL: connections_max are open. */
struct sim_client *sim_connect(struct sim_net *net, const char *address,
                               const struct sim_client_handler *handler, void *owner);
/* Returns how many bytes were taken; the rest after writable(). */
size_t sim_client_send(struct sim_client *client, struct bytes data);
void sim_client_resume(struct sim_client *client); /* after paused was cleared */
void sim_client_finish(struct sim_client *client); /* sends no more, still receives */
void sim_client_reset(struct sim_client *client);  /* breaks it; closes it too */
void sim_client_close(struct sim_client *client);  /* unread bytes make it a reset */

struct sim_net_stats {
	uint64_t connects, refused, resets, pieces, bytes;
	uint32_t connections; /* not yet given back by both ends */
};
void sim_net_stats(const struct sim_net *net, struct sim_net_stats *out);

#endif
