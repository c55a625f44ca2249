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
	struct host host;
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

	if (local.host.store.recovered)
		host_drain(&local.host);
	for (unsigned i = 0; i < DRAIN_TRIES && local.host.store.recovered; i++) {
		if (host_is_drained(&local.host))
			break;
		nanosleep(&pause, NULL);
	}
	host_stop(&local.host);
	host_close(&local.host);
	rmdir(local.directory);
}

enum cli_exit local_open(const char *path, struct client_options *options)
{
	const struct host_options with = {
		.conf = &local.conf,
		.topology = &local.machine,
		.path = path,
		.quiet = true,
		.faces = server_faces,
		.face_count = SERVER_FACES,
		.log_write = server_write_line,
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
	signals_install(&local.host);
	exit = server_explain(&local.host, host_open(&local.host, &with));
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
