/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes through TLS: whole, in order, held back, and ended by who may end them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "tls_rig.h"

static uint8_t *random_bytes(uint64_t seed, size_t size)
{
	uint8_t *data = malloc(size);
	struct prng prng;

	assert_non_null(data);
	prng_init(&prng, seed);
	prng_fill(&prng, data, size);
	return data;
}

static void test_both_sides_get_what_the_other_sent(void **state)
{
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 1 });
	server = tls_rig_join(&rig, &client);
	assert_string_equal(server->stream->security->version, "TLSv1.3");
	assert_string_equal(stream_alpn(server->stream), "");
	assert_string_equal(server->stream->peer, "pair");
	tls_side_send_bytes(&client, BYTES("hello"));
	tls_side_send_bytes(server, BYTES("good day"));
	tls_rig_settle(&rig);
	assert_int_equal(client.sends, 1);
	assert_int_equal(client.send_status, STATUS_OK);
	assert_int_equal(client.send_result, 5);
	assert_int_equal(server->size, 5);
	assert_memory_equal(server->data, "hello", 5);
	assert_int_equal(client.size, 8);
	assert_memory_equal(client.data, "good day", 8);
	assert_int_equal(rig.bufs.used_size, 0);
	tls_side_close(&client);
	tls_rig_settle(&rig);
	assert_int_equal(server->ends, 1);
	assert_int_equal(server->end_status, STATUS_OK);
	tls_rig_close(&rig);
}

static void test_a_send_waits_for_the_handshake(void **state)
{
	struct stream_pair *pair;
	struct tls_side client;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 2 });
	assert_true(tls_rig_accept(&rig, &pair));
	tls_rig_connect(&rig, pair, "localhost", NULL, &client);
	tls_side_send_bytes(&client, BYTES("early"));
	assert_int_equal(client.sends, 0);
	tls_rig_settle(&rig);
	assert_int_equal(client.sends, 1);
	assert_int_equal(rig.accepted_count, 1);
	assert_memory_equal(rig.accepted[0].data, "early", 5);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

/* A megabyte each way, over a path that takes and gives as little as `piece` and `capacity`. */
static void move_much(uint64_t seed, size_t piece, size_t capacity, size_t size)
{
	uint8_t *up = random_bytes(seed, size), *down = random_bytes(seed + 1, size);
	size_t up_size = 0, down_size = 0;
	struct stream_pair *pair;
	struct tls_side client, *server;
	struct tls_rig rig;

	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = seed });
	assert_true(tls_rig_accept(&rig, &pair));
	pair->piece = piece;
	pair->capacity = capacity;
	tls_rig_connect(&rig, pair, "localhost", NULL, &client);
	tls_rig_settle(&rig);
	assert_int_equal(rig.accepted_count, 1);
	server = &rig.accepted[0];
	while (up_size < size || down_size < size) {
		size_t part = prng_below(&rig.prng, 200000) + 1;

		part = part < size - up_size ? part : size - up_size;
		if (part > 0 && !client.stream->sending)
			tls_side_send_bytes(&client, bytes_of(up + up_size, part)), up_size += part;
		part = prng_below(&rig.prng, 200000) + 1;
		part = part < size - down_size ? part : size - down_size;
		if (part > 0 && !server->stream->sending)
			tls_side_send_bytes(server, bytes_of(down + down_size, part)),
			        down_size += part;
		tls_rig_turns(&rig, (unsigned)prng_below(&rig.prng, 3));
		if (prng_chance(&rig.prng, 100000))
			tls_rig_pass(&rig, 2000000000); /* then small records come again */
		stream_pause(server->stream, prng_chance(&rig.prng, 300000));
		stream_pause(client.stream, prng_chance(&rig.prng, 300000));
	}
	stream_pause(server->stream, false);
	stream_pause(client.stream, false);
	tls_rig_settle(&rig);
	assert_int_equal(server->size, size);
	assert_int_equal(client.size, size);
	assert_memory_equal(server->data, up, size);
	assert_memory_equal(client.data, down, size);
	assert_int_equal(client.ends + server->ends, 0);
	tls_side_close(&client);
	tls_rig_settle(&rig);
	assert_int_equal(server->end_status, STATUS_OK);
	assert_int_equal(server->ends, 1);
	tls_rig_close(&rig);
	free(up);
	free(down);
}

