/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"

enum { SPLIT_FROM = 8, ROLES_ALL = ROLE_NETWORK | ROLE_STORAGE | ROLE_APPLICATION };
enum asked { NETWORK, STORAGE, APPLICATION, FUSED, ASKED_COUNT };

static const struct {
	enum conf_id count, cores;
} keys[] = {
	[NETWORK] = { CONF_WORKERS_NETWORK, CONF_WORKERS_NETWORK_CORES },
	[STORAGE] = { CONF_WORKERS_STORAGE, CONF_WORKERS_STORAGE_CORES },
	[APPLICATION] = { CONF_WORKERS_APPLICATION, CONF_WORKERS_APPLICATION_CORES },
	[FUSED] = { CONF_WORKERS_COUNT, CONF_WORKERS_CORES },
};
_Static_assert(array_count(keys) == ASKED_COUNT, "one row per kind of worker");

/* Storage's part of a request's work, in hundredths, by workers.profile. */
static const unsigned shares[] = { 5, 40, 50, 30, 20 };

struct planner {
	struct plan *plan;
	const struct topology *t;
	unsigned usable; /* processors that workers may have */
	unsigned share;
	unsigned count[ASKED_COUNT];
	struct conf_cores cores[ASKED_COUNT];
	bool used[TOPOLOGY_CPUS_MAX];      /* by index into t->cpus */
	uint16_t order[TOPOLOGY_CPUS_MAX]; /* indices: first threads of all cores, then siblings */
};

__attribute__((format(printf, 2, 3))) static enum status refuse(struct planner *p,
                                                                const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->plan->error, sizeof(p->plan->error), format, args);
	va_end(args);
	return STATUS_INVALID;
}

/* The index of a processor that the operating system calls `id`; cpu_count: not usable. */
static unsigned find_cpu(const struct topology *t, unsigned id)
{
	unsigned i;

	for (i = 0; i < t->cpu_count; i++) {
		if (t->cpus[i].id == id)
			break;
	}
	return i;
}

static void add_worker(struct planner *p, unsigned roles, unsigned index)
{
	struct plan *plan = p->plan;

	assert(plan->count < PLAN_WORKERS_MAX);
	assert(index < p->t->cpu_count);
	plan->workers[plan->count++] = (struct plan_worker){ .roles = roles,
		                                             .cpu = p->t->cpus[index].id,
		                                             .node = p->t->cpus[index].node };
	p->used[index] = true;
}

/* Counts and lists, each checked alone. */
static enum status read_asked(struct planner *p, const struct conf *conf)
{
	for (unsigned i = 0; i < ASKED_COUNT; i++) {
		struct conf_cores *cores = &p->cores[i];

		conf_cores(conf, keys[i].cores, cores);
		p->count[i] = (unsigned)conf_number(conf, keys[i].count);
		if (cores->count == 0)
			continue;
		if (cores->count < p->count[i])
			return refuse(p,
			              "%s = %u, but %s names only %u: name all, or leave the "
			              "count out",
			              conf_name(keys[i].count), p->count[i],
			              conf_name(keys[i].cores), cores->count);
		if (p->count[i] == 0)
			p->count[i] = cores->count;
		if (p->count[i] > PLAN_WORKERS_MAX)
			return refuse(p, "%s names %u cores, but there can be at most %d workers",
			              conf_name(keys[i].cores), p->count[i], PLAN_WORKERS_MAX);
		cores->count = p->count[i];
		for (unsigned j = 0; j < cores->count; j++) {
			if (find_cpu(p->t, cores->cores[j]) == p->t->cpu_count)
				return refuse(p, "%s: core %u is not there, or not ours to use",
				              conf_name(keys[i].cores), cores->cores[j]);
		}
	}
	return STATUS_OK;
}

static enum status check_asked(struct planner *p)
{
	const unsigned *count = p->count;

	if (count[FUSED] > 0 && count[NETWORK] + count[STORAGE] + count[APPLICATION] > 0)
		return refuse(p, "workers.count and workers.cores make workers with all roles: "
		                 "there can be no others beside them");
	if (count[NETWORK] + count[STORAGE] + count[APPLICATION] > PLAN_WORKERS_MAX)
		return refuse(p, "more than %d workers", PLAN_WORKERS_MAX);
	for (unsigned a = 0; a < FUSED; a++) {
		for (unsigned i = 0; i < p->cores[a].count; i++) {
			unsigned index = find_cpu(p->t, p->cores[a].cores[i]);

			if (p->used[index])
				return refuse(p,
				              "core %u is in %s and in a list before it: a core "
				              "has one role, or use workers.cores",
				              p->cores[a].cores[i], conf_name(keys[a].cores));
			p->used[index] = true;
		}
	}
	return STATUS_OK;
}

static void make_order(struct planner *p)
{
	unsigned count = 0;

	for (unsigned thread = 0; count < p->t->cpu_count; thread++) {
		assert(thread <= UINT16_MAX);
		for (unsigned i = 0; i < p->t->cpu_count; i++) {
			if (p->t->cpus[i].thread == thread)
				p->order[count++] = (uint16_t)i;
		}
	}
}

