/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer of TLS that says anything at any time: its own handshake, cut, changed and mixed with what
 * the input says. Each input is a program of steps; chance is the same each time.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "base/prng.h"
#include "layer/stream_tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WIRE_MAX = 1 << 17 };

/* A key that guards nothing. */
static const char key_text[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcJ+zOvM2MaFudMSu\n"
                               "ZjBOMBBA2ba3GLdDcicq4qFaDFChRANCAARrtLNp6LTgz0gpoiX91I1gQ/VCHtUB\n"
                               "QYm8ZIhG9HUqXMdjUZMOy6HfRT1uVK/kUwH/F8UbjiPQ33LdkiExDXcm\n"
                               "-----END PRIVATE KEY-----\n";
static const char certificate_text[] =
        "-----BEGIN CERTIFICATE-----\n"
        "MIIBdjCCARugAwIBAgIUSwHYyJ9tboAfADFLrtRWDnBD35AwCgYIKoZIzj0EAwIw\n"
        "DzENMAsGA1UEAwwEZnV6ejAgFw0yNjExMjIyMDA2MTJaGA8yMTI2MTAyOTIwMDYx\n"
        "MlowDzENMAsGA1UEAwwEZnV6ejBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGu0\n"
        "s2notODPSCmiJf3UjWBD9UIe1QFBibxkiEb0dSpcx2NRkw7Lod9FPW5Ur+RTAf8X\n"
        "xRuOI9Dfct2SITENdyajUzBRMB0GA1UdDgQWBBQcZhmDKwqnZeBEq9hOqJXEz32H\n"
        "YTAfBgNVHSMEGDAWgBQcZhmDKwqnZeBEq9hOqJXEz32HYTAPBgNVHRMBAf8EBTAD\n"
        "AQH/MAoGCCqGSM49BAMCA0kAMEYCIQDutO3tUzswAnFhs6hj+5iBMq/6hb1vaBad\n"
        "PKWCEF2oUwIhAJUci9HORuzrQTUYqm0/1pltvG5IQQwEWH5+OprSTCIr\n"
        "-----END CERTIFICATE-----\n";

/* The stream below one side: what it sends waits for the program to hand it over. */
struct wire {
	struct stream stream;
	uint8_t sent[WIRE_MAX];
	size_t head, tail;
	bool paused;
};

static struct wire wires[2]; /* the server's, the client's */
static struct worker worker;
static struct bufs bufs;
static struct stream_tls *server, *client;
static struct stream_tls_context *client_context;
static struct listener *listener;
static struct listener lower_listener;
static struct stream *uppers[2];
static struct req reqs[2];
static struct prng prng;
static uint64_t now_ns;

static uint64_t clock_now(struct clock *clock)
{
	(void)clock;
	return now_ns;
}

static struct clock by_hand = { .now_ns = clock_now, .wall_ms = clock_now };

static void draw(void *owner, uint8_t *out, size_t size)
{
	(void)owner;
	prng_fill(&prng, out, size);
}

static void wire_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct wire *wire = container_of(stream, struct wire, stream);
	uint64_t size = 0;

	memmove(wire->sent, wire->sent + wire->head, wire->tail - wire->head);
	wire->tail -= wire->head;
	wire->head = 0;
	for (uint32_t i = 0; i < cmd->iov_count; i++) {
		size_t part = cmd->iov[i].iov_len;

		assert(wire->tail + part <= WIRE_MAX);
		memcpy(wire->sent + wire->tail, cmd->iov[i].iov_base, part);
		wire->tail += part;
		size += part;
	}
	stream->sending = false;
	req_complete(req, STATUS_OK, size);
}

static void wire_pause(struct stream *stream, bool paused)
{
	container_of(stream, struct wire, stream)->paused = paused;
}

static void wire_close(struct stream *stream)
{
	(void)stream;
}

static const struct stream_ops wire_ops = {
	.name = "wire",
	.send = wire_send,
	.pause = wire_pause,
	.close = wire_close,
};

static void received(struct stream *stream, struct bytes data)
{
	assert(!stream->closed && !stream->ended);
	assert(data.size > 0);
}

static void ended(struct stream *stream, enum status status)
{
	assert(!stream->closed);
	assert(status < STATUS_COUNT);
}

static const struct stream_handler handler = { .received = received, .ended = ended };

static bool accepted(struct listener *l, struct stream *stream)
{
	(void)l;
	assert(uppers[0] == NULL);
	assert(stream->security != NULL);
	stream->handler = &handler;
	uppers[0] = stream;
	return true;
}

static const struct listener_handler listener_handler = { .accepted = accepted };

static void open_once(void)
{
	struct stream_tls_options options = {
		.worker = &worker, .bufs = &bufs, .memory_size = 1 << 20, .random = draw
	};
	const struct stream_tls_identity is_server = {
		.server = true,
		.certificate = bytes_of(certificate_text, sizeof(certificate_text) - 1),
		.key = bytes_of(key_text, sizeof(key_text) - 1),
	};
	const struct stream_tls_identity is_client = { .trust_anyone = true };
	const struct stream_tls_listen listen = { "h2,http/1.1", &listener_handler, NULL };
	struct stream_tls_context *context;
	char error[STREAM_TLS_ERROR_SIZE];
	enum status status;

	if (server != NULL)
		return;
	now_ns = 1000000000;
	prng_init(&prng, 1);
	worker_init(&worker, 0, 0, &by_hand);
	status = bufs_open(&bufs, 4 << 20, 0);
	assert(status == STATUS_OK);
	status = stream_tls_open(&options, &server);
	assert(status == STATUS_OK);
	status = stream_tls_open(&options, &client);
	assert(status == STATUS_OK);
	status = stream_tls_context_open(server, &is_server, &context, error);
	assert(status == STATUS_OK);
	stream_tls_use(server, context);
	status = stream_tls_context_open(client, &is_client, &client_context, error);
	assert(status == STATUS_OK);
	status = stream_tls_listen(server, &listen, &listener);
	assert(status == STATUS_OK);
	lower_listener.owner = listener;
}

