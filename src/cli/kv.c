/* SPDX-License-Identifier: Apache-2.0 */
/* weir kv: single keys from the command line, over RESP. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/client.h"
#include "cli/local.h"

enum { KEY_VALUES = 256, KEY_STORE, STDIN_MAX = 512 << 20, KEY_SIZE_MAX = 1024, CURSOR_MAX = 32 };

struct kv_options {
	struct client_options client;
	const char *store; /* NULL: a running server's */
	bool values;
	struct cli_words given;
};

typedef enum cli_exit operation_fn(struct client *client, const struct kv_options *o);

static struct bytes word(const struct kv_options *o, unsigned index)
{
	assert(index < o->given.count);
	return bytes_of(o->given.words[index], strlen(o->given.words[index]));
}

/* All of stdin, for values that no command line holds. */
static struct bytes read_stdin(void)
{
	size_t size = 0, max = 1 << 16;
	uint8_t *data = NULL, *grown;

	do {
		max *= 2;
		grown = realloc(data, max);
		if (grown == NULL || max > STDIN_MAX) {
			free(grown == NULL ? data : grown);
			cli_error("the value on stdin is too large");
			exit(CLI_USAGE);
		}
		data = grown;
		size += fread(data + size, 1, max - size, stdin);
	} while (size == max);
	return bytes_of(data, size);
}

static enum cli_exit refused(const struct client_value *value)
{
	cli_error("%.*s", (int)value->bytes.size, (const char *)value->bytes.data);
	return CLI_NOT_SO;
}

static void print_line(struct bytes bytes)
{
	fwrite(bytes.data, 1, bytes.size, stdout);
	putchar('\n');
}

static enum cli_exit kv_get(struct client *client, const struct kv_options *o)
{
	const struct bytes words[] = { BYTES("GET"), word(o, 1) };
	struct client_value value;

	client_put(client, 2, words);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR)
		return refused(&value);
	if (value.type != CLIENT_BULK)
		return CLI_NOT_SO;
	print_line(value.bytes);
	return CLI_DONE;
}

static enum cli_exit kv_put(struct client *client, const struct kv_options *o)
{
	bool from_stdin = strcmp(o->given.words[2], "-") == 0;
	const struct bytes words[] = { BYTES("SET"), word(o, 1),
		                       from_stdin ? read_stdin() : word(o, 2) };
	struct client_value value;

	client_put(client, 3, words);
	if (from_stdin)
		free((void *)(uintptr_t)words[2].data);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	return value.type == CLIENT_ERROR ? refused(&value) : CLI_DONE;
}

static enum cli_exit kv_del(struct client *client, const struct kv_options *o)
{
	int64_t deleted = 0;

	for (unsigned i = 1; i < o->given.count; i++) {
		const struct bytes words[] = { BYTES("DEL"), word(o, i) };
		struct client_value value;

		client_put(client, 2, words);
		if (!client_next(client, &value))
			return CLI_ENVIRONMENT;
		if (value.type == CLIENT_ERROR)
			return refused(&value);
		deleted += value.number;
	}
	printf("%" PRId64 "\n", deleted);
	return deleted == o->given.count - 1 ? CLI_DONE : CLI_NOT_SO;
}

static enum cli_exit kv_incr(struct client *client, const struct kv_options *o)
{
	const struct bytes words[] = { BYTES("INCRBY"), word(o, 1),
		                       o->given.count > 2 ? word(o, 2) : BYTES("1") };
	struct client_value value;

	client_put(client, 3, words);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR)
		return refused(&value);
	printf("%" PRId64 "\n", value.number);
	return CLI_DONE;
}

/* WATCH sees every change between the look and EXEC, so nobody comes in between unnoticed. */
static enum cli_exit kv_cas(struct client *client, const struct kv_options *o)
{
	const struct bytes watch[] = { BYTES("WATCH"), word(o, 1) };
	const struct bytes get[] = { BYTES("GET"), word(o, 1) };
	const struct bytes set[] = { BYTES("SET"), word(o, 1), word(o, 3) };
	const struct bytes multi = BYTES("MULTI"), exec = BYTES("EXEC");
	struct client_value value;

	client_put(client, 2, watch);
	client_put(client, 2, get);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR)
		return refused(&value);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR)
		return refused(&value);
	if (value.type != CLIENT_BULK || !bytes_equal(value.bytes, word(o, 2))) {
		if (value.type == CLIENT_BULK)
			print_line(value.bytes);
		return CLI_NOT_SO;
	}
	client_put(client, 1, &multi);
	client_put(client, 3, set);
	client_put(client, 1, &exec);
	for (unsigned i = 0; i < 3; i++) {
		if (!client_next(client, &value))
			return CLI_ENVIRONMENT;
		if (value.type == CLIENT_ERROR)
			return refused(&value);
	}
	if (value.type != CLIENT_ARRAY)
		return CLI_NOT_SO;
	return client_skip(client, &value) ? CLI_DONE : CLI_ENVIRONMENT;
}

/* The keys of one SCAN reply, kept while their values are asked for. */
struct page {
	struct bytes *keys;
	size_t count;
	uint8_t *data;
};

