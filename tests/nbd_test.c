/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"
#include "base/prng.h"
#include "nbd_client.h"

enum { BLOCK = NBD_DEVICE_BLOCK, REPLIES_MAX = 4096 };

static struct nbd_bench *bench;

static int setup(void **state)
{
	(void)state;
	bench = nbd_bench_open(0, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	nbd_bench_close(bench);
	return 0;
}

static void fill(uint8_t *data, size_t size, uint64_t seed)
{
	struct prng prng;

	prng_init(&prng, seed);
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)prng_next(&prng);
}

/* Replies of both kinds, as what a client makes of them. */
struct answer {
	uint64_t cookie;
	uint32_t error;
	unsigned chunks, extents;
	uint32_t extent_size[NBD_CLIENTS * 64], extent_state[NBD_CLIENTS * 64];
	bool done;
};

/* The next reply, or chunk of one; data of a READ go to `out`, which stands for `offset`. */
static bool take_chunk(struct nbd_client *client, struct answer *answer, uint8_t *out,
                       uint64_t offset)
{
	const uint8_t *header = nbd_client_take(client, NBD_CHUNK_SIZE), *data;
	uint32_t size, type;

	if (header == NULL)
		return false;
	assert_int_equal(nbd_get32(header), 0x668e33ef);
	type = nbd_get16(header + 6);
	size = nbd_get32(header + 16);
	data = nbd_client_take(client, size);
	assert_non_null(data);
	answer->cookie = nbd_get64(header + 8);
	answer->chunks++;
	answer->done = nbd_get16(header + 4) & 1;
	if (type == NBD_CHUNK_OFFSET_DATA) {
		assert_true(size > 8);
		memcpy(out + (nbd_get64(data) - offset), data + 8, size - 8);
	} else if (type == NBD_CHUNK_BLOCK_STATUS) {
		assert_int_equal(nbd_get32(data), 1);
		answer->extents = (size - 4) / 8;
		for (unsigned i = 0; i < answer->extents; i++) {
			answer->extent_size[i] = nbd_get32(data + 4 + 8ul * i);
			answer->extent_state[i] = nbd_get32(data + 8 + 8ul * i);
		}
	} else if (type != NBD_CHUNK_NONE) {
		assert_true(type == NBD_CHUNK_ERROR || type == NBD_CHUNK_ERROR_OFFSET);
		answer->error = nbd_get32(data);
	}
	return true;
}

static struct answer ask_structured(struct nbd_client *client, const struct nbd_request *request,
                                    uint8_t *data)
{
	struct answer answer = { .error = 0 };

	nbd_client_request(client, request);
	if (request->id == NBD_CMD_WRITE && data != NULL)
		nbd_client_bytes(client, data, request->size);
	do {
		assert_true(take_chunk(client, &answer, data, request->offset));
		assert_int_equal(answer.cookie, request->cookie);
	} while (!answer.done);
	assert_int_equal(nbd_client_waiting(client), 0);
	return answer;
}

static uint32_t ask(struct nbd_client *client, struct nbd_request request, uint8_t *data)
{
	request.cookie = 0x1122334455667788ull + request.offset;
	return ask_structured(client, &request, data).error;
}

static uint32_t take_simple(struct nbd_client *client, uint64_t *cookie)
{
	const uint8_t *reply = nbd_client_take(client, NBD_SIMPLE_REPLY_SIZE);

	assert_non_null(reply);
	assert_int_equal(nbd_get32(reply), 0x67446698);
	*cookie = nbd_get64(reply + 8);
	return nbd_get32(reply + 4);
}

static void test_greeting(void **state)
{
	struct nbd_client *client = nbd_client_open(bench, 0);
	const uint8_t *greeting = nbd_client_take(client, NBD_GREETING_SIZE);

	(void)state;
	assert_memory_equal(greeting, "NBDMAGICIHAVEOPT\0\3", 18);
	assert_int_equal(nbd_client_waiting(client), 0);
	nbd_client_bytes(client, "\0\0\0\4", 4); /* a flag that we never offered */
	assert_false(client->open);
	assert_int_equal(nbd_server_stats(bench->server)->malformed, 1);
}

static void greet(struct nbd_client *client, const char *flags)
{
	nbd_client_take(client, NBD_GREETING_SIZE);
	nbd_client_bytes(client, flags, 4);
}

