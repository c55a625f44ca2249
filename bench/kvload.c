/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load for a RESP server on loopback: every connection keeps one batch of `pipeline` commands in
 * flight, and every byte of every reply is compared with what it must be. The value of a key is
 * made from the key, so that a reply for another key is noticed.
 *
 * Closed loop: a batch goes out when the one before has come back. With -R (batches a second over
 * all connections) at fixed times instead, and latency counts from the time at which a batch was
 * due, so that a stall is not forgiven. Prints one line of JSON.
 */
#include "bench.h"

#include <math.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "base/histogram.h"
#include "base/prng.h"

enum {
	KEY_SIZE = 16, /* "key:" and twelve digits */
	KEY_DIGITS = 12,
	CONNECTIONS_MAX = 4096,
	PIPELINE_MAX = 1024,
	RECV_SIZE = 1 << 18,
	EVENTS_MAX = 256,
	RANGE_COUNT = 100, /* keys of a WEIR.RANGE */
};

#define SILENCE_MAX_NS 30000000000ull

enum work { WORK_GET, WORK_SET, WORK_FILL, WORK_MIXED, WORK_RANGE };

static const char *const work_names[] = { "get", "set", "fill", "mixed", "range" };

static struct {
	uint16_t port;
	int cpu;
	uint32_t connections, pipeline, value_size;
	uint64_t key_count, first_key, duration_ns, operations_max, batches_per_second;
	uint32_t read_percent; /* of WORK_MIXED */
	double zipf_theta;     /* 0: uniform */
	enum work work;
	bool may_miss, counts_only;
	uint64_t seed;
} option = {
	.port = 6379,
	.cpu = -1,
	.connections = 50,
	.pipeline = 1,
	.value_size = 64,
	.key_count = 300000,
	.duration_ns = 2000000000,
	.read_percent = 50,
	.seed = 1,
};

/* What a command looks like, and its reply: bytes with the key at one or two places in them. */
struct template
{
	uint8_t *bytes;
	size_t size;
	size_t key_at, value_at; /* of the digits; value_at 0: none */
	size_t header_size;      /* what a reply of another size has otherwise */
};

static struct template get_command, set_command, get_reply, set_reply;
static struct template range_command, range_reply, pair; /* a range_reply has RANGE_COUNT pairs */

struct pending {
	uint64_t key;
	const struct template *reply;
};

struct connection {
	int fd;
	uint32_t replied; /* of the batch */
	uint32_t used;    /* bytes of `in` that wait for the rest of a reply */
	bool busy;
	uint64_t due_ns; /* when the batch was to go out */
	struct pending *pending;
	uint8_t *in, *out;
};

static struct connection connections[CONNECTIONS_MAX];
static struct histogram latency;
static struct prng prng;
static uint64_t fired, done, missed, filled, now, heard_ns;
static double zipf_zeta, zipf_alpha, zipf_eta;

static void put_digits(uint8_t *to, uint64_t key)
{
	for (int i = KEY_DIGITS - 1; i >= 0; i--) {
		to[i] = (uint8_t)('0' + key % 10);
		key /= 10;
	}
}

/* "key:" and the key's digits, then filler, at most `size` bytes. */
static size_t put_value(char *to, uint32_t size)
{
	memset(to, 'v', size);
	memcpy(to, "key:000000000000", size < KEY_SIZE ? size : KEY_SIZE);
	return size;
}

static char *new_bytes(size_t size)
{
	char *bytes = calloc(1, size);

	if (bytes == NULL)
		die("memory");
	return bytes;
}

