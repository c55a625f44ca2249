/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"

enum {
	CONNECTIONS_MAX_DEFAULT = 64,
	BUFFER_SIZE_DEFAULT = 16 << 10,
	LATENCY_DEFAULT_NS = 30000,
	STALL_FACTOR = 1000,
	CUT_WAIT_NS = 10000000,      /* how often a cut network is tried again */
	SILENCE_MAX_NS = 2000000000, /* until a client learns that its server lost power */
	LISTENERS_MAX = 64,
};

/* A bounded queue of bytes. */
struct fifo {
	uint8_t *data;
	uint32_t first, count, room; /* room: of data */
};

/* One direction: what its sender handed over, what has arrived and was not taken yet. */
struct pipe {
	struct sim_event event;
	struct connection *connection;
	struct fifo sent, arrived;
	bool finished; /* nothing follows what is in `sent` */
	bool ended;    /* and all of it has arrived */
};

enum { TO_SERVER, TO_CLIENT };

struct connection {
	struct stream stream; /* the server's end */
	struct sim_client client;
	struct sim_net *net;
	struct net_port *port; /* of the server's worker; NULL: none yet, or its node has ended */
	LIST_ENTRY(connection) link;   /* in net->live or ->free */
	TAILQ_ENTRY(connection) ready; /* in port->ready */
	struct net_listener *listener; /* until it is accepted */
	struct sim_event event;        /* the connect, or the news of a reset */
	struct pipe pipes[2];
	char address[64];
	uint32_t piece_max, number;
	/* The send under way at the server's end. */
	struct req *req;
	const struct iovec *iov;
	uint32_t iov_count;
	size_t iov_done, sent_size;
	enum status send_status;
	bool send_ended;
	bool is_ready, accepted, paused, server_gone, client_gone, broken;
	bool server_told, client_told; /* of its end */
	bool client_waits;             /* for room */
};

struct net_listener {
	struct listener listener;
	struct net_port *port;
	LIST_ENTRY(net_listener) link;
	bool closed;
};

/* The network as one worker sees it. */
struct net_port {
	struct transport transport;
	struct sim_device device;
	struct sim_net *net;
	unsigned node, worker;
	LIST_ENTRY(net_port) link;
	TAILQ_HEAD(, connection) ready; /* with something to tell the worker */
};

struct sim_net {
	struct sim *sim;
	struct sim_net_options options;
	struct prng prng;
	struct connection *connections;
	uint8_t *memory, *scratch;
	LIST_HEAD(, connection) free, live;
	LIST_HEAD(, net_listener) listeners;
	LIST_HEAD(, net_port) ports;
	uint64_t cut_nodes; /* bits */
	struct sim_net_stats stats;
};

static uint32_t fifo_space(const struct fifo *fifo)
{
	return fifo->room - fifo->count;
}

static void fifo_put(struct fifo *fifo, const uint8_t *data, uint32_t size)
{
	uint32_t end = (fifo->first + fifo->count) % fifo->room;
	uint32_t part = fifo->room - end < size ? fifo->room - end : size;

	assert(size <= fifo_space(fifo));
	memcpy(fifo->data + end, data, part);
	memcpy(fifo->data, data + part, size - part);
	fifo->count += size;
}

static void fifo_take(struct fifo *fifo, uint8_t *data, uint32_t size)
{
	uint32_t part = fifo->room - fifo->first < size ? fifo->room - fifo->first : size;

	assert(size <= fifo->count);
	memcpy(data, fifo->data + fifo->first, part);
	memcpy(data + part, fifo->data, size - part);
	fifo->first = (fifo->first + size) % fifo->room;
	fifo->count -= size;
}

static uint64_t latency(struct sim_net *net)
{
	uint64_t wait_ns = 1 + prng_exponential(&net->prng, net->options.latency_ns_mean);

	return prng_chance(&net->prng, net->options.stall) ? wait_ns * STALL_FACTOR : wait_ns;
}

/* The worker has something to hear of this connection. */
static void make_ready(struct connection *c)
{
	struct net_port *port = c->port;

	if (port == NULL)
		return;
	if (!c->is_ready) {
		c->is_ready = true;
		TAILQ_INSERT_TAIL(&port->ready, c, ready);
	}
	sim_wake(c->net->sim, port->node, port->worker);
}

