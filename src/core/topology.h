/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as the planner sees it: processors, memory nodes, and devices near them. */
#ifndef CORE_TOPOLOGY_H
#define CORE_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum {
	TOPOLOGY_CPUS_MAX = 1024,
	TOPOLOGY_NODES_MAX = 64,
	TOPOLOGY_DEVICES_MAX = 128,
};

/* A logical processor that this process may use: online, in its cpuset and its affinity mask. */
struct topology_cpu {
	uint16_t id;     /* as the operating system numbers it */
	uint16_t core;   /* of the physical core, from 0; siblings share it */
	uint16_t node;   /* index into nodes */
	uint16_t thread; /* 0: the core's first; 1...: its SMT siblings */
};

enum topology_kind { TOPOLOGY_NETWORK, TOPOLOGY_STORAGE, TOPOLOGY_KINDS };

struct topology_device {
	char name[32]; /* "eth0", "nvme0n1" */
	enum topology_kind kind;
	int node; /* index into nodes; -1: near none, or near all */
};

/* Memory: the caller's. Filled once at start, read-only after. */
struct topology {
	unsigned cpu_count, node_count, device_count;
	unsigned quota_milli; /* processors the control group grants, in thousandths; 0: no limit */
	struct topology_cpu cpus[TOPOLOGY_CPUS_MAX]; /* by id */
	uint16_t nodes[TOPOLOGY_NODES_MAX];          /* the operating system's numbers */
	struct topology_device devices[TOPOLOGY_DEVICES_MAX];
};

/*
 * This machine; or one described, for tests and what-if: in hwloc's synthetic words
 * ("node:2 core:32 pu:1") or in an XML file that lstopo has written. All block. INVALID: the
 * description is none; IO: the machine would not tell.
 */
enum status topology_detect(struct topology *t) __attribute__((warn_unused_result));
enum status topology_from_synthetic(struct topology *t, const char *description)
        __attribute__((warn_unused_result));
enum status topology_from_xml(struct topology *t, const char *path)
        __attribute__((warn_unused_result));

/* A device that the description does not have. */
void topology_add_device(struct topology *t, enum topology_kind kind, const char *name, int node);

/* The content of a cgroup's cpu.max, in thousandths of a processor; 0: no limit, or no such text.
 */
unsigned topology_quota(const char *cpu_max);

#endif