static void make_templates(void)
{
	char *get = new_bytes(64), *set = new_bytes(option.value_size + 96);
	char *found = new_bytes(option.value_size + 32);
	size_t size;

	size = (size_t)sprintf(get, "*2\r\n$3\r\nGET\r\n$%d\r\nkey:%012d\r\n", KEY_SIZE, 0);
	get_command = (struct template){ (uint8_t *)get, size, size - 2 - KEY_DIGITS, 0, 0 };

	size = (size_t)sprintf(set, "*3\r\n$3\r\nSET\r\n$%d\r\nkey:%012d\r\n", KEY_SIZE, 0);
	set_command = (struct template){ (uint8_t *)set, 0, size - 2 - KEY_DIGITS, 0, 0 };
	size += (size_t)sprintf(set + size, "$%u\r\n", option.value_size);
	set_command.value_at = option.value_size >= KEY_SIZE ? size + 4 : 0;
	size += put_value(set + size, option.value_size);
	set_command.size = size + (size_t)sprintf(set + size, "\r\n");

	size = (size_t)sprintf(found, "$%u\r\n", option.value_size);
	get_reply = (struct template){ (uint8_t *)found, 0, 0, 0, size };
	get_reply.value_at = option.value_size >= KEY_SIZE ? size + 4 : 0;
	size += put_value(found + size, option.value_size);
	get_reply.size = size + (size_t)sprintf(found + size, "\r\n");

	set_reply = (struct template){ (uint8_t *)"+OK\r\n", 5, 0, 0, 5 };
}

/* The keys of a fill follow each other, so a range is known to the byte. */
static void make_range_templates(void)
{
	char *command = new_bytes(128), *header = new_bytes(32);
	char *bytes = new_bytes(option.value_size + 96);
	size_t size;

	size = (size_t)sprintf(command, "*5\r\n$10\r\nWEIR.RANGE\r\n$%d\r\nkey:%012d\r\n", KEY_SIZE,
	                       0);
	range_command = (struct template){ (uint8_t *)command, 0, size - 2 - KEY_DIGITS, 0, 0 };
	size += (size_t)sprintf(command + size, "$0\r\n\r\n$5\r\nLIMIT\r\n$3\r\n%d\r\n",
	                        RANGE_COUNT);
	range_command.size = size;

	size = (size_t)sprintf(bytes, "$%d\r\nkey:%012d\r\n", KEY_SIZE, 0);
	pair = (struct template){ (uint8_t *)bytes, 0, size - 2 - KEY_DIGITS, 0, size };
	memcpy(bytes + size, get_reply.bytes, get_reply.size);
	pair.value_at = get_reply.value_at == 0 ? 0 : size + get_reply.value_at;
	pair.size = size + get_reply.size;

	size = (size_t)sprintf(header, "*%d\r\n", 2 * RANGE_COUNT);
	range_reply =
	        (struct template){ (uint8_t *)header, size + RANGE_COUNT * pair.size, 0, 0, size };
}

/* Gray et al. 1994, as in YCSB: rank r is drawn with a weight of 1 / r^theta. */
static void zipf_init(void)
{
	double theta = option.zipf_theta, two = 1 + pow(0.5, theta);

	for (uint64_t i = 1; i <= option.key_count; i++)
		zipf_zeta += 1 / pow((double)i, theta);
	zipf_alpha = 1 / (1 - theta);
	zipf_eta = (1 - pow(2.0 / (double)option.key_count, 1 - theta)) / (1 - two / zipf_zeta);
}

static uint64_t zipf_rank(void)
{
	double u = (double)(prng_next(&prng) >> 11) * 0x1p-53, uz = u * zipf_zeta;
	double count = (double)option.key_count;
	uint64_t rank;

	if (uz < 1)
		return 0;
	if (uz < 1 + pow(0.5, option.zipf_theta))
		return 1;
	rank = (uint64_t)(count * pow(zipf_eta * u - zipf_eta + 1, zipf_alpha));
	return rank < option.key_count ? rank : option.key_count - 1;
}

static uint64_t next_key(void)
{
	if (option.work == WORK_FILL)
		return option.first_key + filled++ % option.key_count;
	if (option.work == WORK_RANGE)
		return option.first_key + prng_below(&prng, option.key_count - RANGE_COUNT + 1);
	if (option.zipf_theta > 0) /* spread the popular ones over the key space */
		return option.first_key + zipf_rank() * 0x9e3779b97f4a7c15ull % option.key_count;
	return option.first_key + prng_below(&prng, option.key_count);
}