static void pipe_moves(struct sim *sim, struct sim_event *event);

/* There may be something to move. */
static void pipe_kick(struct pipe *pipe)
{
	struct connection *c = pipe->connection;
	bool pending = pipe == &c->pipes[TO_CLIENT] && c->req != NULL && !c->send_ended;

	if (pipe->event.slot != 0 || !c->accepted || c->broken || pipe->ended)
		return;
	if ((pipe->sent.count > 0 && fifo_space(&pipe->arrived) > 0) ||
	    (pending && fifo_space(&pipe->sent) > 0) || (pipe->finished && pipe->sent.count == 0))
		sim_arm(c->net->sim, &pipe->event, latency(c->net), pipe_moves);
}

/* Back to the free ones when both ends have given it back and nobody waits for anything. */
static void release(struct connection *c)
{
	struct sim *sim = c->net->sim;

	if (!c->server_gone || !c->client_gone || c->req != NULL)
		return;
	sim_disarm(sim, &c->event);
	sim_disarm(sim, &c->pipes[TO_SERVER].event);
	sim_disarm(sim, &c->pipes[TO_CLIENT].event);
	if (c->is_ready)
		TAILQ_REMOVE(&c->port->ready, c, ready);
	c->is_ready = false;
	LIST_REMOVE(c, link);
	LIST_INSERT_HEAD(&c->net->free, c, link);
	c->net->stats.connections--;
}

static void tell_client(struct connection *c, enum status status)
{
	if (c->client_gone || c->client_told)
		return;
	c->client_told = true;
	c->client.handler->ended(&c->client, status);
}

static void send_ends(struct connection *c, enum status status)
{
	if (c->req == NULL || c->send_ended)
		return;
	c->send_ended = true;
	c->send_status = status;
	make_ready(c);
}

static void reset_told(struct sim *sim, struct sim_event *event)
{
	struct connection *c = container_of(event, struct connection, event);

	(void)sim;
	tell_client(c, STATUS_UNAVAILABLE);
}

/* Both ends learn of it, each in its own time. What was on its way is gone. */
static void break_connection(struct connection *c, uint64_t client_wait_ns)
{
	struct sim *sim = c->net->sim;

	if (c->broken)
		return;
	c->broken = true;
	c->net->stats.resets++;
	sim_trace(sim, "net connection %u is reset", c->number);
	for (unsigned i = 0; i < 2; i++) {
		sim_disarm(sim, &c->pipes[i].event);
		c->pipes[i].sent.count = c->pipes[i].arrived.count = 0;
	}
	send_ends(c, STATUS_UNAVAILABLE);
	make_ready(c);
	sim_disarm(sim, &c->event);
	if (!c->client_gone)
		sim_arm(sim, &c->event, client_wait_ns, reset_told);
}

/* Takes what fits from the memory of the send under way. */
static void pull_send(struct connection *c)
{
	struct fifo *sent = &c->pipes[TO_CLIENT].sent;

	if (c->req == NULL || c->send_ended)
		return;
	while (c->iov_count > 0) {
		size_t left = c->iov->iov_len - c->iov_done;
		uint32_t part = fifo_space(sent) < left ? fifo_space(sent) : (uint32_t)left;

		if (part == 0 && left > 0)
			return;
		fifo_put(sent, (const uint8_t *)c->iov->iov_base + c->iov_done, part);
		c->iov_done += part;
		c->sent_size += part;
		if (c->iov_done == c->iov->iov_len) {
			c->iov++;
			c->iov_count--;
			c->iov_done = 0;
		}
	}
	send_ends(c, STATUS_OK);
}

/* Hands the client what has arrived, in one piece; it may do anything in its handler. */
static void deliver_client(struct connection *c)
{
	struct pipe *pipe = &c->pipes[TO_CLIENT];
	struct sim_net *net = c->net;
	uint32_t size = pipe->arrived.count;

	if (c->client_gone || c->client.paused || c->client_told)
		return;
	if (size > 0) {
		fifo_take(&pipe->arrived, net->scratch, size);
		c->client.handler->received(&c->client, bytes_of(net->scratch, size));
		memset(net->scratch, (int)prng_below(&net->prng, 256), size);
	}
	if (pipe->ended && pipe->arrived.count == 0)
		tell_client(c, STATUS_OK);
	pipe_kick(pipe);
}

