/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Initiator and target against each other on a network that loses connections, stalls and is cut,
 * with a target that dies: what was acknowledged is there, what is read is what was written last.
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

enum {
	WORKERS = 6,       /* that each have one command under way, on blocks of their own */
	SPAN = 40,         /* blocks of each */
	TRANSFER_MAX = 20, /* blocks of a command */
	STEPS = 40000,
	END_STEPS = 20000000,
};

struct person {
	struct world *world;
	struct req req;
	bool busy, is_read;
	uint32_t first, count; /* blocks */
	struct iovec iov[3];
	uint32_t model[SPAN]; /* what each block has */
	uint32_t writing;     /* what the write under way makes of its blocks */
	uint8_t data[TRANSFER_MAX * RIG_BLOCK_SIZE];
};

struct world {
	struct nvme_rig rig;
	struct blk *blk;
	struct prng prng;
	bool alive;
	bool trusting; /* and never: then what is read may be damaged */
	uint64_t dead_until_ns, cut_until_ns;
	uint32_t stamp;
	uint64_t ended, reads, refused;
	struct person people[WORKERS];
};

static struct world world;

struct person_frame {
	struct frame frame;
};

/* A block of one number all over, which is also in which block it is. */
static void stamp_block(uint8_t *block, uint32_t number)
{
	for (unsigned i = 0; i < RIG_BLOCK_SIZE; i += sizeof(number))
		memcpy(block + i, &number, sizeof(number));
}

static uint32_t read_stamp(const uint8_t *block)
{
	uint32_t number, other;

	memcpy(&number, block, sizeof(number));
	for (unsigned i = 0; i < RIG_BLOCK_SIZE; i += sizeof(number)) {
		memcpy(&other, block + i, sizeof(other));
		assert_int_equal(other, number);
	}
	return number;
}

static void ended(struct req *req)
{
	struct person *person = container_of(req, struct person, req);
	struct world *w = person->world;

	req_pop(req, struct person_frame);
	person->busy = false;
	w->ended++;
	if (w->trusting)
		return;
	assert_int_equal(req->status, STATUS_OK); /* it waits as long as that takes */
	for (uint32_t i = 0; i < person->count; i++) {
		if (person->is_read)
			assert_int_equal(read_stamp(person->data + i * (size_t)RIG_BLOCK_SIZE),
			                 person->model[person->first + i]);
		else
			person->model[person->first + i] = person->writing;
	}
	w->reads += person->is_read;
}

static void cut_memory(struct world *w, struct person *person)
{
	size_t size = person->count * (size_t)RIG_BLOCK_SIZE;
	size_t a = prng_below(&w->prng, size), b = a + prng_below(&w->prng, size - a);

	person->iov[0] = (struct iovec){ person->data, a };
	person->iov[1] = (struct iovec){ person->data + a, b - a };
	person->iov[2] = (struct iovec){ person->data + b, size - b };
}

static void begin(struct world *w, struct person *person)
{
	uint32_t base = (uint32_t)(person - w->people) * SPAN;
	struct blk_cmd cmd = { .iov_count = 3, .iov = person->iov };

	person->count = 1 + (uint32_t)prng_below(&w->prng, TRANSFER_MAX);
	person->first = (uint32_t)prng_below(&w->prng, SPAN - person->count + 1);
	person->is_read = prng_below(&w->prng, 2) == 0;
	person->busy = true;
	cmd.op = person->is_read ? BLK_READ : BLK_WRITE;
	cmd.lba = base + person->first;
	cmd.block_count = person->count;
	cut_memory(w, person);
	if (!person->is_read) {
		person->writing = ++w->stamp;
		for (uint32_t i = 0; i < person->count; i++)
			stamp_block(person->data + i * (size_t)RIG_BLOCK_SIZE, person->writing);
		if (prng_below(&w->prng, 8) == 0) {
			cmd.op = BLK_ZEROES;
			cmd.iov_count = 0;
			person->writing = 0;
		}
	}
	req_init(&person->req, w->rig.worker);
	req_push(&person->req, struct person_frame, ended);
	blk_submit(w->blk, &person->req, &cmd);
	sim_wake(w->rig.sim, 1, 0);
}

static void trouble(struct world *w, uint32_t per_million)
{
	uint64_t now_ns = sim_now_ns(w->rig.sim);

	if (!w->alive && now_ns >= w->dead_until_ns) {
		nvme_rig_start(&w->rig);
		w->alive = true;
	} else if (w->alive && prng_chance(&w->prng, per_million)) {
		nvme_rig_kill(&w->rig);
		w->alive = false;
		w->dead_until_ns = now_ns + prng_below(&w->prng, 1000000000);
	}
	if (w->cut_until_ns != 0 && now_ns >= w->cut_until_ns) {
		sim_net_partition(w->rig.net, 0, false);
		w->cut_until_ns = 0;
	} else if (w->cut_until_ns == 0 && prng_chance(&w->prng, per_million)) {
		sim_net_partition(w->rig.net, 0, true);
		w->cut_until_ns = now_ns + prng_below(&w->prng, 3000000000);
	}
}

static bool all_idle(void *argument)
{
	struct world *w = argument;

	for (unsigned i = 0; i < WORKERS; i++) {
		if (w->people[i].busy)
			return false;
	}
	return true;
}

