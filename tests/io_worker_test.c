/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's thread on a transport: it sleeps, is woken, and costs nothing when idle. */
#include "io_fixture.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SLOTS = 64, MESSAGES = 2000 };

static uint64_t now_ns(void)
{
	return clock_system()->now_ns(clock_system());
}

static void test_sleep_ends_at_its_deadline(void **state)
{
	static const unsigned waits_us[] = { 300, 5000, 20000 };
	struct fixture f;
	struct transport *t;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	t = &f.io->transport;
	t->ops->sleep(t, 0); /* what opening left to do, and no wait */
	worker_turn(&f.worker);
	for (unsigned i = 0; i < array_count(waits_us); i++) {
		uint64_t start_ns = now_ns(), wait_ns = waits_us[i] * 1000ull;
		unsigned sleeps = 0;

		/* One may be cut short by a signal, as the end of an earlier ring sends. */
		for (; now_ns() - start_ns < wait_ns; sleeps++)
			t->ops->sleep(t, start_ns + wait_ns);
		assert_true(sleeps >= 1 && sleeps <= 4);
		assert_true(now_ns() - start_ns < wait_ns + 2000000000u);
	}
	for (unsigned i = 0; i < 100; i++)
		t->ops->sleep(t, i % 2 == 0 ? 0 : f.worker.now_ns); /* past: no wait */
	fixture_close(&f);
}

struct waker {
	struct worker *worker;
	unsigned delay_us;
};

static void *wake_later(void *arg)
{
	struct waker *waker = arg;

	usleep(waker->delay_us);
	worker_wake(waker->worker);
	return NULL;
}

static void test_wake_from_another_thread(void **state)
{
	struct fixture f;
	struct transport *t;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	t = &f.io->transport;
	worker_turn(&f.worker);
	for (unsigned i = 0; i < 20; i++) {
		struct waker waker = { &f.worker, i * 500 };
		uint64_t start_ns = now_ns();
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, wake_later, &waker), 0);
		t->ops->sleep(t, i % 2 == 0 ? UINT64_MAX : start_ns + 10000000000u);
		assert_true(now_ns() - start_ns < 5000000000u);
		assert_int_equal(pthread_join(thread, NULL), 0);
		worker_turn(&f.worker);
	}
	/* Before the sleep: the next one returns at once. */
	worker_wake(&f.worker);
	t->ops->sleep(t, UINT64_MAX);
	fixture_close(&f);
}

struct pair {
	struct fixture ends[2];
	struct ring rings[2];
	struct req *slots[2][SLOTS];
	struct req req;
	unsigned hops;
	atomic_bool stop;
};
static struct pair pair;

static void hop(struct req *req)
{
	struct worker *here = req->worker;
	struct worker *there = &pair.ends[1 - here->id].worker;

	if (++pair.hops == MESSAGES) {
		atomic_store(&pair.stop, true);
		worker_wake(there);
		return;
	}
	worker_send(there, req, hop);
}

static void *run_worker(void *arg)
{
	worker_run(&((struct fixture *)arg)->worker, &pair.stop);
	return NULL;
}

/* Opened here, run there: the ring belongs to the thread that takes the first turn. */
static void test_two_workers_send_and_sleep(void **state)
{
	pthread_t threads[2];

	(void)state;
	memset(&pair, 0, sizeof(pair));
	for (unsigned i = 0; i < 2; i++) {
		struct fixture *f = &pair.ends[i];

		fixture_open(f, &(struct io_options){ 0 });
		f->worker.id = i;
		ring_init(&pair.rings[i], pair.slots[i], SLOTS);
	}
	worker_connect(&pair.ends[0].worker, &pair.ends[1].worker, &pair.rings[0]);
	worker_connect(&pair.ends[1].worker, &pair.ends[0].worker, &pair.rings[1]);
	req_init(&pair.req, &pair.ends[0].worker);
	worker_send(&pair.ends[0].worker, &pair.req, hop);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &pair.ends[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(pair.hops, MESSAGES);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(pair.ends[i].worker.stats.sleeps > 0);
		fixture_close(&pair.ends[i]);
	}
}

static void test_idle_costs_nothing(void **state)
{
	struct worker_stats stats;
	struct fixture *f = &pair.ends[0];
	pthread_t thread;

	(void)state;
	memset(&pair, 0, sizeof(pair));
	fixture_open(f, &(struct io_options){ 0 });
	assert_int_equal(pthread_create(&thread, NULL, run_worker, f), 0);
	usleep(300000);
	atomic_store(&pair.stop, true);
	worker_wake(&f->worker);
	assert_int_equal(pthread_join(thread, NULL), 0);
	stats = f->worker.stats;
	assert_true(stats.turns <= 4);
	assert_true(f->io->stats.enters <= 4);
	fixture_close(f);
}

/* As container engines do by default. */
static bool refuse_system_call(unsigned number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { array_count(filter), filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* 0: plain was chosen and the message says why; 1: it was not; 77: no seccomp here. */
static int open_where_refused(bool by_option)
{
	char error[IO_ERROR_SIZE];
	struct io_options options = { .refuse_uring = by_option };
	struct worker worker;
	struct io *io;
	int failed;

	if (!by_option && !refuse_system_call(SYS_io_uring_setup))
		return 77;
	worker_init(&worker, 0, 0, clock_system());
	if (io_open(IO_URING, &worker, &options, &io, error) != STATUS_DENIED)
		return 1;
	if (io_open(IO_AUTO, &worker, &options, &io, error) != STATUS_OK)
		return 1;
	failed = strcmp(io_name(io), "plain") != 0 ||
	         strstr(error, "io_uring is refused") == NULL || strstr(error, "seccomp") == NULL ||
	         strchr(error, '\n') != NULL;
	io_close(io);
	return failed;
}

static void test_plain_where_uring_is_refused(void **state)
{
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(open_where_refused(true), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(open_where_refused(false));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_probe_reports(void **state)
{
	struct io_feature features[IO_FEATURES_MAX];
	unsigned count = io_probe(features);

	(void)state;
	assert_true(count > 0 && count <= IO_FEATURES_MAX);
	for (unsigned i = 0; i < count; i++) {
		assert_true(features[i].name[0] != '\0');
		assert_true(features[i].reason[0] != '\0');
	}
}

static void test_probe_of_a_place(void **state)
{
	struct io_feature features[IO_FEATURES_MAX];
	char report[IO_ERROR_SIZE] = "";
	unsigned count = io_probe_path(".", features);

	(void)state;
	assert_true(count >= 4 && count <= IO_FEATURES_MAX);
	assert_string_equal(features[0].name, "direct I/O");
	assert_string_equal(features[count - 1].name, "durable writes");
	assert_true(io_fua_probe(".", report) <= IO_FUA_FLUSH);
	assert_non_null(strstr(report, "RWF_DSYNC"));
	count = io_probe_path("/nowhere/at/all", features);
	assert_int_equal(count, 1);
	assert_false(features[0].usable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sleep_ends_at_its_deadline),
		cmocka_unit_test(test_wake_from_another_thread),
		cmocka_unit_test(test_two_workers_send_and_sleep),
		cmocka_unit_test(test_idle_costs_nothing),
	};
	const struct CMUnitTest once[] = {
		cmocka_unit_test(test_plain_where_uring_is_refused),
		cmocka_unit_test(test_probe_reports),
		cmocka_unit_test(test_probe_of_a_place),
	};

	return run_all_kinds(tests, array_count(tests)) +
	       cmocka_run_group_tests_name("choice", once, NULL, NULL);
}
