/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe/TCP target under hosts that misbehave: each loses its own connection, with the error
 * that the specification has for it, or gets its status; another one is served on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/macros.h"
#include "nvme_rig.h"
#include "server/nvme_internal.h"

static struct nvme_rig rig;
static struct rig_peer good, bad;

enum { DNR = NVME_STATUS_DO_NOT_RETRY };

static void open_rig(void)
{
	nvme_rig_open(&rig, &(struct rig_options){ .seed = 1 });
}

static void admin(struct rig_peer *peer)
{
	rig_peer_open(peer, &rig);
	rig_peer_set_up(peer, 0);
	assert_int_equal(rig_peer_connect(peer, RIG_NQN, 0, NVME_CONTROLLER_ANY, 31), 0);
}

/* An I/O queue of the controller that `of` has. */
static void io(struct rig_peer *peer, const struct rig_peer *of, uint16_t id)
{
	rig_peer_open(peer, &rig);
	rig_peer_set_up(peer, 0);
	assert_int_equal(rig_peer_connect(peer, RIG_NQN, id, of->controller_id, 31), 0);
}

static struct nvme_sqe command(uint8_t opcode, uint16_t cid, uint32_t nsid)
{
	return (struct nvme_sqe){ .opcode = opcode,
		                  .flags = NVME_SQE_SGL,
		                  .cid = cid,
		                  .nsid = nsid,
		                  .sgl.type = NVME_SGL_TRANSPORT };
}

static struct nvme_sqe transfer(uint8_t opcode, uint16_t cid, uint64_t lba, uint32_t blocks)
{
	struct nvme_sqe sqe = command(opcode, cid, 1);

	sqe.cdw10 = (uint32_t)lba;
	sqe.cdw11 = (uint32_t)(lba >> 32);
	sqe.cdw12 = blocks - 1;
	sqe.sgl.size = blocks * RIG_BLOCK_SIZE;
	return sqe;
}

static void expect_term(struct rig_peer *peer, enum nvme_tcp_error error, uint32_t information)
{
	union nvme_tcp_pdu pdu;
	struct bytes data;

	assert_true(rig_peer_next(peer, &pdu, &data));
	assert_int_equal(pdu.common.type, NVME_TCP_C2H_TERM);
	assert_int_equal(pdu.term.error, error);
	assert_int_equal(pdu.term.information, information);
	assert_true(data.size >= 8 && data.size <= NVME_TCP_TERM_DATA_MAX);
	sim_advance(rig.sim, 5000000000);
	assert_true(peer->ended);
	rig_peer_close(peer);
}

static void expect_response(struct rig_peer *peer, uint16_t cid, uint16_t status)
{
	union nvme_tcp_pdu pdu;
	struct bytes data;

	assert_true(rig_peer_next(peer, &pdu, &data));
	assert_int_equal(pdu.common.type, NVME_TCP_RESPONSE);
	assert_int_equal(pdu.response.cqe.cid, cid);
	assert_int_equal(pdu.response.cqe.status >> 1, status);
}

/* A header as it is said, with all fields the test's own. */
static void send_header(struct rig_peer *peer, struct nvme_tcp_common common, size_t size)
{
	uint8_t out[256] = { 0 };

	memcpy(out, &common, sizeof(common));
	rig_peer_send(peer, out, size);
}

static void check_good(void)
{
	static uint8_t block[RIG_BLOCK_SIZE];
	struct nvme_sqe sqe = transfer(NVME_READ, 77, 1, 1);

	assert_int_equal(rig_peer_call(&good, &sqe, block, sizeof(block), NULL), 0);
}