static bool next_is_read(void)
{
	if (option.work == WORK_MIXED)
		return prng_below(&prng, 100) < option.read_percent;
	return option.work == WORK_GET;
}

static size_t build_batch(struct connection *c)
{
	uint8_t *to = c->out;

	for (uint32_t i = 0; i < option.pipeline; i++) {
		bool range = option.work == WORK_RANGE, read = next_is_read();
		const struct template *command = range  ? &range_command
		                                 : read ? &get_command
		                                        : &set_command;
		uint64_t key = next_key();

		memcpy(to, command->bytes, command->size);
		put_digits(to + command->key_at, key);
		if (command->value_at != 0)
			put_digits(to + command->value_at, key);
		to += command->size;
		c->pending[i].key = key;
		c->pending[i].reply = range ? &range_reply : read ? &get_reply : &set_reply;
	}
	return (size_t)(to - c->out);
}

static void refuse(const struct connection *c, const uint8_t *reply, size_t size)
{
	const struct pending *pending = &c->pending[c->replied];

	fprintf(stderr, "wrong reply to %s key:%012llu: %.*s\n",
	        pending->reply == &set_reply ? "SET" : "GET or range of",
	        (unsigned long long)pending->key, (int)(size < 200 ? size : 200),
	        (const char *)reply);
	exit(1);
}

/* Whether these are a template's bytes, with this key in its places. */
static bool is_filled(const struct template *want, uint64_t key, const uint8_t *in)
{
	uint8_t digits[KEY_DIGITS];
	size_t at = 0, places[] = { want->key_at, want->value_at };

	put_digits(digits, key);
	for (unsigned i = 0; i < 2; i++) {
		if (places[i] == 0)
			continue;
		if (memcmp(in + at, want->bytes + at, places[i] - at) != 0 ||
		    memcmp(in + places[i], digits, KEY_DIGITS) != 0)
			return false;
		at = places[i] + KEY_DIGITS;
	}
	return memcmp(in + at, want->bytes + at, want->size - at) == 0;
}

static bool is_range(uint64_t first, const uint8_t *in)
{
	const uint8_t *at = in + range_reply.header_size;

	for (uint64_t i = 0; i < RANGE_COUNT; i++, at += pair.size) {
		if (!is_filled(&pair, first + i, at))
			return false;
	}
	return true;
}

/* Bytes of the reply at `in`; 0: not all of it is here yet. */
static size_t check_reply(struct connection *c, const uint8_t *in, size_t size)
{
	const struct pending *pending = &c->pending[c->replied];
	const struct template *want = pending->reply;
	bool good;

	if (option.counts_only)
		return size >= want->size ? want->size : 0;
	if (size >= 5 && want == &get_reply && memcmp(in, "$-1\r\n", 5) == 0) {
		if (!option.may_miss)
			refuse(c, in, size);
		missed++;
		return 5;
	}
	if (memcmp(in, want->bytes, size < want->header_size ? size : want->header_size) != 0 &&
	    (size >= 5 || in[0] != '$' || want != &get_reply))
		refuse(c, in, size);
	if (size < want->size)
		return 0;
	good = want == &range_reply ? is_range(pending->key, in)
	                            : is_filled(want, pending->key, in);
	if (!good)
		refuse(c, in, size);
	return want->size;
}

/* Takes what the socket has; counts the batch when its last reply is there. */
static void receive(struct connection *c)
{
	ssize_t got = recv(c->fd, c->in + c->used, RECV_SIZE - c->used, 0);
	size_t at = 0, reply_size;

	if (got == 0) {
		errno = ECONNRESET;
		die("the server closed a connection");
	}
	if (got < 0) {
		if (errno != EAGAIN)
			die("recv");
		return;
	}
	heard_ns = now;
	c->used += (uint32_t)got;
	while (c->replied < option.pipeline) {
		reply_size = check_reply(c, c->in + at, c->used - at);
		if (reply_size == 0)
			break;
		at += reply_size;
		c->replied++;
	}
	c->used -= (uint32_t)at;
	if (c->used > 0 && at > 0)
		memmove(c->in, c->in + at, c->used);
	if (c->replied < option.pipeline || !c->busy)
		return;
	if (c->used > 0)
		refuse(c, c->in, c->used);
	now = now_ns();
	histogram_add(&latency, now - c->due_ns);
	done += option.pipeline;
	c->busy = false;
}

