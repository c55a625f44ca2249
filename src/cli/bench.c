/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir bench: load on a running server. Closed loop: every connection keeps one batch of commands
 * in flight, and every reply is compared with what it must be.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/histogram.h"
#include "base/macros.h"
#include "cli/client.h"
#include "transport/clock.h"

enum {
	KEY_KEYS = 256,
	KEY_JSON,
	CONNECTIONS_MAX = 4096,
	PIPELINE_MAX = 1024,
	VALUE_MAX = 64 << 10,
	KEY_SIZE = 16,      /* "key:" and twelve digits */
	OVERHEAD_MAX = 128, /* bytes of a command beside its value */
	RECV_SIZE = 256 << 10,
};

enum work { WORK_SET, WORK_GET, WORK_MIXED, WORKS };
static const char *const work_names[] = { "set", "get", "mixed" };

struct bench_options {
	struct client_options client;
	unsigned connections, pipeline, value_size, seconds;
	uint64_t keys;
	bool chosen[WORKS];
	bool json;
};

/* What a connection waits for. */
struct pending {
	uint64_t key;
	bool is_get;
};

struct connection {
	int fd;
	unsigned next, count; /* of the batch: the reply that comes next; commands in it */
	uint64_t started_ns;
	struct pending pending[PIPELINE_MAX];
	size_t out_size, out_sent;
	size_t in_size;
	uint8_t *out, *in; /* in: at most one reply that is not complete, and what came with it */
	size_t in_max;
};

struct bench {
	const struct bench_options *o;
	struct clock *clock;
	struct connection *connections;
	struct histogram latency;
	enum work work;
	uint64_t random, sent, replies, missing, until_ns;
	struct pollfd *polled;               /* one for each connection */
	uint8_t value[VALUE_MAX + KEY_SIZE]; /* a pattern; a key's value starts at key % KEY_SIZE */
};

static uint64_t next_random(struct bench *b)
{
	b->random ^= b->random >> 12;
	b->random ^= b->random << 25;
	b->random ^= b->random >> 27;
	return b->random * 2685821657736338717ull;
}

static const uint8_t *value_of(const struct bench *b, uint64_t key)
{
	return &b->value[key % KEY_SIZE];
}

static void put_batch(struct bench *b, struct connection *c)
{
	c->out_size = 0;
	c->out_sent = 0;
	c->next = 0;
	c->count = b->o->pipeline;
	for (unsigned i = 0; i < c->count; i++) {
		uint64_t key = next_random(b) % b->o->keys;
		bool is_get = b->work == WORK_GET || (b->work == WORK_MIXED && i % 2 == 0);
		char *out = (char *)c->out + c->out_size;
		int size;

		c->pending[i] = (struct pending){ key, is_get };
		if (is_get) {
			size = snprintf(out, OVERHEAD_MAX,
			                "*2\r\n$3\r\nGET\r\n$%d\r\nkey:%012" PRIu64 "\r\n",
			                KEY_SIZE, key);
			c->out_size += (size_t)size;
			continue;
		}
		size = snprintf(out, OVERHEAD_MAX,
		                "*3\r\n$3\r\nSET\r\n$%d\r\nkey:%012" PRIu64 "\r\n$%u\r\n", KEY_SIZE,
		                key, b->o->value_size);
		c->out_size += (size_t)size;
		memcpy(c->out + c->out_size, value_of(b, key), b->o->value_size);
		c->out_size += b->o->value_size;
		memcpy(c->out + c->out_size, "\r\n", 2);
		c->out_size += 2;
	}
	c->started_ns = b->clock->now_ns(b->clock);
	b->sent += c->count;
}

/* Sends what the socket takes; asks to be told when it takes more. */
static bool push(struct bench *b, struct connection *c)
{
	struct pollfd *polled = &b->polled[c - b->connections];

	polled->events = POLLIN;
	while (c->out_sent < c->out_size) {
		ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			cli_error("the connection broke: %s", strerror(errno));
			return false;
		}
		if (n < 0) {
			polled->events |= POLLOUT;
			break;
		}
		c->out_sent += (size_t)n;
	}
	return true;
}

static bool wrong(const struct bench *b, const uint8_t *at, size_t size)
{
	int shown = size > 80 ? 80 : (int)size;

	cli_error("%s: not the reply that must come, or a value of another run with another "
	          "--value: %.*s",
	          work_names[b->work], shown, (const char *)at);
	return false;
}