static void test_hostile_before_set_up(void **state)
{
	static const struct {
		const char *name;
		struct nvme_tcp_common common;
		uint16_t size;
		enum nvme_tcp_error error;
		uint32_t information;
	} rows[] = {
		{ "no PDU type", { 0xff, 0, 8, 0, 8 }, 8, NVME_TCP_INVALID_FIELD, 0 },
		{ "a hole in the types", { 0x08, 0, 24, 0, 24 }, 8, NVME_TCP_INVALID_FIELD, 0 },
		{ "HTTP", { 'G', 'E', 'T', ' ', 0x5448202f }, 8, NVME_TCP_INVALID_FIELD, 0 },
		{ "wrong direction",
		  { NVME_TCP_IC_RESP, 0, 128, 0, 128 },
		  128,
		  NVME_TCP_INVALID_FIELD,
		  0 },
		{ "a command first", { NVME_TCP_COMMAND, 0, 72, 0, 72 }, 72, NVME_TCP_SEQUENCE, 0 },
		{ "data first", { NVME_TCP_H2C_DATA, 0, 24, 24, 32 }, 32, NVME_TCP_SEQUENCE, 0 },
		{ "HLEN", { NVME_TCP_IC_REQ, 0, 24, 0, 128 }, 128, NVME_TCP_INVALID_FIELD, 2 },
		{ "PLEN too large",
		  { NVME_TCP_IC_REQ, 0, 128, 0, 132 },
		  128,
		  NVME_TCP_INVALID_FIELD,
		  4 },
		{ "PLEN huge",
		  { NVME_TCP_IC_REQ, 0, 128, 0, UINT32_MAX },
		  128,
		  NVME_TCP_INVALID_FIELD,
		  4 },
		{ "PLEN zero", { NVME_TCP_IC_REQ, 0, 128, 0, 0 }, 128, NVME_TCP_INVALID_FIELD, 4 },
		{ "a digest that nobody agreed on",
		  { NVME_TCP_IC_REQ, 1, 128, 0, 128 },
		  128,
		  NVME_TCP_INVALID_FIELD,
		  1 },
	};

	(void)state;
	open_rig();
	for (size_t i = 0; i < array_count(rows); i++) {
		rig_peer_open(&bad, &rig);
		send_header(&bad, rows[i].common, rows[i].size);
		expect_term(&bad, rows[i].error, rows[i].information);
	}
	/* Fields of ICReq. */
	for (unsigned i = 0; i < 2; i++) {
		struct nvme_tcp_ic ic = { .format = i == 0, .align = i == 0 ? 0 : 32 };
		uint8_t out[NVME_TCP_SEAL_MAX];

		rig_peer_open(&bad, &rig);
		memcpy(out, &ic, sizeof(ic));
		rig_peer_send(&bad, out,
		              nvme_tcp_seal(out, &(struct nvme_tcp_link){ .host = true },
		                            NVME_TCP_IC_REQ, 0));
		expect_term(&bad, i == 0 ? NVME_TCP_UNSUPPORTED : NVME_TCP_INVALID_FIELD,
		            i == 0 ? 8 : 10);
	}
	nvme_rig_close(&rig);
}

/* PDUs that a queue which is connected must not get. */
static const struct {
	const char *name;
	struct nvme_tcp_common common;
	uint16_t size;
	enum nvme_tcp_error error;
	uint32_t information;
} hostile[] = {
	{ "a second ICReq", { NVME_TCP_IC_REQ, 0, 128, 0, 128 }, 128, NVME_TCP_SEQUENCE, 0 },
	{ "a response", { NVME_TCP_RESPONSE, 0, 24, 0, 24 }, 24, NVME_TCP_INVALID_FIELD, 0 },
	{ "an R2T", { NVME_TCP_R2T, 0, 24, 0, 24 }, 24, NVME_TCP_INVALID_FIELD, 0 },
	{ "a digest", { NVME_TCP_COMMAND, 1, 72, 0, 76 }, 76, NVME_TCP_INVALID_FIELD, 1 },
	{ "a digest of data", { NVME_TCP_COMMAND, 2, 72, 72, 80 }, 80, NVME_TCP_INVALID_FIELD, 1 },
	{ "PDO in the header",
	  { NVME_TCP_COMMAND, 0, 72, 68, 100 },
	  100,
	  NVME_TCP_INVALID_FIELD,
	  3 },
	{ "PDO past the end",
	  { NVME_TCP_COMMAND, 0, 72, 200, 100 },
	  100,
	  NVME_TCP_INVALID_FIELD,
	  3 },
	{ "PDO not aligned", { NVME_TCP_COMMAND, 0, 72, 74, 100 }, 100, NVME_TCP_INVALID_FIELD, 3 },
	{ "PLEN short", { NVME_TCP_COMMAND, 0, 72, 0, 71 }, 72, NVME_TCP_INVALID_FIELD, 4 },
	{ "too much in a capsule",
	  { NVME_TCP_COMMAND, 0, 72, 72, 72 + NVME_CAPSULE_MAX + 4 },
	  72,
	  NVME_TCP_INVALID_FIELD,
	  4 },
	{ "too much data",
	  { NVME_TCP_H2C_DATA, 0, 24, 24, 24 + NVME_H2C_MAX + 4 },
	  24,
	  NVME_TCP_LIMIT,
	  4 },
	{ "no data", { NVME_TCP_H2C_DATA, 0, 24, 24, 24 }, 24, NVME_TCP_INVALID_FIELD, 4 },
	{ "DATAL that is not the PDU's",
	  { NVME_TCP_H2C_DATA, 0, 24, 24, 28 },
	  28,
	  NVME_TCP_INVALID_FIELD,
	  16 },
};

