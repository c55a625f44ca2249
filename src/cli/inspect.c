/* SPDX-License-Identifier: Apache-2.0 */
/* weir inspect: what serve would find here and what it would do with it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/plan.h"
#include "transport/io.h"

struct inspect {
	struct cli_conf conf;
	const char *synthetic, *xml;
	const char *what, *text; /* "stack" or "nvme", and which one; NULL: the machine */
};

static const struct argp_option options[] = {
	{ "topology", 't', "WORDS", 0,
	  "Plan for a machine in hwloc's words, such as \"node:2 core:32 pu:1\"", 0 },
	{ "xml", 'x', "FILE", 0, "Plan for the machine that lstopo has written to FILE", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct inspect *inspect = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &inspect->conf;
		return 0;
	case 't':
		inspect->synthetic = arg;
		return 0;
	case 'x':
		inspect->xml = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (inspect->what == NULL &&
		    (strcmp(arg, "stack") == 0 || strcmp(arg, "nvme") == 0))
			inspect->what = arg;
		else if (inspect->what != NULL && inspect->text == NULL)
			inspect->text = arg;
		else
			argp_error(state, "what else is there to inspect but \"stack 'TEXT'\" and "
			                  "\"nvme HOST:PORT\"?");
		return 0;
	case ARGP_KEY_END:
		if (inspect->what != NULL && inspect->text == NULL)
			argp_error(state, "which one? weir inspect stack 'mem size=1M', weir "
			                  "inspect nvme 127.0.0.1:4420");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static enum cli_exit load_machine(const struct inspect *inspect, struct topology *t)
{
	enum status status;

	if (inspect->synthetic != NULL)
		status = topology_from_synthetic(t, inspect->synthetic);
	else if (inspect->xml != NULL)
		status = topology_from_xml(t, inspect->xml);
	else
		status = topology_detect(t);
	if (status == STATUS_OK)
		return CLI_DONE;
	if (inspect->synthetic == NULL && inspect->xml == NULL) {
		cli_error("this machine does not tell its processors");
		return CLI_ENVIRONMENT;
	}
	cli_error("%s: no machine is described there",
	          inspect->synthetic != NULL ? inspect->synthetic : inspect->xml);
	return CLI_USAGE;
}

static void print_machine(const struct topology *t)
{
	static const char *const kinds[] = { "network", "storage" };
	unsigned siblings = 0;

	for (unsigned i = 0; i < t->cpu_count; i++)
		siblings += t->cpus[i].thread > 0;
	printf("machine\n  processors  %u usable, of them %u SMT siblings\n  nodes       %u\n",
	       t->cpu_count, siblings, t->node_count);
	if (t->quota_milli > 0)
		printf("  quota       %u.%03u processors, by the control group\n",
		       t->quota_milli / 1000, t->quota_milli % 1000);
	for (unsigned i = 0; i < t->device_count; i++) {
		const struct topology_device *d = &t->devices[i];

		printf("  %-11s %s, ", kinds[d->kind], d->name);
		if (d->node < 0)
			printf("near no node in particular\n");
		else
			printf("near node %u\n", t->nodes[d->node]);
	}
}

static void print_roles(unsigned roles)
{
	static const struct {
		unsigned role;
		const char *name;
	} names[] = { { ROLE_NETWORK, " network" },
		      { ROLE_STORAGE, " storage" },
		      { ROLE_APPLICATION, " application" },
		      { ROLE_BACKGROUND, " background" } };

	for (unsigned i = 0; i < 4; i++) {
		if (roles & names[i].role)
			printf("%s", names[i].name);
	}
}

/* Neighbours with the same roles share a line. */
static void print_plan(const struct plan *plan, const struct topology *t)
{
	unsigned end;

	printf("plan%s\n", plan->shared ? ", with cores that are shared" : "");
	if (plan->notice[0] != '\0')
		printf("  note        %s\n", plan->notice);
	for (unsigned i = 0; i < plan->count; i = end) {
		const struct plan_worker *w = &plan->workers[i];

		for (end = i + 1; end < plan->count; end++) {
			if (plan->workers[end].roles != w->roles ||
			    plan->workers[end].node != w->node ||
			    plan->workers[end].engine != w->engine ||
			    plan->workers[end].cpu != w->cpu + (end - i))
				break;
		}
		if (end - i == 1)
			printf("  worker %-4u core %u, node %u:", i, w->cpu, t->nodes[w->node]);
		else
			printf("  workers %u-%u cores %u-%u, node %u:", i, end - 1, w->cpu,
			       w->cpu + (end - i) - 1, t->nodes[w->node]);
		print_roles(w->roles);
		printf("%s\n", w->engine ? ", an engine each" : "");
	}
	if (t->node_count > 1)
		printf("  memory      of its own node for each worker, while that has room\n");
	printf("  system      core");
	for (unsigned i = 0; i < plan->system_count; i++)
		printf(" %u", plan->system[i]);
	printf("\n");
}

static void print_part(const char *name, uint64_t bytes)
{
	char size[CLI_SIZE_MAX];

	printf("  %-11s %s\n", name, cli_size(bytes, size));
}

static enum cli_exit print_memory(const struct conf *conf, struct memory_shape shape)
{
	enum cli_exit exit;
	struct memory_parts p;
	uint64_t total;
	char size[CLI_SIZE_MAX];

	exit = cli_memory(conf, shape, &total, &p);
	if (exit != CLI_DONE)
		return exit;
	printf("memory, of %s\n", cli_size(total, size));
	print_part("program", p.shared);
	if (p.stacks > 0)
		print_part("stacks", p.stacks);
	printf("  and each of %u workers\n", shape.workers);
	print_part("itself", p.fixed);
	print_part("faces", p.faces);
	print_part("buffers", p.buffers);
	print_part("receives", p.receives);
	print_part("connections", p.connections);
	if (p.tls > 0)
		print_part("tls", p.tls);
	print_part("values", p.values);
	printf("  and each of %u engines\n", shape.engines);
	print_part("log", p.log);
	print_part("index", p.index);
	print_part("cache", p.cache);
	return CLI_DONE;
}

static void print_transports(void)
{
	struct io_feature features[IO_FEATURES_MAX];
	unsigned count = io_probe(features);

	printf("transports\n");
	for (unsigned i = 0; i < count; i++)
		printf("  %-24s %-3s  %s\n", features[i].name, features[i].usable ? "yes" : "no",
		       features[i].reason);
}

enum cli_exit inspect_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &cli_conf_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.args_doc = "\n[OPTION...] stack TEXT\n[OPTION...] nvme HOST:PORT",
		.doc = "Shows the machine, the plan of workers for it, the split of memory, and "
		       "what "
		       "each transport can do here and why not. With a stack: what it is made of, "
		       "and what it guarantees. With an address: the subsystems that an "
		       "NVMe/TCP target tells of.",
	};
	static struct topology machine;
	static struct conf conf;
	static struct plan plan;
	struct inspect inspect = { .synthetic = NULL };
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, &inspect);
	exit = cli_conf_load(&inspect.conf, &conf);
	if (exit == CLI_DONE && inspect.text != NULL)
		return strcmp(inspect.what, "nvme") == 0 ? cli_inspect_nvme(inspect.text)
		                                         : cli_inspect_stack(&conf, inspect.text);
	if (exit == CLI_DONE)
		exit = load_machine(&inspect, &machine);
	if (exit != CLI_DONE)
		return exit;
	print_machine(&machine);
	if (plan_make(&plan, &machine, &conf) != STATUS_OK) {
		cli_error("%s", plan.error);
		return CLI_USAGE;
	}
	print_plan(&plan, &machine);
	exit = print_memory(&conf, (struct memory_shape){ .workers = plan.count,
	                                                  .engines = plan.engine_count });
	/* Of a machine that is only described nobody knows. */
	if (exit == CLI_DONE && inspect.synthetic == NULL && inspect.xml == NULL)
		print_transports();
	return exit;
}