/* One reply at the front of `at`; *used 0: it is not all there. False: it is a wrong one. */
static bool check_reply(struct bench *b, const struct pending *p, struct bytes at, size_t *used)
{
	char head[32];
	size_t head_size, need;

	*used = 0;
	if (!p->is_get) {
		need = at.size < 5 ? at.size : 5;
		if (memcmp(at.data, "+OK\r\n", need) != 0)
			return wrong(b, at.data, at.size);
		*used = at.size < 5 ? 0 : 5;
		return true;
	}
	need = at.size < 5 ? at.size : 5;
	if (memcmp(at.data, "$-1\r\n", need) == 0) {
		*used = at.size < 5 ? 0 : 5;
		b->missing += *used > 0;
		return true;
	}
	head_size = (size_t)snprintf(head, sizeof(head), "$%u\r\n", b->o->value_size);
	need = at.size < head_size ? at.size : head_size;
	if (memcmp(at.data, head, need) != 0)
		return wrong(b, at.data, at.size);
	need = head_size + b->o->value_size + 2;
	if (at.size < need)
		return true;
	if (memcmp(at.data + head_size, value_of(b, p->key), b->o->value_size) != 0)
		return wrong(b, at.data, at.size);
	*used = need;
	return true;
}

/* All whole replies that are there. */
static bool take_replies(struct bench *b, struct connection *c)
{
	uint64_t now_ns = b->clock->now_ns(b->clock);
	size_t at = 0, used = 1;

	while (c->next < c->count && at < c->in_size) {
		if (!check_reply(b, &c->pending[c->next], bytes_of(c->in + at, c->in_size - at),
		                 &used))
			return false;
		if (used == 0)
			break;
		at += used;
		c->next++;
		b->replies++;
		histogram_add(&b->latency, now_ns - c->started_ns);
	}
	memmove(c->in, c->in + at, c->in_size - at);
	c->in_size -= at;
	if (c->next < c->count)
		return true;
	if (c->in_size > 0)
		return wrong(b, c->in, c->in_size);
	if (now_ns >= b->until_ns)
		return true;
	put_batch(b, c);
	return push(b, c);
}

static bool pull(struct bench *b, struct connection *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_size, c->in_max - c->in_size, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0) {
		cli_error("the connection broke: %s", n == 0 ? "it was closed" : strerror(errno));
		return false;
	}
	c->in_size += (size_t)n;
	return take_replies(b, c);
}

static bool run_loop(struct bench *b)
{
	unsigned total = b->o->connections;

	while (b->replies < b->sent) {
		int count = poll(b->polled, total, 30000);

		if (count == 0) {
			cli_error("no reply for 30 s");
			return false;
		}
		for (unsigned i = 0; i < total && count > 0; i++) {
			int got = b->polled[i].revents;

			if (got == 0)
				continue;
			count--;
			if ((got & POLLOUT) && !push(b, &b->connections[i]))
				return false;
			if ((got & ~POLLOUT) && !pull(b, &b->connections[i]))
				return false;
		}
	}
	return true;
}

static double milliseconds(const struct histogram *h, uint32_t per_million)
{
	return (double)histogram_percentile(h, per_million) / 1e6;
}

static void report(const struct bench *b, uint64_t took_ns)
{
	const struct bench_options *o = b->o;
	const struct histogram *h = &b->latency;
	double rate = (double)b->replies * 1e9 / (double)took_ns;

	if (o->json) {
		printf("{\"work\":\"%s\",\"connections\":%u,\"pipeline\":%u,\"value\":%u,"
		       "\"keys\":%" PRIu64 ",\"operations\":%" PRIu64 ",\"per_second\":%.0f,"
		       "\"missing\":%" PRIu64 ",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,"
		       "\"max_ms\":%.3f}\n",
		       work_names[b->work], o->connections, o->pipeline, o->value_size, o->keys,
		       b->replies, rate, b->missing, milliseconds(h, 500000),
		       milliseconds(h, 990000), milliseconds(h, 999000), (double)h->max / 1e6);
		return;
	}
	printf("%-5s %10.0f /s   p50 %.3f ms   p99 %.3f ms   p99.9 %.3f ms   max %.3f ms",
	       work_names[b->work], rate, milliseconds(h, 500000), milliseconds(h, 990000),
	       milliseconds(h, 999000), (double)h->max / 1e6);
	if (b->missing > 0)
		printf("   %" PRIu64 " keys not there", b->missing);
	printf("\n");
}

static bool run_work(struct bench *b, enum work work)
{
	uint64_t started_ns = b->clock->now_ns(b->clock);

	memset(&b->latency, 0, sizeof(b->latency));
	b->work = work;
	b->sent = b->replies = b->missing = 0;
	b->until_ns = started_ns + b->o->seconds * 1000000000ull;
	for (unsigned i = 0; i < b->o->connections; i++) {
		put_batch(b, &b->connections[i]);
		if (!push(b, &b->connections[i]))
			return false;
	}
	if (!run_loop(b))
		return false;
	report(b, b->clock->now_ns(b->clock) - started_ns);
	return true;
}

