/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/recent.h"

static void put_text(struct recent *recent, uint64_t wall_ms, const char *text)
{
	recent_put(recent, wall_ms, wall_ms * 10, bytes_of(text, strlen(text)));
}

static void test_the_last_ones_are_kept(void **state)
{
	static struct recent recent;
	struct recent_event event;
	char text[32];

	(void)state;
	assert_int_equal(recent_count(&recent), 0);
	assert_false(recent_get(&recent, 0, &event));
	for (unsigned i = 0; i < RECENT_MAX + 5; i++) {
		snprintf(text, sizeof(text), "event %u", i);
		put_text(&recent, i, text);
	}
	assert_int_equal(recent_count(&recent), RECENT_MAX + 5);
	assert_false(recent_get(&recent, 4, &event));
	assert_false(recent_get(&recent, RECENT_MAX + 5, &event));
	for (unsigned i = 5; i < RECENT_MAX + 5; i++) {
		snprintf(text, sizeof(text), "event %u", i);
		assert_true(recent_get(&recent, i, &event));
		assert_int_equal(event.wall_ms, i);
		assert_int_equal(event.duration_us, i * 10);
		assert_int_equal(event.size, strlen(text));
		assert_memory_equal(event.text, text, event.size);
	}
}

static void test_texts_are_cut_and_printable(void **state)
{
	static struct recent recent;
	struct recent_event event;
	char text[RECENT_TEXT_MAX + 100];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "a\n\x1b\xff\x7f~", 6);
	recent_put(&recent, 1, 2, bytes_of(text, sizeof(text)));
	assert_true(recent_get(&recent, 0, &event));
	assert_int_equal(event.size, RECENT_TEXT_MAX);
	assert_memory_equal(event.text, "a????~xxx", 9);
}

enum { ROUNDS = 20000 };

static void *write_all(void *arg)
{
	char text[RECENT_TEXT_MAX];

	for (unsigned i = 0; i < ROUNDS; i++) {
		memset(text, 'a' + (int)(i % 26), sizeof(text));
		recent_put(arg, i, i, bytes_of(text, sizeof(text)));
	}
	return NULL;
}

/* What is read is one event, whole, however fast others come. */
static void test_reading_beside_the_writer(void **state)
{
	static struct recent recent;
	struct recent_event event;
	uint64_t seen = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, write_all, &recent), 0);
	while (seen < ROUNDS) {
		seen = recent_count(&recent);
		if (seen == 0 || !recent_get(&recent, seen - 1, &event))
			continue;
		assert_int_equal(event.wall_ms, seen - 1);
		for (unsigned i = 0; i < RECENT_TEXT_MAX; i++)
			assert_int_equal(event.text[i], 'a' + (int)(event.wall_ms % 26));
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_last_ones_are_kept),
		cmocka_unit_test(test_texts_are_cut_and_printable),
		cmocka_unit_test(test_reading_beside_the_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