static void test_options(void **state)
{
	static const uint8_t unknown[] = { 0, 0, 0, 3, 'n', 'o', 't', 0, 0 };
	static const uint8_t info[] = { 0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 2, 0, 1, 0, 3 };
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct bytes data;

	(void)state;
	greet(client, "\0\0\0\3");
	nbd_client_option(client, NBD_OPT_LIST, "", 0);
	assert_int_equal(nbd_client_option_reply(client, NBD_OPT_LIST, &data), NBD_REP_SERVER);
	assert_memory_equal(data.data, "\0\0\0\4disk", 8);
	assert_int_equal(nbd_client_option_reply(client, NBD_OPT_LIST, &data), NBD_REP_ACK);
	nbd_client_option(client, NBD_OPT_LIST, "x", 1);
	assert_int_equal(nbd_client_option_reply(client, 3, &data), NBD_REP_ERR_INVALID);
	nbd_client_option(client, NBD_OPT_STARTTLS, "", 0);
	assert_int_equal(nbd_client_option_reply(client, 5, &data), NBD_REP_ERR_UNSUP);
	nbd_client_option(client, NBD_OPT_EXTENDED_HEADERS, "", 0);
	assert_int_equal(nbd_client_option_reply(client, 11, &data), NBD_REP_ERR_UNSUP);
	nbd_client_option(client, NBD_OPT_INFO, unknown, sizeof(unknown));
	assert_int_equal(nbd_client_option_reply(client, 6, &data), NBD_REP_ERR_UNKNOWN);
	nbd_client_option(client, NBD_OPT_INFO, unknown, sizeof(unknown) - 1);
	assert_int_equal(nbd_client_option_reply(client, 6, &data), NBD_REP_ERR_INVALID);
	nbd_client_option(client, NBD_OPT_INFO, info, sizeof(info));
	assert_int_equal(nbd_client_option_reply(client, 6, &data), NBD_REP_INFO);
	assert_int_equal(nbd_get64(data.data + 2), NBD_DEVICE_SIZE);
	assert_int_equal(nbd_get16(data.data + 10), NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA |
	                                                    NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES |
	                                                    NBD_CAN_MULTI_CONN | NBD_SEND_CACHE |
	                                                    NBD_SEND_FAST_ZERO);
	assert_int_equal(nbd_client_option_reply(client, 6, &data), NBD_REP_INFO);
	assert_int_equal(nbd_get32(data.data + 2), BLOCK);
	assert_int_equal(nbd_get32(data.data + 10), 32 << 20);
	assert_int_equal(nbd_client_option_reply(client, 6, &data), NBD_REP_INFO);
	assert_memory_equal(data.data + 2, "disk", 4);
	assert_int_equal(nbd_client_option_reply(client, 6, &data), NBD_REP_ACK);
	assert_int_equal(bench->export.users, 0);
	nbd_client_option(client, NBD_OPT_ABORT, "", 0);
	assert_int_equal(nbd_client_option_reply(client, 2, &data), NBD_REP_ACK);
	assert_false(client->open);
}

static void test_meta_contexts(void **state)
{
	static const uint8_t all[] = "\0\0\0\4disk\0\0\0\0";
	static const uint8_t two[] = "\0\0\0\0\0\0\0\2\0\0\0\5base:\0\0\0\5qemu:";
	static const uint8_t cut[] = "\0\0\0\4disk\0\0\0\2\0\0\0\5base:";
	static const uint8_t set[] = "\0\0\0\4disk\0\0\0\1\0\0\0\5base:";
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct bytes data;

	(void)state;
	greet(client, "\0\0\0\3");
	nbd_client_option(client, NBD_OPT_LIST_META_CONTEXT, all, sizeof(all) - 1);
	assert_int_equal(nbd_client_option_reply(client, 9, &data), NBD_REP_ERR_INVALID);
	nbd_client_option(client, NBD_OPT_STRUCTURED_REPLY, "", 0);
	assert_int_equal(nbd_client_option_reply(client, 8, &data), NBD_REP_ACK);
	nbd_client_option(client, NBD_OPT_LIST_META_CONTEXT, all, sizeof(all) - 1);
	assert_int_equal(nbd_client_option_reply(client, 9, &data), NBD_REP_META_CONTEXT);
	assert_memory_equal(data.data + 4, "base:allocation", 15);
	assert_int_equal(nbd_client_option_reply(client, 9, &data), NBD_REP_ACK);
	nbd_client_option(client, NBD_OPT_LIST_META_CONTEXT, two, sizeof(two) - 1);
	assert_int_equal(nbd_client_option_reply(client, 9, &data), NBD_REP_META_CONTEXT);
	assert_int_equal(nbd_client_option_reply(client, 9, &data), NBD_REP_ACK);
	nbd_client_option(client, NBD_OPT_LIST_META_CONTEXT, cut, sizeof(cut) - 1);
	assert_int_equal(nbd_client_option_reply(client, 9, &data), NBD_REP_ERR_INVALID);
	/* A namespace is no context. */
	nbd_client_option(client, NBD_OPT_SET_META_CONTEXT, set, sizeof(set) - 1);
	assert_int_equal(nbd_client_option_reply(client, 10, &data), NBD_REP_ACK);
	assert_int_equal(nbd_client_waiting(client), 0);
}

