/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir torture: a server that is killed again and again while it is written to. Whatever it had
 * acknowledged must be there when it is back, and nothing that nobody wrote.
 *
 * What is written is told by numbers alone: a unit, one key or a group of keys that only change
 * together, takes the states 1, 2, 3 ... one after the other, and what its keys hold in state n can
 * be worked out. So all that is to be remembered of a unit is which state was acknowledged, and
 * which were asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "app/store_check.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "base/prng.h"
#include "cli/client.h"
#include "cli/offline.h"
#include "transport/clock.h"

enum {
	UNITS = 4000,
	GROUP_EVERY = 8, /* one unit of so many is a group */
	GROUP_KEYS = 4,
	CONNECTIONS = 8,
	PIPELINE = 16, /* changes under way on a connection */
	LARGE_SIZE = 100000,
	VALUE_MAX = LARGE_SIZE + 64,
	REPLY_LINE_MAX = 256,
	LOAD_MS_MIN = 20,
	LOAD_MS_MAX = 1500,
	START_MS_MAX = 60000,
	ARGUMENTS_MAX = 16 + 2 * CLI_SETS_MAX,
};

enum { KEY_KEEP = 256, KEY_SEED };

/* After a crash it is in the acknowledged state, or in one of those that were asked for since. */
struct unit {
	uint32_t acked, first, sent;
};

struct change {
	uint32_t unit, state;
	uint32_t lines; /* of the reply that are still to come */
	bool refused;   /* so it may be there or not, like one that was not answered */
};

struct connection {
	int fd;
	struct change changes[PIPELINE]; /* a ring */
	uint32_t head, tail;
	uint8_t *out;
	size_t out_size, out_sent, out_max;
	char line[REPLY_LINE_MAX]; /* of the reply, that has not ended */
	size_t line_size;
};

struct torture {
	struct cli_conf conf;
	const char *directory;
	uint64_t rounds, seconds, seed;
	bool keep;
	char path[4096]; /* of all that is made; the working directory while it runs */
	struct prng prng;
	struct unit units[UNITS];
	struct connection connections[CONNECTIONS];
	uint8_t value[VALUE_MAX];
	pid_t server;
	uint64_t round, acknowledged, verified, lost, forged, split, damaged, refused;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

/* What a unit holds. */

static bool is_group(uint32_t unit)
{
	return unit % GROUP_EVERY == 0;
}

static uint32_t key_count(uint32_t unit)
{
	return is_group(unit) ? GROUP_KEYS : 1;
}

static struct bytes key_make(uint32_t unit, uint32_t member, char out[32])
{
	return bytes_of(out, (size_t)snprintf(out, 32, "unit:%u:%u", unit, member));
}

/* What a key holds in a state; size 0: it is absent. */
static struct bytes value_make(struct torture *t, uint32_t unit, uint32_t member, uint32_t state)
{
	uint64_t seed = t->seed ^ (uint64_t)unit << 32 ^ (uint64_t)member << 56 ^ state;
	struct prng prng;
	size_t head, size;