static bool is_cut(const struct connection *c)
{
	return c->port != NULL && (c->net->cut_nodes & 1ull << c->port->node);
}

/* Moves one piece, and the end when nothing is left before it. */
static void move_piece(struct pipe *pipe)
{
	struct connection *c = pipe->connection;
	struct sim_net *net = c->net;
	uint32_t size = pipe->sent.count, space = fifo_space(&pipe->arrived);

	size = size < space ? size : space;
	if (size > 0) {
		uint64_t piece = prng_range(&net->prng, 1, c->piece_max);

		size = size < piece ? size : (uint32_t)piece;
		fifo_take(&pipe->sent, net->scratch, size);
		fifo_put(&pipe->arrived, net->scratch, size);
		net->stats.pieces++;
		net->stats.bytes += size;
	}
	if (pipe->sent.count == 0 && pipe->finished &&
	    !(pipe == &c->pipes[TO_CLIENT] && c->req != NULL && !c->send_ended))
		pipe->ended = true;
}

static void pipe_moves(struct sim *sim, struct sim_event *event)
{
	struct pipe *pipe = container_of(event, struct pipe, event);
	struct connection *c = pipe->connection;
	struct sim_net *net = c->net;
	bool to_server = pipe == &c->pipes[TO_SERVER];

	if (is_cut(c)) {
		sim_arm(sim, event, CUT_WAIT_NS, pipe_moves);
		return;
	}
	if (prng_chance(&net->prng, net->options.reset)) {
		break_connection(c, latency(net));
		return;
	}
	if (!to_server)
		pull_send(c);
	if (pipe->sent.count > 0 && (to_server ? c->server_gone : c->client_gone)) {
		break_connection(c, latency(net)); /* nobody is there to read it */
		return;
	}
	move_piece(pipe);
	if (!to_server) {
		deliver_client(c);
		return;
	}
	make_ready(c);
	pipe_kick(pipe);
	if (c->client_waits && !c->client_gone && !c->client_told &&
	    c->client.handler->writable != NULL) {
		c->client_waits = false;
		c->client.handler->writable(&c->client);
	}
}

/* The server's end. */

static void stream_ops_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct connection *c = container_of(stream, struct connection, stream);

	assert(c->req == NULL);
	c->req = req;
	c->iov = cmd->iov;
	c->iov_count = cmd->iov_count;
	c->iov_done = c->sent_size = 0;
	c->send_ended = false;
	if (c->broken)
		send_ends(c, STATUS_UNAVAILABLE);
	/* Else the doorbell kicks the pipe. */
}

static void stream_ops_pause(struct stream *stream, bool paused)
{
	struct connection *c = container_of(stream, struct connection, stream);

	c->paused = paused;
	if (!paused)
		make_ready(c);
}

static void stream_ops_close(struct stream *stream)
{
	struct connection *c = container_of(stream, struct connection, stream);
	bool unread = c->pipes[TO_SERVER].arrived.count > 0;

	c->server_gone = true;
	send_ends(c, STATUS_CANCELED);
	if (unread)
		break_connection(c, latency(c->net));
	c->pipes[TO_CLIENT].finished = true;
	pipe_kick(&c->pipes[TO_CLIENT]);
	make_ready(c);
}

static const struct stream_ops stream_ops = {
	.name = "sim",
	.send = stream_ops_send,
	.pause = stream_ops_pause,
	.close = stream_ops_close,
};

static void accept_one(struct connection *c)
{
	struct net_listener *l = c->listener;

	c->listener = NULL;
	c->accepted = true;
	c->stream = (struct stream){
		.ops = &stream_ops,
		.worker = c->port->transport.worker,
		.local = strncmp(l->listener.address, "127.", 4) == 0 ||
		         strncmp(l->listener.address, "unix:", 5) == 0,
	};
	snprintf(c->stream.peer, sizeof(c->stream.peer), "10.1.0.1:%u", c->number);
	if (l->closed || !l->listener.handler->accepted(&l->listener, &c->stream)) {
		c->server_gone = true;
		break_connection(c, latency(c->net));
		return;
	}
	assert(c->stream.handler != NULL);
	pipe_kick(&c->pipes[TO_SERVER]);
	pipe_kick(&c->pipes[TO_CLIENT]);
}

