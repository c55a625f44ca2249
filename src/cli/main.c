/* SPDX-License-Identifier: Apache-2.0 */
/* The one binary: finds the subcommand and runs it. */
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "cli/cli.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0.1.0"
#endif

static const struct cli_command commands[] = {
	{ "serve", "serve a store", serve_main },
	{ "kv", "read and change single keys", kv_main },
	{ "key", "make, list and revoke access keys of S3 clients", key_main },
	{ "cert", "make a certificate to try TLS with", cert_main },
	{ "volume", "make, change and copy block devices of a running server", volume_main },
	{ "top", "show what a running server does", top_main },
	{ "bench", "put load on a running server", bench_main },
	{ "check", "say whether a store that is not served is good, and mend it", check_main },
	{ "dump", "list what is on the device of a store that is not served", dump_main },
	{ "torture", "kill a server again and again, and see that nothing is lost", torture_main },
	{ "check-config", "say what is wrong with a configuration", check_config_main },
	{ "inspect", "show the machine, the plan for it, and what each transport can do here",
	  inspect_main },
};

static void print_usage(FILE *to)
{
	fprintf(to, "Usage: weir COMMAND [OPTION...]\n\n");
	for (size_t i = 0; i < array_count(commands); i++)
		fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\nweir COMMAND --help tells more; weir --version which weir this is.\n");
}

int main(int argc, char **argv)
{
	char name[64];

	if (argc < 2) {
		print_usage(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_usage(stdout);
		return CLI_DONE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("weir %s\n", WEIR_VERSION);
		return CLI_DONE;
	}
	for (size_t i = 0; i < array_count(commands); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		/* argp shows argv[0] in its messages, up to the last slash. */
		snprintf(name, sizeof(name), "weir %s", commands[i].name);
		argv[1] = name;
		return commands[i].run(argc - 1, argv + 1);
	}
	cli_error("there is no command %s", argv[1]);
	print_usage(stderr);
	return CLI_USAGE;
}