	if (state == 0 || (state + member) % 5 == 0)
		return bytes_of(t->value, 0);
	prng_init(&prng, seed);
	head = (size_t)snprintf((char *)t->value, 64, "unit:%u:%u state:%u ", unit, member, state);
	size = prng_below(&prng, 200);
	if (prng_chance(&prng, 50000))
		size = prng_below(&prng, 6000);
	if (prng_chance(&prng, 1000))
		size = prng_below(&prng, LARGE_SIZE);
	prng_fill(&prng, t->value + head, size);
	return bytes_of(t->value, head + size);
}

/* The server. */

static bool server_start(struct torture *t)
{
	const char *arguments[ARGUMENTS_MAX] = { "weir",  "serve",
		                                 "--set", "resp.listen=unix:./s",
		                                 "--set", "storage.size=2G" };
	unsigned count = 6;

	for (unsigned i = 0; i < t->conf.set_count; i++) {
		arguments[count++] = "--set";
		arguments[count++] = t->conf.sets[i];
	}
	arguments[count++] = "data";
	assert(count < ARGUMENTS_MAX);
	unlink("s"); /* what is left of a killed server may still take connections there */
	fflush(NULL);
	t->server = fork();
	if (t->server == 0) {
		int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0); /* a Control-C is for the parent */
		if (log >= 0 && dup2(log, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0)
			execv("/proc/self/exe", (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	return t->server > 0;
}

static void server_kill(struct torture *t)
{
	if (t->server <= 0)
		return;
	kill(t->server, SIGKILL);
	waitpid(t->server, NULL, 0);
	t->server = 0;
}

static int try_connect(void)
{
	static const struct client_options options = { .address = "unix:./s" };

	return client_connect(&options);
}

/* Waits until it answers; -1, after a message: it does not. */
static int server_wait(struct torture *t)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	for (unsigned ms = 0; ms < START_MS_MAX && !interrupted; ms += 5) {
		int fd = try_connect();

		if (fd >= 0)
			return fd;
		if (waitpid(t->server, NULL, WNOHANG) == t->server) {
			t->server = 0;
			break;
		}
		nanosleep(&pause, NULL);
	}
	if (!interrupted)
		cli_error("the server does not start: see %s/log", t->path);
	t->keep = true;
	return -1;
}

/* Load. */

static bool put(struct connection *c, const void *data, size_t size)
{
	if (c->out_size + size > c->out_max) {
		size_t max = 2 * (c->out_max + size);
		uint8_t *out = realloc(c->out, max);

		if (out == NULL)
			return false;
		c->out = out;
		c->out_max = max;
	}
	memcpy(c->out + c->out_size, data, size);
	c->out_size += size;
	return true;
}

static bool put_command(struct connection *c, unsigned count, const struct bytes *words)
{
	char head[32];
	bool ok = put(c, head, (size_t)snprintf(head, sizeof(head), "*%u\r\n", count));

	for (unsigned i = 0; i < count && ok; i++)
		ok = put(c, head,
		         (size_t)snprintf(head, sizeof(head), "$%zu\r\n", words[i].size)) &&
		     put(c, words[i].data, words[i].size) && put(c, "\r\n", 2);
	return ok;
}

static bool put_change(struct torture *t, struct connection *c, uint32_t unit, uint32_t state)
{
	const struct bytes multi = BYTES("MULTI"), exec = BYTES("EXEC");
	bool ok = !is_group(unit) || put_command(c, 1, &multi);

	for (uint32_t i = 0; i < key_count(unit) && ok; i++) {
		char key[32];
		struct bytes value = value_make(t, unit, i, state);
		struct bytes words[] = { BYTES("SET"), key_make(unit, i, key), value };

		if (value.size == 0)
			words[0] = BYTES("DEL");
		ok = put_command(c, value.size == 0 ? 2 : 3, words);
	}
	return ok && (!is_group(unit) || put_command(c, 1, &exec));
}

static void load_more(struct torture *t, unsigned index)
{
	struct connection *c = &t->connections[index];

	while (c->head - c->tail < PIPELINE) {
		/* A unit is changed by one connection only, so that its changes have an order. */
		uint32_t unit =
		        (uint32_t)prng_below(&t->prng, UNITS / CONNECTIONS) * CONNECTIONS + index;
		struct change *change = &c->changes[c->head % PIPELINE];

		*change = (struct change){ .unit = unit, .state = t->units[unit].sent + 1 };
		change->lines = is_group(unit) ? 2 + 2 * GROUP_KEYS : 1;
		if (!put_change(t, c, unit, change->state))
			return;
		t->units[unit].sent = change->state;
		c->head++;
	}
}

static void take_line(struct torture *t, struct connection *c)
{
	struct change *change = &c->changes[c->tail % PIPELINE];

	assert(c->tail != c->head); /* else: an answer to nothing */
	if (c->line[0] == '-' && !change->refused) {
		change->refused = true;
		if (t->refused++ == 0)
			cli_error("the server refused a change, others may follow: %.*s",
			          (int)c->line_size, c->line);
	}
	/* A refused EXEC has no elements. */
	if (c->line[0] == '-' && is_group(change->unit) && change->lines == 1 + GROUP_KEYS)
		change->lines = 1;
	if (--change->lines > 0)
		return;
	if (!change->refused) {
		t->units[change->unit].acked = change->state;
		t->units[change->unit].first = change->state + 1;
		t->acknowledged++;
	}
	c->tail++;
}

static void take(struct torture *t, struct connection *c, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\n') {
			take_line(t, c);
			c->line_size = 0;
		} else if (c->line_size < REPLY_LINE_MAX) {
			c->line[c->line_size++] = data[i];
		}
	}
}

/* False: nothing more comes. */
static bool receive(struct torture *t, struct connection *c, int flags)
{
	char data[16384];
	ssize_t size = recv(c->fd, data, sizeof(data), flags);

	if (size > 0)
		take(t, c, data, (size_t)size);
	return size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
}

static void transmit(struct connection *c)
{
	ssize_t size = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent,
	                    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (size > 0)
		c->out_sent += (size_t)size;
	if (c->out_sent == c->out_size)
		c->out_sent = c->out_size = 0;
}

static uint64_t now_ms(void)
{
	return clock_system()->now_ns(clock_system()) / 1000000;
}

static bool connect_all(struct torture *t)
{
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &t->connections[i];

		c->head = c->tail = 0;
		c->out_size = c->out_sent = c->line_size = 0;
		c->fd = try_connect();
		if (c->fd < 0) {
			cli_error("the server takes no connection: %s", strerror(errno));
			return false;
		}
	}
	return true;
}