static void test_much_goes_through(void **state)
{
	(void)state;
	for (uint64_t seed = 10; seed < 16; seed++)
		move_much(seed, 16 << 10, 256 << 10, 1 << 20);
	move_much(20, 64 << 10, 100, 1 << 18);
	move_much(21, 1, 1 << 10, 1 << 13);
	move_much(22, 5, 1, 1 << 12);
	move_much(23, 1447, 20000, 1 << 20);
}

static void test_paused_gets_nothing(void **state)
{
	uint8_t *data = random_bytes(3, 100000);
	struct tls_side client, *server;
	struct tls_rig rig;
	size_t had;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 3 });
	server = tls_rig_join(&rig, &client);
	server->pause_on_data = true;
	tls_side_send_bytes(&client, bytes_of(data, 100000));
	tls_rig_settle(&rig);
	had = server->size;
	assert_true(had > 0 && had < 100000);
	for (unsigned i = 0; server->size < 100000; i++) {
		assert_true(i < 200);
		had = server->size;
		stream_pause(server->stream, false);
		assert_int_equal(server->size, had); /* not inside of the call */
		tls_rig_settle(&rig);
		assert_true(server->size > had);
	}
	assert_memory_equal(server->data, data, 100000);
	/* An end waits, too. */
	tls_side_close(&client);
	tls_rig_settle(&rig);
	assert_int_equal(server->ends, 0);
	stream_pause(server->stream, false);
	tls_rig_settle(&rig);
	assert_int_equal(server->ends, 1);
	assert_int_equal(server->end_status, STATUS_OK);
	tls_rig_close(&rig);
	free(data);
}

static void test_a_slow_reader_holds_the_sender_back(void **state)
{
	uint8_t *data = random_bytes(4, 4 << 20);
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 4 });
	server = tls_rig_join(&rig, &client);
	rig.pairs[0]->capacity = 10000;
	stream_pause(client.stream, true);
	tls_side_send_bytes(server, bytes_of(data, 4 << 20));
	tls_rig_settle(&rig);
	assert_int_equal(server->sends, 0);
	assert_true(rig.bufs.used_size <= 512 << 10);
	stream_pause(client.stream, false);
	tls_rig_settle(&rig);
	assert_int_equal(server->sends, 1);
	assert_int_equal(server->send_result, 4 << 20);
	assert_int_equal(client.size, 4 << 20);
	assert_memory_equal(client.data, data, 4 << 20);
	tls_side_close(&client);
	tls_rig_close(&rig);
	free(data);
}

static void test_without_buffers_a_send_waits(void **state)
{
	struct buf *taken[257];
	unsigned count = 0;
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 5, .bufs_size = 1 << 20 });
	server = tls_rig_join(&rig, &client);
	while ((taken[count] = buf_get(&rig.bufs, 4096)) != NULL)
		count++;
	assert_true(count > 0 && count <= 256);
	tls_side_send_bytes(server, BYTES("late"));
	tls_rig_pass(&rig, 100000000);
	assert_int_equal(server->sends, 0);
	while (count > 0)
		buf_unref(taken[--count]);
	tls_rig_pass(&rig, 100000000);
	assert_int_equal(server->sends, 1);
	assert_int_equal(client.size, 4);
	/* Closed while it waits. */
	while ((taken[count] = buf_get(&rig.bufs, 4096)) != NULL)
		count++;
	tls_side_send_bytes(server, BYTES("never"));
	tls_rig_settle(&rig);
	tls_side_close(server);
	tls_rig_settle(&rig);
	assert_int_equal(server->send_status, STATUS_CANCELED);
	while (count > 0)
		buf_unref(taken[--count]);
	tls_rig_pass(&rig, 100000000);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_an_end_without_notice_is_no_end(void **state)
{
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 6 });
	server = tls_rig_join(&rig, &client);
	tls_side_send_bytes(&client, BYTES("half of a requ"));
	tls_rig_settle(&rig);
	stream_pair_finish(rig.pairs[0], 1); /* as anybody on the way can */
	tls_rig_settle(&rig);
	assert_int_equal(server->size, 14);
	assert_int_equal(server->ends, 1);
	assert_int_equal(server->end_status, STATUS_UNAVAILABLE);
	assert_string_equal(stream_tls_reason(server->stream), "it ended without a close_notify");
	assert_int_equal(stream_tls_stats(rig.server)->truncated, 1);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_what_is_cut_off_is_no_end(void **state)
{
	uint8_t *data = random_bytes(7, 1 << 20);
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 7 });
	server = tls_rig_join(&rig, &client);
	rig.pairs[0]->capacity = 50000;
	stream_pause(client.stream, true);
	tls_side_send_bytes(server, bytes_of(data, 1 << 20));
	tls_rig_settle(&rig);
	stream_close(server->stream);
	server->stream = NULL;
	tls_rig_settle(&rig);
	assert_int_equal(server->send_status, STATUS_CANCELED);
	stream_pause(client.stream, false);
	tls_rig_settle(&rig);
	assert_int_equal(client.ends, 1);
	assert_int_equal(client.end_status, STATUS_UNAVAILABLE);
	assert_true(client.size < 1 << 20);
	tls_side_close(&client);
	tls_rig_close(&rig);
	free(data);
}

