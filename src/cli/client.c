/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"

enum {
	BUFFER_FIRST = 64 << 10,
	REPLY_MAX = 600 << 20, /* bytes of one bulk: more is no answer of a server of ours */
	WORDS_MAX = 16,
};

static const char default_address[] = "127.0.0.1:6379";

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct client_options *options = state->input;

	switch (key) {
	case 'a':
		options->address = arg;
		return 0;
	case 'p':
		options->password = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option argp_options[] = {
	{ "address", 'a', "ADDRESS", 0, "Of the server: HOST:PORT or unix:PATH (127.0.0.1:6379)",
	  0 },
	{ "password", 'p', "PASSWORD", 0, "What to say with AUTH; else WEIRCLI_AUTH", 0 },
	{ 0 },
};

const struct argp client_argp = { .options = argp_options, .parser = parse_option };

static int connect_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int connect_tcp(const char *host, const char *port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *found, *at;
	int fd = -1, one = 1;

	if (getaddrinfo(host, port, &hints, &found) != 0) {
		errno = EADDRNOTAVAIL;
		return -1;
	}
	for (at = found; at != NULL && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
		if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(found);
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

int client_connect(const struct client_options *options)
{
	const char *address = options->address == NULL ? default_address : options->address;
	const char *colon = strrchr(address, ':');
	char host[256];
	size_t size;

	if (strncmp(address, "unix:", 5) == 0)
		return connect_unix(address + 5);
	size = colon == NULL ? 0 : (size_t)(colon - address);
	if (size == 0 || size >= sizeof(host)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(host, address, size);
	host[size] = '\0';
	if (host[0] == '[' && host[size - 1] == ']') {
		host[size - 1] = '\0';
		return connect_tcp(host + 1, colon + 1);
	}
	return connect_tcp(host, colon + 1);
}

static enum cli_exit authenticate(struct client *client, const char *password)
{
	struct client_value value;

	client_put_words(client, "AUTH", password, NULL);
	if (!client_next(client, &value))
		return CLI_ENVIRONMENT;
	if (value.type == CLIENT_ERROR) {
		cli_error("not let in: %.*s", (int)value.bytes.size, value.bytes.data);
		return CLI_ENVIRONMENT;
	}
	return CLI_DONE;
}

enum cli_exit client_open(struct client *client, const struct client_options *options)
{
	const char *password = options->password;

	*client = (struct client){ .fd = client_connect(options) };
	if (client->fd < 0) {
		cli_error("no server at %s: %s",
		          options->address == NULL ? default_address : options->address,
		          strerror(errno));
		return CLI_ENVIRONMENT;
	}
	if (password == NULL)
		password = getenv("WEIRCLI_AUTH"); /* not WEIR_: those are settings */
	return password == NULL ? CLI_DONE : authenticate(client, password);
}

void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client->in);
	free(client->out);
	*client = (struct client){ .fd = -1 };
}

static bool broke(struct client *client, const char *why)
{
	if (!client->broken)
		cli_error("the connection to the server broke: %s", why);
	client->broken = true;
	return false;
}

static void grow(uint8_t **buffer, size_t *max, size_t need)
{
	size_t size = *max == 0 ? BUFFER_FIRST : *max;

	while (size < need)
		size *= 2;
	if (size == *max)
		return;
	*buffer = realloc(*buffer, size);
	if (*buffer == NULL) {
		cli_error("out of memory");
		exit(CLI_ENVIRONMENT);
	}
	*max = size;
}

static void append(struct client *client, const void *data, size_t size)
{
	grow(&client->out, &client->out_max, client->out_size + size);
	if (size > 0)
		memcpy(client->out + client->out_size, data, size);
	client->out_size += size;
}

void client_put(struct client *client, unsigned count, const struct bytes *words)
{
	char head[32];

	append(client, head, (size_t)snprintf(head, sizeof(head), "*%u\r\n", count));
	for (unsigned i = 0; i < count; i++) {
		append(client, head,
		       (size_t)snprintf(head, sizeof(head), "$%zu\r\n", words[i].size));
		append(client, words[i].data, words[i].size);
		append(client, "\r\n", 2);
	}
}

void client_put_words(struct client *client, const char *first, ...)
{
	struct bytes words[WORDS_MAX];
	unsigned count = 0;
	va_list args;

	va_start(args, first);
	for (const char *word = first; word != NULL; word = va_arg(args, const char *)) {
		assert(count < WORDS_MAX);
		words[count++] = bytes_of(word, strlen(word));
	}
	va_end(args);
	client_put(client, count, words);
}

bool client_flush(struct client *client)
{
	size_t sent = 0;

	if (client->broken)
		return false;
	while (sent < client->out_size) {
		ssize_t n =
		        send(client->fd, client->out + sent, client->out_size - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return broke(client, strerror(errno));
		sent += (size_t)n;
	}
	client->out_size = 0;
	return true;
}

/* Until there are `need` bytes that are not looked at yet. */
static bool fill(struct client *client, size_t need)
{
	while (client->in_end - client->in_start < need) {
		ssize_t n;

		if (client->in_start > 0 && client->in_start + need > client->in_max) {
			memmove(client->in, client->in + client->in_start,
			        client->in_end - client->in_start);
			client->in_end -= client->in_start;
			client->in_start = 0;
		}
		grow(&client->in, &client->in_max, client->in_start + need);
		n = recv(client->fd, client->in + client->in_end, client->in_max - client->in_end,
		         0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return broke(client, strerror(errno));
		if (n == 0)
			return broke(client, "it was closed");
		client->in_end += (size_t)n;
	}
	return true;
}

/* A line without its end, taken. */
static bool take_line(struct client *client, struct bytes *line)
{
	size_t looked = 0;

	for (;;) {
		uint8_t *start = client->in + client->in_start;
		size_t size = client->in_end - client->in_start;
		uint8_t *end = size > looked ? memchr(start + looked, '\n', size - looked) : NULL;

		if (end != NULL) {
			*line = bytes_of(start, (size_t)(end - start));
			if (line->size > 0 && end[-1] == '\r')
				line->size--;
			client->in_start += (size_t)(end - start) + 1;
			return true;
		}
		looked = size;
		if (size > BUFFER_FIRST)
			return broke(client, "a line without end");
		if (!fill(client, size + 1))
			return false;
	}
}

static bool take_number(struct client *client, struct bytes line, int64_t *number)
{
	char text[32], *end;

	if (line.size < 2 || line.size > sizeof(text))
		return broke(client, "no number where one must be");
	memcpy(text, line.data + 1, line.size - 1);
	text[line.size - 1] = '\0';
	*number = strtoll(text, &end, 10);
	return *end == '\0' || broke(client, "no number where one must be");
}

static bool take_bulk(struct client *client, struct client_value *value)
{
	size_t size;

	if (value->number < 0) {
		value->type = CLIENT_NULL;
		return true;
	}
	if (value->number > REPLY_MAX)
		return broke(client, "a reply that is too large");
	size = (size_t)value->number;
	if (!fill(client, size + 2))
		return false;
	value->bytes = bytes_of(client->in + client->in_start, size);
	client->in_start += size + 2;
	return true;
}

bool client_next(struct client *client, struct client_value *value)
{
	struct bytes line;

	if (!client_flush(client) || !take_line(client, &line))
		return false;
	*value = (struct client_value){ .type = CLIENT_TEXT };
	if (line.size == 0)
		return broke(client, "an empty line");
	switch (line.data[0]) {
	case '+':
		value->bytes = bytes_of(line.data + 1, line.size - 1);
		return true;
	case '-':
		value->type = CLIENT_ERROR;
		value->bytes = bytes_of(line.data + 1, line.size - 1);
		return true;
	case ':':
		value->type = CLIENT_INTEGER;
		return take_number(client, line, &value->number);
	case '$':
		value->type = CLIENT_BULK;
		return take_number(client, line, &value->number) && take_bulk(client, value);
	case '*':
		value->type = CLIENT_ARRAY;
		if (!take_number(client, line, &value->number))
			return false;
		if (value->number < 0)
			value->type = CLIENT_NULL;
		return true;
	default:
		return broke(client, "that is not RESP");
	}
}

bool client_skip(struct client *client, const struct client_value *value)
{
	int64_t left = value->type == CLIENT_ARRAY ? value->number : 0;
	struct client_value element;

	while (left > 0) {
		if (!client_next(client, &element))
			return false;
		left--;
		if (element.type == CLIENT_ARRAY)
			left += element.number;
	}
	return true;
}
