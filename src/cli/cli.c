/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/server.h"
#include "host/host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"

enum { DATABASES = 16 };

void cli_error(const char *format, ...)
{
	va_list args;

	fputs("weir: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	argp_err_exit_status = CLI_USAGE;
	if (argp_parse(argp, argc, argv, 0, NULL, input) != 0)
		exit(CLI_USAGE);
}

error_t cli_take_words(int key, const struct argp_state *state, struct cli_words *words)
{
	switch (key) {
	case ARGP_KEY_ARGS: /* all at once, because each alone is not taken */
		words->words = state->argv + state->next;
		words->count = (unsigned)(state->argc - state->next);
		assert(words->count > 0);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

error_t cli_take_word(int key, char *arg, const struct argp_state *state, const char **word,
                      const char *what)
{
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	if (*word != NULL)
		argp_error(state, "one %s at a time", what);
	*word = arg;
	return 0;
}

uint64_t cli_number(const struct argp_state *state, const char *arg, uint64_t least, uint64_t most)
{
	unsigned long long value;
	char *end;

	assert(least <= most);
	errno = 0;
	value = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end != '\0' || errno != 0 || value < least || value > most)
		argp_error(state, "%s: a number from %" PRIu64 " to %" PRIu64, arg, least, most);
	return value;
}

const struct cli_operation *cli_operation_find(const struct cli_operations *operations,
                                               const struct cli_words *words)
{
	const char *command = operations->command;

	assert(words->count > 0);
	assert(operations->stride >= sizeof(struct cli_operation));
	for (unsigned i = 0; i < operations->count; i++) {
		const struct cli_operation *row =
		        (const void *)((const char *)operations->first + i * operations->stride);

		if (strcmp(row->name, words->words[0]) != 0)
			continue;
		if (words->count >= row->words_min &&
		    (row->words_max == 0 || words->count <= row->words_max))
			return row;
		cli_error("%s %s: wrong number of words; see weir %s --help", command, row->name,
		          command);
		return NULL;
	}
	cli_error("%s: there is no %s; see weir %s --help", command, words->words[0], command);
	return NULL;
}

static error_t parse_conf_option(int key, char *arg, struct argp_state *state)
{
	struct cli_conf *conf = state->input;

	switch (key) {
	case 'c':
		conf->file = arg;
		return 0;
	case 's':
		if (conf->set_count == CLI_SETS_MAX)
			argp_error(state, "--set can be said %d times", CLI_SETS_MAX);
		conf->sets[conf->set_count++] = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option conf_options[] = {
	{ "config", 'c', "FILE", 0, "Read settings from FILE", 0 },
	{ "set", 's', "KEY=VALUE", 0, "Set one setting, as section.key=value; wins over the file",
	  0 },
	{ 0 },
};

const struct argp cli_conf_argp = { .options = conf_options, .parser = parse_conf_option };

/* False, with errno: it cannot be read. What is too large is cut, and the parser refuses it. */
static bool read_file(const char *path, char *out, size_t out_max, size_t *size)
{
	FILE *file = fopen(path, "re");
	int error;

	if (file == NULL)
		return false;
	errno = 0;
	*size = fread(out, 1, out_max, file);
	error = ferror(file) ? errno : 0;
	fclose(file);
	errno = error;
	return error == 0;
}

static bool check_databases(const struct conf *conf)
{
	struct conf_cores databases;

	conf_cores(conf, CONF_DURABILITY_RELAXED, &databases);
	for (unsigned i = 0; i < databases.count; i++) {
		if (databases.cores[i] < DATABASES)
			continue;
		cli_error("%s: there are databases 0 to %d", conf_name(CONF_DURABILITY_RELAXED),
		          DATABASES - 1);
		return false;
	}
	return true;
}

enum cli_exit cli_conf_load(const struct cli_conf *from, struct conf *conf)
{
	static char text[CONF_FILE_MAX + 1];
	size_t size;
	bool ok = true;

	conf_init(conf);
	if (from->file != NULL) {
		if (!read_file(from->file, text, sizeof(text), &size)) {
			cli_error("%s: %s", from->file, strerror(errno));
			return CLI_ENVIRONMENT;
		}
		ok = conf_parse(conf, bytes_of(text, size), from->file) == STATUS_OK;
	}
	ok = conf_environment(conf, environ) == STATUS_OK && ok;
	for (unsigned i = 0; i < from->set_count; i++)
		ok = conf_set(conf, from->sets[i]) == STATUS_OK && ok;
	ok = check_databases(conf) && ok;
	for (unsigned i = 0; i < conf->error_count && i < CONF_ERRORS_MAX; i++)
		cli_error("%s", conf->errors[i]);
	if (conf->error_count > CONF_ERRORS_MAX)
		cli_error("and %u more errors", conf->error_count - CONF_ERRORS_MAX);
	return ok ? CLI_DONE : CLI_USAGE;
}

void cli_conf_help(void)
{
	char text[1024];

	printf("A setting is `key = value` under `[section]` in the file of --config, or\n"
	       "WEIR_SECTION_KEY in the environment, or --set section.key=value; the last of "
	       "these\n"
	       "that speaks wins. Shown with their defaults:\n\n");
	for (unsigned i = 0; i < CONF_COUNT; i++) {
		conf_describe(i, text, sizeof(text));
		printf("%s\n", text);
	}
}

/* What stacks and faces are to have comes from the configuration, whatever `shape` says. */
enum cli_exit cli_memory(const struct conf *conf, struct memory_shape shape, uint64_t *total,
                         struct memory_parts *parts)
{
	uint64_t minimum;
	char size[CLI_SIZE_MAX];

	*total = conf_is_set(conf, CONF_MEMORY) ? conf_number(conf, CONF_MEMORY)
	                                        : memory_default(shape.workers);
	shape.stacks = host_stacks_memory(conf, *total);
	shape.faces = faces_memory(server_faces, SERVER_FACES, conf);
	shape.tls = conf_wants_tls(conf);
	if (memory_split(*total, shape, parts, &minimum) == STATUS_OK)
		return CLI_DONE;
	cli_error("memory = %s is too small for %u workers: at least %s",
	          conf_text(conf, CONF_MEMORY), shape.workers, cli_size(minimum, size));
	return CLI_USAGE;
}

const char *cli_size(uint64_t bytes, char *out)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1024 && unit < array_count(units) - 1) {
		value /= 1024;
		unit++;
	}
	snprintf(out, CLI_SIZE_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return out;
}
