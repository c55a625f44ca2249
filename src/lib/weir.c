/* SPDX-License-Identifier: Apache-2.0 */
/* A handle: options to configuration, a host with the library as its only face, and its end. */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "lib/lib.h"

enum { REQUESTS_DEFAULT = 65536, OPTIONS_SIZE_MIN = offsetof(struct weir_options, log) };

unsigned weir_api(void)
{
	return WEIR_API;
}

const char *weir_version(void)
{
	return WEIR_VERSION;
}

struct weir_bytes weir_text(const char *text)
{
	return (struct weir_bytes){ text, strlen(text) };
}

struct weir_key weir_key(uint32_t space, const char *text)
{
	return (struct weir_key){ text, strlen(text), space };
}

enum weir_status lib_status(enum status status)
{
	static const enum weir_status map[STATUS_COUNT] = {
		[STATUS_OK] = WEIR_OK,
		[STATUS_NOT_FOUND] = WEIR_NOT_FOUND,
		[STATUS_EXISTS] = WEIR_EXISTS,
		[STATUS_CONFLICT] = WEIR_CONFLICT,
		[STATUS_INVALID] = WEIR_INVALID,
		[STATUS_UNSUPPORTED] = WEIR_UNSUPPORTED,
		[STATUS_NO_SPACE] = WEIR_NO_SPACE,
		[STATUS_TOO_LARGE] = WEIR_TOO_LARGE,
		[STATUS_READ_ONLY] = WEIR_READ_ONLY,
		[STATUS_DENIED] = WEIR_DENIED,
		[STATUS_CORRUPT] = WEIR_CORRUPT,
		[STATUS_IO] = WEIR_IO,
		[STATUS_CANCELED] = WEIR_CANCELED,
		[STATUS_BUSY] = WEIR_BUSY,
		[STATUS_TIMEOUT] = WEIR_TIMEOUT,
		[STATUS_UNAVAILABLE] = WEIR_UNAVAILABLE,
	};

	assert(status < STATUS_COUNT);
	return map[status];
}

const char *weir_status_text(enum weir_status status)
{
	if (status == WEIR_CLOSED)
		return "closed";
	for (unsigned i = 0; i < STATUS_COUNT; i++) {
		if (lib_status((enum status)i) == status)
			return status_text((enum status)i);
	}
	return "unknown status";
}

void weir_options_init(struct weir_options *options)
{
	*options = (struct weir_options){ .size = sizeof(*options) };
}

static bool set(struct conf *conf, const char *assignment)
{
	return conf_set(conf, assignment) == STATUS_OK;
}

static bool set_number(struct conf *conf, const char *name, uint64_t number)
{
	char assignment[64];

	snprintf(assignment, sizeof(assignment), "%s=%" PRIu64, name, number);
	return number == 0 || set(conf, assignment);
}

static bool configure(struct conf *conf, const struct weir_options *options)
{
	bool ok;

	conf_init(conf);
	ok = set(conf, "resp.clients_max=1"); /* there is no network */
	ok = set(conf, options->pin ? "workers.pin=yes" : "workers.pin=no") && ok;
	ok = set_number(conf, "memory", options->memory) && ok;
	ok = set_number(conf, "storage.size", options->store_size) && ok;
	ok = set_number(conf, "workers.count", options->workers) && ok;
	for (unsigned i = 0; i < options->setting_count; i++)
		ok = set(conf, options->settings[i]) && ok;
	return ok;
}

/* What opening changes of the calling thread, and what it must not leave to its threads. */
struct caller {
	sigset_t signals;
	cpu_set_t cpus;
	bool has_cpus;
};

static void caller_save(struct caller *caller)
{
	sigset_t all;

	/* Signals are for the application's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &caller->signals);
	caller->has_cpus = sched_getaffinity(0, sizeof(caller->cpus), &caller->cpus) == 0;
}

static void caller_restore(const struct caller *caller)
{
	if (caller->has_cpus)
		sched_setaffinity(0, sizeof(caller->cpus), &caller->cpus);
	pthread_sigmask(SIG_SETMASK, &caller->signals, NULL);
}

static enum status open_host(struct weir *weir, const char *path,
                             const struct weir_options *options)
{
	static const struct face *const faces[] = { &lib_face };
	const struct host_options with = {
		.conf = &weir->conf,
		.topology = &weir->topology,
		.path = path,
		.faces = faces,
		.face_count = array_count(faces),
		.log_write = options->log,
		.relaxed_spaces = options->relaxed_spaces,
		.must_exist = options->must_exist,
		.salvage = options->salvage,
		.quiet = true,
	};

	if (!configure(&weir->conf, options))
		return host_fail(&weir->host, STATUS_INVALID, "%s", weir->conf.errors[0]);
	if (topology_detect(&weir->topology) != STATUS_OK)
		return host_fail(&weir->host, STATUS_UNAVAILABLE,
		                 "this machine does not tell its processors");
	return host_open(&weir->host, &with);
}

/* The host has no requests any more. */
static void close_host(struct weir *weir)
{
	if (weir->host.store.recovered)
		host_end(&weir->host);
	host_stop(&weir->host);
	host_close(&weir->host);
	sem_destroy(&weir->gate.empty);
	free(weir);
}

enum weir_status weir_open(const char *path, const struct weir_options *options, struct weir **out,
                           char *error)
{
	struct weir *weir = calloc(1, sizeof(*weir));
	struct weir_options with;
	struct caller caller;
	enum status status;

	*out = NULL;
	if (error != NULL)
		error[0] = '\0';
	if (weir == NULL) {
		if (error != NULL)
			snprintf(error, WEIR_ERROR_SIZE, "no memory for a handle");
		return WEIR_NO_SPACE;
	}
	/* Programs that were built with an older header know fewer options. */
	weir_options_init(&with);
	if (options != NULL)
		memcpy(&with, options, options->size < sizeof(with) ? options->size : sizeof(with));
	weir->requests_max = with.requests_max != 0 ? with.requests_max : REQUESTS_DEFAULT;
	atomic_init(&weir->id_next, 1);
	weir->host.store.lock = -1;
	lib_gate_init(&weir->gate);
	caller_save(&caller);
	if (options != NULL && options->size < OPTIONS_SIZE_MIN)
		status = host_fail(&weir->host, STATUS_INVALID,
		                   "options: not made with weir_options_init()");
	else
		status = open_host(weir, path, &with);
	if (status != STATUS_OK) {
		if (error != NULL)
			snprintf(error, WEIR_ERROR_SIZE, "%s", weir->host.error);
		close_host(weir);
	} else {
		*out = weir;
	}
	caller_restore(&caller);
	return lib_status(status);
}

void weir_stop(struct weir *weir)
{
	lib_gate_close(&weir->gate);
}

void weir_close(struct weir *weir)
{
	weir_stop(weir);
	close_host(weir);
}

void weir_log(struct weir *weir)
{
	host_drain_logs(&weir->host);
}