/* Clients that know no fixed newstyle, and no options that fail. */
static void test_export_name(void **state)
{
	struct nbd_client *client = nbd_client_open(bench, 0);
	const uint8_t *reply;

	(void)state;
	greet(client, "\0\0\0\0");
	nbd_client_option(client, NBD_OPT_EXPORT_NAME, "disk", 4);
	reply = nbd_client_take(client, NBD_EXPORT_REPLY_SIZE + NBD_EXPORT_ZEROES_SIZE);
	assert_non_null(reply);
	assert_int_equal(nbd_get64(reply), NBD_DEVICE_SIZE);
	assert_int_equal(bench->export.users, 1);
	client = nbd_client_open(bench, 1);
	greet(client, "\0\0\0\3");
	nbd_client_option(client, NBD_OPT_EXPORT_NAME, "", 0); /* the only one */
	assert_non_null(nbd_client_take(client, NBD_EXPORT_REPLY_SIZE));
	assert_int_equal(nbd_client_waiting(client), 0);
	client = nbd_client_open(bench, 2);
	greet(client, "\0\0\0\3");
	nbd_client_option(client, NBD_OPT_EXPORT_NAME, "none", 4);
	assert_false(client->open);
}

static void test_hostile_options(void **state)
{
	static uint8_t large[NBD_NAME_SIZE_MAX * 8];
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct bytes data;
	uint8_t header[NBD_OPTION_SIZE];
	unsigned count = 0;

	(void)state;
	greet(client, "\0\0\0\1");
	nbd_client_option(client, NBD_OPT_GO, large, sizeof(large));
	assert_int_equal(nbd_client_option_reply(client, NBD_OPT_GO, &data), NBD_REP_ERR_TOO_BIG);
	while (client->open && count < 1000) {
		nbd_client_option(client, 77, "x", 1);
		count++;
	}
	assert_in_range(count, 64, 128); /* a flood of them ends it */
	client = nbd_client_open(bench, 1);
	greet(client, "\0\0\0\1");
	nbd_write_option(header, NBD_OPT_GO, UINT32_MAX);
	nbd_client_bytes(client, header, sizeof(header));
	assert_false(client->open);
	client = nbd_client_open(bench, 2);
	greet(client, "\0\0\0\1");
	nbd_client_bytes(client, "GET / HTTP/1.1\r\n\r\n", 18);
	assert_false(client->open);
	client = nbd_client_open(bench, 3);
	greet(client, "\0\0\0\1");
	nbd_client_bytes(client, header, 3);
	nbd_bench_wait(bench, 11000000000);
	assert_false(client->open);
	assert_int_equal(nbd_server_stats(bench->server)->timeouts, 1);
}

static void test_read_write(void **state)
{
	static uint8_t data[8 * BLOCK], seen[8 * BLOCK];
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct nbd_request write = { .id = NBD_CMD_WRITE, .offset = 3 * BLOCK, .size = 8 * BLOCK };
	struct nbd_request read = { .id = NBD_CMD_READ, .offset = 3 * BLOCK, .size = 8 * BLOCK };

	(void)state;
	fill(data, sizeof(data), 1);
	nbd_client_handshake(client, true);
	assert_int_equal(ask(client, write, data), NBD_OK);
	assert_int_equal(ask(client, read, seen), NBD_OK);
	assert_memory_equal(data, seen, sizeof(data));
	assert_int_equal(bench->device.fua, 0);
	write.flags = NBD_CMD_FLAG_FUA;
	assert_int_equal(ask(client, write, data), NBD_OK);
	assert_int_equal(bench->device.fua, 1);
	assert_int_equal(ask(client, (struct nbd_request){ .id = NBD_CMD_FLUSH }, NULL), NBD_OK);
	assert_int_equal(bench->device.ops[BLK_FLUSH], 1);
	nbd_client_request(client, &(struct nbd_request){ .id = NBD_CMD_DISC });
	assert_false(client->open);
}

