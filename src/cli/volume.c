/* SPDX-License-Identifier: Apache-2.0 */
/* weir volume: block devices of a running server, over RESP; their content, through qemu-img. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/client.h"
#include "core/conf_value.h"
#include "proto/volume.h"

enum { KEY_RECORD = 256, KEY_NBD, KEY_FORMAT };

enum { URI_MAX = 512, OUTPUT_MAX = 64 << 10 };

struct volume_options {
	struct client_options client;
	const char *record, *nbd, *format;
	struct cli_words given;
};

static bool parse_size(const char *what, const char *given, uint64_t *size)
{
	const struct conf_setting setting = {
		.name = what,
		.type = CONF_SIZE,
		.initial = "0",
		.min = 1,
		.max = VOLUME_SIZE_MAX,
	};
	char why[CONF_WHY_MAX];

	if (conf_value_parse(&setting, given, size, why))
		return true;
	cli_error("%s: %s: %s", what, given, why);
	return false;
}

/* The next answer, which must be no error. */
static enum cli_exit answer(struct client *client, struct client_value *value)
{
	if (!client_next(client, value))
		return CLI_ENVIRONMENT;
	if (value->type != CLIENT_ERROR)
		return CLI_DONE;
	if (value->bytes.size > 4 && memcmp(value->bytes.data, "ERR ", 4) == 0)
		value->bytes = bytes_of(value->bytes.data + 4, value->bytes.size - 4);
	cli_error("%.*s", (int)value->bytes.size, (const char *)value->bytes.data);
	return CLI_NOT_SO;
}

static enum cli_exit make(struct client *client, const struct volume_options *o, const char *name,
                          uint64_t size)
{
	struct client_value value;
	char number[32], record_number[32];
	uint64_t record = 1 << VOLUME_RECORD_SHIFT_MIN;

	if (o->record != NULL && !parse_size("record", o->record, &record))
		return CLI_USAGE;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)size);
	snprintf(record_number, sizeof(record_number), "%llu", (unsigned long long)record);
	client_put_words(client, "WEIR.VOLCREATE", name, number, record_number, NULL);
	return answer(client, &value);
}

static enum cli_exit volume_create(struct client *client, const struct volume_options *o)
{
	uint64_t size;

	if (!parse_size("size", o->given.words[2], &size))
		return CLI_USAGE;
	return make(client, o, o->given.words[1], size);
}

static enum cli_exit volume_resize(struct client *client, const struct volume_options *o)
{
	struct client_value value;
	char number[32];
	uint64_t size;

	if (!parse_size("size", o->given.words[2], &size))
		return CLI_USAGE;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)size);
	client_put_words(client, "WEIR.VOLRESIZE", o->given.words[1], number, NULL);
	return answer(client, &value);
}

static enum cli_exit volume_snapshot(struct client *client, const struct volume_options *o)
{
	struct client_value value;

	client_put_words(client, "WEIR.VOLSNAPSHOT", o->given.words[1], o->given.words[2], NULL);
	return answer(client, &value);
}

static enum cli_exit volume_clone(struct client *client, const struct volume_options *o)
{
	struct client_value value;

	client_put_words(client, "WEIR.VOLCLONE", o->given.words[1], o->given.words[2], NULL);
	return answer(client, &value);
}

static enum cli_exit volume_delete(struct client *client, const struct volume_options *o)
{
	struct client_value value;

	client_put_words(client, "WEIR.VOLDELETE", o->given.words[1], NULL);
	return answer(client, &value);
}

