/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP face on every network worker. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "cli/server.h"
#include "server/http_face.h"
#include "server/http_server.h"
#include "transport/clock.h"

/* Of a worker. */
struct face_http {
	struct http_face face;
	struct http_server *server;
};

static void tell_facts(void *owner, struct http_facts *facts)
{
	struct host_worker *w = owner;
	const struct host *host = w->host;
	const struct blk_geometry *geometry = &host->store.blks[0]->geometry;

	*facts = (struct http_facts){
		.memory_resident = atomic_load(&host->memory_resident),
		.memory_max = host->memory,
		.store_size = geometry->block_count * geometry->block_size,
		.started_ms = host->started_ms,
		.process_id = (uint32_t)getpid(),
	};
	for (unsigned i = 0; i < host->store.count; i++) {
		const struct host_worker *engine = host->store.workers[i];

		facts->store_used +=
		        atomic_load_explicit(&engine->store_used, memory_order_relaxed);
		facts->read_only |=
		        atomic_load_explicit(&engine->store_failed, memory_order_relaxed);
	}
}

static bool accepted(struct listener *listener, struct stream *stream)
{
	struct face_http *http = listener->owner;

	return http_server_accept(http->server, stream);
}

static const struct listener_handler listener_handler = { .accepted = accepted };

void server_http_limits(const struct conf *conf, struct http_limits *limits)
{
	*limits = (struct http_limits){
		.head_timeout_ns = conf_number(conf, CONF_HTTP_HEAD_TIMEOUT),
		.body_timeout_ns = conf_number(conf, CONF_HTTP_BODY_TIMEOUT),
		.idle_timeout_ns = conf_number(conf, CONF_HTTP_IDLE_TIMEOUT),
		.send_timeout_ns = conf_number(conf, CONF_HTTP_SEND_TIMEOUT),
	};
}

static const struct recent *tell_recent(void *owner, int worker)
{
	const struct host_worker *w = owner;
	const struct host *host = w->host;

	if (worker < 0)
		return &host->told;
	return (unsigned)worker < host->count ? &host->workers[worker].slow : NULL;
}

static enum status open_face(struct host_worker *w, struct http_face *face)
{
	const struct host *host = w->host;
	const char *hosts = conf_text(host->conf, CONF_HTTP_HOSTS);
	struct http_face_options options;
	struct conf_address address, tls_address;

	conf_address(host->conf, CONF_HTTP_LISTEN, &address);
	conf_address(host->conf, CONF_HTTP_TLS_LISTEN, &tls_address);
	options = (struct http_face_options){
		.worker = &w->worker,
		.kv = w->kv,
		.obj = w->obj,
		.kv_is_local = w->kv_is_local,
		.conf = host->conf,
		.plan = &host->plan,
		.topology = host->options.topology,
		.metrics = &host->metrics,
		.version = WEIR_VERSION,
		.hosts = hosts,
		.any_host = hosts[0] == '\0' && !(conf_address_is_local(&address) &&
		                                  conf_address_is_local(&tls_address)),
		.facts = tell_facts,
		.recent = tell_recent,
		.owner = w,
	};
	return http_face_open(face, &options);
}

static enum status open_here(struct host_worker *w, void *arg)
{
	const unsigned *index = arg;
	const struct host *host = w->host;
	struct face_http *http = calloc(1, sizeof(*http));
	struct http_server_options options = {
		.worker = &w->worker,
		.bufs = &w->bufs,
		.handler = &http_face_handler,
		.memory_size = server_memory(host, CONF_HTTP_LISTEN),
		.connections_max = (uint32_t)conf_number(host->conf, CONF_HTTP_CLIENTS_MAX),
	};

	enum status status = STATUS_NO_SPACE;

	assert(w->kv != NULL);
	if (http != NULL)
		status = open_face(w, &http->face);
	if (status == STATUS_OK) {
		options.owner = &http->face;
		server_http_limits(host->conf, &options.limits);
		status = http_server_open(&options, &http->server);
		if (status != STATUS_OK)
			http_face_close(&http->face);
	}
	if (status != STATUS_OK) {
		free(http);
		return host_fail(w->host, status, "http: no memory for connections");
	}
	w->faces[*index] = http;
	if (http_server_metrics(http->server, &w->host->metrics) == STATUS_OK)
		return STATUS_OK;
	return host_fail(w->host, STATUS_BUSY, "http: more metrics than there is room for");
}

static enum status http_open(struct host *host, unsigned index)
{
	struct host_listen listen = {
		.setting = CONF_HTTP_LISTEN,
		.face = "http",
		.index = index,
		.handler = &listener_handler,
		.remedy = "let a proxy that asks for one connect to a loopback address",
	};
	enum status status;

	if (!host_listens(host, CONF_HTTP_LISTEN, CONF_HTTP_TLS_LISTEN))
		return STATUS_OK;
	status = host_objects_open(host);
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (host->workers[i].worker.roles & ROLE_NETWORK)
			status = host_call(&host->workers[i], open_here, &index);
	}
	if (status != STATUS_OK)
		return status;
	host_listen(host, &listen);
	listen.setting = CONF_HTTP_TLS_LISTEN;
	listen.tls = HTTP_ALPN;
	host_listen(host, &listen);
	return STATUS_OK;
}

static void http_drain(void *state)
{
	struct face_http *http = state;

	http->face.draining = true;
	http_server_drain(http->server);
}

static void http_kill(void *state)
{
	struct face_http *http = state;

	http_server_kill(http->server);
}

static bool http_is_drained(const void *state)
{
	const struct face_http *http = state;

	return http_server_is_drained(http->server);
}

static void http_close(void *state)
{
	struct face_http *http = state;

	http_server_close(http->server);
	http_face_close(&http->face);
	free(http);
}

const struct face face_http = {
	.name = "http",
	.open = http_open,
	.drain = http_drain,
	.kill = http_kill,
	.is_drained = http_is_drained,
	.close = http_close,
};