static void fire(struct connection *c, uint64_t due_ns)
{
	size_t size = build_batch(c), sent = 0;

	fired += option.pipeline;
	c->replied = 0;
	c->busy = true;
	c->due_ns = due_ns;
	while (sent < size) {
		ssize_t n = send(c->fd, c->out + sent, size - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (errno == EAGAIN)
			receive(c); /* the server may wait for us to read */
		else
			die("send");
	}
}

static void open_connections(int epoll)
{
	struct sockaddr_in address = loopback(option.port);
	size_t command_max = set_command.size + range_command.size;

	for (uint32_t i = 0; i < option.connections; i++) {
		struct connection *c = &connections[i];
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

		c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
			die("connect to port %u", option.port);
		no_delay(c->fd);
		if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 ||
		    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
			die("connection %u", i);
		c->in = (uint8_t *)new_bytes(RECV_SIZE);
		c->out = (uint8_t *)new_bytes(option.pipeline * command_max);
		c->pending = (struct pending *)new_bytes(option.pipeline * sizeof(*c->pending));
	}
}

/* With a number of operations, all that were sent are waited for: a fill is whole when it ends. */
static bool may_fire(void)
{
	return option.operations_max == 0 || fired < option.operations_max;
}

/* Waits at most until `until` (nanoseconds of now_ns()) and takes what has come. */
static void wait_replies(int epoll, uint64_t until, bool refire)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t wait_ns = until > now ? until - now : 0;
	struct timespec timeout = { (time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000) };
	int count = epoll_pwait2(epoll, events, EVENTS_MAX, &timeout, NULL);

	for (int i = 0; i < count; i++) {
		struct connection *c = events[i].data.ptr;

		receive(c);
		if (refire && !c->busy && may_fire())
			fire(c, now);
	}
	if (count <= 0)
		now = now_ns();
	if (now > heard_ns + SILENCE_MAX_NS) {
		errno = ETIMEDOUT;
		die("the server says nothing");
	}
}

static bool has_ended(uint64_t end_ns)
{
	return option.operations_max > 0 ? !may_fire() && done == fired : now >= end_ns;
}

static void run_closed(int epoll, uint64_t end_ns)
{
	for (uint32_t i = 0; i < option.connections && may_fire(); i++)
		fire(&connections[i], now_ns());
	while (!has_ended(end_ns))
		wait_replies(epoll, now + 1000000000, true);
}

/* A batch is due every 1/rate; it goes out on the first idle connection, late if there is none. */
static void run_paced(int epoll, uint64_t end_ns)
{
	double gap_ns = 1e9 / (double)option.batches_per_second;
	uint64_t start_ns = now, batches = 0;
	uint32_t next = 0;

	while (!has_ended(end_ns)) {
		uint64_t due_ns = start_ns + (uint64_t)((double)batches * gap_ns);

		for (uint32_t tried = 0; tried < option.connections && due_ns <= now && may_fire();
		     tried++) {
			struct connection *c = &connections[next];

			next = (next + 1) % option.connections;
			if (c->busy)
				continue;
			fire(c, due_ns);
			batches++;
			due_ns = start_ns + (uint64_t)((double)batches * gap_ns);
		}
		/* All busy and late: what ends next is the event to wait for. */
		wait_replies(epoll, due_ns > now ? due_ns : now + 100000000, false);
		now = now_ns();
	}
}

static double percentile_us(uint32_t per_million)
{
	return (double)histogram_percentile(&latency, per_million) / 1e3;
}

