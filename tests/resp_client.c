/* SPDX-License-Identifier: Apache-2.0 */
#include "resp_client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum { TURN_NS = 100000, TURNS_MAX = 1000000 };

static uint64_t bench_now_ns(struct clock *clock)
{
	return container_of(clock, struct resp_bench, clock)->now_ns;
}

static uint64_t bench_wall_ms(struct clock *clock)
{
	return container_of(clock, struct resp_bench, clock)->wall_ms;
}

static void client_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct resp_client *client = container_of(stream, struct resp_client, stream);

	assert(client->sending == NULL);
	client->sends++;
	client->sending = req;
	client->sending_size = 0;
	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		assert(cmd->iov[i].iov_len > 0);
		assert(client->output_size + cmd->iov[i].iov_len < RESP_CLIENT_OUTPUT);
		memcpy(client->output + client->output_size, cmd->iov[i].iov_base,
		       cmd->iov[i].iov_len);
		client->output_size += cmd->iov[i].iov_len;
		client->sending_size += cmd->iov[i].iov_len;
	}
}

static void client_pause(struct stream *stream, bool paused)
{
	container_of(stream, struct resp_client, stream)->paused = paused;
}

static void sent(struct resp_client *client, enum status status)
{
	struct req *req = client->sending;

	client->sending = NULL;
	client->stream.sending = false;
	req_complete(req, status, client->sending_size);
}

static void client_stream_close(struct stream *stream)
{
	struct resp_client *client = container_of(stream, struct resp_client, stream);

	client->open = false;
	if (client->sending != NULL)
		sent(client, STATUS_CANCELED);
}

static const struct stream_ops client_ops = {
	.name = "test",
	.send = client_send,
	.pause = client_pause,
	.close = client_stream_close,
};

static unsigned bench_actor_run(struct actor *actor)
{
	struct resp_bench *bench = container_of(actor, struct resp_bench, actor);
	unsigned count = 0;

	for (unsigned i = 0; i < RESP_CLIENTS; i++) {
		struct resp_client *client = &bench->clients[i];

		if (client->sending == NULL || client->stuck)
			continue;
		sent(client, STATUS_OK);
		count++;
	}
	return count;
}

static const struct actor_ops bench_actor_ops = { .name = "bench", .run = bench_actor_run };

struct resp_bench *resp_bench_open(const struct resp_bench_options *options)
{
	static const struct resp_bench_options none;
	struct resp_bench *bench = calloc(1, sizeof(*bench));
	enum status status;

	assert(bench != NULL);
	if (options == NULL)
		options = &none;
	bench->clock = (struct clock){ bench_now_ns, bench_wall_ms };
	bench->now_ns = 1000000000;
	bench->wall_ms = 1700000000000;
	worker_init(&bench->worker, 0, ROLE_NETWORK, &bench->clock);
	status = bufs_open(&bench->bufs,
	                   options->memory_size != 0 ? options->memory_size : 64 << 20, 0);
	assert(status == STATUS_OK);
	bench->mem = kv_mem_open(&(struct kv_mem_options){
	        .delay_ns_max = options->delay_ns_max,
	        .seed = 1,
	});
	bench->kv = kv_mem_attach(bench->mem, &bench->worker);
	status = resp_server_open(&bench->server, &(struct resp_server_options){
	                                                  .worker = &bench->worker,
	                                                  .kv = bench->kv,
	                                                  .bufs = &bench->bufs,
	                                                  .kv_is_local = !options->remote,
	                                                  .calls_max = options->calls_max,
	                                                  .connections_max = RESP_CLIENTS,
	                                          });
	assert(status == STATUS_OK);
	bench->actor.ops = &bench_actor_ops;
	worker_add_actor(&bench->worker, &bench->actor);
	bench->listener = (struct listener){
		.worker = &bench->worker,
		.handler = &resp_listener_handler,
		.owner = &bench->server,
	};
	return bench;
}

