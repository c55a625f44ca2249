/* SPDX-License-Identifier: Apache-2.0 */
/* The library through its public header, in real threads on a real file. */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib_place.h"

static void expect(struct weir *weir, const char *key, const char *text)
{
	char room[256];
	struct weir_value value = { .data = room, .size_max = sizeof(room) };

	assert_int_equal(weir_get(weir, weir_key(0, key), &value), WEIR_OK);
	assert_int_equal(value.size, strlen(text));
	assert_memory_equal(room, text, value.size);
}

static void expect_absent(struct weir *weir, const char *key)
{
	struct weir_value value = { .data = NULL };

	assert_int_equal(weir_get(weir, weir_key(0, key), &value), WEIR_NOT_FOUND);
	assert_null(value.data);
}

/* Calls. */

static void keys_come_and_go(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	char room[4];
	struct weir_value value = { .data = room, .size_max = sizeof(room) };
	uint64_t count;
	bool was_there;

	expect_absent(weir, "a");
	assert_int_equal(weir_put(weir, weir_key(0, "a"), weir_text("first")), WEIR_OK);
	assert_int_equal(weir_put(weir, weir_key(0, "a"), weir_text("second")), WEIR_OK);
	assert_int_equal(weir_put(weir, weir_key(1, "a"), weir_text("other space")), WEIR_OK);
	assert_int_equal(weir_put(weir, weir_key(0, "empty"), weir_text("")), WEIR_OK);
	expect(weir, "a", "second");
	expect(weir, "empty", "");
	assert_int_equal(weir_get(weir, weir_key(0, "a"), &value), WEIR_TOO_LARGE);
	assert_int_equal(value.size, 6);
	assert_int_equal(weir_count(weir, 0, &count), WEIR_OK);
	assert_int_equal(count, 2);
	assert_int_equal(weir_delete(weir, weir_key(0, "a"), &was_there), WEIR_OK);
	assert_true(was_there);
	assert_int_equal(weir_delete(weir, weir_key(0, "a"), &was_there), WEIR_OK);
	assert_false(was_there);
	expect_absent(weir, "a");
	assert_int_equal(weir_clear(weir, 1), WEIR_OK);
	assert_int_equal(weir_count(weir, 1, &count), WEIR_OK);
	assert_int_equal(count, 0);
	expect(weir, "empty", "");
}

static void arguments_are_checked(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	static uint8_t long_key[WEIR_KEY_MAX + 1];
	struct weir_key key = { long_key, WEIR_KEY_MAX, 0 };
	struct weir_request request = { .op = WEIR_COUNT };
	struct weir_value value = { .data = NULL };

	assert_int_equal(weir_put(weir, key, weir_text("x")), WEIR_OK);
	assert_int_equal(weir_get(weir, key, &value), WEIR_OK);
	assert_int_equal(value.size, 1);
	free(value.data);
	key.size++;
	assert_int_equal(weir_put(weir, key, weir_text("x")), WEIR_INVALID);
	assert_int_equal(weir_put(weir, weir_key(0, ""), weir_text("x")), WEIR_INVALID);
	assert_int_equal(weir_put(weir, weir_key(WEIR_SPACES, "a"), weir_text("x")), WEIR_INVALID);
	assert_int_equal(weir_submit(weir, &request), WEIR_INVALID); /* no done() */
	assert_string_equal(weir_status_text(WEIR_OK), "ok");
	assert_string_equal(weir_status_text(WEIR_CLOSED), "closed");
	assert_string_equal(weir_status_text((enum weir_status)99), "unknown status");
	assert_int_equal(weir_api(), WEIR_API);
	assert_non_null(weir_version());
}

static void cas_has_one_winner(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	struct weir_key key = weir_key(0, "lock");
	uint64_t mine = 0, theirs = 0, first;

	assert_int_equal(weir_cas(weir, key, weir_text("me"), &mine), WEIR_OK);
	assert_int_not_equal(mine, 0);
	first = mine;
	assert_int_equal(weir_cas(weir, key, weir_text("them"), &theirs), WEIR_CONFLICT);
	assert_int_equal(theirs, first);
	assert_int_equal(weir_cas(weir, key, weir_text("me again"), &mine), WEIR_OK);
	assert_true(mine > first);
	expect(weir, "lock", "me again");
}

