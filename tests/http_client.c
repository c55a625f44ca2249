/* SPDX-License-Identifier: Apache-2.0 */
#include "http_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"

enum { TURN_NS = 100000, TURNS_MAX = 1000000 };

static uint64_t bench_now_ns(struct clock *clock)
{
	return container_of(clock, struct http_bench, clock)->now_ns;
}

static uint64_t bench_wall_ms(struct clock *clock)
{
	return container_of(clock, struct http_bench, clock)->wall_ms;
}

static void client_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct http_client *client = container_of(stream, struct http_client, stream);

	assert(client->sending == NULL);
	client->sends++;
	client->sending = req;
	client->sending_size = 0;
	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		assert(cmd->iov[i].iov_len > 0);
		assert(client->output_size + cmd->iov[i].iov_len < HTTP_CLIENT_OUTPUT);
		memcpy(client->output + client->output_size, cmd->iov[i].iov_base,
		       cmd->iov[i].iov_len);
		client->output_size += cmd->iov[i].iov_len;
		client->sending_size += cmd->iov[i].iov_len;
	}
}

static void client_pause(struct stream *stream, bool paused)
{
	container_of(stream, struct http_client, stream)->paused = paused;
}

static void sent(struct http_client *client, enum status status)
{
	struct req *req = client->sending;

	client->sending = NULL;
	client->stream.sending = false;
	req_complete(req, status, client->sending_size);
}

static void client_stream_close(struct stream *stream)
{
	struct http_client *client = container_of(stream, struct http_client, stream);

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
	struct http_bench *bench = container_of(actor, struct http_bench, actor);
	unsigned count = 0;

	for (unsigned i = 0; i < HTTP_CLIENTS; i++) {
		struct http_client *client = &bench->clients[i];

		if (client->sending == NULL || client->stuck)
			continue;
		sent(client, STATUS_OK);
		count++;
	}
	return count;
}

static const struct actor_ops bench_actor_ops = { .name = "bench", .run = bench_actor_run };

struct http_bench *http_bench_open(const struct http_bench_options *options)
{
	struct http_bench *bench = calloc(1, sizeof(*bench));
	struct http_server_options with = {
		.handler = options->handler,
		.owner = options->owner,
		.limits = options->limits,
		.memory_size = options->pool_size != 0 ? options->pool_size : 1 << 20,
		.connections_max = HTTP_CLIENTS,
	};
	enum status status;

	assert(bench != NULL);
	bench->clock = (struct clock){ bench_now_ns, bench_wall_ms };
	bench->now_ns = 1000000000;
	bench->wall_ms = 784111777000; /* Sun, 06 Nov 1994 08:49:37 GMT */
	worker_init(&bench->worker, 0, ROLE_NETWORK, &bench->clock);
	bench->worker.now_ns = bench->now_ns;
	status = bufs_open(&bench->bufs,
	                   options->memory_size != 0 ? options->memory_size : 64 << 20, 0);
	assert(status == STATUS_OK);
	bench->mem = kv_mem_open(&(struct kv_mem_options){
	        .delay_ns_max = options->delay_ns_max,
	        .seed = 1,
	});
	bench->kv = kv_mem_attach(bench->mem, &bench->worker);
	if (options->prepare != NULL)
		with.owner = options->prepare(bench);
	with.worker = &bench->worker;
	with.bufs = &bench->bufs;
	status = http_server_open(&with, &bench->server);
	assert(status == STATUS_OK);
	bench->actor.ops = &bench_actor_ops;
	worker_add_actor(&bench->worker, &bench->actor);
	bench->listener = (struct listener){
		.worker = &bench->worker,
		.handler = &http_listener_handler,
		.owner = bench->server,
	};
	return bench;
}

static unsigned turn(struct http_bench *bench, uint64_t time_ns)
{
	bench->now_ns += time_ns;
	bench->wall_ms = 784111777000 + (bench->now_ns - 1000000000) / 1000000;
	return worker_turn(&bench->worker);
}

void http_bench_run(struct http_bench *bench)
{
	unsigned quiet = 0;
	struct kv_mem_stats stats;

	for (unsigned i = 0; quiet < 40; i++) {
		assert(i < TURNS_MAX); /* else: it never ends */
		kv_mem_stats(bench->mem, &stats);
		quiet = turn(bench, TURN_NS) == 0 && stats.in_flight == 0 ? quiet + 1 : 0;
	}
}