/* Writes for so long, and then pulls the server's plug in the middle of it. */
static void load(struct torture *t, uint64_t for_ms)
{
	uint64_t until_ms = now_ms() + for_ms;
	struct pollfd polls[CONNECTIONS];

	while (now_ms() < until_ms && !interrupted) {
		for (unsigned i = 0; i < CONNECTIONS; i++) {
			struct connection *c = &t->connections[i];

			load_more(t, i);
			polls[i] = (struct pollfd){ .fd = c->fd, .events = POLLIN };
			polls[i].events |= c->out_sent < c->out_size ? POLLOUT : 0;
		}
		if (poll(polls, CONNECTIONS, 10) < 0)
			continue;
		for (unsigned i = 0; i < CONNECTIONS; i++) {
			if (polls[i].revents & POLLOUT)
				transmit(&t->connections[i]);
			if ((polls[i].revents & (POLLIN | POLLHUP)) &&
			    !receive(t, &t->connections[i], MSG_DONTWAIT))
				return; /* it has ended by itself: the next start says why */
		}
	}
}

/* What it had acknowledged before the kill still arrives. */
static void disconnect_all(struct torture *t)
{
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &t->connections[i];

		if (c->fd < 0)
			continue;
		while (receive(t, c, 0))
			continue;
		close(c->fd);
		c->fd = -1;
	}
}

/* Verification. */

enum match { MATCH, OTHER, FORGED };

/* Whether a key's value is the one of a state; not that one, it is of another or of none. */
static enum match value_matches(struct torture *t, uint32_t unit, uint32_t member, uint32_t state,
                                struct bytes value)
{
	char text[64] = "";
	uint32_t of_unit, of_member, of_state;

	if (bytes_equal(value_make(t, unit, member, state), value))
		return MATCH;
	if (value.size == 0)
		return OTHER;
	memcpy(text, value.data, value.size < 63 ? value.size : 63);
	if (sscanf(text, "unit:%u:%u state:%u ", &of_unit, &of_member, &of_state) != 3 ||
	    of_unit != unit || of_member != member || of_state > t->units[unit].sent ||
	    !bytes_equal(value_make(t, unit, member, of_state), value))
		return FORGED;
	return OTHER;
}

static bool state_matches(struct torture *t, uint32_t unit, uint32_t state,
                          const struct bytes *values)
{
	for (uint32_t i = 0; i < key_count(unit); i++) {
		if (value_matches(t, unit, i, state, values[i]) != MATCH)
			return false;
	}
	return true;
}

static void unit_verify(struct torture *t, uint32_t unit, const struct bytes *values)
{
	struct unit *u = &t->units[unit];
	uint32_t state = u->sent;
	bool forged = false, some = false;

	while (state >= u->first && !state_matches(t, unit, state, values))
		state--;
	if (state < u->first)
		state = u->acked;
	if (state_matches(t, unit, state, values)) {
		u->acked = state;
		u->first = u->sent + 1;
		t->verified++;
		return;
	}
	for (uint32_t i = 0; i < key_count(unit); i++) {
		enum match match = value_matches(t, unit, i, u->acked, values[i]);

		forged = forged || match == FORGED;
		some = some || match == MATCH;
	}
	t->keep = true;
	t->forged += forged;
	t->split += !forged && some;
	t->lost += !forged && !some;
	cli_error("round %" PRIu64 ": unit %u: acknowledged state %u, asked for up to %u, "
	          "has \"%.*s\": %s",
	          t->round, unit, u->acked, u->sent,
	          (int)(values[0].size < 40 ? values[0].size : 40), (const char *)values[0].data,
	          forged ? "holds what nobody wrote"
	          : some ? "its keys are of different states"
	                 : "what it holds is older, or gone");
}

