/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/local.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "cli/server.h"

enum { DRAIN_TRIES = 3000 }; /* milliseconds */

static struct {
	struct conf conf;
	struct topology machine;
	struct server server;
	char directory[32], address[64];
} local;

static enum cli_exit configure(void)
{
	char listen[96];
	bool ok;

	snprintf(local.directory, sizeof(local.directory), "/tmp/weir.XXXXXX");
	if (mkdtemp(local.directory) == NULL) {
		cli_error("%s: %s", local.directory, strerror(errno));
		return CLI_ENVIRONMENT;
	}
	snprintf(local.address, sizeof(local.address), "unix:%s/socket", local.directory);
	snprintf(listen, sizeof(listen), "resp.listen=%s", local.address);
	conf_init(&local.conf);
	ok = conf_set(&local.conf, listen) == STATUS_OK &&
	     conf_set(&local.conf, "log.level=error") == STATUS_OK &&
	     conf_set(&local.conf, "workers.pin=no") == STATUS_OK;
	assert(ok);
	if (topology_detect(&local.machine) != STATUS_OK) {
		cli_error("this machine does not tell its processors");
		return CLI_ENVIRONMENT;
	}
	return CLI_DONE;
}

static void stop(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	if (local.server.store.recovered)
		server_drain(&local.server);
	for (unsigned i = 0; i < DRAIN_TRIES && local.server.store.recovered; i++) {
		if (server_is_drained(&local.server))
			break;
		nanosleep(&pause, NULL);
	}
	server_stop(&local.server);
	server_close(&local.server);
	rmdir(local.directory);
}

enum cli_exit local_open(const char *path, struct client_options *options)
{
	const struct server_options with = {
		.conf = &local.conf, .topology = &local.machine, .path = path, .quiet = true
	};
	enum cli_exit exit = CLI_DONE;
	sigset_t before;

	/* A command that looks is no reason to make a store. */
	if (access(path, F_OK) != 0) {
		cli_error("%s: %s", path, strerror(errno));
		return CLI_ENVIRONMENT;
	}
	exit = configure();
	if (exit != CLI_DONE)
		return exit;
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	signals_install(&local.server);
	exit = server_open(&local.server, &with);
	pthread_sigmask(SIG_SETMASK, &before,
	                NULL); /* Ctrl-C ends the command; the next recovers */
	if (exit != CLI_DONE) {
		stop();
		return exit;
	}
	options->address = local.address;
	options->password = NULL;
	return CLI_DONE;
}

void local_close(void)
{
	stop();
}
