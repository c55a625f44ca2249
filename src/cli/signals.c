/* SPDX-License-Identifier: Apache-2.0 */
/* What signals do. In the handlers nothing allocates, locks or uses stdio. */
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/server.h"
#include "cli/symbols.h"

enum {
	FATAL_RECORDS = 64, /* of each worker: what fits a terminal's memory */
	FRAMES_MAX = 48,
};

static const struct host *dumped;

static void write_stderr(const char *text, size_t size)
{
	(void)!write(STDERR_FILENO, text, size);
}

void signals_dump(const struct host *host, unsigned limit)
{
	for (unsigned i = 0; i < host->count; i++)
		trace_dump(&host->workers[i].trace, limit, write_stderr);
}

static void write_text(const char *text)
{
	write_stderr(text, strlen(text));
}

/* Who called whom, the newest first. Names only: addresses differ from run to run. */
static void write_backtrace(void)
{
	void *frames[FRAMES_MAX];
	int count = backtrace(frames, FRAMES_MAX);
	char name[128];

	for (int i = 0; i < count; i++) {
		/* A return address may be the next function's first: one before is the call. */
		if (symbols_name((uintptr_t)frames[i] - 1, name, sizeof(name)) == 0)
			continue;
		write_text("  in ");
		write_text(name);
		write_text("\n");
	}
}

static void fatal(int number)
{
	write_text("weir: fatal signal; this thread was\n");
	write_backtrace();
	write_text("and the last events of each worker:\n");
	if (dumped != NULL)
		signals_dump(dumped, FATAL_RECORDS);
	/* SA_RESETHAND: now it does what it always did. */
	raise(number);
}

void signals_install(struct host *host)
{
	static const int fatals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction action = { .sa_handler = fatal, .sa_flags = SA_RESETHAND | SA_NODEFER };
	sigset_t taken;
	void *warm[1];
	int error;

	dumped = host;
	symbols_open();
	backtrace(warm, 1); /* the first call loads a library: not in a handler */
	for (size_t i = 0; i < array_count(fatals); i++)
		sigaction(fatals[i], &action, NULL);
	action = (struct sigaction){ .sa_handler = SIG_IGN };
	sigaction(SIGPIPE, &action, NULL);
	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGUSR1);
	sigaddset(&taken, SIGHUP);
	error = pthread_sigmask(SIG_BLOCK, &taken, NULL);
	assert(error == 0);
}
