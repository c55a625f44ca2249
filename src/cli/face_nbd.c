/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD face on every network worker. */
#include <stdlib.h>

#include "base/assert.h"
#include "cli/server.h"
#include "server/nbd_server.h"

/* Of a worker. */
struct face_nbd_here {
	struct nbd_server *server;
};

static bool accepted(struct listener *listener, struct stream *stream)
{
	struct face_nbd_here *nbd = listener->owner;

	return nbd_server_accept(nbd->server, stream);
}

static const struct listener_handler listener_handler = { .accepted = accepted };

static enum status open_here(struct host_worker *w, void *arg)
{
	const unsigned *index = arg;
	const struct host *host = w->host;
	struct face_nbd_here *nbd = calloc(1, sizeof(*nbd));
	const struct nbd_server_options options = {
		.worker = &w->worker,
		.bufs = &w->bufs,
		.exports = w->exports,
		.memory_size = server_memory(host, CONF_NBD_LISTEN),
		.connections_max = (uint32_t)conf_number(host->conf, CONF_NBD_CLIENTS_MAX),
		.handshake_timeout_ns = conf_number(host->conf, CONF_NBD_HANDSHAKE_TIMEOUT),
		.stall_timeout_ns = conf_number(host->conf, CONF_NBD_STALL_TIMEOUT),
	};
	enum status status = STATUS_NO_SPACE;

	assert(w->exports != NULL); /* they are opened before */
	if (nbd != NULL)
		status = nbd_server_open(&options, &nbd->server);
	if (status != STATUS_OK) {
		free(nbd);
		return host_fail(w->host, status, "nbd: no memory for connections");
	}
	w->faces[*index] = nbd;
	if (nbd_server_metrics(nbd->server, &w->host->metrics) == STATUS_OK)
		return STATUS_OK;
	return host_fail(w->host, STATUS_BUSY, "nbd: more metrics than there is room for");
}

static enum status nbd_open(struct host *host, unsigned index)
{
	const struct host_listen listen = {
		.setting = CONF_NBD_LISTEN,
		.face = "nbd",
		.index = index,
		.handler = &listener_handler,
		.remedy = "let clients come through a tunnel to a loopback address",
	};
	struct conf_address address;
	enum status status = STATUS_OK;

	conf_address(host->conf, CONF_NBD_LISTEN, &address);
	if (address.kind == CONF_OFF)
		return STATUS_OK;
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (host->workers[i].worker.roles & ROLE_NETWORK)
			status = host_call(&host->workers[i], open_here, &index);
	}
	if (status == STATUS_OK)
		host_listen(host, &listen);
	return status;
}

static void nbd_drain(void *state)
{
	struct face_nbd_here *nbd = state;

	nbd_server_drain(nbd->server);
}

static void nbd_kill(void *state)
{
	struct face_nbd_here *nbd = state;

	nbd_server_kill(nbd->server);
}

static bool nbd_is_drained(const void *state)
{
	const struct face_nbd_here *nbd = state;

	return nbd_server_is_drained(nbd->server);
}

static void nbd_close(void *state)
{
	struct face_nbd_here *nbd = state;

	nbd_server_close(nbd->server);
	free(nbd);
}

const struct face face_nbd = {
	.name = "nbd",
	.open = nbd_open,
	.drain = nbd_drain,
	.kill = nbd_kill,
	.is_drained = nbd_is_drained,
	.close = nbd_close,
};
