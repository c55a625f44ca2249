/* SPDX-License-Identifier: Apache-2.0 */
/* The initiator against the target: what it learns, reads, writes; and what it does when refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "nvme_rig.h"

static struct nvme_rig rig;

struct call {
	struct req req;
	enum status status;
	bool ended;
};

struct call_frame {
	struct frame frame;
};

static void call_ended(struct req *req)
{
	struct call *call = container_of(req, struct call, req);

	req_pop(req, struct call_frame);
	call->status = req->status;
	call->ended = true;
}

static bool has_ended(void *argument)
{
	return ((struct call *)argument)->ended;
}

static bool is_ready(void *argument)
{
	return nvme_host_is_ready(argument);
}

static enum status run(struct blk *blk, const struct blk_cmd *cmd)
{
	struct call call = { .ended = false };

	req_init(&call.req, rig.worker);
	req_push(&call.req, struct call_frame, call_ended);
	blk_submit(blk, &call.req, cmd);
	sim_wake(rig.sim, 1, 0);
	assert_true(sim_run(rig.sim, has_ended, &call, 10000000));
	return call.status;
}

static void stop(struct blk *blk)
{
	struct call call = { .ended = false };

	req_init(&call.req, rig.worker);
	req_push(&call.req, struct call_frame, call_ended);
	call.req.state = REQ_RUNNING;
	nvme_host_stop(blk, &call.req);
	sim_wake(rig.sim, 1, 0);
	assert_true(sim_run(rig.sim, has_ended, &call, 10000000));
	blk->ops->close(blk);
}

static struct blk *open_ready(const struct nvme_host_options *options)
{
	struct blk *blk;

	assert_int_equal(nvme_host_open(options, NULL, &blk), STATUS_OK);
	sim_wake(rig.sim, 1, 0);
	if (!sim_run(rig.sim, is_ready, blk, 1000000))
		fail_msg("not ready: %s", nvme_host_error(blk));
	return blk;
}

static void fill(uint8_t *data, size_t size, uint32_t seed)
{
	struct prng prng;

	prng_init(&prng, seed);
	prng_fill(&prng, data, size);
}

/* Writes and reads of all sizes, in several pieces of memory, with these digests. */
static void exercise(bool header_digest, bool data_digest)
{
	static uint8_t written[64 * RIG_BLOCK_SIZE], read[64 * RIG_BLOCK_SIZE];
	static const uint32_t sizes[] = { 1, 2, 4, 5, 33, 64 };
	struct nvme_host_options options;
	struct blk *blk;

	nvme_rig_open(&rig, &(struct rig_options){ .seed = 1 });
	rig_host_options(&rig, &options);
	options.header_digest = header_digest;
	options.data_digest = data_digest;
	blk = open_ready(&options);
	assert_int_equal(blk->geometry.block_size, RIG_BLOCK_SIZE);
	assert_int_equal(blk->geometry.block_count, RIG_BLOCKS);
	assert_int_equal(blk->geometry.transfer_max, 64);
	for (unsigned i = 0; i < array_count(sizes); i++) {
		size_t size = sizes[i] * (size_t)RIG_BLOCK_SIZE, cut = size / 3;
		struct iovec out[] = { { written, cut }, { written + cut, size - cut } };
		struct iovec in[] = { { read, size - cut }, { read + size - cut, cut } };
		struct blk_cmd cmd = { .op = BLK_WRITE,
			               .lba = 7 * i,
			               .block_count = sizes[i],
			               .iov_count = 2,
			               .iov = out };

		fill(written, size, i);
		assert_int_equal(run(blk, &cmd), STATUS_OK);
		assert_memory_equal(rig.data[0] + cmd.lba * RIG_BLOCK_SIZE, written, size);
		cmd.op = BLK_READ;
		cmd.iov = in;
		assert_int_equal(run(blk, &cmd), STATUS_OK);
		assert_memory_equal(read, written, size);
	}
	assert_int_equal(run(blk, &(struct blk_cmd){ .op = BLK_FLUSH }), STATUS_OK);
	assert_int_equal(
	        run(blk, &(struct blk_cmd){ .op = BLK_DISCARD, .lba = 3, .block_count = 100 }),
	        STATUS_OK);
	assert_int_equal(nvme_host_stats(blk)->digest_errors, 0);
	stop(blk);
	nvme_rig_run(&rig);
	for (unsigned i = 0; i < RIG_WORKERS; i++) {
		assert_int_equal(nvme_server_stats(rig.servers[i])->malformed, 0);
		assert_int_equal(nvme_server_stats(rig.servers[i])->failed, 0);
		assert_true(nvme_server_is_drained(rig.servers[i]));
		assert_int_equal(rig.bufs[i].used_size, 0);
	}
	nvme_rig_close(&rig);
}

