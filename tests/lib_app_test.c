/* SPDX-License-Identifier: Apache-2.0 */
/* Application workers of the library: handlers, their state and order, limits, ends. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib_place.h"

enum { MESSAGES = 1000, KEYS = 10, APPEND = 1, READ = 2 };

/* Of each instance: one message of a key at a time is read, changed and written. */
struct counter {
	unsigned handled;
	unsigned sums[KEYS]; /* what was written last, by key */
};

static void answer(struct weir_request *request)
{
	struct weir_message *message = request->context;

	message->out_size = request->out_size;
	weir_reply(message, request->status);
}

static void count_up(struct weir_worker *worker, void *memory, struct weir_message *message)
{
	struct counter *counter = memory;
	unsigned number = (unsigned)((const char *)message->key.data)[0] - '0';
	const struct weir_key key = { message->key.data, message->key.size, 5 };
	struct weir_value room = { .data = message->out, .size_max = message->out_max };
	enum weir_status status;

	assert_true(weir_worker_index(worker) < 64);
	counter->handled++;
	if (message->type == READ) {
		status = weir_worker_get(worker, &message->request, key, room, answer);
	} else {
		counter->sums[number]++;
		message->result = counter->sums[number];
		status = weir_worker_put(worker, &message->request, key,
		                         (struct weir_bytes){ &message->result, sizeof(unsigned) },
		                         answer);
	}
	if (status != WEIR_OK)
		weir_reply(message, status);
}

struct mail {
	struct weir_message message;
	atomic_uint *left;
	sem_t *ended;
	unsigned expected;
	bool right;
};

static void replied(struct weir_message *message)
{
	struct mail *mail = message->context;

	mail->right = message->status == WEIR_OK && message->result == mail->expected;
	if (atomic_fetch_sub(mail->left, 1) == 1)
		sem_post(mail->ended);
}

static void handlers_keep_state_and_order(void **state)
{
	struct weir *weir = ((struct place *)*state)->weir;
	const struct weir_app_options options = { .handler = count_up,
		                                  .state_size = sizeof(struct counter),
		                                  .count = 3 };
	static const char *const keys[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };
	struct mail *mails = calloc(MESSAGES, sizeof(*mails));
	atomic_uint left = MESSAGES;
	unsigned handled = 0, sum = 0;
	struct weir_app *app;
	sem_t ended;

	sem_init(&ended, 0, 0);
	assert_int_equal(weir_app_start(weir, &options, &app), WEIR_OK);
	assert_int_equal(weir_app_count(app), 3);
	for (unsigned i = 0; i < MESSAGES; i++) {
		mails[i].message.type = APPEND;
		mails[i].message.key = weir_key(0, keys[i % KEYS]);
		mails[i].message.done = replied;
		mails[i].message.context = &mails[i];
		mails[i].left = &left;
		mails[i].ended = &ended;
		mails[i].expected =
		        i / KEYS + 1; /* of one key they come in the order they were sent */
		assert_int_equal(weir_send(app, &mails[i].message), WEIR_OK);
		assert_true(i == 0 || mails[i].message.id > mails[i - 1].message.id);
	}
	sem_wait(&ended);
	for (unsigned i = 0; i < MESSAGES; i++)
		assert_true(mails[i].right);
	for (unsigned i = 0; i < KEYS; i++) {
		struct weir_message *message = &mails[i].message;

		message->type = READ;
		message->out = &sum;
		message->out_max = sizeof(sum);
		assert_int_equal(weir_call(app, message), WEIR_OK);
		assert_int_equal(message->out_size, sizeof(sum));
		assert_int_equal(sum, MESSAGES / KEYS);
	}
	for (unsigned i = 0; i < 3; i++)
		handled += ((struct counter *)weir_app_state(app, i))->handled;
	assert_int_equal(handled, MESSAGES + KEYS);
	assert_int_equal(weir_send_to(app, 3, &mails[0].message), WEIR_INVALID);
	weir_app_stop(app);
	sem_destroy(&ended);
	free(mails);
}

static atomic_bool released;

/* Reads again and again, and never blocks, until it is released. */
static void look_again(struct weir_request *request)
{
	struct weir_message *message = request->context;
	struct weir_worker *worker = weir_request_worker(request);
	const struct weir_value room = { .data = NULL };

	if (released || request->status != WEIR_NOT_FOUND)
		weir_reply(message, request->status);
	else if (weir_worker_get(worker, request, weir_key(0, "absent"), room, look_again) !=
	         WEIR_OK)
		weir_reply(message, WEIR_IO);
}

static void keep(struct weir_worker *worker, void *memory, struct weir_message *message)
{
	const struct weir_value room = { .data = NULL };

	(void)memory;
	assert_int_equal(
	        weir_worker_get(worker, &message->request, weir_key(0, "absent"), room, look_again),
	        WEIR_OK);
}

static void *release_soon(void *arg)
{
	(void)arg;
	usleep(20000);
	released = true;
	return NULL;
}

/* And the end waits for what handlers still do. */
static void inboxes_are_bounded(void **state)
{
	struct place *place = *state;
	const struct weir_app_options options = { .handler = keep, .count = 1, .inbox_max = 2 };
	static struct mail mails[3];
	atomic_uint left = 2;
	struct weir_app *app;
	pthread_t thread;
	sem_t ended;

	released = false;
	sem_init(&ended, 0, 0);
	assert_int_equal(weir_app_start(place->weir, &options, &app), WEIR_OK);
	for (unsigned i = 0; i < 3; i++) {
		mails[i] = (struct mail){ .left = &left, .ended = &ended };
		mails[i].message.done = replied;
		mails[i].message.context = &mails[i];
		assert_int_equal(weir_send(app, &mails[i].message), i < 2 ? WEIR_OK : WEIR_BUSY);
	}
	assert_int_equal(weir_call(app, &mails[2].message), WEIR_BUSY);
	assert_int_equal(pthread_create(&thread, NULL, release_soon, NULL), 0);
	weir_stop(place->weir);
	assert_int_equal(left, 0);
	assert_int_equal(mails[0].message.status, WEIR_NOT_FOUND);
	assert_int_equal(mails[1].message.status, WEIR_NOT_FOUND);
	assert_int_equal(weir_send(app, &mails[2].message), WEIR_CLOSED);
	pthread_join(thread, NULL);
	weir_app_stop(app);
	sem_destroy(&ended);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_set_up, place_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(handlers_keep_state_and_order),
		TEST(inboxes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
