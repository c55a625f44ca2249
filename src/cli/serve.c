/* SPDX-License-Identifier: Apache-2.0 */
/* weir serve: the command line of a server, and its main thread. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "cli/server.h"
#include "transport/clock.h"

enum { KEY_HELP_CONFIG = 256, KEY_INSECURE, KEY_SALVAGE };

enum { WAIT_MS = 100, LOOK_EVERY = 10 };
#define KILL_WAIT_NS 5000000000ull

const struct face *const server_faces[SERVER_FACES] = { &face_exports, &face_resp, &face_http,
	                                                &face_s3,      &face_nbd,  &face_nvme };

bool server_nvme_is_on(const struct host *host)
{
	if (!host_listens(host, CONF_NVME_LISTEN, CONF_NVME_LISTEN))
		return false;
	for (unsigned i = 0; i < host->stack_count; i++) {
		if (host->stacks[i].conf->exported)
			return true;
	}
	return conf_is_set(host->conf, CONF_NVME_LISTEN);
}

uint64_t server_memory(const struct host *host, enum conf_id listen)
{
	static const struct {
		enum conf_id listen, tls_listen;
		unsigned weight;
	} faces[] = { { CONF_RESP_LISTEN, CONF_RESP_TLS_LISTEN, 6 },
		      { CONF_HTTP_LISTEN, CONF_HTTP_TLS_LISTEN, 2 },
		      { CONF_S3_LISTEN, CONF_S3_TLS_LISTEN, 4 },
		      { CONF_NBD_LISTEN, CONF_NBD_LISTEN, 1 }, /* no TLS, as the next one */
		      { CONF_NVME_LISTEN, CONF_NVME_LISTEN, 2 } };
	unsigned own = 0, all = 0;
	bool objects = false; /* a quarter is theirs: host_objects.c */

	for (unsigned i = 0; i < array_count(faces); i++) {
		if (!host_listens(host, faces[i].listen, faces[i].tls_listen) ||
		    (faces[i].listen == CONF_NVME_LISTEN && !server_nvme_is_on(host)))
			continue;
		all += faces[i].weight;
		objects |= faces[i].listen == CONF_HTTP_LISTEN || faces[i].listen == CONF_S3_LISTEN;
		own += faces[i].listen == listen ? faces[i].weight : 0;
	}
	assert(own > 0); /* else: a face that is off was opened */
	return host->parts.connections / 4 * (objects ? 3 : 4) / all * own;
}

struct serve {
	struct cli_conf conf;
	const char *path;
	bool insecure, salvage, help_config;
};

static const struct argp_option options[] = {
	{ "help-config", KEY_HELP_CONFIG, NULL, 0,
	  "List all settings with type, unit, default and meaning", 0 },
	{ "salvage", KEY_SALVAGE, NULL, 0,
	  "Open a store that is damaged, without what the damage took", 0 },
	{ "insecure-i-know", KEY_INSECURE, NULL, 0,
	  "Listen beyond this machine although nobody is asked for a password", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct serve *serve = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &serve->conf;
		return 0;
	case KEY_HELP_CONFIG:
		serve->help_config = true;
		return 0;
	case KEY_SALVAGE:
		serve->salvage = true;
		return 0;
	case KEY_INSECURE:
		serve->insecure = true;
		return 0;
	default:
		return cli_take_word(key, arg, state, &serve->path, "directory or device");
	}
}

void server_write_line(const char *line, size_t size)
{
	fwrite(line, 1, size, stderr);
}

enum cli_exit server_explain(const struct host *host, enum status status)
{
	if (status == STATUS_OK)
		return CLI_DONE;
	cli_error("%s", host->error);
	switch (status) {
	case STATUS_INVALID:
		return CLI_USAGE;
	case STATUS_CORRUPT:
	case STATUS_UNSUPPORTED:
		return CLI_STORE;
	default:
		return CLI_ENVIRONMENT;
	}
}

/* A descriptor per connection; what the hard limit gives is what there is. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* The next signal of those that signals_install() blocks; 0: none came in time. */
static int wait_signal(unsigned timeout_ms, pid_t *sender)
{
	const struct timespec timeout = { .tv_nsec = (long)timeout_ms * 1000000 };
	siginfo_t info;
	sigset_t taken;
	int number;

	assert(timeout_ms < 1000);
	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGUSR1);
	sigaddset(&taken, SIGHUP);
	number = sigtimedwait(&taken, &info, &timeout);
	if (number < 0)
		return 0;
	*sender = info.si_pid; /* 0: the terminal */
	return number;
}

