/* SPDX-License-Identifier: Apache-2.0 */
/* Large values in pieces, through the library: more than it has memory for. */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib_place.h"

enum { PIECE = 100001, LARGE = 100 << 20 };

/* What byte `i` of a value is. */
static uint8_t byte_at(uint64_t i, unsigned seed)
{
	return (uint8_t)(i * 7 + (i >> 12) + seed);
}

static void fill(uint8_t *data, size_t size, uint64_t from, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		data[i] = byte_at(from + i, seed);
}

static void append_all(struct weir_writer *writer, uint64_t size, unsigned seed)
{
	uint8_t *data = malloc(PIECE);

	assert_non_null(data);
	for (uint64_t at = 0; at < size; at += PIECE) {
		size_t part = size - at < PIECE ? (size_t)(size - at) : PIECE;

		fill(data, part, at, seed);
		assert_int_equal(weir_writer_append(writer, (struct weir_bytes){ data, part }),
		                 WEIR_OK);
	}
	free(data);
}

static enum weir_status write_large(struct weir *weir, const char *key, uint64_t size,
                                    unsigned seed, struct weir_terms *terms)
{
	struct weir_writer *writer;

	assert_int_equal(weir_writer_open(weir, weir_key(0, key), &writer), WEIR_OK);
	append_all(writer, size, seed);
	return weir_writer_commit(writer, terms);
}

static void expect_rest(struct weir_reader *reader, uint64_t from, unsigned seed)
{
	uint8_t *data = malloc(PIECE), *wanted = malloc(PIECE);
	size_t size = 1;

	assert_true(data != NULL && wanted != NULL);
	for (uint64_t at = from; size > 0; at += size) {
		uint64_t left = weir_reader_size(reader) - at;

		assert_int_equal(weir_reader_read(reader, at, data, PIECE, &size), WEIR_OK);
		assert_int_equal(size, left < PIECE ? left : PIECE);
		fill(wanted, size, at, seed);
		assert_memory_equal(data, wanted, size);
	}
	free(data);
	free(wanted);
}

static void expect_bytes(struct weir *weir, const char *key, uint64_t size, unsigned seed)
{
	struct weir_reader *reader;

	assert_int_equal(weir_reader_open(weir, weir_key(0, key), &reader), WEIR_OK);
	assert_int_equal(weir_reader_size(reader), size);
	expect_rest(reader, 0, seed);
	weir_reader_close(reader);
}

static void values_of_all_sizes(void **state)
{
	static const uint64_t sizes[] = { 0,      1,      4096,    32768,   32769,  262144,
		                          262145, 524288, 1000000, 5000000, 8388608 };
	struct weir *weir = ((struct place *)*state)->weir;
	struct weir_value value = { .data = NULL };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct weir_terms terms = { .flags = 0 };
		struct weir_reader *reader;

		assert_int_equal(write_large(weir, "k", sizes[i], i, &terms), WEIR_OK);
		assert_true(terms.version > 0);
		expect_bytes(weir, "k", sizes[i], i);
		assert_int_equal(weir_reader_open(weir, weir_key(0, "k"), &reader), WEIR_OK);
		assert_int_equal(weir_reader_version(reader), terms.version);
		expect_rest(reader, sizes[i] / 3, i);
		weir_reader_close(reader);
	}
	assert_int_equal(weir_get(weir, weir_key(0, "k"), &value), WEIR_OK);
	assert_int_equal(value.size, 8388608);
	free(value.data);
}

/* The store of a place has 64 MiB of memory. */
static void more_than_memory(void **state)
{
	struct place *place = *state;

	assert_int_equal(write_large(place->weir, "k", LARGE, 3, NULL), WEIR_OK);
	expect_bytes(place->weir, "k", LARGE, 3);
	weir_close(place->weir);
	place_open(place, NULL);
	expect_bytes(place->weir, "k", LARGE, 3);
}

