/* SPDX-License-Identifier: Apache-2.0 */
/* Where a host's faces listen: the same address on all workers, or the next port that is free. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "host/host.h"
#include "layer/stream_tls.h"

/* One worker's share of a face's listening. */
struct listen_task {
	struct io_listen_options options;
	const struct host_listen *listen;
	char address[NAME_MAX]; /* as asked for, then as bound */
	char error[IO_ERROR_SIZE];
	enum status status;
};

/* The face's listener stands on the kernel's, with TLS between them. */
static enum status listen_by_tls(struct host_worker *w, struct listen_task *task,
                                 struct listener **out)
{
	const struct host_listen *l = task->listen;
	const struct stream_tls_listen with = { l->tls, l->handler, w->faces[l->index] };
	struct listener *lower;
	enum status status;

	if (stream_tls_listen(w->tls, &with, out) != STATUS_OK) {
		snprintf(task->error, sizeof(task->error), "no memory");
		return STATUS_NO_SPACE;
	}
	task->options.handler = &stream_tls_listener;
	task->options.owner = *out;
	status = io_listen(w->io, &task->options, &lower, task->error);
	if (status == STATUS_OK)
		stream_tls_listening(*out, lower);
	else
		(*out)->ops->close(*out);
	return status;
}

static enum status listen_here(struct host_worker *w, void *arg)
{
	struct listen_task *task = arg;
	const struct host_listen *l = task->listen;
	struct listener **out = &w->listeners[w->listener_count];

	assert(w->listener_count < HOST_LISTENERS_MAX);
	task->options.address = task->address;
	if (l->tls != NULL) {
		task->status = listen_by_tls(w, task, out);
	} else {
		task->options.handler = l->handler;
		task->options.owner = w->faces[l->index];
		task->status = io_listen(w->io, &task->options, out, task->error);
	}
	if (task->status != STATUS_OK)
		return task->status;
	w->listener_count++;
	/* Port 0 has become one: the other workers take the same. */
	snprintf(task->address, sizeof(task->address), "%s", (*out)->address);
	return STATUS_OK;
}

/* On all workers that have the face; only the first can find the address taken. */
static enum status listen_at(struct host *host, const struct host_listen *l, const char *address,
                             char *error)
{
	bool is_unix = strncmp(address, "unix:", 5) == 0;
	struct listen_task task = {
		.options = { .share = is_unix ? IO_SHARE_NONE : IO_SHARE_FIRST },
		.listen = l,
	};

	snprintf(task.address, sizeof(task.address), "%s", address);
	for (unsigned i = 0; i < host->count; i++) {
		struct host_worker *w = &host->workers[i];
		bool first = task.options.share != IO_SHARE_NEXT;

		if (w->faces[l->index] == NULL)
			continue;
		if (host_call(w, listen_here, &task) != STATUS_OK) {
			memcpy(error, task.error, IO_ERROR_SIZE);
			return task.status;
		}
		if (first && !host->options.quiet) {
			printf("listening: %s%s %s\n", l->face, l->tls != NULL ? "+tls" : "",
			       task.address);
			fflush(stdout);
		}
		if (is_unix)
			break;
		task.options.share = IO_SHARE_NEXT;
	}
	return STATUS_OK;
}

void host_listen(struct host *host, const struct host_listen *l)
{
	assert(l->handler != NULL && l->index < host->options.face_count);
	assert(host->listen_count < HOST_LISTENERS_MAX);
	host->listens[host->listen_count++] = *l;
}

static enum status listen_one(struct host *host, const struct host_listen *l)
{
	const char *text = conf_text(host->conf, l->setting), *key = conf_name(l->setting);
	bool pinned = conf_is_set(host->conf, l->setting);
	bool authenticated = l->authenticated || (l->tls != NULL && host->tls_certified);
	struct conf_address address;
	char error[IO_ERROR_SIZE] = "", moved[CONF_NAME_MAX + 128];
	enum status status;

	conf_address(host->conf, l->setting, &address);
	if (address.kind == CONF_OFF)
		return STATUS_OK;
	if (!conf_address_is_local(&address) && !authenticated && !host->options.insecure)
		return host_fail(host, STATUS_INVALID,
		                 "%s = %s can be reached by strangers, and nobody is asked for a "
		                 "password: %s%s, or say --insecure-i-know",
		                 key, text, l->remedy,
		                 l->tls != NULL ? ", or set tls.client_ca" : "");
	status = listen_at(host, l, text, error);
	for (unsigned i = 1; status == STATUS_EXISTS && !pinned && i <= HOST_PORTS_TRIED; i++) {
		snprintf(moved, sizeof(moved), "%s:%u", address.host, address.port + i);
		status = listen_at(host, l, moved, error);
		if (status == STATUS_OK)
			host_log(host, LOG_WARN,
			         "port %u is taken, so %s listens at %s: set %s to pin a port",
			         address.port, l->face, moved, key);
	}
	if (status == STATUS_OK)
		return STATUS_OK;
	return host_fail(host, status, "%s = %s: %s", key, text, error);
}

enum status host_listen_open(struct host *host)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < host->listen_count && status == STATUS_OK; i++)
		status = listen_one(host, &host->listens[i]);
	return status;
}

bool host_listens(const struct host *host, enum conf_id setting, enum conf_id tls_setting)
{
	struct conf_address plain, tls;

	conf_address(host->conf, setting, &plain);
	conf_address(host->conf, tls_setting, &tls);
	return plain.kind != CONF_OFF || tls.kind != CONF_OFF;
}
