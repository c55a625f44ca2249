/* SPDX-License-Identifier: Apache-2.0 */
/* A blocking RESP client for the subcommands that talk to a running server. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "cli/cli.h"

/* One value of a reply; an array's or map's elements follow it one by one. */
enum client_type {
	CLIENT_TEXT,
	CLIENT_ERROR,
	CLIENT_INTEGER,
	CLIENT_BULK,
	CLIENT_NULL,
	CLIENT_ARRAY
};

struct client_value {
	enum client_type type;
	int64_t number;     /* integer; elements of an array */
	struct bytes bytes; /* text, error, bulk: until the next value is read */
};

struct client {
	int fd;
	bool broken;
	uint8_t *in; /* what has come: in[start..end) is not looked at yet */
	size_t in_start, in_end, in_max;
	uint8_t *out;
	size_t out_size, out_max;
};

/* --address and --password, as an argp child; its input: a struct client_options. */
struct client_options {
	const char *address;  /* NULL: 127.0.0.1:6379 */
	const char *password; /* NULL: none is said */
};
extern const struct argp client_argp;

/* CLI_ENVIRONMENT, after a message: nobody there, or not let in. */
enum cli_exit client_open(struct client *client, const struct client_options *options);
void client_close(struct client *client);

/* A connected socket, or -1 with errno; for those who read by themselves. */
int client_connect(const struct client_options *options);

/* Queues a command; many may be queued before their replies are read. */
void client_put(struct client *client, unsigned count, const struct bytes *words);
/* Of strings: client_put_words(c, "SET", "key", "value", NULL). */
void client_put_words(struct client *client, const char *first, ...) __attribute__((sentinel));
bool client_flush(struct client *client); /* false: the connection broke, and it is said */

/* Sends what is queued and reads one value. False: the connection broke, and it is said. */
bool client_next(struct client *client, struct client_value *value);

/* Reads and drops the elements of an array that was just read. */
bool client_skip(struct client *client, const struct client_value *value);

#endif
