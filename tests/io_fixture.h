/* SPDX-License-Identifier: Apache-2.0 */
/* A worker with one transport of the kind under test, driven by hand in the test's own thread. */
#ifndef IO_FIXTURE_H
#define IO_FIXTURE_H

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
#include "core/worker.h"
#include "transport/clock.h"
#include "transport/io.h"

static enum io_kind io_kind; /* of all tests of the running group */

struct fixture {
	struct worker worker;
	struct io *io;
};

static inline void fixture_open(struct fixture *f, const struct io_options *options)
{
	char error[IO_ERROR_SIZE];
	enum status status;

	worker_init(&f->worker, 0, ROLE_STORAGE | ROLE_NETWORK, clock_system());
	status = io_open(io_kind, &f->worker, options, &f->io, error);
	if (status != STATUS_OK)
		fail_msg("%s", error);
	worker_add_transport(&f->worker, &f->io->transport);
}

static inline void fixture_close(struct fixture *f)
{
	io_close(f->io);
}

/* A turn, and when that did nothing a sleep, of at most 50 ms. */
static inline void fixture_step(struct fixture *f)
{
	struct transport *t = &f->io->transport;
	uint64_t until_ns;

	if (worker_turn(&f->worker) > 0 || worker_has_work(&f->worker))
		return;
	until_ns = f->worker.now_ns + 50 * 1000000u;
	if (timers_next_ns(&f->worker.timers) < until_ns)
		until_ns = timers_next_ns(&f->worker.timers);
	t->ops->sleep(t, until_ns);
}

#define RUN_UNTIL(f, condition)                                                                    \
	do {                                                                                       \
		uint64_t started_ns_ = clock_system()->now_ns(clock_system());                     \
		while (!(condition)) {                                                             \
			fixture_step(f);                                                           \
			if (clock_system()->now_ns(clock_system()) - started_ns_ > 20000000000u)   \
				fail_msg("never happened: %s", #condition);                        \
		}                                                                                  \
	} while (0)

/* Some turns in which nothing more is to happen. */
static inline void fixture_idle(struct fixture *f, unsigned ms)
{
	uint64_t end_ns = clock_system()->now_ns(clock_system()) + ms * 1000000ull;

	while (clock_system()->now_ns(clock_system()) < end_ns) {
		worker_turn(&f->worker);
		usleep(1000);
	}
}

static inline bool kind_is_there(void)
{
	struct io_options options = { 0 };
	char error[IO_ERROR_SIZE];
	struct worker worker;
	struct io *io;

	worker_init(&worker, 0, 0, clock_system());
	if (io_open(io_kind, &worker, &options, &io, error) != STATUS_OK) {
		fprintf(stderr, "not tested: %s\n", error);
		return false;
	}
	io_close(io);
	return true;
}

/* Runs the tests once per kind; a machine without io_uring runs them with the other. */
static inline int run_all_kinds(const struct CMUnitTest *tests, size_t count)
{
	static const struct {
		enum io_kind kind;
		const char *name;
	} rows[] = { { IO_URING, "uring" }, { IO_PLAIN, "plain" } };
	int failed = 0;

	for (unsigned i = 0; i < array_count(rows); i++) {
		io_kind = rows[i].kind;
		if (kind_is_there())
			failed += _cmocka_run_group_tests(rows[i].name, tests, count, NULL, NULL);
	}
	return failed;
}

#endif