static void test_a_changed_byte_breaks_it(void **state)
{
	struct tls_side client, *server;
	struct pair_end *end;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 8 });
	server = tls_rig_join(&rig, &client);
	end = &rig.pairs[0]->ends[1];
	end->held_at = end->total;
	tls_side_send_bytes(&client, BYTES("pay 10 to alice"));
	tls_rig_settle(&rig);
	assert_int_equal(end->tail - end->head, 15 + 22);
	end->queue[end->head + 9] ^= 1;
	end->held_at = UINT64_MAX;
	tls_rig_settle(&rig);
	assert_int_equal(server->size, 0);
	assert_int_equal(server->ends, 1);
	assert_int_equal(server->end_status, STATUS_UNAVAILABLE);
	assert_int_equal(stream_tls_stats(rig.server)->broken, 1);
	assert_non_null(strstr(stream_tls_reason(server->stream), "a record is wrong"));
	/* It is told so. */
	assert_int_equal(client.ends, 1);
	assert_int_equal(client.end_status, STATUS_UNAVAILABLE);
	tls_side_send_bytes(server, BYTES("to nobody"));
	tls_rig_settle(&rig);
	assert_int_equal(server->send_status, STATUS_UNAVAILABLE);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_a_broken_path_ends_both(void **state)
{
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 9 });
	server = tls_rig_join(&rig, &client);
	rig.pairs[0]->ends[0].held_at = 0;
	rig.pairs[0]->capacity = 0;
	tls_side_send_bytes(server, BYTES("into the dark"));
	tls_rig_settle(&rig);
	assert_int_equal(server->sends, 0);
	rig.pairs[0]->broken = true;
	tls_rig_settle(&rig);
	assert_int_equal(server->sends, 1);
	assert_int_equal(server->send_status, STATUS_UNAVAILABLE);
	assert_int_equal(server->ends, 1);
	assert_int_equal(server->end_status, STATUS_UNAVAILABLE);
	assert_int_equal(client.ends, 1);
	tls_side_close(&client);
	tls_rig_close(&rig);
}

static void test_closing_from_inside_of_received(void **state)
{
	struct tls_side client, *server;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 10 });
	server = tls_rig_join(&rig, &client);
	server->close_on_data = true;
	tls_side_send_bytes(&client, BYTES("enough"));
	tls_rig_settle(&rig);
	assert_null(server->stream);
	assert_int_equal(client.ends, 1);
	assert_int_equal(client.end_status, STATUS_OK);
	assert_int_equal(stream_tls_stats(rig.server)->connections, 0);
	tls_side_close(&client);
	tls_rig_settle(&rig);
	assert_int_equal(stream_tls_stats(rig.client)->connections, 0);
	tls_rig_close(&rig);
}