static void test_errors(void **state)
{
	static uint8_t data[BLOCK];
	const struct nbd_request wrong[] = {
		{ .id = NBD_CMD_READ },
		{ .id = NBD_CMD_READ, .size = 512 },
		{ .id = NBD_CMD_READ, .size = BLOCK, .offset = 512 },
		{ .id = NBD_CMD_READ, .size = BLOCK, .offset = NBD_DEVICE_SIZE },
		{ .id = NBD_CMD_READ, .size = BLOCK, .offset = UINT64_MAX - BLOCK + 1 },
		{ .id = NBD_CMD_READ, .size = BLOCK, .flags = NBD_CMD_FLAG_NO_HOLE },
		{ .id = NBD_CMD_READ, .size = BLOCK, .flags = 1 << 9 },
		{ .id = NBD_CMD_FLUSH, .size = BLOCK },
		{ .id = NBD_CMD_TRIM, .size = 1 },
		{ .id = NBD_CMD_CACHE, .size = BLOCK + 1 },
		{ .id = NBD_CMD_BLOCK_STATUS, .size = 0 },
		{ .id = 99, .size = BLOCK },
		{ .id = 8, .size = BLOCK },
	};
	struct nbd_client *client = nbd_client_open(bench, 0);

	(void)state;
	nbd_client_handshake(client, true);
	for (unsigned i = 0; i < array_count(wrong); i++)
		assert_int_equal(ask(client, wrong[i], data), NBD_EINVAL);
	assert_int_equal(ask(client,
	                     (struct nbd_request){ .id = NBD_CMD_WRITE,
	                                           .size = BLOCK,
	                                           .offset = NBD_DEVICE_SIZE },
	                     data),
	                 NBD_ENOSPC);
	assert_int_equal(ask(client,
	                     (struct nbd_request){ .id = NBD_CMD_WRITE_ZEROES,
	                                           .size = BLOCK,
	                                           .offset = NBD_DEVICE_SIZE },
	                     data),
	                 NBD_ENOSPC);
	assert_int_equal(ask(client,
	                     (struct nbd_request){ .id = NBD_CMD_READ,
	                                           .size = 1 << 20,
	                                           .flags = NBD_CMD_FLAG_DF },
	                     NULL),
	                 NBD_EOVERFLOW);
	assert_int_equal(
	        ask(client, (struct nbd_request){ .id = NBD_CMD_READ, .size = 36 << 20 }, NULL),
	        NBD_EOVERFLOW);
	bench->device.fails = 1;
	bench->device.fail = STATUS_IO;
	assert_int_equal(
	        ask(client, (struct nbd_request){ .id = NBD_CMD_READ, .size = BLOCK }, data),
	        NBD_EIO);
	bench->device.fails = 1;
	bench->device.fail = STATUS_NO_SPACE;
	assert_int_equal(
	        ask(client, (struct nbd_request){ .id = NBD_CMD_WRITE, .size = BLOCK }, data),
	        NBD_ENOSPC);
	assert_int_equal(nbd_server_stats(bench->server)->errors, array_count(wrong) + 6);
	assert_true(client->open);
	/* Data beyond what anybody sends are not waited for. */
	nbd_client_request(client, &(struct nbd_request){ .id = NBD_CMD_WRITE, .size = 33 << 20 });
	assert_false(client->open);
	client = nbd_client_open(bench, 1);
	nbd_client_handshake(client, true);
	nbd_client_bytes(client, "this is no request at all, at all", 33);
	assert_false(client->open);
}

