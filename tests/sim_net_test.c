/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "sim/sim_net.h"

enum { SESSIONS = 32, SESSION_BUFFER = 4096, CLIENTS = 8 };

/* A server that sends back what it receives. */
struct session {
	struct stream *stream; /* NULL: free */
	struct req req;
	struct iovec iov;
	uint32_t count; /* bytes held */
	uint8_t data[SESSION_BUFFER];
	bool sending, ended, paused;
};

struct session_frame {
	struct frame frame;
	struct session *session;
};

static struct session sessions[SESSIONS];
static unsigned sends_failed, accepted_count;
static struct sim *sim;
static struct sim_net *net;

static void pump(struct session *session);

static void session_end(struct session *session)
{
	struct stream *stream = session->stream;

	session->stream = NULL;
	stream_close(stream);
}

static void echo_sent(struct req *req)
{
	struct session *session = req_pop(req, struct session_frame)->session;

	session->sending = false;
	if (req->status != STATUS_OK) {
		sends_failed++;
		session->count = 0;
		if (session->stream != NULL && session->ended)
			session_end(session); /* it was told of the end before, and is not again */
		return;
	}
	assert_int_equal(req->result, session->iov.iov_len);
	session->count -= (uint32_t)session->iov.iov_len;
	memmove(session->data, session->data + session->iov.iov_len, session->count);
	if (session->stream != NULL)
		pump(session);
}

static void pump(struct session *session)
{
	if (session->paused && session->count < SESSION_BUFFER / 2) {
		session->paused = false;
		stream_pause(session->stream, false);
	}
	if (session->sending)
		return;
	if (session->count == 0) {
		if (session->ended)
			session_end(session);
		return;
	}
	session->sending = true;
	session->iov = (struct iovec){ session->data, session->count };
	req_init(&session->req, session->stream->worker);
	req_push(&session->req, struct session_frame, echo_sent)->session = session;
	stream_send(session->stream, &session->req,
	            &(struct stream_cmd){ .iov_count = 1, .iov = &session->iov });
}

static void echo_received(struct stream *stream, struct bytes data)
{
	struct session *session = stream->owner;

	assert_false(session->paused);
	if (data.size > SESSION_BUFFER - session->count)
		data.size = SESSION_BUFFER - session->count; /* only when buffers are too large */
	memcpy(session->data + session->count, data.data, data.size);
	session->count += (uint32_t)data.size;
	if (session->count > SESSION_BUFFER / 2) {
		session->paused = true;
		stream_pause(stream, true);
	}
	pump(session);
}

static void echo_ended(struct stream *stream, enum status status)
{
	struct session *session = stream->owner;

	session->ended = true;
	if (status != STATUS_OK)
		session_end(session);
	else
		pump(session);
}

static const struct stream_handler echo_stream = { echo_received, echo_ended };

static bool echo_accepted(struct listener *listener, struct stream *stream)
{
	(void)listener;
	accepted_count++;
	for (unsigned i = 0; i < SESSIONS; i++) {
		if (sessions[i].stream != NULL || sessions[i].sending)
			continue;
		sessions[i] = (struct session){ .stream = stream };
		stream->handler = &echo_stream;
		stream->owner = &sessions[i];
		return true;
	}
	return false;
}

static const struct listener_handler echo_listener = { echo_accepted };

/* A client that sends numbered bytes and wants them back. */
struct talker {
	struct sim_client *client;
	uint32_t to_send, sent, got;
	bool connected, ended, wrong, finished;
	enum status status;
};

static struct talker talkers[CLIENTS];

static uint8_t byte_at(const struct talker *talker, uint32_t index)
{
	return (uint8_t)(index * 31 + (uint32_t)(talker - talkers) * 7 + (index >> 8));
}

static void talk(struct talker *talker)
{
	while (talker->sent < talker->to_send) {
		uint8_t data[700];
		uint32_t count = 0;
		size_t took;

		while (count < sizeof(data) && talker->sent + count < talker->to_send) {
			data[count] = byte_at(talker, talker->sent + count);
			count++;
		}
		took = sim_client_send(talker->client, bytes_of(data, count));
		talker->sent += (uint32_t)took;
		if (took < count)
			return;
	}
	if (!talker->finished)
		sim_client_finish(talker->client);
	talker->finished = true;
}

