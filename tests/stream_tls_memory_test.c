/* SPDX-License-Identifier: Apache-2.0 */
/* What OpenSSL takes for a connection: the constants of layer/stream_tls.h are no guesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "layer/stream_tls_state.h"
#include "tls_rig.h"

enum { CONNECTIONS = 6 };

/* In front of all that OpenSSL takes: how much, and for whom. */
struct mark {
	size_t size;
	size_t who;
};

static size_t taken[2], taken_max;

static void count(const struct mark *mark, bool more)
{
	/* What the heap adds to it, as glibc does it. */
	size_t size = align_up(mark->size + 8, 16);

	if (more)
		taken[mark->who] += size;
	else
		taken[mark->who] -= size;
	taken_max = taken[0] > taken_max ? taken[0] : taken_max;
}

static void *counted_malloc(size_t size, const char *file, int line)
{
	struct mark *mark = malloc(size + sizeof(*mark));

	(void)file;
	(void)line;
	if (mark == NULL)
		return NULL;
	*mark = (struct mark){ size, (size_t)tls_rig_who };
	count(mark, true);
	return mark + 1;
}

static void counted_free(void *memory, const char *file, int line)
{
	struct mark *mark = memory;

	(void)file;
	(void)line;
	if (mark == NULL)
		return;
	count(mark - 1, false);
	free(mark - 1);
}

static void *counted_realloc(void *memory, size_t size, const char *file, int line)
{
	struct mark *mark = memory;
	void *bigger;

	if (mark == NULL)
		return counted_malloc(size, file, line);
	bigger = counted_malloc(size, file, line);
	if (bigger == NULL)
		return NULL;
	memcpy(bigger, memory, mark[-1].size < size ? mark[-1].size : size);
	counted_free(memory, file, line);
	return bigger;
}

static void measure(int max, enum stream_tls_peers peers)
{
	const size_t each =
	        STREAM_TLS_IDLE_SIZE + (peers != STREAM_TLS_ANYONE ? STREAM_TLS_PEER_SIZE : 0);
	struct raw_peer raw[CONNECTIONS + 1];
	struct stream_pair *pair;
	SSL_CTX *ctx;
	struct tls_rig rig;
	size_t before, idle, shaking = 0;

	tls_rig_who = 1;
	ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(ctx, max);
	if (peers != STREAM_TLS_ANYONE)
		tls_rig_show(ctx, &tls_rig_client);
	tls_rig_who = 0;
	tls_rig_open(&rig, &(struct tls_rig_options){ .seed = 1, .peers = peers });
	before = taken[0];
	for (unsigned i = 0; i <= CONNECTIONS; i++) {
		size_t now = taken[0];

		taken_max = now;
		assert_true(tls_rig_accept(&rig, &pair));
		raw_open(&raw[i], &rig, pair, ctx);
		assert_int_equal(raw_shake(&raw[i]), SSL_ERROR_NONE);
		tls_rig_settle(&rig);
		assert_int_equal(rig.accepted_count, i + 1);
		tls_side_send_bytes(&rig.accepted[i], BYTES("hello"));
		tls_rig_settle(&rig);
		/* The first one leaves what the library keeps. */
		if (i == 0)
			before = taken[0];
		else
			shaking = taken_max - now > shaking ? taken_max - now : shaking;
	}
	idle = (taken[0] - before) / CONNECTIONS + sizeof(struct tls_stream);
	print_message("%s, certificate %d: %zu bytes, %zu of them ours; shaking hands %zu\n",
	              SSL_get_version(raw->ssl), peers != STREAM_TLS_ANYONE, idle,
	              sizeof(struct tls_stream), shaking);
	assert_true(idle <= each);
	assert_true(shaking <= each + STREAM_TLS_HANDSHAKE_SIZE);
	/* Half of a record. */
	before = taken[0];
	for (unsigned i = 0; i <= CONNECTIONS; i++) {
		struct pair_end *end = &rig.pairs[i]->ends[1];

		end->held_at = end->total + 100;
		tls_rig_who = 1;
		assert_int_equal(SSL_write(raw[i].ssl, raw[i].sending, 16384), 16384);
		tls_rig_who = 0;
		raw_flush(&raw[i]);
		tls_rig_settle(&rig);
	}
	assert_true((taken[0] - before) / (CONNECTIONS + 1) <=
	            STREAM_TLS_SIZE - STREAM_TLS_IDLE_SIZE);
	for (unsigned i = 0; i <= CONNECTIONS; i++) {
		rig.pairs[i]->ends[1].held_at = UINT64_MAX;
		tls_rig_settle(&rig);
		assert_int_equal(rig.accepted[i].size, 16384);
	}
	assert_int_equal(taken[0], before);
	tls_rig_who = 1;
	for (unsigned i = 0; i <= CONNECTIONS; i++)
		raw_close(&raw[i]);
	SSL_CTX_free(ctx);
	tls_rig_who = 0;
	tls_rig_close(&rig);
}

static void test_a_connection_has_no_more(void **state)
{
	(void)state;
	measure(TLS1_3_VERSION, STREAM_TLS_ANYONE);
	measure(TLS1_2_VERSION, STREAM_TLS_ANYONE);
	measure(TLS1_3_VERSION, STREAM_TLS_REQUIRED);
	measure(TLS1_2_VERSION, STREAM_TLS_REQUIRED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_connection_has_no_more),
	};

	if (CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) != 1)
		return 77;
	return cmocka_run_group_tests_name("stream_tls_memory", tests, tls_rig_make_pairs, NULL);
}