static uint8_t *make_large(size_t size, unsigned seed)
{
	uint8_t *large = malloc(size);

	for (size_t i = 0; i < size; i++)
		large[i] = (uint8_t)(i * 7 + (i >> 12) + seed);
	return large;
}

static void expect_large(struct weir *weir, const char *key, size_t size, unsigned seed)
{
	uint8_t *large = make_large(size, seed);
	struct weir_value value = { .data = NULL };

	assert_int_equal(weir_get(weir, weir_key(0, key), &value), WEIR_OK);
	assert_int_equal(value.size, size);
	assert_memory_equal(value.data, large, size);
	free(value.data);
	free(large);
}

static bool count_large(void *context, const struct weir_entry *entry)
{
	size_t *sum = context;

	assert_non_null(entry->value.data);
	*sum += entry->value.size + ((const uint8_t *)entry->value.data)[entry->value.size - 1] * 0;
	return true;
}

static void values_may_be_large(void **state)
{
	struct place *place = *state;
	static const size_t sizes[] = { 32767, 32768, 32769, 100000, 3000001 };
	const struct weir_range all = { .space = 0 };
	size_t sum = 0, expected = 0;
	uint64_t version = 99;
	char key[16];

	for (unsigned i = 0; i < 5; i++) {
		uint8_t *large = make_large(sizes[i], i);

		snprintf(key, sizeof(key), "large%u", i);
		assert_int_equal(weir_put(place->weir, weir_key(0, key),
		                          (struct weir_bytes){ large, sizes[i] }),
		                 WEIR_OK);
		/* One that is not wanted leaves what is there, and its space is free again. */
		assert_int_equal(weir_cas(place->weir, weir_key(0, key),
		                          (struct weir_bytes){ large, sizes[i] }, &version),
		                 WEIR_CONFLICT);
		version = 99;
		expected += sizes[i];
		free(large);
	}
	assert_int_equal(weir_scan(place->weir, &all, count_large, &sum), WEIR_OK);
	assert_int_equal(sum, expected);
	weir_close(place->weir);
	place_open(place, NULL);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "large%u", i);
		expect_large(place->weir, key, sizes[i], i);
	}
}

/* Scans. */

enum { SCANNED = 3000 };

struct seen {
	unsigned count, first, last;
	unsigned stop_after; /* 0: never */
	int step;
};

static bool see(void *context, const struct weir_entry *entry)
{
	struct seen *seen = context;
	char text[16] = "";
	unsigned number;

	assert_int_equal(entry->key.size, 8);
	memcpy(text, entry->key.data, 8);
	number = (unsigned)strtoul(text, NULL, 10);
	if (seen->count == 0)
		seen->first = number;
	else
		assert_int_equal((int)number, (int)seen->last + seen->step);
	seen->last = number;
	seen->count++;
	return seen->count != seen->stop_after;
}

static void scans_are_in_order(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	struct weir_range range = { .space = 2 };
	struct seen seen = { .step = 1 };
	struct weir_batch *batch;
	char key[16];

	assert_int_equal(weir_batch_open(&batch, SCANNED, SCANNED * 200), WEIR_OK);
	for (unsigned i = 0; i < SCANNED; i++) {
		char value[150];

		memset(value, 'v', sizeof(value));
		snprintf(key, sizeof(key), "%08u", i);
		assert_int_equal(weir_batch_put(batch, weir_key(2, key),
		                                (struct weir_bytes){ value, sizeof(value) }),
		                 WEIR_OK);
	}
	assert_int_equal(weir_commit(weir, batch), WEIR_OK);
	weir_batch_close(batch);

	assert_int_equal(weir_scan(weir, &range, see, &seen), WEIR_OK);
	assert_int_equal(seen.count, SCANNED);
	range.reverse = true;
	seen = (struct seen){ .step = -1 };
	assert_int_equal(weir_scan(weir, &range, see, &seen), WEIR_OK);
	assert_int_equal(seen.count, SCANNED);
	assert_int_equal(seen.first, SCANNED - 1);
	range = (struct weir_range){ .space = 2,
		                     .from = weir_text("00000500"),
		                     .end = weir_text("00002600"),
		                     .keys_only = true };
	seen = (struct seen){ .step = 1 };
	assert_int_equal(weir_scan(weir, &range, see, &seen), WEIR_OK);
	assert_int_equal(seen.count, 2100);
	assert_int_equal(seen.first, 500);
	range.limit = 7;
	seen = (struct seen){ .step = 1 };
	assert_int_equal(weir_scan(weir, &range, see, &seen), WEIR_OK);
	assert_int_equal(seen.count, 7);
	range.limit = 0;
	seen = (struct seen){ .step = 1, .stop_after = 3 };
	assert_int_equal(weir_scan(weir, &range, see, &seen), WEIR_OK);
	assert_int_equal(seen.count, 3);
	range.space = 3;
	seen = (struct seen){ .step = 1 };
	assert_int_equal(weir_scan(weir, &range, see, &seen), WEIR_OK);
	assert_int_equal(seen.count, 0);
}