static void talker_connected(struct sim_client *client)
{
	((struct talker *)client->owner)->connected = true;
}

static void talker_received(struct sim_client *client, struct bytes data)
{
	struct talker *talker = client->owner;

	for (size_t i = 0; i < data.size; i++)
		talker->wrong |= data.data[i] != byte_at(talker, talker->got++);
}

static void talker_writable(struct sim_client *client)
{
	talk(client->owner);
}

static void talker_ended(struct sim_client *client, enum status status)
{
	struct talker *talker = client->owner;

	talker->ended = true;
	talker->status = status;
	sim_client_close(client);
	talker->client = NULL;
}

static const struct sim_client_handler talker_handler = { talker_connected, talker_received,
	                                                  talker_writable, talker_ended };

static void start_net(uint64_t seed, const struct sim_net_options *options)
{
	struct sim_net_options o = *options;

	o.seed = seed;
	if (o.buffer_size == 0)
		o.buffer_size = 1000;
	memset(sessions, 0, sizeof(sessions));
	memset(talkers, 0, sizeof(talkers));
	sends_failed = accepted_count = 0;
	sim = sim_open(&(struct sim_options){ .seed = seed, .workers_per_node = 2 });
	net = sim_net_open(sim, &o);
	for (unsigned i = 0; i < 2; i++)
		sim_listen(net, &(struct sim_listen_options){ .worker = i,
		                                              .address = "127.0.0.1:7",
		                                              .handler = &echo_listener });
}

static void end_net(void)
{
	sim_close(sim);
	sim_net_close(net);
}

static void start_talker(unsigned index, uint32_t bytes)
{
	talkers[index] = (struct talker){ .to_send = bytes };
	talkers[index].client = sim_connect(net, "127.0.0.1:7", &talker_handler, &talkers[index]);
	assert_non_null(talkers[index].client);
	talk(&talkers[index]);
}

static bool all_ended(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (talkers[i].to_send > 0 && !talkers[i].ended)
			return false;
	}
	return true;
}

static void assert_nothing_left(void)
{
	struct sim_net_stats stats;

	assert_true(sim_settle(sim, 100000));
	sim_net_stats(net, &stats);
	assert_int_equal(stats.connections, 0);
}

static void test_bytes_come_back_in_order(void **state)
{
	struct sim_net_stats stats;

	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		start_net(seed, &(struct sim_net_options){ .stall = 1000 });
		for (unsigned i = 0; i < CLIENTS; i++)
			start_talker(i, 1 + 1500 * i);
		assert_true(sim_run(sim, all_ended, NULL, 1000000));
		for (unsigned i = 0; i < CLIENTS; i++) {
			assert_true(talkers[i].connected);
			assert_false(talkers[i].wrong);
			assert_int_equal(talkers[i].status, STATUS_OK);
			assert_int_equal(talkers[i].got, talkers[i].to_send);
		}
		assert_nothing_left();
		sim_net_stats(net, &stats);
		assert_int_equal(stats.resets, 0);
		assert_int_equal(accepted_count, CLIENTS);
		end_net();
	}
}

static void test_resets(void **state)
{
	unsigned broken = 0, whole = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		start_net(seed, &(struct sim_net_options){ .reset = 10000, .refuse = 100000 });
		for (unsigned i = 0; i < CLIENTS; i++)
			start_talker(i, 1 + 200 * i);
		assert_true(sim_run(sim, all_ended, NULL, 1000000));
		for (unsigned i = 0; i < CLIENTS; i++) {
			assert_false(talkers[i].wrong);
			assert_true(talkers[i].got <= talkers[i].to_send);
			broken += talkers[i].status != STATUS_OK;
			whole += talkers[i].status == STATUS_OK &&
			         talkers[i].got == talkers[i].to_send;
		}
		assert_nothing_left();
		for (unsigned i = 0; i < SESSIONS; i++)
			assert_null(sessions[i].stream); /* the server was told of each */
		end_net();
	}
	assert_true(broken > 50);
	assert_true(whole > 50);
}