/* Hands the server a part of what has arrived. */
static void deliver_server(struct connection *c)
{
	struct pipe *pipe = &c->pipes[TO_SERVER];
	struct sim_net *net = c->net;
	uint32_t size = pipe->arrived.count;

	if (size > 0 && !c->paused) {
		if (prng_below(&net->prng, 2) == 0)
			size = (uint32_t)prng_range(&net->prng, 1, size);
		fifo_take(&pipe->arrived, net->scratch, size);
		c->stream.handler->received(&c->stream, bytes_of(net->scratch, size));
		memset(net->scratch, (int)prng_below(&net->prng, 256), size);
		pipe_kick(pipe);
	}
	if (c->server_gone || c->server_told)
		return;
	if (c->broken || (pipe->ended && pipe->arrived.count == 0 && !c->paused)) {
		c->server_told = true;
		c->stream.ended = true;
		c->stream.handler->ended(&c->stream, c->broken ? STATUS_UNAVAILABLE : STATUS_OK);
		return;
	}
	if (pipe->arrived.count > 0 && !c->paused)
		make_ready(c);
}

static unsigned port_poll(struct transport *t)
{
	struct net_port *port = container_of(t, struct net_port, transport);
	TAILQ_HEAD(, connection) ready = TAILQ_HEAD_INITIALIZER(ready);
	struct connection *c;
	unsigned count = 0;

	TAILQ_CONCAT(&ready, &port->ready, ready);
	while ((c = TAILQ_FIRST(&ready)) != NULL) {
		TAILQ_REMOVE(&ready, c, ready);
		c->is_ready = false;
		count++;
		if (c->listener != NULL)
			accept_one(c);
		if (c->send_ended && c->req != NULL) {
			struct req *req = c->req;

			c->req = NULL;
			c->stream.sending = false;
			req_complete(req, c->send_status, c->sent_size);
			pipe_kick(&c->pipes[TO_CLIENT]);
		}
		if (!c->server_gone && !c->server_told)
			deliver_server(c);
		if (c->server_gone)
			release(c);
	}
	return count;
}

static void port_doorbell(struct transport *t)
{
	struct net_port *port = container_of(t, struct net_port, transport);
	struct connection *c;

	LIST_FOREACH(c, &port->net->live, link)
	{
		if (c->port == port && c->req != NULL)
			pipe_kick(&c->pipes[TO_CLIENT]);
	}
}

static const struct transport_ops port_ops = {
	.name = "sim_net",
	.poll = port_poll,
	.doorbell = port_doorbell,
};

/* The kernel resets what a dead process had; a machine without power says nothing. */
static void port_end(struct sim_device *device, enum sim_end end)
{
	struct net_port *port = container_of(device, struct net_port, device);
	struct sim_net *net = port->net;
	struct net_listener *l, *l_next;
	struct connection *c, *next;

	for (l = LIST_FIRST(&net->listeners); l != NULL; l = l_next) {
		l_next = LIST_NEXT(l, link);
		if (l->port != port)
			continue;
		LIST_REMOVE(l, link);
		free(l);
	}
	for (c = LIST_FIRST(&net->live); c != NULL; c = next) {
		uint64_t wait_ns = latency(net);

		next = LIST_NEXT(c, link);
		if (c->port != port)
			continue;
		if (end == SIM_POWER_CUT)
			wait_ns += prng_below(&net->prng, SILENCE_MAX_NS);
		if (c->is_ready)
			TAILQ_REMOVE(&port->ready, c, ready);
		c->is_ready = false;
		c->port = NULL;
		c->listener = NULL;
		c->req = NULL;
		c->server_gone = true;
		break_connection(c, wait_ns);
		release(c);
	}
	LIST_REMOVE(port, link);
	free(port);
}

