/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole store in real threads on a real file, and the Nth call that fails: of those that take
 * memory when it is opened, and of all that its transport does. FAULT_STRIDE=1 in the environment
 * tries every N; by default there are some of each kind.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "core/buf.h"
#include "fault.h"
#include "kv_mem.h"
#include "lib_place.h"
#include "server/resp_server.h"
#include "transport/clock.h"
#include "transport/io.h"

enum {
	POINTS = 4, /* of a sweep, by default */
	KEYS = 12,
	VALUE_MAX = 120000, /* the largest are blobs */
};

static const char *kind; /* of the transport */

/* What a key must hold: any of the generations from the one acknowledged to the one tried last. */
struct history {
	unsigned acked[KEYS], tried[KEYS];
};

static struct weir_options options_for(void)
{
	static const char *settings[4];
	struct weir_options options = place_options();

	settings[0] = "workers.count=2";
	settings[1] = kind;
	settings[2] = "storage.partitions=4";
	settings[3] = "storage.segment_size=1M";
	options.settings = settings;
	options.setting_count = array_count(settings);
	options.store_size = 64 << 20;
	options.pin = false;
	return options;
}

static enum weir_status open_place(struct place *place, char error[WEIR_ERROR_SIZE])
{
	struct weir_options options = options_for();
	enum weir_status status = weir_open(place->path, &options, &place->weir, error);

	assert_int_equal(status == WEIR_OK, place->weir != NULL);
	assert_int_equal(status == WEIR_OK, error[0] == '\0'); /* it says why */
	return status;
}

static void close_place(struct place *place)
{
	weir_close(place->weir);
	place->weir = NULL;
}

static size_t size_of(unsigned key, unsigned generation)
{
	return key % 6 == 5 ? VALUE_MAX - generation : 100 + 700 * key + generation;
}

static uint8_t byte_of(unsigned key, unsigned generation, size_t at)
{
	return (uint8_t)(generation + 31 * key + at * 7 + at / 251);
}

static struct weir_key key_of(unsigned key, char room[8])
{
	snprintf(room, 8, "key%u", key);
	return weir_key(0, room);
}

static void put(struct weir *weir, struct history *h, unsigned key)
{
	static uint8_t value[VALUE_MAX];
	unsigned generation = ++h->tried[key];
	size_t size = size_of(key, generation);
	char room[8];

	for (size_t i = 0; i < size; i++)
		value[i] = byte_of(key, generation, i);
	if (weir_put(weir, key_of(key, room), (struct weir_bytes){ value, size }) == WEIR_OK)
		h->acked[key] = generation;
}

/* The generation that the key has, or 0: absent. Other bytes than were written fail the test. */
static unsigned generation_of(unsigned key, const uint8_t *data, size_t size, unsigned last)
{
	for (unsigned generation = last; generation > 0; generation--) {
		size_t i = 0;

		if (size != size_of(key, generation))
			continue;
		while (i < size && data[i] == byte_of(key, generation, i))
			i++;
		if (i == size)
			return generation;
	}
	fail_msg("key%u holds %zu bytes that nobody wrote", key, size);
	return 0;
}

/* `all`: whatever is acknowledged is there; else a read may fail. */
static void look(struct weir *weir, const struct history *h, bool all)
{
	static uint8_t room[VALUE_MAX];

	for (unsigned key = 0; key < KEYS; key++) {
		struct weir_value value = { .data = room, .size_max = sizeof(room) };
		char name[8];
		enum weir_status status = weir_get(weir, key_of(key, name), &value);
		unsigned generation = 0;

		if (status == WEIR_OK)
			generation = generation_of(key, room, value.size, h->tried[key]);
		else if (status != WEIR_NOT_FOUND && !all)
			continue;
		else
			assert_int_equal(status, WEIR_NOT_FOUND);
		if (generation < h->acked[key])
			fail_msg("key%u: generation %u was acknowledged, %u is there", key,
			         h->acked[key], generation);
	}
}

static void work(struct weir *weir, struct history *h)
{
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned key = 0; key < KEYS; key++)
			put(weir, h, key);
		look(weir, h, false);
	}
}