static void test_hostile_queue(void **state)
{
	(void)state;
	open_rig();
	admin(&bad);
	io(&good, &bad, 2);
	for (size_t i = 0; i < array_count(hostile); i++) {
		static struct rig_peer worse;

		io(&worse, &bad, 1);
		send_header(&worse, hostile[i].common, hostile[i].size);
		expect_term(&worse, hostile[i].error, hostile[i].information);
		check_good();
	}
	nvme_rig_close(&rig);
}

/* H2CData that refers to what is not there, or not so. */
static void test_hostile_data(void **state)
{
	static const struct {
		const char *name;
		int cid, tag, offset, size;
		bool last;
		enum nvme_tcp_error error;
		uint32_t information;
	} rows[] = {
		{ "another command", 1, 0, 0, 4096, false, NVME_TCP_INVALID_FIELD, 8 },
		{ "another tag", 0, 1, 0, 4096, false, NVME_TCP_INVALID_FIELD, 10 },
		{ "a tag far away", 0, 60000, 0, 4096, false, NVME_TCP_INVALID_FIELD, 10 },
		{ "not from the start", 0, 0, 4096, 4096, false, NVME_TCP_INVALID_FIELD, 12 },
		{ "past the end", 0, 0, 8192 * 4, 4096, false, NVME_TCP_OUT_OF_RANGE, 12 },
		{ "more than was asked for", 0, 0, 4096, 8 * 4096, true, NVME_TCP_OUT_OF_RANGE,
		  12 },
		{ "last too early", 0, 0, 0, 4096, true, NVME_TCP_INVALID_FIELD, 1 },
		{ "the end not last", 0, 0, 0, 8 * 4096, false, NVME_TCP_INVALID_FIELD, 1 },
	};
	static uint8_t zeroes[8 * RIG_BLOCK_SIZE];
	struct nvme_sqe sqe = transfer(NVME_WRITE, 9, 0, 8);
	union nvme_tcp_pdu r2t;
	struct bytes data;

	(void)state;
	open_rig();
	admin(&bad);
	io(&good, &bad, 2);
	for (size_t i = 0; i < array_count(rows); i++) {
		static struct rig_peer worse;
		uint8_t out[NVME_TCP_SEAL_MAX] = { 0 };
		struct nvme_tcp_data pdu;

		io(&worse, &bad, 1);
		rig_peer_command(&worse, &sqe, NULL, 0);
		assert_true(rig_peer_next(&worse, &r2t, &data));
		assert_int_equal(r2t.common.type, NVME_TCP_R2T);
		assert_int_equal(r2t.data.size, sizeof(zeroes));
		pdu = (struct nvme_tcp_data){ .cid = (uint16_t)(r2t.data.cid + rows[i].cid),
			                      .tag = (uint16_t)(r2t.data.tag + rows[i].tag),
			                      .offset = (uint32_t)rows[i].offset,
			                      .size = (uint32_t)rows[i].size };
		pdu.common.flags = rows[i].last ? NVME_TCP_LAST : 0;
		memcpy(out, &pdu, sizeof(pdu));
		rig_peer_send(&worse, out,
		              nvme_tcp_seal(out, &worse.link, NVME_TCP_H2C_DATA, pdu.size));
		rig_peer_send(&worse, zeroes, pdu.size);
		expect_term(&worse, rows[i].error, rows[i].information);
		check_good();
	}
	nvme_rig_close(&rig);
}

