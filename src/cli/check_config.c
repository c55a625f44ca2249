/* SPDX-License-Identifier: Apache-2.0 */
/* weir check-config: everything that serve would refuse about its settings, without serving. */
#include <stdio.h>

#include "cli/cli.h"
#include "core/plan.h"
#include "host/host.h"

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct cli_conf *conf = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = conf;
		return 0;
	default:
		return cli_take_word(key, arg, state, &conf->file, "file");
	}
}

/* What depends on more than one setting, or on the machine. */
static enum cli_exit check_together(const struct conf *conf)
{
	static struct topology machine;
	static struct plan plan;
	struct memory_parts parts;
	char error[HOST_ERROR_SIZE];
	uint64_t total;

	if (topology_detect(&machine) != STATUS_OK) {
		cli_error("this machine does not tell its processors");
		return CLI_ENVIRONMENT;
	}
	if (plan_make(&plan, &machine, conf) != STATUS_OK) {
		cli_error("%s", plan.error);
		return CLI_USAGE;
	}
	if (plan.notice[0] != '\0')
		cli_error("note: %s", plan.notice);
	if (cli_check_stacks(conf) != CLI_DONE)
		return CLI_USAGE;
	if (host_tls_check(conf, error) != STATUS_OK) {
		cli_error("%s", error);
		return CLI_USAGE;
	}
	return cli_memory(
	        conf, (struct memory_shape){ .workers = plan.count, .engines = plan.engine_count },
	        &total, &parts);
}

enum cli_exit check_config_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &cli_conf_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.parser = parse_option,
		.children = children,
		.args_doc = "[FILE]",
		.doc = "Checks the settings in FILE, in the environment and of --set, as weir "
		       "serve "
		       "would on this machine.\vExit code 0: serve would take them; 2: it would "
		       "not, "
		       "and every reason is printed.",
	};
	static struct conf conf;
	struct cli_conf from = { .file = NULL };
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, &from);
	exit = cli_conf_load(&from, &conf);
	if (exit == CLI_DONE)
		exit = check_together(&conf);
	if (exit == CLI_DONE)
		printf("ok\n");
	return exit;
}
