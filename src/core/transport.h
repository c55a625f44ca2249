/* SPDX-License-Identifier: Apache-2.0 */
/* A transport: a pair of queues to something outside (kernel, device, peer) that a worker polls. */
#ifndef CORE_TRANSPORT_H
#define CORE_TRANSPORT_H

#include <stdint.h>

#include "base/status.h"

/*
 * One instance per worker, never shared, so never locked. The endpoints opened on it (struct blk,
 * struct stream) only queue what is submitted to them; doorbell(), once a turn, makes it visible,
 * so everything a turn has produced goes out as one batch. io_uring: io_uring_submit(). SPDK, RDMA,
 * DPDK: the doorbell register or the tx burst. DAX: one fence for all the writes of the turn.
 *
 * Exactly one transport of a worker that runs as a thread can sleep. Its sleep() rings the doorbell
 * and waits in one system call.
 */
struct transport;

struct transport_ops {
	const char *name;
	/* Completes what has ended; returns how many events. Never blocks. */
	unsigned (*poll)(struct transport *t);
	/* Makes all queued operations visible. Never blocks. */
	void (*doorbell)(struct transport *t);
	/*
	 * Doorbell, then waits until something ends, wake() is called or the worker's clock reaches
	 * until_ns (UINT64_MAX: no deadline). May return early. NULL: can only be polled.
	 */
	void (*sleep)(struct transport *t, uint64_t until_ns);
	/* Lets others have the core, if somebody wants it. NULL: whoever can sleep never spins. */
	void (*yield)(struct transport *t);
	/* Ends a sleep, or makes the next one return at once. The only op for any thread. */
	void (*wake)(struct transport *t);
	void (*close)(struct transport *t); /* after its last endpoint */
};

struct transport {
	const struct transport_ops *ops;
	struct worker *worker;
};

#endif