/* A header that is damaged ends the connection; damaged data ends its command. */
static void test_digests(void **state)
{
	static uint8_t block[RIG_BLOCK_SIZE];
	uint8_t out[NVME_TCP_SEAL_MAX] = { 0 };
	struct nvme_sqe sqe = transfer(NVME_WRITE, 5, 3, 1);
	struct nvme_tcp_command pdu;
	size_t size;
	uint32_t digest;

	(void)state;
	open_rig();
	admin(&good);
	rig_peer_open(&bad, &rig);
	rig_peer_set_up(&bad, NVME_TCP_DIGEST_HEADERS | NVME_TCP_DIGEST_DATA);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 1, good.controller_id, 31), 0);
	memset(block, 0x55, sizeof(block));
	sqe.sgl.type = NVME_SGL_IN_CAPSULE;
	pdu = (struct nvme_tcp_command){ .sqe = sqe };
	memcpy(out, &pdu, sizeof(pdu));
	rig_peer_send(&bad, out, nvme_tcp_seal(out, &bad.link, NVME_TCP_COMMAND, sizeof(block)));
	rig_peer_send(&bad, block, sizeof(block));
	digest = crc32c(0, block, sizeof(block)) ^ 1;
	rig_peer_send(&bad, &digest, sizeof(digest));
	expect_response(&bad, 5, NVME_SC_TRANSIENT_TRANSPORT);
	assert_int_equal(rig.data[0][3 * RIG_BLOCK_SIZE], 0); /* not written */
	rig_peer_command(&bad, &sqe, block, sizeof(block));
	expect_response(&bad, 5, NVME_SC_SUCCESS);
	assert_int_equal(rig.data[0][3 * RIG_BLOCK_SIZE], 0x55);

	memcpy(out, &(struct nvme_tcp_command){ .sqe = transfer(NVME_READ, 6, 3, 1) }, 72);
	size = nvme_tcp_seal(out, &bad.link, NVME_TCP_COMMAND, 0);
	out[40] ^= 1;
	rig_peer_send(&bad, out, size);
	memcpy(&digest, out + 72, sizeof(digest));
	expect_term(&bad, NVME_TCP_HEADER_DIGEST_ERROR, digest);
	nvme_rig_close(&rig);
}

static uint16_t call_io(struct nvme_sqe sqe)
{
	static uint8_t out[NVME_TRANSFER_MAX];

	return rig_peer_call(&good, &sqe, out, sizeof(out), NULL);
}