static struct net_port *port_of(struct sim_net *net, unsigned node, unsigned worker)
{
	struct net_port *port;

	LIST_FOREACH(port, &net->ports, link)
	{
		if (port->node == node && port->worker == worker)
			return port;
	}
	port = calloc(1, sizeof(*port));
	assert(port != NULL);
	*port = (struct net_port){ .net = net, .node = node, .worker = worker };
	port->transport = (struct transport){
		.ops = &port_ops,
		.worker = sim_worker(net->sim, node, worker),
	};
	port->device.end = port_end;
	TAILQ_INIT(&port->ready);
	worker_add_transport(port->transport.worker, &port->transport);
	sim_add_device(net->sim, &port->device, node);
	LIST_INSERT_HEAD(&net->ports, port, link);
	return port;
}

static void listener_close(struct listener *listener)
{
	container_of(listener, struct net_listener, listener)->closed = true;
}

static const struct listener_ops listener_ops = { .name = "sim", .close = listener_close };

struct listener *sim_listen(struct sim_net *net, const struct sim_listen_options *options)
{
	struct net_listener *l = calloc(1, sizeof(*l));

	assert(l != NULL);
	assert(options->handler != NULL);
	l->port = port_of(net, options->node, options->worker);
	l->listener = (struct listener){
		.ops = &listener_ops,
		.worker = l->port->transport.worker,
		.handler = options->handler,
		.owner = options->owner,
	};
	snprintf(l->listener.address, sizeof(l->listener.address), "%s", options->address);
	LIST_INSERT_HEAD(&net->listeners, l, link);
	return &l->listener;
}

/* The client's end. */

/* Any of those that listen at the address; NULL: none. */
static struct net_listener *choose_listener(struct sim_net *net, const char *address)
{
	struct net_listener *found[LISTENERS_MAX], *l;
	unsigned count = 0;

	LIST_FOREACH(l, &net->listeners, link)
	{
		if (!l->closed && count < LISTENERS_MAX &&
		    strcmp(l->listener.address, address) == 0)
			found[count++] = l;
	}
	return count == 0 ? NULL : found[prng_below(&net->prng, count)];
}

static void connect_arrives(struct sim *sim, struct sim_event *event)
{
	struct connection *c = container_of(event, struct connection, event);
	struct net_listener *l = choose_listener(c->net, c->address);

	if (l == NULL || prng_chance(&c->net->prng, c->net->options.refuse) ||
	    (c->net->cut_nodes & 1ull << l->port->node)) {
		c->net->stats.refused++;
		c->server_gone = true;
		tell_client(c, STATUS_UNAVAILABLE);
		return;
	}
	sim_trace(sim, "net connection %u comes to %s, worker %u", c->number, c->address,
	          l->port->worker);
	c->listener = l;
	c->port = l->port;
	make_ready(c);
	if (c->client.handler->connected != NULL)
		c->client.handler->connected(&c->client);
}

static void pipe_init(struct connection *c, unsigned direction)
{
	struct pipe *pipe = &c->pipes[direction];
	uint8_t *sent = pipe->sent.data, *arrived = pipe->arrived.data;
	uint32_t room = c->net->options.buffer_size;

	*pipe = (struct pipe){ .connection = c };
	pipe->sent = (struct fifo){ .data = sent, .room = room };
	pipe->arrived = (struct fifo){ .data = arrived, .room = room };
}

struct sim_client *sim_connect(struct sim_net *net, const char *address,
                               const struct sim_client_handler *handler, void *owner)
{
	static const uint32_t pieces[] = { 1, 7, 100, 1460, 65536 };
	struct connection *c = LIST_FIRST(&net->free);

	if (c == NULL)
		return NULL;
	LIST_REMOVE(c, link);
	net->stats.connections++;
	for (unsigned i = 0; i < 2; i++)
		pipe_init(c, i);
	c->client = (struct sim_client){ .handler = handler, .owner = owner };
	c->piece_max = net->options.piece_max;
	if (c->piece_max == 0)
		c->piece_max = pieces[prng_below(&net->prng, array_count(pieces))];
	c->number = (uint32_t)++net->stats.connects;
	snprintf(c->address, sizeof(c->address), "%s", address);
	c->port = NULL;
	c->listener = NULL;
	c->req = NULL;
	c->send_ended = c->is_ready = c->accepted = c->paused = c->server_gone = false;
	c->client_gone = c->broken = c->server_told = c->client_told = c->client_waits = false;
	LIST_INSERT_HEAD(&net->live, c, link);
	sim_arm(net->sim, &c->event, latency(net), connect_arrives);
	return &c->client;
}

