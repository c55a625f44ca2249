/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe/TCP target of two workers on node 0 of a simulation, over memory, and a network on which
 * node 1 has initiators and a test has raw connections.
 */
#ifndef NVME_RIG_H
#define NVME_RIG_H

#include "core/buf.h"
#include "server/nvme_server.h"
#include "sim/sim_net.h"
#include "transport/mem.h"
#include "transport/nvme_host.h"
#include "wire/nvme_tcp.h"

enum {
	RIG_WORKERS = 2,
	RIG_EXPORTS = 2,
	RIG_BLOCKS = 256,
	RIG_BLOCK_SIZE = 4096,
	RIG_STREAMS = 64,
	RIG_OUTPUT = 10 << 20,
};

#define RIG_NQN "nqn.2026-01.weir:test"
#define RIG_HOST_NQN "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff"
#define RIG_ADDRESS "127.0.0.1:4420"

/* A stream of node 1's worker over a client's connection. */
struct rig_stream {
	struct stream stream;
	struct nvme_rig *rig;
	struct sim_client *client; /* NULL: the slot is free */
	struct req *req;           /* of the send under way */
	const struct iovec *iov;
	uint32_t iov_count;
	size_t done, total;
	uint64_t sent, received; /* bytes */
	bool connected;
};

struct rig_options {
	struct sim_net_options net;
	uint64_t seed;
	uint64_t bufs_size; /* 0: 16 MiB */
	const char *hosts;  /* that may connect; NULL: all */
	uint32_t flips;     /* per million pieces behind ICReq and ICResp: one bit is another */
};

struct nvme_rig {
	struct rig_options options;
	struct sim *sim;
	struct sim_net *net;
	struct nvme_subsystem subsystem;
	struct bufs bufs[RIG_WORKERS];
	struct mem mems[RIG_WORKERS][RIG_EXPORTS];
	struct export exports[RIG_WORKERS][RIG_EXPORTS];
	struct export_set sets[RIG_WORKERS];
	struct nvme_server *servers[RIG_WORKERS];
	uint8_t *data[RIG_EXPORTS];
	struct nvme_host_net host_net;
	struct rig_stream streams[RIG_STREAMS];
	struct worker *worker; /* node 1's: of initiators */
	struct prng prng;      /* for flips */
	uint64_t flipped;
};

void nvme_rig_open(struct nvme_rig *rig, const struct rig_options *options);
void nvme_rig_close(struct nvme_rig *rig);

/* The target's process dies, and comes back with what its memory had. */
void nvme_rig_kill(struct nvme_rig *rig);
void nvme_rig_start(struct nvme_rig *rig);

/* For nvme_host_open(): node 1's worker, its network, names. */
void rig_host_options(struct nvme_rig *rig, struct nvme_host_options *out);

/* A raw connection, as a test that misbehaves has it. */
struct rig_peer {
	struct nvme_rig *rig;
	struct sim_client *client;
	struct nvme_tcp_link link;
	struct nvme_tcp_parser parser;
	size_t output_size, output_taken;
	bool ended;
	uint16_t controller_id;
	uint8_t output[RIG_OUTPUT]; /* what has come */
};

void rig_peer_open(struct rig_peer *peer, struct nvme_rig *rig);
void rig_peer_close(struct rig_peer *peer);
void rig_peer_send(struct rig_peer *peer, const void *data, size_t size);
void nvme_rig_run(struct nvme_rig *rig); /* until only timers are left */

/*
 * The next PDU that has come, after the network was run; its data at *data. False: there is none.
 */
bool rig_peer_next(struct rig_peer *peer, union nvme_tcp_pdu *pdu, struct bytes *data);

/* ICReq with these digests, and its answer. */
void rig_peer_set_up(struct rig_peer *peer, uint8_t digests);

/* A capsule, with data in it when size > 0. */
void rig_peer_command(struct rig_peer *peer, const struct nvme_sqe *sqe, const void *data,
                      uint32_t size);

/* Sends the command and takes its response; data of C2HData goes to `out`. Returns the status. */
uint16_t rig_peer_call(struct rig_peer *peer, const struct nvme_sqe *sqe, void *out,
                       uint32_t out_size, uint64_t *result);

/* Connect; the admin queue is enabled, too. The status of it. */
uint16_t rig_peer_connect(struct rig_peer *peer, const char *nqn, uint16_t queue_id,
                          uint16_t controller_id, uint16_t queue_size);

#endif