/* A row: name, size, record, read-only, layers, seconds, origin. False: the connection broke. */
static bool print_row(struct client *client)
{
	char name[VOLUME_NAME_MAX + 1] = "", origin[VOLUME_NAME_MAX + 1] = "", size[CLI_SIZE_MAX];
	long long numbers[5] = { 0 };
	struct client_value value;
	char created[32] = "";
	time_t seconds;

	if (!client_next(client, &value))
		return false;
	for (unsigned i = 0; i < 7; i++) {
		char *to = i == 0 ? name : origin;

		if (!client_next(client, &value))
			return false;
		if (value.type == CLIENT_INTEGER && i > 0 && i < 6)
			numbers[i - 1] = value.number;
		else
			snprintf(to, VOLUME_NAME_MAX + 1, "%.*s", (int)value.bytes.size,
			         (const char *)value.bytes.data);
	}
	seconds = (time_t)numbers[4];
	strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
	printf("%-24s %10s  %5lld  %-9s %2lld  %s  %s\n", name,
	       cli_size((uint64_t)numbers[0], size), numbers[1], numbers[2] ? "snapshot" : "volume",
	       numbers[3], created, origin);
	return true;
}

static enum cli_exit volume_list(struct client *client, const struct volume_options *o)
{
	struct client_value value;
	enum cli_exit exit;

	(void)o;
	client_put_words(client, "WEIR.VOLLIST", NULL);
	exit = answer(client, &value);
	for (int64_t left = value.number; exit == CLI_DONE && left > 0; left--) {
		if (!print_row(client))
			exit = CLI_ENVIRONMENT;
	}
	return exit;
}

/* Content, by a program that reads all formats. */

/* Runs qemu-img; what it prints goes to out (out_max bytes, terminated), if that is not NULL. */
static enum cli_exit run_qemu_img(const char *const *arguments, char *out, size_t out_max)
{
	int ends[2] = { -1, -1 }, status = 0;
	size_t used = 0;
	ssize_t got = 1;
	pid_t child;