/* Batches. */

static void batches_are_all_or_nothing(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	struct weir_batch *batch;

	assert_int_equal(weir_batch_open(&batch, 0, 10), WEIR_INVALID);
	assert_int_equal(weir_batch_open(&batch, 4, 64), WEIR_OK);
	assert_int_equal(weir_commit(weir, batch), WEIR_INVALID); /* empty */
	assert_int_equal(weir_put(weir, weir_key(0, "old"), weir_text("x")), WEIR_OK);
	weir_batch_put(batch, weir_key(0, "new"), weir_text("y"));
	weir_batch_delete(batch, weir_key(0, "old"));
	weir_batch_check(batch, weir_key(0, "never"), 12345);
	assert_int_equal(weir_commit(weir, batch), WEIR_CONFLICT);
	expect(weir, "old", "x");
	expect_absent(weir, "new");

	weir_batch_reset(batch);
	weir_batch_put(batch, weir_key(0, "new"), weir_text("y"));
	weir_batch_delete(batch, weir_key(0, "old"));
	weir_batch_check(batch, weir_key(0, "never"), 0);
	assert_int_equal(weir_commit(weir, batch), WEIR_OK);
	expect(weir, "new", "y");
	expect_absent(weir, "old");
	assert_int_equal(weir_batch_put(batch, weir_key(0, "d"), weir_text("z")), WEIR_OK);
	assert_int_equal(weir_batch_put(batch, weir_key(0, "e"), weir_text("z")), WEIR_TOO_LARGE);
	weir_batch_close(batch);
}

/* Threads. */

enum { THREADS = 8, PER_THREAD = 150 };

struct client {
	struct weir *weir;
	unsigned number;
	pthread_t thread;
	unsigned failures;
};

static void *work(void *arg)
{
	struct client *client = arg;

	for (unsigned i = 0; i < PER_THREAD; i++) {
		char key[32], text[32], room[32];
		struct weir_value value = { .data = room, .size_max = sizeof(room) };
		uint64_t version = 0;

		snprintf(key, sizeof(key), "%u.%u", client->number, i);
		snprintf(text, sizeof(text), "value %u of %u", i, client->number);
		client->failures +=
		        weir_put(client->weir, weir_key(0, key), weir_text(text)) != WEIR_OK;
		client->failures += weir_get(client->weir, weir_key(0, key), &value) != WEIR_OK ||
		                    value.size != strlen(text) ||
		                    memcmp(room, text, value.size) != 0;
		/* All of them count one key up together. */
		for (;;) {
			unsigned sum = 0;
			enum weir_status status;

			value = (struct weir_value){ .data = &sum, .size_max = sizeof(sum) };
			status = weir_get(client->weir, weir_key(1, "sum"), &value);
			version = status == WEIR_OK ? value.version : 0;
			sum++;
			status = weir_cas(client->weir, weir_key(1, "sum"),
			                  (struct weir_bytes){ &sum, sizeof(sum) }, &version);
			if (status == WEIR_OK)
				break;
			client->failures += status != WEIR_CONFLICT;
		}
		if (i >= 20)
			client->failures += i % 10 == 0 && weir_sync(client->weir) != WEIR_OK;
	}
	return NULL;
}

