/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A namespace of another machine as a block device of this worker: an NVMe/TCP initiator, in the
 * specification's words a host.
 */
#ifndef TRANSPORT_NVME_HOST_H
#define TRANSPORT_NVME_HOST_H

#include "proto/blk.h"
#include "proto/stream.h"
#include "transport/io.h"
#include "wire/nvme.h"

enum {
	NVME_HOST_QUEUES_MAX = 16,
	NVME_HOST_DEPTH_MAX = 256,
	NVME_HOST_ADDRESS_MAX = 127,
};

/* How connections are made: by io_connect(), or by the simulator. */
struct nvme_host_net {
	enum status (*connect)(struct nvme_host_net *net, const char *address,
	                       const struct stream_handler *handler, void *owner,
	                       struct stream **out);
};

struct nvme_host_io_net {
	struct nvme_host_net net;
	struct io *io;
};
void nvme_host_io_net_init(struct nvme_host_io_net *net, struct io *io);

/* What happens to commands that were under way when a connection was lost. */
enum nvme_host_loss {
	NVME_HOST_REDRIVE, /* they are sent again when there is one */
	NVME_HOST_FAIL,    /* they end with UNAVAILABLE */
};

/*
 * Zeros: the defaults. A device is an association of its own, of an admin queue and its I/O queues,
 * so that workers share nothing: a worker that has a device of its own for the same namespace has
 * queues of its own.
 */
struct nvme_host_options {
	struct worker *worker;
	struct nvme_host_net *net;               /* lives as long as the device */
	char address[NVME_HOST_ADDRESS_MAX + 1]; /* "192.0.2.1:4420" */
	char nqn[NVME_NQN_MAX + 1];              /* of the subsystem */
	char host_nqn[NVME_NQN_MAX + 1];         /* "": made from host_id */
	uint8_t host_id[16];
	uint32_t nsid;   /* 0: 1 */
	unsigned queues; /* of I/O; 0: 1 */
	unsigned depth;  /* commands under way in a queue; 0: 128 */
	bool header_digest, data_digest;
	enum nvme_host_loss loss;
	uint64_t keep_alive_ns; /* 0: 10 s */
	uint64_t timeout_ns;    /* of a command: then the connection is given up; 0: 30 s */
	uint64_t loss_ns;       /* how long commands wait for a controller to come back; 0: 60 s */
	uint64_t backoff_ns, backoff_max_ns; /* between attempts, with jitter; 0: 100 ms, 2 s */
	uint64_t seed;                       /* of the jitter */
};

/* What Identify and its like said; of the last time that a controller was reached. */
struct nvme_host_facts {
	struct blk_geometry geometry;
	uint8_t uuid[16]; /* of the namespace; zeroes: it has none */
	char serial[21], model[41], firmware[9];
	char subsystem_nqn[NVME_NQN_MAX + 1];
	uint16_t controller_id;
	uint32_t version;
	uint32_t namespaces;  /* how many there are, up to 1024 */
	uint32_t capsule_max; /* bytes of data in a capsule */
	uint8_t ana_state;    /* enum nvme_ana_state; 0: no ANA */
	bool read_only;
};

struct nvme_host_stats {
	uint64_t connects, losses, redriven, timeouts, digest_errors;
	uint64_t commands, sends;
};

/*
 * Opens the device and begins to connect. Its geometry is that of `facts`, as nvme_host_probe()
 * found them; a namespace that is found to be another one, or smaller, is refused from then on.
 * NULL: zeroes until nvme_host_is_ready(), and no command before that. INVALID: the NQN or a
 * number; NO_SPACE. Thread: the worker's, or any before its first turn.
 *
 * Commands that come while there is no controller, or no room, wait: up to loss_ns, or until their
 * deadline. UNAVAILABLE: no controller in time; others as the target said. Memory is the device's
 * until a command completes, whatever its deadline.
 */
enum status nvme_host_open(const struct nvme_host_options *options,
                           const struct nvme_host_facts *facts, struct blk **out)
        __attribute__((warn_unused_result));

/* Bytes that nvme_host_open() takes. */
size_t nvme_host_size(const struct nvme_host_options *options);

bool nvme_host_is_ready(const struct blk *blk);
const struct nvme_host_facts *nvme_host_facts(const struct blk *blk);
const struct nvme_host_stats *nvme_host_stats(const struct blk *blk);
const char *nvme_host_error(const struct blk *blk); /* for people: why it is not ready; or "" */

/*
 * Closes its connections; `req` completes when nothing of the device's is under way any more. No
 * command runs. Then blk->ops->close() frees it.
 */
void nvme_host_stop(struct blk *blk, struct req *req);

/*
 * Control path, blocks up to wait_ns: connects by a transport of its own, and fills *facts. With
 * an error the reason is in `error`.
 */
enum status nvme_host_probe(const struct nvme_host_options *options, uint64_t wait_ns,
                            struct nvme_host_facts *facts, char error[static IO_ERROR_SIZE])
        __attribute__((warn_unused_result));

/* What a discovery controller tells: one way to a subsystem. */
struct nvme_host_entry {
	char nqn[NVME_NQN_MAX + 1];
	char address[300]; /* "HOST:PORT" */
	uint8_t subsystem_type, transport;
};
enum { NVME_HOST_ENTRIES_MAX = 64 };

/* Control path, blocks. Returns how many, up to NVME_HOST_ENTRIES_MAX, in *count. */
enum status nvme_host_discover(const struct nvme_host_options *options, uint64_t wait_ns,
                               struct nvme_host_entry *entries, unsigned *count,
                               char error[static IO_ERROR_SIZE])
        __attribute__((warn_unused_result));

#endif