/* Commands that are wrong by themselves have the specification's status, and nothing else. */
static void test_status_of_io(void **state)
{
	struct nvme_sqe sqe;

	(void)state;
	open_rig();
	admin(&bad);
	io(&good, &bad, 1);
	assert_int_equal(call_io(command(0x7e, 1, 1)), NVME_SC_INVALID_OPCODE | DNR);
	assert_int_equal(call_io(command(NVME_FLUSH, 1, 9)), NVME_SC_INVALID_NAMESPACE | DNR);
	assert_int_equal(call_io(command(NVME_FLUSH, 1, NVME_NAMESPACE_ALL)),
	                 NVME_SC_INVALID_NAMESPACE | DNR);
	assert_int_equal(call_io(command(NVME_FLUSH, 1, 1)), 0);
	assert_int_equal(call_io(transfer(NVME_READ, 1, RIG_BLOCKS, 1)),
	                 NVME_SC_LBA_OUT_OF_RANGE | DNR);
	assert_int_equal(call_io(transfer(NVME_READ, 1, RIG_BLOCKS - 1, 2)),
	                 NVME_SC_LBA_OUT_OF_RANGE | DNR);
	assert_int_equal(call_io(transfer(NVME_READ, 1, UINT64_MAX, 1)),
	                 NVME_SC_LBA_OUT_OF_RANGE | DNR);
	assert_int_equal(call_io(transfer(NVME_WRITE, 1, UINT64_MAX - 3, 8)),
	                 NVME_SC_LBA_OUT_OF_RANGE | DNR);
	assert_int_equal(call_io(transfer(NVME_READ, 1, 0, 65)), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(call_io(transfer(NVME_READ, 1, 0, 64)), 0);
	assert_int_equal(call_io(transfer(NVME_VERIFY, 1, 0, 1)), 0);
	sqe = transfer(NVME_READ, 1, 0, 2);
	sqe.sgl.size = RIG_BLOCK_SIZE;
	assert_int_equal(call_io(sqe), NVME_SC_SGL_LENGTH_INVALID | DNR);
	sqe = transfer(NVME_READ, 1, 0, 1);
	sqe.sgl.type = NVME_SGL_IN_CAPSULE;
	assert_int_equal(call_io(sqe), NVME_SC_SGL_TYPE_INVALID | DNR);
	sqe.sgl.type = 0x40; /* keyed: of RDMA */
	assert_int_equal(call_io(sqe), NVME_SC_SGL_TYPE_INVALID | DNR);
	sqe = transfer(NVME_READ, 1, 0, 1);
	sqe.flags = 0; /* PRPs */
	assert_int_equal(call_io(sqe), NVME_SC_INVALID_FIELD | DNR);
	sqe.flags = NVME_SQE_SGL | 1; /* fused */
	assert_int_equal(call_io(sqe), NVME_SC_INVALID_FIELD | DNR);
	sqe = transfer(NVME_WRITE, 1, 0, 1);
	sqe.sgl.type = NVME_SGL_IN_CAPSULE; /* and there is nothing in it */
	assert_int_equal(call_io(sqe), NVME_SC_SGL_LENGTH_INVALID | DNR);
	sqe.nsid = 2; /* read-only */
	assert_int_equal(call_io(sqe), NVME_SC_WRITE_PROTECTED | DNR);
	sqe = command(NVME_FABRICS, 1, 0);
	sqe.fctype = NVME_PROPERTY_GET; /* not on an I/O queue */
	assert_int_equal(call_io(sqe), NVME_SC_INVALID_OPCODE | DNR);
	sqe.fctype = NVME_CONNECT;
	sqe.sgl.size = 1024;
	assert_int_equal(call_io(sqe), NVME_SC_COMMAND_SEQUENCE_ERROR | DNR);
	nvme_rig_close(&rig);
}

static void test_zeroes_compare_discard(void **state)
{
	static uint8_t blocks[16 * RIG_BLOCK_SIZE];
	struct nvme_dsm_range ranges[2] = { { .block_count = 4, .lba = 8 },
		                            { .block_count = 1, .lba = RIG_BLOCKS } };
	struct nvme_sqe sqe = transfer(NVME_COMPARE, 1, 0, 2);

	(void)state;
	open_rig();
	admin(&bad);
	io(&good, &bad, 1);
	memset(rig.data[0], 0x77, sizeof(blocks));
	memset(blocks, 0x77, sizeof(blocks));
	sqe.sgl.type = NVME_SGL_IN_CAPSULE;
	rig_peer_command(&good, &sqe, blocks, 2 * RIG_BLOCK_SIZE);
	expect_response(&good, 1, 0);
	blocks[2 * RIG_BLOCK_SIZE - 1] ^= 1;
	rig_peer_command(&good, &sqe, blocks, 2 * RIG_BLOCK_SIZE);
	expect_response(&good, 1, NVME_SC_COMPARE_FAILURE | DNR);
	sqe = transfer(NVME_WRITE_ZEROES, 1, 1, 9);
	sqe.sgl.size = 0;
	assert_int_equal(call_io(sqe), 0);
	memset(blocks, 0, sizeof(blocks));
	assert_memory_equal(rig.data[0] + RIG_BLOCK_SIZE, blocks, 9 * RIG_BLOCK_SIZE);
	assert_int_equal(rig.data[0][RIG_BLOCK_SIZE - 1], 0x77);
	assert_int_equal(rig.data[0][10 * RIG_BLOCK_SIZE], 0x77);

	sqe = command(NVME_DATASET_MANAGEMENT, 2, 1);
	sqe.cdw11 = NVME_DSM_DEALLOCATE;
	sqe.sgl = (struct nvme_sgl){ .size = 16, .type = NVME_SGL_IN_CAPSULE };
	rig_peer_command(&good, &sqe, ranges, 16);
	expect_response(&good, 2, 0);
	sqe.cdw10 = 1; /* two of them, and the second is out of range */
	sqe.sgl.size = 32;
	rig_peer_command(&good, &sqe, ranges, 32);
	expect_response(&good, 2, NVME_SC_LBA_OUT_OF_RANGE | DNR);
	sqe.cdw10 = 2; /* three of two */
	rig_peer_command(&good, &sqe, ranges, 32);
	expect_response(&good, 2, NVME_SC_SGL_LENGTH_INVALID | DNR);
	nvme_rig_close(&rig);
}

static void test_connect(void **state)
{
	static struct rig_peer third;

	(void)state;
	open_rig();
	rig_peer_open(&bad, &rig);
	rig_peer_set_up(&bad, 0);
	assert_int_equal(rig_peer_connect(&bad, "nqn.2026-01.weir:none", 0, 0xffff, 31),
	                 NVME_SC_CONNECT_INVALID | DNR);
	assert_int_equal(rig_peer_connect(&bad, "weir", 0, 0xffff, 31),
	                 NVME_SC_CONNECT_INVALID | DNR);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 0, 1, 31), NVME_SC_CONNECT_INVALID | DNR);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 0, 0xffff, 0),
	                 NVME_SC_CONNECT_INVALID | DNR);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 0, 0xffff, 128),
	                 NVME_SC_CONNECT_INVALID | DNR);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 1, 7, 31), NVME_SC_CONNECT_INVALID | DNR);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 1, 0xfff0, 31),
	                 NVME_SC_CONNECT_INVALID | DNR);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 65, 1, 31), NVME_SC_CONNECT_INVALID | DNR);
	admin(&good);
	io(&third, &good, 1);
	/* The same queue twice; then a queue more. */
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 1, good.controller_id, 31),
	                 NVME_SC_CONNECT_BUSY);
	assert_int_equal(rig_peer_connect(&bad, RIG_NQN, 2, good.controller_id, 31), 0);
	rig_peer_close(&third);
	/* The admin queue goes, and the others with it, wherever they are. */
	rig_peer_close(&good);
	nvme_rig_run(&rig);
	assert_true(bad.ended);
	rig_peer_close(&bad);
	for (unsigned i = 0; i < RIG_WORKERS; i++) {
		assert_true(nvme_server_is_drained(rig.servers[i]));
		assert_int_equal(nvme_server_stats(rig.servers[i])->controllers_open, 0);
	}
	nvme_rig_close(&rig);
}