/* Workers with all roles; more than processors: some share one. */
static void plan_fused(struct planner *p, unsigned count)
{
	const struct conf_cores *cores = &p->cores[FUSED];

	assert(count >= 1 && count <= PLAN_WORKERS_MAX);
	for (unsigned i = 0; i < count; i++) {
		unsigned index = cores->count > 0 ? find_cpu(p->t, cores->cores[i])
		                                  : p->order[i % p->t->cpu_count];

		add_worker(p, ROLES_ALL, index);
	}
	if (count > p->usable && !p->plan->shared) {
		p->plan->shared = true;
		snprintf(p->plan->notice, sizeof(p->plan->notice),
		         "%u workers on %u usable cores: some share one", count, p->usable);
	}
}

/* Free processors of a node, for workers that no list places. */
static unsigned free_in_node(const struct planner *p, unsigned node)
{
	unsigned count = 0;

	for (unsigned i = 0; i < p->t->cpu_count; i++)
		count += p->t->cpus[i].node == node && !p->used[i];
	return count;
}

/* How many of `count` workers each node gets. */
static void deal(const struct planner *p, enum topology_kind kind, unsigned count, unsigned *parts)
{
	unsigned weights[TOPOLOGY_NODES_MAX] = { 0 }, rests[TOPOLOGY_NODES_MAX];
	unsigned total = 0, given = 0;

	for (unsigned i = 0; i < p->t->device_count; i++) {
		const struct topology_device *device = &p->t->devices[i];

		if (device->kind == kind && device->node >= 0) {
			weights[device->node]++;
			total++;
		}
	}
	for (unsigned i = 0; total == 0 && i < p->t->cpu_count; i++)
		weights[p->t->cpus[i].node]++;
	if (total == 0)
		total = p->t->cpu_count;
	for (unsigned i = 0; i < p->t->node_count; i++) {
		unsigned room = free_in_node(p, i);

		parts[i] = count * weights[i] / total;
		rests[i] = count * weights[i] % total;
		if (parts[i] > room) {
			parts[i] = room;
			rests[i] = 0;
		}
		given += parts[i];
	}
	/* The remainder: to the largest rests first, then wherever there is room. */
	for (; given < count; given++) {
		unsigned best = TOPOLOGY_NODES_MAX;

		for (unsigned i = 0; i < p->t->node_count; i++) {
			if (parts[i] < free_in_node(p, i) &&
			    (best == TOPOLOGY_NODES_MAX || rests[i] > rests[best]))
				best = i;
		}
		assert(best < TOPOLOGY_NODES_MAX); /* the callers have counted the free ones */
		parts[best]++;
		rests[best] = 0;
	}
}

/* `count` workers on a node's free processors, from the `skip`th of all its processors if it can.
 */
static void place_in_node(struct planner *p, unsigned roles, unsigned node, unsigned count,
                          unsigned skip)
{
	unsigned order[TOPOLOGY_CPUS_MAX], size = 0;

	for (unsigned i = 0; i < p->t->cpu_count; i++) {
		if (p->t->cpus[p->order[i]].node == node)
			order[size++] = p->order[i];
	}
	for (unsigned i = skip; i < size && count > 0; i++) {
		if (!p->used[order[i]]) {
			add_worker(p, roles, order[i]);
			count--;
		}
	}
	for (unsigned i = 0; i < size && count > 0; i++) {
		if (!p->used[order[i]]) {
			add_worker(p, roles, order[i]);
			count--;
		}
	}
	assert(count == 0);
}

/* Network or storage workers: where the list says, else dealt to nodes. */
static void place_io(struct planner *p, enum asked asked, unsigned roles, unsigned skip)
{
	unsigned parts[TOPOLOGY_NODES_MAX];

	if (p->cores[asked].count > 0) {
		for (unsigned i = 0; i < p->cores[asked].count; i++)
			add_worker(p, roles, find_cpu(p->t, p->cores[asked].cores[i]));
		return;
	}
	if (p->count[asked] == 0)
		return;
	deal(p, asked == NETWORK ? TOPOLOGY_NETWORK : TOPOLOGY_STORAGE, p->count[asked], parts);
	for (unsigned i = 0; i < p->t->node_count; i++)
		place_in_node(p, roles, i, parts[i], skip);
}

static void place_application(struct planner *p, unsigned roles)
{
	unsigned left = p->count[APPLICATION];

	if (p->cores[APPLICATION].count > 0) {
		for (unsigned i = 0; i < p->cores[APPLICATION].count; i++)
			add_worker(p, roles, find_cpu(p->t, p->cores[APPLICATION].cores[i]));
		return;
	}
	for (unsigned i = 0; i < p->t->cpu_count && left > 0; i++) {
		if (!p->used[p->order[i]]) {
			add_worker(p, roles, p->order[i]);
			left--;
		}
	}
	assert(left == 0);
}

