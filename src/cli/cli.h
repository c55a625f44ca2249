/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands share: exit codes, the configuration's options, messages. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/conf.h"
#include "core/memory.h"

/* Scripts go by these: they do not change. */
enum cli_exit {
	CLI_DONE = 0,
	CLI_NOT_SO = 1,      /* what was asked about is not so: no such key, damage found */
	CLI_USAGE = 2,       /* wrong arguments or configuration */
	CLI_ENVIRONMENT = 3, /* the machine refused: port, permission, device, no server there */
	CLI_STORE = 4,       /* the store is damaged, or newer than this weir */
};

struct cli_command {
	const char *name;
	const char *summary;
	enum cli_exit (*run)(int argc, char **argv); /* argv[0]: "weir NAME" */
};

enum cli_exit check_config_main(int argc, char **argv);
enum cli_exit check_main(int argc, char **argv);
enum cli_exit dump_main(int argc, char **argv);
enum cli_exit torture_main(int argc, char **argv);
enum cli_exit inspect_main(int argc, char **argv);
enum cli_exit kv_main(int argc, char **argv);
enum cli_exit key_main(int argc, char **argv);
enum cli_exit cert_main(int argc, char **argv);
enum cli_exit volume_main(int argc, char **argv);
enum cli_exit top_main(int argc, char **argv);
enum cli_exit bench_main(int argc, char **argv);
enum cli_exit serve_main(int argc, char **argv);

/* "weir: ..." on stderr, with a newline. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* argp_parse() in order, with our exit code for wrong usage. Does not return after an error. */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/*
 * For the parsers of subcommands: what `default:` returns, for those that take words beside their
 * options. Several of them, an operation's name first, of which there is at least one:
 */
struct cli_words {
	char **words;
	unsigned count;
};
error_t cli_take_words(int key, const struct argp_state *state, struct cli_words *words);
/* One, or none: "one directory at a time", with `what` "directory". */
error_t cli_take_word(int key, char *arg, const struct argp_state *state, const char **word,
                      const char *what);
/* A decimal number, least..most; anything else ends the program with a message. */
uint64_t cli_number(const struct argp_state *state, const char *arg, uint64_t least, uint64_t most);

/* The operations of a subcommand: the first member of each row of its table. */
struct cli_operation {
	const char *name;
	unsigned words_min, words_max; /* the name included; 0: any number */
};
struct cli_operations {
	const char *command;               /* "kv" */
	const struct cli_operation *first; /* rows of `stride` bytes */
	unsigned count;
	size_t stride;
};
/* The row that the words ask for; NULL, after a message: there is none, or they are too few or
 * many.
 */
const struct cli_operation *cli_operation_find(const struct cli_operations *operations,
                                               const struct cli_words *words);

/* --config FILE and --set section.key=value, as an argp child; its input: a struct cli_conf. */
enum { CLI_SETS_MAX = 64 };
struct cli_conf {
	const char *file; /* NULL: none */
	const char *sets[CLI_SETS_MAX];
	unsigned set_count;
};
extern const struct argp cli_conf_argp;

/*
 * Defaults, then the file, the environment and --set, in this order. CLI_DONE; CLI_USAGE and
 * CLI_ENVIRONMENT (the file cannot be read) after messages.
 */
enum cli_exit cli_conf_load(const struct cli_conf *from, struct conf *conf);

/* All settings, their units and meaning, on stdout. */
void cli_conf_help(void);

/* `weir inspect stack TEXT`: opens it, to look at, and draws it. */
enum cli_exit cli_inspect_stack(const struct conf *conf, const char *text);

/* `weir inspect nvme HOST:PORT`: asks a discovery controller, and looks at what it tells of. */
enum cli_exit cli_inspect_nvme(const char *address);

/* Whether every stack of the configuration is one; CLI_USAGE, after messages: not all are. */
enum cli_exit cli_check_stacks(const struct conf *conf);

/* The memory number and its split; CLI_USAGE, after a message: it is too small. */
enum cli_exit cli_memory(const struct conf *conf, struct memory_shape shape, uint64_t *total,
                         struct memory_parts *parts);

/* "256.0 MiB", in out of CLI_SIZE_MAX bytes; returns out. */
enum { CLI_SIZE_MAX = 32 };
const char *cli_size(uint64_t bytes, char *out);

#endif