/* Commands before Connect, before CC.EN, and in a discovery controller. */
static void test_sequence(void **state)
{
	static uint8_t page[4096];
	struct nvme_sqe sqe = command(NVME_ADMIN_IDENTIFY, 1, 0);

	(void)state;
	open_rig();
	rig_peer_open(&bad, &rig);
	rig_peer_set_up(&bad, 0);
	sqe.cdw10 = NVME_CNS_CONTROLLER;
	sqe.sgl.size = sizeof(page);
	assert_int_equal(rig_peer_call(&bad, &sqe, page, sizeof(page), NULL),
	                 NVME_SC_COMMAND_SEQUENCE_ERROR | DNR);
	assert_int_equal(rig_peer_connect(&bad, NVME_DISCOVERY_NQN, 0, 0xffff, 31), 0);
	assert_int_equal(rig_peer_call(&bad, &sqe, page, sizeof(page), NULL), 0);
	assert_string_equal(((struct nvme_id_controller *)(void *)page)->subsystem_nqn,
	                    NVME_DISCOVERY_NQN);
	sqe.cdw10 = NVME_CNS_ACTIVE;
	assert_int_equal(rig_peer_call(&bad, &sqe, page, sizeof(page), NULL),
	                 NVME_SC_INVALID_FIELD | DNR);
	sqe = command(NVME_ADMIN_GET_LOG_PAGE, 2, 0);
	sqe.cdw10 = NVME_LOG_DISCOVERY | 1023u << 16;
	sqe.sgl.size = sizeof(page);
	assert_int_equal(rig_peer_call(&bad, &sqe, page, sizeof(page), NULL), 0);
	assert_int_equal(((struct nvme_discovery_header *)(void *)page)->record_count, 2);
	sqe.cdw12 = 2048; /* the second entry, alone */
	sqe.cdw10 = NVME_LOG_DISCOVERY | 255u << 16;
	sqe.sgl.size = 1024;
	assert_int_equal(rig_peer_call(&bad, &sqe, page, 1024, NULL), 0);
	assert_string_equal(((struct nvme_discovery_entry *)(void *)page)->subsystem_nqn, RIG_NQN);
	sqe.cdw12 = 1 << 20;
	assert_int_equal(rig_peer_call(&bad, &sqe, page, 1024, NULL), NVME_SC_INVALID_FIELD | DNR);
	sqe.cdw12 = 0;
	sqe.cdw10 = NVME_LOG_SMART | 255u << 16;
	assert_int_equal(rig_peer_call(&bad, &sqe, page, 1024, NULL),
	                 NVME_SC_INVALID_LOG_PAGE | DNR);
	nvme_rig_close(&rig);
}

/* A host that sends more commands than its queue has entries, with an identifier twice. */
static void test_flood(void **state)
{
	static uint8_t zeroes[RIG_BLOCK_SIZE];
	struct nvme_sqe sqe = transfer(NVME_WRITE, 0, 0, 8);
	union nvme_tcp_pdu pdu;
	struct bytes data;

	(void)state;
	open_rig();
	admin(&good);
	io(&bad, &good, 1);
	rig_peer_command(&bad, &sqe, NULL, 0); /* it waits for its data */
	assert_true(rig_peer_next(&bad, &pdu, &data));
	assert_int_equal(pdu.common.type, NVME_TCP_R2T);
	rig_peer_command(&bad, &sqe, NULL, 0);
	expect_response(&bad, 0, NVME_SC_COMMAND_ID_CONFLICT | DNR);
	for (uint16_t i = 1; i < 32; i++) {
		sqe.cid = i;
		rig_peer_command(&bad, &sqe, NULL, 0);
		assert_true(rig_peer_next(&bad, &pdu, &data));
		assert_int_equal(pdu.common.type, NVME_TCP_R2T);
	}
	sqe.cid = 32;
	rig_peer_command(&bad, &sqe, NULL, 0);
	expect_term(&bad, NVME_TCP_SEQUENCE, 0);
	/* What it held is there for others. */
	io(&bad, &good, 1);
	sqe = transfer(NVME_WRITE, 1, 0, 1);
	sqe.sgl.type = NVME_SGL_IN_CAPSULE;
	rig_peer_command(&bad, &sqe, zeroes, sizeof(zeroes));
	expect_response(&bad, 1, 0);
	for (unsigned i = 0; i < RIG_WORKERS; i++)
		assert_int_equal(rig.bufs[i].used_size, 0);
	nvme_rig_close(&rig);
}