/* The values of one unit; their memory is the caller's to free. */
static bool unit_read(struct client *client, uint32_t unit, struct bytes *values)
{
	for (uint32_t i = 0; i < key_count(unit); i++) {
		struct client_value value;
		uint8_t *copy;

		if (!client_next(client, &value))
			return false;
		if (value.type == CLIENT_ERROR) {
			cli_error("%.*s", (int)value.bytes.size, value.bytes.data);
			return false;
		}
		copy = malloc(value.bytes.size + 1);
		if (copy == NULL)
			return false;
		if (value.type == CLIENT_BULK)
			memcpy(copy, value.bytes.data, value.bytes.size);
		values[i] = bytes_of(copy, value.type == CLIENT_BULK ? value.bytes.size : 0);
	}
	return true;
}

static bool verify(struct torture *t, int fd)
{
	enum { AHEAD = 32 };
	struct client client = { .fd = fd };
	uint32_t asked = 0;
	bool ok = true;

	for (uint32_t unit = 0; unit < UNITS && ok; unit++) {
		struct bytes values[GROUP_KEYS] = { { NULL, 0 } };

		for (; asked < UNITS && asked < unit + AHEAD; asked++) {
			for (uint32_t i = 0; i < key_count(asked); i++) {
				char key[32];
				const struct bytes words[] = { BYTES("GET"),
					                       key_make(asked, i, key) };

				client_put(&client, 2, words);
			}
		}
		ok = unit_read(&client, unit, values);
		if (ok)
			unit_verify(t, unit, values);
		for (uint32_t i = 0; i < GROUP_KEYS; i++)
			free((void *)(uintptr_t)values[i].data);
	}
	client_close(&client);
	return ok;
}

static void hear(void *context, enum finding kind, const char *text)
{
	struct torture *t = context;

	if (kind == FINDING_NOTE)
		return;
	t->damaged++;
	t->keep = true;
	cli_error("round %" PRIu64 ": %s", t->round, text);
}

/* What lies on the disk right after the kill. */
static bool check(struct torture *t)
{
	static struct offline offline;
	const struct store_check_options with = { .tell = hear, .context = t };
	struct store_check_result result;
	enum cli_exit exit = offline_open(&offline, "data", /* read_only= */ true);
	enum status status = STATUS_IO;

	if (exit == CLI_DONE)
		status = store_check_run(&offline.reader, &with, &result);
	offline_close(&offline);
	/* Killed while it was being made: there is no store yet. */
	return status == STATUS_OK || (status == STATUS_NOT_FOUND && t->acknowledged == 0);
}

static void show(const struct torture *t, const char *what, const char *end)
{
	printf("%s round %" PRIu64 ": %" PRIu64 " writes acknowledged, %" PRIu64
	       " states verified, lost=%" PRIu64 " forged=%" PRIu64 "%s",
	       what, t->round, t->acknowledged, t->verified, t->lost + t->split, t->forged, end);
	fflush(stdout);
}

static bool round_run(struct torture *t)
{
	uint64_t for_ms = prng_range(&t->prng, LOAD_MS_MIN, LOAD_MS_MAX);
	int fd;

	if (!server_start(t))
		return false;
	/* Now and then it is killed while it recovers. */
	if (t->round > 1 && prng_chance(&t->prng, 200000)) {
		const struct timespec pause = { .tv_nsec =
			                                (long)prng_below(&t->prng, 200) * 1000000 };

		nanosleep(&pause, NULL);
		server_kill(t);
		return check(t) && server_start(t) && (fd = server_wait(t)) >= 0 && verify(t, fd);
	}
	fd = server_wait(t);
	if (fd < 0 || !verify(t, fd) || !connect_all(t))
		return false;
	load(t, for_ms);
	server_kill(t);
	disconnect_all(t);
	return check(t);
}

/* The last one: what is there after all. */
static bool last_look(struct torture *t)
{
	int fd;

	if (!server_start(t))
		return false;
	fd = server_wait(t);
	return fd >= 0 && verify(t, fd);
}

