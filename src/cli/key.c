/* SPDX-License-Identifier: Apache-2.0 */
/* weir key: the access keys of S3 clients, over RESP. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/client.h"
#include "cli/local.h"
#include "server/s3_server.h"

enum { KEY_STORE = 256, KEY_USER, KEY_NAME, KEY_EMAIL, KEY_ACCESS, KEY_SECRET };

struct key_options {
	struct client_options client;
	const char *store; /* NULL: a running server's */
	const char *user, *name, *email, *access, *secret;
	struct cli_words given;
};

static struct bytes text(const char *string)
{
	return bytes_of(string == NULL ? "" : string, string == NULL ? 0 : strlen(string));
}

static enum cli_exit refused(const struct client_value *value)
{
	cli_error("%.*s", (int)value->bytes.size, (const char *)value->bytes.data);
	return CLI_NOT_SO;
}

static enum cli_exit key_create(struct client *client, const struct key_options *o)
{
	uint8_t random[S3_SECRET_SIZE], record[S3_KEY_RECORD_MAX];
	char access[20], secret[40];
	struct client_value value;
	struct s3_key key = { .name = text(o->name), .email = text(o->email) };
	size_t size;

	if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
		cli_error("this machine gives no random bytes");
		return CLI_ENVIRONMENT;
	}
	s3_key_generate(random, access, secret);
	key.access = o->access == NULL ? bytes_of(access, sizeof(access)) : text(o->access);
	key.secret = o->secret == NULL ? bytes_of(secret, sizeof(secret)) : text(o->secret);
	key.user = o->user == NULL ? BYTES("weir") : text(o->user);
	key.created_ms = (uint64_t)time(NULL) * 1000;
	size = key.secret.size < 8 ? 0 : s3_key_format(&key, record);
	if (size == 0) {
		cli_error("a secret has 8 to %d bytes, a user 1 to 56, name and address up to 127",
		          S3_SECRET_KEY_MAX);
		return CLI_USAGE;
	}
	const struct bytes words[] = { BYTES("WEIR.KEYSET"), key.access, bytes_of(record, size) };

	client_put(client, 3, words);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR)
		return refused(&value);
	printf("access key  %.*s\nsecret key  %.*s\n", (int)key.access.size,
	       (const char *)key.access.data, (int)key.secret.size, (const char *)key.secret.data);
	return CLI_DONE;
}

static enum cli_exit key_revoke(struct client *client, const struct key_options *o)
{
	const struct bytes words[] = { BYTES("WEIR.KEYDEL"), text(o->given.words[1]) };
	struct client_value value;

	client_put(client, 2, words);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR)
		return refused(&value);
	if (value.number == 1)
		return CLI_DONE;
	cli_error("there is no key %s", o->given.words[1]);
	return CLI_NOT_SO;
}

/* One line of a list; *ended: there are no more. False: the connection broke. */
static bool print_next(struct client *client, char after[S3_ACCESS_KEY_MAX + 1], bool *ended)
{
	const struct bytes words[] = { BYTES("WEIR.KEYNEXT"), text(after) };
	struct client_value value;

	client_put(client, 2, words);
	if (!client_next(client, &value))
		return false;
	*ended = value.type != CLIENT_ARRAY;
	if (value.type == CLIENT_ERROR)
		refused(&value);
	for (unsigned i = 0; !*ended && i < 5; i++) {
		if (!client_next(client, &value))
			return false;
		if (i == 0 && value.bytes.size <= S3_ACCESS_KEY_MAX) {
			memcpy(after, value.bytes.data, value.bytes.size);
			after[value.bytes.size] = '\0';
		}
		if (value.type == CLIENT_INTEGER)
			printf("%lld\n", (long long)value.number);
		else
			printf("%.*s\t", (int)value.bytes.size, (const char *)value.bytes.data);
	}
	return true;
}

static enum cli_exit key_list(struct client *client, const struct key_options *o)
{
	char after[S3_ACCESS_KEY_MAX + 1] = "";
	bool ended = false;

	(void)o;
	while (!ended) {
		if (!print_next(client, after, &ended))
			return CLI_ENVIRONMENT;
	}
	return CLI_DONE;
}

static const struct argp_option options[] = {
	{ "store", KEY_STORE, "DIRECTORY", 0, "Of the store there, which nobody serves now", 0 },
	{ "user", KEY_USER, "ID", 0, "create: whose it is (default: weir)", 0 },
	{ "name", KEY_NAME, "NAME", 0, "create: the user's name for people", 0 },
	{ "email", KEY_EMAIL, "ADDRESS", 0, "create: for grants to an address", 0 },
	{ "access", KEY_ACCESS, "KEY", 0, "create: this access key, not a random one", 0 },
	{ "secret", KEY_SECRET, "KEY", 0, "create: this secret key, not a random one", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct key_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->client;
		return 0;
	case KEY_STORE:
		o->store = arg;
		return 0;
	case KEY_USER:
		o->user = arg;
		return 0;
	case KEY_NAME:
		o->name = arg;
		return 0;
	case KEY_EMAIL:
		o->email = arg;
		return 0;
	case KEY_ACCESS:
		o->access = arg;
		return 0;
	case KEY_SECRET:
		o->secret = arg;
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
	.args_doc = "create\nlist\nrevoke ACCESS",
	.doc = "Makes, lists and revokes the keys with which S3 clients sign their requests. A key"
	       " belongs to a user, who may have several; a running server takes notice within ten"
	       " seconds. A secret is shown once, when it is made.\vExit code 1: there is no such"
	       " key.",
};

struct operation {
	struct cli_operation row;
	enum cli_exit (*run)(struct client *client, const struct key_options *o);
};
static const struct operation operations[] = {
	{ { "create", 1, 1 }, key_create },
	{ { "list", 1, 1 }, key_list },
	{ { "revoke", 2, 2 }, key_revoke },
};

static enum cli_exit run(const struct key_options *given)
{
	const struct cli_operations all = { "key", &operations[0].row, array_count(operations),
		                            sizeof(operations[0]) };
	const struct cli_operation *found = cli_operation_find(&all, &given->given);
	struct key_options o = *given;
	struct client client;
	enum cli_exit exit;

	if (found == NULL)
		return CLI_USAGE;
	if (o.store != NULL) {
		exit = local_open(o.store, &o.client);
		if (exit != CLI_DONE)
			return exit;
	}
	exit = client_open(&client, &o.client);
	if (exit == CLI_DONE)
		exit = container_of(found, struct operation, row)->run(&client, &o);
	client_close(&client);
	if (o.store != NULL)
		local_close();
	return exit;
}

enum cli_exit key_main(int argc, char **argv)
{
	struct key_options o = { .given = { NULL, 0 } };

	cli_parse(&argp, argc, argv, &o);
	return run(&o);
}