/* A host that keeps silent, one that never finishes its set-up, and one that owes data. */
static void test_silence(void **state)
{
	struct nvme_sqe sqe = command(NVME_ADMIN_SET_FEATURES, 3, 0);
	static struct rig_peer idle, owing;
	uint64_t expired = 0;

	(void)state;
	open_rig();
	admin(&good);
	sqe.cdw10 = NVME_FEATURE_KEEP_ALIVE;
	sqe.cdw11 = 5000;
	assert_int_equal(rig_peer_call(&good, &sqe, NULL, 0, NULL), 0);
	rig_peer_open(&idle, &rig);
	for (unsigned i = 0; i < 4; i++) {
		sim_advance(rig.sim, 4000000000);
		sqe = command(NVME_ADMIN_KEEP_ALIVE, 4, 0);
		assert_int_equal(rig_peer_call(&good, &sqe, NULL, 0, NULL), 0);
	}
	assert_true(idle.ended);
	io(&owing, &good, 1);
	sqe = transfer(NVME_WRITE, 0, 0, 8);
	rig_peer_command(&owing, &sqe, NULL, 0);
	sim_advance(rig.sim, 7000000000);
	assert_true(good.ended); /* and its queue with it */
	assert_true(owing.ended);
	for (unsigned i = 0; i < RIG_WORKERS; i++) {
		expired += nvme_server_stats(rig.servers[i])->expired;
		assert_int_equal(rig.bufs[i].used_size, 0);
	}
	assert_int_equal(expired, 2);
	nvme_rig_close(&rig);
}

/* A namespace that goes is told of, once until the host has read which. */
static void test_events(void **state)
{
	static uint8_t page[4096];
	struct nvme_sqe event = command(NVME_ADMIN_ASYNC_EVENT, 50, 0), sqe;
	union nvme_tcp_pdu pdu;
	struct bytes data;
	uint32_t id;

	(void)state;
	open_rig();
	admin(&good);
	sqe = command(NVME_ADMIN_SET_FEATURES, 1, 0);
	sqe.cdw10 = NVME_FEATURE_ASYNC_EVENTS;
	sqe.cdw11 = NVME_OAES_NAMESPACE;
	assert_int_equal(rig_peer_call(&good, &sqe, NULL, 0, NULL), 0);
	rig_peer_command(&good, &event, NULL, 0);
	assert_false(rig_peer_next(&good, &pdu, &data));
	for (unsigned i = 0; i < RIG_WORKERS; i++)
		assert_true(export_remove(&rig.sets[i], &rig.exports[i][1]));
	sim_advance(rig.sim, 1000000000);
	assert_true(rig_peer_next(&good, &pdu, &data));
	assert_int_equal(pdu.response.cqe.cid, 50);
	assert_int_equal(
	        pdu.response.cqe.result,
	        NVME_EVENT(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE, NVME_LOG_CHANGED_NAMESPACES));
	sqe = command(NVME_ADMIN_GET_LOG_PAGE, 2, NVME_NAMESPACE_ALL);
	sqe.cdw10 = NVME_LOG_CHANGED_NAMESPACES | 1023u << 16;
	sqe.sgl.size = sizeof(page);
	assert_int_equal(rig_peer_call(&good, &sqe, page, sizeof(page), NULL), 0);
	memcpy(&id, page, sizeof(id));
	assert_int_equal(id, 2);
	memcpy(&id, page + 4, sizeof(id));
	assert_int_equal(id, 0);
	/* More requests than are kept. */
	for (uint16_t i = 0; i < NVME_EVENTS_MAX; i++) {
		event.cid = i;
		rig_peer_command(&good, &event, NULL, 0);
	}
	event.cid = 60;
	rig_peer_command(&good, &event, NULL, 0);
	expect_response(&good, 60, NVME_SC_ASYNC_EVENT_LIMIT | DNR);
	nvme_rig_close(&rig);
}