static void readers_keep_what_they_opened(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	struct weir_reader *reader;
	bool was_there;

	assert_int_equal(weir_reader_open(weir, weir_key(0, "k"), &reader), WEIR_NOT_FOUND);
	assert_null(reader);
	assert_int_equal(write_large(weir, "k", 3000000, 1, NULL), WEIR_OK);
	assert_int_equal(weir_reader_open(weir, weir_key(0, "k"), &reader), WEIR_OK);
	assert_int_equal(write_large(weir, "k", 2000000, 2, NULL), WEIR_OK);
	expect_rest(reader, 1000, 1);
	assert_int_equal(weir_delete(weir, weir_key(0, "k"), &was_there), WEIR_OK);
	expect_rest(reader, 0, 1);
	weir_reader_close(reader);
}

static void writers_end_once(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	struct weir_terms terms = { .flags = WEIR_IF_VERSION };
	struct weir_writer *writer;
	uint64_t first;

	/* Nobody sees it before it is committed, or after it was given up. */
	assert_int_equal(weir_writer_open(weir, weir_key(0, "k"), &writer), WEIR_OK);
	append_all(writer, 3000000, 1);
	weir_writer_abort(writer);
	assert_int_equal(write_large(weir, "k", 1000000, 1, &terms), WEIR_OK);
	first = terms.version;
	terms.version = 0;
	assert_int_equal(write_large(weir, "k", 1000000, 2, &terms), WEIR_CONFLICT);
	assert_int_equal(terms.version, first);
	expect_bytes(weir, "k", 1000000, 1);
	assert_int_equal(write_large(weir, "k", 10, 2, &terms), WEIR_OK);
	assert_true(terms.version > first);
	expect_bytes(weir, "k", 10, 2);
	assert_int_equal(weir_writer_open(weir, weir_key(0, ""), &writer), WEIR_INVALID);
	assert_null(writer);
	weir_writer_abort(NULL);
	weir_reader_close(NULL);
}

static void done(struct weir_request *request)
{
	sem_post(request->context);
}

static enum weir_status run(struct weir *weir, struct weir_request *request)
{
	sem_t ended;

	sem_init(&ended, 0, 0);
	request->done = done;
	request->context = &ended;
	if (weir_submit(weir, request) != WEIR_OK)
		return WEIR_INVALID;
	sem_wait(&ended);
	sem_destroy(&ended);
	return request->status;
}

/* What readers and writers are made of; a handle that is none is refused. */
static void requests_have_handles(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	static uint8_t piece[8192], room[10000];
	struct weir_request r = { .op = WEIR_APPEND, .key = weir_key(0, "k") };

	fill(piece, sizeof(piece), 0, 5);
	r.value = (struct weir_bytes){ piece, sizeof(piece) };
	assert_int_equal(run(weir, &r), WEIR_OK);
	assert_true(r.handle != 0);
	r.value.size = 100;
	assert_int_equal(run(weir, &r), WEIR_OK);
	assert_int_equal(run(weir, &r), WEIR_INVALID); /* behind the last piece */
	r.op = WEIR_READ;                              /* what is there so far */
	r.out = room;
	r.out_max = sizeof(room);
	r.offset = 8000;
	assert_int_equal(run(weir, &r), WEIR_OK);
	assert_int_equal(r.out_size, 292);
	assert_memory_equal(room, piece + 8000, 192);
	r.op = WEIR_PUT;
	r.flags = WEIR_FROM_HANDLE;
	assert_int_equal(run(weir, &r), WEIR_OK);
	assert_int_equal(run(weir, &r), WEIR_INVALID); /* it was taken */
	r.op = WEIR_READ;
	assert_int_equal(run(weir, &r), WEIR_INVALID);
	r.handle = 0x123456789abcdef;
	assert_int_equal(run(weir, &r), WEIR_INVALID);
	r.op = WEIR_DROP;
	assert_int_equal(run(weir, &r), WEIR_OK);
	r.op = WEIR_OPEN;
	assert_int_equal(run(weir, &r), WEIR_OK);
	assert_int_equal(r.out_size, 8292);
	r.op = WEIR_APPEND;
	assert_int_equal(run(weir, &r), WEIR_INVALID); /* a value does not change */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_set_up, place_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(values_of_all_sizes),           TEST(more_than_memory),
		TEST(readers_keep_what_they_opened), TEST(writers_end_once),
		TEST(requests_have_handles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