static void test_read_only(void **state)
{
	static uint8_t data[BLOCK];
	struct nbd_client *client;

	(void)state;
	bench->export.read_only = true;
	client = nbd_client_open(bench, 0);
	nbd_client_handshake(client, true);
	for (unsigned id = NBD_CMD_READ; id < NBD_CMD_COUNT; id++) {
		bool changes =
		        id == NBD_CMD_WRITE || id == NBD_CMD_TRIM || id == NBD_CMD_WRITE_ZEROES;
		struct nbd_request request = { .id = (uint16_t)id,
			                       .size = id == NBD_CMD_FLUSH ? 0 : BLOCK };

		if (id == NBD_CMD_DISC)
			continue;
		assert_int_equal(ask(client, request, data), changes ? NBD_EPERM : NBD_OK);
	}
	assert_int_equal(bench->device.ops[BLK_WRITE] + bench->device.ops[BLK_DISCARD], 0);
}

static void test_zeroes_and_trim(void **state)
{
	static uint8_t data[64 * BLOCK], zeroes[64 * BLOCK];
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct nbd_request write = { .id = NBD_CMD_WRITE, .size = sizeof(data) };
	struct nbd_request zero = { .id = NBD_CMD_WRITE_ZEROES, .size = 32 * BLOCK };

	(void)state;
	nbd_client_handshake(client, true);
	fill(data, sizeof(data), 2);
	assert_int_equal(ask(client, write, data), NBD_OK);
	assert_int_equal(ask(client, zero, NULL), NBD_OK);
	assert_int_equal(bench->device.ops[BLK_DISCARD], 1);
	assert_false(bench->device.present[0]);
	zero.flags = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FUA;
	assert_int_equal(ask(client, zero, NULL), NBD_OK);
	assert_true(bench->device.present[0] && bench->device.present[31]);
	assert_int_equal(bench->device.ops[BLK_FLUSH], 1);
	assert_memory_equal(bench->device.data, zeroes, 32 * BLOCK);
	assert_memory_equal(bench->device.data + 32 * BLOCK, data + 32 * BLOCK, 32 * BLOCK);
	zero.flags = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
	assert_int_equal(ask(client, zero, NULL), NBD_ENOTSUP);
	zero.flags = NBD_CMD_FLAG_FAST_ZERO;
	assert_int_equal(ask(client, zero, NULL), NBD_OK);

	/* A device that drops 16 blocks at a time. */
	bench->device.blk.geometry.discard_unit = 16;
	assert_int_equal(ask(client, write, data), NBD_OK);
	zero = (struct nbd_request){ .id = NBD_CMD_WRITE_ZEROES,
		                     .offset = 3 * BLOCK,
		                     .size = 50 * BLOCK };
	assert_int_equal(ask(client, zero, NULL), NBD_OK);
	assert_memory_equal(bench->device.data + 3 * BLOCK, zeroes, 50 * BLOCK);
	assert_memory_equal(bench->device.data, data, 3 * BLOCK);
	assert_memory_equal(bench->device.data + 53 * BLOCK, data + 53 * BLOCK, 11 * BLOCK);
	assert_true(bench->device.present[15] && !bench->device.present[16]);
	assert_true(bench->device.present[48] && !bench->device.present[47]);
	assert_int_equal(ask(client, write, data), NBD_OK);
	zero.id = NBD_CMD_TRIM;
	assert_int_equal(ask(client, zero, NULL), NBD_OK);
	assert_true(bench->device.present[15] && !bench->device.present[16]);
	assert_true(bench->device.present[48] && !bench->device.present[47]);
	assert_memory_equal(bench->device.data, data, 16 * BLOCK);
	zero.size = 5 * BLOCK;
	assert_int_equal(ask(client, zero, NULL), NBD_OK);
	/* One that knows zeroes, so many at a time. */
	bench->device.blk.geometry.ops |= 1u << BLK_ZEROES;
	bench->device.blk.geometry.range_max = 20;
	assert_int_equal(ask(client, write, data), NBD_OK);
	zero = (struct nbd_request){ .id = NBD_CMD_WRITE_ZEROES,
		                     .offset = 3 * BLOCK,
		                     .size = 50 * BLOCK,
		                     .flags = NBD_CMD_FLAG_NO_HOLE };
	assert_int_equal(ask(client, zero, NULL), NBD_OK);
	assert_int_equal(bench->device.ops[BLK_ZEROES], 3);
	assert_memory_equal(bench->device.data + 3 * BLOCK, zeroes, 50 * BLOCK);
	assert_memory_equal(bench->device.data + 53 * BLOCK, data + 53 * BLOCK, 11 * BLOCK);
	assert_true(bench->device.present[20]);
	zero.flags = NBD_CMD_FLAG_FAST_ZERO;
	assert_int_equal(ask(client, zero, NULL), NBD_OK);
	assert_false(bench->device.present[20]);
	assert_int_equal(
	        ask(client, (struct nbd_request){ .id = NBD_CMD_CACHE, .size = 1 << 20 }, NULL),
	        NBD_OK);
	assert_int_equal(bench->device.ops[BLK_READ], 16);
}