static enum cli_exit run(struct torture *t)
{
	uint64_t until_ms = now_ms() + t->seconds * 1000;
	bool tty = isatty(STDOUT_FILENO) != 0, ok = true;

	for (t->round = 1; ok && !interrupted; t->round++) {
		if (t->rounds != 0 && t->round > t->rounds)
			break;
		if (t->seconds != 0 && now_ms() >= until_ms)
			break;
		ok = round_run(t);
		server_kill(t);
		show(t, tty ? "\r" : "", tty ? "\033[K" : "\n");
	}
	t->round--;
	ok = ok && last_look(t);
	server_kill(t);
	printf("%srounds=%" PRIu64 " acknowledged=%" PRIu64 " verified=%" PRIu64 " lost=%" PRIu64
	       " forged=%" PRIu64 " split=%" PRIu64 " damaged=%" PRIu64 " seed=%" PRIu64 "\n",
	       tty ? "\r\033[K" : "", t->round, t->acknowledged, t->verified, t->lost, t->forged,
	       t->split, t->damaged, t->seed);
	if (t->lost + t->forged + t->split + t->damaged > 0)
		return CLI_NOT_SO;
	return ok ? CLI_DONE : CLI_ENVIRONMENT;
}

/* Command line. */

static const struct argp_option options[] = {
	{ "rounds", 'n', "N", 0, "Kill the server so often (20, or as --seconds allows)", 0 },
	{ "seconds", 't', "S", 0, "Begin no round after so many seconds", 0 },
	{ "seed", KEY_SEED, "NUMBER", 0, "Draw the same numbers as an earlier run", 0 },
	{ "keep", KEY_KEEP, NULL, 0, "Leave the store and the server's log there", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct torture *t = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &t->conf;
		return 0;
	case 'n':
		t->rounds = cli_number(state, arg, 0, UINT64_MAX);
		return 0;
	case 't':
		t->seconds = cli_number(state, arg, 0, UINT64_MAX);
		return 0;
	case KEY_SEED:
		t->seed = cli_number(state, arg, 0, UINT64_MAX);
		return 0;
	case KEY_KEEP:
		t->keep = true;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return cli_take_word(key, arg, state, &t->directory, "directory");
	}
}

static bool enter(struct torture *t)
{
	int size = snprintf(t->path, sizeof(t->path), "%s/torture-XXXXXX", t->directory);

	if ((size_t)size >= sizeof(t->path) || mkdtemp(t->path) == NULL || chdir(t->path) != 0) {
		cli_error("%s: %s", t->directory, strerror(errno));
		return false;
	}
	return true;
}

/* Only what was made here, by its name. */
static void clean_up(const struct torture *t)
{
	if (t->keep) {
		printf("kept: %s\n", t->path);
		return;
	}
	unlink("data/store");
	rmdir("data");
	unlink("log");
	unlink("s");
	if (chdir("..") == 0)
		rmdir(strrchr(t->path, '/') + 1);
}

enum cli_exit torture_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &cli_conf_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.args_doc = "DIRECTORY",
		.doc = "Makes a store in DIRECTORY, writes to it, kills the server with SIGKILL at "
		       "any moment, starts it again and sees whether all that was acknowledged is "
		       "there, again and again. Settings of --set are the server's.\v"
		       "What this does not test: a disk that says that a write is durable while "
		       "it is in a cache that a power cut empties. The kernel and the disk outlive "
		       "a kill; only pulling the plug of the machine, under load, tests "
		       "them. Exit code 1: something was lost, or is not what was written.",
	};
	static struct torture torture;
	struct torture *t = &torture;
	const struct sigaction action = { .sa_handler = interrupt };
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, t);
	if (t->conf.file != NULL) {
		cli_error("torture takes settings by --set only");
		return CLI_USAGE;
	}
	if (t->rounds == 0 && t->seconds == 0)
		t->rounds = 20;
	if (t->seed == 0 && getrandom(&t->seed, 4, 0) != 4)
		t->seed = 1;
	prng_init(&t->prng, t->seed);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		t->connections[i].fd = -1;
	for (unsigned i = 0; i < UNITS; i++)
		t->units[i].first = 1;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (!enter(t))
		return CLI_ENVIRONMENT;
	printf("A killed server proves what weir does, not what the disk does with its cache: for "
	       "that, pull the plug.\n");
	exit = run(t);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		free(t->connections[i].out);
	clean_up(t);
	return exit;
}
