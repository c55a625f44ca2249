/* SPDX-License-Identifier: Apache-2.0 */
/* The store on a device in memory: commands, restarts, crashes, cleaning, a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store_fixture.h"

enum { KEYS = 2000, VALUE_MAX = 3000 };

/* What each key should hold: 0: absent, else a number that makes its value. */
static uint32_t model[KEYS];

static uint64_t random_state = 12345;

static uint32_t chance(uint32_t below)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % below;
}

static struct bytes make_key(uint32_t i, char *memory)
{
	int size = snprintf(memory, 40, "%ckey:%010u", KV_SPACE_APP, i);

	return bytes_of(memory, (size_t)size);
}

static struct bytes make_value(uint32_t number, uint8_t *memory)
{
	size_t size = number % 7 == 0 ? number % VALUE_MAX : number % 100;

	for (size_t i = 0; i < size; i++)
		memory[i] = (uint8_t)(number * 31 + i);
	return bytes_of(memory, size);
}

static void check_all(struct store_fixture *f)
{
	uint8_t expected[VALUE_MAX], got[VALUE_MAX];
	char key[40];

	for (uint32_t i = 0; i < KEYS; i++) {
		struct bytes value;
		uint64_t size;

		assert_int_equal(store_get(f, make_key(i, key), got, sizeof(got), &size), STATUS_OK);
		if (getenv("TRACE") && (size == UINT64_MAX) != (model[i] == 0))
			printf("key %u model %u size %lu\n", i, model[i], size);
		if (model[i] == 0) {
			assert_true(size == UINT64_MAX);
			continue;
		}
		value = make_value(model[i], expected);
		assert_int_equal(size, value.size);
		assert_memory_equal(got, value.data, size);
	}
}

static void change(struct store_fixture *f, unsigned count)
{
	uint8_t memory[VALUE_MAX];
	char key[40];

	for (unsigned n = 0; n < count; n++) {
		uint32_t i = chance(KEYS);

		if (chance(5) == 0) {
			bool was;

			assert_int_equal(store_delete(f, make_key(i, key), &was), STATUS_OK);
			assert_int_equal(was, model[i] != 0);
			model[i] = 0;
		} else {
			model[i] = chance(1u << 30) + 1;
			assert_int_equal(store_put(f, make_key(i, key),
			                           make_value(model[i], memory)),
			                 STATUS_OK);
		}
	}
}

static void test_restarts(void **state)
{
	struct store_fixture f;

	(void)state;
	memset(model, 0, sizeof(model));
	store_fixture_init(&f, 64 << 20);
	for (unsigned round = 0; round < 12; round++) {
		enum status status = store_fixture_open(&f);

		if (status != STATUS_OK)
			print_error("%s\n", f.store->error);
		if (getenv("TRACE"))
			printf("round %u: clean %d frames %lu records %lu run %u\n", round, f.store->recovered.clean, f.store->recovered.frames, f.store->recovered.records, f.store->super.run);
		assert_int_equal(status, STATUS_OK);
		check_all(&f);
		if (getenv("TRACE"))
			printf("changing\n");
		change(&f, 300 + chance(3000));
		check_all(&f);
		store_fixture_close(&f, /* crash= */ chance(3) != 0);
	}
	store_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