size_t sim_client_send(struct sim_client *client, struct bytes data)
{
	struct connection *c = container_of(client, struct connection, client);
	struct pipe *pipe = &c->pipes[TO_SERVER];
	uint32_t space = fifo_space(&pipe->sent);
	uint32_t size = data.size < space ? (uint32_t)data.size : space;

	assert(!c->client_gone);
	assert(!pipe->finished);
	if (c->broken)
		return data.size; /* into the void: ended() is on its way */
	fifo_put(&pipe->sent, data.data, size);
	c->client_waits = size < data.size;
	pipe_kick(pipe);
	return size;
}

void sim_client_resume(struct sim_client *client)
{
	assert(!client->paused);
	deliver_client(container_of(client, struct connection, client));
}

void sim_client_finish(struct sim_client *client)
{
	struct connection *c = container_of(client, struct connection, client);

	c->pipes[TO_SERVER].finished = true;
	pipe_kick(&c->pipes[TO_SERVER]);
}

void sim_client_reset(struct sim_client *client)
{
	struct connection *c = container_of(client, struct connection, client);

	assert(!c->client_gone);
	c->client_gone = true;
	if (c->port == NULL)
		c->server_gone = true; /* it never came there, or is gone */
	break_connection(c, 1);
	release(c);
}

void sim_client_close(struct sim_client *client)
{
	struct connection *c = container_of(client, struct connection, client);

	if (c->pipes[TO_CLIENT].arrived.count > 0 || c->port == NULL) {
		sim_client_reset(client);
		return;
	}
	assert(!c->client_gone);
	sim_client_finish(client);
	c->client_gone = true;
	release(c);
}

struct sim_net *sim_net_open(struct sim *sim, const struct sim_net_options *options)
{
	struct sim_net *net = calloc(1, sizeof(*net));
	struct sim_net_options *o;
	uint8_t *memory;

	assert(net != NULL);
	net->sim = sim;
	o = &net->options;
	*o = *options;
	if (o->connections_max == 0)
		o->connections_max = CONNECTIONS_MAX_DEFAULT;
	if (o->buffer_size == 0)
		o->buffer_size = BUFFER_SIZE_DEFAULT;
	if (o->latency_ns_mean == 0)
		o->latency_ns_mean = LATENCY_DEFAULT_NS;
	prng_init(&net->prng, o->seed);
	net->connections = calloc(o->connections_max, sizeof(*net->connections));
	net->memory = calloc(o->connections_max, 4ull * o->buffer_size);
	net->scratch = calloc(1, o->buffer_size);
	assert(net->connections != NULL && net->memory != NULL && net->scratch != NULL);
	memory = net->memory;
	for (uint32_t i = 0; i < o->connections_max; i++) {
		struct connection *c = &net->connections[i];

		c->net = net;
		for (unsigned n = 0; n < 2; n++) {
			c->pipes[n].sent.data = memory;
			c->pipes[n].arrived.data = memory + o->buffer_size;
			memory += 2ull * o->buffer_size;
		}
		LIST_INSERT_HEAD(&net->free, c, link);
	}
	return net;
}

void sim_net_close(struct sim_net *net)
{
	assert(LIST_EMPTY(&net->ports)); /* else: before sim_close() */
	free(net->connections);
	free(net->memory);
	free(net->scratch);
	free(net);
}

void sim_net_partition(struct sim_net *net, unsigned node, bool cut)
{
	assert(node < SIM_NODES_MAX);
	if (cut)
		net->cut_nodes |= 1ull << node;
	else
		net->cut_nodes &= ~(1ull << node);
}

void sim_net_stats(const struct sim_net *net, struct sim_net_stats *out)
{
	*out = net->stats;
}