static enum cli_exit open_connection(struct bench *b, struct connection *c)
{
	struct client client;
	enum cli_exit exit = client_open(&client, &b->o->client); /* says the password */

	c->fd = client.fd;
	client.fd = -1; /* ours now */
	client_close(&client);
	if (exit != CLI_DONE)
		return exit;
	c->out = malloc((size_t)b->o->pipeline * (b->o->value_size + OVERHEAD_MAX));
	c->in_max = RECV_SIZE;
	c->in = malloc(c->in_max);
	b->polled[c - b->connections].fd = c->fd;
	if (c->out == NULL || c->in == NULL) {
		cli_error("no memory for connections");
		return CLI_ENVIRONMENT;
	}
	return CLI_DONE;
}

static enum cli_exit run(struct bench *b)
{
	enum cli_exit exit = CLI_DONE;

	for (unsigned i = 0; i < b->o->connections && exit == CLI_DONE; i++)
		exit = open_connection(b, &b->connections[i]);
	for (unsigned work = 0; work < WORKS && exit == CLI_DONE; work++) {
		if (b->o->chosen[work] && !run_work(b, work))
			exit = CLI_NOT_SO;
	}
	for (unsigned i = 0; i < b->o->connections; i++) {
		if (b->connections[i].fd >= 0)
			close(b->connections[i].fd);
		free(b->connections[i].out);
		free(b->connections[i].in);
	}
	return exit;
}

static const struct argp_option options[] = {
	{ "connections", 'c', "N", 0, "Connections (50)", 0 },
	{ "pipeline", 'P', "N", 0, "Commands in flight on each (1)", 0 },
	{ "value", 'v', "BYTES", 0, "Size of values (64)", 0 },
	{ "keys", KEY_KEYS, "N", 0, "Keys drawn from, evenly (100000)", 0 },
	{ "duration", 'd', "SECONDS", 0, "Of each kind of work (5)", 0 },
	{ "json", KEY_JSON, NULL, 0, "A line of JSON for each kind of work", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct bench_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->client;
		return 0;
	case 'c':
		o->connections = (unsigned)cli_number(state, arg, 1, CONNECTIONS_MAX);
		return 0;
	case 'P':
		o->pipeline = (unsigned)cli_number(state, arg, 1, PIPELINE_MAX);
		return 0;
	case 'v':
		o->value_size = (unsigned)cli_number(state, arg, 1, VALUE_MAX);
		return 0;
	case KEY_KEYS:
		o->keys = cli_number(state, arg, 1, 999999999999);
		return 0;
	case 'd':
		o->seconds = (unsigned)cli_number(state, arg, 1, 86400);
		return 0;
	case KEY_JSON:
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		for (unsigned i = 0; i < WORKS; i++) {
			if (strcmp(arg, work_names[i]) == 0) {
				o->chosen[i] = true;
				return 0;
			}
		}
		argp_error(state, "%s: work is set, get or mixed", arg);
		return 0;
	case ARGP_KEY_NO_ARGS:
		o->chosen[WORK_SET] = o->chosen[WORK_GET] = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

enum cli_exit bench_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &client_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.args_doc = "[set|get|mixed]...",
		.doc = "Load on a running server, which it fills with keys named key:NUMBER. "
		       "Latency "
		       "counts from when a batch is sent to when a reply is read; every reply is "
		       "checked.\vExit code 1: a reply was wrong.",
	};
	static struct bench bench;
	struct bench_options o = {
		.connections = 50, .pipeline = 1, .value_size = 64, .seconds = 5, .keys = 100000
	};
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, &o);
	bench.o = &o;
	bench.clock = clock_system();
	bench.random = bench.clock->now_ns(bench.clock) | 1;
	for (size_t i = 0; i < sizeof(bench.value); i++)
		bench.value[i] = (uint8_t)("0123456789abcdef"[i % KEY_SIZE]);
	bench.polled = calloc(o.connections, sizeof(*bench.polled));
	bench.connections = calloc(o.connections, sizeof(*bench.connections));
	if (bench.polled == NULL || bench.connections == NULL) {
		cli_error("no memory for connections");
		return CLI_ENVIRONMENT;
	}
	for (unsigned i = 0; i < o.connections; i++)
		bench.connections[i].fd = -1;
	exit = run(&bench);
	free(bench.connections);
	free(bench.polled);
	return exit;
}