static void test_half_closed_still_answers(void **state)
{
	struct tls_side client, *server;
	struct raw_peer raw;
	struct stream_pair *pair;
	struct tls_rig rig;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char got[32];
	int size;

	(void)state;
	(void)client;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 11 });
	assert_true(tls_rig_accept(&rig, &pair));
	raw_open(&raw, &rig, pair, ctx);
	assert_int_equal(raw_shake(&raw), SSL_ERROR_NONE);
	server = &rig.accepted[0];
	assert_int_equal(SSL_write(raw.ssl, "question", 8), 8);
	SSL_shutdown(raw.ssl);
	raw_flush(&raw);
	tls_rig_settle(&rig);
	assert_int_equal(server->size, 8);
	assert_int_equal(server->ends, 1);
	assert_int_equal(server->end_status, STATUS_OK);
	tls_side_send_bytes(server, BYTES("answer"));
	tls_rig_settle(&rig);
	assert_int_equal(server->send_status, STATUS_OK);
	size = SSL_read(raw.ssl, got, sizeof(got));
	assert_int_equal(size, 6);
	tls_side_close(server);
	tls_rig_settle(&rig);
	assert_true(SSL_read(raw.ssl, got, sizeof(got)) <= 0);
	assert_true(SSL_get_shutdown(raw.ssl) & SSL_RECEIVED_SHUTDOWN);
	raw_close(&raw);
	tls_rig_close(&rig);
	SSL_CTX_free(ctx);
}

/* The first records after a pause fit a segment; then they are as large as can be. */
static void test_records_grow(void **state)
{
	uint8_t *data = random_bytes(12, 200000);
	struct tls_side client, *server;
	const struct pair_end *end;
	unsigned small = 0, large = 0;
	struct tls_rig rig;

	(void)state;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 12 });
	server = tls_rig_join(&rig, &client);
	end = &rig.pairs[0]->ends[0];
	rig.pairs[0]->ends[0].held_at = end->total;
	tls_side_send_bytes(server, bytes_of(data, 200000));
	tls_rig_settle(&rig);
	for (size_t at = end->head; at < end->tail;) {
		size_t size = (size_t)end->queue[at + 3] << 8 | end->queue[at + 4];

		assert_int_equal(end->queue[at], 23);
		if (size < 1400)
			small++;
		else
			large += size == (16 << 10) + 17;
		at += 5 + size;
	}
	assert_true(small >= 12 && small <= 15);
	assert_true(large >= 10);
	rig.pairs[0]->ends[0].held_at = UINT64_MAX;
	tls_rig_settle(&rig);
	assert_int_equal(client.size, 200000);
	tls_side_close(&client);
	tls_rig_close(&rig);
	free(data);
}

enum { HELLO_SIZE = 700, WORDS_SIZE = 18 + 22 };

static uint64_t run_hash(uint64_t seed)
{
	struct tls_side client, *server;
	struct tls_rig rig;
	uint64_t sum = 0;
	const struct pair_end *end;

	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = seed });
	server = tls_rig_join(&rig, &client);
	tls_side_send_bytes(server, BYTES("the same each time"));
	tls_rig_settle(&rig);
	end = &rig.pairs[0]->ends[0];
	/* Between these is the ticket, that says which second it is. */
	assert_true(end->tail > HELLO_SIZE + WORDS_SIZE);
	for (size_t i = 0; i < end->tail; i++) {
		if (i < HELLO_SIZE || i >= end->tail - WORDS_SIZE)
			sum = sum * 31 + end->queue[i];
	}
	tls_side_close(&client);
	tls_rig_close(&rig);
	return sum;
}

/* All chance is the seed's: OpenSSL has no other source. */
static void test_a_seed_gives_the_same_bytes(void **state)
{
	(void)state;
	assert_int_equal(run_hash(77), run_hash(77));
	assert_int_not_equal(run_hash(77), run_hash(78));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_sides_get_what_the_other_sent),
		cmocka_unit_test(test_a_send_waits_for_the_handshake),
		cmocka_unit_test(test_much_goes_through),
		cmocka_unit_test(test_paused_gets_nothing),
		cmocka_unit_test(test_a_slow_reader_holds_the_sender_back),
		cmocka_unit_test(test_without_buffers_a_send_waits),
		cmocka_unit_test(test_an_end_without_notice_is_no_end),
		cmocka_unit_test(test_what_is_cut_off_is_no_end),
		cmocka_unit_test(test_a_changed_byte_breaks_it),
		cmocka_unit_test(test_a_broken_path_ends_both),
		cmocka_unit_test(test_closing_from_inside_of_received),
		cmocka_unit_test(test_half_closed_still_answers),
		cmocka_unit_test(test_records_grow),
		cmocka_unit_test(test_a_seed_gives_the_same_bytes),
	};

	return cmocka_run_group_tests_name("stream_tls", tests, tls_rig_make_pairs, NULL);
}