static bool is_ready(void *argument)
{
	return nvme_host_is_ready(argument);
}

static bool has_stopped(void *argument)
{
	return *(bool *)argument;
}

struct stop {
	struct req req;
	bool done;
};

static void stopped(struct req *req)
{
	req_pop(req, struct person_frame);
	container_of(req, struct stop, req)->done = true;
}

static void stop(struct world *w)
{
	struct stop s = { .done = false };

	req_init(&s.req, w->rig.worker);
	req_push(&s.req, struct person_frame, stopped);
	s.req.state = REQ_RUNNING;
	w->blk->ops->stop(w->blk, &s.req);
	sim_wake(w->rig.sim, 1, 0);
	assert_true(sim_run(w->rig.sim, has_stopped, &s.done, END_STEPS));
	w->blk->ops->close(w->blk);
}

/* How a world goes wrong. */
struct fate {
	uint32_t trouble; /* per million steps: kills and cuts */
	uint32_t flips;   /* per million pieces: a bit */
	bool trusting;
	bool losses; /* connections are lost */
};

static void run_world(uint64_t seed, const struct sim_net_options *net, const struct fate *fate)
{
	struct world *w = &world;
	struct nvme_host_options options;

	memset(w, 0, sizeof(*w));
	prng_init(&w->prng, seed);
	nvme_rig_open(&w->rig, &(struct rig_options){ .seed = seed, .net = *net });
	w->trusting = fate->trusting;
	w->alive = true;
	rig_host_options(&w->rig, &options);
	options.queues = 1 + (unsigned)prng_below(&w->prng, 3);
	options.depth = 2 + (unsigned)prng_below(&w->prng, 6);
	options.header_digest = prng_below(&w->prng, 2) == 0;
	options.data_digest = prng_below(&w->prng, 2) == 0;
	if (fate->flips > 0)
		options.header_digest = options.data_digest = !fate->trusting;
	options.timeout_ns = 2000000000;
	options.keep_alive_ns = 3000000000;
	options.backoff_max_ns = 500000000;
	options.loss_ns = 1000000000000;
	assert_int_equal(nvme_host_open(&options, NULL, &w->blk), STATUS_OK);
	sim_wake(w->rig.sim, 1, 0);
	assert_true(sim_run(w->rig.sim, is_ready, w->blk, END_STEPS));
	for (unsigned i = 0; i < WORKERS; i++)
		w->people[i].world = w;
	w->rig.options.flips = fate->flips;
	for (unsigned i = 0; i < STEPS; i++) {
		struct person *person = &w->people[prng_below(&w->prng, WORKERS)];

		if (!person->busy && prng_below(&w->prng, 4) == 0)
			begin(w, person);
		trouble(w, fate->trouble);
		sim_step(w->rig.sim);
	}
	w->rig.options.flips = 0;
	while (!w->alive || w->cut_until_ns != 0) {
		sim_step(w->rig.sim);
		trouble(w, 0);
	}
	assert_true(sim_run(w->rig.sim, all_idle, w, END_STEPS));
	w->refused += nvme_host_stats(w->blk)->losses;
	stop(w);
	nvme_rig_close(&w->rig);
}

static void run_seeds(unsigned seeds, const struct sim_net_options *net, const struct fate *fate)
{
	uint64_t count = 0, reads = 0, lost = 0, flipped = 0;
	const char *only = getenv("SIM_SEED");

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		run_world(only != NULL ? strtoull(only, NULL, 10) : seed, net, fate);
		count += world.ended;
		reads += world.reads;
		lost += world.refused;
		flipped += world.rig.flipped;
	}
	printf("%u seeds, %lu commands, %lu reads, %lu losses, %lu bits\n", seeds, count, reads,
	       lost, flipped);
	assert_true(count > seeds * 20);
	assert_true(!fate->losses || lost > 0);
	assert_true(fate->flips == 0 || flipped > 0);
}

static void test_good_network(void **state)
{
	(void)state;
	run_seeds(6, &(struct sim_net_options){ .piece_max = 0 }, &(struct fate){ .trouble = 0 });
}

static void test_slow_and_reset(void **state)
{
	(void)state;
	run_seeds(10, &(struct sim_net_options){ .reset = 300, .stall = 3000, .refuse = 100000 },
	          &(struct fate){ .losses = true });
}

static void test_kills_and_cuts(void **state)
{
	(void)state;
	run_seeds(10, &(struct sim_net_options){ .stall = 100, .buffer_size = 4096 },
	          &(struct fate){ .trouble = 150, .losses = true });
}

/* With digests nothing of a damaged network is ever seen but that it is slow. */
static void test_damage(void **state)
{
	(void)state;
	run_seeds(10, &(struct sim_net_options){ .piece_max = 1448 },
	          &(struct fate){ .flips = 2000, .losses = true });
}

/* Without, data may be damaged; neither side may be. */
static void test_damage_without_digests(void **state)
{
	(void)state;
	run_seeds(10, &(struct sim_net_options){ .piece_max = 1448 },
	          &(struct fate){ .flips = 5000, .trusting = true, .losses = true });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_network),
		cmocka_unit_test(test_slow_and_reset),
		cmocka_unit_test(test_kills_and_cuts),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_damage_without_digests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