static bool read_keys(struct client *client, struct page *page)
{
	struct client_value value;
	size_t size = 0;

	if (!client_next(client, &value) || value.type != CLIENT_ARRAY)
		return false;
	page->count = 0;
	for (int64_t left = value.number; left > 0; left--) {
		if (!client_next(client, &value) || value.bytes.size > KEY_SIZE_MAX)
			return false;
		page->keys = realloc(page->keys, (page->count + 1) * sizeof(*page->keys));
		page->data = realloc(page->data, size + KEY_SIZE_MAX);
		if (page->keys == NULL || page->data == NULL)
			return false;
		memcpy(page->data + size, value.bytes.data, value.bytes.size);
		/* As an offset: the memory may move. */
		page->keys[page->count++] = (struct bytes){ .size = value.bytes.size };
		size += value.bytes.size;
	}
	size = 0;
	for (size_t i = 0; i < page->count; i++) {
		page->keys[i].data = page->data + size;
		size += page->keys[i].size;
	}
	return true;
}

static bool print_page(struct client *client, const struct page *page, bool values)
{
	struct client_value value;

	for (size_t i = 0; values && i < page->count; i++) {
		const struct bytes words[] = { BYTES("GET"), page->keys[i] };

		client_put(client, 2, words);
	}
	for (size_t i = 0; i < page->count; i++) {
		fwrite(page->keys[i].data, 1, page->keys[i].size, stdout);
		if (values) {
			if (!client_next(client, &value))
				return false;
			putchar('\t');
			/* Not a string, or gone meanwhile: nothing. */
			if (value.type == CLIENT_BULK)
				fwrite(value.bytes.data, 1, value.bytes.size, stdout);
		}
		putchar('\n');
	}
	return true;
}

static enum cli_exit scan_page(struct client *client, const struct kv_options *o, char *cursor)
{
	struct page page = { .keys = NULL };
	struct client_value value;
	bool ok;

	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR)
		return refused(&value);
	if (value.type != CLIENT_ARRAY || value.number != 2 || !client_next(client, &value) ||
	    value.bytes.size >= CURSOR_MAX)
		return CLI_ENVIRONMENT;
	memcpy(cursor, value.bytes.data, value.bytes.size);
	cursor[value.bytes.size] = '\0';
	ok = read_keys(client, &page) && print_page(client, &page, o->values);
	free(page.keys);
	free(page.data);
	return ok ? CLI_DONE : CLI_ENVIRONMENT;
}

static enum cli_exit kv_scan(struct client *client, const struct kv_options *o)
{
	char cursor[CURSOR_MAX] = "0", pattern[2 * KEY_SIZE_MAX + 2];
	size_t size = 0;
	enum cli_exit exit;

	/* The prefix is meant as it is, not as a pattern. */
	for (const char *c = o->given.count > 1 ? o->given.words[1] : ""; *c != '\0'; c++) {
		if (size >= sizeof(pattern) - 3) {
			cli_error("a prefix has at most %d bytes", KEY_SIZE_MAX);
			return CLI_USAGE;
		}
		if (strchr("*?[]\\^", *c) != NULL)
			pattern[size++] = '\\';
		pattern[size++] = *c;
	}
	memcpy(pattern + size, "*", 2);
	do {
		client_put_words(client, "SCAN", cursor, "MATCH", pattern, "COUNT", "512", NULL);
		exit = scan_page(client, o, cursor);
	} while (exit == CLI_DONE && strcmp(cursor, "0") != 0);
	return exit;
}

struct operation {
	struct cli_operation row;
	operation_fn *run;
};
static const struct operation operations[] = {
	{ { "get", 2, 2 }, kv_get },   { { "put", 3, 3 }, kv_put }, { { "del", 2, 0 }, kv_del },
	{ { "scan", 1, 2 }, kv_scan }, { { "cas", 4, 4 }, kv_cas }, { { "incr", 2, 3 }, kv_incr },
};

static const struct argp_option options[] = {
	{ "store", KEY_STORE, "DIRECTORY", 0, "Of the store there, which nobody serves now", 0 },
	{ "values", KEY_VALUES, NULL, 0, "scan: values too, after a tab", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct kv_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->client;
		return 0;
	case KEY_STORE:
		o->store = arg;
		return 0;
	case KEY_VALUES:
		o->values = true;
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
	.args_doc = "get KEY\nput KEY VALUE\ndel KEY...\nscan [PREFIX]\ncas KEY OLD NEW\n"
	            "incr KEY [BY]",
	.doc = "Reads and changes single keys of a running server. A VALUE of - is read from "
	       "stdin. "
	       "cas puts NEW only where OLD is.\vExit code 1: there is no such key, or OLD is not "
	       "its value.",
};

static enum cli_exit run(operation_fn *operation, struct kv_options *o)
{
	struct client client;
	enum cli_exit exit;

	if (o->store != NULL) {
		exit = local_open(o->store, &o->client);
		if (exit != CLI_DONE)
			return exit;
	}
	exit = client_open(&client, &o->client);
	if (exit == CLI_DONE)
		exit = operation(&client, o);
	client_close(&client);
	if (o->store != NULL)
		local_close();
	return exit;
}

enum cli_exit kv_main(int argc, char **argv)
{
	const struct cli_operations all = { "kv", &operations[0].row, array_count(operations),
		                            sizeof(operations[0]) };
	const struct cli_operation *found;
	struct kv_options o = { .given = { NULL, 0 } };

	cli_parse(&argp, argc, argv, &o);
	found = cli_operation_find(&all, &o.given);
	return found != NULL ? run(container_of(found, struct operation, row)->run, &o) : CLI_USAGE;
}