static struct stream *wire_open(struct wire *wire)
{
	wire->head = wire->tail = 0;
	wire->paused = false;
	wire->stream = (struct stream){ .ops = &wire_ops, .worker = &worker };
	return &wire->stream;
}

static void hand_over(struct wire *to, struct bytes bytes)
{
	uint8_t *copy;

	if (bytes.size == 0 || to->paused || to->stream.closed || to->stream.ended)
		return;
	copy = malloc(bytes.size);
	assert(copy != NULL);
	memcpy(copy, bytes.data, bytes.size);
	to->stream.handler->received(&to->stream, bytes_of(copy, bytes.size));
	free(copy);
}

static void turns(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		worker_turn(&worker);
}

/* The next bytes of a side to the other one, of which one may be another. */
static void move(unsigned from, size_t size, uint8_t change)
{
	struct wire *wire = &wires[from], *to = &wires[1 - from];
	size_t there = wire->tail - wire->head;

	if (to->paused || to->stream.closed)
		return;
	size = size < there ? size : there;
	if (change != 0 && size > 0)
		wire->sent[wire->head + change % size] ^= change;
	hand_over(to, bytes_of(wire->sent + wire->head, size));
	wire->head += size;
}

static void sent(struct req *req)
{
	req_pop(req, struct frame);
}

static void act(unsigned side, uint8_t what)
{
	static const uint8_t zeros[40000];
	static struct iovec iov[2][2];
	struct stream *upper = uppers[side];

	if (upper == NULL)
		return;
	if (what % 4 == 0) {
		stream_close(upper);
		uppers[side] = NULL;
	} else if (what % 4 == 3 && !upper->sending && reqs[side].state == REQ_IDLE &&
	           wires[side].tail - wires[side].head < WIRE_MAX / 2) {
		iov[side][0] = (struct iovec){ (void *)(uintptr_t)zeros, what };
		iov[side][1] = (struct iovec){ (void *)(uintptr_t)zeros, what % 8 * 5000u };
		req_init(&reqs[side], &worker);
		req_push(&reqs[side], struct frame, sent);
		stream_send(upper, &reqs[side], &(struct stream_cmd){ 2, iov[side] });
	} else if (what % 4 < 3) {
		stream_pause(upper, what % 4 == 1);
	}
}

/* One step: what, how much, and for some of them bytes. */
static void step(const uint8_t **data, size_t *size)
{
	uint8_t what = (*data)[0], much = (*data)[1];
	size_t part;

	*data += 2;
	*size -= 2;
	switch (what % 8) {
	case 0: /* anything, to the server or the client */
		part = much < *size ? much : *size;
		hand_over(&wires[what / 8 % 2], bytes_of(*data, part));
		*data += part;
		*size -= part;
		break;
	case 1:
		act(what / 8 % 2, much);
		break;
	case 2: /* a changed byte */
		move(what / 8 % 2, 300, much);
		break;
	case 3: /* an end as any middlebox can make it */
		if (!wires[what / 8 % 2].stream.closed && !wires[what / 8 % 2].stream.ended &&
		    !wires[what / 8 % 2].paused) {
			wires[what / 8 % 2].stream.ended = true;
			wires[what / 8 % 2].stream.handler->ended(&wires[what / 8 % 2].stream,
			                                          what & 16 ? STATUS_OK
			                                                    : STATUS_UNAVAILABLE);
		}
		break;
	default:
		move(what / 8 % 2, much < 200 ? much : WIRE_MAX, 0);
	}
	turns(what / 16 % 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream_tls_connect connect = { .alpn = "h2", .handler = &handler };
	enum status status;
	bool taken;

	open_once();
	prng_init(&prng, 7);
	connect.context = client_context;
	connect.lower = wire_open(&wires[1]);
	taken = stream_tls_listener.accepted(&lower_listener, wire_open(&wires[0]));
	assert(taken);
	status = stream_tls_connect(client, &connect, &uppers[1]);
	assert(status == STATUS_OK);
	while (size >= 2)
		step(&data, &size);
	for (unsigned i = 0; i < 2; i++) {
		if (uppers[i] != NULL)
			stream_close(uppers[i]);
		uppers[i] = NULL;
	}
	for (unsigned i = 0; i < 4; i++) {
		now_ns += 6000000000;
		turns(4);
		if (uppers[0] != NULL) /* its handshake ended only now */
			stream_close(uppers[0]);
		uppers[0] = NULL;
	}
	assert(stream_tls_is_drained(server));
	assert(stream_tls_is_drained(client));
	assert(reqs[0].state == REQ_IDLE && reqs[1].state == REQ_IDLE);
	assert(bufs.used_size == 0);
	return 0;
}
