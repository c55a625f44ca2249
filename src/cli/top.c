/* SPDX-License-Identifier: Apache-2.0 */
/* weir top: what a running server does, from its INFO, on a screen or a line at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/client.h"
#include "cli/top_operations.h"

enum { INFO_MAX = 64 << 10, ROWS_MAX = 40, OPERATIONS_SHOWN = 12 };

struct top_options {
	struct client_options client;
	unsigned interval, count; /* seconds; screens, 0: for ever */
	bool lines, operations;
};

struct info {
	char text[INFO_MAX];
	size_t size;
	struct top_operations operations; /* none, where the server does not tell metrics */
};

/* The value of "name:value" in INFO; NULL: no such line. */
static const char *info_text(const struct info *info, const char *name)
{
	size_t size = strlen(name);
	const char *at = info->text;

	while (at != NULL) {
		if (strncmp(at, name, size) == 0 && at[size] == ':')
			return at + size + 1;
		at = strchr(at, '\n');
		if (at != NULL)
			at++;
	}
	return NULL;
}

static uint64_t info_number(const struct info *info, const char *name)
{
	const char *text = info_text(info, name);

	return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static enum cli_exit read_info(struct client *client, struct info *info)
{
	struct client_value value;

	client_put_words(client, "INFO", "all", NULL);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type != CLIENT_BULK) {
		cli_error("%.*s", (int)value.bytes.size, (const char *)value.bytes.data);
		return CLI_ENVIRONMENT;
	}
	info->size = value.bytes.size < INFO_MAX ? value.bytes.size : INFO_MAX - 1;
	memcpy(info->text, value.bytes.data, info->size);
	info->text[info->size] = '\0';
	client_put_words(client, "WEIR.METRICS", NULL);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	info->operations.count = 0;
	if (value.type == CLIENT_BULK)
		top_operations_read(&info->operations, value.bytes);
	return CLI_DONE;
}

/* What grows, shown as a rate. */
static const struct {
	const char *name, *label;
	bool bytes;
} rates[] = {
	{ "total_commands_processed", "commands/s", false },
	{ "keyspace_hits", "hits/s", false },
	{ "keyspace_misses", "misses/s", false },
	{ "total_net_input_bytes", "in/s", true },
	{ "total_net_output_bytes", "out/s", true },
	{ "expired_keys", "expired/s", false },
	{ "total_error_replies", "errors/s", false },
};

static const struct {
	const char *name, *label;
	bool bytes;
} levels[] = {
	{ "connected_clients", "clients", false },
	{ "blocked_clients", "blocked", false },
	{ "used_memory", "memory", true },
	{ "uptime_in_seconds", "up, s", false },
};

static double rate_of(const struct info *now, const struct info *before, unsigned i, double seconds)
{
	uint64_t a = info_number(before, rates[i].name), b = info_number(now, rates[i].name);

	return b < a || seconds <= 0 ? 0 : (double)(b - a) / seconds;
}

static void print_value(double value, bool bytes)
{
	char size[CLI_SIZE_MAX];

	if (bytes)
		printf("%14s", cli_size((uint64_t)value, size));
	else
		printf("%14.0f", value);
}

static void print_screen(const struct info *now, const struct info *before, double seconds)
{
	const char *version = info_text(now, "redis_version");
	const char *at = strstr(now->text, "# Keyspace");
	const char *end;

	printf("\033[H\033[J\033[1mweir top\033[0m   protocol version %.*s\n\n",
	       version == NULL ? 1 : (int)strcspn(version, "\r\n"),
	       version == NULL ? "?" : version);
	for (unsigned i = 0; i < array_count(levels); i++) {
		printf("%-12s", levels[i].label);
		print_value((double)info_number(now, levels[i].name), levels[i].bytes);
		printf("\n");
	}
	printf("\n");
	for (unsigned i = 0; i < array_count(rates); i++) {
		printf("%-12s", rates[i].label);
		print_value(rate_of(now, before, i, seconds), rates[i].bytes);
		printf("\n");
	}
	for (unsigned row = 0; at != NULL && row < ROWS_MAX; row++) {
		end = strchr(at, '\n');
		if (end == NULL || (row > 0 && *at == '\r'))
			break;
		if (row > 0)
			printf("%.*s\n", (int)strcspn(at, "\r\n"), at);
		else
			printf("\n");
		at = end + 1;
	}
	top_operations_print(&now->operations, &before->operations, seconds, OPERATIONS_SHOWN);
	printf("\nq and Enter, or Ctrl-C, to leave\n");
	fflush(stdout);
}