/* The main thread's life: prints what workers log, until somebody wants the end. */
static void wait_for_the_end(struct host *host)
{
	pid_t sender = 0;

	for (unsigned i = 0;; i++) {
		if (i % LOOK_EVERY == 0)
			host_look(host);
		switch (wait_signal(WAIT_MS, &sender)) {
		case SIGTERM:
		case SIGINT:
			host_log(host, LOG_INFO,
			         "draining, sender=%d: a second signal stops at once", sender);
			return;
		case SIGUSR1:
			signals_dump(host, UINT32_MAX);
			break;
		case SIGHUP: /* a terminal that closes does not stop a server */
			host_tls_reload(host);
			break;
		default:
			host_drain_logs(host);
			break;
		}
	}
}

/* False: it is not drained by then, or somebody is in a hurry. */
static bool wait_drained(struct host *host, uint64_t wait_ns)
{
	struct clock *clock = clock_system();
	uint64_t until_ns = clock->now_ns(clock) + wait_ns;

	while (!host_is_drained(host) && clock->now_ns(clock) < until_ns) {
		pid_t sender;
		int number = wait_signal(10, &sender);

		host_drain_logs(host);
		if (number == SIGTERM || number == SIGINT)
			break;
	}
	return host_is_drained(host);
}

static void drain(struct host *host)
{
	notify("STOPPING=1");
	host_drain(host);
	if (wait_drained(host, conf_number(host->conf, CONF_SERVE_DRAIN)))
		return;
	host_log(host, LOG_WARN, "dropping the connections that have not ended");
	host_kill(host);
	if (!wait_drained(host, KILL_WAIT_NS)) {
		/* Some request never ends: a device that hangs. The next start recovers. */
		host_log(host, LOG_ERROR, "requests under way do not end: leaving them");
		_exit(CLI_ENVIRONMENT);
	}
}

static enum cli_exit run(struct host *host, const struct host_options *with)
{
	enum cli_exit exit = server_explain(host, host_open(host, with));
	char size[CLI_SIZE_MAX];

	if (exit == CLI_DONE) {
		host_log(host, LOG_INFO, "serving %s, workers=%u transport=%s memory=\"%s\"",
		         with->path, host->count, io_name(host->workers[0].io),
		         cli_size(host->memory, size));
		notify("READY=1");
		wait_for_the_end(host);
		drain(host);
	}
	/* What failed after the store was opened still leaves it clean. */
	if (exit != CLI_DONE && host->store.recovered) {
		host_drain(host);
		wait_drained(host, KILL_WAIT_NS);
	}
	host_stop(host);
	if (exit == CLI_DONE)
		host_log(host, LOG_INFO, "stopped");
	return exit;
}

enum cli_exit serve_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &cli_conf_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.args_doc = "[DIRECTORY|DEVICE]",
		.doc = "Serves the store in DIRECTORY or on DEVICE (./data), in the foreground. A "
		       "line "
		       "on stdout per address that it listens at; everything else to stderr.\v"
		       "SIGTERM and SIGINT: end what runs, then exit with 0. SIGUSR1: the last "
		       "events "
		       "of every worker to stderr. SIGHUP: reads the files of tls.* again.",
	};
	static struct topology machine;
	static struct conf conf;
	static struct host host;
	struct serve serve = { .path = NULL };
	struct host_options with = { .conf = &conf,
		                     .topology = &machine,
		                     .faces = server_faces,
		                     .face_count = SERVER_FACES,
		                     .log_write = server_write_line };
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, &serve);
	if (serve.help_config) {
		cli_conf_help();
		return CLI_DONE;
	}
	exit = cli_conf_load(&serve.conf, &conf);
	if (exit != CLI_DONE)
		return exit;
	if (topology_detect(&machine) != STATUS_OK) {
		cli_error("this machine does not tell its processors");
		return CLI_ENVIRONMENT;
	}
	raise_limits();
	signals_install(&host);
	with.path = serve.path != NULL ? serve.path : conf_text(&conf, CONF_STORAGE_PATH);
	with.insecure = serve.insecure;
	with.salvage = serve.salvage;
	exit = run(&host, &with);
	host_close(&host);
	return exit;
}