static unsigned clamp(unsigned value, unsigned min, unsigned max)
{
	return value < min ? min : value > max ? max : value;
}

/* Fills in the counts that nobody said. */
static void complete_counts(struct planner *p)
{
	unsigned *count = p->count, most = p->usable / 2, io;

	if (count[NETWORK] < p->usable && p->usable - count[NETWORK] < most)
		most = p->usable - count[NETWORK];
	if (count[STORAGE] == 0) {
		unsigned of = count[NETWORK] > 0 ? count[NETWORK] : p->usable;
		unsigned whole = count[NETWORK] > 0 ? 100 - p->share : 100;

		count[STORAGE] = clamp((of * p->share + whole / 2) / whole, 1, most > 0 ? most : 1);
	}
	io = count[NETWORK] + count[STORAGE];
	if (count[APPLICATION] == 0 && io < p->usable)
		count[APPLICATION] = p->usable - io;
}

static void plan_split(struct planner *p)
{
	unsigned *count = p->count, io;
	unsigned network = ROLE_NETWORK, application = ROLE_APPLICATION;

	complete_counts(p);
	io = count[NETWORK] + count[STORAGE];
	if (io + count[APPLICATION] > p->usable || (count[NETWORK] == 0 && io == p->usable)) {
		unsigned cores = p->usable;

		p->plan->shared = true;
		snprintf(
		        p->plan->notice, sizeof(p->plan->notice),
		        "%u network, %u storage and %u application workers are more than %u usable "
		        "cores hold: every core runs one worker with all roles",
		        count[NETWORK], count[STORAGE], count[APPLICATION], cores);
		memset(p->used, 0, sizeof(p->used));
		plan_fused(p, cores);
		return;
	}
	if (count[APPLICATION] == 0)
		network |= ROLE_APPLICATION;
	if (count[NETWORK] == 0)
		application |= ROLE_NETWORK;
	place_io(p, NETWORK, network, 0);
	place_io(p, STORAGE, ROLE_STORAGE, count[NETWORK]);
	place_application(p, application);
}

/* The thread that is no worker: beside the application, then on an idle core, last beside I/O. */
static void place_system(struct planner *p)
{
	struct plan *plan = p->plan;
	unsigned application = 0, want;

	for (unsigned i = 0; i < plan->count; i++)
		application += plan->workers[i].roles == ROLE_APPLICATION ||
		               plan->workers[i].roles == (ROLE_APPLICATION | ROLE_BACKGROUND);
	want = application >= SPLIT_FROM ? PLAN_SYSTEM_MAX : 1;
	if (application == 0) {
		for (unsigned i = p->t->cpu_count; i-- > 0;) {
			if (p->used[i])
				continue;
			plan->system[plan->system_count++] = p->t->cpus[i].id;
			return;
		}
	}
	for (unsigned i = plan->count - want; i < plan->count; i++)
		plan->system[plan->system_count++] = plan->workers[i].cpu;
}

static void place_engines(struct plan *plan, bool asked)
{
	for (unsigned i = 0; i < plan->count; i++) {
		unsigned roles = plan->workers[i].roles;
		bool fused = (roles & ROLE_NETWORK) != 0;

		if ((roles & ROLE_STORAGE) == 0 || (fused && !asked && plan->engine_count > 0))
			continue;
		plan->workers[i].engine = true;
		plan->engine_count++;
	}
	assert(plan->engine_count > 0);
}

static bool has_lists(const struct planner *p)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ASKED_COUNT; i++)
		count += p->cores[i].count;
	return count > 0;
}

enum status plan_make(struct plan *plan, const struct topology *t, const struct conf *conf)
{
	static struct planner planner; /* large; the control thread alone plans */
	struct planner *p = &planner;
	enum status status;

	assert(t->cpu_count >= 1);
	*plan = (struct plan){ .count = 0 };
	memset(p, 0, sizeof(*p));
	p->plan = plan;
	p->t = t;
	p->share = shares[conf_number(conf, CONF_WORKERS_PROFILE)];
	p->usable = clamp(t->cpu_count, 1, PLAN_WORKERS_MAX);
	make_order(p);
	status = read_asked(p, conf);
	/* Lists win over the quota too. */
	if (t->quota_milli > 0 && !has_lists(p))
		p->usable = clamp((t->quota_milli + 999) / 1000, 1, p->usable);
	if (status == STATUS_OK)
		status = check_asked(p);
	if (status != STATUS_OK)
		return status;
	if (p->count[FUSED] > 0)
		plan_fused(p, p->count[FUSED]);
	else if (p->count[NETWORK] + p->count[STORAGE] + p->count[APPLICATION] == 0 &&
	         p->usable < SPLIT_FROM)
		plan_fused(p, p->usable);
	else
		plan_split(p);
	plan->workers[plan->count - 1].roles |= ROLE_BACKGROUND;
	place_engines(plan, conf_number(conf, CONF_WORKERS_STORAGE) > 0);
	place_system(p);
	return STATUS_OK;
}