static void print_line(const struct info *now, const struct info *before, double seconds,
                       unsigned index)
{
	if (index % 20 == 0) {
		printf("%14s", "clients");
		for (unsigned i = 0; i < array_count(rates); i++)
			printf("%14s", rates[i].label);
		printf("\n");
	}
	print_value((double)info_number(now, "connected_clients"), false);
	for (unsigned i = 0; i < array_count(rates); i++)
		print_value(rate_of(now, before, i, seconds), rates[i].bytes);
	printf("\n");
	fflush(stdout);
}

static double now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Until the interval is over; false: somebody typed q. */
static bool wait_interval(unsigned seconds, bool keyboard)
{
	struct timeval left = { .tv_sec = seconds };
	char typed[64];
	fd_set in;
	ssize_t n;

	if (!keyboard) {
		sleep(seconds);
		return true;
	}
	FD_ZERO(&in);
	FD_SET(STDIN_FILENO, &in);
	if (select(STDIN_FILENO + 1, &in, NULL, NULL, &left) <= 0)
		return true;
	n = read(STDIN_FILENO, typed, sizeof(typed));
	return n > 0 && memchr(typed, 'q', (size_t)n) == NULL;
}

static enum cli_exit show(struct client *client, const struct top_options *o)
{
	static struct info infos[2];
	bool screen = !o->lines && isatty(STDOUT_FILENO);
	double before = now_seconds();
	enum cli_exit exit = read_info(client, &infos[0]);

	for (unsigned i = 0; exit == CLI_DONE && (o->count == 0 || i < o->count); i++) {
		const struct info *last = &infos[i % 2];
		struct info *now = &infos[(i + 1) % 2];
		double at;

		if (!wait_interval(o->interval, screen && isatty(STDIN_FILENO)))
			break;
		exit = read_info(client, now);
		at = now_seconds();
		if (exit != CLI_DONE)
			break;
		if (screen)
			print_screen(now, last, at - before);
		else if (o->operations)
			top_operations_print(&now->operations, &last->operations, at - before,
			                     TOP_OPERATIONS_MAX);
		else
			print_line(now, last, at - before, i);
		fflush(stdout);
		before = at;
	}
	return exit;
}

static const struct argp_option options[] = {
	{ "interval", 'i', "SECONDS", 0, "Between two looks (1)", 0 },
	{ "count", 'n', "N", 0, "Looks before it ends (for ever)", 0 },
	{ "lines", 'l', NULL, 0, "A line for each look, as on a stdout that is no terminal", 0 },
	{ "operations", 'o', NULL, 0,
	  "Without a screen: what each operation took, rather than a line", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct top_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->client;
		return 0;
	case 'i':
		o->interval = (unsigned)cli_number(state, arg, 1, 86400);
		return 0;
	case 'n':
		o->count = (unsigned)cli_number(state, arg, 1, 86400);
		return 0;
	case 'o':
		o->operations = true;
		return 0;
	case 'l':
		o->lines = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

enum cli_exit top_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &client_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.doc = "Shows what a running server does.",
	};
	struct top_options o = { .interval = 1 };
	struct client client;
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, &o);
	exit = client_open(&client, &o.client);
	if (exit == CLI_DONE)
		exit = show(&client, &o);
	client_close(&client);
	return exit;
}
