/* SPDX-License-Identifier: Apache-2.0 */
/* What signals do. In the handlers nothing allocates, locks or uses stdio. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/server.h"

enum { FATAL_RECORDS = 64 }; /* of each worker: what fits a terminal's memory */

static const struct server *dumped;

static void write_stderr(const char *text, size_t size)
{
	(void)!write(STDERR_FILENO, text, size);
}

void signals_dump(const struct server *server, unsigned limit)
{
	for (unsigned i = 0; i < server->count; i++)
		trace_dump(&server->workers[i].trace, limit, write_stderr);
}

static void fatal(int number)
{
	static const char text[] = "weir: fatal signal; the last events of each worker:\n";

	write_stderr(text, sizeof(text) - 1);
	if (dumped != NULL)
		signals_dump(dumped, FATAL_RECORDS);
	/* SA_RESETHAND: now it does what it always did. */
	raise(number);
}

void signals_install(struct server *server)
{
	static const int fatals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction action = { .sa_handler = fatal, .sa_flags = SA_RESETHAND | SA_NODEFER };
	sigset_t taken;
	int error;

	dumped = server;
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