void resp_bench_run(struct resp_bench *bench)
{
	unsigned quiet = 0;
	struct kv_mem_stats stats;

	for (unsigned turn = 0; quiet < 3; turn++) {
		assert(turn < TURNS_MAX); /* else: it never ends */
		bench->now_ns += TURN_NS;
		bench->wall_ms += turn % 10 == 9;
		kv_mem_stats(bench->mem, &stats);
		quiet = worker_turn(&bench->worker) == 0 && stats.in_flight == 0 ? quiet + 1 : 0;
	}
}

void resp_bench_close(struct resp_bench *bench)
{
	struct kv_mem_stats stats;

	for (unsigned i = 0; i < RESP_CLIENTS; i++)
		resp_client_close(&bench->clients[i]);
	resp_bench_run(bench);
	kv_mem_stats(bench->mem, &stats);
	assert(stats.handles_open == 0);
	assert(bench->server.connection_count == 0);
	resp_server_close(&bench->server);
	bench->kv->ops->close(bench->kv);
	kv_mem_close(bench->mem);
	bufs_close(&bench->bufs);
	for (unsigned i = 0; i < RESP_CLIENTS; i++)
		free(bench->clients[i].output);
	free(bench);
}

struct resp_client *resp_client_open(struct resp_bench *bench, unsigned index)
{
	struct resp_client *client = &bench->clients[index];
	uint8_t *output = client->output;
	bool accepted;

	assert(index < RESP_CLIENTS && !client->open);
	*client = (struct resp_client){
		.stream = { .ops = &client_ops, .worker = &bench->worker },
		.bench = bench,
		.open = true,
		.output = output != NULL ? output : malloc(RESP_CLIENT_OUTPUT),
	};
	assert(client->output != NULL);
	accepted = resp_listener_handler.accepted(&bench->listener, &client->stream);
	assert(accepted);
	return client;
}

void resp_client_close(struct resp_client *client)
{
	if (!client->open)
		return;
	client->stream.handler->ended(&client->stream, STATUS_UNAVAILABLE);
	client->stuck = false;
	resp_bench_run(client->bench);
	assert(!client->open);
}

void resp_client_bytes(struct resp_client *client, const void *data, size_t size)
{
	/* In memory of its own, so that a sanitizer sees a use of it after received(). */
	uint8_t *copy = malloc(size);

	assert(copy != NULL && client->open);
	memcpy(copy, data, size);
	client->stream.handler->received(&client->stream, bytes_of(copy, size));
	free(copy);
}

static const char *output_take(struct resp_client *client)
{
	resp_bench_run(client->bench);
	client->output[client->output_size] = '\0';
	client->output_size = 0;
	return (const char *)client->output;
}

const char *resp_ask_raw(struct resp_client *client, const char *bytes)
{
	client->output_size = 0;
	resp_client_bytes(client, bytes, strlen(bytes));
	return output_take(client);
}

const char *resp_ask(struct resp_client *client, const char *format, ...)
{
	static char line[4096], word[4096], request[65536];
	struct bytes rest;
	unsigned count = 0;
	long size, used;
	va_list arguments;

	va_start(arguments, format);
	size = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	assert(size >= 0 && size < (long)sizeof(line));
	rest = bytes_of(line, (size_t)size);
	while (resp_split_word(&rest, (uint8_t *)word) >= 0)
		count++;
	used = sprintf(request, "*%u\r\n", count);
	rest = bytes_of(line, strlen(line));
	while ((size = resp_split_word(&rest, (uint8_t *)word)) >= 0) {
		used += sprintf(request + used, "$%ld\r\n", size);
		memcpy(request + used, word, (size_t)size);
		used += size;
		used += sprintf(request + used, "\r\n");
	}
	client->output_size = 0;
	resp_client_bytes(client, request, (size_t)used);
	return output_take(client);
}
