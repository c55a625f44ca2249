/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at a controller from the control path: a worker and a transport only for that. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "transport/clock.h"
#include "transport/nvme_host_internal.h"

#define PAUSE_NS 50000000ull

static enum status io_net_connect(struct nvme_host_net *net, const char *address,
                                  const struct stream_handler *handler, void *owner,
                                  struct stream **out)
{
	struct nvme_host_io_net *io_net = container_of(net, struct nvme_host_io_net, net);
	const struct io_connect_options options = { .address = address,
		                                    .handler = handler,
		                                    .owner = owner };
	char error[IO_ERROR_SIZE];

	return io_connect(io_net->io, &options, out, error);
}

void nvme_host_io_net_init(struct nvme_host_io_net *net, struct io *io)
{
	*net = (struct nvme_host_io_net){ .net.connect = io_net_connect, .io = io };
}

struct visit {
	struct worker worker;
	struct nvme_host_io_net net;
	struct io *io;
	struct blk *blk;
	struct req req;
	bool stopped;
};

struct stop_frame {
	struct frame frame;
};

static void stopped(struct req *req)
{
	struct visit *visit = container_of(req, struct visit, req);

	req_pop(req, struct stop_frame);
	visit->stopped = true;
}

/* Turns until *flag, or until then. */
static bool run_until(struct visit *visit, const bool *flag, uint64_t until_ns)
{
	struct transport *transport = &visit->io->transport;

	while (!*flag && visit->worker.now_ns < until_ns) {
		if (worker_turn(&visit->worker) == 0 && !worker_has_work(&visit->worker))
			transport->ops->sleep(transport, visit->worker.now_ns + PAUSE_NS / 10);
	}
	return *flag;
}

static enum status visit_open(struct visit *visit, const struct nvme_host_options *options,
                              char error[static IO_ERROR_SIZE])
{
	const struct io_options small = { .connections_max = 64, .receive_memory = 1 << 20 };
	struct nvme_host_options with = *options;
	enum status status;

	worker_init(&visit->worker, 0, 0, clock_system());
	status = io_open(IO_AUTO, &visit->worker, &small, &visit->io, error);
	if (status != STATUS_OK)
		return status;
	worker_add_transport(&visit->worker, &visit->io->transport);
	nvme_host_io_net_init(&visit->net, visit->io);
	with.worker = &visit->worker;
	with.net = &visit->net.net;
	with.queues = 1;
	with.depth = 2;
	status = nvme_host_open(&with, NULL, &visit->blk);
	if (status != STATUS_OK) {
		snprintf(error, IO_ERROR_SIZE, "%s", status_text(status));
		io_close(visit->io);
	}
	return status;
}

static void visit_close(struct visit *visit)
{
	const bool never = false;

	req_init(&visit->req, &visit->worker);
	req_push(&visit->req, struct stop_frame, stopped);
	visit->req.state = REQ_RUNNING;
	nvme_host_stop(visit->blk, &visit->req);
	run_until(visit, &visit->stopped, UINT64_MAX);
	visit->blk->ops->close(visit->blk);
	/* What was closed leaves the transport in its turns. */
	run_until(visit, &never, visit->worker.now_ns + PAUSE_NS);
	io_close(visit->io);
}

/* Until the device is ready, or discovery has ended; the first refusal is the answer. */
static enum status visit_wait(struct visit *visit, uint64_t wait_ns,
                              char error[static IO_ERROR_SIZE])
{
	struct nvme_host *host = container_of(visit->blk, struct nvme_host, blk);
	uint64_t until_ns = visit->worker.now_ns + wait_ns;

	while (host->state != HOST_READY && !host->ended) {
		bool answered = host->error[0] != '\0';

		if (visit->worker.now_ns >= until_ns || (answered && host->attempts > 1)) {
			snprintf(error, IO_ERROR_SIZE, "%s", answered ? host->error : "no answer");
			return STATUS_UNAVAILABLE;
		}
		run_until(visit, &host->ended, visit->worker.now_ns + 1);
	}
	return STATUS_OK;
}

enum status nvme_host_probe(const struct nvme_host_options *options, uint64_t wait_ns,
                            struct nvme_host_facts *facts, char error[static IO_ERROR_SIZE])
{
	struct visit visit = { 0 };
	enum status status = visit_open(&visit, options, error);

	if (status != STATUS_OK)
		return status;
	status = visit_wait(&visit, wait_ns, error);
	if (status == STATUS_OK)
		*facts = *nvme_host_facts(visit.blk);
	visit_close(&visit);
	return status;
}

enum status nvme_host_discover(const struct nvme_host_options *options, uint64_t wait_ns,
                               struct nvme_host_entry *entries, unsigned *count,
                               char error[static IO_ERROR_SIZE])
{
	struct nvme_host_options with = *options;
	struct visit visit = { 0 };
	enum status status;

	snprintf(with.nqn, sizeof(with.nqn), "%s", NVME_DISCOVERY_NQN);
	status = visit_open(&visit, &with, error);
	if (status != STATUS_OK)
		return status;
	container_of(visit.blk, struct nvme_host, blk)->entries = entries;
	status = visit_wait(&visit, wait_ns, error);
	*count = container_of(visit.blk, struct nvme_host, blk)->entry_count;
	visit_close(&visit);
	return status;
}