/* Buffers for one transfer at a time: the others wait, in order, and all end. */
static void test_starved(void **state)
{
	static uint8_t data[64 * RIG_BLOCK_SIZE];
	unsigned ended = 0;
	uint64_t starved = 0;
	union nvme_tcp_pdu pdu;
	struct bytes piece;

	(void)state;
	nvme_rig_open(&rig, &(struct rig_options){ .seed = 1, .bufs_size = 1 << 20 });
	admin(&bad);
	io(&good, &bad, 1);
	memset(rig.data[0], 0x31, sizeof(data));
	memset(data, 0x31, sizeof(data));
	for (uint16_t i = 0; i < 31; i++) {
		struct nvme_sqe sqe = transfer(NVME_READ, i, 0, 64);

		rig_peer_command(&good, &sqe, NULL, 0);
	}
	for (unsigned i = 0; i < 31; i++) {
		good.output_size = good.output_taken = 0;
		while (rig_peer_next(&good, &pdu, &piece)) {
			if (pdu.common.type == NVME_TCP_C2H_DATA)
				assert_memory_equal(piece.data, data, sizeof(data));
			else
				ended++;
		}
	}
	assert_int_equal(ended, 31);
	for (unsigned i = 0; i < RIG_WORKERS; i++) {
		starved += nvme_server_stats(rig.servers[i])->starved;
		assert_int_equal(rig.bufs[i].used_size, 0);
	}
	assert_true(starved > 0);
	nvme_rig_close(&rig);
}

/* What ICReq asks for: where data begins; and Connect: no SQ flow control, so no response. */
static void test_agreed(void **state)
{
	static uint8_t block[RIG_BLOCK_SIZE];
	struct nvme_connect_data connect = { .host_id = { 1, 2, 3 } };
	uint8_t out[NVME_TCP_SEAL_MAX] = { 0 };
	const struct nvme_tcp_ic ic = { .align = 31, .digests = NVME_TCP_DIGEST_HEADERS };
	struct nvme_sqe sqe = command(NVME_FABRICS, 4, 0);
	union nvme_tcp_pdu pdu;
	struct bytes data;

	(void)state;
	open_rig();
	admin(&good);
	rig_peer_open(&bad, &rig);
	memcpy(out, &ic, sizeof(ic));
	rig_peer_send(&bad, out, nvme_tcp_seal(out, &bad.link, NVME_TCP_IC_REQ, 0));
	assert_true(rig_peer_next(&bad, &pdu, &data));
	assert_int_equal(pdu.ic.digests, NVME_TCP_DIGEST_HEADERS);
	bad.link.ready = bad.link.header_digest = true;
	bad.link.in_align = 31;
	sqe.fctype = NVME_CONNECT;
	sqe.sgl = (struct nvme_sgl){ .size = sizeof(connect), .type = NVME_SGL_IN_CAPSULE };
	nvme_connect_set(&sqe, &(struct nvme_connect){ .queue_id = 1,
	                                               .queue_size = 7,
	                                               .attributes = NVME_CONNECT_NO_SQ_FLOW });
	connect.controller_id = good.controller_id;
	memcpy(connect.subsystem_nqn, RIG_NQN, sizeof(RIG_NQN));
	memcpy(connect.host_nqn, RIG_HOST_NQN, sizeof(RIG_HOST_NQN));
	rig_peer_command(&bad, &sqe, &connect, sizeof(connect));
	assert_true(rig_peer_next(&bad, &pdu, &data));
	assert_int_equal(pdu.common.type, NVME_TCP_RESPONSE);
	assert_int_equal(pdu.response.cqe.status, 0);
	assert_int_equal(pdu.response.cqe.sq_head, NVME_SQ_HEAD_NONE);
	memset(rig.data[0] + 5 * RIG_BLOCK_SIZE, 0x42, RIG_BLOCK_SIZE);
	memset(block, 0x42, sizeof(block));
	sqe = transfer(NVME_READ, 9, 5, 1);
	rig_peer_command(&bad, &sqe, NULL, 0);
	assert_true(rig_peer_next(&bad, &pdu, &data));
	assert_int_equal(pdu.common.type, NVME_TCP_C2H_DATA);
	assert_int_equal(pdu.common.data_offset, 128);
	assert_true(pdu.common.flags & NVME_TCP_SUCCESS);
	assert_int_equal(data.size, sizeof(block));
	assert_memory_equal(data.data, block, sizeof(block));
	assert_false(rig_peer_next(&bad, &pdu, &data));
	nvme_rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_before_set_up),
		cmocka_unit_test(test_hostile_queue),
		cmocka_unit_test(test_hostile_data),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_status_of_io),
		cmocka_unit_test(test_zeroes_compare_discard),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_starved),
		cmocka_unit_test(test_agreed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