	if (out != NULL && pipe(ends) != 0) {
		cli_error("no pipe: %s", strerror(errno));
		return CLI_ENVIRONMENT;
	}
	child = fork();
	if (child == 0) {
		if (out != NULL)
			dup2(ends[1], STDOUT_FILENO);
		execvp(arguments[0], (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	if (out != NULL)
		close(ends[1]);
	while (out != NULL && got > 0 && used + 1 < out_max) {
		got = read(ends[0], out + used, out_max - 1 - used);
		used += got > 0 ? (size_t)got : 0;
	}
	if (out != NULL) {
		out[used] = '\0';
		close(ends[0]);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != 0) {
		if (child < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 127))
			cli_error("qemu-img cannot be run: it is what reads and writes images");
		return CLI_ENVIRONMENT;
	}
	return CLI_DONE;
}

static void make_uri(const struct volume_options *o, const char *name, char uri[URI_MAX])
{
	const char *at = o->nbd == NULL ? "127.0.0.1:10809" : o->nbd;

	if (strncmp(at, "unix:", 5) == 0)
		snprintf(uri, URI_MAX, "nbd+unix:///%s?socket=%s", name, at + 5);
	else
		snprintf(uri, URI_MAX, "nbd://%s/%s", at, name);
}

/* As large as the image says that its disk is, in whole records. */
static enum cli_exit image_size(const struct volume_options *o, const char *path, uint64_t *size)
{
	static char output[OUTPUT_MAX];
	const char *arguments[9] = { "qemu-img", "info", "--output=json" };
	unsigned count = 3;
	const char *found;
	enum cli_exit exit;

	if (o->format != NULL) {
		arguments[count++] = "-f";
		arguments[count++] = o->format;
	}
	arguments[count++] = "--";
	arguments[count++] = path;
	exit = run_qemu_img(arguments, output, sizeof(output));
	if (exit != CLI_DONE)
		return exit;
	found = strstr(output, "\"virtual-size\":");
	*size = found == NULL ? 0 : strtoull(found + 15, NULL, 10);
	if (*size > 0 && *size <= VOLUME_SIZE_MAX)
		return CLI_DONE;
	cli_error("%s: qemu-img does not say how large its disk is", path);
	return CLI_ENVIRONMENT;
}

static enum cli_exit volume_import(struct client *client, const struct volume_options *o)
{
	const char *arguments[16] = { "qemu-img", "convert", "-n", "--target-is-zero", "-m", "8",
		                      "-W",       "-O",      "raw" };
	unsigned count = 9;
	uint64_t size = 0, record = 1 << VOLUME_RECORD_SHIFT_MIN;
	char uri[URI_MAX];
	enum cli_exit exit = image_size(o, o->given.words[1], &size);

	if (exit != CLI_DONE)
		return exit;
	if (o->record != NULL && !parse_size("record", o->record, &record))
		return CLI_USAGE;
	exit = make(client, o, o->given.words[2], align_up(size, record));
	if (exit != CLI_DONE)
		return exit;
	if (o->format != NULL) {
		arguments[count++] = "-f";
		arguments[count++] = o->format;
	}
	make_uri(o, o->given.words[2], uri);
	arguments[count++] = "--";
	arguments[count++] = o->given.words[1];
	arguments[count++] = uri;
	assert(count < array_count(arguments));
	return run_qemu_img(arguments, NULL, 0);
}

static enum cli_exit volume_export(struct client *client, const struct volume_options *o)
{
	const char *format = o->format == NULL ? "raw" : o->format;
	char uri[URI_MAX];
	const char *const arguments[] = {
		"qemu-img", "convert",         "-m", "8", "-f", "raw", "-O", format, "--",
		uri,        o->given.words[2], NULL
	};

	(void)client;
	make_uri(o, o->given.words[1], uri);
	return run_qemu_img(arguments, NULL, 0);
}

static const struct argp_option options[] = {
	{ "record", KEY_RECORD, "SIZE", 0,
	  "create, import: what is written at once, and the block of the device: 4K (default) to "
	  "32K",
	  0 },
	{ "nbd", KEY_NBD, "ADDRESS", 0,
	  "import, export: where the server speaks NBD (127.0.0.1:10809), or unix:PATH", 0 },
	{ "format", KEY_FORMAT, "FORMAT", 0,
	  "import: of the file, if it is not to be guessed; export: raw (default), qcow2 ...", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct volume_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->client;
		return 0;
	case KEY_RECORD:
		o->record = arg;
		return 0;
	case KEY_NBD:
		o->nbd = arg;
		return 0;
	case KEY_FORMAT:
		o->format = arg;
		return 0;
	default:
		return cli_take_words(key, state, &o->given);
	}
}

static const struct argp_child children[] = { { &client_argp, 0, NULL, 0 }, { 0 } };
static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = children,
	.args_doc = "create NAME SIZE\nlist\nsnapshot VOLUME NAME\nclone SNAPSHOT NAME\n"
	            "resize NAME SIZE\ndelete NAME\nimport FILE NAME\nexport NAME FILE",
	.doc = "Block devices on the store of a running server, which its NBD face serves by name."
	       " They take room as they are written. A snapshot stays as its volume was; a clone of"
	       " it is a volume that begins with what it has.\vExit code 1: the server refused it.",
};

struct operation {
	struct cli_operation row;
	enum cli_exit (*run)(struct client *client, const struct volume_options *o);
};
static const struct operation operations[] = {
	{ { "create", 3, 3 }, volume_create },     { { "list", 1, 1 }, volume_list },
	{ { "snapshot", 3, 3 }, volume_snapshot }, { { "clone", 3, 3 }, volume_clone },
	{ { "resize", 3, 3 }, volume_resize },     { { "delete", 2, 2 }, volume_delete },
	{ { "import", 3, 3 }, volume_import },     { { "export", 3, 3 }, volume_export },
};

static enum cli_exit run(const struct volume_options *o)
{
	const struct cli_operations all = { "volume", &operations[0].row, array_count(operations),
		                            sizeof(operations[0]) };
	const struct cli_operation *found = cli_operation_find(&all, &o->given);
	struct client client;
	enum cli_exit exit;

	if (found == NULL)
		return CLI_USAGE;
	exit = client_open(&client, &o->client);
	if (exit == CLI_DONE)
		exit = container_of(found, struct operation, row)->run(&client, o);
	client_close(&client);
	return exit;
}

enum cli_exit volume_main(int argc, char **argv)
{
	struct volume_options o = { .given = { NULL, 0 } };

	cli_parse(&argp, argc, argv, &o);
	return run(&o);
}
