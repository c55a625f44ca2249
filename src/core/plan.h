/* SPDX-License-Identifier: Apache-2.0 */
/* The placement plan: which workers there are, what each is for, and on which core it runs. */
#ifndef CORE_PLAN_H
#define CORE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "core/conf.h"
#include "core/topology.h"
#include "core/worker.h"

/*
 * The rule, from c usable processors (at most the control group's quota, at most 64):
 *
 * 1. Explicit lists of cores win. A core named for two roles, one that cannot be used, or a list
 *    shorter than its count is an error.
 * 2. workers.count or workers.cores: that many workers, each with all roles.
 * 3. Nothing said and c < 8: c workers with all roles.
 * 4. Nothing said and c >= 8: round(c x share) workers for storage, at least 1 and at most c / 2,
 *    share by workers.profile (cache 0.05, kv 0.4, block 0.5, object 0.3, series 0.2); all others
 *    for network and application.
 * 5. Counts said: those; what is not said: storage in the profile's proportion to network, network
 *    beside application, application on all cores that are left. No core left for application: it
 *    goes to the network workers. More network and storage workers than cores: every core gets one
 *    worker with all roles, and the plan says so.
 *
 * Network and storage workers are dealt to the memory nodes by the number of their devices there
 * (none known: by cores), largest remainder first. In a node, network workers take the first cores,
 * and storage workers those from the number of all network workers on, so that a core means the
 * same whether or not other nodes take a share. SMT siblings come last. The system thread goes to
 * the last cores of the application.
 *
 * Engines, that is logs and indexes, are on the storage workers. Of workers that do everything only
 * the first has one, unless storage workers were asked for: then all writes share one group commit,
 * which is worth more than a second log.
 */
enum { PLAN_WORKERS_MAX = WORKER_PEERS_MAX, PLAN_SYSTEM_MAX = 2 };

struct plan_worker {
	unsigned roles; /* bits of enum worker_role */
	uint16_t cpu;   /* as the operating system numbers it */
	uint16_t node;  /* index into topology.nodes */
	bool engine;
};

/* Memory: the caller's. */
struct plan {
	unsigned count, engine_count, system_count;
	struct plan_worker workers[PLAN_WORKERS_MAX]; /* network, then storage, then application */
	uint16_t system[PLAN_SYSTEM_MAX]; /* processors of the thread that is no worker */
	bool shared;                      /* fewer cores than workers were asked for: see notice */
	char notice[256];                 /* what the operator should know; "": nothing */
	char error[256];
};

/* INVALID: the configuration cannot be had here; plan->error says why. Pure. */
enum status plan_make(struct plan *plan, const struct topology *t, const struct conf *conf)
        __attribute__((warn_unused_result));

#endif