static void test_a_client_that_does_not_read(void **state)
{
	struct sim_net_stats stats;

	(void)state;
	start_net(1, &(struct sim_net_options){ 0 });
	start_talker(0, 100000);
	talkers[0].client->paused = true;
	assert_true(sim_settle(sim, 100000));
	assert_true(talkers[0].sent < 20000); /* held back: every buffer on the way is full */
	assert_int_equal(talkers[0].got, 0);
	talkers[0].client->paused = false;
	sim_client_resume(talkers[0].client);
	assert_true(sim_run(sim, all_ended, NULL, 1000000));
	assert_int_equal(talkers[0].got, 100000);
	assert_false(talkers[0].wrong);
	start_talker(1, 100000);
	talkers[1].client->paused = true;
	assert_true(sim_settle(sim, 100000));
	sim_client_reset(talkers[1].client);
	assert_nothing_left();
	assert_int_equal(sends_failed, 1);
	sim_net_stats(net, &stats);
	assert_int_equal(stats.resets, 1);
	end_net();
}

static void test_a_server_that_dies(void **state)
{
	(void)state;
	for (unsigned end = SIM_KILL; end <= SIM_POWER_CUT; end++) {
		uint64_t told_ns;

		start_net(end, &(struct sim_net_options){ 0 });
		for (unsigned i = 0; i < 4; i++)
			start_talker(i, 50000);
		for (unsigned i = 0; i < 500; i++)
			sim_step(sim);
		told_ns = sim_now_ns(sim);
		sim_stop(sim, 0, (enum sim_end)end);
		assert_true(sim_run(sim, all_ended, NULL, 1000000));
		told_ns = sim_now_ns(sim) - told_ns;
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(talkers[i].status, STATUS_UNAVAILABLE);
		/* A kernel says so at once, a dead machine says nothing for a while. */
		assert_true(end == SIM_KILL ? told_ns < 5000000 : told_ns > 5000000);
		start_talker(0, 10);
		assert_true(sim_run(sim, all_ended, NULL, 1000000));
		assert_int_equal(talkers[0].status, STATUS_UNAVAILABLE); /* nobody listens */
		sim_start(sim, 0);
		memset(sessions, 0, sizeof(sessions));
		sim_listen(net, &(struct sim_listen_options){ .address = "127.0.0.1:7",
		                                              .handler = &echo_listener });
		start_talker(0, 10);
		assert_true(sim_run(sim, all_ended, NULL, 1000000));
		assert_int_equal(talkers[0].got, 10);
		end_net();
	}
}

static void test_partition(void **state)
{
	(void)state;
	start_net(1, &(struct sim_net_options){ 0 });
	start_talker(0, 5000);
	while (talkers[0].got == 0)
		sim_step(sim);
	sim_net_partition(net, 0, true);
	for (unsigned i = 0; i < 500; i++)
		sim_step(sim);
	assert_false(talkers[0].ended);
	sim_net_partition(net, 0, false);
	assert_true(sim_run(sim, all_ended, NULL, 1000000));
	assert_int_equal(talkers[0].got, 5000);
	end_net();
}

static uint64_t digest_of(uint64_t seed)
{
	uint64_t digest;

	start_net(seed, &(struct sim_net_options){ .reset = 2000 });
	for (unsigned i = 0; i < CLIENTS; i++)
		start_talker(i, 1000 * i + 1);
	assert_true(sim_run(sim, all_ended, NULL, 1000000));
	digest = sim_digest(sim);
	end_net();
	return digest;
}

static void test_same_seed_same_network(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		assert_int_equal(digest_of(seed), digest_of(seed));
		assert_true(digest_of(seed) != digest_of(seed + 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_come_back_in_order),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_a_client_that_does_not_read),
		cmocka_unit_test(test_a_server_that_dies),
		cmocka_unit_test(test_partition),
		cmocka_unit_test(test_same_seed_same_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