static void test_block_status(void **state)
{
	static uint8_t data[BLOCK];
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct nbd_request status = { .id = NBD_CMD_BLOCK_STATUS, .size = NBD_DEVICE_SIZE };
	struct answer answer;

	(void)state;
	nbd_client_handshake(client, true);
	for (unsigned i = 4; i < 8; i++)
		assert_int_equal(ask(client,
		                     (struct nbd_request){ .id = NBD_CMD_WRITE,
		                                           .offset = i * BLOCK,
		                                           .size = BLOCK },
		                     data),
		                 NBD_OK);
	answer = ask_structured(client, &status, NULL);
	assert_int_equal(answer.extents, 3);
	assert_int_equal(answer.extent_size[0], 4 * BLOCK);
	assert_int_equal(answer.extent_state[0], NBD_STATE_HOLE | NBD_STATE_ZERO);
	assert_int_equal(answer.extent_size[1], 4 * BLOCK);
	assert_int_equal(answer.extent_state[1], 0);
	assert_int_equal(answer.extent_size[2], NBD_DEVICE_SIZE - 8 * BLOCK);
	status.flags = NBD_CMD_FLAG_REQ_ONE;
	status.offset = 5 * BLOCK;
	status.size = BLOCK;
	answer = ask_structured(client, &status, NULL);
	assert_int_equal(answer.extents, 1);
	assert_int_equal(answer.extent_size[0], BLOCK);
	assert_int_equal(answer.extent_state[0], 0);
}

/* As large as may be, over devices that end in another order, with little memory. */
static void large_requests(bool structured)
{
	uint8_t *data = malloc(NBD_PAYLOAD_MAX), *seen = malloc(NBD_PAYLOAD_MAX);
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct nbd_request write = { .id = NBD_CMD_WRITE,
		                     .offset = BLOCK,
		                     .size = NBD_PAYLOAD_MAX };
	struct nbd_request read = { .id = NBD_CMD_READ, .offset = BLOCK, .size = NBD_PAYLOAD_MAX };
	const uint8_t *reply;
	uint64_t cookie;

	assert_non_null(data);
	assert_non_null(seen);
	fill(data, NBD_PAYLOAD_MAX, 3);
	nbd_client_handshake(client, structured);
	bench->device.newest_first = true;
	if (structured) {
		assert_int_equal(ask(client, write, data), NBD_OK);
		assert_int_equal(ask(client, read, seen), NBD_OK);
		assert_memory_equal(data, seen, NBD_PAYLOAD_MAX);
	} else {
		nbd_client_request(client, &write);
		assert_int_equal(nbd_client_bytes(client, data, write.size), write.size);
		assert_int_equal(take_simple(client, &cookie), NBD_OK);
		/* A small one in front, and one behind: in between nothing. */
		read.cookie = 5;
		nbd_client_request(client, &read);
		assert_int_equal(take_simple(client, &cookie), NBD_OK);
		assert_int_equal(cookie, 5);
		reply = nbd_client_take(client, read.size);
		assert_non_null(reply);
		assert_memory_equal(reply, data, read.size);
		assert_int_equal(nbd_client_waiting(client), 0);
	}
	free(data);
	free(seen);
}

static void test_large(void **state)
{
	(void)state;
	large_requests(true);
	nbd_client_close(&bench->clients[0]);
	large_requests(false);
}

static void test_large_in_little_memory(void **state)
{
	(void)state;
	nbd_bench_close(bench);
	bench = nbd_bench_open(4 << 20, 256 << 10);
	large_requests(true);
	nbd_client_close(&bench->clients[0]);
	large_requests(false);
}

