/* SPDX-License-Identifier: Apache-2.0 */
/* The S3 face on every network worker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "cli/s3_masters.h"
#include "cli/server.h"
#include "server/http_server.h"
#include "server/s3_server.h"

enum { UPLOADS_MIN = 16, UPLOADS_MAX = 512, UPLOAD_MEMORY = 16 << 10 };

/* Of a worker. */
struct face_s3 {
	struct s3_server *s3;
	struct http_server *http;
	const struct host *host;
};

struct s3_task {
	unsigned index;
	bool first;
	struct s3_server_options keys; /* its masters */
};

static bool accepted(struct listener *listener, struct stream *stream)
{
	struct face_s3 *face = listener->owner;

	return http_server_accept(face->http, stream);
}

static const struct listener_handler listener_handler = { .accepted = accepted };

/* Told once: who starts a server on this machine for the first time can use it at once. */
static void tell_first_key(void *owner, struct bytes access, struct bytes secret)
{
	struct host_worker *w = owner;
	char line[256];
	int size = snprintf(line, sizeof(line),
	                    "s3: the first key of this store, told only now: access key %.*s, "
	                    "secret key %.*s\n",
	                    (int)access.size, (const char *)access.data, (int)secret.size,
	                    (const char *)secret.data);

	if (w->host->options.log_write != NULL && size > 0)
		w->host->options.log_write(line, (size_t)size);
	explicit_bzero(line, sizeof(line));
}

static uint32_t limit_uploads(const struct host *host)
{
	uint64_t room = server_memory(host, CONF_S3_LISTEN) / 4 / UPLOAD_MEMORY;

	if (room < UPLOADS_MIN)
		return UPLOADS_MIN;
	return room > UPLOADS_MAX ? UPLOADS_MAX : (uint32_t)room;
}

static enum status open_s3(struct host_worker *w, const struct s3_task *task,
                           struct s3_server **out)
{
	const struct host *host = w->host;
	struct conf_address address, tls_address;
	struct s3_server_options options = {
		.worker = &w->worker,
		.obj = w->obj,
		.kv = w->kv,
		.bufs = &w->bufs,
		.region = conf_text(host->conf, CONF_S3_REGION),
		.domain = conf_text(host->conf, CONF_S3_DOMAIN),
		.uploads_max = limit_uploads(host),
		.lifecycle_day_ns = conf_number(host->conf, CONF_S3_LIFECYCLE_DAY),
		.leader = task->first,
		.first_key = tell_first_key,
		.owner = w,
	};
	enum status status;

	memcpy(options.masters, task->keys.masters, sizeof(options.masters));
	options.master_count = task->keys.master_count;
	conf_address(host->conf, CONF_S3_LISTEN, &address);
	conf_address(host->conf, CONF_S3_TLS_LISTEN, &tls_address);
	options.make_first_key = task->first && conf_address_is_local(&address) &&
	                         conf_address_is_local(&tls_address);
	if (getrandom(options.secret, sizeof(options.secret), 0) != sizeof(options.secret))
		return host_fail(w->host, STATUS_UNAVAILABLE, "this machine gives no random bytes");
	status = s3_server_open(&options, out);
	explicit_bzero(options.secret, sizeof(options.secret));
	explicit_bzero(options.masters, sizeof(options.masters));
	return status;
}

static enum status open_here(struct host_worker *w, void *arg)
{
	struct s3_task *task = arg;
	const struct host *host = w->host;
	struct face_s3 *face = calloc(1, sizeof(*face));
	struct http_server_options options = {
		.worker = &w->worker,
		.bufs = &w->bufs,
		.handler = &s3_http_handler,
		.memory_size = server_memory(host, CONF_S3_LISTEN) / 4 * 3,
		.connections_max = (uint32_t)conf_number(host->conf, CONF_S3_CLIENTS_MAX),
	};
	enum status status;

	if (face == NULL)
		return host_fail(w->host, STATUS_NO_SPACE, "s3: no memory");
	face->host = host;
	status = open_s3(w, task, &face->s3);
	if (status == STATUS_OK) {
		options.owner = face->s3;
		server_http_limits(host->conf, &options.limits);
		status = http_server_open(&options, &face->http);
	}
	if (status != STATUS_OK) {
		if (face->s3 != NULL)
			s3_server_close(face->s3);
		free(face);
		return host_fail(w->host, status, "s3: no memory for connections");
	}
	w->faces[task->index] = face;
	s3_server_start(face->s3);
	task->first = false;
	return STATUS_OK;
}

static enum status s3_open(struct host *host, unsigned index)
{
	struct host_listen listen = {
		.setting = CONF_S3_LISTEN,
		.face = "s3",
		.index = index,
		.handler = &listener_handler,
		.authenticated = true,
	};
	struct s3_task task = { .index = index, .first = true };
	enum status status = STATUS_OK;

	if (!host_listens(host, CONF_S3_LISTEN, CONF_S3_TLS_LISTEN))
		return STATUS_OK;
	status = s3_masters_read(host, &task.keys);
	if (status == STATUS_OK)
		status = host_objects_open(host);
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (host->workers[i].worker.roles & ROLE_NETWORK)
			status = host_call(&host->workers[i], open_here, &task);
	}
	explicit_bzero(&task.keys, sizeof(task.keys));
	if (status != STATUS_OK)
		return status;
	host_listen(host, &listen);
	listen.setting = CONF_S3_TLS_LISTEN;
	listen.tls = HTTP_ALPN;
	host_listen(host, &listen);
	return STATUS_OK;
}

static void s3_drain(void *state)
{
	struct face_s3 *face = state;

	http_server_drain(face->http);
	s3_server_drain(face->s3);
}

static void s3_kill(void *state)
{
	struct face_s3 *face = state;

	http_server_kill(face->http);
}

static bool s3_is_drained(const void *state)
{
	const struct face_s3 *face = state;

	return http_server_is_drained(face->http) && s3_server_is_drained(face->s3);
}

static void s3_close(void *state)
{
	struct face_s3 *face = state;

	http_server_close(face->http);
	s3_server_close(face->s3);
	free(face);
}

const struct face face_s3 = {
	.name = "s3",
	.open = s3_open,
	.drain = s3_drain,
	.kill = s3_kill,
	.is_drained = s3_is_drained,
	.close = s3_close,
};
