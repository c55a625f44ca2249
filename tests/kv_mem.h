/* SPDX-License-Identifier: Apache-2.0 */
/* The key-value protocol over a sorted array in memory: for tests of what stands on a kv. */
#ifndef TESTS_KV_MEM_H
#define TESTS_KV_MEM_H

#include "proto/kv.h"

/*
 * All ops of kv.h, blobs, PREPARE and RESOLVE included. Not durable, and not bounded: it allocates
 * as it goes.
 *
 * Thread: all ports of one store are used by one thread, each by its own worker. Order: commands
 * take effect in the order in which they were submitted, on whatever port; with a delay they take
 * effect later and complete later still, in any order. An absent key is shown to a visit as an
 * entry of version 0.
 */
struct kv_mem;

struct kv_mem_options {
	uint64_t seed;
	uint64_t delay_ns_max; /* each of effect and completion; 0: both inside submit */
	unsigned partitions;   /* 0: 64 */
};

/* NULL options: all zeroes. Never fails: a test without memory aborts. */
struct kv_mem *kv_mem_open(const struct kv_mem_options *options);

/* The store as `worker` sees it. kv->ops->close() gives the port back; the data stays. */
struct kv *kv_mem_attach(struct kv_mem *mem, struct worker *worker);

void kv_mem_close(struct kv_mem *mem);   /* after its ports; no blob handle is open */
void kv_mem_abandon(struct kv_mem *mem); /* the same, whatever is under way or open */

/*
 * After `skip` more commands the next `count` complete with `status` and have no effect. A count
 * of UINT32_MAX: for ever. GET, SCAN and COUNT are left alone unless `reads`.
 */
struct kv_mem_fault {
	uint32_t skip, count;
	enum status status;
	bool reads;
};
void kv_mem_fail(struct kv_mem *mem, const struct kv_mem_fault *fault);

/*
 * For what builds on it, past all commands: what a key holds, in memory that dies with the next
 * change, and a record put back as it was, with its version, or taken out.
 */
struct kv_entry kv_mem_peek(struct kv_mem *mem, struct bytes key);
void kv_mem_restore(struct kv_mem *mem, const struct kv_entry *entry);
void kv_mem_remove(struct kv_mem *mem, struct bytes key);

/* For assertions at the end of a test. */
struct kv_mem_stats {
	uint64_t commands, keys, bytes; /* bytes: of all values */
	unsigned handles_open;          /* blobs being written or pinned */
	unsigned prepared;              /* transactions between PREPARE and RESOLVE */
	unsigned in_flight;             /* commands that have not completed */
};
void kv_mem_stats(const struct kv_mem *mem, struct kv_mem_stats *out);

#endif