/* Requests of other sizes are under way when a simple reply comes in pieces. */
static void test_simple_replies_in_order(void **state)
{
	struct nbd_client *client = nbd_client_open(bench, 0);
	struct nbd_request small = { .id = NBD_CMD_READ, .size = BLOCK };
	struct nbd_request large = { .id = NBD_CMD_READ, .size = 1 << 20 };
	uint8_t requests[17 * NBD_REQUEST_SIZE];
	uint64_t cookie;
	unsigned seen = 0;

	(void)state;
	fill(bench->device.data, 1 << 20, 4);
	nbd_client_handshake(client, false);
	bench->device.held = true;
	bench->device.newest_first = true;
	large.cookie = 100;
	for (unsigned i = 0; i < 17; i++) {
		small.cookie = i < 8 ? i : i - 1;
		small.offset = small.cookie * BLOCK;
		nbd_write_request(requests + i * NBD_REQUEST_SIZE, i == 8 ? &large : &small);
	}
	nbd_client_bytes(client, requests, sizeof(requests));
	assert_int_equal(nbd_client_waiting(client), 0);
	bench->device.held = false;
	nbd_bench_run(bench);
	while (nbd_client_waiting(client) > 0) {
		uint32_t size;

		assert_int_equal(take_simple(client, &cookie), NBD_OK);
		size = cookie == 100 ? large.size : small.size;
		assert_memory_equal(nbd_client_take(client, size),
		                    bench->device.data + (cookie == 100 ? 0 : cookie * BLOCK),
		                    size);
		seen++;
	}
	assert_int_equal(seen, 17);
	/* Its first piece fails: an error. A later one: too late for that. */
	bench->device.newest_first = false;
	bench->device.fails = 1;
	bench->device.fail = STATUS_CORRUPT;
	nbd_client_request(client, &large);
	assert_int_equal(take_simple(client, &cookie), NBD_EIO);
	assert_int_equal(nbd_client_waiting(client), 0);
	bench->device.fails = 1;
	bench->device.skip = 2;
	nbd_client_request(client, &large);
	assert_false(client->open);
}

/* More requests than there is room for wait in front of the server; none is lost. */
static void test_back_pressure(void **state)
{
	enum { COUNT = 1000 };
	static uint8_t requests[COUNT * NBD_REQUEST_SIZE];
	static uint8_t data[BLOCK];
	struct nbd_client *client;
	struct answer answer = { .error = 0 };
	bool seen[COUNT] = { false };
	size_t taken;

	(void)state;
	nbd_bench_close(bench);
	bench = nbd_bench_open(4 << 20, 512 << 10);
	client = nbd_client_open(bench, 0);
	nbd_client_handshake(client, true);
	bench->device.held = true;
	for (unsigned i = 0; i < COUNT; i++)
		nbd_write_request(
		        requests + i * NBD_REQUEST_SIZE,
		        &(struct nbd_request){ .id = NBD_CMD_READ, .cookie = i, .size = BLOCK });
	taken = nbd_client_bytes(client, requests, sizeof(requests));
	assert_true(taken < sizeof(requests));
	assert_true(client->paused);
	assert_true(bench->device.queued <= 256);
	assert_true(bench->bufs.used_size <= 2 << 20);
	/* A client that takes no replies is waited for, but not for ever. */
	client->stuck = true;
	bench->device.held = false;
	nbd_bench_run(bench);
	client->stuck = false;
	nbd_bench_run(bench);
	nbd_client_bytes(client, requests + taken, sizeof(requests) - taken);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_true(take_chunk(client, &answer, data, 0));
		assert_true(answer.done && answer.cookie < COUNT && !seen[answer.cookie]);
		seen[answer.cookie] = true;
	}
	client->stuck = true;
	nbd_client_bytes(client, requests, NBD_REQUEST_SIZE);
	nbd_bench_wait(bench, 62000000000);
	assert_false(client->open);
	/* Nor for the rest of a write. */
	client = nbd_client_open(bench, 1);
	nbd_client_handshake(client, true);
	nbd_client_request(client, &(struct nbd_request){ .id = NBD_CMD_WRITE, .size = BLOCK });
	nbd_client_bytes(client, data, 100);
	nbd_bench_wait(bench, 30000000000);
	nbd_client_bytes(client, data, 100);
	nbd_bench_wait(bench, 40000000000);
	assert_true(client->open);
	nbd_bench_wait(bench, 40000000000);
	assert_false(client->open);
	assert_int_equal(nbd_server_stats(bench->server)->timeouts, 2);
}