/* One life with a fault. Returns how many calls of its kind there were. */
static uint64_t live(struct place *place, struct history *h, const struct fault *fault)
{
	char error[WEIR_ERROR_SIZE];
	uint64_t calls;

	if (getenv("FAULT_TRACE") != NULL)
		fprintf(stderr, "kind %d, skip %u, count %u, result %d\n", fault->kind, fault->skip,
		        fault->count, fault->result);
	fault_arm(fault);
	if (open_place(place, error) == WEIR_OK) {
		work(place->weir, h);
		close_place(place);
	}
	calls = fault_calls(fault->kind);
	fault_disarm();
	/* What it has left opens, and holds all that it should. */
	if (open_place(place, error) != WEIR_OK)
		fail_msg("call %u of kind %d fails, and then: %s", fault->skip, fault->kind, error);
	look(place->weir, h, true);
	close_place(place);
	return calls;
}

static unsigned stride_of(uint64_t calls)
{
	const char *given = getenv("FAULT_STRIDE");
	unsigned stride = given != NULL ? (unsigned)strtoul(given, NULL, 10) : 0;

	if (stride == 0)
		stride = (unsigned)(calls / POINTS) + 1;
	return stride;
}

/* All of one kind; returns how many points there were. */
static unsigned sweep(struct place *place, struct history *h, struct fault fault)
{
	struct fault none = { .kind = fault.kind, .skip = UINT32_MAX };
	uint64_t calls = live(place, h, &none);
	unsigned points = 0, stride = stride_of(calls);

	for (fault.skip = 0; fault.skip < calls; fault.skip += stride, points++)
		live(place, h, &fault);
	printf("%s: kind %d, result %d, %s: %u of %lu calls failed\n", kind, fault.kind,
	       fault.result,
	       fault.count == 1            ? "once"
	       : fault.count == UINT32_MAX ? "for ever"
	                                   : "some times",
	       points, calls);
	return points;
}

static bool is_uring(void)
{
	return strstr(kind, "uring") != NULL;
}

/* With uring, or else not at all: then it is another test's. */
static void sweep_all(const struct fault *faults, unsigned count, bool uring_only)
{
	struct history h = { .acked = { 0 } };
	struct place place;

	if (uring_only && !is_uring())
		return;
	place_make(&place);
	for (unsigned i = 0; i < count; i++)
		assert_true(sweep(&place, &h, faults[i]) >= POINTS / 2);
	place_remove(&place);
}

/* The kernel or the device says no. */
static void test_errors(void **state)
{
	static const struct fault faults[] = {
		{ .kind = FAULT_STEP, .count = 1, .result = -EIO },
		{ .kind = FAULT_STEP, .count = UINT32_MAX, .result = -EIO },
		{ .kind = FAULT_STEP, .count = 1, .result = -ENOSPC },
		{ .kind = FAULT_STEP, .count = UINT32_MAX, .result = -ENOSPC },
		{ .kind = FAULT_STEP, .count = UINT32_MAX, .result = -EAGAIN },
		{ .kind = FAULT_STEP, .count = 1, .result = -ECANCELED },
		{ .kind = FAULT_FUA, .count = 1, .result = -EIO },
		{ .kind = FAULT_FUA, .count = UINT32_MAX, .result = -EIO },
	};

	(void)state;
	sweep_all(faults, array_count(faults), false);
}

/* It says: once more, or the rest, later. Nobody notices. */
static void test_retries(void **state)
{
	static const struct fault faults[] = {
		{ .kind = FAULT_STEP, .count = 1, .result = -EAGAIN },
		{ .kind = FAULT_STEP, .count = 8, .result = -EINTR },
		{ .kind = FAULT_SHORT, .count = 1 },
		{ .kind = FAULT_SHORT, .count = UINT32_MAX },
		{ .kind = FAULT_ENTER, .count = 1, .result = -EAGAIN },
		{ .kind = FAULT_ENTER, .count = 3, .result = -EBUSY },
	};
	struct history h = { .acked = { 0 } };
	struct place place;

	(void)state;
	place_make(&place);
	for (unsigned i = 0; i < array_count(faults); i++) {
		if (faults[i].kind >= FAULT_ENTER && !is_uring())
			continue;
		sweep(&place, &h, faults[i]);
		for (unsigned key = 0; key < KEYS; key++)
			assert_int_equal(h.acked[key], h.tried[key]);
	}
	place_remove(&place);
}

/*
 * Memory that is refused: the open says so and takes nothing with it, or does without. `fresh`: of
 * a store that is made, again and again.
 */