static void threads_share_a_store(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	static struct client clients[THREADS];
	unsigned sum = 0;
	struct weir_value value = { .data = &sum, .size_max = sizeof(sum) };
	uint64_t count;

	for (unsigned i = 0; i < THREADS; i++) {
		clients[i] = (struct client){ .weir = weir, .number = i };
		assert_int_equal(pthread_create(&clients[i].thread, NULL, work, &clients[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(clients[i].thread, NULL);
		assert_int_equal(clients[i].failures, 0);
	}
	assert_int_equal(weir_count(weir, 0, &count), WEIR_OK);
	assert_int_equal(count, THREADS * PER_THREAD);
	assert_int_equal(weir_get(weir, weir_key(1, "sum"), &value), WEIR_OK);
	assert_int_equal(sum, THREADS * PER_THREAD);
}

/* Where io_uring is refused. */
static void threads_share_a_store_without_uring(void **state)
{
	struct place *place = *state;
	static const char *const settings[] = { "workers.count=1", "transport.kind=plain" };
	struct weir_options options = place_options();

	weir_close(place->weir);
	options.settings = settings;
	options.setting_count = 2;
	place_open(place, &options);
	threads_share_a_store(state);
}

/* Requests. */

enum { FLYING = 4000 };

struct flight {
	struct weir_request request;
	struct flights *flights;
	char key[16];
	unsigned value, phase;
};

struct flights {
	struct weir *weir;
	atomic_uint left, wrong;
	sem_t landed;
	struct flight flight[FLYING];
};

/* First the write, then the read of it, then nothing: in done() the request may be used again. */
static void land(struct weir_request *request)
{
	struct flight *flight = request->context;
	struct flights *flights = flight->flights;

	if (request->status != WEIR_OK)
		atomic_fetch_add(&flights->wrong, 1);
	if (flight->phase++ == 0) {
		flight->value = 0;
		request->op = WEIR_GET;
		request->out = &flight->value;
		request->out_max = sizeof(flight->value);
		/* On a worker, and the calls that block know it. */
		if (weir_put(flights->weir, weir_key(0, "x"), weir_text("y")) != WEIR_INVALID ||
		    weir_sync(flights->weir) != WEIR_INVALID)
			atomic_fetch_add(&flights->wrong, 1);
		if (weir_submit(flights->weir, request) == WEIR_OK)
			return;
		atomic_fetch_add(&flights->wrong, 1);
	} else if (flight->value != (unsigned)(flight - flights->flight)) {
		atomic_fetch_add(&flights->wrong, 1);
	}
	if (atomic_fetch_sub(&flights->left, 1) == 1)
		sem_post(&flights->landed);
}

static void thousands_are_under_way(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	struct flights *flights = calloc(1, sizeof(*flights));

	flights->weir = weir;
	flights->left = FLYING;
	sem_init(&flights->landed, 0, 0);
	for (unsigned i = 0; i < FLYING; i++) {
		struct flight *flight = &flights->flight[i];

		flight->flights = flights;
		flight->value = i;
		snprintf(flight->key, sizeof(flight->key), "%u", i);
		flight->request.op = WEIR_PUT;
		flight->request.key = weir_key(4, flight->key);
		flight->request.value =
		        (struct weir_bytes){ &flight->value, sizeof(flight->value) };
		flight->request.done = land;
		flight->request.context = flight;
		assert_int_equal(weir_submit(weir, &flight->request), WEIR_OK);
	}
	sem_wait(&flights->landed);
	assert_int_equal(flights->wrong, 0);
	sem_destroy(&flights->landed);
	free(flights);
}

struct gathered {
	atomic_uint ok, canceled, timeout, other;
};

static void gather(struct weir_request *request)
{
	struct gathered *gathered = request->context;

	switch (request->status) {
	case WEIR_OK:
		gathered->ok++;
		break;
	case WEIR_CANCELED:
		gathered->canceled++;
		break;
	case WEIR_TIMEOUT:
		gathered->timeout++;
		break;
	default:
		gathered->other++;
		break;
	}
}

/* What is refused never runs; what is accepted ends, whatever happens: weir_stop() waits for it. */
static void limits_and_ends_are_told(void **state)
{
	struct place *place = *state;
	struct weir_options options = place_options();
	struct weir_request *requests = calloc(64, sizeof(*requests));
	struct gathered gathered = { .ok = 0 };
	unsigned accepted = 0, busy = 0;

	weir_close(place->weir);
	options.requests_max = 8;
	place_open(place, &options);
	for (unsigned i = 0; i < 64; i++) {
		enum weir_status status;

		requests[i] = (struct weir_request){ .op = WEIR_PUT,
			                             .key = weir_key(0, "key"),
			                             .value = weir_text("value"),
			                             .done = gather,
			                             .context = &gathered };
		status = weir_submit(place->weir, &requests[i]);
		accepted += status == WEIR_OK;
		busy += status == WEIR_BUSY;
		if (status == WEIR_OK && i % 3 == 0)
			weir_cancel(&requests[i]);
	}
	weir_stop(place->weir);
	assert_int_equal(accepted + busy, 64);
	assert_true(accepted >= 8);
	assert_int_equal(gathered.ok + gathered.canceled, accepted);
	assert_int_equal(gathered.other + gathered.timeout, 0);

	assert_int_equal(weir_submit(place->weir, &requests[0]), WEIR_CLOSED);
	assert_int_equal(weir_put(place->weir, weir_key(0, "k"), weir_text("v")), WEIR_CLOSED);
	assert_int_equal(weir_sync(place->weir), WEIR_CLOSED);
	weir_stop(place->weir);
	free(requests);
}

/* Ends, clean and not. */

static void closed_stores_open_again(void **state)
{
	struct place *place = *state;

	for (unsigned i = 0; i < 3; i++) {
		char key[16];

		snprintf(key, sizeof(key), "life%u", i);
		assert_int_equal(weir_put(place->weir, weir_key(0, key), weir_text("lived")),
		                 WEIR_OK);
		weir_close(place->weir);
		place_open(place, NULL);
		for (unsigned j = 0; j <= i; j++) {
			snprintf(key, sizeof(key), "life%u", j);
			expect(place->weir, key, "lived");
		}
	}
}

/* Runs until it is killed: writes, and says what was acknowledged. */
static void be_killed(const char *path, int out, bool relaxed)
{
	struct weir_options options = place_options();
	struct weir *weir;

	options.relaxed_spaces = relaxed ? 1 : 0;
	if (weir_open(path, &options, &weir, NULL) != WEIR_OK)
		_exit(1);
	for (uint32_t i = 0;; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%u", i);
		if (weir_put(weir, weir_key(0, key), weir_text(key)) != WEIR_OK)
			_exit(2);
		if (relaxed && i % 50 != 49)
			continue;
		if (relaxed && weir_sync(weir) != WEIR_OK)
			_exit(3);
		if (write(out, &i, sizeof(i)) != sizeof(i))
			_exit(4);
	}
}

static void killed_stores_lose_nothing(const char *path, uint32_t until, bool relaxed)
{
	struct weir_options options = place_options();
	struct weir *weir;
	uint32_t told = 0;
	int pipes[2], how;
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0)
		be_killed(path, pipes[1], relaxed);
	close(pipes[1]);
	while (told < until)
		assert_int_equal(read(pipes[0], &told, sizeof(told)), sizeof(told));
	/* Meanwhile it has the store, and nobody else can. */
	assert_int_equal(weir_open(path, &options, &weir, NULL), WEIR_BUSY);
	assert_null(weir);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_true(WIFSIGNALED(how));
	while (read(pipes[0], &told, sizeof(told)) == sizeof(told))
		;
	close(pipes[0]);
	assert_int_equal(weir_open(path, &options, &weir, NULL), WEIR_OK);
	for (uint32_t i = 0; i <= told; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%u", i);
		expect(weir, key, key);
	}
	weir_close(weir);
}

/* Forks: so no store may be open in this process. */
static void what_was_acknowledged_survives_a_kill(void **state)
{
	struct place place;

	(void)state;
	place_make(&place);
	killed_stores_lose_nothing(place.path, 200, /* relaxed= */ false);
	killed_stores_lose_nothing(place.path, 300, /* relaxed= */ false);
	place_remove(&place);
	place_make(&place);
	killed_stores_lose_nothing(place.path, 400, /* relaxed= */ true);
	place_remove(&place);
}

static void what_cannot_be_opened_says_why(void **state)
{
	struct place *place = *state;
	struct weir_options options = place_options();
	static const char *const wrong[] = { "no.such=1" };
	char error[WEIR_ERROR_SIZE], path[64];
	struct weir *weir;
	int fd;

	assert_int_equal(weir_open(place->path, &options, &weir, error), WEIR_BUSY);
	assert_non_null(strstr(error, "another weir"));
	options.memory = 16 << 20;
	options.workers = 4;
	options.setting_count = 0;
	assert_int_equal(weir_open(place->path, &options, &weir, error), WEIR_INVALID);
	assert_non_null(strstr(error, "too small"));
	options.memory = 1 << 20;
	assert_int_equal(weir_open(place->path, &options, &weir, error), WEIR_INVALID);
	assert_non_null(strstr(error, "memory"));
	options = place_options();
	options.settings = wrong;
	assert_int_equal(weir_open(place->path, &options, &weir, error), WEIR_INVALID);
	assert_non_null(strstr(error, "no.such"));
	options = place_options();
	options.must_exist = true;
	snprintf(path, sizeof(path), "%s/none", place->path);
	assert_int_equal(weir_open(path, &options, &weir, error), WEIR_NOT_FOUND);
	assert_int_not_equal(access(path, F_OK), 0);
	options = place_options();
	assert_int_equal(weir_open("/proc/none/here", &options, &weir, error), WEIR_NOT_FOUND);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	assert_int_equal(pwrite(fd, "something of somebody else's", 28, 0), 28);
	close(fd);
	assert_int_equal(weir_open(path, &options, &weir, error), WEIR_EXISTS);
	assert_null(weir);
	unlink(path);
	options.size = 3;
	assert_int_equal(weir_open(path, &options, &weir, NULL), WEIR_INVALID);
}

struct ordered {
	char last[16];
	unsigned count;
};

static bool in_order(void *context, const struct weir_entry *entry)
{
	struct ordered *ordered = context;
	char *last = ordered->last;

	assert_true(entry->key.size < sizeof(ordered->last));
	assert_true(strlen(last) == 0 || strncmp(last, entry->key.data, entry->key.size) < 0);
	memcpy(last, entry->key.data, entry->key.size);
	last[entry->key.size] = '\0';
	ordered->count++;
	return true;
}

/* Keys spread over two engines: found, scanned in order, written together, synced. */
static void storage_workers_share_the_keys(void **state)
{
	const struct weir_range all = { .space = 0 };
	struct weir_batch *batch;
	struct ordered ordered = { .count = 0 };
	struct place *place = *state;
	static const char *const settings[] = { "workers.storage=2" };
	struct weir_options options = place_options();
	uint64_t count;
	char key[16];

	weir_close(place->weir);
	place->weir = NULL;
	place_remove(place);
	place_make(place);
	options.memory = 128 << 20;
	options.settings = settings;
	place_open(place, &options);
	assert_int_equal(weir_batch_open(&batch, 200, 4096), WEIR_OK);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "%u", i);
		assert_int_equal(weir_batch_put(batch, weir_key(0, key), weir_text(key)), WEIR_OK);
	}
	assert_int_equal(weir_commit(place->weir, batch), WEIR_OK);
	weir_batch_close(batch);
	for (unsigned i = 100; i < 200; i++) {
		snprintf(key, sizeof(key), "%u", i);
		assert_int_equal(weir_put(place->weir, weir_key(0, key), weir_text(key)), WEIR_OK);
	}
	assert_int_equal(weir_sync(place->weir), WEIR_OK);
	assert_int_equal(weir_count(place->weir, 0, &count), WEIR_OK);
	assert_int_equal(count, 200);
	assert_int_equal(weir_scan(place->weir, &all, in_order, &ordered), WEIR_OK);
	assert_int_equal(ordered.count, 200);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "%u", i);
		expect(place->weir, key, key);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_set_up, place_tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_acknowledged_survives_a_kill),
		TEST(keys_come_and_go),
		TEST(arguments_are_checked),
		TEST(cas_has_one_winner),
		TEST(values_may_be_large),
		TEST(scans_are_in_order),
		TEST(batches_are_all_or_nothing),
		TEST(threads_share_a_store),
		TEST(threads_share_a_store_without_uring),
		TEST(thousands_are_under_way),
		TEST(limits_and_ends_are_told),
		TEST(closed_stores_open_again),
		TEST(what_cannot_be_opened_says_why),
		TEST(storage_workers_share_the_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