static void test_plain(void **state)
{
	(void)state;
	exercise(false, false);
}

static void test_digests(void **state)
{
	(void)state;
	exercise(true, false);
	exercise(false, true);
	exercise(true, true);
}

static void test_facts(void **state)
{
	struct nvme_host_options options;
	const struct nvme_host_facts *facts;
	uint8_t uuid[16];
	struct blk *blk;

	(void)state;
	nvme_rig_open(&rig, &(struct rig_options){ .seed = 2 });
	rig_host_options(&rig, &options);
	options.nsid = 2;
	blk = open_ready(&options);
	facts = nvme_host_facts(blk);
	memset(uuid, 0x22, sizeof(uuid));
	assert_memory_equal(facts->uuid, uuid, sizeof(uuid));
	assert_true(facts->read_only);
	assert_int_equal(facts->namespaces, RIG_EXPORTS);
	assert_string_equal(facts->subsystem_nqn, RIG_NQN);
	assert_string_equal(facts->model, "weir");
	assert_int_equal(facts->version, NVME_VERSION_2_0);
	assert_int_equal(facts->geometry.ops & 1u << BLK_WRITE, 0);
	stop(blk);
	nvme_rig_close(&rig);
}

static void never_ready(struct nvme_host_options *options, const char *reason)
{
	struct blk *blk;

	assert_int_equal(nvme_host_open(options, NULL, &blk), STATUS_OK);
	sim_wake(rig.sim, 1, 0);
	sim_advance(rig.sim, 3000000000);
	assert_false(nvme_host_is_ready(blk));
	assert_non_null(strstr(nvme_host_error(blk), reason));
	assert_true(nvme_host_stats(blk)->connects > 1); /* it tries again */
	stop(blk);
}

static void test_refused(void **state)
{
	struct nvme_host_options options;

	(void)state;
	nvme_rig_open(&rig, &(struct rig_options){ .seed = 3, .hosts = "nqn.2026-01.a:b, nqn.c" });
	rig_host_options(&rig, &options);
	never_ready(&options, "not allowed");
	memcpy(options.host_nqn, "nqn.2026-01.a:b", 16);
	memcpy(options.nqn, "nqn.2026-01.weir:else", 22);
	never_ready(&options, "no such subsystem");
	memcpy(options.nqn, RIG_NQN, sizeof(RIG_NQN));
	options.nsid = 3;
	never_ready(&options, "no namespace 3");
	nvme_rig_close(&rig);
}

/* A target that dies comes back: commands wait, and go on. */
static void test_reconnect(void **state)
{
	static uint8_t block[RIG_BLOCK_SIZE];
	struct iovec iov = { block, sizeof(block) };
	struct blk_cmd cmd = { .op = BLK_WRITE, .block_count = 1, .iov_count = 1, .iov = &iov };
	struct nvme_host_options options;
	struct call call = { .ended = false };
	struct blk *blk;

	(void)state;
	nvme_rig_open(&rig, &(struct rig_options){ .seed = 4 });
	rig_host_options(&rig, &options);
	options.loss_ns = 5000000000;
	blk = open_ready(&options);
	nvme_rig_kill(&rig);
	fill(block, sizeof(block), 9);
	req_init(&call.req, rig.worker);
	req_push(&call.req, struct call_frame, call_ended);
	blk_submit(blk, &call.req, &cmd);
	sim_wake(rig.sim, 1, 0);
	sim_advance(rig.sim, 1000000000);
	assert_false(call.ended);
	nvme_rig_start(&rig);
	assert_true(sim_run(rig.sim, has_ended, &call, 10000000));
	assert_int_equal(call.status, STATUS_OK);
	assert_memory_equal(rig.data[0], block, sizeof(block));
	assert_int_equal(nvme_host_stats(blk)->losses, 1);

	/* Nobody comes back in time. */
	nvme_rig_kill(&rig);
	assert_int_equal(run(blk, &cmd), STATUS_UNAVAILABLE);
	nvme_rig_start(&rig);
	stop(blk);
	nvme_rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),     cmocka_unit_test(test_digests),
		cmocka_unit_test(test_facts),     cmocka_unit_test(test_refused),
		cmocka_unit_test(test_reconnect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