void http_bench_wait(struct http_bench *bench, uint64_t time_ns)
{
	for (unsigned i = 0; i < 100; i++)
		turn(bench, time_ns / 100);
}

void http_bench_close(struct http_bench *bench)
{
	struct kv_mem_stats stats;

	for (unsigned i = 0; i < HTTP_CLIENTS; i++)
		http_client_close(&bench->clients[i]);
	http_bench_run(bench);
	kv_mem_stats(bench->mem, &stats);
	assert(stats.handles_open == 0);
	assert(http_server_is_drained(bench->server));
	http_server_close(bench->server);
	assert(bench->bufs.used_size == 0);
	bench->kv->ops->close(bench->kv);
	kv_mem_close(bench->mem);
	bufs_close(&bench->bufs);
	for (unsigned i = 0; i < HTTP_CLIENTS; i++)
		free(bench->clients[i].output);
	free(bench);
}

struct http_client *http_client_open(struct http_bench *bench, unsigned index)
{
	struct http_client *client = &bench->clients[index];
	uint8_t *output = client->output;
	bool accepted;

	assert(index < HTTP_CLIENTS && !client->open);
	*client = (struct http_client){
		.stream = { .ops = &client_ops, .worker = &bench->worker, .local = true },
		.bench = bench,
		.open = true,
		.output = output != NULL ? output : malloc(HTTP_CLIENT_OUTPUT),
	};
	snprintf(client->stream.peer, sizeof(client->stream.peer), "127.0.0.1:%u", 50000 + index);
	assert(client->output != NULL);
	accepted = http_listener_handler.accepted(&bench->listener, &client->stream);
	assert(accepted);
	return client;
}

void http_client_close(struct http_client *client)
{
	if (!client->open)
		return;
	client->stream.handler->ended(&client->stream, STATUS_UNAVAILABLE);
	client->stuck = false;
	http_bench_run(client->bench);
	assert(!client->open);
}

void http_client_finish(struct http_client *client)
{
	assert(client->open);
	client->stream.handler->ended(&client->stream, STATUS_OK);
}

void http_client_bytes(struct http_client *client, const void *data, size_t size)
{
	/* In memory of its own, so that a sanitizer sees a use of it after received(). */
	uint8_t *copy = malloc(size);

	assert(copy != NULL && client->open);
	memcpy(copy, data, size);
	client->stream.handler->received(&client->stream, bytes_of(copy, size));
	free(copy);
}

void http_client_text(struct http_client *client, const char *text)
{
	http_client_bytes(client, text, strlen(text));
}

const char *http_client_output(struct http_client *client)
{
	client->output[client->output_size] = '\0';
	client->output_size = 0;
	return (const char *)client->output;
}

const char *http_ask_raw(struct http_client *client, const char *bytes)
{
	client->output_size = 0;
	http_client_bytes(client, bytes, strlen(bytes));
	http_bench_run(client->bench);
	return http_client_output(client);
}

const char *http_ask(struct http_client *client, const char *line, const char *fields,
                     const char *body)
{
	static char text[1 << 20];
	int size = snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: localhost:8080\r\n%s", line,
	                    fields != NULL ? fields : "");

	if (body != NULL)
		size += snprintf(text + size, sizeof(text) - (size_t)size,
		                 "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	else
		size += snprintf(text + size, sizeof(text) - (size_t)size, "\r\n");
	assert(size < (int)sizeof(text));
	return http_ask_raw(client, text);
}

unsigned http_answer_status(const char *answer)
{
	return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (unsigned)strtoul(answer + 9, NULL, 10) : 0;
}

const char *http_answer_text_of(const char *answer)
{
	const char *end = strstr(answer, "\r\n\r\n");

	return end == NULL ? NULL : end + 4;
}

size_t http_unchunk(char *text)
{
	char *to = text, *from = text;

	for (;;) {
		size_t size = strtoul(from, &from, 16);

		if (strncmp(from, "\r\n", 2) != 0)
			return SIZE_MAX;
		from += 2;
		if (size == 0)
			return strcmp(from, "\r\n") == 0 ? (size_t)(to - text) : SIZE_MAX;
		memmove(to, from, size);
		to += size;
		from += size;
		if (strncmp(from, "\r\n", 2) != 0)
			return SIZE_MAX;
		from += 2;
	}
}