static void report(uint64_t elapsed_ns, uint64_t cpu_ns)
{
	printf("{\"work\": \"%s\", \"connections\": %u, \"pipeline\": %u, \"value_size\": %u, "
	       "\"operations\": %llu, \"missed\": %llu, \"seconds\": %.4f, \"rate\": %.0f, "
	       "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
	       "\"max_us\": %.1f, \"client_cpu_ns\": %.1f}\n",
	       work_names[option.work], option.connections, option.pipeline, option.value_size,
	       (unsigned long long)done, (unsigned long long)missed, (double)elapsed_ns / 1e9,
	       (double)done * 1e9 / (double)elapsed_ns, percentile_us(500000),
	       percentile_us(900000), percentile_us(990000), percentile_us(999000),
	       (double)latency.max / 1e3, (double)cpu_ns / (double)(done > 0 ? done : 1));
}

static void usage(void)
{
	fprintf(stderr, "kvload [-t get|set|fill|mixed|range] [-p port] [-c cpu] [-n connections] "
	                "[-P pipeline]\n"
	                "       [-s value bytes] [-k keys] [-f first key] [-d milliseconds] "
	                "[-o operations]\n"
	                "       [-r reads of 100] [-z zipf theta] [-R batches a second] [-S seed] "
	                "[-m] [-x]\n"
	                "-m: a GET may miss; -x: replies are only counted by size (a floor's)\n");
	exit(2);
}

static enum work work_of(const char *name)
{
	for (unsigned i = 0; i < sizeof(work_names) / sizeof(work_names[0]); i++) {
		if (strcmp(name, work_names[i]) == 0)
			return (enum work)i;
	}
	usage();
	return WORK_GET;
}

static void take_option(int letter, const char *text)
{
	uint64_t value = 0;

	if (strchr("tzmx", letter) == NULL)
		value = number_of((char)letter, text);
	// clang-format off
	switch (letter) {
	case 't': option.work = work_of(text); break;
	case 'p': option.port = (uint16_t)value; break;
	case 'c': option.cpu = (int)value; break;
	case 'n': option.connections = (uint32_t)value; break;
	case 'P': option.pipeline = (uint32_t)value; break;
	case 's': option.value_size = (uint32_t)value; break;
	case 'k': option.key_count = value; break;
	case 'f': option.first_key = value; break;
	case 'd': option.duration_ns = value * 1000000; break;
	case 'o': option.operations_max = value; break;
	case 'r': option.read_percent = (uint32_t)value; break;
	case 'z': option.zipf_theta = strtod(text, NULL); break;
	case 'R': option.batches_per_second = value; break;
	case 'S': option.seed = value; break;
	case 'm': option.may_miss = true; break;
	case 'x': option.counts_only = true; break;
	default: usage();
	}
	// clang-format on
}

int main(int argc, char **argv)
{
	int letter, epoll;
	uint64_t start_ns, cpu_ns;

	while ((letter = getopt(argc, argv, "t:p:c:n:P:s:k:f:d:o:r:z:R:S:mx")) != -1) {
		if (letter == '?')
			usage();
		take_option(letter, optarg);
	}
	if (option.connections == 0 || option.connections > CONNECTIONS_MAX ||
	    option.pipeline == 0 || option.pipeline > PIPELINE_MAX || option.key_count == 0 ||
	    option.value_size + 64 > RECV_SIZE || option.zipf_theta < 0 || option.zipf_theta >= 1)
		usage();
	if (option.work == WORK_RANGE &&
	    (option.key_count < RANGE_COUNT || (option.value_size + 64) * RANGE_COUNT > RECV_SIZE))
		usage();
	if (option.work == WORK_FILL && option.operations_max == 0)
		option.operations_max = option.key_count;
	pin(option.cpu);
	prng_init(&prng, option.seed);
	make_templates();
	make_range_templates();
	if (option.zipf_theta > 0)
		zipf_init();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		die("epoll");
	open_connections(epoll);

	cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	start_ns = now = heard_ns = now_ns();
	if (option.batches_per_second > 0)
		run_paced(epoll, start_ns + option.duration_ns);
	else
		run_closed(epoll, start_ns + option.duration_ns);
	report(now_ns() - start_ns, clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns);
	return 0;
}