static void refuse_memory(struct place *place, struct history *h, bool fresh)
{
	char error[WEIR_ERROR_SIZE];
	struct fault fault = { .kind = FAULT_MEMORY, .skip = UINT32_MAX, .count = 1 };
	uint64_t mapped = fault_mapped(), calls;
	unsigned points = 0, refused = 0, stride;

	fault_arm(&fault);
	assert_int_equal(open_place(place, error), WEIR_OK);
	calls = fault_calls(FAULT_MEMORY);
	work(place->weir, h);
	close_place(place);
	fault_disarm();
	assert_int_equal(fault_mapped(), mapped);
	assert_true(calls > 30);
	stride = stride_of(calls);
	for (fault.skip = 0; fault.skip < calls; fault.skip += stride, points++) {
		if (fresh) {
			place_remove(place);
			place_make(place);
			memset(h, 0, sizeof(*h));
		}
		fault_arm(&fault);
		if (open_place(place, error) == WEIR_OK)
			close_place(place);
		else
			refused++;
		fault_disarm();
		assert_int_equal(fault_mapped(), mapped);
		if (fault_has_leaked())
			fail_msg("the %u. call fails, and memory is lost", fault.skip);
		if (open_place(place, error) != WEIR_OK)
			fail_msg("after the %u. call has failed: %s", fault.skip, error);
		look(place->weir, h, true);
		close_place(place);
	}
	printf("%s, %s: %u of %lu calls failed, %u opens with them\n", kind,
	       fresh ? "made" : "opened", points, calls, refused);
	assert_true(refused > points / 2);
}

static void test_memory(void **state)
{
	struct history h = { .acked = { 0 } };
	struct place place;

	(void)state;
	place_make(&place);
	refuse_memory(&place, &h, false);
	refuse_memory(&place, &h, true);
	place_remove(&place);
}

/* The RESP face, of which every worker has one: all of its calls, each alone. */
static void test_face_memory(void **state)
{
	struct kv_mem *mem = kv_mem_open(&(struct kv_mem_options){ .seed = 1 });
	struct fault fault = { .kind = FAULT_MEMORY, .count = 1 };
	uint64_t mapped, hits;
	struct worker worker;
	struct bufs bufs;
	struct kv *kv;

	(void)state;
	worker_init(&worker, 0, ROLE_NETWORK, clock_system());
	assert_int_equal(bufs_open(&bufs, 4 << 20, 0), STATUS_OK);
	kv = kv_mem_attach(mem, &worker);
	mapped = fault_mapped();
	do {
		struct resp_server_options options = {
			.worker = &worker, .kv = kv, .bufs = &bufs, .connections_max = 4
		};
		struct resp_server *server = calloc(1, sizeof(*server));
		enum status status;

		assert_non_null(server);
		fault_arm(&fault);
		status = resp_server_open(server, &options);
		hits = fault_hits();
		fault_disarm();
		assert_int_equal(status, hits > 0 ? STATUS_NO_SPACE : STATUS_OK);
		if (status == STATUS_OK)
			resp_server_close(server);
		free(server);
		assert_int_equal(fault_mapped(), mapped);
		if (fault_has_leaked())
			fail_msg("the %u. call fails, and memory is lost", fault.skip);
		fault.skip++;
	} while (hits > 0);
	assert_true(fault.skip > 5);
	printf("all of %u calls failed\n", fault.skip - 1);
	kv->ops->close(kv);
	kv_mem_close(mem);
	bufs_close(&bufs);
}

static bool has_uring(void)
{
	struct io_feature features[IO_FEATURES_MAX];
	unsigned count = io_probe(features);

	for (unsigned i = 0; i < count; i++) {
		if (strcmp(features[i].name, "io_uring") == 0)
			return features[i].usable;
	}
	return false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_retries),
	};
	const struct CMUnitTest face_tests[] = { cmocka_unit_test(test_face_memory) };
	int failed;

	kind = "transport.kind=plain";
	failed = cmocka_run_group_tests_name("faces", face_tests, NULL, NULL);
	failed += cmocka_run_group_tests_name("plain", tests, NULL, NULL);
	kind = "transport.kind=uring";
	if (has_uring())
		failed += cmocka_run_group_tests_name("uring", tests, NULL, NULL);
	return failed;
}