static void test_drain(void **state)
{
	static uint8_t data[BLOCK];
	struct nbd_client *busy = nbd_client_open(bench, 0), *idle = nbd_client_open(bench, 1);
	struct nbd_client *half = nbd_client_open(bench, 2), *late;
	struct answer answer = { .error = 0 };

	(void)state;
	nbd_client_handshake(busy, true);
	nbd_client_handshake(idle, true);
	nbd_client_handshake(half, true);
	assert_int_equal(bench->export.users, 3);
	bench->device.held = true;
	nbd_client_request(busy, &(struct nbd_request){ .id = NBD_CMD_READ, .size = BLOCK });
	nbd_client_request(half, &(struct nbd_request){ .id = NBD_CMD_WRITE, .size = 1 << 20 });
	for (unsigned i = 0; i < 100; i++)
		nbd_client_bytes(half, data, BLOCK);
	nbd_server_drain(bench->server);
	nbd_bench_run(bench);
	assert_false(idle->open);
	assert_true(busy->open);
	late = nbd_client_open(bench, 3);
	assert_false(late->open);
	bench->device.held = false;
	nbd_bench_run(bench);
	assert_true(take_chunk(busy, &answer, data, 0));
	assert_int_equal(answer.error, NBD_OK);
	assert_false(busy->open);
	assert_true(take_chunk(half, &answer, data, 0));
	assert_int_equal(answer.error, NBD_ESHUTDOWN);
	assert_false(half->open);
	assert_true(nbd_server_is_drained(bench->server));
	assert_int_equal(bench->export.users, 0);
}

/* The device goes while clients have it. */
static void test_removed_export(void **state)
{
	struct nbd_client *client = nbd_client_open(bench, 0);

	(void)state;
	nbd_client_handshake(client, true);
	bench->device.held = true;
	nbd_client_request(client, &(struct nbd_request){ .id = NBD_CMD_READ, .size = BLOCK });
	assert_false(export_remove(&bench->exports, &bench->export));
	nbd_server_drop(bench->server, &bench->export);
	nbd_bench_run(bench);
	assert_int_equal(bench->left, 0);
	bench->device.held = false;
	nbd_bench_run(bench);
	assert_int_equal(bench->left, 1);
	assert_false(client->open);
}

/* Any bytes, cut anywhere: it never breaks, and always ends. */
static void test_noise(void **state)
{
	static uint8_t noise[8192];
	struct prng prng;

	(void)state;
	prng_init(&prng, 99);
	for (unsigned round = 0; round < 300; round++) {
		struct nbd_client *client = nbd_client_open(bench, 0);
		size_t size = prng_next(&prng) % sizeof(noise);

		assert_true(client->open);
		nbd_client_handshake(client, round & 1);
		fill(noise, sizeof(noise), round);
		for (size_t at = 0; at + 64 < size; at += prng_next(&prng) % 300) {
			struct nbd_request request = {
				.id = (uint16_t)(prng_next(&prng) % 9),
				.flags = (uint16_t)(prng_next(&prng) % 40),
				.offset = prng_next(&prng) % NBD_DEVICE_SIZE & -BLOCK,
				.size = (uint32_t)(prng_next(&prng) % (1 << 20)) & -BLOCK,
			};

			nbd_write_request(noise + at, &request);
		}
		bench->device.held = prng_next(&prng) % 2;
		bench->device.fails = (unsigned)(prng_next(&prng) % 3);
		bench->device.fail = STATUS_IO;
		nbd_client_bytes(client, noise, size);
		bench->device.held = false;
		nbd_bench_run(bench);
		nbd_client_close(client);
		assert_int_equal(bench->export.users, 0);
		assert_int_equal(bench->bufs.used_size, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_greeting),
		TEST(test_options),
		TEST(test_meta_contexts),
		TEST(test_export_name),
		TEST(test_hostile_options),
		TEST(test_read_write),
		TEST(test_errors),
		TEST(test_read_only),
		TEST(test_zeroes_and_trim),
		TEST(test_block_status),
		TEST(test_large),
		TEST(test_large_in_little_memory),
		TEST(test_simple_replies_in_order),
		TEST(test_back_pressure),
		TEST(test_drain),
		TEST(test_removed_export),
		TEST(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
